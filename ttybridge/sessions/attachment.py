"""One client's place in the session: who it is, its output, its input, its window size."""

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

from ttybridge.core.answers import Owed, is_answer
from ttybridge.core.cursor import Chunk, Cursor, Finished, Reset, Resized
from ttybridge.core.people import Person
from ttybridge.core.permissions import Action, may
from ttybridge.model import ClientId, Display, End, Role, WindowSize
from ttybridge.sessions.terminal import Terminal
from ttybridge.sessions.typing import Typing

MAX_NEWS = 16
"""Changes of the role that may wait to be told; a client that takes none is told the last ones."""

CONFIRM_S = 0.003
"""How long it may take until a client is told that its input has reached the pty, in seconds: a
key's echo goes first, and several keys are confirmed at once."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Input messages up to this one have reached the pty."""

    seq: int
    """Number of the message, counted from 1."""


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """The client may do something else from now on."""

    role: Role
    """What it may do."""
    by: str
    """Who has changed it, for people."""


@dataclass(frozen=True, slots=True)
class Follows:
    """Whether the client shows the session's window has changed; a hard reset comes with it."""

    follows: bool
    """Whether it shows the session's window, and no longer one of its own size."""


Item = Chunk | Reset | Finished | Resized | Accepted | RoleChanged | Follows
"""What a client is to be told next."""


def _nothing() -> None:
    """Do nothing."""


def _ignore(_data: bytes) -> None:
    """Do nothing."""


