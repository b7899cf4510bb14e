"""What HTTP clients and servers share: header maps, requests, start lines, form bodies.

C carries what every message touches: :class:`HTTPHeaders`, :class:`HTTPServerRequest`,
the splitting of query strings, cookies and multipart bodies. What stands here in Python
is asked for once in a while: start lines of hand-made messages, dates, ranges, URLs.

Differences from ``tornado.httputil``: a :class:`HTTPServerRequest` makes ``headers``,
``arguments``, ``cookies`` and the rest when they are asked for, so a handler pays for
what it reads; ``method``, ``uri`` and ``version`` may still be given to its constructor
without a warning; numbers in ranges are ASCII digits only; the last of several
parameters of a header is found in linear time whatever a peer sends.
"""

from __future__ import annotations

import abc
import calendar
import dataclasses
import datetime
import email.utils
import re
import time
import unicodedata
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from http.client import responses
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlparse, urlunparse

from pyfastloop import _core
from pyfastloop._core import HTTPHeaders, HTTPServerRequest, parse_cookie
from pyfastloop.escape import utf8
from pyfastloop.util import ObjectDict

if TYPE_CHECKING:
    from pyfastloop.concurrent import Future

__all__ = [
    "HTTP_WHITESPACE",
    "HTTPConnection",
    "HTTPFile",
    "HTTPHeaders",
    "HTTPInputError",
    "HTTPMessageDelegate",
    "HTTPOutputError",
    "HTTPServerConnectionDelegate",
    "HTTPServerRequest",
    "ParseBodyConfig",
    "ParseMultipartConfig",
    "ParseUrlEncodedConfig",
    "RequestStartLine",
    "ResponseStartLine",
    "doctests",
    "encode_username_password",
    "format_timestamp",
    "parse_body_arguments",
    "parse_cookie",
    "parse_multipart_form_data",
    "parse_request_start_line",
    "parse_response_start_line",
    "qs_to_qsl",
    "responses",
    "set_parse_body_config",
    "split_host_and_port",
    "url_concat",
]

#: What may stand around header values (RFC 9110 section 5.6.3); Unicode's other white
#: space is part of the value.
HTTP_WHITESPACE = " \t"


class HTTPInputError(Exception):
    """A peer sent what HTTP does not allow. A server answers it with 400."""

    _status = 400


class _HeaderInputError(HTTPInputError, ValueError):
    """What C raises: a name or value that must not reach the wire is both."""


class HTTPOutputError(Exception):
    """A program tried to send what HTTP does not allow, a wrong length for example."""


class HTTPServerConnectionDelegate:
    """What a server hands its connections to; subclass and implement both methods."""

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Give the delegate of a request that has begun.

        ``server_conn`` is the same for every request of a connection, ``request_conn``
        belongs to this request and takes its answer.
        """
        raise NotImplementedError

    def on_close(self, server_conn: object) -> None:
        """The connection is closed."""


class HTTPMessageDelegate:
    """Takes one message in pieces; subclass and implement what matters.

    After ``headers_received`` exactly one of ``finish`` and ``on_connection_close`` is
    called. That the peer left while its answer was being made is told by the
    connection's close callback.
    """

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """The head is here. What is awaitable is awaited before the body is read."""
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A piece of the body. What is awaitable is awaited before more is read."""
        return None

    def finish(self) -> None:
        """The message is here whole."""

    def on_connection_close(self) -> None:
        """The connection was closed before the exchange was over."""


class HTTPConnection(abc.ABC):  # noqa: B024 (C's HTTP1Connection is registered)
    """Where an application writes its answer; HTTP/1 implements it in C."""

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Future[None]:
        """Write the head and maybe a first piece of the body.

        The future is done when they were sent.
        """
        raise NotImplementedError

    def write(self, chunk: bytes) -> Future[None]:
        """Write a piece of the body. The future is done when it was sent."""
        raise NotImplementedError

    def finish(self) -> None:
        """The body was written whole."""
        raise NotImplementedError


class HTTPFile(ObjectDict):
    """A file that a form uploaded: ``filename``, ``body``, ``content_type``.

    The three can be read as attributes and as keys.
    """

    filename: str
    body: bytes
    content_type: str


