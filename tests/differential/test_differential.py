"""What we take for a request, beside what h11 and llhttp (by httptools) take for one.

Requests are made from a grammar of good and bad parts and then mutated byte by byte,
the same ones every time. Each is asked of three parsers: is this one whole request,
refused, or unfinished, and if whole, which method, target and body? Where we accept and
both others refuse, or where we read another request than one of them, the test fails;
where we refuse and they accept must be explained by a rule of `REASONS`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import socket
from collections import Counter
from dataclasses import dataclass

import pytest

import pyfastloop
from pyfastloop.http1connection import HTTP1ConnectionParameters, HTTP1ServerConnection
from pyfastloop.httpserver import _CallableAdapter
from pyfastloop.httputil import (
    HTTPHeaders,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    ResponseStartLine,
)
from pyfastloop.iostream import IOStream

h11 = pytest.importorskip("h11")
httptools = pytest.importorskip("httptools")

REQUESTS = 8_000

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"BREW", b"get", b"G T", b""]
TARGETS = [
    b"/",
    b"/a?b=c",
    b"/%41",
    b"*",
    b"http://a/b",
    b"a:80",
    b"//x",
    b"/a b",
    b"/\x01",
    b"/\xff",
    b"/#f",
    b"",
]
VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b""]
FIELDS = [
    b"Host: a",
    b"Host: b:80",
    b"Host: a b",
    b"X: y",
    b"X:y",
    b"X: ",
    b"X : y",
    b" X: y",
    b"X: \xe4",
    b"X: \x00",
    b"X: \x0b",
    b": y",
    b"X y",
    b"X-\xe4: y",
    b"Connection: close",
    b"Connection: keep-alive, x",
    b"Content-Length: 3",
    b"Content-Length: 03",
    b"Content-Length: +3",
    b"Content-Length: 3, 3",
    b"Content-Length: 3 3",
    b"Content-Length: ",
    b"Content-Length: 0x3",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Expect: 100-continue",
]
BODIES = [
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nT : u\r\n\r\n",
]
LINE_ENDS = [b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n"]


@dataclass(frozen=True)
class Verdict:
    """What a parser said; the rest only where it saw a whole request."""

    kind: str  # "whole", "refused", "unfinished"
    method: bytes = b""
    target: bytes = b""
    body: bytes = b""


REFUSED, UNFINISHED = Verdict("refused"), Verdict("unfinished")


def by_h11(data: bytes) -> Verdict:
    connection = h11.Connection(h11.SERVER)
    body = b""
    request = None
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                return UNFINISHED
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return Verdict(
                    "whole", bytes(request.method), bytes(request.target), body
                )
            else:
                return UNFINISHED
    except h11.RemoteProtocolError:
        return REFUSED


class _First(Exception):
    """The first message is over."""


class _Llhttp:
    def __init__(self) -> None:
        self.target = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        raise _First


def by_llhttp(data: bytes) -> Verdict:
    seen = _Llhttp()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return Verdict("whole", parser.get_method(), seen.target, seen.body)
    except httptools.HttpParserCallbackError:
        return Verdict("whole", parser.get_method(), seen.target, seen.body)
    except httptools.HttpParserError:
        return REFUSED
    return UNFINISHED


def make(dice: random.Random) -> bytes:
    def end() -> bytes:
        return dice.choice(LINE_ENDS)

    def mostly(first: bytes, others: list[bytes]) -> bytes:
        return first if dice.random() < 0.7 else dice.choice(others)

    line = [
        mostly(b"GET", METHODS),
        mostly(b"/", TARGETS),
        mostly(b"HTTP/1.1", VERSIONS),
    ]
    request = b" ".join(line) + end()
    fields = [dice.choice(FIELDS) for _ in range(dice.randint(0, 3))]
    if dice.random() < 0.8:
        fields.insert(dice.randint(0, len(fields)), b"Host: a")
    for field in fields:
        request += field + end()
    request += end() + dice.choice(BODIES)
    if dice.random() < 0.3:
        at = dice.randrange(len(request))
        byte = bytes([dice.choice(b"\0\t\n\r :;,/\x7f\xffaA09+-")])
        cut = dice.choice([0, 1])
        request = request[:at] + byte + request[at + cut :]
    return request


def requests() -> list[bytes]:
    dice = random.Random(7)
    return list(dict.fromkeys(make(dice) for _ in range(REQUESTS)))


HOSTS = re.compile(rb"^host[ \t]*:", re.IGNORECASE | re.MULTILINE)

#: Where we refuse what one of the others takes: a name, what it looks like, and why.
REASONS: list[tuple[str, re.Pattern[bytes], str]] = [
    (name, re.compile(pattern, re.IGNORECASE | re.DOTALL), why)
    for name, pattern, why in (
        (
            "bare LF or CR",
            rb"(?<!\r)\n|\r(?!\n)",
            "h11 takes LF for a line end; RFC 9112 section 2.2 allows it, a proxy in "
            "front may read it differently",
        ),
        (
            "length and coding",
            rb"(?=.*content-length:)(?=.*transfer-encoding:)",
            "h11 lets chunked win; RFC 9112 section 6.1 lets a server refuse both",
        ),
        (
            "several lengths",
            rb"content-length:.*content-length:|content-length: *3, *3",
            "equal values may be joined by RFC 9110 section 8.6; not in requests here",
        ),
        (
            "no Host, or several",
            rb"\A(?!.*^host)",
            "llhttp leaves Host to the program (RFC 9112 section 3.2)",
        ),
        (
            "a Host that is none",
            rb"host: *\S*[^\w.:\-\r\n \[\]]|host: *\S+[ \t]+\S",
            "as before",
        ),
        ("repeated Host", rb"host.*^host|host:.*\nhost:", "as before"),
        (
            "coding in HTTP/1.0",
            rb"http/1\.0.*transfer-encoding",
            "RFC 9112 section 6.1: treat the framing as faulty",
        ),
        (
            "another coding",
            rb"transfer-encoding:(?! *chunked *\r)",
            "llhttp hands a body on whose coding nobody undoes (RFC 9112 section 6.1)",
        ),
        ("repeated coding", rb"transfer-encoding:.*transfer-encoding:", "as before"),
        (
            "target",
            rb"\A\s*\S+ (?!/[!$-~\x80-\xff\"]* )",
            "the others take any visible bytes; the forms are those of RFC 9112 "
            "section 3.2, and no fragment is sent",
        ),
        (
            "version",
            rb"\A[^\n]*http/(?!1\.[01]\r)",
            "others take versions that they cannot speak (RFC 9110 section 15.6.6)",
        ),
        (
            "white space in a chunk's size line",
            rb"\n[0-9a-f]+[ \t]+\r",
            "BWS may stand before an extension only (RFC 9112 section 7.1.1)",
        ),
        (
            "a trailer that is no field",
            rb"\r\n0\r\n[^\r\n:]*[^\w\r\n:\-!#$%&'*+.^`|~]",
            "llhttp and h11 let some pass (RFC 9112 section 7.1.2)",
        ),
        (
            "controls in a value",
            rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",
            "h11 takes some of them (RFC 9110 section 5.5)",
        ),
        (
            "empty lines first",
            rb"\A\r\n",
            "fewer are skipped here (RFC 9112 section 2.2)",
        ),
    )
]


#: Where we accept what both others refuse. A byte above 0x7f in a path delimits nothing
#: for anybody; curl sends what it was given, and Tornado and nginx take it.
HIGH_BYTE_IN_TARGET = re.compile(rb"\A\S+ /[!-~]*[\x80-\xff]")


def reason_for(data: bytes) -> str | None:
    for name, pattern, _ in REASONS:
        if pattern.search(data):
            return name
    if len(HOSTS.findall(data)) != 1:
        return "no Host, or several"
    return None


@pytest.fixture(scope="module")
def ours() -> dict[bytes, Verdict]:
    class First(HTTPServerConnectionDelegate):
        """Keeps the first request and ends the connection."""

        verdict = UNFINISHED

        def start_request(self, server_conn, request_conn):  # type: ignore[no-untyped-def]
            return _CallableAdapter(self.answer, server_conn, request_conn)

        def answer(self, request: HTTPServerRequest) -> None:
            if self.verdict is UNFINISHED:
                self.verdict = Verdict(
                    "whole",
                    (request.method or "").encode("latin-1"),
                    (request.uri or "").encode("latin-1"),
                    request.body,
                )
            connection = request.connection
            assert connection is not None
            connection.write_headers(
                ResponseStartLine("", 200, "OK"),
                HTTPHeaders({"Content-Length": "0", "Connection": "close"}),
            )
            connection.finish()

    async def ask(data: bytes) -> Verdict:
        near, far = socket.socketpair()
        near.setblocking(False)
        first = First()
        server = HTTP1ServerConnection(IOStream(far), HTTP1ConnectionParameters(), "")
        server.start_serving(first)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(near, data)
        near.shutdown(socket.SHUT_WR)
        received = b""
        while piece := await loop.sock_recv(near, 65536):
            received += piece
        near.close()
        if first.verdict is not UNFINISHED:
            return first.verdict
        return REFUSED if re.match(rb"HTTP/1.1 [45]", received) else UNFINISHED

    async def main() -> dict[bytes, Verdict]:
        return {data: await ask(data) for data in requests()}

    logger = logging.getLogger("tornado.general")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        return pyfastloop.run(main())
    finally:
        logger.setLevel(level)


def test_nothing_is_accepted_that_both_others_refuse(
    ours: dict[bytes, Verdict],
) -> None:
    bad = [
        data
        for data, verdict in ours.items()
        if verdict.kind == "whole"
        and by_h11(data) == REFUSED
        and by_llhttp(data) == REFUSED
        and not HIGH_BYTE_IN_TARGET.match(data)
    ]
    assert not bad, bad[:5]


def test_what_all_accept_is_read_alike(ours: dict[bytes, Verdict]) -> None:
    for data, verdict in ours.items():
        for other in (by_h11(data), by_llhttp(data)):
            if verdict.kind == other.kind == "whole":
                assert verdict == other, data


def test_every_difference_has_its_reason(ours: dict[bytes, Verdict]) -> None:
    reasons: Counter[str] = Counter()
    unexplained = []
    for data, verdict in ours.items():
        others = {by_h11(data).kind, by_llhttp(data).kind}
        if verdict.kind == "refused" and "whole" in others:
            reason = reason_for(data)
            if reason is None:
                unexplained.append(data)
            else:
                reasons[reason] += 1
    assert not unexplained, (len(unexplained), unexplained[:5])
    assert reasons  # the table is in use


def test_the_requests_are_worth_asking(ours: dict[bytes, Verdict]) -> None:
    kinds = Counter(verdict.kind for verdict in ours.values())
    assert kinds["whole"] > 300
    assert kinds["refused"] > 300
