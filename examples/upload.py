"""Uploads of any size that never lie in memory, with their progress on the page.

``stream_request_body`` hands the body over piece by piece as it arrives; a file is
written and its checksum computed on the way. While a piece is being written no more is
read from the client.

    python examples/upload.py [PORT [FOLDER]]            # 8000, a new folder
    curl -T some.file http://127.0.0.1:8000/files/some.file
"""

import hashlib
import os
import sys
import tempfile

from pyfastloop import ioloop, web

FOLDER = sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="uploads-")
LARGEST = 10 * 1024**3

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Upload</title>
<h1>Upload a file</h1>
<input type="file"> <progress value="0" max="1"></progress> <output></output>
<script>
const [input, bar, out] = ["input", "progress", "output"].map(
  name => document.querySelector(name));
input.onchange = () => {
  const file = input.files[0], request = new XMLHttpRequest();
  request.upload.onprogress = event => {
    bar.max = event.total;
    bar.value = event.loaded;
  };
  request.onload = () => out.textContent = request.responseText;
  request.open("PUT", "files/" + encodeURIComponent(file.name));
  request.send(file);
};
</script>
"""


class Page(web.RequestHandler):
    def get(self):
        self.write(PAGE)


@web.stream_request_body
class File(web.RequestHandler):
    def prepare(self):
        self.request.connection.set_max_body_size(LARGEST)
        handle, self.name = tempfile.mkstemp(dir=FOLDER)
        self.file = os.fdopen(handle, "wb")
        self.checksum = hashlib.sha256()

    async def data_received(self, chunk):
        self.checksum.update(chunk)
        loop = ioloop.IOLoop.current()
        await loop.run_in_executor(None, self.file.write, chunk)

    def put(self, name):
        size = self.file.tell()
        self.file.close()
        os.replace(self.name, os.path.join(FOLDER, name))
        self.file = None
        self.write({"name": name, "bytes": size, "sha256": self.checksum.hexdigest()})

    def on_finish(self):
        self.drop()

    def on_connection_close(self):
        self.drop()

    def drop(self):
        """What did not become a whole file is not kept."""
        if self.file is not None:
            self.file.close()
            os.unlink(self.name)
            self.file = None


app = web.Application([(r"/", Page), (r"/files/(\w[\w.-]*)", File)])
app.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
ioloop.IOLoop.current().start()
