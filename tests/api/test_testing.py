"""pyfastloop.testing and the pytest plugin."""

from __future__ import annotations

import asyncio
import logging
import ssl
import unittest

import pytest

from pyfastloop import gen, ioloop, web
from pyfastloop.log import app_log, gen_log
from pyfastloop.testing import (
    AsyncHTTPSTestCase,
    AsyncHTTPTestCase,
    AsyncTestCase,
    ExpectLog,
    bind_unused_port,
    gen_test,
    get_async_test_timeout,
    setup_with_context_manager,
)

pytest_plugins = ["pytester"]


def run(case: type[unittest.TestCase], name: str = "test") -> unittest.TestResult:
    result = unittest.TestResult()
    case(name).run(result)
    return result


def problem(case: type[unittest.TestCase]) -> str:
    result = run(case)
    ((_, text),) = result.errors + result.failures
    return text


def passes(case: type[unittest.TestCase]) -> None:
    result = run(case)
    assert result.wasSuccessful(), (result.errors, result.failures)
    assert result.testsRun == 1


def test_stop_and_wait():
    class Case(AsyncTestCase):
        def test(self):
            self.io_loop.add_callback(self.stop, 5)
            assert self.wait() == 5
            self.stop(a=1)
            assert self.wait() == {"a": 1}
            self.io_loop.add_callback(self.stop)
            assert self.wait() is None

    passes(Case)


def test_wait_for_a_condition():
    class Case(AsyncTestCase):
        def test(self):
            calls = []

            def tick():
                calls.append(1)
                self.stop(len(calls))
                self.io_loop.add_callback(tick)

            self.io_loop.add_callback(tick)
            assert self.wait(lambda: len(calls) >= 3) >= 3

    passes(Case)


def test_wait_times_out():
    class Case(AsyncTestCase):
        def test(self):
            self.wait(timeout=0.01)

    assert "Async operation timed out after 0.01 seconds" in problem(Case)


@pytest.mark.parametrize("kind", ["generator", "coroutine", "plain"])
def test_gen_test_runs_the_test_in_its_loop(kind):
    seen = []

    class Case(AsyncTestCase):
        if kind == "generator":

            @gen_test
            def test(self):
                yield gen.moment
                seen.append(ioloop.IOLoop.current() is self.io_loop)

        elif kind == "coroutine":

            @gen_test
            async def test(self):
                await asyncio.sleep(0)
                seen.append(ioloop.IOLoop.current() is self.io_loop)

        else:

            @gen_test(timeout=10)
            def test(self):
                seen.append(ioloop.IOLoop.current() is self.io_loop)

    passes(Case)
    assert seen == [True]


@pytest.mark.parametrize("native", [True, False])
def test_gen_test_times_out_and_tells_where(native):
    class Case(AsyncTestCase):
        if native:

            @gen_test(timeout=0.01)
            async def test(self):
                await gen.sleep(100)  # the line that hangs

        else:

            @gen_test(timeout=0.01)
            def test(self):
                yield gen.sleep(100)  # the line that hangs

    text = problem(Case)
    assert "Operation timed out after 0.01 seconds" in text
    assert "# the line that hangs" in text


def test_a_failing_coroutine_fails_the_test():
    class Case(AsyncTestCase):
        @gen_test
        async def test(self):
            await gen.sleep(0)
            self.fail("as it should")

    assert "AssertionError: as it should" in problem(Case)


def test_undecorated_coroutines_and_return_values_are_errors():
    class Generator(AsyncTestCase):
        def test(self):
            yield

    class Coroutine(AsyncTestCase):
        async def test(self):
            pass

    class Value(AsyncTestCase):
        def test(self):
            return 42

    for case in (Generator, Coroutine):
        assert "should be decorated with tornado.testing.gen_test" in problem(case)
    assert "Return value from test method ignored: 42" in problem(Value)


def test_what_a_test_leaves_running_is_cancelled():
    seen = []

    class Case(AsyncTestCase):
        @gen_test
        async def test(self):
            async def background():
                try:
                    await asyncio.sleep(1000)
                finally:
                    seen.append("cancelled")

            self.task = asyncio.ensure_future(background())
            await asyncio.sleep(0)

    passes(Case)
    assert seen == ["cancelled"]


def test_each_test_has_its_own_loop():
    loops = []

    class Case(AsyncTestCase):
        def test(self):
            loops.append(self.io_loop)
            assert ioloop.IOLoop.current() is self.io_loop

    passes(Case)
    passes(Case)
    assert loops[0] is not loops[1]


class Hello(web.RequestHandler):
    def get(self):
        self.write(self.request.protocol)


def test_http_test_case():
    class Case(AsyncHTTPTestCase):
        def get_app(self):
            return web.Application([("/", Hello)], log_function=lambda handler: None)

        def test(self):
            response = self.fetch("/")
            assert (response.code, response.body) == (200, b"http")
            assert self.fetch("/nope").code == 404
            assert self.fetch(self.get_url("/")).code == 200
            assert self.get_url("/") == f"http://127.0.0.1:{self.get_http_port()}/"
            with pytest.raises(Exception, match="HTTP 404"):
                self.fetch("/nope", raise_error=True)

    passes(Case)


def test_http_test_case_in_a_coroutine():
    class Case(AsyncHTTPTestCase):
        def get_app(self):
            return web.Application([("/", Hello)], log_function=lambda handler: None)

        @gen_test
        def test(self):
            response = yield self.http_client.fetch(self.get_url("/"))
            assert response.body == b"http"

    passes(Case)


