"""TLS of the asyncio face: asyncio's own TLS protocol over a C transport.

`asyncio.sslproto` of the running CPython keeps the state machine (handshake, time-outs,
close_notify, flow control) on `ssl.MemoryBIO`, so a user's SSLContext and OpenSSL's
fixes stay the interpreter's, and TLS inside TLS works.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import ssl as ssl_module
from collections.abc import Callable
from typing import Any

__all__ = ["Tls", "check_tls_arguments"]

# typeshed's stub of it is behind CPython.
_SSLProtocol: Any = asyncio.sslproto.SSLProtocol


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
            tls = _SSLProtocol(
                self,
                protocol,
                _context_of(ssl, server_side),
                waiter,
                server_side,
                server_hostname,
                ssl_handshake_timeout=handshake_timeout,
                ssl_shutdown_timeout=shutdown_timeout,
            )
        except BaseException:
            sock.close()
            raise
        self._socket_transport(sock, tls)
        transport = tls._get_app_transport()
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport

    def _tls_factory(
        self: Any,
        factory: Callable[[], asyncio.BaseProtocol],
        ssl: Any,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> Callable[[], asyncio.BaseProtocol]:
        """Makes the protocols of a TLS server's connections."""
        context = _context_of(ssl, True)

        def make() -> asyncio.BaseProtocol:
            waiter = self.create_future()
            waiter.add_done_callback(self._tls_accepted)
            tls: asyncio.BaseProtocol = _SSLProtocol(
                self,
                factory(),
                context,
                waiter,
                True,
                None,
                ssl_handshake_timeout=handshake_timeout,
                ssl_shutdown_timeout=shutdown_timeout,
            )
            return tls

        return make

    def _tls_accepted(self: Any, waiter: asyncio.Future[None]) -> None:
        """A server's handshake has ended; failures are the peer's and stay quiet."""
        if waiter.cancelled():
            return
        exc = waiter.exception()
        if exc is not None and self.get_debug():
            self.call_exception_handler(
                {
                    "message": "Error on transport creation for incoming connection",
                    "exception": exc,
                }
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
        transport below and is raised.
        """
        if not isinstance(sslcontext, ssl_module.SSLContext):
            raise TypeError(f"sslcontext must be an SSLContext, got {sslcontext!r}")
        if not (
            isinstance(transport, asyncio.Transport)
            and hasattr(transport, "_force_close")
        ):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        tls = _SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=False,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
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
