"""pyfastloop.web: errors, what the client sees and what the log says."""

from __future__ import annotations

import asyncio
import sys
import traceback

import pytest
from web_support import lines_of

from pyfastloop import gen, web


def page(line: str) -> bytes:
    return f"<html><title>{line}</title><body>{line}</body></html>".encode()


class Raises(web.RequestHandler):
    def get(self):
        raise KeyError("secret")


def test_an_exception_is_a_logged_500(site, caplog):
    answer = site([("/", Raises)]).ask("/")
    assert (answer.code, answer.body) == (500, page("500: Internal Server Error"))
    (record,) = [r for r in caplog.records if r.name == "tornado.application"]
    assert record.getMessage().startswith("Uncaught exception GET / (127.0.0.1)\n")
    assert record.exc_info[0] is KeyError
    assert lines_of(caplog, "tornado.access")[0].startswith("500 GET / ")


def test_http_errors(site, caplog):
    class Handler(web.RequestHandler):
        def get(self, what):
            if what == "plain":
                raise web.HTTPError(404)
            if what == "message":
                raise web.HTTPError(403, "no %s for %d", "tea", 2)
            if what == "percent":
                raise web.HTTPError(400, "100%")
            raise web.HTTPError(499, reason="Tea & more")

    s = site([("/(.*)", Handler)])
    assert s.ask("/plain").body == page("404: Not Found")
    assert lines_of(caplog, "tornado.general") == []
    assert s.ask("/message").code == 403
    assert s.ask("/percent").code == 400
    assert lines_of(caplog, "tornado.general") == [
        "403 GET /message (127.0.0.1): no tea for 2",
        "400 GET /percent (127.0.0.1): 100%",
    ]
    odd = s.ask("/reason")
    assert (odd.code, odd.reason) == (499, "Tea & more")
    assert odd.body == page("499: Tea &amp; more")


def test_http_error_forms():
    error = web.HTTPError(404, "a %s", "b")
    assert (error.args, error.log_message, error.get_message()) == (
        ("b",),
        "a %s",
        "a b",
    )
    assert str(error) == "HTTP 404: Not Found (a b)"
    bare = web.HTTPError(404, "100%")
    assert (bare.log_message, bare.get_message()) == ("100%%", "100%")
    assert str(web.HTTPError()) == "HTTP 500: Internal Server Error"
    assert str(web.HTTPError(499)) == "HTTP 499: Unknown"
    assert str(web.HTTPError(499, reason="r")) == "HTTP 499: r"
    missing = web.MissingArgumentError("n")
    assert (missing.status_code, missing.arg_name) == (400, "n")
    assert isinstance(missing, web.HTTPError)


@pytest.mark.parametrize("code", [204, 304])
def test_an_error_whose_status_has_no_body(site, code):
    class Handler(web.RequestHandler):
        def get(self):
            raise web.HTTPError(code)

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.rest) == (code, b"")


@pytest.mark.parametrize("code", [0, 99, 1000, "404", None])
def test_what_is_no_status_is_a_500(site, caplog, code):
    class Handler(web.RequestHandler):
        def get(self):
            raise web.HTTPError(code, "wrong")

        def post(self):
            self.set_status(code)

    s = site([("/", Handler)])
    assert s.ask("/").code == 500
    assert "is no HTTP status; answering 500" in caplog.text
    assert s.ask("/", "POST", body="").code == 500


def test_a_transform_that_raises_is_a_500(site, caplog):
    class Broken(web.OutputTransform):
        def transform_first_chunk(self, status_code, headers, chunk, finishing):
            if status_code == 200:
                raise KeyError("transform")
            return status_code, headers, chunk

    class Handler(web.RequestHandler):
        def get(self):
            self.write("x")

    assert site([("/", Handler)], transforms=[Broken]).ask("/").code == 500
    assert "KeyError: 'transform'" in caplog.text


def test_finish_exception(site, caplog):
    class Handler(web.RequestHandler):
        def get(self, what):
            self.set_status(401)
            self.write("w")
            if what == "bare":
                raise web.Finish()
            raise web.Finish("ith")

    s = site([("/(.*)", Handler)])
    assert (s.ask("/bare").code, s.ask("/bare").body) == (401, b"w")
    assert s.ask("/argument").body == b"with"
    assert lines_of(caplog, "tornado.application") == []


