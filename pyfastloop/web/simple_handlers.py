"""Ready handlers without content of their own: errors, redirects, fall-backs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastloop import httputil
from pyfastloop.web.errors import HTTPError
from pyfastloop.web.handler import RequestHandler
from pyfastloop.web.redirects import scheme_and_netloc

__all__ = ["ErrorHandler", "FallbackHandler", "RedirectHandler"]


class ErrorHandler(RequestHandler):
    """Answers every request with the error ``status_code``."""

    def initialize(self, status_code: int) -> None:
        """``status_code``: the error to answer with."""
        self.set_status(status_code)

    def prepare(self) -> None:
        """Raises the error."""
        raise HTTPError(self._status_code)

    def check_xsrf_cookie(self) -> None:
        """Nothing: an error needs no protection, and 404 must not look like 403."""

    def check_trusted_origin(self, origin: str) -> bool:
        """Always true, for the same reason."""
        return True


class RedirectHandler(RequestHandler):
    """Redirects every GET to ``url``, in which ``{0}`` or ``{name}`` stand for the
    groups of the route. Arguments of the query are handed on.

    What a group holds cannot lead to another host than ``url`` itself names: 400.
    """

    def initialize(self, url: str, permanent: bool = True) -> None:
        """``url``: where to; ``permanent``: 301 rather than 302."""
        self._url = url
        self._permanent = permanent

    def get(self, *args: Any, **kwargs: Any) -> None:
        """Redirects."""
        target = self._url.format(*args, **kwargs)
        intended = self._url.format(*[""] * len(args), **dict.fromkeys(kwargs, ""))
        if scheme_and_netloc(target) != scheme_and_netloc(intended):
            raise HTTPError(400, "Redirect URL cannot change the scheme or netloc")
        if self.request.query_arguments:
            target = httputil.url_concat(
                target, list(httputil.qs_to_qsl(self.request.query_arguments))
            )
        try:
            self.redirect(target, permanent=self._permanent)
        except ValueError:
            raise HTTPError(400, "Redirect URL contains invalid characters") from None


class FallbackHandler(RequestHandler):
    """Hands requests to another callable: a ``WSGIContainer``, another Application.

    Everything of the request is the callable's, the answer included.
    """

    def initialize(
        self, fallback: Callable[[httputil.HTTPServerRequest], None]
    ) -> None:
        """``fallback``: called with each request."""
        self.fallback = fallback

    def prepare(self) -> None:
        """Hands the request over; no method is called."""
        self.fallback(self.request)
        self._finished = True
        self.on_finish()
