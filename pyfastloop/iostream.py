"""Streams: reading and writing sockets and pipes without blocking.

The classes are types of the C core. A stream embeds a channel (one descriptor, what was
read and not yet taken, what was written and not yet sent) and at most one pending read.
Only what Python must decide is here: the exceptions, and the start of TLS.

How often bytes are copied: a ``read_bytes`` of 32 KiB or more, a ``read_into`` and the
large part of a ``read_until_close`` are received by the kernel into their final memory;
smaller reads are received into the loop's buffer and copied once into the result. A
``write`` is sent from the caller's own bytes; what the kernel does not take at once is
queued by reference where it is 4 KiB or more, and copied once where it is less.

Differences from Tornado: a cancelled read leaves the stream usable, and what had
arrived for it is given to the next read. A stream does not try to receive inside a
``read_*`` call; it answers from what has arrived, or waits for the loop.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

from pyfastloop import _core
from pyfastloop._core import BaseIOStream, IOStream, PipeIOStream, SSLIOStream
from pyfastloop.concurrent import Future
from pyfastloop.netutil import ssl_options_to_context, ssl_wrap_socket

__all__ = [
    "BaseIOStream",
    "IOStream",
    "PipeIOStream",
    "SSLIOStream",
    "StreamBufferFullError",
    "StreamClosedError",
    "UnsatisfiableReadError",
]


class StreamClosedError(OSError):
    """A read or write met a closed stream.

    ``real_error`` is the exception it was closed with, or ``None``. The stream's close
    callback may run later than what awaits this.
    """

    def __init__(self, real_error: BaseException | None = None) -> None:
        super().__init__("Stream is closed")
        self.real_error = real_error

    def __str__(self) -> str:
        if self.real_error is None:
            return "Stream is closed"
        return f"Stream is closed: {self.real_error!r}"


class UnsatisfiableReadError(Exception):
    """``read_until`` or ``read_until_regex`` passed ``max_bytes`` without a match."""


class StreamBufferFullError(Exception):
    """``max_buffer_size`` or ``max_write_buffer_size`` would be exceeded."""


def _tls_context(
    server_side: bool, ssl_options: dict[str, Any] | ssl.SSLContext | None
) -> ssl.SSLContext:
    if ssl_options is not None:
        return ssl_options_to_context(ssl_options, server_side=server_side)
    from pyfastloop import netutil

    name = "_server_ssl_defaults" if server_side else "_client_ssl_defaults"
    context: ssl.SSLContext = getattr(netutil, name)
    return context


def _tls_wrap(
    sock: socket.socket,
    ssl_options: dict[str, Any] | ssl.SSLContext | None,
    server_hostname: str | None,
) -> ssl.SSLSocket:
    """TLS over a socket that ``SSLIOStream.connect`` has just connected."""
    return ssl_wrap_socket(
        sock,
        _tls_context(False, ssl_options),
        server_hostname=server_hostname,
        server_side=False,
        do_handshake_on_connect=False,
    )


def _start_tls(
    stream: IOStream,
    server_side: bool,
    ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Future[SSLIOStream]:
    """What ``IOStream.start_tls`` does."""
    if stream.reading() or stream.writing() or stream._read_buffer_size > 0:
        raise ValueError(
            "the stream is not idle and cannot start TLS: a read or write is pending, "
            "or bytes were received that nobody has read"
        )
    context = _tls_context(server_side, ssl_options)
    sock = stream._release_socket()
    try:
        tls_sock = ssl_wrap_socket(
            sock,
            context,
            server_hostname=server_hostname,
            server_side=server_side,
            do_handshake_on_connect=False,
        )
    except BaseException:
        sock.close()
        raise
    tls = SSLIOStream(
        tls_sock,
        ssl_options=context,
        max_buffer_size=stream.max_buffer_size,
        read_chunk_size=stream.read_chunk_size,
        max_write_buffer_size=stream.max_write_buffer_size,
    )
    result: Future[SSLIOStream] = Future()

    def shaken(done: Future[SSLIOStream]) -> None:
        error = done.exception()
        if result.cancelled():
            return  # the error, if any, is that the stream was closed
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(tls)

    def close_if_cancelled(done: Future[SSLIOStream]) -> None:
        # Nobody has the new stream, and the old one has given its socket away.
        if done.cancelled():
            tls.close()

    tls.wait_for_handshake().add_done_callback(shaken)
    result.add_done_callback(close_if_cancelled)
    return result


def _io_loop_of(asyncio_loop: Any) -> Any:
    """The `.IOLoop` over an asyncio loop; ``stream.io_loop``."""
    from pyfastloop import ioloop

    found = getattr(asyncio_loop, ioloop._ATTRIBUTE, None)
    if found is None:
        from pyfastloop.platform.asyncio import AsyncIOMainLoop

        found = AsyncIOMainLoop(asyncio_loop=asyncio_loop, make_current=False)
    return found


_core.set_hooks(
    StreamBufferFullError=StreamBufferFullError,
    UnsatisfiableReadError=UnsatisfiableReadError,
    SSLError=ssl.SSLError,
    SSLWantReadError=ssl.SSLWantReadError,
    SSLWantWriteError=ssl.SSLWantWriteError,
    SSLZeroReturnError=ssl.SSLZeroReturnError,
    SSLEOFError=ssl.SSLEOFError,
    tls_wrap=_tls_wrap,
    start_tls=_start_tls,
    io_loop_of=_io_loop_of,
)


def doctests() -> Any:
    """A `unittest.TestSuite` of this module's docstrings, as Tornado has it."""
    import doctest

    with contextlib.suppress(ValueError):
        return doctest.DocTestSuite()
    import unittest

    return unittest.TestSuite()
