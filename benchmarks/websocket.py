"""``python -m benchmarks websocket``: CPU time per message of WebSocket servers.

For each row every contestant is started on one core, asked once, and left out of the
row by name if its answer is wrong. Then rounds: each contestant in turn, in an order
that rotates, is loaded from the other core by a C program whose connections stay open,
and the CPU time of its processes is divided by the messages that came back. A ratio is
taken within a round; the table gives the median over the rounds, the least and the
greatest.

``memory`` is the growth of a server's resident memory for each connection that was
opened, got one message back, and is idle.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, report
from benchmarks.http_servers import compiled
from benchmarks.rounds import cost_table, interleaved
from benchmarks.websocket_rows import DEFLATE, MEMORY, ROWS, SERVERS, Row, Server


@dataclass(frozen=True)
class Round:
    messages: int
    cpu_us: float  # per message
    rate: float  # messages per second


class Load:
    """The C program with its connections open."""

    def __init__(self, port: int, row: Row, work: Path) -> None:
        frame = work / f"{row.name}.frame"
        frame.write_bytes(row.frame())
        program = compiled(work, "load/websocket.c", "ws_load")
        extensions = [DEFLATE] if row.deflate else []
        self.process = subprocess.Popen(
            [
                *(str(program), str(port), row.path, str(row.connections), row.mode),
                *(str(frame), *extensions),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, machine.cores()[1]),
        )
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read().strip()[-300:])
        return line

    def round(self, pids: list[int], seconds: float) -> Round:
        assert self.process.stdin is not None
        before = machine.cpu_seconds(pids)
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        counts = json.loads(self._line())
        cpu = machine.cpu_seconds(pids) - before
        return Round(
            counts["messages"],
            cpu / counts["messages"] * 1e6,
            counts["messages"] / counts["microseconds"] * 1e6,
        )

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _exactly(s: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise RuntimeError("the server closed the connection")
        data += more
    return data


def _connect(port: int, row: Row) -> socket.socket:
    s = socket.create_connection(("127.0.0.1", port), timeout=10)
    lines = [
        f"GET {row.path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *([f"Sec-WebSocket-Extensions: {DEFLATE}"] if row.deflate else []),
    ]
    s.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _exactly(s, 1)
    agreed = b"permessage-deflate" in head.lower()
    if b" 101 " not in head or agreed != row.deflate:
        raise RuntimeError(f"no handshake: {head[:200]!r}")
    return s


def _message(s: socket.socket) -> tuple[int, bytes]:
    """Opcode and payload of the next message, inflated."""
    opcode, whole, packed = 0, b"", False
    while True:
        first, length = _exactly(s, 2)
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(_exactly(s, size), "big")
        payload = _exactly(s, length)
        if first & 0x08:
            continue
        opcode = opcode or first & 0x0F
        packed = packed or bool(first & 0x40)
        whole += payload
        if first & 0x80:
            break
    if packed:
        whole = zlib.decompressobj(wbits=-15).decompress(whole + b"\0\0\xff\xff")
    return opcode, whole


def check(port: int, row: Row) -> None:
    """Raises RuntimeError where two clients do not get what they should."""
    with _connect(port, row) as one, _connect(port, row) as two:
        one.sendall(row.frame())
        if row.mode != "fanout":
            two.sendall(row.frame())
        for s in (one, two):
            opcode, message = _message(s)
            if opcode != row.opcode or message != row.message:
                raise RuntimeError(
                    f"answered opcode {opcode}, {len(message)} bytes: {message[:40]!r}"
                )


@contextlib.contextmanager
def started(row: Row, server: Server, work: Path) -> Iterator[tuple[list[int], int]]:
    """A server that answers rightly: its processes and its port."""
    port = machine.free_port()
    log = work / f"{server.name}.{row.name}.log"
    try:
        with contextlib.ExitStack() as stack:
            command = server.command(port, work, row)
            running = machine.running(command, machine.cores()[0], log, port)
            process = stack.enter_context(running)
            check(port, row)
            yield machine.descendants(process.pid), port
    except (RuntimeError, OSError, struct.error, ProcessLookupError) as error:
        said = log.read_text(errors="replace")[-300:] if log.exists() else ""
        raise RuntimeError(f"{error} {said}") from None


def run_row(
    row: Row, servers: list[Server], rounds: int, seconds: float, work: Path
) -> dict[str, list[Round]]:
    with contextlib.ExitStack() as stack:
        here: dict[str, tuple[list[int], Load]] = {}
        for server in servers:
            try:
                pids, port = stack.enter_context(started(row, server, work))
                load = Load(port, row, work)
            except RuntimeError as error:
                print(f"  {server.name} is not in this row: {error}", flush=True)
                continue
            stack.callback(load.close)
            here[server.name] = pids, load

        def measure(name: str, turn: int) -> Round:
            pids, load = here[name]
            return load.round(pids, seconds if turn else 0.3)

        return interleaved(list(here), rounds, measure)


def print_row(row: Row, results: dict[str, list[Round]]) -> None:
    print(f"\n{row.name}: {row.what}\n")
    print(cost_table("server", "message", results), flush=True)


def run_memory(servers: list[Server], work: Path) -> dict[str, dict[str, float]]:
    """KiB a connection of each server in each state; prints the table."""
    results: dict[str, dict[str, float]] = {}
    print("\nmemory: resident KiB of the server for each connection\n")
    for row in MEMORY.values():
        for server in servers:
            try:
                with started(row, server, work) as (pids, port):
                    before = machine.resident_bytes(pids)
                    load = Load(port, row, work)
                    try:
                        load.round(pids, 0)
                        grown = machine.resident_bytes(pids) - before
                    finally:
                        load.close()
            except RuntimeError:
                continue  # it has no such path
            kib = grown / row.connections / 1024
            results.setdefault(server.name, {})[row.name] = kib
    lines = [
        [name, *(f"{kib[r]:.1f}" if r in kib else "-" for r in MEMORY)]
        for name, kib in sorted(results.items(), key=lambda item: item[1]["plain"])
    ]
    print(report.table(["server", *MEMORY], lines))
    for row in MEMORY.values():
        print(f"{row.name}: {row.what}, {row.connections} connections")
    return results


def main(arguments: list[str]) -> int:
    what = {**{r.name: r.what for r in ROWS.values()}, "memory": "of idle connections"}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks websocket",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {n:<9}{text}" for n, text in what.items()),
    )
    parser.add_argument("--rows", default=",".join(what), help="comma-separated")
    parser.add_argument("--servers", default=",".join(SERVERS), help="comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each round")
    parser.add_argument("--json", type=Path, help="write every round into this file")
    options = parser.parse_args(arguments)
    names, wanted = options.rows.split(","), options.servers.split(",")
    for given, there in ((names, what), (wanted, SERVERS)):
        unknown = [n for n in given if n not in there]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(there)}")
    servers = []
    for name in wanted:
        gone = SERVERS[name].missing()
        if gone is None:
            servers.append(SERVERS[name])
        else:
            print(f"{name} does not take part: {gone} is not installed")
    print(f"{machine.describe()}\n{options.rounds} rounds of {options.seconds:g} s")
    everything: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="pyfastloop-bench-") as directory:
        work = Path(directory)
        for name in names:
            if name == "memory":
                everything[name] = run_memory(servers, work)
                continue
            row = ROWS[name]
            results = run_row(row, servers, options.rounds, options.seconds, work)
            print_row(row, results)
            everything[name] = {n: [vars(r) for r in v] for n, v in results.items()}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0
