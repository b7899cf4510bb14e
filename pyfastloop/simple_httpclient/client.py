"""`SimpleAsyncHTTPClient`: the queue, the deadlines, and what its exchanges share."""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pyfastloop.httpclient import (
    AsyncHTTPClient,
    HTTPRequest,
    HTTPResponse,
    _FetchFuture,
    _RequestProxy,
)
from pyfastloop.log import gen_log
from pyfastloop.netutil import OverrideResolver, Resolver
from pyfastloop.simple_httpclient.errors import HTTPTimeoutError
from pyfastloop.simple_httpclient.exchange import _HTTPConnection
from pyfastloop.simple_httpclient.opening import TimedResolver
from pyfastloop.simple_httpclient.pool import ConnectionPool
from pyfastloop.simple_httpclient.target import TLSContexts
from pyfastloop.tcpclient import TCPClient

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SimpleAsyncHTTPClient"]


class _Queued:
    """The key of a request that waited, and since when (time.monotonic)."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since = time.monotonic()


class _Deadlines:
    """Exchanges with one and the same request_timeout, the first to expire first.

    A fetch costs an entry of a dict here, not a timer: one timer serves all.
    """

    def __init__(self, io_loop: Any, seconds: float) -> None:
        self.io_loop = io_loop
        self.seconds = seconds
        self._when: dict[_HTTPConnection, float] = {}
        self._timer: object | None = None

    def add(self, exchange: _HTTPConnection, start: float) -> None:
        self._when[exchange] = start + self.seconds
        if self._timer is None:
            left = max(0.0, start + self.seconds - time.monotonic())
            self._timer = self.io_loop.call_later(left, self._expire)

    def discard(self, exchange: _HTTPConnection) -> None:
        self._when.pop(exchange, None)

    def close(self) -> None:
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = time.monotonic()
        late = []
        for exchange, when in self._when.items():
            if when > now:
                self._timer = self.io_loop.call_later(when - now, self._expire)
                break
            late.append(exchange)
        for exchange in late:
            exchange.on_timeout("request_timeout", self.seconds)


class SimpleAsyncHTTPClient(AsyncHTTPClient):
    """The default client; its requests run over one pool of connections.

    ``max_clients`` requests run at once, further ones wait in ``queue``.
    ``hostname_mapping`` is a dict as `pyfastloop.netutil.OverrideResolver` takes it.
    ``max_buffer_size`` bounds what a stream reads ahead, ``max_header_size`` the head
    of an answer (64 KiB), ``max_body_size`` its inflated body (``max_buffer_size``).
    ``resolver`` is used as it is and not closed.

    Not in Tornado: ``keep_alive=False`` closes each connection after its answer;
    ``max_idle_connections`` (by default the larger of 32 and ``max_clients``) and
    ``idle_connection_timeout`` (seconds) bound what waits in the pool.
    """

    def initialize(  # type: ignore[override]
        self,
        max_clients: int = 10,
        hostname_mapping: Mapping[Any, Any] | None = None,
        max_buffer_size: int = 104857600,
        resolver: Resolver | None = None,
        defaults: dict[str, Any] | None = None,
        max_header_size: int | None = None,
        max_body_size: int | None = None,
        *,
        keep_alive: bool = True,
        max_idle_connections: int | None = None,
        idle_connection_timeout: float = 30.0,
    ) -> None:
        """Set up queue, resolver and pool; see the class."""
        super().initialize(defaults=defaults)
        self.max_clients = max_clients
        self.queue: collections.deque[
            tuple[object, HTTPRequest, Callable[[HTTPResponse], None]]
        ] = collections.deque()
        self.active: dict[object, _HTTPConnection | None] = {}
        self.waiting: dict[
            object, tuple[HTTPRequest, Callable[[HTTPResponse], None], object | None]
        ] = {}
        self.max_buffer_size = max_buffer_size
        self.max_header_size = 65536 if max_header_size is None else max_header_size
        self.max_body_size = max_buffer_size if max_body_size is None else max_body_size
        if resolver is not None:
            self.resolver = resolver
            self.own_resolver = False
        else:
            self.resolver = Resolver()
            self.own_resolver = True
        if hostname_mapping is not None:
            self.resolver = OverrideResolver(
                resolver=self.resolver, mapping=hostname_mapping
            )
        self.tcp_client = TCPClient(resolver=TimedResolver(resolver=self.resolver))
        self.keep_alive = keep_alive
        if max_idle_connections is None:
            max_idle_connections = max(32, max_clients)
        self.pool = ConnectionPool(
            self.io_loop,
            max_idle_connections if keep_alive else 0,
            idle_connection_timeout,
        )
        self.tls_contexts = TLSContexts()
        self._deadlines: dict[float, _Deadlines] = {}

    def close(self) -> None:
        """Close the idle connections and end what is under way or waits."""
        if self._closed:
            return
        super().close()
        for _key, (_request, _callback, timer) in list(self.waiting.items()):
            if timer is not None:
                self.io_loop.remove_timeout(timer)
        self.queue.clear()
        self.waiting.clear()
        for exchange in list(self.active.values()):
            if isinstance(exchange, _HTTPConnection):
                exchange.abort()
        for deadlines in self._deadlines.values():
            deadlines.close()
        self._deadlines.clear()
        self.pool.close()
        if self.own_resolver:
            self.resolver.close()
        self.tcp_client.close()

    def fetch_impl(
        self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]
    ) -> None:
        """Start *request*, or queue it while ``max_clients`` are under way."""
        if not isinstance(request, _RequestProxy):
            request = cast(HTTPRequest, _RequestProxy(request, self.defaults))
        if not self.queue and len(self.active) < self.max_clients:
            self._start(object(), request, callback)
            return
        self._enqueue(_Queued(), request, callback)

    def _enqueue(
        self,
        key: object,
        request: HTTPRequest,
        callback: Callable[[HTTPResponse], None],
    ) -> None:
        self.queue.append((key, request, callback))
        limits = [
            seconds
            for seconds in (request.connect_timeout, request.request_timeout)
            if seconds
        ]
        timer = None
        if limits:
            timer = self.io_loop.call_later(
                min(limits), functools.partial(self._on_queue_timeout, key, min(limits))
            )
        self.waiting[key] = (request, callback, timer)
        future = getattr(callback, "__self__", None)
        if isinstance(future, _FetchFuture):
            future.abort = functools.partial(self._leave_queue, key)
        gen_log.debug(
            "max_clients limit reached, request queued. %d active, %d queued requests.",
            len(self.active),
            len(self.queue),
        )

    def _leave_queue(self, key: object) -> None:
        request, callback, timer = self.waiting.pop(key)
        self.queue.remove((key, request, callback))
        if timer is not None:
            self.io_loop.remove_timeout(timer)

    def _on_queue_timeout(self, key: object, seconds: float) -> None:
        request, callback, _timer = self.waiting.pop(key)
        self.queue.remove((key, request, callback))
        callback(
            HTTPResponse(
                request,
                599,
                error=HTTPTimeoutError(
                    f"Timeout in request queue ({seconds:g} s): {request.url} waited "
                    f"for one of max_clients={self.max_clients} requests to end"
                ),
                request_time=time.time() - request.start_time,
            )
        )

    def _process_queue(self) -> None:
        while self.queue and len(self.active) < self.max_clients:
            key, request, callback = self.queue.popleft()
            _request, _callback, timer = self.waiting.pop(key)
            if timer is not None:
                self.io_loop.remove_timeout(timer)
            self._start(key, request, callback)

    def _start(
        self,
        key: object,
        request: HTTPRequest,
        callback: Callable[[HTTPResponse], None],
    ) -> None:
        if not self.active:
            # The loop holds a client that is at work, as it holds a stream that is
            # read: whoever waits for a callback need not hold the client.
            vars(self.io_loop).setdefault("_http_clients_at_work", set()).add(self)
        self.active[key] = None
        self._handle_request(
            request, functools.partial(self._release_fetch, key), callback
        )

    def _connection_class(self) -> type[_HTTPConnection]:
        """The class of an exchange."""
        return _HTTPConnection

    def _handle_request(
        self,
        request: HTTPRequest,
        release_callback: Callable[[], None],
        final_callback: Callable[[HTTPResponse], None],
    ) -> None:
        """Begin *request*; release_callback is called when its slot is free again."""
        exchange = self._connection_class()(
            self,
            request,
            release_callback,
            final_callback,
            self.max_buffer_size,
            self.tcp_client,
            self.max_header_size,
            self.max_body_size,
        )
        key = release_callback.args[0]  # type: ignore[attr-defined]
        self.active[key] = exchange
        future = getattr(final_callback, "__self__", None)
        if isinstance(future, _FetchFuture):
            future.abort = exchange.abort
        asked, defaults = request.request, request.defaults  # type: ignore[attr-defined]
        seconds = asked.request_timeout
        if seconds is None and defaults:
            seconds = defaults.get("request_timeout")
        if seconds:
            deadlines = self._deadlines.get(seconds)
            if deadlines is None:
                deadlines = _Deadlines(self.io_loop, seconds)
                if len(self._deadlines) < 16:  # else: of this request alone
                    self._deadlines[seconds] = deadlines
            exchange.deadlines = deadlines
            deadlines.add(
                exchange, key.since if type(key) is _Queued else exchange.start_time
            )
        inactivity = asked.inactivity_timeout
        if inactivity is None and defaults:
            inactivity = defaults.get("inactivity_timeout")
        if inactivity:
            exchange.watch_inactivity(inactivity)
        exchange.begin()

    def _release_fetch(self, key: object) -> None:
        self.active.pop(key, None)
        if self.queue:
            self._process_queue()
        if not self.active:
            vars(self.io_loop)["_http_clients_at_work"].discard(self)
