"""Each limit: what exceeds it is refused, what stays below is served, and both are counted."""

import asyncio
import gzip
import io
import json
import shlex
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import RunningBridge, StartBridge
from tests.e2e.hostile import (
    HELLO,
    PageClient,
    Watched,
    check_log,
    eventually,
    session_of,
    tty,
)

POLLING = "EIO=4&transport=polling"

SOON_S = 10.0
"""Time in which a connection has ended whose deadline is a second, in seconds."""


class Status:
    """What the bridge says of its limits."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.limits = {each["name"]: each["limit"] for each in answer["limits"]}
        self.in_use = {each["name"]: each["inUse"] for each in answer["limits"]}
        self.refused: dict[str, int] = answer["refused"]
        self.not_logged: int = answer["notLogged"]

    @property
    def reasons(self) -> dict[str, int]:
        """The reasons that were refused for."""
        return {reason: count for reason, count in self.refused.items() if count}


class Scene:
    """A bridge with one client that does nothing wrong."""

    def __init__(
        self, bridge: RunningBridge, session: aiohttp.ClientSession, healthy: PageClient
    ) -> None:
        self.bridge, self.session, self.healthy = bridge, session, healthy
        self.watched = Watched(bridge.pid)

    async def status(self) -> Status:
        """Ask what is used of the limits."""
        async with self.session.get(f"{self.bridge.address}api/status") as answer:
            return Status(await answer.json())

    async def handshake(self) -> tuple[int, str]:
        """Open an Engine.IO connection that does not join; return the status and the sid."""
        async with self.session.get(tty(self.bridge, POLLING)) as answer:
            text = await answer.text()
            return answer.status, json.loads(text[1:])["sid"] if answer.status == 200 else text

    async def post(self, sid: str, body: str | bytes, **headers: str) -> int:
        """Send packets over polling; return the status."""
        data = io.BytesIO(body.encode() if isinstance(body, str) else body)
        address = tty(self.bridge, f"{POLLING}&sid={sid}")
        async with self.session.post(address, data=data, headers=headers) as answer:
            await answer.read()
            return answer.status

    def head(self, line: str, *more: str) -> bytes:
        """Return the head of a request with the token, without its last empty line."""
        lines = (line, f"Host: {self.bridge.host}", f"Authorization: Bearer {self.bridge.token}")
        return "".join(f"{each}\r\n" for each in (*lines, *more)).encode()


@asynccontextmanager
async def scene(start_bridge: StartBridge, *options: str) -> AsyncIterator[Scene]:
    """Start a bridge with a healthy client, which must be as well at the end."""
    bridge = start_bridge("--resume", "1", *options)
    async with session_of(bridge) as session:
        healthy = await PageClient.join(session, bridge)
        await healthy.echo()
        yield Scene(bridge, session, healthy)
        await healthy.echo()
        await healthy.close()


class Line:
    """A TCP connection to the bridge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> bytes:
        """Return everything until the end."""
        async with asyncio.timeout(SOON_S):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def one_answer(self) -> bytes:
        """Return one answer, and leave the connection open."""
        async with asyncio.timeout(SOON_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            return head + await self.reader.readexactly(int(size or 0))

    async def drip(self, data: bytes) -> None:
        """Send a byte now and then, until the other end closes."""
        with suppress(ConnectionError):
            for byte in data:
                self.writer.write(bytes([byte]))
                await self.writer.drain()
                await asyncio.sleep(0.1)  # the pace is what is tested


@asynccontextmanager
async def line_to(bridge: RunningBridge) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


# Handshakes ---------------------------------------------------------------------------------------


async def test_one_client_has_so_many_handshakes_and_others_have_theirs(
    start_bridge: StartBridge,
) -> None:
    async with scene(start_bridge, "--max-handshakes", "3", "--join-timeout", "30") as made:
        sids = [await made.handshake() for _ in range(3)]
        assert [status for status, _ in sids] == [200] * 3
        before = made.watched.footprint()
        for _ in range(20):
            status, text = await made.handshake()
            assert (status, "have not joined" in text) == (429, True)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await made.session.ws_connect(tty(made.bridge))
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert refused.value.headers["Retry-After"] == "1"
        await eventually(lambda: made.watched.is_within(before), "nothing is kept of them")
        found = await made.status()
        assert (found.limits["handshakes_per_client"], found.in_use["handshakes_per_client"]) == (
            (3, 3)
        )
        assert found.reasons == {"handshakes": 21}
        jar = aiohttp.CookieJar(unsafe=True)
        headers = {"Origin": f"http://{made.bridge.host}"}
        async with aiohttp.ClientSession(cookie_jar=jar, headers=headers) as other:
            async with other.get(made.bridge.link) as answer:
                assert answer.status == 200
            async with other.get(tty(made.bridge, POLLING)) as answer:
                assert answer.status == 200, "another login has places of its own"
        # Who joins gives the place back.
        assert await made.post(sids[0][1], HELLO) == 200
        await eventually(lambda: "attached" in made.bridge.log.splitlines()[-1], "it has joined")
        assert (await made.handshake())[0] == 200
        check_log(made.bridge, bad_connections=21)


# Connections that ask for nothing -----------------------------------------------------------------


async def test_of_too_many_quiet_connections_the_oldest_is_cut_and_nobody_is_refused(
    start_bridge: StartBridge,
) -> None:
    async with scene(start_bridge, "--max-pending", "20", "--head-timeout", "60") as made:
        lines = [await asyncio.open_connection("127.0.0.1", made.bridge.port) for _ in range(20)]
        found = await made.status()  # its own connection is busy with this
        assert (found.limits["pending_connections"], found.in_use["pending_connections"]) == (
            (20, 19)
        )
        assert found.reasons == {"pending": 1}
        # Everybody who says a whole request is served, as ever.
        for _ in range(3):
            async with made.session.get(f"{made.bridge.address}healthz") as answer:
                assert answer.status == 200
        more = [await asyncio.open_connection("127.0.0.1", made.bridge.port) for _ in range(10)]
        async with asyncio.timeout(SOON_S):
            for reader, _ in lines[:10]:
                assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in more)
        assert (await made.status()).in_use["pending_connections"] <= 20
        for _, writer in (*lines, *more):
            writer.close()
        check_log(made.bridge, bad_connections=0)


