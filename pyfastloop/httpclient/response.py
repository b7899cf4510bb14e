"""`HTTPResponse`, what came back, and `HTTPClientError`, what went wrong.

Responses of the default client are made by C (``csrc/http/exchange.c``), which sets the
attributes that ``__init__`` would.
"""

from __future__ import annotations

import weakref
from io import BytesIO
from typing import Any

from pyfastloop import httputil
from pyfastloop.httpclient.request import HTTPRequest, _RequestProxy

__all__ = ["HTTPClientError", "HTTPError", "HTTPResponse"]


class HTTPClientError(Exception):
    """A request that ended without success.

    ``code`` is the HTTP status, or 599 where no answer came. ``message`` is the
    reason phrase or the cause. ``response`` is the `HTTPResponse`, if there is one.
    Also known as `HTTPError`.
    """

    def __init__(
        self,
        code: int,
        message: str | None = None,
        response: HTTPResponse | None = None,
    ) -> None:
        self.code = code
        self.message = message or httputil.responses.get(code, "Unknown")
        self.response = response
        super().__init__(code, message, response)

    def __str__(self) -> str:
        return f"HTTP {self.code}: {self.message}"

    # The default would print the response, whose repr prints the error again.
    __repr__ = __str__


HTTPError = HTTPClientError


def _phases(
    queue: float,
    start: float,
    redirect: float,
    opened: Any,
    sent: float,
    head: float,
    end: float,
) -> dict[str, float]:
    """``time_info`` of readings of one clock; *opened* is None on a used connection."""
    looked_up = connected = secured = 0.0
    if opened is not None:
        looked_up = max(0.0, opened.resolved - start)
        connected = max(0.0, opened.connected - start)
        secured = max(0.0, opened.secured - start)
    return {
        "queue": max(0.0, queue),
        "namelookup": looked_up,
        "connect": connected,
        "appconnect": secured,
        "pretransfer": max(0.0, sent - start),
        "starttransfer": max(0.0, sent - start, head - start),
        "total": end - start,
        "redirect": redirect,
    }


class HTTPResponse:
    """What a server answered, or a note that it did not (code 599).

    - ``request``: the `HTTPRequest` that was fetched, before any redirect.
    - ``code``, ``reason``, ``headers`` (`httputil.HTTPHeaders`).
    - ``effective_url``: where the last redirect led.
    - ``buffer``: the body as `io.BytesIO`; ``body``: the body as bytes. Both are
      empty when the request had a streaming_callback.
    - ``error``: None for 2xx, else an `HTTPClientError` or what failed.
    - ``request_time``: seconds from the start of the request (after waiting for a
      free slot) to its end; ``start_time``: Unix time of that start.
    - ``time_info``: seconds by phase, named as curl does: "queue" is the wait for a
      slot; "namelookup", "connect", "appconnect", "pretransfer", "starttransfer" and
      "total" count from the start; "redirect" is the time spent on redirects.
    """

    _error: BaseException | None = None
    _error_ref: weakref.ref[BaseException] | None = None
    _body: bytes | None = None
    _buffer: BytesIO | None = None
    _time_info: dict[str, float] | None = None
    _marks: tuple[Any, ...] | None = None  # see _phases
    _error_is_response_code = False

    def __init__(
        self,
        request: HTTPRequest,
        code: int,
        headers: httputil.HTTPHeaders | None = None,
        buffer: BytesIO | None = None,
        effective_url: str | None = None,
        error: BaseException | None = None,
        request_time: float | None = None,
        time_info: dict[str, float] | None = None,
        reason: str | None = None,
        start_time: float | None = None,
    ) -> None:
        self.request = (
            request.request if isinstance(request, _RequestProxy) else request
        )
        self.code = code
        self.reason = reason or httputil.responses.get(code, "Unknown")
        self.headers = httputil.HTTPHeaders() if headers is None else headers
        if buffer is not None:
            self._buffer = buffer
        self.effective_url = request.url if effective_url is None else effective_url
        if error is not None:
            self._error = error
        elif code < 200 or code >= 300:
            self._error_is_response_code = True
        self.start_time = start_time
        self.request_time = request_time
        if time_info is not None:
            self._time_info = time_info

    @property
    def error(self) -> BaseException | None:
        """What went wrong, or None.

        For an unsuccessful status the `HTTPClientError` is made when it is asked for
        and held weakly: it holds this response, and the two must not form a cycle.
        """
        if self._error is not None or not self._error_is_response_code:
            return self._error
        made = None if self._error_ref is None else self._error_ref()
        if made is None:
            made = HTTPClientError(self.code, message=self.reason, response=self)
            self._error_ref = weakref.ref(made)
        return made

    @error.setter
    def error(self, value: BaseException | None) -> None:
        self._error = value
        self._error_is_response_code = False

    @property
    def body(self) -> bytes:
        """The whole body; empty when it was handed to a streaming_callback."""
        if self._body is None:
            if self._buffer is None:
                return b""
            self._body = self._buffer.getvalue()
        return self._body

    @property
    def buffer(self) -> BytesIO | None:
        """The body as a file object; it shares its bytes with ``body``."""
        if self._buffer is None and self._body is not None:
            self._buffer = BytesIO(self._body)
        return self._buffer

    @buffer.setter
    def buffer(self, value: BytesIO | None) -> None:
        self._buffer = value
        self._body = None

    @property
    def time_info(self) -> dict[str, float]:
        """Seconds by phase; see the class."""
        if self._time_info is None:
            self._time_info = {} if self._marks is None else _phases(*self._marks)
            self._marks = None
        return self._time_info

    @time_info.setter
    def time_info(self, value: dict[str, float]) -> None:
        self._time_info = value

    def rethrow(self) -> None:
        """Raise ``error`` if there is one."""
        error = self.error
        if error is not None:
            raise error

    def __repr__(self) -> str:
        names = (
            "buffer",
            "code",
            "effective_url",
            "error",
            "headers",
            "reason",
            "request",
            "request_time",
            "start_time",
            "time_info",
        )
        fields = ",".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({fields})"
