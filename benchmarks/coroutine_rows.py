"""The rows of ``python -m benchmarks coroutine``."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.micro import Row, modules

GENERATORS = ["pyfastloop", "tornado", "tornado-uvloop"]
AWAITS = [*GENERATORS, "pyfastloop-own", "asyncio", "uvloop"]
ROWS: dict[str, tuple[str, Row, list[str]]] = {}


class Tools:
    """The modules of one contestant, each imported when a row asks for it."""

    def __init__(self, package: str) -> None:
        self.package = package

    def __getattr__(self, name: str) -> Any:
        homes = {"Future": "concurrent", "IOLoop": "ioloop"}
        (module,) = modules(self.package, homes.get(name, name))
        value = getattr(module, name) if name in homes else module
        setattr(self, name, value)  # asked once: the next time it is an attribute
        return value


def row(
    name: str, what: str, contestants: list[str] = GENERATORS
) -> Callable[[Callable[[Tools, int], Awaitable[int | None]]], None]:
    """A row written with Tornado's names, as a coroutine that an IOLoop runs."""

    def add(function: Callable[[Tools, int], Awaitable[int | None]]) -> None:
        def run(contestant: str, n: int) -> int | None:
            if contestant == "tornado-uvloop":
                policy = importlib.import_module("uvloop").EventLoopPolicy()
                asyncio.set_event_loop_policy(policy)
            tools = Tools("tornado" if "tornado" in contestant else "pyfastloop")
            loop = tools.IOLoop()
            try:
                result: int | None = loop.run_sync(lambda: function(tools, n))
                return result
            finally:
                loop.close()

        ROWS[name] = (what, run, contestants)

    return add


def await_row(
    name: str, what: str
) -> Callable[[Callable[[int], Awaitable[int | None]]], None]:
    """A row written for asyncio, on every loop."""

    def add(function: Callable[[int], Awaitable[int | None]]) -> None:
        def run(contestant: str, n: int) -> int | None:
            package = contestant.removesuffix("-own")
            loop = importlib.import_module(package).new_event_loop()
            if contestant.endswith("-own"):
                loop.set_own_tasks(True)
            try:
                result: int | None = loop.run_until_complete(function(n))
                return result
            finally:
                loop.close()

        contestants = [c for c in AWAITS if "tornado" not in c]
        ROWS[name] = (what, run, contestants)

    return add


@row("yield-done", "yield of a future that is done")
def yield_done(t: Tools, n: int) -> Any:
    @t.gen.coroutine
    def run() -> Any:
        f = t.Future()
        f.set_result(None)
        for _ in range(n):
            yield f

    return run()


@row("yield-pending", "yield of a future that the next callback sets")
def yield_pending(t: Tools, n: int) -> Any:
    @t.gen.coroutine
    def run() -> Any:
        loop = t.IOLoop.current()
        for _ in range(n):
            f = t.Future()
            loop.add_callback(f.set_result, None)
            yield f

    return run()


@row("moment", "yield gen.moment")
def moment(t: Tools, n: int) -> Any:
    @t.gen.coroutine
    def run() -> Any:
        for _ in range(n):
            yield t.gen.moment

    return run()


@row("nested", "three coroutines deep, the innermost waits for a pending future")
def nested(t: Tools, n: int) -> Any:
    loop = t.IOLoop.current()

    @t.gen.coroutine
    def innermost() -> Any:
        f = t.Future()
        loop.add_callback(f.set_result, 1)
        return (yield f)

    @t.gen.coroutine
    def middle() -> Any:
        return (yield innermost())

    @t.gen.coroutine
    def run() -> Any:
        for _ in range(n):
            yield middle()

    return run()


@row("call", "calling a coroutine that never waits")
def call(t: Tools, n: int) -> Any:
    @t.gen.coroutine
    def nothing() -> Any:
        return 1
        yield

    @t.gen.coroutine
    def run() -> Any:
        for _ in range(n):
            yield nothing()

    return run()


