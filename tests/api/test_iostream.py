"""Streams: what each read returns, when writes are done, and how things end."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import gc
import hashlib
import logging
import os
import re
import socket
import termios
import weakref
from typing import Any

import pytest
from streams import on_loop, pair, reset, tcp_pair, tcp_sockets

from pyfastloop import _core
from pyfastloop.iostream import (
    BaseIOStream,
    IOStream,
    PipeIOStream,
    StreamBufferFullError,
    StreamClosedError,
    UnsatisfiableReadError,
)

MEGA = 1024 * 1024


async def turns(n: int = 2) -> None:
    """Let the loop hear of everything that has happened to descriptors so far."""
    for _ in range(n):
        a, b = pair()
        a.write(b".")
        await b.read_bytes(1)
        a.close()
        b.close()


# ---- reading ----


@on_loop
async def test_read_that_the_buffer_answers_is_done_when_it_returns() -> None:
    a, b = pair()
    a.write(b"one\ntwo\nthree")
    assert await b.read_until(b"\n") == b"one\n"
    second = b.read_until(b"\n")
    assert second.done() and second.result() == b"two\n"
    rest = b.read_bytes(5)
    assert rest.done() and rest.result() == b"three"
    assert b._read_buffer_size == 0


@on_loop
async def test_read_bytes_waits_for_all_and_partial_does_not() -> None:
    a, b = pair()
    whole = b.read_bytes(6)
    a.write(b"abc")
    await turns()
    assert not whole.done() and b.reading()
    a.write(b"defgh")
    assert await whole == b"abcdef"
    assert not b.reading()
    assert await b.read_bytes(100, partial=True) == b"gh"
    assert await b.read_bytes(0) == b""


@on_loop
async def test_large_read_bytes_gives_every_byte_and_keeps_what_follows() -> None:
    a, b = pair()
    data = os.urandom(5 * MEGA + 17)
    a.write(data + b"tail")
    assert await b.read_bytes(len(data)) == data
    assert await b.read_bytes(4) == b"tail"


@on_loop
async def test_large_read_starts_with_what_is_buffered() -> None:
    a, b = pair()
    data = os.urandom(MEGA)
    a.write(b"head\n" + data)
    assert await b.read_until(b"\n") == b"head\n"
    assert await b.read_bytes(len(data)) == data


@on_loop
async def test_read_into_fills_the_callers_memory() -> None:
    a, b = pair()
    data = os.urandom(MEGA)
    buf = bytearray(MEGA)
    filled = b.read_into(buf)
    a.write(data)
    assert await filled == MEGA
    assert buf == data
    buf.append(0)  # nothing holds it any more
    a.write(b"abc")
    small = bytearray(10)
    assert await b.read_into(memoryview(small)[2:8], partial=True) == 3
    assert small == b"\0\0abc\0\0\0\0\0"


@on_loop
async def test_read_into_of_readonly_memory_is_an_error() -> None:
    _, b = pair()
    with pytest.raises(BufferError):
        b.read_into(b"read only")  # type: ignore[arg-type]
    assert not b.reading()


@on_loop
async def test_read_until_finds_a_delimiter_that_arrives_in_pieces() -> None:
    a, b = pair()
    found = b.read_until(b"\r\n\r\n")
    for piece in (b"x\r", b"\n\r", b"\r\n", b"\r", b"\ny"):
        a.write(piece)
        await turns()
    assert await found == b"x\r\n\r\r\n\r\n"
    assert await b.read_bytes(1) == b"y"


@on_loop
async def test_read_until_regex_gives_up_to_the_end_of_the_match() -> None:
    a, b = pair()
    found = b.read_until_regex(rb"\r?\n\r?\n")
    a.write(b"head\r\n")
    await turns()
    a.write(b"\r\nbody")
    assert await found == b"head\r\n\r\n"
    assert await b.read_until_regex(re.compile(b"d")) == b"bod"
    assert await b.read_bytes(1) == b"y"


@on_loop
async def test_read_until_close_gives_everything() -> None:
    a, b = pair()
    data = os.urandom(3 * MEGA)
    everything = b.read_until_close()
    await a.write(data)
    a.close()
    assert await everything == data
    assert b.closed()


@on_loop
async def test_read_until_close_of_a_closed_stream_gives_what_is_left() -> None:
    a, b = pair()
    a.write(b"line\nleft")
    assert await b.read_until(b"\n") == b"line\n"
    b.close()
    rest = b.read_until_close()
    assert rest.done() and rest.result() == b"left"


@on_loop
async def test_read_until_close_takes_a_reset_as_the_end() -> None:
    client, accepted = tcp_sockets()
    b = IOStream(accepted)
    everything = b.read_until_close()
    client.sendall(b"before")
    while b._read_buffer_size == 0:
        await turns()
    reset(client)
    assert await everything == b"before"
    assert isinstance(b.error, ConnectionResetError)


@on_loop
async def test_two_reads_at_once_are_an_error() -> None:
    a, b = pair()
    first = b.read_until(b"\n")
    for again in (
        lambda: b.read_bytes(1),
        lambda: b.read_until(b"x"),
        lambda: b.read_until_regex(b"x"),
        lambda: b.read_until_close(),
        lambda: b.read_into(bytearray(1)),
    ):
        with pytest.raises(AssertionError, match="Already reading"):
            again()
    a.write(b"fine\n")
    assert await first == b"fine\n"


@on_loop
async def test_cancelled_read_loses_no_bytes() -> None:
    a, b = pair()
    gone = b.read_bytes(10)
    a.write(b"12345")
    await turns()
    gone.cancel()
    assert await b.read_bytes(5) == b"12345"
    big = b.read_bytes(MEGA)
    a.write(b"abcde")
    await turns()
    big.cancel()
    a.write(b"fgh\n")
    assert await b.read_until(b"\n") == b"abcdefgh\n"
    into = b.read_into(bytearray(100))
    a.write(b"xy")
    await turns()
    into.cancel()
    a.write(b"z")
    await turns()
    assert await b.read_bytes(3) == b"xyz"


@on_loop
async def test_buffered_bytes_can_be_read_after_the_peer_closed() -> None:
    a, b = pair()
    a.write(b"first\nsecond\nthird")
    a.close()
    assert await b.read_until(b"\n") == b"first\n"
    with pytest.raises(StreamClosedError):
        await b.read_bytes(1000)
    assert b.closed()
    assert await b.read_until(b"\n") == b"second\n"
    assert await b.read_bytes(5) == b"third"
    with pytest.raises(StreamClosedError):
        await b.read_bytes(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.read_bytes(-1),
        lambda s: s.read_until(b""),
        lambda s: s.read_until(b"x", max_bytes=-1),
    ],
)
def test_impossible_reads_are_refused(call: Any) -> None:
    @on_loop
    async def main() -> None:
        _, b = pair()
        with pytest.raises(ValueError):
            call(b)
        assert not b.reading()

    main()


# ---- bounds ----


@pytest.mark.parametrize("regex", [False, True])
def test_max_bytes_without_a_match_closes_the_stream(
    regex: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tornado.general")

    @on_loop
    async def main() -> None:
        a, b = pair()
        read = (
            b.read_until_regex(b"Z", max_bytes=10)
            if regex
            else b.read_until(b"Z", max_bytes=10)
        )
        a.write(b"0123456789")
        await turns()
        assert not read.done()  # at the bound, not past it
        a.write(b"0")
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert isinstance(caught.value.real_error, UnsatisfiableReadError)
        assert isinstance(b.error, UnsatisfiableReadError)
        assert b.closed()

    main()
    assert "Unsatisfiable read" in caplog.text
    assert all(record.levelno == logging.INFO for record in caplog.records)


@on_loop
async def test_match_past_max_bytes_in_the_buffer_fails_too() -> None:
    a, b = pair()
    a.write(b"x" * 20 + b"\n" + b"y" * 20 + b"\n")
    assert await b.read_until(b"\n", max_bytes=21) == b"x" * 20 + b"\n"
    with pytest.raises(StreamClosedError):
        await b.read_until(b"\n", max_bytes=20)
    assert isinstance(b.error, UnsatisfiableReadError)


@pytest.mark.parametrize("how", ["until", "bytes", "close"])
def test_max_buffer_size_bounds_a_read(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    @on_loop
    async def main() -> None:
        a, b = pair(max_buffer_size=64 * 1024)
        read = {
            "until": lambda: b.read_until(b"Z"),
            "bytes": lambda: b.read_bytes(MEGA),
            "close": lambda: b.read_until_close(),
        }[how]()
        a.write(b"x" * MEGA)
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert isinstance(caught.value.real_error, StreamBufferFullError)
        assert b.closed()

    main()
    assert "Reached maximum read buffer size" in caplog.text


@on_loop
async def test_buffer_sizes_may_be_floats_and_infinite() -> None:
    a, b = pair(max_buffer_size=float("inf"))
    assert b.max_buffer_size > 2**60
    a, b = pair(max_buffer_size=1e6, read_chunk_size=1000.0)
    assert (a.max_buffer_size, a.read_chunk_size) == (1000000, 1000)
    assert pair()[0].max_buffer_size == 100 * MEGA
    with pytest.raises(ValueError):
        pair(max_buffer_size=-1)


@on_loop
async def test_max_write_buffer_size_bounds_what_waits() -> None:
    a, b = pair(max_write_buffer_size=MEGA)
    waiting = a.write(bytes(MEGA))
    assert a.writing() and not waiting.done()
    with pytest.raises(StreamBufferFullError):
        a.write(bytes(MEGA))
    assert await b.read_bytes(MEGA) == bytes(MEGA)
    await waiting
    await a.write(b"x")
    assert await b.read_bytes(1) == b"x"


@on_loop
async def test_idle_stream_does_not_read_ahead_of_its_reader() -> None:
    """A peer that nobody reads from stops at the kernel's buffers."""
    a, b = pair()
    done = a.write(bytes(20 * MEGA))
    await turns(20)
    assert not done.done()
    assert b._read_buffer_size == 0


