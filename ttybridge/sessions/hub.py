"""Everybody who is attached: joins, lost connections, resumption, leaving, and the end."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ttybridge.core.people import Person
from ttybridge.core.permissions import Action, is_lower, may
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
from ttybridge.sessions.people import People
from ttybridge.sessions.place import Place, Terminals
from ttybridge.sessions.room import Room
from ttybridge.sessions.terminal import Terminal

log = logging.getLogger(__name__)


class NoSuchClient(TtyBridgeError):
    """Nobody may come back with this id and key."""


@dataclass(slots=True)
class _Held:
    """The terminal that a client has."""

    terminal_id: ClientId
    terminal_type: str
    number: int
    """How many it has had."""
    role: Role
    """What the client is to be, by the last word about it."""
    is_viewer: bool
    """Whether the terminal is a viewer's."""
    changing: asyncio.Lock
    """Held while it gets another one."""


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
        self._room = Room(max_clients, max_viewers)
        self._make_key = make_key
        self._clock = clock
        self.people = People(
            self, clock=clock, approves=approves, locks_after_owner=locks_after_owner
        )
        self.on_typed: Callable[[bytes], None] = _ignore
        self._attachments: dict[ClientId, Attachment] = {}
        self._timers: dict[ClientId, asyncio.TimerHandle] = {}
        self._places: dict[ClientId, _Held] = {}
        self._opening = 0
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
        place = Place(person.role, size, terminal_type, self._follows(person.role, display))
        if gives_up := self._room.check(place, self.attachments, self._opening):
            self.leave(gives_up)
        self._opening += 1
        try:
            terminal_id, terminal = await self._open(client_id, place, 1)
        finally:
            self._opening -= 1
        attachment = Attachment(
            client_id=client_id,
            key=self._make_key(),
            person=person,
            size=size,
            terminal=terminal,
            window_bytes=self.window_bytes,
            acks=acks,
            on_resize=self._fit,
            display=display,
            follows=place.follows,
            since=self._clock(),
        )
        attachment.on_typed = lambda data: self.on_typed(data)
        self._attachments[client_id] = attachment
        self._places[client_id] = _Held(
            terminal_id, terminal_type, 1, person.role, person.role is Role.VIEWER, asyncio.Lock()
        )
        self._fit()
        log.info(
            "client %s attached (%s, %dx%d)", client_id, person.role.value, size.cols, size.rows
        )
        self.people.joined(attachment)
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
        held = self._places.get(attachment.id)
        if held is None:
            return
        held.role = role
        if is_lower(role, attachment.role):
            attachment.tell_role(role, by)
        await self._settle(attachment, by)
        log.info("client %s is %s now", attachment.id, attachment.role.value)

    def choose_display(self, attachment: Attachment, display: Display) -> None:
        """Show a client the session's window, or one of its own size; returns at once."""
        if attachment.display is not display:
            attachment.display = display
            self._run(self._settle(attachment))

    def remove(self, attachment: Attachment, sentence: str) -> None:
        """End a client's stream; it is told why, and then leaves."""
        attachment.end(End(ExitStatus(), EndReason.REMOVED, sentence, restart=False))
        if attachment.is_parked:
            self.leave(attachment)

    def remove_credential(self, credential: str, sentence: str) -> None:
        """End the streams of all clients that came in with a credential."""
        if not credential:
            return
        self.people.door.turn_away(credential)
        for attachment in self.attachments:
            if attachment.person.credential == credential:
                self.remove(attachment, sentence)

    def resume(
        self, client_id: ClientId, key: str, offset: int, size: WindowSize, *, reset: bool
    ) -> Attachment:
        """Give a client that lost its connection its place back.

        Raises:
            NoSuchClient: The place is gone, or the key is wrong.
        """
        attachment = self._attachments.get(client_id)
        if attachment is None or not attachment.knows(key):
            raise NoSuchClient("The client's place is gone.")
        if not attachment.is_parked:
            attachment.on_replaced()
        timer = self._timers.pop(client_id, None)
        if timer is not None:
            timer.cancel()
        attachment.resume(offset, reset=reset)
        attachment.resize(size)
        self._fit()
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
        self._fit()
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
        self._fit()
        log.info("client %s left", attachment.id)
        held = self._places.pop(attachment.id)
        self._run(self._leave_place(attachment, held))
        self.people.left(attachment)
        self._let_one_size()

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
        for attachment in self.attachments:
            self.leave(attachment)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.terminals.close()

    def _fit(self) -> None:
        self.terminals.fit([a for a in self.attachments if not a.is_parked])

    def _must_be_open(self) -> None:
        if self._closing:
            raise TtyBridgeError("The bridge is stopping.")

    # --- places ----------------------------------------------------------------------------

    def _follows(self, role: Role, display: Display, but: Attachment | None = None) -> bool:
        """Tell whether a client is to show the session's window."""
        if not self.terminals.can_follow or display is Display.OWN:
            return False
        if role is Role.VIEWER or display is Display.SESSION:
            return True
        return any(a.sizes and not a.is_parked for a in self.attachments if a is not but)

    async def _open(
        self, client_id: ClientId, place: Place, number: int
    ) -> tuple[ClientId, Terminal]:
        # Each terminal has a name of its own: a client may have two for a moment.
        terminal_id = client_id if number == 1 else ClientId(f"{client_id}-{number}")
        return terminal_id, await self.terminals.open(terminal_id, place)

    async def _settle(self, attachment: Attachment, by: str = "") -> None:
        """Give a client the terminal that its role and its display ask for, then the role."""
        held = self._places.get(attachment.id)
        if held is None:
            return
        async with held.changing:
            role = held.role
            follows = self._follows(role, attachment.display, attachment)
            if (role is Role.VIEWER, follows) != (held.is_viewer, attachment.follows):
                await self._reopen(attachment, held, role, follows=follows)
            if held.role is role is not attachment.role:  # nobody has said otherwise meanwhile
                attachment.tell_role(role, by)
        self._fit()
        self._let_one_size()
        self.people.changed()

    async def _reopen(
        self, attachment: Attachment, held: "_Held", role: Role, *, follows: bool
    ) -> None:
        place = Place(role, attachment.size, held.terminal_type, follows)
        try:
            terminal_id, terminal = await self._open(attachment.id, place, held.number + 1)
        except TtyBridgeError as error:
            log.warning("client %s gets no other terminal: %s", attachment.id, error)
            self._give_up(attachment, error)
            return
        if attachment.id not in self._attachments:  # it has left meanwhile
            await self.terminals.release(terminal_id, terminal)
            return
        held.number += 1
        before, held.terminal_id, held.is_viewer = (
            held.terminal_id,
            terminal_id,
            role is Role.VIEWER,
        )
        old = attachment.terminal
        if terminal is old:
            attachment.stay(role, follows=follows)
        else:
            attachment.move(terminal, role, follows=follows)
        self._run(self.terminals.release(before, old))

    def _give_up(self, attachment: Attachment, error: TtyBridgeError) -> None:
        attachment.end(End(ExitStatus(), EndReason.KILLED, str(error), restart=True))

    async def _leave_place(self, attachment: Attachment, held: "_Held") -> None:
        async with held.changing:  # a change that is under way ends first
            await self.terminals.release(held.terminal_id, attachment.terminal)

    def _let_one_size(self) -> None:
        """When nobody is left whose window the session's follows, let the oldest one be it."""
        if self._closing or any(a.sizes for a in self.attachments):
            return
        for attachment in self.attachments:
            is_asked = attachment.display is Display.AUTO and not attachment.is_parked
            if is_asked and may(attachment.role, Action.RESIZE, attachment.person.entrance):
                self._run(self._settle(attachment))
                return

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
