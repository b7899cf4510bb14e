"""Decorators for handlers and their methods.

:func:`asynchronous` is the form of Tornado 3 and 4: the request stays open until
``finish`` is called, from whichever callback. The rest are those of Tornado 6.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

from pyfastloop import gen, ioloop, stack_context
from pyfastloop.web.errors import HTTPError
from pyfastloop.web.redirects import starts_with_host

if TYPE_CHECKING:
    from pyfastloop.web.handler import RequestHandler

__all__ = [
    "addslash",
    "asynchronous",
    "authenticated",
    "removeslash",
    "stream_request_body",
]

_Method = Callable[..., Awaitable[None] | None]
_HandlerType = TypeVar("_HandlerType", bound="type[RequestHandler]")


def stream_request_body(cls: _HandlerType) -> _HandlerType:
    """Marks a handler class that takes the request's body in pieces.

    ``prepare`` then runs (and is awaited) when the head was read, ``data_received``
    is called (and awaited) with each piece, the method of the request when the body
    is whole. The form's arguments are not parsed.
    """
    from pyfastloop.web.handler import RequestHandler

    if not (isinstance(cls, type) and issubclass(cls, RequestHandler)):
        raise TypeError(f"expected subclass of RequestHandler, got {cls!r}")
    cls._stream_request_body = True
    return cls


def _has_stream_request_body(cls: type[RequestHandler]) -> bool:
    """Whether `cls` takes its body in pieces (for Elastic's agent, which asks so)."""
    return cls._stream_request_body


def asynchronous(method: _Method) -> _Method:
    """Keeps the request open after ``method`` has returned, until ``finish``.

    Callbacks started in ``method`` belong to the request, however deep: an exception
    in one ends it with a logged 500. Over ``@gen.coroutine`` and ``async def`` the
    request is finished when the coroutine is, if it was not before; over
    ``@gen.engine`` the method itself must call ``finish``.
    """

    @functools.wraps(method)
    def wrapper(self: RequestHandler, *args: Any, **kwargs: Any) -> None:
        if self.application._wsgi or getattr(self.request.connection, "wsgi", False):
            raise RuntimeError("@asynchronous is not supported for WSGI apps")
        self._auto_finish = False
        with stack_context.ExceptionStackContext(self._stack_context_handle_exception):
            result = method(self, *args, **kwargs)
            if result is not None:
                ioloop.IOLoop.current().add_future(
                    gen.convert_yielded(result), functools.partial(_finish_after, self)
                )

    return wrapper


def _finish_after(handler: RequestHandler, future: Any) -> None:
    future.result()
    if not handler._finished:
        handler.finish()


def authenticated(method: _Method) -> _Method:
    """Lets only users in that are logged in: those with a true ``current_user``.

    Others are sent to ``get_login_url()`` with the page they wanted as ``next``
    (unless that URL has a query already), or get a 403 where the request was no GET
    or HEAD.
    """

    @functools.wraps(method)
    def wrapper(
        self: RequestHandler, *args: Any, **kwargs: Any
    ) -> Awaitable[None] | None:
        if self.current_user:
            return method(self, *args, **kwargs)
        if self.request.method not in ("GET", "HEAD"):
            raise HTTPError(403)
        url = self.get_login_url()
        if "?" not in url:
            # Another host's login page needs to know ours.
            elsewhere = bool(urlsplit(url).scheme)
            wanted = self.request.full_url() if elsewhere else self.request.uri
            url = f"{url}?{urlencode({'next': wanted})}"
        self.redirect(url)
        return None

    return wrapper


def removeslash(method: _Method) -> _Method:
    """Redirects GET and HEAD of ``/path/`` to ``/path``; 404 for other methods.

    For routes whose pattern ends in ``/*``.
    """

    @functools.wraps(method)
    def wrapper(
        self: RequestHandler, *args: Any, **kwargs: Any
    ) -> Awaitable[None] | None:
        path = self.request.path
        if not path.endswith("/"):
            return method(self, *args, **kwargs)
        bare = path.rstrip("/")
        if self.request.method not in ("GET", "HEAD"):
            raise HTTPError(404)
        if not bare:
            return method(self, *args, **kwargs)  # the root has no other name
        _redirect_path(self, bare)
        return None

    return wrapper


def addslash(method: _Method) -> _Method:
    """Redirects GET and HEAD of ``/path`` to ``/path/``; 404 for other methods.

    For routes whose pattern ends in ``/?``.
    """

    @functools.wraps(method)
    def wrapper(
        self: RequestHandler, *args: Any, **kwargs: Any
    ) -> Awaitable[None] | None:
        path = self.request.path
        if path.endswith("/"):
            return method(self, *args, **kwargs)
        if self.request.method not in ("GET", "HEAD"):
            raise HTTPError(404)
        _redirect_path(self, path + "/")
        return None

    return wrapper


def _redirect_path(handler: RequestHandler, path: str) -> None:
    if starts_with_host(path):
        raise HTTPError(403, "cannot redirect path with two initial slashes")
    query = handler.request.query
    handler.redirect(f"{path}?{query}" if query else path, permanent=True)
