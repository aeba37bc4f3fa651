"""One client's place in the session: its output, its input, its window size."""

import asyncio
import hmac
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ttybridge.core.access import Action, may
from ttybridge.core.answers import is_answer
from ttybridge.core.stream import Chunk, Finished, Reset
from ttybridge.errors import ProtocolError
from ttybridge.model import ClientId, Role, WindowSize
from ttybridge.sessions.terminal import Terminal

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""Input of one client that may wait for a pty that does not read, in bytes; more ends the client.
Where clients share a pty, twice as much of everybody's may wait, and more is dropped."""

MAX_WAITING_PARTS = 1024
"""Parts in which a client's waiting input is counted; further ones are added to the last."""

CONFIRM_EVERY = 4
"""Input messages of which only the last is confirmed: well below what a client may have under way
(docs/protocol.md), so that typing never waits and costs one message more in four keys."""

MAX_UNCONFIRMED = 64
"""Confirmations that may be due at a time; a client that does not wait for them gets fewer."""

CONFIRM_BYTES = 1024
"""Size of an input message that is always confirmed: a paste waits for it."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The pty has another window size than this client's own."""

    size: WindowSize
    """The pty's size."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Input messages up to this one have reached the pty."""

    seq: int
    """Number of the message, counted from 1."""


Item = Chunk | Reset | Finished | Resized | Accepted
"""What a client is to be told next."""


def _nothing() -> None:
    """Do nothing."""


