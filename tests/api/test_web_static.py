"""pyfastloop.web.StaticFileHandler: files, versions, conditions, ranges, paths."""

from __future__ import annotations

import email.utils
import hashlib
import os
import time

import pytest
from web_support import lines_of

from pyfastloop import web

TEN = b"0123456789"
VERSION = hashlib.sha512(TEN).hexdigest()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(TEN)
    (folder / "sub" / "index.html").write_bytes(b"<p>")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "x.tar.gz").write_bytes(b"z")
    (folder / "noext").write_bytes(b"n")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "near.txt").write_bytes(b"secret")
    os.symlink(tmp_path / "secret.txt", folder / "out")
    os.symlink("a.txt", folder / "in")
    os.mkfifo(folder / "pipe")
    web.StaticFileHandler.reset()
    return folder


@pytest.fixture
def files(site, root):
    return site(
        [],
        static_path=str(root),
        static_handler_args={"default_filename": "index.html"},
    )


def test_a_file(files, root):
    answer = files.ask("/static/a.txt")
    assert (answer.code, answer.body) == (200, TEN)
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["Etag"] == f'"{VERSION}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == "10"
    modified = email.utils.parsedate_to_datetime(answer.headers["Last-Modified"])
    assert modified.timestamp() == int((root / "a.txt").stat().st_mtime)
    assert "Cache-Control" not in answer.headers
    head = files.ask("/static/a.txt", "HEAD")
    assert (head.rest, head.headers["Content-Length"]) == (b"", "10")
    assert files.ask("/static/a.txt", "POST", body="").code == 405


def test_a_versioned_url_may_be_kept(files):
    answer = files.ask(f"/static/a.txt?v={VERSION}")
    assert answer.headers["Cache-Control"] == "max-age=315360000"
    expires = email.utils.parsedate_to_datetime(answer.headers["Expires"])
    assert expires.timestamp() > time.time() + 9 * 365 * 86400


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("empty.txt", "text/plain"),
        ("x.tar.gz", "application/gzip"),
        ("noext", "application/octet-stream"),
    ],
)
def test_content_types(files, name, kind):
    assert files.ask(f"/static/{name}").headers["Content-Type"] == kind


def test_a_large_file_comes_in_pieces(files, root):
    content = os.urandom(300_000)
    (root / "large").write_bytes(content)
    answer = files.ask("/static/large")
    assert answer.headers["Content-Length"] == "300000"
    assert answer.body == content
    part = files.ask("/static/large", headers={"Range": "bytes=65530-200000"})
    assert part.body == content[65530:200001]


def test_directories(files):
    redirect = files.ask("/static/sub")
    assert (redirect.code, redirect.headers["Location"]) == (301, "/static/sub/")
    assert files.ask("/static/sub/").body == b"<p>"
    assert files.ask("/static/").code == 404


def test_a_directory_redirect_stays_on_its_host(site, root):
    s = site(
        [
            (
                "/(.*)",
                web.StaticFileHandler,
                {"path": str(root), "default_filename": "index.html"},
            )
        ]
    )
    (root / "evil.example").mkdir()
    answer = s.ask("//evil.example/%2e%2e/sub")
    assert answer.code == 403
    assert "Location" not in answer.headers


def test_favicon_and_robots(files, root):
    assert files.ask("/robots.txt").code == 404
    (root / "robots.txt").write_bytes(b"r")
    assert files.ask("/robots.txt").body == b"r"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../secret.txt", 403),
        ("..%2fsecret.txt", 403),
        ("%2e%2e/secret.txt", 403),
        ("sub/../../secret.txt", 403),
        ("../root2/near.txt", 403),
        ("%2fetc/passwd", 403),
        ("/etc/passwd", 403),
        ("out", 403),
        ("pipe", 403),
        ("nope", 404),
        ("a%00.txt", 404),
        ("%00", 404),
        ("%ff", 400),
        ("..\\secret.txt", 404),
        ("./a.txt", 200),
        ("sub/../a.txt", 200),
        ("in", 200),
    ],
)
def test_paths_never_lead_out(files, path, code):
    answer = files.ask("/static/" + path)
    assert answer.code == code
    assert b"secret" not in answer.body.replace(b"secret.txt", b"")


def test_links_to_allowed_directories(site, root, tmp_path):
    for allowed in (str(tmp_path), [str(tmp_path)]):
        s = site(
            [],
            static_path=str(root),
            static_handler_args={"allowed_symlink_directory": allowed},
        )
        assert s.ask("/static/out").body == b"secret"
        assert s.ask("/static/../secret.txt").code == 403


