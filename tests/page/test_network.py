"""Lost connections and poor ones: no byte of output and no key is lost or doubled."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RunningBridge, StartBridge, wait_until
from tests.page.conftest import NewTab
from tests.page.network import Cable, ReverseProxy
from tests.page.tab import Tab

pytestmark = pytest.mark.browser

NewCable = Callable[[int], Cable]

CUT_S = 20.0
"""How long the network is gone, in seconds."""

COUNT = 300_000

NUMBERS = b"".join(b"%d\r\n" % number for number in range(1, COUNT + 1))
"""What `seq` prints, as a terminal gets it."""

SEQ = f"stty -echo; echo ready; read go; seq 1 {COUNT}; echo finished; cat"

EXPECTED = b"ready\r\n" + NUMBERS + b"finished\r\n"


def open_through(
    new_cable: NewCable, start_bridge: StartBridge, tab: Tab, script: str
) -> tuple[RunningBridge, Cable]:
    """Start a direct command and open it in a tab, through a cable."""
    bridge = start_bridge("--allow-host", "127.0.0.1", command=["sh", "-c", script])
    cable = new_cable(bridge.port)
    tab.page.goto(cable.link(bridge.link))
    tab.wait_for_state("connected")
    tab.wait_for("^ready$")
    return bridge, cable


def check_that_all_was_taken_once(tab: Tab) -> None:
    """Wait for the end of the numbers and compare every byte that the terminal was given."""
    tab.wait_for("^finished$")
    assert tab.taken() == (len(EXPECTED), hashlib.sha256(EXPECTED).hexdigest())
    assert tab.offset() == len(EXPECTED)


@pytest.mark.slow
@pytest.mark.long
def test_twenty_seconds_without_a_network_lose_and_double_nothing(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    tab = new_tab(records=True)
    _, cable = open_through(new_cable, start_bridge, tab, SEQ)
    cable.hold_after(500_000)
    tab.press("Enter")
    wait_until(lambda: cable.is_held, "the cable goes silent in the middle of the output")
    assert tab.state() == "connected"  # nobody has been told
    before = cable.connections
    cable.cut(refuse=True)
    cable.mend_after(CUT_S)
    tab.wait_for_state("reconnecting")
    assert tab.page.inner_text("#status-words") == "Connection lost"
    assert tab.page.is_visible("#reconnect")
    wait_until(lambda: cable.refused > 2, "the page tries several times")
    assert 1000 < tab.offset() < 1_000_000 < len(EXPECTED)
    wait_until(lambda: not cable.is_held, "the network is back", deadline_s=CUT_S + 5)
    assert cable.connections == before
    tab.reconnect()
    check_that_all_was_taken_once(tab)


def test_the_page_comes_back_by_itself_and_goes_on_where_it_was(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    tab = new_tab(records=True)
    _, cable = open_through(new_cable, start_bridge, tab, SEQ)
    cable.hold_after(300_000)
    tab.press("Enter")
    wait_until(lambda: cable.is_held, "the cable goes silent in the middle of the output")
    cable.cut(refuse=True)
    wait_until(lambda: cable.refused > 0, "the page tries again, in vain")
    cable.mend()
    tab.wait_for_state("connected")  # nobody has pressed the button
    check_that_all_was_taken_once(tab)


def test_ten_cuts_at_random_places_lose_and_double_nothing(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    places = random.Random(20)
    tab = new_tab(records=True)
    _, cable = open_through(new_cable, start_bridge, tab, SEQ)
    cable.cut_after(*(places.randint(5_000, 200_000) for _ in range(10)))
    tab.press("Enter")

    def is_cut_ten_times() -> bool:
        tab.reconnect()
        return cable.cuts == 10

    wait_until(is_cut_ten_times, "the cable is cut ten times")
    tab.reconnect()
    check_that_all_was_taken_once(tab)


def test_a_client_comes_back_before_the_bridge_notices_the_loss(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    tab = new_tab(records=True)
    bridge, cable = open_through(new_cable, start_bridge, tab, SEQ)
    cable.hold_after(300_000)
    tab.press("Enter")
    wait_until(lambda: cable.is_held, "the cable goes silent in the middle of the output")
    cable.cut_at_the_browser()
    tab.wait_for_state("reconnecting")
    assert "lost its connection" not in bridge.log
    cable.mend(abandon=True)
    tab.reconnect()
    check_that_all_was_taken_once(tab)
    before, came_back, _ = bridge.log.partition("came back")
    assert came_back
    assert "lost its connection" not in before  # later on, a button pressed twice may lose a try


def test_keys_typed_during_a_cut_arrive_once_and_in_order(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab, tmp_path: Path
) -> None:
    tab = new_tab()
    _, cable = open_through(
        new_cable, start_bridge, tab, "stty -echo; echo ready; cat > typed; echo finished"
    )
    parts = ["before the cut ", "in the silence ", "while refused ", "after it", "."]
    tab.type(parts[0])
    cable.hold()
    tab.type(parts[1])
    cable.cut(refuse=True)
    tab.wait_for_state("reconnecting")
    tab.type(parts[2])
    cable.mend()
    tab.type(parts[3])
    tab.reconnect()
    tab.type(parts[4])
    tab.press("Enter", "Control+d")
    tab.wait_for_state("ended")
    assert (tmp_path / "typed").read_text() == "".join(parts) + "\n"


def test_keys_whose_arrival_was_not_confirmed_are_not_doubled(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab, tmp_path: Path
) -> None:
    # The bridge gets every key, and the page hears nothing of it.
    tab = new_tab()
    _, cable = open_through(new_cable, start_bridge, tab, "stty -echo; echo ready; cat > typed")
    cable.hold_down()
    lines = ["ab", "c"]  # few enough messages that the page does not wait for an answer
    for line in lines:
        tab.run(line)
    typed = tmp_path / "typed"
    wait_until(
        lambda: typed.exists() and typed.read_text().splitlines() == lines, "the keys arrive"
    )
    cable.cut()
    cable.mend()
    tab.reconnect()
    tab.run("after")
    tab.press("Control+d")
    tab.wait_for_state("ended")
    assert typed.read_text().splitlines() == [*lines, "after"]


def test_the_tmux_screen_is_right_after_a_cut(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    cable = new_cable(bridge.port)
    tab = new_tab().open(cable.link(bridge.link))
    cable.hold_after(15_000)
    tab.run("seq 1 30000; echo finished")
    wait_until(lambda: cable.is_held, "the cable goes silent in the middle of the output")
    cable.cut()
    cable.mend()
    tab.reconnect()
    row = tab.wait_for("^finished$")
    assert tab.screen()[:row] == [str(number) for number in range(30001 - row, 30001)]


@pytest.mark.parametrize("websockets", ["refuse", pytest.param("strip", marks=pytest.mark.long)])
def test_the_page_works_where_a_proxy_has_no_websockets(
    start_bridge: StartBridge,
    new_proxy: Callable[..., ReverseProxy],
    new_tab: NewTab,
    websockets: str,
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1", command=["sh", "-c", SEQ])
    proxy = new_proxy(bridge.port, websockets=websockets)
    tab = new_tab(records=True)
    tab.page.goto(proxy.link(bridge.token))
    tab.wait_for_state("connected")
    assert proxy.websockets_seen > 0
    tab.run("go")
    check_that_all_was_taken_once(tab)
    tab.run("typed: naïve 😀")
    tab.wait_for("^typed: naïve 😀$")
