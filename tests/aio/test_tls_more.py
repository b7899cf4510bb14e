"""TLS connections at their edges: what comes in pieces, too early, too late or not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
import ssl

import pytest
from aio_support import BufferedRecorder, Recorder, Reports, run, small_buffers, until
from test_tls import BIG, serving, tls_pair, trusting

__all__ = ["serving", "trusting"]  # fixtures

# PYFASTLOOP_TEST_BYTES makes the echo by hash larger: 1 GiB is 1073741824.
ECHO_BYTES = int(os.environ.get("PYFASTLOOP_TEST_BYTES", 8 * 1024 * 1024))


class Raw:
    """The other end as a test writes it: an SSLObject whose bytes pass by hand."""

    def __init__(self, sock, context, *, server_side=False):
        self.sock = sock
        sock.setblocking(False)
        self.loop = asyncio.get_running_loop()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side
        )

    async def send(self, at_once=None):
        """What TLS has to send, in pieces of so many bytes."""
        data = self.outgoing.read()
        step = at_once or max(len(data), 1)
        for start in range(0, len(data), step):
            await self.loop.sock_sendall(self.sock, data[start : start + step])
            if at_once:
                await asyncio.sleep(0)

    async def receive(self):
        data = await self.loop.sock_recv(self.sock, 65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()
        return data

    async def call(self, method, *args, at_once=None):
        """A method of the SSLObject, with the bytes that it needs."""
        while True:
            try:
                result = method(*args)
                await self.send(at_once)
                return result
            except ssl.SSLWantReadError:
                await self.send(at_once)
                await self.receive()

    def close(self):
        self.sock.close()


async def raw_client(loop, serving, trusting, factory=Recorder, **kwargs):
    """A server's protocol and the Raw client of it, after the handshake."""
    made = []

    def make():
        made.append(factory())
        return made[-1]

    listener = await loop.create_server(make, "127.0.0.1", 0, ssl=serving, **kwargs)
    sock = socket.create_connection(listener.sockets[0].getsockname())
    raw = Raw(sock, trusting)
    await raw.call(raw.tls.do_handshake)
    await until(lambda: made and "made" in made[0].calls)
    listener.close()
    return raw, made[0]


def test_handshake_byte_by_byte(loop, serving, trusting):
    async def main():
        made = []

        def make():
            made.append(Recorder())
            return made[-1]

        listener = await loop.create_server(make, "127.0.0.1", 0, ssl=serving)
        sock = socket.create_connection(listener.sockets[0].getsockname())
        raw = Raw(sock, trusting)
        await raw.call(raw.tls.do_handshake, at_once=1)
        raw.tls.write(b"hello")
        await raw.send(1)
        await until(lambda: made)
        assert await made[0].received(5) == b"hello"
        assert made[0].calls == ["made", "data"]
        raw.close()
        await made[0].lost
        listener.close()

    run(loop, main())


def test_data_in_the_same_segment_as_the_handshake(loop, serving, trusting):
    async def main():
        made = []

        def make():
            made.append(Recorder())
            return made[-1]

        listener = await loop.create_server(make, "127.0.0.1", 0, ssl=serving)
        sock = socket.create_connection(listener.sockets[0].getsockname())
        raw = Raw(sock, trusting)
        while True:
            try:
                raw.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await raw.send()
                await raw.receive()
        raw.tls.write(b"one")
        raw.tls.write(b"two")
        await raw.send()
        await until(lambda: made)
        assert await made[0].received(6) == b"onetwo"
        assert made[0].calls == ["made", "data"]
        raw.close()
        await made[0].lost
        listener.close()

    run(loop, main())


@pytest.mark.parametrize("at_once", [1, 7, 4096])
def test_records_in_pieces(loop, serving, trusting, at_once):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)
        total = 300 if at_once == 1 else 40_000
        raw.tls.write(BIG[:total][:16384])
        for start in range(16384, total, 16384):
            raw.tls.write(BIG[start : min(start + 16384, total)])
        await raw.send(at_once)
        assert await server.received(total) == BIG[:total]
        raw.close()
        await server.lost

    run(loop, main())


