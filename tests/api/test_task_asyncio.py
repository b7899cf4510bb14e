"""asyncio's and anyio's tools in and across our Task, with asyncio's beside it."""

from __future__ import annotations

import asyncio
import concurrent.futures

import anyio
import pytest

from pyfastloop import _core, aio, gen
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop


@pytest.fixture(params=["own", "asyncio"])
def run(request):
    """Runs a coroutine function; children are tasks of either kind."""
    loop = aio.new_event_loop()
    loop.set_own_tasks(request.param == "own")

    def run_inside(main):
        async def started():
            # The main coroutine itself runs in a Task of ours, as a handler does.
            task = _core.start_task(main())
            assert type(task) is _core.Task
            return await task

        return loop.run_until_complete(started())

    yield run_inside
    loop.close()


async def forever(ended):
    try:
        await Future()
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise


def test_timeout_on_the_first_line(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await Future()
        async with asyncio.timeout(60) as scope:
            await gen.sleep(0)
            scope.reschedule(None)
        assert asyncio.current_task().cancelling() == 0
        return "went on"

    assert run(main) == "went on"


def test_timeout_around_a_child_that_handles_it(run):
    async def main():
        ended = []
        child = asyncio.create_task(forever(ended))
        await asyncio.sleep(0)  # it has begun
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await child
        return ended

    assert run(main) == ["cancelled"]


def test_nested_timeouts_end_the_right_one(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                async with asyncio.timeout(60):
                    await Future()
        async with asyncio.timeout(60):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await Future()
        return asyncio.current_task().cancelling()

    assert run(main) == 0


def test_task_group_on_the_first_line(run):
    async def child(n):
        await gen.sleep(0)
        return n

    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(n)) for n in range(3)]
        return [t.result() for t in tasks]

    assert run(main) == [0, 1, 2]


def test_task_group_cancels_the_others(run):
    async def fails():
        await gen.sleep(0)
        raise KeyError("planted")

    async def main():
        ended = []
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(forever(ended))
                group.create_task(fails())
                await Future()
        assert [type(e) for e in caught.value.exceptions] == [KeyError]
        assert asyncio.current_task().cancelling() == 0
        return ended

    assert run(main) == ["cancelled"]


def test_wait_for(run):
    async def main():
        ended = []
        assert await asyncio.wait_for(asyncio.sleep(0, 1), 60) == 1
        assert await asyncio.wait_for(gen.maybe_future(2), 60) == 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(ended), 0.001)
        return ended

    assert run(main) == ["cancelled"]


def test_shield(run):
    async def main():
        inner = asyncio.create_task(asyncio.sleep(0.001, "survived"))
        outer = asyncio.shield(inner)
        await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        own = Future()
        shielded = asyncio.shield(own)
        shielded.cancel()
        assert not own.cancelled()
        own.set_result(1)
        return await inner

    assert run(main) == "survived"


def test_gather_and_wait_mix_everything(run):
    @gen.coroutine
    def generator():
        yield gen.moment
        return "generator"

    async def main():
        own = Future()
        own.set_result("own")
        foreign = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(foreign.set_result, "foreign")
        got = await asyncio.gather(
            generator(), own, foreign, asyncio.sleep(0, "native"), gen.sleep(0)
        )
        assert got == ["generator", "own", "foreign", "native", None]
        failing = Future()
        failing.set_exception(KeyError("k"))
        (error,) = await asyncio.gather(failing, return_exceptions=True)
        assert isinstance(error, KeyError)
        done, pending = await asyncio.wait({generator(), Future()}, timeout=0.01)
        assert (len(done), len(pending)) == (1, 1)
        first = [await f for f in asyncio.as_completed([generator()])]
        return first

    assert run(main) == ["generator"]


