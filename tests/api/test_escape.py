"""pyfastloop.escape: HTML, JSON, URLs, forms and links in text."""

from __future__ import annotations

import html
import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfastloop import escape


def test_utf8():
    assert escape.utf8("é") == b"\xc3\xa9"
    assert escape.utf8(b"\xff") == b"\xff"
    assert escape.utf8(None) is None
    for wrong in (1, bytearray(b"x"), ["x"]):
        with pytest.raises(TypeError, match="Expected bytes, unicode, or None"):
            escape.utf8(wrong)  # type: ignore[call-overload]


def test_to_unicode():
    assert escape.to_unicode(b"\xc3\xa9") == "é"
    assert escape.to_unicode("é") == "é"
    assert escape.to_unicode(None) is None
    with pytest.raises(UnicodeDecodeError):
        escape.to_unicode(b"\xff")
    with pytest.raises(TypeError, match="Expected bytes, unicode, or None"):
        escape.to_unicode(1)  # type: ignore[call-overload]
    assert escape.native_str is escape.to_unicode
    assert escape.to_basestring is escape.to_unicode


def test_recursive_unicode():
    value = {b"a": [b"b", (b"c", 1)], 2: {b"d": None}}
    assert escape.recursive_unicode(value) == {"a": ["b", ("c", 1)], 2: {"d": None}}


def test_xhtml_escape():
    assert escape.xhtml_escape('<a href="x">&\'') == (
        "&lt;a href=&quot;x&quot;&gt;&amp;&#x27;"
    )
    assert escape.xhtml_escape(b"<\xc3\xa9>") == "&lt;é&gt;"


@given(st.text())
def test_xhtml_unescape_undoes_escape(text: str):
    escaped = escape.xhtml_escape(text)
    assert not set("<>\"'") & set(escaped)
    assert escape.xhtml_unescape(escaped) == text


def test_xhtml_unescape_knows_every_reference():
    assert escape.xhtml_unescape("&eacute;&#65;&#x41;&nope;") == "éAA&nope;"


def test_json():
    assert escape.json_encode({"a": "</script>"}) == '{"a": "<\\/script>"}'
    assert escape.json_decode(escape.json_encode("</é")) == "</é"
    assert escape.json_decode(b'{"a": "\xc3\xa9"}') == {"a": "é"}
    with pytest.raises(json.JSONDecodeError):
        escape.json_decode("nope")


def test_squeeze():
    assert escape.squeeze("  a \n\t b\x00\x1fc ") == "a b c"


def test_url_escape():
    assert escape.url_escape("a b/é+~") == "a+b%2F%C3%A9%2B~"
    assert escape.url_escape("a b/c", plus=False) == "a%20b/c"
    assert escape.url_escape(b"\xff&") == "%FF%26"


def test_url_unescape():
    assert escape.url_unescape("a+b%20%C3%A9") == "a b é"
    assert escape.url_unescape("a+b", plus=False) == "a+b"
    assert escape.url_unescape("%FF") == "\ufffd"
    assert escape.url_unescape(b"%E9", encoding="latin-1") == "é"
    assert escape.url_unescape("a+%FF", encoding=None) == b"a \xff"
    assert escape.url_unescape("a+%FF", encoding=None, plus=False) == b"a+\xff"
    assert escape.url_unescape("é", encoding=None) == b"\xc3\xa9"


@given(st.text(), st.booleans())
def test_url_unescape_undoes_escape(text: str, plus: bool):
    assert escape.url_unescape(escape.url_escape(text, plus), plus=plus) == text


# -- parse_qs_bytes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qs", "fields"),
    [
        ("", {}),
        ("a=1&a=2&b=3", {"a": [b"1", b"2"], "b": [b"3"]}),
        ("a=&b=x", {"b": [b"x"]}),
        ("a=%FF+%c3", {"a": [b"\xff \xc3"]}),
        (b"a=\xe9", {"a": [b"\xe9"]}),
        ("a+b%21=c=d", {"a b!": [b"c=d"]}),
        (b"%ff=1", {"\xff": [b"1"]}),
        ("a=1;b=2", {"a": [b"1;b=2"]}),
        ("a=%zz%4&b=%", {"a": [b"%zz%4"], "b": [b"%"]}),
        ("&&a=1&", {"a": [b"1"]}),
        ("=1", {"": [b"1"]}),
    ],
)
def test_parse_qs_bytes(qs: Any, fields: Any):
    assert escape.parse_qs_bytes(qs) == fields


def test_parse_qs_bytes_options():
    parse = escape.parse_qs_bytes
    assert parse("a=&b", keep_blank_values=True) == {"a": [b""], "b": [b""]}
    with pytest.raises(ValueError, match="no '='"):
        parse("a=1&b", strict_parsing=True)
    assert len(parse("a=1&b=2&c=3", max_num_fields=3)) == 3
    with pytest.raises(ValueError, match="more than 3 fields"):
        parse("a=1&b=2&c=3&d=4", max_num_fields=3)
    with pytest.raises(ValueError, match="more than 3 fields"):
        parse(b"&" * 1_000_000, max_num_fields=3)
    with pytest.raises(UnicodeEncodeError):
        parse("a=€")


