"""What a fetch raises when no answer came: a time-out, or a connection that was lost.

Both are `HTTPClientError` with code 599, as in Tornado.
"""

from __future__ import annotations

from pyfastloop.httpclient import HTTPClientError

__all__ = ["HTTPStreamClosedError", "HTTPTimeoutError"]


class HTTPTimeoutError(HTTPClientError):
    """A limit in seconds was passed; the message names the phase and the limit."""

    def __init__(self, message: str) -> None:
        super().__init__(599, message=message)

    def __str__(self) -> str:
        return self.message if self.args[1] else "Timeout"


class HTTPStreamClosedError(HTTPClientError):
    """The connection ended before the answer did."""

    def __init__(self, message: str) -> None:
        super().__init__(599, message=message)

    def __str__(self) -> str:
        return self.message if self.args[1] else "Stream closed"
