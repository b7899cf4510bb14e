"""A browser: page, form, upload with progress, and a media element that seeks."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import pytest

import pyfastloop
from pyfastloop import web
from pyfastloop.httpserver import HTTPServer
from pyfastloop.netutil import bind_sockets

SECONDS = 120
UPLOAD = 5 * 1024 * 1024

PAGE = """<!doctype html><title>page</title>
<form id=form method=post enctype=multipart/form-data action=/form target=frame>
<input name=text value="tea &amp; \u2615"><input name=empty></form>
<iframe name=frame id=frame></iframe><video id=video muted></video>
<script>
const told = {};
const heard = (target, name) => new Promise(
    r => target.addEventListener(name, r, {once: true}));
async function form() {
    const loaded = heard(document.getElementById('frame'), 'load');
    document.getElementById('form').submit();
    await loaded;
    told.form = document.getElementById('frame').contentDocument.body.textContent;
}
async function upload() {
    const ask = new XMLHttpRequest();
    told.progress = 0;
    ask.upload.onprogress = e => { told.progress = Math.max(told.progress, e.loaded); };
    ask.open('POST', '/upload');
    const done = heard(ask, 'loadend');
    ask.send(new Uint8Array(UPLOAD).fill(7));
    await done;
    told.upload = ask.responseText;
}
async function video() {
    const element = document.getElementById('video');
    element.preload = 'metadata';
    element.src = '/static/sound.wav';
    await heard(element, 'loadedmetadata');
    const seeked = heard(element, 'seeked');
    element.currentTime = element.duration - 1;
    await seeked;
    told.duration = element.duration;
    told.title = document.title;
}
(async () => {
    try {
        await form();
        await upload();
        await video();
    } catch (error) {
        told.error = String(error);
    }
    await fetch('/told', {method: 'POST', body: JSON.stringify(told)});
})();
</script>""".replace("UPLOAD", str(UPLOAD))


class Page(web.RequestHandler):
    def get(self) -> None:
        self.write(PAGE)


class Form(web.RequestHandler):
    def post(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.write(self.get_argument("text") + "|" + self.get_argument("empty"))


@web.stream_request_body
class Upload(web.RequestHandler):
    def initialize(self) -> None:
        self.digest = hashlib.sha256()

    async def data_received(self, chunk: bytes) -> None:
        self.digest.update(chunk)

    def post(self) -> None:
        self.write(self.digest.hexdigest())


def sound(folder: Path) -> None:
    """A hundred seconds of silence, larger than a browser reads ahead."""
    with wave.open(str(folder / "sound.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(96_000)
        file.writeframes(bytes(100 * 96_000 * 4))


def test_a_page_a_form_an_upload_and_a_media_element(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    sound(tmp_path)
    (sock,) = bind_sockets(0, "127.0.0.1")
    ranges: list[tuple[str | None, int]] = []

    async def main() -> dict[str, Any]:
        told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        class Told(web.RequestHandler):
            def post(self) -> None:
                told.set_result(self.request.body)

        class Files(web.StaticFileHandler):
            def set_extra_headers(self, path: str) -> None:
                # So that what it reads is read from here, not from its cache.
                self.set_header("Cache-Control", "no-store")

            def on_finish(self) -> None:
                ranges.append((self.request.headers.get("Range"), self.get_status()))

            # An answer it has read enough of ends so.
            on_connection_close = on_finish

        server = HTTPServer(
            web.Application(
                [("/", Page), ("/form", Form), ("/upload", Upload), ("/told", Told)],
                static_path=str(tmp_path),
                static_handler_class=Files,
            )
        )
        server.add_sockets([sock])
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={tmp_path}/profile", "--remote-debugging-port=0"]
        command += [f"http://127.0.0.1:{sock.getsockname()[1]}/"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                body = await asyncio.wait_for(told, SECONDS)
            finally:
                process.terminate()
        server.stop()
        await server.close_all_connections()
        answer: dict[str, Any] = json.loads(body)
        return answer

    told = pyfastloop.run(main())
    assert "error" not in told
    assert told["form"] == "tea & \u2615|"
    assert told["upload"] == hashlib.sha256(b"\7" * UPLOAD).hexdigest()
    assert told["progress"] == UPLOAD
    assert told["title"] == "page"
    assert told["duration"] == 100
    # It reads on from near the end, without all that lies before. The whole file as a
    # range is a plain 200, as Tornado has it.
    assert ("bytes=0-", 200) in ranges
    parts = [given for given, status in ranges if given is not None and status == 206]
    starts = [int(given.removeprefix("bytes=").split("-")[0]) for given in parts]
    assert max(starts) > 30_000_000
