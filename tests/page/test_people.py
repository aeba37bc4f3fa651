"""Several people in one session: links, the keyboard that moves, the door, the recording."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.conftest import StartBridge, Tmux, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.qr import read_qr
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser


def row(tab: Tab, name: str) -> "Locator":
    """Return the person's row in the open list."""
    return tab.page.locator(".person").filter(has_text=name)


def press(tab: Tab, name: str) -> None:
    """Press the button with this name."""
    tab.page.get_by_role("button", name=name, exact=True).click()


def back(tab: Tab) -> None:
    """Close the open dialog, and wait until what is typed goes to the terminal."""
    tab.press("Escape")
    terminal = "() => document.activeElement?.closest('#terminal') !== null"
    wait_until(lambda: tab.page.evaluate(terminal), "the terminal has the focus")


def toasts(tab: Tab) -> str:
    """Return what the messages over the terminal say."""
    return str(tab.page.inner_text("#toasts"))


def wait_for_toast(tab: Tab, words: str) -> None:
    """Wait until a message says these words."""
    wait_until(lambda: words in toasts(tab), f"a message says {words!r}")


def open_people(tab: Tab) -> None:
    """Open the list of people."""
    tab.page.click("#people-open")
    wait_until(lambda: tab.page.locator(".person").count() > 0, "the list has people")


def drawn_modules(tab: Tab) -> list[list[bool]]:
    """Return the modules of the QR code, as the page has drawn them."""
    code = tab.page.locator("#share-qr svg")
    left, _, width, _ = map(int, (code.get_attribute("viewBox") or "").split())
    size = width + 2 * left
    modules = [[False] * size for _ in range(size)]
    path = code.locator("path").get_attribute("d") or ""
    for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path):
        modules[int(y)][int(x) : int(x) + int(run)] = [True] * int(run)
    return modules


