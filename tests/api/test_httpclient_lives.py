"""A fetch of the default client, ended or changed in each of its states."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import gzip
import pickle
import threading
import warnings
import weakref
from unittest import mock

import pytest
from raw_http import (
    CERTIFICATE,
    SECONDS,
    RawServer,
    client_of_test,
    header,
    longer_and_longer,
    ok,
    run,
    serve_answers,
    server_tls,
)

from pyfastloop import _core, httpclient
from pyfastloop.httpclient import (
    AsyncHTTPClient,
    HTTPClientError,
    HTTPRequest,
    HTTPResponse,
)
from pyfastloop.httpserver import HTTPServer
from pyfastloop.ioloop import IOLoop
from pyfastloop.netutil import Resolver, bind_sockets
from pyfastloop.simple_httpclient import (
    HTTPStreamClosedError,
    HTTPTimeoutError,
    SimpleAsyncHTTPClient,
)

PART = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"

#: What the server has sent of the second answer when the fetch is ended.
STATES = {
    "nothing": b"",
    "half a head": PART[:20],
    "half a body": PART,
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
    "no length": b"HTTP/1.1 200 OK\r\n\r\nabc",
}


def stuck_server(sent: bytes, arrived: threading.Event, tls: bool = False) -> RawServer:
    """Answers once, then sends *sent* and waits for the client to close."""

    def serve(conn, server):
        if server.accepted > 1:  # whoever comes after the stuck one
            while server.request(conn):
                conn.sendall(ok(b"new"))
            return
        server.request(conn)
        conn.sendall(ok(b"old"))
        try:
            server.request(conn)
            conn.sendall(sent)
        finally:
            arrived.set()
        assert conn.recv(1) == b""

    return RawServer(serve, server_tls() if tls else None)


def in_thread(function, *args):
    return asyncio.get_running_loop().run_in_executor(None, function, *args)


async def moved(http):
    """Let the bytes that were sent reach the exchange."""
    for exchange in list(http.active):
        link = exchange._link
        for _ in range(1000):
            if link is None or link.bytes_moved:
                break
            await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("state", STATES)
class TestOnAPooledConnection:
    def start(self, state, tls, end, **kwargs):
        """Fetch twice over one connection; end(http, future) ends the second one.
        Gives whether that got into its state before."""
        arrived = threading.Event()
        options = {"ca_certs": CERTIFICATE} if tls else {}

        async def main(server):
            with client_of_test(max_clients=1) as http:
                assert (await http.fetch(server.url, **options)).body == b"old"
                future = http.fetch(server.url, **options, **kwargs)
                await in_thread(arrived.wait, SECONDS)
                await moved(http)
                got_there = not future.done()
                await end(http, future, server)
                assert not http.active
                await in_thread(server.ended.acquire, True, SECONDS)
                return got_there

        with stuck_server(STATES[state], arrived, tls) as server:
            got_there = run(main, server)
        assert not server.errors
        return got_there

    def test_cancelled(self, state, tls):
        async def end(http, future, server):
            assert future.cancel()
            assert not future.cancel()
            assert not http.active
            assert not len(http.pool)
            with pytest.raises(asyncio.CancelledError):
                await future

        self.start(state, tls, end)

    @pytest.mark.parametrize("start", [asyncio.ensure_future, _core.start_task])
    def test_the_task_that_waits_is_cancelled(self, state, tls, start):
        async def end(http, future, server):
            async def wait():
                return await future

            task = start(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert future.cancelled()

        self.start(state, tls, end)

    def test_client_closed(self, state, tls):
        async def end(http, future, server):
            http.close()
            with pytest.raises(HTTPStreamClosedError, match="client was closed"):
                await future

        self.start(state, tls, end)

    def test_timed_out(self, state, tls):
        async def end(http, future, server):
            with pytest.raises(
                HTTPTimeoutError, match=f"request_timeout {seconds:g} s"
            ):
                await future

        for seconds in longer_and_longer(0.2):
            if self.start(state, tls, end, request_timeout=seconds):
                break

    def test_inactive(self, state, tls):
        async def end(http, future, server):
            with pytest.raises(HTTPTimeoutError, match="inactivity_timeout"):
                await future

        for seconds in longer_and_longer(0.2):
            if self.start(state, tls, end, inactivity_timeout=seconds):
                break

    def test_the_next_one_gets_a_connection_of_its_own(self, state, tls):
        async def end(http, future, server):
            options = {"ca_certs": CERTIFICATE} if tls else {}
            queued = http.fetch(server.url, **options)
            assert len(http.queue) == 1
            future.cancel()
            assert (await queued).body == b"new"

        self.start(state, tls, end)


class TestWhileOpening:
    def test_cancelled(self):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                future = http.fetch(server.url)
                queued = http.fetch(server.url)
                future.cancel()
                assert (await queued).body == b"ok"
                assert not http.active

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_client_closed(self):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                opening, queued = http.fetch(server.url), http.fetch(server.url)
                http.close()
                assert not http.active
                assert not http.queue
                with pytest.raises(RuntimeError, match="closed"):
                    http.fetch(server.url)
                with pytest.raises(RuntimeError, match="closed"):
                    http.fetch_impl(HTTPRequest(server.url), lambda response: None)
                for future in (opening, queued):
                    with pytest.raises(HTTPStreamClosedError, match="client was clo"):
                        await future

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_client_closed_and_nobody_waits(self, caplog):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                futures = [http.fetch(server.url) for _ in range(2)]
                http.close()
                del futures
                gc.collect()
                await asyncio.sleep(0)
                assert not caplog.records

        with RawServer(serve_answers(ok())) as server:
            run(main, server)


class TestReentry:
    def test_a_callback_closes_the_client(self):
        async def main(server):
            done = asyncio.get_running_loop().create_future()
            with client_of_test() as http:
                await http.fetch(server.url)

                def callback(response):
                    http.close()
                    done.set_result(response.body)

                http.fetch_impl(HTTPRequest(server.url), callback)
                assert await done == b"ok"

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_a_callback_fetches_again(self):
        async def main(server):
            done = asyncio.get_running_loop().create_future()
            with client_of_test(max_clients=1) as http:
                left = 20

                def callback(response):
                    nonlocal left
                    left -= 1
                    if not left:
                        done.set_result(response.body)
                    else:
                        http.fetch_impl(HTTPRequest(server.url), callback)

                http.fetch_impl(HTTPRequest(server.url), callback)
                assert await done == b"ok"
                assert len(http.pool) == 1

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        assert server.accepted == 1

    def test_a_callback_that_fails_is_logged(self, caplog):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)

                def callback(response):
                    raise ZeroDivisionError

                http.fetch_impl(HTTPRequest(server.url), callback)
                while http.active:
                    await asyncio.sleep(0)
                assert (await http.fetch(server.url)).body == b"ok"

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        assert "ZeroDivisionError" in caplog.text

    def test_a_thousand_queued_that_fail_at_once(self):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                first = http.fetch(server.url)
                bad = [http.fetch("ftp://host/") for _ in range(1000)]
                await first
                found = await asyncio.gather(*bad, return_exceptions=True)
                assert {type(error) for error in found} == {ValueError}

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_a_headers_callback_that_cancels(self):
        async def main(server):
            with client_of_test() as http:
                future = None

                def callback(line):
                    future.cancel()

                await http.fetch(server.url)
                future = http.fetch(server.url, header_callback=callback)
                with pytest.raises(asyncio.CancelledError):
                    await future
                assert not http.active

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_a_header_callback_that_closes_the_client_hears_no_more(self):
        lines = []

        async def main(server):
            with client_of_test() as http:

                def callback(line):
                    lines.append(line)
                    http.close()

                with pytest.raises(HTTPStreamClosedError, match="client was closed"):
                    await http.fetch(server.url, header_callback=callback)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        assert lines == ["HTTP/1.1 200 OK\r\n"]

    def test_a_streaming_callback_that_cancels_gets_no_more(self):
        members = b"".join(gzip.compress(b"%d" % n) for n in range(5))
        pieces = []

        async def main(server):
            with client_of_test() as http:

                def callback(piece):
                    pieces.append(piece)
                    future.cancel()

                future = http.fetch(server.url, streaming_callback=callback)
                with pytest.raises(asyncio.CancelledError):
                    await future

        with RawServer(serve_answers(ok(members, "Content-Encoding: gzip"))) as server:
            run(main, server)
        assert pieces == [b"0"]

    @pytest.mark.parametrize("queued", [False, True])
    @pytest.mark.parametrize(
        "name",
        [
            *("url", "method", "headers", "body", "user_agent"),
            *("inactivity_timeout", "request_timeout", "connect_timeout"),
            "streaming_callback",
        ],
    )
    def test_a_property_of_the_request_closes_the_client(self, name, queued):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                values = {"url": server.url, "method": "GET", "headers": {}}

                def close(request):
                    http.close()
                    return values.get(name)

                closing = property(close, lambda request, value: None)
                request = type("Closing", (HTTPRequest,), {name: closing})(server.url)
                if queued:
                    first = http.fetch(server.url)
                with pytest.raises((HTTPStreamClosedError, RuntimeError)):
                    await http.fetch(request)
                if queued:
                    await asyncio.wait([first])
                assert not (http.active or http.queue or http.waiting or http._at_work)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_a_limit_that_is_no_number_does_not_stop_the_queue(self):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                first = http.fetch(server.url)
                bad = http.fetch(server.url, connect_timeout="5")
                good = http.fetch(server.url)
                assert (await first).body == (await good).body == b"ok"
                with pytest.raises(TypeError):
                    await bad
                assert not http.active

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_a_request_that_not_even_a_failure_can_be_told_of(self, caplog):
        class Nameless(HTTPRequest):
            @property
            def url(self):
                raise ZeroDivisionError

            @url.setter
            def url(self, value):
                pass

        async def main(server):
            with client_of_test(max_clients=1) as http:
                with pytest.raises(ZeroDivisionError):
                    await http.fetch(Nameless(server.url))
                assert not http.active
                assert (await http.fetch(server.url)).body == b"ok"

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_coding_without_a_body_counts_as_undone(method, streamed):
    async def main(server):
        with client_of_test() as http:
            callback = (lambda piece: None) if streamed else None
            return await http.fetch(
                server.url, method=method, streaming_callback=callback
            )

    with RawServer(serve_answers(ok(b"", "Content-Encoding: gzip"))) as server:
        response = run(main, server)
    assert response.headers["X-Consumed-Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in response.headers


def test_credentials_of_the_defaults_stay_with_the_origin():
    async def main(origin, other):
        defaults = {"auth_username": "me", "auth_password": "x", "user_agent": "us"}
        with client_of_test(defaults=defaults) as http:
            assert (await http.fetch(origin.url)).body == b"ok"
            assert (await http.fetch(other.url)).body == b"ok"

    with RawServer(serve_answers(ok())) as other:
        moved = [
            ok(b"", "Location: /there", status="302 Found"),
            ok(b"", f"Location: {other.url}", status="302 Found"),
        ]
        with RawServer(serve_answers(*moved)) as origin:
            run(main, origin, other)
    assert all(header(head, "Authorization") for head in origin.heads)
    assert len(origin.heads) == 2
    told = [header(head, "Authorization") is not None for head in other.heads]
    assert told == [False, True]
    assert [header(head, "User-Agent") for head in other.heads] == ["us"] * 2


class TestStale:
    def serve_and_close(self, conn, server):
        """Answers one request; resets where the second one has come."""
        server.request(conn)
        conn.sendall(ok())
        if server.accepted == 1:
            server.request(conn)
            return
        while server.request(conn):
            conn.sendall(ok(b"again"))

    def test_a_get_is_sent_again(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
                response = await http.fetch(server.url)
                assert response.body == b"ok"
                assert response.time_info["connect"] > 0
                assert (await http.fetch(server.url)).body == b"again"

        with RawServer(self.serve_and_close) as server:
            run(main, server)
        assert server.accepted == 2

    def test_a_post_is_not(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
                with pytest.raises(HTTPStreamClosedError, match="without an answer"):
                    await http.fetch(server.url, method="POST", body=b"x")
                assert not http.active

        with RawServer(self.serve_and_close) as server:
            run(main, server)
        assert server.accepted == 1


class TestWhatIsRemembered:
    """What goes out for a URL is kept, and true for each fetch nevertheless."""

    def sent(self, *steps, **options):
        """The head that each step's fetch of one URL sends."""

        async def main(server):
            with client_of_test(**options) as http:
                for step in steps:
                    await step(http, server.url)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        return server.heads

    def test_defaults_that_change(self):
        async def plain(http, url):
            await http.fetch(url)

        async def changed(http, url):
            http.defaults["user_agent"] = "changed"
            await http.fetch(url)

        async def credentials(http, url):
            http.defaults["auth_username"] = "me"
            await http.fetch(url)

        async def back(http, url):
            del http.defaults["user_agent"]
            del http.defaults["auth_username"]
            await http.fetch(url)

        heads = self.sent(plain, plain, changed, changed, credentials, back)
        agents = [header(head, "User-Agent") for head in heads]
        assert agents[0] == agents[1] == agents[5]
        assert agents[2:5] == ["changed"] * 3
        assert [header(head, "Authorization") is None for head in heads] == [
            *[True] * 4,
            False,
            True,
        ]

    def test_keep_alive_that_is_switched_off(self):
        async def plain(http, url):
            await http.fetch(url)

        async def off(http, url):
            http.keep_alive = False
            await http.fetch(url)

        heads = self.sent(plain, off)
        assert [header(head, "Connection") for head in heads] == [None, "close"]

    @pytest.mark.parametrize(
        ("kwargs", "name", "value"),
        [
            ({"user_agent": "me"}, "User-Agent", "me"),
            ({"headers": {"X-Here": "1"}}, "X-Here", "1"),
            ({"auth_username": "a", "auth_password": "b"}, "Authorization", None),
            ({"if_modified_since": 0}, "If-Modified-Since", False),
            ({"if_modified_since": 1}, "If-Modified-Since", None),
            ({"method": "OPTIONS"}, "Host", None),
            ({"decompress_response": False}, "Accept-Encoding", False),
            ({"use_gzip": False}, "Accept-Encoding", False),
        ],
    )
    def test_what_a_request_sets(self, kwargs, name, value):
        async def plain(http, url):
            await http.fetch(url)

        async def other(http, url):
            await http.fetch(url, **kwargs)

        heads = self.sent(plain, other, plain, other)
        assert heads[0] == heads[2]
        assert heads[1] == heads[3]
        if value is False:
            assert header(heads[1], name) is None
        elif value is None:
            assert header(heads[1], name) is not None
        else:
            assert header(heads[1], name) == value

    def test_what_is_set_on_a_request_later(self):
        async def later(http, url):
            request = HTTPRequest(url)
            await http.fetch(request)
            request.headers["X-Later"] = "1"
            await http.fetch(request)
            request.headers = None
            request.user_agent = "later"
            await http.fetch(request)

        heads = self.sent(later)
        assert [header(head, "X-Later") for head in heads] == [None, "1", None]
        assert header(heads[2], "User-Agent") == "later"

    def test_a_subclass_with_properties_of_its_own(self):
        class Signed(HTTPRequest):
            @property
            def headers(self):
                return {"X-Signed": self.url[-1]}

        async def signed(http, url):
            await http.fetch(url)
            await http.fetch(Signed(url))

        heads = self.sent(signed)
        assert [header(head, "X-Signed") for head in heads] == [None, "/"]


