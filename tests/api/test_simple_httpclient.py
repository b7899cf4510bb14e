"""simple_httpclient: what goes over the wire, and what connections are used for it."""

from __future__ import annotations

import array
import asyncio
import base64
import contextlib
import gzip
import importlib.util
import logging
import socket
import ssl
import threading
import zlib

import pytest
from raw_http import (
    CERTIFICATE,
    KEY,
    SECONDS,
    RawServer,
    client_of_test,
    fetch,
    fetch_error,
    header,
    longer_and_longer,
    ok,
    read_body,
    read_exactly,
    read_head,
    reset,
    run,
    serve_answers,
    server_tls,
)

from pyfastloop import gen, httputil
from pyfastloop.httpclient import HTTPClientError
from pyfastloop.ioloop import IOLoop
from pyfastloop.netutil import Resolver
from pyfastloop.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError
from pyfastloop.simple_httpclient.inflate import CodingError, make_inflater
from pyfastloop.simple_httpclient.target import parse_url


def redirect(location, code=302, body=b""):
    return ok(body, f"Location: {location}", status=f"{code} Moved")


def in_thread(function, *args):
    """Wait for a blocking call without holding up the loop."""
    return asyncio.get_running_loop().run_in_executor(None, function, *args)


def fetch_all(urls, *, client=None, **kwargs):
    """Fetches one after the other with one client; its pool's size at the end too."""

    async def main():
        with client_of_test(**(client or {})) as http:
            found = [await http.fetch(url, **kwargs) for url in urls]
            return found, len(http.pool)

    return run(main)


def serve_half(conn, server):
    """A body that stops, until the client leaves."""
    server.request(conn)
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    assert conn.recv(1) == b""


class TestPool:
    def test_fifty_fetches_open_one_connection(self):
        with RawServer(serve_answers(ok())) as server:
            found, idle = fetch_all([server.url] * 50)
        assert [response.body for response in found] == [b"ok"] * 50
        assert server.accepted == 1
        assert idle == 1

    def test_other_paths_share_the_connection(self):
        with RawServer(serve_answers(ok())) as server:
            fetch_all([server.url + "a", server.url + "b?c=d"])
        assert server.accepted == 1
        assert [head.split(b" ")[1] for head in server.heads] == [b"/a", b"/b?c=d"]

    def test_other_hosts_do_not(self):
        with RawServer(serve_answers(ok())) as server:
            fetch_all([server.url, f"http://localhost:{server.port}/", server.url])
        assert server.accepted == 2

    def test_other_local_addresses_do_not(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
                await http.fetch(server.url, network_interface="127.0.0.1")
                await http.fetch(server.url, network_interface="127.0.0.2")
                await http.fetch(server.url, network_interface="127.0.0.2")

        peers = []

        def serve(conn, server):
            peers.append(conn.getpeername()[0])
            serve_answers(ok())(conn, server)

        with RawServer(serve) as server:
            run(main, server)
        assert peers == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]

    def test_credentials_are_not_part_of_a_connection(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url, auth_username="u", auth_password="p")
                await http.fetch(server.url)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)
        assert server.accepted == 1
        assert header(server.heads[0], "Authorization") == "Basic dTpw"
        assert header(server.heads[1], "Authorization") is None

    def test_concurrent_fetches_have_connections_of_their_own(self):
        async def main(server):
            with client_of_test() as http:
                fetches = [http.fetch(server.url) for _ in range(5)]
                await gen.multi(fetches)
                assert len(http.pool) == 5
                await gen.multi([http.fetch(server.url) for _ in range(5)])

        barrier = threading.Barrier(5)

        def serve(conn, server):
            while server.request(conn):
                barrier.wait(SECONDS)
                conn.sendall(ok())

        with RawServer(serve) as server:
            run(main, server)
        assert server.accepted == 5

    def test_switched_off(self):
        with RawServer(serve_answers(ok())) as server:
            _, idle = fetch_all([server.url] * 3, client={"keep_alive": False})
        assert server.accepted == 3
        assert idle == 0
        assert header(server.heads[0], "Connection") == "close"

    def test_a_request_that_says_close(self):
        with RawServer(serve_answers(ok())) as server:
            fetch_all([server.url] * 2, headers={"Connection": "close"})
        assert server.accepted == 2

    @pytest.mark.parametrize(
        "answer",
        [
            ok(b"ok", "Connection: close"),
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            ok() + b"x",
            ok() + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ],
        ids=["close", "http/1.0", "leftover", "unasked-answer"],
    )
    def test_answers_after_which_the_connection_ends(self, answer):
        with RawServer(serve_answers(answer)) as server:
            found, idle = fetch_all([server.url] * 2)
        assert [response.body for response in found] == [b"ok"] * 2
        assert server.accepted == 2
        assert idle == 0

    def test_http_10_with_keep_alive(self):
        answer = (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
        )
        with RawServer(serve_answers(answer)) as server:
            fetch_all([server.url] * 2)
        assert server.accepted == 1

    def test_a_body_that_ends_with_the_connection(self):
        with RawServer(serve_answers(b"HTTP/1.1 200 OK\r\n\r\nall", close=True)) as s:
            found, idle = fetch_all([s.url] * 2)
        assert [response.body for response in found] == [b"all"] * 2
        assert idle == 0

    def test_an_idle_connection_that_the_server_closes_is_dropped(self):
        async def main(server, let_go):
            with client_of_test() as http:
                await http.fetch(server.url)
                assert len(http.pool) == 1
                let_go.set()
                await in_thread(server.ended.acquire)
                while len(http.pool):
                    await asyncio.sleep(0)
                await http.fetch(server.url, method="POST", body=b"not idempotent")

        let_go = threading.Event()

        def serve(conn, server):
            server.request(conn)
            conn.sendall(ok())
            if server.accepted == 1:
                let_go.wait(SECONDS)

        with RawServer(serve) as server:
            run(main, server, let_go)
        assert server.accepted == 2

    def test_bytes_on_an_idle_connection_close_it(self):
        async def main(server, say):
            with client_of_test() as http:
                await http.fetch(server.url)
                say.set()
                while len(http.pool):
                    await asyncio.sleep(0)
                response = await http.fetch(server.url)
                assert response.body == b"second"

        say = threading.Event()

        def serve(conn, server):
            server.request(conn)
            if server.accepted == 1:
                conn.sendall(ok(b"first"))
                say.wait(SECONDS)
                conn.sendall(ok(b"nobody asked"))
                assert conn.recv(1) == b""
            else:
                conn.sendall(ok(b"second"))

        with RawServer(serve) as server:
            run(main, server, say)

    def test_bytes_that_wait_in_the_kernel_are_nobodys_answer(self):
        async def main(server, said):
            with client_of_test() as http:
                await http.fetch(server.url)
                said.wait(SECONDS)  # the loop does not look meanwhile
                response = await http.fetch(server.url)
                assert response.body == b"second"

        said = threading.Event()

        def serve(conn, server):
            server.request(conn)
            if server.accepted == 1:
                conn.sendall(ok(b"first"))
                conn.sendall(ok(b"nobody asked"))
                said.set()
                assert conn.recv(1) == b""
            else:
                conn.sendall(ok(b"second"))

        # Two sends: the first answer may be read with or without the second one.
        with RawServer(serve) as server:
            run(main, server, said)

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    @pytest.mark.parametrize("rst", [False, True])
    def test_a_stale_connection_is_tried_again(self, method, rst):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
                body = b"x" if method == "PUT" else None
                response = await http.fetch(server.url, method=method, body=body)
                assert response.code == 200

        def serve(conn, server):
            first = server.accepted == 1
            server.request(conn)
            conn.sendall(ok(b"" if method == "HEAD" else b"ok"))
            if first:
                server.request(conn)
                if rst:
                    reset(conn)
            else:
                assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server)
        assert server.accepted == 2
        assert len(server.heads) == 3

    def test_a_stale_connection_is_not_tried_again_for_post(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
                with pytest.raises(HTTPStreamClosedError, match=r"127\.0\.0\.1"):
                    await http.fetch(server.url, method="POST", body=b"x")

        def serve(conn, server):
            server.request(conn)
            conn.sendall(ok())
            server.request(conn)

        with RawServer(serve) as server:
            run(main, server)
        assert server.accepted == 1

    @pytest.mark.parametrize("how", ["close", "unwrap", "reset"])
    @pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_close_that_came_before_the_request_costs_nothing(self, method, tls, how):
        """The server has closed, and the loop has not had a turn to see it: whatever
        the method, the request goes over another connection."""
        answered, closed = threading.Event(), threading.Event()

        async def main(server):
            with client_of_test() as http:
                for _ in range(2):
                    response = await http.fetch(
                        server.url,
                        method=method,
                        body=b"x" if method == "POST" else None,
                        ca_certs=CERTIFICATE,
                    )
                    assert response.body == b"ok"
                    answered.set()
                    closed.wait(SECONDS)  # the loop does not look meanwhile

        def serve(conn, server):
            server.request(conn)
            conn.sendall(ok())
            if server.accepted == 1:
                answered.wait(SECONDS)
                if how == "reset":
                    reset(conn)
                elif how == "unwrap" and tls:
                    conn.settimeout(0)
                    with contextlib.suppress(ssl.SSLError):
                        conn.unwrap()
                    conn.close()
                else:
                    conn.close()
                closed.set()
            else:
                assert conn.recv(1) == b""

        with RawServer(serve, server_tls() if tls else None) as server:
            run(main, server)
        assert server.accepted == 2
        assert len(server.heads) == 2

    @pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
    def test_post_is_sent_once_even_when_it_met_a_stale_connection(self, tls):
        """The server takes the request in and goes: nobody knows what it did."""

        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url, ca_certs=CERTIFICATE)
                with pytest.raises(HTTPStreamClosedError, match="without an answer"):
                    await http.fetch(
                        server.url, method="POST", body=b"x", ca_certs=CERTIFICATE
                    )

        def serve(conn, server):
            server.request(conn)
            conn.sendall(ok())
            server.request(conn)

        with RawServer(serve, server_tls() if tls else None) as server:
            run(main, server)
        assert server.accepted == 1
        assert len(server.heads) == 2

    def test_post_of_which_nothing_left_is_sent_again(self):
        """The kernel takes none of it because the connection broke a moment before."""

        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
                (link,) = http.pool.idle()
                link.stream.socket.shutdown(socket.SHUT_WR)
                response = await http.fetch(server.url, method="POST", body=b"x")
                assert response.body == b"second"

        def serve(conn, server):
            server.request(conn)
            first = server.accepted == 1
            conn.sendall(ok(b"first" if first else b"second"))
            if first:
                # It sees the end of the other side and stays: nothing tells the client
                # before it writes.
                conn.recv(1)
                server.ended.acquire(timeout=SECONDS)

        with RawServer(serve) as server:
            run(main, server)
        assert server.accepted == 2
        assert server.bodies == [b"", b"x"]

    def test_tls_bytes_that_wait_in_the_kernel_are_nobodys_answer(self):
        said = threading.Event()

        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url, ca_certs=CERTIFICATE)
                said.wait(SECONDS)  # the loop does not look meanwhile
                response = await http.fetch(server.url, ca_certs=CERTIFICATE)
                assert response.body == b"second"

        def serve(conn, server):
            server.request(conn)
            if server.accepted == 1:
                conn.sendall(ok(b"first"))
                conn.sendall(ok(b"nobody asked"))
                said.set()
                assert conn.recv(1) == b""
            else:
                conn.sendall(ok(b"second"))

        with RawServer(serve, server_tls()) as server:
            run(main, server)
        assert server.accepted == 2

    def test_nor_once_an_answer_has_begun(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
                with pytest.raises(HTTPStreamClosedError, match="in the middle"):
                    await http.fetch(server.url)

        def serve(conn, server):
            server.request(conn)
            conn.sendall(ok())
            server.request(conn)
            conn.sendall(b"H")

        with RawServer(serve) as server:
            run(main, server)
        assert server.accepted == 1

    def test_nor_on_a_new_connection(self):
        def serve(conn, server):
            server.request(conn)

        with RawServer(serve) as server:
            error = fetch_error(server.url)
        assert isinstance(error, HTTPStreamClosedError)
        assert "without an answer" in str(error)
        assert server.accepted == 1

    def test_the_number_of_idle_connections_is_bounded(self):
        async def main(server):
            with client_of_test(max_idle_connections=2) as http:
                await gen.multi([http.fetch(server.url) for _ in range(5)])
                assert len(http.pool) == 2
                for _ in range(3):
                    await in_thread(server.ended.acquire)

        barrier = threading.Barrier(5)

        def serve(conn, server):
            server.request(conn)
            barrier.wait(SECONDS)
            conn.sendall(ok())
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server)

    def test_idle_connections_age_out(self):
        async def main(server):
            with client_of_test(idle_connection_timeout=0.01) as http:
                await http.fetch(server.url)
                await in_thread(server.ended.acquire)
                assert len(http.pool) == 0

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_closing_the_client_closes_them(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url)
            await in_thread(server.ended.acquire)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_a_forgotten_client_leaves_no_descriptor(self):
        async def main(server):
            from pyfastloop.httpclient import AsyncHTTPClient

            client = AsyncHTTPClient(force_instance=True)
            await client.fetch(server.url)
            del client
            import gc

            gc.collect()
            await in_thread(server.ended.acquire)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)


