"""httputil: header maps, requests, start lines, forms, URLs, dates and ranges."""

from __future__ import annotations

import copy
import datetime
import pickle
import time
from collections.abc import Mapping, MutableMapping

import pytest

from pyfastloop import httputil
from pyfastloop.httputil import (
    HTTPFile,
    HTTPHeaders,
    HTTPInputError,
    HTTPServerRequest,
    ParseBodyConfig,
    ParseMultipartConfig,
    ParseUrlEncodedConfig,
    RequestStartLine,
    ResponseStartLine,
    encode_username_password,
    format_timestamp,
    parse_body_arguments,
    parse_cookie,
    parse_multipart_form_data,
    parse_request_start_line,
    parse_response_start_line,
    qs_to_qsl,
    split_host_and_port,
    url_concat,
)

# ---------------------------------------------------------------- HTTPHeaders


def test_header_names_are_normalised_and_compared_without_case() -> None:
    headers = HTTPHeaders({"content-TYPE": "text/html"})
    assert list(headers) == ["Content-Type"]
    assert headers["CONTENT-type"] == "text/html"
    assert "content-type" in headers
    assert "x" not in headers
    assert 1 not in headers  # type: ignore[comparison-overlap]


def test_repeated_headers_are_kept_and_joined_on_reading() -> None:
    headers = HTTPHeaders()
    headers.add("a", "1")
    headers.add("B", "2")
    headers.add("A", "3")
    assert headers["a"] == "1,3"
    assert headers.get_list("A") == ["1", "3"]
    assert headers.get_list("zz") == []
    assert list(headers.get_all()) == [("A", "1"), ("A", "3"), ("B", "2")]
    assert list(headers) == ["A", "B"]
    assert len(headers) == 2
    assert str(headers) == "A: 1\nA: 3\nB: 2\n"


def test_setting_replaces_all_values_and_keeps_the_place() -> None:
    headers = HTTPHeaders()
    for name, value in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5")]:
        headers.add(name, value)
    headers["A"] = "x"
    assert list(headers.items()) == [("A", "x"), ("B", "2,5"), ("C", "4")]
    headers.add("c", "6")
    headers.add("a", "y")
    assert headers.get_list("a") == ["x", "y"]
    assert headers.get_list("c") == ["4", "6"]


def test_removing_takes_every_value() -> None:
    headers = HTTPHeaders()
    for i in range(20):
        headers.add("x", str(i))
        headers.add(f"y{i % 3}", str(i))
    del headers["X"]
    assert list(headers) == ["Y0", "Y1", "Y2"]
    assert headers.get_list("y1") == ["1", "4", "7", "10", "13", "16", "19"]
    del headers["y0"]
    assert list(headers) == ["Y1", "Y2"]
    assert headers.get_list("y2") == ["2", "5", "8", "11", "14", "17"]
    with pytest.raises(KeyError) as caught:
        del headers["y0"]
    assert caught.value.args == ("Y0",)


def test_headers_are_a_mutable_mapping() -> None:
    headers = HTTPHeaders([("a", "b")], c="d")
    assert isinstance(headers, MutableMapping)
    assert isinstance(headers, Mapping)
    assert dict(headers) == {"A": "b", "C": "d"}
    assert headers.pop("a") == "b"
    with pytest.raises(KeyError, match="'Zz'"):
        headers.pop("zz")
    assert headers.pop("zz", "default") == "default"
    assert headers.get("zz") is None
    assert headers.get("zz", "q") == "q"
    assert headers.get("zz", default="q") == "q"
    assert headers.setdefault("e", "f") == "f"
    headers.update({"g": "h"}, i="j")
    assert list(headers.keys()) == ["C", "E", "G", "I"]
    assert list(headers.values()) == ["d", "f", "h", "j"]
    assert headers.popitem() == ("C", "d")
    headers.clear()
    assert not headers
    assert len(headers) == 0


