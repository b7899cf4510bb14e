"""``python -m benchmarks http``: CPU time per request of HTTP servers.

For each row every contestant is started on one core, asked once, and dropped from the
row by name if the answer is wrong. Then rounds: each contestant in turn, in an order
that rotates, is loaded by wrk on the other core, and the CPU time of its processes
(user and system, children too) is divided by the requests answered. A ratio is taken
within a round; the table gives the median over the rounds, the least and the greatest.

The floor answers the very bytes that pyfastloop answered when it was asked.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import machine, report
from benchmarks.http_rows import DEFAULT, MIB, ROWS, Row
from benchmarks.http_servers import SERVERS, Server

LUA = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Round:
    requests: int
    cpu_us: float  # per request
    rate: float  # requests per second
    bytes: int
    p99_us: int


def fetch(port: int, row: Row) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
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
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(65536) or sys.exit("the answer ended within its head")
        head = data.partition(b"\r\n\r\n")[0]
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        whole = len(head) + 4 + int(found[1] if found else 0)
        while len(data) < whole:
            data += s.recv(1 << 20) or sys.exit("the answer ended within its body")
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


def load(pids: list[int], port: int, row: Row, seconds: int, on: set[int]) -> Round:
    command = ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "-s", str(LUA)]
    for name, value in row.headers.items():
        command += ["-H", f"{name}: {value}"]
    command += [f"http://127.0.0.1:{port}{row.path}", "--"]
    command += [str(row.depth), row.method, str(row.body)]
    before = machine.cpu_seconds(pids)
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        preexec_fn=lambda: os.sched_setaffinity(0, on),
    )
    cpu = machine.cpu_seconds(pids) - before
    counts = json.loads(done.stdout.splitlines()[-1])
    wrong = {
        k: counts[k]
        for k in ("connect", "read", "write", "status", "timeout")
        if counts[k] and not (k == "read" and row.headers.get("Connection") == "close")
    }
    if wrong or not counts["requests"]:
        raise RuntimeError(f"wrk counted {counts['requests']} requests, errors {wrong}")
    return Round(
        counts["requests"],
        cpu / counts["requests"] * 1e6,
        counts["requests"] / counts["microseconds"] * 1e6,
        counts["bytes"],
        counts["p99"],
    )


def run_row(
    row: Row, servers: list[Server], rounds: int, seconds: int, work: Path
) -> dict[str, list[Round]]:
    server_core, load_core = machine.cores()
    results: dict[str, list[Round]] = {}
    answer = work / f"{row.name}.answer"
    answer.write_bytes(default_answer(row))
    # pyfastloop first: its answer is what the floor will give.
    ordered = sorted(servers, key=lambda s: s.name != "pyfastloop")
    with contextlib.ExitStack() as stack:
        ports: dict[str, int] = {}
        processes: dict[str, subprocess.Popen[bytes]] = {}
        for server in ordered:
            port = machine.free_port()
            log = work / f"{server.name}.{row.name}.log"
            try:
                command = server.command(port, work, row)
                process = stack.enter_context(
                    machine.running(command, server_core, log, port)
                )
                why = check(port, row)
            except RuntimeError as error:
                why = f"{error}: {log.read_text(errors='replace')[-300:]}"
            if why is not None:
                print(f"  {server.name} is not in this row: {why}", flush=True)
                continue
            if server.name == "pyfastloop":
                answer.write_bytes(capture(port, row))
            ports[server.name], processes[server.name] = port, process
        # One short round first, thrown away: caches, branch predictors, lazy imports.
        for turn in range(rounds + 1):
            names = list(ports)
            start = turn % max(1, len(names))
            for name in names[start:] + names[:start]:
                pids = machine.descendants(processes[name].pid)
                length = seconds if turn else 1
                try:
                    one = load(pids, ports[name], row, length, load_core)
                except (RuntimeError, ProcessLookupError) as error:
                    print(f"  {name} is out of this row: {error}", flush=True)
                    del ports[name]
                    results.pop(name, None)
                    continue
                if turn:
                    results.setdefault(name, []).append(one)
    return results


def print_row(row: Row, results: dict[str, list[Round]], servers: list[Server]) -> None:
    print(f"\n{row.name}: {row.what} ({row.connections} connections)\n")
    lines = []
    cpu = {name: [r.cpu_us for r in rounds] for name, rounds in results.items()}
    for name in sorted(cpu, key=lambda n: median(cpu[n])):
        line = [name, report.spread(cpu[name])]
        for other, flip in (("floor", False), ("tornado", True)):
            if other not in cpu:
                line.append("-")
                continue
            pairs = (cpu[other], cpu[name]) if flip else (cpu[name], cpu[other])
            line.append(report.spread(report.paired(*pairs)))
        line.append(f"{median(r.rate for r in results[name]):,.0f}")
        if len(row.expect) > 100_000:
            gigabytes = median(r.bytes / r.requests * r.rate for r in results[name])
            line[-1] += f" ({gigabytes / 1e9:.2f} GB/s)"
        p99 = median(r.p99_us for r in results[name])
        line.append(f"{p99 / 1000:.1f}" if p99 else "-")  # wrk: none when pipelined
        lines.append(line)
    head = [
        "server",
        "CPU us a request",
        "x floor",
        "x less than Tornado",
        "requests/s",
        "p99 ms",
    ]
    print(report.table(head, lines), flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks http",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {r.name:<11}{r.what}" for r in ROWS.values()),
    )
    parser.add_argument(
        "--rows", default=",".join(DEFAULT), help="comma-separated, or all"
    )
    parser.add_argument(
        "--servers", default="", help="comma-separated; default: all here"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--json", type=Path, help="write every round into this file")
    options = parser.parse_args(arguments)
    names = list(ROWS) if options.rows == "all" else options.rows.split(",")
    wanted = options.servers.split(",") if options.servers else list(SERVERS)
    for given, known in ((names, ROWS), (wanted, SERVERS)):
        unknown = [n for n in given if n not in known]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    if not shutil.which("wrk"):
        parser.error("wrk is not installed (Debian: apt-get install wrk)")

    servers = []
    for name in wanted:
        gone = SERVERS[name].missing()
        if gone is None:
            servers.append(SERVERS[name])
        else:
            print(f"{name} does not take part: {gone} is not installed")
    print(f"{machine.describe()}\n{options.rounds} rounds of {options.seconds} s")
    everything = {}
    with tempfile.TemporaryDirectory(prefix="pyfastloop-bench-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx's worker is another user
        (work / "1m.bin").write_bytes(MIB)
        for name in names:
            row = ROWS[name]
            results = run_row(row, servers, options.rounds, options.seconds, work)
            print_row(row, results, servers)
            everything[name] = {n: [vars(r) for r in v] for n, v in results.items()}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0
