"""Hooks of RequestHandler and Application that tools replace are called, whenever and
wherever they were replaced."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import threading

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
    "__init__",
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


# Hooks that come after the method has begun.
LATER = ["on_finish", "compute_etag", "set_etag_header", "check_etag_header"]
LATER += ["finish", "flush", "write", "_log"]


@pytest.mark.parametrize("where", ["class", "mixin", "base", "root"])
@pytest.mark.parametrize("name", LATER)
def test_a_hook_replaced_anywhere_in_the_midst_of_a_request(
    site, classes, monkeypatch, where, name
):
    calls: list[str] = []
    replaced = counted(classes[where], name, calls)

    def get(self):
        monkeypatch.setattr(classes[where], name, replaced, raising=False)
        self.write("x")

    s = site([("/", classes["class"])])
    assert s.ask("/").body == b"x"
    classes["class"].get = get
    assert s.ask("/").body == b"x"
    assert name in calls


@pytest.mark.parametrize("name", ["prepare", "get", *LATER])
def test_a_hook_set_on_the_object_before_the_request(site, classes, name):
    calls: list[str] = []
    replaced = counted(None, name, calls)
    wanted = [False]

    def initialize(self):
        if wanted[0]:
            setattr(self, name, replaced.__get__(self))

    classes["class"].initialize = initialize
    s = site([("/", classes["class"])])
    assert s.ask("/").body == b"x"
    assert calls == []
    wanted[0] = True
    assert s.ask("/").body == b"x"
    assert name in calls


@pytest.mark.parametrize("where", ["class", "base"])
@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_after_two_thousand_stores(site, classes, monkeypatch, where, name):
    s = site([("/", classes["class"])])
    assert s.ask("/").body == b"x"
    for number in range(2_000):
        classes[where].counter = number
        classes["class"].counter  # noqa: B018 - each look-up takes a version tag
    calls: list[str] = []
    if name == "get":
        del classes["class"].get
    monkeypatch.setattr(
        classes[where], name, counted(classes[where], name, calls), raising=False
    )
    assert s.ask("/").body == b"x"
    assert name in calls


@pytest.mark.parametrize("where", ["class", "mixin", "base", "root"])
@pytest.mark.parametrize(
    "name",
    ["log_exception", "send_error", "write_error", "_handle_request_exception"],
)
def test_a_replaced_error_hook_is_called(site, classes, monkeypatch, where, name):
    def get(self):
        raise KeyError("k")

    classes["class"].get = get
    s = site([("/", classes["class"])])
    assert s.ask("/").code == 500
    calls: list[str] = []
    monkeypatch.setattr(
        classes[where], name, counted(classes[where], name, calls), raising=False
    )
    assert s.ask("/").code == 500
    assert calls == [name]
    monkeypatch.undo()
    assert s.ask("/").code == 500
    assert calls == [name]


@pytest.mark.parametrize("name", ["get_current_user", "get_login_url"])
def test_hooks_of_users_are_called(site, classes, monkeypatch, name):
    calls = []

    def replaced(self):
        calls.append(name)
        return "/login" if name == "get_login_url" else None

    classes["class"].get = web.authenticated(lambda self: None)
    s = site([("/", classes["class"])], login_url="/elsewhere")
    assert s.ask("/").headers["Location"].startswith("/elsewhere?")
    monkeypatch.setattr(web.RequestHandler, name, replaced)
    assert s.ask("/").code == 302
    assert calls == [name]


def test_fetch_of_the_client_can_be_wrapped(site, monkeypatch):
    from pyfastloop.httpclient import AsyncHTTPClient

    original = AsyncHTTPClient.fetch
    seen = []

    def fetch(self, request, *args, **kwargs):
        seen.append(request)
        return original(self, request, *args, **kwargs)

    class Proxy(web.RequestHandler):
        async def get(self):
            response = await AsyncHTTPClient().fetch(self.get_argument("url"))
            self.write(response.body)

    class Hello(web.RequestHandler):
        def get(self):
            self.write("x")

    s = site([("/", Proxy), ("/hello", Hello)])
    url = f"http://127.0.0.1:{s.port}/hello"
    assert s.ask(f"/?url={url}").body == b"x"
    monkeypatch.setattr(AsyncHTTPClient, "fetch", fetch)
    assert s.ask(f"/?url={url}").body == b"x"
    assert seen == [url]


def wrap_init(cls, seen):
    original = cls.__init__

    def wrapped(self, *args, **kwargs):
        seen.append("init")
        original(self, *args, **kwargs)

    cls.__init__ = wrapped


def test_a_wrapped_init_hands_keywords_on(site):
    class Handler(web.RequestHandler):
        def initialize(self, word, other="b"):
            self.word = word + other

        def get(self):
            self.write(f"{self.word} {self.path_args} {self.path_kwargs}")

    seen: list[str] = []
    wrap_init(Handler, seen)
    s = site([("/", Handler, {"word": "a"})])
    assert s.ask("/").body == b"ab [] {}"
    assert seen == ["init"]


def test_classes_behind_the_handler_are_initialised(site):
    class Behind:
        def __init__(self):
            self.behind = True
            super().__init__()

    class Handler(web.RequestHandler, Behind):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

        def get(self):
            self.write(str(self.behind))

    assert site([("/", Handler)]).ask("/").body == b"True"


def test_a_handler_that_makes_another_one_of_its_request(site):
    class Other(web.RequestHandler):
        def initialize(self, word):
            self.word = word

        def get(self):
            self.finish(self.word)

    class Handler(web.RequestHandler):
        def get(self):
            self._auto_finish = False
            Other(self.application, self.request, word="other").get()

    seen: list[str] = []
    s = site([("/", Handler), ("/wrapped", type("Wrapped", (Handler,), {}))])
    assert s.ask("/").body == b"other"
    wrap_init(Other, seen)
    assert s.ask("/").body == b"other"
    assert s.ask("/wrapped").body == b"other"
    assert seen == ["init", "init"]


def test_a_property_in_the_place_of_the_request(site):
    class Handler(web.RequestHandler):
        @property
        def request(self):
            return self.kept

        @request.setter
        def request(self, value):
            self.kept = value

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

        def get(self):
            self.write(self.kept.path)

    assert site([("/", Handler)]).ask("/").body == b"/"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_handler_hears_that_its_peer_has_left(site, wrapped):
    seen: list[str] = []
    started = threading.Event()

    class Handler(web.RequestHandler):
        over: asyncio.Future[None]

        async def get(self):
            self.left = asyncio.Event()
            started.set()
            await self.left.wait()
            self.over.set_result(None)

        def on_connection_close(self):
            seen.append("left")
            self.left.set()

    if wrapped:
        wrap_init(Handler, seen)
    s = site([("/", Handler)])

    def leave():
        with socket.create_connection(("127.0.0.1", s.port), 60) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert started.wait(60)

    async def until_over():
        loop = asyncio.get_running_loop()
        Handler.over = loop.create_future()
        await loop.run_in_executor(None, leave)
        await Handler.over

    s.run(until_over)
    assert seen == ["init"] * wrapped + ["left"]


@pytest.mark.parametrize("name", ["request", "application"])
def test_a_property_hears_what_init_sets(site, name):
    """The class has what ``__init__`` sets as a property with a setter."""
    seen = []

    def store(self, value):
        seen.append(type(value).__name__)
        self.kept = value

    class Handler(web.RequestHandler):
        def get(self):
            self.write(self.request.path + str(len(self.application.settings)))

        def post(self):
            self.write(self.get_argument("a"))

    setattr(Handler, name, property(lambda self: self.kept, store))
    s = site([("/", Handler)])
    assert s.ask("/").text == "/0"
    assert len(seen) == 1
    assert s.ask("/?a=1", "POST").text == "1"


def test_a_class_behind_the_handler_is_initialised(site):
    """RequestHandler's ``__init__`` calls that of a base named after it."""

    class Behind:
        def __init__(self):
            self.tags = ["behind"]

    class Handler(web.RequestHandler, Behind):
        def initialize(self, tag):
            self.tags.append(tag)

        def get(self):
            self.write(" ".join(self.tags))

    s = site([("/", Handler, {"tag": "init"})])
    assert s.ask("/").text == "behind init"
    Behind.__init__ = lambda self: setattr(self, "tags", ["patched"])
    assert s.ask("/").text == "patched init"


