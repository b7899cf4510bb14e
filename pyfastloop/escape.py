"""Escaping and unescaping for HTML, JSON and URLs, and text to bytes and back.

The standard library has near equivalents for most of it; what these add is that each
takes str and bytes alike, UTF-8 throughout.

Differences from Tornado: `parse_qs_bytes` counts fields before it splits them and
names the limit in its error, and `linkify` takes linear time on any text, balances
parentheses to any depth, and links ``mailto:`` where that is permitted.
"""

from __future__ import annotations

import bisect
import functools
import html
import json
import re
import urllib.parse
from collections.abc import Callable, Collection
from typing import Any, overload
from urllib.parse import unquote_to_bytes

__all__ = [
    "json_decode",
    "json_encode",
    "linkify",
    "native_str",
    "parse_qs_bytes",
    "recursive_unicode",
    "squeeze",
    "to_basestring",
    "to_unicode",
    "url_escape",
    "url_unescape",
    "utf8",
    "xhtml_escape",
    "xhtml_unescape",
]


@overload
def utf8(value: bytes) -> bytes: ...
@overload
def utf8(value: str) -> bytes: ...
@overload
def utf8(value: None) -> None: ...
def utf8(value: str | bytes | None) -> bytes | None:
    """`value` as bytes: str is encoded as UTF-8, bytes and None come back as they are.

    Anything else is a TypeError.
    """
    if isinstance(value, str):
        return value.encode()
    if value is None or isinstance(value, bytes):
        return value
    raise TypeError(f"Expected bytes, unicode, or None; got {type(value)!r}")


@overload
def to_unicode(value: str) -> str: ...
@overload
def to_unicode(value: bytes) -> str: ...
@overload
def to_unicode(value: None) -> None: ...
def to_unicode(value: str | bytes | None) -> str | None:
    """`value` as str: bytes are decoded as UTF-8, str and None come back as they are.

    Anything else is a TypeError, bytes that are no UTF-8 a UnicodeDecodeError.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"Expected bytes, unicode, or None; got {type(value)!r}")


_unicode = to_unicode
# Once these told apart what Python 2 and 3 call a string.
native_str = to_unicode
to_basestring = to_unicode


def recursive_unicode(obj: Any) -> Any:
    """A copy of `obj` in which all bytes within lists, tuples and dicts are str."""
    if isinstance(obj, bytes):
        return to_unicode(obj)
    if isinstance(obj, dict):
        return {recursive_unicode(k): recursive_unicode(v) for k, v in obj.items()}
    if isinstance(obj, list):
        return [recursive_unicode(item) for item in obj]
    if isinstance(obj, tuple):
        return tuple([recursive_unicode(item) for item in obj])
    return obj


def xhtml_escape(value: str | bytes) -> str:
    """Make `value` text of HTML or XML: escapes ``& < > " '``.

    In an attribute it still needs quotes around it.
    """
    return html.escape(to_unicode(value))


def xhtml_unescape(value: str | bytes) -> str:
    """Undo `xhtml_escape`, and resolve every other character reference of HTML 5."""
    return html.unescape(to_unicode(value))


def json_encode(value: Any) -> str:
    r"""`value` as JSON that may stand inside a script element.

    ``</`` becomes ``<\/``, which means the same to JSON and does not end the element.
    """
    return json.dumps(value).replace("</", "<\\/")


def json_decode(value: str | bytes) -> Any:
    """The value that a JSON text stands for."""
    return json.loads(to_unicode(value))


_BLANKS = re.compile(r"[\x00-\x20]+")


def squeeze(value: str | bytes) -> str:
    """One space for each run of blanks and control characters, none at the ends."""
    return _BLANKS.sub(" ", to_unicode(value)).strip()


def url_escape(value: str | bytes, plus: bool = True) -> str:
    """Percent-encode `value` for a URL.

    With `plus`, as in a query, a space is ``+`` and a slash is encoded; without, as in
    a path, a space is ``%20`` and slashes stay. (urllib's functions default to the
    latter.)
    """
    quote = urllib.parse.quote_plus if plus else urllib.parse.quote
    return quote(value)


@overload
def url_unescape(value: str | bytes, encoding: None, plus: bool = True) -> bytes: ...
@overload
def url_unescape(
    value: str | bytes, encoding: str = "utf-8", plus: bool = True
) -> str: ...
def url_unescape(
    value: str | bytes, encoding: str | None = "utf-8", plus: bool = True
) -> str | bytes:
    """Undo `url_escape`.

    The result is bytes where `encoding` is None, else str; octets that `encoding` does
    not allow become U+FFFD. With `plus`, a ``+`` is a space.
    """
    if encoding is None:
        octets = utf8(value)
        return unquote_to_bytes(octets.replace(b"+", b" ") if plus else octets)
    unquote = urllib.parse.unquote_plus if plus else urllib.parse.unquote
    return unquote(to_unicode(value), encoding)


def parse_qs_bytes(
    qs: str | bytes,
    keep_blank_values: bool = False,
    strict_parsing: bool = False,
    *,
    max_num_fields: int | None = None,
) -> dict[str, list[bytes]]:
    """The fields of a query or of a form body (application/x-www-form-urlencoded).

    As `urllib.parse.parse_qs`, but the values are bytes, whose encoding the caller
    knows. Names are str in which each character is one octet (latin-1); the names of
    programs are ASCII.

    `keep_blank_values` keeps fields without a value, `strict_parsing` makes a field
    without ``=`` a ValueError, as are more fields than `max_num_fields`.
    """
    if not qs:
        return {}
    octets = qs.encode("latin-1") if isinstance(qs, str) else qs
    # Counted first: a body of separators only must not become a list of empty strings.
    if max_num_fields is not None and octets.count(b"&") >= max_num_fields:
        raise ValueError(f"more than {max_num_fields} fields in a query or form")
    fields: dict[str, list[bytes]] = {}
    if b"+" in octets:
        octets = octets.replace(b"+", b" ")
    encoded = b"%" in octets
    for field in octets.split(b"&"):
        name, equals, value = field.partition(b"=")
        if not equals:
            if strict_parsing:
                raise ValueError(f"bad query field, it has no '=': {field!r}")
            if not field:
                continue
        if not value and not keep_blank_values:
            continue
        if encoded:
            name = unquote_to_bytes(name)
            value = unquote_to_bytes(value)
        key = name.decode("latin-1")
        if key in fields:
            fields[key].append(value)
        else:
            fields[key] = [value]
    return fields


# What ends a URL in running text wherever it stands, and what may end it.
_URL_MARKS = re.compile(r"""[\s<>"'()]""")
# What a sentence puts after a URL.
_URL_TRAILING = "&`![]{};:'\".,<>?\u00ab\u00bb\u201c\u201d\u2018\u2019"
_SHORT_URL = 30  # characters; longer ones are shortened
_SHORT_SEGMENT = 8


