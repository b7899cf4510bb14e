"""Locks for coroutines: who has to wait yields, and the loop goes on.

Their names are those of `threading`'s, but they are for the coroutines of one loop, not
for threads. Whoever waits gets a Future; waiters are served in the order in which they
came, and what is released goes to the first of them at once, so that nobody who comes
later takes it away.

`timeout` is a deadline, in the seconds of `IOLoop.time`, or a `datetime.timedelta` from
now; where it passes, the Future raises `util.TimeoutError` (`Condition.wait` gives
False).

Differences from Tornado: waiters that timed out or were cancelled are forgotten,
however few are released; a task that is cancelled in the very moment in which
``async with`` would enter gives the lock back.
"""

from __future__ import annotations

import collections
import datetime
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any

from pyfastloop import ioloop
from pyfastloop.concurrent import Future
from pyfastloop.util import TimeoutError

__all__ = ["BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"]

_Timeout = float | datetime.timedelta | None


class _Waiters:
    """Futures in the order in which they came; those that are done do not count.

    A future that timed out or was cancelled stays where it is until it is the first or
    until the list has doubled: forgetting it costs O(1) in the long run. Each may have
    something beside it, which is kept as long.
    """

    __slots__ = ("_entries", "_sweep_at")

    _SMALL = 64

    def __init__(self) -> None:
        self._entries: collections.deque[tuple[Future[Any], Any]] = collections.deque()
        self._sweep_at = self._SMALL

    def add(self, future: Future[Any], beside: Any = None) -> None:
        entries = self._entries
        entries.append((future, beside))
        if len(entries) >= self._sweep_at:
            waiting = [entry for entry in entries if not entry[0].done()]
            self._entries = collections.deque(waiting)
            self._sweep_at = max(self._SMALL, 2 * len(waiting))

    def pop(self) -> tuple[Future[Any], Any] | None:
        """The first that is not done and what is beside it, or None."""
        entries = self._entries
        while entries:
            entry = entries.popleft()
            if not entry[0].done():
                return entry
        return None

    def __len__(self) -> int:
        return sum(not future.done() for future, _ in self._entries)


def _at_timeout(
    future: Future[Any],
    timeout: float | datetime.timedelta,
    expire: Callable[[], None],
) -> None:
    """Have `expire` called at `timeout`, unless `future` is done before that."""
    loop = ioloop.IOLoop.current()
    handle = loop.add_timeout(timeout, expire)
    future.add_done_callback(lambda _: loop.remove_timeout(handle))


def _fail_at_timeout(
    future: Future[Any], timeout: float | datetime.timedelta, message: str
) -> None:
    """Have `future` raise TimeoutError at `timeout`."""

    def expire() -> None:
        if not future.done():
            future.set_exception(TimeoutError(message))

    _at_timeout(future, timeout, expire)