def _call_when_done(future: Future[None], callback: Callable[[], None]) -> None:
    """Serve the callback form of Tornado 4's ``HTTPServerRequest.write``."""

    def done(written: Future[None]) -> None:
        if written.cancelled() or written.exception() is not None:
            return
        callback()

    future.add_done_callback(done)


# ---------------------------------------------------------------- start lines


class RequestStartLine(NamedTuple):
    """``method path version`` of a request."""

    method: str
    path: str
    version: str


class ResponseStartLine(NamedTuple):
    """``version code reason`` of a response."""

    version: str
    code: int
    reason: str


_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([^\x00-\x20\x7f]+) (HTTP/[0-9]\.[0-9])")
_RESPONSE_LINE = re.compile(
    r"(HTTP/1\.[0-9]) ([0-9]{3}) ([\t\x20-\x7e\x80-\xff]*)", re.ASCII
)


def parse_request_start_line(line: str) -> RequestStartLine:
    """Split a request line (RFC 9112 section 3).

    Raises :class:`HTTPInputError` when it is none or not of HTTP/1.
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise HTTPInputError("Malformed HTTP request line")
    method, path, version = match.groups()
    if not version.startswith("HTTP/1."):
        raise HTTPInputError(f"Unexpected HTTP version {version!r}")
    return RequestStartLine(method, path, version)


def parse_response_start_line(line: str) -> ResponseStartLine:
    """Split a status line (RFC 9112 section 4).

    Raises :class:`HTTPInputError` when it is none.
    """
    match = _RESPONSE_LINE.fullmatch(line)
    if match is None:
        raise HTTPInputError("Error parsing response start line")
    version, code, reason = match.groups()
    return ResponseStartLine(version, int(code), reason)


# ---------------------------------------------------------------- URLs and queries


def url_concat(
    url: str,
    args: dict[str, str] | list[tuple[str, str]] | tuple[tuple[str, str], ...] | None,
) -> str:
    """Add query arguments to a URL that may have some already.

    >>> url_concat("http://example.com/foo", dict(c="d"))
    'http://example.com/foo?c=d'
    >>> url_concat("http://example.com/foo?a=b", [("c", "d"), ("c", "d2")])
    'http://example.com/foo?a=b&c=d&c=d2'
    """
    if args is None:
        return url
    if isinstance(args, dict):
        added: list[tuple[str, str]] = list(args.items())
    elif isinstance(args, (list, tuple)):
        added = list(args)
    else:
        raise TypeError(
            f"'args' parameter should be dict, list or tuple. Not {type(args)}"
        )
    parts = urlparse(url)
    query = urlencode(parse_qsl(parts.query, keep_blank_values=True) + added)
    return urlunparse(parts._replace(query=query))


def qs_to_qsl(qs: Mapping[str, Iterable[Any]]) -> Generator[tuple[str, Any]]:
    """Flatten what ``parse_qs`` gives to pairs: ``{"a": [1, 2]}`` to a 1, a 2."""
    for name, values in qs.items():
        for value in values:
            yield name, value


_HOST_AND_PORT = re.compile(r"(.+):([0-9]+)")


def split_host_and_port(netloc: str) -> tuple[str, int | None]:
    """Split ``host:port``; the port is None when there is none.

    >>> split_host_and_port("[::1]:8080")
    ('[::1]', 8080)
    """
    match = _HOST_AND_PORT.fullmatch(netloc)
    if match is None or len(match.group(2)) > 18:
        return netloc, None
    return match.group(1), int(match.group(2))


def encode_username_password(username: str | bytes, password: str | bytes) -> bytes:
    """``user:password`` for HTTP Basic (RFC 7617): text in NFC, then UTF-8."""
    if isinstance(username, str):
        username = unicodedata.normalize("NFC", username)
    if isinstance(password, str):
        password = unicodedata.normalize("NFC", password)
    return utf8(username) + b":" + utf8(password)


_YEAR_10000 = 253402300800  # in seconds since the epoch


def format_timestamp(
    ts: int | float | tuple[int, ...] | time.struct_time | datetime.datetime,
) -> str:
    """A time as HTTP writes it (IMF-fixdate, RFC 9110 section 5.6.7).

    Takes seconds since the epoch, a time tuple in UTC, or a datetime (naive ones are
    taken as UTC).

    >>> format_timestamp(1359312200)
    'Sun, 27 Jan 2013 18:43:20 GMT'
    """
    seconds: float
    if isinstance(ts, (int, float)):
        seconds = ts
    elif isinstance(ts, (tuple, time.struct_time)):
        seconds = calendar.timegm(ts)
    elif isinstance(ts, datetime.datetime):
        seconds = calendar.timegm(ts.utctimetuple())
    else:
        raise TypeError(f"unknown timestamp type: {ts!r}")
    if 0 <= seconds < _YEAR_10000:
        return _core.http_date(int(seconds))
    return email.utils.formatdate(seconds, usegmt=True)


# ---------------------------------------------------------------- ranges

_RANGE = re.compile(r"[ \t]*bytes[ \t]*=[ \t]*([0-9]*)[ \t]*-[ \t]*([0-9]*)[ \t]*")
_NO_FILE_IS_SO_LONG = 10**18


def _position(digits: str) -> int:
    """A place in a file; one beyond the end of any, however many digits it has."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= 18 else _NO_FILE_IS_SO_LONG


