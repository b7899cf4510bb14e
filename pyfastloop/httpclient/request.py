"""`HTTPRequest`: what to ask, and how. Its constructor is C (client_request.c)."""

from __future__ import annotations

import copy
import datetime
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from pyfastloop import _core, httputil
from pyfastloop.concurrent import Future
from pyfastloop.escape import utf8

__all__ = ["HTTPRequest"]


def _dated(
    headers: httputil.HTTPHeaders | dict[str, str] | None,
    since: float | datetime.datetime,
) -> httputil.HTTPHeaders:
    """*headers*, and that the answer is wanted if it is younger than *since*."""
    dated = httputil.HTTPHeaders(headers or {})
    dated["If-Modified-Since"] = httputil.format_timestamp(since)
    return dated


class HTTPRequest(_core.HTTPRequestBase):
    """What to ask, and how.

    ``url`` and ``method``; ``headers`` (`httputil.HTTPHeaders` or any mapping);
    ``body`` (str is encoded as UTF-8) or ``body_producer``, a callable that gets a
    ``write(bytes)`` function returning a future, and may be a coroutine function.

    - ``auth_username``, ``auth_password``, ``auth_mode``: "basic" is the default
      mode and the only one of the simple client.
    - ``connect_timeout``, ``request_timeout``: seconds, 20 each by default, 0 for
      none. The request time-out covers everything from `AsyncHTTPClient.fetch` on,
      waiting for a slot and redirects included.
    - ``inactivity_timeout``: seconds without a byte moving; None for no limit.
    - ``if_modified_since``: `datetime.datetime` or Unix time.
    - ``follow_redirects`` (True) and ``max_redirects`` (5).
    - ``user_agent``; ``decompress_response`` (True; ``use_gzip`` is its old name).
    - ``network_interface``: the local IP address to connect from.
    - ``streaming_callback(bytes)`` gets the body piece by piece and may return an
      awaitable, which holds the server back; ``header_callback(str)`` gets the
      start line and each header line with its line end, last an empty line.
    - ``proxy_host``, ``proxy_port``, ``proxy_username``, ``proxy_password``,
      ``proxy_auth_mode``: an HTTP proxy, asked with CONNECT for https.
    - ``allow_nonstandard_methods``: any method name, a body where none is usual.
    - ``validate_cert``, ``ca_certs``, ``client_key``, ``client_cert``, or
      ``ssl_options`` (an `ssl.SSLContext`, or a dict) in place of these.
    - ``allow_ipv6``: False for IPv4 alone.
    - ``expect_100_continue``: send the body only when the server asks for it.
    - ``prepare_curl_callback``: for `pyfastloop.curl_httpclient` only.

    An argument left at None takes the value of the client's ``defaults``.
    """

    url: str
    start_time: float
    # What an object does not set itself: see csrc/http/client_request.c.
    method: str = "GET"
    _headers: httputil.HTTPHeaders | dict[str, str] | None = None
    _body: bytes | None = None
    body_producer: (
        Callable[[Callable[[bytes], Future[None]]], Awaitable[None] | None] | None
    ) = None
    auth_username: str | None = None
    auth_password: str | None = None
    auth_mode: str | None = None
    connect_timeout: float | None = None
    request_timeout: float | None = None
    inactivity_timeout: float | None = None
    follow_redirects: bool | None = None
    max_redirects: int | None = None
    user_agent: str | None = None
    decompress_response: bool | None = None
    network_interface: str | None = None
    streaming_callback: Callable[[bytes], Awaitable[None] | None] | None = None
    header_callback: Callable[[str], None] | None = None
    prepare_curl_callback: Callable[[Any], None] | None = None
    proxy_host: str | None = None
    proxy_port: int | None = None
    proxy_username: str | None = None
    proxy_password: str | None = None
    proxy_auth_mode: str | None = None
    allow_nonstandard_methods: bool | None = None
    validate_cert: bool | None = None
    ca_certs: str | None = None
    allow_ipv6: bool | None = None
    client_key: str | None = None
    client_cert: str | None = None
    ssl_options: dict[str, Any] | ssl.SSLContext | None = None
    expect_100_continue: bool = False

    _DEFAULTS: dict[str, Any] = {  # noqa: RUF012 - read by subclasses under this name
        "connect_timeout": 20.0,
        "request_timeout": 20.0,
        "follow_redirects": True,
        "max_redirects": 5,
        "decompress_response": True,
        "proxy_password": "",
        "allow_nonstandard_methods": False,
        "validate_cert": True,
    }

    @property
    def headers(self) -> httputil.HTTPHeaders | dict[str, str]:
        """The headers to send. Setting None gives an empty `httputil.HTTPHeaders`."""
        if self._headers is None:
            self._headers = httputil.HTTPHeaders()
        return self._headers

    @headers.setter
    def headers(self, value: httputil.HTTPHeaders | dict[str, str] | None) -> None:
        self._headers = value

    @property
    def body(self) -> bytes | None:
        """The body to send, as bytes. A str that is assigned becomes UTF-8."""
        return self._body

    @body.setter
    def body(self, value: bytes | str | None) -> None:
        self._body = value if value is None else utf8(value)


class _RequestProxy:
    """A request with the client's defaults behind it.

    An attribute that the request left at None is taken from ``defaults``; what is in
    neither is None. ``headers`` is a copy of its own, so that a client may add to it.
    """

    def __init__(self, request: HTTPRequest, defaults: dict[str, Any] | None) -> None:
        self.request = request
        self.defaults = defaults

    def __getattr__(self, name: str) -> Any:
        if name == "headers":
            self.headers = httputil.HTTPHeaders(self.request.headers)
            return self.headers
        value = getattr(self.request, name)
        if value is None and self.defaults:
            return self.defaults.get(name)
        return value

    def _as_changed(self) -> HTTPRequest:
        """The request with what a program's fetch_impl has set on this object."""
        changed = copy.copy(self.request)
        for name, value in vars(self).items():
            if name not in ("request", "defaults"):
                setattr(changed, name, value)
        return changed
