"""Future: asyncio's contract, and what is ours."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import weakref

import pytest

from pyfastloop import _core, aio, gen
from pyfastloop.concurrent import Future, TracebackFuture
from pyfastloop.ioloop import IOLoop


@pytest.fixture
def loop():
    loop = aio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def current():
    """A loop that is the thread's."""
    loop = IOLoop()
    yield loop
    loop.close()


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_states(loop):
    future = Future(loop=loop)
    assert not future.done()
    assert not future.cancelled()
    with pytest.raises(asyncio.InvalidStateError):
        future.result()
    with pytest.raises(asyncio.InvalidStateError):
        future.exception()
    future.set_result(5)
    assert future.done()
    assert future.result() == 5
    assert future.exception() is None
    for again in (
        lambda: future.set_result(1),
        lambda: future.set_exception(KeyError()),
    ):
        with pytest.raises(asyncio.InvalidStateError):
            again()
    assert future.cancel() is False


def test_exceptions(loop):
    future = Future(loop=loop)
    error = KeyError("planted")
    future.set_exception(error)
    assert future.exception() is error
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            future.result()
        depth = len(caught.traceback)
    assert depth == 1
    by_class = Future(loop=loop)
    by_class.set_exception(ZeroDivisionError)
    assert isinstance(by_class.exception(), ZeroDivisionError)
    with pytest.raises(TypeError):
        Future(loop=loop).set_exception(5)


def test_stop_iteration_becomes_a_runtime_error(loop):
    future = Future(loop=loop)
    future.set_exception(StopIteration(1))
    error = future.exception()
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, StopIteration)


def test_cancel_with_a_message(loop):
    future = Future(loop=loop)
    assert future.cancel("why") is True
    assert future.cancelled()
    with pytest.raises(asyncio.CancelledError) as caught:
        future.result()
    assert caught.value.args == ("why",)
    with pytest.raises(asyncio.CancelledError):
        future.exception()
    keyword = Future(loop=loop)
    assert keyword.cancel(msg="kw")


def test_callbacks_run_from_the_loop_in_order(loop):
    future = Future(loop=loop)
    seen = []
    for i in range(5):
        future.add_done_callback(lambda f, i=i: seen.append((i, f)))
    future.set_result(None)
    assert seen == []
    turn(loop)
    assert seen == [(i, future) for i in range(5)]


def test_callbacks_of_a_done_future_wait_for_the_loop(loop):
    future = Future(loop=loop)
    future.set_result(None)
    seen = []
    future.add_done_callback(seen.append)
    assert seen == []
    turn(loop)
    assert seen == [future]


def test_callbacks_run_in_their_context(loop):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.copy_context()
    context.run(var.set, 7)
    seen = []
    future = Future(loop=loop)
    future.add_done_callback(lambda f: seen.append(var.get()), context=context)
    var.set(3)
    future.add_done_callback(lambda f: seen.append(var.get()))
    var.set(4)
    future.set_result(None)
    turn(loop)
    assert seen == [7, 3]


def test_remove_done_callback_counts(loop):
    future = Future(loop=loop)
    seen = []

    def one(f):
        seen.append("one")

    def two(f):
        seen.append("two")

    for callback in (one, two, one, one):
        future.add_done_callback(callback)
    assert future.remove_done_callback(one) == 3
    assert future.remove_done_callback(one) == 0
    future.set_result(None)
    turn(loop)
    assert seen == ["two"]


def test_remove_survives_an_eq_that_raises_or_meddles(loop):
    future = Future(loop=loop)

    class Meddles:
        def __eq__(self, other):
            future.add_done_callback(print)
            future.remove_done_callback(print)
            return False

        def __call__(self, f):
            pass

    class Raises(Meddles):
        def __eq__(self, other):
            raise ZeroDivisionError

    for _ in range(4):
        future.add_done_callback(Meddles())
    assert future.remove_done_callback(print) == 0
    future.add_done_callback(Raises())
    with pytest.raises(ZeroDivisionError):
        future.remove_done_callback(print)
    future.set_result(None)
    turn(loop)


