"""How a session ends in a tab, what the page says then, and how it goes on."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import StartBridge, Tmux, wait_until
from tests.page.conftest import NewTab
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Dialog

pytestmark = pytest.mark.browser


def said(tab: Tab) -> str:
    """Return the words of the panel."""
    return tab.page.inner_text("#panel")


def test_after_exit_the_last_screen_stays_and_a_button_starts_a_new_session(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab, tmp_path: Path
) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("echo some-output; keep=no")
    tab.wait_for("^some-output$")
    tab.run("exit")
    tab.wait_for_state("ended")
    assert "Session ended" in said(tab)
    assert tab.page.inner_text("#status-words") == "Ended"
    tab.page.screenshot(path=tmp_path / "ended.png")
    tab.wait_for("some-output")
    tab.page.get_by_role("button", name="Start a new session").click()
    tab.wait_for_state("connected")
    assert tab.page.is_hidden("#panel")
    tab.run("echo new-$((1+1))$keep")
    tab.wait_for("^new-2$")
    assert tab.row_of("some-output") is None
    assert len(tmux.clients()) == 1


def test_enter_starts_a_new_session_too(start_bridge: StartBridge, new_tab: NewTab) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("exit")
    tab.wait_for_state("ended")

    def starts() -> bool:
        tab.press("Enter")  # ignored for a moment: it may belong to what was being typed
        return tab.state() != "ended"

    wait_until(starts, "Enter presses the button")
    tab.wait_for_state("connected")
    tab.run("echo new-$((1+1))")
    tab.wait_for("^new-2$")


def test_a_detached_tab_says_so_and_attaches_again(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("keep=here; echo kept")
    tab.wait_for("^kept$")
    tab.press("Control+b", "d")
    tab.wait_for_state("ended")
    assert "Detached" in said(tab)
    assert tmux.clients() == []
    tab.page.get_by_role("button", name="Attach again").click()
    tab.wait_for_state("connected")
    tab.run("echo still-$keep")
    tab.wait_for("^still-here$")


def test_the_end_of_the_tmux_server_is_told(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    tmux.stop()
    tab.wait_for_state("ended")
    assert "tmux has ended" in said(tab)
    tab.page.get_by_role("button", name="Start a new session").click()
    tab.wait_for_state("connected")
    tab.run("echo new-$((1+1))")
    tab.wait_for("^new-2$")


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("read go; echo last-words; exit 0", 0, "status 0"),
        ("read go; echo last-words; exit 7", 7, "status 7"),
        ("read go; echo last-words; kill -KILL $$", 128 + 9, "signal 9"),
    ],
)
def test_the_end_of_a_command_is_told_and_is_the_end_of_the_bridge(
    start_bridge: StartBridge, new_tab: NewTab, script: str, status: int, words: str
) -> None:
    bridge = start_bridge(command=["sh", "-c", script])
    tab = new_tab()
    tab.page.goto(bridge.link)
    tab.wait_for_state("connected")
    tab.press("Enter")
    tab.wait_for_state("ended")
    assert words in said(tab)
    assert tab.page.locator("#panel-action").is_hidden()
    tab.wait_for("^last-words$")
    assert bridge.wait() == status


def test_a_bridge_that_stops_says_goodbye(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    tab = new_tab().open(bridge.link)
    tab.run("echo before-the-stop")
    tab.wait_for("^before-the-stop$")
    assert bridge.stop(signal.SIGTERM) == 0
    tab.wait_for_state("ended")
    assert "The bridge has stopped" in said(tab)
    tab.wait_for("^before-the-stop$")
    assert "before-the-stop" in tmux.screen()


def test_closing_a_tab_with_a_live_session_asks_first(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    asked: list[str] = []

    def stay(dialog: "Dialog") -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    tab.page.on("dialog", stay)
    tab.run("echo typed")
    tab.wait_for("^typed$")
    tab.page.close(run_before_unload=True)
    wait_until(lambda: tab.state() and asked == ["beforeunload"], "the browser asks")
    assert not tab.page.is_closed()
    tab.run("exit")
    tab.wait_for_state("ended")
    with tab.page.expect_event("close"):
        tab.page.close(run_before_unload=True)
    assert asked == ["beforeunload"]
