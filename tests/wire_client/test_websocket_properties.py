"""Random conversations of a raw peer with our server and our client arrive equal."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from raw_websocket import BINARY, PING, PONG, TEXT
from test_websocket_frames import SIDES, run_good
from websocket_cases import RSV1, C, F, deflated

CODES = st.sampled_from([1000, 1001, 1003, 1008, 1011, 3000, 4999])


@st.composite
def messages(draw, deflate):
    """A message in any number of fragments with control frames between them: the
    frames, and what the program is told."""
    if draw(st.booleans()):
        message = draw(st.text(max_size=300)) * draw(st.sampled_from([1, 1, 7, 500]))
        data, opcode = message.encode(), TEXT
    else:
        message = data = draw(st.binary(max_size=300)) * draw(
            st.sampled_from([1, 1, 7, 200])
        )
        opcode = BINARY
    rsv = 0
    if deflate and draw(st.booleans()):
        data, rsv = deflated(data, draw(st.integers(9, 15))), RSV1
    frames, told = [], []
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        last = end == len(data) and len(frames) - len(told) == len(cuts)
        frames.append(F(opcode, data[start:end], fin=last, rsv=rsv))
        opcode = rsv = 0
        if not last and draw(st.booleans()):
            kind = draw(st.sampled_from([PING, PONG]))
            word = draw(st.binary(max_size=125))
            frames.append(F(kind, word))
            told.append(("ping" if kind == PING else "pong", word))
    return frames, [*told, message]


@st.composite
def conversations(draw):
    deflate = draw(st.booleans())
    frames, told = [], []
    for some_frames, some_told in draw(st.lists(messages(deflate), max_size=6)):
        frames += some_frames
        told += some_told
    if draw(st.booleans()):
        code, reason = draw(CODES), draw(st.text(max_size=30))
        frames.append(C(code, reason.encode()))
        told.append(("close", code, reason or None))
    else:
        frames.append(C())
        told.append(("close", None, None))
    piece = draw(
        st.sampled_from([1 << 20, 1000, 17]) if len(frames) < 5 else st.just(999)
    )
    return frames, told, deflate, piece


@settings(max_examples=60)
@given(conversations(), st.sampled_from(sorted(SIDES)))
def test_conversations_arrive_equal(conversation, side):
    frames, told, deflate, piece = conversation
    run_good(side, frames, told, deflate, piece)
