"""The memory rows of ``python -m benchmarks coroutine``: bytes of a parked coroutine.

A child process starts many coroutines, each of which waits for a future of its own, and
asks the kernel how much its resident memory grew. The future is counted in.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import machine, report
from benchmarks.micro import modules

#: How many are parked; 1,000 before, so that what is there once is not counted.
PARKED = 20_000
FIRST = 1_000


def generator(package: str) -> Callable[[], object]:
    """``@gen.coroutine`` that yields a pending future."""
    gen, concurrent = modules(package, "gen", "concurrent")

    @gen.coroutine
    def wait() -> Any:
        yield concurrent.Future()

    return wait


def native(package: str) -> Callable[[], object]:
    """``async def`` that awaits a pending future, started as a yield starts it."""
    gen, concurrent = modules(package, "gen", "concurrent")

    async def wait() -> None:
        await concurrent.Future()

    return lambda: gen.convert_yielded(wait())


def task(package: str) -> Callable[[], object]:
    """``async def`` that awaits a future of the loop, started by create_task."""
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        await loop.create_future()

    return lambda: loop.create_task(wait())


KINDS: dict[str, tuple[str, Callable[[str], Callable[[], object]]]] = {
    "parked-generator": ("a generator-based coroutine that waits", generator),
    "parked-native": ("an async def that waits", native),
    "parked-task": ("a task of create_task that waits", task),
}
CONTESTANTS = {
    "parked-generator": ["pyfastloop", "tornado", "tornado-uvloop"],
    "parked-native": ["pyfastloop", "tornado", "tornado-uvloop"],
    "parked-task": ["pyfastloop", "pyfastloop-own", "asyncio", "uvloop"],
}


async def park(start: Callable[[], object], keep: list[object]) -> float:
    """Bytes for each of `PARKED` coroutines."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    before = 0
    for count in (FIRST, PARKED):
        keep.extend([start() for _ in range(count)])
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        grown = machine.resident_bytes([os.getpid()]) - before
        before += grown
    return grown / PARKED


def measure(row: str, contestant: str) -> float:
    package = contestant.removesuffix("-own").removesuffix("-uvloop")
    loops = contestant.removesuffix("-own").removeprefix("tornado-")
    make = importlib.import_module("asyncio" if loops == "tornado" else loops)
    loop = make.new_event_loop()
    if contestant.endswith("-own"):
        loop.set_own_tasks(True)

    async def run() -> float:
        keep: list[object] = []
        return await park(KINDS[row][1](package), keep)

    return float(loop.run_until_complete(run()))


def rows(names: list[str], wanted: list[str], rounds: int) -> dict[str, Any]:
    """Measure and print; the figures of every round."""
    everything: dict[str, Any] = {}
    for name in names:
        results: dict[str, list[float]] = {}
        for _ in range(rounds):
            for contestant in CONTESTANTS[name]:
                if contestant in wanted:
                    bytes_each = ask_child(name, contestant)
                    results.setdefault(contestant, []).append(bytes_each)
        everything[name] = results
        print(f"\n{name}: {KINDS[name][0]}\n")
        first = next(iter(results))
        lines = [
            [c, report.spread(r, 0), report.spread(report.paired(r, results[first]))]
            for c, r in results.items()
        ]
        print(report.table(["", "bytes", f"x {first}"], lines), flush=True)
    return everything


def ask_child(name: str, contestant: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.coroutine_memory", name, contestant],
        cwd=machine.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"{contestant} failed in {name}:\n{done.stderr}")
    return float(json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
    sys.stdout.flush()
    os._exit(0)  # nothing that is parked is worth taking down
