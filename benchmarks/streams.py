"""``python -m benchmarks streams``: what moving bytes through streams costs.

The same programs on IOStream of pyfastloop, of Tornado, and of Tornado on uvloop;
written again for asyncio's streams on asyncio (streams) and on uvloop (streams-uvloop).
c is a loop of recv and send in C; ssl a loop over Python's SSLSocket. The clients of
serve, connect, idle and waiting are another process, which is not counted; the other
rows have both ends in one thread, and count both. TCP on loopback, Nagle's algorithm
off. What arrives is checked before the clock starts.
"""

from __future__ import annotations

from benchmarks import micro

CONTESTANTS = {
    "pyfastloop": "pyfastloop",
    "tornado": "tornado",
    "tornado-uvloop": "uvloop",
    "streams": "asyncio",
    "streams-uvloop": "uvloop",
    "c": "asyncio",
    "ssl": "ssl",
}

SETTINGS = {
    "bytes": (1 << 30, "what a bulk row moves at least"),
    "idle": (10_000, "connections of idle and waiting"),
}


def main(arguments: list[str]) -> int:
    return micro.run_rows(
        "streams_rows", CONTESTANTS, arguments, __doc__, settings=SETTINGS
    )
