"""The entrance `tty/`: Socket.IO for the page, and for clients of Colab's contract."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from socketio.exceptions import ConnectionRefusedError as Refused

from ttybridge.core import protocol
from ttybridge.core.permissions import Entrance
from ttybridge.errors import ProtocolError, TtyBridgeError
from ttybridge.model import DEFAULT_SIZE, ClientId, End, EndReason, ExitStatus
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.hub import Hub, NoSuchClient
from ttybridge.web.announcements import Announcements
from ttybridge.web.connection import Connection
from ttybridge.web.engine import Engine
from ttybridge.web.not_joined import reason_of, refusal
from ttybridge.web.peers import ColabSocketPeer, PagePeer, Peer, colab_data
from ttybridge.web.pump import PagePump, send_to_colab
from ttybridge.web.visitor import credential_of, visitor

log = logging.getLogger(__name__)

WAIT = "Waiting to be let in…\r\n"
"""What a client of Colab's contract is shown meanwhile."""

Waits = TtyBridgeError | None
"""What somebody who waits is told: why it was not let in; None that it has to wait."""

Join = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
"""Joins the session; is given what to call when somebody has to wait."""

CLOSING = End(ExitStatus(), EndReason.CLOSING, "The bridge has stopped.", restart=False)
"""What clients are told when the bridge stops."""


@dataclass(slots=True)
class _Client:
    """A connection with its place in the session."""

    connection: Connection
    peer: Peer
    sender: asyncio.Task[None]
    resumable: bool
    """Whether the place is kept when the connection is lost."""


