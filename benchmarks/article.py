"""``python -m benchmarks article``: the comparison of the founding articles, with ab.

An upstream takes 100 ms for an answer. A handler asks it and passes the answer on: in
the synchronous form, and in the four asynchronous ones. ``ab -c 5 -n 50`` asks each.
The programs are examples/slow_upstream.py and examples/async_fetch.py.

What can be reached follows from the upstream and from ab. Synchronously the requests
take 100 ms each, one after the other. Asynchronously five go at once, but ab (2.3, as
Debian has it; strace shows it) sends its first request alone, waits for the answer, and
only then keeps five connections busy. So n requests take 1 + (n - 1) / 5 rounds of
100 ms, rounded up: 11 for 50, and no server can be more than 50 / 11 = 4.55 times as
fast as one that wastes nothing synchronously; 4.95 times with ``-n 500``. The table
gives the rate as a share of that ceiling, too: of 1 / 100 ms for the synchronous form,
of n / (rounds x 100 ms) for the others. The ratio of two measured rates exceeds the
ceiling's where the synchronous form wastes time of its own, making a loop and a
connection for each request.
"""

from __future__ import annotations

import argparse
import http.client
import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import machine, report

FORMS = ["sync", "callback", "engine", "coroutine", "async"]


def rate(url: str, clients: int, requests: int, on: set[int]) -> float:
    """Requests a second as ab counts them; an answer that fails is an error."""
    cores = ",".join(map(str, on))
    done = subprocess.run(
        ["taskset", "-c", cores, "ab", "-c", str(clients), "-n", str(requests), url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    def number(name: str) -> float:
        found = re.search(rf"^{name}:\s+([\d.]+)", done.stdout, re.MULTILINE)
        return float(found[1]) if found else 0.0

    bad = number("Failed requests") + number("Non-2xx responses")
    if bad or number("Complete requests") != requests:
        raise SystemExit(f"ab counted failures:\n{done.stdout}")
    return number("Requests per second")


def ceilings(clients: int, requests: int, seconds: float) -> tuple[float, float]:
    """Requests a second at most, synchronously and asynchronously; see the module."""
    rounds = 1 + math.ceil((requests - 1) / clients)
    return 1 / seconds, requests / (rounds * seconds)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks article",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", type=int, default=5, help="clients at once")
    parser.add_argument("-n", type=int, default=50, help="requests of each form")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--milliseconds", type=int, default=100, help="of the upstream")
    options = parser.parse_args(arguments)
    for program in ("ab", "taskset"):
        if not shutil.which(program):
            parser.error(
                f"{program} is not installed (Debian: apache2-utils, util-linux)"
            )

    server_core, load_core = machine.cores()
    examples = machine.ROOT / "examples"
    with tempfile.TemporaryDirectory(prefix="pyfastloop-bench-") as directory:
        up, down = machine.free_port(), machine.free_port()
        seconds = str(options.milliseconds / 1000)
        upstream = [
            sys.executable,
            str(examples / "slow_upstream.py"),
            str(up),
            seconds,
        ]
        server = [sys.executable, str(examples / "async_fetch.py"), str(down)]
        server.append(f"http://127.0.0.1:{up}/")
        logs = Path(directory)
        with (
            machine.running(upstream, load_core, logs / "upstream.log", up),
            machine.running(server, server_core, logs / "server.log", down),
        ):
            rates: dict[str, list[float]] = {form: [] for form in FORMS}
            for form in FORMS:
                connection = http.client.HTTPConnection("127.0.0.1", down, timeout=60)
                connection.request("GET", f"/{form}")
                answer = connection.getresponse()
                if (answer.status, answer.read()) != (200, b"done"):
                    raise SystemExit(f"/{form} answered {answer.status}, not 200 done")
                connection.close()
            for _ in range(options.rounds):
                for form in FORMS:
                    url = f"http://127.0.0.1:{down}/{form}"
                    rates[form].append(rate(url, options.c, options.n, load_core))

    one_by_one, at_once = ceilings(options.c, options.n, options.milliseconds / 1000)
    print(machine.describe())
    print(
        f"ab -c {options.c} -n {options.n}, an upstream of {options.milliseconds} ms, "
        f"rounds: {options.rounds}\n"
        f"At most {one_by_one:.1f} requests/s synchronously and {at_once:.1f} "
        f"asynchronously, {at_once / one_by_one:.2f} times as many: ab sends its first "
        "request alone\n"
    )
    lines = []
    for form in FORMS:
        most = one_by_one if form == "sync" else at_once
        lines.append(
            [
                form,
                f"{median(rates[form]):.2f}",
                f"{median(rates[form]) / most * 100:.1f} %",
                report.spread(report.paired(rates[form], rates["sync"])),
            ]
        )
    head = ["handler", "requests/s", "of the most", "x synchronous"]
    print(report.table(head, lines))
    return 0
