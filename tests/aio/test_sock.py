"""What asyncio's documentation promises of loop.sock_*."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import io
import os
import socket
import ssl
import tempfile

import pytest
from aio_support import run, small_buffers

BIG = bytes(range(256)) * 4096


@pytest.fixture
def pair():
    socks = socket.socketpair()
    for sock in socks:
        sock.setblocking(False)
    yield socks
    for sock in socks:
        sock.close()


@pytest.fixture
def udp():
    socks = []
    for _ in range(2):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        socks.append(sock)
    yield socks
    for sock in socks:
        sock.close()


async def waits(task):
    """Lets the task reach its wait."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()


def test_recv_of_what_is_there(loop, pair):
    async def main():
        pair[1].send(b"abcdef")
        assert await loop.sock_recv(pair[0], 4) == b"abcd"
        assert await loop.sock_recv(pair[0], 100) == b"ef"
        pair[1].close()
        assert await loop.sock_recv(pair[0], 100) == b""

    run(loop, main())


def test_recv_waits(loop, pair):
    async def main():
        task = loop.create_task(loop.sock_recv(pair[0], 100))
        await waits(task)
        pair[1].send(b"late")
        assert await task == b"late"
        for i in range(10):
            task = loop.create_task(loop.sock_recv(pair[0], 100))
            await waits(task)
            pair[1].send(b"%d" % i)
            assert await task == b"%d" % i

    run(loop, main())


def test_calls_are_coroutines(loop, pair):
    async def main():
        coro = loop.sock_recv(pair[0], 10)
        assert asyncio.iscoroutine(coro)
        assert isinstance(coro, collections.abc.Coroutine)
        pair[1].send(b"x")
        assert await coro == b"x"
        with pytest.raises(RuntimeError):
            await coro
        unused = loop.sock_recv(pair[0], 10)
        unused.close()
        repr(unused)

    run(loop, main())


@pytest.mark.parametrize("kind", [bytearray, lambda n: memoryview(bytearray(n))])
def test_recv_into(loop, pair, kind):
    async def main():
        buf = kind(10)
        task = loop.create_task(loop.sock_recv_into(pair[0], buf))
        await waits(task)
        pair[1].send(b"abc")
        assert await task == 3
        assert bytes(buf[:3]) == b"abc"

    run(loop, main())


def test_recvfrom_and_sendto(loop, udp):
    async def main():
        a, b = udp
        assert await loop.sock_sendto(a, b"ping", b.getsockname()) == 4
        assert await loop.sock_recvfrom(b, 100) == (b"ping", a.getsockname())
        task = loop.create_task(loop.sock_recvfrom(a, 2))
        await waits(task)
        await loop.sock_sendto(b, b"pong", a.getsockname())
        assert await task == (b"po", b.getsockname())

    run(loop, main())


def test_recvfrom_into(loop, udp):
    async def main():
        a, b = udp
        buf = bytearray(10)
        task = loop.create_task(loop.sock_recvfrom_into(b, buf))
        await waits(task)
        await loop.sock_sendto(a, b"ping", b.getsockname())
        assert await task == (4, a.getsockname())
        assert buf[:4] == b"ping"
        await loop.sock_sendto(a, b"ping", b.getsockname())
        assert await loop.sock_recvfrom_into(b, buf, 2) == (2, a.getsockname())
        await loop.sock_sendto(a, b"x", b.getsockname())
        with pytest.raises(ValueError):
            await loop.sock_recvfrom_into(b, buf, 100)

    run(loop, main())


def test_sendto_a_name(loop, udp):
    async def main():
        a, b = udp
        port = b.getsockname()[1]
        assert await loop.sock_sendto(a, b"named", ("localhost", port)) == 5
        assert (await loop.sock_recvfrom(b, 10))[0] == b"named"

    run(loop, main())


