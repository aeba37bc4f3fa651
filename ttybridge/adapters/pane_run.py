"""Runs a text in the shell of the session's active pane, where everybody watches."""

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ttybridge.adapters.pane_shell import (
    Foreground,
    Pane,
    active_pane,
    edits_line,
    is_running,
    is_same,
    taken,
)
from ttybridge.adapters.rundir import write_private
from ttybridge.adapters.tmux_control import TmuxControl
from ttybridge.core import pane_run as core
from ttybridge.core.shell import is_safe_path
from ttybridge.errors import TerminalError, TtyBridgeError

log = logging.getLogger(__name__)

MAX_BYTES = 8 * 1024 * 1024
"""Most output of one run that is returned: a notebook that keeps more is slow to open."""

MAX_WAITING = 2 * 1024 * 1024
"""Most output that waits for who takes it. tmux would keep what we do not read, without bound."""

RETRY_S = 2.0
"""Time for a shell at its prompt to run the line, before the prompt is cleared with Ctrl-C."""

CLEARED_S = 0.3
"""Time for a shell that has just begun all the same to say so, in seconds."""

BEGIN_S = 10.0
"""Time for a shell to run the line, in seconds; it takes milliseconds."""

WATCH_S = 0.3
"""How often it is looked whether the shell is still the same, in seconds."""

LAST_OUTPUT_S = 0.5
"""Time for the last output of a shell that has ended to arrive, in seconds."""

