"""The bridge to Twisted: its asyncio reactor on the loop of this thread.

Nothing of C is here: Twisted brings an asyncio reactor of its own, and our loop is an
asyncio loop.
"""

from __future__ import annotations

__all__ = ["install"]


def install() -> None:
    """Install Twisted's asyncio reactor on the current IOLoop's loop.

    Call it before anything imports ``twisted.internet.reactor``; needs Twisted.
    """
    from twisted.internet.asyncioreactor import (
        install as install_reactor,
    )

    from pyfastloop.ioloop import IOLoop

    install_reactor(IOLoop.current().asyncio_loop)
