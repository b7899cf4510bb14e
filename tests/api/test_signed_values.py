"""pyfastloop.web.signed_values: fixed values of both versions, and every forgery."""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfastloop.web.signed_values import (
    create_signed_value,
    decode_signed_value,
    get_signature_key_version,
)

NOW = 1300000000
DAY = 86400

# Made by Tornado 6.6.1 at NOW, with the secret "secret": arguments, then the result.
VALUES = [
    (
        (1, "name", "value"),
        b"dmFsdWU=|1300000000|9e7727150808365bebff0a6404df2acfefd24d51",
    ),
    (
        (1, "né", "é|\n"),
        b"w6l8Cg==|1300000000|77d41ab886edd6340ede27f18b4ad0e45153b541",
    ),
    (
        (1, "name", b"\xff\x00"),
        b"/wA=|1300000000|8abd82027a2edca0d3e3d95adaa4ec4c7b2e4315",
    ),
    (
        (2, "name", "value"),
        b"2|1:0|10:1300000000|4:name|8:dmFsdWU=|"
        b"dde970934c3dca1ee18c228683b8f88369d856f5b9b7f0fd5eab44aa165210bd",
    ),
    (
        (2, "name", b"\xff\x00"),
        b"2|1:0|10:1300000000|4:name|4:/wA=|"
        b"5ce2ca335283df75ddc99579fd5eb1c2abfd0473adbc580e25ec1f6a019e71bf",
    ),
]
V1 = VALUES[0][1]
V2 = VALUES[3][1]
KEYS = {1: "a", 2: b"b"}
V2_BY_KEY_2 = (
    b"2|1:2|10:1300000000|4:name|8:dmFsdWU=|"
    b"9e79a86cc365b4de63c7d60f266a1a58f93e71cec175b8c098a1ac6caa6a72b5"
)


def at(seconds: float) -> Any:
    return lambda: NOW + seconds


def decode(
    value: Any, secret: Any = "secret", name: str = "name", **kwargs: Any
) -> bytes | None:
    kwargs.setdefault("clock", at(0))
    return decode_signed_value(secret, name, value, **kwargs)


@pytest.mark.parametrize(("arguments", "signed"), VALUES)
def test_bits_are_those_of_tornado(arguments: Any, signed: bytes):
    version, name, value = arguments
    for secret in ("secret", b"secret"):
        made = create_signed_value(secret, name, value, version=version, clock=at(0.9))
        assert made == signed
    plain = value.encode() if isinstance(value, str) else value
    assert decode(signed, name=name) == plain
    assert decode(signed.decode(), name=name) == plain


def test_version_2_is_the_default():
    assert create_signed_value("secret", "name", "value", clock=at(0)) == V2


def test_key_versions():
    made = create_signed_value(KEYS, "name", "value", clock=at(0), key_version=2)
    assert made == V2_BY_KEY_2
    assert get_signature_key_version(made) == 2
    assert decode(made, secret=KEYS) == b"value"
    assert decode(made, secret="b") == b"value"
    assert decode(made, secret={1: "a"}) is None
    assert decode(made, secret={2: "a"}) is None
    assert decode(V2, secret={0: "secret"}) == b"value"
    assert get_signature_key_version(V2.decode()) == 0
    for other in (V1, b"x", b"", b"2|", b"2|1:x|"):
        assert get_signature_key_version(other) is None


def test_wrong_arguments():
    with pytest.raises(ValueError, match="key_version"):
        create_signed_value(KEYS, "name", "value")
    with pytest.raises(ValueError, match="version 1"):
        create_signed_value(KEYS, "name", "value", version=1, key_version=1)
    with pytest.raises(ValueError, match="got 3"):
        create_signed_value("secret", "name", "value", version=3)
    with pytest.raises(ValueError, match="min_version"):
        decode(V2, min_version=3)
    with pytest.raises(KeyError):
        create_signed_value(KEYS, "name", "value", key_version=3)


def test_min_version():
    assert decode(V2, min_version=2) == b"value"
    assert decode(V1, min_version=2) is None
    assert decode(V1, min_version=1) == b"value"


def test_nothing_is_none():
    assert decode(None) is None
    assert decode("") is None


def test_age():
    for signed in (V1, V2):
        assert decode(signed, clock=at(31 * DAY)) == b"value"
        assert decode(signed, clock=at(31 * DAY + 1)) is None
        assert decode(signed, clock=at(DAY / 2 + 1), max_age_days=0.5) is None
        assert decode(signed, clock=at(-31 * DAY)) == b"value"
    assert decode(V1, clock=at(-31 * DAY - 1)) is None
    assert decode(V2, clock=at(-31 * DAY - 1)) == b"value"


