"""`WebSocketHandler`: the hooks of a program for one WebSocket connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from pyfastloop import _core, web
from pyfastloop.httpserver import _HTTPRequestContext
from pyfastloop.websocket.errors import WebSocketClosedError
from pyfastloop.websocket.protocol import (
    WebSocketProtocol,
    WebSocketProtocol13,
    _WebSocketParams,
)

if TYPE_CHECKING:
    from pyfastloop.iostream import IOStream
    from pyfastloop.websocket.deflate import Deflater

__all__ = ["WebSocketHandler", "publish"]

_DEFAULT_MAX_MESSAGE_SIZE = 10 * 1024 * 1024


class WebSocketHandler(web.RequestHandler, _core.WebSocketHandlerBase):
    """A handler whose connection speaks WebSocket after the request.

    Override `on_message`, and `open` and `on_close` where they are of use; send with
    `write_message`. The first two may be coroutines; messages come in order, the next
    one only after what `on_message` returned is done, which holds the peer back.

    Settings of the application: ``websocket_ping_interval`` and
    ``websocket_ping_timeout`` (seconds), ``websocket_max_message_size`` (10 MiB). Not
    in Tornado: ``websocket_max_write_buffer`` (bytes that may wait for a peer, None:
    any) and ``websocket_slow_peer``, what happens beyond: "wait" (the future of a write
    is not done yet), "drop" (the oldest waiting message) or "close" (code 1013).
    """

    # Fields of the C base, which an idle connection needs no dict for.
    ws_connection: WebSocketProtocol | None
    close_code: int | None
    close_reason: str | None
    open_args: tuple[str, ...]
    open_kwargs: dict[str, str]
    _topics: set[Any] | None
    _on_close_called: bool
    _upgraded: bool

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """The handshake: 101 and a connection, or 400, 403 or 426."""
        if args:
            self.open_args = args
        if kwargs:
            self.open_kwargs = kwargs
        field = self._field
        if (field("Upgrade") or "").lower() != "websocket":
            self.set_status(400)
            self.finish('Can "Upgrade" only to "WebSocket".')
            return
        if not any(
            token.strip().lower() == "upgrade"
            for token in (field("Connection") or "").split(",")
        ):
            self.set_status(400)
            self.finish('"Connection" must be "Upgrade".')
            return
        origin = field("Origin")
        if origin is None:
            origin = field("Sec-Websocket-Origin")
        if not (
            origin is None or self._is_own_origin(origin) or self.check_origin(origin)
        ):
            self.set_status(403)
            self.finish("Cross origin websockets not allowed")
            return
        self.ws_connection = self.get_websocket_protocol()
        if self.ws_connection is None:
            self.set_status(426, "Upgrade Required")
            self.set_header("Sec-WebSocket-Version", "7, 8, 13")
            self.finish()
            return
        await self.ws_connection.accept_connection(self)

    # ---- settings ----

    @property
    def ping_interval(self) -> float | None:
        """Seconds between pings; None or 0 for none."""
        value: float | None = self.settings.get("websocket_ping_interval")
        return value

    @property
    def ping_timeout(self) -> float | None:
        """Seconds a pong may take; None for as many as the interval has."""
        value: float | None = self.settings.get("websocket_ping_timeout")
        return value

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message; a larger one closes with 1009."""
        value: int = self.settings.get(
            "websocket_max_message_size", _DEFAULT_MAX_MESSAGE_SIZE
        )
        return value

    def get_compression_options(self) -> dict[str, Any] | None:
        """Override to switch compression on: return {} or options.

        ``compression_level`` and ``mem_level`` are zlib's; ``max_window_bits`` (9 to
        15) and ``no_context_takeover`` save memory for many idle connections.
        """
        return None

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Override to choose one of *subprotocols*, or None for none."""
        return None

    @property
    def selected_subprotocol(self) -> str | None:
        """What `select_subprotocol` chose. Only while the connection is open."""
        if self.ws_connection is None:
            raise WebSocketClosedError("there is no WebSocket connection")
        return self.ws_connection.selected_subprotocol

    def check_origin(self, origin: str) -> bool:
        """Whether a page of *origin* may connect: by default only of our own host.

        This is what protects against other sites using a visitor's cookies. Asked only
        about other hosts than the one that the request is for.
        """
        return self._is_own_origin(origin)

    def _is_own_origin(self, origin: str) -> bool:
        """Whether a page of *origin* has host and port of the request's Host."""
        try:
            host = urlparse(origin).netloc
        except ValueError:  # such as "http://["
            return False
        return host != "" and host.lower() == (self._field("Host") or "").lower()

    # ---- hooks ----

    def open(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """Override: the connection is open; the arguments are the route's groups."""
        return None

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Override: a message came, str of a text frame, bytes of a binary one."""
        raise NotImplementedError(
            f"{type(self).__name__} received a message and has no on_message"
        )

    def on_ping(self, data: bytes) -> None:
        """Override: a ping came; it was answered already."""

    def on_pong(self, data: bytes) -> None:
        """Override: a pong came."""

    def on_close(self) -> None:
        """Override: the connection is closed; see ``close_code``, ``close_reason``."""

    # ---- sending ----

    def ping(self, data: str | bytes = b"") -> None:
        """Send a ping with at most 125 bytes; the peer answers with the same."""
        if isinstance(data, str):
            data = data.encode("utf-8")
        if self.ws_connection is None or self.ws_connection.is_closing():
            raise WebSocketClosedError("the WebSocket is closed")
        self.ws_connection.write_ping(data)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Begin the close handshake. *reason* is at most 123 bytes of UTF-8."""
        if self.ws_connection is not None:
            self.ws_connection.close(code, reason)
            self.ws_connection = None

    def set_nodelay(self, value: bool) -> None:
        """Set TCP_NODELAY on the connection: small messages leave at once."""
        if self.ws_connection is None:
            raise WebSocketClosedError("there is no WebSocket connection")
        self.ws_connection.set_nodelay(value)

    # ---- topics ----

    def subscribe(self, topic: Any) -> None:
        """Get what is published to *topic* (any hashable object) from now on."""
        connection = self.ws_connection
        if not isinstance(connection, WebSocketProtocol13):
            raise WebSocketClosedError("there is no WebSocket connection")
        if self._topics is None:
            self._topics = set()
        self._topics.add(topic)
        _topics_of(self.application).setdefault(topic, {})[self] = connection

    def unsubscribe(self, topic: Any) -> None:
        """Undo `subscribe`; harmless when it was not called."""
        topics = _topics_of(self.application)
        subscribers = topics.get(topic)
        if subscribers is not None:
            subscribers.pop(self, None)
            if not subscribers:
                del topics[topic]
        if self._topics is not None:
            self._topics.discard(topic)

    def publish(
        self, topic: Any, message: bytes | str | dict[str, Any], binary: bool = False
    ) -> int:
        """`publish` in this handler's application."""
        return publish(self.application, topic, message, binary)

    # ---- the connection's side ----

    def on_connection_close(self) -> None:
        """The stream is closed: `on_close` is called, once."""
        if self.ws_connection is not None:
            self.ws_connection.on_connection_close()
            self.ws_connection = None
        if not self._on_close_called:
            self._on_close_called = True
            for topic in list(self._topics or ()):
                self.unsubscribe(topic)
            try:
                self.on_close()
            finally:
                self._break_cycles()

    def on_ws_connection_close(
        self, close_code: int | None = None, close_reason: str | None = None
    ) -> None:
        """The connection ended with this code and reason."""
        self.close_code = close_code
        self.close_reason = close_reason
        self.on_connection_close()

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """The protocol of the version that the client asked for, or None."""
        version = self._field("Sec-WebSocket-Version")
        if version not in ("7", "8", "13"):
            return None
        settings = self.settings
        params = _WebSocketParams(
            ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout,
            max_message_size=self.max_message_size,
            compression_options=self.get_compression_options(),
            max_write_buffer=settings.get("websocket_max_write_buffer"),
            slow_peer=settings.get("websocket_slow_peer", "wait"),
        )
        return WebSocketProtocol13(self, False, params)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """An error page before the handshake; afterwards the connection is closed."""
        if self.ws_connection is None or self.ws_connection.stream is None:
            super().send_error(status_code, **kwargs)
        else:
            self.ws_connection.stream.close()

    def _detach_stream(self) -> IOStream:
        """Take the stream from the HTTP connection, which is of no use afterwards."""
        self._upgraded = True
        stream = self.detach()
        connection = self.request.connection
        if type(connection) is _core.HTTP1Connection:
            self.request.connection = UpgradedConnection(connection.context)
            self.request.server_connection = None
        self._slim()
        return stream

    # ---- what HTTP has no use for afterwards ----

    def _still_http(self) -> None:
        if self._upgraded:
            raise RuntimeError("Method not supported for Web Sockets")

    def write(self, *args: Any, **kwargs: Any) -> None:
        """Only before the handshake; see `write_message`."""
        self._still_http()
        super().write(*args, **kwargs)

    def redirect(self, *args: Any, **kwargs: Any) -> None:
        """Only before the handshake."""
        self._still_http()
        super().redirect(*args, **kwargs)

    def set_header(self, *args: Any, **kwargs: Any) -> None:
        """Only before the handshake."""
        self._still_http()
        super().set_header(*args, **kwargs)

    def set_cookie(self, *args: Any, **kwargs: Any) -> None:
        """Only before the handshake."""
        self._still_http()
        super().set_cookie(*args, **kwargs)

    def set_status(self, *args: Any, **kwargs: Any) -> None:
        """Only before the handshake."""
        self._still_http()
        super().set_status(*args, **kwargs)

    def flush(self, *args: Any, **kwargs: Any) -> Any:
        """Only before the handshake."""
        self._still_http()
        return super().flush(*args, **kwargs)

    def finish(self, *args: Any, **kwargs: Any) -> Any:
        """Only before the handshake; see `close`."""
        self._still_http()
        return super().finish(*args, **kwargs)


_SEEN = 1 << 48  # above address and port, so that 0 means: not known so


class UpgradedConnection:
    """What `request.connection` is once the stream speaks WebSocket: it knows the peer.

    The HTTP connection is let go, so that an idle WebSocket does not carry it.
    """

    __slots__ = ("_context", "_protocol", "_seen")

    stream = None
    is_client = False
    no_keep_alive = True

    def __init__(self, context: Any) -> None:
        self._context = context
        self._protocol: str = ""
        self._seen: int = 0
        # The usual context is an IPv4 address and a port: one int of an idle connection
        # says as much, and it is made again when somebody asks.
        if type(context) is _HTTPRequestContext and context.is_plain():
            ip, port = context.address
            with contextlib.suppress(OSError):
                packed = socket.inet_pton(socket.AF_INET, ip)
                self._seen = _SEEN | int.from_bytes(packed) << 16 | port
                self._protocol = context.protocol
                self._context = None

    @property
    def context(self) -> Any:
        """What is known of the peer: ``remote_ip``, ``protocol``, ``address``."""
        if self._context is None and self._seen:
            packed = (self._seen >> 16 & 0xFFFFFFFF).to_bytes(4)
            address = (socket.inet_ntoa(packed), self._seen & 0xFFFF)
            self._context = _HTTPRequestContext(None, address, self._protocol)
        return self._context

    def set_close_callback(self, callback: Any) -> None:
        """Nothing comes of it: `WebSocketHandler.on_close` tells of the end."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Method not supported for Web Sockets")

    write_headers = write = finish = detach = _refuse


def _topics_of(
    application: Any,
) -> dict[Any, dict[WebSocketHandler, WebSocketProtocol13]]:
    topics: dict[Any, dict[WebSocketHandler, WebSocketProtocol13]]
    topics = application.__dict__.setdefault("_websocket_topics", {})
    return topics


def publish(
    application: web.Application,
    topic: Any,
    message: bytes | str | dict[str, Any],
    binary: bool = False,
) -> int:
    """Send *message* to all who subscribed to *topic*; gives how many these are.

    The frame is made once, and all send the same bytes: those without compression, and
    those with ``no_context_takeover`` and the same settings. Connections that compress
    with what was said before get a frame each.
    Nobody is waited for: a peer that reads slowly meets ``websocket_max_write_buffer``.
    """
    subscribers = _topics_of(application).get(topic)
    if not subscribers:
        return 0
    plain: list[WebSocketProtocol13] = []
    alike: dict[Any, tuple[Deflater, list[WebSocketProtocol13]]] = {}
    count = 0
    for connection in list(subscribers.values()):
        deflater = connection._deflater
        if deflater is None:
            plain.append(connection)
        elif (key := deflater.shared_key()) is not None:
            alike.setdefault(key, (deflater, []))[1].append(connection)
        else:
            with contextlib.suppress(WebSocketClosedError):
                connection.write_message(message, binary)
                count += 1
    opcode = 2 if binary else 1
    data = _data_of(message, binary)
    make, frames = _core.WebSocketLink.frame, []
    if plain:
        frames.append((plain, make(opcode, data, 0x80, None)))
    for deflater, links in alike.values():
        frames.append((links, make(opcode, deflater.compress(data), 0xC0, None)))
    for links, frame in frames:
        count += _core.WebSocketLink._publish(links, frame)
    return count


def _data_of(message: Any, binary: bool) -> Any:
    if isinstance(message, dict):
        from pyfastloop.escape import json_encode

        return json_encode(message)
    if (
        not binary
        and not isinstance(message, str)
        and not _core.WebSocketLink.is_utf8(message)
    ):
        raise ValueError("these bytes are no UTF-8: publish them with binary=True")
    return message