class TestHooks:
    def test_fetch_impl_that_calls_super(self):
        class Counting(SimpleAsyncHTTPClient):
            seen = 0

            def fetch_impl(self, request, callback):
                self.seen += 1
                request.headers["X-Seen"] = str(self.seen)
                super().fetch_impl(request, callback)

        async def main(server):
            http = Counting(force_instance=True)
            with contextlib.closing(http):
                for _ in range(2):
                    assert (await http.fetch(server.url)).body == b"ok"
                future = http.fetch(server.url)
                assert future.cancel()
                assert not http.active

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        assert [header(head, "X-Seen") for head in server.heads[:2]] == ["1", "2"]

    def test_fetch_impl_whose_headers_follow_a_redirect(self):
        class Signing(SimpleAsyncHTTPClient):
            def fetch_impl(self, request, callback):
                request.headers["X-Signed"] = "yes"
                request.user_agent = "signer"
                super().fetch_impl(request, callback)

        async def main(server):
            http = Signing(force_instance=True)
            with contextlib.closing(http):
                request = HTTPRequest(server.url, headers={"A": "b"})
                response = await http.fetch(request)
                assert response.request is request
                assert request.headers == {"A": "b"}
                assert request.user_agent is None

        moved = ok(b"", "Location: /there", status="302 Found")
        with RawServer(serve_answers(moved, ok())) as server:
            run(main, server)
        assert [header(head, "X-Signed") for head in server.heads] == ["yes"] * 2
        assert [header(head, "User-Agent") for head in server.heads] == ["signer"] * 2

    def test_fetch_impl_of_one_object(self):
        async def main():
            with client_of_test() as http:

                def canned(request, callback):
                    callback(HTTPResponse(request, 204))

                http.fetch_impl = canned
                assert (await http.fetch("http://host.test/")).code == 204

        run(main)

    def test_fetch_that_is_patched(self):
        async def main():
            with mock.patch.object(AsyncHTTPClient, "fetch", autospec=True) as fetch:
                with client_of_test() as http:
                    http.fetch("http://host.test/", raise_error=False)
                fetch.assert_called_once_with(
                    http, "http://host.test/", raise_error=False
                )

        run(main)

    def test_a_response_delivered_twice(self):
        class Twice(AsyncHTTPClient):
            def fetch_impl(self, request, callback):
                callback(HTTPResponse(request, 200))
                callback(HTTPResponse(request, 500))

        async def main():
            http = Twice(force_instance=True)
            assert (await http.fetch("http://host.test/")).code == 200

        run(main)

    def test_max_clients_that_changes(self):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                first, second = http.fetch(server.url), http.fetch(server.url)
                assert (len(http.active), len(http.queue)) == (1, 1)
                http.max_clients = 3
                third = http.fetch(server.url)  # the queue comes first
                assert (len(http.active), len(http.queue)) == (1, 2)
                await asyncio.gather(first, second, third)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)


