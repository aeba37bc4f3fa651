"""One pty's output as a byte stream with absolute offsets, and who has read how much of it.

A `Stream` keeps a bounded log. Any number of cursors read it, each at its own pace, each with its
own credit: bytes sent minus bytes acknowledged by that client never exceed its window. What
happens when a cursor falls behind is its policy:

- PAUSE: `should_pause` says to stop reading the pty; nothing is lost. A reader that holds the
  others up for longer than `PATIENCE_S` is skipped instead.
- SKIP: the cursor loses its place. It gets a `Reset` when it has taken in what was sent.

Rules that hold at any time (see tests/unit/test_stream.py):
- what a cursor gets between two resets is a contiguous part of the stream, without gap or repeat;
- `cursor.sent - cursor.acked <= cursor.window`;
- the log is never longer than its limit.

Nothing here does I/O or reads a clock.
"""

from collections.abc import Callable

from ttybridge.core.cursor import HIGH_BYTES, Chunk, Cursor, Finished, Policy, Reset
from ttybridge.core.output_log import BLOCK_BYTES, OutputLog
from ttybridge.core.pace import Pace
from ttybridge.core.replay import Replay
from ttybridge.model import End

LEAST_ROOM_BYTES = 4 * 1024
"""Least bytes read of the pty at once: what the kernel gives in one read."""

LOW = 0.5
"""Part of that at which a paused pty goes on: enough for the sender to stay busy meanwhile."""

SKIP_BYTES, LEAST_SKIP_BYTES = 256 * 1024, 64 * 1024
"""Unsent bytes at which a SKIP cursor loses its place: twice its window, within these. The least is
above a full redraw of a large window (30 KB at 120x32), so that a burst passes whole."""

LATE_BYTES = 16 * 1024
"""Unsent bytes of which a client is late: more than a redraw of a usual window."""

PARKED_BYTES = 1024 * 1024
"""Unsent bytes kept for a SKIP cursor whose client has lost its connection."""

CATCH_UP_BYTES = 64 * 1024
"""How much of the log a client that fell behind is shown again: several screens of text."""

PATIENCE_S = 1.5
"""How long one client may hold up the others, in seconds: they notice less than 2 s."""

ACK_BYTES = 64 * 1024
"""Bytes after which a client acknowledges at once (docs/protocol.md): nothing waits for the rest,
which comes later."""

CANCEL = b"\x18"
"""CAN: ends an escape sequence that was cut (ECMA-48)."""


def least_log_bytes(window: int) -> int:
    """Return the smallest log in which nothing is lost for clients with this credit.

    It holds what is under way to the slowest, what it is behind when the pty is paused, and what
    one turn of reading adds to that.
    """
    return window + HIGH_BYTES + 2 * BLOCK_BYTES


