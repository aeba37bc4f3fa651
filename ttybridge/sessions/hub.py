"""Everybody who is attached: joins, lost connections, resumption, leaving, and the end."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from ttybridge.core.people import Person
from ttybridge.core.permissions import is_lower
from ttybridge.errors import TtyBridgeError
from ttybridge.model import (
    ClientId,
    Display,
    End,
    EndReason,
    ExitStatus,
    Role,
    WindowSize,
)
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.door import REMOVED, NotAdmitted
from ttybridge.sessions.people import People
from ttybridge.sessions.place import Place, Terminals
from ttybridge.sessions.room import Room
from ttybridge.sessions.seats import Seats

log = logging.getLogger(__name__)


class NoSuchClient(TtyBridgeError):
    """Nobody may come back with this id and key."""


def _ignore(_data: bytes) -> None:
    """Do nothing."""


class Hub:
    """The shared session, as its entrances see it.

    Attributes:
        people: Who is here, with which rights.
        on_typed: Called with everything that somebody has typed.
    """

    def __init__(
        self,
        terminals: Terminals,
        *,
        max_clients: int,
        resume_s: float,
        window_bytes: int,
        make_key: Callable[[], str],
        max_viewers: int = 1000,
        approves: bool = False,
        locks_after_owner: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a hub with nobody in it.

        Args:
            terminals: Where ptys come from.
            max_clients: Most clients at a time that have a terminal of their own, those that may
                come back included.
            resume_s: How long the place of a lost client is kept, in seconds.
            window_bytes: Credit of a client, in bytes.
            make_key: Makes the secret of a client.
            max_viewers: Most clients at a time that share the viewers' terminal.
            approves: Whether newcomers who are no owners wait to be let in.
            locks_after_owner: Whether nobody new comes in after the first owner.
            clock: Seconds since 1970.
        """
        self.terminals = terminals
        self.resume_s = resume_s
        self.window_bytes = window_bytes
        self._make_key = make_key
        self._clock = clock
        self.people = People(
            self, clock=clock, approves=approves, locks_after_owner=locks_after_owner
        )
        self.on_typed: Callable[[bytes], None] = _ignore
        self._attachments: dict[ClientId, Attachment] = {}
        self._timers: dict[ClientId, asyncio.TimerHandle] = {}
        self._seats = Seats(
            terminals,
            Room(max_clients, max_viewers),
            lambda: self.attachments,
            self._run,
            lambda: self.people.changed(),
        )
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._left = asyncio.Event()

    @property
    def attachments(self) -> list[Attachment]:
        """Everybody attached, in the order in which they came."""
        return list(self._attachments.values())

    async def start(self) -> tuple[str, ...]:
        """Bring the session up; return sentences for the user.

        Raises:
            TtyBridgeError: It could not be brought up.
        """
        return await self.terminals.start()

    async def join(
        self,
        person: Person,
        size: WindowSize,
        *,
        acks: bool,
        terminal_type: str = "",
        display: Display = Display.OWN,
        on_waiting: Callable[[], None] | None = None,
    ) -> Attachment:
        """Attach a new client.

        Args:
            person: Who it is.
            size: Its window size.
            acks: Whether it acknowledges output from the start.
            terminal_type: What its terminal is, as TERM says it; empty for our page.
            display: Whose window size it wants to show.
            on_waiting: Called when somebody has to let it in first.

        Raises:
            NotAdmitted: It may not come in.
            SessionFull: There is no place.
            TtyBridgeError: The session cannot be reached.
        """
        self._must_be_open()
        self._count += 1
        client_id = ClientId(f"c{self._count}")
        await self.people.enter(client_id, person, size, on_waiting)
        self._must_be_open()
        person = self.people.now(person)
        place = Place(person.role, size, terminal_type, self._seats.follows(person.role, display))
        seat, terminal = await self._seats.open(client_id, place, self.leave)
        if self.people.door.is_banned(person):  # since a moment
            await self._seats.release(seat, terminal)
            raise NotAdmitted("removed", REMOVED)
        attachment = Attachment(
            client_id=client_id,
            key=self._make_key(),
            person=person,
            size=size,
            terminal=terminal,
            window_bytes=self.window_bytes,
            acks=acks,
            on_resize=self._seats.fit,
            display=display,
            follows=place.follows,
            since=self._clock(),
        )
        attachment.on_typed = lambda data: self.on_typed(data)
        self._attachments[client_id] = attachment
        self._seats.take(attachment, seat)
        log.info(
            "client %s attached (%s, %dx%d)", client_id, person.role.value, size.cols, size.rows
        )
        self.people.joined(attachment)
        role = self.people.now(person).role
        if role is not person.role:  # since a moment, too
            await self.set_role(attachment, role, "")
        return attachment

    async def set_role(self, attachment: Attachment, role: Role, by: str) -> None:
        """Give a client another role, and the terminal for it.

        What it may no longer type counts from this moment on; what it may type from now on, it is
        told when there is somewhere to type it.

        Args:
            attachment: The client.
            role: The role.
            by: Who gives it, for people.
        """
        if is_lower(role, attachment.role):
            attachment.tell_role(role, by)
        await self._seats.set_role(attachment, role, by)
        log.info("client %s is %s now", attachment.id, attachment.role.value)

    def must_have_room(self, attachment: Attachment, role: Role) -> None:
        """Check that a client could have the terminal for a role.

        Raises:
            SessionFull: There is no place.
        """
        self._seats.must_have_room(attachment, role)

    def choose_display(self, attachment: Attachment, display: Display) -> None:
        """Show a client the session's window, or one of its own size; returns at once."""
        if attachment.display is not display:
            attachment.display = display
            self._seats.display_changed(attachment)

    def remove(self, attachment: Attachment, sentence: str, *, may_return: bool = False) -> None:
        """End a client's stream; it is told why, and then leaves."""
        attachment.end(End(ExitStatus(), EndReason.REMOVED, sentence, restart=may_return))
        if attachment.is_parked:
            self.leave(attachment)

    def remove_credential(
        self, credential: str, sentence: str, *, may_return: bool = False
    ) -> None:
        """End the streams of all clients that came in with a credential.

        Args:
            credential: What counts no more; an empty one is nobody's.
            sentence: What they are told.
            may_return: Whether the person may come in again with another one.
        """
        if not credential:
            return
        self.people.door.ban(credential)
        self.people.door.turn_away(credential)
        for attachment in self.attachments:
            if attachment.person.credential == credential:
                self.remove(attachment, sentence, may_return=may_return)

    def resume(
        self,
        client_id: ClientId,
        key: str,
        offset: int,
        size: WindowSize,
        *,
        reset: bool,
        credential: str = "",
    ) -> Attachment:
        """Give a client that lost its connection its place back.

        Args:
            client_id: Its id.
            key: Its secret.
            offset: Where it goes on.
            size: Its window size.
            reset: Whether it wants a repaint in any case.
            credential: What it comes back with: a guest's place is for the same one.

        Raises:
            NoSuchClient: The place is gone, or the key is wrong.
        """
        attachment = self._attachments.get(client_id)
        if attachment is None or not attachment.knows(key):
            raise NoSuchClient("The client's place is gone.")
        if attachment.person.link and attachment.person.credential != credential:
            raise NoSuchClient("The client's place is gone.")
        if not attachment.is_parked:
            attachment.on_replaced()
        timer = self._timers.pop(client_id, None)
        if timer is not None:
            timer.cancel()
        attachment.resume(offset, reset=reset)
        attachment.resize(size)
        self._seats.fit()
        log.info("client %s came back", client_id)
        self.people.changed()
        return attachment

    def park(self, attachment: Attachment) -> None:
        """Keep a client's place for `resume_s` after its connection is lost."""
        if self._attachments.get(attachment.id) is not attachment or self._closing:
            return
        if attachment.has_ended:
            self.leave(attachment)
            return
        attachment.park()
        self._left.set()
        self._seats.fit()
        log.info("client %s lost its connection", attachment.id)
        self.people.changed()
        loop = asyncio.get_running_loop()
        self._timers[attachment.id] = loop.call_later(self.resume_s, self.leave, attachment)

    def leave(self, attachment: Attachment) -> None:
        """Detach a client for good; returns at once, twice is fine."""
        if self._attachments.pop(attachment.id, None) is None:
            return
        timer = self._timers.pop(attachment.id, None)
        if timer is not None:
            timer.cancel()
        attachment.detach()
        self._left.set()
        log.info("client %s left", attachment.id)
        self._seats.leave(attachment)
        self.people.left(attachment)

    async def wait_until_told(self) -> None:
        """Wait until every connected client has got the end of its stream and left."""
        while any(not a.is_parked for a in self.attachments):
            self._left.clear()
            await self._left.wait()

    async def wait_until_empty(self) -> None:
        """Wait until nobody is attached, and nobody may come back any more."""
        while self._attachments:
            self._left.clear()
            await self._left.wait()

    async def close(self) -> None:
        """Detach everybody and end what was started; a tmux session lives on."""
        self._closing = True
        self._seats.close()
        for attachment in self.attachments:
            self.leave(attachment)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.terminals.close()

    def _must_be_open(self) -> None:
        if self._closing:
            raise TtyBridgeError("The bridge is stopping.")

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await work
            except TtyBridgeError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("a client could not be detached cleanly")
