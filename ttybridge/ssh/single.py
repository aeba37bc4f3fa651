"""An sshd for one connection alone, on a pair of sockets: what carries SSH over the web address."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from ttybridge.adapters.rundir import write_private
from ttybridge.errors import SshdError
from ttybridge.ssh.daemon import SshdLog
from ttybridge.ssh.kept import Kept
from ttybridge.ssh.lines import OverWeb, let_logins_leave

BANNER_S = 10.0
"""Time for sshd to say its version, in seconds; with the keeper's start some 50 ms."""

END_S = 2.0
"""Time for sshd to end when its connection is closed, in seconds, before it is told to."""


class Connection:
    """One connection to an sshd of its own.

    Attributes:
        reader: What sshd says.
        writer: What is said to it.
        log: What it says of itself.
        has_last_words: Whether logins have been told why it ends, and say so.
        on_close: Called when nothing of it is left.
    """

    def __init__(
        self,
        kept: Kept,
        log: SshdLog,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        keys: Path,
    ) -> None:
        """Take over a started sshd; use `connect`."""
        self.reader, self.writer, self.log = reader, writer, log
        self.on_close: Callable[[], None] = lambda: None
        self.has_last_words = False
        self._closing: asyncio.Task[None] | None = None
        self._kept = kept
        self._keys = keys

    @property
    def line(self) -> OverWeb:
        """The processes of the connection."""
        return OverWeb(self._kept.pid)

    async def banner(self) -> bytes:
        """Wait for sshd's first bytes.

        Raises:
            SshdError: It ended without, or said nothing in time.
        """
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(BANNER_S):
                data = await self.reader.read(1024)
                if data:
                    return data
        await self._kept.wait_over(END_S)  # then its last line is there
        raise self.log.error("sshd did not take the connection.")

    async def close(self, *, hang_up: bool) -> None:
        """End the connection and its sshd; safe at any time, and twice.

        Args:
            hang_up: Whether the programs in it get SIGHUP, as when a terminal is closed: somebody
                here ends it. A line that breaks leaves them alone, as with any sshd.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(hang_up=hang_up))
        await asyncio.shield(self._closing)

    async def _close(self, *, hang_up: bool) -> None:
        if not hang_up:
            with contextlib.suppress(OSError):  # closing is not enough: the keeper holds it, too
                self.writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await self._kept.wait_over(END_S)
        elif self.has_last_words:
            await let_logins_leave(self.line)
        await self._kept.stop()
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            self._keys.unlink(missing_ok=True)
        self.on_close()


async def connect(
    sshd: str, config: Path, keys: str, environment: Mapping[str, str], *, user: str
) -> Connection:
    """Start an sshd whose connection accepts these keys and no others.

    Args:
        sshd: Its absolute path.
        config: Its configuration, in the private folder.
        keys: Text of its authorized_keys file.
        environment: The environment of its keeper.
        user: The account that may log in.

    Raises:
        SshdError: It cannot be started.
    """
    file = config.with_name(f"keys-{secrets.token_hex(8)}")
    try:
        write_private(file, keys.encode())
    except OSError as error:
        raise SshdError(
            f"The private folder {config.parent} cannot be written to: {error.strerror}.",
            hint="If it has been removed, start the bridge again.",
        ) from error
    argv = [sshd, "-i", "-e", "-f", str(config), "-o", f"AuthorizedKeysFile={file}"]
    log = SshdLog(user)
    ours, theirs = socket.socketpair()
    try:
        kept = await Kept.start(
            argv,
            environment,
            on_line=log.take,
            on_end=lambda: None,
            connection=(theirs.fileno(), ours.fileno()),
        )
    except BaseException:
        ours.close()
        file.unlink(missing_ok=True)
        raise
    finally:
        theirs.close()
    reader, writer = await asyncio.open_connection(sock=ours)
    return Connection(kept, log, reader, writer, file)
