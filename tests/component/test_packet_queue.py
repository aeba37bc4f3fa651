"""The queue of a connection: as asyncio's own, and what it says of what has not left it."""

import asyncio
import random
from typing import Any

import pytest

from ttybridge.web.packet_queue import PacketQueue, take_all

GAMES = 200
"""Games against asyncio's queue, each with its own seed."""

MOVES = 60


async def turns(count: int = 3) -> None:
    """Let everybody who can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


class Player:
    """Does the same to a queue as somebody else does to another one, and notes what comes out."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.getting: list[asyncio.Task[Any]] = []
        self.joining: list[asyncio.Task[Any]] = []
        self.seen: list[object] = []

    def move(self, choice: int, which: int, number: int) -> None:
        """Do one thing."""
        match choice:
            case 0 | 1:
                self.queue.put_nowait(number)
            case 2:
                try:
                    self.seen.append(self.queue.get_nowait())
                except asyncio.QueueEmpty:
                    self.seen.append("empty")
            case 3:
                self.getting.append(asyncio.create_task(self.queue.get()))
            case 4 if self.getting:
                self.getting[which % len(self.getting)].cancel()
            case 5 if self.queue.qsize() < self.unfinished():
                self.queue.task_done()
            case 6:
                self.joining.append(asyncio.create_task(self.queue.join()))
            case 7:  # somebody is told, and takes it back before they run
                self.queue.put_nowait(number)
                if self.getting:
                    self.getting[which % len(self.getting)].cancel()
            case _:
                pass

    def unfinished(self) -> int:
        queue = self.queue
        return int(queue.unfinished if isinstance(queue, PacketQueue) else queue._unfinished_tasks)

    def state(self) -> object:
        """Return all that can be seen of it."""
        ended = [
            "cancelled" if task.cancelled() else task.result() if task.done() else "waits"
            for task in [*self.getting, *self.joining]
        ]
        return self.queue.qsize(), self.queue.empty(), self.unfinished(), self.seen, ended

    async def end(self) -> None:
        """Leave no task behind."""
        for task in [*self.getting, *self.joining]:
            task.cancel()
        await asyncio.gather(*self.getting, *self.joining, return_exceptions=True)


@pytest.mark.parametrize("seed", range(GAMES))
async def test_it_does_what_asyncio_s_queue_does(seed: int) -> None:
    rng = random.Random(seed)
    ours, theirs = Player(PacketQueue()), Player(asyncio.Queue())
    moves: list[tuple[int, int, int]] = []
    for number in range(MOVES):
        moves.append((rng.randrange(8), rng.randrange(100), number))
        ours.move(*moves[-1])
        theirs.move(*moves[-1])
        if rng.random() < 0.7:
            await turns()
            assert ours.state() == theirs.state(), moves
    await ours.end()
    await theirs.end()


async def test_it_is_idle_when_all_that_was_put_in_is_done() -> None:
    queue = PacketQueue()
    assert queue.is_idle
    await queue.put("packet")
    assert not queue.is_idle
    assert queue.get_nowait() == "packet"
    assert queue.empty()
    assert not queue.is_idle
    queue.task_done()
    assert queue.is_idle


async def test_all_packets_are_taken_at_once_and_the_end_by_itself() -> None:
    queue = PacketQueue()
    taking = asyncio.create_task(take_all(queue))
    await turns()
    assert not taking.done()
    for packet in ("one", "two", None):
        queue.put_nowait(packet)
    assert await taking == ["one", "two"]
    assert await take_all(queue) == []
    assert queue.is_idle
    queue.put_nowait("three")
    assert await take_all(queue) == ["three"]
    assert queue.is_idle
