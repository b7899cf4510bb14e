"""WSGI in both directions (PEP 3333).

:class:`WSGIContainer` serves a WSGI application (Flask, Django) by our server, on the
loop's thread or in an executor. :class:`WSGIAdapter` makes an Application of ours a
WSGI application, for servers of that kind: each request runs to its end inside the
call, on a loop of the calling thread.

Differs from Tornado: the adapter of Tornado 4 is still here; a container sends the
pieces of a response as the application makes them, and answers 500 where it raises.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import types
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pyfastloop import escape, httputil
from pyfastloop.concurrent import Future, dummy_executor
from pyfastloop.httputil import HTTPServerRequest
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import StreamClosedError
from pyfastloop.log import access_log, app_log
from pyfastloop.web.base import SERVER_NAME

if TYPE_CHECKING:
    from pyfastloop.web import Application

__all__ = ["HTTPRequest", "WSGIAdapter", "WSGIContainer", "to_wsgi_str"]

HTTPRequest = HTTPServerRequest

_StartResponse = Callable[..., Callable[[bytes], object]]
_WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]
_END = object()


def to_wsgi_str(s: bytes) -> str:
    """Bytes as PEP 3333 has them in ``environ``: a str of one character a byte."""
    if not isinstance(s, bytes):
        raise TypeError(f"to_wsgi_str takes bytes, not {type(s).__name__}")
    return s.decode("latin-1")


class WSGIContainer:
    """Serves a WSGI application; a callback for ``HTTPServer`` or ``FallbackHandler``.

    Without ``executor`` the application runs on the loop's thread and blocks it; with
    a ``ThreadPoolExecutor`` as many requests run at once as it has threads.
    """

    def __init__(
        self, wsgi_application: _WSGIApp, executor: Executor | None = None
    ) -> None:
        self.wsgi_application = wsgi_application
        self.executor: Executor = dummy_executor if executor is None else executor

    def __call__(self, request: HTTPServerRequest) -> None:
        IOLoop.current().spawn_callback(self.handle_request, request)

    async def handle_request(self, request: HTTPServerRequest) -> None:
        """Runs the application for ``request`` and sends what it answers."""
        response = _Response(request)
        try:
            await self._run(response)
        except StreamClosedError:
            pass  # the client went away; the application has been closed
        except Exception:
            app_log.error(
                "Uncaught exception in WSGI application: %s %s",
                request.method,
                request.uri,
                exc_info=True,
            )
            response.fail()
        self._log(response.code, request)

    async def _run(self, response: _Response) -> None:
        in_executor = self._in_executor
        blocks = await in_executor(
            self.wsgi_application, self.environ(response.request), response.start
        )
        try:
            if isinstance(blocks, list | tuple):
                await response.send_whole(b"".join(blocks))
                return
            pieces = iter(blocks)
            while (piece := await in_executor(next, pieces, _END)) is not _END:
                await response.send(piece)
            await response.finish()
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                await in_executor(close)

    def _in_executor(self, function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        loop = IOLoop.current()
        return loop.run_in_executor(self.executor, function, *args)

    def environ(self, request: HTTPServerRequest) -> dict[str, Any]:
        """The WSGI environment of a request."""
        host, port = httputil.split_host_and_port((request.host or "").lower())
        if port is None:
            port = 443 if request.protocol == "https" else 80
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": to_wsgi_str(
                escape.url_unescape(request.path, encoding=None, plus=False)
            ),
            "QUERY_STRING": request.query,
            "REMOTE_ADDR": request.remote_ip,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": request.version,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": request.protocol,
            "wsgi.input": BytesIO(escape.utf8(request.body)),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self.executor is not dummy_executor,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            key = name.replace("-", "_").upper()
            if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                environ[key] = value
            elif "_" not in name:
                # "X_A" and "X-A" are one name here: only the proper one counts.
                environ[f"HTTP_{key}"] = value
        return environ

    def _log(self, status_code: int, request: HTTPServerRequest) -> None:
        if status_code < 400:
            log = access_log.info
        elif status_code < 500:
            log = access_log.warning
        else:
            log = access_log.error
        milliseconds = 1000.0 * request.request_time()
        log(
            "%d %s %s (%s) %.2fms",
            status_code,
            request.method,
            request.uri,
            request.remote_ip,
            milliseconds,
        )


class _Response:
    """One answer of a WSGI application on its way to the connection."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self.request = request
        self.code = 500
        self.status: tuple[str, list[tuple[str, str]]] | None = None
        self.head_sent = False
        self.written: list[bytes] = []  # by the callable that start_response gives

    @property
    def connection(self) -> Any:
        return self.request.connection

    def start(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,
    ) -> Callable[[bytes], object]:
        """The ``start_response`` of PEP 3333; runs on the application's thread."""
        if exc_info is not None and self.head_sent:
            raise exc_info[1].with_traceback(exc_info[2])
        if self.status is not None and exc_info is None:
            raise AssertionError("start_response was called twice without exc_info")
        self.status = (status, list(headers))
        return self.written.append

    async def send(self, piece: bytes) -> None:
        if self.written:
            # PEP 3333: write() comes before all that is iterated.
            piece = b"".join(self.written) + piece
            self.written.clear()
        if not piece:
            return
        if not self.head_sent:
            await self._send_head(piece)
        elif self.request.method != "HEAD":
            await self.connection.write(piece)

    async def send_whole(self, body: bytes) -> None:
        """Sends a body that is complete, with its length."""
        body = b"".join(self.written) + body
        self.written.clear()
        await self._send_head(body, whole=True)
        self.connection.finish()

    async def finish(self) -> None:
        if self.written:
            await self.send(b"")
        if not self.head_sent:
            await self._send_head(b"", whole=True)
        self.connection.finish()

    async def _send_head(self, piece: bytes, whole: bool = False) -> None:
        if self.status is None:
            raise Exception("WSGI app did not call start_response")
        status, given = self.status
        code, _, reason = status.partition(" ")
        self.code = int(code)
        headers = httputil.HTTPHeaders()
        for name, value in given:
            headers.add(name, value)
        bodiless = self.code in (204, 304) or self.code < 200
        if not bodiless:
            if whole and "Content-Length" not in headers:
                headers["Content-Length"] = str(len(piece))
            if "Content-Type" not in headers:
                headers["Content-Type"] = "text/html; charset=UTF-8"
        if "Server" not in headers:
            headers["Server"] = SERVER_NAME
        if "Date" not in headers:
            headers["Date"] = httputil.format_timestamp(time.time())
        if self.request.method == "HEAD" or bodiless:
            piece = b""
        self.head_sent = True
        start_line = httputil.ResponseStartLine("HTTP/1.1", self.code, reason)
        await self.connection.write_headers(start_line, headers, piece)

    def fail(self) -> None:
        """The application raised: 500, or the end of what was begun."""
        if self.head_sent:
            self.connection.close()
            return
        self.code = 500
        self.head_sent = True
        reason = httputil.responses[500]
        line = f"500: {reason}"
        body = f"<html><title>{line}</title><body>{line}</body></html>".encode()
        headers = httputil.HTTPHeaders(
            {
                "Content-Type": "text/html; charset=UTF-8",
                "Content-Length": str(len(body)),
                "Server": SERVER_NAME,
            }
        )
        start_line = httputil.ResponseStartLine(
            "HTTP/1.1", 500, "Internal Server Error"
        )
        if self.request.method == "HEAD":
            body = b""
        self.connection.write_headers(start_line, headers, body)
        self.connection.finish()


