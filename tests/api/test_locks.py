"""pyfastloop.locks: order, time-outs, cancelling, and what is forgotten."""

from __future__ import annotations

import asyncio
import datetime
import gc
import weakref
from typing import Any

import pytest
from streams import on_loop

from pyfastloop import _core, gen, locks, util
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop

NOW = datetime.timedelta(0)
LATER = datetime.timedelta(hours=1)


def done(futures: list[Any]) -> list[bool]:
    return [future.done() for future in futures]


# -- Condition -------------------------------------------------------------------------


@on_loop
async def test_condition_wakes_in_order():
    condition = locks.Condition()
    waits = [condition.wait() for _ in range(5)]
    condition.notify()
    assert done(waits) == [True, False, False, False, False]
    condition.notify(2)
    assert done(waits) == [True, True, True, False, False]
    condition.notify_all()
    assert done(waits) == [True] * 5
    assert [await wait for wait in waits] == [True] * 5
    condition.notify(3)
    condition.notify(-1)
    assert not condition.wait().done()


@on_loop
async def test_condition_wait_gives_false_after_its_timeout():
    condition = locks.Condition()
    assert await condition.wait(timeout=NOW) is False
    assert await condition.wait(timeout=IOLoop.current().time() - 1) is False
    wait = condition.wait(timeout=LATER)
    condition.notify()
    assert await wait is True


@on_loop
async def test_condition_passes_over_waiters_that_are_gone():
    condition = locks.Condition()
    expired = condition.wait(timeout=NOW)
    cancelled = condition.wait()
    waiting = condition.wait()
    await expired
    cancelled.cancel()
    condition.notify()
    assert waiting.done()


@on_loop
async def test_waiters_that_are_gone_are_forgotten():
    condition = locks.Condition()
    refs = []
    for _ in range(1000):
        wait = condition.wait()
        refs.append(weakref.ref(wait))
        wait.cancel()
        del wait
    await asyncio.sleep(0)
    gc.collect()
    assert sum(ref() is not None for ref in refs) < 200


@on_loop
async def test_condition_repr():
    condition = locks.Condition()
    assert repr(condition) == "<Condition>"
    wait = condition.wait()
    assert repr(condition) == "<Condition waiters[1]>"
    wait.cancel()
    assert repr(condition) == "<Condition>"


# -- Event -----------------------------------------------------------------------------


@on_loop
async def test_event():
    event = locks.Event()
    assert not event.is_set() and repr(event) == "<Event clear>"
    waits = [event.wait(), event.wait(timeout=LATER)]
    assert done(waits) == [False, False]
    event.set()
    assert event.is_set() and repr(event) == "<Event set>"
    assert [await wait for wait in waits] == [None, None]
    assert event.wait().done()
    event.clear()
    assert not event.is_set()
    assert not event.wait().done()


@on_loop
async def test_event_wait_wakes_though_it_is_cleared_at_once():
    event = locks.Event()
    wait = event.wait()
    event.set()
    event.clear()
    await wait


@on_loop
async def test_event_timeout():
    event = locks.Event()
    with pytest.raises(util.TimeoutError):
        await event.wait(timeout=NOW)
    event.set()
    await event.wait(timeout=NOW)


@on_loop
async def test_event_forgets_cancelled_waiters():
    """Not each at once, but a thousand of them do not pile up."""
    event = locks.Event()
    alive = weakref.WeakSet()
    for _ in range(1000):
        wait = event.wait()
        alive.add(wait)
        wait.cancel()
    del wait
    assert len(alive) <= 64
    event.set()
    assert len(alive) == 0


# -- Semaphore -------------------------------------------------------------------------


@on_loop
async def test_semaphore_hands_permits_over_in_order():
    semaphore = locks.Semaphore(2)
    first = [semaphore.acquire() for _ in range(5)]
    assert done(first) == [True, True, False, False, False]
    semaphore.release()
    assert done(first) == [True, True, True, False, False]
    # Whoever comes now stands behind those who wait.
    late = semaphore.acquire()
    semaphore.release()
    semaphore.release()
    assert done(first) == [True] * 5 and not late.done()
    semaphore.release()
    assert late.done()


