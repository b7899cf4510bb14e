"""pyfastloop.web: XSRF tokens and the check of origins."""

from __future__ import annotations

import re

import pytest
from web_support import lines_of

from pyfastloop import web

V1 = "00112233445566778899aabbccddeeff"
# The same secret under the mask 7d3e2c69, made at second 1795343464.
V2 = "2|7d3e2c69|7d2f0e5a396b4a1ef5a786d2b1e3c296|1795343464"


class Form(web.RequestHandler):
    def get(self):
        self.write(self.xsrf_form_html())

    def post(self):
        self.write("ok")

    put = delete = patch = post

    def options(self):
        self.write("ok")


class LoggedIn(Form):
    def get_current_user(self):
        return "me"


def token_of(answer):
    return re.search(r'value="([^"]+)"', answer.text).group(1)


def test_the_token_of_the_form_is_accepted(site):
    s = site([("/", Form)], xsrf_cookies=True)
    page = s.ask("/")
    (cookie,) = page.all("Set-Cookie")
    assert re.fullmatch(r"_xsrf=2\|[0-9a-f]{8}\|[0-9a-f]{32}\|[0-9]+; Path=/", cookie)
    sent = {"Cookie": cookie.partition(";")[0]}
    form = {**sent, "Content-Type": "application/x-www-form-urlencoded"}
    body = "_xsrf=" + token_of(page).replace("|", "%7C")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert s.ask("/", method, sent, "").code == 403, method
    assert s.ask("/", "POST", form, body).body == b"ok"
    assert s.ask("/", "OPTIONS", sent).body == b"ok"


def test_tokens_are_masked_anew_each_time(site):
    s = site([("/", Form)], xsrf_cookies=True)
    seen = {token_of(s.ask("/", headers={"Cookie": f"_xsrf={V2}"})) for _ in range(3)}
    assert len(seen) == 3
    for token in seen:
        headers = {"Cookie": f"_xsrf={V2}", "X-XSRFToken": token}
        assert s.ask("/", "POST", headers, "").code == 200


@pytest.mark.parametrize("cookie", [V1, V2])
@pytest.mark.parametrize("token", [V1, V2])
@pytest.mark.parametrize("header", ["X-XSRFToken", "X-CSRFToken"])
def test_both_versions_are_read(site, cookie, token, header):
    s = site([("/", Form)], xsrf_cookies=True)
    headers = {"Cookie": f"_xsrf={cookie}", header: token}
    assert s.ask("/", "POST", headers, "").code == 200


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (None, "'_xsrf' argument missing from POST"),
        ("3|x", "'_xsrf' argument has invalid format"),
        ("2|bad", "'_xsrf' argument has invalid format"),
        ("2|7d3e|00|1", "'_xsrf' argument has invalid format"),
        ("ff" + V1[2:], "XSRF cookie does not match POST argument"),
        ("no hex at all", "XSRF cookie does not match POST argument"),
    ],
)
def test_wrong_tokens_are_403(site, caplog, token, why):
    s = site([("/", Form)], xsrf_cookies=True)
    headers = {"Cookie": f"_xsrf={V1}"}
    if token is not None:
        headers["X-XSRFToken"] = token
    assert s.ask("/", "POST", headers, "").code == 403
    assert lines_of(caplog, "tornado.general") == [f"403 POST / (127.0.0.1): {why}"]


def test_no_cookie_means_no_token_fits(site):
    s = site([("/", Form)], xsrf_cookies=True)
    assert s.ask("/", "POST", {"X-XSRFToken": V2}, "").code == 403


def test_a_broken_cookie_is_replaced(site):
    s = site([("/", Form)], xsrf_cookies=True)
    for broken in ("2|bad", "3|x", "2|7d3e2c69||1"):
        answer = s.ask("/", headers={"Cookie": f"_xsrf={broken}"})
        assert answer.code == 200
        assert len(answer.all("Set-Cookie")) == 1
    assert s.ask("/", headers={"Cookie": f"_xsrf={V1}"}).all("Set-Cookie") == []


def test_settings_of_the_cookie(site):
    s = site(
        [("/", Form), ("/in", LoggedIn)],
        xsrf_cookies=True,
        xsrf_cookie_name="__Host-xsrf",
        xsrf_cookie_kwargs={"secure": True, "httponly": True},
        xsrf_cookie_version=1,
    )
    (cookie,) = s.ask("/").all("Set-Cookie")
    assert re.fullmatch(r"__Host-xsrf=[0-9a-f]{32}; HttpOnly; Path=/; Secure", cookie)
    (cookie,) = s.ask("/in").all("Set-Cookie")
    assert "expires=" in cookie  # thirty days for those that are logged in


def test_a_handler_may_opt_out(site):
    class Open(Form):
        def check_xsrf_cookie(self):
            pass

    assert site([("/", Open)], xsrf_cookies=True).ask("/", "POST", body="").code == 200


# -- cross_origin_protection ---------------------------------------------------------

HERE = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("site_header", "origin", "code"),
    [
        (None, None, 200),  # no browser
        ("same-origin", None, 200),
        ("none", None, 200),
        ("same-origin", "http://evil", 200),
        ("same-site", None, 403),
        ("cross-site", None, 403),
        ("bogus", None, 403),
        ("cross-site", "https://good.example", 200),
        ("cross-site", "http://evil", 403),
        ("cross-site", HERE, 403),
        (None, HERE, 200),
        (None, HERE.replace("http", "https"), 200),  # behind a proxy that ends TLS
        (None, "http://127.0.0.1", 403),
        (None, "https://good.example", 200),
        (None, "http://evil", 403),
        (None, "null", 403),
    ],
)
def test_cross_origin_protection(site, site_header, origin, code):
    s = site(
        [("/", Form)],
        cross_origin_protection=True,
        trusted_origins=["https://good.example"],
    )
    headers = {}
    if site_header is not None:
        headers["Sec-Fetch-Site"] = site_header
    if origin is not None:
        headers["Origin"] = origin.format(port=s.port)
    assert s.ask("/", "POST", headers, "").code == code
    assert s.ask("/", "GET", headers).code == 200


def test_check_trusted_origin_decides(site):
    asked = []

    class Handler(Form):
        def check_trusted_origin(self, origin):
            asked.append(origin)
            return origin.endswith("//friend")

    s = site([("/", Handler)], cross_origin_protection=True)
    for origin, code in (("http://friend", 200), ("http://foe", 403)):
        assert s.ask("/", "POST", {"Origin": origin}, "").code == code
    assert asked == ["http://friend", "http://foe"]


def test_off_by_default(site):
    headers = {"Origin": "http://evil", "Sec-Fetch-Site": "cross-site"}
    assert site([("/", Form)]).ask("/", "POST", headers, "").code == 200
