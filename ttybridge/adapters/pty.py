"""A child process on a pty, read and written by the event loop.

Nothing here blocks but `spawn`, which waits until the program has been started (`pty_start`).
Reading never stops by itself: `pause` and `unpause` belong to whoever counts the bytes.
"""

import asyncio
import contextlib
import errno
import os
import signal
import termios
import threading
from collections.abc import Callable, Mapping, Sequence

from ttybridge.adapters.program import check_folder, existing_folder, find_program
from ttybridge.adapters.pty_start import start
from ttybridge.errors import TerminalError
from ttybridge.model import ExitStatus, WindowSize

READ_BYTES = 64 * 1024
"""Most bytes of one turn of the event loop. The kernel gives about 4 KB a read."""

SHORT_BYTES = 64
"""A read of less is an echo: looking whether there is more, with a read that finds nothing, would
take it as long as all the rest that is left to do."""

_buffer = memoryview(bytearray(READ_BYTES))
"""What is read in one turn; for all ptys, as nothing is left in it."""

WRITE_BYTES = 16 * 1024
"""Most bytes offered to the pty at once; a raw-mode pty takes about 4 KB."""

RETRY_S, RETRY_MAX_S = 0.005, 0.25
"""First and longest pause after writes that took nothing although the pty said that it would, in
seconds; doubled each time, so that waiting for a child that never reads costs nothing."""

UNKNOWN = ExitStatus(code=255)
"""Status of a child that somebody else has reaped; asyncio says the same of its own."""

HANGUP_GRACE_S = 2.0
"""Time for a child to end after SIGHUP before it is killed, in seconds."""


