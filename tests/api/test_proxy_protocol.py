"""HTTPServer(proxy_protocol=True): headers of both versions, byte by byte too."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import Any

import pytest
from raw_http import CERTIFICATE, KEY
from test_httpserver_limits import HEAD, SHORT, run, serving, status, talk

from pyfastloop import web
from pyfastloop._proxy_protocol import ProxyHeader, ProxyHeaderError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = HEAD + b"Connection: close\r\n\r\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


IPV4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2")
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(16)
PORTS = struct.pack("!HH", 5000, 443)

GOOD = {
    "TCP4": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\r\n", ("192.0.2.1", 5000)),
    "TCP6": (b"PROXY TCP6 2001:db8::1 ::1 5000 443\r\n", ("2001:db8::1", 5000, 0, 0)),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "UNKNOWN with more": (b"PROXY UNKNOWN ffff:f::f ::1 1 2\r\n", None),
    "v2 TCP4": (v2(0x21, 0x11, IPV4 + PORTS), ("192.0.2.1", 5000)),
    "v2 TCP6": (v2(0x21, 0x21, IPV6 + PORTS), ("2001:db8::1", 5000, 0, 0)),
    "v2 with a TLV": (
        v2(0x21, 0x11, IPV4 + PORTS + b"\x04\0\x03abc"),
        ("192.0.2.1", 5000),
    ),
    "v2 unix": (v2(0x21, 0x31, b"/run/x".ljust(108, b"\0") + bytes(108)), "/run/x"),
    "v2 LOCAL": (v2(0x20, 0x00, b""), None),
    "v2 LOCAL with addresses": (v2(0x20, 0x11, IPV4 + PORTS), None),
    "v2 unspecified": (v2(0x21, 0x00, b"abc"), None),
}

BAD = {
    "a request": b"GET / HTTP/1.1\r\n",
    "small letters": b"proxy TCP4 192.0.2.1 192.0.2.2 5000 443\r\n",
    "another protocol": b"PROXY UDP4 192.0.2.1 192.0.2.2 5000 443\r\n",
    "a bare LF": b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 443\n",
    "a wrong family": b"PROXY TCP4 2001:db8::1 ::1 5000 443\r\n",
    "a port that is too large": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
    "their port": b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 65536\r\n",
    "a port with a zero": b"PROXY TCP4 192.0.2.1 192.0.2.2 05000 443\r\n",
    "no address": b"PROXY TCP4 192.0.2 192.0.2.2 5000 443\r\n",
    "two spaces": b"PROXY  TCP4 192.0.2.1 192.0.2.2 5000 443\r\n",
    "too few parts": b"PROXY TCP4 192.0.2.1 192.0.2.2 5000\r\n",
    "a long line": b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
    "an endless line": b"PROXY UNKNOWN " + b"x" * 200,
    "v2 another version": v2(0x11, 0x11, IPV4 + PORTS),
    "v2 another command": v2(0x22, 0x11, IPV4 + PORTS),
    "v2 datagrams": v2(0x21, 0x12, IPV4 + PORTS),
    "v2 too short": v2(0x21, 0x11, IPV4),
    "v2 too long": v2(0x21, 0x11, IPV4 + PORTS + bytes(5000)),
    "v2 another signature": b"\r\n\r\n\0\r\nQUIT\r" + bytes(4),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_header(name: str, step: int) -> None:
    data, address = GOOD[name]
    header = ProxyHeader()
    stream = data + b"GET / HTTP/1.1\r\n"
    at = 0
    while not header.done:
        piece = stream[at : at + step]
        at += header.feed(piece)
    assert at == len(data)
    assert header.address == address


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [1, 10_000])
def test_no_header(name: str, step: int) -> None:
    header = ProxyHeader()
    with pytest.raises(ProxyHeaderError):
        for at in range(0, len(BAD[name]), step):
            header.feed(BAD[name][at : at + step])
    assert not header.done


class WhoAmI(web.RequestHandler):
    def get(self) -> None:
        self.write(f"{self.request.remote_ip} {self.request.protocol}")


APP = [("/", WhoAmI)]


@pytest.mark.parametrize("name", ["TCP4", "TCP6", "v2 TCP4", "v2 LOCAL"])
def test_the_address_of_a_request(name: str) -> None:
    data, address = GOOD[name]

    async def main() -> list[bytes]:
        async with serving(web.Application(APP), proxy_protocol=True) as port:
            whole = await talk(port, data + REQUEST)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for i in range(len(data + REQUEST)):
                writer.write((data + REQUEST)[i : i + 1])
                await writer.drain()
                await asyncio.sleep(0)
            pieces = await reader.read()
            writer.close()
            return [whole, pieces]

    ip = address[0] if address else "127.0.0.1"
    for answer in run(main):
        assert answer.endswith(f"\r\n\r\n{ip} http".encode())


@pytest.mark.parametrize("name", ["TCP4", "v2 TCP6"])
def test_before_tls(name: str) -> None:
    data, address = GOOD[name]
    trust = ssl.create_default_context(cafile=CERTIFICATE)
    trust.check_hostname = False

    async def main() -> Any:
        files = {"certfile": CERTIFICATE, "keyfile": KEY}
        async with serving(
            web.Application(APP), proxy_protocol=True, ssl_options=files
        ) as port:
            loop = asyncio.get_running_loop()

            def peer() -> bytes:
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall(data)
                    with trust.wrap_socket(sock) as tls:
                        tls.sendall(REQUEST)
                        return b"".join(iter(lambda: tls.recv(4096), b""))

            return await loop.run_in_executor(None, peer)

    assert run(main).endswith(f"\r\n\r\n{address[0]} https".encode())


@pytest.mark.parametrize(
    ("sent", "settings"),
    [
        (BAD["a request"], {}),
        (BAD["v2 datagrams"], {}),
        (b"PROXY TCP4 ", {"first_timeout": SHORT}),
        (b"", {"first_timeout": SHORT}),
    ],
)
def test_who_is_no_proxy_is_closed(sent: bytes, settings: dict[str, Any]) -> None:
    async def main() -> bytes:
        async with serving(
            web.Application(APP), proxy_protocol=True, **settings
        ) as port:
            try:
                return await talk(port, sent)
            except ConnectionResetError:
                return b""

    assert run(main) == b""


def test_a_header_is_nothing_unasked() -> None:
    async def main() -> bytes:
        async with serving(web.Application(APP)) as port:
            return await talk(port, GOOD["TCP4"][0] + REQUEST)

    assert status(run(main)) == 400
