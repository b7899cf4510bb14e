"""Pipes of the asyncio face: `_core.ReadPipeTransport` and `_core.WritePipeTransport`
move the bytes, this module looks at what the caller's file is."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from typing import Any

__all__ = ["Pipes"]


def _kind_of(pipe: Any) -> int:
    """The file's mode; ValueError for what epoll cannot watch."""
    mode = os.fstat(pipe.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
        raise ValueError(
            "Pipe transport is only for pipes, sockets and character devices, "
            f"got {pipe!r}"
        )
    return mode


async def _begun(transport: Any) -> None:
    """connection_made() stands before us in the queue."""
    try:
        await asyncio.sleep(0)
    except BaseException:
        transport.close()
        raise


class Pipes:
    """What `Loop` has of pipes."""

    async def connect_read_pipe(  # type: ignore[no-untyped-def]
        self: Any, protocol_factory: Callable[[], asyncio.BaseProtocol], pipe: Any
    ):
        """Read from a file object: a pipe's end, a socket, a terminal."""
        protocol = protocol_factory()
        _kind_of(pipe)
        os.set_blocking(pipe.fileno(), False)
        transport = self._read_transport(pipe, protocol)
        await _begun(transport)
        return transport, protocol

    async def connect_write_pipe(  # type: ignore[no-untyped-def]
        self: Any, protocol_factory: Callable[[], asyncio.BaseProtocol], pipe: Any
    ):
        """Write to a file object: a pipe's end, a socket, a terminal."""
        protocol = protocol_factory()
        mode = _kind_of(pipe)
        os.set_blocking(pipe.fileno(), False)
        fifo = stat.S_ISFIFO(mode)
        transport = self._write_transport(
            pipe, protocol, fifo, fifo or stat.S_ISSOCK(mode)
        )
        await _begun(transport)
        return transport, protocol
