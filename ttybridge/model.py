"""The words that all parts share: sizes, roles, ids, the end of a pty."""

from dataclasses import dataclass
from enum import Enum
from typing import NewType, Self

ClientId = NewType("ClientId", str)
"""Names one client of the session, for example `c7`; never reused within a run."""

MIN_COLS, MIN_ROWS = 2, 1
"""Smallest window size: tmux takes 1x1, but wide characters need two columns."""

MAX_COLS = MAX_ROWS = 1000
"""Largest window size. tmux accepts 10000x10000 and then needs gigabytes for its cells."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """Size of a terminal window in character cells.

    >>> WindowSize.clamped(cols=0, rows=5000)
    WindowSize(cols=2, rows=1000)
    """

    cols: int
    """Columns."""
    rows: int
    """Rows."""

    @classmethod
    def clamped(cls, *, cols: int, rows: int) -> Self:
        """Return the nearest size that is allowed."""
        return cls(
            cols=min(max(cols, MIN_COLS), MAX_COLS),
            rows=min(max(rows, MIN_ROWS), MAX_ROWS),
        )


DEFAULT_SIZE = WindowSize(cols=80, rows=24)
"""Window size until a client has told its own: what node-pty and tmux take, too."""


class Role(Enum):
    """What a client may do."""

    __hash__ = object.__hash__  # Enum's is Python code, and each key asks for rights

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


class Mode(Enum):
    """How clients share the session."""

    TMUX = "tmux"
    EXCLUSIVE = "exclusive"
    CONTAINER = "container"
    DIRECT = "direct"


class Display(Enum):
    """Whose window size a client shows."""

    OWN = "own"
    """Its own: the window of the session may follow it."""
    SESSION = "session"
    """The session's, scaled to fit; the client has no say in it."""
    AUTO = "auto"
    """The session's while others have a say in it, else its own."""


class EndReason(Enum):
    """Why a pty ended, as a client is told."""

    EXITED = "exited"
    DETACHED = "detached"
    TAKEN_OVER = "taken-over"
    SERVER_EXITED = "server-exited"
    KILLED = "killed"
    CLOSING = "closing"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a child process ended."""

    code: int = 0
    """Exit status, 0 to 255; 0 when a signal ended it."""
    signal: int = 0
    """Number of the signal that ended it; 0 when none did."""

    @property
    def shell_code(self) -> int:
        """The status as a shell reports it.

        >>> ExitStatus(signal=9).shell_code
        137
        """
        return 128 + self.signal if self.signal else self.code


@dataclass(frozen=True, slots=True)
class End:
    """The end of a client's stream."""

    status: ExitStatus
    """How the child ended."""
    reason: EndReason
    """Why, in one word."""
    message: str
    """Why, in one sentence for people."""
    restart: bool
    """Whether joining again starts a new session."""


class Secret(str):
    """A string that does not show itself in `repr`, and so not in logs of objects.

    >>> Secret("abc")
    Secret('***')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"
