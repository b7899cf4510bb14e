"""The HTTP server: a TCP server whose streams speak HTTP/1.

A server takes an :class:`pyfastloop.web.Application`, any
:class:`~pyfastloop.httputil.HTTPServerConnectionDelegate`, or a plain function of a
request. Connections are C from the first byte to the last; Python hears of a request
once its head is whole, and an unchanged Application answers it without these delegates
at all.

Differences from ``tornado.httpserver``: a peer has a bound on everything, and each
bound is an argument of :class:`HTTPServer`, listed there; it understands the PROXY
protocol.
"""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pyfastloop import _core, httputil, iostream, netutil
from pyfastloop._proxy_protocol import Greeting
from pyfastloop.escape import native_str
from pyfastloop.http1connection import (
    HTTP1ConnectionParameters,
    HTTP1ServerConnection,
    _collects_body,
)
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
_RATE_GRACE = 15.0
_HALF_CLOSED_TIMEOUT = 30.0
_LINGER_TIMEOUT = 5.0
_KIB = 1024
# Descriptors left for everything that is no connection.
_RESERVE = 32
# Connections that are being told 503 at one time; more are closed without a word.
_REFUSED_MOST = _RESERVE // 2

_RequestCallback = (
    httputil.HTTPServerConnectionDelegate | Callable[[httputil.HTTPServerRequest], Any]
)


