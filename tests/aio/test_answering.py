"""Ends that answer each other inside one loop: quick, and at nobody's cost."""

from __future__ import annotations

import asyncio
import os
import random
import socket

import pytest
from aio_support import run, until


class Player(asyncio.Protocol):
    """Sends back what it gets, and counts; stops when told."""

    def __init__(self):
        self.turns = 0
        self.transport = None
        self.stopped = False
        self.got = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.turns += 1
        self.got = data
        if not self.stopped:
            self.transport.write(data)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def pair_of(loop):
    """Two players that are connected to each other."""
    ends = socket.socketpair()
    return [(await loop.create_connection(Player, sock=end))[1] for end in ends]


async def playing(loop, n=1):
    """n pairs of players, each with a ball in the air."""
    pairs = [await pair_of(loop) for _ in range(n)]
    for number, (left, _) in enumerate(pairs):
        left.transport.write(b"ball %d" % number)
    return pairs


async def ended(pairs):
    for pair in pairs:
        for player in pair:
            player.stopped = True
            player.transport.close()
    for pair in pairs:
        for player in pair:
            await player.lost


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_everybody_else_has_a_turn_while_ends_answer_each_other(loop, n):
    async def main():
        pairs = await playing(loop, n)
        reader, writer = os.pipe()
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        heard = loop.create_future()
        loop.add_reader(reader, heard.set_result, None)
        receiving = loop.create_task(loop.sock_recv(here, 10))
        await asyncio.sleep(0.001)
        os.write(writer, b"x")
        await heard
        there.send(b"hello")
        assert await receiving == b"hello"
        threaded = await loop.run_in_executor(None, os.getpid)
        assert threaded == os.getpid()
        more = await pair_of(loop)
        before = [player.turns for pair in pairs for player in pair]
        await until(
            lambda: all(
                player.turns > turns + 100
                for player, turns in zip(
                    (p for pair in pairs for p in pair), before, strict=True
                )
            )
        )
        for number, pair in enumerate(pairs):
            for player in pair:
                assert player.got == b"ball %d" % number
        loop.remove_reader(reader)
        for fd in (reader, writer):
            os.close(fd)
        here.close()
        there.close()
        await ended([*pairs, more])

    run(loop, main())


def test_what_is_paused_is_not_read_though_it_was_heard_of_a_moment_ago(loop):
    async def main():
        pairs = await playing(loop, 2)
        (left, right), (other, _) = pairs
        await until(lambda: left.turns > 20 and other.turns > 20)
        right.transport.pause_reading()
        seen = right.turns
        turns = other.turns
        await until(lambda: other.turns > turns + 200)
        assert right.turns == seen
        right.transport.resume_reading()
        await until(lambda: right.turns > seen + 20)
        assert right.got == b"ball 0"
        await ended(pairs)

    run(loop, main())


def test_descriptors_that_are_closed_and_used_again_hear_their_own_bytes_only(loop):
    async def main():
        chance = random.Random(7)
        pairs = await playing(loop, 4)
        for _ in range(60):
            number = chance.randrange(4)
            left, right = pairs[number]
            goal = left.turns + chance.randrange(30)
            await until(lambda left=left, goal=goal: left.turns >= goal)
            assert left.got in (b"", b"ball %d" % number)
            closer = chance.choice((left, right))
            if chance.random() < 0.5:
                closer.transport.abort()
            else:
                closer.transport.close()
            await left.lost
            await right.lost
            pairs[number] = await pair_of(loop)
            pairs[number][0].transport.write(b"ball %d" % number)
        await ended(pairs)

    run(loop, main())


def test_a_peer_that_leaves_in_the_middle_is_told_as_ever(loop):
    async def main():
        left, right = (await playing(loop))[0]
        await until(lambda: left.turns > 50)
        left.transport.close()
        await left.lost
        await right.lost
        left, right = (await playing(loop))[0]
        await until(lambda: left.turns > 50)
        left.transport.abort()
        await left.lost
        await right.lost

    run(loop, main())


@pytest.mark.parametrize("end", ["close", "reset", "bytes"])
def test_what_happens_to_another_while_one_is_heard_is_told_without_delay(loop, end):
    """Nothing else wakes the loop: it must not go to sleep over what it has found."""

    class Then(Player):
        def data_received(self, data):
            self.got = data
            self.then()

    async def main():
        ends = [socket.socketpair() for _ in range(3)]
        players = [
            (await loop.create_connection(Then, sock=mine))[1] for mine, _ in ends
        ]
        others = [other for _, other in ends]
        heard = loop.create_future()

        def first():
            others[1].send(b"second")

        def second():
            others[2].send(b"third")

        def third():
            if end == "close":
                others[0].close()
            elif end == "reset":
                players[0].transport.write(b"never read")
                others[0].close()
            else:
                players[0].then = lambda: heard.set_result(None)
                others[0].send(b"again")

        for player, then in zip(players, (first, second, third), strict=True):
            player.then = then
        others[0].send(b"first")
        await (heard if end == "bytes" else players[0].lost)
        for player in players:
            player.transport.abort()
            await player.lost
        for other in others:
            other.close()

    for _ in range(10):
        run(loop, main())


def test_stop_and_run_again_between_two_answers(loop):
    async def begin():
        return await playing(loop)

    pairs = run(loop, begin())
    left = pairs[0][0]
    for _ in range(20):
        seen = left.turns
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert left.turns >= seen
    run(loop, until(lambda: left.turns > seen + 20))
    run(loop, ended(pairs))
