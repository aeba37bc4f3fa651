"""What the session asks of tmux."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ttybridge.core.tmux import Target
from ttybridge.model import WindowSize


class Answer(Protocol):
    """What a tmux command answered."""

    @property
    def status(self) -> int:
        """Its exit status."""

    @property
    def output(self) -> bytes:
        """Its standard output."""

    @property
    def errors(self) -> bytes:
        """Its standard error."""


class Watch(Protocol):
    """Follows the size of the session's window; `adapters.tmux_watch.TmuxWatch` is the real one."""

    def say(self, command: bytes) -> bool:
        """Give tmux a command without waiting; tell whether it could be given."""

    async def close(self) -> None:
        """End it; twice is fine."""


class Control(Protocol):
    """What is asked of tmux; `adapters.tmux_control.TmuxControl` is the real one."""

    target: Target

    async def check_version(self) -> None:
        """Check that tmux is there and new enough."""

    async def has_session(self) -> bool:
        """Tell whether the session exists."""

    async def running_environment(self) -> dict[bytes, bytes] | None:
        """Return the environment of new windows, or None where no server runs."""

    async def give_environment(self, running: Mapping[bytes, bytes]) -> None:
        """Give the existing session our environment."""

    async def create(self, size: WindowSize, running: Mapping[bytes, bytes]) -> None:
        """Create the session on a running server with our environment, kept without clients."""

    async def keep_unattached(self) -> str | None:
        """Keep the session without clients; return its own setting if that changed anything."""

    async def give_unattached_back(self, own: str) -> None:
        """Set the session's own `destroy-unattached` as it was."""

    async def let_programs_copy(self) -> None:
        """Let programs copy to the clients' clipboards."""

    async def signal_client(self, mark: str, signal: str) -> None:
        """Signal our client inside the container."""

    def watch(self, on_size: Callable[[WindowSize], None]) -> Watch:
        """Follow the size that a client needs to show the session's whole window.

        Args:
            on_size: Called with each size, the first one soon.
        """

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Answer:
        """Run a tmux command line to its end."""
