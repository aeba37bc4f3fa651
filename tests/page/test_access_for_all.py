"""Small touch screens, keyboards alone, and screen readers."""

from pathlib import Path

import pytest

from tests.conftest import StartBridge, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.tab import Tab

pytestmark = pytest.mark.browser

FITS = """() => {
  const root = document.documentElement;
  return root.scrollWidth <= innerWidth && root.scrollHeight <= innerHeight
    && document.body.scrollWidth <= innerWidth;
}"""

UNNAMED = """() => [...document.querySelectorAll("button, input, select, textarea, a")]
  .filter((element) => element.id !== "panel-action")  // named when there is something to press
  .filter((element) => !(element.getAttribute("aria-label") || element.textContent.trim()
    || element.labels?.length || element.getAttribute("aria-labelledby")))
  .map((element) => element.outerHTML)"""

FOCUSED = """() => {
  const element = document.activeElement;
  return element.closest("#terminal") ? "terminal"
    : element.closest("#bar") ? "bar" : element.id || element.tagName;
}"""


def open_phone(new_context: NewContext, new_tab: NewTab, link: str) -> Tab:
    context = new_context(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        device_scale_factor=2,
    )
    return new_tab(context).open(link)


def tap(tab: Tab, name: str) -> None:
    tab.page.locator("#touchbar").get_by_role("button", name=name, exact=True).tap()


def test_a_phone_shows_the_whole_page_and_has_the_keys_it_lacks(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab, tmp_path: Path
) -> None:
    tab = open_phone(new_context, new_tab, start_bridge().link)
    assert tab.page.evaluate(FITS)
    cols, rows = tab.size()
    assert cols >= 40
    assert rows >= 20
    tab.check_window()
    tab.run("cat -v")
    tap(tab, "Esc")
    tap(tab, "Vertical bar")
    tap(tab, "Tilde")
    for name in ("Up", "Down", "Right", "Left"):
        tap(tab, name)
    tab.press("Enter")
    tab.wait_for(r"^\^\[\|~\^\[\[A\^\[\[B\^\[\[C\^\[\[D$")
    tab.page.screenshot(path=tmp_path / "phone.png")
    tap(tab, "Ctrl")
    ctrl = tab.page.locator("[data-modifier=ctrl]")
    assert ctrl.get_attribute("aria-pressed") == "true"
    tab.type("c")
    assert ctrl.get_attribute("aria-pressed") == "false"
    tab.run("echo after-$?")
    tab.wait_for("^after-130$")
    tap(tab, "Up")
    tab.press("Enter")
    wait_until(
        lambda: sum(row.startswith("after-") for row in tab.screen()) == 2,
        "the arrow brings the last command back",
    )
    small = [
        box
        for box in (button.bounding_box() for button in tab.page.locator("#touchbar button").all())
        if box is None or box["width"] < 24 or box["height"] < 24
    ]
    assert small == []


def test_the_keyboard_on_the_screen_leaves_the_prompt_in_sight(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    tab = open_phone(new_context, new_tab, start_bridge().link)
    before = tab.size()
    tab.page.set_viewport_size({"width": 390, "height": 480})
    wait_until(lambda: tab.size()[1] < before[1], "the terminal has fewer rows")
    assert tab.page.evaluate(FITS)
    tab.check_window()
    tab.run("seq 1 100; echo prompt")
    tab.wait_for("^prompt$")
    screen = tab.page.locator(".xterm-screen").bounding_box()
    keys = tab.page.locator("#touchbar").bounding_box()
    assert screen is not None
    assert keys is not None
    assert screen["y"] + screen["height"] <= keys["y"]
    assert keys["y"] + keys["height"] <= 480


def test_the_desktop_page_has_no_touch_keys_and_does_not_scroll(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("ls --color=always /; echo done")
    tab.wait_for("^done$")
    assert tab.page.evaluate(FITS)
    assert tab.page.is_hidden("#touchbar")
    tab.page.screenshot(path=tmp_path / "desktop.png")


def test_the_keyboard_leads_out_of_the_terminal_and_back(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    assert tab.page.evaluate(FOCUSED) == "terminal"
    tab.press("Tab")
    assert tab.page.evaluate(FOCUSED) == "terminal"  # a shell needs the key
    for keys in ("Control+F6", "Control+Shift+Escape"):
        tab.press(keys)
        assert tab.page.evaluate(FOCUSED) == "bar"
        tab.press("Shift+Tab")
        assert tab.page.evaluate(FOCUSED) == "bar"
        tab.press("Escape")
        assert tab.page.evaluate(FOCUSED) == "terminal"
    tab.press("Control+u")
    tab.run("echo back-$((1+1))")
    tab.wait_for("^back-2$")


def test_the_font_size_is_changed_by_keys_and_remembered(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    before = tab.size()
    font_size = "() => window.ttybridge.terminal.options.fontSize"
    usual = tab.page.evaluate(font_size)
    tab.press("Control+Equal", "Control+Equal", "Control+Equal")
    wait_until(lambda: tab.page.evaluate(font_size) == usual + 3, "three steps")
    wait_until(lambda: tab.size() < before, "fewer, larger characters fit")
    larger = tab.size()
    tab.page.reload()
    tab.wait_for_state("connected")
    wait_until(lambda: tab.size() == larger, "the size is remembered")
    tab.press("Control+0")
    wait_until(lambda: tab.size() == before, "the usual size is back")


def test_everything_has_a_name_and_the_state_is_told(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    tab = new_tab()
    tab.page.goto(bridge.address)
    assert tab.page.evaluate("() => document.documentElement.lang") == "en"
    assert tab.page.get_by_role("main").count() == 1
    assert tab.page.evaluate(UNNAMED) == []
    tab.open(bridge.link)
    assert tab.page.evaluate("() => document.documentElement.lang") == "en"
    for role in ("banner", "main"):
        assert tab.page.get_by_role(role).count() == 1
    assert tab.page.get_by_role("heading", level=1).count() == 1
    assert tab.page.evaluate(UNNAMED) == []
    words = tab.page.locator("#status-words")
    assert words.get_attribute("aria-live") == "polite"
    assert words.inner_text() == "Connected"
    tab.press("Control+F6", "Enter")
    assert tab.page.get_by_role("dialog", name="Settings and help").is_visible()
    tab.press("Escape")
    assert tab.page.get_by_role("dialog").count() == 0
    # A dialog tells of its end in a task of its own.
    wait_until(lambda: tab.page.evaluate(FOCUSED) == "terminal", "the terminal has the focus")


def test_screen_reader_mode_puts_the_screen_into_words(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("echo read-me-$((1+1))")
    tab.wait_for("^read-me-2$")
    tab.press("Control+F6", "Enter")
    tab.page.get_by_label("Screen reader mode").check()
    tab.press("Escape")
    rows = tab.page.locator(".xterm-accessibility").get_by_role("listitem")
    wait_until(lambda: "read-me-2" in rows.all_inner_texts(), "the row can be read")


def test_the_theme_follows_the_system_and_the_choice_is_remembered(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    back = "() => window.ttybridge.terminal.options.theme.background"
    tab = new_tab(new_context(color_scheme="dark")).open(start_bridge().link)
    dark = tab.page.evaluate(back)
    tab.page.emulate_media(color_scheme="light")
    wait_until(lambda: tab.page.evaluate(back) != dark, "the page is light")
    tab.page.get_by_role("button", name="Dark theme").click()
    wait_until(lambda: tab.page.evaluate(back) == dark, "the page is dark")
    tab.page.reload()
    tab.wait_for_state("connected")
    assert tab.page.evaluate(back) == dark