def test_headers_compare_with_any_mapping() -> None:
    headers = HTTPHeaders({"a": "b"})
    assert headers == {"A": "b"}
    assert headers == {"A": "b"}
    assert headers == HTTPHeaders(A="b")
    assert headers != {"A": "c"}
    assert headers != 3
    with pytest.raises(TypeError):
        hash(headers)


@pytest.mark.parametrize("name", ["", "a b", "a:", "é", "a\0", "a\n", "a\r\nb", "(a)"])
def test_names_that_are_no_tokens_are_refused(name: str) -> None:
    headers = HTTPHeaders()
    for change in (headers.add, headers.__setitem__):
        with pytest.raises(HTTPInputError):
            change(name, "x")
        with pytest.raises(ValueError):
            change(name, "x")
    assert not headers


@pytest.mark.parametrize("value", ["a\n", "a\rb", "\r\nSet-Cookie: a", "\0", "\x7f"])
def test_values_that_would_split_a_head_are_refused(value: str) -> None:
    headers = HTTPHeaders({"a": "kept"})
    for change in (headers.add, headers.__setitem__):
        with pytest.raises(HTTPInputError):
            change("a", value)
        with pytest.raises(ValueError):
            change("a", value)
    assert headers == {"A": "kept"}


def test_values_are_one_byte_characters_unless_told() -> None:
    headers = HTTPHeaders()
    headers.add("a", "é")
    with pytest.raises(HTTPInputError):
        headers.add("a", "ŝ")
    with pytest.raises(HTTPInputError):
        headers.add("a", " x")
    headers.add("b", "ŝ", _chars_are_bytes=False)
    assert headers == {"A": "é", "B": "ŝ"}


def test_parse_line() -> None:
    headers = HTTPHeaders()
    headers.parse_line("A: b")
    headers.parse_line("c:\t d \t\r\n")
    headers.parse_line("e:\n")
    headers.parse_line("\r\n")
    headers.parse_line("")
    assert headers == {"A": "b", "C": "d", "E": ""}


@pytest.mark.parametrize("line", ["A :b", "A", ": b", " folded", "A: b\r", "A: b\x0bc"])
def test_parse_line_refuses(line: str) -> None:
    with pytest.raises(HTTPInputError):
        HTTPHeaders().parse_line(line)


def test_parse_takes_crlf_and_bare_lf() -> None:
    assert HTTPHeaders.parse("A: b\r\nC: d\r\n") == {"A": "b", "C": "d"}
    assert HTTPHeaders.parse("A: b\nC: d") == {"A": "b", "C": "d"}
    assert HTTPHeaders.parse("A: b\r\n\r\nC: d") == {"A": "b", "C": "d"}
    assert HTTPHeaders.parse("A: \x85x\n")["a"] == "\x85x"
    with pytest.raises(HTTPInputError):
        HTTPHeaders.parse("A: b\r\n folded\r\n")
    with pytest.raises(HTTPInputError):
        HTTPHeaders.parse("A: b\rC: d\n")


def test_headers_made_of_themselves() -> None:
    headers = HTTPHeaders({"A": "b"})
    headers.__init__(headers)  # type: ignore[misc]
    assert list(headers.get_all()) == [("A", "b")]


def test_headers_copy_and_pickle() -> None:
    headers = HTTPHeaders({"a": "1"})
    headers.add("a", "2")
    for other in (
        headers.copy(),
        copy.copy(headers),
        copy.deepcopy(headers),
        pickle.loads(pickle.dumps(headers)),
        HTTPHeaders(headers),
    ):
        assert type(other) is HTTPHeaders
        assert other.get_list("a") == ["1", "2"]
        other["b"] = "3"
        assert "b" not in headers


class _Loud(HTTPHeaders):
    def add(self, name: str, value: str, **kwargs: bool) -> None:
        super().add(name, value.upper())


