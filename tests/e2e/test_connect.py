"""`ttybridge connect` on a pty: what is typed and shown, rights, every way to end."""

import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import (
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
    wait_until,
)
from tests.e2e.conftest import OnPty, StartOnPty, pane_size
from tests.e2e.terminal_client import (
    COMMAND,
    RECORD,
    Connect,
    assert_restored,
    connecting,
    is_raw,
    settings,
    shown,
)
from ttybridge.client.people import Somebody


@pytest.fixture
def connect(tmp_path: Path, start_on_pty: StartOnPty) -> Connect:
    """Start the client on a pty, with a home of its own."""
    home = tmp_path / "client"
    home.mkdir()
    return connecting(home, start_on_pty)


def test_what_is_typed_and_shown_and_the_window_size_are_the_sessions(
    start_bridge: StartBridge, connect: Connect, tmux: Tmux
) -> None:
    bridge = start_bridge()
    terminal = connect(bridge.link, cols=91, rows=29)
    before = settings(terminal)
    shown(terminal)
    assert pane_size(tmux) == "28 91"
    terminal.type("echo mark-$((6*7))-ä€\r".encode())
    terminal.wait_for_text("mark-42-ä€")
    terminal.resize(70, 21)
    wait_until(lambda: pane_size(tmux) == "20 70", "the new size")
    terminal.type(b"exit\r")
    assert terminal.wait() == 0
    assert "[exited]" in terminal.tail
    assert "Traceback" not in terminal.tail
    assert_restored(terminal, before)


def test_the_credential_is_kept_and_neither_in_arguments_nor_readable_by_others(
    start_bridge: StartBridge, connect: Connect, tmp_path: Path, tmux: Tmux
) -> None:
    bridge = start_bridge()
    terminal = shown(connect(bridge.link))
    arguments = Path(f"/proc/{terminal.process.pid}/cmdline").read_bytes()
    assert bridge.token.encode() not in arguments
    terminal.type(b"\r~.")
    assert terminal.wait() == 0
    wait_until(lambda: not tmux.clients(), "the end of the client's place")
    files = [path for path in (tmp_path / "client").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} <= {0o600}
    again = shown(connect(bridge.address))
    again.type(b"\r~.")
    assert again.wait() == 0
    assert "left; the session goes on." in again.tail


FAULT = """
from ttybridge.client import connect
connect.GIVE_UP_AFTER_S = 0.5
connect._Client._on_resize = lambda self: self._over.set_exception(ValueError("planted"))
"""


def test_the_terminal_is_as_before_after_every_end_of_the_client(
    start_bridge: StartBridge, connect: Connect, tmux: Tmux
) -> None:
    bridge = start_bridge()
    ends: list[tuple[Callable[[OnPty], object], int, str]] = [
        (lambda _: tmux("detach-client", "-s", "=0"), 0, "[detached"),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 128 + 15, ""),
        (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 128 + 1, ""),
        (lambda terminal: terminal.resize(66, 20), 1, "planted"),
    ]
    for end, status, says in ends:
        terminal = connect(bridge.link, patch=FAULT)
        before = settings(terminal)
        shown(terminal)
        end(terminal)
        assert terminal.wait() == status
        assert says in terminal.tail
        assert_restored(terminal, before)


@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        (lambda bridge, _: bridge.stop(signal.SIGKILL), 1, "The connection was lost"),
        (lambda bridge, _: bridge.stop(), 0, "The bridge has stopped."),
        (lambda _, tmux: tmux.stop(), 1, "exited"),
    ],
    ids=["killed", "stopped", "tmux"],
)
def test_the_terminal_is_as_before_after_every_end_of_the_bridge(
    start_bridge: StartBridge,
    connect: Connect,
    tmux: Tmux,
    end: Callable[[RunningBridge, Tmux], object],
    status: int,
    says: str,
) -> None:
    bridge = start_bridge()
    terminal = connect(bridge.link, patch=FAULT)
    before = settings(terminal)
    shown(terminal)
    end(bridge, tmux)
    assert terminal.wait() == status
    assert says in terminal.tail
    assert_restored(terminal, before)


def test_the_status_of_a_command_is_passed_on(start_bridge: StartBridge, connect: Connect) -> None:
    bridge = start_bridge(command=["sh", "-c", "read x; echo la''st words; exit 7"])
    terminal = connect(bridge.link)
    wait_until(lambda: is_raw(terminal), "the beginning")
    terminal.type(b"\r")
    assert terminal.wait() == 7
    assert "last words" in terminal.tail


def test_escape_keys_help_suspend_and_leave(
    start_bridge: StartBridge, connect: Connect, start_on_pty: StartOnPty, tmp_path: Path
) -> None:
    bridge = start_bridge()
    env = clean_environment(
        HOME=str(tmp_path), PYTHONPATH=str(ROOT), TERM="xterm-256color", PS1="local> "
    )
    shell = start_on_pty(["bash", "--norc", "--noprofile", "-i"], env=env)
    shell.wait_for_text("local> ")
    shell.type(shlex.join([*COMMAND, bridge.link]).encode() + b"\r")
    shell.wait_for_text("[0] 0:")
    shell.type(b"\r~?")
    shell.wait_for_text("Any key goes on.")
    shell.start_anew()
    shell.type(b" ")
    shell.wait_for_text("[0] 0:")
    assert "Any key" not in shell.tail
    shell.start_anew()
    shell.type(b"\r~\x1a")
    shell.wait_for_text("local> ")
    shell.type(b"echo here-$((6*7)); stty -a\r")
    shell.wait_for_text("here-42")
    shell.wait_for_text(" icanon")
    shell.start_anew()
    shell.type(b"fg\r")
    shell.wait_for_text("[0] 0:")
    shell.type(b"echo mark-$((6*7))\r")
    shell.wait_for_text("mark-42")
    shell.type(b"\r~~.\x15")
    shell.type(b"\r~.")
    shell.wait_for_text("left; the session goes on.")
    shell.type(b"echo status-$?-$((6*7))\r")
    shell.wait_for_text("status-0-42")


