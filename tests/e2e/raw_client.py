"""Clients that speak the wire themselves, so that a test decides when they read and ack."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

import aiohttp
import pytest

T = TypeVar("T")

DEADLINE_S = 20.0
"""Longest time that a test waits for one condition, in seconds."""

ACK_BYTES = 32 * 1024
"""Output after which a page acknowledges: twice as often as docs/protocol.md asks for."""

ACK_S = 0.04
"""Time after which it acknowledges less than that, in seconds."""


class Served(Protocol):
    """Where a bridge serves: `RunningBridge` of tests/conftest.py."""

    address: str
    token: str


async def eventually(
    condition: Callable[[], T], what: str | Callable[[], str], deadline_s: float = DEADLINE_S
) -> T:
    """Return the condition's first true value while clients go on; fail when it stays false."""
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if loop.time() > until:
            text = what if isinstance(what, str) else what()
            pytest.fail(f"{text}: not within {deadline_s:.0f} s (last value: {value!r})")
        await asyncio.sleep(0.02)


class _Wire:
    """A WebSocket with a task that reads it.

    Attributes:
        output: The output since the last reset.
        closed: Set when the connection has ended.
        close_code: Code of the WebSocket's close.
        arrivals: Loop times at which output came.
    """

    def __init__(self) -> None:
        self.output = bytearray()
        self.arrivals: list[float] = []
        self.closed = asyncio.Event()
        self.close_code: int | None = None
        self._read_on = asyncio.Event()
        self._read_on.set()
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None

    async def _open(self, bridge: Served, path: str) -> None:
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {bridge.token}"})
        try:
            self._socket = await self._session.ws_connect(bridge.address + path, max_msg_size=0)
        except BaseException:
            await self._session.close()
            raise
        self._reader = asyncio.create_task(self._read_all())

    @property
    def socket(self) -> aiohttp.ClientWebSocketResponse:
        """The WebSocket."""
        assert self._socket is not None
        return self._socket

    async def _read_all(self) -> None:
        try:
            while True:
                await self._read_on.wait()
                message = await self.socket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                # A stall takes effect before the message that was being waited for is looked at.
                await self._read_on.wait()
                await self._take(message.data)
        finally:
            self.close_code = self.socket.close_code
            self.closed.set()

    async def _take(self, data: str | bytes) -> None:
        raise NotImplementedError

    def _got(self, data: bytes) -> None:
        self.output += data
        self.arrivals.append(asyncio.get_running_loop().time())

    def stall(self) -> None:
        """Read nothing from now on."""
        self._read_on.clear()

    def go_on(self) -> None:
        """Read again."""
        self._read_on.set()

    async def shows(self, text: str | bytes) -> None:
        """Wait until the output since the last reset has `text`."""
        wanted = text.encode() if isinstance(text, str) else text
        await eventually(
            lambda: wanted in self.output or self.closed.is_set(),
            lambda: f"output with {wanted!r}, not {bytes(self.output[-400:])!r}",
        )
        assert wanted in self.output, f"closed before {wanted!r}: {bytes(self.output[-400:])!r}"

    async def ended(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the connection has ended."""
        await eventually(self.closed.is_set, "the end of the connection", deadline_s)

    async def close(self) -> None:
        """Close the connection, and tidy up; twice is fine."""
        self.go_on()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._socket is not None:
            await self._socket.close()
        if self._session is not None:
            await self._session.close()

    def cut(self) -> None:
        """Lose the line without a goodbye."""
        transport = self.socket.get_extra_info("socket")
        assert transport is not None
        response = self.socket._response
        assert response.connection is not None
        assert response.connection.transport is not None
        response.connection.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


class SocketIo(_Wire):
    """A Socket.IO connection over WebSocket, without any library.

    Attributes:
        refused: What the server answered instead of a connection.
        events: Every event that came, with its arguments, output excepted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connected = asyncio.Event()
        self.refused: dict[str, Any] | None = None
        self.events: list[tuple[str, list[Any]]] = []
        self._half: list[Any] | None = None

    async def connect(self, bridge: Served, auth: object = None, query: str = "") -> None:
        """Open the connection and wait for the answer."""
        await self._open(bridge, f"tty/?EIO=4&transport=websocket{query}")
        await self._say("40" + (json.dumps(auth) if auth is not None else ""))
        await eventually(
            lambda: self.connected.is_set() or self.refused is not None or self.closed.is_set(),
            "an answer to the connection",
        )

    def named(self, name: str) -> list[Any]:
        """Return the first argument of every event of this name."""
        return [args[0] for event, args in self.events if event == name]

    async def emit(self, name: str, *args: object) -> None:
        """Send an event."""
        await self._say("42" + json.dumps([name, *args]))

    async def leave(self) -> None:
        """Say goodbye and close."""
        if not self.closed.is_set():
            await self._say("41")
        await self.close()

    async def _say(self, packet: str) -> None:
        with contextlib.suppress(ConnectionError):
            await self.socket.send_str(packet)

    async def _take(self, data: str | bytes) -> None:
        if isinstance(data, bytes):
            assert self._half is not None, "binary without a header"
            event, self._half = self._half, None
            await self.on_event(event[0], [event[1], data])
        elif data == "2":
            await self._say("3")
        elif data.startswith("40"):
            self.connected.set()
        elif data.startswith("44"):
            self.refused = json.loads(data[2:])
        elif data.startswith("451-"):
            self._half = json.loads(data[4:])
        elif data.startswith("42"):
            start = data.index("[")
            name, *args = json.loads(data[start:])
            await self.on_event(name, args)
            if start > 2:
                await self.on_ack_wanted(data[2:start])

    async def on_event(self, name: str, args: list[Any]) -> None:
        """Take in an event."""
        self.events.append((name, args))

    async def on_ack_wanted(self, number: str) -> None:
        """Answer an event that asks for an acknowledgement."""
        await self._say(f"43{number}[]")


class PageClient(SocketIo):
    """A client of the page's protocol, version 1.

    Attributes:
        joined: The server's first event.
        offset: Output bytes taken in, as docs/protocol.md counts.
        resets: The resets that came.
        sizes: The window sizes that were told, as (columns, rows).
        exit: The server's last event.
        acks: Whether output is acknowledged.
        sent: The input by its numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[int, str] = {}
        self.joined: dict[str, Any] = {}
        self.offset = 0
        self.resets: list[dict[str, Any]] = []
        self.sizes: list[tuple[int, int]] = []
        self.exit: dict[str, Any] = {}
        self.acks = True
        self.inack = 0
        self._acked = 0
        self._acking: asyncio.Task[None] | None = None
        self._seq = 0

    @classmethod
    async def join(
        cls,
        bridge: Served,
        *,
        cols: int = 80,
        rows: int = 24,
        resume: "PageClient | None" = None,
        reset: bool = False,
    ) -> Self:
        """Join; with `resume`, in the place of that client, and with `reset`, for a repaint.

        Raises:
            OSError: The connection was lost before that.
        """
        client = cls()
        auth: dict[str, object] = {"protocol": 1, "cols": cols, "rows": rows}
        if resume is not None:
            told = resume.joined
            place = {"id": told["id"], "key": told["key"], "offset": resume.offset}
            auth["resume"] = place | ({"reset": True} if reset else {})
        try:
            await client.connect(bridge, auth)
            if client.refused is None:
                await eventually(lambda: client.joined or client.closed.is_set(), "`joined`")
                if not client.joined:
                    raise ConnectionResetError("The connection was lost before `joined`.")
        except BaseException:
            await client.close()
            raise
        return client

    async def type(self, text: str) -> None:
        """Type `text`, in messages of the size that is allowed."""
        for at in range(0, len(text), 8192):
            self._seq += 1
            self.sent[self._seq] = text[at : at + 8192]
            await self.emit("in", self._seq, text[at : at + 8192])

    async def send_again(self, lost: "PageClient") -> None:
        """Send again what a client that was resumed had sent and has seen no confirmation of.

        What the bridge has taken without that, it has to ignore.
        """
        for number in sorted(lost.sent):
            if number > self._seq:
                await self.type(lost.sent[number])
            elif number > lost.inack:
                await self.emit("in", number, lost.sent[number])

    async def resize(self, cols: int, rows: int) -> None:
        """Tell another window size."""
        await self.emit("size", cols, rows)

    async def _acknowledge_soon(self) -> None:
        await asyncio.sleep(ACK_S)
        await self._acknowledge()

    async def _acknowledge(self) -> None:
        if self.acks and self.offset > self._acked and not self.closed.is_set():
            self._acked = self.offset
            # The server may have closed behind its last words, which are still to be read.
            with contextlib.suppress(ConnectionError):
                await self.emit("ack", self.offset)

    async def on_event(self, name: str, args: list[Any]) -> None:
        """Take in an event; output must follow what came before without gap or repeat."""
        match name:
            case "out":
                offset, data = args
                assert offset == self.offset, f"output at {offset}, expected {self.offset}"
                self.offset += len(data)
                self._got(data)
                if self.acks and self.offset - self._acked >= ACK_BYTES:
                    await self._acknowledge()
                elif self.acks and (self._acking is None or self._acking.done()):
                    self._acking = asyncio.create_task(self._acknowledge_soon())
            case "joined":
                self.joined = args[0]
                self.offset = self._acked = args[0]["offset"]
                self._seq = args[0]["input"]
            case "reset":
                self.resets.append(args[0])
                self.offset = self._acked = args[0]["offset"]
                self.output.clear()
                await self.emit("ack", self.offset)
            case "size":
                self.sizes.append((args[0]["cols"], args[0]["rows"]))
            case "inack":
                self.inack = args[0]
            case "exit":
                self.exit = args[0]
            case _:
                await super().on_event(name, args)


class ContractClient(SocketIo):
    """A client of Colab's contract on Socket.IO, in its newer or older form.

    Attributes:
        exit: The server's last event.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exit: dict[str, Any] = {}

    @classmethod
    async def join(cls, bridge: Served, *, older: bool = False) -> Self:
        """Join the session."""
        client = cls()
        await client.connect(bridge, query="&form=older" if older else "")
        return client

    async def send(self, **keys: object) -> None:
        """Send a message with these keys."""
        await self.emit("data", {"data": json.dumps(keys)})

    async def on_event(self, name: str, args: list[Any]) -> None:
        """Take in an event."""
        if name == "exit":
            self.exit = args[0]
        elif "pause" in args[0]:
            self._got(args[0]["data"].encode())
        else:
            message = json.loads(args[0]["data"])
            self._got(message["data"].encode())
            if message.get("ack"):
                await self.send(ack=True)


class ColabClient(_Wire):
    """A client of `colab/tty`; it never acknowledges, as the official command line."""

    @classmethod
    async def join(cls, bridge: Served) -> Self:
        """Join the session."""
        client = cls()
        await client._open(bridge, "colab/tty")
        return client

    async def send(self, **keys: object) -> None:
        """Send a message with these keys."""
        await self.socket.send_str(json.dumps(keys))

    async def _take(self, data: str | bytes) -> None:
        self._got(json.loads(data)["data"].encode())
