"""pyfastloop.web: a handler's life, its response, its arguments."""

from __future__ import annotations

import contextvars
import datetime
import hashlib
import json
import traceback

import pytest
from web_support import lines_of

from pyfastloop import gen, httputil, routing, web


class Hello(web.RequestHandler):
    def get(self):
        self.write("hello")


def test_a_response_has_the_documented_head(site):
    answer = site([("/", Hello)]).ask("/")
    assert (answer.version, answer.code, answer.reason) == ("HTTP/1.1", 200, "OK")
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert answer.headers["Content-Length"] == "5"
    assert answer.headers["Server"].startswith("pyfastloop/")
    assert answer.headers["Date"].endswith(" GMT")
    assert answer.body == b"hello"


@pytest.mark.parametrize("path", ["/plain", "/generator", "/native", "/future"])
def test_methods_may_be_plain_generators_or_coroutines(site, path):
    class Plain(web.RequestHandler):
        def get(self):
            self.write("a")

    class Generator(web.RequestHandler):
        @gen.coroutine
        def get(self):
            yield gen.moment
            self.write("a")

    class Native(web.RequestHandler):
        async def get(self):
            await gen.sleep(0)
            self.write("a")

    class Future(web.RequestHandler):
        def get(self):
            self.write("a")
            return gen.sleep(0)

    handlers = [
        ("/plain", Plain),
        ("/generator", Generator),
        ("/native", Native),
        ("/future", Future),
    ]
    assert site(handlers).ask(path).body == b"a"


def test_hooks_run_in_their_order(site):
    seen = []

    class Handler(web.RequestHandler):
        def set_default_headers(self):
            seen.append("set_default_headers")

        def initialize(self, word):
            seen.append(f"initialize {word}")

        async def prepare(self):
            await gen.sleep(0)
            seen.append(f"prepare {self.path_args}")

        async def get(self, *args):
            seen.append(f"get {args}")
            await gen.sleep(0)
            self.write("x")

        def on_finish(self):
            seen.append(f"on_finish {self._finished}")

    s = site(
        [("/(a)/(b)", Handler, {"word": "w"})],
        log_function=lambda h: seen.append("log"),
    )
    assert s.ask("/a/b").code == 200
    assert seen == [
        "set_default_headers",
        "initialize w",
        "prepare ['a', 'b']",
        "get ('a', 'b')",
        "log",
        "on_finish True",
    ]


def test_prepare_that_finishes_ends_the_request(site):
    class Handler(web.RequestHandler):
        def prepare(self):
            self.finish("early")

        def get(self):
            raise AssertionError("not to be called")

    assert site([("/", Handler)]).ask("/").body == b"early"


def test_groups_of_the_route_are_decoded(site):
    class Handler(web.RequestHandler):
        def get(self, *args, **kwargs):
            self.write(repr((args, kwargs)))

    s = site(
        [
            ("/p/(.*?)/(.*)", Handler),
            ("/n/(?P<a>.*?)/(?P<b>.*)", Handler),
            ("/o(/x)?", Handler),
        ]
    )
    assert s.ask("/p/a%20b/c%2Fd").text == "(('a b', 'c/d'), {})"
    assert s.ask("/n/1/%C3%A9").text == "((), {'a': '1', 'b': 'é'})"
    assert s.ask("/o").text == "((None,), {})"
    assert s.ask("/p/%ff/x").code == 400


