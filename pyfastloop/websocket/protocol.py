"""A WebSocket connection: handshake, messages, close handshake, pings (RFC 6455).

Frames are read by C (``csrc/http/ws_link.c``), which tells `WebSocketProtocol13` of
whole messages; sending makes a frame in C and hands it to the stream. What stands here
runs once for a message or less often.

State: ``client_terminated`` (named so on both sides, as in Tornado: the peer will send
nothing more) and ``server_terminated`` (we will send nothing more). When both are true
the stream is closed; `on_connection_close` then tells the handler, exactly once.
"""

from __future__ import annotations

import abc
import asyncio
import base64
import binascii
import collections
import contextvars
import hashlib
import os
import struct
import sys
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pyfastloop import _core, gen, httputil
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import _ATTRIBUTE, IOLoop
from pyfastloop.iostream import StreamClosedError
from pyfastloop.log import gen_log
from pyfastloop.websocket import deflate
from pyfastloop.websocket.errors import WebSocketClosedError, WebSocketError

if TYPE_CHECKING:
    from pyfastloop.iostream import IOStream
    from pyfastloop.websocket.handler import WebSocketHandler

__all__ = ["WebSocketProtocol", "WebSocketProtocol13", "close_all", "drain"]

# Seconds that a peer has for its close frame, as in Tornado.
_CLOSE_WAIT = 5.0

# Bytes that may be queued for a peer before it gets no further pongs: a flood of pings
# from someone who does not read must not fill the memory.
_PONG_MARK = 64 * 1024

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _open_connections(io_loop: IOLoop) -> set[WebSocketProtocol13]:
    """The connections of a loop. It holds them open, whoever forgets them."""
    connections: set[WebSocketProtocol13]
    connections = vars(io_loop).setdefault("_websockets", set())
    return connections


