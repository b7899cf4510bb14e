"""Output transforms: what stands between a handler's bytes and the connection.

A transform sees the head with the first piece of body, then each further piece.
``Application(compress_response=True)`` puts :class:`GZipContentEncoding` in.
"""

from __future__ import annotations

import gzip
from io import BytesIO
from typing import ClassVar

from pyfastloop import httputil

__all__ = ["GZipContentEncoding", "OutputTransform"]


class OutputTransform:
    """Changes the responses of a request; one object for each request.

    Subclasses are given to ``Application`` as ``transforms`` or by
    ``add_transform``.
    """

    def __init__(self, request: httputil.HTTPServerRequest) -> None:
        """Subclasses look at ``request`` here; there is nothing to keep by default."""

    def transform_first_chunk(
        self,
        status_code: int,
        headers: httputil.HTTPHeaders,
        chunk: bytes,
        finishing: bool,
    ) -> tuple[int, httputil.HTTPHeaders, bytes]:
        """The head and first piece of body as they shall be sent. ``finishing`` says
        that no piece follows."""
        return status_code, headers, chunk

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        """A further piece of body as it shall be sent."""
        return chunk


class GZipContentEncoding(OutputTransform):
    """Compresses text by gzip for clients that accept it (RFC 9110 section 8.4).

    Pieces that are flushed are compressed up to their last byte, so that a client
    can read a stream as it comes.
    """

    #: Types that gain by compression, beside ``text/*``.
    CONTENT_TYPES: ClassVar[set[str]] = {
        "application/javascript",
        "application/x-javascript",
        "application/xml",
        "application/atom+xml",
        "application/json",
        "application/xhtml+xml",
        "image/svg+xml",
    }
    #: 1 is fastest, 9 smallest.
    GZIP_LEVEL = 6
    #: A whole response below this many bytes is not worth it.
    MIN_LENGTH = 1024

    def __init__(self, request: httputil.HTTPServerRequest) -> None:
        self._gzipping = _accepts_gzip(request.headers.get("Accept-Encoding", ""))
        self._gzip_value = BytesIO()
        self._gzip_file: gzip.GzipFile | None = None

    def _compressible_type(self, ctype: str) -> bool:
        return ctype.startswith("text/") or ctype in self.CONTENT_TYPES

    def transform_first_chunk(
        self,
        status_code: int,
        headers: httputil.HTTPHeaders,
        chunk: bytes,
        finishing: bool,
    ) -> tuple[int, httputil.HTTPHeaders, bytes]:
        vary = headers.get("Vary")
        headers["Vary"] = f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"
        # A part of a file (206) must stay the bytes its Content-Range counts.
        self._gzipping = (
            self._gzipping
            and status_code != 206
            and self._worth_it(headers, chunk, finishing)
        )
        if self._gzipping:
            headers["Content-Encoding"] = "gzip"
            self._gzip_file = gzip.GzipFile(
                mode="wb", fileobj=self._gzip_value, compresslevel=self.GZIP_LEVEL
            )
            chunk = self.transform_chunk(chunk, finishing)
            if "Content-Length" in headers:
                if finishing:
                    headers["Content-Length"] = str(len(chunk))
                else:
                    # How long it will be is known only at the end.
                    del headers["Content-Length"]
        return status_code, headers, chunk

    def _worth_it(
        self, headers: httputil.HTTPHeaders, chunk: bytes, finishing: bool
    ) -> bool:
        ctype = headers.get("Content-Type", "").partition(";")[0].strip()
        return (
            self._compressible_type(ctype)
            and "Content-Encoding" not in headers
            and (not finishing or len(chunk) >= self.MIN_LENGTH)
        )

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        if not self._gzipping or self._gzip_file is None:
            return chunk
        self._gzip_file.write(chunk)
        if finishing:
            self._gzip_file.close()
        else:
            self._gzip_file.flush()
        packed = self._gzip_value.getvalue()
        self._gzip_value.seek(0)
        self._gzip_value.truncate()
        return packed


def _accepts_gzip(accept: str) -> bool:
    """Whether an ``Accept-Encoding`` header allows gzip: ``gzip;q=0`` refuses it."""
    for item in accept.split(","):
        coding, _, parameter = item.partition(";")
        if coding.strip().lower() not in ("gzip", "x-gzip"):
            continue
        name, _, weight = parameter.strip().partition("=")
        if name.strip().lower() != "q":
            return True
        try:
            return float(weight) > 0
        except ValueError:
            return False
    return False
