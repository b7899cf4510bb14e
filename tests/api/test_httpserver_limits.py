"""HTTPServer's bounds: each with a small setting and what a peer then sees.

Time is never measured: a test sets a small limit and waits for what it brings about.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pytest import LogCaptureFixture
from raw_http import longer_and_longer

import pyfastloop
from pyfastloop import web
from pyfastloop.escape import json_decode
from pyfastloop.httpserver import HTTPServer
from pyfastloop.netutil import bind_sockets

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SECONDS = 60
SHORT = 0.05


def run(main: Callable[[], Any]) -> Any:
    return pyfastloop.run(asyncio.wait_for(main(), SECONDS))


class Echo(web.RequestHandler):
    def get(self) -> None:
        self.write("ok")

    def post(self) -> None:
        self.write(self.request.body)


def application(**settings: Any) -> web.Application:
    return web.Application([("/", Echo)], **settings)


@contextlib.asynccontextmanager
async def serving(callback: Any, **settings: Any) -> AsyncIterator[int]:
    """A server on a port of its own; gives the port."""
    server = HTTPServer(callback, **settings)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield sockets[0].getsockname()[1]
    finally:
        server.stop()
        await server.close_all_connections()


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
    answer = await reader.read()
    writer.close()
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize(
    ("settings", "sent", "expected"),
    [
        ({"max_header_size": 100}, HEAD + b"X: " + b"y" * 100, 431),
        ({"max_header_size": 100}, b"GET /" + b"y" * 100, 414),
        ({"max_header_lines": 2}, HEAD + b"A: b\r\nC: d\r\n\r\n", 431),
        ({"max_body_size": 3}, POST + b"Content-Length: 4\r\n\r\n", 413),
        ({"max_body_size": 3}, CHUNKED + b"4\r\na", 413),
        ({"max_body_size": 3}, CHUNKED + b"2\r\nab\r\n2\r\nc", 413),
        ({"max_buffer_size": 3}, POST + b"Content-Length: 4\r\n\r\n", 413),
        ({"max_chunk_line": 10}, CHUNKED + b"1;aaaaaaaaaa\r\na\r\n0\r\n\r\n", 400),
        (
            {"max_chunk_overhead": 20},
            CHUNKED + b"1;aaaaaaaaaaaaaaaaa\r\na\r\n" * 9 + b"0\r\n\r\n",
            400,
        ),
        ({"max_trailer_size": 10}, CHUNKED + b"0\r\nA: bbbbbbbb\r\n\r\n", 431),
        ({"max_trailer_lines": 1}, CHUNKED + b"0\r\nA: b\r\nC: d\r\n\r\n", 431),
        ({"first_timeout": SHORT}, b"", 0),
        ({"idle_connection_timeout": SHORT}, b"", 0),
        ({"idle_connection_timeout": SHORT}, b"\r\n", 0),
        ({"header_timeout": SHORT}, HEAD, 408),
        ({"body_timeout": SHORT}, POST + b"Content-Length: 4\r\n\r\nab", 408),
        ({"body_gap_timeout": SHORT}, POST + b"Content-Length: 4\r\n\r\nab", 408),
        ({"body_gap_timeout": SHORT}, CHUNKED + b"4\r\nab", 408),
        (
            {"body_gap_timeout": None, "rate_grace": SHORT, "min_body_rate": 10**9},
            POST + b"Content-Length: 4\r\n\r\nab",
            408,
        ),
    ],
    ids=str,
)
def test_past_a_bound(settings: dict[str, Any], sent: bytes, expected: int) -> None:
    async def main() -> bytes:
        async with serving(application(), **settings) as port:
            return await talk(port, sent)

    answer = run(main)
    assert status(answer) == expected
    if answer:
        assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"max_header_lines": 3}, HEAD + b"A: b\r\nConnection: close\r\n\r\n"),
        (
            {"max_header_size": 512 * 1024},
            HEAD + b"A: b\r\n" * 300 + b"Connection: close\r\n\r\n",
        ),
        (
            {"max_chunk_line": 300},
            CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            + b"1;"
            + b"a" * 290
            + b"\r\na\r\n0\r\n\r\n",
        ),
    ],
    ids=["lines", "size", "chunk line"],
)
def test_within_a_bound_that_was_moved(settings: dict[str, Any], sent: bytes) -> None:
    async def main() -> bytes:
        async with serving(application(), **settings) as port:
            return await talk(port, sent)

    assert status(run(main)) == 200


def test_the_bounds_that_hold_unasked() -> None:
    async def main() -> dict[str, Any]:
        params = HTTPServer(application()).conn_params
        names = [name for name in dir(params) if not name.startswith("_")]
        return {name: getattr(params, name) for name in names}

    assert run(main) == {
        "no_keep_alive": False,
        "decompress": False,
        "keep_chunk_extensions": False,
        "chunk_size": 65536,
        "max_header_size": 65536,
        "max_header_lines": None,  # 256
        "max_body_size": None,  # max_buffer_size: 100 MiB
        "max_chunk_line": 256,
        "max_chunk_overhead": 16384,
        "max_trailer_size": 8192,
        "max_trailer_lines": 32,
        "max_inflate_ratio": 200,
        "max_gzip_members": 16,
        "first_timeout": 15.0,
        "header_timeout": 15.0,
        "idle_timeout": 75.0,
        "body_timeout": None,
        "body_gap_timeout": 30.0,
        "min_body_rate": 240,
        "rate_grace": 15.0,
        "write_timeout": 60.0,
        "half_closed_timeout": 30.0,
        "linger_timeout": 5.0,
        "write_high_mark": 262144,
        "write_low_mark": 65536,
    }


class RoutedInPython(web.Application):
    def find_handler(self, request: Any, **kwargs: Any) -> Any:
        return super().find_handler(request, **kwargs)


@pytest.mark.parametrize("kind", [web.Application, RoutedInPython])
@pytest.mark.parametrize("count", [1, 2, 100])
@pytest.mark.parametrize("end", [b"\r\n", b""], ids=["between", "within"])
def test_idle_connection_timeout_bounds_the_silence_of_requests(
    end: bytes, count: int, kind: Any
) -> None:
    before = (HEAD + b"\r\n") * (count - 1)

    async def main() -> bytes:
        for seconds in longer_and_longer(SHORT):
            settings = {"idle_connection_timeout": seconds}
            async with serving(kind([("/", Echo)]), **settings) as port:
                # On a slow machine there may be silence before the request, too.
                with contextlib.suppress(ConnectionResetError):
                    if answer := await talk(port, before + HEAD + end):
                        break
        return answer

    answer = run(main)
    assert answer.count(b"\r\n\r\nok") == (count if end else count - 1)
    if not end:
        assert answer.count(b"HTTP/1.1 408 ") == 1
        assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("kind", [web.Application, RoutedInPython])
def test_a_handler_may_be_silent_between_two_pieces(kind: Any) -> None:
    """The time for a peer to read does not run once it has read everything."""

    class Events(web.RequestHandler):
        async def get(self) -> None:
            for _ in range(2):
                self.write("piece")
                await self.flush()
                await asyncio.sleep(4 * SHORT)
            self.write("end")

    async def main() -> bytes:
        async with serving(kind([("/", Events)]), write_timeout=SHORT) as port:
            return await talk(port, HEAD + b"Connection: close\r\n\r\n")

    assert run(main).endswith(b"\r\nend\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "callback",
    [application(), RoutedInPython([("/", Echo)]), lambda request: None],
    ids=["in C", "in Python", "function"],
)
def test_the_least_rate_holds_whoever_collects_the_body(callback: Any) -> None:
    async def main() -> bytes:
        settings: dict[str, Any] = {
            "body_gap_timeout": None,
            "rate_grace": SHORT,
            "min_body_rate": 10**9,
        }
        async with serving(callback, **settings) as port:
            return await talk(port, POST + b"Content-Length: 4\r\n\r\nab")

    assert status(run(main)) == 408


def test_the_least_rate_spares_streamed_bodies() -> None:
    @web.stream_request_body
    class Stream(web.RequestHandler):
        def prepare(self) -> None:
            self.got = b""

        def data_received(self, chunk: bytes) -> None:
            self.got += chunk

        def post(self) -> None:
            self.write(self.got)

    async def main() -> bytes:
        app = web.Application([("/", Stream)])
        settings = {"rate_grace": 0.01, "min_body_rate": 10**9}
        async with serving(app, **settings) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST + b"Content-Length: 4\r\n\r\nab")
            # Several looks at the rate would have been taken by then.
            _, idle = await asyncio.open_connection("127.0.0.1", port)
            idle.close()
            await asyncio.sleep(0.1)
            writer.write(b"cd")
            answer = await reader.readuntil(b"abcd")
            writer.close()
            return answer

    assert status(run(main)) == 200


def small_buffers(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


def test_a_peer_that_stops_reading() -> None:
    closed = asyncio.Event()

    class Large(web.RequestHandler):
        async def get(self) -> None:
            self.set_header("Content-Length", str(1 << 30))
            try:
                while True:
                    self.write(bytes(1 << 20))
                    await self.flush()
            finally:
                closed.set()

    async def main() -> None:
        app = web.Application([("/", Large)])
        async with serving(app, write_timeout=SHORT) as port:
            with small_buffers(port) as peer:
                peer.send(HEAD + b"\r\n")
                await closed.wait()

    run(main)


def test_a_peer_that_reads_no_answer_is_not_read() -> None:
    """One that sends request after request and takes nothing: marks bound the queue."""
    handled = 0

    class Large(web.RequestHandler):
        def get(self) -> None:
            nonlocal handled
            handled += 1
            self.write(bytes(1 << 20))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        app = web.Application([("/", Large)])
        async with serving(app, write_high_mark=1 << 18) as port:
            with small_buffers(port) as peer:
                # Far more answers than kernel and mark can hold.
                await loop.sock_sendall(peer, (HEAD + b"\r\n") * 60)
                # Another client's hundred requests: the first had every chance.
                for _ in range(100):
                    await talk(port, HEAD + b"Connection: close\r\n\r\n")
                first = handled - 100
                assert 1 <= first < 20, first
                received = 0
                while received < 60 << 20:
                    received += len(await loop.sock_recv(peer, 1 << 20))
        assert handled == 160

    run(main)


# ---- the peer's FIN ----


class Slow(web.RequestHandler):
    def initialize(
        self, gate: asyncio.Event, told: asyncio.Event, size: int = 2
    ) -> None:
        self.gate, self.told, self.size = gate, told, size

    async def get(self) -> None:
        await self.gate.wait()
        self.finish(b"x" * self.size)

    def on_connection_close(self) -> None:
        self.told.set()


@pytest.mark.parametrize("size", [2, 8 << 20])
def test_a_fin_is_told_at_once_and_the_answer_still_sent(size: int) -> None:
    async def main() -> bytes:
        gate, told = asyncio.Event(), asyncio.Event()
        app = web.Application([("/", Slow, {"gate": gate, "told": told, "size": size})])
        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"\r\n")
            writer.write_eof()
            await told.wait()
            gate.set()
            answer = await reader.read()
            writer.close()
            return answer

    answer = run(main)
    assert status(answer) == 200
    assert answer.endswith(b"\r\n\r\n" + b"x" * size)


def test_a_fin_and_no_answer_in_time() -> None:
    async def main() -> bytes:
        gate, told = asyncio.Event(), asyncio.Event()
        app = web.Application([("/", Slow, {"gate": gate, "told": told})])
        async with serving(app, half_closed_timeout=SHORT) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"\r\n")
            writer.write_eof()
            answer = await reader.read()
            gate.set()
            writer.close()
            return answer

    assert run(main) == b""


def test_a_fin_behind_pipelined_requests() -> None:
    async def main() -> bytes:
        async with serving(application()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((HEAD + b"\r\n") * 3)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

    assert run(main).count(b"HTTP/1.1 200 OK") == 3


def test_a_fin_behind_more_pipelined_requests_than_one_turn_answers() -> None:
    async def main() -> bytes:
        async with serving(application()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((HEAD + b"\r\n") * 300)
            writer.write_eof()
            answer = await reader.read()
            writer.close()
            return answer

    assert run(main).count(b"HTTP/1.1 200 OK") == 300


def test_an_error_is_seen_by_a_peer_that_is_still_sending() -> None:
    """A close with unread input would be a reset, and the answer lost."""

    async def main() -> bytes:
        async with serving(application(), max_body_size=10) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST + b"Content-Length: 8388608\r\n\r\n")
            writer.write(bytes(8 << 20))
            await writer.drain()
            answer = await reader.read()
            writer.close()
            return answer

    assert status(run(main)) == 413


def test_a_refused_peer_does_not_send_for_ever() -> None:
    async def main() -> None:
        async with serving(
            application(), max_body_size=10, linger_timeout=SHORT
        ) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POST + b"Content-Length: 8388608\r\n\r\n")
            with pytest.raises(OSError):
                while True:
                    writer.write(bytes(1 << 16))
                    await writer.drain()

    run(main)


# ---- decompress_request ----


def zipped(body: bytes, port_settings: dict[str, Any]) -> bytes:
    async def main() -> bytes:
        async with serving(
            application(), decompress_request=True, **port_settings
        ) as port:
            return await talk(
                port,
                POST
                + b"Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: "
                + str(len(body)).encode()
                + b"\r\n\r\n"
                + body,
            )

    answer: bytes = run(main)
    return answer


def test_a_body_is_inflated() -> None:
    assert zipped(gzip.compress(b"abc" * 100), {}).endswith(b"abc" * 100)


@pytest.mark.parametrize(
    ("body", "settings", "expected"),
    [
        (gzip.compress(bytes(101)), {"max_body_size": 100}, 413),
        (gzip.compress(bytes(4 << 20)), {}, 413),
        (gzip.compress(bytes(4 << 20)), {"max_inflate_ratio": None}, 200),
        (gzip.compress(bytes(1 << 20)), {"max_inflate_ratio": 2}, 200),
        (gzip.compress(b"a") * 16, {}, 200),
        (gzip.compress(b"a") * 17, {}, 400),
        (gzip.compress(b"a") * 3, {"max_gzip_members": 2}, 400),
        (gzip.compress(b"abc")[:-3], {}, 400),
        (b"no gzip", {}, 400),
    ],
    ids=["result", "ratio", "any ratio", "small", "16", "17", "3", "cut", "none"],
)
def test_bounds_of_inflating(
    body: bytes, settings: dict[str, Any], expected: int
) -> None:
    assert status(zipped(body, settings)) == expected


# ---- how many connections ----


def test_more_connections_than_allowed_wait() -> None:
    async def main() -> None:
        async with serving(application(), max_connections=2) as port:
            peers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
            for _, writer in peers:
                writer.write(HEAD + b"\r\n")
            for reader, _ in peers[:2]:
                assert await reader.readuntil(b"ok")
            third = asyncio.ensure_future(peers[2][0].readuntil(b"ok"))
            for _ in range(100):  # turns in which nobody is let in
                await asyncio.sleep(0)
            assert not third.done()
            peers[0][1].close()
            assert await third
            peers[1][1].close()
            assert await peers[3][0].readuntil(b"ok")
            for _, writer in peers:
                writer.close()

    run(main)


def test_more_connections_than_allowed_are_told_when_to_come_again() -> None:
    async def main() -> None:
        async with serving(application(), max_connections=1, retry_after=7) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"\r\n")
            await reader.readuntil(b"ok")
            answer = await talk(port, HEAD + b"\r\n")
            assert status(answer) == 503
            assert b"\r\nRetry-After: 7\r\n" in answer
            writer.close()
            while True:  # let in again, once the close has arrived
                answer = await talk(port, HEAD + b"Connection: close\r\n\r\n")
                if status(answer) == 200:
                    break

    run(main)


def test_the_answer_to_one_connection_too_many_is_sent_over_tls_too() -> None:
    home = Path(pyfastloop.__file__).parent
    serving_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving_tls.load_cert_chain(home / "testing_cert.pem", home / "testing_key.pem")
    trusting = ssl.create_default_context(cafile=str(home / "testing_cert.pem"))
    trusting.check_hostname = False

    async def main() -> None:
        async with serving(
            application(), max_connections=1, retry_after=7, ssl_options=serving_tls
        ) as port:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting
            )
            writer.write(HEAD + b"\r\n")
            await reader.readuntil(b"ok")
            # One that never begins its handshake holds nobody up.
            silent = await asyncio.open_connection("127.0.0.1", port)
            again, other = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting
            )
            other.write(HEAD + b"\r\n")
            answer = await again.read()
            assert status(answer) == 503
            assert b"\r\nRetry-After: 7\r\n" in answer
            other.close()
            silent[1].close()
            writer.close()

    run(main)


def test_the_descriptor_limit_is_the_connections_limit() -> None:
    program = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
from pyfastloop.httpserver import HTTPServer
import pyfastloop
async def main():
    print(HTTPServer(print).max_connections)
pyfastloop.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout == "68\n", done.stderr


# ---- what leaves together ----


def packets_of(handler: type[web.RequestHandler], requests: bytes = b"") -> list[bytes]:
    """What was sent, one item for each send: a sequenced socket keeps them apart."""

    async def main() -> list[bytes]:
        from pyfastloop.iostream import IOStream

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        server = HTTPServer(web.Application([("/", handler)]))
        server.handle_stream(IOStream(theirs), "")
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(ours, requests or HEAD + b"Connection: close\r\n\r\n")
        packets = []
        while packet := await loop.sock_recv(ours, 1 << 20):
            packets.append(packet)
        ours.close()
        return packets

    packets: list[bytes] = run(main)
    return packets


def test_chunks_of_one_turn_leave_in_one_send() -> None:
    class Handler(web.RequestHandler):
        async def get(self) -> None:
            for _ in range(3):
                self.write("a" * 1000)
                self.flush()
            await asyncio.sleep(0)
            for _ in range(3):
                self.write("b" * 1000)
                self.flush()

    first, second, *rest = packets_of(Handler)
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.count(b"a" * 1000) == 3
    assert second.count(b"b" * 1000) == 3
    assert b"".join([second, *rest]).endswith(b"0\r\n\r\n")
    assert len(rest) <= 1


def test_answers_to_pipelined_requests_leave_in_one_send() -> None:
    (packet,) = packets_of(
        Echo, (HEAD + b"\r\n") * 3 + HEAD + b"Connection: close\r\n\r\n"
    )
    assert packet.count(b"HTTP/1.1 200 OK") == 4


def test_head_and_large_body_leave_together() -> None:
    class Handler(web.RequestHandler):
        def get(self) -> None:
            self.write(b"x" * 50_000)

    (packet,) = packets_of(Handler)
    assert packet.startswith(b"HTTP/1.1 200 OK") and packet.endswith(b"x" * 50_000)


# ---- what a handler can ask ----


def test_trailers_and_chunk_extensions_are_kept_for_who_asks() -> None:
    class Handler(web.RequestHandler):
        def post(self) -> None:
            connection = self.request.connection
            self.write(
                {
                    "trailers": dict(connection.trailers),
                    "extensions": connection.chunk_extensions,
                }
            )

    async def main() -> bytes:
        app = web.Application([("/", Handler)])
        async with serving(app, keep_chunk_extensions=True) as port:
            return await talk(
                port,
                POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                b'3;a=b;c="d e"\r\nabc\r\n1\r\nd\r\n0;z\r\nX-Sum: 5\r\nY: z\r\n\r\n',
            )

    answer = run(main)
    assert json_decode(answer.partition(b"\r\n\r\n")[2]) == {
        "trailers": {"X-Sum": "5", "Y": "z"},
        "extensions": [';a=b;c="d e"', ";z"],
    }


def test_an_expected_body_is_refused_before_it_comes() -> None:
    @web.stream_request_body
    class Handler(web.RequestHandler):
        def prepare(self) -> None:
            raise web.HTTPError(403)

        def data_received(self, chunk: bytes) -> None:
            raise AssertionError("nothing was to be read")

    async def main() -> bytes:
        async with serving(web.Application([("/", Handler)])) as port:
            return await talk(
                port, POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )

    answer = run(main)
    assert status(answer) == 403
    assert b"100 Continue" not in answer


# ---- several processes on one port ----

WORKERS = """
import os, sys
import pyfastloop.web, pyfastloop.ioloop, pyfastloop.httpserver
class Pid(pyfastloop.web.RequestHandler):
    def get(self):
        self.write(str(os.getpid()))
