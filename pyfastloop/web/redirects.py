"""Where a redirect leads in a browser's eyes, which are more forgiving than RFC 3986.

A browser drops tabs and line ends anywhere in a URL and blanks at its start, and
reads a backslash as a slash (WHATWG URL section 4.4). A check that does not do the
same can be fooled into sending users to another host.
"""

from __future__ import annotations

import re

__all__ = ["as_browser", "scheme_and_netloc", "starts_with_host"]

_DROPPED = str.maketrans("", "", "\t\r\n")
_LEADING = "".join(map(chr, range(0x21)))
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SPECIAL_SCHEMES = frozenset({"http", "https", "ws", "wss", "ftp", "file"})
_HOST_END = re.compile(r"[/?#]")


def as_browser(url: str) -> str:
    """``url`` as a browser reads it."""
    return url.translate(_DROPPED).lstrip(_LEADING).replace("\\", "/")


def scheme_and_netloc(url: str) -> tuple[str, str]:
    """The scheme and host that a browser would go to, empty where it stays.

    For http and its like a browser takes any number of slashes, none included, for
    two; without a scheme, any number from two on.
    """
    seen = as_browser(url)
    match = _SCHEME.match(seen)
    scheme = match.group(1).lower() if match else ""
    rest = seen[match.end() :] if match else seen
    if (scheme in _SPECIAL_SCHEMES) or rest.startswith("//"):
        return scheme, _HOST_END.split(rest.lstrip("/"), maxsplit=1)[0].lower()
    return scheme, ""


def starts_with_host(path: str) -> bool:
    """Whether a browser takes ``path`` for a URL of another host."""
    return as_browser(path).startswith("//")
