"""TCPClient: the race of addresses, time-outs by phase, where connections come from."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import socket
import ssl
import warnings
from typing import Any

import pytest
from raw_http import CERTIFICATE, server_tls
from streams import on_loop

from pyfastloop.iostream import IOStream, StreamClosedError
from pyfastloop.netutil import Resolver, bind_sockets
from pyfastloop.tcpclient import TCPClient, _interleave, _Race
from pyfastloop.tcpserver import TCPServer
from pyfastloop.util import TimeoutError

V4, V6 = socket.AF_INET, socket.AF_INET6


class Names(Resolver):
    """Answers with what it was given, or never."""

    def initialize(self, found: Any = None) -> None:
        self.found = found
        self.closed = False

    async def resolve(self, host: str, port: int, *args: Any) -> Any:
        if self.found is None:
            await asyncio.Event().wait()
        return self.found

    def close(self) -> None:
        self.closed = True


class PeerName(TCPServer):
    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        await stream.write(f"{address[0]} {address[1]}".encode())
        stream.close()


def serve() -> tuple[TCPServer, int]:
    server = PeerName()
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


def dead_port() -> tuple[socket.socket, tuple[str, int]]:
    """An address that refuses, as long as the socket is kept."""
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    return holder, holder.getsockname()


@on_loop
async def test_connects_to_a_name() -> None:
    server, port = serve()
    client = TCPClient()
    stream = await client.connect("localhost", port)
    assert (await stream.read_until_close()).startswith(b"127.0.0.1 ")
    client.close()
    server.stop()


@on_loop
async def test_refused_address_gives_way_to_the_next() -> None:
    server, port = serve()
    holder, dead = dead_port()
    resolver = Names(found=[(V4, dead), (V4, ("127.0.0.1", port))])
    stream = await TCPClient(resolver).connect("any.test", port)
    assert stream.socket.getpeername()[1] == port
    stream.close()
    holder.close()
    server.stop()


@on_loop
async def test_all_refused_tells_the_system_error() -> None:
    holder, dead = dead_port()
    with pytest.raises(StreamClosedError) as caught:
        await TCPClient(Names(found=[(V4, dead)])).connect("any.test", 1)
    assert isinstance(caught.value.real_error, ConnectionRefusedError)
    holder.close()


@on_loop
async def test_unknown_name_is_the_resolvers_error() -> None:
    with pytest.raises(socket.gaierror):
        await TCPClient().connect("an invalid domain", 80)


@on_loop
async def test_name_without_addresses_is_an_error() -> None:
    with pytest.raises(OSError, match="no address"):
        await TCPClient(Names(found=[])).connect("any.test", 80)


@pytest.mark.parametrize("timeout", [0.01, datetime.timedelta(milliseconds=10)])
def test_time_out_names_the_phase(timeout: Any) -> None:
    @on_loop
    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"while resolving any\.test"):
            await TCPClient(Names()).connect("any.test", 80, timeout=timeout)
        # A server whose backlog is full does not answer.
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = []
            for _ in range(8):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                fillers.append(filler)
            resolver = Names(found=[(V4, full.getsockname())])
            with pytest.raises(TimeoutError, match="Timeout while connecting to any"):
                await TCPClient(resolver).connect("any.test", 80, timeout=timeout)
            for filler in fillers:
                filler.close()

    main()


@on_loop
async def test_source_address_and_port() -> None:
    server, port = serve()
    client = TCPClient()
    stream = await client.connect("127.0.0.1", port, source_ip="127.0.0.2")
    assert (await stream.read_until_close()).startswith(b"127.0.0.2 ")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    stream = await client.connect(
        "127.0.0.1", port, source_ip="127.0.0.1", source_port=free
    )
    assert await stream.read_until_close() == f"127.0.0.1 {free}".encode()
    with pytest.raises(OSError):
        await client.connect("127.0.0.1", port, source_ip="203.0.113.7")
    server.stop()


def test_only_the_own_resolver_is_closed() -> None:
    resolver = Names(found=[])
    TCPClient(resolver).close()
    assert not resolver.closed


def test_families_alternate_from_the_first() -> None:
    a, b, c, d = (V6, "a"), (V6, "b"), (V4, "c"), (V4, "d")
    assert _interleave([a, b, c, d]) == [a, c, b, d]
    assert _interleave([c, a, b]) == [c, a, b]
    assert _interleave([c, d, a]) == [c, a, d]
    assert _interleave([]) == []


class Attempts:
    """Attempts to connect that a test decides, by name of address."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.futures: dict[Any, asyncio.Future[Any]] = {}
        self.streams: dict[Any, IOStream] = {}

    def __call__(self, family: int, address: Any) -> Any:
        self.started.append(address)
        self.futures[address] = asyncio.get_running_loop().create_future()
        self.streams[address] = IOStream(socket.socket())
        return self.streams[address], self.futures[address]


