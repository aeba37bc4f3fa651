"""What a workload is: one row of the table, measured for one peer at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.goals import Goal
from benchmarks.peer import MODES, Peer

Numbers = dict[str, float]
"""What one round has measured, by the keys of the columns; what is missing was not measured."""


class WrongOutputError(Exception):
    """The output is not what the program wrote: no speed makes up for it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of everything."""

    text: Path
    """The coloured text; see `benchmarks.text`."""
    text_bytes: int
    text_digest: str
    """SHA-256 of the text, in hexadecimal."""
    keys: int = 300
    """Keys of an echo measurement."""
    flood: float = 5e6
    """Bytes a second that another process writes."""
    stall_s: float = 20.0
    viewers: int = 200
    viewers_s: float = 10.0
    sessions: int = 100
    page_rtt_s: float = 0.1
    typing_rtt_s: float = 0.2
    polling_keys: int = 100
    typed: int = 60
    """Characters that are typed in the browser."""
    settle_s: float = 1.5
    """Time in which a flood reaches its steady state."""
    patience_s: float = 30.0
    """Longest time to wait for something that should be there; what took longer took that long."""
    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement to make."""

    peer: Peer
    mode: str
    settings: Settings
    folder: Path
    """An empty folder of its own."""

    def home(self) -> Path:
        """Make an empty folder for a server."""
        path = self.folder / f"server{len(list(self.folder.iterdir()))}"
        path.mkdir()
        return path


@dataclass(frozen=True, slots=True)
class Column:
    """A number of the table."""

    key: str
    title: str
    """With its unit."""
    form: str = ".2f"
    """How it is printed, as `format` takes it."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that web terminals are made to do."""

    name: str
    """As `--only` takes it."""
    title: str
    columns: tuple[Column, ...]
    measure: Callable[[Case], Numbers]
    """Measures one case, or raises: OSError or TimeoutError where it did not work,
    WrongOutputError."""
    goals: dict[str, tuple[Goal, ...]] = field(default_factory=dict)
    """By mode."""
    modes: tuple[str, ...] = MODES
    peers: tuple[str, ...] = ()
    """Names of those that can take part; empty is all."""
    without: tuple[str, ...] = ()
    """Names of those that cannot, or a name and a mode in which it cannot."""
    missing: Callable[[], str] = lambda: ""
    """Says in a sentence what is not here that it needs; "" when all is."""
    most_rounds: int = 1000
    """For one that takes long."""

    def includes(self, peer: Peer, mode: str) -> bool:
        """Tell whether a peer takes part."""
        is_wanted = not self.peers or peer.name in self.peers
        is_able = not {peer.name, f"{peer.name} {mode}"} & {*self.without}
        return is_wanted and mode in peer.modes and is_able
