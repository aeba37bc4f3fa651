"""The unmodified `colab console` of google-colab-cli 0.7.5, in a pty and in a pipe."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

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
from tests.e2e.clients.program import END, lines_of, poured
from tests.e2e.conftest import OnPty, StartOnPty, pane_size, program

COLAB = ROOT / ".venv-colab/bin/colab"

pytestmark = [
    pytest.mark.colab_cli,
    pytest.mark.skipif(
        not COLAB.exists(), reason="no colab command line (.venv-colab, made by scripts/setup.sh)"
    ),
]

PROMPT_END_S = 8.0
"""Time for the command to end when the shell has ended, its own 1 s included. Its WebSocket library
waits 10 s for a server that does not close the connection first."""

CONSOLE = [str(COLAB), "console", "-s", "loc"]


def colab_environment(home: Path, bridge: RunningBridge, *, token: str = "") -> dict[str, str]:
    """Write the session store of a home and return the environment for the command."""
    folder = home / ".config/colab-cli"
    folder.mkdir(parents=True)
    session = {
        "name": "loc",
        "token": token or bridge.token,
        "url": f"http://{bridge.host}",
        "endpoint": "local",
        # Without it, the command asks Google for a new token first.
        "token_expires_at": "2099-01-01T00:00:00Z",
    }
    (folder / "sessions.json").write_text(json.dumps({"loc": session}))
    (folder / "settings.json").write_text(json.dumps({"enable_update_check": False}))
    return clean_environment(HOME=str(home), TERM="xterm-256color", PYTHONPATH="")


StartConsole = Callable[..., OnPty]


@pytest.fixture
def start_console(start_on_pty: StartOnPty, tmp_path: Path) -> StartConsole:
    """Start `colab console` in a terminal of 100 columns and 30 rows."""

    def start(bridge: RunningBridge, *, token: str = "") -> OnPty:
        env = colab_environment(tmp_path / "colab", bridge, token=token)
        return start_on_pty(CONSOLE, env=env, cols=100, rows=30)

    return start


def test_it_attaches_types_resizes_and_ends_with_the_shell(
    start_bridge: StartBridge, start_console: StartConsole, tmux: Tmux
) -> None:
    console = start_console(start_bridge())
    console.wait_for_text("[0] 0:")  # tmux's status line
    console.type(b"echo mark-$((6*7))\r")
    console.wait_for_text("mark-42")
    # The status line takes one row.
    wait_until(lambda: pane_size(tmux) == "29 100", "the size of the terminal")
    console.resize(90, 25)
    wait_until(lambda: pane_size(tmux) == "24 90", "the new size")
    console.type(b"exit\r")
    console.wait_for_text("Connection closed.", deadline_s=PROMPT_END_S)
    assert console.wait(PROMPT_END_S) == 0


@pytest.mark.slow
def test_20_megabytes_of_a_direct_command_arrive_exactly(
    start_bridge: StartBridge, start_console: StartConsole
) -> None:
    lines = lines_of(20_000_000)
    bridge = start_bridge(command=program("pour", lines))
    console = start_console(bridge)
    console.wait_for_text("READY")
    console.start_anew()
    console.type(b"g")
    wanted = poured(lines) + END
    try:
        wait_until(lambda: console.tail.endswith(END.decode()), "all output", deadline_s=60)
    except pytest.fail.Exception as error:
        pytest.fail(f"{error}: stalled after {console.size_bytes} of {len(wanted)} bytes")
    assert console.received == wanted
    console.type(b"q")
    console.wait_for_text("Connection closed.", deadline_s=PROMPT_END_S)
    assert console.wait(PROMPT_END_S) == 0
    assert bridge.wait() == 0


def test_20_megabytes_in_tmux_end_with_their_last_line(
    start_bridge: StartBridge, start_console: StartConsole, tmp_path: Path
) -> None:
    file = tmp_path / "much"
    file.write_bytes(poured(lines_of(20_000_000)))
    console = start_console(start_bridge())
    console.wait_for_text("[0] 0:")
    console.type(f"cat {file}; echo mark-$((6*7))\r".encode())
    console.wait_for_text("mark-42", deadline_s=60)
    console.type(b"echo mark-$((6*8))\r")
    console.wait_for_text("mark-48")


def test_a_paste_of_one_frame_a_character_arrives_exactly(
    start_bridge: StartBridge, start_console: StartConsole, tmp_path: Path
) -> None:
    file = tmp_path / "pasted"
    console = start_console(start_bridge(command=program("save", file)))
    console.wait_for_text("READY")
    text = poured(lines_of(10_000))
    console.type(text + b"\x04")
    console.wait_for_text("saved")
    assert file.read_bytes() == text


def test_it_finds_a_bridge_below_a_path(
    start_bridge: StartBridge, start_console: StartConsole, tmux: Tmux
) -> None:
    # The command takes host and port of an address and drops its path.
    start_console(start_bridge("--base-path", "/deep/path"))
    wait_until(tmux.clients, "the tmux client of the command")


def test_arrow_keys_reach_a_program_in_tmux_in_one_piece(
    start_bridge: StartBridge, start_console: StartConsole, tmux: Tmux, tmp_path: Path
) -> None:
    home = tmp_path / "home"  # where the bridge's tmux finds its configuration
    (home / ".tmux.conf").write_text("set -s escape-time 0\n")
    console = start_console(start_bridge())
    console.wait_for_text("[0] 0:")
    assert tmux("show", "-sv", "escape-time") == "0"
    python, script, name, _ = program("echo")
    console.type(f"clear; {python} {script} {name}\r".encode())
    console.wait_for_text("READY")
    typed, pieces = "", []
    for count in range(1, 21):
        console.type(b"\x1b[A")

        def arrived(count: int = count) -> bool:
            nonlocal typed, pieces
            screen = tmux.screen().replace("\n", "")
            pieces = re.findall(r"\[([0-9a-f]+)\]", screen.partition("READY")[2])
            typed = "".join(pieces)
            return len(typed) >= 6 * count

        wait_until(arrived, f"arrow {count}")
    assert typed == "1b5b41" * 20
    # The command sends three frames; a machine that is busy may hold it up between two of them.
    assert pieces.count("1b5b41") >= 15, pieces


def test_a_wrong_token_is_told_as_a_lost_session(
    start_bridge: StartBridge, start_console: StartConsole, tmux: Tmux
) -> None:
    console = start_console(start_bridge(), token="wrong-token")
    assert console.wait() == 1
    assert "lost (404/401)" in re.sub(r"\s+", " ", console.tail)
    assert tmux.clients() == []


def test_when_the_bridge_stops_it_ends_and_the_session_lives_on(
    start_bridge: StartBridge, start_console: StartConsole, tmux: Tmux
) -> None:
    bridge = start_bridge()
    console = start_console(bridge)
    console.wait_for_text("[0] 0:")
    assert bridge.stop() == 0
    assert console.wait(PROMPT_END_S) == 0
    assert "Connection closed." in console.tail
    tmux("has-session", "-t", "=0")


def test_commands_from_a_pipe_are_run(
    start_bridge: StartBridge, tmp_path: Path, tmux: Tmux
) -> None:
    bridge = start_bridge()
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            CONSOLE,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=colab_environment(tmp_path / "colab", bridge),
        )
    assert process.stdin is not None
    try:
        process.stdin.write("echo mark-$((6*7)) é😀\n".encode())
        process.stdin.flush()
        wait_until(lambda: "mark-42 é😀" in output.read_text(), "the output")
        process.stdin.close()  # the command types `exit` for the pipe
        closed = time.monotonic()
        assert process.wait(DEADLINE_S) == 0
        assert time.monotonic() - closed < PROMPT_END_S
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
    assert output.read_text().endswith("Connection closed.\n")
    assert tmux("list-sessions", check=False) == ""
