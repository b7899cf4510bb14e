"""pyfastloop.as_tornado: `tornado` means pyfastloop. In processes of their own."""

from __future__ import annotations

import subprocess
import sys

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
