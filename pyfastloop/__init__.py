"""Tornado's API on a C event loop.

Every public module of Tornado has a module of the same name here; each is loaded when
it is first asked for, by ``import pyfastloop.web`` or as the attribute
`pyfastloop.web`. The names of the asyncio face are here: `run`, `new_event_loop`,
`Loop`, `install` and `EventLoopPolicy`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform != "linux":
    raise ImportError(
        f"pyfastloop runs on Linux only: its loop is built on epoll, which "
        f"{sys.platform} does not have."
    )

if TYPE_CHECKING:
    from pyfastloop import (
        auth,
        autoreload,
        concurrent,
        escape,
        gen,
        http1connection,
        httpclient,
        httpserver,
        httputil,
        ioloop,
        iostream,
        locale,
        locks,
        log,
        netutil,
        options,
        platform,
        process,
        queues,
        routing,
        simple_httpclient,
        tcpclient,
        tcpserver,
        template,
        testing,
        util,
        web,
        websocket,
        wsgi,
    )
    from pyfastloop.aio import EventLoopPolicy, Loop, install, new_event_loop, run

#: The version of this package, as text.
version = "0.1.0"
#: The same as numbers, in a form that compares: the fourth is 0 for a release, negative
#: for what comes before it (-100 alpha, -50 beta, -1 candidate).
version_info = (0, 1, 0, 0)

# Loaded on demand. Not among them: pyfastloop.as_tornado, whose import does something.
_SUBMODULES = (
    "asgi",
    "auth",
    "autoreload",
    "concurrent",
    "curl_httpclient",
    "escape",
    "gen",
    "http1connection",
    "httpclient",
    "httpserver",
    "httputil",
    "ioloop",
    "iostream",
    "locale",
    "locks",
    "log",
    "netutil",
    "options",
    "platform",
    "process",
    "queues",
    "routing",
    "simple_httpclient",
    "stack_context",
    "tcpclient",
    "tcpserver",
    "template",
    "testing",
    "util",
    "web",
    "websocket",
    "wsgi",
)
_AIO_NAMES = ("EventLoopPolicy", "Loop", "install", "new_event_loop", "run")

__all__ = [  # most are made by __getattr__
    "EventLoopPolicy",
    "Loop",
    "auth",
    "autoreload",
    "concurrent",
    "curl_httpclient",
    "escape",
    "gen",
    "http1connection",
    "httpclient",
    "httpserver",
    "httputil",
    "install",
    "ioloop",
    "iostream",
    "locale",
    "locks",
    "log",
    "netutil",
    "new_event_loop",
    "options",
    "platform",
    "process",
    "queues",
    "routing",
    "run",
    "simple_httpclient",
    "tcpclient",
    "tcpserver",
    "template",
    "testing",
    "util",
    "version",
    "version_info",
    "web",
    "websocket",
    "wsgi",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _AIO_NAMES:
        value = getattr(importlib.import_module(f"{__name__}.aio"), name)
        globals()[name] = value  # found without us from now on
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_AIO_NAMES})
