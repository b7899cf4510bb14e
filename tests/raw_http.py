"""Servers of plain sockets in a thread: what they send is written out byte by byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pyfastloop.httpclient import AsyncHTTPClient
from pyfastloop.ioloop import IOLoop

T = TypeVar("T")

SECONDS = 60.0  # no test waits longer for a peer

_PACKAGE = Path(__import__("pyfastloop").__file__).parent
CERTIFICATE = str(_PACKAGE / "testing_cert.pem")
KEY = str(_PACKAGE / "testing_key.pem")


def run(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run a coroutine function in a loop of its own; a hang is a TimeoutError."""
    io_loop = IOLoop(make_current=False)
    try:
        return io_loop.run_sync(lambda: main(*args), timeout=SECONDS * 2)
    finally:
        io_loop.close(all_fds=True)


@contextlib.contextmanager
def client_of_test(**kwargs: Any) -> Iterator[AsyncHTTPClient]:
    """A client of the running loop that nobody else has; closed at the end."""
    client = AsyncHTTPClient(force_instance=True, **kwargs)
    try:
        yield client
    finally:
        client.close()


def fetch(url: Any, *, client: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """One fetch in a loop of its own."""

    async def main() -> Any:
        with client_of_test(**(client or {})) as http:
            return await http.fetch(url, **kwargs)

    return run(main)


def fetch_error(url: Any, **kwargs: Any) -> BaseException:
    """What one fetch raised."""
    try:
        response = fetch(url, **kwargs)
    except Exception as error:
        return error
    raise AssertionError(f"expected an exception, got {response!r}")


def longer_and_longer(seconds: float) -> Iterator[float]:
    """Limits for what must have come somewhere before they expire: a test takes the
    next one where its machine was too slow for this one."""
    while seconds < SECONDS:
        yield seconds
        seconds *= 3
    raise AssertionError(f"it came nowhere in {SECONDS} s")


def read_head(conn: socket.socket) -> bytes:
    """The bytes up to and with the empty line; b"" when the peer has closed."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        # TLS cannot look ahead; a plain socket reads as far as the head goes.
        tls = isinstance(conn, ssl.SSLSocket)
        seen = b"?" if tls else conn.recv(65536, socket.MSG_PEEK)
        end = seen.find(b"\r\n\r\n")
        more = conn.recv(1 if tls or len(data) else end + 4 if end >= 0 else 1)
        if not more:
            return b""
        data += more
    return data


def read_exactly(conn: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = conn.recv(count - len(data))
        if not more:
            raise EOFError(f"the peer closed after {len(data)} of {count} bytes")
        data += more
    return data


def header(head: bytes, name: str) -> str | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name.lower().encode():
            return value.strip().decode("latin-1")
    return None


def read_body(conn: socket.socket, head: bytes) -> bytes:
    """The body that a request head announces."""
    length = header(head, "Content-Length")
    if length is not None:
        return read_exactly(conn, int(length))
    if (header(head, "Transfer-Encoding") or "").lower() != "chunked":
        return b""
    body = b""
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += read_exactly(conn, 1)
        size = int(line, 16)
        body += read_exactly(conn, size)
        end = read_exactly(conn, 2)
        assert end == b"\r\n"
        if size == 0:
            return body


def ok(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    """An answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def reset(conn: socket.socket) -> None:
    """Close with RST."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


class RawServer:
    """Calls ``serve(conn, server)`` in a thread for each connection.

    ``heads`` has every request head that `serve_answers` or `request` has read, and
    ``accepted`` counts connections.
    """

    def __init__(
        self,
        serve: Callable[[socket.socket, RawServer], None],
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.serve = serve
        self.tls = tls
        self.accepted = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.errors: list[BaseException] = []
        self.ended = threading.Semaphore(0)  # one for each connection that is over
        self._socket = socket.create_server((host, 0))
        self.port = self._socket.getsockname()[1]
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        if self.tls is not None:
            return f"https://localhost:{self.port}/"
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping = True
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes who sits in its accept()
        self._thread.join(SECONDS)
        self._socket.close()
        for conn in self._open:
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
        if exc_info[0] is None:
            assert not self.errors, self.errors

    def request(self, conn: socket.socket) -> bytes:
        """Read a request; its head, or b"" at the end of the connection."""
        head = read_head(conn)
        if head:
            self.heads.append(head)
            self.bodies.append(read_body(conn, head))
        return head

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._socket.accept()
            except OSError:
                return
            if self._stopping:
                conn.close()
                return
            self.accepted += 1
            self._open.append(conn)
            thread = threading.Thread(target=self._serve, args=(conn,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, conn: socket.socket) -> None:
        conn.settimeout(SECONDS)
        try:
            if self.tls is not None:
                conn = self.tls.wrap_socket(conn, server_side=True)
                self._open.append(conn)
            self.serve(conn, self)
        except (OSError, EOFError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            conn.close()
            self.ended.release()


def serve_answers(*answers: bytes, close: bool = False) -> Callable[..., None]:
    """For each connection: the answers to its requests in order, the last one again and
    again; with *close* the connection ends after one."""

    def serve(conn: socket.socket, server: RawServer) -> None:
        n = 0
        while server.request(conn):
            conn.sendall(answers[min(n, len(answers) - 1)])
            n += 1
            if close:
                return

    return serve


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context
