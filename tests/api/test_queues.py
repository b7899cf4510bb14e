"""pyfastloop.queues: order, bounds, time-outs, joining, subclasses."""

from __future__ import annotations

import asyncio
import datetime
import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import on_loop

from pyfastloop import gen, util
from pyfastloop.ioloop import IOLoop
from pyfastloop.queues import LifoQueue, PriorityQueue, Queue, QueueEmpty, QueueFull

NOW = datetime.timedelta(0)
LATER = datetime.timedelta(hours=1)


def test_sizes():
    queue = Queue[int](2)
    assert (queue.maxsize, queue.qsize()) == (2, 0)
    assert queue.empty() and not queue.full()
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert queue.qsize() == 2 and queue.full() and not queue.empty()
    with pytest.raises(QueueFull):
        queue.put_nowait(3)
    assert [queue.get_nowait(), queue.get_nowait()] == [1, 2]
    with pytest.raises(QueueEmpty):
        queue.get_nowait()
    with pytest.raises(ValueError, match="negative"):
        Queue(-1)
    with pytest.raises(TypeError, match="None"):
        Queue(None)  # type: ignore[arg-type]


def test_without_maxsize_there_is_no_bound():
    queue = Queue[int]()
    for i in range(1000):
        assert queue.put(i).done()
    assert not queue.full() and queue.qsize() == 1000


@pytest.mark.parametrize(
    ("make", "out"),
    [(Queue, [3, 1, 2]), (PriorityQueue, [1, 2, 3]), (LifoQueue, [2, 1, 3])],
)
def test_order(make: Any, out: list[int]):
    queue = make()
    for item in (3, 1, 2):
        queue.put_nowait(item)
    assert [queue.get_nowait() for _ in range(3)] == out


@on_loop
async def test_get_waits_for_put():
    queue = Queue[int]()
    gets = [queue.get(), queue.get(timeout=LATER)]
    assert not gets[0].done()
    queue.put_nowait(1)
    assert queue.put(2).done()
    assert [await get for get in gets] == [1, 2]
    assert queue.qsize() == 0


@on_loop
async def test_put_waits_for_room():
    queue = Queue[int](1)
    assert queue.put(1).done()
    puts = [queue.put(2), queue.put(3, timeout=LATER)]
    assert not puts[0].done()
    assert await queue.get() == 1
    assert puts[0].done() and not puts[1].done()
    assert [queue.get_nowait(), queue.get_nowait()] == [2, 3]
    await puts[1]


@on_loop
async def test_timeouts():
    queue = Queue[int](1)
    with pytest.raises(util.TimeoutError):
        await queue.get(timeout=NOW)
    with pytest.raises(util.TimeoutError):
        await queue.get(timeout=IOLoop.current().time() - 1)
    # The items go to who still waits.
    assert await queue.put(1, timeout=NOW) is None
    with pytest.raises(util.TimeoutError):
        await queue.put(2, timeout=NOW)
    assert await queue.get(timeout=NOW) == 1
    assert queue.empty()


@on_loop
async def test_cancelled_gets_and_puts_do_not_count():
    queue = Queue[int](1)
    get = queue.get()
    get.cancel()
    queue.put_nowait(1)
    put = queue.put(2)
    put.cancel()
    assert queue.get_nowait() == 1
    assert queue.empty()
    assert not queue.get().done()


@on_loop
async def test_expired_waits_are_forgotten():
    class Item:
        pass

    queue = Queue[Item](1)
    queue.put_nowait(Item())
    refs = []
    for _ in range(500):
        item = Item()
        refs.append(weakref.ref(item))
        queue.put(item).cancel()
        del item
    await asyncio.sleep(0)
    gc.collect()
    assert sum(ref() is not None for ref in refs) < 200


@on_loop
async def test_join():
    queue = Queue[int]()
    assert queue.join().done()
    for item in range(3):
        queue.put_nowait(item)
    join = queue.join(timeout=LATER)
    with pytest.raises(util.TimeoutError):
        await queue.join(timeout=NOW)
    for _ in range(3):
        queue.get_nowait()
        assert not join.done()
        queue.task_done()
    await join
    with pytest.raises(ValueError, match="too many times"):
        queue.task_done()


@on_loop
async def test_an_item_handed_to_a_waiting_get_is_unfinished():
    queue = Queue[int]()
    get = queue.get()
    queue.put_nowait(1)
    assert await get == 1
    join = queue.join()
    assert not join.done()
    queue.task_done()
    await join


