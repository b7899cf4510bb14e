"""The HTTP clients of ``python -m benchmarks client``, and the process that runs one.

``python -m benchmarks.client_contestants NAME URL AT_ONCE SECONDS SIZE CA_FILE``
fetches URL with AT_ONCE coroutines for so many seconds, after a first part that is
thrown away, and prints what it counted as JSON. Every answer is checked: status and
length.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from benchmarks import machine

MAX_CLIENTS = 64

#: Gives the status of an answer and its body, all of it read.
Fetch = Callable[[], Awaitable[tuple[int, bytes]]]

#: What each needs to be installed.
CONTESTANTS: dict[str, list[str]] = {
    "floor": [],
    "pyfastloop": ["pyfastloop"],
    "tornado": ["tornado"],
    "tornado-uvloop": ["tornado", "uvloop"],
    "aiohttp": ["aiohttp"],
    "aiohttp-uvloop": ["aiohttp", "uvloop"],
    "httpx": ["httpx"],
}


@asynccontextmanager
async def _tornado_api(module: Any, url: str, ca_file: str) -> AsyncIterator[Fetch]:
    client = module.AsyncHTTPClient(force_instance=True, max_clients=MAX_CLIENTS)
    options = {"ca_certs": ca_file} if url.startswith("https") else {}

    async def fetch() -> tuple[int, bytes]:
        response = await client.fetch(url, **options)
        return response.code, response.body

    try:
        yield fetch
    finally:
        client.close()


@asynccontextmanager
async def _aiohttp(url: str, ca_file: str) -> AsyncIterator[Fetch]:
    import aiohttp

    context = ssl.create_default_context(cafile=ca_file)
    connector = aiohttp.TCPConnector(limit=MAX_CLIENTS, ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def fetch() -> tuple[int, bytes]:
            async with session.get(url) as response:
                return response.status, await response.read()

        yield fetch


@asynccontextmanager
async def _httpx(url: str, ca_file: str) -> AsyncIterator[Fetch]:
    import httpx

    context = ssl.create_default_context(cafile=ca_file)
    limits = httpx.Limits(
        max_connections=MAX_CLIENTS, max_keepalive_connections=MAX_CLIENTS
    )
    async with httpx.AsyncClient(verify=context, limits=limits) as client:

        async def fetch() -> tuple[int, bytes]:
            response = await client.get(url)
            return response.status_code, response.content

        yield fetch


def client_of(name: str, url: str, ca_file: str) -> Any:
    if name == "pyfastloop":
        from pyfastloop import httpclient

        return _tornado_api(httpclient, url, ca_file)
    if name.startswith("tornado"):
        from tornado import httpclient as tornado_httpclient

        return _tornado_api(tornado_httpclient, url, ca_file)
    return _httpx(url, ca_file) if name == "httpx" else _aiohttp(url, ca_file)


def loop_factory_of(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "pyfastloop":
        import pyfastloop

        return pyfastloop.new_event_loop
    if name.endswith("uvloop"):
        import uvloop

        return uvloop.new_event_loop
    return None


class Count:
    """What the workers did; `times` are the microseconds of each fetch."""

    def __init__(self) -> None:
        self.fetches = 0
        self.times: list[float] = []
        self.until = 0.0


async def work(fetch: Fetch, size: int, count: Count) -> None:
    while True:
        before = time.monotonic()
        if before >= count.until:
            return
        status, body = await fetch()
        count.times.append(time.monotonic() - before)
        count.fetches += 1
        if status != 200 or len(body) != size:
            raise RuntimeError(f"the answer was {status}, {len(body)} bytes")


async def fetches(fetch: Fetch, at_once: int, seconds: float, size: int) -> Count:
    count = Count()
    count.until = time.monotonic() + seconds
    await asyncio.gather(*(work(fetch, size, count) for _ in range(at_once)))
    return count


def floor(url: str, at_once: int, seconds: float, size: int, ca_file: str) -> Count:
    """What nobody can go below: blocking sockets that are kept, the same question sent
    over all of them, as many bytes read as the first answer had, into memory that is
    there already. Nothing is parsed and nothing waits for events."""
    parts = urlsplit(url)
    where = (parts.hostname or "", parts.port or 0)
    question = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    room = memoryview(bytearray(size + 65536))
    count = Count()
    with contextlib.ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(at_once):
            one = socket.create_connection(where, 10)
            if parts.scheme == "https":
                context = ssl.create_default_context(cafile=ca_file)
                one = context.wrap_socket(one, server_hostname=parts.hostname)
            connections.append(stack.enter_context(one))
        connections[0].sendall(question)
        first = b""
        while b"\r\n\r\n" not in first:
            first += connections[0].recv(65536)
        whole = len(first.partition(b"\r\n\r\n")[0]) + 4 + size
        left = whole - len(first)
        while left:
            left -= connections[0].recv_into(room, left)
        if not first.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the answer was {first[:60]!r}")
        count.until = time.monotonic() + seconds
        while (before := time.monotonic()) < count.until:
            for one in connections:
                one.sendall(question)
            for one in connections:
                left = whole
                while left:
                    left -= one.recv_into(room, left)
                count.times.append(time.monotonic() - before)
            count.fetches += at_once
    return count


def run_floor(url: str, at_once: int, seconds: float, size: int, ca_file: str) -> None:
    floor(url, at_once, seconds / 4, size, ca_file)
    cpu, wall = time.process_time(), time.monotonic()
    count = floor(url, at_once, seconds, size, ca_file)
    tell(count, time.process_time() - cpu, time.monotonic() - wall)


def tell(count: Count, cpu: float, wall: float) -> None:
    times = sorted(count.times)
    result = {
        "fetches": count.fetches,
        "cpu_us": cpu / count.fetches * 1e6,
        "rate": count.fetches / wall,
        "p50_us": times[len(times) // 2] * 1e6,
        "p99_us": times[len(times) * 99 // 100] * 1e6,
    }
    print(json.dumps(result))


async def main(
    name: str, url: str, at_once: int, seconds: float, size: int, ca_file: str
) -> None:
    async with client_of(name, url, ca_file) as fetch:
        # Connections are opened, modules imported, caches filled.
        await fetches(fetch, at_once, seconds / 4, size)
        gc.collect()
        cpu, wall = time.process_time(), time.monotonic()
        count = await fetches(fetch, at_once, seconds, size)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    tell(count, cpu, wall)


if __name__ == "__main__":
    os.sched_setaffinity(0, machine.cores()[0])
    which, where, many, span, length, ca = sys.argv[1:]
    asked = (where, int(many), float(span), int(length), ca)
    if which == "floor":
        run_floor(*asked)
    else:
        with asyncio.Runner(loop_factory=loop_factory_of(which)) as runner:
            runner.run(main(which, *asked))
