"""An sshd for one connection alone, on a pair of sockets: what carries SSH over the web address."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from pathlib import Path

from ttybridge.adapters.rundir import write_private
from ttybridge.errors import SshdError
from ttybridge.ssh.daemon import ENVIRONMENT, SshdLog, lines_of
from ttybridge.ssh.keeper import processes, split

log = logging.getLogger(__name__)

BANNER_S = 10.0
"""Time for sshd to say its version, in seconds; it takes some 20 ms."""

END_S = 2.0
"""Time for sshd to end when its connection is closed, in seconds, before it is killed."""


class Connection:
    """One connection to an sshd of its own.

    Attributes:
        reader: What sshd says.
        writer: What is said to it.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        keys: Path,
        user: str,
    ) -> None:
        """Take over a started sshd; use `connect`."""
        self.reader, self.writer = reader, writer
        self.log = SshdLog(user)
        self._process = process
        self._keys = keys
        self._hearing = asyncio.create_task(self._hear())

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
                await self._hearing
        raise self.log.error("sshd did not take the connection.")

    async def close(self) -> None:
        """End the connection, its sshd and the programs in it; safe at any time, and twice."""
        pid = self._process.pid
        if self._process.returncode is None:
            # As when a terminal is closed. It may be that sshd would not do it: without a
            # terminal, it leaves programs alone when the line breaks.
            for program in await asyncio.to_thread(_programs, pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(program, signal.SIGHUP)
        self.writer.transport.abort()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._hearing.cancel()
        await asyncio.gather(self._hearing, return_exceptions=True)
        self._keys.unlink(missing_ok=True)

    async def _hear(self) -> None:
        if self._process.stderr is not None:
            async for text in lines_of(self._process.stderr):
                self.log.take(text)


def _programs(pid: int) -> list[int]:
    """Return the programs that an sshd has started; it may do without children of its own name."""
    return split(-1, processes() | {pid: (-1, "sshd")})[1]


async def connect(sshd: str, config: Path, keys: str, *, user: str) -> Connection:
    """Start an sshd whose connection accepts these keys and no others.

    Args:
        sshd: Its absolute path.
        config: Its configuration, in the private folder.
        keys: Text of its authorized_keys file.
        user: The account that may log in.

    Raises:
        SshdError: It cannot be started.
    """
    file = config.with_name(f"keys-{secrets.token_hex(8)}")
    ours, theirs = socket.socketpair()
    try:
        write_private(file, keys.encode())
        process = await asyncio.create_subprocess_exec(
            *(sshd, "-i", "-e", "-f", str(config), "-o", f"AuthorizedKeysFile={file}"),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        file.unlink(missing_ok=True)
        raise SshdError(f"{sshd} could not be started: {error.strerror}.") from error
    finally:
        theirs.close()
    reader, writer = await asyncio.open_connection(sock=ours)
    return Connection(process, reader, writer, file, user)
