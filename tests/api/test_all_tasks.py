"""asyncio.all_tasks() and our tasks: what waits, in its loop, from any thread."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref

import pytest

from pyfastloop import _all_tasks, _core, aio
from pyfastloop import gen as pyfastloop_gen
from pyfastloop.concurrent import Future


@pytest.fixture
def loop():
    loop = aio.new_event_loop()
    loop.set_own_tasks(True)
    yield loop
    loop.close()


def test_it_gives_what_waits_or_waits_to_start_and_nothing_that_ended(loop):
    async def wait(future):
        await future

    async def main():
        me = asyncio.current_task()
        future = Future()
        waiting = loop.create_task(wait(future))
        assert asyncio.all_tasks() == {me, waiting}  # not started yet
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {me, waiting}
        future.set_result(None)
        await waiting
        assert asyncio.all_tasks() == {me}

    loop.run_until_complete(main())
    assert asyncio.all_tasks(loop) == set()
    assert _core.parked_tasks() == []


def test_tasks_of_asyncio_and_ours_are_given_together(loop):
    async def main():
        both = {
            asyncio.Task(asyncio.sleep(60), loop=loop),
            _core.Task(asyncio.sleep(60), loop=loop),
        }
        assert asyncio.all_tasks() == {asyncio.current_task(), *both}
        for task in both:
            task.cancel()
        await asyncio.wait(both)

    loop.run_until_complete(main())


def test_generators_of_gen_coroutine_are_no_tasks(loop):
    @pyfastloop_gen.coroutine
    def wait(future):
        yield future

    async def main():
        future = Future()
        waiting = wait(future)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        future.set_result(None)
        await waiting

    loop.run_until_complete(main())


def test_loops_are_told_apart_and_another_thread_may_ask(loop):
    """A second loop runs in a thread; each is asked for from the other's thread."""
    seen = {}
    there, here = threading.Event(), threading.Event()
    other = aio.new_event_loop()
    other.set_own_tasks(True)

    async def in_thread():
        task = asyncio.current_task()
        seen["theirs"] = task
        there.set()
        await asyncio.get_running_loop().run_in_executor(None, here.wait)
        seen["ours, from there"] = asyncio.all_tasks(loop)

    def run():
        other.run_until_complete(in_thread())
        other.close()

    async def main():
        thread = threading.Thread(target=run)
        thread.start()
        await loop.run_in_executor(None, there.wait)
        theirs = asyncio.all_tasks(other)
        here.set()
        await loop.run_in_executor(None, thread.join)
        return asyncio.current_task(), theirs

    me, theirs = loop.run_until_complete(main())
    assert theirs == {seen["theirs"]}
    assert seen["ours, from there"] == {me}


def test_asking_all_the_time_from_a_thread_disturbs_nobody(loop):
    """Tasks come and go while another thread lists them."""
    stop = threading.Event()
    lengths = []

    def ask():
        while not stop.is_set():
            lengths.append(len(asyncio.all_tasks(loop)))

    async def short(n):
        for _ in range(n % 7):
            await asyncio.sleep(0)
        return n

    async def main():
        total = 0
        for _ in range(200):
            total += sum(await asyncio.gather(*map(short, range(20))))
        return total

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert loop.run_until_complete(main()) == 200 * sum(range(20))
    finally:
        stop.set()
        thread.join()
    assert lengths and max(lengths) <= 21


def test_a_loop_that_is_closed_keeps_no_task(loop):
    """Not in the list, and not alive: the coroutine's finally runs."""
    ended = []

    async def wait():
        try:
            await Future()
        finally:
            ended.append(True)

    loop.set_exception_handler(lambda loop, context: None)
    task = weakref.ref(loop.create_task(wait()))
    loop.run_until_complete(asyncio.sleep(0))
    assert len(_core.parked_tasks()) == 1
    loop.close()
    gc.collect()
    assert (task(), ended, _core.parked_tasks()) == (None, [True], [])


def test_run_cancels_our_tasks_at_its_end():
    ended = []

    async def wait():
        try:
            await Future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main():
        asyncio.get_running_loop().set_own_tasks(True)
        _core.start_task(wait())
        asyncio.get_running_loop().create_task(wait())
        await asyncio.sleep(0)

    aio.run(main())
    assert ended == ["cancelled", "cancelled"]


def test_the_set_counts_and_contains_what_it_gives(loop):
    if not _all_tasks.join():
        pytest.skip("does not apply: asyncio keeps the set in C")

    async def main():
        tasks = next(
            vars(asyncio.tasks)[name]
            for name in ("_all_tasks", "_scheduled_tasks")
            if hasattr(asyncio.tasks, name)
        )
        me = asyncio.current_task()
        assert me in tasks and me in list(tasks) and len(tasks) == len(list(tasks))
        assert object() not in [*tasks]

    loop.run_until_complete(main())


def test_where_asyncio_keeps_tasks_otherwise_each_is_registered():
    """A CPython whose set has another name: one more entry for each task that waits."""
    program = """
import asyncio
from pyfastloop import _all_tasks, _core, aio
_all_tasks._NAMES = ("in_some_future_version",)
async def main():
    asyncio.get_running_loop().set_own_tasks(True)
    task = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    return asyncio.all_tasks() == {task, asyncio.current_task()} and type(task)
print(aio.run(main()) is _core.Task, _all_tasks.join())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_joining_twice_changes_nothing():
    assert _all_tasks.join() == _all_tasks.join()
