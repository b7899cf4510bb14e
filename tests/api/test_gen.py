"""gen: coroutines from generators, what can be yielded, and the older forms."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
import datetime
import gc
import inspect
import pickle
import sys
import threading
import traceback
import weakref

import pytest

from pyfastloop import gen
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop


@pytest.fixture
def loop():
    loop = IOLoop()
    yield loop
    loop.close()


def later(loop, value=None, seconds=0.001):
    future = Future()
    loop.call_later(seconds, future.set_result, value)
    return future


# ---- calling ----


def test_the_first_step_runs_on_the_call(loop):
    seen = []

    @gen.coroutine
    def f():
        seen.append(1)
        yield gen.moment
        seen.append(2)

    future = f()
    assert seen == [1]
    assert not future.done()
    loop.run_sync(lambda: future)
    assert seen == [1, 2]


def test_a_coroutine_that_never_waits_is_done_when_it_returns():
    @gen.coroutine
    def f():
        value = yield done
        return value + 1

    done = Future()
    done.set_result(1)
    assert f().result() == 2


def test_plain_functions_are_coroutines_too():
    @gen.coroutine
    def f(x):
        return x * 2

    @gen.coroutine
    def fails():
        raise KeyError("planted")

    assert f(4).result() == 8
    with pytest.raises(KeyError):
        fails().result()


def test_return_and_raise_return(loop):
    @gen.coroutine
    def returns():
        yield gen.moment
        return 1

    @gen.coroutine
    def raises():
        yield gen.moment
        raise gen.Return(2)

    @gen.coroutine
    def plain():
        raise gen.Return(3)

    async def main():
        return [await returns(), await raises(), await plain()]

    assert loop.run_sync(main) == [1, 2, 3]


def test_a_plain_function_may_end_with_stop_iteration():
    @gen.coroutine
    def f():
        raise StopIteration(3)

    assert f().result() == 3


def test_return_carries_value_and_args():
    assert gen.Return(3).value == 3
    assert gen.Return(3).args == (3,)
    assert gen.Return().value is None


def test_it_looks_like_the_function_it_was_made_of():
    @gen.coroutine
    def f(a, b=1):
        "documented"

    assert f.__name__ == "f"
    assert f.__doc__ == "documented"
    assert f.__code__.co_firstlineno == f.__wrapped__.__code__.co_firstlineno
    assert str(inspect.signature(f)) == "(a, b=1)"
    assert gen.is_coroutine_function(f)
    assert not gen.is_coroutine_function(lambda: None)


def test_what_a_call_gives_is_a_future_and_inspect_tells_nothing_else():
    @gen.coroutine
    def generator(a, *, b=1):
        yield

    @gen.coroutine
    async def native():
        pass

    assert not inspect.isgeneratorfunction(generator)
    assert not inspect.iscoroutinefunction(native)
    assert str(inspect.signature(generator)) == "(a, *, b=1)"
    assert inspect.getfullargspec(generator).kwonlydefaults == {"b": 1}


@gen.coroutine
def by_name():
    yield gen.moment


def test_a_coroutine_function_is_copied_and_pickled_by_its_name():
    assert pickle.loads(pickle.dumps(by_name)) is by_name
    assert copy.copy(by_name) is by_name
    assert copy.deepcopy({"in": by_name})["in"] is by_name


def test_methods_bind(loop):
    class C:
        @gen.coroutine
        def method(self, x):
            yield gen.moment
            return self, x

        @classmethod
        @gen.coroutine
        def of_class(cls):
            yield gen.moment
            return cls

        @staticmethod
        @gen.coroutine
        def of_none(x):
            yield gen.moment
            return x

    c = C()
    assert loop.run_sync(lambda: c.method(1)) == (c, 1)
    assert loop.run_sync(C.of_class) is C
    assert loop.run_sync(lambda: c.of_none(2)) == 2
    bound = c.method
    assert bound.__self__ is c
    assert loop.run_sync(lambda: C.method(c, x=3)) == (c, 3)


# ---- yielding ----


def test_everything_yieldable(loop):
    async def native(x):
        await asyncio.sleep(0)
        return x

    class Awaitable:
        def __await__(self):
            return (yield from native("awaitable").__await__())

    @gen.coroutine
    def nested(x):
        yield gen.moment
        return x

    @gen.coroutine
    def f():
        assert (yield later(loop, "ours")) == "ours"
        theirs = asyncio.Future(loop=loop.asyncio_loop)
        loop.add_callback(theirs.set_result, "theirs")
        assert (yield theirs) == "theirs"
        assert (yield theirs) == "theirs"
        thread = loop.run_in_executor(None, lambda: "thread")
        assert (yield thread) == "thread"
        pool = concurrent.futures.ThreadPoolExecutor(1)
        assert (yield pool.submit(lambda: "concurrent")) == "concurrent"
        pool.shutdown()
        assert (yield native("native")) == "native"
        assert (yield Awaitable()) == "awaitable"
        assert (yield nested("nested")) == "nested"
        assert (yield None) is None
        assert (yield gen.moment) is None
        assert (yield [nested(1), native(2), later(loop, 3)]) == [1, 2, 3]
        assert (yield {"a": nested(1), "b": native(2)}) == {"a": 1, "b": 2}
        assert (yield []) == []
        assert (yield {}) == {}
        return "end"

    assert loop.run_sync(f) == "end"


def test_yielding_nonsense_raises_where_it_was_yielded(loop):
    @gen.coroutine
    def f():
        try:
            yield 42
        except gen.BadYieldError as exc:
            assert "42" in str(exc)
            return "caught"

    assert loop.run_sync(f) == "caught"


def test_exceptions_come_back_in_at_the_yield(loop):
    @gen.coroutine
    def fails():
        yield gen.moment
        raise ZeroDivisionError

    @gen.coroutine
    def f():
        for call in (fails, fails):
            with contextlib.suppress(ZeroDivisionError):
                yield call()
        failed = Future()
        failed.set_exception(KeyError("at once"))
        with pytest.raises(KeyError):
            yield failed
        yield gen.moment
        return "end"

    assert loop.run_sync(f) == "end"


def test_moment_and_none_let_the_loop_turn(loop):
    seen = []

    @gen.coroutine
    def f(name, pause):
        for i in range(3):
            seen.append((name, i))
            yield pause

    loop.run_sync(lambda: [f("a", None), f("b", gen.moment)])
    assert seen == [(n, i) for i in range(3) for n in "ab"]


def test_a_done_future_does_not_touch_the_loop(loop):
    done = Future()
    done.set_result(None)
    ticks = []

    @gen.coroutine
    def f():
        start = loop.asyncio_loop.stats()["ticks"]
        for _ in range(100):
            yield done
        ticks.append(loop.asyncio_loop.stats()["ticks"] - start)

    loop.run_sync(f)
    assert ticks == [0]


def test_registered_converters(loop):
    class Odd:
        pass

    @gen.convert_yielded.register(Odd)
    def _(odd):
        return later(loop, "converted")

    @gen.coroutine
    def f():
        return (yield Odd())

    assert loop.run_sync(f) == "converted"


def test_maybe_future():
    future = Future()
    assert gen.maybe_future(future) is future
    assert gen.maybe_future(3).result() == 3


# ---- cancelling, contexts, memory ----


def test_cancelling_the_future_does_not_stop_the_generator(loop):
    seen = []

    @gen.coroutine
    def f():
        yield gen.moment
        seen.append("went on")
        yield gen.moment
        seen.append("ended")

    future = f()
    assert future.cancel()
    loop.run_sync(lambda: gen.sleep(0.005))
    assert seen == ["went on", "ended"]
    assert future.cancelled()


def test_an_exception_after_cancel_is_logged(loop, caplog):
    @gen.coroutine
    def f():
        yield gen.moment
        raise ZeroDivisionError

    f().cancel()
    loop.run_sync(lambda: gen.sleep(0.005))
    assert "Exception after Future was cancelled" in caplog.records[0].getMessage()


def test_cancelled_error_passes_through(loop):
    inner = Future()

    @gen.coroutine
    def f():
        yield inner

    future = f()
    inner.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_sync(lambda: future)
    assert future.cancelled()


def test_a_coroutine_runs_in_a_copy_of_its_callers_context(loop):
    var = contextvars.ContextVar("var", default=0)

    @gen.coroutine
    def inner():
        seen = [var.get()]
        var.set(seen[0] + 10)
        yield gen.moment
        seen.append(var.get())
        return seen

    @gen.coroutine
    def outer():
        var.set(1)
        seen = yield inner()
        return seen, var.get()

    assert loop.run_sync(outer) == ([1, 11], 1)
    assert var.get() == 0


def test_two_coroutines_do_not_see_each_others_context(loop):
    var = contextvars.ContextVar("var")

    @gen.coroutine
    def f(x):
        var.set(x)
        for _ in range(5):
            yield gen.moment
            assert var.get() == x
        return x

    assert loop.run_sync(lambda: [f(i) for i in range(20)]) == list(range(20))


def test_no_cycle_is_left_after_success(loop):
    @gen.coroutine
    def inner():
        yield gen.moment
        return 1

    @gen.coroutine
    def f():
        yield inner()
        yield [inner(), inner()]
        yield later(loop)

    loop.run_sync(f)
    gc.collect()
    gc.disable()
    try:
        loop.run_sync(f)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_generators_frame_is_gone_when_the_future_is_done(loop):
    class Local:
        pass

    refs = []

    @gen.coroutine
    def f():
        local = Local()
        refs.append(weakref.ref(local))
        yield gen.moment

    future = f()
    loop.run_sync(lambda: future)
    assert refs[0]() is None


def test_a_parked_coroutine_survives_the_collector_until_the_loop_closes():
    loop = IOLoop(make_current=False)
    ended = []

    @gen.coroutine
    def parked():
        try:
            yield Future()
        finally:
            ended.append(1)

    async def main():
        parked()

    loop.run_sync(main)
    gc.collect()
    assert ended == []
    loop.close()
    del loop
    gc.collect()
    assert ended == [1]


def test_tracebacks_name_the_users_lines_only(loop):
    @gen.coroutine
    def inner():
        yield gen.moment
        raise ZeroDivisionError

    @gen.coroutine
    def outer():
        yield inner()

    try:
        loop.run_sync(outer)
    except ZeroDivisionError as exc:
        names = [frame.name for frame in traceback.extract_tb(exc.__traceback__)]
    assert names[-2:] == ["outer", "inner"]


# ---- multi ----


def test_multi_raises_the_first_and_logs_the_others(loop, caplog):
    @gen.coroutine
    def fails(exc):
        yield gen.moment
        raise exc

    with pytest.raises(KeyError):
        loop.run_sync(lambda: gen.multi([fails(KeyError("1")), fails(ValueError("2"))]))
    assert "Multiple exceptions in yield list" in caplog.records[0].getMessage()
    caplog.clear()
    with pytest.raises(KeyError):
        loop.run_sync(
            lambda: gen.multi(
                [fails(KeyError("1")), fails(ValueError("2"))],
                quiet_exceptions=ValueError,
            )
        )
    assert caplog.records == []


def test_multi_waits_for_all_even_after_a_failure(loop, caplog):
    slow = later(loop, seconds=0.01)
    failed = Future()
    failed.set_exception(KeyError())

    async def main():
        with pytest.raises(KeyError):
            await gen.multi([failed, slow])
        assert slow.done()

    loop.run_sync(main)


def test_multi_of_the_same_future_twice(loop):
    future = later(loop, 1)
    assert loop.run_sync(lambda: [future, future]) == [1, 1]


def test_multi_takes_any_iterable(loop):
    assert loop.run_sync(lambda: gen.multi(later(loop, i) for i in range(3))) == [
        0,
        1,
        2,
    ]


def test_cancelled_child_cancels_multi(loop):
    child = Future()
    whole = gen.multi([child])
    child.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_sync(lambda: whole)


def test_multi_does_not_log_that_another_child_was_cancelled(loop, caplog):
    children = [Future() for _ in range(3)]
    whole = gen.multi(children)
    children[0].set_exception(KeyError("first"))
    children[1].cancel()
    children[2].set_exception(asyncio.CancelledError())
    with pytest.raises(KeyError):
        loop.run_sync(lambda: whole)
    assert caplog.records == []


# ---- with_timeout, sleep ----


def test_with_timeout_gives_the_result_in_time(loop):
    limit = datetime.timedelta(seconds=60)
    assert loop.run_sync(lambda: gen.with_timeout(limit, later(loop, 1))) == 1
    assert loop.asyncio_loop.stats()["pending_timers"] == 0


def test_with_timeout_raises_and_lets_the_future_go_on(loop):
    slow = Future()

    async def main():
        with pytest.raises(gen.TimeoutError, match="too slow"):
            await gen.with_timeout(
                loop.time() + 0.001, slow, message="the thing was too slow"
            )
        assert not slow.cancelled()

    loop.run_sync(main)


def test_with_timeout_logs_a_late_failure(loop, caplog):
    late = Future()

    async def main():
        with pytest.raises(gen.TimeoutError):
            await gen.with_timeout(datetime.timedelta(seconds=0), late)
        late.set_exception(KeyError("late"))
        await asyncio.sleep(0.001)

    loop.run_sync(main)
    assert "after timeout" in caplog.records[0].getMessage()


def test_with_timeout_quiet_exceptions(loop, caplog):
    late = Future()

    async def main():
        with pytest.raises(gen.TimeoutError):
            await gen.with_timeout(
                datetime.timedelta(seconds=0), late, quiet_exceptions=KeyError
            )
        late.set_exception(KeyError("late"))
        await asyncio.sleep(0.001)

    loop.run_sync(main)
    assert caplog.records == []


# ---- WaitIterator ----


def test_wait_iterator_gives_results_as_they_come(loop):
    async def main():
        a, b = Future(), Future()
        waiter = gen.WaitIterator(a, b)
        loop.add_callback(b.set_result, "b")
        seen = []
        while not waiter.done():
            seen.append((await waiter.next(), waiter.current_index))
            if not a.done():
                assert waiter.current_future is b
                a.set_result("a")
        return seen

    assert loop.run_sync(main) == [("b", 1), ("a", 0)]


def test_wait_iterator_async_for_and_keywords(loop):
    async def main():
        seen = {}
        waiter = gen.WaitIterator(x=later(loop, 1, 0.002), y=later(loop, 2))
        async for value in waiter:
            seen[waiter.current_index] = value
        return seen

    assert loop.run_sync(main) == {"y": 2, "x": 1}
    with pytest.raises(ValueError):
        gen.WaitIterator(Future(), x=Future())


def test_wait_iterator_gives_a_future_as_often_as_it_was_given(loop):
    async def main():
        slow = later(loop, "slow", 0.002)
        fast = later(loop, "fast")
        waiter = gen.WaitIterator(slow, fast, slow)
        seen = []
        async for value in waiter:
            seen.append((waiter.current_index, value))
        return seen

    assert loop.run_sync(main) == [(1, "fast"), (0, "slow"), (2, "slow")]


# ---- the older forms ----


def add(a, b, callback):
    IOLoop.current().add_callback(callback, a + b)


def test_task(loop):
    @gen.coroutine
    def f():
        one = yield gen.Task(add, 1, 2)
        two = yield gen.Task(lambda callback: callback())
        three = yield gen.Task(lambda callback: callback(1, 2, key=3))
        return one, two, three

    one, two, three = loop.run_sync(f)
    assert (one, two) == (3, None)
    assert three == gen.Arguments((1, 2), {"key": 3})


def test_engine_runs_and_gives_nothing(loop):
    seen = []

    @gen.engine
    def f():
        seen.append((yield gen.Task(add, 1, 2)))
        loop.stop()

    assert f() is None
    loop.start()
    assert seen == [3]


def test_engine_with_a_result_is_an_error():
    @gen.engine
    def f():
        return 42

    with pytest.raises(gen.ReturnValueIgnoredError, match="42"):
        f()


def test_engine_exceptions_go_to_the_stack_context(loop):
    from pyfastloop.stack_context import ExceptionStackContext

    seen = []

    def handler(typ, value, tb):
        seen.append(typ)
        loop.stop()
        return True

    @gen.engine
    def f():
        yield gen.moment
        raise ZeroDivisionError

    with ExceptionStackContext(handler):
        f()
    loop.start()
    assert seen == [ZeroDivisionError]


def test_callback_and_wait(loop):
    @gen.coroutine
    def f():
        add(1, 2, callback=(yield gen.Callback("a")))
        add(3, 4, callback=(yield gen.Callback("b")))
        b = yield gen.Wait("b")
        a = yield gen.Wait("a")
        return a, b

    assert loop.run_sync(f) == (3, 7)


def test_wait_all(loop):
    @gen.coroutine
    def f():
        for i in range(5):
            add(i, i, callback=(yield gen.Callback(i)))
        return (yield gen.WaitAll(range(5)))

    assert loop.run_sync(f) == [0, 2, 4, 6, 8]


def test_keys_must_be_right(loop):
    @gen.coroutine
    def twice():
        yield gen.Callback("k")
        yield gen.Callback("k")

    @gen.coroutine
    def unknown():
        yield gen.Wait("nobody")

    @gen.coroutine
    def leaks():
        yield gen.Callback("k")

    for function, error in (
        (twice, gen.KeyReuseError),
        (unknown, gen.UnknownKeyError),
        (leaks, gen.LeakedCallbackError),
    ):
        with pytest.raises(error):
            loop.run_sync(function)


def test_a_yield_point_of_ones_own(loop):
    class Twice(gen.YieldPoint):
        def __init__(self, value):
            self.value = value

        def start(self, runner):
            self.runner = runner
            runner.register_callback(self)
            IOLoop.current().add_callback(runner.result_callback(self), self.value * 2)

        def is_ready(self):
            return self.runner.is_ready(self)

        def get_result(self):
            return self.runner.pop_result(self)

    @gen.coroutine
    def f():
        one = yield Twice(1)
        both = yield [Twice(2), later(loop, "future")]
        named = yield gen.Multi({"x": Twice(3), "y": gen.YieldFuture(later(loop, 4))})
        return one, both, named

    @gen.coroutine
    def nested():
        (yield gen.Callback("key"))("answer")
        mixed = yield [Twice(1), [Twice(2), later(loop, 3)], {"k": gen.Wait("key")}]
        lists = yield [[Twice(1)], {"k": Twice(2)}]
        return mixed, lists

    assert loop.run_sync(f) == (2, [4, "future"], {"x": 6, "y": 4})
    assert loop.run_sync(nested) == ([2, [4, 3], {"k": "answer"}], [[2], {"k": 4}])
    assert loop.run_sync(lambda: gen.convert_yielded([Twice(1)])) == [2]


def test_callback_keyword_of_a_coroutine(loop):
    seen = []

    @gen.coroutine
    def f(x):
        yield gen.moment
        return x

    @gen.coroutine
    def own(x, callback):
        callback(x)

    async def main():
        await f(1, callback=seen.append)
        await own(2, callback=seen.append)
        await asyncio.sleep(0.001)

    loop.run_sync(main)
    assert sorted(seen) == [1, 2]


def test_runner_in_both_forms(loop):
    def generator():
        value = yield first
        other = yield later(loop, 10)
        return value + other

    for form in (3, 4):
        first = Future()
        first.set_result(1)
        result = Future()
        running = generator()
        yielded = next(running)
        args = [running, result, yielded]
        if form == 4:
            args.insert(0, contextvars.copy_context().run)
        runner = gen.Runner(*args)
        assert loop.run_sync(lambda result=result: result) == 11
        assert runner.finished


def test_deep_recursion_of_done_coroutines():
    @gen.coroutine
    def f(n):
        if n:
            yield f(n - 1)
        return n

    depth = sys.getrecursionlimit() // 10
    assert f(depth).result() == depth


def test_lists_inside_themselves_are_refused(loop):
    @gen.coroutine
    def main():
        endless = []
        endless.append(endless)
        with pytest.raises(RecursionError):
            yield endless
        around = {}
        around[1] = around
        with pytest.raises(RecursionError):
            yield around

    loop.run_sync(main)


def test_a_future_of_another_loop_resumes_the_coroutine_on_its_own(loop):
    """The step runs in the coroutine's thread, not in the one that set the result."""
    made = concurrent.futures.Future()

    def elsewhere():
        async def make():
            made.set_result((IOLoop.current(), Future()))

        other = IOLoop(make_current=False)
        other.add_callback(make)
        other.start()
        other.close()

    thread = threading.Thread(target=elsewhere)
    thread.start()

    @gen.coroutine
    def main():
        other, future = made.result()
        loop.call_later(0.01, other.add_callback, future.set_result, 7)
        try:
            value = yield future
        finally:
            other.add_callback(other.stop)
        return value, threading.get_ident()

    try:
        assert loop.run_sync(main) == (7, threading.get_ident())
    finally:
        thread.join()


def test_yielding_a_future_that_calls_back_at_once(loop):
    class CallsAtOnce:
        _asyncio_future_blocking = False

        def add_done_callback(self, callback, context=None):
            callback(self)

        def result(self):
            return 5

    @gen.coroutine
    def main():
        return (yield CallsAtOnce())

    assert loop.run_sync(main, timeout=60) == 5
