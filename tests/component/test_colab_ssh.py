"""The WebSocket entrance for SSH with a stand-in for sshd: who gets in, every byte, every end."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from tests.conftest import DEADLINE_S
from ttybridge.core.access import Principal
from ttybridge.core.people import Person
from ttybridge.core.permissions import Entrance
from ttybridge.core.protocol import CHUNK_BYTES, MAX_MESSAGE_BYTES
from ttybridge.core.public_key import PublicKey
from ttybridge.errors import SshdError
from ttybridge.model import Role
from ttybridge.ssh import host_key
from ttybridge.web import colab_ssh as module
from ttybridge.web.colab_ssh import KEY_HEADER, ColabSshEntrance

HOST_KEY = host_key.generate().public
KEY = host_key.generate().public
BANNER = b"SSH-2.0-Standin\r\n"

Socket = aiohttp.ClientWebSocketResponse


class Line:
    """A connection to the stand-in: the entrance has one end, the test the other."""

    def __init__(
        self, near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: socket.socket
    ) -> None:
        self.reader, self.writer = near
        self.far = far
        self.closed = 0
        self.hung_up = False
        self.problem: SshdError | None = None

    async def banner(self) -> bytes:
        if self.problem is not None:
            raise self.problem
        return BANNER

    async def close(self, *, hang_up: bool) -> None:
        self.closed += 1
        self.hung_up |= hang_up
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Say something as sshd."""
        await asyncio.get_running_loop().sock_sendall(self.far, data)

    async def receive(self, size: int = 65536) -> bytes:
        """Take in what sshd is told; empty at the end."""
        async with asyncio.timeout(DEADLINE_S):
            return await asyncio.get_running_loop().sock_recv(self.far, size)

    async def until_closed(self) -> None:
        """Read until the entrance has ended the connection."""
        with contextlib.suppress(ConnectionError):  # it has not read all that we said
            while await self.receive():
                pass
        await eventually(lambda: self.closed, "the connection is closed")
        assert self.closed == 1


@dataclass
class Standin:
    """In the place of sshd."""

    user: str = "me"
    host_key: PublicKey = HOST_KEY
    refuses: SshdError | None = None
    has_no_banner: SshdError | None = None
    lines: list[Line] = field(default_factory=list)
    asked: list[tuple[PublicKey, Person]] = field(default_factory=list)

    async def connect(self, key: PublicKey, person: Person) -> Line:
        self.asked.append((key, person))
        if self.refuses is not None:
            raise self.refuses
        near, far = socket.socketpair()
        far.setblocking(False)
        line = Line(await asyncio.open_connection(sock=near), far)
        line.problem = self.has_no_banner
        self.lines.append(line)
        return line


