"""What asyncio's documentation promises of child processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

import pytest
from aio_support import Reports, run, until

PIPE = subprocess.PIPE
BIG = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def child_watcher():
    """asyncio's own loop wants a watcher before 3.12; ours wants none."""
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())
    yield


class Process(asyncio.SubprocessProtocol):
    def __init__(self):
        self.calls = []
        self.data = {1: b"", 2: b""}
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.calls.append("made")
        self.transport = transport

    def pipe_data_received(self, fd, data):
        self.data[fd] += data

    def pipe_connection_lost(self, fd, exc):
        self.calls.append(f"pipe {fd}")

    def process_exited(self):
        self.calls.append("exited")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)


def python(code):
    return [sys.executable, "-c", code]


def test_communicate(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert await process.communicate(BIG) == (BIG, b"")
        assert process.returncode == 0

    run(loop, main())


def test_shell(loop):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "echo out; echo err >&2; exit 3", stdout=PIPE, stderr=PIPE
        )
        assert await process.communicate() == (b"out\n", b"err\n")
        assert process.returncode == 3

    run(loop, main())


def test_protocol(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(Process, "cat")
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert protocol.transport is transport
        assert transport.get_protocol() is protocol
        assert transport.get_pid() > 0
        assert transport.get_returncode() is None
        assert not transport.is_closing()
        assert isinstance(transport.get_extra_info("subprocess"), subprocess.Popen)
        assert transport.get_pipe_transport(7) is None
        repr(transport)
        stdin = transport.get_pipe_transport(0)
        stdin.write(b"hello")
        await until(lambda: protocol.data[1] == b"hello")
        stdin.close()
        assert await protocol.lost is None
        assert transport.get_returncode() == 0
        assert protocol.calls[0] == "made" and protocol.calls[-1] == "lost"
        assert set(protocol.calls) == {
            "made",
            "pipe 0",
            "pipe 1",
            "pipe 2",
            "exited",
            "lost",
        }
        repr(transport)
        transport.close()

    run(loop, main())


def test_output_of_a_quick_child_is_whole(loop):
    async def main():
        for _ in range(10):
            transport, protocol = await loop.subprocess_exec(
                Process, "echo", "x" * 10000, stdin=None
            )
            await protocol.lost
            assert protocol.data[1] == b"x" * 10000 + b"\n"
            transport.close()

    run(loop, main())


def test_without_pipes(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(
            Process, "true", stdin=None, stdout=None, stderr=None
        )
        assert transport.get_pipe_transport(1) is None
        await protocol.lost
        assert protocol.calls == ["made", "exited", "lost"]
        transport.close()

    run(loop, main())


def test_stderr_into_stdout(loop):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "echo err >&2", stdout=PIPE, stderr=subprocess.STDOUT
        )
        assert await process.communicate() == (b"err\n", None)

    run(loop, main())


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("terminate", -signal.SIGTERM),
        ("kill", -signal.SIGKILL),
        ("send_signal", -signal.SIGINT),
    ],
)
def test_signals(loop, how, code):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "60")
        args = (signal.SIGINT,) if how == "send_signal" else ()
        getattr(process, how)(*args)
        assert await process.wait() == code
        assert process.returncode == code
        if how != "send_signal":
            with pytest.raises(ProcessLookupError):
                process._transport.send_signal(signal.SIGTERM)

    run(loop, main())