def test_https_test_case_needs_nothing():
    class Case(AsyncHTTPSTestCase):
        def get_app(self):
            return web.Application([("/", Hello)], log_function=lambda handler: None)

        def test(self):
            assert self.fetch("/").body == b"https"

    passes(Case)


def test_the_test_certificate_is_for_localhost():
    options = AsyncHTTPSTestCase.default_ssl_options()
    context = ssl.create_default_context(cafile=options["certfile"])
    (certificate,) = context.get_ca_certs()
    assert ("DNS", "localhost") in certificate["subjectAltName"]
    assert certificate["notAfter"].endswith("2126 GMT")


def test_get_app_must_be_defined():
    class Case(AsyncHTTPTestCase):
        def test(self):
            pass

    assert "must define get_app" in problem(Case)


def test_bind_unused_port():
    sock, port = bind_unused_port()
    with sock:
        assert sock.getsockname() == ("127.0.0.1", port)
        assert not sock.getblocking()
    sock, port = bind_unused_port(reuse_port=True, address="127.0.0.2")
    with sock:
        assert sock.getsockname() == ("127.0.0.2", port)


def test_the_time_out_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("ASYNC_TEST_TIMEOUT", raising=False)
    assert get_async_test_timeout() == 5
    monkeypatch.setenv("ASYNC_TEST_TIMEOUT", "7.5")
    assert get_async_test_timeout() == 7.5
    monkeypatch.setenv("ASYNC_TEST_TIMEOUT", "much")
    assert get_async_test_timeout() == 5


def test_setup_with_context_manager():
    seen = []

    class Manager:
        def __enter__(self):
            seen.append("enter")
            return 7

        def __exit__(self, *exc_info):
            seen.append("exit")

    class Case(unittest.TestCase):
        def setUp(self):
            self.value = setup_with_context_manager(self, Manager())

        def test(self):
            seen.append(self.value)

    passes(Case)
    assert seen == ["enter", 7, "exit"]


# -- ExpectLog ---------------------------------------------------------------------


def test_expect_log_takes_the_line_out(caplog):
    with ExpectLog(gen_log, "hi") as expected:
        gen_log.warning("hi there")
        gen_log.warning("other")
    assert (expected.matched, expected.logged_stack) == (1, False)
    assert [r.getMessage() for r in caplog.records] == ["other"]


@pytest.mark.parametrize(
    ("logger", "regex"),
    [("tornado.general", "ho"), ("tornado.application", "hi"), (gen_log, "there")],
)
def test_expect_log_without_a_match_raises(logger, regex):
    with (
        pytest.raises(Exception, match="did not get expected log message"),
        ExpectLog(logger, regex),
    ):
        gen_log.warning("hi there")
    with ExpectLog(logger, regex, required=False):
        gen_log.warning("hi there")


def test_expect_log_keeps_errors_of_the_block():
    with pytest.raises(KeyError), ExpectLog(gen_log, "never"):
        raise KeyError("k")


def test_expect_log_checks_the_level(caplog):
    level = gen_log.level
    with ExpectLog(gen_log, "hi", level=logging.DEBUG) as expected:
        gen_log.debug("hi there")
    assert expected.matched == 1
    assert gen_log.level == level
    with (
        pytest.raises(Exception, match="did not get expected log message"),
        ExpectLog(gen_log, "hi", level=logging.INFO),
    ):
        gen_log.warning("hi there")
    assert "at unexpected level (INFO vs WARNING)" in caplog.text


def test_expect_log_sees_tracebacks():
    with ExpectLog("tornado.application", "bad") as expected:
        try:
            raise KeyError("k")
        except KeyError:
            app_log.error("bad", exc_info=True)
    assert expected.logged_stack


def test_expect_log_of_the_root():
    with ExpectLog("", "hi"):
        logging.getLogger().warning("hi")


# -- the pytest plugin -------------------------------------------------------------

PLUGIN = ("-p", "pyfastloop.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def one_plugin(monkeypatch):
    """The plugin is named by the tests: it is not to be found a second time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_the_plugins_fixtures(pytester):
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from pyfastloop import ioloop, web

        class Hello(web.RequestHandler):
            def get(self):
                self.write("hello")

        @pytest.fixture
        def app():
            return web.Application([("/", Hello)])

        async def test_client(fastloop_client):
            assert (await fastloop_client.get("/")).body == b"hello"
            assert (await fastloop_client.get("/nope")).code == 404
            assert (await fastloop_client.post("/", "x")).code == 405

        async def test_server_client(http_server_client, io_loop, http_server_port):
            assert ioloop.IOLoop.current() is io_loop
            assert (await http_server_client.fetch("/")).code == 200
            with pytest.raises(Exception, match="404"):
                await http_server_client.fetch("/nope")

        def test_loop(io_loop):
            async def five():
                await asyncio.sleep(0)
                return 5
            assert io_loop.run_sync(five) == 5

        async def test_fails(io_loop):
            await asyncio.sleep(0)
            assert False, "as it should"
        """
    )
    result = pytester.runpytest_subprocess(*PLUGIN, "-W", "ignore")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: as it should*"])


def test_the_plugin_asks_for_an_app(pytester):
    pytester.makepyfile("async def test_it(fastloop_client): pass")
    result = pytester.runpytest_subprocess(*PLUGIN, "-W", "ignore")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*serve the fixture `app`*"])
