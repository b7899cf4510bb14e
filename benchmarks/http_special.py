"""Rows of ``python -m benchmarks http`` that wrk cannot ask.

``idle``: resident bytes that a keep-alive connection costs while nothing happens on it.
``latency``: the 99th percentile at half of each server's own peak rate, asked for at
fixed times by load/openloop.c, which counts waiting in line as latency.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine, report
from benchmarks.http_flows import FLOWS
from benchmarks.http_rows import ROWS
from benchmarks.http_servers import Server, compiled
from benchmarks.http_start import capture_from, raw_request, started
from benchmarks.rounds import interleaved

IDLE_CONNECTIONS = 2000
OPEN_CONNECTIONS = 64
SECONDS = 3


def idle(servers: list[Server], rounds: int, work: Path) -> Any:
    """Each connection asks once and then stays; resident memory before and after."""
    row = ROWS["plaintext"]
    results: dict[str, list[float]] = {}
    with started(row, servers, work) as here:
        for _ in range(min(rounds, 2)):
            for name, server in here.items():
                pids = machine.descendants(server.process.pid)
                before = machine.resident_bytes(pids)
                with contextlib.ExitStack() as stack:
                    for _ in range(IDLE_CONNECTIONS):
                        s = socket.create_connection(("127.0.0.1", server.port), 10)
                        stack.enter_context(s)
                        s.sendall(raw_request(row, False))
                        capture_from(s)
                    after = machine.resident_bytes(pids)
                bytes_each = (after - before) / IDLE_CONNECTIONS
                # Only the first time memory is taken; later it is there already.
                results.setdefault(name, []).append(bytes_each)
                time.sleep(0.2)
    print(f"\nidle: resident bytes of a keep-alive connection ({IDLE_CONNECTIONS})\n")
    first = {name: values[0] for name, values in results.items()}
    lines = [[n, f"{first[n]:,.0f}"] for n in sorted(first, key=lambda n: first[n])]
    print(report.table(["server", "bytes each"], lines), flush=True)
    return results


def latency(servers: list[Server], rounds: int, work: Path) -> Any:
    """Half of the peak that wrk finds, asked for at fixed times."""
    row = ROWS["plaintext"]
    load_core = machine.cores()[1]
    program = compiled(work, "load/openloop.c")
    question = work / "latency.request"
    question.write_bytes(raw_request(row, False))

    def run(command: list[str]) -> str:
        return subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lambda: os.sched_setaffinity(0, load_core),
        ).stdout

    def peak(port: int) -> float:
        lua = str(Path(__file__).with_name("wrk.lua"))
        command = ["wrk", "-t1", f"-c{OPEN_CONNECTIONS}", f"-d{SECONDS}s", "-s", lua]
        command += [f"http://127.0.0.1:{port}/", "--", "1", "GET", "0"]
        counts = json.loads(run(command).splitlines()[-1])
        return float(counts["requests"] / counts["microseconds"] * 1e6)

    with started(row, servers, work) as here:

        def measure(name: str, turn: int) -> dict[str, float]:
            port = here[name].port
            rate = peak(port) / 2
            command = [str(program), str(port), f"{rate:.0f}", str(SECONDS)]
            command += [str(OPEN_CONNECTIONS), str(question)]
            return {"rate": rate, **json.loads(run(command))}

        results = interleaved(list(here), rounds, measure, warm=False)
    print("\nlatency: microseconds at half of each server's own peak\n")
    lines = []
    for name in sorted(results, key=lambda n: median(r["p99"] for r in results[n])):
        seen = results[name]
        p99 = [r["p99"] for r in seen]
        ratio = "-"
        if "floor" in results:
            ratio = report.spread(
                report.paired(p99, [r["p99"] for r in results["floor"]])
            )
        lines.append(
            [
                name,
                f"{median(r['rate'] for r in seen):,.0f}",
                f"{median(r['p50'] for r in seen):,.0f}",
                report.spread(p99, 0),
                ratio,
            ]
        )
    head = ["server", "requests/s", "p50", "p99", "p99 x floor"]
    print(report.table(head, lines), flush=True)
    return results


SPECIAL: dict[str, tuple[str, Callable[[list[Server], int, Path], Any]]] = {
    "idle": ("resident bytes of an idle keep-alive connection", idle),
    **FLOWS,
    "latency": ("p99 at half of the peak rate, by an open-loop generator", latency),
}