_TAKEN = b"taken"


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run has ended."""

    status: int | None
    """Exit status of the text; None when nobody knows it."""
    message: str
    """A sentence that says why there is no status; empty otherwise."""
    left_out: int
    """Bytes of output that were left out."""


class PaneRuns:
    """Runs texts in the active pane of a session, one at a time."""

    def __init__(self, control: TmuxControl, folder: Path) -> None:
        """Remember where.

        Args:
            control: Runs tmux commands, on this machine: in a container, files of ours are not
                seen.
            folder: A private folder; each run has its files in a folder of its own in there.
        """
        self._control = control
        self._folder = folder
        self._is_running = False
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def run(self, text: str, *, max_bytes: int = MAX_BYTES) -> AsyncIterator["PaneRun"]:
        """Start a text as if it had been typed; on leaving before its end, Ctrl-C is typed once.

        What stands unfinished at the prompt is removed, a pane in copy mode leaves it.

        Args:
            text: What the shell runs.
            max_bytes: Most output that is returned; the rest is shown in the pane only.

        Raises:
            TerminalError: The pane takes no line now, or another run is under way.
        """
        data = _checked(text, self._folder)
        if self._is_running:
            raise TerminalError(
                "Another cell runs in the pane.", hint="Wait for its end, or interrupt it."
            )
        async with self._turn_of_one():
            run = PaneRun(self._control, self._folder, core.Limits(max_bytes, MAX_WAITING))
            try:
                await run.start(data)
                yield run
            finally:
                self._is_running = False
                closing = asyncio.create_task(run.close())
                try:
                    await asyncio.shield(closing)
                except asyncio.CancelledError:
                    await closing  # whoever comes next waits for it
                    raise

    @contextlib.asynccontextmanager
    async def _turn_of_one(self) -> AsyncIterator[None]:
        """Wait until the run before has tidied up."""
        self._is_running = True
        try:
            await self._turn.acquire()
        except asyncio.CancelledError:
            self._is_running = False
            raise
        try:
            yield
        finally:
            self._turn.release()


class PaneRun:
    """One run: iterating over it gives the output as it comes, until its end.

    Attributes:
        end: How it has ended; None until then.
    """

    def __init__(self, control: TmuxControl, folder: Path, limits: core.Limits) -> None:
        """Remember where; use `PaneRuns.run`."""
        self.end: RunEnd | None = None
        self._control = control
        self._nonce = secrets.token_hex(8)
        self._folder = folder / f"run-{secrets.token_hex(3)}"
        self._marked = core.Marked(self._nonce)
        self._output = core.Output(limits)
        self._changed = asyncio.Event()
        self._pane: Pane | None = None
        self._pipe: asyncio.ReadTransport | None = None
        self._has_pipe = False
        self._cut = asyncio.Event()
        self._is_typed = False
        self._watching: asyncio.Task[None] | None = None

    def __aiter__(self) -> AsyncIterator[str]:
        """Return itself."""
        return self

    async def __anext__(self) -> str:
        """Wait for more output; ends when the run has ended and all of it was taken."""
        while True:
            piece = self._output.take()
            if piece:
                return piece
            if self.end is not None:
                raise StopAsyncIteration
            await self._change()

    async def interrupt(self) -> None:
        """Type Ctrl-C; what runs may go on in spite of it.

        Raises:
            TerminalError: tmux failed.
        """
        if self._pane is not None and self.end is None:
            await self._keys("C-c")

    async def start(self, data: bytes) -> None:
        """Type the line, and wait until the shell runs it.

        Raises:
            TerminalError: The pane takes no line now.
        """
        self._pane = pane = await active_pane(self._control)
        self._write_files(pane.shell.shell, data)
        await self._open_pipe(pane)
        line = core.typed_line(pane.shell.shell, str(self._folder / "run"))
        await self._type(line)
        async with self._deadline(pane):
            if not await self._begins_within(RETRY_S) and edits_line(pane.tty):
                # An unfinished quote, or a line editor that takes keys for commands.
                await self._keys("C-c")
                if not await self._begins_within(CLEARED_S):  # never twice
                    await self._type(line)
            while not self._marked.has_begun and not self._cut.is_set():
                await self._change()
        if not self._marked.has_begun:
            raise TerminalError("The pane was closed.", hint="Run the cell again.")
        self._watching = asyncio.create_task(self._watch(pane.shell))

    async def close(self) -> None:
        """Leave nothing behind; what still runs is interrupted once."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._pane is None:
            return
        try:
            if self._is_typed and self.end is None and is_running(self._pane.shell):
                await self._keys("C-c")
            if self._has_pipe:
                await self._tmux("pipe-pane", "-t", self._pane.id)
        except TtyBridgeError as error:
            log.debug("a pane is left as it is: %s", error)
        finally:
            if self._pipe is not None:
                self._pipe.close()

    def take(self, data: bytes) -> None:
        """Take in what the pane prints."""
        if self.end is None:
            self._output.put(self._marked.feed(data))
            if self._marked.status is not None:
                self._finish(self._marked.status, "")
        self._changed.set()

    def cut(self) -> None:
        """Take in that tmux says no more of the pane."""
        self._has_pipe = False  # one that is there now is somebody else's
        self._cut.set()
        self._changed.set()

    def _finish(self, status: int | None, message: str) -> None:
        if self.end is None:
            self._output.put(self._marked.finish())
            self.end = RunEnd(status, message, self._output.left_out)
            self._changed.set()

    async def _change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _write_files(self, shell: core.Shell, data: bytes) -> None:
        try:
            self._folder.mkdir(mode=0o700)
            text = core.sourced(shell, self._nonce, str(self._folder))
            write_private(self._folder / "run", text.encode())
            write_private(self._folder / "cell", data)
            os.mkfifo(self._folder / "output", 0o600)
        except OSError as error:
            raise TerminalError(
                f"The private folder {self._folder.parent} cannot be written to: {error.strerror}.",
                hint="Make room there. If it has been removed, start the bridge again.",
            ) from error

    async def _open_pipe(self, pane: Pane) -> None:
        """Have tmux pass on what the pane prints, where nobody else has it do that."""
        fifo = self._folder / "output"
        # Non-blocking: this does not wait for the other end, and its absence is no end of file.
        file = os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", 0)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: _Pipe(self.take, self.cut), file)
        self._pipe = transport
        self._has_pipe = True
        answer = await self._tmux(
            *("if-shell", "-F", "-t", pane.id, "#{pane_pipe}"),
            f"display-message -p {_TAKEN.decode()}",
            f"pipe-pane -O -t {pane.id} 'exec cat >{fifo}'",
        )
        if answer.strip() == _TAKEN:
            self._has_pipe = False
            raise taken()

    async def _type(self, line: str) -> None:
        self._is_typed = True
        await self._keys("C-u", line=line)

    async def _keys(self, key: str, *, line: str = "") -> None:
        """Type a key, and after it a line; in copy mode, they would be commands."""
        pane = cast(Pane, self._pane).id
        words = ["copy-mode", "-q", "-t", pane, ";", "send-keys", "-t", pane, key]
        if line:
            words += [";", "send-keys", "-t", pane, "-l", line, ";", "send-keys", "-t", pane, "C-m"]
        await self._tmux(*words)

    async def _begins_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._marked.has_begun and not self._cut.is_set():
                    await self._change()
                return True
        return False

    @contextlib.asynccontextmanager
    async def _deadline(self, pane: Pane) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(BEGIN_S):
                yield
        except TimeoutError as error:
            raise TerminalError(
                f"The shell of the active pane did not run what was typed within {BEGIN_S:.0f} s.",
                hint="Look at the pane: it may wait for the rest of a line.",
            ) from error

    async def _watch(self, shell: Foreground) -> None:
        """End the run when no end mark can come any more."""
        while is_same(shell) and not self._cut.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await self._cut.wait()
        await asyncio.sleep(LAST_OUTPUT_S)
        if not is_running(shell):
            self._finish(None, "The shell ended.")
        elif not is_same(shell):
            self._finish(None, "The shell was replaced by another program (exec), which runs on.")
        else:
            self._finish(None, "tmux passes the pane's output on to somebody else now.")

    async def _tmux(self, *words: str) -> bytes:
        """Run a tmux command; return what it prints.

        Raises:
            TerminalError: It failed.
        """
        result = await self._control.run([*self._control.target.base, *words])
        if result.status != 0:
            said = result.errors.decode(errors="replace").strip() or f"status {result.status}"
            raise TerminalError(f"tmux refused to run a cell in the active pane: {said}")
        return result.output


class _Pipe(asyncio.Protocol):
    """Passes on what comes out of the pipe."""

    def __init__(self, take: Callable[[bytes], None], cut: Callable[[], None]) -> None:
        self._take, self._cut = take, cut

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def eof_received(self) -> None:
        self._cut()


def _checked(text: str, folder: Path) -> bytes:
    """Return the bytes of a text that a shell can run.

    Raises:
        TerminalError: It cannot be run, or the folder's path would need quotes.
    """
    if "\0" in text:
        raise TerminalError("The cell has a NUL character, which no shell takes.")
    if not is_safe_path(str(folder)):
        raise TerminalError(
            f"The private folder {str(folder)!r} has a path that needs quotes.",
            hint="Set TMPDIR to one with letters, digits and slashes.",
        )
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise TerminalError("The cell has half a character (a lone surrogate).") from error
