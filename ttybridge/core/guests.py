"""The sessions that links have given: whose they are, what they may do now, and what ended them."""

from collections.abc import Iterator
from dataclasses import dataclass

from ttybridge.core.links import Link, Links, Over
from ttybridge.model import Role


@dataclass(slots=True)
class Session:
    """What one opening of a link has given."""

    role: Role
    """What its holder may do now."""
    is_guests: bool
    """Whether it is known here alone, and gone when it is not."""
    over: Over | None = None
    """What has ended it."""


class Guests:
    """Sessions by the links that gave them; they are forgotten with their links.

    Each link gives MAX_OPENED at most, so that who has one for any number can fill no memory and
    push nobody else out.

    Args:
        links: The links of this run.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._sessions: dict[str, dict[str, Session]] = {}

    def add(self, session_id: str, link: Link) -> None:
        """Remember a session that a link has given."""
        for gone in [each for each in self._sessions if self._links.get(each) is None]:
            del self._sessions[gone]
        session = Session(link.role, link.is_guests)
        self._sessions.setdefault(link.id, {})[session_id] = session

    def find(self, session_id: str, link_id: str) -> tuple[Session, Link] | None:
        """Return a session and its link; None when it is not of this run, or forgotten."""
        session = self._sessions.get(link_id, {}).get(session_id)
        link = self._links.get(link_id)
        return None if session is None or link is None else (session, link)

    def set_role(self, session_id: str, role: Role) -> bool:
        """Give a guest's session another role; False when it is none."""
        found = next(self._guests(session_id), None)
        if found is not None:
            found.role = role
        return found is not None

    def end(self, session_id: str, over: Over) -> bool:
        """End a guest's session; False when it is none."""
        found = next(self._guests(session_id), None)
        if found is not None:
            found.over = found.over or over
        return found is not None

    def of(self, link_id: str) -> list[str]:
        """Return the ids of the sessions that a link has given and nobody has ended."""
        sessions = self._sessions.get(link_id, {})
        return [each for each, session in sessions.items() if session.over is None]

    def _guests(self, session_id: str) -> Iterator[Session]:
        for sessions in self._sessions.values():
            session = sessions.get(session_id)
            if session is not None and session.is_guests:
                yield session
