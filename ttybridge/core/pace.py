"""How much may be under way to one client: its credit follows what its line carries.

What is under way is what a client still sees after Ctrl-C, so it is no more than the line needs:
its rate times its round-trip time, and a little, so that a queue tells that the line is full (the
idea of TCP Vegas and BBR). Both are measured by acknowledgements. While the line is not full, the
window itself limits the rate, and each round trip makes it larger.

A client acknowledges soon after it has taken output in (docs/protocol.md); the time that it waits
with that counts as the line's.
"""

from typing import NamedTuple

LEAST_BYTES = 4 * 1024
"""Smallest window: 0.2 s of a line of 20 KB/s, and several lines of text at once."""

START_BYTES = 16 * 1024
"""First window, about one full repaint: on a line of 20 KB/s it takes 0.8 s, on others no time."""

TYPING_SLACK_S, WATCHING_SLACK_S = 0.04, 0.25
"""How long what is under way may wait in a queue, in seconds: for who may type, and for who may
not, and acknowledges less often."""

GROWTH = 2.0
"""Most that one round trip adds, as a factor."""

NO_QUEUE, STEP = 0.5, 1.25
"""Part of the slack below which a round trip shows that there is no queue, and what it adds to the
window then, as a factor: of a long round trip, the slack is a small part."""

QUEUE = 2.0
"""Part of the slack above which a round trip shows that there is too long a queue."""

SHORTEST_S = 0.04
"""Shortest time over which a rate is taken, and between two growths, in seconds: acknowledgements
that were held up somewhere come in one moment, and a client that has stood still takes everything
at once."""

COST = 0.6
"""Exponent for the part of the rate that must stay when the window is made smaller by a part: with
1, a line that was not full would keep it as well."""

RATE_S = 1.0
"""How long the largest rate that was seen counts, in seconds. What a client gets while there is no
more for it tells nothing."""

ROUND_TRIP_S = 10.0
"""How long the shortest round trip that was seen counts, in seconds. Then the window is made
small for a moment, so that no queue lengthens the next one."""

PROBE = 0.25
"""Part of the window in that moment."""

CHUNKS = 4
"""Least number of chunks in a full window."""

MAX_MARKS = 64
"""Most chunks under way whose times are known; of more, some are taken together."""


class _Mark(NamedTuple):
    """What was known when a chunk was sent."""

    offset: int
    """Where it ends."""
    at: float
    """When it was sent."""
    acked: int
    """What was acknowledged then."""
    acked_at: float
    """When that was."""
    is_full: bool
    """Whether the window held more back, or nearly."""


