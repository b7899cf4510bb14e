"""TCPServer: starting, accepting, handlers of every kind, stopping, running short."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest
from streams import on_loop

from pyfastloop import gen
from pyfastloop.iostream import IOStream, StreamClosedError
from pyfastloop.netutil import bind_sockets, bind_unix_socket
from pyfastloop.tcpserver import TCPServer


async def client_of(address: Any, family: int = socket.AF_INET) -> IOStream:
    stream = IOStream(socket.socket(family))
    await stream.connect(address)
    return stream


def start(server: TCPServer, address: str = "127.0.0.1", **kwargs: Any) -> int:
    """Listen on a free port of the address; the port."""
    sockets = bind_sockets(0, address, **kwargs)
    server.add_sockets(sockets)
    port: int = sockets[0].getsockname()[1]
    return port


class Hello(TCPServer):
    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        await stream.write(b"hello " + str(address[0]).encode() + b"\n")
        stream.close()


@on_loop
async def test_async_handle_stream_gets_stream_and_address() -> None:
    server = Hello()
    port = start(server)
    client = await client_of(("127.0.0.1", port))
    assert await client.read_until_close() == b"hello 127.0.0.1\n"
    server.stop()


@on_loop
async def test_handle_stream_may_be_plain_or_a_generator() -> None:
    class Plain(TCPServer):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            stream.write(b"plain")
            stream.close()

    class Generator(TCPServer):
        @gen.coroutine
        def handle_stream(self, stream: IOStream, address: Any) -> Any:
            line = yield stream.read_until(b"\n")
            yield stream.write(line.upper())
            stream.close()

    plain, generator = Plain(), Generator()
    client = await client_of(("127.0.0.1", start(plain)))
    assert await client.read_until_close() == b"plain"
    client = await client_of(("127.0.0.1", start(generator)))
    client.write(b"abc\n")
    assert await client.read_until_close() == b"ABC\n"
    plain.stop()
    generator.stop()


@on_loop
async def test_handle_stream_set_on_the_instance_is_called() -> None:
    server = TCPServer()
    port = start(server)
    seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server.handle_stream = (  # type: ignore[method-assign]
        lambda stream, address: seen.set_result((stream, address))
    )
    client = await client_of(("127.0.0.1", port))
    stream, address = await seen
    assert isinstance(stream, IOStream)
    assert address == client.socket.getsockname()
    stream.close()
    server.stop()


@pytest.mark.parametrize("kind", ["plain", "async", "missing"])
def test_exception_in_handle_stream_is_logged_and_the_server_goes_on(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Plain(TCPServer):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            raise ValueError("broken handler")

    class Async(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            await asyncio.sleep(0)
            raise ValueError("broken handler")

    @on_loop
    async def main() -> None:
        server = {"plain": Plain, "async": Async, "missing": TCPServer}[kind]()
        port = start(server)
        for count in (1, 2):
            client = await client_of(("127.0.0.1", port))
            while len(caplog.records) < count:
                await asyncio.sleep(0)
            client.close()
        server.stop()

    main()
    records = [r for r in caplog.records if r.name == "tornado.application"]
    assert len(records) == 2
    assert all("Error in connection callback" in r.getMessage() for r in records)
    assert all(r.exc_info for r in records)


@on_loop
async def test_stop_closes_listening_sockets_and_lets_streams_live() -> None:
    class Echo(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            try:
                while True:
                    await stream.write(await stream.read_until(b"\n"))
            except StreamClosedError:
                pass

    server = Echo()
    port = start(server)
    client = await client_of(("127.0.0.1", port))
    client.write(b"before\n")
    assert await client.read_until(b"\n") == b"before\n"
    server.stop()
    server.stop()
    client.write(b"after\n")
    assert await client.read_until(b"\n") == b"after\n"
    with pytest.raises(StreamClosedError):
        await client_of(("127.0.0.1", port))
    client.close()


@on_loop
async def test_listen_bind_start_and_add_socket() -> None:
    server = Hello()
    server.bind(0, "127.0.0.1")
    server.start()
    with pytest.raises(RuntimeError):
        server.start()
    (sock,) = server._sockets.values()
    client = await client_of(sock.getsockname())
    assert await client.read_until_close() == b"hello 127.0.0.1\n"
    (extra,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(extra)
    client = await client_of(extra.getsockname())
    assert await client.read_until_close() == b"hello 127.0.0.1\n"
    server.listen(0, "127.0.0.1")
    assert len(server._sockets) == 3
    server.stop()
    assert extra.fileno() == -1


@on_loop
async def test_both_families_on_one_port() -> None:
    server = Hello()
    sockets = bind_sockets(0, "localhost")
    server.add_sockets(sockets)
    families = {sock.family for sock in sockets}
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for family in families:
        where = "127.0.0.1" if family == socket.AF_INET else "::1"
        port = sockets[0].getsockname()[1]
        client = await client_of((where, port), family)
        assert await client.read_until_close() == b"hello " + where.encode() + b"\n"
    server.stop()


def test_unix_socket(tmp_path: Any) -> None:
    class Server(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            await stream.write(repr(address).encode())
            stream.close()

    @on_loop
    async def main() -> None:
        server = Server()
        name = str(tmp_path / "sock")
        server.add_socket(bind_unix_socket(name))
        client = await client_of(name, socket.AF_UNIX)
        assert await client.read_until_close() == b"''"
        server.stop()

    main()


@on_loop
async def test_sizes_go_to_the_streams() -> None:
    server = TCPServer(max_buffer_size=5000, read_chunk_size=100)
    port = start(server)
    seen: asyncio.Future[IOStream] = asyncio.get_running_loop().create_future()
    server.handle_stream = (  # type: ignore[method-assign]
        lambda stream, address: seen.set_result(stream)
    )
    client = await client_of(("127.0.0.1", port))
    stream = await seen
    assert (stream.max_buffer_size, stream.read_chunk_size) == (5000, 100)
    stream.close()
    client.close()
    server.stop()


@on_loop
async def test_many_connections_at_once_are_all_accepted() -> None:
    server = Hello()
    port = start(server, backlog=300)
    clients = []
    for _ in range(200):
        sock = socket.create_connection(("127.0.0.1", port))
        clients.append(IOStream(sock))
    for client in clients:
        assert await client.read_until_close() == b"hello 127.0.0.1\n"
    server.stop()


@on_loop
async def test_a_flood_of_connections_leaves_the_others_their_turn() -> None:
    loop = asyncio.get_running_loop()
    accepted: list[IOStream] = []
    turns: list[int] = []

    class Flooded(TCPServer):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            if not accepted:
                loop.call_soon(lambda: turns.append(len(accepted)))
            accepted.append(stream)

    server = Flooded()
    port = start(server, backlog=300)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    while len(accepted) < len(clients):
        await asyncio.sleep(0)
    assert turns[0] <= 64
    server.stop()
    for client in clients:
        client.close()


def test_ssl_options_are_checked_early(tmp_path: Any) -> None:
    with pytest.raises(KeyError, match="certfile"):
        TCPServer(ssl_options={})
    with pytest.raises(ValueError, match="does not exist"):
        TCPServer(ssl_options={"certfile": str(tmp_path / "missing.pem")})


def test_without_descriptors_the_listener_rests_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    @on_loop
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = Hello()
        port = start(server)
        # Clients connect, in the backlog, before the last descriptors are taken.
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        (listener,) = server._listeners.values()
        hoard = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (clients[-1].fileno() + 1, hard))
            while True:
                try:
                    hoard.append(os.dup(0))
                except OSError:
                    break
            while not listener.resting:
                await asyncio.sleep(0)
            events = loop.stats()["events"]  # type: ignore[attr-defined]
            for _ in range(1000):
                await asyncio.sleep(0)
            # It does not spin: no event comes while it rests.
            assert loop.stats()["events"] <= events + 2  # type: ignore[attr-defined]
        finally:
            for fd in hoard:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in clients:
            answer = await IOStream(client).read_until_close()
            assert answer == b"hello 127.0.0.1\n"
        server.stop()

    main()
    lines = [r for r in caplog.records if "resting" in r.getMessage()]
    assert len(lines) == 1 and lines[0].name == "tornado.general"


@on_loop
async def test_every_listener_that_rests_wakes_when_a_descriptor_is_free() -> None:
    server = Hello()
    ports = [start(server) for _ in range(3)]
    clients = [socket.create_connection(("127.0.0.1", port)) for port in ports]
    other = IOStream(socket.socketpair()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    listeners = server._listeners.values()
    hoard = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (clients[-1].fileno() + 3, hard))
        while True:
            try:
                hoard.append(os.dup(0))
            except OSError:
                break
        while not all(listener.resting for listener in listeners):
            await asyncio.sleep(0)
        other.close()
        assert not any(listener.resting for listener in listeners)
    finally:
        for fd in hoard:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for client in clients:
        answer = await IOStream(client).read_until_close()
        assert answer == b"hello 127.0.0.1\n"
    server.stop()


PRE_FORK = """
import os, sys
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import IOStream
from pyfastloop.netutil import bind_sockets
from pyfastloop.process import task_id
from pyfastloop.tcpserver import TCPServer

