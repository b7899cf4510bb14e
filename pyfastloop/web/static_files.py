"""Files from a directory, with versions, conditional requests and ranges.

The path of a request is joined to the root, then checked twice: as text (nothing
that ``..`` or a second slash could lead out) and, after symbolic links were followed,
on the file system. One range is served (RFC 9110 section 14); several, or what is no
range, get the whole file.

Differs from Tornado: a path with a NUL is 404 rather than 500, ``If-Range`` is heeded,
a cached version is recomputed when the file's size or time changed, and a compressed
neighbour (``page.html.br``, ``.zst``, ``.gz``) is sent to clients that accept it.
"""

from __future__ import annotations

import datetime
import email.utils
import hashlib
import mimetypes
import os
import re
import stat
import threading
from collections.abc import Generator, Iterable
from typing import Any, ClassVar

from pyfastloop._codings import choose
from pyfastloop.iostream import StreamClosedError
from pyfastloop.log import gen_log
from pyfastloop.web.errors import HTTPError
from pyfastloop.web.handler import RequestHandler
from pyfastloop.web.redirects import starts_with_host

__all__ = ["StaticFileHandler"]

_READ_SIZE = 64 * 1024
# Codings of neighbours, best first.
_NEIGHBOURS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
# RFC 9110 section 14.1.1, blanks allowed as Tornado does; 18 digits are any file.
_RANGE = re.compile(
    r"[ \t]*bytes[ \t]*=[ \t]*([0-9]{0,18})[ \t]*-[ \t]*([0-9]{0,18})[ \t]*\Z"
)
# The size and time a version was computed for; None where there is no file to ask.
_Signature = tuple[int, int] | None


