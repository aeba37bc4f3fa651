"""The stand-in of ngrok's service, with the real agent of ngrok driven by pyngrok."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.conftest import DEADLINE_S, wait_until
from tests.edge.agent import needs_agent, put_into_path, write_config
from tests.edge.edge import NgrokEdge
from tests.edge.public import VISITOR
from tests.edge.thread import EdgeThread

pytestmark = needs_agent

MUCH = 20_000_000
"""Bytes of a large transfer: 80 windows of a stream."""


@dataclass
class Far:
    """A website and an echo server on this machine, open to the world through the real agent."""

    thread: EdgeThread
    """The edge."""
    https: str
    """The public address of the website."""
    tcp: tuple[str, int]
    """Host and port of the echo server's public address."""
    api: str
    """The agent's own interface."""

    @property
    def edge(self) -> NgrokEdge:
        """The edge itself."""
        return self.thread.edge


async def show_headers(request: web.Request) -> web.Response:
    headers = request.headers
    return web.json_response({name.lower(): ", ".join(headers.getall(name)) for name in headers})


async def echo(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade"):
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    return response


async def start_site() -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_get("/", show_headers)
    app.router.add_route("*", "/echo", echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def start_echo() -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


def agent_config(home: Path, edge: NgrokEdge, **options: Any) -> Any:
    """Return what pyngrok needs to run the real agent."""
    from pyngrok.conf import PyngrokConfig

    return PyngrokConfig(
        # pyngrok keeps one process for each path.
        ngrok_path=str(put_into_path(home / "bin") / "ngrok"),
        config_path=str(write_config(home, edge, **options)),
        config_version="2",
        startup_timeout=int(DEADLINE_S),
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    """One agent for all tests of this file that need no other."""
    from pyngrok import ngrok

    with EdgeThread(warns=True) as thread:
        runner, port = thread.wait(start_site())
        echo_server = thread.wait(start_echo())
        config = agent_config(tmp_path_factory.mktemp("home"), thread.edge)
        try:
            site = ngrok.connect(str(port), "http", pyngrok_config=config, bind_tls=True)
            tcp_port = echo_server.sockets[0].getsockname()[1]
            tcp = ngrok.connect(str(tcp_port), "tcp", pyngrok_config=config)
            assert site.public_url is not None
            where = urlsplit(tcp.public_url)
            api = ngrok.get_ngrok_process(config).api_url
            assert where.port is not None
            assert api is not None
            yield Far(thread, site.public_url, (str(where.hostname), where.port), api)
        finally:
            ngrok.kill(config)
            thread.wait(runner.cleanup())
            echo_server.close()


class Visitor:
    """An HTTP client that trusts the edge and finds its names."""

    def __init__(self, edge: NgrokEdge, client: aiohttp.ClientSession) -> None:
        self._client = client
        self._options: Any = {
            "ssl": edge.authority.client_context(),
            "proxy": edge.name_proxy,
        }

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self._client.request(method, url, **self._options, **options)

    def websocket(self, url: str) -> Any:
        return self._client.ws_connect(url, max_msg_size=0, **self._options)


# For all tests, in a loop of their own: TLS that a client has closed takes some time to end.
@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visitor(far: Far) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession() as client:
        yield Visitor(far.edge, client)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition while the loop goes on."""
    await asyncio.to_thread(wait_until, condition, what)


def lines_since(edge: NgrokEdge, count: int) -> list[str]:
    return [request.line for request in edge.requests[count:]]


class TestTheAgent:
    pytestmark = pytest.mark.asyncio(loop_scope="module")

    async def test_requests_come_with_the_visitors_address_and_are_noted(
        self, far: Far, visitor: Visitor
    ) -> None:
        noted = len(far.edge.requests)
        host = urlsplit(far.https).netloc
        forged = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil.example"}
        async with visitor.request("GET", far.https, headers=forged) as answer:
            headers = await answer.json()
        assert host.startswith("quiet-otter-")
        assert headers["host"] == headers["x-forwarded-host"] == host
        assert headers["x-forwarded-proto"] == "https"
        assert headers["x-forwarded-for"] == VISITOR
        async with visitor.request("GET", f"{far.https}/absent?a=1") as answer:
            assert answer.status == 404
        assert lines_since(far.edge, noted) == ["GET / 200", "GET /absent 404"]

    async def test_a_browser_sees_the_warning_before_a_page_and_nothing_else_does(
        self, far: Far, visitor: Visitor
    ) -> None:
        browser = {"User-Agent": "Mozilla/5.0 (X11)", "Accept": "text/html,*/*"}
        noted = len(far.edge.requests)
        others: list[dict[str, str]] = [
            browser | {"ngrok-skip-browser-warning": "1"},
            browser | {"Cookie": "a=b; abuse_interstitial=quiet-otter"},
            browser | {"Accept": "*/*"},
            browser | {"User-Agent": "curl/8"},
        ]
        for headers in others:
            async with visitor.request("GET", far.https, headers=headers) as answer:
                assert "host" in await answer.json()
        async with visitor.request("GET", far.https, headers=browser) as answer:
            assert answer.headers["Ngrok-Error-Code"] == "ERR_NGROK_6024"
            assert "Visit Site" in await answer.text()
        by_edge = [request.by_edge for request in far.edge.requests[noted:]]
        assert by_edge == [False] * 4 + [True]

    async def test_20_megabytes_pass_both_ways_by_http_and_by_websocket(
        self, far: Far, visitor: Visitor
    ) -> None:
        sent = os.urandom(MUCH)
        wanted = hashlib.sha256(sent).hexdigest()
        to_visitors, from_them = far.edge.bytes_to_visitors, far.edge.bytes_from_visitors
        async with visitor.request("POST", f"{far.https}/echo", data=BytesIO(sent)) as answer:
            assert hashlib.sha256(await answer.read()).hexdigest() == wanted
        async with visitor.websocket(f"{far.https}/echo") as echo:

            async def send() -> None:
                for start in range(0, MUCH, 100_000):
                    await echo.send_bytes(sent[start : start + 100_000])

            sending = asyncio.create_task(send())
            got, count = hashlib.sha256(), 0
            while count < MUCH:
                data = await echo.receive_bytes(timeout=DEADLINE_S)
                got.update(data)
                count += len(data)
            await sending
            assert got.hexdigest() == wanted
        passed = far.edge.bytes_to_visitors - to_visitors, far.edge.bytes_from_visitors - from_them
        assert all(2 * MUCH <= count < 2.01 * MUCH for count in passed), passed

    async def test_20_megabytes_pass_both_ways_by_tcp(self, far: Far) -> None:
        # The agent ends both directions when one has ended: the sender waits for its echo.
        sent = os.urandom(MUCH)
        reader, writer = await asyncio.open_connection(*far.tcp)
        writer.write(sent)
        got = await asyncio.wait_for(reader.readexactly(MUCH), DEADLINE_S)
        assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.close()

    async def test_a_hundred_visitors_at_once_leave_no_stream_behind(
        self, far: Far, visitor: Visitor
    ) -> None:
        async def visit(number: int) -> bool:
            data = bytes([number]) * 10_000
            async with visitor.request("POST", f"{far.https}/echo", data=data) as answer:
                return bool(await answer.read() == data)

        assert all(await asyncio.gather(*(visit(number) for number in range(100))))
        # One is left for the agent's heartbeats.
        await until(lambda: far.edge.stream_count == 1, "streams of the visitors are closed")

    async def test_heartbeats_are_answered(self, far: Far) -> None:
        before = far.edge.heartbeats
        await until(lambda: far.edge.heartbeats >= before + 2, "heartbeats")
        assert far.edge.logins >= 1

    async def test_after_a_restart_the_agent_comes_back_to_the_same_addresses(
        self, far: Far, visitor: Visitor
    ) -> None:
        urls, logins = far.edge.urls, far.edge.logins
        assert far.edge.open_urls == urls
        reader, writer = await asyncio.open_connection(*far.tcp)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        await asyncio.to_thread(far.thread.wait, far.edge.stop_listening())
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.close()
        async with visitor.request("GET", far.https) as answer:
            assert answer.status == 404
            assert answer.headers["Ngrok-Error-Code"] == "ERR_NGROK_3200"
        await asyncio.to_thread(far.thread.wait, far.edge.listen())
        await until(lambda: far.edge.open_urls == urls, "the agent is back")
        assert far.edge.logins == logins + 1
        async with visitor.request("GET", far.https) as answer:
            assert answer.status == 200

    async def test_other_addresses_after_a_restart_are_not_in_the_agents_own_list(
        self, far: Far, visitor: Visitor
    ) -> None:
        old = set(far.edge.urls)
        await asyncio.to_thread(far.thread.restart, new_addresses=True)
        await until(lambda: len(far.edge.open_urls) == len(old), "the agent is back")
        assert old.isdisjoint(far.edge.urls)
        (new,) = (url for url in far.edge.urls if url.startswith("https:"))
        async with visitor.request("GET", new) as answer:
            assert answer.status == 200
        # The agent v2 does not look at what it gets: whoever asks it is told the old address.
        async with aiohttp.ClientSession() as plain, plain.get(f"{far.api}/api/tunnels") as answer:
            listed = {tunnel["public_url"] for tunnel in (await answer.json())["tunnels"]}
        assert listed == old


class TestRefusals:
    def test_a_wrong_token_and_a_full_account_are_told_with_their_codes(
        self, tmp_path: Path
    ) -> None:
        from pyngrok import ngrok
        from pyngrok.exception import PyngrokNgrokError

        with EdgeThread() as thread:
            wrong = agent_config(tmp_path / "wrong", thread.edge, token="wrong")
            with pytest.raises(PyngrokNgrokError) as refused:
                ngrok.connect("1", "http", pyngrok_config=wrong)
            assert refused.value.ngrok_error_code == "ERR_NGROK_105"
            thread.edge.refuse("session", "ERR_NGROK_108", "One at a time.")
            right = agent_config(tmp_path / "right", thread.edge)
            with pytest.raises(PyngrokNgrokError) as refused:
                ngrok.connect("1", "http", pyngrok_config=right)
            assert refused.value.ngrok_error_code == "ERR_NGROK_108"
            assert thread.edge.logins == 0

    def test_a_tunnel_that_is_refused_is_told_and_the_next_one_opens_and_closes(
        self, tmp_path: Path
    ) -> None:
        from pyngrok import ngrok
        from pyngrok.exception import PyngrokNgrokHTTPError

        with EdgeThread() as thread:
            config = agent_config(tmp_path, thread.edge)
            try:
                thread.edge.refuse("tcp", "ERR_NGROK_8013", "No TCP without a card.")
                with pytest.raises(PyngrokNgrokHTTPError, match="ERR_NGROK_8013"):
                    ngrok.connect("1", "tcp", pyngrok_config=config)
                thread.edge.accept("tcp")
                tunnel = ngrok.connect("1", "tcp", pyngrok_config=config)
                assert thread.edge.open_urls == [tunnel.public_url]
                ngrok.disconnect(str(tunnel.public_url), pyngrok_config=config)
                assert thread.edge.urls == []
            finally:
                ngrok.kill(config)