def any_open(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a connection of this asyncio loop is open."""
    io_loop = getattr(loop, _ATTRIBUTE, None)
    return io_loop is not None and bool(vars(io_loop).get("_websockets"))


def close_all(code: int = 1001, reason: str | None = None) -> list[WebSocketProtocol13]:
    """Begin to close every connection of the current loop; gives what was open.

    1001 is "going away": what a server that stops says.
    """
    connections = list(_open_connections(IOLoop.current()))
    for connection in connections:
        connection.close(code, reason)
    return connections


async def drain(
    code: int = 1001, reason: str | None = None, seconds: float = _CLOSE_WAIT
) -> int:
    """`close_all`, and wait until all are gone; gives how many had to be cut off.

    A peer has *seconds* for its close frame.
    """
    close_all(code, reason)
    io_loop = IOLoop.current()
    connections = _open_connections(io_loop)
    if connections:
        gone: Future[None] = Future()
        vars(io_loop).setdefault("_websockets_gone", []).append(gone)
        await asyncio.wait([gone], timeout=seconds)
    cut = list(connections)
    for connection in cut:
        connection._abort()
    return len(cut)


def _forget(connection: WebSocketProtocol13) -> None:
    io_loop = IOLoop.current()
    connections = _open_connections(io_loop)
    connections.discard(connection)
    if not connections:
        for gone in vars(io_loop).pop("_websockets_gone", ()):
            if not gone.done():
                gone.set_result(None)


def _bytes_of(size: float, setting: str) -> int:
    """A bound in bytes as C takes it. Programs write 10e6, or infinity, too."""
    if not isinstance(size, int | float) or not size >= 0:
        raise ValueError(f"{setting} must be a number of bytes, 0 or more, not {size}")
    return int(min(size, sys.maxsize - 1))


class _WebSocketParams:
    """Settings of a connection."""

    __slots__ = (
        "compression_options",
        "max_message_size",
        "max_write_buffer",
        "ping_interval",
        "ping_timeout",
        "slow_peer",
    )

    def __init__(
        self,
        ping_interval: float | None = None,
        ping_timeout: float | None = None,
        max_message_size: float = 10485760,
        compression_options: dict[str, Any] | None = None,
        max_write_buffer: float | None = None,
        slow_peer: str = "wait",
    ) -> None:
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.max_message_size = _bytes_of(max_message_size, "max_message_size")
        self.compression_options = compression_options
        if slow_peer not in ("wait", "drop", "close"):
            raise ValueError(
                'the policy for slow WebSocket peers is "wait", "drop" (the oldest '
                f'message) or "close" (with 1013), not {slow_peer!r}'
            )
        self.max_write_buffer = (
            None
            if max_write_buffer is None
            else _bytes_of(max_write_buffer, "websocket_max_write_buffer")
        )
        self.slow_peer = slow_peer


class WebSocketProtocol(abc.ABC):
    """What the versions of the protocol share; there is one that is spoken."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.stream: IOStream | None = None
        self.client_terminated = False
        self.server_terminated = False

    def on_connection_close(self) -> None:
        """The stream is closed."""
        self._abort()

    def _abort(self) -> None:
        """Close the stream at once."""
        self.client_terminated = True
        self.server_terminated = True
        if self.stream is not None:
            self.stream.close()
        self.close()

    @abc.abstractmethod
    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Begin the close handshake."""

    @abc.abstractmethod
    def is_closing(self) -> bool:
        """Whether one side has ended, or begun to end, the connection."""

    @abc.abstractmethod
    async def accept_connection(self, handler: WebSocketHandler) -> None:
        """Answer a handshake request."""

    @abc.abstractmethod
    def write_message(
        self, message: str | bytes | dict[str, Any], binary: bool = False
    ) -> Future[None]:
        """Send a message."""

    @property
    @abc.abstractmethod
    def selected_subprotocol(self) -> str | None:
        """What the two sides agreed on."""

    @abc.abstractmethod
    def write_ping(self, data: bytes) -> None:
        """Send a ping."""

    @abc.abstractmethod
    def start_pinging(self) -> None:
        """Ping at the interval that was set."""

    @abc.abstractmethod
    def set_nodelay(self, x: bool) -> None:
        """Set TCP_NODELAY."""


class WebSocketProtocol13(_core.WebSocketLink, WebSocketProtocol):
    """RFC 6455, for both sides: a client masks what it sends (``mask_outgoing``).

    Reading and sending are the C base's (``write_message``, ``write_encoded``,
    ``is_closing``), which keeps the fields too.
    """

    FIN = 0x80
    RSV1 = 0x40
    RSV2 = 0x20
    RSV3 = 0x10
    RSV_MASK = RSV1 | RSV2 | RSV3
    OPCODE_MASK = 0x0F

    params: _WebSocketParams
    close_code: int | None
    close_reason: str | None
    _deflater: deflate.Deflater | None
    _inflater: deflate.Inflater | None
    _context: contextvars.Context | None
    ping_callback: Any = None  # read by programs of Tornado 4 and 5

    _closing: Any = None  # the timer of the close handshake
    _told = False
    _ping_task: asyncio.Task[None] | None = None
    _unanswered = 0.0  # when the oldest ping without an answer was sent
    _pending: collections.deque[tuple[bytes, Future[None]]] | None = None
    _pending_bytes = 0
    _keys = b""
    _selected_subprotocol: str | None = None

    def __init__(
        self, handler: Any, mask_outgoing: bool, params: _WebSocketParams
    ) -> None:
        # What is not set here reads as None or False, and needs no dict.
        self.handler = handler
        self.mask_outgoing = mask_outgoing
        self.params = params

    @property
    def selected_subprotocol(self) -> str | None:
        """The subprotocol that the two sides agreed on, or None."""
        return self._selected_subprotocol

    # ---- the handshake ----

    @staticmethod
    def compute_accept_value(key: str | bytes) -> str:
        """The Sec-WebSocket-Accept that answers the Sec-WebSocket-Key *key*."""
        if isinstance(key, str):
            key = key.encode("utf-8")
        digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
        return base64.b64encode(digest).decode("ascii")

    async def accept_connection(self, handler: WebSocketHandler) -> None:
        """Answer the request of *handler*: 101 and its ``open``, or 400."""
        key = handler._field("Sec-WebSocket-Key") or ""
        try:
            if len(base64.b64decode(key, validate=True)) != 16:
                raise ValueError("not 16 bytes")
        except (ValueError, binascii.Error) as error:
            gen_log.debug("Malformed WebSocket request received: key %r", key)
            handler.set_status(400)
            handler.finish(
                f"Missing/Invalid WebSocket headers: Sec-WebSocket-Key {error}"
            )
            return
        try:
            self._agree(handler)
        except ValueError as error:
            gen_log.debug("Malformed WebSocket request received: %s", error)
            handler.set_status(400)
            handler.finish(f"Missing/Invalid WebSocket headers: {error}")
            return
        handler.clear_header("Content-Type")
        handler.set_status(101)
        handler.set_header("Upgrade", "websocket")
        handler.set_header("Connection", "Upgrade")
        handler.set_header("Sec-WebSocket-Accept", self.compute_accept_value(key))
        handler.finish()
        self._begin(handler._detach_stream())
        try:
            opened = handler.open(*handler.open_args, **handler.open_kwargs)
            if opened is not None:
                await opened
        except asyncio.CancelledError:
            self._abort()
            raise
        except Exception:
            handler.log_exception(*sys.exc_info())
            self._fail(1011, "open failed")
            return
        if not self.client_terminated:
            self._context = contextvars.copy_context()
            self.start_pinging()
            self._resume()

    def _agree(self, handler: WebSocketHandler) -> None:
        """Subprotocol and extensions. Raises ValueError."""
        offered = [
            name.strip()
            for name in (handler._field("Sec-WebSocket-Protocol") or "").split(",")
            if name.strip()
        ]
        selected = handler.select_subprotocol(offered)
        if selected:
            if selected not in offered:
                raise AssertionError(
                    f"select_subprotocol returned {selected!r}, which was not offered: "
                    f"{offered}"
                )
            handler.set_header("Sec-WebSocket-Protocol", selected)
        if selected is not None:
            self._selected_subprotocol = selected
        options = self.params.compression_options
        asked = handler._field("Sec-WebSocket-Extensions")
        if asked is None:
            return
        extensions = deflate.parse_extensions(asked)
        if options is None:
            return
        deflate.check_options(options)
        for name, parameters in extensions:
            if name != deflate.NAME:
                continue
            accepted = deflate.Agreement.accept(parameters, options)
            if accepted is not None:
                agreement, value = accepted
                handler.set_header("Sec-WebSocket-Extensions", value)
                self._deflater = self._new_deflater(
                    agreement.server_bits, agreement.server_takeover, options
                )
                self._inflater = deflate.Inflater(
                    agreement.client_bits, agreement.client_takeover
                )
                return

    def _process_server_headers(
        self, key: str | bytes, headers: httputil.HTTPHeaders
    ) -> None:
        """Check a server's answer to our handshake. Raises WebSocketError."""
        if headers.get("Upgrade", "").lower() != "websocket" or not any(
            token.strip().lower() == "upgrade"
            for token in headers.get("Connection", "").split(",")
        ):
            raise WebSocketError(
                "the server answered 101 but did not upgrade to websocket: Upgrade is "
                f"{headers.get('Upgrade')!r}, Connection {headers.get('Connection')!r}"
            )
        accept = headers.get("Sec-WebSocket-Accept", "").strip()
        if accept != self.compute_accept_value(key):
            raise WebSocketError(
                f"Sec-WebSocket-Accept {accept!r} does not answer the key that was sent"
            )
        try:
            extensions = deflate.parse_extensions(
                headers.get("Sec-WebSocket-Extensions", "")
            )
            options = self.params.compression_options
            for name, parameters in extensions:
                if name != deflate.NAME or options is None or self._deflater:
                    raise ValueError(f"the server chose {name}, which was not offered")
                agreement = deflate.Agreement.accepted(parameters, options)
                self._deflater = self._new_deflater(
                    agreement.client_bits, agreement.client_takeover, options
                )
                self._inflater = deflate.Inflater(
                    agreement.server_bits, agreement.server_takeover
                )
        except ValueError as error:
            raise WebSocketError(str(error)) from None
        self._selected_subprotocol = headers.get("Sec-WebSocket-Protocol", None)

    def _new_deflater(
        self, bits: int, takeover: bool, options: dict[str, Any]
    ) -> deflate.Deflater:
        """A sender may always begin anew (RFC 7692 section 7.1.1); it has to where
        messages may be dropped, which later ones would refer to."""
        takeover = takeover and self.params.slow_peer != "drop"
        return deflate.Deflater(bits, takeover, options)

    def _begin(self, stream: IOStream) -> None:
        """The handshake is over: *stream* speaks frames. Reading waits for resume."""
        params = self.params
        self._attach(stream, params.max_message_size, params.max_write_buffer)
        self._context = contextvars.copy_context()
        _open_connections(IOLoop.current()).add(self)

    # ---- receiving, as the link tells it ----

    def _inflate_failed(self, error: BaseException) -> None:
        """A compressed message that cannot be read."""
        if isinstance(error, deflate.MessageTooBigError):
            self._fail(1009, "message too big after decompression")
        elif isinstance(error, UnicodeDecodeError):
            self._fail(1007, "a text that is not UTF-8")
        elif isinstance(error, zlib.error):
            self._fail(1007, "a message that does not inflate")
        else:
            self._hook_raised(error)

    def _on_control(self, opcode: int, data: bytes) -> bool | None:
        if self.client_terminated:
            return None
        if opcode == 0x9:
            wait = None
            if not self.server_terminated:
                try:
                    sent = self._write_frame(0xA, data)
                except StreamClosedError:
                    return None
                if not sent.done() and self._queued > _PONG_MARK:
                    wait = True
                    sent.add_done_callback(self._read_on)
            return self._call(self.handler.on_ping, data) or wait
        self._unanswered = 0.0
        return self._call(self.handler.on_pong, data)

    def _on_close_frame(self, code: int, reason: str) -> None:
        self.client_terminated = True
        if code != 1005:
            self.close_code = code
            self.close_reason = reason or None
        self.close(self.close_code)

    def _on_fail(self, code: int, text: str) -> None:
        """The peer broke a rule of the protocol."""
        gen_log.debug("WebSocket connection failed: %d %s", code, text)
        self._fail(code, text)

    def _on_lost(self, why: BaseException | None) -> None:
        """The stream is closed."""
        self.on_connection_close()

    def _call(self, hook: Callable[..., Any], argument: Any) -> bool | None:
        """Run a hook of the program; True when what it returned must be awaited."""
        try:
            assert self._context is not None
            result = self._context.run(hook, argument)
        except Exception as error:
            self._hook_raised(error)
            return None
        return None if result is None else self._hook_returned(result)

    def _hook_raised(self, error: BaseException) -> None:
        """A hook of the program raised."""
        self.handler.log_exception(type(error), error, error.__traceback__)
        self._fail(1011, "the handler failed")

    def _hook_returned(self, result: Any) -> bool | None:
        """A hook gave something to wait for; True while that is not done."""
        try:
            assert self._context is not None
            future = self._context.run(gen.convert_yielded, result)
        except Exception as error:
            self._hook_raised(error)
            return None
        if future.done():
            self._heard(future)
            return None
        future.add_done_callback(self._awaited)
        return True

    def _heard(self, future: Any) -> None:
        """What a hook returned is done."""
        try:
            future.result()
        except asyncio.CancelledError:
            self._abort()
        except Exception as error:
            self._hook_raised(error)

    def _awaited(self, future: Any) -> None:
        self._heard(future)
        self._resume()

    def _read_on(self, future: Any) -> None:
        self._resume()

    # ---- sending ----

    def _key(self) -> bytes:
        """Four bytes that nobody can foresee."""
        keys = self._keys
        if not keys:
            keys = os.urandom(256)
        self._keys = keys[4:]
        return keys[:4]

    def _frame(self, opcode: int, data: Any, flags: int = FIN) -> bytes:
        key = self._key() if self.mask_outgoing else None
        frame: bytes = _core.WebSocketLink.frame(opcode, data, flags, key)
        return frame

    def _write_frame(self, opcode: int, data: Any, flags: int = FIN) -> Future[None]:
        """Send a frame past any policy. Raises StreamClosedError."""
        if self.stream is None:
            raise StreamClosedError()
        future: Future[None] = self.stream.write(self._frame(opcode, data, flags))
        return future

    def _slow(self, frame: bytes, limit: int) -> Future[None]:
        """The peer reads slower than we write."""
        if self.params.slow_peer == "close":
            self._fail(1013, "too slow")
            raise WebSocketClosedError(
                f"the peer reads too slowly: more than {limit} bytes wait "
                "(websocket_max_write_buffer)"
            )
        if self._pending is None:
            self._pending = collections.deque()
        self._waiting = True
        pending = self._pending
        if self.params.slow_peer == "drop":
            while pending and self._pending_bytes + len(frame) > limit:
                dropped, settled = pending.popleft()
                self._pending_bytes -= len(dropped)
                if not settled.done():
                    settled.set_result(None)
        future: Future[None] = Future()
        stream = self.stream
        assert stream is not None
        first = not pending
        pending.append((frame, future))
        self._pending_bytes += len(frame)
        if first:
            # An empty write is done when everything before it was sent.
            try:
                stream.write(b"").add_done_callback(self._send_pending)
            except StreamClosedError:
                raise WebSocketClosedError("the WebSocket is closed") from None
        return future

    def _send_pending(self, written: Any) -> None:
        """What was queued in the stream is sent: go on with what waits here."""
        pending = self._pending
        if not written.cancelled():
            written.exception()
        while pending:
            sent = self._send_oldest(pending)
            if sent is None:
                return
            if not sent.done():
                sent.add_done_callback(self._send_pending)
                return
        self._waiting = False

    def _send_oldest(
        self, pending: collections.deque[tuple[bytes, Future[None]]]
    ) -> Future[None] | None:
        """Hands the stream the message that has waited longest; None: it is closed."""
        if self.server_terminated or self.stream is None or self.stream.closed():
            self._drop_pending()
            return None
        frame, future = pending.popleft()
        self._pending_bytes -= len(frame)
        try:
            sent: Future[None] = self.stream.write(frame)
        except StreamClosedError:
            pending.appendleft((frame, future))
            self._drop_pending()
            return None

        def settle(sent: Future[None]) -> None:
            if future.done():
                return
            if sent.cancelled() or sent.exception() is not None:
                future.set_exception(WebSocketClosedError("the WebSocket is closed"))
                future.exception()  # nobody has to ask
            else:
                future.set_result(None)

        if sent.done():
            settle(sent)
        else:
            sent.add_done_callback(settle)
        return sent

    def _drop_pending(self) -> None:
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        self._pending_bytes = 0
        self._waiting = False
        for _frame, future in pending:
            if not future.done():
                future.set_exception(WebSocketClosedError("the WebSocket is closed"))
                future.exception()  # nobody has to ask

    def write_ping(self, data: bytes) -> None:
        """Send a ping with at most 125 bytes of *data*. Raises WebSocketClosedError."""
        if isinstance(data, str):
            data = data.encode("utf-8")
        if len(data) > 125:
            raise ValueError(f"a ping carries at most 125 bytes, not {len(data)}")
        if self.server_terminated:
            raise WebSocketClosedError("the WebSocket is closed")
        try:
            self._write_frame(0x9, data)
        except StreamClosedError:
            raise WebSocketClosedError("the WebSocket is closed") from None

    # ---- the end ----

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Send a close frame, once; the peer has five seconds to send its own."""
        if not self.server_terminated:
            if self.stream is not None and not self.stream.closed():
                if code is None and reason is not None:
                    code = 1000
                data = b"" if code is None else struct.pack(">H", code)
                if reason is not None:
                    data += reason.encode("utf-8")
                if len(data) > 125:
                    raise ValueError("a close reason has at most 123 bytes of UTF-8")
                if not self.client_terminated:
                    while self._pending:  # what was taken goes before the close frame
                        self._send_oldest(self._pending)
                try:
                    self._write_frame(0x8, data)
                except StreamClosedError:
                    self._abort()
            self.server_terminated = True
            self._drop_pending()
        if self.client_terminated:
            self._stop_closing_timer()
            self._close_sent()
            if self._queued:
                self._start_closing_timer()
        elif self._closing is None and self.stream is not None:
            self._start_closing_timer()
        self._stop_pinging()

    def _start_closing_timer(self) -> None:
        if self._closing is None and not self._told:
            self._closing = IOLoop.current().call_later(_CLOSE_WAIT, self._abort)

    def _stop_closing_timer(self) -> None:
        timer = self._closing
        if timer is not None:
            self._closing = None
            IOLoop.current().remove_timeout(timer)

    def _fail(self, code: int, reason: str) -> None:
        """RFC 6455 section 7.1.7: a close frame, and no waiting for the peer's."""
        self.client_terminated = True
        self.close(code, reason)

    def _abort(self) -> None:
        """Close the stream at once."""
        self.client_terminated = True
        self.server_terminated = True
        self._stop_closing_timer()
        self._stop_pinging()
        self._close_now()

    def on_connection_close(self) -> None:
        """The stream is closed: tell the handler, once, and let everything go."""
        self._abort()
        if self._told:
            return
        self._told = True
        self._let_go()
        self._drop_pending()
        self._deflater = self._inflater = None
        _forget(self)
        handler = self.handler
        # A copy: the original is in use where a hook itself ended the connection.
        context = self._context.copy() if self._context else contextvars.copy_context()
        try:
            context.run(
                handler.on_ws_connection_close, self.close_code, self.close_reason
            )
        except Exception:
            handler.log_exception(*sys.exc_info())

    def set_nodelay(self, x: bool) -> None:
        """Set TCP_NODELAY: small messages leave at once."""
        if self.stream is None:
            raise WebSocketClosedError("there is no WebSocket connection")
        self.stream.set_nodelay(x)

    # ---- pings ----

    @property
    def ping_interval(self) -> float:
        """Seconds between two pings; 0: none are sent."""
        return self.params.ping_interval or 0

    @property
    def ping_timeout(self) -> float:
        """Seconds that an answer to a ping may take; by default the interval."""
        timeout = self.params.ping_timeout
        return self.ping_interval if timeout is None else timeout

    def start_pinging(self) -> None:
        """Begin to ping, when an interval was set."""
        if self.ping_interval > 0 and self._ping_task is None:
            self._ping_task = cast(
                "asyncio.Task[None]", asyncio.ensure_future(self.periodic_ping())
            )

    def _stop_pinging(self) -> None:
        task = self._ping_task
        if task is None:
            return
        self._ping_task = None
        if task is not _current_task():
            task.cancel()

    @staticmethod
    def ping_sleep_time(*, last_ping_time: float, interval: float, now: float) -> float:
        """Seconds from *now* until the next ping is due."""
        return max(0.0, last_ping_time + interval - now)

    async def periodic_ping(self) -> None:
        """Ping at the interval; close when an answer takes longer than the time-out.

        The time-out counts from the oldest ping without an answer, whichever of the
        two settings is larger. Any pong answers all pings before it.
        """
        interval, timeout = self.ping_interval, self.ping_timeout
        time = IOLoop.current().time
        last = time()
        while not self.is_closing():
            now = time()
            if self._unanswered and timeout and now >= self._unanswered + timeout:
                self.close(reason="ping timed out")
                return
            pause = self.ping_sleep_time(
                last_ping_time=last, interval=interval, now=now
            )
            if pause == 0:
                last = now
                if not self._unanswered:
                    self._unanswered = now
                try:
                    self.write_ping(b"")
                except WebSocketClosedError:
                    return
                continue
            if self._unanswered and timeout:
                pause = min(pause, max(0.0, self._unanswered + timeout - now))
            await asyncio.sleep(pause)


def _current_task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
