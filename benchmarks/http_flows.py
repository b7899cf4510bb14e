"""Rows of ``python -m benchmarks http`` whose client is a socket of Python's.

``trickle``: many connections send their requests a byte at a time.
``up`` and ``down``: one body of a gibibyte, streamed; its rate, and what it cost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine, report
from benchmarks.http_rows import ROWS
from benchmarks.http_servers import Server
from benchmarks.http_start import capture_from, raw_request, started
from benchmarks.rounds import interleaved

TRICKLERS = 100
TRICKLED = 2  # requests of each
MIB = 1 << 20


def trickle_once(port: int, question: bytes) -> None:
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(TRICKLERS):
            s = socket.create_connection(("127.0.0.1", port), 10)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            clients.append(stack.enter_context(s))
        for _ in range(TRICKLED):
            for byte in question:
                for s in clients:
                    s.sendall(bytes([byte]))
                time.sleep(0.001)  # or the bytes come together
            for s in clients:
                capture_from(s)


def trickle(servers: list[Server], rounds: int, work: Path) -> Any:
    row = ROWS["plaintext"]
    question = raw_request(row, False)
    with started(row, servers, work) as here:

        def measure(name: str, turn: int) -> float:
            pids = machine.descendants(here[name].process.pid)
            before = machine.cpu_seconds(pids)
            trickle_once(here[name].port, question)
            cpu = machine.cpu_seconds(pids) - before
            return cpu / (TRICKLERS * TRICKLED * len(question)) * 1e6

        results = interleaved(list(here), rounds, measure, warm=False)
    print(f"\ntrickle: {TRICKLERS} clients, a byte at a time\n")
    lines = []
    for name in sorted(results, key=lambda n: median(results[n])):
        ratio = "-"
        if "floor" in results:
            ratio = report.spread(report.paired(results[name], results["floor"]))
        lines.append([name, report.spread(results[name]), ratio])
    print(report.table(["server", "CPU us a byte", "x floor"], lines), flush=True)
    return results


def send_up(s: socket.socket, size: int) -> None:
    piece = b"x" * MIB
    head = f"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
    s.sendall(head.encode())
    for _ in range(size // MIB):
        s.sendall(piece)
    if not capture_from(s).endswith(str(size).encode()):
        raise RuntimeError(f"the server did not count {size} bytes")


def take_down(s: socket.socket, size: int) -> None:
    room = bytearray(MIB)
    head = b""
    s.sendall(f"GET /down?size={size} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    while b"\r\n\r\n" not in head:
        piece = s.recv(65536)
        if not piece:
            raise RuntimeError("no answer")
        head += piece
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head[:60].decode("latin-1"))
    got = len(head.partition(b"\r\n\r\n")[2])
    while got < size:
        n = s.recv_into(room)
        if n == 0:
            raise RuntimeError(f"the body ended after {got} bytes")
        got += n


def streaming(
    what: str, exchange: Callable[[socket.socket, int], None]
) -> Callable[[list[Server], int, Path], Any]:
    """A body of STREAM_BYTES (of the environment; 1 GiB), over one connection."""

    def once(port: int, size: int) -> float:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 60) as s:
            exchange(s, size)
        return time.monotonic() - began

    def run(servers: list[Server], rounds: int, work: Path) -> Any:
        size = int(os.environ.get("STREAM_BYTES", 1 << 30)) // MIB * MIB
        with started(ROWS["plaintext"], servers, work) as here:

            def measure(name: str, turn: int) -> tuple[float, float]:
                length = size if turn else MIB
                pids = machine.descendants(here[name].process.pid)
                before = machine.cpu_seconds(pids)
                seconds = once(here[name].port, length)
                cpu = machine.cpu_seconds(pids) - before
                return length / seconds / 1e9, cpu / length * 1e12

            results = interleaved(list(here), rounds, measure)
        print(f"\n{what}: {size // MIB:,} MiB in one body\n")
        lines = []
        for name in sorted(results, key=lambda n: -median(r for r, _ in results[n])):
            rate = report.spread([r for r, _ in results[name]])
            cost = report.spread([c for _, c in results[name]], 0)
            lines.append([name, rate, cost])
        head = ["server", "GB/s", "CPU ms a GB"]
        print(report.table(head, lines), flush=True)
        return results

    return run


FLOWS: dict[str, tuple[str, Callable[[list[Server], int, Path], Any]]] = {
    "trickle": ("100 clients that send a byte at a time", trickle),
    "up": ("a body of 1 GiB streamed to the server", streaming("up", send_up)),
    "down": ("a body of 1 GiB streamed by the server", streaming("down", take_down)),
}