def test_an_init_given_later_to_a_class_behind(site):
    class Behind:
        tag = "none"

    class Handler(web.RequestHandler, Behind):
        def get(self):
            self.write(self.tag)

    s = site([("/", Handler)])
    assert s.ask("/").text == "none"
    Behind.__init__ = lambda self: setattr(self, "tag", "some")
    assert s.ask("/").text == "some"


@pytest.mark.parametrize("flags", [set(), {"_should_not_send_content"}])
def test_set_header_hears_of_all_that_depends_on_the_body(site, flags):
    names = []

    class Handler(web.RequestHandler):
        def set_header(self, name, value):
            names.append((name, type(value)))
            super().set_header(name, value)

        def get(self):
            self.write({"a": 1})

    for name in flags:
        original = getattr(web.RequestHandler, name)
        setattr(Handler, name, staticmethod(lambda code, f=original: f(code)))
    assert site([("/", Handler)]).ask("/").headers["Content-Length"] == "8"
    assert names == [("Content-Type", str), ("Etag", str), ("Content-Length", int)]


def test_values_are_converted_by_the_hook_for_it(site):
    seen = []

    class Handler(web.RequestHandler):
        def _convert_header_value(self, value):
            seen.append(value)
            return super()._convert_header_value(value)

        def get(self):
            self.write({"a": 1})

    assert site([("/", Handler)]).ask("/").body == b'{"a": 1}'
    assert seen[0] == "application/json; charset=UTF-8"
    assert seen[2:] == [8]


def test_an_earlier_rule_that_gets_another_pattern(site):
    class Handler(web.RequestHandler):
        def initialize(self, name):
            self.name = name

        def get(self):
            self.write(self.name)

    s = site([("/a", Handler, {"name": "one"}), ("/b", Handler, {"name": "two"})])
    assert s.ask("/b").text == "two"
    rules = s.app.wildcard_router.rules
    rules[0].matcher.regex = re.compile("/b$")
    assert s.ask("/b").text == "one"
