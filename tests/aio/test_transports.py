"""What asyncio's documentation promises of transports and protocols."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import socket
import struct
import tempfile
import weakref

import pytest
from aio_support import (
    BufferedRecorder,
    Recorder,
    Reports,
    connected,
    run,
    small_buffers,
    tcp_pair,
    until,
)

BIG = bytes(range(256)) * 4096  # 1 MiB


async def read_all(loop, sock, n):
    got = bytearray()
    while len(got) < n:
        await until(lambda: _readable(sock))
        try:
            got += sock.recv(65536)
        except BlockingIOError:
            continue
    return bytes(got)


def _readable(sock):
    import select

    return select.select([sock], [], [], 0)[0]


# ---- life ----


def test_order_of_calls(loop):
    async def main():
        protocol, other = await connected(loop)
        assert protocol.calls == ["made"]
        other.send(b"abc")
        assert await protocol.received(3) == b"abc"
        other.close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "data", "eof", "lost"]

    run(loop, main())


def test_transport_is_an_asyncio_transport(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.ReadTransport)
        assert isinstance(transport, asyncio.WriteTransport)
        assert weakref.ref(transport)() is transport
        repr(transport)
        transport.close()
        await protocol.lost
        repr(transport)
        other.close()

    run(loop, main())


def test_close_flushes_what_is_queued(loop):
    async def main():
        protocol, other = await connected(loop)
        small_buffers(other, protocol.transport.get_extra_info("socket"))
        transport = protocol.transport
        transport.write(BIG)
        assert transport.get_write_buffer_size() > 0
        transport.close()
        assert transport.is_closing()
        assert not protocol.lost.done()
        assert await read_all(loop, other, len(BIG)) == BIG
        assert await protocol.lost is None
        other.close()

    run(loop, main())


def test_close_calls_connection_lost_later_and_once(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        assert not transport.is_closing()
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert protocol.calls == ["made"]
        await protocol.lost
        transport.close()
        transport.abort()
        await asyncio.sleep(0)
        assert protocol.calls == ["made", "lost"]
        other.close()

    run(loop, main())


def test_abort_drops_what_is_queued(loop):
    async def main():
        protocol, other = await connected(loop)
        protocol.transport.write(BIG * 2)
        assert protocol.transport.get_write_buffer_size() > 0
        protocol.transport.abort()
        assert protocol.transport.is_closing()
        assert await protocol.lost is None
        assert protocol.calls[0] == "made" and protocol.calls[-1] == "lost"
        other.close()

    run(loop, main())


def test_close_inside_data_received_ends_reading(loop):
    class Closes(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    async def main():
        protocol, other = await connected(loop, Closes)
        other.send(b"first")
        await protocol.received(5)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                other.send(b"second")
                await asyncio.sleep(0)
        await protocol.lost
        assert protocol.calls == ["made", "data", "lost"]
        assert protocol.data == b"first"
        other.close()

    run(loop, main())


def test_close_inside_connection_made(loop):
    class Closes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    async def main():
        protocol, other = await connected(loop, Closes)
        await protocol.lost
        assert protocol.calls == ["made", "lost"]
        other.close()

    run(loop, main())


def test_writing_inside_connection_made_and_lost(loop):
    class Writes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"hello")

        def connection_lost(self, exc):
            self.transport.write(b"too late")
            super().connection_lost(exc)

    async def main():
        protocol, other = await connected(loop, Writes)
        assert await read_all(loop, other, 5) == b"hello"
        other.close()
        await protocol.lost

    run(loop, main())


def test_peer_reset_is_an_error(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        sock = client.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.transport.abort()
        assert isinstance(await server.lost, ConnectionResetError)
        listener.close()

    run(loop, main())


def test_failed_write_is_connection_lost(loop):
    async def main():
        reports = Reports(loop)
        protocol, other = await connected(loop, lambda: Recorder(keep_open=True))
        other.close()
        await protocol.eof
        protocol.transport.write(b"x")
        assert isinstance(await protocol.lost, BrokenPipeError | ConnectionResetError)
        for _ in range(3):
            protocol.transport.write(b"x")
        assert reports.contexts == []

    run(loop, main())


def test_many_writes_after_the_end_are_told(loop, caplog):
    async def main():
        protocol, other = await connected(loop)
        protocol.transport.abort()
        await protocol.lost
        for _ in range(20):
            protocol.transport.write(b"x")
        assert "socket.send() raised exception" in caplog.text
        other.close()

    run(loop, main())


def test_an_unclosed_transport_warns(loop):
    async def main():
        protocol, other = await connected(loop)
        protocol.transport.pause_reading()
        await asyncio.sleep(0)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del protocol
            gc.collect()
        other.close()

    run(loop, main())


# ---- eof ----


def test_eof_received_may_keep_the_sending_side(loop):
    async def main():
        protocol, other = await connected(loop, lambda: Recorder(keep_open=True))
        other.shutdown(socket.SHUT_WR)
        await protocol.eof
        assert not protocol.transport.is_closing()
        protocol.transport.write(b"answer")
        assert await read_all(loop, other, 6) == b"answer"
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


def test_write_eof(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        assert transport.can_write_eof()
        transport.write(b"all")
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(RuntimeError):
            transport.write(b"more")
        assert await read_all(loop, other, 3) == b"all"
        await until(lambda: _readable(other))
        assert other.recv(10) == b""
        other.send(b"still")
        assert await protocol.received(5) == b"still"
        other.close()
        await protocol.lost

    run(loop, main())


def test_write_eof_waits_for_what_is_queued(loop):
    async def main():
        protocol, other = await connected(loop)
        protocol.transport.write(BIG)
        protocol.transport.write_eof()
        assert await read_all(loop, other, len(BIG)) == BIG
        await until(lambda: _readable(other))
        assert other.recv(10) == b""
        other.close()
        await protocol.lost

    run(loop, main())


# ---- reading ----


def test_pause_and_resume_reading(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        other.send(b"waits")
        await asyncio.sleep(0.02)
        assert protocol.data == b""
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        assert await protocol.received(5) == b"waits"
        transport.close()
        assert not transport.is_reading()
        transport.pause_reading()
        transport.resume_reading()
        await protocol.lost
        other.close()

    run(loop, main())


def test_pausing_inside_data_received(loop):
    class Pauses(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        protocol, other = await connected(loop, Pauses)
        other.send(b"one")
        await protocol.received(3)
        other.send(b"two")
        await asyncio.sleep(0.02)
        assert protocol.data == b"one"
        protocol.transport.resume_reading()
        assert await protocol.received(6) == b"onetwo"
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


def test_paused_bytes_survive_the_end_of_the_connection(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        transport.pause_reading()
        transport.write_eof()
        other.setblocking(True)
        other.send(b"x" * 100_000)
        other.close()
        await asyncio.sleep(0.05)
        assert protocol.calls == ["made"]
        transport.resume_reading()
        await protocol.lost
        assert len(protocol.data) == 100_000
        assert protocol.calls == ["made", "data", "eof", "lost"]

    run(loop, main())


def test_large_transfer_arrives_whole(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        for _ in range(8):
            client.transport.write(BIG)
        client.transport.close()
        await server.lost
        assert bytes(server.data) == BIG * 8
        listener.close()

    run(loop, main())


# ---- writing ----


@pytest.mark.parametrize(
    "data", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes")], ids=repr
)
def test_kinds_of_data(loop, data):
    async def main():
        protocol, other = await connected(loop)
        protocol.transport.write(data)
        protocol.transport.write(b"")
        assert await read_all(loop, other, 5) == b"bytes"
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]], ids=repr)
def test_write_refuses_what_is_not_bytes(loop, data):
    async def main():
        protocol, other = await connected(loop)
        with pytest.raises(TypeError):
            protocol.transport.write(data)
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


def test_written_bytearray_may_change_afterwards():
    """asyncio's own transport keeps it exported from 3.12 on."""
    import pyfastloop

    async def main():
        loop = asyncio.get_running_loop()
        protocol, other = await connected(loop)
        data = bytearray(BIG)
        protocol.transport.write(data)
        assert protocol.transport.get_write_buffer_size() > 0
        data[:] = b""
        assert await read_all(loop, other, len(BIG)) == BIG
        protocol.transport.close()
        await protocol.lost
        other.close()

    pyfastloop.run(main())


