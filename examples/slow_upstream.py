"""A server that takes 100 ms for each answer and can take any number at a time.

It stands for the database or the other service that ``async_fetch.py`` asks.

    python examples/slow_upstream.py [PORT [SECONDS]]    # 8001 0.1
"""

import sys

from pyfastloop import gen, ioloop, web

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8001
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1


class Slow(web.RequestHandler):
    async def get(self):
        await gen.sleep(SECONDS)
        self.write("done")


web.Application([(r"/", Slow)]).listen(PORT, "127.0.0.1")
ioloop.IOLoop.current().start()
