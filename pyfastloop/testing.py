"""Tests of asynchronous code with :mod:`unittest`, and tools for any test runner.

:class:`AsyncTestCase` gives each test a loop of its own, :func:`gen_test` runs a
coroutine in it; :class:`AsyncHTTPTestCase` adds a server and a client. For pytest see
:mod:`pyfastloop.pytest_plugin`.

Differs from Tornado: :class:`AsyncHTTPSTestCase` needs no certificate of one's own, one
for ``localhost`` comes with the package (its key is public: for tests only).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import re
import signal
import socket
import ssl
import sys
import traceback
import unittest
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar, overload

from pyfastloop import gen, netutil
from pyfastloop.httpclient import AsyncHTTPClient, HTTPResponse
from pyfastloop.httpserver import HTTPServer
from pyfastloop.ioloop import IOLoop
from pyfastloop.log import app_log
from pyfastloop.util import raise_exc_info

__all__ = [
    "AsyncHTTPSTestCase",
    "AsyncHTTPTestCase",
    "AsyncTestCase",
    "ExpectLog",
    "bind_unused_port",
    "gen_test",
    "get_async_test_timeout",
    "main",
    "setup_with_context_manager",
]

_T = TypeVar("_T")
_ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
_HERE = os.path.dirname(os.path.abspath(__file__))
_DEFAULT_TIMEOUT = 5


def bind_unused_port(
    reuse_port: bool = False, address: str = "127.0.0.1"
) -> tuple[socket.socket, int]:
    """A listening socket on a free port of this machine, and the port."""
    sock = netutil.bind_sockets(
        0, address, family=socket.AF_INET, reuse_port=reuse_port
    )[0]
    return sock, sock.getsockname()[1]


def get_async_test_timeout() -> float:
    """Seconds a test may take: ``ASYNC_TEST_TIMEOUT`` of the environment, else 5."""
    try:
        return float(os.environ.get("ASYNC_TEST_TIMEOUT", ""))
    except ValueError:
        return _DEFAULT_TIMEOUT


class AsyncTestCase(unittest.TestCase):
    """A test case with a loop of its own for each test, ``io_loop``.

    Tests are coroutines under :func:`gen_test`, or start something and then
    :meth:`wait` until a callback calls :meth:`stop`.
    """

    io_loop: IOLoop

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self.__stopped = False
        self.__running = False
        self.__failure: _ExcInfo | None = None
        self.__stop_args: Any = None
        self.__timeout: object | None = None

    def setUp(self) -> None:
        """Makes the loop; overrides call it first."""
        super().setUp()
        self.io_loop = self.get_new_ioloop()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.io_loop.make_current()

    def tearDown(self) -> None:
        """Cancels what the test left running and closes the loop; overrides call it
        last."""
        loop = self.io_loop.asyncio_loop
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        # A finished task is only removed from all_tasks: its error is its owner's.
        waiting = [task for task in tasks if not task.done()]
        if waiting:
            self.io_loop.run_sync(lambda: _settle(waiting))
        loop.run_until_complete(loop.shutdown_asyncgens())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.io_loop.clear_current()
        if not self._loop_is_shared():
            # All descriptors too, or the next test may get numbers that are watched.
            self.io_loop.close(all_fds=True)
        super().tearDown()
        self.__rethrow()

    def _loop_is_shared(self) -> bool:
        """Whether the loop outlives the test: an override may have given a global
        one."""
        return type(self).get_new_ioloop is not AsyncTestCase.get_new_ioloop and (
            self.io_loop is _global_loop()
        )

    def get_new_ioloop(self) -> IOLoop:
        """The loop of a test; override to reuse one."""
        loop: IOLoop = IOLoop(make_current=False)
        return loop

    def run(
        self, result: unittest.TestResult | None = None
    ) -> unittest.TestResult | None:
        """Runs the test, as :meth:`unittest.TestCase.run`."""
        ran = super().run(result)
        # An exception that came after tearDown.
        self.__rethrow()
        return ran

    def _callTestMethod(self, method: Callable[[], Any]) -> None:
        result = method()
        if inspect.isgenerator(result) or inspect.iscoroutine(result):
            result.close()
            raise TypeError(
                "Generator and coroutine test methods should be decorated with "
                "tornado.testing.gen_test"
            )
        if result is not None:
            raise ValueError(f"Return value from test method ignored: {result!r}")

    def _handle_exception(
        self, typ: type[BaseException], value: BaseException, tb: TracebackType
    ) -> bool:
        """Fails the test with an exception of a callback; for an
        ``ExceptionStackContext`` around what the test starts."""
        if self.__failure is None:
            self.__failure = (typ, value, tb)
        else:
            app_log.error(
                "multiple unhandled exceptions in test", exc_info=(typ, value, tb)
            )
        self.stop()
        return True

    def __rethrow(self) -> None:
        if self.__failure is not None:
            failure, self.__failure = self.__failure, None
            raise_exc_info(failure)

    def stop(self, _arg: Any = None, **kwargs: Any) -> None:
        """Ends the pending or next :meth:`wait`, which returns the argument (or the
        keyword arguments as a dict)."""
        if _arg is not None and kwargs:
            raise TypeError("stop() takes one argument or keyword arguments, not both")
        self.__stop_args = kwargs or _arg
        if self.__running:
            self.io_loop.stop()
            self.__running = False
        self.__stopped = True

    def wait(
        self,
        condition: Callable[..., bool] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Runs the loop until :meth:`stop`, and on until ``condition()`` is true.

        Fails the test after ``timeout`` seconds (:func:`get_async_test_timeout`).
        """
        if timeout is None:
            timeout = get_async_test_timeout()
        if not self.__stopped:
            if timeout:
                self.__arm(timeout)
            while True:
                self.__running = True
                self.io_loop.start()
                if self.__failure is not None or condition is None or condition():
                    break
            if self.__timeout is not None:
                self.io_loop.remove_timeout(self.__timeout)
                self.__timeout = None
        self.__stopped = False
        self.__rethrow()
        result, self.__stop_args = self.__stop_args, None
        return result

    def __arm(self, timeout: float) -> None:
        def late() -> None:
            error = self.failureException(
                f"Async operation timed out after {timeout} seconds"
            )
            self.__failure = (type(error), error, None)
            self.__timeout = None
            self.stop()

        self.__timeout = self.io_loop.call_later(timeout, late)


