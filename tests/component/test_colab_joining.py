"""The entrance `colab/tty`: connections of one client that have not joined."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
from aiohttp import web

from tests.conftest import DEADLINE_S
from tests.e2e.hostile import eventually
from ttybridge.core.access import Principal
from ttybridge.core.limits import Bounds
from ttybridge.core.meter import Meter
from ttybridge.model import Role
from ttybridge.sessions.hub import Hub
from ttybridge.sessions.room import SessionFull
from ttybridge.web.colab import ColabEntrance

WAYS = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip


class BusyHub:
    """A session whose terminals take their time, and of which there are none in the end."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.joining = 0

    async def join(self, *_args: object, **_more: object) -> None:
        self.joining += 1
        await self.go_on.wait()
        raise SessionFull("There are 0 clients already.")


@asynccontextmanager
async def served(meter: Meter) -> AsyncIterator[tuple[BusyHub, ColabEntrance, str]]:
    """Serve the entrance; who asks is named by a header."""
    hub = BusyHub()

    def principal_of(request: web.Request) -> Principal:
        return Principal(request.headers["Who"], Role.OWNER, "none")

    entrance = ColabEntrance(
        cast(Hub, hub), principal_of, lambda _request: "", Bounds(handshakes=2), meter
    )
    app = web.Application()
    app.router.add_get("/", entrance.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield hub, entrance, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        hub.go_on.set()
        await runner.cleanup()


async def test_one_client_waits_for_so_many_terminals_and_others_for_theirs() -> None:
    meter = Meter()
    async with served(meter) as (hub, entrance, address), aiohttp.ClientSession() as session:

        async def ask(who: str) -> tuple[int, str]:
            async with session.get(address, headers={"Who": who, **WAYS}) as answer:
                return answer.status, await answer.text()

        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(ask("ada")) for _ in range(2)]
        async with asyncio.timeout(DEADLINE_S):
            await eventually(lambda: hub.joining == 2, "it is joining")
            assert entrance.joining == 2
            assert [(await ask("ada"))[0] for _ in range(5)] == [429] * 5
            assert (hub.joining, meter.refused["handshakes"]) == (2, 5)
            waiting.append(asyncio.create_task(ask("eve")))
            await eventually(lambda: hub.joining == 3, "it is joining")
            hub.go_on.set()
            answers = await asyncio.gather(*waiting)
        assert answers == [(429, "There are 0 clients already.\n")] * 3
        assert (meter.refused["full"], entrance.joining) == (3, 0)
        assert (await ask("ada"))[1].startswith("There are 0 clients"), "its places are free again"
