"""Memory stays bounded while clients stop reading under a flood, and others are served."""

import asyncio
import io
import json
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import IS_LONG, RunningBridge, StartBridge, Tmux
from tests.e2e.hostile import (
    FLOOD,
    SERVED_S,
    PageClient,
    Watched,
    check_log,
    echo_of_flood,
    eventually,
    session_of,
    tty,
)

FLOOD_S = 30.0 if IS_LONG else 12.0
"""How long clients do not read, in seconds."""

SIZE = (300, 100)
"""Window size: tmux redraws ten times a second what it cannot show in full, so that only a large
window makes a flood of it."""

SETTLE_S = 2.0
"""Time in which the buffers that are allowed fill, in seconds."""

GROWTH_BYTES = 4_000_000
"""How much memory may grow once the buffers are full: what the allocator does not reuse."""

BUFFERS_BYTES = 16_000_000
"""What five clients that do not read may hold, each: what is under way (`--window`), copies of one
chunk on its way out, 0.25 MB kept for it, and its objects."""

DIRECT_PATIENCE_S = 1.5
"""How long a client may hold up the others of a direct command (`stream.PATIENCE_S`)."""


STALLED_WAYS = ("no ack", "deaf page", "deaf contract", "deaf console", "no poll")
"""How clients stop taking output in."""


class Stalled:
    """Five clients that stop reading, each in its own way."""

    def __init__(self, bridge: RunningBridge, session: aiohttp.ClientSession) -> None:
        self.bridge, self.session = bridge, session
        self.no_ack: PageClient | None = None
        self.pages: list[PageClient] = []
        self.sockets: list[aiohttp.ClientWebSocketResponse] = []
        self.sid = ""

    async def join(self) -> None:
        """Join all of them."""
        self.no_ack = await PageClient.join(self.session, self.bridge, size=SIZE)
        self.no_ack.acks = False
        deaf = await PageClient.join(self.session, self.bridge, size=SIZE)
        deaf.stop_reading()
        self.pages = [self.no_ack, deaf]
        contract = await self.session.ws_connect(tty(self.bridge))
        await contract.send_str("40")
        console = await self.session.ws_connect(f"{self.bridge.address}colab/tty")
        self.sockets = [contract, console]
        resize = json.dumps({"cols": SIZE[0], "rows": SIZE[1]})
        await contract.send_str("42" + json.dumps(["data", {"data": resize}]))
        await console.send_str(resize)
        async with self.session.get(tty(self.bridge, "EIO=4&transport=polling")) as answer:
            self.sid = json.loads((await answer.text())[1:])["sid"]
        await self.post("40" + json.dumps({"protocol": 1, "cols": SIZE[0], "rows": SIZE[1]}))
        await eventually(
            lambda: self.bridge.log.count(" attached (") >= 6, "the stalled clients have joined"
        )

    async def post(self, body: str) -> None:
        """Send a packet over polling."""
        query = f"EIO=4&transport=polling&sid={self.sid}"
        data = io.BytesIO(body.encode())
        async with self.session.post(tty(self.bridge, query), data=data) as answer:
            assert answer.status in (200, 400)

    async def leave(self) -> None:
        """Cut all of them."""
        await self.post("1")
        for page in self.pages:
            await page.cut()
        for socket in self.sockets:
            await socket.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", ["tmux", pytest.param("direct", marks=pytest.mark.long)])
