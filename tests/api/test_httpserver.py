"""httpserver and http1connection: what delegates, callbacks and clients see.

Sockets of a pair stand for the network: the peer's end is driven by the test, so that
what arrives when is the test's choice.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

import pyfastloop
from pyfastloop import httputil
from pyfastloop.http1connection import (
    HTTP1Connection,
    HTTP1ConnectionParameters,
    HTTP1ServerConnection,
    is_transfer_encoding_chunked,
    parse_hex_int,
    parse_int,
)
from pyfastloop.httpserver import HTTPServer, _HTTPRequestContext
from pyfastloop.httputil import HTTPHeaders, ResponseStartLine
from pyfastloop.iostream import IOStream, StreamClosedError

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SECONDS = 60


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(**fixtures: Any) -> None:
        pyfastloop.run(asyncio.wait_for(test(**fixtures), SECONDS))

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    run.__signature__ = __import__("inspect").signature(test)  # type: ignore[attr-defined]
    return run


class Peer:
    """The other end of a served connection."""

    def __init__(self, delegate: Any, **params: Any) -> None:
        ours, theirs = socket.socketpair()
        self.stream = IOStream(ours)
        self.params = HTTP1ConnectionParameters()
        for name, value in params.items():
            setattr(self.params, name, value)
        self.server = HTTP1ServerConnection(IOStream(theirs), self.params, "context")
        self.server.start_serving(delegate)

    async def answer(self) -> bytes:
        head = await self.stream.read_until(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name == b"Content-Length":
                return head + await self.stream.read_bytes(int(value))
        return head


class Log(httputil.HTTPServerConnectionDelegate, httputil.HTTPMessageDelegate):
    """Writes down what it is told; `on` has what to do then."""

    def __init__(self, **on: Callable[..., Any]) -> None:
        self.told: list[Any] = []
        self.on = on
        self.connection: Any = None
        self.closed = asyncio.Event()

    def _do(self, name: str, *args: Any) -> Any:
        action = self.on.get(name)
        return action(self, *args) if action is not None else None

    def start_request(self, server_conn: object, request_conn: Any) -> Any:
        self.connection = request_conn
        return self

    def headers_received(self, start_line: Any, headers: Any) -> Any:
        self.told.append(("headers", start_line.method, start_line.path))
        return self._do("headers", headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self.told.append(("data", chunk))
        return self._do("data", chunk)  # type: ignore[no-any-return]

    def finish(self) -> None:
        self.told.append("finish")
        self._do("finish")

    def on_connection_close(self) -> None:
        self.told.append("close")

    def on_close(self, server_conn: object) -> None:
        self.told.append("gone")
        self.closed.set()


def say(log: Log, text: bytes = b"ok") -> None:
    log.connection.write_headers(
        ResponseStartLine("", 200, "OK"),
        HTTPHeaders({"Content-Length": str(len(text))}),
        text,
    )
    log.connection.finish()


@in_loop
async def test_delegates_hear_of_a_request_in_order() -> None:
    log = Log(finish=say)
    peer = Peer(log)
    await peer.stream.write(
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert (await peer.answer()).endswith(b"\r\n\r\nok")
    assert log.told == [("headers", "POST", "/x"), ("data", b"abc"), "finish"]
    peer.stream.close()
    await log.closed.wait()
    assert log.told[3:] == ["gone"]


def exchanges() -> int:
    return sum(isinstance(each, HTTP1Connection) for each in gc.get_objects())


@in_loop
async def test_an_idle_connection_has_no_exchange() -> None:
    log = Log(finish=say)
    peer = Peer(log)
    before = exchanges()
    await peer.stream.write(GET)
    await peer.answer()
    first = log.connection
    assert exchanges() == before + 1
    log.connection = None
    assert first.stream is None
    del first
    assert exchanges() == before
    await peer.stream.write(GET)
    await peer.answer()
    log.connection = None
    assert exchanges() == before
    assert log.told == [("headers", "GET", "/"), "finish"] * 2
    peer.stream.close()
    await log.closed.wait()


@in_loop
async def test_nothing_is_read_while_data_received_is_awaited() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first = asyncio.Event()

    async def slow(log: Log, chunk: bytes) -> None:
        first.set()
        await gate

    log = Log(data=slow, finish=say)
    peer = Peer(log, chunk_size=2)
    await peer.stream.write(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n1\r\nb\r\n3\r\ncde\r\n0\r\n\r\n"
    )
    await first.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    assert log.told[1:] == [("data", b"ab")]
    gate.set_result(None)
    await peer.answer()
    assert b"".join(x[1] for x in log.told if x[0] == "data") == b"abcde"
    assert all(len(x[1]) <= 2 for x in log.told if x[0] == "data")
    peer.stream.close()
    await log.closed.wait()


@in_loop
async def test_headers_received_is_awaited_before_the_body() -> None:
    gate = asyncio.Event()

    async def wait(log: Log, headers: Any) -> None:
        await gate.wait()

    log = Log(headers=wait, finish=say)
    peer = Peer(log)
    await peer.stream.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    for _ in range(50):
        await asyncio.sleep(0)
    assert log.told == [("headers", "POST", "/")]
    gate.set()
    await peer.answer()
    assert log.told[1:] == [("data", b"x"), "finish"]
    peer.stream.close()
    await log.closed.wait()


@in_loop
async def test_a_peer_that_leaves_in_a_body_is_told_once() -> None:
    log = Log()
    peer = Peer(log)
    await peer.stream.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    peer.stream.close()
    await log.closed.wait()
    assert log.told == [("headers", "POST", "/"), ("data", b"x"), "close", "gone"]


@in_loop
async def test_a_peer_that_leaves_before_the_answer_calls_the_close_callback() -> None:
    left = asyncio.Event()
    log = Log(finish=lambda log: log.connection.set_close_callback(left.set))
    peer = Peer(log)
    await peer.stream.write(GET)
    while "finish" not in log.told:
        await asyncio.sleep(0)
    peer.stream.close()
    await left.wait()
    assert "close" not in log.told


@in_loop
async def test_an_answer_before_the_body_was_read_ends_the_connection() -> None:
    log = Log(headers=lambda log, headers: say(log))
    peer = Peer(log)
    await peer.stream.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    assert (await peer.stream.read_until_close()).endswith(b"ok")
    await log.closed.wait()
    assert log.told == [("headers", "POST", "/"), "close", "gone"]


@in_loop
async def test_an_error_of_a_delegate_is_logged_and_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(log: Log, headers: Any) -> None:
        raise KeyError("mine")

    log = Log(headers=fail)
    peer = Peer(log)
    await peer.stream.write(GET)
    assert await peer.stream.read_until_close() == b""
    await log.closed.wait()
    assert "Uncaught exception" in caplog.text
    assert log.told == [("headers", "GET", "/"), "close", "gone"]


@in_loop
async def test_an_input_error_of_a_delegate_is_a_400() -> None:
    def fail(log: Log, headers: Any) -> None:
        raise httputil.HTTPInputError("no")

    peer = Peer(Log(headers=fail))
    await peer.stream.write(GET)
    assert (await peer.stream.read_until_close()).startswith(b"HTTP/1.1 400 ")


@in_loop
async def test_detach_hands_the_rest_over() -> None:
    streams: list[Any] = []
    log = Log(headers=lambda log, headers: streams.append(log.connection.detach()))
    peer = Peer(log)
    await peer.stream.write(GET + b"more")
    await log.closed.wait()
    assert await streams[0].read_bytes(4) == b"more"
    await streams[0].write(b"hello")
    assert await peer.stream.read_bytes(5) == b"hello"
    assert log.told == [("headers", "GET", "/"), "gone"]
    streams[0].close()
    peer.stream.close()


@in_loop
async def test_a_kept_connection_never_reaches_the_next_answer() -> None:
    kept: list[Any] = []

    def keep(log: Log) -> None:
        kept.append(log.connection)
        if len(kept) == 1:
            say(log, b"one")

    log = Log(finish=keep)
    peer = Peer(log)
    await peer.stream.write(GET)
    assert (await peer.answer()).endswith(b"one")
    await peer.stream.write(GET)
    while len(kept) < 2:
        await asyncio.sleep(0)
    assert kept[0] is not kept[1]
    with pytest.raises(StreamClosedError):
        await kept[0].write(b"stray")
    say(log, b"two")
    assert (await peer.answer()).endswith(b"\r\n\r\ntwo")
    peer.stream.close()
    await log.closed.wait()


@in_loop
async def test_an_answer_without_length_is_chunked() -> None:
    def pieces(log: Log) -> None:
        log.connection.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders())
        log.connection.write(b"abc")
        log.connection.write(b"")
        log.connection.write(b"d" * 20)
        log.connection.finish()

    peer = Peer(Log(finish=pieces))
    await peer.stream.write(GET)
    head = await peer.stream.read_until(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in head
    body = await peer.stream.read_until(b"0\r\n\r\n")
    assert body == b"3\r\nabc\r\n14\r\n" + b"d" * 20 + b"\r\n0\r\n\r\n"
    peer.stream.close()


@pytest.mark.parametrize(
    ("start", "headers"),
    [
        (("", 200, "O\r\nX: y"), {}),
        (("", 20, "OK"), {}),
        (("", 200, "OK"), {"Content-Length": "x"}),
    ],
)
def test_a_head_that_must_not_be_sent_is_refused(start: Any, headers: Any) -> None:
    @in_loop
    async def test() -> None:
        caught: list[BaseException] = []

        def bad(log: Log) -> None:
            try:
                log.connection.write_headers(start, HTTPHeaders(headers))
            except ValueError as error:
                caught.append(error)
            say(log)

        peer = Peer(Log(finish=bad))
        await peer.stream.write(GET)
        assert (await peer.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(caught) == 1
        peer.stream.close()

    test()


@in_loop
async def test_time_outs_close_in_silence_or_with_408() -> None:
    silent = Peer(Log(), first_timeout=0.01)
    assert await silent.stream.read_until_close() == b""
    head = Peer(Log(), header_timeout=0.01)
    await head.stream.write(b"GET / HTTP/1.1\r\nHo")
    assert (await head.stream.read_until_close()).startswith(b"HTTP/1.1 408 ")
    body = Peer(Log(), body_gap_timeout=0.01)
    await body.stream.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    assert (await body.stream.read_until_close()).startswith(b"HTTP/1.1 408 ")
    whole = Peer(Log(), body_timeout=0.01)
    await whole.stream.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    assert (await whole.stream.read_until_close()).startswith(b"HTTP/1.1 408 ")
    idle = Peer(Log(finish=say), idle_timeout=0.01)
    await idle.stream.write(GET)
    assert (await idle.stream.read_until_close()).endswith(b"\r\n\r\nok")


@in_loop
async def test_what_comes_after_the_fin_is_still_answered() -> None:
    left = asyncio.Event()

    def later(log: Log) -> None:
        log.connection.set_close_callback(left.set)

    log = Log(finish=later)
    ours, theirs = socket.socketpair()
    server = HTTP1ServerConnection(IOStream(theirs), HTTP1ConnectionParameters())
    server.start_serving(log)
    ours.sendall(GET)
    ours.shutdown(socket.SHUT_WR)
    await left.wait()
    say(log)
    assert (await IOStream(ours).read_until_close()).endswith(b"\r\n\r\nok")


class Reply(httputil.HTTPMessageDelegate):
    def __init__(self) -> None:
        self.heads: list[Any] = []
        self.body = b""
        self.end = ""

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        self.heads.append(start_line)

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def finish(self) -> None:
        self.end += "finish"

    def on_connection_close(self) -> None:
        self.end += "close"


@pytest.mark.parametrize(
    ("wire", "body", "again"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
         b"ab", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
         b"", True),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end", False),
    ],
)  # fmt: skip
def test_a_client_reads_responses(wire: bytes, body: bytes, again: bool) -> None:
    @in_loop
    async def test() -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(wire)
        if not again:
            theirs.shutdown(socket.SHUT_WR)
        stream = IOStream(ours)
        connection = HTTP1Connection(stream, True)
        connection.write_headers(
            httputil.RequestStartLine("GET", "/", ""), HTTPHeaders({"Host": "a"})
        )
        connection.finish()
        reply = Reply()
        assert await connection.read_response(reply) is again
        assert (reply.body, reply.end) == (body, "finish")
        assert reply.heads[-1].code in (200, 204)
        assert theirs.recv(100) == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        theirs.close()
        stream.close()

    test()


@in_loop
async def test_a_response_that_breaks_off_is_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    theirs.close()
    reply = Reply()
    connection = HTTP1Connection(IOStream(ours), True)
    assert await connection.read_response(reply) is False
    assert (reply.body, reply.end) == (b"abc", "close")


@in_loop
async def test_a_plain_function_serves() -> None:
    def answer(request: httputil.HTTPServerRequest) -> None:
        assert request.connection is not None
        assert request.remote_ip == "127.0.0.1"
        request.connection.write_headers(
            ResponseStartLine("", 200, "OK"), HTTPHeaders({"Content-Length": "1"}), b"x"
        )
        request.connection.finish()

    server = HTTPServer(answer)
    from pyfastloop.testing import bind_unused_port

    sock, port = bind_unused_port()
    server.add_sockets([sock])
    stream = IOStream(socket.socket())
    await stream.connect(("127.0.0.1", port))
    await stream.write(GET)
    assert (await stream.read_until(b"\r\n\r\nx")).startswith(b"HTTP/1.1 200 OK\r\n")
    server.stop()
    await server.close_all_connections()
    assert await stream.read_until_close() == b""


def test_a_proxy_is_trusted_only_as_far_as_told() -> None:
    context = _HTTPRequestContext(
        None,  # type: ignore[arg-type]
        ("9.9.9.9", 1),
        None,
        ["5.5.5.5"],
    )
    context._apply_xheaders(HTTPHeaders({"X-Forwarded-For": "1.1.1.1, 2.2.2.2"}))
    assert (context.remote_ip, str(context)) == ("2.2.2.2", "2.2.2.2")
    context._unapply_xheaders()
    context._apply_xheaders(HTTPHeaders({"X-Forwarded-For": "4.4.4.4, 5.5.5.5"}))
    assert context.remote_ip == "4.4.4.4"
    context._unapply_xheaders()
    context._apply_xheaders(
        HTTPHeaders({"X-Real-Ip": "not an ip", "X-Scheme": "https, gopher"})
    )
    assert (context.remote_ip, context.protocol) == ("9.9.9.9", "http")
    context._apply_xheaders(HTTPHeaders({"X-Forwarded-Proto": "http,https"}))
    assert context.protocol == "https"


def test_a_request_leaves_no_cycle() -> None:
    @in_loop
    async def test() -> None:
        gone: list[Any] = []

        def answer(log: Log) -> None:
            request = httputil.HTTPServerRequest(
                "GET", "/", headers=HTTPHeaders(Host="a"), connection=log.connection
            )
            gone.append(weakref.ref(request))
            say(log)

        peer = Peer(Log(finish=answer))
        await peer.stream.write(GET)
        await peer.answer()
        assert gone[0]() is None
        peer.stream.close()

    gc.disable()
    try:
        test()
    finally:
        gc.enable()


def test_strict_numbers() -> None:
    assert (parse_int("012"), parse_hex_int("fF")) == (12, 255)
    for text in ("", "+1", "-1", "1_0", " 1", "0x1", "٣"):
        with pytest.raises(ValueError):
            parse_int(text)
        with pytest.raises(ValueError):
            parse_hex_int(text)


def test_transfer_encoding() -> None:
    assert is_transfer_encoding_chunked(HTTPHeaders({"Transfer-Encoding": "Chunked"}))
    assert not is_transfer_encoding_chunked(HTTPHeaders())
    for bad in (
        {"Transfer-Encoding": "gzip"},
        {"Transfer-Encoding": "chunked", "Content-Length": "3"},
    ):
        with pytest.raises(httputil.HTTPInputError):
            is_transfer_encoding_chunked(HTTPHeaders(bad))
