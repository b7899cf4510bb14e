"""What a failing or a running coroutine shows of itself: the user's lines, nothing of
ours; causes and contexts of exceptions; steps in pdb; stacks of tasks."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import textwrap
import traceback

import pytest

from pyfastloop import _core, aio, gen
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop

HERE = __file__


@pytest.fixture
def loop():
    loop = IOLoop()
    loop.asyncio_loop.set_own_tasks(True)
    yield loop
    loop.close()


def names(exc):
    """The functions of a traceback below `run_sync`: all of them must be the user's."""
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [n for n, f in enumerate(frames) if f.filename.endswith("/ioloop.py")]
    below = frames[max(ours) + 1 :]
    assert {f.filename for f in below} == {HERE}
    return [f.name for f in below]


@gen.coroutine
def outer_generator():
    yield inner_generator()


@gen.coroutine
def inner_generator():
    yield gen.moment
    raise KeyError("planted")


async def outer_native():
    await inner_native()


async def inner_native():
    await gen.sleep(0)
    raise KeyError("planted")


@gen.coroutine
def generator_over_native():
    yield outer_native()


async def native_over_generator():
    await outer_generator()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (outer_generator, ["outer_generator", "inner_generator"]),
        (outer_native, ["outer_native", "inner_native"]),
        (
            generator_over_native,
            ["generator_over_native", "outer_native", "inner_native"],
        ),
        (
            native_over_generator,
            ["native_over_generator", "outer_generator", "inner_generator"],
        ),
    ],
)
def test_a_traceback_is_the_chain_of_the_users_lines(loop, function, expected):
    try:
        loop.run_sync(function)
    except KeyError as exc:
        assert names(exc) == expected
    else:
        pytest.fail("it did not raise")


def test_a_coroutine_that_fails_at_once_shows_its_caller(loop):
    @gen.coroutine
    def fails():
        raise KeyError("planted")
        yield

    async def native():
        fails_at_once = fails()
        await fails_at_once

    with pytest.raises(KeyError) as caught:
        loop.run_sync(native)
    assert names(caught.value) == ["native", "fails"]


@pytest.mark.parametrize("kind", ["generator", "native"])
def test_cause_and_context_survive(loop, kind):
    def body_fails():
        try:
            raise ValueError("first")
        except ValueError as exc:
            raise KeyError("second") from exc

    @gen.coroutine
    def generator():
        yield gen.moment
        body_fails()

    async def native():
        await gen.sleep(0)
        body_fails()

    async def again():
        try:
            await gen.convert_yielded(generator() if kind == "generator" else native())
        except KeyError:
            raise TypeError("third")  # noqa: B904

    with pytest.raises(TypeError) as caught:
        loop.run_sync(again)
    second = caught.value.__context__
    assert isinstance(second, KeyError)
    assert isinstance(second.__cause__, ValueError)
    assert second.__suppress_context__


def test_an_exception_thrown_in_has_the_context_of_where_it_landed(loop):
    future = Future()

    @gen.coroutine
    def waits():
        try:
            raise ValueError("handled")
        except ValueError:
            yield future

    async def main():
        waiting = waits()
        future.set_exception(KeyError("thrown in"))
        await waiting

    with pytest.raises(KeyError) as caught:
        loop.run_sync(main)
    assert isinstance(caught.value.__context__, ValueError)


def test_the_same_exception_twice_does_not_grow(loop):
    future = Future()

    @gen.coroutine
    def waits():
        yield future

    async def main():
        future.set_exception(KeyError("one"))
        lengths = []
        for _ in range(3):
            try:
                await waits()
            except KeyError as exc:
                lengths.append(len(traceback.extract_tb(exc.__traceback__)))
        return lengths

    lengths = loop.run_sync(main)
    assert len(set(lengths)) == 1


@pytest.mark.parametrize("kind", ["generator", "native"])
def test_pdb_steps_into_a_coroutine(kind, tmp_path):
    """Break at the call, step, step: the next line shown is the coroutine's first."""
    decorate = "@gen.coroutine\n" if kind == "generator" else "async "
    line = 6 if kind == "generator" else 5
    wait = "yield gen.moment" if kind == "generator" else "await gen.sleep(0)"
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """\
            from pyfastloop import gen
            from pyfastloop.ioloop import IOLoop

            {decorate}def work():
                first = 1
                {wait}
                return first + 1

            async def main():
                pending = gen.convert_yielded(work())
                return await pending

            print("result", IOLoop.current().run_sync(main))
            """
        ).format(decorate=decorate, wait=wait)
    )
    commands = "\n".join(
        [f"b {line}", "c", "n", f"b {line + 2}", "c", "p first + 40", "c", "q", ""]
    )
    done = subprocess.run(
        [sys.executable, "-m", "pdb", str(program)],
        input=commands,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = done.stdout
    assert "-> first = 1" in shown
    assert f"-> {wait}" in shown
    assert "-> return first + 1" in shown
    assert "result 2" in shown
    assert "41" in shown


def test_step_goes_from_the_caller_into_the_first_line(tmp_path):
    """`s` at a call of a coroutine lands in it: no Python frame lies between."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """\
            from pyfastloop import gen

            @gen.coroutine
            def work():
                return 7
                yield

            def caller():
                future = work()
                return future.result()

            print("result", caller())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pdb", str(program)],
        input="b caller\nc\ns\ns\nc\nq\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "--Call--" in done.stdout
    assert "-> def work():" in done.stdout or "-> return 7" in done.stdout
    assert "result 7" in done.stdout


# ---- what a task tells ----


def run_own(main):
    loop = aio.new_event_loop()
    loop.set_own_tasks(True)
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


async def sleeper():
    await asyncio.sleep(60)


def test_get_coro_also_when_it_is_over():
    async def main():
        for coro in (asyncio.sleep(0), inner_native(), sleeper()):
            task = asyncio.create_task(coro)
            assert type(task) is _core.Task
            assert task.get_coro() is coro
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.done()
            assert task.get_coro() is coro

    run_own(main)


def test_get_stack_and_print_stack():
    async def main():
        task = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
        (frame,) = task.get_stack()
        assert frame.f_code is sleeper.__code__
        assert task.get_stack(limit=0) == []
        out = io.StringIO()
        task.print_stack(file=out)
        assert "sleeper" in out.getvalue()
        assert "await asyncio.sleep(60)" in out.getvalue()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        failed = asyncio.create_task(inner_native())
        await asyncio.gather(failed, return_exceptions=True)
        (*_, last) = failed.get_stack()
        assert last.f_code is inner_native.__code__
        out = io.StringIO()
        failed.print_stack(file=out)
        assert "KeyError: 'planted'" in out.getvalue()

    run_own(main)