# ---- writing ----


@on_loop
async def test_next_piece_of_a_transfer_is_there_when_the_read_returns() -> None:
    left, right = socket.socketpair()
    right.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MEGA)
    right.sendall(bytes(160_000))
    stream = IOStream(left)
    await stream.read_bytes(40_000)
    memory = bytearray(40_000)
    for read in (stream.read_bytes(40_000), stream.read_into(memory)):
        assert read.done()
    waiting = stream.read_bytes(40_001)
    assert not waiting.done()
    right.sendall(b"x")
    assert (await waiting)[-1:] == b"x"
    right.close()
    stream.close()


@on_loop
async def test_reader_of_an_endless_transfer_leaves_the_others_their_turn() -> None:
    left, right = socket.socketpair()
    stream = IOStream(left)
    over = asyncio.Event()

    def send() -> None:
        with contextlib.suppress(OSError):
            while True:
                right.sendall(bytes(MEGA))

    async def others() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        over.set()

    sending = asyncio.get_running_loop().run_in_executor(None, send)
    task = asyncio.ensure_future(others())
    while not over.is_set():
        await stream.read_bytes(32_768)
    stream.close()
    await sending
    await task
    right.close()


@on_loop
async def test_large_messages_are_worked_on_before_all_of_them_were_received() -> None:
    ends = [tcp_sockets() for _ in range(16)]
    streams = [IOStream(there) for _, there in ends]
    left = []

    async def serve(stream: IOStream) -> None:
        await stream.read_bytes(65_000)
        left.append(sum(waiting(s) for s in streams))

    tasks = [asyncio.ensure_future(serve(stream)) for stream in streams]
    await turns()
    for here, _ in ends:
        here.send(bytes(65_000))
    await asyncio.gather(*tasks)
    assert left[0] > 65_000 * 8
    assert sum(waiting(s) for s in streams) == 0
    for (here, _), stream in zip(ends, streams, strict=True):
        here.close()
        stream.close()


