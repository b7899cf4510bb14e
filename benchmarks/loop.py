"""``python -m benchmarks loop``: what one event costs on each event loop.

asyncio, uvloop, rloop and pyfastloop run asyncio's face, pyfastloop with asyncio's Task
(the default) and with its own; tornado and pyfastloop-ioloop run Tornado's IOLoop.
Echoes have both ends in one loop: an operation is a message there and back; floor is
three system calls a message in C: epoll_wait, receive, send. A loop that asks epoll for
every message cannot be below it; pyfastloop mostly finds such an answer by looking.
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