@pytest.mark.parametrize("chunks", [0, 3, 40, 300])
def test_writelines(loop, chunks):
    async def main():
        protocol, other = await connected(loop)
        parts = [b"%d," % i for i in range(chunks)]
        protocol.transport.writelines(iter(parts) if chunks == 3 else parts)
        protocol.transport.write(b"end")
        whole = b"".join(parts) + b"end"
        assert await read_all(loop, other, len(whole)) == whole
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


def test_flow_control(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        transport.set_write_buffer_limits(high=1000, low=100)
        assert transport.get_write_buffer_limits() == (100, 1000)
        transport.write(BIG)
        assert protocol.calls == ["made", "pause"]
        assert transport.get_write_buffer_size() > 1000
        transport.write(BIG)
        assert protocol.calls == ["made", "pause"]
        assert await read_all(loop, other, 2 * len(BIG)) == BIG * 2
        await until(lambda: "resume" in protocol.calls)
        assert protocol.calls == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() <= 100
        transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


def test_write_buffer_limits(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        transport.set_write_buffer_limits(high=400)
        assert transport.get_write_buffer_limits() == (100, 400)
        transport.set_write_buffer_limits(low=100)
        assert transport.get_write_buffer_limits() == (100, 400)
        transport.set_write_buffer_limits(0)
        assert transport.get_write_buffer_limits() == (0, 0)
        with pytest.raises(ValueError):
            transport.set_write_buffer_limits(high=1, low=2)
        with pytest.raises(ValueError):
            transport.set_write_buffer_limits(high=-1)
        transport.set_write_buffer_limits()
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


def test_lowering_the_limits_pauses(loop):
    async def main():
        protocol, other = await connected(loop)
        transport = protocol.transport
        transport.set_write_buffer_limits(high=10 * len(BIG))
        transport.write(BIG)
        assert protocol.calls == ["made"]
        transport.set_write_buffer_limits(high=10)
        assert protocol.calls == ["made", "pause"]
        transport.abort()
        await protocol.lost
        other.close()

    run(loop, main())


# ---- what goes wrong in protocols ----


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_failing_protocol_loses_its_connection(loop, method):
    async def main():
        reports = Reports(loop)

        class Fails(Recorder):
            pass

        def fail(self, *args):
            raise KeyError("planted")

        setattr(Fails, method, fail)
        protocol, other = await connected(loop, Fails)
        other.send(b"x")
        other.shutdown(socket.SHUT_WR)
        assert isinstance(await protocol.lost, KeyError)
        assert len(reports.contexts) == 1
        context = reports.contexts[0]
        assert isinstance(context["exception"], KeyError)
        assert context["transport"] is protocol.transport
        assert context["protocol"] is protocol
        assert method in context["message"]
        other.close()

    run(loop, main())


@pytest.mark.parametrize("method", ["connection_made", "connection_lost"])
def test_failing_first_and_last_call_are_reported(loop, method):
    async def main():
        reports = Reports(loop)
        transports = []

        class Fails(asyncio.Protocol):
            def connection_made(self, transport):
                transports.append(transport)
                if method == "connection_made":
                    raise KeyError("planted")

            def connection_lost(self, exc):
                if method == "connection_lost":
                    raise KeyError("planted")

        _, other = await connected(loop, Fails)
        transports[0].close()
        await asyncio.sleep(0.01)
        assert len(reports.contexts) == 1
        assert isinstance(reports.contexts[0]["exception"], KeyError)
        other.close()

    run(loop, main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_failing_flow_control_is_reported(loop, method):
    async def main():
        reports = Reports(loop)

        class Fails(Recorder):
            pass

        def fail(self):
            raise KeyError("planted")

        setattr(Fails, method, fail)
        protocol, other = await connected(loop, Fails)
        protocol.transport.write(BIG)
        await read_all(loop, other, len(BIG))
        await until(lambda: reports.contexts)
        assert method in reports.messages()[0]
        assert not protocol.transport.is_closing()
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_fatal_exceptions_leave_the_loop(loop, kind):
    class Interrupted(Recorder):
        def data_received(self, data):
            raise kind

    async def main():
        protocol, other = await connected(loop, Interrupted)
        kept.extend([protocol, other])
        other.send(b"x")
        await asyncio.sleep(60)

    kept = []
    with pytest.raises(kind):
        run(loop, main())
    kept[1].close()
    kept[0].transport.abort()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0.01))


# ---- get_extra_info ----


def test_extra_info_of_tcp(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        here, there = client.transport, server.transport
        assert here.get_extra_info("peername") == there.get_extra_info("sockname")
        assert here.get_extra_info("sockname") == there.get_extra_info("peername")
        for transport in (here, there):
            sock = transport.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert sock.family == socket.AF_INET
            assert sock.type == socket.SOCK_STREAM
            assert sock.gettimeout() == 0
            assert sock.fileno() >= 0
            nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert nodelay
            assert sock.getsockname() == transport.get_extra_info("sockname")
            assert transport.get_extra_info("sslcontext") is None
            assert transport.get_extra_info("nothing", 5) == 5
            assert transport.get_extra_info("nothing", default=6) == 6
        here.close()
        await client.lost
        await server.lost
        assert there.get_extra_info("peername") == here.get_extra_info("sockname")
        assert there.get_extra_info("socket").fileno() == -1
        listener.close()

    run(loop, main())


def test_extra_info_asked_only_after_the_end(loop):
    async def main():
        client, server, listener = await tcp_pair(loop)
        address = client.transport.get_extra_info("sockname")
        client.transport.close()
        await client.lost
        await server.lost
        assert server.transport.get_extra_info("peername") == address
        assert server.transport.get_extra_info("sockname")[0] == "127.0.0.1"
        assert server.transport.get_extra_info("socket").fileno() == -1
        listener.close()

    run(loop, main())


# ---- other protocols ----


@pytest.mark.parametrize("size", [1, 64, 100_000])
def test_buffered_protocol(loop, size):
    async def main():
        protocol, other = await connected(loop, lambda: BufferedRecorder(size))
        data = bytes(range(256))
        other.send(data)
        await until(lambda: len(protocol.data) == len(data))
        assert protocol.data == data
        protocol.memory.extend(b"resizable between calls")
        other.close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "eof", "lost"]

    run(loop, main())


@pytest.mark.parametrize("answer", [b"", bytearray(), None, KeyError()], ids=repr)
def test_buffered_protocol_that_gives_no_buffer(loop, answer):
    class Fails(BufferedRecorder):
        def get_buffer(self, sizehint):
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def main():
        reports = Reports(loop)
        protocol, other = await connected(loop, Fails)
        other.send(b"x")
        assert await protocol.lost is not None
        assert len(reports.contexts) == 1
        other.close()

    run(loop, main())


def test_buffer_updated_that_fails(loop):
    class Fails(BufferedRecorder):
        def buffer_updated(self, nbytes):
            raise KeyError("planted")

    async def main():
        reports = Reports(loop)
        protocol, other = await connected(loop, Fails)
        other.send(b"x")
        assert isinstance(await protocol.lost, KeyError)
        assert "buffer_updated" in reports.messages()[0]
        other.close()

    run(loop, main())


def test_set_protocol(loop):
    async def main():
        first, other = await connected(loop)
        transport = first.transport
        other.send(b"one")
        await first.received(3)
        assert transport.get_protocol() is first
        second = Recorder()
        second.calls.append("set")
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        other.send(b"two")
        assert await second.received(3) == b"two"
        third = BufferedRecorder()
        transport.set_protocol(third)
        other.send(b"three")
        await until(lambda: third.data == b"three")
        fourth = Recorder()
        fourth.calls.append("set")
        transport.set_protocol(fourth)
        other.send(b"four")
        assert await fourth.received(4) == b"four"
        other.close()
        await fourth.lost
        assert first.data == b"one" and second.data == b"two"
        assert first.calls == ["made", "data"]

    run(loop, main())


def test_data_received_that_comes_into_being_later(loop):
    class Late(asyncio.BaseProtocol):
        def connection_made(self, transport):
            self.data_received = got.append

    got = []

    async def main():
        ours, other = socket.socketpair()
        with other:
            ours.setblocking(False)
            transport, _ = await loop.create_connection(Late, sock=ours)
            other.send(b"abc")
            await until(lambda: got)
            transport.abort()
        assert got == [b"abc"]

    run(loop, main())


def test_set_protocol_inside_data_received(loop):
    async def main():
        second = Recorder()
        second.calls.append("set")

        class Hands(Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.set_protocol(second)

        first, other = await connected(loop, Hands)
        other.send(b"one")
        await first.received(3)
        other.send(b"two")
        await second.received(3)
        other.close()
        await second.lost

    run(loop, main())


def test_get_buffer_that_hands_over():
    """The bytes on their way reach the protocol that is there when they come."""
    import pyfastloop

    class Hands(BufferedRecorder):
        def get_buffer(self, sizehint):
            self.transport.set_protocol(self.heir)
            return self.memory

    async def main():
        loop = asyncio.get_running_loop()
        first, other = await connected(loop, Hands)
        first.heir = Recorder()
        first.heir.calls.append("set")
        other.send(b"bytes")
        assert await first.heir.received(5) == b"bytes"
        other.close()
        await first.heir.lost

    pyfastloop.run(main())


def test_context_of_the_caller(loop):
    var = contextvars.ContextVar("var", default="none")
    seen = []

    class Looks(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(var.get())

        def data_received(self, data):
            super().data_received(data)
            seen.append(var.get())

        def connection_lost(self, exc):
            super().connection_lost(exc)
            seen.append(var.get())

    async def main():
        var.set("mine")
        protocol, other = await connected(loop, Looks)
        var.set("changed")
        other.send(b"x")
        await protocol.received(1)
        other.close()
        await protocol.lost
        assert seen[:2] == ["mine", "mine"]

    run(loop, main())


# ---- files ----


@pytest.fixture
def big_file():
    with tempfile.TemporaryFile() as file:
        file.write(BIG)
        file.flush()
        file.seek(0)
        yield file


@pytest.mark.parametrize(
    ("offset", "count"), [(0, None), (100, None), (100, 5000), (len(BIG), None)]
)
def test_sendfile(loop, big_file, offset, count):
    expected = BIG[offset:] if count is None else BIG[offset : offset + count]

    async def main():
        client, server, listener = await tcp_pair(loop)
        client.transport.write(b"head")
        sent = await loop.sendfile(client.transport, big_file, offset, count)
        assert sent == len(expected)
        if expected:
            assert big_file.tell() == offset + len(expected)
        client.transport.write(b"tail")
        client.transport.close()
        await server.lost
        assert bytes(server.data) == b"head" + expected + b"tail"
        listener.close()

    run(loop, main())


def test_sendfile_refuses(loop, big_file):
    async def main():
        client, _server, listener = await tcp_pair(loop)
        with tempfile.TemporaryFile("w") as text, pytest.raises(ValueError):
            await loop.sendfile(client.transport, text)
        with pytest.raises(TypeError):
            await loop.sendfile(client.transport, big_file, count="all")
        with pytest.raises(ValueError):
            await loop.sendfile(client.transport, big_file, count=-1)
        with pytest.raises(TypeError):
            await loop.sendfile(client.transport, big_file, offset="start")
        with pytest.raises(ValueError):
            await loop.sendfile(client.transport, big_file, offset=-1)
        client.transport.close()
        with pytest.raises(RuntimeError):
            await loop.sendfile(client.transport, big_file)
        await client.lost
        listener.close()

    run(loop, main())


def test_sendfile_of_what_has_no_descriptor(loop):
    import io

    async def main():
        client, server, listener = await tcp_pair(loop)
        file = io.BytesIO(BIG)
        assert await loop.sendfile(client.transport, file, 10) == len(BIG) - 10
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sendfile(client.transport, file, fallback=False)
        client.transport.close()
        await server.lost
        assert bytes(server.data) == BIG[10:]
        listener.close()

    run(loop, main())


def test_sendfile_to_a_peer_that_leaves(loop, big_file):
    async def main():
        client, server, listener = await tcp_pair(loop)
        small_buffers(client.transport.get_extra_info("socket"))
        server.transport.pause_reading()
        task = asyncio.create_task(loop.sendfile(client.transport, big_file))
        await asyncio.sleep(0.01)
        server.transport.abort()
        with pytest.raises(ConnectionError):
            await task
        client.transport.abort()
        await client.lost
        listener.close()

    run(loop, main())


def test_cancelled_sendfile_sends_no_more(loop, big_file):
    async def main():
        protocol, other = await connected(loop)
        small_buffers(protocol.transport.get_extra_info("socket"), other)
        task = asyncio.create_task(loop.sendfile(protocol.transport, big_file))
        first = await loop.sock_recv(other, 100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert protocol.transport.is_reading()
        protocol.transport.write(b"tail")
        protocol.transport.close()
        received = bytearray(first)
        while piece := await loop.sock_recv(other, 65536):
            received += piece
        sent = len(received) - len(b"tail")
        assert sent < len(BIG)
        assert bytes(received) == BIG[:sent] + b"tail"
        other.close()

    run(loop, main())


def test_failed_sendfile_tells_by_the_position_how_much_was_sent(loop, big_file):
    async def main():
        protocol, other = await connected(loop)
        small_buffers(protocol.transport.get_extra_info("socket"), other)
        task = asyncio.create_task(loop.sendfile(protocol.transport, big_file, 10))
        received = 0
        while received < 10_000:
            received += len(await loop.sock_recv(other, 10_000 - received))
        other.close()
        with pytest.raises(ConnectionError):
            await task
        assert 10_010 <= big_file.tell() < len(BIG)
        protocol.transport.abort()
        await protocol.lost

    run(loop, main())


def test_a_descriptor_is_not_watched_twice(loop):
    async def main():
        protocol, other = await connected(loop)
        fd = protocol.transport.get_extra_info("socket").fileno()
        with pytest.raises(RuntimeError):
            loop.add_reader(fd, print)
        with pytest.raises(RuntimeError):
            loop.add_writer(fd, print)
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(loop, main())


def test_descriptors_are_closed(loop):
    async def main():
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            client, server, listener = await tcp_pair(loop)
            client.transport.close()
            await client.lost
            await server.lost
            listener.close()
            await listener.wait_closed()
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before + 1

    run(loop, main())


def test_a_failing_get_buffer_is_what_connection_lost_gets(loop):
    class Broken(asyncio.BufferedProtocol):
        def connection_made(self, transport):
            self.lost = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint):
            raise ZeroDivisionError

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        loop = asyncio.get_running_loop()
        told = []
        loop.set_exception_handler(lambda loop, context: told.append(context))
        mine, peer = socket.socketpair()
        _, protocol = await loop.create_connection(Broken, sock=mine)
        peer.send(b"x")
        exc = await protocol.lost
        peer.close()
        assert isinstance(exc, ZeroDivisionError)
        assert [context["exception"] for context in told] == [exc]

    run(loop, main())
