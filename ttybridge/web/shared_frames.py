"""Output for many clients at once: encoded once, and written past the library's queue.

A server's WebSocket frames are not masked (RFC 6455, 5.1), so the two frames of one `out` are the
same bytes for everybody. They may be written to a transport whenever nothing that was queued before
them is still on its way there. Where that can be, in python-engineio 4.15 and aiohttp 3.14:

- in the queue, or just out of it and not in the hands of the writer's task: `PacketQueue.is_idle`;
- in that task, which waits within `WebSocket.send` for the transport: `Line.is_writing`. It gives
  way nowhere else;
- behind the close frame nothing may follow: `WebSocketResponse.closed` is set before that is sent.

aiohttp writes each frame without giving way, pings and pongs, too, and none is compressed here.
"""

import asyncio
import contextlib
import socket
from collections import deque

from aiohttp import web

from ttybridge.core import protocol
from ttybridge.core.cursor import Chunk

KEPT_FRAMES = 8
"""Frames that are remembered. Clients that keep up all want the last one; a few more are for those
who are one step behind."""


NOT_SENT_BYTES = 32 * 1024
"""Bytes that the kernel holds of what it cannot send yet (TCP_NOTSENT_LOWAT, tcp(7)): what waits
there is shown late, and what waits with us may still be left out."""


def keep_short(transport: asyncio.Transport) -> None:
    """Keep the kernel's queue of a connection short, where the system knows how."""
    line = transport.get_extra_info("socket")
    if line is not None and line.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, AttributeError):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)


class Line:
    """A WebSocket under a connection, as far as its transport is concerned.

    Attributes:
        is_writing: Whether the library is in the middle of writing a packet.
    """

    def __init__(self, websocket: web.WebSocketResponse, request: web.Request) -> None:
        """Stand beside the WebSocket that answers `request`."""
        self.is_writing = False
        self._websocket = websocket
        self._writer = request.writer
        self.transport = request.transport
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=0)  # so `drained` waits for all of it
            keep_short(self.transport)

    @property
    def is_free(self) -> bool:
        """Whether frames may be written now, and would leave at once."""
        transport = self.transport
        return (
            not self.is_writing
            and not self._websocket.closed
            and transport is not None
            and not transport.get_write_buffer_size()
            and not transport.is_closing()
        )

    def write(self, frames: bytes) -> None:
        """Write whole frames; only while `is_free`."""
        if self.transport is not None:
            self.transport.write(frames)

    async def drained(self) -> None:
        """Wait until the transport takes more, or has lost its connection."""
        # A task of its own: who else waits for the same transport is cancelled with the one who
        # is cancelled here (aiohttp's protocols have one future for all).
        waiting = asyncio.ensure_future(self._drain())
        await asyncio.wait([waiting])

    @property
    def is_full(self) -> bool:
        """Whether the transport's buffer may have to be waited for."""
        transport = self.transport
        return (
            transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() > 0
        )

    async def _drain(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()


_last: tuple[Chunk | None, bytes] = None, b""
_frames: deque[tuple[str, bytes, bytes]] = deque(maxlen=KEPT_FRAMES)


def frames_of(packet: str, data: bytes | None) -> bytes:
    """Return the frames of a Socket.IO packet with its bytes, from the last call where it can.

    Comparing 4 KB with what another client got takes 0.1 µs, so that nobody has to pass the very
    same object.
    """
    if data is None:
        text = b"4" + packet.encode()
        return _head(0x81, len(text)) + text
    for known_packet, known_data, frames in _frames:
        if known_packet == packet and (known_data is data or known_data == data):
            return frames
    text = b"4" + packet.encode()
    frames = _head(0x81, len(text)) + text + _head(0x82, len(data)) + data
    _frames.appendleft((packet, data, frames))
    return frames


def frames_of_chunk(chunk: Chunk) -> bytes:
    """Return the frames of an `out` event; once for all who get the same chunk."""
    global _last
    if _last[0] is not chunk:
        _last = chunk, frames_of(protocol.out_header(chunk.offset), chunk.data)
    return _last[1]


def _head(first: int, length: int) -> bytes:
    """Return the head of a whole frame without a mask (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2)
    return bytes((first, 127)) + length.to_bytes(8)