def waiting(stream: IOStream) -> int:
    """Bytes that the kernel holds for a stream."""
    have = array.array("i", [0])
    fcntl.ioctl(stream.fileno(), termios.FIONREAD, have)
    return have[0]


@on_loop
async def test_writer_that_never_waits_leaves_the_others_their_turn() -> None:
    here, there = tcp_pair()
    over = asyncio.Event()
    read = 0

    async def reader() -> None:
        nonlocal read
        with contextlib.suppress(StreamClosedError):
            while True:
                read += len(await there.read_bytes(MEGA, partial=True))
                over.set()

    task = asyncio.ensure_future(reader())
    await turns()
    written = 0
    while not over.is_set():
        await here.write(bytes(65_536))
        written += 65_536
    assert written <= MEGA
    while read < written:
        await turns(1)
    here.close()
    await task
    there.close()


@on_loop
async def test_write_that_the_kernel_takes_is_done_at_once() -> None:
    a, b = pair()
    done = a.write(b"abc")
    assert done.done() and done.result() is None
    assert not a.writing()
    assert await b.read_bytes(3) == b"abc"


@on_loop
async def test_many_writes_in_flight_are_done_in_order() -> None:
    a, b = pair()
    order: list[int] = []
    futures = []
    total = hashlib.sha256()
    length = 0
    for i in range(50):
        data = bytes([i]) * (40_000 + i)
        total.update(data)
        length += len(data)
        future = a.write(data)
        future.add_done_callback(lambda _, i=i: order.append(i))
        futures.append(future)
    received = await b.read_bytes(length)
    await asyncio.gather(*futures)
    await turns()
    assert order == list(range(50))
    assert hashlib.sha256(received).digest() == total.digest()


