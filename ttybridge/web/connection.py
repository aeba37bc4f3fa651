"""One Engine.IO connection: its checks, its deadlines, and its end."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web
from engineio import packet as eio_packet

from ttybridge.core.access import Principal
from ttybridge.core.cursor import Chunk
from ttybridge.core.meter import Meter
from ttybridge.core.protocol import check_content, check_packet
from ttybridge.errors import ProtocolError
from ttybridge.web.bodies import read_body
from ttybridge.web.polling import Turns
from ttybridge.web.shared_frames import Line, frames_of, frames_of_chunk

log = logging.getLogger(__name__)

REFUSAL_S = 1.0
"""Time for a refusal to reach the client, in seconds."""

CLOSE_GRACE_S = 3.0
"""Time for a client to close its end after we have closed ours, in seconds."""

LAST_OUTPUT_S = 10.0
"""Time for a client to take the last output in, in seconds: a window of 512 KiB at 50 KB/s."""

MAX_POST_PACKETS = 4096
"""Most packets in the body of a POST: 83,000, which fit in it, hold everybody up for more than a
second. The page has at most 16 under way."""

MAX_QUEUED_PACKETS = 4096
"""Most packets that may wait for a client that goes on sending: each event with a number adds an
answer, even if the client reads nothing. Output adds two at a time."""

EVENT = "42["
"""How an event begins that asks for no answer."""

MAX_POLLED_PACKETS = 64
"""Packets that wait for a client that polls, from which on it gets no more: its credit is less."""

_decode = json.JSONDecoder().raw_decode

ACK, ACK_DIGITS = '42["ack",', 15
"""How an acknowledgement begins, and how many digits of an offset are no question of range."""


class _Once(eio_packet.Packet):  # type: ignore[misc]  # engineio has no types
    """A packet that is empty once it is encoded, which happens once.

    The writer of python-engineio 4.15 holds each connection's last packet until the next, and that
    holds its text twice: of what says who is there, 20 KB with a hundred people.
    """

    def encode(self, b64: bool = False) -> Any:
        encoded = super().encode(b64)
        self.data = self.encode_cache = None
        return encoded


class Connection:
    """One Engine.IO connection.

    Attributes:
        sid: Its Engine.IO session id.
        principal: Who opened it.
        address: Where the client is.
        query: The query of the request that opened it.
        turns: The order of its polling requests.
        is_joined: Whether it has a place in the session; otherwise it ends at its deadline.
        is_open: Whether it has not ended.
        since: When it was opened, on the event loop's clock.
        has_websocket: Whether a WebSocket carries it, or is about to after polling.
        on_ack: Called with the offset that the client acknowledges.
        on_event: Called with the name and the arguments of any other event of the client. What
            comes over the WebSocket reaches them straight: the libraries' way to a handler takes
            four tasks for each, and a key waits for them.
    """

    def __init__(
        self,
        sid: str,
        principal: Principal,
        request: web.Request,
        eio: Any,
        address: str,
        meter: Meter,
    ) -> None:
        """Remember the connection."""
        self._meter = meter
        self.sid, self.principal, self.address = sid, principal, address
        self.query = request.query
        self.turns = Turns()
        self.is_joined = False
        self.is_open = True
        self._ending: asyncio.Event | None = None
        """Set when either the connection or its line has ended; there is one while it matters."""
        self.has_websocket = False
        self.on_ack: Callable[[int], None] | None = None
        self.on_event: Callable[[str, list[object]], None] | None = None
        self._bodies: set[asyncio.Timeout] = set()
        self._eio = eio
        self._said_hello = False
        self._line: Line | None = None
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._upgrade: asyncio.TimerHandle | None = None
        self._join_timeout_s = 0.0

    def start_deadline(self, seconds: float) -> None:
        """End the connection unless it has joined by then; an upgrade has as long."""
        self._join_timeout_s = seconds
        self._timer = self._loop.call_later(seconds, self._on_deadline)

    def check_body(self, body: bytes) -> None:
        """Check the packets of a POST.

        Raises:
            ProtocolError: One is not allowed, or there are too many.
            UnicodeDecodeError: The body is not text.
        """
        if body.count(b"\x1e") >= MAX_POST_PACKETS:
            raise ProtocolError(f"A POST has at most {MAX_POST_PACKETS} packets.")
        for packet in body.decode().split("\x1e"):
            if packet in ("2probe", "5"):
                raise ProtocolError("An upgrade is made on its WebSocket.")
            self._check(packet)
            check_content(packet)

    def check_frame(self, text: str) -> None:
        """Check a packet that came over the WebSocket.

        Raises:
            ProtocolError: It is not allowed, or not now.
        """
        if text == "5":
            if self._upgrade is None:
                raise ProtocolError("There is no upgrade to finish.")
            self._upgrade.cancel()
            self._upgrade = None
        self._check(text)
        check_content(text)

    def takes(self, text: str) -> bool:
        """Take an event that came over the WebSocket; anything else is not for here.

        Raises:
            ProtocolError: It is not allowed.
        """
        if self.on_ack is None or self.on_event is None or not text.startswith(EVENT):
            return False
        if text.startswith(ACK) and text[-1] == "]":
            number = text[len(ACK) : -1]
            is_number = number.isascii() and number.isdigit()
            if is_number and len(number) <= ACK_DIGITS and (number[0] != "0" or number == "0"):
                self.on_ack(int(number))
                return True
        self._check(text)
        try:
            (name, *arguments), end = _decode(text, len(EVENT) - 1)
            if text[end:].strip():
                raise ValueError("more than one value")
        except (ValueError, RecursionError) as error:
            raise ProtocolError("An event is malformed.") from error
        self.on_event(name, arguments)
        return True

    def _check(self, text: str) -> None:
        check_packet(text)
        socket = self._eio.sockets.get(self.sid)
        if socket is not None and socket.queue.qsize() > MAX_QUEUED_PACKETS:
            raise ProtocolError("The client sends, but does not take what it is sent.")
        if text.startswith("40"):
            if self._said_hello:
                raise ProtocolError("A client connects once.")
            self._said_hello = True

    def begin_websocket(self, line: Line, *, upgrades: bool) -> None:
        """Note the WebSocket. Polling has no transport of its own: proxies share theirs.

        Args:
            line: What is cut when the connection ends.
            upgrades: Whether the connection has been polling; if the upgrade is not finished in
                time, the WebSocket is cut, and polling goes on.
        """
        self.has_websocket = True
        self._line = line
        if upgrades:
            self._upgrade = self._loop.call_later(self._join_timeout_s, self._cut)

    def end_websocket(self) -> None:
        """Note that the WebSocket has ended, with the connection or before it was used."""
        self.has_websocket = False
        self._line = None
        self._tell_end()
        if self._upgrade is not None:
            self._upgrade.cancel()
            self._upgrade = None
        socket = self._eio.sockets.get(self.sid)
        if socket is not None and not socket.upgraded:
            socket.upgrading = False  # python-engineio 4.15 leaves it, and polling gets no data
        if not self.is_open:
            self.forget()

    @property
    def message_bytes(self) -> int:
        """Bytes of the largest message that the client may send."""
        return int(self._eio.max_http_buffer_size)

    @property
    def is_joining(self) -> bool:
        """Whether it has no place yet, and a deadline to get one: nobody has it wait."""
        return not self.is_joined and self._timer is not None

    async def read_body(self, request: web.Request, within_s: float) -> bytes:
        """Read the whole body of a request.

        Raises:
            ProtocolError: The connection has ended before.
            web.HTTPRequestEntityTooLarge: It is larger than one message may be.
            web.HTTPRequestTimeout: It has not arrived after `within_s` seconds.
        """
        limit = asyncio.timeout(None)
        self._bodies.add(limit)
        try:
            async with limit:
                return await read_body(request, self.message_bytes, within_s, self._meter)
        except TimeoutError as error:
            if request.transport is not None:
                request.transport.abort()  # with half a body, it serves nobody else either
            raise ProtocolError("The connection has ended.") from error
        finally:
            self._bodies.discard(limit)

    def send(self, packet: str, attachment: bytes | None = None) -> None:
        """Send a Socket.IO packet, with its bytes; never waits.

        Without a detour where nothing is before it (see `shared_frames`), else by the queue.
        """
        line = self._free_line()
        if line is not None:
            line.write(frames_of(packet, attachment))
            return
        socket = self._eio.sockets.get(self.sid)
        if socket is None or socket.closed:
            return
        message = eio_packet.MESSAGE
        socket.queue.put_nowait(_Once(message, data=packet))
        if attachment is not None:
            socket.queue.put_nowait(_Once(message, data=attachment))

    def send_chunk(self, chunk: Chunk) -> bool:
        """Send output if it leaves at once, and tell whether it does; see `shared_frames`."""
        line = self._free_line()
        if line is None:
            return False
        line.write(frames_of_chunk(chunk))
        return True

    @property
    def queued(self) -> int:
        """Packets that the transport has not taken yet."""
        socket = self._eio.sockets.get(self.sid)
        return 0 if socket is None else int(socket.queue.qsize())

    @property
    def is_free(self) -> bool:
        """Whether what is sent now leaves at once: everything before it has."""
        return self._free_line() is not None

    @property
    def takes_more(self) -> bool:
        """Whether all that was sent has gone as far as the transport, which wants more.

        What waits for the next request of a client that polls goes out in one answer.
        """
        socket = self._eio.sockets.get(self.sid)
        if socket is None or socket.closed:
            return True
        if self._line is None:
            return bool(socket.queue.qsize() < MAX_POLLED_PACKETS)
        return bool(socket.queue.is_idle) and not self._line.is_full

    def _free_line(self) -> Line | None:
        line = self._line
        if line is None or not line.is_free:
            return None
        socket = self._eio.sockets.get(self.sid)
        if socket is None or socket.closed or not socket.upgraded or socket.queue.unfinished:
            return None
        return line

    async def drained(self) -> bool:
        """Wait until the transport has taken what was queued; one more batch may be under way.

        Returns:
            Whether it has; the connection may have ended before.
        """
        socket = self._eio.sockets.get(self.sid)
        if socket is None:
            return False
        await socket.queue.join()
        if self._line is not None and self._line.is_full:
            await self._line.drained()
        return True

    def refuse(self) -> None:
        """Cut the line when the answer that says why has gone out."""
        self.forget()
        self._timer = self._loop.call_later(REFUSAL_S, self.abort)

    async def finish(self) -> None:
        """Say goodbye, and wait until the client has taken all and is gone, a bounded time."""
        self.close(LAST_OUTPUT_S if self.has_websocket else CLOSE_GRACE_S)
        self._ending = self._ending or asyncio.Event()
        # What is still on its way on the line is lost when the bridge ends.
        while self.is_open or self._line is not None:
            self._ending.clear()
            await self._ending.wait()

    def close(self, grace_s: float = CLOSE_GRACE_S) -> None:
        """Say goodbye, and cut the line after `grace_s` seconds; returns at once."""
        socket = self._eio.sockets.get(self.sid)
        if socket is not None and not socket.closed:
            socket.queue.put_nowait(eio_packet.Packet(eio_packet.CLOSE))
            socket.queue.put_nowait(None)  # ends the writer, which closes the WebSocket
        self.forget()
        self._timer = self._loop.call_later(grace_s, self.abort)

    def end_soon(self) -> None:
        """Cut the line after `CLOSE_GRACE_S`, unless it is closed properly before."""
        self.forget()
        self._timer = self._loop.call_later(CLOSE_GRACE_S, self.abort)

    def abort(self) -> None:
        """Cut the line now: frees what is queued for a client that does not read."""
        self.forget()
        self._end()
        self._cut()
        socket = self._eio.sockets.pop(self.sid, None)
        if socket is not None and not socket.closed:
            socket.queue.put_nowait(None)
            self._eio.start_background_task(_end, socket)

    def ended(self) -> None:
        """Note the end; a WebSocket that is still there is cut after `CLOSE_GRACE_S`."""
        self.forget()
        self._end()
        if self._line is not None:
            self._timer = self._loop.call_later(CLOSE_GRACE_S, self.abort)

    def _tell_end(self) -> None:
        if self._ending is not None:
            self._ending.set()

    def _cut(self) -> None:
        if self._line is not None and self._line.transport is not None:
            self._line.transport.abort()

    def _end(self) -> None:
        self.is_open = False
        self._tell_end()
        for limit in self._bodies:
            if not limit.expired():
                limit.reschedule(self._loop.time())

    def forget(self) -> None:
        """Stop the deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_deadline(self) -> None:
        if not self.is_joined:
            self._meter.refuse("joining")
            log.info("a connection that did not join was closed")
            self.abort()


async def _end(socket: Any) -> None:
    await socket.close(wait=False, abort=True, reason=socket.server.reason.SERVER_DISCONNECT)
