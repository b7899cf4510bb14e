"""Futures, and what older programs do with them.

`Future` is the C future: asyncio's contract in full, and usable where no loop runs yet.
isinstance holds both ways between it and `asyncio.Future`.

There are two kinds of callback list. A Future keeps its own callbacks until it is done;
only then do they reach the loop's list (`IOLoop.add_callback`) and run on its next
turn. So a callback never runs inside `Future.set_result`, and one that is added to a
future that is done still waits for the loop (`IOLoop.add_future`), except through
`future_add_done_callback`, which calls at once then.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeVar, overload

from pyfastloop import _core
from pyfastloop.log import app_log

__all__ = [
    "FUTURES",
    "DummyExecutor",
    "Future",
    "ReturnValueIgnoredError",
    "TracebackFuture",
    "chain_future",
    "dummy_executor",
    "future_add_done_callback",
    "future_set_exc_info",
    "future_set_exception_unless_cancelled",
    "future_set_result_unless_cancelled",
    "is_future",
    "return_future",
    "run_on_executor",
]

_T = TypeVar("_T")

Future = _core.Future
#: The name of Tornado 3 and 4 for a Future that keeps tracebacks; all of ours do.
TracebackFuture = _core.Future

#: What `is_future` accepts.
FUTURES: tuple[type, ...] = (futures.Future, Future)


class ReturnValueIgnoredError(Exception):
    """A function whose result nobody looks at returned something."""


def is_future(x: Any) -> bool:
    """Whether `x` is a future: ours, asyncio's or one of `concurrent.futures`."""
    return isinstance(x, FUTURES)


class DummyExecutor(futures.Executor):
    """An executor that runs everything at once, in the calling thread."""

    def submit(  # type: ignore[override]
        self, fn: Callable[..., _T], *args: Any, **kwargs: Any
    ) -> futures.Future[_T]:
        future: futures.Future[_T] = futures.Future()
        try:
            future_set_result_unless_cancelled(future, fn(*args, **kwargs))
        except Exception:
            future_set_exc_info(future, sys.exc_info())
        return future

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Nothing to wait for."""


dummy_executor = DummyExecutor()


@overload
def run_on_executor(fn: Callable[..., Any], /) -> Callable[..., Any]: ...


@overload
def run_on_executor(
    *, executor: str = "executor"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...


def run_on_executor(*args: Any, **kwargs: Any) -> Any:
    """Let a method run in an executor and give a Future of its result.

    The executor is the attribute ``executor`` of the object, or the one that
    ``@run_on_executor(executor="name")`` names. The older ``callback=`` keyword of the
    decorated method is called with the result.
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        name = kwargs.get("executor", "executor")
        pops = not _takes(fn, "callback")

        @functools.wraps(fn)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            callback = kwargs.pop("callback", None) if pops else None
            pool = getattr(self, name)
            result = pool.submit(fn, self, *args, **kwargs)
            future: Future[Any] = Future()
            chain_future(result, future)
            if callback is not None:
                _call_with_result(future, callback)
            return future

        return wrapper

    if args and kwargs:
        raise ValueError("run_on_executor takes a function or keywords, not both")
    if len(args) == 1:
        return decorate(args[0])
    if args:
        raise ValueError(f"run_on_executor takes one function, got {len(args)}")
    return decorate


def return_future(f: Callable[..., Any]) -> Callable[..., Future[Any]]:
    """Let a function that takes ``callback=`` return a Future (Tornado 3 and 4).

    The function gets a callback that finishes the future; a callback of the caller, by
    keyword or in the place the function gives it, is called with the result as well.
    What the function raises at once goes into the future; a value it returns is an
    error.
    """
    from pyfastloop.util import ArgReplacer

    replacer = ArgReplacer(f, "callback")

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def finish(value: Any = None) -> None:
            future_set_result_unless_cancelled(future, value)

        callback, args, kwargs = replacer.replace(finish, args, kwargs)  # type: ignore[assignment]
        if callback is not None:
            _call_with_result(future, callback)
        _run_catching(future, functools.partial(f, *args, **kwargs))
        return future

    return wrapper


def _run_catching(future: Future[Any], call: Callable[[], Any]) -> None:
    from pyfastloop.stack_context import ExceptionStackContext

    def failed(typ: Any, value: BaseException, tb: Any) -> bool:
        if future.done():
            return False
        future_set_exc_info(future, (typ, value, tb))
        return True

    with ExceptionStackContext(failed):
        result = call()
        if result is not None:
            raise ReturnValueIgnoredError(
                "@return_future should not be used with functions that return values"
            )


def _call_with_result(future: Any, callback: Callable[..., Any]) -> None:
    """The older ``callback=``: called from the loop with the result of `future`."""
    from pyfastloop import stack_context
    from pyfastloop.ioloop import IOLoop

    wrapped = stack_context.wrap(callback)

    def done(future: Any) -> None:
        result = future.result()
        if result is None:
            wrapped()
        else:
            wrapped(result)

    IOLoop.current().add_future(future, done)


def _takes(fn: Callable[..., Any], name: str) -> bool:
    """Whether `fn` has a parameter of that name, or takes any keyword."""
    code = getattr(fn, "__code__", None)
    if code is None:
        return False
    if code.co_flags & 0x08:  # **kwargs
        return True
    count = code.co_argcount + code.co_kwonlyargcount
    return name in code.co_varnames[:count]


def chain_future(a: Any, b: Any) -> None:
    """Give `b` the outcome of `a` once `a` is done, unless `b` is done before.

    Either may be of any kind. `b` is finished from the loop, also when `a` finishes in
    a thread.
    """

    def copy(a: Any) -> None:
        if b.done():
            return
        if a.cancelled():
            b.cancel()
            return
        error = a.exception()
        if error is not None:
            future_set_exc_info(b, (type(error), error, error.__traceback__))
        else:
            b.set_result(a.result())

    if isinstance(a, Future):
        future_add_done_callback(a, copy)
    else:
        from pyfastloop.ioloop import IOLoop

        IOLoop.current().add_future(a, copy)


def future_set_result_unless_cancelled(future: Any, value: Any) -> None:
    """Finish `future` with `value` unless it was cancelled."""
    if not future.cancelled():
        future.set_result(value)


def future_set_exception_unless_cancelled(future: Any, exc: BaseException) -> None:
    """Finish `future` with `exc`; where it was cancelled the exception is logged."""
    if not future.cancelled():
        future.set_exception(exc)
    else:
        app_log.error("Exception after Future was cancelled", exc_info=exc)


def future_set_exc_info(
    future: Any,
    exc_info: tuple[
        type[BaseException] | None, BaseException | None, types.TracebackType | None
    ],
) -> None:
    """`future_set_exception_unless_cancelled` with a triple of `sys.exc_info`."""
    if exc_info[1] is None:
        raise Exception("future_set_exc_info called with no exception")
    future_set_exception_unless_cancelled(future, exc_info[1])


def future_add_done_callback(future: Any, callback: Callable[[Any], Any]) -> None:
    """Call ``callback(future)`` once `future` is done; at once when it is already."""
    if future.done():
        callback(future)
    else:
        future.add_done_callback(callback)
