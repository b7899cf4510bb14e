"""Rules for hosts, and routers in routers: C says what find_handler says."""

from __future__ import annotations

import gzip
import re

import pytest

from pyfastloop import _core, web
from pyfastloop.httpserver import HTTPServer
from pyfastloop.routing import AnyMatches, HostMatches, PathMatches, Rule


class Tell(web.RequestHandler):
    def initialize(self, who=""):
        self.who = who

    def get(self, *args, **kwargs):
        self.write(f"{self.who} {args} {kwargs}")


class InPython(web.Application):
    """The same, but for C's view of it: the class is not the one C knows."""


def tell(pattern, who):
    return (pattern, Tell, {"who": who})


def make(kind):
    application = kind(
        [
            tell("/", "any"),
            (
                "/api/(.*)",
                [tell(r"/api/v(\d+)", "api"), tell("/api/(?P<x>a+)", "named")],
            ),
            Rule(HostMatches("late.org"), Tell, {"who": "late host"}),
            ("/empty.*", []),
            tell("/empty/end", "behind an empty router"),
            tell("/api/other", "behind"),
        ],
        default_host="stand-in.org",
    )
    application.add_handlers(
        r"(www\.)?b\.org", [tell("/", "b"), ("/deep.*", [tell("/deep/er", "deep")])]
    )
    application.add_handlers("c.org", [tell("/c", "c")])
    application.add_handlers(
        re.compile(r"STAND-in\.org$", re.IGNORECASE), [tell("/only", "stand-in")]
    )
    application.add_handlers(r"b\.org", [tell("/second", "second b")])
    return application


PATHS = [
    *("/", "/c", "/deep/er", "/deep/no", "/only", "/second", "/none", "/api/v12"),
    *("/api/aaa", "/api/other", "/empty/end", "/api/"),
]
HOSTS = [
    *("b.org", "WWW.b.org:81", "c.org", "cxorg", "late.org", "stand-in.org", "x"),
    *("[::1]:80", "b.org.", "b%41.org"),
]


def test_c_takes_all_of_its_rules():
    table, _, _ = _core.explain_server(HTTPServer(make(web.Application)))
    assert all(taken for _, taken, _ in table)
    assert _core.explain_server(HTTPServer(make(InPython)))[0] is None


def asked(site, path, host, *lines):
    head = "".join(f"{line}\r\n" for line in (f"Host: {host}", *lines))
    raw = f"GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode()
    head, _, body = site.raw(raw).partition(b"\r\n\r\n")
    return head[:12], body


def test_both_say_the_same(site):
    ours, theirs = site(make(web.Application)), site(make(InPython))
    seen = set()
    for host in HOSTS:
        for path in PATHS:
            for lines in ((), ("X-Real-Ip: 1.2.3.4",)):
                answer = asked(ours, path, host, *lines)
                assert answer == asked(theirs, path, host, *lines), (host, path, lines)
                seen.add(answer[1])
    for who in ("any", "b", "deep", "c", "stand-in", "second b", "late host", "api"):
        assert any(body.startswith(who.encode() + b" ") for body in seen), who
    assert b"api ('12',) {}" in seen and b"named () {'x': 'aaa'}" in seen


def test_changes_of_hosts_and_inner_routers_are_noticed(site):
    s = site(make(web.Application))

    def ask(path, host):
        return asked(s, path, host)[1].partition(b" ")[0].decode()

    first, *_ = s.app.default_router.rules
    assert [ask("/", "b.org"), ask("/", "x")] == ["b", "any"]
    assert ask("/more", "b.org") == ask("/more", "x") != "more"
    first.target.add_rules([tell("/more", "more")])
    assert ask("/more", "b.org") == "more"
    first.target.rules[1].target.rules.insert(
        0, Rule(AnyMatches(), Tell, {"who": "in"})
    )
    assert ask("/deep/er", "b.org") == "in"
    first.matcher = HostMatches("new.org")
    assert [ask("/", "new.org"), ask("/", "b.org")] == ["b", "any"]
    first.matcher.host_pattern = re.compile("newer")
    assert [ask("/", "new.org"), ask("/", "newer.org")] == ["any", "b"]
    assert ask("/only", "x") == "stand-in"
    s.app.default_host = "nobody"
    assert ask("/only", "x") != "stand-in"
    s.app.default_host = "Stand-In.org"
    assert ask("/only", "x") == "stand-in"
    del s.app.default_router.rules[0]
    assert ask("/", "newer.org") == "any"
    anything = s.app.default_router.rules[-1]
    anything.target = type(first.target)(s.app, [tell("/", "other")])
    assert ask("/", "x") == "other"
    anything.matcher = HostMatches("y")
    assert [ask("/", "x"), ask("/", "y")] == ["<html><title>404:", "other"]


@pytest.mark.parametrize("kind", [HostMatches, PathMatches])
def test_a_patched_matcher_is_asked(site, monkeypatch, kind):
    s = site(make(web.Application))
    assert asked(s, "/", "b.org")[1].startswith(b"b ")
    monkeypatch.setattr(kind, "match", lambda self, request: None)
    assert asked(s, "/", "b.org")[1].startswith(b"any ") is (kind is HostMatches)


def test_a_router_in_itself(site):
    application = make(web.Application)
    inner = application.wildcard_router.rules[1].target
    inner.rules.append(Rule(PathMatches("/api/loop"), inner))
    s = site(application)
    assert asked(s, "/api/v1", "x")[1].startswith(b"api ")
    assert asked(s, "/api/other", "x")[1].startswith(b"behind ")


# ---- decompress_request: only coded bodies need Python ----


class Echo(web.RequestHandler):
    def post(self):
        self.set_header("X-Was", self.request.headers.get("Content-Encoding", "none"))
        self.set_header(
            "X-Is-Of", self.request.headers.get("X-Consumed-Content-Encoding", "none")
        )
        self.write(self.request.body)


@pytest.mark.parametrize("coding", [None, "gzip", "GZip"])
def test_bodies_of_a_server_that_inflates(site, coding):
    s = site([("/", Echo)], server_options={"decompress_request": True})
    body = b"words " * 500
    sent = gzip.compress(body) if coding and coding.lower() == "gzip" else body
    headers = {"Content-Encoding": coding} if coding else {}
    answer = s.ask("/", method="POST", headers=headers, body=sent)
    assert (answer.code, answer.body) == (200, body)
    inflated = sent is not body
    assert answer.headers["X-Is-Of"] == (coding if inflated else "none")
    assert answer.headers["X-Was"] == ("none" if inflated or not coding else coding)


@pytest.mark.parametrize("options", [{}, {"decompress_request": True}], ids=str)
@pytest.mark.parametrize("kind", [None, "application/json"])
def test_a_coding_of_the_programs_own(site, options, kind):
    s = site([("/", Echo)], server_options=options)
    headers = {"Content-Encoding": "br"} | ({"Content-Type": kind} if kind else {})
    answer = s.ask("/", method="POST", headers=headers, body=b"coded")
    assert (answer.code, answer.body) == (200, b"coded")
    assert answer.headers["X-Was"] == "br"
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    assert s.ask("/", method="POST", headers=headers, body=b"coded").code == 400


def test_a_server_that_inflates_leaves_plain_requests_to_c(site, monkeypatch):
    s = site([("/", Echo)], server_options={"decompress_request": True})
    monkeypatch.setattr(
        "pyfastloop.http1connection._GzipMessageDelegate", lambda *args: pytest.fail()
    )
    assert s.ask("/", method="POST", body=b"abc").body == b"abc"
