"""One pty with its stream: coalesces output, pauses and resumes the pty, tells the end."""

import asyncio
import signal
from collections.abc import Callable, Collection
from typing import Protocol

from ttybridge.core.cursor import Chunk, Cursor, Finished, Policy, Reset, Resized
from ttybridge.core.pace import TYPING_SLACK_S, WATCHING_SLACK_S
from ttybridge.core.stream import PATIENCE_S, Stream
from ttybridge.model import End, EndReason, ExitStatus, Role, WindowSize
from ttybridge.sessions.pty import Launch, SpawnPty

FLUSH_BYTES = 64 * 1024
"""Output that is passed on without waiting for more, in bytes: one chunk for the clients."""

FLUSH_S = 0.001
"""Least time between two small flushes, in seconds. tmux writes some 200 bytes at a time; joining
what comes within a millisecond makes 10 times fewer messages of a flood. The first output after a
quiet moment never waits."""

ECHO_S, ECHO_CLIENTS = 0.02, 8
"""How long after input nothing is joined, in seconds, so that an echo in the middle of a flood does
not wait for more; and for how many clients: to more of them, each message costs too much."""

FLUSH_SHARE, FLUSH_MOST_S = 0.1, 0.05
"""Share of the time that small flushes to more than those may take, and most time between two of
them, in seconds. One of 50 KB to 200 viewers took 4.7 ms here (py-spy, 20 in a second); what
follows the first one of a flood waits for the next: three frames of a browser."""

SMOOTHING = 0.2
"""Weight of the last flush in the time that one takes."""

REST_S = 0.05
"""How long the pty of a tmux client is left unread while its line takes no more, in seconds: half
of the pause in which tmux looks again whether its client is late (`TTY_BLOCK_INTERVAL`, 3.3a)."""

LATE_AFTER_S = 0.005
"""How long output has to wait for a client until its line counts as full, in seconds. The first
window is small, and grows as fast as the line answers."""

ANSWER_S = 0.015
"""How long after input a tmux client repaints that tmux takes for late, in seconds. By itself tmux
shows it a screen every 100 ms, so the prompt after Ctrl-C would come after 50 ms on average; a
program has answered long before."""

LATE_FOR_S, SCREEN_BYTES = 0.3, 1024
"""tmux takes a client for late that was left unread, until output stops: until no screen has come
for so long, in seconds, where a screen is at least so many bytes at once."""

NUDGE_S = 0.05
"""How long the window stays one row smaller when a program is made to repaint, in seconds."""

TAIL_BYTES = 512
"""Bytes kept of the last output, in which tmux says why it ended."""


class Output(Protocol):
    """A terminal's output and who reads it: `core.stream.Stream` or `core.broadcast.Broadcast`."""

    ended: End | None
    room: int
    """Bytes that may be read of the pty at once so that it can be paused in time."""

    @property
    def block_room(self) -> int:
        """Bytes that make one chunk for who reads the log."""

    @property
    def end(self) -> int:
        """Offset of the next byte."""

    @property
    def cursors(self) -> Collection[Cursor]:
        """Everybody who reads it."""

    def append(self, data: bytes) -> None:
        """Take in output."""

    def finish(self, end: End) -> None:
        """Note that nothing more will come."""

    def subscribe(
        self, policy: Policy, window: int, wake: Callable[[], None], *, acks: bool = True
    ) -> Cursor:
        """Add a client."""

    def unsubscribe(self, cursor: Cursor) -> None:
        """Remove a client."""

    def ack(self, cursor: Cursor, offset: int) -> None:
        """Note what a client has taken in."""

    def resume(self, cursor: Cursor, offset: int, *, reset: bool = False) -> None:
        """Set a parked client where it stopped."""

    def take(self, cursor: Cursor, limit: int) -> Chunk | Reset | Resized | Finished | None:
        """Return what to send to a client next; None when it has to wait."""

    @property
    def is_late(self) -> bool:
        """Whether somebody waits for output that the line does not take yet."""

    def is_awaited(self, end: int) -> bool:
        """Tell whether somebody waits for output before an offset."""

    def should_pause(self, now: float) -> bool:
        """Tell whether the pty is not to be read now."""


