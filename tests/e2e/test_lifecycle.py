"""Start, stop, visits and crashes leave nothing behind; waiting costs nothing."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import RunningBridge, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.hostile import (
    FLOOD,
    HELLO,
    PageClient,
    Watched,
    check_log,
    children_of,
    eventually,
    session_of,
    tty,
)
from ttybridge.bridge import Bridge, Listener
from ttybridge.config import Config
from ttybridge.core.pace import START_BYTES

ROUNDS = 20
"""How often the bridge starts and stops in one process."""

IDLE_S = 5.0
"""How long waiting is measured, in seconds."""

IDLE_SHARE = 0.01
"""Most processor time of a bridge that waits, as a share of one processor."""


class Here:
    """Looks like a running bridge to the clients: one in this process."""

    def __init__(self, bridge: Bridge) -> None:
        self.address = bridge.started.address
        self.token = bridge.started.link.partition("?token=")[2]


def here(bridge: Bridge) -> RunningBridge:
    """Return what clients need to know of a bridge in this process."""
    made = RunningBridge.__new__(RunningBridge)
    made.__dict__.update(Here(bridge).__dict__)
    return made


def held() -> dict[str, object]:
    """Return what this process holds: tasks, threads, descriptors, children."""
    gc.collect()
    descriptors = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            name = str(link.readlink())
            descriptors.append(name.partition(":")[0] if ":[" in name else name)
    return {
        "tasks": sorted(str(t.get_coro()) for t in asyncio.all_tasks() if not t.done()),
        "threads": sorted(t.name for t in threading.enumerate() if "asyncio_" not in t.name),
        "descriptors": sorted(name for name in descriptors if "/proc/" not in name),
        "children": sorted(children_of(os.getpid())),
    }


async def until_held(start: dict[str, object], what: str) -> None:
    """Wait until this process holds what it held at the start."""
    await eventually(lambda: held() == start, f"{what}: back at {start}")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tmux", pytest.param("direct", marks=pytest.mark.long)])
async def test_twenty_starts_and_stops_leave_nothing_in_the_process(
    tmux: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    environment = clean_environment(HOME=str(tmp_path), TMPDIR=str(temporary))
    snapshot = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    config = Config(
        port=0,
        socket_path=tmux.socket if mode == "tmux" else None,
        command=("sh", "-c", 'while read -r x; do eval "$x"; done') if mode == "direct" else (),
        cwd=tmp_path,
    )
    after_first: dict[str, object] = {}
    for number in range(ROUNDS + 1):
        async with new_bridge(config, snapshot) as bridge:
            await visit_in_every_way(here(bridge), half_open=number < 3)
        if not after_first:
            if mode == "tmux":
                assert tmux.clients() == []
            after_first = held()
            continue
        await until_held(after_first, f"round {number}")
        assert list(temporary.iterdir()) == []
    if mode == "tmux":
        assert tmux("has-session", "-t", "=0") == "", "the session lives on"


def new_bridge(config: Config, snapshot: Mapping[bytes, bytes]) -> Bridge:
    """Make a bridge inside this process, which tells nobody anything."""
    nobody = Listener(lambda _: None, lambda _: None, lambda _: None)
    return Bridge(config, snapshot, nobody, {}, lambda: None)


async def visit_in_every_way(bridge: RunningBridge, *, half_open: bool = False) -> None:
    """Join, leave, lose the connection, come back, stay until the end; over every entrance.

    Args:
        bridge: Where to.
        half_open: Whether to leave connections that never join; the end waits a second for them.
    """
    async with session_of(bridge) as session:
        leaving = await PageClient.join(session, bridge)
        await leaving.echo()
        await leaving.close()
        parked = await PageClient.join(session, bridge)
        await parked.cut()
        lost = await PageClient.join(session, bridge)
        await lost.cut()
        place = {k: lost.joined[k] for k in ("id", "key")} | {"offset": 0, "reset": True}
        back = await PageClient.join(session, bridge, resume=place)
        await back.cut()
        console = await session.ws_connect(f"{bridge.address}colab/tty")
        await console.receive()
        if half_open:
            half = await session.ws_connect(tty(bridge))
            async with session.get(tty(bridge, "EIO=4&transport=polling")) as answer:
                assert answer.status == 200
            await half.close()
        await console.close()


async def test_a_bridge_that_stops_while_a_client_joins_leaves_nothing(
    tmux: Tmux, tmp_path: Path
) -> None:
    environment = clean_environment(HOME=str(tmp_path))
    snapshot = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    flag = tmp_path / "slow"
    program = tmp_path / "slow-tmux"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" attach"*) test -e {flag} && touch {flag}.seen && sleep 3;;'
        ' esac\nexec tmux "$@"\n'
    )
    program.chmod(0o755)
    config = Config(port=0, socket_path=tmux.socket, cwd=tmp_path, tmux=str(program))
    async with new_bridge(config, snapshot) as bridge:
        await visit_in_every_way(here(bridge))
    before = held()
    for entrance in ("tty", "colab"):
        flag.touch()
        seen = tmp_path / "slow.seen"
        seen.unlink(missing_ok=True)
        async with new_bridge(config, snapshot) as bridge, session_of(here(bridge)) as session:
            if entrance == "tty":
                socket = await session.ws_connect(tty(here(bridge)))
                await socket.send_str(HELLO)
                joining = None
            else:
                address = f"{here(bridge).address}colab/tty"
                joining = asyncio.create_task(connect(session, address))
            await eventually(seen.exists, "a client is joining")
            started = time.monotonic()
            await bridge.__aexit__(None, None, None)
            assert time.monotonic() - started < 10
            if joining is not None:
                await joining
        flag.unlink()
        await until_held(before, entrance)


async def connect(session: aiohttp.ClientSession, address: str) -> None:
    """Connect, which may fail."""
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        socket = await session.ws_connect(address)
        await socket.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "number"),
    [
        pytest.param("tmux", signal.SIGINT, marks=pytest.mark.long),
        ("direct", signal.SIGTERM),
    ],
)
async def test_stopping_takes_less_than_ten_seconds_with_clients_that_do_not_read(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path, mode: str, number: signal.Signals
) -> None:
    program = tmp_path / "flood.py"
    program.write_text(FLOOD)
    port = 0
    for _ in range(2 if mode == "tmux" else 1):
        flood = [sys.executable, str(program)]
        bridge = start_bridge("--port", str(port), command=flood if mode == "direct" else ())
        assert port in (0, bridge.port), "the port can be had again at once"
        port = bridge.port
        await stop_under_load(bridge, " ".join(flood) if mode == "tmux" else "", number)
        check_log(bridge, bad_connections=0)
        if mode == "direct":
            continue
        assert tmux("has-session", "-t", "=0") == "", "the session lives on"
        tmux("send-keys", "-t", "=0:", "q")
        wait_until(lambda: tmux.screen().rstrip().endswith(("$", "#")), "the shell is back")


async def stop_under_load(bridge: RunningBridge, flood: str, number: signal.Signals) -> None:
    """Stop a bridge that has a healthy client and many that do not read.

    Args:
        bridge: The bridge.
        flood: Command that floods the shell; empty when it is the direct command, whose flood is
            fast enough to fill the sockets of those who do not read.
        number: The signal.
    """
    watched = Watched(bridge.pid)
    async with session_of(bridge) as session:
        healthy = await PageClient.join(session, bridge)
        if flood:
            await healthy.type(f"{flood}\r")
        await healthy.until_shown(b"<none>")
        deaf = await PageClient.join(session, bridge)
        deaf.stop_reading()
        stalled = [await session.ws_connect(f"{bridge.address}colab/tty") for _ in range(6)]
        contract = await session.ws_connect(tty(bridge))
        await contract.send_str("40")
        joined = 9 if flood else 1
        await eventually(lambda: bridge.log.count(" attached (") >= 9, "everybody has joined")
        assert watched.ptys == joined
        received, more = healthy.received, 300_000 if flood else 30_000_000
        await eventually(lambda: healthy.received > received + more, "the flood runs")
        before = watched.children
        started = time.monotonic()
        bridge.process.send_signal(number)
        await eventually(lambda: bridge.process.poll() is not None, "the bridge has ended")
        took = time.monotonic() - started
        assert bridge.process.returncode == 0, bridge.log
        print(f"stopping took {took:.1f} s")  # noqa: T201  (shown with -s)
        assert took < 10, f"stopping took {took} s"
        await eventually(lambda: healthy.is_closed, "the healthy client is told")
        assert any(event[0] == "exit" for event in healthy.events), healthy.events
        await eventually(lambda: all(map(has_ended, before)), "all children have ended")
        for each in (healthy, deaf):
            await each.cut()
        for socket in (*stalled, contract):
            await socket.close()


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or only waits to be reaped by whoever inherited it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.parametrize("mode", ["tmux", "direct"])
async def test_a_killed_bridge_leaves_no_child_but_the_tmux_server(
    start_bridge: StartBridge, tmux: Tmux, mode: str
) -> None:
    bridge = start_bridge(command=["sh", "-c", "cat; sleep 1000"] if mode == "direct" else ())
    async with session_of(bridge) as session:
        clients = [await PageClient.join(session, bridge) for _ in range(2)]
        children = Watched(bridge.pid).children
        assert len(children) == (2 if mode == "tmux" else 1)
        bridge.process.kill()
        await eventually(lambda: bridge.process.poll() is not None, "the bridge is killed")
        await eventually(lambda: all(map(has_ended, children)), "its children have ended")
        for client in clients:
            await client.cut()
    if mode == "tmux":
        assert tmux("has-session", "-t", "=0") == "", "the session lives on"
        await eventually(lambda: tmux.clients() == [], "no client is left")


@pytest.mark.slow
async def test_two_hundred_quick_visits_leave_nothing(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge("--resume", "1", "--join-timeout", "1")
    watched = Watched(bridge.pid)
    async with session_of(bridge) as session:
        healthy = await PageClient.join(session, bridge)
        await healthy.echo()
        start = watched.footprint()

        async def visit(number: int) -> None:
            way = number % 5
            if way == 0:
                page = await PageClient.join(session, bridge)
                await page.close()
            elif way == 1:
                page = await PageClient.join(session, bridge)
                cut(page.socket)
                await page.cut()
            elif way == 2:
                socket = await session.ws_connect(tty(bridge))
                await socket.send_str(HELLO)
                cut(socket)
            elif way == 3:
                socket = await session.ws_connect(f"{bridge.address}colab/tty")
                cut(socket)
            else:
                _, writer = await asyncio.open_connection("127.0.0.1", bridge.port)
                writer.write(
                    f"GET /colab/tty HTTP/1.1\r\nHost: {bridge.host}\r\nAuthorization: Bearer "
                    f"{bridge.token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    "Sec-WebSocket-Version: 13\r\n\r\n".encode()
                )
                await writer.drain()
                writer.transport.abort()

        for first in range(0, 200, 10):
            await asyncio.gather(*(visit(first + number) for number in range(10)))
        await healthy.echo()
        await eventually(lambda: watched.is_within(start), f"back at the start: {start}")
        await eventually(lambda: len(tmux.clients()) == 1, "tmux has one client")
        check_log(bridge, bad_connections=80)
        await healthy.close()


def cut(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Break a connection without a word."""
    connection = socket._conn
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