class TestQueue:
    def test_no_more_than_max_clients_at_once(self):
        async def main(server):
            with client_of_test(max_clients=2) as http:
                futures = [http.fetch(server.url) for _ in range(6)]
                assert len(http.active) == 2
                assert len(http.queue) == len(http.waiting) == 4
                responses = await gen.multi(futures)
                assert not http.active
                assert not http.queue
                assert not http.waiting
                return responses

        with RawServer(serve_answers(ok())) as server:
            responses = run(main, server)
        assert server.accepted == 2
        assert responses[-1].time_info["queue"] > 0

    def test_time_out_in_the_queue(self):
        async def main(server, arrived):
            with client_of_test(max_clients=1) as http:
                first = http.fetch(server.url)
                with pytest.raises(HTTPTimeoutError, match="in request queue") as e:
                    await http.fetch(server.url, connect_timeout=0.01)
                assert "max_clients=1" in str(e.value)
                assert len(http.queue) == len(http.waiting) == 0
                arrived.set()
                await first

        arrived = threading.Event()

        def serve(conn, server):
            server.request(conn)
            arrived.wait(SECONDS)
            conn.sendall(ok())

        with RawServer(serve) as server:
            run(main, server, arrived)

    def test_errors_free_their_slot(self):
        async def main(server):
            with client_of_test(max_clients=1) as http:
                for url in ("ftp://host/", "http://", "http://127.0.0.1:1/"):
                    with pytest.raises((ValueError, OSError)):
                        await http.fetch(url)
                with pytest.raises(KeyError):
                    await http.fetch(server.url, method="ODD")
                assert not http.active
                await http.fetch(server.url)

        with RawServer(serve_answers(ok())) as server:
            run(main, server)

    def test_closing_the_client_ends_what_is_under_way(self):
        async def main(server, arrived):
            with client_of_test(max_clients=1) as http:
                http.fetch(server.url)
                http.fetch(server.url)
                await in_thread(arrived.wait)
            await in_thread(server.ended.acquire)

        arrived = threading.Event()

        def serve(conn, server):
            server.request(conn)
            arrived.set()
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server, arrived)


