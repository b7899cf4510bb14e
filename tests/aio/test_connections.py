"""What asyncio's documentation promises of create_connection and its family."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from aio_support import Recorder, run, until


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def refused():
    """The address of a port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


def resolving(loop, monkeypatch, infos):
    """getaddrinfo() gives these (host, port) of IPv4, or whole results."""
    asked = []

    async def getaddrinfo(host, port, **kwargs):
        asked.append((host, port))
        return [
            info
            if len(info) == 5
            else (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", info)
            for info in infos
        ]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return asked


async def close(protocol):
    protocol.transport.close()
    await protocol.lost


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connect(loop, listening, host):
    async def main():
        port = listening.getsockname()[1]
        transport, protocol = await loop.create_connection(Recorder, host, port)
        assert protocol.transport is transport
        assert protocol.calls == ["made"]
        assert transport.get_protocol() is protocol
        assert transport.get_extra_info("peername") == listening.getsockname()
        await close(protocol)

    run(loop, main())


@pytest.mark.parametrize("port", [str, str.encode, int], ids=["str", "bytes", "int"])
def test_kinds_of_ports(loop, listening, port):
    async def main():
        given = port(str(listening.getsockname()[1]))
        _, protocol = await loop.create_connection(Recorder, "127.0.0.1", given)
        await close(protocol)

    run(loop, main())


def test_refused(loop, refused):
    async def main():
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *refused)

    run(loop, main())


def test_unknown_name(loop):
    async def main():
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Recorder, "no-such-host.invalid", 1)

    run(loop, main())


def test_local_address(loop, listening):
    async def main():
        transport, protocol = await loop.create_connection(
            Recorder, *listening.getsockname(), local_addr=("127.0.0.2", 0)
        )
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        await close(protocol)
        with pytest.raises(OSError, match="bind"):
            await loop.create_connection(
                Recorder, *listening.getsockname(), local_addr=("203.0.113.1", 0)
            )

    run(loop, main())


def test_a_connected_socket(loop, listening):
    async def main():
        sock = socket.create_connection(listening.getsockname())
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        assert sock.gettimeout() == 0
        assert transport.get_extra_info("socket").fileno() == sock.fileno()
        await close(protocol)
        assert sock.fileno() == -1

    run(loop, main())


def test_wrong_arguments(loop, listening):
    async def main():
        address = listening.getsockname()
        with pytest.raises(ValueError):
            await loop.create_connection(Recorder)
        with pytest.raises(ValueError):
            await loop.create_connection(Recorder, *address, server_hostname="x")
        with pytest.raises(ValueError):
            await loop.create_connection(Recorder, *address, ssl_handshake_timeout=1)
        with pytest.raises(ValueError):
            await loop.create_connection(Recorder, *address, ssl_shutdown_timeout=1)
        with socket.socket() as sock:
            with pytest.raises(ValueError):
                await loop.create_connection(Recorder, *address, sock=sock)
            with pytest.raises(ValueError):
                await loop.create_connection(Recorder, ssl=True, sock=sock)
        with (
            socket.socket(type=socket.SOCK_DGRAM) as sock,
            pytest.raises(ValueError, match="Stream Socket"),
        ):
            await loop.create_connection(Recorder, sock=sock)

    run(loop, main())


def test_next_address_is_tried(loop, listening, refused, monkeypatch):
    async def main():
        resolving(loop, monkeypatch, [refused, listening.getsockname()])
        transport, protocol = await loop.create_connection(Recorder, "name", 1)
        assert transport.get_extra_info("peername") == listening.getsockname()
        await close(protocol)

    run(loop, main())


def test_no_address(loop, monkeypatch):
    async def main():
        resolving(loop, monkeypatch, [])
        with pytest.raises(OSError):
            await loop.create_connection(Recorder, "name", 1)

    run(loop, main())


def test_errors_of_several_addresses(loop, refused, monkeypatch):
    async def main():
        resolving(loop, monkeypatch, [refused, ("127.0.0.2", 1)])
        with pytest.raises(OSError, match=r"Multiple exceptions: .*, .*"):
            await loop.create_connection(Recorder, "name", 1)
        resolving(loop, monkeypatch, [refused, refused])
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "name", 1)

    run(loop, main())


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="needs CPython 3.12: asyncio has it since then"
)
def test_all_errors(loop, refused, monkeypatch):
    async def main():
        resolving(loop, monkeypatch, [refused, ("127.0.0.2", 1)])
        with pytest.raises(ExceptionGroup) as caught:
            await loop.create_connection(Recorder, "name", 1, all_errors=True)
        assert len(caught.value.exceptions) == 2
        assert all(isinstance(e, OSError) for e in caught.value.exceptions)

    run(loop, main())


def test_interleave(loop, monkeypatch):
    tried = []

    async def sock_connect(sock, address):
        tried.append(address[0])
        raise OSError(f"planted {address[0]}")

    def info(host):
        if ":" in host:
            address = (host, 1, 0, 0)
            return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address
        address = (host, 1)
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address

    async def main():
        hosts = ["::a", "::b", "::c", "10.0.0.1", "10.0.0.2"]
        resolving(loop, monkeypatch, [info(host) for host in hosts])
        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        for interleave, expected in (
            (None, hosts),
            (0, hosts),
            (1, ["::a", "10.0.0.1", "::b", "10.0.0.2", "::c"]),
            (2, ["::a", "::b", "10.0.0.1", "::c", "10.0.0.2"]),
        ):
            tried.clear()
            with pytest.raises(OSError):
                await loop.create_connection(Recorder, "name", 1, interleave=interleave)
            assert tried == expected

    run(loop, main())


