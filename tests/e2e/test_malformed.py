"""Malformed input at both entrances ends its sender, and nobody else notices."""

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import RunningBridge, StartBridge, Tmux
from tests.e2e.hostile import (
    HELLO,
    OPEN,
    SERVED_S,
    PageClient,
    Watched,
    check_log,
    eventually,
    session_of,
    tty,
)

TYPED = "touch PWNED\\r"
"""What a bad client tries to type, as JSON."""

EVIL_DATA = json.dumps(json.dumps({"data": "touch PWNED\r"}))

BOMB = "[" * 200_000
HUGE_INTEGER = "9" * 100_000

FRAMES: dict[str, str | bytes] = {
    "empty": "",
    "a letter": "x",
    "open": "0",
    "open with data": '0{"sid":"x"}',
    "noop": "6",
    "unknown 7": "7",
    "unknown 8": "8",
    "unknown 9": "9",
    "message without a packet": "4",
    "ping that is not a probe": "2other",
    "pong with data": "3other",
    "upgrade with data": "5x",
    "base64": "bAAAA",
    "unknown packet type": "47",
    "packet type 9": "49",
    "connect error": '44{"message":"x"}',
    "broken JSON": '42["in",1,',
    "no JSON": "42in",
    "event that is an object": '42{"in":1}',
    "event without a name": "42[]",
    "event whose name is a number": "42[1]",
    "event whose name is a list": '42[["in"],1]',
    "connect as an event": '42["connect",1]',
    "connect as an event with an environ": '42["connect",{"ttybridge.connection":{}},{}]',
    "disconnect as an event": '42["disconnect"]',
    "reserved message": '42["message","x"]',
    "any event": '42["*","x"]',
    "escaped event name": f'42["\\u0069n",1,"{TYPED}"]',
    "escaped connect": '42["c\\u006fnnect",1]',
    "space before the name": f'42[ "in",1,"{TYPED}"]',
    "name that goes on": '42["in\\u0000",1]',
    "other namespace connect": "40/other,{}",
    "other namespace event": f'42/other,["in",1,"{TYPED}"]',
    "other namespace data": f'42/other,["data",{{"data":{EVIL_DATA}}}]',
    "default namespace by name": f'42/,["in",1,"{TYPED}"]',
    "acknowledgement with a huge id": "43" + "9" * 50 + "[]",
    "acknowledgement nobody asked for": "43999[]",
    "acknowledgement without id": "43[]",
    "acknowledgement that is no list": "431{}",
    "event with a huge id": "42" + "9" * 50 + '["in",1,"x"]',
    "event with an id beyond Unicode digits": '42٣["in",1,"x"]',
    "binary event announced": f'451-["in",1,"{TYPED}",{{"_placeholder":true,"num":0}}]',
    "binary events announced without end": '45999999999-["in"]',
    "binary acknowledgement announced": '461-1[{"_placeholder":true,"num":0}]',
    "binary event of none": f'450-["in",1,"{TYPED}"]',
    "placeholder without attachment": '42["in",1,{"_placeholder":true,"num":0}]',
    "binary frame": b"touch PWNED\r",
    "empty binary frame": b"",
    "binary frame that looks like a packet": b"4" + TYPED.encode(),
    "second connect": "40",
    "second connect with data": HELLO,
    "nesting bomb as an event": '42["in",' + BOMB,
    "nesting bomb as data": '42["data",' + BOMB + "]" * 200_000 + "]",
    "nesting bomb in objects": '42["data",' + '{"a":' * 100_000,
    "nesting bomb in the text": '42["data",{"data":' + json.dumps(BOMB) + "}]",
    "nesting bomb in connect": '40{"protocol":' + BOMB,
    "huge integer": f'42["in",{HUGE_INTEGER},"x"]',
    "huge size": f'42["size",{HUGE_INTEGER},24]',
    "huge exponent": '42["size",1e999,24]',
    "not a number": '42["size",NaN,Infinity]',
    "negative number": '42["in",-1,"x"]',
    "number that leaves a gap": f'42["in",900,"{TYPED}"]',
    "fraction": f'42["in",1.5,"{TYPED}"]',
    "boolean as a number": f'42["in",true,"{TYPED}"]',
    "string as a number": f'42["in","1","{TYPED}"]',
    "input that is an object": '42["in",1,{"a":1}]',
    "input without a text": '42["in",1]',
    "too many arguments": f'42["in",1,"{TYPED}",true,true]',
    "ack of a string": '42["ack","1"]',
    "ack of what was never sent": '42["ack",9007199254740991]',
    "ack above 2**53": '42["ack",99999999999999999999]',
    "ack of nothing": '42["ack"]',
    "ack that is no number of JSON": '42["ack",007]',
    "size of strings": '42["size","a","b"]',
    "size of one": '42["size",80]',
    "data with a number": '42["data",5]',
    "data twice": '42["data",{"data":"{}"},{"data":"{}"}]',
    "data that is no JSON": '42["data",{"data":"touch PWNED"}]',
    "data with a list": '42["data",{"data":"[1]"}]',
    "data with wrong types": '42["data",{"data":"{\\"data\\":5}"}]',
    "data with half a size": '42["data",{"data":"{\\"cols\\":5}"}]',
    "megabyte of text": '42["in",1,"' + "x" * 999_980 + '"]',
    "megabyte of nothing": "4" + "x" * 999_990,
    "more than a megabyte": '42["in",1,"' + "x" * 1_100_000 + '"]',
    "zero bytes": "\x00" * 1000,
    "record separators": "\x1e" * 1000,
    "half a surrogate in connect": '40{"protocol":1,"cols":80,"rows":24,"resume":{"id":"\\ud800",'
    '"key":"\\ud800","offset":0}}',
    "other protocol": '40{"protocol":2}',
    "protocol true": '40{"protocol":true,"cols":80,"rows":24}',
    "protocol without size": '40{"protocol":1}',
    "resume that is a list": '40{"protocol":1,"cols":80,"rows":24,"resume":[]}',
    "resume without key": '40{"protocol":1,"cols":80,"rows":24,"resume":{"id":"c1"}}',
    "connect with broken JSON": '40{"protocol":1,',
}
"""Engine.IO packets that no client of ours sends at that moment."""

