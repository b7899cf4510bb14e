"""pyfastloop.template: the language, white space, loaders and where errors point."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfastloop import escape
from pyfastloop.template import (
    BaseLoader,
    DictLoader,
    Loader,
    ParseError,
    Template,
    filter_whitespace,
)


def render(source: str | bytes, options: Any = None, /, **names: Any) -> bytes:
    return Template(source, **(options or {})).generate(**names)


def render_from(templates: dict[str, str], **names: Any) -> bytes:
    return DictLoader(templates).load("main").generate(**names)


# -- expressions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("", b""),
        ("text é", b"text \xc3\xa9"),
        ("{{ 1 }}", b"1"),
        ("{{1}}{{ 2 }}", b"12"),
        ("{{ '<&>\"' + \"'\" }}", b"&lt;&amp;&gt;&quot;&#x27;"),
        ("{% raw '<b>' %}", b"<b>"),
        ("{{ None }}{{ 1.5 }}{{ True }}", b"None1.5True"),
        ("{{ b'<' }}{% raw b'<' %}", b"&lt;<"),
        ("{{ 'é' }}{{ 'é'.encode() }}", "éé".encode()),
        ("{{ 1, 2 }}{% raw 3, %}", b"(1, 2)(3,)"),
        ("{{ 'a' 'b' }}", b"ab"),
        ("{{ 1 if 0 else 2 }}", b"2"),
        ("{{ [i * 2 for i in range(3)] }}", b"[0, 2, 4]"),
        ("{{ (lambda: x)() }}", b"X"),
        ("{{ [\n1,\n2] }}", b"[1, 2]"),
        ("{{ 1 # a comment\n}}", b"1"),
        ("{{ x\n.lower() }}", b"x"),
        ("{{ (y := 5) }}{{ y }}", b"55"),
        ('{{ """}""" }}', b"}"),
        ("{{{ 1 }}} {{{{ 1 }}}}", b"{1} {{1}}"),
        ('{{ {"a": 1}["a"] }}', b"1"),
        ("{ {1} } { % x %} }} %} #}", b"{ {1} } { % x %} }} %} #}"),
        ("{{!x}} {%!x%} {#!x#}", b"{{x}} {%x%} {#x#}"),
        ("{{ '{{' }}", b"{{"),
        ("a{# {{ x }} \n #}b", b"ab"),
        ("{% comment {{ x }} %}", b""),
        ("\\n'\"\x00{{ '\\\\' }}", b"\\n'\"\x00\\"),
    ],
)
def test_expressions(source: str, output: bytes):
    assert render(source, x="X") == output


def test_source_may_be_bytes():
    assert render("é{{ x }}".encode(), x=1) == "é1".encode()


def test_raw_bytes_pass_through_untouched():
    assert render("é{% raw x %}", x=b"\xff\x80") == "é".encode() + b"\xff\x80"
    with pytest.raises(UnicodeDecodeError):
        render("{{ x }}", x=b"\xff")
    with pytest.raises(UnicodeEncodeError):
        render("{% raw x %}{% raw y %}", x=b"\xff", y="\udc80")


def test_values_of_other_types_are_made_text():
    class Thing(str):
        def __str__(self) -> str:
            return "no"

    class Other:
        def __str__(self) -> str:
            return "<o>"

    assert render("{{ x }}{% raw x %}", x=Thing("<t>")) == b"&lt;t&gt;<t>"
    assert render("{{ x }}{% raw x %}", x=Other()) == b"&lt;o&gt;<o>"


@given(st.text())
def test_escaping_is_that_of_xhtml_escape(text: str):
    try:
        expected = escape.xhtml_escape(text).encode()
    except UnicodeEncodeError:
        return
    assert render("{{ x }}", x=text) == expected


def test_names_that_every_template_has():
    assert render(
        "{% raw escape('<') %}{% raw xhtml_escape('<') %}{{ url_escape(' ') }}"
        "{{ json_encode([1]) }}{{ squeeze('a  b') }}{{ linkify('x') }}"
        "{{ datetime.date(2020, 1, 2) }}{{ __name__ }}",
        {"name": "a.html"},
    ) == (b"&lt;&lt;+[1]a bx2020-01-02a_html")


def test_names_given_to_generate_win():
    assert render("{{ squeeze }}", squeeze="mine") == b"mine"
    loader = DictLoader({"main": "{{ a }}{{ b }}"}, namespace={"a": 1, "b": 2})
    assert loader.load("main").generate(b=3) == b"13"
    template = Template("{{ a }}")
    template.namespace["a"] = 5
    assert template.generate() == b"5"


def test_a_template_can_be_rendered_again_and_again():
    template = Template("{% set x = a %}{{ x }}")
    assert [template.generate(a=i) for i in range(3)] == [b"0", b"1", b"2"]


# -- autoescape ------------------------------------------------------------------------


def test_autoescape():
    assert render("{{ x }}", {"autoescape": None}, x="<") == b"<"
    assert render("{{ x }}", {"autoescape": "url_escape"}, x="<") == b"%3C"
    assert render("{% autoescape None %}{{ x }}", x="<") == b"<"
    # It is for all of the file, wherever it stands.
    assert render("{{ x }}{% autoescape None %}", x="<") == b"<"


def test_an_own_escaping_function_gets_bytes():
    seen: list[Any] = []

    def own(value: bytes) -> bytes:
        seen.append(value)
        return b"\xff" if value == b"0" else b"[" + value + b"]"

    source = "{% autoescape own %}{{ 1 }}{{ 'é' }}{% raw 2 %}{{ b'x' }}"
    assert render(source, own=own) == "[1][é]2[x]".encode()
    assert seen == [b"1", "é".encode(), b"x"]
    assert render("{% autoescape own %}{{ 0 }}", own=own) == b"\xff"
    with pytest.raises(TypeError, match="autoescape function"):
        render("{% autoescape len %}{{ 1 }}")


def test_xhtml_escape_can_be_replaced():
    def own(value: bytes) -> str:
        return f"<{value.decode()}>"

    assert render("{{ 1 }}", xhtml_escape=own) == b"<1>"
    assert render("{% set xhtml_escape = own %}{{ 1 }}", own=own) == b"<1>"
    assert render("{% for xhtml_escape in [own] %}{{ 1 }}{% end %}", own=own) == b"<1>"
    loader = DictLoader({"main": "{{ 1 }}"}, namespace={"xhtml_escape": own})
    assert loader.load("main").generate() == b"<1>"


# -- statements ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("{% if x == 1 %}a{% elif x == 2 %}b{% else %}c{% end %}", b"b"),
        ("{%if x%}a{%end if%}", b"a"),
        ("{% if\tx %}a{% end %}{%\nif x %}b{% end %}", b"ab"),
        ("{% if (x and\n x) %}a{% end %}", b"a"),
        ("{% if x %}{% end %}{% if x %}{# #}{% else %}{% end %}", b""),
        ("{% for i in range(3) %}{{ i }}{% else %}e{% end %}", b"012e"),
        ("{% for a, b in [(1, 2)] %}{{ a }}{{ b }}{% end %}", b"12"),
        (
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% end %}"
            "{% if i == 4 %}{% break %}{% end %}{{ i }}{% end %}",
            b"013",
        ),
        ("{% set n = 3 %}{% while n %}{{ n }}{% set n -= 1 %}{% end %}", b"321"),
        ("{% set a, b = 1, 2 %}{{ a }}{{ b }}", b"12"),
        ("{% set a = [\n1] %}{{ a }}", b"[1]"),
        ("{% import math %}{{ math.floor(1.5) }}", b"1"),
        ("{% from math import floor as f %}{{ f(1.5) }}", b"1"),
        (
            "{% try %}a{{ 1 / 0 }}b{% except ZeroDivisionError as e %}c{{ e }}"
            "{% else %}d{% finally %}f{% end %}",
            b"acdivision by zerof",
        ),
        ("{% try %}a{% except %}b{% else %}c{% end %}", b"ac"),
        ("{% apply f %}a{{ '<' }}{% end %}", b"[a&lt;]"),
        ("{% apply lambda s: s %}a{% end %}{% apply str %}b{% end %}", b"ab'b'"),
        ("{% set y = 1 %}{% apply f %}{{ y }}{% set z = 2 %}{{ z }}{% end %}", b"[12]"),
        ("{% apply f %}{% apply f %}a{% end %}{% end %}", b"[[a]]"),
        ("{% apply linkify %}http://a.b{% end %}", b'<a href="http://a.b">http://a.b</a>'),
        ("{% apply squeeze %} a  b {% end %}", b"a b"),
    ],
)  # fmt: skip
def test_statements(source: str, output: bytes):
    assert render(source, x=2, f=lambda s: b"[" + s + b"]") == output


def test_apply_wants_text():
    with pytest.raises(TypeError, match=r"\{% apply %\}"):
        render("{% apply len %}a{% end %}")


def test_what_an_apply_sets_stays_in_it():
    with pytest.raises(NameError):
        render("{% apply str %}{% set z = 1 %}{% end %}{{ z }}")


def test_modules():
    class Modules:
        def Entry(self, a: int, b: str = "") -> bytes:
            return f"<{a}{b}>".encode()

    source = "{% module Entry(1, b='x') %}"
    assert render(source, _tt_modules=Modules()) == b"<1x>"


# -- white space -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "text", "filtered"),
    [
        ("all", " a \t\n b", " a \t\n b"),
        ("single", " a \t b \n\n c\r\n d\n", " a b\nc\nd\n"),
        ("oneline", " a \n\n b", " a b"),
    ],
)
def test_filter_whitespace(mode: str, text: str, filtered: str):
    assert filter_whitespace(mode, text) == filtered


def test_unknown_whitespace_mode():
    with pytest.raises(ValueError, match="invalid whitespace mode x"):
        filter_whitespace("x", "")
    with pytest.raises(ValueError, match="invalid whitespace mode x"):
        Template("", whitespace="x")
    with pytest.raises(ParseError, match=r"invalid whitespace mode x.*:2"):
        Template("\n{% whitespace x %}")


SPACED = " a \n\n  b {{ x }}"


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ({}, b" a \n\n  b  \n "),
        ({"name": "a.txt"}, b" a \n\n  b  \n "),
        ({"name": "a.html"}, b" a\nb  \n "),
        ({"name": "a.js"}, b" a\nb  \n "),
        ({"whitespace": "oneline", "name": "a.html"}, b" a b  \n "),
        ({"compress_whitespace": True}, b" a\nb  \n "),
        ({"compress_whitespace": False, "name": "a.html"}, b" a \n\n  b  \n "),
    ],
)
def test_whitespace_of_a_template(options: dict[str, Any], output: bytes):
    assert render(SPACED, options, x=" \n ") == output


def test_whitespace_of_a_loader_and_of_the_rest_of_a_file():
    loader = DictLoader({"main.html": SPACED}, whitespace="oneline")
    assert loader.load("main.html").generate(x=" \n ") == b" a b  \n "
    assert render(
        "a  b{% whitespace oneline %}a \n b{% whitespace single %}a \n b"
    ) == (b"a  ba ba\nb")


def test_text_with_pre_keeps_its_whitespace():
    assert render(" <pre>  x\n\n</pre>  {{ 1 }}  y", {"name": "a.html"}) == (
        b" <pre>  x\n\n</pre>  1 y"
    )


def test_whitespace_and_compress_whitespace_exclude_each_other():
    with pytest.raises(ValueError, match="compress_whitespace"):
        Template("", whitespace="all", compress_whitespace=True)


# -- extending and including -----------------------------------------------------------

BASE = "<{% block a %}A{% end %}|{% block b %}B{% end %}>"


@pytest.mark.parametrize(
    ("templates", "output"),
    [
        ({"main": "{% extends base %}"}, b"<A|B>"),
        ({"main": "x{% extends 'base' %}y{% block a %}C{% end %}z"}, b"<C|B>"),
        (
            {
                "mid": '{% extends "base" %}'
                "{% block b %}M{% block c %}c{% end %}{% end %}",
                "main": "{% extends mid %}{% block c %}C{% end %}",
            },
            b"<A|MC>",
        ),
        (
            {"main": "{% extends base %}"
                     "{% block a %}[{% block b %}i{% end %}]{% end %}"},
            b"<[i]|i>",
        ),
        ({"main": "{% block a %}x{% end %}{% block a %}y{% end %}"}, b"yy"),
        ({"main": "{% for i in [1, 2] %}{% block a %}{{ i }}{% end %}"
                  "{% end %}"}, b"12"),
        ({"main": "{% set x = 1 %}{% include i %}{{ y }}",
          "i": "{{ x }}{% set y = 2 %}"}, b"12"),
        ({"main": "{% for x in [1, 2] %}{% include i %}{% end %}",
          "i": "{% if x == 1 %}one{% else %}two{% end %}"}, b"onetwo"),
        ({"main": "{% extends b %}{% block z %}over{% end %}",
          "b": "{% include i %}", "i": "[{% block z %}Z{% end %}]"}, b"[over]"),
        ({"main": "{% apply str.upper %}{% include i %}{% end %}".replace(
            "str.upper", "bytes.upper"), "i": "x"}, b"X"),
    ],
)  # fmt: skip
def test_extends_and_include(templates: dict[str, str], output: bytes):
    assert render_from({"base": BASE, **templates}) == output


def test_each_file_has_its_own_escaping():
    assert render_from(
        {
            "main": "{% extends b %}{% block z %}{{ x }}{% end %}",
            "b": "{% autoescape None %}{{ x }}{% block z %}{% end %}{% include i %}",
            "i": "{{ x }}",
        },
        x="<",
    ) == (b"<&lt;&lt;")


def test_variables_of_an_extending_file_are_not_those_of_its_blocks():
    with pytest.raises(NameError):
        render_from(
            {
                "main": "{% extends b %}{% set q = 1 %}{% block z %}{{ q }}{% end %}",
                "b": "{% block z %}{% end %}",
            }
        )


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"main": "{% include main %}"}, "needs itself: main -> main"),
        ({"main": "{% extends b %}", "b": "{% extends main %}"}, "main -> b -> main"),
        ({"main": "{% include b %}", "b": "{% extends base %}"}, "cannot be included"),
        ({"main": "{% extends base %}{% extends base %}"}, "one other"),
        ({"main": "{% if 1 %}{% extends base %}{% end %}"}, "inside of a block: if"),
    ],
)
def test_impossible_families(templates: dict[str, str], message: str):
    with pytest.raises(ParseError, match=message):
        render_from({"base": BASE, **templates})


# -- mistakes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message", "line"),
    [
        ("a\n{{ x", "Missing end expression }}", 2),
        ("a\n{% if", "Missing end block %}", 2),
        ("a\n{# x", "Missing end comment #}", 2),
        ("\n{{\n}}", "Empty expression", 2),
        ("\n{% \n%}", "Empty block tag", 2),
        ("{{ # x }}", "not an expression", 1),
        ("\n{{ x) + (x }}", "not an expression", 2),
        ("\n{% raw x), (x %}", "not an expression", 2),
        ("\n{% if 1 %}\n\nx", "Missing {% end %} block for if", 2),
        ("{% if 1 %}x{% end %}\n{% end %}", "Extra {% end %} block", 2),
        ("\n{% else %}", "else outside if, for, while or try block", 2),
        ("{% if 1 %}\n{% except %}{% end %}", "cannot be attached to if block", 2),
        ("{% for x in y %}\n{% elif 1 %}{% end %}", "cannot be attached to for", 2),
        ("\n{% break %}", "break outside for or while block", 2),
        (
            "{% for x in y %}\n{% apply f %}{% continue %}{% end %}{% end %}",
            "continue outside for or while block",
            2,
        ),
        ("\n{% foo bar %}", "unknown operator: 'foo'", 2),
        ("\n{% extends %}", "extends missing file path", 2),
        ("\n{% include '' %}", "include missing file path", 2),
        ("\n{% import %}", "import missing statement", 2),
        ("\n{% from %}", "from missing statement", 2),
        ("\n{% set %}", "set missing statement", 2),
        ("\n{% raw %}", "raw missing expression", 2),
        ("\n{% module %}", "module missing expression", 2),
        ("\n{% apply %}{% end %}", "apply missing method name", 2),
        ("\n{% block %}{% end %}", "block missing name", 2),
        ("\n{% extends x %}", "no template loader", 2),
        ("\n{% include x %}", "needs a template loader", 2),
        ("{{ (yield) }}", "yield and await", 1),
        ("\n{{ '\0' }}", "null byte", 2),
    ],
)
def test_parse_errors(source: str, message: str, line: int):
    with pytest.raises(ParseError) as caught:
        Template(source, name="a.html")
    error = caught.value
    assert message in error.message
    assert (error.filename, error.lineno) == ("a.html", line)
    assert str(error) == f"{error.message} at a.html:{line}"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("a\n{{ x + }}", 2),
        ("a\n{{ ) }}", 2),
        ("a\n{{ (x }}\nb", 2),
        ("a\n{{ 'x }}", 2),
        ("a\n{{ '}}' }}", 2),
        ("a\n{% if 1 + %}{% end %}", 2),
        ("a\n{% set 1 = 2 %}", 2),
        ("a\n{% set x = { ( } %}", 2),
        ("a\n{% try %}x{% end %}", 2),
        ("{% if 1 %}\n{% else if 2 %}{% end %}", 2),
        ("{{ [\n1 2] }}", 2),
        ("a\n{% raw x + %}", 2),
        ("{% if x %}\n{{ x y }}{% end %}", 2),
    ],
)
def test_mistakes_in_python_text(source: str, line: int):
    with pytest.raises(SyntaxError) as caught:
        Template(source, name="a.html")
    error = caught.value
    assert isinstance(error, ParseError)
    assert error.lineno == line
    assert error.filename == "template a.html"
    assert error.text == source.split("\n")[line - 1]
    assert "detected at line" not in error.msg
    shown = "".join(traceback.format_exception_only(error))
    assert f'File "template a.html", line {line}' in shown


def test_mistakes_are_those_of_the_included_file(tmp_path: Path):
    (tmp_path / "main.html").write_text("\n\n{% include 'sub.html' %}")
    (tmp_path / "sub.html").write_text("\n{{ 1 + }}")
    with pytest.raises(SyntaxError) as caught:
        Loader(str(tmp_path)).load("main.html")
    assert caught.value.filename == str(tmp_path / "sub.html")
    assert caught.value.lineno == 2


# -- errors while rendering ------------------------------------------------------------


def places(error: BaseException) -> list[tuple[str, int | None, str | None]]:
    """File, line and text of the entries that are not of Python files."""
    return [
        (os.path.basename(entry.filename), entry.lineno, entry.line)
        for entry in traceback.extract_tb(error.__traceback__)
        if not entry.filename.endswith(".py")
    ]


def test_errors_point_to_the_template():
    with pytest.raises(ZeroDivisionError) as caught:
        render("a\n{% if 1 %}\n  {{ 1 / 0 }}{% end %}")
    assert places(caught.value) == [("template <string>", 3, "{{ 1 / 0 }}{% end %}")]


def test_errors_tell_by_way_of_which_templates(tmp_path: Path):
    (tmp_path / "base.html").write_text("B\n{% block x %}{% end %}")
    (tmp_path / "main.html").write_text(
        "{% extends base.html %}\n{% block x %}\n{% include sub.html %}{% end %}"
    )
    (tmp_path / "sub.html").write_text("a\nb\n\n{{ fail() }}")

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError) as caught:
        Loader(str(tmp_path)).load("main.html").generate(fail=fail)
    assert places(caught.value) == [
        ("base.html", 2, "{% block x %}{% end %}"),
        ("main.html", 3, "{% include sub.html %}{% end %}"),
        ("sub.html", 4, "{{ fail() }}"),
    ]
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert last.name == "fail"


def test_lines_within_an_expression_count():
    with pytest.raises(ZeroDivisionError) as caught:
        render("{{ [\n1,\n1 / 0] }}")
    assert places(caught.value)[-1][1] == 3


def test_errors_in_an_apply_and_in_functions_of_the_template():
    def call(function: Any) -> Any:
        return function()

    with pytest.raises(ZeroDivisionError) as caught:
        render("{% apply str %}\n{{ call(lambda:\n1 / 0) }}\n{% end %}", call=call)
    assert [line for _, line, _ in places(caught.value)] == [1, 2, 3]


def test_contexts_of_errors_point_to_the_template_too():
    with pytest.raises(NameError) as caught:
        render("{% try %}\n{{ 1 / 0 }}{% except ZeroDivisionError %}\n{{ x }}{% end %}")
    context = caught.value.__context__
    assert isinstance(context, ZeroDivisionError)
    assert not caught.value.__suppress_context__
    assert places(context)[-1][1] == 2
    assert places(caught.value)[-1][1] == 3


def test_of_two_templates_of_one_name_each_shows_its_own_text():
    for text in ("{{ 1 / 0 }} one", "{{ 1 / 0 }} two"):
        with pytest.raises(ZeroDivisionError) as caught:
            render(text)
        assert places(caught.value)[-1][2] == text


def test_frames_of_templates_have_the_template_s_variables():
    with pytest.raises(ZeroDivisionError) as caught:
        render("{% set a = 5 %}{% for b in [6] %}{{ 1 / 0 }}{% end %}")
    tb = caught.value.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    assert tb is not None
    assert tb.tb_frame.f_locals == {"a": 5, "b": 6}


def test_errors_leave_no_cycles():
    template = Template("{% try %}{{ 1 / 0 }}{% except ValueError %}{% end %}")

    def fail() -> None:
        with contextlib.suppress(ZeroDivisionError):
            template.generate()

    fail()
    gc.collect()
    gc.disable()
    try:
        fail()
        assert gc.collect() == 0
    finally:
        gc.enable()


# -- loaders ---------------------------------------------------------------------------


def test_dict_loader_resolves_relative_names():
    loader = DictLoader({})
    assert loader.resolve_path("c", "a/b") == "a/c"
    assert loader.resolve_path("../c", "a/b") == "c"
    assert loader.resolve_path("/c", "a/b") == "/c"
    assert loader.resolve_path("c", "/a/b") == "c"
    assert loader.resolve_path("c", "<string>") == "c"
    assert loader.resolve_path("c") == "c"


def test_file_loader(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "main.html").write_text('{% include "sub/x.html" %}')
    (tmp_path / "sub" / "x.html").write_text('X{% include "y.html" %}')
    (tmp_path / "sub" / "y.html").write_text("é{% include '../z.html' %}", "utf-8")
    (tmp_path / "z.html").write_text("Z")
    loader = Loader(str(tmp_path))
    assert loader.load("main.html").generate() == "XéZ".encode()
    assert sorted(loader.templates) == [
        "main.html",
        "sub/x.html",
        "sub/y.html",
        "z.html",
    ]
    assert loader.resolve_path("../../c", "sub/x") == "../../c"
    assert loader.resolve_path("/c", "sub/x") == "/c"
    with pytest.raises(FileNotFoundError):
        loader.load("no.html")


def test_templates_are_kept_until_reset(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    loader = Loader(str(tmp_path))
    first = loader.load("a.txt")
    path.write_text("two")
    assert loader.load("a.txt") is first
    loader.reset()
    assert loader.load("a.txt").generate() == b"two"


def test_a_template_that_failed_to_load_can_be_mended():
    loader = DictLoader({"main": "{{ "})
    for _ in range(2):
        with pytest.raises(ParseError, match="Missing end"):
            loader.load("main")
    loader.dict["main"] = "ok"
    assert loader.load("main").generate() == b"ok"


def test_loader_settings():
    loader = DictLoader({"main": "{{ x }}"}, autoescape=None)
    assert loader.load("main").generate(x="<") == b"<"
    template = Template("{{ x }}", loader=loader, autoescape="xhtml_escape")
    assert template.generate(x="<") == b"&lt;"


def test_own_loaders():
    class Reversed(BaseLoader):
        def resolve_path(self, name: str, parent_path: str | None = None) -> str:
            return name.upper()

        def _create_template(self, name: str) -> Template:
            return Template(name[::-1] + "{{ x }}", name=name, loader=self)

    loader = Reversed()
    assert loader.load("abc").generate(x=1) == b"CBA1"
    assert loader.load("ABC") is loader.load("abc")
    with pytest.raises(NotImplementedError):
        BaseLoader().load("x")


def test_loading_from_several_threads():
    loader = DictLoader({f"t{i}": "{% include base %}" for i in range(20)})
    loader.dict["base"] = "x"
    got: list[bytes] = []

    def work() -> None:
        for i in range(20):
            got.append(loader.load(f"t{i}").generate())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [b"x"] * 80


def test_attributes():
    template = Template("{{ 1 }}", name="a.html")
    assert (template.name, template.loader) == ("a.html", None)
    assert (template.autoescape, template.namespace) == ("xhtml_escape", {})
    assert "def _tt_execute():" in template.code
    namespace: dict[str, Any] = {}
    exec(template.compiled, namespace)
    assert callable(namespace["_tt_execute"])


def test_c_functions_that_import_can_be_called_from_a_template():
    import datetime

    # strptime is C and imports a module of the library when it is called.
    text = "{{ strptime('2026', '%Y').year }}"
    generated = Template(text).generate(strptime=datetime.datetime.strptime)
    assert generated == b"2026"
