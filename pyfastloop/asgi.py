"""ASGI 3 in both directions (asgi.readthedocs.io, specification 2.4 for HTTP).

:class:`ASGIContainer` serves an ASGI application (Starlette, FastAPI) by our server,
alone or as one route of an Application beside our own handlers. ``Application.asgi``
(:class:`ASGIApplication`) is the other direction: an Application of ours under uvicorn,
hypercorn or granian.

Both stream: a body is handed on piece by piece as it is asked for, and a slow reader
holds the writer back. Tornado has neither.
"""

from __future__ import annotations

import asyncio
import functools
import time
import types
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

from pyfastloop import httputil
from pyfastloop.concurrent import Future
from pyfastloop.iostream import StreamClosedError
from pyfastloop.log import access_log, app_log, gen_log
from pyfastloop.routing import Router
from pyfastloop.web.base import SERVER_NAME

if TYPE_CHECKING:
    from pyfastloop.web import Application

__all__ = ["ASGIApplication", "ASGIContainer"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_ASGIApp = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_VERSION = {"version": "3.0", "spec_version": "2.4"}
# Messages of a WebSocket that may wait for the application.
_WEBSOCKET_BACKLOG = 32
_CLOSE_NO_STATUS = 1005
# Headers that an ASGI server writes itself.
_SERVERS_OWN = frozenset({"Server", "Date", "Connection", "Transfer-Encoding"})


class ASGIContainer(Router):
    """Serves an ASGI application: ``HTTPServer(ASGIContainer(app))``, or as the target
    of a route, ``(r"/api.*", ASGIContainer(app))``.

    ``root_path`` is what the application is mounted under. The lifespan begins with
    :meth:`startup`, or else with the first request; :meth:`shutdown` ends it.
    """

    def __init__(self, asgi_application: _ASGIApp, *, root_path: str = "") -> None:
        self.asgi_application = asgi_application
        self.root_path = root_path
        #: What the application's lifespan leaves to its requests.
        self.state: dict[str, Any] = {}
        self._lifespan: _Lifespan | None = None

    def find_handler(
        self, request: httputil.HTTPServerRequest, **kwargs: Any
    ) -> httputil.HTTPMessageDelegate | None:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return self._websocket_delegate(request)
        return _HTTPExchange(self, request)

    def __call__(self, request: httputil.HTTPServerRequest) -> None:
        """Answers a request that is whole; for ``FallbackHandler``."""
        exchange = _HTTPExchange(self, request)
        exchange.start()
        if request.body:
            exchange.data_received(request.body)
        exchange.finish()

    def _websocket_delegate(
        self, request: httputil.HTTPServerRequest
    ) -> httputil.HTTPMessageDelegate:
        from pyfastloop.web import Application

        return Application().get_handler_delegate(
            request, _websocket_handler(), {"container": self}
        )

    async def startup(self) -> None:
        """Begins the application's lifespan, where it has one.

        Raises RuntimeError with the application's message where it says that it
        cannot start.
        """
        if self._lifespan is None:
            self._lifespan = _Lifespan(self)
        await self._lifespan.started

    async def shutdown(self) -> None:
        """Ends the application's lifespan; nothing where it was not begun."""
        if self._lifespan is not None:
            lifespan, self._lifespan = self._lifespan, None
            await lifespan.shutdown()

    def scope_of(self, request: httputil.HTTPServerRequest, kind: str) -> _Message:
        """The scope of a request: ``kind`` is "http" or "websocket"."""
        raw_path = request.path.encode("latin-1")
        scheme = request.protocol
        if kind == "websocket":
            scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
        host, port = httputil.split_host_and_port(request.host or "")
        if port is None:
            port = 443 if request.protocol == "https" else 80
        scope: _Message = {
            "type": kind,
            "asgi": _VERSION,
            "http_version": request.version.partition("/")[2],
            "scheme": scheme,
            "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
            "raw_path": raw_path,
            "query_string": request.query.encode("latin-1"),
            "root_path": self.root_path,
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in request.headers.get_all()
            ],
            "client": (request.remote_ip, 0),
            "server": (host, port),
            "state": dict(self.state),
        }
        if kind == "http":
            scope["method"] = request.method
        else:
            offered = request.headers.get("Sec-WebSocket-Protocol", "")
            scope["subprotocols"] = [s.strip() for s in offered.split(",") if s.strip()]
        return scope


