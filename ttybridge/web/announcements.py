"""What every page is told about the people: who is here, what is recorded, how far away one is."""

import asyncio
from collections.abc import Callable, Mapping

from ttybridge.core import protocol
from ttybridge.model import Role
from ttybridge.sessions.hub import Hub
from ttybridge.web.peers import PagePeer

LEAST_S = 0.5
"""Least time between two announcements, in seconds: people may come by the dozen."""

MOST_TOLD = 300
"""People of whom a page is told at most."""

PING_EVERY_S = 10.0
"""Time between two measurements of the round trip, in seconds."""


class Announcements:
    """Tells pages, not more often than they can use it."""

    def __init__(
        self,
        hub: Hub,
        pages: Callable[[], list[PagePeer]],
        recording: Callable[[], Mapping[str, object] | None],
    ) -> None:
        """Tell nobody yet.

        Args:
            hub: The session.
            pages: Returns the pages that are there.
            recording: Tells what is recorded now.
        """
        self._hub, self._pages, self._recording = hub, pages, recording
        self._loop = asyncio.get_running_loop()
        self._told_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._pinging: asyncio.TimerHandle | None = None
        hub.people.on_change.append(self.soon)

    def soon(self) -> None:
        """Tell all pages, once for all changes that come together."""
        if self._timer is None:
            wait = max(0.0, self._told_at + LEAST_S - self._loop.time())
            self._timer = self._loop.call_later(wait, self._tell)

    def welcome(self, page: PagePeer) -> None:
        """Tell a page that has just joined."""
        self._tell_pages([page])
        page.ping()
        if self._pinging is None:
            self._pinging = self._loop.call_later(PING_EVERY_S, self._ping)

    def close(self) -> None:
        """Tell nobody any more."""
        self._hub.people.on_change.remove(self.soon)
        for timer in (self._timer, self._pinging):
            if timer is not None:
                timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        self._told_at = self._loop.time()
        self._tell_pages(self._pages())

    def _tell_pages(self, pages: list[PagePeer]) -> None:
        people = self._hub.people
        common = {
            "watching": people.watching,
            "locked": people.is_locked,
            "approve": people.approves,
            "recording": self._recording(),
        }
        viewers = [page for page in pages if page.attachment.role is Role.VIEWER]
        for role in (Role.OWNER, Role.EDITOR):
            told = [page for page in pages if page.attachment.role is role]
            if told:
                here = people.rows_for(role)[:MOST_TOLD]
                text = protocol.event("people", {"here": here, **common})
                for page in told:
                    page.send_text(text)
        if viewers:
            # The same for all but one row: their own.
            typing = people.rows_for(Role.VIEWER)
            for page in viewers:
                own = people.row_of(page.attachment)
                page.send_text(protocol.event("people", {"here": [*typing, own], **common}))

    def _ping(self) -> None:
        pages = self._pages()
        self._pinging = self._loop.call_later(PING_EVERY_S, self._ping) if pages else None
        for page in pages:
            page.ping()
        if pages:
            self.soon()  # idle times, and the last round trips