class TestArguments:
    @pytest.mark.parametrize(
        ("args", "kwargs", "text"),
        [
            ((), {}, "request"),
            (("http://a/", True, 3), {}, "positional"),
            (("http://a/",), {"request": "http://b/"}, "multiple values"),
            (("http://a/",), {"nonsense": 1}, "nonsense"),
            (("http://a/", True), {"raise_error": True}, "multiple values"),
        ],
    )
    def test_of_fetch(self, args, kwargs, text):
        async def main():
            with client_of_test() as http, pytest.raises(TypeError, match=text):
                http.fetch(*args, **kwargs)

        run(main)

    @pytest.mark.parametrize(
        ("args", "kwargs", "text"),
        [
            ((), {}, "url"),
            (("http://a/",), {"url": "http://b/"}, "two values"),
            (("http://a/",), {"nonsense": 1}, "nonsense"),
            (("http://a/", *[None] * 33), {}, "by position"),
        ],
    )
    def test_of_a_request(self, args, kwargs, text):
        with pytest.raises(TypeError, match=text):
            HTTPRequest(*args, **kwargs)

    def test_a_body_that_is_no_text(self):
        with pytest.raises(TypeError):
            HTTPRequest("http://a/", body=3)

    def test_by_position(self):
        request = HTTPRequest("http://a/", "POST", {"A": "b"}, "ü", "me", "secret")
        assert request.method == "POST"
        assert request.headers == {"A": "b"}
        assert request.body == "ü".encode()
        assert (request.auth_username, request.auth_password) == ("me", "secret")

    def test_copies(self):
        request = HTTPRequest("http://a/", body="x", max_redirects=3)
        for other in (copy.copy(request), pickle.loads(pickle.dumps(request))):
            assert vars(other) == vars(request)
            assert other.body == b"x"
            assert other.method == "GET"

    def test_a_response_is_pickled(self):
        async def main(server):
            with client_of_test() as http:
                return await http.fetch(server.url)

        with RawServer(serve_answers(ok(b"kept"))) as server:
            response = run(main, server)
        other = pickle.loads(pickle.dumps(response))
        assert other.body == b"kept"
        assert other.headers == response.headers
        assert other.time_info == response.time_info


