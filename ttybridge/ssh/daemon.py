"""The companion sshd as a process: started, watched, started again when it dies, ended."""

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ttybridge.core.ssh_log import LoginLog, explain, missing_folder
from ttybridge.errors import SshdError
from ttybridge.ssh import keeper

log = logging.getLogger(__name__)

READY_S = 10.0
"""Time for sshd to listen, in seconds; it takes about 50 ms, the keeper's start included."""

STOP_S = keeper.GRACE_S + 2.0
"""Time for the keeper to end everything, in seconds, before it is killed."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
"""Pause before sshd is started again; doubled each time, back to the first after a good while."""

GOOD_WHILE_S = 60.0
"""Time after which sshd counts as running well, in seconds."""

LAST_LINES = 12
"""Lines of sshd's log that travel with an error."""

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""What sshd is started with: none of the bridge's variables, such as LD_LIBRARY_PATH."""

KEEPER = str(Path(keeper.__file__).absolute())
"""The keeper's script."""

SCRIPT_FLAGS = "-IS"
"""Options of Python for our scripts: nothing of the user's environment or site is loaded."""


class SshdLog:
    """What sshd says: one line for each login in our log, the last ones kept for errors.

    Attributes:
        last: The last lines.
        has_made_folder: Whether sshd has missed its folder, and been given it.
    """

    def __init__(self, user: str) -> None:
        """Have heard nothing yet; `user` is the account that may log in."""
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self.has_made_folder = False
        self._logins = LoginLog(user)

    def take(self, text: str) -> None:
        """Take in one line; give sshd its folder where it says that it is missing.

        It may go away later, too: the system's own sshd takes it along when it is stopped.
        """
        self.last.append(text[:500])
        if (folder := missing_folder([text])) and _make_folder(Path(folder)):
            self.has_made_folder = True
            log.info("made %s, which sshd needs", folder)
            return
        line = self._logins.feed(text)
        if line is not None:
            log.log(logging.getLevelNamesMapping()[line.level.upper()], "%s", line.text)

    def error(self, what: str) -> SshdError:
        """Return an error about sshd that has what it said, and what to do about it."""
        lines = list(self.last)
        known = explain(lines)
        if known is not None:
            return SshdError(known[0], hint=known[1])
        said = "Its last lines:\n" + "\n".join(lines) if lines else "It said nothing."
        return SshdError(f"{what} {said}")


class Daemon:
    """One listening sshd and its keeper."""

    def __init__(self, argv: Sequence[str], *, user: str) -> None:
        """Remember how to start it.

        Args:
            argv: sshd by its absolute path, and its arguments; it logs to stderr (`-e`) and
                stays in the foreground (`-D`).
            user: The account that may log in.
        """
        self.log = SshdLog(user)
        self._argv = list(argv)
        self._keeper: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._listens = asyncio.Event()
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Start sshd and wait until it listens.

        Raises:
            SshdError: It ended, or did not listen in time; has its last lines.
        """
        await self._launch()
        if await self._is_ready():
            return
        if self.log.has_made_folder:
            await self._order()
            if await self._is_ready():
                return
        await self.stop()
        raise self.log.error("sshd did not start.")

    async def watch(self) -> None:
        """Start sshd again whenever it ends, with a growing pause; until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            began = loop.time()
            await self._ended.wait()
            if loop.time() - began > GOOD_WHILE_S:
                pause_s = FIRST_PAUSE_S
            log.warning("sshd has ended; it is started again in %.1f s", pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                if self._keeper is None or self._keeper.returncode is not None:
                    await self.stop()
                    await self._launch()
                else:
                    await self._order()
            except (SshdError, OSError) as error:
                log.warning("sshd cannot be started again: %s", error)
                continue
            if await self._is_ready():
                log.info("sshd listens again")

    async def stop(self) -> None:
        """End sshd, its logins and the programs in them; safe at any time, and twice."""
        process, self._keeper = self._keeper, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _launch(self) -> None:
        """Start the keeper and order sshd."""
        argv = [sys.executable, SCRIPT_FLAGS, KEEPER, *self._argv]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C at the bridge's terminal is not for it
            )
        except OSError as error:
            raise SshdError(f"{argv[0]} could not be started: {error.strerror}.") from error
        self._keeper = process
        self._tasks = [
            asyncio.create_task(self._hear_log(_stream(process.stderr))),
            asyncio.create_task(self._hear_ends(process)),
        ]
        await self._order()

    async def _order(self) -> None:
        """Tell the keeper to start sshd."""
        self._listens.clear()
        self._ended.clear()
        if self._keeper is not None and self._keeper.stdin is not None:
            with contextlib.suppress(ConnectionError):
                self._keeper.stdin.write(b"s")
                await self._keeper.stdin.drain()

    async def _is_ready(self) -> bool:
        """Wait until sshd listens or has ended; tell whether it listens."""
        waits = [asyncio.create_task(e.wait()) for e in (self._listens, self._ended)]
        try:
            await asyncio.wait(waits, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return self._listens.is_set() and not self._ended.is_set()

    async def _hear_log(self, stream: asyncio.StreamReader) -> None:
        async for text in lines_of(stream):
            self.log.take(text)
            if text.startswith("Server listening on"):
                self._listens.set()

    async def _hear_ends(self, process: asyncio.subprocess.Process) -> None:
        async for _status in lines_of(_stream(process.stdout)):
            self._ended.set()
        await process.wait()
        self._ended.set()  # the keeper itself has ended, and sshd with it


async def lines_of(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield lines without their ends; long ones come in pieces."""
    rest = b""
    while data := await stream.read(4096):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
        if len(rest) > 4096:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace")


def _stream(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if stream is None:
        raise SshdError("A pipe to sshd is missing.")
    return stream


def _make_folder(folder: Path) -> bool:
    """Make the folder that sshd locks its unprivileged part in; False when that is impossible."""
    try:
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)  # whatever the umask is
    except OSError:
        return False
    return True