@on_loop
async def test_producer_and_consumers():
    queue = Queue[int](2)
    seen: list[int] = []

    async def consume() -> None:
        async for item in queue:
            seen.append(item)
            await asyncio.sleep(0)
            queue.task_done()

    @gen.coroutine
    def produce() -> Any:
        for item in range(50):
            yield queue.put(item)

    consumers = [asyncio.ensure_future(consume()) for _ in range(3)]
    await produce()
    await queue.join()
    assert seen == list(range(50))
    for consumer in consumers:
        consumer.cancel()
    await asyncio.wait(consumers)


@on_loop
async def test_subclasses_change_what_goes_in_and_out():
    class Doubling(Queue[int]):
        def _init(self) -> None:
            self._queue = []

        def _put(self, item: int) -> None:
            self._queue.append(item * 2)

        def _get(self) -> int:
            return self._queue.pop()  # type: ignore[no-any-return]

    queue = Doubling()
    get = queue.get()
    queue.put_nowait(1)
    assert await get == 2
    queue.put_nowait(2)
    assert queue.get_nowait() == 4


def test_repr():
    queue = Queue[int](1)
    assert repr(queue) == f"<Queue at {hex(id(queue))} maxsize=1>"
    get = queue.get()
    assert str(queue) == "<Queue maxsize=1 getters[1]>"
    get.cancel()
    queue.put_nowait(5)
    put = queue.put(6)
    assert str(queue) == "<Queue maxsize=1 queue=deque([5]) putters[1] tasks=1>"
    put.cancel()
    assert str(queue) == "<Queue maxsize=1 queue=deque([5]) tasks=1>"


@given(
    st.integers(0, 4), st.lists(st.sampled_from(["put", "get", "drop"]), max_size=40)
)
def test_a_queue_keeps_order_and_bound(maxsize: int, steps: list[str]):
    """Against a model: lists of what is inside, and of who waits on either side."""
    queue = Queue[int](maxsize)
    inside: list[int] = []
    gets: list[Any] = []
    puts: list[tuple[int, Any]] = []
    number = 0
    for step in steps:
        if step == "put":
            number += 1
            future = queue.put(number)
            if gets:
                assert gets.pop(0).result() == number
            elif maxsize and len(inside) >= maxsize:
                puts.append((number, future))
                continue
            else:
                inside.append(number)
            assert future.done()
        elif step == "get":
            future = queue.get()
            if not inside:
                gets.append(future)
                assert not future.done()
                continue
            assert future.result() == inside.pop(0)
            if puts:
                waiting, put = puts.pop(0)
                assert put.done()
                inside.append(waiting)
        elif gets:
            gets.pop().cancel()
        elif puts:
            puts.pop()[1].cancel()
        assert queue.qsize() == len(inside)
        assert not any(get.done() for get in gets)
        assert not any(put.done() for _, put in puts)
    for get in gets:
        get.cancel()
    for _, put in puts:
        put.cancel()


# ---- what the C core must ask and keep ----


@on_loop
async def test_the_hooks_of_a_subclass_and_of_an_object_are_called():
    class Doubled(Queue):
        def _init(self):
            self._queue = []

        def _put(self, item):
            self._queue.append(2 * item)

        def _get(self):
            return self._queue.pop()

    queue = Doubled()
    getter = queue.get()
    queue.put_nowait(4)
    assert await getter == 8
    await queue.put(1)
    await queue.put(2)
    assert [queue.get_nowait(), await queue.get()] == [4, 2]

    class Never(Queue):
        def qsize(self):
            return 10**30

    with pytest.raises(QueueFull):
        Never(1).put_nowait(1)
    patched = Queue()
    patched._get = lambda: "patched"
    patched.put_nowait(1)
    assert patched.get_nowait() == "patched"


@on_loop
async def test_an_item_that_the_class_refuses_costs_nobody_his_place():
    class Odd(Queue):
        def _put(self, item):
            if item % 2 == 0:
                raise ValueError(item)
            super()._put(item)

    odd = Odd()
    getter = odd.get()
    with pytest.raises(ValueError):
        odd.put_nowait(2)
    odd.put_nowait(3)
    assert await getter == 3
    odd.task_done()
    await odd.join()

    full = Odd(1)
    full.put_nowait(1)
    refused, accepted = full.put(4), full.put(5)
    assert full.get_nowait() == 1
    with pytest.raises(ValueError):
        await refused
    await accepted
    assert full.get_nowait() == 5


