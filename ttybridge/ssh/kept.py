"""A running keeper with its sshd, as the bridge sees it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from ttybridge.errors import SshdError
from ttybridge.ssh import keeper

KEEPER = str(Path(keeper.__file__).absolute())
"""The keeper's script."""

SCRIPT_FLAGS = "-IS"
"""Options of Python for our scripts: nothing of the user's environment or site is loaded."""

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH of sshd and its keeper."""

FOR_PYTHON = b"LD_LIBRARY_PATH"
"""The one variable that Python itself may need to start: some are linked with a library that
nothing else names."""

STOP_S = keeper.GRACE_S + 2.0
"""Time for the keeper to end everything, in seconds, before it is killed."""

KILL_S = 2.0
"""Time for a killed keeper to be gone, in seconds."""

MAX_LINE = 4096
"""Bytes after which a line of sshd's log is taken as it is."""


def environment_for_python(snapshot: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the environment for one of our scripts: of the bridge's, what Python needs to start.

    >>> environment_for_python({b"LD_LIBRARY_PATH": b"/opt/lib", b"A": b"1"})["LD_LIBRARY_PATH"]
    '/opt/lib'
    """
    needed = {os.fsdecode(FOR_PYTHON): os.fsdecode(snapshot[FOR_PYTHON])} if (
        FOR_PYTHON in snapshot) else {}  # fmt: skip
    return {"PATH": PATH} | needed


class Kept(asyncio.SubprocessProtocol):
    """One keeper.

    Attributes:
        over: Set when it is over: the keeper has ended, and sshd with it. Logins may live on, and
            hold its log open, when the keeper was killed.
    """

    def __init__(self, on_line: Callable[[str], None], on_end: Callable[[], None]) -> None:
        """Wait to be connected; use `start`."""
        self.over = asyncio.Event()
        self._on_line, self._on_end = on_line, on_end
        self._rest = b""
        self._exited = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        on_line: Callable[[str], None],
        on_end: Callable[[], None],
        connection: tuple[int, ...] = (),
    ) -> "Kept":
        """Start a keeper.

        Args:
            argv: sshd by its absolute path, and its arguments.
            environment: The keeper's own environment.
            on_line: Gets each line of sshd's log.
            on_end: Called whenever sshd has ended.
            connection: Descriptors of both ends of the one connection that sshd is for, sshd's
                end first; empty to have one that listens, which `order` starts.

        Raises:
            SshdError: Python does not start.
        """
        ends = ",".join(map(str, connection)) or "-"
        words = [sys.executable, SCRIPT_FLAGS, KEEPER, ends, *argv]
        try:
            transport, kept = await asyncio.get_running_loop().subprocess_exec(
                lambda: cls(on_line, on_end),
                *words,
                env=dict(environment),
                cwd="/",
                pass_fds=connection,
                start_new_session=True,  # Ctrl-C at the bridge's terminal is not for it
            )
        except OSError as error:
            raise SshdError(f"{words[0]} could not be started: {error.strerror}.") from error
        kept._transport = transport
        return kept

    @property
    def pid(self) -> int:
        """The keeper's process id; 0 when it is not there."""
        if self._transport is None or self.over.is_set():
            return 0
        return self._transport.get_pid()

    def order(self) -> None:
        """Have an sshd started that listens."""
        if self._transport is not None and not self.over.is_set():
            cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0)).write(b"s")

    async def stop(self) -> None:
        """End sshd, its logins and the programs in them; safe at any time, and twice."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        cast(asyncio.WriteTransport, transport.get_pipe_transport(0)).close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._exited.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                transport.kill()
                async with asyncio.timeout(KILL_S):
                    await self._exited.wait()
        finally:
            transport.close()

    async def wait_over(self, within_s: float) -> None:
        """Wait until it is over and all of its log has been heard, or the time is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._exited.wait()
                await self.over.wait()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Take in what the keeper and sshd say."""
        if fd == 1:
            self._on_end()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._on_line(line.decode(errors="replace").rstrip("\r"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note the end of the keeper, which its output tells: logins do not hold that one open."""
        if fd == 2 and self._rest:
            self._on_line(self._rest.decode(errors="replace"))
            self._rest = b""
        if fd == 1:
            self.over.set()
            self._on_end()

    def process_exited(self) -> None:
        """Note that it is reaped."""
        self._exited.set()
