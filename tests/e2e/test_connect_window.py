"""`ttybridge connect` in a terminal that tells what it shows: a pane of another tmux."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.conftest import StartOnPty
from tests.e2e.terminal_client import COMMAND, connecting, shown
from tests.page.network import Cable


@pytest.fixture
def window(short_path: Path) -> Iterator[Tmux]:
    """A tmux server whose pane is the terminal."""
    server = Tmux(short_path / "window")
    yield server
    server.stop()


def test_the_alternate_screen_is_there_again_after_help_a_cut_and_a_pause_and_gone_at_the_end(
    start_bridge: StartBridge, window: Tmux, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    cable = Cable(bridge.port)
    request.addfinalizer(cable.close)
    env = clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT))
    shell = "PS1='local> ' exec bash --norc --noprofile -i"
    window("-f/dev/null", "new-session", "-d", "-x80", "-y24", shell, env=env)

    def is_alternate() -> bool:
        return window("display-message", "-p", "-t", "=0:", "#{alternate_on}") == "1"

    def type_(text: str, *keys: str) -> None:
        window("send-keys", "-t", "=0:", "-l", text)
        if keys:
            window("send-keys", "-t", "=0:", *keys)

    def see(text: str) -> None:
        wait_until(lambda: text in window.screen(), f"{text!r} in the pane")

    def see_session() -> None:
        wait_until(lambda: "[0] 0:" in window.screen() and is_alternate(), "the session")

    see("local>")
    type_(shlex.join([*COMMAND, cable.link(bridge.link)]), "Enter")
    see_session()
    type_("echo mark-$((6*7))", "Enter")
    see("mark-42")
    type_("~?")
    see("Any key goes on.")
    type_(" ")
    wait_until(lambda: "Any key" not in window.screen(), "the repaint")
    see_session()
    cable.cut(refuse=True)
    see("Connection lost")
    cable.mend()
    wait_until(lambda: "Connection lost" not in window.screen(), "the return")
    see_session()
    for _ in range(2):
        type_("", "Enter")
        type_("~", "C-z")
        wait_until(lambda: not is_alternate(), "the screen from before")
        see("Stopped")
        assert "mark-42" not in window.screen()
        type_("fg", "Enter")
        see_session()
        see("mark-42")
    type_("", "Enter")
    type_("~.")
    see("left; the session goes on.")
    assert not is_alternate()
    type_("echo status-$?", "Enter")
    see("status-0")
    assert "mark-42" not in window.screen()
    assert "[0] 0:" not in window.screen()


def test_a_hand_that_is_raised_on_the_way_back_from_the_help_is_up_afterwards(
    start_bridge: StartBridge, start_on_pty: StartOnPty, tmp_path: Path
) -> None:
    bridge = start_bridge()
    control = bridge.control
    terminal = shown(connecting(tmp_path, start_on_pty)(control.share("viewer").url))

    def hand() -> bool:
        (row,) = control.people().people
        return row.hand

    for is_up in (True, False):
        terminal.type(b"\r~?")
        terminal.wait_for_text("Any key goes on.")
        terminal.start_anew()
        terminal.type(b"~h")
        wait_until(lambda up=is_up: hand() is up, "the hand")  # type: ignore[misc]
        terminal.wait_for_text("Your hand is up" if is_up else "Your hand is down")
    assert "cannot be raised" not in terminal.tail
