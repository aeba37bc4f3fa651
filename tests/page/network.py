"""What stands between a browser and a bridge: a cable that can be cut, and a reverse proxy."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

import aiohttp
from aiohttp import web

from tests.conftest import DEADLINE_S

T = TypeVar("T")

Direction = Literal["up", "down"]

HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


class _Loop:
    """An event loop in a thread: the test's own thread waits for the browser meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self.wait(call())

    def close(self) -> None:
        async def cancel_all() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

        self.wait(cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()


class _Pair:
    """One connection of the browser, and the one to the bridge that belongs to it."""

    def __init__(self, browser: asyncio.StreamWriter, bridge: asyncio.StreamWriter) -> None:
        self.browser, self.bridge = browser, bridge
        self.gates: dict[Direction, asyncio.Event] = {
            "up": asyncio.Event(),
            "down": asyncio.Event(),
        }

    def open(self) -> None:
        for gate in self.gates.values():
            gate.set()

    def abort(self) -> None:
        self.browser.transport.abort()
        self.bridge.transport.abort()


class Cable:
    """Carries TCP connections to a bridge on this machine, as long as it is told to.

    Attributes:
        port: Where the browser connects.
        bridge_port: Where the bridge listens.
        connections: How many were accepted so far.
        refused: How many were refused so far.
        cuts: How often all connections were cut.
        is_held: Whether something does not pass.
    """

    def __init__(self, bridge_port: int, *, round_trip_s: float = 0.0) -> None:
        """Begin to carry.

        Args:
            bridge_port: Where the bridge listens.
            round_trip_s: How long a byte takes to the bridge and back, in seconds.
        """
        self.bridge_port = bridge_port
        self._delay_s = round_trip_s / 2
        self._last_due = 0.0
        self.connections = self.refused = self.cuts = 0
        self.is_held = False
        self._refuses = False
        self._left: int | None = None
        self._then: Callable[[], None] = self._hold
        self._pairs: set[_Pair] = set()
        self._loop = _Loop()
        self._server = self._loop.wait(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def link(self, link: str) -> str:
        """Return a bridge's link that leads through this cable."""
        return link.replace(f":{self.bridge_port}/", f":{self.port}/")

    def hold(self) -> None:
        """Let nothing pass any more; neither side is told."""
        self._loop.call(self._hold)

    def hold_down(self) -> None:
        """Let nothing pass to the browser any more; what it sends arrives."""
        self._loop.call(lambda: self._hold("down"))

    def hold_after(self, count: int) -> None:
        """Let nothing pass when `count` more bytes have come from the bridge."""
        self._loop.call(lambda: self._plan(count, self._hold))

    def cut_after(self, *counts: int) -> None:
        """Cut all connections when that many more bytes have come, once for each count."""
        left = list(counts)

        def cut_and_plan() -> None:
            self._cut()
            plan()

        def plan() -> None:
            if left:
                self._plan(left.pop(0), cut_and_plan)

        self._loop.call(plan)

    def cut(self, *, refuse: bool = False) -> None:
        """Reset all connections on both sides; with `refuse`, new ones as well."""

        def cut() -> None:
            self._refuses = refuse
            self._cut()

        self._loop.call(cut)

    def cut_at_the_browser(self) -> None:
        """Reset the browser's ends alone: the bridge's stay open, and nothing comes from them."""

        def cut() -> None:
            for pair in self._pairs:
                pair.browser.transport.abort()

        self._loop.call(cut)

    def mend(self, *, abandon: bool = False) -> None:
        """Carry again; with `abandon`, connections that were held stay so for ever."""
        self._loop.call(lambda: self._mend(abandon=abandon))

    def slow(self, round_trip_s: float) -> None:
        """Let each byte take so long to the bridge and back from now on, in seconds."""
        self._delay_s = round_trip_s / 2

    def mend_after(self, seconds: float) -> None:
        """Carry again after a time, and return at once."""
        self._loop.call(lambda: asyncio.get_running_loop().call_later(seconds, self._mend))

    def close(self) -> None:
        """Cut everything and stop listening."""

        def close() -> None:
            self._cut()
            self._server.close()

        self._loop.call(close)
        self._loop.close()

    def _plan(self, count: int, then: Callable[[], None]) -> None:
        self._left, self._then = count, then

    def _hold(self, *directions: Direction) -> None:
        self.is_held = True
        for pair in self._pairs:
            for direction in directions or pair.gates:
                pair.gates[direction].clear()

    def _mend(self, *, abandon: bool = False) -> None:
        self._refuses = self.is_held = False
        self._left = None
        if not abandon:
            for pair in self._pairs:
                pair.open()

    def _cut(self) -> None:
        self.cuts += 1
        for pair in self._pairs:
            pair.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            self.refused += 1
            writer.transport.abort()
            return
        self.connections += 1
        try:
            bridge = await asyncio.open_connection("127.0.0.1", self.bridge_port)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, bridge[1])
        if not self.is_held:
            pair.open()
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._carry("up", pair, reader, bridge[1]),
                self._carry("down", pair, bridge[0], writer),
            )
        except (OSError, asyncio.CancelledError):
            pass  # one side has reset it, and the other is told the same; or the test is over
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _carry(
        self,
        direction: Direction,
        pair: _Pair,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        gate = pair.gates[direction]
        while data := await source.read(65536):
            await gate.wait()
            while direction == "down" and self._left is not None and len(data) >= self._left:
                head, data = data[: self._left], data[self._left :]
                self._after_delay(sink.write, head)
                self._left = None
                await asyncio.sleep(0)  # the head leaves before what is planned
                self._then()
                await gate.wait()
            if direction == "down" and self._left is not None:
                self._left -= len(data)
            self._after_delay(sink.write, data)
            await sink.drain()
        await gate.wait()  # nobody is told of an end while the cable is held
        # The end does not overtake what is on the way either.
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._last_due - now) + self._delay_s)
        if sink.can_write_eof() and not sink.is_closing():
            sink.write_eof()

    def _after_delay(self, write: Callable[[bytes], None], data: bytes) -> None:
        """Write when the way is over; what is written later arrives later."""
        loop = asyncio.get_running_loop()
        # A way that has become shorter lets nothing overtake what is on it.
        due = max(loop.time() + self._delay_s, self._last_due)
        if due > loop.time():
            self._last_due = due + 1e-6  # timers of the same time keep no order
            loop.call_at(self._last_due, write, data)
        else:
            write(data)


