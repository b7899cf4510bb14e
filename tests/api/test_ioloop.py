"""IOLoop: callbacks, timers, descriptors, other threads, and where errors go."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import datetime
import errno
import gc
import math
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

from pyfastloop import aio, gen
from pyfastloop.concurrent import Future
from pyfastloop.ioloop import IOLoop, PeriodicCallback
from pyfastloop.platform.asyncio import AsyncIOLoop, AsyncIOMainLoop


@pytest.fixture
def loop():
    loop = IOLoop()
    yield loop
    if not loop.asyncio_loop.is_closed():
        loop.close()


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()


def run(loop, seconds=60.0):
    """Run until stop(); a test that hangs fails instead."""
    guard = loop.call_later(seconds, lambda: pytest.fail("the loop was not stopped"))
    hung = loop.call_later(seconds, loop.stop)
    loop.start()
    loop.remove_timeout(guard)
    loop.remove_timeout(hung)


def run_turns(loop, count):
    """Run that many turns of the loop."""

    def turn(left):
        if left:
            loop.add_callback(turn, left - 1)
        else:
            loop.stop()

    turn(count)
    run(loop)


# ---- callbacks ----


def test_callbacks_run_in_order_on_the_next_turn(loop):
    seen = []
    loop.add_callback(seen.append, 1)
    loop.spawn_callback(seen.append, 2)
    loop.add_callback(seen.append, 3)
    loop.add_callback(loop.stop)
    assert seen == []
    run(loop)
    assert seen == [1, 2, 3]


def test_callback_gets_positional_and_keyword_arguments(loop):
    seen = []

    def callback(*args, **kwargs):
        seen.append((args, kwargs))
        loop.stop()

    loop.add_callback(callback, 1, 2, 3, 4, 5, key="word")
    run(loop)
    assert seen == [((1, 2, 3, 4, 5), {"key": "word"})]


def test_a_callback_added_by_a_callback_waits_for_the_next_turn(loop):
    seen = []

    def first():
        loop.add_callback(lambda: (seen.append("inner"), loop.stop()))
        seen.append("first")

    loop.add_callback(first)
    loop.add_callback(seen.append, "second")
    run(loop)
    assert seen == ["first", "second", "inner"]


def test_exception_in_a_callback_is_logged_and_the_loop_goes_on(loop, caplog):
    def fails():
        raise ZeroDivisionError("planted")

    loop.add_callback(fails)
    loop.add_callback(loop.stop)
    run(loop)
    (record,) = caplog.records
    assert record.name == "tornado.application"
    assert "Exception in callback" in record.getMessage()
    assert "fails" in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_exception_of_a_coroutine_callback_is_logged(loop, caplog):
    async def fails():
        await asyncio.sleep(0)
        raise ZeroDivisionError("planted")

    @gen.coroutine
    def fails_too():
        yield gen.moment
        raise KeyError("planted")

    loop.add_callback(fails)
    loop.add_callback(fails_too)
    run_turns(loop, 20)
    kinds = {record.exc_info[0] for record in caplog.records}
    assert kinds == {ZeroDivisionError, KeyError}
    assert all("Exception in callback" in r.getMessage() for r in caplog.records)


def test_cancelled_error_of_a_callback_is_quiet(loop, caplog):
    def cancelled():
        raise asyncio.CancelledError

    async def cancelled_later():
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    loop.add_callback(cancelled)
    loop.add_callback(cancelled_later)
    run_turns(loop, 20)
    assert caplog.records == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_fatal_exceptions_leave_start(loop, kind):
    def fatal():
        raise kind

    seen = []
    loop.add_callback(fatal)
    loop.add_callback(seen.append, "after")
    with pytest.raises(kind):
        loop.start()
    loop.add_callback(loop.stop)
    run(loop)
    assert seen == ["after"]


def test_callbacks_run_in_the_context_they_were_added_from(loop):
    var = contextvars.ContextVar("var", default="outside")
    seen = []

    def add():
        var.set("inside")
        loop.add_callback(lambda: seen.append(var.get()))
        loop.call_later(0, lambda: seen.append(var.get()))

    contextvars.copy_context().run(add)
    loop.call_later(0.01, loop.stop)
    run(loop)
    assert seen == ["inside", "inside"]
    assert var.get() == "outside"


def test_add_callback_from_other_threads_wakes_the_loop(loop):
    seen = []

    def work():
        for i in range(100):
            loop.add_callback(seen.append, i)
        loop.add_callback(loop.stop)

    thread = threading.Timer(0.01, work)
    thread.start()
    run(loop)
    thread.join()
    assert seen == list(range(100))


def test_many_threads_lose_no_callback(loop):
    count = 0
    threads = 4
    each = 2000

    def one():
        nonlocal count
        count += 1
        if count == threads * each:
            loop.stop()

    def work():
        for _ in range(each):
            loop.add_callback(one)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    run(loop)
    for worker in workers:
        worker.join()
    assert count == threads * each


def test_add_callback_after_close_is_dropped_in_silence(caplog):
    loop = IOLoop(make_current=False)
    loop.close()
    loop.add_callback(pytest.fail)
    thread = threading.Thread(target=loop.add_callback, args=(pytest.fail,))
    thread.start()
    thread.join()
    assert caplog.records == []


def test_stop_before_start_runs_one_turn(loop):
    seen = []
    loop.add_callback(seen.append, 1)
    loop.stop()
    loop.start()
    assert seen == [1]
    loop.add_callback(loop.stop)
    run(loop)


def test_starting_a_loop_inside_itself_is_a_clear_error(loop):
    caught = []

    def again():
        try:
            loop.start()
        except RuntimeError as exc:
            caught.append(str(exc))
        loop.stop()

    loop.add_callback(again)
    run(loop)
    assert "already running" in caught[0]


# ---- timers ----


def test_timers_fire_in_the_order_of_their_deadlines(loop):
    seen = []

    def fire(name):
        seen.append(name)
        if len(seen) == 4:
            loop.stop()

    clock = loop.asyncio_loop.time
    begun = clock()
    due = {
        "late": loop.call_at(loop.time() + 0.03, fire, "late"),
        "second": loop.call_later(0.02, fire, "second"),
        "first": loop.add_timeout(loop.time() + 0.01, fire, "first"),
        "third": loop.add_timeout(datetime.timedelta(seconds=0.025), fire, "third"),
    }
    took = clock() - begun
    for name, delay in (("first", 10), ("second", 20), ("third", 25), ("late", 30)):
        assert -1 < (due[name].when() - begun) * 1000 - delay < took * 1000 + 1
    run(loop)
    # That order, unless the machine stood still while they were made.
    assert seen == sorted(due, key=lambda name: due[name].when())


def test_equal_deadlines_keep_their_order(loop):
    seen = []
    when = loop.asyncio_loop.time() + 0.01
    for i in range(50):
        loop.asyncio_loop.call_at(when, seen.append, i)
    loop.asyncio_loop.call_at(when, loop.stop)
    run(loop)
    assert seen == list(range(50))


def test_removed_timeouts_do_not_fire(loop):
    handles = [loop.call_later(0.001 * i, pytest.fail) for i in range(20)]
    for handle in handles[::-1]:
        loop.remove_timeout(handle)
        loop.remove_timeout(handle)
    loop.call_later(0.03, loop.stop)
    run(loop)
    assert loop.asyncio_loop.stats()["pending_timers"] == 0


def test_a_timer_removed_by_one_that_is_due_with_it_does_not_fire(loop):
    seen = []
    when = loop.time() + 0.005

    def first():
        seen.append("first")
        loop.remove_timeout(second)

    loop.call_at(when, first)
    second = loop.call_at(when + 0.0001, seen.append, "second")
    time.sleep(0.01)
    loop.call_later(0.005, loop.stop)
    run(loop)
    assert seen == ["first"]


def test_cancelling_frees_the_callback_at_once(loop):
    class Callback:
        def __call__(self):
            pytest.fail("it was cancelled")

    callback = Callback()
    ref = weakref.ref(callback)
    handle = loop.call_later(100, callback)
    del callback
    assert ref() is not None
    loop.remove_timeout(handle)
    assert ref() is None


def test_a_timer_that_arms_itself_for_the_past_starves_nobody(loop, pair):
    a, b = pair
    count = 0

    def again():
        nonlocal count
        count += 1
        loop.call_later(-1, again)

    def readable(fd, events):
        loop.remove_handler(fd)
        loop.stop()

    loop.call_later(0, again)
    loop.add_handler(a, readable, IOLoop.READ)
    b.send(b"x")
    run(loop)
    assert count >= 0


def test_add_timeout_refuses_what_is_no_deadline(loop):
    with pytest.raises(TypeError, match="number or a datetime"):
        loop.add_timeout("soon", lambda: None)
    with pytest.raises(ValueError, match="got nan"):
        loop.add_timeout(math.nan, print)
    for call in (loop.call_later, loop.call_at):
        with pytest.raises(ValueError, match="got nan"):
            call(math.nan, print)


def test_time_is_the_wall_clock(loop):
    assert abs(loop.time() - time.time()) < 10
    assert abs(loop.asyncio_loop.time() - time.monotonic()) < 10


# ---- descriptors ----


def test_handler_gets_the_very_object_and_the_events(loop, pair):
    a, b = pair
    seen = []

    def handler(fd, events):
        seen.append((fd, events))
        a.recv(10)
        loop.stop()

    loop.add_handler(a, handler, IOLoop.READ)
    b.send(b"x")
    run(loop)
    assert seen == [(a, IOLoop.READ)]
    assert seen[0][0] is a


def test_descriptor_numbers_work_too(loop, pair):
    a, _b = pair
    seen = []

    def handler(fd, events):
        seen.append(fd)
        loop.remove_handler(fd)
        loop.stop()

    loop.add_handler(a.fileno(), handler, IOLoop.WRITE)
    run(loop)
    assert seen == [a.fileno()]


def test_update_handler_changes_the_events(loop, pair):
    a, b = pair
    seen = []

    def handler(fd, events):
        seen.append(events)
        if events & IOLoop.READ:
            a.recv(10)
            loop.update_handler(a, IOLoop.WRITE)
        else:
            loop.stop()

    loop.add_handler(a, handler, IOLoop.READ)
    b.send(b"x")
    run(loop)
    assert seen == [IOLoop.READ, IOLoop.WRITE]


def test_error_is_always_watched(loop, pair):
    a, b = pair
    seen = []

    def handler(fd, events):
        seen.append(events)
        loop.remove_handler(fd)
        loop.stop()

    loop.add_handler(a, handler, IOLoop.NONE)
    b.close()
    run(loop)
    assert seen[0] & IOLoop.ERROR


def test_adding_a_descriptor_twice_is_an_error(loop, pair):
    a, _ = pair
    loop.add_handler(a, lambda fd, events: None, IOLoop.READ)
    with pytest.raises(ValueError, match="added twice"):
        loop.add_handler(a.fileno(), lambda fd, events: None, IOLoop.READ)


def test_removing_an_unknown_descriptor_is_silent(loop, pair):
    loop.remove_handler(pair[0])
    loop.remove_handler(9999)


def test_a_handler_that_was_closed_before_is_removed_by_its_object(loop):
    a, b = socket.socketpair()
    loop.add_handler(a, lambda fd, events: None, IOLoop.READ)
    a.close()
    loop.remove_handler(a)
    assert loop.handlers == {}
    b.close()


def test_handler_may_remove_every_descriptor_from_inside(loop):
    pairs = [socket.socketpair() for _ in range(20)]
    calls = []

    def handler(fd, events):
        calls.append(fd)
        for a, _ in pairs:
            loop.remove_handler(a)
        loop.stop()

    for a, b in pairs:
        loop.add_handler(a, handler, IOLoop.READ)
        b.send(b"x")
    run(loop)
    assert len(calls) == 1
    for a, b in pairs:
        a.close()
        b.close()


def test_a_descriptor_reused_within_one_batch_gets_no_old_event(loop):
    first, peer1 = socket.socketpair()
    second, peer2 = socket.socketpair()
    stale = []
    extra = []

    def handler(fd, events):
        other = second if fd is first else first
        number = other.fileno()
        loop.remove_handler(other)
        other.close()
        a, b = socket.socketpair()
        if a.fileno() != number:
            os.dup2(a.fileno(), number)
        extra.extend([a, b])
        loop.add_handler(number, lambda fd, events: stale.append(events), IOLoop.READ)
        loop.remove_handler(fd)
        loop.call_later(0.01, loop.stop)

    for sock in (first, second):
        loop.add_handler(sock, handler, IOLoop.READ)
    peer1.send(b"x")
    peer2.send(b"x")
    run(loop)
    assert stale == []
    for sock in (first, second, peer1, peer2, *extra):
        sock.close()


def test_exception_in_a_handler_is_logged_and_the_loop_goes_on(loop, pair, caplog):
    a, _b = pair
    calls = 0

    def handler(fd, events):
        nonlocal calls
        calls += 1
        if calls == 2:
            loop.stop()
        raise ZeroDivisionError("planted")

    loop.add_handler(a, handler, IOLoop.WRITE)
    run(loop)
    assert calls == 2
    assert "Exception in I/O handler" in caplog.records[0].getMessage()
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_debug_mode_reports_what_is_slow_in_coroutines_and_handlers(loop, pair, caplog):
    a, b = pair
    loop.asyncio_loop.set_debug(True)
    loop.asyncio_loop.slow_callback_duration = 0

    def slow_handler(fd, events):
        loop.remove_handler(fd)
        loop.stop()

    @gen.coroutine
    def slow_generator():
        yield gen.moment

    async def slow_coroutine():
        await slow_generator()
        loop.add_handler(a, slow_handler, IOLoop.READ)
        b.send(b"x")

    loop.add_callback(slow_coroutine)
    run(loop)
    reports = [record.getMessage() for record in caplog.records]
    for name in ("slow_handler", "slow_generator", "slow_coroutine"):
        assert any(r.startswith("Executing ") and name in r for r in reports), name


def test_epipe_in_a_handler_is_quiet(loop, pair, caplog):
    def handler(fd, events):
        loop.stop()
        raise OSError(errno.EPIPE, "gone")

    loop.add_handler(pair[0], handler, IOLoop.WRITE)
    run(loop)
    assert caplog.records == []


def test_keyboard_interrupt_in_a_handler_leaves_start(loop, pair):
    def handler(fd, events):
        raise KeyboardInterrupt

    loop.add_handler(pair[0], handler, IOLoop.WRITE)
    with pytest.raises(KeyboardInterrupt):
        loop.start()


def test_a_file_that_cannot_be_polled_is_an_oserror(loop, tmp_path):
    with open(tmp_path / "file", "w") as file, pytest.raises(OSError):
        loop.add_handler(file, lambda fd, events: None, IOLoop.READ)


def test_close_all_fds_closes_what_is_registered():
    loop = IOLoop(make_current=False)
    a, b = socket.socketpair()
    loop.add_handler(a, lambda fd, events: None, IOLoop.READ)
    loop.close(all_fds=True)
    assert a.fileno() == -1
    b.close()


# ---- futures ----


def test_add_future_never_calls_at_once(loop):
    done = Future()
    done.set_result(1)
    seen = []
    loop.add_future(done, lambda f: (seen.append(f.result()), loop.stop()))
    assert seen == []
    run(loop)
    assert seen == [1]


@pytest.mark.parametrize("kind", ["ours", "asyncio", "concurrent"])
def test_add_future_takes_every_kind(loop, kind):
    if kind == "ours":
        future = Future()
    elif kind == "asyncio":
        future = asyncio.Future(loop=loop.asyncio_loop)
    else:
        future = concurrent.futures.Future()
    seen = []
    loop.add_future(future, lambda f: (seen.append(f), loop.stop()))
    loop.add_callback(future.set_result, 5)
    run(loop)
    assert seen[0] is future


def test_add_future_of_another_loop_comes_home(loop):
    other = IOLoop(make_current=False)
    future = Future(loop=other.asyncio_loop)
    seen = []

    def done(f):
        seen.append(threading.current_thread())
        loop.stop()

    loop.add_future(future, done)

    def work():
        other.add_callback(future.set_result, 1)
        other.call_later(0.01, other.stop)
        other.start()

    thread = threading.Thread(target=work)
    thread.start()
    run(loop)
    thread.join()
    other.close()
    assert seen == [threading.main_thread()]


def test_add_future_refuses_what_is_no_future(loop):
    with pytest.raises(TypeError, match="takes a future"):
        loop.add_future(5, print)


def test_exception_in_a_callback_of_add_future_is_logged(loop, caplog):
    future = Future()
    future.set_exception(KeyError("planted"))
    loop.add_future(future, lambda f: f.result())
    run_turns(loop, 20)
    assert "Exception in callback" in caplog.records[0].getMessage()


# ---- run_sync ----


def test_run_sync_gives_the_result_of_every_kind(loop):
    @gen.coroutine
    def old():
        yield gen.moment
        return "old"

    async def new():
        await asyncio.sleep(0)
        return "new"

    assert loop.run_sync(old) == "old"
    assert loop.run_sync(new) == "new"
    assert loop.run_sync(lambda: None) is None


def test_run_sync_raises_what_the_coroutine_raised(loop):
    async def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run_sync(fails)
    with pytest.raises(ZeroDivisionError):
        loop.run_sync(lambda: 1 / 0)


def test_run_sync_refuses_what_cannot_be_yielded(loop):
    with pytest.raises(gen.BadYieldError):
        loop.run_sync(lambda: 42)


def test_run_sync_time_out_cancels(loop):
    ended = []

    async def slow():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(TimeoutError):
        loop.run_sync(slow, timeout=0.01)
    assert ended == ["cancelled"]
    with pytest.raises(TimeoutError):
        loop.run_sync(Future, timeout=0.01)


def test_run_sync_of_a_loop_stopped_early(loop):
    async def stops():
        loop.stop()
        await asyncio.sleep(60)

    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_sync(stops)


# ---- executors ----


def test_run_in_executor_and_default_executor(loop):
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(pool)

    async def main():
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        total = await loop.run_in_executor(pool, sum, [1, 2, 3])
        return name, total

    name, total = loop.run_sync(main)
    assert name.startswith("mine")
    assert total == 6
    pool.shutdown()


# ---- which loop is current ----


def test_current_makes_a_c_loop_and_sets_it_as_asyncios():
    def look():
        assert IOLoop.current(instance=False) is None
        loop = IOLoop.current()
        assert isinstance(loop.asyncio_loop, aio.Loop)
        assert asyncio.get_event_loop_policy().get_event_loop() is loop.asyncio_loop
        assert IOLoop.current() is loop
        loop.close(all_fds=True)
        seen.append("done")

    seen = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == ["done"]


def test_a_reader_hears_of_the_end_as_something_to_read(loop):
    reader, writer = os.pipe()
    seen = []

    def handler(fd, events):
        seen.append(bool(events & IOLoop.READ))
        loop.remove_handler(fd)
        loop.stop()

    loop.add_handler(reader, handler, IOLoop.READ)
    os.close(writer)  # which epoll tells as EPOLLHUP alone
    too_late = loop.call_later(30, loop.stop)
    loop.start()
    loop.remove_timeout(too_late)
    os.close(reader)
    assert seen == [True]


def test_a_handler_that_asks_for_nothing_is_told_of_an_error_once(loop):
    reader, writer = os.pipe()
    seen = []
    loop.add_handler(reader, lambda fd, events: seen.append(events), IOLoop.READ)
    loop.update_handler(reader, 0)
    os.close(writer)
    before = loop.asyncio_loop.stats()["polls"]
    loop.call_later(0.05, loop.stop)
    loop.start()
    assert len(seen) == 1
    assert seen[0] & IOLoop.ERROR
    assert loop.asyncio_loop.stats()["polls"] - before < 20

    loop.update_handler(reader, IOLoop.READ)
    loop.call_later(0.01, loop.stop)
    loop.start()
    assert seen[-1] & IOLoop.READ
    loop.remove_handler(reader)
    os.close(reader)


def test_current_inside_a_foreign_loop_is_a_guest():
    async def main():
        loop = IOLoop.current()
        assert loop.asyncio_loop is asyncio.get_running_loop()
        assert IOLoop.current() is loop
        order = []
        loop.add_callback(order.append, "callback")
        loop.call_later(0.01, order.append, "timer")
        a, b = socket.socketpair()
        readable = Future()
        loop.add_handler(a, lambda fd, ev: readable.set_result(ev), IOLoop.READ)
        b.send(b"x")
        assert await readable == IOLoop.READ
        loop.remove_handler(a)
        woken = Future()
        threading.Thread(
            target=loop.add_callback, args=(woken.set_result, "thread")
        ).start()
        order.append(await woken)
        await gen.sleep(0.02)
        a.close()
        b.close()
        return order

    assert set(asyncio.run(main())) == {"callback", "timer", "thread"}


def test_a_guest_does_not_spin_for_a_descriptor_closed_behind_its_back():
    async def main():
        io_loop = IOLoop.current()
        guest = asyncio.get_running_loop()._pyfastloop_guest
        ours, other = socket.socketpair()
        with other:
            number = ours.fileno()
            io_loop.add_handler(number, lambda fd, events: None, IOLoop.READ)
            duplicate = os.dup(number)
            ours.close()  # and only then:
            io_loop.remove_handler(number)
            other.send(b"nobody reads this")
            before = guest.stats()["polls"]
            quiet = asyncio.Event()
            io_loop.call_later(0.05, quiet.set)
            await quiet.wait()
            os.close(duplicate)
            assert guest.stats()["polls"] - before < 20

            # and it still hears of the others
            with other.dup() as third:
                heard = asyncio.Event()
                io_loop.add_handler(third, lambda *_: heard.set(), IOLoop.WRITE)
                await heard.wait()
                io_loop.remove_handler(third)

    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 30))
    finally:
        loop.close()


def test_a_guest_lets_exceptions_reach_the_log(caplog):
    async def main():
        def fails():
            raise ZeroDivisionError

        IOLoop.current().add_callback(fails)
        await gen.sleep(0.01)

    asyncio.run(main())
    # Others may be of what the collector found meanwhile.
    assert any("Exception in callback" in r.getMessage() for r in caplog.records)


def test_a_guest_goes_with_its_host():
    async def main():
        return weakref.ref(IOLoop.current())

    ref = asyncio.run(main())
    gc.collect()
    assert ref() is None


def test_a_second_ioloop_for_one_asyncio_loop_is_an_error(loop):
    with pytest.raises(RuntimeError, match="already associated"):
        AsyncIOLoop(asyncio_loop=loop.asyncio_loop, make_current=False)


def test_make_current_false_leaves_the_thread_alone(loop):
    other = IOLoop(make_current=False)
    assert IOLoop.current() is loop
    other.close()
    assert IOLoop.current() is loop


def test_closing_gives_the_thread_its_former_loop_back(loop):
    inner = IOLoop()
    assert IOLoop.current() is inner
    inner.close()
    assert IOLoop.current() is loop


def test_deprecated_names_warn_and_work(loop):
    other = IOLoop(make_current=False)
    with pytest.warns(DeprecationWarning):
        other.make_current()
    assert IOLoop.instance() is other
    with pytest.warns(DeprecationWarning):
        IOLoop.clear_current()
    assert IOLoop.current() is loop
    with pytest.warns(DeprecationWarning):
        other.add_callback_from_signal(print)
    other.close()


def test_main_loop_stands_for_the_loop_that_runs():
    async def main():
        loop = AsyncIOMainLoop()
        assert IOLoop.current() is loop
        assert loop.asyncio_loop is asyncio.get_running_loop()

    aio.run(main())


def test_configure_takes_our_classes_only():
    class Mine(AsyncIOLoop):
        pass

    saved = IOLoop._save_configuration()
    try:
        IOLoop.configure(Mine)
        loop = IOLoop(make_current=False)
        assert type(loop) is Mine
        loop.close()
        with pytest.raises(RuntimeError):
            IOLoop.configure(dict)
    finally:
        IOLoop._restore_configuration(saved)


def test_patched_and_overridden_methods_are_used(loop):
    class Frozen(AsyncIOLoop):
        def time(self):
            return 1000.0

    frozen = Frozen(make_current=False)
    seen = []
    frozen.call_at(1000.01, lambda: (seen.append(1), frozen.stop()))
    run(frozen)
    frozen.close()
    assert seen == [1]


# ---- PeriodicCallback ----


def test_periodic_callback_runs_until_it_is_stopped(loop):
    calls = []

    def tick():
        calls.append(1)
        if len(calls) == 3:
            periodic.stop()
            loop.add_callback(loop.stop)

    periodic = PeriodicCallback(tick, datetime.timedelta(milliseconds=1))
    assert not periodic.is_running()
    periodic.start()
    assert periodic.is_running()
    run(loop)
    assert len(calls) == 3
    assert not periodic.is_running()


def test_periodic_coroutines_never_overlap(loop):
    inside = 0
    worst = 0
    calls = 0

    async def tick():
        nonlocal inside, worst, calls
        inside += 1
        calls += 1
        worst = max(worst, inside)
        await asyncio.sleep(0.005)
        inside -= 1
        if calls == 3:
            loop.stop()

    periodic = PeriodicCallback(tick, 1)
    periodic.start()
    run(loop)
    periodic.stop()
    assert worst == 1


def test_periodic_callback_goes_on_after_an_exception(loop, caplog):
    calls = 0

    def tick():
        nonlocal calls
        calls += 1
        if calls == 2:
            loop.stop()
        raise ZeroDivisionError

    periodic = PeriodicCallback(tick, 1)
    periodic.start()
    run(loop)
    periodic.stop()
    assert calls == 2
    assert "Exception in callback" in caplog.records[0].getMessage()


def test_periodic_callback_keeps_to_its_raster():
    periodic = PeriodicCallback(lambda: None, 10000)
    now = 1000.0
    periodic._next_timeout = now
    expected = []
    for step in (1000, 1010.2, 1020, 1035, 1036):
        periodic._update_next(step)
        expected.append(periodic._next_timeout)
    # In time, a little late, in time, one tick missed, early.
    assert expected == [1010.0, 1020.0, 1030.0, 1040.0, 1050.0]


def test_periodic_callback_when_the_clock_is_set_back():
    periodic = PeriodicCallback(lambda: None, 10000)
    periodic._next_timeout = 1000.0
    periodic._update_next(900.0)
    assert periodic._next_timeout == 1010.0


def test_periodic_jitter_uses_random(monkeypatch):
    values = iter([0.5, 1.0, 0.0])
    monkeypatch.setattr("random.random", lambda: next(values))
    periodic = PeriodicCallback(lambda: None, 10000, jitter=0.5)
    periodic._next_timeout = 1000.0
    seen = []
    for _ in range(3):
        before = periodic._next_timeout
        periodic._update_next(before)
        seen.append(periodic._next_timeout - before)
    assert seen == [10.0, 12.5, 7.5]


def test_periodic_callback_needs_a_positive_interval():
    with pytest.raises(ValueError, match="positive"):
        PeriodicCallback(lambda: None, 0)


# ---- the process around ----


def test_fork_gets_a_clear_error(loop, pair):
    code = textwrap.dedent(
        """
        import os, sys, socket
        from pyfastloop.ioloop import IOLoop
        loop = IOLoop()
        a, b = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            errors = 0
            for touch in (loop.start,
                          lambda: loop.add_handler(a, print, IOLoop.READ)):
                try:
                    touch()
                except RuntimeError as exc:
                    errors += "made in process" in str(exc)
            os._exit(10 + errors)
        _, status = os.waitpid(pid, 0)
        loop.add_callback(loop.stop)
        loop.start()
        sys.exit(os.waitstatus_to_exitcode(status))
        """
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 12


def test_keyboard_interrupt_works_while_the_loop_waits():
    code = textwrap.dedent(
        """
        import os, signal, threading
        from pyfastloop.ioloop import IOLoop
        loop = IOLoop()
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            loop.start()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "interrupted\n", done.stderr


