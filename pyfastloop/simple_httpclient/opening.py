"""From a target to a stream that is ready for a request: resolve, connect, proxy, TLS.

A proxy is asked for http URLs in absolute form over the connection that goes to it; for
https it is asked by CONNECT for a tunnel, and TLS runs inside of it with the origin, so
that the proxy sees no more than host and port.
"""

from __future__ import annotations

import base64
import contextlib
import contextvars
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from pyfastloop import _core, httputil, version
from pyfastloop.concurrent import Future
from pyfastloop.httpclient import HTTPClientError
from pyfastloop.iostream import StreamClosedError
from pyfastloop.netutil import Resolver, is_valid_ip
from pyfastloop.simple_httpclient.errors import HTTPStreamClosedError
from pyfastloop.tcpclient import abandon

if TYPE_CHECKING:
    from pyfastloop.httpclient import HTTPRequest
    from pyfastloop.iostream import IOStream, SSLIOStream
    from pyfastloop.simple_httpclient.exchange import _HTTPConnection
    from pyfastloop.simple_httpclient.target import Target

__all__ = ["Marks", "Proxy", "TimedResolver", "basic_auth", "open_stream", "proxy_of"]

USER_AGENT = f"pyfastloop/{version}"

_CONNECT = 8  # a flag of ClientLink.start


class Marks:
    """When (time.monotonic) the steps of opening were done; 0.0: not taken."""

    __slots__ = ("begin", "connected", "phase", "resolved", "secured")

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.resolved = self.connected = self.secured = 0.0
        self.phase = ""


_marks: contextvars.ContextVar[tuple[_HTTPConnection, Marks] | None] = (
    contextvars.ContextVar("pyfastloop_fetch_marks", default=None)
)


class TimedResolver(Resolver):
    """Another resolver, with the time of each look-up noted for the fetch it serves."""

    @classmethod
    def configurable_base(cls) -> type[TimedResolver]:
        """Itself: this class is not what Resolver.configure chooses from."""
        return TimedResolver

    @classmethod
    def configurable_default(cls) -> type[TimedResolver]:
        """Itself."""
        return TimedResolver

    def initialize(self, resolver: Resolver) -> None:
        """*resolver* does the work; it is not closed here."""
        self.resolver = resolver

    async def resolve(
        self,
        host: str,
        port: int,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        callback: Any = None,
    ) -> list[tuple[int, Any]]:
        """As *resolver* does; there is no callback form of this one."""
        fetch = _marks.get()
        if fetch is not None:
            fetch[0]._set_phase("while resolving")
        found: list[tuple[int, Any]] = await self.resolver.resolve(host, port, family)
        if fetch is not None:
            fetch[0]._set_phase("while connecting")
            fetch[1].resolved = time.monotonic()
        return found

    def close(self) -> None:
        """Nothing is owned here."""


class Proxy(NamedTuple):
    """An HTTP proxy, and what it wants to hear."""

    host: str
    port: int
    authorization: str | None


