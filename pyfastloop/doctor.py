"""``python -m pyfastloop doctor app:app``: what runs in C for an application, and why.

A request whose server, application, routes and handler are as the classes were born
runs in C from the socket to the answer. A hook that a handler overrides, or that a tool
has replaced, is called from there at its place; a few leave the whole request to
Python. This tells which, for each route, and where the replacement stands. It asks the
C core what a request asks (``_core.explain_server``), so it cannot differ.

What a server is given when it is made counts too, and is not seen here: with
``decompress_request`` the requests whose bodies are coded are Python's.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from typing import Any

from pyfastloop import _core
from pyfastloop.httpserver import HTTPServer
from pyfastloop.routing import (
    AnyMatches,
    DefaultHostMatches,
    HostMatches,
    PathMatches,
    RuleRouter,
)
from pyfastloop.web import Application, RequestHandler

__all__ = ["find_application", "lines", "main"]

_METHODS = ("get", "head", "post", "put", "delete", "patch", "options")


def find_application(where: str) -> Application:
    """The Application that ``module:name`` means; a callable is asked for it.

    Raises ValueError, with what was found, where there is none.
    """
    module_name, colon, name = where.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"expected module:name, for example app:app, not {where!r}")
    found: Any = importlib.import_module(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module_name} has no {name!r}")
        found = getattr(found, part)
    if not isinstance(found, Application) and callable(found):
        found = found()
    if not isinstance(found, Application):
        raise ValueError(f"{where} is {found!r}, not an Application or what makes one")
    return found


def _name(thing: Any) -> str:
    name = getattr(thing, "__qualname__", None)
    return f"{thing.__module__}.{name}" if name else repr(thing)


def _place(value: Any) -> str:
    """Where a replacement was written: file and line, or what kind of thing it is."""
    function = inspect.unwrap(value) if callable(value) else value
    code = getattr(function, "__code__", None)
    if code is None:
        return type(value).__name__
    return f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}"


def _reason(handler: type, name: str) -> str:
    """Who replaced a hook: a class of the program, or a tool on a class of ours."""
    value = inspect.getattr_static(handler, name)
    owner = next(c for c in handler.__mro__ if name in vars(c))
    if owner.__module__.startswith("pyfastloop."):
        verb = "replaced on" if owner is RequestHandler else "defined by"
    else:
        verb = "overridden in"
    return f"{name}: {verb} {_name(owner)} ({_place(value)})"


def _pattern(matcher: Any) -> str:
    """What one of the four matchers of ours goes by."""
    if isinstance(matcher, PathMatches):
        return matcher.regex.pattern
    if isinstance(matcher, HostMatches):
        return f"host {matcher.host_pattern.pattern}"
    if isinstance(matcher, DefaultHostMatches):
        return f"default host {matcher.host_pattern.pattern}"
    return "any host"


def _handler_lines(handler: type) -> Iterator[str]:
    replaced, stopping, runs = _core.explain_handler(handler)
    if stopping:
        yield "  the whole request runs in Python:"
        yield from (f"    {_reason(handler, name)}" for name in stopping)
        return
    if not runs:
        yield f"  the whole request runs in Python: {type(handler).__name__} makes it"
        return
    for name in _METHODS:
        value = inspect.getattr_static(handler, name)
        if value is vars(RequestHandler)[name]:
            continue
        if not (inspect.isfunction(value) or type(value) is _core.CoroutineFunction):
            kind = type(value).__name__
            yield f"  {name}: in Python, for it is a {kind}, not a function"
    if replaced:
        yield "  in C, which calls in Python:"
        yield from (f"    {_reason(handler, name)}" for name in replaced)
    else:
        yield "  in C"


def lines(application: Application) -> Iterator[str]:
    """What to print about an application, line by line."""
    table, settings_plain, replaced = _core.explain_server(HTTPServer(application))
    everything: list[str] = []
    for owner, name in replaced:
        value = inspect.getattr_static(owner, name)
        everything.append(f"{_name(owner)}.{name} was replaced ({_place(value)})")
    if not settings_plain:
        everything.append("compiled_template_cache or static_hash_cache is off (debug)")
    if table is None and not replaced:
        everything.append(_why_no_table(application))
    if everything:
        yield "All requests run in Python:"
        yield from (f"  {line}" for line in everything)
        return
    for_hosts = len(application.default_router.rules) > 1
    for rule, taken, plain in table or ():
        pattern = _pattern(rule.matcher) if taken else repr(rule.matcher)
        how = "" if plain or not taken else " (matched by re)"
        if taken and isinstance(rule.target, RuleRouter):
            if for_hosts or not isinstance(rule.matcher, AnyMatches):
                yield f"{pattern}{how}, then:"
            continue
        yield f"{pattern}  {_name(rule.target)}{how}"
        if taken:
            yield from _handler_lines(rule.target)
        else:
            yield "  in Python: this rule, or one before it, is not a path to a handler"


def _why_no_table(application: Application) -> str:
    """The reason that C gives no table; it asks the same of the objects."""
    if type(application) is not Application:
        return f"{_name(type(application))} is a subclass of Application"
    return "an attribute of the application or its router was replaced"


def main(arguments: list[str]) -> int:
    """The command: prints what :func:`lines` tells; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m pyfastloop doctor module:application", file=sys.stderr)
        return 2
    try:
        application = find_application(arguments[0])
    except (ImportError, ValueError) as error:
        print(f"pyfastloop doctor: {error}", file=sys.stderr)
        return 3
    for line in lines(application):
        print(line)
    return 0
