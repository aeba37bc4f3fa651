"""The entrance `proxy/PORT/`: other web apps of this machine behind the bridge's address."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from urllib.parse import quote

import aiohttp
from aiohttp import WSCloseCode, web
from multidict import CIMultiDict
from yarl import URL

from ttybridge.core.access import Principal
from ttybridge.core.origin import Seen
from ttybridge.core.permissions import Action, Entrance, may
from ttybridge.core.proxied import METHODS, IsOurs, Target, Way, proxied_port, start_hint
from ttybridge.core.proxied_headers import answer_headers, knows_prefix, request_headers
from ttybridge.web.answers import plain, shown
from ttybridge.web.loopback import new_session
from ttybridge.web.proxy_sockets import carry_both
from ttybridge.web.underway import Underway, cut

log = logging.getLogger(__name__)

PROXIED: web.ResponseKey[bool] = web.ResponseKey("proxied", bool)
"""Set for the answer of an app: its headers are complete, and ours would break it."""

LOOK_S = 5.0
"""Time for an app to tell which paths it expects, in seconds."""

HEARTBEAT_S = 30.0
"""Time between two pings to a browser, in seconds; tunnels end connections that are quiet."""

GOODBYE_S = 5.0
"""Time for a browser to answer a goodbye, in seconds."""

APP_GOODBYE_S = 1.0
"""Time for an app to do so."""

MAX_MESSAGE = 128 * 2**20
"""Largest message of a WebSocket, in bytes: Jupyter sends an output, code-server a file in one."""

_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp would add to a request that has none."""


