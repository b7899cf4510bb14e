"""IOLoop and asyncio, joined.

In Tornado this is a bridge; here both are faces of one C loop, and what is left are the
names: `AsyncIOLoop` makes a loop, `AsyncIOMainLoop` stands for one that exists.

Differences from Tornado: `AddThreadSelectorEventLoop` and `SelectorThread`, which help
Windows' proactor loop, hand everything to the loop they are given, because each loop of
Linux has ``add_reader``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pyfastloop import _core
from pyfastloop.concurrent import Future
from pyfastloop.gen import convert_yielded
from pyfastloop.ioloop import (
    _ATTRIBUTE,
    IOLoop,
    _set_thread_asyncio_loop,
    _thread_asyncio_loop,
)

__all__ = [
    "AddThreadSelectorEventLoop",
    "AnyThreadEventLoopPolicy",
    "AsyncIOLoop",
    "AsyncIOMainLoop",
    "BaseAsyncIOLoop",
    "SelectorThread",
    "to_asyncio_future",
    "to_tornado_future",
]

_T = TypeVar("_T")


class BaseAsyncIOLoop(IOLoop, _core.IOLoopBase):
    """An IOLoop over an asyncio loop; its hot methods are the C ones."""

    # From C, ahead of IOLoop's descriptions of them.
    add_callback = _core.IOLoopBase.add_callback
    spawn_callback = _core.IOLoopBase.spawn_callback
    call_later = _core.IOLoopBase.call_later
    call_at = _core.IOLoopBase.call_at
    add_timeout = _core.IOLoopBase.add_timeout
    remove_timeout = _core.IOLoopBase.remove_timeout
    time = _core.IOLoopBase.time
    add_future = _core.IOLoopBase.add_future
    add_handler = _core.IOLoopBase.add_handler
    update_handler = _core.IOLoopBase.update_handler
    remove_handler = _core.IOLoopBase.remove_handler
    handlers = _core.IOLoopBase.handlers

    def initialize(  # type: ignore[override]
        self, asyncio_loop: asyncio.AbstractEventLoop, **kwargs: Any
    ) -> None:
        known = getattr(asyncio_loop, _ATTRIBUTE, None)
        if known is not None and known is not self:
            raise RuntimeError(
                f"IOLoop {known!r} already associated with asyncio loop "
                f"{asyncio_loop!r}"
            )
        self.asyncio_loop = asyncio_loop
        self.selector_loop = asyncio_loop
        self.closing = False
        self._blocking_threshold: float | None = None
        self._attach(asyncio_loop)
        setattr(asyncio_loop, _ATTRIBUTE, self)
        super().initialize(**kwargs)

    @property
    def readers(self) -> set[int]:
        """Descriptors with a handler that reads."""
        return set(self.handlers)

    @property
    def writers(self) -> set[int]:
        """Descriptors with a handler that writes."""
        return set(self.handlers)

    def _make_current(self) -> None:
        _set_thread_asyncio_loop(self.asyncio_loop)

    def close(self, all_fds: bool = False) -> None:
        self.closing = True
        for file, _handler in list(self.handlers.values()):
            self.remove_handler(file)
            if all_fds:
                self.close_fd(file)
        core, loop = self._core_loop, self.asyncio_loop
        if getattr(loop, _ATTRIBUTE, None) is self:
            delattr(loop, _ATTRIBUTE)
        if core is not loop:
            core.close()
        loop.close()

    def start(self) -> None:
        self.asyncio_loop.run_forever()

    def stop(self) -> None:
        self.asyncio_loop.stop()

    def add_callback_from_signal(
        self, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        warnings.warn(
            "add_callback_from_signal is deprecated; use asyncio's add_signal_handler",
            DeprecationWarning,
            stacklevel=2,
        )
        self.add_callback(callback, *args, **kwargs)

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[..., _T],
        *args: Any,
    ) -> Future[_T]:
        return self.asyncio_loop.run_in_executor(executor, func, *args)  # type: ignore[return-value]

    def set_default_executor(self, executor: concurrent.futures.Executor) -> None:
        self.asyncio_loop.set_default_executor(executor)

    def set_blocking_signal_threshold(self, seconds: float | None, action: Any) -> None:
        self._blocking_threshold = seconds
        if seconds is not None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL if action is None else action)
            self._blocking_beat()
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _blocking_beat(self) -> None:
        """Put the alarm off: it goes off only when the loop does not come around."""
        if self._blocking_threshold is None or self.closing:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        signal.setitimer(signal.ITIMER_REAL, self._blocking_threshold)
        self.call_later(self._blocking_threshold / 4, self._blocking_beat)


class AsyncIOMainLoop(BaseAsyncIOLoop):
    """The IOLoop of an asyncio loop that exists already."""

    def initialize(self, **kwargs: Any) -> None:  # type: ignore[override]
        kwargs.setdefault("make_current", False)
        if "asyncio_loop" not in kwargs:
            loop = asyncio._get_running_loop() or _thread_asyncio_loop()
            if loop is None:
                from pyfastloop.aio import new_event_loop

                loop = new_event_loop()
                _set_thread_asyncio_loop(loop)
            kwargs["asyncio_loop"] = loop
        super().initialize(**kwargs)

    def _make_current(self) -> None:
        """It is current where its asyncio loop is."""
        if _thread_asyncio_loop() is not self.asyncio_loop:
            super()._make_current()


class AsyncIOLoop(BaseAsyncIOLoop):
    """An IOLoop with a new C loop of its own; what ``IOLoop()`` makes."""

    def initialize(self, **kwargs: Any) -> None:  # type: ignore[override]
        self.is_current = False
        self.old_asyncio: asyncio.AbstractEventLoop | None = None
        own: asyncio.AbstractEventLoop | None = None
        if "asyncio_loop" not in kwargs:
            from pyfastloop.aio import new_event_loop

            own = kwargs["asyncio_loop"] = new_event_loop()
        try:
            super().initialize(**kwargs)
        except BaseException:
            if own is not None:
                own.close()
            raise

    def close(self, all_fds: bool = False) -> None:
        if self.is_current:
            self._leave_thread()
        super().close(all_fds=all_fds)

    def _make_current(self) -> None:
        if not self.is_current:
            self.old_asyncio = _thread_asyncio_loop()
            self.is_current = True
        super()._make_current()

    def _clear_current_hook(self) -> None:
        if self.is_current:
            _set_thread_asyncio_loop(self.old_asyncio)
            self.is_current = False

    def _leave_thread(self) -> None:
        """Give the thread back the loop it had before."""
        if _thread_asyncio_loop() is self.asyncio_loop:
            self._clear_current_hook()
        self.is_current = False


def to_tornado_future(asyncio_future: Any) -> Any:
    """An asyncio future for Tornado's side: the same object."""
    return asyncio_future


