"""pyfastloop.web: pages, UI modules, languages, URLs of static files."""

from __future__ import annotations

import hashlib

import pytest

from pyfastloop import locale, template, web


class Greet(web.UIModule):
    def render(self, name):
        return f"<i>{name} {self.current_user} {self.request.method}</i>"

    def embedded_javascript(self):
        return "js()"

    def javascript_files(self):
        return ["a.js", "http://x/b.js", "a.js"]

    def embedded_css(self):
        return b"i {}"

    def css_files(self):
        return "one.css"

    def html_head(self):
        return "<meta>"

    def html_body(self):
        return "<hr>"


def shout(handler, text):
    return f"{text.upper()} {handler.request.method}"


class Page(web.RequestHandler):
    def get(self, name):
        self.render(name, a="<a>")

    def get_current_user(self):
        return "me"


PAGES = {
    "names": (
        "{{ a }}|{{ _('hi') }}|{{ locale.code }}|{{ current_user }}|"
        "{{ request.method }}|{{ handler.get_status() }}|{{ static_url('s.txt') }}|"
        "{{ reverse_url('page', 'x') }}|{{ shout('x') }}"
    ),
    "modules": (
        "<html><head></head><body>{% module Greet('x') %}{% module Greet('y') %}"
        "</body></html>"
    ),
    "sub": "{{ set_resources(embedded_css='c', css_files=['/x.css']) }}[{{ v }}]",
    "template_module": (
        "<head></head>{% module Template('sub', v=1) %}"
        "{% module Template('sub', v=2) %}"
    ),
    "changing": "{{ set_resources(html_head=v) }}",
    "changes": (
        "<head></head>{% module Template('changing', v='1') %}"
        "{% module Template('changing', v='2') %}"
    ),
    "builtin": (
        "<head></head>{% module linkify('see http://x.com') %}"
        "{% module xsrf_form_html() %}{{ modules.Greet('z') }}</body>"
    ),
    "unknown": "{% module Nope() %}",
}


@pytest.fixture
def pages(site, tmp_path):
    (tmp_path / "s.txt").write_text("static")
    return site(
        [web.url("/(.*)", Page, name="page")],
        template_loader=template.DictLoader(PAGES),
        static_path=str(tmp_path),
        ui_modules={"Greet": Greet},
        ui_methods={"shout": shout},
    )


@pytest.fixture(autouse=True)
def fresh_loaders():
    web.RequestHandler._template_loaders.clear()
    yield
    web.RequestHandler._template_loaders.clear()


def test_names_that_templates_see(pages):
    version = hashlib.sha512(b"static").hexdigest()
    assert pages.ask("/names").text == (
        f"&lt;a&gt;|hi|en_US|me|GET|200|/static/s.txt?v={version}|/x|X GET"
    )


def test_ui_modules_bring_their_resources_once(pages):
    text = pages.ask("/modules").text
    assert text == (
        "<html><head>"
        '<link href="/static/one.css" type="text/css" rel="stylesheet"/>\n'
        '<style type="text/css">\ni {}\n</style>\n'
        "<meta>\n"
        "</head><body><i>x me GET</i><i>y me GET</i>"
        '<script src="/static/a.js" type="text/javascript"></script>'
        '<script src="http://x/b.js" type="text/javascript"></script>\n'
        '<script type="text/javascript">\n//<![CDATA[\njs()\n//]]>\n</script>\n'
        "<hr>\n"
        "</body></html>"
    )


def test_template_modules(pages, caplog):
    text = pages.ask("/template_module").text
    assert "[1]" in text
    assert "[2]" in text
    assert text.count("x.css") == 1
    assert pages.ask("/changes").code == 500
    assert "different resources for the same template" in caplog.text


def test_modules_that_are_always_there(pages):
    text = pages.ask("/builtin").text
    assert '<a href="http://x.com">http://x.com</a>' in text
    assert '<input type="hidden" name="_xsrf" value="' in text
    assert "&lt;i&gt;z me GET&lt;/i&gt;" in text


def test_an_unknown_module_is_a_500(pages, caplog):
    assert pages.ask("/unknown").code == 500
    assert "Nope" in caplog.text


def test_ui_methods_and_modules_of_a_python_module(site):
    import types

    names = types.ModuleType("names")
    names.Greet, names.shout, names._hidden, names.CONSTANT = Greet, shout, shout, shout
    app = web.Application([], ui_methods=names, ui_modules=[names, {"G2": Greet}])
    assert set(app.ui_methods) == {"shout"}
    assert {"Greet", "G2", "Template", "linkify", "xsrf_form_html"} <= set(
        app.ui_modules
    )
    with pytest.raises(TypeError, match="ui_modules must be"):
        web.Application([], ui_modules=3)


