"""pyfastloop and Tornado: one program.

Run as ``tornado_api PORT DIR PACKAGE [PROCESSES [CERTIFICATE KEY]]``.
"""

import asyncio
import importlib
import sys
from typing import Any

from benchmarks.http_rows import JSON, MIB, STREAM_PIECE

port, directory, package = int(sys.argv[1]), sys.argv[2], sys.argv[3]
processes = int(sys.argv[4]) if len(sys.argv) > 4 else 1
certificate = sys.argv[5:]
httpserver: Any = importlib.import_module(f"{package}.httpserver")
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


PIECE = b"x" * STREAM_PIECE


class Down(web.RequestHandler):
    async def get(self):
        size = int(self.get_argument("size"))
        self.set_header("Content-Length", str(size))
        for _ in range(size // STREAM_PIECE):
            self.write(PIECE)
            await self.flush()


@web.stream_request_body
class Up(web.RequestHandler):
    def initialize(self):
        self.received = 0

    def prepare(self):
        self.request.connection.set_max_body_size(1 << 40)

    def data_received(self, chunk):
        self.received += len(chunk)

    def post(self):
        self.write(str(self.received))


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
        (r"/down", Down),
        (r"/up", Up),
        (r"/static/(.*)", web.StaticFileHandler, {"path": directory}),
    ]
)
options = dict(zip(("certfile", "keyfile"), certificate, strict=False))
server = httpserver.HTTPServer(application, ssl_options=options or None)
server.bind(port, "127.0.0.1")
server.start(processes)
ioloop.IOLoop.current().start()
