"""Input on its way to the pty: numbered, cut into messages, kept until the bridge has it.

The same rules as in the page (`static/src/input.ts`). A message that was sent stays until its
number comes back, so that a resumed connection can send it again: the bridge ignores numbers that
it knows, which makes every byte arrive once and in order.
"""

from collections import deque

MAX_UNDER_WAY = 8
"""Messages without an answer. The protocol allows 16; eight full ones fit into one polling
request, which holds 1,000,000 bytes: a byte takes up to six in JSON."""

DEFAULT_MAX_INPUT = 16 * 1024
"""Bytes of one message until the bridge has told its own limit."""


class InputQueue:
    """What was typed, until the bridge has it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._waiting = bytearray()
        self._under_way: deque[tuple[int, bytes]] = deque()
        self._sent = 0  # how many of these went out on this connection
        self._next_seq = 1
        self._max_input = DEFAULT_MAX_INPUT

    @property
    def bytes_left(self) -> int:
        """Bytes that the bridge does not have yet, as far as is known."""
        return len(self._waiting) + sum(len(data) for _, data in self._under_way)

    def push(self, data: bytes) -> None:
        """Add what was typed."""
        self._waiting += data

    def next(self) -> tuple[int, bytes] | None:
        """Return the next message to send, or None: there is none, or enough are under way."""
        if self._sent < len(self._under_way):
            message = self._under_way[self._sent]
        elif self._waiting and len(self._under_way) < MAX_UNDER_WAY:
            message = self._next_seq, bytes(self._waiting[: self._max_input])
            del self._waiting[: self._max_input]
            self._next_seq += 1
            self._under_way.append(message)
        else:
            return None
        self._sent += 1
        return message

    def acknowledge(self, seq: int) -> None:
        """Forget the messages up to `seq`: the pty has them."""
        while self._under_way and self._under_way[0][0] <= seq:
            self._under_way.popleft()
            self._sent = max(0, self._sent - 1)

    def resume(self, last_accepted: int, max_input: int) -> None:
        """Go on after a lost connection: what was not accepted is sent again, same numbers."""
        self._max_input = max_input
        self.acknowledge(last_accepted)
        self._sent = 0

    def restart(self, last_accepted: int, max_input: int) -> int:
        """Begin anew behind a message; return how many bytes are dropped."""
        dropped = self.bytes_left
        self._waiting.clear()
        self._under_way.clear()
        self._sent, self._next_seq, self._max_input = 0, last_accepted + 1, max_input
        return dropped

    def clear(self) -> None:
        """Drop what was not sent yet."""
        self._waiting.clear()
