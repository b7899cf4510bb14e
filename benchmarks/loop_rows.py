"""The rows of ``python -m benchmarks loop``."""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks import loop_more
from benchmarks.micro import Outcome, Row, modules

ASYNCIO = ["pyfastloop", "pyfastloop-own", "asyncio", "uvloop", "rloop"]
IOLOOP = loop_more.IOLOOP
BOTH = ASYNCIO + IOLOOP
ROWS: dict[str, tuple[str, Row, list[str]]] = {}


def new_loop(contestant: str) -> Any:
    """An asyncio loop of the contestant, or an IOLoop."""
    if contestant in IOLOOP:
        package = "tornado" if contestant == "tornado" else "pyfastloop"
        return modules(package, "ioloop")[0].IOLoop()
    package = contestant.removesuffix("-own")
    loop = importlib.import_module(package).new_event_loop()
    if contestant.endswith("-own"):
        loop.set_own_tasks(True)
    return loop


def row(
    name: str, what: str, contestants: list[str]
) -> Callable[[Callable[[Any, int], Outcome]], None]:
    """A row written on a loop: the loop is made before it and closed after it."""

    def add(function: Callable[[Any, int], Outcome]) -> None:
        def run(contestant: str, n: int) -> Outcome:
            loop = new_loop(contestant)
            try:
                return function(loop, n)
            finally:
                loop.close()

        ROWS[name] = (what, run, contestants)

    return add


def coroutine_row(
    name: str, what: str, contestants: list[str] = ASYNCIO
) -> Callable[[Callable[[int], Awaitable[int | None]]], None]:
    """A row written as a coroutine that the loop runs."""

    def add(function: Callable[[int], Awaitable[int | None]]) -> None:
        def run(loop: Any, n: int) -> int | None:
            result: int | None = loop.run_until_complete(function(n))
            return result

        row(name, what, contestants)(run)

    return add


def face(
    loop: Any,
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[[], None]]:
    """call_soon, call_later and run, by the names of either face."""
    if hasattr(loop, "add_callback"):
        return loop.add_callback, loop.call_later, loop.start
    return loop.call_soon, loop.call_later, loop.run_forever


@row("chain", "a callback that schedules the next", BOTH)
def chain(loop: Any, n: int) -> None:
    soon, _, run = face(loop)
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            soon(step)
        else:
            loop.stop()

    soon(step)
    run()


