"""TLS of the asyncio face: what is made once a connection; the bytes move in C.

A program's own `ssl.SSLContext` makes an `ssl.SSLObject` between two `ssl.MemoryBIO`s;
`_core.Transport` drives it (handshake, time-outs, close_notify, flow control) with the
behaviour that asyncio documents. Two things differ from asyncio's own loops:
`start_tls` gives back the transport it was given, which speaks TLS from then on, not
another one above it; and what several `write` calls of one turn hand in leaves in one
send.

TLS inside TLS is rare: there `asyncio.sslproto` of the running CPython stands above the
C transport.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import ssl as ssl_module
from collections.abc import Callable
from typing import Any

from pyfastloop import _core

__all__ = ["Tls", "check_tls_arguments"]

# typeshed's stub of it is behind CPython.
_SSLProtocol: Any = asyncio.sslproto.SSLProtocol

# asyncio's defaults, in seconds.
_HANDSHAKE_TIMEOUT = 60.0
_SHUTDOWN_TIMEOUT = 30.0

_core.set_hooks(
    SSLError=ssl_module.SSLError,
    SSLWantReadError=ssl_module.SSLWantReadError,
    SSLWantWriteError=ssl_module.SSLWantWriteError,
    SSLZeroReturnError=ssl_module.SSLZeroReturnError,
)

_Parts = tuple[
    ssl_module.SSLObject,
    ssl_module.SSLContext,
    ssl_module.MemoryBIO,
    ssl_module.MemoryBIO,
    float,
    float,
]


def check_tls_arguments(
    ssl: Any, handshake_timeout: float | None, shutdown_timeout: float | None
) -> None:
    """ValueError for a time-out without TLS."""
    if ssl:
        return
    if handshake_timeout is not None:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if shutdown_timeout is not None:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


def _context_of(ssl: Any, server_side: bool) -> ssl_module.SSLContext:
    """The context that the argument `ssl` means; True: one with safe defaults."""
    if isinstance(ssl, ssl_module.SSLContext):
        return ssl
    if server_side or ssl is not True:
        raise TypeError(
            "ssl must be an SSLContext"
            + (" for a server" if server_side else " or True")
            + f", got {ssl!r}"
        )
    return ssl_module.create_default_context()


def _seconds(value: float | None, default: float, name: str) -> float:
    if value is None:
        return default
    if value <= 0:
        raise ValueError(f"{name} should be a positive number, got {value}")
    return value


def _maker(
    context: ssl_module.SSLContext,
    server_side: bool,
    server_hostname: str | None,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> Callable[[], _Parts]:
    """Checks the arguments once; each call makes what one connection needs."""
    handshake = _seconds(handshake_timeout, _HANDSHAKE_TIMEOUT, "ssl_handshake_timeout")
    shutdown = _seconds(shutdown_timeout, _SHUTDOWN_TIMEOUT, "ssl_shutdown_timeout")
    name = None if server_side else server_hostname or None

    def make() -> _Parts:
        incoming, outgoing = ssl_module.MemoryBIO(), ssl_module.MemoryBIO()
        tls = context.wrap_bio(
            incoming, outgoing, server_side=server_side, server_hostname=name
        )
        return tls, context, incoming, outgoing, handshake, shutdown

    return make


def _received_early(protocol: Any) -> bytes:
    """What a stream's reader holds of bytes that the peer sent for TLS already.

    A client may begin its handshake before the server's `start_tls` runs; what came
    until then is no plain text.
    """
    if not isinstance(protocol, asyncio.StreamReaderProtocol):
        return b""
    reader = getattr(protocol, "_stream_reader", None)
    buffer = getattr(reader, "_buffer", None)
    if not buffer:
        return b""
    early = bytes(buffer)
    buffer.clear()
    return early


class Tls:
    """What `Loop` has of TLS."""

    async def _tls_client(
        self: Any,
        sock: Any,
        protocol: asyncio.BaseProtocol,
        ssl: Any,
        server_side: bool,
        server_hostname: str | None,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> Any:
        """A TLS transport over a connected socket, after its handshake."""
        waiter = self.create_future()
        try:
            make = _maker(
                _context_of(ssl, server_side),
                server_side,
                server_hostname,
                handshake_timeout,
                shutdown_timeout,
            )
            transport = self._tls_transport(sock, protocol, make(), waiter)
        except BaseException:
            sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport

    def _tls_maker(
        self: Any,
        ssl: Any,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> Callable[[], _Parts]:
        """Makes the TLS of a server's connections."""
        return _maker(
            _context_of(ssl, True), True, None, handshake_timeout, shutdown_timeout
        )

    async def start_tls(
        self: Any,
        transport: Any,
        protocol: Any,
        sslcontext: ssl_module.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Go on in TLS over an open transport: the transport to use from now on.

        `protocol` gets no second connection_made. The handshake's failure closes the
        transport and is raised.
        """
        if not isinstance(sslcontext, ssl_module.SSLContext):
            raise TypeError(f"sslcontext must be an SSLContext, got {sslcontext!r}")
        if not (
            isinstance(transport, asyncio.Transport)
            and hasattr(transport, "_force_close")
        ):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        if (
            not isinstance(transport, _core.Transport)
            or transport.get_extra_info("sslcontext") is not None
        ):
            above = await self._tls_above(
                transport,
                protocol,
                sslcontext,
                server_side,
                server_hostname,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
            )
            return above
        make = _maker(
            sslcontext,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        waiter = self.create_future()
        parts = make()
        early = _received_early(protocol) if server_side else b""
        try:
            transport._start_tls(protocol, parts, waiter, early)
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport

    async def _tls_above(
        self: Any,
        transport: Any,
        protocol: Any,
        sslcontext: ssl_module.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> Any:
        """asyncio's TLS over any transport: TLS inside TLS."""
        waiter = self.create_future()
        tls = _SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=False,
            ssl_handshake_timeout=handshake_timeout,
            ssl_shutdown_timeout=shutdown_timeout,
        )
        # Nothing may be read before the TLS protocol is there to take it.
        transport.pause_reading()
        transport.set_protocol(tls)
        begun = self.call_soon(tls.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            begun.cancel()
            resumed.cancel()
            raise
        return tls._get_app_transport()
