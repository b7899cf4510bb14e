"""What a program does to its own handler, request and classes in mid-request: nothing
it overrides is skipped, and nothing it deletes or replaces crashes."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import gc
import logging
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from pyfastloop import httputil, routing, web
from pyfastloop.http1connection import HTTP1Connection
from pyfastloop.httpserver import HTTPServer
from pyfastloop.ioloop import IOLoop
from pyfastloop.netutil import bind_sockets


class Hello(web.RequestHandler):
    def get(self):
        self.write("x")


# ---- class 19 and DESIGN 3.6: nothing is skipped ----


def test_supported_methods_set_by_initialize(site):
    class Handler(Hello):
        def initialize(self):
            self.SUPPORTED_METHODS = ("POST",)

    assert site([("/", Handler)]).ask("/").code == 405


def test_execute_set_on_the_object_by_initialize(site):
    class Handler(web.RequestHandler):
        def initialize(self):
            async def mine(transforms, *args, **kwargs):
                self.finish(f"{transforms} {args} {kwargs}")

            self._execute = mine

        get = Hello.get

    s = site([("/a/(.*)", Handler), ("/b/(?P<name>.*)", Handler)])
    assert s.ask("/a/1").text == "[] (b'1',) {}"
    assert s.ask("/b/2").text == "[] () {'name': b'2'}"


def test_a_class_replaced_between_head_and_body(site):
    calls = []

    class Handler(web.RequestHandler):
        def post(self, name):
            self.write(name + self.request.body.decode())

    s = site([("/(.*)", Handler)])

    def replace():
        for name in ("__init__", "_execute", "prepare"):
            original = getattr(Handler, name)

            def counted(self, *args, _name=name, _original=original, **kwargs):
                calls.append(_name)
                return _original(self, *args, **kwargs)

            setattr(Handler, name, counted)

    def ask():
        with socket.create_connection(("127.0.0.1", s.port), timeout=60) as sock:
            sock.sendall(
                b"POST /n HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
            replace()
            sock.sendall(b"ab")
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
            return b"".join(pieces)

    assert s.in_thread(ask).endswith(b"\r\n\r\nnab")
    assert calls == ["__init__", "_execute", "prepare"]


def test_the_call_of_a_metaclass(site):
    calls = []

    class Meta(type):
        def __call__(cls, *args, **kwargs):
            calls.append(cls.__name__)
            return super().__call__(*args, **kwargs)

    class Handler(Hello, metaclass=Meta):
        pass

    assert site([("/", Handler)]).ask("/").text == "x"
    assert calls == ["Handler"]


def test_an_abstract_handler_is_not_made(site, caplog):
    class Handler(Hello, metaclass=abc.ABCMeta):
        @abc.abstractmethod
        def missing(self): ...

    assert site([("/", Handler)]).ask("/").raw == b""
    assert "abstract" in caplog.text


def test_methods_that_are_no_functions(site):
    calls = []

    class Handler(web.RequestHandler):
        @staticmethod
        def get(*args):
            calls.append(args)

        @classmethod
        def put(cls, *args):
            calls.append((cls, *args))

        @property
        def options(self):
            return lambda: self.write("property")

    s = site([("/", Handler)])
    assert s.ask("/").code == 200
    assert s.ask("/", method="PUT").code == 200
    assert s.ask("/", method="OPTIONS").text == "property"
    assert calls == [(), (Handler,)]


def test_hooks_in_slots(site):
    calls = []

    class Handler(Hello):
        __slots__ = ("on_finish", "prepare")

        def initialize(self):
            self.prepare = lambda: calls.append("prepare")
            self.on_finish = lambda: calls.append("on_finish")

    assert site([("/", Handler)]).ask("/").text == "x"
    assert calls == ["prepare", "on_finish"]


def test_another_class_in_the_midst_of_a_request(site):
    class Other(web.RequestHandler):
        def get(self):
            self.write("other")

        def compute_etag(self):
            return '"other"'

    class Handler(Hello):
        def prepare(self):
            self.__class__ = Other

    answer = site([("/", Handler)]).ask("/")
    assert (answer.text, answer.headers["Etag"]) == ("other", '"other"')


def test_clear_header_is_called_for_an_answer_without_body(site):
    names = []

    class Handler(web.RequestHandler):
        def get(self):
            self.set_status(204)

        def clear_header(self, name):
            names.append(name)
            super().clear_header(name)

    assert "Content-Type" not in site([("/", Handler)]).ask("/").headers
    assert "Content-Type" in names


def test_what_writes_cookies_can_be_replaced(site):
    seen = []

    class Handler(web.RequestHandler):
        def get(self):
            self.set_cookie("a", "b")

        def add_header(self, name, value):
            seen.append(name)
            super().add_header(name, value)

        def _write_cookies(self):
            seen.append("_write_cookies")
            super()._write_cookies()

    class Quiet(Hello):
        def _write_cookies(self):
            seen.append("quiet")

    s = site([("/", Handler), ("/quiet", Quiet)])
    assert s.ask("/").all("Set-Cookie") == ["a=b; Path=/"]
    assert s.ask("/quiet").code == 200
    assert seen == ["_write_cookies", "Set-Cookie", "quiet"]


def test_an_own_status_decides_whether_a_line_is_logged(site, caplog):
    class Handler(Hello):
        def get_status(self):
            return 500

    caplog.set_level(logging.WARNING, "tornado.access")
    site([("/", Handler)]).ask("/")
    assert "500 GET /" in caplog.text


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (routing.PathMatches, "match"),
        (routing.AnyMatches, "match"),
        (routing._RoutingDelegate, "headers_received"),
        (routing.RuleRouter, "find_handler"),
        (web.Application, "get_handler_delegate"),
        (web.Application, "find_handler"),
        (httputil.HTTPServerRequest, "__init__"),
        (HTTP1Connection, "write_headers"),
        (HTTP1Connection, "finish"),
    ],
)
@pytest.mark.parametrize("asked_before", [True, False])
def test_what_stands_between_socket_and_handler(
    site, monkeypatch, owner, name, asked_before
):
    calls = []
    s = site([("/", Hello)])
    if asked_before:
        s.ask("/")
    original = getattr(owner, name)

    def counted(self, *args, **kwargs):
        calls.append(name)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    assert s.ask("/").text == "x"
    assert calls
    monkeypatch.undo()
    calls.clear()
    assert s.ask("/").text == "x"
    assert calls == []


PATCHED_FIRST = """
from pyfastloop import web
from web_support import Site

