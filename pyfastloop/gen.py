"""Coroutines from generators, in every form Tornado ever had.

    @gen.coroutine
    def fetch_two(a, b):
        first, second = yield [fetch(a), fetch(b)]
        return first + second

The C core makes the call, steps the generator and waits; a yielded future that is done
already never touches the loop. What can be yielded: futures of every kind, coroutines
and other awaitables, lists and dicts of these, None or `moment` (the loop turns once),
yield points of Tornado 3, and whatever was registered with `convert_yielded`. The
coroutine runs in a copy of its caller's context (contextvars). Cancelling its future
does not stop it, as in Tornado; cancel an ``async def`` task for that.

The forms of Tornado 3 and 4 (`engine`, `Task`, `Callback`, `Wait`, `WaitAll`,
`YieldPoint`) run on the same machinery.

Differences from Tornado: a native coroutine that is yielded runs its first step at
once; `Runner` is what yield points and subclasses see of a coroutine, not what drives
it.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import datetime
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from inspect import isawaitable
from typing import Any, TypeVar, overload

from pyfastloop import _core, stack_context
from pyfastloop.concurrent import (
    Future,
    ReturnValueIgnoredError,
    _takes,
    chain_future,
    future_add_done_callback,
    future_set_exc_info,
    future_set_result_unless_cancelled,
    is_future,
)
from pyfastloop.ioloop import IOLoop
from pyfastloop.log import app_log
from pyfastloop.util import TimeoutError

__all__ = [
    "Arguments",
    "BadYieldError",
    "Callback",
    "KeyReuseError",
    "LeakedCallbackError",
    "Multi",
    "MultiYieldPoint",
    "Return",
    "ReturnValueIgnoredError",
    "Runner",
    "Task",
    "TimeoutError",
    "UnknownKeyError",
    "Wait",
    "WaitAll",
    "WaitIterator",
    "YieldFuture",
    "YieldPoint",
    "convert_yielded",
    "coroutine",
    "engine",
    "is_coroutine_function",
    "maybe_future",
    "moment",
    "multi",
    "multi_future",
    "sleep",
    "with_timeout",
]

#: Yielded, it lets the loop turn once; so does None.
moment = _core.moment

_T = TypeVar("_T")

_Quiet = type[BaseException] | tuple[type[BaseException], ...]


class KeyReuseError(Exception):
    """`Callback` got a key that is in use."""


class UnknownKeyError(Exception):
    """`Wait` got a key that no `Callback` has."""


class LeakedCallbackError(Exception):
    """A coroutine ended without waiting for all of its `Callback` keys."""


class BadYieldError(Exception):
    """Something was yielded that cannot be waited for."""


class Return(Exception):
    """Raised in a coroutine to end it with a value; today ``return value`` does it."""

    def __init__(self, value: Any = None) -> None:
        super().__init__()
        self.value = value
        # Printed by tracebacks, and found by the StopIteration protocol's readers.
        self.args = (value,)


# ---- coroutines ----


@overload
def coroutine(
    func: Callable[..., Generator[Any, Any, _T]], replace_callback: bool = True
) -> Callable[..., Future[_T]]: ...


@overload
def coroutine(
    func: Callable[..., _T], replace_callback: bool = True
) -> Callable[..., Future[_T]]: ...


def coroutine(func: Callable[..., Any], replace_callback: bool = True) -> Any:
    """Make `func` a coroutine: a call gives a `Future` of what it returns.

    A generator function is run step by step; a plain function's result or exception is
    in the future when the call returns. With `replace_callback` the older
    ``callback=`` keyword, where `func` has no such parameter itself, is called with the
    result.
    """
    wrapped = _core.CoroutineFunction(
        func, pop_callback=replace_callback and not _takes(func, "callback")
    )
    functools.update_wrapper(wrapped, func)
    wrapped.__tornado_coroutine__ = True
    return wrapped


def is_coroutine_function(func: Any) -> bool:
    """Whether `func` was made by `coroutine`."""
    return getattr(func, "__tornado_coroutine__", False)


def engine(func: Callable[..., Any]) -> Callable[..., None]:
    """The form of Tornado 2: a coroutine that nobody waits for.

    A result that is not None is a ReturnValueIgnoredError; an exception goes to the
    stack context of the caller, such as the one of ``@web.asynchronous``.
    """
    run = coroutine(func, replace_callback=False)

    def check(future: Future[Any]) -> None:
        if future.result() is not None:
            raise ReturnValueIgnoredError(
                f"@gen.engine functions cannot return values: {future.result()!r}"
            )

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        future = run(*args, **kwargs)
        if future.done():
            check(future)
        else:
            IOLoop.instance().add_future(future, check)

    return wrapper


async def _await_any(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _call_back(future: Any, callback: Callable[..., Any]) -> None:
    """The older ``callback=`` of a coroutine; a result of None is passed on too."""
    wrapped = stack_context.wrap(callback)
    IOLoop.instance().add_future(future, lambda done: wrapped(done.result()))


# ---- what can be yielded ----


@functools.singledispatch
def convert_yielded(yielded: Any) -> Any:
    """The future of anything that can be yielded; BadYieldError for what cannot.

    ``convert_yielded.register(Kind, function)`` teaches it another kind.
    """
    if yielded is None or yielded is moment:
        return moment
    if isinstance(yielded, list | dict):
        yielded = multi(yielded)
    if is_future(yielded):
        return yielded
    if isinstance(yielded, YieldPoint):
        return Runner._detached()._start(yielded)
    if inspect.iscoroutine(yielded):
        return _core.start_task(yielded)
    if isawaitable(yielded):
        return _core.start_task(_await_any(yielded))
    raise BadYieldError(f"yielded unknown object {yielded!r}")


def _convert_for_core(yielded: Any, owner: Any) -> Any:
    """What C does not convert by itself; `owner` is the coroutine's future."""
    if isinstance(yielded, YieldPoint):
        return Runner._of(owner)._start(yielded)
    if owner is not None and isinstance(yielded, list | dict):
        children = yielded.values() if isinstance(yielded, dict) else yielded
        if any(isinstance(child, YieldPoint) for child in children):
            return Runner._of(owner)._start(MultiYieldPoint(yielded))
        return multi_future(yielded)
    future = convert_yielded(yielded)
    if isinstance(future, concurrent.futures.Future):
        chained: Future[Any] = Future()
        chain_future(future, chained)
        return chained
    return future


