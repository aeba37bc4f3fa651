"""Everybody who is attached: joins, lost connections, resumption, leaving, and the end."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ttybridge.core.access import Action, may
from ttybridge.errors import TtyBridgeError
from ttybridge.model import ClientId, Mode, Role, WindowSize
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.terminal import Terminal

log = logging.getLogger(__name__)

KEPT_FOR_TYPING = 10
"""One place in so many, and one more, is for clients that may type."""


class SessionFull(TtyBridgeError):
    """There are as many clients as are allowed."""


class NoSuchClient(TtyBridgeError):
    """Nobody may come back with this id and key."""


class Terminals(Protocol):
    """Where the pty of a client comes from: `TmuxTerminals` or `DirectTerminal`."""

    mode: Mode
    session: str

    async def start(self) -> tuple[str, ...]:
        """Bring the session up; return sentences for the user."""

    async def open(
        self, client_id: ClientId, role: Role, size: WindowSize, terminal_type: str
    ) -> Terminal:
        """Return the terminal for a new client.

        Args:
            client_id: Names the client.
            role: What it may do.
            size: Its window size.
            terminal_type: What its terminal is, as TERM says it; empty for our page.

        Raises:
            TtyBridgeError: There is none.
        """

    async def release(self, client_id: ClientId, terminal: Terminal) -> None:
        """Note that a client has left."""

    def fit(self, attachments: list[Attachment]) -> None:
        """Set window sizes after a client came, left, or changed its size."""

    async def close(self) -> None:
        """End what was started; a tmux session lives on."""


class Hub:
    """The shared session, as its entrances see it."""

    def __init__(
        self,
        terminals: Terminals,
        *,
        max_clients: int,
        resume_s: float,
        window_bytes: int,
        make_key: Callable[[], str],
    ) -> None:
        """Make a hub with nobody in it.

        Args:
            terminals: Where ptys come from.
            max_clients: Most clients at a time, those that may come back included.
            resume_s: How long the place of a lost client is kept, in seconds.
            window_bytes: Credit of a client, in bytes.
            make_key: Makes the secret of a client.
        """
        self.terminals = terminals
        self.resume_s = resume_s
        self.window_bytes = window_bytes
        self._max_clients = max_clients
        self._make_key = make_key
        self._attachments: dict[ClientId, Attachment] = {}
        self._timers: dict[ClientId, asyncio.TimerHandle] = {}
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
        self, role: Role, size: WindowSize, *, acks: bool, terminal_type: str = ""
    ) -> Attachment:
        """Attach a new client.

        Args:
            role: What it may do.
            size: Its window size.
            acks: Whether it acknowledges output from the start.
            terminal_type: What its terminal is, as TERM says it; empty for our page.

        Raises:
            SessionFull: There is no place.
            TtyBridgeError: The session cannot be reached.
        """
        if self._closing:
            raise TtyBridgeError("The bridge is stopping.")
        if len(self._attachments) + self._opening >= self._max_clients:
            self._make_room()
        self._keep_room(role)
        self._count += 1
        client_id = ClientId(f"c{self._count}")
        self._opening += 1
        try:
            terminal = await self.terminals.open(client_id, role, size, terminal_type)
        finally:
            self._opening -= 1
        attachment = Attachment(
            client_id=client_id,
            key=self._make_key(),
            role=role,
            size=size,
            terminal=terminal,
            window_bytes=self.window_bytes,
            acks=acks,
            on_resize=self._fit,
        )
        self._attachments[client_id] = attachment
        self._fit()
        log.info("client %s attached (%s, %dx%d)", client_id, role.value, size.cols, size.rows)
        return attachment

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
        return attachment

    def park(self, attachment: Attachment) -> None:
        """Keep a client's place for `resume_s` after its connection is lost."""
        if self._attachments.get(attachment.id) is not attachment or self._closing:
            return
        attachment.park()
        self._left.set()
        self._fit()
        log.info("client %s lost its connection", attachment.id)
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
        self._run(self.terminals.release(attachment.id, attachment.terminal))

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

    def _make_room(self) -> None:
        """Give up the place of a lost client, the oldest first."""
        for attachment in self.attachments:
            if attachment.is_parked:
                self.leave(attachment)
                return
        raise SessionFull(
            f"There are {self._max_clients} clients already.",
            hint="Close one, or allow more with --max-clients.",
        )

    def _keep_room(self, role: Role) -> None:
        """Leave places for those who may type: watchers alone cannot lock them out."""
        watching = sum(not a.may_type for a in self._attachments.values())
        most = max(1, self._max_clients - 1 - self._max_clients // KEPT_FOR_TYPING)
        if not may(role, Action.TYPE) and watching >= most:
            raise SessionFull(
                f"There are {watching} watching already; the other places are for those who type.",
                hint="Allow more with --max-clients.",
            )

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
