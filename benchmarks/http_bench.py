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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.http_rows import DEFAULT, MIB, ROWS, Row
from benchmarks.http_servers import SERVERS, Server
from benchmarks.http_special import SPECIAL
from benchmarks.http_start import started
from benchmarks.rounds import cost_table, interleaved

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
    with started(row, servers, work) as here:

        def measure(name: str, turn: int) -> Round:
            pids = machine.descendants(here[name].process.pid)
            return load(pids, here[name].port, row, seconds if turn else 1, load_core)

        return interleaved(list(here), rounds, measure)


def gigabytes(rounds: Sequence[Round]) -> str:
    return f"{median(r.bytes / r.requests * r.rate for r in rounds) / 1e9:.2f}"


def p99(rounds: Sequence[Round]) -> str:
    value = median(r.p99_us for r in rounds)
    return f"{value / 1000:.1f}" if value else "-"  # wrk: none when pipelined


def print_row(row: Row, results: dict[str, list[Round]]) -> None:
    print(f"\n{row.name}: {row.what} ({row.connections} connections)\n")
    more = {"GB/s": gigabytes} if len(row.expect) > 100_000 else {}
    more["p99 ms"] = p99
    print(cost_table("server", "request", results, more=more), flush=True)


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
            print_row(row, results)
            everything[row_name] = {n: [vars(r) for r in v] for n, v in results.items()}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0


def main(arguments: list[str]) -> int:
    return command("http", __doc__, arguments, ROWS, DEFAULT, SERVERS, SPECIAL)
