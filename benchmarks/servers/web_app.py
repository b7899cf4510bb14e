"""An application on pyfastloop or Tornado, run as ``web_app PORT PACKAGE ROW``."""

import importlib
import sys
from typing import Any

import jinja2

from benchmarks.web_rows import (
    DICT,
    ITEMS,
    JINJA_TEMPLATE,
    LINES,
    SECRET,
    TITLE,
    TORNADO_TEMPLATE,
)

port, package, row = int(sys.argv[1]), sys.argv[2], sys.argv[3]
ioloop: Any = importlib.import_module(f"{package}.ioloop")
template: Any = importlib.import_module(f"{package}.template")
web: Any = importlib.import_module(f"{package}.web")


class Hello(web.RequestHandler):
    def get(self, *groups):
        self.write("Hello, world")


class Order(web.RequestHandler):
    def get(self, user, what):
        self.write(f"{user} {what}")


class Search(web.RequestHandler):
    def get(self):
        self.write(f"{self.get_argument('q')} {self.get_argument('page', '1')}")


class Cookie(web.RequestHandler):
    def get(self):
        self.write(self.get_signed_cookie("user"))


class Account(web.RequestHandler):
    def get_current_user(self):
        user = self.get_signed_cookie("user")
        return user.decode() if user else None

    @web.authenticated
    def get(self):
        self.write(f"Hello, {self.current_user}")


class Dict(web.RequestHandler):
    def get(self):
        self.write(DICT)


class Page(web.RequestHandler):
    def get(self):
        self.render("page", title=TITLE, items=ITEMS)


class Jinja(web.RequestHandler):
    page = jinja2.Environment(autoescape=True, keep_trailing_newline=True).from_string(
        JINJA_TEMPLATE
    )

    def get(self):
        self.write(self.page.render(title=TITLE, items=ITEMS))


class Text(web.RequestHandler):
    def get(self):
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.write(LINES)


sections = [(rf"/section{n}/(\w+)", Hello) for n in range(17)]
application = web.Application(
    [
        *sections,
        (r"/users/(\d+)/orders/(\w+)", Order),
        (r"/archive/(\d{4})/(\d{2})", Hello),
        (r"/(\w+)/([^/]+)/edit", Hello),
    ]
    if row == "routes"
    else [
        (r"/search", Search),
        (r"/cookie", Cookie),
        (r"/account", Account),
        (r"/dict", Dict),
        (r"/template", Page),
        (r"/jinja2", Jinja),
        (r"/text", Text),
    ],
    cookie_secret=SECRET,
    login_url="/login",
    template_loader=template.DictLoader({"page": TORNADO_TEMPLATE}),
    compress_response=row == "gzip",
)
application.listen(port, "127.0.0.1")
ioloop.IOLoop.current().start()
