"""Whether the programs are installed: asked without importing them into the tests' own
process, where some (distributed) would set the levels of Tornado's loggers."""

from __future__ import annotations

import importlib.util

import pytest


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason="needs the extra 'test'")