class Attachment:
    """One client that is attached to the session.

    Attributes:
        id: Names the client.
        key: Secret with which the client may come back after a lost connection.
        role: What it may do. Decided here and nowhere else, for every entrance.
        size: Its own window size.
        input_seq: Number of the last input message that was accepted.
        answers: Whether what its terminal answers by itself is typed: on a shared pty, only
            one client's is.
        on_replaced: Called when the client comes back on another connection before the loss of
            this one was noticed; the old connection must take nothing more.
    """

    def __init__(
        self,
        *,
        client_id: ClientId,
        key: str,
        role: Role,
        size: WindowSize,
        terminal: Terminal,
        window_bytes: int,
        acks: bool,
        on_resize: Callable[[], None],
    ) -> None:
        """Subscribe to the terminal's output.

        Args:
            client_id: Names the client.
            key: Its secret.
            role: What it may do.
            size: Its window size.
            terminal: What it is attached to.
            window_bytes: Its credit.
            acks: Whether it acknowledges output.
            on_resize: Called when the size has changed.
        """
        self.id, self.key, self.role, self.size = client_id, key, role, size
        self.terminal = terminal
        self.input_seq = 0
        self.answers = True
        self._ready = asyncio.Event()
        self._on_resize = on_resize
        self._notices: deque[Resized] = deque(maxlen=1)
        self.on_replaced: Callable[[], None] = _nothing
        self._unconfirmed: deque[tuple[int, int]] = deque()
        self._confirmed: Accepted | None = None
        self._waiting: deque[tuple[int, int]] = deque()
        self._waiting_bytes = 0
        self._last_confirmed = 0
        self._cursor = terminal.stream.subscribe(
            terminal.policy, window_bytes, self._ready.set, acks=acks
        )
        terminal.written_listeners.add(self._on_written)
        self._ready.set()

    @property
    def offset(self) -> int:
        """Absolute offset of the next byte that the client gets."""
        return self._cursor.sent

    @property
    def is_parked(self) -> bool:
        """Whether the client has lost its connection and may come back."""
        return self._cursor.parked

    @property
    def may_type(self) -> bool:
        """Whether input and window size of this client count."""
        return may(self.role, Action.TYPE)

    async def next(self, limit: int) -> Item:
        """Wait for what the client is to be told next.

        Args:
            limit: Most bytes of output at once.
        """
        while True:
            item = self.next_nowait(limit)
            if item is not None:
                return item
            self._ready.clear()
            await self._ready.wait()

    def next_nowait(self, limit: int) -> Item | None:
        """Return what the client is to be told next, or None when there is nothing."""
        if self._confirmed is not None:
            confirmed, self._confirmed = self._confirmed, None
            return confirmed
        if self._notices:
            return self._notices.popleft()
        item = self.terminal.stream.take(self._cursor, limit)
        if item is not None:
            self.terminal.update_flow()
            if isinstance(item, Reset):
                self.terminal.repaint()
        return item

    def ack(self, offset: int) -> None:
        """Note that the client has taken in the output up to `offset`."""
        self.terminal.stream.ack(self._cursor, offset)

    def write(self, data: bytes) -> None:
        """Type `data`; dropped when the role does not allow it, or nobody asks for it.

        Raises:
            ProtocolError: More input of this client waits than `MAX_PENDING_BYTES`.
        """
        self._write(self._that_fits(self._allowed(data)))

    def write_numbered(self, seq: int, data: bytes) -> None:
        """Type message number `seq`; one that was accepted before is ignored.

        Raises:
            ProtocolError: A message is missing before this one, or too much input waits.
        """
        if seq <= self.input_seq:
            return
        if seq != self.input_seq + 1:
            raise ProtocolError(f"Input message {self.input_seq + 1} is missing before {seq}.")
        self.input_seq = seq
        data = self._allowed(data)
        large = len(data) >= CONFIRM_BYTES
        data = self._that_fits(data)
        if large or seq - self._last_confirmed >= CONFIRM_EVERY:
            self._last_confirmed = seq
            # Before writing: what the pty takes at once is reported from within `write`.
            due = self.terminal.accepted_bytes + len(data)
            if len(self._unconfirmed) < MAX_UNCONFIRMED:
                self._unconfirmed.append((due, seq))
            else:
                self._unconfirmed[-1] = (due, seq)
        self._write(data)
        self._on_written(self.terminal.written_bytes)

    def resize(self, size: WindowSize) -> None:
        """Set the client's window size."""
        if size != self.size:
            self.size = size
            self._on_resize()

    def tell_size(self, size: WindowSize) -> None:
        """Tell the client that the pty has this size."""
        self._notices.append(Resized(size))
        self._ready.set()

    def park(self) -> None:
        """Keep the place for a client whose connection is lost."""
        self._cursor.parked = True
        self.terminal.update_flow()

    def knows(self, key: str) -> bool:
        """Tell whether `key` is this client's secret, in constant time."""
        return hmac.compare_digest(self.key.encode(), key.encode("utf-8", "surrogatepass"))

    def resume(self, offset: int, *, reset: bool) -> None:
        """Go on at `offset` after a lost connection, or with a `Reset` when that is impossible."""
        self.terminal.stream.resume(self._cursor, offset, reset=reset)
        self._ready.set()

    def detach(self) -> None:
        """Leave the stream."""
        self.terminal.written_listeners.discard(self._on_written)
        self.terminal.drop(self._cursor)

    def _allowed(self, data: bytes) -> bytes:
        """Return `data`, or nothing where this client's input does not count."""
        if not self.may_type:
            return b""
        asked = self.answers and self._cursor.acked >= self._cursor.live
        return data if asked or not is_answer(data) else b""

    def _that_fits(self, data: bytes) -> bytes:
        """Return `data`, or nothing where the clients' input together has no room.

        Raises:
            ProtocolError: This client's own share is too large.
        """
        pending = self.terminal.pending_bytes
        # What a pty loses when its other side is closed is pending no more, and never written.
        if min(self._waiting_bytes, pending) + len(data) > MAX_PENDING_BYTES:
            raise ProtocolError("Too much input is waiting for a program that does not read it.")
        return data if pending + len(data) <= 2 * MAX_PENDING_BYTES else b""

    def _write(self, data: bytes) -> None:
        """Give input to the pty, counted as this client's until the pty has taken it."""
        if not data:
            return
        # Before writing: what the pty takes at once is reported from within `write`.
        due, size = self.terminal.accepted_bytes + len(data), len(data)
        if len(self._waiting) >= MAX_WAITING_PARTS:
            size += self._waiting.pop()[1]
        self._waiting.append((due, size))
        self._waiting_bytes += len(data)
        self.terminal.write(data)

    def _on_written(self, total: int) -> None:
        while self._waiting and self._waiting[0][0] <= total:
            self._waiting_bytes -= self._waiting.popleft()[1]
        seq = 0
        while self._unconfirmed and self._unconfirmed[0][0] <= total:
            seq = self._unconfirmed.popleft()[1]
        if seq:
            self._confirmed = Accepted(seq)
            self._ready.set()
