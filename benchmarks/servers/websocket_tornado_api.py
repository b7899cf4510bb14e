"""pyfastloop and Tornado: ``websocket_tornado_api PORT DIR PACKAGE``.

The fan-out is what each offers: `publish` here, a loop over the handlers there.
"""

import asyncio
import importlib
import sys
from typing import Any

port, package = int(sys.argv[1]), sys.argv[3]
web: Any = importlib.import_module(f"{package}.web")
websocket: Any = importlib.import_module(f"{package}.websocket")


class Echo(websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))


class Deflate(Echo):
    def get_compression_options(self):
        return {}


class Small(Echo):
    """The settings that the documentation recommends for many idle connections."""

    def get_compression_options(self):
        return {"no_context_takeover": True, "max_window_bits": 12, "mem_level": 5}


members = set()


class Everybody(websocket.WebSocketHandler):
    def open(self):
        members.add(self)

    def on_close(self):
        members.discard(self)

    def on_message(self, message):
        for member in members:
            member.write_message(message)


class Subscribers(websocket.WebSocketHandler):
    def open(self):
        self.subscribe("everybody")

    def on_message(self, message):
        self.publish("everybody", message)


async def main():
    fanout = Subscribers if package == "pyfastloop" else Everybody
    paths = [("/", Echo), ("/deflate", Deflate), ("/fanout", fanout)]
    if package == "pyfastloop":
        paths.append(("/small", Small))
    app = web.Application(paths)
    app.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if package == "pyfastloop":
    import pyfastloop

    pyfastloop.run(main())
else:
    asyncio.run(main())
