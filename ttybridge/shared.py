"""What the bridge shares: a tmux session, here or in a container, or one command."""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ttybridge.adapters.program import find_program
from ttybridge.adapters.pty import Pty
from ttybridge.adapters.signals import ends_before
from ttybridge.config import Config
from ttybridge.core import environment as env
from ttybridge.core.shell import for_any_shell
from ttybridge.core.stream import least_log_bytes
from ttybridge.errors import TerminalError, TtyBridgeError
from ttybridge.model import End
from ttybridge.sessions.hub import Hub
from ttybridge.sessions.place import Terminals

if TYPE_CHECKING:  # of tmux and a direct command, one is imported
    from ttybridge.adapters.tmux_control import TmuxControl
    from ttybridge.core.container import Container
    from ttybridge.sessions.direct import DirectTerminal
    from ttybridge.sessions.tmux import TmuxTerminals

log = logging.getLogger(__name__)

ASKING_S = 5.0
"""Time for tmux to say whether the session lives on, in seconds: a container engine takes one or
two on busy processors."""

DELIVERY_S = 10.0
"""Time for the connected clients to get the last output of a direct command, in seconds."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What is left when the bridge has stopped."""

    status: int
    """Exit status: 0, the direct command's own, or 130 when it was stopped while starting."""
    message: str
    """What to say, in one line."""


class Shared:
    """What is shared; nothing is started yet.

    Attributes:
        environment: What it gets.
        notes: Sentences about what the user may not expect.
        terminals: Where ptys come from.
        control: Asks tmux; None for a direct command.
        container: Where tmux runs; None for this machine.
        direct: The direct command; None for tmux.
    """

    def __init__(self, config: Config, snapshot: Mapping[bytes, bytes]) -> None:
        """Find what is needed; takes the running event loop.

        Args:
            config: The options.
            snapshot: The environment that the bridge was started with.

        Raises:
            TtyBridgeError: A program or folder that is needed is not there.
        """
        self.cwd = _absolute(config.directory)
        environment = env.pty_environment(snapshot, cwd=os.fsencode(self.cwd))
        dropped = env.too_long(environment)
        self.environment = {n: v for n, v in environment.items() if n not in dropped}
        self.notes = tuple(
            f"{os.fsdecode(name)!r} is left out: Linux starts no program with a variable above "
            f"{env.MAX_ENTRY_BYTES // 1024} KiB."
            for name in dropped
        )
        self.control: TmuxControl | None = None
        self.container: Container | None = None
        self.direct: DirectTerminal | None = None
        self._config = config
        self.terminals: Terminals = self._command() if config.command else self._tmux()

    def _command(self) -> "DirectTerminal":
        from ttybridge.sessions.direct import DirectTerminal

        config = self._config
        find_program(config.command[0], self.environment)  # with --wait, say it now
        self.direct = DirectTerminal(
            Pty.spawn,
            config.command,
            environment=self.environment,
            cwd=self.cwd,
            log_bytes=max(config.backlog_bytes, least_log_bytes(config.window_bytes)),
            waits=config.wait,
        )
        return self.direct

    def _tmux(self) -> "TmuxTerminals":
        from ttybridge.adapters.tmux_control import TmuxControl, find_engine
        from ttybridge.core.tmux import Target
        from ttybridge.sessions.tmux import TmuxTerminals

        config = self._config
        target = Target(
            program=config.tmux,
            session=config.session,
            socket_name=config.socket_name or "",
            socket_path=str(config.socket_path or ""),
        )
        if config.container:
            from ttybridge.core.container import Container

            engine = find_engine(config.container_engine, self.environment)
            self.container = Container(engine, config.container)
        self.control = TmuxControl(
            target, environment=self.environment, cwd=self.cwd, container=self.container
        )

        def only_attaches(argv: Sequence[str]) -> bool:
            # An exclusive client does, too: the session is there when somebody joins.
            return config.exclusive or "new-session" not in argv

        return TmuxTerminals(
            self.control,
            partial(Pty.spawn, elsewhere=only_attaches),
            environment=self.environment,
            cwd=self.cwd,
            exclusive=config.exclusive,
            clipboard=config.clipboard,
            container=self.container,
            run_id=secrets.token_hex(4),
        )

    async def command_end(self) -> End:
        """Wait for the end of the direct command; for ever where there is none."""
        never: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self.direct.ended if self.direct else never)

    async def tell_everybody(self, hub: Hub) -> None:
        """Wait until all clients have the end: those connected, then those that may come back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_S):
                await hub.wait_until_told()
        away = sum(a.is_parked for a in hub.attachments)
        if away:
            log.warning(
                "the command has ended; waiting up to %.0f s for %d client(s) that lost their"
                " connection; Ctrl-C ends now",
                self._config.resume_s,
                away,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.resume_s + DELIVERY_S):
                    await hub.wait_until_empty()

    async def finish(self, end: End | None, hurry: asyncio.Event) -> Finished:
        """Say what is left, after everything has been stopped.

        Args:
            end: The end of the direct command.
            hurry: Set when nobody wants to wait for tmux to be asked.
        """
        if self.control is None:
            started = self.direct is not None and self.direct.terminal is not None
            stopped = "Stopped; the command was ended, too." if started else "Stopped."
            message = end.message if end else stopped
            return Finished(end.status.shell_code if end else 0, message)
        target = self.control.target
        try:
            lives = await _lives(self.control, hurry)
        except TtyBridgeError as error:
            message = f"Stopped. Whether the tmux session lives on is not known: {error.message}"
            return Finished(0, message)
        if not lives:
            return Finished(0, "Stopped. The tmux session had ended.")
        attach = [*target.base, "attach", "-t", target.exact]
        if self.container is not None:
            attach = [self.container.engine, "exec", "-it", self.container.name, *attach]
        return Finished(
            0, f"Stopped. The tmux session {target.session!r} lives on: {for_any_shell(attach)}"
        )


async def _lives(control: "TmuxControl", hurry: asyncio.Event) -> bool:
    """Ask whether the tmux session exists.

    Raises:
        TtyBridgeError: It cannot be known.
    """
    asking = asyncio.create_task(control.has_session())
    try:
        async with asyncio.timeout(ASKING_S):
            if not await ends_before(asking, hurry):
                raise TerminalError("tmux was not asked.")
        return asking.result()
    except TimeoutError as error:
        raise TerminalError(f"tmux did not answer within {ASKING_S:.0f} s.") from error
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def _absolute(directory: Path) -> str:
    """Return a folder's full path.

    Raises:
        TerminalError: It is below the current folder, which is gone.
    """
    try:
        return str(directory.absolute())
    except FileNotFoundError as error:
        raise TerminalError(
            "The current folder has been removed.",
            hint="Change to another one, or give one with --cwd.",
        ) from error
