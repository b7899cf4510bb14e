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

The C core hands the items over; where they are in the meantime is Python's business:
`_init`, `_put` and `_get` of a subclass are called for each, and so are its `full`,
`qsize`, `put_nowait` and `get_nowait` where `put` and `get` need them.

Difference from Tornado: waiting gets and puts that timed out or were cancelled are
forgotten, however few items pass.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from pyfastloop import _core
from pyfastloop.concurrent import Future
from pyfastloop.locks import Event, _Timeout

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


class Queue(_core.QueueBase[_T]):
    """First in, first out; `maxsize` 0, the default, means without bound.

    Subclasses give another order by `_init`, `_put` and `_get`.
    """

    def __init__(self, maxsize: int = 0) -> None:
        if maxsize is None:
            raise TypeError("maxsize can't be None; 0 means without bound")
        if maxsize < 0:
            raise ValueError(f"maxsize can't be negative, got {maxsize}")
        self._maxsize = maxsize
        self._init()
        self._unfinished_tasks = 0
        self._finished = Event()
        self._finished.set()

    @property
    def maxsize(self) -> int:
        """How many items the queue may hold."""
        return self._maxsize

    def empty(self) -> bool:
        """Whether there is no item."""
        return not self._queue

    def join(self, timeout: _Timeout = None) -> Future[None]:
        """Wait until all items have been dealt with (see `task_done`)."""
        finished: Event = self._finished
        return finished.wait(timeout)

    def __aiter__(self) -> _QueueIterator[_T]:
        return _QueueIterator(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {hex(id(self))} {self._format()}>"

    def __str__(self) -> str:
        return f"<{type(self).__name__} {self._format()}>"

    def _format(self) -> str:
        parts = [f"maxsize={self.maxsize!r}"]
        if items := getattr(self, "_queue", None):  # a subclass may have another place
            parts.append(f"queue={items!r}")
        for name, waiting in (("getters", self._getters), ("putters", self._putters)):
            if waiting:
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


_core.set_hooks(QueueEmpty=QueueEmpty, QueueFull=QueueFull)
