"""Lives of asyncio's transports, of loop.sock_* and of servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pyfastloop
from scenarios.base import on_a_loop


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@on_a_loop
async def transport_echo() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * 100_000)
    assert len(await reader.readexactly(100_000)) == 100_000
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@on_a_loop
async def transport_aborted() -> None:
    here, there = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=here)
    waiting = asyncio.ensure_future(reader.read())
    writer.write(b"x" * 1_000_000)
    await asyncio.sleep(0)
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await waiting
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    there.close()


HOME = Path(pyfastloop.__file__).parent
CERT, KEY = HOME / "testing_cert.pem", HOME / "testing_key.pem"
SERVING = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
SERVING.load_cert_chain(CERT, KEY)
TRUSTING = ssl.create_default_context(cafile=str(CERT))
TRUSTING.check_hostname = False


@on_a_loop
async def transport_tls() -> None:
    """Echo and close, a peer that aborts, one that speaks no TLS."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=SERVING)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=TRUSTING)
    writer.write(b"x" * 100_000)
    assert len(await reader.readexactly(100_000)) == 100_000
    writer.close()
    await writer.wait_closed()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=TRUSTING)
    writer.write(b"x" * 1_000_000)
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@on_a_loop
async def transport_start_tls() -> None:
    """Both ways; then one that the peer leaves half way."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    a, _ = await loop.create_connection(Echo, sock=here)
    b, _ = await loop.create_connection(Echo, sock=there)
    await asyncio.gather(
        loop.start_tls(a, asyncio.Protocol(), TRUSTING),
        loop.start_tls(b, Echo(), SERVING, server_side=True),
    )
    a.close()
    b.close()
    here, there = socket.socketpair()
    a, _ = await loop.create_connection(Echo, sock=here)
    begun = asyncio.ensure_future(loop.start_tls(a, asyncio.Protocol(), TRUSTING))
    await asyncio.sleep(0)
    there.close()
    with contextlib.suppress(ConnectionError):
        await begun
    await asyncio.sleep(0)


@on_a_loop
async def datagrams() -> None:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[bytes] = loop.create_future()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if not arrived.done():
                arrived.set_result(data)

    to, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    port = to.get_extra_info("sockname")[1]
    of, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
    )
    of.sendto(b"one")
    assert await arrived == b"one"
    to.close()
    of.close()
    await asyncio.sleep(0)


@on_a_loop
async def pipe_transports() -> None:
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    reader = asyncio.StreamReader()
    from_pipe, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    to_pipe, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(write_end, "wb", 0)
    )
    to_pipe.write(b"through")
    assert await reader.readexactly(7) == b"through"
    to_pipe.close()
    assert await reader.read() == b""
    from_pipe.close()
    await asyncio.sleep(0)


@on_a_loop
async def sock_calls() -> None:
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    with here, there:
        await loop.sock_sendall(here, b"x" * 1000)
        assert len(await loop.sock_recv(there, 2000)) == 1000
        waiting = loop.create_task(loop.sock_recv(there, 1))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
