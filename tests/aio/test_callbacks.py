"""Contexts of callbacks, and callbacks that come from other threads in numbers."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import socket
import sys
import threading
import weakref

import pytest

MANY = 5000  # more than an inbox takes before its producers wait


def in_a_fresh_context(test):
    """What runs the tests may have set variables of its own; half need none."""

    @functools.wraps(test)
    @pytest.mark.parametrize("variables", [0, 1])
    def run(*args, variables, **kwargs):
        context = contextvars.Context()
        for i in range(variables):
            context.run(contextvars.ContextVar(f"other{i}").set, i)
        context.run(test, *args, **kwargs)

    parameters = inspect.signature(test).parameters.values()
    run.__signature__ = inspect.Signature(
        [*parameters, inspect.Parameter("variables", inspect.Parameter.KEYWORD_ONLY)]
    )
    return run


def turn(loop, times=1):
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()


@in_a_fresh_context
def test_what_a_callback_sets_is_not_seen_by_the_next(loop):
    var = contextvars.ContextVar("var", default=0)
    seen = []

    def look(value):
        seen.append(var.get())
        var.set(value)

    for value in (1, 2):
        loop.call_soon(look, value)
        loop.call_later(0, look, value)
        loop.call_soon_threadsafe(look, value)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == [0] * 6
    assert var.get() == 0


@in_a_fresh_context
def test_a_token_that_outlives_its_callback_belongs_to_that_context_alone(loop):
    var = contextvars.ContextVar("var", default=0)
    tokens = []

    def keep():
        tokens.append(var.set(1))
        var.reset(var.set(2))

    def reset():
        with pytest.raises(ValueError):
            var.reset(tokens[0])
        tokens.append(var.get())

    loop.call_soon(keep)
    loop.call_soon(reset)
    turn(loop, 2)
    assert tokens[1] == 0


@in_a_fresh_context
def test_a_copy_made_in_a_callback_stays_as_it_was(loop):
    var = contextvars.ContextVar("var", default=0)
    copies = []
    before = len(contextvars.copy_context())

    def copy():
        copies.append(contextvars.copy_context())
        var.set(len(copies))

    for _ in range(3):
        loop.call_soon(copy)
    turn(loop)
    assert [len(c) for c in copies] == [before] * 3
    assert [c.run(var.get) for c in copies] == [0, 0, 0]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs CPython 3.12")
@in_a_fresh_context
def test_get_context_is_the_one_that_the_callback_runs_in(loop):
    var = contextvars.ContextVar("var", default=0)
    early = loop.call_soon(var.set, 1)
    context = early.get_context()
    assert early.get_context() is context
    inside = []

    def look():
        inside.append(late.get_context())
        var.set(2)

    late = loop.call_soon(look)
    untouched = loop.call_soon(lambda: inside.append(untouched.get_context()))
    turn(loop)
    assert context[var] == 1
    assert inside[0][var] == 2
    assert len({id(c) for c in (context, *inside)}) == 3
    assert var not in inside[1]
    assert var.get() == 0


@in_a_fresh_context
def test_a_reader_keeps_one_context_for_all_its_calls(loop):
    var = contextvars.ContextVar("var", default=0)
    here, there = socket.socketpair()
    seen = []

    def read():
        here.recv(1)
        seen.append(var.get())
        var.set(len(seen))
        if len(seen) == 3:
            loop.stop()

    with here, there:
        here.setblocking(False)
        loop.add_reader(here, read)
        there.send(b"abc")
        loop.run_forever()
        loop.remove_reader(here)
    assert seen == [0, 1, 2]


@in_a_fresh_context
def test_nested_runs_have_contexts_of_their_own(loop, factory):
    var = contextvars.ContextVar("var", default=0)
    seen = []

    def inner():
        seen.append(var.get())
        var.set(2)

    def outer():
        var.set(1)
        other = factory()
        other.call_soon(inner)
        other.call_soon(inner)
        asyncio._set_running_loop(None)
        turn(other)
        asyncio._set_running_loop(loop)
        other.close()
        seen.append(var.get())

    loop.call_soon(outer)
    loop.call_soon(lambda: seen.append(var.get()))
    turn(loop)
    assert seen == [1, 1, 1, 0]


def test_a_handle_that_ran_lets_its_callback_go(loop):
    class Callback:
        def __call__(self):
            pass

    callback = Callback()
    gone = weakref.ref(callback)
    handle = loop.call_soon_threadsafe(callback)
    turn(loop)
    del callback
    if not loop.get_debug() and type(handle).__module__ != "asyncio.events":
        assert gone() is None
    assert not handle.cancelled()


@pytest.mark.parametrize("producers", [1, 3])
def test_many_callbacks_of_other_threads_keep_each_thread_s_order(loop, producers):
    seen = [[] for _ in range(producers)]
    left = producers

    def done():
        nonlocal left
        left -= 1
        if left == 0:
            loop.stop()

    def work(number):
        for i in range(MANY):
            loop.call_soon_threadsafe(seen[number].append, i)
        loop.call_soon_threadsafe(done)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(producers)]
    for thread in threads:
        loop.call_soon(thread.start)
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert seen == [list(range(MANY))] * producers


def test_a_loop_that_waits_for_the_producer_does_not_hold_it_up(loop):
    seen = []

    def work():
        for i in range(MANY):
            loop.call_soon_threadsafe(seen.append, i)

    def wait():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        loop.call_soon(loop.stop)

    loop.call_soon(wait)
    loop.run_forever()
    assert seen == list(range(MANY))


def test_two_loops_that_flood_each_other(loop, factory):
    other = factory()
    seen = {loop: 0, other: 0}

    def count(where):
        seen[where] += 1
        if seen[where] == MANY:
            where.stop()

    def flood(where):
        for _ in range(MANY):
            where.call_soon_threadsafe(count, where)

    def run():
        other.call_soon(flood, loop)
        other.run_forever()

    thread = threading.Thread(target=run)
    loop.call_soon(thread.start)
    loop.call_soon(flood, other)
    loop.run_forever()
    thread.join()
    other.close()
    assert list(seen.values()) == [MANY, MANY]


def test_a_flood_into_a_loop_that_is_not_run_waits_for_it(loop):
    seen = []
    thread = threading.Thread(
        target=lambda: [loop.call_soon_threadsafe(seen.append, i) for i in range(MANY)]
    )
    thread.start()
    thread.join()
    turn(loop)
    assert seen == list(range(MANY))


def test_closing_under_a_flood_refuses_the_rest(loop):
    refused = []

    def work():
        for _ in range(MANY * 10):
            try:
                loop.call_soon_threadsafe(str)
            except RuntimeError as exc:
                refused.append(str(exc))
                return

    thread = threading.Thread(target=work)
    loop.call_soon(thread.start)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    loop.close()
    thread.join()
    assert refused in (["Event loop is closed"], [])
