"""A raw ASGI application for uvicorn, with the websockets library below it."""

members = set()


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    fanout = scope["path"] == "/fanout"
    if fanout:
        members.add(send)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            members.discard(send)
            return
        answer = {"type": "websocket.send"}
        if message.get("text") is not None:
            answer["text"] = message["text"]
        else:
            answer["bytes"] = message["bytes"]
        for to in list(members) if fanout else (send,):
            await to(answer)
