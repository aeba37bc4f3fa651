"""Output and acknowledgements past the library: exact, in order, held back as everything else."""

import asyncio
import gc
import itertools
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.http import WebSocketWriter

from tests.conftest import DEADLINE_S
from ttybridge.core import protocol
from ttybridge.core.access import Principal
from ttybridge.errors import ProtocolError
from ttybridge.model import Role
from ttybridge.web.connection import Connection
from ttybridge.web.engine import Engine
from ttybridge.web.packet_queue import PacketQueue
from ttybridge.web.shared_frames import KEPT_FRAMES, Line, frames_of
from ttybridge.web.websocket import TURN_EVENTS

SMALL_BUFFER = 4096
"""Receive buffer of a client that is slow, in bytes: the transport is full soon."""

HELD_BYTES = 256 * 1024
"""Most bytes that the bridge's own buffers take for a client that reads nothing."""


class Client:
    """A WebSocket client, and the connection that it is at the other end."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, connection: Connection, sio: Any
    ) -> None:
        self.socket, self.connection, self.sio = socket, connection, sio

    async def messages(self, count: int) -> list[str | bytes]:
        """Return the next messages; heartbeats are answered and left out."""
        found: list[str | bytes] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < count:
                message = await self.socket.receive()
                assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
                if message.data == "2":
                    await self.socket.send_str("3")
                else:
                    found.append(message.data)
        return found


async def eventually(condition: Callable[[], object]) -> None:
    """Let everybody go on until a condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def full(connection: Connection) -> Line:
    """Wait until a connection's transport takes no more, and return its line."""
    line = connection._line
    assert line is not None
    transport = line.transport
    assert transport is not None
    await eventually(lambda: transport.get_write_buffer_size() > 0)
    return line