def test_happy_eyeballs(loop, listening, refused, monkeypatch):
    hangs = ("127.0.0.9", 9)
    begun = []
    ended = []
    real = loop.sock_connect

    async def sock_connect(sock, address):
        begun.append(address)
        if address == hangs:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(sock)
        await real(sock, address)

    async def main():
        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        resolving(loop, monkeypatch, [hangs, refused, listening.getsockname()])
        transport, protocol = await loop.create_connection(
            Recorder, "name", 1, happy_eyeballs_delay=0.01
        )
        assert transport.get_extra_info("peername") == listening.getsockname()
        assert begun == [hangs, refused, listening.getsockname()]
        await until(lambda: ended and ended[0].fileno() == -1)
        await close(protocol)

    run(loop, main())


def test_happy_eyeballs_name_failures_in_the_order_of_the_addresses(
    loop, refused, monkeypatch
):
    hosts = [f"127.0.0.{i}" for i in range(1, 7)]

    async def main():
        resolving(loop, monkeypatch, [(host, refused[1]) for host in hosts])
        with pytest.raises(OSError) as caught:
            await loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=0)
        assert [part for part in str(caught.value).split("'") if part in hosts] == hosts

    run(loop, main())


def test_a_nul_does_not_end_a_host(loop, listening):
    async def main():
        for host in ("127.0.0.1\0", "127.0.0.1\0.example"):
            with pytest.raises(ValueError):
                await loop.create_connection(Recorder, host, listening.getsockname()[1])

    run(loop, main())


def test_happy_eyeballs_where_all_fail(loop, refused, monkeypatch):
    async def main():
        resolving(loop, monkeypatch, [refused, ("127.0.0.2", 1)])
        with pytest.raises(OSError, match="Multiple exceptions"):
            await loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=60)

    run(loop, main())


@pytest.mark.parametrize("delay", [None, 0.01])
def test_cancelled_connect_closes_its_sockets(loop, monkeypatch, delay):
    socks = []

    async def sock_connect(sock, address):
        socks.append(sock)
        await asyncio.sleep(3600)

    async def main():
        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        resolving(loop, monkeypatch, [("127.0.0.1", 1), ("127.0.0.2", 1)])
        task = asyncio.create_task(
            loop.create_connection(Recorder, "name", 1, happy_eyeballs_delay=delay)
        )
        await until(lambda: len(socks) == (1 if delay is None else 2))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: all(sock.fileno() == -1 for sock in socks))

    run(loop, main())


def test_failing_factory_closes_nothing_of_others(loop, listening):
    def fails():
        raise KeyError("planted")

    async def main():
        with pytest.raises(KeyError):
            await loop.create_connection(fails, *listening.getsockname())

    run(loop, main())


def test_connect_accepted_socket(loop, listening):
    async def main():
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
        transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
        client.send(b"hello")
        assert await protocol.received(5) == b"hello"
        transport.close()
        await protocol.lost
        client.close()
        with (
            socket.socket(type=socket.SOCK_DGRAM) as sock,
            pytest.raises(ValueError),
        ):
            await loop.connect_accepted_socket(Recorder, sock)
        with socket.socket() as sock, pytest.raises(ValueError):
            await loop.connect_accepted_socket(Recorder, sock, ssl_handshake_timeout=1)

    run(loop, main())


def test_wrong_arguments_of_unix_connections(loop, tmp_path):
    async def main():
        path = str(tmp_path / "none")
        with pytest.raises(ValueError):
            await loop.create_unix_connection(Recorder)
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)
        with pytest.raises(ValueError):
            await loop.create_unix_connection(Recorder, path, server_hostname="x")
        with pytest.raises(ValueError):
            await loop.create_unix_connection(Recorder, path, ssl=True)
        with socket.socket() as sock, pytest.raises(ValueError):
            await loop.create_unix_connection(Recorder, sock=sock)
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ValueError):
            await loop.create_unix_connection(Recorder, path, sock=sock)

    run(loop, main())


def test_a_unix_socket_of_ones_own(loop):
    async def main():
        a, b = socket.socketpair()
        transport, protocol = await loop.create_unix_connection(Recorder, sock=a)
        transport.write(b"hello")
        assert b.recv(10) == b"hello"
        b.close()
        await protocol.lost

    run(loop, main())


# ---- streams over it ----


def test_stream_reader_pauses_the_transport(loop):
    async def main():
        a, b = socket.socketpair()
        b.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=a, limit=1024)
        data = bytes(range(256)) * 2000
        sends = loop.create_task(loop.sock_sendall(b, data))
        await until(lambda: not writer.transport.is_reading())
        got = bytearray()
        while len(got) < len(data):
            got += await reader.read(1000)
        assert got == data
        await sends
        b.close()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_drain_waits(loop):
    async def main():
        a, b = socket.socketpair()
        b.setblocking(False)
        _, writer = await asyncio.open_connection(sock=a)
        writer.write(b"x" * 2_000_000)
        drains = asyncio.create_task(writer.drain())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not drains.done()
        left = 2_000_000
        while left:
            left -= len(await loop.sock_recv(b, 1 << 20))
        await drains
        b.close()
        writer.close()
        await writer.wait_closed()

    run(loop, main())
