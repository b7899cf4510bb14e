"""The rows of ``python -m benchmarks http``: the question and its answer.

A server program serves all the paths of these rows that it can; a server that answers a
row's question with anything else than `expect` is left out of that row, by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

HELLO = b"Hello, world"
JSON = {"message": "Hello, world", "items": [1, 2, 3], "ok": True}
MIB = bytes(range(256)) * 4096

# What a browser sends for a page, about 700 bytes.
BROWSER_HEAD = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like"
    " Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"
    "image/webp,image/apng,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.9,de;q=0.8,fr;q=0.7",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cache-Control": "max-age=0",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-User": "?1",
    "Upgrade-Insecure-Requests": "1",
    "Cookie": "session=2f1d8b6a9c3e4750b1a6; theme=dark; _ga=GA1.1.123456789.170000000",
}


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    path: str = "/"
    expect: bytes = HELLO
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: int = 0  # bytes of "x"
    depth: int = 1  # requests sent at once by each connection
    connections: int = 64
    json: bool = False  # the answer is compared as JSON
    tls: bool = False
    processes: int = 1  # on one port

    def right(self, body: bytes) -> bool:
        if not self.json:
            return body == self.expect
        try:
            return bool(json.loads(body) == json.loads(self.expect))
        except ValueError:
            return False


ROWS = {
    row.name: row
    for row in [
        Row("plaintext", "keep-alive, a plain get that writes 12 bytes"),
        Row("pipelined", "the same, 16 requests sent at once", depth=16),
        Row("json", "write(dict)", "/json", json.dumps(JSON).encode(), json=True),
        Row(
            "args",
            "a path group and a query argument",
            "/args/alice?greeting=hello",
            b"hello, alice",
        ),
        Row(
            "browser",
            "a browser's 700-byte head; one header and one cookie read",
            "/browser",
            b"en-GB,en;q=0.9,de;q=0.8,fr;q=0.7 dark",
            headers=BROWSER_HEAD,
        ),
        Row("hooks", "initialize, defaults, prepare and on_finish in Python", "/hooks"),
        Row("wrapped", "the hooks wrapped at run time as tracing tools do", "/wrapped"),
        Row("suspend", "async def that awaits asyncio.sleep(0)", "/suspend"),
        Row(
            "post", "POST of 16 KiB, echoed", "/echo", b"x" * 16384, "POST", body=16384
        ),
        Row("body1m", "an answer of 1 MiB, no ETag", "/body1m", MIB, connections=8),
        Row("static1m", "a static file of 1 MiB", "/static/1m.bin", MIB, connections=8),
        Row(
            "connection",
            "a connection a request",
            headers={"Connection": "close"},
        ),
        Row("one", "plaintext over one connection", connections=1),
        Row("thousand", "plaintext over 1,024 connections", connections=1024),
        Row("https", "plaintext over TLS, keep-alive", tls=True),
        Row("two", "plaintext by two processes on one port", processes=2),
    ]
}
# Of a body that is streamed, up or down.
STREAM_PIECE = 256 * 1024
DEFAULT = ["plaintext", "pipelined", "json", "args", "suspend"]
