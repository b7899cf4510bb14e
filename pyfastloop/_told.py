"""What a task of asyncio's is told when the future that it awaited is done.

The C core hands it this one, an `asyncio.Future` whose result such a task reads without
looking up a method; see csrc/core/asyncio_bridge.c.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

__all__ = ["told"]


class _NoLoop:
    """All that a future asks of its loop when it is made and nobody waits for it."""

    def get_debug(self) -> bool:
        return False


told: asyncio.Future[Any] = asyncio.Future(loop=cast(Any, _NoLoop()))
told.set_result(None)