def test_await(loop):
    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, 5)
        assert await future == 5
        assert await future == 5
        failed = loop.create_future()
        loop.call_soon(failed.set_exception, KeyError("planted"))
        with pytest.raises(KeyError):
            await failed
        return "end"

    assert loop.run_until_complete(main()) == "end"


def test_iterator_protocol(loop):
    future = Future(loop=loop)
    iterator = iter(future)
    assert next(iterator) is future
    assert future._asyncio_future_blocking
    future._asyncio_future_blocking = False
    future.set_result(5)
    with pytest.raises(StopIteration) as stop:
        iterator.send(None)
    assert stop.value.value == 5
    thrown = iter(Future(loop=loop))
    with pytest.raises(ZeroDivisionError):
        thrown.throw(ZeroDivisionError)
    iter(future).close()


def test_a_tuple_or_exception_as_result_survives(loop):
    async def main(value):
        future = loop.create_future()
        loop.call_soon(future.set_result, value)
        return await future

    for value in ((1, 2), KeyError("x"), StopIteration(3), None):
        assert loop.run_until_complete(main(value)) is value


def test_isinstance_holds_both_ways(loop):
    ours, theirs = Future(loop=loop), asyncio.Future(loop=loop)
    assert isinstance(ours, asyncio.Future)
    assert isinstance(theirs, Future)
    assert asyncio.isfuture(ours)
    assert not isinstance(5, Future)
    assert issubclass(asyncio.Future, Future)
    assert TracebackFuture is Future

    class Mine(Future):
        pass

    assert isinstance(Mine(loop=loop), Mine)
    assert not isinstance(theirs, Mine)
    assert not isinstance(ours, Mine)


def test_subclasses_attributes_and_weak_references(loop):
    class Mine(Future):
        def __init__(self, **kw):
            super().__init__(**kw)
            self.extra = 1

    future = Mine(loop=loop)
    future.other = 2
    assert (future.extra, future.other) == (1, 2)
    ref = weakref.ref(future)
    del future
    assert ref() is None
    plain = Future(loop=loop)
    plain.attribute = 1
    assert vars(plain) == {"attribute": 1}


def test_repr_of_a_subclass_has_its_name(loop):
    loop.set_debug(False)  # it would tell where a future was made, too

    class Answer(Future):
        pass

    assert repr(Answer(loop=loop)) == "<Answer pending>"


def test_repr_tells_the_state(loop):
    loop.set_debug(False)  # it would tell where a future was made, too
    future = Future(loop=loop)
    assert repr(future) == "<Future pending>"
    future.set_result([1])
    assert repr(future) == "<Future finished result=[1]>"
    failed = Future(loop=loop)
    failed.set_exception(KeyError("k"))
    assert repr(failed) == "<Future finished exception=KeyError('k')>"
    failed.exception()
    cancelled = Future(loop=loop)
    cancelled.cancel()
    assert repr(cancelled) == "<Future cancelled>"
    recursive = Future(loop=loop)
    recursive.set_result(recursive)
    assert "..." in repr(recursive)


def test_repr_names_a_subclass_and_shortens_a_long_result(loop):
    loop.set_debug(False)  # it would tell where a future was made, too

    class Mine(Future):
        pass

    future = Mine(loop=loop)
    assert repr(future) == "<Mine pending>"
    future.set_result("x" * 1_000_000)
    assert repr(future).startswith("<Mine finished result='xxx")
    assert len(repr(future)) < 100


