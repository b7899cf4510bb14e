"""The rows of ``python -m benchmarks streams``."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks import micro
from benchmarks.loop_rows import contexts
from benchmarks.micro import Outcome, Row, modules
from benchmarks.streams_peers import asking, holding, in_c, knocking

IOSTREAM = ["pyfastloop", "tornado", "tornado-uvloop"]
ASYNCIO = ["streams", "streams-uvloop"]
KIB, MIB = 1 << 10, 1 << 20
BACKLOG = 4096
Timed = Awaitable[float]
ROWS: dict[str, tuple[str, Row, list[str]]] = {}
UNITS = {"idle": "bytes", "waiting": "bytes"}


def run_asyncio(contestant: str, main: Callable[[], Awaitable[Any]]) -> Any:
    uvloop = contestant.endswith("uvloop")
    loop = importlib.import_module("uvloop" if uvloop else "asyncio").new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


class Tools:
    """IOStream's modules of one contestant, on an IOLoop of its own."""

    def __init__(self, contestant: str) -> None:
        if contestant == "tornado-uvloop":
            policy = importlib.import_module("uvloop").EventLoopPolicy()
            asyncio.set_event_loop_policy(policy)
        package = "tornado" if "tornado" in contestant else "pyfastloop"
        names = ("gen", "ioloop", "iostream", "tcpserver")
        self.gen, self.ioloop, self.iostream, self.tcpserver = modules(package, *names)

    def run(self, main: Callable[[], Awaitable[Any]]) -> Any:
        loop = self.ioloop.IOLoop()
        try:
            return loop.run_sync(main)
        finally:
            loop.close()

    async def both(self, one: Awaitable[None], other: Awaitable[None]) -> None:
        """Run two programs at once, in the way of Tornado."""
        await self.gen.multi([one, other])

    async def pair(self, tls: bool = False) -> tuple[Any, Any]:
        server, client = contexts() if tls else (None, None)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sock = socket.create_connection(listener.getsockname())
            here = self.iostream.IOStream(sock)
            there = self.iostream.IOStream(listener.accept()[0])
        if tls:
            here, there = await asyncio.gather(
                here.start_tls(False, client), there.start_tls(True, server)
            )
            await asyncio.gather(here.wait_for_handshake(), there.wait_for_handshake())
        here.set_nodelay(True)
        there.set_nodelay(True)
        return here, there


async def asyncio_pair(tls: bool = False) -> tuple[Any, Any, Any, Any]:
    """(reader, writer) of either end."""
    server_tls, client_tls = contexts() if tls else (None, None)
    accepted = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(
        lambda r, w: accepted.set_result((r, w)), "127.0.0.1", 0, ssl=server_tls
    )
    port = server.sockets[0].getsockname()[1]
    here = await asyncio.open_connection("127.0.0.1", port, ssl=client_tls)
    there = await accepted
    server.close()
    return (*here, *there)


def row(
    name: str,
    what: str,
    iostream: Callable[[Tools, int], Timed],
    streams: Callable[[int], Timed] | None = None,
    *,
    c: Callable[[int], float] | None = None,
    ssl: Callable[[int], float] | None = None,
    operations: Callable[[int], int] = lambda n: n,
) -> None:
    """A row: one program for IOStream, one for asyncio's streams, the plain loops.

    Each gives the CPU seconds that the timed part of operations(n) operations took.
    """
    plain = {"c": c, "ssl": ssl}

    def run(contestant: str, n: int) -> Outcome:
        many = operations(n)
        loop = plain.get(contestant)
        if loop is not None:
            return many, loop(many)
        if contestant in ASYNCIO:
            assert streams is not None
            timed = streams
            return many, run_asyncio(contestant, lambda: timed(many))
        tools = Tools(contestant)
        return many, tools.run(lambda: iostream(tools, many))

    takes_part = IOSTREAM + ASYNCIO * (streams is not None)
    ROWS[name] = (what, run, takes_part + [k for k, v in plain.items() if v])


# ---- lines ----

LINE = os.urandom(23).hex().encode() + b" this line of 64\r\n"
LINES_AT_ONCE = 1000


