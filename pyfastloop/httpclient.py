"""Fetching over HTTP without blocking, and blocking where a script wants it.

`AsyncHTTPClient` has one instance for each loop, `HTTPRequest` says what is
wanted, `HTTPResponse` what came back, `HTTPClientError` what went wrong.
`HTTPClient` is the synchronous face: it runs a loop of its own until the answer
is there, in a script, in a thread, or (blocking that loop) inside a handler.

The bytes are the work of `pyfastloop.simple_httpclient`, whose connections and
parser are C; here is only what every implementation of the client shares.

What differs from Tornado, and why:

- ``fetch(request, callback)`` and ``fetch(request, callback=...)``, the forms of
  Tornado 3 and 4, work beside the awaited form. The callback always receives an
  `HTTPResponse`; what failed without an answer has code 599 and its ``error``.
- Cancelling the future of `AsyncHTTPClient.fetch` ends the request and frees its
  connection; it does not go on in the background.
- The headers object of the caller is never modified.
- `HTTPRequest` takes ``inactivity_timeout``: seconds without a byte in either
  direction after which the request fails. None, the default, is no such limit.
- `HTTPClient` may be used while another loop runs in this thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
import functools
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from io import BytesIO
from typing import Any, cast

from pyfastloop import _core, httputil
from pyfastloop.concurrent import Future
from pyfastloop.escape import native_str, utf8
from pyfastloop.ioloop import IOLoop
from pyfastloop.util import Configurable

__all__ = [
    "AsyncHTTPClient",
    "HTTPClient",
    "HTTPClientError",
    "HTTPError",
    "HTTPRequest",
    "HTTPResponse",
    "main",
]

# What an answer without a status of its own carries: connection lost, time-out.
_NO_ANSWER = 599


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


def _dated(
    headers: httputil.HTTPHeaders | dict[str, str] | None,
    since: float | datetime.datetime,
) -> httputil.HTTPHeaders:
    """*headers*, and that the answer is wanted if it is younger than *since*."""
    dated = httputil.HTTPHeaders(headers or {})
    dated["If-Modified-Since"] = httputil.format_timestamp(since)
    return dated


class HTTPRequest(_core.HTTPRequestBase):
    """What to ask, and how.

    ``url`` and ``method``; ``headers`` (`httputil.HTTPHeaders` or any mapping);
    ``body`` (str is encoded as UTF-8) or ``body_producer``, a callable that gets a
    ``write(bytes)`` function returning a future, and may be a coroutine function.

    - ``auth_username``, ``auth_password``, ``auth_mode``: "basic" is the default
      mode and the only one of the simple client.
    - ``connect_timeout``, ``request_timeout``: seconds, 20 each by default, 0 for
      none. The request time-out covers everything from `AsyncHTTPClient.fetch` on,
      waiting for a slot and redirects included.
    - ``inactivity_timeout``: seconds without a byte moving; None for no limit.
    - ``if_modified_since``: `datetime.datetime` or Unix time.
    - ``follow_redirects`` (True) and ``max_redirects`` (5).
    - ``user_agent``; ``decompress_response`` (True; ``use_gzip`` is its old name).
    - ``network_interface``: the local IP address to connect from.
    - ``streaming_callback(bytes)`` gets the body piece by piece and may return an
      awaitable, which holds the server back; ``header_callback(str)`` gets the
      start line and each header line with its line end, last an empty line.
    - ``proxy_host``, ``proxy_port``, ``proxy_username``, ``proxy_password``,
      ``proxy_auth_mode``: an HTTP proxy, asked with CONNECT for https.
    - ``allow_nonstandard_methods``: any method name, a body where none is usual.
    - ``validate_cert``, ``ca_certs``, ``client_key``, ``client_cert``, or
      ``ssl_options`` (an `ssl.SSLContext`, or a dict) in place of these.
    - ``allow_ipv6``: False for IPv4 alone.
    - ``expect_100_continue``: send the body only when the server asks for it.
    - ``prepare_curl_callback``: for `pyfastloop.curl_httpclient` only.

    An argument left at None takes the value of the client's ``defaults``.
    """

    url: str
    start_time: float
    # What an object does not set itself: see csrc/http/client_request.c.
    method: str = "GET"
    _headers: httputil.HTTPHeaders | dict[str, str] | None = None
    _body: bytes | None = None
    body_producer: (
        Callable[[Callable[[bytes], Future[None]]], Awaitable[None] | None] | None
    ) = None
    auth_username: str | None = None
    auth_password: str | None = None
    auth_mode: str | None = None
    connect_timeout: float | None = None
    request_timeout: float | None = None
    inactivity_timeout: float | None = None
    follow_redirects: bool | None = None
    max_redirects: int | None = None
    user_agent: str | None = None
    decompress_response: bool | None = None
    network_interface: str | None = None
    streaming_callback: Callable[[bytes], Awaitable[None] | None] | None = None
    header_callback: Callable[[str], None] | None = None
    prepare_curl_callback: Callable[[Any], None] | None = None
    proxy_host: str | None = None
    proxy_port: int | None = None
    proxy_username: str | None = None
    proxy_password: str | None = None
    proxy_auth_mode: str | None = None
    allow_nonstandard_methods: bool | None = None
    validate_cert: bool | None = None
    ca_certs: str | None = None
    allow_ipv6: bool | None = None
    client_key: str | None = None
    client_cert: str | None = None
    ssl_options: dict[str, Any] | ssl.SSLContext | None = None
    expect_100_continue: bool = False

    _DEFAULTS: dict[str, Any] = {  # noqa: RUF012 - read by subclasses under this name
        "connect_timeout": 20.0,
        "request_timeout": 20.0,
        "follow_redirects": True,
        "max_redirects": 5,
        "decompress_response": True,
        "proxy_password": "",
        "allow_nonstandard_methods": False,
        "validate_cert": True,
    }

    @property
    def headers(self) -> httputil.HTTPHeaders | dict[str, str]:
        """The headers to send. Setting None gives an empty `httputil.HTTPHeaders`."""
        if self._headers is None:
            self._headers = httputil.HTTPHeaders()
        return self._headers

    @headers.setter
    def headers(self, value: httputil.HTTPHeaders | dict[str, str] | None) -> None:
        self._headers = value

    @property
    def body(self) -> bytes | None:
        """The body to send, as bytes. A str that is assigned becomes UTF-8."""
        return self._body

    @body.setter
    def body(self, value: bytes | str | None) -> None:
        self._body = value if value is None else utf8(value)


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


class _RequestProxy:
    """A request with the client's defaults behind it.

    An attribute that the request left at None is taken from ``defaults``; what is in
    neither is None. ``headers`` is a copy of its own, so that a client may add to it.
    """

    def __init__(self, request: HTTPRequest, defaults: dict[str, Any] | None) -> None:
        self.request = request
        self.defaults = defaults

    def __getattr__(self, name: str) -> Any:
        if name == "headers":
            self.headers = httputil.HTTPHeaders(self.request.headers)
            return self.headers
        value = getattr(self.request, name)
        if value is None and self.defaults:
            return self.defaults.get(name)
        return value

    def _as_changed(self) -> HTTPRequest:
        """The request with what a program's fetch_impl has set on this object."""
        changed = copy.copy(self.request)
        for name, value in vars(self).items():
            if name not in ("request", "defaults"):
                setattr(changed, name, value)
        return changed


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


