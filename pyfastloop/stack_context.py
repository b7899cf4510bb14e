"""Contexts that follow a program from callback to callback (Tornado 2 to 5).

A function that starts something asynchronous returns before it is over, and so leaves
every ``with`` and ``try`` around it. A `StackContext` is entered again around each
callback that was started inside of it, an `ExceptionStackContext` sees the exceptions
these callbacks raise, however deep:

    with ExceptionStackContext(report):
        stream.read_until(b"\\n", callback=on_line)     # errors of on_line reach report

Unlike Tornado's, which kept a thread-local list, the contexts are carried by
contextvars: every callback of a loop has them from where it was scheduled. A callback
of an IOLoop is wrapped when it is given; for every other (`Future.add_done_callback`,
asyncio's ``call_soon``, streams) the C core asks the exception handlers before it logs
an exception. `wrap` is only needed for what reaches the loop some other way.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from pyfastloop import _core

__all__ = [
    "ExceptionStackContext",
    "NullContext",
    "StackContext",
    "StackContextInconsistentError",
    "run_with_stack_context",
    "wrap",
]


class _TaskCallback(Protocol):
    """The callback of a `gen.Task`, made by C: its context fails the future."""

    @property
    def active(self) -> bool: ...

    def exit(self, typ: Any, value: Any, tb: Any, /) -> bool | None: ...


_Context: TypeAlias = "StackContext | ExceptionStackContext | _TaskCallback"
_Contexts = tuple[_Context, ...]

#: The contexts that are open, the outermost first.
_contexts: contextvars.ContextVar[_Contexts] = contextvars.ContextVar(
    "pyfastloop_stack_contexts", default=()
)


class StackContextInconsistentError(Exception):
    """A context was left in another order than it was entered."""


class _Base:
    """What both kinds share: they are opened by ``with``."""

    _before: list[_Contexts]

    def _push(self) -> None:
        before = _contexts.get()
        self._before.append(before)
        _contexts.set((*before, self))  # type: ignore[arg-type]

    def _pop(self) -> None:
        before = self._before.pop()
        if _contexts.get() != (*before, self):
            raise StackContextInconsistentError(
                "stack_context inconsistency (may be caused by yield "
                'within a "with StackContext" block)'
            )
        _contexts.set(before)


class StackContext(_Base):
    """Enter ``context_factory()`` now and around every callback started inside.

    ``with StackContext(f) as deactivate``: calling `deactivate` ends it for callbacks
    that come later.
    """

    def __init__(self, context_factory: Callable[[], AbstractContextManager[Any]]):
        self.context_factory = context_factory
        self._before = []
        self._managers: list[AbstractContextManager[Any]] = []
        self.active = True

    def _deactivate(self) -> None:
        self.active = False

    def enter(self) -> None:
        """Enter a fresh context around a callback."""
        manager = self.context_factory()
        manager.__enter__()
        self._managers.append(manager)

    def exit(self, typ: Any, value: Any, tb: Any) -> bool | None:
        """Leave it; whether it swallowed the exception."""
        return self._managers.pop().__exit__(typ, value, tb)

    def __enter__(self) -> Callable[[], None]:
        self.enter()
        try:
            self._push()
        except BaseException:
            self.exit(*sys.exc_info())
            raise
        return self._deactivate

    def __exit__(self, typ: Any, value: Any, tb: Any) -> bool | None:
        try:
            return self.exit(typ, value, tb)
        finally:
            self._pop()


class ExceptionStackContext(_Base):
    """Let ``handler(type, value, traceback)`` see the exceptions of callbacks.

    What it returns is true where the exception is settled; else the next context
    outside gets it.
    """

    def __init__(
        self,
        exception_handler: Callable[[Any, Any, Any], Any],
        delay_warning: bool = False,
    ):
        self.exception_handler = exception_handler
        self._before = []
        self.active = True

    def _deactivate(self) -> None:
        self.active = False

    def exit(self, typ: Any, value: Any, tb: Any) -> bool | None:
        """Ask the handler."""
        if typ is not None:
            return bool(self.exception_handler(typ, value, tb))
        return None

    def __enter__(self) -> Callable[[], None]:
        self._push()
        return self._deactivate

    def __exit__(self, typ: Any, value: Any, tb: Any) -> bool | None:
        try:
            return self.exit(typ, value, tb)
        finally:
            self._pop()


class NullContext:
    """Leave all contexts: what is started inside belongs to nobody out there.

    For things that serve many requests, such as pooled connections.
    """

    def __enter__(self) -> None:
        self._token = _contexts.set(())

    def __exit__(self, typ: Any, value: Any, tb: Any) -> None:
        _contexts.reset(self._token)


def _after(raised: BaseException, handled: BaseException | None) -> BaseException:
    """What a handler raised, chained to what it was handling."""
    if raised.__context__ is None and raised is not handled:
        raised.__context__ = handled
    return raised


def _run_in(contexts: _Contexts, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call `fn` inside contexts that were captured earlier."""
    active = tuple(context for context in contexts if context.active)
    token = _contexts.set(active)
    entered: list[_Context] = []
    error: BaseException | None = None
    result = None
    try:
        try:
            for context in active:
                if isinstance(context, StackContext):
                    context.enter()
                entered.append(context)
            result = fn(*args, **kwargs)
        except BaseException as exc:
            error = exc
        for context in reversed(entered):
            if error is None and not isinstance(context, StackContext):
                continue
            if error is not None and not isinstance(error, Exception):
                if isinstance(context, StackContext):
                    context.exit(type(error), error, error.__traceback__)
                continue
            _contexts.set(active[: active.index(context)])
            try:
                tb = error.__traceback__ if error is not None else None
                if context.exit(type(error) if error else None, error, tb):
                    error = None
            except BaseException as exc:
                error = _after(exc, error)
        if error is not None:
            raise error
        return result
    finally:
        error = tb = None  # whose frames hold this one
        with contextlib.suppress(ValueError):
            _contexts.reset(token)


def _settle(contexts: _Contexts, error: BaseException) -> BaseException | None:
    """What is left of a callback's exception once the handlers of `contexts` saw it.

    The C core asks this where it would log the exception of a callback that was not
    wrapped: one of `Future.add_done_callback`, of asyncio's ``call_soon``, of a stream.
    """
    left: BaseException | None = error
    token = _contexts.set(contexts)
    try:
        for depth in range(len(contexts) - 1, -1, -1):
            context = contexts[depth]
            if not context.active or isinstance(context, StackContext):
                continue
            _contexts.set(contexts[:depth])
            try:
                if context.exit(type(left), left, error.__traceback__):
                    return None
            except Exception as raised:
                left = error = _after(raised, error)
        return left
    finally:
        _contexts.reset(token)
        del error, left  # a traceback may hold this frame


def wrap(fn: Any) -> Any:
    """`fn` in the contexts that are open now, whoever calls it later.

    None stays None, what is wrapped already stays as it is, and so does everything
    while no context is open.
    """
    return _core.wrap(fn)


def run_with_stack_context(context: StackContext, func: Callable[[], Any]) -> Any:
    """Run a coroutine function inside a `StackContext`.

    A coroutine cannot yield inside of ``with StackContext``; this is the way around.
    """
    with context:
        return func()


_core.set_hooks(
    stack_contexts=_contexts,
    settle=_settle,
    run_in=_run_in,
    StackContext=StackContext,
    inconsistent=StackContextInconsistentError,
)