@asynccontextmanager
async def joined(*, buffer: int = 0) -> AsyncIterator[Client]:
    """Serve an engine, and give a client that has joined it; `buffer` in bytes."""
    owner = Principal(id="somebody", role=Role.OWNER, via="none")
    engine = Engine(
        join_timeout_s=10, principal_of=lambda _request: owner, address_of=lambda _request: ""
    )

    async def on_connect(sid: str, environ: object, auth: object = None) -> None:
        """Let everybody in."""

    engine.sio.on("connect", on_connect)
    app = web.Application()
    app.router.add_route("*", "/tty/", engine.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/tty/?EIO=4&transport=websocket"

    def small(info: object) -> object:
        line = socket.socket(info[0], info[1], info[2])  # type: ignore[index]
        if buffer:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        return line

    connector = aiohttp.TCPConnector(socket_factory=small)  # type: ignore[arg-type]
    async with (
        aiohttp.ClientSession(connector=connector, read_bufsize=1024) as session,
        session.ws_connect(address, max_msg_size=0) as websocket,
    ):
        await websocket.send_str("40")
        connection = next(iter(engine.connections.values()))
        connection.is_joined = True
        client = Client(websocket, connection, engine.sio)
        assert [str(text)[:2] for text in await client.messages(2)] == ["0{", "40"]
        await eventually(lambda: connection.is_free)
        yield client
    await engine.close()
    await runner.cleanup()


class _Collector:
    """A transport and its protocol, for aiohttp's own writer."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.write = self.written.extend

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 200_000])
async def test_frames_are_the_ones_that_the_library_makes(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for packet in (protocol.out_header(size), data.hex()):
        transport: Any = _Collector()
        writer = WebSocketWriter(transport, transport, limit=10**9)
        await writer.send_frame(b"4" + packet.encode(), aiohttp.WSMsgType.TEXT)
        await writer.send_frame(data, aiohttp.WSMsgType.BINARY)
        assert frames_of(packet, data) == transport.written


async def test_a_free_connection_is_written_to_without_the_queue() -> None:
    async with joined() as client:
        connection = client.connection
        connection.send("packet", b"bytes")
        assert connection._eio.sockets[connection.sid].queue.is_idle
        assert connection.is_free
        assert await client.messages(2) == ["4packet", b"bytes"]


async def test_nothing_gets_in_between_packets_that_the_library_is_writing() -> None:
    async with joined(buffer=SMALL_BUFFER) as client:
        connection = client.connection
        for number in range(200):
            connection.send(protocol.out_header(number), bytes(70_000))
        line = await full(connection)
        await eventually(lambda: connection._eio.sockets[connection.sid].queue.is_idle)
        # The worst moment: the transport has just become empty, and the library's task, with more
        # packets in its hands, has not gone on yet.
        transport: Any = line.transport
        transport.get_write_buffer_size = lambda: 0
        assert not connection.is_free
        connection.send("shared", b"shared")
        del transport.get_write_buffer_size
        assert (await client.messages(402))[-2:] == ["4shared", b"shared"]


def test_frames_are_made_once_for_all() -> None:
    packet, data = protocol.out_header(17), b"output"
    first = frames_of(packet, data)
    assert frames_of(packet, bytes(bytearray(data))) is first
    assert frames_of(protocol.out_header(18), data) is not first
    assert frames_of(packet, b"Output") not in (first, b"")
    for offset in range(KEPT_FRAMES):
        frames_of(protocol.out_header(offset), data)
    assert frames_of(packet, data) == first


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("buffer", [0, SMALL_BUFFER], ids=["fast", "slow"])
async def test_everything_arrives_in_order_however_it_is_sent(seed: int, buffer: int) -> None:
    chance = random.Random(seed)
    wanted: list[str | bytes] = []
    async with joined(buffer=buffer) as client:
        connection = client.connection
        reader = asyncio.create_task(client.messages(800))
        straight = 0
        for number in range(400):
            size = chance.choice((1, 200, 4096, 30_000, 65_536))
            header, data = protocol.out_header(number), chance.randbytes(size)
            straight += connection.is_free
            if chance.random() < 0.6:
                connection.send(header, data)
            else:
                connection.send(header, data)
            wanted += ["4" + header, data]
            if chance.random() < 0.5:
                # As the sender does; without it, what is queued grows.
                await connection.drained()
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        got = await reader
        assert got == wanted
        assert straight > 20


async def test_a_client_that_reads_nothing_holds_its_sender_up() -> None:
    async with joined(buffer=SMALL_BUFFER) as client:
        line = client.connection._line
        assert line is not None
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await client.connection.drained()
                client.connection.send(protocol.out_header(sent), bytes(4096))
                sent += 4096

        sender = asyncio.create_task(send())
        before = -1
        async with asyncio.timeout(DEADLINE_S):
            while before != sent or not sent:
                before = sent
                for _ in range(50):
                    await asyncio.sleep(0.001)
        assert line.transport is not None
        queue = client.connection._eio.sockets[client.connection.sid].queue
        assert line.transport.get_write_buffer_size() + 4096 * queue.qsize() / 2 < HELD_BYTES
        assert not client.connection.is_free
        await client.messages(2 * sent // 4096)  # and it goes on where it was
        sender.cancel()


async def test_a_sender_that_gives_up_waiting_does_not_cut_the_line() -> None:
    async with joined(buffer=SMALL_BUFFER) as client:
        connection = client.connection
        for number in range(200):
            connection.send(protocol.out_header(number), bytes(65_536))
        line = await full(connection)
        waiting = [asyncio.create_task(line.drained()) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert len(await client.messages(400)) == 400
        await waiting[1]


@pytest.mark.parametrize("by", ["bridge", "client"])
async def test_waiting_for_a_line_ends_when_it_is_cut(
    by: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with joined(buffer=SMALL_BUFFER) as client:
        connection = client.connection
        for number in range(200):
            connection.send(protocol.out_header(number), bytes(65_536))
        line = await full(connection)
        waiting = asyncio.create_task(line.drained())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not waiting.done()
        if by == "bridge":
            connection.abort()
        else:
            inner = client.socket.get_extra_info("socket")
            inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert client.socket._response.connection is not None
            assert client.socket._response.connection.transport is not None
            client.socket._response.connection.transport.abort()
        await asyncio.wait_for(waiting, DEADLINE_S)
        del waiting
        gc.collect()
        assert "never retrieved" not in caplog.text


async def test_nothing_follows_the_goodbye() -> None:
    async with joined() as client:
        connection = client.connection
        connection.send("first", b"1")
        connection.close()
        after = 0
        async with asyncio.timeout(DEADLINE_S):
            while connection.is_open:
                connection.send("late", b"2")
                after += 1
                await asyncio.sleep(0)
                if after == 100:
                    await client.socket.close()
        got = []
        while not client.socket.closed:
            got.append((await client.socket.receive()).data)
        assert after > 10
        assert [text for text in got if text == "4late"] == []


async def test_an_open_line_with_a_goodbye_under_way_is_not_free() -> None:
    async with joined() as client:
        connection = client.connection
        line = connection._line
        assert line is not None
        # The library has begun to close the WebSocket; nothing is queued.
        closing = asyncio.create_task(line._websocket.close())
        await asyncio.sleep(0)
        assert not connection.is_free
        message = await client.socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        await closing


async def test_a_queue_knows_what_is_between_it_and_its_reader() -> None:
    queue = PacketQueue()
    reading = asyncio.create_task(asyncio.wait_for(queue.get(), 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queue.put_nowait("packet")
    assert not queue.is_idle
    await reading
    assert queue.empty()
    assert not queue.is_idle
    queue.task_done()
    assert queue.is_idle


class Taken:
    """What a connection's own handlers got."""

    def __init__(self, connection: Connection) -> None:
        self.acks: list[int] = []
        self.events: list[tuple[str, list[object]]] = []
        connection.on_ack = self.acks.append
        connection.on_event = lambda name, arguments: self.events.append((name, arguments))


async def test_events_take_the_short_way_where_somebody_wants_them() -> None:
    async with joined() as client:
        connection = client.connection
        passed: list[tuple[object, ...]] = []

        async def handle(_sid: str, *args: object) -> None:
            passed.append(args)

        client.sio.on("ack", handle)
        await client.socket.send_str('42["ack",5]')
        await eventually(lambda: passed)
        taken = Taken(connection)
        for text in ('42["ack",6]', '42["in",1,"a"]', '421["ack",7]', '42["in",2,"[b]",true]'):
            await client.socket.send_str(text)
        await eventually(lambda: len(taken.events) == 2 and len(passed) == 2)
        assert taken.acks == [6]
        assert taken.events == [("in", [1, "a"]), ("in", [2, "[b]", True])]
        assert passed == [(5,), (7,)]


async def test_others_have_their_turn_while_one_client_sends_without_end() -> None:
    """What is in the buffer already would otherwise be taken in one turn of the loop."""
    async with joined() as client:
        taken = Taken(client.connection)
        at_a_turn: list[int] = []

        def look() -> None:
            at_a_turn.append(len(taken.events))
            asyncio.get_running_loop().call_soon(look)

        for number in range(1000):
            await client.socket.send_str(f'42["in",{number},"a"]')
        look()
        await eventually(lambda: len(taken.events) == 1000)
        steps = [after - before for before, after in itertools.pairwise(at_a_turn)]
        assert max(steps) <= 2 * TURN_EVENTS


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('42["ack",-1]', ("ack", [-1])),
        ('42["ack",1.0]', ("ack", [1.0])),
        ('42["ack",1,2]', ("ack", [1, 2])),
        ('42["ack", 1]', ("ack", [1])),
        ('42["ack","1"]', ("ack", ["1"])),
        ('42["ack",1234567890123456]', ("ack", [1234567890123456])),
        ('42["in",1,"a"]', ("in", [1, "a"])),
        ('42["hand",true]', ("hand", [True])),
    ],
)
async def test_what_is_no_plain_acknowledgement_is_an_event_like_others(
    text: str, event: tuple[str, list[object]]
) -> None:
    async with joined() as client:
        taken = Taken(client.connection)
        assert client.connection.takes(text)
        assert taken.events == [event]
        assert client.connection.takes('42["ack",1]')
        assert taken.acks == [1]


@pytest.mark.parametrize(
    "text",
    [
        '42["ack",',
        '42["ack",]',
        '42["ack",1',
        '42["ack",1]]',
        '42["in",1,"a"]["in",2,"b"]',
        '42["in",1,"a"] x',
        '42["ack",1}',
        '42["kca",1]',
        '42["disconnect"]',
        '42["connect",1]',
        '42["ack",\u0661]',
        '42["in",1' + "[" * 100_000,
        "42[]",
        "42[1]",
    ],
)
async def test_a_malformed_event_is_refused(text: str) -> None:
    async with joined() as client:
        taken = Taken(client.connection)
        with pytest.raises(ProtocolError):
            client.connection.takes(text)
        assert not taken.acks
        assert not taken.events


@pytest.mark.parametrize("text", ["3", "41", '421["ack",1]', "40{}"])
async def test_what_is_no_event_is_left_to_the_libraries(text: str) -> None:
    async with joined() as client:
        Taken(client.connection)
        assert not client.connection.takes(text)
