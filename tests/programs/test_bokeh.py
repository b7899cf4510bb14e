"""bokeh serve: a page in headless Chromium is updated over its websocket, both ways."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
from typing import Any

import pytest
from needed import needs

websocket = pytest.importorskip("websocket", reason="needs the extra 'test'")
pytestmark = needs("bokeh")

PAGE = """
from bokeh.io import curdoc
from bokeh.layouts import column
from bokeh.models import Button, Div

ticks = Div(text="ticks 0")
clicks = Div(text="clicks 0")
button = Button(label="more")


def add(div):
    word, number = div.text.split()
    div.text = f"{word} {int(number) + 1}"


button.on_click(lambda: add(clicks))
curdoc().add_root(column(button, ticks, clicks))
curdoc().add_periodic_callback(lambda: add(ticks), 100)
"""

# What the page shows and how it is clicked: bokeh draws into shadow roots.
SCRIPT = """
function everything(root, selector) {
    let found = [...root.querySelectorAll(selector)];
    for (const element of root.querySelectorAll("*"))
        if (element.shadowRoot)
            found = found.concat(everything(element.shadowRoot, selector));
    return found;
}
function shown(pattern) {
    return everything(document, "div").map(e => e.textContent)
        .find(text => pattern.test(text));
}
function until(what) {
    return new Promise((resolve, reject) => {
        const timer = setInterval(() => {
            const value = what();
            if (value) { clearInterval(timer); resolve(value); }
        }, 20);
        setTimeout(() => reject(new Error("not seen in 30 s: " + what)), 30000);
    });
}
"""


class Browser:
    """Chromium, told what to do over its debugging protocol."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(
            url, timeout=60, suppress_origin=True
        )
        self._numbers = itertools.count(1)
        self._session: str | None = None

    def call(self, method: str, **params: Any) -> Any:
        """Calls a method of the protocol; its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Opens a page, of which the calls are from now on."""
        page = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", **page, flatten=True)
        self._page = page
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=SCRIPT)
        self.call("Page.navigate", url=url)

    def close(self) -> None:
        """Closes the page; the calls are of the browser again."""
        self._session = None
        self.call("Target.closeTarget", **self._page)

    def evaluate(self, expression: str) -> Any:
        """What JavaScript gives in the page, awaited where it is a promise."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")


def test_a_page_is_updated_over_its_websocket(programs):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    programs.write("page.py", PAGE)
    server = programs.as_tornado("-m", "bokeh", "serve", "page.py", "--port", "0")
    url = server.wait_for(r"running at: (http://\S+)")[1]
    started = programs.start(
        *[chromium, "--headless", "--no-sandbox", "--disable-gpu"],
        *["--remote-debugging-port=0", f"--user-data-dir={programs.folder}/profile"],
        "about:blank",
    )
    browser = Browser(started.wait_for(r"DevTools listening on (\S+)")[1])
    browser.open(url)

    # The server changes the page ...
    first = browser.evaluate(r"until(() => shown(/^ticks \d+$/))")
    changed = rf"until(() => shown(/^ticks (?!{first.split()[1]}$)\d+$/))"
    assert browser.evaluate(changed)
    server.wait_for("WebSocket connection opened")
    # ... and a click in the page reaches the server, whose answer is shown.
    assert browser.evaluate(r"shown(/^clicks \d+$/)") == "clicks 0"
    for number in (1, 2, 3):
        browser.evaluate("everything(document, 'button')[0].click()")
        clicked = rf"until(() => shown(/^clicks {number}$/))"
        assert browser.evaluate(clicked) == f"clicks {number}"

    browser.close()
    server.wait_for("WebSocket connection closed")
    browser.call("Browser.close")
    started.process.wait(60)
    assert server.stop(signal.SIGINT) == 0
