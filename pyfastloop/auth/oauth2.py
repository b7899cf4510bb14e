"""OAuth 2.0 (RFC 6749), Google and Facebook."""

from __future__ import annotations

import hmac
import urllib.parse
from collections.abc import Iterable
from typing import Any

from pyfastloop.auth.base import (
    AuthClientMixin,
    AuthError,
    an_object,
    handler_of,
    json_object,
    json_value,
    then_callback,
    with_callback,
)
from pyfastloop.httputil import url_concat

__all__ = ["FacebookGraphMixin", "GoogleOAuth2Mixin", "OAuth2Mixin"]


class OAuth2Mixin(AuthClientMixin):
    """OAuth 2.0 (RFC 6749).

    Class attributes: ``_OAUTH_AUTHORIZE_URL`` and ``_OAUTH_ACCESS_TOKEN_URL``.
    """

    @then_callback(4)
    def authorize_redirect(
        self,
        redirect_uri: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        extra_params: dict[str, Any] | None = None,
        scope: list[str] | None = None,
        response_type: str = "code",
    ) -> None:
        """Send the browser to the service, which sends it back to `redirect_uri`.

        `client_id` is what the service calls this program, `scope` what it is asked
        for, `extra_params` are added to the URL. `client_secret` is not needed.
        """
        args: dict[str, Any] = {"response_type": response_type}
        if redirect_uri is not None:
            args["redirect_uri"] = redirect_uri
        if client_id is not None:
            args["client_id"] = client_id
        args.update(extra_params or {})
        if scope:
            args["scope"] = " ".join(scope)
        url: str = self._OAUTH_AUTHORIZE_URL  # type: ignore[attr-defined]
        handler_of(self).redirect(url_concat(url, args))

    def _oauth_request_token_url(
        self,
        redirect_uri: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        code: str | None = None,
        extra_params: dict[str, Any] | None = None,
    ) -> str:
        url: str = self._OAUTH_ACCESS_TOKEN_URL  # type: ignore[attr-defined]
        args = {
            "redirect_uri": redirect_uri,
            "code": code,
            "client_id": client_id,
            "client_secret": client_secret,
        }
        given = {name: value for name, value in args.items() if value is not None}
        return url_concat(url, {**given, **(extra_params or {})})

    @with_callback(1)
    async def oauth2_request(
        self,
        url: str,
        access_token: str | None = None,
        post_args: dict[str, Any] | None = None,
        **args: Any,
    ) -> Any:
        """What the service answers to a request with `access_token`: JSON, decoded.

        `args` go into the query; `post_args`, where given, make it a POST.
        """
        client = self.get_auth_http_client()
        if access_token:
            args = {"access_token": access_token, **args}
        if args:
            url = url_concat(url, args)
        if post_args is None:
            response = await client.fetch(url)
        else:
            body = urllib.parse.urlencode(post_args)
            response = await client.fetch(url, method="POST", body=body)
        return json_value(response.body)


class GoogleOAuth2Mixin(OAuth2Mixin):
    """Google's OAuth 2.0.

    Needs the setting ``google_oauth``, ``{"key": ..., "secret": ...}``, which Google
    gives to applications that are registered there with their redirect URI.
    """

    _OAUTH_AUTHORIZE_URL = "https://accounts.google.com/o/oauth2/v2/auth"
    _OAUTH_ACCESS_TOKEN_URL = "https://www.googleapis.com/oauth2/v4/token"
    _OAUTH_USERINFO_URL = "https://www.googleapis.com/oauth2/v1/userinfo"
    _OAUTH_NO_CALLBACKS = False
    _OAUTH_SETTINGS_KEY = "google_oauth"

    def get_google_oauth_settings(self) -> dict[str, str]:
        """The keys for this program; override to have several."""
        settings: dict[str, str] = handler_of(self).settings[self._OAUTH_SETTINGS_KEY]
        return settings

    @with_callback(2)
    async def get_authenticated_user(
        self,
        redirect_uri: str,
        code: str,
        client_id: str | None = None,
        client_secret: str | None = None,
    ) -> dict[str, Any]:
        """What Google gives for the `code` that the user came back with.

        A dict with ``access_token`` and more; who the user is tells ``oauth2_request``
        with ``_OAUTH_USERINFO_URL``.
        """
        if client_id is None or client_secret is None:
            settings = self.get_google_oauth_settings()
            client_id = settings["key"] if client_id is None else client_id
            client_secret = (
                settings["secret"] if client_secret is None else client_secret
            )
        body = urllib.parse.urlencode(
            {
                "redirect_uri": redirect_uri,
                "code": code,
                "client_id": client_id,
                "client_secret": client_secret,
                "grant_type": "authorization_code",
            }
        )
        response = await self.get_auth_http_client().fetch(
            self._OAUTH_ACCESS_TOKEN_URL,
            method="POST",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=body,
        )
        return json_object(response.body)


class FacebookGraphMixin(OAuth2Mixin):
    """Facebook's OAuth 2.0 and Graph API."""

    _OAUTH_ACCESS_TOKEN_URL = "https://graph.facebook.com/oauth/access_token?"
    _OAUTH_AUTHORIZE_URL = "https://www.facebook.com/dialog/oauth?"
    _OAUTH_NO_CALLBACKS = False
    _FACEBOOK_BASE_URL = "https://graph.facebook.com"

    @with_callback(4)
    async def get_authenticated_user(
        self,
        redirect_uri: str,
        client_id: str,
        client_secret: str,
        code: str,
        extra_fields: Iterable[str] | None = None,
    ) -> dict[str, Any] | None:
        """The user for the `code` that came back from Facebook.

        A dict of the fields ``id``, ``name``, ``first_name``, ``last_name``,
        ``locale``, ``picture``, ``link`` and `extra_fields`, with ``access_token`` and
        ``session_expires``: the seconds that is good for, as a str.
        """
        url = self._oauth_request_token_url(
            redirect_uri=redirect_uri,
            client_id=client_id,
            client_secret=client_secret,
            code=code,
        )
        response = await self.get_auth_http_client().fetch(url)
        session = json_object(response.body)
        token = session.get("access_token")
        if not isinstance(token, str):
            raise AuthError("Facebook answered without an access token")
        fields = {"id", "name", "first_name", "last_name", "locale", "picture", "link"}
        fields.update(extra_fields or ())
        proof = hmac.digest(client_secret.encode(), token.encode(), "sha256").hex()
        user = await self.facebook_request(
            path="/me",
            access_token=token,
            appsecret_proof=proof,
            fields=",".join(sorted(fields)),
        )
        if user is None:
            return None
        an_object(user)
        known = {field: user.get(field) for field in fields}
        known["access_token"] = token
        known["session_expires"] = str(session.get("expires_in"))
        return known

    @with_callback(1)
    async def facebook_request(
        self,
        path: str,
        access_token: str | None = None,
        post_args: dict[str, Any] | None = None,
        **args: Any,
    ) -> Any:
        """What the Graph API answers, such as to "/me/feed": JSON, decoded.

        `args` go into the query; `post_args`, where given, make it a POST.
        """
        return await self.oauth2_request(
            self._FACEBOOK_BASE_URL + path,
            access_token=access_token,
            post_args=post_args,
            **args,
        )