def test_headers_can_be_subclassed() -> None:
    parsed = _Loud.parse("a: b")
    assert type(parsed) is _Loud
    assert parsed["a"] == "B"
    assert _Loud(HTTPHeaders({"a": "b"}))["a"] == "B"
    parsed.note = "kept"  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(parsed))
    assert type(again) is _Loud
    assert again.note == "kept"


class _Marked(HTTPHeaders):
    def __getitem__(self, name: str) -> str:
        return f"<{super().__getitem__(name)}>"


def test_headers_compare_by_what_a_subclass_says() -> None:
    marked = _Marked({"a": "b"})
    assert dict(marked) == {"A": "<b>"} == marked
    assert marked != {"A": "b"}


def test_headers_take_names_and_defaults_as_mappings_do() -> None:
    headers = HTTPHeaders({"a": "b"})
    assert headers.get_list(name="a") == ["b"]
    assert headers.get("c", default="d") == "d"
    assert headers.pop("c", default=None) is None
    assert headers.pop("a", default=None) == "b"
    for wrong in ({}, {"name": "a", "default": 1}, {"fallback": 1}):
        with pytest.raises(TypeError):
            headers.pop(**wrong)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            headers.get_list(*wrong, **wrong)


def test_ten_thousand_headers_of_one_name_stay_linear() -> None:
    headers = HTTPHeaders()
    for _ in range(10_000):
        headers.add("x", "y")
    assert headers["x"].count("y") == 10_000


def test_names_of_python_are_only_names() -> None:
    headers = HTTPHeaders()
    headers.add("__proto__", "a")
    headers.add("__class__", "b")
    assert type(headers) is HTTPHeaders
    assert headers["__class__"] == "b"


# ---------------------------------------------------------------- HTTPServerRequest


def request(uri: str = "/", **kwargs: object) -> HTTPServerRequest:
    headers = HTTPHeaders({"Host": "h:1"})
    return HTTPServerRequest("GET", uri, headers=headers, **kwargs)  # type: ignore[arg-type]


def test_request_attributes() -> None:
    r = request("/a?b=c&d&b=e%20f+g")
    assert (r.method, r.uri, r.version) == ("GET", "/a?b=c&d&b=e%20f+g", "HTTP/1.0")
    assert (r.path, r.query) == ("/a", "b=c&d&b=e%20f+g")
    assert r.arguments == {"b": [b"c", b"e f g"], "d": [b""]}
    assert r.query_arguments == r.arguments
    assert r.query_arguments is not r.arguments
    assert r.body_arguments == {}
    assert r.files == {}
    assert r.body == b""
    assert (r.host, r.host_name) == ("h:1", "h")
    assert (r.protocol, r.remote_ip, r.connection) == ("http", None, None)
    assert r.full_url() == "http://h:1/a?b=c&d&b=e%20f+g"
    assert r.request_time() >= 0
    assert r.get_ssl_certificate() is None
    assert repr(r) == (
        "HTTPServerRequest(protocol='http', host='h:1', method='GET', "
        "uri='/a?b=c&d&b=e%20f+g', version='HTTP/1.0', remote_ip=None)"
    )


def test_request_attributes_can_be_replaced() -> None:
    r = request("/a?b=c")
    r.path = "/other"
    r.arguments = {"x": [b"y"]}
    r.anything = 1  # type: ignore[attr-defined]
    assert (r.path, r.arguments, r.query_arguments) == (
        "/other",
        {"x": [b"y"]},
        {"b": [b"c"]},
    )


def test_request_of_a_start_line() -> None:
    line = RequestStartLine("POST", "/x?y", "HTTP/1.1")
    r = HTTPServerRequest(start_line=line, headers=HTTPHeaders(Host="a"))
    assert (r.method, r.path, r.query, r.version) == ("POST", "/x", "y", "HTTP/1.1")


