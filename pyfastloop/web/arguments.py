"""Arguments of a request: the query's, the form's, both together.

Values come from the request as bytes, are decoded by ``decode_argument`` (which a
handler may override) and lose the control characters that no form means to send.
``get_argument`` and its kin are C, on ``_core.RequestHandlerBase``.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

from pyfastloop.web.base import HandlerState
from pyfastloop.web.errors import HTTPError

__all__ = ["ArgumentsMixin"]


class _ArgDefaultMarker:
    """The default of a required argument."""

    def __repr__(self) -> str:
        return "<required>"


_ARG_DEFAULT: Final[Any] = _ArgDefaultMarker()


class ArgumentsMixin(HandlerState):
    """The part of ``RequestHandler`` that reads arguments."""

    # All C0 controls but tab, line feed, vertical tab, form feed, return.
    _remove_control_chars_regex: ClassVar[re.Pattern[str]] = re.compile(
        r"[\x00-\x08\x0e-\x1f]"
    )

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Bytes that were percent-decoded to text; override for other encodings.

        Called for each argument and for each group of the route. ``name`` is None
        for an unnamed group. Raises :exc:`HTTPError` (400) for what is not UTF-8.
        """
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise HTTPError(
                400, "Invalid unicode in %s: %r", name or "url", value[:40]
            ) from None
