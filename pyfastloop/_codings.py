"""Content codings (RFC 9110 section 8.4) that this interpreter can make.

gzip always; brotli with the ``brotli`` extra; zstd on CPython 3.14 and with the
``zstd`` extra before it. What a client takes is negotiated by :func:`choose`.
"""

from __future__ import annotations

import functools
import importlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

__all__ = ["Encoder", "available", "choose", "encoder"]

# Of codings that a client likes equally the first is taken: zstd and brotli are smaller
# than gzip, zstd the fastest to make.
_PREFERRED = ("zstd", "br", "gzip")
_BROTLI_QUALITY = 4
_ZSTD_LEVEL = 3


class Encoder(Protocol):
    def encode(self, data: bytes, finishing: bool) -> bytes:
        """The coded bytes of all data so far; the end with ``finishing``."""


class _Gzip:
    def __init__(self, level: int) -> None:
        self._made = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def encode(self, data: bytes, finishing: bool) -> bytes:
        mode = zlib.Z_FINISH if finishing else zlib.Z_SYNC_FLUSH
        return self._made.compress(data) + self._made.flush(mode)


class _Brotli:
    def __init__(self) -> None:
        self._made: Any = _module("br").Compressor(quality=_BROTLI_QUALITY)

    def encode(self, data: bytes, finishing: bool) -> bytes:
        coded: bytes = self._made.process(data) if data else b""
        coded += self._made.finish() if finishing else self._made.flush()
        return coded


class _Zstd:
    def __init__(self) -> None:
        self._made: Any = _module("zstd").ZstdCompressor(level=_ZSTD_LEVEL)

    def encode(self, data: bytes, finishing: bool) -> bytes:
        mode = self._made.FLUSH_FRAME if finishing else self._made.FLUSH_BLOCK
        coded: bytes = self._made.compress(data, mode=mode)
        return coded


@functools.cache
def _module(coding: str) -> Any:
    """The module that makes a coding, or None."""
    names = {"br": ["brotli"], "zstd": ["compression.zstd", "backports.zstd"]}
    for name in names[coding]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


@functools.cache
def available() -> tuple[str, ...]:
    """The codings that can be made, best first."""
    return tuple(c for c in _PREFERRED if c == "gzip" or _module(c) is not None)


def encoder(coding: str, gzip_level: int) -> Encoder:
    """A new encoder of an available coding."""
    if coding == "br":
        return _Brotli()
    return _Zstd() if coding == "zstd" else _Gzip(gzip_level)


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """The best of ``offered`` that an Accept-Encoding header takes, or None.

    RFC 9110 section 12.5.3; ``*`` stands for gzip alone, which everybody reads. Among
    equals the order of ``offered`` decides.
    """
    weights = {
        "gzip" if name == "x-gzip" else name: weight
        for name, weight in _elements(accept)
    }
    if "*" in weights:
        weights.setdefault("gzip", weights["*"])
    liked = [c for c in offered if weights.get(c, 0.0) > 0]
    return max(liked, key=lambda coding: weights[coding]) if liked else None


def _elements(accept: str) -> Iterable[tuple[str, float]]:
    for item in accept.split(","):
        coding, _, parameter = item.partition(";")
        name, _, weight = parameter.strip().partition("=")
        value = 1.0
        if name.strip().lower() == "q":
            try:
                value = float(weight)
            except ValueError:
                value = 0.0
        yield coding.strip().lower(), value
