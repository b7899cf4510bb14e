"""Clients and proxies of others against our server, each as a program of its own."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from raw_http import longer_and_longer

import pyfastloop
from pyfastloop import web
from pyfastloop.httpserver import HTTPServer
from pyfastloop.netutil import bind_sockets

SECONDS = 60


class Hello(web.RequestHandler):
    def get(self) -> None:
        self.write("hello " + self.request.remote_ip)

    head = get


class Echo(web.RequestHandler):
    def post(self) -> None:
        self.set_header("X-Length", str(len(self.request.body)))
        self.write(hashlib.sha256(self.request.body).hexdigest())

    put = post


class Slow(web.RequestHandler):
    async def get(self) -> None:
        for piece in ("a", "b", "c"):
            self.write(piece)
            await self.flush()
            await asyncio.sleep(0.01)


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Served:
    """An application on a port; run() has a program talk to it meanwhile."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.connections = 0
        (self.sock,) = bind_sockets(0, "127.0.0.1")
        self.port: int = self.sock.getsockname()[1]

    def run(self, *command: str, stdin: bytes = b"") -> bytes:
        async def main() -> bytes:
            app = web.Application(
                [("/", Hello), ("/echo", Echo), ("/slow", Slow)], compress_response=True
            )
            server = HTTPServer(app, **self.settings)
            server.add_sockets([self.sock])
            before = asyncio.get_running_loop().stats()["connections"]  # type: ignore[attr-defined]
            child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await asyncio.wait_for(child.communicate(stdin), SECONDS)
            after = asyncio.get_running_loop().stats()["connections"]  # type: ignore[attr-defined]
            self.connections = after - before
            assert child.returncode == 0, err.decode()
            server.stop()
            await server.close_all_connections()
            return out

        answer: bytes = pyfastloop.run(main())
        return answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


# ---- curl ----


def curl(served: Served, *arguments: str, stdin: bytes = b"") -> bytes:
    kind = "Content-Type: application/octet-stream"
    options = ("-sS", "-m", str(SECONDS), "-H", kind)
    return served.run(program("curl"), *options, *arguments, stdin=stdin)


def test_curl_gets_twice_on_one_connection() -> None:
    served = Served()
    out = curl(served, served.url + "/", served.url + "/slow")
    assert out == b"hello 127.0.0.1abc"
    assert served.connections == 1


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("-H", "Transfer-Encoding: chunked"),
        ("-H", "Expect: 100-continue"),
        ("--http1.0",),
    ],
    ids=["length", "chunked", "expect", "http/1.0"],
)
def test_curl_posts_a_megabyte(more: tuple[str, ...]) -> None:
    served = Served()
    body = bytes(range(256)) * 4096
    url = served.url + "/echo"
    out = curl(served, *more, "--data-binary", "@-", url, stdin=body)
    assert out.decode() == hashlib.sha256(body).hexdigest()


def test_curl_sees_the_refusal_of_a_large_body() -> None:
    served = Served(max_body_size=1000)
    out = curl(
        served,
        *("-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:"),
        *("--data-binary", "@-", served.url + "/echo"),
        stdin=bytes(1 << 20),
    )
    assert out == b"413"


def test_curl_head_and_compressed() -> None:
    served = Served()
    out = curl(served, "-I", "--compressed", served.url + "/")
    assert out.startswith(b"HTTP/1.1 200 OK\r\n")
    assert out.endswith(b"\r\n\r\n")


def test_curl_by_the_proxy_protocol() -> None:
    served = Served(proxy_protocol=True)
    out = curl(served, "--haproxy-protocol", served.url + "/")
    assert out == b"hello 127.0.0.1"


def test_curl_asks_for_http2_and_gets_http1() -> None:
    served = Served()
    out = curl(served, "--http2", "-w", " %{http_version}", served.url + "/")
    assert out == b"hello 127.0.0.1 1.1"


# ---- load generators ----


