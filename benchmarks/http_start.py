"""Starting the contestants of one row, and asking each whether its answer is right."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.http_rows import Row
from benchmarks.http_servers import ABLE, Server


@dataclass(frozen=True)
class Started:
    port: int
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def started(
    row: Row, servers: list[Server], work: Path
) -> Iterator[dict[str, Started]]:
    """Those of the servers that answer rightly; the others are named, with why."""
    core = machine.cores()[0]
    answer = work / f"{row.name}.answer"
    answer.write_bytes(default_answer(row))
    # pyfastloop first: its answer is what the floor will give.
    ordered = sorted(servers, key=lambda s: s.name != "pyfastloop")
    here: dict[str, Started] = {}
    with contextlib.ExitStack() as stack:
        for server in ordered:
            if (row.tls or row.processes > 1) and server.name not in ABLE:
                continue
            port = machine.free_port()
            log = work / f"{server.name}.{row.name}.log"
            try:
                command = server.command(port, work, row)
                running = machine.running(command, core, log, port)
                process = stack.enter_context(running)
                why = check(port, row)
            except RuntimeError as error:
                why = f"{error}: {log.read_text(errors='replace')[-300:]}"
            if why is not None:
                print(f"  {server.name} is not in this row: {why}", flush=True)
                continue
            if server.name == "pyfastloop" and not row.tls:
                answer.write_bytes(capture(port, row))
            here[server.name] = Started(port, process)
        yield here


def fetch(port: int, row: Row) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if row.tls:
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=10, context=anybody
        )
    with contextlib.closing(connection):
        body = b"x" * row.body if row.body else None
        connection.request(row.method, row.path, body, row.headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def raw_request(row: Row, close: bool) -> bytes:
    lines = [f"{row.method} {row.path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{k}: {v}" for k, v in row.headers.items() if k != "Connection"]
    if row.body:
        lines.append(f"Content-Length: {row.body}")
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + b"x" * row.body


def capture(port: int, row: Row) -> bytes:
    """The bytes of one answer, head and body, as they came."""
    close = row.headers.get("Connection") == "close"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(raw_request(row, close))
        return capture_from(s)


def capture_from(s: socket.socket) -> bytes:
    """One answer that has a Content-Length."""
    data = b""

    def more() -> bytes:
        received = s.recv(1 << 20)
        if not received:
            raise RuntimeError(f"the answer ended after {len(data)} bytes")
        return received

    while b"\r\n\r\n" not in data:
        data += more()
    head = data.partition(b"\r\n\r\n")[0]
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    whole = len(head) + 4 + int(found[1] if found else 0)
    while len(data) < whole:
        data += more()
    return data


def default_answer(row: Row) -> bytes:
    """What the floor answers where pyfastloop is not there to be copied."""
    kind = "application/json; charset=UTF-8" if row.json else "text/html; charset=UTF-8"
    lines = [
        "HTTP/1.1 200 OK",
        "Server: floor",
        f"Content-Type: {kind}",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
        'Etag: "e02aa1b106d5c7c6a98def2b13005d5b84fd8dc8"',
        f"Content-Length: {len(row.expect)}",
        *(["Connection: close"] if row.headers.get("Connection") == "close" else []),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + row.expect


def check(port: int, row: Row) -> str | None:
    """Why the server cannot take part in the row, None if it can."""
    try:
        status, body = fetch(port, row)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error!r}"
    if 400 <= status < 500:
        return "does not serve it"
    if status != 200 or not row.right(body):
        return f"answered {status}, {len(body)} bytes: {body[:50]!r}"
    if row.depth == 1:
        return None
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(raw_request(row, False) * row.depth)
        data = b""
        while data.count(b"HTTP/1.1 200") < row.depth or not data.endswith(row.expect):
            try:
                more = s.recv(65536)
            except TimeoutError:
                more = b""
            if not more:
                return (
                    f"answered {data.count(b'HTTP/1.1 200')} of {row.depth} pipelined"
                )
            data += more
    return None