class Server:
    """The entrance on a free port, and a client."""

    def __init__(
        self,
        sshd: Standin,
        entrance: ColabSshEntrance,
        runner: web.AppRunner,
        client: aiohttp.ClientSession,
    ) -> None:
        self.sshd, self.entrance, self.runner, self.client = sshd, entrance, runner, client
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def connect(self, who: str = "somebody", key: str = KEY.line) -> Socket:
        """Open a connection as `colab ssh` does, and take its banner in."""
        found = await self.client.ws_connect(
            f"{self.address}/colab/ssh", headers={KEY_HEADER: key, "X-Who": who}, max_msg_size=0
        )
        assert await found.receive_bytes(timeout=DEADLINE_S) == BANNER
        return found

    async def get(self, *keys: str, upgrade: bool = True) -> tuple[int, str]:
        """Ask, and return status and text of the answer."""
        headers: CIMultiDict[str] = CIMultiDict()
        for key in keys:
            headers.add(KEY_HEADER, key)
        if upgrade:
            headers.update({
                "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            })  # fmt: skip
        address = f"{self.address}/colab/ssh"
        async with self.client.get(address, headers=headers) as answer:
            return answer.status, await answer.text()

    @property
    def tcp_connections(self) -> int:
        """How many TCP connections are open."""
        return len(self.runner.server.connections) if self.runner.server else 0


@asynccontextmanager
async def serving(*, limit: int = 5, has_ssh: bool = True) -> AsyncIterator[Server]:
    """Serve; afterwards no task, no TCP connection and no line to sshd may be left."""
    before = asyncio.all_tasks()
    sshd = Standin()

    def principal_of(request: web.Request) -> Principal:
        who = request.headers.get("X-Who", "somebody")
        role = Role.VIEWER if who == "viewer" else Role.OWNER
        return Principal(id=who, role=role, via="header", link="l3", name="Ada")

    entrance = ColabSshEntrance(sshd if has_ssh else None, limit, principal_of)
    app = web.Application()
    app.router.add_get("/colab/ssh", entrance.handle)
    app.router.add_get("/ssh", entrance.info)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as client:
        server = Server(sshd, entrance, runner, client)
        try:
            yield server
        finally:
            async with asyncio.timeout(DEADLINE_S):
                await entrance.close()
                await runner.cleanup()
            for line in sshd.lines:
                line.far.close()
        assert not entrance._open
        assert server.tcp_connections == 0
    assert [line.closed for line in sshd.lines] == [1] * len(sshd.lines)
    assert all(line.writer.transport.is_closing() for line in sshd.lines)
    await eventually(lambda: asyncio.all_tasks() <= before, "no task is left")


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, f"{what}: {asyncio.all_tasks()}"
        await asyncio.sleep(0.01)


async def until_closed(client: Socket) -> bytes:
    """Read until the connection is over; return the bytes."""
    data = b""
    async with asyncio.timeout(DEADLINE_S):
        async for message in client:
            assert message.type is WSMsgType.BINARY
            data += message.data
    return data


# Who gets in


async def test_without_a_key_it_says_so() -> None:
    async with serving() as server:
        assert await server.get() == (400, "missing pubkey\n")
        assert await server.get("") == (400, "missing pubkey\n")
        assert await server.get("  ") == (400, "missing pubkey\n")
        assert await server.get(KEY.line, KEY.line) == (400, "missing pubkey\n")
        assert await server.get(KEY.line, HOST_KEY.line) == (400, "missing pubkey\n")
        assert server.sshd.asked == []


@pytest.mark.parametrize(
    "key",
    [
        "ssh-rsa AAAAB3NzaC1yc2E=",
        "ssh-dss AAAA",
        "sk-ssh-ed25519@openssh.com AAAA",
        pytest.param(f"restrict {KEY.line}", id="restrict"),
        pytest.param(f'command="id" {KEY.line}', id="command"),
        "x",
    ],
)
async def test_a_key_of_another_type_is_refused(key: str) -> None:
    async with serving() as server:
        status, text = await server.get(key)
        assert status == 400
        assert text.startswith("unsupported key type")
        assert server.sshd.asked == []


@pytest.mark.parametrize(
    "key",
    [
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 !!!",
        pytest.param(KEY.line[:-10], id="cut off"),
    ],
)
async def test_a_damaged_key_is_refused_and_not_repeated(key: str) -> None:
    async with serving() as server:
        status, text = await server.get(key)
        assert status == 400
        assert text.startswith("unusable public key: ")
        assert "AAAA" not in text
        assert server.sshd.asked == []


async def test_a_bridge_without_ssh_says_how_to_get_it() -> None:
    async with serving(has_ssh=False) as server:
        status, text = await server.get(KEY.line)
        assert (status, "--ssh" in text) == (404, True)
        async with server.client.get(f"{server.address}/ssh") as answer:
            assert (answer.status, "--ssh" in await answer.text()) == (404, True)


async def test_a_plain_request_is_asked_to_upgrade() -> None:
    async with serving() as server:
        assert (await server.get(KEY.line, upgrade=False))[0] == 426
        assert server.sshd.asked == []


async def test_connections_are_limited_and_a_place_is_free_again() -> None:
    async with serving(limit=2) as server:
        first, second = await server.connect(), await server.connect()
        status, text = await server.get(KEY.line)
        assert (status, "--max-ssh" in text) == (429, True)
        assert len(server.sshd.asked) == 2
        await first.close()
        await eventually(lambda: len(server.entrance._open) == 1, "a place is free")
        third = await server.connect()
        await third.close()
        await second.close()


async def test_an_sshd_that_cannot_be_started_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        server.sshd.refuses = SshdError("It is broken here.", hint="Mend it.")
        status, text = await server.get(KEY.line)
        assert status == 502
        assert "broken" not in text
        assert "It is broken here." in caplog.text
        assert not server.entrance._open


async def test_an_sshd_that_says_nothing_is_told_and_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as server:
        server.sshd.has_no_banner = SshdError("It said nothing.", hint="")
        assert (await server.get(KEY.line))[0] == 502
        assert "It said nothing." in caplog.text
        assert server.sshd.lines[0].closed == 1
        assert not server.entrance._open


@pytest.mark.parametrize(("who", "role"), [("somebody", Role.OWNER), ("viewer", Role.VIEWER)])
async def test_sshd_is_told_the_key_and_who_brings_it(who: str, role: Role) -> None:
    async with serving() as server:
        client = await server.connect(who, f" {KEY.line} me@box ")
        ((key, person),) = server.sshd.asked
        assert (key.line, key.comment) == (KEY.line, "me@box")
        assert person == Person(role, Entrance.SSH, "Ada", who, "l3", "127.0.0.1")
        await client.close()


async def test_the_other_address_says_whom_to_log_in_as_and_what_to_expect() -> None:
    async with serving() as server, server.client.get(f"{server.address}/ssh") as answer:
        assert await answer.json() == {
            "user": "me",
            "hostKey": HOST_KEY.line,
            "fingerprint": HOST_KEY.fingerprint,
        }


# Bytes


async def test_bytes_go_both_ways_at_once_exactly() -> None:
    up, down = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(3_000_000)
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines

        async def send_up() -> None:
            for at in range(0, len(up), 50_001):
                await client.send_bytes(up[at : at + 50_001])

        async def receive_up() -> bytes:
            data = b""
            while len(data) < len(up):
                data += await line.receive()
            return data

        async def receive_down() -> bytes:
            data = b""
            while len(data) < len(down):
                frame = await client.receive_bytes(timeout=DEADLINE_S)
                assert len(frame) <= CHUNK_BYTES
                data += frame
            return data

        _, _, got_up, got_down = await asyncio.gather(
            send_up(), line.send(down), receive_up(), receive_down()
        )
        assert got_up == up
        assert got_down == down
        await client.close()


async def test_empty_frames_and_pings_are_fine() -> None:
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines
        await client.send_bytes(b"")
        await client.ping()
        await client.send_bytes(bytes(range(256)))
        assert await line.receive() == bytes(range(256))
        await line.send(b"and back")
        assert await client.receive_bytes(timeout=DEADLINE_S) == b"and back"
        await client.close()


LITTLE = 24_000_000
"""More than sockets and buffers take by themselves, in bytes: loopback has up to 10 MB."""


async def until_stuck(send: Callable[[bytes], Coroutine[object, object, None]]) -> int:
    """Send until nothing is taken for a second, or the connection ends; return how much was."""
    sent = 0
    try:
        while sent < 4 * LITTLE:
            async with asyncio.timeout(1):
                await send(bytes(60_000))
            sent += 60_000
    except (TimeoutError, ConnectionError):
        return sent
    return sent


async def test_a_client_that_does_not_read_stops_sshd() -> None:
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines
        assert await until_stuck(line.send) < LITTLE
        # Its end is no less an end.
        await server.entrance.end_all_of("somebody")
        await line.until_closed()
        await client.close()


async def test_an_sshd_that_does_not_read_stops_the_client() -> None:
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines
        assert await until_stuck(client.send_bytes) < LITTLE
        await server.entrance.end_all_of("somebody")
        await line.until_closed()
        await client.close()


# Ends


async def test_a_text_frame_ends_it() -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send_str("SSH-2.0-x")
        await server.sshd.lines[0].until_closed()
        assert await until_closed(client) == b""
        assert client.close_code != aiohttp.WSCloseCode.OK


async def test_a_frame_that_is_too_long_ends_it() -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send_bytes(bytes(MAX_MESSAGE_BYTES + 1))
        await server.sshd.lines[0].until_closed()
        assert await until_closed(client) == b""


async def test_when_the_client_says_goodbye_sshd_is_ended() -> None:
    async with serving() as server:
        client = await server.connect()
        await client.send_bytes(b"last words")
        await client.close()
        line = server.sshd.lines[0]
        assert await line.receive() == b"last words"
        await line.until_closed()
        assert client.close_code == aiohttp.WSCloseCode.OK


async def test_when_the_client_is_gone_sshd_is_ended() -> None:
    async with serving() as server:
        client = await server.connect()
        transport = client.get_extra_info("socket")
        assert transport is not None
        response = client._response
        assert response.connection is not None
        assert response.connection.transport is not None
        response.connection.transport.abort()
        await server.sshd.lines[0].until_closed()
        assert not server.sshd.lines[0].hung_up, "a line that breaks leaves programs alone"
        await eventually(lambda: server.tcp_connections == 0, "the TCP connection is gone")
        await client.close()


async def test_when_sshd_ends_the_client_gets_all_and_a_goodbye() -> None:
    data = random.Random(3).randbytes(2_000_000)
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines

        async def last_words() -> None:
            await line.send(data)
            line.far.shutdown(socket.SHUT_RDWR)

        sending = asyncio.create_task(last_words())
        assert await until_closed(client) == data
        await sending
        assert client.close_code == aiohttp.WSCloseCode.OK
        await eventually(lambda: line.closed, "the line is closed")
        await eventually(lambda: server.tcp_connections == 0, "the TCP connection is gone")


async def test_what_a_slow_client_has_not_read_when_sshd_ends_is_not_lost() -> None:
    data = random.Random(4).randbytes(100_000)
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines
        await line.send(data)
        line.far.shutdown(socket.SHUT_RDWR)
        await eventually(lambda: line.closed or line.reader.at_eof(), "sshd's end is seen")
        assert await until_closed(client) == data
        assert client.close_code == aiohttp.WSCloseCode.OK


async def test_a_client_without_heartbeat_is_cut_though_it_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.5)
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines
        assert await until_stuck(line.send) < LITTLE
        await line.until_closed()
        await eventually(lambda: server.tcp_connections == 0, "the TCP connection is cut")
        await client.close()


async def test_a_client_that_says_no_goodbye_when_sshd_ends_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GOODBYE_S", 0.2)
    async with serving() as server:
        client = await server.connect()
        (line,) = server.sshd.lines
        line.far.close()
        await eventually(lambda: line.closed, "the line is closed")
        await eventually(lambda: server.tcp_connections == 0, "the TCP connection is cut")
        await client.close()


async def test_only_the_connections_of_one_credential_end() -> None:
    async with serving() as server:
        mine, other, more = [await server.connect(who) for who in ("me", "you", "me")]
        lines = server.sshd.lines
        await server.entrance.end_all_of("me")
        assert [line.closed for line in lines] == [1, 0, 1]
        assert [line.hung_up for line in lines] == [True, False, True]
        assert await until_closed(mine) == await until_closed(more) == b""
        await lines[1].send(b"still here")
        assert await other.receive_bytes(timeout=DEADLINE_S) == b"still here"
        await server.entrance.end_all_of("nobody")
        assert lines[1].closed == 0
        await other.close()


async def test_stopping_ends_all_and_lets_nobody_in() -> None:
    async with serving() as server:
        clients = [await server.connect(who) for who in ("me", "you")]
        await server.entrance.close()
        assert [line.closed for line in server.sshd.lines] == [1, 1]
        assert [line.hung_up for line in server.sshd.lines] == [True, True]
        for client in clients:
            assert await until_closed(client) == b""
        assert (await server.get(KEY.line))[0] == 503
        await server.entrance.close()