HARMLESS_WHEN_JOINED = {
    "acknowledgement nobody asked for",
    "ack of what was never sent",
    "placeholder without attachment",
}
"""Frames after which the connection may go on."""

JOINS = {"half a surrogate in connect", "second connect", "second connect with data"}
"""Frames that are a proper first packet: the client is joined, as anybody is."""


@dataclass
class Scene:
    """A bridge with a healthy client."""

    bridge: RunningBridge
    session: aiohttp.ClientSession
    healthy: PageClient
    watched: Watched
    folder: Path
    start: tuple[int, int, int, int]
    bad_connections: int = 0

    async def check_served(self, name: str) -> None:
        """Check that the healthy client gets its echo."""
        assert self.bridge.process.poll() is None, f"{name} ended the bridge\n{self.bridge.log}"
        try:
            await self.healthy.echo(SERVED_S * 5)
        except (AssertionError, pytest.fail.Exception, ConnectionError) as error:
            message = f"after {name}: {error}\n{self.bridge.log[-2000:]}"
            raise AssertionError(message) from error

    async def check_clean(self) -> None:
        """Check that nothing of the bad clients is left."""
        await eventually(
            lambda: self.watched.is_within(self.start),
            f"what bad clients held is given back ({self.start} descriptors, children, ptys, "
            f"threads at the start)",
        )
        assert not (self.folder / "PWNED").exists()
        check_log(self.bridge, bad_connections=self.bad_connections)


@asynccontextmanager
async def scene(start_bridge: StartBridge, tmp_path: Path, *options: str) -> AsyncIterator[Scene]:
    """Start a bridge with a healthy client, and check at the end that nothing is left."""
    bridge = start_bridge("--join-timeout", "1", "--resume", "1", *options)
    async with session_of(bridge) as session:
        healthy = await PageClient.join(session, bridge)
        await healthy.echo()
        watched = Watched(bridge.pid)
        made = Scene(bridge, session, healthy, watched, tmp_path, watched.footprint())
        yield made
        await made.check_served("everything")
        await made.check_clean()
        await healthy.close()


