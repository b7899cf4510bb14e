"""What the documentation of asyncio's event loop promises, method by method."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import pyfastloop


def turn(loop, times=1):
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()


# ---- running and stopping ----


def test_run_until_complete_gives_result_or_raises(loop):
    async def gives():
        return 5

    async def raises():
        raise KeyError("planted")

    assert loop.run_until_complete(gives()) == 5
    with pytest.raises(KeyError):
        loop.run_until_complete(raises())
    future = loop.create_future()
    loop.call_soon(future.set_result, 6)
    assert loop.run_until_complete(future) == 6


def test_run_until_complete_refuses_what_is_not_awaitable(loop):
    with pytest.raises(TypeError):
        loop.run_until_complete(5)


def test_stopped_before_the_future_was_done(loop):
    async def stops():
        loop.stop()
        await asyncio.sleep(60)

    task = loop.create_task(stops())
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_stop_runs_what_is_ready_and_nothing_later(loop):
    seen = []

    def first():
        seen.append("first")
        loop.stop()
        loop.call_soon(seen.append, "next turn")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.run_forever()
    assert seen == ["first", "second"]
    turn(loop)
    assert seen == ["first", "second", "next turn"]


def test_stop_before_run_forever_makes_one_turn(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.stop()
    loop.run_forever()
    assert seen == [1]


def test_is_running_and_is_closed(loop):
    seen = []
    loop.call_soon(lambda: seen.append(loop.is_running()))
    assert not loop.is_running()
    turn(loop)
    assert seen == [True]
    assert not loop.is_closed()
    loop.close()
    assert loop.is_closed()
    loop.close()


def test_a_closed_loop_refuses_work(loop):
    loop.close()
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.run_forever(),
        lambda: loop.run_in_executor(None, print),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    coro = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="closed"):
        loop.create_task(coro)
    coro.close()


def test_a_running_loop_can_be_neither_closed_nor_run(loop, factory):
    errors = []
    other = factory()

    def inside():
        for call in (loop.close, other.run_forever, loop.run_forever):
            try:
                call()
            except RuntimeError as exc:
                errors.append(str(exc))

    loop.call_soon(inside)
    turn(loop)
    other.close()
    assert len(errors) == 3


def test_get_running_loop(loop):
    async def main():
        return asyncio.get_running_loop()

    assert loop.run_until_complete(main()) is loop
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


# ---- callbacks ----


def test_callbacks_run_in_order_with_their_arguments(loop):
    seen = []
    for i in range(5):
        loop.call_soon(seen.append, i)
    loop.call_soon(lambda *args: seen.append(args), 1, 2, 3, 4, 5, 6)
    turn(loop)
    assert seen == [0, 1, 2, 3, 4, (1, 2, 3, 4, 5, 6)]


def test_handle_cancel(loop):
    handle = loop.call_soon(pytest.fail)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    turn(loop)


def test_cancelling_a_handle_frees_its_callback(loop):
    class Callback:
        def __call__(self):
            pass

    loop.set_debug(False)
    callback = Callback()
    ref = weakref.ref(callback)
    handle = loop.call_later(60, callback)
    del callback
    handle.cancel()
    gc.collect()
    assert ref() is None


def test_handle_of_a_callback_that_cancels_itself(loop):
    handles = []

    def callback():
        handles[0].cancel()
        seen.append(1)

    seen = []
    handles.append(loop.call_soon(callback))
    turn(loop)
    assert seen == [1]


def test_handles_are_handles(loop):
    assert isinstance(loop.call_soon(int), asyncio.Handle)
    timer = loop.call_later(60, int)
    assert isinstance(timer, asyncio.TimerHandle)
    timer.cancel()
    turn(loop)


def test_handle_repr_names_the_callback(loop):
    def a_callback():
        pass

    handle = loop.call_soon(a_callback)
    assert "a_callback" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)
    timer = loop.call_later(60, a_callback)
    assert "when=" in repr(timer)
    timer.cancel()


def test_context_of_callbacks(loop):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.copy_context()
    context.run(var.set, 1)
    seen = []

    def look():
        seen.append(var.get())
        var.set(99)

    loop.call_soon(look, context=context)
    handle = loop.call_soon(look)
    loop.call_soon_threadsafe(look, context=context)
    loop.call_later(0, look, context=context)
    if hasattr(handle, "get_context"):
        assert handle.get_context() is not context
    turn(loop)
    time.sleep(0.001)
    turn(loop, 2)
    assert seen == [1, 0, 99, 99]
    assert var.get() == 0


def test_call_soon_threadsafe_from_other_threads(loop):
    seen = []

    def work():
        for i in range(200):
            loop.call_soon_threadsafe(seen.append, i)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Timer(0.01, work)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == list(range(200))


def test_call_soon_threadsafe_keeps_order_with_call_soon(loop):
    seen = []
    loop.call_soon_threadsafe(seen.append, 1)
    loop.call_soon(seen.append, 2)
    loop.call_soon_threadsafe(seen.append, 3)
    loop.call_soon(seen.append, 4)
    turn(loop)
    turn(loop)
    assert seen == [1, 2, 3, 4]


def test_debug_mode_finds_calls_from_other_threads(loop):
    loop.set_debug(True)
    errors = []

    def work():
        for call in (
            lambda: loop.call_soon(print),
            lambda: loop.call_later(1, print),
        ):
            try:
                call()
            except RuntimeError as exc:
                errors.append(str(exc))
        loop.call_soon_threadsafe(loop.stop)

    def start():
        thread = threading.Thread(target=work)
        thread.start()

    loop.call_soon(start)
    loop.run_forever()
    assert len(errors) == 2
    assert "Non-thread-safe" in errors[0]


def test_debug_mode_refuses_coroutines_and_what_cannot_be_called(loop):
    loop.set_debug(True)

    async def coro():
        pass

    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError):
            call(coro)
        with pytest.raises(TypeError):
            call(5)


def test_debug_mode_reports_slow_callbacks(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001

    def slow_one():
        time.sleep(0.005)

    loop.call_soon(slow_one)
    turn(loop)
    assert any(
        "slow_one" in record.getMessage() and record.levelno == logging.WARNING
        for record in caplog.records
    )


def test_debug_mode_names_the_task_of_a_slow_step(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0

    async def slow_one():
        waited = loop.create_future()
        loop.call_soon(waited.set_result, None)
        await waited

    loop.run_until_complete(slow_one())
    reports = [record.getMessage() for record in caplog.records]
    of_task = [report for report in reports if report.startswith("Executing <Task ")]
    assert len(of_task) == 2
    assert all("slow_one" in report for report in of_task)


def test_debug_mode_tells_where_something_was_made(loop):
    for debug in (True, False):
        loop.set_debug(debug)
        handles = [loop.call_soon(print), loop.call_later(60, print)]
        for handle in handles:
            assert (f"created at {__file__}:" in repr(handle)) is debug
            handle.cancel()
        assert ("created at" in repr(loop.create_future())) is debug
    turn(loop)


# ---- timers ----


def test_timers_fire_in_order(loop):
    seen = []
    now = loop.time()
    loop.call_at(now + 0.02, loop.stop)
    loop.call_at(now + 0.01, seen.append, 2)
    loop.call_at(now + 0.005, seen.append, 1)
    loop.run_forever()
    assert seen == [1, 2]


def test_timer_handle(loop):
    when = loop.time() + 60
    handle = loop.call_at(when, int)
    assert handle.when() == when
    assert not handle.cancelled()
    later = loop.call_at(when + 1, int)
    assert handle < later
    assert later > handle
    assert handle != later
    handle.cancel()
    later.cancel()
    assert handle.cancelled()


def test_timers_need_a_delay(loop):
    with pytest.raises(TypeError):
        loop.call_later(None, print)
    with pytest.raises(TypeError):
        loop.call_at(None, print)


def test_many_cancelled_timers_do_not_stay(loop):
    for _ in range(3):
        for handle in [loop.call_later(1000, int) for _ in range(1000)]:
            handle.cancel()
    turn(loop)


def test_infinite_and_past_deadlines(loop):
    seen = []
    forever = loop.call_at(float("inf"), seen.append, "never")
    loop.call_at(-5, seen.append, "past")
    loop.call_later(-1, seen.append, "negative")
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    forever.cancel()
    assert seen == ["past", "negative"]


# ---- readers and writers ----


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()


def test_add_and_remove_reader(loop, pair):
    a, b = pair
    seen = []

    def readable(*args):
        seen.append((args, a.recv(10)))
        loop.stop()

    loop.add_reader(a, readable, 1, 2)
    b.send(b"x")
    loop.run_forever()
    assert seen == [((1, 2), b"x")]
    assert loop.remove_reader(a) is True
    assert loop.remove_reader(a) is False
    b.send(b"y")
    turn(loop, 3)
    assert len(seen) == 1


def test_reader_and_writer_of_one_descriptor(loop, pair):
    a, b = pair
    seen = []

    def writable():
        seen.append("write")
        loop.remove_writer(a)
        b.send(b"x")

    def readable():
        seen.append("read")
        loop.remove_reader(a.fileno())
        loop.stop()

    loop.add_writer(a.fileno(), writable)
    loop.add_reader(a.fileno(), readable)
    loop.run_forever()
    assert seen == ["write", "read"]


def test_a_second_reader_takes_the_place_of_the_first(loop, pair):
    a, b = pair
    loop.add_reader(a, pytest.fail)
    loop.add_reader(a, loop.stop)
    b.send(b"x")
    loop.run_forever()
    loop.remove_reader(a)


def test_a_reader_removed_in_the_same_turn_is_not_called(loop, pair):
    a, b = pair
    calls = []

    def writable():
        calls.append("w")
        loop.remove_writer(b)
        loop.remove_reader(a)

    c, d = socket.socketpair()

    def readable():
        calls.append("r")
        loop.remove_reader(c)
        loop.remove_reader(a)

    loop.add_reader(c, readable)
    loop.add_reader(a, readable)
    d.send(b"x")
    b.send(b"x")
    turn(loop, 3)
    assert calls == ["r"]
    loop.remove_reader(a)
    loop.remove_reader(c)
    c.close()
    d.close()


def test_eof_calls_the_reader(loop, pair):
    a, b = pair
    loop.add_reader(a, loop.stop)
    b.close()
    loop.run_forever()
    loop.remove_reader(a)


def test_bad_descriptors(loop):
    with pytest.raises((ValueError, OSError)):
        loop.add_reader(-1, print)
    with pytest.raises((ValueError, TypeError)):
        loop.add_reader("x", print)


# ---- tasks and futures ----


def test_create_task_name_and_context(loop):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.copy_context()
    context.run(var.set, 5)

    async def child():
        return var.get()

    async def main():
        named = loop.create_task(child(), name="n", context=context)
        assert named.get_name() == "n"
        assert isinstance(named, asyncio.Task)
        return await named, await loop.create_task(child())

    assert loop.run_until_complete(main()) == (5, 0)


def test_task_factory(loop):
    made = []

    def factory(loop, coro, **kwargs):
        task = asyncio.Task(coro, loop=loop, **kwargs)
        made.append(task)
        return task

    assert loop.get_task_factory() is None
    with pytest.raises(TypeError):
        loop.set_task_factory(5)
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory

    async def main():
        task = asyncio.create_task(asyncio.sleep(0), name="named")
        await task
        assert task in made
        assert task.get_name() == "named"

    loop.run_until_complete(main())
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs CPython 3.12")
def test_eager_task_factory(loop):
    seen = []

    async def child():
        seen.append(asyncio.current_task())
        return 1

    async def waits():
        await asyncio.sleep(0)
        return 2

    async def main():
        loop.set_task_factory(asyncio.eager_task_factory)
        me = asyncio.current_task()
        task = asyncio.create_task(child())
        assert seen == [task]
        assert task.done()
        assert asyncio.current_task() is me
        assert await asyncio.create_task(waits()) == 2
        loop.set_task_factory(None)

    loop.run_until_complete(main())


def test_all_tasks_and_current_task(loop):
    async def main():
        other = loop.create_task(asyncio.sleep(60))
        me = asyncio.current_task()
        assert asyncio.all_tasks() == {me, other}
        other.cancel()
        await asyncio.wait([other])
        assert asyncio.all_tasks() == {me}

    loop.run_until_complete(main())
    assert asyncio.current_task(loop) is None


def test_create_future(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop


def test_timeout_and_task_group(loop):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, i)) for i in range(10)]
        return [task.result() for task in tasks]

    assert loop.run_until_complete(main()) == list(range(10))


def test_locks_queues_and_events(loop):
    async def main():
        queue = asyncio.Queue(2)
        lock = asyncio.Lock()
        event = asyncio.Event()
        got = []

        async def producer():
            for i in range(10):
                await queue.put(i)
            event.set()

        async def consumer():
            for _ in range(10):
                async with lock:
                    got.append(await queue.get())

        await asyncio.gather(producer(), consumer(), event.wait())
        return got

    assert loop.run_until_complete(main()) == list(range(10))


# ---- executors and names ----


def test_run_in_executor(loop):
    async def main():
        name = await loop.run_in_executor(None, threading.get_ident)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert await loop.run_in_executor(pool, divmod, 7, 2) == (3, 1)
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(pool, divmod, 7, 0)
        return name

    assert loop.run_until_complete(main()) != threading.get_ident()


def test_set_default_executor(loop):
    with pytest.raises(TypeError):
        loop.set_default_executor(5)
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(pool)

    async def main():
        return await asyncio.to_thread(lambda: threading.current_thread().name)

    assert loop.run_until_complete(main()).startswith("mine")


def test_shutdown_default_executor(loop):
    async def main():
        await asyncio.to_thread(int)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            await loop.run_in_executor(None, int)

    loop.run_until_complete(main())


def test_getaddrinfo_and_getnameinfo(loop):
    async def main():
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        name = await loop.getnameinfo(
            ("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        )
        return found, name

    found, name = loop.run_until_complete(main())
    assert found[0][4] == ("127.0.0.1", 80)
    assert name == ("127.0.0.1", "80")


# ---- exceptions ----


def test_exception_in_a_callback_goes_to_the_handler(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append((loop, context)))
    assert loop.get_exception_handler() is not None

    def fails():
        raise ZeroDivisionError

    loop.call_soon(fails)
    turn(loop)
    ((got, context),) = seen
    assert got is loop
    assert isinstance(context["exception"], ZeroDivisionError)
    assert "fails" in context["message"]
    assert isinstance(context["handle"], asyncio.Handle)


def test_the_exception_handler_runs_in_the_context_of_what_raised(loop):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    def fails():
        raise ZeroDivisionError

    async def task_fails():
        variable.set("task's")
        raise ZeroDivisionError

    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
    context = contextvars.copy_context()
    context.run(variable.set, "callback's")
    loop.call_soon(fails, context=context)
    loop.call_later(0, fails, context=context)
    task = loop.create_task(task_fails())
    turn(loop, 3)
    del task
    gc.collect()
    if sys.version_info >= (3, 12):  # before, tasks of asyncio do not tell theirs
        assert seen == ["callback's", "callback's", "task's"]
    elif isinstance(loop, pyfastloop.aio.Loop):
        assert seen == ["callback's", "callback's", "none"]


def test_default_exception_handler_logs(loop, caplog):
    def fails():
        raise ZeroDivisionError

    loop.call_soon(fails)
    turn(loop)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.name == "asyncio"
    assert record.exc_info[0] is ZeroDivisionError


def test_a_failing_exception_handler_is_logged(loop, caplog):
    def handler(loop, context):
        raise KeyError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_exception_handler({"message": "planted"})
    assert "Unhandled error in exception handler" in caplog.text
    with pytest.raises(TypeError):
        loop.set_exception_handler(5)


def test_call_exception_handler_directly(loop, caplog):
    loop.call_exception_handler({"message": "planted", "detail": 5})
    assert "planted" in caplog.text
    assert "detail: 5" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_fatal_exceptions_leave_the_loop(loop, kind):
    seen = []

    def fatal():
        raise kind

    loop.call_soon(fatal)
    loop.call_soon(seen.append, 1)
    with pytest.raises(kind):
        loop.run_forever()
    turn(loop)
    assert seen == [1]


def test_lost_task_exception_is_reported(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context["message"]))

    async def fails():
        raise KeyError

    async def main():
        loop.create_task(fails())
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    gc.collect()
    assert seen == ["Task exception was never retrieved"]


# ---- asynchronous generators ----


def test_abandoned_asyncgen_is_closed(loop):
    ended = []

    async def agen():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    async def main():
        async for _ in agen():
            break
        gc.collect()
        while not ended:
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert ended == [1]


def test_shutdown_asyncgens(loop):
    ended = []

    async def agen():
        try:
            yield 1
        finally:
            ended.append(1)

    async def main():
        generator = agen()
        await generator.__anext__()
        kept.append(generator)

    kept = []
    loop.run_until_complete(main())
    assert ended == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert ended == [1]


def test_hooks_are_given_back(loop):
    before = sys.get_asyncgen_hooks()
    turn(loop)
    assert sys.get_asyncgen_hooks() == before


# ---- signals ----


def test_signal_handlers(loop):
    seen = []

    def handler(*args):
        seen.append(args)
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, 2)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert seen == [(1, 2)]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_signal_handlers_that_cannot_be(loop):
    async def coro():
        pass

    with pytest.raises(TypeError):
        loop.add_signal_handler(signal.SIGUSR1, coro)
    with pytest.raises(ValueError):
        loop.add_signal_handler(99999, print)
    with pytest.raises(RuntimeError):
        loop.add_signal_handler(signal.SIGKILL, print)


def test_a_handler_of_sigint_keeps_the_keyboard_interrupt_away(loop):
    seen = []

    def handler():
        seen.append("handled")
        loop.stop()

    loop.add_signal_handler(signal.SIGINT, handler)
    loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGINT)
    assert seen == ["handled"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_while_it_waits(loop):
    seen = []

    def handler():
        seen.append(1)
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler)
    timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    loop.run_forever()
    timer.join()
    loop.remove_signal_handler(signal.SIGUSR1)
    assert seen == [1]


@pytest.mark.parametrize("ran_before", [False, True])
def test_a_signal_between_two_runs_is_not_lost(loop, ran_before):
    seen = []

    def handler():
        seen.append(1)
        loop.stop()

    if ran_before:
        loop.run_until_complete(asyncio.sleep(0))
    loop.add_signal_handler(signal.SIGUSR1, handler)
    os.kill(os.getpid(), signal.SIGUSR1)
    too_late = loop.call_later(30, loop.stop)
    loop.run_forever()
    too_late.cancel()
    assert seen == [1]


def test_a_signal_while_a_loop_runs_inside_of_it_is_not_lost():
    """As synchronous code of a handler does, HTTPClient say."""
    loop, inner = pyfastloop.new_event_loop(), pyfastloop.new_event_loop()
    seen = []

    def handler():
        seen.append(1)
        loop.stop()

    def nests():
        inner.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        inner.call_later(0.01, inner.stop)
        inner._run_nested()
        seen.append("nested")

    loop.add_signal_handler(signal.SIGUSR1, handler)
    loop.call_soon(nests)
    loop.call_later(30, loop.stop)
    loop.run_forever()
    inner.close()
    loop.close()
    assert seen == ["nested", 1]


# ---- asyncio's own tools ----


def test_runner(factory):
    async def main():
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) is type(runner.get_loop())


def test_keyboard_interrupt_through_runner(factory):
    name = "pyfastloop.new_event_loop"
    if factory is asyncio.SelectorEventLoop:
        name = "asyncio.SelectorEventLoop"
    code = textwrap.dedent(
        f"""
        import asyncio, os, signal, threading, pyfastloop
        async def main():
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                print("cancelled")
                raise
        try:
            with asyncio.Runner(loop_factory={name}) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "cancelled\ninterrupted\n", done.stderr


def test_loops_of_several_threads(factory):
    results = []

    def work(i):
        loop = factory()

        async def main():
            await asyncio.sleep(0.001)
            return i

        results.append(loop.run_until_complete(main()))
        loop.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(8))


def test_to_thread_and_run_coroutine_threadsafe(loop):
    async def answer():
        await asyncio.sleep(0)
        return 42

    async def main():
        def ask():
            return asyncio.run_coroutine_threadsafe(answer(), loop).result(60)

        return await asyncio.to_thread(ask)

    assert loop.run_until_complete(main()) == 42


def test_an_unclosed_loop_warns(factory):
    loop = factory()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()
