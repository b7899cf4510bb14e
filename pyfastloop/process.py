"""Processes: forking workers, and subprocesses whose pipes are streams.

A `Subprocess` learns of its child's end through a pidfd in the loop: no SIGCHLD handler
is installed and no other child's status is ever taken. So `Subprocess.initialize`,
which Tornado needs for its signal handler, has nothing to do here and may be called or
not.

`fork_processes` refuses to fork once this thread has an `.IOLoop`: its epoll descriptor
would be shared by all workers. (Tornado documents this and goes on.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from subprocess import CalledProcessError
from typing import Any, ClassVar

from pyfastloop import ioloop, stack_context
from pyfastloop.concurrent import (
    Future,
    future_set_exception_unless_cancelled,
    future_set_result_unless_cancelled,
)
from pyfastloop.iostream import PipeIOStream
from pyfastloop.log import gen_log

__all__ = [
    "CalledProcessError",
    "Subprocess",
    "cpu_count",
    "fork_processes",
    "task_id",
]

_task_id: int | None = None


def cpu_count() -> int:
    """The number of processors of this machine, at least 1."""
    return os.cpu_count() or 1


def fork_processes(num_processes: int | None, max_restarts: int | None = None) -> int:
    """Fork ``num_processes`` workers and give each its number, from 0, in the worker.

    ``None``, 0 or less means one for each processor. The parent never returns: it
    waits, starts a worker again that died of a signal or of a status other than 0, and
    exits when all have ended well. After ``max_restarts`` restarts (100 by default) it
    raises `RuntimeError`.

    Must come before any `.IOLoop` exists in this thread; sockets may be bound before.
    """
    global _task_id
    if _task_id is not None:
        raise RuntimeError(f"this process is a worker already (task {_task_id})")
    if ioloop.IOLoop.current(instance=False) is not None:
        raise RuntimeError(
            "cannot fork workers: this thread has an IOLoop already, which they would "
            "share; call fork_processes (or server.start) before IOLoop.current() and "
            "anything that uses it"
        )
    if num_processes is None or num_processes <= 0:
        num_processes = cpu_count()
    if max_restarts is None:
        max_restarts = 100
    gen_log.info("Starting %d processes", num_processes)
    children: dict[int, int] = {}

    def start_child(number: int) -> bool:
        global _task_id
        pid = os.fork()
        if pid == 0:
            _task_id = number
            return True
        children[pid] = number
        return False

    for number in range(num_processes):
        if start_child(number):
            return number
    restarts = 0
    while children:
        pid, status = os.wait()
        if pid not in children:
            continue
        number = children.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            gen_log.info("child %d (pid %d) exited normally", number, pid)
            continue
        if code < 0:
            gen_log.warning(
                "child %d (pid %d) killed by signal %d, restarting", number, pid, -code
            )
        else:
            gen_log.warning(
                "child %d (pid %d) exited with status %d, restarting", number, pid, code
            )
        restarts += 1
        if restarts > max_restarts:
            raise RuntimeError(
                f"too many child restarts ({max_restarts}, set by max_restarts), "
                "giving up"
            )
        if start_child(number):
            return number
    # Not a return: the caller's code after this is the workers'.
    sys.exit(0)


def task_id() -> int | None:
    """This worker's number if `fork_processes` made it, else ``None``."""
    return _task_id


class _PidFd:
    """A descriptor that is readable once its process has ended; closed with its owner.

    The loop may be closed before, and take the handler along.
    """

    _fd = -1

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


class Subprocess:
    """A `subprocess.Popen` that the loop watches.

    Takes Popen's arguments; ``stdin``, ``stdout`` and ``stderr`` may also be
    `Subprocess.STREAM`, which makes the attribute of that name a `.PipeIOStream`.
    Otherwise the attributes are what Popen made.
    """

    STREAM: ClassVar[object] = object()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        io_loop = kwargs.pop("io_loop", None)
        self.io_loop = ioloop.IOLoop.current()
        if io_loop is not None and io_loop is not self.io_loop:
            raise ValueError("io_loop must be the current IOLoop, or left out")
        ours: dict[str, int] = {}
        theirs: list[int] = []
        try:
            for name in ("stdin", "stdout", "stderr"):
                if kwargs.get(name) is not Subprocess.STREAM:
                    continue
                reader, writer = os.pipe()
                keep, give = (writer, reader) if name == "stdin" else (reader, writer)
                ours[name] = keep
                theirs.append(give)
                kwargs[name] = give
            self.proc = subprocess.Popen(*args, **kwargs)
        except BaseException:
            for fd in ours.values():
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self.pid = self.proc.pid
        self.stdin: Any = self.proc.stdin
        self.stdout: Any = self.proc.stdout
        self.stderr: Any = self.proc.stderr
        for name, fd in ours.items():
            setattr(self, name, PipeIOStream(fd))
        self.returncode: int | None = None
        self._exit_callback: Callable[[int], Any] | None = None
        self._pidfd: _PidFd | None = None

    def set_exit_callback(self, callback: Callable[[int], Any]) -> None:
        """Call ``callback(returncode)`` on the loop once the process has ended.

        As in Popen a negative code is the signal that ended it. There is one callback:
        a second call, `wait_for_exit` included, takes the place of the first.
        """
        self._exit_callback = stack_context.wrap(callback)
        if self.returncode is not None or self.proc.poll() is not None:
            self.io_loop.add_callback(self._ended)
        elif self._pidfd is None:
            try:
                pidfd = _PidFd(self.pid)
            except ProcessLookupError:
                # It has ended, and a thread is in proc.wait() that has just seen it.
                self.io_loop.add_callback(self._ended)
                return
            self.io_loop.add_handler(pidfd, self._pidfd_ready, ioloop.IOLoop.READ)
            self._pidfd = pidfd

    def wait_for_exit(self, raise_error: bool = True) -> Future[int]:
        """A future of the return code.

        With ``raise_error`` a code other than 0 fails it with `CalledProcessError`.
        """
        future: Future[int] = Future()

        def ended(code: int) -> None:
            if code != 0 and raise_error:
                future_set_exception_unless_cancelled(
                    future, CalledProcessError(code, self.proc.args)
                )
            else:
                future_set_result_unless_cancelled(future, code)

        self.set_exit_callback(ended)
        return future

    @classmethod
    def initialize(cls, io_loop: ioloop.IOLoop | None = None) -> None:
        """Nothing to do: every subprocess is watched by a pidfd of its own."""

    @classmethod
    def uninitialize(cls) -> None:
        """Nothing to undo, see `initialize`."""

    def _pidfd_ready(self, pidfd: _PidFd, events: int) -> None:
        self.io_loop.remove_handler(pidfd)
        pidfd.close()
        self._pidfd = None
        self._ended()

    def _ended(self) -> None:
        # Asks for this child only, and returns at once. (poll() would say "not yet"
        # while a thread of the program that is in proc.wait() notes the status.)
        self.returncode = self.proc.wait()
        callback, self._exit_callback = self._exit_callback, None
        if callback is not None:
            callback(self.returncode)
