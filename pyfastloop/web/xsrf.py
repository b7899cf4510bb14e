"""Protection against requests that another site makes with the user's cookies.

Two means, each a setting of the application:

* ``xsrf_cookies``: a random token in a cookie that every unsafe request must repeat
  as argument ``_xsrf`` or header ``X-XSRFToken``. A token is 16 random bytes; in
  version 2 it is sent masked by four fresh bytes, so that it never looks the same
  twice in a compressed page (BREACH). Both versions are read, compatible with
  Tornado's.
* ``cross_origin_protection``: unsafe requests whose ``Sec-Fetch-Site`` (or, from older
  browsers, ``Origin``) names another origin are refused unless
  ``check_trusted_origin`` allows them; the setting ``trusted_origins`` lists them.
"""

from __future__ import annotations

import binascii
import hmac
import os
import time
from typing import Any
from urllib.parse import urlsplit

from pyfastloop import escape
from pyfastloop.log import gen_log
from pyfastloop.web.base import HandlerState
from pyfastloop.web.errors import HTTPError

__all__ = ["SAFE_METHODS", "XsrfMixin"]

#: Methods that do not change state and so are never checked.
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_TOKEN_BYTES = 16
_MASK_BYTES = 4


class XsrfMixin(HandlerState):
    """The part of ``RequestHandler`` that keeps foreign sites' requests out."""

    @property
    def xsrf_token(self) -> bytes:
        """The token that this user's unsafe requests must carry; ASCII bytes.

        Asking for it sets the cookie where the request had none, with the options
        of the setting ``xsrf_cookie_kwargs`` under the name ``xsrf_cookie_name``
        (default ``_xsrf``). ``xsrf_cookie_version`` is 2 unless set to 1.
        """
        token = self.__dict__.get("_xsrf_token")
        if token is None:
            token = self._xsrf_token = self._make_xsrf_token()
        return token

    def _make_xsrf_token(self) -> bytes:
        version, secret, timestamp = self._get_raw_xsrf_token()
        settings = self.settings
        wanted = settings.get("xsrf_cookie_version", 2)
        if wanted == 1:
            token = binascii.b2a_hex(secret)
        elif wanted == 2:
            mask = os.urandom(_MASK_BYTES)
            token = b"|".join(
                (
                    b"2",
                    binascii.b2a_hex(mask),
                    binascii.b2a_hex(_apply_mask(mask, secret)),
                    str(int(timestamp)).encode("ascii"),
                )
            )
        else:
            raise ValueError(
                f"xsrf_cookie_version must be 1 or 2, not {wanted!r} (a setting of "
                "the Application)"
            )
        if version is None:
            options = dict(settings.get("xsrf_cookie_kwargs", {}))
            if self.current_user and "expires_days" not in options:
                options["expires_days"] = 30
            self.set_cookie(self._xsrf_cookie_name(), token, **options)
        return token

    def _xsrf_cookie_name(self) -> str:
        name: str = self.settings.get("xsrf_cookie_name", "_xsrf")
        return name

    def _get_raw_xsrf_token(self) -> tuple[int | None, bytes, float]:
        """(version, secret, time stamp) of the request's cookie; a fresh secret with
        version None where it has none that can be read."""
        raw = self.__dict__.get("_raw_xsrf_token")
        if raw is None:
            cookie = self.get_cookie(self._xsrf_cookie_name())
            version, secret, stamp = (
                self._decode_xsrf_token(cookie) if cookie else (None, None, None)
            )
            if not secret or stamp is None:
                version, secret, stamp = None, os.urandom(_TOKEN_BYTES), time.time()
            raw = self._raw_xsrf_token = (version, secret, stamp)
        return raw

    def _decode_xsrf_token(
        self, cookie: str
    ) -> tuple[int | None, bytes | None, float | None]:
        """(version, secret, time stamp) of a token in either version, Nones where it
        is neither."""
        try:
            parts = escape.utf8(cookie).split(b"|")
            if len(parts) == 1:
                return 1, _unhex_or_bytes(parts[0]), time.time()
            if parts[0] != b"2":
                raise ValueError(f"unknown version {parts[0]!r}")
            _, mask, masked, stamp = parts
            secret = _apply_mask(binascii.a2b_hex(mask), binascii.a2b_hex(masked))
            return 2, secret, int(stamp)
        except Exception:
            # Anybody can send any cookie: this is the sender's problem, not ours.
            gen_log.debug("Uncaught exception in _decode_xsrf_token", exc_info=True)
            return None, None, None

    def check_xsrf_cookie(self) -> None:
        """Raises :exc:`HTTPError` (403) unless the token that came as argument
        ``_xsrf`` or header ``X-XSRFToken`` (``X-CSRFToken``) equals the cookie's.

        Called before ``prepare`` of unsafe requests under ``xsrf_cookies``; a
        handler that needs no protection overrides it to do nothing.
        """
        headers = self.request.headers
        sent: Any = (
            self.get_argument("_xsrf", None)
            or headers.get("X-Xsrftoken")
            or headers.get("X-Csrftoken")
        )
        if not sent:
            raise HTTPError(403, "'_xsrf' argument missing from POST")
        _, secret, _ = self._decode_xsrf_token(sent)
        _, expected, _ = self._get_raw_xsrf_token()
        if not secret:
            raise HTTPError(403, "'_xsrf' argument has invalid format")
        if not hmac.compare_digest(secret, expected):
            raise HTTPError(403, "XSRF cookie does not match POST argument")

    def xsrf_form_html(self) -> str:
        """A hidden form field that carries :attr:`xsrf_token`."""
        token = escape.xhtml_escape(self.xsrf_token)
        return f'<input type="hidden" name="_xsrf" value="{token}"/>'

    def check_trusted_origin(self, origin: str) -> bool:
        """Whether a cross-origin request from ``origin`` is welcome.

        Asked under the setting ``cross_origin_protection``, before ``prepare``, for
        unsafe requests that come from another origin and name it. The default looks
        into the setting ``trusted_origins``. WebSockets ask it too.
        """
        return origin in self.settings.get("trusted_origins", ())

    def _check_cross_origin(self) -> None:
        headers = self.request.headers
        origin: str | None = headers.get("Origin")
        site: str | None = headers.get("Sec-Fetch-Site")
        if site is not None:
            if site in ("same-origin", "none"):
                return
            if origin is None or not self.check_trusted_origin(origin):
                raise HTTPError(
                    403, "Sec-Fetch-Site %s & origin %r not allowed", site, origin
                )
        elif origin is not None and not (
            self._origin_matches_host(origin) or self.check_trusted_origin(origin)
        ):
            raise HTTPError(403, "Origin %r not allowed", origin)

    def _origin_matches_host(self, origin: str) -> bool:
        """Whether ``origin`` names the host of the request. The scheme is left out:
        behind a proxy that ends TLS it is not known."""
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            return False
        host: str | None = self.request.headers.get("Host")
        return bool(netloc) and host is not None and netloc.lower() == host.lower()


def _apply_mask(mask: bytes, data: bytes) -> bytes:
    """``data`` with ``mask`` laid over it again and again; its own inverse."""
    if len(mask) != _MASK_BYTES:
        raise ValueError(f"a mask is {_MASK_BYTES} bytes, not {len(mask)}")
    return bytes(byte ^ mask[index & 3] for index, byte in enumerate(data))


def _unhex_or_bytes(token: bytes) -> bytes:
    try:
        return binascii.a2b_hex(token)
    except (binascii.Error, ValueError):
        return token
