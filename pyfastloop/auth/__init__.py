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

from pyfastloop.auth.base import AuthError
from pyfastloop.auth.oauth1 import OAuthMixin, TwitterMixin
from pyfastloop.auth.oauth2 import FacebookGraphMixin, GoogleOAuth2Mixin, OAuth2Mixin
from pyfastloop.auth.openid import OpenIdMixin

__all__ = [
    "AuthError",
    "FacebookGraphMixin",
    "GoogleOAuth2Mixin",
    "OAuth2Mixin",
    "OAuthMixin",
    "OpenIdMixin",
    "TwitterMixin",
]
