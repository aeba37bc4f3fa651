"""The door of the session: who may come in, who waits, who is turned away."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ttybridge.core.people import Actor, Person
from ttybridge.core.permissions import Entrance
from ttybridge.errors import TtyBridgeError
from ttybridge.model import ClientId, Role, WindowSize

log = logging.getLogger(__name__)

MAX_WAITING = 50
"""People who may wait to be let in at a time; more are turned away."""

MAX_WAITING_EACH = 3
"""How often one person may wait at a time, in several tabs."""

REMOVED = "You have been removed from the session."
"""What somebody is told who is removed."""

Row = dict[str, Any]
"""One person as docs/control.md describes it."""


class NotAdmitted(TtyBridgeError):
    """Somebody may not come in."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        """Say why: `locked`, `refused`, `removed`, or `full`."""
        super().__init__(message, hint=hint)
        self.code = code


class Refused(TtyBridgeError):
    """What was asked for is not possible, or not allowed."""


class Note(Protocol):
    """Takes an event for the audit log."""

    def __call__(self, event: str, **fields: object) -> None:
        """Note it."""


def no_note(event: str, **fields: object) -> None:
    """Note nothing."""


def note_person(note: Note, event: str, client_id: str, person: Person, **fields: object) -> None:
    """Note an event about a person."""
    note(
        event,
        id=client_id,
        who=person.shown,
        role=person.role.value,
        via=person.entrance.value,
        link=person.link,
        address=person.address,
        **fields,
    )


def shown(by: Actor) -> str:
    """Return what to call somebody who changes rights."""
    if by.name:
        return by.name
    return "the owner" if by.entrance is Entrance.CONTROL else f"an {by.role.value}"


@dataclass(slots=True)
class _Waiting:
    """Somebody who waits to be let in."""

    id: ClientId
    person: Person
    size: WindowSize
    since: float
    answer: "asyncio.Future[bool]"


class Door:
    """Decides who comes in.

    Attributes:
        approves: Whether newcomers who are no owners wait to be let in.
        is_locked: Whether nobody new comes in.
        note: Takes events for the audit log.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        *,
        clock: Callable[[], float],
        approves: bool,
        locks_after_owner: bool,
    ) -> None:
        """Begin with nobody before it.

        Args:
            changed: Called when who waits, or the rules, have changed.
            clock: Seconds since 1970.
            approves: Whether newcomers who are no owners wait to be let in.
            locks_after_owner: Whether the door closes when the first owner has come in.
        """
        self.approves, self.is_locked = approves, False
        self.note: Note = no_note
        self._changed, self._clock = changed, clock
        self._locks_after_owner = locks_after_owner
        self._waiting: dict[ClientId, _Waiting] = {}
        self._known: set[str] = set()
        self._banned: set[str] = set()

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
        is_known = bool(person.credential) and person.credential in self._known
        try:
            if self.is_banned(person):
                raise NotAdmitted("removed", REMOVED)
            if self.is_locked and not is_known:
                raise NotAdmitted(
                    "locked",
                    "The session is locked: nobody new comes in.",
                    hint="An owner can unlock it.",
                )
            if self.approves and person.role is not Role.OWNER and not is_known:
                await self._wait(client_id, person, size, on_waiting)
        except NotAdmitted as error:
            note_person(self.note, "refuse", client_id, person, why=error.code)
            raise

    def is_banned(self, person: Person) -> bool:
        """Tell whether what somebody came with is accepted no more."""
        return bool(person.credential) and person.credential in self._banned

    def lets_in(self, person: Person) -> bool:
        """Tell whether somebody may come in now without waiting for anybody."""
        if self.is_banned(person):
            return False
        if person.credential and person.credential in self._known:
            return True
        return not self.is_locked and (person.role is Role.OWNER or not self.approves)

    def joined(self, person: Person) -> None:
        """Note that somebody is in, and may come back whatever the rules are then."""
        if person.credential:
            self._known.add(person.credential)
        if self._locks_after_owner and person.role is Role.OWNER:
            self._locks_after_owner, self.is_locked = False, True
            self.note("lock", by="--lock")

    def ban(self, credential: str) -> None:
        """Let nobody in with a credential any more; an empty one is nobody's."""
        if credential:
            self._banned.add(credential)
            self._known.discard(credential)

    def admit(self, who: str, by: Actor) -> None:
        """Let in somebody who waits.

        Raises:
            Refused: Nobody waits by that id or name.
        """
        self._answer(who, by, is_let_in=True)

    def refuse(self, who: str, by: Actor) -> None:
        """Turn away somebody who waits.

        Raises:
            Refused: Nobody waits by that id or name.
        """
        self._answer(who, by, is_let_in=False)

    def lock(self, is_on: bool, by: Actor) -> None:
        """Let nobody new in from now on, or everybody again."""
        self._locks_after_owner = False
        if self.is_locked is not is_on:
            self.is_locked = is_on
            self.note("lock" if is_on else "unlock", by=shown(by))
            self._let_all_in(by)
            self._changed()

    def approve(self, is_on: bool, by: Actor) -> None:
        """Have newcomers wait from now on, or no longer; who waits then is let in."""
        if self.approves is not is_on:
            self.approves = is_on
            self.note("approve" if is_on else "approve-off", by=shown(by))
            self._let_all_in(by)
            self._changed()

    def turn_away(self, credential: str) -> None:
        """Let nobody wait any longer who came with a credential that has ended."""
        for waiting in self._waiting.values():
            if waiting.person.credential == credential and not waiting.answer.done():
                waiting.answer.set_result(False)

    @property
    def rows(self) -> list[Row]:
        """Everybody who waits."""
        return [_row(each) for each in self._waiting.values()]

    def has(self, client_id: str) -> bool:
        """Tell whether a client waits."""
        return client_id in self._waiting

    async def _wait(
        self,
        client_id: ClientId,
        person: Person,
        size: WindowSize,
        on_waiting: Callable[[], None] | None,
    ) -> None:
        same = [w for w in self._waiting.values() if _is_same(w.person, person)]
        if len(self._waiting) >= MAX_WAITING or len(same) >= MAX_WAITING_EACH:
            raise NotAdmitted("full", "Too many people wait to be let in. Try again later.")
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[client_id] = _Waiting(client_id, person, size, self._clock(), answer)
        log.info("client %s waits to be let in: %s", client_id, person.shown or "without a name")
        self._changed()
        if on_waiting is not None:
            on_waiting()
        try:
            is_let_in = await answer
        finally:
            self._waiting.pop(client_id, None)
            self._changed()
        if not is_let_in:
            raise NotAdmitted("refused", "You were not let in.")

    def _let_all_in(self, by: Actor) -> None:
        """Let everybody in who waits, if nobody has to any more."""
        if not self.is_locked and not self.approves:
            for waiting in list(self._waiting.values()):
                self._tell(waiting, by, is_let_in=True)

    def _answer(self, who: str, by: Actor, *, is_let_in: bool) -> None:
        found = [w for w in self._waiting.values() if w.id == who]
        found = found or [w for w in self._waiting.values() if w.person.shown == who]
        if not found or not all(_is_same(w.person, found[0].person) for w in found):
            raise Refused(
                f"Nobody waits as {who!r}." if not found else f"{len(found)} wait as {who!r}.",
                hint="ttybridge who lists everybody with an id.",
            )
        for waiting in list(self._waiting.values()):  # in other tabs, too
            if waiting in found or _is_same(waiting.person, found[0].person):
                self._tell(waiting, by, is_let_in=is_let_in)

    def _tell(self, waiting: _Waiting, by: Actor, *, is_let_in: bool) -> None:
        if waiting.answer.done():
            return
        if is_let_in and waiting.person.credential:
            self._known.add(waiting.person.credential)
        event = "admit" if is_let_in else "turn-away"
        note_person(self.note, event, waiting.id, waiting.person, by=shown(by))
        waiting.answer.set_result(is_let_in)


def _is_same(one: Person, other: Person) -> bool:
    return bool(one.credential) and one.credential == other.credential


def _row(waiting: _Waiting) -> Row:
    person, size = waiting.person, waiting.size
    return {
        "id": waiting.id,
        "name": person.shown,
        "role": person.role.value,
        "given": person.role.value,
        "via": person.entrance.value,
        "since": waiting.since,
        "idleS": 0.0,
        "cols": size.cols,
        "rows": size.rows,
        "follows": False,
        "rttMs": None,
        "hand": False,
        "state": "waiting",
        "link": person.link,
        "address": person.address,
    }
