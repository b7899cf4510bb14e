"""``python -m pyfastloop``: the welcome page, or a Tornado program on pyfastloop."""

from __future__ import annotations

import argparse
import os
import runpy
import signal
import sys

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
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


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
