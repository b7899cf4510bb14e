"""pyfastloop.asgi: ASGI applications in our server, and ours as one."""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar

import pytest
from web_support import lines_of

from pyfastloop import gen, web
from pyfastloop.asgi import ASGIContainer


class Echo:
    """An ASGI application that shows what it was given."""

    def __init__(self):
        self.events = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            self.events.append((await receive())["type"])
            scope["state"]["made"] = "at startup"
            await send({"type": "lifespan.startup.complete"})
            self.events.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        handler = getattr(self, scope["path"].strip("/").replace("/", "_") or "root")
        await handler(scope, receive, send)

    async def answer(self, send, body, status=200, headers=()):
        await send(
            {"type": "http.response.start", "status": status, "headers": list(headers)}
        )
        await send({"type": "http.response.body", "body": body})

    async def root(self, scope, receive, send):
        keys = "type method http_version scheme raw_path query_string root_path state"
        shown = [scope[key] for key in keys.split()]
        shown.append(dict(scope["headers"]).get(b"x-foo"))
        await self.answer(
            send, repr(shown).encode(), headers=[(b"x-a", b"1"), (b"x-a", b"2")]
        )

    async def body(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        await self.answer(send, body, 201)

    async def stream(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for piece in (b"a", b"b"):
            message = {"type": "http.response.body", "body": piece, "more_body": True}
            await send(message)
        await send({"type": "http.response.body"})

    async def early(self, scope, receive, send):
        raise KeyError("early")

    async def silent(self, scope, receive, send):
        pass

    async def late(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise KeyError("late")

    async def wait(self, scope, receive, send):
        self.events.append("waiting")
        while (await receive())["type"] != "http.disconnect":
            pass
        self.events.append("disconnected")

    async def deaf(self, scope, receive, send):
        await self.answer(send, b"not read")


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture(params=["alone", "mounted"])
def served(request, site, echo):
    container = ASGIContainer(echo, root_path="/mounted")
    made = site(container if request.param == "alone" else [("/.*", container)])
    yield made
    made.run(container.shutdown)
    if echo.events:
        assert echo.events[0] == "lifespan.startup"
        assert echo.events[-1] == "lifespan.shutdown"


def test_scope(served):
    answer = served.ask("/?a=%20b", headers={"X-Foo": "bar"})
    assert answer.text == repr(
        [
            "http",
            "GET",
            "1.1",
            "http",
            b"/",
            b"a=%20b",
            "/mounted",
            {"made": "at startup"},
            b"bar",
        ]
    )
    assert answer.all("X-A") == ["1", "2"]
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert "Date" in answer.headers


def test_bodies_both_ways(served):
    body = b"x" * 300_000
    answer = served.ask("/body", "POST", body=body)
    assert (answer.code, answer.body) == (201, body)
    assert served.ask("/body").body == b""
    assert served.ask("/stream").body == b"ab"
    assert served.ask("/stream", "HEAD").rest == b""
    assert served.ask("/deaf", "POST", body=b"x" * 1000).body == b"not read"


@pytest.mark.parametrize("path", ["/early", "/silent"])
def test_failures_are_a_500(served, caplog, path):
    assert served.ask(path).code == 500
    assert "Uncaught exception in ASGI application" in caplog.text
    assert lines_of(caplog, "tornado.access")[0].startswith(f"500 GET {path} ")


def test_a_late_failure_breaks_the_response_off(served, caplog):
    answer = served.ask("/late")
    assert answer.code == 200
    assert not answer.rest.endswith(b"0\r\n\r\n")


def test_a_client_that_leaves(served, echo):
    async def run():
        client = socket.create_connection(("127.0.0.1", served.port))
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        while "waiting" not in echo.events:
            await gen.sleep(0.001)
        client.close()
        while "disconnected" not in echo.events:
            await gen.sleep(0.001)

    served.run(run)


def test_an_application_without_lifespan(site):
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})

    assert site(ASGIContainer(app)).ask("/").body == b"x"


def test_a_lifespan_that_fails(site):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    container = ASGIContainer(app)
    s = site(container)
    with pytest.raises(RuntimeError, match="failed at startup: no database"):
        s.run(container.startup)


# -- ours as an ASGI application ---------------------------------------------------


class Handler(web.RequestHandler):
    def get(self):
        self.write({"a": self.get_argument("a", ""), "ip": self.request.remote_ip})

    async def post(self):
        await gen.sleep(0)
        self.write(self.get_body_argument("b"))

    async def put(self):
        for piece in "abc":
            self.write(piece)
            await self.flush()


@web.stream_request_body
class Upload(web.RequestHandler):
    def prepare(self):
        self.pieces = []

    async def data_received(self, chunk):
        await gen.sleep(0)
        self.pieces.append(len(chunk))

    def post(self):
        self.write(repr(self.pieces))


class Waits(web.RequestHandler):
    closed: ClassVar[list[object]] = []

    async def get(self):
        self.write("begun")
        await self.flush()
        await asyncio.get_running_loop().create_future()

    def on_connection_close(self):
        self.closed.append(self)


APP = web.Application([("/", Handler), ("/up", Upload), ("/waits", Waits)])


def exchange(method, path="/", body=(b"",), query=b"", headers=(), leave=False):
    """What the application sends for a request, as an ASGI server would see it."""
    sent = []

    async def run():
        pieces = list(body)
        done = asyncio.Event()

        async def receive():
            if pieces:
                piece = pieces.pop(0)
                return {
                    "type": "http.request",
                    "body": piece,
                    "more_body": bool(pieces),
                }
            await done.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if leave or not message.get("more_body", True):
                done.set()

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "http_version": "1.1",
            "scheme": "https",
            "headers": [(b"host", b"x"), *headers],
            "client": ("9.9.9.9", 1),
            "server": ("x", 443),
        }
        await asyncio.wait_for(APP.asgi(scope, receive, send), 60)

    asyncio.run(run())
    start, *rest = sent
    return start, b"".join(message["body"] for message in rest), rest


