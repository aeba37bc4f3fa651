"""The last bytes of a pty's output, addressed by absolute offset."""

BLOCK_BYTES = 64 * 1024
"""Size of one piece of the log; a chunk for a client is cut at its borders, too."""


class OutputLog:
    """The last bytes of a stream, addressed by absolute offset."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.start = 0
        self.end = 0
        self._base = 0
        self._blocks: list[bytearray] = []

    @property
    def block_room(self) -> int:
        """Bytes until the last block is full: so many at once become one chunk and not two."""
        return BLOCK_BYTES - (len(self._blocks[-1]) if self._blocks else 0) % BLOCK_BYTES

    def append(self, data: bytes) -> None:
        """Add `data` at the end; the caller trims."""
        if self._blocks and len(data) <= BLOCK_BYTES - len(self._blocks[-1]):
            self._blocks[-1] += data  # as nearly always
            self.end += len(data)
            return
        view = memoryview(data)
        while view:
            if not self._blocks or len(self._blocks[-1]) == BLOCK_BYTES:
                if not self._blocks:
                    self._base = self.end
                self._blocks.append(bytearray())
            room = BLOCK_BYTES - len(self._blocks[-1])
            self._blocks[-1] += view[:room]
            self.end += min(room, len(view))
            view = view[room:]

    def trim(self, offset: int) -> None:
        """Forget everything before `offset`."""
        self.start = min(max(offset, self.start), self.end)
        while self._blocks and self._base + len(self._blocks[0]) <= self.start:
            self._base += len(self._blocks.pop(0))

    def read(self, offset: int, limit: int) -> bytes:
        """Return up to `limit` bytes at `offset`, less where a block ends; empty at the end.

        Raises:
            IndexError: `offset` is not in the log.
        """
        if not self.start <= offset <= self.end:
            raise IndexError(offset)
        if offset == self.end:
            return b""
        index, at = divmod(offset - self._base, BLOCK_BYTES)
        return bytes(memoryview(self._blocks[index])[at : at + limit])

    def slice(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`, both in the log."""
        parts = []
        while start < end:
            part = self.read(start, end - start)
            parts.append(part)
            start += len(part)
        return b"".join(parts)
