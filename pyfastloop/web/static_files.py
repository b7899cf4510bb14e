"""Files from a directory, with versions, conditional requests and ranges.

The path of a request is joined to the root, then checked twice: as text (nothing
that ``..`` or a second slash could lead out) and by opening it below the root, which
the kernel does in one step with all links on the way. What was opened then is what is
measured, described and sent, whatever happens to its path meanwhile. One range is
served (RFC 9110 section 14); several, or what is no range, get the whole file.

A small file is read and leaves with its head; a larger one leaves by sendfile in C, in
slices, or in pieces where something wants to see them: TLS, a transform, a subclass's
``flush`` or ``write``. A subclass with a ``get_content`` or ``get_content_size`` of its
own has these called for every answer. Nothing waits for a disk on the loop: a path that
is not in the kernel's name cache is looked up, and bytes that are not in its memory are
read, by a thread of the loop's default executor; so is a version's content.

Differs from Tornado: a path with a NUL is 404 rather than 500 and a file that must not
be read 403, ``If-Range`` is heeded, a cached version is recomputed when the file's size
or time changed, and a compressed neighbour (``page.html.br``, ``.zst``, ``.gz``) is
sent to clients that accept it. A file that becomes shorter while it is being sent ends
its connection, and is logged.
"""

from __future__ import annotations

import datetime
import email.utils
import errno
import functools
import hashlib
import mimetypes
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, ClassVar, TypeVar

from pyfastloop import _core, httputil
from pyfastloop._codings import choose
from pyfastloop.ioloop import IOLoop
from pyfastloop.iostream import StreamClosedError
from pyfastloop.log import gen_log
from pyfastloop.web.base import connection_of
from pyfastloop.web.errors import HTTPError
from pyfastloop.web.handler import RequestHandler
from pyfastloop.web.redirects import starts_with_host
from pyfastloop.web.transforms import GZipContentEncoding

__all__ = ["StaticFileHandler"]