@pytest.mark.slow
async def test_waiting_costs_next_to_nothing(start_bridge: StartBridge, tmp_path: Path) -> None:
    idle = start_bridge()
    paused = start_bridge(command=["sh", "-c", "read -r x; yes"])
    full = start_bridge(command=["sh", "-c", "stty raw -echo; echo ready; exec sleep 1000"])
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(session_of(b)) for b in (idle, paused, full)]
        clients = [await PageClient.join(sessions[0], idle) for _ in range(3)]
        await (await PageClient.join(sessions[0], idle)).cut()
        stalled = await PageClient.join(sessions[1], paused)
        stalled.acks = False
        await stalled.type("\r")
        await eventually(lambda: stalled.received >= START_BYTES, "the window is used up")
        typing = await PageClient.join(sessions[2], full)
        await typing.until_shown(b"ready")
        for _ in range(64):
            await typing.type("x" * 16_384)
        await settled(lambda: [Watched(b.pid).cpu_s for b in (idle, paused, full)])
        before = [Watched(b.pid).cpu_s for b in (idle, paused, full)]
        await asyncio.sleep(IDLE_S)  # what waiting costs is measured by waiting
        after = [Watched(b.pid).cpu_s for b in (idle, paused, full)]
        shares = [(b - a) / IDLE_S for a, b in zip(before, after, strict=True)]
        print(f"idle, paused, full: {shares}")  # noqa: T201  (shown with -s)
        assert max(shares) < IDLE_SHARE, f"idle, paused command, full pty: {shares}"
        assert stalled.received <= 2 * START_BYTES
        for client in (*clients, stalled, typing):
            await client.cut()


async def settled(read: Callable[[], list[float]]) -> None:
    """Wait until numbers have stopped changing for half a second."""
    last, since = read(), time.monotonic()
    until = since + 20
    while time.monotonic() - since < 0.5:
        assert time.monotonic() < until, f"still changing: {last}"
        await asyncio.sleep(0.05)
        now = read()
        if now != last:
            last, since = now, time.monotonic()
