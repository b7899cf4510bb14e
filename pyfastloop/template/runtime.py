"""What compiled templates call while they run, and how their errors find their lines.

The output is a list of str that is joined and encoded once: joining bytes would need
an encode for each piece. The pieces are what `escape_html`, `escape_by` and `text_of`
give.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import Any

from pyfastloop.escape import xhtml_escape

__all__ = [
    "Place",
    "applied",
    "escape_by",
    "escape_html",
    "join",
    "text_of",
    "with_template_lines",
]


class _Octets(str):
    """Bytes that are no UTF-8, as str: undecodable ones as lone surrogates.

    ``{% raw %}`` hands bytes through untouched; the class tells these surrogates from
    such that a program's own text has, which are an error.
    """

    __slots__ = ()


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _Octets(value.decode("utf-8", "surrogateescape"))


def escape_html(value: Any) -> str:
    """`value` as text for HTML; what `xhtml_escape` gives, for values of any type."""
    kind = type(value)
    if kind is not str:
        if kind is int:
            return str(value)
        if isinstance(value, str):
            value = str.__str__(value)
        elif isinstance(value, bytes):
            value = value.decode()
        else:
            value = str(value)
    # Mostly there is nothing to do: looking is several times cheaper than replacing.
    if "&" in value:
        value = value.replace("&", "&amp;")
    if "<" in value:
        value = value.replace("<", "&lt;")
    if ">" in value:
        value = value.replace(">", "&gt;")
    if '"' in value:
        value = value.replace('"', "&quot;")
    if "'" in value:
        value = value.replace("'", "&#x27;")
    return value  # type: ignore[no-any-return]


def escape_by(function: Callable[[Any], Any], value: Any) -> str:
    """`value` as text, escaped by a template's own function.

    That is handed bytes, and may give either.
    """
    if function is xhtml_escape:
        return escape_html(value)
    if isinstance(value, str):
        value = value.encode()
    elif not isinstance(value, bytes):
        value = str(value).encode()
    return _checked(function(value), "an autoescape function")


def text_of(value: Any) -> str:
    """`value` as text, not escaped."""
    if type(value) is str:
        return value
    if isinstance(value, bytes):
        return _decode(value)
    return str.__str__(value) if isinstance(value, str) else str(value)


def applied(value: Any) -> str:
    """What the function of ``{% apply %}`` gave."""
    return _checked(value, "the function of {% apply %}")


def _checked(value: Any, giver: str) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return _decode(value)
    raise TypeError(f"{giver} gives str or bytes, got {type(value)!r}")


def join(pieces: Iterable[str]) -> bytes:
    """The output as bytes."""
    try:
        return "".join(pieces).encode()
    except UnicodeEncodeError:
        return b"".join(
            [
                piece.encode("utf-8", "surrogateescape")
                if type(piece) is _Octets
                else piece.encode()
                for piece in pieces
            ]
        )


# -- tracebacks ------------------------------------------------------------------------


class Place:
    """A line of a template: what a traceback shows in the place of generated code."""

    __slots__ = ("filename", "line", "source")

    def __init__(self, filename: str, line: int, source: str | None) -> None:
        self.filename = filename
        self.line = line
        #: The template's text where `filename` is no file, else None.
        self.source = source


class _SourceLoader:
    """Gives a template's text to `linecache`, as the __loader__ of its frame."""

    def __init__(self, source: str) -> None:
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source


def with_template_lines(
    tb: TracebackType | None,
    generated_name: str,
    places_of: Callable[[int], list[Place]],
) -> TracebackType | None:
    """A copy of `tb` in which generated code is replaced by lines of templates.

    `places_of` gives them for a line of the generated code: from the outermost template
    to the one that the line is of, which includes stand between.
    """
    entries: list[TracebackType | None] = []
    while tb is not None:
        entries.append(tb)
        tb = tb.tb_next
    result: TracebackType | None = None
    frame: FrameType | None = None
    try:
        while entries:
            tb = entries.pop()
            assert tb is not None
            frame = tb.tb_frame
            if frame.f_code.co_filename != generated_name:
                result = TracebackType(result, frame, tb.tb_lasti, tb.tb_lineno)
                continue
            places = places_of(tb.tb_lineno)
            # Functions within the template (an apply, a lambda) come after its own
            # frame, which has told by way of which templates.
            if any(
                e and e.tb_frame.f_code.co_filename == generated_name for e in entries
            ):
                places = places[-1:]
            for place in reversed(places):
                frame = _frame_at(place, tb.tb_frame)
                result = TracebackType(result, frame, frame.f_lasti, place.line)
        return result
    finally:
        # The new frames refer to those that made them: ours must not refer to them.
        del tb, entries, result, frame


class _HereError(Exception):
    pass


def _frame_at(place: Place, generated: FrameType) -> FrameType:
    """A frame at `place`, with the variables of the `generated` one.

    Frames are made by running code. The code has a line but no columns, so that nothing
    is underlined.
    """
    here = {"lineno": place.line, "end_lineno": place.line}
    nowhere = {"col_offset": -1, "end_col_offset": -1}
    name = ast.Name("_tt_here", ast.Load(), **here, **nowhere)
    module = ast.Module([ast.Raise(name, None, **here, **nowhere)], [])
    code = compile(module, place.filename, "exec")
    code = code.replace(co_name="template", co_qualname="template")
    names: dict[str, Any] = {"_tt_here": _HereError, "__name__": "template"}
    if place.source is not None:
        # Of another template of the same name, perhaps.
        linecache.cache.pop(place.filename, None)
        names["__loader__"] = _SourceLoader(place.source)
    variables = {
        name: value
        for name, value in generated.f_locals.items()
        if not name.startswith("_tt_")
    }
    try:
        exec(code, names, variables)
    except _HereError as error:
        # Its first entry is our frame, the next that of the code.
        return error.__traceback__.tb_next.tb_frame  # type: ignore[union-attr]
    raise AssertionError("the code above raises")
