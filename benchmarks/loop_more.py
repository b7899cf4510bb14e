"""What the rows of ``loop`` cost with Tornado's own means, and the least in C.

tornado and pyfastloop-ioloop do by IOLoop, streams and futures what the other
contestants do by asyncio's face; floor is a C program that makes the same system calls
and nothing else (benchmarks/floor/loop_echo.c).
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.http_servers import compiled
from benchmarks.micro import Outcome, modules

IOLOOP = ["pyfastloop-ioloop", "tornado"]
ECHOES = {
    "protocol-1k": ("tcp", 1024),
    "protocol-64k": ("tcp", 65536),
    "streams-1k": ("tcp", 1024),
    "streams-64k": ("tcp", 65536),
    "udp": ("udp", 1024),
}


def floor(name: str, n: int) -> Outcome:
    kind, size = ECHOES[name]
    with tempfile.TemporaryDirectory() as directory:
        program = compiled(Path(directory), "floor/loop_echo.c")
        done = subprocess.run(
            [program, kind, str(size), str(n)],
            capture_output=True,
            text=True,
            check=True,
        )
    return n, float(done.stdout)


def future(loop: Any, package: str, n: int) -> None:
    (concurrent,) = modules(package, "concurrent")
    left = n

    def done(f: Any) -> None:
        nonlocal left
        left -= 1
        if left:
            step()
        else:
            loop.stop()

    def step() -> None:
        f = concurrent.Future()
        loop.add_future(f, done)
        f.set_result(None)

    loop.add_callback(step)
    loop.start()


async def streams_echo(package: str, n: int, size: int) -> None:
    tcpserver, tcpclient, netutil = modules(
        package, "tcpserver", "tcpclient", "netutil"
    )
    message = b"x" * size

    class Echo(tcpserver.TCPServer):  # type: ignore[misc,name-defined]
        async def handle_stream(self, stream: Any, address: Any) -> None:
            stream.set_nodelay(True)
            for _ in range(n):
                await stream.write(await stream.read_bytes(size))

    server = Echo()
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    client = tcpclient.TCPClient()
    stream = await client.connect("127.0.0.1", sockets[0].getsockname()[1])
    stream.set_nodelay(True)
    for _ in range(n):
        await stream.write(message)
        await stream.read_bytes(size)
    stream.close()
    client.close()
    server.stop()


async def processes(package: str, n: int) -> None:
    (process,) = modules(package, "process")
    process.Subprocess.initialize()
    for _ in range(n):
        child = process.Subprocess(["true"], stdout=process.Subprocess.STREAM)
        await child.stdout.read_until_close()
        await child.wait_for_exit(raise_error=False)
    process.Subprocess.uninitialize()  # the next run has another loop


def run(name: str, contestant: str, loop: Any, n: int) -> Outcome:
    """One row by Tornado's means."""
    package = "tornado" if contestant == "tornado" else "pyfastloop"
    if name == "future":
        future(loop, package, n)
    elif name == "subprocess":
        loop.run_sync(lambda: processes(package, n))
    else:
        loop.run_sync(lambda: streams_echo(package, n, ECHOES[name][1]))
    return None


TORNADO = ["future", "streams-1k", "streams-64k", "subprocess"]
