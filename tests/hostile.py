"""A server under mixed hostile load, for the night: ``python tests/hostile.py``.

    python tests/hostile.py [--seconds 300] [--seed N]

A quarter of the time warms up, then everybody leaves and what the server holds is
noted; after the rest of the time it must hold no more: no descriptor, no connection,
and at most 16 MiB of memory above. Meanwhile good clients must get right answers, each
within GOOD_SECONDS. The server is a process of its own; nothing but its answers, its
log and its figures at /figures are looked at. Ends with status 1 and the reason
otherwise.

For a server built with sanitizers, name what is to be preloaded into it::

    export HOSTILE_PRELOAD="$(gcc -print-file-name=libasan.so)"
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import logging
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

GOOD_CLIENTS = 8
HOSTILE_CLIENTS = 32
GOOD_SECONDS = 20
SETTLE_SECONDS = 40
MAY_GROW = 16 * 1024 * 1024
FILE = bytes(range(256)) * 8192
FILE_DIGEST = hashlib.sha256(FILE).hexdigest()
LIMIT = 1024 * 1024  # of a body
TROUBLE = re.compile(
    r"AddressSanitizer|LeakSanitizer|runtime error|Uncaught exception|"
    r"Exception in callback|Fatal Python error|never awaited|never retrieved"
)


# ---- the server ----------------------------------------------------------------------


def serve(folder: str) -> None:
    from pyfastloop import httpserver, ioloop, iostream, web

    class Hello(web.RequestHandler):
        def get(self) -> None:
            self.write("hello " + self.get_argument("name", "you"))

    class Echo(web.RequestHandler):
        def post(self) -> None:
            self.write(self.request.body)

    class Slow(web.RequestHandler):
        async def get(self) -> None:
            for piece in ("a", "b", "c"):
                self.write(piece)
                try:
                    await self.flush()
                except iostream.StreamClosedError:
                    return  # the client has left
                await asyncio.sleep(0.01)

    @web.stream_request_body
    class Upload(web.RequestHandler):
        def initialize(self) -> None:
            self.digest = hashlib.sha256()

        async def data_received(self, chunk: bytes) -> None:
            await asyncio.sleep(0)
            self.digest.update(chunk)

        def post(self) -> None:
            self.write(self.digest.hexdigest())

    class Figures(web.RequestHandler):
        def get(self) -> None:
            resident = int(Path("/proc/self/statm").read_text().split()[1])
            stats = ioloop.IOLoop.current().asyncio_loop.stats()  # type: ignore[attr-defined]
            self.write(
                {
                    "descriptors": len(os.listdir("/proc/self/fd")),
                    "resident": resident * os.sysconf("SC_PAGE_SIZE"),
                    "open": stats["open"],
                    "connections": stats["connections"],
                }
            )

    app = web.Application(
        [
            ("/hello", Hello),
            ("/echo", Echo),
            ("/slow", Slow),
            ("/upload", Upload),
            ("/figures", Figures),
        ],
        static_path=folder,
        compress_response=True,
    )
    server = httpserver.HTTPServer(
        app,
        max_body_size=LIMIT,
        header_timeout=2,
        first_timeout=2,
        body_gap_timeout=2,
        rate_grace=3,
        write_timeout=3,
        half_closed_timeout=2,
        linger_timeout=1,
        decompress_request=False,
    )
    server.listen(0, "127.0.0.1")
    (sock,) = server._sockets.values()
    print(sock.getsockname()[1], flush=True)
    loop = ioloop.IOLoop.current()
    loop.asyncio_loop.add_signal_handler(signal.SIGTERM, loop.stop)  # type: ignore[attr-defined]
    loop.start()


# ---- clients -------------------------------------------------------------------------


def head(path: str, method: str = "GET", **fields: object) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: a"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One response: status and body."""
    raw = await reader.readuntil(b"\r\n\r\n")
    status = int(raw[9:12])
    if b"chunked" in raw.lower():
        body = b""
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            piece = await reader.readexactly(size + 2)
            if size == 0:
                return status, body
            body += piece[:-2]
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", raw)
    return status, await reader.readexactly(int(found[1]) if found else 0)


