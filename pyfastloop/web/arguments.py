"""Arguments of a request: the query's, the form's, both together.

Values come from the request as bytes, are decoded by ``decode_argument`` (which a
handler may override) and lose the control characters that no form means to send.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, TypeVar, overload

from pyfastloop.web.base import HandlerState
from pyfastloop.web.errors import HTTPError, MissingArgumentError

__all__ = ["ArgumentsMixin"]

_T = TypeVar("_T")


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

    @overload
    def get_argument(self, name: str, default: str, strip: bool = ...) -> str: ...
    @overload
    def get_argument(
        self, name: str, default: _ArgDefaultMarker = ..., strip: bool = ...
    ) -> str: ...
    @overload
    def get_argument(self, name: str, default: _T, strip: bool = ...) -> str | _T: ...
    def get_argument(
        self, name: str, default: Any = _ARG_DEFAULT, strip: bool = True
    ) -> Any:
        """The last value sent for ``name``, in the query or the form.

        Without one gives ``default``; where no default is given raises
        :exc:`MissingArgumentError` (400). ``strip`` removes white space around it.
        """
        return self._get_argument(name, default, self.request.arguments, strip)

    def get_arguments(self, name: str, strip: bool = True) -> list[str]:
        """All values sent for ``name``, query first; an empty list without any."""
        if not isinstance(strip, bool):
            raise AssertionError(
                f"get_arguments takes (name, strip); strip must be a bool, not "
                f"{strip!r}. It has no default argument"
            )
        return self._get_arguments(name, self.request.arguments, strip)

    @overload
    def get_body_argument(self, name: str, default: str, strip: bool = ...) -> str: ...
    @overload
    def get_body_argument(
        self, name: str, default: _ArgDefaultMarker = ..., strip: bool = ...
    ) -> str: ...
    @overload
    def get_body_argument(
        self, name: str, default: _T, strip: bool = ...
    ) -> str | _T: ...
    def get_body_argument(
        self, name: str, default: Any = _ARG_DEFAULT, strip: bool = True
    ) -> Any:
        """As :meth:`get_argument`, from the request's body alone."""
        return self._get_argument(name, default, self.request.body_arguments, strip)

    def get_body_arguments(self, name: str, strip: bool = True) -> list[str]:
        """As :meth:`get_arguments`, from the request's body alone."""
        return self._get_arguments(name, self.request.body_arguments, strip)

    @overload
    def get_query_argument(self, name: str, default: str, strip: bool = ...) -> str: ...
    @overload
    def get_query_argument(
        self, name: str, default: _ArgDefaultMarker = ..., strip: bool = ...
    ) -> str: ...
    @overload
    def get_query_argument(
        self, name: str, default: _T, strip: bool = ...
    ) -> str | _T: ...
    def get_query_argument(
        self, name: str, default: Any = _ARG_DEFAULT, strip: bool = True
    ) -> Any:
        """As :meth:`get_argument`, from the query alone."""
        return self._get_argument(name, default, self.request.query_arguments, strip)

    def get_query_arguments(self, name: str, strip: bool = True) -> list[str]:
        """As :meth:`get_arguments`, from the query alone."""
        return self._get_arguments(name, self.request.query_arguments, strip)

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

    def _get_argument(
        self, name: str, default: Any, source: Mapping[str, list[bytes]], strip: bool
    ) -> Any:
        values = self._get_arguments(name, source, strip)
        if values:
            return values[-1]
        if default is _ARG_DEFAULT:
            raise MissingArgumentError(name)
        return default

    def _get_arguments(
        self, name: str, source: Mapping[str, list[bytes]], strip: bool = True
    ) -> list[str]:
        clean = self._remove_control_chars_regex.sub
        values = []
        for raw in source.get(name, ()):
            text = self.decode_argument(raw, name=name)
            if isinstance(text, str):
                text = clean(" ", text)
            values.append(text.strip() if strip else text)
        return values
