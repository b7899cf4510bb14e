"""OAuth 1.0 and 1.0a (RFC 5849), and Twitter."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
import urllib.parse
import uuid
from typing import Any, cast

from pyfastloop import escape, gen, httpclient
from pyfastloop.auth.base import (
    AuthClientMixin,
    AuthError,
    Token,
    an_object,
    handler_of,
    json_value,
    whole_url,
    with_callback,
    with_query,
)
from pyfastloop.concurrent import Future

__all__ = ["OAuthMixin", "TwitterMixin"]


class OAuthMixin(AuthClientMixin):
    """OAuth 1.0 and 1.0a (RFC 5849).

    Class attributes: ``_OAUTH_REQUEST_TOKEN_URL``, ``_OAUTH_AUTHORIZE_URL`` and
    ``_OAUTH_ACCESS_TOKEN_URL``; ``_OAUTH_VERSION``, "1.0" or "1.0a", the default;
    ``_OAUTH_NO_CALLBACKS``, True where the service sends everybody back to one URL that
    it knows. Methods: `_oauth_consumer_token` and `_oauth_get_user_future`.
    """

    _OAUTH_VERSION = "1.0a"
    _OAUTH_NO_CALLBACKS = False

    @with_callback(3)
    async def authorize_redirect(
        self,
        callback_uri: str | None = None,
        extra_params: dict[str, Any] | None = None,
        http_client: httpclient.AsyncHTTPClient | None = None,
    ) -> None:
        """Ask for a request token and send the browser to the service with it.

        That sends the user back to `callback_uri`, which may be left out where the
        service knows it, and "oob" where there is none. A cookie keeps the token until
        then: wait for this before anything else is sent.
        """
        if callback_uri and self._OAUTH_NO_CALLBACKS:
            raise ValueError("This service does not support oauth_callback")
        client = http_client or self.get_auth_http_client()
        if self._OAUTH_VERSION == "1.0a":
            url = self._oauth_request_token_url(callback_uri, extra_params)
        else:
            url = self._oauth_request_token_url()
        response = await client.fetch(url)
        authorize_url: str = self._OAUTH_AUTHORIZE_URL  # type: ignore[attr-defined]
        self._on_request_token(authorize_url, callback_uri, response)

    @with_callback(0)
    async def get_authenticated_user(
        self, http_client: httpclient.AsyncHTTPClient | None = None
    ) -> dict[str, Any]:
        """The user that the service sent back, for the handler at the callback URL.

        What `_oauth_get_user_future` gave, with ``access_token``, by which requests can
        be made in the user's name later on.
        """
        handler = handler_of(self)
        request_key = escape.utf8(handler.get_argument("oauth_token"))
        verifier = handler.get_argument("oauth_verifier", None)
        cookie = handler.get_cookie("_oauth_request_token")
        if not cookie:
            raise AuthError("Missing OAuth request token cookie")
        handler.clear_cookie("_oauth_request_token")
        key, secret = _decode_token(cookie)
        if not hmac.compare_digest(key, request_key):
            raise AuthError("Request token does not match cookie")
        token: Token = {"key": key, "secret": secret}
        if verifier:
            token["verifier"] = verifier
        client = http_client or self.get_auth_http_client()
        response = await client.fetch(self._oauth_access_token_url(token))
        access_token = _oauth_parse_response(response.body)
        user = await gen.convert_yielded(self._oauth_get_user_future(access_token))
        if not user:
            raise AuthError("Error getting user")
        user["access_token"] = access_token
        return cast(dict[str, Any], user)

    def _oauth_consumer_token(self) -> Token:
        """The service's keys for this program: ``{"key": ..., "secret": ...}``."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no _oauth_consumer_token"
        )

    def _oauth_get_user_future(self, access_token: Token) -> Any:
        """Awaitable: the user with this token as a dict, None where there is none.

        By default calls ``_oauth_get_user(access_token, callback)``, which is what
        programs for Tornado 3 define.
        """
        older = getattr(self, "_oauth_get_user", None)
        if older is None:
            raise NotImplementedError(
                f"{type(self).__name__} defines no _oauth_get_user_future"
            )
        future: Future[Any] = Future()
        older(access_token, callback=future.set_result)
        return future

    def _oauth_request_token_url(
        self,
        callback_uri: str | None = None,
        extra_params: dict[str, Any] | None = None,
    ) -> str:
        url: str = self._OAUTH_REQUEST_TOKEN_URL  # type: ignore[attr-defined]
        args = _oauth_arguments(self._oauth_consumer_token())
        if self._OAUTH_VERSION == "1.0a":
            if callback_uri == "oob":
                args["oauth_callback"] = "oob"
            elif callback_uri:
                args["oauth_callback"] = whole_url(handler_of(self), callback_uri)
            args.update(extra_params or {})
        return self._signed(url, args)

    def _on_request_token(
        self,
        authorize_url: str,
        callback_uri: str | None,
        response: httpclient.HTTPResponse,
    ) -> None:
        handler = handler_of(self)
        token = _oauth_parse_response(response.body)
        cookie = b"|".join(
            base64.b64encode(escape.utf8(token[part])) for part in ("key", "secret")
        )
        secure = handler.request.protocol == "https"
        handler.set_cookie("_oauth_request_token", cookie, httponly=True, secure=secure)
        args = {"oauth_token": token["key"]}
        if callback_uri == "oob":
            handler.finish(with_query(authorize_url, args))
            return
        if callback_uri:
            args["oauth_callback"] = whole_url(handler, callback_uri)
        handler.redirect(with_query(authorize_url, args))

    def _oauth_access_token_url(self, request_token: Token) -> str:
        url: str = self._OAUTH_ACCESS_TOKEN_URL  # type: ignore[attr-defined]
        args = _oauth_arguments(self._oauth_consumer_token(), request_token)
        if "verifier" in request_token:
            args["oauth_verifier"] = request_token["verifier"]
        return self._signed(url, args, request_token)

    def _oauth_request_parameters(
        self,
        url: str,
        access_token: Token,
        parameters: dict[str, Any] | None = None,
        method: str = "GET",
    ) -> dict[str, Any]:
        """What has to be added to a request's `parameters` (of query and body).

        Sign all of them, and send all of them.
        """
        args = _oauth_arguments(self._oauth_consumer_token(), access_token)
        signed = {**args, **(parameters or {})}
        signature = self._signature(method, url, signed, access_token)
        args["oauth_signature"] = signature.decode()
        return args

    def _signed(
        self, url: str, args: dict[str, Any], token: Token | None = None
    ) -> str:
        signature = self._signature("GET", url, args, token)
        return with_query(url, {**args, "oauth_signature": signature})

    def _signature(
        self, method: str, url: str, args: dict[str, Any], token: Token | None
    ) -> bytes:
        sign = _oauth10a_signature
        if self._OAUTH_VERSION != "1.0a":
            sign = _oauth_signature
        return sign(self._oauth_consumer_token(), method, url, args, token)


