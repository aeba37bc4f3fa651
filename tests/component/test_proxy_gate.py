"""A bridge with --proxy: who reaches an app of this machine, and who does not."""

import asyncio
import gzip
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.component.proxied_app import BLOCK, App
from tests.conftest import DEADLINE_S, StartBridge

MIB = 2**20


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    await app.start()
    yield app
    await app.stop()


async def test_the_gate_before_the_apps_lets_in_what_they_need_and_nobody_else(
    app: App, start_bridge: StartBridge
) -> None:
    bridge = start_bridge("--proxy", str(app.port))
    prefix, own = f"/proxy/{app.port}", f"http://{bridge.host}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:

        async def ask(
            method: str, path: str, data: object = None, **headers: str
        ) -> tuple[int, aiohttp.ClientResponse]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with (
                asyncio.timeout(DEADLINE_S),
                client.request(
                    method, own + path, data=data, headers=named, allow_redirects=False
                ) as answer,
            ):
                await answer.read()
                return answer.status, answer

        _, answer = await ask("GET", f"/?token={bridge.token}")
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        bearer = f"Bearer {bridge.token}"

        refused: list[tuple[int, str, str, dict[str, str]]] = [
            (401, "GET", f"{prefix}/", {}),
            (401, "GET", f"{prefix}/?token={bridge.token}", {}),
            (401, "GET", f"{prefix}/", {"Authorization": "Bearer wrong"}),
            (421, "GET", f"{prefix}/", {"Cookie": cookie, "Host": f"evil.example:{bridge.port}"}),
            (403, "GET", f"{prefix}/", {"Cookie": cookie}),
            (403, "GET", f"{prefix}/?token=x", {"Cookie": cookie}),
            (403, "GET", f"{prefix}/", {
                "Cookie": cookie, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Dest": "document",
            }),
            (403, "POST", f"{prefix}/", {"Cookie": cookie, "Origin": f"http://localhost:{app.port}"}),
            (403, "POST", f"{prefix}/", {"Cookie": cookie, "Origin": "null"}),
            (403, "OPTIONS", f"{prefix}/", {"Origin": "https://other.example"}),
            (403, "GET", f"{prefix}/socket", {
                "Cookie": cookie, "Origin": "http://other.example", "Upgrade": "websocket",
                "Connection": "Upgrade",
            }),
            (405, "PUT", "/", {"Authorization": bearer}),
            (405, "PUT", "/proxy/1/", {"Authorization": bearer}),
            (405, "TRACE", f"{prefix}/", {"Authorization": bearer}),
            (404, "GET", "/proxy/1/", {"Authorization": bearer}),
        ]  # fmt: skip
        for status, method, path, headers in refused:
            found, answer = await ask(method, path, **headers)
            assert (found, "X-Frame-Options" in answer.headers) == (status, True), (path, headers)
        assert (await ask("POST", "/proxy/1/", io.BytesIO(BLOCK * 32), Authorization=bearer))[
            0
        ] == 413
        assert app.seen == []

        same = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        assert (await ask("GET", f"{prefix}/?token=jupyters", **same))[0] == 200
        assert (await ask("GET", f"{prefix}/?a=1&token={bridge.token}", **same))[0] == 200
        assert (await ask("GET", f"{prefix}/", Authorization="Bearer apps", **same))[0] == 200
        assert (await ask("GET", f"{prefix}/", Authorization=bearer))[0] == 200
        assert (await ask("POST", f"{prefix}/", Origin="null", **same))[0] == 200
        large = io.BytesIO(BLOCK * 32)
        assert (await ask("PUT", f"{prefix}/", large, Cookie=cookie, Origin=own))[0] == 200
        seen = [(method, path, h.get("Authorization")) for method, path, h in app.seen]
        assert seen == [
            ("GET", "/?token=jupyters", None),
            ("GET", "/?a=1", None),
            ("GET", "/", "Bearer apps"),
            ("GET", "/", None),
            ("POST", "/", None),
            ("PUT", "/", None),
        ]
        assert "ttybridge-" not in str(app.seen)
        assert len(app.bodies[-1]) == 2 * MIB
        packed = gzip.compress(BLOCK)
        form = {"Cookie": cookie, "Origin": own, "Content-Encoding": "gzip"}
        assert (await ask("POST", f"{prefix}/", packed, **form))[0] == 200
        assert app.bodies[-1] == BLOCK  # unpacked by the app itself
        _, answer = await ask("GET", f"{prefix}/answer", **same)
        assert answer.headers.getall("Content-Security-Policy") == [
            "default-src 'self'", "frame-ancestors 'self'",
        ]  # fmt: skip
        assert answer.headers["Cache-Control"] == "private, max-age=60"

        async with asyncio.timeout(DEADLINE_S):
            ws = await client.ws_connect(
                f"{own}{prefix}/socket", headers={"Cookie": cookie, "Origin": own}
            )
            await ask("POST", "/logout", Cookie=cookie, Origin=own)
            assert (await ws.receive()).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
            assert await app.events.get() == "closed 1001"
            await ws.close()
