"""Everybody who is here or waits: admission, hands, grants, removals, the closed door.

What somebody may do is decided by `core.permissions`; what a change of rights means for terminals
is the hub's; here stands who asks, whom it concerns, and who is told.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ttybridge.core.people import Actor, Person, clean_name
from ttybridge.core.permissions import Action, may, may_change, may_remove
from ttybridge.model import ClientId, Role, WindowSize
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.door import REMOVED, Door, Note, Refused, Row, no_note, note_person, shown

MAX_SHOWN = 50
"""People of whom a viewer is told; of others there is the number."""


class Holder(Protocol):
    """Who keeps credentials, and is told when one means something else from now on."""

    def set_role(self, credential: str, role: Role) -> None:
        """Give a credential another role until the bridge stops."""

    def end(self, credential: str) -> None:
        """Accept a credential no more until the bridge stops."""


class Session(Protocol):
    """What people are in; `Hub` is the real one."""

    @property
    def attachments(self) -> list[Attachment]:
        """Everybody attached."""

    async def set_role(self, attachment: Attachment, role: Role, by: str) -> None:
        """Give a client another role."""

    def must_have_room(self, attachment: Attachment, role: Role) -> None:
        """Raise SessionFull where a client in another role would need a place that is not there."""

    def remove(self, attachment: Attachment, sentence: str) -> None:
        """End a client's stream."""