def maybe_future(x: Any) -> Any:
    """`x` if it is a future, else a future that is done with `x`. Deprecated since
    Tornado 4.3, because of the awaitables it does not know."""
    if is_future(x):
        return x
    future: Future[Any] = Future()
    future.set_result(x)
    return future


def sleep(duration: float) -> Future[None]:
    """A future that is done in `duration` seconds."""
    future: Future[None] = Future()
    IOLoop.instance().call_later(
        duration, lambda: future_set_result_unless_cancelled(future, None)
    )
    return future


def multi(
    children: list[Any] | dict[Any, Any] | Iterable[Any],
    quiet_exceptions: _Quiet = (),
) -> Any:
    """Wait for all of a list or dict; the same shape with the results.

    The first exception is raised; further ones are logged, except those of
    `quiet_exceptions`. Yield points of Tornado 3 may be among the children.
    """
    values = list(children.values()) if isinstance(children, dict) else None
    if values is None:
        children = list(children)
    if any(isinstance(child, YieldPoint) for child in values or children):
        return MultiYieldPoint(children, quiet_exceptions=quiet_exceptions)
    return multi_future(children, quiet_exceptions=quiet_exceptions)


Multi = multi


def multi_future(
    children: list[Any] | dict[Any, Any] | Iterable[Any],
    quiet_exceptions: _Quiet = (),
) -> Future[Any]:
    """`multi` for children that are not yield points."""
    keys: list[Any] | None = None
    if isinstance(children, dict):
        keys = list(children.keys())
        children = children.values()
    futures = [_convert_for_core(child, None) for child in children]
    return _core.multi(futures, keys, quiet_exceptions)