class HTTPServer(TCPServer, Configurable, httputil.HTTPServerConnectionDelegate):
    """A non-blocking HTTP/1 server.

    ``request_callback`` is an Application, a connection delegate, or a function of a
    :class:`~pyfastloop.httputil.HTTPServerRequest`. ``xheaders`` takes remote address
    and scheme from X-Real-Ip, X-Forwarded-For and X-Scheme, X-Forwarded-Proto, which
    only a proxy in front may send; ``trusted_downstream`` names further proxies.
    ``proxy_protocol`` awaits a PROXY header, version 1 or 2, before anything else of a
    connection and takes the address from it; then only proxies may connect.

    Bounds, with the value that holds unasked; sizes are bytes, times seconds. None is
    no bound where a time, a rate or a ratio is meant, else the value shown.

    ======================== ========= =================================================
    max_header_size          64 KiB    of a head; 431, of a request line alone 414
    max_header_lines         256       of a head (max_header_size / 256 where that is
                                       raised); 431
    max_body_size            (next)    of a body, inflated too; 413
    max_buffer_size          100 MiB   of a stream's buffers
    max_chunk_line           256       of a chunk's size line with its extensions; 400
    max_chunk_overhead       16 KiB    of chunk framing beyond what plain chunks need
    max_trailer_size         8 KiB     of all trailers; 431
    max_trailer_lines        32        431
    max_inflate_ratio        200       of an inflated body above 1 MiB to what came; 413
    max_gzip_members         16        of a gzip body; 400
    first_timeout            15        of silence on a new connection; closed
    header_timeout           15        for a whole head; 408
    idle_connection_timeout  75        between requests; closed. Where it is given, the
                                       two before follow it
    body_timeout             None      for a whole body; 408
    body_gap_timeout         30        between two reads of a body; 408
    min_body_rate            240       bytes a second of a body, looked at after ...
    rate_grace               15        ... so long; spares ``stream_request_body``; 408
    write_timeout            60        without progress of an answer; closed
    half_closed_timeout      30        for an answer after the peer's FIN; closed
    linger_timeout           5         that a refused peer may go on sending
    write_high_mark          256 KiB   of answers unsent, above which nothing is read
    write_low_mark           64 KiB    ... until it is down to this
    max_connections          (limit)   the limit of descriptors less 32
    ======================== ========= =================================================

    Who connects beyond ``max_connections`` waits in the kernel's queue, or with
    ``retry_after`` (seconds) is answered 503 and told to come again then.
    ``keep_chunk_extensions`` keeps what chunks carry beside their size for
    ``request.connection.chunk_extensions``; trailers are always at
    ``request.connection.trailers``.
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
        rate_grace: float = _RATE_GRACE,
        write_timeout: float | None = _WRITE_TIMEOUT,
        half_closed_timeout: float | None = _HALF_CLOSED_TIMEOUT,
        linger_timeout: float = _LINGER_TIMEOUT,
        max_header_lines: int | None = None,
        max_chunk_line: int = 256,
        max_chunk_overhead: int = 16 * _KIB,
        max_trailer_size: int = 8 * _KIB,
        max_trailer_lines: int = 32,
        max_inflate_ratio: int | None = 200,
        max_gzip_members: int = 16,
        write_high_mark: int = 256 * _KIB,
        write_low_mark: int = 64 * _KIB,
        keep_chunk_extensions: bool = False,
        max_connections: int | None = None,
        retry_after: int | None = None,
        proxy_protocol: bool = False,
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
        params.rate_grace = rate_grace
        params.write_timeout = write_timeout
        params.half_closed_timeout = half_closed_timeout
        params.linger_timeout = linger_timeout
        params.max_header_lines = max_header_lines
        params.max_chunk_line = max_chunk_line
        params.max_chunk_overhead = max_chunk_overhead
        params.max_trailer_size = max_trailer_size
        params.max_trailer_lines = max_trailer_lines
        params.max_inflate_ratio = max_inflate_ratio
        params.max_gzip_members = max_gzip_members
        params.write_high_mark = write_high_mark
        params.write_low_mark = write_low_mark
        params.keep_chunk_extensions = keep_chunk_extensions
        self.conn_params = params
        self.proxy_protocol = proxy_protocol
        self.retry_after = retry_after
        self.max_connections = (
            _descriptor_limit() - _RESERVE
            if max_connections is None
            else max_connections
        )
        self._full = False  # the listeners are paused
        self._greetings: set[Greeting] = set()
        self._refused: set[HTTP1ServerConnection] = set()
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
        for greeting in list(self._greetings):
            greeting.close()
        while self._connections or self._refused:
            await next(iter(self._connections or self._refused)).close()

    def _listen_on(self, sock: socket.socket) -> _core.Listener:
        # Calls _accepted, or does what it would do where nothing here was replaced.
        return _core.http_listener(sock, self)

    def _accepted(self, fd: int, address: Any) -> None:
        if self._count() >= self.max_connections:
            self._refuse(fd, address)
        elif self.proxy_protocol:
            self._greet(fd, address)
        else:
            super()._accepted(fd, address)
        if self.retry_after is None and self._count() >= self.max_connections:
            self._full = True
            for listener in self._listeners.values():
                listener.pause()

    def _count(self) -> int:
        return len(self._connections) + len(self._greetings)

    def _greet(self, fd: int, address: Any) -> None:
        """Await the PROXY header."""
        connection = socket.socket(fileno=fd)
        connection.setblocking(False)
        timeout = self.conn_params.first_timeout
        self._greetings.add(Greeting(connection, address, timeout, self._greeted))

    def _greeted(
        self, greeting: Greeting, connection: socket.socket | None, address: Any
    ) -> None:
        self._greetings.discard(greeting)
        if connection is not None:
            super()._accepted(connection.detach(), address)
        self._let_in()

    def _refuse(self, fd: int, address: Any) -> None:
        """There are too many: a few are told 503, the others closed."""
        connection = socket.socket(fileno=fd)
        if self.retry_after is None or len(self._refused) >= _REFUSED_MOST:
            connection.close()
            return
        connection.setblocking(False)
        stream = self._make_stream(connection)
        if stream is None:
            return
        server_conn = HTTP1ServerConnection(stream, self.conn_params, address)
        self._refused.add(server_conn)
        server_conn.refuse(503, self.retry_after, self)

    def _let_in(self) -> None:
        """A connection has ended: another one may come."""
        if self._full and self._count() < self.max_connections:
            self._full = False
            for listener in self._listeners.values():
                listener.resume()

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
        if self._refused:
            self._refused.discard(server_conn)
        if self._full:
            self._let_in()


def _descriptor_limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft < 0:
        return 2**31  # unlimited: a number nobody reaches
    return max(soft, _RESERVE + 1)


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
        _collects_body(self.connection)
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


_NOBODY: frozenset[str] = frozenset()


class _HTTPRequestContext:
    """What a server knows of a connection's peer; ``request.connection.context``.

    ``remote_ip`` and ``protocol`` follow a proxy's headers during a request where the
    server was told to trust them (``xheaders``); ``_orig_remote_ip`` and
    ``_orig_protocol`` are the connection's own.
    """

    # One for each connection, idle ones too: a dict is made for a program's own only.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_internet",
        "_orig_protocol",
        "_orig_remote_ip",
        "address",
        "protocol",
        "remote_ip",
        "trusted_downstream",
    )

    def __init__(
        self,
        stream: iostream.IOStream | None,
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
        self.trusted_downstream = (
            frozenset(trusted_downstream) if trusted_downstream else _NOBODY
        )

    def __str__(self) -> str:
        if self._internet:
            return self.remote_ip
        if isinstance(self.address, bytes):
            return native_str(self.address)
        return str(self.address)

    def is_plain(self) -> bool:
        """Whether an IPv4 address and the protocol are all that it says."""
        address = self.address
        return (
            isinstance(address, tuple)
            and len(address) == 2
            and address[0] == self.remote_ip == self._orig_remote_ip
            and self.protocol == self._orig_protocol
            and not self.trusted_downstream
            and not self.__dict__
        )

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
