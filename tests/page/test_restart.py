"""A bridge that ends and is started again on its port: the page comes back without a hand on it."""

import signal
import time

import pytest

from tests.conftest import Figure, StartBridge, Tmux, wait_until
from tests.page.conftest import NewTab
from tests.page.tab import Tab

pytestmark = pytest.mark.browser

TOKEN = "a-token-that-is-long-enough-0123456789"

BACK_S = 20.0
"""Longest time until the page is connected to the new bridge: it asks every few seconds."""


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL]
)
def test_the_page_comes_back_by_itself_with_the_same_token_and_asks_for_another(
    start_bridge: StartBridge, new_tab: NewTab, tmux: Tmux, figure: Figure, number: signal.Signals
) -> None:
    token = {"TTYBRIDGE_TOKEN": TOKEN}
    bridge = start_bridge(env=token)
    tab = new_tab().open(bridge.link)
    tab.run("kept=here; echo before-$((1))")
    tab.wait_for("^before-1$")
    assert bridge.stop(number) == (0 if number == signal.SIGTERM else -number)
    tab.wait_for_state("ended", "reconnecting")
    again = start_bridge("--port", str(bridge.port), env=token)
    took = come_back(tab)
    figure(f"restart after {number.name}, browser", seconds=took)
    assert took < BACK_S
    tab.run("echo still-$kept")
    tab.wait_for("^still-here$")
    assert again.stop(number) == (0 if number == signal.SIGTERM else -number)
    tab.wait_for_state("ended", "reconnecting")
    start_bridge("--port", str(bridge.port), env={"TTYBRIDGE_TOKEN": TOKEN[::-1]})
    wait_until(lambda: asks_for_a_token(tab), "the page asks for the new token", 2 * BACK_S)


def come_back(tab: Tab) -> float:
    """Wait until the page is connected, in seconds; nothing is pressed."""
    began = time.monotonic()
    tab.wait_for_state("connected")
    return time.monotonic() - began


def asks_for_a_token(tab: Tab) -> bool:
    """Tell whether the page, or the form in its place, wants somebody to sign in."""
    return tab.page.locator("input[name=token]").count() > 0 or tab.state() == "signed-out"
