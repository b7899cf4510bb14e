"""Bytes of bad servers in, an exception of the known kinds out: never a hang, never a
connection that is left over, never an answer that nobody sent."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl

import pytest
from raw_http import RawServer, client_of_test, ok, reset, run

from pyfastloop.httpclient import HTTPClientError
from pyfastloop.simple_httpclient import HTTPStreamClosedError

KINDS = (HTTPClientError, ValueError, ssl.SSLError)

REFUSED = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no status": b"HTTP/1.1\r\n\r\n",
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http/0.9": b"<html>hello</html>",
    "http/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "http/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status with a sign": b"HTTP/1.1 +20 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare cr": b"HTTP/1.1 200 OK\rContent-Length: 0\r\r",
    "nul in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "nul in a value": b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length 0\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "an empty name": b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n"
    b"\r\nab",
    "length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
    "length below zero": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
    "length with a space": b"HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nab",
    "length with an underscore": b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nab",
    "length of 4300 digits": b"HTTP/1.1 200 OK\r\nContent-Length: "
    + b"9" * 4300
    + b"\r\n\r\n",
    "an enormous length": b"HTTP/1.1 200 OK\r\n"
    b"Content-Length: 9999999999999999\r\n\r\n",
    "a short body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
    "unknown transfer coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "chunked and length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size garbage": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"zz\r\n",
    "chunk size with a sign": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"+2\r\nab\r\n0\r\n\r\n",
    "chunk size with 0x": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0x2\r\nab\r\n0\r\n\r\n",
    "an enormous chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"ffffffffffffffffff\r\n",
    "chunk without its end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nabc\r\n0\r\n\r\n",
    "chunk ended by lf": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\nab\n0\n\n",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nab\r\n",
    "extension flood": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;" + b"a" * 10_000 + b"\r\nab\r\n0\r\n\r\n",
    "trailer flood": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    "bad trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\nno colon\r\n\r\n",
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
    "an endless field": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1_000_000,
    "an endless reason": b"HTTP/1.1 200 " + b"b" * 1_000_000,
    "a flood of 100": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + ok(),
    "101 that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "gzip that is none": ok(b"abc", "Content-Encoding: gzip"),
}

# What the error says of each, beside the host.
CAUSES = {
    "nothing": "closed the connection without an answer",
    "half a status line": "in the middle of its answer",
    "half a head": "in the middle of its answer",
    "no status": "status line",
    "not http": "status line",
    "http/0.9": "in the middle of its answer",
    "http/2.0": "version is neither",
    "http/1.2": "version is neither",
    "status of two digits": "status line",
    "status of four digits": "status line",
    "status with a sign": "status line",
    "lower case": "status line",
    "bare lf": "CR LF",
    "bare cr": "CR LF",
    "nul in the reason": "control byte",
    "nul in a value": "control byte",
    "no colon": "header name",
    "space before the colon": "white space between header name and colon",
    "a folded line": "folded",
    "an empty name": "header name",
    "two lengths": "Content-Length is given more than once",
    "length with a sign": "Content-Length is no decimal number",
    "length below zero": "Content-Length is no decimal number",
    "length with a space": "Content-Length is no decimal number",
    "length with an underscore": "Content-Length is no decimal number",
    "hexadecimal length": "Content-Length is no decimal number",
    "length of 4300 digits": "Content-Length is no decimal number",
    "an enormous length": "max_body_size",
    "a short body": "in the middle of its answer",
    "unknown transfer coding": "Transfer-Encoding is malformed",
    "chunked and length": "Content-Length and Transfer-Encoding",
    "chunked in 1.0": "Transfer-Encoding in HTTP/1.0",
    "chunk size garbage": "chunk size is no hexadecimal number",
    "chunk size with a sign": "chunk size is no hexadecimal number",
    "chunk size with 0x": "chunk size is no hexadecimal number",
    "an enormous chunk": "chunk size is no hexadecimal number",
    "chunk without its end": "chunk data is not followed by CR LF",
    "chunk ended by lf": "chunk size line",
    "no last chunk": "in the middle of its answer",
    "extension flood": "chunk size line is longer than its limit",
    "trailer flood": "more trailer lines than the limit",
    "bad trailer": "trailer line is malformed",
    "many fields": "more header lines than the limit",
    "an endless field": "max_header_size is 65536",
    "an endless reason": "max_header_size is 65536",
    "a flood of 100": "too many 1xx answers",
    "101 that nobody asked for": "switched protocols",
    "gzip that is none": "not valid gzip",
}

TAKEN = {
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nab", b"ab"),
    "two equal lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        b"ab",
    ),
    "no framing at all": (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
    "latin-1": (b"HTTP/1.1 200 OK\r\nA: \xe4\r\nContent-Length: 1\r\n\r\nx", b"x"),
    "bytes after the answer": (ok(b"ab") + b"HTTP/1.1 200 OK\r\n\r\nsmuggled", b"ab"),
    "chunks with extensions and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;a=b\r\nab\r\n0\r\nT: v\r\n\r\n",
        b"ab",
    ),
}


def outcomes(serve, *, streamed=False, count=1, tls=None, **client):
    """What a client makes of a server: a list of bodies and exceptions."""

    async def main(server):
        found = []
        with client_of_test(**client) as http:
            for _ in range(count):
                pieces = []
                kwargs = {"streaming_callback": pieces.append} if streamed else {}
                try:
                    response = await http.fetch(
                        server.url,
                        raise_error=False,
                        request_timeout=10,
                        validate_cert=False,
                        **kwargs,
                    )
                except Exception as error:
                    found.append(error)
                else:
                    found.append(b"".join(pieces) or response.body)
                assert not http.active
        # Every connection is closed: each thread of the server comes to its end.
        for _ in range(server.accepted):
            ended = await asyncio.get_running_loop().run_in_executor(
                None, server.ended.acquire, True, 10
            )
            assert ended, "a connection is left open"
        return found

    with RawServer(serve, tls) as server:
        return run(main, server)


def is_timeout(error):
    return "Timeout" in str(error)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, streamed):
    def serve(conn, server):
        server.request(conn)
        conn.sendall(REFUSED[name])
        # The end comes by itself where the client sees what is wrong before it.
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):
            pass

    (error,) = outcomes(serve, streamed=streamed)
    assert isinstance(error, HTTPStreamClosedError), (name, error)
    assert not is_timeout(error)
    assert "127.0.0.1" in str(error)
    assert CAUSES[name] in str(error)


@pytest.mark.parametrize("piece", [1, 3, 10**9])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", TAKEN)
def test_taken(name, streamed, piece):
    data, body = TAKEN[name]

    def serve(conn, server):
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.request(conn)
        for at in range(0, len(data), piece):
            conn.sendall(data[at : at + piece])
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):
            pass

    assert outcomes(serve, streamed=streamed) == [body]


ANSWERS = {
    "length": ok(b"0123456789", "A: b"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\n01234\r\n5;x=y\r\n56789\r\n0\r\nT: v\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"0123456789"),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_end_at_every_byte(name, streamed, how):
    answer = ANSWERS[name]

    def serve(conn, server):
        server.request(conn)
        conn.sendall(answer[: server.accepted - 1])
        if how == "reset":
            reset(conn)

    found = outcomes(serve, streamed=streamed, count=len(answer))
    assert len(found) == len(answer)
    for error in found:
        assert isinstance(error, HTTPStreamClosedError), error
        assert not is_timeout(error)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_end_at_every_byte_of_a_used_connection(name):
    """The second answer is cut: GET is repeated only if nothing of it came."""
    answer = ANSWERS[name]

    async def main(server):
        found = []
        for cut in range(len(answer)):
            server.cut = cut
            with client_of_test() as http:
                before = server.accepted
                assert (await http.fetch(server.url)).body == b"0123456789"
                try:
                    found.append((await http.fetch(server.url)).body)
                except HTTPStreamClosedError as error:
                    found.append(error)
                found.append(server.accepted - before)
        return found

    def serve(conn, server):
        again, server.again = getattr(server, "again", False), False
        server.request(conn)
        conn.sendall(answer)
        if again:
            assert conn.recv(1) == b""
            return
        server.request(conn)
        server.again = server.cut == 0
        conn.sendall(answer[: server.cut])

    with RawServer(serve) as server:
        found = run(main, server)
    assert found[:2] == [b"0123456789", 2]
    for error, connections in zip(found[2::2], found[3::2], strict=True):
        assert isinstance(error, HTTPStreamClosedError)
        assert connections == 1


def test_byte_by_byte_gives_the_same_outcome():
    """Splitting never changes what an answer means."""
    rng = random.Random(7)
    cases = {**REFUSED, **{name: data for name, (data, _) in TAKEN.items()}}
    for name, data in cases.items():
        if len(data) > 2000:
            continue
        results = []
        for split in (0, 1, rng.randrange(2, 40)):

            def serve(conn, server, split=split, data=data):
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.request(conn)
                for at in range(0, len(data), split or len(data) or 1):
                    conn.sendall(data[at : at + (split or len(data))])
                conn.shutdown(socket.SHUT_WR)
                while conn.recv(65536):
                    pass

            (outcome,) = outcomes(serve)
            results.append(outcome if isinstance(outcome, bytes) else type(outcome))
        assert len(set(results)) == 1, (name, results)


def test_random_bytes():
    rng = random.Random(20261122)
    base = [*ANSWERS.values(), *REFUSED.values()]

    def mutate(data):
        data = bytearray(data[:5000])
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data) + 1)
            action = rng.randrange(4)
            if action == 0 and data:
                data[at % len(data)] = rng.randrange(256)
            elif action == 1:
                data[at:at] = rng.choice(
                    [b"\r\n", b"\n", b"\0", b": ", b"9", b"chunked"]
                )
            elif action == 2:
                del data[at : at + rng.randrange(20)]
            else:
                data += rng.randbytes(rng.randrange(50))
        return bytes(data)

    cases = [mutate(rng.choice(base)) for _ in range(300)]

    def serve(conn, server):
        case = cases[min(server.accepted - 1, len(cases) - 1)]
        server.request(conn)
        conn.sendall(case)
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):
            pass

    for found in outcomes(serve, count=len(cases), keep_alive=False):
        assert isinstance(found, (bytes, *KINDS)), found
        assert not is_timeout(found)


def test_requests_that_nobody_reads():
    """A large body against a server that answers and goes away."""

    async def main(server):
        with client_of_test() as http:
            try:
                response = await http.fetch(
                    server.url,
                    method="POST",
                    body=bytes(20_000_000),
                    raise_error=False,
                    request_timeout=10,
                )
            except HTTPStreamClosedError:
                return None
            return response.code

    def serve(conn, server):
        conn.recv(1000)
        conn.sendall(ok(b"no", status="413 Too Large"))
        conn.shutdown(socket.SHUT_WR)

    with RawServer(serve) as server:
        # Which of the two comes first is a matter of the kernel: never a hang.
        assert run(main, server) in (413, None)