def with_timeout(
    timeout: float | datetime.timedelta,
    future: Any,
    quiet_exceptions: _Quiet = (),
    *,
    message: str | None = None,
) -> Future[Any]:
    """`future`, or TimeoutError (with `message`) when it is not done in time.

    `timeout` is a time of `IOLoop.time` or a timedelta. The future itself goes on; what
    it raises later is logged unless it is of `quiet_exceptions`.
    """
    awaited = convert_yielded(future)
    result: Future[Any] = Future()
    chain_future(awaited, result)
    loop = IOLoop.instance()

    def report_late(late: Any) -> None:
        try:
            late.result()
        except asyncio.CancelledError:
            pass
        except Exception as exc:
            if not isinstance(exc, quiet_exceptions):
                app_log.error(
                    "Exception in Future %r after timeout", late, exc_info=True
                )

    def expire() -> None:
        if not result.done():
            result.set_exception(TimeoutError(message or "Timeout"))
        future_add_done_callback(awaited, report_late)

    handle = loop.add_timeout(timeout, expire)
    if isinstance(awaited, Future):
        future_add_done_callback(awaited, lambda _: loop.remove_timeout(handle))
    else:
        loop.add_future(awaited, lambda _: loop.remove_timeout(handle))
    return result


class WaitIterator:
    """Gives the results of several futures in the order in which they come.

    By position or by keyword, not both. ``await iterator.next()`` while not
    ``iterator.done()``, or ``async for``; `current_index` and `current_future` tell
    which one it was.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError("You must provide args or kwargs, not both")
        # A future may be here twice.
        self._unfinished: dict[Any, Any] = dict(kwargs.items() or enumerate(args))
        self._finished: collections.deque[int | str] = collections.deque()
        self.current_index: str | int | None = None
        self.current_future: Any = None
        self._running_future: Future[Any] | None = None
        for index, future in self._unfinished.items():
            done = functools.partial(self._done_callback, index)
            if isinstance(future, concurrent.futures.Future):
                # It ends in a thread, which must not touch this.
                IOLoop.instance().add_future(future, done)
            else:
                future_add_done_callback(future, done)

    def done(self) -> bool:
        """Whether all results were given."""
        if self._finished or self._unfinished:
            return False
        self.current_index = self.current_future = None
        return True

    def next(self) -> Future[Any]:
        """A future of the next result."""
        self._running_future = Future()
        if self._finished:
            return self._return_result(self._finished.popleft())
        return self._running_future

    def _done_callback(self, index: int | str, _: Any) -> None:
        if self._running_future and not self._running_future.done():
            self._return_result(index)
        else:
            self._finished.append(index)

    def _return_result(self, index: int | str) -> Future[Any]:
        if self._running_future is None:
            raise RuntimeError("no future is running")
        self.current_index = index
        self.current_future = self._unfinished.pop(index)
        chain_future(self.current_future, self._running_future)
        running, self._running_future = self._running_future, None
        return running

    def __aiter__(self) -> WaitIterator:
        return self

    def __anext__(self) -> Future[Any]:
        if self.done():
            raise StopAsyncIteration
        return self.next()


# ---- yield points: Tornado 2 to 4 ----

#: What a callback of several arguments, or of keywords, gives to `Task` and `Wait`.
Arguments = collections.namedtuple("Arguments", ["args", "kwargs"])


def _argument_adapter(callback: Callable[[Any], Any]) -> Callable[..., None]:
    """A callback of any arguments that hands `callback` one value."""

    def wrapper(*args: Any, **kwargs: Any) -> None:
        if kwargs or len(args) > 1:
            callback(Arguments(args, kwargs))
        elif args:
            callback(args[0])
        else:
            callback(None)

    return wrapper


class YieldPoint:
    """What generators yielded before there were futures. Programs derive their own."""

    def start(self, runner: Runner) -> None:
        """Called when it was yielded; ends in ``runner.set_result`` or readiness."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether `get_result` may be called."""
        raise NotImplementedError

    def get_result(self) -> Any:
        """The value of the yield expression, or its exception raised."""
        raise NotImplementedError


class Callback(YieldPoint):
    """``yield gen.Callback(key)`` gives a callable for `Wait` to wait for."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def start(self, runner: Runner) -> None:
        self.runner = runner
        runner.register_callback(self.key)

    def is_ready(self) -> bool:
        return True

    def get_result(self) -> Any:
        return self.runner.result_callback(self.key)


class Wait(YieldPoint):
    """``yield gen.Wait(key)``: the argument that the `Callback` of the key got."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def start(self, runner: Runner) -> None:
        self.runner = runner

    def is_ready(self) -> bool:
        return self.runner.is_ready(self.key)

    def get_result(self) -> Any:
        return self.runner.pop_result(self.key)