async def test_login_forms_that_do_not_arrive_take_no_more_room_than_quiet_connections(
    start_bridge: StartBridge,
) -> None:
    # The body's time is longer than that of a head, which must not count for it.
    options = ("--max-pending", "20", "--head-timeout", "3", "--body-timeout", "20")
    async with scene(start_bridge, *options) as made:
        before = len(made.watched.descriptors)
        head = f"POST /login HTTP/1.1\r\nHost: {made.bridge.host}\r\nContent-Length: 50\r\n\r\n"
        lines = []
        for _ in range(50):
            lines.append(await asyncio.open_connection("127.0.0.1", made.bridge.port))
            lines[-1][1].write(head.encode() + b"token=")
        answers = {asyncio.create_task(Line(*line).answer()): line for line in lines}
        cut: set[asyncio.Task[bytes]] = set()
        async with asyncio.timeout(SOON_S):
            while len(cut) < 30:
                still = answers.keys() - cut
                done, _ = await asyncio.wait(still, return_when=asyncio.FIRST_COMPLETED)
                cut |= done
        assert {task.result() for task in cut} == {b""}
        assert len(made.watched.descriptors) <= before + 22
        for task in answers.keys() - cut:
            task.cancel()
        await asyncio.wait(answers)
        left = [line for task, line in answers.items() if task not in cut]
        form = {"token": made.bridge.token}
        origin = {"Origin": f"http://{made.bridge.host}"}
        address = f"{made.bridge.address}login"
        async with (
            aiohttp.ClientSession(headers=origin) as other,
            other.post(address, data=form, allow_redirects=False) as answer,
        ):
            assert answer.status == 303, "who sends a whole form comes in"
        await asyncio.sleep(3.2)  # longer than a head has
        left[-1][1].write(b"x" * 44)
        assert (await left[-1][0].readline()).startswith(b"HTTP/1.1 401 ")
        found = await made.status()
        assert found.refused["pending"] >= 30
        assert found.refused["head"] == 0
        for _, writer in lines:
            writer.close()


# Heads --------------------------------------------------------------------------------------------


