"""What asyncio's documentation promises of datagram endpoints."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys

import pytest
from aio_support import Reports, run, until


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.calls = []
        self.got = []
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.got.append((data, addr))

    def error_received(self, exc):
        self.errors.append(exc)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


class Echo(Datagrams):
    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


async def bound(loop, factory=Datagrams, host="127.0.0.1", **kwargs):
    _, protocol = await loop.create_datagram_endpoint(
        factory, local_addr=(host, 0), **kwargs
    )
    return protocol, protocol.transport.get_extra_info("sockname")


async def close(*protocols):
    for protocol in protocols:
        protocol.transport.close()
        await protocol.lost


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_echo(loop, host):
    async def main():
        server, address = await bound(loop, Echo, host)
        client, own = await bound(loop, host=host)
        for i in range(20):
            client.transport.sendto(b"%d" % i, address)
        await until(lambda: len(client.got) == 20)
        assert client.got == [(b"%d" % i, address) for i in range(20)]
        assert server.got == [(b"%d" % i, own) for i in range(20)]
        await close(client, server)
        assert client.calls == ["made", "lost"]

    run(loop, main())


def test_several_peers_keep_their_addresses(loop):
    async def main():
        server, address = await bound(loop, Echo)
        clients = [await bound(loop) for _ in range(5)]
        for turn in range(4):
            for i, (client, _) in enumerate(clients):
                client.transport.sendto(b"%d %d" % (turn, i), address)
        await until(lambda: all(len(client.got) == 4 for client, _ in clients))
        for i, (client, own) in enumerate(clients):
            assert [data for data, _ in client.got] == [
                b"%d %d" % (turn, i) for turn in range(4)
            ]
            assert sum(addr == own for _, addr in server.got) == 4
        await close(server, *(client for client, _ in clients))

    run(loop, main())


def test_connected_endpoint(loop):
    async def main():
        server, address = await bound(loop, Echo)
        transport, client = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=address
        )
        assert isinstance(transport, asyncio.BaseTransport)
        assert transport.get_extra_info("peername") == address
        transport.sendto(b"one")
        transport.sendto(b"two", address)
        transport.sendto(b"three", None)
        with pytest.raises(ValueError):
            transport.sendto(b"four", ("127.0.0.1", 1))
        await until(lambda: len(client.got) == 3)
        assert [data for data, _ in client.got] == [b"one", b"two", b"three"]
        await close(client, server)

    run(loop, main())


def test_kinds_of_data(loop):
    async def main():
        server, address = await bound(loop)
        client, _ = await bound(loop)
        for data in (b"x", bytearray(b"x"), memoryview(b"x")):
            client.transport.sendto(data, address)
        client.transport.sendto(data=b"x", addr=address)
        for data in ("x", 5, None):
            with pytest.raises(TypeError):
                client.transport.sendto(data, address)
        await until(lambda: len(server.got) == 4)
        assert {data for data, _ in server.got} == {b"x"}
        await close(client, server)

    run(loop, main())


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="needs CPython 3.13: asyncio sends it since then"
)
def test_empty_datagram(loop):
    async def main():
        server, address = await bound(loop)
        client, own = await bound(loop)
        client.transport.sendto(b"", address)
        await until(lambda: server.got)
        assert server.got == [(b"", own)]
        await close(client, server)

    run(loop, main())


def test_sending_to_a_name(loop):
    async def main():
        server, address = await bound(loop)
        client, _ = await bound(loop)
        client.transport.sendto(b"x", ("localhost", address[1]))
        await until(lambda: server.got)
        await close(client, server)

    run(loop, main())


def test_errors_are_received(loop):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            nobody = sock.getsockname()
        transport, client = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=nobody
        )
        transport.sendto(b"x")
        await until(lambda: client.errors)
        assert isinstance(client.errors[0], ConnectionRefusedError)
        assert not transport.is_closing()
        transport.sendto(b"x" * 100_000)
        await until(lambda: len(client.errors) >= 2)
        assert isinstance(client.errors[-1], OSError)
        await close(client)

    run(loop, main())


def test_extra_info(loop):
    async def main():
        protocol, address = await bound(loop)
        transport = protocol.transport
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.type == socket.SOCK_DGRAM
        assert sock.getsockname() == address
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("nothing", 5) == 5
        assert transport.get_protocol() is protocol
        repr(transport)
        await close(protocol)
        repr(transport)
        assert sock.fileno() == -1

    run(loop, main())


def test_close_and_abort(loop):
    async def main():
        for end in ("close", "abort"):
            protocol, _ = await bound(loop)
            transport = protocol.transport
            assert not transport.is_closing()
            getattr(transport, end)()
            getattr(transport, end)()
            assert transport.is_closing()
            assert protocol.calls == ["made"]
            assert await protocol.lost is None
            transport.close()
            transport.abort()
            await asyncio.sleep(0)
            assert protocol.calls == ["made", "lost"]

    run(loop, main())


def test_flow_control(loop, tmp_path):
    async def main():
        path = str(tmp_path / "there")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.bind(path)
            here = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            here.connect(path)
            transport, protocol = await loop.create_datagram_endpoint(
                Datagrams, sock=here
            )
            transport.set_write_buffer_limits(high=3000, low=1000)
            assert transport.get_write_buffer_limits() == (1000, 3000)
            sent = 0
            while "pause" not in protocol.calls:
                transport.sendto(b"%04d" % sent + b"x" * 996)
                sent += 1
            assert transport.get_write_buffer_size() > 3000
            transport.sendto(b"%04d" % sent + b"x" * 996)
            sent += 1
            there.setblocking(False)
            for i in range(sent):
                data = await loop.sock_recv(there, 2000)
                assert data[:4] == b"%04d" % i
            assert protocol.calls == ["made", "pause", "resume"]
            assert transport.get_write_buffer_size() <= 1000
            for i in range(sent):
                transport.sendto(b"%04d" % i)
            transport.close()
            for i in range(sent):
                assert await loop.sock_recv(there, 2000) == b"%04d" % i
            await protocol.lost

    run(loop, main())


def test_failing_protocol_is_closed_and_reported(loop):
    class Fails(Datagrams):
        def datagram_received(self, data, addr):
            raise KeyError("planted")

    async def main():
        reports = Reports(loop)
        server, address = await bound(loop, Fails)
        client, _ = await bound(loop)
        client.transport.sendto(b"x", address)
        await until(lambda: reports.contexts)
        assert isinstance(reports.contexts[0]["exception"], KeyError)
        await close(client)
        server.transport.abort()

    run(loop, main())


def test_closing_inside_datagram_received(loop):
    class Closes(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.close()

    async def main():
        server, address = await bound(loop, Closes)
        client, _ = await bound(loop)
        for _ in range(5):
            client.transport.sendto(b"x", address)
        await server.lost
        assert len(server.got) == 1
        await close(client)

    run(loop, main())


def test_what_a_protocol_raises_about_a_datagram_leaves_the_endpoint_open(loop):
    class Trips(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"bad":
                raise OSError("trips")

        def error_received(self, exc):
            super().error_received(exc)
            raise ValueError("trips")

    async def main():
        reports = Reports(loop)
        server, address = await bound(loop, Trips)
        client, _ = await bound(loop)
        for data in (b"bad", b"good", b"bad", b"end"):
            client.transport.sendto(data, address)
        await until(lambda: len(server.got) == 4)
        assert len(reports.contexts) == 2
        assert not server.transport.is_closing()
        await close(client, server)

        with socket.socket(type=socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        _, lonely = await loop.create_datagram_endpoint(Trips, remote_addr=address)
        lonely.transport.sendto(b"nobody hears")
        await until(lambda: lonely.errors)
        await until(lambda: len(reports.contexts) == 3)
        assert not lonely.transport.is_closing()
        await close(lonely)

    run(loop, main())


def test_unix(loop, tmp_path):
    async def main():
        paths = [str(tmp_path / name) for name in "ab"]
        _, server = await loop.create_datagram_endpoint(
            Echo, local_addr=paths[0], family=socket.AF_UNIX
        )
        transport, client = await loop.create_datagram_endpoint(
            Datagrams,
            local_addr=paths[1],
            remote_addr=paths[0],
            family=socket.AF_UNIX,
        )
        transport.sendto(b"hello")
        await until(lambda: client.got)
        assert client.got == [(b"hello", paths[0])]
        await close(client, server)
        with pytest.raises(TypeError):
            await loop.create_datagram_endpoint(
                Datagrams, local_addr=("127.0.0.1", 0), family=socket.AF_UNIX
            )

    run(loop, main())


def test_options(loop):
    async def main():
        def option(protocol, name):
            sock = protocol.transport.get_extra_info("socket")
            return sock.getsockopt(socket.SOL_SOCKET, name) != 0

        plain, _ = await bound(loop)
        special, _ = await bound(loop, reuse_port=True, allow_broadcast=True)
        for name in (socket.SO_REUSEPORT, socket.SO_BROADCAST):
            assert not option(plain, name)
            assert option(special, name)
        await close(plain, special)

    run(loop, main())


def test_a_socket_of_ones_own(loop):
    async def main():
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        _, protocol = await loop.create_datagram_endpoint(Datagrams, sock=sock)
        assert sock.gettimeout() == 0
        await close(protocol)
        assert sock.fileno() == -1

    run(loop, main())


def test_without_addresses(loop):
    async def main():
        _, protocol = await loop.create_datagram_endpoint(
            Datagrams, family=socket.AF_INET
        )
        await close(protocol)
        with pytest.raises(ValueError):
            await loop.create_datagram_endpoint(Datagrams)

    run(loop, main())


def test_wrong_arguments(loop):
    async def main():
        with pytest.raises(TypeError):
            await loop.create_datagram_endpoint(Datagrams, local_addr="127.0.0.1")
        with socket.socket() as sock, pytest.raises(ValueError):
            await loop.create_datagram_endpoint(Datagrams, sock=sock)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for extra in (
                {"local_addr": ("127.0.0.1", 0)},
                {"remote_addr": ("127.0.0.1", 1)},
                {"family": 1},
                {"proto": 1},
                {"flags": 1},
                {"reuse_port": True},
                {"allow_broadcast": True},
            ):
                with pytest.raises(ValueError, match=next(iter(extra))):
                    await loop.create_datagram_endpoint(Datagrams, sock=sock, **extra)
        with pytest.raises(OSError):
            await loop.create_datagram_endpoint(
                Datagrams, local_addr=("203.0.113.1", 0)
            )

    run(loop, main())


def test_an_unclosed_transport_warns(loop):
    async def main():
        await bound(loop)
        assert loop is asyncio.get_running_loop()

    run(loop, main())
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        loop.close()
        gc.collect()


def test_sending_after_the_end_is_harmless():
    """asyncio's own transport fails here with an AttributeError."""
    import pyfastloop

    async def main():
        loop = asyncio.get_running_loop()
        protocol, address = await bound(loop)
        transport = protocol.transport
        assert isinstance(transport, asyncio.DatagramTransport)
        transport.abort()
        await protocol.lost
        for _ in range(10):
            transport.sendto(b"too late", address)

    pyfastloop.run(main())
