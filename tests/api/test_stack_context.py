"""stack_context: contexts that follow a program from callback to callback."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket

import pytest

from pyfastloop import gen, stack_context
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop
from pyfastloop.stack_context import (
    ExceptionStackContext,
    NullContext,
    StackContext,
    StackContextInconsistentError,
    run_with_stack_context,
    wrap,
)


@pytest.fixture
def loop():
    loop = IOLoop()
    yield loop
    loop.close()


def fails():
    raise ZeroDivisionError("planted")


def collector(seen, answer=True):
    def handler(typ, value, tb):
        seen.append(typ)
        return answer

    return handler


def run_for_a_moment(loop):
    loop.call_later(0.01, loop.stop)
    loop.start()


def test_exceptions_of_callbacks_reach_the_handler(loop, caplog):
    seen = []
    a, b = socket.socketpair()

    def deep():
        loop.add_callback(lambda: loop.add_callback(fails))

    def readable(fd, events):
        loop.remove_handler(fd)
        fails()

    future = Future()
    with ExceptionStackContext(collector(seen)):
        loop.add_callback(fails)
        loop.call_later(0, fails)
        loop.call_later(0, deep)
        loop.add_future(future, lambda f: fails())
        loop.add_handler(a, readable, IOLoop.READ)
    future.set_result(None)
    b.send(b"x")
    for _ in range(50):
        if len(seen) < 5:
            run_for_a_moment(loop)
    a.close()
    b.close()
    assert seen == [ZeroDivisionError] * 5
    assert caplog.records == []


def test_outside_of_contexts_exceptions_are_logged(loop, caplog):
    with ExceptionStackContext(pytest.fail):
        pass
    loop.add_callback(fails)
    run_for_a_moment(loop)
    assert "Exception in callback" in caplog.text


def test_the_inner_handler_sees_it_first(loop):
    inner, outer = [], []
    with (
        ExceptionStackContext(collector(outer)),
        ExceptionStackContext(collector(inner, answer=False)),
    ):
        loop.add_callback(fails)
    run_for_a_moment(loop)
    assert (len(inner), len(outer)) == (1, 1)
    with (
        ExceptionStackContext(collector(outer)),
        ExceptionStackContext(collector(inner)),
    ):
        loop.add_callback(fails)
    run_for_a_moment(loop)
    assert (len(inner), len(outer)) == (2, 1)


def test_what_no_handler_settles_is_logged(loop, caplog):
    with ExceptionStackContext(collector([], answer=False)):
        loop.add_callback(fails)
    run_for_a_moment(loop)
    assert "Exception in callback" in caplog.text


def test_the_handler_sees_exceptions_of_the_block_itself():
    seen = []
    with ExceptionStackContext(collector(seen)):
        fails()
    assert seen == [ZeroDivisionError]


def test_stack_context_is_entered_around_each_callback(loop):
    active = []
    seen = []

    @contextlib.contextmanager
    def context():
        active.append("x")
        yield
        active.pop()

    def callback(again):
        seen.append(list(active))
        if again:
            loop.add_callback(callback, False)

    with StackContext(context):
        loop.add_callback(callback, True)
    assert active == []
    run_for_a_moment(loop)
    assert seen == [["x"], ["x"]]
    assert active == []


def test_deactivate(loop):
    active = []
    seen = []

    @contextlib.contextmanager
    def context():
        active.append("x")
        yield
        active.pop()

    with StackContext(context) as deactivate:
        loop.add_callback(lambda: seen.append(list(active)))
    deactivate()
    run_for_a_moment(loop)
    assert seen == [[]]


def test_null_context_leaves_all(loop, caplog):
    with ExceptionStackContext(pytest.fail), NullContext():
        loop.add_callback(fails)
    run_for_a_moment(loop)
    assert "Exception in callback" in caplog.text


def test_wrap(loop):
    assert wrap(None) is None
    assert wrap(fails) is fails
    seen = []
    with ExceptionStackContext(collector(seen)):
        wrapped = wrap(fails)
        assert wrap(wrapped) is wrapped
    wrapped()
    assert seen == [ZeroDivisionError]


def test_run_with_stack_context(loop):
    entered = []

    @contextlib.contextmanager
    def context():
        entered.append(1)
        yield

    @gen.coroutine
    def f():
        yield gen.moment
        return 5

    assert loop.run_sync(lambda: run_with_stack_context(StackContext(context), f)) == 5
    assert entered


def test_a_yield_inside_of_a_context_is_an_error(loop):
    @gen.coroutine
    def f():
        with StackContext(contextlib.nullcontext):
            yield gen.moment

    with pytest.raises(StackContextInconsistentError):
        loop.run_sync(f)


def test_a_fatal_exception_goes_past_the_handlers(loop):
    def leave():
        raise KeyboardInterrupt

    with ExceptionStackContext(pytest.fail):
        loop.add_callback(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.start()


def test_gen_task_catches_what_the_callback_world_raises(loop):
    def starts(callback):
        loop.add_callback(fails)

    @gen.coroutine
    def f():
        with pytest.raises(ZeroDivisionError):
            yield gen.Task(starts)
        return "end"

    assert loop.run_sync(f) == "end"


def test_callbacks_that_nobody_wraps_reach_the_handler(loop, caplog):
    """Of futures, of asyncio's own calls, of readers, of coroutines as callbacks."""
    seen = []
    a, b = socket.socketpair()
    face = loop.asyncio_loop

    def readable():
        face.remove_reader(a)
        fails()

    async def fails_later():
        await gen.sleep(0)
        fails()

    async def set_up():
        future, done, foreign = Future(), Future(), face.create_future()
        done.set_result(None)
        with ExceptionStackContext(collector(seen)):
            future.add_done_callback(lambda f: fails())
            done.add_done_callback(lambda f: fails())
            foreign.add_done_callback(lambda f: fails())
            face.call_soon(fails)
            face.call_soon(face.call_later, 0, fails)
            face.call_soon_threadsafe(fails)
            face.call_at(0, lambda: face.call_soon(fails))
            face.add_reader(a, readable)
            loop.add_callback(fails_later)
        future.set_result(None)
        foreign.set_result(None)
        b.send(b"x")

    loop.run_sync(set_up)
    run_for_a_moment(loop)
    a.close()
    b.close()
    assert seen == [ZeroDivisionError] * 9
    assert caplog.records == []


