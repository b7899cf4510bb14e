"""Cookies, plain and signed.

A cookie is checked twice: when it is set, so that the error names the handler's
line, and again when the response's head is made, because ``_new_cookie`` is open to
everybody. The check goes by type and octets, never by a list of suspicious words.
"""

from __future__ import annotations

import datetime
import http.cookies
import re
import warnings
from typing import Any

from pyfastloop import escape, httputil
from pyfastloop.web.base import HandlerState
from pyfastloop.web.signed_values import (
    create_signed_value,
    decode_signed_value,
    get_signature_key_version,
)

__all__ = ["CookiesMixin", "check_cookie"]

# Blanks and controls cannot stand in a value (RFC 6265 section 4.1.1).
_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20]")
# What may stand in an attribute: no controls, no space, no semicolon.
_ATTRIBUTE = re.compile(r"[\x21-\x3a\x3c-\x7e\x80-\xff]*\Z")
# A value as http.cookies quotes it; blanks stand inside of quotes.
_CODED_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e\x80-\U0010ffff]*\Z")
_FLAGS = frozenset({"secure", "httponly", "partitioned"})


def check_cookie(name: str, morsel: http.cookies.Morsel[str]) -> None:
    """Raises :exc:`http.cookies.CookieError` where ``morsel`` cannot be sent as one
    cookie with the attributes it names."""
    if not _CODED_VALUE.match(morsel.coded_value):
        raise http.cookies.CookieError(
            f"Invalid cookie value {morsel.coded_value!r} for cookie {name!r}"
        )
    for key, value in morsel.items():
        if key in _FLAGS or value is None:
            continue
        text = str(value)
        # http.cookies writes the date itself; it alone holds spaces.
        if key == "expires":
            text = text.replace(" ", "")
        if not _ATTRIBUTE.match(text):
            raise http.cookies.CookieError(
                f"Invalid cookie attribute {key}={value!r} for cookie {name!r}"
            )


