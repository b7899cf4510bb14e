"""``python -m benchmarks loop``: what one event costs on each event loop.

asyncio, uvloop, rloop and pyfastloop run asyncio's face, pyfastloop with asyncio's Task
(the default) and with its own; tornado and pyfastloop-ioloop run Tornado's IOLoop.
Echoes have both ends in one loop: an operation is a message there and back.
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
}


def main(arguments: list[str]) -> int:
    return micro.run_rows("loop_rows", CONTESTANTS, arguments, __doc__)