class NeverResolves(Resolver):
    @classmethod
    def configurable_base(cls):
        return NeverResolves

    @classmethod
    def configurable_default(cls):
        return NeverResolves

    def initialize(self):
        pass

    async def resolve(self, host, port, family=socket.AF_UNSPEC):
        await asyncio.get_running_loop().create_future()


class TestTimeouts:
    def test_while_resolving(self):
        async def main():
            with client_of_test(resolver=NeverResolves()) as http:
                with pytest.raises(HTTPTimeoutError) as caught:
                    await http.fetch("http://host.test/", connect_timeout=0.01)
                assert not http.active
                return str(caught.value)

        text = run(main)
        assert text.startswith("Timeout while resolving")
        assert "http://host.test" in text

    def test_while_connecting(self):
        # A backlog of one that is full: the kernel drops further SYNs.
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            fillers = []
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            for seconds in longer_and_longer(0.05):
                url = f"http://127.0.0.1:{port}/"
                error = fetch_error(url, connect_timeout=seconds)
                if "resolving" not in str(error):
                    break
            for filler in fillers:
                filler.close()
        assert isinstance(error, HTTPTimeoutError)
        assert "Timeout while connecting" in str(error)

    def test_during_the_tls_handshake(self):
        begun = threading.Event()

        def serve(conn, server):
            if conn.recv(1):
                begun.set()
            while conn.recv(4096):
                pass

        for seconds in longer_and_longer(0.1):
            begun.clear()
            with RawServer(serve) as server:
                error = fetch_error(
                    f"https://localhost:{server.port}/", connect_timeout=seconds
                )
            assert isinstance(error, HTTPTimeoutError)
            if begun.is_set():
                break
        assert "during the TLS handshake" in str(error)

    def test_waiting_for_the_answer(self):
        def serve(conn, server):
            server.request(conn)
            assert conn.recv(1) == b""

        for seconds in longer_and_longer(0.05):
            with RawServer(serve) as server:
                error = fetch_error(server.url, request_timeout=seconds)
            assert isinstance(error, HTTPTimeoutError)
            if server.heads:
                break
        assert error.code == 599
        assert str(error).startswith("Timeout during request")
        assert f"127.0.0.1:{server.port}" in str(error)

    def test_in_the_middle_of_a_body(self):
        for seconds in longer_and_longer(0.1):
            pieces = []
            with RawServer(serve_half) as server:
                error = fetch_error(
                    server.url,
                    request_timeout=seconds,
                    streaming_callback=pieces.append,
                )
            assert isinstance(error, HTTPTimeoutError)
            if pieces:
                break
        assert pieces == [b"abc"]
        assert "reading the body" in str(error)

    def test_redirects_count_against_the_same_limit(self):
        def serve(conn, server):
            while server.request(conn):
                conn.sendall(redirect("/again"))

        for seconds in longer_and_longer(0.1):
            with RawServer(serve) as server:
                error = fetch_error(
                    server.url, request_timeout=seconds, max_redirects=10**9
                )
            assert isinstance(error, HTTPTimeoutError)
            if len(server.heads) > 1:
                break

    def test_inactivity(self):
        for seconds in longer_and_longer(0.05):
            pieces = []
            with RawServer(serve_half) as server:
                error = fetch_error(
                    server.url,
                    inactivity_timeout=seconds,
                    streaming_callback=pieces.append,
                )
            assert isinstance(error, HTTPTimeoutError)
            assert "inactivity_timeout" in str(error)
            if pieces:
                break

    def test_zero_is_none(self):
        with RawServer(serve_answers(ok())) as server:
            fetch(server.url, connect_timeout=0, request_timeout=0)

    def test_the_text_without_a_message(self):
        assert str(HTTPTimeoutError("")) == "Timeout"
        assert str(HTTPStreamClosedError("")) == "Stream closed"


