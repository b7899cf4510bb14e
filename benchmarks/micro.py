"""What ``python -m benchmarks loop`` and ``coroutine`` share: rows in child processes.

A row is a function ``row(contestant, n)`` that does its operation n times; it runs in a
fresh process, pinned to one core, with n grown until a run takes long enough. Figures
are CPU nanoseconds of the process per operation, all threads counted. Contestants take
turns within a round, and the ratios are those of one round.

A row returns None, or how many operations it did instead of n, or that and the CPU
seconds that they took, where making things ready would be most of the work. A float is
the figure itself, of another unit, which the rows' module names in UNITS.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from benchmarks import machine, report


class Others(Protocol):
    """Rows of another unit, measured in a way of their own."""

    KINDS: dict[str, Any]

    def rows(self, names: list[str], wanted: list[str], rounds: int) -> dict[str, Any]:
        """Measure and print; the figures of every round."""


Outcome = int | float | tuple[int, float] | None
Row = Callable[[str, int], Outcome]


def measure(row: Row, contestant: str, seconds: float) -> float:
    """CPU nanoseconds for one operation: the last and longest of runs that double.

    The first run imports and warms up; it never counts.
    """
    n = first = 50
    while True:
        gc.collect()
        before = time.process_time()
        outcome = row(contestant, n)
        used = time.process_time() - before
        operations = n
        if isinstance(outcome, float):
            return outcome
        if isinstance(outcome, tuple):
            operations, used = outcome
        elif outcome is not None:
            operations = outcome
        if used >= seconds and n > first:
            return used / operations * 1e9
        n = max(n * 2, int(n * seconds / used * 1.1)) if used > 0.01 else n * 4


def setting(name: str) -> int:
    """An option of the command that rows ask for, as run_rows was given it."""
    return int(os.environ[f"PYFASTLOOP_BENCHMARK_{name.upper()}"])


def child(arguments: list[str]) -> None:
    module, row, contestant, seconds = arguments
    os.sched_setaffinity(0, machine.cores()[0])
    rows = importlib.import_module(f"benchmarks.{module}").ROWS
    print(json.dumps(measure(rows[row][1], contestant, float(seconds))))


def run_rows(
    module: str,
    contestants: dict[str, str],
    arguments: list[str],
    doc: str | None,
    others: Others | None = None,
    settings: dict[str, tuple[int, str]] | None = None,
) -> int:
    """The command line of one family of rows.

    ``contestants`` gives for each name the module that it needs; the first is the one
    whose figures the others' are divided by. ``settings`` are whole numbers that the
    rows ask for by setting(): name, default and what it is.
    """
    rows: dict[str, tuple[str, Row, list[str]]]
    imported = importlib.import_module(f"benchmarks.{module}")
    rows, units = imported.ROWS, getattr(imported, "UNITS", {})
    kinds = others.KINDS if others else {}
    texts = {name: row[0] for name, row in [*rows.items(), *kinds.items()]}
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {module.removesuffix('_rows')}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n" + "\n".join(f"  {n:<16} {t}" for n, t in texts.items()),
    )
    parser.add_argument("--rows", default=",".join(texts), help="names; default: all")
    parser.add_argument("--contestants", default=",".join(contestants), help="names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each run, CPU")
    parser.add_argument(
        "--python",
        action="append",
        help="another interpreter that has the package and the contestants; may be "
        "given several times, they run one after the other",
    )
    parser.add_argument("--json", type=Path, help="write every round into this file")
    for name, (default, what) in (settings or {}).items():
        parser.add_argument(f"--{name}", type=int, default=default, help=what)
    options = parser.parse_args(arguments)
    if options.python:
        return elsewhere(options.python, module.removesuffix("_rows"), arguments)
    for name in settings or {}:
        variable = f"PYFASTLOOP_BENCHMARK_{name.upper()}"
        os.environ[variable] = str(getattr(options, name))
    names, wanted = options.rows.split(","), options.contestants.split(",")
    for given, known in ((names, texts), (wanted, contestants)):
        unknown = [n for n in given if n not in known]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    here = []
    for name in wanted:
        needed = contestants[name]
        if importlib.util.find_spec(needed) is None:
            print(f"{name} does not take part: {needed} is not installed")
        else:
            here.append(name)
    print(
        f"{machine.describe()}\n{options.rounds} rounds of {options.seconds:g} s of CPU"
    )
    everything: dict[str, dict[str, list[float]]] = {}
    for name in [name for name in names if name in rows]:
        takes_part = [c for c in here if c in rows[name][2]]
        everything[name] = one_row(module, name, takes_part, options)
        unit = units.get(name, "CPU ns")
        show(name, rows[name][0], everything[name], here[0], unit)
    if others is not None:
        of_them = [name for name in names if name in kinds]
        everything.update(others.rows(of_them, here, options.rounds))
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")
    return 0


def elsewhere(pythons: list[str], command: str, arguments: list[str]) -> int:
    """The same command under each of the interpreters."""
    rest = [a for a in arguments if not a.startswith("--python=")]
    while "--python" in rest:
        at = rest.index("--python")
        del rest[at : at + 2]
    worst = 0
    for python in pythons:
        done = subprocess.run(
            [python, "-m", "benchmarks", command, *rest], cwd=machine.ROOT, check=False
        )
        worst = max(worst, abs(done.returncode))
    return worst


def one_row(
    module: str, name: str, contestants: list[str], options: argparse.Namespace
) -> dict[str, list[float]]:
    results: dict[str, list[float]] = {}
    left = list(contestants)
    for turn in range(options.rounds):
        start = turn % max(1, len(left))
        for contestant in left[start:] + left[:start]:
            command = [sys.executable, "-m", "benchmarks.micro", module, name]
            command += [contestant, str(options.seconds)]
            try:
                done = subprocess.run(
                    command,
                    cwd=machine.ROOT,
                    capture_output=True,
                    text=True,
                    timeout=120,
                )
                failed = done.stderr.strip().splitlines()[-1] if done.returncode else ""
            except subprocess.TimeoutExpired:
                failed = "it took more than 120 s"
            if failed:
                print(f"  {contestant} is out of {name}: {failed}", flush=True)
                left.remove(contestant)
                results.pop(contestant, None)
                continue
            results.setdefault(contestant, []).append(json.loads(done.stdout))
    return results


def show(
    name: str, what: str, results: dict[str, list[float]], first: str, unit: str
) -> None:
    print(f"\n{name}: {what}\n")
    lines = []
    for contestant in sorted(results, key=lambda c: median(results[c])):
        ns = results[contestant]
        ratio = "-"
        if first in results:
            ratio = report.spread(report.paired(ns, results[first]))
        lines.append([contestant, report.spread(ns, 0), ratio])
    print(report.table(["", unit, f"x {first}"], lines), flush=True)


def modules(package: str, *names: str) -> list[Any]:
    """Modules of pyfastloop or Tornado by name: the same program runs on both."""
    return [importlib.import_module(f"{package}.{name}") for name in names]


if __name__ == "__main__":
    child(sys.argv[1:])