def test_asgi_application(caplog):
    start, body, rest = exchange("GET", query=b"a=%20x")
    assert start["status"] == 200
    assert body == b'{"a": "x", "ip": "9.9.9.9"}'
    assert len(rest) == 1
    names = [name for name, _ in start["headers"]]
    assert b"content-length" in names
    assert b"server" not in names
    assert b"date" not in names
    assert exchange("GET", "/nope")[0]["status"] == 404
    form = [(b"content-type", b"application/x-www-form-urlencoded")]
    assert exchange("POST", body=(b"b=", b"xyz"), headers=form)[1] == b"xyz"


def test_asgi_streams_both_ways():
    _, body, rest = exchange("PUT")
    assert body == b"abc"
    assert len(rest) >= 3
    assert exchange("POST", "/up", body=(b"ab", b"cde"))[1] == b"[2, 3]"


def test_asgi_disconnect():
    Waits.closed.clear()
    start, body, _ = exchange("GET", "/waits", leave=True)
    assert (start["status"], body) == (200, b"begun")
    assert len(Waits.closed) == 1


def test_asgi_lifespan_and_websocket(caplog):
    async def run():
        sent = []
        inbox = asyncio.Queue()
        inbox.put_nowait({"type": "lifespan.startup"})
        inbox.put_nowait({"type": "lifespan.shutdown"})

        async def send(message):
            sent.append(message["type"])

        await APP.asgi({"type": "lifespan"}, inbox.get, send)
        inbox.put_nowait({"type": "websocket.connect"})
        await APP.asgi({"type": "websocket", "path": "/"}, inbox.get, send)
        with pytest.raises(ValueError, match="expected an http"):
            await APP.asgi({"type": "mail"}, inbox.get, send)
        return sent

    assert asyncio.run(run()) == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
        "websocket.close",
    ]
    assert "serves HTTP only" in caplog.text
