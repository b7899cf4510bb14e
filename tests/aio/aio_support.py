"""What the tests of transports share: protocols that write down what happens."""

from __future__ import annotations

import asyncio
import socket

SECONDS = 60


def run(loop, coro):
    """Runs a coroutine, SECONDS at most."""
    return loop.run_until_complete(asyncio.wait_for(coro, SECONDS))


async def until(condition):
    """Turns the loop until condition() holds."""

    async def turns():
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(turns(), SECONDS)


class Recorder(asyncio.Protocol):
    """Keeps what it was told, in order."""

    def __init__(self, *, keep_open=False):
        self.calls = []
        self.data = bytearray()
        self.transport = None
        self.keep_open = keep_open
        loop = asyncio.get_running_loop()
        self.made = loop.create_future()
        self.eof = loop.create_future()
        self.lost = loop.create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport
        self.made.set_result(None)

    def data_received(self, data):
        if self.calls[-1] != "data":
            self.calls.append("data")
        assert type(data) is bytes
        self.data += data

    def eof_received(self):
        self.calls.append("eof")
        self.eof.set_result(None)
        return self.keep_open

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

    async def received(self, n):
        await until(lambda: len(self.data) >= n)
        return bytes(self.data)


class BufferedRecorder(asyncio.BufferedProtocol):
    """The same for a protocol that hands in its memory."""

    def __init__(self, size=64):
        self.calls = []
        self.data = bytearray()
        self.memory = bytearray(size)
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.memory

    def buffer_updated(self, nbytes):
        self.data += self.memory[:nbytes]

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


async def connected(loop, factory=Recorder):
    """A transport's protocol, and the socket at the other end."""
    ours, other = socket.socketpair()
    _, protocol = await loop.create_connection(factory, sock=ours)
    other.setblocking(False)
    return protocol, other


async def tcp_pair(loop, client=Recorder, server=Recorder):
    """(client protocol, server protocol, server object) over TCP on loopback."""
    made = []

    def factory():
        made.append(server())
        return made[-1]

    listener = await loop.create_server(factory, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    _, protocol = await loop.create_connection(client, host, port)
    await until(lambda: made and "made" in made[0].calls)
    return protocol, made[0], listener


def small_buffers(*socks):
    """So that a few hundred kilobytes are more than the kernel takes."""
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


class Reports:
    """What the loop's exception handler was told."""

    def __init__(self, loop):
        self.contexts = []
        loop.set_exception_handler(lambda _, context: self.contexts.append(context))

    def messages(self):
        return [context["message"] for context in self.contexts]
