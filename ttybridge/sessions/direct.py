"""One command on one pty, shared by everybody who joins."""

import asyncio
import signal
from collections.abc import Mapping, Sequence

from ttybridge.model import (
    DEFAULT_SIZE,
    ClientId,
    End,
    EndReason,
    ExitStatus,
    Mode,
    WindowSize,
)
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.place import Place
from ttybridge.sessions.pty import Launch, SpawnPty
from ttybridge.sessions.terminal import Terminal


class DirectTerminal:
    """Runs a command instead of tmux.

    The window is as large as the smallest of the clients that may type and show a window of their
    own size, so that they see all of it; while there are none, it stays as it is.

    Attributes:
        terminal: The command's terminal; None until it has been started.
        ended: Done when the command has ended.
    """

    mode = Mode.DIRECT
    can_follow = True

    def __init__(
        self,
        spawn: SpawnPty,
        argv: Sequence[str],
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        log_bytes: int,
        waits: bool,
    ) -> None:
        """Remember the command.

        Args:
            spawn: Starts a program on a pty.
            argv: The command.
            environment: Its environment.
            cwd: Its working directory.
            log_bytes: Most bytes of output kept for late joiners.
            waits: Whether it starts only when the first client joins.
        """
        self.session = argv[0]
        self.terminal: Terminal | None = None
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._spawn = spawn
        self._launch = Launch(argv, environment, cwd)
        self._log_bytes = log_bytes
        self._waits = waits

    async def start(self) -> tuple[str, ...]:
        """Start the command, unless it waits for the first client.

        Raises:
            MissingProgramError: There is no such program.
            TerminalError: It cannot be started.
        """
        if self._waits:
            return ("The command starts when the first client joins.",)
        self._start(DEFAULT_SIZE)
        return ()

    async def open(self, client_id: ClientId, place: Place) -> Terminal:
        """Return the command's terminal, starting it for the first client if it waits."""
        return self.terminal or self._start(place.size)

    async def release(self, client_id: ClientId, terminal: Terminal) -> None:
        """Do nothing: the command goes on without its clients."""

    async def recorded(self) -> Terminal:
        """Return the command's terminal, starting the command if it waits."""
        return self.terminal or self._start(DEFAULT_SIZE)

    def fit(self, attachments: list[Attachment]) -> None:
        """Make the window as large as the smallest client that sizes it, and tell everybody.

        Of those that may type, the first one's terminal answers the command's questions.
        """
        if self.terminal is None:
            return
        typing = [a for a in attachments if a.may_type]
        for attachment in typing:
            attachment.answers = attachment is typing[0]
        sizes = [a.size for a in attachments if a.sizes]
        if sizes:
            self.terminal.resize(
                WindowSize(cols=min(s.cols for s in sizes), rows=min(s.rows for s in sizes))
            )
        for attachment in attachments:
            attachment.tell_size(self.terminal.size)

    async def close(self) -> None:
        """End the command: SIGHUP, and SIGKILL if it does not listen."""
        if self.terminal is not None:
            await self.terminal.close()

    def _start(self, size: WindowSize) -> Terminal:
        self.terminal = Terminal(
            self._spawn,
            self._launch,
            size,
            log_bytes=self._log_bytes,
            shared=True,
            describe_end=self._describe_end,
        )
        self.terminal.ended.add_done_callback(lambda ended: self.ended.set_result(ended.result()))
        return self.terminal

    def _describe_end(self, status: ExitStatus, _tail: bytes) -> End:
        name = self._launch.argv[0]
        if status.signal:
            word = signal.strsignal(status.signal) or "unknown"
            message = f"{name} was ended by signal {status.signal} ({word})."
            return End(status, EndReason.KILLED, message, restart=False)
        message = f"{name} ended with status {status.code}."
        return End(status, EndReason.EXITED, message, restart=False)
