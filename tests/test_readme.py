"""What README.md says is so: its program runs, its links lead somewhere."""

from __future__ import annotations

import contextlib
import http.client
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_first_handler_answers(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert program is not None
    port = free_port()
    assert "listen(8888)" in program[1]
    text = program[1].replace("listen(8888)", f"listen({port}, '127.0.0.1')")
    (tmp_path / "hello.py").write_text(text)
    process = subprocess.Popen([sys.executable, str(tmp_path / "hello.py")])
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(ConnectionRefusedError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                connection.request("GET", "/")
                break
            time.sleep(0.02)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"Hello, world")
        connection.close()
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "csrc/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_the_two_commands_are_there() -> None:
    lines = [line.strip() for line in README.splitlines()]
    assert "pip install . && python -m pyfastloop" in lines
    assert "pip install '.[test]' && pytest" in lines


def test_every_benchmark_that_is_named_exists() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.__main__ import COMMANDS
    finally:
        sys.path.remove(str(ROOT))
    named = set(re.findall(r"python -m benchmarks (\w+)", README))
    assert named
    assert named <= set(COMMANDS)


def test_the_welcome_page_shows_the_same_program() -> None:
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert program is not None
    page = (ROOT / "pyfastloop" / "welcome" / "page.html").read_text()
    shown = re.search(r'<pre id="code">(.*?)</pre>', page, re.DOTALL)
    assert shown is not None
    plain = re.sub(r"<[^>]+>", "", shown[1])
    assert plain.replace("8000", "8888").split() == program[1].split()
