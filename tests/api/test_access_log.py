"""log.AccessLog as Application's log_function."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re

import pytest

import pyfastloop
from pyfastloop import web
from pyfastloop.ioloop import IOLoop
from pyfastloop.log import AccessLog


class Handler(web.RequestHandler):
    def get(self):
        self.write("hello")

    async def post(self):
        self.set_status(201)


def ask(site, tmp_path, format, *requests, wrap=None):
    path = tmp_path / "log"
    log = AccessLog(path, format)
    function = log if wrap is None else wrap(log)
    s = site([("/.*", Handler)], log_function=function)
    for request in requests:
        s.raw(request + b"Connection: close\r\n\r\n")
    log.close()
    return path.read_text("ascii").splitlines()


GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize("wrap", [None, lambda log: lambda handler: log(handler)])
def test_text(site, tmp_path, wrap, caplog):
    first, second = ask(site, tmp_path, "text", GET, POST, wrap=wrap)
    date = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(date + r" 200 GET /a\?b \(127\.0\.0\.1\) \d+\.\d\dms", first)
    assert re.fullmatch(date + r" 201 POST / \(127\.0\.0\.1\) \d+\.\d\dms", second)
    assert not [r for r in caplog.records if r.name == "tornado.access"]


def test_combined(site, tmp_path):
    more = b"Referer: http://b/\r\nUser-Agent: me/1\r\n"
    first, second = ask(site, tmp_path, "combined", GET + more, POST)
    date = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
    assert re.fullmatch(
        r"127\.0\.0\.1 - - "
        + date
        + r' "GET /a\?b HTTP/1\.1" 200 5 "http://b/" "me/1"',
        first,
    )
    assert re.fullmatch(
        r"127\.0\.0\.1 - - " + date + r' "POST / HTTP/1\.1" 201 0 "-" "-"', second
    )


def test_an_address_that_is_none_leaves_no_gap(site, tmp_path):
    def nobody(log):
        def write(handler):
            handler.request.remote_ip = None
            log(handler)

        return write

    (line,) = ask(site, tmp_path, "combined", GET, wrap=nobody)
    assert line.startswith("- - - [")


def test_json(site, tmp_path):
    (line,) = ask(site, tmp_path, "json", GET + b'User-Agent: a"b\\c\xe4\td\r\n')
    record = json.loads(line)
    assert record.pop("ms") >= 0
    assert record.pop("time")
    assert record == {
        "status": 200,
        "method": "GET",
        "uri": "/a?b",
        "ip": "127.0.0.1",
        "bytes": "5",
        "referer": "-",
        "agent": 'a"b\\c\xe4\td',
    }


@pytest.mark.parametrize("format", ["text", "combined", "json"])
def test_class_14_a_peer_cannot_forge_a_line(site, tmp_path, format):
    """Bug class 14: what was decoded never reaches the log."""
    hostile = (
        b'GET /%0d%0a"\xff\\ HTTP/1.1\r\nHost: a\r\n'
        b'User-Agent: "\xe4\t\x9b\r\nReferer: "" "\r\n'
    )
    (line,) = ask(site, tmp_path, format, hostile)
    assert line.isprintable() and line.isascii()
    assert "%0d%0a" in line
    if format == "combined":
        assert r'"GET /%0d%0a\x22\xff\x5c HTTP/1.1"' in line
        assert line.endswith(r'"\x22\x22 \x22" "\x22\xe4\x09\x9b"')


def test_a_long_target_is_cut(site, tmp_path):
    (line,) = ask(
        site, tmp_path, "text", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n"
    )
    assert len(line) < 10_000
    assert "..." in line


def test_rotation(site, tmp_path):
    path = tmp_path / "log"
    log = AccessLog(path)
    s = site([("/.*", Handler)], log_function=log)
    s.ask("/1")
    log.flush()
    path.rename(tmp_path / "old")
    s.ask("/2")
    log.reopen()
    s.ask("/3")
    log.close()
    assert re.findall("/[0-9]", (tmp_path / "old").read_text()) == ["/1", "/2"]
    assert re.findall("/[0-9]", path.read_text()) == ["/3"]


def test_what_comes_while_it_is_closed_is_lost(site, tmp_path):
    log = AccessLog(tmp_path / "log")
    s = site([("/.*", Handler)], log_function=log)
    s.ask("/1")
    log.close()
    s.ask("/2")
    assert log.lost == 1
    log.reopen()
    s.ask("/3")
    log.close()
    assert re.findall("/[0-9]", (tmp_path / "log").read_text()) == ["/1", "/3"]


def test_a_log_that_nobody_closes_lets_its_file_go(tmp_path):
    log = AccessLog(tmp_path / "log")
    gc.collect()  # what other tests have left
    here = os.listdir("/proc/self/fd")
    with pytest.warns(ResourceWarning, match="unclosed file"):
        del log
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(here) - 1


def test_a_file_that_takes_nothing_delays_nobody(site):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    log = AccessLog(writer)
    s = site([("/.*", Handler)], log_function=log)
    target = b"GET /" + b"x" * 8_000 + b" HTTP/1.1\r\nHost: a\r\n"
    s.raw((target + b"\r\n") * 300 + target + b"Connection: close\r\n\r\n")
    assert log.lost > 0
    got = b""
    os.set_blocking(reader, False)
    while True:
        try:
            got += os.read(reader, 1 << 20)
        except BlockingIOError:
            break
        log.flush()
    log.close()
    os.close(reader)
    os.close(writer)
    lines = got.splitlines()
    assert len(lines) + log.lost == 301
    assert all(line.endswith(b"ms") for line in lines)


def test_a_loop_that_stops_before_it_wrote_does_not_end_the_writing(tmp_path):
    path = tmp_path / "log"
    log = AccessLog(path)

    async def serve(stops):
        class Stops(web.RequestHandler):
            async def get(self):
                await asyncio.sleep(0)  # the answer comes from the ring

            def on_finish(self):
                if stops:
                    IOLoop.current().stop()

        server = web.Application([("/", Stops)], log_function=log).listen(0)
        sock = next(iter(server._sockets.values()))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", sock.getsockname()[1]
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert await reader.read()
        writer.close()
        server.stop()

    for stops in (True, False):
        loop = pyfastloop.new_event_loop()
        task = loop.create_task(serve(stops))
        loop.call_later(30, loop.stop)
        if stops:
            loop.run_forever()
            task.cancel()
            loop.close()
        else:
            loop.run_until_complete(task)
            loop.close()
    lines = path.read_text("ascii").splitlines()  # before the log is closed
    log.close()
    assert len(lines) == 2


def test_a_format_that_is_none():
    with pytest.raises(ValueError, match="'text', 'combined' or 'json', not 'csv'"):
        AccessLog(2, "csv")


def test_a_subclass_is_called(site, tmp_path):
    class Quiet(AccessLog):
        def __call__(self, handler):
            if handler.get_status() != 200:
                super().__call__(handler)

    log = Quiet(tmp_path / "log")
    s = site([("/.*", Handler)], log_function=log)
    s.ask("/")
    s.ask("/", "POST", body="")
    log.close()
    assert " 201 POST / " in (tmp_path / "log").read_text()
    assert " 200 " not in (tmp_path / "log").read_text()
