"""Follows the size of a tmux session's window: a client in control mode is told of changes.

Such a client has no terminal and no size, so it has no say in the window's (tmux 3.3a,
`ignore_client_size`). It costs a process of 4 MB, and nothing while nothing changes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ttybridge.adapters.parent_death import killed_with_parent
from ttybridge.core.tmux import ASK, ATTACHED, WATCH, parse_watched
from ttybridge.model import WindowSize

log = logging.getLogger(__name__)

RESTART_S, RESTART_MAX_S = 0.1, 5.0
"""First and longest pause before a client that has ended is started again, in seconds."""

MAX_LINE_BYTES = 1024 * 1024
"""Longest line that is waited for; a layout of 100 panes has 3 KB."""


class TmuxWatch:
    """Keeps a client in control mode running until it is closed."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        on_size: Callable[[WindowSize], None],
    ) -> None:
        """Start it, in the background.

        Args:
            argv: `core.tmux.Target.watch`, perhaps in a container.
            environment: Its environment.
            cwd: Its working directory.
            on_size: Called with the size whenever it may have changed.
        """
        self._argv, self._environment, self._cwd = argv, environment, cwd
        self._on_size = on_size
        self._client: _Client | None = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    def say(self, command: bytes) -> bool:
        """Give tmux a command without waiting for its answer; tell whether it could be given."""
        client = self._client
        return client is not None and client.has_told and client.say(command + b"\n")

    async def close(self) -> None:
        """End the client; twice is fine."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        pause_s = RESTART_S
        while True:
            with contextlib.suppress(OSError):
                if await self._watch():
                    pause_s = RESTART_S
            log.debug("the watch of the tmux window has ended and starts again")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_MAX_S)

    async def _watch(self) -> bool:
        """Run one client to its end; tell whether it has told a size."""
        transport, client = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Client(self._on_size),
            *self._argv,
            env=dict(self._environment),
            cwd=self._cwd,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the bridge's terminal is not for it
            # Its pipes' end is not enough: when tmux 3.3a has something to tell then, the client
            # waits for ever until that is taken.
            preexec_fn=killed_with_parent(),
        )
        try:
            client.begin(cast(asyncio.WriteTransport, transport.get_pipe_transport(0)))
            self._client = client
            await client.exited.wait()
        finally:
            self._client = None
            transport.close()  # kills it, and closes its pipes, which a hung server keeps open
            await asyncio.shield(client.closed.wait())
        return client.has_told


class _Client(asyncio.SubprocessProtocol):
    """Reads what a client in control mode prints.

    Attributes:
        has_told: Whether it has told a size.
        exited: Set when it has ended or closed its output.
        closed: Set when it is reaped and its pipes are closed.
    """

    def __init__(self, on_size: Callable[[WindowSize], None]) -> None:
        """Have read nothing yet."""
        self.has_told = False
        self.exited, self.closed = asyncio.Event(), asyncio.Event()
        self._on_size = on_size
        self._rest = b""
        self._input: asyncio.WriteTransport | None = None

    def begin(self, stdin: asyncio.WriteTransport) -> None:
        """Ask to be told."""
        self._input = stdin
        self.say(ASK)

    def say(self, commands: bytes) -> bool:
        """Write commands; tell whether that was possible."""
        if self._input is None or self.exited.is_set() or self._input.is_closing():
            return False
        self._input.write(commands)
        return True

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Read lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self.exited.set()
        asks = False
        for line in lines:
            size, changed = parse_watched(line)
            asks = asks or changed
            if size is not None:
                self.has_told = True
                self._on_size(size)
            if line.startswith(ATTACHED):  # what is asked for before is refused now and then
                self.say(WATCH)
        if asks:
            self.say(ASK)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note that it says nothing more."""
        if fd == 1:
            self.exited.set()

    def process_exited(self) -> None:
        """Note that it has ended."""
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing of it is left."""
        self.exited.set()
        self.closed.set()
