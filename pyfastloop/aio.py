"""The asyncio face of the C loop.

`Loop` is an asyncio event loop: `_core.Loop` carries everything that happens per event
(callbacks, timers, descriptors), this module what happens once: setting up, shutting
down, signal handlers, name look-ups in threads, exception reports.

    pyfastloop.run(main())                                   # instead of asyncio.run
    asyncio.Runner(loop_factory=pyfastloop.new_event_loop)   # with asyncio's own tools

`create_task` makes an `asyncio.Task`, because programs ask for the type;
`Loop.set_own_tasks(True)` makes it the faster `_core.Task`, which passes as one.
"""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import functools
import logging
import os
import reprlib
import signal
import socket
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pyfastloop import _core
from pyfastloop._aio_connections import Connections
from pyfastloop._aio_datagrams import Datagrams
from pyfastloop._aio_pipes import Pipes
from pyfastloop._aio_sendfile import SendFile
from pyfastloop._aio_sockets import Sockets
from pyfastloop._aio_subprocess import Subprocesses
from pyfastloop._aio_tls import Tls

__all__ = ["EventLoopPolicy", "Loop", "install", "new_event_loop", "run"]

_T = TypeVar("_T")
_log = logging.getLogger("asyncio")


def _format_callback(callback: Any, args: tuple[Any, ...]) -> str:
    """``name(args) at file:line`` of a callback, for reports and repr."""
    if isinstance(callback, functools.partial):
        keywords = [f"{k}={reprlib.repr(v)}" for k, v in callback.keywords.items()]
        inner = [reprlib.repr(a) for a in callback.args]
        text = _format_callback(callback.func, ())[:-2]
        return f"{text}({', '.join(inner + keywords)})({_format_args(args)})"
    code = getattr(callback, "__code__", None)
    name = getattr(callback, "__qualname__", None) or getattr(
        callback, "__name__", None
    )
    text = f"{name or repr(callback)}({_format_args(args)})"
    if code is not None:
        text += f" at {code.co_filename}:{code.co_firstlineno}"
    return text


def _format_args(args: tuple[Any, ...]) -> str:
    return ", ".join(reprlib.repr(arg) for arg in args)


_core.set_hooks(format_callback=_format_callback)


def _debug_by_environment() -> bool:
    return sys.flags.dev_mode or (
        not sys.flags.ignore_environment and bool(os.environ.get("PYTHONASYNCIODEBUG"))
    )


_LEAVE_THE_LOOP = (SystemExit, KeyboardInterrupt)


