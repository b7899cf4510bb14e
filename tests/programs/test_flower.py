"""flower: it starts beside a celery worker, and its dashboard shows what that does."""

from __future__ import annotations

import json
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from needed import needs

pytestmark = needs("flower", "redis")


APP = """
import os

import celery

app = celery.Celery("app", broker=os.environ["BROKER"], backend=os.environ["BROKER"])


@app.task
def add(a, b):
    return a + b
"""

ASK = """
import app
print("sum", app.add.delay(40, 2).get(timeout=60))
"""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.status == 200
        return answer.read().decode()


def once(what: str, ask: Callable[[], Any]) -> Any:
    """What an answer is when it first is not empty."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"it never shows {what}")


def test_the_dashboard_shows_a_worker_and_its_task(programs, free_port):
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    broker_port, port = free_port(), free_port()
    broker = programs.start(
        *["redis-server", "--bind", "127.0.0.1", "--save", ""],
        *["--port", str(broker_port)],
    )
    broker.wait_for("Ready to accept connections")
    programs.env["BROKER"] = f"redis://127.0.0.1:{broker_port}/0"
    programs.env["FLOWER_UNAUTHENTICATED_API"] = "true"
    programs.write("app.py", APP)
    programs.write("ask.py", ASK)

    worker = programs.as_tornado(  # celery's command line loads flower as its plugin
        *["-m", "celery", "-A", "app", "worker", "-E", "-P", "solo"],
        *["--loglevel", "INFO", "-n", "tester@%h"],
    )
    worker.wait_for("tester@.* ready")
    flower = programs.as_tornado(
        *["-m", "celery", "-A", "app", "flower"],
        *["--address=127.0.0.1", f"--port={port}"],
    )
    flower.wait_for("Connected to redis")
    programs.python("ask.py").wait_for("^sum 42$")

    url = f"http://127.0.0.1:{port}"
    task = once("the task", lambda: json.loads(get(url + "/api/tasks")))
    assert [t["name"] for t in task.values()] == ["app.add"]
    assert "tester@" in once("the worker", lambda: get(url + "/workers"))
    assert "flower_events_total{" in get(url + "/metrics")
    assert flower.stop(signal.SIGTERM) == 0
    worker.stop(signal.SIGTERM)
    broker.stop(signal.SIGTERM)