def test_keyboard_interrupt_works_while_c_is_busy():
    code = textwrap.dedent(
        """
        import os, signal, threading
        from pyfastloop import gen
        from pyfastloop.ioloop import IOLoop
        loop = IOLoop()
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        def again():
            loop.add_callback(again)
        loop.add_callback(loop.add_callback, int)
        again()
        try:
            loop.start()
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "interrupted\n", done.stderr


def test_the_wakeup_descriptor_is_given_back(loop):
    loop.add_callback(loop.stop)
    run(loop)
    assert signal.set_wakeup_fd(-1) == -1


def test_importing_makes_no_loop_and_configures_no_logging():
    code = textwrap.dedent(
        """
        import asyncio, logging, warnings
        import pyfastloop.ioloop, pyfastloop.gen, pyfastloop.platform.asyncio
        assert asyncio.get_event_loop_policy()._local._loop is None
        assert not logging.getLogger().handlers
        """
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_blocking_log_threshold_logs_a_stack():
    code = textwrap.dedent(
        """
        import logging, sys, time
        from pyfastloop.ioloop import IOLoop
        told = []
        class Handler(logging.Handler):
            def emit(self, record):
                told.append(record.getMessage())
        logging.getLogger().addHandler(Handler())
        loop = IOLoop()
        loop.set_blocking_log_threshold(0.05)
        def block_here():
            end = time.monotonic() + 0.2
            while time.monotonic() < end:
                pass
            # A machine that stood still just before it came here was told of instead.
            if any("block_here" in text for text in told):
                loop.stop()
            else:
                loop.add_callback(block_here)
        loop.add_callback(block_here)
        loop.start()
        sys.stderr.writelines(told)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True
    )
    assert "IOLoop blocked" in done.stderr
    assert "block_here" in done.stderr