@on_loop
async def test_an_item_whose_getter_gives_up_while_it_is_put_goes_to_the_next():
    class Canceller(Queue):
        def _put(self, item):
            waiting.pop(0).cancel()
            super()._put(item)

    queue = Canceller()
    getters = [queue.get() for _ in range(2)]
    waiting = getters[:1]
    queue.put_nowait(1)
    assert getters[0].cancelled() and await getters[1] == 1
    waiting = [queue.get()]
    queue.put_nowait(2)
    assert queue.qsize() == 1 and queue.get_nowait() == 2


@on_loop
async def test_the_order_holds_through_thousands_of_waiters():
    queue = Queue(1)
    puts = [queue.put(n) for n in range(3000)]
    for put in puts[1::3]:
        put.cancel()
    expected = [n for n, put in enumerate(puts) if not put.cancelled()]
    assert [await queue.get() for _ in expected] == expected
    gets = [queue.get() for _ in range(3000)]
    for get in gets[::2]:
        get.cancel()
    for n in range(1500):
        queue.put_nowait(n)
    assert [await get for get in gets[1::2]] == list(range(1500))


@on_loop
async def test_a_queue_without_its_init_says_so():
    class Forgot(Queue):
        def __init__(self):
            pass

    with pytest.raises(AttributeError, match=r"Queue\.__init__"):
        Forgot().put_nowait(1)


def test_odd_arguments_are_refused():
    queue = Queue()
    for call in (
        lambda: queue.put(),
        lambda: queue.put(1, 2, 3),
        lambda: queue.put(1, item=2),
        lambda: queue.put(1, late=2),
        lambda: queue.get(1, 2),
    ):
        with pytest.raises(TypeError):
            call()
    queue.put(item=1, timeout=None)
    assert queue.get_nowait() == 1


@on_loop
async def test_a_subclass_may_keep_its_items_in_a_place_of_its_own():
    class Own(Queue):
        def _init(self):
            self.items = []

        def _put(self, item):
            self.items.append(item)

        def _get(self):
            return self.items.pop()

        def qsize(self):
            return len(self.items)

    queue = Own(2)
    puts = [queue.put(n) for n in range(3)]
    assert [put.done() for put in puts] == [True, True, False] and queue.full()
    assert [await queue.get() for _ in range(3)] == [2, 1, 0]
    assert puts[2].done() and repr(queue).endswith("maxsize=2 tasks=3>")


@on_loop
async def test_a_subclass_says_what_is_full():
    class Weighed(Queue):
        def full(self):
            return sum(self._queue) >= 10

    queue = Weighed()
    assert queue.put(4).done() and queue.put(6).done()
    waits = queue.put(1)
    assert not waits.done()
    with pytest.raises(QueueFull):
        queue.put_nowait(1)
    assert await queue.get() == 4
    assert waits.done()


@on_loop
async def test_put_and_get_go_through_what_does_not_wait():
    class Counted(Queue):
        calls = 0

        def put_nowait(self, item):
            self.calls += 1
            super().put_nowait(item)

        def get_nowait(self):
            self.calls += 1
            return super().get_nowait()

    queue = Counted(1)
    assert queue.put(1).done() and queue.calls == 1
    waits = queue.put(2)
    assert not waits.done() and queue.calls == 2
    assert [await queue.get(), await queue.get()] == [1, 2]
    assert waits.done() and queue.calls == 4
    getter = queue.get()
    await queue.put(3)
    assert await getter == 3

    class Closed(Queue):
        def put_nowait(self, item):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Closed().put(1)


@on_loop
async def test_a_method_may_be_replaced_at_any_time():
    class Plain(Queue):
        pass

    def put_twice(self, item):
        self._queue.append(item)
        self._queue.append(item)

    queue = Plain()
    queue.put_nowait(1)
    Plain._put = put_twice
    queue.put_nowait(2)
    del Plain._put
    queue.put_nowait(3)
    queue._put = lambda item: queue._queue.appendleft(item)
    queue.put_nowait(4)
    del queue._put
    queue.put_nowait(5)
    assert [queue.get_nowait() for _ in range(queue.qsize())] == [4, 1, 2, 2, 3, 5]
    queue.__class__ = LifoQueue
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert await queue.get() == 2

    class Found(Queue):
        def __getattribute__(self, name):
            if name == "_get":
                return lambda: "found"
            return super().__getattribute__(name)

    found = Found()
    found.put_nowait(1)
    assert await found.get() == "found"
