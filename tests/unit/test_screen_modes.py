"""The state that a replay begins with."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ttybridge.core import screen_modes
from ttybridge.core.screen_modes import MOST_LATER_BYTES, PIECE_BYTES, LaterModes, ScreenModes

PARTS = [
    *(b"\x1b[%d;%dm" % pen for pen in ((1, 31), (0, 4), (38, 5))),
    *(b"\x1b", b"[", b"]", b"(", b"0", b"B", b"?", b"25", b";", b"h", b"l", b"m", b"r", b" q"),
    *(b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[2;9r", b"\x1b[4 q", b"\x1b=", b"\x1b>", b"\x1b(0"),
    *(b"\x1b[K", b"\x1b[2J", b"\x1bc", b"\x1b[m", b"\x1b\\", b"\x1b]2;a title\x07", b"\x07", b"c"),
    *(b"text", b"\xe2\x9c\x93"),
]  # fmt: skip


def prelude(*parts: bytes) -> bytes:
    modes = ScreenModes()
    for part in parts:
        modes.feed(part)
    return modes.prelude()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"plain text", b""),
        (b"plain text \x1b[31mred", b"\x1b[31m"),
        (b"\x1b[1;3;31;44m\x1b[22;39m", b"\x1b[3;44m"),
        (b"\x1b[38;5;9;4m\x1b[48;2;1;2;3m", b"\x1b[38;5;9;4;48;2;1;2;3m"),
        (b"\x1b[4:3;58:2::1:2:3m", b"\x1b[4:3;58:2::1:2:3m"),
        (b"\x1b[4:3m\x1b[4:0m", b""),
        (b"\x1b[4;7m\x1b[24m\x1b[27m", b""),
        (b"\x1b[31m\x1b[m", b""),
        (b"\x1b[1;31m\x1b[0;32m", b"\x1b[32m"),
        (b"\x1b[31m\x1bc", b""),
        (b"\x1b[2;9r", b"\x1b[2;9r"),
        (b"\x1b[4 q", b"\x1b[4 q"),
        (b"\x1b]12;red\x07", b"\x1b]12;red\x07"),
        (b"\x1b]12;red\x07\x1b]112\x07", b""),
        (b"\x1b]2;a title\x1b\\", b"\x1b]2;a title\x1b\\"),
        (b"red \x1b[3", b"\x1b[3"),
        (b"\x1b]2;a tit", b"\x1b]2;a tit"),
        (b"\x1b]2;a title\x1b", b"\x1b]2;a title\x1b"),
        (b"\x1bP=1s\x1b", b"\x1bP=1s\x1b"),
        (b"\x1b[?1049h", b"\x1b[?1049h"),
        (b"\x1b[?25l\x1b[?1049h", b"\x1b[?1049h\x1b[?25l"),
        (b"\x1b[?1000;1006h", b"\x1b[?1000h\x1b[?1006h"),
        (b"\x1b[?1049h\x1b[?1049l", b"\x1b[?1049l"),
        (b"\x1b=", b"\x1b="),
        (b"\x1b(0line drawing", b"\x1b(0"),
        (b"\x1b(0\x1b(Kof another country", b"\x1b(0"),
        (b"\x1b(0cut \x1b(", b"\x1b(0\x1b("),
        (b"\x1b(0\x1bc", b""),
        (b"\x1b[?123456h\x1b[?;25l", b"\x1b[?25l"),
        (b"\x1b[?2004h\x1bc", b""),
    ],
)
def test_the_prelude_restores_what_holds(output: bytes, expected: bytes) -> None:
    assert prelude(output) == expected


@given(st.lists(st.integers(0, 120), max_size=8))
def test_it_does_not_matter_where_the_output_is_cut(cuts: list[int]) -> None:
    output = (
        b"a\x1b[?1049h\x1b[1;31mb\x1b[?25l\x1b=\x1b[?1000;1006h\x1b(Bend\x1b[?2004h"
        b"\x1b[2;5r\x1b]0;title\x1b\\\x1b[4 q\x1b]12;red\x07\x1b[22m\x1b[38;5;7m"
    )
    edges = [0, *sorted(min(c, len(output)) for c in cuts), len(output)]
    parts = [output[a:b] for a, b in itertools.pairwise(edges)]
    assert prelude(*parts) == prelude(output)


@example(b"\x1b[?25lm")  # what follows might make a colour of each
@example(b"\x1b[?25hm")
@example(b"\x1b[2;9rm")
@example(b"\x1b[4 qm")
@given(st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join))
def test_what_is_told_at_a_glance_is_what_a_close_look_finds(output: bytes) -> None:
    glanced = prelude(output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen_modes, "_count_others", lambda _: -1)
        assert prelude(output) == glanced


@pytest.mark.parametrize(
    "output",
    [
        b"\x1b[1;31mred\x1b[0m", b"\x1b[2K\x1b[K", b"\x1b(B\x1b[m", b"text \xff",
        b"\x1b[1mcut \x1b[38;5", b"cut \x1b(", b"cut \x1b",
    ],
)  # fmt: skip
def test_colours_are_told_at_a_glance(output: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(screen_modes, "_SEQUENCE")
    prelude(output)


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data: bytes) -> None:
    prelude(data, data)


def test_a_program_cannot_fill_the_memory_with_modes() -> None:
    modes = ScreenModes()
    for number in range(50):
        modes.feed(b"".join(b"\x1b[?%d%03dh" % (number, low) for low in range(1000)))
    modes.feed(b"\x1b[?1049h\x1b[?25l")
    assert len(modes.prelude()) < 2000
    assert modes.prelude().startswith(b"\x1b[?1049h")
    assert modes.prelude().endswith(b"\x1b[?49999h\x1b[?25l")


def test_a_copy_is_independent() -> None:
    modes = ScreenModes()
    modes.feed(b"\x1b[?25l\x1b[?20")
    twin = modes.copy()
    twin.feed(b"04h")
    assert modes.prelude() == b"\x1b[?25l\x1b[?20"
    assert twin.prelude() == b"\x1b[?25l\x1b[?2004h"


@given(st.lists(st.sampled_from([*PARTS, None]), max_size=30))
def test_output_that_is_looked_at_later_leaves_the_same_state(steps: list[bytes | None]) -> None:
    later, modes = LaterModes(), ScreenModes()
    for part in steps:
        if part is None:  # a moment
            later.look_at_some()
        else:
            later.add(part)
            modes.feed(part)
    assert later.state().prelude() == modes.prelude()
    later.state().feed(b"\x1b[?2026h")
    assert later.state().prelude() == modes.prelude(), "it is the caller's own"


def test_a_moment_is_short_and_little_waits() -> None:
    later = LaterModes()
    later.add(b"x" * (2 * PIECE_BYTES + 1))
    waiting = []
    for _ in range(4):
        later.look_at_some()
        waiting.append(later.waiting_bytes)
    assert waiting == [PIECE_BYTES + 1, 1, 0, 0]
    for _ in range(8):
        later.add(b"\x1b[?25l" + b"x" * (MOST_LATER_BYTES // 2))
        assert later.waiting_bytes <= MOST_LATER_BYTES