@pytest.mark.parametrize(
    ("given", "code", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=9-20", 206, b"9", "bytes 9-9/10"),
        ("bytes = 1-2", 206, b"12", "bytes 1-2/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=20-30", 416, b"", "bytes */10"),
        ("bytes=5-2", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=0-", 200, TEN, None),
        ("bytes=0-9", 200, TEN, None),
        ("bytes=-100", 200, TEN, None),
        ("bytes=0-1,3-4", 200, TEN, None),
        ("bytes=-", 200, TEN, None),
        ("bytes=a-b", 200, TEN, None),
        ("bytes=+1-2", 200, TEN, None),
        ("bytes=1_0-", 200, TEN, None),
        ("bytes=" + "1" * 5000 + "-", 416, b"", "bytes */10"),
        ("bytes=5-18446744073709551615", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-" + "9" * 30, 200, TEN, None),
        ("chars=0-1", 200, TEN, None),
    ],
)
def test_ranges(files, given, code, body, content_range):
    answer = files.ask("/static/a.txt", headers={"Range": given})
    assert (answer.code, answer.body) == (code, body)
    assert answer.headers.get("Content-Range") == content_range
    assert answer.headers["Content-Length"] == str(len(body))


def test_a_range_of_an_empty_file(files):
    for given in ("bytes=0-0", "bytes=-5"):
        answer = files.ask("/static/empty.txt", headers={"Range": given})
        assert (answer.code, answer.headers["Content-Range"]) == (416, "bytes */0")


def test_if_range(files):
    stamp = files.ask("/static/a.txt").headers["Last-Modified"]
    for condition, code in ((f'"{VERSION}"', 206), ('"x"', 200), (stamp, 206)):
        headers = {"If-Range": condition, "Range": "bytes=0-1"}
        assert files.ask("/static/a.txt", headers=headers).code == code


def test_a_range_is_not_compressed(site, root):
    (root / "long.txt").write_bytes(b"x" * 5000)
    s = site([], static_path=str(root), compress_response=True)
    headers = {"Accept-Encoding": "gzip", "Range": "bytes=0-2999"}
    answer = s.ask("/static/long.txt", headers=headers)
    assert (answer.code, answer.body) == (206, b"x" * 3000)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("If-None-Match", f'"{VERSION}"', 304),
        ("If-None-Match", '"x"', 200),
        ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:05 GMT", 200),
        ("If-Modified-Since", "Thu, 01 Jan 2099 00:00:05 GMT", 304),
        ("If-Modified-Since", "Thu, 01 Jan 2099 00:00:05 +0200", 304),
        ("If-Modified-Since", "junk", 200),
        ("If-Modified-Since", "Mon, 99 Foo", 200),
        ("If-Modified-Since", "Thu, 01 Jan 2099 0:0:99999999999999999999 GMT", 200),
    ],
)
def test_conditional_requests(files, name, value, code):
    answer = files.ask("/static/a.txt", headers={name: value})
    assert answer.code == code
    assert answer.body == (TEN if code == 200 else b"")


def test_make_static_url(root, caplog):
    make = web.StaticFileHandler.make_static_url
    settings = {"static_path": str(root)}
    assert make(settings, "a.txt") == f"/static/a.txt?v={VERSION}"
    assert make(settings, "a.txt", include_version=False) == "/static/a.txt"
    for name in ("nope", "sub", "pipe"):
        assert make(settings, name) == f"/static/{name}"
    assert len(lines_of(caplog, "tornado.general")) == 3
    for name in ("../secret.txt", "/etc/hostname"):
        with pytest.raises(web.HTTPError) as caught:
            make(settings, name)
        assert caught.value.status_code == 403


def test_versions_follow_the_file_and_are_bounded(root, monkeypatch):
    get = web.StaticFileHandler.get_version
    settings = {"static_path": str(root)}
    assert get(settings, "a.txt") == VERSION
    (root / "a.txt").write_bytes(b"changed!")
    assert get(settings, "a.txt") == hashlib.sha512(b"changed!").hexdigest()
    monkeypatch.setattr(web.StaticFileHandler, "MAX_CACHED_VERSIONS", 2)
    for name in ("a.txt", "noext", "empty.txt", "x.tar.gz"):
        get(settings, name)
    assert len(web.StaticFileHandler._static_hashes) <= 2
    monkeypatch.setattr(web.StaticFileHandler, "MAX_VERSION_CONTENT_SIZE", 3)
    web.StaticFileHandler.reset()
    assert get(settings, "a.txt") is None


def test_content_from_elsewhere(site):
    class Memory(web.StaticFileHandler):
        @classmethod
        def get_absolute_path(cls, root, path):
            return path

        def validate_absolute_path(self, root, absolute_path):
            return absolute_path

        @classmethod
        def get_content(cls, path, start=None, end=None):
            return b"from memory"[start:end]

        def get_content_size(self):
            return 11

        def get_modified_time(self):
            return None

    s = site([("/m/(.*)", Memory, {"path": ""})])
    answer = s.ask("/m/x.txt")
    assert answer.body == b"from memory"
    assert answer.headers["Etag"] == f'"{hashlib.sha512(b"from memory").hexdigest()}"'
    assert s.ask("/m/x.txt", headers={"Range": "bytes=5-"}).body == b"memory"


def test_extra_headers_and_cache_time(site, root):
    class Mine(web.StaticFileHandler):
        def set_extra_headers(self, path):
            self.set_header("X-Path", path)

        def get_cache_time(self, path, modified, mime_type):
            return 60

    s = site([], static_path=str(root), static_handler_class=Mine)
    answer = s.ask("/static/a.txt")
    assert answer.headers["X-Path"] == "a.txt"
    assert answer.headers["Cache-Control"] == "max-age=60"


def test_a_subclass_may_ask_for_the_stat_of_its_file(site, tmp_path):
    class Handler(web.StaticFileHandler):
        def get_content_size(self):
            assert self._stat() is self._stat_result
            return self._stat().st_size

    (tmp_path / "a.txt").write_text("abc")
    answer = site([("/(.*)", Handler, {"path": str(tmp_path)})]).ask("/a.txt")
    assert (answer.code, answer.body) == (200, b"abc")
