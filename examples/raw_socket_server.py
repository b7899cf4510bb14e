"""A server of nothing but the loop and non-blocking sockets: it answers in capitals.

This is the idea that a Tornado server is built from. A socket is made non-blocking and
handed to ``add_handler`` with a function; whenever the socket is readable the loop
calls the function, which takes what there is until the kernel says EAGAIN, and returns.
Nobody ever waits for one socket, so one thread serves them all.

    python examples/raw_socket_server.py [PORT]          # 8000
    printf 'hello\\n' | nc -N 127.0.0.1 8000
"""

import functools
import socket
import sys

from pyfastloop.ioloop import IOLoop


def connection_ready(sock, fd, events):
    """The listening socket is readable: accept every connection that waits."""
    while True:
        try:
            connection, _address = sock.accept()
        except BlockingIOError:  # EAGAIN: that was the last of them
            return
        connection.setblocking(False)
        handle_connection(connection)


def handle_connection(connection):
    loop = IOLoop.current()
    callback = functools.partial(data_ready, connection, bytearray())
    loop.add_handler(connection.fileno(), callback, loop.READ)


def data_ready(connection, unsent, fd, events):
    """A connection can be read or written, or has failed."""
    loop = IOLoop.current()
    if events & loop.READ:
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            loop.remove_handler(fd)
            connection.close()
            return
        unsent += data.upper()
    try:
        while unsent:
            del unsent[: connection.send(unsent)]
    except BlockingIOError:
        # The peer reads slowly. Read no more of it; come back when it has taken some.
        loop.update_handler(fd, loop.WRITE)
    except (ConnectionResetError, BrokenPipeError):
        loop.remove_handler(fd)
        connection.close()
    else:
        loop.update_handler(fd, loop.READ)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)

    loop = IOLoop.current()
    callback = functools.partial(connection_ready, sock)
    loop.add_handler(sock.fileno(), callback, loop.READ)
    loop.start()


if __name__ == "__main__":
    main()