@on_loop
async def test_small_writes_behind_a_full_kernel_arrive_in_order() -> None:
    a, b = pair()
    first = os.urandom(MEGA)
    a.write(first)
    assert a.writing()
    lines = [b"%d\n" % i for i in range(5000)]
    for line in lines:
        last = a.write(line)
    assert await b.read_bytes(MEGA) == first
    for line in lines:
        assert await b.read_until(b"\n") == line
    await last


@on_loop
async def test_write_takes_every_kind_of_buffer() -> None:
    import array

    a, b = pair()
    numbers = array.array("i", [1, 2, 3])
    strided = memoryview(b"a-b-c-")[::2]
    for data in (b"x", bytearray(b"x"), memoryview(b"x"), memoryview(numbers), strided):
        await a.write(data)
        want = bytes(data) if data is not strided else b"abc"
        if isinstance(data, memoryview) and data.format == "i":
            want = numbers.tobytes()
        assert await b.read_bytes(len(want)) == want
    with pytest.raises(TypeError, match="bytes"):
        a.write("text")  # type: ignore[arg-type]
    assert not a.closed()


@on_loop
async def test_bytearray_can_be_resized_once_it_was_written() -> None:
    a, b = pair()
    data = bytearray(4 * MEGA)
    done = a.write(data)
    with pytest.raises(BufferError):
        data.append(1)
    await b.read_bytes(len(data))
    await done
    data.append(1)
    done = a.write(data)
    a.close()
    data.append(2)
    with pytest.raises(StreamClosedError):
        await done


@on_loop
async def test_write_buffer_can_be_appended_to_by_hand() -> None:
    """As Dask's comm does to send many frames with one write."""
    a, b = pair()
    for frame in (b"abc", bytearray(b"def"), memoryview(bytes(100_000))):
        a._write_buffer.append(frame)
        a._total_write_index += len(frame)
    done = a.write(b"end")
    assert await b.read_bytes(6 + 100_000 + 3) == b"abcdef" + bytes(100_000) + b"end"
    await done
    assert a._total_write_index == 100_009 == a._total_write_done_index
    a.close()
    assert a._write_buffer is None


# ---- the end ----


@on_loop
async def test_close_fails_pending_reads_and_writes_at_once() -> None:
    a, _b = pair()
    read = a.read_bytes(1)
    write = a.write(bytes(10 * MEGA))
    a.close()
    assert a.closed() and read.done() and write.done()
    for future in (read, write):
        with pytest.raises(StreamClosedError):
            await future
    with pytest.raises(StreamClosedError):
        a.write(b"x")
    with pytest.raises(StreamClosedError):
        a.read_bytes(1)
    a.close()


@on_loop
async def test_close_with_an_exception_tells_it() -> None:
    for how in ("true", "tuple", "exception"):
        a, _ = pair()
        read = a.read_bytes(1)
        problem = ValueError("mine")
        if how == "true":
            try:
                raise problem
            except ValueError:
                a.close(exc_info=True)
        elif how == "tuple":
            a.close((ValueError, problem, None))
        else:
            a.close(problem)
        assert a.error is problem
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert caught.value.real_error is problem


@on_loop
async def test_close_callback_comes_later_and_once() -> None:
    _a, b = pair()
    calls: list[str] = []
    b.set_close_callback(lambda: calls.append("b"))
    b.close()
    assert calls == []
    await turns()
    assert calls == ["b"]
    late: list[str] = []
    b.set_close_callback(lambda: late.append("late"))
    await turns()
    assert late == ["late"]


@on_loop
async def test_idle_stream_with_close_callback_sees_its_peer_leave() -> None:
    a, b = pair()
    closed = asyncio.Event()
    b.set_close_callback(closed.set)
    a.close()
    await closed.wait()
    assert b.closed() and b.error is None


@on_loop
async def test_close_callback_comes_after_the_last_data() -> None:
    a, b = pair()
    order: list[str] = []
    closed = asyncio.Event()

    def on_close() -> None:
        order.append("closed")
        closed.set()

    b.set_close_callback(on_close)
    read = b.read_until_close()
    read.add_done_callback(lambda f: order.append(f.result().decode()))
    a.write(b"data")
    a.close()
    await closed.wait()
    assert order == ["data", "closed"]


@on_loop
async def test_reset_is_the_streams_error() -> None:
    client, accepted = tcp_sockets()
    stream = IOStream(accepted)
    read = stream.read_bytes(1)
    reset(client)
    with pytest.raises(StreamClosedError) as caught:
        await read
    assert isinstance(caught.value.real_error, ConnectionResetError)
    assert isinstance(stream.error, ConnectionResetError)


