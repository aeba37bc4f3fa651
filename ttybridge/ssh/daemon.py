"""The companion sshd as a process: started, watched, started again when it dies, ended."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ttybridge.core.ssh_log import LoginLog, explain, missing_folder
from ttybridge.errors import SshdError
from ttybridge.ssh.kept import Kept
from ttybridge.ssh.lines import Peer, accepted

log = logging.getLogger(__name__)

READY_S = 10.0
"""Time for sshd to listen, in seconds; it takes about 50 ms, the keeper's start included."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
"""Pause before sshd is started again; doubled each time, back to the first after a good while."""

GOOD_WHILE_S = 60.0
"""Time after which sshd counts as running well, in seconds."""

LAST_LINES = 12
"""Lines of sshd's log that travel with an error."""


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
        hint = "" if lines else "Is it OpenSSH's sshd? Another is named with --sshd PROGRAM."
        return SshdError(f"{what} {said}", hint=hint)


class Daemon:
    """One listening sshd and its keeper.

    Attributes:
        log: What sshd says.
        on_login: Called when somebody has logged in: with the other end, and the key's fingerprint.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], *, user: str) -> None:
        """Remember how to start it.

        Args:
            argv: sshd by its absolute path, and its arguments; it logs to stderr (`-e`) and
                stays in the foreground (`-D`).
            environment: The keeper's environment.
            user: The account that may log in.
        """
        self.log = SshdLog(user)
        self._argv = list(argv)
        self._environment = environment
        self.on_login: Callable[[Peer, str], None] = lambda _peer, _key: None
        self._kept: Kept | None = None
        self._listens = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def keeper(self) -> int:
        """Process id of the keeper; 0 where there is none."""
        return self._kept.pid if self._kept is not None else 0

    @property
    def is_up(self) -> bool:
        """Whether sshd listens."""
        return self._listens.is_set() and not self._ended.is_set()

    async def start(self) -> None:
        """Start sshd and wait until it listens.

        Raises:
            SshdError: It ended, or did not listen in time; has its last lines.
        """
        await self._launch()
        if await self._is_ready():
            return
        if self.log.has_made_folder:
            await self._launch()
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
                await self._launch()
            except SshdError as error:
                log.warning("sshd cannot be started again: %s", error)
                continue
            if await self._is_ready():
                log.info("sshd listens again")

    async def stop(self) -> None:
        """End sshd, its logins and the programs in them; safe at any time, and twice."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.stop()

    async def _launch(self) -> None:
        """Order sshd, from a new keeper where there is none."""
        if self._kept is not None and self._kept.over.is_set():
            await self.stop()
        self._listens.clear()
        self._ended.clear()
        if self._kept is None:
            self._kept = await Kept.start(
                self._argv, self._environment, on_line=self._on_line, on_end=self._ended.set
            )
        self._kept.order()

    async def _is_ready(self) -> bool:
        """Wait until sshd listens or has ended; tell whether it listens."""
        waits = [asyncio.create_task(e.wait()) for e in (self._listens, self._ended)]
        try:
            await asyncio.wait(waits, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return self.is_up

    def _on_line(self, text: str) -> None:
        self.log.take(text)
        if text.startswith("Server listening on"):
            self._listens.set()
        elif login := accepted(text):
            self.on_login(*login)


def _make_folder(folder: Path) -> bool:
    """Make the folder that sshd locks its unprivileged part in; False when that is impossible."""
    try:
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)  # whatever the umask is
    except OSError:
        return False
    return True