class TestRequests:
    def head(self, **kwargs):
        path = kwargs.pop("path", "")
        with RawServer(serve_answers(ok())) as server:
            fetch(server.url + path, **kwargs)
        return server.heads[0]

    def test_a_plain_get(self):
        head = self.head()
        lines = head.decode().split("\r\n")
        assert lines[0] == "GET / HTTP/1.1"
        assert lines[1].startswith("Host: 127.0.0.1:")
        assert header(head, "User-Agent").startswith("pyfastloop/")
        assert "gzip" in header(head, "Accept-Encoding")
        assert header(head, "Connection") is None

    def test_user_agent(self):
        assert header(self.head(user_agent="me"), "User-Agent") == "me"
        assert header(self.head(headers={"User-Agent": "mine"}), "User-Agent") == "mine"
        head = self.head(client={"defaults": {"user_agent": "default"}})
        assert header(head, "User-Agent") == "default"

    def test_no_decompression_is_not_offered(self):
        assert header(self.head(decompress_response=False), "Accept-Encoding") is None

    def test_paths_are_made_sendable(self):
        head = self.head(path="a b/ä?q=1 2&x=%20")
        assert head.startswith(b"GET /a%20b/%C3%A4?q=1%202&x=%20 HTTP/1.1\r\n")

    def test_a_fragment_stays_here(self):
        assert self.head(path="a#frag").startswith(b"GET /a HTTP/1.1\r\n")

    def test_host_of_the_caller(self):
        head = self.head(headers={"host": "other.test"})
        assert head.lower().count(b"host:") == 1
        assert header(head, "Host") == "other.test"

    @pytest.mark.parametrize("name", ["X\r\nY", "X Y", "", "X:"])
    def test_bad_header_names_are_refused(self, name):
        assert isinstance(
            fetch_error("http://127.0.0.1:1/", headers={name: "v"}), ValueError
        )

    @pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\0b", "a\rb"])
    def test_no_header_can_be_injected(self, value):
        assert isinstance(
            fetch_error("http://127.0.0.1:1/", headers={"X": value}), ValueError
        )
        assert isinstance(
            fetch_error("http://127.0.0.1:1/", user_agent=value), ValueError
        )

    def test_no_method_can_inject(self):
        error = fetch_error(
            "http://127.0.0.1:1/",
            method="GET / HTTP/1.1\r\nX:",
            allow_nonstandard_methods=True,
        )
        assert isinstance(error, ValueError)

    def test_basic_auth(self):
        def basic(user, password):
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

        head = self.head(auth_username="Aladdin", auth_password="öpen")
        assert header(head, "Authorization") == basic("Aladdin", "öpen")
        head = self.head(auth_username="only", auth_mode="basic")
        assert header(head, "Authorization") == basic("only", "")

    def test_auth_of_the_url(self):
        with RawServer(serve_answers(ok())) as server:
            fetch(f"http://us%40er:p%3Aw@127.0.0.1:{server.port}/")
        assert (
            base64.b64decode(header(server.heads[0], "Authorization")[6:])
            == b"us@er:p:w"
        )
        assert b"us%40er" not in server.heads[0]

    def test_unknown_auth_mode(self):
        error = fetch_error(
            "http://127.0.0.1:1/", auth_username="a", auth_mode="digest"
        )
        assert isinstance(error, ValueError)
        assert "unsupported auth_mode digest" in str(error)

    def test_if_modified_since(self):
        head = self.head(if_modified_since=784111777)
        assert header(head, "If-Modified-Since") == "Sun, 06 Nov 1994 08:49:37 GMT"

    def test_headers_as_pairs(self):
        head = self.head(headers=[("X-Mine", "1"), ("Host", "other.test")])
        assert header(head, "X-Mine") == "1"
        assert head.count(b"Host:") == 1
        assert header(head, "Host") == "other.test"

    def test_white_space_around_a_value_is_left_out(self):
        headers = httputil.HTTPHeaders()
        headers["X-Mine"] = "\t1 "
        assert b"\r\nX-Mine: 1\r\n" in self.head(headers=headers)
        assert b"\r\nX-Mine: 1\r\n" in self.head(headers={"X-Mine": " 1 "})

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_bodies(self, method):
        with RawServer(serve_answers(ok())) as server:
            fetch(server.url, method=method, body="schön")
        assert server.bodies == ["schön".encode()]
        assert header(server.heads[0], "Content-Length") == "6"

    def test_form_is_the_default_type_of_post(self):
        head = self.head(method="POST", body=b"a=b")
        assert header(head, "Content-Type") == "application/x-www-form-urlencoded"
        head = self.head(
            method="POST", body=b"{}", headers={"Content-Type": "application/json"}
        )
        assert header(head, "Content-Type") == "application/json"

    def test_an_empty_body_has_a_length(self):
        assert header(self.head(method="POST", body=b""), "Content-Length") == "0"

    @pytest.mark.parametrize(
        "arguments",
        [
            {"method": "GET", "body": b"x"},
            {"method": "DELETE", "body": b"x"},
            {"method": "POST"},
            {"method": "PUT"},
            {"method": "POST", "body": b"x", "body_producer": lambda write: None},
            {"headers": {"Content-Length": "5"}},
            {"headers": {"Transfer-Encoding": "chunked"}},
            {
                "method": "POST",
                "body": b"x",
                "headers": {"Transfer-Encoding": "chunked"},
            },
            {"network_interface": "eth0"},
            {"proxy_host": "proxy.test"},
        ],
    )
    def test_what_cannot_be_sent(self, arguments):
        error = fetch_error("http://127.0.0.1:1/", **arguments)
        assert isinstance(error, ValueError), error

    def test_unknown_methods(self):
        error = fetch_error("http://127.0.0.1:1/", method="ODD")
        assert isinstance(error, KeyError)
        assert "unknown method ODD" in str(error)

    def test_nonstandard_methods(self):
        with RawServer(serve_answers(ok())) as server:
            fetch(
                server.url, method="ODD", body=b"body", allow_nonstandard_methods=True
            )
            fetch(server.url, method="POST", allow_nonstandard_methods=True)
        assert server.heads[0].startswith(b"ODD / HTTP/1.1")
        assert server.bodies == [b"body", b""]

    def test_prepare_curl_callback(self):
        error = fetch_error(
            "http://127.0.0.1:1/", prepare_curl_callback=lambda curl: None
        )
        assert isinstance(error, NotImplementedError)

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://host/",
            "//host/",
            "",
            "http:///path",
            "http://[::1",
            "http://h:99999/",
            "http://h:x/",
            "http://a b/",
        ],
    )
    def test_bad_urls(self, url):
        assert isinstance(fetch_error(url), ValueError)

    def test_a_url_as_bytes(self):
        with RawServer(serve_answers(ok(b"body"))) as server:
            response = fetch(server.url.encode())
        assert response.body == b"body"
        assert response.effective_url == server.url
        assert isinstance(fetch_error(5), TypeError)

    def test_idna(self):
        assert parse_url("http://bücher.test/").host == "xn--bcher-kva.test"

    def test_ipv6_hosts(self):
        target = parse_url("http://[::1]:8080/x")
        assert (target.host, target.port) == ("::1", 8080)
        assert target.authority == "[::1]:8080"

    def test_hostname_mapping(self):
        with RawServer(serve_answers(ok())) as server:
            response = fetch(
                "http://www.mapped.test/",
                client={
                    "hostname_mapping": {
                        ("www.mapped.test", 80): ("127.0.0.1", server.port)
                    }
                },
            )
        assert response.code == 200
        assert header(server.heads[0], "Host") == "www.mapped.test"

    def test_allow_ipv6_false(self):
        families = []

        class Noting(NeverResolves):
            async def resolve(self, host, port, family=socket.AF_UNSPEC):
                families.append(family)
                return [(socket.AF_INET, ("127.0.0.1", port))]

        with RawServer(serve_answers(ok())) as server:
            url = f"http://x.test:{server.port}/"
            fetch(url, allow_ipv6=False, client={"resolver": Noting()})
            fetch(url, client={"resolver": Noting()})
        assert families == [socket.AF_INET, socket.AF_UNSPEC]

    def test_refused(self):
        error = fetch_error("http://127.0.0.1:1/")
        assert isinstance(error, ConnectionRefusedError)
        assert error.errno == 111
        assert "127.0.0.1:1" in str(error)

    def test_names_that_do_not_resolve(self):
        class Fails(NeverResolves):
            async def resolve(self, host, port, family=socket.AF_UNSPEC):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        error = fetch_error("http://no.test/", client={"resolver": Fails()})
        assert isinstance(error, socket.gaierror)
        assert "no.test" in str(error)


class TestProducers:
    def upload(self, producer, **kwargs):
        with RawServer(serve_answers(ok())) as server:
            fetch(server.url, method="POST", body_producer=producer, **kwargs)
        return server.heads[0], server.bodies[0]

    def test_a_coroutine(self):
        async def producer(write):
            await write(b"first ")
            await asyncio.sleep(0)
            await write(b"second")

        head, body = self.upload(producer)
        assert body == b"first second"
        assert header(head, "Transfer-Encoding") == "chunked"
        assert header(head, "Content-Length") is None

    def test_a_generator_coroutine(self):
        @gen.coroutine
        def producer(write):
            yield write(b"gen")
            yield gen.moment

        assert self.upload(producer)[1] == b"gen"

    def test_a_plain_function(self):
        def producer(write):
            write(b"plain")

        assert self.upload(producer)[1] == b"plain"

    def test_with_a_length(self):
        async def producer(write):
            await write(b"12345")

        head, body = self.upload(producer, headers={"Content-Length": "5"})
        assert body == b"12345"
        assert header(head, "Transfer-Encoding") is None

    @pytest.mark.parametrize("length", [4, 6])
    def test_a_length_that_is_wrong(self, length):
        async def producer(write):
            await write(b"12345")

        def serve(conn, server):
            while conn.recv(4096):
                pass

        with RawServer(serve) as server:
            error = fetch_error(
                server.url,
                method="POST",
                body_producer=producer,
                headers={"Content-Length": str(length)},
            )
        assert isinstance(error, ValueError)
        assert "Content-Length" in str(error)

    def test_its_exception_is_the_fetchs(self):
        async def producer(write):
            await write(b"x")
            raise ZeroDivisionError("mine")

        def serve(conn, server):
            while conn.recv(4096):
                pass

        with RawServer(serve) as server:
            error = fetch_error(server.url, method="POST", body_producer=producer)
        assert isinstance(error, ZeroDivisionError)

    @pytest.mark.parametrize("headers", [{}, {"Content-Length": "12"}])
    def test_its_pieces_count_by_bytes(self, headers):
        async def producer(write):
            await write(memoryview(array.array("I", [1, 2])))
            await write(bytearray(b"last"))

        body = self.upload(producer, headers=headers)[1]
        assert body == array.array("I", [1, 2]).tobytes() + b"last"

    def test_one_that_is_cancelled_ends_the_fetch(self):
        async def producer(write):
            await write(b"x")
            raise asyncio.CancelledError

        def serve(conn, server):
            while conn.recv(4096):
                pass

        with RawServer(serve) as server:
            error = fetch_error(
                server.url, method="POST", body_producer=producer, request_timeout=0
            )
        assert isinstance(error, HTTPStreamClosedError)
        assert "body_producer was cancelled" in str(error)

    def test_a_connection_is_used_again_after_it(self):
        async def producer(write):
            await write(b"x" * 100000)

        with RawServer(serve_answers(ok())) as server:
            fetch_all([server.url] * 3, method="POST", body_producer=producer)
        assert server.accepted == 1

    def test_an_answer_before_the_body_ends_it(self):
        stopped = threading.Event()

        async def producer(write):
            try:
                while True:
                    await write(b"x" * 1000)
                    await asyncio.sleep(0)
            finally:
                stopped.set()

        def serve(conn, server):
            read_head(conn)
            read_exactly(conn, 1)  # the producer is at it
            conn.sendall(ok(b"enough", status="413 Too much"))
            with socket.socket():
                while conn.recv(65536):
                    pass

        async def main():
            with client_of_test() as client, pytest.raises(HTTPClientError) as caught:
                await client.fetch(server.url, method="POST", body_producer=producer)
            while not stopped.is_set():
                await asyncio.sleep(0)
            return caught.value

        with RawServer(serve) as server:
            error = run(main)
        assert error.code == 413