def test_a_value_is_good_for_its_name_only():
    for signed in (V1, V2):
        assert decode(signed, name="other") is None
        assert decode(signed, secret="other") is None


@pytest.mark.parametrize("signed", [V1, V2])
def test_every_changed_byte_is_noticed(signed: bytes):
    for index in range(len(signed)):
        for change in (b"", b"0", b"|", b"x", signed[index : index + 1] * 2):
            changed = signed[:index] + change + signed[index + 1 :]
            if changed != signed:
                assert decode(changed) is None, changed


def test_digits_cannot_move_between_value_and_time():
    # Version 1 signs name, value and time without a border between them.
    value = b"\xd7m\xf8"
    signed = create_signed_value("s", "n", value, version=1, clock=at(0))
    text, signature = signed[:-41], signed[-41:]
    assert text == b"1234|1300000000"
    digits = text.replace(b"|", b"")
    for border in range(len(digits) + 1):
        moved = digits[:border] + b"|" + digits[border:] + signature
        expected = value if border == 4 else None
        assert decode_signed_value("s", "n", moved, clock=at(0)) == expected


def sign(text: bytes) -> bytes:
    return text + hmac.digest(b"secret", text, "sha256").hex().encode()


@pytest.mark.parametrize(
    "text",
    [
        b"2|1:0|10:1300000000|4:name|3:abc|",
        b"2|1:0|10:13000x0000|4:name|8:dmFsdWU=|",
        b"2|1:0|11: 1300000000|4:name|8:dmFsdWU=|",
        b"2|1:x|10:1300000000|4:name|8:dmFsdWU=|",
        b"2|0:|10:1300000000|4:name|8:dmFsdWU=|",
        b"2|+1:0|10:1300000000|4:name|8:dmFsdWU=|",
        b"2|1:0|1_0:1300000000|4:name|8:dmFsdWU=|",
        "2|1:0|1\u0660:1300000000|4:name|8:dmFsdWU=|".encode(),
        b"2|1:0|10:1300000000|4:name|8:dm!FsdWU|",
        b"2|1:0|10:1300000000|4:name|9:dmFsdWU=|",
        b"2|1:0|10:1300000000|4:name|8:dmFsdWU=|1:x|",
        b"2|1:0|10:1300000000|4:name|99999999999999999999:x|",
        b"02|1:0|10:1300000000|4:name|8:dmFsdWU=|",
        b" 2|1:0|10:1300000000|4:name|8:dmFsdWU=|",
        b"3|1:0|10:1300000000|4:name|8:dmFsdWU=|",
        b"2222|1:0|10:1300000000|4:name|8:dmFsdWU=|",
    ],
)
def test_odd_shapes_are_refused_though_signed(text: bytes):
    assert decode(sign(text)) is None


@pytest.mark.parametrize(
    ("value", "timestamp", "word"),
    [
        (b"dg==", b"0130000000", "Tampered"),
        (b"dg==", b"x", "Tampered"),
        (b"dg==", b"9999999999999", "in future"),
        (b"dg==", b"99", "Expired"),
    ],
)
def test_odd_times_are_logged(
    value: bytes, timestamp: bytes, word: str, caplog: pytest.LogCaptureFixture
):
    signature = hmac.new(b"secret", b"name" + value + timestamp, hashlib.sha1)
    forged = b"|".join((value, timestamp, signature.hexdigest().encode()))
    with caplog.at_level(logging.WARNING, "tornado.general"):
        assert decode(forged) is None
    assert word in caplog.text


def test_wrong_signatures_of_version_1_are_logged_once(
    caplog: pytest.LogCaptureFixture,
):
    with caplog.at_level(logging.WARNING, "tornado.general"):
        assert decode(V1[:-1] + b"x") is None
    assert [r.getMessage().partition(" b'")[0] for r in caplog.records] == [
        "Invalid cookie signature"
    ]


def test_version_1_with_a_dict_of_keys_is_invalid():
    assert decode(V1, secret={0: "secret"}) is None


@given(st.text(), st.binary(), st.sampled_from([1, 2]))
def test_round_trip(name: str, value: bytes, version: int):
    signed = create_signed_value("s", name, value, version=version)
    assert decode_signed_value("s", name, signed) == value
    assert decode_signed_value("t", name, signed) is None


@given(st.binary(max_size=80))
def test_garbage_is_none(value: bytes):
    assert decode(value) is None
    assert decode(b"2|" + value) is None
    get_signature_key_version(value)
