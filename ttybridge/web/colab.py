"""The entrance `colab/tty`: a WebSocket with Colab's contract, for the official command line."""

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from ttybridge.core.access import Principal
from ttybridge.core.colab_contract import parse_colab
from ttybridge.core.cursor import Finished
from ttybridge.core.limits import Bounds
from ttybridge.core.meter import Meter
from ttybridge.core.people import Person
from ttybridge.core.permissions import Entrance
from ttybridge.core.protocol import CHUNK_BYTES
from ttybridge.errors import ProtocolError, TtyBridgeError
from ttybridge.model import DEFAULT_SIZE
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.hub import Hub
from ttybridge.web.answers import plain
from ttybridge.web.contract import ColabPeer
from ttybridge.web.lingering import LingeringWebSocket
from ttybridge.web.not_joined import reason_of, status_of
from ttybridge.web.shared_frames import keep_short
from ttybridge.web.visitor import visitor
from ttybridge.web.websocket import reason_of_error

log = logging.getLogger(__name__)

HEARTBEAT_S = 40.0
"""Time between two pings, in seconds; half of it for the answer: 60 s in all, the original's ping
time-out."""

PING_S = 15.0
"""Time between two pings whose round-trip time is taken, in seconds."""

LAST_OUTPUT_S = 10.0
"""Time for a client to take the last output in, in seconds."""

WAIT = "Waiting to be let in… (Ctrl-C leaves)\r\n"
"""What somebody sees whom the owner has to let in."""

INTERRUPT = b"\x03"
"""Ctrl-C."""


def _remote(request: web.Request) -> str:
    return request.remote or ""


