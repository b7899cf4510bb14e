"""The response of a handler: status, headers, body, and how it leaves.

``write`` collects; ``flush`` hands head and collected body to the connection in one
call; ``finish`` adds what only the end of a response can know (ETag, length), logs
the request and lets the handler go.

C carries what every response goes through (``_core.RequestHandlerBase``: ``clear``,
``set_status``, ``set_header``, ``add_header``, ``clear_header``, ``write``, ``finish``
and the ETag methods). Here are redirects, flushes before the end, and what C calls by
name where a subclass has a hook of its own.
"""

from __future__ import annotations

import datetime
import numbers
import re
from collections.abc import Callable
from typing import ClassVar

from pyfastloop import escape, httputil, iostream
from pyfastloop.concurrent import Future, future_add_done_callback
from pyfastloop.web.base import HandlerState, connection_of
from pyfastloop.web.cookies import CookiesMixin

__all__ = ["ResponseMixin"]

# Headers that describe a body, and so say nothing in an answer without one.
_REPRESENTATION_HEADERS = ("Content-Encoding", "Content-Language", "Content-Type")


class ResponseMixin(CookiesMixin, HandlerState):
    """The part of ``RequestHandler`` that makes the response."""

    # RFC 9110 section 5.5: tab, space, visible characters, and old 8-bit text.
    _VALID_HEADER_CHARS: ClassVar[re.Pattern[str]] = re.compile(
        r"[\t\x20-\x7e\x80-\xff]*\Z"
    )

    def set_default_headers(self) -> None:
        """Override to set headers of every response, error pages included."""

    def redirect(
        self, url: str, permanent: bool = False, status: int | None = None
    ) -> None:
        """Answers with a redirect to ``url``, which may be relative, and finishes.

        The status is 302, 301 where ``permanent``, or ``status`` (300 to 399).
        """
        if self._headers_written:
            raise Exception("Cannot redirect after headers have been written")
        if status is None:
            status = 301 if permanent else 302
        elif not isinstance(status, int) or not 300 <= status <= 399:
            raise AssertionError(f"a redirect's status is 300 to 399, not {status!r}")
        self.set_status(status)
        self.set_header("Location", escape.utf8(url))
        self.finish()

    def flush(
        self,
        include_footers: bool = False,
        callback: Callable[[], object] | None = None,
    ) -> Future[None]:
        """Sends what was written so far, the head first.

        The future is done when it is handed to the operating system: awaiting it
        keeps a fast writer from filling memory. It fails with
        :exc:`~pyfastloop.iostream.StreamClosedError` where the client has gone.
        ``callback`` is the form of Tornado 4: called with nothing when it is done.
        """
        chunk = b"".join(self._write_buffer)
        if self._finished and not chunk:
            # All of it went with finish(): nothing to send is no error.
            future: Future[None] = Future()
            future.set_result(None)
        elif self._headers_written:
            self._write_buffer = []
            future = self._send_chunk(chunk, include_footers)
        else:
            future = self._send_head(chunk, include_footers)
        if callback is not None:
            done = callback
            future_add_done_callback(future, lambda _: done())
        return future

    def _send_head(self, chunk: bytes, finishing: bool) -> Future[None]:
        self._write_cookies()
        for transform in self._transforms or ():
            self._status_code, self._headers, chunk = transform.transform_first_chunk(
                self._status_code, self._headers, chunk, finishing
            )
        if self.request.method == "HEAD":
            chunk = b""
        start_line = httputil.ResponseStartLine("", self._status_code, self._reason)
        connection = connection_of(self.request)
        self._headers_written = True
        self._write_buffer = []
        try:
            future: Future[None] = connection.write_headers(
                start_line, self._headers, chunk
            )
        except ValueError:
            # A head that cannot be written (a status of four digits): nothing was
            # sent, so that there is room for an error page.
            self._headers_written = False
            raise
        return future

    def _send_chunk(self, chunk: bytes, finishing: bool) -> Future[None]:
        for transform in self._transforms or ():
            chunk = transform.transform_chunk(chunk, finishing)
        future: Future[None]
        if self.request.method != "HEAD":
            future = connection_of(self.request).write(chunk)
        else:
            future = Future()
            future.set_result(None)
        return future

    def _complete_head_by_name(self) -> None:
        """The headers that only a whole response can have; C does it itself where the
        hooks below are the originals."""
        if (
            self._status_code == 200
            and self.request.method in ("GET", "HEAD")
            and "Etag" not in self._headers
        ):
            self.set_etag_header()
            if self.check_etag_header():
                self._write_buffer = []
                self.set_status(304)
        if self._should_not_send_content(self._status_code):
            if any(self._write_buffer):
                raise RuntimeError(
                    f"Cannot send body with status code HTTP{self._status_code}"
                )
            self._clear_representation_headers()
        elif "Content-Length" not in self._headers:
            self.set_header("Content-Length", sum(map(len, self._write_buffer)))

    @staticmethod
    def _should_not_send_content(status_code: int) -> bool:
        return status_code in (204, 304) or 100 <= status_code < 200

    def _clear_representation_headers(self) -> None:
        for name in _REPRESENTATION_HEADERS:
            self.clear_header(name)

    def _log(self) -> None:
        """Logs the finished request; a handler may override it to stay quiet."""
        self.application.log_request(self)  # type: ignore[arg-type]

    def _break_cycles(self) -> None:
        """Drops what points back at the handler, so that no collector is needed."""
        self.ui = None

    def detach(self) -> iostream.IOStream:
        """Takes the connection's stream over; no HTTP happens on it any more.

        For protocols that begin with an HTTP/1.1 handshake.
        """
        self._finished = True
        stream: iostream.IOStream = connection_of(self.request).detach()
        return stream

    def on_finish(self) -> None:
        """Called after the response was handed on; override for cleaning up, logging
        and the like. It cannot answer anything any more."""


def _convert_odd_value(value: object) -> str:
    """A header's value that is neither text nor bytes nor int, for C."""
    if isinstance(value, numbers.Integral):
        return str(value)
    if isinstance(value, datetime.datetime):
        return httputil.format_timestamp(value)
    raise TypeError(f"Unsupported header value {value!r}")
