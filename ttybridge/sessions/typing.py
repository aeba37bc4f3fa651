"""What one client types into one terminal: what waits for the pty, and what has reached it."""

from collections.abc import Callable

from ttybridge.errors import ProtocolError
from ttybridge.sessions.terminal import Terminal

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""Input of one client that may wait for a pty that does not read, in bytes; more ends the client.
Where clients share a pty, twice as much of everybody's may wait, and more is dropped."""

MAX_WAITING_PARTS = 1024
"""Parts in which a client's waiting input is counted; further ones are added to the last."""

CONFIRM_EVERY = 4
"""Input messages of which only the last is confirmed: well below what a client may have under way
(docs/protocol.md), so that typing never waits and costs one message more in four keys. The first
of a connection is confirmed as well: by its time, the page knows how far away the pty is before it
shows a guess."""

MAX_UNCONFIRMED = 64
"""Confirmations that may be due at a time; a client that does not wait for them gets fewer."""

CONFIRM_BYTES = 1024
"""Size of an input message that is always confirmed: a paste waits for it."""


class Typing:
    """Counts a client's input until the pty has taken it.

    Attributes:
        seq: Number of the last message that was accepted.
    """

    def __init__(self, terminal: Terminal, confirm: Callable[[int], None], *, seq: int = 0) -> None:
        """Type into a terminal.

        Args:
            terminal: Where to.
            confirm: Called with a message's number when all up to it has reached the pty.
            seq: Number of the last message that was accepted before.
        """
        self.seq = seq
        self._terminal = terminal
        self._confirm = confirm
        self._unconfirmed: list[tuple[int, int]] = []  # an empty deque takes 600 bytes
        self._waiting: list[tuple[int, int]] = []
        self._waiting_bytes = 0
        self._last_confirmed = seq - CONFIRM_EVERY
        terminal.written_listeners.add(self._on_written)

    def close(self) -> None:
        """Type no more; what was accepted counts as delivered."""
        self._terminal.written_listeners.discard(self._on_written)
        if self._unconfirmed:
            self._confirm(self.seq)

    def is_new(self, seq: int) -> bool:
        """Tell whether a message was not accepted before.

        Raises:
            ProtocolError: A message is missing before it.
        """
        if seq > self.seq + 1:
            raise ProtocolError(f"Input message {self.seq + 1} is missing before {seq}.")
        return seq > self.seq

    def write(self, data: bytes) -> bytes:
        """Type; return what was taken of it.

        Raises:
            ProtocolError: More input of this client waits than `MAX_PENDING_BYTES`.
        """
        data = self._that_fits(data)
        self._write(data)
        return data

    def write_numbered(self, seq: int, data: bytes) -> bytes:
        """Type the next message; return what was taken of it.

        Raises:
            ProtocolError: Too much input waits.
        """
        self.seq = seq
        large = len(data) >= CONFIRM_BYTES
        data = self._that_fits(data)
        if large or seq - self._last_confirmed >= CONFIRM_EVERY:
            self._last_confirmed = seq
            # Before writing: what the pty takes at once is reported from within `write`.
            due = self._terminal.accepted_bytes + len(data)
            if len(self._unconfirmed) < MAX_UNCONFIRMED:
                self._unconfirmed.append((due, seq))
            else:
                self._unconfirmed[-1] = (due, seq)
        self._write(data)
        self._on_written(self._terminal.written_bytes)
        return data

    def _that_fits(self, data: bytes) -> bytes:
        """Return `data`, or nothing where the clients' input together has no room.

        Raises:
            ProtocolError: This client's own share is too large.
        """
        pending = self._terminal.pending_bytes
        # What a pty loses when its other side is closed is pending no more, and never written.
        if min(self._waiting_bytes, pending) + len(data) > MAX_PENDING_BYTES:
            raise ProtocolError("Too much input is waiting for a program that does not read it.")
        return data if pending + len(data) <= 2 * MAX_PENDING_BYTES else b""

    def _write(self, data: bytes) -> None:
        """Give input to the pty, counted as this client's until the pty has taken it."""
        if not data:
            return
        # Before writing: what the pty takes at once is reported from within `write`.
        due, size = self._terminal.accepted_bytes + len(data), len(data)
        if len(self._waiting) >= MAX_WAITING_PARTS:
            size += self._waiting.pop()[1]
        self._waiting.append((due, size))
        self._waiting_bytes += len(data)
        self._terminal.write(data)

    def _on_written(self, total: int) -> None:
        while self._waiting and self._waiting[0][0] <= total:
            self._waiting_bytes -= self._waiting.pop(0)[1]
        seq = 0
        while self._unconfirmed and self._unconfirmed[0][0] <= total:
            seq = self._unconfirmed.pop(0)[1]
        if seq:
            self._confirm(seq)
