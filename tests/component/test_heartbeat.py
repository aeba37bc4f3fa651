"""Engine.IO's heartbeat where the date changes: nobody is dropped for it, and no dead one stays."""

import asyncio
import time

import aiohttp
import pytest

from tests.component.test_engine_guard import eventually, serving
from tests.conftest import DEADLINE_S
from ttybridge.web import engine as module

DAY_S = 86_400

PING, PONG = "2", "3"


async def until_asked(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Read up to the next heartbeat."""
    async with asyncio.timeout(DEADLINE_S):
        while (await socket.receive_str()) != PING:
            pass


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_who_has_been_asked_when_the_date_is_set_may_still_answer(
    jump_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_INTERVAL_S", 0.2)
    async with serving() as server:
        socket = await server.connect()
        await server.join(socket)
        await until_asked(socket)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + jump_s)
        (connection,) = server.engine.sio.eio.sockets.values()
        await connection.check_ping_timeout()  # the library looks now and then
        assert server.engine.connections
        await socket.send_str(PONG)
        await until_asked(socket)
        await socket.close()


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_who_does_not_answer_is_dropped_though_the_date_is_set(
    jump_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_INTERVAL_S", 0.2)
    monkeypatch.setattr(module, "PING_TIMEOUT_S", 0.5)
    async with serving() as server:
        socket = await server.connect()
        await server.join(socket)
        await until_asked(socket)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + jump_s)
        await eventually(lambda: not server.engine.connections, "the connection is given up")
        await socket.close()