def _parse_request_range(range_header: str) -> tuple[int | None, int | None] | None:
    """``Range`` of one byte range (RFC 9110 section 14.2) to what a slice takes.

    None: not understood, which means the whole. ``bytes=1-2`` is (1, 3), ``bytes=-6``
    is (-6, None), ``bytes=-0`` is (None, 0): nothing.
    """
    match = _RANGE.fullmatch(range_header)
    if match is None:
        return None
    first, last = match.groups()
    if first:
        return _position(first), _position(last) + 1 if last else None
    if not last:
        return None, None
    length = _position(last)
    return (-length, None) if length else (None, 0)


def _get_content_range(start: int | None, end: int | None, total: int) -> str:
    """``Content-Range`` of a slice of ``total`` bytes.

    >>> _get_content_range(None, None, 4)
    'bytes 0-3/4'
    """
    return f"bytes {start or 0}-{(end or total) - 1}/{total}"


def _int_or_none(val: str) -> int | None:
    val = val.strip()
    return int(val) if val else None


# ---------------------------------------------------------------- parameters


def _parse_header(line: str) -> tuple[str, dict[str, str]]:
    r"""Split ``value; name=value; name="value"`` (RFC 9110 section 5.6.6, RFC 2231).

    >>> _parse_header('form-data; name="a"; filename="b;c"')
    ('form-data', {'name': 'a', 'filename': 'b;c'})
    """
    value, pairs = _core.split_params(line)
    try:
        params = email.utils.decode_params([("", ""), *pairs])
    except ValueError:  # of int(): "a*1000…" has more digits than it takes
        return value, dict(pairs)
    found = {}
    for name, raw in params[1:]:
        try:
            text = email.utils.collapse_rfc2231_value(raw)
        except UnicodeError:  # "idna" and "undefined" do not replace what is wrong
            text = raw[2]
        if isinstance(raw, tuple) and len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        found[name] = text
    return value, found


def _encode_header(key: str, pdict: Mapping[str, str | int | None]) -> str:
    """The other way for plain values; None gives the bare name.

    >>> _encode_header("permessage-deflate", {"client_max_window_bits": 15, "b": None})
    'permessage-deflate; client_max_window_bits=15; b'
    """
    pieces = [key]
    for name, value in pdict.items():
        pieces.append(name if value is None else f"{name}={value}")
    return "; ".join(pieces)


# ---------------------------------------------------------------- form bodies


@dataclasses.dataclass
class ParseMultipartConfig:
    """Bounds for multipart/form-data bodies."""

    #: False refuses such bodies.
    enabled: bool = True
    #: Parts in one body.
    max_parts: int = 100
    #: Bytes of one part's header lines.
    max_part_header_size: int = 10 * 1024


@dataclasses.dataclass
class ParseUrlEncodedConfig:
    """Bounds for application/x-www-form-urlencoded bodies."""

    #: Fields in one body.
    max_arguments: int = 1000


