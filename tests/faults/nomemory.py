"""Lets the n-th allocation of a scenario fail, n = 1, 2, 3 ... until none is left.

    python tests/faults/nomemory.py SCENARIO [every]

A scenario is a generator: what it does before its first yield needs all its memory,
what comes after runs with one allocation failing (CPython's own test hook), and what
comes after a second yield cleans up, with memory again. MemoryError may come out of it
anywhere, and may end up in a log; a crash, SystemError or a lost loop may not. Past
the first ones it takes samples, unless told `every`. Prints how many allocations there
were.
"""

from __future__ import annotations

import _testcapi
import asyncio
import contextlib
import datetime
import gc
import gzip
import logging
import signal
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pyfastloop
from pyfastloop import _core, aio, gen, locks, queues
from pyfastloop.concurrent import Future
from pyfastloop.httpclient import AsyncHTTPClient
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import IOStream, StreamClosedError
from pyfastloop.stack_context import ExceptionStackContext
from pyfastloop.tcpserver import TCPServer

Scenario = Callable[[IOLoop], Iterator[None]]
SCENARIOS: dict[str, Scenario] = {}
HERE = Path(pyfastloop.__file__).parent

# A wake-up lost for want of memory ends with the loop's turn, not with the test.
TURN_SECONDS = 0.1
MOST = 5000
OVER = bytearray(1)  # whether that was so; setting it needs no memory
STARTED = bytearray(1)  # whether a scenario tried to start a thread


def scenario(f: Scenario) -> Scenario:
    SCENARIOS[f.__name__] = f
    return f


def pair() -> tuple[IOStream, IOStream]:
    a, b = socket.socketpair()
    return IOStream(a), IOStream(b)


def never_start(thread: threading.Thread) -> None:
    """CPython waits for ever for a thread that has no memory to begin."""
    STARTED[0] = True
    raise RuntimeError("can't start new thread")


def over(loop: Any) -> None:
    loop.stop()
    OVER[0] = True


def turn(loop: IOLoop, start: Callable[[], Any]) -> None:
    """Run start() in the loop, until what it returns is done or the turn is over."""

    def begin() -> None:
        future = start()
        if future is None:
            loop.stop()
        else:
            future.add_done_callback(lambda _: loop.stop())

    loop.asyncio_loop.call_soon(begin)
    loop.start()


@scenario
def futures(loop: IOLoop) -> Iterator[None]:
    def use() -> None:
        future = Future()
        for _ in range(7):
            future.add_done_callback(lambda done: done.result())
        future.remove_done_callback(print)
        future.set_result([repr(future)])
        failed = Future()
        failed.set_exception(ValueError("x"))
        failed.exception()
        other = Future()
        other.cancel("why")
        with contextlib.suppress(asyncio.CancelledError):
            other.result()

    yield
    turn(loop, use)


@scenario
def callbacks(loop: IOLoop) -> Iterator[None]:
    inner = loop.asyncio_loop

    def use() -> Future:
        future = Future()
        inner.call_soon(lambda *a: None, 1, 2, 3, 4, 5)
        inner.call_soon_threadsafe(lambda: None)
        inner.call_later(10, print).cancel()
        loop.add_callback(lambda a, b: None, 1, b=2)
        loop.remove_timeout(loop.add_timeout(loop.time() + 5, print))
        loop.add_callback(lambda: 1 / 0)
        inner.call_later(0.001, future.set_result, None)
        return future

    yield
    turn(loop, use)


async def leaf(n: int) -> int:
    await asyncio.sleep(0)
    return n


async def tree() -> int:
    return sum([await _core.Task(leaf(n)) for n in range(3)])


@scenario
def own_tasks(loop: IOLoop) -> Iterator[None]:
    loop.asyncio_loop.set_own_tasks(True)

    def use() -> Any:
        cancelled = loop.asyncio_loop.create_task(leaf(1), name="one")
        cancelled.cancel()
        repr(cancelled)
        return loop.asyncio_loop.create_task(tree())

    yield
    turn(loop, use)


@scenario
def asyncio_tasks(loop: IOLoop) -> Iterator[None]:
    async def main() -> None:
        await asyncio.gather(leaf(1), leaf(2))
        await asyncio.wait_for(leaf(3), 5)

    yield
    turn(loop, lambda: loop.asyncio_loop.create_task(main()))


@scenario
def generators(loop: IOLoop) -> Iterator[None]:
    @gen.coroutine
    def one(n: int) -> Any:
        yield gen.moment
        if n == 2:
            raise ValueError(n)
        return n

    @gen.coroutine
    def main() -> Any:
        yield [one(0), leaf(1)]
        yield {"a": one(3), "b": None}
        with contextlib.suppress(ValueError):
            yield [one(2), one(1)]
        yield gen.sleep(0.001)

    yield
    turn(loop, main)


