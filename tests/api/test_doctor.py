"""``python -m pyfastloop doctor``: which hooks of a handler run in Python, and why."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from pyfastloop import doctor, gen, web


class Plain(web.RequestHandler):
    def get(self):
        self.write("plain")


class Mixin:
    def prepare(self):
        pass


class WithHooks(Mixin, Plain):
    def on_finish(self):
        pass


@web.stream_request_body
class Streaming(web.RequestHandler):
    def post(self):
        pass


class Partial(web.RequestHandler):
    get = functools.partialmethod(web.RequestHandler.set_status, 204)


def told(*rules, **settings):
    return list(doctor.lines(web.Application(list(rules), **settings)))


def test_a_plain_handler_runs_in_c():
    assert told(("/", Plain)) == [f"/$  {__name__}.Plain", "  in C"]


def test_a_coroutine_runs_in_c():
    class Coroutine(web.RequestHandler):
        @gen.coroutine
        def get(self):
            yield gen.moment

    assert told(("/", Coroutine))[1:] == ["  in C"]


def test_overridden_hooks_are_told_with_their_class_and_place():
    _, head, *hooks = told(("/x/([0-9]+)", WithHooks))
    assert head == "  in C, which calls in Python:"
    assert len(hooks) == 2
    prepare, on_finish = hooks
    assert f"prepare: overridden in {__name__}.Mixin (" in prepare
    assert "test_doctor.py:" in prepare
    assert f"on_finish: overridden in {__name__}.WithHooks (" in on_finish


def test_a_tool_s_patch_is_told(monkeypatch):
    original = web.RequestHandler.log_exception
    assert told(("/", Plain))[1:] == ["  in C"]
    monkeypatch.setattr(web.RequestHandler, "on_finish", lambda self: None)
    monkeypatch.setattr(web.RequestHandler, "log_exception", original)
    (line,) = told(("/", Plain))[2:]
    assert "on_finish: replaced on pyfastloop.web.handler.RequestHandler (" in line
    assert "test_doctor.py:" in line


def test_a_streamed_body_leaves_the_request_to_python():
    _, head, why = told(("/", Streaming))
    assert head == "  the whole request runs in Python:"
    assert "_stream_request_body" in why


def test_a_method_that_is_no_function_is_told():
    assert "  get: in Python, for it is a partialmethod, not a function" in told(
        ("/", Partial)
    )


def test_rules_behind_one_for_python_are_python_s():
    inner = web.Application([("/inner", Plain)])
    output = told(("/", Plain), ("/inner.*", inner), ("/last", Plain))
    assert output[1] == "  in C"
    assert output[3] == output[5]
    assert output[3].startswith("  in Python: this rule, or one before it")


def test_rules_for_hosts_and_lists_of_rules_run_in_c():
    application = web.Application(
        [("/api/.*", [("/api/a", Plain)]), ("/", Plain)], default_host="b.org"
    )
    application.add_handlers(r"(www\.)?b\.org", [("/b", Plain)])
    name = f"{__name__}.Plain"
    assert list(doctor.lines(application)) == [
        r"host (www\.)?b\.org$ (matched by re), then:",
        *(f"/b$  {name}", "  in C"),
        "any host, then:",
        "/api/.*$ (matched by re), then:",
        *(f"/api/a$  {name}", "  in C"),
        *(f"/$  {name}", "  in C"),
        r"default host (www\.)?b\.org$ (matched by re), then:",
        *(f"/b$  {name}", "  in C"),
    ]


class OwnApplication(web.Application):
    pass


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: OwnApplication([]), "OwnApplication is a subclass"),
        (lambda: web.Application(debug=True, autoreload=False), "(debug)"),
    ],
)
def test_what_leaves_all_requests_to_python(make, reason):
    head, why = doctor.lines(make())
    assert head == "All requests run in Python:"
    assert reason in why


def test_a_patched_application_class_is_told(monkeypatch):
    monkeypatch.setattr(web.Application, "find_handler", lambda self, request: None)
    _, why = told(("/", Plain))
    assert "Application.find_handler was replaced (" in why


PROGRAM = """
from pyfastloop.web import Application, RequestHandler
class Home(RequestHandler):
    def get(self): self.write("home")
def make(): return Application([("/", Home)])
app = make()
number = 5
"""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "program.py").write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-m", "pyfastloop", "doctor", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", ["app", "make"])
def test_the_command(tmp_path: Path, name: str):
    done = run(tmp_path, f"program:{name}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "/$  program.Home\n  in C\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "usage:"),
        (["program"], 3, "expected module:name"),
        (["program:nope"], 3, "program has no 'nope'"),
        (["program:number"], 3, "is 5, not an Application"),
        (["nowhere:app"], 3, "No module named 'nowhere'"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, arguments, status, message):
    done = run(tmp_path, *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
