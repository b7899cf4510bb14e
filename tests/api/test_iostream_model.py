"""Streams against a model: what each read must return for every pattern of arrival.

The model keeps all bytes that were sent as one bytes object and a position in it. A
random program of sends and reads runs against a pair of streams; each result must be
what the model says, whatever the chunks were, and nothing may be lost or doubled.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyfastloop import aio
from pyfastloop.iostream import (
    BaseIOStream,
    IOStream,
    StreamClosedError,
    UnsatisfiableReadError,
)

ALPHABET = b"ab\r\n"
pieces = st.one_of(
    st.binary(max_size=8).map(lambda b: bytes(ALPHABET[x % 4] for x in b)),
    st.integers(1, 200_000).map(lambda n: b"a" * n),
    st.integers(30_000, 70_000).map(lambda n: b"b" * n + b"\r\n"),
)
delimiters = st.sampled_from([b"\n", b"\r\n", b"\r\n\r\n", b"ab", b"aab"])
sizes = st.one_of(st.integers(0, 20), st.integers(30_000, 300_000))
reads = st.one_of(
    st.tuples(st.just("bytes"), sizes),
    st.tuples(st.just("partial"), sizes.filter(bool)),
    st.tuples(st.just("into"), sizes),
    st.tuples(st.just("into_partial"), sizes.filter(bool)),
    st.tuples(st.just("until"), delimiters),
    st.tuples(st.just("until_max"), st.tuples(delimiters, st.integers(0, 100))),
    st.tuples(st.just("regex"), st.sampled_from([b"\r?\n", b"b+", b"a{3}"])),
    st.tuples(st.just("cancel"), sizes.filter(bool)),
)
programs = st.lists(
    st.one_of(st.tuples(st.just("send"), pieces), reads), min_size=1, max_size=25
)


class ByMethods(BaseIOStream):
    """The same socket, driven by the documented methods of a subclass."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        super().__init__()

    def fileno(self) -> int:
        return self.sock.fileno()

    def close_fd(self) -> None:
        self.sock.close()

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        try:
            return self.sock.recv_into(buf)
        except BlockingIOError:
            return None

    def write_to_fd(self, data: memoryview) -> int:
        return self.sock.send(data)


class Model:
    """All bytes that will ever arrive, and how many were read."""

    def __init__(self, program: list[Any]) -> None:
        self.data = b"".join(arg for op, arg in program if op == "send")
        self.at = 0

    def take(self, n: int) -> bytes | None:
        if len(self.data) - self.at < n:
            return None
        result = self.data[self.at : self.at + n]
        self.at += n
        return result

    def upto(self, pattern: bytes) -> bytes | None:
        match = re.compile(pattern).search(self.data[self.at :])
        return None if match is None else self.take(match.end())


async def check(reader: Any, model: Model, op: str, arg: Any) -> bool:
    """One read against the model; whether the stream still lives."""
    if op == "send":
        return True
    if op == "cancel":
        try:
            future = reader.read_bytes(arg)
            if not future.done():
                await asyncio.sleep(0)
            if future.done() or not future.cancel():
                assert await future == model.take(arg)
        except StreamClosedError:
            assert model.take(arg) is None
        return True
    if op in ("partial", "into_partial"):
        if model.at == len(model.data):
            return True
        if op == "partial":
            got = await reader.read_bytes(arg, partial=True)
        else:
            memory = bytearray(arg)
            got = bytes(memory[: await reader.read_into(memory, partial=True)])
        assert 0 < len(got) <= arg
        assert got == model.take(len(got))
        return True
    if op == "bytes":
        want = model.take(arg)
        call = lambda: reader.read_bytes(arg)  # noqa: E731
    elif op == "into":
        memory = bytearray(arg)
        want = model.take(arg)
        call = lambda: reader.read_into(memory)  # noqa: E731
    elif op == "until":
        want = model.upto(re.escape(arg))
        call = lambda: reader.read_until(arg)  # noqa: E731
    elif op == "regex":
        # A match that could grow with more bytes is judged by what has arrived: only
        # patterns whose first match cannot grow are compared byte by byte.
        pattern = b"b" if arg == b"b+" else arg
        want = model.upto(pattern)
        call = lambda: reader.read_until_regex(pattern)  # noqa: E731
    else:
        delimiter, bound = arg
        before = model.at
        want = model.upto(re.escape(delimiter))
        if want is not None and len(want) > bound:
            want, model.at = None, before
        if want is None and len(model.data) - model.at <= bound:
            pass  # the peer's end comes before the bound
        elif want is None:
            try:
                await reader.read_until(delimiter, max_bytes=bound)
            except StreamClosedError as error:
                assert isinstance(error.real_error, UnsatisfiableReadError)
                return False
            raise AssertionError("a read past max_bytes must fail")
        call = lambda: reader.read_until(delimiter, max_bytes=bound)  # noqa: E731
    if want is None:
        try:
            await call()
        except StreamClosedError:
            return False
        raise AssertionError(f"{op} {arg!r} cannot be satisfied")
    got = await call()
    if op == "into":
        assert got == arg
        got = bytes(memory)
    assert got == want
    return True


async def run_program(program: list[Any], methods: bool, late: bool) -> None:
    left, right = socket.socketpair()
    writer = IOStream(left)
    reader: Any = ByMethods(right) if methods else IOStream(right)
    model = Model(program)

    async def send_all() -> None:
        for op, arg in program:
            if op == "send":
                done = writer.write(arg)
                if late:
                    await done
        try:
            await writer.write(b"")
        except StreamClosedError:
            return
        writer.close()

    sending = asyncio.ensure_future(send_all())
    for op, arg in program:
        if not await check(reader, model, op, arg):
            break
    else:
        assert await reader.read_until_close() == model.data[model.at :]
    reader.close()
    with contextlib.suppress(StreamClosedError):
        await sending
    writer.close()


@settings(max_examples=100, print_blob=False)
@given(program=programs, methods=st.booleans(), late=st.booleans())
def test_reads_are_what_the_model_says(
    program: list[Any], methods: bool, late: bool
) -> None:
    async def main() -> None:
        await asyncio.wait_for(run_program(program, methods, late), 60)

    aio.run(main())
