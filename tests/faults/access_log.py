"""Lets the n-th realloc fail while a line of the access log is put together.

    LD_PRELOAD=shim.so python tests/faults/access_log.py

A line is there whole or not at all, and what is not there is counted. Prints how many
calls were tried.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from pyfastloop import _core
from pyfastloop.httputil import HTTPServerRequest
from pyfastloop.web import Application, RequestHandler

shim = ctypes.CDLL(None)
shim.fl_fault_hits.restype = ctypes.c_long
shim.fl_fault.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]

MOST = 50


class Connection:
    def set_close_callback(self, callback: object) -> None:
        pass


def handler(path: str) -> RequestHandler:
    request = HTTPServerRequest(
        "GET", path, connection=Connection(), headers={"User-Agent": "me"}
    )
    return RequestHandler(Application(), request)


def lines(n: int, format: str) -> tuple[int, list[bytes], int]:
    """What a log has of three lines, the second with the n-th realloc failing."""
    short, long = handler("/short"), handler("/" + "long" * 200)
    readable, writable = os.pipe()
    log = _core.AccessLog(writable, format)
    log(short)
    shim.fl_fault(b"realloc", n, errno.ENOMEM)
    try:
        log(long)
    finally:
        hits = shim.fl_fault_hits()
        shim.fl_fault(b"", 0, 0)
    log(short)
    log.flush()
    os.close(writable)
    with open(readable, "rb") as pipe:
        return hits, pipe.read().splitlines(keepends=True), log.lost


def main() -> None:
    for n in range(1, MOST):
        hits = 0
        for format in ("text", "combined", "json"):
            hit, seen, lost = lines(n, format)
            hits += hit
            assert len(seen) + lost == 3, (format, seen, lost)
            for line in seen:
                assert line.endswith(b"\n"), line
                assert line.count(b"/short") + line.count(b"/longlong") == 1, line
        if hits == 0:
            print(n)
            return
    sys.exit("the calls do not end")


main()
