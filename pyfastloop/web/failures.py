"""What happens when a request goes wrong: logging, the error's status, its page."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType
from typing import Any

from pyfastloop import escape
from pyfastloop.log import app_log, gen_log
from pyfastloop.web import traceback_page
from pyfastloop.web.base import HandlerState, connection_of
from pyfastloop.web.errors import Finish, HTTPError

__all__ = ["FailuresMixin"]


class FailuresMixin(HandlerState):
    """The part of ``RequestHandler`` that answers for errors."""

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answers with an error, in place of whatever was written and not yet sent.

        ``kwargs`` go to :meth:`write_error`; ``reason`` is the phrase of the status
        line. Where the head has left already, the response is only ended.
        """
        if self._headers_written:
            gen_log.error("Cannot send error response after headers written")
            if not self._finished:
                self._end_broken_response()
            return
        self.clear()
        if not (isinstance(status_code, int) and 100 <= status_code <= 999):
            app_log.error("%r is no HTTP status; answering 500", status_code)
            status_code = 500
        reason = kwargs.get("reason")
        if "exc_info" in kwargs:
            error = kwargs["exc_info"][1]
            if isinstance(error, HTTPError) and error.reason:
                reason = error.reason
        self.set_status(status_code, reason=reason)
        try:
            self.write_error(status_code, **kwargs)
        except Exception:
            app_log.error("Uncaught exception in write_error", exc_info=True)
        if not self._finished:
            self._finish_without_page()

    def _finish_without_page(self) -> None:
        # The page failed, or wrote where the status allows no body.
        if self._should_not_send_content(self._status_code):
            self._write_buffer = []
        self.finish()

    def _end_broken_response(self) -> None:
        # A response that was announced as longer cannot be ended properly: the
        # connection then closes it, which is what tells the client.
        try:
            self.finish()
        except Exception:
            gen_log.error("Failed to flush partial response", exc_info=True)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Writes the error page; override for pages of one's own.

        ``exc_info`` in ``kwargs`` is the exception that led here, where one did.
        Under the setting ``serve_traceback`` the page is the traceback: plain text,
        or HTML with the lines of source where the client's ``Accept`` prefers that
        (with local variables under the setting ``serve_traceback_locals``).
        """
        if self.settings.get("serve_traceback") and "exc_info" in kwargs:
            self._write_traceback(kwargs["exc_info"])
            return
        if self._should_not_send_content(self._status_code):
            self.finish()
            return
        line = f"{status_code}: {escape.xhtml_escape(self._reason)}"
        self.finish(f"<html><title>{line}</title><body>{line}</body></html>")

    def _write_traceback(self, exc_info: Any) -> None:
        if traceback_page.prefers_html(self.request.headers.get("Accept", "")):
            self.finish(
                traceback_page.render(
                    exc_info[1],
                    title=f"{self._status_code}: {self._reason}",
                    request=f"{self.request.method} {self.request.uri}",
                    show_locals=bool(self.settings.get("serve_traceback_locals")),
                )
            )
            return
        self.set_header("Content-Type", "text/plain")
        for line in traceback.format_exception(*exc_info):
            self.write(line)
        self.finish()

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Logs an exception of this request; override to do it otherwise.

        :exc:`HTTPError` is a warning without traceback on ``tornado.general`` (and
        silent without a message); all else an error on ``tornado.application``.
        """
        if isinstance(value, HTTPError):
            message = value.get_message()
            if message:
                gen_log.warning(
                    "%d %s: %s", value.status_code, self._request_summary(), message
                )
        else:
            app_log.error(
                "Uncaught exception %s\n%r",
                self._request_summary(),
                self.request,
                exc_info=(typ, value, tb),  # type: ignore[arg-type]
            )

    def _handle_request_exception(self, error: BaseException) -> None:
        """Ends the request that ``error`` was raised in."""
        if isinstance(error, Finish):
            if not self._finished:
                self.finish(*error.args)
            return
        exc_info = (type(error), error, error.__traceback__)
        try:
            self._try_to_log(exc_info)
            if self._finished:
                return  # what the client sees has left; the log has the rest
            status = error.status_code if isinstance(error, HTTPError) else 500
            self.send_error(status, exc_info=exc_info)
        finally:
            del exc_info  # holds this very frame by its traceback

    def _try_to_log(self, exc_info: Any) -> None:
        try:
            self.log_exception(*exc_info)
        except Exception:
            # A broken logger must not leave the client without an answer.
            app_log.error("Error in exception logger", exc_info=sys.exc_info())

    def _handle_failure(self, error: BaseException) -> None:
        """As ``_handle_request_exception``; where that fails itself (a broken hook of
        the program), the failure is logged and the client not left to wait."""
        try:
            self._handle_request_exception(error)
        except Exception:
            app_log.error("Exception in exception handler", exc_info=True)
            if not self._finished:
                self._abort()

    def _abort(self) -> None:
        """Gives the request up: nothing more can be said but by closing."""
        self._finished = True
        connection = connection_of(self.request)
        connection.set_close_callback(None)
        connection.close()

    def _stack_context_handle_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        """An exception in a callback that an ``@asynchronous`` request started."""
        if value is not None:
            self._handle_failure(value)
        return True
