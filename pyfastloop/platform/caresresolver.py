"""`CaresResolver`: names by c-ares in the loop, with the ``dns`` extra (pycares).

It does not read ``/etc/nsswitch.conf``, so it may answer differently from the rest of
the system; Tornado deprecates it for that reason, and the default resolver is the
better choice for most.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pycares

from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop
from pyfastloop.netutil import Resolver, _with_callback, is_valid_ip

__all__ = ["CaresResolver"]


class CaresResolver(Resolver):
    """A `.Resolver` over the C library c-ares."""

    def initialize(self) -> None:
        self.io_loop = IOLoop.current()
        self.channel = pycares.Channel(sock_state_cb=self._sock_state_cb)
        #: Descriptors that c-ares has open, and what it waits for on each.
        self.fds: dict[int, int] = {}
        self._timer: object | None = None

    def close(self) -> None:
        for fd in self.fds:
            self.io_loop.remove_handler(fd)
        self.fds = {}
        self._set_timer(None)
        self.channel.close()

    def _sock_state_cb(self, fd: int, readable: bool, writable: bool) -> None:
        state = (IOLoop.READ if readable else 0) | (IOLoop.WRITE if writable else 0)
        if not state:
            if self.fds.pop(fd, None) is not None:
                self.io_loop.remove_handler(fd)
        elif fd in self.fds:
            self.io_loop.update_handler(fd, state)
            self.fds[fd] = state
        else:
            self.io_loop.add_handler(fd, self._handle_events, state)
            self.fds[fd] = state

    def _handle_events(self, fd: int, events: int) -> None:
        none = pycares.ARES_SOCKET_BAD
        self.channel.process_fd(
            fd if events & (IOLoop.READ | IOLoop.ERROR) else none,
            fd if events & IOLoop.WRITE else none,
        )
        self._watch_time()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None
        if seconds is not None:
            self._timer = self.io_loop.call_later(seconds, self._time_is_up)

    def _watch_time(self) -> None:
        """c-ares keeps its own time-outs; it only has to be asked when one is due."""
        seconds = self.channel.timeout() if self.fds else -1.0
        self._set_timer(seconds if seconds >= 0 else None)

    def _time_is_up(self) -> None:
        none = pycares.ARES_SOCKET_BAD
        self._timer = None
        self.channel.process_fd(none, none)
        self._watch_time()

    def resolve(
        self,
        host: str,
        port: int,
        family: int = 0,
        callback: Callable[[list[tuple[int, Any]]], Any] | None = None,
    ) -> Awaitable[list[tuple[int, Any]]]:
        return _with_callback(self._resolve(host, port, family), callback)

    async def _resolve(
        self, host: str, port: int, family: int
    ) -> list[tuple[int, Any]]:
        addresses = [host] if is_valid_ip(host) else await self._ask(host, family)
        found: list[tuple[int, Any]] = []
        for address in addresses:
            its_family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family not in (socket.AF_UNSPEC, its_family):
                continue
            if its_family == socket.AF_INET6:
                found.append((its_family, (address, port, 0, 0)))
            else:
                found.append((its_family, (address, port)))
        if not found:
            raise OSError(f"{host} has no address of family {family}")
        return found

    async def _ask(self, host: str, family: int) -> list[str]:
        future: Future[Any] = Future()

        def answered(result: Any, error: int | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
                return
            text = pycares.errno.strerror(error)
            if isinstance(text, bytes):
                text = text.decode("ascii", "replace")
            future.set_exception(
                OSError(f"c-ares returned {error} ({text}) while resolving {host}")
            )

        self.channel.getaddrinfo(
            host,
            None,
            family=socket.AddressFamily(family),
            type=socket.SOCK_STREAM,
            callback=answered,
        )
        self._watch_time()
        result = await future
        return [_text(node.addr[0]) for node in result.nodes]


def _text(address: bytes | str) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address
