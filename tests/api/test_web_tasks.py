"""The Task of a request: there on the first line of every kind of handler."""

from __future__ import annotations

import asyncio
import contextvars

import anyio
import pytest

from pyfastloop import gen, web
from pyfastloop.concurrent import Future


def test_a_task_is_current_and_listed_from_the_first_line(site):
    """Also in a plain method, which never waits; in another one each time."""
    tasks = []

    class Plain(web.RequestHandler):
        def prepare(self):
            tasks.append(asyncio.current_task())

        def get(self):
            tasks.append(asyncio.current_task())
            self.write("x")

    class Native(web.RequestHandler):
        async def get(self):
            task = asyncio.current_task()
            listed_before = task in asyncio.all_tasks()
            await asyncio.sleep(0)
            listed = task in asyncio.all_tasks()
            same = task is asyncio.current_task()
            self.write(f"{isinstance(task, asyncio.Task)} {same} {listed}")
            tasks.append(listed_before)

    s = site([("/", Plain), ("/native", Native)])
    assert s.ask("/").body == b"x"
    assert tasks[0] is tasks[1] is not None
    assert s.ask("/native").body == b"True True True"


def test_timeout_and_task_group_on_the_first_line(site):
    class TimedOut(web.RequestHandler):
        async def get(self):
            async with asyncio.timeout(0.001):
                await Future()

    class Caught(web.RequestHandler):
        async def get(self):
            try:
                async with asyncio.timeout(0.001):
                    await Future()
            except TimeoutError:
                self.write(f"late {asyncio.current_task().cancelling()}")

    class Group(web.RequestHandler):
        async def get(self):
            async with asyncio.TaskGroup() as group:
                one = group.create_task(asyncio.sleep(0, 1))
                two = group.create_task(gen.sleep(0) and asyncio.sleep(0, 2))
            self.write(f"{one.result() + two.result()}")

    class Scope(web.RequestHandler):
        async def get(self):
            with anyio.move_on_after(0.001) as scope:
                await anyio.sleep_forever()
            self.write(f"{scope.cancelled_caught}")

    s = site(
        [("/timed", TimedOut), ("/caught", Caught), ("/group", Group), ("/any", Scope)]
    )
    assert s.ask("/timed").code == 500
    assert s.ask("/caught").body == b"late 0"
    assert s.ask("/group").body == b"3"
    assert s.ask("/any").body == b"True"


@pytest.mark.parametrize("kind", ["native", "generator"])
def test_what_is_set_before_and_after_the_first_wait_is_seen_in_order(site, kind):
    seen = contextvars.ContextVar("seen", default="unset")

    class Native(web.RequestHandler):
        async def get(self):
            values = [seen.get()]
            seen.set("before")
            await gen.sleep(0)
            values.append(seen.get())
            seen.set("after")
            await self.deeper(values)
            values.append(seen.get())
            self.write(",".join(values))

        async def deeper(self, values):
            values.append(seen.get())
            await gen.sleep(0)
            seen.set("deeper")

    class Generator(web.RequestHandler):
        @gen.coroutine
        def get(self):
            values = [seen.get()]
            seen.set("before")
            yield gen.sleep(0)
            values.append(seen.get())
            seen.set("after")
            yield self.deeper(values)
            values.append(seen.get())
            self.write(",".join(values))

        @gen.coroutine
        def deeper(self, values):
            """A generator has a copy of its own: what it sets stays there."""
            values.append(seen.get())
            yield gen.sleep(0)
            seen.set("deeper")

    s = site([("/native", Native), ("/generator", Generator)])
    last = "deeper" if kind == "native" else "after"
    for _ in range(2):
        assert s.ask(f"/{kind}").body.decode() == f"unset,before,after,{last}"