@pytest.mark.parametrize("group", ["(.*)", "(.*?|never)"])
def test_what_is_not_ascii_in_a_path_is_latin_1_beside_escapes_too(site, group):
    class Handler(web.RequestHandler):
        def get(self, *args):
            self.write(repr(args))

    s = site([("/" + group, Handler)])
    for target, found in ((b"/\xe9", "('é',)"), (b"/\xe9%20", "('é ',)")):
        answer = s.raw(
            b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        assert answer.endswith(found.encode())


def test_a_pattern_of_another_library_is_asked_by_python(site):
    class Found:
        def groups(self):
            return ["ü€", None]

        def groupdict(self):
            return {}

    class Pattern:
        pattern, flags, groups, groupindex = "/[a-z]$", 32, 2, {}

        def match(self, path):
            return Found() if path == "/a" else None

    class Handler(web.RequestHandler):
        def get(self, *args):
            self.write(repr(args))

    s = site([routing.Rule(routing.PathMatches(Pattern()), Handler)])
    assert s.ask("/a").text == "('ü€', None)"
    assert s.ask("/b").code == 404


def test_arguments(site):
    class Handler(web.RequestHandler):
        def post(self):
            self.write(
                {
                    "last": self.get_argument("a"),
                    "all": self.get_arguments("a"),
                    "query": self.get_query_arguments("a"),
                    "body": self.get_body_argument("a"),
                    "raw": self.get_argument("a", strip=False),
                    "default": self.get_argument("zz", None),
                    "control": self.get_argument("c", strip=False),
                }
            )

    answer = site([("/", Handler)]).ask(
        "/?a=%20q%20&c=%00x%1F%0A",
        "POST",
        {"Content-Type": "application/x-www-form-urlencoded"},
        "a=1&a=+2+",
    )
    assert json.loads(answer.body) == {
        "last": "2",
        "all": ["q", "1", "2"],
        "query": ["q"],
        "body": "2",
        "raw": " 2 ",
        "default": None,
        "control": " x \n",
    }


@pytest.mark.parametrize("form", ["plain", "generator", "native"])
def test_the_traceback_of_a_failure_begins_with_the_users_line(site, form, caplog):
    class Handler(web.RequestHandler):
        def plain(self):
            raise ZeroDivisionError

        @gen.coroutine
        def generator(self):
            yield gen.moment
            raise ZeroDivisionError

        async def native(self):
            await gen.sleep(0)
            raise ZeroDivisionError

        get = locals()[form]

    assert site([("/", Handler)]).ask("/").code == 500
    (record,) = [r for r in caplog.records if r.name == "tornado.application"]
    frames = traceback.extract_tb(record.exc_info[2])
    assert [(frame.filename, frame.name) for frame in frames] == [(__file__, form)]


def test_missing_and_undecodable_arguments_are_400(site, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            try:
                self.get_argument("a")
            except web.MissingArgumentError as error:
                assert error.arg_name == "a"
                raise

    s = site([("/", Handler)])
    assert s.ask("/").code == 400
    assert s.ask("/?a=%ff").code == 400
    general = lines_of(caplog, "tornado.general")
    assert general[0].endswith(": Missing argument a")
    assert general[1].endswith(": Invalid unicode in a: b'\\xff'")


def test_get_arguments_has_no_default(site):
    class Handler(web.RequestHandler):
        def get(self):
            with pytest.raises(AssertionError, match="no default"):
                self.get_arguments("a", "default")

    assert site([("/", Handler)]).ask("/").code == 200


def test_write_takes_text_bytes_and_dicts(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.write("é")
            self.write(b"\xff")
            self.write({"a": "</x>"})

    answer = site([("/", Handler)]).ask("/")
    assert answer.body == "é".encode() + b'\xff{"a": "<\\/x>"}'
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"


@pytest.mark.parametrize("chunk", [[1], 3, None, bytearray(b"x")])
def test_write_refuses_all_else(site, chunk):
    class Handler(web.RequestHandler):
        def get(self):
            with pytest.raises(
                TypeError, match="only accepts bytes, unicode, and dict"
            ):
                self.write(chunk)

    assert site([("/", Handler)]).ask("/").code == 200


def test_headers(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.set_header("X-Int", 5)
            self.set_header("X-Date", datetime.datetime(2020, 1, 1))
            self.set_header("X-Bytes", b"b")
            self.set_header("X-Two", "1")
            self.add_header("x-two", "2")
            self.set_header("X-Gone", "x")
            self.clear_header("x-gone")
            self.clear_header("never-set")
            self.set_status(299, "Fine so far")

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.reason) == (299, "Fine so far")
    assert answer.headers["X-Int"] == "5"
    assert answer.headers["X-Date"] == "Wed, 01 Jan 2020 00:00:00 GMT"
    assert answer.headers["X-Bytes"] == "b"
    assert answer.all("X-Two") == ["1", "2"]
    assert "X-Gone" not in answer.headers


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\n", "\x00", "\x7f", "€", b"a\r"])
def test_header_values_cannot_split_the_response(site, value):
    class Handler(web.RequestHandler):
        def get(self):
            with pytest.raises(ValueError, match="Unsafe header value"):
                self.set_header("X", value)
            with pytest.raises(ValueError, match="Unsafe header value"):
                self.add_header("X", value)

    answer = site([("/", Handler)]).ask("/")
    assert answer.code == 200
    assert "X" not in answer.headers


@pytest.mark.parametrize("reason", ["a\r\nX: 1", "", "<b>", "\x00", "€"])
def test_a_bad_reason_becomes_unknown_and_keeps_the_status(site, reason):
    class Handler(web.RequestHandler):
        def get(self):
            self.set_status(403, reason)
            self.finish()

    answer = site([("/", Handler)]).ask("/")
    assert (answer.code, answer.reason) == (403, "Unknown")
    assert "X" not in answer.headers


def test_redirect(site):
    class Handler(web.RequestHandler):
        def get(self, kind):
            if kind == "see":
                self.redirect("/x", status=303)
            else:
                self.redirect("/x?é", permanent=kind == "permanent")

    s = site([("/(.*)", Handler)])
    found = s.ask("/temporary")
    assert (found.code, found.headers["Location"]) == (302, "/x?Ã©")
    assert s.ask("/permanent").code == 301
    assert s.ask("/see").code == 303


def test_redirect_cannot_split_the_response(site, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            self.redirect(self.get_argument("to", strip=False))

    answer = site([("/", Handler)]).ask("/?to=/%0D%0AX-Evil:%201")
    assert answer.code == 500
    assert "X-Evil" not in answer.headers


def test_flush_streams_and_finish_ends(site):
    class Handler(web.RequestHandler):
        async def get(self):
            for piece in ("a", "b", "c"):
                self.write(piece)
                await self.flush()
            self.finish("d")

        head = get

    s = site([("/", Handler)])
    answer = s.ask("/")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.body == b"abcd"
    assert "Etag" not in answer.headers
    assert s.ask("/", "HEAD").rest == b""


def test_flush_with_a_callback_of_tornado_4(site):
    class Handler(web.RequestHandler):
        async def get(self):
            done = gen.sleep(0)
            called = []
            self.write("a")
            await self.flush(callback=lambda: called.append(1))
            await done
            self.write(str(len(called)))

    assert site([("/", Handler)]).ask("/").body == b"a1"


def test_etag_is_sent_for_whole_get_and_head_answers(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.set_status(int(self.get_argument("code", "200")))
            self.write("hello")

        head = post = get

    expected = f'"{hashlib.sha1(b"hello").hexdigest()}"'
    s = site([("/", Handler)])
    assert s.ask("/").headers["Etag"] == expected
    head = s.ask("/", "HEAD")
    assert (head.headers["Etag"], head.headers["Content-Length"]) == (expected, "5")
    assert head.rest == b""
    assert "Etag" not in s.ask("/?code=201").headers
    assert "Etag" not in s.ask("/", "POST", body="").headers


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ('"{}"', 304),
        ('W/"{}"', 304),
        ("*", 304),
        ('"x", "{}"', 304),
        ("{}", 200),
        ('"x"', 200),
    ],
)
def test_if_none_match(site, given, code):
    tag = hashlib.sha1(b"hello").hexdigest()
    answer = site([("/", Hello)]).ask(
        "/", headers={"If-None-Match": given.replace("{}", tag)}
    )
    assert answer.code == code
    assert answer.headers["Etag"] == f'"{tag}"'
    if code == 304:
        assert answer.rest == b""
        assert "Content-Type" not in answer.headers
        assert "Content-Length" not in answer.headers


def test_an_etag_of_the_handler_stays(site):
    class Own(Hello):
        def get(self):
            self.set_header("Etag", '"mine"')
            super().get()

    class Weak(Hello):
        def compute_etag(self):
            return 'W/"w"'

    class Without(Hello):
        def compute_etag(self):
            return None

    s = site([("/own", Own), ("/weak", Weak), ("/none", Without)])
    assert s.ask("/own").headers["Etag"] == '"mine"'
    assert s.ask("/weak", headers={"If-None-Match": '"w"'}).code == 304
    assert "Etag" not in s.ask("/none").headers


@pytest.mark.parametrize("code", [204, 304])
def test_answers_without_a_body(site, code, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            self.set_status(code)
            if self.get_argument("body", ""):
                self.write("x")

    s = site([("/", Handler)])
    answer = s.ask("/")
    assert (answer.code, answer.rest) == (code, b"")
    assert "Content-Type" not in answer.headers
    assert "Content-Length" not in answer.headers
    assert s.ask("/?body=1").code == 500
    assert f"Cannot send body with status code HTTP{code}" in caplog.text


def test_405_for_methods_a_handler_has_not(site):
    s = site([("/", Hello)])
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "FOO", "get"):
        assert s.ask("/", method).code == 405, method


def test_404_where_no_route_matches(site, caplog):
    assert site([("/", Hello)]).ask("/nope").code == 404
    assert lines_of(caplog, "tornado.access")[0].startswith(
        "404 GET /nope (127.0.0.1) "
    )


def test_default_handler_class(site):
    class NotHere(web.RequestHandler):
        def initialize(self, word):
            self.word = word

        def prepare(self):
            self.set_status(404)
            self.finish(self.word)

    s = site([], default_handler_class=NotHere, default_handler_args={"word": "no"})
    assert s.ask("/x").body == b"no"


def test_access_log_levels(site, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            self.set_status(int(self.get_argument("code")))

    s = site([("/", Handler)])
    for code in (200, 404, 503):
        s.ask(f"/?code={code}")
    records = [r for r in caplog.records if r.name == "tornado.access"]
    assert [r.levelname for r in records] == ["INFO", "WARNING", "ERROR"]
    assert records[0].getMessage().startswith("200 GET /?code=200 (127.0.0.1) ")
    assert records[0].getMessage().endswith("ms")


def test_reverse_url_and_settings(site):
    class Handler(web.RequestHandler):
        def get(self, number):
            assert self.settings is self.application.settings
            self.write(self.reverse_url("item", int(number) + 1))

    s = site([web.url(r"/item/([0-9]+)", Handler, name="item")], answer=42)
    assert s.ask("/item/4").body == b"/item/5"
    assert s.app.settings["answer"] == 42
    with pytest.raises(KeyError, match="nope not found in named urls"):
        s.app.reverse_url("nope")


def test_require_setting(site):
    class Handler(web.RequestHandler):
        def get(self):
            with pytest.raises(
                Exception, match="'x' setting in your application to use magic"
            ):
                self.require_setting("x", "magic")

    assert site([("/", Handler)]).ask("/").code == 200


class RoutedInPython(web.Application):
    def find_handler(self, request, **kwargs):
        return super().find_handler(request, **kwargs)


@pytest.mark.parametrize("application", [web.Application, RoutedInPython])
@pytest.mark.parametrize("host_rules", [False, True])
def test_a_target_in_absolute_form_is_its_path_on_its_host(
    site, host_rules, application
):
    class Told(web.RequestHandler):
        def get(self):
            r = self.request
            self.write(" ".join((r.uri, r.path, r.host, r.full_url())))

    class Elsewhere(web.RequestHandler):
        def get(self):
            self.write("elsewhere")

    s = site(application([("/told", Told), ("/", Told)]))
    if host_rules:
        s.app.add_handlers(r"other\.test", [("/told", Elsewhere)])
    url = "http://abs.test/told?a=http://b.test/"
    answer = s.ask(url, headers={"Host": "abs.test"})
    assert answer.body == f"{url} /told abs.test {url}".encode()
    answer = s.ask("http://abs.test?a", headers={"Host": "spoofed.test"})
    assert answer.body == b"http://abs.test?a / abs.test http://abs.test?a"
    if host_rules:
        answer = s.ask("http://other.test/told", headers={"Host": "abs.test"})
        assert answer.body == b"elsewhere"


def test_hosts(site):
    class Other(web.RequestHandler):
        def get(self):
            self.write("other")

    s = site([("/", Hello)])
    s.app.add_handlers(r"other\.example", [("/", Other)])
    assert s.ask("/").body == b"hello"
    assert s.ask("/", headers={"Host": "other.example:80"}).body == b"other"


def test_handlers_by_dotted_name_and_nested_lists(site):
    s = site([("/dotted", "test_web.Hello"), ("/n/.*", [("/n/a", Hello)])])
    assert s.ask("/dotted").body == b"hello"
    assert s.ask("/n/a").body == b"hello"
    assert s.ask("/n/b").code == 404


def test_compress_response(site):
    import gzip

    class Handler(web.RequestHandler):
        def get(self):
            if kind := self.get_argument("type", ""):
                self.set_header("Content-Type", kind)
            self.write("x" * int(self.get_argument("n")))

        async def post(self):
            self.write("a")
            await self.flush()
            self.write("b")

    s = site([("/", Handler)], compress_response=True)
    accept = {"Accept-Encoding": "x-other, gzip"}
    packed = s.ask("/?n=5000", headers=accept)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert int(packed.headers["Content-Length"]) == len(packed.body) < 5000
    assert gzip.decompress(packed.body) == b"x" * 5000
    streamed = s.ask("/", "POST", accept, "")
    assert gzip.decompress(streamed.body) == b"ab"
    for path, headers in (
        ("/?n=10", accept),
        ("/?n=5000&type=image/png", accept),
        ("/?n=5000", {}),
        ("/?n=5000", {"Accept-Encoding": "gzip;q=0"}),
    ):
        plain = s.ask(path, headers=headers)
        assert "Content-Encoding" not in plain.headers
        assert plain.headers["Vary"] == "Accept-Encoding"


def test_transforms_of_the_program(site):
    class Upper(web.OutputTransform):
        def transform_first_chunk(self, status_code, headers, chunk, finishing):
            headers["X-Upper"] = str(finishing)
            return status_code, headers, chunk.upper()

        def transform_chunk(self, chunk, finishing):
            return chunk.upper()

    class Handler(web.RequestHandler):
        async def get(self):
            self.write("a")
            await self.flush()
            self.write("b")

    answer = site([("/", Handler)], transforms=[Upper]).ask("/")
    assert answer.body == b"AB"
    assert answer.headers["X-Upper"] == "False"


def test_each_request_has_its_own_context(site):
    seen = contextvars.ContextVar("seen", default="unset")

    class Handler(web.RequestHandler):
        async def get(self):
            before = seen.get()
            seen.set(self.get_argument("v"))
            await gen.sleep(0)
            self.write(f"{before} {seen.get()}")

    s = site([("/", Handler)])
    assert s.ask("/?v=1").body == b"unset 1"
    assert s.ask("/?v=2").body == b"unset 2"
    assert seen.get() == "unset"


def test_detach_hands_the_stream_over(site):
    class Handler(web.RequestHandler):
        async def get(self):
            stream = self.detach()
            await stream.write(b"raw")
            stream.close()

    assert site([("/", Handler)]).raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b"raw"


def test_a_handler_may_be_given_a_whole_request():
    class Connection(httputil.HTTPConnection):
        def __init__(self):
            self.heads = []
            self.body = b""

        def set_close_callback(self, callback):
            pass

        def write_headers(self, start_line, headers, chunk=None):
            self.heads.append((start_line.code, start_line.reason))
            self.body += chunk or b""
            return gen.sleep(0)

        def finish(self):
            self.body += b"."

    async def run():
        connection = Connection()
        request = httputil.HTTPServerRequest(
            start_line=httputil.RequestStartLine("GET", "/", "HTTP/1.1"),
            headers=httputil.HTTPHeaders({"Host": "x"}),
            connection=connection,
        )
        app = web.Application([("/", Hello)], log_function=lambda handler: None)
        app(request)
        await gen.sleep(0)
        return connection

    from pyfastloop.ioloop import IOLoop

    connection = IOLoop.current().run_sync(run)
    assert connection.heads == [(200, "OK")]
    assert connection.body == b"hello."
