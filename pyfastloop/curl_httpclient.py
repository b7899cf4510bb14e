"""The client over libcurl, for programs that need what only libcurl has.

``AsyncHTTPClient.configure("pyfastloop.curl_httpclient.CurlAsyncHTTPClient")`` chooses
it. It needs pycurl (``pip install pycurl``), which is asked for when a client is made:
the module itself can be imported without.

libcurl says which descriptors it wants to be told of and when it wants to be called;
both go to the loop. ``prepare_curl_callback`` gets the handle of a request before it
starts, for any option that `HTTPRequest` does not know.

Differs from Tornado: an error's text names the URL; cancelling a fetch removes it from
libcurl.
"""

from __future__ import annotations

import collections
import functools
import importlib
import logging
import re
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from pyfastloop import _core, httputil
from pyfastloop.escape import native_str, utf8
from pyfastloop.httpclient import (
    AsyncHTTPClient,
    HTTPClientError,
    HTTPRequest,
    HTTPResponse,
)
from pyfastloop.ioloop import IOLoop
from pyfastloop.log import app_log

__all__ = ["CR_OR_LF_RE", "CurlAsyncHTTPClient", "CurlError", "curl_log"]

curl_log = logging.getLogger("tornado.curl_httpclient")

CR_OR_LF_RE = re.compile(b"\r|\n")

# libcurl's times, as time_info names them.
_TIMES = ("namelookup", "connect", "appconnect", "pretransfer", "starttransfer")


def _pycurl() -> Any:
    try:
        return importlib.import_module("pycurl")
    except ImportError as error:
        raise ImportError(
            "CurlAsyncHTTPClient needs pycurl, which is not installed: pip install "
            "pycurl (or use the default client, which needs nothing)"
        ) from error


