"""Credit that follows the line: quick lines get all of it, thin ones what they carry."""

import heapq
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttybridge.core.pace import LEAST_BYTES, START_BYTES, Pace
from ttybridge.core.stream import ACK_BYTES

MOST = 256 * 1024


class Line:
    """A line of a rate, with a round-trip time; the client acknowledges as it may."""

    def __init__(self, pace: Pace, bytes_s: float, rtt_s: float, wait_s: float) -> None:
        self.pace, self.bytes_s, self.rtt_s, self.wait_s = pace, bytes_s, rtt_s, wait_s
        self.now = self.free_at = 0.0
        self.sent = self.acked = self.taken = 0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.due: float | None = None

    def run(self, until: float) -> None:
        """Send as much as the window allows, up to a time."""
        self._send()
        while self.events and self.events[0][0] <= until:
            self.now, _, event = heapq.heappop(self.events)
            event()
            self._send()
        self.now = until

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (at, len(self.events) + self.sent, event))

    def _send(self) -> None:
        while (room := self.pace.window - (self.sent - self.acked)) > 0:
            size = min(room, 16 * 1024)
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

    def _acknowledge_due(self) -> None:
        if self.due is not None:
            self._acknowledge()

    def _acknowledge(self) -> None:
        self.due = None
        self._at(self.now + self.rtt_s / 2, partial(self._acked, self.taken))

    def _acked(self, offset: int) -> None:
        self.acked = max(self.acked, offset)
        self.pace.on_acked(offset, now=self.now)


@pytest.mark.parametrize("wait_s", [0.0, 0.5])
def test_a_quick_line_gets_the_whole_window(wait_s: float) -> None:
    line = Line(Pace(MOST), 20e6, 0.001, wait_s)
    line.run(3)
    assert line.pace.window == MOST


@pytest.mark.parametrize("wait_s", [0.0, 0.5])
def test_a_distant_quick_line_gets_a_megabyte_a_second(wait_s: float) -> None:
    line = Line(Pace(MOST), 5e6, 0.1, wait_s)
    line.run(3)
    before = line.acked
    line.run(5)
    assert line.acked - before >= 2 * 1024 * 1024


@pytest.mark.parametrize("wait_s", [0.0, 0.1, 0.5])
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
    line.bytes_s = 20e3
    line.run(30)
    assert line.pace.window <= 16 * 1024


def test_a_line_that_becomes_quick_gets_more_again() -> None:
    line = Line(Pace(MOST), 20e3, 0.01, 0.1)
    line.run(10)
    line.bytes_s = 20e6
    line.run(20)
    assert line.pace.window == MOST


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
