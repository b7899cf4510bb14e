"""Rendering a page without a server: the row ``render`` of ``benchmarks web``."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from benchmarks.micro import Row
from benchmarks.web_rows import ITEMS, JINJA_TEMPLATE, PAGE, TITLE, TORNADO_TEMPLATE


def renderer(contestant: str) -> Callable[[], bytes]:
    """A function that renders the page."""
    if contestant == "jinja2":
        jinja2 = importlib.import_module("jinja2")
        environment = jinja2.Environment(autoescape=True, keep_trailing_newline=True)
        made = environment.from_string(JINJA_TEMPLATE)
        return lambda: made.render(title=TITLE, items=ITEMS).encode()
    template = importlib.import_module(f"{contestant}.template")
    page = template.DictLoader({"page": TORNADO_TEMPLATE}).load("page")
    return lambda: page.generate(title=TITLE, items=ITEMS)


def render(contestant: str, n: int) -> None:
    page = renderer(contestant)
    # The two languages escape a quote differently; there is none here.
    if page() != PAGE:
        raise RuntimeError(f"{contestant} rendered {page()[:300]!r}")
    for _ in range(n):
        page()


ROWS: dict[str, tuple[str, Row, list[str]]] = {
    "render": (
        "a template of 100 rows, rendered",
        render,
        ["pyfastloop", "tornado", "jinja2"],
    ),
}
