"""What goes wrong around the bridge: signals that a parent ignores, a hung tmux, a lost folder."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import (
    DEADLINE_S,
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
    wait_until,
)
from tests.e2e.hostile import HELLO, PageClient, Watched, eventually, session_of, tty
from ttybridge.adapters.tmux_control import TmuxControl
from ttybridge.core.environment import pty_environment
from ttybridge.core.tmux import Target
from ttybridge.errors import TerminalError

HANGING_S = 15.0
"""Longest time to stop beside a tmux server that does not answer, in seconds."""


def ignore_and_block() -> None:
    """Do to a child what a careless parent does; runs between fork and exec."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    blocked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)


class Server:
    """The test's tmux server, with a session, which can be stopped and goes on afterwards."""

    def __init__(self, tmux: Tmux) -> None:
        self.pid = int(tmux("display-message", "-p", "#{pid}"))

    def hang(self) -> None:
        """Stop it; who connects waits for ever."""
        os.kill(self.pid, signal.SIGSTOP)
        path = Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: path.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")

    def go_on(self) -> None:
        """Let it answer again."""
        os.kill(self.pid, signal.SIGCONT)


@pytest.fixture
def server(tmux: Tmux) -> Iterator[Server]:
    tmux("new-session", "-d", "-s", "0", env=clean_environment())
    server = Server(tmux)
    yield server
    server.go_on()