def basic_auth(username: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617), UTF-8."""
    joined = httputil.encode_username_password(username, password)
    return "Basic " + base64.b64encode(joined).decode("ascii")


def proxy_of(request: Any) -> Proxy | None:
    """The proxy that *request* names, or None. Raises ValueError."""
    host = request.proxy_host
    if not host:
        return None
    if not request.proxy_port:
        raise ValueError(f"proxy_host {host!r} needs a proxy_port")
    if request.proxy_auth_mode not in (None, "basic"):
        raise ValueError(
            f"unsupported proxy_auth_mode {request.proxy_auth_mode}: the simple client "
            "knows basic only"
        )
    authorization = None
    if request.proxy_username:
        authorization = basic_auth(request.proxy_username, request.proxy_password or "")
    return Proxy(host, int(request.proxy_port), authorization)


def named(error: BaseException, where: str) -> BaseException:
    """*error*, with the server named in its text."""
    if isinstance(error, OSError):
        if error.strerror:
            error.strerror = f"{error.strerror} ({where})"
        else:
            error.add_note(where)
    return error


async def open_stream(
    exchange: _HTTPConnection,
    target: Target,
    proxy: Proxy | None,
    marks: Marks,
) -> IOStream:
    """Connect as the request of *exchange* says and give a stream to the server.

    Raises what connecting raised, with the server named: OSError, socket.gaierror,
    ssl.SSLError; HTTPClientError where a proxy refuses; ValueError for a
    network_interface that is no IP address.
    """
    request: HTTPRequest = exchange.request
    source = request.network_interface
    if source and not is_valid_ip(source):
        raise ValueError(
            f"Unrecognized IPv4 or IPv6 address for network_interface, got {source!r}"
        )
    family = socket.AF_INET if request.allow_ipv6 is False else socket.AF_UNSPEC
    host, port = (target.host, target.port) if proxy is None else proxy[:2]
    token = _marks.set((exchange, marks))
    where = exchange._where
    try:
        stream = await exchange.tcp_client.connect(
            host,
            port,
            af=family,
            max_buffer_size=exchange.max_buffer_size,
            source_ip=source or None,
        )
    except StreamClosedError as error:
        cause = error.real_error
        if cause is None:
            raise HTTPStreamClosedError(
                f"{where} closed the connection while it was made"
            ) from error
        raise named(cause, where) from None
    except OSError as error:
        raise named(error, where) from None
    finally:
        # Where the loop was closed meanwhile the collector ends this, in its context.
        with contextlib.suppress(ValueError):
            _marks.reset(token)
    marks.connected = time.monotonic()
    if target.scheme != "https":
        return stream
    securing: Future[SSLIOStream] | None = None
    try:
        if proxy is not None:
            exchange._set_phase("while asking the proxy for a tunnel")
            stream = await _tunnel(exchange, stream, target, proxy)
        exchange._set_phase("during the TLS handshake")
        context = exchange.tls_context()
        securing = stream.start_tls(False, context, server_hostname=target.host)
        secured = await securing
    except BaseException as error:
        stream.close()
        if securing is not None:
            abandon(securing)
        cause = error.real_error if isinstance(error, StreamClosedError) else error
        if isinstance(cause, ssl.SSLError):
            raise named(cause, where) from None
        if cause is None or isinstance(cause, ConnectionError):
            failed = HTTPStreamClosedError(
                f"{where} closed the connection {exchange._phase}"
                + ("" if cause is None else f": {cause}")
            )
            raise failed from cause
        if isinstance(error, OSError):
            raise named(error, where) from None
        raise
    marks.secured = time.monotonic()
    return secured


class _TunnelSink:
    """What the link of a CONNECT request tells; settles a future with the stream."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.future: Future[IOStream] = Future()
        self.link: _core.ClientLink | None = None

    def _on_head(self, status: int, reason: str, headers: Any, minor: int) -> None:
        if status < 200:
            return
        if not 200 <= status < 300:
            self._refused(
                HTTPClientError(status, f"{reason or status} (CONNECT to {self.where})")
            )
            return
        assert self.link is not None
        link, self.link = self.link, None
        stream = link.detach()
        if stream._read_buffer_size > 0:
            self._refused(
                HTTPStreamClosedError(
                    f"{self.where}: the proxy sent something behind its answer to "
                    "CONNECT, before anything was asked through the tunnel"
                )
            )
        elif not self.future.done():
            self.future.set_result(stream)
        else:
            stream.close()

    def _on_lost(self, why: Any, begun: bool) -> None:
        text = f"{self.where}: the proxy closed the connection instead of a tunnel"
        self._refused(HTTPStreamClosedError(f"{text}: {why}" if why else text))

    def _refused(self, error: BaseException) -> None:
        if self.link is not None:
            self.link.close()
            self.link = None
        if not self.future.done():
            self.future.set_exception(error)


async def _tunnel(
    exchange: _HTTPConnection, stream: IOStream, target: Target, proxy: Proxy
) -> IOStream:
    """The stream that leads through *proxy* to *target*."""
    shown = f"[{target.host}]" if ":" in target.host else target.host
    authority = f"{shown}:{target.port}"
    headers = httputil.HTTPHeaders({"Host": authority, "User-Agent": USER_AGENT})
    if proxy.authorization is not None:
        headers["Proxy-Authorization"] = proxy.authorization
    head = _core.ClientLink.request_head("CONNECT", authority, headers)
    sink = _TunnelSink(exchange._where)
    sink.link = _core.ClientLink(stream, exchange.max_header_size)
    if not sink.link.start(sink, head, None, _CONNECT, -1):
        sink._on_lost(None, False)  # it was closed by then
    # Sink and link hold each other; this frame is what holds both.
    return await sink.future