class StaticFileHandler(RequestHandler):
    """Serves the files below a directory.

    Made by ``Application(static_path=...)``, or by a route with one group::

        (r"/content/(.*)", StaticFileHandler, {"path": "/var/www"})

    ``default_filename`` is served for a directory. Links that lead out of the root
    are refused unless ``allowed_symlink_directory`` (a directory or list) holds
    their target. Where ``page.html.br``, ``.zst`` or ``.gz`` lies beside ``page.html``
    and is not older, it is what a client that accepts that coding gets, unless
    ``precompressed`` is False. Subclasses may override the class methods and hooks
    below; in them ``path``, ``absolute_path`` and ``modified`` are set.
    """

    #: Seconds that a browser may keep a file asked for with its version: ten years.
    CACHE_MAX_AGE = 86400 * 365 * 10
    #: Versions kept; past it all are forgotten.
    MAX_CACHED_VERSIONS = 10000
    #: Bytes; a larger file gets no version, for it would have to be read for one.
    MAX_VERSION_CONTENT_SIZE = 64 * 1024 * 1024

    _static_hashes: ClassVar[dict[str, tuple[_Signature, str | None]]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    root: str
    path: str
    absolute_path: str | None
    default_filename: str | None
    allowed_symlink_directory: str | list[str] | None
    precompressed: bool
    modified: datetime.datetime | None

    def initialize(
        self,
        path: str,
        default_filename: str | None = None,
        allowed_symlink_directory: str | list[str] | None = None,
        precompressed: bool = True,
    ) -> None:
        """``path``: the root; for the others see the class."""
        self.precompressed = precompressed
        self.root = path
        self.default_filename = default_filename
        self.allowed_symlink_directory = allowed_symlink_directory
        self._stat_result: os.stat_result | None = None
        self._coding: str | None = None

    @classmethod
    def reset(cls) -> None:
        """Forgets all versions."""
        with cls._lock:
            cls._static_hashes.clear()

    # -- answering ------------------------------------------------------------------

    async def head(self, path: str) -> None:
        """The head that :meth:`get` would send."""
        await self.get(path, include_body=False)

    async def get(self, path: str, include_body: bool = True) -> None:
        """Serves ``path``, the group of the route."""
        self.path = self.parse_url_path(path)
        absolute_path = self.get_absolute_path(self.root, self.path)
        self.absolute_path = self.validate_absolute_path(self.root, absolute_path)
        if self.absolute_path is None:
            return  # redirected
        self.modified = self.get_modified_time()
        served = self._choose_neighbour(self.absolute_path)
        self.set_headers()
        if self.should_return_304():
            self.set_status(304)
            return
        size = self.get_content_size()
        start, end = self._requested_range(size)
        if start >= end and self._status_code == 416:
            return
        self.set_header("Content-Length", end - start)
        if include_body:
            await self._send(
                served, start if start else None, end if end != size else None
            )
        elif self.request.method != "HEAD":
            raise HTTPError(500, "include_body=False is for HEAD requests")

    def _requested_range(self, size: int) -> tuple[int, int]:
        """The bytes to send, and the status and headers that say so."""
        wanted = _parse_range(self.request.headers.get("Range"))
        if wanted is None or not self._if_range_holds():
            return 0, size
        first, last = wanted
        if first is None:  # the last so many bytes
            start, end = max(0, size - (last or 0)), size
        else:
            start, end = first, size if last is None else min(size, last + 1)
        if start >= end:
            self.set_status(416)
            self.set_header("Content-Type", "text/plain")
            self.set_header("Content-Range", f"bytes */{size}")
            return 0, 0
        if end - start != size:
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        return start, end

    def _if_range_holds(self) -> bool:
        """RFC 9110 section 13.1.5: the range is of the file the client has seen."""
        condition: str | None = self.request.headers.get("If-Range")
        if condition is None:
            return True
        condition = condition.strip()
        validator = "Etag" if condition.endswith('"') else "Last-Modified"
        return bool(condition == self._headers.get(validator))

    def _choose_neighbour(self, absolute_path: str) -> str:
        """The path to send: of the file, or of a compressed form of it."""
        accept: str | None = self.request.headers.get("Accept-Encoding")
        if not self.precompressed or accept is None or not self._sends_files():
            return absolute_path
        found = {}
        for coding, suffix in _NEIGHBOURS.items():
            status = self._stat_neighbour(absolute_path + suffix)
            if status is not None:
                found[coding] = status
        if not found:
            return absolute_path
        self.add_header("Vary", "Accept-Encoding")
        self._coding = choose(accept, list(found))
        if self._coding is None:
            return absolute_path
        self.set_header("Content-Encoding", self._coding)
        self._stat_result = found[self._coding]
        return absolute_path + _NEIGHBOURS[self._coding]

    def _sends_files(self) -> bool:
        """Whether content and size are those of files: not where a subclass has them
        from elsewhere."""
        cls = type(self)
        return (
            cls.get_content.__func__ is StaticFileHandler.get_content.__func__  # type: ignore[attr-defined]
            and cls.get_content_size is StaticFileHandler.get_content_size
        )

    def _stat_neighbour(self, path: str) -> os.stat_result | None:
        """A regular file that may be served and is not older than the original."""
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                return None
            self._check_links(self.root, path)
        except (OSError, HTTPError):
            return None
        return status if status.st_mtime_ns >= self._stat().st_mtime_ns else None

    async def _send(self, path: str, start: int | None, end: int | None) -> None:
        content = self.get_content(path, start, end)
        pieces = [content] if isinstance(content, bytes) else content
        for piece in pieces:
            if self._write_buffer:
                # All but the last piece, which finish sends.
                try:
                    await self.flush()
                except StreamClosedError:
                    return
            self.write(piece)

    def compute_etag(self) -> str | None:
        """The file's version in quotes; None where it has none."""
        version = self._get_cached_version(self.absolute_path or "")
        if version and self._coding:
            version += "-" + self._coding  # other bytes, another entity
        return f'"{version}"' if version else None

    def set_headers(self) -> None:
        """Sets the headers about the file."""
        self.set_header("Accept-Ranges", "bytes")
        self.set_etag_header()
        if self.modified is not None:
            self.set_header("Last-Modified", self.modified)
        content_type = self.get_content_type()
        if content_type:
            self.set_header("Content-Type", content_type)
        seconds = self.get_cache_time(self.path, self.modified, content_type)
        if seconds > 0:
            now = datetime.datetime.now(datetime.UTC)
            self.set_header("Expires", now + datetime.timedelta(seconds=seconds))
            self.set_header("Cache-Control", f"max-age={seconds}")
        self.set_extra_headers(self.path)

    def should_return_304(self) -> bool:
        """Whether the client has the file already: by ETag where it sent one, else by
        time (RFC 9110 section 13.2.2)."""
        if self.request.headers.get("If-None-Match"):
            return self.check_etag_header()
        since: str | None = self.request.headers.get("If-Modified-Since")
        if since is None or self.modified is None:
            return False
        try:
            date = email.utils.parsedate_to_datetime(since)
        except (TypeError, ValueError):
            return False  # no date: as if it were not there
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return date >= self.modified

    # -- paths ------------------------------------------------------------------------

    def parse_url_path(self, url_path: str) -> str:
        """The path of a URL as one of the file system; inverse of
        :meth:`make_static_url`. Override where that is overridden."""
        return url_path

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        """Where ``path`` lies below ``root``; :exc:`HTTPError` (403) where it leads
        out of it, 404 for what no file system can name."""
        if "\0" in path:
            raise HTTPError(404)
        absolute_path = os.path.abspath(os.path.join(root, path))
        if not _is_below(os.path.abspath(root), absolute_path):
            raise HTTPError(403, "%s is not in root static directory", path)
        return absolute_path

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """The file to serve for ``absolute_path``, or None after a redirect.

        Raises :exc:`HTTPError`: 403 for what lies outside of ``root`` or is no file,
        404 for what is not there.
        """
        if not _is_below(os.path.abspath(root), absolute_path):
            raise HTTPError(403, "%s is not in root static directory", self.path)
        self._check_links(root, absolute_path)
        if self.default_filename is not None and os.path.isdir(absolute_path):
            # Relative links of the page need the slash.
            if not self.request.path.endswith("/"):
                if starts_with_host(self.request.path):
                    raise HTTPError(
                        403, "cannot redirect path with two initial slashes"
                    )
                self.redirect(self.request.path + "/", permanent=True)
                return None
            absolute_path = os.path.join(absolute_path, self.default_filename)
            self._check_links(root, absolute_path)
        if not os.path.exists(absolute_path):
            raise HTTPError(404)
        if not os.path.isfile(absolute_path):
            raise HTTPError(403, "%s is not a file", self.path)
        return absolute_path

    def _check_links(self, root: str, absolute_path: str) -> None:
        allowed = self.allowed_symlink_directory
        folders = [allowed] if isinstance(allowed, str) else list(allowed or ())
        real = os.path.realpath(absolute_path)
        if not any(_is_below(os.path.realpath(f), real) for f in [root, *folders]):
            raise HTTPError(403, "%s is not in root static directory", self.path)

    # -- content ----------------------------------------------------------------------

    @classmethod
    def get_content(
        cls, abspath: str, start: int | None = None, end: int | None = None
    ) -> Generator[bytes, None, None]:
        """The bytes ``start`` to ``end`` (not included) of a file, in pieces.

        An override may also give them as one bytes object.
        """
        with open(abspath, "rb") as file:
            if start is not None:
                file.seek(start)
            remaining = None if end is None else end - (start or 0)
            while remaining is None or remaining > 0:
                size = _READ_SIZE if remaining is None else min(_READ_SIZE, remaining)
                piece = file.read(size)
                if not piece:
                    return
                if remaining is not None:
                    remaining -= len(piece)
                yield piece

    def _stat(self) -> os.stat_result:
        if self._stat_result is None:
            self._stat_result = os.stat(self.absolute_path or "")
        return self._stat_result

    def get_content_size(self) -> int:
        """The length of the file in bytes."""
        return self._stat().st_size

    def get_modified_time(self) -> datetime.datetime | None:
        """When the file was last changed, in whole seconds, aware."""
        return datetime.datetime.fromtimestamp(int(self._stat().st_mtime), datetime.UTC)

    def get_content_type(self) -> str:
        """The media type, by the file's name."""
        kind, encoding = mimetypes.guess_type(self.absolute_path or "")
        if encoding == "gzip":
            # RFC 6713; the content is sent as it is, not decoded.
            return "application/gzip"
        if encoding is not None or kind is None:
            return "application/octet-stream"
        return kind

    def set_extra_headers(self, path: str) -> None:
        """Override to add headers."""

    def get_cache_time(
        self, path: str, modified: datetime.datetime | None, mime_type: str
    ) -> int:
        """Seconds that the file may be kept without asking: for ever where the URL
        has a version, else 0, which leaves it to the browser."""
        return self.CACHE_MAX_AGE if "v" in self.request.arguments else 0

    # -- versions --------------------------------------------------------------------

    @classmethod
    def make_static_url(
        cls, settings: dict[str, Any], path: str, include_version: bool = True
    ) -> str:
        """The URL of ``path`` for :meth:`RequestHandler.static_url`.

        Made without a handler, so overrides must be class methods.
        """
        url: str = settings.get("static_url_prefix", "/static/") + path
        if not include_version:
            return url
        version = cls.get_version(settings, path)
        return f"{url}?v={version}" if version else url

    @classmethod
    def get_version(cls, settings: dict[str, Any], path: str) -> str | None:
        """The version of the file ``path`` below ``static_path``, or None."""
        return cls._get_cached_version(
            cls.get_absolute_path(settings["static_path"], path)
        )

    @classmethod
    def get_content_version(cls, abspath: str) -> str:
        """A version by content: the SHA-512 of the file in hexadecimal."""
        content: bytes | Iterable[bytes] = cls.get_content(abspath)
        digest = hashlib.sha512()
        for piece in [content] if isinstance(content, bytes) else content:
            digest.update(piece)
        return digest.hexdigest()

    @classmethod
    def _get_cached_version(cls, abs_path: str) -> str | None:
        signature = _signature(abs_path)
        with cls._lock:
            known = cls._static_hashes.get(abs_path)
            if known is not None and known[0] == signature:
                return known[1]
        version = cls._compute_version(abs_path)
        with cls._lock:
            if len(cls._static_hashes) >= cls.MAX_CACHED_VERSIONS:
                cls._static_hashes.clear()
            cls._static_hashes[abs_path] = (signature, version)
        return version

    @classmethod
    def _compute_version(cls, abs_path: str) -> str | None:
        try:
            cls._require_modest_file(abs_path)
            return cls.get_content_version(abs_path)
        except (OSError, HTTPError) as error:
            gen_log.error("Could not open static file %r: %s", abs_path, error)
            return None

    @classmethod
    def _require_modest_file(cls, abs_path: str) -> None:
        """Raises for a file that must not be read for its version: opening a pipe
        would wait for ever. Where content comes from elsewhere there is none."""
        if cls.get_content.__func__ is not StaticFileHandler.get_content.__func__:  # type: ignore[attr-defined]
            return
        try:
            status = os.stat(abs_path)
        except FileNotFoundError:
            raise HTTPError(404) from None
        if not stat.S_ISREG(status.st_mode):
            raise HTTPError(403, "%s is not a file", abs_path)
        if status.st_size > cls.MAX_VERSION_CONTENT_SIZE:
            raise HTTPError(
                403,
                "%s has %d bytes, more than MAX_VERSION_CONTENT_SIZE",
                abs_path,
                status.st_size,
            )


def _parse_range(value: str | None) -> tuple[int | None, int | None] | None:
    """(first, last) of one range, last included; (None, n) for the last n bytes; None
    where there is no range that can be served."""
    match = None if value is None else _RANGE.match(value)
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    return int(first) if first else None, int(last) if last else None


def _is_below(root: str, path: str) -> bool:
    """Whether ``path`` is ``root`` or lies in it; both absolute and normal."""
    return (path + os.path.sep).startswith(root.rstrip(os.path.sep) + os.path.sep)


def _signature(path: str) -> _Signature:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
