"""Where a request goes and what stands in its head: URLs, redirects, TLS settings.

Pure functions and small value objects; nothing here touches a socket. A URL is taken
apart once and remembered, since programs fetch the same few URLs again and again.

Differs from Tornado: characters that may not stand in a request line are
percent-encoded instead of being sent, host names outside of ASCII are IDNA-encoded,
and a URL without a host or with a port past 65535 is a ValueError before any look-up.
"""

from __future__ import annotations

import copy
import functools
import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from pyfastloop import httputil
from pyfastloop.escape import native_str

if TYPE_CHECKING:
    from pyfastloop.httpclient import HTTPRequest

__all__ = [
    "TLSContexts",
    "Target",
    "parse_url",
    "redirected",
    "tls_settings",
    "without_credentials",
]

# Everything printable of ASCII may stand in a request target as it is: what is
# reserved, what is percent-encoded already, and what other software lets pass.
_TARGET_SAFE = "".join(map(chr, range(0x21, 0x7F)))

_DEFAULT_PORT = {"http": 80, "https": 443}

REDIRECT_CODES = frozenset((301, 302, 303, 307, 308))

# RFC 9110 section 15.4: what describes a body goes with the body.
_BODY_HEADERS = (
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Content-Language",
    "Content-Location",
    "Digest",
    "Last-Modified",
    "Transfer-Encoding",
    "Expect",
)
_CREDENTIAL_HEADERS = ("Authorization", "Cookie", "Proxy-Authorization")


class Target:
    """A URL taken apart. ``origin`` is (scheme, host, port); equal ones may share."""

    __slots__ = (
        "authority",
        "host",
        "origin",
        "parsed",
        "password",
        "path",
        "port",
        "scheme",
        "url",
        "username",
    )

    def __init__(self, url: str) -> None:
        self.url = url = native_str(url)  # Tornado's client takes bytes, too
        self.parsed = parsed = urlsplit(url)
        if parsed.scheme not in _DEFAULT_PORT:
            raise ValueError(
                f"Unsupported url scheme: {url} (the client speaks http and https)"
            )
        try:
            host, port = parsed.hostname, parsed.port
        except ValueError as error:
            raise ValueError(f"{error} in the url {url}") from None
        if not host:
            raise ValueError(f"The url has no host: {url}")
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        if any(c <= " " or c in '"<>\\^`{|}\x7f' for c in host):
            raise ValueError(f"The host {host!r} has a character no host may have")
        self.scheme = parsed.scheme
        self.host = host
        self.port = _DEFAULT_PORT[parsed.scheme] if port is None else port
        shown = f"[{host}]" if ":" in host else host
        self.authority = shown if port is None else f"{shown}:{port}"
        path = parsed.path or "/"
        if parsed.query:
            path += "?" + parsed.query
        self.path = quote(path, safe=_TARGET_SAFE)
        self.username = None if parsed.username is None else unquote(parsed.username)
        self.password = None if parsed.password is None else unquote(parsed.password)
        self.origin = (self.scheme, host, self.port)

    def __repr__(self) -> str:
        return f"<Target {self.scheme}://{self.authority}{self.path}>"


@functools.lru_cache(maxsize=1024)
def parse_url(url: str) -> Target:
    """The `Target` of *url*. Raises ValueError naming what is wrong with it."""
    return Target(url)


def redirected(
    request: HTTPRequest, here: Target, code: int, location: str
) -> HTTPRequest:
    """The request to send after the answer *code* with *location* to *request*.

    RFC 9110 section 15.4: 303 turns any method but HEAD into GET; 301 and 302 turn
    POST into GET, as every browser does; 307 and 308 repeat the request as it was.
    What a method change leaves without a body loses the headers that described it.
    To another origin no credentials go along: Authorization, Cookie and
    Proxy-Authorization headers, user name and password. Host always follows the URL.
    A user that *location* names is the server's choice and not the program's: it is
    left out (RFC 9110 section 4.2.4).
    """
    new = copy.copy(request)
    new.url = urljoin(here.url, location)
    there = parse_url(new.url)
    if "@" in there.parsed.netloc and there.parsed.netloc != here.parsed.netloc:
        bare = there.parsed.netloc.rpartition("@")[2]
        new.url = there.parsed._replace(netloc=bare).geturl()
        there = parse_url(new.url)
    headers = httputil.HTTPHeaders(request.headers)
    headers.pop("Host", None)
    if (code == 303 and request.method != "HEAD") or (
        code in (301, 302) and request.method == "POST"
    ):
        new.method = "GET"
        new.body = None
        new.body_producer = None
        new.expect_100_continue = False
        for name in _BODY_HEADERS:
            headers.pop(name, None)
    if there.origin != here.origin:
        for name in _CREDENTIAL_HEADERS:
            headers.pop(name, None)
        new.auth_username = new.auth_password = new.auth_mode = None
    elif there.username is None and here.username is not None:
        # Same origin: what the first URL said of the user stays true.
        new.auth_username, new.auth_password = here.username, here.password or ""
    new.headers = headers
    return new


def without_credentials(defaults: dict[str, Any]) -> dict[str, Any]:
    """A client's defaults for a request that was redirected to another origin."""
    return {
        name: value
        for name, value in defaults.items()
        if name not in ("auth_username", "auth_password", "auth_mode")
    }


def tls_settings(request: Any) -> tuple[Any, ...] | ssl.SSLContext | None:
    """What tells the TLS settings of *request* from others'; None: the default."""
    options = request.ssl_options
    if options is not None:
        if isinstance(options, dict):
            return tuple(sorted((str(k), str(v)) for k, v in options.items()))
        context: ssl.SSLContext = options
        return context
    validate = request.validate_cert
    if (
        validate
        and request.ca_certs is None
        and request.client_cert is None
        and request.client_key is None
    ):
        return None
    return (bool(validate), request.ca_certs, request.client_cert, request.client_key)


def _stamp(path: str | None) -> tuple[int, int] | None:
    if path is None or os.path.isdir(path):
        return None
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


class TLSContexts:
    """TLS contexts by settings: reading certificate files costs more than a fetch.

    A file that was replaced makes a new context for the next connection.
    """

    def __init__(self) -> None:
        self._made: dict[Any, ssl.SSLContext] = {}

    def context(self, request: HTTPRequest) -> ssl.SSLContext:
        """The context for a new connection of *request*. Raises SSLError, OSError."""
        if request.ssl_options is not None:
            if isinstance(request.ssl_options, ssl.SSLContext):
                return request.ssl_options
            from pyfastloop.netutil import ssl_options_to_context

            return ssl_options_to_context(request.ssl_options, server_side=False)
        validate = bool(request.validate_cert)
        files = (request.ca_certs, request.client_cert, request.client_key)
        key = (validate, files, tuple(map(_stamp, files)))
        context = self._made.get(key)
        if context is None:
            context = ssl.create_default_context(
                ssl.Purpose.SERVER_AUTH, cafile=request.ca_certs
            )
            if not validate:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if request.client_cert is not None:
                context.load_cert_chain(request.client_cert, request.client_key)
            if len(self._made) >= 64:
                self._made.clear()
            self._made[key] = context
        return context
