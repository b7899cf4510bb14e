"""`TCPServer`: listening sockets whose connections become streams.

Accepting is ``_core.Listener`` in C; per connection Python runs
`TCPServer.handle_stream` only, which is looked up at that moment, so overriding it on a
class, patching it, or setting it on an instance all work.
"""

from __future__ import annotations

import errno
import os
import socket as socket_module
import ssl
from collections.abc import Iterable
from typing import Any

from pyfastloop import _core, gen, process
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import IOStream, SSLIOStream
from pyfastloop.log import app_log
from pyfastloop.netutil import (
    _DEFAULT_BACKLOG,
    bind_sockets,
    ssl_options_to_context,
    ssl_wrap_socket,
)

__all__ = ["TCPServer"]

_TLS_FILES = ("certfile", "keyfile", "ca_certs")


class TCPServer:
    """A server of TCP (or Unix socket) connections on the loop.

    Subclass it and override `handle_stream`. Three ways to start:

    `listen`: one process. ``server.listen(8888)``.

    `bind` and `start`: several processes. ``server.bind(8888); server.start(0)`` before
    anything uses the `.IOLoop`.

    `add_sockets`: sockets made elsewhere, by `.bind_sockets`, `.bind_unix_socket`, or
    inherited.

    ``ssl_options``, an `ssl.SSLContext` or the dictionary of `.ssl_options_to_context`,
    makes it a TLS server. Of a dictionary one context is made, and another as soon as
    the dictionary or one of the files that it names has changed: a renewed certificate
    is what the next connection gets. ``max_buffer_size`` and ``read_chunk_size`` go to
    the streams.
    """

    _context_made: tuple[Any, ssl.SSLContext] | None = None

    def __init__(
        self,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        max_buffer_size: int | None = None,
        read_chunk_size: int | None = None,
        *,
        io_loop: IOLoop | None = None,
    ) -> None:
        if io_loop is not None and io_loop is not IOLoop.current():
            raise ValueError("io_loop must be the current IOLoop, or left out")
        self.ssl_options = ssl_options
        self.max_buffer_size = max_buffer_size
        self.read_chunk_size = read_chunk_size
        self._sockets: dict[int, socket_module.socket] = {}
        self._listeners: dict[int, _core.Listener] = {}
        self._pending_sockets: list[socket_module.socket] = []
        self._started = False
        self._stopped = False
        if isinstance(ssl_options, dict):
            self._check_ssl_options(ssl_options)

    @staticmethod
    def _check_ssl_options(ssl_options: dict[str, Any]) -> None:
        """Say now what every handshake would fail of."""
        if "certfile" not in ssl_options:
            raise KeyError('missing key "certfile" in ssl_options')
        for key in ("certfile", "keyfile"):
            name = ssl_options.get(key)
            if name is not None and not os.path.exists(name):
                raise ValueError(f'{key} "{name}" does not exist')

    def listen(
        self,
        port: int,
        address: str | None = None,
        family: socket_module.AddressFamily = socket_module.AF_UNSPEC,
        backlog: int = _DEFAULT_BACKLOG,
        flags: int | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Bind and start accepting on the current loop; arguments of `.bind_sockets`.

        May be called several times, for several ports.
        """
        self.add_sockets(
            bind_sockets(
                port,
                address=address,
                family=family,
                backlog=backlog,
                flags=flags,
                reuse_port=reuse_port,
            )
        )

    def add_sockets(self, sockets: Iterable[socket_module.socket]) -> None:
        """Accept connections on these listening sockets, in the current loop.

        The server closes them in `stop`.
        """
        for sock in sockets:
            fd = sock.fileno()
            self._sockets[fd] = sock
            self._listeners[fd] = self._listen_on(sock)

    def _listen_on(self, sock: socket_module.socket) -> _core.Listener:
        """Start accepting on a socket; for subclasses with an accept of their own."""
        return _core.Listener(sock, self._accepted)

    def add_socket(self, socket: socket_module.socket) -> None:
        """`add_sockets` of one."""
        self.add_sockets([socket])

    def bind(
        self,
        port: int,
        address: str | None = None,
        family: socket_module.AddressFamily = socket_module.AF_UNSPEC,
        backlog: int = _DEFAULT_BACKLOG,
        flags: int | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Bind without accepting yet; arguments of `.bind_sockets`, see `start`."""
        sockets = bind_sockets(
            port,
            address=address,
            family=family,
            backlog=backlog,
            flags=flags,
            reuse_port=reuse_port,
        )
        if self._started:
            self.add_sockets(sockets)
        else:
            self._pending_sockets.extend(sockets)

    def start(
        self, num_processes: int | None = 1, max_restarts: int | None = None
    ) -> None:
        """Accept on the bound sockets, in ``num_processes`` processes.

        1 (the default) forks nothing. ``None``, 0 or less forks one worker for each
        processor, a number above 1 that many; see `.fork_processes`, also for
        ``max_restarts``. Only the workers return.
        """
        if self._started:
            raise RuntimeError("the server was started already")
        self._started = True
        if num_processes != 1:
            process.fork_processes(num_processes, max_restarts)
        sockets, self._pending_sockets = self._pending_sockets, []
        self.add_sockets(sockets)

    def stop(self) -> None:
        """Accept no more and close the listening sockets. Open streams live on.

        May be called again.
        """
        if self._stopped:
            return
        self._stopped = True
        for fd, sock in self._sockets.items():
            listener = self._listeners.pop(fd, None)
            if listener is not None:
                listener.stop()
            sock.close()
        for sock in self._pending_sockets:
            sock.close()
        self._pending_sockets = []

    def handle_stream(self, stream: IOStream, address: Any) -> Any:
        """Override this: a connection has come.

        ``address`` is what ``socket.accept`` gives for its family. A coroutine (native
        or decorated) is run to its end; what it raises is logged.
        """
        raise NotImplementedError()

    def _accepted(self, fd: int, address: Any) -> None:
        """A connection from the listener, as a descriptor."""
        if self.ssl_options is not None:
            connection = socket_module.socket(fileno=fd)
            connection.setblocking(False)
            self._handle_connection(connection, address)
            return
        stream = _core.stream_from_fd(fd, self.max_buffer_size, self.read_chunk_size)
        self._serve(stream, address)

    def _handle_connection(
        self, connection: socket_module.socket, address: Any
    ) -> None:
        """A connection as a Python socket: TLS, or handed in from outside."""
        stream = self._make_stream(connection)
        if stream is not None:
            self._serve(stream, address)

    def _tls_context(self) -> ssl.SSLContext:
        """The context of ``ssl_options`` as they, and their files, are now.

        Loading a certificate takes longer than a handshake, and sessions are resumed
        only by the context that has issued their tickets.
        """
        options = self.ssl_options
        if not isinstance(options, dict):
            return ssl_options_to_context(options, server_side=True)  # type: ignore[arg-type]
        files = [os.stat(options[key]) for key in _TLS_FILES if options.get(key)]
        seen = (
            options.copy(),
            [(f.st_dev, f.st_ino, f.st_size, f.st_mtime_ns) for f in files],
        )
        if self._context_made is None or self._context_made[0] != seen:
            context = ssl_options_to_context(options, server_side=True)
            self._context_made = seen, context
        return self._context_made[1]

    def _make_stream(self, connection: socket_module.socket) -> IOStream | None:
        """The stream of a connection; None where the peer has left already."""
        if self.ssl_options is None:
            return IOStream(
                connection,
                max_buffer_size=self.max_buffer_size,
                read_chunk_size=self.read_chunk_size,
            )
        try:
            wrapped = ssl_wrap_socket(
                connection,
                self._tls_context(),
                server_side=True,
                do_handshake_on_connect=False,
            )
        except OSError as error:
            connection.close()
            if isinstance(error, ssl.SSLEOFError) or error.errno in (
                errno.ECONNABORTED,
                errno.ECONNRESET,
                errno.EINVAL,
                errno.ENOTCONN,
            ):
                return None  # the peer has left between connect and here
            raise
        return SSLIOStream(
            wrapped,
            ssl_options=self.ssl_options,
            max_buffer_size=self.max_buffer_size,
            read_chunk_size=self.read_chunk_size,
        )

    def _serve(self, stream: IOStream, address: Any) -> None:
        try:
            result = self.handle_stream(stream, address)
            if result is not None:
                IOLoop.current().add_future(gen.convert_yielded(result), _log_failure)
        except Exception:
            app_log.error("Error in connection callback", exc_info=True)


def _log_failure(future: Any) -> None:
    if future.cancelled():
        return
    error = future.exception()
    if error is not None:
        app_log.error("Error in connection callback", exc_info=error)
