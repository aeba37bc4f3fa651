"""The modes that a replay begins with."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.screen_modes import ScreenModes


def prelude(*parts: bytes) -> bytes:
    modes = ScreenModes()
    for part in parts:
        modes.feed(part)
    return modes.prelude()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"plain text \x1b[31mred", b""),
        (b"\x1b[?1049h", b"\x1b[?1049h"),
        (b"\x1b[?25l\x1b[?1049h", b"\x1b[?1049h\x1b[?25l"),
        (b"\x1b[?1000;1006h", b"\x1b[?1000h\x1b[?1006h"),
        (b"\x1b[?1049h\x1b[?1049l", b"\x1b[?1049l"),
        (b"\x1b=", b"\x1b="),
        (b"\x1b(0line drawing", b"\x1b(0"),
        (b"\x1b[?2004h\x1bc", b""),
    ],
)
def test_the_prelude_restores_what_holds(output: bytes, expected: bytes) -> None:
    assert prelude(output) == expected


@given(st.lists(st.integers(0, 60), max_size=8))
def test_it_does_not_matter_where_the_output_is_cut(cuts: list[int]) -> None:
    output = b"a\x1b[?1049h\x1b[1;31mb\x1b[?25l\x1b=\x1b[?1000;1006h\x1b(Bend\x1b[?2004h"
    edges = [0, *sorted(min(c, len(output)) for c in cuts), len(output)]
    parts = [output[a:b] for a, b in itertools.pairwise(edges)]
    assert prelude(*parts) == prelude(output)


@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data: bytes) -> None:
    prelude(data, data)


def test_a_copy_is_independent() -> None:
    modes = ScreenModes()
    modes.feed(b"\x1b[?25l\x1b[?20")
    twin = modes.copy()
    twin.feed(b"04h")
    assert modes.prelude() == b"\x1b[?25l"
    assert twin.prelude() == b"\x1b[?25l\x1b[?2004h"
