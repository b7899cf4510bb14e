"""pyfastloop.web.asynchronous: the form of Tornado 3 and 4, and its promise that an
exception in any callback of a request ends that request."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
import weakref

import pytest
from web_support import lines_of

from pyfastloop import gen, httpclient, ioloop, iostream, stack_context, web
from pyfastloop.concurrent import (
    Future,
    dummy_executor,
    return_future,
    run_on_executor,
)
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


def by_a_future(handler, fail):
    future = Future()
    future.add_done_callback(lambda f: fail())
    later(future.set_result, None)


def by_an_asyncio_future(handler, fail):
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda f: fail())
    later(future.set_result, None)


def by_call_soon(handler, fail):
    asyncio.get_running_loop().call_soon(fail)


def by_call_later(handler, fail):
    asyncio.get_running_loop().call_later(0.001, fail)


def by_a_thread(handler, fail):
    """A thread has no contexts of its own: what it hands over must be wrapped."""
    loop = asyncio.get_running_loop()
    args = (stack_context.wrap(fail),)
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=args)
    thread.start()
    thread.join()


def by_a_coroutine_as_callback(handler, fail):
    async def fails():
        await gen.sleep(0.001)
        fail()

    ioloop.IOLoop.current().add_callback(fails)


def by_a_stream(handler, fail):
    a, b = socket.socketpair()
    b.send(b"line\n")
    b.close()
    handler.stream = iostream.IOStream(a)
    handler.stream.read_until(b"\n", callback=lambda line: fail())


def by_a_closed_stream(handler, fail):
    a, b = socket.socketpair()
    b.close()
    handler.stream = iostream.IOStream(a)
    handler.stream.set_close_callback(fail)
    handler.stream.read_bytes(1)


def by_the_client(handler, fail):
    client = httpclient.AsyncHTTPClient(force_instance=True)
    url = f"{handler.request.protocol}://{handler.request.host}/other"

    def answered(response):
        assert response.body == b"7"
        client.close()
        fail()

    client.fetch(url, callback=answered)


def by_an_executor(handler, fail):
    handler.executor = dummy_executor
    run_on_executor(lambda self: 1)(handler, callback=lambda result: fail())


def by_a_coroutine_with_a_callback(handler, fail):
    @gen.coroutine
    def work():
        yield gen.sleep(0.001)
        return 1

    work(callback=lambda result: fail())


def by_return_future(handler, fail):
    @return_future
    def work(callback):
        later(callback, 1)

    work(callback=lambda result: fail())


def by_flush(handler, fail):
    handler.application.settings["flushed"] = True
    handler.flush(callback=fail)


def by_a_mixture(handler, fail):
    """As deep as it goes: a callback of each kind starts the next one."""
    ways = list(WAYS)
    ways.remove(by_flush)

    def go():
        if ways:
            ways.pop()(handler, go)
        else:
            fail()

    go()


WAYS = [
    by_a_future,
    by_an_asyncio_future,
    by_call_soon,
    by_call_later,
    by_a_thread,
    by_a_coroutine_as_callback,
    by_a_stream,
    by_a_closed_stream,
    by_the_client,
    by_an_executor,
    by_a_coroutine_with_a_callback,
    by_return_future,
    by_flush,
]


class Other(web.RequestHandler):
    def get(self):
        self.finish("7")


def planted():
    raise KeyError("planted")


@pytest.mark.parametrize("way", [*WAYS, by_a_mixture])
def test_every_kind_of_callback_belongs_to_the_request(site, caplog, way):
    class Handler(web.RequestHandler):
        @web.asynchronous
        def get(self):
            way(self, planted)

    answer = site([("/other", Other), ("/", Handler)]).ask("/")
    assert answer.code == (200 if way is by_flush else 500)
    (line,) = lines_of(caplog, "tornado.application")
    assert line.startswith("Uncaught exception GET / ")


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_leaves_no_cycle(site, way):
    """The handler goes with its request, by the counts of references alone."""
    logging.disable()  # the records that pytest keeps refer to frames

    class Handler(web.RequestHandler):
        @web.asynchronous
        def get(self):
            way(self, planted)

    s = site([("/other", Other), ("/", Handler)])
    s.ask("/")
    gc.collect()
    gc.disable()
    try:
        made = weakref.WeakSet()
        Handler.prepare = lambda self: made.add(self)
        s.ask("/")
        s.ask("/other")  # the loop turned: what the first left behind is gone
        assert list(made) == []
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


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
