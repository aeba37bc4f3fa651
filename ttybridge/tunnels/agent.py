"""One agent of a tunnel as a process: started on a leash, listened to, ended."""

import asyncio
import codecs
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttybridge.tunnels.leash import leash
from ttybridge.tunnels.warden import GRACE_S

LAST_LINES = 12
"""Lines of an agent that travel with an error."""

MAX_LINE = 500
"""Characters that are kept of a line."""

STOP_S = GRACE_S + 2.0
"""Time for the warden to end the agent, in seconds, before both are killed."""

KILL_S = 2.0
"""Time for what was killed to be gone, in seconds."""

LAST_WORDS_S = 1.0
"""Time for what an agent said before it ended to arrive, in seconds."""

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def shown(line: str) -> str:
    r"""Return a program's line as it may be shown: no colours, control characters escaped.

    >>> shown("\x1b[31mred\x1b[0m\x07")
    'red\\x07'
    """
    text = _COLOURS.sub("", line.rstrip())[:MAX_LINE]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def find_program(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of a program in PATH of an environment."""
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    return str(Path(found).absolute()) if found else None


class Agent(asyncio.SubprocessProtocol):
    """One program that keeps a tunnel open; it ends when this process does.

    Attributes:
        lines: The last lines of its output and its errors, made harmless.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        *,
        cwd: Path | None = None,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Remember how to start it.

        Args:
            argv: The program by its absolute path, and its arguments.
            environ: Its environment.
            folder: A private folder for the leash, which is gone after `stop`.
            cwd: Its working directory; `None`: ours.
            on_line: Gets each line, made harmless, after it is in `lines`.
        """
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self._argv, self._environ, self._folder, self._cwd = argv, environ, folder, cwd
        self._on_line = on_line
        self._transport: asyncio.SubprocessTransport | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._exited, self._silent = asyncio.Event(), asyncio.Event()
        self._held = contextlib.ExitStack()

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._transport is not None and not self._exited.is_set()

    async def start(self) -> None:
        """Start it, once; when cancelled, nothing of it is left.

        Raises:
            OSError: The leash or the process cannot be made.
        """
        try:
            folder = tempfile.mkdtemp(prefix="agent-", dir=self._folder)
            self._held.callback(shutil.rmtree, folder, ignore_errors=True)
            held = self._held.enter_context(leash(Path(folder)))
            self._transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: self,
                *held.argv(*self._argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(self._environ),
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C at the bridge's terminal is not for it
            )
        except BaseException:
            self._held.close()
            raise

    async def wait(self) -> None:
        """Wait until it has ended, and all that it said is in `lines`."""
        await self._exited.wait()
        # A child of it may hold its output open for longer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._silent.wait()

    async def stop(self) -> None:
        """End it, within seconds; safe at any time, and twice. When cancelled, it is killed."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        try:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                transport.terminate()
                async with asyncio.timeout(STOP_S):
                    await self._exited.wait()
        finally:
            self._kill_group(transport.get_pid())
            self._held.close()
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KILL_S):
                        await self._exited.wait()
            finally:
                transport.close()

    def _kill_group(self, pid: int) -> None:
        """Kill what is left: the warden, the agent, and what that has started."""
        if not (self._exited.is_set() and self._silent.is_set()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take in what it says."""
        text = self._rest + self._decoder.decode(data)
        *lines, self._rest = re.split(r"[\r\n]+", text)
        self._rest = self._rest[:MAX_LINE]
        for line in lines:
            self._take(line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note that it, and all that it has started, will say nothing more."""
        self._take(self._rest)
        self._silent.set()

    def process_exited(self) -> None:
        """Note that it is reaped."""
        self._exited.set()

    def _take(self, line: str) -> None:
        if line.strip():
            self.lines.append(shown(line))
            self._on_line(self.lines[-1])


@dataclass(frozen=True, slots=True)
class Answer:
    """What a short program said."""

    status: int
    """Its exit status; negative after a signal, 124 when it took too long and was killed."""
    output: str
    """Its standard output."""
    lines: tuple[str, ...]
    """The last lines of its standard error, made harmless."""


async def ask(
    argv: Sequence[str], environ: Mapping[str, str], *, within_s: float, cwd: Path | None = None
) -> Answer:
    """Run a short program to its end; when it takes too long or we are cancelled, it is killed.

    Raises:
        OSError: It cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environ),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(within_s):
            output, errors = await process.communicate()
    except TimeoutError:
        return Answer(124, "", ())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_S):
                    await process.wait()
    lines = [shown(line) for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return Answer(process.returncode or 0, output.decode(errors="replace"), tuple(lines[-12:]))
