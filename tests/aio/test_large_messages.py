"""Messages of sizes around which receiving changes its ways, in every order."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

KIB = 1024
SIZES = [1, 16 * KIB - 1, 16 * KIB, 20 * KIB, 64 * KIB, 128 * KIB + 1, 300 * KIB, 7]


class Collects(asyncio.Protocol):
    def __init__(self):
        self.got = []
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        assert type(data) is bytes
        assert data
        self.got.append(data)

    def connection_lost(self, exc):
        self.ended.set_result(exc)


async def pair(protocol):
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    transport, protocol = await loop.create_connection(protocol, sock=here)
    return transport, protocol, there


def message(size):
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("order", [SIZES, SIZES[::-1], [64 * KIB] * 5, [KIB] * 3])
def test_every_byte_arrives_in_order(loop, order):
    async def main():
        transport, protocol, there = await pair(Collects)
        sent = [message(size) for size in order]
        for one in sent:
            await loop.sock_sendall(there, one)
        there.close()
        assert await protocol.ended is None
        assert b"".join(protocol.got) == b"".join(sent)
        transport.close()

    loop.run_until_complete(main())


def test_what_was_given_stays_as_it_was(loop):
    """The memory that bytes land in is never received into again."""

    async def main():
        transport, protocol, there = await pair(Collects)
        for number in range(6):
            await loop.sock_sendall(there, bytes([number]) * 64 * KIB)
        there.close()
        await protocol.ended
        whole = b"".join(protocol.got)
        assert whole == b"".join(bytes([n]) * 64 * KIB for n in range(6))
        transport.close()

    loop.run_until_complete(main())


def test_a_buffered_protocol_takes_over_after_large_messages(loop):
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.memory = bytearray(4 * KIB)
            self.got = b""
            self.done = loop.create_future()

        def get_buffer(self, sizehint):
            return self.memory

        def buffer_updated(self, nbytes):
            self.got += self.memory[:nbytes]
            if len(self.got) == 64 * KIB:
                self.done.set_result(None)

    class Switches(Collects):
        def data_received(self, data):
            super().data_received(data)
            if sum(map(len, self.got)) == 128 * KIB:
                transport.set_protocol(buffered)
                switched.set_result(None)

    async def main():
        nonlocal transport, buffered, switched
        switched = loop.create_future()
        transport, protocol, there = await pair(Switches)
        buffered = Buffered()
        for letter in (b"a", b"b"):
            await loop.sock_sendall(there, letter * 64 * KIB)
        await switched
        await loop.sock_sendall(there, b"c" * 64 * KIB)
        await buffered.done
        assert b"".join(protocol.got) == b"a" * 64 * KIB + b"b" * 64 * KIB
        assert buffered.got == b"c" * 64 * KIB
        transport.close()
        there.close()

    transport = buffered = switched = None
    loop.run_until_complete(main())


def test_closing_in_the_midst_of_large_messages(loop):
    class Closes(Collects):
        def data_received(self, data):
            super().data_received(data)
            if sum(map(len, self.got)) >= 64 * KIB:
                transport.abort()

    async def main():
        nonlocal transport
        transport, protocol, there = await pair(Closes)
        with pytest.raises(OSError):
            for _ in range(100):
                await loop.sock_sendall(there, bytes(64 * KIB))
        await protocol.ended
        there.close()

    transport = None
    loop.run_until_complete(main())
