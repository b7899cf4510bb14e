"""A raw WSGI application: ``wsgi_app PORT DIR bjoern|fastwsgi``, or by granian."""

import importlib
import json
import sys
from urllib.parse import parse_qs

from benchmarks.http_rows import HELLO, JSON, MIB


def app(environ, start_response):
    path = environ["PATH_INFO"]
    kind, status = "text/html; charset=UTF-8", "200 OK"
    if path == "/":
        body = HELLO
    elif path == "/json":
        kind, body = "application/json", json.dumps(JSON).encode()
    elif path.startswith("/args/"):
        query = parse_qs(environ["QUERY_STRING"])
        body = f"{query['greeting'][0]}, {path[6:]}".encode()
    elif path == "/echo":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    elif path == "/body1m":
        body = MIB
    else:
        status, body = "404 Not Found", b"not here"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    server = importlib.import_module(sys.argv[3])
    server.run(app, "127.0.0.1", int(sys.argv[1]))
