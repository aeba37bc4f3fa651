"""One tmux client's output for everybody who watches: shared bytes, key frames, no waiting.

All viewers read one log with absolute offsets, and the same offset gives all of them the same
bytes object, so that a message is made once. Nobody holds the others up: whoever is late is shown
the present instead of the past.

A *key frame* is a place in the log from which a blank terminal comes to show what all others do.
It is made by asking tmux to repaint (SIGWINCH: `tty_resize`, `tty_invalidate` and a full redraw in
3.3a), which states every cell and the cursor's position anew. The screens of all are erased just
before, unseen: so they are equal even where a terminal and tmux differ about the width of a
character. What else a terminal remembers (`ScreenModes`) the bytes before have set, and a prelude
sets it for who begins here. So from the end of the repaint on, the screens of all are equal.

Rules that hold at any time (see tests/unit/test_broadcast.py):
- what a viewer gets between two resets is a contiguous part of the log, without gap or repeat;
- `cursor.sent - cursor.acked <= cursor.window` when something is sent;
- a viewer begins at a key frame, and after it gets the whole repaint.

Nothing here does I/O or reads a clock.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass

from ttybridge.core.cursor import Chunk, Cursor, Finished, Policy, Reset, Resized
from ttybridge.core.key_frames import Key, KeyFrames
from ttybridge.core.output_log import BLOCK_BYTES
from ttybridge.core.pace import WATCHING_SLACK_S, Pace
from ttybridge.core.shared_log import SharedLog
from ttybridge.core.stream import ACK_BYTES
from ttybridge.model import End, WindowSize

LOG_BYTES = 1024 * 1024
"""Most bytes kept: what is under way to the slowest, and what a lost client has missed."""

ORIGIN = 64 * 1024
"""Offset of the first byte: preludes are at the offsets before, and none is negative."""

KEY_BYTES = 64 * 1024
"""Output since a key frame with which it is still good for a newcomer, in bytes; for one on a
thin line, what fits into the window."""

FRAME_BYTES = 64 * 1024
"""Longest repaint that is waited for, in bytes: a large window with a colour for each cell."""

FRESH_S = 0.15
"""Age in which a key frame is good whatever has come since, in seconds: or nobody could begin
during a flood."""

LATE_S = 0.7
"""Age of what a viewer would get next at which it is shown the present instead, in seconds."""

MANY_WINDOWS, HOPELESS_S = 4, 0.2
"""So many windows of unsent output take longer than `LATE_S` to be sent: whoever has them before
it is shown the present at this age already, in seconds."""

LITTLE_BYTES = 16 * 1024
"""Unsent output that is sent whatever its age: a repaint would not be shorter."""


@dataclass(slots=True, eq=False)
class Seat:
    """What is known of one viewer besides its cursor."""

    cursor: Cursor
    pace: Pace
    size: WindowSize | None = None
    """The window size that it was told since its last reset."""
    key: Key | None = None
    """Where it has begun."""
    old_end: int = -1
    """Offset up to which it was sent output before its last reset."""
    shift: int = 0
    """What to add to its acknowledgements of that."""


class Broadcast:
    """The output of one tmux client, and everybody who watches it.

    Attributes:
        ended: How it ended; None while it has not.
        room, block_room: Bytes that may be read of the pty at once: it is never paused.
    """

    def __init__(
        self,
        size: WindowSize,
        *,
        now: Callable[[], float],
        ask: Callable[[], None],
        on_empty: Callable[[], None],
        log_bytes: int = LOG_BYTES,
    ) -> None:
        """Begin with an empty log; the client's first screen is the first key frame.

        Args:
            size: Window size of the client.
            now: Returns a monotonic time in seconds.
            ask: Called when a key frame is needed: calls `begin_key` and makes the client repaint,
                soon, then `settle_key`. Called again and again until there is one.
            on_empty: Called when the last viewer has left.
            log_bytes: Most bytes in the log.
        """
        self.ended: End | None = None
        self.room = self.block_room = BLOCK_BYTES
        self._log = SharedLog(ORIGIN, log_bytes)
        self._now, self._ask, self._on_empty = now, ask, on_empty
        self._sizes: list[tuple[int, WindowSize]] = [(ORIGIN, size)]
        self._keys = KeyFrames(ORIGIN, now())
        self._seats: dict[Cursor, Seat] = {}

    @property
    def cursors(self) -> Collection[Cursor]:
        """Everybody who watches."""
        return self._seats.keys()

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._seats)

    @property
    def start(self) -> int:
        """Offset of the first byte that is kept."""
        return self._log.start

    @property
    def end(self) -> int:
        """Offset of the next byte."""
        return self._log.end

    @property
    def size(self) -> WindowSize:
        """The window size now."""
        return self._sizes[-1][1]

    @property
    def is_key_due(self) -> bool:
        """Whether the client is made to repaint, and the beginning of that was not seen."""
        return self._keys.asked is not None

    def append(self, data: bytes) -> None:
        """Take in output of the client, and wake those who wait for it."""
        data = self._keys.follow(data, self.end, self.size, self._now())
        if not data:
            return
        now = self._now()
        chunk = Chunk(self.end, data)
        self._log.append(data, now)
        while len(self._sizes) > 1 and self._sizes[1][0] <= self.start:
            del self._sizes[0]
        for seat in list(self._seats.values()):
            if not self._offer(seat, chunk, now):
                seat.cursor.wake()

    def resize(self, size: WindowSize) -> None:
        """Note that the client has another window size from here on; the caller sets it then.

        The client repaints by itself: it is the beginning of a key frame, too.
        """
        if size != self.size:
            self._sizes.append((self.end, size))
            self.begin_key()
            self._wake()

    def begin_key(self) -> None:
        """Note that the client is made to repaint now, and all its output is in the log."""
        self._keys.begin(self.end, self._now())

    def settle_key(self) -> None:
        """Take the place where the repaint was asked for, where its beginning was not seen.

        tmux throws output away while a client cannot keep up, the beginning of a repaint as well.
        """
        if self._keys.settle(self.end, self._now()):
            self._wake()

    def remind(self) -> None:
        """Wake those who wait for a key frame: they ask again if the last one was not for them."""
        for cursor in list(self._seats):
            if cursor.lost and not cursor.parked:
                cursor.wake()

    def finish(self, end: End) -> None:
        """Note that nothing more will come. The first call counts."""
        if self.ended is None:
            self.ended = end
            self._wake()

    def subscribe(
        self, policy: Policy, window: int, wake: Callable[[], None], *, acks: bool = True
    ) -> Cursor:
        """Add a viewer; it gets a `Reset` first, as soon as there is a key frame."""
        pace = Pace(window, slack_s=WATCHING_SLACK_S)
        cursor = Cursor(policy, pace.window, self.end, self.end, wake, acks, lost="replay")
        self._seats[cursor] = Seat(cursor, pace)
        return cursor

    def unsubscribe(self, cursor: Cursor) -> None:
        """Remove a viewer; calling it twice is fine."""
        if self._seats.pop(cursor, None) is not None and not self._seats:
            self._on_empty()

    def ack(self, cursor: Cursor, offset: int) -> None:
        """Note what a viewer has taken in. Numbers from outside are clamped to what was sent."""
        cursor.acks = True
        seat = self._seats.get(cursor)
        if seat is None:
            return
        if offset <= seat.old_end:
            offset += seat.shift
        cursor.acked = max(cursor.acked, min(offset, cursor.sent))
        seat.pace.on_acked(cursor.acked, now=self._now())
        cursor.window = seat.pace.window
        if cursor.sent != self.end or cursor.lost or self.ended is not None:
            cursor.wake()

    def resume(self, cursor: Cursor, offset: int, *, reset: bool = False) -> None:
        """Set a parked viewer where its client says that it stopped."""
        cursor.parked = False
        cursor.prelude = b""
        seat = self._seats.get(cursor)
        if reset or seat is None or not max(self.start, cursor.floor) <= offset <= cursor.sent:
            cursor.lost = "lost"
        cursor.acked = cursor.sent
        if not cursor.lost:
            cursor.sent = cursor.acked = offset
        if seat is not None:
            seat.size, seat.old_end = None, -1
            seat.pace.restart(cursor.acked)
        cursor.wake()

    def take(self, cursor: Cursor, limit: int) -> Chunk | Reset | Resized | Finished | None:
        """Return what to send to a viewer next, and count it as sent; None when it has to wait."""
        seat = self._seats.get(cursor)
        if seat is None:
            return None
        has_all = cursor.sent == self.end and not (cursor.lost or cursor.prelude)
        if has_all and self.ended is None and seat.size is self._sizes[-1][1]:
            return None
        if not cursor.lost and self._is_late(seat):
            cursor.lost = "behind"
        if cursor.lost:
            return self._reset(seat)
        size = self._sizes[bisect_right(self._sizes, cursor.sent, key=_offset_of) - 1][1]
        if size != seat.size:
            seat.size = size
            return Resized(size)
        if cursor.prelude:
            data, cursor.prelude = cursor.prelude, b""
            return Chunk(cursor.sent - len(data), data)
        if data := self._read(cursor, limit):
            chunk = Chunk(cursor.sent, data)
            cursor.sent += len(data)
            self._note_sent(seat, self._now())
            return chunk
        if self.ended is not None and cursor.sent == self.end:
            return Finished(self.ended)
        return None

    @property
    def is_late(self) -> bool:
        """Say no: who is late is shown the present, and the others are not."""
        return False

    def is_awaited(self, end: int) -> bool:
        """Say no, too."""
        return False

    def should_pause(self, now: float) -> bool:
        """Say no: no viewer ever holds the client up."""
        return False

    def _offer(self, seat: Seat, chunk: Chunk, now: float) -> bool:
        """Send the newest output to a viewer who has all before it; tell whether it was sent."""
        cursor = seat.cursor
        if seat.size is not self._sizes[-1][1] or not cursor.gets(chunk):
            return False
        cursor.sent = self.end
        self._note_sent(seat, now)
        return True

    def _note_sent(self, seat: Seat, now: float) -> None:
        cursor = seat.cursor
        if cursor.acks:
            seat.pace.on_sent(cursor.sent, now=now, under_way=cursor.sent - cursor.acked)
        else:
            cursor.acked = cursor.sent

    def _read(self, cursor: Cursor, limit: int) -> bytes:
        """Return the bytes at a cursor that it may have now: the same object for everybody."""
        at, room = cursor.sent, min(limit, cursor.credit)
        if room <= 0 or at == self.end:
            return b""
        sized = bisect_right(self._sizes, at, key=_offset_of)
        border = self._sizes[sized][0] if sized < len(self._sizes) else self.end
        length = self._log.length_at(at, border)
        if room < length:
            under_way = cursor.sent - cursor.acked
            if cursor.acks and 2 * length <= cursor.window and under_way >= ACK_BYTES:
                return b""  # more room is coming, and then what others get, too
        return self._log.read(at, min(room, length))

    def _is_late(self, seat: Seat) -> bool:
        """Tell whether a viewer is to be shown the present instead of what comes next."""
        cursor, key = seat.cursor, seat.key
        if cursor.sent < self.start:
            return True
        if self.ended is not None or self.end - cursor.sent <= LITTLE_BYTES:
            return False
        if key is not None:  # first the whole repaint, or nothing would ever be shown
            end = key.end if key.end is not None else key.offset + FRAME_BYTES
            if cursor.sent < end:
                return False
        age_s = self._log.least_age(cursor.sent, self._now())
        much = self.end - cursor.sent > MANY_WINDOWS * cursor.window
        return age_s > (HOPELESS_S if much else LATE_S)

    def _reset(self, seat: Seat) -> Reset | None:
        cursor, reason = seat.cursor, seat.cursor.lost
        under_way = cursor.sent - cursor.acked if reason == "behind" and cursor.acks else 0
        if 2 * under_way > cursor.window and self.ended is None:
            return None
        key = self._keys.key
        if key is None or not self._is_good(key, seat):
            if self.ended is None:
                self._ask()
                return None
            key = Key(self.end, b"", self._now())
        cursor.lost = ""
        seat.old_end, seat.shift = (cursor.sent, key.offset - cursor.sent) if under_way else (-1, 0)
        cursor.sent = cursor.floor = key.offset
        cursor.acked = key.offset - under_way
        cursor.prelude = key.prelude
        seat.key, seat.size = key, None
        seat.pace.restart(cursor.sent)
        return Reset(cursor.sent - len(key.prelude), reason, hard=True)

    def _is_good(self, key: Key, seat: Seat) -> bool:
        """Tell whether a viewer may begin at this key frame."""
        cursor, since = seat.cursor, self.end - (key.end if key.end is not None else self.end)
        if key.offset < self.start:
            return False
        if self.ended is None and self._now() - key.made_at > FRESH_S:
            short = since <= min(KEY_BYTES, cursor.window)
            if not short or self.end - key.offset > KEY_BYTES + FRAME_BYTES:
                return False
        return (
            self.ended is not None
            or cursor.lost != "behind"
            or key.offset >= cursor.sent + LITTLE_BYTES // 2
        )

    def _wake(self) -> None:
        for cursor in list(self._seats):
            cursor.wake()


def _offset_of(mark: tuple[int, object]) -> int:
    return mark[0]
