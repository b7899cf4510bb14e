"""socketify, its own interface."""

import sys

from socketify import App

from benchmarks.http_rows import HELLO, JSON, MIB

HTML = "text/html; charset=UTF-8"


def hello(res, req):
    res.write_header("Content-Type", HTML)
    res.end(HELLO)


def as_json(res, req):
    res.end(JSON)


def args(res, req):
    res.write_header("Content-Type", HTML)
    res.end(f"{req.get_query('greeting')}, {req.get_parameter(0)}")


def browser(res, req):
    res.write_header("Content-Type", HTML)
    theme = req.get_cookie("theme")
    res.end(f"{req.get_header('accept-language')} {theme}")


async def echo(res, req):
    data = await res.get_data()
    res.end(data.getvalue())


def mebibyte(res, req):
    res.end(MIB)


app = App()
app.get("/", hello)
app.get("/json", as_json)
app.get("/args/:name", args)
app.get("/browser", browser)
app.post("/echo", echo)
app.get("/body1m", mebibyte)
app.listen(int(sys.argv[1]))
app.run()