def _oauth_arguments(consumer: Token, token: Token | None = None) -> dict[str, Any]:
    args: dict[str, Any] = {"oauth_consumer_key": escape.to_basestring(consumer["key"])}
    if token is not None:
        args["oauth_token"] = escape.to_basestring(token["key"])
    args["oauth_signature_method"] = "HMAC-SHA1"
    args["oauth_timestamp"] = str(int(time.time()))
    args["oauth_nonce"] = uuid.uuid4().hex
    args["oauth_version"] = "1.0"
    return args


def _decode_token(cookie: str) -> tuple[bytes, bytes]:
    try:
        key, secret = (
            base64.b64decode(escape.utf8(part), validate=True)
            for part in cookie.split("|")
        )
    except (ValueError, binascii.Error):
        raise AuthError("The OAuth request token cookie is not one of ours") from None
    return key, secret


def _signature_base(method: str, url: str, parameters: dict[str, Any]) -> bytes:
    """What is signed (RFC 5849 section 3.4.1)."""
    parts = urllib.parse.urlsplit(url)
    scheme, host = parts.scheme.lower(), parts.netloc.lower()
    default_port = {"http": ":80", "https": ":443"}.get(scheme)
    if default_port:
        host = host.removesuffix(default_port)
    pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    pairs += parameters.items()
    escaped = sorted((_oauth_escape(k), _oauth_escape(v)) for k, v in pairs)
    return "&".join(
        [
            method.upper(),
            _oauth_escape(f"{scheme}://{host}{parts.path}"),
            _oauth_escape("&".join(f"{k}={v}" for k, v in escaped)),
        ]
    ).encode()


