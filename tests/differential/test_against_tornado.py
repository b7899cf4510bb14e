"""The same application on pyfastloop and on Tornado gives the same answers and logs.

`web_program` is started on both; `web_cases` are asked of both, one by one. Equal must
be the status line, the headers (but Server and Date) and the body, and in the end what
was logged. docs/differences.md tells of what differs on purpose; no case asks for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from web_cases import cases, request

import pyfastloop

tornado = pytest.importorskip("tornado")
if tornado.version_info < (6, 6):
    pytest.skip("needs Tornado 6.6, whose answers are ours", allow_module_level=True)

PROGRAM = Path(__file__).with_name("web_program.py")


@dataclass
class Started:
    port: int
    folder: Path
    process: subprocess.Popen[str]


@contextlib.contextmanager
def started(package: str, folder: Path, mode: str) -> Iterator[Started]:
    folder.mkdir()
    home = str(Path(pyfastloop.__file__).parents[1])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), package, str(folder), mode],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONPATH": home},
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            yield Started(int(line), folder, process)
        finally:
            process.terminate()
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


def ask(server: Started, raw: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Start line, headers sorted, body."""
    data = b""
    with socket.create_connection(("127.0.0.1", server.port), 60) as s:
        s.sendall(raw)
        while more := s.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    kept = []
    for header in headers:
        name, _, value = header.partition(b": ")
        if name in (b"Server", b"Date"):
            continue
        if name == b"Set-Cookie":  # a time in it, and what is made at random
            value = re.sub(rb"2\|\w+\|\w+\|\d+", b"TOKEN", value)
            value = re.sub(rb"expires=[^;]*", b"expires=THEN", value)
        kept.append(name + b": " + value)
    folder = str(server.folder).encode()
    return first, sorted(kept), body.replace(folder, b"FOLDER")


def logged(server: Started) -> list[str]:
    text = (server.folder / "log").read_text().replace(str(server.folder), "FOLDER")
    text = re.sub(r"[\d.]+ms", "N ms", text)
    # The words of these two say more here.
    text = re.sub(r"\[AssertionError: .*?\]", "[AssertionError]", text)
    text = re.sub(r"(ParseError|TemplateSyntaxError): .*?\]", r"\1]", text)
    return text.partition("tornado.access WARNING 404 GET /end")[0].splitlines()


@pytest.mark.parametrize("mode", ["plain", "xsrf", "gzip"])
def test_answers_and_logs_are_tornados(tmp_path: Path, mode: str) -> None:
    asked = cases()
    different = []
    with (
        started("pyfastloop", tmp_path / "ours", mode) as ours,
        started("tornado", tmp_path / "theirs", mode) as theirs,
    ):
        for raw in asked:
            got, want = ask(ours, raw), ask(theirs, raw)
            if got != want:
                different.append(f"{raw[:200]!r}\n  ours   {got}\n  theirs {want}")
        # What is logged after an answer stands there when the next one came.
        for server in (ours, theirs):
            ask(server, request("/end"))
            ask(server, request("/"))
    assert not different, "\n".join(different)
    assert len(asked) > 450
    assert logged(ours) == logged(theirs)
