"""``python -m benchmarks client``: what fetching costs.

nginx answers on one core; on the other each client fetches in turn, every one in a
process of its own, with 64 connections at most, its certificate checked where there is
TLS. The figure is the CPU time of the client's process, divided by its fetches; the
fetches a second are what one core gives. Each answer's status and length are checked.

Tornado's own client has no pool and opens a connection for each fetch. The floor is a
loop over blocking sockets that sends the same bytes and reads as many as came the first
time: what the kernel (and OpenSSL) cost whoever asks.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import machine, nginx
from benchmarks.client_contestants import CONTESTANTS, MAX_CLIENTS
from benchmarks.http_rows import HELLO, MIB
from benchmarks.http_servers import CERTIFICATE, KEY
from benchmarks.rounds import AIOHTTP_UVLOOP, FLOOR, TORNADO, cost_table, interleaved


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    path: str = "/"
    size: int = len(HELLO)
    at_once: int = 32
    tls: bool = False


ROWS = {
    row.name: row
    for row in [
        Row("small", "32 at once, 12 bytes"),
        Row("one", "one at a time, 12 bytes", at_once=1),
        Row("mebibyte", "4 at once, 1 MiB", "/1m.bin", len(MIB), 4),
        Row("tls", "32 at once, 12 bytes over TLS", tls=True),
    ]
}


@dataclass(frozen=True)
class Round:
    fetches: int
    cpu_us: float  # per fetch
    rate: float  # fetches per second
    p50_us: float
    p99_us: float


@dataclass(frozen=True)
class Upstream:
    port: int
    tls_port: int
    ca_file: Path

    def url(self, row: Row) -> str:
        if row.tls:
            return f"https://127.0.0.1:{self.tls_port}{row.path}"
        return f"http://127.0.0.1:{self.port}{row.path}"


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    """nginx on the core of the load."""
    with tempfile.TemporaryDirectory(prefix="pyfastloop-bench-") as directory:
        work = Path(directory)
        work.chmod(0o755)  # nginx's worker is another user
        (work / "1m.bin").write_bytes(MIB)
        port, tls_port = machine.free_port(), machine.free_port()
        server = [
            f"listen 127.0.0.1:{port} backlog=4096;",
            f"listen 127.0.0.1:{tls_port} ssl backlog=4096;",
            f"ssl_certificate {CERTIFICATE};",
            f"ssl_certificate_key {KEY};",
            'location = / { return 200 "Hello, world"; }',
            f"location = /1m.bin {{ root {work}; }}",
        ]
        command = nginx.command(work, server)
        core = machine.cores()[1]
        with machine.running(command, core, work / "nginx.out", port):
            yield Upstream(port, tls_port, Path(CERTIFICATE))


def fetch_round(name: str, row: Row, source: Upstream, seconds: float) -> Round:
    command = [sys.executable, "-m", "benchmarks.client_contestants", name]
    command += [source.url(row), str(row.at_once), str(seconds), str(row.size)]
    command += [str(source.ca_file)]
    done = subprocess.run(
        command,
        cwd=machine.ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return Round(**json.loads(done.stdout))


def print_row(row: Row, results: dict[str, list[Round]]) -> None:
    print(f"\n{row.name}: {row.what}\n")
    beside = (FLOOR, TORNADO, AIOHTTP_UVLOOP)
    more = {"p50 us": lambda rounds: f"{median(r.p50_us for r in rounds):,.0f}"}
    print(cost_table("client", "fetch", results, beside, more), flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks client",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {r.name:<11}{r.what}" for r in ROWS.values()),
    )
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated")
    parser.add_argument("--clients", default=",".join(CONTESTANTS), help="likewise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each round")
    parser.add_argument("--json", type=Path, help="write every round into this file")
    options = parser.parse_args(arguments)
    names, wanted = options.rows.split(","), options.clients.split(",")
    for given, there in ((names, list(ROWS)), (wanted, list(CONTESTANTS))):
        unknown = [n for n in given if n not in there]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(there)}")
    if not shutil.which("nginx"):
        parser.error("nginx is not installed (Debian: apt-get install nginx-light)")
    here = []
    for name in wanted:
        gone = [m for m in CONTESTANTS[name] if importlib.util.find_spec(m) is None]
        if gone:
            print(f"{name} does not take part: {', '.join(gone)} is not installed")
        else:
            here.append(name)
    print(
        f"{machine.describe()}\n{options.rounds} rounds of {options.seconds:g} s, "
        f"{MAX_CLIENTS} connections at most"
    )
    everything: dict[str, dict[str, list[dict[str, float]]]] = {}
    with upstream() as source:
        for name in names:
            row = ROWS[name]
            results = interleaved(
                here,
                options.rounds,
                lambda name, _, row=row: fetch_round(
                    name, row, source, options.seconds
                ),
                warm=False,
            )
            print_row(row, results)
            everything[name] = {n: [vars(r) for r in v] for n, v in results.items()}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0
