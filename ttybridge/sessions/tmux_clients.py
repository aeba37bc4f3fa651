"""tmux clients on ptys: how they are started, what their end means, how they repaint."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ttybridge.core.environment import TERM
from ttybridge.core.tmux import (
    FEATURES,
    parse_end,
    says_bad_terminal,
    says_no_session,
)
from ttybridge.errors import TerminalError, TtyBridgeError
from ttybridge.model import DEFAULT_SIZE, ClientId, End, EndReason, ExitStatus, Role, WindowSize
from ttybridge.sessions.audience import SharedTerminal
from ttybridge.sessions.control import Control
from ttybridge.sessions.place import Place
from ttybridge.sessions.pty import Launch, SpawnPty
from ttybridge.sessions.terminal import Terminal

if TYPE_CHECKING:
    from ttybridge.core.container import Container

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Terminal)
"""A kind of terminal."""

SHARED = ClientId("audience")
"""Names the client that all viewers share."""

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


class TmuxClients:
    """Starts tmux clients of one session.

    Attributes:
        environment: Environment of the clients, and so of a server that they start.
        newest: The client that may take the session over last.
    """

    def __init__(
        self,
        control: Control,
        spawn: SpawnPty,
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        exclusive: bool,
        container: "Container | None",
        run_id: str,
    ) -> None:
        """Remember how to do it; see `TmuxTerminals`."""
        self.environment = environment
        self.newest: ClientId | None = None
        self._control = control
        self._spawn = spawn
        self._cwd = cwd
        self._exclusive = exclusive
        self._container = container
        self._run_id = run_id
        self._repaints: set[asyncio.Task[None]] = set()

    async def reach(
        self,
        attach: Callable[[str], T],
        terminal_type: str,
        make_session: Callable[[], Awaitable[None]],
    ) -> T:
        """Start a client until it draws, for as long as what keeps it from that can pass.

        A terminal of a type that tmux cannot draw on is taken for one like our page's.

        Args:
            attach: Starts it on a terminal of a type.
            terminal_type: The type.
            make_session: Makes the session when it has ended.

        Raises:
            TerminalError: tmux failed; its words are in the message.
        """
        terminal = attach(terminal_type)
        try:
            for again in range(RACE_TRIES):
                if terminal_type and await _finds(says_bad_terminal, terminal):
                    terminal_type = ""
                    terminal = attach(terminal_type)
                    continue
                if not await _finds(says_no_session, terminal):
                    break
                if again:  # a server that is just ending still takes connections
                    await asyncio.sleep(RACE_PAUSE_S)
                await make_session()
                terminal = attach(terminal_type)
            await self.must_draw(terminal)
        except BaseException:  # cancelled, too: nobody else knows of this terminal
            await terminal.close()
            raise
        return terminal

    async def must_draw(self, terminal: Terminal) -> None:
        """Wait until a client draws.

        Raises:
            TerminalError: It does not; tmux's words are in the message.
        """
        if not await _draws(terminal):
            text = terminal.tail.decode(errors="replace").strip() or "it ended at once"
            await terminal.close()
            raise TerminalError(
                f"tmux did not open the session {self._control.target.session!r}: {text}",
                hint="`ttybridge doctor` looks for the reason.",
            )

    def take_over(self, client_id: ClientId) -> Terminal:
        """Start the original's command, which detaches everybody else."""
        return self._terminal(self._control.target.take_over(), client_id, DEFAULT_SIZE)

    def share(
        self,
        size: WindowSize,
        *,
        suspend: Callable[[int], Awaitable[bool]],
        on_empty: Callable[[], None],
    ) -> SharedTerminal:
        """Start the client that all viewers share; see `SharedTerminal`."""
        return SharedTerminal(
            self._spawn,
            self._launch(self._control.target.attach(read_only=True), SHARED, ""),
            size,
            describe_end=lambda status, tail: self._end(SHARED, status, tail),
            repaint=self._repainter(SHARED),
            suspend=None if self._container else suspend,
            on_empty=on_empty,
        )

    async def release(self, client_id: ClientId, terminal: Terminal) -> None:
        """End a client; the session lives on."""
        try:
            if self._container is not None and not terminal.ended.done():
                await self._control.signal_client(self._mark(client_id), "HUP")
        finally:
            await terminal.close()

    async def close(self) -> None:
        """Give up repaints that are under way."""
        for task in self._repaints:
            task.cancel()
        await asyncio.gather(*self._repaints, return_exceptions=True)

    def attach(self, client_id: ClientId, place: Place, terminal_type: str) -> Terminal:
        """Start a client.

        Args:
            client_id: Names it.
            place: What it is for.
            terminal_type: TERM; empty for our page.
        """
        target, features = self._control.target, "" if terminal_type else FEATURES
        if place.role is Role.VIEWER:
            argv = target.attach(read_only=True, features=features)
        elif self._exclusive:
            argv = target.take_over(features=features)
        else:
            argv = target.attach(follows=place.follows, features=features)
        return self._terminal(argv, client_id, place.size, terminal_type)

    def _terminal(
        self, argv: list[str], client_id: ClientId, size: WindowSize, terminal_type: str = ""
    ) -> Terminal:
        return Terminal(
            self._spawn,
            self._launch(argv, client_id, terminal_type),
            size,
            log_bytes=LOG_BYTES,
            shared=False,
            describe_end=lambda status, tail: self._end(client_id, status, tail),
            repaint=self._repainter(client_id),
        )

    def _launch(self, argv: list[str], client_id: ClientId, terminal_type: str) -> Launch:
        environment = {**self.environment, b"TERM": terminal_type.encode() or TERM}
        if self._container is not None:
            argv = self._container.exec_tmux(argv, mark=self._mark(client_id))
        return Launch(argv, environment, self._cwd)

    def _end(self, client_id: ClientId, status: ExitStatus, tail: bytes) -> End:
        reason = parse_end(tail)
        if reason is EndReason.DETACHED and self._exclusive and self.newest != client_id:
            reason = EndReason.TAKEN_OVER
        return End(status, reason, _SENTENCES[reason], restart=True)

    def _repainter(self, client_id: ClientId) -> Callable[[], None] | None:
        """Return what makes a client in a container draw again; None where a signal does."""
        return (lambda: self._repaint_inside(client_id)) if self._container else None

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


async def _finds(says: Callable[[bytes], bool], terminal: Terminal) -> bool:
    """Tell whether a client has ended without drawing and said so; then it is closed."""
    if await _draws(terminal) or not says(terminal.tail):
        return False
    await terminal.close()
    return True


async def _draws(terminal: Terminal) -> bool:
    """Wait until a tmux client has drawn something; False when it ended without.

    Raises:
        TerminalError: Neither happened within `ATTACH_DEADLINE_S`.
    """
    changed = asyncio.Event()
    cursor = terminal.stream.subscribe(terminal.policy, 0, changed.set)

    def has_ended(_: object) -> None:
        changed.set()

    terminal.ended.add_done_callback(has_ended)
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
        terminal.ended.remove_done_callback(has_ended)
        terminal.drop(cursor)
    return terminal.has_drawn
