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

from benchmarks import machine, report
from benchmarks.client_contestants import CONTESTANTS, MAX_CLIENTS
from benchmarks.http_rows import HELLO, MIB
from benchmarks.http_start import in_turn

NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10;
    types {{ }}
    default_type "text/html; charset=UTF-8";
    ssl_certificate {dir}/cert.pem;
    ssl_certificate_key {dir}/key.pem;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        location = / {{ return 200 "Hello, world"; }}
        location = /1m.bin {{ root {dir}; }}
    }}
}}
"""


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
        for name in ("cert", "key"):
            pem = machine.ROOT / "pyfastloop" / f"testing_{name}.pem"
            (work / f"{name}.pem").write_bytes(pem.read_bytes())
        port, tls_port = machine.free_port(), machine.free_port()
        config = work / "nginx.conf"
        config.write_text(NGINX.format(dir=work, port=port, tls_port=tls_port))
        command = ["nginx", "-p", str(work), "-c", str(config)]
        command += ["-e", str(work / "nginx.log")]
        core = machine.cores()[1]
        with machine.running(command, core, work / "nginx.out", port):
            yield Upstream(port, tls_port, work / "cert.pem")


def fetch_round(name: str, row: Row, nginx: Upstream, seconds: float) -> Round:
    command = [sys.executable, "-m", "benchmarks.client_contestants", name]
    command += [nginx.url(row), str(row.at_once), str(seconds), str(row.size)]
    command += [str(nginx.ca_file)]
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


def run_row(
    row: Row, names: list[str], nginx: Upstream, rounds: int, seconds: float
) -> dict[str, list[Round]]:
    results: dict[str, list[Round]] = {}
    here = list(names)
    for turn in range(rounds):
        for name in in_turn(here, turn):
            try:
                one = fetch_round(name, row, nginx, seconds)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"  {name} is out of this row: {error}", flush=True)
                here.remove(name)
                results.pop(name, None)
                continue
            results.setdefault(name, []).append(one)
    return results


def print_row(row: Row, results: dict[str, list[Round]]) -> None:
    print(f"\n{row.name}: {row.what}\n")
    cpu = {name: [r.cpu_us for r in rounds] for name, rounds in results.items()}
    lines = []
    for name in sorted(cpu, key=lambda n: median(cpu[n])):
        line = [name, report.spread(cpu[name])]
        for other, flip in (
            ("floor", False),
            ("tornado", True),
            ("aiohttp-uvloop", True),
        ):
            if other not in cpu:
                line.append("-")
                continue
            pairs = (cpu[other], cpu[name]) if flip else (cpu[name], cpu[other])
            line.append(report.spread(report.paired(*pairs)))
        line.append(f"{median(r.rate for r in results[name]):,.0f}")
        line.append(f"{median(r.p50_us for r in results[name]):,.0f}")
        lines.append(line)
    head = [
        "client",
        "CPU us a fetch",
        "x floor",
        "x less than Tornado",
        "x less than aiohttp-uvloop",
        "fetches/s",
        "p50 us",
    ]
    print(report.table(head, lines), flush=True)


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
    with upstream() as nginx:
        for name in names:
            row = ROWS[name]
            results = run_row(row, here, nginx, options.rounds, options.seconds)
            print_row(row, results)
            everything[name] = {n: [vars(r) for r in v] for n, v in results.items()}
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0
