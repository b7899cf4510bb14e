"""One handler written five ways: it asks a slow server and passes the answer on.

The synchronous one holds the whole process while it waits, so that five clients wait in
a row. The other four say the same thing to the loop, "go on here when the answer has
come", in the forms that Tornado had over the years; while they wait, the process serves
others. The founding articles measured the difference with ``ab -c 5 -n 50``; so does
``python -m benchmarks article``.

    python examples/slow_upstream.py &
    python examples/async_fetch.py [PORT [UPSTREAM]]     # 8000 http://127.0.0.1:8001/
    ab -c 5 -n 50 http://127.0.0.1:8000/sync
    ab -c 5 -n 50 http://127.0.0.1:8000/async
"""

import sys

from pyfastloop import gen, ioloop, web
from pyfastloop.httpclient import AsyncHTTPClient, HTTPClient

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
UPSTREAM = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8001/"


class Synchronous(web.RequestHandler):
    def get(self):
        client = HTTPClient()
        response = client.fetch(UPSTREAM)
        client.close()
        self.write(response.body)


class Callback(web.RequestHandler):
    """``asynchronous`` leaves the answer open when get returns; finish ends it."""

    @web.asynchronous
    def get(self):
        AsyncHTTPClient().fetch(UPSTREAM, callback=self.on_fetch)

    def on_fetch(self, response):
        self.write(response.body)
        self.finish()


class Engine(web.RequestHandler):
    """``gen.engine`` runs a generator: each yield is one wait."""

    @web.asynchronous
    @gen.engine
    def get(self):
        response = yield gen.Task(AsyncHTTPClient().fetch, UPSTREAM)
        self.write(response.body)
        self.finish()


class Coroutine(web.RequestHandler):
    """``gen.coroutine`` gives a Future, so that coroutines can call each other."""

    @gen.coroutine
    def get(self):
        response = yield AsyncHTTPClient().fetch(UPSTREAM)
        self.write(response.body)


class Native(web.RequestHandler):
    """The same since ``async def`` is a part of Python."""

    async def get(self):
        response = await AsyncHTTPClient().fetch(UPSTREAM)
        self.write(response.body)


app = web.Application(
    [
        (r"/sync", Synchronous),
        (r"/callback", Callback),
        (r"/engine", Engine),
        (r"/coroutine", Coroutine),
        (r"/async", Native),
    ]
)
app.listen(PORT, "127.0.0.1")
ioloop.IOLoop.current().start()