def test_a_signal_for_a_child_that_ended_unnoticed_goes_nowhere(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("true")
        # Without reaping it, and without a turn of the loop. (A thread of asyncio's own
        # may have reaped it, and lost its code.)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        process.terminate()
        process.kill()
        process.send_signal(signal.SIGINT)
        assert await process.wait() in (0, 255)

    run(loop, main())


@pytest.mark.parametrize(
    "method",
    [
        "connection_made",
        "pipe_data_received",
        "pipe_connection_lost",
        "process_exited",
    ],
)
def test_what_the_protocol_raises_is_told_and_ends_nothing(loop, method):
    def raises(self, *args):
        getattr(Process, method)(self, *args)
        raise ZeroDivisionError

    bad = type("Bad", (Process,), {method: raises})

    async def main():
        reports = Reports(loop)
        transport, protocol = await loop.subprocess_exec(
            bad, "sh", "-c", "printf a; read x; printf b"
        )
        await until(lambda: protocol.data[1] == b"a")
        transport.get_pipe_transport(0).write(b"\n")
        assert await protocol.lost is None
        transport.close()
        assert protocol.data[1] == b"ab"
        assert transport.get_returncode() == 0
        assert sorted(protocol.calls) == [
            "exited",
            "lost",
            "made",
            "pipe 0",
            "pipe 1",
            "pipe 2",
        ]
        assert reports.contexts
        for context in reports.contexts:
            assert isinstance(context["exception"], ZeroDivisionError)

    run(loop, main())


def test_closing_kills(loop):
    async def main():
        transport, protocol = await loop.subprocess_exec(Process, "sleep", "60")
        transport.close()
        transport.close()
        assert transport.is_closing()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL

    run(loop, main())


def test_closing_stdin_while_the_child_reads_nothing(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(
            *python("import sys; sys.stdin.close()"), stdin=PIPE
        )
        await process.communicate(BIG)
        assert process.returncode == 0

    run(loop, main())


def test_streams(loop):
    async def main():
        process = await asyncio.create_subprocess_exec(
            *python(
                "import sys\n"
                "for line in sys.stdin:\n"
                "    print(line.strip().upper(), flush=True)"
            ),
            stdin=PIPE,
            stdout=PIPE,
        )
        for word in (b"one", b"two"):
            process.stdin.write(word + b"\n")
            await process.stdin.drain()
            assert await process.stdout.readline() == word.upper() + b"\n"
        process.stdin.close()
        assert await process.wait() == 0

    run(loop, main())


def test_many_at_once(loop):
    async def main():
        async def one(i):
            process = await asyncio.create_subprocess_shell(
                f"echo {i}; exit {i}", stdout=PIPE
            )
            out, _ = await process.communicate()
            return int(out), process.returncode

        results = await asyncio.gather(*[one(i) for i in range(20)])
        assert results == [(i, i) for i in range(20)]

    run(loop, main())


def test_keywords_reach_popen(loop, tmp_path):
    async def main():
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            "pwd; echo $PLANTED",
            cwd=tmp_path,
            env={**os.environ, "PLANTED": "yes"},
            stdout=PIPE,
        )
        out, _ = await process.communicate()
        assert out.decode().split() == [str(tmp_path.resolve()), "yes"]

    run(loop, main())


def test_missing_program(loop):
    async def main():
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")

    run(loop, main())


@pytest.mark.parametrize("turns", range(1, 7))
def test_cancelled_start_ends_the_child_and_tells_nobody(loop, turns):
    async def main():
        reports = Reports(loop)
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        try:
            process = await starting
        except asyncio.CancelledError:
            pass
        else:
            process.kill()
            await process.wait()
        assert reports.messages() == []

    run(loop, main())


def test_cancelled_wait_leaves_the_child(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "60")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 0.01)
        assert process.returncode is None
        process.kill()
        await process.wait()

    run(loop, main())


def test_a_handler_of_sigchld_is_left_alone(loop):
    seen = []
    old = signal.signal(signal.SIGCHLD, lambda *args: seen.append(args))
    try:

        async def main():
            process = await asyncio.create_subprocess_exec("true")
            assert await process.wait() == 0

        run(loop, main())
        assert seen
        assert signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_wrong_arguments(loop):
    async def main():
        with pytest.raises(ValueError):
            await loop.subprocess_exec(Process, "true", universal_newlines=True)
        with pytest.raises(ValueError):
            await loop.subprocess_exec(Process, "true", shell=True)
        with pytest.raises(ValueError):
            await loop.subprocess_exec(Process, "true", bufsize=1)
        with pytest.raises(ValueError):
            await loop.subprocess_exec(Process, "true", text=True)
        with pytest.raises(ValueError):
            await loop.subprocess_exec(Process, "true", encoding="utf-8")
        with pytest.raises(ValueError):
            await loop.subprocess_exec(Process, "true", errors="strict")
        with pytest.raises(ValueError):
            await loop.subprocess_shell(Process, ["true"])
        with pytest.raises(ValueError):
            await loop.subprocess_shell(Process, "true", shell=False)
        with pytest.raises(TypeError):
            await loop.subprocess_exec(Process, 5)

    run(loop, main())


def test_descriptors_are_closed(loop):
    async def main():
        async def one():
            process = await asyncio.create_subprocess_exec(
                "cat", stdin=PIPE, stdout=PIPE
            )
            await process.communicate(b"x")

        await one()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            await one()
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    run(loop, main())
