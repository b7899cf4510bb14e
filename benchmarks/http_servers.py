"""The contestants of ``python -m benchmarks http``: where they are, how they start."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import nginx
from benchmarks.http_rows import Row
from benchmarks.machine import ROOT

# What comes with pyfastloop.testing: for localhost only.
CERTIFICATE = str(ROOT / "pyfastloop" / "testing_cert.pem")
KEY = str(ROOT / "pyfastloop" / "testing_key.pem")


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
    keys = f"ssl_certificate {CERTIFICATE}; ssl_certificate_key {KEY};"
    server = [
        f"listen 127.0.0.1:{port} backlog=4096{' ssl' * row.tls};",
        *([keys] if row.tls else []),
        'location = / { return 200 "Hello, world"; }',
        f"location /static/ {{ alias {work}/; }}",
    ]
    return nginx.command(work, server, row.processes)


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
