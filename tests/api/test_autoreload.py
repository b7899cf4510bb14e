"""pyfastloop.autoreload: real programs whose files are changed under them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyfastloop import autoreload

# Without watchfiles the files are looked at by the clock: it is hidden by a module of
# the same name that cannot be imported.
HIDDEN = "raise ImportError('hidden by the test')"

# A line is written in one piece: the thread of watchfiles logs between two.
CHECK = """
import logging, os, sys
def print(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
sys.stdout.reconfigure(line_buffering=True)
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
"""
ENDED = "Script exited normally"

SERVER = f"""{CHECK}
import helper
from pyfastloop import autoreload, ioloop
print("run", helper.VALUE, sys.argv[1:], os.path.basename(os.getcwd()))
os.chdir("/")
autoreload.add_reload_hook(lambda: print("hook"))
autoreload.add_reload_hook(lambda: 1 / 0)
autoreload.start(check_time=50)
autoreload.start(check_time=50)
ioloop.IOLoop.current().call_later(0, print, "ready")
ioloop.IOLoop.current().start()
"""


class Program:
    """A program whose lines of output are what the test waits for."""

    def __init__(self, folder: Path, args: list[str], hide_watchfiles: bool) -> None:
        self.folder = folder
        self.changes = 0
        extra = [str(folder)]
        if hide_watchfiles:
            (folder / "hidden").mkdir()
            (folder / "hidden" / "watchfiles.py").write_text(HIDDEN)
            extra.insert(0, str(folder / "hidden"))
        inherited = os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join([*extra, inherited] if inherited else extra)
        self.process = subprocess.Popen(
            [sys.executable, *args],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, text: str) -> None:
        """Read up to the line `text`; the whole test run has a limit of its own."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if line.rstrip("\n") == text:
                return
        raise AssertionError(f"no line {text!r} in:\n{''.join(seen)}")

    def change(self, name: str, text: str) -> None:
        """Replace a file, in one step, by one whose time differs for certain."""
        self.changes += 1
        new = self.folder / "new"
        new.write_text(text)
        later = new.stat().st_mtime + 2 * self.changes
        os.utime(new, (later, later))
        new.replace(self.folder / name)

    def end(self) -> str:
        """Wait for the end; the rest of the output."""
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        self.process.wait(60)
        return rest

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(params=["polling", "watchfiles"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[object]:
    if request.param == "watchfiles" and importlib.util.find_spec("watchfiles") is None:
        pytest.skip("needs watchfiles, of the test extra")
    programs: list[Program] = []

    def start(*args: str) -> Program:
        hide = request.param == "polling"
        programs.append(Program(tmp_path, list(args), hide))
        return programs[-1]

    yield start
    for started in programs:
        started.close()


@pytest.mark.parametrize("command", [["main.py"], ["-m", "main"]])
def test_a_server_starts_anew(program, tmp_path: Path, command: list[str]):
    (tmp_path / "main.py").write_text(SERVER)
    (tmp_path / "helper.py").write_text("VALUE = 1")
    here = tmp_path.name
    server = program(*command, "a", "--b=c")
    server.wait_for(f"run 1 ['a', '--b=c'] {here}")
    server.wait_for("ready")
    server.change("helper.py", "VALUE = 2")
    server.wait_for("hook")
    server.wait_for(f"run 2 ['a', '--b=c'] {here}")
    server.wait_for("ready")
    server.change("main.py", SERVER.replace('"run"', '"again"'))
    server.wait_for(f"again 2 ['a', '--b=c'] {here}")


def test_further_files_are_watched_and_modules_imported_later(program, tmp_path: Path):
    (tmp_path / "data.txt").write_text("1")
    (tmp_path / "late.py").write_text("")
    (tmp_path / "main.py").write_text(
        CHECK
        + """
from pyfastloop import autoreload, ioloop
autoreload.watch("data.txt")
look = autoreload._Files.changed
told = False
def changed(self):
    global told
    found = look(self)
    if "late" in sys.modules and not told:
        told = True
        print("late is in")
    return found
autoreload._Files.changed = changed
autoreload.start(check_time=50)
print("run", open("data.txt").read())
def later():
    import late
ioloop.IOLoop.current().add_callback(later)
ioloop.IOLoop.current().start()
"""
    )
    server = program("main.py")
    server.wait_for("run 1")
    server.wait_for("late is in")
    server.change("data.txt", "2")
    server.wait_for("run 2")
    server.wait_for("late is in")
    server.change("late.py", "x = 1")
    server.wait_for("run 2")


WATCHES_LATE = """
import pathlib, threading
def watch(*folders, stop_event, **options):
    data = pathlib.Path("data.txt")
    if data.read_text() == "1":
        data.write_text("two")
    stop_event.is_set()  # as it does from when it watches on
    threading.Event().wait()
    yield set()
"""


def test_what_is_changed_just_before_it_is_watched_is_noticed(tmp_path: Path):
    (tmp_path / "watchfiles.py").write_text(WATCHES_LATE)
    (tmp_path / "data.txt").write_text("1")
    (tmp_path / "main.py").write_text(
        CHECK
        + """
from pyfastloop import autoreload, ioloop
print("run", open("data.txt").read())
autoreload.watch("data.txt")
autoreload.start()
ioloop.IOLoop.current().start()
"""
    )
    server = Program(tmp_path, ["main.py"], hide_watchfiles=False)
    try:
        server.wait_for("run 1")
        server.wait_for("run two")
    finally:
        server.close()


SCRIPT = f"""{CHECK}
import helper
print("run", helper.VALUE, sys.argv, __name__)
"""


def test_the_command_runs_a_script_again(program, tmp_path: Path):
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "main.py").write_text(SCRIPT)
    (sub / "helper.py").write_text("VALUE = 1")
    run = program("-m", "pyfastloop.autoreload", "sub/main.py", "-x", "y")
    run.wait_for("run 1 ['sub/main.py', '-x', 'y'] __main__")
    run.wait_for(ENDED)
    run.change("sub/helper.py", "VALUE = 2")
    run.wait_for("run 2 ['sub/main.py', '-x', 'y'] __main__")
    run.wait_for(ENDED)
    run.change("sub/main.py", SCRIPT.replace("run", "again"))
    run.wait_for("again 2 ['sub/main.py', '-x', 'y'] __main__")


def test_the_command_survives_mistakes(program, tmp_path: Path):
    (tmp_path / "main.py").write_text(SCRIPT)
    (tmp_path / "helper.py").write_text("VALUE = 1 +")
    run = program("-m", "pyfastloop.autoreload", "-m", "main")
    run.wait_for("Script exited with uncaught exception")
    run.wait_for("SyntaxError: invalid syntax")
    run.change("helper.py", "VALUE = 1 / 0")
    run.wait_for("ZeroDivisionError: division by zero")
    run.change("helper.py", "VALUE = 3")
    run.wait_for(f"run 3 {[str(tmp_path / 'main.py')]} __main__")
    run.wait_for(ENDED)
    run.change("main.py", CHECK + "print('new')\nraise SystemExit(1)")
    run.wait_for("new")
    run.wait_for("Script exited with status 1")
    run.change("main.py", CHECK + "print('newer')")
    run.wait_for("newer")


def test_until_success(program, tmp_path: Path):
    (tmp_path / "main.py").write_text(CHECK + "print('one')\nraise SystemExit(3)")
    run = program("-m", "pyfastloop.autoreload", "--until-success", "main.py")
    run.wait_for("one")
    run.wait_for("Script exited with status 3")
    run.change("main.py", CHECK + "print('two')\nraise SystemExit(0)")
    run.wait_for("two")
    assert run.end() == ""
    assert run.process.returncode == 0


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["--help"], 0, "--until-success"),
        ([], 2, "either -m or a path"),
        (["-m"], 2, "the name of a module"),
        (["--bogus", "x.py"], 2, "no such option: --bogus"),
    ],
)
def test_usage(args: list[str], status: int, words: str):
    done = subprocess.run(
        [sys.executable, "-m", "pyfastloop.autoreload", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == status
    assert words in done.stdout


def test_modules_that_import_when_they_are_looked_at_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
):
    class Lazy:
        def __getattr__(self, name: str) -> object:
            raise AssertionError("looked at")

    monkeypatch.setitem(sys.modules, "lazy_thing", Lazy())  # type: ignore[arg-type]
    paths = autoreload._Files.paths()
    assert autoreload.__file__ in paths


def test_files_that_vanish_for_a_moment_are_not_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(autoreload, "_watched_files", set())
    path = tmp_path / "a.txt"
    path.write_text("x")
    os.utime(path, (1, 1))
    autoreload.watch(str(path))
    files = autoreload._Files()
    assert files.changed() is None
    path.unlink()
    assert files.changed() is None
    path.write_text("x")
    os.utime(path, (1, 1))
    assert files.changed() is None
    os.utime(path, (2, 2))
    assert files.changed() == str(path)
