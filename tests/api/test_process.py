"""Workers and subprocesses."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
from streams import on_loop

from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import PipeIOStream
from pyfastloop.process import (
    CalledProcessError,
    Subprocess,
    cpu_count,
    fork_processes,
    task_id,
)


def run_script(script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_cpu_count_is_positive() -> None:
    assert cpu_count() >= 1


def test_task_id_is_none_outside_of_workers() -> None:
    assert task_id() is None


def test_workers_get_their_numbers_and_the_parent_exits() -> None:
    done = run_script(
        """
        import os
        from pyfastloop.process import fork_processes, task_id
        number = fork_processes(3)
        assert number == task_id()
        os.write(1, f"{number}\\n".encode())
        """
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["0", "1", "2"]


def test_worker_that_fails_is_started_again() -> None:
    done = run_script(
        """
        import logging, os, signal, sys, tempfile
        logging.basicConfig(level=logging.INFO)
        from pyfastloop.process import fork_processes
        marks = tempfile.mkdtemp()
        number = fork_processes(2, max_restarts=5)
        try:
            os.mkdir(f"{marks}/{number}")
        except FileExistsError:
            os.write(1, f"again {number}\\n".encode())
            sys.exit(0)
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(3)
        """
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["again 0", "again 1"]
    assert "killed by signal 9, restarting" in done.stderr
    assert "exited with status 3, restarting" in done.stderr
    assert done.stderr.count("exited normally") == 2


def test_restarts_are_bounded() -> None:
    done = run_script(
        """
        import sys
        from pyfastloop.process import fork_processes
        fork_processes(1, max_restarts=2)
        sys.exit(1)
        """
    )
    assert done.returncode == 1
    assert "too many child restarts" in done.stderr


@on_loop
async def test_forking_with_a_loop_is_refused() -> None:
    IOLoop.current()
    with pytest.raises(RuntimeError, match="IOLoop already"):
        fork_processes(2)


def python(script: str) -> list[str]:
    return [sys.executable, "-S", "-c", script]


@on_loop
async def test_streams_to_and_from_a_child() -> None:
    child = Subprocess(
        ["cat"], stdin=Subprocess.STREAM, stdout=Subprocess.STREAM, close_fds=True
    )
    assert isinstance(child.stdin, PipeIOStream)
    data = os.urandom(300_000)
    child.stdin.write(data)
    assert await child.stdout.read_bytes(len(data)) == data
    child.stdin.close()
    assert await child.stdout.read_until_close() == b""
    assert await child.wait_for_exit() == 0
    assert child.returncode == 0 and child.pid == child.proc.pid


@on_loop
async def test_stderr_can_be_a_stream() -> None:
    child = Subprocess(
        python("import sys; sys.stderr.write('oops')"), stderr=Subprocess.STREAM
    )
    assert await child.stderr.read_until_close() == b"oops"
    assert child.stdout is None
    await child.wait_for_exit()


@on_loop
async def test_exit_callback_gets_the_code() -> None:
    Subprocess.initialize()
    child = Subprocess(python("raise SystemExit(7)"))
    code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    child.set_exit_callback(code.set_result)
    assert await code == 7
    late: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    child.set_exit_callback(late.set_result)
    assert await late == 7
    Subprocess.uninitialize()


@on_loop
async def test_wait_for_exit_raises_unless_told_not_to() -> None:
    with pytest.raises(CalledProcessError) as caught:
        await Subprocess(python("raise SystemExit(2)")).wait_for_exit()
    assert caught.value.returncode == 2
    child = Subprocess(python("raise SystemExit(2)"))
    assert await child.wait_for_exit(raise_error=False) == 2
    child = Subprocess(python("import time; time.sleep(1000)"))
    child.proc.send_signal(signal.SIGTERM)
    assert await child.wait_for_exit(raise_error=False) == -signal.SIGTERM


@on_loop
async def test_other_children_keep_their_status() -> None:
    other = subprocess.Popen(python("raise SystemExit(9)"))
    ours = [Subprocess(python(f"raise SystemExit({i})")) for i in range(4)]
    codes = [await child.wait_for_exit(raise_error=False) for child in ours]
    assert codes == [0, 1, 2, 3]
    assert other.wait(60) == 9


@on_loop
async def test_exit_is_told_though_a_thread_waits_for_it_too() -> None:
    for _ in range(30):
        child = Subprocess(["cat"], stdin=subprocess.PIPE)
        thread = threading.Thread(target=child.proc.wait)
        thread.start()
        ended = child.wait_for_exit()
        child.stdin.close()
        assert await ended == 0
        thread.join()


def test_closed_loop_takes_the_descriptor_of_a_wait_along() -> None:
    children = []

    async def wait() -> None:
        children.append(Subprocess(["cat"], stdin=subprocess.PIPE))
        children[0].set_exit_callback(print)

    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    loop = IOLoop(make_current=False)
    loop.run_sync(wait)
    loop.close()
    (child,) = children
    child.stdin.close()
    child.proc.wait()
    del children[:], child, loop
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@on_loop
async def test_program_that_is_not_there_leaves_no_descriptors() -> None:
    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Subprocess(["/no/such/program"], stdin=Subprocess.STREAM)
    assert len(os.listdir("/proc/self/fd")) == before


@on_loop
async def test_io_loop_of_another_thread_is_refused() -> None:
    loop: Any = object()
    with pytest.raises(ValueError, match="current IOLoop"):
        Subprocess(["true"], io_loop=loop)