def test_a_proxy_that_has_closed_before_it_is_asked():
    async def main(server):
        with client_of_test() as http:
            connect = http.tcp_client.connect

            async def connect_and_close(*args, **kwargs):
                stream = await connect(*args, **kwargs)
                stream.close()
                return stream

            http.tcp_client.connect = connect_and_close
            port = int(server.url.rsplit(":", 1)[1].rstrip("/"))
            with pytest.raises(HTTPStreamClosedError, match="instead of a tunnel"):
                await http.fetch(
                    "https://host.test/", proxy_host="127.0.0.1", proxy_port=port
                )

    with RawServer(serve_answers(ok())) as server:
        run(main, server)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_cancelled_in_any_turn_it_leaves_nothing(tls, caplog):
    async def main():
        server = HTTPServer(
            lambda request: request.connection.finish(),
            ssl_options=server_tls() if tls else None,
        )
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        port = sockets[0].getsockname()[1]
        url = f"https://localhost:{port}/" if tls else f"http://127.0.0.1:{port}/"
        names = {"localhost": "127.0.0.1"}
        for turns in range(80):
            with client_of_test(hostname_mapping=names) as http:
                future = http.fetch(url, ca_certs=CERTIFICATE)
                for _ in range(turns):
                    await asyncio.sleep(0)
                future.cancel()
                with contextlib.suppress(asyncio.CancelledError, HTTPClientError):
                    await future
                assert not http.active
            del future
        gc.collect()
        server.stop()
        await server.close_all_connections()
        return port

    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        port = run(main)
    assert not [w for w in warned if f"raddr=('127.0.0.1', {port})" in str(w.message)]
    assert "Future was cancelled" not in caplog.text