async def until_closed(ws: aiohttp.ClientWebSocketResponse, name: str) -> int | None:
    """Read until the server closes; return the close code."""
    try:
        async with asyncio.timeout(20):
            while True:
                message = await ws.receive()
                if message.type in (
                    aiohttp.WSMsgType.CLOSE,
                    aiohttp.WSMsgType.CLOSED,
                    aiohttp.WSMsgType.ERROR,
                ):
                    return ws.close_code
                if message.type is aiohttp.WSMsgType.TEXT and message.data == "2":
                    await ws.send_str("3")
    except TimeoutError:
        raise AssertionError(f"the connection stays open after: {name}") from None
    except ConnectionError:
        return None


async def send(ws: aiohttp.ClientWebSocketResponse, frame: str | bytes) -> None:
    """Send a frame; the connection may be gone meanwhile."""
    with suppress(ConnectionError):
        if isinstance(frame, bytes):
            await ws.send_bytes(frame)
        else:
            await ws.send_str(frame)


async def read_until(ws: aiohttp.ClientWebSocketResponse, start: str) -> str:
    """Read until a text frame begins with `start`."""
    async with asyncio.timeout(20):
        while True:
            message = await ws.receive()
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
            if message.type is aiohttp.WSMsgType.TEXT and message.data.startswith(start):
                return str(message.data)


