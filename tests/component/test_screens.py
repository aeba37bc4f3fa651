"""The comparer of screens itself: it must find whatever differs, or its silence means nothing."""

from collections.abc import Iterator

import pytest

from tests.screens import Screens, Viewer, assert_same, differences, needs_screens

pytestmark = [pytest.mark.node, needs_screens]

BASE = (
    b"\x1b[2J\x1b[Hplain \x1b[1;31mred\x1b[0m \xe5\xad\x97\xf0\x9f\x98\x80 e\xcc\x81\r\n"
    b"\x1b[48;5;20mpalette\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[0m"
    b"\x1b[5;1Hwrap: 345678901234567890123456789 over"
)

PLANTED = {
    "another character": b"\x1b[1;1HP",
    "a blank for nothing": b"\x1b[4;10H ",
    "another width": b"\x1b[1;11H\x1b[1Pw",
    "a combining character less": b"\x1b[1;16He",
    "bold": b"\x1b[1;1H\x1b[1mp",
    "dim": b"\x1b[1;1H\x1b[2mp",
    "italic": b"\x1b[1;1H\x1b[3mp",
    "underline": b"\x1b[1;1H\x1b[4mp",
    "blink": b"\x1b[1;1H\x1b[5mp",
    "inverse": b"\x1b[1;1H\x1b[7mp",
    "invisible": b"\x1b[1;1H\x1b[8mp",
    "strike": b"\x1b[1;1H\x1b[9mp",
    "overline": b"\x1b[1;1H\x1b[53mp",
    "palette foreground": b"\x1b[1;1H\x1b[31mp",
    "bright foreground": b"\x1b[1;1H\x1b[91mp",
    "true foreground": b"\x1b[1;1H\x1b[38;2;9;9;9mp",
    "palette background": b"\x1b[1;1H\x1b[41mp",
    "true background": b"\x1b[1;1H\x1b[48;2;9;9;9mp",
    "background of an erased line": b"\x1b[3;1H\x1b[44m\x1b[K",
    "a link": b"\x1b[1;1H\x1b]8;;http://a.example\x07p\x1b]8;;\x07",
    "cursor": b"\x1b[2;2H",
    "hidden cursor": b"\x1b[?25l",
    "cursor style": b"\x1b[4 q",
    "alternate screen": b"\x1b[?1049h",
    "application cursor keys": b"\x1b[?1h",
    "application keypad": b"\x1b=",
    "bracketed paste": b"\x1b[?2004h",
    "insert": b"\x1b[4h",
    "focus": b"\x1b[?1004h",
    "wraparound": b"\x1b[?7l",
    "mouse": b"\x1b[?1000h",
    "mouse encoding": b"\x1b[?1006h",
    "title": b"\x1b]2;another\x07",
    "a line that does not go on": b"\x1b[6;1H\x1b[1L\x1b[5;31H0\r\nover",
}

HIDDEN = {
    "current attributes": b"\x1b[1;31m",
    "scroll region": b"\x1b7\x1b[2;4r\x1b8",
    "saved cursor": b"\x1b7",
    "tab stop": b"\x1b7\x1b[3g\x1b8",
    "a cut sequence": b"\x1b[3",
}


@pytest.fixture(scope="module")
def screens() -> Iterator[Screens]:
    with Screens() as process:
        yield process


def test_equal_streams_have_equal_screens_however_they_are_cut(screens: Screens) -> None:
    whole = screens.of(BASE, 30, 8)
    name = screens.open(30, 8)
    for byte in BASE:
        screens.feed(name, bytes((byte,)))
    assert_same(whole, screens.screen(name), hidden=True)


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_it_finds_what_differs(screens: Screens, planted: bytes) -> None:
    # The current attributes and the cursor are set back: each fault is all that differs.
    one = screens.of(BASE + b"\x1b7\x1b8", 30, 8)
    moves = b"" if planted in (PLANTED["cursor"], PLANTED["alternate screen"]) else b"\x1b8"
    other = screens.of(BASE + b"\x1b7" + planted + moves, 30, 8)
    found = differences(one, other)
    assert found
    assert len(found) == 1 or planted in (
        PLANTED["alternate screen"],
        PLANTED["another width"],
        PLANTED["background of an erased line"],
        PLANTED["a line that does not go on"],
    ), found


@pytest.mark.parametrize("planted", HIDDEN.values(), ids=HIDDEN)
def test_it_finds_on_request_what_is_not_seen(screens: Screens, planted: bytes) -> None:
    one, other = screens.of(BASE, 30, 8), screens.of(BASE + planted, 30, 8)
    assert differences(one, other) == []
    assert differences(one, other, hidden=True)


def test_it_finds_another_size(screens: Screens) -> None:
    assert differences(screens.of(b"x", 30, 8), screens.of(b"x", 30, 9))
    assert differences(screens.of(b"x", 30, 8), screens.of(b"x", 31, 8))


def test_it_finds_what_differs_in_the_lines_that_have_left_the_screen(screens: Screens) -> None:
    one = screens.of(b"one\r\n" + b"\r\n" * 10, 30, 8, scrollback=50)
    other = screens.of(b"two\r\n" + b"\r\n" * 10, 30, 8, scrollback=50)
    assert len(differences(one, other)) == 3


def test_a_viewer_is_shown_as_it_was_at_an_offset(screens: Screens) -> None:
    fast, late = Viewer(screens, 30, 8), Viewer(screens, 30, 8)
    fast.out(0, b"abc")
    fast.out(3, b"\r\n\x1b[1mdef")
    fast.out(12, b"ghi")
    late.event("joined", [{"offset": 7}])
    late.event("reset", [{"offset": 2, "reason": "replay", "hard": True}])
    late.event("out", [2, b"abc\r\n"])
    late.event("out", [7, b"\x1b[1mde"])
    assert fast.screen(at=11).text[:2] == ["abc", "de"]
    assert late.screen(at=13).text[:2] == ["abc", "de"]
    assert fast.screen().text[:2] == ["abc", "defghi"]
    assert (late.hard_resets, fast.hard_resets) == (1, 0)


def test_a_viewer_drops_what_it_has_and_a_gap_fails(screens: Screens) -> None:
    viewer = Viewer(screens, 30, 8)
    viewer.out(0, b"abc")
    viewer.out(1, b"bcd")
    assert viewer.screen(at=4).text[0] == "abcd"
    with pytest.raises(AssertionError, match="output at 5, expected 4"):
        viewer.out(5, b"x")


def test_sizes_and_resets_take_effect_at_their_places(screens: Screens) -> None:
    viewer = Viewer(screens, 30, 8)
    viewer.out(0, b"abc")
    viewer.size(10, 4)
    viewer.out(3, b"d")
    viewer.reset(100, hard=False)
    viewer.out(100, b"e")
    viewer.reset(200, hard=True)
    assert (viewer.screen(at=2).cols, viewer.screen(at=3).cols) == (30, 10)
    assert viewer.screen(at=101).text[0] == "abcde"
    assert viewer.screen(at=200).text[0] == ""
    with pytest.raises(AssertionError, match="never at 150"):
        viewer.screen(at=150)
