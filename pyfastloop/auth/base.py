"""What all mixins share: their error, the older callbacks, the HTTP client."""

from __future__ import annotations

import functools
import json
import urllib.parse
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from pyfastloop import gen, httpclient
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop
from pyfastloop.log import gen_log
from pyfastloop.stack_context import wrap
from pyfastloop.web import RequestHandler

__all__ = [
    "AuthClientMixin",
    "AuthError",
    "Token",
    "an_object",
    "handler_of",
    "json_object",
    "json_value",
    "then_callback",
    "whole_url",
    "with_callback",
    "with_query",
]

_T = TypeVar("_T")
Token = dict[str, Any]


class AuthError(Exception):
    """Somebody could not be logged in."""


def with_callback(
    position: int,
) -> Callable[[Callable[..., Coroutine[Any, Any, _T]]], Callable[..., Future[_T]]]:
    """Have a coroutine method begin when it is called, and take ``callback=`` as well.

    `position` is where Tornado 4 had that among the arguments.
    """

    def decorate(
        method: Callable[..., Coroutine[Any, Any, _T]],
    ) -> Callable[..., Future[_T]]:
        @functools.wraps(method)
        def begin(
            self: Any, *args: Any, callback: Any = None, **kwargs: Any
        ) -> Future[_T]:
            if callback is None and len(args) > position and callable(args[position]):
                callback = args[position]
                args = args[:position] + args[position + 1 :]
            future: Future[_T] = gen.convert_yielded(method(self, *args, **kwargs))
            if callback is not None:
                _call_back(future, callback)
            return future

        return begin

    return decorate


def then_callback(
    position: int,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `with_callback`, for a method that has done all when it returns."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def run(self: Any, *args: Any, callback: Any = None, **kwargs: Any) -> None:
            if callback is None and len(args) > position and callable(args[position]):
                callback = args[position]
                args = args[:position] + args[position + 1 :]
            method(self, *args, **kwargs)
            if callback is not None:
                IOLoop.current().add_callback(callback)

        return run

    return decorate


def _call_back(future: Future[Any], callback: Callable[[Any], object]) -> None:
    wrapped = wrap(callback)

    def done(future: Future[Any]) -> None:
        try:
            result = future.result()
        except AuthError as error:
            gen_log.warning("%s", error)
            result = None
        wrapped(result)

    IOLoop.current().add_future(future, done)


def handler_of(mixin: Any) -> RequestHandler:
    """A mixin as the handler that it is part of."""
    return cast(RequestHandler, mixin)


class AuthClientMixin:
    def get_auth_http_client(self) -> httpclient.AsyncHTTPClient:
        """The client for requests to the service; override to have one of your own."""
        return httpclient.AsyncHTTPClient()


def whole_url(handler: RequestHandler, callback_uri: str | None) -> str:
    """`callback_uri` as a whole URL: it may be relative to the request's."""
    here: str = handler.request.full_url()
    return urllib.parse.urljoin(here, callback_uri or "")


def with_query(url: str, args: dict[str, Any]) -> str:
    """`url`, which may have a query, with `args` at its end."""
    return f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(args)}"


def json_value(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AuthError(f"the service answered what is no JSON: {error}") from error


def json_object(body: bytes) -> dict[str, Any]:
    return an_object(json_value(body))


def an_object(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise AuthError(f"the service answered {type(answer).__name__}, not an object")
    return answer
