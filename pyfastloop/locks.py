"""Locks for coroutines: who has to wait yields, and the loop goes on.

Their names are those of `threading`'s, but they are for the coroutines of one loop, not
for threads. Whoever waits gets a Future; waiters are served in the order in which they
came, and what is released goes to the first of them at once, so that nobody who comes
later takes it away.

`timeout` is a deadline, in the seconds of `IOLoop.time`, or a `datetime.timedelta` from
now; where it passes, the Future raises `util.TimeoutError` (`Condition.wait` gives
False).

The C core keeps permits and waiters; an `acquire` or `release` of a subclass is called
wherever ours would be.

Differences from Tornado: waiters that timed out or were cancelled are forgotten,
however few are released; a task that is cancelled in the very moment in which
``async with`` would enter gives the lock back.
"""

from __future__ import annotations

import datetime
from types import TracebackType
from typing import Any, NoReturn

from pyfastloop import _core, ioloop
from pyfastloop.concurrent import Future
from pyfastloop.util import TimeoutError

__all__ = ["BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"]

_Timeout = float | datetime.timedelta | None


def _at_timeout(
    future: Future[Any], timeout: float | datetime.timedelta, message: str | None
) -> None:
    """Have `future` raise TimeoutError at `timeout`; without a message, give False."""
    loop = ioloop.IOLoop.current()

    def expire() -> None:
        if not future.done():
            if message is None:
                future.set_result(False)
            else:
                future.set_exception(TimeoutError(message))

    handle = loop.add_timeout(timeout, expire)
    future.add_done_callback(lambda _: loop.remove_timeout(handle))


class Condition(_core.ConditionBase):
    """Lets any number of coroutines wait until they are notified.

    Unlike `threading.Condition` it needs no lock around it: nothing else runs between
    a look at the state that one waits for and the call of `wait`.
    """

    def __repr__(self) -> str:
        waiting = self._waiting
        return f"<{type(self).__name__}{f' waiters[{waiting}]' if waiting else ''}>"


class Event(_core.EventBase):
    """Lets any number of coroutines wait until it is set.

    Once it is set, nobody waits any more until it is cleared.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'set' if self.is_set() else 'clear'}>"


class _NoPlainWith:
    """``with`` is no way to wait: it says so."""

    __slots__ = ()

    _instead: str

    def __enter__(self) -> NoReturn:
        raise RuntimeError(self._instead)

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.__enter__()


class Semaphore(_NoPlainWith, _core.Permits):
    """A number of permits, of which coroutines take one each.

    ::

        async with semaphore:
            ...

        with (yield semaphore.acquire()):  # in a generator-based coroutine
            ...
    """

    _instead = "Use 'async with' instead of 'with' for Semaphore"

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError(f"semaphore initial value must be >= 0, got {value}")
        self._value = value

    def __repr__(self) -> str:
        state = f"unlocked,value:{self._value}" if self._value else "locked"
        if waiting := self._waiting:
            state += f",waiters:{waiting}"
        return f"{super().__repr__()[:-1]} [{state}]>"


class BoundedSemaphore(Semaphore):
    """A semaphore that cannot be released more often than it was acquired."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value=value)
        self._initial_value = self._most = value

    def _released_too_often(self) -> NoReturn:
        raise ValueError("Semaphore released too many times")


class Lock(_NoPlainWith, _core.Permits):
    """Lets one coroutine at a time through.

    ::

        async with lock:
            ...

        with (yield lock.acquire()):  # in a generator-based coroutine
            ...
    """

    _instead = "Use `async with` instead of `with` for Lock"

    def __init__(self) -> None:
        self._value = self._most = 1

    def __repr__(self) -> str:
        state = "unlocked" if self._value else "locked"
        if waiting := self._waiting:
            state += f",waiters:{waiting}"
        return f"<{type(self).__name__} {state}>"

    def _released_too_often(self) -> NoReturn:
        raise RuntimeError("release unlocked lock")


async def _acquired(lock: Semaphore | Lock) -> None:
    """Enter `lock` by another `acquire` than ours; give back what was for nothing."""
    future = lock.acquire()
    try:
        await future
    except BaseException:
        # Cancelled after the lock had been handed to us.
        if (
            isinstance(future, Future)
            and future.done()
            and not future.cancelled()
            and future.exception() is None
        ):
            lock.release()
        raise


_core.set_hooks(at_timeout=_at_timeout, acquired=_acquired)