async def test_a_request_head_has_a_time_however_it_drips(start_bridge: StartBridge) -> None:
    async with scene(start_bridge, "--head-timeout", "1") as made:
        head = made.head("GET /healthz HTTP/1.1")
        async with line_to(made.bridge) as slow, line_to(made.bridge) as silent:
            began = time.monotonic()
            dripping = asyncio.create_task(slow.drip(head * 10))
            answer = await slow.answer()
            assert 0.9 < time.monotonic() - began < SOON_S
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            for header in (b"Connection: close", b"Cache-Control: no-store", b"Server: ttybridge"):
                assert header in answer
            dripping.cancel()
            assert await silent.answer() == b"", "browsers open connections that they do not use"
        async with line_to(made.bridge) as kept, line_to(made.bridge) as quiet:
            for line in (kept, quiet):
                line.writer.write(head + b"\r\n")
                assert b" 200 " in (await line.one_answer())[:15]
            kept.writer.write(head[:20])
            assert (await kept.answer()).startswith(b"HTTP/1.1 408 ")
            # A connection that is between two requests has longer.
            quiet.writer.write(head[:40])
            await quiet.writer.drain()
            quiet.writer.write(head[40:] + b"\r\n")
            assert b" 200 " in (await quiet.one_answer())[:15]
        found = await made.status()
        assert found.reasons == {"head": 2}
        assert (found.limits["head_seconds"], found.in_use["head_seconds"]) == (1, 0)
        check_log(made.bridge, bad_connections=2)


# Bodies -------------------------------------------------------------------------------------------


async def test_a_request_body_has_a_time_and_is_taken_whole_within_it(
    start_bridge: StartBridge,
) -> None:
    async with scene(start_bridge, "--body-timeout", "1", "--join-timeout", "60") as made:
        _, sid = await made.handshake()
        post = f"POST /tty/?{POLLING}&sid={sid} HTTP/1.1"
        # Below: in pieces, as any network may cut it.
        assert await made.post(sid, HELLO) == 200
        body = b'42["in",1,"echo who\'\'le\\r"]'
        async with line_to(made.bridge) as line:
            line.writer.write(made.head(post, f"Content-Length: {len(body)}") + b"\r\n" + body[:9])
            for byte in body[9:]:
                line.writer.write(bytes([byte]))
                await line.writer.drain()
            assert b" 200 " in (await line.one_answer())[:15]
        await made.healthy.until_shown(b"whole")
        assert (await made.status()).reasons == {}
        # Above: at each place that reads a body.
        other = (await made.handshake())[1]
        length, json_type = "Content-Length: 50", "Content-Type: application/json"

        async def ask(line: str, *more: str) -> bytes:
            async with line_to(made.bridge) as slow:
                began = time.monotonic()
                slow.writer.write(made.head(line, *more) + b"\r\n")
                dripping = asyncio.create_task(slow.drip(b"4" * 40))
                answer = await slow.answer()
                dripping.cancel()
                assert 0.9 < time.monotonic() - began < SOON_S
                return answer

        answers = await asyncio.gather(
            ask(post, length),
            ask(f"POST /tty/?{POLLING}&sid={other} HTTP/1.1", "Transfer-Encoding: chunked"),
            ask("POST /login HTTP/1.1", length),
            ask("POST /api/lock HTTP/1.1", length, json_type),
        )
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 408 "), answer[:300]
            assert b"did not arrive in time" in answer
        assert (await made.post(sid, "3")) == 400, "the connection has ended"
        found = await made.status()
        assert found.reasons == {"body": 4}
        assert (found.limits["body_seconds"], found.in_use["body_seconds"]) == (1, 0)
        check_log(made.bridge, bad_connections=4)


async def test_a_body_that_breaks_off_or_is_none_is_no_fault_of_the_bridge(
    start_bridge: StartBridge,
) -> None:
    async with scene(start_bridge) as made:
        length, json_type = "Content-Length: 50", "Content-Type: application/json"
        chunked = "Transfer-Encoding: chunked"
        for line in ("POST /login HTTP/1.1", "POST /api/lock HTTP/1.1"):
            async with line_to(made.bridge) as gone:
                gone.writer.write(made.head(line, length, json_type) + b"\r\nhalf")
                await gone.writer.drain()
                gone.writer.transport.abort()
            async with line_to(made.bridge) as broken:
                broken.writer.write(made.head(line, chunked, json_type) + b"\r\nZZZ\r\n")
                assert b" 400 " in (await broken.answer())[:15]
        assert (await made.status()).in_use["body_seconds"] == 0
        check_log(made.bridge, bad_connections=4)