@pytest.mark.parametrize("size", [64, 1000, 100_000])
def test_buffered_protocol(loop, serving, trusting, size):
    if size > 64 and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip(
            "does not apply: asyncio's own writes over what it has read of a round"
        )

    async def main():
        client, server, listener = await tls_pair(
            loop, serving, trusting, server=lambda: BufferedRecorder(size)
        )
        data = BIG if size > 64 else BIG[:20_000]
        client.transport.write(data)
        await until(lambda: len(server.data) >= len(data))
        assert server.data == data
        client.transport.close()
        assert await server.lost is None
        assert server.calls == ["made", "eof", "lost"]
        listener.close()

    run(loop, main())


def test_protocol_is_switched_while_data_comes(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)
        later = BufferedRecorder(10)

        def switch(data):
            server.data += data
            server.transport.set_protocol(later)

        server.data_received = switch
        server.transport.set_protocol(server)
        raw.tls.write(b"first")
        await raw.send()
        await until(lambda: server.data)
        raw.tls.write(b"then all the rest of it")
        await raw.send()
        await until(lambda: len(later.data) >= 23)
        assert server.data == b"first" and later.data == b"then all the rest of it"
        raw.close()
        await later.lost

    run(loop, main())


def test_pause_holds_records_back_that_have_arrived(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)

        class Pausing(BufferedRecorder):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                server.transport.pause_reading()

        small = Pausing(10)
        server.transport.set_protocol(small)
        raw.tls.write(b"0123456789" * 5)
        await raw.send()
        for had in range(10, 60, 10):
            await until(lambda had=had: len(small.data) == had)
            assert not server.transport.is_reading()
            await asyncio.sleep(0.005)
            assert len(small.data) == had
            server.transport.resume_reading()
        assert small.data == b"0123456789" * 5
        raw.close()
        await small.lost

    run(loop, main())


def test_close_inside_data_received(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)

        def last(data):
            server.data += data
            server.transport.write(b"bye")
            server.transport.close()
            server.transport.close()

        server.data_received = last
        server.transport.set_protocol(server)
        raw.tls.write(b"one")
        raw.tls.write(b"two")
        await raw.send()
        assert await raw.call(raw.tls.read, 100) == b"bye"
        assert await raw.call(raw.tls.read, 100) == b""
        await raw.call(raw.tls.unwrap)
        assert await server.lost is None
        raw.close()

    run(loop, main())


def test_abort_inside_data_received(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)

        def stop(data):
            server.data += data
            server.transport.write(b"never sent")
            server.transport.abort()

        server.data_received = stop
        server.transport.set_protocol(server)
        for text in (b"one", b"two"):
            raw.tls.write(text)
            await raw.send()
            await asyncio.sleep(0)
        assert await server.lost is None
        assert server.data.startswith(b"one")
        raw.close()

    run(loop, main())


