"""What the benchmarks ask of the machine: cores, ports, processes, CPU time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def cores() -> tuple[set[int], set[int]]:
    """The core of the server and that of the load; the same where there is one."""
    mine = sorted(os.sched_getaffinity(0))
    return {mine[0]}, {mine[1] if len(mine) > 1 else mine[0]}


_bound: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody else gets: a socket that does not listen stays bound to it.

    A server can listen there that sets SO_REUSEADDR or SO_REUSEPORT, as servers do.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))
    _bound.append(sock)
    return int(sock.getsockname()[1])


def descendants(pid: int) -> list[int]:
    """pid and every living process below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for p in found:
        found.extend(children.get(p, ()))
    return found


_libc = ctypes.CDLL(None, use_errno=True)


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system seconds of living processes, all their threads.

    By clock_getcpuclockid(3): nanoseconds, where /proc/PID/stat counts ticks.
    """
    total = 0.0
    for pid in pids:
        clock = ctypes.c_int()
        error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
        if error:
            raise ProcessLookupError(error, os.strerror(error), f"process {pid}")
        total += time.clock_gettime(clock.value)
    return total


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of the processes, their shared pages counted by share (Pss)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        if process.poll() is not None:
            raise RuntimeError(
                f"it ended with status {process.returncode} at its start"
            )
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"it did not listen within {seconds:g} s") from None
            time.sleep(0.02)


@contextlib.contextmanager
def running(
    command: Sequence[str], on: set[int], log: Path, port: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, pinned, ended with its children."""
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    environment["PYTHONPATH"] = f"{ROOT}:{environment['PYTHONPATH']}".rstrip(":")
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, on),
        )
    try:
        if port is not None:
            wait_for_port(port, process, 60)
        yield process
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
                if sign is signal.SIGTERM:
                    continue
                break


def describe() -> str:
    model = "?"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    version = sys.version.split()[0]
    return (
        f"CPython {version}, {len(os.sched_getaffinity(0))} cores of {model}, "
        f"Linux {os.uname().release}, load {os.getloadavg()[0]:.1f}"
    )
