"""pyfastloop.as_tornado: `tornado` means pyfastloop. In processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def check(code: str) -> None:
    assert run(code + "\nprint('fine')") == "fine\n"


def test_modules_are_ours():
    check(
        """
import pyfastloop.as_tornado
import tornado, tornado.web, pyfastloop.web
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOMainLoop
from tornado import gen, escape
import pyfastloop.ioloop
assert tornado.web is pyfastloop.web
assert IOLoop is pyfastloop.ioloop.IOLoop
assert tornado.version == "6.6.1" and tornado.version_info == (6, 6, 1, 0)
assert pyfastloop.web.__name__ == "pyfastloop.web"
assert pyfastloop.web.__spec__.name == "pyfastloop.web"
import sys
assert sys.modules["tornado.web"] is sys.modules["pyfastloop.web"]
assert not any("site-packages/tornado" in (getattr(m, "__file__", None) or "")
               for m in sys.modules.values())
"""
    )


def test_submodules_load_when_asked_for():
    check(
        """
import pyfastloop.as_tornado, sys
import tornado
assert "pyfastloop.locks" not in sys.modules
assert tornado.locks.Lock.__name__ == "Lock"
import pyfastloop.locks
assert tornado.locks is pyfastloop.locks
"""
    )


def test_what_is_not_there_says_so():
    check(
        """
import pyfastloop.as_tornado
import tornado
for name in ("nope", "test"):
    try:
        __import__("tornado." + name)
    except ModuleNotFoundError as error:
        assert "pyfastloop stands in for tornado" in str(error), error
        assert error.name == "tornado." + name
    else:
        raise SystemExit(name)
try:
    tornado.nope
except AttributeError:
    pass
else:
    raise SystemExit("no AttributeError")
"""
    )


def test_it_refuses_after_tornado_was_imported():
    pytest.importorskip("tornado")
    text = run("import tornado.web\nimport pyfastloop.as_tornado")
    assert "ImportError: tornado was imported before pyfastloop.as_tornado" in text
    assert "--as-tornado" in text


def test_it_can_be_undone():
    check(
        """
import asyncio, sys
import pyfastloop.as_tornado as alias
import tornado.web
assert alias.installed()
alias.install()
alias.uninstall()
alias.uninstall()
assert not alias.installed()
assert not [n for n in sys.modules if n.split(".")[0] == "tornado"]
alias.install()
import tornado.web, pyfastloop.web
assert tornado.web is pyfastloop.web
alias.uninstall()
"""
    )


def test_new_loops_are_ours():
    check(
        """
import asyncio
import pyfastloop.as_tornado
import pyfastloop
async def main():
    return type(asyncio.get_running_loop())
assert issubclass(asyncio.run(main()), pyfastloop.Loop)
loop = asyncio.new_event_loop()
assert isinstance(loop, pyfastloop.Loop)
loop.close()
"""
    )


def test_a_program_written_for_tornado():
    check(
        """
import pyfastloop.as_tornado
import tornado.testing, tornado.web

class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write("hello")

class Case(tornado.testing.AsyncHTTPTestCase):
    def get_app(self):
        return tornado.web.Application([("/", Hello)])
    def runTest(self):
        assert self.fetch("/").body == b"hello"

result = Case().defaultTestResult()
Case().run(result)
assert result.wasSuccessful(), result
"""
    )


CHILDREN = """
import subprocess, sys
import pyfastloop.as_tornado as alias
alias.include_children()
alias.include_children()
print(subprocess.run([sys.executable, "-c", sys.argv[1]], check=True, text=True,
                     capture_output=True).stdout, end="")
"""

CHILD = """
import sys
assert not any(name.startswith("pyfastloop") for name in sys.modules), "too early"
import tornado.web
import pyfastloop.web
assert tornado.web is pyfastloop.web and tornado.version == "6.6.1"
assert tornado.__spec__.name == "tornado"
import subprocess
grandchild = "import tornado.gen as g; print(g.__name__)"
print(subprocess.run([sys.executable, "-c", grandchild], check=True, text=True,
                     capture_output=True).stdout, end="")
"""


def run_children(child: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILDREN, child],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_children_and_theirs_can_be_included():
    done = run_children(CHILD)
    assert done.stdout + done.stderr == "pyfastloop.gen\n"


def test_an_environment_variable_leaves_children_alone():
    pytest.importorskip("tornado")
    child = "import tornado.gen as g; print(g.__name__)"
    done = run_children(child, PYFASTLOOP_AS_TORNADO="0")
    assert done.stdout + done.stderr == "tornado.gen\n"


def test_a_child_s_own_sitecustomize_runs_too(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.here = 'own'")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    child = (
        "import sys, tornado.gen as g, sitecustomize\n"
        "print(sys.here, g.__name__, [p for p in sys.path if '_children' in p])\n"
        "print(sitecustomize.__file__)"
    )
    done = run_children(child, PYTHONPATH=path)
    own = tmp_path / "sitecustomize.py"
    assert done.stdout + done.stderr == f"own pyfastloop.gen []\n{own}\n"


def test_multiprocessing_s_children_are_included(tmp_path: Path):
    (tmp_path / "spawning.py").write_text(
        "import multiprocessing\n"
        "def child():\n"
        "    import tornado.gen\n"
        "    print(tornado.gen.__name__)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=child)\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pyfastloop", "--as-tornado", "spawning.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout + done.stderr == "pyfastloop.gen\n"


def test_a_child_whose_environment_has_no_pyfastloop_keeps_its_tornado(tmp_path: Path):
    import pyfastloop

    venv.create(tmp_path / "other")
    package = tmp_path / "packages" / "tornado"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("version = 'its own'")
    children = str(Path(pyfastloop.__file__).parent / "_children")
    done = subprocess.run(
        [tmp_path / "other/bin/python", "-c", "import tornado; print(tornado.version)"],
        cwd=tmp_path,
        env={
            "PYFASTLOOP_AS_TORNADO": "1",
            "PYTHONPATH": os.pathsep.join([children, str(package.parent)]),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "its own\n"
    assert "PYFASTLOOP_AS_TORNADO is set" in done.stderr
    assert "has no pyfastloop" in done.stderr
