"""Direct commands: everybody on one pty, the log for late joiners, and the end for everyone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import (
    RESERVED_SIGNALS,
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
)
from tests.e2e.raw_client import ColabClient, ContractClient, PageClient, eventually
from ttybridge.core.stream import least_log_bytes

SEQ = 200_000
"""Last number that the flood prints: 1.5 MB, more than a window and all buffers hold."""

TELLS_SIZE = """
import os, signal, time
def tell(*_args):
    size = os.get_terminal_size()
    print(size.lines, size.columns, flush=True)
signal.signal(signal.SIGWINCH, tell)
tell()
while True:
    time.sleep(1)
"""
"""A program that prints the window size, and again whenever it changes."""


def numbers(last: int) -> bytes:
    """Return what `seq 1 last` prints on a pty."""
    return b"".join(b"%d\r\n" % n for n in range(1, last + 1))


def children(bridge: RunningBridge) -> list[int]:
    """Return the pids of a bridge's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2]
            except OSError:
                continue
            if int(after_name.split()[1]) == bridge.pid:
                found.append(int(entry.name))
    return found


def open_files(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def blocks_in_write(pid: int) -> bool:
    """Tell whether a process has waited in `write` for a while: its output is not being read."""
    seen = set()
    for _ in range(10):
        try:
            seen.add(Path(f"/proc/{pid}/syscall").read_text())
        except OSError:
            return False
        time.sleep(0.01)
    return len(seen) == 1 and next(iter(seen)).startswith("1 0x1 ")


Render = Callable[[bytes, int, int], str]


@pytest.fixture
def render(tmux: Tmux, tmp_path: Path) -> Render:
    """Show bytes on a real terminal (a tmux pane) and return what can be read there."""

    def show(data: bytes, cols: int, rows: int) -> str:
        file = tmp_path / "shown"
        file.write_bytes(data)
        script = f"stty raw -echo; cat {file}; tmux -S {tmux.socket} wait-for -S shown; sleep 60"
        size = ("-x", str(cols), "-y", str(rows))
        no_status = ("start-server", ";", "set-option", "-g", "status", "off", ";")
        tmux(*no_status, "new-session", "-d", "-s", "shown", *size, script)
        tmux("wait-for", "shown")
        screen = tmux.screen("=shown:")
        tmux("kill-session", "-t", "=shown")
        return screen

    return show


async def test_the_exit_code_reaches_every_entrance_and_the_bridges_own_status(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=["sh", "-c", "echo ready; read x; exit 7"])
    async with (
        await PageClient.join(bridge) as page,
        await ContractClient.join(bridge) as newer,
        await ContractClient.join(bridge, older=True) as older,
        await ColabClient.join(bridge) as colab,
    ):
        for client in (page, newer, older, colab):
            await client.shows("ready")
        await page.type("\r")
        for client in (page, newer, older, colab):
            await client.ended()
        assert (page.exit["exitCode"], page.exit["signal"]) == (7, 0)
        assert (page.exit["reason"], page.exit["restart"]) == ("exited", False)
        assert newer.exit == older.exit == {"exitCode": 7, "signal": 0}
        assert colab.close_code == 1000
    assert bridge.wait() == 7


async def test_the_signal_that_ends_a_command_reaches_clients_and_the_status(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=["sh", "-c", "echo ready; read x; kill -9 $$"])
    async with (
        await PageClient.join(bridge) as page,
        await ContractClient.join(bridge) as contract,
    ):
        await page.shows("ready")
        await page.type("\r")
        await page.ended()
        await contract.ended()
        assert (page.exit["exitCode"], page.exit["signal"]) == (0, 9)
        assert page.exit["reason"] == "killed"
        assert contract.exit == {"exitCode": 0, "signal": 9}
    assert bridge.wait() == 128 + 9


async def test_the_last_output_before_the_end_is_complete_at_every_entrance(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=["sh", "-c", f"read x; exec seq 1 {SEQ}"])
    async with (
        await PageClient.join(bridge) as page,
        await ContractClient.join(bridge) as newer,
        await ContractClient.join(bridge, older=True) as older,
        await ColabClient.join(bridge) as colab,
    ):
        await page.type("\r")
        for client in (page, newer, older, colab):
            await client.ended()
        expected = b"\r\n" + numbers(SEQ)  # the terminal's echo of Enter first
        assert page.exit["exitCode"] == 0
        for client in (page, newer, older, colab):
            assert bytes(client.output) == expected, type(client).__name__
    assert bridge.wait() == 0


async def test_output_that_ends_in_a_cut_character_is_complete_at_every_entrance(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=["sh", "-c", r"read x; printf 'the end\342\202'"])
    async with (
        await PageClient.join(bridge) as page,
        await ContractClient.join(bridge) as newer,
        await ContractClient.join(bridge, older=True) as older,
        await ColabClient.join(bridge) as colab,
    ):
        await page.type("\r")
        for client in (page, newer, older, colab):
            await client.ended()
        assert bytes(page.output) == b"\r\nthe end\xe2\x82"
        for text in (newer, older, colab):
            assert text.output.decode() == "\r\nthe end\ufffd", type(text).__name__
        assert newer.exit == older.exit == {"exitCode": 0, "signal": 0}
    assert bridge.wait() == 0


class Forgetful(ContractClient):
    """A client of the older form that never acknowledges."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.messages = 0

    async def on_ack_wanted(self, number: str) -> None:
        """Count, and say nothing."""
        self.asked += 1

    async def on_event(self, name: str, args: list[Any]) -> None:
        """Count messages."""
        self.messages += 1
        await super().on_event(name, args)


async def test_an_older_client_that_never_acknowledges_is_asked_a_bounded_number_of_times(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=["sh", "-c", "read x; exec seq 1 1000000"])
    async with await Forgetful.join(bridge, older=True) as client:
        await client.send(data="\r")
        await client.ended()
        assert client.messages > 100
        assert client.asked == 64
        assert bytes(client.output) == b"\r\n" + numbers(1_000_000)
        assert client.exit == {"exitCode": 0, "signal": 0}


async def types_much(bridge: RunningBridge) -> int | None:
    """Type 18 MB, and return the code with which the connection is ended for it, if it is."""
    async with await ColabClient.join(bridge) as client:
        await client.send(cols=200, rows=60)
        for _ in range(36):
            with suppress(ConnectionError):
                await client.send(data="x" * 500_000)
        await client.socket.close()  # is answered after what was sent before has been looked at
        code = client.socket.close_code
        return None if code == 1000 else code


async def types_on(client: PageClient, rows: int) -> None:
    """Type more than a pty takes, and see that what is said next is still heard."""
    for _ in range(3):
        await client.type("y" * 8000)
    await client.resize(70, rows)  # the smallest of all, so everybody is told
    await eventually(lambda: (70, rows) in client.sizes or client.closed.is_set(), "an answer")
    assert not client.closed.is_set()


async def test_a_client_that_types_too_much_is_cut_off_and_takes_nobody_with_it(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=["sh", "-c", "stty raw -echo; echo ready; exec sleep 300"])
    async with await PageClient.join(bridge) as page:
        await page.shows("ready")
        rows = iter(range(23, 0, -1))
        await types_on(page, next(rows))
        # Two fill all the room that there is: what the third types is dropped.
        for code in (1003, 1003, None):
            assert await types_much(bridge) == code
            await types_on(page, next(rows))
            async with await PageClient.join(bridge) as newcomer:
                await types_on(newcomer, next(rows))
                await newcomer.leave()


async def test_a_late_joiner_gets_everything_from_the_log(start_bridge: StartBridge) -> None:
    bridge = start_bridge(command=["sh", "-c", "seq 1 20000; echo done; read x"])
    async with await PageClient.join(bridge) as first:
        await first.shows("done")
        async with await PageClient.join(bridge) as late, await ColabClient.join(bridge) as colab:
            await late.shows("done")
            await colab.shows("done")
            assert late.resets == []
            assert bytes(late.output) == bytes(colab.output) == numbers(20000) + b"done\r\n"


async def test_a_late_joiner_gets_whole_last_lines_when_the_log_was_trimmed(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(
        "--backlog", "64K", command=["sh", "-c", f"seq 1 {SEQ}; echo done; read x"]
    )
    async with await PageClient.join(bridge) as first:
        await first.shows("done")
        async with await PageClient.join(bridge) as late:
            await late.shows("done")
            [reset] = late.resets
            assert (reset["reason"], reset["hard"]) == ("replay", True)
            everything = numbers(SEQ) + b"done\r\n"
            assert everything.endswith(b"\n" + bytes(late.output))
            kept = least_log_bytes(late.joined["window"])  # more than was asked for
            assert kept - 4096 < len(late.output) <= kept


async def test_a_late_joiner_sees_an_alternate_screen_whose_start_was_trimmed(
    start_bridge: StartBridge, render: Render, tmp_path: Path
) -> None:
    if shutil.which("vim") is None:
        pytest.skip("vim is not installed")
    text = tmp_path / "text"
    text.write_text("".join(f"line {n} {'=' * 180}\n" for n in range(1, 4001)))
    vim = ["vim", "-N", "-u", "NONE", "-n", "-i", "NONE", text.name]
    bridge = start_bridge("--wait", "--backlog", "64K", "--window", "64K", command=vim)
    async with await PageClient.join(bridge, cols=200, rows=60) as first:
        await first.shows("line 50 ")
        for page in range(1, 41):  # forward, a screen each time: 11 KB
            await first.type("\x06")
            await first.shows(f"line {59 + 57 * page} ")
        assert first.offset > least_log_bytes(64 * 1024)
        async with await PageClient.join(bridge, cols=200, rows=60) as late:
            assert await eventually(lambda: late.resets, "a reset")
            await late.shows("\x1b[?1049h")
            await first.type(":echo 'the ' .. 'end'\r")
            for client in (first, late):
                await client.shows("the end")
            await eventually(lambda: first.offset == late.offset, "the same output")
            expected = render(bytes(first.output), 200, 60)
            assert "line 2330 " in expected
            assert render(bytes(late.output), 200, 60) == expected


async def test_a_waiting_command_starts_with_the_first_client_at_its_size(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    bridge = start_bridge("--wait", command=["sh", "-c", f"stty size; echo x > {mark}; read x"])
    assert children(bridge) == []
    assert not mark.exists()
    async with await PageClient.join(bridge, cols=101, rows=33) as page:
        await page.shows("33 101")
        async with await PageClient.join(bridge, cols=101, rows=33) as second:
            await second.shows("33 101")
        assert len(children(bridge)) == 1


async def test_a_waiting_command_that_goes_away_is_told_to_the_client(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    program = tmp_path / "goes-away"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    bridge = start_bridge("--wait", command=[str(program)])
    program.unlink()
    async with await PageClient.join(bridge) as page:
        assert page.refused is not None
        assert "goes-away" in page.refused["message"]
        assert page.refused["data"]["code"] == "unavailable"


async def test_the_window_is_as_large_as_the_smallest_client_and_everybody_is_told(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=[sys.executable, "-c", TELLS_SIZE])
    async with await PageClient.join(bridge, cols=120, rows=30) as large:
        await large.shows("30 120")
        async with await PageClient.join(bridge, cols=90, rows=40) as narrow:
            await large.shows("30 90")
            await eventually(lambda: (90, 30) in large.sizes, "the size")
            await eventually(lambda: (90, 30) in narrow.sizes, "the size")
            await narrow.resize(70, 20)
            await large.shows("20 70")
            await eventually(lambda: large.sizes[-1] == (70, 20), "the size")
            # A client whose line is lost takes no room, until it is back.
            narrow.cut()
            await eventually(lambda: large.sizes[-1] == (120, 30), "the full size")
            async with await PageClient.join(bridge, cols=70, rows=20, resume=narrow) as back:
                assert back.joined["resumed"]
                await eventually(lambda: large.sizes[-1] == (70, 20), "the size")
                await back.leave()
        await eventually(lambda: large.sizes[-1] == (120, 30), "the full size")


async def test_a_slow_client_pauses_the_pty_and_loses_nothing(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    last, done = 1_000_000, tmp_path / "done"
    bridge = start_bridge(command=["sh", "-c", f"read x; seq 1 {last}; echo x > {done}; read x"])
    async with await PageClient.join(bridge) as page:
        await page.type("\r")
        await page.shows("\r\n1000\r\n")
        page.stall()
        seq = await eventually(lambda: _child_of(children(bridge)[0]), "seq")
        await eventually(lambda: done.exists() or blocks_in_write(seq), "a paused pty")
        assert not done.exists(), "the pty was read although nobody took its output"
        page.go_on()
        await page.shows(f"\r\n{last}\r\n")
        assert page.resets == []
        assert bytes(page.output) == b"\r\n" + numbers(last)
        await page.type("\r")
        await page.ended()
    assert bridge.wait() == 0


def _child_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return 0


async def test_a_client_that_reads_nothing_delays_another_by_two_seconds_at_most(
    start_bridge: StartBridge,
) -> None:
    last = 600_000
    script = f"read x; seq 1 {last}; echo that was all; read x"
    bridge = start_bridge(command=["sh", "-c", script])
    async with await PageClient.join(bridge) as healthy, await PageClient.join(bridge) as stalled:
        stalled.stall()
        await healthy.type("\r")
        await healthy.shows("that was all")
        assert healthy.resets == []
        assert bytes(healthy.output) == b"\r\n" + numbers(last) + b"that was all\r\n"
        pauses = [b - a for a, b in zip(healthy.arrivals, healthy.arrivals[1:], strict=False)]
        assert max(pauses) < 2 + 1.5  # the rest is for a busy machine
        stalled.go_on()
        await stalled.shows("that was all")
        assert [r["reason"] for r in stalled.resets] == ["behind"]
        assert healthy.output.endswith(stalled.output)


async def test_a_process_left_behind_on_the_pty_does_not_hide_the_end(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    script = f"(trap '' HUP; echo $$; exec sleep 300) & echo $! > {left}; read x; echo bye; exit 3"
    bridge = start_bridge(command=["bash", "-c", script])
    try:
        async with await PageClient.join(bridge) as page:
            await page.type("\r")
            await page.ended()
            assert page.output.endswith(b"bye\r\n")
            assert (page.exit["exitCode"], page.exit["signal"]) == (3, 0)
        assert bridge.wait() == 3
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


def ignore_signals() -> None:
    """Ignore what `nohup COMMAND &` ignores; runs in the child."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


async def test_ctrl_c_and_broken_pipes_end_programs_below_a_bridge_that_ignores_them(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge(command=["bash", "--norc"], preexec_fn=ignore_signals)
    async with await PageClient.join(bridge) as page:
        await page.type("grep -E 'Sig(Ign|Blk)' /proc/self/status; echo shown-$((1))\r")
        await page.shows("shown-1")
        masks = re.findall(rb"Sig(?:Ign|Blk):\t([0-9a-f]{16})", page.output)
        assert [int(mask, 16) & ~RESERVED_SIGNALS for mask in masks] == [0, 0]
        # From a program of its own: between two of its commands, bash may keep a Ctrl-C to itself.
        await page.type("bash -c 'echo begin-$((1)); exec sleep 300'\r")
        await page.shows("begin-1")
        await page.type("\x03echo status-$?\r")
        await page.shows("status-130")
        await page.type("yes | head -1; echo pipe-${PIPESTATUS[0]}\r")
        await page.shows("pipe-141")
        assert b"Broken pipe" not in page.output


async def test_stopping_the_bridge_ends_the_command_even_one_that_ignores_hangups(
    start_bridge: StartBridge,
) -> None:
    script = "trap '' HUP TERM INT; echo ready; while :; do sleep 1; done"
    bridge = start_bridge(command=["bash", "-c", script])
    async with await PageClient.join(bridge) as page:
        await page.shows("ready")
        [pid] = children(bridge)
        bridge.process.send_signal(signal.SIGINT)
        await page.ended()
        assert page.exit["reason"] == "closing"
        assert bridge.wait() == 0
        assert not Path(f"/proc/{pid}").exists()
    assert "the command was ended" in bridge.log


@pytest.mark.parametrize(
    ("command", "word"),
    [("no-such-program-here", "no-such-program-here"), ("/etc/passwd", "/etc/passwd")],
)
def test_a_command_that_cannot_be_run_is_a_clear_error(
    command: str, word: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", "--port", "0", "--", command],
        env=clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("ttybridge: error: ")
    assert word in done.stderr
    assert "Traceback" not in done.stderr


async def test_ten_clients_come_and_go_and_leave_nothing_behind(start_bridge: StartBridge) -> None:
    bridge = start_bridge(command=["sh", "-c", "echo ready; read x"])
    async with await PageClient.join(bridge) as first:
        await first.shows("ready")
        before = open_files(bridge.pid)
        async with AsyncExitStack() as stack:
            for _ in range(5):
                page = await stack.enter_async_context(await PageClient.join(bridge))
                colab = await stack.enter_async_context(await ColabClient.join(bridge))
                await page.shows("ready")
                await colab.shows("ready")
                await page.leave()
        await eventually(lambda: open_files(bridge.pid) <= before, "descriptors closed")
        assert len(children(bridge)) == 1
