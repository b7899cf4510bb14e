"""What goes out for one request: its head as bytes, its framing, its pool key.

An `Outgoing` is made by `plan` and never changes, so that the one of a GET without
headers or credentials of its own is made once for a URL and used by further fetches;
C finds it again (``csrc/http/outgoing.c``).

The head and the body must agree, or the next request on the connection would be read as
part of this one: whatever a program puts into Content-Length and Transfer-Encoding is
checked here, and what contradicts the body is a ValueError.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from pyfastloop import _core, httputil
from pyfastloop.simple_httpclient import inflate, opening, target

if TYPE_CHECKING:
    from pyfastloop.httpclient import _RequestProxy

__all__ = [
    "COLLECT",
    "CONNECT",
    "DECIDING",
    "NO_BODY",
    "PLAIN",
    "REPEATABLE",
    "UNSENT",
    "Key",
    "Outgoing",
    "plan",
]

# Flags of ClientLink.start (csrc/http/client_link.h), and one that is Python's: the
# request may be sent again when the connection was lost.
NO_BODY, COLLECT, UNSENT, CONNECT, REPEATABLE = 1, 2, 4, 8, 16

SUPPORTED_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
)
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))

# RFC 9110 section 9.2.2: what may be sent again when a connection was lost.
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))

# What decides, with the URL, the bytes of a plain GET and its connection.
DECIDING = frozenset(
    (
        "allow_ipv6",
        "ca_certs",
        "client_cert",
        "client_key",
        "decompress_response",
        "network_interface",
        "user_agent",
        "validate_cert",
    )
)

# What a plain GET, or its client's defaults, may set beside its URL: these, and what
# has no say in it (a password alone says nothing).
PLAIN = frozenset(
    (
        *DECIDING,
        "allow_nonstandard_methods",
        "connect_timeout",
        "expect_100_continue",
        "follow_redirects",
        "inactivity_timeout",
        "max_redirects",
        "proxy_password",
        "request_timeout",
    )
)


class Key:
    """What requests must have in common to share a connection: all of *settings*.

    There is one Key for equal settings, so that the pool compares no more than the
    object. Credentials of requests are headers and never part of a link's state.
    """

    __slots__ = ("__weakref__", "settings")

    def __init__(self, settings: tuple[Any, ...]) -> None:
        self.settings = settings


_keys: weakref.WeakValueDictionary[tuple[Any, ...], Key] = weakref.WeakValueDictionary()


class Outgoing(_core.Outgoing):
    """A request, ready to be sent."""

    __slots__ = (
        "chunked",
        "expect",
        "header_callback",
        "length",
        "producer",
        "proxy",
        "streaming_callback",
        "target",
    )

    target: target.Target
    producer: Any
    expect: bool  # wait for 100 before the body
    proxy: opening.Proxy | None
    chunked: bool  # of producer's body
    length: int | None  # of producer's body, when it is known
    streaming_callback: Any
    header_callback: Any


class _Draft:
    """What is known of a request while it is planned."""

    def __init__(self, proxy: _RequestProxy, keep_alive: bool) -> None:
        self.body: bytes | None = proxy.body
        self.producer = proxy.body_producer
        self.decompress = bool(proxy.decompress_response)
        self.keep = keep_alive
        self.expect = bool(proxy.expect_100_continue) and (
            self.body is not None or self.producer is not None
        )
        self.length: int | None = None
        self.chunked = False


def plan(proxy: _RequestProxy, here: target.Target, keep_alive: bool) -> Outgoing:
    """What to send for *proxy*, a request with its client's defaults, to *here*.

    Raises ValueError, KeyError (an unknown method) or NotImplementedError.
    """
    draft = _Draft(proxy, bool(keep_alive))
    method = proxy.method
    _check(proxy, method, draft)
    asked = opening.proxy_of(proxy)
    headers = _headers(proxy, here, draft)
    line = here.path
    if asked is not None and here.scheme == "http":
        line = f"http://{here.authority}{here.path}"
        if asked.authorization is not None:
            headers["Proxy-Authorization"] = asked.authorization
    flags = 0 if proxy.streaming_callback or proxy.header_callback else COLLECT
    if method == "HEAD":
        flags |= NO_BODY
    if draft.expect or draft.producer is not None:
        flags |= UNSENT
    if method in _IDEMPOTENT and draft.producer is None:
        flags |= REPEATABLE
    settings = (
        here.origin,
        asked,
        target.tls_settings(proxy) if here.scheme == "https" else None,
        proxy.network_interface or None,
        proxy.allow_ipv6 is False,
    )
    key = _keys.get(settings)
    if key is None:
        key = _keys[settings] = Key(settings)
    out = Outgoing(
        here.url,
        _core.ClientLink.request_head(method, line, headers),
        draft.body,
        key,
        flags,
        draft.keep,
        draft.decompress,
    )
    out.target = here
    out.producer = draft.producer
    out.expect = draft.expect
    out.proxy = asked
    out.chunked = draft.chunked
    out.length = draft.length
    out.streaming_callback = proxy.streaming_callback
    out.header_callback = proxy.header_callback
    return out


def _check(proxy: _RequestProxy, method: str, out: _Draft) -> None:
    if not proxy.allow_nonstandard_methods:
        if method not in SUPPORTED_METHODS:
            raise KeyError(f"unknown method {method}")
        expected = method in _WITH_BODY
        if expected != (out.body is not None or out.producer is not None):
            raise ValueError(
                f"Body must {'not ' if expected else ''}be None for method {method} "
                "(unless allow_nonstandard_methods is true)"
            )
    if out.body is not None and out.producer is not None:
        raise ValueError("A request takes a body or a body_producer, not both")
    if proxy.prepare_curl_callback is not None:
        raise NotImplementedError(
            "prepare_curl_callback not supported: it is for "
            "pyfastloop.curl_httpclient.CurlAsyncHTTPClient"
        )


def _headers(
    proxy: _RequestProxy, here: target.Target, out: _Draft
) -> httputil.HTTPHeaders:
    """All headers of the request. Sets ``keep``, ``length`` and ``chunked``."""
    given = proxy.request.headers
    if not isinstance(given, httputil.HTTPHeaders):
        given = httputil.HTTPHeaders(given)  # of a mapping, or of pairs
    headers = httputil.HTTPHeaders()
    headers["Host"] = here.authority
    for name, value in given.get_all():
        if name.lower() == "host":
            headers["Host"] = value
        else:
            headers.add(name, value.strip(httputil.HTTP_WHITESPACE))
    connection = headers.get("Connection")
    if connection is not None:
        out.keep = out.keep and "close" not in connection.lower()
    elif not out.keep:
        headers["Connection"] = "close"
    username, password = here.username, here.password
    if username is None:
        username, password = proxy.auth_username, proxy.auth_password
    if username is not None:
        if proxy.auth_mode not in (None, "basic"):
            raise ValueError(
                f"unsupported auth_mode {proxy.auth_mode}: the simple client knows "
                "basic only"
            )
        headers["Authorization"] = opening.basic_auth(username, password or "")
    if proxy.user_agent:
        headers["User-Agent"] = proxy.user_agent
    elif "User-Agent" not in headers:
        headers["User-Agent"] = opening.USER_AGENT
    if out.decompress and "Accept-Encoding" not in headers:
        headers["Accept-Encoding"] = inflate.accepted()
    _frame(headers, proxy.method, out)
    if out.expect:
        headers["Expect"] = "100-continue"
    return headers


def _frame(headers: httputil.HTTPHeaders, method: str, out: _Draft) -> None:
    """Say in *headers* where the body ends, and nothing that contradicts it."""
    out.length, out.chunked = None, False
    coding = headers.get("Transfer-Encoding")
    length = headers.get("Content-Length")
    if out.producer is not None:
        if length is None:
            if coding is not None and coding.strip().lower() != "chunked":
                raise ValueError(
                    f"Transfer-Encoding {coding!r}: a body_producer's body is sent "
                    "with a Content-Length or chunked"
                )
            headers["Transfer-Encoding"] = "chunked"
            out.chunked = True
        elif coding is not None or not (length.isascii() and length.isdigit()):
            raise ValueError(
                "Content-Length must be a number, without Transfer-Encoding; got "
                f"{length!r} and {coding!r}"
            )
        else:
            out.length = int(length)
    elif coding is not None:
        raise ValueError(
            "Transfer-Encoding is set for a body_producer only; a body that is there "
            "already is sent with its Content-Length"
        )
    elif out.body is not None:
        headers["Content-Length"] = str(len(out.body))
    elif length is not None and length.strip() != "0":
        raise ValueError(
            f"Content-Length {length!r} without a body: the server would wait for it"
        )
    elif method in _WITH_BODY:
        headers["Content-Length"] = "0"
    if method == "POST" and "Content-Type" not in headers:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
