"""Polling with several requests under way: whose turn it is, and what goes into one answer.

Requests on several TCP connections overtake each other. A client that sends its POSTs before the
last one is answered numbers them (`n=1`, `n=2` …), and they are taken in that order. Answers to
GETs are numbered by us (`core.polls` has the names). A client that knows nothing of this has one
request of each kind under way, and is served as ever.
"""

import asyncio
from typing import Any

from ttybridge.errors import ProtocolError

SPARE_S = 1.0
"""Time that a GET waits behind another one, in seconds: browsers have six connections for a host,
and other tabs need some, too."""

OVERTAKEN_S = 20.0
"""Time that a POST waits for those before it, in seconds; they are lost with their connection."""

MAX_WAITING = 16
"""Most requests of each kind that may wait for their turn."""

ECHO_S = 0.005
"""Time in which the echo of a key is expected after it, in seconds. The news that a key has arrived
would take the GET under way, and the echo had to wait for the next one, a round trip later."""

ACCEPTED = '2["inack",'
"""How the news that input has arrived begins, as a Socket.IO packet."""


class Turns:
    """The polling requests of one connection, in their order."""

    def __init__(self) -> None:
        """Begin with POST 1 and answer 1."""
        self._next_post = 1
        self._posts: dict[int, asyncio.Event] = {}
        self._get = asyncio.Lock()
        self._gets = 0
        self._answers = 0

    async def begin_post(self, number: int) -> None:
        """Wait until all POSTs with lower numbers are done.

        Raises:
            ProtocolError: They do not come, or the number is none of the next.
        """
        if not 0 <= number - self._next_post < MAX_WAITING or number in self._posts:
            raise ProtocolError("POSTs are numbered one after the other.")
        turn = self._posts[number] = asyncio.Event()
        if number == self._next_post:
            turn.set()
        try:
            async with asyncio.timeout(OVERTAKEN_S):
                await turn.wait()
        except TimeoutError:
            raise ProtocolError("A POST is missing.") from None
        finally:
            if not turn.is_set():
                del self._posts[number]

    def end_post(self, number: int) -> None:
        """Let the next POST have its turn; its number has had its own."""
        del self._posts[number]
        self._next_post = number + 1
        following = self._posts.get(self._next_post)
        if following is not None:
            following.set()

    async def begin_get(self) -> bool:
        """Wait until no other GET is under way; tell whether this one is needed."""
        if self._gets >= MAX_WAITING:
            return False
        self._gets += 1
        try:
            async with asyncio.timeout(SPARE_S):
                await self._get.acquire()
        except TimeoutError:
            return False
        finally:
            self._gets -= 1
        return True

    def end_get(self) -> int:
        """Let the next GET have its turn; return the number of this one's answer."""
        self._get.release()
        self._answers += 1
        return self._answers


async def gather_echo(socket: Any, packets: list[Any]) -> list[Any]:
    """Return what a poll has got, with the echo of the keys whose arrival it tells of.

    Args:
        socket: The Engine.IO socket.
        packets: What its `poll` has taken from its queue.
    """
    if not packets or not all(_is_accepted(packet) for packet in packets):
        return packets
    await asyncio.sleep(ECHO_S)
    while not socket.queue.empty():
        packet = socket.queue.get_nowait()
        socket.queue.task_done()
        if packet is None:
            socket.queue.put_nowait(None)
            break
        packets.append(packet)
    return packets


def _is_accepted(packet: Any) -> bool:
    data = getattr(packet, "data", None)
    return isinstance(data, str) and data.startswith(ACCEPTED)
