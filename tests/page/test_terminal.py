"""The terminal in a tab: the link, programs, sizes, colours, the clipboard, the title."""

import base64
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import StartBridge, Tmux, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.tab import Tab

pytestmark = pytest.mark.browser


def test_the_link_opens_the_session_and_the_token_leaves_the_address_bar(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    context = new_context()
    tab = new_tab(context).open(bridge.link)
    assert tab.page.url == bridge.address
    assert bridge.token not in tab.page.evaluate("() => document.documentElement.outerHTML")
    assert not tab.page.evaluate("() => document.cookie")
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)
    assert bridge.token not in cookie["value"]
    tab.run("echo sum-$((40+2)) in $TMUX_PANE")
    tab.wait_for(r"^sum-42 in %0$")
    assert "sum-42 in %0" in tmux.screen()
    tab.page.reload()
    tab.wait_for(r"^sum-42 in %0$")
    assert tab.hosts == {urlsplit(bridge.link).netloc}
    assert tab.console_errors == []


def test_vim_edits_a_file_and_gives_the_screen_back(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("echo before-vim")
    tab.wait_for("^before-vim$")
    tab.run("vim -u NONE -N note.txt")
    tab.wait_for("note.txt.*New")
    assert tab.row_of("^before-vim$") is None
    tab.press("i")
    tab.wait_for("INSERT")
    tab.type("first line")
    tab.press("Enter")
    tab.type("naïve 漢字 x")
    tab.press("Escape", "ArrowLeft", "x")
    tab.wait_for("^naïve 漢字x$")
    tab.run(":wq")
    tab.wait_for("^before-vim$")
    assert (tmp_path / "note.txt").read_text() == "first line\nnaïve 漢字x\n"


def test_htop_draws_and_quits(start_bridge: StartBridge, new_tab: NewTab) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("echo before-htop; htop")
    tab.wait_for(r"F10\s*Quit")
    tab.wait_for(r"\bPID\b")
    assert tab.row_of("^before-htop$") is None
    tab.press("q")
    tab.wait_for("^before-htop$")


def test_the_alternate_screen_of_a_direct_command_comes_and_goes(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    bridge = start_bridge(command=["sh", "-c", "echo plain; read go; vim -u NONE; cat"])
    tab = new_tab().open(bridge.link)
    tab.wait_for("^plain$")
    tab.press("Enter")
    tab.wait_for("VIM - Vi IMproved")
    assert tab.is_alternate()
    tab.run(":q")
    tab.wait_for("^plain$")
    assert not tab.is_alternate()


def is_inside(tab: Tab, width: int, height: int) -> bool:
    """Tell whether the terminal's cells are all within a viewport of this size."""
    box = tab.page.locator(".xterm-screen").bounding_box()
    assert box is not None
    right, bottom = box["x"] + box["width"], box["y"] + box["height"]
    return box["x"] >= 0 and box["y"] >= 0 and right <= width and bottom <= height


def test_the_window_follows_the_size_of_the_tab(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    sizes: list[tuple[int, int]] = []

    def follows() -> bool:
        told = tmux("list-clients", "-F", "#{client_width} #{client_height}")
        return tab.size() not in sizes and told == " ".join(map(str, tab.size()))

    for width, height in [(1000, 640), (1400, 900), (500, 420)]:
        tab.page.set_viewport_size({"width": width, "height": height})
        wait_until(follows, "tmux has the new size of the tab")
        sizes.append(tab.size())
        tab.check_window()
        wait_until(partial(is_inside, tab, width, height), "the whole terminal can be seen")


def test_colours_and_characters_arrive_exactly(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    text = "é漢😀ñ\N{COMBINING TILDE}→"
    parts = [
        f"\x1b[38;2;12;{34 + i};56m\x1b[48;2;200;{100 + i};50m{c}" for i, c in enumerate("abc")
    ]
    (tmp_path / "art").write_text("".join(parts) + "\x1b[0m" + text + "\nthe-end\n")
    tab = new_tab().open(start_bridge().link)
    tab.run("clear; cat art")
    row = tab.wait_for("^the-end$") - 1
    for i, char in enumerate("abc"):
        front, back = (12 << 16) + ((34 + i) << 8) + 56, (200 << 16) + ((100 + i) << 8) + 50
        assert tab.cells(row, i, 1) == [[char, 1, front, back]]
    after = [(chars, width) for chars, width, _, _ in tab.cells(row, 3, 8)]
    assert after[:5] == [("é", 1), ("漢", 2), ("", 0), ("😀", 2), ("", 0)]
    assert after[5:7] == [("ñ\N{COMBINING TILDE}", 1), ("→", 1)]
    assert tab.screen()[row] == f"abc{text}"


def test_a_program_in_tmux_copies_to_the_clipboard_of_the_browser(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    text = "copied: naïve 😀\nsecond line"
    tab.run(rf"printf '\033]52;c;{base64.b64encode(text.encode()).decode()}\007'")
    read = "() => navigator.clipboard.readText()"
    wait_until(lambda: tab.page.evaluate(read) == text, "the text is on the clipboard")


def test_a_program_never_reads_the_clipboard(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    # The terminal answers the second question (device attributes), so the first was seen.
    ask = r"stty raw -echo; printf '\033]52;c;?\007\033[c'; head -c 7 > answer; echo done; cat"
    bridge = start_bridge("--wait", command=["sh", "-c", ask])
    tab = new_tab().open(bridge.link)
    tab.page.evaluate("() => navigator.clipboard.writeText('secret')")
    tab.wait_for("done")
    assert (tmp_path / "answer").read_bytes() == b"\x1b[?1;2c"


def test_the_title_is_the_terminals_as_plain_text(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    say = r"printf '\033]2;work <b>\342\200\256 here\007'; cat"  # U+202E turns text around
    tab = new_tab().open(start_bridge("--wait", command=["sh", "-c", say]).link)
    wait_until(
        lambda: tab.page.title() == "work <b> here – ttybridge",
        "the title of the tab",
    )
