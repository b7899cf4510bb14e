"""Binding, resolving, and TLS contexts from dictionaries."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
from streams import on_loop

import pyfastloop
from pyfastloop.iostream import IOStream
from pyfastloop.netutil import (
    BlockingResolver,
    DefaultExecutorResolver,
    DefaultLoopResolver,
    ExecutorResolver,
    OverrideResolver,
    Resolver,
    ThreadedResolver,
    add_accept_handler,
    bind_sockets,
    bind_unix_socket,
    is_valid_ip,
    ssl_options_to_context,
    ssl_wrap_socket,
)

HERE = Path(pyfastloop.__file__).parent
CERT, KEY = str(HERE / "testing_cert.pem"), str(HERE / "testing_key.pem")


def close_all(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def test_port_0_is_the_same_port_on_every_family() -> None:
    for address in (None, "", "localhost"):
        sockets = bind_sockets(0, address)
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert len({sock.family for sock in sockets}) == len(sockets)
        close_all(sockets)


def test_bound_sockets_listen_without_blocking() -> None:
    (sock,) = bind_sockets(0, "127.0.0.1")
    assert sock.gettimeout() == 0
    assert not os.get_inheritable(sock.fileno())
    with socket.create_connection(sock.getsockname()):
        pass
    sock.close()


def test_family_restricts_what_is_bound() -> None:
    sockets = bind_sockets(0, family=socket.AF_INET)
    assert [sock.family for sock in sockets] == [socket.AF_INET]
    close_all(sockets)


def test_port_in_use_is_an_error_that_names_it() -> None:
    (sock,) = bind_sockets(0, "127.0.0.1")
    port = sock.getsockname()[1]
    with pytest.raises(OSError, match=f"port {port}"):
        bind_sockets(port, "127.0.0.1")
    sock.close()


def test_reuse_port_lets_two_listen() -> None:
    (first,) = bind_sockets(0, "127.0.0.1", reuse_port=True)
    (second,) = bind_sockets(first.getsockname()[1], "127.0.0.1", reuse_port=True)
    assert first.getsockname() == second.getsockname()
    close_all([first, second])


def test_unix_socket_has_its_mode_and_replaces_a_stale_one(tmp_path: Path) -> None:
    name = tmp_path / "sock"
    first = bind_unix_socket(str(name))
    assert stat.S_IMODE(name.stat().st_mode) == 0o600
    first.close()  # leaves the file
    second = bind_unix_socket(name, mode=0o666)
    assert stat.S_IMODE(name.stat().st_mode) == 0o666
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(name))
    second.close()
    bind_unix_socket(os.fsencode(name)).close()  # type: ignore[arg-type]
    assert stat.S_IMODE(name.stat().st_mode) == 0o600


def test_unix_socket_leaves_other_files_alone(tmp_path: Path) -> None:
    name = tmp_path / "precious"
    name.write_text("data")
    with pytest.raises(ValueError, match="not a socket"):
        bind_unix_socket(str(name))
    assert name.read_text() == "data"


def test_abstract_unix_socket() -> None:
    name = f"\0pyfastloop-test-{os.getpid()}"
    sock = bind_unix_socket(name)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
    sock.close()


@on_loop
async def test_add_accept_handler_gives_sockets_until_removed() -> None:
    (sock,) = bind_sockets(0, "127.0.0.1")
    got: asyncio.Queue[Any] = asyncio.Queue()
    remove = add_accept_handler(sock, lambda *args: got.put_nowait(args))
    client = socket.create_connection(sock.getsockname())
    connection, address = await got.get()
    assert isinstance(connection, socket.socket) and connection.gettimeout() == 0
    assert address == client.getsockname()
    remove()
    remove()
    client.close()
    connection.close()
    sock.close()


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "4.4.4.4", "2001:db8::7"])
def test_valid_ips(ip: str) -> None:
    assert is_valid_ip(ip)


@pytest.mark.parametrize(
    "ip",
    ["", " ", "localhost", "www.example.com", "4.4.4.4<", "1.2.3.4\0", "\n", "x" * 99],
)
def test_invalid_ips(ip: str) -> None:
    assert not is_valid_ip(ip)


@pytest.mark.parametrize(
    "make",
    [
        Resolver,
        DefaultLoopResolver,
        DefaultExecutorResolver,
        BlockingResolver,
        ThreadedResolver,
        lambda: ExecutorResolver(concurrent.futures.ThreadPoolExecutor(1)),
    ],
)
def test_resolvers_resolve(make: Any) -> None:
    @on_loop
    async def main() -> None:
        resolver = make()
        found = await resolver.resolve("127.0.0.1", 80, socket.AF_UNSPEC)
        assert found == [(socket.AF_INET, ("127.0.0.1", 80))]
        names = await resolver.resolve("localhost", 80)
        assert {family for family, _ in names} <= {socket.AF_INET, socket.AF_INET6}
        with pytest.raises(OSError):
            await resolver.resolve("an invalid domain", 80)
        called: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        resolver.resolve("127.0.0.1", 81, callback=called.set_result)
        assert await called == [(socket.AF_INET, ("127.0.0.1", 81))]
        resolver.close()

    main()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "FE80::00AB"])
def test_the_default_resolver_asks_nobody_about_numbers(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    infos = socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)

    @on_loop
    async def main() -> None:
        asked: list[Any] = []

        def run_in_executor(executor: Any, func: Any, *args: Any) -> Any:
            asked.append(args)
            raise socket.gaierror("asked")

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "run_in_executor", run_in_executor)
        resolver = DefaultLoopResolver()
        found = await resolver.resolve(host, 80)
        assert found == [(info[0], info[4]) for info in infos]
        assert not asked
        with pytest.raises(socket.gaierror, match="asked"):
            await resolver.resolve("localhost", 80)

    main()


def test_cares_resolver() -> None:
    pytest.importorskip("pycares", reason="needs the dns extra")

    @on_loop
    async def main() -> None:
        from pyfastloop.platform.caresresolver import CaresResolver

        resolver = CaresResolver()
        found = await resolver.resolve("127.0.0.1", 80)
        assert found == [(socket.AF_INET, ("127.0.0.1", 80))]
        found = await resolver.resolve("localhost", 80, socket.AF_INET)
        assert found == [(socket.AF_INET, ("127.0.0.1", 80))]
        with pytest.raises(OSError):
            await resolver.resolve("127.0.0.1", 80, socket.AF_INET6)
        with pytest.raises(OSError, match="while resolving"):
            await resolver.resolve("an invalid domain", 80)
        resolver.close()

    main()


def test_resolver_is_configurable() -> None:
    saved = Resolver._save_configuration()
    try:
        Resolver.configure("pyfastloop.netutil.ThreadedResolver", num_threads=2)
        assert type(Resolver()) is ThreadedResolver
        with pytest.raises(ValueError):
            Resolver.configure(IOStream)  # type: ignore[arg-type]
    finally:
        Resolver._restore_configuration(saved)
    assert type(Resolver()) is DefaultLoopResolver


def test_closed_executor_resolver_says_so() -> None:
    resolver = ExecutorResolver(concurrent.futures.ThreadPoolExecutor(1))
    resolver.close()
    with pytest.raises(RuntimeError, match="closed"):
        resolver.resolve("127.0.0.1", 80)


@on_loop
async def test_override_resolver_takes_the_most_exact_key() -> None:
    resolver = OverrideResolver(
        Resolver(),
        {
            "one.test": "127.0.0.1",
            ("one.test", 81): ("127.0.0.2", 82),
            ("one.test", 83, socket.AF_INET): ("127.0.0.3", 84),
        },
    )

    async def ask(port: int, family: Any = socket.AF_UNSPEC) -> Any:
        return (await resolver.resolve("one.test", port, family))[0][1]

    assert await ask(80) == ("127.0.0.1", 80)
    assert await ask(81) == ("127.0.0.2", 82)
    assert await ask(83) == ("127.0.0.1", 83)
    assert await ask(83, socket.AF_INET) == ("127.0.0.3", 84)
    resolver.close()


def test_ssl_options_make_a_context() -> None:
    server = ssl_options_to_context(
        {"certfile": CERT, "keyfile": KEY}, server_side=True
    )
    assert server.protocol == ssl.PROTOCOL_TLS_SERVER
    client = ssl_options_to_context(
        {"cert_reqs": ssl.CERT_NONE, "ciphers": "HIGH"}, server_side=False
    )
    assert client.verify_mode == ssl.CERT_NONE and not client.check_hostname
    trusting = ssl_options_to_context(
        {"ca_certs": CERT, "cert_reqs": ssl.CERT_REQUIRED}, server_side=False
    )
    assert trusting.verify_mode == ssl.CERT_REQUIRED and trusting.get_ca_certs()
    assert ssl_options_to_context(server) is server
    with pytest.raises(ValueError, match="cert_file"):
        ssl_options_to_context({"cert_file": CERT})


def test_ssl_wrap_socket_sends_the_name() -> None:
    with socket.socket() as sock:
        wrapped = ssl_wrap_socket(
            sock,
            {"cert_reqs": ssl.CERT_NONE},
            server_hostname="one.test",
            server_side=False,
            do_handshake_on_connect=False,
        )
        assert wrapped.server_hostname == "one.test"
        wrapped.close()
