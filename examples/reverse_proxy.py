"""A reverse proxy: every request goes on to one upstream, every answer comes back.

python examples/reverse_proxy.py [PORT [UPSTREAM]]   # 8000 http://127.0.0.1:8001
"""

import sys

from pyfastloop import httpclient, httputil, ioloop, web

UPSTREAM = (sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8001").rstrip("/")

# RFC 9110, 7.6.1: these are between two neighbours and go no further.
HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"),
}
# Written anew for the answer that this server gives.
OWN = {"content-length", "date", "server", "etag"}


def passed_on(headers, without):
    """The headers for the other side, less those that Connection names."""
    named = headers.get("Connection", "").lower().replace(" ", "").split(",")
    return [
        (name, value)
        for name, value in headers.get_all()
        if name.lower() not in HOP_BY_HOP | without and name.lower() not in named
    ]


class Proxy(web.RequestHandler):
    def set_default_headers(self):
        self.clear_header("Content-Type")

    async def get(self):
        headers = httputil.HTTPHeaders()
        for name, value in passed_on(self.request.headers, {"host", "content-length"}):
            headers.add(name, value)
        headers.add("X-Forwarded-For", self.request.remote_ip)
        question = httpclient.HTTPRequest(
            UPSTREAM + self.request.uri,
            method=self.request.method,
            headers=headers,
            body=self.request.body or None,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            decompress_response=False,
        )
        client = httpclient.AsyncHTTPClient()
        try:
            answer = await client.fetch(question, raise_error=False)
        except OSError as error:
            raise web.HTTPError(
                502, f"{UPSTREAM} cannot be reached: {error}"
            ) from error
        self.set_status(answer.code, answer.reason)
        for name, value in passed_on(answer.headers, OWN):
            self.add_header(name, value)
        if answer.code not in (204, 304):
            self.write(answer.body)

    head = post = put = patch = delete = options = get


app = web.Application([(r"/.*", Proxy)])
app.listen(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, "127.0.0.1")
ioloop.IOLoop.current().start()
