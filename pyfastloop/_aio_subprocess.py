"""Child processes of the asyncio face.

A child is watched through its pidfd, which becomes readable when it has ended: there is
no SIGCHLD handler and no thread, a handler of the user's own stays untouched, and the
child is reaped by `subprocess.Popen` alone. Where the kernel has no pidfd (before Linux
5.3, or forbidden by a sandbox) a thread waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["Subprocesses"]


class _PipeProtocol(asyncio.Protocol):
    """One of a child's pipes: what happens goes to the process's protocol."""

    def __init__(self, process: ProcessTransport, fd: int) -> None:
        self.process = process
        self.fd = fd
        self.pipe: Any = None
        self.disconnected = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pipe = transport

    def data_received(self, data: bytes) -> None:
        process = self.process
        process._tell(process._protocol.pipe_data_received, self.fd, data)

    def eof_received(self) -> None:
        pass

    def pause_writing(self) -> None:
        self.process._protocol.pause_writing()

    def resume_writing(self) -> None:
        self.process._protocol.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.disconnected = True
        self.process._pipe_lost(self.fd, exc)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fd} pipe={self.pipe!r}>"


class ProcessTransport(asyncio.SubprocessTransport):
    """A child process; what ``loop.subprocess_exec`` gives."""

    def __init__(
        self, loop: Any, protocol: Any, popen: subprocess.Popen[bytes]
    ) -> None:
        super().__init__({"subprocess": popen})
        self._loop = loop
        self._protocol = protocol
        self._popen = popen
        self._pid = popen.pid
        self._returncode: int | None = None
        self._closed = False
        self._pipes: dict[int, _PipeProtocol] = {}
        self._waiters: list[asyncio.Future[int]] = []
        # What the pipes say before connection_made() waits for it.
        self._pending: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = []
        self._lost = False
        self._pidfd = -1

    def __repr__(self) -> str:
        state = "running" if self._returncode is None else f"code={self._returncode}"
        return f"<{type(self).__name__} pid={self._pid} {state}>"

    # ---- beginning ----

    async def _begin(self) -> None:
        """Connects the pipes and calls connection_made."""
        for fd, pipe, connect in (
            (0, self._popen.stdin, self._loop.connect_write_pipe),
            (1, self._popen.stdout, self._loop.connect_read_pipe),
            (2, self._popen.stderr, self._loop.connect_read_pipe),
        ):
            if pipe is not None:
                _, self._pipes[fd] = await connect(
                    lambda fd=fd: _PipeProtocol(self, fd), pipe
                )
        self._call(self._protocol.connection_made, self)
        pending, self._pending = self._pending, None
        for callback, args in pending or ():
            self._call(callback, *args)
        self._watch()

    def _tell(self, callback: Callable[..., object], *args: Any) -> None:
        if self._pending is None:
            self._call(callback, *args)
        else:
            self._pending.append((callback, args))

    def _call(self, callback: Callable[..., object], *args: Any) -> None:
        """What the protocol raises is told, and ends neither pipe nor process."""
        try:
            callback(*args)
        except Exception as error:
            name = getattr(callback, "__name__", "?")
            self._loop.call_exception_handler(
                {
                    "message": f"Exception in callback: protocol.{name}() failed",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )

    def _watch(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:
            threading.Thread(
                target=self._wait_in_thread, name=f"wait-{self._pid}", daemon=True
            ).start()
        else:
            self._loop.add_reader(self._pidfd, self._has_ended)

    def _wait_in_thread(self) -> None:
        code = self._popen.wait()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._process_ended, code)

    def _forget_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _has_ended(self) -> None:
        code = self._popen.poll()
        if code is None:
            return  # woken for nothing
        self._forget_pidfd()
        self._process_ended(code)

    def _process_ended(self, code: int) -> None:
        if self._returncode is not None:
            return
        self._returncode = code
        self._tell(self._protocol.process_exited)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(code)
        self._waiters.clear()
        self._try_finish()

    # ---- ending ----

    def _pipe_lost(self, fd: int, exc: BaseException | None) -> None:
        self._tell(self._protocol.pipe_connection_lost, fd, exc)
        self._try_finish()

    def _try_finish(self) -> None:
        if self._returncode is None or self._lost or self._pending is not None:
            return
        if all(pipe.disconnected for pipe in self._pipes.values()):
            self._lost = True
            self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        self._call(self._protocol.connection_lost, None)

    async def _wait(self) -> int:
        """The return code, once the child has ended."""
        if self._returncode is not None:
            return self._returncode
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        code: int = await waiter
        return code

    def close(self) -> None:
        """Close the pipes, and kill the child if it still runs."""
        if self._closed:
            return
        self._closed = True
        for each in self._pipes.values():
            each.pipe.close()
        if self._returncode is None and self._popen.poll() is None:
            # It has ended meanwhile, or runs as somebody else.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._popen.kill()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(
                f"unclosed transport {self!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            self.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)

    # ---- what programs ask ----

    def get_pid(self) -> int:
        """The child's process id."""
        return self._pid

    def get_returncode(self) -> int | None:
        """Its return code, None while it runs, -N when signal N ended it."""
        return self._returncode

    def get_pipe_transport(self, fd: int) -> Any:
        """The transport of stdin (0), stdout (1) or stderr (2); None where no pipe."""
        pipe = self._pipes.get(fd)
        return None if pipe is None else pipe.pipe

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol take over."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """The protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def _alive(self) -> subprocess.Popen[bytes]:
        # Popen sends nothing to a child that has ended and was not told of yet.
        if self._lost:
            raise ProcessLookupError(f"process {self._pid} has ended")
        return self._popen

    def send_signal(self, signal: int) -> None:
        """Send a signal; ProcessLookupError after connection_lost."""
        self._alive().send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._alive().terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._alive().kill()


