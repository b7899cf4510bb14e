"""TLS streams: handshakes, certificates, and bytes that sit inside TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import os
import shutil
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streams import on_loop, reset, tcp_pair, tcp_sockets

import pyfastloop
from pyfastloop.iostream import IOStream, SSLIOStream, StreamClosedError
from pyfastloop.netutil import bind_sockets
from pyfastloop.tcpclient import TCPClient
from pyfastloop.tcpserver import TCPServer

HERE = Path(pyfastloop.__file__).parent
CERT, KEY = str(HERE / "testing_cert.pem"), str(HERE / "testing_key.pem")
MEGA = 1024 * 1024


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT, KEY)
    return context


def client_context() -> ssl.SSLContext:
    """Trusts the test certificate, which is for localhost, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERT)
    return context


async def tls_pair(
    client: ssl.SSLContext | None = None, server: ssl.SSLContext | None = None
) -> tuple[SSLIOStream, SSLIOStream]:
    """Client and server, turned into TLS streams from plain ones."""
    left, right = tcp_pair()
    a, b = await asyncio.gather(
        left.start_tls(False, client or client_context(), server_hostname="localhost"),
        right.start_tls(True, server or server_context()),
    )
    return a, b


@on_loop
async def test_start_tls_both_ways() -> None:
    left, right = tcp_pair()
    left.write(b"STARTTLS\n")
    assert await right.read_until(b"\n") == b"STARTTLS\n"
    await right.write(b"go\n")
    assert await left.read_until(b"\n") == b"go\n"
    a, b = await asyncio.gather(
        left.start_tls(False, client_context(), server_hostname="localhost"),
        right.start_tls(True, {"certfile": CERT, "keyfile": KEY}),
    )
    assert isinstance(a, SSLIOStream) and left.closed() and right.closed()
    a.write(b"secret\n")
    assert await b.read_until(b"\n") == b"secret\n"
    await b.write(b"answer")
    b.close()
    assert await a.read_until_close() == b"answer"
    assert a.error is None


