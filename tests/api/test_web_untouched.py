"""What a request skips because nobody touched it is done again once somebody has:
the access log, the rules of the application, its settings."""

from __future__ import annotations

import hashlib
import logging

import pytest

from pyfastloop import httputil, web
from pyfastloop.log import access_log


class Hello(web.RequestHandler):
    def get(self):
        self.write("hello")


class Other(web.RequestHandler):
    def get(self):
        self.write("other")


@pytest.fixture
def quiet(site, caplog):
    """A site that has answered twice while its log was off."""
    caplog.set_level(logging.ERROR, "tornado.access")
    s = site([("/", Hello)])
    for _ in range(2):
        assert s.ask("/").body == b"hello"
    assert lines(caplog) == []
    return s


def lines(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "tornado.access"]


def test_a_log_that_is_turned_on_gets_its_lines(quiet, caplog):
    caplog.set_level(logging.INFO, "tornado.access")
    quiet.ask("/")
    assert len(lines(caplog)) == 1
    caplog.set_level(logging.ERROR, "tornado.access")
    quiet.ask("/")
    assert len(lines(caplog)) == 1


def test_a_log_that_was_off_for_one_level_only(quiet, caplog):
    assert quiet.ask("/nope").code == 404
    assert lines(caplog) == []
    caplog.set_level(logging.WARNING, "tornado.access")
    quiet.ask("/")
    assert quiet.ask("/nope").code == 404
    assert [line[:3] for line in lines(caplog)] == ["404"]


def test_a_logger_turned_on_by_disable(quiet, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "tornado.access")
    logging.disable(logging.INFO)
    try:
        quiet.ask("/")
        quiet.ask("/")
        assert lines(caplog) == []
    finally:
        logging.disable(logging.NOTSET)
    quiet.ask("/")
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize("name", ["info", "isEnabledFor"])
def test_a_method_set_on_the_logger(quiet, monkeypatch, name):
    seen = []
    monkeypatch.setattr(access_log, name, lambda *args: seen.append(args))
    quiet.ask("/")
    assert seen


def test_log_request_set_on_the_application(quiet):
    seen = []
    quiet.app.log_request = lambda handler: seen.append(handler.get_status())
    quiet.ask("/")
    del quiet.app.log_request
    quiet.ask("/")
    assert seen == [200]


def test_log_function_put_into_the_settings(quiet):
    seen = []
    quiet.app.settings["log_function"] = lambda handler: seen.append("old dict")
    quiet.ask("/")
    del quiet.app.settings["log_function"]
    quiet.ask("/")
    quiet.app.settings = {"log_function": lambda handler: seen.append("new dict")}
    quiet.ask("/")
    assert seen == ["old dict", "new dict"]


def test_a_rule_that_gets_another_target(quiet):
    rule = quiet.app.wildcard_router.rules[0]
    rule.target = Other
    assert quiet.ask("/").body == b"other"
    rule.target = Hello
    assert quiet.ask("/").body == b"hello"


def test_a_rule_that_gets_other_keywords(site):
    class Greet(web.RequestHandler):
        def initialize(self, word):
            self.word = word

        def get(self):
            self.write(self.word)

    s = site([("/", Greet, {"word": "a"})])
    assert s.ask("/").body == b"a"
    s.app.wildcard_router.rules[0].target_kwargs = {"word": "b"}
    assert s.ask("/").body == b"b"
    s.app.wildcard_router.rules[0].target_kwargs["word"] = "c"
    assert s.ask("/").body == b"c"


def test_a_matcher_that_gets_another_pattern(quiet):
    import re

    quiet.app.wildcard_router.rules[0].matcher.regex = re.compile("/new$")
    assert quiet.ask("/").code == 404
    assert quiet.ask("/new").body == b"hello"


def test_a_property_put_on_the_class_of_rules(quiet, monkeypatch):
    rule = quiet.app.wildcard_router.rules[0]
    for name in ("target", "matcher", "target_kwargs"):
        had = getattr(rule, name)
        seen = []

        def look(self, had=had, seen=seen):
            seen.append(self)
            return had

        monkeypatch.setattr(type(rule), name, property(look), raising=False)
        assert quiet.ask("/").body == b"hello"
        monkeypatch.undo()
        assert seen, name


def test_a_rule_added_and_one_taken_away(quiet):
    quiet.app.add_handlers(".*", [("/late", Other)])
    assert quiet.ask("/late").body == b"other"
    assert quiet.ask("/").body == b"hello"
    del quiet.app.wildcard_router.rules[:]
    assert quiet.ask("/").code == 404


def test_headers_that_nobody_set_are_there_for_who_looks(site):
    seen = {}

    class Handler(web.RequestHandler):
        def get(self):
            if self.get_argument("first", None):
                seen["get"] = dict(self._headers)
            self.write({"a": 1})
            if self.get_argument("then", None):
                seen["then"] = self._headers["Content-Type"]

        def on_finish(self):
            seen["finished"] = dict(self._headers)

    s = site([("/", Handler)])
    for query in ("", "first=1", "then=1"):
        seen.clear()
        answer = s.ask(f"/?{query}")
        sent = dict(answer.headers)
        sent.pop("Connection", None)
        assert sent == seen["finished"]
        assert list(sent) == [
            "Server",
            "Content-Type",
            "Date",
            "Etag",
            "Content-Length",
        ]
        assert sent["Content-Type"] == "application/json; charset=UTF-8"
        assert sent["Content-Length"] == "8"
        if query == "first=1":
            assert list(seen["get"]) == ["Server", "Content-Type", "Date"]
            assert seen["get"]["Content-Type"] == "text/html; charset=UTF-8"
        if query == "then=1":
            assert seen["then"] == "application/json; charset=UTF-8"