@pytest.mark.parametrize("host", ["a b", "a/b", "u@h", "a,b", "é"])
def test_an_invalid_host_is_refused(host: str) -> None:
    with pytest.raises(HTTPInputError):
        HTTPServerRequest("GET", "/", headers=HTTPHeaders(Host=host))


def test_http11_wants_one_host() -> None:
    with pytest.raises(HTTPInputError, match="Missing Host"):
        HTTPServerRequest("GET", "/", version="HTTP/1.1")
    two = HTTPHeaders()
    two.add("Host", "a")
    two.add("Host", "b")
    with pytest.raises(HTTPInputError, match="Multiple"):
        HTTPServerRequest("GET", "/", headers=two)
    assert HTTPServerRequest("GET", "/").host == "127.0.0.1"


@pytest.mark.parametrize(
    ("uri", "host", "path", "query"),
    [
        ("http://h:8/a?b", "h:8", "/a", "b"),
        ("HTTPS://h", "h", "/", ""),
        ("http://h?u=http://x/y", "h", "/", "u=http://x/y"),
        ("http://user@h/a", "of-headers", "http://user@h/a", ""),
        ("ftp://h/a", "of-headers", "ftp://h/a", ""),
        ("/a?u=http://h/", "of-headers", "/a", "u=http://h/"),
    ],
)
def test_a_uri_in_absolute_form(uri, host, path, query):
    r = HTTPServerRequest("GET", uri, headers=HTTPHeaders(Host="of-headers"))
    assert (r.uri, r.host, r.path, r.query) == (uri, host, path, query)
    assert HTTPServerRequest("GET", uri, host="given").host == "given"


def test_too_many_query_fields_are_refused_at_once() -> None:
    with pytest.raises(HTTPInputError, match="Max number of fields"):
        request("/?" + "&".join(["a"] * 1001))
    assert len(request("/?" + "&".join(["a"] * 1000)).arguments["a"]) == 1000


def test_request_cookies() -> None:
    headers = HTTPHeaders({"Host": "h", "Cookie": 'a=b; c="d"; bad(name=x; e'})
    r = HTTPServerRequest("GET", "/", headers=headers)
    assert r.cookies["a"].value == "b"
    assert r.cookies["c"].value == "d"
    assert r.cookies is r.cookies


def test_form_bodies_reach_the_arguments() -> None:
    headers = HTTPHeaders(
        {"Host": "h", "Content-Type": "application/x-www-form-urlencoded"}
    )
    r = HTTPServerRequest("POST", "/?a=1", headers=headers, body=b"a=2&b=3")
    assert r.arguments == {"a": [b"1"]}
    r._parse_body()
    assert r.body_arguments == {"a": [b"2"], "b": [b"3"]}
    assert r.arguments == {"a": [b"1", b"2"], "b": [b"3"]}
    assert r.query_arguments == {"a": [b"1"]}


# ---------------------------------------------------------------- start lines


def test_request_lines() -> None:
    assert parse_request_start_line("GET /foo HTTP/1.1") == RequestStartLine(
        "GET", "/foo", "HTTP/1.1"
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET /",
        "GET  / HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET / a HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET / HTTP/2.0",
        "GET / HTTP/1.11",
        "GET / http/1.1",
        "GET / HTTP/1.1\n",
    ],
)
def test_bad_request_lines(line: str) -> None:
    with pytest.raises(HTTPInputError):
        parse_request_start_line(line)


def test_status_lines() -> None:
    assert parse_response_start_line("HTTP/1.1 200 OK") == ResponseStartLine(
        "HTTP/1.1", 200, "OK"
    )
    assert parse_response_start_line("HTTP/1.0 404 Not Found").reason == "Not Found"
    for line in ("HTTP/1.1 200", "HTTP/2 200 x", "HTTP/1.1 20 x", "HTTP/1.1 2000 x"):
        with pytest.raises(HTTPInputError):
            parse_response_start_line(line)


# ---------------------------------------------------------------- URLs, hosts, dates


