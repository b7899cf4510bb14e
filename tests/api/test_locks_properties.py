"""Random programs on locks and semaphores: permits are neither lost nor made.

Workers ask for a permit by `async with`, by acquire() or with a time-out, hold it over
turns of the loop, fail or are cancelled anywhere. At no time do more hold one than
there are; a lock is entered in the order in which it was asked for; in the end all
permits are back.
"""

from __future__ import annotations

import asyncio
import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyfastloop import _core, aio, gen, locks

WORKERS = st.lists(
    st.tuples(
        st.sampled_from(["with", "acquire", "generator", "timeout"]),
        st.integers(0, 3),  # turns before it asks
        st.integers(0, 3),  # turns for which it holds
        st.booleans(),  # it fails while it holds
    ),
    max_size=8,
)
CANCELS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7)), max_size=6)


class Planted(Exception):
    pass


class Run:
    def __init__(self, lock, permits):
        self.lock, self.permits = lock, permits
        self.asked: list[int] = []
        self.entered: list[int] = []
        self.inside = 0

    async def hold(self, number, turns, fails):
        self.entered.append(number)
        self.inside += 1
        assert self.inside <= self.permits
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            if fails:
                raise Planted
        finally:
            self.inside -= 1

    async def work(self, number, how, before, turns, fails):
        for _ in range(before):
            await asyncio.sleep(0)
        self.asked.append(number)
        if how == "with":
            async with self.lock:
                await self.hold(number, turns, fails)
            return
        if how == "generator":
            await self.generator(number, turns, fails)
            return
        late = datetime.timedelta(0) if how == "timeout" else None
        future = self.lock.acquire(late)
        try:
            permit = await future
        except asyncio.CancelledError:
            # Whoever calls acquire() himself has this case himself, too.
            if future.done() and not future.cancelled() and not future.exception():
                self.lock.release()
            raise
        with permit:
            await self.hold(number, turns, fails)

    @gen.coroutine
    def generator(self, number, turns, fails):
        with (yield self.lock.acquire()):
            yield self.hold(number, turns, fails)


async def run(program, cancels, lock, permits):
    state = Run(lock, permits)
    tasks = [
        _core.start_task(state.work(number, *worker))
        for number, worker in enumerate(program)
    ]
    for turn in range(60):
        for at, number in cancels:
            if at == turn and number < len(tasks):
                tasks[number].cancel()
        await asyncio.sleep(0)
    ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
    # A generator goes on when who awaits it is cancelled: it has its own turns.
    for _ in range(60):
        await asyncio.sleep(0)
    kinds = {type(end) for end in ends if end is not None}
    assert kinds <= {Planted, asyncio.CancelledError, gen.TimeoutError}
    assert state.inside == 0 and "waiters" not in repr(lock)
    if permits == 1:
        # With more of them, one that is free is taken at once while an earlier one is
        # still on its way to who waited for it.
        order = [number for number in state.asked if number in state.entered]
        assert state.entered == order
    for _ in range(permits):
        assert lock.acquire().done(), "a permit was lost"
    assert not lock.acquire().done(), "a permit was made"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=WORKERS, cancels=CANCELS, permits=st.integers(1, 3))
@pytest.mark.parametrize("kind", ["lock", "semaphore", "bounded"])
def test_permits_are_neither_lost_nor_made(kind, program, cancels, permits):
    if kind == "lock":
        lock, permits = locks.Lock(), 1
    elif kind == "semaphore":
        lock = locks.Semaphore(permits)
    else:
        lock = locks.BoundedSemaphore(permits)
    loop = aio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    try:
        loop.run_until_complete(run(program, cancels, lock, permits))
    finally:
        loop.close()
