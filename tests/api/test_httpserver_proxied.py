"""Behind a proxy and with transforms: what C does there is what Python did."""

from __future__ import annotations

import asyncio

import pytest

from pyfastloop import web

HEAD = "GET / HTTP/1.1\r\nHost: a\r\n"


class Peer(web.RequestHandler):
    def get(self):
        context = self.request.connection.context
        self.write(f"{self.request.remote_ip} {self.request.protocol} ")
        self.write(f"{context.remote_ip} {context.protocol}")


class Later(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0)
        self.write(f"{self.request.remote_ip} {self.request.protocol}")


def test_each_request_has_the_address_that_its_headers_say(site):
    s = site([("/", Peer)], server_options={"xheaders": True})
    lines = [
        "X-Real-Ip: 4.4.4.4\r\n\r\n",
        "X-Forwarded-Proto: https\r\n\r\n",
        "X-Forwarded-For: 1.1.1.1, 5.5.5.5\r\nX-Scheme: https\r\n\r\n",
        "X-Real-Ip: no address\r\nConnection: close\r\n\r\n",
    ]
    raw = s.raw("".join(HEAD + line for line in lines).encode()).decode()
    for wanted in (
        "4.4.4.4 http 4.4.4.4 http",
        "127.0.0.1 https 127.0.0.1 https",
        "5.5.5.5 https 5.5.5.5 https",
        "127.0.0.1 http 127.0.0.1 http",
    ):
        before, found, raw = raw.partition("\r\n\r\n" + wanted)
        assert found, (before, wanted)


def test_trusted_downstream_is_skipped(site):
    options = {"xheaders": True, "trusted_downstream": ["5.5.5.5"]}
    s = site([("/", Peer)], server_options=options)
    given = {"X-Forwarded-For": "1.1.1.1, 4.4.4.4, 5.5.5.5"}
    assert s.ask("/", headers=given).text.startswith("4.4.4.4 ")


def test_a_handler_that_suspends_keeps_the_address(site):
    s = site([("/", Later)], server_options={"xheaders": True})
    answer = s.ask("/", headers={"X-Real-Ip": "4.4.4.4", "X-Scheme": "https"})
    assert answer.text == "4.4.4.4 https"


def test_without_xheaders_nobody_is_believed(site):
    answer = site([("/", Peer)]).ask("/", headers={"X-Real-Ip": "4.4.4.4"})
    assert answer.text.startswith("127.0.0.1 ")


def test_a_context_that_raises_ends_the_connection(site, monkeypatch):
    from pyfastloop import httpserver

    def fails(self, headers):
        raise RuntimeError("no")

    s = site([("/", Peer)], server_options={"xheaders": True})
    monkeypatch.setattr(httpserver._HTTPRequestContext, "_apply_xheaders", fails)
    assert s.raw((HEAD + "\r\n").encode()) == b""


class Upper:
    def __init__(self, request):
        self.made_for = request.path

    def transform_first_chunk(self, status, headers, chunk, finishing):
        headers["X-Path"] = self.made_for
        return status, headers, chunk.upper()

    def transform_chunk(self, chunk, finishing):
        return chunk.upper()


class Pieces(web.RequestHandler):
    async def get(self):
        self.write("one ")
        await self.flush()
        self.write("two")


@pytest.mark.parametrize("wrapped", [False, True])
def test_transforms_are_made_for_each_request(site, wrapped):
    class Says(web.RequestHandler):
        def get(self):
            assert [type(t) for t in self._transforms] == [Upper]
            self.write("hello")

    if wrapped:
        execute = Says._execute

        async def traced(self, transforms, *args, **kwargs):
            return await execute(self, transforms, *args, **kwargs)

        Says._execute = traced
    s = site([("/", Says), ("/pieces", Pieces)], transforms=[Upper])
    answer = s.ask("/")
    assert (answer.body, answer.headers["X-Path"]) == (b"HELLO", "/")
    answer = s.ask("/pieces")
    assert (answer.body, answer.headers["X-Path"]) == (b"ONE TWO", "/pieces")
    s.app.transforms.append(Upper)
    s.app.transforms.clear()
    assert site([("/", Peer)]).ask("/").code == 200
