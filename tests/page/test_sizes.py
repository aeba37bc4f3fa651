"""Screens of all sizes in one session: nobody's window shrinks, and everybody sees all of it."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import StartBridge, Tmux, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

pytestmark = pytest.mark.browser

WIDE: "ViewportSize" = {"width": 1840, "height": 900}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}

FRAME = 4
"""Room that the frame of a scaled window needs at each side, in CSS pixels."""

ROOM = """() => {
  const { left, top, right, bottom } = document.querySelector("#terminal").getBoundingClientRect();
  const seen = document.querySelector(".xterm-screen").getBoundingClientRect();
  return { left: seen.left - left, top: seen.top - top, right: right - seen.right,
    bottom: bottom - seen.bottom, font: window.ttybridge.terminal.options.fontSize };
}"""


def window(tmux: Tmux) -> tuple[int, int]:
    """Return columns and rows of the session's window."""
    cols, rows = tmux(
        "display-message", "-p", "-t", "=0:", "#{window_width} #{window_height}"
    ).split()
    return int(cols), int(rows)


def check_all_is_seen(tab: Tab, cols: int) -> None:
    """Wait until the tab shows all columns, as large as one of the two directions allows."""

    def is_seen() -> bool:
        room = tab.page.evaluate(ROOM)
        edges = [room[edge] for edge in ("left", "top", "right", "bottom")]
        across, along = edges[0] + edges[2] - 2 * FRAME, edges[1] + edges[3] - 2 * FRAME
        # Cells are as wide and as high as whole pixels allow.
        is_large = across < cols or along < tab.size()[1]
        return tab.size()[0] == cols and min(edges) >= FRAME and is_large

    tab.wait_until(is_seen, lambda: f"all {cols} columns: {tab.size()}, {tab.page.evaluate(ROOM)}")


def test_a_phone_that_joins_as_an_editor_shows_all_columns_and_shrinks_nobody(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context(viewport=WIDE)).open(bridge.link)
    owner.run(f"echo left; printf '%{owner.size()[0]}s\\n' right")
    owner.wait_for("right$")
    cols, rows = before = window(tmux)
    assert cols >= 200
    phone = new_tab(new_context(**PHONE)).open(bridge.control.share("editor").url)
    phone.wait_for(f"^ {{{cols - 5}}}right$")
    check_all_is_seen(phone, cols)
    assert phone.page.evaluate("() => window.ttybridge.follows()") is True
    phone.run("stty size; echo phone-$((1+1))")
    for tab in (owner, phone):
        tab.wait_for("^phone-2$")
        tab.wait_for(f"^{rows} {cols}$")
    assert window(tmux) == before
    assert owner.size() == (cols, rows + 1)
    # The finger finds the cell that it touches in the scaled drawing.
    row = phone.wait_for("^phone-2$")
    place = phone.page.locator(".xterm-screen").bounding_box()
    assert place is not None
    cell = place["width"] / cols, place["height"] / phone.size()[1]
    phone.page.mouse.dblclick(place["x"] + 2.5 * cell[0], place["y"] + (row + 0.5) * cell[1])
    selected = phone.page.evaluate("() => window.ttybridge.terminal.getSelection()")
    assert selected == "phone-2"
    phone.page.click("#settings-open")
    phone.page.get_by_label("Window size").select_option("This screen")
    wait_until(lambda: window(tmux)[0] < 100, "the phone's own window is the session's, by choice")
    wait_until(lambda: phone.size()[0] < 100, "and the phone shows it in its own font")
    assert phone.page.evaluate(ROOM)["font"] == 13
    phone.page.get_by_label("Window size").select_option("The session's")
    wait_until(lambda: window(tmux) == before, "the window is the owner's again")
    check_all_is_seen(phone, cols)
    phone.page.reload()
    phone.wait_for_state("connected")
    check_all_is_seen(phone, cols)
    assert phone.page.input_value("#display-choice") == "session"  # it is remembered


def test_a_viewer_sees_the_whole_window_whatever_size_the_two_have(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context()).open(bridge.link)
    link = bridge.control.share("viewer").url
    viewer = new_tab(new_context(viewport={"width": 700, "height": 500})).open(link)
    before = window(tmux)
    check_all_is_seen(viewer, before[0])
    assert viewer.size() == owner.size()
    small = viewer.page.evaluate(ROOM)["font"]
    viewer.page.set_viewport_size({"width": 500, "height": 900})
    check_all_is_seen(viewer, before[0])
    viewer.page.set_viewport_size({"width": 1500, "height": 900})
    wait_until(lambda: viewer.page.evaluate(ROOM)["font"] > small + 3, "the font grows")
    check_all_is_seen(viewer, before[0])
    assert window(tmux) == before
    owner.page.set_viewport_size(WIDE)
    wait_until(lambda: window(tmux)[0] >= 200, "the owner's window is larger")
    check_all_is_seen(viewer, window(tmux)[0])
    owner.run("echo in-full-$((1+1))")
    viewer.wait_for("^in-full-2$")
    wait_until(lambda: viewer.screen() == owner.screen(), "both show the same")