async def lines(t: Tools, n: int) -> float:
    here, there = await t.pair()
    block = LINE * LINES_AT_ONCE

    async def read(many: int) -> None:
        for _ in range(many):
            for _ in range(LINES_AT_ONCE):
                line = await there.read_until(b"\r\n")
            assert line == LINE

    async def write(many: int) -> None:
        for _ in range(many):
            await here.write(block)

    await t.both(write(2), read(2))
    start = time.process_time()
    await t.both(write(n // LINES_AT_ONCE), read(n // LINES_AT_ONCE))
    used = time.process_time() - start
    here.close()
    there.close()
    return used


async def asyncio_lines(n: int) -> float:
    _, here, there, other = await asyncio_pair()
    block = LINE * LINES_AT_ONCE

    async def read(many: int) -> None:
        for _ in range(many):
            for _ in range(LINES_AT_ONCE):
                line = await there.readuntil(b"\r\n")
            assert line == LINE

    async def write(many: int) -> None:
        for _ in range(many):
            here.write(block)
            await here.drain()

    await asyncio.gather(write(2), read(2))
    start = time.process_time()
    await asyncio.gather(write(n // LINES_AT_ONCE), read(n // LINES_AT_ONCE))
    used = time.process_time() - start
    here.close()
    other.close()
    return used


row(
    "lines",
    "lines of 64 bytes by read_until",
    lines,
    asyncio_lines,
    operations=lambda n: max(1, n // LINES_AT_ONCE) * LINES_AT_ONCE,
)

# ---- servers of echoes ----

# Answers before the clock starts, as c/streams.c does it. Its client compares them.
WARM = 64 * 16


class Count:
    """Counts answers: the clock runs from WARM to the end."""

    def __init__(self, n: int) -> None:
        self.left, self.start, self.n = WARM + n, 0.0, n
        self.used = asyncio.get_running_loop().create_future()

    def answered(self) -> bool:
        """Whether there is more to do."""
        self.left -= 1
        if self.left == self.n:
            self.start = time.process_time()
        elif self.left == 0:
            self.used.set_result(time.process_time() - self.start)
        return self.left > 0


async def serve_echo(t: Tools, n: int, size: int) -> float:
    count = Count(n)
    open_ones = []

    async def serve(stream: Any) -> None:
        stream.set_nodelay(True)
        open_ones.append(stream)
        try:
            await stream.write(await stream.read_bytes(size))
            while count.answered():
                await stream.write(await stream.read_bytes(size))
        except t.iostream.StreamClosedError:
            assert count.used.done()

    server = await served(t, serve)
    (sock,) = server._sockets.values()
    with asking(sock.getsockname()[1], size):
        used: float = await count.used
        for stream in open_ones:
            stream.close()
    server.stop()
    return used


async def asyncio_serve_echo(n: int, size: int) -> float:
    count = Count(n)
    tasks = []

    async def serve(reader: Any, writer: Any) -> None:
        tasks.append(asyncio.current_task())
        more = True
        try:
            while more:
                writer.write(await reader.readexactly(size))
                await writer.drain()
                more = count.answered()
        except asyncio.CancelledError:
            assert count.used.done()
        writer.close()

    server = await asyncio.start_server(serve, sock=listening(), backlog=BACKLOG)
    with asking(server.sockets[0].getsockname()[1], size):
        used: float = await count.used
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
    server.close()
    return used


def c_serve(n: int, size: int) -> float:
    with in_c("serve", size, n) as process:
        assert process.stdout is not None
        with asking(int(process.stdout.readline()), size):
            return float(process.stdout.readline()) / 1e9


for name, size in (("serve-1k", KIB), ("serve-64k", 64 * KIB)):
    row(
        name,
        f"a server that echoes {size} bytes to 16 clients; CPU of the server",
        lambda t, n, size=size: serve_echo(t, n, size),
        lambda n, size=size: asyncio_serve_echo(n, size),
        c=lambda n, size=size: c_serve(n, size),
    )

# ---- echoes, both ends ----


async def echo(t: Tools, n: int, size: int, tls: bool) -> float:
    here, there = await t.pair(tls)
    message = os.urandom(size)

    async def serve(many: int) -> None:
        for _ in range(many):
            await there.write(await there.read_bytes(size))

    async def ask(many: int) -> None:
        for _ in range(many):
            await here.write(message)
            answer = await here.read_bytes(size)
        assert answer == message

    await t.both(serve(3), ask(3))
    start = time.process_time()
    await t.both(serve(n), ask(n))
    used = time.process_time() - start
    here.close()
    there.close()
    return used


async def asyncio_echo(n: int, size: int, tls: bool) -> float:
    reader, writer, there_reader, there_writer = await asyncio_pair(tls)
    message = os.urandom(size)

    async def serve(many: int) -> None:
        for _ in range(many):
            there_writer.write(await there_reader.readexactly(size))
            await there_writer.drain()

    async def ask(many: int) -> None:
        for _ in range(many):
            writer.write(message)
            await writer.drain()
            answer = await reader.readexactly(size)
        assert answer == message

    await asyncio.gather(serve(3), ask(3))
    start = time.process_time()
    await asyncio.gather(serve(n), ask(n))
    used = time.process_time() - start
    writer.close()
    there_writer.close()
    return used


def tls_sockets() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Two SSLSockets that have shaken hands, non-blocking."""
    server, client = contexts()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = socket.create_connection(listener.getsockname())
        accepted = listener.accept()[0]
    for one in (plain, accepted):
        one.setblocking(False)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    here = client.wrap_socket(plain, do_handshake_on_connect=False)
    there = server.wrap_socket(accepted, True, do_handshake_on_connect=False)
    waiting = [here, there]
    while waiting:
        for one in list(waiting):
            try:
                one.do_handshake()
                waiting.remove(one)
            except ssl.SSLWantReadError:
                pass
    return here, there


def carry(
    here: ssl.SSLSocket, there: ssl.SSLSocket, piece: bytes, back: bytearray, total: int
) -> None:
    """total bytes in pieces from here to there, both in this thread."""
    size, sent, got = len(piece), 0, 0
    view, landing = memoryview(piece), memoryview(back)
    while got < total:
        try:
            while sent < total:
                at = sent % size
                sent += here.send(view[at : min(size, at + total - sent)])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        try:
            while got < total:
                got += there.recv_into(landing[got % size :])
        except ssl.SSLWantReadError:
            pass


def ssl_echo(n: int, size: int) -> float:
    here, there = tls_sockets()
    message, back = os.urandom(size), bytearray(size)

    def ask(many: int) -> None:
        for _ in range(many):
            carry(here, there, message, back, size)
            answer = bytes(back)
            carry(there, here, answer, back, size)
        assert back == message

    ask(3)
    start = time.process_time()
    ask(n)
    used = time.process_time() - start
    here.close()
    there.close()
    return used


def in_one_thread(what: str, size: int, many: int) -> float:
    """CPU seconds of c/streams.c, both ends."""
    with in_c(what, size, many) as process:
        assert process.stdout is not None
        return float(process.stdout.readline()) / 1e9


for name, size, tls in (
    ("echo-1k", KIB, False),
    ("echo-64k", 64 * KIB, False),
    ("tls-echo-1k", KIB, True),
    ("tls-echo-64k", 64 * KIB, True),
):
    row(
        name,
        f"echo of {size} bytes" + " over TLS" * tls + ", both ends",
        lambda t, n, size=size, tls=tls: echo(t, n, size, tls),
        lambda n, size=size, tls=tls: asyncio_echo(n, size, tls),
        c=None if tls else lambda n, size=size: in_one_thread("echo", size, n),
        ssl=(lambda n, size=size: ssl_echo(n, size)) if tls else None,
    )

# ---- one way ----


async def bulk(t: Tools, n: int, size: int, into: bool, tls: bool) -> float:
    here, there = await t.pair(tls)
    piece, landing = os.urandom(size), bytearray(size)

    async def read(many: int) -> None:
        for _ in range(many):
            if into:
                await there.read_into(landing)
                got: bytes | bytearray = landing
            else:
                got = await there.read_bytes(size)
        assert got == piece

    async def write(many: int) -> None:
        for _ in range(many):
            await here.write(piece)

    await t.both(write(4), read(4))
    start = time.process_time()
    await t.both(write(n * MIB // size), read(n * MIB // size))
    used = time.process_time() - start
    here.close()
    there.close()
    return used


async def asyncio_bulk(n: int, size: int, tls: bool) -> float:
    _, here, there, other = await asyncio_pair(tls)
    piece = os.urandom(size)

    async def read(many: int) -> None:
        for _ in range(many):
            got = await there.readexactly(size)
        assert got == piece

    async def write(many: int) -> None:
        for _ in range(many):
            here.write(piece)
            await here.drain()

    await asyncio.gather(write(4), read(4))
    start = time.process_time()
    await asyncio.gather(write(n * MIB // size), read(n * MIB // size))
    used = time.process_time() - start
    here.close()
    other.close()
    return used


def ssl_bulk(n: int, size: int) -> float:
    here, there = tls_sockets()
    piece, back = os.urandom(size), bytearray(size)
    carry(here, there, piece, back, 4 * size)
    assert back == piece
    start = time.process_time()
    carry(here, there, piece, back, n * MIB)
    used = time.process_time() - start
    here.close()
    there.close()
    return used


def bulk_rows() -> None:
    for name, size, into, tls in (
        ("bulk", 64 * KIB, False, False),
        ("bulk-1m", MIB, False, False),
        ("bulk-into", 64 * KIB, True, False),
        ("bulk-into-1m", MIB, True, False),
        ("tls-bulk", 64 * KIB, False, True),
    ):
        call = "read_into" if into else "read_bytes"
        row(
            name,
            f"one way by write and {call}, {size} bytes at a time"
            + " over TLS" * tls
            + "; per MiB",
            lambda t, n, s=size, into=into, tls=tls: bulk(t, n, s, into, tls),
            None if into else lambda n, s=size, tls=tls: asyncio_bulk(n, s, tls),
            c=None if tls else lambda n, s=size: in_one_thread("bulk", s, n * MIB),
            ssl=(lambda n, s=size: ssl_bulk(n, s)) if tls else None,
            operations=lambda n: max(n, micro.setting("bytes") // MIB),
        )


bulk_rows()

# ---- connections ----


async def served(t: Tools, accepted: Callable[[Any], None]) -> Any:
    class Server(t.tcpserver.TCPServer):  # type: ignore[name-defined, misc]
        def handle_stream(self, stream: Any, address: Any) -> Any:
            return accepted(stream)

    server = Server()
    server.add_sockets([listening()])
    return server


def listening() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    sock.setblocking(False)
    return sock


async def connect(t: Tools, n: int) -> float:
    done = asyncio.get_running_loop().create_future()
    left = n

    def accepted(stream: Any) -> None:
        nonlocal left
        stream.close()
        left -= 1
        if left == 0:
            done.set_result(None)

    server = await served(t, accepted)
    (sock,) = server._sockets.values()
    start = time.process_time()
    with knocking(sock.getsockname(), n):
        await done
        used = time.process_time() - start
    server.stop()
    return used


async def asyncio_connect(n: int) -> float:
    done = asyncio.get_running_loop().create_future()
    left = n

    def accepted(reader: Any, writer: Any) -> None:
        nonlocal left
        writer.close()
        left -= 1
        if left == 0:
            done.set_result(None)

    server = await asyncio.start_server(accepted, sock=listening(), backlog=BACKLOG)
    start = time.process_time()
    with knocking(server.sockets[0].getsockname(), n):
        await done
        used = time.process_time() - start
    server.close()
    return used


row("connect", "a connection accepted and closed", connect, asyncio_connect)


def resident() -> int:
    """Resident bytes of this process, whoever else shares them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


async def idle(t: Tools, read: bool) -> float:
    many = micro.setting("idle")
    full = asyncio.get_running_loop().create_future()
    streams: list[Any] = []

    def accepted(stream: Any) -> None:
        streams.append(stream)
        if len(streams) == many + 1:
            full.set_result(None)

    async def waits(stream: Any) -> None:
        accepted(stream)
        with contextlib.suppress(t.iostream.StreamClosedError):
            await stream.read_until(b"\n")

    server = await served(t, waits if read else accepted)
    (sock,) = server._sockets.values()
    with holding(sock.getsockname(), 1):
        while not streams:
            await asyncio.sleep(0.01)
        before = resident()
        with holding(sock.getsockname(), many):
            await full
            used = resident() - before
    server.stop()
    for stream in streams:
        stream.close()
    return used / many


async def asyncio_idle(read: bool) -> float:
    many = micro.setting("idle")
    full = asyncio.get_running_loop().create_future()
    streams: list[Any] = []

    def accepted(reader: Any, writer: Any) -> None:
        streams.append((reader, writer))
        if len(streams) == many + 1:
            full.set_result(None)

    async def waits(reader: Any, writer: Any) -> None:
        accepted(reader, writer)
        await reader.readline()

    server = await asyncio.start_server(
        waits if read else accepted, sock=listening(), backlog=BACKLOG
    )
    address = server.sockets[0].getsockname()
    with holding(address, 1):
        while not streams:
            await asyncio.sleep(0.01)
        before = resident()
        with holding(address, many):
            await full
            used = resident() - before
    server.close()
    for _, writer in streams:
        writer.close()
    return used / many


def idle_row(name: str, what: str, read: bool) -> None:
    def run(contestant: str, n: int) -> Outcome:
        if contestant in ASYNCIO:
            return float(run_asyncio(contestant, lambda: asyncio_idle(read)))
        tools = Tools(contestant)
        return float(tools.run(lambda: idle(tools, read)))

    ROWS[name] = (what, run, IOSTREAM + ASYNCIO)


idle_row("idle", "an accepted connection that nobody reads; resident", False)
idle_row("waiting", "an accepted connection with a read pending; resident", True)
