"""Lives of futures, tasks, generators and coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
from typing import Any

from pyfastloop import _core, concurrent, gen, locks, queues, stack_context
from pyfastloop.ioloop import IOLoop
from scenarios.base import Raised, on_a_loop, simple


@on_a_loop
async def future_result() -> None:
    future: Any = concurrent.Future()
    future.add_done_callback(str)
    future.set_result([])
    await future


@on_a_loop
async def future_exception() -> None:
    future: Any = concurrent.Future()
    future.set_exception(Raised())
    with contextlib.suppress(Raised):
        await future


@on_a_loop
async def future_cancelled_or_dropped() -> None:
    future: Any = concurrent.Future()
    future.add_done_callback(str)
    future.cancel("why")
    dropped: Any = concurrent.Future()
    dropped.add_done_callback(str)
    dropped.itself = dropped
    never_asked: Any = concurrent.Future()
    never_asked.set_exception(Raised())


@simple
def future_isinstance() -> None:
    class Mine(concurrent.Future):  # type: ignore[misc, valid-type]
        pass

    assert isinstance(concurrent.Future(), asyncio.Future)
    mine = Mine()
    mine.set_result(1)
    assert mine.result() == 1
    del mine, Mine
    gc.collect()


@gen.coroutine
def waits() -> Any:
    yield gen.moment
    yield [gen.sleep(0), gen.maybe_future(1)]
    yield {"a": gen.sleep(0)}
    yield asyncio.sleep(0)
    raise gen.Return(1)


@on_a_loop
async def coroutine_waits() -> None:
    assert await waits() == 1
    async with asyncio.timeout(100):
        await gen.sleep(0)


@simple
def coroutine_function() -> None:
    class Holder:
        @gen.coroutine
        def method(self, a: int, b: int = 2) -> int:
            return a + b

    assert Holder().method(1).result() == 3


@on_a_loop
async def coroutine_raises() -> None:
    @gen.coroutine
    def bad() -> Any:
        yield gen.moment
        raise Raised

    async def native() -> None:
        await bad()

    with contextlib.suppress(Raised):
        await native()
    with contextlib.suppress(Raised):
        await gen.multi([bad(), bad()])


@on_a_loop
async def coroutine_cancelled() -> None:
    async def forever() -> None:
        await concurrent.Future()

    task = asyncio.get_running_loop().create_task(forever())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@on_a_loop
async def task_ends() -> None:
    """A Task of our own that returns, raises, is cancelled before and during a wait."""

    async def returns() -> list[int]:
        await gen.sleep(0)
        return [1]

    async def raises() -> None:
        await gen.sleep(0)
        raise Raised

    async def refuses() -> str:
        try:
            await concurrent.Future()
        except asyncio.CancelledError:
            return "refused"
        return "never"

    loop = asyncio.get_running_loop()
    for coro in (returns(), raises(), refuses()):
        task = _core.Task(coro, loop=loop)
        await asyncio.sleep(0)
        task.cancel("why")
        await asyncio.gather(task, return_exceptions=True)
        assert task.get_coro() is coro
    for coro in (returns(), raises()):
        await asyncio.gather(_core.Task(coro, loop=loop), return_exceptions=True)
    before = _core.Task(returns(), loop=loop)
    before.cancel()
    await asyncio.gather(before, return_exceptions=True)
    assert await _core.start_task(returns()) == [1]


@simple
def loop_closed_around_tasks() -> None:
    """The loop closes while coroutines of every kind wait in it."""
    one = IOLoop(make_current=False)
    one.asyncio_loop.set_exception_handler(lambda loop, context: None)
    ended = []

    async def native() -> None:
        try:
            await concurrent.Future()
        finally:
            ended.append(1)

    @gen.coroutine
    def generator() -> Any:
        try:
            yield [concurrent.Future(), native()]
        finally:
            ended.append(1)

    async def start() -> None:
        generator()
        _core.Task(native())
        _core.start_task(native())
        one.call_later(100, ended.append, 1)
        one.add_callback(generator)

    one.run_sync(start)
    one.close()


@on_a_loop
async def callbacks_that_fail() -> None:
    """Their exceptions reach a context of stack_context, and nothing stays."""
    seen: list[Any] = []
    done: Any = concurrent.Future()

    def fails(*args: Any) -> None:
        raise Raised

    def handler(typ: Any, value: Any, tb: Any) -> bool:
        seen.append(typ)
        if len(seen) == 3:
            done.set_result(None)
        return True

    future: Any = concurrent.Future()
    with stack_context.ExceptionStackContext(handler):
        future.add_done_callback(fails)
        asyncio.get_running_loop().call_soon(fails)
        IOLoop.current().add_callback(fails)
    future.set_result(None)
    await done


@simple
def coroutine_abandoned() -> None:
    one = IOLoop(make_current=False)
    seen = []

    async def start() -> None:
        @gen.coroutine
        def forever() -> Any:
            try:
                yield concurrent.Future()
            finally:
                seen.append(1)

        forever()

    one.run_sync(start)
    one.close()
    del one
    gc.collect()


@on_a_loop
async def engine() -> None:
    done: Any = concurrent.Future()

    @gen.engine
    def old() -> Any:
        yield gen.Task(IOLoop.current().add_callback)
        yield gen.Callback("key")
        done.set_result(None)

    @gen.engine
    def good() -> Any:
        IOLoop.current().add_callback((yield gen.Callback("key")), 1)
        yield gen.Wait("key")
        done.set_result(None)

    good()
    await done
    del old

    def later(callback: Any) -> None:
        IOLoop.current().add_callback(callback, [])
        IOLoop.current().add_callback(int, "none")

    assert await gen.Task(later) == []
    with contextlib.suppress(ValueError):
        await gen.Task(lambda callback: IOLoop.current().add_callback(int, "none"))
    with contextlib.suppress(ValueError):
        await gen.Task(lambda callback: int("none"))
    callbacks: list[Any] = []
    never: Any = gen.Task(lambda callback: callbacks.append(callback))
    never.itself = callbacks.pop()


@on_a_loop
async def locks_handed_over() -> None:
    """By `async with` and by acquire(); one waiter gives up, one lock is dropped."""
    lock, semaphore = locks.Lock(), locks.BoundedSemaphore(2)

    async def inside() -> None:
        async with lock, semaphore:
            await gen.sleep(0)

    @gen.coroutine
    def older() -> Any:
        with (yield lock.acquire()):
            yield gen.moment

    await gen.multi([inside(), older(), inside()])
    async with lock:
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(inside())
        await gen.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
    with contextlib.suppress(RuntimeError):
        lock.release()
    abandoned: Any = locks.Lock()
    abandoned.acquire()
    abandoned.itself = abandoned.acquire()


@on_a_loop
async def events_told() -> None:
    event, condition = locks.Event(), locks.Condition()
    waiting = [event.wait(), event.wait(datetime.timedelta(seconds=60))]
    waiting[0].cancel()
    event.set()
    await waiting[1]
    told = [condition.wait(), condition.wait(), condition.wait()]
    condition.notify(2)
    assert await gen.multi(told[:2]) == [True, True]


@on_a_loop
async def queue_handed_over() -> None:
    queue: Any = queues.Queue(1)

    async def produce() -> None:
        for n in range(5):
            await queue.put([n])

    async def consume() -> None:
        for _ in range(5):
            await queue.get()
            queue.task_done()

    await gen.multi([produce(), consume(), queue.join()])
    with contextlib.suppress(queues.QueueEmpty):
        queue.get_nowait()
    least: Any = queues.PriorityQueue(1)
    least.put_nowait(1)
    mixed = least.put("not a number")
    with contextlib.suppress(TypeError):
        await gen.multi([least.get(), mixed])

    class Stack(queues.Queue[Any]):
        def _get(self) -> Any:
            return self._queue.pop()

    stack = Stack()
    stack.put_nowait([])
    await stack.get()
    dropped: Any = queues.Queue(1)
    dropped.put_nowait([])
    dropped.itself = dropped.put(dropped)
