"""The proxy with a real web server behind it that notes down everything it receives."""

import asyncio
import gzip
import hashlib
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.component.proxied_app import BLOCK, OUTSIDE, SECRET, App, Bridge
from tests.conftest import DEADLINE_S
from ttybridge.core.access import Principal
from ttybridge.errors import AccessDenied
from ttybridge.model import Role
from ttybridge.web.proxy import Proxy


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    await app.start()
    yield app
    await app.stop()


@pytest.fixture
async def bridge(app: App) -> AsyncIterator[Bridge]:
    bridge = Bridge()
    await bridge.start([range(app.port, app.port + 1)])
    yield bridge
    await bridge.stop()


async def test_the_app_sees_a_browser_of_its_own_machine_and_none_of_our_credentials(
    app: App, bridge: Bridge
) -> None:
    prefix = f"/proxy/{app.port}"
    await bridge.ask(f"{prefix}/")
    app.seen.clear()
    app.bodies.clear()
    sent = await bridge.raw(
        f"POST {prefix}/a%2Fb/../c?token=jupyters&x=%41+b&y={SECRET}&colab-runtime-proxy-token=z&"
        " HTTP/1.1",
        f"Cookie: ttybridge-{bridge.port}=signed; _xsrf=2|3; TTYBRIDGE-9=x",
        f"Authorization: Bearer {SECRET}",
        "X-Colab-Runtime-Proxy-Token: z",
        "X-TTYBridge-Client: page",
        f"Origin: {OUTSIDE}",
        f"Referer: {OUTSIDE}{prefix}/lab?q=1",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Host: evil.example",
        "X-Plain: kept",
        "Upgrade: h2c",
        "Content-Length: 4",
        body=b"body",
    )
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    ((method, path, headers),) = app.seen
    assert (method, path) == ("POST", "/a%2Fb/../c?token=jupyters&x=%41+b&")
    assert app.bodies == [b"body"]
    assert headers.pop("Connection") == "close"
    assert headers == {
        "Host": f"localhost:{app.port}",
        "Cookie": "_xsrf=2|3",
        "Origin": f"http://localhost:{app.port}",
        "Referer": f"http://localhost:{app.port}/lab?q=1",
        "X-Plain": "kept",
        "Content-Length": "4",
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Prefix": prefix,
    }

    await bridge.ask(f"{prefix}/", Authorization="token jupyters", User_Agent="me")
    headers = app.seen[-1][2]
    assert headers["Authorization"] == "token jupyters"
    assert headers["User-Agent"] == "me"
    assert headers["X-Forwarded-Host"] == "box.example"
    assert headers["X-Forwarded-Proto"] == "https"


