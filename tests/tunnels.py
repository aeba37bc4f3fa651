"""What the tests of all tunnels need: a context, an app behind it, and a look at what is left."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.conftest import DEADLINE_S
from ttybridge.errors import TunnelError
from ttybridge.tunnels.base import Context, Endpoint, Local, Tunnel


def context(folder: Path, environ: Mapping[str, str], argument: str = "") -> Context:
    folder.mkdir(mode=0o700, exist_ok=True)
    return Context(argument, environ, folder, lambda _: None)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that name a folder or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in f"{line} {(process / 'cwd').readlink()}":
                found.append(line)
    return found


def left_by(folder: Path) -> list[str]:
    """Return what a closed tunnel has left: processes and files."""
    return processes_of(folder) + [str(path) for path in folder.iterdir()]


@contextlib.asynccontextmanager
async def opened(tunnel: Tunnel, *locals: Local) -> AsyncIterator[Sequence[Endpoint]]:
    try:
        yield await tunnel.open(locals)
    finally:
        await tunnel.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  a file or a process tells nobody
            await asyncio.sleep(0.02)


async def lost(tunnel: Tunnel) -> TunnelError:
    """Return why a tunnel is lost, once it is."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await tunnel.health()
            except TunnelError as error:
                return error
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running_app() -> AsyncIterator[int]:
    """The port of a small web app: what it was asked, and an echo by WebSocket."""

    async def hello(request: web.Request) -> web.Response:
        body = await request.text()
        return web.json_response({"host": request.host, "body": body, **request.headers})

    async def echo(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for message in answer:
            await answer.send_bytes(message.data)
        return answer

    app = web.Application()
    app.add_routes([web.post("/", hello), web.get("/echo", echo)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def posted(url: str) -> dict[str, str]:
    """Return what the app was asked through an address."""
    async with aiohttp.ClientSession() as session, session.post(url, data="body") as answer:
        return dict(await answer.json())
