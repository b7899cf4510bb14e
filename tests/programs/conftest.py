"""Unchanged Tornado programs, run as ``python -m pyfastloop --as-tornado -m program``.

Each runs in processes of its own, with a trap in front of the real tornado: a package
of that name, first on PYTHONPATH, which whoever imports it without the alias falls into
and which notes who it was. That reaches every process a program starts as well.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS = 60.0

TRAP = """
import os, sys
with open({fallen!r}, "a") as file:
    print(os.getpid(), sys.orig_argv, file=file)
raise ImportError("the real tornado was to be imported: the alias is not in force")
"""


class Program:
    """A running program; its output is kept by lines, and can be waited for."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def log(self) -> str:
        """All that it has printed."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in a line of its output, printed already or still to come."""
        deadline = time.monotonic() + SECONDS
        seen = 0
        with self._news:
            while True:
                while seen < len(self.lines):
                    found = re.search(pattern, self.lines[seen])
                    seen += 1
                    if found:
                        return found
                left = deadline - time.monotonic()
                if self._ended or left < 0:
                    raise AssertionError(f"it did not print {pattern!r}:\n{self.log}")
                self._news.wait(left)

    def wait_for_port(self, port: int) -> None:
        """Waits until it listens on a port of 127.0.0.1."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), SECONDS).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"it does not listen:\n{self.log}") from None
                time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it as its user would, and gives its exit status; once it ended, that."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(SECONDS)
            self._reader.join(SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it does not end:\n{self.log}") from None
        return status

    def kill(self) -> None:
        """Ends it and what it has started by force, for a test that failed."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


class Programs:
    """Starts programs in a folder that is their home too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Begins of log records that may bring a traceback, as they do on Tornado.
        self.pardoned: list[str] = []
        self._fallen = folder / "fallen"
        self._running: list[Program] = []
        trap = folder / "trap" / "tornado"
        trap.mkdir(parents=True)
        (trap / "__init__.py").write_text(TRAP.format(fallen=str(self._fallen)))
        path = [str(trap.parent), os.environ.get("PYTHONPATH", "")]
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PYTHONUNBUFFERED": "1",
        }
        self.env.pop("PYFASTLOOP_AS_TORNADO", None)

    def start(self, *command: str) -> Program:
        """Starts any program."""
        program = Program(list(command), self.folder, self.env)
        self._running.append(program)
        return program

    def python(self, *arguments: str) -> Program:
        """Starts Python as it is, without the alias."""
        return self.start(sys.executable, *arguments)

    def as_tornado(self, *arguments: str) -> Program:
        """Starts a Tornado program on pyfastloop."""
        return self.python("-m", "pyfastloop", "--as-tornado", *arguments)

    def write(self, name: str, text: str) -> None:
        """Writes a file into the folder."""
        (self.folder / name).write_text(text)

    def reproaches(self) -> list[str]:
        """The logs with a traceback that is not pardoned."""
        found = []
        for program in self._running:
            log = program.log
            for begin in self.pardoned:  # up to the next record, with its date
                whole = rf"{re.escape(begin)}.*?(?=^\d{{4}}-\d\d-\d\d |\Z)"
                log = re.sub(whole, "", log, flags=re.DOTALL | re.MULTILINE)
            if "Traceback" in log:
                found.append(log)
        return found

    def fallen_into_the_trap(self) -> str:
        """The processes that would have loaded the real tornado."""
        return self._fallen.read_text() if self._fallen.exists() else ""

    def close(self) -> None:
        for program in self._running:
            program.kill()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Starts programs; in the end none had a traceback or loaded the real tornado."""
    started = Programs(tmp_path)
    try:
        yield started
    finally:
        started.close()
    assert started.fallen_into_the_trap() == ""
    reproaches = "\n\n".join(started.reproaches())
    assert not reproaches, reproaches
