"""pyfastloop.asgi: WebSockets of ASGI applications in our server."""

from __future__ import annotations

import pytest

from pyfastloop.asgi import ASGIContainer
from pyfastloop.httpclient import HTTPClientError
from pyfastloop.websocket import websocket_connect


class Echo:
    def __init__(self):
        self.scopes = []
        self.messages = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan here")
        self.scopes.append(scope)
        assert (await receive())["type"] == "websocket.connect"
        if scope["path"] == "/refused":
            await send({"type": "websocket.close"})
            return
        if scope["path"] == "/broken":
            raise KeyError("before accept")
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": "second",
                "headers": [(b"x-a", b"1")],
            }
        )
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "raise":
                raise KeyError("in the midst")
            if message.get("text") == "bye":
                await send({"type": "websocket.close", "code": 4001, "reason": "why"})
            elif message.get("bytes") is not None:
                await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})
            else:
                await send({"type": "websocket.send", "text": message["text"].upper()})


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def served(site, echo):
    return site([("/.*", ASGIContainer(echo))])


async def talk(port, path="/ws?q=1"):
    return await websocket_connect(
        f"ws://127.0.0.1:{port}{path}", subprotocols=["first", "second"]
    )


def test_messages_both_ways(served, echo):
    async def run():
        client = await talk(served.port)
        assert client.selected_subprotocol == "second"
        assert client.headers["X-A"] == "1"
        await client.write_message("text")
        assert await client.read_message() == "TEXT"
        await client.write_message(b"abc", binary=True)
        assert await client.read_message() == b"cba"
        await client.write_message("bye")
        assert await client.read_message() is None
        assert (client.close_code, client.close_reason) == (4001, "why")

    served.run(run)
    (scope,) = echo.scopes
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert scope["query_string"] == b"q=1"
    assert scope["subprotocols"] == ["first", "second"]


def test_the_application_hears_of_the_close(served, echo):
    async def run():
        client = await talk(served.port)
        await client.write_message("one")
        await client.read_message()
        client.close(4002, "done")
        while not echo.messages or echo.messages[-1]["type"] == "websocket.receive":
            await pause()

    from pyfastloop import gen

    async def pause():
        await gen.sleep(0.001)

    served.run(run)
    assert echo.messages[-1] == {
        "type": "websocket.disconnect",
        "code": 4002,
        "reason": "done",
    }


@pytest.mark.parametrize(("path", "code"), [("/refused", 403), ("/broken", 500)])
def test_refused(served, caplog, path, code):
    async def run():
        with pytest.raises(HTTPClientError) as caught:
            await talk(served.port, path)
        return caught.value.code

    assert served.run(run) == code


def test_an_application_that_raises_closes_with_1011(served, caplog):
    async def run():
        client = await talk(served.port)
        await client.write_message("raise")
        assert await client.read_message() is None
        return client.close_code

    assert served.run(run) == 1011
    assert "KeyError: 'in the midst'" in caplog.text