@on_loop
async def test_semaphore_timeout():
    semaphore = locks.Semaphore(0)
    with pytest.raises(util.TimeoutError):
        await semaphore.acquire(timeout=NOW)
    waiting = semaphore.acquire(timeout=LATER)
    semaphore.release()
    await waiting
    semaphore.release()
    await semaphore.acquire(timeout=NOW)


@on_loop
async def test_a_permit_passes_over_waiters_that_are_gone():
    semaphore = locks.Semaphore(0)
    expired = semaphore.acquire(timeout=NOW)
    cancelled = semaphore.acquire()
    waiting = semaphore.acquire()
    with pytest.raises(util.TimeoutError):
        await expired
    cancelled.cancel()
    semaphore.release()
    assert waiting.done()
    semaphore.release()
    assert semaphore.acquire().done()


@on_loop
async def test_semaphore_context_managers():
    semaphore = locks.Semaphore(1)
    with await semaphore.acquire() as value:
        assert value is None
        assert repr(semaphore).endswith("[locked]>")
    async with semaphore as entered:
        assert entered is None
    with pytest.raises(ZeroDivisionError):
        async with semaphore:
            1 / 0  # noqa: B018
    assert semaphore.acquire().done()
    with pytest.raises(RuntimeError, match="async with"), semaphore:
        pass


def test_semaphore_values_and_repr():
    with pytest.raises(ValueError, match=">= 0"):
        locks.Semaphore(-1)
    semaphore = locks.Semaphore()
    assert repr(semaphore).endswith("[unlocked,value:1]>")
    semaphore.acquire()
    assert repr(semaphore).endswith("[locked]>")
    waiting = semaphore.acquire()
    assert repr(semaphore).endswith("[locked,waiters:1]>")
    waiting.cancel()


@on_loop
async def test_bounded_semaphore():
    semaphore = locks.BoundedSemaphore(2)
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()
    await semaphore.acquire()
    semaphore.release()
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()


# -- Lock ------------------------------------------------------------------------------


@on_loop
async def test_lock_lets_one_through_at_a_time():
    lock = locks.Lock()
    inside: list[int] = []
    order: list[int] = []

    async def work(number: int) -> None:
        async with lock:
            inside.append(number)
            await asyncio.sleep(0)
            assert inside == [number]
            inside.remove(number)
            order.append(number)

    await asyncio.gather(*[work(number) for number in range(20)])
    assert order == list(range(20))


@on_loop
async def test_lock_in_generators():
    lock = locks.Lock()
    order: list[int] = []

    @gen.coroutine
    def work(number: int) -> Any:
        with (yield lock.acquire()):
            yield gen.moment
            order.append(number)

    yield_all = [work(number) for number in range(5)]
    await gen.multi(yield_all)
    assert order == list(range(5))


@on_loop
async def test_a_lock_goes_to_who_waits_before_who_comes():
    lock = locks.Lock()
    await lock.acquire()
    waiting = lock.acquire()
    lock.release()
    late = lock.acquire()
    assert waiting.done() and not late.done()
    lock.release()
    assert late.done()


@on_loop
async def test_lock_timeout_and_misuse():
    lock = locks.Lock()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()
    with pytest.raises(RuntimeError, match="async with"), lock:
        pass
    await lock.acquire()
    with pytest.raises(util.TimeoutError):
        await lock.acquire(timeout=NOW)
    assert repr(lock) == "<Lock locked>"
    lock.release()
    assert repr(lock) == "<Lock unlocked>"


@pytest.mark.parametrize("make", [locks.Lock, locks.Semaphore])
def test_a_cancelled_task_does_not_take_the_lock_with_it(make: Any):
    @on_loop
    async def run() -> None:
        lock = make()
        await lock.acquire()

        async def work() -> None:
            async with lock:
                raise AssertionError("it was cancelled")

        # Cancelled while it waits.
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        # Cancelled after the lock was handed to it, before it went on.
        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        lock.release()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert lock.acquire().done()

    run()


