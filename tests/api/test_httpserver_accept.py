"""Connections that C makes: what a program sees of them, and what it may replace."""

from __future__ import annotations

import gc

import pytest

from pyfastloop import httpserver, web
from pyfastloop.httpserver import HTTPServer


class Peer(web.RequestHandler):
    def get(self):
        context = self.request.connection.context
        assert context is self.request.connection.context
        self.write(f"{self.request.remote_ip} {context.address[0]} {context} ")
        self.write(f"{self.request.protocol} {context.remote_ip}")


def test_the_context_says_who_the_peer_is(site):
    answer = site([("/", Peer)]).ask()
    assert answer.text == "127.0.0.1 127.0.0.1 127.0.0.1 http 127.0.0.1"


def test_settings_of_the_server_reach_the_context(site):
    options = {"protocol": "https", "trusted_downstream": ["10.0.0.1"]}
    seen = []

    class Notes(web.RequestHandler):
        def get(self):
            seen.append(self.request.connection.context.trusted_downstream)
            self.write(self.request.protocol)

    assert site([("/", Notes)], server_options=options).ask().text == "https"
    assert set(*seen) == {"10.0.0.1"}


def test_a_request_that_is_kept_knows_its_peer_after_the_end(site):
    kept = []

    class Keeps(web.RequestHandler):
        def get(self):
            kept.append(self.request)

    site([("/", Keeps)]).ask()
    assert kept[0].remote_ip == "127.0.0.1"
    assert kept[0].connection.context.address[0] == "127.0.0.1"


def test_a_stream_that_was_detached_leaves_the_peer_known(site):
    kept = []

    class Detaches(web.RequestHandler):
        def get(self):
            kept.append(self.request)
            self.detach().close()

    site([("/", Detaches)]).raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert kept[0].remote_ip == "127.0.0.1"


def test_connections_are_counted_and_forgotten(site):
    counts = []

    class Counts(web.RequestHandler):
        def get(self):
            counts.append(len(s.server._connections))

    s = site([("/", Counts)])
    for _ in range(3):
        s.ask()
    assert counts == [1, 1, 1]
    s.run(s.server.close_all_connections)
    assert s.server._connections == set()


@pytest.mark.parametrize("where", ["class", "subclass", "instance"])
@pytest.mark.parametrize("name", ["_accepted", "handle_stream", "on_close"])
def test_what_is_replaced_is_called(site, monkeypatch, where, name):
    calls = []
    real = getattr(HTTPServer, name)

    def replacement(self, *args):
        calls.append(name)
        return real(self, *args)

    s = site([("/", Peer)])
    if where == "class":
        monkeypatch.setattr(HTTPServer, name, replacement)
    elif where == "subclass":
        s.server.__class__ = type("Mine", (HTTPServer,), {name: replacement})
    else:
        setattr(s.server, name, lambda *args: replacement(s.server, *args))
    assert s.ask().code == 200
    s.run(s.server.close_all_connections)
    assert calls == [name]


def test_a_replaced_context_class_is_used(site, monkeypatch):
    from pyfastloop import httpserver

    class Context(httpserver._HTTPRequestContext):
        def __str__(self):
            return "mine"

    monkeypatch.setattr(httpserver, "_HTTPRequestContext", Context)
    assert " mine " in site([("/", Peer)]).ask().text


def test_a_connection_is_no_garbage(site):
    s = site([("/", Peer)])

    def contexts():
        name = "_HTTPRequestContext"
        return [o for o in gc.get_objects() if type(o).__name__ == name]

    s.ask()
    gc.collect()
    gc.disable()
    try:
        before = contexts()  # what others have kept
        for _ in range(5):
            s.ask()
        s.run(s.server.close_all_connections)
        found = [o for o in contexts() if not any(o is b for b in before)]
    finally:
        gc.enable()
    assert found == []


def test_the_limit_of_connections_holds(site):
    s = site([("/", Peer)], server_options={"max_connections": 1, "retry_after": 3})
    assert s.ask().code == 200
    assert s.ask().code == 200


def test_high_bytes_of_a_target_are_latin_1_and_arguments_utf_8(site):
    """RFC 3986 knows no such bytes; they are taken as Tornado takes them."""

    class Says(web.RequestHandler):
        def get(self, name):
            self.write(repr((name, self.request.path, self.get_argument("q"))))

    s = site([("/(.*)", Says)])
    head = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = s.raw(b"GET /caf\xc3\xa9?q=\xc3\xa9" + head).decode()
    assert answer.endswith(repr(("caf\xc3\xa9", "/caf\xc3\xa9", "\xe9")))
    assert s.raw(b"GET /?q=\xe9" + head).startswith(b"HTTP/1.1 400 ")


def test_a_replaced_connection_class_is_used(site, monkeypatch):
    served = []

    class Connection(httpserver.HTTP1ServerConnection):
        def start_serving(self, delegate):
            served.append(delegate)
            return super().start_serving(delegate)

    s = site([("/", Peer)])
    s.ask()
    monkeypatch.setattr(httpserver, "HTTP1ServerConnection", Connection)
    assert s.ask().code == 200
    assert served == [s.server]
