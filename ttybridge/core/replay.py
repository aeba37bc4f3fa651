"""Where a replay from the middle of a log begins, and the modes that hold there."""

from ttybridge.core.output_log import BLOCK_BYTES, OutputLog
from ttybridge.core.screen_modes import LaterModes, ScreenModes


class Replay:
    r"""Follows a log's modes past its start, and finds places to show it from.

    >>> log = OutputLog(1024)
    >>> replay = Replay(log)
    >>> log.append(b"\x1b[1mbold\nplain\x1b[0m\nlast\n")
    >>> replay.point(6)
    (9, b'\x1b[1m')
    >>> replay.point(10)
    (19, b'')
    """

    def __init__(self, log: OutputLog) -> None:
        """Begin at the log's start."""
        self._log = log
        self._modes = LaterModes()
        self._last: tuple[int, ScreenModes] | None = None
        """The last place. Many fall behind at one time, and each place is just after the last."""

    @property
    def waiting_bytes(self) -> int:
        """Output that has left the log, and whose modes are looked at later."""
        return self._modes.waiting_bytes

    def forget(self, offset: int) -> None:
        """Take in what is about to leave the log, up to an offset."""
        self._modes.add(self._log.slice(self._log.start, min(offset, self._log.end)))

    def use_moment(self) -> None:
        """Do a little of the work that can wait, while there is nothing better to do."""
        self._modes.look_at_some()

    def point(self, first: int) -> tuple[int, bytes]:
        """Return the first line at or after an offset of the log, and its modes as a prelude."""
        if first == 0:
            return 0, b""
        start = first + self._log.read(first, BLOCK_BYTES).find(b"\n") + 1
        if self._last is not None and self._log.start <= self._last[0] <= start:
            begin, modes = self._last
        else:
            begin, modes = self._log.start, self._modes.state()
        modes.feed(self._log.slice(begin, start))
        self._last = start, modes
        return start, modes.prelude()