@on_loop
async def test_a_server_takes_up_a_renewed_certificate(tmp_path: Path) -> None:
    class Greeting(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            contexts.append(stream.socket.context)  # type: ignore[union-attr]
            await stream.write(b"hello")
            stream.close()

    async def greet() -> bytes:
        client = await TCPClient().connect("127.0.0.1", port, ssl_options=anybody)
        return await client.read_until_close()

    contexts: list[ssl.SSLContext] = []
    anybody = ssl._create_unverified_context()
    both = tmp_path / "both.pem"
    both.write_bytes(Path(CERT).read_bytes() + Path(KEY).read_bytes())
    options = {"certfile": str(both)}
    server = Greeting(ssl_options=options)
    (sock,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(sock)
    port = sock.getsockname()[1]
    assert [await greet(), await greet()] == [b"hello"] * 2
    assert contexts[0] is contexts[1]
    renewed = tmp_path / "renewed.pem"
    renewed.write_bytes(both.read_bytes())
    renewed.replace(both)
    assert [await greet(), await greet()] == [b"hello"] * 2
    assert contexts[1] is not contexts[2] and contexts[2] is contexts[3]
    options["ciphers"] = "ECDHE+AESGCM"
    assert await greet() == b"hello"
    assert contexts[4] is not contexts[3]
    server.stop()


@on_loop
async def test_start_tls_of_a_busy_stream_is_refused() -> None:
    left, right = tcp_pair()
    read = left.read_bytes(1)
    with pytest.raises(ValueError, match="not idle"):
        left.start_tls(False)
    right.write(b"ab")
    assert await read == b"a"
    with pytest.raises(ValueError, match="not idle"):
        left.start_tls(False)
    assert await left.read_bytes(1) == b"b"


@on_loop
async def test_cancelled_start_tls_closes_the_socket() -> None:
    client, accepted = tcp_sockets()
    stream = IOStream(accepted)
    starting = stream.start_tls(True, server_context())
    await asyncio.sleep(0)
    starting.cancel()
    client.settimeout(30)
    assert await asyncio.to_thread(client.recv, 1) == b""
    client.close()


@on_loop
async def test_bulk_arrives_whole_in_both_directions() -> None:
    a, b = await tls_pair()
    data = os.urandom(4 * MEGA)
    sent = [a.write(data), b.write(data)]
    buf = bytearray(len(data))
    got, n = await asyncio.gather(b.read_bytes(len(data)), a.read_into(buf))
    assert n == len(data)
    want = hashlib.sha256(data).digest()
    assert hashlib.sha256(got).digest() == hashlib.sha256(buf).digest() == want
    await asyncio.gather(*sent)


@on_loop
async def test_bytes_that_sit_in_tls_are_found_while_the_socket_is_quiet() -> None:
    a, b = await tls_pair()
    # One record; read in small pieces with nothing more to come from the kernel.
    await a.write(b"0123456789" * 1000)
    for _ in range(1000):
        assert await b.read_bytes(10) == b"0123456789"
    # Many records, more than one round of reading takes, to a reader that pauses.
    pending = a.write(bytes(MEGA))
    assert await b.read_bytes(1) == b"\0"
    await asyncio.sleep(0)
    assert await b.read_bytes(MEGA - 1) == bytes(MEGA - 1)
    await pending


@on_loop
async def test_write_and_read_may_be_pending_before_the_handshake() -> None:
    left, right = tcp_sockets()
    server = server_context().wrap_socket(
        right, server_side=True, do_handshake_on_connect=False
    )
    client = client_context().wrap_socket(
        left, server_hostname="localhost", do_handshake_on_connect=False
    )
    a, b = SSLIOStream(client), SSLIOStream(server)
    assert a.reading()
    read = b.read_until(b"\n")
    done = a.write(b"early\n")
    assert await read == b"early\n"
    await done
    assert await a.wait_for_handshake() is a
    assert not a.reading()


@on_loop
async def test_connect_shakes_hands_and_sends_the_name() -> None:
    names: list[Any] = []
    context = server_context()
    context.sni_callback = lambda sock, name, ctx: names.append(name)
    server = TCPServer(ssl_options=context)
    seen: asyncio.Queue[SSLIOStream] = asyncio.Queue()
    server.handle_stream = (  # type: ignore[method-assign]
        lambda stream, address: seen.put_nowait(stream)
    )
    (sock,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(sock)
    client = SSLIOStream(socket.socket(), ssl_options=client_context())
    connected = client.connect(sock.getsockname(), server_hostname="localhost")
    assert await connected is client
    accepted = await seen.get()
    await accepted.wait_for_handshake()
    assert names == ["localhost"]
    assert client.socket.version().startswith("TLS")
    client.write(b"x\n")
    assert await accepted.read_until(b"\n") == b"x\n"
    client.close()
    server.stop()


@on_loop
async def test_connect_refused_tells_the_system_error() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        client = SSLIOStream(socket.socket(), ssl_options=client_context())
        with pytest.raises(ConnectionRefusedError):
            await client.connect(holder.getsockname(), server_hostname="localhost")
    assert client.closed()


@pytest.mark.parametrize("name", ["wrong.test", "localhost"])
def test_bad_certificate_is_told_and_logged_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    context = client_context() if name == "wrong.test" else ssl.create_default_context()

    @on_loop
    async def main() -> None:
        left, right = tcp_pair()
        starting = [
            left.start_tls(False, context, server_hostname=name),
            right.start_tls(True, server_context()),
        ]
        ours, theirs = await asyncio.gather(*starting, return_exceptions=True)
        assert isinstance(ours, ssl.SSLCertVerificationError)
        # With TLS 1.3 the server's side is done before it hears of it.
        if isinstance(theirs, SSLIOStream):
            with pytest.raises(StreamClosedError):
                await theirs.read_bytes(1)
            theirs.close()

    main()
    gc.collect()
    about = [r for r in caplog.records if "certificate verify failed" in r.getMessage()]
    assert len(about) == 1 and about[0].levelno == logging.WARNING
    assert not [r for r in caplog.records if r.name == "asyncio"]


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.0\r\n\r\n"])
def test_peer_that_leaves_a_handshake_is_no_news_and_one_without_tls_is(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    where = []

    @on_loop
    async def main() -> None:
        peer, accepted = tcp_sockets()
        where.append(peer.getsockname())
        peer.send(sent)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ssl.SSLError):
            await IOStream(accepted).start_tls(True, server_context())
        peer.close()

    main()
    lines = [r.getMessage() for r in caplog.records if r.name == "tornado.general"]
    if not sent.startswith(b"GET"):
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith("SSL Error on ")
        assert f" {where[0]}: " in line and "http request" in line.lower()


@on_loop
async def test_wait_for_a_handshake_that_was_cancelled_may_be_repeated() -> None:
    here, there = tcp_sockets()
    there.setblocking(False)
    stream = SSLIOStream(
        server_context().wrap_socket(
            there, server_side=True, do_handshake_on_connect=False
        )
    )
    waiting = stream.wait_for_handshake()
    with pytest.raises(RuntimeError, match="Already waiting"):
        stream.wait_for_handshake()
    waiting.cancel()
    again = stream.wait_for_handshake()
    client = await IOStream(here).start_tls(
        False, client_context(), server_hostname="localhost"
    )
    assert await again is stream
    client.close()
    stream.close()


@on_loop
async def test_client_certificate_is_asked_for_and_seen() -> None:
    strict = server_context()
    strict.verify_mode = ssl.CERT_REQUIRED
    strict.load_verify_locations(CERT)
    showing = client_context()
    showing.load_cert_chain(CERT, KEY)
    a, b = await tls_pair(showing, strict)
    a.write(b"x")
    assert await b.read_bytes(1) == b"x"
    subject = dict(pair[0] for pair in b.socket.getpeercert()["subject"])
    assert subject["commonName"] == "localhost"
    a.close()


@on_loop
async def test_missing_client_certificate_ends_the_connection() -> None:
    strict = server_context()
    strict.verify_mode = ssl.CERT_REQUIRED
    strict.load_verify_locations(CERT)
    with pytest.raises((ssl.SSLError, StreamClosedError)):
        a, _b = await tls_pair(client_context(), strict)
        await a.read_bytes(1)


@on_loop
async def test_session_is_resumed() -> None:
    context, trusted = server_context(), client_context()
    server = TCPServer(ssl_options=context)

    async def handle(stream: SSLIOStream, address: Any) -> None:
        await stream.write(b"x")

    server.handle_stream = handle  # type: ignore[assignment,method-assign]
    (sock,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(sock)
    session = None
    for reused in (False, True):
        plain = socket.create_connection(sock.getsockname())
        wrapped = trusted.wrap_socket(
            plain,
            server_hostname="localhost",
            do_handshake_on_connect=False,
            session=session,
        )
        stream = SSLIOStream(wrapped)
        # The ticket of TLS 1.3 comes with the first data.
        assert await stream.read_bytes(1) == b"x"
        assert wrapped.session_reused is reused
        session = wrapped.session
        stream.close()
    server.stop()


@on_loop
async def test_renegotiation_is_refused() -> None:
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    from pyfastloop.netutil import ssl_options_to_context

    made = ssl_options_to_context({"certfile": CERT, "keyfile": KEY}, server_side=True)
    assert made.options & ssl.OP_NO_RENEGOTIATION
    a, b = await tls_pair(server=context)
    assert a.socket.version() == "TLSv1.2"
    a.write(b"x")
    assert await b.read_bytes(1) == b"x"


@on_loop
async def test_peer_that_speaks_no_tls_fails_the_handshake() -> None:
    client, accepted = tcp_sockets()
    stream = IOStream(accepted)
    client.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 1000)
    with pytest.raises(ssl.SSLError):
        await stream.start_tls(True, server_context())
    client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_peer_that_leaves_during_the_handshake(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    @on_loop
    async def main() -> None:
        client, accepted = tcp_sockets()
        starting = IOStream(accepted).start_tls(True, server_context())
        await asyncio.sleep(0)
        if how == "reset":
            client.send(b"\x16")
            reset(client)
        else:
            client.close()
        with pytest.raises(OSError):
            await starting

    main()


@on_loop
async def test_slow_handshake_holds_nobody_up() -> None:
    server = TCPServer(ssl_options=server_context())

    async def handle(stream: SSLIOStream, address: Any) -> None:
        await stream.write(b"served")
        stream.close()

    server.handle_stream = handle  # type: ignore[assignment,method-assign]
    (sock,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(sock)
    silent = [socket.create_connection(sock.getsockname()) for _ in range(5)]
    stream = await TCPClient().connect(
        "127.0.0.1", sock.getsockname()[1], ssl_options=client_context()
    )
    assert await stream.read_until_close() == b"served"
    for one in silent:
        one.close()
    server.stop()


def hello_sent(sock: socket.socket) -> ssl.SSLObject:
    """The client of a handshake whose first bytes are on their way."""
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(received, to_send, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    sock.sendall(to_send.read())
    return client


@pytest.mark.parametrize("kind", ["stream", "transport"])
@on_loop
async def test_many_handshakes_at_once_let_others_go_first(kind: str) -> None:
    """What comes during the first of 64 is not answered behind all of them."""
    begun = 0
    context = server_context()
    peer, ours = socket.socketpair()
    plain = IOStream(ours)
    answered = plain.read_bytes(1)

    def begin(*_: object) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            peer.send(b"x")

    context.sni_callback = begin
    pairs = [tcp_sockets() for _ in range(64)]
    for here, there in pairs:
        hello_sent(here)
        there.setblocking(False)
    served: list[Any] = []
    for _, there in pairs:
        if kind == "stream":
            sock = context.wrap_socket(
                there, server_side=True, do_handshake_on_connect=False
            )
            served.append(SSLIOStream(sock))
        else:
            loop = asyncio.get_running_loop()
            starting = loop.connect_accepted_socket(
                asyncio.Protocol, there, ssl=context
            )
            served.append(asyncio.ensure_future(starting))
    await answered
    assert 0 < begun < 32
    while begun < 64:
        await asyncio.sleep(0)
    for here, _ in pairs:
        here.close()
    if kind == "transport":
        await asyncio.gather(*served, return_exceptions=True)
    for one in served:
        if kind == "stream":
            one.close()
    plain.close()
    peer.close()


@on_loop
async def test_many_handshakes_at_once_all_come_to_their_end() -> None:
    server = TCPServer(ssl_options=server_context())

    async def handle(stream: SSLIOStream, address: Any) -> None:
        with contextlib.suppress(StreamClosedError):
            await stream.write(await stream.read_until(b"."))
        stream.close()

    server.handle_stream = handle  # type: ignore[assignment,method-assign]
    (sock,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(sock)
    port = sock.getsockname()[1]

    async def ask(number: int) -> bytes:
        stream = await TCPClient().connect(
            "127.0.0.1", port, ssl_options=trusting_context
        )
        await stream.write(b"%d." % number)
        return await stream.read_until_close()

    async def leave(number: int) -> bytes:
        stream = IOStream(socket.socket())
        await stream.connect(("127.0.0.1", port))
        if number % 2:
            await stream.write(b"\x16\x03\x01")
        stream.close()
        return b"%d." % number

    trusting_context = client_context()
    trusting_context.check_hostname = False
    got = await asyncio.gather(*((leave if i % 3 else ask)(i) for i in range(90)))
    assert got == [b"%d." % i for i in range(90)]
    server.stop()


@on_loop
async def test_subclass_of_ssl_stream_that_overrides_reading_is_asked() -> None:
    calls: list[str] = []

    class Watched(SSLIOStream):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            calls.append("read")
            return super().read_from_fd(buf)

        def write_to_fd(self, data: memoryview) -> int:
            calls.append("write")
            return super().write_to_fd(data)

    left, right = tcp_sockets()
    a = Watched(
        client_context().wrap_socket(
            left, server_hostname="localhost", do_handshake_on_connect=False
        )
    )
    starting = IOStream(right).start_tls(True, server_context())
    b = await starting
    a.write(b"hello\n")
    assert await b.read_until(b"\n") == b"hello\n"
    await b.write(b"back\n")
    assert await a.read_until(b"\n") == b"back\n"
    assert {"read", "write"} <= set(calls)


@on_loop
async def test_subclass_finds_what_sits_in_tls_while_the_socket_is_quiet() -> None:
    class Watched(SSLIOStream):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            return super().read_from_fd(buf)

    left, right = tcp_sockets()
    a = Watched(
        client_context().wrap_socket(
            left, server_hostname="localhost", do_handshake_on_connect=False
        ),
        read_chunk_size=1000,
    )
    b = await IOStream(right).start_tls(True, server_context())
    b.write(b"0123456789" * 1600)
    assert await a.read_bytes(16_000) == b"0123456789" * 1600


@on_loop
async def test_closed_connection_ends_cleanly_by_close_notify() -> None:
    a, b = await tls_pair()
    a.write(b"bye")
    a.close()
    assert await b.read_until_close() == b"bye"
    assert b.error is None


# PYFASTLOOP_TEST_BYTES makes the echo by hash larger: 1 GiB is 1073741824.
ECHO_BYTES = int(os.environ.get("PYFASTLOOP_TEST_BYTES", 64 * MEGA))


@on_loop
async def test_echo_of_random_bytes_by_hash() -> None:
    a, b = await tls_pair()
    block = os.urandom(3 * MEGA)
    sent, got = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        left = ECHO_BYTES
        while left:
            at = left % 65521
            piece = block[at : at + min(left, MEGA + at)]
            sent.update(piece)
            left -= len(piece)
            await a.write(piece)

    async def echo() -> None:
        left = ECHO_BYTES
        while left:
            piece = await b.read_bytes(min(left, 200_003), partial=left % 2 == 0)
            left -= len(piece)
            await b.write(piece)

    async def receive() -> None:
        left = ECHO_BYTES
        memory = bytearray(MEGA)
        while left:
            n = await a.read_into(memory, partial=True)
            n = min(n, left)
            got.update(memoryview(memory)[:n])
            left -= n

    await asyncio.gather(send(), echo(), receive())
    assert sent.digest() == got.digest()


@pytest.mark.parametrize("what", ["close", "write", "both"])
def test_callback_inside_tls_may_close_or_write(what: str) -> None:
    """The context's own callback comes back to the stream in the middle of a send."""

    @on_loop
    async def main() -> None:
        context = client_context()
        streams: list[SSLIOStream] = []
        calls = 0

        def on_message(*args: Any) -> None:
            nonlocal calls
            if not streams or args[1] != "write":
                return
            calls += 1
            stream = streams.pop()
            if what != "close":
                stream.write(b"inside")
            if what != "write":
                stream.close()

        context._msg_callback = on_message  # type: ignore[attr-defined]
        a, b = await tls_pair(client=context)
        a.write(b"before\n")
        assert await b.read_until(b"\n") == b"before\n"
        streams.append(a)
        pieces = [bytes([65 + i]) * 3000 for i in range(20)] + [b"Z" * 100_000]
        sent = []
        try:
            for piece in pieces:
                sent.append(a.write(piece))
        except StreamClosedError:
            assert what != "write"
        if what == "write":
            expected = b"".join(pieces)
            total = len(expected) + len(b"inside")
            got = await b.read_bytes(total)
            assert got.replace(b"inside", b"") == expected
            await asyncio.gather(*sent)
        else:
            assert a.closed()
            await asyncio.gather(*sent, return_exceptions=True)
        assert calls == 1

    main()


@on_loop
async def test_handshake_byte_by_byte() -> None:
    client, accepted = tcp_sockets()
    stream = IOStream(accepted)
    starting = stream.start_tls(True, server_context())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                await loop.sock_sendall(client, bytes([byte]))
                await asyncio.sleep(0)
            incoming.write(await loop.sock_recv(client, 65536))
    tls.write(b"hello\n")
    for byte in outgoing.read():
        await loop.sock_sendall(client, bytes([byte]))
        await asyncio.sleep(0)
    served = await starting
    assert await served.read_until(b"\n") == b"hello\n"
    served.close()
    client.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
def test_renegotiation_that_a_client_asks_for_is_refused() -> None:
    @on_loop
    async def main() -> None:
        context = server_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        server = TCPServer(ssl_options=context)

        async def handle(stream: SSLIOStream, address: Any) -> None:
            with contextlib.suppress(StreamClosedError):
                while True:
                    await stream.write(await stream.read_until(b"\n"))

        server.handle_stream = handle  # type: ignore[assignment,method-assign]
        (sock,) = bind_sockets(0, "127.0.0.1")
        server.add_socket(sock)
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-tls1_2", "-connect"),
            f"127.0.0.1:{sock.getsockname()[1]}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello to you\n")
        said = b""
        while b"hello to you" not in said:
            piece = await process.stdout.read(65536)
            assert piece, said
            said += piece
        process.stdin.write(b"R\n")
        said = await process.stdout.read()
        await process.wait()
        assert b"RENEGOTIATING" in said
        assert b"no renegotiation" in said
        server.stop()

    main()


@on_loop
async def test_many_small_writes_in_one_go_arrive_in_order() -> None:
    a, b = await tls_pair()
    # More than the kernel takes, so that the rest goes by way of the queue.
    pieces = [b"%08d" % i * (1 + i % 700) for i in range(3000)]
    done = [a.write(piece) for piece in pieces]
    assert await b.read_bytes(sum(map(len, pieces))) == b"".join(pieces)
    await asyncio.gather(*done)


class Visited(ssl.SSLSocket):
    """Its read() runs what a test has left for it, before and after reading."""

    visits: list[Callable[[], None]]

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        visits = self.__dict__.setdefault("visits", [])
        if visits:
            visits.pop(0)()
        try:
            return super().read(len, buffer)
        finally:
            if visits:
                visits.pop(0)()


class Keeping(ssl.SSLSocket):
    """It keeps what it is given."""

    kept: list[Any]

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        self.__dict__.setdefault("kept", []).append(buffer)
        return super().read(len, buffer)

    def write(self, data: Any) -> int:
        self.__dict__.setdefault("kept", []).append(data)
        return super().write(data)


def test_memory_that_a_socket_keeps_is_its_own_or_is_released() -> None:
    pieces = [b"1", b"2" * 5000, b"3" * 100_000, b"4" * 9]
    written: list[Any] = []
    read: list[Any] = []

    @on_loop
    async def main() -> None:
        contexts = client_context(), server_context()
        for context in contexts:
            context.sslsocket_class = Keeping
        a, b = await tls_pair(*contexts)
        landing = bytearray(70_000)
        for piece in pieces:
            await a.write(piece)
            assert await b.read_bytes(len(piece)) == piece
            await a.write(bytearray(piece))
            assert await b.read_bytes(len(piece)) == piece
        a.write(os.urandom(70_000))
        assert await b.read_into(landing) == 70_000
        assert isinstance(a.socket, Keeping) and isinstance(b.socket, Keeping)
        written.extend(a.socket.kept)
        read.extend(b.socket.kept)

    main()
    views = read + [kept for kept in written if isinstance(kept, memoryview)]
    assert {kept for kept in written if isinstance(kept, bytes)} >= set(pieces)
    assert all(isinstance(kept, memoryview) for kept in read)
    for kept in views:
        with pytest.raises(ValueError, match="released"):
            bytes(kept)


async def visited_pair() -> tuple[SSLIOStream, SSLIOStream, list[Callable[[], None]]]:
    context = server_context()
    context.sslsocket_class = Visited
    a, b = await tls_pair(server=context)
    await a.write(b"hello")
    assert await b.read_bytes(5) == b"hello"
    assert isinstance(b.socket, Visited)
    return a, b, b.socket.visits


def nothing() -> None:
    pass


LARGE = os.urandom(300_000)


@pytest.mark.parametrize("into", [False, True], ids=["read_bytes", "read_into"])
@pytest.mark.parametrize("before", [0, 1, 2, 5])
@on_loop
async def test_read_cancelled_while_tls_reads_into_its_memory_loses_nothing(
    into: bool, before: int
) -> None:
    a, b, visits = await visited_pair()
    landing = bytearray(len(LARGE))
    read: Any = b.read_into(landing) if into else b.read_bytes(len(LARGE))
    visits += [nothing] * before + [read.cancel]
    sending = a.write(LARGE)
    while visits:
        await asyncio.sleep(0)
    assert read.cancelled()
    del landing[:]  # nobody holds it any more
    assert await b.read_bytes(1000) == LARGE[:1000]
    assert await b.read_bytes(len(LARGE) - 1000) == LARGE[1000:]
    await sending


@pytest.mark.parametrize("before", [0, 1, 2, 5])
@on_loop
async def test_read_that_takes_the_place_of_another_while_tls_reads_gets_every_byte(
    before: int,
) -> None:
    a, b, visits = await visited_pair()
    first = b.read_into(bytearray(len(LARGE)))
    later: list[Any] = []

    def replace() -> None:
        first.cancel()
        later.append(b.read_bytes(len(LARGE)))

    visits += [nothing] * before + [replace]
    sending = a.write(LARGE)
    while not later:
        await asyncio.sleep(0)
    assert await later[0] == LARGE
    await sending


@on_loop
async def test_shorter_read_into_the_memory_of_another_is_not_overfilled() -> None:
    a, b, visits = await visited_pair()
    landing = bytearray(100)
    first = b.read_into(landing)
    later: list[Any] = []

    def replace() -> None:
        first.cancel()
        later.append(b.read_into(memoryview(landing)[:3]))

    visits += [nothing, replace]
    await a.write(b"0123456789")
    while not later:
        await asyncio.sleep(0)
    assert await later[0] == 3 and landing[:3] == b"012"
    assert await b.read_bytes(7) == b"3456789"


class Lent:
    """Memory that an object of Python lends (since CPython 3.12)."""

    def __init__(self, n: int) -> None:
        self.memory = bytearray(n)

    def __buffer__(self, flags: int, /) -> memoryview:
        return memoryview(self.memory)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs CPython 3.12")
@on_loop
async def test_read_into_memory_that_an_object_of_python_lends() -> None:
    a, b = await tls_pair()
    landing = Lent(len(LARGE))
    sending = a.write(LARGE)
    read: Any = b.read_into(landing)  # type: ignore[arg-type, unused-ignore]
    assert await read == len(LARGE) and landing.memory == LARGE
    await sending


@pytest.mark.parametrize("kind", ["bytes", "into", "close"])
@pytest.mark.parametrize("before", [0, 1, 2, 5])
@on_loop
async def test_stream_may_be_closed_while_tls_reads_into_memory_of_a_read(
    kind: str, before: int
) -> None:
    a, b, visits = await visited_pair()
    landing = bytearray(len(LARGE))
    read: Any
    if kind == "close":
        read = b.read_until_close()
    else:
        read = b.read_into(landing) if kind == "into" else b.read_bytes(len(LARGE))
    visits += [nothing] * before + [b.close]
    sending = a.write(LARGE)
    if kind == "close":
        assert LARGE.startswith(await read)
    else:
        with pytest.raises(StreamClosedError):
            await read
    assert b.closed()
    del landing[:]
    a.close()
    with contextlib.suppress(StreamClosedError):
        await sending


@on_loop
async def test_records_of_every_length_around_the_largest_arrive_at_once() -> None:
    """A record that filled its memory or left a rest there is not waited for."""
    a, b = await tls_pair()
    for size in (16_383, 16_384, 16_385, 32_767, 32_768, 32_769, 49_152, 65_536):
        data = os.urandom(size).replace(b"\r", b"r")
        await a.write(data)
        assert await b.read_bytes(size) == data
        await a.write(data)
        landing = bytearray(size - 1)
        assert await b.read_into(landing) == size - 1
        assert landing + await b.read_bytes(1) == data
        await a.write(data + b"\r\n")
        assert await b.read_until(b"\r\n") == data + b"\r\n"
