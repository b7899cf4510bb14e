"""aiohttp's WebSockets on uvloop, heartbeats and access log off."""

import sys

import uvloop
from aiohttp import WSMsgType, web

members = set()


async def echo_with(request, compress):
    ws = web.WebSocketResponse(compress=compress, autoping=True)
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        else:
            await ws.send_bytes(message.data)
    return ws


async def echo(request):
    return await echo_with(request, False)


async def deflate(request):
    return await echo_with(request, True)


async def fanout(request):
    ws = web.WebSocketResponse(compress=False)
    await ws.prepare(request)
    members.add(ws)
    async for message in ws:
        for member in members:
            await member.send_str(message.data)
    members.discard(ws)
    return ws


app = web.Application()
app.add_routes(
    [web.get("/", echo), web.get("/deflate", deflate), web.get("/fanout", fanout)]
)
web.run_app(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    access_log=None,
    print=None,
    loop=uvloop.new_event_loop(),
)
