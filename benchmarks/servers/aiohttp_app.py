"""aiohttp's web server on uvloop, access log off as pyfastloop's is by default."""

import asyncio
import sys

import uvloop
from aiohttp import web

from benchmarks.http_rows import HELLO, JSON, MIB, STREAM_PIECE

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


PIECE = b"x" * STREAM_PIECE


async def down(request):
    size = int(request.query["size"])
    answer = web.StreamResponse()
    answer.content_length = size
    await answer.prepare(request)
    for _ in range(size // STREAM_PIECE):
        await answer.write(PIECE)
    return answer


async def up(request):
    received = 0
    async for chunk in request.content.iter_any():
        received += len(chunk)
    return web.Response(text=str(received))


app = web.Application(client_max_size=1 << 40)
app.add_routes(
    [
        web.get("/", hello),
        web.get("/json", as_json),
        web.get(r"/args/{name:\w+}", args),
        web.get("/browser", browser),
        web.get("/suspend", suspend),
        web.post("/echo", echo),
        web.get("/body1m", mebibyte),
        web.get("/down", down),
        web.post("/up", up),
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
