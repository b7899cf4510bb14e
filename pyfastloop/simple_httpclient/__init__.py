"""The client that speaks HTTP/1.1 over `pyfastloop.iostream`: the default one.

A fetch of a URL that was fetched before runs in C from `fetch` to the response: the
plan of what goes out, the pool, the parser of answers (``csrc/http/fetch.c`` to
``client_link.c``). Here are `SimpleAsyncHTTPClient` with its queue, and what only some
fetches need: `exchange` opens connections, sends bodies piece by piece, redirects and
fails; `reading` has answers that are seen as they come; `outgoing` plans; `target`
knows URLs and TLS settings; `inflate` undoes content codings.

What differs from Tornado, and why:

- Connections are kept alive and used again (``csrc/http/pool.c`` has the design);
  ``keep_alive=False`` switches it off, ``max_idle_connections`` and
  ``idle_connection_timeout`` bound it.
- HTTP proxies work, with CONNECT for https.
- br and zstd are understood where their packages are installed, and everything
  inflated counts against ``max_body_size``.
- The request time-out counts from `fetch` on and covers waiting in the queue and
  redirects; its message names the phase. Redirects to another origin take no
  credentials along.
- Messages name the host and the cause.
"""

from pyfastloop.simple_httpclient.client import SimpleAsyncHTTPClient
from pyfastloop.simple_httpclient.errors import HTTPStreamClosedError, HTTPTimeoutError
from pyfastloop.simple_httpclient.exchange import _HTTPConnection

__all__ = [
    "HTTPStreamClosedError",
    "HTTPTimeoutError",
    "SimpleAsyncHTTPClient",
    "_HTTPConnection",
]
