"""The pool: connections that have answered and wait for the next request.

The design
----------

A **link** is one connection (`_core.ClientLink`: a stream, and the C code that reads
answers from it). It is either *busy*, owned by one exchange, or *idle*, owned by the
pool, or *closed*. A link serves one request at a time: with pipelining one slow answer
would hold up the others, and a lost connection would leave in doubt how many requests
were carried out.

    connect ──► busy ──► idle ──► busy ──► ... ──► closed
                  │        │
                  │        ├── the server closes, or sends what nobody asked for
                  │        ├── idle_timeout, or the pool is full: the oldest one goes
                  │        └── the client is closed
                  └── error, time-out, cancelled, "Connection: close", HTTP/1.0, a body
                      that ends with the connection, bytes after the answer, a request
                      that was not sent whole

**Key.** Requests share a link when all of this is equal: (scheme, host, port), the
proxy and its credentials, the TLS settings, the local address, and whether IPv6 is
allowed. Credentials of requests are headers and never part of a link's state.

**Order.** Last in, first out for each key: the warmest link is used, and the surplus
of a burst ages out. Over all keys the links stand in the order in which they became
idle, so the oldest one is found at once, and one timer serves all of them.

**Bounds.** At most ``max_idle`` links wait; busy ones are bounded by ``max_clients``.

**Stale links.** A server may close an idle link at any moment. The stream of an idle
link is read, so that a close that has reached this machine closes the link before
anybody takes it; and before a request is sent over a link that has waited, it is read
once more. What remains is the race: the request was already under way. Then, if no
byte of an answer came and the request can be repeated, it is sent once more on a new
connection where it is idempotent (RFC 9110 section 9.2.2), or where not a byte of it
had left; otherwise the caller is told.

**Leftovers.** A byte after the end of an answer, or on an idle link, closes the link:
whose answer it would be taken for is the matter of response smuggling.

Invariant: a link that is idle has no byte in its stream's read buffer, nothing queued
for writing, and no exchange that refers to it.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from pyfastloop import _core

if TYPE_CHECKING:
    from pyfastloop.ioloop import IOLoop
    from pyfastloop.iostream import IOStream

__all__ = ["ConnectionPool", "Link"]


class Link(_core.ClientLink):
    """One connection to a server or proxy, with what the pool knows of it."""

    __slots__ = ("idle_since", "key", "marks")

    def __new__(cls, stream: IOStream, max_header_size: int, key: Any) -> Link:
        return super().__new__(cls, stream, max_header_size)

    def __init__(self, stream: IOStream, max_header_size: int, key: Any) -> None:
        self.key = key
        self.idle_since = 0.0


class ConnectionPool:
    """Idle links by key.

    *max_idle* 0 switches keeping off; *idle_timeout* is in seconds. The links belong
    to *io_loop*'s thread.
    """

    def __init__(self, io_loop: IOLoop, max_idle: int, idle_timeout: float) -> None:
        self.io_loop = io_loop
        self.max_idle = max_idle
        self.idle_timeout = idle_timeout
        self._stacks: dict[Any, list[Link]] = {}
        self._idle: dict[Link, None] = {}  # oldest first
        self._timer: object | None = None

    def __len__(self) -> int:
        """How many links wait that are still open."""
        return sum(not link.closed for link in self._idle)

    def take(self, key: Any) -> Link | None:
        """An idle link, which is the caller's now, or None."""
        stack = self._stacks.get(key)
        if stack is None:
            return None
        while stack:
            link = stack.pop()
            del self._idle[link]
            if not link.closed:
                if not stack:
                    del self._stacks[key]
                return link
        del self._stacks[key]
        return None

    def put(self, link: Link) -> None:
        """Keep *link*, whose exchange is over and which is ``reusable``."""
        if self.max_idle <= 0:
            link.close()
            return
        link.idle_since = self.io_loop.time()
        idle = self._idle
        idle[link] = None
        stack = self._stacks.get(link.key)
        if stack is None:
            self._stacks[link.key] = [link]
        else:
            stack.append(link)
        if len(idle) > self.max_idle:
            self._evict(next(iter(idle)))
        if self._timer is None:
            self._arm(self.idle_timeout)

    def close(self) -> None:
        """Close every idle link."""
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None
        idle, self._idle = self._idle, {}
        self._stacks.clear()
        for link in idle:
            link.close()

    def _evict(self, link: Link) -> None:
        del self._idle[link]
        stack = self._stacks[link.key]
        stack.remove(link)
        if not stack:
            del self._stacks[link.key]
        link.close()

    def _arm(self, delay: float) -> None:
        # A weak reference: the timer of a forgotten client must not keep it alive.
        alive = weakref.ref(self)

        def expire() -> None:
            pool = alive()
            if pool is not None:
                pool._expire()

        self._timer = self.io_loop.call_later(delay, expire)

    def _expire(self) -> None:
        self._timer = None
        limit = self.io_loop.time() - self.idle_timeout
        while self._idle:
            oldest = next(iter(self._idle))
            if oldest.idle_since > limit and not oldest.closed:
                self._arm(oldest.idle_since - limit)
                return
            self._evict(oldest)
