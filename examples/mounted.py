"""Three frameworks in one process, on one port and one loop.

A handler of this package at /, a Flask application (WSGI, in a pool of threads, so that
it may block) under /shop, a FastAPI application (ASGI, on the loop) under /api. Nobody
needs to be rewritten before the first handler can be added.

    pip install flask fastapi
    python examples/mounted.py [PORT]                    # 8000
    curl http://127.0.0.1:8000/shop/tea?cups=2
    curl http://127.0.0.1:8000/api/items/3
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import fastapi
import flask

import pyfastloop
from pyfastloop import web
from pyfastloop.asgi import ASGIContainer
from pyfastloop.wsgi import WSGIContainer

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8000

shop = flask.Blueprint("shop", __name__, url_prefix="/shop")


@shop.get("/<what>")
def order(what):
    cups = flask.request.args.get("cups", 1, int)
    return flask.jsonify(what=what, cups=cups)


wsgi_application = flask.Flask(__name__)
wsgi_application.register_blueprint(shop)

asgi_application = fastapi.FastAPI(title="Items")


@asgi_application.get("/items/{number}")
async def item(number: int):
    await asyncio.sleep(0)  # the same loop as everybody's
    return {"number": number}


class Home(web.RequestHandler):
    def get(self):
        self.write("Flask is at /shop, FastAPI at /api.")


async def main():
    threads = WSGIContainer(wsgi_application, ThreadPoolExecutor(4))
    api = ASGIContainer(asgi_application, root_path="/api")
    app = web.Application(
        [
            (r"/", Home),
            (r"/shop/.*", web.FallbackHandler, {"fallback": threads}),
            (r"/api/.*", api),
        ]
    )
    await api.startup()
    app.listen(PORT, "127.0.0.1")
    await asyncio.Event().wait()


pyfastloop.run(main())
