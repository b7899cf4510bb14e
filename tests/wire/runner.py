"""Runs the cases of this folder: bytes in, outcome out.

A case is a heading that names the section it comes from, a fenced block and a line:

    ### Title (RFC section)
    ```
    GET / HTTP/1.1\\r\\n
    Host: a\\r\\n
    \\r\\n
    ```
    => 200 next

Line ends of the block are not sent; ``\\r \\n \\t \\0 \\xHH \\\\`` are what they are in
Python, and ``{n * text}`` is a text n times. The outcome names the statuses that come
back, in order, and then

    next   the second request that is sent right behind is answered,
    close  the connection is closed and the second request is never seen.

An outcome may go on with ``: METHOD target body``: what the server saw of the first
request. Each case is sent whole, byte by byte and at twenty random cuts.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from pyfastloop.http1connection import HTTP1ConnectionParameters, HTTP1ServerConnection
from pyfastloop.httpserver import _CallableAdapter
from pyfastloop.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    ResponseStartLine,
)
from pyfastloop.iostream import IOStream

SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
TURNS = 20_000


@dataclass(frozen=True)
class Case:
    file: str
    title: str
    data: bytes
    statuses: list[int]
    goes_on: bool
    seen: str | None

    @property
    def id(self) -> str:
        return f"{self.file}: {self.title}"


def unescape(text: str) -> bytes:
    text = re.sub(r"\{(\d+) \* ([^}]*)\}", lambda m: int(m.group(1)) * m.group(2), text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def cases() -> list[Case]:
    found = []
    pattern = re.compile(
        r"^### (?P<title>.+?)\n+```\n(?P<block>.*?)```\n+=> (?P<outcome>[^\n]+)$",
        re.MULTILINE | re.DOTALL,
    )
    for path in sorted(Path(__file__).parent.glob("*.md")):
        text = path.read_text()
        blocks = list(pattern.finditer(text))
        if len(blocks) != text.count("\n### "):
            raise ValueError(f"{path.name}: a case is not complete")
        for match in blocks:
            if re.search(r"\(RFC \d+ section [0-9A-Z.]+\b", match["title"]) is None:
                raise ValueError(f"{path.name}: {match['title']}: names no RFC section")
            outcome, _, seen = match["outcome"].partition(": ")
            *statuses, end = outcome.split()
            if end not in ("next", "close"):
                raise ValueError(f"{path.name}: {match['title']}: ends in {end!r}")
            found.append(
                Case(
                    path.stem,
                    match["title"],
                    unescape(match["block"].replace("\n", "")),
                    [int(status) for status in statuses],
                    end == "next",
                    seen or None,
                )
            )
    return found


class Recorder(HTTPServerConnectionDelegate):
    """Answers every request with 200 and remembers it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return _CallableAdapter(self.answer, server_conn, request_conn)

    def answer(self, request: HTTPServerRequest) -> None:
        body = request.body.decode("latin-1")
        self.seen.append(f"{request.method} {request.uri} {body}".rstrip())
        connection = request.connection
        assert connection is not None
        connection.write_headers(
            ResponseStartLine("HTTP/1.1", 200, "OK"),
            HTTPHeaders({"Content-Length": "2"}),
            b"" if request.method == "HEAD" else b"ok",
        )
        connection.finish()


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def ways(data: bytes, seed: str) -> list[list[bytes]]:
    """Whole, byte by byte, and at random cuts that are the same every time."""
    dice = random.Random(seed)
    several = [
        split_at(data, [dice.randrange(len(data)) for _ in range(dice.randint(1, 5))])
        for _ in range(20)
    ]
    one_by_one = [data[i : i + 1] for i in range(len(data))]
    if len(data) > 3_000:  # long heads: the edges byte by byte, the middle in one
        one_by_one = [*one_by_one[:200], data[200:-200], *one_by_one[-200:]]
    return [[data], one_by_one, *several]


async def exchange(pieces: list[bytes], expected: int) -> tuple[bytes, bool, list[str]]:
    """What came back, whether the server closed, and what it saw."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    recorder = Recorder()
    stream = IOStream(theirs)
    server = HTTP1ServerConnection(stream, HTTP1ConnectionParameters(), "wire")
    server.start_serving(recorder)
    received = b""
    closed = False

    def read() -> None:
        nonlocal received, closed
        try:
            while not closed:
                data = ours.recv(65536)
                received += data
                closed = not data
        except BlockingIOError:
            pass
        except ConnectionResetError:
            closed = True

    for piece in pieces:
        rest = piece
        while rest and not closed:
            try:
                rest = rest[ours.send(rest) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                break
            await asyncio.sleep(0)
            read()
    for _ in range(TURNS):
        await asyncio.sleep(0)
        read()
        if closed or received.count(b"HTTP/1.1 200") > expected:
            break
    else:
        raise AssertionError(f"no end of it; received so far: {received!r}")
    # Closing is what "close" means; "next" closes, too, as the second request asks.
    for _ in range(TURNS):
        if closed:
            break
        await asyncio.sleep(0)
        read()
    ours.close()
    await server.close()
    return received, closed, recorder.seen


def statuses_of(received: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


async def run_case(case: Case) -> None:
    for pieces in ways(case.data + SECOND, case.id):
        answered = sum(1 for status in case.statuses if status == 200)
        received, closed, seen = await exchange(pieces, answered)
        expected = [*case.statuses, 200] if case.goes_on else case.statuses
        told = f"{case.id}\nsent {pieces!r}\nreceived {received!r}\nseen {seen}"
        assert statuses_of(received) == expected, told
        assert closed, told
        assert ("GET /second" in seen) == case.goes_on, told
        if case.seen is not None:
            assert seen[0] == case.seen, told