class Load:
    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.stop = False

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def good(self) -> None:
        """Asks for what it knows the answer of; anything else is the failure."""
        while not self.stop:
            reader, writer = await self.connect()
            for _ in range(self.random.randrange(1, 20)):
                if self.stop:
                    break
                async with asyncio.timeout(GOOD_SECONDS):
                    await self.good_exchange(reader, writer)
                self.done["good"] += 1
            writer.close()

    async def good_exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        body = self.random.randbytes(self.random.randrange(1, 50_000))
        kind = self.random.randrange(5)
        if kind == 0:
            writer.write(head("/hello?name=x") * 3)
            expected = [b"hello x"] * 3
        elif kind == 1:
            writer.write(head("/echo", "POST", Content_Length=len(body)) + body)
            expected = [body]
        elif kind == 2:
            writer.write(head("/slow"))
            expected = [b"abc"]
        elif kind == 3:
            writer.write(head("/upload", "POST", Transfer_Encoding="chunked"))
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            expected = [hashlib.sha256(body).hexdigest().encode()]
        else:
            writer.write(head("/static/file"))
            expected = [FILE]
        for one in expected:
            status, got = await answer(reader)
            if status != 200 or got != one:
                raise AssertionError(f"kind {kind}: {status}, {got[:80]!r}")

    async def hostile(self) -> None:
        kinds = [
            getattr(self, name) for name in dir(self) if name.startswith("hostile_")
        ]
        while not self.stop:
            kind = self.random.choice(kinds)
            try:
                reader, writer = await self.connect()
            except OSError:
                continue
            try:
                async with asyncio.timeout(6):
                    await kind(reader, writer)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
                pass
            finally:
                self.done[kind.__name__] += 1
                if self.random.random() < 0.3:
                    reset(writer)
                writer.close()

    async def nap(self, most: float) -> None:
        await asyncio.sleep(self.random.random() * most)

    async def hostile_half_request(self, reader: Any, writer: Any) -> None:
        whole = head("/echo", "POST", Content_Length=1000) + b"x" * 1000
        writer.write(whole[: self.random.randrange(len(whole))])
        await self.nap(3)

    async def hostile_random_bytes(self, reader: Any, writer: Any) -> None:
        writer.write(self.random.randbytes(self.random.randrange(1, 20_000)))
        await reader.read(1000)

    async def hostile_mutated(self, reader: Any, writer: Any) -> None:
        whole = bytearray(head("/echo", "POST", Transfer_Encoding="chunked"))
        whole += b"5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n" + head("/hello")
        for _ in range(self.random.randrange(1, 5)):
            whole[self.random.randrange(len(whole))] = self.random.randrange(256)
        writer.write(bytes(whole))
        await self.nap(0.2)
        await reader.read(1000)

    async def hostile_slow_reader(self, reader: Any, writer: Any) -> None:
        reader._transport.pause_reading()
        writer.write(head("/static/file") * self.random.randrange(1, 10))
        await self.nap(5)

    async def hostile_dripping(self, reader: Any, writer: Any) -> None:
        for byte in head("/hello", X_Long="x" * 50):
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        await reader.read(1000)

    async def hostile_slow_body(self, reader: Any, writer: Any) -> None:
        writer.write(head("/upload", "POST", Content_Length=100_000))
        for _ in range(30):
            writer.write(b"x")
            await self.nap(0.4)

    async def hostile_reset(self, reader: Any, writer: Any) -> None:
        path = self.random.choice(["/slow", "/static/file", "/hello"])
        writer.write(head(path) * self.random.randrange(1, 5))
        await self.nap(0.05)
        reset(writer)

    async def hostile_pipeline(self, reader: Any, writer: Any) -> None:
        bad = self.random.choice([b"GET / HTTP/9.9\r\n\r\n", b"\0", head("/hello")])
        writer.write(head("/hello") * self.random.randrange(1, 300) + bad)
        while await reader.read(65536):
            pass

    async def hostile_early_end(self, reader: Any, writer: Any) -> None:
        writer.write(head("/slow") + head("/hello"))
        writer.write_eof()
        while await reader.read(65536):
            pass

    async def hostile_oversize(self, reader: Any, writer: Any) -> None:
        writer.write(
            self.random.choice(
                [
                    head("/hello", X=("y" * 70_000)),
                    head("/" + "z" * 70_000),
                    head("/hello", **{f"X{i}": i for i in range(400)}),
                    head("/echo", "POST", Content_Length=LIMIT + 1) + b"x" * 300_000,
                    head("/echo", "POST", Transfer_Encoding="chunked")
                    + b"fffff\r\n"
                    + b"x" * 0xFFFFF
                    + b"\r\nfff\r\n"
                    + b"x" * 5000,
                    head("/echo", "POST", Transfer_Encoding="chunked")
                    + b"1\r\nx\r\n" * 30_000,
                    head("/echo", "POST", Transfer_Encoding="chunked")
                    + b"1;"
                    + b"e" * 5000
                    + b"\r\nx\r\n",
                ]
            )
        )
        while await reader.read(65536):
            pass

    async def hostile_upgrade(self, reader: Any, writer: Any) -> None:
        writer.write(
            self.random.choice(
                [
                    head("/hello", Connection="upgrade", Upgrade="websocket"),
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head("/hello"),
                    head("/echo", "POST", Expect="100-continue", Content_Length=9),
                ]
            )
        )
        await reader.read(1000)

    async def hostile_silence(self, reader: Any, writer: Any) -> None:
        await self.nap(4)


