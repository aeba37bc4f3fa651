"""A client's place in a pty's output, and what it may be sent next."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from ttybridge.core.pace import Pace
from ttybridge.model import End, WindowSize

HIGH_BYTES, LEAST_HIGH_BYTES = 128 * 1024, 4 * 1024
"""Unsent bytes of a PAUSE cursor at which the pty is paused: part of its window, within these.
What lies unsent here is what a client still sees after Ctrl-C."""

HIGH_PART = 4
"""That part of the window, as a divisor. With 2, Ctrl-C on a line of 1 MB/s took half as long
again, and with either a quick line gets as much."""


class Policy(Enum):
    """What happens to a cursor that falls behind."""

    PAUSE = "pause"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes for a client."""

    offset: int
    """Absolute offset of the first byte."""
    data: bytes
    """The bytes, never empty."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The client's place is lost; it goes on elsewhere."""

    offset: int
    """Where the next chunk begins."""
    reason: str
    """`behind`, `lost` or `replay`."""
    hard: bool
    """Whether the client clears its terminal: the log is shown again from some point. Otherwise
    the pty's program repaints, which the reader of this reset asks for."""


@dataclass(frozen=True, slots=True)
class Resized:
    """From here on, the output is for a window of this size, whatever the client's own is."""

    size: WindowSize
    """The pty's size."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The stream has ended and the client has got all of it."""

    end: End
    """How it ended."""


@dataclass(slots=True, eq=False)
class Cursor:
    """One client's place in a stream. Made by `Stream.subscribe`."""

    policy: Policy
    window: int
    """Most bytes under way without an acknowledgement."""
    sent: int
    """Offset of the next byte to send."""
    acked: int
    """Offset up to which the client has taken the output in."""
    wake: Callable[[], None]
    """Called when there may be something to take; must not block."""
    acks: bool = True
    """Whether the client acknowledges; one that does not is held by its socket alone."""
    parked: bool = False
    """Whether the client has lost its connection and may come back."""
    joining: bool = False
    """Whether the client is still reading the log from before it joined: it holds nobody up."""
    live: int = 0
    """Where the output begins that came after the client: it has taken part in nothing before."""
    lost: str = ""
    """Why the place is lost (a `Reset.reason`); empty while it is not."""
    floor: int = 0
    """Where the place began after the last reset: offsets below it may have been a prelude's."""
    prelude: bytes = field(default=b"", repr=False)
    """Bytes that are sent before the next ones, at the offsets just before them."""
    pace: Pace | None = field(default=None, repr=False)
    """Sets the window, where it follows the line."""
    offer: Callable[[Chunk], bool] | None = None
    """Sends a chunk that the client may have, at once, and tells whether it has: what many
    clients get is made once for all. Where it has not, `wake` is called as ever."""

    @property
    def credit(self) -> int:
        """Bytes that may be sent now."""
        return self.window - (self.sent - self.acked) if self.acks else self.window

    @property
    def high(self) -> int:
        """Unsent bytes at which the pty is paused for this client."""
        if self.parked:  # it presses no Ctrl-C, and a program that goes on may come to its end
            return HIGH_BYTES
        return min(HIGH_BYTES, max(LEAST_HIGH_BYTES, self.window // HIGH_PART))

    def gets(self, chunk: Chunk) -> bool:
        """Offer the newest output where all before it was sent, and it fits; tell whether it went.

        The caller counts it as sent.
        """
        return (
            self.offer is not None
            and self.sent == chunk.offset
            and not self.lost
            and not self.prelude
            and len(chunk.data) <= self.credit
            and self.offer(chunk)
        )