class Subprocesses:
    """What `Loop` has of child processes."""

    async def subprocess_exec(  # type: ignore[no-untyped-def]
        self: Any,
        protocol_factory: Callable[[], Any],
        program: Any,
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ):
        """Run a program; ``(transport, protocol)``. Keywords as of subprocess.Popen."""
        _check(universal_newlines, bufsize, text, encoding, errors)
        if shell:
            raise ValueError("shell must be False: subprocess_shell() runs a shell")
        return await self._spawn(
            protocol_factory, (program, *args), False, stdin, stdout, stderr, kwargs
        )

    async def subprocess_shell(  # type: ignore[no-untyped-def]
        self: Any,
        protocol_factory: Callable[[], Any],
        cmd: str | bytes,
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ):
        """Run a command line in a shell; ``(transport, protocol)``."""
        if not isinstance(cmd, str | bytes):
            raise ValueError("cmd must be a string")
        _check(universal_newlines, bufsize, text, encoding, errors)
        if not shell:
            raise ValueError("shell must be True: subprocess_exec() runs a program")
        return await self._spawn(
            protocol_factory, cmd, True, stdin, stdout, stderr, kwargs
        )

    async def _spawn(  # type: ignore[no-untyped-def]
        self: Any,
        factory: Callable[[], Any],
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        kwargs: dict[str, Any],
    ):
        protocol = factory()
        popen = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=0,
            **kwargs,
        )
        transport = ProcessTransport(self, protocol, popen)
        try:
            await transport._begin()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            # connection_made() was not called, so nothing else will be.
            transport.close()
            for pipe in (popen.stdin, popen.stdout, popen.stderr):
                if pipe is not None:
                    pipe.close()
            if transport._pidfd < 0 and transport._returncode is None:
                transport._watch()
            await transport._wait()
            raise
        return transport, protocol


def _check(
    universal_newlines: bool,
    bufsize: int,
    text: bool | None,
    encoding: str | None,
    errors: str | None,
) -> None:
    if universal_newlines:
        raise ValueError("universal_newlines must be False: pipes carry bytes")
    if bufsize != 0:
        raise ValueError("bufsize must be 0")
    if text:
        raise ValueError("text must be False: pipes carry bytes")
    if encoding is not None:
        raise ValueError("encoding must be None: pipes carry bytes")
    if errors is not None:
        raise ValueError("errors must be None: pipes carry bytes")