def test_send_error_and_write_error(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.write("dropped")
            self.set_header("X-Dropped", "1")
            self.send_error(418, reason="Teapot", extra=7)

        def write_error(self, status_code, **kwargs):
            self.finish(f"{status_code} {self._reason} {kwargs['extra']}")

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.reason) == (418, "Teapot")
    assert answer.body == b"418 Teapot 7"
    assert "X-Dropped" not in answer.headers


class Tells(web.RequestHandler):
    """Its hooks look for the exception as an except clause would."""

    def initialize(self):
        self.seen = []

    def log_exception(self, typ, value, tb):
        self.seen.append(sys.exc_info() == (typ, value, tb))

    def write_error(self, status_code, **kwargs):
        self.seen.append(sys.exc_info() == kwargs["exc_info"])
        last = traceback.format_exc().splitlines()[-1]
        self.finish(f"{status_code} {self.seen} {last}")


class TellsOfGet(Tells):
    def get(self):
        raise KeyError("get")


class TellsOfAwaiting(Tells):
    async def get(self):
        await asyncio.sleep(0)
        raise KeyError("awaiting")


class TellsOfYielding(Tells):
    @gen.coroutine
    def get(self):
        yield gen.moment
        raise KeyError("yielding")


class TellsOfPrepare(Tells):
    def prepare(self):
        raise KeyError("prepare")

    get = Tells.get


class TellsByExecute(TellsOfGet):
    async def _execute(self, *args, **kwargs):
        await super()._execute(*args, **kwargs)


@pytest.mark.parametrize(
    ("handler", "what"),
    [
        (TellsOfGet, "get"),
        (TellsOfAwaiting, "awaiting"),
        (TellsOfYielding, "yielding"),
        (TellsOfPrepare, "prepare"),
        (TellsByExecute, "get"),
    ],
)
def test_hooks_run_while_the_exception_is_handled(site, handler, what):
    answer = site([("/", handler)]).ask("/")
    assert answer.text == f"500 [True, True] KeyError: '{what}'"


def test_nothing_is_handled_in_the_request_after_a_failure(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.write(repr(sys.exc_info()))

    s = site([("/", Handler), ("/raises", Raises)])
    assert s.ask("/raises").code == 500
    assert s.ask("/").body == b"(None, None, None)"


def test_a_write_error_that_raises(site, caplog):
    class Handler(Raises):
        def write_error(self, status_code, **kwargs):
            assert kwargs["exc_info"][0] is KeyError
            raise OSError("broken page")

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.body) == (500, b"")
    assert "Uncaught exception in write_error" in caplog.text


def test_a_log_exception_that_raises(site, caplog):
    class Handler(Raises):
        def log_exception(self, typ, value, tb):
            raise OSError("broken logger")

    assert site([("/", Handler)]).ask("/").code == 500
    assert "Error in exception logger" in caplog.text


def test_every_hook_broken_still_ends_the_connection(site, caplog):
    class Handler(Raises):
        def send_error(self, status_code=500, **kwargs):
            raise OSError("even this")

    assert site([("/", Handler)]).raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert "Exception in exception handler" in caplog.text


def test_errors_after_the_head_was_sent_end_the_response(site, caplog):
    class Handler(web.RequestHandler):
        async def get(self):
            self.write("begun")
            await self.flush()
            raise KeyError("late")

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.body) == (200, b"begun")
    assert "Cannot send error response after headers written" in caplog.text


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("twice", "finish\\(\\) called twice"),
        ("write", "Cannot write\\(\\) after finish"),
        ("render", "Cannot render\\(\\) after finish"),
    ],
)
def test_after_finish(site, caplog, what, message):
    class Handler(web.RequestHandler):
        def get(self):
            self.finish("done")
            with pytest.raises(RuntimeError, match=message):
                {
                    "twice": self.finish,
                    "write": lambda: self.write("x"),
                    "render": lambda: self.render("x"),
                }[what]()

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.body) == (200, b"done")
    assert lines_of(caplog, "tornado.application") == []


@pytest.mark.parametrize("awaited", [False, True])
def test_flush_after_finish_has_nothing_to_do(site, caplog, awaited):
    class Handler(web.RequestHandler):
        async def get(self):
            self.finish("done")
            if awaited:
                await asyncio.sleep(0)
            await self.flush()
            await self.flush(include_footers=True)

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.body) == (200, b"done")
    assert lines_of(caplog, "tornado.application") == []


def test_redirect_after_the_head_was_sent(site, caplog):
    class Handler(web.RequestHandler):
        async def get(self):
            await self.flush()
            self.redirect("/")

    assert site([("/", Handler)]).ask("/").code == 200
    assert "Cannot redirect after headers have been written" in caplog.text