@contextlib.contextmanager
def _outside_of_running_loop() -> Iterator[None]:
    """Let another loop run in this thread although one is running already.

    The running loop and its current task step aside, and come back at the end. These
    three functions of asyncio are what it gives to those who implement loops.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        yield
        return
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio.tasks._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if task is not None:
            asyncio.tasks._enter_task(loop, task)


class HTTPClient:
    """A client that blocks: ``response = HTTPClient().fetch(url)``.

    It owns a loop, and takes the arguments of `AsyncHTTPClient`. Inside a handler of
    a running loop it works and holds that loop up until the answer is there.
    ``async_client_class`` is the class to use, by default the configured one.
    """

    def __init__(
        self,
        async_client_class: type[AsyncHTTPClient] | None = None,
        **kwargs: Any,
    ) -> None:
        self._closed = True  # until all of it is there: __del__ runs in any case
        client_class = async_client_class or AsyncHTTPClient

        async def make() -> AsyncHTTPClient:
            # Inside of the loop that will run it, so that it finds it as current.
            return client_class(force_instance=True, **kwargs)

        with _outside_of_running_loop():
            self._io_loop = IOLoop(make_current=False)
            try:
                self._async_client = self._io_loop.run_sync(make)
            except BaseException:
                self._io_loop.close()
                raise
        self._closed = False

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the client and its loop. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._async_client.close()
            self._io_loop.close()

    def fetch(self, request: str | HTTPRequest, **kwargs: Any) -> HTTPResponse:
        """Send *request* and wait for the answer, as `AsyncHTTPClient.fetch`.

        Raises HTTPClientError or what the connection failed with.
        """
        if self._closed:
            raise RuntimeError("fetch() on a closed HTTPClient")
        with _outside_of_running_loop():
            response: HTTPResponse = self._io_loop.run_sync(
                functools.partial(self._async_client.fetch, request, **kwargs)
            )
        return response


def main() -> None:
    """``python -m pyfastloop.httpclient URL...``: fetch each and print its body."""
    from pyfastloop.options import define, options, parse_command_line

    define("print_headers", type=bool, default=False)
    define("print_body", type=bool, default=True)
    define("follow_redirects", type=bool, default=True)
    define("validate_cert", type=bool, default=True)
    define("proxy_host", type=str)
    define("proxy_port", type=int)
    urls = parse_command_line()
    client = HTTPClient()
    for url in urls:
        try:
            response = client.fetch(
                url,
                follow_redirects=options.follow_redirects,
                validate_cert=options.validate_cert,
                proxy_host=options.proxy_host,
                proxy_port=options.proxy_port,
            )
        except HTTPClientError as error:
            if error.response is None:
                raise
            response = error.response
        if options.print_headers:
            print(response.headers)
        if options.print_body:
            print(native_str(response.body))
    client.close()


if __name__ == "__main__":
    main()
