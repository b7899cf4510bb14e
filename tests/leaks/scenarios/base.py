"""How a scenario is written, and the table of all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any

from pyfastloop.ioloop import IOLoop

Once = Callable[[], Any]
SCENARIOS: dict[str, Callable[[], AbstractContextManager[Once]]] = {}


def scenario(
    function: Callable[[], Generator[Once, None, None]],
) -> Callable[[], AbstractContextManager[Once]]:
    """A context manager that gives what is to be called again and again."""
    made = contextlib.contextmanager(function)
    SCENARIOS[function.__name__] = made
    return made


def on_a_loop(function: Callable[[], Any]) -> Callable[[], Any]:
    """A scenario whose every turn is a coroutine, run by one IOLoop."""

    def run() -> Iterator[Once]:
        loop = IOLoop()
        loop.make_current()
        yield lambda: loop.run_sync(function)
        loop.close(all_fds=True)

    run.__name__ = function.__name__
    scenario(run)  # type: ignore[arg-type]
    return function


def simple(function: Once) -> Once:
    """A scenario without anything around it."""

    def run() -> Iterator[Once]:
        yield function

    run.__name__ = function.__name__
    scenario(run)  # type: ignore[arg-type]
    return function


class Raised(Exception):
    """What scenarios raise on purpose."""