def test_asyncios_callbacks_keep_the_order_of_handlers(loop, caplog):
    inner, outer = [], []
    face = loop.asyncio_loop
    with (
        ExceptionStackContext(collector(outer)),
        ExceptionStackContext(collector(inner, answer=False)) as deactivate,
    ):
        face.call_soon(fails)
        run_for_a_moment(loop)
        assert (len(inner), len(outer)) == (1, 1)
        deactivate()
        face.call_soon(fails)
        run_for_a_moment(loop)
    assert (len(inner), len(outer)) == (1, 2)
    assert caplog.records == []


def test_what_a_handler_raises_reaches_the_next_one(loop, caplog):
    outer = []

    def breaks(typ, value, tb):
        raise KeyError("in the handler")

    with ExceptionStackContext(collector(outer)), ExceptionStackContext(breaks):
        loop.asyncio_loop.call_soon(fails)
        loop.add_callback(fails)
    run_for_a_moment(loop)
    assert outer == [KeyError, KeyError]
    with ExceptionStackContext(breaks):
        loop.asyncio_loop.call_soon(fails)
    run_for_a_moment(loop)
    (record,) = caplog.records
    assert record.exc_info[0] is KeyError
    assert isinstance(record.exc_info[1].__context__, ZeroDivisionError)


def test_a_handler_that_wrap_asked_is_not_asked_again(loop, caplog):
    seen = []
    with ExceptionStackContext(collector(seen, answer=False)):
        loop.asyncio_loop.call_soon(wrap(fails))
    run_for_a_moment(loop)
    assert len(seen) == len(caplog.records) == 1


def test_a_fatal_exception_of_asyncios_callback_goes_past_the_handlers(loop):
    def leave():
        raise KeyboardInterrupt

    with ExceptionStackContext(pytest.fail):
        loop.asyncio_loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.start()


