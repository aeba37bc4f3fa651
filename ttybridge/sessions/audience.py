"""The terminal that everybody who watches shares, and the size of the window that it shows."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ttybridge.core.broadcast import Broadcast
from ttybridge.core.cursor import Policy
from ttybridge.core.tmux import Synchronized, parse_size, suspend
from ttybridge.errors import TtyBridgeError
from ttybridge.model import DEFAULT_SIZE, End, ExitStatus, Role, WindowSize
from ttybridge.sessions.control import Control, Watch
from ttybridge.sessions.pty import Launch, SpawnPty
from ttybridge.sessions.terminal import Terminal

log = logging.getLogger(__name__)

KEY_EVERY_S = 0.1
"""Least time between two key frames, in seconds, and how long the repaint is waited for: tmux takes
some milliseconds."""

RENEW_S = 0.3
"""Longest time for a client to begin its terminal anew, in seconds; 20 ms usually."""
WAKE_EVERY_S = 0.005
"""Pause between the signals that wake it: it ignores those that come before it sleeps."""

WAKE_LATER = 100
"""How often a client that was asked to sleep, and has not, is woken later: for 10 s, in which tmux
has done what it is told, or is hung."""

CROWD_BYTES_S, REST_MOST_S = 400e6, 0.05
"""Output to all viewers together, in bytes a second, above which the client is left unread for a
moment, and the longest such moment in seconds. tmux leaves frames out then, on purpose: 200 people
get 2 MB a second each, and nobody reads more."""

LINGER_S = 30.0
"""How long the shared client is kept without viewers, in seconds: who comes back sees the screen
at once."""

LAST_S = 0.5
"""How long it is kept where no client of anybody is left: a session may end without clients
(`destroy-unattached`), and this one counts as such."""


class SharedTerminal(Terminal):
    """A read-only tmux client that all viewers share; nobody types, and nobody holds it up."""

    def __init__(
        self,
        spawn: SpawnPty,
        launch: Launch,
        size: WindowSize,
        *,
        describe_end: Callable[[ExitStatus, bytes], End],
        repaint: Callable[[], None] | None,
        suspend: Callable[[int], Awaitable[bool]] | None,
        on_empty: Callable[[], None],
    ) -> None:
        """Start the client; see `Terminal`.

        Args:
            spawn: Starts it.
            launch: The client.
            size: What it needs to show the whole window.
            describe_end: Makes the end from the status and the last bytes of output.
            repaint: Makes it draw again, where a signal does not reach it.
            suspend: Suspends the client of a process id in tmux, and tells whether it has; None
                where a signal does not reach it.
            on_empty: Called when the last viewer has left.
        """
        loop = asyncio.get_running_loop()
        self._key_timer: asyncio.Handle | None = None
        self._suspend = suspend
        self._renewing: asyncio.Task[None] | None = None
        self._marks = Synchronized()
        self._broadcast = Broadcast(size, now=loop.time, ask=self._ask, on_empty=on_empty)
        super().__init__(
            spawn,
            launch,
            size,
            log_bytes=0,
            shared=False,
            describe_end=describe_end,
            repaint=repaint,
            stream=self._broadcast,
        )

    @property
    def policy(self) -> Policy:
        """Who falls behind is shown the present."""
        return Policy.SKIP

    def policy_for(self, role: Role) -> Policy:
        """Return the same for everybody."""
        return Policy.SKIP

    def write(self, data: bytes) -> None:
        """Drop input: whoever watches does not type."""

    def resize(self, size: WindowSize) -> None:
        """Do nothing: the window is not the viewer's; see `follow`."""

    def repaint(self) -> None:
        """Do nothing: whoever begins anew begins at a key frame."""

    def follow(self, size: WindowSize) -> None:
        """Set the window size; everybody is told where in the output it changes."""
        if size != self.size and not self.ended.done():
            self._flush()
            self._broadcast.resize(size)
            super().resize(size)
            self._expect_key()

    async def close(self) -> None:
        """End the client and reap it; twice is fine."""
        if self._key_timer is not None:
            self._key_timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await super().close()

    def _ask(self) -> None:
        """Make the client repaint, unless that is under way."""
        if self._key_timer is None and self._renewing is None and not self.ended.done():
            self._key_timer = self._loop.call_soon(self._make_key)

    def _make_key(self) -> None:
        self._flush()
        self._broadcast.begin_key()
        super().repaint()
        self._expect_key()

    def _expect_key(self) -> None:
        if self._key_timer is not None:
            self._key_timer.cancel()
        self._key_timer = self._loop.call_later(KEY_EVERY_S, self._check_key)

    def _check_key(self) -> None:
        """Look whether the repaint has come; where it has not, tmux has thrown its beginning away.

        It does so with the output of clients that cannot keep up, and believes that it was
        printed: then nothing tells what their terminals show. A client that is suspended and
        woken begins its terminal anew (`tty_stop_tty`, `tty_start_tty`).
        """
        self._key_timer = None
        self._flush()
        if not self._broadcast.is_key_due:
            self._broadcast.remind()
        elif self._suspend is None or self._renewing is not None:
            self._broadcast.settle_key()
        else:
            self._renewing = self._loop.create_task(self._renew(self._suspend))

    async def _renew(self, suspend: Callable[[int], Awaitable[bool]]) -> None:
        try:
            self._flush()
            self._broadcast.begin_key()
            if await suspend(self._pty.pid):
                until = self._loop.time() + RENEW_S
                while self._broadcast.is_key_due and self._loop.time() < until:
                    self._wake_client()
                    await asyncio.sleep(WAKE_EVERY_S)
                    self._flush()
                if self._broadcast.is_key_due:  # it may be suspended any time later
                    for number in range(WAKE_LATER):
                        self._loop.call_later(number * KEY_EVERY_S, self._wake_client)
        except TtyBridgeError as error:
            log.debug("the viewers' client does not begin anew: %s", error)
        finally:
            self._renewing = None
            self._broadcast.settle_key()
            self._broadcast.remind()

    def _wake_client(self) -> None:
        self._pty.signal(signal.SIGCONT)

    def _flush(self) -> None:
        weight, begin = self._part_bytes * self._broadcast.viewers, self._loop.time()
        super()._flush()
        rest_s = min(weight / CROWD_BYTES_S, REST_MOST_S)
        if rest_s > self._flush_s(begin):
            self._rest(rest_s)

    def _translate(self, data: bytes) -> bytes:
        return self._marks.feed(data)