class ColabEntrance:
    """Serves `colab/tty`."""

    def __init__(
        self,
        hub: Hub,
        principal_of: Callable[[web.Request], Principal],
        address_of: Callable[[web.Request], str] = _remote,
        bounds: Bounds | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Serve a session.

        Args:
            hub: The session.
            principal_of: Tells who sent a request.
            address_of: Tells where it came from.
            bounds: What one client may take.
            meter: Counts.
        """
        self._bounds, self._meter = bounds or Bounds(), meter or Meter()
        self._joining: Counter[tuple[str, str]] = Counter()
        self._hub = hub
        self._principal_of, self._address_of = principal_of, address_of
        self._open: dict[_Client, str] = {}
        self._closing = False

    @property
    def joining(self) -> int:
        """The most connections that one client has that have not joined."""
        return max(self._joining.values(), default=0)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until either side ends it."""
        principal = self._principal_of(request)
        socket = LingeringWebSocket(
            max_msg_size=self._bounds.message_bytes,
            compress=False,
            heartbeat=HEARTBEAT_S,
            autoping=False,
        )
        if not socket.can_prepare(request).ok:
            return web.Response(status=426, text="This address is a WebSocket.\n")
        address = self._address_of(request)
        place = (principal.id, address)
        if self._joining[place] >= self._bounds.handshakes:
            self._meter.refuse("handshakes")
            return plain(429, "Too many of your connections have not joined.")
        person = visitor(principal, Entrance.COLAB, address)
        client = _Client(self._hub, person, _Line(socket, request.transport), self._meter)
        try:
            self._joining[place] += 1
            try:
                error = await client.knock()
            finally:
                self._joining[place] -= 1
                self._joining += Counter()  # those with nobody are forgotten
            if error is not None:
                self._meter.refuse(reason_of(error))
                if self._meter.may_log(request.transport):
                    log.warning("a client could not join: %s", error)
                return plain(status_of(error), str(error))
            if self._closing:
                return web.Response(status=503, text="The bridge is stopping.\n")
            await socket.prepare(request)
            self._open[client] = principal.id
            await client.serve()
        except ConnectionError:
            pass  # the client is gone
        finally:
            self._open.pop(client, None)
            await client.leave()
        return socket

    async def end_all_of(self, principal_id: str) -> None:
        """End the connections of somebody whose credential has ended."""
        await self._end(lambda owner: owner == principal_id)

    async def close(self) -> None:
        """End all connections, and those that are joining: the bridge stops."""
        self._closing = True
        await self._end(lambda _owner: True)

    async def _end(self, concerns: Callable[[str], bool]) -> None:
        clients = [client for client, owner in self._open.items() if concerns(owner)]
        await asyncio.gather(*(client.end() for client in clients))


class _Line:
    """A WebSocket that ends within a bounded time even when the client reads nothing."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self._transport = transport
        if transport is not None:
            keep_short(transport)

    def cut_soon(self) -> None:
        """Cut the line in a while, whether the client takes its goodbye or not."""
        if self._transport is not None:
            asyncio.get_running_loop().call_later(LAST_OUTPUT_S, self._transport.abort)

    async def close(self, code: int, within_s: float = 2.0) -> None:
        """Close; cut the line when the client has not taken everything in time."""
        try:
            async with asyncio.timeout(within_s):
                await self.socket.close(code=code)
        except (TimeoutError, asyncio.CancelledError):
            if self._transport is not None:
                self._transport.abort()
            # aiohttp 3.14 keeps the future that a cancelled sender waited for, and raises its
            # cancellation in here.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise


class _Client:
    """One client, from the moment at which it asks to come in."""

    def __init__(self, hub: Hub, person: Person, line: _Line, meter: Meter) -> None:
        self._hub, self._line, self._meter = hub, line, meter
        self._peer: ColabPeer | None = None
        self._size = DEFAULT_SIZE
        self._pings: dict[bytes, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._waits = asyncio.Event()
        self._joining = asyncio.create_task(
            hub.join(person, DEFAULT_SIZE, acks=False, on_waiting=self._waits.set)
        )

    async def knock(self) -> TtyBridgeError | None:
        """Join, or begin to wait until somebody opens; return why where neither works."""
        waits = asyncio.create_task(self._waits.wait())
        try:
            await asyncio.wait([self._joining, waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits.cancel()
        error = self._joining.exception() if self._joining.done() else None
        if error is not None and not isinstance(error, TtyBridgeError):
            raise error
        return error

    async def serve(self) -> None:
        """Pass output and input on until either side ends."""
        self._start(self._receive_all())
        receiving = self._tasks[0]
        if not self._joining.done():
            await self._tell(WAIT)
            await asyncio.wait([self._joining, receiving], return_when=asyncio.FIRST_COMPLETED)
            if not self._joining.done():
                return
        try:
            attachment = self._joining.result()
        except TtyBridgeError as error:
            self._meter.refuse(reason_of(error))
            await self._tell(f"{error.message}\r\n")
            await self._line.close(WSCloseCode.OK)
            return
        attachment.resize(self._size)
        attachment.on_ended = self._line.cut_soon
        self._peer = ColabPeer(attachment)
        self._start(self._send_all(self._peer))
        self._start(self._ping())
        await receiving

    async def end(self) -> None:
        """Close the connection: somebody here ends it."""
        for task in self._tasks[1:]:
            task.cancel()
        await self._line.close(WSCloseCode.GOING_AWAY)

    async def leave(self) -> None:
        """Leave nothing behind."""
        if self._peer is not None:
            self._peer.flush()
        self._joining.cancel()
        (found,) = await asyncio.gather(self._joining, return_exceptions=True)
        if isinstance(found, Attachment):
            self._hub.leave(found)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _tell(self, text: str) -> None:
        await self._line.socket.send_str(json.dumps({"data": text}))

    async def _send_all(self, peer: ColabPeer) -> None:
        """Send output at the pace of the socket and the client, then close."""
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.may_send()
                item = await peer.attachment.next(CHUNK_BYTES)
                text = peer.encode(item)
                if text:
                    await self._line.socket.send_str(text)
                if isinstance(item, Finished):
                    # The client waits up to 10 s for this close when its input has ended.
                    await self._line.close(WSCloseCode.OK, within_s=LAST_OUTPUT_S)
                    return

    async def _ping(self) -> None:
        """Ask for signs of life, whose time is taken."""
        loop, number = asyncio.get_running_loop(), 0
        with contextlib.suppress(ConnectionError):
            while True:
                number += 1
                # One that is not answered is forgotten: only the last one counts.
                self._pings = {b"%d" % number: loop.time()}
                await self._line.socket.ping(b"%d" % number)
                await asyncio.sleep(PING_S)

    async def _receive_all(self) -> None:
        async for message in self._line.socket:
            if message.type is WSMsgType.PING:
                await self._line.socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                sent = self._pings.pop(bytes(message.data), None)
                if sent is not None and self._peer is not None:
                    rtt_s = asyncio.get_running_loop().time() - sent
                    self._peer.attachment.rtt_s = rtt_s
            elif message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._meter.refuse(reason_of_error(message.data))
                return
            else:
                self._meter.took(len(message.data))
                try:
                    if not self._receive(message.data):
                        await self._line.close(WSCloseCode.OK)
                        return
                except ProtocolError as error:
                    self._meter.refuse("packet")
                    log.info("a client of colab/tty is cut off: %s", error.message)
                    await self._line.close(WSCloseCode.UNSUPPORTED_DATA)
                    return

    def _receive(self, data: object) -> bool:
        """Take in a message; False when somebody leaves who has not been let in.

        Raises:
            ProtocolError: It is malformed, or more input waits than is kept.
        """
        if self._peer is not None:
            self._peer.receive(data)
            return True
        message = parse_colab(data)
        if message.size is not None:
            self._size = message.size
        return INTERRUPT not in message.data
