"""The queue of an Engine.IO connection, which costs an idle client next to nothing.

python-engineio 4.15 takes an `asyncio.Queue`, with four deques of 0.7 KB each, and waits for it in
a task of its own with a timer. Here a client that has nothing to get has a list and a future. The
time-out that the library has there is the heartbeat's (`heartbeat.py`).
"""

import asyncio
from typing import Any


class PacketQueue:
    """What python-engineio uses of `asyncio.Queue`, and whether anything has not left it.

    Attributes:
        unfinished: Packets that were put in, and whose `task_done` was not called.
    """

    def __init__(self) -> None:
        """Make an empty one."""
        self.unfinished = 0
        self._packets: list[Any] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._finished: asyncio.Event | None = None

    @property
    def is_idle(self) -> bool:
        """Whether the writer's task has everything that was ever put in."""
        return not self.unfinished

    def qsize(self) -> int:
        """Return how many packets are in it."""
        return len(self._packets)

    def empty(self) -> bool:
        """Tell whether nothing is in it."""
        return not self._packets

    def put_nowait(self, packet: Any) -> None:
        """Add a packet; None tells who takes packets that the last one is out."""
        self._packets.append(packet)
        self.unfinished += 1
        self._tell_one()

    async def put(self, packet: Any) -> None:
        """Add a packet; never waits."""
        self.put_nowait(packet)

    def get_nowait(self) -> Any:
        """Return the first packet.

        Raises:
            asyncio.QueueEmpty: There is none.
        """
        if not self._packets:
            raise asyncio.QueueEmpty
        return self._packets.pop(0)

    async def get(self) -> Any:
        """Return the first packet, when there is one."""
        while not self._packets:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                elif self._packets:  # what it was told of is for the next one
                    self._tell_one()
                raise
        return self._packets.pop(0)

    def task_done(self) -> None:
        """Note that the writer's task has taken a packet."""
        self.unfinished -= 1
        if not self.unfinished and self._finished is not None:
            self._finished.set()

    async def join(self) -> None:
        """Wait until all packets that were put in are done, if only for a moment."""
        if self.unfinished:
            if self._finished is None or self._finished.is_set():
                self._finished = asyncio.Event()
            await self._finished.wait()

    def _tell_one(self) -> None:
        while self._waiting:
            turn = self._waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                return


async def take_all(queue: PacketQueue) -> list[Any]:
    """Wait for packets, and return all that are there; none when the connection has ended."""
    packets: list[Any] = []
    packet = await queue.get()
    queue.task_done()
    while packet is not None:
        packets.append(packet)
        if queue.empty():
            return packets
        packet = queue.get_nowait()
        queue.task_done()
    if packets:
        queue.put_nowait(None)  # for the next call
    return packets
