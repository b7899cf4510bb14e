"""One application for pyfastloop and for Tornado: ``web_program.py PACKAGE FOLDER``.

Prints the port it listens on. What it logs goes to standard error, one line a record.
"""

import asyncio
import importlib
import logging
import os
import sys
import time

package, folder = sys.argv[1], sys.argv[2]
auth, escape, gen, httputil, ioloop, iostream, locale, template, web, routing, wsgi = (
    importlib.import_module(f"{package}.{name}")
    for name in (
        *("auth", "escape", "gen", "httputil", "ioloop", "iostream", "locale"),
        *("template", "web", "routing", "wsgi"),
    )
)
Handler = web.RequestHandler
told = []


class Hello(Handler):
    def get(self):
        self.write("Hello")

    def post(self):
        self.write(self.request.body)


class Arguments(Handler):
    def get(self):
        self.write(
            {
                "a": self.get_arguments("a"),
                "a_last": self.get_argument("a", "none"),
                "raw": self.get_argument("a", "none", strip=False),
                "query": self.get_query_arguments("a"),
                "body": self.get_body_arguments("a"),
                "need": self.get_argument("need"),
            }
        )

    post = get


class Cookies(Handler):
    def get(self):
        self.write({n: m.value for n, m in sorted(self.cookies.items())})

    def post(self):
        self.set_cookie("plain", "value")
        self.set_cookie("all", "v", domain="a.test", path="/p", max_age=5)
        self.set_cookie("flags", "v", httponly=True, secure=True, samesite="Lax")
        self.set_cookie("gone", "v")
        self.clear_cookie("gone")
        self.write(self.get_cookie("none", "default"))


class BadCookie(Handler):
    def get(self, how):
        if how == "value":
            self.set_cookie("a", "b\nc")
        elif how == "name":
            self.set_cookie("a b", "c")
        elif how == "semicolon":
            self.set_cookie("a", "b;c")
        else:
            self.set_cookie("a", "b", path="/;x")


class Signed(Handler):
    def get(self):
        value = self.get_signed_cookie("s")
        version = self.get_signed_cookie_key_version("s")
        self.write({"value": value and value.decode(), "version": version})


class Status(Handler):
    def get(self, code):
        self.set_status(int(code))


class Reason(Handler):
    def get(self):
        self.set_status(299, "Quite Fine")


class Raises(Handler):
    def get(self, how):
        if how == "http":
            raise web.HTTPError(418, "log %s", "message", reason="Short")
        if how == "plain":
            raise web.HTTPError(403)
        if how == "odd":
            raise web.HTTPError(999)
        if how == "reason":
            raise web.HTTPError(400, reason="bad\r\nX: y")
        if how == "finish":
            raise web.Finish()
        if how == "finish-value":
            self.write("before ")
            raise web.Finish("after")
        if how == "missing":
            raise web.MissingArgumentError("name")
        if how == "after-write":
            self.write("lost")
            raise KeyError("k")
        if how == "304":
            raise web.HTTPError(304)
        if how == "204":
            raise web.HTTPError(204)
        raise KeyError("k")


class AfterFlush(Handler):
    async def get(self, how):
        self.set_header("X-First", "1")
        self.write("one")
        await self.flush()
        if how == "header":
            self.set_header("X-Late", "1")
            self.write("two")
        elif how == "raise":
            raise KeyError("late")
        elif how == "status":
            self.set_status(500)
        elif how == "redirect":
            self.redirect("/")
        elif how == "send_error":
            self.send_error(500)
        elif how == "two":
            self.write("two")
            await self.flush()
            self.write("three")


class Twice(Handler):
    def get(self, how):
        self.finish("done")
        if how == "finish":
            self.finish("again")
        elif how == "write":
            self.write("again")
        elif how == "flush":
            self.flush()
        elif how == "redirect":
            self.redirect("/")
        elif how == "error":
            self.send_error(500)
        elif how == "raise":
            raise KeyError("after")


class Nonsense(Handler):
    def get(self, how):
        return {
            "int": 5,
            "str": "text",
            "dict": {},
            "list": [],
            "true": True,
            "object": object(),
        }[how]


class Writes(Handler):
    def get(self, how):
        things = {
            "none": None,
            "int": 5,
            "list": [1],
            "dict": {"a": "</script>", "é": 1},
            "bytes": b"\xff\x00",
            "unicode": "é",
            "float": 1.5,
        }
        self.write(things[how])

    def head(self, how):
        self.get(how)