async def _settle(tasks: list[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


def _global_loop() -> IOLoop | None:
    return IOLoop.current(instance=False)


class AsyncHTTPTestCase(AsyncTestCase):
    """A test case with a server and a client; subclasses define :meth:`get_app`."""

    http_client: AsyncHTTPClient
    http_server: HTTPServer

    def setUp(self) -> None:
        """Starts the server."""
        super().setUp()
        sock, port = bind_unused_port()
        self.__port = port
        self.http_client = self.get_http_client()
        self._app = self.get_app()
        self.http_server = self.get_http_server()
        self.http_server.add_sockets([sock])

    def tearDown(self) -> None:
        """Stops the server and closes the client."""
        self.http_server.stop()
        self.io_loop.run_sync(
            self.http_server.close_all_connections, timeout=get_async_test_timeout()
        )
        self.http_client.close()
        del self.http_server
        del self._app
        super().tearDown()

    def get_http_client(self) -> AsyncHTTPClient:
        """The client; override for another."""
        return AsyncHTTPClient()

    def get_http_server(self) -> HTTPServer:
        """The server; override for another."""
        return HTTPServer(self._app, **self.get_httpserver_options())

    def get_app(self) -> Any:
        """The application (or other callback of an ``HTTPServer``) to test."""
        raise NotImplementedError(
            f"{type(self).__name__} must define get_app, which gives the Application"
        )

    def fetch(
        self, path: str, raise_error: bool = False, **kwargs: Any
    ) -> HTTPResponse:
        """Fetches ``path`` from the server, or a URL, and returns the response, errors
        of HTTP too unless ``raise_error``. For tests that are no coroutines."""
        is_url = path.lower().startswith(("http://", "https://"))
        url = path if is_url else self.get_url(path)
        response: HTTPResponse = self.io_loop.run_sync(
            lambda: self.http_client.fetch(url, raise_error=raise_error, **kwargs),
            timeout=get_async_test_timeout(),
        )
        return response

    def get_httpserver_options(self) -> dict[str, Any]:
        """Keyword arguments for the server."""
        return {}

    def get_http_port(self) -> int:
        """The server's port."""
        return self.__port

    def get_protocol(self) -> str:
        """The scheme of the server's URLs."""
        return "http"

    def get_url(self, path: str) -> str:
        """The URL of a path on the server."""
        return f"{self.get_protocol()}://127.0.0.1:{self.get_http_port()}{path}"


class AsyncHTTPSTestCase(AsyncHTTPTestCase):
    """:class:`AsyncHTTPTestCase` over TLS; works as it stands."""

    def get_http_client(self) -> AsyncHTTPClient:
        """A client of its own that takes the test certificate."""
        return AsyncHTTPClient(force_instance=True, defaults={"validate_cert": False})

    def get_httpserver_options(self) -> dict[str, Any]:
        """The server's ``ssl_options``."""
        return {"ssl_options": self.get_ssl_options()}

    def get_ssl_options(self) -> dict[str, Any] | ssl.SSLContext:
        """Override for another certificate."""
        return type(self).default_ssl_options()

    @staticmethod
    def default_ssl_options() -> dict[str, Any]:
        """The certificate and key that come with the package."""
        return {
            "certfile": os.path.join(_HERE, "testing_cert.pem"),
            "keyfile": os.path.join(_HERE, "testing_key.pem"),
        }

    def get_protocol(self) -> str:
        """https"""
        return "https"


_Test = Callable[..., Generator[Any, Any, Any] | Coroutine[Any, Any, Any] | None]


@overload
def gen_test(
    *, timeout: float | None = None
) -> Callable[[_Test], Callable[..., None]]: ...
@overload
def gen_test(func: _Test) -> Callable[..., None]: ...
def gen_test(func: _Test | None = None, timeout: float | None = None) -> Any:
    """Runs a test method of :class:`AsyncTestCase` as a coroutine in its loop.

    The method is a generator (as under ``gen.coroutine``), an ``async def`` or plain.
    It fails after ``timeout`` seconds (:func:`get_async_test_timeout`); the error
    tells where it waited. Used bare or as ``@gen_test(timeout=10)``.
    """
    if func is None:
        return functools.partial(gen_test, timeout=timeout)
    test = func

    @functools.wraps(test)
    def wrapper(self: AsyncTestCase, *args: Any, **kwargs: Any) -> Any:
        seconds = get_async_test_timeout() if timeout is None else timeout
        waiting: list[Any] = []

        @gen.coroutine
        def run() -> Generator[Any, Any, Any]:
            result = test(self, *args, **kwargs)
            waiting.append(result)
            if inspect.isgenerator(result):
                result = yield from result
            elif result is not None:
                result = yield result
            return result

        try:
            return self.io_loop.run_sync(run, timeout=seconds)
        except TimeoutError as error:
            for coroutine in waiting:
                error.add_note(_where(coroutine))
            raise

    return wrapper


def _where(coroutine: Any) -> str:
    """The lines at which a coroutine, and what it awaits, stand."""
    lines = ["The test was waiting here (most recent call last):\n"]
    while coroutine is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                lines += traceback.format_list(traceback.extract_stack(frame, limit=1))
                break
        else:
            break
        coroutine = getattr(
            coroutine, "cr_await", getattr(coroutine, "gi_yieldfrom", None)
        )
    return "".join(lines)


class ExpectLog(logging.Filter):
    """Takes expected lines out of the log, and fails where none came.

    ``with ExpectLog("tornado.application", "Uncaught exception"): ...``: lines of that
    logger (by name or object; "" is the root) whose message begins with a match of
    ``regex`` are counted in ``matched`` and not shown. With ``required`` (the default)
    leaving the block without a match raises. ``level`` is the one the line must have,
    and the logger is enabled for it meanwhile. ``logged_stack``: a matched line had a
    traceback. Not for use in several threads.
    """

    def __init__(
        self,
        logger: logging.Logger | str,
        regex: str,
        required: bool = True,
        level: int | None = None,
    ) -> None:
        super().__init__()
        self.logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self.regex = re.compile(regex)
        self.required = required
        self.matched = 0
        self.deprecated_level_matched = 0
        self.logged_stack = False
        self.level = level
        self.orig_level: int | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """False, which hides it, for an expected record."""
        if record.exc_info:
            self.logged_stack = True
        message = record.getMessage()
        if not self.regex.match(message):
            return True
        if self.level is not None and record.levelno != self.level:
            app_log.warning(
                "Got expected log message %r at unexpected level (%s vs %s)",
                message,
                logging.getLevelName(self.level),
                logging.getLevelName(record.levelno),
            )
            return True
        if self.level is None and record.levelno < logging.WARNING:
            # Kept apart: below WARNING the level should be named.
            self.deprecated_level_matched += 1
        self.matched += 1
        return False

    def __enter__(self) -> ExpectLog:
        if self.level is not None and self.level < self.logger.getEffectiveLevel():
            self.orig_level = self.logger.level
            self.logger.setLevel(self.level)
        self.logger.addFilter(self)
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.orig_level is not None:
            self.logger.setLevel(self.orig_level)
        self.logger.removeFilter(self)
        if typ is None and self.required and not self.matched:
            raise Exception("did not get expected log message")
        if typ is None and self.required and self.deprecated_level_matched:
            warnings.warn(
                "ExpectLog matched at INFO or below without level argument",
                DeprecationWarning,
                stacklevel=2,
            )


def setup_with_context_manager(
    testcase: unittest.TestCase, cm: AbstractContextManager[_T]
) -> _T:
    """Enters ``cm`` for the rest of the test; to be called in ``setUp``."""
    value = cm.__enter__()
    testcase.addCleanup(cm.__exit__, None, None, None)
    return value


def main(**kwargs: Any) -> None:
    """:func:`unittest.main` with the options of :mod:`pyfastloop.options`: log levels
    and what the program defined. ``kwargs`` are handed on.

    ``python -m pyfastloop.testing package.test_module`` runs the tests of a module.
    """
    from pyfastloop.options import define, options, parse_command_line

    for name, default, text in (
        ("exception_on_interrupt", True, "on Ctrl-C raise KeyboardInterrupt, or die"),
        ("verbose", False, "name each test"),
        ("quiet", False, "name nothing"),
        ("failfast", False, "stop at the first failure"),
        ("catch", False, "on Ctrl-C finish the running test"),
        ("buffer", False, "show output of failed tests only"),
    ):
        if name not in options:
            define(name, type=bool, default=default, help=text)
    argv = [sys.argv[0], *parse_command_line(sys.argv)]
    if not options.exception_on_interrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if options.verbose:
        kwargs["verbosity"] = 2
    if options.quiet:
        kwargs["verbosity"] = 0
    if options.failfast:
        kwargs["failfast"] = True
    if options.catch:
        kwargs["catchbreak"] = True
    if options.buffer:
        kwargs["buffer"] = True
    if __name__ == "__main__" and len(argv) == 1:
        print("No tests specified", file=sys.stderr)
        sys.exit(1)
    if len(argv) == 1:
        # What a test script gives by its function all(); as in Tornado.
        unittest.main(defaultTest="all", argv=argv, **kwargs)
    else:
        unittest.main(argv=argv, **kwargs)


if __name__ == "__main__":
    main(module=None)
