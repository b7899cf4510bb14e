"""Applications of other frameworks in our server: Flask and Django by WSGI, Starlette
and FastAPI by ASGI."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyfastloop import web
from pyfastloop.asgi import ASGIContainer
from pyfastloop.wsgi import WSGIContainer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Own(web.RequestHandler):
    def get(self):
        self.write("own")


@pytest.fixture(params=["loop", "executor"])
def executor(request):
    if request.param == "loop":
        yield None
    else:
        with ThreadPoolExecutor(2) as pool:
            yield pool


def test_flask(site, executor):
    flask = pytest.importorskip("flask")
    app = flask.Flask("site")
    app.secret_key = "secret"

    @app.route("/hello/<name>")
    def hello(name):
        return f"hello {name} {flask.request.args['q']}"

    @app.post("/form")
    def form():
        flask.session["name"] = flask.request.form["name"]
        return flask.redirect("/who")

    @app.route("/who")
    def who():
        return {"name": flask.session["name"]}

    @app.route("/stream")
    def stream():
        return flask.Response((str(n) for n in range(5)), mimetype="text/plain")

    @app.route("/broken")
    def broken():
        raise KeyError("k")

    fallback = {"fallback": WSGIContainer(app, executor)}
    s = site([("/own", Own), ("/.*", web.FallbackHandler, fallback)])
    assert s.ask("/own").body == b"own"
    assert s.ask("/hello/w%C3%B6rld?q=1%202").text == "hello wörld 1 2"
    answer = s.ask("/form", "POST", FORM, "name=Ada")
    assert (answer.code, answer.headers["Location"]) == (302, "/who")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert json.loads(s.ask("/who", headers={"Cookie": cookie}).body) == {"name": "Ada"}
    assert s.ask("/stream").body == b"01234"
    assert s.ask("/broken").code == 500
    assert s.ask("/nope").code == 404


def test_django(site, executor):
    pytest.importorskip("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=__name__,
            SECRET_KEY="secret",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            LOGGING_CONFIG=None,
        )
        import django

        django.setup()
    from django.core.wsgi import get_wsgi_application

    s = site(WSGIContainer(get_wsgi_application(), executor))
    assert s.ask("/django/7?q=x").text == "7 x http"
    answer = s.ask("/django/7", "POST", FORM, "name=Ada")
    assert (answer.code, answer.text) == (201, "Ada")
    assert s.ask("/nope").code == 404


def django_view(request, number):
    from django.http import HttpResponse

    if request.method == "POST":
        return HttpResponse(request.POST["name"], status=201)
    return HttpResponse(f"{number} {request.GET['q']} {request.scheme}")


def __getattr__(name):
    # Django's ROOT_URLCONF; made when it is asked for, so that Django may be missing.
    if name == "urlpatterns":
        from django.urls import path
        from django.views.decorators.csrf import csrf_exempt

        return [path("django/<int:number>", csrf_exempt(django_view))]
    raise AttributeError(name)


def test_starlette(site):
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Mount, Route

    events = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        events.append("up")
        yield {"word": "state"}
        events.append("down")

    async def show(request):
        return JSONResponse(
            {
                "path": request.url.path,
                "q": request.query_params["q"],
                "state": request.state.word,
                "client": request.client.host,
            }
        )

    async def upload(request):
        size = 0
        async for piece in request.stream():
            size += len(piece)
        return JSONResponse(size)

    async def stream(request):
        async def pieces():
            for number in range(5):
                yield str(number)

        return StreamingResponse(pieces(), media_type="text/plain")

    async def broken(request):
        raise KeyError("k")

    routes = [
        Route("/show/{x}", show),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/broken", broken),
    ]
    app = Starlette(routes=[Mount("/api", routes=routes)], lifespan=lifespan)
    container = ASGIContainer(app)
    s = site([("/own", Own), ("/api/.*", container)])
    assert s.ask("/own").body == b"own"
    assert json.loads(s.ask("/api/show/%C3%A9?q=1").body) == {
        "path": "/api/show/é",
        "q": "1",
        "state": "state",
        "client": "127.0.0.1",
    }
    assert s.ask("/api/upload", "POST", body=b"x" * 300_000).body == b"300000"
    assert s.ask("/api/stream").body == b"01234"
    assert s.ask("/api/broken").code == 500
    assert s.ask("/api/nope").code == 404
    s.run(container.shutdown)
    assert events == ["up", "down"]


def test_fastapi(site):
    fastapi = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()

    @app.get("/items/{number}")
    async def item(number: int, q: str = "none"):
        return {"number": number, "q": q}

    @app.get("/threaded")
    def threaded():
        return "in a thread"

    container = ASGIContainer(app)
    s = site(container)
    assert json.loads(s.ask("/items/3?q=x").body) == {"number": 3, "q": "x"}
    assert s.ask("/items/three").code == 422
    assert s.ask("/threaded").body == b'"in a thread"'
    assert "/items/{number}" in json.loads(s.ask("/openapi.json").body)["paths"]
    s.run(container.shutdown)
