"""The limits that stand against one client's flood: how much of each there may be, and is."""

from dataclasses import dataclass

from ttybridge.core.protocol import MAX_MESSAGE_BYTES

HEAD_TIMEOUT_S = 10.0
"""Time for a request head to arrive, in seconds: one is a few hundred bytes."""

BODY_TIMEOUT_S = 30.0
"""Time for a request body to arrive, in seconds: 1 MB at 33 KB/s; the page's have some KB."""

MAX_HANDSHAKES = 100
"""Connections of one client that have not joined yet: each joins within some milliseconds."""

MAX_PENDING = 512
"""Connections without a request under way: half of the 1024 descriptors that many systems allow."""

LOG_LINES = 1
"""Lines in the log that one bad connection is worth."""

NEAR = 0.8
"""Share of a limit from which on its use is worth a word."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take before anything of it is known, or beside what it is here for."""

    head_timeout_s: float = HEAD_TIMEOUT_S
    """Seconds for a request head to arrive."""
    body_timeout_s: float = BODY_TIMEOUT_S
    """Seconds for a request body to arrive."""
    message_bytes: int = MAX_MESSAGE_BYTES
    """Bytes of one message of a client, a request body or a WebSocket's."""
    handshakes: int = MAX_HANDSHAKES
    """Connections of one client that have not joined yet."""
    pending: int = MAX_PENDING
    """TCP connections of all clients without a request under way."""
    log_lines: int = LOG_LINES
    """Lines in the log that one bad connection is worth."""


@dataclass(frozen=True, slots=True)
class Use:
    """One limit and what is used of it."""

    name: str
    """Its name in `/metrics` and in JSON, in the unit that it ends with, if any."""
    option: str
    """The option that changes it; empty where none does."""
    limit: float
    """How much there may be."""
    in_use: float
    """How much there is."""
    is_peak: bool = False
    """Whether it is the most that there has been, not what there is: of what passes by."""

    @property
    def is_near(self) -> bool:
        """Whether most of it is used.

        >>> Use("viewers", "--max-viewers", 10, 8).is_near, Use("attachments", "", 0, 0).is_near
        (True, False)
        """
        return not self.is_peak and self.limit > 0 and self.in_use >= NEAR * self.limit
