"""What the machine does to a bridge: it sleeps, runs out of descriptors, is set to another date."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import IS_LONG, Figure, RunningBridge, StartBridge, Tmux
from tests.e2e.conftest import StartOnPty
from tests.e2e.guests import guest
from tests.e2e.hostile import Watched, check_log, tty
from tests.e2e.polling_client import PollingClient
from tests.e2e.raw_client import ColabClient, ContractClient, PageClient, eventually
from tests.e2e.ssh import Ssh, needs_ssh
from tests.e2e.test_fault_ends import CLIENT, TOKEN, sign_in, status_with
from tests.e2e.test_public import new_session
from ttybridge.web.engine import PING_INTERVAL_S, PING_TIMEOUT_S

SLEEP_S = 60.0 if IS_LONG else 6.0
"""How long the machine sleeps, in seconds."""

VISITS = 1000 if IS_LONG else 100

GROWTH_BYTES = 8_000_000
VISIT_BYTES = 20_000
"""What memory may grow by in all, and for each visit."""

DAY_S = 86_400


# Sleep --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.ssh
@needs_ssh[1]
@needs_ssh[2]
@pytest.mark.long
async def test_a_bridge_that_was_suspended_wakes_serving_and_idle(
    start_bridge: StartBridge,
    tmux: Tmux,
    ssh: Ssh,
    start_on_pty: StartOnPty,
    tmp_path: Path,
    figure: Figure,
) -> None:
    bridge = start_bridge(*ssh.options, "--record", str(tmp_path / "it.cast"))
    watched = Watched(bridge.pid)
    login = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    login.wait_for_text("[0] 0:")
    async with AsyncExitStack() as stack:
        clients: dict[str, PageClient] = {
            "WebSocket": await stack.enter_async_context(await PageClient.join(bridge)),
            "polling": await stack.enter_async_context(await PollingClient.join(bridge)),
        }
        colab = await stack.enter_async_context(await ColabClient.join(bridge))
        await clients["WebSocket"].type("kept=here; echo slept-$((1))\r")
        for client in (*clients.values(), colab):
            await client.shows("slept-1")
        os.kill(bridge.pid, signal.SIGSTOP)
        asked = asyncio.create_task(clients["WebSocket"].type("echo woken-$kept\r"))
        await asyncio.sleep(SLEEP_S)  # how long it sleeps is what is tested
        began = time.monotonic()
        os.kill(bridge.pid, signal.SIGCONT)
        await asked
        times: dict[str, float] = {}
        for name in clients:
            clients[name] = await until_woken(stack, clients[name], bridge)
            times[name] = time.monotonic() - began
        await new_visitor_is_served(bridge, "visitor")
        times["visitor"] = time.monotonic() - began
        login.wait_for_text("woken-here")
        for name, seconds in times.items():
            figure(f"suspended for {SLEEP_S:.0f} s, {name}", seconds=seconds)
        assert max(times.values()) < 5
        assert tmux.screen().count("woken-here") == 1, "typed once"
        await asyncio.sleep(1)  # what it has to catch up on is done
        before = watched.cpu_s
        await asyncio.sleep(3)  # what waiting costs is measured by waiting
        share = (watched.cpu_s - before) / 3
        figure(f"suspended for {SLEEP_S:.0f} s, processor afterwards", share=share)
        assert share < 0.05, "a busy loop"
    assert "Traceback" not in bridge.log
    assert tmux("has-session", "-t", "=0") == ""


async def until_woken(
    stack: AsyncExitStack, client: PageClient, bridge: RunningBridge
) -> PageClient:
    """Return a client that has been answered, or the one that has come back in its place.

    To a bridge that was stopped for longer than a ping cycle, all clients seem to be dead.
    """
    while not await is_answered(client):
        lost = client
        client = await stack.enter_async_context(await type(lost).join(bridge, resume=lost))
        assert client.joined["resumed"]
        await client.send_again(lost)
    return client


async def is_answered(client: PageClient) -> bool:
    """Wait until a client is answered or dropped; tell whether it is the former."""
    await eventually(lambda: b"woken-here" in client.output or client.closed.is_set(), "an answer")
    return b"woken-here" in client.output


async def new_visitor_is_served(bridge: RunningBridge, mark: str) -> None:
    """Join, type, see the answer, and leave."""
    async with await PageClient.join(bridge) as visitor:
        await visitor.type(f"echo {mark}-$((1))\r")
        await visitor.shows(f"{mark}-1")
        await visitor.leave()


# A thousand visits --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_many_visits_of_every_kind_leave_nothing(
    start_bridge: StartBridge, tmux: Tmux, figure: Figure
) -> None:
    bridge = start_bridge("--resume", "1")
    watched = Watched(bridge.pid)

    # Who polled and went without a word is missed after a ping cycle: too long for every run.
    missed_s = PING_INTERVAL_S + PING_TIMEOUT_S + 20

    async def visit(number: int) -> None:
        match number % 5:
            case 0:
                client: PageClient | ContractClient | ColabClient = await PageClient.join(bridge)
            case 1 | 4:
                client = await PollingClient.join(bridge)
            case 2:
                client = await ContractClient.join(bridge)
            case _:
                client = await ColabClient.join(bridge)
        async with client:
            await client.shows("$")
            polls = isinstance(client, PollingClient)
            if number % 3 == 0 and (IS_LONG or not polls):
                client.cut()
            elif isinstance(client, PageClient):
                await client.leave()

    async def visits(first: int, last: int) -> None:
        for start in range(first, last, 5):
            await asyncio.gather(*(visit(start + each) for each in range(5)))

    async with await PageClient.join(bridge) as healthy:
        await healthy.shows("$")
        start = watched.footprint()
        await visits(0, 50)  # what is kept for the next one is there afterwards
        await eventually(lambda: watched.footprint()[1:] == start[1:], "all is freed", missed_s)
        before, began = watched.rss_bytes, time.monotonic()
        await visits(0, VISITS)
        seconds = time.monotonic() - began
        await eventually(lambda: watched.footprint()[1:] == start[1:], "all is freed", missed_s)
        await eventually(lambda: len(tmux.clients()) == 1, "tmux has one client")
        await eventually(lambda: watched.is_within(start), "no descriptor is left", 90.0)
        grown = watched.rss_bytes - before
        now = watched.footprint()
        figure(
            f"{VISITS} visits",
            seconds=seconds,
            descriptors=now[0] - start[0],
            children=now[1] - start[1],
            ptys=now[2] - start[2],
            rss_bytes=grown,
            rss_bytes_each=grown // VISITS,
        )
        assert grown < GROWTH_BYTES + VISITS * VISIT_BYTES
        await healthy.type("echo still-$((1))\r")
        await healthy.shows("still-1")
    check_log(bridge, bad_connections=0)


# Out of descriptors -------------------------------------------------------------------------------

LIMIT = 40
"""Descriptors that the bridge may have open."""

ATTACK_S = 5.0


async def test_out_of_descriptors_it_refuses_recovers_and_does_not_fill_the_log(
    start_bridge: StartBridge, tmux: Tmux, figure: Figure
) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))

    bridge = start_bridge(preexec_fn=few)
    watched = Watched(bridge.pid)
    async with await PageClient.join(bridge) as healthy:
        await healthy.shows("$")
        start, cpu = watched.footprint(), watched.cpu_s
        sockets: list[socket.socket] = []
        until, refused, slowest, count = time.monotonic() + ATTACK_S, 0, 0.0, 0
        try:
            while time.monotonic() < until:
                for _ in range(20):
                    sockets.append(await asyncio.to_thread(connected, bridge.port))
                ended = [each for each in sockets if has_ended(each)]
                refused += len(ended)
                for each in ended:
                    each.close()
                    sockets.remove(each)
                count, asked = count + 1, time.monotonic()
                await healthy.type(f"echo e{count}-$((1))\r")
                await healthy.shows(f"e{count}-1")
                slowest = max(slowest, time.monotonic() - asked)
            assert len(watched.descriptors) >= LIMIT - 4, "the limit is reached"
            spent = (watched.cpu_s - cpu) / ATTACK_S
            lines = [
                line for line in bridge.log.splitlines() if " warning " in line or "rror" in line
            ]
        finally:
            for each in sockets:
                each.close()
        began = time.monotonic()
        await eventually(lambda: watched.is_within(start), "all is given back")
        while True:  # whoever comes among the last of those who have gone is turned away, too
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await new_visitor_is_served(bridge, "visitor")
                break
            assert time.monotonic() - began < 10
        figure(
            "out of descriptors",
            seconds=time.monotonic() - began,
            refused=refused,
            log_lines=len(lines),
            slowest_echo_seconds=slowest,
            processor_share=spent,
        )
        assert refused > 50, "who finds no room is told at once"
        assert len(lines) <= 3, "\n".join(lines[:20])
        assert any("descriptors" in line for line in lines), lines
        assert slowest < 2
        assert spent < 0.9
    assert "Traceback" not in bridge.log


def connected(port: int) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=5)
    found.setblocking(False)
    return found


def has_ended(each: socket.socket) -> bool:
    try:
        return each.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# Another date -------------------------------------------------------------------------------------

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

needs_faketime = pytest.mark.skipif(
    FAKETIME is None, reason="libfaketime is not installed (faketime)"
)


class Clock:
    """The date that a bridge sees, and all that it starts."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "date"
        self.set(0)

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Move the date by seconds from the real one, at once."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self.file)