@pytest.mark.parametrize("result", [42, "abc", {"a": 1}])
def test_methods_that_return_nonsense(site, caplog, result):
    class Handler(web.RequestHandler):
        def get(self):
            return result

    assert site([("/", Handler)]).ask("/").code == 500
    assert len(lines_of(caplog, "tornado.application")) == 1


def test_an_exception_after_finish_is_logged_only(site, caplog):
    class Handler(web.RequestHandler):
        async def get(self):
            await self.finish("done")
            raise KeyError("after")

    s = site([("/", Handler)])
    assert s.ask("/").body == b"done"
    assert "Uncaught exception GET / " in lines_of(caplog, "tornado.application")[0]


def test_on_finish_that_raises(site, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            self.write("done")

        def on_finish(self):
            raise KeyError("cleanup")

    assert site([("/", Handler)]).ask("/").body == b"done"
    assert len(lines_of(caplog, "tornado.application")) == 1


def test_a_cancelled_handler_is_a_500(site, caplog):
    class Handler(web.RequestHandler):
        async def get(self):
            raise asyncio.CancelledError()

    answer = site([("/", Handler)]).ask("/")
    assert answer.code == 500
    assert "Uncaught exception GET /" in caplog.text


def test_a_wrong_content_length_closes_the_connection(site, caplog):
    class Handler(web.RequestHandler):
        def get(self, length):
            self.set_header("Content-Length", length)
            self.write("hello")

    s = site([("/(.*)", Handler)])
    request = "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n"
    assert b"hello" not in s.raw(request.format(3).encode())
    assert s.raw(request.format(9).encode()).endswith(b"\r\n\r\nhello")
    assert "Cannot send error response after headers written" in caplog.text


def test_serve_traceback_is_text_unless_html_is_preferred(site):
    s = site([("/", Raises)], serve_traceback=True)
    for accept in ("", "*/*", "text/plain, text/html;q=0.5"):
        plain = s.ask("/", headers={"Accept": accept})
        assert plain.headers["Content-Type"] == "text/plain"
        assert plain.text.startswith("Traceback (most recent call last):")
        assert plain.text.rstrip().endswith("KeyError: 'secret'")
    page = s.ask("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert "KeyError: &#x27;secret&#x27;" in page.text.replace("&#39;", "&#x27;")
    assert "raise KeyError" in page.text
    assert "<table>" not in page.text


def test_locals_are_shown_on_request_only(site):
    class Handler(web.RequestHandler):
        def get(self):
            password = "<hunter2>"
            raise KeyError(len(password))

    html = {"Accept": "text/html"}
    shown = site(
        [("/", Handler)], debug=True, autoreload=False, serve_traceback_locals=True
    )
    assert "&lt;hunter2&gt;" in shown.ask("/", headers=html).text
    hidden = site([("/", Handler)], debug=True, autoreload=False)
    assert "<table>" not in hidden.ask("/", headers=html).text


def test_the_log_line_cannot_be_forged(site, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            raise web.HTTPError(400, "no")

    s = site([("/.*", Handler)])
    s.ask("/%0A200%20GET%20/forged")
    assert all("\n" not in line for line in lines_of(caplog, "tornado"))


def test_an_initialize_that_raises_closes_the_connection(site, caplog):
    class Handler(web.RequestHandler):
        def initialize(self):
            raise KeyError("init")

        def on_connection_close(self):
            raise AssertionError("nobody has left, and the handler is not whole")

    s = site([("/", Handler)])
    s.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "KeyError: 'init'" in caplog.text
    assert "AssertionError" not in caplog.text


def test_error_handler(site):
    s = site([("/.*", web.ErrorHandler, {"status_code": 409})], xsrf_cookies=True)
    assert s.ask("/").code == 409
    assert s.ask("/", "POST", body="").code == 409


def test_on_connection_close_tells_a_waiting_handler(site):
    import socket

    closed = []

    class Handler(web.RequestHandler):
        async def get(self):
            self.gone = asyncio.get_running_loop().create_future()
            arrived.set_result(None)
            await self.gone
            closed.append(self)

        def on_connection_close(self):
            self.gone.set_result(None)

    async def run():
        nonlocal arrived
        arrived = asyncio.get_running_loop().create_future()
        client = socket.create_connection(("127.0.0.1", s.port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await arrived
        client.close()
        while not closed:
            await gen.sleep(0.001)

    arrived: asyncio.Future[None]
    s = site([("/", Handler)])
    s.run(run)
    assert len(closed) == 1
