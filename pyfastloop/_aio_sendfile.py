"""Files to transports and sockets: by the kernel where it can, else read and written.

A plain socket's transport queues the file in C (sendfile(2), without its bytes passing
through Python); TLS and files without a descriptor are read in pieces by the executor.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
from typing import Any

from pyfastloop import _core

__all__ = ["SendFile", "check_file", "descriptor_of", "left_of"]

PIECE = 256 * 1024


def check_file(file: Any, offset: Any, count: Any) -> None:
    """The argument checks of every sendfile: TypeError, ValueError."""
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def descriptor_of(file: Any) -> int | None:
    """The descriptor of a file that sendfile(2) can read, else None."""
    try:
        fd: int = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return None
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return None
    return fd if regular else None


def left_of(fd: int, offset: int, count: int | None) -> int:
    """How many bytes there are to send."""
    left = max(os.fstat(fd).st_size - offset, 0)
    return left if count is None else min(left, count)


class _Drains(asyncio.Protocol):
    """Stands in for a transport's protocol to learn when its buffer has room."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._protocol = transport.get_protocol()
        self._reads = transport.is_reading()
        self._room: asyncio.Future[None] | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    async def room(self) -> None:
        if self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        if self._room is not None:
            await self._room

    def restore(self) -> None:
        self._transport.set_protocol(self._protocol)
        if self._reads:
            self._transport.resume_reading()
        if self._room is not None:  # it was not told of this pause
            self._room.cancel()
            self._protocol.pause_writing()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_exception(ConnectionError("Connection closed by peer"))
            self._room.exception()  # whoever waits raises it; perhaps nobody does
        self._protocol.connection_lost(exc)

    def eof_received(self) -> bool | None:
        answer: bool | None = self._protocol.eof_received()
        return answer


class SendFile:
    """What `Loop` has of files."""

    async def sendfile(
        self: Any,
        transport: Any,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send a file (or `count` bytes from `offset`) through a transport.

        Gives how many bytes went; the file's position stands behind them, on failure
        too. RuntimeError where the transport is closing; SendfileNotAvailableError
        where it cannot without `fallback`.
        """
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        check_file(file, offset, count)
        fd = descriptor_of(file)
        if (
            fd is not None
            and isinstance(transport, _core.Transport)
            and transport.get_extra_info("sslcontext") is None
        ):
            sent: int = await self._send_descriptor(transport, file, fd, offset, count)
            return sent
        if not isinstance(transport, asyncio.WriteTransport):
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        if not fallback:
            raise asyncio.SendfileNotAvailableError(
                "fallback is disabled and native sendfile is not supported for "
                f"transport {transport!r}"
            )
        sent = await self._send_pieces(transport, file, offset, count)
        return sent

    async def _send_descriptor(
        self: Any,
        transport: _core.Transport,
        file: Any,
        fd: int,
        offset: int,
        count: int | None,
    ) -> int:
        size = left_of(fd, offset, count)
        if size == 0:
            return 0
        sending = transport._send_file(os.dup(fd), offset, size)
        reads = transport.is_reading()
        transport.pause_reading()
        try:
            await sending
            return size
        finally:
            sent = transport._end_file(size)
            if sent:
                file.seek(offset + sent)
            if reads:
                transport.resume_reading()

    async def _send_pieces(
        self: Any, transport: Any, file: Any, offset: int, count: int | None
    ) -> int:
        file.seek(offset)
        total = 0
        drains = _Drains(transport)
        try:
            while count is None or total < count:
                size = PIECE if count is None else min(PIECE, count - total)
                data = await self.run_in_executor(None, file.read, size)
                if not data:
                    break
                await drains.room()
                transport.write(data)
                total += len(data)
            return total
        finally:
            with contextlib.suppress(AttributeError, io.UnsupportedOperation):
                if total > 0:
                    file.seek(offset + total)
            drains.restore()
