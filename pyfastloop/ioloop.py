"""The loop as Tornado's programs know it.

`IOLoop` is a thin object over one C loop, which is at the same time an asyncio loop
(`IOLoop.asyncio_loop`): callbacks, timers and descriptors registered here go to C
without Python in between. Its clock is the wall clock, asyncio's is monotonic.

Differences from Tornado: handlers of `add_handler` are called by the dispatch itself,
not one turn later; starting a loop inside itself is a RuntimeError; where a foreign
asyncio loop runs (plain ``asyncio.run``, uvloop) `IOLoop.current()` works as a guest
inside it, slower.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import math
import os
import random
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Literal, TypeVar, overload

from pyfastloop import _core
from pyfastloop.concurrent import (
    Future,
    future_set_exc_info,
    is_future,
)
from pyfastloop.log import app_log
from pyfastloop.util import Configurable, TimeoutError, import_object

__all__ = [
    "Configurable",
    "IOLoop",
    "PeriodicCallback",
    "PollIOLoop",
    "TimeoutError",
    "import_object",
]

_T = TypeVar("_T")

#: Where the IOLoop of an asyncio loop hangs, ours or foreign.
_ATTRIBUTE = "_pyfastloop_ioloop"


def _thread_asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The asyncio loop that was set for this thread; None where none was.

    `asyncio.get_event_loop` would make a selector loop in the main thread (until
    CPython 3.13), so the policy's slot is looked at first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if sys.version_info < (3, 14):
            local = getattr(asyncio.get_event_loop_policy(), "_local", None)
            if local is not None:
                return getattr(local, "_loop", None)
        try:
            return asyncio.get_event_loop()
        except RuntimeError:
            return None


def _set_thread_asyncio_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop(loop)


class IOLoop(Configurable):
    """An I/O event loop: one of a thread, usually `IOLoop.current()`."""

    # The events of `add_handler` are epoll's own.
    NONE = 0
    READ = 0x001
    WRITE = 0x004
    ERROR = 0x018

    asyncio_loop: asyncio.AbstractEventLoop

    @classmethod
    def configurable_base(cls) -> type[Configurable]:
        return IOLoop

    @classmethod
    def configurable_default(cls) -> type[Configurable]:
        from pyfastloop.platform.asyncio import AsyncIOLoop

        return AsyncIOLoop

    @classmethod
    def configure(cls, impl: str | type[Configurable] | None, **kwargs: Any) -> None:
        """Choose the class that ``IOLoop()`` makes: `AsyncIOLoop` or a subclass."""
        from pyfastloop.platform.asyncio import BaseAsyncIOLoop

        if isinstance(impl, str):
            impl = import_object(impl)
        if isinstance(impl, type) and not issubclass(impl, BaseAsyncIOLoop):
            raise RuntimeError("only AsyncIOLoop is allowed, and its subclasses")
        super().configure(impl, **kwargs)

    # ---- which loop ----

    @overload
    @staticmethod
    def current() -> IOLoop: ...
    @overload
    @staticmethod
    def current(instance: Literal[True]) -> IOLoop: ...
    @overload
    @staticmethod
    def current(instance: bool) -> IOLoop | None: ...
    @staticmethod
    def current(instance: bool = True) -> IOLoop | None:
        """The IOLoop of this thread.

        That of the asyncio loop that runs, ours or not; else of the one that was set
        for this thread; where there is none, a new C loop is made and set, or, with
        ``instance=False``, None returned.
        """
        loop: Any = asyncio._get_running_loop()
        if loop is None:
            loop = _thread_asyncio_loop()
            if loop is None or (loop.is_closed() and not hasattr(loop, _ATTRIBUTE)):
                if not instance:
                    return None
                from pyfastloop.aio import new_event_loop

                loop = new_event_loop()
                _set_thread_asyncio_loop(loop)
        current: IOLoop | None = getattr(loop, _ATTRIBUTE, None)
        if current is None and instance:
            from pyfastloop.platform.asyncio import AsyncIOMainLoop

            current = AsyncIOMainLoop(asyncio_loop=loop, make_current=False)
        return current

    @staticmethod
    def instance() -> IOLoop:
        """The older name of `current`."""
        return IOLoop.current()

    @staticmethod
    def initialized() -> bool:
        """Whether this thread has an IOLoop already."""
        return IOLoop.current(instance=False) is not None

    def install(self) -> None:
        """The older name of `make_current`."""
        self._make_current()

    @staticmethod
    def clear_instance() -> None:
        """The older name of `clear_current`."""
        IOLoop._clear_current_loop()

    def make_current(self) -> None:
        """Make this the loop of the thread. Deprecated: a running loop is current."""
        warnings.warn(
            "make_current is deprecated; start the event loop first",
            DeprecationWarning,
            stacklevel=2,
        )
        self._make_current()

    def _make_current(self) -> None:
        raise NotImplementedError

    @staticmethod
    def clear_current() -> None:
        """Let the thread have no loop. Deprecated, as `make_current` is."""
        warnings.warn("clear_current is deprecated", DeprecationWarning, stacklevel=2)
        IOLoop._clear_current_loop()

    @staticmethod
    def _clear_current_loop() -> None:
        old = IOLoop.current(instance=False)
        if old is None:
            return
        old._clear_current_hook()
        if _thread_asyncio_loop() is old.asyncio_loop:
            _set_thread_asyncio_loop(None)

    def _clear_current_hook(self) -> None:
        """Called when this loop stops being the thread's."""

    def initialize(self, make_current: bool = True) -> None:
        """Called by the constructor, with its keyword arguments."""
        if make_current:
            self._make_current()

    # ---- what AsyncIOLoop does ----

    def close(self, all_fds: bool = False) -> None:
        """Close the loop; with `all_fds` every descriptor registered with it too."""
        raise NotImplementedError

    def add_handler(self, fd: Any, handler: Callable[..., None], events: int) -> None:
        """Call ``handler(fd, events)`` whenever one of `events` happens to `fd`.

        `fd` is a number or an object with ``fileno()``, and handed to the handler as it
        was given. ERROR is always watched.
        """
        raise NotImplementedError

    def update_handler(self, fd: Any, events: int) -> None:
        """Change the events a handler is called for."""
        raise NotImplementedError

    def remove_handler(self, fd: Any) -> None:
        """Forget the handler of `fd`, if there is one."""
        raise NotImplementedError

    def start(self) -> None:
        """Run until `stop` is called."""
        raise NotImplementedError

    def stop(self) -> None:
        """Leave the loop after this turn; called before `start`, after its first."""
        raise NotImplementedError

    def time(self) -> float:
        """The clock of `call_at` and `add_timeout`: `time.time`."""
        raise NotImplementedError

    def add_timeout(
        self,
        deadline: float | datetime.timedelta,
        callback: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> object:
        """Call back at a time of `time`, or in a `datetime.timedelta` from now."""
        raise NotImplementedError

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> object:
        """Call back in `delay` seconds; a handle for `remove_timeout`."""
        raise NotImplementedError

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> object:
        """Call back at `when` of the clock `time`; a handle for `remove_timeout`."""
        raise NotImplementedError

    def remove_timeout(self, timeout: object) -> None:
        """Cancel a timeout; one that has run already is fine."""
        raise NotImplementedError

    def add_callback(
        self, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """Call back on the loop's next turn. The method that other threads may call."""
        raise NotImplementedError

    def add_callback_from_signal(
        self, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """`add_callback` from a signal handler. Deprecated: `add_signal_handler`."""
        raise NotImplementedError

    def spawn_callback(
        self, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """`add_callback` for what nobody waits for."""
        raise NotImplementedError

    def add_future(self, future: Any, callback: Callable[[Any], Any]) -> None:
        """Call ``callback(future)`` from the loop once `future` is done, never now."""
        raise NotImplementedError

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[..., _T],
        *args: Any,
    ) -> Future[_T]:
        """Call ``func(*args)`` in an executor (None: the default); a future."""
        raise NotImplementedError

    def set_default_executor(self, executor: concurrent.futures.Executor) -> None:
        """The executor of ``run_in_executor(None, ...)``."""
        raise NotImplementedError

    # ---- what all share ----

    def run_sync(self, func: Callable[[], Any], timeout: float | None = None) -> Any:
        """Start the loop, run `func`, stop the loop; what `func` gave or raised.

        `func` may be a coroutine function or return anything that can be yielded. After
        `timeout` seconds it is cancelled and TimeoutError raised.
        """
        from pyfastloop.gen import convert_yielded

        future: Any = None
        timed_out = False

        def run() -> None:
            nonlocal future
            try:
                result = func()
                if result is not None:
                    result = convert_yielded(result)
            except Exception:
                future = Future()
                future_set_exc_info(future, sys.exc_info())
            else:
                if is_future(result):
                    future = result
                else:
                    future = Future()
                    future.set_result(result)
            self.add_future(future, lambda _: self.stop())

        def expire() -> None:
            nonlocal timed_out
            timed_out = True
            if future is None or not future.cancel():
                self.stop()

        self.add_callback(run)
        handle = None
        if timeout is not None:
            handle = self.add_timeout(self.time() + timeout, expire)
        try:
            self.start()
        finally:
            if handle is not None:
                self.remove_timeout(handle)
        if future is None or future.cancelled() or not future.done():
            if timed_out:
                raise TimeoutError(f"Operation timed out after {timeout} seconds")
            if future is None or not future.done():
                raise RuntimeError("Event loop stopped before Future completed.")
        return future.result()

    def handle_callback_exception(self, callback: Any) -> None:
        """Log the exception of a callback, as the C loop does by itself."""
        app_log.error("Exception in callback %r", callback, exc_info=True)

    def set_blocking_signal_threshold(self, seconds: float | None, action: Any) -> None:
        """Send SIGALRM and call ``action(signum, frame)`` when a turn blocks too long.

        `action` None leaves the signal's default, which ends the process; `seconds`
        None switches it off. Only one loop of a process can have it, in the main
        thread.
        """
        raise NotImplementedError

    def set_blocking_log_threshold(self, seconds: float | None) -> None:
        """Log a stack trace when a turn of the loop takes longer than `seconds`."""
        self.set_blocking_signal_threshold(seconds, self.log_stack)

    def log_stack(self, signal: int, frame: Any) -> None:
        """The signal handler of `set_blocking_log_threshold`."""
        app_log.warning(
            "IOLoop blocked for longer than the threshold in\n%s",
            "".join(traceback.format_stack(frame)),
        )

    def split_fd(self, fd: Any) -> tuple[int, Any]:
        """The number of a descriptor, and the object it was given as."""
        if isinstance(fd, int):
            return fd, fd
        return fd.fileno(), fd

    def close_fd(self, fd: Any) -> None:
        """Close a descriptor given as a number or as an object with ``close()``."""
        try:
            if isinstance(fd, int):
                os.close(fd)
            else:
                fd.close()
        except OSError:
            pass

    def _discard_future_result(self, future: Any) -> None:
        future.result()


class PollIOLoop(IOLoop):
    """The name under which older programs knew loops built on a poller; an IOLoop."""

    @classmethod
    def configurable_base(cls) -> type[Configurable]:
        return PollIOLoop


class PeriodicCallback:
    """Calls a callback every `callback_time` milliseconds, or every timedelta.

    A callback that takes longer makes the loop skip the ticks it missed, so calls keep
    to their raster; a coroutine's calls never overlap. `jitter` (0.1 is 10 %) spreads
    each interval at random, so that many processes do not fire together.
    """

    def __init__(
        self,
        callback: Callable[[], Awaitable[Any] | None],
        callback_time: datetime.timedelta | float,
        jitter: float = 0,
    ) -> None:
        self.callback = callback
        if isinstance(callback_time, datetime.timedelta):
            self.callback_time = callback_time / datetime.timedelta(milliseconds=1)
        else:
            if callback_time <= 0:
                raise ValueError(
                    "Periodic callback must have a positive callback_time, got "
                    f"{callback_time!r}"
                )
            self.callback_time = callback_time
        self.jitter = jitter
        self._running = False
        self._timeout: object = None

    def start(self) -> None:
        """Start the timer, in the loop of this thread."""
        self.io_loop = IOLoop.instance()
        self._running = True
        self._next_timeout = self.io_loop.time()
        self._schedule_next()

    def stop(self) -> None:
        """Stop the timer."""
        self._running = False
        if self._timeout is not None:
            self.io_loop.remove_timeout(self._timeout)
            self._timeout = None

    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._running

    async def _run(self) -> None:
        if not self._running:
            return
        try:
            value = self.callback()
            if value is not None and isawaitable(value):
                await value
        except Exception:
            app_log.error("Exception in callback %r", self.callback, exc_info=True)
        finally:
            self._schedule_next()

    def _schedule_next(self) -> None:
        if self._running:
            self._update_next(self.io_loop.time())
            self._timeout = self.io_loop.add_timeout(self._next_timeout, self._run)

    def _update_next(self, current_time: float) -> None:
        interval = self.callback_time / 1000.0
        if self.jitter:
            interval *= 1 + self.jitter * (random.random() - 0.5)
        late = current_time - self._next_timeout
        if late >= 0:
            # On the raster, in the first place that still lies ahead.
            self._next_timeout += (math.floor(late / interval) + 1) * interval
        else:
            # The clock was set back, or the timer fired a little early: one step on,
            # so that the rate stays what it was.
            self._next_timeout += interval


def _current_asyncio_loop() -> asyncio.AbstractEventLoop:
    return IOLoop.instance().asyncio_loop


_core.set_hooks(current_loop=_current_asyncio_loop)
