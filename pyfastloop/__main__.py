"""``python -m pyfastloop``: the welcome page, or a Tornado program on pyfastloop."""

from __future__ import annotations

import argparse
import builtins
import importlib.machinery
import importlib.util
import os
import signal
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

import pyfastloop

__all__ = ["main"]

USAGE = """\
python -m pyfastloop [--host HOST] [--port PORT]
       python -m pyfastloop --as-tornado SCRIPT.py [ARGUMENTS]
       python -m pyfastloop --as-tornado -m MODULE [ARGUMENTS]
       python -m pyfastloop doctor MODULE:APPLICATION"""

START_FAILED = 3


def serve(host: str, port: int) -> int:
    """Serves the welcome page until SIGINT or SIGTERM; returns the exit status."""
    from pyfastloop.httpserver import HTTPServer
    from pyfastloop.ioloop import IOLoop
    from pyfastloop.netutil import bind_sockets
    from pyfastloop.welcome import make_app

    try:
        sockets = bind_sockets(port, host)
    except OSError as error:
        print(
            f"pyfastloop cannot listen on {host} port {port}: {error.strerror}.\n"
            "Choose another with --port (0 takes one that is free) or --host.",
            file=sys.stderr,
        )
        return START_FAILED
    server = HTTPServer(make_app())
    server.add_sockets(sockets)
    loop = IOLoop.current()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.asyncio_loop.add_signal_handler(number, loop.stop)
    bound_host, bound_port = sockets[0].getsockname()[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    print(f"pyfastloop {pyfastloop.version} serves http://{shown}:{bound_port}")
    print("Ctrl+C ends it.", flush=True)
    loop.start()
    server.stop()
    return 0


def run_as_tornado(arguments: list[str]) -> None:
    """Runs a program as ``python`` would, with pyfastloop in the place of tornado.

    The processes that it starts are included, unless the environment variable
    PYFASTLOOP_AS_TORNADO is 0.

    :arg arguments: ``["script.py", ...]`` or ``["-m", "module", ...]``
    """
    from pyfastloop import as_tornado  # the import is what does it

    as_tornado.include_children()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        spec = _module_to_run(arguments[1])
        sys.argv[0] = spec.origin or arguments[1]
        _run_as_main(spec)
        return
    sys.argv = arguments
    path = os.path.abspath(arguments[0])
    in_it = importlib.machinery.PathFinder.find_spec("__main__", [path])
    if in_it is not None:  # a folder, or an archive
        sys.path[0] = path
        _run_as_main(in_it)
        return
    sys.path[0] = os.path.dirname(path)
    # Not by a spec: a script has none, and leaves no bytecode behind.
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    code = loader.source_to_code(loader.get_data(path), path)
    main = _replace_main(__file__=path, __loader__=loader)
    exec(code, vars(main))


def _module_to_run(name: str) -> ModuleSpec:
    """What ``python -m name`` would run."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r} that can be run")
    return spec


def _run_as_main(spec: ModuleSpec) -> None:
    """Runs the module of `spec` as the program."""
    code = cast("Any", spec.loader).get_code(spec.name)
    main = _replace_main(
        __file__=spec.origin,
        __loader__=spec.loader,
        __spec__=spec,
        __package__=spec.parent,
    )
    exec(code, vars(main))


def _replace_main(**attributes: Any) -> ModuleType:
    """A new and empty ``__main__``, for good.

    It stays when the program has come to its end, as ``python`` leaves it: threads,
    exit handlers and pickle still ask for it. (runpy takes it back.)
    """
    main = ModuleType("__main__")
    vars(main).update(attributes, __builtins__=builtins)
    sys.modules["__main__"] = main
    return main


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="python -m pyfastloop",
        usage=USAGE,
        description="Serves a page that shows live what the loop is doing.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="%(default)s")
    parser.add_argument("--port", default=8888, type=int, help="%(default)s; 0: any")
    parser.add_argument(
        "--as-tornado",
        action="store_true",
        help="as the first argument: run a program with pyfastloop as its tornado",
    )
    parser.add_argument("--version", action="version", version=pyfastloop.version)
    if arguments[:1] == ["--as-tornado"]:
        program = arguments[1:]
        if not program or program == ["-m"]:
            parser.error("--as-tornado needs a script, or -m and a module")
        run_as_tornado(program)
        return 0
    if arguments[:1] == ["doctor"]:
        from pyfastloop import doctor

        return doctor.main(arguments[1:])
    options = parser.parse_args(arguments)
    if options.as_tornado:
        parser.error("--as-tornado must be the first argument")
    return serve(options.host, options.port)


if __name__ == "__main__":
    sys.exit(main())