def test_abort_inside_connection_made(loop, serving, trusting):
    async def main():
        class Refusing(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.abort()

        raw, server = await raw_client(loop, serving, trusting, Refusing)
        await server.lost
        assert server.calls == ["made", "lost"]
        raw.close()

    run(loop, main())


def test_data_received_that_raises_ends_the_connection(loop, serving, trusting):
    async def main():
        reports = Reports(loop)
        raw, server = await raw_client(loop, serving, trusting)

        def bad(data):
            raise ZeroDivisionError("data")

        server.data_received = bad
        server.transport.set_protocol(server)
        raw.tls.write(b"x")
        await raw.send()
        assert isinstance(await server.lost, ZeroDivisionError)
        assert [type(c["exception"]) for c in reports.contexts] == [ZeroDivisionError]
        raw.close()

    run(loop, main())


def test_broken_record_ends_the_connection(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)
        await loop.sock_sendall(raw.sock, b"\x17\x03\x03\x00\x20" + bytes(32))
        assert isinstance(await server.lost, ssl.SSLError)
        raw.close()

    run(loop, main())


def test_garbage_after_the_handshake_ends_the_connection(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)
        await loop.sock_sendall(raw.sock, b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(await server.lost, ssl.SSLError)
        raw.close()

    run(loop, main())


def test_close_notify_of_the_peer(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)
        raw.tls.write(b"last")
        with contextlib.suppress(ssl.SSLWantReadError):
            raw.tls.unwrap()
        await raw.send()
        assert await server.lost is None
        assert server.data == b"last"
        assert server.calls == ["made", "data", "eof", "lost"]
        while await raw.receive():
            pass
        raw.tls.unwrap()  # our close_notify was answered
        raw.close()

    run(loop, main())


def test_end_without_close_notify(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(loop, serving, trusting)
        raw.tls.write(b"last")
        await raw.send()
        await server.received(4)
        raw.sock.shutdown(socket.SHUT_WR)
        assert await server.lost is None
        assert server.calls == ["made", "data", "eof", "lost"]
        raw.close()

    run(loop, main())


def test_eof_received_cannot_keep_it_open(loop, serving, trusting, caplog):
    async def main():
        raw, server = await raw_client(
            loop, serving, trusting, lambda: Recorder(keep_open=True)
        )
        with contextlib.suppress(ssl.SSLWantReadError):
            raw.tls.unwrap()
        await raw.send()
        assert await server.lost is None
        raw.close()

    caplog.set_level(logging.WARNING, "asyncio")
    run(loop, main())
    assert [r for r in caplog.records if "eof_received()" in r.getMessage()]


def test_peer_that_does_not_answer_the_shutdown(loop, serving, trusting):
    async def main():
        raw, server = await raw_client(
            loop, serving, trusting, ssl_shutdown_timeout=0.02
        )
        server.transport.close()
        assert server.transport.is_closing()
        exc = await server.lost
        assert isinstance(exc, TimeoutError)
        raw.close()

    run(loop, main())


def test_writes_of_one_turn_arrive_in_order(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        want = bytearray()
        for size in (1, 10, 5000, 20_000, 3, 100_000, 16_384, 16_385, 7, 300_000, 0):
            piece = os.urandom(size)
            want += piece
            client.transport.write(piece)
        pieces = [os.urandom(100) for _ in range(50)]
        client.transport.writelines(pieces)
        want += b"".join(pieces)
        memory = bytearray(os.urandom(70_000))
        client.transport.write(memory)
        want += memory
        memory[:] = bytes(70_000)  # what was handed in is ours no more
        client.transport.write(memoryview(b"view"))
        want += b"view"
        client.transport.close()
        await server.lost
        assert bytes(server.data) == bytes(want)
        listener.close()

    run(loop, main())


@pytest.mark.parametrize("size", [1, 5000, 30_000])
def test_a_write_is_what_it_was_when_it_was_written(loop, serving, trusting, size):
    class Bytes(bytes):
        pass

    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        want = bytearray()
        for kinds in (
            [bytearray],
            [bytes],
            [Bytes],
            [bytearray, bytes],
            [bytes, bytearray, Bytes],
        ):
            for kind in kinds:
                piece = kind(os.urandom(size))
                want += piece
                client.transport.write(piece)
                if kind is bytearray:
                    piece[:] = b"changed" * 3
            assert await server.received(len(want)) == want
        client.transport.close()
        await server.lost
        listener.close()

    run(loop, main())


def test_water_marks(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        transport = client.transport
        small_buffers(transport.get_extra_info("socket"))
        low, high = transport.get_write_buffer_limits()
        assert (low, high) == (128 * 1024, 512 * 1024)
        transport.set_write_buffer_limits(high=1000, low=100)
        server.transport.pause_reading()
        total = 0
        while "pause" not in client.calls:
            transport.write(bytes(100_000))
            total += 100_000
            assert total < 100_000_000
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() > 1000
        server.transport.resume_reading()
        await until(lambda: "resume" in client.calls)
        await server.received(total)
        assert transport.get_write_buffer_size() <= 100
        transport.close()
        await server.lost
        listener.close()

    run(loop, main())


def test_writes_after_the_end_are_dropped_and_told(loop, serving, trusting, caplog):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        client.transport.close()
        for _ in range(10):
            client.transport.write(b"too late")
        await server.lost
        await client.lost
        assert server.data == b""
        listener.close()

    caplog.set_level(logging.WARNING, "asyncio")
    run(loop, main())
    told = [r for r in caplog.records if "SSL connection is closed" in r.getMessage()]
    assert len(told) == 5


def test_wrong_data_is_refused(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        with pytest.raises(TypeError):
            client.transport.write("text")
        with pytest.raises(NotImplementedError):
            client.transport.write_eof()
        client.transport.close()
        await server.lost
        listener.close()

    run(loop, main())


def test_server_tells_of_failed_handshakes_in_debug_mode(loop, serving, trusting):
    async def main():
        reports = Reports(loop)
        made = []

        def make():
            made.append(Recorder())
            return made[-1]

        listener = await loop.create_server(make, "127.0.0.1", 0, ssl=serving)
        reader, writer = await asyncio.open_connection(
            *listener.sockets[0].getsockname()
        )
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        await until(lambda: reports.contexts or not loop.get_debug())
        assert made[0].calls == []
        if loop.get_debug():
            (context,) = reports.contexts
            assert isinstance(context["exception"], ssl.SSLError)
        else:
            assert reports.contexts == []
        listener.close()

    run(loop, main())


def test_peer_that_resets_during_the_handshake(loop, serving, trusting):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            task = asyncio.create_task(
                loop.create_connection(Recorder, *listener.getsockname(), ssl=trusting)
            )
            listener.setblocking(False)
            conn, _ = await loop.sock_accept(listener)
            conn.close()
            with pytest.raises(ConnectionError):
                await task

    run(loop, main())


def test_start_tls_behind_what_was_written(loop, serving, trusting):
    async def main():
        here, there = socket.socketpair()
        a, first = await loop.create_connection(Recorder, sock=here)
        raw = Raw(there, serving, server_side=True)
        small_buffers(here)
        a.write(BIG)
        inner = Recorder()
        inner.calls.append("set")
        begun = asyncio.create_task(loop.start_tls(a, inner, trusting))
        plain = bytearray()
        while len(plain) < len(BIG):
            plain += await loop.sock_recv(there, len(BIG) - len(plain))
        assert plain == BIG
        await raw.call(raw.tls.do_handshake)
        tls = await begun
        tls.write(b"secret")
        assert await raw.call(raw.tls.read, 100) == b"secret"
        raw.tls.write(b"answer")
        await raw.send()
        assert await inner.received(6) == b"answer"
        assert first.data == b"" and "made" not in inner.calls
        assert tls.get_extra_info("peername") == a.get_extra_info("peername")
        tls.close()
        raw.close()
        await inner.lost

    run(loop, main())


def test_start_tls_takes_what_a_reader_holds_already(loop, serving, trusting):
    if isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("does not apply: asyncio does so in its latest releases only")

    async def main():
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        raw = Raw(there, trusting)
        with contextlib.suppress(ssl.SSLWantReadError):
            raw.tls.do_handshake()
        await raw.send()  # a ClientHello, to a stream that is plain as yet
        await until(lambda: reader._buffer)
        protocol = writer.transport.get_protocol()
        begun = asyncio.create_task(
            loop.start_tls(writer.transport, protocol, serving, server_side=True)
        )
        await raw.call(raw.tls.do_handshake)
        transport = await begun
        assert transport is writer.transport
        raw.tls.write(b"hello")
        await raw.send()
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        raw.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    run(loop, main())


def test_transports_say_that_start_tls_works(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        assert client.transport._start_tls_compatible
        client.transport.close()
        await server.lost
        listener.close()

    run(loop, main())


def test_start_tls_that_fails_tells_the_protocol(loop, trusting):
    async def main():
        here, there = socket.socketpair()
        a, _ = await loop.create_connection(Recorder, sock=here)
        inner = Recorder()
        inner.calls.append("set")
        there.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            await loop.start_tls(a, inner, trusting)
        assert isinstance(await inner.lost, ssl.SSLError)
        assert inner.calls == ["set", "lost"]
        there.close()

    run(loop, main())


def test_callback_of_the_context_that_writes_and_closes(loop, serving, trusting):
    async def main():
        client, server, listener = await tls_pair(loop, serving, trusting)
        raw, server = await raw_client(loop, serving, trusting)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        here, there = socket.socketpair()
        a, _ = await loop.create_connection(Recorder, sock=here)
        other = Raw(there, trusting)

        def on_name(tls, name, ctx):
            tls.context = serving
            a.close()

        context.sni_callback = on_name
        inner = Recorder()
        inner.calls.append("set")
        begun = asyncio.create_task(loop.start_tls(a, inner, context, server_side=True))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.gather(other.call(other.tls.do_handshake), begun)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await begun
        other.close()
        raw.close()
        client.transport.close()
        await server.lost
        listener.close()

    run(loop, main())


def test_session_is_resumed(loop, serving, trusting):
    async def main():
        listener = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=serving)
        seen = []
        for _ in range(2):
            sock = socket.create_connection(listener.sockets[0].getsockname())
            raw = Raw(sock, trusting)
            if seen:
                raw.tls.session = seen[0].session
            await raw.call(raw.tls.do_handshake)
            await raw.receive()  # the tickets of TLS 1.3
            with contextlib.suppress(ssl.SSLWantReadError):
                raw.tls.read(1)
            seen.append(raw.tls)
            raw.close()
        assert [tls.session_reused for tls in seen] == [False, True]
        listener.close()

    run(loop, main())


def test_tls_1_2(loop, trusting):
    async def main():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate())
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        client, server, listener = await tls_pair(loop, context, trusting)
        assert client.transport.get_extra_info("ssl_object").version() == "TLSv1.2"
        client.transport.write(BIG)
        assert await server.received(len(BIG)) == BIG
        client.transport.close()
        assert await server.lost is None
        listener.close()

    run(loop, main())


def certificate():
    from test_tls import CERT, KEY

    return CERT, KEY


def test_echo_of_random_bytes_by_hash(loop, serving, trusting):
    async def main():
        class Echo(Recorder):
            def data_received(self, data):
                self.transport.write(data)

            def pause_writing(self):
                self.transport.pause_reading()

            def resume_writing(self):
                self.transport.resume_reading()

        listener = await loop.create_server(Echo, "127.0.0.1", 0, ssl=serving)
        reader, writer = await asyncio.open_connection(
            *listener.sockets[0].getsockname(), ssl=trusting
        )
        sent, got = hashlib.sha256(), hashlib.sha256()
        block = os.urandom(1 << 20)

        async def send():
            left = ECHO_BYTES
            while left:
                at = left % 4099
                piece = block[at : at + min(left, 200_000 - at)]
                sent.update(piece)
                left -= len(piece)
                writer.write(piece)
                await writer.drain()

        async def receive():
            left = ECHO_BYTES
            while left:
                piece = await reader.read(min(left, 1 << 18))
                assert piece
                got.update(piece)
                left -= len(piece)

        await asyncio.gather(send(), receive())
        assert sent.digest() == got.digest()
        writer.close()
        await writer.wait_closed()
        listener.close()

    loop.run_until_complete(main())