def test_url_concat() -> None:
    assert url_concat("http://e.com", [("a", "b")]) == "http://e.com?a=b"
    assert url_concat("http://e.com?x=y", {"a": "b"}) == "http://e.com?x=y&a=b"
    assert (
        url_concat("http://e.com?x=y#f", (("a", "b"), ("a", "c")))
        == "http://e.com?x=y&a=b&a=c#f"
    )
    assert url_concat("h?a", [("q", "é ")]) == "h?a=&q=%C3%A9+"
    assert url_concat("h", None) == "h"
    with pytest.raises(TypeError):
        url_concat("h", "x=y")  # type: ignore[arg-type]


def test_split_host_and_port() -> None:
    assert split_host_and_port("h") == ("h", None)
    assert split_host_and_port("h:80") == ("h", 80)
    assert split_host_and_port("[::1]:80") == ("[::1]", 80)
    assert split_host_and_port("[::1]") == ("[::1]", None)
    assert split_host_and_port("h:x") == ("h:x", None)
    assert split_host_and_port("h:٣") == ("h:٣", None)


def test_format_timestamp_takes_every_kind_of_time() -> None:
    expected = "Sun, 27 Jan 2013 18:43:20 GMT"
    at = 1359312200
    utc = datetime.UTC
    for ts in (
        at,
        float(at),
        time.gmtime(at),
        tuple(time.gmtime(at)),
        datetime.datetime.fromtimestamp(at, utc).replace(tzinfo=None),
        datetime.datetime.fromtimestamp(at, utc).astimezone(),
    ):
        assert format_timestamp(ts) == expected
    with pytest.raises(TypeError):
        format_timestamp("x")  # type: ignore[arg-type]


def test_basic_credentials_are_normalised_utf8() -> None:
    assert encode_username_password("e\u0301", "x") == b"\xc3\xa9:x"
    assert encode_username_password(b"a", b"b") == b"a:b"


def test_qs_to_qsl() -> None:
    assert list(qs_to_qsl({"a": [b"1", b"2"], "b": ["x"]})) == [
        ("a", b"1"),
        ("a", b"2"),
        ("b", "x"),
    ]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=1-2", (1, 3)),
        ("bytes=6-", (6, None)),
        ("bytes=-6", (-6, None)),
        ("bytes=-0", (None, 0)),
        ("bytes=", None),
        ("bytes=-", (None, None)),
        ("foo=42", None),
        ("bytes=1-2,6-10", None),
        ("bytes=a-b", None),
        (" bytes = 1-2", (1, 3)),
        ("bytes=1-+2", None),
        ("bytes=1_0-2", None),
        ("bytes=٣-4", None),
        ("bytes=" + "0" * 30 + "5-18446744073709551615", (5, 10**18 + 1)),
        ("bytes=" + "9" * 5000 + "-", (10**18, None)),
        ("bytes=-" + "9" * 5000, (-(10**18), None)),
    ],
)
def test_request_ranges(header: str, expected: object) -> None:
    assert httputil._parse_request_range(header) == expected


def test_content_range() -> None:
    assert httputil._get_content_range(None, None, 4) == "bytes 0-3/4"
    assert httputil._get_content_range(1, 3, 4) == "bytes 1-2/4"


def test_parameters_of_headers() -> None:
    parse = httputil._parse_header
    assert parse('a; b=c; d="e;f"') == ("a", {"b": "c", "d": "e;f"})
    assert parse("x; filename*=utf-8''%e2%82%ac") == ("x", {"filename": "€"})
    assert parse('f; a="b\\\\c\\"d"') == ("f", {"a": 'b\\c"d'})
    assert parse("a;b") == ("a", {})
    assert parse('A; Name="C:\\dir\\f.txt"') == ("A", {"name": "C:\\dir\\f.txt"})
    encode = httputil._encode_header
    assert encode("x", {"a": 15, "b": None}) == "x; a=15; b"


