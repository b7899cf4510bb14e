"""`AsyncHTTPClient`: what every implementation of the client shares."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from pyfastloop import _core
from pyfastloop.concurrent import Future
from pyfastloop.httpclient.request import HTTPRequest
from pyfastloop.httpclient.response import HTTPClientError, HTTPResponse
from pyfastloop.ioloop import IOLoop
from pyfastloop.util import Configurable

__all__ = ["AsyncHTTPClient"]

# What an answer without a status of its own carries: connection lost, time-out.
_NO_ANSWER = 599


class AsyncHTTPClient(_core.HTTPClientMethods, Configurable):
    """A client that does not block: ``response = await AsyncHTTPClient().fetch(url)``.

    The constructor gives the same object for the same loop, unless
    ``force_instance=True``; keyword arguments go to ``initialize`` when an object is
    made. ``defaults`` is a dict of `HTTPRequest` arguments for all its requests.
    `configure` chooses the implementation and its arguments for clients made later.
    """

    _instance_key: type
    _instance_cache: dict[type, AsyncHTTPClient] | None

    @classmethod
    def configurable_base(cls) -> type[Configurable]:
        """The root of the hierarchy: `AsyncHTTPClient`."""
        return AsyncHTTPClient

    @classmethod
    def configurable_default(cls) -> type[Configurable]:
        """`pyfastloop.simple_httpclient.SimpleAsyncHTTPClient`."""
        from pyfastloop.simple_httpclient import SimpleAsyncHTTPClient

        return SimpleAsyncHTTPClient

    def __new__(cls, force_instance: bool = False, **kwargs: Any) -> AsyncHTTPClient:
        io_loop = IOLoop.current()
        asked = kwargs.pop("io_loop", None)  # Tornado 4's argument
        if asked is not None and asked is not io_loop:
            raise ValueError(
                "AsyncHTTPClient(io_loop=...) takes the current loop only; make the "
                "client in a callback of the loop that is to run it"
            )
        # The shared clients live and die with their loop: a table of loops would keep
        # each loop alive through its client. Each class has instances of its own.
        cache: dict[type, AsyncHTTPClient] | None = None
        if not force_instance:
            cache = vars(io_loop).setdefault("_async_clients", {})
            if cls in cache:
                return cache[cls]
        instance = cast(AsyncHTTPClient, super().__new__(cls, **kwargs))
        instance._instance_cache = cache
        if cache is not None:
            instance._instance_key = cls
            cache[cls] = instance
        return instance

    def initialize(self, defaults: dict[str, Any] | None = None) -> None:
        """Called once for a new object, with the constructor's keyword arguments."""
        self.io_loop = IOLoop.current()
        self.defaults = dict(HTTPRequest._DEFAULTS)
        if defaults is not None:
            self.defaults.update(defaults)
        self._closed = False

    def close(self) -> None:
        """Free connections and descriptors; the object cannot be used afterwards.

        Needed only where a client is made with ``force_instance`` or together with a
        loop that is closed: the shared client lives as long as its loop.
        """
        if self._closed:
            return
        self._closed = True
        if self._instance_cache is not None:
            cached = self._instance_cache.pop(self._instance_key, None)
            if cached is not None and cached is not self:
                raise RuntimeError(
                    "another AsyncHTTPClient stood in the place of this one: clients "
                    "were made or closed from two threads"
                )

    def fetch(
        self,
        request: str | HTTPRequest,
        raise_error: bool = True,
        **kwargs: Any,
    ) -> Future[HTTPResponse]:
        """Send *request*, a URL or an `HTTPRequest`, and give a future of the answer.

        With a URL, keyword arguments are those of `HTTPRequest`. With
        ``raise_error=False`` an answer with an unsuccessful status is a result too;
        a request that got no answer raises in any case.

        ``callback=f``, or a callable in the second place (Tornado 3 and 4): *f* gets
        an `HTTPResponse` through the loop, whatever happened.

        Raises RuntimeError when the client is closed.
        """
        return self._fetch(request, raise_error, kwargs)

    def _hand_on(
        self,
        request: HTTPRequest,
        future: Future[HTTPResponse],
        callback: Callable[[HTTPResponse], Any],
    ) -> None:
        """Call *callback* with a response once *future* is done."""
        from pyfastloop import stack_context

        wrapped = stack_context.wrap(callback)

        def settled(done: Future[HTTPResponse]) -> None:
            if done.cancelled():
                return
            error = done.exception()
            if error is None:
                response = done.result()
            elif isinstance(error, HTTPClientError) and error.response is not None:
                response = error.response
            else:
                response = HTTPResponse(
                    request,
                    _NO_ANSWER,
                    error=error,
                    reason=getattr(error, "message", None),
                    request_time=time.time() - request.start_time,
                )
            self.io_loop.add_callback(wrapped, response)

        future.add_done_callback(settled)

    def fetch_impl(
        self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]
    ) -> None:
        """Start *request* and call *callback* once, with its `HTTPResponse`.

        What a subclass implements. *request* has the client's defaults filled in.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not implement fetch_impl"
        )

    @classmethod
    def configure(cls, impl: str | type[Configurable] | None, **kwargs: Any) -> None:
        """Choose the class (or its dotted name) that ``AsyncHTTPClient()`` makes.

        Keyword arguments are handed to its ``initialize``, such as ``max_clients``
        or ``defaults``. ``AsyncHTTPClient.configure(None)`` gives the default back.
        """
        super().configure(impl, **kwargs)
