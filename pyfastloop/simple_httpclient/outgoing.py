"""What goes out for one request: its head as bytes, its framing, its pool key.

An `Outgoing` is made by `plan` and never changes, so that the one of a GET without
headers or credentials of its own is made once for a URL and used by further fetches.

The head and the body must agree, or the next request on the connection would be read as
part of this one: whatever a program puts into Content-Length and Transfer-Encoding is
checked here, and what contradicts the body is a ValueError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyfastloop import _core, httputil
from pyfastloop.httpclient import HTTPRequest
from pyfastloop.simple_httpclient import inflate, opening, target

if TYPE_CHECKING:
    from pyfastloop.httpclient import _RequestProxy

__all__ = ["COLLECT", "CONNECT", "NO_BODY", "UNSENT", "Outgoing", "plan"]

# Flags of ClientLink.start (csrc/http/client_link.c).
NO_BODY, COLLECT, UNSENT, CONNECT = 1, 2, 4, 8

SUPPORTED_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
)
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))

# What a request may set itself and still be planned by the values in _deciding: these,
# and what has no say in the bytes of a GET without a body or in its connection.
_PLAIN = frozenset(
    (
        "_headers",  # when there is none in it
        "allow_ipv6",
        "allow_nonstandard_methods",
        "ca_certs",
        "client_cert",
        "client_key",
        "connect_timeout",
        "decompress_response",
        "expect_100_continue",
        "follow_redirects",
        "inactivity_timeout",
        "max_redirects",
        "method",
        "network_interface",
        "request_timeout",
        "start_time",
        "url",
        "user_agent",
        "validate_cert",
    )
)
# The same of a client's defaults; a password alone says nothing.
_PLAIN_DEFAULTS = _PLAIN.union(("proxy_password",)) - {"_headers"}
# url, method and start_time: every request has these.
_LEAST = 3


class Outgoing:
    """A request, ready to be sent."""

    __slots__ = (
        "body",
        "chunked",
        "decompress",
        "expect",
        "flags",
        "head",
        "header_callback",
        "keep",
        "key",
        "length",
        "producer",
        "proxy",
        "streaming_callback",
        "target",
    )

    target: target.Target
    head: bytes
    body: bytes | None
    producer: Any
    key: tuple[Any, ...]
    flags: int
    keep: bool  # the connection may be used again
    expect: bool  # wait for 100 before the body
    decompress: bool
    proxy: opening.Proxy | None
    chunked: bool  # of producer's body
    length: int | None  # of producer's body, when it is known
    streaming_callback: Any
    header_callback: Any


def _deciding(
    request: HTTPRequest, defaults: dict[str, Any], keep_alive: bool
) -> tuple[object, ...] | None:
    """What decides, with the URL, what is sent; None where there is more to it."""
    given = vars(request)
    if (
        type(request) is not HTTPRequest
        or request.method != "GET"
        or not _PLAIN.issuperset(given)
        or not _PLAIN_DEFAULTS.issuperset(defaults)
    ):
        return None
    if len(given) > _LEAST:
        if given.get("_headers"):
            return None
        defaults = defaults | {n: v for n, v in given.items() if v is not None}
    get = defaults.get
    return (
        keep_alive,
        get("decompress_response"),
        get("user_agent"),
        get("validate_cert"),
        get("ca_certs"),
        get("client_cert"),
        get("client_key"),
        get("network_interface"),
        get("allow_ipv6"),
    )


def plan(proxy: _RequestProxy, keep_alive: bool) -> Outgoing:
    """What to send for *proxy*, a request with its client's defaults.

    Raises ValueError, KeyError (an unknown method) or NotImplementedError.
    """
    request = proxy.request
    here = target.parse_url(request.url)
    known = _deciding(request, proxy.defaults or {}, keep_alive)
    if known is None:
        return _plan(proxy, here, keep_alive)
    made: Outgoing | None = here.plain.get(known)
    if made is None:
        made = _plan(proxy, here, keep_alive)
        if len(here.plain) < 8:
            here.plain[known] = made
    return made


def _plan(proxy: _RequestProxy, here: target.Target, keep_alive: bool) -> Outgoing:
    out = Outgoing()
    out.target = here
    out.body = proxy.body
    out.producer = proxy.body_producer
    out.streaming_callback = proxy.streaming_callback
    out.header_callback = proxy.header_callback
    out.decompress = bool(proxy.decompress_response)
    out.keep = keep_alive
    method = proxy.method
    _check(proxy, method, out)
    out.expect = bool(proxy.expect_100_continue) and (
        out.body is not None or out.producer is not None
    )
    out.flags = 0 if out.streaming_callback or out.header_callback else COLLECT
    if method == "HEAD":
        out.flags |= NO_BODY
    if out.expect or out.producer is not None:
        out.flags |= UNSENT
    out.proxy = opening.proxy_of(proxy)
    out.key = (
        here.origin,
        out.proxy,
        target.tls_settings(proxy) if here.scheme == "https" else None,
        proxy.network_interface or None,
        proxy.allow_ipv6 is False,
    )
    headers = _headers(proxy, here, out)
    line = here.path
    if out.proxy is not None and here.scheme == "http":
        line = f"http://{here.authority}{here.path}"
        if out.proxy.authorization is not None:
            headers["Proxy-Authorization"] = out.proxy.authorization
    out.head = _core.ClientLink.request_head(method, line, headers)
    return out


def _check(proxy: _RequestProxy, method: str, out: Outgoing) -> None:
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
    proxy: _RequestProxy, here: target.Target, out: Outgoing
) -> httputil.HTTPHeaders:
    """All headers of the request. Sets ``keep``, ``length`` and ``chunked``."""
    given = proxy.request.headers
    headers = httputil.HTTPHeaders()
    headers["Host"] = here.authority
    for name, value in (
        given.get_all() if isinstance(given, httputil.HTTPHeaders) else given.items()
    ):
        if name.lower() == "host":
            headers["Host"] = value
        else:
            headers.add(name, value)
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


def _frame(headers: httputil.HTTPHeaders, method: str, out: Outgoing) -> None:
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