def test_a_client_that_nobody_holds_finishes_its_fetch():
    async def main(server):
        await AsyncHTTPClient(force_instance=True).fetch(server.url)
        http = AsyncHTTPClient(force_instance=True)
        await http.fetch(server.url)
        future, gone = http.fetch(server.url), weakref.ref(http)
        del http
        gc.collect()
        assert (await future).body == b"ok"
        del future
        gc.collect()
        assert gone() is None

    with RawServer(serve_answers(ok())) as server:
        run(main, server)


def test_a_thousand_urls_are_forgotten_again():
    async def main(server):
        patience = {"connect_timeout": SECONDS, "request_timeout": SECONDS}
        with client_of_test(max_clients=100, defaults=patience) as http:
            urls = [f"{server.url}{n}" for n in range(1100)]
            await asyncio.gather(*map(http.fetch, urls))
            await http.fetch(urls[0])

    with RawServer(serve_answers(ok())) as server:
        run(main, server)
    assert len(server.heads) == 1101


def test_the_module_names_its_errors():
    assert httpclient.HTTPError is httpclient.HTTPClientError


def test_a_loop_that_is_closed_while_a_connection_is_opened(caplog):
    class Never(Resolver):
        @classmethod
        def configurable_base(cls):
            return cls

        @classmethod
        def configurable_default(cls):
            return cls

        async def resolve(self, *args):
            await asyncio.get_running_loop().create_future()

    async def main():
        http = AsyncHTTPClient(force_instance=True, resolver=Never())
        http.fetch("http://host.test/")
        while not any(exchange._opening for exchange in http.active):
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)

    loop = IOLoop(make_current=False)
    loop.run_sync(main)
    loop.close()
    del loop
    gc.collect()
    assert "Context" not in caplog.text
