"""The end of a WebSocket: what was said last arrives, though the client goes on talking."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSCloseCode, web

from tests.conftest import DEADLINE_S
from ttybridge.web.lingering import LingeringWebSocket

LAST = bytes(range(256)) * 1000
"""What is said last: more than the client's buffer takes, and less than the server's."""

CLOSE = bytes([0x88, 0x02]) + WSCloseCode.GOING_AWAY.to_bytes(2, "big")
"""The server's goodbye."""

ACK = bytes([0x81, 0x83, 0, 0, 0, 0]) + b"ack"
"""A text frame of the client, whose mask is zero."""

GOODBYE = bytes([0x88, 0x82, 0, 0, 0, 0]) + WSCloseCode.OK.to_bytes(2, "big")


class Server:
    """One that has a reader, and says the last of what it has to say when it is told to.

    Attributes:
        said: What its reader got, message by message, until it was over.
        is_over: The reader has come to its end.
        is_closed: The close has, whose result it is.
        websocket: Its end of the connection.
        reader: The task that reads.
    """

    def __init__(self, lingers_s: float) -> None:
        self._lingers_s = lingers_s
        self.said: list[object] = []
        self.is_over = asyncio.Event()
        self.ending = asyncio.Event()
        self.is_closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.websocket: LingeringWebSocket | None = None
        self.reader: asyncio.Task[None] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve the one client."""
        assert request.transport is not None
        line: socket.socket = request.transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(LAST))
        self.websocket = websocket = LingeringWebSocket(timeout=self._lingers_s)
        await websocket.prepare(request)
        self.reader = asyncio.create_task(self._read(websocket))
        await self.ending.wait()
        if not websocket.closed:
            await websocket.send_bytes(LAST)
        self.is_closed.set_result(await websocket.close(code=WSCloseCode.GOING_AWAY))
        await asyncio.wait([self.reader])
        return websocket

    async def _read(self, websocket: LingeringWebSocket) -> None:
        async for message in websocket:
            self.said.append(message.data)
        await asyncio.sleep(0)  # nobody has cancelled it: a reader has more to do
        self.is_over.set()


class Client:
    """A client that reads as little, or as late, as a test wants it to."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._loop = line, asyncio.get_running_loop()

    async def say(self, frame: bytes) -> None:
        """Send a frame."""
        await self._loop.sock_sendall(self._line, frame)

    async def hear(self, size: int = 4096) -> bytes:
        """Return what has come, at most `size` bytes; nothing at the end."""
        return await self._loop.sock_recv(self._line, size)


@asynccontextmanager
async def connected(lingers_s: float = DEADLINE_S) -> AsyncIterator[tuple[Server, Client]]:
    """Serve one client."""
    server = Server(lingers_s)
    app = web.Application()
    app.router.add_get("/", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.setblocking(False)
            client = Client(line)
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.get_running_loop().sock_connect(line, runner.addresses[0])
                await client.say(
                    b"GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    b"Sec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                )
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += await client.hear(1)
                assert head.startswith(b"HTTP/1.1 101 ")
                yield server, client
    finally:
        await runner.cleanup()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_a_client_that_acknowledges_as_it_reads_gets_all_of_the_last_words() -> None:
    async with connected() as (server, client):
        await client.say(ACK)
        await until(lambda: server.said == ["ack"])
        server.ending.set()
        heard = b""
        while not heard.endswith(CLOSE):
            await client.say(ACK)
            data = await client.hear()
            assert data, f"the end came after {len(heard)} bytes"
            heard += data
        assert heard[-len(CLOSE) - len(LAST) :] == LAST + CLOSE
        assert not server.is_closed.done()
        assert not server.is_over.is_set()
        await client.say(GOODBYE)
        assert await server.is_closed
        await server.is_over.wait()
        assert server.said == ["ack"]  # what is said behind the goodbye is for nobody
        assert await client.hear() == b""


async def test_a_client_that_says_no_goodbye_is_waited_for_a_bounded_time() -> None:
    async with connected(lingers_s=0.1) as (server, _):
        server.ending.set()
        await server.is_closed
        await server.is_over.wait()


async def test_a_clients_own_goodbye_ends_it() -> None:
    async with connected() as (server, client):
        await client.say(ACK)
        await client.say(GOODBYE)
        await server.is_over.wait()
        assert server.said == ["ack"]
        assert await client.hear() == bytes([0x88, 0x02]) + WSCloseCode.OK.to_bytes(2, "big")
        assert await client.hear() == b""
        server.ending.set()


async def test_somebody_else_who_cancels_the_reader_does_so() -> None:
    async with connected() as (server, client):
        await client.say(ACK)
        await until(lambda: server.said)
        assert server.reader is not None
        server.reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server.reader
        assert not server.is_over.is_set()
        # It can be closed all the same.
        server.ending.set()
        await client.say(GOODBYE)
        assert await server.is_closed


async def test_a_reader_cancelled_by_both_is_cancelled() -> None:
    async with connected() as (server, client):
        await client.say(ACK)
        await until(lambda: server.said)
        assert server.reader is not None
        assert server.websocket is not None
        reader = server.reader
        closing = asyncio.create_task(server.websocket.close())
        await asyncio.sleep(0)  # in which it takes the reader away, who does not know it yet
        assert reader.cancelling() == 1
        reader.cancel()
        await client.say(GOODBYE)
        await asyncio.wait([reader])
        assert reader.cancelled()
        assert await closing
        server.ending.set()
