"""The client's side: `websocket_connect` and `WebSocketClientConnection`."""

from __future__ import annotations

import base64
import copy
import os
import warnings
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, cast

from pyfastloop import gen, httpclient, httputil, simple_httpclient
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop
from pyfastloop.log import app_log
from pyfastloop.netutil import Resolver
from pyfastloop.queues import Queue
from pyfastloop.simple_httpclient.opening import TimedResolver
from pyfastloop.tcpclient import TCPClient
from pyfastloop.websocket import deflate
from pyfastloop.websocket.errors import WebSocketClosedError, WebSocketError
from pyfastloop.websocket.protocol import (
    WebSocketProtocol,
    WebSocketProtocol13,
    _WebSocketParams,
)

__all__ = ["WebSocketClientConnection", "websocket_connect"]

_DEFAULT_MAX_MESSAGE_SIZE = 10 * 1024 * 1024
_HANDSHAKE_BODY_MOST = 104857600
_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


def _http_url(url: str) -> str:
    scheme, colon, rest = url.partition(":")
    http = _SCHEMES.get(scheme.lower())
    if http is None or not colon:
        raise ValueError(f"Unsupported WebSocket url scheme: {url} (ws or wss)")
    return f"{http}:{rest}"


class WebSocketClientConnection(simple_httpclient._HTTPConnection):
    """A client's WebSocket; made by `websocket_connect`."""

    protocol: WebSocketProtocol | None = None
    _selected_subprotocol: str | None = None

    def __init__(
        self,
        request: httpclient.HTTPRequest,
        on_message_callback: Callable[[str | bytes | None], Any] | None = None,
        compression_options: dict[str, Any] | None = None,
        ping_interval: float | None = None,
        ping_timeout: float | None = None,
        max_message_size: int = _DEFAULT_MAX_MESSAGE_SIZE,
        subprotocols: list[str] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.connect_future: Future[WebSocketClientConnection] = Future()
        self.read_queue: Queue[str | bytes | None] = Queue(1)
        self.key = base64.b64encode(os.urandom(16))
        self._on_message_callback = on_message_callback
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self.params = _WebSocketParams(
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            max_message_size=max_message_size,
            compression_options=compression_options,
        )
        proxy = (
            request
            if isinstance(request, httpclient._RequestProxy)
            else httpclient._RequestProxy(request, httpclient.HTTPRequest._DEFAULTS)
        )
        wanted = copy.copy(proxy.request)
        wanted.url = _http_url(wanted.url)
        wanted.headers = headers = httputil.HTTPHeaders(wanted.headers)
        headers["Upgrade"] = "websocket"
        headers["Connection"] = "Upgrade"
        headers["Sec-WebSocket-Key"] = self.key.decode("ascii")
        headers["Sec-WebSocket-Version"] = "13"
        if subprotocols:
            headers["Sec-WebSocket-Protocol"] = ",".join(subprotocols)
        if compression_options is not None:
            headers["Sec-WebSocket-Extensions"] = deflate.Agreement.offer(
                deflate.check_options(compression_options)
            )
        self._own_resolver = None if resolver is not None else Resolver()
        tcp_client = TCPClient(
            resolver=TimedResolver(resolver=resolver or self._own_resolver)
        )
        super().__init__(
            None,
            cast(
                httpclient.HTTPRequest,
                httpclient._RequestProxy(wanted, proxy.defaults),
            ),
            lambda: None,
            self._on_http_response,
            _HANDSHAKE_BODY_MOST,
            tcp_client,
            65536,
            _HANDSHAKE_BODY_MOST,
        )
        self._handshake_timer: Any = None
        seconds = self.request.request_timeout
        if seconds:
            self._handshake_timer = self.io_loop.call_later(
                seconds, self.on_timeout, "request_timeout", seconds
            )
        self.connect_future.add_done_callback(self._connect_settled)
        self.begin()

    def __del__(self) -> None:
        if self.protocol is not None:
            warnings.warn(
                "Unclosed WebSocketClientConnection", ResourceWarning, stacklevel=2
            )

    # ---- the handshake ----

    def _connect_settled(self, future: Future[WebSocketClientConnection]) -> None:
        if future.cancelled():
            self.abort()
            self.close()

    def _redirect(self) -> None:
        assert self.headers is not None
        location = self.headers["Location"]
        if location.lower().startswith(("ws:", "wss:")):
            self.headers["Location"] = _http_url(location)
        super()._redirect()

    def _on_http_response(self, response: httpclient.HTTPResponse) -> None:
        """The handshake ended without a WebSocket."""
        self._let_go()
        if not self.connect_future.done():
            self.connect_future.set_exception(
                response.error
                or WebSocketError(
                    f"{response.effective_url} answered {response.code} instead of "
                    "101: no WebSocket"
                )
            )

    def _let_go(self) -> None:
        timer, self._handshake_timer = self._handshake_timer, None
        if timer is not None:
            self.io_loop.remove_timeout(timer)
        self.tcp_client.close()
        if self._own_resolver is not None:
            self._own_resolver.close()
            self._own_resolver = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """The head of the answer; 101 makes this a WebSocket."""
        assert isinstance(start_line, httputil.ResponseStartLine)
        if start_line.code != 101:
            return super().headers_received(start_line, headers)
        self.code, self.reason, self.headers = 101, start_line.reason, headers
        protocol = WebSocketProtocol13(self, True, self.params)
        protocol._process_server_headers(self.key, headers)
        link, self._link = self._link, None
        assert link is not None
        self.stream = link.detach()
        self.final_callback = None
        self._let_go()
        self._finished_handshake()
        protocol._begin(self.stream)
        self.protocol = protocol
        self._selected_subprotocol = protocol.selected_subprotocol
        if not self.connect_future.done():
            self.connect_future.set_result(self)
        protocol.start_pinging()
        # Messages wait until the program had its turn to look at the connection.
        self.io_loop.add_callback(protocol._resume)
        return None

    def get_websocket_protocol(self) -> WebSocketProtocol:
        """A protocol object for this connection."""
        return WebSocketProtocol13(self, True, self.params)

    # ---- the connection ----

    @property
    def selected_subprotocol(self) -> str | None:
        """The subprotocol that the server chose, or None."""
        return self._selected_subprotocol

    def write_message(
        self, message: str | bytes | dict[str, Any], binary: bool = False
    ) -> Future[None]:
        """Send a message; see `WebSocketHandler.write_message`."""
        if self.protocol is None:
            raise WebSocketClosedError("Client connection has been closed")
        return self.protocol.write_message(message, binary=binary)

    def read_message(
        self, callback: Callable[[Future[str | bytes | None]], Any] | None = None
    ) -> Awaitable[str | bytes | None]:
        """The next message: str, bytes, or None when the connection was closed.

        With *callback*, that gets the future, as in Tornado 4.
        """
        if self._on_message_callback is not None:
            raise RuntimeError(
                "messages go to on_message_callback; read_message is for connections "
                "without one"
            )
        awaitable = self.read_queue.get()
        if callback is not None:
            self.io_loop.add_future(gen.convert_yielded(awaitable), callback)
        return awaitable

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """A message came."""
        return self._on_message(message)

    def _on_message(self, message: str | bytes | None) -> Awaitable[None] | None:
        if self._on_message_callback is not None:
            result = self._on_message_callback(message)
            return result if hasattr(result, "__await__") else None
        return self.read_queue.put(message)

    def ping(self, data: bytes = b"") -> None:
        """Send a ping with at most 125 bytes."""
        if self.protocol is None:
            raise WebSocketClosedError("Client connection has been closed")
        self.protocol.write_ping(data)

    def on_ping(self, data: bytes) -> None:
        """A ping came; it was answered already."""

    def on_pong(self, data: bytes) -> None:
        """A pong came."""

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Begin the close handshake."""
        if self.protocol is not None:
            self.protocol.close(code, reason)
            self.protocol = None

    def on_connection_close(self) -> None:
        """The stream was closed."""
        if not self.connect_future.done():
            self.connect_future.set_exception(
                simple_httpclient.HTTPStreamClosedError("Stream closed")
            )
        self._on_message(None)

    def on_ws_connection_close(
        self, close_code: int | None = None, close_reason: str | None = None
    ) -> None:
        """The connection ended with this code and reason."""
        self.close_code = close_code
        self.close_reason = close_reason
        self.protocol = None
        self.on_connection_close()

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """on_message_callback raised."""
        assert typ is not None and value is not None
        app_log.error("Uncaught exception %s", value, exc_info=(typ, value, tb))


def websocket_connect(
    url: str | httpclient.HTTPRequest,
    callback: Callable[[Future[WebSocketClientConnection]], Any] | None = None,
    connect_timeout: float | None = None,
    on_message_callback: Callable[[str | bytes | None], Any] | None = None,
    compression_options: dict[str, Any] | None = None,
    ping_interval: float | None = None,
    ping_timeout: float | None = None,
    max_message_size: int = _DEFAULT_MAX_MESSAGE_SIZE,
    subprotocols: list[str] | None = None,
    resolver: Resolver | None = None,
) -> Future[WebSocketClientConnection]:
    """Connect to *url* (ws or wss, or an `HTTPRequest`); a future of the connection.

    With *on_message_callback* that gets each message, and None at the end; otherwise
    `WebSocketClientConnection.read_message` does. *callback* gets the future.
    ``compression_options`` are those of `WebSocketHandler.get_compression_options`.

    The future fails with what the connection failed with, HTTPClientError when the
    server answered with another status than 101, and WebSocketError when its answer was
    no handshake.
    """
    if isinstance(url, httpclient.HTTPRequest):
        if connect_timeout is not None:
            raise ValueError(
                "connect_timeout belongs into the HTTPRequest when there is one"
            )
        request = url
    else:
        request = httpclient.HTTPRequest(url, connect_timeout=connect_timeout)
    connection = WebSocketClientConnection(
        request,
        on_message_callback=on_message_callback,
        compression_options=compression_options,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        max_message_size=max_message_size,
        subprotocols=subprotocols,
        resolver=resolver,
    )
    if callback is not None:
        IOLoop.current().add_future(connection.connect_future, callback)
    return connection.connect_future
