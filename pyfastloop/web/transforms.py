"""Output transforms: what stands between a handler's bytes and the connection.

A transform sees the head with the first piece of body, then each further piece.
``Application(compress_response=True)`` puts :class:`GZipContentEncoding` in.
"""

from __future__ import annotations

from typing import ClassVar

from pyfastloop import httputil
from pyfastloop._codings import Encoder, available, choose, encoder

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
    """Compresses text for clients that accept it (RFC 9110 section 8.4).

    By gzip always; by brotli and zstd, too, where the extras of those names are
    installed and the client likes them as well as gzip. Pieces that are flushed are
    compressed up to their last byte, so that a client can read a stream as it comes. A
    strong ETag becomes a weak one: the bytes are others (RFC 9110 section 8.8.1).
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
        accept = request.headers.get("Accept-Encoding", "")
        self._coding = choose(accept, available()) if accept else None
        self._encoder: Encoder | None = None

    def _compressible_type(self, ctype: str) -> bool:
        return ctype.startswith("text/") or ctype in self.CONTENT_TYPES

    def transform_first_chunk(
        self,
        status_code: int,
        headers: httputil.HTTPHeaders,
        chunk: bytes,
        finishing: bool,
    ) -> tuple[int, httputil.HTTPHeaders, bytes]:
        _add_vary(headers)
        # A part of a file (206) must stay the bytes its Content-Range counts.
        if (
            self._coding is not None
            and status_code != 206
            and self._worth_it(headers, chunk, finishing)
        ):
            headers["Content-Encoding"] = self._coding
            etag = headers.get("Etag", "")
            if etag.startswith('"'):
                headers["Etag"] = "W/" + etag
            self._encoder = encoder(self._coding, self.GZIP_LEVEL)
            chunk = self.transform_chunk(chunk, finishing)
            if "Content-Length" in headers:
                if finishing:
                    headers["Content-Length"] = str(len(chunk))
                else:
                    # How long it will be is known only at the end.
                    del headers["Content-Length"]
        return status_code, headers, chunk

    def _leaves(self, status_code: int, headers: httputil.HTTPHeaders) -> bool:
        """Whether a body that is flushed would leave as it is."""
        return (
            self._coding is None
            or status_code == 206
            or not self._worth_it(headers, b"", False)
        )

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
        if self._encoder is None:
            return chunk
        return self._encoder.encode(chunk, finishing)


def _add_vary(headers: httputil.HTTPHeaders) -> None:
    vary = headers.get("Vary")
    named = {name.strip().lower() for name in (vary or "").split(",")}
    if "accept-encoding" not in named and "*" not in named:
        headers["Vary"] = f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"
