"""The exceptions that end a request.

:exc:`HTTPError` becomes an error page, :exc:`MissingArgumentError` is its form for
a required argument, :exc:`Finish` ends the request with what was written so far.

As in Tornado 6.6 the text for the log is read by :meth:`HTTPError.get_message`;
``log_message`` keeps the older promise that it can be used as a ``%`` format.
"""

from __future__ import annotations

from pyfastloop import httputil

__all__ = ["Finish", "HTTPError", "MissingArgumentError"]


class HTTPError(Exception):
    """Raised in a handler to answer with an error status.

    ``log_message`` goes to the log and, outside of debug mode, never to the client;
    further positional arguments are put into its ``%s`` places. ``reason`` (keyword
    only) replaces the phrase of the status line, which otherwise comes from the
    status. The page itself is made by :meth:`RequestHandler.write_error`.
    """

    def __init__(
        self,
        status_code: int = 500,
        log_message: str | None = None,
        *args: object,
        **kwargs: object,
    ) -> None:
        super().__init__(*args)
        self.status_code = status_code
        self._log_message = log_message
        self.args = args
        reason = kwargs.get("reason")
        self.reason: str | None = None if reason is None else str(reason)

    @property
    def log_message(self) -> str | None:
        """The message as a ``%`` format for ``args``; percents are doubled
        where there are no arguments. :meth:`get_message` is the text itself."""
        if self._log_message and not self.args:
            return self._log_message.replace("%", "%%")
        return self._log_message

    def get_message(self) -> str | None:
        """The message for the log, its arguments filled in; None without one."""
        if self._log_message and self.args:
            return self._log_message % self.args
        return self._log_message

    def __str__(self) -> str:
        phrase = self.reason or httputil.responses.get(self.status_code, "Unknown")
        text = f"HTTP {self.status_code}: {phrase}"
        message = self.get_message()
        return f"{text} ({message})" if message else text


class MissingArgumentError(HTTPError):
    """A required argument was not sent: 400, raised by the ``get_argument`` family.

    ``arg_name`` is the name that was looked for.
    """

    def __init__(self, arg_name: str) -> None:
        super().__init__(400, f"Missing argument {arg_name}")
        self.arg_name = arg_name


class Finish(Exception):
    """Ends the request at once, with no error page and nothing logged.

    What was written so far is sent. An argument is handed to
    :meth:`RequestHandler.finish`, so ``raise Finish({"login": "needed"})`` answers
    with that and the status and headers that were set before.
    """
