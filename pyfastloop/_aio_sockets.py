"""loop.sock_*: sockets without transports."""

from __future__ import annotations

import socket
from typing import Any

__all__ = ["Sockets"]


class Sockets:
    """What `Loop` has of sockets without transports."""

    async def sock_connect(self: Any, sock: Any, address: Any) -> None:
        """Connect a non-blocking socket; names are looked up first."""
        try:
            sock.connect(address)
            return
        except (BlockingIOError, InterruptedError):
            pass
        fut = self.create_future()
        self.add_writer(sock, lambda: fut.done() or fut.set_result(None))
        try:
            await fut
        finally:
            self.remove_writer(sock)
        err = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if err:
            raise OSError(err, f"Connect call failed {address}")