@pytest.mark.parametrize("state", ["idle", "waiting", "reading", "writing", "both"])
def test_a_peer_that_resets_leaves_nothing_behind(state: str) -> None:
    @on_loop
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        before = loop.stats()["open"]
        client, accepted = tcp_sockets()
        stream = IOStream(accepted)
        closed = asyncio.Event()
        pending = []
        if state == "waiting":
            stream.set_close_callback(closed.set)
        if state in ("reading", "both"):
            pending.append(stream.read_bytes(10 * MEGA))
        if state in ("writing", "both"):
            pending += [stream.write(bytes(8 * MEGA)), stream.write(b"x" * MEGA)]
            assert not any(f.done() for f in pending)
        reset(client)
        for future in pending:
            with pytest.raises(StreamClosedError):
                await future
        if state == "waiting":
            await closed.wait()
        if state == "idle":  # nobody waits: the next call finds out
            with pytest.raises(StreamClosedError):
                await stream.read_bytes(1)
        gone = weakref.ref(stream)
        del stream, pending
        future = None
        await turns()
        gc.collect()
        assert gone() is None
        assert loop.stats()["open"] == before

    main()


@on_loop
async def test_write_to_a_peer_that_left_closes_and_stays_silent() -> None:
    a, b = tcp_pair()
    b.close()
    await turns()
    futures = []
    while not a.closed():
        futures.append(a.write(b"x" * 1000))
        await asyncio.sleep(0)
    assert isinstance(a.error, (BrokenPipeError, ConnectionResetError))
    del futures
    gc.collect()


@on_loop
async def test_half_closed_peer_still_gets_its_answer() -> None:
    client, accepted = tcp_sockets()
    stream = IOStream(accepted)
    client.sendall(b"question\n")
    client.shutdown(socket.SHUT_WR)
    assert await stream.read_until(b"\n") == b"question\n"
    await stream.write(b"answer\n")
    assert client.recv(100) == b"answer\n"
    client.close()


@on_loop
async def test_stream_that_nobody_waits_for_is_collected_and_closed() -> None:
    left, right = socket.socketpair()
    fd = os.dup(left.fileno())
    left.close()
    stream: IOStream | None = _core.stream_from_fd(fd, None, None)
    assert stream is not None
    right.sendall(b"x\n")
    assert await stream.read_until(b"\n") == b"x\n"
    gone = weakref.ref(stream)
    stream = None
    await turns()
    gc.collect()
    assert gone() is None
    right.settimeout(60)
    assert right.recv(1) == b""


@on_loop
async def test_stream_that_waits_for_its_peer_stays() -> None:
    a, b = pair()
    read = b.read_bytes(1)
    del b
    gc.collect()
    a.write(b"x")
    assert await read == b"x"


@on_loop
async def test_stream_closed_error_tells_its_reason() -> None:
    assert isinstance(StreamClosedError(), OSError)
    assert StreamClosedError().real_error is None
    problem = ValueError("why")
    assert StreamClosedError(problem).real_error is problem


@on_loop
async def test_closing_from_inside_callbacks_is_safe() -> None:
    for how in ("read", "write", "close"):
        a, b = pair()
        done = asyncio.Event()

        def close_both(
            *_: Any,
            a: IOStream = a,
            b: IOStream = b,
            done: asyncio.Event = done,
        ) -> None:
            a.close()
            b.close()
            done.set()

        if how == "read":
            b.read_until(b"\n").add_done_callback(close_both)
            a.write(b"x\ny\n")
        elif how == "write":
            a.write(bytes(MEGA)).add_done_callback(close_both)
            read = b.read_bytes(MEGA)
        else:
            a.set_close_callback(close_both)
            b.close()
        await done.wait()
        assert a.closed() and b.closed()
        if how == "write":
            await asyncio.wait([read])
            read.exception()


# ---- connecting ----


@on_loop
async def test_connect_gives_the_stream_and_sends_what_was_queued() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = IOStream(socket.socket())
        connecting = stream.connect(server.getsockname())
        stream.write(b"early")
        assert await connecting is stream
        accepted, _ = server.accept()
        peer = IOStream(accepted)
        assert await peer.read_bytes(5) == b"early"
        assert stream.socket.getpeername() == server.getsockname()


@on_loop
async def test_connect_refused_is_told_with_its_errno() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        stream = IOStream(socket.socket())
        with pytest.raises(StreamClosedError) as caught:
            await stream.connect(holder.getsockname())
    assert isinstance(caught.value.real_error, ConnectionRefusedError)
    assert stream.closed() and isinstance(stream.error, ConnectionRefusedError)


