"""The first handler. Run ``python examples/hello.py [PORT]``, open http://127.0.0.1:8000."""

import sys

import pyfastloop.ioloop
import pyfastloop.web


class Hello(pyfastloop.web.RequestHandler):
    def get(self):
        self.write("Hello, world")


app = pyfastloop.web.Application([(r"/", Hello)])
app.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
pyfastloop.ioloop.IOLoop.current().start()
