"""One client floods, in each way that there is; another one's keys come back all the same."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import RunningBridge, StartBridge, clean_environment
from tests.e2e.guests import token_of
from tests.e2e.hostile import SERVED_S, PageClient, Watched, eventually, session_of

FLOOD = Path(__file__).resolve().parent / "clients" / "flood.py"

LOOK_S = 1.5
"""How long keys are measured in each flood, in seconds."""

LEAST_ECHOES = 3
"""Keys that are measured in any case."""

MOST_THREADS = 8
"""Threads that the bridge may have: the main one, and those of a pool."""

MOST_GROWN_BYTES = 100_000_000
"""What the bridge may grow by through all floods of a test: each has hundreds of connections."""


@dataclass
class Measured:
    """What a flood has done."""

    longest_s: float
    """The longest time that a key of the other client has taken, in seconds."""
    echoes: int
    """How many keys that was looked at with."""
    count: int
    """How often the flood has done what it does."""


async def flooded(bridge: RunningBridge, client: PageClient, way: str, token: str) -> Measured:
    """Flood in a way, and measure another client's keys meanwhile."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FLOOD), way, str(bridge.port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment(FLOOD_TOKEN=token),
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert await process.stdout.readline() == b"on\n"
        times: list[float] = []
        until = time.monotonic() + LOOK_S
        while time.monotonic() < until or len(times) < LEAST_ECHOES:
            began = time.monotonic()
            await client.echo()
            times.append(time.monotonic() - began)
        process.stdin.close()
        async with asyncio.timeout(20):
            count = int(await process.stdout.readline())
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Measured(max(times), len(times), count)


@asynccontextmanager
async def scene(
    start_bridge: StartBridge,
) -> AsyncIterator[tuple[RunningBridge, aiohttp.ClientSession, PageClient]]:
    """Start a bridge with a healthy client; nothing may be left of the floods at the end."""
    # Short times, so that what the last flood has begun is over when the next one begins.
    bridge = start_bridge("--resume", "0", "--join-timeout", "2", "--body-timeout", "1")
    async with session_of(bridge) as session:
        client = await PageClient.join(session, bridge)
        await client.echo()
        guest = {"Authorization": f"Bearer {await token_of(bridge, 'viewer')}"}
        async with aiohttp.ClientSession(headers=guest) as viewers:
            # The terminal that all viewers share is kept for a while after the last one.
            viewer = await PageClient.join(viewers, bridge, hello={"display": "session"})
            await viewer.close()
        watched = Watched(bridge.pid)
        await eventually(lambda: " left" in bridge.log, "the viewer has left")
        descriptors, children, ptys, _ = watched.footprint()
        start, rss = (descriptors, children, ptys, MOST_THREADS), watched.rss_bytes
        yield bridge, session, client
        await eventually(lambda: watched.is_within(start), f"back at {start}")
        assert watched.rss_bytes - rss < MOST_GROWN_BYTES
        assert "Traceback" not in bridge.log, bridge.log[-3000:]
        await client.close()


async def refused(bridge: RunningBridge, session: aiohttp.ClientSession) -> dict[str, int]:
    """Return what was refused until now, by reason."""
    async with session.get(f"{bridge.address}api/status") as answer:
        found: dict[str, int] = json.loads(await answer.text())["refused"]
        return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "ways"),
    [
        ("", {"heads": "pending", "tokens": "throttled", "requests": "credential"}),
        ("viewer", {"events": "", "posts": "", "bodies": "body"}),
        ("owner", {"handshakes": "handshakes", "packets": "packet", "joins": ""}),
    ],
    ids=["strangers", "a viewer", "an owner"],
)
async def test_no_key_of_another_client_takes_two_seconds_in_a_flood_of(
    start_bridge: StartBridge, role: str, ways: dict[str, str]
) -> None:
    async with scene(start_bridge) as (bridge, session, client):
        token = await token_of(bridge, role) if role else ""
        for way, reason in ways.items():
            before = await refused(bridge, session)
            found = await flooded(bridge, client, way, token)
            assert found.longest_s < SERVED_S, f"{way}: {found}"
            assert found.count >= 10, f"{way} is no flood: {found}"
            after = await refused(bridge, session)
            more = {
                name: after[name] - before[name] for name in after if after[name] > before[name]
            }
            assert not reason or reason in more, f"{way}: {more}"