@pytest.mark.parametrize("kind", ["task", "generator", "multi", "callback"])
def test_a_subclass_is_asked_by_its_own_methods(current, kind):
    """Such as one that begins its work when somebody waits for it."""

    class Lazy(Future):
        def add_done_callback(self, fn, *, context=None):
            super().add_done_callback(fn, context=context)
            if not self.done():
                self.set_result("work")

    async def task():
        return await _core.start_task(native())

    async def native():
        return await Lazy()

    @gen.coroutine
    def generator():
        return (yield Lazy())

    @gen.coroutine
    def multi():
        return (yield [Lazy()])[0]

    async def callback():
        done = Future()
        current.add_callback(Lazy)
        current.add_future(Lazy(), lambda future: done.set_result(future.result()))
        return await done

    waits = {
        "task": task,
        "generator": generator,
        "multi": multi,
        "callback": callback,
    }[kind]
    assert current.run_sync(waits, timeout=60) == "work"


def test_debug_mode_refuses_to_finish_one_from_another_thread(loop):
    loop.set_debug(True)
    refused = []

    def meddle(future):
        try:
            future.set_result(1)
        except RuntimeError as error:
            refused.append(str(error))

    async def main():
        future = Future(loop=loop)
        future.add_done_callback(refused.append)
        thread = threading.Thread(target=meddle, args=(future,))
        thread.start()
        thread.join()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(refused) == 1
    assert refused[0].startswith("Non-thread-safe operation")


def test_an_exception_has_the_context_of_who_asked_for_it(loop):
    """Also where the future was done when it was awaited."""
    failed = Future(loop=loop)
    failed.set_exception(KeyError("later"))
    cancelled = Future(loop=loop)
    cancelled.cancel()

    async def awaits(future):
        await future

    async def main():
        for future in (failed, cancelled):
            for ask in (future.result, lambda: None):
                try:
                    raise ValueError("handled")
                except ValueError as handled:
                    with pytest.raises((KeyError, asyncio.CancelledError)) as caught:
                        ask()
                        await awaits(future)
                    assert caught.value.__context__ is handled

    loop.run_until_complete(main())


def test_usable_without_a_loop(current):
    future = Future()
    seen = []
    future.add_done_callback(seen.append)
    future.set_result(1)
    assert seen == []
    assert future.get_loop() is current.asyncio_loop
    current.add_callback(current.stop)
    current.start()
    assert seen == [future]


def test_get_loop(loop):
    assert Future(loop=loop).get_loop() is loop

    async def main():
        assert Future().get_loop() is loop

    loop.run_until_complete(main())


def test_in_a_foreign_loop_futures_belong_to_it():
    async def main():
        future = Future()
        assert future.get_loop() is asyncio.get_running_loop()
        asyncio.get_running_loop().call_soon(future.set_result, 5)
        task = asyncio.create_task(_wait(future))
        return await asyncio.wait_for(future, 60), await task

    async def _wait(future):
        return await future

    assert asyncio.run(main()) == (5, 5)