def test_connect_to_a_missing_unix_socket(tmp_path: Any) -> None:
    @on_loop
    async def main() -> None:
        stream = IOStream(socket.socket(socket.AF_UNIX))
        with pytest.raises(StreamClosedError) as caught:
            await stream.connect(str(tmp_path / "nothing"))
        assert isinstance(caught.value.real_error, FileNotFoundError)

    main()


@on_loop
async def test_set_nodelay_sets_the_option() -> None:
    a, _ = tcp_pair()
    a.set_nodelay(True)
    assert a.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    a.set_nodelay(value=False)
    assert a.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    b, _ = pair()
    b.set_nodelay(True)  # no such option on a Unix socket: nothing happens
    b.close()
    b.set_nodelay(True)


@on_loop
async def test_socket_of_an_accepted_stream_is_made_on_demand() -> None:
    left, right = socket.socketpair()
    stream = _core.stream_from_fd(os.dup(left.fileno()), None, None)
    left.close()
    sock = stream.socket
    assert isinstance(sock, socket.socket) and sock is stream.socket
    assert sock.fileno() == stream.fileno()
    assert sock.gettimeout() == 0
    stream.close()
    assert stream.socket is None and sock.fileno() == -1
    right.close()


# ---- the forms of Tornado 4 ----


@on_loop
async def test_callback_forms_take_results() -> None:
    a, b = pair()
    got: list[Any] = []
    assert b.read_until(b"\n", got.append) is None
    assert a.write(b"line\nabc", lambda: got.append("written")) is None
    await turns()
    assert got == ["written", b"line\n"] or got == [b"line\n", "written"]
    got.clear()
    b.read_bytes(2, callback=got.append)
    await turns()
    b.read_until_regex(b"c", got.append)
    await turns()
    assert got == [b"ab", b"c"]
    b.read_until(b"q", got.append, 5)
    a.write(b"123q")
    while len(got) < 3:
        await turns()
    assert got[-1] == b"123q"


@on_loop
async def test_streaming_callback_takes_pieces_and_the_callback_the_end() -> None:
    a, b = pair()
    pieces: list[bytes] = []
    ended: list[bytes] = []
    b.read_bytes(6, ended.append, pieces.append)
    for piece in (b"ab", b"cd", b"efgh"):
        a.write(piece)
        await turns()
    while not ended:
        await turns()
    assert b"".join(pieces) == b"abcdef" and len(pieces) == 3 and ended == [b""]
    pieces.clear()
    ended.clear()
    b.read_until_close(ended.append, streaming_callback=pieces.append)
    a.close()
    while not ended:
        await turns()
    assert b"".join(pieces) == b"gh" and ended == [b""]


@on_loop
async def test_callback_of_a_read_that_never_ends_is_not_called() -> None:
    a, b = pair()
    called: list[Any] = []
    b.read_bytes(10, called.append)
    closed = asyncio.Event()
    b.set_close_callback(closed.set)
    a.close()
    await closed.wait()
    assert called == []


def test_exception_in_a_callback_is_logged_and_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @on_loop
    async def main() -> None:
        a, b = pair()

        def broken(data: bytes) -> None:
            raise ValueError("in the callback")

        b.read_bytes(1, broken)
        a.write(b"x")
        while not b.closed():
            await turns()
        assert isinstance(b.error, ValueError)

    main()
    assert "Uncaught exception, closing connection." in caplog.text
    assert "in the callback" in caplog.text


# ---- subclasses ----


class Recorder(BaseIOStream):
    """Moves bytes by the documented methods, and writes down what was called."""

    def __init__(self, sock: socket.socket, **kwargs: Any) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.calls: list[str] = []
        super().__init__(**kwargs)

    def fileno(self) -> int:
        self.calls.append("fileno")
        return self.sock.fileno()

    def close_fd(self) -> None:
        self.calls.append("close_fd")
        self.sock.close()

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        self.calls.append("read")
        try:
            return self.sock.recv_into(buf)
        except BlockingIOError:
            return None

    def write_to_fd(self, data: memoryview) -> int:
        self.calls.append("write")
        return self.sock.send(data)


@on_loop
async def test_subclass_of_base_gets_exactly_its_methods() -> None:
    left, right = socket.socketpair()
    a, b = Recorder(left), Recorder(right)
    data = os.urandom(2 * MEGA)
    done = a.write(data)
    assert await b.read_bytes(len(data)) == data
    await done
    assert set(a.calls) == {"write", "fileno"} and set(b.calls) == {"read", "fileno"}
    a.close()
    assert a.calls[-1] == "close_fd" and a.calls.count("close_fd") == 1
    with pytest.raises(StreamClosedError):
        await b.read_bytes(1)