class TestContinue:
    def test_the_body_waits_for_100(self):
        def serve(conn, server):
            head = read_head(conn)
            assert header(head, "Expect") == "100-continue"
            conn.setblocking(False)
            with pytest.raises(BlockingIOError):
                conn.recv(1)
            conn.settimeout(SECONDS)
            conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert read_body(conn, head) == b"body"
            conn.sendall(ok())
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            fetch(server.url, method="POST", body=b"body", expect_100_continue=True)

    def test_a_producer_waits_too(self):
        async def producer(write):
            await write(b"produced")

        def serve(conn, server):
            head = read_head(conn)
            conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert read_body(conn, head) == b"produced"
            conn.sendall(ok())
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            fetch(
                server.url,
                method="POST",
                body_producer=producer,
                expect_100_continue=True,
            )

    def test_a_final_answer_instead(self):
        def serve(conn, server):
            read_head(conn)
            conn.sendall(ok(b"no", status="417 No"))
            assert conn.recv(1) == b""  # no body, and the connection ends

        with RawServer(serve) as server:
            error = fetch_error(
                server.url, method="POST", body=b"body", expect_100_continue=True
            )
        assert error.code == 417

    def test_a_server_that_knows_nothing_of_it(self):
        with RawServer(serve_answers(ok())) as server:
            fetch(server.url, method="POST", body=b"body", expect_100_continue=True)
        assert server.bodies == [b"body"]


