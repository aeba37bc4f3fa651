"""The WebSocket under an Engine.IO connection: text alone, and each packet of it checked."""

import asyncio
import logging
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from engineio.async_drivers import aiohttp as driver

from ttybridge.core.meter import Meter
from ttybridge.errors import ProtocolError
from ttybridge.web.connection import LAST_OUTPUT_S, Connection
from ttybridge.web.lingering import LingeringWebSocket
from ttybridge.web.shared_frames import Line

log = logging.getLogger(__name__)

TURN_EVENTS = 16
"""Events of one client that are taken before others have their turn, however many there are."""

HELLO = "hello"
"""Query parameter of a WebSocket's address: the argument of the Socket.IO connection, in JSON. It
counts as the first packet, and saves the round trip that a client needs to send that."""

ATTACHMENTS = ("45", "46", "b")
"""How packets begin that have, or announce, what is binary; no client of ours has any to send."""


def reason_of_error(error: object) -> str:
    """Return under which reason a WebSocket is counted that ends with an error of its client."""
    code = getattr(error, "code", None)  # aiohttp's WebSocketError
    return "size" if code == WSCloseCode.MESSAGE_TOO_BIG else "packet"


class GuardedWebSocket(driver.WebSocket):  # type: ignore[misc]  # engineio has no types
    """The driver's WebSocket: text frames only, each checked; no compression of keystrokes."""

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Serve the connection until it ends."""
        request = environ["aiohttp.request"]
        connection: Connection | None = environ.get("ttybridge.connection")
        if connection is None or connection.has_websocket:
            raise web.HTTPBadRequest(text="This connection has a WebSocket already.\n")
        self.environ, self._connection = environ, connection
        self._meter: Meter = environ["ttybridge.meter"]
        self._sock = LingeringWebSocket(
            max_msg_size=connection.message_bytes, compress=False, timeout=LAST_OUTPUT_S
        )
        self._line = Line(self._sock, request)
        self._hello = "" if "sid" in request.query else request.query.get(HELLO, "")
        connection.begin_websocket(self._line, upgrades="sid" in request.query)
        try:
            await self._sock.prepare(request)
            self._sock.headers.clear()  # they are sent, and would stay as long as the client
            await self.handler(self)
            await self._sock.close()  # here, so that the next one comes after this one
        finally:
            connection.end_websocket()
        return self._sock

    async def send(self, message: str | bytes) -> None:
        """Send a packet."""
        self._line.is_writing = True
        try:
            await super().send(message)
        finally:
            self._line.is_writing = False

    async def wait(self) -> str:
        """Return the next packet that is for the library; events are taken here.

        Raises:
            OSError: The client is gone, or has sent what it must not.
        """
        taken = 0
        if self._hello:
            packet, self._hello = f"40{self._hello}", ""
            try:
                self._connection.check_frame(packet)
            except ProtocolError as error:
                raise self._malformed(error, packet) from error
            return packet
        while True:
            message = await self._sock.receive()
            if message.type is not WSMsgType.TEXT:
                if message.type is WSMsgType.BINARY:
                    self._meter.refuse("attachment")
                elif message.type is WSMsgType.ERROR:
                    self._meter.refuse(reason_of_error(message.data))
                raise OSError("the client is gone, or sent what is not text")
            self._meter.took(len(message.data))
            try:
                if self._connection.takes(message.data):
                    taken += 1
                    if taken % TURN_EVENTS == 0:
                        await asyncio.sleep(0)
                    continue
                self._connection.check_frame(message.data)
            except ProtocolError as error:
                raise self._malformed(error, message.data) from error
            return str(message.data)

    def _malformed(self, error: ProtocolError, packet: str) -> OSError:
        """Say why a connection ends, and return what the libraries take for its end."""
        self._meter.refuse("attachment" if packet.startswith(ATTACHMENTS) else "packet")
        if self._meter.may_log(self._connection):
            log.info("connection closed: %s", error.message)
        return OSError("malformed packet")