def _oauth_signature(
    consumer_token: Token,
    method: str,
    url: str,
    parameters: dict[str, Any] | None = None,
    token: Token | None = None,
) -> bytes:
    """The signature of OAuth 1.0, before the "a": secrets are not escaped."""
    secrets = [consumer_token["secret"], token["secret"] if token else ""]
    key = b"&".join(escape.utf8(secret) for secret in secrets)
    base = _signature_base(method, url, parameters or {})
    return base64.b64encode(hmac.digest(key, base, "sha1"))


def _oauth10a_signature(
    consumer_token: Token,
    method: str,
    url: str,
    parameters: dict[str, Any] | None = None,
    token: Token | None = None,
) -> bytes:
    """The signature of OAuth 1.0a (RFC 5849 section 3.4.2)."""
    secrets = [consumer_token["secret"], token["secret"] if token else ""]
    key = "&".join(_oauth_escape(secret) for secret in secrets).encode()
    base = _signature_base(method, url, parameters or {})
    return base64.b64encode(hmac.digest(key, base, "sha1"))


def _oauth_escape(value: Any) -> str:
    if not isinstance(value, bytes):
        value = str(value).encode()
    return urllib.parse.quote(value, safe="~")


def _oauth_parse_response(body: bytes) -> Token:
    """A token from a service's answer; other fields of it are kept beside."""
    try:
        fields = urllib.parse.parse_qs(
            escape.native_str(body), keep_blank_values=False, max_num_fields=100
        )
        token = {"key": fields["oauth_token"][0]}
        token["secret"] = fields["oauth_token_secret"][0]
    except (ValueError, KeyError):
        raise AuthError("The service answered without an OAuth token") from None
    special = ("oauth_token", "oauth_token_secret")
    token.update((key, fields[key][0]) for key in fields if key not in special)
    return token


class TwitterMixin(OAuthMixin):
    """Twitter's OAuth 1.0a.

    Needs the settings ``twitter_consumer_key`` and ``twitter_consumer_secret``, which
    Twitter gives to applications that are registered there with their callback URL.
    """

    _OAUTH_REQUEST_TOKEN_URL = "https://api.twitter.com/oauth/request_token"
    _OAUTH_ACCESS_TOKEN_URL = "https://api.twitter.com/oauth/access_token"
    _OAUTH_AUTHORIZE_URL = "https://api.twitter.com/oauth/authorize"
    _OAUTH_AUTHENTICATE_URL = "https://api.twitter.com/oauth/authenticate"
    _OAUTH_NO_CALLBACKS = False
    _TWITTER_BASE_URL = "https://api.twitter.com/1.1"

    @with_callback(1)
    async def authenticate_redirect(self, callback_uri: str | None = None) -> None:
        """As `authorize_redirect`; who has agreed before is not asked again."""
        client = self.get_auth_http_client()
        response = await client.fetch(self._oauth_request_token_url(callback_uri))
        self._on_request_token(self._OAUTH_AUTHENTICATE_URL, None, response)

    @with_callback(1)
    async def twitter_request(
        self,
        path: str,
        access_token: Token,
        post_args: dict[str, Any] | None = None,
        **args: Any,
    ) -> Any:
        """What Twitter answers to a request in the user's name: JSON, decoded.

        `path` is one of its API, such as "/statuses/update", or a whole URL. `args` go
        into the query; `post_args`, where given, make it a POST.
        """
        url = path
        if not path.startswith(("http:", "https:")):
            url = f"{self._TWITTER_BASE_URL}{path}.json"
        method = "GET" if post_args is None else "POST"
        signed = self._oauth_request_parameters(
            url, access_token, {**args, **(post_args or {})}, method=method
        )
        url = with_query(url, {**args, **signed})
        client = self.get_auth_http_client()
        if post_args is None:
            response = await client.fetch(url)
        else:
            body = urllib.parse.urlencode(post_args)
            response = await client.fetch(url, method="POST", body=body)
        return json_value(response.body)

    def _oauth_consumer_token(self) -> Token:
        handler = handler_of(self)
        handler.require_setting("twitter_consumer_key", "Twitter OAuth")
        handler.require_setting("twitter_consumer_secret", "Twitter OAuth")
        return {
            "key": handler.settings["twitter_consumer_key"],
            "secret": handler.settings["twitter_consumer_secret"],
        }

    async def _oauth_get_user_future(self, access_token: Token) -> Any:
        user = await self.twitter_request(
            "/account/verify_credentials", access_token=access_token
        )
        if user and "screen_name" not in an_object(user):
            raise AuthError("Twitter answered without a screen_name")
        if user:
            user["username"] = user["screen_name"]
        return user