def _resolve(future: Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


class Condition:
    """Lets any number of coroutines wait until they are notified.

    Unlike `threading.Condition` it needs no lock around it: nothing else runs between
    a look at the state that one waits for and the call of `wait`.
    """

    def __init__(self) -> None:
        self._waiters = _Waiters()

    def __repr__(self) -> str:
        waiting = len(self._waiters)
        return f"<{type(self).__name__}{f' waiters[{waiting}]' if waiting else ''}>"

    def wait(self, timeout: _Timeout = None) -> Future[bool]:
        """Wait for `notify`. The Future gives True, and False after `timeout`."""
        future: Future[bool] = Future()
        self._waiters.add(future)
        if timeout is not None:
            _at_timeout(future, timeout, lambda: _resolve(future, False))
        return future

    def notify(self, n: int = 1) -> None:
        """Wake `n` waiters, those that came first."""
        woken: list[Future[bool]] = []
        while n > 0 and (waiter := self._waiters.pop()) is not None:
            woken.append(waiter[0])
            n -= 1
        for future in woken:
            _resolve(future, True)

    def notify_all(self) -> None:
        """Wake all waiters."""
        self.notify(len(self._waiters))


class Event:
    """Lets any number of coroutines wait until it is set.

    Once it is set, nobody waits any more until it is cleared.
    """

    def __init__(self) -> None:
        self._value = False
        self._waiters: set[Future[None]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'set' if self._value else 'clear'}>"

    def is_set(self) -> bool:
        """Whether `set` was called, and `clear` not since."""
        return self._value

    def set(self) -> None:
        """Wake all waiters; `wait` returns at once from now on."""
        if not self._value:
            self._value = True
            waiters, self._waiters = self._waiters, set()
            for future in waiters:
                _resolve(future, None)

    def clear(self) -> None:
        """Have `wait` wait again."""
        self._value = False

    def wait(self, timeout: _Timeout = None) -> Future[None]:
        """Wait for `set`. The Future raises TimeoutError after `timeout`."""
        future: Future[None] = Future()
        if self._value:
            future.set_result(None)
            return future
        self._waiters.add(future)
        future.add_done_callback(self._forget)
        if timeout is not None:
            _fail_at_timeout(future, timeout, "the event was not set in time")
        return future

    def _forget(self, future: Future[None]) -> None:
        self._waiters.discard(future)


class _Nothing:
    """Awaitable, and done."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # type: ignore[return-value]  # nobody sends or throws


_NOTHING = _Nothing()


class _ReleasingContextManager:
    """What an acquisition gives: ``with (yield lock.acquire()): ...`` releases."""

    __slots__ = ("_lock",)

    def __init__(self, lock: Semaphore | Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._lock.release()


class Semaphore:
    """A number of permits, of which coroutines take one each.

    ::

        async with semaphore:
            ...

        with (yield semaphore.acquire()):  # in a generator-based coroutine
            ...
    """

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError(f"semaphore initial value must be >= 0, got {value}")
        self._value = value
        self._waiters = _Waiters()

    def __repr__(self) -> str:
        state = f"unlocked,value:{self._value}" if self._value else "locked"
        waiting = len(self._waiters)
        if waiting:
            state += f",waiters:{waiting}"
        return f"{super().__repr__()[:-1]} [{state}]>"

    def release(self) -> None:
        """Give a permit back, to the first waiter if there is one."""
        waiter = self._waiters.pop()
        if waiter is None:
            self._value += 1
        else:
            waiter[0].set_result(_ReleasingContextManager(self))

    def acquire(self, timeout: _Timeout = None) -> Future[_ReleasingContextManager]:
        """Take a permit. The Future raises TimeoutError after `timeout`.

        It gives a context manager that releases at its end.
        """
        future: Future[_ReleasingContextManager] = Future()
        if self._value > 0:
            self._value -= 1
            future.set_result(_ReleasingContextManager(self))
        else:
            self._waiters.add(future)
            if timeout is not None:
                _fail_at_timeout(future, timeout, "no permit became free in time")
        return future

    def __enter__(self) -> None:
        raise RuntimeError("Use 'async with' instead of 'with' for Semaphore")

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__enter__()

    def __aenter__(self) -> Awaitable[None]:
        if self._value > 0 and type(self).acquire is Semaphore.acquire:
            self._value -= 1
            return _NOTHING
        return _acquired(self)

    def __aexit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> Awaitable[None]:
        self.release()
        return _NOTHING


class BoundedSemaphore(Semaphore):
    """A semaphore that cannot be released more often than it was acquired."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value=value)
        self._initial_value = value

    def release(self) -> None:
        """Give a permit back. Raises ValueError where all are there."""
        if self._value >= self._initial_value:
            raise ValueError("Semaphore released too many times")
        super().release()


class Lock:
    """Lets one coroutine at a time through.

    ::

        async with lock:
            ...

        with (yield lock.acquire()):  # in a generator-based coroutine
            ...
    """

    def __init__(self) -> None:
        self._locked = False
        self._waiters = _Waiters()

    def __repr__(self) -> str:
        state = "locked" if self._locked else "unlocked"
        waiting = len(self._waiters)
        if waiting:
            state += f",waiters:{waiting}"
        return f"<{type(self).__name__} {state}>"

    def acquire(self, timeout: _Timeout = None) -> Future[_ReleasingContextManager]:
        """Take the lock. The Future raises TimeoutError after `timeout`.

        It gives a context manager that releases at its end.
        """
        future: Future[_ReleasingContextManager] = Future()
        if self._locked:
            self._waiters.add(future)
            if timeout is not None:
                _fail_at_timeout(future, timeout, "the lock was not released in time")
        else:
            self._locked = True
            future.set_result(_ReleasingContextManager(self))
        return future

    def release(self) -> None:
        """Give the lock to the first waiter, if any; RuntimeError where it is free."""
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        waiter = self._waiters.pop()
        if waiter is None:
            self._locked = False
        else:
            waiter[0].set_result(_ReleasingContextManager(self))

    def __enter__(self) -> None:
        raise RuntimeError("Use `async with` instead of `with` for Lock")

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.__enter__()

    def __aenter__(self) -> Awaitable[None]:
        if not self._locked and type(self).acquire is Lock.acquire:
            self._locked = True
            return _NOTHING
        return _acquired(self)

    def __aexit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> Awaitable[None]:
        self.release()
        return _NOTHING


async def _acquired(lock: Semaphore | Lock) -> None:
    """Acquire `lock`, and give it back where that was for nothing."""
    future = lock.acquire()
    try:
        await future
    except BaseException:
        # Cancelled after the lock had been handed to us.
        if future.done() and not future.cancelled() and future.exception() is None:
            lock.release()
        raise
