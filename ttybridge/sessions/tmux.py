"""Terminals that are tmux clients: one for each client that joins, none throws another out."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ttybridge.core import environment as env
from ttybridge.core.tmux import (
    respawn_first,
    update_commands,
)
from ttybridge.errors import TerminalError
from ttybridge.model import (
    DEFAULT_SIZE,
    ClientId,
    Mode,
    Role,
    WindowSize,
)
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.audience import Audience, SharedTerminal
from ttybridge.sessions.control import Control
from ttybridge.sessions.place import Place
from ttybridge.sessions.pty import SpawnPty
from ttybridge.sessions.terminal import Terminal
from ttybridge.sessions.tmux_clients import SHARED, T, TmuxClients

if TYPE_CHECKING:
    from ttybridge.core.container import Container

log = logging.getLogger(__name__)


class TmuxTerminals:
    """Brings the tmux session up, and gives each client a tmux client of its own."""

    def __init__(
        self,
        control: Control,
        spawn: SpawnPty,
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        exclusive: bool,
        clipboard: bool,
        container: "Container | None",
        run_id: str,
    ) -> None:
        """Remember how to do it.

        Args:
            control: Runs tmux commands.
            spawn: Starts a program on a pty.
            environment: Environment of the tmux clients, and so of a server that they start.
            cwd: Their working directory.
            exclusive: Whether each client takes the session over, as in the original.
            clipboard: Whether programs may copy to the clients' clipboards.
            container: Where tmux runs; None for this machine.
            run_id: Tells this run's clients inside a container from those of others.
        """
        self.mode = Mode.EXCLUSIVE if exclusive else Mode.CONTAINER if container else Mode.TMUX
        self.session = control.target.session
        self.can_follow = self.mode is Mode.TMUX
        self._control = control
        self._clients = TmuxClients(
            control,
            spawn,
            environment=environment,
            cwd=cwd,
            exclusive=exclusive,
            container=container,
            run_id=run_id,
        )
        self._exclusive = exclusive
        self._clipboard = clipboard
        self._container = container
        self._live: dict[ClientId, Terminal] = {}
        self._sizing: set[Terminal] = set()
        """Those that have a say in the window's size."""
        self._bringing_up = asyncio.Lock()
        self._unattached: str | None = None
        """The session's own `destroy-unattached` while it is overridden, empty for none. With the
        user's setting, the session would end between bringing it up and its first client."""
        self._attachments: list[Attachment] = []
        self._audience = Audience(
            control,
            lambda size, on_empty: self._reach(
                lambda _: self._clients.share(
                    size, suspend=self._audience.suspend, on_empty=on_empty
                ),
                Place(Role.VIEWER, size),
            ),
            stop=lambda terminal: self._clients.release(SHARED, terminal),
            on_size=lambda: self.fit(self._attachments),
            is_last=lambda: not self._live,
        )
        self._changes: dict[bytes, bytes | None] = {}
        """What has changed in the environment since the start."""

    async def start(self) -> tuple[str, ...]:
        """Bring the session up with the original's command; stale clients are taken over once.

        Returns:
            A sentence about shells that keep their old environment, where there are any.

        Raises:
            MissingProgramError: tmux is missing or too old.
            TerminalError: tmux failed; its words are in the message.
        """
        await self._control.check_version()
        existed = await self._prepare(DEFAULT_SIZE)
        await self._take_over()
        if existed and self._container is None:
            return (
                f"The tmux session {self.session!r} was there already: its new windows get this "
                "environment, the shells that run in it keep theirs.",
            )
        return ()

    async def open(self, client_id: ClientId, place: Place) -> Terminal:
        """Attach one more tmux client; the session is made anew when it has ended.

        A viewer that follows gets the client that all of them share. A terminal of a type that
        tmux cannot draw on is taken for one like our page's.

        Raises:
            TerminalError: tmux failed; its words are in the message.
        """
        follows = place.follows and self.can_follow
        if follows and place.role is Role.VIEWER:
            return await self._share(place.size)
        self._clients.newest = client_id  # before attaching, which ends the one before
        # Otherwise the client itself says that there is none, and `_reach` makes it. In a container
        # that has stopped it could not say why.
        is_asked = self._exclusive or ((follows or self._container) and not self._is_anybody_live())
        if is_asked:
            await self._make_sure_it_exists(place.size)
        if follows:
            place = replace(place, size=await self._audience.know_size())
        terminal = await self._reach(
            lambda terminal_type: self._clients.attach(client_id, place, terminal_type), place
        )
        self._live[client_id] = terminal
        if follows:
            self._audience.follow(terminal)
        elif place.role is not Role.VIEWER:
            self._sizing.add(terminal)
        return terminal

    async def _share(self, size: WindowSize) -> SharedTerminal:
        """Return the shared client; `size` is for a session that has to be made anew."""
        if not self._is_anybody_live():
            await self._make_sure_it_exists(size)
        return await self._audience.join()

    async def _reach(self, attach: Callable[[str], T], place: Place) -> T:
        """Start a tmux client until it draws, bringing the session up where it has ended."""
        terminal = await self._clients.reach(
            attach, place.terminal_type, lambda: self._make_sure_it_exists(place.size)
        )
        if self._unattached is not None:
            own, self._unattached = self._unattached, None
            await self._control.give_unattached_back(own)
        return terminal

    def _is_anybody_live(self) -> bool:
        live = any(not terminal.ended.done() for terminal in self._live.values())
        return live or self._audience.is_live

    async def release(self, client_id: ClientId, terminal: Terminal) -> None:
        """End a tmux client, unless it is the shared one; the session lives on."""
        if isinstance(terminal, SharedTerminal):
            self._audience.let_go()
            return
        if self._live.get(client_id) is terminal:
            del self._live[client_id]
        self._audience.unfollow(terminal)
        await self._clients.release(client_id, terminal)
        if terminal in self._sizing:
            self._sizing.discard(terminal)
            self._give_size_back()

    def fit(self, attachments: list[Attachment]) -> None:
        """Give each tmux client its own client's window size; tmux does the rest.

        Those that follow have the size of the session's window, and are told of it.
        """
        self._attachments = attachments
        for attachment in attachments:
            if not self._audience.is_following(attachment.terminal):
                attachment.terminal.resize(attachment.size)
            elif self._audience.size is not None:
                attachment.tell_size(self._audience.size)

    async def recorded(self) -> Terminal:
        """Return the client that all viewers share; it is kept while somebody subscribes to it."""
        return await self._share(DEFAULT_SIZE)

    async def update_environment(self, changes: Mapping[bytes, bytes | None]) -> env.Update:
        """Change variables of what starts from now on: the session's new windows, and clients.

        Running programs keep theirs.

        Args:
            changes: Each name with its new value, or None where the variable is gone.

        Returns:
            What was taken of it.

        Raises:
            TerminalError: The session's environment is not ours, or tmux failed.
        """
        if self._container is not None:
            raise TerminalError(
                f"The session in the container {self._container.name!r} has the environment of "
                "the container.",
                hint="Set variables there, in the terminal.",
            )
        update = env.update(changes)
        self._clients.environment = env.updated(self._clients.environment, update.changes)
        async with self._bringing_up:
            self._changes |= update.changes
            if update.changes and await self._control.has_session():
                await self._give_changes(update.changes)
        return update

    async def close(self) -> None:
        """End the shared client, give up repaints that are under way; the session lives on."""
        await self._audience.close()
        await self._clients.close()

    async def _make_sure_it_exists(self, size: WindowSize) -> None:
        async with self._bringing_up:
            if not await self._control.has_session():
                log.info("the tmux session %s had ended and is made anew", self.session)
                await self._prepare(size)
                if not await self._control.has_session():
                    await self._take_over()
                elif self._clipboard:
                    await self._control.let_programs_copy()

    async def _prepare(self, size: WindowSize) -> bool:
        """Give the session our environment, creating it where a server runs without it.

        Where no server runs there is nothing to do: the one that our client starts has it.

        Returns:
            Whether the session existed.
        """
        existed = await self._control.has_session()
        if not existed:
            self._unattached = None
        elif self._unattached is None:
            self._unattached = await self._control.keep_unattached()
        if self._container is not None:
            return existed
        running = await self._control.running_environment()
        if running is None:
            return False
        if existed:
            await self._control.give_environment(running)
        else:
            await self._control.create(size, running)
            self._unattached = ""
        if self._changes:
            # The control gives what it had at the start, to the first window as well.
            await self._give_changes(
                self._changes, b"" if existed else respawn_first(self._control.target)
            )
        return existed

    async def _give_changes(self, changes: Mapping[bytes, bytes | None], then: bytes = b"") -> None:
        target = self._control.target
        commands = update_commands(target, changes) + then
        answer = await self._control.run(target.source_stdin(), commands)
        if answer.status != 0 and await self._control.has_session():  # else it has just ended
            said = answer.errors.decode(errors="replace").strip()
            raise TerminalError(f"tmux did not change the session {self.session!r}: {said[:300]}")

    async def _take_over(self) -> None:
        """Run the original's command once and leave again."""
        mark = ClientId("start")

        async def nothing() -> None:
            """Have nothing to do: the command itself makes the session."""

        terminal = await self._clients.reach(lambda _: self._clients.take_over(mark), "", nothing)
        try:
            if self._unattached is None:
                self._unattached = await self._control.keep_unattached()
            if self._clipboard:
                await self._control.let_programs_copy()
        finally:
            await self._clients.release(mark, terminal)

    def _give_size_back(self) -> None:
        """Let one of several clients of a size of their own have a say in the window's again.

        The client that was resized last counts as the latest, also one that has no say; when it
        is not the one that left, tmux 3.3a looks for no other, and the window keeps the size of
        who has left until somebody types.
        """
        own = [t for t in self._sizing if not t.ended.done()]
        if self._audience.is_live and own:
            max(own, key=lambda terminal: terminal.used_at).repaint()
