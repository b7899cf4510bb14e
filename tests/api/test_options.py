"""pyfastloop.options: definitions, command line, config files, help and mocks."""

from __future__ import annotations

import copy
import datetime
import io
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pyfastloop import options as module
from pyfastloop.options import Error, OptionParser


@pytest.fixture
def options() -> OptionParser:
    options = OptionParser()
    options.define("port", default=80)
    options.define("under_score", default="x")
    options.define("flag", default=False)
    options.define("ratio", default=0.5)
    options.define("name")
    options.define("numbers", type=int, multiple=True)
    options.define("words", multiple=True)
    options.define("when", type=datetime.datetime)
    options.define("wait", type=datetime.timedelta)
    options.define("raw", type=bytes)
    options.define("complex", type=complex)
    return options


def parse(options: OptionParser, *args: str, **kwargs: Any) -> list[str]:
    return options.parse_command_line(["program", *args], **kwargs)


# -- reading and setting ---------------------------------------------------------------


def test_defaults_and_types(options: OptionParser):
    assert options.as_dict() == {
        "help": None,
        "port": 80,
        "under_score": "x",
        "flag": False,
        "ratio": 0.5,
        "name": None,
        "numbers": [],
        "words": [],
        "when": None,
        "wait": None,
        "raw": None,
        "complex": None,
    }
    assert options.items() == list(options.as_dict().items())
    assert list(options)[:3] == ["help", "port", "under_score"]


def test_dash_and_underscore_are_the_same(options: OptionParser):
    assert "under-score" in options and "under_score" in options
    assert options.under_score == options["under-score"] == "x"
    options["under-score"] = "y"
    assert options.under_score == "y"
    parse(options, "--under-score=a")
    assert options.under_score == "a"
    parse(options, "--under_score=b")
    assert options.under_score == "b"


def test_unknown_names(options: OptionParser):
    assert "nope" not in options
    with pytest.raises(AttributeError, match="nope"):
        options.nope  # noqa: B018
    with pytest.raises(AttributeError, match="nope"):
        options["nope"]
    with pytest.raises(AttributeError, match="nope"):
        options.nope = 1


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("port", [1, None], ["1", 1.5]),
        ("flag", [True, None], [1, "true"]),
        ("ratio", [1.5], [1]),
        ("name", ["x"], [1, b"x"]),
        ("numbers", [[1, 2], []], [1, (1, 2), ["x"], None]),
    ],
)
def test_set_checks_the_type(
    options: OptionParser, name: str, good: list[Any], bad: list[Any]
):
    for value in good:
        setattr(options, name, value)
        assert getattr(options, name) == value
    for value in bad:
        with pytest.raises(Error, match=f"'{name}'"):
            setattr(options, name, value)


def test_defining_a_name_twice_names_the_file(options: OptionParser):
    with pytest.raises(Error, match=r"under-score.*test_options\.py"):
        options.define("under-score")


def test_groups(options: OptionParser):
    options.define("database", group="app", default="db")
    options.define("cache", group="app", default=1)
    assert options.groups() == {"", "app", __file__}
    assert options.group_dict("app") == {"database": "db", "cache": 1}
    assert options.group_dict("") == options.as_dict()
    assert options.group_dict("other") == {}


def test_defining_file_is_that_of_the_caller():
    name = "test_options_defined_here"
    module.define(name, default=3)
    try:
        assert getattr(module.options, name) == 3
        assert module.options.group_dict(__file__) == {name: 3}
    finally:
        del module.options._options[name.replace("_", "-")]


def test_a_parser_can_be_copied(options: OptionParser):
    options.port = 8
    assert copy.copy(options).port == 8


# -- the command line ------------------------------------------------------------------


def test_parse_command_line(options: OptionParser):
    rest = parse(options, "--port=8", "-name=a=b", "--ratio=2", "x", "--port=9")
    assert rest == ["x", "--port=9"]
    assert (options.port, options.name, options.ratio) == (8, "a=b", 2.0)
    assert parse(options, "--port=1", "--", "--port=2") == ["--port=2"]
    assert options.port == 1
    assert parse(options) == []


def test_sys_argv_is_the_default(
    options: OptionParser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", ["program", "--port=5", "rest"])
    assert options.parse_command_line() == ["rest"]
    assert options.port == 5


@pytest.mark.parametrize(
    ("arg", "value"),
    [
        ("--flag", True),
        ("--flag=true", True),
        ("--flag=1", True),
        ("--flag=false", False),
        ("--flag=False", False),
        ("--flag=0", False),
        ("--flag=f", False),
    ],
)
def test_bool(options: OptionParser, arg: str, value: bool):
    parse(options, arg)
    assert options.flag is value


@pytest.mark.parametrize(
    ("arg", "value"),
    [
        ("--numbers=1", [1]),
        ("--numbers=1,5:7,3", [1, 5, 6, 7, 3]),
        ("--numbers=2:1", []),
        ("--words=a, b,c", ["a", " b", "c"]),
        ("--words=a:b", ["a:b"]),
        ("--raw=é", b"\xc3\xa9"),
        ("--complex=1j", 1j),
    ],
)
def test_lists_and_other_types(options: OptionParser, arg: str, value: Any):
    parse(options, arg)
    assert options[arg[2:].partition("=")[0]] == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-04-28 05:16", datetime.datetime(2013, 4, 28, 5, 16)),
        ("2013-04-28 05:16:17", datetime.datetime(2013, 4, 28, 5, 16, 17)),
        ("2013-04-28T05:16", datetime.datetime(2013, 4, 28, 5, 16)),
        ("20130428 05:16", datetime.datetime(2013, 4, 28, 5, 16)),
        ("20130428", datetime.datetime(2013, 4, 28)),
        ("2013-04-28", datetime.datetime(2013, 4, 28)),
        ("Sun Apr 28 05:16:17 2013", datetime.datetime(2013, 4, 28, 5, 16, 17)),
        ("05:16", datetime.datetime(1900, 1, 1, 5, 16)),
    ],
)
def test_datetime(options: OptionParser, text: str, expected: datetime.datetime):
    parse(options, f"--when={text}")
    assert options.when == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3),
        ("-1", -1),
        ("1e3", 1000),
        ("30s", 30),
        ("30 sec", 30),
        ("2m", 120),
        ("5 min", 300),
        ("1h 30 minutes", 5400),
        ("1h30m", 5400),
        (".5 h", 1800),
        ("1.5 hours", 5400),
        ("1d", 86400),
        ("3 days 2 hours", 3 * 86400 + 7200),
        ("2w", 14 * 86400),
        ("1 week", 7 * 86400),
        ("500ms", 0.5),
        ("5us", 5e-6),
        ("-1h -5m", -3900),
    ],
)
def test_timedelta(options: OptionParser, text: str, seconds: float):
    parse(options, f"--wait={text}")
    assert options.wait == datetime.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "arg",
    [
        "--port=x",
        "--port=",
        "--numbers=1,x",
        "--numbers=1:x",
        "--ratio=x",
        "--when=tomorrow",
        "--wait=",
        "--wait=1 fortnight",
        "--wait=1h,2m",
    ],
)
def test_texts_that_do_not_fit(options: OptionParser, arg: str):
    before = options.as_dict()
    with pytest.raises(Error, match=arg[2:].partition("=")[0]) as caught:
        parse(options, arg)
    assert isinstance(caught.value, ValueError)
    assert options.as_dict() == before


def test_a_value_is_required(options: OptionParser):
    with pytest.raises(Error, match="'port' requires a value"):
        parse(options, "--port")


def test_unknown_option_prints_the_help(
    options: OptionParser, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(Error, match="Unrecognized command line option: 'nope'"):
        parse(options, "--nope=1")
    assert "--under-score" in capsys.readouterr().err


# -- config files ----------------------------------------------------------------------


@pytest.fixture
def config(options: OptionParser, tmp_path: Path):
    def read(text: str, **kwargs: Any) -> OptionParser:
        path = tmp_path / "my.conf"
        path.write_text(text, encoding="utf-8")
        options.parse_config_file(str(path), **kwargs)
        return options

    return read


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("port = 443", "port", 443),
        ("port = '443'", "port", 443),
        ("under_score = 'é'", "under_score", "é"),
        ("numbers = [1, 2]", "numbers", [1, 2]),
        ("numbers = '1,2:4'", "numbers", [1, 2, 3, 4]),
        ("words = 'a,b'", "words", ["a", "b"]),
        ("words = ['a']", "words", ["a"]),
        ("flag = 'false'", "flag", False),
        ("wait = '2h'", "wait", datetime.timedelta(hours=2)),
        ("import os\nnope = 1\nport = len('ab')", "port", 2),
        ("# coding: latin-1\nname = 'e'", "name", "e"),
    ],
)
def test_config_file(config: Any, text: str, name: str, value: Any):
    assert config(text)[name] == value


def test_config_file_knows_its_path(config: Any, tmp_path: Path):
    assert config("name = __file__").name == str(tmp_path / "my.conf")


@pytest.mark.parametrize("text", ["port = 1.5", "flag = 1", "numbers = (1, 2)"])
def test_config_values_of_the_wrong_type(config: Any, text: str):
    with pytest.raises(Error, match=text.partition(" ")[0]):
        config(text)


