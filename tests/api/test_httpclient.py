"""httpclient: what every client shares, whatever speaks HTTP below it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import inspect
import pickle
import socket
import threading
import weakref
from io import BytesIO

import pytest
from raw_http import (
    SECONDS,
    RawServer,
    client_of_test,
    fetch,
    ok,
    run,
    serve_answers,
)

from pyfastloop import gen, httpclient, httputil
from pyfastloop.httpclient import (
    AsyncHTTPClient,
    HTTPClient,
    HTTPClientError,
    HTTPError,
    HTTPRequest,
    HTTPResponse,
)
from pyfastloop.ioloop import IOLoop
from pyfastloop.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient


class TestRequest:
    def test_defaults_are_left_open(self):
        request = HTTPRequest("http://host/")
        assert request.method == "GET"
        assert request.connect_timeout is None
        assert request.follow_redirects is None
        assert request.expect_100_continue is False
        assert isinstance(request.headers, httputil.HTTPHeaders)
        assert not request.headers

    def test_signature_begins_as_tornados(self):
        names = list(inspect.signature(HTTPRequest.__init__).parameters)
        assert names[:5] == ["self", "url", "method", "headers", "body"]
        assert names[32] == "decompress_response"
        assert names[33] == "ssl_options"

    def test_text_bodies_become_utf8(self):
        request = HTTPRequest("http://host/", method="POST", body="ä")
        assert request.body == b"\xc3\xa4"
        request.body = "ö"
        assert request.body == b"\xc3\xb6"
        request.body = None
        assert request.body is None

    def test_headers_none_is_an_empty_map(self):
        request = HTTPRequest("http://host/")
        request.headers = None
        assert isinstance(request.headers, httputil.HTTPHeaders)

    def test_headers_are_the_callers_own(self):
        headers = {"A": "b"}
        assert HTTPRequest("http://host/", headers=headers).headers is headers

    @pytest.mark.parametrize(
        "when",
        [
            784111777,
            datetime.datetime(1994, 11, 6, 8, 49, 37, tzinfo=datetime.UTC),
        ],
    )
    def test_if_modified_since(self, when):
        headers = {"A": "b"}
        request = HTTPRequest("http://host/", headers=headers, if_modified_since=when)
        assert request.headers["If-Modified-Since"] == "Sun, 06 Nov 1994 08:49:37 GMT"
        assert request.headers["A"] == "b"
        assert headers == {"A": "b"}

    def test_use_gzip_is_the_old_name(self):
        assert HTTPRequest("http://h/", use_gzip=False).decompress_response is False
        assert (
            HTTPRequest(
                "http://h/", use_gzip=False, decompress_response=True
            ).decompress_response
            is True
        )


class TestResponse:
    def request(self):
        return HTTPRequest("http://host/path")

    def test_success(self):
        response = HTTPResponse(self.request(), 200, buffer=BytesIO(b"body"))
        assert response.body == b"body"
        assert response.error is None
        assert response.reason == "OK"
        assert response.effective_url == "http://host/path"
        assert response.time_info == {}
        response.rethrow()

    def test_no_buffer_is_an_empty_body(self):
        response = HTTPResponse(self.request(), 204)
        assert response.body == b""
        assert response.buffer is None

    @pytest.mark.parametrize("code", [100, 199, 300, 304, 404, 500])
    def test_other_codes_are_errors(self, code):
        response = HTTPResponse(self.request(), code)
        error = response.error
        assert isinstance(error, HTTPClientError)
        assert error.code == code
        assert error.response is response
        assert response.error is error
        with pytest.raises(HTTPClientError):
            response.rethrow()

    def test_an_error_can_be_set(self):
        response = HTTPResponse(self.request(), 404)
        response.error = None
        response.rethrow()

    def test_unknown_reason(self):
        assert HTTPResponse(self.request(), 299).reason == "Unknown"
        assert HTTPResponse(self.request(), 299, reason="Odd").reason == "Odd"

    def test_repr_names_what_matters(self):
        text = repr(HTTPResponse(self.request(), 404))
        assert text.startswith("HTTPResponse(")
        assert "code=404" in text
        assert "effective_url='http://host/path'" in text

    def test_an_asked_error_makes_no_cycle(self):
        gc.collect()
        gc.disable()
        try:
            response = HTTPResponse(self.request(), 404)
            assert response.error is not None
            gone = weakref.ref(response)
            del response
            assert gone() is None
        finally:
            gc.enable()


class TestError:
    def test_text(self):
        assert str(HTTPError(404)) == "HTTP 404: Not Found"
        assert str(HTTPError(599)) == "HTTP 599: Unknown"
        assert repr(HTTPError(599, "why")) == "HTTP 599: why"
        assert HTTPError is HTTPClientError

    def test_args_and_pickle(self):
        error = HTTPError(500, "broken")
        assert error.args == (500, "broken", None)
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.code, copy.message) == (500, "broken")


class TestInstances:
    def test_one_for_each_loop(self):
        async def main():
            first = AsyncHTTPClient()
            assert AsyncHTTPClient() is first
            assert isinstance(first, SimpleAsyncHTTPClient)
            own = AsyncHTTPClient(force_instance=True)
            assert own is not first
            own.close()
            assert AsyncHTTPClient() is first
            first.close()
            first.close()
            again = AsyncHTTPClient()
            assert again is not first
            again.close()
            return first

        assert run(main) is not run(main)

    def test_a_subclass_has_instances_of_its_own(self):
        class Mine(SimpleAsyncHTTPClient):
            pass

        async def main():
            base, mine = AsyncHTTPClient(), Mine()
            assert type(mine) is Mine
            assert Mine() is mine
            assert AsyncHTTPClient() is base
            base.close()
            mine.close()

        run(main)

    def test_configure(self):
        saved = AsyncHTTPClient._save_configuration()

        async def main():
            with client_of_test() as client:
                assert client.max_clients == 3
                assert client.defaults["user_agent"] == "me"
                assert client.defaults["connect_timeout"] == 20.0

        try:
            AsyncHTTPClient.configure(
                None, max_clients=3, defaults={"user_agent": "me"}
            )
            run(main)
            AsyncHTTPClient.configure(
                "pyfastloop.simple_httpclient.SimpleAsyncHTTPClient",
                max_clients=3,
                defaults={"user_agent": "me"},
            )
            run(main)
            with pytest.raises(ValueError):
                AsyncHTTPClient.configure(dict)
        finally:
            AsyncHTTPClient._restore_configuration(saved)

    def test_io_loop_argument_of_tornado_4(self):
        other = IOLoop(make_current=False)

        async def main():
            client = AsyncHTTPClient(io_loop=IOLoop.current(), force_instance=True)
            client.close()
            with pytest.raises(ValueError, match="current loop"):
                AsyncHTTPClient(io_loop=other)

        try:
            run(main)
        finally:
            other.close()

    def test_fetch_on_a_closed_client(self):
        async def main():
            client = AsyncHTTPClient(force_instance=True)
            client.close()
            with pytest.raises(RuntimeError, match="close"):
                client.fetch("http://127.0.0.1/")

        run(main)


class TestFetch:
    def test_awaited(self):
        with RawServer(serve_answers(ok(b"hello", "X-A: 1", "X-A: 2"))) as server:
            response = fetch(server.url)
        assert response.code == 200
        assert response.body == b"hello"
        assert response.buffer.read() == b"hello"
        assert response.headers["X-A"] == "1,2"
        assert response.headers.get_list("x-a") == ["1", "2"]
        assert response.reason == "OK"
        assert response.effective_url == server.url
        assert response.request.url == server.url
        assert response.request_time >= 0
        assert response.error is None

    def test_time_info(self):
        with RawServer(serve_answers(ok())) as server:
            info = fetch(server.url).time_info
        names = ["namelookup", "connect", "pretransfer", "starttransfer", "total"]
        values = [info[name] for name in names]
        assert values == sorted(values)
        assert info["queue"] >= 0
        assert info["redirect"] == 0
        assert info["appconnect"] == 0
        assert info["connect"] > 0

    def test_errors_have_the_response(self):
        answer = ok(b"not here", status="404 Nope")
        with RawServer(serve_answers(answer)) as server:
            with pytest.raises(HTTPClientError) as caught:
                fetch(server.url)
            response = fetch(server.url, raise_error=False)
        assert caught.value.code == 404
        assert caught.value.message == "Nope"
        assert caught.value.response.body == b"not here"
        assert response.code == 404
        assert response.error.code == 404

    def test_no_answer_raises_in_any_case(self):
        with (
            RawServer(lambda conn, server: None) as server,
            pytest.raises(HTTPClientError),
        ):
            fetch(server.url, raise_error=False)

    def test_request_object_and_arguments(self):
        async def main():
            with (
                client_of_test() as client,
                pytest.raises(ValueError, match="HTTPRequest object"),
            ):
                client.fetch(HTTPRequest("http://127.0.0.1/"), method="POST")

        run(main)

    def test_the_callers_headers_stay_as_they_are(self):
        headers = httputil.HTTPHeaders({"X-Mine": "1"})
        plain = {"X-Mine": "1"}
        with RawServer(serve_answers(ok())) as server:
            fetch(server.url, headers=headers)
            fetch(HTTPRequest(server.url, headers=plain, method="POST", body=b"x"))
        assert list(headers.get_all()) == [("X-Mine", "1")]
        assert plain == {"X-Mine": "1"}
        assert b"X-Mine: 1\r\n" in server.heads[0]

    @pytest.mark.parametrize("by_position", [True, False])
    def test_callback_form(self, by_position):
        async def main(server):
            with client_of_test() as client:
                called = asyncio.get_running_loop().create_future()
                calls = []

                def callback(response):
                    calls.append(response)
                    called.set_result(response)

                if by_position:
                    future = client.fetch(server.url, callback)
                else:
                    future = client.fetch(server.url, callback=callback)
                assert not calls
                response = await called
                assert response is await future
                return response

        with RawServer(serve_answers(ok(b"called"))) as server:
            assert run(main, server).body == b"called"

    def test_callback_form_gets_errors_as_responses(self):
        async def main(url):
            with client_of_test() as client:
                called = asyncio.get_running_loop().create_future()
                client.fetch(url, callback=called.set_result)
                return await called

        with RawServer(serve_answers(ok(status="500 Broken"))) as server:
            response = run(main, server.url)
        assert response.code == 500
        assert isinstance(response.error, HTTPClientError)

        response = run(main, "http://127.0.0.1:1/")
        assert response.code == 599
        assert isinstance(response.error, ConnectionRefusedError)
        with pytest.raises(ConnectionRefusedError):
            response.rethrow()

    def test_in_a_generator_coroutine(self):
        @gen.coroutine
        def main(url):
            with client_of_test() as client:
                first = yield client.fetch(url)
                pair = yield [client.fetch(url), client.fetch(url)]
            raise gen.Return([first.body] + [r.body for r in pair])

        with RawServer(serve_answers(ok())) as server:
            assert run(main, server.url) == [b"ok"] * 3

    def test_cancelling_ends_the_request(self):
        async def main(server, arrived):
            with client_of_test(max_clients=1) as client:
                task = asyncio.ensure_future(client.fetch(server.url))
                await asyncio.get_running_loop().run_in_executor(None, arrived.wait)
                assert len(client.active) == 1
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert not client.active
                await asyncio.get_running_loop().run_in_executor(
                    None, server.ended.acquire, True, SECONDS
                )

        arrived = threading.Event()

        def serve(conn, server):
            server.request(conn)
            arrived.set()
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server, arrived)

    def test_cancelling_in_the_queue(self):
        async def main(server):
            with client_of_test(max_clients=1) as client:
                first = client.fetch(server.url)
                second = client.fetch(server.url)
                assert len(client.queue) == 1
                second.cancel()
                assert len(client.queue) == 0
                await first

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        assert len(server.heads) == 1

    def test_fetch_impl_of_a_subclass(self):
        class Canned(AsyncHTTPClient):
            def fetch_impl(self, request, callback):
                assert request.connect_timeout == 20.0
                assert request.nonsense_default == 7
                assert isinstance(request.headers, httputil.HTTPHeaders)
                request.headers["X"] = "y"
                callback(HTTPResponse(request, 200, buffer=BytesIO(b"canned")))

        async def main():
            client = Canned(force_instance=True, defaults={"nonsense_default": 7})
            headers = {"A": "b"}
            request = HTTPRequest("http://host/", headers=headers)
            request.nonsense_default = None
            response = await client.fetch(request)
            assert response.body == b"canned"
            assert response.request is request
            assert headers == {"A": "b"}
            client.close()

        run(main)

    def test_a_class_without_fetch_impl(self):
        class Bare(AsyncHTTPClient):
            pass

        async def main():
            client = Bare(force_instance=True)
            with pytest.raises(NotImplementedError):
                client.fetch("http://host/")

        run(main)


class TestHTTPClient:
    def test_in_a_script(self):
        with RawServer(serve_answers(ok(b"sync"))) as server:
            client = HTTPClient()
            assert client.fetch(server.url).body == b"sync"
            assert client.fetch(HTTPRequest(server.url)).body == b"sync"
            client.close()
            client.close()
            with pytest.raises(RuntimeError):
                client.fetch(server.url)
        assert server.accepted == 1

    def test_errors(self):
        with RawServer(serve_answers(ok(status="403 No"))) as server:
            client = HTTPClient()
            with pytest.raises(HTTPClientError, match="403"):
                client.fetch(server.url)
            assert client.fetch(server.url, raise_error=False).code == 403
            client.close()

    def test_a_time_out_while_connecting_leaves_nothing_behind(self, caplog):
        with contextlib.ExitStack() as sockets:
            # A backlog of one that is full: the kernel drops further SYNs.
            listener = sockets.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            for _ in range(4):
                filler = sockets.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            client = HTTPClient()
            with pytest.raises(HTTPTimeoutError):
                client.fetch(f"http://127.0.0.1:{address[1]}/", request_timeout=0.05)
            client.close()
        del client
        gc.collect()
        assert not caplog.records

    def test_async_client_class(self):
        class Mine(SimpleAsyncHTTPClient):
            pass

        client = HTTPClient(Mine, max_clients=2)
        assert type(client._async_client) is Mine
        assert client._async_client.max_clients == 2
        client.close()

    def test_inside_of_a_running_loop(self):
        async def main(url):
            task = asyncio.current_task()
            loop = asyncio.get_running_loop()
            client = HTTPClient()
            try:
                body = client.fetch(url).body
            finally:
                client.close()
            assert asyncio.current_task() is task
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            return body

        with RawServer(serve_answers(ok(b"inside"))) as server:
            assert run(main, server.url) == b"inside"

    def test_in_a_callback_of_a_running_loop(self):
        async def main(url):
            done = asyncio.get_running_loop().create_future()

            def blocking():
                client = HTTPClient()
                done.set_result(client.fetch(url).body)
                client.close()

            IOLoop.current().add_callback(blocking)
            return await done

        with RawServer(serve_answers(ok(b"callback"))) as server:
            assert run(main, server.url) == b"callback"

    def test_in_a_thread(self):
        with RawServer(serve_answers(ok(b"thread"))) as server:
            found = []

            def work():
                client = HTTPClient()
                found.append(client.fetch(server.url).body)
                client.close()

            thread = threading.Thread(target=work)
            thread.start()
            thread.join(SECONDS)
        assert found == [b"thread"]


def test_everything_public_is_there():
    for name in httpclient.__all__:
        assert hasattr(httpclient, name)