app = pyfastloop.web.Application([("/", Pid)])
server = pyfastloop.httpserver.HTTPServer(app)
if sys.argv[1] == "reuse":
    server.listen(int(sys.argv[2]), "127.0.0.1", reuse_port=True)
else:
    server.bind(int(sys.argv[2]), "127.0.0.1")
    server.start(2)
os.write(1, b"ready\\n")  # one write: two processes share the pipe
pyfastloop.ioloop.IOLoop.current().start()
"""


@pytest.mark.parametrize("way", ["reuse", "fork"])
def test_several_processes_on_one_port(way: str, free_port: Callable[[], int]) -> None:
    port = free_port()
    count = 2 if way == "reuse" else 1
    command = [sys.executable, "-c", WORKERS, way, str(port)]
    programs = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a group of its own, workers included
        )
        for _ in range(count)
    ]
    try:
        for _ in range(2 // count):
            for program in programs:
                assert program.stdout is not None
                assert program.stdout.readline() == b"ready\n"
        seen: set[str] = set()

        async def main() -> None:
            while len(seen) < 2:
                many = [
                    talk(port, HEAD + b"Connection: close\r\n\r\n") for _ in range(20)
                ]
                for answer in await asyncio.gather(*many):
                    assert status(answer) == 200
                    seen.add(answer.partition(b"\r\n\r\n")[2].decode())

        run(main)
    finally:
        for program in programs:
            os.killpg(program.pid, signal.SIGKILL)
        for program in programs:
            program.communicate(timeout=SECONDS)


def test_a_quiet_log(caplog: LogCaptureFixture) -> None:
    """A peer that is refused is one line, at INFO."""

    async def main() -> None:
        async with serving(application(), max_body_size=3) as port:
            await talk(port, POST + b"Content-Length: 4\r\n\r\n")

    caplog.set_level("DEBUG", "tornado.general")
    run(main)
    (record,) = [r for r in caplog.records if r.name == "tornado.general"]
    assert record.levelname == "INFO"
    assert "Content-Length too long" in record.getMessage()
