"""Fixtures of the API tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def site(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Any]]:
    """``site(handlers, **settings)`` serves an Application until the test is over."""
    from web_support import Site

    caplog.set_level(logging.INFO)
    sites: list[Site] = []

    def make(handlers: Any, **kwargs: Any) -> Site:
        sites.append(Site(handlers, **kwargs))
        return sites[-1]

    yield make
    for made in reversed(sites):
        made.close()