def test_without_escape_keys_every_key_goes_to_the_session(
    start_bridge: StartBridge, connect: Connect, tmp_path: Path
) -> None:
    bridge = start_bridge(command=RECORD)
    terminal = connect(bridge.link, "--no-escape")
    terminal.wait_for_text("ready")
    terminal.type(b"\r~.~?~~")
    typed = tmp_path / "typed"
    wait_until(lambda: typed.read_bytes() == b"\r~.~?~~", "all keys")


def test_a_wrong_token_and_a_full_session_are_refused_in_a_sentence(
    start_bridge: StartBridge, connect: Connect
) -> None:
    bridge = start_bridge("--max-clients", "1")
    wrong = connect(f"{bridge.address}?token=R7xk2-Qm9fLw0_ab")
    before = settings(wrong)
    assert wrong.wait() == 1
    assert "does not accept the token (401" in wrong.tail
    first = shown(connect(bridge.link))
    second = connect(bridge.link)
    assert second.wait() == 1
    assert "There are 1 clients already" in second.tail
    assert settings(wrong) == before
    assert first.process.poll() is None


def somebody(bridge: RunningBridge, name: str) -> Somebody | None:
    """Return the one of this name who is here or waits."""
    found = [each for each in bridge.control.people().people if each.name == name]
    return found[0] if found else None


def test_a_watcher_cannot_type_is_given_the_keyboard_and_loses_it_again(
    start_bridge: StartBridge, connect: Connect, tmux: Tmux
) -> None:
    bridge = start_bridge()
    owner = shown(connect(bridge.link))
    owner.type(b"PS1=; clear\r")
    link = bridge.control.share("viewer").url
    watcher = connect(link, "--name", "Ada", cols=60, rows=20)
    watcher.wait_for_text("you may watch; Ctrl-C leaves.")
    shown(watcher)
    watcher.type(b"echo planted-by-watcher\r~h")
    wait_until(lambda: (a := somebody(bridge, "Ada")) and a.hand, "Ada's hand")
    row = somebody(bridge, "Ada")
    assert row is not None
    assert (row.role, row.via, row.follows) == ("viewer", "connect", False)
    wait_until(lambda: (a := somebody(bridge, "Ada")) and a.rtt_ms is not None, "a round trip")
    bridge.control.grant("Ada", "editor")
    watcher.wait_for_text("gave you the keyboard; Ctrl-C goes to the session now")
    # From a program of its own: between two of its commands, bash may keep a Ctrl-C to itself.
    watcher.type(b"bash -c 'echo granted-$((6*7)); exec cat'\r")
    watcher.wait_for_text("granted-42")
    watcher.start_anew()
    watcher.type(b"\x03")
    watcher.wait_for_text("\x1b[?2004h")  # the shell reads again; what came before is dropped
    watcher.type(b"echo after-$((6*7))\r")
    watcher.wait_for_text("after-42")
    assert "planted-by-watcher" not in tmux("capture-pane", "-p", "-S", "-", "-t", "=0:")
    bridge.control.grant("Ada", "viewer")
    watcher.wait_for_text("took the keyboard back: what you type is not sent")
    watcher.type(b"echo too-late\r\x03")
    assert watcher.wait() == 0
    owner.type(b"echo mark-$((6*8))\r")
    owner.wait_for_text("mark-48")
    assert "too-late" not in tmux.screen()


def test_whoever_has_to_wait_is_told_and_let_in_turned_away_or_leaves(
    start_bridge: StartBridge, connect: Connect
) -> None:
    bridge = start_bridge("--approve")
    waiting = "Waiting to be let in; Ctrl-C leaves."

    def wait(name: str) -> OnPty:
        terminal = connect(bridge.control.share("viewer", name=name).url)
        terminal.wait_for_text(waiting)
        wait_until(lambda: (a := somebody(bridge, name)) and a.state == "waiting", name)
        return terminal

    first, second, third = wait("Ada"), wait("Bob"), wait("Cyd")
    bridge.control.admit("Ada")
    shown(first)
    bridge.control.refuse("Bob")
    assert second.wait() == 1
    third.type(b"\x03")
    assert third.wait() == 128 + 2
    wait_until(lambda: somebody(bridge, "Cyd") is None, "the end of the waiting")
    before = settings(second)
    bridge.control.kick("Ada")
    assert first.wait() == 1
    assert "ttybridge: " in first.tail[-300:]
    assert_restored(first, before)


def test_a_terminal_that_is_none_is_told_what_to_do(connect: Connect, tmp_path: Path) -> None:
    link = "http://127.0.0.1:1/?token=abcdefghijklmnop"
    env = clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT), TERM="xterm")
    done = subprocess.run(
        [*COMMAND, link], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env
    )
    assert done.returncode == 1
    assert "stdin is not one. Start it in a terminal window" in done.stderr
    dumb = connect(link, term="dumb")
    assert dumb.wait() == 1
    assert "export TERM=xterm-256color" in dumb.tail
