"""jupyter_server: a cell runs over its kernel's websocket; so it does for nbclient."""

from __future__ import annotations

import json
import signal
import urllib.request
import uuid
from typing import Any

import pytest
from needed import needs

websocket = pytest.importorskip("websocket", reason="needs the extra 'test'")
pytestmark = needs("jupyter_server", "ipykernel")

SERVER = [
    "-m",
    "jupyter_server",
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--IdentityProvider.token=secret",
]

CELL = """
import asyncio, sys, tornado.web
print(tornado.web.RequestHandler.__module__.partition(".")[0])
print(type(asyncio.get_running_loop()).__module__.partition(".")[0])
6 * 7
"""


def ask(method: str, url: str, body: Any = None) -> Any:
    """A call of the server's REST API; its JSON."""
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": "token secret"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def run_cell(url: str, code: str) -> list[tuple[str, Any]]:
    """Runs a cell on a kernel's websocket; (type, content) of each answer to it."""
    socket = websocket.create_connection(url, timeout=60)
    message_id = uuid.uuid4().hex
    header = {
        "msg_id": message_id,
        "username": "test",
        "session": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "version": "5.3",
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
    }
    message = {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }
    socket.send(json.dumps(message))
    answers: list[tuple[str, Any]] = []
    idle = replied = False
    while not (idle and replied):
        answer = json.loads(socket.recv())
        if answer["parent_header"].get("msg_id") != message_id:
            continue
        kind, content = answer["msg_type"], answer["content"]
        answers.append((kind, content))
        idle = idle or (kind == "status" and content["execution_state"] == "idle")
        replied = replied or kind == "execute_reply"
    socket.close()
    return answers


def test_a_cell_runs_over_the_kernel_s_websocket(programs, free_port):
    port = free_port()
    server = programs.as_tornado(*SERVER, f"--ServerApp.port={port}")
    server.wait_for(rf"http://127\.0\.0\.1:{port}/")
    server.wait_for_port(port)  # it prints that before it listens
    base = f"127.0.0.1:{port}/api/kernels"
    kernel = ask("POST", f"http://{base}", {"name": "python3"})["id"]

    answers = run_cell(f"ws://{base}/{kernel}/channels?token=secret", CELL)
    result = [content for kind, content in answers if kind == "execute_result"]
    assert [r["data"]["text/plain"] for r in result] == ["42"]
    printed = "".join(content["text"] for kind, content in answers if kind == "stream")
    # The kernel is a process of its own, and pyfastloop is its tornado too.
    assert printed.split() == ["pyfastloop", "pyfastloop"]

    ask("DELETE", f"http://{base}/{kernel}")
    assert ask("GET", f"http://{base}") == []
    assert server.stop(signal.SIGTERM) == 0


NOTEBOOK = """
import nbformat, nbclient, sys
import tornado
notebook = nbformat.v4.new_notebook()
notebook.cells = [nbformat.v4.new_code_cell(text) for text in ("a = 6", "a * 7")]
nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
print("answer", notebook.cells[1].outputs[0]["data"]["text/plain"], tornado.__file__)
"""


def test_a_notebook_is_run_by_nbclient(programs):
    pytest.importorskip("nbclient", reason="needs the extra 'test'")
    programs.write("notebook.py", NOTEBOOK)
    client = programs.as_tornado("notebook.py")
    assert "pyfastloop" in client.wait_for("answer 42 (.*)")[1]
    assert client.process.wait(60) == 0
