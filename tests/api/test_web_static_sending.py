"""How files leave: by the kernel, in pieces, in slices; and what changes meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl

import pytest
from raw_http import CERTIFICATE, KEY
from web_support import SECONDS, Answer, lines_of

from pyfastloop import _core, web

LARGE = os.urandom(300_000)
HUGE = 64 * 1024 * 1024


@pytest.fixture
def root(tmp_path):
    (tmp_path / "large").write_bytes(LARGE)
    (tmp_path / "small").write_bytes(b"small")
    web.StaticFileHandler.reset()
    return tmp_path


@pytest.fixture
def files(site, root):
    return site([], static_path=str(root))


def get(path, *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: a", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def spy(monkeypatch, answers=None):
    """Notes what _send_file gave; `answers` instead of the real thing."""
    seen = []
    real = web.StaticFileHandler._send_file

    def send_file(self, *args):
        given = real(self, *args) if answers is None else answers
        seen.append(given)
        return given

    monkeypatch.setattr(web.StaticFileHandler, "_send_file", send_file, raising=False)
    return seen


def test_a_large_file_leaves_by_the_kernel(files, monkeypatch):
    seen = spy(monkeypatch)
    assert files.ask("/static/large").body == LARGE
    assert len(seen) == 1
    assert seen[0] is not None
    assert files.ask("/static/small").body == b"small"
    assert len(seen) == 1


def test_pipelined_files_and_answers_keep_their_order(files):
    requests = [
        get("/static/large"),
        get("/static/small"),
        get("/static/nope"),
        get("/static/large", "Range: bytes=10-99999"),
        get("/static/large", "Connection: close"),
    ]
    rest = files.raw(b"".join(requests))
    for code, body in [
        (200, LARGE),
        (200, b"small"),
        (404, None),
        (206, LARGE[10:100_000]),
        (200, LARGE),
    ]:
        answer = Answer(rest)
        size = int(answer.headers["Content-Length"])
        assert answer.code == code
        assert body is None or answer.rest[:size] == body
        rest = answer.rest[size:]
    assert rest == b""


@pytest.mark.parametrize("hook", ["flush", "write"])
def test_a_subclass_that_sees_the_body_gets_it_in_pieces(site, root, hook):
    sizes = []

    class Sees(web.StaticFileHandler):
        def flush(self, *args, **kwargs):
            sizes.append(sum(map(len, self._write_buffer)))
            return super().flush(*args, **kwargs)

        def write(self, chunk):
            sizes.append(len(chunk))
            return super().write(chunk)

    delattr(Sees, "write" if hook == "flush" else "flush")
    s = site([("/(.*)", Sees, {"path": str(root)})])
    assert s.ask("/large").body == LARGE
    assert sum(sizes) == len(LARGE)
    assert max(sizes) <= 65536


def test_what_would_not_be_compressed_leaves_by_the_kernel(site, root, monkeypatch):
    seen = spy(monkeypatch)
    s = site([], static_path=str(root), compress_response=True)
    answer = s.ask("/static/large", headers={"Accept-Encoding": "gzip"})
    assert answer.body == LARGE
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in answer.headers
    assert seen[0] is not None


def test_a_transform_gets_the_body_in_pieces(site, root):
    (root / "a.txt").write_bytes(b"text " * 50_000)
    s = site([], static_path=str(root), compress_response=True)
    answer = s.ask("/static/a.txt", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.body) < 10_000
    assert s.ask("/static/large").body == LARGE


@pytest.mark.parametrize("how", ["class", "patched", "instance"])
def test_get_content_of_ones_own_is_called(site, root, monkeypatch, how):
    def content(path, start=None, end=None):
        return (LARGE[::-1])[start:end]

    class Own(web.StaticFileHandler):
        if how == "class":

            @classmethod
            def get_content(cls, abspath, start=None, end=None):
                return content(abspath, start, end)

        def prepare(self):
            if how == "instance":
                self.get_content = content

    if how == "patched":
        monkeypatch.setattr(web.StaticFileHandler, "get_content", staticmethod(content))
    s = site([("/(.*)", Own, {"path": str(root)})])
    assert s.ask("/large").body == LARGE[::-1]
    part = s.ask("/large", headers={"Range": "bytes=1000-199999"})
    assert part.body == LARGE[::-1][1000:200_000]


def test_a_file_over_tls(site, root):
    options = {"certfile": CERTIFICATE, "keyfile": KEY}
    s = site([], server_options={"ssl_options": options}, static_path=str(root))
    trust = ssl.create_default_context(cafile=CERTIFICATE)

    def ask():
        with (
            socket.create_connection(("127.0.0.1", s.port), SECONDS) as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(get("/static/large", "Connection: close"))
            return b"".join(iter(lambda: tls.recv(65536), b""))

    assert Answer(s.in_thread(ask)).body == LARGE


def read_head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    return Answer(data)


def rest_of(sock):
    count = 0
    try:
        while piece := sock.recv(1 << 20):
            count += len(piece)
    except ConnectionResetError:
        pass
    return count


@pytest.mark.parametrize("to", [0, HUGE // 2])
def test_a_file_that_becomes_shorter_ends_its_connection_and_is_logged(
    files, root, caplog, to
):
    with (root / "huge").open("wb") as file:
        file.truncate(HUGE)

    def ask():
        with socket.create_connection(("127.0.0.1", files.port), SECONDS) as sock:
            sock.sendall(get("/static/huge"))
            head = read_head(sock)
            os.truncate(root / "huge", to)
            return head, rest_of(sock)

    head, count = files.in_thread(ask)
    assert int(head.headers["Content-Length"]) == HUGE
    assert len(head.rest) + count < HUGE
    lines = [x for x in lines_of(caplog, "tornado.general") if "became shorter" in x]
    assert len(lines) == 1
    assert "huge" in lines[0]
    assert files.ask("/static/small").body == b"small"


def test_a_file_that_grows_is_sent_as_it_was(files, root):
    with (root / "huge").open("wb") as file:
        file.truncate(HUGE)

    def ask():
        with socket.create_connection(("127.0.0.1", files.port), SECONDS) as sock:
            sock.sendall(get("/static/huge", "Connection: close"))
            head = read_head(sock)
            with (root / "huge").open("ab") as file:
                file.write(b"more")
            return len(head.rest) + rest_of(sock)

    assert files.in_thread(ask) == HUGE


def test_a_file_that_is_replaced_is_sent_as_it_was(files, root):
    with (root / "huge").open("wb") as file:
        file.truncate(HUGE)

    def ask():
        with socket.create_connection(("127.0.0.1", files.port), SECONDS) as sock:
            sock.sendall(get("/static/huge", "Connection: close"))
            head = read_head(sock)
            (root / "new").write_bytes(b"new")
            os.replace(root / "new", root / "huge")
            return len(head.rest) + rest_of(sock)

    assert files.in_thread(ask) == HUGE
    assert files.ask("/static/huge").body == b"new"


def test_a_file_is_closed_with_its_connection_not_by_the_collector(site, root):
    with (root / "huge").open("wb") as file:
        file.truncate(HUGE)
    working = []

    class Tells(web.StaticFileHandler):
        def prepare(self):
            working.append(self)

        def on_finish(self):
            working.remove(self)

    async def all_finished():
        while working:
            await asyncio.sleep(0)

    def open_files():
        links = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the one that listdir had
                links.append(os.readlink(f"/proc/self/fd/{name}"))
        return links

    def ask(sock):
        sock.sendall(get("/huge") * 3)
        read_head(sock)

    s = site([("/(.*)", Tells, {"path": str(root)})])
    gc.disable()
    try:
        with socket.create_connection(("127.0.0.1", s.port), SECONDS) as sock:
            s.in_thread(ask, sock)
            assert str(root / "huge") in open_files()
            s.run(s.server.close_all_connections)
            s.run(all_finished)
            assert str(root / "huge") not in open_files()
    finally:
        gc.enable()


def test_others_are_answered_while_a_large_file_is_sent(files, root):
    with (root / "huge").open("wb") as file:
        file.truncate(HUGE)

    def ask():
        # The large one is asked for three times, and nothing of it is read.
        with socket.create_connection(("127.0.0.1", files.port), SECONDS) as sock:
            sock.sendall(get("/static/huge") * 3)
            read_head(sock)
            with socket.create_connection(("127.0.0.1", files.port), SECONDS) as other:
                other.sendall(get("/static/small"))
                small = read_head(other)
            return small.rest

    assert files.in_thread(ask) == b"small"


def test_what_is_not_in_memory_is_fetched_by_a_thread(files, root, monkeypatch):
    looked_up = []
    real = web.StaticFileHandler._look_up

    def look_up(self, path):
        looked_up.append(path)
        return real(self, path)

    monkeypatch.setattr(web.StaticFileHandler, "_looked_up", lambda self, path: False)
    monkeypatch.setattr(web.StaticFileHandler, "_look_up", look_up)
    with (root / "cold").open("wb") as file:
        file.write(LARGE)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert files.ask("/static/cold").body == LARGE
    assert files.ask("/static/nope").code == 404
    assert looked_up == [str(root / "cold"), str(root / "nope")]


def test_neighbours_are_not_older_and_below_the_root(files, root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(b"secret")
    os.symlink(outside / "secret", root / "small.gz")
    answer = files.ask("/static/small", headers={"Accept-Encoding": "gzip"})
    assert answer.body == b"small"
    assert "Vary" not in answer.headers


def test_an_open_file(root):
    with pytest.raises(FileNotFoundError):
        _core.OpenFile(str(root), "nope")
    with pytest.raises(OSError):
        _core.OpenFile(str(root), "../" + root.name + "/small")
    with pytest.raises(ValueError):
        _core.OpenFile(str(root), "a\0b")
    file = _core.OpenFile(str(root), "small")
    assert (file.size, file.regular, file.folder) == (5, True, False)
    assert file.mtime_ns == os.stat(root / "small").st_mtime_ns
    assert file.read(0, 100) == b"small"
    assert file.read(2, 2) == b"al"
    assert file.read_cached(1, 3) == b"mal"
    assert file.read_cached(5, 3) == b""
    assert file.fetch(0, 100) is None
    for offset, size in ((-1, 1), (0, -1), (2**63 - 1, 1)):
        for method in (file.read, file.read_cached, file.fetch):
            with pytest.raises(ValueError):
                method(offset, size)
    folder = _core.OpenFile(None, str(root))
    assert (folder.regular, folder.folder) == (False, True)
    with pytest.raises(IsADirectoryError):
        folder.read(0, 1)
