"""Which terminal each client has, and when it gets another one: roles, displays, sizes."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ttybridge.core.permissions import Action, Entrance, may
from ttybridge.errors import TtyBridgeError
from ttybridge.model import ClientId, Display, End, EndReason, ExitStatus, Role
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.place import Place, Terminals
from ttybridge.sessions.room import Room
from ttybridge.sessions.terminal import Terminal

log = logging.getLogger(__name__)

SIZE_GRACE_S = 10.0
"""How long the session keeps its size when nobody is left whose window it follows, in seconds: a
page that is loaded again takes one or two."""


@dataclass(slots=True)
class Seat:
    """The terminal that a client has."""

    terminal_id: ClientId
    """Its name, as the terminals know it."""
    terminal_type: str
    """TERM of the client; empty for our page."""
    role: Role
    """What the client is to be, by the last word about it."""
    is_viewer: bool
    """Whether the terminal is a viewer's."""
    number: int = 1
    """How many it has had."""
    is_queued: bool = False
    """Whether a change waits for the one that is under way."""
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it gets another one."""


class Seats:
    """Gives clients terminals, and others when something about them changes."""

    def __init__(
        self,
        terminals: Terminals,
        room: Room,
        here: Callable[[], list[Attachment]],
        run: Callable[[Coroutine[Any, Any, None]], None],
        changed: Callable[[], None],
    ) -> None:
        """Begin with nobody.

        Args:
            terminals: Where terminals come from.
            room: How many clients there may be.
            here: Returns everybody attached.
            run: Runs work to its end, whoever has asked for it.
            changed: Called when somebody has got another terminal or role.
        """
        self._terminals, self._room, self._here = terminals, room, here
        self._run, self._changed = run, changed
        self._seats: dict[ClientId, Seat] = {}
        self._opening = 0
        self._timer: asyncio.TimerHandle | None = None

    def follows(self, role: Role, display: Display, but: Attachment | None = None) -> bool:
        """Tell whether a client is to show the session's window."""
        if not self._terminals.can_follow or display is Display.OWN:
            return False
        if role is Role.VIEWER or display is Display.SESSION:
            return True
        return any(a.sizes and not a.is_parked for a in self._here() if a is not but)

    async def open(
        self, client_id: ClientId, place: Place, give_up: Callable[[Attachment], None]
    ) -> tuple[Seat, Terminal]:
        """Open a newcomer's terminal.

        Args:
            client_id: Names the client.
            place: What it is for.
            give_up: Called with a client that has to leave for it.

        Raises:
            SessionFull: There is no place.
            TtyBridgeError: The session cannot be reached.
        """
        if gives_way := self._room.check(place, self._here(), self._opening):
            give_up(gives_way)
        self._opening += 1
        try:
            terminal = await self._terminals.open(client_id, place)
        finally:
            self._opening -= 1
        is_viewer = place.role is Role.VIEWER
        return Seat(client_id, place.terminal_type, place.role, is_viewer), terminal

    async def release(self, seat: Seat, terminal: Terminal) -> None:
        """Give a terminal back; a change that is under way ends first."""
        async with seat.changing:
            await self._terminals.release(seat.terminal_id, terminal)

    def take(self, attachment: Attachment, seat: Seat) -> None:
        """Note the seat of a client that is attached now."""
        self._seats[attachment.id] = seat
        self.fit()
        self._others_follow(attachment)

    def leave(self, attachment: Attachment) -> None:
        """Give back what a client has that is attached no more."""
        seat = self._seats.pop(attachment.id)
        self.fit()
        self._run(self.release(seat, attachment.terminal))
        self._let_one_size_later()

    def fit(self) -> None:
        """Set window sizes after something has changed."""
        self._terminals.fit([a for a in self._here() if not a.is_parked])

    def must_have_room(self, attachment: Attachment, role: Role) -> None:
        """Check that a client could have the terminal for a role.

        Raises:
            SessionFull: There is no place.
        """
        self._check_room(attachment, role, self.follows(role, attachment.display, attachment))

    async def set_role(self, attachment: Attachment, role: Role, by: str) -> None:
        """Give a client the terminal for a role, then the role."""
        seat = self._seats.get(attachment.id)
        if seat is not None:
            seat.role = role
            await self._settle(attachment, seat, by)

    def display_changed(self, attachment: Attachment) -> None:
        """Give a client what its display asks for, soon; many changes become one."""
        seat = self._seats.get(attachment.id)
        if seat is not None and not seat.is_queued:
            seat.is_queued = True
            self._run(self._settle(attachment, seat))
            self._others_follow(attachment)

    def close(self) -> None:
        """Change nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    # --- changes ---------------------------------------------------------------------------

    async def _settle(self, attachment: Attachment, seat: Seat, by: str = "") -> None:
        async with seat.changing:
            seat.is_queued = False
            role = seat.role
            follows = self.follows(role, attachment.display, attachment)
            if (role is Role.VIEWER, follows) != (seat.is_viewer, attachment.follows):
                await self._reopen(attachment, seat, role, follows=follows)
            if seat.role is role is not attachment.role:  # nobody has said otherwise meanwhile
                attachment.tell_role(role, by)
        self.fit()
        self._let_one_size_later()
        self._changed()

    async def _reopen(
        self, attachment: Attachment, seat: Seat, role: Role, *, follows: bool
    ) -> None:
        self._check_room(attachment, role, follows)
        place = Place(role, attachment.size, seat.terminal_type, follows)
        # A name of its own: the client has two for a moment.
        terminal_id = ClientId(f"{attachment.id}-{seat.number + 1}")
        self._opening += 1
        try:
            terminal = await self._terminals.open(terminal_id, place)
        except TtyBridgeError as error:
            log.warning("client %s gets no other terminal: %s", attachment.id, error)
            attachment.end(End(ExitStatus(), EndReason.KILLED, str(error), restart=True))
            return
        finally:
            self._opening -= 1
        if self._seats.get(attachment.id) is not seat:  # it has left meanwhile
            await self._terminals.release(terminal_id, terminal)
            return
        before, old = seat.terminal_id, attachment.terminal
        seat.number += 1
        seat.terminal_id, seat.is_viewer = terminal_id, role is Role.VIEWER
        if terminal is old:
            attachment.stay(role, follows=follows)
        else:
            attachment.move(terminal, role, follows=follows)
        self._run(self._terminals.release(before, old))

    def _check_room(self, attachment: Attachment, role: Role, follows: bool) -> None:
        """Check that somebody who shares the viewers' terminal may have one of its own."""
        shares = attachment.role is Role.VIEWER and attachment.follows
        if shares and not (role is Role.VIEWER and follows):
            others = [a for a in self._here() if a is not attachment and not a.is_parked]
            self._room.check(Place(role, attachment.size), others, self._opening)

    # --- whose size it is --------------------------------------------------------------------

    def _others_follow(self, attachment: Attachment) -> None:
        """When a page wants the window to follow it, those that leave it open do not pull at it."""
        if attachment.display is not Display.OWN or attachment.person.entrance is not Entrance.PAGE:
            return
        if not may(attachment.role, Action.RESIZE, attachment.person.entrance):
            return
        for other in self._here():
            if other is not attachment and other.sizes and other.display is Display.AUTO:
                self.display_changed(other)

    def _let_one_size_later(self) -> None:
        """When nobody is left whose window the session's follows, choose somebody after a while."""
        if self._timer is None and not any(a.sizes for a in self._here()):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(SIZE_GRACE_S, self._let_one_size)

    def _let_one_size(self) -> None:
        self._timer = None
        here = self._here()
        if any(a.sizes for a in here):
            return
        asked = [
            a
            for a in here
            if a.display is Display.AUTO
            and not a.is_parked
            and may(a.role, Action.RESIZE, a.person.entrance)
        ]
        if asked:  # the largest: a phone's would make it small for everybody
            self.display_changed(max(asked, key=lambda a: a.size.cols * a.size.rows))