class Types(Handler):
    def get(self, how):
        if how == "own":
            self.set_header("Content-Type", "text/plain")
            self.write({"a": 1})
        elif how == "clear":
            self.clear_header("Content-Type")
            self.write("x")
        elif how == "int":
            self.set_header("X-Int", 5)
        elif how == "date":
            import datetime

            self.set_header("X-Date", datetime.datetime(2020, 1, 2, 3, 4, 5))
        elif how == "add":
            self.add_header("X-Add", "1")
            self.add_header("X-Add", "2")
        elif how == "inject":
            self.set_header("X-Bad", "a\r\nB: c")
        elif how == "unicode":
            self.set_header("X-U", "é")
        elif how == "list":
            self.set_header("X-L", ["a"])
        elif how == "none":
            self.set_header("X-N", None)
        elif how == "bytes":
            self.set_header("X-B", b"bytes")


class Redirects(Handler):
    def get(self, how):
        if how == "perm":
            self.redirect("/a b", permanent=True)
        elif how == "status":
            self.redirect("/é", status=307)
        elif how == "bad":
            self.redirect("/", status=200)
        elif how == "abs":
            self.redirect("http://other.test/x?y=z#f")
        elif how == "rel":
            self.redirect("rel/path?x")
        elif how == "inject":
            self.redirect("/x\r\nSet-Cookie: a=b")
        else:
            self.redirect("//other.test/")


class Etags(Handler):
    def get(self, how):
        if how == "own":
            self.set_header("Etag", '"own"')
        elif how == "weak":
            self.set_header("Etag", 'W/"own"')
        elif how == "none":
            self.set_header("Etag", "")
        elif how == "status":
            self.set_status(201)
        self.write("tagged")

    head = get
    post = get


class Slashes(Handler):
    @web.addslash
    def get(self):
        self.write("slash " + self.request.path)

    @web.addslash
    def post(self):
        self.write("posted")


class NoSlashes(Handler):
    @web.removeslash
    def get(self):
        self.write("noslash " + self.request.path)

    @web.removeslash
    def post(self):
        self.write("posted")


class Login(Handler):
    def get_current_user(self):
        return self.get_cookie("user")

    @web.authenticated
    def get(self):
        self.write("user " + self.current_user)

    @web.authenticated
    def post(self):
        self.write("posted")


class LoginAbsolute(Login):
    def get_login_url(self):
        return (
            "http://login.test/?x=1"
            if "q" in self.request.arguments
            else ("http://login.test/in")
        )


class Request(Handler):
    def get(self):
        r = self.request
        self.write(
            {
                "method": r.method,
                "uri": r.uri,
                "path": r.path,
                "query": r.query,
                "version": r.version,
                "protocol": r.protocol,
                "host": r.host,
                "host_name": r.host_name,
                "ip": r.remote_ip,
                "headers": [list(pair) for pair in r.headers.get_all()],
                "arguments": {
                    k: [v.decode("latin-1") for v in values]
                    for k, values in r.arguments.items()
                },
                "body": r.body.decode("latin-1"),
                "files": {
                    n: [[f.filename, f.content_type, f.body.decode()] for f in files]
                    for n, files in r.files.items()
                },
                "full_url": r.full_url().replace(r.host, "HOST"),
            }
        )

    post = put = patch = delete = options = get


class Groups(Handler):
    def get(self, *args, **kwargs):
        self.write({"args": list(args), "kwargs": kwargs, "path": self.request.path})


class Page(Handler):
    def get(self, name):
        self.render(
            name + ".html",
            items=["<a>", "b&c", "'\"", 5, None, b"bytes"],
            title="T & t",
            html="<b>bold</b>",
        )

    def write_error(self, status_code, **kwargs):
        self.set_header("Content-Type", "text/plain")
        self.write(f"error {status_code} {type(kwargs['exc_info'][1]).__name__}")


class Entry(web.UIModule):
    def render(self, text, big=False):
        return self.render_string("entry.html", text=text, big=big)

    def embedded_css(self):
        return ".entry { color: red }"

    def css_files(self):
        return "entry.css"

    def embedded_javascript(self):
        return "run()"

    def javascript_files(self):
        return ["entry.js", "http://cdn.test/x.js"]

    def html_head(self):
        return "<meta name=entry>"

    def html_body(self):
        return "<p>end</p>"


def shout(handler, text):
    return escape.xhtml_escape(text.upper() + handler.request.method)


class Form(Handler):
    def get(self):
        self.write(self.xsrf_form_html().replace(self.xsrf_token.decode(), "TOKEN"))

    def post(self):
        self.write("accepted")

    put = delete = post


