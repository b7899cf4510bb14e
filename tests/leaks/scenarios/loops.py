"""Lives of loops, handles, timers and watched descriptors."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import socket
import threading
import warnings
from typing import Any

import pyfastloop
from pyfastloop.ioloop import IOLoop, PeriodicCallback
from scenarios.base import Raised, on_a_loop, simple


@simple
def loop() -> None:
    one = pyfastloop.new_event_loop()
    one.call_soon(one.stop)
    one.run_forever()
    one.close()


@simple
def loop_closed_with_work_left() -> None:
    one = pyfastloop.new_event_loop()
    one.call_soon(print, "never")
    one.call_later(1000, print, "never")
    one.call_soon_threadsafe(print, "never")
    one.create_future().add_done_callback(print)
    one.close()


@simple
def loop_dropped_unclosed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pyfastloop.new_event_loop()
        gc.collect()


@simple
def ioloop() -> None:
    one = IOLoop(make_current=False)
    one.add_callback(one.stop)
    one.start()
    one.close()


@simple
def callbacks_of_another_thread() -> None:
    """More than an inbox takes before its producers wait."""
    one = pyfastloop.new_event_loop()

    def produce() -> None:
        for _ in range(1500):
            one.call_soon_threadsafe(str)
        one.call_soon_threadsafe(one.stop)

    thread = threading.Thread(target=produce)
    one.call_soon(thread.start)
    one.run_forever()
    thread.join()
    one.close()


@simple
def contexts_of_callbacks() -> None:
    var: contextvars.ContextVar[object] = contextvars.ContextVar("var")
    one = pyfastloop.new_event_loop()
    handle = one.call_soon(var.set, object())
    handle.get_context()
    one.call_soon(var.set, object())
    one.call_soon(contextvars.copy_context)
    one.call_soon(one.stop)
    one.run_forever()
    one.close()


@on_a_loop
async def handles() -> None:
    here = asyncio.get_running_loop()
    for _ in range(10):
        here.call_soon(str, 1).cancel()
        here.call_soon(str, 1, 2)
        IOLoop.current().add_callback(str, 1)
    await asyncio.sleep(0)


@on_a_loop
async def callbacks_that_raise() -> None:
    def bad(number: int) -> None:
        raise Raised(number)

    for number in range(5):
        IOLoop.current().add_callback(bad, number)
        asyncio.get_running_loop().call_soon(bad, number)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@on_a_loop
async def timers() -> None:
    here = asyncio.get_running_loop()
    kept = [here.call_later(100 - i, str, i) for i in range(10)]
    for timer in kept[::2] + kept[1::2]:
        timer.cancel()
    timeout = IOLoop.current().call_later(100, str)
    IOLoop.current().remove_timeout(timeout)
    fired = here.create_future()
    here.call_later(0, fired.set_result, None)
    await fired


@on_a_loop
async def periodic_callback() -> None:
    beat = asyncio.Event()
    periodic = PeriodicCallback(beat.set, 1)
    periodic.start()
    await beat.wait()
    periodic.stop()


@on_a_loop
async def add_handler() -> None:
    one = IOLoop.current()
    here, there = socket.socketpair()
    with here, there:
        woken = asyncio.get_running_loop().create_future()

        def ready(fd: Any, events: int) -> None:
            one.remove_handler(fd)
            woken.set_result(events)

        one.add_handler(here, ready, one.READ)
        one.update_handler(here, one.READ | one.WRITE)
        there.send(b"x")
        await woken
        reader = asyncio.get_running_loop()
        reader.add_reader(here.fileno(), str)
        reader.add_writer(here.fileno(), str)
        reader.remove_reader(here.fileno())
        reader.remove_writer(here.fileno())


@on_a_loop
async def executor() -> None:
    assert await IOLoop.current().run_in_executor(None, lambda: 1) == 1