def to_asyncio_future(tornado_future: Any) -> Any:
    """Anything that can be yielded, as a future that can be awaited."""
    return convert_yielded(tornado_future)


class SelectorThread:
    """Tornado's help for loops without ``add_reader``; here it asks the loop itself."""

    def __init__(self, real_loop: asyncio.AbstractEventLoop) -> None:
        self._real_loop = real_loop

    def close(self) -> None:
        """Nothing of its own to close."""

    def add_reader(self, fd: Any, callback: Callable[..., None], *args: Any) -> None:
        self._real_loop.add_reader(fd, callback, *args)

    def add_writer(self, fd: Any, callback: Callable[..., None], *args: Any) -> None:
        self._real_loop.add_writer(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        return self._real_loop.remove_reader(fd)

    def remove_writer(self, fd: Any) -> bool:
        return self._real_loop.remove_writer(fd)


class AddThreadSelectorEventLoop(asyncio.AbstractEventLoop):
    """A loop that behaves as the one it was given, which has ``add_reader`` already."""

    MY_ATTRIBUTES = {  # noqa: RUF012
        "_real_loop",
        "_selector",
        "add_reader",
        "add_writer",
        "close",
        "remove_reader",
        "remove_writer",
    }

    def __init__(self, real_loop: asyncio.AbstractEventLoop) -> None:
        self._real_loop = real_loop
        self._selector = SelectorThread(real_loop)

    def __getattribute__(self, name: str) -> Any:
        if name in AddThreadSelectorEventLoop.MY_ATTRIBUTES:
            return super().__getattribute__(name)
        if name in ("__class__", "__dict__"):
            return super().__getattribute__(name)
        return getattr(self._real_loop, name)

    def close(self) -> None:
        self._selector.close()
        self._real_loop.close()

    def add_reader(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., None], *args: Any
    ) -> None:
        self._selector.add_reader(fd, callback, *args)

    def add_writer(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., None], *args: Any
    ) -> None:
        self._selector.add_writer(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        return self._selector.remove_reader(fd)

    def remove_writer(self, fd: Any) -> bool:
        return self._selector.remove_writer(fd)


if TYPE_CHECKING:

    class AnyThreadEventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """A policy under which every thread gets a C loop when it asks for one."""


def __getattr__(name: str) -> Any:
    # A policy class, looked up late: touching policies warns on CPython 3.14.
    if name != "AnyThreadEventLoopPolicy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pyfastloop import aio

    base: Any = aio.EventLoopPolicy

    class AnyThreadEventLoopPolicy(base):  # type: ignore[misc]
        """A policy under which every thread gets a C loop when it asks for one."""

        def __init__(self) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                super().__init__()
            warnings.warn(
                "AnyThreadEventLoopPolicy is deprecated, use asyncio.run "
                "or asyncio.new_event_loop instead",
                DeprecationWarning,
                stacklevel=2,
            )

        def get_event_loop(self) -> asyncio.AbstractEventLoop:
            local = getattr(self, "_local", None)
            loop: asyncio.AbstractEventLoop | None = getattr(local, "_loop", None)
            if loop is None:
                loop = self.new_event_loop()
                self.set_event_loop(loop)
            return loop

    AnyThreadEventLoopPolicy.__qualname__ = "AnyThreadEventLoopPolicy"
    globals()["AnyThreadEventLoopPolicy"] = AnyThreadEventLoopPolicy
    return AnyThreadEventLoopPolicy
