"""WebSocket peers of plain sockets: handshakes and frames written out byte by byte."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from typing import NamedTuple

from raw_http import SECONDS, header, read_exactly, read_head

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    opcode: int
    data: bytes
    fin: bool = True
    rsv: int = 0


def frame(
    opcode: int,
    data: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """The bytes of a frame; *length* replaces the length field and its extension."""
    if length is None:
        if len(data) < 126:
            length = bytes([len(data)])
        elif len(data) < 65536:
            length = b"\x7e" + struct.pack(">H", len(data))
        else:
            length = b"\x7f" + struct.pack(">Q", len(data))
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    head += bytes([length[0] | (0x80 if masked else 0)]) + length[1:]
    if not masked:
        return head + data
    return head + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(data))


def close_frame(code: int | None = None, reason: bytes = b"", **kwargs: bool) -> bytes:
    data = b"" if code is None else struct.pack(">H", code) + reason
    return frame(CLOSE, data, **kwargs)


def read_frame(conn: socket.socket, masked: bool) -> Frame:
    """The next frame. Raises EOFError; *masked* is what must hold of it."""
    first, second = read_exactly(conn, 2)
    assert bool(second & 0x80) == masked, "masked the wrong way"
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", read_exactly(conn, 2))
        assert length > 125, "not the shortest length"
    elif length == 127:
        (length,) = struct.unpack(">Q", read_exactly(conn, 8))
        assert length > 65535, "not the shortest length"
    key = read_exactly(conn, 4) if masked else b""
    data = read_exactly(conn, length)
    if masked:
        data = bytes(b ^ key[i % 4] for i, b in enumerate(data))
    return Frame(first & 0x0F, data, bool(first & 0x80), first & 0x70)


def connect(port: int, path: str = "/", **headers: str | None) -> tuple:
    """Connect as a client; (socket, head of the answer). None leaves a header out."""
    fields: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    for name, value in headers.items():
        fields[name.replace("_", "-")] = value
    conn = socket.create_connection(("127.0.0.1", port), SECONDS)
    lines = [f"GET {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    conn.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return conn, read_head(conn)


def accept(conn: socket.socket, *headers: str) -> bytes:
    """Answer a client's handshake; its head."""
    head = read_head(conn)
    key = header(head, "Sec-WebSocket-Key") or ""
    assert len(base64.b64decode(key)) == 16
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Accept: " + base64.b64encode(digest.digest()).decode(),
        *headers,
    ]
    conn.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return head


def rest_of(conn: socket.socket, masked: bool) -> list[Frame]:
    """All frames until the peer closes."""
    found = []
    while True:
        try:
            found.append(read_frame(conn, masked))
        except EOFError:
            return found
        except ConnectionError:
            return found
