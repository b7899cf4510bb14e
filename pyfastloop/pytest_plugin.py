"""Fixtures for pytest: a loop, a server of the application under test, a client.

Loaded by pytest itself where pyfastloop is installed. A test file defines ``app``, and
its ``async def`` tests that use a fixture of these run in the fixture's loop::

    @pytest.fixture
    def app():
        return Application([("/", Hello)])

    async def test_hello(fastloop_client):
        response = await fastloop_client.get("/")
        assert response.body == b"hello"

The names are those of pytest-tornasync, whose tests run unchanged, and
``fastloop_client`` beside them. Tests marked for asyncio or anyio are left to those.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import warnings
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from pyfastloop.httpclient import AsyncHTTPClient, HTTPResponse
from pyfastloop.httpserver import HTTPServer
from pyfastloop.ioloop import IOLoop
from pyfastloop.testing import bind_unused_port, get_async_test_timeout

__all__ = [
    "ServerClient",
    "app",
    "fastloop_client",
    "http_server",
    "http_server_client",
    "http_server_port",
    "io_loop",
]

_OTHER_MARKS = ("asyncio", "anyio", "trio")


class ServerClient:
    """Fetches paths from the server of a test."""

    def __init__(
        self, client: AsyncHTTPClient, base: str, raise_error: bool = True
    ) -> None:
        self._client = client
        self._base = base
        self._raise_error = raise_error

    def url(self, path: str) -> str:
        """The URL of ``path`` on the server."""
        return self._base + path

    def fetch(self, path: str, **kwargs: Any) -> Awaitable[HTTPResponse]:
        """As ``AsyncHTTPClient.fetch`` of :meth:`url`."""
        kwargs.setdefault("raise_error", self._raise_error)
        future: Awaitable[HTTPResponse] = self._client.fetch(self.url(path), **kwargs)
        return future

    def get(self, path: str, **kwargs: Any) -> Awaitable[HTTPResponse]:
        """GET ``path``."""
        return self.fetch(path, **kwargs)

    def post(
        self, path: str, body: str | bytes = b"", **kwargs: Any
    ) -> Awaitable[HTTPResponse]:
        """POST ``body`` to ``path``."""
        return self.fetch(path, method="POST", body=body, **kwargs)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """A loop for the test, current while it runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = IOLoop()
        loop.make_current()
    yield loop
    _cancel_rest(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loop.clear_current()
    loop.close(all_fds=True)


def _cancel_rest(loop: IOLoop) -> None:
    tasks = asyncio.all_tasks(loop.asyncio_loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_sync(lambda: asyncio.wait(tasks))


@pytest.fixture
def app() -> Any:
    """The application to test: to be defined by the test file."""
    raise pytest.UsageError(
        "the fixtures http_server and fastloop_client serve the fixture `app`: define "
        "one in the test file or conftest.py that returns a pyfastloop.web.Application"
    )


@pytest.fixture
def http_server_port() -> tuple[socket.socket, int]:
    """A listening socket and its port."""
    return bind_unused_port()


@pytest.fixture
def http_server(
    io_loop: IOLoop, http_server_port: tuple[socket.socket, int], app: Any
) -> Iterator[HTTPServer]:
    """A server of ``app`` on ``http_server_port``."""

    async def start() -> HTTPServer:
        server = HTTPServer(app)
        server.add_sockets([http_server_port[0]])
        return server

    server = io_loop.run_sync(start)
    yield server
    server.stop()
    io_loop.run_sync(server.close_all_connections, timeout=get_async_test_timeout())


def _client(io_loop: IOLoop, port: int, raise_error: bool) -> Iterator[ServerClient]:
    async def make() -> AsyncHTTPClient:
        return AsyncHTTPClient(force_instance=True)

    client = io_loop.run_sync(make)
    yield ServerClient(client, f"http://127.0.0.1:{port}", raise_error)
    client.close()


@pytest.fixture
def http_server_client(
    io_loop: IOLoop,
    http_server: HTTPServer,
    http_server_port: tuple[socket.socket, int],
) -> Iterator[ServerClient]:
    """A client of ``http_server`` whose ``fetch`` raises for errors of HTTP."""
    yield from _client(io_loop, http_server_port[1], raise_error=True)


@pytest.fixture
def fastloop_client(
    io_loop: IOLoop,
    http_server: HTTPServer,
    http_server_port: tuple[socket.socket, int],
) -> Iterator[ServerClient]:
    """A client of ``http_server`` that returns every response, errors too."""
    yield from _client(io_loop, http_server_port[1], raise_error=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs ``async def`` tests that use ``io_loop``, in it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    loop = pyfuncitem.funcargs.get("io_loop")
    if not isinstance(loop, IOLoop):
        return None
    if any(pyfuncitem.get_closest_marker(mark) for mark in _OTHER_MARKS):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    loop.run_sync(lambda: pyfuncitem.obj(**arguments), timeout=get_async_test_timeout())
    return True