class _Lifespan:
    """The lifespan conversation with an application."""

    def __init__(self, container: ASGIContainer) -> None:
        loop = asyncio.get_running_loop()
        self._container = container
        self._inbox: asyncio.Queue[_Message] = asyncio.Queue()
        self.started: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._inbox.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        scope: _Message = {
            "type": "lifespan",
            "asgi": _VERSION,
            "state": self._container.state,
        }
        try:
            await self._container.asgi_application(scope, self._inbox.get, self._send)
        except Exception as error:
            # An application without lifespan raises; the specification has it served.
            if not self.started.done():
                gen_log.debug("ASGI application has no lifespan: %r", error)
            else:
                app_log.error("Uncaught exception in ASGI lifespan", exc_info=True)
        finally:
            for future in (self.started, self._ended):
                if not future.done():
                    future.set_result(None)

    async def _send(self, message: _Message) -> None:
        stage, _, outcome = message["type"].removeprefix("lifespan.").partition(".")
        future = self.started if stage == "startup" else self._ended
        if future.done():
            raise RuntimeError(f"{message['type']} was sent twice")
        if outcome == "failed":
            reason = message.get("message", "")
            future.set_exception(
                RuntimeError(f"ASGI application failed at {stage}: {reason}")
            )
        else:
            future.set_result(None)

    async def shutdown(self) -> None:
        self._inbox.put_nowait({"type": "lifespan.shutdown"})
        await self._ended
        await asyncio.wait([self._task])


