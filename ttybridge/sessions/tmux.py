"""Terminals that are tmux clients: one for each client that joins, none throws another out."""

import asyncio
import logging
from collections.abc import Mapping

from ttybridge.core import environment as env
from ttybridge.core.container import Container
from ttybridge.core.environment import TERM
from ttybridge.core.tmux import (
    FEATURES,
    parse_end,
    respawn_first,
    says_bad_terminal,
    says_no_session,
    update_commands,
)
from ttybridge.errors import TerminalError, TtyBridgeError
from ttybridge.model import (
    DEFAULT_SIZE,
    ClientId,
    End,
    EndReason,
    ExitStatus,
    Mode,
    Role,
    WindowSize,
)
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.control import Control
from ttybridge.sessions.terminal import Launch, SpawnPty, Terminal

log = logging.getLogger(__name__)

LOG_BYTES = 2 * 1024 * 1024
"""Most bytes of a tmux client's output that are kept: what is under way, and what a lost client
has missed. More is skipped and repainted."""

ATTACH_DEADLINE_S = 10.0
"""Longest time from starting a tmux client to its first output, in seconds (5 ms usually)."""

RACE_TRIES = 20
"""How often a client is started again while a tmux server is just ending; 2 s outlast it."""
RACE_PAUSE_S = 0.1

