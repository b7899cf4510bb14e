"""OpenID 2.0 with attribute exchange."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from typing import Any

from pyfastloop import httpclient
from pyfastloop.auth.base import (
    AuthClientMixin,
    AuthError,
    handler_of,
    then_callback,
    whole_url,
    with_callback,
    with_query,
)

__all__ = ["OpenIdMixin"]

_AX = "http://openid.net/srv/ax/1.0"
_IDENTIFIER_SELECT = "http://specs.openid.net/auth/2.0/identifier_select"
# Of attribute exchange: names in the request, and their types.
_AX_TYPES = {
    "firstname": "http://axschema.org/namePerson/first",
    "fullname": "http://axschema.org/namePerson",
    "lastname": "http://axschema.org/namePerson/last",
    "username": "http://axschema.org/namePerson/friendly",
    "email": "http://axschema.org/contact/email",
    "language": "http://axschema.org/pref/language",
}


class OpenIdMixin(AuthClientMixin):
    """OpenID 2.0 with attribute exchange.

    Class attribute: ``_OPENID_ENDPOINT``, the provider's URL.
    """

    @then_callback(2)
    def authenticate_redirect(
        self,
        callback_uri: str | None = None,
        ax_attrs: Iterable[str] = ("name", "email", "language", "username"),
    ) -> None:
        """Send the browser to the provider, which sends it back to `callback_uri`.

        That is this handler unless given. `ax_attrs` are what is asked for of "name",
        "email", "language" and "username".
        """
        args = self._openid_args(callback_uri or "", ax_attrs=ax_attrs)
        endpoint: str = self._OPENID_ENDPOINT  # type: ignore[attr-defined]
        handler_of(self).redirect(with_query(endpoint, args))

    @with_callback(0)
    async def get_authenticated_user(
        self, http_client: httpclient.AsyncHTTPClient | None = None
    ) -> dict[str, Any]:
        """The user that the provider sent back, for the handler at `callback_uri`.

        A dict of what is known: ``name``, ``first_name``, ``last_name``, ``email``,
        ``locale``, ``username`` and ``claimed_id``.
        """
        handler = handler_of(self)
        self._check_return_to()
        args = {name: values[-1] for name, values in handler.request.arguments.items()}
        args["openid.mode"] = b"check_authentication"
        client = http_client or self.get_auth_http_client()
        response = await client.fetch(
            self._OPENID_ENDPOINT,  # type: ignore[attr-defined]
            method="POST",
            body=urllib.parse.urlencode(args),
        )
        return self._on_authentication_verified(response)

    def _check_return_to(self) -> None:
        """An answer that was meant for another site must not log anybody in here."""
        handler = handler_of(self)
        given = handler.get_argument("openid.return_to", "")
        if "return_to" not in handler.get_argument("openid.signed", "").split(","):
            raise AuthError("Invalid OpenID response: its return_to is not signed")
        meant = urllib.parse.urlsplit(given)
        here = urllib.parse.urlsplit(handler.request.full_url())
        if (meant.netloc, meant.path) != (here.netloc, here.path):
            raise AuthError(
                f"Invalid OpenID response: it is for {given!r}, this is "
                f"{here.scheme}://{here.netloc}{here.path}"
            )

    def _openid_args(
        self,
        callback_uri: str,
        ax_attrs: Iterable[str] = (),
        oauth_scope: str | None = None,
    ) -> dict[str, str]:
        handler = handler_of(self)
        url = whole_url(handler, callback_uri)
        args = {
            "openid.ns": "http://specs.openid.net/auth/2.0",
            "openid.claimed_id": _IDENTIFIER_SELECT,
            "openid.identity": _IDENTIFIER_SELECT,
            "openid.return_to": url,
            "openid.realm": urllib.parse.urljoin(url, "/"),
            "openid.mode": "checkid_setup",
        }
        wanted = set(ax_attrs)
        if wanted:
            required: list[str] = []
            if "name" in wanted:
                wanted.remove("name")
                required += ("firstname", "fullname", "lastname")
            required += (name for name in _AX_TYPES if name in wanted)
            args["openid.ns.ax"] = _AX
            args["openid.ax.mode"] = "fetch_request"
            for name in required:
                args[f"openid.ax.type.{name}"] = _AX_TYPES[name]
            args["openid.ax.required"] = ",".join(required)
        if oauth_scope:
            args["openid.ns.oauth"] = "http://specs.openid.net/extensions/oauth/1.0"
            args["openid.oauth.consumer"] = handler.request.host.partition(":")[0]
            args["openid.oauth.scope"] = oauth_scope
        return args

    def _on_authentication_verified(
        self, response: httpclient.HTTPResponse
    ) -> dict[str, Any]:
        if b"is_valid:true" not in response.body.split():
            raise AuthError(f"Invalid OpenID response: {response.body!r}")
        handler = handler_of(self)
        # Anybody can add arguments to a URL: those that are signed are the provider's.
        signed = {
            f"openid.{name}"
            for name in handler.get_argument("openid.signed", "").split(",")
        }

        def value_of(name: str) -> str | None:
            return handler.get_argument(name, None) if name in signed else None

        spaces = [
            name.removeprefix("openid.ns.")
            for name in handler.request.arguments
            if name.startswith("openid.ns.") and value_of(name) == _AX
        ]

        def attribute(kind: str) -> str | None:
            for space in spaces:
                prefix = f"openid.{space}.type."
                for name in handler.request.arguments:
                    if name.startswith(prefix) and value_of(name) == _AX_TYPES[kind]:
                        alias = name.removeprefix(prefix)
                        return value_of(f"openid.{space}.value.{alias}")
            return None

        first, last = attribute("firstname"), attribute("lastname")
        email = attribute("email")
        language = attribute("language")
        parts = [part for part in (first, last) if part]
        name = attribute("fullname") or " ".join(parts)
        if not name and email:
            name = email.partition("@")[0]
        found = {
            "first_name": first,
            "last_name": last,
            "name": name,
            "email": email,
            "locale": language.lower() if language else None,
            "username": attribute("username"),
            "claimed_id": value_of("openid.claimed_id"),
        }
        return {key: value for key, value in found.items() if value}