async def test_clients_that_stop_reading_under_a_flood_cost_a_bounded_amount(
    start_bridge: StartBridge,
    tmp_path: Path,
    tmux: Tmux,
    mode: str,
) -> None:
    program = tmp_path / "flood.py"
    program.write_text(FLOOD)
    command = [sys.executable, str(program)]
    (tmp_path / "home" / ".tmux.conf").write_text("set -g history-limit 100\n")
    options = ("--resume", "1", "--window", "64k")
    bridge = start_bridge(*options, command=command if mode == "direct" else ())
    server = Watched(int(tmux("display-message", "-p", "#{pid}"))) if mode == "tmux" else None
    watched = Watched(bridge.pid)
    async with session_of(bridge) as session:
        healthy = await PageClient.join(session, bridge, size=SIZE)
        if mode == "tmux":
            await healthy.type(" ".join(command) + "\r")
        await healthy.until_shown(b"<none>")
        await flood_for(healthy, SETTLE_S, SERVED_S * 5)
        start, before = watched.footprint(), watched.rss_bytes
        stalled = Stalled(bridge, session)
        await stalled.join()
        patience_s = 5 * DIRECT_PATIENCE_S if mode == "direct" else SERVED_S
        await flood_for(healthy, SETTLE_S, patience_s + SERVED_S)
        full, tmux_full = watched.rss_bytes, server.rss_bytes if server else 0
        assert full - before < BUFFERS_BYTES, f"buffers of {full - before} bytes"
        received, echoes, peak = healthy.received, [0.0], 0
        until = time.monotonic() + FLOOD_S
        while time.monotonic() < until:
            echoes.append(await echo_of_flood(healthy, SERVED_S * 5))
            peak = max(peak, watched.rss_bytes)
        slowest = max(echoes)
        print(  # noqa: T201  (shown with -s: the numbers measured)
            f"{mode}: buffers {full - before}, growth {peak - full}, tmux "
            f"{server.rss_bytes - tmux_full if server else 0}, slowest echo {slowest:.3f} s, "
            f"flood {healthy.received - received} bytes"
        )
        assert peak - full < GROWTH_BYTES, f"the bridge grew by {peak - full} bytes"
        if server:
            grown = server.rss_bytes - tmux_full
            assert grown < GROWTH_BYTES, f"the tmux server grew by {grown} bytes"
        if mode == "direct":  # each may hold the command up once, and is skipped from then on
            late = sorted(echoes)[-len(STALLED_WAYS) :]
            assert slowest < DIRECT_PATIENCE_S + SERVED_S, f"the slowest echoes: {late}"
            slowest = sorted(echoes)[-len(STALLED_WAYS) - 1]
        assert slowest < SERVED_S, f"an echo took {slowest} s"
        assert healthy.received - received > 100_000, "the flood went on"
        assert not healthy.is_closed
        await stalled.leave()
        await eventually(lambda: watched.is_within(start), f"all is given back: {start}")
        await flood_for(healthy, 0.5, SERVED_S * 5)
        assert watched.rss_bytes - before < GROWTH_BYTES + BUFFERS_BYTES // 2
        check_log(bridge, bad_connections=1)
        await healthy.type("q")
        await healthy.close()


async def flood_for(client: PageClient, seconds: float, deadline_s: float) -> None:
    """Let the flood go on, with an echo every now and then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await echo_of_flood(client, deadline_s)


async def test_input_for_a_program_that_does_not_read_ends_only_who_sends_too_much(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(
        "--resume", "1", command=["sh", "-c", "stty raw -echo; echo ready; exec sleep 1000"]
    )
    watched = Watched(bridge.pid)
    async with session_of(bridge) as session:
        healthy = await PageClient.join(session, bridge)
        await healthy.until_shown(b"ready")
        start, before = watched.footprint(), watched.rss_bytes
        flooding = await PageClient.join(session, bridge)
        sent = 0
        try:
            while not flooding.is_closed and sent < 40_000_000:
                await flooding.type("x" * 16_384)
                sent += 16_384
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        await eventually(lambda: flooding.is_closed, "the flooding client is ended")
        assert sent >= 16 * 2**20, "what a program may not have read yet is kept"
        assert watched.rss_bytes - before < 16 * 2**20 + 24_000_000
        await flooding.cut()
        await healthy.type("still here")
        await healthy.socket.send_str('42["size",70,20]')
        await eventually(
            lambda: ["size", {"cols": 70, "rows": 20}] in healthy.events, "the other is served"
        )
        assert not healthy.is_closed
        await eventually(lambda: watched.is_within(start), "all is given back")
        await healthy.close()
