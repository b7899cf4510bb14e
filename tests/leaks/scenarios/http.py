"""Lives of headers, requests, connections and handlers."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyfastloop import concurrent, httpserver, httputil, iostream, log, web
from pyfastloop.ioloop import IOLoop
from scenarios.base import Once, Raised, scenario, simple


@simple
def headers() -> None:
    one = httputil.HTTPHeaders({"A": "1"})
    one.add("Set-Cookie", "a=b")
    one.add("Set-Cookie", "c=d")
    one.parse_line("X-Long: 1")
    assert one.get_list("set-cookie") == ["a=b", "c=d"]
    assert list(one.get_all())
    copied = one.copy()
    del copied["a"]
    one.itself = one  # type: ignore[attr-defined]
    del one
    gc.collect()


@simple
def request_alone() -> None:
    request = httputil.HTTPServerRequest("GET", "/path?a=1&a=2")
    assert request.arguments == {"a": [b"1", b"2"]}
    assert request.cookies is not None
    repr(request)


class Plain(web.RequestHandler):
    def get(self) -> None:
        self.set_header("X-Name", self.get_argument("name", "none"))
        self.write({"cookie": self.get_cookie("a")})

    def post(self) -> None:
        self.write(self.request.body)


class Suspends(web.RequestHandler):
    async def get(self) -> None:
        await asyncio.sleep(0)
        self.write("first")
        await self.flush()
        self.write("second")


class Fails(web.RequestHandler):
    def get(self) -> None:
        raise Raised


class Waits(web.RequestHandler):
    async def get(self) -> None:
        self.left: Any = concurrent.Future()
        await self.left

    def on_connection_close(self) -> None:
        self.left.set_result(None)


def served(
    *requests: bytes, answers: int | None = None, **settings: Any
) -> Callable[[], Any]:
    """A scenario: each request over a connection of its own, its answers read."""

    def run() -> Iterator[Once]:
        logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
        loop = IOLoop()
        loop.make_current()
        app = web.Application(
            [(r"/", Plain), (r"/s", Suspends), (r"/f", Fails), (r"/w", Waits)],
            **settings,
        )
        server = httpserver.HTTPServer(app)
        server.listen(0, "127.0.0.1")
        (sock,) = server._sockets.values()
        address = sock.getsockname()

        async def ask() -> None:
            for request in requests:
                client = iostream.IOStream(socket.socket())
                await client.connect(address)
                await client.write(request)
                received = b""
                while answers is not None and received.count(b"HTTP/1.1 ") < answers:
                    received += await client.read_bytes(65536, partial=True)
                client.close()
            # The server notices the end of each connection.
            for _ in range(5):
                await asyncio.sleep(0)

        yield lambda: loop.run_sync(ask)
        server.stop()
        loop.run_sync(server.close_all_connections)
        loop.close()

    return run


FILES = Path(tempfile.mkdtemp(prefix="pyfastloop-leaks-"))
(FILES / "large").write_bytes(b"x" * 100_000)
atexit.register(shutil.rmtree, FILES)

HEAD = b" HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\nX-A: 1\r\n\r\n"
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"
)
BODY = b"POST /?a=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
for name, function in {
    "http_plain": served(b"GET /?name=x" + HEAD, answers=1),
    "http_pipelined": served((b"GET /" + HEAD) * 16, answers=16),
    "http_bodies": served(BODY + CHUNKED, answers=2),
    "http_suspends": served(b"GET /s" + HEAD, answers=1),
    "http_fails": served(b"GET /f" + HEAD, answers=1),
    "http_not_found": served(b"GET /nowhere" + HEAD + b"PUT /" + HEAD, answers=2),
    "http_bad_requests": served(
        b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", answers=1
    ),
    "http_half_requests": served(b"GET / HTTP/1.1\r\nHost: a\r\n", BODY[:-3]),
    "http_client_leaves": served(b"GET /w" + HEAD),
    # This file is larger than what is read before it is sent.
    "static_file": served(
        b"GET /static/large" + HEAD,
        b"HEAD /static/large" + HEAD,
        b"GET /static/nope" + HEAD,
        answers=1,
        static_path=str(FILES),
    ),
    "access_log": served(
        b"GET /" + HEAD, answers=1, log_function=log.AccessLog(os.devnull)
    ),
}.items():
    function.__name__ = name
    scenario(function)


@scenario
def http_tables() -> Iterator[Once]:
    """The routes of an application, those for hosts and of inner routers included."""
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    loop = IOLoop()
    loop.make_current()

    async def ask() -> None:
        app = web.Application(
            [(r"/in/.*", [(r"/in/(?P<name>\w+)", Plain)]), (r"/", Plain)],
            default_host="stand-in",
        )
        app.add_handlers(r"(www\.)?a", [(r"/host", Plain)])
        app.add_handlers("stand-in", [(r"/default", Plain)])
        server = httpserver.HTTPServer(app)
        server.listen(0, "127.0.0.1")
        (sock,) = server._sockets.values()
        client = iostream.IOStream(socket.socket())
        await client.connect(sock.getsockname())
        for path in (b"/", b"/host", b"/in/x", b"/default"):
            await client.write(b"POST " + path + HEAD)
            await client.read_until(b"\r\n\r\n")
        app.default_router.rules.pop()
        await client.write(b"GET /nowhere" + HEAD)
        await client.read_until(b"</html>")
        client.close()
        server.stop()
        await server.close_all_connections()

    yield lambda: loop.run_sync(ask)
    loop.close()
