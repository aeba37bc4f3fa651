"""How much may be under way to one client: its credit follows what its line carries.

A client acknowledges what it has taken in: at once after `ACK_BYTES`, otherwise within
`ACK_WAIT_S`. The time from sending a byte to its acknowledgement tells how long the window takes to
drain. A window that drains quickly while it is full is doubled, one that drains slowly is halved,
each at most once for one window's worth of output.
"""

from collections import deque

from ttybridge.core.stream import ACK_BYTES

LEAST_BYTES = 8 * 1024
"""Smallest window: 0.4 s of a line of 20 KB/s, and several lines of text at once."""

START_BYTES = 16 * 1024
"""First window, about one full repaint: on a line of 20 KB/s it takes 0.8 s, on others no time."""

QUICK_S, SLOW_S = 0.25, 0.5
"""Times in which a full window drains that make it larger and smaller, in seconds. The first is
above the longest usual round-trip time, the second below what people take for the present."""

TRY_AGAIN_S = 10.0
"""How long a window that was too large is not made larger again, in seconds: a thin line whose
client acknowledges at once looks like a quick one whose client waits with it."""

ACK_WAIT_S = 0.5
"""How long a client may keep back the acknowledgement of less than `ACK_BYTES`, in seconds."""

MAX_MARKS = 64
"""Most chunks under way whose times are known; of more, some are taken together."""


class Pace:
    """The window of one client.

    >>> pace = Pace(256 * 1024)
    >>> pace.on_sent(16 * 1024, now=0.0, under_way=16 * 1024)
    >>> pace.on_acked(16 * 1024, now=0.1)
    >>> pace.window
    32768

    Attributes:
        window: Most bytes that may be under way.
    """

    def __init__(self, most: int) -> None:
        """Begin.

        Args:
            most: Largest window, in bytes.
        """
        self.window = min(START_BYTES, most)
        self._most = most
        self._marks: deque[tuple[int, float, bool]] = deque(maxlen=MAX_MARKS)
        self._acked = 0
        self._until = 0
        self._halved_at = -TRY_AGAIN_S

    def on_sent(self, offset: int, *, now: float, under_way: int) -> None:
        """Note that the output up to `offset` was sent.

        Args:
            offset: Where the next byte begins.
            now: A monotonic time in seconds.
            under_way: Bytes that are not acknowledged, these included.
        """
        self._marks.append((offset, now, 2 * under_way >= self.window))

    def on_acked(self, offset: int, *, now: float) -> None:
        """Note that the client has taken the output up to `offset` in."""
        newest = None
        while self._marks and self._marks[0][0] <= offset:
            newest = self._marks.popleft()
        fresh, self._acked = offset - self._acked, max(self._acked, offset)
        if newest is None or offset < self._until:
            return
        drained_s = now - newest[1]
        if fresh < ACK_BYTES:
            drained_s -= ACK_WAIT_S
        if drained_s > SLOW_S:
            self._halved_at = now
            self._set(max(self.window // 2, min(LEAST_BYTES, self._most)))
        elif drained_s < QUICK_S and newest[2] and now - self._halved_at >= TRY_AGAIN_S:
            self._set(min(self.window * 2, self._most))

    def restart(self, offset: int) -> None:
        """Go on at another offset; the window stays."""
        self._marks.clear()
        self._acked = self._until = offset

    def _set(self, window: int) -> None:
        if window != self.window:
            self.window = window
            self._until = max((mark[0] for mark in self._marks), default=self._acked)
