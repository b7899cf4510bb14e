"""compress_response and compressed neighbours of static files: who gets which bytes."""

from __future__ import annotations

import gzip
import importlib
import os
import sys

import pytest

from pyfastloop import web
from pyfastloop._codings import available, choose

ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
TEXT = "all work and no play " * 200


def decode(coding: str | None, body: bytes) -> bytes:
    if coding is None:
        return body
    if coding == "gzip":
        return gzip.decompress(body)
    if coding == "br":
        return pytest.importorskip("brotli").decompress(body)
    return importlib.import_module(ZSTD).decompress(body)


@pytest.mark.parametrize(
    ("accept", "offered", "chosen"),
    [
        ("gzip", ["zstd", "br", "gzip"], "gzip"),
        ("gzip, br, zstd", ["zstd", "br", "gzip"], "zstd"),
        ("gzip;q=1, br;q=0.9, zstd;q=0.1", ["zstd", "br", "gzip"], "gzip"),
        ("GZIP", ["gzip"], "gzip"),
        ("x-gzip", ["gzip"], "gzip"),
        ("gzip;q=0", ["gzip"], None),
        ("gzip;q=0.000, br", ["br", "gzip"], "br"),
        ("gzip; Q=0.5", ["gzip"], "gzip"),
        ("gzip;q=x", ["gzip"], None),
        ("*", ["zstd", "br", "gzip"], "gzip"),
        ("*;q=0", ["gzip"], None),
        ("br, *;q=0", ["br", "gzip"], "br"),
        ("gzip;q=0, *", ["gzip"], None),
        ("identity", ["gzip"], None),
        ("", ["gzip"], None),
    ],
)
def test_negotiation(accept: str, offered: list[str], chosen: str | None) -> None:
    assert choose(accept, offered) == chosen


class Text(web.RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain")
        self.write(TEXT)


class Pieces(web.RequestHandler):
    async def get(self) -> None:
        self.set_header("Vary", "Cookie")
        for _ in range(3):
            self.write(TEXT)
            await self.flush()


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("path", ["/", "/pieces"])
def test_a_compressed_response(site, coding, path):
    if coding not in available():
        pytest.skip(f"does not apply: nothing makes {coding} here")
    s = site([("/", Text), ("/pieces", Pieces)], compress_response=True)
    r = s.ask(path, headers={"Accept-Encoding": coding})
    assert r.headers["Content-Encoding"] == coding
    times = 3 if path == "/pieces" else 1
    assert decode(coding, r.body) == TEXT.encode() * times
    if path == "/":
        assert r.headers["Etag"].startswith('W/"')
        assert r.headers["Vary"] == "Accept-Encoding"
        assert r.headers["Content-Length"] == str(len(r.body))
        again = s.ask(
            path,
            headers={"Accept-Encoding": coding, "If-None-Match": r.headers["Etag"]},
        )
        assert again.code == 304
    else:
        assert r.headers["Vary"] == "Cookie, Accept-Encoding"


def test_who_accepts_nothing_gets_it_plain_and_a_strong_etag(site):
    s = site([("/", Text)], compress_response=True)
    r = s.ask("/")
    assert "Content-Encoding" not in r.headers
    assert r.headers["Etag"].startswith('"')
    assert r.headers["Vary"] == "Accept-Encoding"
    assert r.body == TEXT.encode()


@pytest.fixture
def neighbours(site, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "page.html").write_bytes(b"plain")
    # What they hold does not matter to who sends them.
    (root / "page.html.br").write_bytes(b"by brotli")
    (root / "page.html.gz").write_bytes(b"by gzip")
    return site([("/(.*)", web.StaticFileHandler, {"path": str(root)})]), root


@pytest.mark.parametrize(
    ("accept", "coding", "body"),
    [
        ("gzip, br", "br", b"by brotli"),
        ("gzip", "gzip", b"by gzip"),
        ("br;q=0.1, gzip", "gzip", b"by gzip"),
        ("zstd", None, b"plain"),
        ("br;q=0", None, b"plain"),
        ("identity", None, b"plain"),
    ],
)
def test_a_neighbour(neighbours, accept, coding, body):
    s, _ = neighbours
    r = s.ask("/page.html", headers={"Accept-Encoding": accept})
    assert r.headers.get("Content-Encoding") == coding
    assert r.body == body
    assert r.headers["Content-Type"].startswith("text/html")
    assert r.headers["Vary"] == "Accept-Encoding"


def test_a_neighbour_has_an_etag_and_ranges_of_its_own(neighbours):
    s, _ = neighbours
    br = {"Accept-Encoding": "br"}
    plain = s.ask("/page.html")
    packed = s.ask("/page.html", headers=br)
    assert plain.headers["Etag"] != packed.headers["Etag"]
    part = s.ask("/page.html", headers={**br, "Range": "bytes=3-"})
    assert (part.code, part.body) == (206, b"brotli")
    assert part.headers["Content-Range"] == "bytes 3-8/9"
    same = s.ask(
        "/page.html",
        headers={**br, "If-None-Match": packed.headers["Etag"]},
    )
    assert same.code == 304


def test_a_range_behind_a_neighbour_has_no_coding(neighbours):
    s, _ = neighbours
    headers = {"Accept-Encoding": "br", "Range": "bytes=1000-"}
    answer = s.ask("/page.html", headers=headers)
    assert (answer.code, answer.headers["Content-Range"]) == (416, "bytes */9")
    assert "Content-Encoding" not in answer.headers


def test_an_older_neighbour_is_left_alone(neighbours):
    s, root = neighbours
    os.utime(root / "page.html.br", (1, 1))
    os.utime(root / "page.html.gz", (1, 1))
    r = s.ask("/page.html", headers={"Accept-Encoding": "br, gzip"})
    assert r.body == b"plain"
    assert "Vary" not in r.headers


def test_a_neighbour_that_leads_out_is_left_alone(neighbours, tmp_path):
    """Bug class 15: a link named like a compressed form."""
    s, root = neighbours
    (tmp_path / "secret").write_bytes(b"secret")
    for name in ("page.html.br", "page.html.gz"):
        (root / name).unlink()
        (root / name).symlink_to(tmp_path / "secret")
    r = s.ask(
        "/page.html",
        headers={"Accept-Encoding": "br, gzip"},
    )
    assert r.body == b"plain"


def test_neighbours_can_be_switched_off(site, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"plain")
    (tmp_path / "a.txt.gz").write_bytes(b"by gzip")
    arguments = {"path": str(tmp_path), "precompressed": False}
    s = site([("/(.*)", web.StaticFileHandler, arguments)])
    r = s.ask("/a.txt", headers={"Accept-Encoding": "gzip"})
    assert r.body == b"plain"


def test_content_from_elsewhere_has_no_neighbours(site, tmp_path):
    class Elsewhere(web.StaticFileHandler):
        @classmethod
        def get_content(cls, abspath, start=None, end=None):
            return b"other"

    (tmp_path / "a.txt").write_bytes(b"plain")
    (tmp_path / "a.txt.gz").write_bytes(b"by gzip")
    s = site([("/(.*)", Elsewhere, {"path": str(tmp_path)})])
    r = s.ask("/a.txt", headers={"Accept-Encoding": "gzip"})
    assert r.body == b"other"