class CurlError(HTTPClientError):
    """libcurl failed; ``errno`` is its code, ``code`` is 599."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(599, message)
        self.errno = errno


class _Transfer:
    """One request on its way through libcurl."""

    def __init__(
        self,
        request: HTTPRequest,
        callback: Callable[[HTTPResponse], None],
        queued: float,
    ) -> None:
        self.request = request
        self.callback = callback
        self.queued = queued
        self.started = 0.0
        self.started_wall = 0.0
        self.curl: Any = None
        self.headers = httputil.HTTPHeaders()
        self.reason: str | None = None
        self.buffer = BytesIO()
        self.size = 0
        self.error: BaseException | None = None
        self.future: _core.FetchFuture | None = None
        self.abort: Callable[[], None]  # for FetchFuture.cancel


class CurlAsyncHTTPClient(AsyncHTTPClient):
    """`AsyncHTTPClient` over libcurl's multi interface."""

    def initialize(  # type: ignore[override]
        self,
        max_clients: int = 10,
        defaults: dict[str, Any] | None = None,
        max_body_size: int = 104857600,
    ) -> None:
        """Raises ImportError, saying what to install, where pycurl is missing."""
        super().initialize(defaults=defaults)
        self._pycurl = pycurl = _pycurl()
        self.max_body_size = max_body_size
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timeout)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._handle_socket)
        self._free = [pycurl.Curl() for _ in range(max_clients)]
        self._waiting: collections.deque[_Transfer] = collections.deque()
        self._running: dict[Any, _Transfer] = {}
        self._descriptors: dict[int, int] = {}
        self._timer: object | None = None
        self._work_queued = False

    def close(self) -> None:
        """Give libcurl's handles back and end what is under way or waits.

        Whoever waits for such a fetch gets a `CurlError`.
        """
        if self._closed:
            return
        super().close()
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None
        unfinished = [*self._running.values(), *self._waiting]
        self._waiting.clear()
        for transfer in unfinished:
            self._remove(transfer)
        for curl in self._free:
            curl.close()
        self._multi.close()
        for fd in list(self._descriptors):
            self.io_loop.remove_handler(fd)
        self._descriptors.clear()
        for transfer in unfinished:
            self._end_with_client(transfer)

    def _end_with_client(self, transfer: _Transfer) -> None:
        error = CurlError(
            self._pycurl.E_ABORTED_BY_CALLBACK,
            f"The client was closed: {transfer.request.url}",
        )
        transfer.callback(HTTPResponse(transfer.request, code=599, error=error))
        future = transfer.future
        if future is not None and future.done() and not future.cancelled():
            future.exception()  # where nobody waits, nothing went wrong

    def fetch_impl(
        self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]
    ) -> None:
        """Start *request*, or queue it while ``max_clients`` are under way."""
        transfer = _Transfer(request, callback, self.io_loop.time())
        transfer.abort = functools.partial(self._abort, transfer)
        future = getattr(callback, "__self__", None)
        if isinstance(future, _core.FetchFuture):
            transfer.future = future
            future.underway = transfer
        self._waiting.append(transfer)
        self._start_waiting()
        self._set_timeout(0)

    def handle_callback_exception(self, callback: Any) -> None:
        """A callback of the program raised; the exception is the current one."""
        app_log.error("Exception in callback %r", callback, exc_info=True)

    # ---- libcurl and the loop ----

    def _handle_socket(self, event: int, fd: int, multi: Any, data: Any) -> None:
        """libcurl wants to be told of *event* on *fd*, or of nothing any more."""
        pycurl = self._pycurl
        if event == pycurl.POLL_REMOVE:
            if self._descriptors.pop(fd, None) is not None:
                self.io_loop.remove_handler(fd)
            return
        events = {
            pycurl.POLL_NONE: 0,
            pycurl.POLL_IN: IOLoop.READ,
            pycurl.POLL_OUT: IOLoop.WRITE,
            pycurl.POLL_INOUT: IOLoop.READ | IOLoop.WRITE,
        }[event]
        if fd in self._descriptors:
            # It may be another socket by now that got the same number.
            self.io_loop.remove_handler(fd)
        self.io_loop.add_handler(fd, self._handle_events, events)
        self._descriptors[fd] = events

    def _set_timeout(self, milliseconds: int) -> None:
        """libcurl wants to be called in so many milliseconds; -1: not at all."""
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None
        if milliseconds >= 0 and not self._closed:
            self._timer = self.io_loop.call_later(
                milliseconds / 1000, self._handle_timeout
            )

    def _handle_events(self, fd: int, events: int) -> None:
        pycurl = self._pycurl
        action = 0
        if events & IOLoop.READ:
            action |= pycurl.CSELECT_IN
        if events & IOLoop.WRITE:
            action |= pycurl.CSELECT_OUT
        if events & IOLoop.ERROR:
            action |= pycurl.CSELECT_ERR
        self._perform(fd, action)

    def _handle_timeout(self) -> None:
        self._timer = None
        self._perform(self._pycurl.SOCKET_TIMEOUT, 0)

    def _perform(self, fd: int, action: int) -> None:
        while True:
            code, _running = self._multi.socket_action(fd, action)
            if code != self._pycurl.E_CALL_MULTI_PERFORM:
                break
        self._finish_done()

    def _finish_done(self) -> None:
        while not self._closed:
            left, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                self._finish(self._running[curl])
            for curl, errno, message in failed:
                self._finish(self._running[curl], errno, message)
            if left == 0:
                break
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._free and self._waiting:
            transfer = self._waiting.popleft()
            transfer.curl = curl = self._free.pop()
            transfer.started = self.io_loop.time()
            transfer.started_wall = time.time()
            try:
                curl.reset()
                self._set_up(curl, transfer)
            except Exception as error:
                self._free.append(curl)
                transfer.curl = None
                transfer.callback(HTTPResponse(transfer.request, code=599, error=error))
                continue
            self._running[curl] = transfer
            self._multi.add_handle(curl)
            if self._timer is None:
                self._set_timeout(0)

    # ---- a transfer's end ----

    def _remove(self, transfer: _Transfer) -> None:
        curl, transfer.curl = transfer.curl, None
        if curl is not None:
            self._running.pop(curl, None)
            self._multi.remove_handle(curl)
            self._free.append(curl)

    def _abort(self, transfer: _Transfer) -> None:
        if transfer in self._waiting:
            self._waiting.remove(transfer)
        elif transfer.curl is not None:
            self._remove(transfer)
            self._start_waiting()

    def _finish(
        self, transfer: _Transfer, errno: int | None = None, message: str = ""
    ) -> None:
        curl, pycurl = transfer.curl, self._pycurl
        error = transfer.error
        code: int = curl.getinfo(pycurl.HTTP_CODE)
        effective_url: str = curl.getinfo(pycurl.EFFECTIVE_URL)
        info = {
            name: curl.getinfo(getattr(pycurl, name.upper() + "_TIME"))
            for name in _TIMES
        }
        info["queue"] = transfer.started - transfer.queued
        info["total"] = curl.getinfo(pycurl.TOTAL_TIME)
        info["redirect"] = curl.getinfo(pycurl.REDIRECT_TIME)
        self._remove(transfer)
        buffer: BytesIO | None = transfer.buffer
        if errno is not None and error is None:
            error = CurlError(errno, f"{message} ({effective_url})")
        if error is not None:
            code, buffer = 599, None
        elif buffer is not None:
            buffer.seek(0)
        transfer.callback(
            HTTPResponse(
                transfer.request,
                code,
                headers=transfer.headers,
                buffer=buffer,
                effective_url=effective_url,
                error=error,
                reason=transfer.reason,
                request_time=self.io_loop.time() - transfer.started,
                start_time=transfer.started_wall,
                time_info=info,
            )
        )

    # ---- a transfer's beginning ----

    def _set_up(self, curl: Any, transfer: _Transfer) -> None:
        """Tell libcurl of the request. Raises ValueError, KeyError, pycurl.error."""
        request, pycurl = transfer.request, self._pycurl
        curl.setopt(pycurl.URL, native_str(request.url))
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.HEADERFUNCTION, functools.partial(self._on_line, transfer))
        curl.setopt(pycurl.WRITEFUNCTION, functools.partial(self._on_body, transfer))
        curl.setopt(pycurl.FOLLOWLOCATION, bool(request.follow_redirects))
        curl.setopt(pycurl.MAXREDIRS, request.max_redirects or 0)
        for option, seconds in (
            (pycurl.CONNECTTIMEOUT_MS, request.connect_timeout),
            (pycurl.TIMEOUT_MS, request.request_timeout),
        ):
            if seconds:
                curl.setopt(option, max(1, int(1000 * seconds)))
        curl.setopt(pycurl.USERAGENT, request.user_agent or "Mozilla/5.0 (compatible)")
        if request.network_interface:
            curl.setopt(pycurl.INTERFACE, request.network_interface)
        if request.decompress_response:
            curl.setopt(pycurl.ENCODING, "gzip,deflate")
        if request.allow_ipv6 is False:
            curl.setopt(pycurl.IPRESOLVE, pycurl.IPRESOLVE_V4)
        self._set_up_proxy(curl, request)
        self._set_up_tls(curl, request)
        self._set_up_auth(curl, request)
        headers = self._set_up_body(curl, request)
        curl.setopt(
            pycurl.HTTPHEADER,
            [utf8(f"{name}: {value}") for name, value in headers.get_all()],
        )
        if request.prepare_curl_callback is not None:
            request.prepare_curl_callback(curl)

    def _set_up_proxy(self, curl: Any, request: HTTPRequest) -> None:
        pycurl = self._pycurl
        if not (request.proxy_host and request.proxy_port):
            curl.setopt(pycurl.PROXY, "")  # none from the environment either
            return
        curl.setopt(pycurl.PROXY, request.proxy_host)
        curl.setopt(pycurl.PROXYPORT, request.proxy_port)
        if request.proxy_username:
            login = httputil.encode_username_password(
                request.proxy_username, request.proxy_password or ""
            )
            curl.setopt(pycurl.PROXYUSERPWD, login)
        curl.setopt(
            pycurl.PROXYAUTH,
            self._auth_mode(request.proxy_auth_mode, "proxy_auth_mode"),
        )

    def _auth_mode(self, mode: str | None, name: str) -> int:
        pycurl = self._pycurl
        known = {
            None: pycurl.HTTPAUTH_BASIC,
            "basic": pycurl.HTTPAUTH_BASIC,
            "digest": pycurl.HTTPAUTH_DIGEST,
        }
        if mode not in known:
            raise ValueError(f"Unsupported {name} {mode}: basic or digest")
        return cast(int, known[mode])

    def _set_up_tls(self, curl: Any, request: HTTPRequest) -> None:
        pycurl = self._pycurl
        if request.ssl_options is not None:
            raise ValueError("ssl_options not supported in curl_httpclient")
        curl.setopt(pycurl.SSL_VERIFYPEER, 1 if request.validate_cert else 0)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2 if request.validate_cert else 0)
        if request.ca_certs is not None:
            curl.setopt(pycurl.CAINFO, request.ca_certs)
        if request.client_cert is not None:
            curl.setopt(pycurl.SSLCERT, request.client_cert)
        if request.client_key is not None:
            curl.setopt(pycurl.SSLKEY, request.client_key)

    def _set_up_auth(self, curl: Any, request: HTTPRequest) -> None:
        pycurl = self._pycurl
        if request.auth_username is None:
            return
        curl.setopt(pycurl.HTTPAUTH, self._auth_mode(request.auth_mode, "auth_mode"))
        curl.setopt(
            pycurl.USERPWD,
            httputil.encode_username_password(
                request.auth_username, request.auth_password or ""
            ),
        )

    def _set_up_body(self, curl: Any, request: HTTPRequest) -> httputil.HTTPHeaders:
        """Method and body; gives the headers to send."""
        pycurl, method, body = self._pycurl, request.method, request.body
        if request.body_producer is not None:
            raise ValueError("body_producer not supported in curl_httpclient")
        headers = httputil.HTTPHeaders(request.headers)
        for name, value in headers.get_all():
            if CR_OR_LF_RE.search(utf8(name)) or CR_OR_LF_RE.search(utf8(value)):
                raise ValueError(f"line end in the header {name!r}")
        # libcurl adds these by itself unless it is told not to.
        headers.setdefault(
            "Expect", "100-continue" if request.expect_100_continue else ""
        )
        headers.setdefault("Pragma", "")
        # A method set by its name would stay what it is when 303 turns it into GET.
        options = {
            "GET": pycurl.HTTPGET,
            "HEAD": pycurl.NOBODY,
            "POST": pycurl.POST,
            "PUT": pycurl.UPLOAD,
        }
        with_body = method in ("POST", "PUT", "PATCH")
        if method in options:
            curl.setopt(options[method], 1)
        elif method in ("DELETE", "OPTIONS", "PATCH") or (
            request.allow_nonstandard_methods
        ):
            curl.setopt(pycurl.CUSTOMREQUEST, method)
        else:
            raise KeyError("unknown method " + method)
        if not request.allow_nonstandard_methods and with_body != (body is not None):
            raise ValueError(
                f"Body must {'not ' if with_body else ''}be None for method {method} "
                "(unless allow_nonstandard_methods is true)"
            )
        if body is not None or with_body:
            data = BytesIO(utf8(body or b""))
            length = len(body or b"")
            curl.setopt(pycurl.READFUNCTION, data.read)
            curl.setopt(pycurl.SEEKFUNCTION, lambda offset, origin: _seek(data, offset))
            if method == "POST":
                curl.setopt(pycurl.POSTFIELDSIZE, length)
            else:
                curl.setopt(pycurl.UPLOAD, 1)
                curl.setopt(pycurl.INFILESIZE, length)
        return headers

    def _on_line(self, transfer: _Transfer, raw: bytes) -> None:
        line = raw.decode("latin-1")
        callback = transfer.request.header_callback
        if callback is not None:
            self.io_loop.add_callback(callback, line)
        line = line.rstrip("\r\n")
        if line.startswith("HTTP/"):
            # Of a redirect, of an interim answer, or of the answer itself.
            transfer.headers.clear()
            transfer.reason = line.partition(" ")[2].partition(" ")[2] or None
        elif line:
            transfer.headers.parse_line(line)

    def _on_body(self, transfer: _Transfer, chunk: bytes) -> int | None:
        transfer.size += len(chunk)
        if transfer.size > self.max_body_size:
            transfer.error = CurlError(
                self._pycurl.E_WRITE_ERROR,
                f"the body of {transfer.request.url} is larger than max_body_size "
                f"({self.max_body_size} bytes)",
            )
            return 0  # libcurl takes it for a failed write and ends the transfer
        callback = transfer.request.streaming_callback
        if callback is None:
            transfer.buffer.write(chunk)
        else:
            self.io_loop.add_callback(callback, chunk)
        return None


def _seek(data: BytesIO, offset: int) -> int:
    data.seek(offset)
    return 0
