"""Whatever single allocation or system call fails: no crash, no lost exception, and
what comes after works. Each case is a process of its own; see nomemory.py, syscalls.py,
access_log.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

SCENARIOS = (
    *("futures", "callbacks", "own_tasks", "asyncio_tasks", "generators", "handlers"),
    *("stream_reads", "stream_large", "stream_callbacks", "connections"),
    *("tls_streams", "tls_handshakes", "transports", "tls_transports"),
    *("datagrams", "sock_calls"),
    *("fetches", "fetches_again", "fetches_watched"),
    *(
        "yield_points",
        "runners",
        "stack_contexts",
        "loops",
        "runs",
        "guests",
        "hand_overs",
    ),
)

# What must not be noticed.
INVISIBLE = (
    *("tcp recv EINTR", "tcp recv EAGAIN", "tcp recv SHORT"),
    *("tcp send EINTR", "tcp send EAGAIN", "tcp send SHORT", "tcp accept4 EINTR"),
    *("tcp accept4 EAGAIN", "tcp accept4 ECONNABORTED", "tcp accept4 EMFILE"),
    *("tcp epoll_wait EINTR", "tcp epoll_wait SHORT", "tcp read EINTR"),
    *("tcp read SHORT", "tcp write EINTR", "tcp write SHORT"),
    *("tls read EINTR", "tls read SHORT", "tls write EINTR", "tls write SHORT"),
    *("model recv EINTR", "model recv EAGAIN", "model recv SHORT"),
    *("model send EINTR", "model send EAGAIN", "model send SHORT"),
    *("model epoll_wait EINTR", "model epoll_wait SHORT"),
    *("asyncio recv EINTR", "asyncio recv SHORT", "asyncio send EAGAIN"),
    *("asyncio send SHORT", "asyncio epoll_wait EINTR", "asyncio accept4 EMFILE"),
    *("asyncio_tls recv EINTR", "asyncio_tls recv SHORT"),
    *("asyncio_tls send EAGAIN", "asyncio_tls send SHORT"),
)

# What ends one connection, and no more.
LOST = (
    *("tcp recv ECONNRESET", "tcp recv ENOMEM", "tcp send EPIPE", "tcp send ENOBUFS"),
    *("tcp accept4 ENOMEM", "tcp epoll_ctl ENOMEM", "tcp epoll_ctl ENOSPC"),
    *("tcp getsockopt ENOMEM", "tcp read EIO", "tcp write EIO"),
    *("tls read ECONNRESET", "tls write EPIPE"),
    *("asyncio recv ECONNRESET", "asyncio send EPIPE", "asyncio epoll_ctl ENOMEM"),
    *("asyncio_tls recv ECONNRESET", "asyncio_tls send EPIPE"),
)


def run(*args: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", *args],
        capture_output=True,
        text=True,
        timeout=170,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout)


@pytest.mark.skipif(
    sys.version_info[:2] in ((3, 12), (3, 13)),
    reason="does not apply: these CPythons crash by themselves where a function object "
    "cannot be allocated, with no extension loaded",
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_allocation_fails(scenario: str) -> None:
    pytest.importorskip("_testcapi", reason="does not apply: no _testcapi here")
    assert run(str(HERE / "nomemory.py"), scenario) > 5


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    built = tmp_path_factory.mktemp("faults") / "shim.so"
    flags = ["-std=gnu11", "-O1", "-shared", "-fPIC"]
    subprocess.run(
        [compiler, *flags, "-o", str(built), str(HERE / "shim.c"), "-ldl"], check=True
    )
    return str(built)


@pytest.mark.parametrize(
    "case", [f"{c} invisible" for c in INVISIBLE] + [f"{c} lost" for c in LOST]
)
def test_a_system_call_fails(shim: str, case: str) -> None:
    preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), shim]))
    tried = run(str(HERE / "syscalls.py"), *case.split(), LD_PRELOAD=preload)
    assert tried > 1, f"{case}: never called"


def test_a_line_of_the_access_log_is_whole_or_counted(shim: str) -> None:
    preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), shim]))
    assert run(str(HERE / "access_log.py"), LD_PRELOAD=preload) > 1
