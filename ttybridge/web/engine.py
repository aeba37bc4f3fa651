"""Engine.IO with a guard: every packet of a client is checked before the libraries see it.

What python-engineio 4.15 and python-socketio 5.18 do by themselves, and what stands against it:

- A polling `sid` is honoured from anybody: the guard binds it to the credential that opened it.
- JSONP is on: a request with `j` is refused.
- A POST body is read with one `read`, which may return a part: it is read whole first, in a time.
- Any number of handshakes is kept that nobody goes on with: each client has so many.
- More than 16 packets in a POST are dropped with status 200: the limit is `MAX_POST_PACKETS`.
- An upgrade packet is answered with a packet in a queue without limit, as an event with a number
  is, and any number of upgrades may be under way: `connection.py` limits them.
- An upgrade that breaks before its first packet leaves polling without data: that is set right.
- Malformed packets raise, log a traceback each, or start unbounded attachments: `check_packet`.
- A connection that never joins stays open: it has a deadline.
- When a connection ends, its WebSocket may stay, for ever if the client reads nothing, and so may a
  body that does not arrive: both end with it.
- `emit` never waits: `Connection.drained` does.
- Its tasks sleep on after the end: they are kept and cancelled.
"""

import asyncio
import gzip
import io
import logging
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import socketio
from aiohttp import hdrs, web
from engineio import exceptions, packet
from engineio.async_drivers import aiohttp as driver
from engineio.payload import Payload

from ttybridge.advice import is_loopback
from ttybridge.core import polls
from ttybridge.core.access import Principal
from ttybridge.core.limits import Bounds
from ttybridge.core.meter import Meter
from ttybridge.errors import ProtocolError
from ttybridge.web import heartbeat, packet_queue, polling
from ttybridge.web.connection import MAX_POST_PACKETS, Connection
from ttybridge.web.websocket import ATTACHMENTS, GuardedWebSocket

log = logging.getLogger(__name__)

PING_INTERVAL_S = 20
"""Time between two heartbeats, in seconds: below the 30 s after which some proxies close."""

PING_TIMEOUT_S = 20
"""Time for the answer to a heartbeat; a line of 16 KB/s moves the credit window in it."""

TURN_PACKETS = 4
"""Packets of a POST that are taken before others have their turn. The libraries need 0.1 ms for
each: bodies of 4,000 packets, from twenty connections, held everybody up for eight seconds."""

GZIP_LEVEL = 3
"""How hard answers to polling are compressed, from 1 KB on: 87 KB of coloured text take 3 ms and
shrink to 18 KB; python-engineio 4.15 has level 9, which takes 18 ms for 16 KB."""

_silent = logging.getLogger("ttybridge.libraries")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False
_silent.setLevel(logging.CRITICAL + 1)

Payload.max_decode_packets = MAX_POST_PACKETS


Client = tuple[str, str]
"""A client before it has joined: whose credential it has, and where it is."""


class _Server(socketio.AsyncServer):  # type: ignore[misc]  # socketio has no types
    """Tells of Engine.IO connections as they open and close."""

    def __init__(self, engine: "Engine", message_bytes: int) -> None:
        super().__init__(
            async_mode="aiohttp",
            async_handlers=False,  # with True, an await in a handler reorders keystrokes
            cors_allowed_origins=[],  # the gate has checked Host and Origin
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            max_http_buffer_size=message_bytes,
            logger=_silent,
            engineio_logger=_silent,
        )
        self._engine = engine

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> Any:
        self._engine.on_open(eio_sid, environ)
        return await super()._handle_eio_connect(eio_sid, environ)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        await super()._handle_eio_disconnect(eio_sid, reason)
        self._engine.on_closed(eio_sid)


