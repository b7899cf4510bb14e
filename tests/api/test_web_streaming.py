"""pyfastloop.web: bodies that arrive piece by piece."""

from __future__ import annotations

import asyncio
import gzip
import socket

import pytest

from pyfastloop import gen, web


def test_prepare_pieces_and_method_come_in_order(site):
    seen = []

    @web.stream_request_body
    class Upload(web.RequestHandler):
        async def prepare(self):
            seen.append("prepare begins")
            await gen.sleep(0.001)
            seen.append("prepare ends")
            self.size = 0

        async def data_received(self, chunk):
            seen.append("piece begins")
            await gen.sleep(0)
            self.size += len(chunk)
            seen.append("piece ends")

        def post(self):
            seen.append("post")
            self.write(str(self.size))

    s = site([("/", Upload)])
    assert s.ask("/", "POST", body=b"x" * 300_000).body == b"300000"
    assert seen[:2] == ["prepare begins", "prepare ends"]
    assert seen[-1] == "post"
    pieces = seen[2:-1]
    assert pieces == ["piece begins", "piece ends"] * (len(pieces) // 2)
    assert len(pieces) > 2


def test_an_empty_body(site):
    @web.stream_request_body
    class Upload(web.RequestHandler):
        def data_received(self, chunk):
            raise AssertionError("there is none")

        def post(self):
            self.write("done")

        get = post

    s = site([("/", Upload)])
    assert s.ask("/").body == b"done"
    assert s.ask("/", "POST", body=b"").body == b"done"


def test_a_chunked_body(site):
    @web.stream_request_body
    class Upload(web.RequestHandler):
        def prepare(self):
            self.body = b""

        def data_received(self, chunk):
            self.body += chunk

        def post(self):
            self.write(self.body)

    raw = site([("/", Upload)]).raw(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert raw.endswith(b"\r\n\r\nabcde")


def test_refused_before_the_body_came(site, caplog):
    @web.stream_request_body
    class Upload(web.RequestHandler):
        def prepare(self):
            raise web.HTTPError(413)

        def data_received(self, chunk):
            raise AssertionError("not to be called")

    s = site([("/", Upload)])

    def refused(port):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n")
            return sock.recv(65536)

    assert s.in_thread(refused, s.port).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0\r\nConnection: keep-alive"])
def test_an_answer_before_the_body_says_that_it_ends_the_connection(site, version):
    @web.stream_request_body
    class Upload(web.RequestHandler):
        def prepare(self):
            if self.get_query_argument("early", None):
                self.finish("early")

        def data_received(self, chunk):
            pass

        def post(self):
            self.write("late")

    post = f" {version}\r\nHost: x\r\nContent-Length: 1\r\n\r\nx".encode()
    raw = site([("/", Upload)]).raw(b"POST /" + post + b"POST /?early=1" + post)
    late, early = raw.split(b"late")
    assert b"Connection: close" not in late
    assert b"\r\nConnection: close\r\n" in early
    assert early.endswith(b"\r\n\r\nearly")


def test_data_received_must_be_defined(site, caplog):
    @web.stream_request_body
    class Upload(web.RequestHandler):
        def post(self):
            self.write("not reached")

    raw = site([("/", Upload)]).raw(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    )
    assert b"not reached" not in raw
    assert "must define data_received" in caplog.text


@pytest.mark.parametrize("own_hook", [False, True])
def test_a_client_that_leaves_in_the_middle(site, own_hook):
    closed = []

    @web.stream_request_body
    class Upload(web.RequestHandler):
        def prepare(self):
            handlers.append(self)
            arrived.set_result(None)

        def data_received(self, chunk):
            pass

        def post(self):
            raise AssertionError("the body never was whole")

    if own_hook:
        Upload.on_connection_close = lambda self: closed.append(self)

    async def run():
        nonlocal arrived
        arrived = asyncio.get_running_loop().create_future()
        client = socket.create_connection(("127.0.0.1", s.port))
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        await arrived
        client.close()
        while not handlers[0].request._body_future.done():
            await gen.sleep(0.001)

    handlers: list = []
    arrived: asyncio.Future[None]
    s = site([("/", Upload)])
    s.run(run)
    assert (len(closed) == 1) is own_hook


@pytest.mark.parametrize(
    "body", [gzip.compress(b"abc" * 99)[:-3], b"no gzip", gzip.compress(b"a") + b"more"]
)
def test_a_coded_body_that_is_broken_ends_the_handler(site, body):
    ends = []

    @web.stream_request_body
    class Upload(web.RequestHandler):
        def data_received(self, chunk):
            pass

        def post(self):
            ends.append("post")

        def on_connection_close(self):
            ends.append("closed")

    s = site([("/", Upload)], server_options={"decompress_request": True})
    answer = s.ask("/", "POST", {"Content-Encoding": "gzip"}, body)
    assert answer.code == 400
    s.run(gen.sleep, 0)
    assert ends == ["closed"]
