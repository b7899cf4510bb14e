"""``RequestHandler``: one object for each request, the base of every page.

The parts of the class stand in modules by idea (arguments, cookies, XSRF, rendering,
response, failures); this one holds its life: construction, the hooks in their order,
and the methods of HTTP.

The order of a request: ``__init__`` (``clear`` with ``set_default_headers``, the close
callback, ``initialize``), ``prepare``, the method, ``finish`` (log, ``on_finish``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from pyfastloop import httputil
from pyfastloop.concurrent import future_set_result_unless_cancelled
from pyfastloop.iostream import StreamClosedError
from pyfastloop.web.arguments import ArgumentsMixin
from pyfastloop.web.base import connection_of
from pyfastloop.web.errors import HTTPError
from pyfastloop.web.failures import FailuresMixin
from pyfastloop.web.rendering import RenderingMixin
from pyfastloop.web.response import ResponseMixin
from pyfastloop.web.xsrf import SAFE_METHODS, XsrfMixin

if TYPE_CHECKING:
    from pyfastloop.web.application import Application
    from pyfastloop.web.transforms import OutputTransform

__all__ = ["RequestHandler"]


class RequestHandler(
    FailuresMixin, RenderingMixin, XsrfMixin, ResponseMixin, ArgumentsMixin
):
    """The base of HTTP handlers.

    Subclasses define ``get``, ``post`` and so on, as plain functions, generators under
    ``@gen.coroutine``, or ``async def``. Not to be touched from other threads: hand
    results over by ``IOLoop.add_callback``.
    """

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    _stream_request_body: ClassVar[bool] = False
    _client_gone = False

    def __init__(
        self,
        application: Application,
        request: httputil.HTTPServerRequest,
        **kwargs: Any,
    ) -> None:
        # C: super().__init__(), the attributes, clear(), the close callback, and
        # initialize(**kwargs), in this order.
        self._init(application, request, kwargs)

    def _watch_connection(self) -> None:
        connection_of(self.request).set_close_callback(self._connection_closed)

    def _initialize(self) -> None:
        pass

    initialize = _initialize  # type: Any
    """Override to take the keyword arguments of the route. Called for each request
    before anything else; it cannot be a coroutine (see :meth:`prepare`)."""

    # -- the methods of HTTP ------------------------------------------------------

    def _unimplemented_method(self, *args: str, **kwargs: str) -> None:
        raise HTTPError(405)

    head = _unimplemented_method  # type: Any
    get = _unimplemented_method  # type: Any
    post = _unimplemented_method  # type: Any
    delete = _unimplemented_method  # type: Any
    patch = _unimplemented_method  # type: Any
    put = _unimplemented_method  # type: Any
    options = _unimplemented_method  # type: Any

    # -- hooks ---------------------------------------------------------------------

    def prepare(self) -> Awaitable[None] | None:
        """Called before the method, whichever it is; may be a coroutine.

        Where it finishes the request (``redirect``, ``send_error``, ``finish``), the
        method is not called. It need not be called at all where an error came first.
        """
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Called with each piece of the body under ``@stream_request_body``; the
        next one waits for what it returns."""
        raise NotImplementedError(
            f"{type(self).__name__} is decorated with stream_request_body and must "
            "define data_received"
        )

    def on_connection_close(self) -> None:
        """Called when the client goes away before the response was finished.

        Override to stop what runs for it. ``on_finish`` is the hook that is called
        for every request.
        """

    def _connection_closed(self) -> None:
        """Tells the hook, once, whichever side of the connection saw it first."""
        if self._client_gone or self._finished:
            return
        self._client_gone = True
        try:
            self.on_connection_close()
        finally:
            # Whatever the hook does: nobody waits for the rest of the body for ever.
            body = getattr(self.request, "_body_future", None)
            if body is not None and not body.done():
                body.set_exception(StreamClosedError())
                body.exception()  # seen: whoever waits for the body gets it as well

    # -- the user and the application -----------------------------------------------

    @property
    def current_user(self) -> Any:
        """The user that is logged in, or None: what :meth:`get_current_user` gave,
        once; or what was assigned, for instance by an asynchronous ``prepare``."""
        state = self.__dict__
        if "_current_user" not in state:
            state["_current_user"] = self.get_current_user()
        return state["_current_user"]

    @current_user.setter
    def current_user(self, value: Any) -> None:
        self.__dict__["_current_user"] = value

    def get_current_user(self) -> Any:
        """Override to find out who the user is, for instance by a signed cookie."""
        return None

    def get_login_url(self) -> str:
        """Where :func:`authenticated` sends strangers: the setting ``login_url``."""
        self.require_setting("login_url", "@tornado.web.authenticated")
        url: str = self.settings["login_url"]
        return url

    def reverse_url(self, name: str, *args: Any) -> str:
        """The URL of the route called ``name``; see ``Application.reverse_url``."""
        return self.application.reverse_url(name, *args)

    # -- running a request --------------------------------------------------------

    async def _execute(
        self, transforms: list[OutputTransform], *args: bytes, **kwargs: bytes
    ) -> None:
        """Runs the request: checks, prepare, the method, finish.

        C runs a request of an unchanged class by itself; where this coroutine is
        asked for all the same, it awaits the same sequence. What follows below is for
        classes that replaced a part of it, or stream the body.
        """
        self._transforms = transforms
        sequence = self._sequence(args, kwargs)
        if sequence is not None:
            await sequence
            return
        try:
            self._begin(args, kwargs)
            result = self.prepare()
        except asyncio.CancelledError as error:
            self._tell_prepared()
            self._handle_failure(error)
            raise
        except Exception as error:
            self._tell_prepared()
            self._handle_failure(error)
        else:
            await self._go_on(result, False)

    async def _go_on(self, result: Awaitable[None] | None, called: bool) -> None:
        """The rest of a request, from what ``prepare``, or the method, gave."""
        try:
            if result is not None:
                await result
            if not called:
                self._tell_prepared()
                if self._finished:
                    return
                if self._stream_request_body:
                    try:
                        await self.request._body_future
                    except StreamClosedError as error:
                        # The request holds it by its future: a cycle with this frame.
                        error.__traceback__ = None
                        return
                result = self._method()(*self.path_args, **self.path_kwargs)
                if result is not None:
                    await result
            if self._auto_finish and not self._finished:
                self.finish()
        except asyncio.CancelledError as error:
            self._handle_failure(error)
            raise
        except Exception as error:
            self._handle_failure(error)
        finally:
            self._tell_prepared()

    def _begin(self, args: tuple[bytes, ...], kwargs: dict[str, bytes]) -> None:
        """What is checked before anything of the user's runs."""
        if self.request.method not in self.SUPPORTED_METHODS:
            raise HTTPError(405)
        if not self._stream_request_body:
            try:
                self.request._parse_body()
            except httputil.HTTPInputError as error:
                self._refuse_body(error)
        decode = self.decode_argument
        self.path_args = [arg if arg is None else decode(arg) for arg in args]
        self.path_kwargs = {
            name: arg if arg is None else decode(arg, name=name)
            for name, arg in kwargs.items()
        }
        if self.request.method not in SAFE_METHODS:
            self._check_forgery()

    def _refuse_body(self, error: httputil.HTTPInputError) -> NoReturn:
        raise HTTPError(400, "Invalid body: %s", error) from error

    def _check_forgery(self) -> None:
        settings = self.settings
        if settings.get("xsrf_cookies"):
            self.check_xsrf_cookie()
        if settings.get("cross_origin_protection"):
            self._check_cross_origin()

    def _method(self) -> Any:
        return getattr(self, (self.request.method or "").lower())

    def _tell_prepared(self) -> None:
        """Lets the body come: it waits for ``prepare`` where it is streamed."""
        prepared = self._prepared_future
        if prepared is not None and not prepared.done():
            future_set_result_unless_cancelled(prepared, None)
