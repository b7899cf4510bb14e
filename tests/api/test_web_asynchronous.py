"""pyfastloop.web.asynchronous: the form of Tornado 3 and 4, and its promise that an
exception in any callback of a request ends that request."""

from __future__ import annotations

import pytest
from web_support import lines_of

from pyfastloop import gen, ioloop, web
from pyfastloop.stack_context import ExceptionStackContext


def later(function, *args):
    ioloop.IOLoop.current().call_later(0.001, function, *args)


class Callbacks(web.RequestHandler):
    @web.asynchronous
    def get(self, depth):
        self.go(int(depth))

    def go(self, depth):
        if depth:
            later(self.go, depth - 1)
        else:
            self.end()

    def end(self):
        self.finish("done")


class Failing(Callbacks):
    def end(self):
        raise KeyError("in a callback")


class Engine(web.RequestHandler):
    @web.asynchronous
    @gen.engine
    def get(self, what):
        result = yield gen.Task(self.work)
        if what == "fails":
            raise KeyError("in an engine")
        self.finish(str(result))

    def work(self, callback):
        later(callback, 7)


class EngineOutside(web.RequestHandler):
    @gen.engine
    @web.asynchronous
    def get(self, what):
        if what == "fails":
            raise KeyError("in an engine")
        later(self.finish, "7")


class Coroutine(web.RequestHandler):
    @web.asynchronous
    @gen.coroutine
    def get(self, what):
        yield gen.sleep(0.001)
        if what == "fails":
            raise KeyError("in a coroutine")
        self.write("7")


class Native(web.RequestHandler):
    @web.asynchronous
    async def get(self, what):
        await gen.sleep(0.001)
        if what == "fails":
            raise KeyError("in a coroutine")
        self.finish("7")


FORMS = [Engine, EngineOutside, Coroutine, Native]


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_the_request_stays_open_until_finish(site, depth):
    assert site([("/(.*)", Callbacks)]).ask(f"/{depth}").body == b"done"


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_an_exception_however_deep_ends_the_request(site, caplog, depth):
    answer = site([("/(.*)", Failing)]).ask(f"/{depth}")
    assert answer.code == 500
    (line,) = lines_of(caplog, "tornado.application")
    assert line.startswith(f"Uncaught exception GET /{depth} ")
    assert "KeyError: 'in a callback'" in caplog.text


@pytest.mark.parametrize("form", FORMS)
def test_over_coroutines_of_every_kind(site, caplog, form):
    s = site([("/(.*)", form)])
    assert s.ask("/works").body == b"7"
    assert s.ask("/fails").code == 500
    assert len(lines_of(caplog, "tornado.application")) == 1


def test_http_errors_keep_their_status(site):
    class Handler(web.RequestHandler):
        @web.asynchronous
        def get(self):
            later(self.fail)

        def fail(self):
            raise web.HTTPError(418)

    assert site([("/", Handler)]).ask("/").code == 418


def test_a_context_of_the_program_sees_the_exception_first(site, caplog):
    class Handler(web.RequestHandler):
        @web.asynchronous
        def get(self):
            with ExceptionStackContext(self.seen):
                later(self.fail)

        def fail(self):
            raise KeyError("k")

        def seen(self, typ, value, tb):
            self.finish(f"saw {typ.__name__}")
            return True

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.body) == (200, b"saw KeyError")
    assert lines_of(caplog, "tornado.application") == []


def test_an_exception_after_finish_is_logged_only(site, caplog):
    class Handler(web.RequestHandler):
        @web.asynchronous
        def get(self):
            self.finish("done")
            raise KeyError("after")

    assert site([("/", Handler)]).ask("/").body == b"done"
    assert len(lines_of(caplog, "tornado.application")) == 1


def test_requests_do_not_answer_for_each_other(site):
    """A callback of one request runs while another is handled."""
    waiting = []

    class First(web.RequestHandler):
        @web.asynchronous
        def get(self):
            later(self.check)

        def check(self):
            if not waiting:
                later(self.check)
                return
            later(waiting.pop().finish, "second")
            raise KeyError("of the first")

    class Second(web.RequestHandler):
        @web.asynchronous
        def get(self):
            waiting.append(self)

    s = site([("/1", First), ("/2", Second)])

    async def both():
        ask = s.loop.run_in_executor
        return await gen.multi([ask(None, fetch, path) for path in ("/1", "/2")])

    def fetch(path):
        from web_support import Answer, exchange

        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return Answer(exchange(s.port, request.encode()))

    first, second = s.run(both)
    assert first.code == 500
    assert (second.code, second.body) == (200, b"second")
