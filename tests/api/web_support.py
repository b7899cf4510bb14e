"""A site under test: an Application behind a real server, asked over a real socket.

The client is a plain blocking socket in a thread, so that what is seen is what went
over the wire and not what some client made of it.
"""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from pyfastloop.httpserver import HTTPServer
from pyfastloop.ioloop import IOLoop
from pyfastloop.netutil import bind_sockets
from pyfastloop.web import Application

SECONDS = 60


class Answer:
    """A response, read to the end of the connection."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        head, _, self.rest = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, status = first.partition(" ")
        code, _, self.reason = status.partition(" ")
        self.version = version
        self.code = int(code) if code else 0
        self.header_list = [(n, v) for n, _, v in (x.partition(": ") for x in lines)]
        self.headers = dict(self.header_list)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        self.body = unchunk(self.rest) if chunked else self.rest

    def all(self, name: str) -> list[str]:
        return [v for n, v in self.header_list if n == name]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def __repr__(self) -> str:
        return f"<Answer {self.raw!r}>"


def unchunk(data: bytes) -> bytes:
    """The content of a chunked body; what was cut off is not there."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if not size or int(size, 16) == 0:
            break
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body


def exchange(port: int, data: bytes) -> bytes:
    """Sends ``data`` and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock:
        sock.sendall(data)
        pieces = []
        while piece := sock.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


class Site:
    """One Application (or other callback) served on a loop of its own."""

    def __init__(
        self,
        handlers: Any,
        server_options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.loop = IOLoop(make_current=True)
        listed = isinstance(handlers, list)
        self.app = Application(handlers, **settings) if listed else handlers
        (self.sock,) = bind_sockets(0, "127.0.0.1")
        self.port: int = self.sock.getsockname()[1]
        self.server: HTTPServer = self.run(self._serve, server_options or {})

    async def _serve(self, options: dict[str, Any]) -> HTTPServer:
        server = HTTPServer(self.app, **options)
        server.add_sockets([self.sock])
        return server

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.loop.run_sync(lambda: function(*args), timeout=SECONDS)

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Runs a blocking function beside the loop."""
        return self.run(self.loop.run_in_executor, None, function, *args)

    def raw(self, data: bytes) -> bytes:
        answer: bytes = self.in_thread(exchange, self.port, data)
        return answer

    def ask(
        self,
        path: str = "/",
        method: str = "GET",
        headers: Iterable[tuple[str, str]] | dict[str, str] = (),
        body: bytes | str | None = None,
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1"]
        given = list(headers.items() if isinstance(headers, dict) else headers)
        if not any(name == "Host" for name, _ in given):
            given.append(("Host", f"127.0.0.1:{self.port}"))
        payload = body.encode() if isinstance(body, str) else body or b""
        if body is not None:
            given.append(("Content-Length", str(len(payload))))
        given.append(("Connection", "close"))
        lines += [f"{name}: {value}" for name, value in given]
        head = "\r\n".join(lines) + "\r\n\r\n"
        return Answer(self.raw(head.encode("latin-1") + payload))

    def close(self) -> None:
        self.server.stop()
        self.run(self.server.close_all_connections)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.loop.clear_current()
        self.loop.close(all_fds=True)


def lines_of(caplog: Any, logger: str = "", level: int = logging.NOTSET) -> list[str]:
    """The messages that were logged by ``logger``, at least at ``level``."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith(logger) and record.levelno >= level
    ]
