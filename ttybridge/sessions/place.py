"""What a client's terminal is opened for, and where it comes from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ttybridge.model import ClientId, Mode, Role, WindowSize
from ttybridge.sessions.terminal import Terminal

if TYPE_CHECKING:
    from ttybridge.sessions.attachment import Attachment


@dataclass(frozen=True, slots=True)
class Place:
    """What a client's terminal is opened for; it never changes, another terminal is opened."""

    role: Role
    """What the client may do."""
    size: WindowSize
    """Its own window size."""
    terminal_type: str = ""
    """What its terminal is, as TERM says it; empty for our page."""
    follows: bool = False
    """Whether it shows the session's window, scaled, instead of one of its own size."""


class Terminals(Protocol):
    """Where the pty of a client comes from: `TmuxTerminals` or `DirectTerminal`."""

    mode: Mode
    session: str
    can_follow: bool
    """Whether clients may show the session's window instead of one of their own size."""

    async def start(self) -> tuple[str, ...]:
        """Bring the session up; return sentences for the user."""

    async def open(self, client_id: ClientId, place: Place) -> Terminal:
        """Return the terminal for a new client, or for one in another place than before.

        Args:
            client_id: Names the terminal; never used twice.
            place: What it is for.

        Raises:
            TtyBridgeError: There is none.
        """

    async def release(self, client_id: ClientId, terminal: Terminal) -> None:
        """Note that a client has left."""

    def fit(self, attachments: "list[Attachment]") -> None:
        """Set window sizes after a client came, left, or changed its size."""

    async def recorded(self) -> Terminal:
        """Return the terminal with the session's whole window, for somebody who only listens.

        Raises:
            TtyBridgeError: There is none.
        """

    async def close(self) -> None:
        """End what was started; a tmux session lives on."""
