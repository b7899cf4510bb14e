"""pyfastloop.routing: rules, matchers, reversing, and routers under a real server."""

from __future__ import annotations

import logging
import re
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfastloop import httputil
from pyfastloop.routing import (
    AnyMatches,
    DefaultHostMatches,
    HostMatches,
    Matcher,
    PathMatches,
    ReversibleRouter,
    ReversibleRuleRouter,
    Router,
    Rule,
    RuleRouter,
    URLSpec,
)


def request_to(
    path: str, host: str = "example.com", **headers: str
) -> httputil.HTTPServerRequest:
    return httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("GET", path, "HTTP/1.1"),
        headers=httputil.HTTPHeaders({"Host": host, **headers}),
        connection=Connection(),
    )


class Connection(httputil.HTTPConnection):
    """Keeps what is written."""

    class context:
        remote_ip = "127.0.0.1"
        protocol = "http"

    def __init__(self) -> None:
        self.written: list[Any] = []

    def write_headers(self, start_line: Any, headers: Any, chunk: Any = None) -> Any:
        self.written.append((start_line.code, dict(headers.get_all())))

    def write(self, chunk: bytes) -> Any:
        self.written.append(chunk)

    def finish(self) -> None:
        self.written.append("finish")


# -- matchers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/a", "/a", {}),
        ("/a", "/a?x=1", {}),
        ("/a", "/ab", None),
        ("/a$", "/a", {}),
        ("/(.*)", "/x/y", {"path_args": [b"x/y"], "path_kwargs": {}}),
        (r"/(\d+)/(\w+)", "/5/a", {"path_args": [b"5", b"a"], "path_kwargs": {}}),
        (r"/(\d+)", "/x", None),
        ("/(.*)", "/a%20b%2Fc+d", {"path_args": [b"a b/c+d"], "path_kwargs": {}}),
        ("/(.*)", "/%FF", {"path_args": [b"\xff"], "path_kwargs": {}}),
        ("/a(b)?", "/a", {"path_args": [None], "path_kwargs": {}}),
        (
            "/(?P<x>[^/]+)(?P<y>/.*)?",
            "/%41",
            {"path_args": [], "path_kwargs": {"x": b"A", "y": None}},
        ),
        (re.compile("/a"), "/ab", {}),
        (re.compile("(?i)/a"), "/A", {}),
    ],
)
def test_path_matches(pattern: Any, path: str, found: Any):
    assert PathMatches(pattern).match(request_to(path)) == found


def test_groups_are_all_named_or_all_positional():
    with pytest.raises(ValueError, match="all named or all positional"):
        PathMatches(r"/(?P<x>\d+)/(.*)")


def test_host_matches():
    for host in ("example.com", "EXAMPLE.COM:80"):
        request = request_to("/", host)
        assert HostMatches("example.com").match(request) == {}
        assert HostMatches(r".*\.com").match(request) == {}
        assert HostMatches(re.compile("exam")).match(request) == {}
        assert HostMatches("exam").match(request) is None
        assert HostMatches("other").match(request) is None


def test_default_host_matches():
    class application:
        default_host = "default"

    matcher = DefaultHostMatches(application, re.compile("default$"))
    assert matcher.match(request_to("/")) == {}
    assert matcher.match(request_to("/", **{"X-Real-Ip": "127.0.0.1"})) is None
    other = DefaultHostMatches(application, re.compile("other$"))
    assert other.match(request_to("/")) is None


def test_any_and_base_matcher():
    assert AnyMatches().match(request_to("/")) == {}
    assert AnyMatches().reverse() is None
    with pytest.raises(NotImplementedError):
        Matcher().match(request_to("/"))


