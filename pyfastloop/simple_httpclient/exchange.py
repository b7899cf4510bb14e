"""One request and its answer, redirects included: `_HTTPConnection`.

An exchange takes a link from the pool or opens a new one, sends, and is then told by
the link's C code what comes: the whole answer at once (`_on_answer`), or, when the
program wants to see it come, head, pieces and end. It ends in exactly one call of
``final_callback``, after which nothing of it is left on loop, pool or client.

    begin ─► plan ─┬─ idle link ─────────────────► go ─► answer ─┬─► complete
                   └─ open: resolve, connect, proxy, TLS ─┘      ├─► redirect ─► begin
                                                                 └─► inflate ─► complete
    anything else, at any time ─► fail

Invariant: while an exchange is unfinished its deadline stands in the client, and either
`_link` is busy with it, or `_opening` runs, or it inflates between two ticks.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from pyfastloop import gen, httputil
from pyfastloop.concurrent import Future, is_future
from pyfastloop.httpclient import (
    HTTPRequest,
    HTTPResponse,
    _RequestProxy,
)
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import StreamClosedError
from pyfastloop.log import gen_log
from pyfastloop.simple_httpclient import inflate, opening, outgoing, target
from pyfastloop.simple_httpclient.errors import HTTPStreamClosedError, HTTPTimeoutError
from pyfastloop.simple_httpclient.pool import Link

if TYPE_CHECKING:
    from pyfastloop.simple_httpclient.client import SimpleAsyncHTTPClient
    from pyfastloop.tcpclient import TCPClient

__all__ = ["_HTTPConnection"]

# Of exchanges without a client: WebSockets.
_no_client_contexts = target.TLSContexts()

# RFC 9110 section 9.2.2: what may be sent again when a connection was lost.
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))

# RFC 9110 section 10.1.1: a server may ignore "Expect: 100-continue", so the client
# does not wait for ever. As long as curl waits.
_CONTINUE_WAIT = 1.0

# A redirect's body is read to keep the connection, up to here when it is streamed.
_DISCARD_MOST = 64 * 1024


class _HTTPConnection(httputil.HTTPMessageDelegate):
    """One fetch of `SimpleAsyncHTTPClient`; see the module."""

    code: int | None = None
    reason: str | None = None
    headers: httputil.HTTPHeaders | None = None
    stream: Any = None
    connection: Any = None
    finished = False

    _link: Link | None = None
    _out: outgoing.Outgoing
    _left: int | None = None  # bytes body_producer still has to write
    _opening: asyncio.Task[None] | None = None
    _producing: asyncio.Task[None] | None = None
    _awaiting_continue: Any = None  # the timer, or None
    _redirects = 0
    _redirect_seconds = 0.0
    _discarding = False
    _discarded = 0
    _inflater: inflate.Inflater | None = None
    _pieces: Iterator[bytes] | None = None
    _ended = False  # the link has said all; only inflating remains
    _phase = "during request: waiting for the answer"
    deadlines: Any = None  # where our request_timeout stands
    _phase_timer: Any = None
    _inactive_timer: Any = None
    _last_activity = 0.0
    _opened: opening.Marks | None = None
    _sent_at = 0.0
    _head_at = 0.0

    def __init__(
        self,
        client: SimpleAsyncHTTPClient | None,
        request: HTTPRequest,
        release_callback: Callable[[], None],
        final_callback: Callable[[HTTPResponse], None],
        max_buffer_size: int,
        tcp_client: TCPClient,
        max_header_size: int,
        max_body_size: int,
    ) -> None:
        self.client = client
        self.io_loop = IOLoop.current() if client is None else client.io_loop
        self.request = request
        self.original_request: HTTPRequest = (
            request.request if isinstance(request, _RequestProxy) else request
        )
        self.release_callback = release_callback
        self.final_callback: Callable[[HTTPResponse], None] | None = final_callback
        self.max_buffer_size = max_buffer_size
        self.tcp_client = tcp_client
        self.max_header_size = max_header_size
        self.max_body_size = max_body_size
        self.chunks: list[bytes] = []
        self.start_time = time.monotonic()
        self.start_wall_time = time.time()

    # ---- beginning ----

    def _value(self, name: str) -> Any:
        """The request's value, or the client's default."""
        return getattr(self.request, name)

    def _request_proxy(self) -> _RequestProxy:
        request = self.request
        if isinstance(request, _RequestProxy):
            return request
        return _RequestProxy(request, HTTPRequest._DEFAULTS)

    def begin(self) -> None:
        """Send the request, on an idle link if there is one. Raises nothing."""
        try:
            client = self.client
            self._out = out = outgoing.plan(
                self._request_proxy(), client is not None and client.keep_alive
            )
            if out.keep and client is not None:
                link = client.pool.take(out.key)
                if link is not None:
                    self._go(link)
                    return
            self._open()
        except Exception as error:
            self._fail(error)

    @property
    def _where(self) -> str:
        """The server, for messages."""
        out = getattr(self, "_out", None)
        if out is None:
            return str(self.request.url)
        text = f"{out.target.scheme}://{out.target.authority}"
        if out.proxy is not None:
            text += f" (proxy {out.proxy.host}:{out.proxy.port})"
        return text

    # ---- opening a connection ----

    def _open(self) -> None:
        """Start to open a new link."""
        connect_timeout = self._value("connect_timeout")
        self._phase = "while connecting"
        if connect_timeout:
            self._phase_timer = self.io_loop.call_later(
                connect_timeout, self._on_connect_timeout
            )
        self._opening = self.io_loop.asyncio_loop.create_task(self._open_and_go())

    async def run(self) -> None:
        """Open a connection and send the request, without the pool."""
        self._out = outgoing.plan(self._request_proxy(), False)
        await self._open_and_go()

    async def _open_and_go(self) -> None:
        marks = opening.Marks()
        self._opened = marks
        try:
            stream = await opening.open_stream(
                self, self._out.target, self._out.proxy, marks
            )
        except asyncio.CancelledError:
            self._opening = None
            if not self.finished:
                # Not by us: the loop is being shut down, or someone cancelled our task.
                self._fail(
                    HTTPStreamClosedError(f"Cancelled while opening {self._where}")
                )
            raise
        except Exception as error:
            self._opening = None
            self._fail(error)
            return
        self._opening = None
        if self.finished:
            stream.close()
            return
        self._remove_phase_timer()
        try:
            stream.set_nodelay(True)
            self._go(Link(stream, self.max_header_size, self._out.key))
        except Exception as error:
            stream.close()
            self._fail(error)

    def _set_phase(self, phase: str) -> None:
        self._phase = phase

    # ---- sending ----

    def _go(self, link: Link) -> None:
        """Send over *link*, which is ours from here on."""
        out = self._out
        self._link = link
        self.stream = link.stream
        self._phase = "during request: waiting for the answer"
        self._sent_at = time.monotonic()
        body = None if out.expect else out.body
        if not link.start(self, out.head, body, out.flags, self.max_body_size):
            # It was closed before a byte was sent: any request may use another one.
            self._link = None
            if link.uses == 0:
                raise HTTPStreamClosedError(
                    f"{self._where} closed the connection before the request was sent"
                )
            self._open()
            return
        if out.flags & outgoing.UNSENT:
            self._left = out.length
            if out.expect:
                self._awaiting_continue = self.io_loop.call_later(
                    _CONTINUE_WAIT, self._send_body
                )
            else:
                self._start_producing()

    def _send_body(self) -> None:
        """The server wants the body, or has not said so in time."""
        timer, self._awaiting_continue = self._awaiting_continue, None
        if timer is None or self._link is None:
            return
        self.io_loop.remove_timeout(timer)
        if self._out.producer is not None:
            self._start_producing()
            return
        link = self._link
        try:
            if self._out.body:
                link.stream.write(self._out.body)
            link.sent()
        except StreamClosedError:
            pass  # the link is about to tell us that it was lost

    def _start_producing(self) -> None:
        assert self._link is not None
        self._producing = self.io_loop.asyncio_loop.create_task(
            self._produce(self._link)
        )

    async def _produce(self, link: Link) -> None:
        """Run body_producer, which writes through `write`, to its end."""
        assert self._out.producer is not None

        def write(chunk: bytes) -> Future[None]:
            return self._write_chunk(link, chunk)

        try:
            result = self._out.producer(write)
            if result is not None:
                await gen.convert_yielded(result)
            if self._link is not link:
                return
            if self._out.chunked:
                link.stream.write(b"0\r\n\r\n")
            elif self._left:
                raise ValueError(
                    f"body_producer wrote {self._left} bytes less than "
                    "Content-Length said"
                )
            link.sent()
        except asyncio.CancelledError:
            raise
        except StreamClosedError:
            return  # told by _on_lost
        except Exception as error:
            if self._link is link:
                self._fail(error)
        finally:
            if self._producing is asyncio.current_task():
                self._producing = None

    def _write_chunk(self, link: Link, chunk: bytes) -> Future[None]:
        if self._link is not link or link.closed:
            raise StreamClosedError()
        if self._last_activity:
            self._last_activity = time.monotonic()
        if self._out.chunked:
            if not chunk:
                return cast("Future[None]", gen.maybe_future(None))
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        else:
            assert self._left is not None
            self._left -= len(chunk)
            if self._left < 0:
                raise ValueError(
                    f"body_producer wrote {-self._left} bytes more than "
                    "Content-Length said"
                )
        return cast("Future[None]", link.stream.write(chunk))

    # ---- the answer, as the link tells it ----

    def _on_answer(
        self,
        status: int,
        reason: str,
        headers: httputil.HTTPHeaders,
        body: bytes,
        minor: int,
    ) -> None:
        """The whole answer."""
        link = self._link
        assert link is not None
        self._head_at = link.head_at
        self.code, self.reason, self.headers = status, reason, headers
        self._give_back(link)
        if status in target.REDIRECT_CODES and self._redirects_to(headers):
            self._redirect()
            return
        if body and self._out.decompress and "Content-Encoding" in headers:
            self._consume_coding(headers)
            if self._inflater is not None:
                self._ended = True
                self._pieces = self._inflater.feed(body)
                self._pump()
                return
        self._complete(body)

    def _on_head(
        self, status: int, reason: str, headers: httputil.HTTPHeaders, minor: int
    ) -> Any:
        """An interim answer, or the head of one that is watched."""
        line = httputil.ResponseStartLine(f"HTTP/1.{minor}", status, reason)
        return self.headers_received(line, headers)

    def _on_data(self, chunk: bytes) -> Any:
        return self.data_received(chunk)

    def _on_end(self) -> None:
        self.finish()

    def _on_lost(self, why: BaseException | str | None, begun: bool) -> None:
        """The connection ended, or what came over it was no HTTP."""
        link, self._link = self._link, None
        if link is None:
            return
        self._stop_sending()
        if (
            not begun
            and link.uses > 1
            and not isinstance(why, str)
            and (self.request.method in _IDEMPOTENT or link.untouched)
            and self._out.producer is None
        ):
            # A pooled connection that the server had closed already.
            self._open()
            return
        stage = "in the middle of its answer" if begun else "without an answer"
        if isinstance(why, str):
            gen_log.info("Malformed HTTP message from %s: %s", self._where, why)
            if why.endswith(("too long", "too large")):
                why += f" (the client's max_body_size is {self.max_body_size})"
            elif why.startswith(("head is longer", "first line is longer")):
                why += f" (the client's max_header_size is {self.max_header_size})"
            error: BaseException = HTTPStreamClosedError(
                f"Malformed answer from {self._where}: {why}"
            )
        elif why is None or isinstance(why, (OSError, StreamClosedError)):
            cause = why.real_error if isinstance(why, StreamClosedError) else why
            text = f"{self._where} closed the connection {stage}"
            if cause is not None:
                text += f": {cause}"
            error = HTTPStreamClosedError(text)
            error.__cause__ = cause
            if isinstance(cause, ssl.SSLError):
                error = opening.named(cause, self._where)
        else:
            error = why
        self._fail(error)

    def headers_received(
        self,
        first_line: httputil.ResponseStartLine | httputil.RequestStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """A head came: an interim one, or that of the answer."""
        assert isinstance(first_line, httputil.ResponseStartLine)
        self._touch()
        status = first_line.code
        if status == 100:
            self._send_body()
            return None
        if status == 101:
            raise HTTPStreamClosedError(
                f"{self._where} switched protocols although it was not asked to"
            )
        if status < 200:
            return None
        assert self._link is not None
        self._head_at = self._link.head_at
        self.code, self.reason, self.headers = status, first_line.reason, headers
        self._phase = "during request: reading the body"
        if status in target.REDIRECT_CODES and self._redirects_to(headers):
            self._discarding = True
            return None
        if self._out.decompress and "Content-Encoding" in headers:
            self._consume_coding(headers)
        callback = self._out.header_callback
        if callback is not None:
            callback(f"{first_line.version} {status} {first_line.reason}\r\n")
            for name, value in headers.get_all():
                callback(f"{name}: {value}\r\n")
            callback("\r\n")
        return None

    def data_received(self, chunk: bytes) -> Any:
        """A piece of the body. True: the link waits for `ClientLink.resume`."""
        self._touch()
        if self._discarding:
            self._discarded += len(chunk)
            if self._discarded > _DISCARD_MOST:
                link, self._link = self._link, None
                assert link is not None
                link.close()
                self._redirect()
            return None
        if self._inflater is not None:
            self._pieces = self._inflater.feed(chunk)
            return self._pump()
        return self._hand_on(chunk)

    def finish(self) -> None:
        """The watched answer is over."""
        link = self._link
        assert link is not None
        self._give_back(link)
        if self._discarding:
            self._discarding = False
            self._redirect()
            return
        self._ended = True
        self._conclude()

    def on_connection_close(self) -> None:
        """The connection was closed; nothing more will come."""
        self._on_lost(None, self.code is not None)

    # ---- bodies ----

    def _consume_coding(self, headers: httputil.HTTPHeaders) -> None:
        coding = headers["Content-Encoding"]
        self._inflater = inflate.make_inflater(coding, self.max_body_size)
        if self._inflater is not None:
            headers.add("X-Consumed-Content-Encoding", coding)
            del headers["Content-Encoding"]

    def _hand_on(self, piece: bytes) -> bool | None:
        """Give *piece* to the program; True when it must be waited for."""
        if self._out.streaming_callback is None:
            self.chunks.append(piece)
            return None
        result = self._out.streaming_callback(piece)
        if result is None or not (hasattr(result, "__await__") or is_future(result)):
            return None
        future = gen.convert_yielded(result)
        if future.done():
            future.result()
            return None
        self._phase = "during request: waiting for streaming_callback"
        future.add_done_callback(self._on_handed)
        return True

    def _on_handed(self, future: Future[None]) -> None:
        if self.finished:
            if not future.cancelled():
                future.exception()
            return
        self._phase = "during request: reading the body"
        try:
            future.result()
            waits = self._pump() if self._pieces is not None else None
        except (Exception, asyncio.CancelledError) as error:
            self._fail(error)
            return
        if not waits and self._link is not None:
            self._link.resume()

    def _pump(self) -> bool | None:
        """Inflate on: True when it goes on later (then it resumes the link)."""
        assert self._pieces is not None
        try:
            for piece in self._pieces:
                if self._hand_on(piece):
                    return True
                if len(piece) >= inflate.STEP:
                    self.io_loop.add_callback(self._pump_on)
                    return True
        except inflate.CodingError as error:
            self._fail_coding(error)
            return None
        self._pieces = None
        if self._ended:
            self._conclude()
        return None

    def _pump_on(self) -> None:
        if self.finished:
            return
        try:
            waits = self._pump()
        except Exception as error:
            self._fail(error)
            return
        if not waits and self._link is not None:
            self._link.resume()

    def _conclude(self) -> None:
        """Every byte was handed on."""
        if self._inflater is not None:
            try:
                self._inflater.finish()
            except inflate.CodingError as error:
                self._fail_coding(error)
                return
        self._complete(b"".join(self.chunks))

    def _fail_coding(self, error: inflate.CodingError) -> None:
        gen_log.info("Malformed HTTP message from %s: %s", self._where, error)
        self._fail(
            HTTPStreamClosedError(f"Malformed answer from {self._where}: {error}")
        )

    # ---- redirects ----

    def _redirects_to(self, headers: httputil.HTTPHeaders) -> bool:
        return (
            bool(self._value("follow_redirects"))
            and self._redirects < (self._value("max_redirects") or 0)
            and "Location" in headers
        )

    def _redirect(self) -> None:
        """Begin again where the answer points to."""
        assert self.headers is not None and self.code is not None
        proxy = self.request
        assert isinstance(proxy, _RequestProxy)
        try:
            new = target.redirected(
                proxy.request, self._out.target, self.code, self.headers["Location"]
            )
        except ValueError as error:
            self._fail(ValueError(f"{error} (redirected by {self._where})"))
            return
        self._redirects += 1
        self._redirect_seconds = time.monotonic() - self.start_time
        self.request = _RequestProxy(new, proxy.defaults)
        self._opened = None
        self._discarded = 0
        self._discarding = False
        self.begin()

    # ---- time ----

    def tls_context(self) -> ssl.SSLContext:
        """The TLS context for a new connection. Raises SSLError or OSError."""
        contexts = (
            _no_client_contexts if self.client is None else (self.client.tls_contexts)
        )
        return contexts.context(self.request)

    def _touch(self) -> None:
        if self._last_activity:
            self._last_activity = time.monotonic()

    def watch_inactivity(self, limit: float) -> None:
        """Fail once *limit* seconds go by without a byte."""
        self._last_activity = time.monotonic()
        self._inactive_timer = self.io_loop.call_later(
            limit, self._on_inactive, limit, self._moved()
        )

    def _moved(self) -> int:
        stream = None if self._link is None else self._link.stream
        return 0 if stream is None else self._link.bytes_moved  # type: ignore[union-attr]

    def _on_inactive(self, limit: float, before: int) -> None:
        moved = self._moved()
        if moved != before:
            self._last_activity = time.monotonic()
        left = self._last_activity + limit - time.monotonic()
        if left <= 0:
            self._inactive_timer = None
            self._fail(
                HTTPTimeoutError(
                    f"Timeout {self._phase}: nothing moved for {limit:g} s "
                    f"(inactivity_timeout) to or from {self._where}"
                )
            )
            return
        self._inactive_timer = self.io_loop.call_later(
            left, self._on_inactive, limit, moved
        )

    def _on_connect_timeout(self) -> None:
        self._phase_timer = None
        self.on_timeout("connect_timeout", self._value("connect_timeout"))

    def on_timeout(self, setting: str, seconds: float) -> None:
        """A limit was passed; ends the exchange and says in which phase it was."""
        self._fail(
            HTTPTimeoutError(
                f"Timeout {self._phase} ({setting} {seconds:g} s): {self._where}"
            )
        )

    # ---- the end ----

    def _give_back(self, link: Link) -> None:
        """The link has said all: to the pool, or closed."""
        self._link = None
        if self._producing is not None or self._awaiting_continue is not None:
            self._stop_sending()
        if link.reusable and self._out.keep and self.client is not None:
            self.client.pool.put(link)
        else:
            link.close()

    def _stop_sending(self) -> None:
        producing, self._producing = self._producing, None
        if producing is not None:
            producing.cancel()
        timer, self._awaiting_continue = self._awaiting_continue, None
        if timer is not None:
            self.io_loop.remove_timeout(timer)

    def _remove_phase_timer(self) -> None:
        timer, self._phase_timer = self._phase_timer, None
        if timer is not None:
            self.io_loop.remove_timeout(timer)

    def abort(self) -> None:
        """The fetch was cancelled: end it without an answer."""
        self.final_callback = None
        self._fail(HTTPStreamClosedError("cancelled"))

    def _fail(self, error: BaseException) -> None:
        """End with *error*."""
        if self.finished:
            return
        if isinstance(error, StreamClosedError):
            cause = error.real_error
            error = HTTPStreamClosedError(
                f"{self._where} closed the connection"
                + ("" if cause is None else f": {cause}")
            )
            error.__cause__ = cause
        link, self._link = self._link, None
        if link is not None:
            link.close()
        opening_task, self._opening = self._opening, None
        response = HTTPResponse(
            self.original_request,
            599,
            error=error,
            request_time=time.monotonic() - self.start_time,
            start_time=self.start_wall_time,
        )
        self._settle(response)
        if opening_task is not None:
            opening_task.cancel()

    def _complete(self, body: bytes) -> None:
        """End with the answer."""
        assert self.code is not None
        now = time.monotonic()
        response = HTTPResponse(
            self.original_request,
            self.code,
            self.headers,
            None,
            self._out.target.url,
            reason=self.reason,
            request_time=now - self.start_time,
            start_time=self.start_wall_time,
        )
        response._body = body
        response._marks = (
            self.start_wall_time - self.original_request.start_time,
            self.start_time,
            self._redirect_seconds,
            self._opened,
            self._sent_at,
            self._head_at,
            now,
        )
        self._settle(response)

    def _finished_handshake(self) -> None:
        """What follows is no HTTP; somebody else has the stream now."""
        self.finished = True
        self._remove_phase_timer()

    def _settle(self, response: HTTPResponse) -> None:
        self.finished = True
        self._remove_phase_timer()
        if self._producing is not None or self._awaiting_continue is not None:
            self._stop_sending()
        timer, self._inactive_timer = self._inactive_timer, None
        if timer is not None:
            self.io_loop.remove_timeout(timer)
        self._pieces = None
        if self.deadlines is not None:
            self.deadlines.discard(self)
        callback, self.final_callback = self.final_callback, None
        self.release_callback()
        if callback is not None:
            callback(response)
