"""``python -m benchmarks coroutine``: what one step of a coroutine costs.

Generator rows run the same program on pyfastloop, Tornado, and Tornado over uvloop;
await rows on plain asyncio and uvloop too. pyfastloop-own is pyfastloop with its own
Task, pyfastloop with asyncio's. The rows parked-* are bytes of memory.
"""

from __future__ import annotations

from benchmarks import coroutine_memory, micro

CONTESTANTS = {
    "pyfastloop": "pyfastloop",
    "pyfastloop-own": "pyfastloop",
    "tornado": "tornado",
    "tornado-uvloop": "uvloop",
    "asyncio": "asyncio",
    "uvloop": "uvloop",
}


def main(arguments: list[str]) -> int:
    return micro.run_rows(
        "coroutine_rows", CONTESTANTS, arguments, __doc__, coroutine_memory
    )
