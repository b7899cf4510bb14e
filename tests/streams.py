"""What the tests of streams share: connected pairs, and tests that are coroutines."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from pyfastloop import aio
from pyfastloop.iostream import IOStream

Main = Callable[..., Coroutine[Any, Any, None]]


def on_loop(main: Main) -> Callable[..., None]:
    """Runs a coroutine function as a test on a fresh loop, 60 s at most."""

    @functools.wraps(main)
    def test(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            import asyncio

            await asyncio.wait_for(main(*args, **kwargs), 60)

        aio.run(bounded())

    return test


def pair(**kwargs: Any) -> tuple[IOStream, IOStream]:
    """Two streams that are connected to each other by a socket pair."""
    left, right = socket.socketpair()
    return IOStream(left, **kwargs), IOStream(right, **kwargs)


def tcp_sockets() -> tuple[socket.socket, socket.socket]:
    """Two TCP sockets on loopback that are connected to each other."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    return client, accepted


def tcp_pair(**kwargs: Any) -> tuple[IOStream, IOStream]:
    client, accepted = tcp_sockets()
    return IOStream(client, **kwargs), IOStream(accepted, **kwargs)


def reset(sock: socket.socket) -> None:
    """Close a TCP socket so that its peer gets a reset."""
    import struct

    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