class Pty:
    """One child on one pty.

    Attributes:
        pid: Process id of the child, the leader of its own process group.
        pending_bytes: Input that the pty has not taken yet.
        read_bytes: Most bytes that are read in one turn of the event loop.
        between_reads: Called between two reads of a turn, for work of some 0.03 ms that can wait:
            a read that comes too early sleeps until a thread of the kernel has brought the next
            4 KB (`flush_work` in `n_tty_read`, Linux 6.18), in two switches of the processor.
    """

    def __init__(
        self,
        pid: int,
        descriptor: int,
        on_output: Callable[[bytes], None],
        on_written: Callable[[int], None],
        on_end: Callable[[ExitStatus], None],
    ) -> None:
        """Take over a spawned child; use `spawn`."""
        self.pid = pid
        self.pending_bytes = 0
        self.read_bytes = READ_BYTES
        self.between_reads: Callable[[], None] = _nothing
        self._fd = descriptor
        self._on_output, self._on_written, self._on_end = on_output, on_written, on_end
        self._loop = asyncio.get_running_loop()
        self._input = bytearray()
        self._retry_s = RETRY_S
        self._awaits_writable = False
        self._written = 0
        self._paused = False
        self._drained = False
        self._open = True
        self._status: asyncio.Future[ExitStatus] = self._loop.create_future()
        self._told = False
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._on_readable)
        self._watch_child()

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        environment: Mapping[bytes, bytes],
        cwd: str,
        size: WindowSize,
        on_output: Callable[[bytes], None],
        on_written: Callable[[int], None],
        on_end: Callable[[ExitStatus], None],
        elsewhere: Callable[[Sequence[str]], bool] = lambda argv: False,
    ) -> "Pty":
        """Start a program on a new pty.

        Args:
            argv: The program, looked up in the environment's own PATH, and its arguments.
            environment: Its whole environment.
            cwd: Its working directory.
            size: The window size.
            on_output: Gets the output, in order, never empty.
            on_written: Gets the count of all input bytes that the pty has taken so far.
            on_end: Called once, when the child has ended and all its output has been given.
            elsewhere: Tells of `argv` whether it may run in `/` when `cwd` is gone.

        Raises:
            MissingProgramError: There is no such program.
            TerminalError: It cannot be started.
        """
        program = find_program(argv[0], environment)
        if elsewhere(argv):
            cwd = existing_folder(cwd)
        _check(argv, environment, cwd)
        try:
            pid, descriptor = start(program, argv, environment=environment, cwd=cwd, size=size)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise TerminalError(
                f"{argv[0]!r} could not be started: {reason}.",
                hint="`ttybridge doctor` checks limits and programs.",
            ) from error
        return cls(pid, descriptor, on_output, on_written, on_end)

    def write(self, data: bytes) -> None:
        """Give input to the child, in order, of any size; never blocks."""
        if not self._open or not data:
            return
        waited = bool(self._input)
        self._input += data
        self.pending_bytes = len(self._input)
        if not waited:
            self._write_some()

    def resize(self, size: WindowSize) -> None:
        """Set the window size; the child gets SIGWINCH when it differs."""
        if self._open:
            with contextlib.suppress(termios.error):
                termios.tcsetwinsize(self._fd, (size.rows, size.cols))

    def signal(self, number: int) -> None:
        """Send a signal to the child itself; nothing happens when it has ended."""
        if not self._status.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def pause(self) -> None:
        """Stop reading; the child blocks once the kernel's buffer is full."""
        if self._open and not self._paused:
            self._loop.remove_reader(self._fd)
            self._paused = True

    def unpause(self) -> None:
        """Read again."""
        if self._open and self._paused:
            self._paused = False
            if not self._drained:
                self._loop.add_reader(self._fd, self._on_readable)
            if self._status.done():
                self._loop.call_soon(self._read_rest)

    async def close(self) -> None:
        """Hang up, end the child and reap it. Safe at any time, and twice.

        The child gets SIGHUP (an interactive shell ignores SIGTERM), then SIGKILL after
        `HANGUP_GRACE_S`.
        """
        self._shut()
        self._told = True
        if not self._status.done():
            self._signal_group(signal.SIGHUP)
            self._signal_group(signal.SIGCONT)
            done, _ = await asyncio.wait([self._status], timeout=HANGUP_GRACE_S)
            if not done:
                self._signal_group(signal.SIGKILL)
        await asyncio.shield(self._status)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _on_readable(self) -> None:
        end, limit = 0, min(self.read_bytes, READ_BYTES)
        is_empty = False
        while end < limit:
            try:
                count = os.readv(self._fd, [_buffer[end:limit]])
            except BlockingIOError:
                is_empty = True
                break
            except OSError as error:
                if error.errno != errno.EIO:  # EIO: nobody has the other side open any more
                    raise
                count = 0
            if not count:
                self._shut_reading()
                is_empty = True
                break
            end += count
            if count < SHORT_BYTES:
                break
            if end < limit:
                self.between_reads()
        if end:
            self._on_output(bytes(_buffer[:end]))
        if is_empty:
            self._end_if_complete()
        elif self._status.done():  # there may be no more, and then nobody calls again
            self._loop.call_soon(self._read_rest)

    def _read_rest(self) -> None:
        if self._drained:
            self._end_if_complete()
        elif self._open and not self._paused:
            self._on_readable()

    def _shut_reading(self) -> None:
        self._drained = True
        self._loop.remove_reader(self._fd)

    def _end_if_complete(self) -> None:
        """Tell the end when the child is reaped and its output has been read.

        That is to EOF, or until there is none: a process that the child left behind may hold the
        pty open, so that EOF never comes.
        """
        if self._status.done() and not self._told and not self._paused:
            self._told = True
            self._shut()
            self._on_end(self._status.result())

    def _on_child_end(self, status: ExitStatus) -> None:
        if not self._status.done():
            self._status.set_result(status)
            self._read_rest()

    def _write_some(self) -> None:
        before = self._written
        try:
            while self._input:
                count = os.write(self._fd, self._input[:WRITE_BYTES])
                self._written += count
                del self._input[:count]
        except BlockingIOError:
            self._stop_writing()
            if self._written > before:
                self._retry_s = RETRY_S
                self._wait_writable()
            else:
                self._loop.call_later(self._retry_s, self._wait_writable)
                self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)
        except OSError:  # the other side is closed: the end is on its way
            self._input.clear()
        if not self._input:
            self._stop_writing()
        self.pending_bytes = len(self._input)
        if self._written > before:
            self._on_written(self._written)

    def _wait_writable(self) -> None:
        if self._open and self._input:
            self._loop.add_writer(self._fd, self._write_some)
            self._awaits_writable = True

    def _stop_writing(self) -> None:
        if self._awaits_writable:
            self._loop.remove_writer(self._fd)
            self._awaits_writable = False

    def _shut(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._stop_writing()
            self._input.clear()
            self.pending_bytes = 0
            os.close(self._fd)

    def _watch_child(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux 5.3, or forbidden here
            threading.Thread(target=self._wait_in_thread, daemon=True).start()
            return

        def reap() -> None:
            status = _reap(self.pid, os.WNOHANG)
            if status is not None:
                self._loop.remove_reader(descriptor)
                os.close(descriptor)
                self._on_child_end(status)

        self._loop.add_reader(descriptor, reap)

    def _wait_in_thread(self) -> None:
        status = _reap(self.pid, 0) or UNKNOWN
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._on_child_end, status)


def _nothing() -> None:
    """Do nothing."""


def _reap(pid: int, options: int) -> ExitStatus | None:
    """Reap a child: how it ended, `UNKNOWN` when it is gone, None when it runs (`WNOHANG`)."""
    try:
        reaped, status = os.waitpid(pid, options)
    except ChildProcessError:  # SIGCHLD is ignored, or something else waits for every child
        return UNKNOWN
    if not reaped:
        return None
    code = os.waitstatus_to_exitcode(status)
    return ExitStatus(signal=-code) if code < 0 else ExitStatus(code=code)


def _check(argv: Sequence[str], environment: Mapping[bytes, bytes], cwd: str) -> None:
    """Refuse what exec cannot be given: in the child it would raise where nobody catches it.

    Raises:
        TerminalError: There is such a thing.
    """
    texts = [os.fsencode(text) for text in (*argv, cwd)]
    if any(b"\0" in text for text in (*texts, *environment, *environment.values())):
        raise TerminalError(f"{argv[0]!r} cannot be given a text with a zero byte in it.")
    if any(not name or b"=" in name for name in environment):
        raise TerminalError(f"{argv[0]!r} cannot be given a variable of such a name.")
    check_folder(cwd)
