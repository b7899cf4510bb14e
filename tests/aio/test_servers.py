"""What asyncio's documentation promises of servers."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys

import pytest
from aio_support import Recorder, Reports, run, tcp_pair, until

CLIENTS = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="needs CPython 3.13: asyncio has it since then"
)


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(address, data=b"hello"):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    answer = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return answer


def test_streams_echo(loop):
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            assert await ask(address) == b"hello"
            answers = await asyncio.gather(
                *[ask(address, b"x" * (1000 * i + 1)) for i in range(30)]
            )
            assert [len(answer) for answer in answers] == [
                1000 * i + 1 for i in range(30)
            ]

    run(loop, main())


def test_server_object(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is loop
        assert server.is_serving()
        assert len(server.sockets) == 1
        assert isinstance(server.sockets[0], asyncio.trsock.TransportSocket)
        assert server.sockets[0].getsockname()[0] == "127.0.0.1"
        repr(server)
        server.close()
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        repr(server)
        await server.wait_closed()

    run(loop, main())


def test_closed_server_refuses(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)
        with pytest.raises(RuntimeError):
            await server.serve_forever()

    run(loop, main())


def test_start_serving_later(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        address = server.sockets[0].getsockname()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        transport, protocol = await loop.create_connection(Recorder, *address)
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


def test_serve_forever(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, start_serving=False)
        task = asyncio.create_task(server.serve_forever())
        await until(server.is_serving)
        with pytest.raises(RuntimeError):
            await server.serve_forever()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()

    run(loop, main())


def test_close_ends_serve_forever(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        task = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(loop, main())


def test_context_manager_closes(loop):
    async def main():
        async with await loop.create_server(Recorder, "127.0.0.1", 0) as server:
            assert server.is_serving()
        assert not server.is_serving()

    run(loop, main())


def test_connections_outlive_the_server(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        listener.close()
        client.transport.write(b"still here")
        assert await server.received(10) == b"still here"
        client.transport.close()
        await client.lost
        await server.lost
        await listener.wait_closed()

    run(loop, main())


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="needs CPython 3.12: asyncio waits since then"
)
def test_wait_closed_waits_for_connections(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        listener.close()
        waits = asyncio.create_task(listener.wait_closed())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waits.done()
        client.transport.close()
        await waits
        await server.lost

    run(loop, main())


@CLIENTS
def test_close_clients(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        server.transport.write(b"last words")
        listener.close()
        listener.close_clients()
        await listener.wait_closed()
        assert await client.received(10) == b"last words"
        await client.lost

    run(loop, main())


@CLIENTS
def test_abort_clients(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        server.transport.write(b"x" * 10_000_000)
        listener.close()
        listener.abort_clients()
        await listener.wait_closed()
        await client.lost

    run(loop, main())


def test_several_hosts(loop):
    async def main():
        server = await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0)
        hosts = {sock.getsockname()[0] for sock in server.sockets}
        assert hosts == {"127.0.0.1", "127.0.0.2"}
        for sock in server.sockets:
            transport, protocol = await loop.create_connection(
                Recorder, *sock.getsockname()
            )
            transport.close()
            await protocol.lost
        server.close()

    run(loop, main())


def test_all_interfaces(loop):
    async def main():
        for host in (None, ""):
            server = await loop.create_server(Recorder, host, 0, family=socket.AF_INET)
            port = server.sockets[0].getsockname()[1]
            transport, protocol = await loop.create_connection(
                Recorder, "127.0.0.1", port
            )
            transport.close()
            await protocol.lost
            server.close()

    run(loop, main())


def test_ipv6_only_serves_ipv6(loop):
    async def main():
        server = await loop.create_server(Recorder, "::1", 0)
        sock = server.sockets[0]
        assert sock.family == socket.AF_INET6
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        transport, protocol = await loop.create_connection(
            Recorder, *sock.getsockname()[:2]
        )
        assert len(transport.get_extra_info("peername")) == 4
        transport.close()
        await protocol.lost
        server.close()

    run(loop, main())


def test_a_listening_socket_of_ones_own(loop):
    async def main():
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Recorder, sock=sock)
        transport, protocol = await loop.create_connection(
            Recorder, *sock.getsockname()
        )
        transport.close()
        await protocol.lost
        server.close()
        assert sock.fileno() == -1

    run(loop, main())


def test_socket_options(loop):
    async def main():
        def option(server, name):
            return server.sockets[0].getsockopt(socket.SOL_SOCKET, name) != 0

        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        assert option(server, socket.SO_REUSEADDR)
        assert not option(server, socket.SO_REUSEPORT)
        server.close()
        server = await loop.create_server(
            Recorder, "127.0.0.1", 0, reuse_address=False, reuse_port=True
        )
        assert not option(server, socket.SO_REUSEADDR)
        assert option(server, socket.SO_REUSEPORT)
        port = server.sockets[0].getsockname()[1]
        again = await loop.create_server(Recorder, "127.0.0.1", port, reuse_port=True)
        again.close()
        server.close()
        if sys.version_info >= (3, 13):
            server = await loop.create_server(Recorder, "127.0.0.1", 0, keep_alive=True)
            assert option(server, socket.SO_KEEPALIVE)
            server.close()

    run(loop, main())


def test_address_in_use(loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="error while attempting to bind on address"):
            await loop.create_server(Recorder, "127.0.0.1", port)
        server.close()

    run(loop, main())


def test_wrong_arguments(loop):
    async def main():
        with pytest.raises(ValueError):
            await loop.create_server(Recorder)
        with pytest.raises(TypeError):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)
        with pytest.raises(ValueError):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl_handshake_timeout=1)
        with pytest.raises(ValueError):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl_shutdown_timeout=1)
        with socket.socket() as sock, pytest.raises(ValueError):
            await loop.create_server(Recorder, "127.0.0.1", 0, sock=sock)
        with (
            socket.socket(type=socket.SOCK_DGRAM) as sock,
            pytest.raises(ValueError, match="Stream Socket"),
        ):
            await loop.create_server(Recorder, sock=sock)

    run(loop, main())


def test_failing_factory_spares_the_server(loop):
    async def main():
        reports = Reports(loop)
        made = []

        def fails_once():
            made.append(None)
            if len(made) == 1:
                raise KeyError("planted")
            return Recorder()

        server = await loop.create_server(fails_once, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        first, _ = await loop.create_connection(Recorder, *address)
        await until(lambda: made)
        second, _ = await loop.create_connection(Recorder, *address)
        await until(lambda: len(made) == 2)
        if loop.get_debug():
            assert isinstance(reports.contexts[0]["exception"], KeyError)
        first.close()
        second.close()
        server.close()

    run(loop, main())


def test_context_of_the_server(loop):
    var = contextvars.ContextVar("var", default="none")
    seen = []

    class Looks(Recorder):
        def __init__(self):
            super().__init__()
            seen.append(var.get())
            var.set("changed by a connection")

        def data_received(self, data):
            super().data_received(data)
            seen.append(var.get())

    async def main():
        var.set("server's")
        server = await loop.create_server(Looks, "127.0.0.1", 0)
        for _ in range(2):
            await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        await until(lambda: len(seen) == 2)
        assert seen == ["server's"] * 2
        assert var.get() == "server's"
        server.close()

    run(loop, main())


def test_many_connections_at_once(loop):
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=500)
        address = server.sockets[0].getsockname()
        pairs = await asyncio.gather(
            *[asyncio.open_connection(*address) for _ in range(300)]
        )
        for i, (_, writer) in enumerate(pairs):
            writer.write(b"%3d" % i)
        for i, (reader, writer) in enumerate(pairs):
            assert await reader.readexactly(3) == b"%3d" % i
            writer.close()
        server.close()
        await server.wait_closed()

    run(loop, main())


# ---- UNIX ----


def test_unix_server(loop, tmp_path):
    async def main():
        path = tmp_path / "socket"
        for _ in range(2):  # the second finds the file of the first, or none
            server = await asyncio.start_unix_server(echo, path)
            reader, writer = await asyncio.open_unix_connection(path)
            assert writer.get_extra_info("sockname") == ""
            assert writer.get_extra_info("peername") == str(path)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
        if sys.version_info >= (3, 13):
            assert not path.exists()

    run(loop, main())


def test_unix_server_leaves_a_file_that_is_not_its_own(loop, tmp_path):
    async def main():
        path = tmp_path / "socket"
        server = await loop.create_unix_server(Recorder, path)
        os.unlink(path)
        path.write_text("somebody else's")
        server.close()
        await server.wait_closed()
        assert path.read_text() == "somebody else's"
        with pytest.raises(OSError):
            await loop.create_unix_server(Recorder, path)

    run(loop, main())


@CLIENTS
def test_unix_server_without_cleanup(loop, tmp_path):
    async def main():
        path = tmp_path / "socket"
        server = await loop.create_unix_server(Recorder, path, cleanup_socket=False)
        server.close()
        await server.wait_closed()
        assert path.exists()

    run(loop, main())


@pytest.mark.parametrize("kind", [str, str.encode], ids=["str", "bytes"])
def test_abstract_unix_server(loop, kind):
    async def main():
        path = kind(f"\0pyfastloop-test-{os.getpid()}-{id(loop)}")
        server = await asyncio.start_unix_server(echo, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_wrong_arguments_of_unix_servers(loop, tmp_path):
    async def main():
        with pytest.raises(ValueError):
            await loop.create_unix_server(Recorder)
        with socket.socket() as sock, pytest.raises(ValueError):
            await loop.create_unix_server(Recorder, sock=sock)
        with (
            socket.socket(socket.AF_UNIX) as sock,
            pytest.raises(ValueError),
        ):
            await loop.create_unix_server(Recorder, str(tmp_path / "x"), sock=sock)
        with pytest.raises(TypeError):
            await loop.create_unix_server(Recorder, str(tmp_path / "x"), ssl=True)
        with pytest.raises(OSError):
            await loop.create_unix_server(Recorder, str(tmp_path / "none" / "x"))

    run(loop, main())
