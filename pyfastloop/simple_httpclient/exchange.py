"""One request and its answer, redirects included: `_HTTPConnection`.

What every fetch goes through is C (``csrc/http/exchange.c``, which draws it): planning,
taking an idle link, sending, and from the whole answer to the response. Here is the
rest: opening a connection, bodies that are sent piece by piece, redirects, lost
connections, time-outs. `reading` has the answers that are seen as they come.

An exchange ends in exactly one ``_settle``, after which nothing of it is left on loop,
pool or client. Timers and tasks that are Python's are told to C by ``_extras``: then
``_end_extras`` is called at the end.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from pyfastloop import _core, gen, httputil
from pyfastloop.concurrent import Future
from pyfastloop.httpclient import HTTPRequest, HTTPResponse, _RequestProxy
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import StreamClosedError
from pyfastloop.log import gen_log
from pyfastloop.simple_httpclient import opening, outgoing, target
from pyfastloop.simple_httpclient.errors import HTTPStreamClosedError, HTTPTimeoutError
from pyfastloop.simple_httpclient.reading import WAITING, Reading

if TYPE_CHECKING:
    from pyfastloop.simple_httpclient.client import SimpleAsyncHTTPClient
    from pyfastloop.tcpclient import TCPClient

__all__ = ["_HTTPConnection"]

# Of exchanges without a client: WebSockets.
_no_client_contexts = target.TLSContexts()

# RFC 9110 section 10.1.1: a server may ignore "Expect: 100-continue", so the client
# does not wait for ever. As long as curl waits.
_CONTINUE_WAIT = 1.0


def _end(task: asyncio.Task[None]) -> None:
    """Cancel *task*, for which a loop that ends with the fetch may have no turn."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    task.cancel()


