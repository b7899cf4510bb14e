"""The contract runs over our loop and, as its own check, over asyncio's: a test that
asyncio's loop fails is a wrong test. Each twice: normal and in debug mode."""

from __future__ import annotations

import asyncio
import gc

import pytest

import pyfastloop

FACTORIES = {"ours": pyfastloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}


@pytest.fixture(params=["ours", "asyncio"])
def factory(request):
    """Makes loops of one kind."""
    return FACTORIES[request.param]


@pytest.fixture(params=[False, True], ids=["normal", "debug"])
def loop(factory, request):
    """An open loop that is closed afterwards, and collected."""
    loop = factory()
    loop.set_debug(request.param)
    yield loop
    if not loop.is_closed():
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    gc.collect()