def reset(writer: asyncio.StreamWriter) -> None:
    """Makes the coming close a reset."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )


async def figures(port: int) -> dict[str, int]:
    async with asyncio.timeout(GOOD_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head("/figures", Connection="close"))
        _, body = await answer(reader)
        writer.close()
    found: dict[str, int] = json.loads(body)
    return found


async def settled(port: int) -> dict[str, int]:
    """The server's figures once only those who ask for them are connected."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = await figures(port)
        if found["open"] <= 1:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"connections stay after {SETTLE_SECONDS} s: {found}")
        await asyncio.sleep(0.5)


async def phase(load: Load, seconds: float) -> None:
    load.stop = False
    tasks = [asyncio.create_task(load.good()) for _ in range(GOOD_CLIENTS)]
    others: list[Callable[[], Awaitable[None]]] = [load.hostile] * HOSTILE_CLIENTS
    tasks += [asyncio.ensure_future(one()) for one in others]  # type: ignore[arg-type]
    done, _ = await asyncio.wait(
        tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
    )
    load.stop = True
    await asyncio.wait(tasks, timeout=GOOD_SECONDS + 10)
    for task in tasks:
        if not task.done():
            task.cancel()
            raise AssertionError("a client hangs")
        task.result()
    assert not done or seconds == 0 or load.done


async def run(port: int, seconds: float, seed: int) -> None:
    load = Load(port, seed)
    await phase(load, seconds / 4)
    before = await settled(port)
    await phase(load, seconds * 3 / 4)
    after = await settled(port)
    for name, count in sorted(load.done.items()):
        print(f"{count:8,} {name}")
    print(f"before {before}\nafter  {after}")
    grown = after["resident"] - before["resident"]
    if after["descriptors"] > before["descriptors"]:
        raise AssertionError("descriptors were not given back")
    if grown > MAY_GROW:
        raise AssertionError(f"memory has grown by {grown:,} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # writes after a reset
    print(f"seed {options.seed}")
    environment = dict(os.environ)
    if "HOSTILE_PRELOAD" in environment:
        environment["LD_PRELOAD"] = environment["HOSTILE_PRELOAD"]
        environment["PYTHONMALLOC"] = "malloc"
        # Freed memory is kept from use for a while: a little is enough, and is bounded.
        environment["ASAN_OPTIONS"] = "detect_leaks=0:quarantine_size_mb=8"
        environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(FILE)
        log = Path(folder) / "log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [sys.executable, __file__, "--serve", folder],
                stdout=subprocess.PIPE,
                stderr=out,
                env=environment,
            )
        assert server.stdout is not None
        try:
            asyncio.run(
                run(int(server.stdout.readline()), options.seconds, options.seed)
            )
            server.send_signal(signal.SIGTERM)
            status = server.wait(30)
            why = f"the server ended with status {status}" if status else ""
        except (AssertionError, TimeoutError, OSError, EOFError) as error:
            why = f"{type(error).__name__}: {error}"
        finally:
            server.kill()
            server.wait()
        said = log.read_text(errors="replace")
    trouble = [line for line in said.splitlines() if TROUBLE.search(line)]
    if trouble or why:
        print(said[-20_000:])
        print("FAILED:", why or trouble[0])
        return 1
    print("nothing was lost, and every good client got its answers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
