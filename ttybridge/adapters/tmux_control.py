"""Runs tmux commands, on this machine or in a container."""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ttybridge.adapters.program import check_folder, existing_folder
from ttybridge.adapters.tmux_watch import TmuxWatch
from ttybridge.core import environment as env
from ttybridge.core import tmux
from ttybridge.errors import MissingProgramError, TerminalError
from ttybridge.model import WindowSize

if TYPE_CHECKING:
    from ttybridge.core.container import Container

DEADLINE_S = 10.0
"""Longest time one tmux command may take, in seconds; they take 2 to 30 ms."""

RACE_TRIES = 20
"""A tmux server that is just ending answers `server exited unexpectedly`; trying again for
2 s outlasts it."""
RACE_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """What a command answered."""

    status: int
    """Its exit status."""
    output: bytes
    """Its standard output."""
    errors: bytes
    """Its standard error."""


class TmuxControl:
    """Commands to one tmux server about one session."""

    def __init__(
        self,
        target: tmux.Target,
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        container: "Container | None" = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Remember how to run tmux.

        Args:
            target: The server and the session.
            environment: Environment of the commands, and of the session.
            cwd: Working directory of the commands, and of a new session. Commands run in `/`
                when it is gone.
            container: Where tmux runs; None for this machine.
            deadline_s: Longest time one command may take, in seconds.
        """
        self.target = target
        self._environment = dict(environment)
        self._cwd = cwd
        self._container = container
        self._deadline_s = deadline_s

    async def check_version(self) -> None:
        """Check that tmux is there and new enough.

        Raises:
            MissingProgramError: It is not.
        """
        result = await self.run([self.target.program, "-V"])
        text = result.output.decode(errors="replace").strip()
        version = tmux.parse_version(text)
        if result.status != 0:
            raise MissingProgramError(
                f"tmux does not run: {_last_line(result)}", hint="Install tmux 3.2 or newer."
            )
        if version is not None and version < tmux.MIN_VERSION:
            raise MissingProgramError(
                f"{text} is too old.",
                hint="Install tmux 3.2 or newer, or name another one with --tmux PATH.",
            )

    async def has_session(self) -> bool:
        """Tell whether the session exists."""
        return (await self.run(self.target.has_session())).status == 0

    async def running_environment(self) -> dict[bytes, bytes] | None:
        """Return what new windows of the session get now, or None where no server runs."""
        server = await self.run(self.target.show_environment(of_server=True))
        if server.status != 0:
            return None
        own = await self.run(self.target.show_environment(of_server=False))
        return env.effective(
            env.parse_show_environment(server.output),
            env.parse_show_environment(own.output) if own.status == 0 else {},
        )

    async def give_environment(self, running: Mapping[bytes, bytes]) -> None:
        """Give the existing session exactly our environment, for its new windows."""
        commands = tmux.environment_commands(self.target, self._environment, running)
        await self._must(self.target.source_stdin(), commands)

    async def create(self, size: WindowSize, running: Mapping[bytes, bytes]) -> None:
        """Create the session on a running server, with exactly our environment.

        It is kept without clients until `give_unattached_back("")`.

        Raises:
            TerminalError: tmux refused, or the working directory is gone.
        """
        check_folder(self._cwd)
        commands = tmux.environment_commands(self.target, self._environment, running)
        await self._must(self.target.create(size, self._cwd), commands)

    async def keep_unattached(self) -> str | None:
        """Keep the session without clients, where the user's `destroy-unattached` would end it.

        Returns:
            The session's own setting, empty when it has none; None when nothing was changed.
        """
        now = await self.run(self.target.show_unattached(own=False))
        if now.status != 0 or now.output.strip() in (b"", b"off"):
            return None
        own = await self.run(self.target.show_unattached(own=True))
        await self._must(self.target.set_unattached("off"), b"")
        return own.output.decode(errors="replace").strip()

    async def give_unattached_back(self, own: str) -> None:
        """Set the session's own `destroy-unattached` as it was; it may have ended meanwhile."""
        await self.run(self.target.set_unattached(own or None))

    async def let_programs_copy(self) -> None:
        """Let programs in tmux copy to the clients' clipboards."""
        await self._must(self.target.source_stdin(), tmux.clipboard_commands())

    async def signal_client(self, mark: str, signal: str) -> None:
        """Send a signal to our client of this mark inside the container."""
        if self._container is not None:
            argv = self._container.signal_client(self.target.base, mark=mark, signal=signal)
            await self._spawn(argv, b"")

    def watch(self, on_size: Callable[[WindowSize], None]) -> TmuxWatch:
        """Follow the size that a client needs to show the session's whole window."""
        argv = self.target.watch()
        if self._container is not None:
            argv = self._container.exec_plain(argv)
        return TmuxWatch(
            argv, environment=self._environment, cwd=existing_folder(self._cwd), on_size=on_size
        )

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Result:
        """Run a tmux command line to its end.

        Raises:
            MissingProgramError: The program, or the container's engine, is not there.
            TerminalError: It did not end within the deadline, or there is no such container.
        """
        if self._container is not None:
            argv = self._container.exec_plain(argv)
        result = await self._spawn(argv, stdin)
        for _ in range(RACE_TRIES):
            if b"server exited unexpectedly" not in result.errors:
                break
            await asyncio.sleep(RACE_PAUSE_S)
            result = await self._spawn(argv, stdin)
        if self._container is not None and result.status != 0:
            from ttybridge.core.container import explain_failure

            errors = result.errors.decode(errors="replace")
            explained = explain_failure(result.status, errors, self._container)
            if explained:
                message, hint = explained
                raise TerminalError(f"{message} ({_last_line(result)})", hint=hint)
        return result

    async def _must(self, argv: Sequence[str], stdin: bytes) -> None:
        result = await self.run(argv, stdin)
        if result.status != 0:
            raise TerminalError(
                f"tmux refused to set up the session {self.target.session!r}: {_last_line(result)}",
                hint="`ttybridge doctor` looks for the reason.",
            )

    async def _spawn(self, argv: Sequence[str], stdin: bytes) -> Result:
        loop = asyncio.get_running_loop()
        starting = loop.create_task(
            loop.subprocess_exec(
                _Command,
                *argv,
                env=self._environment,
                cwd=existing_folder(self._cwd),
                start_new_session=True,  # Ctrl-C at the bridge's terminal is not for it
            )
        )
        try:
            transport, command = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Cancelled itself, asyncio (3.11) would wait for ever for pipes that are not connected.
            await asyncio.wait([starting])
            if starting.exception() is None:
                transport, command = starting.result()
                transport.close()
                await asyncio.shield(command.ended)
            raise
        except FileNotFoundError as error:
            raise MissingProgramError(
                f"{argv[0]} was not found.",
                hint=f"Install {argv[0]} with your package manager, or give its path.",
            ) from error
        except OSError as error:
            raise TerminalError(f"{argv[0]} could not be started: {error.strerror}.") from error
        stdin_pipe = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
        try:
            async with asyncio.timeout(self._deadline_s):
                stdin_pipe.write(stdin)
                stdin_pipe.write_eof()
                await asyncio.shield(command.ended)
        except TimeoutError as error:
            raise TerminalError(
                f"{argv[0]} did not answer within {self._deadline_s:.0f} s.",
                hint="If its server hangs, end it with `tmux kill-server`.",
            ) from error
        finally:
            if stdin_pipe.get_write_buffer_size():  # what nobody reads would keep it open
                stdin_pipe.abort()
            transport.close()
            await asyncio.shield(command.ended)
        return Result(transport.get_returncode() or 0, bytes(command.output), bytes(command.errors))


class _Command(asyncio.SubprocessProtocol):
    """Collects what a command prints.

    A hung tmux server keeps the pipes of its clients open, even of a client that is killed, and
    `asyncio.subprocess.Process` waits for their end. Closing the transport kills the command
    and closes our ends; then `ended` waits for nothing but the command itself.

    Attributes:
        output: What it has printed on standard output.
        errors: What it has printed on standard error.
        ended: Done when it is reaped and its pipes are closed.
    """

    def __init__(self) -> None:
        """Have nothing yet."""
        self.output, self.errors = bytearray(), bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep what it prints."""
        (self.output if fd == 1 else self.errors).extend(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing of it is left."""
        self.ended.set_result(None)


def find_engine(choice: str, environment: Mapping[bytes, bytes]) -> str:
    """Return the container engine to use.

    Raises:
        MissingProgramError: There is none.
    """
    path = os.fsdecode(environment.get(b"PATH", os.defpath.encode()))
    names = ("docker", "podman") if choice == "auto" else (choice,)
    for name in names:
        if shutil.which(name, path=path):
            return name
    raise MissingProgramError(
        f"{' or '.join(names)} was not found.", hint="Install one, or leave --container out."
    )


def _last_line(result: Result) -> str:
    lines = (result.errors or result.output).decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"status {result.status}"
