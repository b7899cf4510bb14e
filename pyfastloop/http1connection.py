"""HTTP/1 on streams: what servers and clients are built on.

All of it is C: heads are parsed where they were received, pipelined requests are
answered in one send, and every bound of :class:`HTTP1ConnectionParameters` holds
without a timer of its own. What stands here in Python is the decoding of compressed
bodies and the small checks that Tornado's module offers by name.

Differences from ``tornado.http1connection``: time-outs beyond the two of Tornado
(between requests, for silence, for a stalled body or answer); errors are answered with
the status that RFC 9110 names (408, 413, 414, 431, 501, 505 beside 400); bare LF as a
line end and chunked bodies in HTTP/1.0 are refused; a connection that kept its request
after the answer is cut off from the stream.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable

from pyfastloop import httputil
from pyfastloop._core import (
    HTTP1Connection,
    HTTP1ConnectionParameters,
    HTTP1ServerConnection,
)
from pyfastloop.util import GzipDecompressor

__all__ = [
    "HTTP1Connection",
    "HTTP1ConnectionParameters",
    "HTTP1ServerConnection",
    "is_transfer_encoding_chunked",
    "parse_hex_int",
    "parse_int",
]

CR_OR_LF_RE = re.compile(b"\r|\n")
DIGITS = re.compile(r"[0-9]+")
HEXDIGITS = re.compile(r"[0-9a-fA-F]+")

httputil.HTTPConnection.register(HTTP1Connection)


def parse_int(s: str) -> int:
    """A non-negative number of ASCII digits alone; ValueError for anything else."""
    if DIGITS.fullmatch(s) is None:
        raise ValueError(f"not an integer: {s!r}")
    return int(s)


def parse_hex_int(s: str) -> int:
    """The same in base 16, without a prefix."""
    if HEXDIGITS.fullmatch(s) is None:
        raise ValueError(f"not a hexadecimal integer: {s!r}")
    return int(s, 16)


def is_transfer_encoding_chunked(headers: httputil.HTTPHeaders) -> bool:
    """Whether a message's body is chunked.

    Raises :class:`httputil.HTTPInputError` for another coding, and where
    Content-Length stands beside it (RFC 9112 section 6.1).
    """
    coding = headers.get("Transfer-Encoding")
    if coding is None:
        return False
    if "Content-Length" in headers:
        raise httputil.HTTPInputError(
            "Message with both Transfer-Encoding and Content-Length"
        )
    if coding.lower() != "chunked":
        raise httputil.HTTPInputError(f"Unsupported Transfer-Encoding {coding}")
    return True


# Bytes inflated in one step, and bytes that any ratio may give.
_STEP = 64 * 1024
_FREE_OF_RATIO = 1024 * 1024


def _collects_body(connection: httputil.HTTPConnection | None) -> None:
    """The body of its request is for nobody before it is whole: it has to come at the
    least rate (``min_body_rate``)."""
    if isinstance(connection, HTTP1Connection):
        connection._collects = True


class _BodyTooLargeError(httputil.HTTPInputError):
    _status = 413


class _GzipMessageDelegate(httputil.HTTPMessageDelegate):
    """Hands a gzip body on inflated, in pieces of ``chunk_size``.

    The inflated body is bounded by ``max_body_size`` as the body itself is. The headers
    that the delegate sees have X-Consumed-Content-Encoding in the place of
    Content-Encoding. Three bounds hold: the result's size, its ratio to what came
    (``max_inflate_ratio``, once it is larger than a megabyte), and the number of
    members (``max_gzip_members``).
    """

    def __init__(
        self,
        delegate: httputil.HTTPMessageDelegate,
        params: HTTP1ConnectionParameters,
        max_body_size: int,
    ) -> None:
        self._delegate = delegate
        self._params = params
        self._chunk_size = min(params.chunk_size, _STEP)
        self._most = max_body_size
        self._came = 0
        self._made = 0
        self._inflate: GzipDecompressor | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        if headers.get("Content-Encoding", "").lower() == "gzip":
            self._inflate = GzipDecompressor()
            if self._params.max_gzip_members is not None:
                self._inflate.MAX_MEMBERS = self._params.max_gzip_members
            headers.add("X-Consumed-Content-Encoding", headers["Content-Encoding"])
            del headers["Content-Encoding"]
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._inflate is None:
            return self._delegate.data_received(chunk)
        return self._hand_on(self._inflate, chunk)

    async def _hand_on(self, inflate: GzipDecompressor, chunk: bytes) -> None:
        rest = chunk
        self._came += len(chunk)
        while rest:
            try:
                data = inflate.decompress(rest, self._chunk_size)
            except zlib.error as error:
                raise httputil.HTTPInputError(f"bad gzip body: {error}") from error
            rest = inflate.unconsumed_tail
            if not data:
                if rest:
                    raise httputil.HTTPInputError("gzip body does not inflate")
                return
            self._made += len(data)
            self._check_bounds()
            result = self._delegate.data_received(data)
            if result is not None:
                await result
            elif rest:
                await asyncio.sleep(0)  # the others' turn: inflating takes its time

    def _check_bounds(self) -> None:
        if self._made > self._most:
            raise _BodyTooLargeError("decompressed body is larger than max_body_size")
        ratio = self._params.max_inflate_ratio
        if (
            ratio is not None
            and self._made > _FREE_OF_RATIO
            and self._made > self._came * ratio
        ):
            raise _BodyTooLargeError(
                f"decompressed body is more than {ratio} times (max_inflate_ratio) "
                "what came"
            )

    def finish(self) -> None:
        try:
            cut_off = self._inflate is not None and bool(self._inflate.flush())
        except zlib.error:  # "inside of a member"
            cut_off = True
        if cut_off:
            self._delegate.on_connection_close()  # its end: the body never has one
            raise httputil.HTTPInputError("gzip body is truncated")
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