class _HTTPConnection(Reading):
    """One fetch of `SimpleAsyncHTTPClient`; see the module."""

    connection: Any = None

    _left: int | None = None  # bytes body_producer still has to write
    _opening: asyncio.Task[None] | None = None
    _producing: asyncio.Task[None] | None = None
    _awaiting_continue: Any = None  # the timer, or None
    _redirects = 0
    _phase_timer: Any = None
    _inactive_timer: Any = None

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
        """An exchange outside of a client's slots; a client's own are made by C."""
        self.client = client
        self.io_loop = IOLoop.current() if client is None else client.io_loop
        if not isinstance(request, _RequestProxy):
            request = cast(HTTPRequest, _RequestProxy(request, HTTPRequest._DEFAULTS))
        self.request = request
        self.release_callback = release_callback
        self.final_callback = final_callback
        self.max_buffer_size = max_buffer_size
        self.tcp_client = tcp_client
        self.max_header_size = max_header_size
        self.max_body_size = max_body_size
        self.start_time = time.monotonic()
        self.start_wall_time = time.time()

    @property
    def _where(self) -> str:
        """The server, for messages."""
        out = self._out
        if out is None:
            return str(self.request.url)
        text = f"{out.target.scheme}://{out.target.authority}"
        if out.proxy is not None:
            text += f" (proxy {out.proxy.host}:{out.proxy.port})"
        return text

    # ---- opening a connection ----

    def _open(self) -> None:
        """Start to open a new link."""
        self._extras = True
        connect_timeout = self.request.connect_timeout
        self._phase = "while connecting"
        if connect_timeout:
            self._phase_timer = self.io_loop.call_later(
                connect_timeout, self._on_connect_timeout
            )
        self._opening = self.io_loop.asyncio_loop.create_task(self._open_and_go())

    async def run(self) -> None:
        """Open a connection and send the request, without the pool."""
        here = target.parse_url(self.request.url)
        self._extras = True
        self._out = outgoing.plan(self.request, here, False)
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
            self._phase = WAITING
            self._go(_core.ClientLink(stream, self.max_header_size, self._out.key))
        except Exception as error:
            stream.close()
            self._fail(error)

    def _was_closed(self, link: _core.ClientLink) -> None:
        """*link* was closed before a byte was sent: any request may use another."""
        if link.uses == 0:
            raise HTTPStreamClosedError(
                f"{self._where} closed the connection before the request was sent"
            )
        self._open()

    def _set_phase(self, phase: str) -> None:
        self._phase = phase

    # ---- sending what did not go out with the head ----

    def _send_rest(self) -> None:
        self._extras = True
        self._left = self._out.length
        if self._out.expect:
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

    async def _produce(self, link: _core.ClientLink) -> None:
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
            if self._link is link:  # not by us
                self._fail(
                    HTTPStreamClosedError(
                        f"body_producer was cancelled in a request to {self._where}"
                    )
                )
            raise
        except StreamClosedError:
            return  # told by _on_lost
        except Exception as error:
            if self._link is link:
                self._fail(error)
        finally:
            if self._producing is asyncio.current_task():
                self._producing = None

    def _write_chunk(self, link: _core.ClientLink, chunk: bytes) -> Future[None]:
        if self._link is not link or link.closed:
            raise StreamClosedError()
        if self._last_activity:
            self._last_activity = time.monotonic()
        size = memoryview(chunk).nbytes
        if self._out.chunked:
            if not size:
                return cast("Future[None]", gen.maybe_future(None))
            chunk = b"%x\r\n%b\r\n" % (size, chunk)
        else:
            assert self._left is not None
            self._left -= size
            if self._left < 0:
                raise ValueError(
                    f"body_producer wrote {-self._left} bytes more than "
                    "Content-Length said"
                )
        return cast("Future[None]", link.stream.write(chunk))

    # ---- a lost connection ----

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
            and (self._out.flags & outgoing.REPEATABLE or link.untouched)
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
            gone = isinstance(cause, ssl.SSLEOFError)  # a write met a closed peer
            if isinstance(cause, ssl.SSLError) and not gone:
                error = opening.named(cause, self._where)
        else:
            error = why
        self._fail(error)

    # ---- redirects ----

    def _redirects_to(self, headers: httputil.HTTPHeaders) -> bool:
        request = self.request
        return (
            bool(request.follow_redirects)
            and self._redirects < (request.max_redirects or 0)
            and "Location" in headers
        )

    def _redirected(self) -> bool:
        """The whole answer is one that redirects: whether that is followed."""
        assert self.headers is not None
        if not self._redirects_to(self.headers):
            return False
        self._redirect()
        return True

    def _redirect(self) -> None:
        """Begin again where the answer points to."""
        assert self.headers is not None and self.code is not None
        proxy = self.request
        assert isinstance(proxy, _RequestProxy)
        here, defaults = self._out.target, proxy.defaults
        try:
            new = target.redirected(
                proxy.request, here, self.code, self.headers["Location"]
            )
            if defaults and target.parse_url(new.url).origin != here.origin:
                defaults = target.without_credentials(defaults)
        except ValueError as error:
            self._fail(ValueError(f"{error} (redirected by {self._where})"))
            return
        self._redirects += 1
        self._redirect_seconds = time.monotonic() - self.start_time
        self.request = _RequestProxy(new, defaults)
        self._opened = None
        self._discarded = 0
        self._discarding = False
        self._phase = WAITING
        self.begin()

    # ---- time ----

    def tls_context(self) -> ssl.SSLContext:
        """The TLS context for a new connection. Raises SSLError or OSError."""
        contexts = (
            _no_client_contexts if self.client is None else (self.client.tls_contexts)
        )
        return contexts.context(self.request)

    def watch_inactivity(self, limit: float) -> None:
        """Fail once *limit* seconds go by without a byte."""
        self._extras = True
        self._last_activity = time.monotonic()
        self._inactive_timer = self.io_loop.call_later(
            limit, self._on_inactive, limit, self._moved()
        )

    def _moved(self) -> int:
        link = self._link
        return 0 if link is None or link.stream is None else link.bytes_moved

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
        self.on_timeout("connect_timeout", self.request.connect_timeout)

    def on_timeout(self, setting: str, seconds: float) -> None:
        """A limit was passed; ends the exchange and says in which phase it was."""
        self._fail(
            HTTPTimeoutError(
                f"Timeout {self._phase} ({setting} {seconds:g} s): {self._where}"
            )
        )

    # ---- the end ----

    def _stop_sending(self) -> None:
        producing, self._producing = self._producing, None
        if producing is not None:
            _end(producing)
        timer, self._awaiting_continue = self._awaiting_continue, None
        if timer is not None:
            self.io_loop.remove_timeout(timer)

    def _remove_phase_timer(self) -> None:
        timer, self._phase_timer = self._phase_timer, None
        if timer is not None:
            self.io_loop.remove_timeout(timer)

    def _end_extras(self) -> None:
        self._remove_phase_timer()
        self._stop_sending()
        timer, self._inactive_timer = self._inactive_timer, None
        if timer is not None:
            self.io_loop.remove_timeout(timer)
        self._pieces = None

    def abort(self) -> None:
        """The fetch was cancelled: end it without an answer."""
        self._forget_caller()
        if self.client is not None and self in self.client.waiting:
            self.client._leave_queue(self)
            self.finished = True
            return
        self._fail(HTTPStreamClosedError("cancelled"))

    def end_with_client(self) -> None:
        """The client was closed."""
        future = self._future
        self._fail(
            HTTPStreamClosedError(f"The client was closed: {self.original_request.url}")
        )
        if future is not None and future.done() and not future.cancelled():
            future.exception()  # where nobody waits, nothing went wrong

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
        asked = self.original_request
        if self.start_time:
            begun = self.start_wall_time
            seconds = time.monotonic() - self.start_time
        else:  # it has not left the queue
            begun, seconds = None, time.time() - asked.start_time
        response = HTTPResponse(
            asked, 599, error=error, request_time=seconds, start_time=begun
        )
        self._settle(response)
        if opening_task is not None:
            _end(opening_task)

    def _finished_handshake(self) -> None:
        """What follows is no HTTP; somebody else has the stream now."""
        self.finished = True
        self._remove_phase_timer()