class Proxy:
    """Serves `proxy/PORT/` and `proxy/absolute/PORT/`.

    Apps that use relative addresses, such as TensorBoard and code-server, get the path after the
    port alone. An app that was told its address, such as Jupyter with `base_url=/proxy/8888/`, gets
    the whole path; that it was is found out, and forgotten when it ends.

    Args:
        ports: Ports that may be reached.
        own_port: The bridge's own, which never is.
        principal_of: Tells who sent a request.
        seen_of: Tells where a request was addressed to.
        is_ours: Tells whether a text is a credential of the bridge.
        base_path: Path in front of all addresses.
        frame_origins: Other origins that may show an app in a frame.
    """

    def __init__(
        self,
        ports: Sequence[range],
        own_port: int,
        principal_of: Callable[[web.Request], Principal],
        seen_of: Callable[[web.Request], Seen],
        is_ours: IsOurs,
        *,
        base_path: str = "",
        frame_origins: Sequence[str] = (),
    ) -> None:
        self._ports = tuple(ports)
        self._own_port = own_port
        self._principal_of = principal_of
        self._seen_of = seen_of
        self._is_ours = is_ours
        self._base_path = base_path
        self._frame_origins = frame_origins
        self._underway = Underway()
        self._keeps_prefix: dict[int, bool] = {}
        self._session: aiohttp.ClientSession | None = None
        self._closing = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to its app, and the answer back, until either side ends it."""
        principal = self._principal_of(request)
        path, query = self._path_of(request)
        target = Target.parse(path)
        if target is None:
            return plain(404, "The address is like /proxy/8888/, with the port of a web app.")
        if not may(principal.role, Action.USE_PROXY, Entrance.PROXY):
            return plain(403, "Who may only watch cannot use the apps of this machine.")
        if refused := self._refuse(request, target):
            return refused
        if not target.rest and request.method in ("GET", "HEAD"):
            # The relative addresses in an app's page need the last slash.
            question = f"?{query}" if query else ""
            return web.Response(status=308, headers={"Location": f"./{target.port}/{question}"})
        way = Way(target, self._seen_of(request), self._base_path, keeps_prefix=target.is_whole)
        work = self._relay if _is_upgrade(request) else self._pass_on
        return await self._underway.do(request, principal.id, work(request, way, query))

    async def end_all_of(self, principal_id: str) -> None:
        """End the requests of somebody whose credential has ended."""
        await self._underway.end_all_of(principal_id)

    async def close(self) -> None:
        """End all requests: the bridge stops."""
        self._closing = True
        await self._underway.end()
        if self._session is not None:
            await self._session.close()

    def _path_of(self, request: web.Request) -> tuple[str, str]:
        """Return the path as it was sent, without the base path, and the query."""
        sent = request.raw_path.encode("utf-8", "surrogateescape")
        path, _, query = quote(sent, safe=_PRINTABLE).partition("?")
        base = self._base_path
        return (path.removeprefix(base) if path.startswith(f"{base}/") else path), query

    def _refuse(self, request: web.Request, target: Target) -> web.Response | None:
        port = target.port
        if port == self._own_port:
            return plain(404, f"Port {port} is the bridge itself.")
        if proxied_port(target.folder, self._ports) is None:
            return plain(404, f"Port {port} is not served: start the bridge with --proxy {port}.")
        if request.method not in METHODS:
            response = plain(405, "This method is not passed on.")
            response.headers["Allow"] = ", ".join(METHODS)
            return response
        return plain(503, "The bridge is stopping.") if self._closing else None

    async def _pass_on(self, request: web.Request, way: Way, query: str) -> web.StreamResponse:
        may_repeat = request.method in ("GET", "HEAD") and not request.can_read_body
        try:
            way = await self._learned(way, may_ask_first=not may_repeat)
            answer = await self._ask(request, way, query)
            if may_repeat and (other := await self._other_way(request, way, answer)) is not None:
                answer.close()
                way, answer = other, await self._ask(request, other, query)
        except (aiohttp.ClientError, TimeoutError) as error:
            return self._unreachable(way, error)
        try:
            return await self._send_back(request, way, answer)
        finally:
            answer.close()

    async def _ask(self, request: web.Request, way: Way, query: str) -> aiohttp.ClientResponse:
        has_body = request.can_read_body
        return await self._client().request(
            request.method,
            _url(way, way.path(query, self._is_ours)),
            headers=self._headers(request, way),
            data=_body(request) if has_body else None,
            allow_redirects=False,
            skip_auto_headers=_AUTOMATIC,
        )

    def _headers(self, request: web.Request, way: Way) -> CIMultiDict[str]:
        passed = request_headers(request.headers.items(), way, self._is_ours)
        return CIMultiDict((name, _text(value)) for name, value in passed)

    async def _send_back(
        self, request: web.Request, way: Way, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, reason=_text(answer.reason or ""))
        response[PROXIED] = True
        passed = answer_headers(answer.headers.items(), way, frame_origins=self._frame_origins)
        response.headers.extend([(name, _text(value)) for name, value in passed])
        response.headers.setdefault("Server", "ttybridge")
        try:
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        except (aiohttp.ClientError, ConnectionError):
            # Either side broke off. The browser must not take the half for the whole.
            return cut(request)
        return response

    # --- which paths an app expects ------------------------------------------------------------

    async def _learned(self, way: Way, *, may_ask_first: bool) -> Way:
        """Return the way with the paths that the app is known to expect."""
        if way.target.is_whole:
            return way
        port = way.target.port
        if port not in self._keeps_prefix and may_ask_first:
            self._keeps_prefix[port] = await self._expects_prefix(way)
        return replace(way, keeps_prefix=self._keeps_prefix.get(port, False))

    async def _other_way(
        self, request: web.Request, way: Way, answer: aiohttp.ClientResponse
    ) -> Way | None:
        """Return the way to try next, after an answer that speaks against the one that was taken.

        A plain 404 does so only as long as nothing is known, and for the visit of a page.
        """
        port = way.target.port
        if way.target.is_whole:
            return None
        leads_back = not way.keeps_prefix and _leads_to_prefix(answer, way)
        is_visit = request.headers.get("Sec-Fetch-Mode") == "navigate"
        is_lost = answer.status == 404 and (is_visit or port not in self._keeps_prefix)
        if not leads_back and not is_lost:
            self._keeps_prefix.setdefault(port, way.keeps_prefix)
            return None
        keeps_prefix = self._keeps_prefix[port] = await self._expects_prefix(way)
        return None if keeps_prefix == way.keeps_prefix else replace(way, keeps_prefix=keeps_prefix)

    async def _expects_prefix(self, way: Way) -> bool:
        """Ask an app whether it was told its address here.

        Such an app sends who asks for `/` there, or has nothing but that address.
        """
        try:
            async with asyncio.timeout(LOOK_S):
                async with self._look(way, "/") as answer:
                    if answer.status != 404:
                        return _leads_to_prefix(answer, way)
                async with self._look(way, f"{way.prefix}/") as answer:
                    return answer.status != 404
        except (aiohttp.ClientError, TimeoutError):
            return way.keeps_prefix

    @contextlib.asynccontextmanager
    async def _look(self, way: Way, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        answer = await self._client().get(
            _url(way, path), headers={"Host": way.host}, allow_redirects=False
        )
        try:
            yield answer
        finally:
            answer.close()

    # --- WebSockets ----------------------------------------------------------------------------

    async def _relay(self, request: web.Request, way: Way, query: str) -> web.StreamResponse:
        if not web.WebSocketResponse().can_prepare(request).ok:
            return plain(400, "The request for a WebSocket is malformed.")
        try:
            way = await self._learned(way, may_ask_first=True)
            app = await self._connect(request, way, query)
        except aiohttp.WSServerHandshakeError as error:
            status = error.status if 400 <= error.status < 600 else 502
            return plain(status, f"The app on port {way.target.port} opens no WebSocket here.")
        except (aiohttp.ClientError, TimeoutError) as error:
            return self._unreachable(way, error)
        try:
            browser = web.WebSocketResponse(
                protocols=(app.protocol,) if app.protocol else (),
                max_msg_size=MAX_MESSAGE,
                heartbeat=HEARTBEAT_S,
                timeout=GOODBYE_S,
                autoclose=False,
                autoping=False,
                decode_text=False,
            )
            await browser.prepare(request)
            return browser if await carry_both(browser, app) else cut(request)
        finally:
            await app.close(code=WSCloseCode.GOING_AWAY)

    async def _connect(
        self, request: web.Request, way: Way, query: str
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        headers = self._headers(request, way)
        for name in {name for name in headers if name.lower().startswith("sec-websocket-")}:
            headers.popall(name)
        offered = request.headers.getall("Sec-WebSocket-Protocol", ())
        return await self._client().ws_connect(
            _url(way, way.path(query, self._is_ours)),
            headers=headers,
            protocols=[name.strip() for value in offered for name in value.split(",")],
            max_msg_size=MAX_MESSAGE,
            timeout=aiohttp.ClientWSTimeout(ws_close=APP_GOODBYE_S),
            autoclose=False,
            autoping=False,
            decode_text=False,
        )

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session()
        return self._session

    def _unreachable(self, way: Way, error: Exception) -> web.Response:
        port = way.target.port
        if isinstance(error, aiohttp.ClientConnectorError):
            self._keeps_prefix.pop(port, None)
            start = start_hint(port, self._base_path)
            return plain(
                502, f"Nothing listens on port {port} of this machine. Start it, as with: {start}"
            )
        log.info("proxy: port %d: %s", port, shown(repr(error)))
        return plain(502, f"The app on port {port} did not answer in a way that can be passed on.")


_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


def _url(way: Way, path: str) -> URL:
    return URL(f"http://{way.host}{path}", encoded=True)


def _leads_to_prefix(answer: aiohttp.ClientResponse, way: Way) -> bool:
    return knows_prefix(answer.status, answer.headers.get("Location", ""), way)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk


def _text(value: str) -> str:
    # aiohttp reads bytes that are no UTF-8 as surrogates, and cannot send them.
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_upgrade(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").strip().lower() == "websocket"
