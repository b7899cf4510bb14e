"""pyfastloop.web: slashes, log-in, redirects, fall-backs."""

from __future__ import annotations

import pytest

from pyfastloop import httputil, web


class Slash(web.RequestHandler):
    @web.addslash
    def get(self):
        self.write("in")

    post = head = get


class Bare(web.RequestHandler):
    @web.removeslash
    def get(self):
        self.write("in")

    post = head = get


@pytest.mark.parametrize(
    ("method", "path", "code", "location"),
    [
        ("GET", "/add", 301, "/add/"),
        ("HEAD", "/add", 301, "/add/"),
        ("GET", "/add?a=b", 301, "/add/?a=b"),
        ("GET", "/add/", 200, None),
        ("POST", "/add", 404, None),
        ("GET", "/remove/", 301, "/remove"),
        ("GET", "/remove//?a=b", 301, "/remove?a=b"),
        ("GET", "/remove", 200, None),
        ("POST", "/remove/", 404, None),
        ("GET", "//evil.example/", 403, None),
        ("GET", "//evil.example//", 403, None),
        ("GET", "/\\evil.example/", 403, None),
    ],
)
def test_slashes(site, method, path, code, location):
    s = site([("/add/?", Slash), ("/remove/*", Bare), (r"/[/\\].*", Bare)])
    body = "" if method == "POST" else None
    answer = s.ask(path, method, body=body)
    assert answer.code == code
    assert answer.headers.get("Location") == location


class Secret(web.RequestHandler):
    @web.authenticated
    def get(self):
        self.write(f"in {self.current_user}")

    post = get

    def get_current_user(self):
        return self.get_argument("user", None)


def test_authenticated(site):
    class Elsewhere(Secret):
        def get_login_url(self):
            return "http://login/in"

    class WithQuery(Secret):
        def get_login_url(self):
            return "/login?x=1"

    s = site([("/", Secret), ("/e", Elsewhere), ("/q", WithQuery)], login_url="/login")
    assert s.ask("/?user=me").body == b"in me"
    away = s.ask("/?a=b")
    assert (away.code, away.headers["Location"]) == (302, "/login?next=%2F%3Fa%3Db")
    assert s.ask("/", "POST", body="").code == 403
    assert s.ask("/e").headers["Location"] == (
        f"http://login/in?next=http%3A%2F%2F127.0.0.1%3A{s.port}%2Fe"
    )
    assert s.ask("/q").headers["Location"] == "/login?x=1"


def test_authenticated_needs_a_login_url(site, caplog):
    assert site([("/", Secret)]).ask("/").code == 500
    assert "'login_url' setting" in caplog.text


def test_current_user_is_asked_once_and_may_be_set(site):
    asked = []

    class Handler(web.RequestHandler):
        def get_current_user(self):
            asked.append(1)

        def get(self):
            assert self.current_user is None
            assert self.current_user is None
            self.current_user = "set"
            self.write(self.current_user)

    assert site([("/", Handler)]).ask("/").body == b"set"
    assert asked == [1]


@pytest.mark.parametrize(
    ("path", "code", "location"),
    [
        ("/one/x?y=1&z=2", 301, "/to/x?y=1&z=2"),
        ("/temporary", 302, "/to"),
        ("/named/b/a", 301, "/a/b"),
        ("/other/x", 301, "http://x/x"),
        ("/other//evil", 301, "http://x//evil"),
        ("/root/x", 301, "/x"),
        ("/root//evil.example", 400, None),
        ("/root/\\evil.example", 400, None),
        ("/root/%5cevil.example", 400, None),
        ("/root/%09/evil.example", 400, None),
        ("/all/http://evil.example", 400, None),
        ("/all/https:evil.example", 400, None),
        ("/all/javascript:alert(1)", 400, None),
        ("/all/%0a", 400, None),
        ("/host@evil", 400, None),
        ("/host.evil", 400, None),
        ("/host/fine", 301, "http://x/fine"),
    ],
)
def test_redirect_handler(site, path, code, location):
    redirect = web.RedirectHandler
    s = site(
        [
            ("/one/(.*)", redirect, {"url": "/to/{0}"}),
            ("/temporary", redirect, {"url": "/to", "permanent": False}),
            ("/named/(?P<b>.*)/(?P<a>.*)", redirect, {"url": "/{a}/{b}"}),
            ("/other/(.*)", redirect, {"url": "http://x/{0}"}),
            ("/root/(.*)", redirect, {"url": "/{0}"}),
            ("/all/(.*)", redirect, {"url": "{0}"}),
            ("/host(.*)", redirect, {"url": "http://x{0}"}),
        ]
    )
    answer = s.ask(path)
    assert answer.code == code
    assert answer.headers.get("Location") == location


def test_fallback_handler(site):
    def fallback(request):
        start = httputil.ResponseStartLine("", 200, "OK")
        headers = httputil.HTTPHeaders({"Content-Length": "2"})
        request.connection.write_headers(start, headers, b"fb")
        request.connection.finish()

    s = site([("/fb", web.FallbackHandler, {"fallback": fallback})])
    assert s.ask("/fb").body == b"fb"


def test_stream_request_body_wants_a_handler_class():
    with pytest.raises(TypeError, match="expected subclass of RequestHandler"):
        web.stream_request_body(lambda: None)
    with pytest.raises(TypeError, match="expected subclass of RequestHandler"):
        web.stream_request_body(dict)
