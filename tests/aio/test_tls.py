"""What asyncio's documentation promises of TLS connections."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from aio_support import Recorder, run, until

import pyfastloop

HOME = Path(pyfastloop.__file__).parent
CERT, KEY = HOME / "testing_cert.pem", HOME / "testing_key.pem"
BIG = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def serving():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT, KEY)
    return context


@pytest.fixture(scope="module")
def trusting():
    context = ssl.create_default_context(cafile=str(CERT))
    context.check_hostname = False
    return context


async def tls_pair(loop, serving, trusting, client=Recorder, server=Recorder, **kwargs):
    made = []

    def factory():
        made.append(server())
        return made[-1]

    listener = await loop.create_server(factory, "127.0.0.1", 0, ssl=serving)
    _, protocol = await loop.create_connection(
        client, *listener.sockets[0].getsockname(), ssl=trusting, **kwargs
    )
    await until(lambda: made and "made" in made[0].calls)
    return protocol, made[0], listener


def test_echo_over_streams(loop, serving, trusting):
    async def echo(reader, writer):
        writer.write(await reader.readexactly(len(BIG)))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=serving)
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=trusting
        )
        writer.write(BIG)
        await writer.drain()
        assert await reader.readexactly(len(BIG)) == BIG
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_order_of_calls(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        client.transport.write(b"hello")
        assert await server.received(5) == b"hello"
        client.transport.close()
        assert await server.lost is None
        assert await client.lost is None
        assert server.calls == ["made", "data", "eof", "lost"]
        assert client.calls[0] == "made" and client.calls[-1] == "lost"
        listener.close()

    run(loop, main())


def test_extra_info(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        transport = client.transport
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_extra_info("sslcontext") is trusting
        assert server.transport.get_extra_info("sslcontext") is serving
        assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        assert transport.get_extra_info("cipher")[1].startswith("TLS")
        assert transport.get_extra_info("compression") is None
        assert transport.get_extra_info("peercert")["subject"]
        assert transport.get_extra_info("socket").family == socket.AF_INET
        assert transport.get_extra_info("peername") == server.transport.get_extra_info(
            "sockname"
        )
        assert not transport.can_write_eof()
        transport.close()
        await client.lost
        await server.lost
        listener.close()

    run(loop, main())


def test_large_transfer(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        for _ in range(4):
            client.transport.write(BIG)
        await server.received(4 * len(BIG))
        assert bytes(server.data) == BIG * 4
        client.transport.abort()
        await client.lost
        await server.lost
        listener.close()

    run(loop, main())


def test_pause_reading(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        client.transport.write(b"waits")
        await asyncio.sleep(0.02)
        assert server.data == b""
        server.transport.resume_reading()
        assert await server.received(5) == b"waits"
        client.transport.abort()
        await server.lost
        listener.close()

    run(loop, main())


def test_unknown_authority(loop, serving):
    async def main():
        made = []
        listener = await loop.create_server(
            lambda: made.append(Recorder()) or made[-1], "127.0.0.1", 0, ssl=serving
        )
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                Recorder, *listener.sockets[0].getsockname(), ssl=True
            )
        await asyncio.sleep(0.01)
        assert all("made" not in protocol.calls for protocol in made)
        listener.close()

    run(loop, main())


def test_wrong_name(loop, serving):
    async def main():
        context = ssl.create_default_context(cafile=str(CERT))
        listener = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=serving)
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                Recorder,
                *listener.sockets[0].getsockname(),
                ssl=context,
                server_hostname="example.com",
            )
        listener.close()

    run(loop, main())


def test_peer_that_speaks_no_tls(loop, serving, trusting):
    async def main():
        async def plain(reader, writer):
            writer.write(b"not TLS at all, not at all")
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await loop.create_connection(
                Recorder, *server.sockets[0].getsockname(), ssl=trusting
            )
        server.close()
        listener = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=serving)
        _, client = await loop.create_connection(
            Recorder, *listener.sockets[0].getsockname()
        )
        client.transport.write(b"GET / HTTP/1.0\r\n\r\n")
        await client.lost
        listener.close()

    run(loop, main())


def test_handshake_timeout(loop, trusting, serving):
    async def main():
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            pytest.raises(ConnectionAbortedError, match="handshake"),
        ):
            await loop.create_connection(
                Recorder,
                *silent.getsockname(),
                ssl=trusting,
                ssl_handshake_timeout=0.02,
            )
        listener = await loop.create_server(
            Recorder, "127.0.0.1", 0, ssl=serving, ssl_handshake_timeout=0.02
        )
        _, client = await loop.create_connection(
            Recorder, *listener.sockets[0].getsockname()
        )
        await client.lost
        listener.close()

    run(loop, main())


def test_bad_timeouts(loop, trusting):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
                with pytest.raises(ValueError):
                    await loop.create_connection(
                        Recorder, *silent.getsockname(), ssl=trusting, **{name: 0}
                    )

    run(loop, main())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # asyncio's own loop leaves its socket open


def test_cancelled_handshake(loop, trusting):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as silent:
            task = asyncio.create_task(
                loop.create_connection(Recorder, *silent.getsockname(), ssl=trusting)
            )
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            conn, _ = silent.accept()
            conn.settimeout(30)
            while conn.recv(65536):
                pass
            conn.close()

    run(loop, main())


def test_peer_that_leaves_without_close_notify(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        client.transport.abort()
        await client.lost
        exc = await server.lost
        assert exc is None or isinstance(exc, OSError)
        listener.close()

    run(loop, main())


def test_start_tls(loop, serving, trusting):
    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(serving)
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(trusting)
        assert writer.get_extra_info("sslcontext") is trusting
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        writer.close()
        await writer.wait_closed()
        server.close()

    run(loop, main())


def test_start_tls_inside_tls(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        inner_client, inner_server = Recorder(), Recorder()
        for each in (inner_client, inner_server):
            each.calls.append("set")
        here, there = await asyncio.gather(
            loop.start_tls(client.transport, inner_client, trusting),
            loop.start_tls(server.transport, inner_server, serving, server_side=True),
        )
        here.write(b"deep")
        assert await inner_server.received(4) == b"deep"
        there.write(b"answer")
        assert await inner_client.received(6) == b"answer"
        here.abort()
        there.abort()
        await inner_server.lost
        listener.close()

    run(loop, main())


def test_start_tls_refuses(loop, serving, trusting):
    async def main():
        a, b = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=a)
        with pytest.raises(TypeError):
            await loop.start_tls(transport, protocol, None)
        with pytest.raises(TypeError):
            await loop.start_tls(object(), protocol, trusting)
        task = asyncio.create_task(loop.start_tls(transport, protocol, trusting))
        await asyncio.sleep(0.01)
        b.close()
        with pytest.raises((ConnectionError, OSError)):
            await task
        assert transport.is_closing()

    run(loop, main())


def test_unix_server_with_tls(loop, serving, trusting, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        server = await loop.create_unix_server(Recorder, path, ssl=serving)
        transport, protocol = await loop.create_unix_connection(
            Recorder, path, ssl=trusting, server_hostname="localhost"
        )
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


def test_connect_accepted_socket_with_tls(loop, serving, trusting):
    async def main():
        a, b = socket.socketpair()
        (_, server), (_, client) = await asyncio.gather(
            loop.connect_accepted_socket(Recorder, a, ssl=serving),
            loop.create_connection(
                Recorder, sock=b, ssl=trusting, server_hostname="localhost"
            ),
        )
        client.transport.write(b"hello")
        assert await server.received(5) == b"hello"
        client.transport.close()
        await server.lost

    run(loop, main())


def test_sendfile_over_tls(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        with tempfile.TemporaryFile() as file:
            file.write(BIG)
            file.flush()
            with pytest.raises(RuntimeError):
                await loop.sendfile(client.transport, file, fallback=False)
            assert await loop.sendfile(client.transport, file, 10, 500_000) == 500_000
        client.transport.write(b"tail")
        await server.received(500_004)
        assert bytes(server.data) == BIG[10:500_010] + b"tail"
        client.transport.abort()
        await server.lost
        listener.close()

    run(loop, main())


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="needs CPython 3.12: asyncio waits since then"
)
def test_server_waits_for_tls_connections(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        listener.close()
        waits = asyncio.create_task(listener.wait_closed())
        await asyncio.sleep(0.01)
        assert not waits.done()
        client.transport.close()
        await server.lost
        await waits

    run(loop, main())
