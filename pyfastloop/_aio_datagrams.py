"""Datagram endpoints of the asyncio face: sockets are made, bound and connected here;
`_core.DatagramTransport` moves the datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from pyfastloop import _core

__all__ = ["Datagrams"]


class Datagrams(_core.DatagramMethods):
    """What `Loop` has of datagrams."""

    async def create_datagram_endpoint(  # type: ignore[no-untyped-def]
        self: Any,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ):
        """Bind to `local_addr`, connect to `remote_addr`, or take over `sock`.

        Gives ``(transport, protocol)`` once connection_made was called. Addresses are
        ``(host, port)``, or with ``family=AF_UNIX`` paths.
        """
        remote = None
        opened = sock is None
        if sock is not None:
            if sock.type == socket.SOCK_STREAM:
                raise ValueError(f"A datagram socket was expected, got {sock!r}")
            given = {
                "local_addr": local_addr,
                "remote_addr": remote_addr,
                "family": family,
                "proto": proto,
                "flags": flags,
                "reuse_port": reuse_port,
                "allow_broadcast": allow_broadcast,
            }
            odd = ", ".join(f"{name}={value}" for name, value in given.items() if value)
            if odd:
                raise ValueError(
                    "socket modifier keyword arguments can not be used when sock is "
                    f"specified. ({odd})"
                )
            sock.setblocking(False)
        else:
            candidates = await self._datagram_addresses(
                local_addr, remote_addr, family, proto, flags
            )
            sock, remote = await self._open_datagram(
                candidates, local_addr, remote_addr, reuse_port, allow_broadcast
            )
        try:
            protocol = protocol_factory()
            transport = self._datagram_transport(sock, protocol, remote)
        except BaseException:
            if opened:
                sock.close()
            raise
        try:
            await asyncio.sleep(0)  # connection_made() stands before us in the queue
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _datagram_addresses(
        self: Any, local: Any, remote: Any, family: int, proto: int, flags: int
    ) -> list[tuple[int, int, Any, Any]]:
        """(family, proto, local address, remote address), in the order to try."""
        if local is None and remote is None:
            if family == 0:
                raise ValueError("unexpected address family: give one or an address")
            return [(family, proto, None, None)]
        if family == socket.AF_UNIX:
            for address in (local, remote):
                if address is not None and not isinstance(address, str | bytes):
                    raise TypeError(f"a path was expected, got {address!r}")
            if local and local[:1] not in ("\x00", b"\x00"):
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISSOCK(os.stat(local).st_mode):
                        os.remove(local)
            return [(family, proto, local, remote)]
        found: dict[tuple[int, int], list[Any]] = {}
        for which, address in enumerate((local, remote)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError(f"2-tuple is expected, got {address!r}")
            infos = await self._resolve(
                address,
                family=family,
                type=socket.SOCK_DGRAM,
                proto=proto,
                flags=flags,
            )
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for each, _, number, _, resolved in infos:
                pair = found.setdefault((each, number), [None, None])
                pair[which] = resolved
        usable = [
            (each, number, pair[0], pair[1])
            for (each, number), pair in found.items()
            if not (local and pair[0] is None) and not (remote and pair[1] is None)
        ]
        if not usable:
            raise ValueError("can not get address information")
        return usable

    async def _open_datagram(
        self: Any,
        candidates: list[tuple[int, int, Any, Any]],
        wants_local: Any,
        wants_remote: Any,
        reuse_port: bool | None,
        allow_broadcast: bool | None,
    ) -> tuple[socket.socket, Any]:
        errors: list[OSError] = []
        for family, proto, local, remote in candidates:
            sock = None
            try:
                sock = socket.socket(family, socket.SOCK_DGRAM, proto)
                if reuse_port:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
                if allow_broadcast:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, True)
                sock.setblocking(False)
                if wants_local:
                    sock.bind(local)
                if wants_remote:
                    if not allow_broadcast:
                        await self.sock_connect(sock, remote)
                    return sock, remote
                return sock, None
            except OSError as exc:
                if sock is not None:
                    sock.close()
                errors.append(exc)
            except BaseException:
                if sock is not None:
                    sock.close()
                raise
        raise errors[0]