class _HTTPExchange(httputil.HTTPMessageDelegate):
    """One request of an ASGI application, as the server sees it."""

    def __init__(
        self, container: ASGIContainer, request: httputil.HTTPServerRequest
    ) -> None:
        self._container = container
        self._request = request
        self._connection: Any = request.connection
        self._pieces: deque[bytes] = deque()
        self._body_ended = False
        self._closed = False
        self._wake = asyncio.Event()  # something to receive
        self._taken = asyncio.Event()  # all pieces were received
        self._start: _Message | None = None
        self._head_sent = False
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    # -- from the server --------------------------------------------------------

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> None:
        self.start()

    def start(self) -> None:
        self._connection.set_close_callback(self.on_connection_close)
        self._task = asyncio.ensure_future(self._run())

    def data_received(self, chunk: bytes) -> Awaitable[None]:
        self._pieces.append(chunk)
        self._taken.clear()
        self._wake.set()
        return self._until_taken()

    async def _until_taken(self) -> None:
        # The server reads on when the application has taken this piece.
        await self._taken.wait()

    def finish(self) -> None:
        self._body_ended = True
        self._wake.set()

    def on_connection_close(self) -> None:
        self._closed = True
        self._wake.set()
        self._taken.set()

    # -- from the application ------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._container.startup()
            scope = self._container.scope_of(self._request, "http")
            await self._container.asgi_application(scope, self._receive, self._send)
            if not self._ended and not self._closed:
                raise RuntimeError("the ASGI application ended without a response")
        except asyncio.CancelledError:
            self._give_up()
            raise
        except Exception as error:
            if not (self._closed and isinstance(error, OSError)):
                app_log.error(
                    "Uncaught exception in ASGI application: %s %s",
                    self._request.method,
                    self._request.uri,
                    exc_info=True,
                )
            self._give_up()
        finally:
            self._taken.set()  # whatever was not read is thrown away

    async def _receive(self) -> _Message:
        while not self._pieces:
            if self._closed or self._ended:
                return {"type": "http.disconnect"}
            if self._body_ended:
                self._body_ended = False
                return {"type": "http.request", "body": b"", "more_body": False}
            self._wake.clear()
            await self._wake.wait()
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._taken.set()
        return {"type": "http.request", "body": body, "more_body": True}

    async def _send(self, message: _Message) -> None:
        if self._closed:
            raise StreamClosedError()
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("http.response.start was sent twice")
            self._start = message
        elif kind == "http.response.body":
            await self._send_body(message)
        else:
            raise RuntimeError(
                f"expected http.response.start or http.response.body, got {kind!r}"
            )

    async def _send_body(self, message: _Message) -> None:
        if self._start is None or self._ended:
            raise RuntimeError("http.response.body outside of a response")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        try:
            if not self._head_sent:
                await self._send_head(self._start, body, more)
            elif body and self._request.method != "HEAD":
                await self._connection.write(body)
        finally:
            if not more:
                self._end()

    async def _send_head(self, start: _Message, body: bytes, more: bool) -> None:
        code: int = start["status"]
        headers = httputil.HTTPHeaders()
        for name, value in start.get("headers", ()):
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        bodiless = code in (204, 304) or code < 200
        # How the body is framed is the connection's business.
        if "Transfer-Encoding" in headers:
            del headers["Transfer-Encoding"]
        if not more and not bodiless and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(body))
        if "Server" not in headers:
            headers["Server"] = SERVER_NAME
        if "Date" not in headers:
            headers["Date"] = httputil.format_timestamp(time.time())
        if self._request.method == "HEAD" or bodiless:
            body = b""
        self._head_sent = True
        reason = httputil.responses.get(code, "Unknown")
        start_line = httputil.ResponseStartLine("HTTP/1.1", code, reason)
        await self._connection.write_headers(start_line, headers, body)

    def _end(self) -> None:
        self._ended = True
        self._wake.set()
        self._taken.set()
        if self._closed:
            return
        self._connection.set_close_callback(None)
        self._connection.finish()
        self._log(self._start["status"] if self._start else 500)

    def _give_up(self) -> None:
        """The application raised: 500, or the end of what was begun."""
        if self._ended or self._closed:
            return
        if self._head_sent:
            self._ended = True
            self._connection.set_close_callback(None)
            self._connection.close()
            self._log(500)
            return
        body = b"" if self._request.method == "HEAD" else b"Internal Server Error"
        headers = httputil.HTTPHeaders(
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": "21",
                "Server": SERVER_NAME,
            }
        )
        self._start = {"status": 500}
        start_line = httputil.ResponseStartLine(
            "HTTP/1.1", 500, httputil.responses[500]
        )
        self._connection.write_headers(start_line, headers, body)
        self._end()

    def _log(self, status: int) -> None:
        if status < 400:
            log = access_log.info
        elif status < 500:
            log = access_log.warning
        else:
            log = access_log.error
        request = self._request
        log(
            "%d %s %s (%s) %.2fms",
            status,
            request.method,
            request.uri,
            request.remote_ip,
            1000.0 * request.request_time(),
        )


