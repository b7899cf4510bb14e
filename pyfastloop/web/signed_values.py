"""Values that a browser keeps and cannot change: the format of signed cookies.

Bit-compatible with Tornado in both directions and both versions, so that users stay
logged in when a site changes from one to the other.

Version 2, written by default: ``2``, then key version, time, name and value in base64,
each as ``length:text``, joined by ``|``, and an HMAC-SHA256 in hexadecimal over all of
it up to and with the last ``|``. Version 1: value in base64, time and an HMAC-SHA1 over
name, value and time, joined by ``|``.

Nothing here is secret but the signature's key: the value can be read by everybody who
has it. All comparisons of signatures take the same time wherever they fail.

Differences from Tornado: numbers are ASCII digits and nothing else; a value of version
1 met with a dict of keys is invalid rather than an AssertionError, for anybody can send
one; wrong arguments are ValueErrors, which -O does not remove; names outside of ASCII
have their length in bytes, so that the value can be decoded again.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from pyfastloop import _core
from pyfastloop.escape import utf8
from pyfastloop.log import gen_log

__all__ = [
    "DEFAULT_SIGNED_VALUE_MIN_VERSION",
    "DEFAULT_SIGNED_VALUE_VERSION",
    "MAX_SUPPORTED_SIGNED_VALUE_VERSION",
    "MIN_SUPPORTED_SIGNED_VALUE_VERSION",
    "create_signed_value",
    "decode_signed_value",
    "get_signature_key_version",
]

MIN_SUPPORTED_SIGNED_VALUE_VERSION = 1
MAX_SUPPORTED_SIGNED_VALUE_VERSION = 2
#: The version that `create_signed_value` writes unless it is told otherwise.
DEFAULT_SIGNED_VALUE_VERSION = 2
#: The oldest version that `decode_signed_value` accepts unless it is told otherwise.
DEFAULT_SIGNED_VALUE_MIN_VERSION = 1

#: One key, or several by their number.
Secret = str | bytes | Mapping[int, str | bytes]

_DAY = 86400
# The version is a number without leading zeros. Base64, which version 1 begins with,
# comes in multiples of four characters, so three digits cannot be meant by it.
_VERSION = re.compile(rb"([1-9][0-9]{0,2})\|")
_NUMBER = re.compile(rb"[0-9]{1,20}")


def create_signed_value(
    secret: Secret,
    name: str,
    value: str | bytes,
    version: int | None = None,
    clock: Callable[[], float] | None = None,
    key_version: int | None = None,
) -> bytes:
    """`value` with the time and a signature over both and `name`.

    `version` is that of the format; `clock` gives the time in seconds since 1970.
    Where `secret` is a dict of keys, `key_version` says which of them signs.
    """
    if version is None:
        version = DEFAULT_SIGNED_VALUE_VERSION
    timestamp = b"%d" % (clock or time.time)()
    encoded = base64.b64encode(utf8(value))
    if version == 1:
        if isinstance(secret, Mapping):
            raise ValueError(
                "signed values of version 1 know no key versions: pass one key as the "
                "secret, or write version 2"
            )
        signature = _sign_v1(secret, name, encoded, timestamp)
        return b"|".join((encoded, timestamp, signature))
    if version != 2:
        raise ValueError(f"signed values have versions 1 and 2, got {version}")
    if isinstance(secret, Mapping):
        if key_version is None:
            raise ValueError("the secret is a dict of keys: key_version must say which")
        secret = secret[key_version]
    fields = (b"%d" % (key_version or 0), timestamp, utf8(name), encoded)
    signed = b"2|%b|" % b"|".join([b"%d:%b" % (len(f), f) for f in fields])
    return signed + _sign_v2(secret, signed)


def decode_signed_value(
    secret: Secret,
    name: str,
    value: str | bytes | None,
    max_age_days: float = 31,
    clock: Callable[[], float] | None = None,
    min_version: int | None = None,
) -> bytes | None:
    """What `create_signed_value` signed, or None where it is not to be trusted.

    None means: not signed with this secret, for another name, older than
    `max_age_days`, or of a format version below `min_version`.
    """
    if min_version is None:
        min_version = DEFAULT_SIGNED_VALUE_MIN_VERSION
    if min_version > MAX_SUPPORTED_SIGNED_VALUE_VERSION:
        raise ValueError(
            f"min_version is at most {MAX_SUPPORTED_SIGNED_VALUE_VERSION}, the newest "
            f"there is, got {min_version}"
        )
    if not value:
        return None
    value = utf8(value)
    version = _version_of(value)
    if version < min_version:
        return None
    now = (clock or time.time)()
    if version == 1:
        return _decode_v1(secret, name, value, max_age_days, now)
    if version == 2:
        return _decode_v2(secret, name, value, max_age_days, now)
    return None


def get_signature_key_version(value: str | bytes) -> int | None:
    """The number of the key that signed `value`, None where it carries none.

    The signature is not checked.
    """
    value = utf8(value)
    if _version_of(value) != 2:
        return None
    fields = _core.split_signed_value(value)
    return None if fields is None else fields[0]


def _version_of(value: bytes) -> int:
    if value.startswith(b"2|"):
        return 2
    found = _VERSION.match(value)
    return int(found[1]) if found else 1


def _unbase64(encoded: bytes) -> bytes | None:
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        return None


# -- version 1 -------------------------------------------------------------------------


def _sign_v1(secret: str | bytes, name: str, encoded: bytes, timestamp: bytes) -> bytes:
    message = utf8(name) + encoded + timestamp
    return hmac.digest(utf8(secret), message, "sha1").hex().encode()


def _decode_v1(
    secret: Secret, name: str, value: bytes, max_age_days: float, now: float
) -> bytes | None:
    parts = value.split(b"|")
    if len(parts) != 3 or isinstance(secret, Mapping):
        return None
    encoded, timestamp, signature = parts
    if not hmac.compare_digest(signature, _sign_v1(secret, name, encoded, timestamp)):
        gen_log.warning("Invalid cookie signature %r", value)
        return None
    # The signature does not cover where the value ends and the time begins: characters
    # moved across that border leave it valid. A value that grew by digits has a time
    # long past; one that gave some away has a time far ahead, or with a leading zero.
    if timestamp.startswith(b"0") or not _NUMBER.fullmatch(timestamp):
        gen_log.warning("Tampered cookie %r", value)
        return None
    signed_at = int(timestamp)
    if signed_at < now - max_age_days * _DAY:
        gen_log.warning("Expired cookie %r", value)
        return None
    if signed_at > now + 31 * _DAY:
        gen_log.warning("Cookie timestamp in future; possible tampering %r", value)
        return None
    return _unbase64(encoded)


# -- version 2 -------------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def _keyed(secret: str | bytes) -> tuple[Any, Any]:
    """HMAC's two hash objects (RFC 2104 section 2) after they have seen the key.

    A copy of each is what one signature costs; ``hmac.digest`` takes the key in again
    every time, which is more than half of its work on a text as short as a cookie.
    """
    key = utf8(secret)
    block = hashlib.sha256().block_size
    if len(key) > block:
        key = hashlib.sha256(key).digest()
    key = key.ljust(block, b"\0")
    return (
        hashlib.sha256(bytes([octet ^ 0x36 for octet in key])),
        hashlib.sha256(bytes([octet ^ 0x5C for octet in key])),
    )


def _sign_v2(secret: str | bytes, signed: bytes) -> bytes:
    inner, outer = _keyed(secret)
    inner, outer = inner.copy(), outer.copy()
    inner.update(signed)
    outer.update(inner.digest())
    return outer.hexdigest().encode()  # type: ignore[no-any-return]


def _decode_v2(
    secret: Secret, name: str, value: bytes, max_age_days: float, now: float
) -> bytes | None:
    fields = _core.split_signed_value(value)
    if fields is None:
        return None
    key_version, timestamp, signed_name, encoded, signature, signed = fields
    if not isinstance(secret, (str, bytes)):
        key = secret.get(key_version)
        if key is None:
            return None
        secret = key
    if not hmac.compare_digest(signature, _sign_v2(secret, signed)):
        return None
    if signed_name != utf8(name) or timestamp < now - max_age_days * _DAY:
        return None
    return _unbase64(encoded)
