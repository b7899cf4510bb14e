"""``python -m benchmarks web``: what the pages of an application cost.

One program (servers/web_app.py) on pyfastloop and on Tornado; each row is a handler
that uses one part of the web framework. Measured as ``python -m benchmarks http`` does:
every answer is checked first, then the contestants take turns under wrk, and the CPU
time of the server's process is divided by the requests answered.

The rows template, jinja2 and gzip are mostly the page's own Python and zlib, which no
framework makes faster; ``render`` takes the first of these apart: rendering alone, in a
process without a server, by this package's templates, Tornado's and Jinja2's.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from benchmarks import http_bench, micro
from benchmarks.http_rows import Row
from benchmarks.http_servers import SERVERS, Server
from benchmarks.web_rows import rows


def _application(package: str) -> Server:
    def missing() -> str | None:
        needed = (package, "jinja2")
        gone = [n for n in needed if importlib.util.find_spec(n) is None]
        return ", ".join(gone) or None

    def command(port: int, work: Path, row: Row) -> list[str]:
        module = "benchmarks.servers.web_app"
        return [sys.executable, "-m", module, str(port), package, row.name]

    return Server(package, missing, command)


def render(servers: list[Server], rounds: int, work: Path) -> Any:
    """Rendering alone, without a server."""
    names = [n for n in ("pyfastloop", "tornado", "jinja2") if _there(n)]
    options = argparse.Namespace(rounds=rounds, seconds=0.3)
    results = micro.one_row("template_rows", "render", names, options)
    what = "a template of 100 rows, rendered"
    micro.show("render", what, results, "pyfastloop", "CPU ns")
    return results


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def main(arguments: list[str]) -> int:
    own = rows()
    return http_bench.command(
        "web",
        __doc__,
        arguments,
        own,
        [*own, "render"],
        {
            "floor": SERVERS["floor"],
            "pyfastloop": _application("pyfastloop"),
            "tornado": _application("tornado"),
        },
        {"render": ("rendering the template alone, Jinja2's too", render)},
    )