@functools.cache
def _websocket_handler() -> type[Any]:
    """The handler of WebSockets of ASGI applications; made when the first comes."""
    from pyfastloop.websocket import WebSocketClosedError, WebSocketHandler

    class ASGIWebSocket(WebSocketHandler):
        container: ASGIContainer

        def initialize(self, container: ASGIContainer) -> None:
            self.container = container
            self._subprotocol: str | None = None

        async def get(self, *args: Any, **kwargs: Any) -> None:
            self._inbox: asyncio.Queue[_Message] = asyncio.Queue(_WEBSOCKET_BACKLOG)
            self._inbox.put_nowait({"type": "websocket.connect"})
            loop = asyncio.get_running_loop()
            self._verdict: asyncio.Future[_Message] = loop.create_future()
            self._task = asyncio.ensure_future(self._run())
            verdict = await self._verdict
            if verdict["type"] != "websocket.accept":
                self.set_status(verdict.get("status", 403))
                self.finish()
                return
            self._subprotocol = verdict.get("subprotocol")
            for name, value in verdict.get("headers", ()):
                self.add_header(name.decode("latin-1"), value)
            await super().get(*args, **kwargs)

        def check_origin(self, origin: str) -> bool:
            return True  # the application's business

        def select_subprotocol(self, subprotocols: list[str]) -> str | None:
            return self._subprotocol

        async def on_message(self, message: str | bytes) -> None:
            key = "bytes" if isinstance(message, bytes) else "text"
            await self._inbox.put({"type": "websocket.receive", key: message})

        def on_close(self) -> None:
            self._closed_message = {
                "type": "websocket.disconnect",
                "code": self.close_code or _CLOSE_NO_STATUS,
                "reason": self.close_reason or "",
            }
            # Room or not: this is the last message.
            self._task.get_loop().call_soon(self._tell_closed)

        def _tell_closed(self) -> None:
            if not self._inbox.full():
                self._inbox.put_nowait(self._closed_message)

        async def _receive(self) -> _Message:
            closed = self.__dict__.get("_closed_message")
            if closed is not None and self._inbox.empty():
                message: _Message = closed
                return message
            return await self._inbox.get()

        async def _send(self, message: _Message) -> None:
            kind = message["type"]
            if not self._verdict.done():
                if kind == "websocket.close":
                    message = {"type": kind, "status": 403}
                self._verdict.set_result(message)
            elif kind == "websocket.send":
                data = message.get("bytes")
                try:
                    if data is not None:
                        await self.write_message(data, binary=True)
                    else:
                        await self.write_message(message["text"])
                except WebSocketClosedError as error:
                    raise StreamClosedError(error) from None
            elif kind == "websocket.close":
                self.close(message.get("code", 1000), message.get("reason") or None)
            else:
                raise RuntimeError(f"unexpected ASGI message {kind!r}")

        async def _run(self) -> None:
            try:
                await self.container.startup()
                scope = self.container.scope_of(self.request, "websocket")
                await self.container.asgi_application(scope, self._receive, self._send)
            except Exception as error:
                if not isinstance(error, StreamClosedError):
                    app_log.error(
                        "Uncaught exception in ASGI application: WebSocket %s",
                        self.request.uri,
                        exc_info=True,
                    )
                self._refuse_or_close(1011, 500)
            else:
                self._refuse_or_close(1000, 403)

        def _refuse_or_close(self, code: int, status: int) -> None:
            if not self._verdict.done():
                self._verdict.set_result({"type": "websocket.close", "status": status})
            elif "_closed_message" not in self.__dict__:
                self.close(code)

    return ASGIWebSocket


# -- the other direction --------------------------------------------------------------


class ASGIApplication:
    """An Application of ours as an ASGI application: ``Application.asgi``.

    Serves HTTP, streamed bodies and slow readers included. WebSockets need the stream
    itself, which ASGI does not give: they are refused with a line in the log.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await _serve(self.application, scope, receive, send)
        elif kind == "lifespan":
            await _live(receive, send)
        elif kind == "websocket":
            gen_log.error(
                "WebSocket %s refused: under an ASGI server an Application serves HTTP "
                "only; serve it by pyfastloop's own HTTPServer",
                scope.get("path"),
            )
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"expected an http, websocket or lifespan scope: {kind!r}")


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        stage = (await receive())["type"]
        await send({"type": f"{stage}.complete"})
        if stage == "lifespan.shutdown":
            return


class _Context(types.SimpleNamespace):
    """What a request asks its connection's context for."""

    remote_ip: str
    protocol: str
    address_family: Any


