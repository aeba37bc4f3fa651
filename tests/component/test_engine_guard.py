"""The Engine.IO guard by itself: what ends is cut, whatever its client does."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import DEADLINE_S
from ttybridge.core.access import Principal
from ttybridge.model import Role
from ttybridge.web import connection as connection_module
from ttybridge.web import engine as module
from ttybridge.web.engine import Engine

WEBSOCKET = "EIO=4&transport=websocket"
POLLING = "EIO=4&transport=polling"


class Server:
    """An engine that serves on a free port, and lets everybody in."""

    def __init__(
        self, engine: Engine, runner: web.AppRunner, session: aiohttp.ClientSession
    ) -> None:
        self.engine, self.runner, self.session = engine, runner, session
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}/tty/"

    @property
    def tcp_connections(self) -> int:
        """How many TCP connections are open."""
        return len(self.runner.server.connections) if self.runner.server else 0

    async def connect(self, query: str = WEBSOCKET) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket."""
        return await self.session.ws_connect(f"{self.address}?{query}", max_msg_size=0)

    async def poll(self, sid: str = "") -> str:
        """Ask once over polling; open a connection without `sid`."""
        more = f"&sid={sid}" if sid else ""
        async with self.session.get(f"{self.address}?{POLLING}{more}") as answer:
            return await answer.text()

    async def post(self, sid: str, body: str | bytes) -> int:
        """Send packets over polling."""
        address = f"{self.address}?{POLLING}&sid={sid}"
        async with self.session.post(address, data=body) as answer:
            return answer.status

    async def join(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Finish joining, as far as the engine is concerned."""
        await socket.send_str("40")
        await eventually(lambda: self.engine.connections, "the connection is known")
        for connection in self.engine.connections.values():
            connection.is_joined = True


@asynccontextmanager
async def serving(*, join_timeout_s: float = 10.0) -> AsyncIterator[Server]:
    """Serve; afterwards no task and no TCP connection may be left."""
    before = asyncio.all_tasks()
    owner = Principal(id="somebody", role=Role.OWNER, via="none")
    engine = Engine(
        join_timeout_s=join_timeout_s,
        principal_of=lambda _request: owner,
        address_of=lambda _request: "",
    )

    async def on_connect(sid: str, environ: object, auth: object = None) -> None:
        """Let everybody in."""

    engine.sio.on("connect", on_connect)
    app = web.Application()
    app.router.add_route("*", "/tty/", engine.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        yield Server(engine, runner, session)
        started = time.monotonic()
        await engine.close()
        await runner.cleanup()
        assert time.monotonic() - started < 8
        assert not engine.connections
    await eventually(lambda: asyncio.all_tasks() <= before, "no task is left")


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, f"{what}: {asyncio.all_tasks()}"
        await asyncio.sleep(0.01)


async def until_closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Read until the connection is over."""
    async with asyncio.timeout(DEADLINE_S):
        async for _ in socket:
            pass


def fill(server: Server) -> None:
    """Queue more for every connection than sockets take by themselves."""
    for connection in server.engine.connections.values():
        for _ in range(200):
            connection.send('2["out"]', bytes(200_000))


async def test_stopping_cuts_a_client_that_reads_nothing() -> None:
    async with serving() as server:
        socket = await server.connect()
        await server.join(socket)
        fill(server)
    await socket.close()


async def test_a_connection_without_heartbeats_is_cut_though_it_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PING_INTERVAL_S", 0.3)
    monkeypatch.setattr(module, "PING_TIMEOUT_S", 0.3)
    monkeypatch.setattr(connection_module, "CLOSE_GRACE_S", 0.5)
    async with serving() as server:
        socket = await server.connect()
        await server.join(socket)
        fill(server)
        await eventually(lambda: not server.engine.connections, "the connection is given up")
        await eventually(lambda: server.tcp_connections == 0, "its TCP connection is cut")
        await until_closed(socket)


async def test_a_websocket_that_began_as_polling_is_cut_with_its_connection() -> None:
    async with serving() as server:
        sid = json.loads((await server.poll())[1:])["sid"]
        assert await server.post(sid, "40") == 200
        assert (await server.poll(sid)).startswith("40")
        socket = await server.connect(f"{WEBSOCKET}&sid={sid}")
        await socket.send_str("2probe")
        assert (await socket.receive()).data == "3probe"
        await socket.send_str("5")
        connection = server.engine.connections[sid]
        connection.is_joined = True
        fill(server)
        connection.abort()
        await until_closed(socket)
        assert sid not in server.engine.sio.eio.sockets


async def test_closing_says_goodbye_and_does_not_wait_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "CLOSE_GRACE_S", 0.5)
    async with serving() as server:
        listening, deaf = await server.connect(), await server.connect()
        await server.join(listening)
        await server.join(deaf)
        connections = list(server.engine.connections.values())
        for number in range(200):
            connections[-1].send(f'2["out",{number}]', bytes(200_000))
        for connection in connections:
            connection.close()
        heard = []
        async with asyncio.timeout(DEADLINE_S):
            async for message in listening:
                heard.append(message.data)
        assert heard[-1] == "1", "Engine.IO's close is the last packet"
        await eventually(lambda: not server.engine.connections, "both connections have ended")
        await until_closed(deaf)