@on_loop
async def test_subclass_of_iostream_that_overrides_reading_is_asked() -> None:
    class Upper(IOStream):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            count = super().read_from_fd(buf)
            if count:
                buf[:count] = bytes(buf[:count]).upper()
            return count

    class Plain(IOStream):
        pass

    left, right = socket.socketpair()
    a, b = Plain(left), Upper(right)
    a.write(b"quiet\n")
    assert await b.read_until(b"\n") == b"QUIET\n"
    await b.write(b"back\n")
    assert await a.read_until(b"\n") == b"back\n"


@on_loop
async def test_exception_of_read_from_fd_closes_with_it() -> None:
    class Broken(Recorder):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            raise OSError(5, "broken")

    left, right = socket.socketpair()
    stream = Broken(left)
    read = stream.read_bytes(1)
    right.send(b"x")
    with pytest.raises(StreamClosedError) as caught:
        await read
    assert isinstance(caught.value.real_error, OSError)
    assert caught.value.real_error.errno == 5
    right.close()


@on_loop
async def test_lying_read_from_fd_is_caught() -> None:
    class Liar(Recorder):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            return len(buf) + 1

    left, right = socket.socketpair()
    stream = Liar(left)
    read = stream.read_bytes(1)
    right.send(b"x")
    with pytest.raises(StreamClosedError) as caught:
        await read
    assert isinstance(caught.value.real_error, ValueError)
    right.close()


@on_loop
async def test_subclass_without_super_init_says_so() -> None:
    class Forgetful(IOStream):
        def __init__(self) -> None:
            pass

    stream = Forgetful()
    with pytest.raises(RuntimeError, match="__init__"):
        stream.read_bytes(1)
    with pytest.raises(RuntimeError, match="__init__"):
        stream.write(b"")
    with pytest.raises(RuntimeError, match="__init__"):
        stream.close()


# ---- pipes ----


@on_loop
async def test_pipe_stream_moves_bytes_and_ends() -> None:
    r, w = os.pipe()
    reader, writer = PipeIOStream(r), PipeIOStream(w)
    assert (reader.fd, reader.fileno()) == (r, r)
    data = os.urandom(MEGA)
    done = writer.write(data)
    assert await reader.read_bytes(len(data)) == data
    await done
    writer.write(b"last")
    writer.close()
    assert await reader.read_until_close() == b"last"


@on_loop
async def test_pipe_writer_sees_its_reader_leave() -> None:
    r, w = os.pipe()
    reader, writer = PipeIOStream(r), PipeIOStream(w)
    closed = asyncio.Event()
    writer.set_close_callback(closed.set)
    reader.close()
    await closed.wait()
    with pytest.raises(StreamClosedError):
        writer.write(b"x")


def test_fifo_streams(tmp_path: Any) -> None:
    name = tmp_path / "fifo"
    os.mkfifo(name)

    @on_loop
    async def main() -> None:
        reader = PipeIOStream(os.open(name, os.O_RDONLY | os.O_NONBLOCK))
        writer = PipeIOStream(os.open(name, os.O_WRONLY | os.O_NONBLOCK))
        writer.write(b"through\n")
        assert await reader.read_until(b"\n") == b"through\n"
        writer.close()
        assert await reader.read_until_close() == b""

    main()


def test_file_in_the_place_of_a_pipe_is_read_to_its_end(tmp_path: Any) -> None:
    """A program's standard input may be one, or /dev/null."""
    data = os.urandom(3_000_000)
    name = tmp_path / "f"

    @on_loop
    async def main() -> None:
        writer = PipeIOStream(os.open(name, os.O_WRONLY | os.O_CREAT))
        for at in range(0, len(data), 100_000):
            writer.write(data[at : at + 100_000])
        await writer.write(b"")
        writer.close()
        reader = PipeIOStream(os.open(name, os.O_RDONLY))
        head = bytearray(10)
        assert await reader.read_into(head) == 10
        assert head + await reader.read_bytes(1_000_000) == data[:1_000_010]
        assert await reader.read_until_close() == data[1_000_010:]
        assert reader.closed()

    main()


