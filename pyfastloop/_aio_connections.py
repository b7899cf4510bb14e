"""Connections and servers of the asyncio face: everything before the first byte.

Names are looked up, sockets made, connected or bound here; from then on a
`_core.Transport` moves the bytes, those of TLS too (see `_aio_tls`).
"""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import errno
import itertools
import logging
import os
import socket
import ssl as ssl_module
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pyfastloop import _core
from pyfastloop._aio_server import Server
from pyfastloop._aio_tls import check_tls_arguments

__all__ = ["Connections"]

_log = logging.getLogger("asyncio")

_Factory = Callable[[], asyncio.BaseProtocol]
_AddressInfo = tuple[int, int, int, str, Any]


def numeric_address(
    host: Any, port: Any, family: int, kind: int, proto: int
) -> _AddressInfo | None:
    """The one result of getaddrinfo() for a numeric host, made without asking it.

    ValueError for a host with a NUL, behind which getaddrinfo() would not look.
    """
    if proto not in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    if kind == socket.SOCK_STREAM:
        proto = socket.IPPROTO_TCP
    elif kind == socket.SOCK_DGRAM:
        proto = socket.IPPROTO_UDP
    else:
        return None
    if port is None or port in ("", b""):
        port = 0
    try:
        port = int(port)
    except (TypeError, ValueError):
        return None
    if isinstance(host, bytes):
        try:
            host = host.decode("ascii")
        except UnicodeDecodeError:
            return None
    if not isinstance(host, str) or "%" in host:
        return None
    for each in (socket.AF_INET, socket.AF_INET6):
        if family not in (socket.AF_UNSPEC, each):
            continue
        with contextlib.suppress(OSError):
            host = socket.inet_ntop(each, socket.inet_pton(each, host))
            address = (host, port) if each == socket.AF_INET else (host, port, 0, 0)
            return each, kind, proto, "", address
    return None


def interleaved(infos: Sequence[_AddressInfo], first: int) -> list[_AddressInfo]:
    """Addresses with their families taking turns; `first` of the first family lead."""
    families: dict[int, list[_AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    groups = list(families.values())
    lead: list[_AddressInfo] = []
    if first > 1:
        lead = groups[0][: first - 1]
        del groups[0][: first - 1]
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*groups))
    return lead + [info for info in mixed if info is not None]


