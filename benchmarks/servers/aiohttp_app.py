"""aiohttp's web server on uvloop, access log off as pyfastloop's is by default."""

import asyncio
import sys

import uvloop
from aiohttp import web

from benchmarks.http_rows import HELLO, JSON, MIB

port, directory = int(sys.argv[1]), sys.argv[2]


async def hello(request):
    return web.Response(body=HELLO, content_type="text/html", charset="UTF-8")


async def as_json(request):
    return web.json_response(JSON)


async def args(request):
    return web.Response(
        text=f"{request.query['greeting']}, {request.match_info['name']}",
        content_type="text/html",
    )


async def browser(request):
    text = f"{request.headers['Accept-Language']} {request.cookies['theme']}"
    return web.Response(text=text, content_type="text/html")


async def suspend(request):
    await asyncio.sleep(0)
    return web.Response(body=HELLO, content_type="text/html", charset="UTF-8")


async def echo(request):
    return web.Response(body=await request.read())


async def mebibyte(request):
    return web.Response(body=MIB)


app = web.Application()
app.add_routes(
    [
        web.get("/", hello),
        web.get("/json", as_json),
        web.get(r"/args/{name:\w+}", args),
        web.get("/browser", browser),
        web.get("/suspend", suspend),
        web.post("/echo", echo),
        web.get("/body1m", mebibyte),
        web.static("/static", directory),
    ]
)
web.run_app(
    app,
    host="127.0.0.1",
    port=port,
    access_log=None,
    print=None,
    loop=uvloop.new_event_loop(),
)
