"""The PROXY protocol, versions 1 and 2: who a proxy says that its client is.

A proxy that is told to sends one header before the first byte of a connection, before
TLS too (HAProxy's ``send-proxy`` and ``send-proxy-v2``, nginx's ``proxy_protocol on``,
load balancers of clouds). :class:`ProxyHeader` reads one, :class:`Greeting` takes it
off a socket without a byte of what follows. ``HTTPServer(proxy_protocol=True)`` uses
them. Per connection and rare, so Python.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

from pyfastloop.ioloop import IOLoop
from pyfastloop.log import gen_log

__all__ = ["Greeting", "ProxyHeader", "ProxyHeaderError"]

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16  # signature, version and command, family, length
_V1_START = b"PROXY "
_V1_MOST = 107  # with CR LF
#: Bytes of a version 2 header that are taken: addresses and some TLVs.
_V2_MOST = 4096

_V1 = re.compile(
    rb"PROXY (?:TCP(?P<kind>[46]) (?P<source>[0-9a-fA-F.:]+) "
    rb"(?P<target>[0-9a-fA-F.:]+) (?P<port>0|[1-9][0-9]{0,4}) "
    rb"(?P<target_port>0|[1-9][0-9]{0,4})"
    rb"|UNKNOWN(?: [^\r\n]*)?)\r\n"
)
_TCP4, _TCP6, _UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_LOCAL, _PROXY = 0x20, 0x21
_UNIX_PATH = 108


class ProxyHeaderError(ValueError):
    """What came is no PROXY header."""


class ProxyHeader:
    """One header, fed in pieces.

    When ``done``, ``address`` is the client's as ``socket.accept`` would give it, or
    None where the proxy names nobody (its own health checks).
    """

    def __init__(self) -> None:
        self.done = False
        self.address: Any = None
        self._data = b""

    def feed(self, data: bytes) -> int:
        """How many of these bytes belong to the header; :exc:`ProxyHeaderError`."""
        before = len(self._data)
        self._data += data
        end = self._end()
        self._data = self._data[:end]
        return len(self._data) - before

    def _end(self) -> int:
        """Where the header ends, as far as it is known; parses one that is whole."""
        data = self._data
        if data[:1] == b"\r":
            return self._end_of_v2(data)
        if not (data.startswith(_V1_START) or _V1_START.startswith(data)):
            raise ProxyHeaderError("no PROXY header came first")
        newline = data.find(b"\n")
        if newline < 0:
            if len(data) >= _V1_MOST:
                raise ProxyHeaderError(f"more than {_V1_MOST} bytes without a line end")
            return len(data)
        if newline >= _V1_MOST:
            raise ProxyHeaderError(f"a line of more than {_V1_MOST} bytes")
        self._parse_v1(data[: newline + 1])
        return newline + 1

    def _end_of_v2(self, data: bytes) -> int:
        if not (data.startswith(_SIGNATURE) or _SIGNATURE.startswith(data)):
            raise ProxyHeaderError("no PROXY header came first")
        if len(data) < _FIXED:
            return len(data)
        command, family = data[12], data[13]
        length = int.from_bytes(data[14:_FIXED], "big")
        if length > _V2_MOST - _FIXED:
            raise ProxyHeaderError(
                f"a header of {length} bytes, at most {_V2_MOST - _FIXED} are read"
            )
        if len(data) < _FIXED + length:
            return len(data)
        self._parse_v2(command, family, data[_FIXED : _FIXED + length])
        return _FIXED + length

    def _parse_v1(self, line: bytes) -> None:
        match = _V1.fullmatch(line)
        if match is None:
            raise ProxyHeaderError(f"malformed: {line!r}")
        if match["kind"] is None:
            self.done = True
            return
        kind = ipaddress.IPv4Address if match["kind"] == b"4" else ipaddress.IPv6Address
        try:
            source = kind(match["source"].decode())
            kind(match["target"].decode())
        except ValueError as error:
            raise ProxyHeaderError(f"malformed: {error}") from error
        port, target_port = int(match["port"]), int(match["target_port"])
        if max(port, target_port) > 65535:
            raise ProxyHeaderError(f"malformed: ports {port} and {target_port}")
        self.address = _address(source, port)
        self.done = True

    def _parse_v2(self, command: int, family: int, body: bytes) -> None:
        if command not in (_LOCAL, _PROXY):
            raise ProxyHeaderError(f"unknown version or command {command:#04x}")
        if command == _PROXY and family != _UNSPECIFIED:
            self.address = _address_of_v2(family, body)
        self.done = True


def _address_of_v2(family: int, body: bytes) -> Any:
    sizes = {_TCP4: 12, _TCP6: 36, _UNIX: 2 * _UNIX_PATH}
    if family not in sizes:
        raise ProxyHeaderError(f"unknown family or transport {family:#04x}")
    if len(body) < sizes[family]:
        raise ProxyHeaderError(f"{len(body)} bytes are too few for an address")
    if family == _TCP4:
        return _address(
            ipaddress.IPv4Address(body[:4]), struct.unpack_from("!H", body, 8)[0]
        )
    if family == _TCP6:
        return _address(
            ipaddress.IPv6Address(body[:16]), struct.unpack_from("!H", body, 32)[0]
        )
    return os.fsdecode(body[:_UNIX_PATH].partition(b"\0")[0])


def _address(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> Any:
    return (str(ip), port) if ip.version == 4 else (str(ip), port, 0, 0)


class Greeting:
    """A connection whose PROXY header is awaited.

    ``done(sock, address)`` is called once with the socket and what the header said
    (``address`` as accepted, where it named nobody), or with None when there is no
    connection to be had any more: it was closed, sent something else, or took longer
    than ``timeout`` seconds (None: no limit).
    """

    def __init__(
        self,
        sock: socket.socket,
        address: Any,
        timeout: float | None,
        done: Callable[[Greeting, socket.socket | None, Any], None],
    ) -> None:
        self._sock = sock
        self._address = address
        self._done = done
        self._header = ProxyHeader()
        self._loop = IOLoop.current()
        self._loop.add_handler(sock, self._readable, IOLoop.READ)
        self._timer: object | None = None
        if timeout is not None:
            self._timer = self._loop.call_later(timeout, self.close)

    def close(self) -> None:
        """Close the connection, if it is still here."""
        if self._leave():
            done, self._done = self._done, _nobody
            self._sock.close()
            done(self, None, self._address)

    def _leave(self) -> bool:
        if self._done is _nobody:
            return False
        self._loop.remove_handler(self._sock)
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
        return True

    def _readable(self, sock: Any, events: int) -> None:
        try:
            # What is looked at and belongs to somebody else stays in the kernel; what
            # is part of the header is taken at once, so that nothing is seen twice.
            seen = self._sock.recv(_V2_MOST, socket.MSG_PEEK)
            if not seen:
                self.close()
                return
            used = self._header.feed(seen)
            if used:
                self._sock.recv(used)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, ProxyHeaderError) as error:
            gen_log.info("No PROXY header from %s: %s", self._address, error)
            self.close()
            return
        if self._header.done and self._leave():
            done, self._done = self._done, _nobody
            done(self, self._sock, self._header.address or self._address)


def _nobody(greeting: Greeting, sock: socket.socket | None, address: Any) -> None:
    """Stands in the place of who was told already."""
