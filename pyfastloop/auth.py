"""Logging in with an account that the user has elsewhere: OpenID, OAuth and OAuth 2.0.

The classes are mixins for a `web.RequestHandler`:

    class LoginHandler(web.RequestHandler, auth.GoogleOAuth2Mixin):
        async def get(self):
            here = f"{self.request.protocol}://{self.request.host}/login"
            if self.get_argument("code", None):
                access = await self.get_authenticated_user(
                    redirect_uri=here, code=self.get_argument("code"))
                user = await self.oauth2_request(
                    self._OAUTH_USERINFO_URL, access_token=access["access_token"])
                # Keep what is needed, in a signed cookie for example.
            else:
                self.authorize_redirect(
                    redirect_uri=here,
                    client_id=self.get_google_oauth_settings()["key"],
                    scope=["profile", "email"],
                    extra_params={"approval_prompt": "auto"})

A mixin for another service sets the class attributes that its base names, and for OAuth
1.0 two methods. What a service answers wrongly, or refuses, is an `AuthError`; where it
cannot be reached at all, the HTTP client's own error is raised.

All methods that wait give a Future. They begin when they are called, and take
``callback=`` as Tornado 3 and 4 did (also in the place it had there): it is called with
the result, with None after an AuthError, which is logged.

Differences from Tornado: answers and cookies that are garbage are AuthErrors; the
cookie that keeps an OAuth token is out of the reach of scripts; an OpenID answer must
be meant for this URL, and only what the provider signed is taken from it; the
parameters of a URL are signed with the others (RFC 5849 section 3.4.1.3).
"""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
import json
import time
import urllib.parse
import uuid
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from pyfastloop import escape, gen, httpclient
from pyfastloop.concurrent import Future
from pyfastloop.httputil import url_concat
from pyfastloop.ioloop import IOLoop
from pyfastloop.log import gen_log
from pyfastloop.stack_context import wrap
from pyfastloop.web import RequestHandler

__all__ = [
    "AuthError",
    "FacebookGraphMixin",
    "GoogleOAuth2Mixin",
    "OAuth2Mixin",
    "OAuthMixin",
    "OpenIdMixin",
    "TwitterMixin",
]

_T = TypeVar("_T")
_Token = dict[str, Any]


class AuthError(Exception):
    """Somebody could not be logged in."""


def _with_callback(
    position: int,
) -> Callable[[Callable[..., Coroutine[Any, Any, _T]]], Callable[..., Future[_T]]]:
    """Have a coroutine method begin when it is called, and take ``callback=`` as well.

    `position` is where Tornado 4 had that among the arguments.
    """

    def decorate(
        method: Callable[..., Coroutine[Any, Any, _T]],
    ) -> Callable[..., Future[_T]]:
        @functools.wraps(method)
        def begin(
            self: Any, *args: Any, callback: Any = None, **kwargs: Any
        ) -> Future[_T]:
            if callback is None and len(args) > position and callable(args[position]):
                callback = args[position]
                args = args[:position] + args[position + 1 :]
            future: Future[_T] = gen.convert_yielded(method(self, *args, **kwargs))
            if callback is not None:
                _call_back(future, callback)
            return future

        return begin

    return decorate