class Pace:
    """The window of one client.

    >>> pace = Pace(256 * 1024)
    >>> pace.on_sent(16 * 1024, now=0.0, under_way=16 * 1024)
    >>> pace.on_acked(16 * 1024, now=0.01)
    >>> pace.window
    20480

    Attributes:
        window: Most bytes that may be under way.
        slack_s: How long they may wait in a queue, in seconds.
    """

    def __init__(self, most: int, *, slack_s: float = TYPING_SLACK_S) -> None:
        """Begin.

        Args:
            most: Largest window, in bytes.
            slack_s: How long what is under way may wait in a queue, in seconds.
        """
        self.window = min(START_BYTES, most)
        self.slack_s = slack_s
        self._most = most
        self._marks: list[_Mark] = []
        self._acked = 0
        self._acked_at: float | None = None
        self._until = 0
        """Offset at which a round trip with this window has passed."""
        self._rate, self._rate_at = 0.0, 0.0
        """Bytes a second, and when that was seen."""
        self._round_trip_s, self._round_trip_at = float("inf"), 0.0
        self._is_probing = False
        self._grown_at = float("-inf")
        self._seen = 0.0
        """The last rate, in bytes a second."""
        self._larger: tuple[int, float] | None = None
        """The window before it was made smaller, and the rate with it."""
        self._jitter_s, self._jitter_until = 0.0, 0.0
        """A round trip without a queue on a line that jitters, and until when that is believed."""

    @property
    def most_at_once(self) -> int:
        """Most bytes of one chunk: how long its own bytes take is no part of the round trip."""
        return max(self.window // CHUNKS, LEAST_BYTES // CHUNKS)

    def on_sent(self, offset: int, *, now: float, under_way: int) -> None:
        """Note that the output up to `offset` was sent.

        Args:
            offset: Where the next byte begins.
            now: A monotonic time in seconds.
            under_way: Bytes that are not acknowledged, these included.
        """
        idle = self._acked_at is None or not self._marks
        acked_at = now if idle or self._acked_at is None else self._acked_at
        acked = offset - under_way if idle else self._acked
        if len(self._marks) == MAX_MARKS:
            del self._marks[0]
        self._marks.append(_Mark(offset, now, acked, acked_at, 2 * under_way >= self.window))

    def on_acked(self, offset: int, *, now: float) -> None:
        """Note that the client has taken the output up to `offset` in."""
        newest = None
        while self._marks and self._marks[0].offset <= offset:
            newest = self._marks.pop(0)
        self._acked, self._acked_at = max(self._acked, offset), now
        if newest is None:
            return
        self._see_round_trip(now - newest.at, now)
        if newest.is_full:
            self._seen = (offset - newest.acked) / max(now - newest.acked_at, SHORTEST_S)
            is_queue = now - newest.at > self._base_s(now) + QUEUE * self.slack_s
            self._see_rate(self._seen, now, is_sure=is_queue)
        if offset >= self._until and (newest.is_full or self._is_probing):
            self._follow(now, now - newest.at)

    def restart(self, offset: int) -> None:
        """Go on at another offset; the window stays."""
        self._marks.clear()
        self._acked = self._until = offset
        self._acked_at = None

    def _base_s(self, now: float) -> float:
        """Return how long a round trip takes without a queue, in seconds."""
        return max(self._round_trip_s, self._jitter_s if now < self._jitter_until else 0.0)

    def _check_last(self, now: float, took_s: float) -> bool:
        """Take a smaller window back that made the rate smaller; tell whether that was so.

        On a full line, a smaller window makes the queue shorter, and nothing else. Where it costs
        output, what looked like a queue was the line's jitter.
        """
        if self._larger is None:
            return False
        (window, rate), self._larger = self._larger, None
        if self._seen >= rate * (self.window / window) ** COST:
            return False
        self.window = window
        self._jitter_s, self._jitter_until = took_s, now + ROUND_TRIP_S
        self._until = max((mark.offset for mark in self._marks), default=self._acked)
        return True

    def _see_round_trip(self, seconds: float, now: float) -> None:
        if seconds <= self._round_trip_s or self._is_probing:
            self._round_trip_s, self._round_trip_at = seconds, now

    def _see_rate(self, rate: float, now: float, *, is_sure: bool) -> None:
        """Keep the largest rate; where a queue shows that the line is full, it is the line's."""
        if rate >= self._rate or is_sure or now - self._rate_at > RATE_S:
            self._rate, self._rate_at = rate, now

    def _follow(self, now: float, took_s: float) -> None:
        """Set the window for what is known of the line; once for a round trip."""
        if self._check_last(now, took_s):
            return
        wanted = self._rate * (self._base_s(now) + self.slack_s)
        if took_s < self._base_s(now) + NO_QUEUE * self.slack_s:
            wanted = max(wanted, self.window * STEP)
        self._is_probing = not self._is_probing and now - self._round_trip_at > ROUND_TRIP_S
        if self._is_probing:
            wanted *= PROBE
        rests = now - self._grown_at < SHORTEST_S
        window = int(min(wanted, self.window * (1 if rests else GROWTH), self._most))
        if window > self.window:
            self._grown_at = now
        elif window < self.window and not self._is_probing:
            self._larger = self.window, self._seen
        self.window = max(window, min(LEAST_BYTES, self._most))
        self._until = max((mark.offset for mark in self._marks), default=self._acked)
