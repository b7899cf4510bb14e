"""The contestants of ``python -m benchmarks http``: where they are, how they start."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http_rows import Row
from benchmarks.machine import ROOT

# What comes with pyfastloop.testing: for localhost only.
CERTIFICATE = str(ROOT / "pyfastloop" / "testing_cert.pem")
KEY = str(ROOT / "pyfastloop" / "testing_key.pem")

NGINX = """
daemon off;
worker_processes {processes};
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10;
    types {{ }}
    default_type "text/html; charset=UTF-8";
    server {{
        listen 127.0.0.1:{port} backlog=4096 {tls};
        location = / {{ return 200 "Hello, world"; }}
        location /static/ {{ alias {dir}/; }}
    }}
}}
"""


@dataclass(frozen=True)
class Server:
    name: str
    missing: Callable[[], str | None]  # what has to be installed, None if nothing
    command: Callable[[int, Path, Row], list[str]]


def modules(*names: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        gone = [n for n in names if importlib.util.find_spec(n) is None]
        return ", ".join(gone) or None

    return missing


def program(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else name


def _module(name: str, *more: str) -> Callable[[int, Path, Row], list[str]]:
    def command(port: int, work: Path, row: Row) -> list[str]:
        module = f"benchmarks.servers.{name}"
        given = [*more, str(row.processes)] if more and name == "tornado_api" else more
        if row.tls:
            given = [*given, CERTIFICATE, KEY]
        return [sys.executable, "-m", module, str(port), str(work), *given]

    return command


def compiled(work: Path, source: str, name: str = "", *libraries: str) -> Path:
    """A C program of benchmarks/, compiled once into the work folder."""
    path = work / (name or Path(source).stem)
    if not path.exists():
        flags = ["-O2", "-std=c11", "-Wall", "-Wextra", "-Wshadow"]
        file = ROOT / "benchmarks" / source
        subprocess.run(["gcc", *flags, "-o", path, file, *libraries], check=True)
    return path


def _floor(port: int, work: Path, row: Row) -> list[str]:
    binary = compiled(work, "floor/floor.c")
    close = row.headers.get("Connection") == "close"
    answer = work / f"{row.name}.answer"
    return [str(binary), str(port), str(answer), *["close"] * close]


def _nginx(port: int, work: Path, row: Row) -> list[str]:
    config = work / "nginx.conf"
    tls = f"ssl; ssl_certificate {CERTIFICATE}; ssl_certificate_key {KEY}"
    settings = {"tls": tls if row.tls else "", "processes": row.processes}
    config.write_text(NGINX.format(dir=work, port=port, **settings))
    return ["nginx", "-p", str(work), "-c", str(config), "-e", str(work / "nginx.log")]


def _uvicorn(port: int, work: Path, row: Row) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "benchmarks.servers.asgi_app:app"),
        *("--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"),
        *("--http", "httptools", "--no-access-log", "--log-level", "error"),
        *("--lifespan", "off", "--ws", "none"),
        *("--workers", str(row.processes)) * (row.processes > 1),
        *("--ssl-certfile", CERTIFICATE, "--ssl-keyfile", KEY) * row.tls,
    ]


def _granian(interface: str) -> Callable[[int, Path, Row], list[str]]:
    def command(port: int, work: Path, row: Row) -> list[str]:
        return [
            *(sys.executable, "-m", "granian", "--interface", interface),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--workers", str(row.processes)),
            *("--ssl-certificate", CERTIFICATE, "--ssl-keyfile", KEY) * row.tls,
            *("--runtime-threads", "1", "--no-ws", "--http", "1"),
            *("--log-level", "error", f"benchmarks.servers.{interface}_app:app"),
        ]

    return command


# Who takes part in rows over TLS and in those of several processes.
ABLE = {"nginx", "pyfastloop", "tornado", "uvicorn"}
ABLE |= {"granian-asgi", "granian-rsgi", "granian-wsgi"}

SERVERS = {
    server.name: server
    for server in [
        Server("floor", program("gcc"), _floor),
        Server("nginx", program("nginx"), _nginx),
        Server(
            "pyfastloop",
            modules("pyfastloop"),
            _module("tornado_api", "pyfastloop"),
        ),
        Server("tornado", modules("tornado"), _module("tornado_api", "tornado")),
        Server("aiohttp", modules("aiohttp", "uvloop"), _module("aiohttp_app")),
        Server("uvicorn", modules("uvicorn", "uvloop", "httptools"), _uvicorn),
        Server("granian-asgi", modules("granian"), _granian("asgi")),
        Server("granian-rsgi", modules("granian"), _granian("rsgi")),
        Server("granian-wsgi", modules("granian"), _granian("wsgi")),
        Server("socketify", modules("socketify"), _module("socketify_app")),
        Server("bjoern", modules("bjoern"), _module("wsgi_app", "bjoern")),
        Server("fastwsgi", modules("fastwsgi"), _module("wsgi_app", "fastwsgi")),
    ]
}