@scenario
def hand_overs(loop: IOLoop) -> Iterator[None]:
    """Locks, events, conditions and queues between coroutines of both kinds."""

    def use() -> Future:
        lock, event, condition = locks.Lock(), locks.Event(), locks.Condition()
        queue: Any = queues.Queue(1)

        async def native() -> None:
            async with lock:
                await queue.put([1])
                await queue.put([2])
                event.set()
            assert await condition.wait(datetime.timedelta(seconds=1)) in (True, False)

        @gen.coroutine
        def older() -> Any:
            yield queue.get()
            queue.task_done()
            yield queue.get()
            queue.task_done()
            yield [event.wait(), queue.join()]
            with (yield lock.acquire()):
                yield gen.moment
            condition.notify_all()

        return gen.multi([native(), older()])

    yield
    turn(loop, use)


@scenario
def yield_points(loop: IOLoop) -> Iterator[None]:
    """The Runner of Tornado 3: engine, Task, Callback, Wait, WaitAll, Multi."""

    def later(value: int, callback: Callable[[int], None]) -> None:
        loop.add_callback(callback, value)

    def use() -> Future:
        done = Future()

        @gen.engine
        def main() -> Any:
            try:
                yield gen.Task(later, 1)
                later(2, (yield gen.Callback("two")))
                later(3, (yield gen.Callback("three")))
                yield gen.WaitAll(["two", "three"])
                yield [gen.Task(later, 4), gen.YieldFuture(gen.sleep(0))]
                later(5, (yield gen.Callback("five")))
                yield {"a": gen.Wait("five"), "b": gen.moment}
            finally:
                done.set_result(None)

        main()
        return done

    yield
    turn(loop, use)


@scenario
def runners(loop: IOLoop) -> Iterator[None]:
    """gen.Runner made by hand, callback=, with_timeout, WaitIterator, return_future."""

    def steps() -> Any:
        yield gen.moment
        yield gen.with_timeout(loop.time() + 5, gen.sleep(0))
        iterator = gen.WaitIterator(gen.sleep(0), gen.sleep(0))
        while not iterator.done():
            yield iterator.next()

    @gen.coroutine
    def called(n: int) -> Any:
        yield None
        return n

    def use() -> Future:
        result = Future()
        called(1, callback=lambda value: None)
        generator = steps()
        gen.Runner(generator, result, next(generator))
        return result

    yield
    turn(loop, use)


@scenario
def stack_contexts(loop: IOLoop) -> Iterator[None]:
    """Exceptions of callbacks on their way to an ExceptionStackContext."""

    def use() -> Future:
        done = Future()

        def seen(typ: Any, value: BaseException, tb: Any) -> bool:
            if not done.done():
                done.set_result(None)
            return True

        future = Future()
        with ExceptionStackContext(seen):
            future.add_done_callback(lambda _: 1 / 0)
            loop.asyncio_loop.call_soon(lambda: 1 / 0)
            loop.add_callback(lambda: 1 / 0)
            loop.spawn_callback(lambda: None)
        future.set_result(None)
        return done

    yield
    turn(loop, use)


@scenario
def handlers(loop: IOLoop) -> Iterator[None]:
    a, b = socket.socketpair()
    b.send(b"x")

    def use() -> Future:
        future = Future()
        loop.add_handler(a, lambda fd, events: future.set_result(None), loop.READ)
        loop.update_handler(a, loop.READ | loop.WRITE)
        loop.asyncio_loop.add_reader(b, print)
        loop.asyncio_loop.add_writer(b, lambda: loop.asyncio_loop.remove_writer(b))
        return future

    yield
    turn(loop, use)
    yield
    loop.remove_handler(a)
    loop.asyncio_loop.remove_reader(b)
    a.close()
    b.close()


