"""What the terminal draws with, the links in it, and characters of several parts."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.conftest import RunningBridge, StartBridge, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import WebSocket

pytestmark = pytest.mark.browser

NO_WEBGL = """
const getContext = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind.startsWith("webgl") ? null : getContext.call(this, kind, ...more);
};
"""

PATIENT = """
const setLater = window.setTimeout;
window.setTimeout = (then, ms, ...more) => {
  const isSettled = document.querySelector("#terminal[data-renderer]");
  return setLater(then, isSettled ? ms : 20 * ms, ...more);
};
"""
"""Gives the page all the time that it needs on a busy machine, before the renderer is there."""

DRAWN = (
    """() => [...document.querySelectorAll(".xterm-rows > div")].map((row) => row.textContent)"""
)


def show(start_bridge: StartBridge, folder: Path, text: str) -> RunningBridge:
    """Start a bridge whose terminal shows a text as it is, escape sequences included."""
    (folder / "text").write_text(text)
    return start_bridge("--wait", command=["sh", "-c", "cat text -"])


def click(tab: Tab, row: int, column: int) -> None:
    """Point at a cell, then press it: what is under the pointer is looked up in between."""
    box = tab.page.locator(".xterm-screen").bounding_box()
    assert box is not None
    cols, rows = tab.size()
    x = box["x"] + (column + 0.5) * box["width"] / cols
    y = box["y"] + (row + 0.5) * box["height"] / rows
    tab.page.mouse.move(x, y)
    tab.page.mouse.click(x, y)


def test_the_terminal_draws_without_webgl(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    link = start_bridge().link
    assert new_tab().open(link).renderer() == "webgl"
    context = new_context()
    context.add_init_script(NO_WEBGL)
    tab = new_tab(context).open(link)
    assert tab.renderer() == "dom"
    tab.run("echo drawn-$((40+2))")
    wait_until(
        lambda: any(row.startswith("drawn-42") for row in tab.page.evaluate(DRAWN)),
        "the document has the text",
    )
    assert tab.console_errors == []


def test_a_tab_comes_with_its_final_size(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    context = new_context()
    context.add_init_script(PATIENT)
    tab = new_tab(context)
    sent: list[str | bytes] = []

    def keep(frame: str | bytes) -> None:
        sent.append(frame)

    def watch(socket: "WebSocket") -> None:
        keep(unquote(socket.url))  # the first hello is in it
        socket.on("framesent", keep)

    tab.page.on("websocket", watch)
    tab.open(start_bridge().link)
    assert tab.renderer() == "webgl"
    tab.run("echo sent-$((40+2))")
    tab.wait_for("^sent-42$")
    texts = [frame for frame in sent if isinstance(frame, str)]
    cols, rows = tab.size()
    assert [text for text in texts if f'"cols":{cols},"rows":{rows}' in text] != []
    assert [text for text in texts if '"size"' in text] == []


@pytest.mark.parametrize("form", ["plain", "named"])
def test_a_link_opens_a_tab_that_knows_nothing_of_the_terminal(
    start_bridge: StartBridge,
    new_context: NewContext,
    new_tab: NewTab,
    tmp_path: Path,
    form: str,
) -> None:
    # An address of the terminal's own origin: from another, headers alone would hide the opener.
    bridge = show(start_bridge, tmp_path, "")
    address = bridge.address + "healthz"
    text = address if form == "plain" else f"\x1b]8;;{address}\x1b\\the link\x1b]8;;\x1b\\"
    (tmp_path / "text").write_text(text + "\r\nend\r\n")
    context = new_context()
    tab = new_tab(context).open(bridge.link)
    row = tab.wait_for("^end$") - 1
    with context.expect_page() as opened:
        click(tab, row, 3)
    opened.value.wait_for_load_state()
    assert opened.value.url == address
    assert opened.value.evaluate("() => [window.opener, document.referrer]") == [None, ""]
    assert tab.state() == "connected"


def test_a_link_that_would_run_script_does_nothing(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab, tmp_path: Path
) -> None:
    address = start_bridge().address + "healthz"
    links = [
        f"\x1b]8;;{target}\x1b\\the link\x1b]8;;\x1b\\\r\n"
        for target in ("javascript:window.ran=1", "data:text/html,x", "file:///etc/passwd", address)
    ]
    context = new_context()
    tab = new_tab(context).open(show(start_bridge, tmp_path, "".join(links) + "end\r\n").link)
    end = tab.wait_for("^end$")
    with context.expect_page() as opened:
        for row in range(end - len(links), end):
            click(tab, row, 3)
    opened.value.wait_for_load_state()
    assert [page.url for page in context.pages] == [tab.page.url, address]
    assert tab.page.evaluate("() => window.ran ?? null") is None


@pytest.mark.parametrize(
    ("cluster", "width"),
    [
        ("\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}\u200d\N{BOY}", 2),
        ("\U0001f1e8\U0001f1ed", 2),  # the regional indicators C and H: a flag
        ("\N{THUMBS UP SIGN}\U0001f3fd", 2),  # with a skin tone
        ("e\N{COMBINING ACUTE ACCENT}\N{COMBINING DOT BELOW}", 1),
    ],
    ids=["family", "flag", "skin tone", "combining"],
)
def test_a_character_of_several_parts_is_one(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path, cluster: str, width: int
) -> None:
    tab = new_tab().open(show(start_bridge, tmp_path, f"{cluster}|\r\nend\r\n").link)
    row = tab.wait_for("^end$") - 1
    cells = [(chars, cells) for chars, cells, _, _ in tab.cells(row, 0, width + 1)]
    assert cells == [(cluster, width), *[("", 0)] * (width - 1), ("|", 1)]