calls = []
original = web.Application.find_handler

def counted(self, request, **kwargs):
    calls.append("find_handler")
    return original(self, request, **kwargs)

web.Application.find_handler = counted

class Hello(web.RequestHandler):
    def get(self):
        self.write("x")

site = Site([("/", Hello)])
site.ask("/")
site.close()
print(calls)
"""


def test_a_tool_that_came_before_the_first_request_of_the_process():
    """Hooks are compared with what the classes were made with, not with what the
    first request found."""
    told = subprocess.run(
        [sys.executable, "-c", PATCHED_FIRST],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout == "['find_handler']\n"


def test_state_does_not_cross_requests_of_a_connection(site):
    """Class 19: what one request hung on its connection, the next does not see."""

    class Handler(web.RequestHandler):
        def get(self):
            connection = self.request.connection
            self.write(f"{connection.context is marked} {vars(connection)}")
            connection.context = marked
            connection.mark = 1

    marked = type("Marked", (), {"remote_ip": "1.2.3.4", "protocol": "http"})()
    s = site([("/", Handler)])
    raw = s.raw(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert raw.count(b"False {}") == 2


# ---- law 1: re-entry, deleted and replaced parts ----

PARTS = ["_headers", "request", "_reason", "application", "path_args", "path_kwargs"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("where", ["prepare", "get", "compute_etag"])
def test_a_part_deleted_in_the_midst_of_a_request(site, part, where):
    class Handler(Hello):
        def prepare(self):
            self.drop("prepare")

        def get(self):
            self.write("x")
            self.drop("get")

        def compute_etag(self):
            self.drop("compute_etag")

        def drop(self, here):
            if here == where:
                try:
                    delattr(self, part)
                except AttributeError:
                    setattr(self, part, None)

    s = site([("/", Handler), ("/x", Hello)])
    assert s.ask("/").raw.count(b"HTTP/1.1") <= 1
    assert s.ask("/x").text == "x"


def test_methods_of_a_handler_that_was_never_initialised():
    calls = [
        ("clear_header", "x"),
        ("set_header", "a", "b"),
        ("add_header", "a", "b"),
        ("finish",),
        ("check_etag_header",),
    ]
    for name, *args in calls:
        with pytest.raises(AttributeError):
            getattr(Hello.__new__(Hello), name)(*args)


@pytest.mark.parametrize("value", [None, 5, [("a", "b")]])
def test_path_kwargs_that_are_no_dict(site, value):
    class Handler(Hello):
        def prepare(self):
            self.path_kwargs = value

    assert site([("/", Handler)]).ask("/").code == 500


def test_arguments_that_change_while_they_are_taken(site):
    class Arguments:
        def __init__(self, handler):
            self.handler = handler

        def __iter__(self):
            self.handler.path_args = []
            self.handler.path_kwargs = {}
            yield "a"

    class Handler(web.RequestHandler):
        def prepare(self):
            self.path_args = Arguments(self)

        def get(self, name="none"):
            self.write(name)

    assert site([("/", Handler)]).ask("/").text == "a"


@pytest.mark.parametrize("path", ["/a/1/2", "/b/1/2"])
@pytest.mark.parametrize("value", [None, (), "gone"])
def test_a_decode_argument_that_drops_what_is_being_made(site, path, value):
    class Handler(web.RequestHandler):
        def decode_argument(self, raw, name=None):
            for part in ("path_args", "path_kwargs"):
                if value == "gone":
                    delattr(self, part)
                else:
                    setattr(self, part, value)
            return raw.decode()

        def get(self, a, b):
            self.write(a + b)

    class Positional(Handler):
        def prepare(self):
            self.path_kwargs = {}

    class Named(Handler):
        def prepare(self):
            self.path_args = []

    s = site([("/a/(.)/(.)", Positional), ("/b/(?P<a>.)/(?P<b>.)", Named)])
    assert s.ask(path).text == "12"


def test_odd_things_in_the_write_buffer(site):
    class Greedy(bytearray):
        def __len__(self):
            self.handler._write_buffer.clear()
            return 3

    class Handler(web.RequestHandler):
        def get(self, kind):
            if kind == "number":
                self._write_buffer = [1]
            elif kind == "text":
                self._write_buffer = [b"a", "b"]
            elif kind == "array":
                self._write_buffer = [bytearray(b"abc"), memoryview(b"de")]
            else:
                odd = Greedy(b"abc")
                odd.handler = self
                self._write_buffer = [b"1", odd, odd, odd]

    s = site([("/(.*)", Handler)])
    assert s.ask("/number").code == 500
    assert s.ask("/text").code == 500
    assert s.ask("/array").text == "abcde"
    assert s.ask("/greedy").raw.count(b"HTTP/1.1") <= 1
    assert s.ask("/array").text == "abcde"


def test_cookies_whose_writing_replaces_headers_or_connection(site):
    class Handler(web.RequestHandler):
        def get(self, kind):
            self.kind = kind
            self.set_cookie("a", "b")
            self.write("x")

        def add_header(self, name, value):
            super().add_header(name, value)
            if self.kind == "headers":
                self._headers = dict(self._headers)
            elif self.kind == "patch":
                self.request.connection.mark = 1
            else:
                self.request.connection = None

    s = site([("/(.*)", Handler)])
    assert s.ask("/headers").all("Set-Cookie") == ["a=b; Path=/"]
    assert s.ask("/patch").all("Set-Cookie") == ["a=b; Path=/"]
    assert s.ask("/connection").raw == b""


def test_an_exchange_has_one_answer(site, caplog):
    class Handler(web.RequestHandler):
        def get(self, kind):
            connection = self.request.connection
            line = httputil.ResponseStartLine("", 200, "OK")
            empty = httputil.HTTPHeaders({"Content-Length": "0"})
            if kind == "handlers":
                Hello(self.application, self.request).finish("one")
            elif kind == "heads":
                connection.write_headers(line, httputil.HTTPHeaders())
                with pytest.raises(httputil.HTTPOutputError):
                    connection.write_headers(line, empty)
                connection.finish()
                self._finished = True
            else:
                self.finish("one")
                with pytest.raises(httputil.HTTPOutputError):
                    connection.write(b"HTTP/1.1 200 evil")
                with pytest.raises(httputil.HTTPOutputError):
                    connection.write_headers(line, empty)
                connection.finish()

    s = site([("/(.*)", Handler)])
    for kind in ("handlers", "heads", "late"):
        assert s.ask("/" + kind).raw.count(b"HTTP/1.1") == 1
    assert "assert" not in caplog.text.lower()


@pytest.mark.parametrize("how", ["sync", "async", "later"])
def test_a_cancelled_handler_answers_500_and_is_logged_once(site, caplog, how):
    class Sync(web.RequestHandler):
        def get(self):
            raise asyncio.CancelledError

    class Async(web.RequestHandler):
        async def get(self):
            if how == "later":
                await asyncio.sleep(0)
            raise asyncio.CancelledError

    s = site([("/", Sync if how == "sync" else Async)])
    raw = s.raw(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert raw.count(b"HTTP/1.1 500") == 2
    logged = [r for r in caplog.records if r.name == "tornado.application"]
    assert len(logged) == 2


def test_the_traceback_of_an_exception_stays(site):
    seen = []

    class Handler(web.RequestHandler):
        def get(self):
            raise ZeroDivisionError

        def log_exception(self, typ, value, tb):
            seen.append(value)

    assert site([("/", Handler)]).ask("/").code == 500
    assert "raise ZeroDivisionError" in "".join(traceback.format_exception(seen[0]))


# ---- DESIGN 3.9: no cycles ----


class Missing(web.RequestHandler):
    def get(self):
        raise web.HTTPError(404)


class Broken(web.RequestHandler):
    def get(self):
        raise ZeroDivisionError


class Later(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0)
        self.write("x")


class LaterBroken(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0)
        raise ZeroDivisionError


class Done(web.RequestHandler):
    def get(self):
        raise web.Finish("x")


class Stored(web.RequestHandler):
    def initialize(self):
        self.mine = [1]

    def get(self):
        self.set_cookie("a", "b")
        self.write({"a": self.get_argument("a", "b")})


class Posted(web.RequestHandler):
    def get(self):
        self.write(self.get_cookie("a", "none"))

    def post(self):
        self.write(self.get_body_argument("a"))


@web.stream_request_body
class Streamed(web.RequestHandler):
    def data_received(self, chunk):
        pass

    def post(self):
        self.write("x")

    get = post


GOOD = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = (
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=b"
)
BAD = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n"
CHUNKS = (
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx"
)


@pytest.mark.parametrize("data", [GOOD, POST, BAD, CHUNKS, GOOD[:20], POST[:-1], b""])
@pytest.mark.parametrize(
    "handler",
    [Hello, Missing, Broken, Later, LaterBroken, Done, Stored, Posted, Streamed],
)
def test_the_collector_finds_nothing_after_a_request(site, handler, data):
    s = site([("/", handler)])

    def ask():
        with socket.create_connection(("127.0.0.1", s.port), timeout=60) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass

    async def settle():
        while s.server._connections:
            await asyncio.sleep(0)

    for _ in range(2):
        s.in_thread(ask)
        s.run(settle)
    while gc.collect():  # what other tests have left may take more than one
        pass
    for _ in range(3):
        s.in_thread(ask)
    s.run(settle)
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        before = len(gc.garbage)
        s.in_thread(ask)
        s.run(settle)
        gc.collect()
        found = [
            item
            for item in gc.garbage[before:]
            if type(item).__module__.startswith("pyfastloop")
            or isinstance(item, web.RequestHandler)
        ]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize("way", ["flush", "finish", "short"])
def test_what_was_sent_before_a_close_arrives(site, way, requests):
    """Nothing that was flushed is kept back until a stream is closed."""

    class Handler(web.RequestHandler):
        def get(self):
            self.set_header("Content-Length", "9")
            self.write("flu" if way == "short" else "flushed..")
            if way == "finish":
                self.finish()
            else:
                self.flush()
            if way != "short":
                self.request.connection.stream.close()

    s = site([("/", Handler)])
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = s.raw(request * requests)
    assert answer.endswith(b"\r\n\r\n" + (b"flu" if way == "short" else b"flushed.."))


# ---- answers before there is anything to answer ----


def test_an_answer_out_of_set_default_headers_leaves_nothing_behind(site):
    """It is refused; who swallows that gets the answer of the method, whole."""

    class Swallows(web.RequestHandler):
        def set_default_headers(self):
            with contextlib.suppress(AttributeError):
                self.finish("short")

        def get(self):
            self.write("a longer answer")

    answer = site([("/", Swallows)]).ask("/")
    assert (answer.code, answer.body) == (200, b"a longer answer")
    assert answer.headers["Content-Length"] == "15"


class Routed(web.Application):
    """With a hook of its own: Python routes its requests."""

    def find_handler(self, request, **kwargs):
        return super().find_handler(request, **kwargs)


async def woken():
    future = asyncio.get_running_loop().create_future()
    IOLoop.current().add_callback(future.set_result, None)
    await future


class StopsFirst(web.RequestHandler):
    async def get(self):
        await woken()
        IOLoop.current().stop()
        self.write("bye")


class StopsLast(web.RequestHandler):
    async def get(self):
        await woken()
        self.write("bye")
        self.flush()
        IOLoop.current().stop()


class StopsFinished(web.RequestHandler):
    async def get(self):
        await woken()
        self.finish("bye")
        IOLoop.current().stop()


@pytest.mark.parametrize("application", [web.Application, Routed])
@pytest.mark.parametrize("handler", [StopsFirst, StopsLast, StopsFinished])
def test_what_was_answered_when_the_loop_is_stopped_has_left(application, handler):
    loop = IOLoop()
    (listener,) = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(application([("/", handler)]))
    server.add_sockets([listener])
    with socket.create_connection(listener.getsockname(), 30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        loop.start()
        answer = client.recv(4096)
    server.stop()
    loop.close(all_fds=True)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"bye" in answer