# ---------------------------------------------------------------- cookies


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("a=b; c=d", {"a": "b", "c": "d"}),
        ("a=b; a=c", {"a": "c"}),
        ("a=b;c", {"a": "b", "": "c"}),
        (" a = b ;;", {"a": "b"}),
        ("é=ü", {"é": "ü"}),
        ("a=b=c", {"a": "b=c"}),
        ('a="\\101\\073"', {"a": "A;"}),
        ('a="\\303\\251"', {"a": "Ã©"}),
        ('a="x\\"y"', {"a": 'x"y'}),
        ('a=""', {"a": ""}),
        ('a="', {"a": '"'}),
        ("a=€", {"a": "€"}),
    ],
)
def test_parse_cookie(header: str, expected: dict[str, str]) -> None:
    assert parse_cookie(header) == expected


def test_unquoting_a_cookie_is_linear() -> None:
    assert parse_cookie('a="' + "\\" * 200_000 + '"')["a"] == "\\" * 100_000


# ---------------------------------------------------------------- form bodies

MULTIPART = b"""\
--X\r
Content-Disposition: form-data; name="a"\r
\r
v\r
--X\r
Content-Disposition: form-data; name="f"; filename="n.txt"\r
Content-Type: text/plain\r
\r
q\r
--X--\r
"""


def forms(
    content_type: str, body: bytes, config: ParseBodyConfig | None = None
) -> tuple[dict[str, list[bytes]], dict[str, list[HTTPFile]]]:
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    parse_body_arguments(content_type, body, arguments, files, config=config)
    return arguments, files


def test_urlencoded_bodies() -> None:
    kind = "application/x-www-form-urlencoded"
    arguments, files = forms(kind, b"a=b&c=&d&a=%20+x&e=\xe9")
    assert arguments == {"a": [b"b", b"  x"], "c": [b""], "d": [b""], "e": [b"\xe9"]}
    assert files == {}


def test_urlencoded_bodies_are_counted_before_they_are_split() -> None:
    kind = "application/x-www-form-urlencoded"
    with pytest.raises(HTTPInputError, match="Invalid x-www-form-urlencoded body"):
        forms(kind, b"&".join([b"a=1"] * 1001))
    few = ParseBodyConfig(urlencoded=ParseUrlEncodedConfig(max_arguments=2))
    with pytest.raises(HTTPInputError):
        forms(kind, b"a&b&c", few)


def test_multipart_bodies() -> None:
    arguments, files = forms("multipart/form-data; boundary=X", MULTIPART)
    assert arguments == {"a": [b"v"]}
    (file,) = files["f"]
    assert (file.filename, file.body, file.content_type) == (
        "n.txt",
        b"q",
        "text/plain",
    )
    assert file["filename"] == "n.txt"
    assert forms('multipart/form-data; boundary="X"', MULTIPART)[0] == arguments


def test_an_extended_file_name() -> None:
    body = (
        b'--X\r\nContent-Disposition: form-data; name="a"; '
        b"filename*=utf-8''%c3%a9.txt\r\n\r\nv\r\n--X--"
    )
    files: dict[str, list[HTTPFile]] = {}
    parse_multipart_form_data(b"X", body, {}, files)
    assert files["a"][0].filename == "é.txt"
    assert files["a"][0].content_type == "application/unknown"


