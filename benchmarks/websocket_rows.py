"""The rows and contestants of ``python -m benchmarks websocket``."""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http_servers import compiled, modules, program

TEXT = ("The quick brown fox jumps over the lazy dog. " * 3)[:125].encode()
BINARY = bytes(range(256)) * 256
JSON = json.dumps(
    [
        {"id": i, "name": f"user {i}", "mail": f"user{i}@example.com", "on": i % 3 == 0}
        for i in range(16)
    ]
).encode()
DEFLATE = "permessage-deflate; client_max_window_bits"
MASK = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    message: bytes
    mode: str = "echo"  # of the load
    path: str = "/"
    opcode: int = 1
    connections: int = 64
    deflate: bool = False

    def frame(self) -> bytes:
        """The message as a client's frame, which may be sent any number of times."""
        data, first = self.message, 0x80 | self.opcode
        if self.deflate:
            packer = zlib.compressobj(wbits=-10)  # a window that any server can read
            data = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
            data, first = data[:-4], first | 0x40
        if len(data) < 126:
            head = bytes([first, 0x80 | len(data)])
        elif len(data) < 65536:
            head = bytes([first, 0xFE]) + struct.pack(">H", len(data))
        else:
            head = bytes([first, 0xFF]) + struct.pack(">Q", len(data))
        mask = (MASK * (len(data) // 4 + 1))[: len(data)]
        masked = int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")
        return head + MASK + masked.to_bytes(len(data), "big")


ROWS = {
    row.name: row
    for row in [
        Row("text", "echoes of 125 B of text, 64 connections", TEXT),
        Row(
            "binary",
            "echoes of 64 KiB of bytes, 16 connections",
            BINARY,
            opcode=2,
            connections=16,
        ),
        Row(
            "deflate",
            f"echoes of {len(JSON)} B of JSON, compressed, 64 connections",
            JSON,
            path="/deflate",
            deflate=True,
        ),
        Row(
            "fanout",
            "125 B of text to 1,000 clients, for each message that one of them gets",
            TEXT,
            mode="fanout",
            path="/fanout",
            connections=1000,
        ),
    ]
}

MEMORY = {
    row.name: row
    for row in [
        Row("plain", "idle after one echo", TEXT, mode="idle", connections=8000),
        Row(
            "deflate",
            "idle after one compressed echo, default memory settings",
            JSON,
            mode="idle",
            path="/deflate",
            connections=1000,
            deflate=True,
        ),
        Row(
            "small",
            "idle after one compressed echo, the settings recommended for memory",
            JSON,
            mode="idle",
            path="/small",
            connections=8000,
            deflate=True,
        ),
    ]
}


@dataclass(frozen=True)
class Server:
    name: str
    missing: Callable[[], str | None]  # what has to be installed, None if nothing
    command: Callable[[int, Path, Row], list[str]]


def _module(name: str, *more: str) -> Callable[[int, Path, Row], list[str]]:
    def command(port: int, work: Path, row: Row) -> list[str]:
        module = f"benchmarks.servers.websocket_{name}"
        return [sys.executable, "-m", module, str(port), str(work), *more]

    return command


def _floor(port: int, work: Path, row: Row) -> list[str]:
    binary = compiled(work, "floor/websocket.c", "ws_floor", "-lz")
    mode = "fanout" if row.mode == "fanout" else "deflate" if row.deflate else "echo"
    return [str(binary), str(port), mode]


def _uvicorn(port: int, work: Path, row: Row) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "benchmarks.servers.websocket_asgi:app"),
        *("--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"),
        *("--no-access-log", "--log-level", "error", "--lifespan", "off"),
        *("--ws-ping-interval", "600", "--ws-ping-timeout", "600"),
        *("--ws-per-message-deflate", "true" if row.deflate else "false"),
    ]


SERVERS = {
    server.name: server
    for server in [
        Server("floor", program("gcc"), _floor),
        Server(
            "pyfastloop", modules("pyfastloop"), _module("tornado_api", "pyfastloop")
        ),
        Server("tornado", modules("tornado"), _module("tornado_api", "tornado")),
        Server("aiohttp", modules("aiohttp", "uvloop"), _module("aiohttp")),
        Server("websockets", modules("websockets", "uvloop"), _module("websockets")),
        Server("uvicorn", modules("uvicorn", "uvloop", "websockets"), _uvicorn),
        Server("socketify", modules("socketify"), _module("socketify")),
    ]
}