# -- reversing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "args", "path"),
    [
        ("/a", (), "/a"),
        ("^/a$", (), "/a"),
        ("", (), ""),
        ("/(.*)", ("x y",), "/x%20y"),
        (r"/(\d+)/(\w+)", (5, "é/&"), "/5/%C3%A9/%26"),
        ("/(?P<x>.)/(?P<y>.)", ("a", "b"), "/a/b"),
        ("/(.*)", (b"\xff",), "/%FF"),
        (r"/a\.b\/c", (), "/a.b/c"),
        ("/favicon.ico", (), "/favicon.ico"),
        ("/[a]b[.]c", (), "/ab.c"),
        ("/([^)]+)/x", ("a",), "/a/x"),
        (r"/(a(?:b|c)\))/x", ("ab)",), "/ab%29/x"),
        ("/(.*)/?", ("a",), "/a"),
        ("/a/?(b)?x*", ("b",), "/ab"),
        ("/(a)+", ("a",), "/a"),
        (re.compile("/a/(.)"), ("x",), "/a/x"),
    ],
)
def test_reverse(pattern: Any, args: Any, path: str):
    matcher = PathMatches(pattern)
    assert matcher.reverse(*args) == path


@pytest.mark.parametrize(
    "pattern",
    [
        "/a|/b",
        r"/\d",
        "/a+",
        "/[ab]",
        "/(?:a|b)",
        "/a{2}",
        "/(a(b))",
        "/(?=a)",
        "(?i)/a",
    ],
)
def test_patterns_that_cannot_be_reversed(pattern: str):
    with pytest.raises(ValueError, match="Cannot reverse"):
        PathMatches(pattern).reverse()


@pytest.mark.parametrize(
    ("pattern", "args"), [("/a", ("x",)), ("/(.)", ()), ("/(.)/(.)", ("x",))]
)
def test_reverse_wants_an_argument_for_each_group(pattern: str, args: Any):
    with pytest.raises(ValueError, match="number of arguments"):
        PathMatches(pattern).reverse(*args)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/", ("/", 0)),
        (r"/users/(\d+)", ("/users/%s", 1)),
        ("/(?P<year>[0-9]+)/(?P<name>.*)", ("/%s/%s", 2)),
        (r"^/x\.js$", ("/x.js", 0)),
        ("/100%", ("/100%", 0)),
        ("/100%/(.*)", ("/100%%/%s", 1)),
        (r"/\d+", (None, None)),
    ],
)
def test_tracing_tools_find_the_groups(pattern: str, found: tuple[Any, Any]):
    matcher = PathMatches(pattern)
    assert matcher._find_groups() == found
    assert (matcher._path, matcher._group_count) == found


@given(
    st.lists(
        st.sampled_from(
            [
                "/",
                "a",
                ".",
                r"\.",
                "x?",
                "y*",
                "[b]",
                "(.*)",
                "([^/]+)",
                "(.)?",
                "$",
                "|",
            ]
        ),
        max_size=8,
    )
)
def test_what_reverse_gives_matches(parts: list[str]):
    try:
        matcher = PathMatches("".join(parts))
    except re.error:
        return
    try:
        path = matcher.reverse(*["q"] * matcher.regex.groups)
    except ValueError:
        return
    assert path is not None
    assert matcher.regex.match(path)


# -- rules and routers -----------------------------------------------------------------


class Target:
    pass


def test_rule():
    rule = Rule(PathMatches("/a/(.*)"), Target, {"k": 1}, "name")
    assert (rule.target, rule.target_kwargs, rule.name) == (Target, {"k": 1}, "name")
    assert rule.reverse("x") == "/a/x"
    assert repr(rule).startswith("Rule(<") and "name='name'" in repr(rule)
    assert Rule(AnyMatches(), Target).target_kwargs == {}
    assert Rule(AnyMatches(), f"{__name__}.Target").target.__name__ == "Target"
    with pytest.raises(ImportError):
        Rule(AnyMatches(), "no_such_module_here.Target")


def test_url_spec():
    spec = URLSpec("/a/(.*)", Target, {"k": 1}, "name")
    assert spec.regex.pattern == "/a/(.*)$"
    assert spec.handler_class is spec.target is Target
    assert spec.kwargs == spec.target_kwargs == {"k": 1}
    assert spec.reverse("x") == "/a/x"
    assert repr(spec) == (
        f"URLSpec('/a/(.*)$', {Target}, kwargs={{'k': 1}}, name='name')"
    )


