"""Where a client stands in the output: what it took in, what its terminal took, what it has told.

The same rules as in the page (`static/src/stream.ts`): acknowledged <= written <= taken, absolute
byte counts. Only what the terminal has taken is acknowledged, so that a slow terminal is a slow
client, and the bridge's window bounds what waits for it.
"""

ACK_EVERY_BYTES = 16 * 1024
"""Written bytes that make an acknowledgement due at once."""


class OutputPosition:
    """The positions in one stream.

    Attributes:
        taken: Bytes taken in: the offset to resume from.
        epoch: Changes when the count begins anew; what was written for an earlier one is void.
    """

    def __init__(self) -> None:
        """Begin at zero."""
        self.taken = self.epoch = 0
        self._written = self._acked = self._floor = 0

    def restart(self, offset: int) -> None:
        """Count from `offset`: a new stream, or bytes were skipped."""
        self.epoch += 1
        self.taken = self._written = self._acked = self._floor = offset

    def resume(self) -> None:
        """Go on after a lost connection: what was told to the old one is told again."""
        self._floor = self.taken
        self._acked = min(self._acked, self._floor - 1)

    def accept(self, offset: int, data: bytes) -> bytes | None:
        """Take in output; return what is new of it, or None when something before it is missing."""
        if offset > self.taken:
            return None
        fresh = data[self.taken - offset :]
        self.taken += len(fresh)
        return fresh

    def written(self, epoch: int, end: int) -> None:
        """Note that the terminal has taken everything up to `end`."""
        if epoch == self.epoch:
            self._written = max(self._written, end)

    @property
    def ack_waits(self) -> bool:
        """Whether something is written and not told yet."""
        return self._written > self._acked and self._written >= self._floor

    @property
    def ack_is_due(self) -> bool:
        """Whether it is so much that it is told at once."""
        return self.ack_waits and self._written - self._acked >= ACK_EVERY_BYTES

    def take_ack(self) -> int:
        """Return what to tell, and count it as told."""
        self._acked = self._written
        return self._acked