@pytest.mark.parametrize(
    ("params", "name", "filename"),
    [
        ("name*=utf-8''%c3%a9; filename=f", "é", "f"),
        ('name="a"; filename*0="long "; filename*1="name"', "a", "long name"),
        ("name=a; filename=plain; filename*=iso-8859-1'en'%a3", "a", "£"),
        ("name=a; filename*=plain", "a", "plain"),
        ("name=a; filename*=no-such-charset''x%41", "a", "xA"),
        ("name=a; filename*=undefined''x%41", "a", "xA"),
        ("name=a; filename=f; b*" + "9" * 5000 + "=c", "a", "f"),
    ],
)
def test_names_of_parts_by_rfc_2231(params: str, name: str, filename: str) -> None:
    head = f"Content-Disposition: form-data; {params}".encode()
    files: dict[str, list[HTTPFile]] = {}
    body = b"--X\r\n" + head + b"\r\n\r\nv\r\n--X--"
    parse_multipart_form_data(b"X", body, {}, files)
    assert [(n, f.filename) for n, (f,) in files.items()] == [(name, filename)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--X\r\nfoo\r\n--X--",
        b"--X\r\nContent-Disposition: form-data; filename*=x\r\n\r\nv\r\n--X--",
        b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\nv--X--',
        b"--X\r\nContent-Disposition: form-data\r\n\r\nv\r\n--X--",
        b'--X\r\nContent-Disposition: foo; name="a"\r\n\r\nv\r\n--X--',
        b"--X\r\nX: y\r\n\r\nv\r\n--X--",
        b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n--X',
        b'--X\r\nContent-Disposition: form-data; name="a"\r\nX:'
        + b"y" * 11_000
        + b"\r\n\r\nv\r\n--X--",
        b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n' * 101
        + b"--X--",
    ],
)
def test_bad_multipart_bodies_add_nothing(body: bytes) -> None:
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    with pytest.raises(HTTPInputError, match="Invalid multipart/form-data"):
        parse_body_arguments("multipart/form-data; boundary=X", body, arguments, files)
    assert not arguments
    assert not files


def test_a_boundary_must_be_there() -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary="):
        with pytest.raises(HTTPInputError, match="multipart boundary not found"):
            forms(kind, MULTIPART)


def test_multipart_can_be_switched_off() -> None:
    off = ParseBodyConfig(multipart=ParseMultipartConfig(enabled=False))
    with pytest.raises(HTTPInputError, match="disabled"):
        forms("multipart/form-data; boundary=X", MULTIPART, off)


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=X"]
)
def test_compressed_forms_are_refused(kind) -> None:
    headers = HTTPHeaders({"Content-Encoding": "gzip"})
    with pytest.raises(HTTPInputError, match="Unsupported Content-Encoding"):
        parse_body_arguments(kind, b"a=b", {}, {}, headers)


@pytest.mark.parametrize("kind", ["", "application/json"])
def test_a_compressed_body_that_is_no_form_is_the_programs_own(kind) -> None:
    headers = HTTPHeaders({"Content-Encoding": "br"})
    arguments, files = {}, {}
    parse_body_arguments(kind, b"coded", arguments, files, headers)
    assert arguments == files == {}


def test_the_default_bounds_can_be_set() -> None:
    before = httputil._DEFAULT_PARSE_BODY_CONFIG
    try:
        httputil.set_parse_body_config(
            ParseBodyConfig(multipart=ParseMultipartConfig(max_parts=1))
        )
        with pytest.raises(HTTPInputError, match="too many parts"):
            forms("multipart/form-data; boundary=X", MULTIPART)
    finally:
        httputil.set_parse_body_config(before)


def test_a_name_is_the_same_each_time_it_is_given():
    names = [f"x-{'y' * n}-Name{n}" for n in range(80)] + ["content-TYPE", "X-Kept"]
    bad = ["", "a b", "a:", "\u20acuro", "a\n", "\ud800"]
    for _ in range(3):
        headers = HTTPHeaders()
        for name in names:
            headers[name] = "1"
            headers.add(name.upper(), "2")
        written = [n.title() if n != "X-Kept" else n for n in names]
        assert list(headers.get_all())[::2] == [(n, "1") for n in written]
        assert all(headers[name] == "1,2" for name in names)
        for name in bad:
            with pytest.raises(HTTPInputError, match="Invalid header name"):
                headers[name] = "1"
            with pytest.raises(HTTPInputError, match="Invalid header name"):
                headers.add(name, "1")
