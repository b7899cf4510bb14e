"""websocket: handlers, connections and what they promise, with each other as peers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import random
import struct
import threading
import zlib

import pytest
from raw_http import SECONDS, RawServer, header, ok, run, serve_answers
from raw_websocket import (
    ACCEPT,
    CLOSE,
    KEY,
    TEXT,
    accept,
    close_frame,
    connect,
    frame,
    read_frame,
    rest_of,
)

import pyfastloop
from pyfastloop import gen, web, websocket
from pyfastloop.httpclient import HTTPClientError, HTTPRequest
from pyfastloop.ioloop import IOLoop
from pyfastloop.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError
from pyfastloop.websocket import (
    WebSocketClosedError,
    WebSocketError,
    WebSocketHandler,
    WebSocketProtocol13,
    websocket_connect,
)


class Noted(WebSocketHandler):
    """Notes what happens in ``application.noted``; ``application.closed`` is set by
    on_close."""

    def note(self, *what):
        self.application.noted.append(what)

    def open(self, *args, **kwargs):
        self.note("open", args, kwargs)
        self.application.handlers.append(self)

    def on_message(self, message):
        return self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self):
        self.note("close", self.close_code, self.close_reason)
        self.application.closed.set()


def served(main, *handlers, **settings):
    """Run ``main(url, application)`` beside a server of these handlers."""

    async def both():
        application = web.Application(
            [(path, handler) for path, handler in handlers], **settings
        )
        application.noted = []
        application.handlers = []
        application.closed = asyncio.Event()
        server = application.listen(0, "127.0.0.1")
        port = next(iter(server._sockets.values())).getsockname()[1]
        application.port = port
        try:
            return await main(f"ws://127.0.0.1:{port}", application)
        finally:
            server.stop()
            for connection in websocket.close_all():
                connection._abort()

    return run(both)


def in_thread(function, *args):
    return asyncio.get_running_loop().run_in_executor(None, function, *args)


class TestHandshake:
    def head(self, path="/", handler=Noted, **headers):
        async def main(url, application):
            conn, head = await in_thread(
                lambda: connect(application.port, path, **headers)
            )
            conn.close()
            return head

        return served(main, (r"/(.*)", handler))

    def test_accepted(self):
        head = self.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert header(head, "Upgrade") == "websocket"
        assert header(head, "Connection") == "Upgrade"
        assert header(head, "Sec-WebSocket-Accept") == ACCEPT
        assert header(head, "Content-Type") is None
        assert header(head, "Sec-WebSocket-Extensions") is None

    def test_accept_value_of_the_rfc(self):
        assert WebSocketProtocol13.compute_accept_value(KEY) == ACCEPT
        assert WebSocketProtocol13.compute_accept_value(KEY.encode()) == ACCEPT

    @pytest.mark.parametrize(
        "headers, status",
        [
            ({"Upgrade": None}, 400),
            ({"Upgrade": "h2c"}, 400),
            ({"Connection": "close"}, 400),
            ({"Sec_WebSocket_Key": None}, 400),
            ({"Sec_WebSocket_Key": "short"}, 400),
            ({"Sec_WebSocket_Key": "!" * 24}, 400),
            ({"Sec_WebSocket_Version": "12"}, 426),
            ({"Sec_WebSocket_Version": None}, 426),
            ({"Origin": "http://elsewhere.test"}, 403),
            ({"Sec_WebSocket_Extensions": "permessage-deflate; a b"}, 400),
        ],
    )
    def test_refused(self, headers, status):
        head = self.head(**headers)
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        if status == 426:
            assert header(head, "Sec-WebSocket-Version") == "7, 8, 13"

    @pytest.mark.parametrize("connection", ["upgrade", "keep-alive, Upgrade"])
    def test_connection_is_a_list(self, connection):
        assert b" 101 " in self.head(Connection=connection)

    def test_our_own_origin(self):
        async def main(url, application):
            conn, head = await in_thread(
                lambda: connect(
                    application.port, Origin=f"http://127.0.0.1:{application.port}"
                )
            )
            conn.close()
            return head

        assert b" 101 " in served(main, ("/", Noted))

    @pytest.mark.parametrize(
        ("host", "origin", "asked"),
        [
            ("a.test", "http://a.test", False),
            ("a.test:81", "https://a.test:81", False),
            ("A.test", "http://a.TEST", False),
            ("a.test", "http://a.test:80", True),
            ("a.test", "http://b.test", True),
            ("a.test", "http://u@a.test", True),
            ("a.test", "http://[", True),
            ("a.test", "null", True),
            ("a.test", "", True),
        ],
    )
    def test_check_origin_is_asked_about_other_hosts(self, host, origin, asked):
        questions = []

        class Asked(Noted):
            def check_origin(self, origin):
                questions.append(origin)
                return super().check_origin(origin)

        head = self.head(handler=Asked, Host=host, Origin=origin)
        assert questions == [origin] * asked
        assert head.startswith(b"HTTP/1.1 403 " if asked else b"HTTP/1.1 101 ")

    def test_an_origin_that_check_origin_allows(self):
        class Open(Noted):
            def check_origin(self, origin):
                return origin == "http://friend.test"

        assert b" 101 " in self.head(handler=Open, Origin="http://friend.test")
        assert b" 403 " in self.head(handler=Open, Origin="http://other.test")

    def test_arguments_of_the_route(self):
        class Names(Noted):
            pass

        async def main(url, application):
            connection = await websocket_connect(url + "/room/7")
            connection.close()
            await application.closed.wait()
            return application.noted[0]

        assert served(main, (r"/room/(?P<number>\d+)", Names)) == (
            "open",
            (),
            {"number": "7"},
        )

    def test_subprotocols(self):
        class Chooses(Noted):
            def select_subprotocol(self, subprotocols):
                self.note(subprotocols)
                return "two" if "two" in subprotocols else None

        async def main(url, application):
            first = await websocket_connect(url, subprotocols=["one", "two"])
            second = await websocket_connect(url, subprotocols=["one"])
            third = await websocket_connect(url)
            handler = application.handlers[0]
            found = [
                first.selected_subprotocol,
                second.selected_subprotocol,
                third.selected_subprotocol,
                handler.selected_subprotocol,
            ]
            offered = [n[0] for n in application.noted if isinstance(n[0], list)]
            return found, offered

        assert served(main, ("/", Chooses)) == (
            ["two", None, None, "two"],
            [["one", "two"], ["one"], []],
        )

    def test_no_http_after_it(self):
        async def main(url, application):
            await websocket_connect(url)
            (handler,) = application.handlers
            for method in ("write", "finish", "flush", "set_header", "set_status"):
                with pytest.raises(RuntimeError, match="Web Sockets"):
                    getattr(handler, method)("x")

        served(main, ("/", Noted))

    def test_the_peer_is_known_afterwards(self):
        class Peer(Noted):
            def on_message(self, message):
                request = self.request
                context = request.connection.context
                assert request.remote_ip == context.remote_ip == "127.0.0.1"
                assert request.protocol == context.protocol == "http"
                assert context._orig_remote_ip == "127.0.0.1"
                self.write_message(f"{context.address[1]} {context}")

            def on_close(self):
                self.note(self.request.remote_ip, self.request.headers["Host"])
                super().on_close()

        async def main(url, application):
            connection = await websocket_connect(url)
            port = connection.stream.socket.getsockname()[1]
            await connection.write_message("who am I")
            assert await connection.read_message() == f"{port} 127.0.0.1"
            connection.close()
            await application.closed.wait()
            noted = ("127.0.0.1", f"127.0.0.1:{application.port}")
            assert noted in application.noted

        served(main, ("/", Peer))

    def test_a_proxy_s_word_is_kept_afterwards(self):
        class Peer(Noted):
            def on_message(self, message):
                context = self.request.connection.context
                self.write_message(f"{self.request.remote_ip} {context}")

        async def main():
            application = web.Application([("/", Peer)])
            application.noted, application.handlers = [], []
            application.closed = asyncio.Event()
            server = application.listen(0, "127.0.0.1", xheaders=True)
            port = next(iter(server._sockets.values())).getsockname()[1]
            request = HTTPRequest(
                f"ws://127.0.0.1:{port}/", headers={"X-Real-Ip": "192.0.2.7"}
            )
            connection = await websocket_connect(request)
            await connection.write_message("who am I")
            answer = await connection.read_message()
            connection.close()
            await application.closed.wait()
            server.stop()
            return answer

        assert run(main).split()[0] == "192.0.2.7"

    def test_messages_with_the_handshake(self):
        """Frames that came in one packet with the request are not lost."""

        async def main(url, application):
            def peer():
                conn, _ = connect(application.port)
                with conn:
                    conn.sendall(frame(TEXT, b"a") + frame(TEXT, b"b"))
                    return [read_frame(conn, False).data for _ in range(2)]

            return await in_thread(peer)

        class Slow(Noted):
            async def open(self):
                super().open()
                for _ in range(20):
                    await asyncio.sleep(0)

        assert served(main, ("/", Slow)) == [b"a", b"b"]


class TestMessages:
    @pytest.mark.parametrize("options", [None, {}, {"no_context_takeover": True}])
    def test_echo(self, options):
        class Echo(Noted):
            def get_compression_options(self):
                return options

        async def main(url, application):
            connection = await websocket_connect(url, compression_options=options)
            for message in ("", "häl😀lo", "x" * 100_000, b"", b"\xff" * 70_000):
                for _ in range(2):
                    await connection.write_message(
                        message, binary=isinstance(message, bytes)
                    )
                    assert await connection.read_message() == message
            connection.close()
            assert await connection.read_message() is None

        served(main, ("/", Echo))

    def test_other_kinds(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            connection.write_message({"a": [1, "</x>"]})
            assert await connection.read_message() == '{"a": [1, "<\\/x>"]}'
            connection.write_message(b"bytes as text")
            assert await connection.read_message() == "bytes as text"
            for buffer in (bytearray(b"abc"), memoryview(b"abc")):
                connection.write_message(buffer, binary=True)
                assert await connection.read_message() == b"abc"
            with pytest.raises(ValueError, match="binary=True"):
                connection.write_message(b"\xff")
            with pytest.raises(TypeError):
                connection.write_message(7)

        served(main, ("/", Noted))

    def test_order_is_kept_by_coroutines(self):
        class Waits(Noted):
            async def on_message(self, message):
                for _ in range(int(message) % 3):
                    await asyncio.sleep(0)
                await self.write_message(message)

        async def main(url, application):
            connection = await websocket_connect(url)
            for i in range(30):
                connection.write_message(str(i))
            return [await connection.read_message() for _ in range(30)]

        assert served(main, ("/", Waits)) == [str(i) for i in range(30)]

    def test_a_generator_coroutine(self):
        class Yields(Noted):
            @gen.coroutine
            def on_message(self, message):
                yield gen.moment
                yield self.write_message(message.upper())

        async def main(url, application):
            connection = await websocket_connect(url)
            connection.write_message("up")
            return await connection.read_message()

        assert served(main, ("/", Yields)) == "UP"

    def test_a_waiting_handler_holds_the_peer_back(self):
        class Holds(Noted):
            async def on_message(self, message):
                self.note("message")
                await self.application.release.wait()

        async def main(url, application):
            application.release = asyncio.Event()
            connection = await websocket_connect(url)
            written = [connection.write_message("x" * 100_000) for _ in range(200)]
            while len(application.noted) < 2:
                await asyncio.sleep(0.001)
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert len(application.noted) == 2
            assert not written[-1].done()
            application.release.set()
            await written[-1]

        served(main, ("/", Holds))

    def test_an_exception_is_logged_and_closes(self, caplog):
        class Breaks(Noted):
            def on_message(self, message):
                raise ZeroDivisionError

        class BreaksLater(Noted):
            async def on_message(self, message):
                await asyncio.sleep(0)
                raise ZeroDivisionError

        for handler in (Breaks, BreaksLater):

            async def main(url, application):
                connection = await websocket_connect(url)
                connection.write_message("x")
                assert await connection.read_message() is None
                await application.closed.wait()
                return connection.close_code

            caplog.clear()
            with caplog.at_level(logging.ERROR):
                assert served(main, ("/", handler)) == 1011
            assert "Uncaught exception" in caplog.text
            assert "ZeroDivisionError" in caplog.text

    @pytest.mark.parametrize(
        "end",
        [
            lambda handler: handler.ws_connection.on_connection_close(),
            lambda handler: handler.on_connection_close(),
            lambda handler: handler.ws_connection._abort(),
        ],
        ids=["protocol", "handler", "abort"],
    )
    def test_the_end_inside_of_on_message(self, end):
        """What stands behind the message in hand is not told any more."""

        class Ends(Noted):
            def on_message(self, message):
                self.note("message", message)
                self.write_message("answer")
                end(self)

        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            with conn:
                conn.sendall(frame(TEXT, b"one") + frame(TEXT, b"two") * 3)
                await application.closed.wait()
            told = [n for n in application.noted if n[0] != "open"]
            assert told == [("message", "one"), ("close", None, None)]

        served(main, ("/", Ends))

    def test_answers_to_messages_that_came_together_leave_together(self):
        sent = []

        class Counted(Noted):
            def open(self):
                super().open()
                self.futures = []

            def on_message(self, message):
                self.futures.append(self.write_message(message))
                if message == "last":
                    sent.extend(future.done() for future in self.futures)

        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            with conn:
                conn.sendall(frame(TEXT, b"x") * 9 + frame(TEXT, b"last"))
                answers = [
                    (await in_thread(read_frame, conn, False)).data for _ in range(10)
                ]
            assert answers == [b"x"] * 9 + [b"last"]
            (handler,) = application.handlers
            await asyncio.gather(*handler.futures)

        served(main, ("/", Counted))
        assert sent.count(False) >= 1

    def test_messages_held_together_do_not_count_as_slow(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            with conn:
                conn.sendall(frame(TEXT, b"x" * 100) * 50)
                for _ in range(50):
                    answer = await in_thread(read_frame, conn, False)
                    assert answer.data == b"x" * 100

        served(
            main,
            ("/", Noted),
            websocket_max_write_buffer=1000,
            websocket_slow_peer="close",
        )

    def test_no_on_message(self, caplog):
        class Silent(WebSocketHandler):
            pass

        async def main(url, application):
            connection = await websocket_connect(url)
            connection.write_message("x")
            assert await connection.read_message() is None

        served(main, ("/", Silent))
        assert "on_message" in caplog.text

    def test_context_of_the_connection(self):
        variable = contextvars.ContextVar("variable", default="outside")

        class Context(Noted):
            def prepare(self):
                variable.set(self.request.query)

            def on_message(self, message):
                self.write_message(variable.get())

        async def main(url, application):
            first = await websocket_connect(url + "/?first")
            second = await websocket_connect(url + "/?second")
            first.write_message("")
            second.write_message("")
            return await first.read_message(), await second.read_message()

        assert served(main, ("/", Context)) == ("first", "second")

    def test_asyncio_timeout_in_on_message(self):
        class Times(Noted):
            async def on_message(self, message):
                try:
                    async with asyncio.timeout(0.01):
                        await asyncio.sleep(60)
                except TimeoutError:
                    await self.write_message("timed out")

        async def main(url, application):
            connection = await websocket_connect(url)
            connection.write_message("x")
            return await connection.read_message()

        assert served(main, ("/", Times)) == "timed out"

    def test_messages_larger_than_allowed(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            connection.write_message("x" * 1001)
            assert await connection.read_message() is None
            return connection.close_code

        assert served(main, ("/", Noted), websocket_max_message_size=1000) == 1009

    def test_a_dict_is_json_in_frames_of_both_kinds(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            await connection.write_message({"a": 1})
            await connection.write_message({"a": 1}, binary=True)
            return [await connection.read_message() for _ in range(2)]

        assert served(main, ("/", Noted)) == ['{"a": 1}', b'{"a": 1}']

    def test_the_subprotocol_of_a_client_outlives_the_connection(self):
        class Ends(WebSocketHandler):
            def select_subprotocol(self, subprotocols):
                return subprotocols[-1]

            def open(self):
                self.close()

        async def main(url, application):
            connection = await websocket_connect(url, subprotocols=["a", "b"])
            assert await connection.read_message() is None
            return connection.selected_subprotocol

        assert served(main, ("/", Ends)) == "b"

    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("size", [10e6, float("inf"), 2**63 - 1, 2**64])
    def test_a_bound_is_any_number(self, size, compressed):
        class Echoes(WebSocketHandler):
            def get_compression_options(self):
                return {} if compressed else None

            def on_message(self, message):
                self.write_message(message)

        async def main(url, application):
            connection = await websocket_connect(
                url,
                max_message_size=size,
                compression_options={} if compressed else None,
            )
            connection.write_message("x" * 1001)
            return await connection.read_message()

        settings = {"websocket_max_message_size": size}
        assert served(main, ("/", Echoes), **settings) == "x" * 1001

    @pytest.mark.parametrize("size", [-1, None, float("nan"), "10"])
    def test_a_bound_that_is_none_is_refused_before_anything_happens(self, size):
        async def main(url, application):
            with pytest.raises(ValueError, match="max_message_size"):
                websocket_connect(url, max_message_size=size)

        served(main, ("/", Noted))

    def test_the_client_has_a_limit_too(self):
        async def main(url, application):
            connection = await websocket_connect(url, max_message_size=1000)
            connection.write_message("x" * 1001)
            assert await connection.read_message() is None
            await application.closed.wait()
            return application.noted[-1]

        assert served(main, ("/", Noted))[:2] == ("close", 1009)

    def test_ten_thousand_small_messages(self):
        async def main(url, application):
            connection = await websocket_connect(url)

            async def write():
                for i in range(10_000):
                    await connection.write_message(str(i))

            writing = asyncio.ensure_future(write())
            for i in range(10_000):
                assert await connection.read_message() == str(i)
            await writing

        served(main, ("/", Noted))


class TestClosing:
    def test_by_the_client(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            connection.close(3001, "schön")
            assert await connection.read_message() is None
            await application.closed.wait()
            with pytest.raises(WebSocketClosedError):
                connection.write_message("x")
            with pytest.raises(WebSocketClosedError):
                connection.ping()
            (handler,) = application.handlers
            with pytest.raises(WebSocketClosedError):
                handler.write_message("x")
            return application.noted[-1], connection.close_code

        assert served(main, ("/", Noted)) == (("close", 3001, "schön"), 3001)

    def test_by_the_server(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            (handler,) = application.handlers
            handler.close(1001, "going away")
            with pytest.raises(WebSocketClosedError):
                handler.write_message("x")
            assert await connection.read_message() is None
            await application.closed.wait()
            return connection.close_code, connection.close_reason

        assert served(main, ("/", Noted)) == (1001, "going away")

    def test_without_a_code(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            connection.close()
            await application.closed.wait()
            return application.noted[-1]

        assert served(main, ("/", Noted)) == ("close", None, None)

    def test_a_reason_alone_is_1000(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            connection.close(reason="bye")
            await application.closed.wait()
            return application.noted[-1]

        assert served(main, ("/", Noted)) == ("close", 1000, "bye")

    def test_reasons_that_are_too_long(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            with pytest.raises(ValueError, match="123"):
                connection.close(1000, "x" * 124)
            connection.close(1000, "x" * 123)
            await application.closed.wait()

        served(main, ("/", Noted))

    def test_on_close_once(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            (handler,) = application.handlers
            handler.close()
            connection.close()
            await application.closed.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            handler.on_connection_close()
            return [note[0] for note in application.noted]

        assert served(main, ("/", Noted)) == ["open", "close"]

    def test_in_open(self):
        class Closes(Noted):
            def open(self):
                super().open()
                self.close(1008, "no")

        async def main(url, application):
            connection = await websocket_connect(url)
            assert await connection.read_message() is None
            await application.closed.wait()
            return connection.close_code

        assert served(main, ("/", Closes)) == 1008

    def test_open_that_raises(self, caplog):
        class Breaks(Noted):
            def open(self):
                raise ZeroDivisionError

        async def main(url, application):
            connection = await websocket_connect(url)
            assert await connection.read_message() is None
            await application.closed.wait()
            return connection.close_code

        assert served(main, ("/", Breaks)) == 1011
        assert "ZeroDivisionError" in caplog.text

    def test_a_peer_that_never_answers(self, monkeypatch):
        monkeypatch.setattr(websocket.protocol, "_CLOSE_WAIT", 0.05)

        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            (handler,) = application.handlers
            handler.close(1000)
            await application.closed.wait()
            frames = await in_thread(rest_of, conn, False)
            conn.close()
            return [f.opcode for f in frames], application.noted[-1]

        assert served(main, ("/", Noted)) == ([CLOSE], ("close", None, None))

    def test_a_peer_that_vanishes(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            conn.close()
            await application.closed.wait()
            return application.noted[-1]

        assert served(main, ("/", Noted)) == ("close", None, None)

    def test_all_of_a_loop(self):
        async def main(url, application):
            connections = [await websocket_connect(url) for _ in range(3)]
            websocket.close_all(1001, "stopping")
            for connection in connections:
                assert await connection.read_message() is None
                assert connection.close_code == 1001

        served(main, ("/", Noted))

    def test_drain_waits_until_all_are_gone(self):
        async def main(url, application):
            connections = [await websocket_connect(url) for _ in range(3)]
            assert await websocket.drain(1001, "stopping") == 0
            closed = [n for n in application.noted if n[0] == "close"]
            assert closed == [("close", 1001, "stopping")] * 3
            for connection in connections:
                assert await connection.read_message() is None
                assert connection.close_code == 1001

        served(main, ("/", Noted))

    def test_drain_cuts_off_who_does_not_answer(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            with conn:
                assert await websocket.drain(seconds=0.05) == 1
                frames = await in_thread(rest_of, conn, False)
                assert [f.data for f in frames] == [struct.pack(">H", 1001)]

        served(main, ("/", Noted))

    def test_run_says_going_away(self):
        ports = queue.Queue()
        heard = []

        def peer():
            conn, head = connect(ports.get(timeout=60))
            with conn:
                heard.append(head.split()[1])
                frame = read_frame(conn, False)
                heard.append((frame.opcode, frame.data))
                conn.sendall(close_frame(1001))
                heard.append(rest_of(conn, False))

        async def main():
            opened = asyncio.Event()

            class Opened(WebSocketHandler):
                def open(self):
                    opened.set()

            server = web.Application([("/", Opened)]).listen(0, "127.0.0.1")
            ports.put(next(iter(server._sockets.values())).getsockname()[1])
            await opened.wait()
            return "done"

        thread = threading.Thread(target=peer)
        thread.start()
        assert pyfastloop.run(main()) == "done"
        thread.join(60)
        assert heard == [b"101", (8, struct.pack(">H", 1001)), []]

    def test_nothing_is_left_of_a_closed_connection(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            connection.close()
            await application.closed.wait()
            await connection.read_message()
            return websocket.close_all()

        assert served(main, ("/", Noted)) == []

    def test_a_forgotten_connection_goes_on(self):
        import gc

        async def main(url, application):
            got = asyncio.get_running_loop().create_future()
            await websocket_connect(
                url, on_message_callback=lambda m: got.done() or got.set_result(m)
            )
            (handler,) = application.handlers
            application.handlers.clear()
            handler_id = id(handler)
            del handler
            gc.collect()
            for connection in list(vars(IOLoop.current())["_websockets"]):
                if id(connection.handler) == handler_id:
                    connection.write_message("still there")
            return await got

        assert served(main, ("/", Noted)) == "still there"


class TestPings:
    def test_answered_and_told(self):
        class Pinged(Noted):
            def on_ping(self, data):
                self.note("ping", data)

            def on_pong(self, data):
                self.note("pong", data)
                self.application.ponged.set()

        async def main(url, application):
            application.ponged = asyncio.Event()
            connection = await websocket_connect(url)
            connection.ping(b"to the server")
            (handler,) = application.handlers
            handler.ping("to the client")
            await application.ponged.wait()
            with pytest.raises(ValueError, match="125"):
                handler.ping(b"x" * 126)
            return application.noted[1:]

        assert served(main, ("/", Pinged)) == [
            ("ping", b"to the server"),
            ("pong", b"to the client"),
        ]

    @pytest.mark.parametrize("who", ["server", "client"])
    def test_periodic(self, who):
        class Counts(Noted):
            def on_ping(self, data):
                self.application.counted()

            def on_pong(self, data):
                self.application.counted()

        async def main(url, application):
            done = asyncio.Event()
            seen = []

            def counted():
                seen.append(1)
                if len(seen) == 3:
                    done.set()

            application.counted = counted
            connection = await websocket_connect(
                url, ping_interval=0.01 if who == "client" else None
            )
            await done.wait()
            connection.close()

        settings = {"websocket_ping_interval": 0.01} if who == "server" else {}
        served(main, ("/", Counts), **settings)

    @pytest.mark.parametrize("timeout", [None, 0.02, 0.2])
    def test_a_peer_that_does_not_answer(self, timeout):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            frames = await in_thread(lambda: close_after_close(conn))
            await application.closed.wait()
            return [f for f in frames if f.opcode == CLOSE]

        def close_after_close(conn):
            with conn:
                frames = []
                while not frames or frames[-1].opcode != CLOSE:
                    frames.append(read_frame(conn, False))
                conn.sendall(close_frame(1000))
                return frames + rest_of(conn, False)

        (close,) = served(
            main,
            ("/", Noted),
            websocket_ping_interval=0.05,
            websocket_ping_timeout=timeout,
        )
        assert close.data == struct.pack(">H", 1000) + b"ping timed out"

    def test_sleep_time(self):
        sleep = WebSocketProtocol13.ping_sleep_time
        assert sleep(last_ping_time=10, interval=5, now=12) == 3
        assert sleep(last_ping_time=10, interval=5, now=15) == 0
        assert sleep(last_ping_time=10, interval=5, now=99) == 0

    def test_a_flood_of_pings_from_someone_who_does_not_read(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            conn.setblocking(False)
            ping = frame(9, b"x" * 125) * 1000
            sent = 0
            view = memoryview(ping)
            stalled = 0
            at = 0
            while stalled < 50 and sent < 200_000_000:
                try:
                    n = conn.send(view[at:])
                except BlockingIOError:
                    stalled += 1
                    await asyncio.sleep(0.002)
                    continue
                stalled = 0
                sent += n
                at = (at + n) % len(ping)
                await asyncio.sleep(0)
            assert sent < 200_000_000, "pongs are queued without bound"
            (handler,) = application.handlers
            assert handler.ws_connection._queued < 10_000_000
            conn.close()
            await application.closed.wait()

        served(main, ("/", Noted))


class TestSlowPeers:
    @pytest.fixture(autouse=True)
    def who_is_slow_has_time_to_close(self, monkeypatch):
        monkeypatch.setattr("pyfastloop.websocket.protocol._CLOSE_WAIT", SECONDS)

    def test_drop_the_oldest(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            (handler,) = application.handlers
            futures = [
                handler.write_message(str(i) + "x" * 100_000) for i in range(500)
            ]
            handler.close(1000)

            def read():
                with conn:
                    conn.sendall(close_frame(1000))
                    return rest_of(conn, False)

            frames = await in_thread(read)
            await gen.multi(
                [
                    asyncio.wait_for(
                        asyncio.wrap_future(f) if not asyncio.isfuture(f) else f, 5
                    )
                    for f in futures[:1]
                ]
            )
            return len([f for f in frames if f.opcode == TEXT])

        count = served(
            main,
            ("/", Noted),
            websocket_max_write_buffer=1_000_000,
            websocket_slow_peer="drop",
        )
        assert 0 < count < 500

    def test_close_with_1013(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            (handler,) = application.handlers
            with pytest.raises(WebSocketClosedError):
                for _ in range(10_000):
                    handler.write_message("x" * 100_000)
            frames = await in_thread(rest_of, conn, False)
            conn.close()
            await application.closed.wait()
            return frames[-1]

        last = served(
            main,
            ("/", Noted),
            websocket_max_write_buffer=1_000_000,
            websocket_slow_peer="close",
        )
        assert last.opcode == CLOSE
        assert struct.unpack(">H", last.data[:2]) == (1013,)

    def test_wait_delivers_all(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            (handler,) = application.handlers
            futures = [
                handler.write_message(str(i) + "x" * 100_000) for i in range(200)
            ]
            assert not futures[-1].done()

            def read():
                return [read_frame(conn, False).data.rstrip(b"x") for _ in range(200)]

            got = await in_thread(read)
            await futures[-1]
            conn.close()
            return got

        got = served(
            main,
            ("/", Noted),
            websocket_max_write_buffer=1_000_000,
            websocket_slow_peer="wait",
        )
        assert got == [b"%d" % i for i in range(200)]

    def test_close_comes_after_all_that_waits(self):
        async def main(url, application):
            conn, _ = await in_thread(connect, application.port)
            (handler,) = application.handlers
            future = [
                handler.write_message(str(i) + "x" * 100_000) for i in range(200)
            ][-1]
            handler.close(1000)
            assert not future.done()

            def read():
                with conn:
                    frames = [read_frame(conn, False) for _ in range(201)]
                    conn.sendall(close_frame(1000))
                    return frames + rest_of(conn, False)

            frames = await in_thread(read)
            await future
            return frames

        *texts, close = served(
            main,
            ("/", Noted),
            websocket_max_write_buffer=1_000_000,
            websocket_slow_peer="wait",
        )
        assert [f.data.rstrip(b"x") for f in texts] == [b"%d" % i for i in range(200)]
        assert close.opcode == CLOSE

    def test_what_is_left_of_compressed_messages_inflates(self):
        class Compressed(Noted):
            def get_compression_options(self):
                return {}

        messages = [
            f"{i} " + random.Random(i).randbytes(60_000).hex() for i in range(300)
        ]

        async def main(url, application):
            conn, head = await in_thread(
                lambda: connect(
                    application.port, Sec_WebSocket_Extensions="permessage-deflate"
                )
            )
            assert b"permessage-deflate" in head
            (handler,) = application.handlers
            for message in messages:
                handler.write_message(message)
            handler.close(1000)

            def read():
                with conn:
                    conn.sendall(close_frame(1000))
                    return rest_of(conn, False)

            return await in_thread(read)

        frames = served(
            main,
            ("/", Compressed),
            websocket_max_write_buffer=1_000_000,
            websocket_slow_peer="drop",
        )
        inflater = zlib.decompressobj(-15)  # the context is kept, as was agreed
        got = [
            inflater.decompress(f.data + b"\x00\x00\xff\xff").decode()
            for f in frames
            if f.opcode == TEXT
        ]
        assert 0 < len(got) < len(messages)
        numbers = [int(text.split()[0]) for text in got]
        assert got == [messages[i] for i in numbers]
        assert numbers == sorted(numbers)

    def test_a_message_larger_than_the_bound_reaches_who_reads(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            await connection.write_message(b"x" * 300_000, binary=True)
            assert await connection.read_message() == b"x" * 300_000
            connection.close()

        served(
            main,
            ("/", Noted),
            websocket_max_write_buffer=1000,
            websocket_slow_peer="close",
        )

    def test_unknown_policies(self, caplog):
        async def main(url, application):
            with pytest.raises(HTTPClientError):
                await websocket_connect(url)

        served(main, ("/", Noted), websocket_slow_peer="odd")
        assert "websocket" in caplog.text.lower()


class TestTopics:
    def test_publish(self):
        class Room(Noted):
            def get_compression_options(self):
                return {}

            def open(self, room):
                super().open(room)
                self.subscribe(room)

            def on_message(self, message):
                self.note("published", self.publish(self.open_args[0], message))

        async def main(url, application):
            a1 = await websocket_connect(url + "/a")
            a2 = await websocket_connect(url + "/a", compression_options={})
            b1 = await websocket_connect(url + "/b")
            a1.write_message("to a")
            assert await a1.read_message() == "to a"
            assert await a2.read_message() == "to a"
            assert websocket.publish(application, "b", b"\xff", binary=True) == 1
            assert await b1.read_message() == b"\xff"
            assert websocket.publish(application, "nobody", "x") == 0
            application.handlers[0].unsubscribe("a")
            assert websocket.publish(application, "a", {"k": 1}) == 1
            assert await a2.read_message() == '{"k": 1}'
            for connection in (a1, a2, b1):
                connection.close()
                await connection.read_message()
            while application._websocket_topics:
                await asyncio.sleep(0)

        served(main, (r"/(\w+)", Room))


class TestConnect:
    def test_callbacks(self):
        async def main(url, application):
            connected = asyncio.get_running_loop().create_future()
            messages = asyncio.Queue()
            websocket_connect(
                url,
                callback=connected.set_result,
                on_message_callback=messages.put_nowait,
            )
            future = await connected
            connection = future.result()
            connection.write_message("x")
            assert await messages.get() == "x"
            with pytest.raises(RuntimeError):
                connection.read_message()
            connection.close()
            assert await messages.get() is None

        served(main, ("/", Noted))

    def test_read_message_with_a_callback(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            read = asyncio.get_running_loop().create_future()
            connection.read_message(read.set_result)
            connection.write_message("x")
            return (await read).result()

        assert served(main, ("/", Noted)) == "x"

    def test_slow_readers_hold_the_server_back(self):
        async def main(url, application):
            connection = await websocket_connect(url)
            (handler,) = application.handlers
            futures = [handler.write_message("x" * 100_000) for _ in range(200)]
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert not futures[-1].done()
            for _ in range(200):
                await connection.read_message()
            await futures[-1]

        served(main, ("/", Noted))

    def test_an_http_request(self):
        class Head(Noted):
            def open(self):
                self.write_message(self.request.headers["X-Mine"])

        async def main(url, application):
            headers = {"X-Mine": "1"}
            connection = await websocket_connect(HTTPRequest(url, headers=headers))
            assert headers == {"X-Mine": "1"}
            with pytest.raises(ValueError, match="connect_timeout"):
                websocket_connect(HTTPRequest(url), connect_timeout=1)
            return await connection.read_message()

        assert served(main, ("/", Head)) == "1"

    def connect_error(self, url, **kwargs):
        async def main():
            try:
                await websocket_connect(url, **kwargs)
            except Exception as error:
                return error
            raise AssertionError("connected")

        return run(main)

    def test_refused(self):
        error = self.connect_error("ws://127.0.0.1:1/")
        assert isinstance(error, ConnectionRefusedError)

    @pytest.mark.parametrize("url", ["ftp://h/", "nothing", "ws:///x"])
    def test_bad_urls(self, url):
        assert isinstance(self.connect_error(url), ValueError)

    def test_no_websocket_there(self):
        with RawServer(serve_answers(ok(status="404 Not Found"))) as server:
            error = self.connect_error(f"ws://127.0.0.1:{server.port}/")
        assert isinstance(error, HTTPClientError)
        assert error.code == 404

        with RawServer(serve_answers(ok())) as server:
            error = self.connect_error(f"ws://127.0.0.1:{server.port}/")
        assert isinstance(error, WebSocketError)
        assert "200" in str(error)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n"
            b"Connection: Upgrade\r\n\r\n",
        ],
    )
    def test_bad_handshakes(self, answer):
        def serve(conn, server):
            server.request(conn)
            conn.sendall(answer)
            if answer:
                assert conn.recv(1) == b""

        with RawServer(serve) as server:
            error = self.connect_error(f"ws://127.0.0.1:{server.port}/")
        assert isinstance(error, (WebSocketError, HTTPStreamClosedError))

    @pytest.mark.parametrize(
        "extension",
        [
            "unknown",
            "permessage-deflate; odd",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; client_max_window_bits=8",
            "a b",
        ],
    )
    @pytest.mark.parametrize("offered", [False, True])
    def test_extensions_that_were_not_offered(self, extension, offered):
        def serve(conn, server):
            accept(conn, f"Sec-WebSocket-Extensions: {extension}")
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            error = self.connect_error(
                f"ws://127.0.0.1:{server.port}/",
                compression_options={} if offered else None,
            )
        assert isinstance(error, WebSocketError)

    def test_time_out(self):
        def serve(conn, server):
            server.request(conn)
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            error = self.connect_error(
                HTTPRequest(f"ws://127.0.0.1:{server.port}/", request_timeout=0.05)
            )
        assert isinstance(error, HTTPTimeoutError)

    def test_cancelling(self):
        async def main(server):
            task = asyncio.ensure_future(
                asyncio.wait_for(
                    websocket_connect(f"ws://127.0.0.1:{server.port}/"), 60
                )
            )
            while not server.heads:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await in_thread(server.ended.acquire, True, SECONDS)

        def serve(conn, server):
            server.request(conn)
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server)

    def test_wss(self):
        import ssl

        from raw_http import CERTIFICATE, server_tls

        def serve(conn, server):
            accept(conn)
            conn.sendall(frame(TEXT, b"secret", masked=False))
            rest_of(conn, True)

        async def main(server):
            request = HTTPRequest(
                f"wss://localhost:{server.port}/", ca_certs=CERTIFICATE
            )
            connection = await websocket_connect(request)
            message = await connection.read_message()
            connection.close()
            return message

        with RawServer(serve, server_tls()) as server:
            assert run(main, server) == "secret"
            error = self.connect_error(f"wss://localhost:{server.port}/")
        assert isinstance(error, ssl.SSLError)

    @pytest.mark.parametrize("scheme", ["http:", "ws:"])
    def test_redirects(self, scheme):
        async def main(url, application):
            location = url.replace("ws:", scheme) + "/"
            answer = ok(b"", f"Location: {location}", status="302 Found")
            with RawServer(serve_answers(answer)) as server:
                connection = await websocket_connect(f"ws://127.0.0.1:{server.port}/")
                connection.write_message("followed")
                return await connection.read_message()

        assert served(main, ("/", Noted)) == "followed"


class TestCompression:
    OFFERS = (  # what a client sends, our options, what we answer
        ("permessage-deflate", {}, "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", {}, "permessage-deflate"),
        (
            "permessage-deflate; server_max_window_bits=10",
            {},
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_no_context_takeover",
            {},
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            {},
            "permessage-deflate; client_no_context_takeover",
        ),
        (
            'permessage-deflate; server_max_window_bits="12"',
            {},
            "permessage-deflate; server_max_window_bits=12",
        ),
        (
            "permessage-deflate; client_max_window_bits=11",
            {},
            "permessage-deflate; client_max_window_bits=11",
        ),
        ("permessage-deflate; server_max_window_bits=8", {}, None),
        ("permessage-deflate; server_max_window_bits=16", {}, None),
        ("permessage-deflate; server_max_window_bits=010", {}, None),
        ("permessage-deflate; server_max_window_bits", {}, None),
        ("permessage-deflate; server_no_context_takeover=1", {}, None),
        ("permessage-deflate; unknown", {}, None),
        ("x-webkit-deflate-frame", {}, None),
        ("permessage-deflate; unknown, permessage-deflate", {}, "permessage-deflate"),
        ("permessage-deflate", None, None),
        (
            "permessage-deflate; client_max_window_bits",
            {"max_window_bits": 12, "no_context_takeover": True},
            "permessage-deflate; server_no_context_takeover; "
            "client_no_context_takeover; server_max_window_bits=12; "
            "client_max_window_bits=12",
        ),
    )

    @pytest.mark.parametrize("offer, options, answer", OFFERS)
    def test_negotiation(self, offer, options, answer):
        class Deflates(Noted):
            def get_compression_options(self):
                return options

        async def main(url, application):
            conn, head = await in_thread(
                lambda: connect(application.port, Sec_WebSocket_Extensions=offer)
            )
            conn.close()
            return head

        head = served(main, ("/", Deflates))
        assert b" 101 " in head
        assert header(head, "Sec-WebSocket-Extensions") == answer

    def test_it_is_smaller(self):
        class Deflates(Noted):
            def get_compression_options(self):
                return {"compression_level": 9, "mem_level": 5}

            def open(self):
                self.write_message("x" * 10_000)

        async def main(url, application):
            def peer():
                conn, _ = connect(
                    application.port, Sec_WebSocket_Extensions="permessage-deflate"
                )
                with conn:
                    return read_frame(conn, False)

            return await in_thread(peer)

        found = served(main, ("/", Deflates))
        assert found.rsv == 0x40
        assert len(found.data) < 100

    def test_unknown_options(self, caplog):
        class Odd(Noted):
            def get_compression_options(self):
                return {"level": 3}

        async def main(url, application):
            with pytest.raises(HTTPClientError) as caught:
                await websocket_connect(url, compression_options={})
            return caught.value.code

        assert served(main, ("/", Odd)) == 400

    def test_unknown_options_of_a_client(self):
        async def main():
            with pytest.raises(ValueError, match="level"):
                websocket_connect("ws://127.0.0.1:1/", compression_options={"level": 1})

        run(main)


def test_frames_and_masks():
    from pyfastloop import _core

    make = _core.WebSocketLink.frame
    assert make(1, "Hello", 0x80, None) == bytes.fromhex("810548656c6c6f")
    assert make(1, "Hello", 0x80, bytes.fromhex("37fa213d")) == bytes.fromhex(
        "818537fa213d7f9f4d5158"
    )
    assert make(2, bytes(256), 0x80, None)[:4] == bytes.fromhex("827e0100")
    assert make(2, bytes(65536), 0x80, None)[:10] == bytes.fromhex(
        "827f0000000000010000"
    )
    mask = _core.WebSocketLink.mask
    for size in range(200):
        data = bytes(range(256))[:size]
        assert mask(b"\1\2\3\4", data) == bytes(
            b ^ (i % 4 + 1) for i, b in enumerate(data)
        )
    assert _core.WebSocketLink.is_utf8("ä".encode())
    assert not _core.WebSocketLink.is_utf8(b"\xc3")