@needs_faketime
@pytest.mark.slow
@pytest.mark.long
async def test_a_clock_that_jumps_ends_what_has_an_end_and_nothing_else(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path, figure: Figure
) -> None:
    clock = Clock(tmp_path)
    bridge = start_bridge("--resume", "4", env=clock.env | {"TTYBRIDGE_TOKEN": TOKEN})
    watched = Watched(bridge.pid)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(new_session())
        clients = {
            "WebSocket": await stack.enter_async_context(await PageClient.join(bridge)),
            "polling": await stack.enter_async_context(await PollingClient.join(bridge)),
        }
        colab = await stack.enter_async_context(await ColabClient.join(bridge))
        cookie = await sign_in(session, bridge)
        guest_session = await stack.enter_async_context(guest(bridge, "viewer", life_s=7200))
        unused = bridge.control.share("viewer", life_s=7200).url
        page = tty(bridge, "EIO=4&transport=polling")
        async with guest_session.get(page) as answer:
            assert answer.status == 200
        jumps = (DAY_S, 0, -DAY_S, 0)
        for turn, jump in enumerate(jumps):
            lost = await PageClient.join(bridge)
            lost.cut()
            await eventually(
                lambda t=turn: bridge.log.count("lost its connection") > 2 * t,  # type: ignore[misc]
                "the bridge knows of the cut",
            )
            clock.set(jump)
            # A place is kept by the clock that does not jump.
            async with await PageClient.join(bridge, resume=lost) as again:
                assert again.joined["resumed"]
                again.cut()
            await lost.close()
            began = time.monotonic()
            for name, client in clients.items():
                await client.type(f"echo {name}-{turn}-$((1))\r")
                await client.shows(f"{name}-{turn}-1")
                assert not client.closed.is_set()
            await colab.shows(f"polling-{turn}-1")
            took = time.monotonic() - began
            figure(f"clock jump to {jump:+d} s, both clients answered", seconds=took)
            assert took < 5
            await eventually(lambda: len(tmux.clients()) == 3, "its place is freed", 12)
            # A cookie is good for thirty days, and one from tomorrow is not good yet.
            assert await status_with(session, bridge, cookie) == (401 if jump < 0 else 200)
            fresh = await sign_in(session, bridge)
            assert await status_with(session, bridge, fresh) == 200
            if turn == 0:  # the link's time is over: for those who came by it, and for others
                async with guest_session.get(page) as answer:
                    assert answer.status == 401
                async with session.get(unused) as answer:
                    assert answer.status == 401
        cpu = watched.cpu_s
        await asyncio.sleep(2)  # what waiting costs is measured by waiting
        share = (watched.cpu_s - cpu) / 2
        assert share < 0.1, "a busy loop"
        clock.set(31 * DAY_S)
        assert await status_with(session, bridge, cookie) == 401
        assert not any(client.closed.is_set() for client in clients.values())
    assert "Traceback" not in bridge.log