async def plain_pair() -> tuple[IOStream, IOStream]:
    return pair()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(HERE / "testing_cert.pem", HERE / "testing_key.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


async def tls_pair() -> tuple[IOStream, IOStream]:
    server, client = contexts()
    a, b = pair()
    a, b = await asyncio.gather(a.start_tls(False, client), b.start_tls(True, server))
    await a.write(b"x")  # the session's tickets have come as well, then
    await b.write(await b.read_bytes(1))
    await a.read_bytes(1)
    return a, b


def streaming(
    loop: IOLoop,
    main: Callable[[IOStream, IOStream], Any],
    make: Callable[[], Coroutine[Any, Any, tuple[IOStream, IOStream]]] = plain_pair,
) -> Iterator[None]:
    a, b = loop.run_sync(make)

    async def use() -> None:
        with contextlib.suppress(StreamClosedError, MemoryError):
            await main(a, b)

    yield
    turn(loop, lambda: loop.asyncio_loop.create_task(use()))
    yield
    a.close()
    b.close()


@scenario
def stream_reads(loop: IOLoop) -> Iterator[None]:
    async def main(a: IOStream, b: IOStream) -> None:
        b.set_close_callback(lambda: None)
        a.write(b"one\ntwo\nthreefour")
        await b.read_until(b"\n")
        await b.read_until_regex(b"w.\n")
        await b.read_bytes(5)
        await b.read_into(bytearray(4))
        waiting = b.read_until(b"\r\n", max_bytes=100)
        a.write(b"later\r\n")
        await waiting
        waiting = b.read_bytes(100, partial=True)
        a.write(bytearray(b"some"))
        await waiting
        rest = b.read_until_close()
        a.write(b"rest")
        a.close()
        await rest

    return streaming(loop, main)


@scenario
def stream_large(loop: IOLoop) -> Iterator[None]:
    data = b"x" * 600_000

    async def main(a: IOStream, b: IOStream) -> None:
        writing = a.write(data)
        await b.read_bytes(300_000)
        a.write(memoryview(data)[:200_000])
        await b.read_bytes(300_000)
        await writing
        rest = b.read_until_close()
        await a.write(data)
        a.close()
        await rest

    return streaming(loop, main)


async def tls_main(a: IOStream, b: IOStream) -> None:
    data = b"x" * 100_000
    writing = a.write(b"one\n" + data)
    await b.read_until(b"\n")
    await b.read_bytes(len(data))
    await writing
    for n in range(3):
        a.write(b"later")
        a.write(bytearray(b"and more"))
        await b.read_bytes(13, partial=n == 1)
        await b.write(b"back")
        await a.read_bytes(4)
    writing = a.write(data)
    await b.read_into(bytearray(len(data)))
    await writing
    rest = b.read_until_close()
    a.write(b"rest")
    a.close()
    await rest


@scenario
def tls_streams(loop: IOLoop) -> Iterator[None]:
    return streaming(loop, tls_main, tls_pair)


@scenario
def tls_handshakes(loop: IOLoop) -> Iterator[None]:
    server, client = contexts()

    async def main(a: IOStream, b: IOStream) -> None:
        both = await asyncio.gather(
            a.start_tls(False, client),
            b.start_tls(True, server),
            return_exceptions=True,
        )
        try:
            for stream in both:
                if isinstance(stream, BaseException):
                    raise stream
            reading = both[1].read_bytes(5)
            both[0].write(b"hello")
            await reading
        finally:
            for stream in both:
                if not isinstance(stream, BaseException):
                    stream.close()

    return streaming(loop, main)


def echoing(loop: IOLoop, tls: bool) -> Iterator[None]:
    """asyncio's transports: a server, connections to it, messages of both sizes."""
    inner = loop.asyncio_loop
    inner.set_exception_handler(lambda loop, context: None)
    server_tls, client_tls = contexts() if tls else (None, None)
    open_ones: list[Any] = []

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            open_ones.append(transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

        def eof_received(self) -> None:
            self.transport.close()

    class Ask(Echo):
        def __init__(self) -> None:
            self.left = 0
            self.done = inner.create_future()

        def data_received(self, data: bytes) -> None:
            self.left -= len(data)
            if self.left <= 0 and not self.done.done():
                self.done.set_result(None)

        def connection_lost(self, exc: BaseException | None) -> None:
            if not self.done.done():
                self.done.set_result(None)

        async def ask(self, message: bytes) -> None:
            if self.done.done():
                self.done = inner.create_future()
            self.left = len(message)
            self.transport.write(message)
            await self.done

    class Landing(asyncio.BufferedProtocol):
        memory = bytearray(4000)

        def get_buffer(self, hint: int) -> bytearray:
            return self.memory

        def buffer_updated(self, n: int) -> None:
            ask.data_received(self.memory[:n])

    async def start() -> asyncio.Server:
        return await inner.create_server(Echo, "127.0.0.1", 0, ssl=server_tls)

    server = inner.run_until_complete(start())
    address = server.sockets[0].getsockname()
    ask = inner.run_until_complete(
        inner.create_connection(Ask, *address, ssl=client_tls)
    )[1]

    async def use() -> None:
        nonlocal ask
        try:
            for message in (b"hello", b"x" * 3000, b"y" * 100_000, b"bye"):
                await ask.ask(message)
            ask.transport.writelines([b"1", b"2" * 100])
            ask.transport.pause_reading()
            ask.transport.resume_reading()
            ask.transport.set_protocol(Landing())
            await ask.ask(b"z" * 9000)
            ask.transport.close()
            _, ask = await inner.create_connection(Ask, *address, ssl=client_tls)
            await ask.ask(b"again")
        except (OSError, MemoryError):
            pass
        ask.transport.close()

    yield
    turn(loop, lambda: inner.create_task(use()))
    yield
    server.close()
    for transport in open_ones:
        transport.abort()
    inner.call_soon(loop.stop)
    loop.start()


@scenario
def transports(loop: IOLoop) -> Iterator[None]:
    return echoing(loop, tls=False)


@scenario
def tls_transports(loop: IOLoop) -> Iterator[None]:
    return echoing(loop, tls=True)


@scenario
def datagrams(loop: IOLoop) -> Iterator[None]:
    inner = loop.asyncio_loop

    class Peer(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.got = inner.create_future()

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            if not self.got.done():
                self.got.set_result(address)

    async def start() -> list[Peer]:
        made = [
            (await inner.create_datagram_endpoint(Peer, ("127.0.0.1", 0)))[1]
            for _ in range(2)
        ]
        return made

    here, there = inner.run_until_complete(start())
    address = there.transport.get_extra_info("sockname")

    async def use() -> None:
        here.transport.sendto(b"hello", address)
        there.transport.sendto(b"back", await there.got)
        await here.got

    yield
    turn(loop, lambda: inner.create_task(use()))
    yield
    here.transport.abort()
    there.transport.abort()


@scenario
def sock_calls(loop: IOLoop) -> Iterator[None]:
    inner = loop.asyncio_loop
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)

    async def use() -> None:
        reading = inner.create_task(inner.sock_recv(b, 100))
        await asyncio.sleep(0)
        await inner.sock_sendall(a, b"hello")
        await reading
        sending = inner.create_task(inner.sock_sendall(a, b"x" * 500_000))
        buf, left = bytearray(65536), 500_000
        while left > 0:
            left -= await inner.sock_recv_into(b, buf)
        await sending

    yield
    turn(loop, lambda: inner.create_task(use()))
    yield
    a.close()
    b.close()


@scenario
def stream_callbacks(loop: IOLoop) -> Iterator[None]:
    async def main(a: IOStream, b: IOStream) -> None:
        done: Future = Future()
        b.read_until(b"\n", callback=lambda data: done.set_result(data))
        b.set_close_callback(lambda: done.done() or done.set_result(None))
        a.write(b"line\n", callback=lambda: None)
        await done

    return streaming(loop, main)


@scenario
def connections(loop: IOLoop) -> Iterator[None]:
    class Echo(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            try:
                await stream.write(await stream.read_until(b"\n"))
            finally:
                stream.close()

    server: list[Echo] = []
    sockets = [socket.create_server(("127.0.0.1", 0))]
    sockets[0].setblocking(False)

    async def start() -> None:
        server.append(Echo())
        server[0].add_sockets(sockets)

    loop.run_sync(start)

    async def use() -> None:
        stream = IOStream(socket.socket())
        try:
            await stream.connect(sockets[0].getsockname())
            stream.write(b"hello\n")
            await stream.read_until_close()
        except (StreamClosedError, MemoryError):
            pass
        finally:
            stream.close()

    yield
    turn(loop, lambda: loop.asyncio_loop.create_task(use()))
    yield
    server[0].stop()


def fetching(loop: IOLoop, answer: bytes, **options: Any) -> Iterator[None]:
    """One fetch on a new connection or a used one; each must come to an end."""

    class Answering(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            try:
                while True:
                    await stream.read_until(b"\r\n\r\n")
                    await stream.write(answer)
            except StreamClosedError:
                pass

    server: list[Answering] = []
    clients: list[AsyncHTTPClient] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    async def start() -> None:
        server.append(Answering())
        server[0].add_sockets([listener])
        clients.append(AsyncHTTPClient(force_instance=True, max_clients=1))
        if options.pop("used", False):
            await clients[0].fetch(url)

    loop.run_sync(start)
    fetches: list[Any] = []

    async def use() -> None:
        fetches.append(clients[0].fetch(url, **options))
        fetches.append(clients[0].fetch(url, **options))
        await asyncio.wait(fetches)

    yield
    turn(loop, lambda: loop.asyncio_loop.create_task(use()))
    yield
    clients[0].close()
    for fetch in fetches:
        if not fetch.done():
            raise SystemError("a fetch never ends")
        fetch.cancelled() or fetch.exception()
    if clients[0].active or clients[0].queue or len(clients[0].pool):
        raise SystemError("a closed client has something left")
    server[0].stop()


PLAIN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@scenario
def fetches(loop: IOLoop) -> Iterator[None]:
    return fetching(loop, PLAIN_ANSWER)


@scenario
def fetches_again(loop: IOLoop) -> Iterator[None]:
    return fetching(loop, PLAIN_ANSWER, used=True)


@scenario
def fetches_watched(loop: IOLoop) -> Iterator[None]:
    body = gzip.compress(b"x" * 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    return fetching(
        loop,
        head % len(body) + body,
        used=True,
        streaming_callback=lambda piece: None,
        header_callback=lambda line: None,
    )


@scenario
def loops(loop: IOLoop) -> Iterator[None]:
    yield
    other = aio.new_event_loop()
    other.call_soon(other.stop)
    other.run_forever()
    other.close()


@scenario
def runs(loop: IOLoop) -> Iterator[None]:
    """A run with our own tasks ends: with its result, or with MemoryError."""
    inner = aio.new_event_loop()
    inner.set_own_tasks(True)
    inner.set_exception_handler(lambda loop, context: None)
    inner.call_later(60, inner.stop)
    main = leaf(3)
    yield
    inner.run_until_complete(main)
    yield
    main.close()
    if asyncio._get_running_loop() is not None:
        raise SystemError("a loop that was left counts as running")
    if signal.set_wakeup_fd(-1) != -1:
        raise SystemError("the wake-up descriptor of signals stays the loop's")
    inner.close()


@scenario
def guests(loop: IOLoop) -> Iterator[None]:
    host = asyncio.SelectorEventLoop()

    async def main() -> None:
        inner = IOLoop.current()
        a, b = pair()
        try:
            a.write(b"abc")
            await b.read_bytes(3)
            inner.call_later(5, print)
            await gen.sleep(0.001)
        finally:
            a.close()
            b.close()

    host.call_later(TURN_SECONDS, over, host)
    yield
    task = main()
    try:
        host.run_until_complete(task)
    except StreamClosedError:
        pass
    except RuntimeError as error:
        if "stopped before" not in str(error):
            raise
    finally:
        asyncio._set_running_loop(None)  # the host's own way out may have failed
    yield
    host.close()


def untouched() -> bool:
    """Whether the failure is still to come: then the scenario had all it needed."""
    try:
        for _ in range(MOST):
            bytes(1000)
    except MemoryError:
        return True
    return False


def attempt(run: Scenario, n: int) -> bool:
    """One run with the n-th allocation failing; False when there were fewer."""
    while True:
        fewer = spared(run, n)
        # A turn that was over before it came there tells how slow the machine is.
        if not (fewer and OVER[0]):
            return not fewer


def spared(run: Scenario, n: int) -> bool:
    """Whether a run did not come to its n-th allocation, which would have failed."""
    OVER[0] = False
    loop = IOLoop()
    steps = run(loop)
    next(steps)
    loop.call_later(TURN_SECONDS, over, loop)
    _testcapi.set_nomemory(n, n + 1)
    try:
        next(steps, None)
        left = untouched()
    except MemoryError:
        left = False
    except SystemError as error:
        # CPython 3.11 forgets the exception where the frame of a Python function cannot
        # be had; what a function of C forgets would be ours.
        if "pyfastloop" in str(error) or "built-in" in str(error):
            raise
        left = False
    except Exception as error:
        raise SystemError(f"allocation {n} was turned into something else") from error
    finally:
        _testcapi.remove_mem_hooks()
    for _ in steps:
        pass
    steps.close()
    if loop.asyncio_loop.is_running():
        raise SystemError(f"allocation {n}: the loop runs on")
    if STARTED[0]:
        raise SystemError("a scenario starts a thread, which nomemory.py cannot try")
    loop.close()
    gc.collect()
    return left


def main(name: str, every: bool) -> None:
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda unraisable: None
    warnings.simplefilter("ignore")
    threading.Thread.start = never_start  # type: ignore[method-assign]
    run = SCENARIOS[name]
    signal.alarm(0 if every else 150)
    for _ in range(3):  # what is made once is made
        attempt(run, 10_000_000)
    n = 1
    while n < MOST and attempt(run, n):
        n += 1 if every else 1 + n // 20
    signal.alarm(0)
    print(n)


if __name__ == "__main__":
    main(sys.argv[1], "every" in sys.argv[2:])