def test_no_loop_is_needed_to_make_and_to_acquire():
    lock = locks.Lock()
    future = lock.acquire()
    assert isinstance(future, Future) and future.done()
    waiting = lock.acquire()
    lock.release()
    assert waiting.done()
    event = locks.Event()
    wait = event.wait()
    event.set()
    assert wait.done()


# ---- what the C core must ask and give back ----


@on_loop
async def test_an_acquire_or_release_of_a_subclass_or_an_object_is_called():
    called = []

    class Told(locks.Lock):
        def acquire(self, timeout=None):
            called.append("acquire")
            return super().acquire(timeout)

        def release(self):
            called.append("release")
            super().release()

    async with Told():
        assert called == ["acquire"]
    assert called == ["acquire", "release"]
    with await Told().acquire():
        pass
    assert called == ["acquire", "release"] * 2

    patched = locks.Semaphore()
    patched.acquire = lambda: called.append("patched") or locks.Lock().acquire()
    patched.release = lambda: called.append("patched back")
    async with patched:
        assert called[4:] == ["patched"]
    assert called[4:] == ["patched", "patched back"]


@pytest.mark.parametrize("kind", [locks.Lock, locks.Semaphore])
def test_who_ends_around_the_moment_of_the_hand_over_keeps_no_permit(kind):
    for how in ("cancel", "close", "close before"):
        lock = kind()
        entered = []

        async def enter(lock=lock, entered=entered):
            async with lock:
                entered.append(True)

        async def main(lock=lock, entered=entered, enter=enter, how=how):
            await lock.acquire()
            if how == "close":
                waiting = enter()
                waiting.send(None)
                lock.release()  # to the coroutine, which is dropped
                waiting.close()
            elif how == "close before":
                waiting = enter()
                waiting.send(None)
                waiting.close()
                lock.release()  # to nobody
            else:
                waiting = _core.start_task(enter())
                lock.release()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert lock.acquire().done() and entered == []

        IOLoop.current().run_sync(main)


@on_loop
async def test_waiters_are_served_in_order_also_when_the_list_was_swept():
    lock = locks.Lock()
    await lock.acquire()
    waiting = [lock.acquire() for _ in range(500)]
    for future in waiting[::2]:
        future.cancel()
    waiting.extend(lock.acquire() for _ in range(500))
    for future in waiting:
        if not future.cancelled():
            assert not future.done()
            lock.release()
            assert future.done()
    assert "waiters" not in repr(lock)


@on_loop
async def test_what_dies_with_a_waiter_may_use_the_lock():
    """The future that is swept out of the list is the last owner of something."""
    lock = locks.Lock()
    await lock.acquire()

    class Last:
        def __del__(self):
            kept.append(lock.acquire())

    kept = []
    for _ in range(200):
        future = lock.acquire()
        future.thing = Last()
        future.cancel()
    del future
    lock.release()
    while lock._waiting:
        lock.release()
    assert len(kept) >= 190


def test_a_bounded_semaphore_of_no_permits_cannot_be_released():
    with pytest.raises(ValueError, match="too many times"):
        locks.BoundedSemaphore(0).release()


def test_odd_arguments_are_refused():
    lock = locks.Lock()
    for call in (
        lambda: lock.acquire(1, 2),
        lambda: lock.acquire(wait=1),
        lambda: locks.Event().wait(1, timeout=2),
        lambda: locks.Condition().notify("all"),
    ):
        with pytest.raises(TypeError):
            call()


@on_loop
async def test_acquire_and_release_may_be_replaced_at_any_time():
    class Plain(locks.Lock):
        pass

    called = []
    lock = Plain()
    async with lock:
        pass
    Plain.acquire = lambda self: called.append("in") or locks.Lock.acquire(self)
    async with lock:
        Plain.release = lambda self: called.append("out") or locks.Lock.release(self)
    assert called == ["in", "out"]
    del Plain.acquire, Plain.release
    async with lock:
        lock.release = lambda: called.append("own") or locks.Lock.release(lock)
    assert called == ["in", "out", "own"]
    del lock.release
    async with lock:
        pass
    assert called == ["in", "out", "own"] and repr(lock) == "<Plain unlocked>"
