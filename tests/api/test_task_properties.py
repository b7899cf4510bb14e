"""Random programs behave alike on our Task and Future and on asyncio's.

A program is a handful of scripts, each run by a task; steps await and finish shared
futures, start, await, shield and cancel other tasks, set time-outs, raise and return.
Whatever a step sees goes into one trace, and the traces of both runs must be equal.
"""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyfastloop import _core, aio

FUTURES = 3
SCRIPTS = 4
TURNS = 12  # of the loop, before what still waits is cancelled


class Planted(Exception):
    """What scripts raise."""


which_future = st.integers(0, FUTURES - 1)
which_script = st.integers(0, SCRIPTS - 1)
STEPS = st.one_of(
    st.tuples(st.just("turn")),
    st.tuples(st.just("await"), which_future),
    st.tuples(st.just("await"), which_future),
    st.tuples(st.just("result"), which_future),
    st.tuples(st.just("exception"), which_future),
    st.tuples(st.just("cancel_future"), which_future),
    st.tuples(st.just("listen"), which_future),
    st.tuples(st.just("start"), which_script),
    st.tuples(st.just("start"), which_script),
    st.tuples(st.just("join"), which_script),
    st.tuples(st.just("shield"), which_script),
    st.tuples(st.just("cancel"), which_script),
    st.tuples(st.just("cancel"), which_script),
    st.tuples(st.just("cancel_self")),
    st.tuples(st.just("uncancel"), which_script),
    st.tuples(st.just("timeout"), which_future),
    st.tuples(st.just("wait_for"), which_future),
    st.tuples(st.just("gather"), st.lists(which_future, max_size=3), st.booleans()),
    st.tuples(st.just("group"), st.lists(which_script, max_size=2)),
    st.tuples(st.just("wait_first"), st.lists(which_future, min_size=1, max_size=3)),
    st.tuples(st.just("raise")),
    st.tuples(st.just("return")),
)
# A step, and whether the script survives what it raises.
SCRIPT = st.lists(st.tuples(STEPS, st.booleans()), max_size=6)
PROGRAM = st.lists(SCRIPT, min_size=SCRIPTS, max_size=SCRIPTS)


class Run:
    """One run of a program."""

    def __init__(self, program):
        self.program = program
        self.trace = []
        self.tasks = {}

    def start(self, number):
        """A second start of a script is refused while the first one runs."""
        if number in self.tasks and not self.tasks[number].done():
            return self.tasks[number]
        task = asyncio.get_running_loop().create_task(self.run(number))
        self.tasks[number] = task
        task.add_done_callback(lambda t: self.trace.append(("end", number, show(t))))
        return task

    async def step(self, number, step):
        loop = asyncio.get_running_loop()
        match step:
            case ("turn",):
                return await asyncio.sleep(0)
            case ("await", k):
                return await self.futures[k]
            case ("result", k):
                return self.futures[k].set_result(k)
            case ("exception", k):
                return self.futures[k].set_exception(Planted("future", k))
            case ("cancel_future", k):
                return self.futures[k].cancel("asked")
            case ("listen", k):
                self.futures[k].add_done_callback(
                    lambda f: self.trace.append(("heard", number, k, show(f)))
                )
            case ("start", k):
                self.start(k)
            case ("join", k) if k != number and k in self.tasks:
                return await self.tasks[k]
            case ("shield", k) if k != number and k in self.tasks:
                return await asyncio.shield(self.tasks[k])
            case ("cancel", k) if k in self.tasks:
                return self.tasks[k].cancel(("by", number)), self.tasks[k].cancelling()
            case ("cancel_self",):
                return asyncio.current_task().cancel()
            case ("uncancel", k) if k in self.tasks:
                return self.tasks[k].uncancel()
            case ("timeout", k):
                async with asyncio.timeout(0):
                    return await self.futures[k]
            case ("wait_for", k):
                return await asyncio.wait_for(self.futures[k], 0)
            case ("gather", ks, quiet):
                found = [self.futures[k] for k in ks]
                got = await asyncio.gather(*found, return_exceptions=quiet)
                return [describe(g) if isinstance(g, BaseException) else g for g in got]
            case ("group", ks):
                async with asyncio.TaskGroup() as group:
                    for k in ks:
                        group.create_task(self.turns(number, k))
            case ("wait_first", ks):
                done, _ = await asyncio.wait(
                    {self.futures[k] for k in ks},
                    return_when=asyncio.FIRST_COMPLETED,
                )
                return len(done)
            case ("raise",):
                raise Planted("script", number)
        return loop is asyncio.get_running_loop()

    async def turns(self, number, k):
        """A child of a TaskGroup: the first of them fails."""
        await asyncio.sleep(0)
        if k == 0:
            raise Planted("child", number)
        await self.futures[k % FUTURES]

    async def run(self, number):
        for at, (step, survives) in enumerate(self.program[number]):
            if step == ("return",):
                return ("returned", number)
            self.trace.append(("step", number, at))
            try:
                value = await self.step(number, step)
            except BaseException as exc:
                self.trace.append(("raised", number, at, describe(exc)))
                if not survives:
                    raise
            else:
                self.trace.append(("value", number, at, value))
        return ("ended", number)

    async def main(self):
        loop = asyncio.get_running_loop()
        self.futures = [loop.create_future() for _ in range(FUTURES)]
        self.start(0)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for _ in range(50):
            waiting = [n for n, t in self.tasks.items() if not t.done()]
            if not waiting:
                break
            self.trace.append(("still waiting", tuple(waiting)))
            for number in waiting:
                self.tasks[number].cancel("the end")
            for future in self.futures:
                future.cancel()
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.sleep(0)
        for future in [*self.futures, *self.tasks.values()]:
            if future.done() and not future.cancelled():
                future.exception()  # seen
        return [(n, show(t), t.cancelling()) for n, t in sorted(self.tasks.items())]


def describe(exc):
    """An exception by what is promised of it, which its text often is not."""
    if isinstance(exc, BaseExceptionGroup):
        return ("group", *sorted(str(describe(e)) for e in exc.exceptions))
    if isinstance(exc, asyncio.CancelledError | Planted):
        return (type(exc).__name__, *exc.args)
    return (type(exc).__name__,)


def show(future):
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    exc = future.exception()
    return future.result() if exc is None else describe(exc)


def run_on(loop, program):
    # What nobody asked for is told when the collector comes: not a part of the trace.
    loop.set_exception_handler(lambda loop, context: None)
    run = Run(program)
    try:
        ends = loop.run_until_complete(run.main())
    finally:
        loop.close()
    return run, ends


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(PROGRAM)
def test_the_trace_is_asyncios(program):
    theirs, their_ends = run_on(asyncio.new_event_loop(), program)
    own = aio.new_event_loop()
    own.set_own_tasks(True)
    ours, our_ends = run_on(own, program)
    assert {type(t) for t in ours.tasks.values()} == {_core.Task}
    assert ours.trace == theirs.trace
    assert our_ends == their_ends


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(PROGRAM)
def test_the_trace_is_asyncios_with_asyncios_task_on_our_loop(program):
    theirs, their_ends = run_on(asyncio.new_event_loop(), program)
    ours, our_ends = run_on(aio.new_event_loop(), program)
    assert ours.trace == theirs.trace
    assert our_ends == their_ends
