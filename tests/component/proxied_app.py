"""A web app of this machine that notes down what it receives, and the proxy that leads to it."""

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.conftest import DEADLINE_S
from ttybridge.core.access import Principal
from ttybridge.core.authority import Authority
from ttybridge.core.origin import Seen
from ttybridge.model import Role
from ttybridge.web.proxy import PROXIED, Proxy

SECRET = "our-token_0123456789"
OUTSIDE = "https://box.example"
BLOCK = bytes(range(256)) * 256
"""64 KiB that are not all the same."""


@dataclass
class App:
    """A web app of this machine.

    Attributes:
        seen: What it was asked: method, path with query as sent, and headers.
        base: Path below which it has its pages; others do not exist.
        events: Things that happened to it, awaited by tests.
    """

    base: str = ""
    leads_home: bool = True
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    events: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    steps: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    port: int = 0
    runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, host, port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers[name] = f"{headers[name]} & {value}" if name in headers else value
        self.seen.append((request.method, request.raw_path, headers))
        if self.base and request.path == "/" and self.leads_home:
            return web.Response(status=302, headers={"Location": f"{self.base}/home"})
        if not request.path.startswith(f"{self.base}/"):
            return web.Response(status=404)
        name = request.path.removeprefix(self.base).lstrip("/").partition("/")[0]
        work: Callable[[web.Request], Awaitable[web.StreamResponse]]
        work = getattr(self, f"on_{name}", self.on_anything)
        try:
            return await work(request)
        except asyncio.CancelledError:
            self.events.put_nowait("cancelled")
            raise

    async def on_anything(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        return web.Response(text="app")

    async def on_answer(self, _request: web.Request) -> web.StreamResponse:
        response = web.Response(
            status=201,
            reason="Made",
            text="done",
            headers={
                "Content-Security-Policy": "default-src 'self'",
                "X-Frame-Options": "SAMEORIGIN",
                "Cache-Control": "public, max-age=60",
                "Service-Worker-Allowed": "/",
                "Clear-Site-Data": '"cookies"',
                "Access-Control-Allow-Origin": "*",
                "Connection": "x-hop",
                "X-Hop": "1",
                "X-App": "kept",
            },
        )
        response.headers.add("Set-Cookie", "a=1; Path=/; HttpOnly")
        response.headers.add("Set-Cookie", "ttybridge-8000=stolen; Path=/")
        return response

    async def on_away(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def on_packed(self, _request: web.Request) -> web.StreamResponse:
        packed = gzip.compress(b"packed")
        return web.Response(body=packed, headers={"Content-Encoding": "gzip", "ETag": '"1"'})

    async def on_same(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=304, headers={"ETag": '"1"'})

    async def on_take(self, request: web.Request) -> web.StreamResponse:
        async for chunk in request.content.iter_any():
            self.steps.put_nowait(chunk)
        return web.Response(text="taken")

    async def on_give(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while step := await self.steps.get():
            await response.write(step)
        if "breaks" in request.query:
            assert request.transport is not None
            request.transport.abort()
        return response

    async def on_large(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=BLOCK * 128)

    async def on_socket(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(
            protocols=("chat", "v2"), max_msg_size=2**25, autoping=False, timeout=2
        )
        await ws.prepare(request)
        async for message in ws:
            match message.type:
                case WSMsgType.TEXT if message.data == "leave":
                    await ws.close(code=4002, message=b"app left")
                case WSMsgType.TEXT if message.data == "die":
                    assert request.transport is not None
                    request.transport.abort()
                case WSMsgType.TEXT if message.data == "ping me":
                    await ws.ping(b"from app")
                case WSMsgType.TEXT:
                    await ws.send_str(message.data[::-1])
                case WSMsgType.BINARY:
                    await ws.send_bytes(message.data)
                case WSMsgType.PING:
                    await ws.pong(b"app:" + message.data)
                case WSMsgType.PONG:
                    await ws.send_str(f"pong {message.data.decode()}")
                case _:
                    pytest.fail(f"a frame of another kind: {message}")
        self.events.put_nowait(f"closed {ws.close_code}")
        return ws


@dataclass
class Bridge:
    """The proxy in an application, for a browser that is already let in."""

    port: int = 0
    base_path: str = ""
    role: Role = Role.OWNER
    seen: Seen = field(default_factory=lambda: Seen("https", Authority("box.example"), "192.0.2.7"))
    proxy: Proxy | None = None
    runner: web.AppRunner | None = None
    client: aiohttp.ClientSession | None = None

    async def start(self, ports: list[range]) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            self.proxy = Proxy(
                [*ports, range(self.port, self.port + 1)],
                self.port,
                lambda _: Principal("me", self.role, "cookie"),
                lambda _: self.seen,
                lambda text: text == SECRET,
                base_path=self.base_path,
                frame_origins=("https://lab.example",),
            )
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self.proxy.handle)
            app.on_response_prepare.append(_mark)
            self.runner = web.AppRunner(app, shutdown_timeout=0.1)
            await self.runner.setup()
            await web.SockSite(self.runner, listener.dup()).start()
        self.client = aiohttp.ClientSession(auto_decompress=False)

    async def stop(self) -> None:
        if self.client is not None:
            await self.client.close()
        if self.proxy is not None:
            await self.proxy.close()
        if self.runner is not None:
            await self.runner.cleanup()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def ask(
        self, path: str, method: str = "GET", data: object = None, **headers: str
    ) -> tuple[int, aiohttp.ClientResponse, bytes]:
        """Return status, answer and body."""
        assert self.client is not None
        async with asyncio.timeout(DEADLINE_S):
            answer = await self.client.request(
                method,
                self.url(path),
                data=data,
                headers={name.replace("_", "-"): value for name, value in headers.items()},
                allow_redirects=False,
            )
            return answer.status, answer, await answer.read()

    async def raw(self, *lines: str, body: bytes = b"") -> bytes:
        """Send a request as it is, and return the answer until the connection ends."""
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            head = "\r\n".join([*lines, "Host: x", "Connection: close", "", ""])
            writer.write(head.encode("latin-1") + body)
            answer = await reader.read()
            writer.close()
            return answer


async def _mark(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    if not response.get(PROXIED):
        response.headers["X-Ours"] = "1"
