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
