"""Small tools that the other modules lean on.

Programs meet this module through two doors: `Configurable`, whose `configure` method
`AsyncHTTPClient`, `IOLoop`, `HTTPServer` and `Resolver` offer to their users, and
`TimeoutError`, the one that every wait with a deadline raises.

Differences from Tornado: a gzip stream may hold at most `GzipDecompressor.MAX_MEMBERS`
members, because each of them costs a new inflater while it may carry a single byte, and
`decompress` fills `max_length` across members instead of stopping after each.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import inspect
import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import unittest

__all__ = [
    "ArgReplacer",
    "Configurable",
    "GzipDecompressor",
    "ObjectDict",
    "TimeoutError",
    "basestring_type",
    "bytes_type",
    "doctests",
    "errno_from_exception",
    "exec_in",
    "import_object",
    "raise_exc_info",
    "re_unescape",
    "timedelta_to_seconds",
    "unicode_type",
]

# Names from the time of two string types; programs still import them.
bytes_type = bytes
unicode_type = str
basestring_type = str

#: Raised by `gen.with_timeout`, `IOLoop.run_sync`, locks and queues. The same class as
#: `asyncio.TimeoutError` and, since CPython 3.11, as the built-in one.
TimeoutError = asyncio.TimeoutError


class ObjectDict(dict[str, Any]):
    """A dictionary whose keys can be read and set as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class GzipDecompressor:
    """A gzip stream (RFC 1952) inflated piece by piece, with a bound on each piece.

    The methods are those of `zlib.decompressobj`; headers, checksums and further
    members are taken care of. What is wrong with the stream is told as `zlib.error`.
    """

    #: Members one stream may have. One is what everybody sends; a compressor that
    #: restarts now and then sends a few.
    MAX_MEMBERS = 16

    # One step of the inflater sees at most so many bytes of input: what it does not
    # use is copied back to us, and that copy has to stay small.
    _STEP = 64 * 1024

    def __init__(self) -> None:
        self._inflater: zlib._Decompress | None = None  # of the member we are inside
        self._members = 0
        self._tail = b""

    def decompress(self, value: bytes, max_length: int = 0) -> bytes:
        """Inflate `value` and return what became available, at most `max_length` bytes.

        Input that did not fit waits in `unconsumed_tail` and has to be handed to the
        next call. Without `max_length` (or with 0) the result has no bound: a few
        kilobytes of input can then take gigabytes of memory, so that is deprecated.
        """
        if max_length < 0:
            raise ValueError(f"max_length must not be negative, got {max_length}")
        if not max_length:
            warnings.warn(
                "GzipDecompressor.decompress without max_length has no bound on its "
                "result and is deprecated; pass max_length",
                DeprecationWarning,
                stacklevel=2,
            )
        view = memoryview(value).cast("B")
        size = len(view)
        position = 0
        room = max_length
        pieces: list[bytes] = []
        while position < size:
            inflater = self._inflater or self._next_member()
            step = view[position : position + self._STEP]
            piece = inflater.decompress(step, room)
            if piece:
                pieces.append(piece)
            if inflater.eof:
                self._inflater = None
            left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            position += len(step) - len(left)
            if max_length:
                room -= len(piece)
                if room == 0:
                    break
        self._tail = bytes(view[position:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next_member(self) -> zlib._Decompress:
        if self._members == self.MAX_MEMBERS:
            raise zlib.error(f"gzip stream of more than {self.MAX_MEMBERS} members")
        self._members += 1
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return self._inflater

    @property
    def unconsumed_tail(self) -> bytes:
        """Input that `decompress` has not looked at yet, because of `max_length`."""
        return self._tail

    def flush(self) -> bytes:
        """End the stream and return the last bytes of it.

        Raises `zlib.error` where the stream stops inside a member, and ValueError where
        there still is an `unconsumed_tail`. No other method may be called afterwards.
        """
        if self._tail:
            raise ValueError(
                "flush with input left over: hand unconsumed_tail to decompress first"
            )
        inflater = self._inflater
        if inflater is None:
            return b""
        # At most the end of one match: everything else was given out by decompress.
        rest = inflater.flush()
        if not inflater.eof:
            raise zlib.error("incomplete or truncated gzip stream")
        self._inflater = None
        return rest


def import_object(name: str) -> Any:
    """Import a module, or an object inside of one, by its dotted name.

    `import_object("x")` is `import x`; `import_object("x.y.z")` is
    `from x.y import z`. Raises ImportError where there is no such thing.

    >>> import_object("pyfastloop.util.import_object") is import_object
    True
    >>> import_object("pyfastloop.missing")
    Traceback (most recent call last):
        ...
    ImportError: No module named missing
    """
    parent_name, _, last = name.rpartition(".")
    if not parent_name:
        return importlib.import_module(last)
    parent = __import__(parent_name, fromlist=[last])
    try:
        return getattr(parent, last)
    except AttributeError:
        raise ImportError(
            f"No module named {last}", name=name, path=getattr(parent, "__file__", None)
        ) from None


def exec_in(
    code: Any, glob: dict[str, Any], loc: Mapping[str, Any] | None = None
) -> None:
    """Run source text or a code object in the namespace `glob`.

    Source text does not inherit the `from __future__` lines of the caller.
    """
    if isinstance(code, str):
        code = compile(code, "<string>", "exec", dont_inherit=True)
    exec(code, glob, loc)


def raise_exc_info(
    exc_info: tuple[type[BaseException] | None, BaseException | None, Any],
) -> NoReturn:
    """Raise again what `sys.exc_info` gave, with its traceback."""
    value, tb = exc_info[1], exc_info[2]
    if value is None:
        raise TypeError("raise_exc_info called with no exception")
    try:
        raise value.with_traceback(tb)
    finally:
        # Our own frame would otherwise be part of a cycle: traceback, frame, tuple.
        del exc_info, value, tb


def errno_from_exception(e: BaseException) -> int | None:
    """The errno of an exception: its attribute, else its first argument, else None."""
    errno = getattr(e, "errno", None)
    if errno is None and e.args:
        errno = e.args[0]
    return errno


_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _unescape_one(match: re.Match[str]) -> str:
    char = match[1]
    if char.isascii() and char.isalnum():
        raise ValueError(f"cannot unescape {match[0]!r}: it stands for no one text")
    return char


def re_unescape(s: str) -> str:
    r"""Undo `re.escape`.

    Raises ValueError where `re.escape` cannot have made `s`, as for ``\d``: an escaped
    ASCII letter or digit is a class of characters or a reference.
    """
    return _ESCAPED.sub(_unescape_one, s)


class Configurable:
    """A class whose constructor makes an instance of a subclass chosen at run time.

    The parent is what programs name; `configure` chooses what they get, for the whole
    process. A parent overrides `configurable_base` and `configurable_default`. Its
    instances are set up by `initialize` in place of ``__init__``, so that keyword
    arguments given to `configure` can be added to those of the call. Levels nest: the
    default of one parent may be another.
    """

    # Kept on the base of each hierarchy, under the names that Tornado's tools know.
    __impl_class: type[Configurable] | None = None
    __impl_kwargs: dict[str, Any] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        base = cls.configurable_base()
        impl: type[Configurable] = cls
        if cls is base:
            impl = cls.configured_class()
            stored = base.__dict__.get("_Configurable__impl_kwargs")
            if stored:
                kwargs = {**stored, **kwargs}
            if impl.configurable_base() is not base:
                # The choice is itself a parent with a choice of its own.
                return impl(*args, **kwargs)
        # Along the bases of what is made: one of them may be a C type.
        instance = super(Configurable, impl).__new__(impl)
        instance.initialize(*args, **kwargs)
        return instance

    @classmethod
    def configurable_base(cls) -> type[Configurable]:
        """The class on which the choice is kept: usually the one that defines this."""
        raise NotImplementedError(f"{cls.__name__} has no configurable_base")

    @classmethod
    def configurable_default(cls) -> type[Configurable]:
        """The class to make where nothing was configured."""
        raise NotImplementedError(f"{cls.__name__} has no configurable_default")

    if TYPE_CHECKING:
        #: Called in place of ``__init__`` with the arguments of the constructor.
        initialize: Callable[..., None]
    else:

        def initialize(self):
            """Called in place of ``__init__`` with the arguments of the constructor."""

    @classmethod
    def configure(cls, impl: str | type[Configurable] | None, **kwargs: Any) -> None:
        """Choose the class that the parent's constructor makes.

        `impl` is a subclass of the parent, its dotted name, or None for the default.
        Keyword arguments are added to those of each later construction. Raises
        ValueError where the class does not belong to the parent's hierarchy.
        """
        base = cls.configurable_base()
        if isinstance(impl, str):
            impl = import_object(impl)
        if impl is not None and not isinstance(impl, type):
            raise TypeError(f"{base.__name__}.configure takes a class, got {impl!r}")
        if impl is not None and not issubclass(impl, cls):
            raise ValueError(f"{impl} cannot be chosen: it is no subclass of {cls}")
        base.__impl_class = impl
        base.__impl_kwargs = kwargs

    @classmethod
    def configured_class(cls) -> type[Configurable]:
        """The class that the parent's constructor makes at present."""
        base = cls.configurable_base()
        impl: type[Configurable] | None = base.__dict__.get("_Configurable__impl_class")
        if impl is None:
            impl = base.__impl_class = cls.configurable_default()
        return impl

    @classmethod
    def _save_configuration(
        cls,
    ) -> tuple[type[Configurable] | None, dict[str, Any] | None]:
        base = cls.configurable_base()
        return (
            base.__dict__.get("_Configurable__impl_class"),
            base.__dict__.get("_Configurable__impl_kwargs"),
        )

    @classmethod
    def _restore_configuration(
        cls, saved: tuple[type[Configurable] | None, dict[str, Any] | None]
    ) -> None:
        base = cls.configurable_base()
        base.__impl_class, base.__impl_kwargs = saved


class ArgReplacer:
    """Finds and replaces one argument, by its name, in calls of a function.

    The caller of a decorated function may have passed the argument by position or by
    keyword; wrappers that add a callback need not care which.
    """

    def __init__(self, func: Callable[..., Any], name: str) -> None:
        self.name = name
        #: Position of the argument, None where it can only be passed by keyword.
        self.arg_pos: int | None = None
        names = self._positional_names(func)
        if name in names:
            self.arg_pos = names.index(name)

    @staticmethod
    def _positional_names(func: Callable[..., Any]) -> list[str]:
        try:
            return inspect.getfullargspec(func).args
        except TypeError:
            # Compiled by Cython: no signature, but a code object of its own kind.
            code = getattr(func, "func_code", None) or getattr(func, "__code__", None)
            if code is None:
                raise
            return list(code.co_varnames[: code.co_argcount])

    def get_old_value(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], default: Any = None
    ) -> Any:
        """The argument's value in this call, `default` where it was not passed."""
        if self.arg_pos is not None and len(args) > self.arg_pos:
            return args[self.arg_pos]
        return kwargs.get(self.name, default)

    def replace(
        self, new_value: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, Sequence[Any], dict[str, Any]]:
        """The old value and the arguments of the same call with `new_value` in place.

        Neither `args` nor, where the argument was passed by position, `kwargs` is
        modified; passed by keyword or not at all, it is set in `kwargs`. The old value
        is None where it was not passed.
        """
        position = self.arg_pos
        if position is None or len(args) <= position:
            old_value = kwargs.get(self.name)
            kwargs[self.name] = new_value
            return old_value, args, kwargs
        replaced = list(args)
        old_value, replaced[position] = replaced[position], new_value
        return old_value, replaced, kwargs


def timedelta_to_seconds(td: datetime.timedelta) -> float:
    """The same as ``td.total_seconds()``, from the time when that did not exist."""
    return td.total_seconds()


def _websocket_mask_python(mask: bytes, data: bytes) -> bytes:
    """XOR `data` with the four bytes of `mask`, over and over (RFC 6455, 5.3).

    For programs and tests that build frames themselves; our own frames are masked in C.
    """
    size = len(data)
    if not size:
        return b""
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return masked.to_bytes(size, "big")


_websocket_mask = _websocket_mask_python


def doctests() -> unittest.TestSuite:
    """The examples in this module's docstrings as a test suite."""
    import doctest
    import sys

    return doctest.DocTestSuite(sys.modules[__name__])
