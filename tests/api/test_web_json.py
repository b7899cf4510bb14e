"""write(dict): C's JSON is json_encode's, and only while that is the original."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfastloop import escape, httputil, web


class Connection:
    context = None

    def set_close_callback(self, callback: object) -> None:
        pass


@pytest.fixture(scope="module")
def handler():
    request = httputil.HTTPServerRequest(method="GET", uri="/", connection=Connection())
    return web.RequestHandler(web.Application(), request)


def written(handler, value):
    handler._write_buffer = []
    handler.write(value)
    return b"".join(handler._write_buffer)


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.text('</\\"\x00\n\x1f\x7f\x80\u0100\ud800\U0001f600')
)
keys = st.text() | st.integers() | st.booleans() | st.none() | st.floats()
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=2)
    ),
    max_leaves=20,
)


@given(values)
def test_the_text_is_that_of_json_encode(handler, value):
    value = {"value": value}
    assert written(handler, value) == escape.json_encode(value).encode()


def test_subclasses_go_by_json_encode(handler):
    class Number(int):
        def __repr__(self):
            return "never asked"

    class Ordered(dict):
        pass

    value = {"n": Number(3), "d": Ordered(a=1)}
    assert written(handler, value) == b'{"n": 3, "d": {"a": 1}}'
    assert written(handler, Ordered(a=1)) == b'{"a": 1}'


def test_deep_values_and_cycles(handler):
    deep = inner = {}
    for _ in range(200):
        inner["k"] = {}
        inner = inner["k"]
    assert written(handler, deep) == json.dumps(deep).encode()
    inner["k"] = deep
    with pytest.raises(ValueError, match="Circular"):
        handler.write(deep)


def test_what_json_cannot_say_raises_as_json_encode_does(handler):
    with pytest.raises(TypeError, match="not JSON serializable"):
        handler.write({"o": object()})


def test_a_replaced_json_encode_is_called(handler, monkeypatch):
    monkeypatch.setattr(escape, "json_encode", lambda value: "mine")
    assert written(handler, {}) == b"mine"


def test_a_replaced_dumps_is_called(handler, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda value: "mine")
    assert written(handler, {}) == b"mine"


def test_a_changed_encoder_is_asked(handler, monkeypatch):
    monkeypatch.setattr(json._default_encoder, "ensure_ascii", False)
    assert written(handler, {"a": "\xe9"}) == '{"a": "\xe9"}'.encode()


def test_a_replaced_encoder_class_is_asked(handler, monkeypatch):
    monkeypatch.setattr(json.JSONEncoder, "encode", lambda self, value: "mine")
    assert written(handler, {}) == b"mine"
    monkeypatch.undo()
    assert written(handler, {}) == b"{}"


def test_a_default_of_the_encoder_for_odd_objects(handler, monkeypatch):
    monkeypatch.setattr(json.JSONEncoder, "default", lambda self, value: "odd")
    assert written(handler, {"a": object()}) == b'{"a": "odd"}'


def test_no_nan_where_the_encoder_refuses_it(handler, monkeypatch):
    assert written(handler, {"a": math.nan}) == b'{"a": NaN}'
    monkeypatch.setattr(json._default_encoder, "allow_nan", False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        handler.write({"a": math.nan})
