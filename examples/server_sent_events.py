"""A page that shows what others do, as it happens, over server-sent events.

Each open page holds one answer that never ends; whatever is posted is written to all of
them. ``flush`` is awaited, so that a reader who is slow holds up only himself.

    python examples/server_sent_events.py [PORT]         # http://127.0.0.1:8000
"""

import json
import sys

from pyfastloop import ioloop, iostream, queues, web

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Events</title>
<h1>What is new</h1>
<form><input name="text" autofocus> <button>Say it</button></form>
<ul></ul>
<script>
const list = document.querySelector("ul"), form = document.querySelector("form");
new EventSource("events").onmessage = event => {
  const item = document.createElement("li");
  item.textContent = JSON.parse(event.data).text;
  list.prepend(item);
};
form.onsubmit = event => {
  event.preventDefault();
  fetch("say", {method: "POST", body: new URLSearchParams(new FormData(form))});
  form.reset();
};
</script>
"""
KEPT = 100

listeners = set()


class Page(web.RequestHandler):
    def get(self):
        self.write(PAGE)


class Say(web.RequestHandler):
    def post(self):
        event = {"text": self.get_body_argument("text")}
        for listener in listeners:
            if listener.full():
                listener.get_nowait()  # a slow reader misses the oldest
            listener.put_nowait(event)
        self.set_status(204)


class Events(web.RequestHandler):
    async def get(self):
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        self.mine = queues.Queue(KEPT)
        listeners.add(self.mine)
        try:
            await self.flush()
            while True:
                event = await self.mine.get()
                if event is None:
                    return
                self.write(f"data: {json.dumps(event)}\n\n")
                await self.flush()
        except iostream.StreamClosedError:
            pass
        finally:
            listeners.discard(self.mine)

    def on_connection_close(self):
        if self.mine.full():
            self.mine.get_nowait()
        self.mine.put_nowait(None)


app = web.Application([(r"/", Page), (r"/say", Say), (r"/events", Events)])
app.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
ioloop.IOLoop.current().start()
