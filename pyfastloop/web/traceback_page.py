"""The traceback of a failed request as a page, for developers with a browser.

Served only under ``serve_traceback`` (part of ``debug``) and only to clients whose
``Accept`` header prefers HTML; everybody else gets Tornado's plain text.
"""

from __future__ import annotations

import linecache
import traceback
from types import TracebackType

from pyfastloop.escape import xhtml_escape

__all__ = ["prefers_html", "render"]

_CONTEXT_LINES = 4
_LOCAL_LIMIT = 400
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;
padding:0 1rem;color:#1c2430;background:#fbfaf7}
h1{font-size:1.3rem;margin:0}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}
p.what{font-size:1.1rem;color:#a12622;white-space:pre-wrap;margin:.4rem 0}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#fff;border:1px solid #e3dfd4;border-radius:6px;margin:.2rem 0;
padding:.5rem 0;overflow-x:auto}pre span{display:block;padding:0 .8rem}
pre span.here{background:#fdecea}pre i{color:#9aa2ad;font-style:normal}
td{vertical-align:top;padding:.1rem .8rem;font:13px ui-monospace,monospace}
@media(prefers-color-scheme:dark){body{background:#16191e;color:#dfe3e8}
pre{background:#1d2127;border-color:#333a44}pre span.here{background:#4a2422}
p.what{color:#ff8f87}}
"""


def prefers_html(accept: str) -> bool:
    """Whether an ``Accept`` header names HTML, and no less than plain text."""
    weights = {"text/html": 0.0, "text/plain": 0.0}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        if media in weights:
            weights[media] = _quality(parameters)
    return weights["text/html"] > 0 and weights["text/html"] >= weights["text/plain"]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def render(error: BaseException, *, title: str, request: str, show_locals: bool) -> str:
    """The page of ``error`` and what it was caused by, outermost last."""
    sections = [
        f"<h1>{xhtml_escape(title)}</h1><p><code>{xhtml_escape(request)}</code></p>"
    ]
    for relation, link in _chain(error):
        sections.append(_exception(link, relation, show_locals))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{xhtml_escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>"
    )


def _chain(error: BaseException) -> list[tuple[str, BaseException]]:
    """``error`` first, then each cause, as the interpreter would print them."""
    links: list[tuple[str, BaseException]] = []
    seen: set[int] = set()
    relation = ""
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        links.append((relation, link))
        if link.__cause__ is not None:
            relation, link = "caused by", link.__cause__
        elif link.__context__ is not None and not link.__suppress_context__:
            relation, link = "raised while handling", link.__context__
        else:
            link = None
    return links


def _exception(error: BaseException, relation: str, show_locals: bool) -> str:
    what = "".join(traceback.format_exception_only(error)).strip()
    head = f"<h2>{relation}</h2>" if relation else ""
    frames = [_frame(tb, show_locals) for tb in reversed(_frames(error.__traceback__))]
    return f'{head}<p class="what">{xhtml_escape(what)}</p>{"".join(frames)}'


def _frames(tb: TracebackType | None) -> list[TracebackType]:
    frames = []
    while tb is not None:
        frames.append(tb)
        tb = tb.tb_next
    return frames


def _frame(tb: TracebackType, show_locals: bool) -> str:
    code = tb.tb_frame.f_code
    parts = [
        f"<h2>{xhtml_escape(code.co_qualname)}</h2>"
        f"<code>{xhtml_escape(code.co_filename)}:{tb.tb_lineno}</code>"
    ]
    first = max(1, tb.tb_lineno - _CONTEXT_LINES)
    lines: list[str] = []
    for number in range(first, tb.tb_lineno + _CONTEXT_LINES + 1):
        source = linecache.getline(
            code.co_filename, number, tb.tb_frame.f_globals
        ).rstrip()
        if source or lines:
            mark = ' class="here"' if number == tb.tb_lineno else ""
            lines.append(
                f"<span{mark}><i>{number:5} </i> {xhtml_escape(source)}</span>"
            )
    if lines:
        parts.append(f"<pre>{''.join(lines)}</pre>")
    if show_locals:
        rows = [
            f"<tr><td>{xhtml_escape(name)}</td>"
            f"<td>{xhtml_escape(_shown(value))}</td></tr>"
            for name, value in tb.tb_frame.f_locals.items()
        ]
        parts.append(f"<table>{''.join(rows)}</table>")
    return "".join(parts)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        # A repr that fails must not hide the failure the page is about.
        text = f"<repr failed: {type(error).__name__}>"
    return text if len(text) <= _LOCAL_LIMIT else text[:_LOCAL_LIMIT] + "…"
