"""The entrance `colab/tty`: a WebSocket with Colab's contract, for the official command line."""

import asyncio
import logging
from collections.abc import Callable

from aiohttp import WSCloseCode, WSMsgType, web

from ttybridge.core.access import Principal
from ttybridge.core.protocol import CHUNK_BYTES, MAX_MESSAGE_BYTES
from ttybridge.core.stream import Finished
from ttybridge.errors import ProtocolError, TtyBridgeError
from ttybridge.model import DEFAULT_SIZE
from ttybridge.sessions.hub import Hub, SessionFull
from ttybridge.web.contract import ColabPeer

log = logging.getLogger(__name__)

HEARTBEAT_S = 60.0
"""Time between two pings, in seconds; half of it for the answer. The original's ping time-out."""


LAST_OUTPUT_S = 10.0
"""Time for a client to take the last output in, in seconds."""


class ColabEntrance:
    """Serves `colab/tty`."""

    def __init__(self, hub: Hub, principal_of: Callable[[web.Request], Principal]) -> None:
        """Serve the session of `hub`; `principal_of` tells who sent a request."""
        self._hub = hub
        self._principal_of = principal_of
        self._open: dict[asyncio.Task[None], tuple[str, _Line]] = {}
        self._closing = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until either side ends it."""
        principal = self._principal_of(request)
        socket = web.WebSocketResponse(
            max_msg_size=MAX_MESSAGE_BYTES, compress=False, heartbeat=HEARTBEAT_S
        )
        if not socket.can_prepare(request).ok:
            return web.Response(status=426, text="This address is a WebSocket.\n")
        try:
            attachment = await self._hub.join(principal.role, DEFAULT_SIZE, acks=False)
        except TtyBridgeError as error:
            log.warning("a client could not join: %s", error)
            status = 429 if isinstance(error, SessionFull) else 503
            return web.Response(status=status, text=f"{error}\n")
        if self._closing:
            self._hub.leave(attachment)
            return web.Response(status=503, text="The bridge is stopping.\n")
        peer = ColabPeer(attachment)
        sender: asyncio.Task[None] | None = None
        try:
            await socket.prepare(request)
            line = _Line(socket, request.transport)
            sender = asyncio.get_running_loop().create_task(_send_all(line, peer))
            self._open[sender] = (principal.id, line)
            await _receive_all(line, peer)
        except ConnectionError:
            pass  # the client is gone
        finally:
            peer.flush()
            self._hub.leave(attachment)
            if sender is not None:
                self._open.pop(sender, None)
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        return socket

    async def end_all_of(self, principal_id: str) -> None:
        """End the connections of somebody whose credential has ended."""
        await self._end(lambda owner: owner == principal_id)

    async def close(self) -> None:
        """End all connections, and those that are joining: the bridge stops."""
        self._closing = True
        await self._end(lambda _owner: True)

    async def _end(self, concerns: Callable[[str], bool]) -> None:
        lines = []
        for sender, (owner, line) in self._open.items():
            if concerns(owner):
                sender.cancel()
                lines.append(line)
        await asyncio.gather(*(line.close(WSCloseCode.GOING_AWAY) for line in lines))


class _Line:
    """A WebSocket that ends within a bounded time even when the client reads nothing."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self._transport = transport

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


async def _send_all(line: _Line, peer: ColabPeer) -> None:
    """Send output at the pace of the socket and the client, then close."""
    try:
        while True:
            await peer.may_send()
            item = await peer.attachment.next(CHUNK_BYTES)
            text = peer.encode(item)
            if text:
                await line.socket.send_str(text)
            if isinstance(item, Finished):
                # The client waits up to 10 s for this close when its input has ended.
                await line.close(WSCloseCode.OK, within_s=LAST_OUTPUT_S)
                return
    except ConnectionError:
        return


async def _receive_all(line: _Line, peer: ColabPeer) -> None:
    async for message in line.socket:
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        try:
            peer.receive(message.data)
        except ProtocolError as error:
            log.info("client %s is cut off: %s", peer.attachment.id, error.message)
            await line.close(WSCloseCode.UNSUPPORTED_DATA)
            return