def test_sendto_over_ipv6_and_unix(loop, tmp_path):
    async def main():
        kinds = [(socket.AF_INET6, ("::1", 0))]
        kinds.append((socket.AF_UNIX, str(tmp_path / "there")))
        for family, address in kinds:
            with (
                socket.socket(family, socket.SOCK_DGRAM) as there,
                socket.socket(family, socket.SOCK_DGRAM) as here,
            ):
                there.bind(address)
                there.setblocking(False)
                here.setblocking(False)
                await loop.sock_sendto(here, b"data", there.getsockname())
                data, sender = await loop.sock_recvfrom(there, 100)
                assert data == b"data"
                if family == socket.AF_INET6:
                    assert sender[0] == "::1" and len(sender) == 4
                else:
                    assert sender is None

    run(loop, main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sendall(loop, pair, kind):
    async def main():
        small_buffers(*pair)
        task = loop.create_task(loop.sock_sendall(pair[0], kind(BIG)))
        got = bytearray()
        while len(got) < len(BIG):
            got += await loop.sock_recv(pair[1], 65536)
        assert await task is None
        assert got == BIG
        assert await loop.sock_sendall(pair[0], kind(b"")) is None

    run(loop, main())


def test_sending_and_receiving_on_one_socket(loop, pair):
    async def main():
        small_buffers(*pair)
        receives = loop.create_task(loop.sock_recv(pair[0], 10))
        sends = loop.create_task(loop.sock_sendall(pair[0], BIG))
        await waits(receives)
        await waits(sends)
        pair[1].send(b"answer")
        assert await receives == b"answer"
        left = len(BIG)
        while left:
            left -= len(await loop.sock_recv(pair[1], 65536))
        await sends

    run(loop, main())


def test_accept_and_connect(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            accepts = loop.create_task(loop.sock_accept(server))
            await waits(accepts)
            with socket.socket() as client:
                client.setblocking(False)
                assert await loop.sock_connect(client, server.getsockname()) is None
                conn, address = await accepts
                with conn:
                    assert isinstance(conn, socket.socket)
                    assert conn.gettimeout() == 0
                    assert address == client.getsockname()
                    await loop.sock_sendall(client, b"hello")
                    assert await loop.sock_recv(conn, 10) == b"hello"

    run(loop, main())


def test_connect_by_name(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("localhost", server.getsockname()[1]))
            assert sock.getpeername() == server.getsockname()

    run(loop, main())


def test_connect_unix(loop, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        with (
            socket.socket(socket.AF_UNIX) as server,
            socket.socket(socket.AF_UNIX) as client,
        ):
            server.bind(path)
            server.listen()
            server.setblocking(False)
            client.setblocking(False)
            await loop.sock_connect(client, path)
            conn, _ = await loop.sock_accept(server)
            conn.close()

    run(loop, main())


def test_connect_refused(loop):
    async def main():
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with socket.socket() as sock:
                sock.setblocking(False)
                with pytest.raises(ConnectionRefusedError):
                    await loop.sock_connect(sock, unused.getsockname())

    run(loop, main())


# ---- cancelling and closing ----


def test_cancelling_leaves_nothing_registered(loop, pair):
    async def main():
        small_buffers(*pair)
        for coro in (
            loop.sock_recv(pair[0], 10),
            loop.sock_recv_into(pair[0], bytearray(10)),
            loop.sock_sendall(pair[0], BIG),
        ):
            task = loop.create_task(coro)
            await waits(task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not loop.remove_reader(pair[0])
            assert not loop.remove_writer(pair[0])
        if hasattr(loop, "stats"):
            watched = loop.stats()["descriptors"]
            task = loop.create_task(loop.sock_recv(pair[1], 10))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert loop.stats()["descriptors"] <= watched

    run(loop, main())


def test_cancelled_connect_and_accept(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            accepts = loop.create_task(loop.sock_accept(server))
            await waits(accepts)
            accepts.cancel()
            with pytest.raises(asyncio.CancelledError):
                await accepts
            assert not loop.remove_reader(server)

    run(loop, main())


def test_timeout_around_a_call(loop, pair):
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(pair[0], 10), 0.01)
        pair[1].send(b"kept")
        assert await loop.sock_recv(pair[0], 10) == b"kept"

    run(loop, main())


def test_descriptor_numbers_come_back(loop):
    async def main():
        for _ in range(5):
            a, b = socket.socketpair()
            a.setblocking(False)
            task = loop.create_task(loop.sock_recv(a, 10))
            await asyncio.sleep(0)
            b.send(b"x")
            assert await task == b"x"
            a.close()
            b.close()
            del a, b
            a, b = socket.socketpair()
            seen = loop.create_future()
            a.setblocking(False)
            loop.add_reader(a, lambda seen=seen: seen.done() or seen.set_result(1))
            b.send(b"y")
            await seen
            loop.remove_reader(a)
            assert await loop.sock_recv(a, 10) == b"y"
            a.close()
            b.close()

    run(loop, main())


def test_a_socket_that_was_used_may_get_a_transport(loop, pair):
    async def main():
        task = loop.create_task(loop.sock_recv(pair[0], 10))
        await waits(task)
        pair[1].send(b"x")
        await task
        reader, writer = await asyncio.open_connection(sock=pair[0])
        pair[1].send(b"line\n")
        assert await reader.readline() == b"line\n"
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_a_descriptor_of_a_transport_is_refused(loop, pair):
    async def main():
        _reader, writer = await asyncio.open_connection(sock=pair[0])
        with pytest.raises(RuntimeError):
            await loop.sock_recv(pair[0], 10)
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_calls_on_a_closed_socket(loop, pair):
    async def main():
        pair[0].close()
        with pytest.raises(OSError):
            await loop.sock_recv(pair[0], 10)
        with pytest.raises(OSError):
            await loop.sock_sendall(pair[0], b"x")
        with pytest.raises(OSError):
            await loop.sock_accept(pair[0])

    run(loop, main())


def test_sending_to_a_closed_peer(loop, pair):
    async def main():
        pair[1].close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await loop.sock_sendall(pair[0], b"x")

    run(loop, main())


def test_abandoned_waits_are_collected(loop, pair):
    async def main():
        coro = loop.sock_recv(pair[0], 10)
        coro.send(None)
        del coro
        gc.collect()
        pair[1].send(b"x")
        assert await loop.sock_recv(pair[0], 10) == b"x"

    run(loop, main())


def test_a_call_is_not_entered_twice():
    import pyfastloop

    seen = []

    class Reenters:
        def fileno(self):
            for again in (lambda: calls[0].send(None), calls[0].close):
                with pytest.raises(ValueError, match="already executing"):
                    again()
            seen.append(1)
            return -1

        def gettimeout(self):
            return 0

    async def main():
        loop = asyncio.get_running_loop()
        calls.append(loop.sock_recv(Reenters(), 10))
        with pytest.raises(OSError):
            await calls[0]
        assert seen

    calls = []
    pyfastloop.run(main())


# ---- arguments ----


def test_debug_mode_refuses_blocking_sockets(loop, pair):
    if not loop.get_debug():
        return
    sock = pair[0]
    sock.setblocking(True)

    async def main():
        for make in (
            lambda: loop.sock_recv(sock, 1),
            lambda: loop.sock_recv_into(sock, bytearray(1)),
            lambda: loop.sock_recvfrom(sock, 1),
            lambda: loop.sock_recvfrom_into(sock, bytearray(1)),
            lambda: loop.sock_sendall(sock, b"x"),
            lambda: loop.sock_sendto(sock, b"x", "y"),
            lambda: loop.sock_accept(sock),
            lambda: loop.sock_connect(sock, "y"),
        ):
            with pytest.raises(ValueError, match="non-blocking"):
                await make()

    run(loop, main())


def test_tls_sockets_are_refused(loop, pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    sock = context.wrap_socket(pair[0], do_handshake_on_connect=False)
    sock.setblocking(False)

    async def main():
        for coro in (
            loop.sock_recv(sock, 1),
            loop.sock_recv_into(sock, bytearray(1)),
            loop.sock_sendall(sock, b"x"),
            loop.sock_accept(sock),
            loop.sock_connect(sock, ("127.0.0.1", 1)),
        ):
            with pytest.raises(TypeError):
                await coro

    run(loop, main())
    sock.close()


def test_data_that_is_no_bytes(loop, pair):
    async def main():
        with pytest.raises(TypeError):
            await loop.sock_sendall(pair[0], "text")
        with pytest.raises(TypeError):
            await loop.sock_recv_into(pair[0], b"constant")

    run(loop, main())


# ---- files ----


@pytest.fixture
def connected():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    client.setblocking(False)
    accepted.setblocking(False)
    yield client, accepted
    client.close()
    accepted.close()


async def everything(loop, sock):
    got = bytearray()
    while chunk := await loop.sock_recv(sock, 65536):
        got += chunk
    return bytes(got)


@pytest.mark.parametrize(("offset", "count"), [(0, None), (10, 5000), (len(BIG), None)])
@pytest.mark.parametrize("kind", ["file", "memory"])
def test_sock_sendfile(loop, connected, offset, count, kind):
    expected = BIG[offset:] if count is None else BIG[offset : offset + count]

    async def main():
        client, accepted = connected
        with tempfile.TemporaryFile() if kind == "file" else io.BytesIO() as file:
            file.write(BIG)
            file.flush()
            file.seek(0)
            reads = loop.create_task(everything(loop, accepted))
            sent = await loop.sock_sendfile(client, file, offset, count)
            assert sent == len(expected)
            if expected:
                assert file.tell() == offset + len(expected)
            client.close()
            assert await reads == expected

    run(loop, main())


def test_sock_sendfile_refuses(loop, connected, udp):
    async def main():
        with tempfile.TemporaryFile() as file:
            with pytest.raises(ValueError):
                await loop.sock_sendfile(udp[0], file)
            with pytest.raises(ValueError):
                await loop.sock_sendfile(connected[0], file, 0, 0)
            with pytest.raises(TypeError):
                await loop.sock_sendfile(connected[0], file, "x")
            with open(os.devnull) as text, pytest.raises(ValueError):
                await loop.sock_sendfile(connected[0], text)
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sock_sendfile(connected[0], io.BytesIO(b"x"), fallback=False)

    run(loop, main())


def test_a_socket_closed_while_a_duplicate_lives_does_not_spin_the_loop(loop, pair):
    """The kernel goes on telling of what a forked child, say, still holds open."""
    stats = getattr(loop, "stats", lambda: {"polls": 0})  # asyncio's does not count

    async def main():
        reading = loop.create_task(loop.sock_recv(pair[0], 10))
        await waits(reading)
        pair[1].send(b"x")
        assert await reading == b"x"
        duplicate = os.dup(pair[0].fileno())
        try:
            pair[0].close()
            pair[1].send(b"nobody reads this")
            quiet = asyncio.Event()
            loop.call_later(0.05, quiet.set)
            before = stats()["polls"]
            await quiet.wait()
            assert stats()["polls"] - before < 20
        finally:
            os.close(duplicate)

    run(loop, main())