class Stream:
    """A pty's output, its log and its cursors.

    Attributes:
        log: The last output.
        cursors: Everybody who reads it.
        ended: How it ended; None while it has not.
        room: Bytes that may be read of the pty at once so that it can be paused in time.
    """

    def __init__(
        self, *, log_bytes: int, replays: bool, now: Callable[[], float] | None = None
    ) -> None:
        """Make an empty stream.

        Args:
            log_bytes: Most bytes in the log; see `least_log_bytes`.
            replays: Whether the log is kept for late joiners (a direct command). Otherwise bytes
                are forgotten when everybody has acknowledged them, and a client that lost its
                place is repainted by the pty's program (tmux).
            now: Returns a monotonic time in seconds, for windows that follow the clients' lines;
                without it, they stay as they are.
        """
        self.log = OutputLog(log_bytes)
        self.cursors: set[Cursor] = set()
        self.ended: End | None = None
        self.room = BLOCK_BYTES
        self._replays = replays
        self._now = now
        self._replay = Replay(self.log)
        self._paused = False
        self._held_up_since: float | None = None

    def append(self, data: bytes) -> None:
        """Take in output of the pty, and wake those who wait for it."""
        chunk = Chunk(self.log.end, data)
        self.log.append(data)
        if self.log.end - self.log.start > self.log.limit_bytes:
            self._forget(self.log.end - self.log.limit_bytes)
        for cursor in list(self.cursors):
            if self._offer(cursor, chunk):
                continue
            if cursor.sent < self.log.start and not cursor.lost:
                cursor.lost = "lost" if cursor.parked else "behind"
            elif cursor.policy is Policy.SKIP and not cursor.lost:
                allowed = min(SKIP_BYTES, max(LEAST_SKIP_BYTES, 2 * cursor.window))
                if cursor.parked:
                    allowed = PARKED_BYTES
                # Who is shown the last part again would be behind once more with what comes next.
                came = len(data) if self._replays else 0
                if self.log.end - came - cursor.sent > allowed:
                    cursor.lost = "lost" if cursor.parked else "behind"
            cursor.wake()
        self._forget_acknowledged()

    def finish(self, end: End) -> None:
        """Note that nothing more will come. The first call counts."""
        if self.ended is None:
            self.ended = end
            for cursor in list(self.cursors):
                cursor.wake()

    def subscribe(
        self, policy: Policy, window: int, wake: Callable[[], None], *, acks: bool = True
    ) -> Cursor:
        """Add a client, at the very first byte where the log still has it, else with a `Reset`."""
        cursor = Cursor(policy, window, self.log.end, self.log.end, wake, acks)
        if self._now is not None and acks:
            cursor.pace = Pace(window)
            cursor.window = cursor.pace.window
        cursor.live = self.log.end if self._replays else 0
        if self.log.start == 0:
            cursor.sent = cursor.acked = 0
            cursor.joining = True
        else:
            cursor.lost = "replay"
        self.cursors.add(cursor)
        return cursor

    def unsubscribe(self, cursor: Cursor) -> None:
        """Remove a client; calling it twice is fine."""
        self.cursors.discard(cursor)
        self._forget_acknowledged()

    def ack(self, cursor: Cursor, offset: int) -> None:
        """Note what the client has taken in. Numbers from outside are clamped to what was sent."""
        cursor.acks = True
        cursor.acked = max(cursor.acked, min(offset, cursor.sent))
        if cursor.pace is not None and self._now is not None:
            cursor.pace.on_acked(cursor.acked, now=self._now())
            cursor.window = cursor.pace.window
        self._forget_acknowledged()
        cursor.wake()

    def resume(self, cursor: Cursor, offset: int, *, reset: bool = False) -> None:
        """Set a parked cursor where its client says that it stopped.

        An offset that was never sent, or is no longer in the log, loses the place.
        """
        cursor.parked = False
        cursor.prelude = b""
        if reset or not max(self.log.start, cursor.floor) <= offset <= cursor.sent:
            cursor.lost = "lost"
        if not cursor.lost:
            cursor.sent = cursor.acked = offset
        else:
            cursor.acked = cursor.sent
        if cursor.pace is not None:
            cursor.pace.restart(cursor.acked)
        cursor.wake()

    def take(self, cursor: Cursor, limit: int) -> Chunk | Reset | Finished | None:
        """Return what to send to a client next, and count it as sent; None when it has to wait."""
        if cursor.prelude:
            data, cursor.prelude = cursor.prelude, b""
            return Chunk(cursor.sent - len(data), data)
        if cursor.lost:
            if cursor.acks and cursor.sent - cursor.acked >= min(ACK_BYTES, cursor.window // 2):
                return None  # it does not read, and would be behind again
            return self._reset(cursor)
        pace, room = cursor.pace, cursor.credit
        if pace is not None:
            limit = min(limit, pace.most_at_once)
        data = self.log.read(cursor.sent, min(limit, room)) if room > 0 else b""
        if data:
            chunk = Chunk(cursor.sent, data)
            self._note_sent(cursor, len(data))
            if not cursor.acks:
                self._forget_acknowledged()
            return chunk
        if self.ended is not None and cursor.sent == self.log.end:
            return Finished(self.ended)
        return None

    @property
    def end(self) -> int:
        """Offset of the next byte."""
        return self.log.end

    @property
    def block_room(self) -> int:
        """Bytes until a block of the log is full: so many at once become one chunk and not two."""
        return self.log.block_room

    @property
    def waiting_bytes(self) -> int:
        """Output that has left the log, and whose modes are looked at later."""
        return self._replay.waiting_bytes

    @property
    def is_late(self) -> bool:
        """Whether somebody waits for output that the line does not take yet."""
        return any(
            self.log.end - c.sent > LATE_BYTES and not (c.lost or c.parked) for c in self.cursors
        )

    def is_awaited(self, end: int) -> bool:
        """Tell whether somebody waits for output before an offset."""
        return any(c.sent < end and not (c.lost or c.parked) for c in self.cursors)

    def should_pause(self, now: float) -> bool:
        """Tell whether the pty is not to be read now.

        Args:
            now: A monotonic time in seconds. When the answer is yes, ask again after
                `PATIENCE_S` at the latest.
        """
        live = [c for c in self.cursors if not c.parked] or list(self.cursors)
        mark = LOW if self._paused else 1
        slow: list[Cursor] = []
        stuck, is_one_held, least = 0, False, BLOCK_BYTES
        for cursor in live:
            high, unsent = cursor.high, self.log.end - cursor.sent
            is_behind = not cursor.lost and unsent >= mark * high
            cursor.joining = cursor.joining and is_behind and cursor.sent < cursor.live
            pauses = cursor.policy is Policy.PAUSE
            if pauses:
                least = min(least, high - unsent)
                if is_behind and not cursor.joining:
                    slow.append(cursor)
            if not cursor.parked and (cursor.lost or is_behind):
                stuck += 1
                is_one_held = is_one_held or pauses
        self.room = max(LEAST_ROOM_BYTES, least)
        # Nobody takes anything: reading on would only make those lose more who are lost already.
        is_alone = stuck == len(live) and is_one_held
        self._paused = bool(slow) or is_alone
        if not slow or len(slow) == len(live):
            self._held_up_since = None
        elif self._held_up_since is None:
            self._held_up_since = now
        elif now - self._held_up_since >= PATIENCE_S:
            for cursor in slow:
                cursor.lost = "behind"
                cursor.wake()
            self._paused, self._held_up_since = False, None
        return self._paused

    def use_moment(self) -> None:
        """Do a little of the work that can wait, while there is nothing better to do."""
        self._replay.use_moment()

    def _offer(self, cursor: Cursor, chunk: Chunk) -> bool:
        """Send the newest output to a client who has all before it; tell whether it was sent."""
        length = len(chunk.data)
        is_large = length > BLOCK_BYTES or (
            cursor.pace is not None and length > cursor.pace.most_at_once
        )
        if not length or is_large or not cursor.gets(chunk):
            return False
        self._note_sent(cursor, length)
        return True

    def _note_sent(self, cursor: Cursor, length: int) -> None:
        cursor.sent += length
        if cursor.pace is not None and self._now is not None:
            under_way = cursor.sent - cursor.acked
            cursor.pace.on_sent(cursor.sent, now=self._now(), under_way=under_way)
        if not cursor.acks:
            cursor.acked = cursor.sent

    def _reset(self, cursor: Cursor) -> Reset:
        reason, cursor.lost = cursor.lost, ""
        hard = self._replays or self.ended is not None
        start = self.log.end
        if hard:
            cursor.live = self.log.end
            first = self.log.start
            if reason == "behind":
                first = max(first, self.log.end - CATCH_UP_BYTES)
            start, cursor.prelude = self._replay.point(first)
        cursor.sent = cursor.acked = cursor.floor = start
        cursor.joining = False
        if cursor.pace is not None:
            cursor.pace.restart(start)
        return Reset(start - len(cursor.prelude), reason, hard)

    def _forget(self, offset: int) -> None:
        if self._replays:
            self._replay.forget(offset)
        self.log.trim(offset)

    def _forget_acknowledged(self) -> None:
        """Without replay, keep only what somebody may still ask for; for the first one, all."""
        if not self._replays and self.cursors:
            kept = [c.acked for c in self.cursors if not c.lost]
            self.log.trim(min(kept, default=self.log.end))
