"""concurrent: what older programs do with futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading

import pytest

from pyfastloop import concurrent as c
from pyfastloop import gen
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop


@pytest.fixture
def loop():
    loop = IOLoop()
    yield loop
    loop.close()


def test_is_future(loop):
    for future in (
        Future(),
        asyncio.Future(loop=loop.asyncio_loop),
        concurrent.futures.Future(),
    ):
        assert c.is_future(future)
    assert not c.is_future(5)
    assert not c.is_future(Future)


def test_dummy_executor():
    assert c.dummy_executor.submit(divmod, 7, 2).result() == (3, 1)
    failed = c.dummy_executor.submit(divmod, 7, 0)
    assert isinstance(failed.exception(), ZeroDivisionError)


class Worker:
    def __init__(self, executor):
        self.executor = executor
        self._other = executor

    @c.run_on_executor
    def plain(self, x):
        return x, threading.current_thread().name

    @c.run_on_executor(executor="_other")
    def named(self, x):
        raise KeyError(x)

    @c.run_on_executor()
    def called(self, x):
        return x


def test_run_on_executor(loop):
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:
        worker = Worker(pool)

        async def main():
            value, name = await worker.plain(5)
            assert value == 5
            assert name.startswith("pool")
            with pytest.raises(KeyError):
                await worker.named(1)
            assert await worker.called(6) == 6
            got = Future()
            worker.called(7, callback=got.set_result)
            assert await got == 7

        loop.run_sync(main)


def test_run_on_executor_arguments():
    with pytest.raises(ValueError):
        c.run_on_executor(print, executor="x")
    with pytest.raises(ValueError):
        c.run_on_executor(print, print)


def test_chain_future_copies_every_outcome(loop):
    async def main():
        a, b = Future(), Future()
        c.chain_future(a, b)
        a.set_result(1)
        assert await b == 1
        a, b = Future(), Future()
        c.chain_future(a, b)
        a.set_exception(KeyError("planted"))
        with pytest.raises(KeyError):
            await b
        a, b = Future(), Future()
        c.chain_future(a, b)
        a.cancel()
        with pytest.raises(asyncio.CancelledError):
            await b
        assert b.cancelled()
        a, b = Future(), Future()
        c.chain_future(a, b)
        b.cancel()
        a.set_result(1)
        await asyncio.sleep(0)
        assert b.cancelled()
        a, b = concurrent.futures.Future(), Future()
        c.chain_future(a, b)
        threading.Thread(target=a.set_result, args=(5,)).start()
        assert await b == 5

    loop.run_sync(main)


def test_unless_cancelled(caplog):
    future = Future()
    future.cancel()
    c.future_set_result_unless_cancelled(future, 1)
    c.future_set_exception_unless_cancelled(future, KeyError("late"))
    assert "Exception after Future was cancelled" in caplog.text
    live = Future()
    c.future_set_result_unless_cancelled(live, 1)
    assert live.result() == 1
    failed = Future()
    try:
        raise KeyError("planted")
    except KeyError:
        c.future_set_exc_info(failed, sys.exc_info())
    assert isinstance(failed.exception(), KeyError)
    with pytest.raises(Exception, match="no exception"):
        c.future_set_exc_info(Future(), (None, None, None))


def test_future_add_done_callback_calls_at_once_when_done(loop):
    done = Future()
    done.set_result(1)
    seen = []
    c.future_add_done_callback(done, seen.append)
    assert seen == [done]
    pending = Future()
    c.future_add_done_callback(pending, seen.append)
    pending.set_result(2)
    assert seen == [done]
    loop.run_sync(lambda: gen.moment)
    assert seen == [done, pending]


# ---- return_future ----


@c.return_future
def adds(a, b, callback=None):
    IOLoop.current().add_callback(callback, a + b)


def test_return_future(loop):
    async def main():
        assert await adds(1, 2) == 3
        got = Future()
        assert await adds(1, 3, callback=got.set_result) == 4
        assert await got == 4
        by_position = Future()
        adds(2, 3, by_position.set_result)
        assert await by_position == 5

    loop.run_sync(main)


def test_return_future_catches_what_is_raised_at_once_and_later(loop):
    @c.return_future
    def at_once(callback):
        raise ZeroDivisionError

    @c.return_future
    def later(callback):
        def fails():
            raise KeyError("later")

        IOLoop.current().add_callback(fails)

    async def main():
        with pytest.raises(ZeroDivisionError):
            await at_once()
        with pytest.raises(KeyError):
            await later()

    loop.run_sync(main)


def test_return_future_must_not_return(loop):
    @c.return_future
    def returns(callback):
        return 5

    with pytest.raises(c.ReturnValueIgnoredError):
        loop.run_sync(returns)


def test_callback_without_arguments_gives_none(loop):
    @c.return_future
    def nothing(callback):
        callback()

    assert loop.run_sync(nothing) is None
