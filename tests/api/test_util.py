"""pyfastloop.util: configurable classes, bounded inflating, argument replacing."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import random
import re
import sys
import unittest
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfastloop import util
from pyfastloop.util import ArgReplacer, Configurable, GzipDecompressor, ObjectDict


class Parent(Configurable):
    @classmethod
    def configurable_base(cls) -> type[Configurable]:
        return Parent

    @classmethod
    def configurable_default(cls) -> type[Configurable]:
        return Plain

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs


class Plain(Parent):
    pass


class Fancy(Parent):
    pass


class SecondLevel(Plain):
    @classmethod
    def configurable_base(cls) -> type[Configurable]:
        return SecondLevel

    @classmethod
    def configurable_default(cls) -> type[Configurable]:
        return SecondDefault


class SecondDefault(SecondLevel):
    pass


class Stranger:
    pass


@pytest.fixture(autouse=True)
def restored():
    saved = [(c, c._save_configuration()) for c in (Parent, SecondLevel)]
    yield
    for cls, configuration in saved:
        cls._restore_configuration(configuration)


def test_parent_makes_the_default():
    made = Parent(1, x=2)
    assert type(made) is Plain
    assert made.args == (1,) and made.kwargs == {"x": 2}
    assert Parent.configured_class() is Plain


def test_configured_class_gets_the_stored_arguments_and_the_call_wins():
    Parent.configure(Fancy, x=1, y=2)
    made = Parent(y=3)
    assert type(made) is Fancy
    assert made.kwargs == {"x": 1, "y": 3}
    # Naming a class outright is not a use of the configuration.
    assert Fancy().kwargs == {}
    assert Plain().kwargs == {}


def test_configure_none_keeps_the_default_and_stores_arguments():
    Parent.configure(None, x=1)
    made = Parent()
    assert type(made) is Plain and made.kwargs == {"x": 1}


def test_configure_by_dotted_name():
    Parent.configure(f"{__name__}.Fancy")
    assert Parent.configured_class() is sys.modules[__name__].Fancy


def test_configure_refuses_a_class_of_another_hierarchy():
    with pytest.raises(ValueError, match="Stranger"):
        Parent.configure(Stranger)
    with pytest.raises(TypeError):
        Parent.configure("os.path")
    with pytest.raises(ImportError):
        Parent.configure("no_such_module_here.Class")
    assert type(Parent()) is Plain


def test_levels_of_configuration():
    Parent.configure(SecondLevel, x=1)
    made = Parent()
    assert type(made) is SecondDefault and made.kwargs == {"x": 1}
    SecondLevel.configure(None, y=2)
    assert Parent().kwargs == {"x": 1, "y": 2}
    assert SecondLevel().kwargs == {"y": 2}
    SecondLevel.configure(SecondDefault, x=5)
    assert Parent(x=7).kwargs == {"x": 7}


def test_saved_configuration_comes_back():
    Parent.configure(Fancy, x=1)
    saved = Parent._save_configuration()
    Parent.configure(None)
    Parent._restore_configuration(saved)
    made = Parent()
    assert type(made) is Fancy and made.kwargs == {"x": 1}


def test_a_parent_must_name_base_and_default():
    with pytest.raises(NotImplementedError):
        Configurable()


def test_import_object():
    import os.path

    assert util.import_object("os") is os
    assert util.import_object("os.path") is os.path
    assert util.import_object("os.path.join") is os.path.join
    assert util.import_object("pyfastloop.util.utf8_is_not_here"[:15]) is util
    with pytest.raises(ImportError, match="No module named missing"):
        util.import_object("pyfastloop.missing")
    with pytest.raises(ImportError):
        util.import_object("no_such_module_here")


def test_object_dict():
    d = ObjectDict(a=1)
    d.b = 2
    assert d.a == 1 and d["b"] == 2
    with pytest.raises(AttributeError, match="c"):
        d.c  # noqa: B018


def test_raise_exc_info_keeps_the_traceback():
    def fail():
        raise KeyError("x")

    try:
        fail()
    except KeyError:
        info = sys.exc_info()
    with pytest.raises(KeyError) as caught:
        util.raise_exc_info(info)
    assert "fail" in [entry.name for entry in caught.traceback]
    with pytest.raises(TypeError):
        util.raise_exc_info((None, None, None))


def test_errno_from_exception():
    assert util.errno_from_exception(OSError(5, "x")) == 5
    assert util.errno_from_exception(Exception()) is None
    assert util.errno_from_exception(Exception(7, 8)) == 7


def test_exec_in_inherits_no_future():
    namespace: dict[str, Any] = {}
    util.exec_in("def f(x: int): pass", namespace)
    # This file has "from __future__ import annotations"; the text has not.
    assert namespace["f"].__annotations__ == {"x": int}
    local: dict[str, Any] = {}
    util.exec_in(compile("y = 1", "<t>", "exec"), {}, local)
    assert local == {"y": 1}


@given(st.text())
def test_re_unescape_undoes_re_escape(text: str):
    assert util.re_unescape(re.escape(text)) == text


@pytest.mark.parametrize("pattern", [r"\d", r"a\1", r"\bx"])
def test_re_unescape_refuses_what_is_no_escaped_text(pattern: str):
    with pytest.raises(ValueError, match="cannot unescape"):
        util.re_unescape(pattern)


def test_timedelta_to_seconds():
    assert util.timedelta_to_seconds(datetime.timedelta(days=1, seconds=2)) == 86402.0


def test_timeout_error_is_one_class():
    assert util.TimeoutError is asyncio.TimeoutError
    assert util.TimeoutError is TimeoutError


# -- ArgReplacer -----------------------------------------------------------------------


def two(a: Any, callback: Any = None, *, key: Any = None) -> None:
    pass


def test_arg_replacer_by_position():
    replacer = ArgReplacer(two, "callback")
    args, kwargs = (1, 2), {"key": 3}
    assert replacer.get_old_value(args, kwargs) == 2
    assert replacer.replace("new", args, kwargs) == (2, [1, "new"], {"key": 3})
    assert args == (1, 2)


def test_arg_replacer_by_keyword_and_absent():
    replacer = ArgReplacer(two, "callback")
    assert replacer.get_old_value((1,), {"callback": 2}) == 2
    assert replacer.replace("new", (1,), {"callback": 2}) == (
        2,
        (1,),
        {"callback": "new"},
    )
    assert replacer.get_old_value((1,), {}, "default") == "default"
    assert replacer.replace("new", (1,), {}) == (None, (1,), {"callback": "new"})


def test_arg_replacer_keyword_only():
    replacer = ArgReplacer(two, "key")
    assert replacer.arg_pos is None
    assert replacer.replace(5, (1, 2), {}) == (None, (1, 2), {"key": 5})


# -- GzipDecompressor ------------------------------------------------------------------


def inflate_all(data: bytes, bound: int, cut: int | None = None) -> bytes:
    inflater = GzipDecompressor()
    out = []
    for start in range(0, len(data), cut or len(data) or 1):
        piece = data[start : start + (cut or len(data))]
        while piece:
            inflated = inflater.decompress(piece, bound)
            assert len(inflated) <= bound
            out.append(inflated)
            piece = inflater.unconsumed_tail
    out.append(inflater.flush())
    return b"".join(out)


@given(
    st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    st.integers(1, 5000),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_members_inflate_to_what_was_deflated(
    parts: list[bytes], bound: int, cut: int | None
):
    data = b"".join(map(gzip.compress, parts))
    assert inflate_all(data, bound, cut) == b"".join(parts)


def test_bomb_is_given_out_in_bounded_pieces():
    bomb = gzip.compress(bytes(5_000_000))
    inflater = GzipDecompressor()
    first = inflater.decompress(bomb, 65536)
    assert len(first) == 65536
    assert inflater.unconsumed_tail
    assert len(inflate_all(bomb, 65536)) == 5_000_000


def test_large_input_is_consumed_whole():
    noise = random.Random(1).randbytes(300_000)  # several of the inflater's steps
    assert inflate_all(gzip.compress(noise), 1 << 20) == noise


def test_many_members_are_refused():
    member = gzip.compress(b"x")
    limit = GzipDecompressor.MAX_MEMBERS
    assert inflate_all(member * limit, 1000) == b"x" * limit
    with pytest.raises(zlib.error, match="members"):
        GzipDecompressor().decompress(member * (limit + 1), 1000)


def test_truncated_stream_is_an_error_at_flush():
    data = gzip.compress(b"hello" * 100)
    for length in (1, 12, len(data) - 1):
        inflater = GzipDecompressor()
        inflater.decompress(data[:length], 10_000)
        with pytest.raises(zlib.error, match="truncated"):
            inflater.flush()
    assert GzipDecompressor().flush() == b""


def test_broken_streams_are_errors():
    data = gzip.compress(b"hello")
    wrong_checksum = data[:-8] + bytes(4) + data[-4:]
    for broken in (b"plain", zlib.compress(b"x"), data + b"junk", wrong_checksum):
        with pytest.raises(zlib.error):
            GzipDecompressor().decompress(broken, 1000)


def test_flush_with_input_left_is_an_error():
    inflater = GzipDecompressor()
    inflater.decompress(gzip.compress(bytes(1000)), 10)
    with pytest.raises(ValueError, match="unconsumed_tail"):
        inflater.flush()


def test_without_max_length_there_is_no_bound_and_a_warning():
    with pytest.warns(DeprecationWarning, match="max_length"):
        assert GzipDecompressor().decompress(gzip.compress(bytes(9000))) == bytes(9000)
    with pytest.raises(ValueError, match="max_length"):
        GzipDecompressor().decompress(b"", -1)


@given(st.binary(max_size=100), st.binary(min_size=4, max_size=4))
def test_websocket_mask(data: bytes, mask: bytes):
    expected = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    assert util._websocket_mask(mask, data) == expected


def test_docstring_examples():
    result = unittest.TestResult()
    util.doctests().run(result)
    assert result.wasSuccessful() and result.testsRun
