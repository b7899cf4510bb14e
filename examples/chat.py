"""A chat with rooms, over WebSockets.

python examples/chat.py [PORT]                       # http://127.0.0.1:8000
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


class Room:
    def __init__(self):
        self.members = set()
        self.said = collections.deque(maxlen=REMEMBERED)

    def tell(self, message):
        for member in self.members:
            member.write_message(message)


rooms = collections.defaultdict(Room)


class Page(web.RequestHandler):
    def get(self):
        self.write(PAGE)


class Member(websocket.WebSocketHandler):
    def open(self, room):
        self.name = room
        self.room = rooms[room]
        self.room.members.add(self)
        for message in self.room.said:
            self.write_message(message)
        self.room.tell({"here": len(self.room.members)})

    def on_message(self, text):
        try:
            given = json.loads(text)
            message = {
                "name": str(given["name"])[:40],
                "text": str(given["text"])[:2000],
            }
        except (ValueError, TypeError, KeyError):
            self.close(1008, "a message is an object with name and text")
            return
        self.room.said.append(message)
        self.room.tell(message)

    def on_close(self):
        self.room.members.discard(self)
        self.room.tell({"here": len(self.room.members)})
        if not self.room.members and not self.room.said:
            rooms.pop(self.name, None)


app = web.Application(
    [(r"/", Page), (r"/ws/(\w{1,40})", Member)],
    websocket_max_message_size=16 * 1024,
    websocket_ping_interval=20,
)
app.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
ioloop.IOLoop.current().start()
