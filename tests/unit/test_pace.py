"""Credit that follows the line: quick lines get all of it, thin ones what they carry."""

import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.pace import LEAST_BYTES, START_BYTES, TYPING_SLACK_S, Pace

MOST = 256 * 1024

ACK_BYTES = 16 * 1024
"""Output after which the page acknowledges at once."""


class Line:
    """A line of a rate, with a round-trip time; the client acknowledges as it may."""

    def __init__(self, pace: Pace, bytes_s: float, rtt_s: float, wait_s: float) -> None:
        self.pace, self.bytes_s, self.rtt_s, self.wait_s = pace, bytes_s, rtt_s, wait_s
        self.now = self.free_at = 0.0
        self.sent = self.acked = self.taken = 0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.due: float | None = None
        self.jitter_s = 0.0
        self._random = random.Random(7)
        self._order = itertools.count()

    def run(self, until: float) -> None:
        """Send as much as the window allows, up to a time."""
        self._send()
        while self.events and self.events[0][0] <= until:
            self.now, _, event = heapq.heappop(self.events)
            event()
            self._send()
        self.now = until

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (at, next(self._order), event))

    def _send(self) -> None:
        while (room := self.pace.window - (self.sent - self.acked)) > 0:
            size = min(room, 16 * 1024, self.pace.most_at_once)
            self.sent += size
            self.pace.on_sent(self.sent, now=self.now, under_way=self.sent - self.acked)
            self.free_at = max(self.free_at, self.now) + size / self.bytes_s
            self._at(self.free_at + self.rtt_s / 2, partial(self._take, self.sent))

    def _take(self, offset: int) -> None:
        self.taken = offset
        if self.taken - self.acked >= ACK_BYTES:
            self._acknowledge()
        elif self.due is None:
            self.due = self.now + self.wait_s
            self._at(self.due, self._acknowledge_due)

    def take_at_once(self) -> None:
        """Take in everything that is under way, in this moment."""
        self.taken = self.sent
        self.free_at = self.now
        self._acked(self.sent)
        self._send()

    def _acknowledge_due(self) -> None:
        if self.due is not None:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self.due = None
        wait_s = self.rtt_s / 2 + self._random.random() * self.jitter_s
        self._at(self.now + wait_s, partial(self._acked, self.taken))

    def _acked(self, offset: int) -> None:
        self.acked = max(self.acked, offset)
        self.pace.on_acked(offset, now=self.now)


@pytest.mark.parametrize("wait_s", [0.0, 0.04])
def test_a_quick_line_gets_the_whole_window(wait_s: float) -> None:
    line = Line(Pace(MOST), 20e6, 0.001, wait_s)
    line.run(3)
    assert line.pace.window == MOST


@pytest.mark.parametrize("wait_s", [0.0, 0.04])
def test_a_distant_quick_line_gets_a_megabyte_a_second(wait_s: float) -> None:
    line = Line(Pace(MOST), 5e6, 0.1, wait_s)
    line.run(3)
    before = line.acked
    line.run(5)
    assert line.acked - before >= 2 * 1024 * 1024


@pytest.mark.parametrize("wait_s", [0.0, 0.04])
def test_on_a_thin_line_little_is_under_way_and_it_is_used(wait_s: float) -> None:
    line = Line(Pace(MOST), 20e3, 0.05, wait_s)
    line.run(6)
    assert line.pace.window <= 16 * 1024
    before = line.acked
    line.run(16)
    assert line.acked - before >= 0.4 * 10 * 20e3


def test_a_line_that_becomes_thin_gets_less_soon() -> None:
    line = Line(Pace(MOST), 20e6, 0.01, 0.1)
    line.run(3)
    line.bytes_s = 100e3
    line.run(line.now + MOST / 100e3 + 0.5)  # what was under way, and half a second
    assert line.pace.window <= 24 * 1024


def test_a_line_that_becomes_quick_gets_more_again() -> None:
    line = Line(Pace(MOST), 20e3, 0.01, 0.1)
    line.run(10)
    line.bytes_s = 20e6
    line.run(20)
    assert line.pace.window == MOST


@pytest.mark.parametrize("rtt_s", [0.001, 0.05, 0.2])
@pytest.mark.parametrize("bytes_s", [200e3, 1e6, 2e6])
def test_what_is_under_way_waits_little_and_the_line_is_full(bytes_s: float, rtt_s: float) -> None:
    line = Line(Pace(MOST), bytes_s, rtt_s, 0.04)
    line.run(10)
    before, longest = line.taken, 0.0
    for tenth in range(100, 200):
        line.run(tenth / 10)
        longest = max(longest, (line.sent - line.taken) / bytes_s)
    assert longest < rtt_s + 0.04 + 3 * TYPING_SLACK_S + 3 * ACK_BYTES / bytes_s
    assert line.taken - before >= (0.85 if rtt_s < 0.1 else 0.6) * 10 * min(bytes_s, MOST / rtt_s)


@pytest.mark.parametrize("jitter_s", [0.05, 0.2])
def test_jitter_is_no_queue(jitter_s: float) -> None:
    """Polling, a phone's radio, a busy machine: a round trip takes long without a full line."""
    line = Line(Pace(MOST), 5e6, 0.01, 0.04)
    line.jitter_s = jitter_s
    line.run(10)
    before = line.acked
    line.run(20)
    assert line.acked - before >= 0.3 * 10 * min(5e6, MOST / jitter_s)


def test_a_client_that_stood_still_and_catches_up_is_no_quick_line() -> None:
    """Acknowledgements that come in one moment are the line's rate over the time before it."""
    line = Line(Pace(MOST), 1e6, 0.001, 0.0)
    line.run(5)
    usual = line.pace.window
    for _ in range(3):
        line.now += 0.001
        line.take_at_once()
    for _ in range(20):
        assert line.pace.window <= 2 * usual
        line.run(line.now + 0.05)


def test_a_line_that_becomes_longer_is_filled_again() -> None:
    line = Line(Pace(MOST), 500e3, 0.01, 0.04)
    line.run(5)
    line.rtt_s = 0.3
    line.run(25)
    before = line.acked
    line.run(35)
    assert line.acked - before >= 0.6 * 10 * 500e3


def test_output_that_is_slow_to_come_proves_nothing() -> None:
    pace, sent = Pace(MOST), 0
    for tick in range(1000):  # 100 KB/s, in pieces of 1 KB
        sent += 1000
        pace.on_sent(sent, now=tick / 100, under_way=1000)
        pace.on_acked(sent, now=tick / 100 + 0.001)
    assert pace.window == START_BYTES


def test_a_little_now_and_then_proves_nothing() -> None:
    pace = Pace(MOST)
    for second in range(20):
        pace.on_sent(100 * (second + 1), now=second, under_way=100)
        pace.on_acked(100 * (second + 1), now=second + 0.01)
    assert pace.window == START_BYTES


@given(
    st.integers(1, MOST),
    st.lists(st.tuples(st.booleans(), st.integers(0, 100_000), st.floats(0, 3)), max_size=60),
)
def test_the_window_keeps_its_bounds(most: int, steps: list[tuple[bool, int, float]]) -> None:
    pace, sent, acked, now = Pace(most), 0, 0, 0.0
    for sends, size, wait in steps:
        now += wait
        if sends:
            sent += size
            pace.on_sent(sent, now=now, under_way=sent - acked)
        else:
            acked = min(sent, acked + size)
            pace.on_acked(acked, now=now)
        assert min(LEAST_BYTES, most) <= pace.window <= most
