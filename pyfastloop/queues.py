"""Queues between coroutines: who finds them full or empty yields until that changes.

    queue = Queue(maxsize=2)

    async def consumer():
        async for item in queue:
            try:
                ...
            finally:
                queue.task_done()

    async def producer():
        for item in range(5):
            await queue.put(item)

For the coroutines of one loop, not for threads. `timeout` is a deadline, in the seconds
of `IOLoop.time`, or a `datetime.timedelta` from now; where it passes, the Future raises
`util.TimeoutError`.

Difference from Tornado: waiting gets and puts that timed out or were cancelled are
forgotten, however few items pass.
"""

from __future__ import annotations

import collections
import heapq
from typing import Any, Generic, TypeVar

from pyfastloop.concurrent import Future
from pyfastloop.locks import Event, _fail_at_timeout, _Timeout, _Waiters

__all__ = ["LifoQueue", "PriorityQueue", "Queue", "QueueEmpty", "QueueFull"]

_T = TypeVar("_T")


class QueueEmpty(Exception):
    """Raised by `Queue.get_nowait` when the queue has no items."""


class QueueFull(Exception):
    """Raised by `Queue.put_nowait` when a queue is at its maximum size."""


class _QueueIterator(Generic[_T]):
    def __init__(self, q: Queue[_T]) -> None:
        self.q = q

    def __anext__(self) -> Future[_T]:
        return self.q.get()


class Queue(Generic[_T]):
    """First in, first out; `maxsize` 0, the default, means without bound.

    Subclasses give another order by `_init`, `_put` and `_get`.
    """

    # Where the items are.
    _queue: Any

    def __init__(self, maxsize: int = 0) -> None:
        if maxsize is None:
            raise TypeError("maxsize can't be None; 0 means without bound")
        if maxsize < 0:
            raise ValueError(f"maxsize can't be negative, got {maxsize}")
        self._maxsize = maxsize
        self._init()
        self._getters = _Waiters()
        self._putters = _Waiters()
        self._unfinished_tasks = 0
        self._finished = Event()
        self._finished.set()

    @property
    def maxsize(self) -> int:
        """How many items the queue may hold."""
        return self._maxsize

    def qsize(self) -> int:
        """How many items there are."""
        return len(self._queue)

    def empty(self) -> bool:
        """Whether there is no item."""
        return not self._queue

    def full(self) -> bool:
        """Whether there are `maxsize` items."""
        return self._maxsize != 0 and self.qsize() >= self._maxsize

    def put(self, item: _T, timeout: _Timeout = None) -> Future[None]:
        """Put `item` into the queue, which may have to wait for room."""
        future: Future[None] = Future()
        if self._offer(item):
            future.set_result(None)
        else:
            self._putters.add(future, item)
            if timeout is not None:
                _fail_at_timeout(future, timeout, "the queue stayed full")
        return future

    def put_nowait(self, item: _T) -> None:
        """Put `item` into the queue; QueueFull where there is no room."""
        if not self._offer(item):
            raise QueueFull

    def get(self, timeout: _Timeout = None) -> Future[_T]:
        """Take an item out of the queue, which may have to wait for one.

        An item that was handed to a Future which is then not awaited is gone.
        """
        future: Future[_T] = Future()
        if self._refill() or self._queue:
            future.set_result(self._get())
        else:
            self._getters.add(future)
            if timeout is not None:
                _fail_at_timeout(future, timeout, "the queue stayed empty")
        return future

    def get_nowait(self) -> _T:
        """Take an item out of the queue; QueueEmpty where there is none."""
        if self._refill() or self._queue:
            return self._get()
        raise QueueEmpty

    def task_done(self) -> None:
        """Say that an item which was taken out has been dealt with.

        Called by consumers, once for each `get`; when all is done, `join` returns.
        Raises ValueError where it is called more often than there were items.
        """
        if self._unfinished_tasks <= 0:
            raise ValueError("task_done() called too many times")
        self._unfinished_tasks -= 1
        if self._unfinished_tasks == 0:
            self._finished.set()

    def join(self, timeout: _Timeout = None) -> Future[None]:
        """Wait until all items have been dealt with (see `task_done`)."""
        return self._finished.wait(timeout)

    def __aiter__(self) -> _QueueIterator[_T]:
        return _QueueIterator(self)

    # -- for subclasses ----------------------------------------------------------------

    def _init(self) -> None:
        self._queue = collections.deque()

    def _get(self) -> _T:
        return self._queue.popleft()  # type: ignore[no-any-return]

    def _put(self, item: _T) -> None:
        self._queue.append(item)

    # -- our own -----------------------------------------------------------------------

    def _offer(self, item: _T) -> bool:
        """Put `item` where it can be put; say whether."""
        getter = self._getters.pop()
        if getter is not None:
            # It goes through the queue: a subclass may change it.
            self._count_and_put(item)
            getter[0].set_result(self._get())
        elif self._maxsize and self.qsize() >= self._maxsize:
            return False
        else:
            self._count_and_put(item)
        return True

    def _refill(self) -> bool:
        """Before an item is taken: let the first that waits to put do so, if any."""
        putter = self._putters.pop()
        if putter is None:
            return False
        future, item = putter
        self._count_and_put(item)
        future.set_result(None)
        return True

    def _count_and_put(self, item: _T) -> None:
        self._unfinished_tasks += 1
        self._finished._value = False
        self._put(item)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {hex(id(self))} {self._format()}>"

    def __str__(self) -> str:
        return f"<{type(self).__name__} {self._format()}>"

    def _format(self) -> str:
        parts = [f"maxsize={self.maxsize!r}"]
        if self._queue:
            parts.append(f"queue={self._queue!r}")
        for name, waiters in (("getters", self._getters), ("putters", self._putters)):
            if waiting := len(waiters):
                parts.append(f"{name}[{waiting}]")
        if self._unfinished_tasks:
            parts.append(f"tasks={self._unfinished_tasks!r}")
        return " ".join(parts)


class PriorityQueue(Queue[_T]):
    """The least item first; items often are tuples ``(priority, data)``."""

    def _init(self) -> None:
        self._queue = []

    def _put(self, item: _T) -> None:
        heapq.heappush(self._queue, item)

    def _get(self) -> _T:
        return heapq.heappop(self._queue)  # type: ignore[no-any-return]


class LifoQueue(Queue[_T]):
    """Last in, first out."""

    def _init(self) -> None:
        self._queue = []

    def _put(self, item: _T) -> None:
        self._queue.append(item)

    def _get(self) -> _T:
        return self._queue.pop()  # type: ignore[no-any-return]
