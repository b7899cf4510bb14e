"""``python -m benchmarks loop``: what one event costs on each event loop.

asyncio, uvloop, rloop and pyfastloop run asyncio's face, pyfastloop with asyncio's Task
(the default) and with its own; tornado and pyfastloop-ioloop run Tornado's IOLoop.
Echoes have both ends in one loop: an operation is a message there and back; floor is
the same three system calls a message in C, below which no such loop can be.
"""

from __future__ import annotations

from benchmarks import micro

CONTESTANTS = {
    "pyfastloop": "pyfastloop",
    "pyfastloop-own": "pyfastloop",
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "rloop": "rloop",
    "pyfastloop-ioloop": "pyfastloop",
    "tornado": "tornado",
    "floor": "benchmarks",
}


def main(arguments: list[str]) -> int:
    return micro.run_rows("loop_rows", CONTESTANTS, arguments, __doc__)