_READ_SIZE = 64 * 1024
# A body up to this size is read and sent together with its head.
_SMALL = 64 * 1024
_T = TypeVar("_T")
# What opening a path says where nothing can be found by it.
_NOT_FOUND = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_NO_FILE = {errno.EACCES, errno.ENXIO, errno.ENODEV}
# Codings of neighbours, best first.
_NEIGHBOURS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
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
    # What validate_absolute_path opened, and by which path; what is sent (a neighbour
    # perhaps); the neighbour's coding.
    _file: _core.OpenFile | None = None
    _file_path: str | None = None
    _served: _core.OpenFile | None = None
    _coding: str | None = None

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
        try:
            await self._answer(path, include_body)
        finally:
            # The descriptor is not needed any longer; what is being sent has its own
            # reference.
            self._file = self._file_path = self._served = None

    async def _answer(self, path: str, include_body: bool) -> None:
        self.path = self.parse_url_path(path)
        absolute_path = self.get_absolute_path(self.root, self.path)
        if not self._looked_up(absolute_path):
            await _in_thread(self._look_up, absolute_path)
        self.absolute_path = self.validate_absolute_path(self.root, absolute_path)
        if self.absolute_path is None:
            return  # redirected
        if self.absolute_path != self._file_path:
            self._file = self._file_path = None
        self.modified = self.get_modified_time()
        file = self._file
        if file is not None:
            if self._sends_files():
                self._served = file
                if self.precompressed and "Accept-Encoding" in self.request.headers:
                    await self._choose_neighbour(self.absolute_path, file)
            if self._version_is_due(self.absolute_path, file):
                signature = file.size, file.mtime_ns
                await _in_thread(self._version_of, self.absolute_path, signature)
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
            if self._served is not None:
                await self._send(self._served, start, end - start)
            else:
                await self._send_content(
                    start if start else None, end if end != size else None
                )
        elif self.request.method != "HEAD":
            raise HTTPError(500, "include_body=False is for HEAD requests")

    def _requested_range(self, size: int) -> tuple[int, int]:
        """The bytes to send, and the status and headers that say so."""
        header = self.request.headers.get("Range")
        wanted = None if header is None else httputil._parse_request_range(header)
        if wanted is None or wanted == (None, None) or not self._if_range_holds():
            return 0, size
        first, after = wanted
        start, end, _ = slice(first, after).indices(size)
        if start >= end:
            self.set_status(416)
            self.set_header("Content-Type", "text/plain")
            self.set_header("Content-Range", f"bytes */{size}")
            self.clear_header("Content-Encoding")  # of nothing
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

    async def _choose_neighbour(self, path: str, file: _core.OpenFile) -> None:
        """Lets a compressed form of the file be served, where there is one."""
        found = {}
        for coding, suffix in _NEIGHBOURS.items():
            neighbour: _core.OpenFile | None
            try:
                neighbour = self._open(self.root, path + suffix, cached=True)
            except BlockingIOError:
                neighbour = await _in_thread(self._open_or_none, path + suffix)
            except (OSError, ValueError, HTTPError):
                continue
            # Not what is older than the original.
            if neighbour and neighbour.regular and neighbour.mtime_ns >= file.mtime_ns:
                found[coding] = neighbour
        if not found:
            return
        self.add_header("Vary", "Accept-Encoding")
        accept = self.request.headers["Accept-Encoding"]
        self._coding = choose(accept, list(found))
        if self._coding is not None:
            self.set_header("Content-Encoding", self._coding)
            self._served = found[self._coding]

    def _sends_files(self) -> bool:
        """Whether content and size are those of files: not where a subclass has them
        from elsewhere."""
        cls = type(self)
        return (
            _function(cls.get_content) is _get_content
            and cls.get_content_size is _get_content_size
            and "get_content" not in self.__dict__
            and "get_content_size" not in self.__dict__
        )

    async def _send(self, file: _core.OpenFile, start: int, size: int) -> None:
        """Sends a part of a file: by the kernel, or in pieces."""
        if size > _SMALL:
            self._drop_idle_transforms()
            sent = self._send_file(file, start, size)
            if sent is not None:
                try:
                    await sent
                except StreamClosedError:
                    pass
                finally:
                    # Its error's traceback has this frame, and so the open file, until
                    # the collector comes.
                    del sent
                return
        end = start + size
        while start < end:
            most = min(_READ_SIZE, end - start)
            piece = file.read_cached(start, most)
            if piece is None:
                piece = await _in_thread(file.read, start, most)
            if len(piece) < most:
                gen_log.error(
                    "Sending %s failed: it became shorter; its connection is closed",
                    self.absolute_path,
                )
                connection_of(self.request).stream.close()
                return
            start += most
            self.write(piece)
            if start < end:  # the last piece is finish's
                try:
                    await self.flush()
                except StreamClosedError:
                    return

    def _drop_idle_transforms(self) -> None:
        """Lets compression that will not compress have its say on the head only."""
        compress = GZipContentEncoding
        for transform in self._transforms or ():
            if (
                type(transform) is not compress
                or compress.transform_first_chunk is not _transform_first_chunk
                or compress.transform_chunk is not _transform_chunk
                or not transform._leaves(self._status_code, self._headers)
            ):
                return
        for transform in self._transforms or ():
            transform.transform_first_chunk(
                self._status_code, self._headers, b"", False
            )
        self._transforms = []

    async def _send_content(self, start: int | None, end: int | None) -> None:
        """Sends what get_content gives."""
        content = self.get_content(self.absolute_path or "", start, end)
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
        path = self.absolute_path or ""
        file = self._file
        if file is not None and path == self._file_path:
            version = self._version_of(path, (file.size, file.mtime_ns))
        else:
            version = self._get_cached_version(path)
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
        except (TypeError, ValueError, OverflowError):
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
        if not _is_below(_folder(root), absolute_path):
            raise HTTPError(403, "%s is not in root static directory", path)
        return absolute_path

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """The file to serve for ``absolute_path``, or None after a redirect.

        Raises :exc:`HTTPError`: 403 for what lies outside of ``root`` or is no file,
        404 for what is not there.
        """
        if not _is_below(_folder(root), absolute_path):
            raise HTTPError(403, "%s is not in root static directory", self.path)
        try:
            file = self._open(root, absolute_path)
            if self.default_filename is not None and file.folder:
                # Relative links of the page need the slash.
                if not self.request.path.endswith("/"):
                    if starts_with_host(self.request.path):
                        raise HTTPError(
                            403, "cannot redirect path with two initial slashes"
                        )
                    self.redirect(self.request.path + "/", permanent=True)
                    return None
                absolute_path = os.path.join(absolute_path, self.default_filename)
                file = self._open(root, absolute_path)
        except (OSError, ValueError) as error:
            code = getattr(error, "errno", errno.ENOENT)  # ValueError: no file's name
            if code in _NOT_FOUND:
                raise HTTPError(404) from None
            if code in _NO_FILE:
                raise HTTPError(403, "%s cannot be read", self.path) from None
            raise
        if not file.regular:
            raise HTTPError(403, "%s is not a file", self.path)
        self._file, self._file_path = file, absolute_path
        return absolute_path

    def _open(self, root: str, path: str, cached: bool = False) -> _core.OpenFile:
        """Opens what may be served by an absolute path.

        Raises :exc:`OSError`, :exc:`BlockingIOError` among them where ``cached`` and a
        disk would be asked, and :exc:`HTTPError` (403) for what links lead out to.
        """
        if path == self._file_path and self._file is not None:
            return self._file
        folder = _folder(root)
        try:
            return _core.OpenFile(folder, _below(folder, path), cached)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS):
                raise
            if cached:
                raise BlockingIOError(errno.EAGAIN, "links to follow", path) from None
            without_openat2 = error.errno == errno.ENOSYS
        # Links that are absolute or leave the root, or a kernel before Linux 5.6.
        folder, real = self._follow_links(root, path)
        if without_openat2:
            return _core.OpenFile(None, real)
        return _core.OpenFile(folder, _below(folder, real))

    def _follow_links(self, root: str, path: str) -> tuple[str, str]:
        """Where a path leads, and the folder of those allowed in which that lies."""
        allowed = self.allowed_symlink_directory
        folders = [allowed] if isinstance(allowed, str) else list(allowed or ())
        real = os.path.realpath(path)
        for folder in [root, *folders]:
            folder = os.path.realpath(folder)
            if _is_below(folder, real):
                return folder, real
        raise HTTPError(403, "%s is not in root static directory", self.path)

    def _open_or_none(self, path: str) -> _core.OpenFile | None:
        try:
            return self._open(self.root, path)
        except (OSError, ValueError, HTTPError):
            return None

    def _looked_up(self, path: str) -> bool:
        """Whether validate_absolute_path will not have to wait for a disk."""
        if type(self).validate_absolute_path is not _validate_absolute_path:
            return True  # what that asks is not known
        try:
            file = self._open(self.root, path, cached=True)
            if file.folder and self.default_filename is not None:
                path = os.path.join(path, self.default_filename)
                self._open(self.root, path, cached=True)
                return True
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True
        self._file, self._file_path = file, path
        return True

    def _look_up(self, path: str) -> None:
        """Makes the kernel know a path; in a thread."""
        file = self._open_or_none(path)
        if file is not None and file.folder and self.default_filename is not None:
            self._open_or_none(os.path.join(path, self.default_filename))

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
        """The file's stat, asked for once; Bokeh's handler of static files uses it."""
        if not hasattr(self, "_stat_result"):
            self._stat_result = os.stat(self.absolute_path or "")
        return self._stat_result

    def get_content_size(self) -> int:
        """The length of the file in bytes."""
        if self._served is not None:
            return self._served.size
        return os.stat(self.absolute_path or "").st_size

    def get_modified_time(self) -> datetime.datetime | None:
        """When the file was last changed, in whole seconds, aware."""
        if self._file is not None:
            seconds = self._file.mtime_ns // 1_000_000_000
        else:
            seconds = int(os.stat(self.absolute_path or "").st_mtime)
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)

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
        return cls._version_of(abs_path, _signature(abs_path))

    @classmethod
    def _version_of(cls, abs_path: str, signature: _Signature) -> str | None:
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

    def _version_is_due(self, path: str, file: _core.OpenFile) -> bool:
        """Whether a thread should make a version first: not where a subclass does,
        which expects to be on the loop."""
        cls = type(self)
        if (
            cls.compute_etag is not _compute_etag
            or _function(cls.get_content_version) is not _get_content_version
            or _function(cls.get_content) is not _get_content
        ):
            return False
        known = cls._static_hashes.get(path)
        return known is None or known[0] != (file.size, file.mtime_ns)

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
        if _function(cls.get_content) is not _get_content:
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


