"""pyfastloop.log: the formatter and the logging options."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyfastloop.log import (
    LogFormatter,
    access_log,
    app_log,
    enable_pretty_logging,
    gen_log,
)


def record(msg: Any, *args: Any, level: int = logging.INFO, exc_info: Any = None):
    made = logging.LogRecord("name", level, "/a/b.py", 12, msg, args, exc_info)
    made.created = 0.0
    return made


def formatted(msg: Any, *args: Any, fmt: str = "%(message)s", **kwargs: Any) -> str:
    return LogFormatter(fmt=fmt, color=False).format(record(msg, *args, **kwargs))


def test_logger_names():
    assert access_log is logging.getLogger("tornado.access")
    assert app_log is logging.getLogger("tornado.application")
    assert gen_log is logging.getLogger("tornado.general")


def test_importing_configures_nothing():
    code = (
        "import logging, pyfastloop.log as log\n"
        "assert not logging.root.handlers\n"
        "for logger in (log.access_log, log.app_log, log.gen_log):\n"
        "    assert not logger.handlers and logger.level == 0 and logger.propagate\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_default_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        LogFormatter, "converter", staticmethod(__import__("time").gmtime)
    )
    line = LogFormatter(color=False).format(record("hello %s", "you"))
    assert line == "[I 700101 00:00:00 b:12] hello you"


@pytest.mark.parametrize(
    ("style", "fmt"),
    [
        ("%", "%(levelname)s %(message)s"),
        ("{", "{levelname} {message}"),
        ("$", "$levelname $message"),
    ],
)
def test_styles(style: Any, fmt: str):
    formatter = LogFormatter(fmt=fmt, style=style, color=False)
    assert formatter.format(record("m")) == "INFO m"


def test_bytes_and_text():
    assert formatted("é") == "é"
    assert formatted(b"\xe9") == repr(b"\xe9")
    assert formatted({"a": 1}) == "{'a': 1}"


def test_line_ends_cannot_forge_a_record():
    assert formatted("a\n[I 700101] b") == "a\n    [I 700101] b"


def test_bad_messages_are_told_not_raised():
    class Broken:
        def __str__(self) -> str:
            raise ValueError("inner")

    assert formatted(Broken()).startswith("Bad message (ValueError('inner'))")
    assert formatted("%d", "x").startswith("Bad message (TypeError")


def test_traceback_is_indented():
    try:
        raise ValueError("what")
    except ValueError:
        text = formatted("m", exc_info=sys.exc_info())
    lines = text.split("\n")
    assert lines[0] == "m"
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    ValueError: what"


def test_stack_info():
    made = record("m")
    made.stack_info = "Stack (most recent call last):"
    text = LogFormatter(fmt="%(message)s", color=False).format(made)
    assert text == "m\n    Stack (most recent call last):"


COLOURS = """
import logging
from pyfastloop.log import LogFormatter
for kwargs in ({}, {"color": False}, {"colors": {logging.INFO: 5}}):
    formatter = LogFormatter(fmt="%(color)s<%(end_color)s%(message)s", **kwargs)
    for level in (logging.INFO, logging.ERROR, 25):
        print(ascii(formatter.format(
            logging.LogRecord("n", level, "f", 1, "m", (), None))))
"""


def run_on_terminal(env: dict[str, str]) -> list[str]:
    parent, child = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", COLOURS],
            env={**os.environ, **env},
            stderr=child,
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
            text=True,
        )
    finally:
        os.close(parent)
        os.close(child)
    return [eval(line) for line in done.stdout.splitlines()]


def test_colours_on_a_terminal():
    lines = run_on_terminal({"TERM": "xterm", "NO_COLOR": ""})
    normal = lines[0].partition("<")[2][:-1]
    assert lines[0] == f"\x1b[32m<{normal}m" and normal
    assert lines[1] == f"\x1b[31m<{normal}m"
    assert lines[2] == "<m"
    assert lines[3:6] == ["<m"] * 3
    assert lines[6:] == [f"\x1b[35m<{normal}m", "<m", "<m"]


@pytest.mark.parametrize(
    "env",
    [
        {"TERM": "dumb", "NO_COLOR": ""},
        {"TERM": "no-such-terminal", "NO_COLOR": ""},
        {"TERM": "xterm", "NO_COLOR": "1"},
    ],
)
def test_no_colours(env: dict[str, str]):
    assert run_on_terminal(env) == ["<m"] * 9


# -- enable_pretty_logging -------------------------------------------------------------


@pytest.fixture
def logger():
    logger = logging.Logger("fresh")
    yield logger
    for handler in logger.handlers:
        handler.close()


def options(**changes: Any) -> Any:
    return SimpleNamespace(
        **{
            "logging": "info",
            "log_to_stderr": None,
            "log_file_prefix": None,
            "log_file_max_size": 1000,
            "log_file_num_backups": 3,
            "log_rotate_when": "H",
            "log_rotate_interval": 2,
            "log_rotate_mode": "size",
            **changes,
        }
    )


def test_stderr_where_nothing_else_is_configured(logger: logging.Logger):
    enable_pretty_logging(options(logging="warning"), logger)
    assert logger.level == logging.WARNING
    (handler,) = logger.handlers
    assert type(handler) is logging.StreamHandler
    assert isinstance(handler.formatter, LogFormatter)
    enable_pretty_logging(options(), logger)
    assert len(logger.handlers) == 1
    enable_pretty_logging(options(log_to_stderr=True), logger)
    assert len(logger.handlers) == 2


@pytest.mark.parametrize("level", [None, "none", "None"])
def test_none_touches_nothing(logger: logging.Logger, level: str | None):
    enable_pretty_logging(options(logging=level), logger)
    assert not logger.handlers and logger.level == 0


def test_log_file_by_size(logger: logging.Logger, tmp_path: Path):
    path = tmp_path / "x.log"
    enable_pretty_logging(options(log_file_prefix=str(path)), logger)
    (handler,) = logger.handlers
    assert type(handler) is logging.handlers.RotatingFileHandler
    for _ in range(40):
        logger.info("é" * 50)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "x.log",
        "x.log.1",
        "x.log.2",
        "x.log.3",
    ]
    assert "é" in path.read_text(encoding="utf-8")


def test_log_file_by_time(logger: logging.Logger, tmp_path: Path):
    path = tmp_path / "x.log"
    enable_pretty_logging(
        options(log_file_prefix=str(path), log_rotate_mode="time"), logger
    )
    (handler,) = logger.handlers
    assert isinstance(handler, logging.handlers.TimedRotatingFileHandler)
    assert (handler.interval, handler.backupCount) == (7200, 3)
    with pytest.raises(ValueError, match="log_rotate_mode"):
        enable_pretty_logging(
            options(log_file_prefix=str(path), log_rotate_mode="no"), logger
        )
