"""What WebSocket connections raise."""

from __future__ import annotations

__all__ = ["WebSocketClosedError", "WebSocketError"]


class WebSocketError(Exception):
    """A handshake or a connection broke the protocol."""


class WebSocketClosedError(WebSocketError):
    """The connection is closed, or closing: nothing can be sent over it."""