def test_headers_set_beside_those_that_nobody_set(site):
    seen = {}

    class Handler(web.RequestHandler):
        def set_default_headers(self):
            self.set_header("x-first", "1")
            self.add_header("Set-Cookie", "a=b")

        def get(self):
            self.set_header("Vary", "Accept")
            self.add_header("Set-Cookie", "c=d")
            self.set_header("X-FIRST", "2")
            if self.get_argument("type", None):
                self.set_header("content-type", "text/plain")
            if self.get_argument("look", None):
                seen["look"] = list(self._headers.get_all())
            if self.get_argument("clear", None):
                self.clear_header("vary")
            if self.get_argument("again", None):
                self.clear()
            self.write({"a": 1})

        def on_finish(self):
            seen["finished"] = list(self._headers.get_all())

    s = site([("/", Handler)])
    own = [
        ("X-First", "2"),
        ("Set-Cookie", "a=b"),
        ("Set-Cookie", "c=d"),
        ("Vary", "Accept"),
    ]
    for query in ("", "type=1", "look=1", "clear=1", "again=1"):
        seen.clear()
        answer = s.ask(f"/?{query}")
        sent = [(n, v) for n, v in answer.header_list if n != "Connection"]
        assert sorted(sent) == sorted(seen["finished"])
        assert [n for n, _ in sent[:3]] == ["Server", "Content-Type", "Date"]
        assert [n for n, _ in sent[-2:]] == ["Etag", "Content-Length"]
        assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
        if query == "look=1":
            assert sorted(seen["look"][3:]) == sorted(own)
        if query == "clear=1":
            assert sent[3:-2] == own[:-1]
        elif query == "again=1":
            assert sent[3:-2] == [("X-First", "1"), ("Set-Cookie", "a=b")]
        else:
            assert sent[3:-2] == own


def test_a_header_that_cannot_be_sent_is_a_failure(site, caplog):
    class Handler(web.RequestHandler):
        def get(self):
            for name, value in (("X y", "1"), ("X", "a\nb"), ("X", "a\x00")):
                with pytest.raises(ValueError):
                    self.set_header(name, value)
            with pytest.raises(ValueError, match="Unsafe header value"):
                self.set_header("X-Price", "5 \u20ac")
            self.write("x")

    class Own(web.RequestHandler):
        def _convert_header_value(self, value):
            return str(value)

        def get(self):
            self.set_header("X-Price", "5 \u20ac")
            self.write("x")

    s = site([("/", Handler), ("/own", Own)])
    assert s.ask("/").code == 200
    answer = s.ask("/own")
    assert answer.code == 500
    assert "X-Price" not in answer.headers
    assert any("X-Price" in str(r.exc_info) for r in caplog.records)


def test_a_hook_put_on_the_instance_hides_the_one_of_the_class(site):
    class Handler(web.RequestHandler):
        def initialize(self):
            self.calls = []
            if self.get_argument("hide", None):
                self.prepare = lambda: self.calls.append("own prepare")
                self.on_finish = lambda: calls.append([*self.calls, "own on_finish"])

        def prepare(self):
            self.calls.append("prepare")

        def on_finish(self):
            calls.append([*self.calls, "on_finish"])

        def get(self):
            self.write("x")

    calls = []
    s = site([("/", Handler)])
    for query in ("", "hide=1", ""):
        s.ask(f"/?{query}")
    plain = ["prepare", "on_finish"]
    assert calls == [plain, ["own prepare", "own on_finish"], plain]


def test_headers_assigned_and_deleted(site):
    class Handler(web.RequestHandler):
        def get(self):
            self._headers = httputil.HTTPHeaders({"X-Mine": "1"})
            self.write("x")

    class Gone(web.RequestHandler):
        def get(self):
            del self._headers
            with pytest.raises(AttributeError):
                self._headers  # noqa: B018
            with pytest.raises(AttributeError):
                del self._headers
            self.clear()
            self.write("x")

    s = site([("/", Handler), ("/gone", Gone)])
    assert "Date" not in s.ask("/").headers
    assert s.ask("/").headers["X-Mine"] == "1"
    assert "Date" in s.ask("/gone").headers


def test_a_header_set_after_the_body_was_digested(site):
    class Handler(web.RequestHandler):
        def get(self):
            self.write("x" * int(self.get_argument("n", "3")))

        def check_etag_header(self):
            self.set_header("X-Etag", self._headers["Etag"])
            return super().check_etag_header()

    s = site([("/", Handler)])
    for n in (0, 3, 2048, 2049, 100_000):
        answer = s.ask(f"/?n={n}")
        expected = '"' + hashlib.sha1(b"x" * n).hexdigest() + '"'
        assert answer.headers["X-Etag"] == answer.headers["Etag"] == expected


def test_the_peer_that_has_it_gets_304(site):
    s = site([("/", Hello)])
    etag = s.ask("/").headers["Etag"]
    for tag in (etag, "W/" + etag, '"other", ' + etag, "*"):
        answer = s.ask("/", headers={"If-None-Match": tag})
        assert (answer.code, answer.body) == (304, b"")
        assert answer.headers["Etag"] == etag
        assert "Content-Type" not in answer.headers
    assert s.ask("/", headers={"If-None-Match": '"other"'}).code == 200
