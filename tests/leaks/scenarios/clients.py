"""Lives of the HTTP client's connections and of WebSockets, both ends in one loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from pyfastloop import httpclient, httpserver, web, websocket
from pyfastloop.ioloop import IOLoop
from scenarios.base import Once, Raised, scenario


class Echo(web.RequestHandler):
    async def get(self) -> None:
        self.write(self.request.uri or "")

    async def post(self) -> None:
        await asyncio.sleep(0)
        self.write(self.request.body)


class Redirect(web.RequestHandler):
    def get(self) -> None:
        self.redirect("/")


class Fails(web.RequestHandler):
    def get(self) -> None:
        raise Raised


class Socket(websocket.WebSocketHandler):
    async def on_message(self, message: Any) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.get_argument("deflate", "") else None


def served(function: Callable[[int], Awaitable[None]]) -> None:
    """A scenario whose every turn is a coroutine that is told the server's port."""

    def run() -> Iterator[Once]:
        loop = IOLoop()
        loop.make_current()
        app = web.Application(
            [(r"/", Echo), (r"/r", Redirect), (r"/f", Fails), (r"/ws", Socket)]
        )
        server = httpserver.HTTPServer(app)
        server.listen(0, "127.0.0.1")
        (sock,) = server._sockets.values()
        port = sock.getsockname()[1]

        async def once() -> None:
            await function(port)
            for _ in range(5):
                await asyncio.sleep(0)

        yield lambda: loop.run_sync(once)
        server.stop()
        loop.run_sync(server.close_all_connections)
        loop.close()

    run.__name__ = function.__name__
    scenario(run)  # type: ignore[arg-type]


@served
async def client_pooled(port: int) -> None:
    client = httpclient.AsyncHTTPClient()
    url = f"http://127.0.0.1:{port}/"
    assert (await client.fetch(url)).body == b"/"
    answer = await client.fetch(url, method="POST", body=b"x" * 100_000)
    assert len(answer.body) == 100_000
    assert (await client.fetch(url + "r")).effective_url == url


@served
async def client_of_its_own(port: int) -> None:
    client = httpclient.AsyncHTTPClient(force_instance=True)
    pieces: list[bytes] = []
    await client.fetch(f"http://127.0.0.1:{port}/", streaming_callback=pieces.append)
    client.close()


@served
async def client_cancelled(port: int) -> None:
    """Fetches that are cancelled before, in and after the queue, and closed over."""
    client = httpclient.AsyncHTTPClient(force_instance=True, max_clients=1)
    url = f"http://127.0.0.1:{port}/"
    await client.fetch(url)
    for order in (0, 1, -1):
        fetches = [client.fetch(url, inactivity_timeout=5) for _ in range(3)]
        fetches[order].cancel()
        for done in await asyncio.gather(*fetches, return_exceptions=True):
            assert isinstance(done, asyncio.CancelledError) or done.body == b"/"
    for _ in range(3):
        client.fetch(url)
    client.close()


@served
async def client_errors(port: int) -> None:
    client = httpclient.AsyncHTTPClient()
    for path in ("f", "nowhere"):
        with contextlib.suppress(httpclient.HTTPClientError):
            await client.fetch(f"http://127.0.0.1:{port}/{path}")
    with contextlib.suppress(OSError):
        await client.fetch("http://127.0.0.1:1/")


@served
async def websocket_echo(port: int) -> None:
    connection = await websocket.websocket_connect(f"ws://127.0.0.1:{port}/ws")
    for message in ("text", b"bytes" * 1000):
        await connection.write_message(message, binary=isinstance(message, bytes))
        assert await connection.read_message() == message
    connection.close(1000, "enough")
    assert await connection.read_message() is None


@served
async def websocket_compressed(port: int) -> None:
    connection = await websocket.websocket_connect(
        f"ws://127.0.0.1:{port}/ws?deflate=1", compression_options={}
    )
    await connection.write_message("text " * 100)
    assert await connection.read_message() == "text " * 100
    connection.close()
    assert await connection.read_message() is None


class Topic(websocket.WebSocketHandler):
    def open(self) -> None:
        self.subscribe("topic")

    def on_message(self, message: Any) -> None:
        self.publish("topic", message)

    def get_compression_options(self) -> dict[str, Any] | None:
        if self.get_argument("deflate", ""):
            return {"no_context_takeover": True, "max_window_bits": 10}
        return None


@scenario
def websocket_topics() -> Iterator[Once]:
    """Published messages, with and without compression, and a drain."""
    loop = IOLoop()
    loop.make_current()
    server = httpserver.HTTPServer(web.Application([(r"/", Topic)]))
    server.listen(0, "127.0.0.1")
    (sock,) = server._sockets.values()
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}/"

    async def once() -> None:
        plain = await websocket.websocket_connect(url)
        packed = await websocket.websocket_connect(
            url + "?deflate=1", compression_options={}
        )
        for _ in range(5):
            await plain.write_message("text " * 50)
            for member in (plain, packed):
                assert await member.read_message() == "text " * 50
        assert await websocket.drain() == 0
        for _ in range(5):
            await asyncio.sleep(0)

    yield lambda: loop.run_sync(once)
    server.stop()
    loop.run_sync(server.close_all_connections)
    loop.close()
