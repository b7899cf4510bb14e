"""socketify's WebSockets, its own interface; the fan-out is its publish."""

import sys

from socketify import App, CompressOptions


def echo(ws, message, opcode):
    ws.send(message, opcode)


def deflate(ws, message, opcode):
    ws.send(message, opcode, True)


def subscribe(ws):
    ws.subscribe("everybody")


def publish(ws, message, opcode):
    ws.publish("everybody", message, opcode)


LIMITS = {"max_payload_length": 16 * 1024 * 1024, "idle_timeout": 0}

app = App()
app.ws("/", {**LIMITS, "compression": CompressOptions.DISABLED, "message": echo})
app.ws(
    "/deflate",
    {
        **LIMITS,
        "compression": CompressOptions.DEDICATED_COMPRESSOR_256KB
        | CompressOptions.DEDICATED_DECOMPRESSOR_32KB,
        "message": deflate,
    },
)
app.ws(
    "/fanout",
    {
        **LIMITS,
        "compression": CompressOptions.DISABLED,
        "open": subscribe,
        "message": publish,
    },
)
app.listen(int(sys.argv[1]))
app.run()
