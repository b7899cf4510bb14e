"""The HTTP server: a TCP server whose streams speak HTTP/1.

A server takes an :class:`pyfastloop.web.Application`, any
:class:`~pyfastloop.httputil.HTTPServerConnectionDelegate`, or a plain function of a
request. Connections are C from the first byte to the last; Python hears of a request
once its head is whole, and an unchanged Application answers it without these delegates
at all.

Differences from ``tornado.httpserver``: peers have time limits by default, each an
argument here (seconds, None switches one off): ``first_timeout`` and ``header_timeout``
15, ``idle_connection_timeout`` 75 (where it is given, the two before follow it),
``body_gap_timeout`` 30, ``min_body_rate`` 240 bytes a second after 15 seconds,
``write_timeout`` 60, ``half_closed_timeout`` 30.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pyfastloop import _core, httputil, iostream, netutil
from pyfastloop.escape import native_str
from pyfastloop.http1connection import HTTP1ConnectionParameters, HTTP1ServerConnection
from pyfastloop.tcpserver import TCPServer
from pyfastloop.util import Configurable

__all__ = ["HTTPRequest", "HTTPServer"]

#: Tornado 3's name.
HTTPRequest = httputil.HTTPServerRequest

_IDLE_TIMEOUT = 75.0
_HEADER_TIMEOUT = 15.0
_BODY_GAP_TIMEOUT = 30.0
_MIN_BODY_RATE = 240
_WRITE_TIMEOUT = 60.0
_HALF_CLOSED_TIMEOUT = 30.0

_RequestCallback = (
    httputil.HTTPServerConnectionDelegate | Callable[[httputil.HTTPServerRequest], Any]
)


class HTTPServer(TCPServer, Configurable, httputil.HTTPServerConnectionDelegate):
    """A non-blocking HTTP/1 server.

    ``request_callback`` is an Application, a connection delegate, or a function of a
    :class:`~pyfastloop.httputil.HTTPServerRequest`. ``xheaders`` takes remote address
    and scheme from X-Real-Ip, X-Forwarded-For and X-Scheme, X-Forwarded-Proto, which
    only a proxy in front may send; ``trusted_downstream`` names further proxies. Sizes
    are bytes, times seconds; see the module for what limits hold unasked.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Configurable: initialize() has the arguments.
        pass

    def initialize(
        self,
        request_callback: _RequestCallback,
        no_keep_alive: bool = False,
        xheaders: bool = False,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        protocol: str | None = None,
        decompress_request: bool = False,
        chunk_size: int | None = None,
        max_header_size: int | None = None,
        idle_connection_timeout: float | None = None,
        body_timeout: float | None = None,
        max_body_size: int | None = None,
        max_buffer_size: int | None = None,
        trusted_downstream: list[str] | None = None,
        *,
        header_timeout: float | None = _HEADER_TIMEOUT,
        first_timeout: float | None = _HEADER_TIMEOUT,
        body_gap_timeout: float | None = _BODY_GAP_TIMEOUT,
        min_body_rate: int | None = _MIN_BODY_RATE,
        write_timeout: float | None = _WRITE_TIMEOUT,
        half_closed_timeout: float | None = _HALF_CLOSED_TIMEOUT,
    ) -> None:
        self.request_callback = request_callback
        self.xheaders = xheaders
        self.protocol = protocol
        params = HTTP1ConnectionParameters(
            no_keep_alive=no_keep_alive,
            chunk_size=chunk_size,
            max_header_size=max_header_size,
            max_body_size=max_body_size,
            body_timeout=body_timeout,
            decompress=decompress_request,
        )
        if idle_connection_timeout is None:
            params.idle_timeout = _IDLE_TIMEOUT
            params.header_timeout = header_timeout
            params.first_timeout = first_timeout
        else:
            params.idle_timeout = idle_connection_timeout
            params.header_timeout = idle_connection_timeout
            params.first_timeout = idle_connection_timeout
        params.body_gap_timeout = body_gap_timeout
        params.min_body_rate = min_body_rate
        params.write_timeout = write_timeout
        params.half_closed_timeout = half_closed_timeout
        self.conn_params = params
        TCPServer.__init__(
            self,
            ssl_options=ssl_options,
            max_buffer_size=max_buffer_size,
            read_chunk_size=chunk_size,
        )
        self._connections: set[HTTP1ServerConnection] = set()
        self.trusted_downstream = trusted_downstream

    @classmethod
    def configurable_base(cls) -> type[Configurable]:
        return HTTPServer

    @classmethod
    def configurable_default(cls) -> type[Configurable]:
        return HTTPServer

    async def close_all_connections(self) -> None:
        """Close every connection that is open, whatever it is doing.

        For tests and for the end of a program; stop listening first. Streams that were
        detached (WebSockets) stay open.
        """
        while self._connections:
            await next(iter(self._connections)).close()

    def handle_stream(self, stream: iostream.IOStream, address: Any) -> None:
        context = _HTTPRequestContext(
            stream, address, self.protocol, self.trusted_downstream
        )
        connection = HTTP1ServerConnection(stream, self.conn_params, context)
        self._connections.add(connection)
        connection.start_serving(self)

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        callback = self.request_callback
        delegate: httputil.HTTPMessageDelegate
        if isinstance(callback, httputil.HTTPServerConnectionDelegate):
            delegate = callback.start_request(server_conn, request_conn)
        else:
            delegate = _CallableAdapter(callback, server_conn, request_conn)
        if self.xheaders:
            delegate = _ProxyAdapter(delegate, request_conn)
        return delegate

    def on_close(self, server_conn: object) -> None:
        self._connections.discard(server_conn)