async def test_a_body_that_does_not_arrive_ends_with_its_connection() -> None:
    async with serving(join_timeout_s=0.3) as server:
        sid = json.loads((await server.poll())[1:])["sid"]
        port = int(server.address.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /tty/?{POLLING}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 99"
        writer.write(f"{head}\r\n\r\n4".encode())
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionError):
                await reader.read()
        writer.close()


async def test_a_poll_that_waits_is_answered_when_its_connection_ends() -> None:
    async with serving() as server:
        sid = json.loads((await server.poll())[1:])["sid"]
        polling = asyncio.create_task(server.poll(sid))
        await eventually(lambda: server.engine.connections, "the connection is known")
        server.engine.end_unjoined_of("nobody")
        assert server.engine.connections
        server.engine.end_unjoined_of("somebody")
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(polling, return_exceptions=True)
        await eventually(lambda: not server.engine.connections, "the connection has ended")


async def polling_sid(server: Server) -> str:
    """Open a connection over polling, and connect to the namespace."""
    sid = str(json.loads((await server.poll())[1:])["sid"])
    assert await server.post(sid, "40") == 200
    assert (await server.poll(sid)).startswith("40")
    return sid


@pytest.mark.parametrize(
    "frame",
    ["", "x", "7", "4", "2other", '42["in",1,', '451-["in"]'],
    ids=lambda frame: frame or "empty",
)
async def test_a_frame_that_is_no_packet_ends_the_connection_at_once(
    frame: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(join_timeout_s=600) as server:  # and 40 s until the next heartbeat is missed
        socket = await server.connect()
        await server.join(socket)
        await socket.send_str(frame)
        await until_closed(socket)
        await eventually(lambda: not server.engine.connections, "the connection has ended")
    ours = [record for record in caplog.records if record.name.startswith("ttybridge")]
    assert [record.getMessage().partition(":")[0] for record in ours] == ["connection closed"]
    assert not any(record.exc_info for record in ours)


BAD_POSTS = [b"", b"hello", b"\xff", b"d=40", b'42["in",1,', b'42["in",1,"\xc3', b"bAAAA"]


@pytest.mark.parametrize("body", BAD_POSTS, ids=repr)
async def test_a_malformed_post_is_answered_400_and_ends_the_connection(body: bytes) -> None:
    async with serving(join_timeout_s=600) as server:
        sid = await polling_sid(server)
        # What waits for a poll that does not come: the library's way to end waits for it, too.
        server.engine.connections[sid].send('2["size",80,24]')
        async with asyncio.timeout(DEADLINE_S):
            assert await server.post(sid, body) == 400
        await eventually(lambda: not server.engine.connections, "the connection has ended")


@pytest.mark.parametrize("body", ["5", "2probe", "3\x1e5"])
async def test_an_upgrade_in_a_post_ends_the_connection(body: str) -> None:
    async with serving() as server:
        sid = await polling_sid(server)
        assert await server.post(sid, body) == 400
        await eventually(lambda: not server.engine.connections, "the connection has ended")


async def test_a_post_has_a_limit_of_packets() -> None:
    most = connection_module.MAX_POST_PACKETS
    async with serving() as server:
        sid = await polling_sid(server)
        assert await server.post(sid, "\x1e".join(["3"] * most)) == 200
        assert await server.post(sid, "\x1e".join(["3"] * (most + 1))) == 400
        await eventually(lambda: not server.engine.connections, "the connection has ended")


@pytest.mark.parametrize("begins_as_polling", [False, True])
async def test_one_upgrade_packet_too_many_ends_a_websocket(begins_as_polling: bool) -> None:
    async with serving() as server:
        if begins_as_polling:
            socket = await server.connect(f"{WEBSOCKET}&sid={await polling_sid(server)}")
            await socket.send_str("2probe")
            await socket.send_str("5")
        else:
            socket = await server.connect()
            await socket.send_str("40")
        await eventually(lambda: server.engine.connections, "the connection is known")
        for connection in server.engine.connections.values():
            connection.is_joined = True  # no deadline ends it instead
        await socket.send_str("5")
        await until_closed(socket)
        await eventually(lambda: not server.engine.connections, "the connection has ended")


async def test_a_client_that_sends_but_never_asks_for_its_answers_is_cut() -> None:
    async with serving() as server:

        async def on_ack(sid: str, number: int) -> None:
            """Be there, so that the event is answered."""

        server.engine.sio.on("ack", on_ack)
        sid = await polling_sid(server)
        events = "\x1e".join(['421["ack",0]'] * connection_module.MAX_POST_PACKETS)
        assert [await server.post(sid, events) for _ in range(3)] == [200, 200, 400]
        await eventually(lambda: not server.engine.connections, "the connection has ended")


async def test_twenty_half_open_upgrades_of_one_connection_end_with_it() -> None:
    async with serving() as server:
        sid = await polling_sid(server)
        connection = server.engine.connections[sid]
        connection.is_joined = True

        async def upgrade() -> aiohttp.ClientWebSocketResponse | int:
            try:
                return await server.connect(f"{WEBSOCKET}&sid={sid}")
            except aiohttp.WSServerHandshakeError as error:
                return error.status

        results = await asyncio.gather(*(upgrade() for _ in range(20)))
        assert results.count(400) == 19, results
        (socket,) = [each for each in results if not isinstance(each, int)]
        connection.abort()
        await until_closed(socket)
        await eventually(lambda: not server.engine.connections, "the connection has ended")


@pytest.mark.parametrize("frames", [[], ["2probe"]], ids=["silent", "probed"])
async def test_a_half_open_upgrade_ends_in_time_and_polling_goes_on(frames: list[str]) -> None:
    async with serving(join_timeout_s=0.5) as server:
        sid = await polling_sid(server)
        connection = server.engine.connections[sid]
        connection.is_joined = True
        connection.forget()
        socket = await server.connect(f"{WEBSOCKET}&sid={sid}")
        for frame in frames:
            await socket.send_str(frame)
        await until_closed(socket)
        await eventually(lambda: not connection.has_websocket, "the WebSocket is forgotten")
        connection.send('2["size",80,24]')
        heard = ""
        async with asyncio.timeout(DEADLINE_S):
            while not heard.endswith('42["size",80,24]'):
                heard = await server.poll(sid)
                assert heard.startswith(("6", "4")), heard
        assert connection.is_open
        again = await server.connect(f"{WEBSOCKET}&sid={sid}")
        await again.send_str("2probe")
        assert (await again.receive()).data == "3probe"
        await again.send_str("5")
        connection.send('2["size",90,24]')
        async with asyncio.timeout(DEADLINE_S):
            while (await again.receive()).data != '42["size",90,24]':
                pass
        await again.close()


async def test_a_finished_upgrade_has_no_deadline() -> None:
    async with serving(join_timeout_s=0.3) as server:
        sid = await polling_sid(server)
        connection = server.engine.connections[sid]
        connection.is_joined = True
        connection.forget()
        socket = await server.connect(f"{WEBSOCKET}&sid={sid}")
        await socket.send_str("2probe")
        await socket.send_str("5")
        silent = await server.connect()  # ends at the same deadline, and later than this one's
        await until_closed(silent)
        connection.send('2["size",80,24]')
        async with asyncio.timeout(DEADLINE_S):
            while (await socket.receive()).data != '42["size",80,24]':
                pass
        await socket.close()