_SENTENCES = {
    EndReason.EXITED: "The last shell of the tmux session has ended.",
    EndReason.DETACHED: "This tab was detached from the tmux session, which lives on.",
    EndReason.TAKEN_OVER: "Another connection has taken the session over.",
    EndReason.SERVER_EXITED: "The tmux server has ended, and with it the session.",
    EndReason.KILLED: "The tmux client was ended from outside; the session may live on.",
    EndReason.CLOSING: "The bridge has stopped.",
}


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
        container: Container | None,
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
        self._control = control
        self._spawn = spawn
        self._environment = environment
        self._cwd = cwd
        self._exclusive = exclusive
        self._clipboard = clipboard
        self._container = container
        self._run_id = run_id
        self._live: dict[ClientId, Terminal] = {}
        self._newest: ClientId | None = None
        self._bringing_up = asyncio.Lock()
        self._unattached: str | None = None
        """The session's own `destroy-unattached` while it is overridden, empty for none. With the
        user's setting, the session would end between bringing it up and its first client."""
        self._repaints: set[asyncio.Task[None]] = set()
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

    async def open(
        self, client_id: ClientId, role: Role, size: WindowSize, terminal_type: str
    ) -> Terminal:
        """Attach one more tmux client; the session is made anew when it has ended.

        A terminal of a type that tmux cannot draw on is taken for one like our page's.

        Raises:
            TerminalError: tmux failed; its words are in the message.
        """
        self._newest = client_id  # before attaching, which ends the one before
        if self._exclusive or not any(not t.ended.done() for t in self._live.values()):
            await self._make_sure_it_exists(size)
        terminal = self._attach(client_id, role, size, terminal_type)
        try:
            for again in range(RACE_TRIES):
                if terminal_type and await self._finds_bad_terminal(terminal):
                    terminal_type = ""
                    terminal = self._attach(client_id, role, size, terminal_type)
                    continue
                if not await self._finds_no_session(terminal):
                    break
                if again:  # a server that is just ending still takes connections
                    await asyncio.sleep(RACE_PAUSE_S)
                await self._make_sure_it_exists(size)
                terminal = self._attach(client_id, role, size, terminal_type)
            await self._must_draw(terminal)
            if self._unattached is not None:
                own, self._unattached = self._unattached, None
                await self._control.give_unattached_back(own)
        except BaseException:  # cancelled, too: nobody else knows of this terminal
            await terminal.close()
            raise
        self._live[client_id] = terminal
        return terminal

    async def release(self, client_id: ClientId, terminal: Terminal) -> None:
        """End a tmux client; the session lives on."""
        self._live.pop(client_id, None)
        try:
            if self._container is not None and not terminal.ended.done():
                await self._control.signal_client(self._mark(client_id), "HUP")
        finally:
            await terminal.close()

    def fit(self, attachments: list[Attachment]) -> None:
        """Give each tmux client its own client's window size; tmux does the rest."""
        for attachment in attachments:
            attachment.terminal.resize(attachment.size)

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
        self._environment = env.updated(self._environment, update.changes)
        async with self._bringing_up:
            self._changes |= update.changes
            if update.changes and await self._control.has_session():
                await self._give_changes(update.changes)
        return update

    async def close(self) -> None:
        """Give up repaints that are under way; the session lives on."""
        for task in self._repaints:
            task.cancel()
        await asyncio.gather(*self._repaints, return_exceptions=True)

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
        terminal = self._terminal(self._control.target.take_over(), mark, DEFAULT_SIZE)
        try:
            await self._must_draw(terminal)
            if self._unattached is None:
                self._unattached = await self._control.keep_unattached()
            if self._clipboard:
                await self._control.let_programs_copy()
        finally:
            await self.release(mark, terminal)

    async def _finds_no_session(self, terminal: Terminal) -> bool:
        """Tell whether a tmux client has ended because the session is not there."""
        if await _draws(terminal) or not says_no_session(terminal.tail):
            return False
        await terminal.close()
        return True

    async def _finds_bad_terminal(self, terminal: Terminal) -> bool:
        """Tell whether a tmux client has ended because it cannot draw on this type of terminal."""
        if await _draws(terminal) or not says_bad_terminal(terminal.tail):
            return False
        await terminal.close()
        return True

    async def _must_draw(self, terminal: Terminal) -> None:
        if not await _draws(terminal):
            text = terminal.tail.decode(errors="replace").strip() or "it ended at once"
            await terminal.close()
            raise TerminalError(
                f"tmux did not open the session {self.session!r}: {text}",
                hint="`ttybridge doctor` looks for the reason.",
            )

    def _attach(
        self, client_id: ClientId, role: Role, size: WindowSize, terminal_type: str
    ) -> Terminal:
        target, features = self._control.target, "" if terminal_type else FEATURES
        if role is Role.VIEWER:
            argv = target.attach(read_only=True, features=features)
        elif self._exclusive:
            argv = target.take_over(features=features)
        else:
            argv = target.attach(features=features)
        return self._terminal(argv, client_id, size, terminal_type)

    def _terminal(
        self, argv: list[str], client_id: ClientId, size: WindowSize, terminal_type: str = ""
    ) -> Terminal:
        environment = {**self._environment, b"TERM": terminal_type.encode() or TERM}
        if self._container is not None:
            argv = self._container.exec_tmux(argv, mark=self._mark(client_id))

        def describe_end(status: ExitStatus, tail: bytes) -> End:
            reason = parse_end(tail)
            if reason is EndReason.DETACHED and self._exclusive and self._newest != client_id:
                reason = EndReason.TAKEN_OVER
            return End(status, reason, _SENTENCES[reason], restart=True)

        return Terminal(
            self._spawn,
            Launch(argv, environment, self._cwd),
            size,
            log_bytes=LOG_BYTES,
            shared=False,
            describe_end=describe_end,
            repaint=(lambda: self._repaint_inside(client_id)) if self._container else None,
        )

    def _repaint_inside(self, client_id: ClientId) -> None:
        """Signal the client inside the container: the engine passes on sizes, not signals."""

        async def repaint() -> None:
            try:
                await self._control.signal_client(self._mark(client_id), "WINCH")
            except TtyBridgeError as error:
                log.warning("client %s is not repainted: %s", client_id, error)

        task = asyncio.get_running_loop().create_task(repaint())
        self._repaints.add(task)
        task.add_done_callback(self._repaints.discard)

    def _mark(self, client_id: ClientId) -> str:
        return f"{self._run_id}-{client_id}"


async def _draws(terminal: Terminal) -> bool:
    """Wait until a tmux client has drawn something; False when it ended without.

    Raises:
        TerminalError: Neither happened within `ATTACH_DEADLINE_S`.
    """
    changed = asyncio.Event()
    cursor = terminal.stream.subscribe(terminal.policy, 0, changed.set)
    terminal.ended.add_done_callback(lambda _: changed.set())
    try:
        async with asyncio.timeout(ATTACH_DEADLINE_S):
            while not terminal.has_drawn and not terminal.ended.done():
                await changed.wait()
                changed.clear()
    except TimeoutError as error:
        await terminal.close()
        raise TerminalError(
            f"tmux did not draw anything within {ATTACH_DEADLINE_S:.0f} s.",
            hint="If its server hangs, end it with `tmux kill-server`.",
        ) from error
    finally:
        terminal.drop(cursor)
    return terminal.has_drawn