# Sizes --------------------------------------------------------------------------------------------


async def until_closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Read until the connection is over."""
    async with asyncio.timeout(SOON_S):
        with suppress(ConnectionError):
            async for message in socket:
                if message.type is aiohttp.WSMsgType.ERROR:
                    return


def padded(size: int) -> str:
    """Return a packet of this size that says nothing new."""
    return '42["ack",0' + " " * (size - 11) + "]"


@pytest.mark.parametrize(("option", "limit"), [("128K", 131072), ("2M", 2 << 20)])
async def test_a_message_has_a_size_on_every_transport(
    start_bridge: StartBridge, option: str, limit: int
) -> None:
    async with scene(start_bridge, "--max-message", option) as made:
        async with made.session.get(tty(made.bridge, POLLING)) as answer:
            opened = json.loads((await answer.text())[1:])
        assert opened["maxPayload"] == limit
        # A stranger learns the size first, and is not asked for a credential.
        for size, status in ((limit, b" 401 "), (limit + 1, b" 413 ")):
            head = f"POST /tty/ HTTP/1.1\r\nHost: {made.bridge.host}\r\nContent-Length: {size}\r\n"
            async with line_to(made.bridge) as line:
                line.writer.write(f"{head}\r\n".encode())
                assert status in (await line.one_answer())[:15]
        assert await made.post(opened["sid"], HELLO) == 200
        # Below.
        assert await made.post(opened["sid"], padded(limit)) == 200
        await made.healthy.socket.send_str(padded(limit - 10))
        await made.healthy.echo()
        colab = await made.session.ws_connect(f"{made.bridge.address}colab/tty", max_msg_size=0)
        await colab.send_str('{"ack":true' + " " * (limit - 50) + "}")
        await colab.send_str('{"data":"echo col\'\'ab\\r"}')
        await made.healthy.until_shown(b"colab")
        found = await made.status()
        assert found.reasons == {"size": 1, "credential": 1}
        assert found.limits["message_bytes"] == limit
        assert found.in_use["message_bytes"] == limit
        # Above.
        rss = made.watched.rss_bytes
        assert await made.post(opened["sid"], padded(limit + 1)) == 413

        async def chunked() -> AsyncIterator[bytes]:
            yield padded(limit).encode()
            yield b" "

        _, sid = await made.handshake()
        address = tty(made.bridge, f"{POLLING}&sid={sid}")
        with suppress(aiohttp.ClientConnectionError):  # cut while it still sends
            async with made.session.post(address, data=chunked()) as answer:
                assert answer.status == 413
        bad = await PageClient.join(made.session, made.bridge)
        for socket, text in ((bad.socket, padded(limit + 1)), (colab, "x" * (limit + 1))):
            with suppress(ConnectionError):
                await socket.send_str(text)
        await eventually(lambda: bad.is_closed, "it is closed")
        await until_closed(colab)
        await bad.cut()
        await colab.close()
        found = await made.status()
        assert found.reasons == {"size": 5, "credential": 1}
        assert found.in_use["message_bytes"] == limit
        assert made.watched.rss_bytes - rss < 8 * limit + 8_000_000
        check_log(made.bridge, bad_connections=6)


async def test_nothing_is_inflated(start_bridge: StartBridge) -> None:
    async with scene(start_bridge) as made:
        rss = made.watched.rss_bytes
        bomb = gzip.compress(b"3" + b"\x1e3" * 60_000_000, 9)
        assert len(bomb) < 1_000_000
        for _ in range(3):
            _, sid = await made.handshake()
            assert await made.post(sid, bomb, **{"Content-Encoding": "gzip"}) == 400
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        small = gzip.compress(b"{" + b" " * 40_000_000 + b"}")
        assert len(small) < 64 << 10
        address = f"{made.bridge.address}api/lock"
        async with made.session.post(address, data=small, headers=headers) as answer:
            assert answer.status == 400
        for path in (tty(made.bridge), f"{made.bridge.address}colab/tty"):
            socket = await made.session.ws_connect(path, compress=15)
            assert not socket.compress, "compression was not agreed on"
            await socket.close()
            compressed = await made.session.ws_connect(path)
            transport = compressed._response.connection.transport  # type: ignore[union-attr]
            assert transport is not None
            transport.write(b"\xc1\x81\0\0\0\0x")  # RSV1: a compressed frame
            await until_closed(compressed)
            assert compressed.close_code == 1002
            await compressed.close()
        assert made.watched.rss_bytes - rss < 20_000_000
        assert (await made.status()).reasons == {"packet": 5}


async def test_no_attachment_is_announced_or_sent(start_bridge: StartBridge) -> None:
    async with scene(start_bridge) as made:
        rss = made.watched.rss_bytes
        announced = ('45999999999-["in",1]', '46999999999-1["x"]', "bAAAA", bytes(900_000))
        for frame in announced:
            bad = await PageClient.join(made.session, made.bridge)
            with suppress(ConnectionError):
                for each in (frame, *[bytes(900_000)] * 10):
                    if isinstance(each, str):
                        await bad.socket.send_str(each)
                    else:
                        await bad.socket.send_bytes(each)
            await eventually(lambda bad=bad: bad.is_closed, "it is closed")  # type: ignore[misc]
            await bad.cut()
            if isinstance(frame, str):
                _, sid = await made.handshake()
                assert await made.post(sid, f"3\x1e{frame}") == 400
        found = await made.status()
        assert found.reasons == {"attachment": 7}
        assert (found.limits["attachments"], found.in_use["attachments"]) == (0, 0)
        assert made.watched.rss_bytes - rss < 20_000_000


# The log ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "lines"), [((), 1), (("--log-lines", "3"), 3)])
async def test_a_bad_connection_is_worth_so_many_lines_however_much_it_asks(
    start_bridge: StartBridge, options: tuple[str, ...], lines: int
) -> None:
    async with scene(start_bridge, *options) as made:
        request = f"GET /tty/ HTTP/1.1\r\nHost: {made.bridge.host}\r\n\r\n".encode()
        for _ in range(2):
            async with line_to(made.bridge) as line:
                for _ in range(40):
                    line.writer.write(request)
                    assert b" 401 " in (await line.one_answer())[:15]
        found = await made.status()
        assert found.reasons == {"credential": 80}
        assert found.not_logged == 80 - 2 * lines
        refused = [each for each in made.bridge.log.splitlines() if " refused GET " in each]
        assert len(refused) == 2 * lines
        assert found.in_use["log_lines_per_connection"] == lines


# Recordings ---------------------------------------------------------------------------------------


async def test_all_recordings_together_have_a_size(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    old = folder / "old.cast"
    old.write_bytes(b"x" * 150_000)
    options = ("--record-dir", str(folder), "--record-total", "200K")
    async with scene(start_bridge, *options) as made:

        async def record(on: bool) -> tuple[int, dict[str, Any]]:
            address = f"{made.bridge.address}api/record"
            async with made.session.post(address, json={"on": on}) as answer:
                return answer.status, await answer.json()

        status, told = await record(on=True)
        assert (status, told["error"]) == (409, "The recordings have reached 200K.")
        assert "--record-total" in told["hint"]
        assert [path.name for path in folder.iterdir()] == ["old.cast"]
        found = await made.status()
        assert found.reasons == {"recordings": 1}
        assert (found.limits["recordings_bytes"], found.in_use["recordings_bytes"]) == (
            (200 << 10, 150_000)
        )
        old.write_bytes(b"x" * 100_000)
        assert (await record(on=True))[0] == 200
        enough = shlex.quote(str(tmp_path / "enough"))
        flood = f"until test -e {enough}; do seq 100000 100040; sleep 0.002; done"
        await made.healthy.type(f"{flood}\r")
        told_all = "All recordings have reached 200K"
        await eventually(lambda: told_all in made.bridge.log, "the recording ends by itself")
        total = sum(path.stat().st_size for path in folder.iterdir())
        assert 150_000 < total <= 200 << 10
        found = await made.status()
        assert found.reasons == {"recordings": 2}
        assert found.in_use["recordings_bytes"] == total
        await eventually(
            lambda: [e for e in made.healthy.events if e[0] == "notice"], "the page is told"
        )
        (tmp_path / "enough").touch()