@pytest.mark.parametrize("keep_alive", [True, False])
def test_ab(keep_alive: bool) -> None:
    served = Served()
    more = ["-k"] if keep_alive else []
    out = served.run(program("ab"), *more, "-n", "500", "-c", "10", served.url + "/")
    text = out.decode()
    assert re.search(r"Complete requests:\s+500\b", text)
    assert re.search(r"Failed requests:\s+0\b", text)
    assert "Non-2xx" not in text
    kept = re.search(r"Keep-Alive requests:\s+(\d+)", text)
    assert (kept is not None and kept[1] == "500") == keep_alive


def test_wrk() -> None:
    for seconds in longer_and_longer(1):
        served = Served()
        command = ["-t1", "-c10", f"-d{seconds}s", "--timeout", "60s"]
        out = served.run(program("wrk"), *command, served.url + "/").decode()
        assert "Socket errors" not in out
        assert "Non-2xx" not in out
        assert served.connections <= 11  # one to look, ten to ask
        if int(re.search(r"(\d+) requests in", out)[1]) > 0:  # type: ignore[index]
            break


def test_h2load_speaking_http1() -> None:
    served = Served()
    out = served.run(
        program("h2load"), "--h1", "-n", "500", "-c", "10", "-m", "5", served.url + "/"
    ).decode()
    assert "500 total, 500 started, 500 done, 500 succeeded, 0 failed" in out
    assert served.connections == 10


# ---- proxies in front ----

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/pid;
error_log stderr; events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {dir}; proxy_temp_path {dir};
  fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  upstream app {{ server 127.0.0.1:{app}; keepalive 2; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Real-Ip 192.0.2.7;
      proxy_request_buffering {buffering};
    }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 64
defaults
  mode http
  timeout connect 30s
  timeout client 30s
  timeout server 30s
  option forwardfor
listen front
  bind 127.0.0.1:{port}
  http-reuse always
  server app 127.0.0.1:{app} {send}
"""


def wait_for(port: int, proxy: subprocess.Popen[bytes]) -> None:
    """Until the proxy listens; it tells nobody when it does."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if proxy.poll() is not None:
            raise AssertionError(proxy.communicate()[1].decode())
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the proxy does not listen")


class Front:
    """A proxy in front of a server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.running: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str, config: str, *arguments: str, **values: Any) -> None:
        file = self.folder / "config"
        file.write_text(config.format(dir=self.folder, port=self.port, **values))
        proxy = subprocess.Popen(
            [program(name), *arguments, str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.running.append(proxy)
        wait_for(self.port, proxy)


@pytest.fixture
def front(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Front]:
    front = Front(tmp_path, free_port())
    yield front
    for proxy in front.running:
        proxy.terminate()
        proxy.communicate(timeout=SECONDS)


def ask_through(front: Front, served: Served) -> None:
    """Thirty requests of three kinds on connections that are kept."""
    body = bytes(1 << 18)
    urls = [front.url + "/slow", front.url + "/echo"] * 15
    out = curl(served, "--data-binary", "@-", *urls[1::2], stdin=body)
    assert out.decode() == hashlib.sha256(body).hexdigest() * 15
    assert served.connections <= 3


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_behind_nginx(front: Front, buffering: str) -> None:
    served = Served(xheaders=True)
    front.start("nginx", NGINX, "-c", app=served.port, buffering=buffering)
    ask_through(front, served)


def test_what_nginx_says_of_the_client(front: Front) -> None:
    served = Served(xheaders=True)
    front.start("nginx", NGINX, "-c", app=served.port, buffering="on")
    out = curl(served, front.url + "/", front.url + "/slow", front.url + "/")
    assert out == b"hello 192.0.2.7abchello 192.0.2.7"
    assert served.connections == 1


@pytest.mark.parametrize("send", ["", "send-proxy", "send-proxy-v2"])
def test_behind_haproxy(front: Front, send: str) -> None:
    served = Served(proxy_protocol=bool(send))
    front.start("haproxy", HAPROXY, "-db", "-f", app=served.port, send=send)
    out = curl(served, front.url + "/", front.url + "/slow", front.url + "/")
    assert out == b"hello 127.0.0.1abchello 127.0.0.1"
    assert served.connections == 1


def test_a_body_behind_haproxy(front: Front) -> None:
    served = Served()
    front.start("haproxy", HAPROXY, "-db", "-f", app=served.port, send="")
    ask_through(front, served)
