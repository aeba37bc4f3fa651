"""This process's terminal: raw while the session is shown, and as it was before at every end.

It is opened anew, so that it can be non-blocking without a surprise for others: that mode belongs
to an opened file, which the shell and all its programs share with our stdin and stdout.
"""

import asyncio
import contextlib
import os
import select
import termios
import tty
from collections import deque
from collections.abc import Callable

from ttybridge.errors import TtyBridgeError
from ttybridge.model import WindowSize

CHUNK = 16 * 1024
"""Most bytes that are read, and written, at once."""

MOST_WAITING = 4 * 1024 * 1024
"""Bytes that may wait for the terminal; the bridge's window is 512 KiB unless it says otherwise."""

RESTORE_S = 0.5
"""Time for a terminal to take the last bytes, in seconds; one that is stuck takes none."""

RESTORE = (
    # Ends a sequence that was cut; margins off, without losing the place of the cursor.
    b"\x18\x1b7\x1b[r\x1b8"
    # Alternate screen, mouse, focus, bracketed paste, keypad, character set, colours, cursor.
    b"\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1004l"
    b"\x1b[?2004l\x1b[?1l\x1b>\x1b(B\x0f\x1b[0m\x1b[?7h\x1b[?25h\x1b[>4m"
)
"""Leaves the modes that tmux and full-screen programs set (xterm's control sequences)."""


def check(term: str | None) -> None:
    """Make sure that stdin and stdout are a terminal on which a session can be shown.

    Args:
        term: The variable TERM.

    Raises:
        TtyBridgeError: They are not.
    """
    for number, name in ((0, "stdin"), (1, "stdout")):
        if not os.isatty(number):
            raise TtyBridgeError(
                f"ttybridge connect shows the session in a terminal, and {name} is not one.",
                hint="Start it in a terminal window; to run a command: ttybridge ssh URL COMMAND.",
            )
    if term in (None, "", "dumb", "unknown"):
        said = f"TERM={term}" if term else "the variable TERM is not set"
        raise TtyBridgeError(
            f"This terminal says that it cannot draw a screen ({said}).",
            hint="Nearly all understand xterm's sequences; then: export TERM=xterm-256color.",
        )


class RawTerminal:
    """The terminal at stdin and stdout.

    Attributes:
        on_input: Called with what was typed.
        on_gone: Called once when the terminal is no more.
        is_raw: Whether it is ours now.
    """

    def __init__(self) -> None:
        """Open it; nothing is changed before `begin`."""
        self.on_input: Callable[[bytes], None] = lambda _data: None
        self.on_gone: Callable[[], None] = lambda: None
        self.is_raw = False
        self._loop = asyncio.get_running_loop()
        self._in, self._out = _opened(0, os.O_RDONLY), _opened(1, os.O_WRONLY)
        self._before = termios.tcgetattr(0)
        self._queue: deque[tuple[memoryview, Callable[[], None]]] = deque()
        self._is_gone = False
        self._is_reading = self._is_writing = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def size(self) -> WindowSize:
        """Its window size, within what the bridge allows."""
        try:
            found = os.get_terminal_size(self._out)
        except OSError:
            return WindowSize.clamped(cols=80, rows=24)
        return WindowSize.clamped(cols=found.columns or 80, rows=found.lines or 24)

    def begin(self) -> None:
        """Take every key as it comes; twice is fine."""
        if self.is_raw:
            return
        self.is_raw = True
        tty.setraw(0, termios.TCSANOW)
        self.read()

    def restore(self, *, newline: bool = False, more: bytes = b"") -> None:
        """Give the terminal back as it was, whatever state it is in; twice is fine.

        Args:
            newline: Whether the line has to be ended, because something is written behind it.
            more: What else has to be written for that.
        """
        if not self.is_raw:
            return
        self.is_raw = False
        self.pause()
        self.drop()
        self._write_now(RESTORE + more + b"\r\n" * newline)
        with contextlib.suppress(termios.error):
            # Not TCSADRAIN: it waits for ever for a terminal that takes nothing.
            termios.tcsetattr(0, termios.TCSANOW, self._before)

    def close(self) -> None:
        """Restore it, and close what was opened."""
        self.restore()
        for number in {self._in, self._out}:
            if number > 2:
                os.close(number)
            else:
                os.set_blocking(number, True)

    def read(self) -> None:
        """Take in what is typed."""
        if not self._is_reading and not self._is_gone and self.is_raw:
            self._is_reading = True
            self._loop.add_reader(self._in, self._on_readable)

    def pause(self) -> None:
        """Leave what is typed where it is: whoever pastes has to wait."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._in)

    def write(self, data: bytes, done: Callable[[], None] = lambda: None) -> None:
        """Queue output; `done` is called when the terminal has taken it."""
        if self._is_gone or not data:
            return
        self._queue.append((memoryview(data), done))
        self._empty.clear()
        if not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._out, self._on_writable)

    def drop(self) -> None:
        """Forget the output that the terminal has not taken yet."""
        self._queue.clear()
        self._stop_writing()

    async def room(self) -> None:
        """Wait while more waits for the terminal than an honest bridge has under way."""
        while sum(len(data) for data, _ in self._queue) > MOST_WAITING:
            await self.drained(1.0)

    async def drained(self, timeout_s: float) -> None:
        """Wait until the terminal has taken everything, not longer than a time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()

    def _on_readable(self) -> None:
        try:
            data = os.read(self._in, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.on_input(data)
        else:
            self._lose()

    def _on_writable(self) -> None:
        if not self._queue:
            self._stop_writing()
            return
        data, done = self._queue[0]
        try:
            count = os.write(self._out, data[:CHUNK])
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        if count < len(data):
            self._queue[0] = data[count:], done
        else:
            self._queue.popleft()
            done()

    def _stop_writing(self) -> None:
        self._empty.set()
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._out)

    def _lose(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self.pause()
            self.drop()
            self.on_gone()

    def _write_now(self, data: bytes) -> None:
        """Write the last bytes, waiting for the terminal a bounded time."""
        until = self._loop.time() + RESTORE_S
        while data and not self._is_gone and (left := until - self._loop.time()) > 0:
            try:
                select.select([], [self._out], [], left)
                data = data[os.write(self._out, data) :]
            except BlockingIOError:
                continue
            except OSError:
                return


def _opened(number: int, flags: int) -> int:
    """Return the terminal behind a descriptor as a file of our own, non-blocking."""
    names = ["/dev/tty"]
    with contextlib.suppress(OSError):
        names.insert(0, os.ttyname(number))
    for name in names:
        with contextlib.suppress(OSError):
            return os.open(name, flags | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(number, False)
    return number