# -- the other direction ------------------------------------------------------------


class _Context(types.SimpleNamespace):
    """What a request asks its connection's context for."""

    remote_ip: str
    protocol: str
    address_family: Any


class _WSGIConnection(httputil.HTTPConnection):
    """The connection of a request under :class:`WSGIAdapter`: collects the answer."""

    #: Asked by ``@web.asynchronous``, which cannot work here.
    wsgi = True

    def __init__(
        self, method: str, start_response: _StartResponse, context: _Context
    ) -> None:
        self.method = method
        self.context = context
        self.start_response = start_response
        self.body: list[bytes] = []
        self.finished = False
        self.expected: int | None = None

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Nothing: a WSGI server does not tell when the client leaves."""

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Future[None]:
        if not isinstance(start_line, httputil.ResponseStartLine):
            raise TypeError("a WSGI response begins with a ResponseStartLine")
        length = headers.get("Content-Length")
        if self.method != "HEAD" and length is not None:
            self.expected = int(length)
        self.start_response(
            f"{start_line.code} {start_line.reason}",
            [(str(name), str(value)) for name, value in headers.get_all()],
        )
        return self.write(chunk or b"")

    def write(self, chunk: bytes) -> Future[None]:
        if self.finished:
            raise RuntimeError("write after finish")
        self.body.append(chunk)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def finish(self) -> None:
        size = sum(map(len, self.body))
        if self.expected is not None and size != self.expected:
            raise httputil.HTTPOutputError(
                f"Content-Length says {self.expected} bytes, {size} were written"
            )
        self.finished = True

    def close(self) -> None:
        self.finished = True

    def detach(self) -> Any:
        raise RuntimeError("under WSGI there is no stream to detach")


class WSGIAdapter:
    """A WSGI application that runs ``application``, an Application of ours.

    Coroutine handlers work: the call returns when the request is finished. What
    outlives the call does not: ``@web.asynchronous``, WebSockets, streamed bodies.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self._loops = threading.local()

    def __call__(
        self, environ: dict[str, Any], start_response: _StartResponse
    ) -> Iterator[bytes]:
        context = _Context(
            remote_ip=environ.get("REMOTE_ADDR", ""),
            protocol=environ["wsgi.url_scheme"],
            address_family=None,
        )
        connection = _WSGIConnection(environ["REQUEST_METHOD"], start_response, context)
        request = _request_of(environ, connection)
        self._loop().run_sync(lambda: self._serve(request))
        if not connection.finished:
            raise Exception("request did not finish synchronously")
        return iter(connection.body)

    def _loop(self) -> IOLoop:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError(
                "a WSGIAdapter blocks its thread until the request is finished, so it "
                "cannot be called on the thread of a running loop; serve the "
                "Application itself, or give the WSGIContainer an executor"
            )
        loop: IOLoop | None = getattr(self._loops, "loop", None)
        if loop is None:
            loop = self._loops.loop = IOLoop(make_current=False)
        return loop

    async def _serve(self, request: HTTPServerRequest) -> None:
        delegate: Any = self.application.find_handler(request)
        delegate.execute()
        running = getattr(delegate, "running", None)
        if running is not None:
            await running


def _request_of(
    environ: dict[str, Any], connection: _WSGIConnection
) -> HTTPServerRequest:
    uri = quote(
        environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
        safe="/;:@&=+$,!~*'()",
        encoding="latin-1",
    )
    if environ.get("QUERY_STRING"):
        uri += "?" + environ["QUERY_STRING"]
    headers = httputil.HTTPHeaders()
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    if environ.get("CONTENT_LENGTH"):
        headers["Content-Length"] = environ["CONTENT_LENGTH"]
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            headers[key[5:].replace("_", "-").title()] = value
    body = b""
    if "Content-Length" in headers:
        body = environ["wsgi.input"].read(int(headers["Content-Length"]))
    host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "127.0.0.1")
    return HTTPServerRequest(
        start_line=httputil.RequestStartLine(
            environ["REQUEST_METHOD"], uri, environ.get("SERVER_PROTOCOL", "HTTP/1.1")
        ),
        headers=headers,
        body=body,
        host=host,
        connection=connection,
    )