class People:
    """Everybody in the session, and before its door.

    Attributes:
        door: Decides who comes in.
        holders: Who keeps credentials.
        is_link_open: Tells whether somebody could come in by a link still, by its id.
        on_change: Called, each one, when what `rows` returns has changed.
    """

    def __init__(
        self,
        session: Session,
        *,
        clock: Callable[[], float],
        approves: bool = False,
        locks_after_owner: bool = False,
    ) -> None:
        """Begin with nobody.

        Args:
            session: What people are in.
            clock: Seconds since 1970.
            approves: Whether newcomers who are no owners wait to be let in.
            locks_after_owner: Whether the door closes when the first owner has come in.
        """
        self._session = session
        self.holders: list[Holder] = []
        self.is_link_open: Callable[[str], bool] = lambda _link: True
        self.on_change: list[Callable[[], None]] = []
        self._roles: dict[str, Role] = {}
        """What somebody has granted to whom, by credential, and so for the clients to come."""
        self._note: Note = no_note
        self.door = Door(
            self.changed, clock=clock, approves=approves, locks_after_owner=locks_after_owner
        )

    @property
    def note(self) -> Note:
        """Takes events for the audit log."""
        return self._note

    @note.setter
    def note(self, note: Note) -> None:
        self._note = self.door.note = note

    # --- coming and going ------------------------------------------------------------------

    def now(self, person: Person) -> Person:
        """Return a person with the role that it has now, whatever the credential gave before."""
        role = self._roles.get(person.credential, person.role) if person.credential else person.role
        return replace(person, role=role)

    def joined(self, attachment: Attachment) -> None:
        """Note that somebody is in."""
        note_person(self.note, "join", attachment.id, attachment.person)
        self.door.joined(attachment.person)
        self.changed()

    def left(self, attachment: Attachment) -> None:
        """Note that somebody has gone for good."""
        note_person(
            self.note, "leave", attachment.id, replace(attachment.person, role=attachment.role)
        )
        self.changed()

    def changed(self) -> None:
        """Tell everybody who wants to know that something about the people has changed."""
        for listener in self.on_change:
            listener()

    # --- what people ask for ---------------------------------------------------------------

    def hand(self, attachment: Attachment, is_up: bool) -> None:
        """Raise or lower a viewer's hand; of others, and elsewhere, nothing happens."""
        asks = may(attachment.role, Action.RAISE_HAND, attachment.person.entrance)
        if asks and attachment.role is Role.VIEWER and attachment.hand is not is_up:
            attachment.hand = is_up
            self.changed()

    def rename(self, attachment: Attachment, name: str) -> None:
        """Let a person choose a name, unless the link or key has given one."""
        if not attachment.person.name and attachment.name != (name := clean_name(name)):
            attachment.name = name
            self.changed()

    async def grant(self, who: str, role: Role, by: Actor) -> None:
        """Give a person another role, in all that person's clients.

        Args:
            who: A client's id, or a name that only one person has.
            role: The role.
            by: Who gives it.

        Raises:
            Refused: There is no such person, or it is not allowed.
        """
        attachment = self._find(who)
        if not may_change(by.role, attachment.role, role):
            raise Refused(
                f"{shown(by)} may not make {_named(attachment)} {_with_article(role)}.",
                hint="Owners may.",
            )
        self._session.must_have_room(attachment, role)
        credential = attachment.person.credential
        if credential:
            self._roles[credential] = role
            for holder in self.holders:
                holder.set_role(credential, role)
        self.note(
            "role",
            id=attachment.id,
            who=attachment.name,
            before=attachment.role.value,
            role=role.value,
            by=shown(by),
        )
        concerned = [each for each in self._clients_of(attachment) if each.role is not role]
        # All at once: nobody types on in one tab while another one is still being changed.
        work = asyncio.gather(*(self._session.set_role(a, role, shown(by)) for a in concerned))
        await asyncio.shield(work)  # to its end, though the one who asks may not wait for it
        self.changed()

    def kick(self, who: str, by: Actor) -> str:
        """Remove a person, and end what the person came in with.

        Args:
            who: As for `grant`; also somebody who waits.
            by: Who removes.

        Returns:
            A sentence about how the person could come back; empty when not.

        Raises:
            Refused: There is no such person, or it is not allowed.
        """
        if self.door.has(who):
            if not may(by.role, Action.ADMIT, by.entrance):
                raise Refused(f"{shown(by)} may not turn anybody away.", hint="Owners may.")
            self.door.refuse(who, by)
            return ""
        attachment = self._find(who)
        if not may_remove(by.role, attachment.role):
            raise Refused(f"{shown(by)} may not remove {_named(attachment)}.", hint="Owners may.")
        person = attachment.person
        note_person(self.note, "kick", attachment.id, person, by=shown(by))
        concerned = self._clients_of(attachment)
        self.door.ban(person.credential)
        for each in concerned:
            self._session.remove(each, REMOVED)
        if person.credential:
            for holder in self.holders:
                holder.end(person.credential)
        self.changed()
        if person.link and self.is_link_open(person.link):
            return f"The link {person.link} may still let in: ttybridge revoke {person.link}"
        return "" if person.credential or person.link else "Whoever has the token can come back."

    # --- the door --------------------------------------------------------------------------

    async def enter(
        self,
        client_id: ClientId,
        person: Person,
        size: WindowSize,
        on_waiting: Callable[[], None] | None,
    ) -> None:
        """Return when somebody may come in.

        Raises:
            NotAdmitted: Never.
        """
        await self.door.enter(client_id, person, size, on_waiting)

    def admit(self, who: str, by: Actor) -> None:
        """Let in somebody who waits.

        Raises:
            Refused: Nobody waits by that id or name.
        """
        self.door.admit(who, by)

    def refuse(self, who: str, by: Actor) -> None:
        """Turn away somebody who waits.

        Raises:
            Refused: Nobody waits by that id or name.
        """
        self.door.refuse(who, by)

    def lock(self, is_on: bool, by: Actor) -> None:
        """Let nobody new in from now on, or everybody again."""
        self.door.lock(is_on, by)

    def approve(self, is_on: bool, by: Actor) -> None:
        """Have newcomers wait from now on, or no longer; who waits then is let in."""
        self.door.approve(is_on, by)

    @property
    def is_locked(self) -> bool:
        """Whether nobody new comes in."""
        return self.door.is_locked

    @property
    def approves(self) -> bool:
        """Whether newcomers who are no owners wait to be let in."""
        return self.door.approves

    # --- who is here -----------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Return everybody, those who wait first."""
        return self.door.rows + [_row(each) for each in self._session.attachments]

    def rows_for(self, role: Role, own_id: str = "") -> list[Row]:
        """Return whom somebody of a role is told of.

        Owners are told everything, editors no addresses and links; viewers see those who may
        type, and themselves.
        """
        rows = self.rows()
        if role is Role.OWNER:
            return rows
        if role is Role.VIEWER:
            rows = [
                row
                for row in rows
                if row["id"] == own_id or (row["role"] != "viewer" and row["state"] != "waiting")
            ][:MAX_SHOWN]
        return [_without_secrets(row) for row in rows]

    def row_of(self, attachment: Attachment) -> Row:
        """Return what a person is told of itself."""
        return _without_secrets(_row(attachment))

    def name_of(self, credential: str) -> str:
        """Return what somebody is called who is here with a credential; may be empty."""
        here = self._session.attachments
        return next((a.name for a in here if a.name and a.person.credential == credential), "")

    @property
    def watching(self) -> int:
        """How many viewers are here."""
        return sum(each.role is Role.VIEWER for each in self._session.attachments)

    # --- parts -----------------------------------------------------------------------------

    def _find(self, who: str) -> Attachment:
        here = self._session.attachments
        found = [a for a in here if a.id == who]
        if not found:
            named = [a for a in here if a.name and a.name == who]
            people = {a.person.credential or a.id for a in named}
            found = named if len(people) == 1 else []
            if len(people) > 1:
                ids = ", ".join(a.id for a in named)
                raise Refused(f"{len(named)} are called {who!r}: {ids}.", hint="Give an id.")
        if not found:
            raise Refused(
                f"Nobody here is {who!r}.", hint="ttybridge who lists everybody with an id."
            )
        return found[0]

    def _clients_of(self, attachment: Attachment) -> list[Attachment]:
        credential = attachment.person.credential
        return [
            each
            for each in self._session.attachments
            if each is attachment or (credential and each.person.credential == credential)
        ]


def _without_secrets(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("address", "link")}


def _row(attachment: Attachment) -> Row:
    person, size, rtt_s = attachment.person, attachment.size, attachment.rtt_s
    return {
        "id": attachment.id,
        "name": attachment.name,
        "role": attachment.role.value,
        "given": person.role.value,
        "via": person.entrance.value,
        "since": attachment.since,
        "idleS": round(attachment.idle_s, 1),
        "cols": size.cols,
        "rows": size.rows,
        "follows": attachment.follows,
        "rttMs": None if rtt_s is None else round(rtt_s * 1000, 1),
        "hand": attachment.hand,
        "state": "away" if attachment.is_parked else "here",
        "link": person.link,
        "address": person.address,
    }


def _named(attachment: Attachment) -> str:
    return f"{attachment.name} ({attachment.id})" if attachment.name else attachment.id


def _with_article(role: Role) -> str:
    return f"a {role.value}" if role is Role.VIEWER else f"an {role.value}"
