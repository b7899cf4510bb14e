"""A chat with rooms, over WebSockets; several processes are joined by Redis.

python examples/chat.py [PORT]                       # http://127.0.0.1:8000
python examples/chat.py 8001 redis://127.0.0.1:6379  # and 8002, 8003 ...
"""

import collections
import json
import sys

from pyfastloop import ioloop, web, websocket

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<style>
body { max-width: 36rem; margin: 2rem auto; padding: 0 1rem;
  font: 17px/1.5 sans-serif; }
form { display: flex; gap: .5rem; } input { font: inherit; flex: 1; min-width: 0; }
input[name=name] { flex: 0 0 8rem; }
b { font-weight: 600; } time { color: #666; font-size: 80%; }
</style>
<h1>Room <span></span></h1>
<form><input name="name" placeholder="name" required>
<input name="text" placeholder="message" required autocomplete="off">
<button>Send</button></form>
<p role="status">connecting</p>
<div></div>
<script>
const room = location.hash.slice(1) || "lobby";
const find = selector => document.querySelector(selector), form = find("form");
find("span").textContent = room;
const address = new URL("ws/" + encodeURIComponent(room), location.href);
address.protocol = address.protocol.replace("http", "ws");
const socket = new WebSocket(address);
socket.onclose = () => find("[role=status]").textContent = "the server went away";
socket.onmessage = event => {
  const message = JSON.parse(event.data);
  if ("here" in message) {
    find("[role=status]").textContent = message.here + " here";
    return;
  }
  const line = document.createElement("p"), name = document.createElement("b");
  name.textContent = message.name;
  line.append(name, ": ", message.text);
  find("div").prepend(line);
};
form.onsubmit = event => {
  event.preventDefault();
  socket.send(JSON.stringify({name: form.name.value, text: form.text.value}));
  form.text.value = "";
};
onhashchange = () => location.reload();
</script>
"""
REMEMBERED = 50


def to_members(room, message):
    """Sends to all members of a room in this process: one frame for all of them."""
    websocket.publish(app, room, message)


class OneProcess:
    def __init__(self):
        self.said = {}
        self.here = collections.Counter()

    async def enter(self, room):
        self.here[room] += 1
        return list(self.said.get(room, ()))

    async def leave(self, room):
        self.here[room] -= 1

    async def tell_here(self, room):
        to_members(room, json.dumps({"here": self.here[room]}))

    async def say(self, room, message):
        said = self.said.setdefault(room, collections.deque(maxlen=REMEMBERED))
        said.append(message)
        to_members(room, message)


class ManyProcesses:
    """What is said goes to Redis, and from there to every process with members."""

    def __init__(self, url):
        import redis.asyncio

        self.redis = redis.asyncio.from_url(url, decode_responses=True)
        ioloop.IOLoop.current().add_callback(self.listen)

    async def listen(self):
        async with self.redis.pubsub() as channel:
            await channel.psubscribe("chat:*")
            async for event in channel.listen():
                if event["type"] == "pmessage":
                    to_members(event["channel"].removeprefix("chat:"), event["data"])

    async def enter(self, room):
        await self.redis.incr(f"here:{room}")
        return await self.redis.lrange(f"said:{room}", -REMEMBERED, -1)

    async def leave(self, room):
        await self.redis.decr(f"here:{room}")

    async def tell_here(self, room):
        here = int(await self.redis.get(f"here:{room}") or 0)
        await self.redis.publish(f"chat:{room}", json.dumps({"here": here}))

    async def say(self, room, message):
        async with self.redis.pipeline() as together:
            together.rpush(f"said:{room}", message)
            together.ltrim(f"said:{room}", -REMEMBERED, -1)
            together.publish(f"chat:{room}", message)
            await together.execute()


class Page(web.RequestHandler):
    def get(self):
        self.write(PAGE)


class Member(websocket.WebSocketHandler):
    async def open(self, room):
        self.room = room
        said = await rooms.enter(room)
        if self.ws_connection is None:  # left while Redis was asked
            return
        self.subscribe(room)
        for message in said:
            self.write_message(message)
        await rooms.tell_here(room)

    async def on_message(self, text):
        try:
            given = json.loads(text)
            message = {
                "name": str(given["name"])[:40],
                "text": str(given["text"])[:2000],
            }
        except (ValueError, TypeError, KeyError):
            self.close(1008, "a message is an object with name and text")
            return
        await rooms.say(self.room, json.dumps(message))

    def on_close(self):
        ioloop.IOLoop.current().add_callback(self.left)

    async def left(self):
        await rooms.leave(self.room)
        await rooms.tell_here(self.room)


app = web.Application(
    [(r"/", Page), (r"/ws/(\w{1,40})", Member)],
    websocket_max_message_size=16 * 1024,
    websocket_ping_interval=20,
    # A member that reads slowly misses the oldest of what it has not read yet.
    websocket_max_write_buffer=256 * 1024,
    websocket_slow_peer="drop",
)
rooms = ManyProcesses(sys.argv[2]) if len(sys.argv) > 2 else OneProcess()
app.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
ioloop.IOLoop.current().start()