class CookiesMixin(HandlerState):
    """The part of ``RequestHandler`` that reads and sets cookies."""

    @property
    def cookies(self) -> dict[str, http.cookies.Morsel[str]]:
        """The cookies that came with the request, by name."""
        cookies: dict[str, http.cookies.Morsel[str]] = self.request.cookies
        return cookies

    def set_cookie(
        self,
        name: str,
        value: str | bytes,
        domain: str | None = None,
        expires: float | tuple[int, ...] | datetime.datetime | None = None,
        path: str = "/",
        expires_days: float | None = None,
        *,
        max_age: int | None = None,
        httponly: bool = False,
        secure: bool = False,
        samesite: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Sets a cookie in the response; the browser sends it from the next request.

        ``expires`` is a time stamp (seconds), a time tuple or a datetime;
        ``expires_days`` counts from now and yields to ``expires``. ``max_age`` is in
        seconds. Other keywords of ``http.cookies.Morsel`` are taken, capitals
        included (deprecated as in Tornado). Raises ValueError or
        :exc:`http.cookies.CookieError` for a name, value or attribute that could
        not be sent as what it says.
        """
        name = escape.native_str(name)
        text = escape.native_str(value)
        if not _ATTRIBUTE.match(name):
            raise http.cookies.CookieError(
                f"Invalid cookie attribute name={name!r} for cookie {name!r}"
            )
        if _BLANK_OR_CONTROL.search(text):
            raise ValueError(f"Invalid cookie {name!r}: {text!r}")
        cookie: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
        cookie[name] = text
        morsel = cookie[name]
        if domain:
            morsel["domain"] = _text(name, "domain", domain)
        if expires_days is not None and not expires:
            expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
                days=expires_days
            )
        if expires:
            morsel["expires"] = httputil.format_timestamp(expires)
        if path:
            morsel["path"] = _text(name, "path", path)
        if max_age:
            morsel["max-age"] = str(int(max_age))
        if httponly:
            morsel["httponly"] = True
        if secure:
            morsel["secure"] = True
        if samesite:
            morsel["samesite"] = _text(name, "samesite", samesite)
        for key, given in kwargs.items():
            morsel[key] = given
        check_cookie(name, morsel)
        if kwargs:
            warnings.warn(
                f"Deprecated arguments to set_cookie: {set(kwargs)} "
                "(should be lowercase)",
                DeprecationWarning,
                stacklevel=2,
            )
        self._cookie_jar()[name] = morsel  # the last one set under a name wins

    def clear_cookie(self, name: str, **kwargs: Any) -> None:
        """Has the browser forget the cookie ``name``.

        Takes the arguments of :meth:`set_cookie` but ``expires`` and ``max_age``;
        ``path`` and ``domain`` (and with some browsers ``secure`` and ``samesite``)
        must be those that it was set with.
        """
        for forbidden in ("expires", "max_age"):
            if forbidden in kwargs:
                raise TypeError(
                    f"clear_cookie() got an unexpected keyword argument '{forbidden}'"
                )
        gone = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=365)
        self.set_cookie(name, value="", expires=gone, **kwargs)

    def clear_all_cookies(self, **kwargs: Any) -> None:
        """:meth:`clear_cookie` for each cookie of the request.

        Deprecated as in Tornado: of a cookie that came in, only the name is known,
        so those that were set with another path, domain or flags stay.
        """
        for name in self.request.cookies:
            self.clear_cookie(name, **kwargs)

    def set_signed_cookie(
        self,
        name: str,
        value: str | bytes,
        expires_days: float | None = 30,
        version: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Sets a cookie that cannot be forged, though everybody can read it.

        Needs the setting ``cookie_secret``. ``expires_days`` is for the browser;
        how long the server believes it is said by :meth:`get_signed_cookie`.
        """
        self.set_cookie(
            name,
            self.create_signed_value(name, value, version=version),
            expires_days=expires_days,
            **kwargs,
        )

    set_secure_cookie = set_signed_cookie

    def create_signed_value(
        self, name: str, value: str | bytes, version: int | None = None
    ) -> bytes:
        """``value`` signed and dated under ``name``, in Tornado's format.

        The setting ``cookie_secret`` may be a dict of key versions; the setting
        ``key_version`` then says which one signs.
        """
        self.require_setting("cookie_secret", "secure cookies")
        secret = self.settings["cookie_secret"]
        key_version = None
        if isinstance(secret, dict):
            key_version = self.settings.get("key_version")
            if key_version is None:
                raise Exception("key_version setting must be used for secret_key dicts")
        return create_signed_value(
            secret, name, value, version=version, key_version=key_version
        )

    def get_signed_cookie(
        self,
        name: str,
        value: str | None = None,
        max_age_days: float = 31,
        min_version: int | None = None,
    ) -> bytes | None:
        """The value of a signed cookie, or None where it is missing, forged or older
        than ``max_age_days``. ``value`` replaces what the request sent."""
        self.require_setting("cookie_secret", "secure cookies")
        if value is None:
            value = self.get_cookie(name)
        return decode_signed_value(
            self.settings["cookie_secret"],
            name,
            value,
            max_age_days=max_age_days,
            min_version=min_version,
        )

    get_secure_cookie = get_signed_cookie

    def get_signed_cookie_key_version(
        self, name: str, value: str | None = None
    ) -> int | None:
        """The key version a signed cookie was signed with; None without one."""
        self.require_setting("cookie_secret", "secure cookies")
        if value is None:
            value = self.get_cookie(name)
        return None if value is None else get_signature_key_version(value)

    get_secure_cookie_key_version = get_signed_cookie_key_version

    def _cookie_jar(self) -> http.cookies.SimpleCookie:
        jar = self.__dict__.get("_new_cookie")
        if jar is None:
            jar = self._new_cookie = http.cookies.SimpleCookie()
        return jar

    def _write_cookies(self) -> None:
        """Adds the ``Set-Cookie`` headers; one that cannot be sent is dropped and
        its error raised."""
        jar = self.__dict__.get("_new_cookie")
        if not jar:
            return
        for name, morsel in list(jar.items()):
            try:
                check_cookie(name, morsel)
            except http.cookies.CookieError:
                del jar[name]
                raise
        for morsel in jar.values():
            octets = morsel.OutputString().encode("utf-8")
            self.add_header("Set-Cookie", octets.decode("latin-1"))


def _text(name: str, attribute: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(
            f"{attribute} of cookie {name!r} must be a str, not {type(value).__name__}"
        )
    return value
