"""curl_httpclient: the same fetches over libcurl, and what is said without it."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import sys

import pytest
from raw_http import RawServer, header, ok, reset, run, serve_answers

from pyfastloop import curl_httpclient
from pyfastloop.curl_httpclient import CurlAsyncHTTPClient, CurlError
from pyfastloop.httpclient import AsyncHTTPClient, HTTPClientError

needs_pycurl = pytest.mark.skipif(
    importlib.util.find_spec("pycurl") is None, reason="pycurl is not installed"
)


def curl_fetch(url, client=None, **kwargs):
    async def main():
        http = CurlAsyncHTTPClient(force_instance=True, **(client or {}))
        try:
            return await http.fetch(url, **kwargs)
        finally:
            http.close()

    return run(main)


def test_without_pycurl_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycurl", None)

    async def main():
        with pytest.raises(ImportError, match="pip install pycurl"):
            CurlAsyncHTTPClient(force_instance=True)

    run(main)


def test_names():
    assert curl_httpclient.curl_log.name == "tornado.curl_httpclient"
    assert curl_httpclient.CR_OR_LF_RE.search(b"a\nb")
    error = CurlError(7, "Failed to connect")
    assert (error.errno, error.code) == (7, 599)
    assert isinstance(error, HTTPClientError)


@needs_pycurl
class TestCurl:
    def test_get(self):
        with RawServer(serve_answers(ok(b"hello", "A: 1", "A: 2"))) as server:
            response = curl_fetch(server.url, headers={"X-Mine": "1"})
        assert response.code == 200
        assert response.body == b"hello"
        assert response.headers.get_list("A") == ["1", "2"]
        assert response.effective_url == server.url
        assert response.time_info["total"] > 0
        assert header(server.heads[0], "X-Mine") == "1"
        assert header(server.heads[0], "Expect") is None

    def test_many_at_once_and_a_queue(self):
        async def main(server):
            http = CurlAsyncHTTPClient(force_instance=True, max_clients=3)
            responses = await asyncio.gather(
                *[http.fetch(server.url) for _ in range(20)]
            )
            http.close()
            return [response.body for response in responses]

        with RawServer(serve_answers(ok())) as server:
            assert run(main, server) == [b"ok"] * 20

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_bodies(self, method):
        with RawServer(serve_answers(ok())) as server:
            curl_fetch(server.url, method=method, body=b"payload")
        assert server.bodies == [b"payload"]
        assert server.heads[0].startswith(method.encode())

    def test_other_methods(self):
        with RawServer(serve_answers(ok(b""))) as server:
            for method in ("HEAD", "DELETE", "OPTIONS"):
                curl_fetch(server.url, method=method)
            with pytest.raises(KeyError):
                curl_fetch(server.url, method="ODD")
            curl_fetch(server.url, method="ODD", allow_nonstandard_methods=True)
        assert [head.split(b" ")[0] for head in server.heads] == [
            b"HEAD",
            b"DELETE",
            b"OPTIONS",
            b"ODD",
        ]

    def test_redirects_callbacks_and_codings(self):
        coded = gzip.compress(b"unpacked")
        answers = (
            ok(b"", "Location: /to", status="302 Found"),
            ok(coded, "Content-Encoding: gzip", status="200 Fine"),
        )
        with RawServer(serve_answers(*answers)) as server:
            response = curl_fetch(server.url)
        assert response.body == b"unpacked"
        assert response.reason == "Fine"
        assert "Location" not in response.headers
        pieces, lines = [], []
        with RawServer(serve_answers(ok(b"body"))) as server:
            curl_fetch(
                server.url,
                streaming_callback=pieces.append,
                header_callback=lines.append,
            )
        assert b"".join(pieces) == b"body"
        assert lines[0] == "HTTP/1.1 200 OK\r\n"

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_303_asks_for_something_else(self, method):
        answers = (ok(b"", "Location: /to", status="303 See Other"), ok())
        with RawServer(serve_answers(*answers)) as server:
            curl_fetch(server.url, method=method, body=b"payload")
        assert server.heads[1].startswith(b"GET /to ")
        assert server.bodies == [b"payload", b""]

    def test_auth(self):
        with RawServer(serve_answers(ok())) as server:
            curl_fetch(server.url, auth_username="u", auth_password="p")
            with pytest.raises(ValueError):
                curl_fetch(server.url, auth_username="u", auth_mode="odd")
        assert header(server.heads[0], "Authorization") == "Basic dTpw"

    def test_errors(self):
        with pytest.raises(CurlError) as caught:
            curl_fetch("http://127.0.0.1:1/")
        assert caught.value.errno == 7
        assert "127.0.0.1:1" in str(caught.value)

        def serve(conn, server):
            server.request(conn)
            reset(conn)

        with RawServer(serve) as server, pytest.raises(CurlError):
            curl_fetch(server.url)
        with (
            RawServer(serve_answers(ok(status="404 No"))) as server,
            pytest.raises(HTTPClientError, match="404"),
        ):
            curl_fetch(server.url)

    def test_time_out(self):
        def serve(conn, server):
            server.request(conn)
            assert conn.recv(1) == b""

        with RawServer(serve) as server, pytest.raises(CurlError) as caught:
            curl_fetch(server.url, request_timeout=0.1)
        assert caught.value.errno == 28

    def test_max_body_size(self):
        with (
            RawServer(serve_answers(ok(b"x" * 1001))) as server,
            pytest.raises(CurlError, match="max_body_size"),
        ):
            curl_fetch(server.url, client={"max_body_size": 1000})

    def test_prepare_curl_callback(self):
        import pycurl

        with RawServer(serve_answers(ok())) as server:
            curl_fetch(
                server.url,
                prepare_curl_callback=lambda c: c.setopt(pycurl.REFERER, "http://r/"),
            )
        assert header(server.heads[0], "Referer") == "http://r/"

    def test_no_header_can_be_injected(self):
        with pytest.raises(ValueError):
            curl_fetch("http://127.0.0.1:1/", headers={"A": "b\r\nC: d"})

    def test_cancelling(self):
        async def main(server):
            http = CurlAsyncHTTPClient(force_instance=True, max_clients=1)
            task = asyncio.ensure_future(http.fetch(server.url))
            while not server.heads:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(http._free) == 1
            http.close()

        def serve(conn, server):
            server.request(conn)
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server)

    def test_closing_ends_what_is_under_way_and_what_waits(self):
        heard = []

        async def main(server):
            http = CurlAsyncHTTPClient(force_instance=True, max_clients=1)
            http.fetch(server.url, heard.append)
            futures = [http.fetch(server.url) for _ in range(2)]
            while not server.heads:
                await asyncio.sleep(0.001)
            http.close()
            for future in futures:
                with pytest.raises(CurlError, match="client was closed"):
                    await future
            while not heard:
                await asyncio.sleep(0)

        def serve(conn, server):
            server.request(conn)
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server)
        assert [response.code for response in heard] == [599]

    def test_configured(self):
        saved = AsyncHTTPClient._save_configuration()

        async def main():
            http = AsyncHTTPClient(force_instance=True)
            assert type(http) is CurlAsyncHTTPClient
            http.close()

        try:
            AsyncHTTPClient.configure("pyfastloop.curl_httpclient.CurlAsyncHTTPClient")
            run(main)
        finally:
            AsyncHTTPClient._restore_configuration(saved)
