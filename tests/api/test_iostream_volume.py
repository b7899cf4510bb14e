"""Random data through streams, there and back, told by its hash.

PYFASTLOOP_TEST_BYTES says how much; pieces of random sizes on both sides, so that every
way of reading meets every way of arriving.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest
from streams import pair, tcp_pair

from pyfastloop import aio
from pyfastloop.iostream import BaseIOStream, IOStream, PipeIOStream, StreamClosedError

BYTES = int(os.environ.get("PYFASTLOOP_TEST_BYTES", 64 << 20))
LARGEST = 3 << 20
SECONDS = 60 + BYTES / (1 << 20)

Ends = tuple[BaseIOStream, BaseIOStream]


def pipes() -> tuple[Ends, Ends]:
    """(here's reader, here's writer), (there's reader, there's writer)."""
    to_there, from_there = os.pipe(), os.pipe()
    return (
        (PipeIOStream(from_there[0]), PipeIOStream(to_there[1])),
        (PipeIOStream(to_there[0]), PipeIOStream(from_there[1])),
    )


def both_ways(make: Callable[[], tuple[IOStream, IOStream]]) -> Any:
    def ends() -> tuple[Ends, Ends]:
        here, there = make()
        return (here, here), (there, there)

    return ends


def small_buffers() -> tuple[IOStream, IOStream]:
    """The kernel takes and gives little at a time: partial writes at every step."""
    ends = socket.socketpair()
    for one in ends:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return IOStream(ends[0]), IOStream(ends[1])


async def send(writer: BaseIOStream, sizes: random.Random, digest: Any) -> None:
    """Random data in random pieces, bytes, bytearrays and views of them in turn."""
    left = BYTES
    while left > 0:
        piece: Any = os.urandom(min(left, sizes.choice((1, 300, 9000, LARGEST))))
        left -= len(piece)
        digest.update(piece)
        kind = sizes.randrange(3)
        if kind:
            piece = bytearray(piece)
        done = writer.write(memoryview(piece) if kind == 2 else piece)
        if sizes.randrange(4) or len(piece) == LARGEST:
            await done


async def receive(reader: BaseIOStream, sizes: random.Random, digest: Any) -> None:
    left = BYTES
    while left > 0:
        most = min(left, sizes.choice((1, 77, 5000, 64 << 10, LARGEST)))
        kind = sizes.randrange(4)
        if kind == 0:
            got: Any = await reader.read_bytes(most)
            assert len(got) == most
        elif kind == 1:
            got = await reader.read_bytes(most, partial=True)
        else:
            memory = bytearray(most)
            got = memoryview(memory)[: await reader.read_into(memory, kind == 2)]
            assert kind == 2 or len(got) == most
        digest.update(got)
        left -= len(got)


async def echo(reader: BaseIOStream, writer: BaseIOStream) -> None:
    try:
        while True:
            await writer.write(await reader.read_bytes(1 << 20, partial=True))
    except StreamClosedError:
        writer.close()


@pytest.mark.parametrize(
    "make",
    [both_ways(tcp_pair), both_ways(pair), both_ways(small_buffers), pipes],
    ids=["tcp", "unix", "small-buffers", "pipes"],
)
def test_what_comes_back_is_what_was_sent(
    make: Callable[[], tuple[Ends, Ends]],
) -> None:
    async def main() -> None:
        (reader, writer), there = make()
        sizes = random.Random(BYTES)
        sent, received = hashlib.sha256(), hashlib.sha256()
        echoing = asyncio.ensure_future(echo(*there))
        await asyncio.gather(
            send(writer, sizes, sent), receive(reader, sizes, received)
        )
        assert received.hexdigest() == sent.hexdigest()
        writer.close()
        reader.close()
        await echoing

    aio.run(asyncio.wait_for(main(), SECONDS))
