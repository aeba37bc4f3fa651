"""What happens while a client is away, and when the bridge starts where others are."""

import contextlib
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import StartBridge, Tmux, clean_environment
from tests.e2e.raw_client import PageClient, eventually


async def test_a_command_that_ends_during_a_cut_is_told_when_the_client_comes_back(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = f"echo ready; until [ -e {go} ]; do sleep 0.05; done; seq 1 1000; exit 5"
    bridge = start_bridge(command=["sh", "-c", script])
    async with await PageClient.join(bridge) as client:
        await client.shows("ready")
        client.cut()
        await eventually(lambda: "lost its connection" in bridge.log, "the bridge knows of the cut")
        go.touch()
        await eventually(lambda: "waiting up to" in bridge.log, "the bridge waits for the client")
        async with await PageClient.join(bridge, resume=client) as again:
            await eventually(lambda: again.exit, "the end")
            assert again.joined["resumed"]
            assert again.resets == []
            assert bytes(again.output) == b"".join(b"%d\r\n" % n for n in range(1, 1001))
            assert again.exit["exitCode"] == 5
    assert bridge.wait() == 5


async def test_ctrl_c_ends_the_wait_for_a_lost_client(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    bridge = start_bridge(
        command=["sh", "-c", f"echo ready; until [ -e {go} ]; do sleep 0.05; done; exit 6"]
    )
    async with await PageClient.join(bridge) as client:
        await client.shows("ready")
        client.cut()
        await eventually(lambda: "lost its connection" in bridge.log, "the bridge knows of the cut")
        go.touch()
        await eventually(lambda: "waiting up to" in bridge.log, "the bridge waits for the client")
    assert bridge.stop() == 6


async def test_the_smallest_backlog_and_a_large_window_lose_nothing(
    start_bridge: StartBridge,
) -> None:
    command = ["sh", "-c", "read go; seq 1 200000; echo that was all; read x"]
    bridge = start_bridge("--backlog", "64K", "--window", "4M", command=command)
    async with await PageClient.join(bridge) as client:
        await client.type("\r")
        await eventually(lambda: client.offset > 300_000, "some output")
        client.cut()
        client.offset = 1000  # as if the rest had been on the line
        async with await PageClient.join(bridge, resume=client) as again:
            await again.shows("that was all")
            assert again.resets == []
            whole = b"\r\n" + b"".join(b"%d\r\n" % n for n in range(1, 200_001))
            assert bytes(again.output) == whole[1000:] + b"that was all\r\n"


def test_the_next_free_port_is_taken_when_none_is_asked_for(
    start_bridge: StartBridge,
) -> None:
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # somebody else has it: just as good
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        first = start_bridge(any_port=False)
        second = start_bridge("--session", "another", any_port=False)
        assert 8080 < first.port < second.port <= 8130


def test_a_port_that_was_asked_for_and_is_taken_ends_the_start(tmux: Tmux) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "ttybridge", "--port", port, "-S", str(tmux.socket)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, env=clean_environment()
        )
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"Port {port} is taken" in done.stderr
    assert "--port" in done.stderr