class ReverseProxy:
    """A web server that passes everything below a prefix on to a bridge.

    Attributes:
        port: Where the browser connects.
        websockets_seen: How many upgrades the browser asked for.
    """

    def __init__(
        self,
        bridge_port: int,
        *,
        prefix: str = "",
        strips: bool = True,
        forwards: bool = False,
        websockets: Literal["pass", "refuse", "strip"] = "pass",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Begin to serve.

        Args:
            bridge_port: Where the bridge listens.
            prefix: Path below which the bridge appears.
            strips: Whether the bridge sees paths without it.
            forwards: Whether the proxy names itself to the bridge as the Host, and the browser's
                Host in X-Forwarded-Host; otherwise Host is passed on.
            websockets: What becomes of upgrades; `strip` passes them on as plain requests.
            tls: The certificate with which it serves https.
        """
        self._bridge = f"127.0.0.1:{bridge_port}"
        self._prefix, self._strips, self._forwards = prefix, strips, forwards
        self._websockets = websockets
        self._tls = tls
        self._scheme = "https" if tls else "http"
        self.websockets_seen = 0
        self._loop = _Loop()
        self.port = self._loop.wait(self._start())

    def link(self, token: str = "") -> str:
        """Return the link of the page behind this proxy."""
        query = f"?token={token}" if token else ""
        return f"{self._scheme}://127.0.0.1:{self.port}{self._prefix}/{query}"

    def close(self) -> None:
        """Stop serving."""
        self._loop.wait(self._stop())
        self._loop.close()

    async def _start(self) -> int:
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _stop(self) -> None:
        await self._client.close()
        for connection in self._runner.server.connections if self._runner.server else []:
            if connection.transport is not None:
                connection.transport.abort()  # an orderly end of TLS would outlast this loop
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path_qs
        if not path.startswith(f"{self._prefix}/"):
            raise web.HTTPNotFound
        if self._strips:
            path = path.removeprefix(self._prefix)
        headers = request.headers.copy()
        if self._forwards:
            headers["X-Forwarded-Host"] = headers["Host"]
            headers["X-Forwarded-Proto"] = self._scheme
            headers["X-Forwarded-For"] = request.remote or ""
            headers["Host"] = self._bridge
        is_upgrade = headers.get("Upgrade", "").lower() == "websocket"
        for name in [n for n in headers if n.lower() in HOP_BY_HOP]:
            headers.popall(name, None)
        if is_upgrade:
            self.websockets_seen += 1
            if self._websockets == "refuse":
                raise web.HTTPForbidden(text="No WebSockets here.\n")
            if self._websockets == "pass":
                return await self._relay(request, path, headers)
            for name in [n for n in headers if n.lower().startswith("sec-websocket")]:
                headers.popall(name, None)
        return await self._pass_on(request, path, headers)

    async def _pass_on(self, request: web.Request, path: str, headers: Any) -> web.StreamResponse:
        body = await request.read()
        async with self._client.request(
            request.method,
            f"http://{self._bridge}{path}",
            headers=headers,
            data=body or None,
            allow_redirects=False,
        ) as answer:
            kept = [(n, v) for n, v in answer.headers.items() if n.lower() not in HOP_BY_HOP]
            response = web.Response(status=answer.status, body=await answer.read())
            response.headers.clear()
            response.headers.extend(kept)
            return response

    async def _relay(self, request: web.Request, path: str, headers: Any) -> web.StreamResponse:
        for name in [n for n in headers if n.lower().startswith("sec-websocket")]:
            headers.popall(name, None)
        try:
            bridge = await self._client.ws_connect(
                f"ws://{self._bridge}{path}", headers=headers, max_msg_size=0
            )
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status)
        browser = web.WebSocketResponse(max_msg_size=0)
        await browser.prepare(request)

        async def carry(source: Any, sink: Any) -> None:
            async for message in source:
                if message.type is aiohttp.WSMsgType.TEXT:
                    await sink.send_str(message.data)
                elif message.type is aiohttp.WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
            await sink.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(carry(browser, bridge), carry(bridge, browser))
        await bridge.close()
        return browser