@row("batch", "1,000 callbacks scheduled at once", BOTH)
def batch(loop: Any, n: int) -> int:
    soon, _, run = face(loop)
    rounds = max(1, n // 1000)
    left = rounds

    def nothing() -> None:
        pass

    def fill() -> None:
        nonlocal left
        left -= 1
        for _ in range(999):
            soon(nothing)
        soon(fill if left else loop.stop)

    soon(fill)
    run()
    return rounds * 1000


@row("threadsafe", "call_soon_threadsafe from another thread", BOTH)
def threadsafe(loop: Any, n: int) -> None:
    _, _, run = face(loop)
    soon = getattr(loop, "call_soon_threadsafe", None) or loop.add_callback

    def nothing() -> None:
        pass

    def produce() -> None:
        for _ in range(n):
            soon(nothing)
        soon(loop.stop)

    thread = threading.Thread(target=produce)
    loop_started = loop.call_later(0, thread.start)
    run()
    thread.join()
    del loop_started


@row("timer-cancel", "call_later, then cancel", BOTH)
def timer_cancel(loop: Any, n: int) -> None:
    soon, later, run = face(loop)
    remove = getattr(loop, "remove_timeout", None)

    def nothing() -> None:
        pass

    def fill(left: int) -> None:
        many = min(left, 1000)
        for _ in range(many):
            timer = later(10, nothing)
            if remove is None:
                timer.cancel()
            else:
                remove(timer)
        if left > many:
            soon(fill, left - many)
        else:
            loop.stop()

    soon(fill, n)
    run()


@row("timer-fired", "call_later(0) that schedules the next", BOTH)
def timer_fired(loop: Any, n: int) -> None:
    _, later, run = face(loop)
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            later(0, step)
        else:
            loop.stop()

    later(0, step)
    run()


@row("future", "a future made, given a callback, set", ASYNCIO)
def future(loop: Any, n: int) -> None:
    left = n

    def done(f: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            step()
        else:
            loop.stop()

    def step() -> None:
        f = loop.create_future()
        f.add_done_callback(done)
        f.set_result(None)

    loop.call_soon(step)
    loop.run_forever()


@coroutine_row("await", "await of a future that is set by the next callback")
async def await_pending(n: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(n):
        f = loop.create_future()
        loop.call_soon(f.set_result, None)
        await f


@coroutine_row("sleep0", "two tasks that take turns by sleep(0)")
async def sleep0(n: int) -> None:
    async def half() -> None:
        for _ in range(n // 2):
            await asyncio.sleep(0)

    await asyncio.gather(half(), half())


@coroutine_row("spawn", "a task made and awaited")
async def spawn(n: int) -> None:
    loop = asyncio.get_running_loop()

    async def nothing() -> None:
        pass

    for _ in range(n):
        await loop.create_task(nothing())


def watching(loop: Any) -> tuple[Callable[..., Any], Callable[[], None], Any]:
    """add_reader, run and remove_reader, by the names of either face."""
    if not hasattr(loop, "add_handler"):
        return loop.add_reader, loop.run_forever, loop.remove_reader

    def add(fd: int, callback: Callable[..., None], *args: Any) -> None:
        loop.add_handler(fd, lambda fd, events: callback(*args), loop.READ)

    return add, loop.start, loop.remove_handler


def woken(loop: Any, n: int, idle: int) -> tuple[int, float]:
    """A byte goes through socket pairs, one after the other; others only wait."""
    left = n
    pairs = [socket.socketpair() for _ in range(10)]
    waiting = [socket.socketpair() for _ in range(idle // 2)]

    def ready(number: int) -> None:
        nonlocal left
        pairs[number][0].recv(1)
        left -= 1
        if left:
            pairs[(number + 1) % 10][1].send(b"x")
        else:
            loop.stop()

    def never() -> None:
        raise AssertionError("nobody wrote to this one")

    add, run, remove = watching(loop)
    for number, (reader, writer) in enumerate(pairs):
        reader.setblocking(False)
        writer.setblocking(False)
        add(reader.fileno(), ready, number)
    for pair in waiting:
        for one in pair:
            one.setblocking(False)
            add(one.fileno(), never)
    pairs[0][1].send(b"x")
    before = time.process_time()
    run()
    used = time.process_time() - before
    for one in [p[0] for p in pairs] + [s for pair in waiting for s in pair]:
        remove(one.fileno())
    for pair in pairs + waiting:
        for one in pair:
            one.close()
    return n, used


@row("fd", "add_reader: a descriptor wakes a callback", BOTH)
def fd(loop: Any, n: int) -> Outcome:
    return woken(loop, n, 0)


@row("fd-idle", "the same beside 10,000 idle descriptors", BOTH)
def fd_idle(loop: Any, n: int) -> Outcome:
    return woken(loop, n, 10_000)


async def sock_echo(n: int, size: int) -> None:
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    message = b"x" * size

    async def receive(s: socket.socket) -> None:
        left = size
        while left:
            left -= len(await loop.sock_recv(s, left))

    async def serve() -> None:
        for _ in range(n):
            await receive(there)
            await loop.sock_sendall(there, message)

    async def ask() -> None:
        for _ in range(n):
            await loop.sock_sendall(here, message)
            await receive(here)

    await asyncio.gather(serve(), ask())
    here.close()
    there.close()


class EchoServer(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class EchoClient(asyncio.Protocol):
    def __init__(self, n: int, size: int, done: Any) -> None:
        self.left, self.size, self.got, self.done = n, size, 0, done
        self.message = b"x" * size

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        if self.got == self.size:
            self.got = 0
            self.left -= 1
            if self.left:
                self.transport.write(self.message)
            else:
                self.transport.close()
                self.done.set_result(None)


async def protocol_echo(n: int, size: int, tls: bool = False) -> None:
    loop = asyncio.get_running_loop()
    server_tls, client_tls = contexts() if tls else (None, None)
    server = await loop.create_server(EchoServer, "127.0.0.1", 0, ssl=server_tls)
    port = server.sockets[0].getsockname()[1]
    done = loop.create_future()
    await loop.create_connection(
        lambda: EchoClient(n, size, done), "127.0.0.1", port, ssl=client_tls
    )
    await done
    server.close()
    await server.wait_closed()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate made for this run, and a client's."""
    with tempfile.TemporaryDirectory() as directory:
        pem = Path(directory) / "pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"),
                *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost"),
                *("-keyout", str(pem), "-out", str(pem) + ".crt"),
            ],
            check=True,
            capture_output=True,
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(str(pem) + ".crt", pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


async def streams_echo(n: int, size: int) -> None:
    message = b"x" * size

    async def serve(reader: Any, writer: Any) -> None:
        for _ in range(n):
            writer.write(await reader.readexactly(size))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(n):
        writer.write(message)
        await writer.drain()
        await reader.readexactly(size)
    writer.close()
    server.close()
    await server.wait_closed()


def echo_rows() -> None:
    for name, size in (("1k", 1024), ("64k", 65536)):
        for kind, function in (
            ("sock", sock_echo),
            ("protocol", protocol_echo),
            ("streams", streams_echo),
        ):

            async def run(
                n: int, function: Any = function, size: int = size
            ) -> int | None:
                await function(n, size)
                return None

            coroutine_row(f"{kind}-{name}", f"{kind} echo, {size} bytes")(run)


echo_rows()


@coroutine_row("tls-1k", "protocol echo over TLS, 1,024 bytes")
async def tls_echo(n: int) -> None:
    await protocol_echo(n, 1024, tls=True)


@coroutine_row("tls-64k", "protocol echo over TLS, 65,536 bytes")
async def tls_echo_large(n: int) -> None:
    await protocol_echo(n, 65536, tls=True)


@coroutine_row("udp", "datagram echo, 1,024 bytes")
async def udp_echo(n: int) -> None:
    loop = asyncio.get_running_loop()
    message, done, left = b"x" * 1024, loop.create_future(), n

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            self.transport.sendto(data, address)

    class Client(Server):
        def datagram_received(self, data: bytes, address: Any) -> None:
            nonlocal left
            left -= 1
            if left:
                self.transport.sendto(message)
            elif not done.done():
                done.set_result(None)

    server, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    address = server.get_extra_info("sockname")
    client, _ = await loop.create_datagram_endpoint(Client, remote_addr=address)
    client.sendto(message)
    await done
    client.close()
    server.close()


@coroutine_row("subprocess", "a program started, read and waited for")
async def processes(n: int) -> None:
    for _ in range(n):
        process = await asyncio.create_subprocess_exec(
            "true", stdout=asyncio.subprocess.PIPE
        )
        await process.communicate()


def add_others() -> None:
    """Rows that Tornado does by its own means, and those that have a floor in C."""
    for name in loop_more.TORNADO:
        what, run, contestants = ROWS[name]

        def by_ioloop(c: str, n: int, name: str = name, run: Row = run) -> Outcome:
            if c not in IOLOOP:
                return run(c, n)
            loop = new_loop(c)
            try:
                return loop_more.run(name, c, loop, n)
            finally:
                loop.close()

        ROWS[name] = (what, by_ioloop, contestants + IOLOOP)
    for name in loop_more.ECHOES:
        what, run, contestants = ROWS[name]

        def or_floor(c: str, n: int, name: str = name, run: Row = run) -> Outcome:
            return loop_more.floor(name, n) if c == "floor" else run(c, n)

        ROWS[name] = (what, or_floor, [*contestants, "floor"])


add_others()
