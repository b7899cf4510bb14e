"""RFC 6455 and 7692, case by case: the same frames to our server and to our client.

The table is websocket_cases.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading

import pytest
from raw_http import SECONDS, RawServer, run
from raw_websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    accept,
    close_frame,
    connect,
    frame,
    read_frame,
    rest_of,
)
from websocket_cases import (
    BAD,
    DEFLATE_BAD,
    DEFLATE_GOOD,
    END,
    ENDED,
    GOOD,
    LIMIT,
    F,
)

from pyfastloop import web, websocket


class Recorder(websocket.WebSocketHandler):
    told: list
    options = None

    def open(self):
        self.told = self.application.told

    def on_message(self, message):
        self.told.append(message)

    def on_ping(self, data):
        self.told.append(("ping", data))

    def on_pong(self, data):
        self.told.append(("pong", data))

    def on_close(self):
        self.told.append(("close", self.close_code, self.close_reason))

    def get_compression_options(self):
        return {} if "deflate" in self.request.query else None


def at_server(data: bytes, piece: int, deflate: bool):
    """Frames to our server: (what the handler was told, frames that came back)."""

    async def main():
        application = web.Application(
            [("/", Recorder)], websocket_max_message_size=LIMIT
        )
        application.told = []
        server = application.listen(0, "127.0.0.1")
        port = next(iter(server._sockets.values())).getsockname()[1]

        def peer():
            conn, head = connect(
                port,
                "/?deflate" if deflate else "/",
                Sec_WebSocket_Extensions="permessage-deflate" if deflate else None,
            )
            with conn:
                assert head.startswith(b"HTTP/1.1 101 ")
                assert (b"permessage-deflate" in head) == deflate
                return exchange(conn, data, piece, masked_answers=False)

        frames = await asyncio.get_running_loop().run_in_executor(None, peer)
        while not (application.told and application.told[-1][:1] == ("close",)):
            await asyncio.sleep(0.001)
        server.stop()
        return application.told, frames

    return run(main)


def at_client(data: bytes, piece: int, deflate: bool):
    """Frames to our client: (what the connection was told, frames that came back)."""
    frames = []

    def serve(conn, server):
        accept(
            conn, *(["Sec-WebSocket-Extensions: permessage-deflate"] if deflate else [])
        )
        frames.extend(exchange(conn, data, piece, masked_answers=True))

    async def main(server):
        told = []
        closed = asyncio.get_running_loop().create_future()

        def on_message(message):
            if message is None:
                closed.set_result(None)
            else:
                told.append(message)

        connection = await websocket.websocket_connect(
            f"ws://127.0.0.1:{server.port}/",
            on_message_callback=on_message,
            max_message_size=LIMIT,
            compression_options={} if deflate else None,
        )
        connection.on_ping = lambda data: told.append(("ping", data))
        connection.on_pong = lambda data: told.append(("pong", data))
        await closed
        told.append(("close", connection.close_code, connection.close_reason))
        return told

    with RawServer(serve) as server:
        told = run(main, server)
        server.ended.acquire(timeout=SECONDS)
    return told, frames


def exchange(conn, data, piece, masked_answers):
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    frames = []
    reader = threading.Thread(
        target=lambda: frames.extend(rest_of(conn, masked_answers))
    )
    reader.start()
    with contextlib.suppress(OSError):
        for at in range(0, len(data), piece):
            conn.sendall(data[at : at + piece])
    reader.join(15)
    assert not reader.is_alive(), "the connection is left open"
    return frames


SIDES = {"server": (at_server, True), "client": (at_client, False)}


def encode(frames, masked):
    data = b""
    for kind, first, second, *more in frames:
        if kind == "frame":
            data += frame(first, second, masked=masked, **more[0])
        elif kind == "close":
            data += close_frame(first, second, masked=masked)
        else:
            data += frame(first, second, masked=not masked)
    return data


def run_good(side, frames, told, deflate, piece):
    play, masked = SIDES[side]
    if not told or told[-1][:1] != ("close",):
        told = told + ENDED
    data = encode(frames, masked)
    heard, answers = play(data, piece, deflate)
    assert heard == told
    pings = [message[1] for message in told if message[:1] == ("ping",)]
    assert [a.data for a in answers if a.opcode == PONG] == pings
    code = told[-1][1]
    assert answers[-1].opcode == CLOSE
    assert answers[-1].data == (b"" if code is None else struct.pack(">H", code))
    assert all(a.fin and a.rsv == 0 for a in answers)


def run_bad(side, frames, told, code, deflate, piece):
    play, masked = SIDES[side]
    heard, answers = play(encode(frames, masked), piece, deflate)
    assert heard[:-1] == told
    assert heard[-1][0] == "close"
    assert answers[-1].opcode == CLOSE
    assert struct.unpack(">H", answers[-1].data[:2]) == (code,)
    assert len(answers) == 1


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", GOOD)
def test_good(name, side):
    run_good(side, *GOOD[name], False, 1 << 20)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", BAD)
def test_bad(name, side):
    run_bad(side, *BAD[name], False, 1 << 20)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", DEFLATE_GOOD)
def test_deflate_good(name, side):
    run_good(side, *DEFLATE_GOOD[name], True, 1 << 20)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", DEFLATE_BAD)
def test_deflate_bad(name, side):
    run_bad(side, *DEFLATE_BAD[name], True, 1 << 20)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("piece", [1, 3, 7])
def test_splitting_changes_nothing(side, piece):
    for name, (frames, told) in GOOD.items():
        if "one by one" in name or "ping" in name:
            run_good(side, frames, told, False, piece)
    for name, (frames, told, code) in BAD.items():
        if len(encode(frames, True)) < 30 and ("rsv 0x40" in name or "close 9" in name):
            run_bad(side, frames, told, code, False, piece)


@pytest.mark.parametrize("side", SIDES)
def test_random_messages_arrive_equal(side):
    rng = random.Random(7)
    frames, told = [], []
    for _ in range(100):
        size = rng.choice([0, 1, 5, 125, 126, 1000, 66_000])
        if rng.random() < 0.5:
            message = "".join(rng.choice("aä€😀") for _ in range(size))
            data, opcode = message.encode(), TEXT
        else:
            message = data = rng.randbytes(size)
            opcode = BINARY
        told.append(message)
        while rng.random() < 0.5:
            cut = rng.randrange(len(data) + 1)
            frames.append(F(opcode, data[:cut], fin=False))
            data, opcode = data[cut:], 0
        frames.append(F(opcode, data))
    run_good(side, [*frames, END], told, False, rng.randrange(1000, 100_000))


@pytest.mark.parametrize("side", SIDES)
def test_the_end_at_every_byte(side):
    _, masked = SIDES[side]
    data = encode(
        [F(TEXT, b"Hello"), F(PING, b"p"), F(BINARY, b"x" * 200), END], masked
    )
    for cut in range(0, len(data), 5):
        told = cut_off(side, data[:cut])
        assert told[-1][0] == "close"
        assert told[-1][1] is None


def cut_off(side, data):
    """The peer goes away after *data*: what the program was told."""
    if side == "client":

        def serve(conn, server):
            accept(conn)
            conn.sendall(data)

        async def main(server):
            told = []
            connection = await websocket.websocket_connect(
                f"ws://127.0.0.1:{server.port}/"
            )
            while (message := await connection.read_message()) is not None:
                told.append(message)
            return [*told, ("close", connection.close_code)]

        with RawServer(serve) as server:
            return run(main, server)

    async def at_server():
        application = web.Application([("/", Recorder)])
        application.told = []
        server = application.listen(0, "127.0.0.1")
        port = next(iter(server._sockets.values())).getsockname()[1]

        def peer():
            conn, _ = connect(port)
            conn.sendall(data)
            conn.close()

        await asyncio.get_running_loop().run_in_executor(None, peer)
        while not (application.told and application.told[-1][:1] == ("close",)):
            await asyncio.sleep(0.001)
        server.stop()
        return application.told

    return run(at_server)


def test_the_table_is_as_large_as_it_was():
    assert len(GOOD) + len(BAD) + len(DEFLATE_GOOD) + len(DEFLATE_BAD) >= 275


def test_read_frame_helper():
    left, right = socket.socketpair()
    with left, right:
        left.sendall(frame(TEXT, b"x" * 300))
        assert read_frame(right, True).data == b"x" * 300
