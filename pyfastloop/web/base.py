"""What one request's handler consists of, whatever part of the code looks at it.

:class:`HandlerState` names the attributes that the parts of ``RequestHandler``
(arguments, cookies, XSRF, rendering, response, failures) share. Programs and tools
touch the private ones too, so their names are as fixed as the public ones.
"""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, ClassVar

import pyfastloop
from pyfastloop import httputil
from pyfastloop._core import RequestHandlerBase

if TYPE_CHECKING:
    from pyfastloop.concurrent import Future
    from pyfastloop.web.application import Application
    from pyfastloop.web.transforms import OutputTransform
    from pyfastloop.web.ui_modules import UIModule

__all__ = ["SERVER_NAME", "HandlerState", "connection_of"]

#: The default ``Server`` header.
SERVER_NAME = f"pyfastloop/{pyfastloop.version}"


def connection_of(request: httputil.HTTPServerRequest) -> Any:
    """The connection that carries ``request``; RuntimeError where it has none.

    Beside the methods of ``HTTPConnection`` it has ``set_close_callback``, ``close``
    and ``detach``, as ``HTTP1Connection`` does.
    """
    connection = request.connection
    if connection is None:
        raise RuntimeError(
            "this request has no connection: a handler needs a request that came from "
            "a server, or one that was given connection="
        )
    return connection


class HandlerState(RequestHandlerBase):
    """The attributes of a handler; ``RequestHandler`` gives them their values."""

    SUPPORTED_METHODS: ClassVar[tuple[str, ...]]

    application: Application
    request: httputil.HTTPServerRequest
    path_args: list[str]
    path_kwargs: dict[str, str]

    _headers: httputil.HTTPHeaders
    _status_code: int
    _reason: str
    _write_buffer: list[bytes]
    _headers_written: bool
    _finished: bool
    _auto_finish: bool
    _transforms: list[OutputTransform] | None
    _prepared_future: Future[None] | None
    _new_cookie: SimpleCookie
    _raw_xsrf_token: tuple[int | None, bytes, float]
    _xsrf_token: bytes
    _active_modules: dict[str, UIModule]

    @property
    def settings(self) -> dict[str, Any]:
        """The application's settings: short for ``self.application.settings``."""
        return self.application.settings

    # Declared here for the parts that call them; defined by ``RequestHandler``
    # and its other parts.
    if TYPE_CHECKING:

        @property
        def current_user(self) -> Any: ...
        @property
        def xsrf_token(self) -> bytes: ...
        def clear(self) -> None: ...
        def set_status(self, status_code: int, reason: str | None = None) -> None: ...
        def set_header(self, name: str, value: Any) -> None: ...
        def set_cookie(self, name: str, value: str | bytes, **kwargs: Any) -> None: ...
        def write(self, chunk: str | bytes | dict[str, Any]) -> None: ...
        def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Any: ...
        def decode_argument(self, value: bytes, name: str | None = None) -> str: ...
        def reverse_url(self, name: str, *args: Any) -> str: ...
        def on_finish(self) -> None: ...
        @staticmethod
        def _should_not_send_content(status_code: int) -> bool: ...

    def _request_summary(self) -> str:
        request = self.request
        uri = request.uri or ""
        if not (uri.isascii() and uri.isprintable()):
            # The target as it came, but never able to start a line of its own.
            uri = uri.encode("unicode_escape").decode("ascii")
        return f"{request.method} {uri} ({request.remote_ip})"

    def require_setting(self, name: str, feature: str = "this feature") -> None:
        """Raises where the application has no setting ``name`` (or an empty one)."""
        if not self.settings.get(name):
            raise Exception(
                f"You must define the '{name}' setting in your application to use "
                f"{feature}"
            )