def test_anyio_cancel_scopes(run):
    async def main():
        ended = []
        with anyio.move_on_after(0.001) as scope:
            await Future()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(0.001):
            await gen.sleep(60)
        async with anyio.create_task_group() as group:
            group.start_soon(forever, ended)
            await anyio.sleep(0)
            group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0)
        return ended

    assert run(main) == ["cancelled"]


def test_anyio_scopes_across_generators(run):
    @gen.coroutine
    def generator():
        yield Future()

    async def main():
        with anyio.move_on_after(0.001) as scope:
            await generator()
        return scope.cancelled_caught

    assert run(main) is True


def test_cancel_runs_through_a_chain_of_both_kinds(run):
    async def main():
        ended = []

        async def middle():
            await asyncio.create_task(forever(ended))

        task = asyncio.create_task(middle())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError):
            await task
        return ended

    assert run(main) == ["cancelled"]


# ---- futures of concurrent.futures, wherever a future may stand ----


class Handed:
    """An awaitable that hands a future on and does not ask it for its result."""

    def __init__(self, future):
        self.future = future

    def __await__(self):
        self.future._asyncio_future_blocking = True
        yield self.future
        return "went on"


@pytest.mark.parametrize("kind", [Future, asyncio.Future])
def test_what_a_future_ends_with_is_thrown_into_what_yielded_it(run, kind):
    async def wait(future):
        return await Handed(future)

    async def main():
        loop = asyncio.get_running_loop()
        told = []
        for end in ("set_result", "set_exception", "cancel", None):
            future = kind(loop=loop)
            task = loop.create_task(wait(future))
            await asyncio.sleep(0)
            if end is None:
                task.cancel("the task")
            else:
                what = KeyError("no") if end == "set_exception" else "said"
                getattr(future, end)(what)
            try:
                told.append(await task)
            except (KeyError, asyncio.CancelledError) as error:
                told.append(repr(error))
        return told

    assert run(main) == [
        "went on",
        "KeyError('no')",
        "CancelledError('said')",
        "CancelledError('the task')",
    ]


def test_call_soon_threadsafe_of_the_loops_own_thread_keeps_order_with_steps(run):
    async def main():
        seen = []
        asyncio.get_running_loop().call_soon_threadsafe(seen.append, "called")
        await asyncio.sleep(0)
        return list(seen)

    assert run(main) == ["called"]


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield pool


def test_concurrent_futures_are_yieldables(pool):
    loop = IOLoop()

    @gen.coroutine
    def generator():
        one = yield pool.submit(lambda: 1)
        two, three = yield [pool.submit(lambda: 2), pool.submit(lambda: 3)]
        named = yield {"four": pool.submit(lambda: 4)}
        five = yield gen.convert_yielded(pool.submit(lambda: 5))
        six = yield gen.maybe_future(pool.submit(lambda: 6))
        seven = yield gen.with_timeout(loop.time() + 60, pool.submit(lambda: 7))
        with pytest.raises(ZeroDivisionError):
            yield pool.submit(lambda: 1 // 0)
        heard = Future()
        loop.add_future(pool.submit(lambda: 8), heard.set_result)
        eight = (yield heard).result()
        iterator = gen.WaitIterator(gen.convert_yielded(pool.submit(lambda: 9)))
        nine = yield iterator.next()
        multi = yield gen.multi([pool.submit(lambda: 10)])
        eleven = yield loop.run_in_executor(pool, lambda: 11)
        four = named["four"]
        six_more = [five, six, seven, eight, nine, eleven]
        return [one, two, three, four, *multi, *six_more]

    try:
        assert loop.run_sync(generator) == [1, 2, 3, 4, 10, 5, 6, 7, 8, 9, 11]
    finally:
        loop.close()


def test_a_concurrent_future_may_be_what_a_callback_returns(pool):
    loop = IOLoop()
    done = []

    def work():
        done.append(1)

    loop.add_callback(lambda: pool.submit(work))
    loop.call_later(0.05, loop.stop)
    loop.start()
    loop.close()
    assert done == [1]
