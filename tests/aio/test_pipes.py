"""What asyncio's documentation promises of connect_read_pipe and connect_write_pipe."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import tempfile
import tty

import pytest
from aio_support import BufferedRecorder, Recorder, Reports, run, until

BIG = bytes(range(256)) * 4096


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    files = open(reading, "rb", 0), open(writing, "wb", 0)  # noqa: SIM115
    yield files
    for file in files:
        file.close()


async def reads(loop, file, factory=Recorder):
    _, protocol = await loop.connect_read_pipe(factory, file)
    return protocol


async def writes(loop, file):
    _, protocol = await loop.connect_write_pipe(Recorder, file)
    return protocol


def test_reading(loop, pipe):
    async def main():
        protocol = await reads(loop, pipe[0])
        transport = protocol.transport
        assert isinstance(transport, asyncio.ReadTransport)
        assert transport.get_extra_info("pipe") is pipe[0]
        assert transport.is_reading()
        repr(transport)
        pipe[1].write(b"hello")
        assert await protocol.received(5) == b"hello"
        transport.pause_reading()
        pipe[1].write(b"later")
        await asyncio.sleep(0.01)
        assert protocol.data == b"hello"
        transport.resume_reading()
        assert await protocol.received(10) == b"hellolater"
        pipe[1].close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "data", "eof", "lost"]
        assert pipe[0].closed

    run(loop, main())


def test_reading_to_the_end_while_paused(loop, pipe):
    async def main():
        protocol = await reads(loop, pipe[0])
        protocol.transport.pause_reading()
        pipe[1].write(b"x" * 60_000)
        pipe[1].close()
        await asyncio.sleep(0.02)
        assert protocol.calls == ["made"]
        protocol.transport.resume_reading()
        await protocol.lost
        assert len(protocol.data) == 60_000

    run(loop, main())


def test_closing_the_reading_end(loop, pipe):
    async def main():
        protocol = await reads(loop, pipe[0])
        protocol.transport.close()
        assert protocol.transport.is_closing()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "lost"]
        with pytest.raises(BrokenPipeError):
            pipe[1].write(b"x")

    run(loop, main())


def test_writing(loop, pipe):
    async def main():
        protocol = await writes(loop, pipe[1])
        transport = protocol.transport
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.get_extra_info("pipe") is pipe[1]
        assert transport.can_write_eof()
        repr(transport)
        transport.write(b"one")
        transport.writelines([b"two", b"three"])
        assert pipe[0].read(100) == b"onetwothree"
        transport.write_eof()
        await protocol.lost
        assert pipe[1].closed
        assert pipe[0].read(100) == b""

    run(loop, main())


def test_flow_control(loop, pipe):
    async def main():
        receiver = await reads(loop, pipe[0])
        receiver.transport.pause_reading()
        sender = await writes(loop, pipe[1])
        sender.transport.write(BIG)
        assert sender.calls == ["made", "pause"]
        assert sender.transport.get_write_buffer_size() > 0
        receiver.transport.resume_reading()
        await receiver.received(len(BIG))
        await until(lambda: "resume" in sender.calls)
        sender.transport.write(b"last")
        sender.transport.close()
        await sender.lost
        await receiver.lost
        assert receiver.data == BIG + b"last"

    run(loop, main())


def test_reader_that_leaves(loop, pipe):
    async def main():
        protocol = await writes(loop, pipe[1])
        pipe[0].close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "lost"]

    run(loop, main())


def test_reader_that_leaves_with_bytes_waiting(loop, pipe):
    async def main():
        protocol = await writes(loop, pipe[1])
        protocol.transport.write(BIG)
        pipe[0].close()
        assert isinstance(await protocol.lost, BrokenPipeError)

    run(loop, main())


def test_abort(loop, pipe):
    async def main():
        protocol = await writes(loop, pipe[1])
        protocol.transport.write(BIG)
        protocol.transport.abort()
        assert await protocol.lost is None
        assert "lost" in protocol.calls

    run(loop, main())


def test_set_protocol(loop, pipe):
    async def main():
        first = await reads(loop, pipe[0])
        second = Recorder()
        second.calls.append("set")
        first.transport.set_protocol(second)
        assert first.transport.get_protocol() is second
        pipe[1].write(b"hello")
        await second.received(5)
        pipe[1].close()
        await second.lost

    run(loop, main())


def test_failing_protocol(loop, pipe):
    class Fails(Recorder):
        def data_received(self, data):
            raise KeyError("planted")

    async def main():
        reports = Reports(loop)
        protocol = await reads(loop, pipe[0], Fails)
        pipe[1].write(b"x")
        if type(loop).__module__.startswith("pyfastloop"):
            assert isinstance(await protocol.lost, KeyError)
        else:  # asyncio reports it and reads on
            await until(lambda: reports.contexts)
            protocol.transport.close()
            await protocol.lost
        assert isinstance(reports.contexts[0]["exception"], KeyError)

    run(loop, main())


def test_sockets_as_pipes(loop):
    async def main():
        a, b = socket.socketpair()
        c, d = socket.socketpair()
        receiver = await reads(loop, a)
        sender = await writes(loop, c)
        b.send(b"in")
        assert await receiver.received(2) == b"in"
        sender.transport.write(b"out")
        assert d.recv(10) == b"out"
        b.close()
        d.close()
        await receiver.lost
        await sender.lost

    run(loop, main())


def test_terminal(loop):
    async def main():
        master, slave = pty.openpty()
        tty.setraw(slave)
        receiver = await reads(loop, open(master, "rb", 0))  # noqa: SIM115
        sender = await writes(loop, open(slave, "wb", 0))  # noqa: SIM115
        sender.transport.write(b"typed")
        assert await receiver.received(5) == b"typed"
        sender.transport.close()
        await sender.lost
        await receiver.lost  # EIO: the other side is gone

    run(loop, main())


def test_only_pipes(loop):
    async def main():
        with tempfile.TemporaryFile() as file:
            with pytest.raises(ValueError):
                await loop.connect_read_pipe(Recorder, file)
            with pytest.raises(ValueError):
                await loop.connect_write_pipe(Recorder, file)

    run(loop, main())


def test_streams_over_pipes(loop, pipe):
    async def main():
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe[0]
        )
        pipe[1].write(b"line\nrest")
        assert await reader.readline() == b"line\n"
        pipe[1].close()
        assert await reader.read() == b"rest"
        transport.close()

    run(loop, main())


def test_buffered_protocol_of_ours(pipe):
    """asyncio's own pipes know no BufferedProtocol."""
    import pyfastloop

    async def main():
        loop = asyncio.get_running_loop()
        protocol = await reads(loop, pipe[0], BufferedRecorder)
        pipe[1].write(b"x" * 1000)
        await until(lambda: len(protocol.data) == 1000)
        pipe[1].close()
        await protocol.lost

    pyfastloop.run(main())