class Server(TCPServer):
    async def handle_stream(self, stream, address):
        line = await stream.read_until(b"\\n")
        await stream.write(str(task_id()).encode() + b"\\n")
        stream.close()
        if line == b"stop\\n":
            IOLoop.current().stop()

server = Server()
server.bind(0, "127.0.0.1")
print(server._pending_sockets[0].getsockname()[1], flush=True)
server.start(2)
IOLoop.current().start()
"""


def test_start_forks_workers_that_share_the_port() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PRE_FORK], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        stopped = set()
        while stopped != {"0", "1"}:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
                file = sock.makefile("rw")
                file.write("stop\n")
                file.flush()
                stopped.add(file.readline().strip())
        assert process.wait(60) == 0


HERD = """
import os, sys
from pyfastloop.ioloop import IOLoop
from pyfastloop.netutil import bind_sockets
from pyfastloop.process import fork_processes
from pyfastloop.tcpserver import TCPServer

class Server(TCPServer):
    def handle_stream(self, stream, address):
        loop = IOLoop.current()
        polls = loop.asyncio_loop.stats()["polls"]
        stream.write(f"{os.getpid()} {polls}\\n".encode())
        stream.close()

sockets = bind_sockets(0, "127.0.0.1")
print(sockets[0].getsockname()[1], flush=True)
fork_processes(4)
server = Server()
server.add_sockets(sockets)
watched = ""
for fd in os.listdir("/proc/self/fdinfo"):
    try:
        with open(f"/proc/self/fdinfo/{fd}") as info:
            watched += info.read()
    except OSError:
        pass
events = "".join(
    line.split()[3] for line in watched.splitlines()
    if line.startswith("tfd:") and int(line.split()[1]) == sockets[0].fileno()
)
os.write(1, f"watched {events}\\n".encode())  # in one piece: four of them write
IOLoop.current().start()
"""
EPOLLEXCLUSIVE = 1 << 28


def test_processes_that_share_a_listener_do_not_all_wake() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HERD],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            for _ in range(4):  # the kernel's own word for what each one asked for
                name, events = process.stdout.readline().split()
                assert name == "watched" and int(events, 16) & EPOLLEXCLUSIVE
            polls: dict[str, list[int]] = {}
            for _ in range(200):
                with socket.create_connection(("127.0.0.1", port), 60) as sock:
                    pid, count = sock.makefile().readline().split()
                    polls.setdefault(pid, []).append(int(count))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    # One that was woken for nothing would have polled once more for every connection.
    woken = sum(counts[-1] - counts[0] + 1 for counts in polls.values())
    assert woken < 2 * 200