def test_stats_count(loop):
    before = loop.asyncio_loop.stats()
    for _ in range(10):
        loop.add_callback(lambda: None)
    loop.add_callback(loop.stop)
    run(loop)
    after = loop.asyncio_loop.stats()
    assert after["callbacks"] >= before["callbacks"] + 11
    assert after["ticks"] > before["ticks"]


def test_add_future_with_a_done_future_of_a_closed_loop(loop):
    gone = aio.new_event_loop()
    future = Future(loop=gone)
    future.set_result(7)
    gone.close()
    seen = []

    def done(future):
        seen.append(future.result())
        loop.stop()

    loop.add_future(future, done)
    loop.start()
    assert seen == [7]


def test_add_callback_after_the_loop_around_it_was_closed():
    async def main():
        return IOLoop.current()

    loop = asyncio.run(main())
    for _ in range(3):
        loop.add_callback(print)
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)


@pytest.mark.parametrize("callback", [None, 5, "later"])
def test_what_cannot_be_called_is_refused_at_once(loop, callback):
    for add in (
        lambda: loop.add_callback(callback),
        lambda: loop.spawn_callback(callback),
        lambda: loop.call_later(1, callback),
        lambda: loop.add_timeout(loop.time() + 1, callback),
        lambda: loop.add_future(Future(), callback),
    ):
        with pytest.raises(TypeError, match="callable"):
            add()


def test_an_event_that_waited_when_the_loop_stopped_is_asked_for_anew() -> None:
    class Stops(asyncio.Protocol):
        got = 0

        def data_received(self, data: bytes) -> None:
            self.got += len(data)
            asyncio.get_running_loop().stop()

    loop = aio.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
    ours, other = socket.socketpair()
    ours.setblocking(False)
    read: list[bytes] = []
    failed: list[object] = []
    loop.set_exception_handler(lambda loop, context: failed.append(context))
    opening = loop.create_connection(Stops, sock=receiver)
    transport, protocol = loop.run_until_complete(opening)
    loop.add_reader(ours, lambda: read.append(ours.recv(1)))
    # One tick hands out no more events after so much; the other's is left over, or not.
    sender.sendall(bytes(250_000))
    other.send(b"x")
    loop.run_forever()
    assert protocol.got
    if not read:
        read.append(ours.recv(1))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert read == [b"x"]
    assert not failed
    transport.abort()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    for sock in (sender, ours, other):
        sock.close()
