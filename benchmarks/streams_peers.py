"""The other ends of ``python -m benchmarks streams``, in processes of their own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.http_servers import compiled

AT_ONCE = 32
RESET = struct.pack("ii", 1, 0)


@contextlib.contextmanager
def child(run: Callable[[], None]) -> Iterator[None]:
    """run() in a fork on the other core; it is ended with the block."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setaffinity(0, machine.cores()[1])
            run()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def knocking(address: Any, n: int) -> contextlib.AbstractContextManager[None]:
    """A peer that makes n connections, some at once, and waits until each is closed."""

    def run() -> None:
        left = n
        while left > 0:
            many = min(left, AT_ONCE)
            left -= many
            open_ones = [socket.create_connection(address) for _ in range(many)]
            for one in open_ones:
                assert one.recv(1) == b""
                # No connection is left behind in TIME_WAIT.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                one.close()

    return child(run)


def holding(address: Any, n: int) -> contextlib.AbstractContextManager[None]:
    """A peer that makes n connections and keeps them open, silent."""

    def run() -> None:
        kept = [socket.create_connection(address) for _ in range(n)]
        select.select([], [], [])
        del kept

    return child(run)


@contextlib.contextmanager
def in_c(*arguments: object, core: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """c/streams.c with these arguments, pinned; its output in a pipe."""
    with tempfile.TemporaryDirectory() as work:
        program = compiled(Path(work), "c/streams.c")
        process = subprocess.Popen(
            [program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, machine.cores()[core]),
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def asking(port: int, size: int) -> contextlib.AbstractContextManager[Any]:
    """A peer that sends messages of size bytes and awaits each one's echo, for ever."""
    return in_c("ask", size, port, core=1)