class WaitAll(YieldPoint):
    """`Wait` for several keys: a list of the arguments, in the order of `keys`."""

    def __init__(self, keys: Iterable[Any]) -> None:
        self.keys = list(keys)

    def start(self, runner: Runner) -> None:
        self.runner = runner

    def is_ready(self) -> bool:
        return all(self.runner.is_ready(key) for key in self.keys)

    def get_result(self) -> Any:
        return [self.runner.pop_result(key) for key in self.keys]


#: ``Task(func, *args, **kwargs)`` calls ``func(*args, callback=..., **kwargs)`` and
#: gives a future of what the callback got; several arguments come as `Arguments`. An
#: exception in what `func` started, where stack contexts carry it, goes into the
#: future.
Task = _core.gen_task


class YieldFuture(YieldPoint):
    """A future as a yield point."""

    def __init__(self, future: Any, io_loop: IOLoop | None = None) -> None:
        self.future = future
        self.io_loop = io_loop or IOLoop.instance()

    def start(self, runner: Runner) -> None:
        if self.future.done():
            return
        self.runner: Runner | None = runner
        self.key = object()
        runner.register_callback(self.key)
        self.io_loop.add_future(
            self.future, lambda _: runner.result_callback(self.key)()
        )

    def is_ready(self) -> bool:
        return bool(self.future.done())

    def get_result(self) -> Any:
        key = getattr(self, "key", None)
        runner = getattr(self, "runner", None)
        if runner is not None and runner.is_ready(key):
            runner.pop_result(key)
        return self.future.result()


def _as_point(child: Any) -> YieldPoint:
    if isinstance(child, list | dict):
        child = multi(child)
    if isinstance(child, YieldPoint):
        return child
    return YieldFuture(convert_yielded(child))


class MultiYieldPoint(YieldPoint):
    """Several yield points and futures, a list or a dict of them, as one."""

    def __init__(self, children: Any, quiet_exceptions: _Quiet = ()) -> None:
        self.keys: list[Any] | None = None
        if isinstance(children, Mapping):
            self.keys = list(children.keys())
            children = children.values()
        self.children: list[YieldPoint] = [_as_point(child) for child in children]
        self.unfinished_children = set(self.children)
        self.quiet_exceptions = quiet_exceptions

    def start(self, runner: Runner) -> None:
        for child in self.children:
            child.start(runner)

    def is_ready(self) -> bool:
        ready = {child for child in self.unfinished_children if child.is_ready()}
        self.unfinished_children -= ready
        return not self.unfinished_children

    def get_result(self) -> Any:
        results: list[Any] = []
        first: BaseException | None = None
        for child in self.children:
            try:
                results.append(child.get_result())
            except Exception as exc:
                if first is None:
                    first = exc
                elif not isinstance(exc, self.quiet_exceptions):
                    app_log.error("Multiple exceptions in yield list", exc_info=True)
        if first is not None:
            raise first
        if self.keys is not None:
            return dict(zip(self.keys, results, strict=True))
        return results