@row("multi", "yield of a list of 100 pending futures, for each future")
def multi(t: Tools, n: int) -> Any:
    loop = t.IOLoop.current()
    rounds = max(1, n // 100)

    @t.gen.coroutine
    def run() -> Any:
        for _ in range(rounds):
            futures = [t.Future() for _ in range(100)]
            for f in futures:
                loop.add_callback(f.set_result, None)
            yield futures
        return rounds * 100

    return run()


@row("engine", "gen.engine with gen.Task and a callback; Tornado 6: by hand")
def engine(t: Tools, n: int) -> Any:
    loop = t.IOLoop.current()
    done = t.Future()

    def later(callback: Any) -> None:
        loop.add_callback(callback, None)

    def by_hand(func: Any) -> Any:
        """What is left of gen.Task in Tornado 6: neither it nor gen.engine is there."""
        future = t.Future()
        func(callback=future.set_result)
        return future

    ours = t.package == "pyfastloop"
    task = t.gen.Task if ours else by_hand

    @(t.gen.engine if ours else t.gen.coroutine)
    def run() -> Any:
        for _ in range(n):
            yield task(later)
        done.set_result(None)

    run()
    return done


@row("engine-keys", "gen.engine with gen.Callback and gen.Wait", ["pyfastloop"])
def engine_keys(t: Tools, n: int) -> Any:
    loop = t.IOLoop.current()
    done = t.Future()

    @t.gen.engine
    def run() -> Any:
        for _ in range(n):
            loop.add_callback((yield t.gen.Callback("key")), None)
            yield t.gen.Wait("key")
        done.set_result(None)

    run()
    return done


@row("add-future", "a pending Future with add_future, then its result")
def add_future(t: Tools, n: int) -> Any:
    loop = t.IOLoop.current()
    done = t.Future()
    left = n

    def again(_: Any = None) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            done.set_result(None)
            return
        future = t.Future()
        loop.add_future(future, again)
        future.set_result(None)

    again()
    return done


@row("add-callback", "a callback that adds the next one")
def add_callback(t: Tools, n: int) -> Any:
    loop = t.IOLoop.current()
    done = t.Future()
    left = n

    def again() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            done.set_result(None)
        else:
            loop.add_callback(again)

    again()
    return done


@row("threadsafe", "add_callback from another thread, both threads' CPU time")
def threadsafe(t: Tools, n: int) -> Any:
    loop = t.IOLoop.current()
    done = t.Future()
    left = n

    def heard() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            done.set_result(None)

    def say() -> None:
        for _ in range(n):
            loop.add_callback(heard)

    threading.Thread(target=say).start()
    return done


@row("await-native", "async def awaits a Tornado Future that the next callback sets")
async def await_native(t: Tools, n: int) -> None:
    loop = t.IOLoop.current()
    for _ in range(n):
        f = t.Future()
        loop.add_callback(f.set_result, None)
        await f


async def both(t: Tools, one: Any, other: Any) -> None:
    await t.gen.multi([one, other])


@row("queue", "an item handed over by a Queue of one")
def queue(t: Tools, n: int) -> Any:
    q = t.queues.Queue(1)

    async def produce() -> None:
        for number in range(n):
            await q.put(number)

    async def consume() -> None:
        for _ in range(n):
            await q.get()

    return both(t, produce(), consume())


@row("lock", "a Lock handed over between two coroutines")
def lock(t: Tools, n: int) -> Any:
    one = t.locks.Lock()

    async def take() -> None:
        for _ in range(n // 2):
            async with one:
                await asyncio.sleep(0)

    return both(t, take(), take())


@await_row("await", "await of the loop's future that the next callback sets")
async def await_pending(n: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(n):
        f = loop.create_future()
        loop.call_soon(f.set_result, None)
        await f


@await_row("await-foreign", "await of asyncio's future that the next callback sets")
async def await_foreign(n: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(n):
        f = asyncio.Future(loop=loop)
        loop.call_soon(f.set_result, None)
        await f


@await_row("spawn", "a task made and awaited")
async def spawn(n: int) -> None:
    loop = asyncio.get_running_loop()

    async def nothing() -> None:
        pass

    for _ in range(n):
        await loop.create_task(nothing())
