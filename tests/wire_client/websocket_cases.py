"""The table of RFC 6455 and 7692 cases for tests of our server and of our client.

A case is a list of frames that the raw peer sends and what must come of it: the
messages that the program is told, then the close code that the peer is answered with
(GOOD and DEFLATE_GOOD: the peer's own close frame is echoed).
"""

from __future__ import annotations

import struct
import zlib

from raw_websocket import BINARY, CLOSE, PING, PONG, TEXT

LIMIT = 200_000  # of a message


def deflated(data: bytes, bits: int = 15) -> bytes:
    compressor = zlib.compressobj(wbits=-bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def reaching_back(data: bytes) -> bytes:
    """Deflated with a window that the peer does not have."""
    compressor = zlib.compressobj(wbits=-15, zdict=data)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def F(opcode, data=b"", **kwargs):
    return ("frame", opcode, data, kwargs)


def C(code=None, reason=b""):
    return ("close", code, reason)


END = C(1000, b"done")
ENDED = [("close", 1000, "done")]

# name: (frames, told before the close, close code answered, close told to the program)
GOOD: dict[str, tuple[list, list]] = {
    "no message": ([END], []),
    "empty text": ([F(TEXT), END], [""]),
    "empty binary": ([F(BINARY), END], [b""]),
    "two messages": ([F(TEXT, b"a"), F(BINARY, b"b"), END], ["a", b"b"]),
    "two fragments": ([F(TEXT, b"He", fin=False), F(0, b"llo"), END], ["Hello"]),
    "three fragments": (
        [F(BINARY, b"1", fin=False), F(0, b"2", fin=False), F(0, b"3"), END],
        [b"123"],
    ),
    "empty fragments": (
        [F(TEXT, fin=False), F(0, fin=False), F(0, b"x", fin=False), F(0), END],
        ["x"],
    ),
    "a character over fragments": (
        [F(TEXT, b"\xc3", fin=False), F(0, b"\xa4"), END],
        ["ä"],
    ),
    "four bytes one by one": (
        [
            F(TEXT, b"\xf0", fin=False),
            F(0, b"\x9f", fin=False),
            F(0, b"\x98", fin=False),
            F(0, b"\x80"),
            END,
        ],
        ["\U0001f600"],
    ),
    "ping between fragments": (
        [F(TEXT, b"a", fin=False), F(PING, b"p"), F(0, b"b"), END],
        [("ping", b"p"), "ab"],
    ),
    "pong that nobody asked for": ([F(PONG, b"p"), END], [("pong", b"p")]),
    "ping of 125 bytes": ([F(PING, b"p" * 125), END], [("ping", b"p" * 125)]),
    "many pings": (
        [F(PING, b"%d" % i) for i in range(20)] + [END],
        [("ping", b"%d" % i) for i in range(20)],
    ),
    "binary that is no text": ([F(BINARY, b"\xff\xfe"), END], [b"\xff\xfe"]),
    "nul in a text": ([F(TEXT, b"a\0b"), END], ["a\0b"]),
    "last code point": ([F(TEXT, b"\xf4\x8f\xbf\xbf"), END], ["\U0010ffff"]),
    "noncharacters": ([F(TEXT, b"\xef\xbf\xbe"), END], ["\ufffe"]),
    "largest message": ([F(BINARY, b"x" * LIMIT), END], [b"x" * LIMIT]),
}
for size in (
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    15,
    16,
    17,
    31,
    32,
    33,
    63,
    64,
    65,
    124,
    125,
    126,
    127,
    128,
    129,
    255,
    256,
    257,
    1000,
    16384,
    65534,
    65535,
    65536,
    65537,
    100_000,
):
    pattern = bytes(i * 31 % 128 for i in range(size))
    GOOD[f"binary of {size}"] = ([F(BINARY, pattern), END], [pattern])
    GOOD[f"text of {size}"] = ([F(TEXT, pattern), END], [pattern.decode()])
    half = size // 2
    GOOD[f"fragments of {size}"] = (
        [F(BINARY, pattern[:half], fin=False), F(0, pattern[half:]), END],
        [pattern],
    )
for code in (
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
    1010,
    1011,
    1012,
    1013,
    1014,
    3000,
    3999,
    4000,
    4999,
):
    GOOD[f"close {code}"] = ([C(code, b"why")], [("close", code, "why")])
GOOD["close without a code"] = ([C()], [("close", None, None)])
GOOD["close without a reason"] = ([C(1000)], [("close", 1000, None)])
GOOD["close with the longest reason"] = (
    [C(1000, b"r" * 123)],
    [("close", 1000, "r" * 123)],
)
GOOD["close with a reason in UTF-8"] = (
    [C(1000, "schön".encode())],
    [("close", 1000, "schön")],
)
GOOD["nothing after a close is read"] = ([END, F(TEXT, b"late"), F(3)], [])

BAD: dict[str, tuple[list, list, int]] = {
    "continuation of nothing": ([F(0, b"x")], [], 1002),
    "continuation after a message": ([F(TEXT, b"x"), F(0, b"y")], ["x"], 1002),
    "message inside of another": (
        [F(TEXT, b"x", fin=False), F(TEXT, b"y")],
        [],
        1002,
    ),
    "binary inside of a text": ([F(TEXT, fin=False), F(BINARY)], [], 1002),
    "ping in fragments": ([F(PING, b"x", fin=False)], [], 1002),
    "close in fragments": ([F(CLOSE, fin=False)], [], 1002),
    "ping of 126 bytes": ([F(PING, b"x" * 126)], [], 1002),
    "close of 126 bytes": ([F(CLOSE, struct.pack(">H", 1000) + b"x" * 124)], [], 1002),
    "close of one byte": ([F(CLOSE, b"\x03")], [], 1002),
    "close with a reason that is no text": ([C(1000, b"\xff")], [], 1007),
    "close with half a character": ([C(1000, b"\xc3")], [], 1007),
    "length of 2 bytes for 125": (
        [F(BINARY, b"x" * 125, length=b"\x7e\x00\x7d")],
        [],
        1002,
    ),
    "length of 8 bytes for 65535": (
        [F(BINARY, b"x" * 65535, length=b"\x7f" + struct.pack(">Q", 65535))],
        [],
        1002,
    ),
    "length with the top bit": (
        [F(BINARY, length=b"\x7f" + struct.pack(">Q", 1 << 63))],
        [],
        1002,
    ),
    "length of 2**62": (
        [F(BINARY, length=b"\x7f" + struct.pack(">Q", 1 << 62))],
        [],
        1009,
    ),
    "one byte too large": (
        [F(BINARY, length=b"\x7f" + struct.pack(">Q", LIMIT + 1))],
        [],
        1009,
    ),
    "fragments too large together": (
        [F(BINARY, b"x" * LIMIT, fin=False), F(0, b"y")],
        [],
        1009,
    ),
    "text that ends in a character": ([F(TEXT, b"a\xc3")], [], 1007),
    "fragments that end in a character": (
        [F(TEXT, b"a", fin=False), F(0, b"\xe2\x82")],
        [],
        1007,
    ),
    "a bad byte before the end of the message": (
        [F(TEXT, b"a\xff", fin=False), F(PING, b"never answered")],
        [],
        1007,
    ),
    "masked the wrong way": ([("unmasked", TEXT, b"x")], [], 1002),
    "masked the wrong way, close": ([("unmasked", CLOSE, b"")], [], 1002),
}
for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    BAD[f"opcode {opcode}"] = ([F(opcode, b"x")], [], 1002)
    BAD[f"opcode {opcode} after a message"] = (
        [F(TEXT, b"x"), F(opcode)],
        ["x"],
        1002,
    )
for rsv in range(0x10, 0x80, 0x10):
    BAD[f"rsv {rsv:#x}"] = ([F(TEXT, b"x", rsv=rsv)], [], 1002)
    BAD[f"rsv {rsv:#x} of a ping"] = ([F(PING, b"x", rsv=rsv)], [], 1002)
    BAD[f"rsv {rsv:#x} of a close"] = ([F(CLOSE, b"", rsv=rsv)], [], 1002)
for code in (
    0,
    1,
    999,
    1004,
    1005,
    1006,
    1015,
    1016,
    1099,
    1100,
    2000,
    2999,
    5000,
    65535,
):
    BAD[f"close {code}"] = ([C(code)], [], 1002)
for name, text in {
    "a lone continuation": b"\x80",
    "two continuations": b"a\x80\x81",
    "an overlong slash": b"\xc0\xaf",
    "an overlong of three": b"\xe0\x80\xaf",
    "an overlong of four": b"\xf0\x80\x80\xaf",
    "an overlong nul": b"\xc0\x80",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "past the last code point": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "half a character before another": b"\xc3a",
    "c1": b"\xc1\xbf",
    "after 64 letters": b"a" * 64 + b"\xff",
    "after 1000 letters": b"a" * 1000 + b"\xed\xbf\xbf" + b"b" * 1000,
}.items():
    BAD[f"no UTF-8: {name}"] = ([F(TEXT, text)], [], 1007)
    BAD[f"no UTF-8 in a fragment: {name}"] = (
        [F(TEXT, b"ok ", fin=False), F(0, text)],
        [],
        1007,
    )

# A frame that promises more than has come is judged by what has come.
for name, head, text in (
    ("a short frame", b"\x7d", b"ok \xff"),
    ("a long frame", b"\x7e\x03\xe8", b"a" * 100 + b"\xed\xa0"),
    (
        "a very long frame",
        b"\x7f" + struct.pack(">Q", 100_000),
        b"a" * 70_000 + b"\xfe",
    ),
):
    BAD[f"no UTF-8 at the beginning of {name}"] = (
        [F(TEXT, text, length=head)],
        [],
        1007,
    )

RSV1 = 0x40
DEFLATE_GOOD: dict[str, tuple[list, list]] = {
    "plain messages": ([F(TEXT, b"plain"), END], ["plain"]),
    "a text": ([F(TEXT, deflated(b"Hello"), rsv=RSV1), END], ["Hello"]),
    "the RFC's Hello": (
        [F(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1), END],
        ["Hello"],
    ),
    "the RFC's Hello in fragments": (
        [
            F(TEXT, bytes.fromhex("f248cd"), rsv=RSV1, fin=False),
            F(0, bytes.fromhex("c9c90700")),
            END,
        ],
        ["Hello"],
    ),
    "the RFC's shared window": (
        [
            F(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1),
            F(TEXT, bytes.fromhex("f200110000"), rsv=RSV1),
            END,
        ],
        ["Hello", "Hello"],
    ),
    "the RFC's stored block": (
        [
            F(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=RSV1),
            END,
        ],
        ["Hello"],
    ),
    "the RFC's final block": (
        [
            F(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=RSV1),
            END,
        ],
        ["Hello"],
    ),
    "the RFC's two blocks": (
        [
            F(TEXT, bytes.fromhex("f248050000 00ffff cac9c90700"), rsv=RSV1),
            END,
        ],
        ["Hello"],
    ),
    "an empty message": ([F(BINARY, b"\x00", rsv=RSV1), END], [b""]),
    "as large as allowed": (
        [F(BINARY, deflated(bytes(LIMIT)), rsv=RSV1), END],
        [bytes(LIMIT)],
    ),
    "a ping between fragments": (
        [
            F(TEXT, bytes.fromhex("f248cd"), rsv=RSV1, fin=False),
            F(PING, b"p"),
            F(0, bytes.fromhex("c9c90700")),
            END,
        ],
        [("ping", b"p"), "Hello"],
    ),
}
DEFLATE_BAD: dict[str, tuple[list, list, int]] = {
    "rsv1 on a continuation": (
        [
            F(TEXT, b"\xf2", rsv=RSV1, fin=False),
            F(0, b"\x48", rsv=RSV1),
        ],
        [],
        1002,
    ),
    "rsv1 on a ping": ([F(PING, b"x", rsv=RSV1)], [], 1002),
    "rsv2": ([F(TEXT, b"x", rsv=0x20)], [], 1002),
    "not deflate": ([F(TEXT, b"\xff\xff\xff\xff", rsv=RSV1)], [], 1007),
    "no UTF-8": ([F(TEXT, deflated(b"\xff"), rsv=RSV1)], [], 1007),
    "half a character": ([F(TEXT, deflated(b"\xc3"), rsv=RSV1)], [], 1007),
    "a bomb": ([F(BINARY, deflated(bytes(50_000_000)), rsv=RSV1)], [], 1009),
    "one byte too large": (
        [F(BINARY, deflated(bytes(LIMIT + 1)), rsv=RSV1)],
        [],
        1009,
    ),
}

for bits in range(9, 16):
    pattern = bytes(i * 37 % 251 % 128 for i in range(20_000))
    DEFLATE_GOOD[f"a window of {bits} bits"] = (
        [F(TEXT, deflated(pattern, bits), rsv=RSV1), END],
        [pattern.decode()],
    )
for cut in range(1, 7):
    whole = bytes.fromhex("f248cdc9c90700")
    DEFLATE_GOOD[f"the RFC's Hello, cut at {cut}"] = (
        [F(TEXT, whole[:cut], rsv=RSV1, fin=False), F(0, whole[cut:]), END],
        ["Hello"],
    )
for size in (0, 1, 125, 126, 1000, 65535, 65536, 150_000):
    DEFLATE_GOOD[f"{size} bytes"] = (
        [F(BINARY, deflated(bytes(size)), rsv=RSV1), END],
        [bytes(size)],
    )
DEFLATE_GOOD["plain and compressed in turn"] = (
    [
        F(TEXT, deflated(b"one"), rsv=RSV1),
        F(TEXT, b"two"),
        F(BINARY, deflated(b"three"), rsv=RSV1),
        END,
    ],
    ["one", "two", b"three"],
)
DEFLATE_BAD["a bomb in fragments"] = (
    [
        F(BINARY, deflated(bytes(30_000_000))[:9000], rsv=RSV1, fin=False),
        F(0, deflated(bytes(30_000_000))[9000:]),
    ],
    [],
    1009,
)
DEFLATE_BAD["rsv1 and rsv3"] = ([F(TEXT, b"x", rsv=0x50)], [], 1002)
DEFLATE_BAD["a distance before the beginning"] = (
    [F(TEXT, reaching_back(b"what nobody said before"), rsv=RSV1)],
    [],
    1007,
)