def test_rules_of_a_router():
    ready = Rule(AnyMatches(), Target)
    router = RuleRouter(
        [
            ("/a", Target),
            ["/b", Target, {"k": 1}],
            (re.compile("/c"), Target, None, "name"),
            (HostMatches("x"), Target),
            ready,
        ]
    )
    assert [type(rule.matcher) for rule in router.rules] == [
        PathMatches,
        PathMatches,
        PathMatches,
        HostMatches,
        AnyMatches,
    ]
    assert [rule.target_kwargs for rule in router.rules] == [{}, {"k": 1}, {}, {}, {}]
    assert router.rules[2].name == "name"
    assert router.rules[4] is ready
    for wrong in [("/a",), ("/a", 1, 2, 3, 4)]:
        with pytest.raises(ValueError, match="matcher, target"):
            router.add_rules([wrong])
    with pytest.raises(TypeError, match="a rule is"):
        router.add_rules(["/a"])


def test_process_rule_sees_every_rule():
    class Tracing(RuleRouter):
        def process_rule(self, rule: Rule) -> Rule:
            rule = super().process_rule(rule)
            return Rule(rule.matcher, rule.target, {"traced": True})

    router = Tracing([("/a", Target)])
    router.add_rules([("/b", Target)])
    assert [rule.target_kwargs for rule in router.rules] == [{"traced": True}] * 2


def test_the_first_target_that_takes_the_request_gets_it():
    asked: list[Any] = []

    class Asking(RuleRouter):
        def get_target_delegate(self, target: Any, request: Any, **params: Any) -> Any:
            asked.append((target, params))
            return super().get_target_delegate(target, request, **params)

    delegate = httputil.HTTPMessageDelegate()

    class Found(Router):
        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            asked.append(kwargs)
            return delegate

    found = Found()
    router = Asking([("/x", 0), ("/(.*)", 1, {"k": 1}), ("/(.*)", found, {"k": 2})])
    assert router.find_handler(request_to("/a")) is delegate
    params = {"path_args": [b"a"], "path_kwargs": {}}
    assert asked == [
        (1, {**params, "target_kwargs": {"k": 1}}),
        (found, {**params, "target_kwargs": {"k": 2}}),
        {**params, "target_kwargs": {"k": 2}},
    ]
    assert RuleRouter([(AnyMatches(), 1)]).find_handler(request_to("/")) is None


def test_connection_delegates_are_targets():
    started: list[Any] = []
    delegate = httputil.HTTPMessageDelegate()

    class Server(httputil.HTTPServerConnectionDelegate):
        def start_request(self, server_conn: object, request_conn: Any) -> Any:
            started.append((server_conn, request_conn))
            return delegate

    request = request_to("/")
    router = RuleRouter([(AnyMatches(), Server())])
    assert router.find_handler(request) is delegate
    assert started == [(request.server_connection, request.connection)]


def test_reverse_url():
    inner = ReversibleRuleRouter([("/in/(.)", Target, None, "inner")])
    router = ReversibleRuleRouter(
        [("/a/(.*)", Target, None, "a"), ("/b", RuleRouter()), ("/in.*", inner)]
    )
    assert router.reverse_url("a", "x") == "/a/x"
    assert router.reverse_url("inner", "y") == "/in/y"
    assert router.reverse_url("none") is None
    assert list(router.named_rules) == ["a"]


def test_a_name_used_twice_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "tornado.application"):
        router = ReversibleRuleRouter(
            [("/a", Target, None, "name"), ("/b", Target, None, "name")]
        )
    assert "Multiple handlers named name" in caplog.text
    assert router.reverse_url("name") == "/b"


def test_base_routers_are_abstract():
    with pytest.raises(NotImplementedError):
        Router().find_handler(request_to("/"))
    with pytest.raises(NotImplementedError):
        ReversibleRouter().reverse_url("name")


# -- requests --------------------------------------------------------------------------