def test_errors_in_a_config_file_name_its_line(config: Any):
    with pytest.raises(ZeroDivisionError) as caught:
        config("port = 1\nport = 1 / 0")
    last = caught.traceback[-1]
    assert str(last.path).endswith("my.conf") and last.lineno == 1
    with pytest.raises(FileNotFoundError):
        OptionParser().parse_config_file("/no/such/file")


# -- callbacks -------------------------------------------------------------------------


def test_option_callbacks_run_when_the_value_is_set(options: OptionParser):
    seen: list[Any] = []
    options.define("one", default=1, callback=seen.append)
    options.define("many", type=int, multiple=True, callback=seen.append)
    assert seen == []
    parse(options, "--one=2", "--many=1,2")
    options.one = 3
    assert seen == [2, [1, 2], 3]


def test_a_config_file_named_by_an_option(options: OptionParser, tmp_path: Path):
    path = tmp_path / "my.conf"
    path.write_text("port = 1\nname = 'file'")
    options.define(
        "config", type=str, callback=lambda p: options.parse_config_file(p, final=False)
    )
    parsed: list[str] = []
    options.add_parse_callback(lambda: parsed.append(options.name))
    parse(options, f"--config={path}", "--name=line")
    assert (options.port, options.name) == (1, "line")
    assert parsed == ["line"]


def test_parse_callbacks_run_once_the_source_is_final(options: OptionParser):
    parsed: list[int] = []
    options.add_parse_callback(lambda: parsed.append(options.port))
    parse(options, "--port=1", final=False)
    assert parsed == []
    parse(options, "--port=2")
    assert parsed == [2]
    options.run_parse_callbacks()
    assert parsed == [2, 2]


# -- help ------------------------------------------------------------------------------


def test_print_help(options: OptionParser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["program"])
    options.define(
        "wordy", default=3, help=("word " * 20).strip(), group="app", metavar="N"
    )
    options.define("long_name", help="short", group="app", metavar="m" * 30)
    file = io.StringIO()
    options.print_help(file)
    lines = file.getvalue().splitlines()
    indent = " " * 35
    assert lines[:5] == [
        "Usage: program [OPTIONS]",
        "",
        "Options:",
        "",
        "  --help                           show this help information",
    ]
    at = lines.index("app options:")
    assert lines[at + 2 : at + 7] == [
        "  --long-name=" + "m" * 30,
        indent + "short",
        "  --wordy=N" + indent[11:] + ("word " * 9).strip(),
        indent + ("word " * 9).strip(),
        indent + "word word (default 3)",
    ]
    assert max(map(len, lines)) <= 79 or __file__ in max(lines, key=len)


def test_help_option_prints_and_leaves(
    options: OptionParser, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as caught:
        parse(options, "--help")
    assert caught.value.code == 0
    assert "Options:" in capsys.readouterr().err


# -- mocks -----------------------------------------------------------------------------


def test_mockable(options: OptionParser):
    with mock.patch.object(options.mockable(), "port", 5):
        assert options.port == 5
        with mock.patch.object(options.mockable(), "port", 6):
            assert options.port == 6
        assert options.port == 5
    assert options.port == 80


def test_one_mockable_serves_several_patches(options: OptionParser):
    mockable = options.mockable()
    for _ in range(2):
        with mock.patch.object(mockable, "port", 5):
            with mock.patch.object(mockable, "port", 6):
                assert options.port == mockable.port == 6
            assert options.port == 5
        assert options.port == 80
    with pytest.raises(AttributeError):
        del mockable.port


# -- the default parser ----------------------------------------------------------------


def test_default_parser_sets_up_logging():
    code = """
import logging, sys
from pyfastloop.options import (
    add_parse_callback, define, options, parse_command_line, print_help)
define("port", default=1)
called = []
add_parse_callback(lambda: called.append(options.port))
assert not logging.root.handlers
assert parse_command_line(["p", "--port=2", "--logging=debug", "x"]) == ["x"]
assert called == [2]
assert logging.root.level == logging.DEBUG
assert type(logging.root.handlers[0].formatter).__name__ == "LogFormatter"
print_help(sys.stdout)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        timeout=60,
        stdout=subprocess.PIPE,
        text=True,
    )
    for name in ("log-file-prefix=PATH", "log-to-stderr", "log-rotate-mode", "port"):
        assert f"--{name}" in done.stdout


def test_default_parser_reads_config_files(tmp_path: Path):
    path = tmp_path / "my.conf"
    path.write_text("logging = 'none'")
    with mock.patch.object(module.options.mockable(), "logging", "info"):
        module.parse_config_file(str(path), final=False)
        assert module.options.logging == "none"