class Audience:
    """Starts, keeps and ends the shared client, and follows the size of the session's window.

    Attributes:
        size: What a client needs to show the whole window: its cells and the status lines.
    """

    def __init__(
        self,
        control: Control,
        start: Callable[[WindowSize, Callable[[], None]], Awaitable[SharedTerminal]],
        *,
        stop: Callable[[SharedTerminal], Coroutine[Any, Any, None]],
        on_size: Callable[[], None],
        is_last: Callable[[], bool],
    ) -> None:
        """Have no client yet.

        Args:
            control: Runs tmux commands.
            start: Starts the shared client; gets what to call when its last viewer has left.
            stop: Ends it.
            on_size: Called when the size has changed.
            is_last: Tells whether no other client of ours is left.
        """
        self.size: WindowSize | None = None
        self._control, self._start, self._stop = control, start, stop
        self._on_size, self._is_last = on_size, is_last
        self._terminal: SharedTerminal | None = None
        self._watch: Watch | None = None
        self._following: set[Terminal] = set()
        self._joining = 0
        self._names: dict[int, bytes] = {}
        """What tmux calls its clients, by their process ids."""
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_live(self) -> bool:
        """Whether the shared client runs."""
        return self._terminal is not None and not self._terminal.ended.done()

    async def join(self) -> SharedTerminal:
        """Return the shared client, started if it does not run."""
        self._joining += 1
        try:
            async with self._lock:
                if self._terminal is None or self._terminal.ended.done():
                    size = await self.measure()
                    old, self._terminal = self._terminal, None
                    if old is not None:
                        await self._stop(old)
                    self._terminal = await self._start(size, self.let_go)
                    self._terminal.follow(self.size or size)
                self._keep_watch()
                return self._terminal
        finally:
            self._joining -= 1
            self.let_go()

    async def know_size(self) -> WindowSize:
        """Return the size: the one that tmux has told of, or what it answers.

        Raises:
            TtyBridgeError: tmux does not run.
        """
        if self._watch is not None and self.size is not None:
            return self.size
        return await self.measure()

    async def measure(self) -> WindowSize:
        """Ask tmux for the size.

        Raises:
            TtyBridgeError: tmux does not run.
        """
        answer = await self._control.run(self._control.target.ask_size())
        size = parse_size(answer.output)
        if size is not None:
            self.size = size
        return size or self.size or DEFAULT_SIZE

    async def suspend(self, pid: int) -> bool:
        """Suspend the client of a process id in tmux, and tell whether it is asked to be.

        Raises:
            TtyBridgeError: tmux does not run.
        """
        name = self._names.get(pid)
        if name is None:
            answer = await self._control.run(self._control.target.list_clients())
            parts = (line.partition(b" ") for line in answer.output.splitlines())
            self._names = {int(number): name for number, _, name in parts if number.isdigit()}
            name = self._names.get(pid)
        return name is not None and self._watch is not None and self._watch.say(suspend(name))

    def follow(self, terminal: Terminal) -> None:
        """Keep a client's window size that of the session's window."""
        self._following.add(terminal)
        self._keep_watch()
        if self.size is not None:
            terminal.resize(self.size)

    def is_following(self, terminal: Terminal) -> bool:
        """Tell whether a client's window size is kept that of the session's window."""
        return terminal in self._following

    def unfollow(self, terminal: Terminal) -> None:
        """Leave a client's window size alone."""
        self._following.discard(terminal)
        self.let_go()

    def let_go(self) -> None:
        """End soon what nobody needs any more."""
        if self._terminal is not None and self._terminal.stream.cursors:
            return
        if self._timer is not None:
            self._timer.cancel()
        wait_s = LAST_S if self._is_last() else LINGER_S
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._end_unneeded)

    async def close(self) -> None:
        """End the shared client and the watch."""
        if self._timer is not None:
            self._timer.cancel()
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            self._run(self._stop(terminal))
        await self._end_watch()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _keep_watch(self) -> None:
        if self._watch is None:
            self._watch = self._control.watch(self._resized)

    def _resized(self, size: WindowSize) -> None:
        if size == self.size:
            return
        self.size = size
        if self._terminal is not None:
            self._terminal.follow(size)
        for terminal in self._following:
            terminal.resize(size)
        self._on_size()

    def _end_unneeded(self) -> None:
        self._timer = None
        if self._joining:
            return
        terminal = self._terminal
        if terminal is not None and not terminal.stream.cursors:
            self._terminal = None
            self._run(self._stop(terminal))
        if self._terminal is None and not self._following:
            self._run(self._end_watch())

    async def _end_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except TtyBridgeError as error:
                log.warning("%s", error)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
