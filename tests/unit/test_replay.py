"""Replays from the middle of a log: the modes are those of all output before, however asked."""

import random

import pytest

from ttybridge.core.output_log import OutputLog
from ttybridge.core.replay import Replay
from ttybridge.core.screen_modes import ScreenModes

PARTS = [
    *[b"\n", b"words and words", b"\n", b"\x1b(0", b"\x1b(B", b"\x1b]0;title\x07"],
    *[b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[?25h", b"\x1b[?2004h", b"\x1b[1m", b"\x1b[31m"],
    b"\x1b[0m",
]


def modes_at(everything: bytes, end: int) -> bytes:
    """Return what a terminal needs that has seen nothing, to be as after `end` bytes."""
    modes = ScreenModes()
    modes.feed(everything[:end])
    return modes.prelude()


@pytest.mark.parametrize("seed", range(60))
def test_the_modes_are_those_of_all_output_before(seed: int) -> None:
    rng = random.Random(seed)
    log = OutputLog(4000)
    replay = Replay(log)
    everything = b""
    for _ in range(60):
        data = b"".join(rng.choices(PARTS, k=rng.randrange(60)))
        everything += data
        log.append(data)
        if log.end - log.start > log.limit_bytes:
            replay.forget(log.end - log.limit_bytes)
            log.trim(log.end - log.limit_bytes)
        for _ in range(rng.randrange(4)):  # sooner and later places, in any order
            first = rng.randint(log.start, log.end)
            start, prelude = replay.point(first)
            line = everything.find(b"\n", first)
            assert start == (0 if first == 0 else line + 1 if line >= 0 else first)
            assert prelude == (b"" if first == 0 else modes_at(everything, start))


def test_who_falls_behind_after_somebody_else_costs_what_came_between() -> None:
    log = OutputLog(1 << 20)
    replay = Replay(log)
    log.append(b"line\n" * 100_000)
    replay.point(300_000)
    looked = []
    feed = ScreenModes.feed

    def count(modes: ScreenModes, data: bytes) -> None:
        looked.append(len(data))
        feed(modes, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScreenModes, "feed", count)
        replay.point(300_100)
    assert sum(looked) <= 105
