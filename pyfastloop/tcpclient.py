"""`TCPClient`: connects to names by whichever of their addresses answers first.

The race is that of RFC 8305: addresses of both families alternate, each attempt gets a
head start of 250 ms (or less, when it fails) before the next begins beside it, and
the first to connect wins. (Tornado races the families against each other, one address
of each at a time, with 300 ms.)
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import ipaddress
import numbers
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pyfastloop import gen
from pyfastloop.concurrent import Future
from pyfastloop.iostream import IOStream, StreamClosedError
from pyfastloop.netutil import Resolver
from pyfastloop.util import TimeoutError

__all__ = ["TCPClient"]

# RFC 8305, section 5: the recommended Connection Attempt Delay, in seconds.
_ATTEMPT_DELAY = 0.25

_Address = tuple[int, Any]


def _interleave(addresses: Sequence[_Address]) -> list[_Address]:
    """The families in turn, beginning with the resolver's first; order kept in each."""
    if not addresses:
        return []
    first = [item for item in addresses if item[0] == addresses[0][0]]
    other = [item for item in addresses if item[0] != addresses[0][0]]
    mixed: list[_Address] = []
    while first or other:
        if first:
            mixed.append(first.pop(0))
        if other:
            mixed.append(other.pop(0))
    return mixed


class _Race:
    """Attempts to connect, the later ones beside the earlier; one of them wins."""

    def __init__(
        self,
        addresses: Sequence[_Address],
        start: Callable[[int, Any], tuple[IOStream, Awaitable[Any]]],
        delay: float = _ATTEMPT_DELAY,
    ) -> None:
        self._waiting = _interleave(addresses)
        self._start = start
        self._delay = delay
        self._open: set[IOStream] = set()
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._winner: asyncio.Future[IOStream] = self._loop.create_future()

    async def run(self) -> IOStream:
        """The connected stream; the last error when no address answers."""
        self._next()
        try:
            stream = await self._winner
            self._open.discard(stream)
            return stream
        finally:
            # Also when this coroutine is cancelled, be it beside the winner's arrival.
            self._stop_timer()
            for stream in list(self._open):
                stream.close()
            self._open.clear()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> None:
        """Begin the next attempt that can be begun."""
        self._stop_timer()
        while self._waiting and not self._winner.done():
            family, address = self._waiting.pop(0)
            try:
                stream, connected = self._start(family, address)
            except Exception as error:
                # No such family here, the source address does not suit it, or the
                # resolver's own address is none.
                self._error = error
                continue
            self._open.add(stream)
            future = asyncio.ensure_future(connected)
            future.add_done_callback(functools.partial(self._ended, stream))
            if self._waiting:
                self._timer = self._loop.call_later(self._delay, self._next)
            return
        if not self._open and not self._winner.done():
            self._winner.set_exception(
                self._error or OSError("the name stands for no address to connect to")
            )

    def _ended(self, stream: IOStream, future: asyncio.Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if self._winner.done():
            return
        if error is None and not future.cancelled():
            self._winner.set_result(stream)
            return
        self._open.discard(stream)
        stream.close()
        self._error = error
        self._next()


class TCPClient:
    """Makes `.IOStream` connections to names.

    ``resolver`` is a `.Resolver`, by default one of the configured class that belongs
    to the client and is closed with it.
    """

    def __init__(self, resolver: Resolver | None = None) -> None:
        self._own_resolver = resolver is None
        self.resolver = Resolver() if resolver is None else resolver

    def close(self) -> None:
        """Close the resolver, if it is the client's own."""
        if self._own_resolver:
            self.resolver.close()

    async def connect(
        self,
        host: str,
        port: int,
        af: socket.AddressFamily = socket.AF_UNSPEC,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        max_buffer_size: int | None = None,
        source_ip: str | None = None,
        source_port: int | None = None,
        timeout: float | datetime.timedelta | None = None,
    ) -> IOStream:
        """Connect to ``host``; with ``ssl_options`` an `.SSLIOStream`.

        ``af`` restricts the address family. ``source_ip`` and ``source_port`` are where
        the connection comes from; ``source_ip`` restricts the family to its own.
        ``timeout`` is for the whole, in seconds or a timedelta; past it `TimeoutError`
        says which phase was under way.

        Raises what the resolver raises, `.StreamClosedError` (its ``real_error`` is the
        `OSError` of the last attempt), or `ssl.SSLError`.
        """
        deadline = _deadline(timeout)
        addresses = await _before(
            deadline, self.resolver.resolve(host, port, af), f"resolving {host}"
        )
        if source_ip is not None:
            family = _family_of(source_ip)
            suited = [item for item in addresses if family in (None, item[0])]
            addresses = suited or addresses
        race = _Race(
            addresses,
            functools.partial(self._begin, max_buffer_size, source_ip, source_port),
        )
        stream: IOStream = await _before(
            deadline, race.run(), f"connecting to {host}:{port}"
        )
        if ssl_options is None:
            return stream
        try:
            shaking = stream.start_tls(
                False, ssl_options=ssl_options, server_hostname=host
            )
        except BaseException:
            stream.close()
            raise
        # start_tls closes the connection itself when it is cancelled.
        secured: IOStream = await _before(
            deadline, shaking, f"shaking hands with {host}:{port}"
        )
        return secured

    @staticmethod
    def _begin(
        max_buffer_size: int | None,
        source_ip: str | None,
        source_port: int | None,
        family: int,
        address: Any,
    ) -> tuple[IOStream, Awaitable[Any]]:
        """Start one attempt; OSError when not even that is possible."""
        sock = socket.socket(family)
        try:
            if source_ip is not None or source_port is not None:
                wildcard = "::" if family == socket.AF_INET6 else "0.0.0.0"
                sock.bind((source_ip or wildcard, source_port or 0))
            stream = IOStream(sock, max_buffer_size=max_buffer_size)
        except BaseException:
            sock.close()
            raise
        try:
            return stream, stream.connect(address)
        except StreamClosedError:
            raise
        except BaseException:
            stream.close()
            raise


def _deadline(timeout: float | datetime.timedelta | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, datetime.timedelta):
        seconds = timeout.total_seconds()
    elif isinstance(timeout, numbers.Real):
        seconds = float(timeout)
    else:
        raise TypeError(
            f"timeout must be a number of seconds or a timedelta, not {timeout!r}"
        )
    return time.monotonic() + seconds


def abandon(future: Future[Any]) -> None:
    """Cancel *future*, or close the stream that it has already: nobody wants either."""
    future.cancel()
    if future.done() and not future.cancelled() and future.exception() is None:
        result = future.result()
        if isinstance(result, IOStream):
            result.close()


async def _before(deadline: float | None, awaitable: Any, phase: str) -> Any:
    """Await until the deadline; past it cancel, and say what was under way.

    Cancelled itself, it takes that along.
    """
    future = gen.convert_yielded(awaitable)
    try:
        if deadline is None:
            return await future
        left = max(0, deadline - time.monotonic())
        done, _ = await asyncio.wait([future], timeout=left)
    except asyncio.CancelledError:
        abandon(future)
        raise
    if not done:
        future.cancel()
        raise TimeoutError(f"Timeout while {phase}")
    return future.result()


def _family_of(ip: str) -> int | None:
    try:
        version = ipaddress.ip_address(ip.partition("%")[0]).version
    except ValueError:
        return None
    return socket.AF_INET6 if version == 6 else socket.AF_INET
