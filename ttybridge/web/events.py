"""The entrance `tty/`: Socket.IO for the page, and for clients of Colab's contract."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from socketio.exceptions import ConnectionRefusedError as Refused

from ttybridge.core import protocol
from ttybridge.core.stream import Chunk, Finished, Reset
from ttybridge.errors import ProtocolError, TtyBridgeError
from ttybridge.model import DEFAULT_SIZE, ClientId, End, EndReason, ExitStatus
from ttybridge.sessions.attachment import Accepted, Attachment, Item, Resized
from ttybridge.sessions.hub import Hub, NoSuchClient, SessionFull
from ttybridge.web.connection import Connection
from ttybridge.web.contract import ColabPeer
from ttybridge.web.engine import Engine

log = logging.getLogger(__name__)

CLOSING = End(ExitStatus(), EndReason.CLOSING, "The bridge has stopped.", restart=False)
"""What clients are told when the bridge stops."""


class Peer(Protocol):
    """One client behind a connection: the page, or one of Colab's contract."""

    attachment: Attachment

    async def send(self, item: Item) -> None:
        """Tell the client."""

    def receive(self, event: str, args: tuple[object, ...]) -> None:
        """Take in an event of the client."""


class PagePeer:
    """A page: docs/protocol.md, version 1."""

    def __init__(self, connection: Connection, attachment: Attachment) -> None:
        """Stand between the two."""
        self.attachment = attachment
        self._connection = connection

    async def send(self, item: Item) -> None:
        """Queue an event for the page."""
        send = self._connection.send
        match item:
            case Chunk(offset, data):
                send(protocol.out_header(offset), data)
            case Reset(offset, reason, hard):
                send(protocol.event("reset", {"offset": offset, "reason": reason, "hard": hard}))
            case Resized(size):
                send(protocol.event("size", {"cols": size.cols, "rows": size.rows}))
            case Accepted(seq):
                send(protocol.event("inack", seq))
            case Finished(end):
                send(protocol.event("exit", protocol.exit_message(end)))
            case _:
                assert_never(item)

    def receive(self, event: str, args: tuple[object, ...]) -> None:
        """Take in an event of the page.

        Raises:
            ProtocolError: It is not one of the page's, or malformed.
        """
        match event:
            case "in":
                self.attachment.write_numbered(*protocol.parse_input(args))
            case "ack":
                self.attachment.ack(protocol.parse_ack(args))
            case "size":
                self.attachment.resize(protocol.parse_size(args))
            case _:
                raise ProtocolError(f"The page sends no event {event!r}.")


class ColabSocketPeer:
    """A client of Colab's contract on Socket.IO."""

    def __init__(
        self, attachment: Attachment, emit: Callable[..., Awaitable[Any]], *, older: bool
    ) -> None:
        """Stand between the two; `emit` sends an event to the client."""
        self.attachment = attachment
        self._emit = emit
        self._older = older
        self._peer = ColabPeer(attachment, older=older)

    async def send(self, item: Item) -> None:
        """Send output and the end; the contract knows nothing else. Waits while output is held."""
        await self._peer.may_send()
        if self._older:
            text = self._peer.text(item)
            if text:
                acked = self._peer.ack
                # python-socketio keeps each callback until the client has acknowledged.
                callback = (lambda *_args: acked()) if self._peer.asks else None
                await self._emit("data", {"data": text, "pause": True}, callback=callback)
        else:
            text = self._peer.encode(item)
            if text:
                await self._emit("data", {"data": text})
        if isinstance(item, Finished):
            message = {"exitCode": item.end.status.code, "signal": item.end.status.signal}
            await self._emit("exit", message)

    def receive(self, event: str, args: tuple[object, ...]) -> None:
        """Take in an event of the client.

        Raises:
            ProtocolError: It is malformed.
        """
        if event != "data" or len(args) != 1 or not isinstance(args[0], dict):
            raise ProtocolError("Clients of this contract send `data` with an object.")
        self._peer.receive(args[0].get("data"))


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

    def __init__(self, hub: Hub, engine: Engine, *, title: str, version: str) -> None:
        """Register the handlers.

        Args:
            hub: The session.
            engine: The Socket.IO server.
            title: What the page shows until the terminal sets a title.
            version: Version of the bridge.
        """
        self.engine = engine
        self._hub = hub
        self._title, self._version = title, version
        self._clients: dict[str, _Client] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        sio = engine.sio
        sio.on("connect", self._on_connect)
        sio.on("disconnect", self._on_disconnect)
        for name in ("in", "size", "ack", "data"):
            sio.on(name, self._handler(name))

    def tell(self, text: str, *, is_warning: bool = False) -> None:
        """Show a sentence in every page; clients of Colab's contract know no such thing."""
        message = {"level": "warning" if is_warning else "info", "text": text}
        for client in self._clients.values():
            if isinstance(client.peer, PagePeer):
                client.connection.send(protocol.event("notice", message))

    async def close(self) -> None:
        """Tell everybody that the bridge stops, and wait for their senders to end.

        Nobody joins from now on. A polling client learns it with its next request.
        """
        self._closing = True
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
            else:
                await self._join_page(sid, connection, hello)
        except TtyBridgeError as error:
            code = _refusal_code(error)
            log.warning("a client could not join: %s", error)
            connection.refuse()
            raise Refused(error.message, {"code": code, "hint": str(error)}) from error

    async def _join_page(self, sid: str, connection: Connection, hello: protocol.Hello) -> None:
        attachment, resumed = None, False
        if hello.resume is not None:
            again = hello.resume
            with contextlib.suppress(NoSuchClient):
                attachment = self._hub.resume(
                    ClientId(again.id), again.key, again.offset, hello.size, reset=again.reset
                )
                resumed = True
        if attachment is None:
            attachment = await self._hub.join(connection.principal.role, hello.size, acks=True)
        peer = PagePeer(connection, attachment)
        first = protocol.event(
            "joined",
            {
                "id": attachment.id,
                "key": attachment.key,
                "resumed": resumed,
                "offset": attachment.offset,
                "input": attachment.input_seq,
                "role": attachment.role.value,
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
        attachment = await self._hub.join(connection.principal.role, DEFAULT_SIZE, acks=False)

        async def emit(event: str, data: Any, **options: Any) -> None:
            await self.engine.sio.emit(event, data, to=sid, **options)

        older = connection.query.get("form") == "older"
        peer = ColabSocketPeer(attachment, emit, older=older)
        self._serve(sid, connection, peer, first="", resumable=False)

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
            while True:
                await connection.drained()
                item = await peer.attachment.next(protocol.CHUNK_BYTES)
                await peer.send(item)
                if isinstance(item, Finished):
                    break
            # A polling client may be between two requests: what it has not fetched when the
            # connection ends is lost.
            connection.send(protocol.DISCONNECT)
            await connection.drained()
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
            client = self._clients.get(sid)
            if client is None:
                return
            try:
                client.peer.receive(name, args)
            except ProtocolError as error:
                log.info("client %s is cut off: %s", client.peer.attachment.id, error.message)
                self._drop(sid)
                client.connection.abort()

        return handle

    async def _on_disconnect(self, sid: str, reason: object = None) -> None:
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


def _refusal_code(error: TtyBridgeError) -> str:
    match error:
        case SessionFull():
            return "full"
        case ProtocolError():
            return "bad-request"
        case _:
            return "unavailable"
