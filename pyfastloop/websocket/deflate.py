"""permessage-deflate (RFC 7692): what the two sides agree on, and the codec.

An offer or answer is a list of ``(name, {parameter: value or None})``. The options of
a program, as `WebSocketHandler.get_compression_options` returns them, are Tornado's
``compression_level`` and ``mem_level``, and for memory: ``max_window_bits`` (9 to 15,
for both directions as far as the peer goes along) and ``no_context_takeover`` (True:
nothing is kept between messages).

zlib cannot write raw deflate with a window of 256 bytes, so a peer's demand of
``server_max_window_bits=8`` is not accepted; reading such data works.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, NamedTuple

__all__ = ["Agreement", "Deflater", "Inflater", "MessageTooBigError"]

NAME = "permessage-deflate"

_TAIL = b"\x00\x00\xff\xff"

Extension = tuple[str, dict[str, str | None]]

_KNOWN_OPTIONS = frozenset(
    ("compression_level", "mem_level", "max_window_bits", "no_context_takeover")
)
_BITS = re.compile(r"(?:8|9|1[0-5])\Z")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(
    rf'[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?'
)
_NAME = re.compile(rf"[ \t]*({_TOKEN})")
_NEXT = re.compile(r"[ \t]*(,|\Z)")


class MessageTooBigError(Exception):
    """A message inflates past the limit."""


def parse_extensions(header: str) -> list[Extension]:
    """The value of Sec-WebSocket-Extensions (RFC 6455 section 9.1).

    Raises ValueError for what is no such list, or names a parameter twice.
    """
    found: list[Extension] = []
    at = 0
    while at < len(header):
        name = _NAME.match(header, at)
        if name is None:
            raise ValueError(f"malformed Sec-WebSocket-Extensions: {header!r}")
        at = name.end()
        parameters: dict[str, str | None] = {}
        while parameter := _PARAMETER.match(header, at):
            at = parameter.end()
            if parameter[1] in parameters:
                raise ValueError(f"{parameter[1]} twice in Sec-WebSocket-Extensions")
            parameters[parameter[1]] = parameter[2] or parameter[3]
        end = _NEXT.match(header, at)
        if end is None:
            raise ValueError(f"malformed Sec-WebSocket-Extensions: {header!r}")
        at = end.end()
        found.append((name[1], parameters))
    return found


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """*options* when every key is known, else ValueError."""
    unknown = set(options) - _KNOWN_OPTIONS
    if unknown:
        raise ValueError(
            f"unknown compression options {sorted(unknown)}; known are "
            f"{sorted(_KNOWN_OPTIONS)}"
        )
    bits = options.get("max_window_bits")
    if bits is not None and not 9 <= bits <= 15:
        raise ValueError(f"max_window_bits must be 9 to 15, not {bits!r}")
    return options


class Agreement(NamedTuple):
    """What both sides keep to. Bits are window sizes, takeover is of the contexts."""

    server_bits: int = 15
    client_bits: int = 15
    server_takeover: bool = True
    client_takeover: bool = True

    @classmethod
    def accept(
        cls, parameters: dict[str, str | None], options: dict[str, Any]
    ) -> tuple[Agreement, str] | None:
        """A server's answer to one offer: the agreement and the header value to send.

        None when the offer asks for what is not known or not possible.
        """
        bits = options.get("max_window_bits", 15)
        keep_nothing = bool(options.get("no_context_takeover"))
        server_bits, client_bits = bits, 15
        server_takeover = client_takeover = not keep_nothing
        answer = [NAME]
        client_may_limit = False
        for name, value in parameters.items():
            if name == "server_no_context_takeover" and value is None:
                server_takeover = False
            elif name == "client_no_context_takeover" and value is None:
                client_takeover = False
            elif name == "server_max_window_bits" and value and _BITS.match(value):
                server_bits = min(server_bits, int(value))
                if server_bits < 9:
                    return None
            elif name == "client_max_window_bits" and (
                value is None or _BITS.match(value)
            ):
                client_may_limit = True
                client_bits = 15 if value is None else int(value)
            else:
                return None
        if not server_takeover:
            answer.append("server_no_context_takeover")
        if not client_takeover:
            answer.append("client_no_context_takeover")
        if server_bits != 15 or "server_max_window_bits" in parameters:
            answer.append(f"server_max_window_bits={server_bits}")
        if client_may_limit and min(bits, client_bits) != 15:
            client_bits = min(bits, client_bits)
            answer.append(f"client_max_window_bits={client_bits}")
        return cls(
            server_bits, client_bits, server_takeover, client_takeover
        ), "; ".join(answer)

    @staticmethod
    def offer(options: dict[str, Any]) -> str:
        """What a client asks for."""
        bits = options.get("max_window_bits")
        parts = [NAME]
        if options.get("no_context_takeover"):
            parts += ["server_no_context_takeover", "client_no_context_takeover"]
        if bits is None or bits == 15:
            parts.append("client_max_window_bits")
        else:
            parts.append(f"server_max_window_bits={bits}")
            parts.append(f"client_max_window_bits={bits}")
        return "; ".join(parts)

    @classmethod
    def accepted(
        cls, parameters: dict[str, str | None], options: dict[str, Any]
    ) -> Agreement:
        """What a server's answer means for the client. Raises ValueError."""
        wanted = options.get("max_window_bits", 15)
        server_bits, client_bits = 15, wanted
        for name, value in parameters.items():
            bits = name.endswith("_max_window_bits")
            if name in ("server_no_context_takeover", "client_no_context_takeover"):
                if value is not None:
                    raise ValueError(f"{name} takes no value, the server sent {value}")
            elif not bits or value is None or not _BITS.match(value):
                raise ValueError(f"the server answered {NAME} with {name}={value}")
            elif name == "server_max_window_bits":
                server_bits = int(value)
                if server_bits > wanted:
                    raise ValueError(f"{name}={value}, {wanted} was asked for")
            elif int(value) > wanted or int(value) < 9:
                raise ValueError(f"{name}={value} cannot be kept to")
            else:
                client_bits = int(value)
        return cls(
            server_bits,
            client_bits,
            "server_no_context_takeover" not in parameters
            and not options.get("no_context_takeover"),
            "client_no_context_takeover" not in parameters
            and not options.get("no_context_takeover"),
        )