class Runner:
    """A coroutine as yield points and subclasses of it see it.

    `YieldPoint.start` gets one: it keeps the keys of `Callback` and `Wait`. Made by
    hand, in the form of Tornado 4 ``Runner(gen, result_future, first_yielded)`` or of
    Tornado 6 ``Runner(ctx_run, gen, result_future, first_yielded)``, it drives the
    generator on from what it has yielded.
    """

    def __init__(self, *args: Any) -> None:
        if len(args) == 3:
            args = (None, *args)
        if len(args) != 4:
            raise TypeError(
                "Runner takes (ctx_run, gen, result_future, first_yielded), "
                f"got {len(args)} arguments"
            )
        self._reset()
        self.ctx_run = args[0] or (lambda function, *a: function(*a))
        self.gen: Generator[Any, Any, Any] | None = args[1]
        self.result_future: Any = args[2]
        self.io_loop = IOLoop.instance()
        if self.handle_yield(args[3]):
            self.ctx_run(self.run)

    def _reset(self) -> None:
        self.future: Any = None
        self.running = False
        self.finished = False
        self._pending: set[Any] = set()
        self._results: dict[Any, Any] = {}
        self._point: YieldPoint | None = None
        self._point_future: Future[Any] | None = None
        self._core: Any = None

    @classmethod
    def _detached(cls) -> Runner:
        runner = cls.__new__(cls)
        runner._reset()
        runner.gen = runner.result_future = None
        runner.io_loop = IOLoop.instance()
        return runner

    @classmethod
    def _of(cls, owner: Any) -> Runner:
        """The runner of the coroutine whose future is `owner`."""
        if owner is None:
            return cls._detached()
        runner: Runner | None = owner._runner
        if runner is None:
            runner = cls._detached()
            runner.gen = owner.gen
            owner._runner = runner
        return runner

    # ---- for yield points ----

    def _start(self, point: YieldPoint) -> Future[Any]:
        future: Future[Any] = Future()
        self._point = self._point_future = None
        try:
            point.start(self)
            if point.is_ready():
                future.set_result(point.get_result())
            else:
                self._point, self._point_future = point, future
        except Exception:
            future_set_exc_info(future, sys.exc_info())
        return future

    def register_callback(self, key: Any) -> None:
        """Announce a key; KeyReuseError when it is in use."""
        if key in self._pending:
            raise KeyReuseError(f"key {key!r} is already pending")
        self._pending.add(key)

    def is_ready(self, key: Any) -> bool:
        """Whether a key has its result; UnknownKeyError for one never announced."""
        if key not in self._pending:
            raise UnknownKeyError(f"key {key!r} is not pending")
        return key in self._results

    def set_result(self, key: Any, result: Any) -> None:
        """Give a key its result, and the coroutine a step when it waited for that."""
        self._results[key] = result
        point, future = self._point, self._point_future
        if point is None or future is None or future.done() or not point.is_ready():
            return
        self._point = self._point_future = None
        try:
            future.set_result(point.get_result())
        except Exception:
            future_set_exc_info(future, sys.exc_info())

    def pop_result(self, key: Any) -> Any:
        """The result of a key, which is free again."""
        self._pending.remove(key)
        return self._results.pop(key)

    def result_callback(self, key: Any) -> Callable[..., None]:
        """A callable that gives the key its result."""
        callback: Callable[..., None] = stack_context.wrap(
            _argument_adapter(functools.partial(self.set_result, key))
        )
        return callback

    def _ended(self) -> None:
        """The generator returned: nothing may be left that somebody will call."""
        self.finished = True
        if self._pending:
            raise LeakedCallbackError(
                f"finished without waiting for callbacks {self._pending!r}"
            )

    # ---- made by hand ----

    def handle_yield(self, yielded: Any) -> bool:
        """Take what the generator yielded; whether it can go on at once."""
        try:
            self.future = _convert_for_core(yielded, None)
        except BadYieldError:
            self.future = Future()
            future_set_exc_info(self.future, sys.exc_info())
        if self.future is moment:
            self.io_loop.add_callback(self.ctx_run, self.run)
            return False
        if self.future.done():
            return True
        self.io_loop.add_future(self.future, lambda _: self.ctx_run(self.run))
        return False

    def run(self) -> None:
        """Step the generator until it must wait or ends."""
        if self.running or self.finished or self.gen is None:
            return
        self.running = True
        try:
            while self.future is not None and self.future.done():
                future, self.future = self.future, None
                try:
                    try:
                        value = future.result()
                    except BaseException as exc:
                        yielded = self.gen.throw(exc)
                    else:
                        yielded = self.gen.send(value)
                except (StopIteration, Return) as end:
                    self._finish(end.value)
                    return
                except Exception as exc:
                    self._finish(None, exc)
                    return
                if not self.handle_yield(yielded):
                    return
        finally:
            self.running = False

    def _finish(self, value: Any, error: BaseException | None = None) -> None:
        self.finished = True
        self.gen = None
        result, self.result_future = self.result_future, None
        if result is None:
            return
        if error is None:
            future_set_result_unless_cancelled(result, value)
        else:
            future_set_exc_info(result, (type(error), error, error.__traceback__))

    def handle_exception(self, typ: Any, value: Any, tb: Any) -> bool:
        """Throw an exception of a callback into the coroutine; whether it was taken."""
        if self.running or self.finished:
            return False
        point = self._point_future
        if point is not None and not point.done():
            future_set_exc_info(point, (typ, value, tb))
            return True
        if self.gen is None:
            return False
        self.future = Future()
        future_set_exc_info(self.future, (typ, value, tb))
        self.ctx_run(self.run)
        return True


_core.set_hooks(
    Return=Return,
    YieldPoint=YieldPoint,
    convert=_convert_for_core,
    call_back=_call_back,
    await_any=_await_any,
    Arguments=Arguments,
)