def check_stream_socket(sock: Any) -> None:
    """TypeError or ValueError where a socket cannot carry a stream of ours."""
    if isinstance(sock, ssl_module.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket: give a plain socket")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


class Connections(_core.TransportMethods):
    """What `Loop` has of create_connection, create_server and their family."""

    # ---- addresses ----

    async def _resolve(
        self: Any,
        address: Any,
        *,
        family: int = 0,
        type: int = socket.SOCK_STREAM,
        proto: int = 0,
        flags: int = 0,
    ) -> Sequence[_AddressInfo]:
        host, port = address[:2]
        info = numeric_address(host, port, family, type, proto)
        if info is not None:
            if len(address) == 4 and info[0] == socket.AF_INET6:
                info = (*info[:4], (*info[4][:2], *address[2:]))
            return [info]
        infos: Sequence[_AddressInfo] = await self.getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )
        return infos

    # ---- connecting ----

    async def create_connection(  # type: ignore[no-untyped-def]
        self: Any,
        protocol_factory: _Factory,
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: Any = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ):
        """Connect to ``host:port``, or take over a connected socket.

        Gives ``(transport, protocol)`` once connection_made was called (with TLS: after
        the handshake). Several addresses are tried in turn, or, with
        `happy_eyeballs_delay` (seconds), side by side. Raises the OSError of the only
        attempt, one that names all of them, or with `all_errors` an ExceptionGroup.
        """
        check_tls_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if server_hostname is None and ssl:
            if not host:
                raise ValueError(
                    "server_hostname is needed with ssl where no host is given"
                )
            server_hostname = host
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError(
                    "host/port and sock can not be specified at the same time"
                )
            sock = await self._connect_any(
                (host, port),
                local_addr,
                family,
                proto,
                flags,
                happy_eyeballs_delay,
                interleave,
                all_errors,
            )
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        else:
            check_stream_socket(sock)
        return await self._open_stream(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )

    async def _open_stream(  # type: ignore[no-untyped-def]
        self: Any,
        sock: socket.socket,
        factory: _Factory,
        ssl: Any,
        server_hostname: str | None,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
        server_side: bool = False,
    ):
        """Protocol and transport of a connected socket, which is closed on failure."""
        sock.setblocking(False)
        protocol = factory()
        if ssl:
            transport = await self._tls_client(
                sock,
                protocol,
                ssl,
                server_side,
                server_hostname,
                handshake_timeout,
                shutdown_timeout,
            )
            return transport, protocol
        transport = self._socket_transport(sock, protocol)
        try:
            await asyncio.sleep(0)  # connection_made() stands before us in the queue
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _connect_any(
        self: Any,
        address: Any,
        local_addr: Any,
        family: int,
        proto: int,
        flags: int,
        delay: float | None,
        interleave: int | None,
        all_errors: bool,
    ) -> socket.socket:
        infos = await self._resolve(address, family=family, proto=proto, flags=flags)
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        local_infos = None
        if local_addr is not None:
            local_infos = await self._resolve(
                local_addr, family=family, proto=proto, flags=flags
            )
            if not local_infos:
                raise OSError("getaddrinfo() returned empty list")
        if delay is not None and interleave is None:
            interleave = 1
        if interleave:
            infos = interleaved(infos, interleave)
        errors: list[OSError] = []
        connected: socket.socket | None = None
        try:
            if delay is None or len(infos) == 1:
                for info in infos:
                    try:
                        connected = await self._connect_one(info, local_infos)
                        break
                    except OSError as exc:
                        errors.append(exc)
            else:
                connected = await self._connect_staggered(
                    infos, local_infos, delay, errors
                )
            if connected is not None:
                return connected
            if all_errors:
                raise ExceptionGroup("create_connection failed", errors)
            if len({str(exc) for exc in errors}) == 1:
                raise errors[0]
            raise OSError(
                f"Multiple exceptions: {', '.join(str(exc) for exc in errors)}"
            )
        finally:
            errors.clear()  # each one's traceback refers to this frame

    async def _connect_one(
        self: Any, info: _AddressInfo, local_infos: Sequence[_AddressInfo] | None
    ) -> socket.socket:
        family, kind, proto, _, address = info
        sock = socket.socket(family=family, type=kind, proto=proto)
        try:
            sock.setblocking(False)
            if local_infos is not None:
                _bind_one_of(sock, family, local_infos)
            await self.sock_connect(sock, address)
            return sock
        except BaseException:
            sock.close()
            raise

    async def _connect_staggered(
        self: Any,
        infos: Iterable[_AddressInfo],
        local_infos: Sequence[_AddressInfo] | None,
        delay: float,
        errors: list[OSError],
    ) -> socket.socket | None:
        """RFC 8305: the next attempt begins `delay` seconds after the one before, or
        when that has failed; the first that succeeds ends the others."""
        attempts: dict[asyncio.Task[socket.socket], OSError | None] = {}  # in order
        pending: set[asyncio.Task[socket.socket]] = set()
        waiting = iter(infos)
        more = True
        winner: socket.socket | None = None
        try:
            while winner is None and (more or pending):
                info = next(waiting, None)
                more = info is not None
                if info is not None:
                    task = asyncio.create_task(self._connect_one(info, local_infos))
                    attempts[task] = None
                    pending.add(task)
                done, pending = (
                    await asyncio.wait(
                        pending,
                        timeout=delay if more else None,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if pending
                    else (set(), pending)
                )
                for task in done:
                    exc = task.exception()
                    if exc is None and winner is None:
                        winner = task.result()
                    elif exc is None:
                        task.result().close()
                    elif isinstance(exc, OSError):
                        attempts[task] = exc
                    else:
                        raise exc
            errors += [exc for exc in attempts.values() if exc is not None]
            return winner
        finally:
            for task in pending:
                task.cancel()
            if pending:
                for outcome in await asyncio.gather(*pending, return_exceptions=True):
                    if isinstance(outcome, socket.socket):
                        outcome.close()

    async def create_unix_connection(  # type: ignore[no-untyped-def]
        self: Any,
        protocol_factory: _Factory,
        path: Any = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ):
        """Connect to a UNIX socket by its path (a leading NUL: an abstract name)."""
        check_tls_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        if not ssl and server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, os.fspath(path))
            except BaseException:
                sock.close()
                raise
        elif sock is None:
            raise ValueError("no path and sock were specified")
        else:
            _check_unix_socket(sock)
        return await self._open_stream(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )

    async def connect_accepted_socket(  # type: ignore[no-untyped-def]
        self: Any,
        protocol_factory: _Factory,
        sock: socket.socket,
        *,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ):
        """Protocol and transport of a socket that was accepted elsewhere."""
        check_stream_socket(sock)
        check_tls_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        return await self._open_stream(
            sock,
            protocol_factory,
            ssl,
            None,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            server_side=True,
        )

    # ---- serving ----

    async def create_server(
        self: Any,
        protocol_factory: _Factory,
        host: Any = None,
        port: Any = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen on every address of `host` (a name, several, or None: all)."""
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        check_tls_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None and isinstance(sock, ssl_module.SSLSocket):
            raise TypeError("Socket cannot be of type SSLSocket: give a plain socket")
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError(
                    "host/port and sock can not be specified at the same time"
                )
            infos = await self._resolve_hosts(host, port, family, flags)
            sockets = _bind_all(
                infos,
                reuse_address is None or reuse_address,
                bool(reuse_port),
                bool(keep_alive),
            )
        elif sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        else:
            check_stream_socket(sock)
            sockets = [sock]
        server: Server = await self._serve(
            sockets,
            protocol_factory,
            backlog,
            ssl,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            start_serving,
        )
        return server

    async def _resolve_hosts(
        self: Any, host: Any, port: Any, family: int, flags: int
    ) -> list[_AddressInfo]:
        hosts: Iterable[Any]
        if host == "":
            hosts = [None]
        elif isinstance(host, str | bytes) or not isinstance(
            host, collections.abc.Iterable
        ):
            hosts = [host]
        else:
            hosts = host
        found = await asyncio.gather(
            *[self._resolve((each, port), family=family, flags=flags) for each in hosts]
        )
        infos = list(dict.fromkeys(itertools.chain.from_iterable(found)))
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return infos

    async def create_unix_server(
        self: Any,
        protocol_factory: _Factory,
        path: Any = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = True,
    ) -> Server:
        """Listen on a UNIX socket; its file is removed when the server closes."""
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        check_tls_arguments(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        else:
            _check_unix_socket(sock)
        unlink = None
        if cleanup_socket:
            name = sock.getsockname()
            if name and name[0] not in (0, "\x00"):
                with contextlib.suppress(FileNotFoundError):
                    unlink = (name, os.stat(name).st_ino)
        server: Server = await self._serve(
            [sock],
            protocol_factory,
            backlog,
            ssl,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            start_serving,
            unlink,
        )
        return server

    async def _serve(
        self: Any,
        sockets: list[socket.socket],
        factory: _Factory,
        backlog: int,
        ssl: Any,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
        start_serving: bool,
        unlink: tuple[Any, int] | None = None,
    ) -> Server:
        for sock in sockets:
            sock.setblocking(False)
        tls = self._tls_maker(ssl, handshake_timeout, shutdown_timeout) if ssl else None
        server = Server(self, sockets, factory, backlog, unlink, tls)
        if start_serving:
            try:
                server._start_serving()
            except BaseException:
                server.close()
                raise
            await asyncio.sleep(0)
        return server


def _check_unix_socket(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def _bind_one_of(
    sock: socket.socket, family: int, infos: Sequence[_AddressInfo]
) -> None:
    errors = []
    for info in infos:
        if info[0] != family:
            continue
        try:
            sock.bind(info[4])
            return
        except OSError as exc:
            errors.append(
                OSError(
                    exc.errno,
                    f"error while attempting to bind on address {info[4]!r}: "
                    f"{str(exc.strerror).lower()}",
                )
            )
    if errors:
        raise errors[-1]
    raise OSError(f"no matching local address with family={family!r} found")


def _bind_all(
    infos: Sequence[_AddressInfo],
    reuse_address: bool,
    reuse_port: bool,
    keep_alive: bool,
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in infos:
            try:
                sock = socket.socket(family, kind, proto)
            except OSError as exc:
                if exc.errno != errno.EAFNOSUPPORT:
                    raise
                continue  # the resolver knows a family that the kernel lacks
            sockets.append(sock)
            if reuse_address:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
            if reuse_port and family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
            if keep_alive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
            try:
                sock.bind(address)
            except OSError as exc:
                text = (
                    f"error while attempting to bind on address {address!r}: "
                    f"{str(exc.strerror).lower()}"
                )
                if exc.errno == errno.EADDRNOTAVAIL and len(infos) > 1:
                    sockets.pop().close()
                    _log.warning(text)
                    continue
                raise OSError(exc.errno, text) from None
        if not sockets:
            raise OSError(
                f"could not bind on any address out of {[info[4] for info in infos]!r}"
            )
        return sockets
    except BaseException:
        for sock in sockets:
            sock.close()
        raise


def _bind_unix(path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path[:1] not in ("\x00", b"\x00"):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.remove(path)  # of a server that is no more
        sock.bind(path)
        return sock
    except OSError as exc:
        sock.close()
        if exc.errno != errno.EADDRINUSE:
            raise
        raise OSError(exc.errno, f"Address {path!r} is already in use") from None
    except BaseException:
        sock.close()
        raise
