"""_core.Task: asyncio's task contract on our own task."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import socket
import sys
import threading
import weakref

import pytest

import pyfastloop
from pyfastloop import _core, aio, gen
from pyfastloop.ioloop import IOLoop


@pytest.fixture
def loop():
    loop = aio.new_event_loop()
    loop.set_own_tasks(True)
    yield loop
    loop.close()


def run(loop, coro):
    return loop.run_until_complete(asyncio.wait_for(coro, 60))


def test_create_task_makes_ours_where_the_setting_says_so(loop):
    async def main():
        task = asyncio.create_task(asyncio.sleep(0, 5), name="n")
        assert type(task) is _core.Task
        assert isinstance(task, asyncio.Task)
        assert task.get_name() == "n"
        task.set_name("m")
        assert task.get_name() == "m"
        assert task in asyncio.all_tasks()
        assert asyncio.current_task() in asyncio.all_tasks()
        assert task.get_loop() is loop
        return await task

    assert run(loop, main()) == 5


def test_asyncio_task_is_the_default():
    async def main():
        assert type(asyncio.create_task(asyncio.sleep(0))) is asyncio.Task
        assert isinstance(asyncio.current_task(), _core.Task)

    aio.run(main())


def test_current_task(loop):
    seen = []

    async def child():
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async def main():
        me = asyncio.current_task()
        task = asyncio.create_task(child())
        await task
        assert seen == [task, task]
        assert asyncio.current_task() is me

    run(loop, main())
    assert asyncio.current_task(loop) is None


def test_nobody_is_current_where_no_task_runs(loop):
    """Though tasks of ours step one after the other, before it and after it."""
    seen = []

    def look():
        seen.append(asyncio.current_task(loop))

    @gen.coroutine
    def generator():
        for _ in range(5):
            yield gen.moment
            look()

    async def steps():
        me = asyncio.current_task()
        for _ in range(50):
            await asyncio.sleep(0)
            assert asyncio.current_task() is me

    async def main():
        reader, writer = socket.socketpair()
        loop.add_reader(reader, look)
        theirs = asyncio.Task(steps(), loop=loop)
        ours = [asyncio.create_task(steps()) for _ in range(3)]
        assert {type(task) for task in ours} == {_core.Task}
        generated = generator()
        for _ in range(20):
            loop.call_soon(look)
            loop.call_later(0, look)
            writer.send(b"x")
            await asyncio.sleep(0)
        await asyncio.gather(theirs, *ours)
        await generated
        loop.remove_reader(reader)
        reader.close()
        writer.close()

    run(loop, main())
    assert len(seen) > 40 and set(seen) == {None}


def test_a_task_that_waits_when_the_loop_stops_is_not_current(loop):
    async def stops():
        loop.stop()
        while True:
            await asyncio.sleep(0)

    task = loop.create_task(stops())
    loop.run_forever()
    assert not task.done() and asyncio.current_task(loop) is None
    loop.run_until_complete(asyncio.Task(asyncio.sleep(0), loop=loop))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_start_task_runs_the_first_step_at_once(loop):
    seen = []

    async def child():
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        return "end"

    async def main():
        me = asyncio.current_task()
        task = _core.start_task(child())
        assert seen == [task]
        assert asyncio.current_task() is me
        assert await task == "end"

    run(loop, main())


def test_result_and_exception(loop):
    async def fails():
        raise KeyError("planted")

    async def main():
        task = asyncio.create_task(fails())
        with pytest.raises(KeyError):
            await task
        assert isinstance(task.exception(), KeyError)
        for method in (task.set_result, task.set_exception):
            with pytest.raises(RuntimeError):
                method(None)

    run(loop, main())


def test_cancel_at_an_await(loop):
    ended = []

    async def child():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as exc:
            ended.append(exc.args)
            raise

    async def main():
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        assert task.cancel("why")
        assert task.cancelling() == 1
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert not task.cancel()
        assert ended == [("why",)]

    run(loop, main())


def test_cancel_before_the_first_step(loop):
    async def child():
        pytest.fail("it was cancelled before it began")

    async def main():
        task = asyncio.create_task(child())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(loop, main())


def test_cancel_can_be_refused_and_taken_back(loop):
    async def child():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert asyncio.current_task().uncancel() == 0
        await asyncio.sleep(0)
        return "survived"

    async def main():
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "survived"
        assert task.cancelling() == 0

    run(loop, main())


def test_cancel_itself(loop):
    async def child():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
        pytest.fail("not reached")

    async def main():
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(child())

    run(loop, main())


def test_timeout_taskgroup_shield_and_gather(loop):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        async with asyncio.TaskGroup() as group:
            one = group.create_task(asyncio.sleep(0.001, 1))
            two = group.create_task(asyncio.sleep(0, 2))
        assert (one.result(), two.result()) == (1, 2)

        async def fails():
            await asyncio.sleep(0)
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                slow = group.create_task(asyncio.sleep(60))
        assert slow.cancelled()
        inner = asyncio.create_task(asyncio.sleep(0.005, "kept"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner), 0.001)
        assert await inner == "kept"
        assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)) == [1, 2]

    run(loop, main())


def test_awaits_futures_of_every_kind(loop):
    async def main():
        ours = _core.Future()
        loop.call_soon(ours.set_result, 1)
        theirs = asyncio.Future()
        loop.call_soon(theirs.set_result, 2)
        task = asyncio.Task(asyncio.sleep(0, 3), loop=loop)
        return await ours, await theirs, await task

    assert run(loop, main()) == (1, 2, 3)


def test_asyncio_tasks_await_ours(loop):
    async def ours():
        await asyncio.sleep(0)
        return 5

    async def theirs():
        return await asyncio.create_task(ours())

    assert run(loop, asyncio.Task(theirs(), loop=loop)) == 5


def test_bad_yields_are_runtime_errors(loop):
    class Bad:
        def __await__(self):
            yield 42

    class NoFrom:
        def __await__(self):
            yield loop.create_future()

    async def wait(awaitable):
        await awaitable

    async def main():
        with pytest.raises(RuntimeError, match="bad yield"):
            await asyncio.create_task(wait(Bad()))
        with pytest.raises(RuntimeError, match="yield was used instead"):
            await asyncio.create_task(wait(NoFrom()))
        other = aio.new_event_loop()
        with pytest.raises(RuntimeError, match="different loop"):
            await asyncio.create_task(wait(_core.Future(loop=other)))
        other.close()

    run(loop, main())


def test_awaiting_itself_is_an_error(loop):
    async def child():
        await holder[0]

    async def main():
        holder.append(asyncio.create_task(child()))
        with pytest.raises(RuntimeError, match="await on itself"):
            await holder[0]

    holder = []
    run(loop, main())


def test_context(loop):
    var = contextvars.ContextVar("var", default=0)

    async def child():
        var.set(var.get() + 1)
        await asyncio.sleep(0)
        return var.get()

    async def main():
        var.set(10)
        assert await asyncio.create_task(child()) == 11
        assert var.get() == 10
        context = contextvars.copy_context()
        task = asyncio.create_task(child(), context=context)
        assert task.get_context() is context
        assert await task == 11
        assert context[var] == 11

    run(loop, main())


def test_stack_and_repr(loop):
    loop.set_debug(False)  # it would tell where a task was made, too

    async def child():
        await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(child(), name="named")
        await asyncio.sleep(0)
        assert "pending" in repr(task)
        assert "named" in repr(task)
        assert f"child() running at {__file__}:" in repr(task)
        assert "wait_for=<Future pending" in repr(task)
        assert task.get_stack()[0].f_code is child.__code__
        out = io.StringIO()
        task.print_stack(file=out)
        assert "child" in out.getvalue()
        assert task.get_coro().cr_code is child.__code__
        task.cancel()
        assert "cancelling" in repr(task) or task._fut_waiter is not None

        async def five():
            return 5

        done = asyncio.create_task(five(), name="done")
        await done
        assert repr(done).startswith("<Task finished name='done' coro=<")
        assert f"five() done, defined at {__file__}:" in repr(done)
        assert repr(done).endswith(" result=5>")

    run(loop, main())


def test_eager_start(loop):
    seen = []

    async def child():
        seen.append(1)
        return 5

    async def main():
        task = _core.Task(child(), eager_start=True)
        assert seen == [1]
        assert task.done()
        return await task

    assert run(loop, main()) == 5


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_fatal_exceptions_leave_the_loop(loop, kind):
    async def fatal():
        await asyncio.sleep(0)
        raise kind

    with pytest.raises(kind):
        loop.run_until_complete(fatal())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_fatal_exception_that_left_the_loop_is_not_reported_again(loop, kind):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    async def fatal():
        raise kind

    async def main():
        _core.Task(fatal())  # nobody waits for it
        await asyncio.Event().wait()

    with pytest.raises(kind):
        loop.run_until_complete(main())
    gc.collect()
    assert [r for r in reports if isinstance(r.get("exception"), kind)] == []


def test_destroyed_while_pending_is_reported():
    loop = aio.new_event_loop()
    loop.set_own_tasks(True)
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    async def main():
        task = asyncio.create_task(asyncio.Event().wait())
        del task
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
    gc.collect()
    assert reports == ["Task was destroyed but it is pending!"]


def test_a_finished_task_holds_nothing(loop):
    class Local:
        pass

    refs = []

    async def child():
        local = Local()
        refs.append(weakref.ref(local))
        await asyncio.sleep(0)

    async def main():
        task = asyncio.create_task(child())
        await task
        assert refs[0]() is None

    run(loop, main())


def test_a_chain_of_any_length_is_cancelled():
    """The C stack must not grow with it."""

    async def awaits(future):
        return await future

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_own_tasks(True)
        tasks = [asyncio.create_task(awaits(loop.create_future()))]
        for _ in range(20_000):
            tasks.append(asyncio.create_task(awaits(tasks[-1])))
        await asyncio.sleep(0)
        assert tasks[-1].cancel("all") is True
        assert {task.cancelling() for task in tasks} == {1}
        with pytest.raises(asyncio.CancelledError, match="all"):
            await tasks[-1]
        assert all(task.cancelled() for task in tasks)
        ended.append(True)

    ended = []
    usual = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=pyfastloop.run, args=(main(),))
        thread.start()
    finally:
        threading.stack_size(usual)
    thread.join()
    assert ended


def test_tasks_that_wait_for_each_other_cannot_be_cancelled(loop):
    async def awaits(number):
        await tasks[number]

    async def main():
        tasks.extend(asyncio.create_task(awaits(n)) for n in (1, 2, 1))
        await asyncio.sleep(0)
        for task in tasks:
            with pytest.raises(RecursionError, match="circle"):
                task.cancel()
            task._log_destroy_pending = False

    tasks = []
    run(loop, main())


def test_needs_a_coroutine(loop):
    with pytest.raises(TypeError, match="coroutine was expected"):
        _core.Task(5, loop=loop)


def test_many_tasks_at_once(loop):
    async def child(i):
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return i

    async def main():
        tasks = [asyncio.create_task(child(i)) for i in range(2000)]
        return sum([await task for task in tasks])

    assert run(loop, main()) == sum(range(2000))


def test_deep_chains_do_not_recurse(loop):
    async def link(previous):
        return await previous + 1

    async def main():
        task = asyncio.create_task(asyncio.sleep(0, 0))
        for _ in range(sys.getrecursionlimit() * 2):
            task = asyncio.create_task(link(task))
        return await task

    assert run(loop, main()) == sys.getrecursionlimit() * 2


def test_init_comes_once():
    async def main():
        async def work():
            await asyncio.sleep(0)

        async def other():
            raise AssertionError("never runs")

        task = _core.Task(work())
        for _ in range(2):
            late = other()
            with pytest.raises(RuntimeError, match="called before"):
                task.__init__(late)
            late.close()
            await task

    IOLoop().run_sync(main)


class CallsAtOnce:
    """A future of somebody else's that calls back from inside add_done_callback."""

    _asyncio_future_blocking = False

    def add_done_callback(self, callback, context=None):
        callback(self)

    def get_loop(self):
        return asyncio.get_running_loop()

    def done(self):
        return True

    def result(self):
        return 5

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self
        return self.result()


def test_a_future_that_calls_back_at_once():
    async def many():
        return sum([await CallsAtOnce() for _ in range(20_000)])

    async def main():
        return await _core.Task(many())

    assert IOLoop().run_sync(main) == 100_000
