"""pyfastloop and Tornado: one program, run as ``tornado_api PORT DIR PACKAGE``."""

import asyncio
import importlib
import sys
from typing import Any

from benchmarks.http_rows import JSON, MIB

port, directory, package = int(sys.argv[1]), sys.argv[2], sys.argv[3]
ioloop: Any = importlib.import_module(f"{package}.ioloop")
web: Any = importlib.import_module(f"{package}.web")


class Hello(web.RequestHandler):
    def get(self):
        self.write("Hello, world")


class Json(web.RequestHandler):
    def get(self):
        self.write(JSON)


class Args(web.RequestHandler):
    def get(self, name):
        self.write(f"{self.get_argument('greeting')}, {name}")


class Browser(web.RequestHandler):
    def get(self):
        self.write(self.request.headers["Accept-Language"] + " ")
        self.write(self.get_cookie("theme"))


class Hooks(web.RequestHandler):
    def initialize(self):
        self.started = True

    def set_default_headers(self):
        self.set_header("X-Served-By", "hooks")

    def prepare(self):
        self.prepared = True

    def on_finish(self):
        self.started = False

    def get(self):
        self.write("Hello, world")


class Wrapped(Hello):
    pass


def wrap_as_tracing_tools_do():
    execute, init = Wrapped._execute, Wrapped.__init__
    prepare, on_finish = Wrapped.prepare, Wrapped.on_finish

    async def traced_execute(self, *args, **kwargs):
        return await execute(self, *args, **kwargs)

    def traced_init(self, *args, **kwargs):
        init(self, *args, **kwargs)

    def traced_prepare(self):
        return prepare(self)

    def traced_on_finish(self):
        return on_finish(self)

    Wrapped._execute, Wrapped.__init__ = traced_execute, traced_init
    Wrapped.prepare, Wrapped.on_finish = traced_prepare, traced_on_finish


class Suspend(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(0)
        self.write("Hello, world")


class Echo(web.RequestHandler):
    def post(self):
        self.write(self.request.body)


class Mebibyte(web.RequestHandler):
    def get(self):
        self.write(MIB)

    def compute_etag(self):
        return None


wrap_as_tracing_tools_do()
application = web.Application(
    [
        (r"/", Hello),
        (r"/json", Json),
        (r"/args/(\w+)", Args),
        (r"/browser", Browser),
        (r"/hooks", Hooks),
        (r"/wrapped", Wrapped),
        (r"/suspend", Suspend),
        (r"/echo", Echo),
        (r"/body1m", Mebibyte),
        (r"/static/(.*)", web.StaticFileHandler, {"path": directory}),
    ]
)
application.listen(port, "127.0.0.1")
ioloop.IOLoop.current().start()
