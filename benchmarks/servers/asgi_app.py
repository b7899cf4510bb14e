"""A raw ASGI application without a framework, the least a server can run."""

import asyncio
import json
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from benchmarks.http_rows import HELLO, JSON, MIB, STREAM_PIECE

HTML = b"text/html; charset=UTF-8"


PIECE = b"x" * STREAM_PIECE


async def stream(send, size):
    headers = [(b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for left in range(size // STREAM_PIECE - 1, -1, -1):
        more = {"more_body": left > 0}
        await send({"type": "http.response.body", "body": PIECE, **more})


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    kind, status = HTML, 200
    if path == "/":
        body = HELLO
    elif path == "/json":
        kind, body = b"application/json", json.dumps(JSON).encode()
    elif path.startswith("/args/"):
        query = parse_qs(scope["query_string"].decode())
        body = f"{query['greeting'][0]}, {path[6:]}".encode()
    elif path == "/browser":
        headers = dict(scope["headers"])
        cookies = SimpleCookie(headers[b"cookie"].decode())
        body = headers[b"accept-language"] + b" " + cookies["theme"].value.encode()
    elif path == "/suspend":
        await asyncio.sleep(0)
        body = HELLO
    elif path == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    elif path == "/up":
        received, more = 0, True
        while more:
            message = await receive()
            received += len(message.get("body", b""))
            more = message.get("more_body", False)
        body = str(received).encode()
    elif path == "/down":
        await stream(send, int(parse_qs(scope["query_string"].decode())["size"][0]))
        return
    elif path == "/body1m":
        body = MIB
    else:
        status, body = 404, b"not here"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