async def test_frames_of_a_client_that_has_not_joined_harm_nobody(
    start_bridge: StartBridge, tmp_path: Path, tmux: Tmux
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        closing: list[asyncio.Task[int | None]] = []
        for name, frame in FRAMES.items():
            if name in JOINS:
                continue
            ws = await made.session.ws_connect(tty(made.bridge), max_msg_size=0)
            made.bad_connections += 1
            await send(ws, frame)
            await send(ws, f'42["in",1,"{TYPED}"]')
            await send(ws, f'42["data",{{"data":{EVIL_DATA}}}]')
            closing.append(asyncio.create_task(until_closed(ws, name)))
            await made.check_served(name)
            assert len(tmux.clients()) == 1, f"{name} joined"
        await asyncio.gather(*closing)


@pytest.mark.parametrize("contract", ["page", "colab"])
async def test_frames_of_a_joined_client_end_it_and_harm_nobody(
    start_bridge: StartBridge, tmp_path: Path, contract: str
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        closing: list[asyncio.Task[int | None]] = []
        for name, frame in FRAMES.items():
            ws = await made.session.ws_connect(tty(made.bridge), max_msg_size=0)
            made.bad_connections += 1
            await ws.send_str(HELLO if contract == "page" else "40")
            await read_until(ws, '42["joined"' if contract == "page" else "40{")
            await send(ws, frame)
            if name in HARMLESS_WHEN_JOINED or not is_ended_by(frame):
                await made.check_served(name)
                await ws.close()
            else:
                closing.append(asyncio.create_task(until_closed(ws, name)))
                await made.check_served(name)
        await asyncio.gather(*closing)


def is_ended_by(frame: str | bytes) -> bool:
    """Tell whether the frame must end a client; the library drops events of broken JSON."""
    if isinstance(frame, bytes):
        return True
    from ttybridge.core.protocol import check_packet
    from ttybridge.errors import ProtocolError

    try:
        check_packet(frame)
    except ProtocolError:
        return True
    if frame.startswith("40"):
        return True
    try:
        value = json.loads(frame[2:])
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list)


async def test_a_flood_of_malformed_connections_leaves_nothing(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made:

        async def visit(number: int) -> None:
            ws = await made.session.ws_connect(tty(made.bridge))
            for frame in ("42[", '451-["in",1,"x"]', f"4{number}")[number % 3 :]:
                await send(ws, frame)
            await until_closed(ws, "garbage")

        for _ in range(5):
            made.bad_connections += 20
            await asyncio.gather(*(visit(number) for number in range(20)))
            await made.check_served("a flood")


async def test_connections_that_never_finish_joining_are_dropped(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        silent = [await made.session.ws_connect(tty(made.bridge)) for _ in range(5)]
        polling = []
        for _ in range(5):
            async with made.session.get(tty(made.bridge, "EIO=4&transport=polling")) as answer:
                polling.append(json.loads((await answer.text())[1:])["sid"])
        made.bad_connections = 10
        before = time.monotonic()
        await asyncio.gather(*(until_closed(ws, "silence") for ws in silent))
        assert time.monotonic() - before < 10
        for sid in polling:
            # They came later than the others, and a poll may be what notices.
            status, query = 200, f"EIO=4&transport=polling&sid={sid}"
            async with asyncio.timeout(10):
                while status != 400:
                    async with made.session.get(tty(made.bridge, query)) as answer:
                        status = answer.status


async def test_a_client_that_disconnects_and_stays_is_dropped(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        ws = await made.session.ws_connect(tty(made.bridge))
        made.bad_connections = 1
        await ws.send_str(HELLO)
        await read_until(ws, '42["joined"')
        await ws.send_str("41")
        await until_closed(ws, "41 and silence")


Polling = Callable[..., Coroutine[None, None, tuple[int, str]]]


@asynccontextmanager
async def polling_client(made: Scene, *, join: bool = False) -> AsyncIterator[Polling]:
    """Open a polling connection; yields a function for its requests."""
    made.bad_connections += 1

    async def ask(
        method: str, body: str | bytes = b"", *, more: str = "", cookies: bool = False
    ) -> tuple[int, str]:
        try:
            data = io.BytesIO(body if isinstance(body, bytes) else body.encode())
            async with made.session.request(
                method, tty(made.bridge, f"EIO=4&transport=polling&sid={sid}{more}"), data=data,
                headers={"Content-Type": "text/plain;charset=UTF-8"},
            ) as answer:  # fmt: skip
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async with made.session.get(tty(made.bridge, "EIO=4&transport=polling")) as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    if join:
        assert await ask("POST", HELLO) == (200, "OK")
        await ask("GET")
    yield ask


POSTS: dict[str, str | bytes] = {
    "nothing": "",
    "letters": "hello",
    "invalid UTF-8": b'42["in",1,"\xff\xfe"]',
    "half a character": b'42["in",1,"\xc3',
    "JSONP body": "d=40",
    "JSONP body, escaped": "d=42%5B%22in%22%5D",
    "more than sixteen packets of garbage": "\x1e".join(["4"] * 40),
    "a bad packet behind good ones": "\x1e".join(["3"] * 20 + ['42["connect",1]']),
    "empty packets": "\x1e" * 5000,
    "binary in base64": "bdG91Y2ggUFdORUQ=",
    "announced attachment": f'451-["in",1,"{TYPED}",{{"_placeholder":true,"num":0}}]\x1ebAAAA',
    "attachments without end": "\x1e".join(['45999-["in"]'] + ["bAAAA"] * 100),
    "nesting bomb": '42["data",' + BOMB + "]" * 200_000 + "]",
    "more than a megabyte": "4" + "x" * 1_100_000,
}


@pytest.mark.parametrize("join", [False, True], ids=["not joined", "joined"])
async def test_malformed_polling_bodies_harm_nobody(
    start_bridge: StartBridge, tmp_path: Path, join: bool
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        for name, body in POSTS.items():
            async with polling_client(made, join=join) as ask:
                status, _ = await ask("POST", body)
                assert status in (0, 200, 400, 413), (name, status)
                assert name == "nesting bomb" or status != 200, name
                await made.check_served(name)
                await ask("POST", "1")


async def test_more_than_sixteen_packets_in_a_post_are_all_taken(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made, polling_client(made, join=True) as ask:
        text = "echo all''arrived\r"
        packets = ["42" + json.dumps(["in", n + 1, c]) for n, c in enumerate(text)]
        assert len(packets) > 16
        assert (await ask("POST", "\x1e".join(packets)))[0] == 200
        await made.healthy.until_shown(b"allarrived")
        await ask("POST", "\x1e".join(["41", "1"]))


MEGABYTE_POSTS = {
    "upgrades": "\x1e".join(["5"] * 499_000),
    "probes": "\x1e".join(["2probe"] * 140_000),
    "small events": "\x1e".join(['42["ack",0]'] * 83_000),
    "events with a number": "\x1e".join(['421["ack",0]'] * 76_000),
}
"""Bodies below the limit of bytes that would be many packets."""


@pytest.mark.parametrize("join", [False, True], ids=["not joined", "joined"])
async def test_a_megabyte_of_small_packets_costs_neither_memory_nor_time(
    start_bridge: StartBridge, tmp_path: Path, join: bool
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        at_start = made.watched.rss_bytes
        for name, body in MEGABYTE_POSTS.items():
            assert len(body) < 1_000_000
            for _ in range(6):
                async with polling_client(made, join=join) as ask:
                    before = made.watched.cpu_s
                    status, _ = await ask("POST", body)
                    assert status == 400, (name, status)
                    spent = made.watched.cpu_s - before
                    assert spent < 0.5, f"{name} keeps the bridge busy for {spent:.1f} s"
                    assert (await ask("POST", "3"))[0] == 400, f"{name}: the connection goes on"
                    await made.check_served(name)
        grown = made.watched.rss_bytes - at_start
        assert grown < 60_000_000, f"the bridge has grown by {grown / 1e6:.0f} MB"


async def test_wrong_requests_to_the_socketio_entrance_are_refused(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made, polling_client(made) as ask:
        sid_of_nobody = "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA"
        wrong = [
            ("GET", sid_of_nobody),
            ("POST", sid_of_nobody),
            ("GET", "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA"),
            ("POST", "EIO=4&transport=polling"),
            ("GET", "EIO=3&transport=polling"),
            ("GET", "transport=polling"),
            ("GET", "EIO=4&EIO=3&transport=polling&j=0"),
            ("GET", "EIO=4&transport=polling&j=0"),
            ("GET", "EIO=4&transport=polling&j="),
            ("GET", "EIO=4&transport=polling&d=x"),
            ("GET", "EIO=4&transport=websocket"),
            ("GET", "EIO=4&transport=webtransport"),
            ("GET", "EIO=4&transport=%00"),
            ("GET", "EIO=4&transport=polling&sid="),
            ("GET", "EIO=4&transport=polling&sid=%ff%fe"),
            ("GET", "EIO=4&transport=polling&sid=" + "A" * 5000),
            ("HEAD", "EIO=4&transport=polling"),
            ("PUT", "EIO=4&transport=polling"),
            ("DELETE", "EIO=4&transport=polling"),
            ("PATCH", "EIO=4&transport=polling"),
            ("OPTIONS", "EIO=4&transport=polling"),
            ("TRACE", "EIO=4&transport=polling"),
            ("BREW", "EIO=4&transport=polling"),
        ]
        for method, query in wrong:
            made.bad_connections += 1
            async with made.session.request(method, tty(made.bridge, query)) as answer:
                is_open = method == "HEAD"
                assert 400 <= answer.status < 500 or is_open, (method, query, answer.status)
            await made.check_served(f"{method} {query}")
        status, _ = await ask("GET", more="&j=0")
        assert status == 400
        status, _ = await ask("POST", "d=40", more="&j=0")
        assert status == 400


async def test_a_connection_is_closed_to_another_login(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        origin = {"Origin": f"http://{made.bridge.host}"}
        jars = [aiohttp.CookieJar(unsafe=True) for _ in range(2)]
        async with (
            aiohttp.ClientSession(cookie_jar=jars[0], headers=origin) as owner,
            aiohttp.ClientSession(cookie_jar=jars[1], headers=origin) as other,
        ):
            for login in (owner, other):
                async with login.get(made.bridge.link) as answer:
                    assert answer.status == 200
            async with owner.get(tty(made.bridge, "EIO=4&transport=polling")) as answer:
                sid = json.loads((await answer.text())[1:])["sid"]
            made.bad_connections = 4
            query = f"EIO=4&transport=polling&sid={sid}"
            async with other.get(tty(made.bridge, query)) as answer:
                assert answer.status == 403
            async with other.post(tty(made.bridge, query), data=HELLO) as answer:
                assert answer.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await other.ws_connect(tty(made.bridge, f"EIO=4&transport=websocket&sid={sid}"))
            assert refused.value.status == 403
            async with owner.post(tty(made.bridge, query), data="1") as answer:
                assert answer.status == 200


async def test_half_open_upgrades_are_dropped_with_their_connection(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        probes: dict[str, list[str | bytes]] = {
            "silence": [],
            "a probe and silence": ["2probe"],
            "no probe": ["2other"],
            "a packet instead": ['42["in",1,"x"]'],
            "a probe, then no upgrade": ["2probe", "3"],
            "a probe, then binary": ["2probe", b"5"],
            "an upgrade without probe": ["5"],
        }
        closing = []
        for name, frames in probes.items():
            made.bad_connections += 1
            async with made.session.get(tty(made.bridge, "EIO=4&transport=polling")) as answer:
                sid = json.loads((await answer.text())[1:])["sid"]
            made.bad_connections += 1
            ws = await made.session.ws_connect(
                tty(made.bridge, f"EIO=4&transport=websocket&sid={sid}")
            )
            for frame in frames:
                await send(ws, frame)
            closing.append(asyncio.create_task(until_closed(ws, name)))
            await made.check_served(name)
        await asyncio.gather(*closing)


async def raw(bridge: RunningBridge, data: bytes, *, wait: bool = True) -> bytes:
    """Send bytes over a socket of their own and return the answer's beginning."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
    try:
        with suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
            if wait:
                async with asyncio.timeout(10):
                    return await reader.read(65536)
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_broken_http_harms_nobody(start_bridge: StartBridge, tmp_path: Path) -> None:
    async with scene(start_bridge, tmp_path) as made:
        host = made.bridge.host
        head = f"Host: {host}\r\nAuthorization: Bearer {made.bridge.token}\r\n"
        upgrade = f"{head}Upgrade: websocket\r\nConnection: Upgrade\r\n"
        path = f"/tty/?{OPEN}"
        requests = {
            "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
            "no HTTP version": f"GET {path}\r\n{head}\r\n".encode(),
            "HTTP/9.9": f"GET {path} HTTP/9.9\r\n{head}\r\n".encode(),
            "broken chunks": f"POST /tty/?EIO=4&transport=polling&sid=x HTTP/1.1\r\n{head}"
            "Transfer-Encoding: chunked\r\n\r\nZZZ\r\n".encode(),
            "two lengths": f"POST /tty/ HTTP/1.1\r\n{head}Content-Length: 1\r\n"
            "Content-Length: 2\r\n\r\nxx".encode(),
            "negative length": f"POST /tty/ HTTP/1.1\r\n{head}Content-Length: -1\r\n\r\n".encode(),
            "huge length": f"POST /tty/ HTTP/1.1\r\n{head}"
            f"Content-Length: {10**18}\r\n\r\n".encode(),
            "upgrade without key": f"GET {path} HTTP/1.1\r\n{upgrade}\r\n".encode(),
            "upgrade with a bad key": f"GET {path} HTTP/1.1\r\n{upgrade}Sec-WebSocket-Key: x\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode(),
            "upgrade of version 99": f"GET {path} HTTP/1.1\r\n{upgrade}Sec-WebSocket-Key: "
            "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 99\r\n\r\n".encode(),
            "colab upgrade without key": f"GET /colab/tty HTTP/1.1\r\n{upgrade}\r\n".encode(),
            "colab upgrade with a bad key": f"GET /colab/tty HTTP/1.1\r\n{upgrade}"
            "Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
            "colab without upgrade": f"GET /colab/tty HTTP/1.1\r\n{head}\r\n".encode(),
            "header without colon": f"GET {path} HTTP/1.1\r\n{head}nonsense\r\n\r\n".encode(),
            "header of a megabyte": f"GET {path} HTTP/1.1\r\n{head}X: ".encode() + b"x" * 1_000_000,
        }
        for name, request in requests.items():
            made.bad_connections += 1
            answer = await raw(made.bridge, request)
            assert b" 200 " not in answer[:20], (name, answer[:200])
            assert b" 500 " not in answer[:20], (name, answer[:200])
            await made.check_served(name)


GOOD_UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize("entrance", ["tty/?" + OPEN, "colab/tty"])
async def test_broken_websocket_frames_harm_nobody(
    start_bridge: StartBridge, tmp_path: Path, entrance: str
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        head = f"Host: {made.bridge.host}\r\nAuthorization: Bearer {made.bridge.token}\r\n"
        request = f"GET /{entrance} HTTP/1.1\r\n{head}{GOOD_UPGRADE}".encode()
        frames = {
            "reserved opcode": b"\x8b\x80\0\0\0\0",
            "reserved bits": b"\xf1\x81\0\0\0\0x",
            "not masked": b"\x81\x05hello",
            "invalid UTF-8": b"\x81\x82\0\0\0\0\xff\xfe",
            "invalid UTF-8 in a close": b"\x88\x84\0\0\0\0\x03\xe8\xff\xfe",
            "close with one byte": b"\x88\x81\0\0\0\0x",
            "close with a reserved code": b"\x88\x82\0\0\0\0\x03\xed",
            "fragmented ping": b"\x09\x80\0\0\0\0",
            "long ping": b"\x89\xfe\x00\xff\0\0\0\0" + b"x" * 255,
            "continuation of nothing": b"\x80\x81\0\0\0\0x",
            "announced exabyte": b"\x81\xff\x7f" + b"\xff" * 7 + b"\0\0\0\0",
            "announced two megabytes": b"\x81\xff" + (2_000_000).to_bytes(8, "big") + b"\0\0\0\0",
            "half a header": b"\x81",
            "fragments without end": b"\x01\x81\0\0\0\0x" + b"\x00\x81\0\0\0\0x" * 5000,
            "fragments above a megabyte": (
                b"\x01\x81\0\0\0\0x" + (b"\x00\xfe\xff\xff\0\0\0\0" + b"x" * 65535) * 20
            ),
            "a thousand pings": b"\x89\x80\0\0\0\0" * 1000,
        }
        for name, frame in frames.items():
            made.bad_connections += 1
            answer = await raw(made.bridge, request + frame)
            assert answer.startswith(b"HTTP/1.1 101 "), (name, answer[:200])
            await made.check_served(name)


async def test_requests_that_never_end_are_cut_with_their_client(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        head = f"Host: {made.bridge.host}\r\nAuthorization: Bearer {made.bridge.token}\r\n"
        async with made.session.get(tty(made.bridge, "EIO=4&transport=polling")) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        made.bad_connections = 1
        request = f"POST /tty/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\n{head}"
        reader, writer = await asyncio.open_connection("127.0.0.1", made.bridge.port)
        writer.write(f"{request}Content-Length: 1000\r\n\r\n4".encode())
        await writer.drain()
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                await reader.read()
        writer.close()


COLAB_FRAMES: dict[str, str | bytes] = {
    "empty": "",
    "no JSON": "touch PWNED\r",
    "half a JSON": '{"data":"touch PWNED',
    "list": '["touch PWNED\\r"]',
    "number": "5",
    "null": "null",
    "string": '"touch PWNED\\r"',
    "data that is a number": '{"data":5}',
    "data that is a list": '{"data":["touch PWNED\\r"]}',
    "data that is null": '{"data":null}',
    "half a size": '{"cols":80}',
    "size of strings": '{"cols":"80","rows":"24"}',
    "size of nothing": '{"cols":null,"rows":null}',
    "size that is no number": '{"cols":NaN,"rows":24}',
    "infinite size": '{"cols":Infinity,"rows":1e999}',
    "huge integer": '{"cols":' + HUGE_INTEGER + ',"rows":24}',
    "nesting bomb": BOMB,
    "closed nesting bomb": BOMB + "]" * 200_000,
    "nesting bomb in data": '{"data":' + BOMB + "]" * 200_000 + "}",
    "binary that is no text": b"\xff\xfe\x00touch PWNED\r",
    "binary that is no JSON": b"touch PWNED\r",
    "empty binary": b"",
    "more than a megabyte": '{"data":"' + "x" * 1_100_000 + '"}',
}


async def test_malformed_frames_end_a_colab_console_and_nobody_else(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        for name, frame in COLAB_FRAMES.items():
            made.bad_connections += 1
            ws = await made.session.ws_connect(f"{made.bridge.address}colab/tty", max_msg_size=0)
            await send(ws, frame)
            await send(ws, '{"data":"touch PWNED\\r"}')
            code = await until_closed(ws, name)
            assert code in (None, 1003, 1006, 1009), (name, code)
            await made.check_served(name)


async def test_sizes_of_any_number_are_clamped_and_harm_nobody(
    start_bridge: StartBridge, tmp_path: Path, tmux: Tmux
) -> None:
    async with scene(start_bridge, tmp_path) as made:
        ws = await made.session.ws_connect(f"{made.bridge.address}colab/tty", max_msg_size=0)
        for cols, rows in ((0, 0), (-5, -5), (10**15, 10**15), (65536, 65537), (1e300, 5)):
            await ws.send_str(json.dumps({"cols": cols, "rows": rows}))
        await made.check_served("sizes")
        sizes = tmux("list-clients", "-F", "#{client_width}x#{client_height}").split()
        await eventually(
            lambda: "1000x5" in tmux("list-clients", "-F", "#{client_width}x#{client_height}"),
            f"clamped, not {sizes}",
        )
        await ws.close()


frames = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.from_regex(
        r"4[0-9](/[a-z]{0,3},)?[0-9]{0,12}-?(\[.{0,20}\]?|\{.{0,20}\}?)?", fullmatch=True
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=6,
    ).flatmap(
        lambda value: st.sampled_from(["in", "size", "ack", "data"]).map(
            lambda name: "42" + json.dumps([name, value])
        )
    ),
)


async def test_frames_that_nobody_thought_of_harm_nobody(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    async with scene(start_bridge, tmp_path, "--max-clients", "400") as made:
        batches: list[list[str | bytes]] = []

        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(frames, min_size=1, max_size=4))
        def collect(found: list[str | bytes]) -> None:
            batches.append(found)

        collect()

        async def visit(number: int, batch: list[str | bytes]) -> None:
            first = (None, HELLO, "40", "colab")[number % 4]
            address = tty(made.bridge) if first != "colab" else f"{made.bridge.address}colab/tty"
            ws = await made.session.ws_connect(address, max_msg_size=0)
            if first not in (None, "colab"):
                await send(ws, str(first))
            for frame in batch:
                await send(ws, frame)
            await ws.close()

        for start in range(0, len(batches), 10):
            group = batches[start : start + 10]
            made.bad_connections += len(group)
            await asyncio.gather(*(visit(start + n, batch) for n, batch in enumerate(group)))
            await made.check_served(f"{group!r}")


SLOW_TMUX = """#!/bin/sh
case " $* " in
*" attach"*) test -e {flag} && {{ touch {flag}.seen; sleep 2.5; }};;
esac
exec tmux "$@"
"""


@pytest.mark.parametrize("way", ["deadline", "goodbye"])
async def test_a_client_that_goes_while_it_joins_leaves_nothing(
    start_bridge: StartBridge, tmp_path: Path, way: str
) -> None:
    flag = tmp_path / "slow"
    program = tmp_path / "slow-tmux"
    program.write_text(SLOW_TMUX.format(flag=flag))
    program.chmod(0o755)
    async with scene(start_bridge, tmp_path, "--tmux", str(program)) as made:
        flag.touch()
        if way == "deadline":
            ws = await made.session.ws_connect(tty(made.bridge))
            made.bad_connections += 1
            await ws.send_str(HELLO)
            await until_closed(ws, "joining for longer than the deadline")
        else:
            async with polling_client(made) as ask:
                joining = asyncio.create_task(ask("POST", HELLO))
                await eventually((tmp_path / "slow.seen").exists, "tmux is being attached")
                await ask("POST", "1")
                await joining
        await eventually((tmp_path / "slow.seen").exists, "tmux was attached")
        flag.unlink()


def test_the_bridge_outlives_a_burst_of_connections_that_say_nothing(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge()
    watched = Watched(bridge.pid)
    before = len(watched.descriptors)
    sockets = [socket.create_connection(("127.0.0.1", bridge.port)) for _ in range(100)]
    for each in sockets:
        each.close()
    until = time.monotonic() + 20
    while len(watched.descriptors) > before:
        assert time.monotonic() < until, watched.descriptors
        time.sleep(0.02)
    check_log(bridge, bad_connections=0)
