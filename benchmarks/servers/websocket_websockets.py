"""The websockets library on uvloop, its asyncio server, keepalive pings off."""

import sys

import uvloop
from websockets.asyncio.server import broadcast, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

members = set()


async def talk(connection):
    if connection.request.path == "/fanout":
        members.add(connection)
        async for message in connection:
            broadcast(members, message)
        members.discard(connection)
    async for message in connection:
        await connection.send(message)


async def main():
    # The window and the memory that the others have; the library's own are smaller.
    deflate = ServerPerMessageDeflateFactory(
        compress_settings={"level": 6, "memLevel": 8}
    )
    server = await serve(
        talk,
        "127.0.0.1",
        int(sys.argv[1]),
        compression=None,
        extensions=[deflate],
        ping_interval=None,
    )
    await server.serve_forever()


uvloop.run(main())
