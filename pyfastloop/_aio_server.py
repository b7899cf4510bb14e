"""asyncio's Server over the C loop.

`_core.Acceptor` accepts, and makes protocol and transport of each connection, in C;
this module opens, closes and counts. `wait_closed` waits for connections as the
asyncio of the running CPython does: from 3.12 on.
"""

from __future__ import annotations

import asyncio
import asyncio.trsock
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from pyfastloop import _core

__all__ = ["Server"]

_WAITS_FOR_CONNECTIONS = sys.version_info >= (3, 12)


class Server(asyncio.AbstractServer):
    """Listening sockets and their connections; what ``loop.create_server`` gives."""

    def __init__(
        self,
        loop: Any,
        sockets: list[socket.socket],
        factory: Callable[[], asyncio.BaseProtocol],
        backlog: int,
        unlink: tuple[str | bytes, int] | None = None,
        tls: Callable[[], Any] | None = None,
    ) -> None:
        self._loop = loop
        self._sockets: list[socket.socket] | None = sockets
        self._backlog = backlog
        self._acceptor = _core.Acceptor(loop, factory, self._wake_up, tls)
        self._waiters: list[asyncio.Future[None]] | None = []
        self._serving = False
        self._forever: asyncio.Future[None] | None = None
        self._unlink = unlink

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    def get_loop(self) -> Any:
        """The loop it belongs to."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._serving

    @property
    def sockets(self) -> tuple[asyncio.trsock.TransportSocket, ...]:
        """The listening sockets; none once it is closed."""
        if self._sockets is None:
            return ()
        return tuple(asyncio.trsock.TransportSocket(sock) for sock in self._sockets)

    # ---- serving ----

    def _start_serving(self) -> None:
        if self._serving or self._sockets is None:
            return
        self._serving = True
        for sock in self._sockets:
            sock.listen(self._backlog)
            self._acceptor.listen(sock)

    async def start_serving(self) -> None:
        """Begin to accept; again is harmless."""
        self._start_serving()
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        """Accept until this call is cancelled; then the server is closed."""
        if self._forever is not None:
            raise RuntimeError(f"serve_forever() of {self!r} is running already")
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._start_serving()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            try:
                self.close()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._forever = None

    # ---- closing ----

    def close(self) -> None:
        """Accept no more and close the listening sockets; connections stay open."""
        sockets, self._sockets = self._sockets, None
        if sockets is None:
            return
        self._acceptor.stop()
        self._serving = False
        if self._unlink is not None:
            path, inode = self._unlink
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
        for sock in sockets:
            sock.close()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
            self._forever = None
        if self._acceptor.active == 0:
            self._wake_up()

    def close_clients(self) -> None:
        """Close every connection that is open, once what it has queued was sent."""
        for transport in self._acceptor.transports():
            transport.close()

    def abort_clients(self) -> None:
        """Close every connection that is open, now."""
        for transport in self._acceptor.transports():
            transport.abort()

    def _wake_up(self) -> None:
        """The last connection has gone, perhaps of a server that is closed."""
        if self._sockets is not None or self._waiters is None:
            return
        waiters, self._waiters = self._waiters, None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_closed(self) -> None:
        """Wait until it is closed and its connections have ended."""
        if self._waiters is None:
            return
        if not _WAITS_FOR_CONNECTIONS and self._sockets is None:
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter
