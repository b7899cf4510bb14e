"""Listening sockets, names and TLS contexts: what servers and clients share.

Listening sockets are plain Python sockets, made once per server, so this module is
Python throughout; what runs for every connection, the accepting, is ``_core.Listener``
in C.

Differences from Tornado: ``port=0`` gives the same port on every address family that is
bound (Tornado promises it only for IPv4 and IPv6 of the wildcard address), and a
`bind_unix_socket` whose name starts with NUL binds an abstract name.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from pyfastloop import _core
from pyfastloop._aio_connections import numeric_address
from pyfastloop.concurrent import dummy_executor
from pyfastloop.ioloop import IOLoop
from pyfastloop.util import Configurable

__all__ = [
    "BlockingResolver",
    "DefaultExecutorResolver",
    "DefaultLoopResolver",
    "ExecutorResolver",
    "OverrideResolver",
    "Resolver",
    "ThreadedResolver",
    "add_accept_handler",
    "bind_sockets",
    "bind_unix_socket",
    "is_valid_ip",
    "ssl_options_to_context",
    "ssl_wrap_socket",
]

_DEFAULT_BACKLOG = 128

# A random port that is free in one family may be taken in the other; this many draws
# before giving up.
_PORT_DRAWS = 32

_SSL_OPTION_KEYS = frozenset(
    ["ssl_version", "certfile", "keyfile", "cert_reqs", "ca_certs", "ciphers"]
)


def __getattr__(name: str) -> ssl.SSLContext:
    # Loading the system's certificates takes milliseconds: only for who asks.
    if name == "_client_ssl_defaults":
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    elif name == "_server_ssl_defaults":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = context
    return context


def bind_sockets(
    port: int,
    address: str | None = None,
    family: socket.AddressFamily = socket.AF_UNSPEC,
    backlog: int = _DEFAULT_BACKLOG,
    flags: int | None = None,
    reuse_port: bool = False,
) -> list[socket.socket]:
    """Listen on ``port`` and give the listening, non-blocking sockets.

    One socket is made for each address that ``address`` stands for: an IP address, a
    host name, or ``None`` or ``""`` for all interfaces; ``family`` (``socket.AF_INET``
    or ``AF_INET6``) restricts them. IPv6 sockets take IPv6 only, so both families share
    a port; with ``port=0`` the kernel chooses one that all of them get.

    ``backlog`` goes to ``listen``, ``flags`` are ``getaddrinfo``'s ``AI_*`` in place of
    ``AI_PASSIVE``, ``reuse_port`` sets ``SO_REUSEPORT`` so that several processes may
    bind the same port.

    Raises `OSError` when an address cannot be bound; addresses of a family that this
    machine does not have are left out unless nothing else remains.
    """
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("this platform has no SO_REUSEPORT")
    if flags is None:
        flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(
        address or None, port, family, socket.SOCK_STREAM, 0, flags
    )
    # IPv4 first: its wildcard is what other programs most often hold already.
    targets = sorted(
        dict.fromkeys((info[0], info[4]) for info in found),
        key=lambda target: target[0] != socket.AF_INET,
    )
    for draw in range(_PORT_DRAWS):
        try:
            return _bind_all(targets, backlog, reuse_port, wildcard=not address)
        except OSError as error:
            taken_elsewhere = error.errno == errno.EADDRINUSE and port == 0
            if not taken_elsewhere or draw == _PORT_DRAWS - 1:
                raise
    raise AssertionError("unreachable")


def _bind_all(
    targets: list[tuple[Any, Any]], backlog: int, reuse_port: bool, wildcard: bool
) -> list[socket.socket]:
    """Bind every target, all to the port that the first of them gets."""
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    try:
        for family, where in targets:
            if where[1] == 0 and sockets:
                where = (where[0], sockets[0].getsockname()[1], *where[2:])
            try:
                sockets.append(_bind_one(family, where, reuse_port))
            except OSError as error:
                missing = error.errno == errno.EAFNOSUPPORT or (
                    error.errno == errno.EADDRNOTAVAIL and len(targets) > 1
                )
                if not missing:
                    raise
                refused = error
        if not sockets:
            raise refused or OSError(
                errno.EADDRNOTAVAIL, "the address stands for nothing to listen on"
            )
        for sock in sockets:
            sock.listen(backlog)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_one(family: int, where: Any, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
    except OSError as error:
        sock.close()
        where_text = f"{where[0]} port {where[1]}"
        error.strerror = f"cannot listen on {where_text}: {error.strerror}"
        raise
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix_socket(
    file: str | os.PathLike[str],
    mode: int = 0o600,
    backlog: int = _DEFAULT_BACKLOG,
) -> socket.socket:
    """Listen on a Unix socket named ``file`` and give the listening socket.

    A socket that an earlier process left behind under that name is replaced; anything
    else there is `ValueError`. The file's permissions are ``mode`` from the moment it
    exists. A name that starts with NUL is abstract: no file, no mode.
    """
    name = os.fsdecode(file)
    abstract = name.startswith("\0")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if not abstract:
            _remove_stale(name)
            # The file takes the mode of the unbound socket, so there is no moment at
            # which it is open to more than `mode`; chmod adds what the umask took.
            os.fchmod(sock.fileno(), mode)
        sock.bind(name)
        if not abstract:
            os.chmod(name, mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(name: str) -> None:
    try:
        there = os.stat(name)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        raise ValueError(f"{name} exists and is not a socket; it is left as it is")
    os.remove(name)


def add_accept_handler(
    sock: socket.socket, callback: Callable[[socket.socket, Any], None]
) -> Callable[[], None]:
    """Call ``callback(connection, address)`` for every connection to ``sock``.

    ``connection`` is a non-blocking socket, ``address`` what ``socket.accept`` gives.
    Connections are taken in bounded batches by the current `.IOLoop`; when the process
    has no descriptor left, the listener rests until one is free. The returned function
    ends it (and may be called twice); ``sock`` stays open.
    """

    def accepted(fd: int, address: Any) -> None:
        connection = socket.socket(fileno=fd)
        connection.setblocking(False)
        callback(connection, address)

    return _core.Listener(sock, accepted).stop


def is_valid_ip(ip: str) -> bool:
    """Whether ``ip`` is an IPv4 or IPv6 address written out, not a name."""
    if not ip or "\0" in ip:
        # getaddrinfo takes "" as localhost and ends at NUL.
        return False
    try:
        return bool(
            socket.getaddrinfo(
                ip, 0, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST
            )
        )
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return False
        raise
    except UnicodeError:
        # Labels that no IDNA encoding exists for.
        return False


_Resolved = list[tuple[int, Any]]


def _resolve_addr(
    host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
) -> _Resolved:
    """Ask the system's resolver, blocking, for stream addresses."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return [(info[0], info[4]) for info in found]


class Resolver(Configurable):
    """Turns names into addresses; which class does it is configurable.

    ``Resolver.configure("pyfastloop.netutil.ThreadedResolver")`` and the like choose;
    the default, `DefaultLoopResolver`, asks the system in the loop's thread pool.
    Subclasses implement `resolve` and, where they hold something, `close`.
    """

    @classmethod
    def configurable_base(cls) -> type[Resolver]:
        return Resolver

    @classmethod
    def configurable_default(cls) -> type[Resolver]:
        return DefaultLoopResolver

    def resolve(
        self,
        host: str,
        port: int,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        callback: Callable[[_Resolved], Any] | None = None,
    ) -> Awaitable[_Resolved]:
        """Resolve ``host`` to ``[(family, address), …]``, for ``socket.connect``.

        Fails with `OSError` (`socket.gaierror` from most implementations) when there is
        no such name. ``callback``, a form of Tornado 4, is called with the list.
        """
        raise NotImplementedError()

    def close(self) -> None:
        """Release what the resolver holds; a no-op where it holds nothing."""


def _with_callback(
    result: Awaitable[_Resolved], callback: Callable[[_Resolved], Any] | None
) -> Awaitable[_Resolved]:
    """Serve the callback form: call it from the loop, hand the awaitable on."""
    if callback is None:
        return result
    call = callback
    loop = IOLoop.current()
    future = asyncio.ensure_future(result, loop=loop.asyncio_loop)
    loop.add_future(future, lambda done: call(done.result()))
    return future


class DefaultExecutorResolver(Resolver):
    """The system's resolver, run in `.IOLoop.run_in_executor`'s default executor."""

    def resolve(
        self,
        host: str,
        port: int,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        callback: Callable[[_Resolved], Any] | None = None,
    ) -> Awaitable[_Resolved]:
        future = IOLoop.current().run_in_executor(
            None, _resolve_addr, host, port, family
        )
        return _with_callback(future, callback)


class DefaultLoopResolver(Resolver):
    """The system's resolver through the loop's own ``getaddrinfo``; the default.

    A numeric address is its own answer: no thread is asked.
    """

    def resolve(
        self,
        host: str,
        port: int,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        callback: Callable[[_Resolved], Any] | None = None,
    ) -> Awaitable[_Resolved]:
        return _with_callback(self._resolve(host, port, family), callback)

    async def _resolve(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> _Resolved:
        numeric = numeric_address(host, port, family, socket.SOCK_STREAM, 0)
        if numeric is not None:
            return [(numeric[0], numeric[4])]
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM
        )
        return [(info[0], info[4]) for info in found]


class ExecutorResolver(Resolver):
    """The system's resolver in an executor of one's own.

    ``executor`` is any `concurrent.futures.Executor`; without one the call blocks (see
    `BlockingResolver`). It is shut down with the resolver unless ``close_executor`` is
    false.
    """

    executor: concurrent.futures.Executor | None
    close_executor: bool

    def initialize(
        self,
        executor: concurrent.futures.Executor | None = None,
        close_executor: bool = True,
    ) -> None:
        if executor is None:
            self.executor = dummy_executor
            self.close_executor = False
        else:
            self.executor = executor
            self.close_executor = close_executor

    def close(self) -> None:
        if self.close_executor and self.executor is not None:
            self.executor.shutdown()
        self.executor = None

    def resolve(
        self,
        host: str,
        port: int,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        callback: Callable[[_Resolved], Any] | None = None,
    ) -> Awaitable[_Resolved]:
        if self.executor is None:
            raise RuntimeError("this resolver was closed")
        future = IOLoop.current().run_in_executor(
            self.executor, _resolve_addr, host, port, family
        )
        return _with_callback(future, callback)


class BlockingResolver(ExecutorResolver):
    """The system's resolver, blocking the loop while it asks."""

    def initialize(self) -> None:  # type: ignore[override]
        super().initialize()


class ThreadedResolver(ExecutorResolver):
    """The system's resolver in a pool of ``num_threads`` threads.

    All `ThreadedResolver` objects of a process share the pool; its size is that of the
    first. A process that forked makes a new one.
    """

    _pool: ClassVar[concurrent.futures.ThreadPoolExecutor | None] = None
    _pool_pid: ClassVar[int] = 0

    def initialize(self, num_threads: int = 10) -> None:  # type: ignore[override]
        super().initialize(self._shared_pool(num_threads), close_executor=False)

    @classmethod
    def _shared_pool(cls, num_threads: int) -> concurrent.futures.ThreadPoolExecutor:
        pid = os.getpid()
        if ThreadedResolver._pool is None or ThreadedResolver._pool_pid != pid:
            ThreadedResolver._pool = concurrent.futures.ThreadPoolExecutor(
                num_threads, thread_name_prefix="pyfastloop-resolver"
            )
            ThreadedResolver._pool_pid = pid
        return ThreadedResolver._pool


class OverrideResolver(Resolver):
    """Another resolver with some answers replaced, as ``/etc/hosts`` would.

    ``mapping`` keys are a host, a ``(host, port)`` pair, or ``(host, port, family)``,
    the most exact match first; values are a host for the first form and a ``(host,
    port)`` pair for the others.
    """

    resolver: Resolver
    mapping: dict[Any, Any]

    def initialize(self, resolver: Resolver, mapping: dict[Any, Any]) -> None:
        self.resolver = resolver
        self.mapping = mapping

    def close(self) -> None:
        self.resolver.close()

    def resolve(
        self,
        host: str,
        port: int,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        callback: Callable[[_Resolved], Any] | None = None,
    ) -> Awaitable[_Resolved]:
        if (host, port, family) in self.mapping:
            host, port = self.mapping[(host, port, family)]
        elif (host, port) in self.mapping:
            host, port = self.mapping[(host, port)]
        elif host in self.mapping:
            host = self.mapping[host]
        return _with_callback(self.resolver.resolve(host, port, family), callback)


def ssl_options_to_context(
    ssl_options: dict[str, Any] | ssl.SSLContext,
    server_side: bool | None = None,
) -> ssl.SSLContext:
    """An `ssl.SSLContext` from the dictionary form of TLS options.

    The keys are those of the former ``ssl.wrap_socket``: ``certfile``, ``keyfile``,
    ``ca_certs``, ``cert_reqs``, ``ciphers``, ``ssl_version``. A context is given back
    as it is. ``server_side`` chooses the protocol; leave it out only where both sides
    must be possible.

    Raises `ValueError` for keys of another name.
    """
    if isinstance(ssl_options, ssl.SSLContext):
        return ssl_options
    if not isinstance(ssl_options, dict):
        raise TypeError(
            "ssl_options must be a dict or an ssl.SSLContext, not "
            f"{type(ssl_options).__name__}"
        )
    unknown = ssl_options.keys() - _SSL_OPTION_KEYS
    if unknown:
        raise ValueError(
            f"unknown ssl_options {sorted(unknown)}; "
            f"known are {sorted(_SSL_OPTION_KEYS)}; anything more takes an SSLContext"
        )
    protocol = {
        None: ssl.PROTOCOL_TLS,
        True: ssl.PROTOCOL_TLS_SERVER,
        False: ssl.PROTOCOL_TLS_CLIENT,
    }[server_side]
    context = ssl.SSLContext(ssl_options.get("ssl_version", protocol))
    if "certfile" in ssl_options:
        context.load_cert_chain(ssl_options["certfile"], ssl_options.get("keyfile"))
    if "cert_reqs" in ssl_options:
        if ssl_options["cert_reqs"] == ssl.CERT_NONE:
            # The module refuses CERT_NONE while the host name is to be checked.
            context.check_hostname = False
        context.verify_mode = ssl_options["cert_reqs"]
    if "ca_certs" in ssl_options:
        context.load_verify_locations(ssl_options["ca_certs"])
    if "ciphers" in ssl_options:
        context.set_ciphers(ssl_options["ciphers"])
    # Compression before encryption tells lengths (CRIME); a renegotiation costs the
    # server far more than the client that asks for it.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def ssl_wrap_socket(
    socket: socket.socket,
    ssl_options: dict[str, Any] | ssl.SSLContext,
    server_hostname: str | None = None,
    server_side: bool | None = None,
    **kwargs: Any,
) -> ssl.SSLSocket:
    """TLS over ``socket``, with `ssl_options_to_context` in between.

    ``server_hostname`` is sent as SNI (and checked against the certificate where the
    context says so); further keywords go to `ssl.SSLContext.wrap_socket`.
    """
    context = ssl_options_to_context(ssl_options, server_side=server_side)
    if server_side is None:
        server_side = False
    return context.wrap_socket(
        socket, server_hostname=server_hostname, server_side=server_side, **kwargs
    )
