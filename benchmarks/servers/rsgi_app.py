"""A raw RSGI application, granian's own interface."""

import asyncio
import json
from urllib.parse import parse_qs

from benchmarks.http_rows import HELLO, JSON, MIB

HTML = [("content-type", "text/html; charset=UTF-8")]


async def app(scope, protocol):
    path = scope.path
    if path == "/":
        protocol.response_bytes(200, HTML, HELLO)
    elif path == "/json":
        head = [("content-type", "application/json")]
        protocol.response_bytes(200, head, json.dumps(JSON).encode())
    elif path.startswith("/args/"):
        query = parse_qs(scope.query_string)
        body = f"{query['greeting'][0]}, {path[6:]}".encode()
        protocol.response_bytes(200, HTML, body)
    elif path == "/suspend":
        await asyncio.sleep(0)
        protocol.response_bytes(200, HTML, HELLO)
    elif path == "/echo":
        protocol.response_bytes(200, HTML, await protocol())
    elif path == "/body1m":
        protocol.response_bytes(200, HTML, MIB)
    else:
        protocol.response_bytes(404, HTML, b"not here")
