"""Sends a client what it is to be told, as fast as its line takes it.

A page's output goes from the pty to the socket in one turn of the event loop while its line is
free: no task has to wake for it, and a key's echo waits for nothing. Where the line is not free, a
task waits for it, so that the transport sets the pace.
"""

import asyncio

from ttybridge.core import protocol
from ttybridge.core.cursor import Chunk, Finished
from ttybridge.web.connection import Connection
from ttybridge.web.peers import ColabSocketPeer, PagePeer


class PagePump:
    """What is sent to one page."""

    def __init__(self, connection: Connection, peer: PagePeer) -> None:
        """Stand between the two; nothing is sent before `run`."""
        self._connection = connection
        self._peer = peer
        self._attachment = peer.attachment
        self._waiter: asyncio.Future[None] | None = None
        self._is_waiting = False
        """Whether there was nothing more to send, and nobody sends now."""
        self._has_more = self._has_ended = False

    async def run(self) -> None:
        """Send until the stream's end has been sent, or this is cancelled."""
        self._attachment.on_ready = self._wake
        self._attachment.offer = self._offer
        try:
            while not self._has_ended:
                await self._connection.drained()
                self._has_more = False
                self._push()
                if self._is_waiting and not self._has_more:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        finally:
            self._is_waiting = False

    def _offer(self, chunk: Chunk) -> bool:
        """Send a chunk that others get, too, if it can leave at once."""
        return self._is_waiting and self._connection.send_chunk(chunk)

    def _wake(self) -> None:
        """Send at once where that can be; wake the task otherwise."""
        if self._is_waiting:
            self._push()
            if self._is_waiting:
                return
        self._has_more = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _push(self) -> None:
        """Send what there is while the line takes it."""
        self._is_waiting = False  # taking output may wake others, and so this one
        next_item, send = self._attachment.next_nowait, self._peer.send
        while self._connection.takes_more:
            item = next_item(protocol.CHUNK_BYTES)
            if item is None:
                self._is_waiting = True
                return
            send(item)
            if isinstance(item, Finished):
                self._has_ended = True
                return


async def send_to_colab(connection: Connection, peer: ColabSocketPeer) -> None:
    """Send a client of Colab's contract everything until its stream ends."""
    while True:
        await connection.drained()
        item = await peer.attachment.next(protocol.CHUNK_BYTES)
        await peer.send(item)
        if isinstance(item, Finished):
            return
