"""get_argument, get_cookie and their kin: the C forms, and what may replace steps."""

from __future__ import annotations

import re

import pytest

from pyfastloop import httputil, web


class Connection:
    context = None

    def set_close_callback(self, callback: object) -> None:
        pass


def handler(cls=web.RequestHandler, uri="/", cookie=None):
    headers = httputil.HTTPHeaders({"Host": "here"})
    for value in cookie or []:
        headers.add("Cookie", value)
    request = httputil.HTTPServerRequest(
        method="GET", uri=uri, headers=headers, connection=Connection()
    )
    return cls(web.Application(), request)


def test_last_value_decoded_cleaned_and_stripped():
    h = handler(uri="/?a=1&a=+x%01y+&b=%C3%A9")
    assert h.get_argument("a") == "x y"
    assert h.get_argument("a", strip=False) == " x y "
    assert h.get_arguments("a") == ["1", "x y"]
    assert h.get_query_argument(name="b") == "\xe9"
    assert h.get_body_arguments("a") == []


def test_defaults():
    h = handler()
    marker = object()
    assert h.get_argument("a", marker) is marker
    assert h.get_argument("a", default=None) is None
    with pytest.raises(web.MissingArgumentError):
        h.get_argument("a")


def test_wrong_calls():
    h = handler(uri="/?a=1")
    for call in (
        lambda: h.get_argument(),
        lambda: h.get_argument("a", None, True, 1),
        lambda: h.get_argument("a", name="a"),
        lambda: h.get_argument("a", strp=True),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(AssertionError):
        h.get_arguments("a", [])


def test_what_is_written_and_cleared_may_be_named():
    h = handler()
    h.set_header(name="X-A", value="1")
    h.clear_header(name="X-A")
    h.write(chunk="a")
    assert "X-A" not in h._headers
    assert h._write_buffer == [b"a"]
    for wrong in [{"text": "a"}, {"chunk": "a", "text": "b"}, {}]:
        with pytest.raises(TypeError, match=r"write\(\) (takes one argument|got)"):
            h.write(**wrong)
    with pytest.raises(TypeError, match=r"takes one argument, chunk \(2 given\)"):
        h.write("a", chunk="b")


def test_invalid_utf8_is_400_wherever_it_stands():
    h = handler(uri="/?a=%ff&a=1")
    with pytest.raises(web.HTTPError) as caught:
        h.get_argument("a")
    assert caught.value.status_code == 400


def test_decode_argument_is_called_with_the_name():
    class Mine(web.RequestHandler):
        def decode_argument(self, value, name=None):
            return f"{name}:{value.decode()}"

    assert handler(Mine, "/?a=1").get_argument("a") == "a:1"


def test_replaced_steps_are_called():
    class Source(web.RequestHandler):
        def _get_argument(self, name, default, source, strip=True):
            return (name, source, strip)

    class Values(web.RequestHandler):
        def _get_arguments(self, name, source, strip=True):
            return ["first", "last"]

    class Letters(web.RequestHandler):
        _remove_control_chars_regex = re.compile("x")

    assert handler(Source, "/?a=1").get_argument("a") == ("a", {"a": [b"1"]}, True)
    assert handler(Values).get_argument("a") == "last"
    assert handler(Values).get_query_arguments("a") == ["first", "last"]
    assert handler(Letters, "/?a=1x%012").get_argument("a") == "1 \x012"


def test_a_step_replaced_on_the_instance():
    h = handler(uri="/?a=1")
    h.decode_argument = lambda value, name=None: "mine"
    assert h.get_argument("a") == "mine"


def test_cookies():
    h = handler(cookie=['a=1; b="x\\"y"; c=; a=2; path=/x; d=1 2'])
    assert h.get_cookie("a") == "2"
    assert h.get_cookie("b") == 'x"y'
    assert h.get_cookie("c") == ""
    assert h.get_cookie("d") == "1 2"
    assert h.get_cookie("path") is None  # http.cookies keeps that name for itself
    assert h.get_cookie("z", "none") == "none"
    assert h.get_cookie(name="A", default=None) is None
    assert h.get_cookie("sch\xf6n") is None


def test_get_cookie_sees_what_the_jar_says():
    h = handler(cookie=["a=1"])
    h.request.cookies["a"] = "changed"
    assert h.get_cookie("a") == "changed"


def test_without_cookies():
    assert handler().get_cookie("a") is None


BAD_FORM = (
    b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\nzz"
)


@pytest.mark.parametrize("path", ["c", "execute", "begin"])
def test_a_form_that_cannot_be_read_is_the_handlers_400(site, caplog, path):
    told = []

    class Handler(web.RequestHandler):
        def initialize(self):
            told.append("initialize")
            assert self.request.body in (b"zz", b"")

        def prepare(self):
            told.append("prepare")

        def write_error(self, status_code, **kwargs):
            told.append("write_error")
            error = kwargs["exc_info"][1]
            assert isinstance(error.__cause__, httputil.HTTPInputError)
            self.write(f"sorry, {status_code}")

        def on_finish(self):
            told.append("on_finish")

        def post(self):
            told.append("post")

    if path == "execute":
        original = Handler._execute

        async def _execute(self, *args, **kwargs):
            await original(self, *args, **kwargs)

        Handler._execute = _execute
    elif path == "begin":
        Handler._begin = lambda self, *args: web.RequestHandler._begin(self, *args)
    s = site([("/", Handler)])
    again = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    raw = s.raw(BAD_FORM + again)
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"sorry, 400" in raw
    assert b"HTTP/1.1 405 " in raw, "the connection goes on"
    assert told[:3] == ["initialize", "write_error", "on_finish"]
    lines = [r.getMessage() for r in caplog.records if r.name == "tornado.general"]
    assert lines[0].startswith(
        "400 POST / (127.0.0.1): Invalid body: Invalid multipart"
    )


def test_a_form_is_read_once_whoever_asks_first(site):
    class Handler(web.RequestHandler):
        def initialize(self):
            self.before = dict(self.request.body_arguments)

        def post(self):
            self.request._parse_body()
            self.write(f"{self.before} {self.get_body_arguments('a')}")
            self.request.body = b"a=2"
            self.request._parse_body()
            self.write(f" {self.get_body_arguments('a')}")

    raw = site([("/", Handler)]).raw(
        b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nConnection: close\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=1"
    )
    assert raw.endswith(b"\r\n\r\n{} ['1'] ['1', '2']")