def _function(method: Any) -> Any:
    """What a class method calls, or what somebody put in its place."""
    return getattr(method, "__func__", method)


# What the class was born with: patches of it are to be seen, too.
_get_content = _function(StaticFileHandler.get_content)
_get_content_size = StaticFileHandler.get_content_size
_get_content_version = _function(StaticFileHandler.get_content_version)
_compute_etag = StaticFileHandler.compute_etag
_transform_first_chunk = GZipContentEncoding.transform_first_chunk
_transform_chunk = GZipContentEncoding.transform_chunk
_validate_absolute_path = StaticFileHandler.validate_absolute_path


async def _in_thread(function: Callable[..., _T], *args: Any) -> _T:
    return await IOLoop.current().run_in_executor(None, function, *args)


@functools.lru_cache(maxsize=64)
def _normal(path: str) -> str:
    return os.path.normpath(path)


def _folder(root: str) -> str:
    """os.path.abspath of a root; an absolute one is worked out once."""
    if isinstance(root, str) and root.startswith(os.path.sep):
        return _normal(root)
    return os.path.abspath(root)


def _below(folder: str, path: str) -> str:
    """A path relative to a folder it lies in; both absolute and normal."""
    return path[len(folder.rstrip(os.path.sep)) + 1 :] or "."


def _is_below(root: str, path: str) -> bool:
    """Whether ``path`` is ``root`` or lies in it; both absolute and normal."""
    return (path + os.path.sep).startswith(root.rstrip(os.path.sep) + os.path.sep)


def _signature(path: str) -> _Signature:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns
