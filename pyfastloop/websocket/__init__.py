"""WebSocket (RFC 6455) with permessage-deflate (RFC 7692): server and client.

`WebSocketHandler` is the server's side, `websocket_connect` the client's. Frames are
parsed, unmasked, checked and made in C (``csrc/http/ws_link.c``), which calls
``on_message``; handshakes, pings and the policies are Python, compression is zlib's.

What differs from Tornado, and why:

- What breaks the protocol is answered with the close code that the RFC names (1002,
  1007, 1009) before the connection is closed, and an exception in a hook with 1011;
  frames of a client that are not masked are refused.
- ``write_message`` takes any buffer, and refuses bytes that are no UTF-8 where a text
  is to be sent: the peer would have to close the connection.
- Compression memory is made by the first message that needs it.
- A ping's time-out counts from that ping and may be longer than the interval.
- `publish`, ``subscribe``, `close_all`, `drain` and the policies for slow peers are
  new. `pyfastloop.run` drains at its end: peers hear 1001.

Memory: an idle connection takes 2 KiB. One that compresses keeps 100 KiB more from its
first messages on, by default as large as Tornado's windows; return ::

    {"no_context_takeover": True, "max_window_bits": 12, "mem_level": 5}

from ``get_compression_options`` and it keeps nothing between messages, which compress a
little less. Then `publish` also compresses once for all subscribers.
"""

import functools

from pyfastloop.log import gen_log
from pyfastloop.websocket.client import WebSocketClientConnection, websocket_connect
from pyfastloop.websocket.errors import WebSocketClosedError, WebSocketError
from pyfastloop.websocket.handler import WebSocketHandler, publish
from pyfastloop.websocket.protocol import (
    WebSocketProtocol,
    WebSocketProtocol13,
    _WebSocketParams,
    close_all,
    drain,
)

__all__ = [
    "WebSocketClientConnection",
    "WebSocketClosedError",
    "WebSocketError",
    "WebSocketHandler",
    "WebSocketProtocol",
    "WebSocketProtocol13",
    "_WebSocketParams",
    "close_all",
    "de_dupe_gen_log",
    "drain",
    "publish",
    "websocket_connect",
]


@functools.lru_cache
def de_dupe_gen_log(level: int, message: str) -> None:
    """Log *message* to tornado.general, the first time only."""
    gen_log.log(level, message)