@on_loop
async def test_file_leaves_the_others_their_turn_and_ends() -> None:
    zeros = PipeIOStream(os.open("/dev/zero", os.O_RDONLY))
    read = zeros.read_bytes(30_000_000)
    turns = 0
    while not read.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 10
    assert len(await read) == 30_000_000
    zeros.close()
    nothing = PipeIOStream(os.open("/dev/null", os.O_RDONLY))
    closed = asyncio.Event()
    nothing.set_close_callback(closed.set)
    await closed.wait()
    full = PipeIOStream(os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(StreamClosedError, match="No space left"):
        await full.write(b"x")


@on_loop
async def test_file_that_python_reads_is_refused_by_epoll() -> None:
    class Never(PipeIOStream):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            return None

    stream = Never(os.open("/dev/null", os.O_RDONLY))
    with pytest.raises(PermissionError):
        stream.read_bytes(1)
    stream.close()


@on_loop
async def test_pattern_of_text_is_refused_and_leaves_the_stream_open() -> None:
    a, b = pair()
    await a.write(b"line\n")
    with pytest.raises(TypeError, match="bytes"):
        b.read_until_regex("\n")  # type: ignore[arg-type]
    assert await b.read_until_regex(b"\n") == b"line\n"
    a.close()
    b.close()


# ---- size ----


@on_loop
async def test_idle_stream_is_small() -> None:
    import sys

    a, _ = pair()
    assert sys.getsizeof(a) <= 1024


def test_streams_work_inside_a_foreign_loop() -> None:
    async def main() -> None:
        a, b = pair()
        data = os.urandom(MEGA)
        done = a.write(data)
        assert await b.read_bytes(MEGA) == data
        await done
        a.close()
        with pytest.raises(StreamClosedError):
            await b.read_until(b"\n")

    asyncio.run(asyncio.wait_for(main(), 60))


# ---- programs that do odd things in the middle of ours ----


@on_loop
async def test_close_fd_by_hand_leaves_nothing_registered() -> None:
    r, w = os.pipe()
    stream = PipeIOStream(r)
    reading = stream.read_bytes(10)
    stream.close_fd()
    stream.close()
    with pytest.raises(StreamClosedError):
        await reading
    del stream, reading
    again, other = os.pipe()  # the same number
    assert again == r
    stream = PipeIOStream(again)
    os.write(other, b"hello")
    assert await stream.read_bytes(5) == b"hello"
    stream.close()
    os.close(w)
    os.close(other)


@on_loop
async def test_a_pattern_that_gives_its_own_read_up() -> None:
    a, b = pair()
    reads: list[Any] = []

    class Impatient:
        def search(self, data: bytes) -> Any:
            reads[0].cancel()
            reads.append(b.read_bytes(3))
            return re.search(b"c", data)

    reads.append(b.read_until_regex(Impatient()))  # type: ignore[arg-type]
    a.write(b"abcdef")
    await turns()
    assert reads[0].cancelled()
    a.write(b"ghi")
    assert await reads[1] == b"abc"
    assert await b.read_bytes(6) == b"defghi"


class Interfering(BaseIOStream):
    """Closes itself in the methods that move the bytes."""

    def __init__(self, sock: socket.socket, where: str) -> None:
        self.sock = sock
        self.where = where
        sock.setblocking(False)
        super().__init__()

    def _interfere(self, where: str) -> None:
        if where == self.where:
            self.close()

    def fileno(self) -> int:
        return self.sock.fileno()

    def close_fd(self) -> None:
        self.sock.close()

    def read_from_fd(self, buf: Any) -> int | None:
        self._interfere("read")
        try:
            return self.sock.recv_into(buf)  # a bad descriptor once it was closed
        except BlockingIOError:
            return None

    def write_to_fd(self, data: memoryview) -> int:
        self._interfere("write")
        return self.sock.send(data)


@pytest.mark.parametrize("where", ["read", "write"])
@on_loop
async def test_a_subclass_that_closes_while_it_moves_bytes(where: str) -> None:
    mine, peer = socket.socketpair()
    stream = Interfering(mine, where)
    reading = stream.read_bytes(5)
    peer.send(b"hello")
    if where == "write":
        with pytest.raises(StreamClosedError):
            await stream.write(b"x")
    with pytest.raises(StreamClosedError):
        await reading
    assert stream.closed()
    peer.close()
    await turns()


@pytest.mark.parametrize("kind", [IOStream, PipeIOStream])
@on_loop
async def test_refused_stream_may_die_while_the_collector_runs(kind: Any) -> None:
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            with contextlib.suppress(TypeError, AttributeError, ValueError):
                kind(None)
    finally:
        gc.set_threshold(*threshold)
    a, b = pair()
    a.write(b"fine")
    assert await b.read_bytes(4) == b"fine"
