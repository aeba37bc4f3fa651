"""Records what the session shows: turns a terminal's stream into lines of asciicast."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ttybridge.core.asciicast import Header, Writer
from ttybridge.core.cursor import Chunk, Cursor, Finished, Policy, Reset, Resized
from ttybridge.core.output_log import BLOCK_BYTES
from ttybridge.errors import TtyBridgeError
from ttybridge.model import EndReason, WindowSize
from ttybridge.sessions.terminal import Terminal

MAX_PENDING_BYTES = 1 << 20
"""What may wait for the disk, in bytes, before the recording leaves out output, and then goes on
with a whole screen: half a second of a disk that takes 2 MB/s."""

MAX_TYPED_BYTES = 64 * 1024
"""Most bytes of one paste that are recorded; the rest of it is left out."""

REOPEN_S = 0.5
"""Time before the session is looked at again when somebody detached the recorder, in seconds."""

MAX_REOPENED = 5
"""How often that is tried without any output in between."""

LEFT_ITEMS = 8
"""Pieces of output that are still taken when the recording is stopped in a flood."""


class Sink(Protocol):
    """Where the lines go; `adapters.recording_file.RecordingFile` is the real one."""

    pending_bytes: int
    error: OSError | None

    def write(self, data: bytes) -> None:
        """Write whole lines, soon; never waits."""


class Why(Enum):
    """Why a recording has ended."""

    STOPPED = "stopped"
    ENDED = "the session ended"
    LIMIT = "limit"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finish:
    """How a recording has ended."""

    why: Why
    """Why."""
    message: str = ""
    """In words, where there is more to say."""


class Recorder:
    """Records one terminal.

    It never holds anybody up. When the disk is slow, it loses its place in the stream as a viewer
    on a slow line does, and goes on with the screen of that moment.

    Attributes:
        limit_bytes: Size at which the recording ends.
        size_bytes: Bytes of all lines so far.
        seconds: Time of the last event, since the beginning.
    """

    def __init__(
        self,
        open_terminal: Callable[[], Awaitable[Terminal]],
        *,
        limit_bytes: int,
        with_input: bool,
        clock: Callable[[], float],
    ) -> None:
        """Remember what to record.

        Args:
            open_terminal: Returns the terminal; asked again when somebody detached it.
            limit_bytes: Size at which the recording ends.
            with_input: Whether what is typed is recorded, too.
            clock: A monotonic time in seconds.
        """
        self.with_input = with_input
        self.size_bytes = 0
        self.seconds = 0.0
        self._open_terminal = open_terminal
        self.limit_bytes = limit_bytes
        self._clock = clock
        self._began = 0.0
        self._ready = asyncio.Event()
        self._is_stopping = False
        self._left = LEFT_ITEMS
        self._finish: Finish | None = None
        self._terminal: Terminal | None = None
        self._cursor: Cursor | None = None
        self._has_output = False
        self._size: WindowSize | None = None
        self._are_sizes_told = False  # a shared command's stream has no sizes in it
        self._writer: Writer | None = None
        self._sink: Sink | None = None
        self._reopened = 0

    def wake(self) -> None:
        """Look for what there is to do; called when the sink has got on."""
        self._ready.set()

    async def open(self) -> WindowSize:
        """Turn to the terminal, and return its size.

        Raises:
            TtyBridgeError: There is none.
        """
        self._terminal = terminal = await self._open_terminal()
        self._cursor = terminal.stream.subscribe(Policy.SKIP, BLOCK_BYTES, self.wake, acks=False)
        # Counts as nobody: a slow client that is alone is waited for as if nothing was recorded.
        self._cursor.parked = True
        return terminal.size

    def begin(self, sink: Sink, header: Header) -> None:
        """Write the header; what is shown counts from now on."""
        self._sink, self._writer, self._size = sink, Writer(header), header.size
        self._began = self._clock()
        self._put(self._writer.first_line())

    def drop(self) -> None:
        """Turn away from the terminal; twice is fine."""
        if self._terminal is not None and self._cursor is not None:
            self._terminal.drop(self._cursor)
        self._terminal = self._cursor = None

    async def run(self) -> Finish:
        """Record until something ends that, and return what."""
        try:
            while self._finish is None:
                if self._sink is not None and self._sink.error is not None:
                    error = self._sink.error
                    return Finish(Why.ERROR, error.strerror or str(error))
                await self._step()
            return self._finish
        finally:
            self.drop()

    def stop(self) -> None:
        """End the recording with what has come until now."""
        self._is_stopping = True
        self._ready.set()

    def typed(self, data: bytes) -> None:
        """Record what somebody types, if that is wanted; more than the disk takes is left out."""
        if self.with_input and self._writer is not None and self._has_room():
            for at in range(0, min(len(data), MAX_TYPED_BYTES), 4096):
                piece = data[at : min(at + 4096, MAX_TYPED_BYTES)]
                self._put(self._writer.input(self._now(), piece))

    def marker(self, label: str) -> None:
        """Set a marker."""
        if self._writer is not None:
            self._put(self._writer.marker(self._now(), label))

    async def _step(self) -> None:
        """Take one item, or wait for one."""
        terminal, cursor = self._terminal, self._cursor
        if terminal is None or cursor is None or self._writer is None:
            self._finish = Finish(Why.STOPPED)
            return
        self._left -= self._is_stopping
        if cursor.lost == "lost":
            cursor.lost = "behind"  # what came long before the present is in the recording
        may_take = self._has_room() and self._left > 0
        item = terminal.stream.take(cursor, BLOCK_BYTES) if may_take else None
        if item is None:
            if self._is_stopping:
                self._end(self._writer, Finish(Why.STOPPED), None)
                return
            self._ready.clear()
            await self._ready.wait()
            return
        terminal.update_flow()
        self._take(self._writer, terminal, item)
        if isinstance(item, Finished):
            await self._after(self._writer, item)
        # The pty is read, and clients are served, between two pieces of a flood.
        await asyncio.sleep(0)

    def _take(
        self, writer: Writer, terminal: Terminal, item: Chunk | Reset | Resized | Finished
    ) -> None:
        now = self._now()
        match item:
            case Chunk():
                if not self._are_sizes_told:
                    self._resize(writer, terminal.size)
                self._has_output = True
                self._reopened = 0
                self._put(writer.output(now, item.data))
            case Reset():
                if self._has_output:
                    self._put(writer.reset(now))
                terminal.repaint()
            case Resized():
                self._are_sizes_told = True
                self._resize(writer, item.size)
            case Finished():
                pass

    async def _after(self, writer: Writer, item: Finished) -> None:
        """End, or turn to the session again when it goes on and only the recorder was detached."""
        end = item.end
        is_detached = end.reason in (EndReason.DETACHED, EndReason.TAKEN_OVER)
        if is_detached and not self._is_stopping and self._reopened < MAX_REOPENED:
            self._reopened += 1
            self.drop()
            await asyncio.sleep(REOPEN_S)
            try:
                size = await self.open()
            except TtyBridgeError:
                pass
            else:
                self._put(writer.reset(self._now()))
                self._has_output = False
                self._resize(writer, size)
                self._ready.set()
                return
        status = end.status.shell_code if end.reason is EndReason.EXITED else None
        self._end(writer, Finish(Why.ENDED, end.message), status)

    def _resize(self, writer: Writer, size: WindowSize) -> None:
        if size != self._size:
            self._size = size
            self._put(writer.resize(self._now(), size))

    def _end(self, writer: Writer, finish: Finish, status: int | None) -> None:
        self._put(writer.end(self._now(), status))
        self._finish = self._finish or finish

    def _put(self, text: str) -> None:
        if self._sink is None or self._finish is not None or not text:
            return
        data = text.encode()
        if self.size_bytes + len(data) > self.limit_bytes:
            self._finish = Finish(Why.LIMIT)
            self._ready.set()
            return
        self.size_bytes += len(data)
        self._sink.write(data)

    def _has_room(self) -> bool:
        return self._sink is not None and self._sink.pending_bytes < MAX_PENDING_BYTES

    def _now(self) -> float:
        self.seconds = self._clock() - self._began
        return self.seconds