class TestAnswers:
    def answer(self, answer, **kwargs):
        with RawServer(serve_answers(answer, close=True)) as server:
            return fetch(server.url, **kwargs)

    @pytest.mark.parametrize("size", [0, 1, 1000, 65535, 65536, 65537, 3_000_000])
    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    @pytest.mark.parametrize("streamed", [False, True])
    def test_bodies_of_any_size(self, size, framing, streamed):
        body = bytes(i * 7 % 251 for i in range(256)) * (size // 256 + 1)
        body = body[:size]
        if framing == "length":
            answer = ok(body)
        elif framing == "close":
            answer = b"HTTP/1.1 200 OK\r\n\r\n" + body
        else:
            answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            for at in range(0, size, 50000):
                piece = body[at : at + 50000]
                answer += b"%x\r\n%b\r\n" % (len(piece), piece)
            answer += b"0\r\n\r\n"
        pieces = []
        kwargs = {"streaming_callback": pieces.append} if streamed else {}
        response = self.answer(answer, **kwargs)
        if streamed:
            assert b"".join(pieces) == body
            assert all(0 < len(piece) <= 65536 for piece in pieces)
            assert response.body == b""
        else:
            assert response.body == body

    def test_head(self):
        with RawServer(
            serve_answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        ) as server:
            found, _ = fetch_all([server.url] * 2, method="HEAD")
        assert found[0].headers["Content-Length"] == "1000"
        assert found[0].body == b""
        assert server.accepted == 1

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_no_body_follows(self, status):
        answer = f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n".encode()
        with RawServer(serve_answers(answer)) as server:
            found, _ = fetch_all([server.url] * 2, raise_error=False)
        assert [response.code for response in found] == [int(status[:3])] * 2
        assert server.accepted == 1

    def test_interim_answers_are_skipped(self):
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        answer = b"HTTP/1.1 100 Continue\r\n\r\n" + early + ok(b"final", "A: b")
        response = self.answer(answer)
        assert response.code == 200
        assert response.body == b"final"
        assert "Link" not in response.headers

    def test_header_callback(self):
        lines = []
        response = self.answer(
            ok(b"x", "A: 1", "A: 2", "B: 3", status="200 Fine"),
            header_callback=lines.append,
        )
        assert lines == [
            "HTTP/1.1 200 Fine\r\n",
            "Content-Length: 1\r\n",
            "A: 1\r\n",
            "A: 2\r\n",
            "B: 3\r\n",
            "\r\n",
        ]
        assert response.body == b"x"

    @pytest.mark.parametrize("name", ["header_callback", "streaming_callback"])
    def test_an_exception_in_a_callback_is_the_fetchs(self, name):
        def broken(data):
            raise ZeroDivisionError("mine")

        with RawServer(serve_answers(ok())) as server:
            error = fetch_error(server.url, **{name: broken})
        assert isinstance(error, ZeroDivisionError)

    def test_an_exception_in_an_asynchronous_callback(self):
        async def broken(data):
            await asyncio.sleep(0)
            raise ZeroDivisionError("mine")

        with RawServer(serve_answers(ok())) as server:
            error = fetch_error(server.url, streaming_callback=broken)
        assert isinstance(error, ZeroDivisionError)

    def test_a_callback_may_return_anything(self, tmp_path):
        with (tmp_path / "out").open("wb") as out:
            self.answer(ok(b"written"), streaming_callback=out.write)
        assert (tmp_path / "out").read_bytes() == b"written"

    def test_a_slow_callback_holds_the_server_back(self):
        sent = []

        async def main(server):
            with client_of_test() as http:
                release = asyncio.get_running_loop().create_future()
                held = asyncio.get_running_loop().create_future()
                total = 0

                async def slowly(chunk):
                    nonlocal total
                    total += len(chunk)
                    if not held.done():
                        held.set_result(None)
                        await release

                fetching = http.fetch(server.url, streaming_callback=slowly)
                await held
                # The server stands still once the buffers of the kernel are full.
                before = -1
                while len(sent) != before:
                    before = len(sent)
                    await in_thread(stalled.wait, 0.3)
                assert sum(sent) < size
                assert total <= 65536
                release.set_result(None)
                await fetching
                assert total == size

        size = 64 * 1024 * 1024
        stalled = threading.Event()

        def serve(conn, server):
            server.request(conn)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            block = bytes(65536)
            for _ in range(size // 65536):
                conn.sendall(block)
                sent.append(65536)
            assert conn.recv(1) == b""

        with RawServer(serve) as server:
            run(main, server)

    # A head is read in bites of 16 KiB, 4 MiB of a promise are believed at once.
    @pytest.mark.parametrize("tls", [False, True])
    @pytest.mark.parametrize(
        "size", [16_000, 16_384, 262_144, 4 << 20, (4 << 20) + 1, (9 << 20) + 7]
    )
    def test_a_body_of_any_size_is_whole(self, size, tls):
        body = (bytes(range(251)) * (size // 251 + 1))[:size]

        def serve(conn, server):
            for cut in (100, size // 2, size):
                server.request(conn)
                answer = ok(body)
                conn.sendall(answer[:cut])
                conn.sendall(answer[cut:])

        kwargs = {"ca_certs": CERTIFICATE} if tls else {}
        with RawServer(serve, server_tls() if tls else None) as server:
            found, _ = fetch_all([server.url] * 3, **kwargs)
            assert server.accepted == 1
        assert [answer.body == body for answer in found] == [True] * 3
        assert found[0].buffer.read() == body

    def test_max_body_size(self):
        for answer in (
            ok(b"x" * 1001),
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"
            + b"x" * 1001
            + b"\r\n0\r\n\r\n",
        ):
            with RawServer(serve_answers(answer, close=True)) as server:
                error = fetch_error(server.url, client={"max_body_size": 1000})
            assert isinstance(error, HTTPStreamClosedError)
            assert "max_body_size" in str(error)
            with RawServer(serve_answers(answer, close=True)) as server:
                fetch(server.url, client={"max_body_size": 1001})

    def test_max_header_size(self):
        answer = ok(b"", "X: " + "y" * 2000)
        with RawServer(serve_answers(answer)) as server:
            error = fetch_error(server.url, client={"max_header_size": 1000})
            assert isinstance(error, HTTPStreamClosedError)
            fetch(server.url, client={"max_header_size": 4000})

    def test_malformed_answers_are_logged(self, caplog):
        with (
            caplog.at_level(logging.INFO),
            RawServer(serve_answers(b"junk\r\n\r\n")) as server,
        ):
            fetch_error(server.url)
        assert any(
            record.name == "tornado.general"
            and record.levelno == logging.INFO
            and record.getMessage().startswith("Malformed HTTP message from")
            for record in caplog.records
        )

    def test_a_quiet_run_logs_nothing(self, caplog):
        with (
            caplog.at_level(logging.INFO),
            RawServer(serve_answers(redirect("/x"), ok())) as server,
        ):
            fetch_all([server.url] * 3)
        assert not [r for r in caplog.records if r.name.startswith("tornado")]


class TestDecompression:
    def coded(self, body, *headers, **kwargs):
        answer = ok(body, *headers)
        with RawServer(serve_answers(answer)) as server:
            return fetch(server.url, **kwargs)

    @pytest.mark.parametrize("size", [1, 1000, 65536, 5_000_000])
    @pytest.mark.parametrize("streamed", [False, True])
    def test_gzip(self, size, streamed):
        body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        pieces = []
        kwargs = {"streaming_callback": pieces.append} if streamed else {}
        response = self.coded(gzip.compress(body), "Content-Encoding: gzip", **kwargs)
        if streamed:
            assert b"".join(pieces) == body
            assert max(map(len, pieces)) <= 65536
        else:
            assert response.body == body
        assert "Content-Encoding" not in response.headers
        assert response.headers["X-Consumed-Content-Encoding"] == "gzip"

    def test_not_wanted(self):
        coded = gzip.compress(b"x")
        response = self.coded(
            coded, "Content-Encoding: gzip", decompress_response=False
        )
        assert response.body == coded
        assert response.headers["Content-Encoding"] == "gzip"

    def test_unknown_codings_stay(self):
        response = self.coded(b"x", "Content-Encoding: odd")
        assert response.body == b"x"
        assert response.headers["Content-Encoding"] == "odd"

    def test_head_of_a_coded_body(self):
        with RawServer(
            serve_answers(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                b"Content-Length: 5\r\n\r\n"
            )
        ) as server:
            assert fetch(server.url, method="HEAD").body == b""

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        "coded",
        [
            gzip.compress(b"body")[:-3],
            b"not gzip at all",
            gzip.compress(b"body") + b"rubbish",
            gzip.compress(b"a") * 17,
        ],
        ids=["cut", "none", "rubbish", "many members"],
    )
    def test_bad_codings(self, coded, streamed):
        kwargs = {"streaming_callback": lambda chunk: None} if streamed else {}
        answer = ok(coded, "Content-Encoding: gzip")
        with RawServer(serve_answers(answer)) as server:
            error = fetch_error(server.url, **kwargs)
        assert isinstance(error, HTTPStreamClosedError)
        assert f"127.0.0.1:{server.port}" in str(error)

    def test_members_and_padding(self):
        body = gzip.compress(b"one") + gzip.compress(b"two") + bytes(10)
        assert self.coded(body, "Content-Encoding: gzip").body == b"onetwo"

    @pytest.mark.parametrize("streamed", [False, True])
    def test_a_bomb_stops_at_the_limit(self, streamed):
        bomb = gzip.compress(bytes(50_000_000))
        got = []
        kwargs = {"streaming_callback": got.append} if streamed else {}
        with RawServer(serve_answers(ok(bomb, "Content-Encoding: gzip"))) as server:
            error = fetch_error(
                server.url, client={"max_body_size": 1_000_000}, **kwargs
            )
        assert isinstance(error, HTTPStreamClosedError)
        assert "max_body_size" in str(error)
        assert sum(map(len, got)) <= 1_000_000

    def test_the_loop_has_its_turns_while_inflating(self):
        async def main(server):
            with client_of_test() as http:
                fetching = http.fetch(server.url)
                turns = 0
                while not fetching.done():
                    turns += 1
                    await asyncio.sleep(0)
                assert len(fetching.result().body) == 20_000_000
                return turns

        bomb = gzip.compress(bytes(20_000_000))
        with RawServer(serve_answers(ok(bomb, "Content-Encoding: gzip"))) as server:
            assert run(main, server) >= 20_000_000 // 65536

    @pytest.mark.skipif(
        importlib.util.find_spec("brotli") is None, reason="brotli is not installed"
    )
    def test_brotli(self):
        import brotli

        body = b"brotli" * 100_000
        response = self.coded(brotli.compress(body), "Content-Encoding: br")
        assert response.body == body

    @pytest.mark.skipif(
        importlib.util.find_spec("backports.zstd") is None
        if importlib.util.find_spec("backports")
        else True,
        reason="backports.zstd is not installed",
    )
    def test_zstd(self):
        from backports import zstd

        body = b"zstd" * 100_000
        response = self.coded(zstd.compress(body), "Content-Encoding: zstd")
        assert response.body == body

    @pytest.mark.parametrize("step", [1, 2, 7, 100])
    def test_any_split_of_the_input(self, step):
        body = bytes(range(256)) * 20
        coded = gzip.compress(body[:2000]) + gzip.compress(body[2000:])
        inflater = make_inflater("gzip", len(body))
        out = b"".join(
            piece
            for at in range(0, len(coded), step)
            for piece in inflater.feed(coded[at : at + step])
        )
        inflater.finish()
        assert out == body

    def test_the_limit_is_exact(self):
        coded = gzip.compress(bytes(1000))
        inflater = make_inflater("gzip", 1000)
        assert b"".join(inflater.feed(coded)) == bytes(1000)
        inflater = make_inflater("gzip", 999)
        with pytest.raises(CodingError):
            list(inflater.feed(coded))

    def test_raw_zlib_is_no_gzip(self):
        with pytest.raises(CodingError):
            list(make_inflater("gzip", 99).feed(zlib.compress(b"x")))


class TestRedirects:
    def test_followed_over_one_connection(self):
        with RawServer(
            serve_answers(redirect("/a"), redirect("b?c", 307), ok(b"end"))
        ) as server:
            response = fetch(server.url)
        assert response.body == b"end"
        assert response.effective_url == server.url + "b?c"
        assert response.request.url == server.url
        assert response.time_info["redirect"] > 0
        assert server.accepted == 1

    def test_not_followed(self):
        with RawServer(serve_answers(redirect("/a"))) as server:
            error = fetch_error(server.url, follow_redirects=False)
            assert error.code == 302
            assert error.response.headers["Location"] == "/a"
            response = fetch(server.url, follow_redirects=False, raise_error=False)
            assert response.code == 302

    def test_in_a_circle(self):
        with RawServer(serve_answers(redirect("/"))) as server:
            error = fetch_error(server.url, max_redirects=3)
        assert isinstance(error, HTTPClientError)
        assert error.code == 302
        assert len(server.heads) == 4

    def test_without_a_location(self):
        with RawServer(serve_answers(ok(status="302 Found"))) as server:
            assert fetch_error(server.url).code == 302

    @pytest.mark.parametrize(
        "code, method, then",
        [
            (301, "GET", "GET"),
            (301, "HEAD", "HEAD"),
            (301, "POST", "GET"),
            (301, "PUT", "PUT"),
            (302, "GET", "GET"),
            (302, "HEAD", "HEAD"),
            (302, "POST", "GET"),
            (302, "PUT", "PUT"),
            (302, "DELETE", "DELETE"),
            (303, "GET", "GET"),
            (303, "HEAD", "HEAD"),
            (303, "POST", "GET"),
            (303, "PUT", "GET"),
            (303, "DELETE", "GET"),
            (307, "GET", "GET"),
            (307, "POST", "POST"),
            (307, "PUT", "PUT"),
            (308, "GET", "GET"),
            (308, "POST", "POST"),
            (308, "DELETE", "DELETE"),
        ],
    )
    def test_methods(self, code, method, then):
        body = b"payload" if method in ("POST", "PUT") else None
        kept = body is not None and then == method
        end = b"" if then == "HEAD" else b"end"
        with RawServer(serve_answers(redirect("/to", code), ok(end))) as server:
            response = fetch(
                server.url,
                method=method,
                body=body,
                headers={"Content-Type": "text/plain"} if body else None,
            )
        assert response.code == 200
        assert server.heads[1].startswith(f"{then} /to HTTP/1.1\r\n".encode())
        assert server.bodies[1] == (body if kept else b"")
        assert (header(server.heads[1], "Content-Type") is not None) == kept
        if not kept:
            assert header(server.heads[1], "Content-Length") is None

    def test_a_producer_is_asked_again(self):
        calls = []

        async def producer(write):
            calls.append(1)
            await write(b"body")

        with RawServer(serve_answers(redirect("/to", 307), ok())) as server:
            fetch(server.url, method="POST", body_producer=producer)
        assert server.bodies == [b"body", b"body"]
        assert len(calls) == 2

    def credentials(self, same_origin):
        kwargs = {
            "headers": {
                "Authorization": "Bearer secret",
                "Cookie": "a=b",
                "Proxy-Authorization": "Basic x",
                "X-Other": "kept",
                "Host": "spoofed.test",
            }
        }
        with RawServer(serve_answers(ok())) as there:
            target = "/to" if same_origin else there.url
            with RawServer(serve_answers(redirect(target), ok())) as here:
                fetch(here.url, **kwargs)
        return here.heads[1] if same_origin else there.heads[0]

    def test_credentials_stay_within_an_origin(self):
        head = self.credentials(True)
        assert header(head, "Authorization") == "Bearer secret"
        assert header(head, "Cookie") == "a=b"
        assert header(head, "X-Other") == "kept"

    def test_credentials_are_dropped_across_origins(self):
        head = self.credentials(False)
        assert header(head, "Authorization") is None
        assert header(head, "Cookie") is None
        assert header(head, "Proxy-Authorization") is None
        assert header(head, "X-Other") == "kept"
        assert header(head, "Host").startswith("127.0.0.1:")

    def test_user_and_password_are_dropped_too(self):
        with (
            RawServer(serve_answers(ok())) as there,
            RawServer(serve_answers(redirect(there.url))) as here,
        ):
            fetch(here.url, auth_username="u", auth_password="p")
            fetch(f"http://u:p@127.0.0.1:{here.port}/")
        assert header(here.heads[0], "Authorization") is not None
        assert header(here.heads[1], "Authorization") is not None
        assert [header(head, "Authorization") for head in there.heads] == [None, None]

    def test_the_urls_user_stays_within_an_origin(self):
        with RawServer(serve_answers(redirect("/to"), ok())) as server:
            fetch(f"http://u:p@127.0.0.1:{server.port}/")
        assert header(server.heads[1], "Authorization") == "Basic dTpw"

    def location_with_a_user(self, host, **kwargs):
        def serve(conn, server):
            while server.request(conn):
                to = f"http://x:y@{host}:{server.port}/to"
                conn.sendall(redirect(to) if len(server.heads) == 1 else ok())

        with RawServer(serve) as server:
            response = fetch(
                server.url,
                client={"hostname_mapping": {"other.test": "127.0.0.1"}},
                **kwargs,
            )
        assert response.effective_url == f"http://{host}:{server.port}/to"
        return header(server.heads[1], "Authorization")

    @pytest.mark.parametrize("host", ["127.0.0.1", "other.test"])
    def test_a_server_does_not_choose_the_user(self, host):
        assert self.location_with_a_user(host) is None

    def test_the_programs_user_stays(self):
        token = {"Authorization": "Bearer secret"}
        here = "127.0.0.1"
        assert self.location_with_a_user(here, headers=token) == "Bearer secret"
        assert self.location_with_a_user(here, auth_username="u") == "Basic dTo="
        assert self.location_with_a_user("other.test", headers=token) is None

    def test_to_another_scheme_is_an_error(self):
        with RawServer(serve_answers(redirect("file:///etc/passwd"))) as server:
            error = fetch_error(server.url)
        assert isinstance(error, ValueError)
        assert "Unsupported url scheme" in str(error)

    def test_no_callback_hears_of_them(self):
        lines, pieces = [], []
        with RawServer(
            serve_answers(redirect("/a", body=b"moved"), ok(b"end"))
        ) as server:
            fetch(
                server.url,
                header_callback=lines.append,
                streaming_callback=pieces.append,
            )
        assert lines[0] == "HTTP/1.1 200 OK\r\n"
        assert lines.count("\r\n") == 1
        assert pieces == [b"end"]

    def test_a_long_body_of_one_is_not_read_to_its_end(self):
        pieces = []

        def serve(conn, server):
            while head := server.request(conn):
                if head.startswith(b"GET / "):
                    conn.sendall(
                        b"HTTP/1.1 302 Found\r\nLocation: /to\r\n"
                        b"Content-Length: 99999999\r\n\r\n" + bytes(1_000_000)
                    )
                else:
                    conn.sendall(ok(b"end"))

        with RawServer(serve) as server:
            fetch(server.url, streaming_callback=pieces.append)
        assert b"".join(pieces) == b"end"

    def test_a_producer_stops_with_the_answer_that_redirects(self):
        pieces, ends = [], []

        async def producer(write):
            try:
                await write(b"begun")
                await asyncio.Event().wait()
            finally:
                ends.append(len(server.heads))

        def serve(conn, server):
            read_head(conn)
            sent = b""
            while b"begun" not in sent:
                piece = conn.recv(100)
                assert piece
                sent += piece
            conn.sendall(
                b"HTTP/1.1 303 See other\r\nLocation: " + there.url.encode() + b"\r\n"
                b"Content-Length: 99999999\r\n\r\n" + bytes(1_000_000)
            )

        def answer(conn, server):
            while server.request(conn):
                conn.sendall(ok(b"ended" if ends else b"runs on"))

        with RawServer(answer) as there, RawServer(serve) as server:
            fetch(
                server.url,
                method="POST",
                body_producer=producer,
                streaming_callback=pieces.append,
            )
        assert b"".join(pieces) == b"ended"


class TestTLS:
    def test_validated(self):
        with RawServer(serve_answers(ok(b"safe")), server_tls()) as server:
            found, _ = fetch_all([server.url] * 3, ca_certs=CERTIFICATE)
        assert [response.body for response in found] == [b"safe"] * 3
        assert server.accepted == 1
        assert found[0].time_info["appconnect"] > 0

    def test_an_unknown_authority(self):
        with RawServer(serve_answers(ok()), server_tls()) as server:
            error = fetch_error(server.url)
        assert isinstance(error, ssl.SSLError)
        assert "localhost" in str(error)

    def test_a_wrong_name(self):
        with RawServer(serve_answers(ok()), server_tls()) as server:
            error = fetch_error(
                f"https://wrong.test:{server.port}/",
                ca_certs=CERTIFICATE,
                client={"hostname_mapping": {"wrong.test": "127.0.0.1"}},
            )
        assert isinstance(error, ssl.SSLCertVerificationError)

    def test_not_validated(self):
        with RawServer(serve_answers(ok()), server_tls()) as server:
            assert fetch(server.url, validate_cert=False).code == 200

    def test_settings_do_not_share_connections(self):
        async def main(server):
            with client_of_test() as http:
                await http.fetch(server.url, validate_cert=False)
                await http.fetch(server.url, ca_certs=CERTIFICATE)
                await http.fetch(server.url, validate_cert=False)
                with pytest.raises(ssl.SSLError):
                    await http.fetch(server.url)

        with RawServer(serve_answers(ok()), server_tls()) as server:
            run(main, server)
        assert server.accepted == 3 + 0

    def test_ssl_options_as_a_context_and_as_a_dict(self):
        context = ssl.create_default_context(cafile=CERTIFICATE)
        with RawServer(serve_answers(ok()), server_tls()) as server:
            assert fetch(server.url, ssl_options=context).code == 200
            assert (
                fetch(
                    server.url,
                    ssl_options={
                        "cert_reqs": ssl.CERT_REQUIRED,
                        "ca_certs": CERTIFICATE,
                    },
                ).code
                == 200
            )

    def test_client_certificates(self):
        context = server_tls()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CERTIFICATE)
        seen = []

        def serve(conn, server):
            seen.append(conn.getpeercert())
            serve_answers(ok())(conn, server)

        with RawServer(serve, context) as server:
            fetch(
                server.url,
                ca_certs=CERTIFICATE,
                client_cert=CERTIFICATE,
                client_key=KEY,
            )
        assert seen[0]["subject"]

    def test_a_server_that_speaks_no_tls(self):
        def serve(conn, server):
            conn.recv(1)
            conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with RawServer(serve) as server:
            error = fetch_error(f"https://localhost:{server.port}/")
        assert isinstance(error, (ssl.SSLError, HTTPStreamClosedError))
        assert "localhost" in str(error)

    @pytest.mark.parametrize("size", [100, 40_000])
    def test_bytes_behind_an_answer_end_the_connection(self, size):
        # They came in the record of the answer's end, and a request waits for its turn.
        body = b"x" * size

        async def main(server):
            with client_of_test(max_clients=1) as http:
                return await asyncio.gather(
                    *[http.fetch(server.url, ca_certs=CERTIFICATE) for _ in range(3)]
                )

        answer = ok(body) + ok(b"unasked")
        with RawServer(serve_answers(answer), server_tls()) as server:
            found = run(main, server)
        assert [response.body for response in found] == [body] * 3
        assert server.accepted == 3

    def test_a_server_that_closes_while_a_body_is_sent(self):
        def serve(conn, server):
            read_head(conn)

        with RawServer(serve, server_tls()) as server:
            error = fetch_error(
                server.url, method="POST", body=bytes(8 << 20), ca_certs=CERTIFICATE
            )
        assert isinstance(error, HTTPStreamClosedError)

    def test_a_server_that_closes_in_the_handshake(self):
        with RawServer(lambda conn, server: conn.recv(1)) as server:
            error = fetch_error(f"https://localhost:{server.port}/")
        assert isinstance(error, (HTTPStreamClosedError, ssl.SSLError))
        assert "localhost" in str(error)

    def test_large_bodies(self):
        body = bytes(range(256)) * 10_000
        with RawServer(serve_answers(ok(body)), server_tls()) as server:
            assert fetch(server.url, validate_cert=False).body == body


class TestProxies:
    def test_http_is_asked_in_absolute_form(self):
        with RawServer(serve_answers(ok(b"proxied"))) as proxy:
            found, _ = fetch_all(
                ["http://origin.test/path?q", "http://origin.test/path?q"],
                proxy_host="127.0.0.1",
                proxy_port=proxy.port,
                proxy_username="pu",
                proxy_password="pp",
            )
        assert found[0].body == b"proxied"
        assert proxy.accepted == 1
        assert proxy.heads[0].startswith(b"GET http://origin.test/path?q HTTP/1.1\r\n")
        assert header(proxy.heads[0], "Host") == "origin.test"
        assert (
            base64.b64decode(header(proxy.heads[0], "Proxy-Authorization")[6:])
            == b"pu:pp"
        )

    def tunnel(self, conn, server):
        """CONNECT, then bytes both ways."""
        head = server.request(conn)
        assert head.startswith(b"CONNECT localhost:")
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        origin = socket.create_connection(("127.0.0.1", port))
        conn.sendall(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")

        def pump(a, b):
            try:
                while data := a.recv(65536):
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        thread = threading.Thread(target=pump, args=(origin, conn), daemon=True)
        thread.start()
        pump(conn, origin)
        thread.join(SECONDS)
        origin.close()

    def test_https_goes_through_a_tunnel(self):
        with (
            RawServer(serve_answers(ok(b"inside")), server_tls()) as origin,
            RawServer(self.tunnel) as proxy,
        ):
            found, _ = fetch_all(
                [origin.url] * 3,
                ca_certs=CERTIFICATE,
                proxy_host="127.0.0.1",
                proxy_port=proxy.port,
                proxy_username="pu",
                headers={"Secret": "for the origin"},
            )
        assert [response.body for response in found] == [b"inside"] * 3
        assert proxy.accepted == origin.accepted == 1
        assert header(proxy.heads[0], "Proxy-Authorization") is not None
        assert header(proxy.heads[0], "Secret") is None
        assert header(origin.heads[0], "Proxy-Authorization") is None
        assert header(origin.heads[0], "Secret") == "for the origin"

    @pytest.mark.parametrize("size", [0, 11, 1_000_000])
    def test_a_proxy_that_refuses(self, size):
        answer = ok(b"x" * size, status="407 Proxy Authentication Required")
        with RawServer(serve_answers(answer)) as proxy:
            error = fetch_error(
                "https://localhost:1/", proxy_host="127.0.0.1", proxy_port=proxy.port
            )
        assert isinstance(error, HTTPClientError)
        assert error.code == 407
        assert "CONNECT" in str(error)
        assert "localhost:1" in str(error)

    @pytest.mark.parametrize("answer", [b"", b"junk\r\n\r\n", b"HTTP/1.1 2"])
    def test_a_proxy_that_speaks_no_http(self, answer):
        with RawServer(serve_answers(answer, close=True)) as proxy:
            error = fetch_error(
                "https://localhost:1/", proxy_host="127.0.0.1", proxy_port=proxy.port
            )
        assert isinstance(error, HTTPStreamClosedError)
        assert "proxy" in str(error)

    def test_a_proxy_that_talks_into_the_tunnel(self):
        answer = b"HTTP/1.1 200 OK\r\n\r\nnobody asked"
        with RawServer(serve_answers(answer)) as proxy:
            error = fetch_error(
                "https://localhost:1/", proxy_host="127.0.0.1", proxy_port=proxy.port
            )
        assert isinstance(error, HTTPStreamClosedError)
        assert "the proxy sent something behind its answer" in str(error)

    def test_a_proxy_that_is_not_there(self):
        error = fetch_error("http://origin.test/", proxy_host="127.0.0.1", proxy_port=1)
        assert isinstance(error, ConnectionRefusedError)
        assert "proxy 127.0.0.1:1" in str(error)

    def test_unsupported_modes(self):
        error = fetch_error(
            "http://origin.test/",
            proxy_host="p",
            proxy_port=1,
            proxy_auth_mode="digest",
        )
        assert isinstance(error, ValueError)


def test_fetches_before_the_loop_runs():
    with RawServer(serve_answers(ok())) as server:
        io_loop = IOLoop(make_current=False)

        async def make():
            from pyfastloop.httpclient import AsyncHTTPClient

            return AsyncHTTPClient(force_instance=True)

        client = io_loop.run_sync(make)
        future = client.fetch(server.url)
        assert io_loop.run_sync(lambda: future).code == 200
        client.close()
        io_loop.close()


def test_read_exactly_helper():
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"ab")
        assert read_exactly(right, 2) == b"ab"
