"""Content codings of answers, undone step by step and within bounds.

gzip always; br and zstd where ``brotli`` and ``compression.zstd`` (CPython 3.14) or
``backports.zstd`` can be imported: `accepted` is what the client then offers.

An answer is data of a stranger (a kilobyte can stand for a gigabyte), hence:

- a step gives at most `STEP` bytes; between two steps the loop has its turn;
- the inflated size is held against ``max_body_size``;
- at most `MAX_MEMBERS` gzip members or zstd frames follow one another;
- a body that ends inside of its coding, or goes on after it, is an error.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["CodingError", "Inflater", "accepted", "make_inflater"]

STEP = 64 * 1024
MAX_MEMBERS = 16


class CodingError(Exception):
    """The bytes are not what Content-Encoding said, or inflate past the limit."""


class _Gzip:
    name = "gzip"
    failures: tuple[type[Exception], ...] = (zlib.error,)

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._full = False

    def step(self, data: bytes) -> bytes:
        piece = self._inflate.decompress(data, STEP)
        self._full = len(piece) >= STEP
        return piece

    def rest(self) -> bytes:
        """Input that was not looked at yet."""
        if self._inflate.eof:
            return self._inflate.unused_data
        return self._inflate.unconsumed_tail

    @property
    def ended(self) -> bool:
        return self._inflate.eof

    @property
    def more(self) -> bool:
        """Whether another step without input may give something."""
        return self._full and not self._inflate.eof


class _Zstd:
    name = "zstd"

    def __init__(self, module: Any) -> None:
        self._inflate = module.ZstdDecompressor()
        self.failures: tuple[type[Exception], ...] = (module.ZstdError,)

    def step(self, data: bytes) -> bytes:
        return bytes(self._inflate.decompress(data, STEP))

    def rest(self) -> bytes:
        return bytes(self._inflate.unused_data) if self._inflate.eof else b""

    @property
    def ended(self) -> bool:
        return bool(self._inflate.eof)

    @property
    def more(self) -> bool:
        return not self._inflate.eof and not self._inflate.needs_input


class _Brotli:
    name = "br"

    def __init__(self, module: Any) -> None:
        self._inflate = module.Decompressor()
        self._got = False
        self.failures: tuple[type[Exception], ...] = (module.error,)

    def step(self, data: bytes) -> bytes:
        # The limit is a soft one; `Inflater.feed` cuts what is more.
        piece = bytes(self._inflate.process(data, output_buffer_limit=STEP))
        self._got = bool(piece)
        return piece

    def rest(self) -> bytes:
        return b""

    @property
    def ended(self) -> bool:
        return bool(self._inflate.is_finished())

    @property
    def more(self) -> bool:
        return self._got and not self._inflate.is_finished()


def _first_module(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _makers() -> dict[str, Callable[[], Any]]:
    makers: dict[str, Callable[[], Any]] = {"gzip": _Gzip, "x-gzip": _Gzip}
    brotli = _first_module("brotli")
    if brotli is not None and hasattr(
        brotli.Decompressor, "can_accept_more_data"
    ):  # 1.2: before it output could not be bounded
        makers["br"] = lambda: _Brotli(brotli)
    zstd = _first_module("compression.zstd", "backports.zstd")
    if zstd is not None:
        makers["zstd"] = lambda: _Zstd(zstd)
    return makers


_MAKERS: dict[str, Callable[[], Any]] = {}


def _known() -> dict[str, Callable[[], Any]]:
    if not _MAKERS:
        _MAKERS.update(_makers())
    return _MAKERS


def accepted() -> str:
    """The Accept-Encoding value that this installation can honour."""
    return ", ".join(name for name in _known() if not name.startswith("x-"))


def make_inflater(coding: str, limit: int) -> Inflater | None:
    """An `Inflater` for a Content-Encoding value, or None for a coding not known."""
    maker = _known().get(coding.strip().lower())
    return None if maker is None else Inflater(maker, limit)


class Inflater:
    """One coded body. Feed it what arrives and go through what it yields."""

    def __init__(self, maker: Callable[[], Any], limit: int) -> None:
        self._maker = maker
        self._limit = limit
        self._coder = maker()
        self._members = 1
        self._total = 0
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the inflated bytes of *data*, at most `STEP` a piece.

        Raises CodingError; the caller gives up the body then.
        """
        while data or self._coder.more:
            if self._coder.ended:
                self._next_member(data)
                if not data.strip(b"\0"):
                    return  # padding, as tape archives have it
            self._begun = True
            try:
                piece = self._coder.step(data)
            except self._coder.failures as error:
                raise CodingError(
                    f"the body is not valid {self._coder.name}: {error}"
                ) from error
            data = self._coder.rest()
            if piece:
                self._total += len(piece)
                if self._total > self._limit:
                    raise CodingError(
                        f"the {self._coder.name} body inflates past "
                        f"max_body_size ({self._limit} bytes)"
                    )
                for at in range(0, len(piece), STEP):
                    yield piece[at : at + STEP]

    def _next_member(self, data: bytes) -> None:
        if not data.strip(b"\0"):
            return
        if self._members >= MAX_MEMBERS:
            raise CodingError(
                f"the body has more than {MAX_MEMBERS} {self._coder.name} members"
            )
        self._members += 1
        self._coder = self._maker()

    def finish(self) -> None:
        """The body is over. Raises CodingError when its coding is not."""
        if self._begun and not self._coder.ended:
            raise CodingError(
                f"the {self._coder.name} body ends before its coding does"
            )
