"""Rounds of several contestants, interleaved, and the table of what they cost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Protocol, TypeVar

from benchmarks import report


class Costs(Protocol):
    """What a round came to."""

    @property
    def cpu_us(self) -> float:
        """CPU time of one operation in microseconds."""

    @property
    def rate(self) -> float:
        """Operations per second."""


Result = TypeVar("Result")
Cost = TypeVar("Cost", bound=Costs)

# The columns of cost_table: whom a contestant is compared with, and whether the other
# one's cost stands above the line.
FLOOR = ("x floor", "floor", False)
TORNADO = ("x less than Tornado", "tornado", True)
AIOHTTP_UVLOOP = ("x less than aiohttp-uvloop", "aiohttp-uvloop", True)


def in_turn(names: Sequence[str], turn: int) -> list[str]:
    """The names, beginning one further each turn."""
    start = turn % max(1, len(names))
    return [*names[start:], *names[:start]]


def interleaved(
    names: Sequence[str],
    rounds: int,
    measure: Callable[[str, int], Result],
    *,
    warm: bool = True,
) -> dict[str, list[Result]]:
    """``measure(name, turn)`` for each name in every round.

    A contestant that fails is dropped from the row by name. Turn 0 comes first
    where ``warm``, thrown away: caches, branch predictors, lazy imports.
    """
    here = list(names)
    results: dict[str, list[Result]] = {}
    for turn in range(0 if warm else 1, rounds + 1):
        for name in in_turn(here, turn):
            try:
                one = measure(name, turn)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                print(f"  {name} is out of this row: {error}", flush=True)
                here.remove(name)
                results.pop(name, None)
                continue
            if turn:
                results.setdefault(name, []).append(one)
    return results


def cost_table(
    who: str,
    operation: str,
    results: Mapping[str, Sequence[Cost]],
    beside: Sequence[tuple[str, str, bool]] = (FLOOR, TORNADO),
    more: Mapping[str, Callable[[Sequence[Cost]], str]] | None = None,
) -> str:
    """Cheapest first: CPU time of an operation, ratios to others, rate, and more."""
    cpu = {name: [r.cpu_us for r in rounds] for name, rounds in results.items()}
    lines = []
    for name in sorted(cpu, key=lambda n: median(cpu[n])):
        line = [name, report.spread(cpu[name])]
        for _, other, above in beside:
            if other not in cpu:
                line.append("-")
                continue
            pair = (cpu[other], cpu[name]) if above else (cpu[name], cpu[other])
            line.append(report.spread(report.paired(*pair)))
        line.append(f"{median(r.rate for r in results[name]):,.0f}")
        line += [tell(results[name]) for tell in (more or {}).values()]
        lines.append(line)
    an = "an" if operation[0] in "aeiou" else "a"
    head = [who, f"CPU us {an} {operation}", *(title for title, _, _ in beside)]
    plural = f"{operation}es" if operation.endswith("ch") else f"{operation}s"
    return report.table([*head, f"{plural}/s", *(more or {})], lines)