class Starting:
    """A bridge that is not up yet, and may never be."""

    def __init__(self, *options: str, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ttybridge", "-v", "--port", "0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(HOME=str(cwd), PYTHONPATH=str(ROOT)),
            cwd=cwd,
            # The test run itself may have been started with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait(self, deadline_s: float) -> tuple[int, str, str]:
        """Return its status, its stdout and its stderr; it must end in time."""
        try:
            out, err = self.process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            pytest.fail(f"it did not end within {deadline_s} s:\n{out}{err}")
        return self.process.returncode, out, err


# Signals ------------------------------------------------------------------------------------------


async def test_a_tmux_session_is_shared_where_the_parent_ignores_and_blocks_signals(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge(preexec_fn=ignore_and_block)
    async with session_of(bridge) as session:
        client = await PageClient.join(session, bridge)
        await client.echo()
        await client.close()
        await eventually(lambda: not Watched(bridge.pid).children, "the tmux client is reaped")
    assert bridge.stop(signal.SIGTERM) == 0
    wait_until(lambda: "lives on" in bridge.log, "the goodbye")
    assert tmux("has-session", "-t", "=0") == ""
    assert "Traceback" not in bridge.log


@pytest.mark.parametrize("status", [0, 7])
async def test_a_command_is_served_to_its_end_where_the_parent_ignores_and_blocks_signals(
    start_bridge: StartBridge, status: int
) -> None:
    command = ["sh", "-c", f"echo ready; read -r x; exit {status}"]
    bridge = start_bridge(command=command, preexec_fn=ignore_and_block)
    async with session_of(bridge) as session:
        client = await PageClient.join(session, bridge)
        await client.until_shown(b"ready")
        await client.type("\r")
        await eventually(lambda: client.is_closed, "the client is told")
        assert any(event[0] == "exit" for event in client.events), client.events
        await client.cut()
    assert bridge.wait() == status
    assert "Traceback" not in bridge.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_blocked_signals_stop_a_command_all_the_same(
    start_bridge: StartBridge, number: signal.Signals
) -> None:
    bridge = start_bridge(command=["sleep", "1000"], preexec_fn=ignore_and_block)
    assert bridge.stop(number) == 0
    wait_until(lambda: "Stopped; the command was ended, too." in bridge.log, "the goodbye")


# A tmux server that hangs -------------------------------------------------------------------------


def control_of(tmux: Tmux, deadline_s: float) -> TmuxControl:
    return TmuxControl(
        Target(socket_path=str(tmux.socket)),
        environment=pty_environment(os.environb, cwd=b"/"),
        cwd="/",
        deadline_s=deadline_s,
    )


def held() -> tuple[int, int, list[str]]:
    """Return the numbers of descriptors and threads, and the tasks but the current one."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]
    return len(list(Path("/proc/self/fd").iterdir())), len(threads), [str(task) for task in tasks]


@pytest.mark.parametrize("size_bytes", [0, 1_000_000])
async def test_a_command_to_a_hung_server_ends_at_its_deadline_and_leaves_nothing(
    tmux: Tmux, server: Server, size_bytes: int
) -> None:
    control = control_of(tmux, deadline_s=0.5)
    argv = control.target.source_stdin() if size_bytes else control.target.has_session()
    before = held()
    assert (await control.run(argv)).status == 0
    await eventually(lambda: held() == before, f"back at {before} after an answer")
    server.hang()
    async with asyncio.timeout(10):
        with pytest.raises(TerminalError, match=r"did not answer within .* `tmux kill-server`"):
            await control.run(argv, b"#" * size_bytes)
    await eventually(lambda: held() == before, f"back at {before}")
    server.go_on()
    assert await control_of(tmux, deadline_s=20).has_session()


async def test_a_command_that_is_cancelled_is_killed_and_leaves_nothing(
    tmux: Tmux, server: Server
) -> None:
    control = control_of(tmux, deadline_s=100)
    assert await control.has_session()
    before, children = held(), Watched(os.getpid()).children
    server.hang()
    task = asyncio.create_task(control.has_session())
    await eventually(lambda: Watched(os.getpid()).children != children, "the command runs")
    task.cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert Watched(os.getpid()).children == children
    await eventually(lambda: held() == before, f"back at {before}")


async def test_a_command_may_be_cancelled_at_any_moment_of_its_start(
    tmux: Tmux, server: Server
) -> None:
    control = control_of(tmux, deadline_s=100)
    assert await control.has_session()
    before, children = held(), Watched(os.getpid()).children
    server.hang()
    for turns in range(12):
        task = asyncio.create_task(control.has_session())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), turns
    assert Watched(os.getpid()).children == children
    await eventually(lambda: held() == before, f"back at {before}")


@pytest.mark.slow
def test_a_start_beside_a_hung_server_ends_with_status_4(
    tmux: Tmux, server: Server, tmp_path: Path
) -> None:
    server.hang()
    starting = Starting("--socket-path", str(tmux.socket), cwd=tmp_path)
    status, out, err = starting.wait(25)
    assert (status, out) == (4, "")
    assert "did not answer within 10 s. If its server hangs, end it" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_start_beside_a_hung_server_at_once(
    tmux: Tmux, server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    server.hang()
    starting = Starting("--socket-path", str(tmux.socket), cwd=tmp_path)
    asks = "has-session -t =0"
    clients: list[int] = []

    def asked() -> bool:
        clients[:] = Watched(starting.process.pid).children
        return any(asks in command_line(pid) for pid in clients)

    wait_until(asked, "tmux is asked")
    started = time.monotonic()
    starting.process.send_signal(number)
    status, out, err = starting.wait(20)
    assert time.monotonic() - started < 8, "it did not wait for the deadline of 10 s"
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == "Stopped before it was up."
    assert "Traceback" not in err
    assert not any(asks in command_line(pid) for pid in clients)


def command_line(pid: int) -> str:
    """Return a process's command line, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
async def test_stopping_beside_a_hung_server_takes_less_than_fifteen_seconds(
    start_bridge: StartBridge, server: Server, signals: int
) -> None:
    bridge = start_bridge()
    async with session_of(bridge) as session:
        client = await PageClient.join(session, bridge)
        await client.echo()
        server.hang()
        started = time.monotonic()
        bridge.process.send_signal(signal.SIGINT)
        await eventually(lambda: client.is_closed, "the client is told")
        await client.cut()
        asks = "has-session -t =0"
        await eventually(
            lambda: any(asks in command_line(pid) for pid in Watched(bridge.pid).children),
            "tmux is asked whether the session lives on",
        )
        if signals == 2:
            bridge.process.send_signal(signal.SIGINT)
        assert bridge.wait() == 0
    assert time.monotonic() - started < HANGING_S
    why = "tmux was not asked." if signals == 2 else "tmux did not answer within 5 s."
    goodbye = f"Stopped. Whether the tmux session lives on is not known: {why}"
    wait_until(lambda: goodbye in bridge.log, "the goodbye")
    assert "Traceback" not in bridge.log


# A folder that is removed -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--exclusive",)])
async def test_joining_and_the_goodbye_need_no_working_directory(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path, options: tuple[str, ...]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    bridge = start_bridge(*options, "--cwd", str(folder), cwd=folder)
    folder.rmdir()
    async with session_of(bridge) as session:
        client = await PageClient.join(session, bridge)
        await client.echo()
        await client.close()
    assert bridge.stop() == 0
    wait_until(lambda: "lives on: tmux" in bridge.log, "the goodbye")
    assert tmux("has-session", "-t", "=0") == ""


async def test_a_new_session_is_refused_with_the_reason_where_the_folder_is_gone(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    bridge = start_bridge("--cwd", str(folder), cwd=folder)
    tmux("new-session", "-d", "-s", "other")  # the server lives on
    folder.rmdir()
    tmux("kill-session", "-t", "=0")
    async with session_of(bridge) as session:
        refused = await refusal(session, bridge)
        assert f"The working directory {str(folder)!r} is not a folder." in refused
        folder.mkdir()
        client = await PageClient.join(session, bridge)
        await client.echo()
        await client.close()


async def refusal(session: aiohttp.ClientSession, bridge: RunningBridge) -> str:
    """Try to join and return the packet that refuses it."""
    async with session.ws_connect(tty(bridge)) as socket, asyncio.timeout(DEADLINE_S):
        await socket.send_str(HELLO)
        async for message in socket:
            if isinstance(message.data, str) and message.data.startswith("44"):
                return message.data
    pytest.fail("it was not refused")


async def test_the_goodbye_says_why_it_does_not_know_whether_the_session_lives_on(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    program = tmp_path / "my-tmux"
    program.symlink_to(shutil.which("tmux") or "tmux")
    bridge = start_bridge("--tmux", str(program))
    program.unlink()
    assert bridge.stop() == 0
    goodbye = f"Stopped. Whether the tmux session lives on is not known: {program} was not found."
    wait_until(lambda: goodbye in bridge.log, "the goodbye")


@pytest.mark.parametrize("command", [(), ("--", "true")])
def test_starting_in_a_folder_that_is_gone_is_an_error_that_says_so(
    tmux: Tmux, tmp_path: Path, command: tuple[str, ...]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    argv = [sys.executable, "-m", "ttybridge", "--port", "0", "--socket-path", str(tmux.socket)]
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *argv[: 5 if command else 7], *command],
        env=clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "The current folder has been removed." in done.stderr
    assert "Traceback" not in done.stderr


# The goodbye --------------------------------------------------------------------------------------


def test_the_command_of_the_goodbye_is_quoted_for_zsh(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge()
    assert bridge.stop() == 0
    command = f"lives on: tmux -S {tmux.socket} attach -t '=0'\n"
    wait_until(lambda: command in bridge.log, "the goodbye")