class Deflater:
    """Messages in, compressed payloads out. Made without memory until it is used."""

    __slots__ = ("_bits", "_level", "_memory", "_object", "_takeover")

    def __init__(self, bits: int, takeover: bool, options: dict[str, Any]) -> None:
        self._bits = bits
        self._takeover = takeover
        self._level = options.get("compression_level", 6)
        self._memory = options.get("mem_level", 8)
        self._object: Any = None

    def shared_key(self) -> tuple[int, int, int] | None:
        """Equal for deflaters that give the same bytes; None where these depend on
        what was compressed before."""
        if self._takeover:
            return None
        return self._bits, self._level, self._memory

    def compress(self, data: str | bytes) -> bytes:
        """The payload of a message, without the four bytes that RFC 7692 leaves out."""
        if isinstance(data, str):
            data = data.encode("utf-8")
        deflate = self._object
        if deflate is None:
            deflate = zlib.compressobj(
                self._level, zlib.DEFLATED, -self._bits, self._memory
            )
            if self._takeover:
                self._object = deflate
        out: bytes = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
        return out[:-4]


class Inflater:
    """Compressed payloads in, messages out. Made without memory until it is used."""

    __slots__ = ("_bits", "_object", "_takeover")

    def __init__(self, bits: int, takeover: bool) -> None:
        self._bits = max(bits, 9)  # a window of 256 bytes is a part of one of 512
        self._takeover = takeover
        self._object: Any = None

    def decompress(self, data: bytes, limit: int) -> bytes:
        """The message. Raises MessageTooBigError past *limit* bytes, zlib.error."""
        inflate = self._object
        if inflate is None:
            inflate = zlib.decompressobj(-self._bits)
            if self._takeover:
                self._object = inflate
        # One byte more than allowed tells "as much as allowed" from "too much".
        out: bytes = inflate.decompress(data + _TAIL, limit + 1)
        if len(out) > limit:
            self._object = None
            raise MessageTooBigError(f"a message inflates past {limit} bytes")
        if inflate.eof:
            # A final block ended the stream; the next message begins a new one.
            self._object = None
        return out
