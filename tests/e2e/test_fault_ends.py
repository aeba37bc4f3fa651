"""Programs that are killed, bridges that stop, die and come back: who is told, and what is left."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.conftest import ROOT, Figure, RunningBridge, StartBridge, Tmux, clean_environment
from tests.e2e.conftest import OnPty, StartOnPty
from tests.e2e.hostile import FLOOD, Watched
from tests.e2e.polling_client import PollingClient
from tests.e2e.raw_client import ColabClient, ContractClient, PageClient, eventually
from tests.e2e.ssh import Ssh, needs_ssh, ssh_address
from tests.e2e.test_public import Behind, new_session
from tests.e2e.test_sharing import take_terminal_of
from tests.e2e.test_ssh_life import is_open, is_running, tree
from tests.ngrok import install_fake_ngrok

pytestmark = needs_ssh

C = TypeVar("C", PageClient, ContractClient, ColabClient)

TOLD_S = 5.0
"""Time in which clients are told that what they show has ended, in seconds."""

STOP_S = 10.0
"""Longest time that the bridge takes to stop, in seconds."""

TOKEN = "a-token-that-is-long-enough-0123456789"

CLIENT = clean_environment(TERM="xterm-256color")


class Visitors:
    """A client of each kind, and an SSH login."""

    def __init__(self, stack: AsyncExitStack, bridge: RunningBridge) -> None:
        self._stack, self._bridge = stack, bridge
        self.pages: dict[str, PageClient] = {}

    async def join(self, login: OnPty) -> None:
        """Join with all of them; `login` is the SSH login."""
        self.pages["WebSocket"] = await self._enter(PageClient.join(self._bridge))
        self.pages["polling"] = await self._enter(PollingClient.join(self._bridge))
        self.contract = await self._enter(ContractClient.join(self._bridge))
        self.colab = await self._enter(ColabClient.join(self._bridge))
        self.login = login

    async def _enter(self, joining: Coroutine[Any, Any, C]) -> C:
        return await self._stack.enter_async_context(await joining)

    async def told(self, began: float, close_code: int = 1000) -> dict[str, float]:
        """Wait until everybody is told of the end; return when, in seconds after `began`."""
        ends: dict[str, Callable[[], object]] = {
            name: (lambda p=page: p.exit and p.closed.is_set())  # type: ignore[misc]
            for name, page in self.pages.items()
        }
        ends["contract"] = lambda: self.contract.exit and self.contract.closed.is_set()
        ends["colab/tty"] = self.colab.closed.is_set
        ends["ssh"] = lambda: self.login.process.poll() is not None
        times: dict[str, float] = {}

        def all_are() -> bool:
            for name, has_ended in ends.items():
                if name not in times and has_ended():
                    times[name] = time.monotonic() - began
            return len(times) == len(ends)

        await eventually(all_are, lambda: f"all are told, not only {times}")
        assert self.colab.close_code == close_code
        # Closed, and not cut off.
        closed = {page.close_code for page in (self.pages["WebSocket"], self.contract)}
        assert closed == {aiohttp.WSCloseCode.OK}
        return times


def zombies(bridge: int) -> list[int]:
    """Return what is below a bridge, by its process id, and nobody has reaped; or itself."""
    found = []
    for pid in tree(bridge):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.append(pid)
    return found


# A program that is killed -------------------------------------------------------------------------


async def test_everybody_is_told_of_a_killed_command_within_five_seconds(
    start_bridge: StartBridge, ssh: Ssh, start_on_pty: StartOnPty, figure: Figure
) -> None:
    bridge = start_bridge(*ssh.options, command=["sh", "-c", "echo ready; exec sleep 1000"])
    async with AsyncExitStack() as stack:
        visitors = Visitors(stack, bridge)
        login = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
        login.wait_for_text("ready")
        await visitors.join(login)
        command = next(pid for pid, name in tree(bridge.pid).items() if name == "sleep")
        os.kill(command, signal.SIGKILL)
        times = await visitors.told(time.monotonic())
        for name, seconds in times.items():
            figure(f"child killed (command), {name}", seconds=seconds)
        assert max(times.values()) < TOLD_S
        assert visitors.pages["polling"].exit["signal"] == signal.SIGKILL
    assert bridge.wait() == 128 + signal.SIGKILL
    assert not is_running(command)


async def test_a_killed_tmux_client_is_told_and_reaped_and_the_next_visitor_comes_in(
    start_bridge: StartBridge, tmux: Tmux, figure: Figure
) -> None:
    bridge = start_bridge()
    watched = Watched(bridge.pid)
    times = {}
    for name, join in (("WebSocket", PageClient.join), ("polling", PollingClient.join)):
        async with await PageClient.join(bridge) as other:
            await other.shows("$")
            before = set(watched.children)
            async with await join(bridge) as client:
                await client.shows("$")
                (child,) = set(watched.children) - before
                began = time.monotonic()
                os.kill(child, signal.SIGKILL)
                await client.ended()
                times[name] = time.monotonic() - began
                assert client.exit["reason"] == "killed"
            await eventually(lambda b=before: set(watched.children) == b, "it is reaped")  # type: ignore[misc]
            assert zombies(bridge.pid) == []
            await other.type(f"echo {name}-$((1))\r")
            await other.shows(f"{name}-1")
        async with await join(bridge) as following:
            await following.shows(f"{name}-1")
        figure(f"child killed (tmux client), {name}", seconds=times[name])
    assert max(times.values()) < TOLD_S


async def test_everybody_is_told_of_a_killed_tmux_server_and_the_next_ones_start_another(
    start_bridge: StartBridge, tmux: Tmux, ssh: Ssh, start_on_pty: StartOnPty, figure: Figure
) -> None:
    bridge = start_bridge(*ssh.options)
    watched = Watched(bridge.pid)
    async with AsyncExitStack() as stack:
        visitors = Visitors(stack, bridge)
        login = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
        login.wait_for_text("[0] 0:")
        start = watched.footprint()
        await visitors.join(login)
        await visitors.pages["polling"].shows("$")
        os.kill(int(tmux("display-message", "-p", "#{pid}")), signal.SIGKILL)
        times = await visitors.told(time.monotonic())
        for name, seconds in times.items():
            figure(f"tmux server killed, {name}", seconds=seconds)
        assert max(times.values()) < TOLD_S
        assert visitors.pages["WebSocket"].exit["reason"] == "server-exited"
        await eventually(lambda: watched.is_within(start), "all is given back")
        assert zombies(bridge.pid) == []
    for join in (PageClient.join, PollingClient.join):
        async with await join(bridge) as again:
            await again.type("echo again-$((1))\r")
            await again.shows("again-1")
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")


# A bridge that stops ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
)
async def test_a_signal_tells_everybody_and_leaves_nothing_though_some_do_not_read(
    start_bridge: StartBridge,
    tmux: Tmux,
    ssh: Ssh,
    start_on_pty: StartOnPty,
    tmp_path: Path,
    figure: Figure,
    number: signal.Signals,
) -> None:
    ngrok = install_fake_ngrok(tmp_path)
    master, slave = os.openpty()
    bridge = start_bridge(
        *ssh.options,
        "--ngrok",
        env=ngrok.env | {"TTYBRIDGE_TOKEN": TOKEN},
        preexec_fn=lambda: take_terminal_of(slave),
    )
    os.close(slave)
    local, port = owner(bridge), ssh_address(bridge)[0]
    flood = tmp_path / "flood.py"
    flood.write_text(FLOOD)
    async with AsyncExitStack() as stack:
        visitors = Visitors(stack, local)
        login = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
        login.wait_for_text("[0] 0:")
        await visitors.join(login)
        stalled: list[PageClient | ContractClient | ColabClient] = [
            await stack.enter_async_context(await PageClient.join(local)),
            await stack.enter_async_context(await PollingClient.join(local)),
            await stack.enter_async_context(await ContractClient.join(local)),
            await stack.enter_async_context(await ColabClient.join(local)),
        ]
        for each in stalled:
            each.stall()
        asleep = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
        asleep.wait_for_text("[0] 0:")
        os.kill(asleep.process.pid, signal.SIGSTOP)
        page = visitors.pages["WebSocket"]
        await page.type(f"{sys.executable} {flood}\r")
        await page.shows("<none>")
        much = page.offset + 400_000
        await eventually(lambda: page.offset > much, "the flood runs")
        below = {p: n for p, n in tree(bridge.pid).items() if n not in ("tmux: server", "bash")}
        below = {p: n for p, n in below.items() if "python" not in n or "flood" not in argv(p)}
        assert {"sshd"} < set(below.values())
        agents = ngrok.alive()
        assert agents
        began = time.monotonic()
        if number == signal.SIGHUP:
            os.close(master)  # the terminal's end is what sends it
        else:
            bridge.process.send_signal(number)
        await eventually(lambda: bridge.process.poll() is not None, "the bridge has ended")
        took = time.monotonic() - began
        figure(f"{number.name} with stalled clients, ssh and a tunnel", seconds=took)
        assert bridge.process.returncode == 0, bridge.log
        assert took < STOP_S
        os.kill(asleep.process.pid, signal.SIGCONT)
        await visitors.told(began, close_code=1001)
        assert {page.exit["reason"] for page in visitors.pages.values()} == {"closing"}
        await eventually(
            lambda: not [p for p in below if is_running(p)], "nothing of it runs any more"
        )
        assert ngrok.alive() == []
        assert not is_open(port)
    if number == signal.SIGTERM:
        os.close(master)
    assert "Traceback" not in bridge.log
    assert tmux("has-session", "-t", "=0") == "", "the session lives on"
    tmux("send-keys", "-t", "=0:", "q")


def argv(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def owner(bridge: RunningBridge) -> RunningBridge:
    """Return a bridge behind a tunnel as its owner on the same machine reaches it."""
    made = RunningBridge.__new__(RunningBridge)
    made.__dict__.update(bridge.__dict__)
    status = bridge.control.status()
    made.port = status.port
    made.address = f"http://127.0.0.1:{status.port}/"
    made.host = f"127.0.0.1:{status.port}"
    made.token = TOKEN
    return made


async def test_sigkill_of_the_bridge_leaves_the_tmux_session_and_nothing_else(
    start_bridge: StartBridge,
    tmux: Tmux,
    ssh: Ssh,
    start_on_pty: StartOnPty,
    tmp_path: Path,
    figure: Figure,
) -> None:
    ngrok = install_fake_ngrok(tmp_path)
    bridge = start_bridge(
        *ssh.options,
        "--ngrok",
        "--record",
        str(tmp_path / "it.cast"),
        env=ngrok.env | {"TTYBRIDGE_TOKEN": TOKEN},
    )
    local, port = owner(bridge), ssh_address(bridge)[0]
    public = Behind(bridge, ngrok.port).port_of(bridge.link)
    async with AsyncExitStack() as stack:
        visitors = Visitors(stack, local)
        login = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
        login.wait_for_text("[0] 0:")
        await visitors.join(login)
        await visitors.pages["polling"].type("kept=here; echo $kept-now\r")
        await visitors.pages["polling"].shows("here-now")
        command = start_on_pty(ssh.command(bridge, "bridge", "echo $$; exec sleep 300"), env=CLIENT)
        await eventually(lambda: "sleep" in tree(bridge.pid).values(), "the command runs")
        assert command.process.poll() is None
        below = {p: n for p, n in tree(bridge.pid).items() if n not in ("tmux: server", "bash")}
        assert {"sshd", "sleep"} <= set(below.values())
        agents = ngrok.alive()
        assert agents
        assert is_open(public)
        began = time.monotonic()
        bridge.process.kill()
        await eventually(
            lambda: not any(is_running(pid) for pid in (bridge.pid, *below, *agents)),
            lambda: f"all have ended, not {[argv(p) for p in below if is_running(p)]}",
        )
        took = time.monotonic() - began
        figure("kill -9 of the bridge, until nothing is left", seconds=took)
        assert took < TOLD_S
        assert [p for p in (port, local.port, public) if is_open(p)] == [], "an open door"
    bridge.process.wait()
    assert tmux("has-session", "-t", "=0") == ""
    await eventually(lambda: tmux.clients() == [], "no client is left")
    tmux("send-keys", "-t", "=0:", "echo still-$kept", "Enter")
    await eventually(lambda: "still-here" in tmux.screen(), "the session goes on")


# A bridge that comes back -------------------------------------------------------------------------


async def came_back(lost: PageClient, bridge: RunningBridge) -> PageClient:
    """Try to come back, as the page does, until the bridge is there again."""
    while True:
        try:
            return await type(lost).join(bridge, resume=lost)
        except (aiohttp.ClientError, OSError):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_clients_come_back_by_themselves_to_a_bridge_on_the_same_port(
    start_bridge: StartBridge,
    tmux: Tmux,
    ssh: Ssh,
    start_on_pty: StartOnPty,
    figure: Figure,
    number: signal.Signals,
) -> None:
    token = {"TTYBRIDGE_TOKEN": TOKEN}
    bridge = start_bridge(*ssh.options, env=token)
    port, ssh_port = bridge.port, ssh_address(bridge)[0]
    options = [*ssh.options, "--port", str(port)]
    options[options.index("--ssh-port") + 1] = str(ssh_port)
    async with AsyncExitStack() as stack, new_session() as session:
        clients = {
            "WebSocket": await stack.enter_async_context(await PageClient.join(bridge)),
            "polling": await stack.enter_async_context(await PollingClient.join(bridge)),
        }
        login = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
        login.wait_for_text("[0] 0:")
        await clients["WebSocket"].type("kept=here\r")
        cookie = await sign_in(session, bridge)
        assert await status_with(session, bridge, cookie) == 200
        assert bridge.stop(number) == (0 if number == signal.SIGTERM else -number)
        login.wait()
        back = {name: asyncio.create_task(came_back(c, bridge)) for name, c in clients.items()}
        await asyncio.sleep(0)
        began = time.monotonic()
        again = await asyncio.to_thread(start_bridge, *options, env=token)
        up = time.monotonic()
        assert again.port == port
        for name, task in back.items():
            client = await stack.enter_async_context(await task)
            assert not client.joined["resumed"]
            await client.type(f"echo {name}-$kept\r")
            await client.shows(f"{name}-here")
            figure(
                f"restart after {number.name}, {name}",
                seconds=time.monotonic() - up,
                start_seconds=up - began,
            )
        assert await status_with(session, again, cookie) == 200
        terminal = start_on_pty(ssh.command(again, "bridge"), env=CLIENT)
        terminal.wait_for_text("-here")
        assert again.stop() == 0
        # Another token: what was signed with the one before is worth nothing.
        other = start_bridge(*options, env={"TTYBRIDGE_TOKEN": TOKEN[::-1]})
        assert other.port == port
        assert await status_with(session, other, cookie) == 401
        for kind in (PageClient, PollingClient):
            with pytest.raises((aiohttp.ClientError, OSError), match="401"):
                await kind.join(again)


async def sign_in(session: aiohttp.ClientSession, bridge: RunningBridge) -> str:
    """Sign in as a browser does; return the cookie."""
    async with session.post(
        f"{bridge.address}login",
        data={"token": bridge.token},
        headers={"Origin": bridge.address.rstrip("/")},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
        return answer.headers["Set-Cookie"].partition(";")[0]


async def status_with(session: aiohttp.ClientSession, bridge: RunningBridge, cookie: str) -> int:
    """Return the status of the page for the holder of a cookie."""
    async with session.get(bridge.address, headers={"Cookie": cookie}) as answer:
        return answer.status


async def test_a_port_that_is_taken_ends_the_start_and_harms_nobody(
    start_bridge: StartBridge, tmux: Tmux, figure: Figure
) -> None:
    bridge = start_bridge()
    async with await PageClient.join(bridge) as client:
        began = time.monotonic()
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "ttybridge", "--port", str(bridge.port), "-S", str(tmux.socket)],
            capture_output=True,
            text=True,
            timeout=20,
            env=clean_environment(PYTHONPATH=str(ROOT)),
        )
        figure("port taken", seconds=time.monotonic() - began, status=done.returncode)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1)
        assert f"Port {bridge.port} is taken" in done.stderr
        await client.type("echo still-$((1))\r")
        await client.shows("still-1")


# A tunnel that dies -------------------------------------------------------------------------------


async def test_a_killed_agent_harms_nobody_here_and_its_new_name_replaces_the_old_one(
    start_bridge: StartBridge, tmp_path: Path, figure: Figure
) -> None:
    ngrok = install_fake_ngrok(tmp_path)
    bridge = start_bridge("--ngrok", env=ngrok.env | {"TTYBRIDGE_TOKEN": TOKEN})
    local = owner(bridge)
    behind = Behind(bridge, ngrok.port)
    old = urlsplit(bridge.link).netloc
    async with await PageClient.join(local) as client, new_session() as session:
        assert await host_status(session, local, old) == 401  # known, and nobody has signed in
        slowest, count = 0.0, 0
        (agent,) = ngrok.alive()
        began = time.monotonic()
        os.kill(agent, signal.SIGKILL)
        while not bridge.more:
            assert time.monotonic() - began < 60, bridge.log
            asked, count = time.monotonic(), count + 1
            await client.type(f"echo e{count}-$((1))\r")
            await client.shows(f"e{count}-1")
            slowest = max(slowest, time.monotonic() - asked)
            await asyncio.sleep(0.02)
        took = time.monotonic() - began
        new = urlsplit(bridge.more[0].strip()).netloc
        assert new != old
        assert await host_status(session, local, old) == 421
        assert await host_status(session, local, new) == 401
        await behind.enter(session, bridge.more[0].strip())
        figure("tunnel agent killed, new name", seconds=took, slowest_local_echo_seconds=slowest)
        told = [args[0]["text"] for name, args in client.events if name == "notice"]
        assert any("is lost" in text for text in told), told
        assert any(f"https://{new}/" in text for text in told), told
        assert slowest < 2
        assert not client.closed.is_set()
    assert not is_running(agent)
    assert "Traceback" not in bridge.log


async def host_status(session: aiohttp.ClientSession, local: RunningBridge, host: str) -> int:
    """Return the status of a request with this Host."""
    async with session.get(local.address, headers={"Host": host}) as answer:
        return answer.status