class Hooks(Handler):
    def initialize(self, who):
        told.append(f"initialize {who}")

    def set_default_headers(self):
        self.set_header("X-Default", "yes")

    def prepare(self):
        told.append("prepare")
        if self.get_argument("stop", None):
            self.finish("stopped")
        if self.get_argument("fail", None):
            raise web.HTTPError(400)

    async def get(self):
        told.append("get")
        await asyncio.sleep(0)
        self.write("hooks")

    def on_finish(self):
        told.append("on_finish")


class Told(Handler):
    def get(self):
        self.write({"told": told[:]})
        told.clear()


class AsyncPrepare(Handler):
    async def prepare(self):
        await asyncio.sleep(0)
        self.prepared = "yes"

    @gen.coroutine
    def get(self):
        yield gen.sleep(0.001)
        self.write(self.prepared)


class Custom(Handler):
    SUPPORTED_METHODS = (*Handler.SUPPORTED_METHODS, "PROPFIND")

    def propfind(self):
        self.write("found")

    def write_error(self, status_code, **kwargs):
        self.write({"code": status_code, "reason": self._reason})


class Log(Handler):
    def get(self):
        raise web.HTTPError(409, "the %s has 100%%", "log")

    def log_exception(self, *args):
        told.append("log_exception")
        super().log_exception(*args)


@web.stream_request_body
class Stream(Handler):
    def prepare(self):
        self.got = 0
        if self.request.headers.get("X-Max"):
            self.request.connection.set_max_body_size(
                int(self.request.headers["X-Max"])
            )

    async def data_received(self, chunk):
        await asyncio.sleep(0)
        self.got += len(chunk)

    def post(self):
        self.write(f"{self.got} bytes, body {self.request.body!r}")

    put = post


class Locale(Handler):
    def get(self):
        self.write(
            {"locale": self.locale.code, "browser": self.get_browser_locale().code}
        )


class Urls(Handler):
    def get(self):
        self.write(
            {
                "named": self.reverse_url("named", "a b", 5),
                "static": self.static_url("a.txt"),
                "host": self.static_url("a.txt", include_host=True).replace(
                    self.request.host, "HOST"
                ),
            }
        )


class Files(web.StaticFileHandler):
    def set_extra_headers(self, path):
        self.set_header("X-Extra", path)


class Detached(Handler):
    async def get(self):
        stream = self.detach()
        await stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw")
        stream.close()


class Wsgi:
    def __call__(self, environ, start_response):
        start_response("201 Made", [("X-W", "1"), ("Content-Type", "text/x")])
        return [b"wsgi ", environ["PATH_INFO"].encode("latin-1")]


class Checks(Handler):
    def check_etag_header(self):
        told.append("check_etag_header")
        return super().check_etag_header()

    def compute_etag(self):
        told.append("compute_etag")
        return '"mine"'

    def get(self):
        self.write("checked")


for name, text in {
    "base.html": "<!doctype html><head><title>{% block title %}base{% end %}</title>"
    "</head><body>{% block body %}{% end %}</body>\n",
    "page.html": '{% extends "base.html" %}{% block title %}{{ title }}{% end %}\n'
    "{% block body %}{% for i in items %}{{ i }},\n{% end %}"
    '{% raw html %}{% include "part.html" %}{{ shout("x") }}'
    '{% module Template("part.html", title="tm") %}{% end %}',
    "part.html": "<i>{{ title }}</i>{# gone #}{!# comment #}\n  <b>  x </b>\n",
    "modules.html": "<html><head></head><body>{% module Entry('one') %}"
    "{{ modules.Entry('two', big=True) }}</body></html>",
    "entry.html": "<div>{{ text }}{% if big %}!{% else %}.{% end %}</div>",
    "flow.html": "{% set n = 3 %}{% while n %}{% set n -= 1 %}{{ n }}"
    "{% if n == 1 %}{% break %}{% end %}{% end %}{% for x in [1,2,3] %}"
    "{% if x == 2 %}{% continue %}{% end %}{{ x }}{% end %}"
    "{% try %}{{ 1 / 0 }}{% except ZeroDivisionError %}zero{% finally %}f{% end %}"
    "{% import math %}{{ math.floor(2.5) }}{% from math import ceil %}{{ ceil(2.5) }}"
    "{% apply str.upper %}up{{ 'é' }}{% end %}{{! not }}{{ squeeze(' a  b ') }}"
    "{{ url_escape('a b/é') }}{{ json_encode({'a': '</'}) }}{% comment no %}"
    "{% autoescape None %}{{ '<' }}{{ handler.request.path }}{{ request.method }}"
    "{{ current_user }}{{ locale.code }}{{ _('word') }}{{ static_url('a.txt') }}"
    "{{ reverse_url('named', 1, 2) }}{{ datetime.date(2020, 1, 2) }}"
    "{% whitespace oneline %}a\n  b\n{% whitespace all %}a\n  b\n",
    "linkify.html": "{% raw linkify('see http://a.test/x?y=1&z=2 and www.b.test.') %}",
    "broken.html": "{{ nothing_here }}",
    "syntax.html": "{% if %}",
    "unclosed.html": "{% if True %}x",
    "missing.html": '{% include "nowhere.html" %}',
}.items():
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)
os.makedirs(os.path.join(folder, "static", "sub"), exist_ok=True)
for name, data in {
    "a.txt": b"0123456789",
    "b.css": b"p {}",
    "c.unknown": b"?",
    "index.html": b"<p>index",
    "sub/index.html": b"<p>sub",
    "robots.txt": b"User-agent: *",
    "favicon.ico": b"icon",
}.items():
    path = os.path.join(folder, "static", name)
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (1_600_000_000, 1_600_000_000))

