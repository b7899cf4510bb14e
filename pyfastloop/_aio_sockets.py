"""Sockets without transports: what of ``loop.sock_*`` happens once a connection.

`_core.SockMethods` has the rest in C: receiving, sending and accepting try at once and
wait for one event where that would block. Connecting looks names up first.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import ssl as ssl_module
from typing import Any

from pyfastloop import _core
from pyfastloop._aio_sendfile import check_file, descriptor_of, left_of

__all__ = ["Sockets"]

_SLICE = 1 << 30  # what one sendfile(2) is asked for
_PIECE = 256 * 1024


def _check_socket(loop: Any, sock: Any) -> None:
    if isinstance(sock, ssl_module.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket: give a plain socket")
    if loop.get_debug() and sock.gettimeout() != 0:
        raise ValueError("the socket must be non-blocking: setblocking(False)")


class Sockets(_core.SockMethods):
    """What `Loop` has of sockets without transports."""

    async def sock_connect(self: Any, sock: socket.socket, address: Any) -> None:
        """Connect a non-blocking socket; a host name is looked up first."""
        _check_socket(self, sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            infos = await self._resolve(
                address, family=sock.family, type=sock.type, proto=sock.proto
            )
            address = infos[0][4]
        try:
            sock.connect(address)
            return
        except (BlockingIOError, InterruptedError):
            pass
        await self._writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error != 0:
            raise OSError(error, f"Connect call failed {address}")

    async def sock_sendfile(
        self: Any,
        sock: socket.socket,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send a file (or `count` bytes from `offset`) through a stream socket.

        Gives how many bytes went; the file's position stands behind them.
        SendfileNotAvailableError where the kernel cannot and `fallback` is false.
        """
        _check_socket(self, sock)
        if not sock.type & socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        check_file(file, offset, count)
        fd = descriptor_of(file)
        total = 0
        try:
            if fd is not None:
                left = left_of(fd, offset, count)
                while total < left:
                    total += await self._sendfile_some(
                        sock, fd, offset + total, left - total
                    )
                return total
            if not fallback:
                raise asyncio.SendfileNotAvailableError(
                    f"sendfile() cannot read {file!r} and fallback is off: a regular "
                    "file with a descriptor was expected"
                )
            if offset:
                file.seek(offset)
            while count is None or total < count:
                size = _PIECE if count is None else min(_PIECE, count - total)
                data = await self.run_in_executor(None, file.read, size)
                if not data:
                    break
                await self.sock_sendall(sock, data)
                total += len(data)
            return total
        finally:
            if total > 0:
                with contextlib.suppress(AttributeError, io.UnsupportedOperation):
                    file.seek(offset + total)

    async def _sendfile_some(
        self: Any, sock: socket.socket, fd: int, offset: int, most: int
    ) -> int:
        while True:
            try:
                sent = os.sendfile(sock.fileno(), fd, offset, min(most, _SLICE))
            except (BlockingIOError, InterruptedError):
                await self._writable(sock)
                continue
            if sent == 0:
                raise OSError("the file became shorter while it was being sent")
            return sent