class Engine:
    """The Socket.IO server behind its guard.

    Attributes:
        sio: The Socket.IO server; handlers register there.
        connections: All Engine.IO connections by their session id.
        bounds: What one client may take.
        meter: Counts.
        join_timeout_s: Time from the handshake to a place in the session, in seconds.
    """

    def __init__(
        self,
        *,
        join_timeout_s: float,
        principal_of: Callable[[web.Request], Principal],
        address_of: Callable[[web.Request], str],
        bounds: Bounds | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Make the server.

        Args:
            join_timeout_s: Time from the handshake to a place in the session, in seconds.
            principal_of: Tells who sent a request that has passed the gate.
            address_of: Tells where it came from.
            bounds: What one client may take.
            meter: Counts.
        """
        self.bounds, self.meter = bounds or Bounds(), meter or Meter()
        self.connections: dict[str, Connection] = {}
        self._last: weakref.WeakSet[Connection] = weakref.WeakSet()
        self.join_timeout_s = join_timeout_s
        self._principal_of = principal_of
        self._address_of = address_of
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = asyncio.Event()
        self.sio = _Server(self, self.bounds.message_bytes)
        self.sio.eio._async = {
            **driver._async,
            "websocket": GuardedWebSocket,
            "translate_request": self._translate,
        }
        self.sio.eio.create_queue = packet_queue.PacketQueue
        self.sio.eio._gzip = lambda body: gzip.compress(body, GZIP_LEVEL)
        self.sio.eio.start_background_task = self._start_task
        self.sio.start_background_task = self._start_task

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a request to `tty/`.

        Raises:
            web.HTTPException: The request is refused.
        """
        if "j" in request.query or request.query.get("d"):
            raise web.HTTPBadRequest(text="JSONP is not served.\n")
        sid = request.query.get("sid")
        if sid is None and request.query.get("EIO") != "4":
            raise web.HTTPBadRequest(text="Use a Socket.IO client of version 3 or 4 (EIO=4).\n")
        if sid is None:
            self._must_have_room(request)
        else:
            connection = self.connections.get(sid)
            if connection is None:
                raise web.HTTPBadRequest(text="This connection has ended. Connect again.\n")
            if connection.principal.id != self._principal_of(request).id:
                raise web.HTTPForbidden(text="This connection belongs to somebody else.\n")
            if request.query.get("transport") != "websocket":
                return await self._poll(request, connection)
        return await self._handle(request)

    def joining(self, client: Client | None = None) -> int:
        """Return how many connections a client has that have not joined; of all, the most."""
        found = Counter(
            (c.principal.id, c.address) for c in self.connections.values() if c.is_joining
        )
        return found[client] if client is not None else max(found.values(), default=0)

    def joining_s(self, now: float) -> float:
        """Return how long the slowest connection has been joining until now, in seconds.

        Args:
            now: The event loop's time.
        """
        return max((now - c.since for c in self.connections.values() if c.is_joining), default=0.0)

    def _must_have_room(self, request: web.Request) -> None:
        """Check that a client may open one more connection.

        Raises:
            web.HTTPTooManyRequests: It has too many that have not joined.
        """
        client = (self._principal_of(request).id, self._address_of(request))
        if self.joining(client) >= self.bounds.handshakes:
            self.meter.refuse("handshakes")
            if self.meter.may_log(request.transport):
                log.info("a client has %d connections that do not join", self.bounds.handshakes)
            raise web.HTTPTooManyRequests(
                text="Too many of your connections have not joined. Try again in a moment.\n",
                headers={"Retry-After": "1"},
            )

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await self.sio.eio.handle_request(request)
        except ConnectionError:  # the client left before its WebSocket was open
            return web.Response(status=400)
        return response

    async def _poll(self, request: web.Request, connection: Connection) -> web.StreamResponse:
        """Serve a polling request in its turn."""
        turns = connection.turns
        if request.method == "GET":
            if not await turns.begin_get():
                return web.Response(text="6", headers={polls.NUMBER_HEADER: "0"})
            response = None
            try:
                response = await self._handle(request)
            finally:
                number = turns.end_get()
            response.headers[polls.NUMBER_HEADER] = str(number)
            return response
        text = request.query.get(polls.NUMBER)
        if text is None:
            return await self._handle(request)
        try:
            number = int(text)
            await turns.begin_post(number)
        except (ProtocolError, ValueError) as error:
            self.meter.refuse("packet")
            self._end_bad(connection, "POSTs out of order")
            raise web.HTTPBadRequest(text="This request is not the next.\n") from error
        try:
            return await self._handle(request)
        finally:
            turns.end_post(number)

    def end_unjoined_of(self, principal_id: str) -> None:
        """Cut the connections of somebody that have no place in the session, which would end."""
        for connection in list(self.connections.values()):
            if connection.principal.id == principal_id and not connection.is_joined:
                connection.abort()

    async def wait_closed(self) -> None:
        """Wait until all connections have ended by themselves."""
        while self.connections:
            self._closed.clear()
            await self._closed.wait()

    async def close(self) -> None:
        """Cut all connections and stop all tasks."""
        for connection in list(self.connections.values()):
            connection.abort()
        await self.sio.shutdown()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._last):
            connection.abort()
        self.connections.clear()

    def on_open(self, sid: str, environ: dict[str, Any]) -> None:
        """Note a new Engine.IO connection."""
        request = environ["aiohttp.request"]
        connection = Connection(
            sid,
            self._principal_of(request),
            request,
            self.sio.eio,
            self._address_of(request),
            self.meter,
        )
        socket = self.sio.eio.sockets[sid]
        heartbeat.watch(socket, packet.Packet(packet.PING))
        _take_packets(socket)
        if request.query.get("transport") != "websocket":
            _gather_echoes(socket)
            _take_turns(socket)
        connection.start_deadline(self.join_timeout_s)
        self.connections[sid] = environ["ttybridge.connection"] = connection

    def on_closed(self, sid: str) -> None:
        """Forget an Engine.IO connection."""
        connection = self.connections.pop(sid, None)
        if connection is not None:
            connection.ended()
            self._last.add(connection)
            self._closed.set()

    async def _translate(self, request: web.Request) -> dict[str, Any]:
        """Make the environ of a request, its body read whole and each packet checked."""
        connection = self.connections.get(request.query.get("sid", ""))
        environ: dict[str, Any] = {
            "aiohttp.request": request,
            "ttybridge.connection": connection,
            "ttybridge.meter": self.meter,
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query_string,
        }
        # What the libraries look at; they keep all that is in here as long as the connection.
        for name in (hdrs.CONNECTION, hdrs.UPGRADE):
            if name in request.headers:
                environ[f"HTTP_{name.upper()}"] = request.headers[name]
        # On a machine of its own no line is saved; who comes by a tunnel uses a name.
        is_here = is_loopback(self._address_of(request)) and is_loopback(request.url.host or "")
        if not is_here and hdrs.ACCEPT_ENCODING in request.headers:
            environ["HTTP_ACCEPT_ENCODING"] = request.headers[hdrs.ACCEPT_ENCODING]
        if request.method == "POST":
            body = b""
            try:
                if connection is None:
                    raise ProtocolError("Nobody is connected here.")
                body = await connection.read_body(request, self.bounds.body_timeout_s)
                connection.check_body(body)
            except web.HTTPException as error:
                self._end_bad(connection, f"a body is refused: {error.status}")
                raise
            except (ProtocolError, UnicodeDecodeError) as error:
                if connection is None or connection.is_open:
                    self.meter.refuse("attachment" if _has_attachment(body) else "packet")
                self._end_bad(connection, "malformed packet")
                raise web.HTTPBadRequest(text="The packet is malformed.\n") from error
            environ["wsgi.input"] = _Body(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return environ

    def _end_bad(self, connection: Connection | None, why: str) -> None:
        """Cut a connection whose client does what it must not."""
        if connection is not None and connection.is_open:
            if self.meter.may_log(connection):
                log.info("connection closed: %s", why)
            connection.abort()

    def _start_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(target(*args, **kwargs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _take_packets(socket: Any) -> None:
    """Wait for packets without a task and a timer for each; the heartbeat has the time-out."""

    async def poll() -> list[Any]:
        try:
            return await packet_queue.take_all(socket.queue)
        except asyncio.CancelledError as error:
            raise exceptions.QueueEmpty from error  # as the library's, which ends it then

    socket.poll = poll


def _gather_echoes(socket: Any) -> None:
    """Have the echo of a key go with the news that it has arrived, where that is polled for."""
    poll = socket.poll

    async def poll_more() -> list[Any]:
        packets: list[Any] = await poll()
        return packets if socket.upgraded else await polling.gather_echo(socket, packets)

    socket.poll = poll_more


def _has_attachment(body: bytes) -> bool:
    starts = [start.encode() for start in ATTACHMENTS]
    return any(body.startswith(start) or b"\x1e" + start in body for start in starts)


def _take_turns(socket: Any) -> None:
    """Have others have their turn between the packets of a POST, which may be thousands."""
    receive = socket.receive
    taken = 0

    async def receive_in_turn(packet: Any) -> None:
        nonlocal taken
        taken += 1
        if taken % TURN_PACKETS == 0:
            await asyncio.sleep(0)
        if not socket.closed:
            await receive(packet)

    socket.receive = receive_in_turn


class _Body:
    """A body that has been read, as python-engineio reads it."""

    def __init__(self, body: bytes) -> None:
        self._file = io.BytesIO(body)

    async def read(self, length: int) -> bytes:
        return self._file.read(length)
