"""What all tests share: nothing hangs; in CI nothing is skipped for want of a part."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib.util
import os
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI") == "true"

# A machine that is shared is sometimes slow: no test fails for the time that it took.
# CI asks a commit the same questions each time; everywhere else they are new ones.
settings.register_profile(
    "house",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=IN_CI,
)
settings.load_profile("house")
os.environ.setdefault("ASYNC_TEST_TIMEOUT", "60")  # of pyfastloop.testing

# Programs that the tests start import the package that the tests import, from wherever
# they run: an installed one anyway, that of a clone by its path.
_package = importlib.util.find_spec("pyfastloop")
if _package is not None and _package.origin is not None:
    _home = str(Path(_package.origin).parents[1])
    if _home == str(Path(__file__).resolve().parents[1]):
        os.environ["PYTHONPATH"] = _home

SECONDS_A_TEST = float(os.environ.get("PYFASTLOOP_TEST_SECONDS", "180"))

# Skips that say something about the interpreter, not about what is not installed.
RIGHT_SKIPS = ("needs CPython", "does not apply")


def _must_not_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not IN_CI or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    reason = str(reason).removeprefix("Skipped: ")
    if not reason.startswith(RIGHT_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where every part must be there: {reason}"


# Where a hanging test is told of: pytest captures descriptor 2 while tests run.
_stderr = -1


def pytest_configure() -> None:
    global _stderr
    _stderr = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    report = yield
    _must_not_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    report = yield
    _must_not_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """A test that hangs ends the run, with the traceback of every thread."""
    faulthandler.dump_traceback_later(SECONDS_A_TEST, exit=True, file=_stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True, scope="module")
def collections_look_at_the_module_s_own() -> Iterator[None]:
    """What was imported before is not looked at again by each of a module's
    ``gc.collect()``, which takes most of many tests' time otherwise."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def free_port() -> Iterator[Callable[[], int]]:
    """Gives ports of 127.0.0.1 to programs that must be told theirs.

    Each stays bound until the test is over, by a socket that does not listen. So nobody
    else gets it, not even as the near end of a connection, while a program can listen
    on it that sets SO_REUSEADDR, as servers do.
    """
    with contextlib.ExitStack() as bound:

        def choose() -> int:
            sock = bound.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

        yield choose
