"""Answers that are seen as they come, and bodies that must be inflated.

The answer to a request without callbacks comes whole, and goes on in C when nothing has
to be undone (``csrc/http/exchange.c``). Where the program wants to see it come, the
link tells `Reading` the head, pieces of the body and the end; a piece that the program
has not done with, or that inflates to more than a step, holds the server back.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, Any

from pyfastloop import _core, gen, httputil
from pyfastloop.concurrent import Future, is_future
from pyfastloop.log import gen_log
from pyfastloop.simple_httpclient import inflate, target
from pyfastloop.simple_httpclient.errors import HTTPStreamClosedError

if TYPE_CHECKING:
    from pyfastloop.tcpclient import TCPClient

__all__ = ["WAITING", "Reading"]

WAITING = "during request: waiting for the answer"
_READING = "during request: reading the body"

# A redirect's body is read to keep the connection, up to here when it is streamed.
_DISCARD_MOST = 64 * 1024


class _OfClient:
    """An attribute that is the client's, unless the exchange sets its own."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, exchange: Any, owner: type) -> Any:
        return self if exchange is None else getattr(exchange.client, self.name)


class Reading(_core.Exchange, httputil.HTTPMessageDelegate):
    """What an exchange does with its answer."""

    io_loop: Any = _OfClient()
    tcp_client: TCPClient = _OfClient()  # type: ignore[assignment]
    max_buffer_size: Any = _OfClient()
    max_header_size: Any = _OfClient()
    max_body_size: Any = _OfClient()

    stream: Any = None

    _phase = WAITING
    _last_activity = 0.0
    _discarding = False
    _discarded = 0
    _inflater: inflate.Inflater | None = None
    _pieces: Iterator[bytes] | None = None
    _ended = False  # the link has said all; only inflating remains

    @functools.cached_property
    def chunks(self) -> list[bytes]:
        """The pieces of a body that was not handed on as it came."""
        return []

    if TYPE_CHECKING:  # what exchange._HTTPConnection has

        @property
        def _where(self) -> str: ...
        def _fail(self, error: BaseException) -> None: ...
        def _on_lost(self, why: BaseException | str | None, begun: bool) -> None: ...
        def _redirect(self) -> None: ...
        def _redirects_to(self, headers: httputil.HTTPHeaders) -> bool: ...
        def _send_body(self) -> None: ...
        def _stop_sending(self) -> None: ...

    # ---- as the link tells it ----

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

    def _touch(self) -> None:
        if self._last_activity:
            self._last_activity = time.monotonic()

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
        self._phase = _READING
        if status in target.REDIRECT_CODES and self._redirects_to(headers):
            self._discarding = True
            return None
        if self._out.decompress and "Content-Encoding" in headers:
            self._consume_coding(headers)
        callback = self._out.header_callback
        if callback is not None:
            lines = [f"{first_line.version} {status} {first_line.reason}\r\n"]
            lines += [f"{name}: {value}\r\n" for name, value in headers.get_all()]
            lines.append("\r\n")
            for line in lines:
                callback(line)
                if self.finished:  # by the callback
                    break
        return None

    def data_received(self, chunk: bytes) -> Any:
        """A piece of the body. True: the link waits for `ClientLink.resume`."""
        self._touch()
        if self._discarding:
            self._discarded += len(chunk)
            if self._discarded > _DISCARD_MOST:
                link, self._link = self._link, None
                assert link is not None
                self._stop_sending()
                link.close()
                self._redirect()
            return None
        if self._inflater is not None:
            self._pieces = self._inflater.feed(chunk)
            return self._pump()
        return self._hand_on(chunk)

    def finish(self) -> None:
        """The watched answer is over."""
        self._give_back()
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

    def _inflate(self, body: bytes) -> None:
        """The whole answer came, and its body may be coded."""
        assert self.headers is not None
        self._consume_coding(self.headers)
        if self._inflater is None:
            self._complete(body)
            return
        self._ended = True
        self._pieces = self._inflater.feed(body)
        self._pump()

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
        self._phase = _READING
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
                if self.finished:  # by the callback
                    return None
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
