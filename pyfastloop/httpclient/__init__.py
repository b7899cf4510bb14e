"""Fetching over HTTP without blocking, and blocking where a script wants it.

`AsyncHTTPClient` has one instance for each loop, `HTTPRequest` says what is
wanted, `HTTPResponse` what came back, `HTTPClientError` what went wrong.
`HTTPClient` is the synchronous face: it runs a loop of its own until the answer
is there, in a script, in a thread, or (blocking that loop) inside a handler.

The bytes are the work of `pyfastloop.simple_httpclient`, whose connections and
parser are C; here is only what every implementation of the client shares.

What differs from Tornado, and why:

- ``fetch(request, callback)`` and ``fetch(request, callback=...)``, the forms of
  Tornado 3 and 4, work beside the awaited form. The callback always receives an
  `HTTPResponse`; what failed without an answer has code 599 and its ``error``.
- Cancelling the future of `AsyncHTTPClient.fetch` ends the request and frees its
  connection; it does not go on in the background.
- The headers object of the caller is never modified.
- `HTTPRequest` takes ``inactivity_timeout``: seconds without a byte in either
  direction after which the request fails. None, the default, is no such limit.
- `HTTPClient` may be used while another loop runs in this thread.
"""

from pyfastloop.httpclient.blocking import HTTPClient, main
from pyfastloop.httpclient.client import AsyncHTTPClient
from pyfastloop.httpclient.request import HTTPRequest, _RequestProxy
from pyfastloop.httpclient.response import (
    HTTPClientError,
    HTTPError,
    HTTPResponse,
)

__all__ = [
    "AsyncHTTPClient",
    "HTTPClient",
    "HTTPClientError",
    "HTTPError",
    "HTTPRequest",
    "HTTPResponse",
    "_RequestProxy",
    "main",
]