def test_a_link_made_in_the_page_opens_for_whom_it_says_and_its_code_is_the_link(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    owner = new_tab(new_context()).open(start_bridge().link)
    owner.page.click("#share-open")
    owner.page.get_by_label("For whom").fill("Grace")
    press(owner, "Make the link")
    wait_until(lambda: owner.page.is_visible("#share-link"), "the link is there")
    link = owner.page.input_value("#share-link")
    assert read_qr(drawn_modules(owner)) == link
    press(owner, "Copy the link")
    wait_until(
        lambda: owner.page.evaluate("() => navigator.clipboard.readText()") == link, "it is copied"
    )
    guest = new_tab(new_context()).open(link)
    assert guest.page.inner_text("#role") == "View only"
    assert guest.page.is_hidden("#share-open")
    wait_for_toast(owner, "Grace joined")
    links = owner.page.locator("#links-list li")
    wait_until(lambda: "here: Grace" in links.all_inner_texts()[0], "the list says who came")
    guest.page.click("#settings-open")
    assert guest.page.input_value("#own-name") == "Grace"
    assert guest.page.is_disabled("#own-name")
    owner.page.get_by_role("button", name="Revoke").click()
    guest.wait_for_state("ended", "signed-out")
    assert guest.page.locator("#panel").is_visible()


def test_the_keyboard_is_asked_for_given_used_and_taken_back(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context()).open(bridge.link)
    guest = new_tab(new_context()).open(bridge.control.share("viewer", name="Grace").url)
    guest.type("echo early-$((1+1))\n")
    press(guest, "Raise hand")
    wait_for_toast(owner, "Grace asks for the keyboard")
    assert owner.page.is_visible("#people-dot")
    press(owner, "Give the keyboard")
    wait_for_toast(guest, "gave you the keyboard")
    assert guest.page.inner_text("#role") == "editor"
    assert guest.page.is_hidden("#hand")
    assert guest.page.evaluate("() => window.ttybridge.terminal.options.disableStdin") is False
    guest.run("echo mine-$((1+1))")
    for tab in (owner, guest):
        tab.wait_for("^mine-2$")
    wait_until(lambda: owner.page.is_hidden("#people-dot"), "nobody asks any more")
    open_people(owner)
    row(owner, "Grace").get_by_role("button", name="Take keyboard back").click()
    wait_for_toast(guest, "took the keyboard back")
    guest.run("echo late-$((1+1))")
    back(owner)
    owner.run("echo last-$((1+1))")
    for tab in (owner, guest):
        tab.wait_for("^last-2$")
        assert tab.row_of("early|late") is None


def test_who_is_removed_is_told_and_stays_out(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context()).open(bridge.link)
    guest = new_tab(new_context()).open(bridge.control.share("editor", name="Grace").url)
    open_people(owner)
    remove = row(owner, "Grace").get_by_role("button", name=re.compile("[Rr]emove: Grace"))
    remove.click()
    assert guest.state() == "connected"  # it asks again first
    remove.click()
    guest.wait_for_state("ended")
    assert "removed" in guest.page.inner_text("#panel")
    assert guest.page.is_hidden("#reconnect")
    wait_until(lambda: row(owner, "Grace").count() == 0, "the list has her no more")
    guest.page.reload()
    wait_until(lambda: guest.state() != "connected", "she is out")
    assert guest.page.evaluate("() => window.ttybridge?.state() ?? 'sign-in'") != "connected"
    assert [person.name for person in bridge.control.people().people] != ["Grace"]


def test_newcomers_wait_at_the_door_until_an_owner_decides(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context()).open(bridge.link)
    open_people(owner)
    owner.page.get_by_label("Ask before anybody comes in").click()
    wait_until(lambda: bridge.control.people().approve, "the door is watched")
    back(owner)
    grace, linus = (new_tab(new_context()) for _ in range(2))
    grace.page.clock.install()
    grace.page.goto(bridge.control.share("viewer", name="Grace").url)
    grace.wait_for_state("waiting")
    grace.page.clock.fast_forward(30_000)  # longer than a try to connect may take otherwise
    assert grace.state() == "waiting"
    assert "Waiting to be let in" in grace.page.inner_text("#panel")
    wait_for_toast(owner, "Grace waits to be let in")
    owner.page.locator("#toasts").get_by_role("button", name="Let in").click()
    grace.wait_for_state("connected")
    assert grace.page.is_hidden("#panel")
    linus.page.goto(bridge.control.share("viewer", name="Linus").url)
    linus.wait_for_state("waiting")
    open_people(owner)
    row(owner, "Linus").get_by_role("button", name="Turn away").click()
    linus.wait_for_state("refused")
    assert "Not let in" in linus.page.inner_text("#panel")
    owner.page.get_by_label("Locked: nobody new").click()
    wait_until(lambda: bridge.control.people().locked, "the door is locked")
    press(linus, "Try again")
    wait_until(lambda: "Closed" in linus.page.inner_text("#panel"), "she is told why")


def test_everybody_sees_that_the_session_is_recorded(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context()).open(bridge.link)
    guest = new_tab(new_context()).open(bridge.control.share("viewer").url)
    assert guest.page.is_hidden("#recording")
    owner.page.click("#recordings-open")
    press(owner, "Start recording")
    for tab in (owner, guest):
        tab.page.locator("#recording").wait_for()
        assert tab.page.inner_text("#recording-words") == "REC"
    wait_for_toast(guest, "being recorded")
    late = new_tab(new_context()).open(bridge.control.share("viewer").url)
    assert late.page.is_visible("#recording")
    assert late.page.is_hidden("#recordings-open")
    owner.page.get_by_label("Marker").fill("here it breaks")
    press(owner, "Set")
    wait_for_toast(owner, "Marker set: here it breaks")
    press(owner, "Stop recording")
    wait_until(lambda: guest.page.is_hidden("#recording"), "the sign is gone")
    files = owner.page.locator("#recordings-list li")
    wait_until(lambda: files.count() == 1, "the recording is listed")
    with owner.page.expect_download() as download:
        files.get_by_role("link", name="Download").click()
    assert "here it breaks" in download.value.path().read_text()


def test_the_list_offers_an_editor_what_an_editor_may(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    new_tab(new_context()).open(bridge.link)
    editor = new_tab(new_context()).open(bridge.control.share("editor", name="Ed").url)
    new_tab(new_context()).open(bridge.control.share("viewer", name="Vi").url)
    open_people(editor)
    wait_until(lambda: row(editor, "Vi").count() == 1, "the viewer is listed")
    assert row(editor, "Vi").get_by_role("button").all_inner_texts() == ["Give keyboard", "Remove"]
    assert row(editor, "Owner").get_by_role("button").count() == 0
    assert row(editor, "Ed").get_by_role("button").count() == 0
    assert editor.page.is_hidden("#door")
    editor.page.click("#people-share")
    offered = editor.page.locator("#share-roles label:visible").all_inner_texts()
    assert [text.split("\n")[0] for text in offered] == ["Watch"]


def test_a_name_of_ones_own_is_seen_by_the_others_and_remembered(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context()).open(bridge.link)
    guest = new_tab(new_context()).open(bridge.control.share("viewer").url)
    guest.page.click("#settings-open")
    name = guest.page.get_by_label("Your name")
    name.fill("<b>Mallory</b>")
    name.press("Tab")
    open_people(owner)
    wait_until(lambda: row(owner, "<b>Mallory</b>").count() == 1, "the name is there, as text")
    guest.page.reload()
    guest.wait_for_state("connected")
    guest.page.click("#settings-open")
    assert guest.page.input_value("#own-name") == "<b>Mallory</b>"
    wait_until(lambda: row(owner, "<b>Mallory</b>").count() == 1, "and stays")
