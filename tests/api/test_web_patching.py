"""Hooks of RequestHandler and Application that tools replace are called, whenever and
wherever they were replaced."""

from __future__ import annotations

import inspect

import pytest

from pyfastloop import web

HOOKS = [
    "initialize",
    "prepare",
    "on_finish",
    "set_default_headers",
    "compute_etag",
    "set_etag_header",
    "check_etag_header",
    "finish",
    "flush",
    "write",
    "clear",
    "_log",
    "_execute",
    "get",
]


class Mixin:
    pass


@pytest.fixture
def classes():
    class Base(web.RequestHandler):
        pass

    class Handler(Mixin, Base):
        def get(self):
            self.write("x")

    yield {"class": Handler, "mixin": Mixin, "base": Base, "root": web.RequestHandler}


def counted(owner, name, calls):
    """A replacement of ``name`` that notes its call and goes on."""
    original = getattr(web.RequestHandler, name)

    def replaced(self, *args, **kwargs):
        calls.append(name)
        return original(self, *args, **kwargs)

    if name == "get":

        def replaced(self):
            calls.append(name)
            self.write("x")

    return replaced


@pytest.mark.parametrize("where", ["class", "mixin", "base", "root"])
@pytest.mark.parametrize("name", HOOKS)
def test_a_replaced_hook_is_called(site, classes, monkeypatch, where, name):
    s = site([("/", classes["class"])])
    assert s.ask("/").body == b"x"  # the original has run before
    calls: list[str] = []
    if name == "get":
        del classes["class"].get
    monkeypatch.setattr(
        classes[where], name, counted(classes[where], name, calls), raising=False
    )
    answer = s.ask("/")
    assert (answer.code, answer.body) == (200, b"x")
    assert name in calls
    if name != "get":
        monkeypatch.undo()
        calls.clear()
        assert s.ask("/").body == b"x"
        assert calls == []


@pytest.mark.parametrize(
    "name", ["on_finish", "compute_etag", "finish", "flush", "_log"]
)
def test_a_hook_replaced_on_the_object_in_the_midst_of_a_request(site, name):
    calls = []

    class Handler(web.RequestHandler):
        def get(self):
            original = getattr(self, name)

            def replaced(*args, **kwargs):
                calls.append(name)
                return original(*args, **kwargs)

            setattr(self, name, replaced)
            self.write("x")

    s = site([("/", Handler)])
    assert s.ask("/").body == b"x"
    assert calls == [name]


def test_a_hook_replaced_on_the_class_in_the_midst_of_a_request(site):
    calls = []

    class Handler(web.RequestHandler):
        def get(self):
            type(self).on_finish = lambda self: calls.append("on_finish")

    s = site([("/", Handler)])
    s.ask("/")
    assert calls == ["on_finish"]


def test_after_two_thousand_stores_on_the_class(site):
    calls = []

    class Handler(web.RequestHandler):
        def get(self):
            self.write("x")

    s = site([("/", Handler)])
    for number in range(2000):
        Handler.stored = number
        if number % 500 == 0:
            s.ask("/")
    Handler.on_finish = lambda self: calls.append("on_finish")
    s.ask("/")
    assert calls == ["on_finish"]


def test_execute_is_a_coroutine_function():
    assert inspect.iscoroutinefunction(web.RequestHandler._execute)


def test_execute_wrapped_as_tracers_do(site, monkeypatch):
    seen = []
    original = web.RequestHandler._execute

    async def traced(self, *args, **kwargs):
        seen.append("before")
        try:
            return await original(self, *args, **kwargs)
        finally:
            seen.append(self.get_status())

    monkeypatch.setattr(web.RequestHandler, "_execute", traced)

    class Handler(web.RequestHandler):
        def get(self):
            raise web.HTTPError(418)

    assert site([("/", Handler)]).ask("/").code == 418
    assert seen == ["before", 418]


def test_application_hooks(site, monkeypatch):
    seen = []

    class Handler(web.RequestHandler):
        def get(self):
            self.write("x")

    s = site([("/", Handler)])
    monkeypatch.setattr(
        web.Application, "log_request", lambda self, handler: seen.append("log")
    )
    s.ask("/")
    s.app.find_handler = lambda request, **kwargs: (
        seen.append("find") or web.Application.find_handler(s.app, request)
    )
    s.ask("/")
    assert seen == ["log", "find", "log"]


def test_connection_methods_assigned_by_a_tool(site):
    seen = []

    class Handler(web.RequestHandler):
        def get(self):
            connection = self.request.connection
            original = type(connection).write_headers

            def wrapped(self, start_line, headers, chunk=None):
                seen.append(start_line.code)
                return original(self, start_line, headers, chunk)

            type(connection).write_headers = wrapped
            try:
                self.finish("x")
            finally:
                type(connection).write_headers = original

    assert site([("/", Handler)]).ask("/").body == b"x"
    assert seen == [200]


def test_an_unimplemented_method_of_ones_own(site):
    class Handler(web.RequestHandler):
        def _unimplemented_method(self, *args, **kwargs):
            raise AssertionError("the methods were bound at their birth, as in Tornado")

    assert site([("/", Handler)]).ask("/").code == 405