class Attachment:
    """One client that is attached to the session.

    Attributes:
        id: Names the client.
        key: Secret with which the client may come back after a lost connection.
        person: Who it is, as the entrance has found out.
        role: What it may do now. Asked here and nowhere else, for every entrance.
        name: What to call the person.
        since: When it came, in seconds since 1970.
        rtt_s: Round-trip time to the client in seconds; None while it is not known.
        hand: Whether the person asks for the keyboard.
        display: Whose window size the client wants to show.
        follows: Whether it shows the session's.
        size: Its own window size.
        answers: Whether what its terminal answers by itself is typed: on a shared pty, only
            one client's is.
        on_replaced: Called when the client comes back on another connection before the loss of
            this one was noticed; the old connection must take nothing more.
        on_typed: Called with what it has typed.
        offer: Sends a chunk at once, and tells whether it has; None where that cannot be.
        on_ready: Called when there may be something that the client is to be told; must not block.
        on_ended: Called when it has been removed; a client that takes nothing any more is cut off.
    """

    __slots__ = (  # a dictionary of so many takes 1.3 KB more
        "_acks", "_confirmed", "_confirming", "_cursor", "_end", "_has_moved", "_last_input",
        "_loop", "_news", "_on_resize", "_owed", "_ready", "_resized", "_shift", "_told_size",
        "_typing", "_unconfirmed", "_window_bytes", "answers", "display", "follows", "hand", "id",
        "key", "name", "offer", "on_ended", "on_ready", "on_replaced", "on_typed", "person",
        "role", "rtt_s", "since", "size", "terminal"
    )  # fmt: skip

    def __init__(
        self,
        *,
        client_id: ClientId,
        key: str,
        person: Person,
        size: WindowSize,
        terminal: Terminal,
        window_bytes: int,
        acks: bool,
        on_resize: Callable[[], None],
        display: Display = Display.OWN,
        follows: bool = False,
        since: float = 0.0,
    ) -> None:
        """Subscribe to the terminal's output.

        Args:
            client_id: Names the client.
            key: Its secret.
            person: Who it is.
            size: Its window size.
            terminal: What it is attached to.
            window_bytes: Its credit.
            acks: Whether it acknowledges output.
            on_resize: Called when the size has changed.
            display: Whose window size it wants to show.
            follows: Whether it shows the session's.
            since: When it came, in seconds since 1970.
        """
        self.id, self.key, self.person, self.size = client_id, key, person, size
        self.role, self.name, self.since = person.role, person.shown, since
        self.display, self.follows = display, follows
        self.terminal = terminal
        self.rtt_s: float | None = None
        self.hand = False
        self.answers = True
        self.on_replaced: Callable[[], None] = _nothing
        self.on_typed: Callable[[bytes], None] = _ignore
        self.on_ended: Callable[[], None] = _nothing
        self.offer: Callable[[Chunk], bool] | None = None
        self.on_ready: Callable[[], None] = _nothing
        self._ready: asyncio.Event | None = None
        self._loop = asyncio.get_running_loop()
        self._last_input = self._loop.time()
        self._on_resize = on_resize
        self._window_bytes, self._acks = window_bytes, acks
        self._resized: Resized | None = None
        self._told_size: WindowSize | None = None
        self._news: list[RoleChanged | Follows] = []
        self._confirmed: Accepted | None = None
        self._unconfirmed = 0
        self._confirming: asyncio.TimerHandle | None = None
        self._end: End | None = None
        self._shift = 0
        """What is added to the stream's offsets: those of a new terminal begin at zero again."""
        self._has_moved = False
        self._owed: Owed | None = None
        """What the terminal of the client is asked by a pty that it did not begin with."""
        self._cursor = self._subscribe(self.role)
        self._typing = Typing(terminal, self._confirm)

    @property
    def offset(self) -> int:
        """Absolute offset of the next byte that the client gets."""
        return self._cursor.sent + self._shift

    @property
    def input_seq(self) -> int:
        """Number of the last input message that was accepted."""
        return self._typing.seq

    @property
    def idle_s(self) -> float:
        """Seconds since the person last typed, or came."""
        return self._loop.time() - self._last_input

    @property
    def is_parked(self) -> bool:
        """Whether the client has lost its connection and may come back."""
        return self._cursor.parked

    @property
    def may_type(self) -> bool:
        """Whether input of this client counts."""
        return self._end is None and may(self.role, Action.TYPE, self.person.entrance)

    @property
    def sizes(self) -> bool:
        """Whether this client's window size counts for the session's."""
        return not self.follows and may(self.role, Action.RESIZE, self.person.entrance)

    async def next(self, limit: int) -> Item:
        """Wait for what the client is to be told next.

        Args:
            limit: Most bytes of output at once.
        """
        while True:
            item = self.next_nowait(limit)
            if item is not None:
                return item
            self._ready = self._ready or asyncio.Event()
            self._ready.clear()
            await self._ready.wait()

    def next_nowait(self, limit: int) -> Item | None:
        """Return what the client is to be told next, or None when there is nothing."""
        if self._news:
            return self._news.pop(0)
        if self._end is not None:
            return Finished(self._end)
        if self._confirmed is not None:
            confirmed, self._confirmed = self._confirmed, None
            return confirmed
        if self._resized is not None:
            resized, self._resized = self._resized, None
            return resized
        if self._has_moved and not self._cursor.lost:
            self._has_moved = False
            return Reset(self.offset, "replay", hard=True)
        return self._output(limit)

    def _output(self, limit: int) -> Chunk | Reset | Resized | Finished | None:
        item = self.terminal.stream.take(self._cursor, limit)
        if item is None:
            return None
        self.terminal.moved(self._cursor)
        if isinstance(item, Reset):
            self.terminal.repaint()
            if self._has_moved:
                self._has_moved, item = False, replace(item, hard=True)
        if self._owed is not None and isinstance(item, Chunk):
            self._owed.asked(item.data)
        if self._shift and isinstance(item, Chunk | Reset):
            return replace(item, offset=item.offset + self._shift)
        return item

    def ack(self, offset: int) -> None:
        """Note that the client has taken in the output up to `offset`."""
        self._acks = True
        self.terminal.stream.ack(self._cursor, max(0, offset - self._shift))

    def write(self, data: bytes) -> None:
        """Type `data`; dropped when the role does not allow it, or nobody asks for it.

        Raises:
            ProtocolError: More input of this client waits than is kept.
        """
        self._typed(self._typing.write(self._allowed(data)))

    def write_numbered(self, seq: int, data: bytes) -> None:
        """Type message number `seq`; one that was accepted before is ignored.

        Raises:
            ProtocolError: A message is missing before this one, or too much input waits.
        """
        if self._typing.is_new(seq):
            self._typed(self._typing.write_numbered(seq, self._allowed(data)))

    def resize(self, size: WindowSize) -> None:
        """Set the client's window size."""
        if size != self.size:
            self.size = size
            self._on_resize()

    def tell_size(self, size: WindowSize) -> None:
        """Tell the client that the pty has this size, unless it knows."""
        if size != self._told_size:
            self._told_size, self._resized = size, Resized(size)
            self._wake()

    def tell_role(self, role: Role, by: str) -> None:
        """Give the client another role, at once, and tell it."""
        self.role = role
        self.hand = False
        self._tell(RoleChanged(role, by))
        self._wake()

    def move(self, terminal: Terminal, role: Role, *, follows: bool) -> None:
        """Go on with another terminal, for a role: its output comes after a hard reset.

        Offsets go on above all that were sent, so that none of them means two things.
        """
        was_parked, past = self._cursor.parked, self.offset + 1
        self._typing.close()
        self.terminal.drop(self._cursor)
        self.terminal, self._shift = terminal, past
        self._cursor = self._subscribe(role)
        self._cursor.parked = was_parked
        self._typing = Typing(terminal, self._confirm, seq=self._typing.seq)
        self._has_moved, self._resized, self._owed = True, None, Owed()
        self._told_size = None
        if follows != self.follows:
            self.follows = follows
            self._tell(Follows(follows))
        self._wake()

    def stay(self, role: Role, *, follows: bool) -> None:
        """Go on with the same terminal in another role."""
        self.terminal.assign(self._cursor, role)
        if follows != self.follows:
            self.follows = follows
            self._tell(Follows(follows))
            self._wake()

    def end(self, end: End) -> None:
        """End the client's stream: nothing but this comes any more."""
        self._end = end
        self._wake()
        self.on_ended()

    @property
    def has_ended(self) -> bool:
        """Whether the client has been removed, and only has to be told."""
        return self._end is not None

    def park(self) -> None:
        """Keep the place for a client whose connection is lost."""
        self._disconnect()
        self._cursor.parked = True
        self.terminal.update_flow()

    def knows(self, key: str) -> bool:
        """Tell whether `key` is this client's secret, in constant time."""
        return hmac.compare_digest(self.key.encode(), key.encode("utf-8", "surrogatepass"))

    def resume(self, offset: int, *, reset: bool) -> None:
        """Go on at `offset` after a lost connection, or with a `Reset` when that is impossible."""
        self._disconnect()
        is_before = offset < self._shift
        self.terminal.stream.resume(
            self._cursor, max(0, offset - self._shift), reset=reset or is_before
        )
        self._told_size = None
        if self.follows:
            self.tell_size(self.terminal.size)
        self._wake()

    def detach(self) -> None:
        """Leave the stream."""
        if self._confirming is not None:
            self._confirming.cancel()
        self._typing.close()
        self.terminal.drop(self._cursor)

    def _subscribe(self, role: Role) -> Cursor:
        terminal = self.terminal
        cursor = terminal.stream.subscribe(
            terminal.policy_for(role), self._window_bytes, self._wake, acks=self._acks
        )
        cursor.offer = self._offered
        terminal.assign(cursor, role)
        return cursor

    def _offered(self, chunk: Chunk) -> bool:
        """Send a chunk past everything else, where there is nothing else."""
        if (
            self.offer is None
            or self._news
            or self._end is not None
            or self._confirmed is not None
            or self._resized is not None
            or self._shift
        ):
            return False
        return self.offer(chunk)

    def _tell(self, news: RoleChanged | Follows) -> None:
        """Tell the client something soon; of very much, the last."""
        self._news = [*self._news[1 - MAX_NEWS :], news]

    def _disconnect(self) -> None:
        """Give the connection, which is lost, nothing more: what it took would be missing."""
        self.on_ready, self.offer = _nothing, None

    def _wake(self) -> None:
        if self._ready is not None:
            self._ready.set()
        self.on_ready()

    def _allowed(self, data: bytes) -> bytes:
        """Return `data`, or nothing where this client's input does not count."""
        if not self.may_type:
            return b""
        if not is_answer(data):
            return data
        asked = self.answers and self._cursor.acked >= self._cursor.live
        return data if asked and (self._owed is None or self._owed.takes(data)) else b""

    def _typed(self, data: bytes) -> None:
        if data and not is_answer(data):
            self._last_input = self._loop.time()
            self.on_typed(data)

    def _confirm(self, seq: int) -> None:
        self._unconfirmed = seq
        if self._confirming is None:
            self._confirming = self._loop.call_later(CONFIRM_S, self._confirm_now)

    def _confirm_now(self) -> None:
        self._confirming = None
        self._confirmed = Accepted(self._unconfirmed)
        self._wake()
