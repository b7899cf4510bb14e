"""``python -m benchmarks article``: the comparison of the founding articles, with ab.

An upstream takes 100 ms for an answer. A handler asks it and passes the answer on: in
the synchronous form, and in the four asynchronous ones. ``ab -c 5 -n 50`` asks each;
with five clients at once the asynchronous forms can be five times as fast and no more.
The programs are examples/slow_upstream.py and examples/async_fetch.py.
"""

from __future__ import annotations

import argparse
import http.client
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
                connection = http.client.HTTPConnection("127.0.0.1", down, timeout=10)
                connection.request("GET", f"/{form}")
                answer = connection.getresponse()
                if (answer.status, answer.read()) != (200, b"done"):
                    raise SystemExit(f"/{form} answered {answer.status}, not 200 done")
                connection.close()
            for _ in range(options.rounds):
                for form in FORMS:
                    url = f"http://127.0.0.1:{down}/{form}"
                    rates[form].append(rate(url, options.c, options.n, load_core))

    print(machine.describe())
    print(
        f"ab -c {options.c} -n {options.n}, an upstream of {options.milliseconds} ms, "
        f"rounds: {options.rounds}\n"
    )
    lines = [
        [
            form,
            f"{median(rates[form]):.2f}",
            report.spread(report.paired(rates[form], rates["sync"])),
        ]
        for form in FORMS
    ]
    print(report.table(["handler", "requests/s", "x synchronous"], lines))
    return 0
