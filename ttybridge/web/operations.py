"""What the running bridge can be asked for, by the control socket and by the page's `api/`.

Each method takes who asks. Whether the role allows it at all is checked before, in one place:
`ttybridge.web.routes`; what depends on the one it is done to is checked where it is done.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

from ttybridge.core.people import Actor
from ttybridge.model import Role

Answer = Mapping[str, object]
"""An object for JSON, as docs/control.md describes it."""

Output = contextlib.AbstractAsyncContextManager[AsyncIterator[str | int]]
"""A text that runs: its output, piece by piece, and its exit status at the end."""


class PeopleOperations(Protocol):
    """About the people who are here; each method raises TtyBridgeError with a sentence."""

    def people(self, actor: Actor) -> Answer:
        """Return who is here and who waits; to viewers, what viewers may know."""

    async def grant(self, actor: Actor, who: str, role: Role) -> None:
        """Give somebody another role; `who` is a client's id or a name that only one has."""

    async def kick(self, actor: Actor, who: str) -> str:
        """Remove somebody; returns how the person could come back, empty when not."""

    async def admit(self, actor: Actor, who: str) -> None:
        """Let somebody in who waits."""

    async def refuse(self, actor: Actor, who: str) -> None:
        """Turn somebody away who waits."""

    async def lock(self, actor: Actor, *, on: bool) -> None:
        """Let nobody new in, or do so again."""

    async def approve(self, actor: Actor, *, on: bool) -> None:
        """Have newcomers wait for an owner, or not."""

    async def share(
        self, actor: Actor, role: Role, *, name: str, life_s: float, uses: int | None
    ) -> Answer:
        """Return a new link for a role.

        Args:
            actor: Who asks.
            role: What whoever opens it may do.
            name: What to call whoever opens it; may be empty.
            life_s: Seconds until it ends, with the access of everybody who came by it.
            uses: How many browsers it lets in; None for any number.
        """

    def links(self, actor: Actor) -> Answer:
        """Return the links of this run that can still be opened, or let somebody in."""

    async def revoke(self, actor: Actor, link: str) -> None:
        """End a link by its id, with everybody who came by it."""


class RecordOperations(Protocol):
    """About recordings and the log; each method raises TtyBridgeError with a sentence."""

    def recordings(self, actor: Actor) -> Answer:
        """Return the recordings that are there, and the one that is being made."""

    async def record(
        self, actor: Actor, *, file: Path | None, format: str | None, with_input: bool | None
    ) -> Answer:
        """Start a recording and return it.

        Args:
            actor: Who asks.
            file: Where to; None for a new file in the folder of recordings.
            format: `v2` or `v3`; None: as the bridge was told.
            with_input: Whether it has what is typed; None: as the bridge was told.
        """

    async def stop_recording(self, actor: Actor) -> Answer:
        """End the recording and return it."""

    async def marker(self, actor: Actor, label: str) -> None:
        """Put a marker into the recording."""

    def audit(self, actor: Actor) -> Answer:
        """Return the last joins, leaves and changes of rights."""


class Operations(PeopleOperations, RecordOperations, Protocol):
    """Everything that the running bridge can be asked for."""

    def status(self, actor: Actor) -> Answer:
        """Return what the bridge says about itself."""

    def link(self, actor: Actor, *, is_framed: bool, life_s: float | None, uses: int | None) -> str:
        """Return a new link that lets an owner in."""

    def serve_host(self, actor: Actor, url: str) -> None:
        """Serve another public address from now on."""

    async def update_environment(
        self, actor: Actor, changes: Mapping[bytes, bytes | None]
    ) -> tuple[int, int, list[str]]:
        """Change variables for new windows and logins.

        Returns:
            How many were set, how many were removed, and the names that are left alone.
        """

    def run(self, actor: Actor, text: str) -> Output:
        """Run a text in the shared pane."""

    def stop(self, actor: Actor) -> None:
        """Stop the bridge."""
