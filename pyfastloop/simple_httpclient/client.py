"""`SimpleAsyncHTTPClient`: the queue, and what its exchanges share."""

from __future__ import annotations

import collections
import functools
import time
from typing import TYPE_CHECKING, Any

from pyfastloop import _core
from pyfastloop.httpclient import AsyncHTTPClient, HTTPRequest
from pyfastloop.log import gen_log
from pyfastloop.netutil import OverrideResolver, Resolver
from pyfastloop.simple_httpclient.errors import HTTPTimeoutError
from pyfastloop.simple_httpclient.exchange import _HTTPConnection
from pyfastloop.simple_httpclient.opening import TimedResolver
from pyfastloop.simple_httpclient.target import TLSContexts
from pyfastloop.tcpclient import TCPClient

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SimpleAsyncHTTPClient"]


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
        # Each has its exchange as key. C reads active, queue and max_clients.
        self.queue: collections.deque[tuple[_HTTPConnection, HTTPRequest, Any]] = (
            collections.deque()
        )
        self.active: dict[_HTTPConnection, _HTTPConnection] = {}
        self.waiting: dict[_HTTPConnection, tuple[HTTPRequest, Any, object | None]] = {}
        self._processing = False
        self._at_work: set[SimpleAsyncHTTPClient] = vars(self.io_loop).setdefault(
            "_http_clients_at_work", set()
        )
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
        self.pool = _core.ConnectionPool(
            self.io_loop.asyncio_loop,
            max_idle_connections if keep_alive else 0,
            idle_connection_timeout,
        )
        self.tls_contexts = TLSContexts()

    def close(self) -> None:
        """Close the idle connections and end what is under way or waits.

        Whoever waits for such a fetch gets an `HTTPStreamClosedError`.
        """
        if self._closed:
            return
        super().close()
        for _request, _caller, timer in self.waiting.values():
            if timer is not None:
                self.io_loop.remove_timeout(timer)
        unfinished = [*self.active, *self.waiting]
        self.queue.clear()
        self.waiting.clear()
        for exchange in unfinished:
            exchange.end_with_client()
        self.pool.close()
        if self.own_resolver:
            self.resolver.close()
        self.tcp_client.close()

    fetch_impl = _core.HTTPClientMethods._fetch_impl

    # ---- the queue: C comes here when max_clients requests are under way ----

    def _enqueue(self, exchange: _HTTPConnection) -> None:
        request = exchange.request
        caller = exchange._future or exchange.final_callback
        limits = [
            seconds
            for seconds in (request.connect_timeout, request.request_timeout)
            if seconds
        ]
        limit = min(limits, default=0)
        if self._closed:  # by a property of the request
            raise RuntimeError("close() was called on this AsyncHTTPClient")
        exchange._queued_at = time.monotonic()
        timer = None
        if limit:
            timer = self.io_loop.call_later(
                limit, functools.partial(self._on_queue_timeout, exchange, limit)
            )
        self.queue.append((exchange, request, caller))
        self.waiting[exchange] = (request, caller, timer)
        gen_log.debug(
            "max_clients limit reached, request queued. %d active, %d queued requests.",
            len(self.active),
            len(self.queue),
        )

    def _leave_queue(self, exchange: _HTTPConnection) -> None:
        request, caller, timer = self.waiting.pop(exchange)
        self.queue.remove((exchange, request, caller))
        if timer is not None:
            self.io_loop.remove_timeout(timer)

    def _on_queue_timeout(self, exchange: _HTTPConnection, seconds: float) -> None:
        self._leave_queue(exchange)
        exchange._fail(
            HTTPTimeoutError(
                f"Timeout in request queue ({seconds:g} s): "
                f"{exchange.original_request.url} waited for one of "
                f"max_clients={self.max_clients} requests to end"
            )
        )

    def _process_queue(self) -> None:
        if self._processing:
            return  # one that failed at once has freed its slot: the loop below goes on
        self._processing = True
        try:
            while self.queue and len(self.active) < self.max_clients:
                exchange, _request, _caller = self.queue.popleft()
                _request, _caller, timer = self.waiting.pop(exchange)
                if timer is not None:
                    self.io_loop.remove_timeout(timer)
                exchange._start()
        finally:
            self._processing = False