@functools.lru_cache(maxsize=16)
def _url_start(protocols: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for what a URL begins with.

    The protocols are spelled out in it, so that text which merely looks like one costs
    nothing: a pattern for any protocol takes quadratic time on "a-a-a-a-...".
    """
    names = "|".join(map(re.escape, sorted(protocols, key=len, reverse=True)))
    starts = [r"(?P<www>www\.)(?=[^\s])"]
    if names:
        starts.append(rf"(?P<protocol>{names}):(?P<slashes>/{{1,3}})")
    if "mailto" in protocols:
        starts.append(r"(?P<mailto>mailto:)(?=[\w%])")
    return re.compile(rf"(?<![\w-])(?:{'|'.join(starts)})")


class _UrlEnds:
    """Where the URLs of a text end, told in linear time for all of them together.

    Parentheses belong to a URL in pairs. They are paired once for the whole text,
    within runs of characters that a URL may have: a pass for each URL would be
    quadratic.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._marks: list[int] = []  # positions, ascending
        self._partners: dict[int, int] = {}  # index of "(" in _marks: that of its ")"
        open_at: list[int] = []
        for index, mark in enumerate(_URL_MARKS.finditer(text)):
            self._marks.append(mark.start())
            char = mark[0]
            if char == "(":
                open_at.append(index)
            elif char != ")":
                open_at.clear()
            elif open_at:
                self._partners[open_at.pop()] = index

    def end_of(self, begin: int) -> int:
        """Where the URL ends whose first character after the protocol is at `begin`."""
        marks = self._marks
        index = bisect.bisect_left(marks, begin)
        while (closing := self._partners.get(index)) is not None:
            index = closing + 1
        end = marks[index] if index < len(marks) else len(self._text)
        # The last pair that belongs to the URL is kept, whatever stands behind it goes.
        keep = max(begin, marks[index - 1] + 1 if index else 0)
        while end > keep and self._text[end - 1] in _URL_TRAILING:
            end -= 1
        return end


def _shorten(url: str, body_at: int) -> str:
    """`url` for display: the host and the beginning of the path's first segment."""
    host, slash, path = url[body_at:].partition("/")
    shown = url[:body_at] + host
    if slash:
        segment = path.partition("/")[0][:_SHORT_SEGMENT]
        shown += "/" + segment.partition("?")[0].partition(".")[0]
    if len(shown) > _SHORT_URL * 1.5:
        shown = shown[:_SHORT_URL]
    if shown == url:
        return url
    shown += "..."
    return shown if len(shown) < len(url) else url


def linkify(
    text: str | bytes,
    shorten: bool = False,
    extra_params: str | Callable[[str], str] = "",
    require_protocol: bool = False,
    permitted_protocols: Collection[str] = ("http", "https"),
) -> str:
    """Plain text as HTML in which URLs are links.

    >>> linkify("Hello http://example.com!")
    'Hello <a href="http://example.com">http://example.com</a>!'

    `shorten` displays long URLs shortened, with the whole in the link's title.
    `extra_params` is text for the link tag, or a function that gives it for a URL:
    ``extra_params='rel="nofollow"'``. Unless `require_protocol`, ``www.example.com`` is
    a link too. `permitted_protocols` are those that are linked, such as ``["http",
    "ftp", "mailto"]``; "javascript" is never safe there.
    """
    if isinstance(extra_params, str):
        extra = extra_params.strip()
        attributes = " " + extra if extra else ""
        attributes_of: Callable[[str], str] = lambda href: attributes  # noqa: E731
    else:
        attributes_of = lambda href: " " + extra_params(href).strip()  # noqa: E731
    text = to_unicode(text)
    pieces: list[str] = []
    done = 0
    position = 0
    ends = _UrlEnds(text)
    pattern = _url_start(tuple(permitted_protocols))
    while found := pattern.search(text, position):
        begin, body_at = found.span()
        position = body_at
        end = ends.end_of(body_at)
        bare = found["www"] is not None
        if bare and (require_protocol or end == body_at):
            continue
        position = end
        url = text[begin:end]
        href = "http://" + url if bare else url
        shown = url
        params = attributes_of(href)
        if shorten and len(url) > _SHORT_URL:
            shown = _shorten(url, 0 if bare else body_at - begin)
            if shown != url:
                params += f' title="{xhtml_escape(href)}"'
        pieces.append(xhtml_escape(text[done:begin]))
        pieces.append(f'<a href="{xhtml_escape(href)}"{params}>')
        pieces.append(xhtml_escape(shown) + "</a>")
        done = end
    pieces.append(xhtml_escape(text[done:]))
    return "".join(pieces)
