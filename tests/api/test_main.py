"""``python -m pyfastloop`` as a command: other programs under it, and its mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyfastloop", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


PROGRAM = """
import sys, beside
import tornado, tornado.ioloop, tornado.web
async def main():
    return tornado.web.RequestHandler.__module__.split(".")[0]
print(__name__, sys.argv[1:], tornado.version, beside.WORD)
print(tornado.ioloop.IOLoop.current().run_sync(main))
"""


@pytest.mark.parametrize("form", [["program.py"], ["-m", "program"]])
def test_a_tornado_program_runs_unchanged(tmp_path: Path, form: list[str]) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "beside.py").write_text("WORD = 'beside'")
    done = run("--as-tornado", *form, "--port", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "__main__ ['--port', '1'] 6.6.1 beside",
        "pyfastloop",
    ]


def test_a_program_s_exit_status_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("raise SystemExit(7)")
    assert run("--as-tornado", "program.py", cwd=tmp_path).returncode == 7


MAIN = """
import atexit, os, pickle, sys, threading

def seen():
    return sys.modules["__main__"] is this and pickle.loads(pickle.dumps(seen)) is seen

def after_the_end():
    threading.main_thread().join()
    print("thread", seen())

this = sys.modules["__main__"]
spec = __spec__ and __spec__.name
print(__name__, spec, __package__, os.path.isabs(__file__), vars(this) is globals())
print(sys.argv[0] == os.path.basename(__file__), sys.argv[1:])
atexit.register(lambda: print("atexit", seen()))
threading.Thread(target=after_the_end).start()
"""


@pytest.mark.parametrize(
    ("form", "spec", "argv0_as_given"),
    [
        (["program.py"], "None None", True),
        (["-m", "program"], "program ", False),
        (["-m", "folder"], "folder.__main__ folder", False),
        (["folder"], "__main__ ", False),
    ],
)
def test_the_program_is_main_until_its_process_ends(
    tmp_path: Path, form: list[str], spec: str, argv0_as_given: bool
) -> None:
    (tmp_path / "program.py").write_text(MAIN)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(MAIN)
    done = run("--as-tornado", *form, "x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"__main__ {spec} True True",
        f"{argv0_as_given} ['x']",
        "thread True",
        "atexit True",
    ]


def test_a_module_of_tornado_s_is_run_as_a_program(tmp_path: Path) -> None:
    done = run("--as-tornado", "-m", "tornado.testing", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--verbose" in done.stderr
    done = run("--as-tornado", "-m", "tornado.httpclient", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stderr


@pytest.mark.parametrize("name", ["tornado", "no_such_module", "json.nothing"])
def test_a_module_that_cannot_be_run(tmp_path: Path, name: str) -> None:
    done = run("--as-tornado", "-m", name, cwd=tmp_path)
    assert done.returncode == 1
    assert f"No module named '{name}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as-tornado"], "needs a script, or -m and a module"),
        (["--port", "1", "--as-tornado"], "must be the first argument"),
        (["--port", "many"], "invalid int value"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_version_is_printed() -> None:
    import pyfastloop

    assert run("--version").stdout.strip() == pyfastloop.version
