"""The last output of a stream that many read: whoever asks for the same gets the same bytes object.

So what is made of a piece, a message say, can be made once for all.
"""

from bisect import bisect_left, bisect_right
from collections import deque

MARK_S = 0.05
"""Exactness with which the age of output is known, in seconds."""

JOINED_BYTES = 4 * 1024
"""Pieces of output that are shorter are joined to this for whoever is behind."""

KEPT_PIECES = 16
"""Joined and cut pieces that are remembered, for those who are a bit behind."""


class SharedLog:
    """A bounded log of pieces of output, addressed by absolute offset.

    Attributes:
        start: Offset of the first byte that is kept.
        end: Offset of the next byte.
    """

    def __init__(self, origin: int, limit_bytes: int) -> None:
        """Make an empty log.

        Args:
            origin: Offset of the first byte.
            limit_bytes: Most bytes in the log, unless one piece has more.
        """
        self.start = self.end = origin
        self._limit_bytes = limit_bytes
        self._starts: list[int] = []
        self._pieces: list[bytes] = []
        self._times: deque[tuple[int, float]] = deque()
        self._cut: dict[tuple[int, int], bytes] = {}

    def append(self, data: bytes, now: float) -> None:
        """Add a piece, never empty; the oldest ones are forgotten when there is no room.

        Args:
            data: The piece.
            now: A monotonic time in seconds.
        """
        if not self._times or now - self._times[-1][1] >= MARK_S:
            self._times.append((self.end, now))
        self._starts.append(self.end)
        self._pieces.append(data)
        self.end += len(data)
        if self.end - self.start > self._limit_bytes:
            # A sixteenth more than needed, so that this is rare.
            kept = bisect_left(self._starts, self.end - self._limit_bytes * 15 // 16)
            count = min(kept, len(self._starts) - 1)
            del self._starts[:count], self._pieces[:count]
            self.start = self._starts[0]
            while len(self._times) > 1 and self._times[1][0] <= self.start:
                self._times.popleft()

    def least_age(self, offset: int, now: float) -> float:
        """Return how old the byte at an offset in the log is at least, in seconds."""
        index = bisect_right(self._times, offset, key=lambda mark: mark[0]) - 1
        return now - self._times[max(index, 0)][1] - MARK_S

    def length_at(self, offset: int, border: int) -> int:
        """Return how many bytes everybody gets at an offset who may have that many.

        Args:
            offset: In the log, and not its end.
            border: Where the bytes must end at the latest; the end of a piece.
        """
        last = bisect_right(self._starts, offset) - 1
        end = self._starts[last] + len(self._pieces[last])
        while end - offset < JOINED_BYTES and end < border:
            last += 1
            end += len(self._pieces[last])
        return end - offset

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes that are in the log: the same object whenever the same are asked for."""
        index, end = bisect_right(self._starts, offset) - 1, offset + length
        if offset == self._starts[index] and length == len(self._pieces[index]):
            return self._pieces[index]
        found = self._cut.get((offset, length))
        if found is not None:
            return found
        parts, at = [], offset
        while at < end:
            skip = at - self._starts[index]
            part = self._pieces[index][skip : skip + end - at]
            parts.append(part)
            at, index = at + len(part), index + 1
        while len(self._cut) >= KEPT_PIECES:
            del self._cut[next(iter(self._cut))]
        data = self._cut[offset, length] = b"".join(parts)
        return data
