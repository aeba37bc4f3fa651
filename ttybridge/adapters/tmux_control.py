"""Runs tmux commands, on this machine or in a container."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttybridge.core import environment as env
from ttybridge.core import tmux
from ttybridge.core.container import Container, explain_failure
from ttybridge.errors import MissingProgramError, TerminalError
from ttybridge.model import WindowSize

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
        container: Container | None = None,
    ) -> None:
        """Remember how to run tmux.

        Args:
            target: The server and the session.
            environment: Environment of the commands, and of the session.
            cwd: Working directory of the commands, and of a new session.
            container: Where tmux runs; None for this machine.
        """
        self.target = target
        self._environment = dict(environment)
        self._cwd = cwd
        self._container = container

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
        """Create the session on a running server, with exactly our environment."""
        commands = tmux.environment_commands(self.target, self._environment, running)
        await self._must(self.target.create(size, self._cwd), commands)

    async def let_programs_copy(self) -> None:
        """Let programs in tmux copy to the clients' clipboards."""
        await self._must(self.target.source_stdin(), tmux.clipboard_commands())

    async def signal_client(self, mark: str, signal: str) -> None:
        """Send a signal to our client of this mark inside the container."""
        if self._container is not None:
            argv = self._container.signal_client(self.target.base, mark=mark, signal=signal)
            await self._spawn(argv, b"")

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Result:
        """Run a tmux command line to its end.

        Raises:
            MissingProgramError: The program, or the container's engine, is not there.
            TerminalError: It did not end within `DEADLINE_S`, or there is no such container.
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
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C at the bridge's terminal is not for it
            )
        except FileNotFoundError as error:
            raise MissingProgramError(
                f"{argv[0]} was not found.",
                hint=f"Install {argv[0]} with your package manager, or give its path.",
            ) from error
        except OSError as error:
            raise TerminalError(f"{argv[0]} could not be started: {error.strerror}.") from error
        try:
            async with asyncio.timeout(DEADLINE_S):
                output, errors = await process.communicate(stdin)
        except TimeoutError as error:
            raise TerminalError(
                f"{argv[0]} did not answer within {DEADLINE_S:.0f} s.",
                hint="If its server hangs, end it with `tmux kill-server`.",
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Result(process.returncode or 0, output, errors)


def _last_line(result: Result) -> str:
    lines = (result.errors or result.output).decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"status {result.status}"
