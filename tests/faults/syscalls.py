"""Lets one system call of an exchange fail: the first, the second, ... the last.

    LD_PRELOAD=shim.so python tests/faults/syscalls.py EXCHANGE CALL ERROR EXPECTATION

An exchange is a server and a client, some lines, a large body and the end, on one loop:
`tcp` (and a pipe, and a callback from another thread), `tls`; `asyncio` and
`asyncio_tls`, its streams on our transports; or `model`, random programs for the model
of tests/api. ERROR is a name of errno, or SHORT. EXPECTATION: `invisible`: the exchange
succeeds as if nothing had happened; `lost`: that exchange may fail, but only by
StreamClosedError or OSError; in either case the next exchange on the same loop and
server succeeds. Prints how many calls were tried.
"""

from __future__ import annotations

import asyncio
import ctypes
import datetime
import errno
import gc
import logging
import os
import random
import signal
import socket
import ssl
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyfastloop
from pyfastloop import gen
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import (
    IOStream,
    PipeIOStream,
    SSLIOStream,
    StreamClosedError,
)
from pyfastloop.tcpserver import TCPServer

sys.path[:0] = [str(Path(__file__).parents[1] / "api"), str(Path(__file__).parents[1])]
shim = ctypes.CDLL(None)
shim.fl_fault_hits.restype = ctypes.c_long
shim.fl_fault.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]

BODY = bytes(range(256)) * 4096
MOST = 400
SECONDS = datetime.timedelta(seconds=60)
HOME = Path(pyfastloop.__file__).parent
Exchange = Callable[[], Awaitable[None]]


LINES = (b"one\n", b"two\n", b"three\n")
LOST = (StreamClosedError, OSError, asyncio.IncompleteReadError)


class Echo(TCPServer):
    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        try:
            for _ in LINES:
                await stream.write(await stream.read_until(b"\n"))
            body = await stream.read_bytes(len(BODY))
            await stream.write(body)
        except LOST:
            pass
        finally:
            stream.close()


async def streams(address: Any, tls: ssl.SSLContext | None) -> None:
    sock = socket.socket()
    stream = IOStream(sock) if tls is None else SSLIOStream(sock, ssl_options=tls)
    try:
        await stream.connect(address)
        stream.write(b"one\n")
        for line, after in zip(LINES, (*LINES[1:], BODY), strict=True):
            answer = await stream.read_until(b"\n")
            assert answer == line, answer
            stream.write(after)
        answer = await stream.read_until_close()
        assert BODY.startswith(answer)
        if len(answer) < len(BODY):
            raise StreamClosedError
    finally:
        stream.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        for _ in LINES:
            writer.write(await reader.readuntil(b"\n"))
        writer.write(await reader.readexactly(len(BODY)))
        await writer.drain()
    except LOST:
        pass
    finally:
        writer.close()


async def transports(address: Any, tls: ssl.SSLContext | None) -> None:
    reader, writer = await asyncio.open_connection(*address, ssl=tls)
    try:
        writer.write(LINES[0])
        for line, after in zip(LINES, (*LINES[1:], BODY), strict=True):
            answer = await reader.readuntil(b"\n")
            assert answer == line, answer
            writer.write(after)
        answer = await reader.read()
        assert BODY.startswith(answer)
        if len(answer) < len(BODY):
            raise StreamClosedError
    finally:
        writer.close()


async def pipes() -> None:
    r, w = os.pipe()
    reader, writer = PipeIOStream(r), PipeIOStream(w)
    try:
        whole = reader.read_bytes(300_000)
        await writer.write(BODY[:300_000])
        assert await whole == BODY[:300_000]
        woken: asyncio.Future[int] = asyncio.Future()
        loop = IOLoop.current()
        loop.asyncio_loop.run_in_executor(
            None, lambda: loop.add_callback(woken.set_result, 1)
        )
        assert await woken == 1
    finally:
        reader.close()
        writer.close()


KINDS = ("bytes", "partial", "into", "into_partial", "until", "regex")


def random_program(rng: random.Random) -> list[Any]:
    """Sends and reads for test_iostream_model.run_program."""
    program: list[Any] = []
    for _ in range(rng.randrange(4, 20)):
        size = rng.choice((1, 7, 300, 40_000, 150_000))
        delimiter = rng.choice((b"\n", b"\r\n", b"ab"))
        piece = rng.choice((b"a", b"b", b"ab")) * (size // 2) + b"\r\n"
        program += [("send", piece)] * rng.randrange(1, 3)
        kind = rng.choice(
            ("bytes", "partial", "into", "into_partial", "until", "regex")
        )
        if kind == "until":
            program.append((kind, delimiter))
        elif kind == "regex":
            program.append((kind, b"\r?\n"))
        else:
            program.append((kind, rng.randrange(1, size + 1)))
    return program


async def model() -> None:
    from test_iostream_model import run_program

    for seed in range(4):
        program = random_program(random.Random(seed))
        await run_program(program, methods=seed == 3, late=bool(seed % 2))


async def tried(
    call: str, n: int, failure: int, invisible: bool, exchange: Exchange
) -> bool:
    """Whether the n-th call happened."""
    shim.fl_fault(call.encode(), n, failure)
    try:
        await gen.with_timeout(SECONDS, exchange())
    except LOST as error:
        if invisible or isinstance(error, TimeoutError):
            raise
    finally:
        hits = shim.fl_fault_hits()
        shim.fl_fault(b"", 0, 0)
    await gen.with_timeout(SECONDS, exchange())
    return bool(hits)


async def main(kind: str, call: str, failure: int, invisible: bool) -> int:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    address = sock.getsockname()
    client = context = None
    if kind.endswith("tls"):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(HOME / "testing_cert.pem", HOME / "testing_key.pem")
    if kind == "tls":
        Echo(ssl_options=context).add_sockets([sock])
    elif kind == "tcp":
        Echo().add_sockets([sock])
    elif kind.startswith("asyncio"):
        await asyncio.start_server(echo, sock=sock, ssl=context)

    async def exchange() -> None:
        if kind.startswith("asyncio"):
            await transports(address, client)
        elif kind == "model":
            await model()
        else:
            await streams(address, client)
        if kind == "tcp":
            await pipes()

    await exchange()
    n = 1
    while n < MOST and await tried(call, n, failure, invisible, exchange):
        n += 1 + n // 20  # every one of the first, then samples
    return n


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda unraisable: None
    signal.alarm(150)
    kind, call, failure, expectation = sys.argv[1:]
    number = -1 if failure == "SHORT" else getattr(errno, failure)
    loop = IOLoop()
    tries = loop.run_sync(lambda: main(kind, call, number, expectation == "invisible"))
    loop.close()
    gc.collect()
    print(tries)
