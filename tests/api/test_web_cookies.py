"""pyfastloop.web: cookies, plain and signed."""

from __future__ import annotations

import datetime
import http.cookies
import time

import pytest

from pyfastloop import web


def set_cookies(site, action, **settings):
    """The Set-Cookie headers of a handler that calls ``action(handler)``."""

    class Handler(web.RequestHandler):
        def get(self):
            action(self)

    answer = site([("/", Handler)], **settings).ask("/")
    assert answer.code == 200, answer
    return answer.all("Set-Cookie")


def test_get_cookie(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.write(
                repr(
                    [
                        self.get_cookie("a"),
                        self.get_cookie("q"),
                        self.get_cookie("no"),
                        self.get_cookie("no", "d"),
                        sorted(self.cookies),
                    ]
                )
            )

    answer = site([("/", Handler)]).ask("/", headers={"Cookie": 'a=1; q="x y"; b=2'})
    assert answer.text == "['1', 'x y', None, 'd', ['a', 'b', 'q']]"


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, "n=v; Path=/"),
        ({"domain": "ex.com", "path": "/p"}, "n=v; Domain=ex.com; Path=/p"),
        ({"path": None}, "n=v"),
        ({"max_age": 10}, "n=v; Max-Age=10; Path=/"),
        ({"httponly": True, "secure": True}, "n=v; HttpOnly; Path=/; Secure"),
        ({"samesite": "lax"}, "n=v; Path=/; SameSite=lax"),
        ({"expires": 5}, "n=v; expires=Thu, 01 Jan 1970 00:00:05 GMT; Path=/"),
        (
            {"expires": datetime.datetime(2030, 1, 2)},
            "n=v; expires=Wed, 02 Jan 2030 00:00:00 GMT; Path=/",
        ),
    ],
)
def test_set_cookie_options(site, kwargs, expected):
    assert set_cookies(site, lambda h: h.set_cookie("n", "v", **kwargs)) == [expected]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a;b", r'n="a\073b"; Path=/'),
        ('a"b', r'n="a\"b"; Path=/'),
        ("", 'n=""; Path=/'),
        ("a=b", 'n="a=b"; Path=/'),
        (b"bytes", "n=bytes; Path=/"),
    ],
)
def test_values_are_quoted(site, value, sent):
    (line,) = set_cookies(site, lambda h: h.set_cookie("n", value))
    assert line.replace('"a=b"', "a=b") == sent.replace('"a=b"', "a=b")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("n", "a b"), {}),
        (("n", "a\nb"), {}),
        (("n", "a\x00"), {}),
        (("a b", "v"), {}),
        (("a;", "v"), {}),
        (("a=b", "v"), {}),
        (("", "v"), {}),
        (("path", "v"), {}),
        (("n", "v"), {"domain": "ex.com; secure"}),
        (("n", "v"), {"domain": "e\r\n"}),
        (("n", "v"), {"path": "/a;b"}),
        (("n", "v"), {"path": "/\n"}),
        (("n", "v"), {"samesite": "a;b"}),
        (("n", "v"), {"max_age": "10; x"}),
        (("n", "v"), {"Path": "/x;y"}),
        (("n", "v"), {"comment": "h;i"}),
        (("n", "v"), {"bogus": 1}),
    ],
)
def test_what_cannot_be_one_cookie_is_refused(site, args, kwargs):
    def action(handler):
        with pytest.raises((ValueError, http.cookies.CookieError)):
            handler.set_cookie(*args, **kwargs)

    assert set_cookies(site, action) == []


def test_a_cookie_made_bad_behind_our_back_is_not_sent(site, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            self.set_cookie("good", "1")
            self.set_cookie("bad", "1")
            self._new_cookie["bad"]["domain"] = "x; Secure"

    answer = site([("/", Handler)]).ask("/")
    assert answer.code == 500
    assert answer.all("Set-Cookie") == ["good=1; Path=/"]
    assert "Invalid cookie attribute domain" in caplog.text


def test_capital_keywords_are_deprecated(site):
    def action(handler):
        with pytest.warns(DeprecationWarning, match="should be lowercase"):
            handler.set_cookie("n", "v", HttpOnly=True)

    assert set_cookies(site, action) == ["n=v; HttpOnly; Path=/"]


def test_the_last_cookie_of_a_name_wins(site):
    def action(handler):
        handler.set_cookie("n", "1")
        handler.set_cookie("n", "2")

    assert set_cookies(site, action) == ["n=2; Path=/"]


def test_clearing(site):
    class Handler(web.RequestHandler):
        def get(self):
            with pytest.raises(
                TypeError, match="unexpected keyword argument 'expires'"
            ):
                self.clear_cookie("x", expires=1)
            with pytest.raises(
                TypeError, match="unexpected keyword argument 'max_age'"
            ):
                self.clear_cookie("x", max_age=1)
            self.clear_cookie("x", path="/p", secure=True)
            self.clear_all_cookies(domain="d")

    answer = site([("/", Handler)]).ask("/", headers={"Cookie": "a=1; b=2"})
    x, a, b = answer.all("Set-Cookie")
    assert x.startswith('x=""; expires=')
    assert x.endswith("; Path=/p; Secure")
    assert a.startswith('a=""; Domain=d; expires=')
    assert b.startswith('b=""; Domain=d; expires=')


def test_signed_cookies_round_trip(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.set_signed_cookie("n", "välue")

        def post(self):
            value = self.get_signed_cookie("n")
            self.write(repr(value))

    s = site([("/", Handler)], cookie_secret="secret")
    (line,) = s.ask("/").all("Set-Cookie")
    pair = line.partition(";")[0]
    assert "expires=" in line
    assert s.ask("/", "POST", {"Cookie": pair}, "").text == repr("välue".encode())
    forged = pair[:-2] + ("1" if pair[-2] != "1" else "2") + pair[-1]
    assert s.ask("/", "POST", {"Cookie": forged}, "").text == "None"


def test_signed_cookies_expire(site):
    old = web.create_signed_value(
        "secret", "n", "v", clock=lambda: time.time() - 40 * 86400
    ).decode()

    class Handler(web.RequestHandler):
        def get(self):
            self.write(
                repr(
                    (
                        self.get_signed_cookie("n", old),
                        self.get_signed_cookie("n", old, max_age_days=50),
                        self.get_secure_cookie("n", old, max_age_days=50),
                    )
                )
            )

    answer = site([("/", Handler)], cookie_secret="secret").ask("/")
    assert answer.text == "(None, b'v', b'v')"


def test_signing_with_key_versions(site):
    class Handler(web.RequestHandler):
        def get(self):
            value = self.create_signed_value("n", "v").decode()
            assert self.get_signed_cookie_key_version("n", value) == 1
            assert self.get_signed_cookie_key_version("n") is None
            self.write(self.get_signed_cookie("n", value))

    s = site([("/", Handler)], cookie_secret={0: "a", 1: "b"}, key_version=1)
    assert s.ask("/").body == b"v"


def test_signing_needs_a_secret(site):
    def action(handler):
        with pytest.raises(Exception, match="'cookie_secret' setting"):
            handler.set_signed_cookie("a", "b")
        with pytest.raises(Exception, match="'cookie_secret' setting"):
            handler.get_signed_cookie("a")

    assert set_cookies(site, action) == []


def test_hundred_thousand_cookie_pairs_cost_linear_time(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.write(str(len(self.cookies)))

    pairs = "; ".join(f"k{i}=v" for i in range(4000))
    s = site([("/", Handler)], server_options={"max_header_size": 1 << 20})
    assert s.ask("/", headers={"Cookie": pairs}).text == "4000"
