"""The two kinds of clients on `tty/`: the page, and those of Colab's contract."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, assert_never

from ttybridge.core import protocol
from ttybridge.core.cursor import Chunk, Finished, Reset, Resized
from ttybridge.errors import ProtocolError
from ttybridge.sessions.attachment import Accepted, Attachment, Follows, Item, RoleChanged
from ttybridge.sessions.hub import Hub
from ttybridge.web.connection import Connection
from ttybridge.web.contract import ColabPeer

MAX_QUEUED = 64
"""Packets that may wait for a page that is told who is here; it is told the next time, then."""

MAX_PINGS = 4
"""Pings whose answers are waited for; a client that answers none is asked on."""


class Peer(Protocol):
    """One client behind a connection: the page, or one of Colab's contract."""

    attachment: Attachment

    def receive(self, event: str, args: tuple[object, ...]) -> None:
        """Take in an event of the client."""


class PagePeer:
    """A page: docs/protocol.md, version 1."""

    def __init__(self, connection: Connection, attachment: Attachment, hub: Hub) -> None:
        """Stand between the two."""
        self.attachment = attachment
        self._connection = connection
        self._hub = hub
        self._pings: dict[int, float] = {}
        self._count = 0

    def send(self, item: Item) -> None:
        """Send an event for the page; never waits."""
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
            case RoleChanged(role, by):
                send(protocol.event("role", {"role": role.value, "by": by}))
            case Follows(follows):
                send(protocol.event("follows", {"follows": follows}))
            case Finished(end):
                send(protocol.event("exit", protocol.exit_message(end)))
            case _:
                assert_never(item)

    def tell(self, name: str, content: Mapping[str, object]) -> None:
        """Queue an event that is not about output."""
        self._connection.send(protocol.event(name, content))

    def send_text(self, packet: str) -> None:
        """Queue a packet that was made for several pages; one that takes nothing gets none."""
        if self._connection.queued < MAX_QUEUED:
            self._connection.send(packet)

    def ping(self) -> None:
        """Ask for a sign of life, whose time is taken."""
        self._count += 1
        self._pings[self._count] = time.monotonic()
        if len(self._pings) > MAX_PINGS:
            del self._pings[next(iter(self._pings))]
        self._connection.send(protocol.event("ping", self._count))

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
            case "hand":
                self._hub.people.hand(self.attachment, protocol.parse_hand(args))
            case "name":
                self._hub.people.rename(self.attachment, protocol.parse_name(args))
            case "display":
                self._hub.choose_display(self.attachment, protocol.parse_display(args))
            case "pong":
                self._pong(protocol.parse_pong(args))
            case _:
                raise ProtocolError(f"The page sends no event {event!r}.")

    def _pong(self, number: int) -> None:
        sent = self._pings.pop(number, None)
        if sent is not None:
            self.attachment.rtt_s = time.monotonic() - sent


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


def colab_data(text: str, *, older: bool) -> dict[str, object]:
    """Return the argument of `data` with a text that asks for no acknowledgement."""
    return {"data": text} if older else {"data": json.dumps({"data": text})}