HEAD = (
    httputil.RequestStartLine("POST", "/path?a=1", "HTTP/1.1"),
    httputil.HTTPHeaders(
        {"Host": "example.com", "Content-Type": "application/x-www-form-urlencoded"}
    ),
)


def test_a_request_goes_to_what_was_found():
    calls: list[Any] = []

    class Delegate(httputil.HTTPMessageDelegate):
        def headers_received(self, start_line: Any, headers: Any) -> Any:
            calls.append((start_line, headers))
            return "headers"

        def data_received(self, chunk: bytes) -> Any:
            calls.append(chunk)
            return "data"

        def finish(self) -> None:
            calls.append("finish")

        def on_connection_close(self) -> None:
            calls.append("close")

    class Finding(Router):
        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            calls.append((request.method, request.path, request.host_name))
            return Delegate()

    delegate = Finding().start_request(object(), Connection())
    assert delegate.headers_received(*HEAD) == "headers"
    assert delegate.data_received(b"x") == "data"
    delegate.finish()
    delegate.on_connection_close()
    assert calls == [
        ("POST", "/path", "example.com"),
        HEAD,
        b"x",
        "finish",
        "close",
    ]


def test_a_request_without_a_target_is_not_found():
    connection = Connection()
    delegate = RuleRouter().start_request(object(), connection)
    delegate.headers_received(*HEAD)
    delegate.data_received(b"x")
    delegate.finish()
    assert connection.written == [(404, {"Content-Length": "0"}), "finish"]


def test_a_connection_that_closes_before_the_head_is_nobody_s():
    RuleRouter().start_request(object(), Connection()).on_connection_close()


def test_functions_are_called_with_the_whole_request():
    seen: list[Any] = []

    def answer(request: Any, **params: Any) -> None:
        seen.append((request.body, request.arguments, params))

    router = RuleRouter([("/(.*)", answer, {"k": 1})])
    delegate = router.start_request(object(), Connection())
    delegate.headers_received(*HEAD)
    delegate.data_received(b"b=")
    delegate.data_received(b"2")
    assert seen == []
    delegate.finish()
    assert seen == [
        (
            b"b=2",
            {"a": [b"1"], "b": [b"2"]},
            {"path_args": [b"path"], "path_kwargs": {}, "target_kwargs": {"k": 1}},
        )
    ]


def ask(port: int, text: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(text.encode())
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def test_routers_under_a_server():
    import asyncio

    from pyfastloop import aio, web
    from pyfastloop.httpserver import HTTPServer
    from pyfastloop.testing import bind_unused_port

    class Hello(web.RequestHandler):
        def initialize(self, greeting: str) -> None:
            self.greeting = greeting

        def get(self, name: str) -> None:
            self.write(f"{self.greeting} {name} at {self.reverse_url('hello', 'x')}")

    def plain(request: httputil.HTTPServerRequest) -> None:
        request.connection.write_headers(
            httputil.ResponseStartLine("HTTP/1.1", 200, "OK"),
            httputil.HTTPHeaders({"Content-Length": "5"}),
            b"plain",
        )
        request.connection.finish()

    inner = web.Application([(r"/app/(\w+)", Hello, {"greeting": "hi"}, "hello")])
    router = RuleRouter(
        [
            (HostMatches("other"), plain),
            ("/plain", plain),
            ("/app.*", RuleRouter([("/app/.*", inner)])),
        ]
    )

    async def main() -> None:
        server = HTTPServer(router)
        sock, port = bind_unused_port()
        server.add_socket(sock)
        loop = asyncio.get_running_loop()

        async def get(path: str, host: str = "x") -> bytes:
            text = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            return await loop.run_in_executor(None, ask, port, text)

        assert (await get("/plain")).endswith(b"\r\n\r\nplain")
        assert (await get("/nowhere", "other")).endswith(b"\r\n\r\nplain")
        assert (await get("/app/bob")).endswith(b"\r\n\r\nhi bob at /app/x")
        assert (await get("/app/no/thing")).startswith(b"HTTP/1.1 404")
        assert (await get("/nowhere")).startswith(b"HTTP/1.1 404")
        server.stop()

    aio.run(main())
