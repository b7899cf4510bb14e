"""pyfastloop.auth: every mixin against a provider of our own, over real sockets.

The provider and the site that uses it are one application; the provider checks
signatures with code of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

import pytest

from pyfastloop import auth, gen, httpclient, web
from pyfastloop.auth import AuthError, oauth1

SECRETS = {"consumer": "consumer secret", "request": "request&secret", "access": "a/s"}


class Telling(web.RequestHandler):
    """A handler of the site: tells what it got as JSON, and errors by their name."""

    def tell(self, value: Any) -> None:
        self.write(json.dumps(value, default=repr, sort_keys=True))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1]
        self.finish(f"{type(error).__name__}: {error}")

    def provider(self, path: str) -> str:
        return f"http://{self.request.host}{path}"


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


# -- OAuth 1.0 -------------------------------------------------------------------------


def test_signature_of_the_rfc():
    # RFC 5849 section 1.2.
    signature = oauth1._oauth10a_signature(
        {"key": "dpf43f3p2l4k3l03", "secret": "kd94hf93k423kf44"},
        "GET",
        "http://photos.example.net/photos?file=vacation.jpg&size=original",
        {
            "oauth_consumer_key": "dpf43f3p2l4k3l03",
            "oauth_token": "nnch734d00sl2jdk",
            "oauth_signature_method": "HMAC-SHA1",
            "oauth_timestamp": "137131202",
            "oauth_nonce": "chapoH",
        },
        {"key": "nnch734d00sl2jdk", "secret": "pfkkdhi9sl3r4s00"},
    )
    assert signature == b"MdpQcU8iPSUjWoN/UDMsK2sui9I="


def test_base_string_of_the_rfc():
    # RFC 5849 section 3.4.1.1, the body's parameters among the others.
    parameters = [
        ("oauth_consumer_key", "9djdj82h48djs9d2"),
        ("oauth_token", "kkk9d7dh3k39sjv7"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "137131201"),
        ("oauth_nonce", "7d8f3e4a"),
        ("c2", ""),
    ]
    url = "http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b&a3=2+q"
    # A dict holds one value for a name: the second a3 is put into the URL here.
    assert oauth1._signature_base("POST", url, dict(parameters)) == (
        b"POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q"
        b"%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_"
        b"key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_m"
        b"ethod%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk"
        b"9d7dh3k39sjv7"
    )


class Signed(web.RequestHandler):
    """A handler of the provider that refuses what is not signed rightly."""

    escaped = True
    token_secret = ""

    def prepare(self) -> None:
        sent = {name: self.get_argument(name) for name in self.request.arguments}
        signature = sent.pop("oauth_signature")
        pairs = sorted(
            (quote(name, safe="~"), quote(value, safe="~"))
            for name, value in sent.items()
        )
        base = "&".join(
            quote(part, safe="~")
            for part in (
                self.request.method,
                f"http://{self.request.host}{self.request.path}",
                "&".join(f"{name}={value}" for name, value in pairs),
            )
        )
        secrets = [SECRETS["consumer"], self.token_secret]
        if self.escaped:
            secrets = [quote(secret, safe="~") for secret in secrets]
        key = "&".join(secrets)
        expected = hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()
        if base64.b64decode(signature) != expected:
            raise web.HTTPError(403, "wrong signature")
        assert sent["oauth_consumer_key"] == "consumer"
        self.sent = sent


class RequestToken(Signed):
    def get(self) -> None:
        if self.get_argument("garbage", None):
            self.write("garbage")
            return
        assert "oauth_token" not in self.sent
        self.set_header("X-Sent", json.dumps(self.sent))
        self.write(
            urlencode(
                {
                    "oauth_token": "request token",
                    "oauth_token_secret": SECRETS["request"],
                }
            )
        )


class AccessToken(Signed):
    token_secret = SECRETS["request"]

    def get(self) -> None:
        assert self.sent["oauth_token"] == "request token"
        fields = {
            "oauth_token": "access token",
            "oauth_token_secret": SECRETS["access"],
            "screen_name": "ann",
        }
        if "oauth_verifier" in self.sent:
            fields["verifier"] = self.sent["oauth_verifier"]
        self.write(urlencode(fields))


class RequestToken10(RequestToken):
    escaped = False


class AccessToken10(AccessToken):
    escaped = False


class OAuthLogin(Telling, auth.OAuthMixin):
    _OAUTH_AUTHORIZE_URL = "https://provider.example/authorize"

    @property
    def _OAUTH_REQUEST_TOKEN_URL(self) -> str:
        return self.provider("/provider/request")

    @property
    def _OAUTH_ACCESS_TOKEN_URL(self) -> str:
        return self.provider("/provider/access")

    def _oauth_consumer_token(self) -> dict[str, Any]:
        return {"key": "consumer", "secret": SECRETS["consumer"]}

    async def _oauth_get_user_future(self, access_token: dict[str, Any]) -> Any:
        if self.get_argument("stranger", None):
            return None
        return {"name": access_token["screen_name"]}

    async def get(self) -> None:
        if self.get_argument("oauth_token", None):
            self.tell(await self.get_authenticated_user())
        else:
            extra = {name: "1" for name in self.get_arguments("extra")}
            await self.authorize_redirect(
                self.get_argument("to", None), extra_params=extra
            )


class OAuth10Login(OAuthLogin):
    _OAUTH_VERSION = "1.0"

    @property
    def _OAUTH_REQUEST_TOKEN_URL(self) -> str:
        return self.provider("/provider10/request")

    @property
    def _OAUTH_ACCESS_TOKEN_URL(self) -> str:
        return self.provider("/provider10/access")


class OlderOAuthLogin(OAuthLogin):
    """As programs for Tornado 3 are written."""

    @web.asynchronous
    def get(self) -> None:  # type: ignore[override]
        if self.get_argument("oauth_token", None):
            self.get_authenticated_user(self.got_user)
        else:
            self.authorize_redirect("/back", callback=lambda result: None)

    def got_user(self, user: Any) -> None:
        self.tell(user)
        self.finish()

    def _oauth_get_user_future(self, access_token: dict[str, Any]) -> Any:
        return auth.OAuthMixin._oauth_get_user_future(self, access_token)

    def _oauth_get_user(self, access_token: dict[str, Any], callback: Any) -> None:
        callback({"name": "older " + access_token["screen_name"]})


class NoCallbacks(OAuthLogin):
    _OAUTH_NO_CALLBACKS = True


OAUTH = [
    ("/provider/request", RequestToken),
    ("/provider/access", AccessToken),
    ("/provider10/request", RequestToken10),
    ("/provider10/access", AccessToken10),
    ("/login", OAuthLogin),
    ("/login10", OAuth10Login),
    ("/older", OlderOAuthLogin),
    ("/nocallbacks", NoCallbacks),
]


@pytest.mark.parametrize(
    ("path", "extra"), [("/login", "&extra=force"), ("/login10", "")]
)
def test_oauth(site: Any, path: str, extra: str):
    s = site(OAUTH)
    there = s.ask(f"{path}?to=/back{extra}")
    assert there.code == 302
    location = there.headers["Location"]
    assert location.startswith("https://provider.example/authorize?")
    assert query_of(location) == {
        "oauth_token": "request token",
        "oauth_callback": f"http://127.0.0.1:{s.port}/back",
    }
    (cookie,) = there.all("Set-Cookie")
    assert cookie.startswith("_oauth_request_token=") and "HttpOnly" in cookie
    cookies = {"Cookie": cookie.partition(";")[0]}
    back = s.ask(
        f"{path}?oauth_token=request%20token&oauth_verifier=very", headers=cookies
    )
    assert back.code == 200, back
    assert json.loads(back.body) == {
        "name": "ann",
        "access_token": {
            "key": "access token",
            "secret": SECRETS["access"],
            "screen_name": "ann",
            "verifier": "very",
        },
    }
    assert back.all("Set-Cookie")[0].startswith('_oauth_request_token=""')
    # The same answer for somebody who has not asked.
    for other, message in [
        ({}, "AuthError: Missing OAuth request token cookie"),
        ({"Cookie": "_oauth_request_token=eA==|eA=="}, "AuthError: Request token does"),
        ({"Cookie": "_oauth_request_token=x|y"}, "AuthError: The OAuth request token"),
        ({"Cookie": "_oauth_request_token=eA=="}, "AuthError: The OAuth request token"),
    ]:
        answer = s.ask(f"{path}?oauth_token=request%20token", headers=other)
        assert answer.code == 500 and answer.text.startswith(message)
    answer = s.ask(f"{path}?oauth_token=request%20token&stranger=1", headers=cookies)
    assert answer.text == "AuthError: Error getting user"


def test_oauth_without_a_place_to_come_back_to(site: Any):
    s = site(OAUTH)
    answer = s.ask("/login?to=oob")
    assert answer.text == (
        "https://provider.example/authorize?oauth_token=request+token"
    )
    assert query_of(s.ask("/login").headers["Location"]) == {
        "oauth_token": "request token"
    }
    assert s.ask("/nocallbacks?to=/back").text.startswith("ValueError: This service")
    assert s.ask("/nocallbacks").code == 302


def test_oauth_provider_answers_garbage(site: Any):
    s = site(OAUTH)
    answer = s.ask("/login?extra=garbage")
    assert answer.text == "AuthError: The service answered without an OAuth token"
    broken = site([("/login", OAuthLogin)])
    assert broken.ask("/login").text == "HTTPClientError: HTTP 404: Not Found"


def test_oauth_in_the_callback_form(site: Any, caplog: pytest.LogCaptureFixture):
    s = site(OAUTH)
    there = s.ask("/older")
    assert there.code == 302
    cookie = there.all("Set-Cookie")[0].partition(";")[0]
    back = s.ask("/older?oauth_token=request%20token", headers={"Cookie": cookie})
    assert json.loads(back.body)["name"] == "older ann"
    # After an AuthError the callback gets None.
    assert s.ask("/older?oauth_token=request%20token").text == "null"
    assert "Missing OAuth request token cookie" in caplog.text


# -- Twitter ---------------------------------------------------------------------------


class TwitterApi(Signed):
    token_secret = SECRETS["access"]

    def get(self, path: str) -> None:
        assert self.sent["oauth_token"] == "access token"
        if self.application.settings.get("garbage"):
            self.write(self.application.settings["garbage"])
            return
        self.write(
            {
                "screen_name": "ann",
                "path": path,
                "method": self.request.method,
                "body": self.request.body.decode(),
                "query": {
                    name: value
                    for name, value in self.sent.items()
                    if not name.startswith("oauth_")
                },
            }
        )

    post = get


class TwitterAccess(Signed):
    token_secret = SECRETS["request"]

    def get(self) -> None:
        self.write(
            urlencode(
                {
                    "oauth_token": "access token",
                    "oauth_token_secret": SECRETS["access"],
                }
            )
        )


class TwitterLogin(Telling, auth.TwitterMixin):
    _OAUTH_AUTHENTICATE_URL = "https://twitter.example/authenticate"

    @property
    def _OAUTH_REQUEST_TOKEN_URL(self) -> str:
        return self.provider("/provider/request")

    @property
    def _OAUTH_ACCESS_TOKEN_URL(self) -> str:
        return self.provider("/twitter/access")

    @property
    def _TWITTER_BASE_URL(self) -> str:
        return self.provider("/api")

    async def get(self) -> None:
        token = {"key": "access token", "secret": SECRETS["access"]}
        step = self.get_argument("step", "")
        if step == "query":
            url = self.provider("/api/search.json?since=1")
            self.tell(await self.twitter_request(url, access_token=token, q="a b"))
            return
        if step == "request":
            self.tell(
                await self.twitter_request("/search", access_token=token, q="a b")
            )
        elif step == "post":
            self.tell(
                await self.twitter_request(
                    self.provider("/api/statuses/update.json"),
                    post_args={"status": "a b&c"},
                    access_token=token,
                )
            )
        elif self.get_argument("oauth_token", None):
            self.tell(await self.get_authenticated_user())
        else:
            await self.authenticate_redirect("/back")


TWITTER = [
    ("/provider/request", RequestToken),
    ("/twitter/access", TwitterAccess),
    ("/api/(.*)", TwitterApi),
    ("/login", TwitterLogin),
]
TWITTER_SETTINGS = {
    "twitter_consumer_key": "consumer",
    "twitter_consumer_secret": SECRETS["consumer"],
}


def test_twitter(site: Any):
    s = site(TWITTER, **TWITTER_SETTINGS)
    there = s.ask("/login")
    assert there.headers["Location"] == (
        "https://twitter.example/authenticate?oauth_token=request+token"
    )
    cookie = there.all("Set-Cookie")[0].partition(";")[0]
    back = s.ask("/login?oauth_token=request%20token", headers={"Cookie": cookie})
    user = json.loads(back.body)
    assert (user["username"], user["path"]) == (
        "ann",
        "account/verify_credentials.json",
    )
    assert user["access_token"]["key"] == "access token"
    answer = json.loads(s.ask("/login?step=request").body)
    assert (answer["path"], answer["query"]) == ("search.json", {"q": "a b"})
    answer = json.loads(s.ask("/login?step=query").body)
    assert answer["query"] == {"q": "a b", "since": "1"}
    answer = json.loads(s.ask("/login?step=post").body)
    assert (answer["method"], answer["body"]) == ("POST", "status=a+b%26c")


@pytest.mark.parametrize("garbage", ["no JSON", "[1]", '{"name": "ann"}'])
def test_twitter_answers_garbage(site: Any, garbage: str):
    s = site(TWITTER, garbage=garbage, **TWITTER_SETTINGS)
    cookie = s.ask("/login").all("Set-Cookie")[0].partition(";")[0]
    back = s.ask("/login?oauth_token=request%20token", headers={"Cookie": cookie})
    assert back.text.startswith("AuthError: ")


def test_twitter_needs_its_settings(site: Any):
    s = site(TWITTER)
    assert "twitter_consumer_key" in s.ask("/login").text


# -- OAuth 2.0 -------------------------------------------------------------------------


class Echo(web.RequestHandler):
    """A handler of the provider that tells what it was asked."""

    def get(self) -> None:
        self.write(
            {
                "method": self.request.method,
                "query": {
                    name: values[0].decode()
                    for name, values in self.request.query_arguments.items()
                },
                "body": self.request.body.decode(),
            }
        )

    post = get


class Garbage(web.RequestHandler):
    def get(self) -> None:
        self.write("<html>")


class OAuth2Login(Telling, auth.OAuth2Mixin):
    _OAUTH_AUTHORIZE_URL = "https://provider.example/authorize?v=2"
    _OAUTH_ACCESS_TOKEN_URL = "https://provider.example/token?v=2"

    async def get(self, step: str) -> None:
        if step == "redirect":
            self.authorize_redirect(
                redirect_uri="http://here/",
                client_id="me",
                scope=["a", "b"],
                extra_params={"state": "x"},
            )
        elif step == "older":
            called = []
            self.authorize_redirect(
                "http://here/",
                "me",
                "secret",
                None,
                lambda: called.append(1),  # type: ignore[arg-type]
                ["a"],
                "token",
            )
            await gen.moment
            assert called == [1]
        elif step == "get":
            self.tell(
                await self.oauth2_request(
                    self.provider("/echo?v=2"), access_token="t", fields="x y"
                )
            )
        elif step == "post":
            self.tell(
                await self.oauth2_request(
                    self.provider("/echo"), post_args={"a": "b c"}, q="1"
                )
            )
        elif step == "missing":
            await self.oauth2_request(self.provider("/nowhere"))
        elif step == "garbage":
            await self.oauth2_request(self.provider("/garbage"))


class OlderOAuth2(OAuth2Login):
    @web.asynchronous
    def get(self) -> None:  # type: ignore[override]
        self.oauth2_request(self.provider("/echo"), self.answered, access_token="t")

    def answered(self, answer: Any) -> None:
        self.tell(answer)
        self.finish()


def test_oauth2(site: Any):
    s = site(
        [
            ("/login/(.*)", OAuth2Login),
            ("/older", OlderOAuth2),
            ("/echo", Echo),
            ("/garbage", Garbage),
        ]
    )
    there = s.ask("/login/redirect")
    assert there.code == 302
    assert query_of(there.headers["Location"]) == {
        "v": "2",
        "response_type": "code",
        "redirect_uri": "http://here/",
        "client_id": "me",
        "state": "x",
        "scope": "a b",
    }
    assert query_of(s.ask("/login/older").headers["Location"]) == {
        "v": "2",
        "response_type": "token",
        "redirect_uri": "http://here/",
        "client_id": "me",
        "scope": "a",
    }
    assert json.loads(s.ask("/login/get").body) == {
        "method": "GET",
        "query": {"v": "2", "access_token": "t", "fields": "x y"},
        "body": "",
    }
    assert json.loads(s.ask("/login/post").body) == {
        "method": "POST",
        "query": {"q": "1"},
        "body": "a=b+c",
    }
    assert s.ask("/login/missing").text == "HTTPClientError: HTTP 404: Not Found"
    assert s.ask("/login/garbage").text.startswith("AuthError: the service answered")
    assert json.loads(s.ask("/older").body)["query"] == {"access_token": "t"}


# -- Google ----------------------------------------------------------------------------


class GoogleToken(web.RequestHandler):
    def post(self) -> None:
        assert self.request.headers["Content-Type"] == (
            "application/x-www-form-urlencoded"
        )
        sent = parse_qs(self.request.body.decode())
        if sent["code"] == ["bad"]:
            raise web.HTTPError(400)
        if sent["code"] == ["garbage"]:
            self.write("[]")
            return
        self.write({"access_token": "t", "sent": sent})


class GoogleLogin(Telling, auth.GoogleOAuth2Mixin):
    @property
    def _OAUTH_ACCESS_TOKEN_URL(self) -> str:
        return self.provider("/token")

    async def get(self) -> None:
        keys = {}
        if self.get_argument("own", None):
            keys = {"client_id": "own", "client_secret": "keys"}
        self.tell(
            await self.get_authenticated_user(
                "http://here/", self.get_argument("code"), **keys
            )
        )


class OlderGoogle(GoogleLogin):
    @web.asynchronous
    @gen.engine
    def get(self) -> Any:  # type: ignore[override]
        user = yield gen.Task(
            self.get_authenticated_user, redirect_uri="http://here/", code="c"
        )
        self.tell(user)
        self.finish()


def test_google(site: Any):
    s = site(
        [("/token", GoogleToken), ("/login", GoogleLogin), ("/older", OlderGoogle)],
        google_oauth={"key": "id", "secret": "hush"},
    )
    answer = json.loads(s.ask("/login?code=c").body)
    assert answer == {
        "access_token": "t",
        "sent": {
            "redirect_uri": ["http://here/"],
            "code": ["c"],
            "client_id": ["id"],
            "client_secret": ["hush"],
            "grant_type": ["authorization_code"],
        },
    }
    answer = json.loads(s.ask("/login?code=c&own=1").body)
    assert answer["sent"]["client_id"] == ["own"]
    assert answer["sent"]["client_secret"] == ["keys"]
    assert json.loads(s.ask("/older").body)["access_token"] == "t"
    assert s.ask("/login?code=bad").text == "HTTPClientError: HTTP 400: Bad Request"
    assert s.ask("/login?code=garbage").text.startswith("AuthError: the service")


def test_google_needs_its_settings(site: Any):
    assert "google_oauth" in site([("/login", GoogleLogin)]).ask("/login?code=c").text


# -- Facebook --------------------------------------------------------------------------


class FacebookToken(web.RequestHandler):
    def get(self) -> None:
        assert self.get_argument("client_secret") == "hush"
        code = self.get_argument("code")
        if code == "garbage":
            self.write("access_token=t")
        elif code == "none":
            self.write({"error": "x"})
        else:
            self.write({"access_token": "t", "expires_in": 60})


class FacebookMe(web.RequestHandler):
    def get(self) -> None:
        proof = hmac.new(b"hush", b"t", hashlib.sha256).hexdigest()
        assert self.get_argument("appsecret_proof") == proof
        if self.application.settings.get("garbage"):
            self.write("[1]")
            return
        self.write(
            {
                "id": "1",
                "name": "Ann",
                "first_name": self.get_argument("fields"),
                "secret": "not asked for",
            }
        )


class FacebookLogin(Telling, auth.FacebookGraphMixin):
    @property
    def _OAUTH_ACCESS_TOKEN_URL(self) -> str:
        return self.provider("/token?")

    @property
    def _FACEBOOK_BASE_URL(self) -> str:
        return self.provider("")

    async def get(self) -> None:
        if self.get_argument("feed", None):
            answer = await self.facebook_request(
                "/echo", post_args={"message": "hi"}, access_token="t"
            )
        else:
            answer = await self.get_authenticated_user(
                redirect_uri="http://here/",
                client_id="me",
                client_secret="hush",
                code=self.get_argument("code"),
                extra_fields=["email"],
            )
        self.tell(answer)


def test_facebook(site: Any):
    s = site(
        [
            ("/token", FacebookToken),
            ("/me", FacebookMe),
            ("/echo", Echo),
            ("/login", FacebookLogin),
        ]
    )
    assert json.loads(s.ask("/login?code=c").body) == {
        "id": "1",
        "name": "Ann",
        "first_name": "email,first_name,id,last_name,link,locale,name,picture",
        "last_name": None,
        "locale": None,
        "picture": None,
        "link": None,
        "email": None,
        "access_token": "t",
        "session_expires": "60",
    }
    assert json.loads(s.ask("/login?feed=1").body) == {
        "method": "POST",
        "query": {"access_token": "t"},
        "body": "message=hi",
    }
    assert s.ask("/login?code=garbage").text.startswith("AuthError: the service")
    assert s.ask("/login?code=none").text == (
        "AuthError: Facebook answered without an access token"
    )


def test_facebook_answers_what_is_no_user(site: Any):
    pages = [("/token", FacebookToken), ("/me", FacebookMe), ("/login", FacebookLogin)]
    s = site(pages, garbage=True)
    assert s.ask("/login?code=c").text == (
        "AuthError: the service answered list, not an object"
    )


# -- OpenID ----------------------------------------------------------------------------


class OpenIdProvider(web.RequestHandler):
    asked: list[dict[str, str]] = []  # noqa: RUF012  # emptied by the test

    def post(self) -> None:
        fields = {name: self.get_argument(name) for name in self.request.arguments}
        self.asked.append(fields)
        valid = fields["openid.sig"] == "good"
        self.write(
            f"ns:http://specs.openid.net/auth/2.0\nis_valid:{str(valid).lower()}\n"
        )


class OpenIdLogin(Telling, auth.OpenIdMixin):
    @property
    def _OPENID_ENDPOINT(self) -> str:
        return self.provider("/provider")

    async def get(self) -> None:
        if self.get_argument("openid.mode", None):
            self.tell(await self.get_authenticated_user())
        else:
            attributes = self.get_arguments("ax")
            if attributes:
                self.authenticate_redirect("/back?a=1", ax_attrs=attributes)
            else:
                self.authenticate_redirect()


AX_TYPE = "http://axschema.org/"


def openid_answer(port: int, **changes: str | None) -> str:
    fields: dict[str, str | None] = {
        "mode": "id_res",
        "return_to": f"http://127.0.0.1:{port}/login?x=1",
        "claimed_id": "https://provider/ann",
        "sig": "good",
        "ns.ext": "http://openid.net/srv/ax/1.0",
        "ext.type.e": AX_TYPE + "contact/email",
        "ext.value.e": "ann@example.com",
        "ext.type.f": AX_TYPE + "namePerson/first",
        "ext.value.f": "Ann",
        "ext.type.l": AX_TYPE + "namePerson/last",
        "ext.value.l": "Bee",
        "ext.type.g": AX_TYPE + "pref/language",
        "ext.value.g": "EN-us",
        "ext.type.u": AX_TYPE + "namePerson/friendly",
        "ext.value.u": "annbee",
    }
    fields.update(changes)
    fields.setdefault("signed", ",".join(n for n in fields if n != "sig"))
    given = {f"openid.{n}": v for n, v in fields.items() if v is not None}
    return "/login?x=1&" + urlencode(given)


def test_openid_redirect(site: Any):
    s = site([("/provider", OpenIdProvider), ("/login", OpenIdLogin)])
    there = s.ask("/login")
    here = f"http://127.0.0.1:{s.port}"
    assert there.headers["Location"].startswith(f"{here}/provider?")
    sent = query_of(there.headers["Location"])
    assert sent["openid.mode"] == "checkid_setup"
    assert sent["openid.return_to"] == f"{here}/login"
    assert sent["openid.realm"] == f"{here}/"
    assert sent["openid.ax.mode"] == "fetch_request"
    assert set(sent["openid.ax.required"].split(",")) == {
        "firstname",
        "fullname",
        "lastname",
        "email",
        "language",
        "username",
    }
    sent = query_of(s.ask("/login?ax=email").headers["Location"])
    assert sent["openid.return_to"] == f"{here}/back?a=1"
    assert sent["openid.ax.required"] == "email"
    assert sent["openid.ax.type.email"] == AX_TYPE + "contact/email"


def test_openid_user(site: Any):
    s = site([("/provider", OpenIdProvider), ("/login", OpenIdLogin)])
    OpenIdProvider.asked.clear()
    answer = s.ask(openid_answer(s.port))
    assert json.loads(answer.body) == {
        "name": "Ann Bee",
        "first_name": "Ann",
        "last_name": "Bee",
        "email": "ann@example.com",
        "locale": "en-us",
        "username": "annbee",
        "claimed_id": "https://provider/ann",
    }
    (asked,) = OpenIdProvider.asked
    assert asked["openid.mode"] == "check_authentication"
    assert asked["openid.sig"] == "good"
    nameless = s.ask(openid_answer(s.port, **{"ext.type.f": "x", "ext.type.l": "x"}))
    assert json.loads(nameless.body)["name"] == "ann"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sig": "bad"}, "Invalid OpenID response: b'ns:"),
        ({"return_to": "http://evil/login"}, "Invalid OpenID response: it is for"),
        ({"return_to": None}, "Invalid OpenID response: it is for"),
        ({"signed": "claimed_id"}, "Invalid OpenID response: its return_to"),
        ({"signed": None}, "Invalid OpenID response: its return_to"),
    ],
)
def test_openid_answers_that_log_nobody_in(site: Any, changes: Any, message: str):
    s = site([("/provider", OpenIdProvider), ("/login", OpenIdLogin)])
    answer = s.ask(openid_answer(s.port, **changes))
    assert answer.code == 500
    assert answer.text.startswith(f"AuthError: {message}")


def test_openid_takes_only_what_is_signed(site: Any):
    s = site([("/provider", OpenIdProvider), ("/login", OpenIdLogin)])
    answer = s.ask(
        openid_answer(s.port, signed="return_to,ns.ext,ext.type.e,ext.value.f")
    )
    assert json.loads(answer.body) == {}


# -- all of them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "mixin",
    [auth.OpenIdMixin, auth.OAuthMixin, auth.OAuth2Mixin],
)
def test_the_client_can_be_one_of_their_own(site: Any, mixin: Any):
    class Handler(web.RequestHandler, mixin):  # type: ignore[misc]
        def get(self) -> None:
            client = self.get_auth_http_client()
            self.write(type(client).__mro__[1].__name__)

    s = site([("/", Handler)])
    assert s.ask("/").text == httpclient.AsyncHTTPClient.__name__


def test_abstract_parts_say_so():
    with pytest.raises(NotImplementedError, match="_oauth_consumer_token"):
        auth.OAuthMixin()._oauth_consumer_token()
    with pytest.raises(NotImplementedError, match="_oauth_get_user_future"):
        auth.OAuthMixin()._oauth_get_user_future({})
    assert issubclass(AuthError, Exception)