def test_spawn_callback_leaves_all_contexts(loop, caplog):
    def spawned(value):
        loop.asyncio_loop.call_soon(fails)
        fails()

    with ExceptionStackContext(pytest.fail):
        loop.spawn_callback(spawned, 1)
    run_for_a_moment(loop)
    assert len(caplog.records) == 2


def test_inside_a_foreign_loop(caplog):
    """A guest's futures run their callbacks in a loop that knows of no context."""
    seen = []

    async def main():
        IOLoop.current()
        future = Future()
        with ExceptionStackContext(collector(seen)):
            future.add_done_callback(lambda f: fails())
            IOLoop.current().add_callback(fails)
        future.set_result(None)
        await gen.sleep(0.01)

    asyncio.run(main())
    assert seen == [ZeroDivisionError] * 2
    assert caplog.records == []


def test_what_is_wrapped_looks_like_its_function_and_binds_like_one():
    def function(self, *args, **kwargs):
        """What it says."""
        return self, args, kwargs

    function.mark = "mine"
    with stack_context.ExceptionStackContext(lambda *exc: False):
        wrapped = stack_context.wrap(function)
        assert stack_context.wrap(wrapped) is wrapped
        assert stack_context.wrap(None) is None
    assert wrapped is not function and wrapped.__wrapped__ is function
    assert (wrapped.__name__, wrapped.mark) == ("function", "mine")
    assert repr(wrapped) == repr(function)
    with pytest.raises(AttributeError):
        wrapped.nothing  # noqa: B018
    Holder = type("Holder", (), {"method": wrapped})
    holder = Holder()
    assert holder.method(1, b=2) == (holder, (1,), {"b": 2})
    assert stack_context.wrap(function) is function


def test_what_is_wrapped_sees_its_contexts_whoever_calls_it(loop):
    """From another context, from itself, and with a StackContext among them."""
    seen, handled = [], []

    class Entered:
        def __enter__(self):
            seen.append("in")

        def __exit__(self, *exc):
            seen.append("out")

    def handle(typ, value, tb):
        handled.append(str(value))
        return True

    def fail(depth):
        if depth:
            return stack_context.wrap(fail)(depth - 1)
        raise ValueError("deep")

    with stack_context.ExceptionStackContext(handle):
        plain = stack_context.wrap(fail)
        with stack_context.StackContext(Entered):
            seen.clear()
            entering = stack_context.wrap(fail)
        assert seen == ["out"]
    for call in (plain, entering):
        seen.clear()
        handled.clear()
        assert contextvars.Context().run(call, 2) is None
        assert handled == ["deep"]
        # The inner calls made wrappers of their own, which entered it again.
        assert seen == ([] if call is plain else ["in"] * 3 + ["out"] * 3)


def test_a_handler_that_was_deactivated_or_that_fails(loop):
    def refuse(typ, value, tb):
        raise KeyError("handler")

    def fail():
        raise ValueError("callback")

    with stack_context.ExceptionStackContext(refuse) as deactivate:
        wrapped = stack_context.wrap(fail)
    with pytest.raises(KeyError) as raised:
        wrapped()
    assert isinstance(raised.value.__context__, ValueError)
    deactivate()
    with pytest.raises(ValueError, match="callback"):
        wrapped()


def test_gen_task_gives_what_the_callback_got(loop):
    def call(*args, callback, **kwargs):
        callback(*args, **kwargs)

    def call_and_fail(callback):
        callback(1)
        raise ValueError("after")

    def fail(callback):
        raise ValueError("before")

    for args, kwargs, expected in (
        ((), {}, None),
        ((1,), {}, 1),
        ((1, 2), {}, gen.Arguments((1, 2), {})),
        ((), {"a": 1}, gen.Arguments((), {"a": 1})),
        (tuple(range(20)), {}, gen.Arguments(tuple(range(20)), {})),
    ):
        assert gen.Task(call, *args, **kwargs).result() == expected
    with pytest.raises(ValueError, match="after"):
        gen.Task(call_and_fail)
    with pytest.raises(ValueError, match="before"):
        gen.Task(fail).result()
    with pytest.raises(TypeError):
        gen.Task()
    callbacks = []
    twice = gen.Task(lambda callback: callbacks.append(callback))
    callbacks[0](1)
    callbacks[0](2)
    assert twice.result() == 1