def test_exception_never_retrieved_is_reported_once(loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    future = Future(loop=loop)
    future.set_exception(KeyError("lost"))
    del future
    gc.collect()
    (context,) = reports
    assert context["message"] == "Future exception was never retrieved"
    assert isinstance(context["exception"], KeyError)
    seen = Future(loop=loop)
    seen.set_exception(KeyError("seen"))
    seen.exception()
    del seen
    assert len(reports) == 1


def test_a_fatal_exception_never_retrieved_is_reported_like_any(loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    future = Future(loop=loop)
    future.set_exception(SystemExit(3))
    del future
    gc.collect()
    (context,) = reports
    assert context["message"] == "Future exception was never retrieved"
    assert isinstance(context["exception"], SystemExit)


def test_exception_never_retrieved_without_a_loop_goes_to_asyncios_log(caplog):
    future = Future()
    future.set_exception(KeyError("lost"))
    del future
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert "never retrieved" in record.getMessage()
    assert record.levelno == logging.ERROR


def test_log_traceback_can_only_be_switched_off(loop):
    future = Future(loop=loop)
    future.set_exception(KeyError())
    with pytest.raises(ValueError):
        future._log_traceback = True
    future._log_traceback = False
    del future


def test_exc_info_forms(loop):
    future = Future(loop=loop)
    try:
        raise KeyError("planted")
    except KeyError as exc:
        future.set_exc_info((type(exc), exc, exc.__traceback__))
    typ, _value, tb = future.exc_info()
    assert typ is KeyError
    assert tb is not None
    with pytest.raises(TypeError, match="tuple"):
        Future(loop=loop).set_exc_info(5)


def test_asyncios_helpers_take_it(loop):
    async def main():
        a, b = Future(), Future()
        loop.call_soon(a.set_result, 1)
        loop.call_soon(b.set_result, 2)
        assert await asyncio.gather(a, b) == [1, 2]
        c = Future()
        loop.call_later(0.001, c.set_result, 3)
        assert await asyncio.wait_for(asyncio.shield(c), 60) == 3
        d = Future()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(d, 0.001)
        assert d.cancelled()
        e = Future()
        loop.call_soon(e.set_result, 5)
        done, pending = await asyncio.wait([e])
        assert done == {e}
        assert not pending

    loop.run_until_complete(main())


def test_constructor_arguments():
    with pytest.raises(TypeError):
        Future(1)
    with pytest.raises(TypeError):
        Future(other=1)


def test_cycles_through_a_future_are_collected(loop):
    future = Future(loop=loop)
    future.me = future
    future.add_done_callback(future.set_result)
    ref = weakref.ref(future)
    del future
    gc.collect()
    assert ref() is None


def test_generic_alias():
    assert Future[int].__origin__ is Future
    assert _core.Task[int].__origin__ is _core.Task


# ---- programs that do odd things in the middle of ours ----


def test_attributes_set_before_init_stay(loop):
    class Named(Future):
        def __init__(self):
            self.name = "before"
            super().__init__(loop=loop)

    assert Named().name == "before"


def test_an_exception_class_that_finishes_the_future_itself(loop):
    future = Future(loop=loop)

    class Hasty(Exception):
        def __init__(self):
            future.set_result(1)

    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(Hasty)
    assert future.result() == 1
    assert future.exception() is None


def test_repr_of_a_result_that_resets_the_future(loop):
    loop.set_debug(False)  # it would tell where a future was made, too
    future = Future(loop=loop)

    class Reset:
        def __repr__(self):
            future.__init__(loop=loop)
            gc.collect()
            return "Reset"

    future.set_result([Reset(), 1, [Reset()]])
    assert repr(future) == "<Future finished result=[Reset, 1, [Reset]]>"
    assert repr(future) == "<Future pending>"


def done_with(loop, value):
    future = Future(loop=loop)
    future.set_result(value)
    return future


def test_every_stop_iteration_keeps_what_it_says(loop):
    kept = []
    for value in range(3):
        try:
            next(iter(done_with(loop, value)))
        except StopIteration as stop:
            kept.append(stop)
    assert [(stop.value, stop.args) for stop in kept] == [(n, (n,)) for n in range(3)]
    kept = []
    for value in range(3):
        try:
            next(iter(done_with(loop, value)))
        except StopIteration as stop:
            stop.add_note("seen")
            kept.append(stop.args)
    assert kept == [(0,), (1,), (2,)]
    with pytest.raises(StopIteration) as caught:
        next(iter(done_with(loop, 3)))
    assert not hasattr(caught.value, "__notes__") and not caught.value.__context__


def test_nothing_keeps_a_result_that_was_awaited(loop):
    class Result:
        pass

    async def main():
        for _ in range(3):
            future = done_with(loop, Result())
            alive = weakref.ref(await future)
            assert alive() is not None
            del future
            assert alive() is None

    loop.run_until_complete(main())


def test_what_dies_with_an_iterator_may_await(loop):
    class Awaits:
        def __del__(self):
            with pytest.raises(StopIteration):
                next(iter(done_with(loop, 1)))

    for _ in range(3):
        iterator = iter(done_with(loop, Awaits()))
        with pytest.raises(StopIteration):
            next(iterator)
        del iterator


@pytest.mark.parametrize("last", ["result", "exception"])
def test_a_gather_is_cancelled_though_its_last_future_has_ended_otherwise(loop, last):
    """asyncio asks that future for the CancelledError, and it keeps what it has."""

    async def main():
        waits, ended = loop.create_future(), loop.create_future()
        if last == "result":
            ended.set_result([1])
        else:
            ended.set_exception(KeyError(1))
        gathered = asyncio.gather(waits, ended, return_exceptions=True)
        await asyncio.sleep(0)
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        assert isinstance(ended._make_cancelled_error(), asyncio.CancelledError)
        if last == "result":
            assert ended.result() == [1]
        else:
            assert ended.exception().args == (1,)

    loop.run_until_complete(main())


def test_a_subclass_and_a_replaced_init_are_called(loop, monkeypatch):
    made = []

    class Mine(Future):
        def __init__(self, *args, **kwargs):
            made.append((args, kwargs))
            super().__init__(loop=loop)

    Mine(1, a=2)
    original = Future.__init__
    with monkeypatch.context() as patch:
        patch.setattr(
            Future,
            "__init__",
            lambda self, **kw: made.append(kw) or original(self, **kw),
        )
        Future()
        assert Future(loop=loop).get_loop() is loop
    Future()
    assert made == [((1,), {"a": 2}), {}, {"loop": loop}]
    with pytest.raises(TypeError, match="keyword arguments only"):
        Future(1)
    with pytest.raises(TypeError, match="one keyword only"):
        Future(a=1)


def test_an_iterator_of_a_future_ends_for_good(loop):
    future = Future(loop=loop)
    future.set_result(3)
    iterator = future.__await__()
    for expected in (3, None, None):
        with pytest.raises(StopIteration) as caught:
            iterator.send(None)
        assert caught.value.value == expected


def test_a_long_chain_of_results_can_be_dropped(loop):
    loop.set_debug(False)  # it would ask a hundred thousand times where it is
    future = Future(loop=loop)
    for _ in range(100_000):
        outer = Future(loop=loop)
        outer.set_result(future)
        future = outer
    del future, outer


def test_the_two_lists_of_callbacks(current):
    """The example of docs/coroutines.md: a future's list, then the loop's."""
    said = []

    def main():
        future = Future()
        current.add_future(future, lambda f: said.append(f"future's {f.result()}"))
        current.add_callback(said.append, "loop's")
        future.set_result("value")
        said.append("first")
        return gen.sleep(0)

    current.run_sync(main)
    assert said == ["first", "loop's", "future's value"]


class Asked(Future):
    """What a task of asyncio's learns, it learns from result()."""

    def result(self):
        value = super().result()
        if value == "wrong":
            raise LookupError(value)
        return value


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("kind", [Future, Asked, asyncio.Future])
def test_a_task_of_asyncios_waits_for_it(loop, kind, debug):
    loop.set_debug(debug)

    async def waits(future):
        try:
            return await future
        except (LookupError, asyncio.CancelledError) as error:
            return repr(error)

    async def main():
        good, failed, cancelled = (kind(loop=loop) for _ in range(3))
        tasks = [asyncio.Task(waits(f), loop=loop) for f in (good, failed, cancelled)]
        await asyncio.sleep(0)
        good.set_result("tea")
        failed.set_exception(KeyError("no"))
        cancelled.cancel("enough")
        return await asyncio.gather(*tasks)

    told = loop.run_until_complete(main())
    assert told == ["tea", "KeyError('no')", "CancelledError('enough')"]


def test_an_overridden_result_is_what_a_task_of_asyncios_gets_raised(loop):
    async def waits(future):
        with pytest.raises(LookupError):
            await future

    async def main():
        future = Asked(loop=loop)
        task = asyncio.Task(waits(future), loop=loop)
        await asyncio.sleep(0)
        future.set_result("wrong")
        await task

    loop.run_until_complete(main())