@on_loop
async def test_slow_address_is_raced_by_the_next_and_loses() -> None:
    attempts = Attempts()
    race = asyncio.ensure_future(_Race([(V6, "a"), (V4, "b")], attempts, 0.001).run())
    while attempts.started != ["a", "b"]:
        await asyncio.sleep(0.001)
    attempts.futures["b"].set_result(None)
    winner = await race
    assert winner is attempts.streams["b"] and not winner.closed()
    assert attempts.streams["a"].closed()
    winner.close()


@on_loop
async def test_failed_address_is_followed_at_once() -> None:
    attempts = Attempts()
    race = asyncio.ensure_future(_Race([(V6, "a"), (V4, "b")], attempts, 1000).run())
    while not attempts.started:
        await asyncio.sleep(0)
    attempts.futures["a"].set_exception(OSError(1, "no"))
    while attempts.started != ["a", "b"]:
        await asyncio.sleep(0)
    attempts.futures["b"].set_exception(OSError(2, "last"))
    with pytest.raises(OSError, match="last"):
        await race
    assert all(stream.closed() for stream in attempts.streams.values())


@pytest.mark.parametrize("timeout", [None, 30])
@on_loop
async def test_cancelling_a_connect_cancels_the_phase_under_way(timeout: Any) -> None:
    ended = asyncio.Event()

    class Waits(Resolver):
        async def resolve(self, host: str, port: int, *args: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    begun = asyncio.Event()
    connecting = asyncio.ensure_future(
        TCPClient(Waits()).connect("any.test", 80, timeout=timeout)
    )
    await begun.wait()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await asyncio.wait_for(ended.wait(), 30)


@on_loop
async def test_cancelled_race_closes_everything() -> None:
    attempts = Attempts()
    race = asyncio.ensure_future(_Race([(V6, "a"), (V4, "b")], attempts, 0.001).run())
    while len(attempts.started) < 2:
        await asyncio.sleep(0.001)
    race.cancel()
    with pytest.raises(asyncio.CancelledError):
        await race
    assert all(stream.closed() for stream in attempts.streams.values())


@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@on_loop
async def test_cancelled_in_any_turn_it_leaves_nothing(
    tls: bool, timeout: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client_tls = server_context = None
    if tls:
        server_context = server_tls()
        client_tls = ssl.create_default_context(cafile=CERTIFICATE)
        client_tls.check_hostname = False
    server = PeerName(ssl_options=server_context)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for turns in range(80):
            connecting = asyncio.ensure_future(
                TCPClient().connect(
                    "127.0.0.1", port, ssl_options=client_tls, timeout=timeout
                )
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await connecting).close()
            del connecting
        gc.collect()
    server.stop()
    # A client's socket has the server's port on its other side.
    assert not [w for w in warned if f"raddr=('127.0.0.1', {port})" in str(w.message)]
    assert "Future was cancelled" not in caplog.text


@on_loop
async def test_connection_is_closed_when_the_options_of_tls_are_wrong() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(ValueError, match="unknown ssl_options") as caught:
            await TCPClient().connect(
                *listener.getsockname(), ssl_options={"certificate": "x"}
            )
        peer, _ = listener.accept()
        peer.settimeout(60)
        assert peer.recv(1) == b""
        peer.close()
    assert caught.traceback  # which holds what it went through


@on_loop
async def test_resolver_whose_address_is_none_is_passed_over() -> None:
    server, port = serve()
    holder, refused = dead_port()
    found = [(V4, refused), (V4, "no address"), (V4, ("127.0.0.1", port))]
    stream = await TCPClient(Names(found)).connect("any.test", port, timeout=1000)
    assert b"127.0.0.1" in await stream.read_until_close()
    with pytest.raises(TypeError):
        await TCPClient(Names(found[1:2])).connect("any.test", port)
    holder.close()
    server.stop()
