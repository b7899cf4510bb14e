"""Every program in examples/ is run as a user would, and asked what it is for."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyfastloop.ioloop import IOLoop
from pyfastloop.websocket import websocket_connect

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@contextlib.contextmanager
def program(
    command: list[str], port: int, ended_by: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[str]]:
    """A running program that listens on the port; what it prints is checked."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline, "it does not listen"
                time.sleep(0.02)
        yield process
    finally:
        process.send_signal(ended_by)
        try:
            printed, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "Traceback" not in printed, printed


@pytest.fixture
def example(free_port: Callable[[], int]) -> Iterator[Callable[..., int]]:
    """Starts an example on a free port and gives the port."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str) -> int:
            port = free_port()
            command = [str(EXAMPLES / name), str(port), *arguments]
            stack.enter_context(program(command, port))
            return port

        yield start


def fetch(
    port: int, path: str = "/", method: str = "GET", body: bytes | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_hello_answers(example: Callable[..., int]) -> None:
    assert fetch(example("hello.py")) == (200, b"Hello, world")


def test_raw_socket_server_sends_lines_back_in_capitals(
    example: Callable[..., int],
) -> None:
    port = example("raw_socket_server.py")
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.sendall(b"hello\n")
        assert s.recv(100) == b"HELLO\n"


def test_raw_socket_server_serves_many_at_once(example: Callable[..., int]) -> None:
    port = example("raw_socket_server.py")
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            for _ in range(50)
        ]
        for number, s in enumerate(sockets):
            s.sendall(b"line %d\n" % number)
        for number, s in reversed(list(enumerate(sockets))):
            assert s.recv(100) == b"LINE %d\n" % number


def test_raw_socket_server_waits_for_a_slow_reader(example: Callable[..., int]) -> None:
    port = example("raw_socket_server.py")
    sent = b"x" * 8_000_000
    with socket.create_connection(("127.0.0.1", port), 60) as s:

        def send() -> None:
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = bytearray()
        while len(received) < len(sent):
            data = s.recv(1 << 20)
            assert data
            received += data
        sender.join()
    assert received == sent.upper()


@pytest.mark.parametrize("form", ["sync", "callback", "engine", "coroutine", "async"])
def test_async_fetch_passes_the_answer_on(
    example: Callable[..., int], form: str
) -> None:
    upstream = f"http://127.0.0.1:{example('slow_upstream.py')}/"
    port = example("async_fetch.py", upstream)
    assert fetch(port, f"/{form}") == (200, b"done")


@pytest.mark.parametrize("form", ["callback", "engine", "coroutine", "async"])
def test_async_fetch_serves_others_while_it_waits(
    example: Callable[..., int], form: str
) -> None:
    """Five clients at once; the upstream answers only when it holds five questions."""
    everyone = threading.Barrier(5)
    listener = socket.create_server(("127.0.0.1", 0))
    upstream = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            everyone.wait(60)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone"
            )

    with listener, ThreadPoolExecutor(10) as pool:
        port = example("async_fetch.py", upstream)
        answers = [pool.submit(answer) for _ in range(5)]
        clients = [pool.submit(fetch, port, f"/{form}") for _ in range(5)]
        assert [c.result(60) for c in clients] == [(200, b"done")] * 5
        for done in answers:
            done.result(60)


def test_welcome_page_shows_what_the_loop_does(free_port: Callable[[], int]) -> None:
    port = free_port()
    command = ["-m", "pyfastloop", "--port", str(port)]
    with program(command, port, ended_by=signal.SIGINT) as process:
        status, page = fetch(port)
        assert status == 200
        assert b"self.write(" in page
        for word in (b"src=", b"@import", b"http://", b"https://"):
            outside = page.replace(b"http://www.w3.org/2000/svg", b"")
            assert word not in outside, "the page needs nothing from outside"
        for _ in range(10):
            assert fetch(port, "/hello") == (200, b"Hello, world")
        status, stats = fetch(port, "/stats")
        assert status == 200
        counted = json.loads(stats)
        assert counted["requests"] >= 11
        assert counted["connections"] >= 12
        assert counted["open"] >= 1
    assert process.returncode == 0


def test_welcome_page_says_when_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "pyfastloop", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_article_benchmark_prints_both_rates_and_their_ratio() -> None:
    if shutil.which("ab") is None:
        pytest.skip("ab is not installed (Debian: apache2-utils)")
    root = EXAMPLES.parent
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "article", "-n", "10"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for form in ("sync", "callback", "engine", "coroutine", "async"):
        assert form in done.stdout


def test_web_benchmark_checks_the_answer_and_prints_the_ratio() -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed (Debian: wrk)")
    command = [sys.executable, "-m", "benchmarks", "web", "--rows", "login,render"]
    command += ["--rounds", "1", "--seconds", "1", "--servers", "pyfastloop,tornado"]
    done = subprocess.run(
        command, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for server in ("pyfastloop", "tornado"):
        shown = re.findall(rf"^\| {server} +\|", done.stdout, re.MULTILINE)
        assert len(shown) == 2, done.stdout
    assert "not in this row" not in done.stdout


def test_client_benchmark_checks_the_answers_and_prints_the_ratio() -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    command = [sys.executable, "-m", "benchmarks", "client", "--rows", "small,tls"]
    command += ["--rounds", "1", "--seconds", "0.2", "--clients"]
    done = subprocess.run(
        [*command, "floor,pyfastloop,tornado"],
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for client in ("floor", "pyfastloop", "tornado"):
        shown = re.findall(rf"^\| {client} +\|", done.stdout, re.MULTILINE)
        assert len(shown) == 2, done.stdout


def test_server_sent_events_reach_every_listener(example: Callable[..., int]) -> None:
    port = example("server_sent_events.py")
    assert fetch(port)[0] == 200
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(3):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            stack.enter_context(contextlib.closing(client))
            client.request("GET", "/events")
            answer = client.getresponse()
            assert answer.getheader("Content-Type") == "text/event-stream"
            answers.append(answer)
        for text in ("first", "second"):
            assert fetch(port, "/say", "POST", f"text={text}".encode())[0] == 204
        for answer in answers:
            lines = [answer.readline() for _ in range(4)]
            assert lines == [
                b'data: {"text": "first"}\n',
                b"\n",
                b'data: {"text": "second"}\n',
                b"\n",
            ]


def test_upload_keeps_whole_files_only(
    example: Callable[..., int], tmp_path: Path
) -> None:
    port = example("upload.py", str(tmp_path))
    content = bytes(range(256)) * 10_000
    status, answer = fetch(port, "/files/some.file", "PUT", content)
    assert status == 200
    assert json.loads(answer) == {
        "name": "some.file",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert (tmp_path / "some.file").read_bytes() == content
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.sendall(b"PUT /files/half HTTP/1.1\r\nHost: a\r\n")
        s.sendall(b"Content-Length: 9\r\n\r\nhalf")
    for _ in range(1000):
        if {p.name for p in tmp_path.iterdir()} == {"some.file"}:
            break
        fetch(port)
    assert {p.name for p in tmp_path.iterdir()} == {"some.file"}


def test_reverse_proxy_passes_questions_and_answers_on(
    example: Callable[..., int], tmp_path: Path
) -> None:
    upstream = example("upload.py", str(tmp_path))
    port = example("reverse_proxy.py", f"http://127.0.0.1:{upstream}")
    assert fetch(port) == fetch(upstream)
    status, answer = fetch(port, "/files/through.txt", "PUT", b"hello")
    assert (status, json.loads(answer)["bytes"]) == (200, 5)
    assert (tmp_path / "through.txt").read_bytes() == b"hello"
    assert fetch(port, "/nowhere")[0] == 404


def test_reverse_proxy_says_when_the_upstream_is_away(
    example: Callable[..., int], free_port: Callable[[], int]
) -> None:
    port = example("reverse_proxy.py", f"http://127.0.0.1:{free_port()}")
    assert fetch(port)[0] == 502


def test_mounted_applications_answer_side_by_side(
    example: Callable[..., int],
) -> None:
    pytest.importorskip("flask")
    pytest.importorskip("fastapi")
    port = example("mounted.py")
    assert fetch(port) == (200, b"Flask is at /shop, FastAPI at /api.")
    status, answer = fetch(port, "/shop/tea?cups=2")
    assert (status, json.loads(answer)) == (200, {"what": "tea", "cups": 2})
    status, answer = fetch(port, "/api/items/3")
    assert (status, json.loads(answer)) == (200, {"number": 3})
    assert fetch(port, "/api/items/three")[0] == 422
    assert fetch(port, "/shop/")[0] == 404


def test_crawler_finds_all_hundred_pages() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "crawler.py")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("100 pages in ")
    assert done.stdout.endswith(" s, 0 failed\n")


class Browser:
    """Keeps cookies, fills in forms, and follows redirects, as far as a blog needs."""

    def __init__(self, port: int) -> None:
        cookies = urllib.request.HTTPCookieProcessor()
        self.opener = urllib.request.build_opener(cookies)
        self.base = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        with self.opener.open(self.base + path, timeout=60) as answer:
            return str(answer.read().decode())

    def post(self, form_at: str, path: str, **fields: str) -> str:
        token = re.search(r'name="_xsrf" value="([^"]+)"', self.get(form_at))
        assert token is not None
        data = urllib.parse.urlencode({"_xsrf": token[1], **fields}).encode()
        with self.opener.open(self.base + path, data, timeout=60) as answer:
            return str(answer.read().decode())


def test_blog_from_joining_to_logging_in_again(
    example: Callable[..., int], tmp_path: Path
) -> None:
    port = example("blog/blog.py", str(tmp_path / "blog.db"))
    ada = Browser(port)
    assert "Nothing was written yet." in ada.get("/")
    assert "<h1>Log in</h1>" in ada.get("/write"), "only authors write"
    assert "Log out ada" in ada.post("/join", "/join", name="ada", password="engine")
    page = ada.post("/write", "/write", title="On <notes>", body="One.\n\nTwo.")
    assert "<h1>On &lt;notes&gt;</h1>" in page
    assert "<p>One.</p><p>Two.</p>" in page
    assert "On &lt;notes&gt;" in Browser(port).get("/")

    stranger = Browser(port)
    for path, status, name in (
        ("/join", 409, "ada"),
        ("/login", 403, "ada"),
        ("/login", 403, "nobody"),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            stranger.post(path, path, name=name, password="wrong")
        assert caught.value.code == status
    with pytest.raises(urllib.error.HTTPError) as caught:
        stranger.opener.open(f"{stranger.base}/login", b"name=ada&password=engine")
    assert caught.value.code == 403, "a form without its token is refused"
    page = stranger.post("/login", "/login", name="ada", password="engine")
    assert "Log out ada" in page
    assert "Log in" in stranger.post("/", "/logout")


def test_two_languages_follow_the_browser_and_the_choice(
    example: Callable[..., int],
) -> None:
    port = example("two_languages/site.py")
    browser = Browser(port)

    def page(language: str, cups: int = 0) -> str:
        question = urllib.request.Request(
            f"{browser.base}/?cups={cups}", headers={"Accept-Language": language}
        )
        with browser.opener.open(question, timeout=60) as answer:
            return str(answer.read().decode())

    assert "<h1>Good morning</h1>" in page("en-GB,en;q=0.9")
    assert "<h1>Guten Morgen</h1>" in page("de-DE,de;q=0.9")
    assert "Sie hatten eine Tasse Tee." in page("de", 1)
    assert "Sie hatten 3 Tassen Tee." in page("de", 3)
    assert "You had 3 cups of tea." in page("en", 3)
    with browser.opener.open(f"{browser.base}/language/de", b"", timeout=60) as chosen:
        assert "Guten Morgen" in chosen.read().decode()
    assert "Guten Morgen" in page("en")


def test_chat_reaches_a_room_and_no_other(example: Callable[..., int]) -> None:
    port = example("chat.py")

    async def main() -> None:
        async def enter(room: str) -> Any:
            return await websocket_connect(f"ws://127.0.0.1:{port}/ws/{room}")

        async def said(to: Any) -> Any:
            while True:
                message = await to.read_message()
                assert message is not None
                if "here" not in json.loads(message):
                    return json.loads(message)

        ada, bob, eve = [await enter(room) for room in ("one", "one", "two")]
        await ada.write_message(json.dumps({"name": "ada", "text": "hello"}))
        await eve.write_message(json.dumps({"name": "eve", "text": "anyone?"}))
        for member in (ada, bob):
            assert await said(member) == {"name": "ada", "text": "hello"}
        assert await said(eve) == {"name": "eve", "text": "anyone?"}
        late = await enter("one")
        assert (await said(late))["text"] == "hello", "a newcomer reads what was said"
        await bob.write_message("no object")
        while await bob.read_message() is not None:
            pass
        assert (bob.close_code, ada.close_code) == (1008, None)
        for member in (ada, eve, late):
            member.close()

    IOLoop().run_sync(main, timeout=60)
