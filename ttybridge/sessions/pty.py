"""What a terminal needs of the pty under it, and of who starts a program on one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ttybridge.model import ExitStatus, WindowSize


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start on a pty."""

    argv: Sequence[str]
    """The program and its arguments."""
    environment: Mapping[bytes, bytes]
    """Its whole environment."""
    cwd: str
    """Its working directory."""


class Pty(Protocol):
    """What a terminal needs of a pty; `adapters.pty.Pty` is the real one."""

    pid: int
    pending_bytes: int
    """Input that it has not taken yet."""
    read_bytes: int
    """Most bytes that are read at once."""
    between_reads: Callable[[], None]
    """Called where there is a moment for work that can wait."""

    def write(self, data: bytes) -> None:
        """Queue input."""

    def resize(self, size: WindowSize) -> None:
        """Set the window size."""

    def signal(self, number: int) -> None:
        """Send a signal to the child."""

    def pause(self) -> None:
        """Stop reading."""

    def unpause(self) -> None:
        """Read again."""

    async def close(self) -> None:
        """End the child."""


class SpawnPty(Protocol):
    """Starts a program on a pty; `adapters.pty.Pty.spawn` is the real one."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        size: WindowSize,
        on_output: Callable[[bytes], None],
        on_written: Callable[[int], None],
        on_end: Callable[[ExitStatus], None],
    ) -> Pty:
        """Start it; see `adapters.pty.Pty.spawn`."""