def _then_callback(
    position: int,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `_with_callback`, for a method that has done all when it returns."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def run(self: Any, *args: Any, callback: Any = None, **kwargs: Any) -> None:
            if callback is None and len(args) > position and callable(args[position]):
                callback = args[position]
                args = args[:position] + args[position + 1 :]
            method(self, *args, **kwargs)
            if callback is not None:
                IOLoop.current().add_callback(callback)

        return run

    return decorate


def _call_back(future: Future[Any], callback: Callable[[Any], object]) -> None:
    wrapped = wrap(callback)

    def done(future: Future[Any]) -> None:
        try:
            result = future.result()
        except AuthError as error:
            gen_log.warning("%s", error)
            result = None
        wrapped(result)

    IOLoop.current().add_future(future, done)


def _handler(mixin: Any) -> RequestHandler:
    """A mixin as the handler that it is part of."""
    return cast(RequestHandler, mixin)


class _AuthClientMixin:
    def get_auth_http_client(self) -> httpclient.AsyncHTTPClient:
        """The client for requests to the service; override to have one of your own."""
        return httpclient.AsyncHTTPClient()


def _here(handler: RequestHandler, callback_uri: str | None) -> str:
    """`callback_uri` as a whole URL: it may be relative to the request's."""
    here: str = handler.request.full_url()
    return urllib.parse.urljoin(here, callback_uri or "")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise AuthError(f"the service answered what is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise AuthError(f"the service answered {type(answer).__name__}, not an object")
    return answer


# -- OpenID ----------------------------------------------------------------------------

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


class OpenIdMixin(_AuthClientMixin):
    """OpenID 2.0 with attribute exchange.

    Class attribute: ``_OPENID_ENDPOINT``, the provider's URL.
    """

    @_then_callback(2)
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
        _handler(self).redirect(f"{endpoint}?{urllib.parse.urlencode(args)}")

    @_with_callback(0)
    async def get_authenticated_user(
        self, http_client: httpclient.AsyncHTTPClient | None = None
    ) -> dict[str, Any]:
        """The user that the provider sent back, for the handler at `callback_uri`.

        A dict of what is known: ``name``, ``first_name``, ``last_name``, ``email``,
        ``locale``, ``username`` and ``claimed_id``.
        """
        handler = _handler(self)
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
        handler = _handler(self)
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
        handler = _handler(self)
        url = _here(handler, callback_uri)
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
        handler = _handler(self)
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


# -- OAuth 1.0 -------------------------------------------------------------------------


class OAuthMixin(_AuthClientMixin):
    """OAuth 1.0 and 1.0a (RFC 5849).

    Class attributes: ``_OAUTH_REQUEST_TOKEN_URL``, ``_OAUTH_AUTHORIZE_URL`` and
    ``_OAUTH_ACCESS_TOKEN_URL``; ``_OAUTH_VERSION``, "1.0" or "1.0a", the default;
    ``_OAUTH_NO_CALLBACKS``, True where the service sends everybody back to one URL that
    it knows. Methods: `_oauth_consumer_token` and `_oauth_get_user_future`.
    """

    _OAUTH_VERSION = "1.0a"
    _OAUTH_NO_CALLBACKS = False

    @_with_callback(3)
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

    @_with_callback(0)
    async def get_authenticated_user(
        self, http_client: httpclient.AsyncHTTPClient | None = None
    ) -> dict[str, Any]:
        """The user that the service sent back, for the handler at the callback URL.

        What `_oauth_get_user_future` gave, with ``access_token``, by which requests can
        be made in the user's name later on.
        """
        handler = _handler(self)
        request_key = escape.utf8(handler.get_argument("oauth_token"))
        verifier = handler.get_argument("oauth_verifier", None)
        cookie = handler.get_cookie("_oauth_request_token")
        if not cookie:
            raise AuthError("Missing OAuth request token cookie")
        handler.clear_cookie("_oauth_request_token")
        key, secret = _decode_token(cookie)
        if not hmac.compare_digest(key, request_key):
            raise AuthError("Request token does not match cookie")
        token: _Token = {"key": key, "secret": secret}
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

    def _oauth_consumer_token(self) -> _Token:
        """The service's keys for this program: ``{"key": ..., "secret": ...}``."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no _oauth_consumer_token"
        )

    def _oauth_get_user_future(self, access_token: _Token) -> Any:
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
                args["oauth_callback"] = _here(_handler(self), callback_uri)
            args.update(extra_params or {})
        return self._signed(url, args)

    def _on_request_token(
        self,
        authorize_url: str,
        callback_uri: str | None,
        response: httpclient.HTTPResponse,
    ) -> None:
        handler = _handler(self)
        token = _oauth_parse_response(response.body)
        cookie = b"|".join(
            base64.b64encode(escape.utf8(token[part])) for part in ("key", "secret")
        )
        secure = handler.request.protocol == "https"
        handler.set_cookie("_oauth_request_token", cookie, httponly=True, secure=secure)
        args = {"oauth_token": token["key"]}
        if callback_uri == "oob":
            handler.finish(f"{authorize_url}?{urllib.parse.urlencode(args)}")
            return
        if callback_uri:
            args["oauth_callback"] = _here(handler, callback_uri)
        handler.redirect(f"{authorize_url}?{urllib.parse.urlencode(args)}")

    def _oauth_access_token_url(self, request_token: _Token) -> str:
        url: str = self._OAUTH_ACCESS_TOKEN_URL  # type: ignore[attr-defined]
        args = _oauth_arguments(self._oauth_consumer_token(), request_token)
        if "verifier" in request_token:
            args["oauth_verifier"] = request_token["verifier"]
        return self._signed(url, args, request_token)

    def _oauth_request_parameters(
        self,
        url: str,
        access_token: _Token,
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
        self, url: str, args: dict[str, Any], token: _Token | None = None
    ) -> str:
        signature = self._signature("GET", url, args, token)
        query = urllib.parse.urlencode({**args, "oauth_signature": signature})
        return f"{url}{'&' if '?' in url else '?'}{query}"

    def _signature(
        self, method: str, url: str, args: dict[str, Any], token: _Token | None
    ) -> bytes:
        sign = _oauth10a_signature
        if self._OAUTH_VERSION != "1.0a":
            sign = _oauth_signature
        return sign(self._oauth_consumer_token(), method, url, args, token)


def _oauth_arguments(consumer: _Token, token: _Token | None = None) -> dict[str, Any]:
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
    consumer_token: _Token,
    method: str,
    url: str,
    parameters: dict[str, Any] | None = None,
    token: _Token | None = None,
) -> bytes:
    """The signature of OAuth 1.0, before the "a": secrets are not escaped."""
    secrets = [consumer_token["secret"], token["secret"] if token else ""]
    key = b"&".join(escape.utf8(secret) for secret in secrets)
    base = _signature_base(method, url, parameters or {})
    return base64.b64encode(hmac.digest(key, base, "sha1"))


def _oauth10a_signature(
    consumer_token: _Token,
    method: str,
    url: str,
    parameters: dict[str, Any] | None = None,
    token: _Token | None = None,
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


def _oauth_parse_response(body: bytes) -> _Token:
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


# -- OAuth 2.0 -------------------------------------------------------------------------


class OAuth2Mixin(_AuthClientMixin):
    """OAuth 2.0 (RFC 6749).

    Class attributes: ``_OAUTH_AUTHORIZE_URL`` and ``_OAUTH_ACCESS_TOKEN_URL``.
    """

    @_then_callback(4)
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
        _handler(self).redirect(url_concat(url, args))

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

    @_with_callback(1)
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
        return escape.json_decode(response.body)


# -- services --------------------------------------------------------------------------


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

    @_with_callback(1)
    async def authenticate_redirect(self, callback_uri: str | None = None) -> None:
        """As `authorize_redirect`; who has agreed before is not asked again."""
        client = self.get_auth_http_client()
        response = await client.fetch(self._oauth_request_token_url(callback_uri))
        self._on_request_token(self._OAUTH_AUTHENTICATE_URL, None, response)

    @_with_callback(1)
    async def twitter_request(
        self,
        path: str,
        access_token: _Token,
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
        url += "?" + urllib.parse.urlencode({**args, **signed})
        client = self.get_auth_http_client()
        if post_args is None:
            response = await client.fetch(url)
        else:
            body = urllib.parse.urlencode(post_args)
            response = await client.fetch(url, method="POST", body=body)
        return escape.json_decode(response.body)

    def _oauth_consumer_token(self) -> _Token:
        handler = _handler(self)
        handler.require_setting("twitter_consumer_key", "Twitter OAuth")
        handler.require_setting("twitter_consumer_secret", "Twitter OAuth")
        return {
            "key": handler.settings["twitter_consumer_key"],
            "secret": handler.settings["twitter_consumer_secret"],
        }

    async def _oauth_get_user_future(self, access_token: _Token) -> Any:
        user = await self.twitter_request(
            "/account/verify_credentials", access_token=access_token
        )
        if user:
            user["username"] = user["screen_name"]
        return user


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
        settings: dict[str, str] = _handler(self).settings[self._OAUTH_SETTINGS_KEY]
        return settings

    @_with_callback(2)
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
        return _json_object(response.body)


class FacebookGraphMixin(OAuth2Mixin):
    """Facebook's OAuth 2.0 and Graph API."""

    _OAUTH_ACCESS_TOKEN_URL = "https://graph.facebook.com/oauth/access_token?"
    _OAUTH_AUTHORIZE_URL = "https://www.facebook.com/dialog/oauth?"
    _OAUTH_NO_CALLBACKS = False
    _FACEBOOK_BASE_URL = "https://graph.facebook.com"

    @_with_callback(4)
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
        session = _json_object(response.body)
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
        known = {field: user.get(field) for field in fields}
        known["access_token"] = token
        known["session_expires"] = str(session.get("expires_in"))
        return known

    @_with_callback(1)
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
