"""The response of a handler: status, headers, body, and how it leaves.

``write`` collects; ``flush`` hands head and collected body to the connection in one
call; ``finish`` adds what only the end of a response can know (ETag, length), logs
the request and lets the handler go.
"""

from __future__ import annotations

import datetime
import hashlib
import numbers
import re
import time
from collections.abc import Callable
from typing import Any, ClassVar

from pyfastloop import escape, httputil, iostream
from pyfastloop.concurrent import Future, future_add_done_callback
from pyfastloop.web.base import SERVER_NAME, HandlerState, connection_of
from pyfastloop.web.cookies import CookiesMixin

__all__ = ["ResponseMixin"]

_UNSUPPORTED_CHUNK = "write() only accepts bytes, unicode, and dict objects"
_LIST_CHUNK = (
    _UNSUPPORTED_CHUNK + ". Lists not accepted for security reasons; see "
    "http://www.tornadoweb.org/en/stable/web.html#tornado.web.RequestHandler.write"
)
# RFC 9112 section 4: a reason phrase; angle brackets have no business in one, and
# error pages repeat it.
_REASON = re.compile(r"[\t \x21-\x3b=\x3f-\x7e\x80-\xff]+\Z")
_ETAG_LIST = re.compile(r'\*|(?:W/)?"[^"]*"')
# Headers that describe a body, and so say nothing in an answer without one.
_REPRESENTATION_HEADERS = ("Content-Encoding", "Content-Language", "Content-Type")


class ResponseMixin(CookiesMixin, HandlerState):
    """The part of ``RequestHandler`` that makes the response."""

    # RFC 9110 section 5.5: tab, space, visible characters, and old 8-bit text.
    _VALID_HEADER_CHARS: ClassVar[re.Pattern[str]] = re.compile(
        r"[\t\x20-\x7e\x80-\xff]*\Z"
    )

    def clear(self) -> None:
        """Forgets all headers, the status and what was written, as at the start."""
        self._headers = httputil.HTTPHeaders(
            {
                "Server": SERVER_NAME,
                "Content-Type": "text/html; charset=UTF-8",
                "Date": httputil.format_timestamp(time.time()),
            }
        )
        self.set_default_headers()
        self._write_buffer = []
        self._status_code = 200
        self._reason = httputil.responses[200]

    def set_default_headers(self) -> None:
        """Override to set headers of every response, error pages included."""

    def set_status(self, status_code: int, reason: str | None = None) -> None:
        """Sets the status; ``reason`` is the phrase beside it, found by the status
        where it is not given. A phrase that could not be sent becomes "Unknown"."""
        self._status_code = status_code
        if reason is None:
            self._reason = httputil.responses.get(status_code, "Unknown")
            return
        reason = escape.native_str(reason)
        self._reason = reason if _REASON.match(reason) else "Unknown"

    def get_status(self) -> int:
        """The status of the response."""
        return self._status_code

    def set_header(self, name: str, value: Any) -> None:
        """Sets a header, replacing what it had.

        ``value`` is text, bytes, an integer or a datetime (written as HTTP does).
        Raises ValueError for what would break out of the header.
        """
        self._headers[name] = self._convert_header_value(value)

    def add_header(self, name: str, value: Any) -> None:
        """Adds a header beside others of its name; see :meth:`set_header`."""
        self._headers.add(name, self._convert_header_value(value))

    def clear_header(self, name: str) -> None:
        """Undoes :meth:`set_header` and :meth:`add_header`; nothing where unset."""
        if name in self._headers:
            del self._headers[name]

    def _convert_header_value(self, value: Any) -> str:
        if isinstance(value, str):
            text = value
        elif isinstance(value, bytes):
            text = value.decode("latin-1")
        elif isinstance(value, numbers.Integral):
            return str(value)
        elif isinstance(value, datetime.datetime):
            return httputil.format_timestamp(value)
        else:
            raise TypeError(f"Unsupported header value {value!r}")
        if not self._VALID_HEADER_CHARS.match(text):
            raise ValueError(f"Unsafe header value {text!r}")
        return text

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

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        """Adds to the response, which leaves by :meth:`flush` or :meth:`finish`.

        A dict is sent as JSON and sets the content type so; set another after the
        call. Lists are refused: a JSON array at the top can be read by another
        site's script in old browsers.
        """
        if self._finished:
            raise RuntimeError("Cannot write() after finish()")
        if isinstance(chunk, bytes):
            octets = chunk
        elif isinstance(chunk, str):
            octets = chunk.encode("utf-8")
        elif isinstance(chunk, dict):
            octets = escape.utf8(escape.json_encode(chunk))
            self.set_header("Content-Type", "application/json; charset=UTF-8")
        else:
            raise TypeError(
                _LIST_CHUNK if isinstance(chunk, list) else _UNSUPPORTED_CHUNK
            )
        self._write_buffer.append(octets)

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
        if self._headers_written:
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
        self._headers_written = True
        self._write_buffer = []
        for transform in self._transforms or ():
            self._status_code, self._headers, chunk = transform.transform_first_chunk(
                self._status_code, self._headers, chunk, finishing
            )
        if self.request.method == "HEAD":
            chunk = b""
        start_line = httputil.ResponseStartLine("", self._status_code, self._reason)
        connection = connection_of(self.request)
        future: Future[None] = connection.write_headers(
            start_line, self._headers, chunk
        )
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

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Ends the response, after writing ``chunk`` where given.

        The future is done when all of it was sent; nobody needs to await it.
        """
        if self._finished:
            raise RuntimeError("finish() called twice")
        if chunk is not None:
            self.write(chunk)
        if not self._headers_written:
            self._complete_head()
        connection = connection_of(self.request)
        connection.set_close_callback(None)
        future = self.flush(include_footers=True)
        connection.finish()
        self._log()
        self._finished = True
        self.on_finish()
        self._break_cycles()
        return future

    def _complete_head(self) -> None:
        """The headers that only a whole response can have."""
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
            self._headers["Content-Length"] = str(sum(map(len, self._write_buffer)))

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

    def compute_etag(self) -> str | None:
        """The response's ETag in its quotes, or None for no ETag.

        By default the SHA-1 of what was written. Override for a cheaper one.
        """
        digest = hashlib.sha1(usedforsecurity=False)
        for part in self._write_buffer:
            digest.update(part)
        return f'"{digest.hexdigest()}"'

    def set_etag_header(self) -> None:
        """Sets ``Etag`` to :meth:`compute_etag`, where that gives one."""
        etag = self.compute_etag()
        if etag is not None:
            self.set_header("Etag", etag)

    def check_etag_header(self) -> bool:
        """Whether the request's ``If-None-Match`` names the ``Etag`` header set so
        far; the answer is then 304. Weak comparison, RFC 9110 section 13.1.2."""
        ours = _strong(self._headers.get("Etag", ""))
        if not ours:
            return False
        theirs = _ETAG_LIST.findall(self.request.headers.get("If-None-Match", ""))
        return theirs[:1] == ["*"] or any(_strong(tag) == ours for tag in theirs)

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


def _strong(etag: str) -> str:
    """``etag`` without the mark of a weak one."""
    return etag.removeprefix("W/")
