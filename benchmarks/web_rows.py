"""The rows of ``python -m benchmarks web``: what a page of an application does.

benchmarks/servers/web_app.py serves them on pyfastloop and on Tornado.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from html import escape
from typing import Any

from benchmarks.http_rows import Row

SECRET = "a secret of the benchmark, and of nobody else"
USER = "alice"

#: What the template's rows show: text with and without characters to escape, numbers.
ITEMS: list[dict[str, Any]] = [
    {"id": n, "name": f"item <{n}> & more", "price": n * 1.25, "stock": n % 7}
    for n in range(100)
]

TORNADO_TEMPLATE = """<!DOCTYPE html>
<title>{{ title }}</title>
<table>
{% for item in items %}
<tr class="{% if item["stock"] %}in{% else %}out{% end %}">
<td>{{ item["id"] }}</td>
<td><a href="/item/{{ item["id"] }}">{{ item["name"] }}</a></td>
<td>{{ "%.2f" % item["price"] }}</td>
</tr>
{% end %}
</table>
"""
JINJA_TEMPLATE = TORNADO_TEMPLATE.replace(
    "{% end %}\n</table>", "{% endfor %}\n</table>"
).replace("{% end %}", "{% endif %}")


def page(title: str) -> bytes:
    """What the templates give, written without either."""
    lines = ["<!DOCTYPE html>", f"<title>{escape(title)}</title>", "<table>", ""]
    for item in ITEMS:
        kind = "in" if item["stock"] else "out"
        link = f'<a href="/item/{item["id"]}">{escape(item["name"])}</a>'
        lines += [f'<tr class="{kind}">', f"<td>{item['id']}</td>", f"<td>{link}</td>"]
        lines += [f"<td>{item['price']:.2f}</td>", "</tr>", ""]
    return "\n".join([*lines, "</table>"]).encode() + b"\n"


TITLE = "Items & prices"
PAGE = page(TITLE)
LINES = "\n".join(f"line {n}: the same words again, and {n * n}" for n in range(200))
DICT = {
    "user": {"id": 42, "name": "alice", "tags": ["a", "b", "c"], "admin": False},
    "items": [{"id": n, "price": n * 1.25} for n in range(10)],
    "next": None,
}


@dataclass(frozen=True)
class WebRow(Row):
    """A row whose answer may be compressed."""

    gzipped: bool = False

    def right(self, body: bytes) -> bool:
        if not self.gzipped:
            return super().right(body)
        try:
            return gzip.decompress(body) == self.expect
        except (OSError, EOFError):
            return False


def _rows(cookie: str) -> dict[str, Row]:
    signed = {"Cookie": f"theme=dark; user={cookie}; seen=1"}
    rows = [
        WebRow(
            "routes",
            "the 18th of 20 routes, with two groups",
            "/users/42/orders/list",
            b"42 list",
        ),
        WebRow(
            "argument",
            "get_argument twice, of a query of four",
            "/search?q=event+loops&page=3&sort=date&lang=en",
            b"event loops 3",
        ),
        WebRow("cookie", "get_signed_cookie", "/cookie", b"alice", headers=signed),
        WebRow(
            "login",
            "@authenticated, get_current_user reads a signed cookie",
            "/account",
            b"Hello, alice",
            headers=signed,
        ),
        WebRow(
            "dict",
            "write(dict): ten small dicts and lists in one",
            "/dict",
            json.dumps(DICT).encode(),
            json=True,
        ),
        WebRow(
            "template",
            "render of a template with 100 rows",
            "/template",
            PAGE,
        ),
        WebRow(
            "jinja2",
            "the same page by Jinja2 in a handler",
            "/jinja2",
            PAGE,
        ),
        WebRow(
            "gzip",
            "compress_response, 9 KB of text",
            "/text",
            LINES.encode(),
            headers={"Accept-Encoding": "gzip"},
            gzipped=True,
        ),
    ]
    return {row.name: row for row in rows}


def signed_user() -> str:
    """The cookie as Tornado makes it, else as we do: the same."""
    try:
        from tornado.web import create_signed_value
    except ImportError:
        from pyfastloop.web import create_signed_value
    return str(create_signed_value(SECRET, "user", USER).decode())


def rows() -> dict[str, Row]:
    return _rows(signed_user())
