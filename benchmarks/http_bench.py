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
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine, report
from benchmarks.http_rows import DEFAULT, MIB, ROWS, Row
from benchmarks.http_servers import SERVERS, Server
from benchmarks.http_special import SPECIAL
from benchmarks.http_start import in_turn, started

LUA = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Round:
    requests: int
    cpu_us: float  # per request
    rate: float  # requests per second
    bytes: int
    p99_us: int


def load(pids: list[int], port: int, row: Row, seconds: int, on: set[int]) -> Round:
    wrk = ["wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "-s", str(LUA)]
    for name, value in row.headers.items():
        wrk += ["-H", f"{name}: {value}"]
    scheme = "https" if row.tls else "http"
    wrk += [f"{scheme}://127.0.0.1:{port}{row.path}", "--"]
    wrk += [str(row.depth), row.method, str(row.body)]
    before = machine.cpu_seconds(pids)
    done = subprocess.run(
        wrk,
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
    load_core = machine.cores()[1]
    results: dict[str, list[Round]] = {}
    with started(row, servers, work) as here:
        # One short round first, thrown away: caches, branch predictors, lazy imports.
        for turn in range(rounds + 1):
            for name in in_turn(list(here), turn):
                pids = machine.descendants(here[name].process.pid)
                length = seconds if turn else 1
                try:
                    one = load(pids, here[name].port, row, length, load_core)
                except (RuntimeError, ProcessLookupError) as error:
                    print(f"  {name} is out of this row: {error}", flush=True)
                    del here[name]
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


# Rows that run by themselves: what they are, and the function that does it.
Special = Mapping[str, tuple[str, Callable[[list[Server], int, Path], Any]]]


def command(
    name: str,
    doc: str | None,
    arguments: list[str],
    rows: Mapping[str, Row],
    default: list[str],
    contestants: Mapping[str, Server],
    special: Special,
) -> int:
    """The command line of a family of rows, and its run."""
    known = {r.name: r.what for r in rows.values()}
    known |= {row: what for row, (what, _) in special.items()}
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {n:<11}{what}" for n, what in known.items()),
    )
    parser.add_argument(
        "--rows", default=",".join(default), help="comma-separated, or all"
    )
    parser.add_argument(
        "--servers", default="", help="comma-separated; default: all here"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--json", type=Path, help="write every round into this file")
    options = parser.parse_args(arguments)
    names = list(known) if options.rows == "all" else options.rows.split(",")
    wanted = options.servers.split(",") if options.servers else list(contestants)
    for given, there in ((names, known), (wanted, contestants)):
        unknown = [n for n in given if n not in there]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(there)}")
    if not shutil.which("wrk"):
        parser.error("wrk is not installed (Debian: apt-get install wrk)")

    servers = []
    for wanted_name in wanted:
        gone = contestants[wanted_name].missing()
        if gone is None:
            servers.append(contestants[wanted_name])
        else:
            print(f"{wanted_name} does not take part: {gone} is not installed")
    print(f"{machine.describe()}\n{options.rounds} rounds of {options.seconds} s")
    everything: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="pyfastloop-bench-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx's worker is another user
        (work / "1m.bin").write_bytes(MIB)
        for row_name in names:
            if row_name in special:
                run = special[row_name][1]
                everything[row_name] = run(servers, options.rounds, work)
                continue
            row = rows[row_name]
            results = run_row(row, servers, options.rounds, options.seconds, work)
            print_row(row, results, servers)
            everything[row_name] = {n: [vars(r) for r in v] for n, v in results.items()}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0


def main(arguments: list[str]) -> int:
    return command("http", __doc__, arguments, ROWS, DEFAULT, SERVERS, SPECIAL)
