"""One Socket.IO connection to a bridge: WebSocket, or polling where that cannot be opened.

Written here, and not left to python-socketio's client, because a terminal needs its messages in
order to the last one: that library (5.18) handles each message in a task of its own, and ends the
connection before the last of them have run; it takes at most 16 packets from one polling answer;
and it cannot leave a connection without a goodbye, which would give the place up.
"""

import asyncio
import base64
import binascii
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ttybridge.client.address import Address
from ttybridge.client.http import Unauthorized, asking, looks_like_page, refusal
from ttybridge.errors import TtyBridgeError
from ttybridge.logs import one_line
from ttybridge.model import Secret

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse

OPEN_S = 10.0
"""Time to open a WebSocket, in seconds; then polling is tried."""

GOODBYE_S = 1.0
"""Longest time that saying goodbye takes, in seconds."""

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of one polling answer that are taken: the bridge's window is 512 KiB."""

_NUMBER_HEADER = "X-TTYBridge-Poll"
"""Where answers to GETs carry their number, from 1 (docs/protocol.md)."""

_SEPARATOR = "\x1e"
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
    """How Engine.IO packets travel."""

    async def receive(self) -> str | bytes | None:
        """Return the next packet; bytes are binary ones; None when there will be no more."""

    async def send(self, packets: Sequence[str]) -> bool:
        """Send packets; tell whether that went well."""


class _Socket:
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


class _Polling:
    def __init__(self, session: "ClientSession", url: str, proxy: str | None) -> None:
        self._session, self._url, self._proxy = session, url, proxy
        self._packets: deque[str | bytes] = deque()
        self._next = 1
        self.silence_s = 2 * OPEN_S

    async def open(self, address: Address) -> str:
        """Return what the first packet says, JSON.

        Raises:
            TtyBridgeError: Something else than a bridge answers.
        """
        async with self._request("GET") as answer:
            body = await answer.content.read(64 * 1024)
            if answer.status != 200 or looks_like_page(body):
                raise _refusal(answer.status, body)
        if not body.startswith(b"0{"):
            message = f"{address.base} answers, and not as a bridge does."
            raise TtyBridgeError(message, hint="Compare it with the link that it printed.")
        return body.decode("utf-8", "replace").partition(_SEPARATOR)[0][1:]

    def begin(self, sid: str, silence_s: float) -> None:
        self._url += f"&sid={sid}"
        self.silence_s = silence_s

    async def receive(self) -> str | bytes | None:
        while not self._packets:
            body = await self._exchange("GET")
            if body is None:
                return None
            for part in body.split(_SEPARATOR):
                try:
                    is_binary = part.startswith("b")
                    self._packets.append(base64.b64decode(part[1:]) if is_binary else part)
                except binascii.Error:
                    return None
        return self._packets.popleft()

    async def send(self, packets: Sequence[str]) -> bool:
        return await self._exchange("POST", _SEPARATOR.join(packets)) is not None

    async def _exchange(self, method: str, body: str | None = None) -> str | None:
        from aiohttp import ClientError

        try:
            async with self._request(method, body) as answer:
                number = answer.headers.get(_NUMBER_HEADER)
                if answer.status != 200 or (number is not None and not self._is_next(number)):
                    return None
                data = bytearray()
                async for chunk in answer.content.iter_any():
                    data += chunk
                    if len(data) > MAX_ANSWER:
                        return None
                return data.decode()
        except (TimeoutError, OSError, ClientError, ValueError):
            return None

    def _is_next(self, number: str) -> bool:
        """Tell whether no answer is missing: a GET whose connection ends is asked again by itself.

        Args:
            number: Of the answer that has come; 0 has no place in the order.
        """
        if number == "0":
            return True
        self._next += 1
        return number == str(self._next - 1)

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, body: str | None = None
    ) -> AsyncIterator["ClientResponse"]:
        from aiohttp import ClientTimeout

        async with self._session.request(
            method,
            self._url,
            data=None if body is None else body.encode(),
            headers={} if body is None else {"Content-Type": "text/plain;charset=UTF-8"},
            proxy=self._proxy,
            allow_redirects=False,
            timeout=ClientTimeout(total=self.silence_s),
            middlewares=(),
        ) as answer:
            yield answer


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
        while True:
            self._news.clear()
            if not self._outgoing:
                self._flushed.set()
                await self._news.wait()
            packets, self._outgoing = self._outgoing, []
            if packets and not await self._carrier.send(packets):
                return

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
    async with asking(address, token) as (session, proxy):
        carrier = None if polling else await _open_socket(session, address, proxy)
        is_polling = carrier is None
        if carrier is None:
            carrier = await _open_polling(session, address, proxy)
        line = Line(carrier, is_polling=is_polling)
        text = json.dumps(hello, separators=(",", ":"), ensure_ascii=False)
        line._queue(_MESSAGE + _CONNECT + text)
        yield line


async def _open_socket(
    session: "ClientSession", address: Address, proxy: str | None
) -> "_Socket | _Polling | None":
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


async def _open_polling(session: "ClientSession", address: Address, proxy: str | None) -> _Polling:
    """Return a connection that travels by polling.

    Raises:
        TtyBridgeError: Something else than a bridge answers.
    """
    carrier = _Polling(session, f"{address.base}/tty/?EIO=4&transport=polling", proxy)
    opened = _parsed(await carrier.open(address))
    sid = opened.get("sid") if isinstance(opened, dict) else None
    carrier.begin(sid if isinstance(sid, str) else "", _silence_s(opened))
    return carrier


def _refusal(status: int, body: bytes) -> TtyBridgeError:
    """Return the sentence for an answer to the first request that is not a bridge's."""
    if status in (404, 502) and not looks_like_page(body):
        message = f"This address does not lead to a bridge ({status})."
        return TtyBridgeError(message, hint="Is it complete, and the bridge running?")
    error = refusal(status, body)
    return Unauthorized(error.message, hint=error.hint) if status == 401 else error


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
