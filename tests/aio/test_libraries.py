"""Libraries written for asyncio, on our loop, as their users run them."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyfastloop

SECONDS = 60
# For programs that are not ours: without the sanitizers that our own tests may run on.
PLAIN = {name: os.environ[name] for name in os.environ if name != "LD_PRELOAD"}


def run(coro):
    return pyfastloop.run(asyncio.wait_for(coro, SECONDS))


def wait_for_port(process, port):
    """Until somebody listens there; the process's output if it ends instead."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail("it does not listen")


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# ---- aiohttp ----


def test_aiohttp_server_and_client():
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp import web

    async def hello(request):
        return web.json_response({"path": request.path, "n": len(await request.read())})

    async def socket_echo(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(message.data.upper())
        return ws

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for i in range(100):
            await response.write(b"%d," % i * 1000)
        await response.write_eof()
        return response

    async def main():
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/hello", hello)
        app.router.add_get("/ws", socket_echo)
        app.router.add_get("/stream", stream)
        app.router.add_static("/static", Path(__file__).parent)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            for size in (0, 10, 3_000_000):
                async with session.post("/hello", data=b"x" * size) as response:
                    assert await response.json() == {"path": "/hello", "n": size}
            async with session.get("/stream") as response:
                assert len(await response.read()) == sum(
                    len(b"%d," % i) * 1000 for i in range(100)
                )
            async with session.get("/static/" + Path(__file__).name) as response:
                assert await response.read() == Path(__file__).read_bytes()
            async with session.ws_connect("/ws") as ws:
                for word in ("one", "two"):
                    await ws.send_str(word)
                    assert await ws.receive_str() == word.upper()
            answers = await asyncio.gather(*[session.get("/hello") for _ in range(50)])
            assert all(answer.status == 200 for answer in answers)
            for answer in answers:
                answer.release()
        await runner.cleanup()

    run(main())


# ---- httpx and anyio ----


def test_httpx():
    httpx = pytest.importorskip("httpx")

    async def serve(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split()[1]
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path)
            )
            await writer.drain()

    async def quiet(reader, writer):
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main():
        server = await asyncio.start_server(quiet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for path in ("/one", "/two"):
                assert (await client.get(path)).text == path
            answers = await asyncio.gather(*[client.get(f"/{i}") for i in range(20)])
            assert [answer.text for answer in answers] == [f"/{i}" for i in range(20)]
        server.close()

    run(main())


def test_anyio():
    anyio = pytest.importorskip("anyio")

    async def echo(stream):
        async with stream:
            async for chunk in stream:
                await stream.send(chunk)

    async def main():
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"hello")
                assert await stream.receive(5) == b"hello"
            group.cancel_scope.cancel()
        await listener.aclose()
        result = await anyio.run_process(["cat"], input=b"process")
        assert result.stdout == b"process"
        async with await anyio.open_process(["cat"]) as process:
            await process.stdin.send(b"piped")
            assert await process.stdout.receive() == b"piped"
            await process.stdin.aclose()
            assert await process.wait() == 0
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
            own = udp.extra(anyio.abc.SocketAttribute.local_address)
            await udp.sendto(b"datagram", *own)
            assert (await udp.receive())[0] == b"datagram"
        assert await anyio.to_thread.run_sync(lambda: 5) == 5

    anyio.run(main, backend_options={"loop_factory": pyfastloop.new_event_loop})


# ---- uvicorn ----

ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    import asyncio
    kind = type(asyncio.get_running_loop()).__module__.encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": kind + b" %d" % len(body)})
"""


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_uvicorn(tmp_path, http, free_port):
    pytest.importorskip("uvicorn")
    pytest.importorskip(http)
    import urllib.request

    (tmp_path / "served.py").write_text(ASGI)
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "served:app", "--port", str(port)),
            *("--loop", "pyfastloop:new_event_loop", "--http", http),
        ],
        cwd=tmp_path,
    )
    try:
        wait_for_port(process, port)
        for size in (0, 100_000):
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/", data=b"x" * size, timeout=SECONDS
            ) as response:
                assert response.read() == b"pyfastloop.aio %d" % size
    finally:
        end(process)


# ---- redis ----


@pytest.fixture
def redis_port(tmp_path, free_port):
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        env=PLAIN,
    )
    try:
        wait_for_port(process, port)
        yield port
    finally:
        end(process)


def test_redis(redis_port):
    pytest.importorskip("redis")
    import redis.asyncio

    async def main():
        client = redis.asyncio.Redis(host="127.0.0.1", port=redis_port)
        await client.set("key", b"x" * 1_000_000)
        assert await client.get("key") == b"x" * 1_000_000
        numbers = await asyncio.gather(*[client.incr("n") for _ in range(100)])
        assert sorted(numbers) == list(range(1, 101))
        async with client.pipeline() as pipe:
            for i in range(200):
                pipe.set(f"k{i}", i)
            assert await pipe.execute() == [True] * 200
        async with client.pubsub() as channel:
            await channel.subscribe("news")
            assert (await channel.get_message(timeout=SECONDS))["type"] == "subscribe"
            await client.publish("news", "extra")
            assert (await channel.get_message(timeout=SECONDS))["data"] == b"extra"
        await client.aclose()

    run(main())


# ---- PostgreSQL ----


def postgres_programs():
    found = shutil.which("postgres")
    if found:
        return Path(found).parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return places[0] if places else None


@pytest.fixture
def postgres_port(free_port):
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    import tempfile

    user = {}
    with tempfile.TemporaryDirectory(prefix="pg") as place:
        if os.getuid() == 0:  # it refuses to run as root
            try:
                who = pwd.getpwnam("postgres")
            except KeyError:
                who = pwd.getpwnam("nobody")
            os.chown(place, who.pw_uid, who.pw_gid)
            user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
        data = f"{place}/data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-N"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=place,
            env=PLAIN,
            **user,
        )
        port = free_port()
        process = subprocess.Popen(
            [
                *(programs / "postgres", "-D", data, "-p", str(port)),
                *("-k", place, "-h", "127.0.0.1", "-F"),
            ],
            stderr=subprocess.DEVNULL,
            cwd=place,
            env=PLAIN,
            **user,
        )
        try:
            wait_for_port(process, port)
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown
            process.wait(SECONDS)


def test_asyncpg(postgres_port):
    asyncpg = pytest.importorskip("asyncpg")

    async def connect():
        for _ in range(200):
            try:
                return await asyncpg.create_pool(
                    host="127.0.0.1",
                    port=postgres_port,
                    user="tester",
                    database="postgres",
                    min_size=1,
                    max_size=5,
                )
            except asyncpg.CannotConnectNowError:
                await asyncio.sleep(0.05)
        raise AssertionError("it does not become ready")

    async def main():
        pool = await connect()
        await pool.execute("CREATE TABLE t (id int PRIMARY KEY, body bytea)")
        await pool.executemany(
            "INSERT INTO t VALUES ($1, $2)", [(i, b"x" * i) for i in range(1000)]
        )
        rows = await pool.fetch("SELECT * FROM t ORDER BY id")
        assert [len(row["body"]) for row in rows] == list(range(1000))
        sums = await asyncio.gather(
            *[pool.fetchval("SELECT $1::int + 1", i) for i in range(50)]
        )
        assert sums == list(range(1, 51))
        async with pool.acquire() as connection:
            heard = asyncio.get_running_loop().create_future()
            await connection.add_listener(
                "news", lambda *args: heard.set_result(args[-1])
            )
            await pool.execute("NOTIFY news, 'extra'")
            assert await heard == "extra"
            with pytest.raises(asyncio.TimeoutError):
                await connection.fetch("SELECT pg_sleep(60)", timeout=0.05)
            assert await connection.fetchval("SELECT 5") == 5
        await pool.close()

    run(main())