async def test_an_answer_is_confined_to_the_app_and_else_as_the_app_gave_it(
    app: App, bridge: Bridge
) -> None:
    prefix = f"/proxy/{app.port}"
    status, answer, body = await bridge.ask(f"{prefix}/answer")
    assert (status, answer.reason, body) == (201, "Made", b"done")
    headers = answer.headers
    assert headers.getall("Set-Cookie") == [f"a=1; HttpOnly; Path={prefix}/; Secure"]
    assert headers.getall("Content-Security-Policy") == [
        "default-src 'self'",
        "frame-ancestors 'self' https://lab.example:443",
    ]
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Cache-Control"] == "private, max-age=60"
    assert headers["Service-Worker-Allowed"] == f"{prefix}/"
    assert headers["X-App"] == "kept"
    for name in ("Clear-Site-Data", "Access-Control-Allow-Origin", "X-Hop", "X-Ours"):
        assert name not in headers
    for target, expected in (
        ("/lab", "../lab"),
        (f"http://127.0.0.1:{app.port}/lab?a=1", "../lab?a=1"),
        (f"{OUTSIDE}/lab", "../lab"),
        ("other", "other"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
    ):
        _, answer, _ = await bridge.ask(f"{prefix}/away/x?to={target.replace('?', '%3F')}")
        assert answer.headers["Location"] == expected
    status, answer, _ = await bridge.ask(f"{prefix}?token=x")
    assert (status, answer.headers["Location"]) == (308, f"./{app.port}/?token=x")


async def test_what_is_packed_empty_or_unchanged_passes_untouched(app: App, bridge: Bridge) -> None:
    prefix = f"/proxy/{app.port}"
    status, answer, body = await bridge.ask(f"{prefix}/packed")
    assert (status, answer.headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == b"packed"
    assert answer.headers["Content-Length"] == str(len(body))
    status, head, body = await bridge.ask(f"{prefix}/packed", "HEAD")
    assert (status, body) == (200, b"")
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]
    status, answer, body = await bridge.ask(f"{prefix}/same", If_None_Match='"1"')
    assert (status, answer.headers["ETag"], body) == (304, '"1"', b"")
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        assert (await bridge.ask(f"{prefix}/x", method, b"it"))[0] == 200
        assert (app.seen[-1][0], app.bodies[-1]) == (method, b"it")
    raw = await bridge.raw(
        f"POST {prefix}/x HTTP/1.1", "Expect: 100-continue", "Content-Length: 2", body=b"ok"
    )
    assert raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert "Expect" not in app.seen[-1][2]
    assert app.bodies[-1] == b"ok"


async def test_bodies_pass_both_ways_as_they_come(app: App, bridge: Bridge) -> None:
    sent = asyncio.Event()

    async def upload() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number
            await sent.wait()
            sent.clear()

    prefix = f"/proxy/{app.port}"
    asking = asyncio.create_task(bridge.ask(f"{prefix}/take", "POST", upload()))
    async with asyncio.timeout(DEADLINE_S):
        for number in range(3):
            assert await app.steps.get() == b"%d" % number
            sent.set()
        assert (await asking)[2] == b"taken"
    assert app.seen[-1][2]["Transfer-Encoding"] == "chunked"

    assert bridge.client is not None
    async with asyncio.timeout(DEADLINE_S), bridge.client.get(bridge.url(f"{prefix}/give")) as give:
        for number in range(3):
            app.steps.put_nowait(b"data: %d\n\n" % number)
            assert await give.content.readany() == b"data: %d\n\n" % number
        app.steps.put_nowait(b"")
        assert await give.read() == b""

    _, _, body = await bridge.ask(f"{prefix}/large")
    assert hashlib.sha256(body).digest() == hashlib.sha256(BLOCK * 128).digest()
    assert (await bridge.ask(f"{prefix}/x", "PUT", io.BytesIO(BLOCK * 128)))[0] == 200
    assert app.bodies[-1] == BLOCK * 128


async def test_a_half_answer_is_not_taken_for_the_whole(app: App, bridge: Bridge) -> None:
    for step in (b"half", b""):
        app.steps.put_nowait(step)
    with pytest.raises(aiohttp.ClientPayloadError):
        await bridge.ask(f"/proxy/{app.port}/give?breaks=1")


async def test_when_the_browser_is_gone_or_logged_out_the_app_is_told(
    app: App, bridge: Bridge
) -> None:
    assert bridge.client is not None
    assert bridge.proxy is not None
    url = bridge.url(f"/proxy/{app.port}/give")
    async with asyncio.timeout(DEADLINE_S):
        first = await bridge.client.get(url)  # its head has arrived: nothing more comes
        first.close()
        assert await app.events.get() == "cancelled"
        second = await bridge.client.get(url)
        ws = await bridge.client.ws_connect(bridge.url(f"/proxy/{app.port}/socket"))
        await bridge.proxy.end_all_of("somebody else")
        await ws.send_str("ab")
        assert await ws.receive_str() == "ba"
        await bridge.proxy.end_all_of("me")
        with pytest.raises(aiohttp.ClientPayloadError):
            await second.read()
        assert (await ws.receive()).type in (WSMsgType.CLOSED, WSMsgType.CLOSE, WSMsgType.ERROR)
        assert {await app.events.get(), await app.events.get()} == {"cancelled", "closed 1001"}


async def test_a_websocket_carries_frames_pings_and_goodbyes_both_ways(
    app: App, bridge: Bridge
) -> None:
    assert bridge.client is not None
    url = bridge.url(f"/proxy/{app.port}/socket")

    async def connect(*protocols: str) -> aiohttp.ClientWebSocketResponse[bool]:
        assert bridge.client is not None
        return await bridge.client.ws_connect(
            url,
            protocols=protocols,
            compress=15,
            max_msg_size=2**25,
            autoping=False,
            headers={"Origin": OUTSIDE, "Cookie": "ttybridge-1=x; a=1"},
        )

    async with asyncio.timeout(DEADLINE_S):
        ws = await connect("other", "v2")
        assert ws.protocol == "v2"
        headers = app.seen[-1][2]
        assert headers["Host"] == f"localhost:{app.port}"
        assert headers["Origin"] == f"http://localhost:{app.port}"
        assert headers["Cookie"] == "a=1"
        assert headers["Sec-WebSocket-Protocol"] == "other,v2"
        assert "X-Forwarded-Host" not in headers
        await ws.send_str("häß")
        assert await ws.receive_str() == "ßäh"
        large = BLOCK * 256
        await ws.send_bytes(large)
        assert await ws.receive_bytes() == large
        await ws.ping(b"1")
        pong = await ws.receive()
        assert (pong.type, pong.data) == (WSMsgType.PONG, b"app:1")
        await ws.send_str("ping me")
        ping = await ws.receive()
        assert (ping.type, ping.data) == (WSMsgType.PING, b"from app")
        await ws.pong(b"back")
        assert await ws.receive_str() == "pong back"
        await ws.close(code=4001, message=b"browser left")
        assert await app.events.get() == "closed 4001"

        ws = await connect()
        await ws.send_str("leave")
        goodbye = await ws.receive()
        assert (goodbye.type, goodbye.data, goodbye.extra) == (WSMsgType.CLOSE, 4002, "app left")

        ws = await connect()
        await ws.send_str("die")
        assert (await ws.receive()).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
        assert ws.close_code == 1006

        elsewhere = f"/away?to=http://127.0.0.1:{app.port}/socket"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await bridge.client.ws_connect(url.replace("/socket", elsewhere))
        assert refused.value.status == 502
        assert app.seen[-1][1] == elsewhere


async def test_what_cannot_be_reached_is_refused_with_what_to_do(app: App, bridge: Bridge) -> None:
    closed = bridge.port
    for path, expected, words in (
        ("/proxy/1/", 404, "start the bridge with --proxy 1."),
        (f"/proxy/{closed}/", 404, "is the bridge itself"),
        ("/proxy/x/", 404, "/proxy/8888/"),
        (f"/proxy/0{app.port}/", 404, "/proxy/8888/"),
    ):
        status, answer, body = await bridge.ask(path)
        assert (status, answer.headers["X-Ours"]) == (expected, "1")
        assert words in body.decode()
    await app.stop()
    status, _, body = await bridge.ask(f"/proxy/{app.port}/")
    assert status == 502
    assert f"Nothing listens on port {app.port} of this machine. Start it" in body.decode()
    bridge.role = Role.VIEWER
    for path in (f"/proxy/{app.port}/", f"/proxy/{app.port}", "/proxy/1/"):
        assert (await bridge.ask(path))[0] == 403
    bridge.role = Role.EDITOR
    assert (await bridge.ask(f"/proxy/{app.port}/"))[0] == 502
    assert app.seen == []


@pytest.mark.parametrize("leads_home", [True, False], ids=["leads home", "has no root"])
async def test_an_app_that_was_told_its_address_gets_the_whole_path(leads_home: bool) -> None:
    app, plain_app = App(leads_home=leads_home), App()
    await app.start()
    app.base = f"/term/proxy/{app.port}"
    bridge = Bridge(base_path="/term")
    await bridge.start([range(app.port, app.port + 1)])
    try:
        # A WebSocket, or a form, may be the first after a restart of the bridge.
        assert bridge.client is not None
        async with bridge.client.ws_connect(bridge.url(f"{app.base}/socket")) as ws:
            await ws.send_str("ab")
            assert await ws.receive_str() == "ba"
        app.seen.clear()
        assert (await bridge.ask(f"{app.base}/deep/page"))[2] == b"app"
        assert [path for _, path, _ in app.seen] == [f"{app.base}/deep/page"]
        assert "X-Forwarded-Prefix" not in app.seen[0][2]
        _, answer, _ = await bridge.ask(f"{app.base}/away?to={app.base}/login")
        assert answer.headers["Location"] == "./login"
        assert (await bridge.ask(f"/proxy/{app.port}/a"))[0] == 200  # a proxy took the base path
        assert (await bridge.ask(f"{app.base}/lost"))[0] == 200

        # Another app takes the port, and uses relative addresses.
        await app.stop()
        assert (await bridge.ask(f"{app.base}/x"))[0] == 502
        await plain_app.start(port=app.port)
        assert (await bridge.ask(f"{app.base}/x"))[0] == 200
        assert [path for _, path, _ in plain_app.seen] == ["/x"]
        plain_app.seen.clear()
        await bridge.ask(f"/term/proxy/absolute/{app.port}/x")
        assert plain_app.seen[0][1] == f"/term/proxy/absolute/{app.port}/x"
    finally:
        await bridge.stop()
        await app.stop()
        await plain_app.stop()


async def test_an_app_that_listens_on_ipv6_alone_is_found() -> None:
    app = App()
    try:
        await app.start(host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    bridge = Bridge()
    await bridge.start([range(app.port, app.port + 1)])
    try:
        assert (await bridge.ask(f"/proxy/{app.port}/"))[2] == b"app"
    finally:
        await bridge.stop()
        await app.stop()


def test_nobody_is_let_in_whom_the_gate_does_not_know() -> None:
    def unknown(_request: web.Request) -> Principal:
        raise AccessDenied("no", status=401)

    proxy = Proxy([range(1, 65536)], 8000, unknown, lambda _: None, lambda _: False)  # type: ignore[arg-type, return-value]
    with pytest.raises(AccessDenied):
        asyncio.run(proxy.handle(None))  # type: ignore[arg-type]
