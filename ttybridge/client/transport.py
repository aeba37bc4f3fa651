"""One Socket.IO connection to a bridge: WebSocket, or polling where that cannot be opened.

Written here, and not left to python-socketio's client, because a terminal needs its messages in
order to the last one: that library (5.18) handles each message in a task of its own, and ends the
connection before the last of them have run; it takes at most 16 packets from one polling answer;
and it cannot leave a connection without a goodbye, which would give the place up.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ttybridge.client.address import Address
from ttybridge.client.http import Unauthorized, asking
from ttybridge.client.polling import Polling
from ttybridge.errors import TtyBridgeError
from ttybridge.logs import one_line
from ttybridge.model import Secret

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

OPEN_S = 10.0
"""Time to open a WebSocket, in seconds; then polling is tried."""

GOODBYE_S = 1.0
"""Longest time that saying goodbye takes, in seconds."""

_OPEN, _CLOSE, _PING, _PONG, _MESSAGE = "0", "1", "2", "3", "4"
"""Types of Engine.IO packets, version 4."""

_CONNECT, _DISCONNECT, _EVENT, _REFUSED, _BINARY_EVENT = "0", "1", "2", "4", "5"
"""Types of Socket.IO packets, version 5."""


class Refused(TtyBridgeError):
    """The bridge does not want this connection.

    Attributes:
        code: Why, in a word of docs/protocol.md; empty when it is none.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Event:
    """What the bridge says."""

    name: str
    """Which event it is."""
    args: tuple[object, ...]
    """Its arguments, not checked."""


class _Carrier(Protocol):
    """How Engine.IO packets travel.

    Attributes:
        most_sends: How many calls of `send` may be under way, while `has_room`.
        has_room: Whether `send` sends at once.
    """

    most_sends: int

    @property
    def has_room(self) -> bool: ...

    async def receive(self) -> str | bytes | None:
        """Return the next packet; bytes are binary ones; None when there will be no more."""

    async def send(self, packets: Sequence[str]) -> bool:
        """Send packets; tell whether that went well."""


class _Socket:
    most_sends = 1
    has_room = True

    def __init__(self, socket: "ClientWebSocketResponse", silence_s: float) -> None:
        self._socket = socket
        self.silence_s = silence_s

    async def receive(self) -> str | bytes | None:
        from aiohttp import ClientError, WSMsgType

        try:
            message = await self._socket.receive(timeout=self.silence_s)
        except (TimeoutError, OSError, ClientError, RuntimeError):
            return None
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        return None

    async def send(self, packets: Sequence[str]) -> bool:
        try:
            for packet in packets:
                await self._socket.send_str(packet)
        except (OSError, RuntimeError):
            return False
        return True