def test_template_path_and_its_settings(site, tmp_path):
    (tmp_path / "p.html").write_text("{{ '<' }} \n\n x")

    class Handler(web.RequestHandler):
        def get(self):
            self.render("p.html")

    raw = site([("/", Handler)], template_path=str(tmp_path), autoescape=None)
    assert raw.ask("/").text == "<\nx"
    web.RequestHandler._template_loaders.clear()
    oneline = site(
        [("/", Handler)], template_path=str(tmp_path), template_whitespace="oneline"
    )
    assert oneline.ask("/").text == "&lt; x"


def test_compiled_templates_are_kept_unless_told_otherwise(site, tmp_path):
    page = tmp_path / "p.html"

    class Handler(web.RequestHandler):
        def get(self):
            self.render("p.html")

    for cached, second in ((True, b"1"), (False, b"2")):
        web.RequestHandler._template_loaders.clear()
        s = site(
            [("/", Handler)],
            template_path=str(tmp_path),
            compiled_template_cache=cached,
        )
        page.write_text("1")
        assert s.ask("/").body == b"1"
        page.write_text("2")
        assert s.ask("/").body == second


def test_without_a_template_path_the_callers_folder_counts(site, tmp_path):
    (tmp_path / "near.html").write_text("near")
    source = tmp_path / "pagecode.py"
    source.write_text("def render(handler):\n    handler.render('near.html')\n")
    namespace: dict = {}
    exec(compile(source.read_text(), str(source), "exec"), namespace)

    class Handler(web.RequestHandler):
        def get(self):
            namespace["render"](self)

    assert site([("/", Handler)]).ask("/").body == b"near"


def test_ui_is_gone_after_finish(site):
    seen = []

    class Handler(web.RequestHandler):
        def get(self):
            assert set(self.ui) == {"_tt_modules", "modules"}
            self.finish()
            seen.append(self.ui)

    site([("/", Handler)]).ask("/")
    assert seen == [None]


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("fr-FR", "fr_FR"),
        ("de,fr-FR;q=0.5", "fr_FR"),
        ("es-LA;q=0.1,fr-FR;q=0.9", "fr_FR"),
        ("es-LA;q=bad,fr-FR;q=0.1", "fr_FR"),
        ("fr-FR;q=0", "en_US"),
        ("es-LA;q=0.5;x=1", "es_LA"),
        ("", "en_US"),
        ("*", "en_US"),
    ],
)
def test_browser_locale(site, monkeypatch, accept, code):
    class Handler(web.RequestHandler):
        def get(self):
            self.write(self.locale.code)

    monkeypatch.setattr(
        locale, "_supported_locales", frozenset(["en_US", "es_LA", "fr_FR"])
    )
    answer = site([("/", Handler)]).ask("/", headers={"Accept-Language": accept})
    assert answer.text == code


def test_user_locale_goes_before_the_browsers(site):
    class Handler(web.RequestHandler):
        def get_user_locale(self):
            return locale.get("en_US")

        def get(self):
            first = self.locale
            assert self.locale is first
            self.locale = "set"
            self.write(self.locale)

    assert site([("/", Handler)]).ask("/").body == b"set"


def test_static_url(site, tmp_path):
    (tmp_path / "s.txt").write_text("static")
    version = hashlib.sha512(b"static").hexdigest()

    class Handler(web.RequestHandler):
        include_host = True

        def get(self):
            self.write(
                {
                    "absolute": self.static_url("s.txt"),
                    "relative": self.static_url("s.txt", include_host=False),
                    "bare": self.static_url(
                        "s.txt", include_host=False, include_version=False
                    ),
                }
            )

        def post(self):
            self.static_url("../secret")

    s = site([("/", Handler)], static_path=str(tmp_path), static_url_prefix="/s/")
    import json

    assert json.loads(s.ask("/").body) == {
        "absolute": f"http://127.0.0.1:{s.port}/s/s.txt?v={version}",
        "relative": f"/s/s.txt?v={version}",
        "bare": "/s/s.txt",
    }
    assert s.ask("/", "POST", body="").code == 403


def test_is_absolute():
    for path, expected in (
        ("/x", True),
        ("http://x", True),
        ("https://x", True),
        ("x", False),
        ("ftp://x", False),
    ):
        assert web.is_absolute(path) is expected
