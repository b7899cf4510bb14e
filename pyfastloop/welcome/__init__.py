"""The page that ``python -m pyfastloop`` serves: what the loop is doing, live.

An ordinary application on the public API: one page without outside assets, and the
counters of ``loop.stats()`` as JSON, which the page asks for. Nothing of Tornado's.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from pathlib import Path
from typing import Any

import pyfastloop
from pyfastloop import web
from pyfastloop.ioloop import IOLoop

__all__ = ["make_app"]

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Page(web.RequestHandler):
    """The page itself, read once."""

    def initialize(self, page: bytes) -> None:
        self.page = page

    def get(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-cache")
        self.write(self.page)


class Stats(web.RequestHandler):
    """The loop's counters, and the process's time and memory, as JSON."""

    def initialize(self, started: float) -> None:
        self.started = started

    def get(self) -> None:
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        loop: Any = IOLoop.current().asyncio_loop
        self.set_header("Cache-Control", "no-store")
        self.write(
            {
                **loop.stats(),
                "uptime": time.monotonic() - self.started,
                "cpu": time.process_time(),
                "memory": resident_pages * os.sysconf("SC_PAGE_SIZE"),
                "version": pyfastloop.version,
                "python": f"CPython {platform.python_version()}",
                "pid": os.getpid(),
            }
        )


class Hello(web.RequestHandler):
    """What the page's button asks for, five hundred times."""

    def get(self) -> None:
        self.write("Hello, world")


class Turn(web.RequestHandler):
    """The other five hundred: a coroutine that lets the loop go round once."""

    async def get(self) -> None:
        await asyncio.sleep(0)
        self.write("Hello, world")


def make_app() -> web.Application:
    """The welcome application; it has no state but the time of its start."""
    page = Path(__file__).with_name("page.html").read_bytes()
    return web.Application(
        [
            (r"/", Page, {"page": page}),
            (r"/stats", Stats, {"started": time.monotonic()}),
            (r"/hello", Hello),
            (r"/turn", Turn),
        ]
    )
