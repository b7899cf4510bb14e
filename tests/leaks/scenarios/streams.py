"""Lives of streams, TLS sessions and listeners."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from pyfastloop import gen, iostream, tcpserver
from pyfastloop.ioloop import IOLoop
from scenarios.base import Once, on_a_loop, scenario, simple


def pair() -> tuple[iostream.IOStream, iostream.IOStream]:
    here, there = socket.socketpair()
    return iostream.IOStream(here), iostream.IOStream(there)


@on_a_loop
async def stream_echo() -> None:
    here, there = pair()
    await here.write(b"line\n" + b"x" * 100_000)
    assert await there.read_until(b"\n") == b"line\n"
    assert len(await there.read_bytes(100_000)) == 100_000
    buffer = bytearray(5)
    there.write(b"again")
    await here.read_into(buffer)
    here.close()
    assert await there.read_until_close() == b""
    there.close()


@on_a_loop
async def stream_closed_while_it_waits() -> None:
    here, there = pair()
    here.set_close_callback(lambda: None)
    waiting = here.read_bytes(10)
    there.write(b"four")
    there.close()
    with contextlib.suppress(iostream.StreamClosedError):
        await waiting
    with contextlib.suppress(iostream.StreamClosedError):
        await here.write(b"x")


@simple
def stream_dropped_unclosed() -> None:
    one = IOLoop(make_current=False)

    async def start() -> None:
        here, there = pair()
        here.read_until(b"never")
        here.write(b"x" * 1_000_000)
        there.mine = there

    one.run_sync(start)
    one.close(all_fds=True)
    del one
    gc.collect()


@on_a_loop
async def stream_subclass() -> None:
    class Counting(iostream.IOStream):
        def read_from_fd(self, buf: Any) -> Any:
            return super().read_from_fd(buf)

        def write_to_fd(self, data: Any) -> int:
            return super().write_to_fd(data)

    here, there = socket.socketpair()
    one, other = Counting(here), iostream.IOStream(there)
    one.write(b"hello")
    assert await other.read_bytes(5) == b"hello"
    other.write(b"hello")
    assert await one.read_bytes(5) == b"hello"
    one.close()
    other.close()
    await asyncio.sleep(0)
    del one, other, Counting
    gc.collect()


@on_a_loop
async def pipes() -> None:
    reading, writing = os.pipe()
    reader = iostream.PipeIOStream(reading)
    writer = iostream.PipeIOStream(writing)
    writer.write(b"hello")
    assert await reader.read_bytes(5) == b"hello"
    writer.close()
    reader.close()


@scenario
def tls() -> Iterator[Once]:
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = f"{directory}/key", f"{directory}/certificate"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"),
                *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost"),
                *("-keyout", key, "-out", certificate),
            ],
            check=True,
            capture_output=True,
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE

    async def once() -> None:
        here, there = pair()
        one, other = await gen.multi(
            [here.start_tls(True, server), there.start_tls(False, client)]
        )
        one.write(b"hello")
        assert await other.read_bytes(5) == b"hello"
        other.close()
        with contextlib.suppress(iostream.StreamClosedError):
            await one.read_until_close()
        one.close()

    loop = IOLoop()
    loop.make_current()
    yield lambda: loop.run_sync(once)
    loop.close(all_fds=True)


@on_a_loop
async def listener() -> None:
    class Hello(tcpserver.TCPServer):
        async def handle_stream(self, stream: Any, address: Any) -> None:
            await stream.write(b"hello")
            stream.close()

    server = Hello()
    server.listen(0, "127.0.0.1")
    (sock,) = server._sockets.values()
    client = iostream.IOStream(socket.socket())
    await client.connect(sock.getsockname())
    assert await client.read_until_close() == b"hello"
    server.stop()
    del server, Hello
    gc.collect()