class Events:
    """Joins Socket.IO connections to the session.

    Attributes:
        engine: The Socket.IO server.
    """

    def __init__(
        self,
        hub: Hub,
        engine: Engine,
        *,
        title: str,
        version: str,
        recording: Callable[[], Mapping[str, object] | None],
    ) -> None:
        """Register the handlers.

        Args:
            hub: The session.
            engine: The Socket.IO server.
            title: What the page shows until the terminal sets a title.
            version: Version of the bridge.
            recording: Tells what is recorded now.
        """
        self.engine = engine
        self._recording = recording
        self._joining: dict[str, asyncio.Task[None]] = {}
        self._announcements = Announcements(hub, self._pages, recording)
        self._hub = hub
        self._title, self._version = title, version
        self._clients: dict[str, _Client] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        sio = engine.sio
        sio.on("connect", self._on_connect)
        sio.on("disconnect", self._on_disconnect)
        for name in ("in", "size", "ack", "data", "hand", "name", "display", "pong"):
            sio.on(name, self._handler(name))

    def tell(self, text: str, *, is_warning: bool = False) -> None:
        """Show a sentence in every page; clients of Colab's contract know no such thing."""
        for page in self._pages():
            page.tell("notice", {"level": "warning" if is_warning else "info", "text": text})

    def people_changed(self) -> None:
        """Tell every page who is here, soon."""
        self._announcements.soon()

    def _pages(self) -> list[PagePeer]:
        return [c.peer for c in self._clients.values() if isinstance(c.peer, PagePeer)]

    async def close(self) -> None:
        """Tell everybody that the bridge stops, and wait for their senders to end.

        Nobody joins from now on. A polling client learns it with its next request.
        """
        self._closing = True
        self._announcements.close()
        for task in self._joining.values():
            task.cancel()
        for client in list(self._clients.values()):
            client.sender.cancel()
            client.connection.send(protocol.event("exit", protocol.exit_message(CLOSING)))
            client.connection.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    async def _on_connect(self, sid: str, environ: Any, auth: Any = None) -> None:
        connection = environ.get("ttybridge.connection") if isinstance(environ, dict) else None
        if not isinstance(connection, Connection):  # an event of a client, not a handshake
            raise Refused("gone")
        try:
            if self._closing:
                raise TtyBridgeError("The bridge is stopping.")
            hello = protocol.parse_hello(auth)
            if hello is None:
                await self._join_colab(sid, connection)
            elif not self._came_back(sid, connection, hello):
                await self._join_page(sid, connection, hello)
        except TtyBridgeError as error:
            self.engine.meter.refuse(reason_of(error))
            log.warning("a client could not join: %s", error)
            connection.refuse()
            raise Refused(error.message, refusal(error)) from error

    def _came_back(self, sid: str, connection: Connection, hello: protocol.Hello) -> bool:
        """Give a client that lost its connection its place back, if it still has one."""
        if hello.resume is None:
            return False
        again = hello.resume
        with contextlib.suppress(NoSuchClient):
            attachment = self._hub.resume(
                ClientId(again.id),
                again.key,
                again.offset,
                hello.size,
                reset=again.reset,
                credential=credential_of(connection.principal),
            )
            self._serve_page(sid, connection, attachment, resumed=True)
            return True
        return False

    async def _join_or_wait(
        self, sid: str, connection: Connection, join: "Join", tell: "Callable[[Waits], None]"
    ) -> None:
        """Let a client join; when it has to wait for that, return meanwhile.

        The connection is open then, and the client is told what it waits for.

        Args:
            sid: Its Socket.IO session.
            connection: Its connection.
            join: Joins, and serves from then on; is given what to call when it has to wait.
            tell: Tells the client that it waits, or how that has ended badly.
        """
        waits = asyncio.Event()
        joining = asyncio.get_running_loop().create_task(join(waits.set))
        waiting = asyncio.create_task(waits.wait())
        self._joining[sid] = joining
        try:
            await asyncio.wait([joining, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            if joining.done():
                self._joining.pop(sid, None)
        if joining.done():
            joining.result()
            return
        connection.forget()  # its deadline is for who says nothing
        self._tasks.add(joining)

        def answered(task: "asyncio.Task[None]") -> None:
            self._joining.pop(sid, None)
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if isinstance(error, TtyBridgeError):
                self.engine.meter.refuse(reason_of(error))
                tell(error)
                connection.send(protocol.DISCONNECT)
                connection.close()
            elif error is not None:
                log.error("a client could not join", exc_info=error)
                connection.abort()

        joining.add_done_callback(answered)
        # Runs after the handler has returned, so the answer to `connect` is queued already.
        asyncio.get_running_loop().call_soon(tell, None)

    async def _join_page(self, sid: str, connection: Connection, hello: protocol.Hello) -> None:
        entrance = Entrance.CONNECT if hello.is_terminal else Entrance.PAGE
        person = visitor(connection.principal, entrance, connection.address, chosen=hello.name)

        async def join(on_waiting: Callable[[], None]) -> None:
            attachment = await self._hub.join(
                person, hello.size, acks=True, display=hello.display, on_waiting=on_waiting
            )
            self._serve_page(sid, connection, attachment, resumed=False)

        def tell(waits: "Waits") -> None:
            event = ("waiting", {}) if waits is None else ("refused", refusal(waits))
            connection.send(protocol.event(*event))

        await self._join_or_wait(sid, connection, join, tell)

    def _serve_page(
        self, sid: str, connection: Connection, attachment: Attachment, *, resumed: bool
    ) -> None:
        peer = PagePeer(connection, attachment, self._hub)
        first = protocol.event(
            "joined",
            {
                "id": attachment.id,
                "key": attachment.key,
                "resumed": resumed,
                "offset": attachment.offset,
                "input": attachment.input_seq,
                "role": attachment.role.value,
                "name": attachment.name,
                "display": attachment.display.value,
                "follows": attachment.follows,
                "recording": self._recording(),
                "mode": self._hub.terminals.mode.value,
                "session": self._hub.terminals.session,
                "title": self._title,
                "version": self._version,
                "window": self._hub.window_bytes,
                "resumeSeconds": self._hub.resume_s,
                "maxInput": protocol.MAX_INPUT_UNITS,
            },
        )
        self._serve(sid, connection, peer, first=first, resumable=True, resumed=resumed)

    async def _join_colab(self, sid: str, connection: Connection) -> None:
        person = visitor(connection.principal, Entrance.COLAB, connection.address)
        older = connection.query.get("form") == "older"

        async def emit(event: str, data: Any, **options: Any) -> None:
            await self.engine.sio.emit(event, data, to=sid, **options)

        async def join(on_waiting: Callable[[], None]) -> None:
            attachment = await self._hub.join(
                person, DEFAULT_SIZE, acks=False, on_waiting=on_waiting
            )
            peer = ColabSocketPeer(attachment, emit, older=older)
            self._serve(sid, connection, peer, first="", resumable=False)

        def tell(waits: "Waits") -> None:
            text = WAIT if waits is None else f"{waits.message}\r\n"
            connection.send(protocol.event("data", colab_data(text, older=older)))

        await self._join_or_wait(sid, connection, join, tell)

    def _serve(
        self,
        sid: str,
        connection: Connection,
        peer: Peer,
        *,
        first: str,
        resumable: bool,
        resumed: bool = False,
    ) -> None:
        """Send a client its output from now on.

        Raises:
            TtyBridgeError: The bridge has begun to stop meanwhile.
        """
        attachment = peer.attachment
        if self._closing:
            self._hub.leave(attachment)
            raise TtyBridgeError("The bridge is stopping.")
        if self.engine.connections.get(connection.sid) is not connection:
            # Gone while it was joining: only one that was here before can come back.
            if resumed:
                self._hub.park(attachment)
            else:
                self._hub.leave(attachment)
            return
        connection.is_joined = True
        connection.forget()

        def replaced() -> None:
            self._clients.pop(sid, None)
            sender.cancel()
            connection.abort()

        attachment.on_replaced = replaced
        if isinstance(peer, PagePeer):
            connection.on_ack = attachment.ack
            connection.on_event = lambda name, arguments: self._take(sid, name, tuple(arguments))
        attachment.on_ended = connection.end_soon
        work = self._send_all(sid, connection, peer, first)
        sender = asyncio.get_running_loop().create_task(work)
        self._tasks.add(sender)
        sender.add_done_callback(self._tasks.discard)
        self._clients[sid] = _Client(connection, peer, sender, resumable)

    async def _send_all(self, sid: str, connection: Connection, peer: Peer, first: str) -> None:
        """Tell a client everything until its stream ends; the transport sets the pace."""
        try:
            if first:
                # Runs after the handler has returned, so the answer to `connect` is queued already.
                connection.send(first)
            if isinstance(peer, PagePeer):
                self._announcements.welcome(peer)
                await PagePump(connection, peer).run()
            elif isinstance(peer, ColabSocketPeer):
                await send_to_colab(connection, peer)
            # A polling client may be between two requests: what it has not fetched when the
            # connection ends is lost.
            connection.send(protocol.DISCONNECT)
            if not await connection.drained():
                return  # lost before the end went out: its place is kept
            self._clients.pop(sid, None)
            # When the last client of a direct command has left, the bridge ends, and cuts every
            # line: this one must have carried everything by then.
            await connection.finish()
            self._hub.leave(peer.attachment)
        except Exception:
            log.exception("the output of client %s stopped", peer.attachment.id)
            connection.abort()

    def _handler(self, name: str) -> Callable[..., Awaitable[None]]:
        async def handle(sid: str, *args: object) -> None:
            self._take(sid, name, args)

        return handle

    def _take(self, sid: str, name: str, args: tuple[object, ...]) -> None:
        """Take in an event of a client."""
        client = self._clients.get(sid)
        if client is None:
            return
        try:
            client.peer.receive(name, args)
        except ProtocolError as error:
            self.engine.meter.refuse("packet")
            log.info("client %s is cut off: %s", client.peer.attachment.id, error.message)
            self._drop(sid)
            client.connection.abort()

    async def _on_disconnect(self, sid: str, reason: object = None) -> None:
        joining = self._joining.pop(sid, None)
        if joining is not None:
            joining.cancel()
        client = self._clients.get(sid)
        if client is None:
            return
        left = reason == self.engine.sio.reason.CLIENT_DISCONNECT
        if left or not client.resumable:
            self._drop(sid)
            client.connection.close()
        else:
            del self._clients[sid]
            client.sender.cancel()
            self._hub.park(client.peer.attachment)

    def _drop(self, sid: str) -> None:
        client = self._clients.pop(sid, None)
        if client is not None:
            client.sender.cancel()
            self._hub.leave(client.peer.attachment)
