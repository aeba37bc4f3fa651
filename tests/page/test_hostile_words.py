"""Links open web pages alone; names, titles, addresses and recordings are text everywhere."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.conftest import StartBridge, Tmux, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.escapes import (
    BAD_ADDRESSES,
    CORPUS,
    FENCE,
    FENCE_ANSWER,
    GOOD_ADDRESSES,
    MARKUP,
    SCRIPT,
    TITLES,
    link,
)
from tests.page.tab import Tab
from tests.page.watch import UNSEEN, Puppet, Watch, check_plain

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

MAX_NAME = 40


@pytest.fixture
def puppet(tmp_path: Path) -> Puppet:
    return Puppet(tmp_path / "puppet")


def show(puppet: Puppet, data: bytes) -> None:
    """Have something printed on an empty screen, and wait until it is there."""
    puppet.take()
    puppet.print(b"\x1bc" + data + FENCE)
    wait_until(lambda: puppet.take().endswith(FENCE_ANSWER), "the answer to the fence")


def click(tab: Tab) -> None:
    """Click the third character of the first row; the pointer comes from elsewhere."""
    box = tab.page.locator(".xterm-screen").bounding_box()
    cols, rows = tab.size()
    assert box is not None
    x, y = box["x"] + box["width"] / cols * 2.5, box["y"] + box["height"] / rows * 0.5
    tab.page.mouse.move(x + 300, y + 200)
    tab.page.mouse.move(x, y)
    tab.page.mouse.click(x, y)


def opened(watch: Watch) -> list[str]:
    """Return what was given to `window.open`, and that nothing else was done."""
    seen = watch.seen()["seen"]
    assert {one[0] for one in seen} <= {"open", "focus"}, seen
    assert all(one[2:] == ["_blank", "noopener,noreferrer"] for one in seen if one[0] == "open")
    return [one[1] for one in seen if one[0] == "open"]


def test_a_click_opens_web_pages_and_nothing_else(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab, puppet: Puppet
) -> None:
    bridge = start_bridge(command=puppet.argv)
    context = new_context()
    for host in ("good.example", "evil.example", "bcher-kva.example", "bnk-6cd.example"):
        context.route(
            re.compile(rf"^https?://[^/]*{re.escape(host)}/"),
            lambda route: route.fulfill(content_type="text/html", body="<p id=there>there"),
        )
    tab = new_tab(context)
    watch = Watch(tab.page)
    tab.open(bridge.link)
    tab.wait_for("puppet-ready")
    watch.begin()
    for address in BAD_ADDRESSES:
        for data in (link(address), address.encode()):
            if address.startswith("https://good.example/a") and data == address.encode():
                continue  # as plain text it fills the screen
            show(puppet, data + b"\r\n")
            click(tab)
            found = opened(watch)
            # As text, the part from https:// on may be a link of its own.
            assert found == [] or (
                data == address.encode() and found[0].startswith("https://good.example")
            ), found
    watch.events.clear()
    for address, begins in GOOD_ADDRESSES.items():
        show(puppet, link(address) + b"\r\n")
        with context.expect_page() as news:
            click(tab)
        (found_one,) = opened(watch)
        assert found_one.startswith(begins)
        hint = tab.page.inner_text("#link-hint")
        assert hint.startswith(begins)
        assert not UNSEEN & {ord(char) for char in hint}
        box, main = (tab.page.locator(one).bounding_box() for one in ("#link-hint", "#main"))
        assert box is not None
        assert main is not None
        assert box["width"] <= main["width"]
        assert box["height"] < 60
        other = news.value
        other.wait_for_selector("#there")
        assert other.evaluate("() => [window.opener, document.referrer]") == [None, ""]
        other.close()
        watch.events.clear()
    assert watch.seen()["canary"] == []


NAMES = {
    "markup": "<img src=x onerror=window.__canary.push(1)>",
    "quotes": "\"'><script>window.__canary.push(1)</script>",
    "turned around": "\u202eAda\u2066 \u2069\u200fB",
    "controls": "Ada\x1b]0;x\x07\x00\x9b31m\r\nB",
    "marks": "Z" + "\u0301" * 100,
    "wide": "﷽" * 60,
    "template": "${window.__canary.push(1)}{{1+1}}%s",
}


@pytest.mark.long
def test_names_of_people_and_links_are_text(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    owner = new_tab(new_context())
    watch = Watch(owner.page)
    owner.open(bridge.link)
    owner.wait_for(r"\$")
    watch.begin()
    guests = []
    for words, name in NAMES.items():
        guest = new_tab(new_context()).open(bridge.control.share("viewer", name=name).url)
        guest.page.get_by_role("button", name="Raise hand", exact=True).click()
        guests.append(guest)

        def all_hands() -> bool:
            return sum(one.hand for one in bridge.control.people().people) == len(guests)

        wait_until(all_hands, f"the hand of {words}")
    wait_until(
        lambda: f"{len(NAMES)} people ask" in owner.page.inner_text("#toasts"), "the message"
    )
    owner.page.click("#people-open")
    wait_until(lambda: owner.page.locator(".person").count() == len(NAMES) + 1, "all are listed")
    shown = owner.page.locator(".person-name").all_inner_texts()
    for text in [*shown, *owner.page.locator(".person button").all_inner_texts()]:
        check_plain(text, MAX_NAME)
    for words in ("markup", "quotes", "template"):
        assert any(text == NAMES[words][:MAX_NAME].strip() for text in shown), (words, shown)
    # No name is wider or higher than its row, nor stands over the next one.
    for row in owner.page.locator(".person").all():
        outer, inner = row.bounding_box(), row.locator(".person-name").bounding_box()
        assert outer is not None
        assert inner is not None
        assert inner["x"] + inner["width"] <= outer["x"] + outer["width"]
        assert inner["height"] <= outer["height"]
    owner.press("Escape")
    owner.page.click("#share-open")
    links = owner.page.locator("#links-list .plain-title")
    wait_until(lambda: links.count() == len(NAMES), "all links are listed")
    for text in links.all_inner_texts():
        check_plain(text, MAX_NAME + 20)
    for tab in (owner, *guests):
        assert tab.page.evaluate("() => document.querySelectorAll('img[src=x]').length") == 0
    state = watch.seen()
    assert (state["canary"], state["planted"], watch.events) == ([], 0, [])
    assert {one[0] for one in state["seen"]} <= {"added", "focus"}
    assert watch.hosts <= {bridge.host}


def test_the_name_of_a_session_is_text(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    tab = new_tab()
    watch = Watch(tab.page)
    tab.open(bridge.link)
    tab.wait_for(r"\$")
    name = "<b id=planted>x</b>"
    tmux("set-option", "-g", "status-left-length", "80")
    tmux("rename-session", "-t", "=0", name)
    tmux("rename-window", name)
    tmux("select-pane", "-T", MARKUP)
    tab.wait_for(name)
    state = watch.seen()
    assert (state["canary"], state["planted"]) == ([], 0)
    tmux("rename-session", "-t", name, "0")


def test_the_name_of_the_program_is_text(start_bridge: StartBridge, new_tab: NewTab) -> None:
    script = f"# {MARKUP}\n" + "echo shown; read go"
    tab = new_tab()
    watch = Watch(tab.page)
    tab.open(start_bridge(command=["sh", "-c", script, MARKUP]).link)
    tab.page.click("#settings-open")
    state = watch.seen()
    assert (state["canary"], state["planted"]) == ([], 0)
    assert tab.page.locator("#title *").count() == 0
    check_plain(tab.page.inner_text("#title"), 600)
    check_plain(tab.page.title(), 140)


PATHS = (
    "{m}",
    "login?next={m}",
    "login?token={m}",
    "?link={m}",
    "?token={m}",
    "recordings/{m}",
    "replay?name={m}",
    "api/{m}",
    "proxy/{m}/x",
    "tty/?sid={m}&EIO=4&transport=polling",
    "%00%0d%0aX:%20y{m}",
)


@pytest.mark.long
def test_pages_of_errors_and_the_login_repeat_nothing(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    stranger, owner = new_context(), new_context()
    new_tab(owner).open(bridge.link)
    for context, is_in in ((stranger, False), (owner, True)):
        page: Page = context.new_page()
        page.add_init_script("Object.defineProperty(window, '__canary', { value: [] })")
        dialogs: list[str] = []

        def on_dialog(dialog: Any, dialogs: list[str] = dialogs) -> None:
            if dialog.type != "beforeunload":
                dialogs.append(dialog.message)
            dialog.accept()

        page.on("dialog", on_dialog)
        for path in PATHS:
            page.goto(bridge.address + path.format(m=quote(MARKUP, safe="")), wait_until="load")
            html = page.content()
            assert "id=planted" not in html.replace("&lt;b id=planted&gt;", ""), (path, html[:500])
            if not (is_in and path.startswith("replay")):
                assert "onerror" not in html, (path, html[:500])  # nothing of it at all
            state: Any = page.evaluate(
                "() => [window.__canary.length,"
                " document.querySelectorAll('#planted, img[src=x]').length]"
            )
            assert state == [0, 0], path
        if not is_in:
            page.goto(bridge.address)
            page.fill("#token", MARKUP)
            page.press("#token", "Enter")
            page.wait_for_load_state("load")
            assert "onerror" not in page.content()
        assert dialogs == []
        page.close()


def test_all_of_the_corpus_is_harmless_in_a_recording(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    events: list[list[object]] = []
    for entry in CORPUS:
        if len(entry.data) <= 200_000:
            text = entry.data.decode(errors="replace")
            events += [[0, "o", text + "\x18\x1b\\\x1bc"], [0, "m", entry.name + MARKUP]]
    for title in TITLES.values():
        events.append([0, "i", title])
    events.append([0, "o", "the end of it"])
    header = {"version": 2, "width": 80, "height": 24, "title": "".join(TITLES.values())[:10_000]}
    lines = [header, *events]
    (folder / "evil.cast").write_text("".join(json.dumps(line) + "\n" for line in lines))
    bridge = start_bridge("--record-dir", str(folder))
    tab = new_tab()
    watch = Watch(tab.page, "#player")
    tab.page.set_extra_http_headers({"Authorization": f"Bearer {bridge.token}"})
    tab.page.goto(f"{bridge.address}replay?name=evil.cast")
    rows = """() => Array.from(document.querySelectorAll(".ap-term-text .ap-line"), (line) =>
      line.textContent.trimEnd()).join("\\n")"""
    wait_until(lambda: "the end of it" in tab.page.evaluate(rows), "the end of the recording")
    state = watch.seen()
    assert (state["canary"], state["planted"], state["stray"], state["above"]) == ([], 0, [], [])
    # The player measures its font outside of its box.
    seen = [
        one for one in state["seen"] if not (one[0] == "added" and "ap-default-term-ff" in one[1])
    ]
    assert {one[0] for one in seen} <= {"focus"}, seen
    assert [event for event in watch.events if not event.startswith("went to")] == []
    assert watch.hosts <= {bridge.host}
    assert state["overflow"][0] <= 0
    check_plain(state["title"], 240)
    assert tab.page.locator("#player a").count() == 0
    assert SCRIPT not in tab.page.evaluate("() => [...document.scripts].map((s) => s.text).join()")
