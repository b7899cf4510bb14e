"""TLS connections whose end, or whose other half, comes at an odd moment."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
import time

import pytest
from aio_support import BufferedRecorder, Recorder, Reports, run, small_buffers, until
from test_tls import serving, trusting
from test_tls_more import Raw

__all__ = ["serving", "trusting"]  # fixtures

# TLS 1.2, alert, warning, close_notify: in the clear.
CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"


@pytest.mark.parametrize("greets", [False, True])
def test_close_notify_inside_a_handshake(loop, serving, trusting, greets):
    async def main():
        made, hello = [], b""
        if greets:  # then it is taken for what it says
            outgoing = ssl.MemoryBIO()
            tls = trusting.wrap_bio(ssl.MemoryBIO(), outgoing)
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            hello = outgoing.read()

        def factory():
            made.append(Recorder())
            return made[-1]

        listener = await loop.create_server(factory, "127.0.0.1", 0, ssl=serving)
        sock = socket.create_connection(listener.sockets[0].getsockname())
        sock.setblocking(False)
        await loop.sock_sendall(sock, hello + CLOSE_NOTIFY)
        with contextlib.suppress(ConnectionError):
            while await loop.sock_recv(sock, 65536):
                pass
        sock.close()
        listener.close()
        assert made[0].calls == []

    run(loop, main())


def test_close_notify_instead_of_a_server_hello(loop, trusting):
    async def main():
        here, there = socket.socketpair()
        there.sendall(CLOSE_NOTIFY)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await loop.create_connection(
                Recorder, sock=here, ssl=trusting, server_hostname="localhost"
            )
        there.close()

    run(loop, main())


@pytest.mark.parametrize("farewell", [False, True])
@pytest.mark.parametrize("kind", [Recorder, lambda: BufferedRecorder(7)])
def test_end_behind_data_that_was_held_back(loop, serving, trusting, farewell, kind):
    if kind is not Recorder and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("does not apply: asyncio loses what is left over of a small buffer")

    async def main():
        made = []

        def factory():
            protocol = kind()
            inner = protocol.connection_made

            def connection_made(transport):
                inner(transport)
                transport.pause_reading()

            protocol.connection_made = connection_made
            made.append(protocol)
            return protocol

        listener = await loop.create_server(factory, "127.0.0.1", 0, ssl=serving)
        sock = socket.create_connection(listener.sockets[0].getsockname())
        raw = Raw(sock, trusting)
        while True:
            try:
                raw.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await raw.send()
                await raw.receive()
        raw.tls.write(b"the last words")
        if farewell:
            with contextlib.suppress(ssl.SSLWantReadError):
                raw.tls.unwrap()
        await raw.send()  # with what ends the handshake
        sock.shutdown(socket.SHUT_WR)
        await until(lambda: made and "made" in made[0].calls)
        server = made[0]
        await asyncio.sleep(0)
        assert server.data == b""
        server.transport.resume_reading()
        time.sleep(0.001)  # then the loop asks the kernel first
        await server.lost
        assert server.data == b"the last words"
        assert server.calls[-2:] == ["eof", "lost"]
        raw.close()
        listener.close()

    run(loop, main())


def test_writing_resumes_after_a_handshake_that_much_waited_for(
    loop, serving, trusting
):
    if isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip(
            "does not apply: its start_tls takes no writes before the handshake"
        )

    async def main():
        here, there = socket.socketpair()
        a, _ = await loop.create_connection(Recorder, sock=here)
        small_buffers(here, there)
        raw = Raw(there, serving, server_side=True)
        inner = Recorder()
        inner.calls.append("set")
        begun = asyncio.create_task(loop.start_tls(a, inner, trusting))
        await asyncio.sleep(0)
        a.write(bytes(525_000))  # above the mark, until the kernel has a little
        assert inner.calls == ["set", "pause"]
        await raw.call(raw.tls.do_handshake)
        tls = await begun
        got = 0
        while got < 525_000:
            got += len(await raw.call(raw.tls.read, 65536))
        await until(lambda: inner.calls == ["set", "pause", "resume"])
        tls.abort()
        await inner.lost
        raw.close()

    run(loop, main())


def test_start_tls_after_the_peers_end(loop, trusting):
    async def main():
        here, there = socket.socketpair()
        a, plain = await loop.create_connection(
            lambda: Recorder(keep_open=True), sock=here
        )
        there.shutdown(socket.SHUT_WR)
        await plain.eof
        with pytest.raises(ConnectionError):
            await loop.start_tls(a, plain, trusting)
        await plain.lost
        there.close()

    run(loop, main())


def test_get_buffer_that_begins_tls(loop, serving, trusting):
    if isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("does not apply: asyncio hands the records to the wrong protocol")

    async def main():
        here, there = socket.socketpair()
        inner, begun = Recorder(), []
        inner.calls.append("set")

        class Starter(BufferedRecorder):
            def get_buffer(self, sizehint):
                if not begun:
                    coro = loop.start_tls(
                        self.transport, inner, serving, server_side=True
                    )
                    coro.send(None)  # as an eager task would
                    begun.append(coro)
                return self.memory

        await loop.create_connection(lambda: Starter(65536), sock=here)
        raw = Raw(there, trusting)
        await raw.call(raw.tls.do_handshake)
        raw.tls.write(b"hello")
        await raw.send()
        assert await inner.received(5) == b"hello"
        raw.close()
        await inner.lost
        begun[0].close()

    run(loop, main())


def test_exception_handler_that_leaves_the_loop(loop, serving, trusting):
    """The connection is over all the same."""

    def leave(loop, context):
        raise SystemExit(3)

    async def main():
        made = []

        class Broken(BufferedRecorder):
            def __init__(self):
                super().__init__(10)
                made.append(self)

            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

            def get_buffer(self, sizehint):
                raise ValueError

        listener = await loop.create_server(Broken, "127.0.0.1", 0, ssl=serving)
        sock = socket.create_connection(listener.sockets[0].getsockname())
        raw = Raw(sock, trusting)
        while True:
            try:
                raw.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await raw.send()
                await raw.receive()
        raw.tls.write(b"x")
        await raw.send()
        await until(lambda: made and made[0].calls)
        listener.close()
        loop.set_exception_handler(leave)
        return raw, made[0]

    raw, protocol = run(loop, main())
    with pytest.raises(SystemExit):
        protocol.transport.resume_reading()
        loop.run_until_complete(asyncio.sleep(5))

    async def rest():
        await protocol.lost
        raw.close()

    loop.set_exception_handler(None)
    run(loop, rest())


@pytest.mark.parametrize("secure", [False, True])
def test_transports_that_are_dropped_in_a_circle(
    loop, serving, trusting, monkeypatch, secure
):
    """The collector closes them in an order that works for their sockets, too."""
    if secure and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("does not apply: asyncio collects it when it likes")
    unraisable = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda args: unraisable.append(repr(args.exc_value))
    )

    async def main():
        here, there = socket.socketpair()
        raw = Raw(there, serving, server_side=True)
        kwargs = {"ssl": trusting, "server_hostname": "localhost"} if secure else {}
        begun = asyncio.create_task(
            loop.create_connection(Recorder, sock=here, **kwargs)
        )
        if secure:
            await raw.call(raw.tls.do_handshake)
        transport, protocol = await begun
        transport.get_extra_info("socket")
        transport.pause_reading()
        protocol.circle = here
        del begun, transport, protocol, here
        await asyncio.sleep(0)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            await asyncio.sleep(0)
            gc.collect()
        there.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while await loop.sock_recv(there, 100):
                pass
        raw.close()

    run(loop, main())
    gc.collect()
    assert unraisable == []


def test_certificate_is_asked_for_after_a_broken_record(loop, serving, trusting):
    async def main():
        seen = []

        class Asking(Recorder):
            def connection_lost(self, exc):
                seen.append(self.transport.get_extra_info("peercert", "none"))
                super().connection_lost(exc)

        here, there = socket.socketpair()
        raw = Raw(there, serving, server_side=True)
        begun = asyncio.create_task(
            loop.create_connection(
                Asking, sock=here, ssl=trusting, server_hostname="localhost"
            )
        )
        await raw.call(raw.tls.do_handshake)
        _, protocol = await begun
        await loop.sock_sendall(there, b"\x17\x03\x03\x00\x20" + bytes(32))
        assert isinstance(await protocol.lost, ssl.SSLError)
        assert len(seen) == 1
        raw.close()

    reports = Reports(loop)
    run(loop, main())
    assert reports.messages() == []
