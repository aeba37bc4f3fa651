"""Where, in the output of one tmux client, a blank terminal may begin: its repaints.

See `broadcast`, which asks for them.
"""

from dataclasses import dataclass

from ttybridge.core.screen_modes import ScreenModes
from ttybridge.core.tmux import SYNC_BEGIN, SYNC_END, repaint_begins
from ttybridge.model import WindowSize

TAIL_BYTES = 64
"""Output in which the marks of a repaint are looked for again: they may have come in parts."""

CLEAR = b"\x1b[2J"
"""Erases the screen; nothing of it is seen within synchronized output."""

CLIPBOARD = b"\x1b]52;"
"""Beginning of what copies to the clipboard: no newcomer is to get it once more."""


@dataclass(slots=True)
class Key:
    """A place at which a blank terminal may begin."""

    offset: int
    """Where its bytes begin."""
    prelude: bytes
    """What a blank terminal gets before."""
    made_at: float
    """When it was made, on a monotonic clock."""
    end: int | None = None
    """Where the repaint has ended; None while it has not."""
    is_redrawn: bool = False
    """Whether the redraw has begun."""


class KeyFrames:
    """Follows the output of a tmux client and finds its last key frame.

    Attributes:
        key: The last key frame; None where there is none that is good.
        asked: What becomes one when the repaint has begun that the client was made to do.
    """

    def __init__(self, offset: int, now: float) -> None:
        """Begin with the client's first screen.

        Args:
            offset: Where its output begins.
            now: A monotonic time in seconds.
        """
        self.key: Key | None = Key(offset, b"", now)
        self.asked: Key | None = None
        self._modes = ScreenModes()
        self._tail = b""

    def begin(self, offset: int, now: float) -> None:
        """Note that the client is made to repaint now, and its output so far ends at `offset`."""
        self.asked, self.key = Key(offset, self._modes.prelude(), now), None
        self._tail = b""

    def settle(self, end: int, now: float) -> bool:
        """Take the place where the repaint was asked for, if its beginning was not seen.

        Returns:
            Whether that was so.
        """
        if self.asked is None:
            return False
        self.key, self.asked = self.asked, None
        self.key.end, self.key.made_at = end, now
        return True

    def follow(self, data: bytes, at: int, size: WindowSize, now: float) -> bytes:
        """Follow the client's state; return the output, with a clean start where it repaints.

        Args:
            data: Output of the client.
            at: Its offset.
            size: The client's window size.
            now: A monotonic time in seconds.
        """
        whole, begins = self._tail + data, None
        if self.asked is not None:
            begins = repaint_begins(size).search(whole)
        if begins is not None:
            cut = begins.end() - len(self._tail)
            self._modes.feed(data[:cut])
            self.key, self.asked = Key(at + cut, self._modes.prelude(), now), None
            repaint = SYNC_BEGIN + CLEAR + self._until_redrawn(data[cut:], self.key)
            self._modes.feed(repaint)
            data = data[:cut] + repaint
        else:
            if self.key is not None and self.key.end is None:
                data = self._until_redrawn(data, self.key)
            self._modes.feed(data)
        self._tail = whole[-TAIL_BYTES:]
        key = self.key
        if key is not None and key.is_redrawn and key.end is None:
            found = data.find(SYNC_END, max(0, key.offset - at))
            if found >= 0:
                key.end = at + found + len(SYNC_END)
        if CLIPBOARD in data:
            self.key = None
        return data

    @staticmethod
    def _until_redrawn(data: bytes, key: Key) -> bytes:
        """Leave out ends of synchronized output that belong to redraws before the repaint."""
        if key.is_redrawn:
            return data
        begin = data.find(SYNC_BEGIN)
        key.is_redrawn = begin >= 0
        if not key.is_redrawn:
            return data.replace(SYNC_END, b"")
        return data[:begin].replace(SYNC_END, b"") + data[begin:]