class Loop(  # type: ignore[misc]  # typeshed's overloads
    _core.Loop,
    Connections,
    Datagrams,
    Pipes,
    SendFile,
    Sockets,
    Subprocesses,
    Tls,
    asyncio.AbstractEventLoop,
):
    """An asyncio event loop on epoll, in C."""

    def __init__(self) -> None:
        self._default_executor: concurrent.futures.Executor | None = None
        self._executor_shut = False
        self._signals: dict[int, asyncio.Handle] = {}
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._asyncgens_shut = False
        self.set_debug(_debug_by_environment())

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )

    def __del__(self) -> None:
        if not self.is_closed():
            warnings.warn(
                f"unclosed event loop {self!r}", ResourceWarning, stacklevel=2
            )
            if not self.is_running():
                self.close()

    # ---- running ----

    def _check_runnable(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "Cannot run the event loop while another loop is running"
            )

    def run_forever(self) -> None:
        """Run until `stop` is called."""
        self._check_runnable()
        self._run_nested()

    def _run_nested(self) -> None:
        """`run_forever` that may run inside another loop, which waits meanwhile."""
        old_hooks = sys.get_asyncgen_hooks()
        old_depth = sys.get_coroutine_origin_tracking_depth()
        firstiter, finalizer = self._asyncgen_first, self._asyncgen_last
        old_wakeup = self._watch_signals()
        try:
            sys.set_asyncgen_hooks(firstiter=firstiter, finalizer=finalizer)
            if self.get_debug():
                sys.set_coroutine_origin_tracking_depth(10)
            self._run()
        finally:
            if old_wakeup is not None:
                signal.set_wakeup_fd(old_wakeup)
            sys.set_coroutine_origin_tracking_depth(old_depth)
            sys.set_asyncgen_hooks(*old_hooks)

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future` (or a coroutine, which becomes a task) is done."""
        self._check_runnable()
        return self._complete(future, self.run_forever)

    def _complete(self, future: Any, run_loop: Callable[[], None]) -> Any:
        fresh = not asyncio.isfuture(future)
        future = asyncio.ensure_future(future, loop=self)
        if fresh:
            future._log_destroy_pending = False
        future.add_done_callback(self._stop_when_done)
        try:
            run_loop()
        except BaseException:
            if fresh and future.done() and not future.cancelled():
                future.exception()  # it is raised here; nothing was lost
            raise
        finally:
            future.remove_done_callback(self._stop_when_done)
        if not future.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return future.result()

    def _stop_when_done(self, future: Any) -> None:
        # Nothing here asks for memory before stop(): a loop that was not stopped for
        # want of it would run for ever.
        if not future.cancelled() and isinstance(future.exception(), _LEAVE_THE_LOOP):
            return  # it has left the loop by itself
        self.stop()

    def close(self) -> None:
        """Close the loop: nothing that waits in it will run. Closing twice is fine."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        for number in list(self._signals):
            self.remove_signal_handler(number)
        super().close()
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def _check_open(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

    # ---- tasks and futures ----

    def _create_by_factory(self, coro: Any, *, name: Any = None, **kwargs: Any) -> Any:
        """`create_task` where a task factory is set."""
        if kwargs.get("context", self) is None:
            del kwargs["context"]
        if sys.version_info >= (3, 13, 3) and name is not None:
            kwargs["name"] = name
            name = None
        task = self._task_factory(self, coro, **kwargs)
        if name is not None:
            task.set_name(name)
        return task

    def set_task_factory(self, factory: Any) -> None:
        """Let `create_task` call ``factory(loop, coro, **kwargs)``, or none."""
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """The task factory, or None."""
        return self._task_factory

    # ---- threads ----

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Call ``func(*args)`` in a thread of the executor; a future of the result."""
        self._check_open()
        if self.get_debug() and asyncio.iscoroutinefunction(func):
            raise TypeError("coroutines cannot be used with run_in_executor()")
        if executor is None:
            executor = self._default_executor
            if self._executor_shut:
                raise RuntimeError("Executor shutdown has been called")
            if executor is None:
                executor = concurrent.futures.ThreadPoolExecutor(
                    thread_name_prefix="asyncio"
                )
                self._default_executor = executor
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)

    def set_default_executor(self, executor: Any) -> None:
        """The executor of `run_in_executor(None, ...)`: a ThreadPoolExecutor."""
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait until the threads of the default executor have ended."""
        self._executor_shut = True
        executor = self._default_executor
        if executor is None:
            return
        done = self.create_future()

        def shut_down() -> None:
            try:
                executor.shutdown(wait=True)
                if not self.is_closed():
                    self.call_soon_threadsafe(_set_unless_done, done, None)
            except Exception as exc:
                if not self.is_closed() and not done.cancelled():
                    self.call_soon_threadsafe(done.set_exception, exc)

        thread = threading.Thread(target=shut_down)
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            warnings.warn(
                f"The executor did not finish joining its threads within {timeout} "
                "seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            executor.shutdown(wait=False)
        else:
            thread.join()

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """`socket.getaddrinfo` in a thread."""
        return await self.run_in_executor(
            None, socket.getaddrinfo, host, port, family, type, proto, flags
        )

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """`socket.getnameinfo` in a thread."""
        return await self.run_in_executor(None, socket.getnameinfo, sockaddr, flags)

    # ---- signals ----

    def _watch_signals(self) -> int | None:
        """Let signals end the wait; what `signal.set_wakeup_fd` was, to restore."""
        if threading.current_thread() is not threading.main_thread():
            return None
        try:
            return signal.set_wakeup_fd(self._open_signals(), warn_on_full_buffer=False)
        except ValueError:  # a thread of another interpreter: signals are not ours
            return None

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Call ``callback(*args)`` in the loop whenever the signal arrives."""
        if asyncio.iscoroutine(callback) or asyncio.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_open()
        handle = asyncio.Handle(callback, args, self)
        if self.is_running():
            try:
                signal.set_wakeup_fd(self._open_signals(), warn_on_full_buffer=False)
            except ValueError as exc:
                raise RuntimeError(str(exc)) from exc
        self._signals[sig] = handle
        try:
            signal.signal(sig, _noticing(self))
            signal.siginterrupt(sig, False)
        except (OSError, ValueError) as exc:
            del self._signals[sig]
            raise RuntimeError(f"sig {sig} cannot be caught") from exc

    def remove_signal_handler(self, sig: int) -> bool:
        """Undo `add_signal_handler`; whether there was a handler."""
        self._check_signal(sig)
        if self._signals.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            raise RuntimeError(f"sig {sig} cannot be caught") from exc
        return True

    @staticmethod
    def _check_signal(sig: Any) -> None:
        if not isinstance(sig, int):
            raise TypeError(f"sig must be an int, not {sig!r}")
        if sig not in signal.valid_signals():
            raise ValueError(f"invalid signal number {sig}")

    def _on_signal(self, sig: int) -> None:
        handle = self._signals.get(sig)
        if handle is None:
            return
        if handle.cancelled():
            self.remove_signal_handler(sig)
        else:
            handle._run()

    # ---- exceptions ----

    def get_exception_handler(self) -> Any:
        """What `set_exception_handler` set, or None."""
        return self._exception_handler

    def set_exception_handler(self, handler: Any) -> None:
        """Report lost exceptions to ``handler(loop, context)``; None: log them."""
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log the context of a lost exception to the logger ``asyncio``."""
        exc = context.get("exception")
        lines = [context.get("message") or "Unhandled exception in event loop"]
        for key in sorted(context):
            if key in ("message", "exception"):
                continue
            value = context[key]
            if key in ("source_traceback", "handle_traceback"):
                value = "Created at (most recent call last):\n" + "".join(
                    traceback.format_list(value)
                )
            else:
                value = repr(value)
            lines.append(f"{key}: {value}")
        info = (type(exc), exc, exc.__traceback__) if exc is not None else False
        _log.error("\n".join(lines), exc_info=info)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report a lost exception to the handler that is set, else log it.

        The handler runs in the context of the task or callback that raised it, where
        `context` tells of one that knows its context.
        """
        for key in ("future", "task", "handle"):
            made = getattr(context.get(key), "_source_traceback", None)
            if made and "source_traceback" not in context:
                context["source_traceback"] = made
        handler = self._exception_handler
        try:
            if handler is None:
                self.default_exception_handler(context)
            else:
                found = (context.get(key) for key in ("task", "future", "handle"))
                source = next((each for each in found if each is not None), None)
                get_context = getattr(source, "get_context", None)
                run_in = None if get_context is None else get_context()
                if run_in is None:
                    handler(self, context)
                else:
                    run_in.run(handler, self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            if handler is None:
                _log.error("Exception in default exception handler", exc_info=True)
                return
            try:
                self.default_exception_handler(
                    {
                        "message": "Unhandled error in exception handler",
                        "exception": exc,
                        "context": context,
                    }
                )
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                _log.error("Exception in default exception handler", exc_info=True)

    def _report_slow(self, source: Any, seconds: float) -> None:
        # A step of an asyncio.Task is a callback whose name tells nobody anything.
        task = getattr(getattr(source, "_callback", None), "__self__", None)
        if isinstance(task, asyncio.Task):
            source = task
        # As text now: a handle lets go of its callback when it has run.
        _log.warning("Executing %s took %.3f seconds", repr(source), seconds)

    def set_debug(self, enabled: bool) -> None:
        """Turn debug mode on or off: slow callbacks, calls from other threads."""
        super().set_debug(enabled)
        if self.is_running():
            self.call_soon_threadsafe(
                sys.set_coroutine_origin_tracking_depth, 10 if enabled else 0
            )

    # ---- asynchronous generators ----

    def _asyncgen_first(self, agen: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_shut:
            warnings.warn(
                f"asynchronous generator {agen!r} was scheduled after "
                "loop.shutdown_asyncgens() call",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
        self._asyncgens.add(agen)

    def _asyncgen_last(self, agen: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens.discard(agen)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, agen.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that were left half way."""
        self._asyncgens_shut = True
        left = list(self._asyncgens)
        self._asyncgens.clear()
        results = await asyncio.gather(
            *[agen.aclose() for agen in left], return_exceptions=True
        )
        for agen, result in zip(left, results, strict=True):
            if isinstance(result, Exception):
                self.call_exception_handler(
                    {
                        "message": "an error occurred during closing of "
                        f"asynchronous generator {agen!r}",
                        "exception": result,
                        "asyncgen": agen,
                    }
                )


def _set_unless_done(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _noticing(loop: Loop) -> Callable[[int, Any], None]:
    """What `Loop.add_signal_handler` installs.

    The interpreter calls it between two instructions of the main thread, whatever that
    runs: the loop itself, a loop inside of it, or what comes before and after a run.
    """
    reference = weakref.ref(loop)

    def noticed(sig: int, _frame: object) -> None:
        loop = reference()
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop._on_signal, sig)

    return noticed


def new_event_loop() -> Loop:
    """A new C event loop; the ``loop_factory`` of asyncio's tools."""
    return Loop()


def run(
    main: collections.abc.Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    **kwargs: Any,
) -> _T:
    """`asyncio.run` on a C loop; further keywords go to `asyncio.Runner`.

    WebSockets that are still open at the end are closed with 1001, "going away", for
    which their peers have a second.
    """
    kwargs.setdefault("loop_factory", new_event_loop)
    with asyncio.Runner(debug=debug, **kwargs) as runner:
        try:
            return runner.run(main)
        finally:
            websockets = sys.modules.get("pyfastloop.websocket.protocol")
            if websockets is not None and websockets.any_open(runner.get_loop()):
                runner.run(websockets.drain(seconds=1.0))


def _policies_go_away(what: str) -> None:
    if sys.version_info >= (3, 12):
        warnings.warn(
            f"{what} works through asyncio's event loop policies, which CPython 3.16 "
            "removes: use pyfastloop.run() or loop_factory=pyfastloop.new_event_loop",
            DeprecationWarning,
            stacklevel=3,
        )


if TYPE_CHECKING:

    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """asyncio's default policy, whose new loops are C loops."""


def __getattr__(name: str) -> Any:
    # Looked up late: touching a policy warns on CPython 3.14.
    if name != "EventLoopPolicy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        base = getattr(asyncio, "DefaultEventLoopPolicy", None)
    if base is None:
        raise AttributeError("this CPython has no event loop policies any more")

    class EventLoopPolicy(base):  # type: ignore[misc, valid-type]
        """asyncio's default policy, whose new loops are C loops."""

        def __init__(self) -> None:
            _policies_go_away("EventLoopPolicy")
            super().__init__()

        def new_event_loop(self) -> Loop:
            return new_event_loop()

    EventLoopPolicy.__qualname__ = "EventLoopPolicy"
    globals()["EventLoopPolicy"] = EventLoopPolicy
    return EventLoopPolicy


def install() -> None:
    """Let every new asyncio loop of this process be a C loop."""
    _policies_go_away("install()")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(__getattr__("EventLoopPolicy")())
