"""Several people in one session: links, the keyboard that moves, the door, the recording."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import StartBridge, Tmux, wait_until
from tests.ngrok import install_fake_ngrok
from tests.page.conftest import NewContext, NewTab
from tests.page.qr import read_qr
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser


FOR_PEOPLE_INSIDE = ("#people-open", "#share-open", "#recordings-open", "#hand", "#touchbar")

TOLD = """new MutationObserver((changes) => {
  for (const { addedNodes } of changes) for (const node of addedNodes) {
    if (node.classList?.contains("toast")) (window.told ??= []).push(node.innerText);
  }
}).observe(document, { childList: true, subtree: true });"""
"""Keeps what all messages have said, in `window.told`."""


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


def check_nothing_to_do(tab: Tab) -> None:
    """Check that the page offers nothing that only those inside can do."""
    assert [one for one in FOR_PEOPLE_INSIDE if tab.page.is_visible(one)] == []


def test_a_link_made_in_the_page_opens_for_whom_it_says(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    owner = new_tab(new_context()).open(start_bridge().link)
    owner.page.click("#share-open")
    owner.page.get_by_label("For whom").fill("Grace")
    press(owner, "Make the link")
    wait_until(lambda: owner.page.is_visible("#share-link"), "the link is there")
    link = owner.page.input_value("#share-link")
    assert "Works on this machine only" in owner.page.inner_text("#share-here")
    assert owner.page.is_hidden("#share-qr")
    assert "Grace may watch, in any number of browsers, until to" in owner.page.inner_text(
        "#share-result-text"
    )
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
    assert "1 day left" in links.all_inner_texts()[0]
    owner.page.get_by_role("button", name="Revoke: To watch, for Grace").click()
    assert guest.state() == "connected"  # somebody is here by it: it asks again first
    owner.page.get_by_role("button", name="Really revoke: To watch, for Grace").click()
    guest.wait_for_state("ended", "signed-out")
    assert guest.page.locator("#panel").is_visible()


def test_a_public_link_has_a_code_that_is_the_link_and_used_up_ones_are_folded(
    start_bridge: StartBridge, tmp_path: Path, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge("--ngrok", env=install_fake_ngrok(tmp_path).env)
    local = f"http://127.0.0.1:{bridge.control.status().port}/"
    owner = new_tab(new_context()).open(local + bridge.control.link().query)
    once = new_tab(new_context()).open(local + bridge.control.share("viewer", uses=1).query)
    once.page.goto("about:blank")
    owner.page.click("#share-open")
    for name in ("Grace", "Linus"):
        owner.page.get_by_label("For whom").fill(name)
        press(owner, "Make the link")
        wait_until(lambda: owner.page.is_visible("#share-link"), "the link is there")
        assert read_qr(drawn_modules(owner)) == owner.page.input_value("#share-link")
        assert owner.page.is_hidden("#share-here")
        press(owner, "Another link")
    fold = owner.page.locator("#links-spent summary")
    wait_until(lambda: fold.all_inner_texts() == ["1 used-up link"], "what is used up is folded")
    titles = owner.page.locator("#links-list .plain-title").all_inner_texts()
    assert titles[:2] == ["To watch, for Linus", "To watch, for Grace"]
    assert owner.page.locator("#links-spent-list li").is_hidden()
    fold.click()
    assert "used up" in owner.page.inner_text("#links-spent-list li")


@pytest.mark.long
def test_who_loads_the_page_again_is_no_news(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    context = new_context()
    context.add_init_script(TOLD)
    owner = new_tab(context).open(bridge.link)
    grace = new_tab(new_context()).open(bridge.control.share("viewer", name="Grace").url)
    wait_for_toast(owner, "Grace joined")
    before = grace.page.evaluate("() => window.ttybridge.id()")
    grace.page.reload()
    grace.wait_for_state("connected")
    assert grace.page.evaluate("() => window.ttybridge.id()") != before
    linus = new_tab(new_context()).open(bridge.control.share("viewer", name="Linus").url)
    wait_for_toast(owner, "Linus joined")
    linus.page.goto("about:blank")
    wait_for_toast(owner, "Linus left")
    told = owner.page.evaluate("() => window.told")
    assert told == ["Grace joined", "Linus joined", "Linus left"]


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
    assert guest.page.is_hidden("#panel-action")
    check_nothing_to_do(guest)
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
    check_nothing_to_do(grace)
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
    check_nothing_to_do(linus)
    assert owner.page.is_hidden("#locked")
    owner.page.get_by_label("Locked: nobody new").click()
    wait_until(lambda: bridge.control.people().locked, "the door is locked")
    press(linus, "Try again")
    wait_until(lambda: "Closed" in linus.page.inner_text("#panel"), "he is told why")
    assert grace.page.is_hidden("#locked")
    back(owner)
    owner.page.click("#locked")
    assert owner.page.is_checked("#door-locked")


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