@given(st.text("ab=&+%41e;", max_size=30), st.booleans())
def test_parse_qs_bytes_reads_as_urllib_does(qs: str, blanks: bool):
    expected = urllib.parse.parse_qs(qs, blanks, encoding="latin-1")
    fields = escape.parse_qs_bytes(qs, blanks)
    assert {
        name: [value.decode("latin-1") for value in values]
        for name, values in fields.items()
    } == expected


# -- linkify ---------------------------------------------------------------------------


def link(url: str, shown: str | None = None, extra: str = "") -> str:
    return f'<a href="{html.escape(url)}"{extra}>{html.escape(shown or url)}</a>'


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("hello http://world.com/!", f"hello {link('http://world.com/')}!"),
        ("http://a.com/x?a=1&b=2;c", link("http://a.com/x?a=1&b=2;c")),
        ("http://a.com/x?a=1& z", f"{link('http://a.com/x?a=1')}&amp; z"),
        ("http://url.com/w(aaaa)", link("http://url.com/w(aaaa)")),
        ("(http://url.com/w)", f"({link('http://url.com/w')})"),
        ("http://a.com/((b)c)d", link("http://a.com/((b)c)d")),
        ("http://a.com/(b", f"{link('http://a.com/')}(b"),
        ("www.a.com", link("http://www.a.com", "www.a.com")),
        ("<http://x.com>", f"&lt;{link('http://x.com')}&gt;"),
        ('"http://q.com"', f"&quot;{link('http://q.com')}&quot;"),
        ("see:http://z.org.", f"see:{link('http://z.org')}."),
        ("http://a.com/it's", f"{link('http://a.com/it')}&#x27;s"),
        (
            "https://[::1]/x http://a.b:80/",
            f"{link('https://[::1]/x')} " + link("http://a.b:80/"),
        ),
        ("http:/a.com/x", link("http:/a.com/x")),
        ("http://a.com/é”", f"{link('http://a.com/é')}”"),
        ("javascript:alert('x')", "javascript:alert(&#x27;x&#x27;)"),
        (
            "xhttp://a.com x-http://a.com a@b.com",
            "xhttp://a.com x-http://a.com a@b.com",
        ),
        ("www. http:", "www. http:"),
        ("a&b<c>'\"", "a&amp;b&lt;c&gt;&#x27;&quot;"),
    ],
)
def test_linkify(text: str, linked: str):
    assert escape.linkify(text) == linked
    assert escape.linkify(text.encode()) == linked


def test_linkify_require_protocol():
    assert escape.linkify("www.a.com", require_protocol=True) == "www.a.com"
    assert escape.linkify("http://a.com", require_protocol=True) == link("http://a.com")


def test_linkify_permitted_protocols():
    text = "ftp://x.y/a http://b mailto:a@b.c"
    assert escape.linkify(text, permitted_protocols=["ftp", "mailto"]) == (
        f"{link('ftp://x.y/a')} http://b {link('mailto:a@b.c')}"
    )
    assert escape.linkify("http://a", permitted_protocols=[]) == "http://a"


def test_linkify_extra_params():
    extra = 'rel="nofollow" class="external"'
    assert escape.linkify("http://a.b", extra_params=f" {extra} ") == link(
        "http://a.b", extra=f" {extra}"
    )
    asked = []

    def extra_params(href: str) -> str:
        asked.append(href)
        return f' id="{len(asked)}"'

    assert escape.linkify("http://a.b www.c.d", extra_params=extra_params) == (
        link("http://a.b", extra=' id="1"')
        + " "
        + link("http://www.c.d", "www.c.d", ' id="2"')
    )
    assert asked == ["http://a.b", "http://www.c.d"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a.com/short", "http://a.com/short"),
        ("http://www.external-link.com/and/blogs/2010/long-one",
         "http://www.external-link.com/and..."),
        ("http://a.com/" + "b" * 60, "http://a.com/bbbbbbbb..."),
        ("http://example.com/abc?" + "a=b&" * 20 + "c", "http://example.com/abc..."),
        ("http://example.com/abcdefghijk.lmnop.qrst", "http://example.com/abcdefgh..."),
        ("http://" + "very-long-domain-name-" * 3 + ".org/",
         "http://very-long-domain-name-v..."),
        ("http://" + "b" * 30, "http://" + "b" * 30),
    ],
)  # fmt: skip
def test_linkify_shorten(url: str, shown: str):
    title = f' title="{html.escape(url)}"' if shown != url else ""
    assert escape.linkify(url, shorten=True) == link(url, shown, title)
    assert escape.linkify(url) == link(url)


@given(st.text("http:/w.w a()&<'\"!,", max_size=60))
def test_linkify_keeps_the_text(text: str):
    linked = escape.linkify(text)
    without_tags = []
    rest = linked
    while rest:
        before, _, tail = rest.partition("<")
        without_tags.append(before)
        rest = tail.partition(">")[2]
    assert html.unescape("".join(without_tags)) == html.unescape(html.escape(text))


@pytest.mark.parametrize(
    "text", ["a-" * 200_000, "http://(" * 50_000, "(" * 400_000, "www." * 100_000]
)
def test_linkify_is_linear(text: str):
    # Quadratic ways through these take minutes.
    escape.linkify(text)