class Line:
    """A connection that the bridge has taken.

    Attributes:
        is_polling: Whether it travels by polling.
    """

    def __init__(self, carrier: _Carrier, *, is_polling: bool) -> None:
        """Use `connected`."""
        self.is_polling = is_polling
        self._carrier = carrier
        self._outgoing: list[str] = []
        self._sends = 0
        self._news = asyncio.Event()
        self._flushed = asyncio.Event()

    def send(self, name: str, *args: object) -> None:
        """Queue an event; never waits."""
        text = json.dumps([name, *args], separators=(",", ":"), ensure_ascii=False)
        self._queue(_MESSAGE + _EVENT + text)

    async def next(self) -> Event | None:
        """Wait for the next event; None when the connection is over.

        Raises:
            Refused: The bridge does not want it.
        """
        while True:
            packet = await self._carrier.receive()
            if packet is None or not isinstance(packet, str):
                return None
            if packet == _CLOSE or packet.startswith(_MESSAGE + _DISCONNECT):
                return None
            if packet.startswith(_PING):
                self._queue(_PONG + packet[1:])
            elif packet.startswith(_MESSAGE + _REFUSED):
                raise _refused(_parsed(packet[2:]))
            elif packet.startswith(_MESSAGE + _EVENT):
                return _event(_parsed(packet[2:].lstrip("0123456789")))
            elif packet.startswith(_MESSAGE + _BINARY_EVENT):
                return await self._binary_event(packet[2:])

    async def send_all(self) -> None:
        """Send what is queued until that fails; to be run beside `next`."""
        senders = [asyncio.create_task(self._send_on()) for _ in range(self._carrier.most_sends)]
        try:
            await asyncio.wait(senders, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _send_on(self) -> None:
        """Send what is queued, whatever the others do that run this, until that fails."""
        while True:
            while not (self._outgoing and self._carrier.has_room):
                if not self._outgoing and not self._sends:
                    self._flushed.set()
                self._news.clear()
                await self._news.wait()
            packets, self._outgoing = self._outgoing, []
            self._sends += 1
            if not await self._carrier.send(packets):
                return
            self._sends -= 1

    async def leave(self) -> None:
        """Say goodbye: the bridge gives the place up at once. `send_all` has to be running."""
        self._queue(_MESSAGE + _DISCONNECT)
        self._queue(_CLOSE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._flushed.wait()

    def _queue(self, packet: str) -> None:
        self._outgoing.append(packet)
        self._flushed.clear()
        self._news.set()

    async def _binary_event(self, text: str) -> Event | None:
        """Return an event with its bytes, which come right behind it; ours have one attachment."""
        count, _, rest = text.partition("-")
        data = await self._carrier.receive() if count == "1" else None
        event = _event(_parsed(rest.lstrip("0123456789")))
        if event is None or not isinstance(data, bytes):
            return None
        args = tuple(data if _is_place(argument) else argument for argument in event.args)
        return Event(event.name, args)


@contextlib.asynccontextmanager
async def connected(
    address: Address, token: Secret, hello: dict[str, object], *, polling: bool = False
) -> AsyncIterator[Line]:
    """Open a connection and say hello; the first events are `joined` or `waiting`.

    Leaving it closes the connection without a goodbye.

    Args:
        address: The bridge.
        token: The credential, sent as a header with every request.
        hello: The `auth` of docs/protocol.md.
        polling: Whether WebSocket is not even tried.

    Raises:
        TtyBridgeError: The bridge cannot be reached, or does not accept the credential.
    """
    async with (
        asking(address, token) as (session, proxy),
        contextlib.AsyncExitStack() as stack,
    ):
        socket = None if polling else await _open_socket(session, address, proxy)
        is_polling = socket is None
        carrier: _Carrier
        if socket is not None:
            carrier = socket
        else:
            carrier = await stack.enter_async_context(_polling(session, address, proxy))
        line = Line(carrier, is_polling=is_polling)
        text = json.dumps(hello, separators=(",", ":"), ensure_ascii=False)
        line._queue(_MESSAGE + _CONNECT + text)
        yield line


async def _open_socket(
    session: "ClientSession", address: Address, proxy: str | None
) -> _Socket | None:
    """Return a WebSocket; None when something on the way does not let it through.

    Raises:
        Unauthorized: The credential is not accepted.
        aiohttp.ClientConnectorError: Nobody is there; polling would not help.
    """
    from aiohttp import ClientConnectorError, ClientError, ClientWSTimeout

    url = f"{address.base}/tty/?EIO=4&transport=websocket"
    closing = ClientWSTimeout(ws_close=GOODBYE_S)
    try:
        async with asyncio.timeout(OPEN_S):
            socket = await session.ws_connect(url, proxy=proxy, compress=0, timeout=closing)
    except (Unauthorized, ClientConnectorError):
        raise
    except (TimeoutError, ClientError, TtyBridgeError, OSError):
        return None
    carrier = _Socket(socket, OPEN_S)
    first = await carrier.receive()
    if not isinstance(first, str) or not first.startswith(_OPEN):
        await socket.close()
        return None
    carrier.silence_s = _silence_s(_parsed(first[1:]))
    return carrier


@contextlib.asynccontextmanager
async def _polling(
    session: "ClientSession", address: Address, proxy: str | None
) -> AsyncIterator[Polling]:
    """Give a connection that travels by polling.

    Raises:
        TtyBridgeError: Something else than a bridge answers.
    """
    carrier = Polling(session, address, proxy)
    opened = _parsed(await carrier.open())
    sid = opened.get("sid") if isinstance(opened, dict) else None
    carrier.begin(sid if isinstance(sid, str) else "", _silence_s(opened))
    try:
        yield carrier
    finally:
        await carrier.close()


def _refused(data: object) -> Refused:
    """Return what a `connect_error` says."""
    found = data if isinstance(data, dict) else {}
    more = found.get("data")
    more = more if isinstance(more, dict) else {}
    code, hint = more.get("code"), more.get("hint") or found.get("message")
    text = one_line(hint)[:600] if isinstance(hint, str) else ""
    return Refused(text or "The bridge refuses the connection.", str(code or ""))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _event(parsed: object) -> Event | None:
    if isinstance(parsed, list) and parsed and isinstance(parsed[0], str):
        return Event(parsed[0], tuple(parsed[1:]))
    return None


def _is_place(argument: object) -> bool:
    return isinstance(argument, dict) and argument.get("_placeholder") is True


def _silence_s(opened: object) -> float:
    """Return how long nothing may come before a connection is taken for dead, in seconds."""
    found = opened if isinstance(opened, dict) else {}
    times = [found.get(name) for name in ("pingInterval", "pingTimeout")]
    total = sum(t for t in times if isinstance(t, int) and 0 < t <= 120_000)
    return total / 1000 + 5 if total else 45.0