class Terminal:
    """A pty and the stream of its output.

    Attributes:
        stream: The output; clients subscribe to it.
        size: The window size of the pty.
        ended: Done when the child has ended and all its output is in the stream.
        has_drawn: Whether the output has had an escape sequence: a program that fails before
            it draws prints plain text.
        used_at: When it was last written to or resized, in seconds of the event loop.
        accepted_bytes: Count of all input bytes given to the pty.
        written_bytes: Count of those that it has taken.
        written_listeners: Called with the count of all input bytes that the pty has taken.
    """

    def __init__(
        self,
        spawn: SpawnPty,
        launch: Launch,
        size: WindowSize,
        *,
        log_bytes: int,
        shared: bool,
        describe_end: Callable[[ExitStatus, bytes], End],
        repaint: Callable[[], None] | None = None,
        stream: Output | None = None,
    ) -> None:
        """Start the program.

        Args:
            spawn: Starts it.
            launch: The program.
            size: The first window size.
            log_bytes: Most bytes of output to keep.
            shared: Whether all clients share this pty: nothing is lost (the pty is paused for a
                slow client), and late joiners get the log. Otherwise it is a tmux client's pty,
                which is always read.
            describe_end: Makes the end from the status and the last bytes of output.
            repaint: Makes the program draw its screen again, where a signal to the child does not
                reach it.
            stream: Takes the output; None for a `Stream`.

        Raises:
            MissingProgramError: There is no such program.
            TerminalError: It cannot be started.
        """
        self._loop = asyncio.get_running_loop()
        own = Stream(log_bytes=log_bytes, replays=shared, now=self._loop.time)
        self.stream: Output = stream or own
        self.size = size
        self.ended: asyncio.Future[End] = self._loop.create_future()
        self.written_listeners: set[Callable[[int], None]] = set()
        self._shared = shared
        self._describe_end = describe_end
        self._repaint = repaint
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._flushed_at = 0.0
        self._flush_takes_s = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flow_timer: asyncio.TimerHandle | None = None
        self._late_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None
        self._late_at = float("-inf")
        self._is_flushing = False
        """Whether output is on its way to the clients; the flow is looked at when it is."""
        self._tail = b""
        self.has_drawn = False
        self.used_at = self._loop.time()
        self.accepted_bytes = 0
        self.written_bytes = 0
        self._pty = spawn(
            launch.argv,
            environment=launch.environment,
            cwd=launch.cwd,
            size=size,
            on_output=self._on_output,
            on_written=self._on_written,
            on_end=self._on_end,
        )
        if shared:
            self._pty.between_reads = own.use_moment

    @property
    def policy(self) -> Policy:
        """What happens to a client of this terminal that falls behind."""
        return Policy.PAUSE if self._shared else Policy.SKIP

    def policy_for(self, role: Role) -> Policy:
        """Return what happens to a client that falls behind.

        Whoever only watches holds nobody up.
        """
        return Policy.SKIP if role is Role.VIEWER else self.policy

    def assign(self, cursor: Cursor, role: Role) -> None:
        """Give a client what goes with its role: who only watches acknowledges less often."""
        cursor.policy = self.policy_for(role)
        if cursor.pace is not None:
            watches = role is Role.VIEWER
            cursor.pace.slack_s = WATCHING_SLACK_S if watches else TYPING_SLACK_S

    @property
    def pending_bytes(self) -> int:
        """Input that the pty has not taken yet."""
        return self._pty.pending_bytes

    @property
    def tail(self) -> bytes:
        """The last output, at most `TAIL_BYTES`."""
        return self._tail

    def write(self, data: bytes) -> None:
        """Give input to the child."""
        self.used_at = self._loop.time()
        self.accepted_bytes += len(data)
        self._pty.write(data)
        if self._answer_timer is None and self.used_at - self._late_at < LATE_FOR_S:
            self._answer_timer = self._loop.call_later(ANSWER_S, self._show_answer)

    def resize(self, size: WindowSize) -> None:
        """Set the window size."""
        if size != self.size:
            self.size, self.used_at = size, self._loop.time()
            self._pty.resize(size)

    def repaint(self) -> None:
        """Make the program draw its whole screen again.

        tmux does so on SIGWINCH, and restates every mode and colour (`tty_resize` calls
        `tty_invalidate`, tmux 3.3a), which `refresh-client` does not. Other programs look
        whether the size has changed, so for a moment it does.
        """
        if self._repaint is not None:
            self._repaint()
            return
        if not self._shared:
            self._pty.signal(signal.SIGWINCH)
            return
        smaller = WindowSize.clamped(cols=self.size.cols, rows=self.size.rows - 1)
        self._pty.resize(smaller)
        self._loop.call_later(NUDGE_S, lambda: self._pty.resize(self.size))

    def update_flow(self) -> None:
        """Pause or resume the pty; called after anything that changes who has read what."""
        if not self._shared or self._is_flushing or self.ended.done():
            return
        if self._flow_timer is not None:
            self._flow_timer.cancel()
            self._flow_timer = None
        if self.stream.should_pause(self._loop.time()):
            self._pty.pause()
            self._flow_timer = self._loop.call_later(PATIENCE_S, self.update_flow)
        else:
            self._pty.read_bytes = min(self.stream.room, self.stream.block_room)
            self._pty.unpause()

    def moved(self, cursor: Cursor) -> None:
        """Update the flow after a client has got more, or has taken it in.

        Of who holds nobody up, that matters to a paused pty alone; and there may be hundreds.
        """
        if cursor.policy is Policy.PAUSE or self._flow_timer is not None:
            self.update_flow()

    def drop(self, cursor: Cursor) -> None:
        """Take a client off the stream."""
        self.stream.unsubscribe(cursor)
        self.update_flow()

    async def close(self) -> None:
        """End the child and reap it; twice is fine."""
        await self._pty.close()
        timers = self._flush_timer, self._flow_timer, self._late_timer, self._answer_timer
        for timer in timers:
            if timer is not None:
                timer.cancel()
        if not self.ended.done():
            self._flush()
            self._finish(
                End(ExitStatus(), EndReason.CLOSING, "The terminal was closed.", restart=False)
            )

    def _on_output(self, data: bytes) -> None:
        if self._part_bytes + len(data) > FLUSH_BYTES:
            self._flush()
        self._parts.append(data)
        self._part_bytes += len(data)
        now = self._loop.time()
        wait = self._flushed_at + self._flush_s(now) - now
        if wait <= 0 or self._part_bytes >= self._flush_bytes():
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(wait, self._flush)

    def _flush_bytes(self) -> int:
        """Return the output that waits for no more; a crowd gets it as it is, not from the log."""
        room = min(FLUSH_BYTES, self.stream.room)
        return room if self._is_crowd else min(room, self.stream.block_room)

    @property
    def _is_crowd(self) -> bool:
        return len(self.stream.cursors) > ECHO_CLIENTS

    def _flush_s(self, now: float) -> float:
        """Return the least time between two small flushes, in seconds."""
        if self._is_crowd:
            return max(FLUSH_S, min(FLUSH_MOST_S, self._flush_takes_s / FLUSH_SHARE))
        return 0.0 if now - self.used_at < ECHO_S else FLUSH_S

    def _translate(self, data: bytes) -> bytes:
        """Return what goes into the stream for some output; empty when more must come first."""
        return data

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._parts:
            return
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._part_bytes = [], 0
        self._flushed_at = self._loop.time()
        if len(data) >= SCREEN_BYTES and self._flushed_at - self._late_at < LATE_FOR_S:
            self._late_at = self._flushed_at
        data = self._translate(data)
        self.has_drawn = self.has_drawn or b"\x1b" in data
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        self._is_flushing = True
        self.stream.append(data)
        self._is_flushing = False
        took_s = self._loop.time() - self._flushed_at
        self._flush_takes_s += SMOOTHING * (took_s - self._flush_takes_s)
        self.update_flow()
        if not self._shared and self._late_timer is None and self.stream.is_late:
            self._late_timer = self._loop.call_later(
                LATE_AFTER_S, self._rest_if_late, self.stream.end
            )

    def _rest_if_late(self, end: int) -> None:
        """Leave the pty unread where what waited a moment ago, up to an offset, still does."""
        self._late_timer = None
        if self.stream.is_awaited(end):
            self._late_at = self._loop.time()
            self._rest(REST_S)

    def _show_answer(self) -> None:
        """Have what has come of the last input shown now."""
        self._answer_timer, self._late_at = None, float("-inf")
        if not self.ended.done():
            self._pty.unpause()
            self.repaint()

    def _rest(self, seconds: float) -> None:
        """Leave the pty unread for a moment: tmux leaves frames out then, on purpose.

        A moment, because tmux looks whether a client is late only when it can write to it, and
        its server grows until then.
        """
        if not self.ended.done():
            self._pty.pause()
            self._loop.call_later(seconds, self._pty.unpause)

    def _on_written(self, total: int) -> None:
        self.written_bytes = total
        for listener in tuple(self.written_listeners):
            listener(total)

    def _on_end(self, status: ExitStatus) -> None:
        self._flush()
        self._finish(self._describe_end(status, self._tail))

    def _finish(self, end: End) -> None:
        self.ended.set_result(end)
        self.stream.finish(end)
