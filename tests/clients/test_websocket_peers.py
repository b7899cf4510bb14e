"""WebSockets of other people: ``websockets`` and ``autobahn`` as clients of our
server and as servers of our client, each on asyncio's own loop in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading

import pytest
from raw_http import run

from pyfastloop import web, websocket

websockets = pytest.importorskip("websockets", reason="needs the extra 'test'")
autobahn = pytest.importorskip("autobahn", reason="needs the extra 'test'")

from autobahn.asyncio import websocket as ab  # noqa: E402
from autobahn.websocket.compress import (  # noqa: E402
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
    PerMessageDeflateResponse,
    PerMessageDeflateResponseAccept,
)
from websockets.asyncio.client import connect  # noqa: E402
from websockets.asyncio.server import serve  # noqa: E402

SECONDS = 60
_RNG = random.Random(6455)
MESSAGES = [
    "",
    "Hello",
    b"",
    b"\0\xff",
    "ä€😀" * 50,
    *[_RNG.randbytes(n) for n in (1, 125, 126, 65535, 65536, 300_000)],
    *["word " * n for n in (1, 25, 26, 14_000, 60_000)],
]


class Echo(websocket.WebSocketHandler):
    def open(self):
        self.application.open.append(self)

    async def on_message(self, message):
        if message == "close":
            self.close(4001, "as you wish")
        else:
            await self.write_message(message, binary=isinstance(message, bytes))

    def on_pong(self, data):
        self.application.pongs.append(data)

    def on_close(self):
        self.application.closed.append((self.close_code, self.close_reason))

    def get_compression_options(self):
        return self.application.compression

    def select_subprotocol(self, offered):
        return offered[-1] if offered else None


def our_server(peer, compression):
    """Run the coroutine function ``peer(port)`` in a thread beside our server; the
    application, once the handler was told of the close."""

    async def main():
        application = web.Application([("/", Echo)])
        application.open, application.pongs, application.closed = [], [], []
        application.compression = compression
        server = application.listen(0, "127.0.0.1")
        port = next(iter(server._sockets.values())).getsockname()[1]
        await asyncio.to_thread(asyncio.run, asyncio.wait_for(peer(port), SECONDS))
        while not application.closed:
            await asyncio.sleep(0.001)
        server.stop()
        return application

    return run(main)


@contextlib.contextmanager
def their_server(start):
    """A server that ``start()`` begins, a coroutine function of (port, stop)."""
    started, ports, ends = threading.Event(), [], []

    def thread():
        async def main():
            end = asyncio.Event()
            ends.append((asyncio.get_running_loop(), end))
            port, stop = await start()
            ports.append(port)
            started.set()
            await end.wait()
            stop()

        asyncio.run(main())

    worker = threading.Thread(target=thread, daemon=True)
    worker.start()
    assert started.wait(SECONDS)
    try:
        yield ports[0]
    finally:
        loop, end = ends[0]
        loop.call_soon_threadsafe(end.set)
        worker.join(SECONDS)


def our_client(port, compression):
    """Every message there and back by our client, pings and the close handshake."""

    async def main():
        connection = await websocket.websocket_connect(
            f"ws://127.0.0.1:{port}/",
            compression_options=compression,
            subprotocols=["chat"],
        )
        assert connection.selected_subprotocol == "chat"
        pong = asyncio.get_running_loop().create_future()
        connection.on_pong = pong.set_result
        connection.ping(b"are you there")
        for message in MESSAGES:
            await connection.write_message(message, binary=isinstance(message, bytes))
            assert await connection.read_message() == message
        assert await pong == b"are you there"
        await connection.write_message("close")
        assert await connection.read_message() is None
        return connection.close_code, connection.close_reason

    return run(main)


SETTINGS = {
    "plain": None,
    "deflate": {},
    "small": {"max_window_bits": 10, "mem_level": 2, "no_context_takeover": True},
}


@pytest.fixture(params=SETTINGS)
def compression(request):
    return SETTINGS[request.param]


def test_websockets_as_client(compression):
    async def peer(port):
        options = {} if compression is not None else {"compression": None}
        async with connect(
            f"ws://127.0.0.1:{port}/", subprotocols=["a", "b"], max_size=None, **options
        ) as connection:
            assert connection.subprotocol == "b"
            deflates = bool(connection.protocol.extensions)
            assert deflates == (compression is not None)
            await (await connection.ping(b"ping"))
            for message in MESSAGES:
                await connection.send(message)
                assert await connection.recv() == message
            await connection.send(["frag", "men", "ts"])
            assert await connection.recv() == "fragments"
            await connection.close(3000, "enough")

    assert our_server(peer, compression).closed == [(3000, "enough")]


def test_websockets_is_closed_by_our_server():
    async def peer(port):
        async with connect(f"ws://127.0.0.1:{port}/") as connection:
            await connection.send("close")
            with pytest.raises(websockets.ConnectionClosedError):
                await connection.recv()
            assert connection.close_code == 4001
            assert connection.close_reason == "as you wish"

    our_server(peer, None)


def test_websockets_as_server(compression):
    async def talk(connection):
        async for message in connection:
            if message == "close":
                await connection.close(4001, "as you wish")
            await connection.send(message)

    async def start():
        server = await serve(talk, "127.0.0.1", 0, subprotocols=["chat"], max_size=None)
        return server.sockets[0].getsockname()[1], server.close

    with their_server(start) as port:
        assert our_client(port, compression) == (4001, "as you wish")


def test_autobahn_as_client(compression):
    done = []

    class Client(ab.WebSocketClientProtocol):
        def onOpen(self):
            assert bool(self.websocket_extensions_in_use) == (compression is not None)
            self.left = list(MESSAGES)
            self.next()

        def next(self):
            if not self.left:
                self.sendClose(3000, "enough")
                return
            message = self.left[0]
            binary = isinstance(message, bytes)
            self.sendMessage(
                message if binary else message.encode(), binary, fragmentSize=10_000
            )

        def onMessage(self, payload, isBinary):
            expected = self.left.pop(0)
            assert (payload if isBinary else payload.decode()) == expected
            self.next()

        def onClose(self, wasClean, code, reason):
            done[0].set_result((wasClean, code, self.left))

    async def peer(port):
        loop = asyncio.get_running_loop()
        done.append(loop.create_future())
        factory = ab.WebSocketClientFactory(f"ws://127.0.0.1:{port}/", loop=loop)
        factory.protocol = Client
        factory.setProtocolOptions(
            perMessageCompressionOffers=[PerMessageDeflateOffer()],
            perMessageCompressionAccept=lambda response: (
                PerMessageDeflateResponseAccept(response)
                if isinstance(response, PerMessageDeflateResponse)
                else None
            ),
        )
        await loop.create_connection(factory, "127.0.0.1", port)
        assert await done[0] == (True, 3000, [])

    assert our_server(peer, compression).closed == [(3000, "enough")]


def test_autobahn_as_server(compression):
    class Server(ab.WebSocketServerProtocol):
        def onConnect(self, request):
            return request.protocols[0]

        def onMessage(self, payload, isBinary):
            if payload == b"close":
                self.sendClose(4001, "as you wish")
            else:
                self.sendMessage(payload, isBinary, fragmentSize=50_000)

    async def start():
        loop = asyncio.get_running_loop()
        factory = ab.WebSocketServerFactory(loop=loop)
        factory.protocol = Server
        factory.setProtocolOptions(
            perMessageCompressionAccept=lambda offers: next(
                (
                    PerMessageDeflateOfferAccept(offer)
                    for offer in offers
                    if isinstance(offer, PerMessageDeflateOffer)
                ),
                None,
            )
        )
        server = await loop.create_server(factory, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1], server.close

    with their_server(start) as port:
        assert our_client(port, compression) == (4001, "as you wish")