static = os.path.join(folder, "static")
inner = web.Application([(r"/inner/(.*)", Groups), (r"/inner", Hello)])
application = web.Application(
    [
        (r"/", Hello),
        (r"/arguments", Arguments),
        (r"/cookies", Cookies),
        (r"/badcookie/(.*)", BadCookie),
        (r"/signed", Signed),
        (r"/status/(\d+)", Status),
        (r"/reason", Reason),
        (r"/raises/(.*)", Raises),
        (r"/afterflush/(.*)", AfterFlush),
        (r"/twice/(.*)", Twice),
        (r"/nonsense/(.*)", Nonsense),
        (r"/writes/(.*)", Writes),
        (r"/types/(.*)", Types),
        (r"/redirects/(.*)", Redirects),
        (r"/etags/(.*)", Etags),
        (r"/slash/?", Slashes),
        (r"/noslash/*", NoSlashes),
        (r"(.*/evil/?)", Slashes),
        (r"/login", Login),
        (r"/login/absolute", LoginAbsolute),
        (r"/request.*", Request),
        (r"/groups/(\d+)/(\w+)?", Groups),
        (r"/kw/(?P<first>[^/]*)/(?P<second>.*)", Groups),
        (r"/page/(.*)", Page),
        (r"/form", Form),
        (r"/hooks", Hooks, {"who": "me"}),
        (r"/told", Told),
        (r"/prepare", AsyncPrepare),
        (r"/custom", Custom),
        (r"/log", Log),
        (r"/stream", Stream),
        (r"/locale", Locale),
        (r"/urls", Urls),
        (r"/files/(.*)", Files, {"path": static, "default_filename": "index.html"}),
        (r"/bare/(.*)", web.StaticFileHandler, {"path": static}),
        (r"/detached", Detached),
        (r"/checks", Checks),
        (r"/moved/(.*)", web.RedirectHandler, {"url": "/to/{0}?x=1"}),
        (r"/found", web.RedirectHandler, {"url": "/f?y", "permanent": False}),
        (r"/gone", web.ErrorHandler, {"status_code": 410}),
        (
            r"/wsgi.*",
            web.FallbackHandler,
            {"fallback": wsgi.WSGIContainer(Wsgi())},
        ),
        routing.Rule(routing.PathMatches(r"/inner.*"), inner),
        web.url(r"/named/([^/]+)/(.*)", Groups, name="named"),
    ],
    cookie_secret={0: "zero", 1: "one"},
    key_version=1,
    login_url="/log/in",
    xsrf_cookies=len(sys.argv) > 3 and "xsrf" in sys.argv[3],
    compress_response=len(sys.argv) > 3 and "gzip" in sys.argv[3],
    serve_traceback=len(sys.argv) > 3 and "traceback" in sys.argv[3],
    template_path=folder,
    static_path=static,
    ui_modules={"Entry": Entry},
    ui_methods={"shout": shout},
)
application.add_handlers(r"other\.test", [(r"/", Groups), (r"/only", Groups)])


class Lines(logging.Formatter):
    def format(self, record):
        text = f"{record.name} {record.levelname} {record.getMessage()}"
        if record.exc_info:
            text += f" [{record.exc_info[0].__name__}: {record.exc_info[1]}]"
        return text.replace("\n", "\\n")


out = logging.StreamHandler()
out.setFormatter(Lines())
logging.getLogger().addHandler(out)
logging.getLogger().setLevel(logging.INFO)


async def main():
    from importlib import import_module

    server = import_module(f"{package}.httpserver").HTTPServer(application)
    netutil = import_module(f"{package}.netutil")
    (sock,) = netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets([sock])
    print(sock.getsockname()[1], flush=True)
    await asyncio.Event().wait()


locale.load_translations(folder) if False else None
time.tzset()
asyncio.run(main())
