"""examples/chat.py in headless Chromium windows: one process, and two with Redis.

The browser is driven over its DevTools protocol by our own WebSocket client.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pyfastloop.ioloop import IOLoop
from pyfastloop.websocket import websocket_connect

CHAT = Path(__file__).parents[2] / "examples" / "chat.py"
SECONDS = 60

# What a test asks the page for: the value of `what` once it is there.
UNTIL = """
window.until = what => new Promise((resolve, reject) => {
    const end = Date.now() + 30000;
    (function look() {
        const value = what();
        if (value) resolve(value);
        else if (Date.now() > end) reject(new Error("not seen in 30 s: " + what));
        else setTimeout(look, 20);
    })();
});
window.say = (name, text) => {
    const form = document.querySelector("form");
    form.name.value = name;
    form.text.value = text;
    form.requestSubmit();
};
window.lines = () =>
    [...document.querySelectorAll("div p")].map(p => p.textContent).reverse();
window.count = () => document.querySelector("[role=status]").textContent;
"""


def needed(program):
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: {program})")
    return found


@contextlib.contextmanager
def running(*command, **options):
    process = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def listening(port, *command, **options):
    """A program that listens on the port."""
    with running(*command, **options) as process:
        deadline = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None, f"{command} ended at its start"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, f"{command} does not listen"
                time.sleep(0.02)
        yield port


@pytest.fixture
def chromium(tmp_path):
    """The address of a headless Chromium's DevTools."""
    command = [needed("chromium"), "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={tmp_path}/profile"]
    with running(*command, "about:blank", stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if found := re.search(r"DevTools listening on (\S+)", line):
                break
        else:
            pytest.fail("Chromium did not start")
        rest = threading.Thread(target=process.stderr.read, daemon=True)
        rest.start()
        yield found[1]
    rest.join(SECONDS)
    process.stderr.close()


@pytest.fixture
def redis_url(tmp_path, free_port):
    port = free_port()
    command = [needed("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    with listening(
        port, *command, "--save", "", cwd=tmp_path, stdout=subprocess.DEVNULL
    ):
        yield f"redis://127.0.0.1:{port}"


class Browser:
    """Chromium over one WebSocket of ours."""

    @classmethod
    async def at(cls, url):
        self = cls()
        self._connection = await websocket_connect(url)
        self._numbers = itertools.count(1)
        return self

    async def call(self, method, session=None, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        await self._connection.write_message(message)
        while True:
            text = await self._connection.read_message()
            assert text is not None, "Chromium went away"
            answer = json.loads(text)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def window(self, url):
        """Opens a window of its own and gives what evaluates JavaScript in it."""
        page = await self.call("Target.createTarget", url="about:blank", newWindow=True)
        attached = await self.call("Target.attachToTarget", **page, flatten=True)
        session = attached["sessionId"]

        async def evaluate(expression):
            answer = await self.call(
                "Runtime.evaluate",
                session,
                expression=expression,
                awaitPromise=True,
                returnByValue=True,
            )
            assert "exceptionDetails" not in answer, answer
            return answer["result"].get("value")

        await self.call("Page.enable", session)
        await self.call("Page.addScriptToEvaluateOnNewDocument", session, source=UNTIL)
        await self.call("Page.navigate", session, url=url)
        while await evaluate("location.href + document.readyState") != url + "complete":
            await asyncio.sleep(0.02)
        evaluate.page = page
        return evaluate

    async def close(self, window):
        await self.call("Target.closeTarget", **window.page)


async def talk(chromium, ports):
    """Two windows in one room, a third in another; each of the ports has a window."""
    browser = await Browser.at(chromium)
    one, other = f"http://127.0.0.1:{ports[0]}/", f"http://127.0.0.1:{ports[-1]}/"
    ada = await browser.window(one + "#tea")
    bob = await browser.window(other + "#tea")
    eve = await browser.window(other + "#coffee")
    for window, here in ((ada, 2), (bob, 2), (eve, 1)):
        wanted = f"until(() => count() === '{here} here' && count())"
        assert await window(wanted) == f"{here} here"

    await ada("say('ada', 'hello, tea ☕')")
    await eve("say('eve', 'anyone?')")
    for window in (ada, bob):
        assert await window("until(() => lines().length === 1 && lines())") == [
            "ada: hello, tea ☕"
        ]
    assert await eve("until(() => lines().length === 1 && lines())") == ["eve: anyone?"]
    await bob("say('bob', 'hello, ada')")
    both = ["ada: hello, tea ☕", "bob: hello, ada"]
    for window in (ada, bob):
        assert await window("until(() => lines().length === 2 && lines())") == both

    # Who comes later reads what was said; who leaves is not counted any more.
    carol = await browser.window(one + "#tea")
    assert await carol("until(() => lines().length === 2 && lines())") == both
    assert await ada("until(() => count() === '3 here' && count())")
    await browser.close(carol)
    for window in (ada, bob):
        assert await window("until(() => count() === '2 here' && count())")


def test_two_windows_in_a_room(chromium, free_port):
    port = free_port()
    with listening(port, sys.executable, str(CHAT), str(port)):
        IOLoop().run_sync(lambda: asyncio.wait_for(talk(chromium, [port]), SECONDS * 2))


def test_two_processes_joined_by_redis(chromium, redis_url, free_port):
    pytest.importorskip("redis", reason="needs the extra 'test'")
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        for port in ports:
            command = [sys.executable, str(CHAT), str(port), redis_url]
            stack.enter_context(listening(port, *command))
        IOLoop().run_sync(lambda: asyncio.wait_for(talk(chromium, ports), SECONDS * 2))