class _ASGIConnection(httputil.HTTPConnection):
    """The connection of a request under an ASGI server.

    What a handler writes is queued in order; :meth:`pump` sends it.
    """

    def __init__(self, scope: _Message, send: _Send) -> None:
        client = scope.get("client") or ("", 0)
        self.context = _Context(
            remote_ip=client[0],
            protocol=scope.get("scheme", "http"),
            address_family=None,
        )
        self._send = send
        self._queue: deque[tuple[_Message, Future[None] | None]] = deque()
        self._more = asyncio.Event()
        self._close_callback: Callable[[], object] | None = None
        self.finished = False
        self.closed = False

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        self._close_callback = callback

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Future[None]:
        if not isinstance(start_line, httputil.ResponseStartLine):
            raise TypeError("an ASGI response begins with a ResponseStartLine")
        message: _Message = {
            "type": "http.response.start",
            "status": start_line.code,
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in headers.get_all()
                if name not in _SERVERS_OWN
            ],
        }
        self._put(message, None)
        return self.write(chunk or b"")

    def write(self, chunk: bytes) -> Future[None]:
        if self.finished:
            raise RuntimeError("write after finish")
        sent: Future[None] = Future()
        if self.closed:
            sent.set_exception(StreamClosedError())
            sent.exception()
        else:
            message = {"type": "http.response.body", "body": chunk, "more_body": True}
            self._put(message, sent)
        return sent

    def finish(self) -> None:
        self.finished = True
        self._put({"type": "http.response.body", "body": b"", "more_body": False}, None)

    def close(self) -> None:
        """Ends the exchange in the middle: the server sees that it is not whole."""
        self.closed = True
        self._more.set()

    def detach(self) -> Any:
        raise RuntimeError("under ASGI there is no stream to detach")

    def _put(self, message: _Message, sent: Future[None] | None) -> None:
        self._queue.append((message, sent))
        self._more.set()

    async def pump(self) -> None:
        """Sends what was queued until the response is whole or given up."""
        while not self.closed:
            while self._queue:
                message, sent = self._queue.popleft()
                if self._queue and self._queue[0][0]["type"] == "http.response.body":
                    message = self._joined(message)
                await self._send(message)
                if sent is not None and not sent.done():
                    sent.set_result(None)
                if not message.get("more_body", True):
                    return
            self._more.clear()
            await self._more.wait()

    def _joined(self, message: _Message) -> _Message:
        """A last piece and the empty end behind it as one message."""
        following = self._queue[0][0]
        if message["type"] == "http.response.body" and not following["more_body"]:
            self._queue.popleft()
            return {**message, "more_body": False}
        return message

    def lost(self) -> None:
        """The client has gone."""
        self.closed = True
        for _, sent in self._queue:
            if sent is not None and not sent.done():
                sent.set_exception(StreamClosedError())
                sent.exception()
        self._queue.clear()
        self._more.set()
        callback, self._close_callback = self._close_callback, None
        if callback is not None:
            callback()


async def _serve(
    application: Application, scope: _Message, receive: _Receive, send: _Send
) -> None:
    connection = _ASGIConnection(scope, send)
    delegate = application.start_request(connection, connection)
    pump = asyncio.ensure_future(connection.pump())
    reader = asyncio.ensure_future(_read(delegate, connection, scope, receive))
    try:
        await asyncio.wait((pump, reader), return_when=asyncio.FIRST_COMPLETED)
        if reader.done() and reader.exception() is not None:
            reader.result()
        await pump
        if not connection.finished and not connection.closed:
            raise RuntimeError("the handler ended without a response")
    finally:
        for task in (reader, pump):
            task.cancel()


async def _read(
    delegate: httputil.HTTPMessageDelegate,
    connection: _ASGIConnection,
    scope: _Message,
    receive: _Receive,
) -> None:
    """Hands the request on to the delegate, and a disconnect after it."""
    result = delegate.headers_received(_start_line(scope), _headers(scope))
    if result is not None:
        await result
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body = message.get("body")
        if body and not connection.finished:
            result = delegate.data_received(body)
            if result is not None:
                await result
        if not message.get("more_body", False):
            delegate.finish()
            while (await receive())["type"] != "http.disconnect":
                pass
            if not connection.finished:
                connection.lost()
            return
    delegate.on_connection_close()
    connection.lost()


def _start_line(scope: _Message) -> httputil.RequestStartLine:
    raw_path: bytes | None = scope.get("raw_path")
    if raw_path is None:
        target = quote(scope["path"].encode("utf-8"), safe="/;:@&=+$,!~*'()")
    else:
        target = raw_path.decode("latin-1")
    if scope.get("query_string"):
        target += "?" + scope["query_string"].decode("latin-1")
    version = "HTTP/1.0" if scope.get("http_version") == "1.0" else "HTTP/1.1"
    return httputil.RequestStartLine(scope["method"], target, version)


def _headers(scope: _Message) -> httputil.HTTPHeaders:
    headers = httputil.HTTPHeaders()
    for name, value in scope["headers"]:
        headers.add(name.decode("latin-1"), value.decode("latin-1"))
    if "Host" not in headers and scope.get("server"):
        host, port = scope["server"]
        headers["Host"] = host if port is None else f"{host}:{port}"
    return headers
