"""`HTTPClient`: the client that waits, and ``python -m pyfastloop.httpclient``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from pyfastloop.escape import native_str
from pyfastloop.httpclient.client import AsyncHTTPClient
from pyfastloop.httpclient.request import HTTPRequest
from pyfastloop.httpclient.response import HTTPClientError, HTTPResponse
from pyfastloop.ioloop import IOLoop

__all__ = ["HTTPClient", "main"]


@contextlib.contextmanager
def _outside_of_running_loop() -> Iterator[None]:
    """Let another loop run in this thread although one is running already.

    The running loop and its current task step aside, and come back at the end. These
    three functions of asyncio are what it gives to those who implement loops.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        yield
        return
    task = asyncio.current_task(loop)
    if task is not None:
        asyncio.tasks._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if task is not None:
            asyncio.tasks._enter_task(loop, task)


class HTTPClient:
    """A client that blocks: ``response = HTTPClient().fetch(url)``.

    It owns a loop, and takes the arguments of `AsyncHTTPClient`. Inside a handler of
    a running loop it works and holds that loop up until the answer is there.
    ``async_client_class`` is the class to use, by default the configured one.
    """

    def __init__(
        self,
        async_client_class: type[AsyncHTTPClient] | None = None,
        **kwargs: Any,
    ) -> None:
        self._closed = True  # until all of it is there: __del__ runs in any case
        client_class = async_client_class or AsyncHTTPClient

        async def make() -> AsyncHTTPClient:
            # Inside of the loop that will run it, so that it finds it as current.
            return client_class(force_instance=True, **kwargs)

        with _outside_of_running_loop():
            self._io_loop = IOLoop(make_current=False)
            try:
                self._async_client = self._io_loop.run_sync(make)
            except BaseException:
                self._io_loop.close()
                raise
        self._closed = False

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the client and its loop. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._async_client.close()
            self._io_loop.close()

    def fetch(self, request: str | HTTPRequest, **kwargs: Any) -> HTTPResponse:
        """Send *request* and wait for the answer, as `AsyncHTTPClient.fetch`.

        Raises HTTPClientError or what the connection failed with.
        """
        if self._closed:
            raise RuntimeError("fetch() on a closed HTTPClient")
        with _outside_of_running_loop():
            response: HTTPResponse = self._io_loop.run_sync(
                functools.partial(self._async_client.fetch, request, **kwargs)
            )
        return response


def main() -> None:
    """``python -m pyfastloop.httpclient URL...``: fetch each and print its body."""
    from pyfastloop.options import define, options, parse_command_line

    define("print_headers", type=bool, default=False)
    define("print_body", type=bool, default=True)
    define("follow_redirects", type=bool, default=True)
    define("validate_cert", type=bool, default=True)
    define("proxy_host", type=str)
    define("proxy_port", type=int)
    urls = parse_command_line()
    client = HTTPClient()
    for url in urls:
        try:
            response = client.fetch(
                url,
                follow_redirects=options.follow_redirects,
                validate_cert=options.validate_cert,
                proxy_host=options.proxy_host,
                proxy_port=options.proxy_port,
            )
        except HTTPClientError as error:
            if error.response is None:
                raise
            response = error.response
        if options.print_headers:
            print(response.headers)
        if options.print_body:
            print(native_str(response.body))
    client.close()
