"""pyfastloop.wsgi: WSGI applications in our server, and ours as one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from web_support import lines_of

from pyfastloop import gen, web
from pyfastloop.wsgi import WSGIAdapter, WSGIContainer, to_wsgi_str

THREADS = []


def wsgi_app(environ, start_response):
    THREADS.append(threading.current_thread())
    path = environ["PATH_INFO"]
    if path == "/env":
        start_response("200 OK", [("Content-Type", "text/plain")])
        keys = "REQUEST_METHOD QUERY_STRING HTTP_X_FOO SERVER_PROTOCOL wsgi.url_scheme"
        return [repr([environ.get(key) for key in keys.split()]).encode()]
    if path == "/body":
        start_response(
            "201 Made", [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2")]
        )
        return [environ["CONTENT_TYPE"].encode(), environ["wsgi.input"].read()]
    if path == "/pieces":

        def pieces():
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"1"
            yield b""
            yield b"2"

        return pieces()
    if path == "/write":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"w1")
        write(b"w2")
        return [b"end"]
    if path == "/204":
        start_response("204 No Content", [])
        return []
    if path == to_wsgi_str("/€".encode()):
        start_response("200 OK", [])
        return [b"euro"]
    if path == "/silent":
        return [b"no start_response"]
    if path == "/late":

        def late():
            start_response("200 OK", [])
            yield b"1"
            raise KeyError("late")

        return late()
    raise KeyError("early")


@pytest.fixture(params=["loop", "executor"])
def container(request, site):
    executor = ThreadPoolExecutor(2) if request.param == "executor" else None
    THREADS.clear()
    yield site(WSGIContainer(wsgi_app, executor))
    main = threading.main_thread()
    assert all((thread is main) is (executor is None) for thread in THREADS)
    if executor is not None:
        executor.shutdown()


def test_environ(container):
    answer = container.ask("/env?q=a%20b", headers={"X-Foo": "bar", "X_Foo": "forged"})
    assert answer.text == "['GET', 'q=a%20b', 'bar', 'HTTP/1.1', 'http']"
    assert container.ask("/%E2%82%AC").body == b"euro"


def test_body_and_headers(container):
    answer = container.ask("/body", "POST", {"Content-Type": "text/x"}, "posted")
    assert (answer.code, answer.reason) == (201, "Made")
    assert answer.all("X-A") == ["1", "2"]
    assert answer.body == b"text/xposted"
    assert answer.headers["Content-Length"] == "12"


def test_pieces_and_write(container):
    assert container.ask("/pieces").body == b"12"
    assert container.ask("/write").body == b"w1w2end"
    assert container.ask("/204").rest == b""
    head = container.ask("/write", "HEAD")
    assert (head.rest, head.headers["Content-Length"]) == (b"", "7")


@pytest.mark.parametrize("path", ["/early", "/silent"])
def test_an_application_that_raises_is_a_500(container, caplog, path):
    assert container.ask(path).code == 500
    assert "Uncaught exception in WSGI application" in caplog.text
    assert lines_of(caplog, "tornado.access")[0].startswith(f"500 GET {path} (127.")


def test_an_application_that_raises_later_breaks_the_response_off(container, caplog):
    answer = container.ask("/late")
    assert answer.code == 200
    assert not answer.rest.endswith(b"0\r\n\r\n")
    assert "KeyError: 'late'" in caplog.text


def test_close_is_called(site):
    closed = []

    class Pieces(list):
        def close(self):
            closed.append(1)

    def app(environ, start_response):
        start_response("200 OK", [])
        return Pieces([b"x"])

    assert site(WSGIContainer(app)).ask("/").body == b"x"
    assert closed == [1]


def test_beside_our_own_handlers(site):
    class Own(web.RequestHandler):
        def get(self):
            self.write("own")

    s = site(
        [
            ("/own", Own),
            ("/.*", web.FallbackHandler, {"fallback": WSGIContainer(wsgi_app)}),
        ]
    )
    assert s.ask("/own").body == b"own"
    assert s.ask("/pieces").body == b"12"


# -- ours as a WSGI application ----------------------------------------------------


class Handler(web.RequestHandler):
    def get(self):
        self.write({"a": self.get_argument("a", ""), "ip": self.request.remote_ip})

    async def post(self):
        await gen.sleep(0.001)
        self.write(f"posted {self.get_body_argument('b')}")

    async def put(self):
        for piece in "abc":
            self.write(piece)
            await self.flush()

    @web.asynchronous
    def delete(self):
        raise AssertionError("not reached")


class Raises(web.RequestHandler):
    def get(self):
        raise KeyError("k")


def call(method, path="/", query="", body=b"", content_type=""):
    app = validator(WSGIAdapter(web.Application([("/", Handler), ("/r", Raises)])))
    environ = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "REMOTE_ADDR": "9.9.9.9",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
    }
    if content_type:
        environ["CONTENT_TYPE"] = content_type
    setup_testing_defaults(environ)
    started = []

    def start_response(status, headers, exc_info=None):
        started.append((status, dict(headers)))
        return lambda data: None

    result = app(environ, start_response)
    content = b"".join(result)
    result.close()
    ((status, headers),) = started
    return status, headers, content


def test_adapter():
    status, headers, content = call("GET", query="a=1")
    assert (status, content) == ("200 OK", b'{"a": "1", "ip": "9.9.9.9"}')
    assert headers["Content-Length"] == str(len(content))
    form = "application/x-www-form-urlencoded"
    assert call("POST", body=b"b=%C3%A9", content_type=form)[2] == "posted é".encode()
    assert call("PUT")[2] == b"abc"
    assert call("GET", "/nope")[0] == "404 Not Found"


def test_adapter_in_a_thread():
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(call, "PUT").result()[2] == b"abc"


def test_adapter_answers_errors(caplog):
    assert call("GET", "/r")[0] == "500 Internal Server Error"
    assert call("DELETE")[0] == "500 Internal Server Error"
    assert "@asynchronous is not supported for WSGI apps" in caplog.text


def test_adapter_refuses_the_thread_of_a_running_loop():
    from pyfastloop.ioloop import IOLoop

    async def inside():
        call("GET")

    loop = IOLoop(make_current=False)
    with pytest.raises(RuntimeError, match="on the thread of a running loop"):
        loop.run_sync(inside)
    loop.close()


def test_to_wsgi_str():
    assert to_wsgi_str(b"\xff") == "\xff"
    with pytest.raises(TypeError, match="takes bytes"):
        to_wsgi_str("text")