@dataclasses.dataclass
class ParseBodyConfig:
    """How form bodies are parsed."""

    multipart: ParseMultipartConfig = dataclasses.field(
        default_factory=ParseMultipartConfig
    )
    urlencoded: ParseUrlEncodedConfig = dataclasses.field(
        default_factory=ParseUrlEncodedConfig
    )


_DEFAULT_PARSE_BODY_CONFIG = ParseBodyConfig()


def set_parse_body_config(config: ParseBodyConfig) -> None:
    """Set the bounds that hold where none are given."""
    global _DEFAULT_PARSE_BODY_CONFIG
    _DEFAULT_PARSE_BODY_CONFIG = config


def parse_body_arguments(
    content_type: str,
    body: bytes,
    arguments: dict[str, list[bytes]],
    files: dict[str, list[HTTPFile]],
    headers: HTTPHeaders | None = None,
    *,
    config: ParseBodyConfig | None = None,
) -> None:
    """Add what a form body says to ``arguments`` and ``files``.

    Understands application/x-www-form-urlencoded and multipart/form-data, leaves other
    types alone. Raises :class:`HTTPInputError` for a form that is not what it says, or
    that is still compressed.
    """
    if config is None:
        config = _DEFAULT_PARSE_BODY_CONFIG
    form = content_type.startswith("application/x-www-form-urlencoded")
    if not form and not content_type.startswith("multipart/form-data"):
        return
    if headers is not None and "Content-Encoding" in headers:
        raise HTTPInputError(
            f"Unsupported Content-Encoding: {headers['Content-Encoding']}"
        )
    if form:
        try:
            found = _core.parse_query(body, True, config.urlencoded.max_arguments)
        except ValueError as error:
            raise HTTPInputError(
                f"Invalid x-www-form-urlencoded body: {error}"
            ) from error
        for name, values in found.items():
            arguments.setdefault(name, []).extend(values)
    else:
        try:
            boundary = _core.multipart_boundary(content_type)
            if not boundary:
                raise HTTPInputError("multipart boundary not found")
            parse_multipart_form_data(
                boundary, body, arguments, files, config=config.multipart
            )
        except HTTPInputError as error:
            raise HTTPInputError(f"Invalid multipart/form-data: {error}") from error


def _part_names(
    name: str, filename: str | None, kind: str, value: bytes, extended: str | None
) -> tuple[str, str | None, str, bytes]:
    """A part of a form; its names by RFC 2231 where its disposition uses that."""
    if extended is not None:
        params = _parse_header(extended)[1]
        if "name" not in params:
            raise HTTPInputError(
                "multipart/form-data missing name in Content-Disposition"
            )
        name, filename = params["name"], params.get("filename")
    return name, filename, kind, value


def parse_multipart_form_data(
    boundary: bytes,
    data: bytes,
    arguments: dict[str, list[bytes]],
    files: dict[str, list[HTTPFile]],
    *,
    config: ParseMultipartConfig | None = None,
) -> None:
    """Add the parts of a multipart/form-data body (RFC 7578).

    Parts with a file name become :class:`HTTPFile`. Raises :class:`HTTPInputError`;
    then nothing was added.
    """
    if config is None:
        config = _DEFAULT_PARSE_BODY_CONFIG.multipart
    if not config.enabled:
        raise HTTPInputError("multipart/form-data parsing is disabled")
    if boundary.startswith(b'"') and boundary.endswith(b'"') and len(boundary) > 1:
        boundary = boundary[1:-1]
    parts = _core.multipart_parts(
        boundary, data, config.max_parts, config.max_part_header_size
    )
    found = [_part_names(*part) for part in parts]
    for name, filename, content_type, value in found:
        if filename:
            files.setdefault(name, []).append(
                HTTPFile(filename=filename, body=value, content_type=content_type)
            )
        else:
            arguments.setdefault(name, []).append(value)


def doctests() -> Any:
    """The examples of this module as a test suite (``unittest``)."""
    import doctest
    import sys

    return doctest.DocTestSuite(sys.modules[__name__])