class _CallableAdapter(httputil.HTTPMessageDelegate):
    """Collects a request and calls a function with it."""

    def __init__(
        self,
        request_callback: Callable[[httputil.HTTPServerRequest], Any],
        server_conn: object,
        request_conn: httputil.HTTPConnection,
    ) -> None:
        self.connection = request_conn
        self.server_connection = server_conn
        self.request_callback = request_callback
        self.request: httputil.HTTPServerRequest | None = None
        self._chunks: list[bytes] = []

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        self.request = httputil.HTTPServerRequest(
            connection=self.connection,
            server_connection=self.server_connection,
            start_line=start_line,
            headers=headers,
        )
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._chunks.append(chunk)
        return None

    def finish(self) -> None:
        if self.request is None:
            raise RuntimeError("finish before headers_received")
        self.request.body = b"".join(self._chunks)
        self._chunks = []
        self.request._parse_body()
        self.request_callback(self.request)

    def on_connection_close(self) -> None:
        self._chunks = []


class _HTTPRequestContext:
    """What a server knows of a connection's peer; ``request.connection.context``.

    ``remote_ip`` and ``protocol`` follow a proxy's headers during a request where the
    server was told to trust them (``xheaders``); ``_orig_remote_ip`` and
    ``_orig_protocol`` are the connection's own.
    """

    def __init__(
        self,
        stream: iostream.IOStream,
        address: Any,
        protocol: str | None,
        trusted_downstream: Iterable[str] | None = None,
    ) -> None:
        self.address = address
        internet = isinstance(address, tuple)
        # Sockets of the Unix family have no address to speak of.
        self.remote_ip = str(address[0]) if internet else "0.0.0.0"
        if protocol:
            self.protocol = protocol
        elif isinstance(stream, iostream.SSLIOStream):
            self.protocol = "https"
        else:
            self.protocol = "http"
        self._internet = internet
        self._orig_remote_ip = self.remote_ip
        self._orig_protocol = self.protocol
        self.trusted_downstream = set(trusted_downstream or ())

    def __str__(self) -> str:
        if self._internet:
            return self.remote_ip
        if isinstance(self.address, bytes):
            return native_str(self.address)
        return str(self.address)

    def _apply_xheaders(self, headers: httputil.HTTPHeaders) -> None:
        """Take address and scheme from a proxy's headers.

        X-Forwarded-For is read from its end, over the proxies that are trusted;
        X-Real-Ip goes before it. What is no address, or no scheme, changes nothing.
        """
        ip = self.remote_ip
        for candidate in reversed(headers.get("X-Forwarded-For", ip).split(",")):
            ip = candidate.strip()
            if ip not in self.trusted_downstream:
                break
        ip = headers.get("X-Real-Ip", ip)
        if netutil.is_valid_ip(ip):
            self.remote_ip = ip
        scheme = headers.get(
            "X-Scheme", headers.get("X-Forwarded-Proto", self.protocol)
        )
        # A list grows to the right, as X-Forwarded-For does.
        scheme = scheme.split(",")[-1].strip()
        if scheme in ("http", "https"):
            self.protocol = scheme

    def _unapply_xheaders(self) -> None:
        """The next request of the connection may be another client's."""
        self.remote_ip = self._orig_remote_ip
        self.protocol = self._orig_protocol


class _ProxyAdapter(httputil.HTTPMessageDelegate):
    """Lets the context follow a proxy's headers while one request lasts."""

    def __init__(
        self,
        delegate: httputil.HTTPMessageDelegate,
        request_conn: httputil.HTTPConnection,
    ) -> None:
        self.connection: Any = request_conn
        self.delegate = delegate

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        self.connection.context._apply_xheaders(headers)
        return self.delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self.delegate.data_received(chunk)

    def finish(self) -> None:
        self.delegate.finish()
        self._cleanup()

    def on_connection_close(self) -> None:
        self.delegate.on_connection_close()
        self._cleanup()

    def _cleanup(self) -> None:
        # A handler may have detached the connection, context and all.
        if self.connection.context is not None:
            self.connection.context._unapply_xheaders()


_core.set_web_server(HTTPServer)
