"""A client that is a program on a pty of this machine: a bare shell, or `ssh`."""

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import READ_BYTES, Wire
from benchmarks.programs import undisturbed

END_S = 5.0
"""Longest time for the program to end after its pty is gone, in seconds."""


class PipeWire(Wire):
    """A pty with a program on it.

    Attributes:
        pid: The program.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cols: int,
        rows: int,
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        """Start it.

        Args:
            argv: The program; it leads a session of its own, whose terminal the pty is.
            cols: Columns of the window.
            rows: Rows of the window.
            env: All its variables.
            cwd: Where it starts.
        """
        self._master, slave = os.openpty()
        try:
            self.resize(cols, rows)
            self._process = subprocess.Popen(
                undisturbed(["setsid", "--ctty", *argv]),
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=env,
                cwd=cwd,
            )
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        self.pid = self._process.pid
        os.set_blocking(self._master, False)
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLIN)
        self._unsent = b""
        self._is_closed = False

    def fileno(self) -> int:
        """Return the pty's master."""
        return self._master

    def write(self, data: bytes) -> None:
        """Type."""
        data = self._unsent + data
        try:
            sent = os.write(self._master, data)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]
        self._poll.modify(self._master, select.POLLIN | (select.POLLOUT if self._unsent else 0))

    def read(self, timeout_s: float, most: int = READ_BYTES) -> bytes:
        """Return the output that comes next; a read of a pty gives a few KB at most."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                data = os.read(self._master, most)
            except BlockingIOError:
                pass
            except OSError as error:
                raise EOFError from error
            else:
                self.wire_bytes += len(data)
                return data
            left = until - time.monotonic()
            if left <= 0:
                return b""
            for _, event in self._poll.poll(left * 1000):
                if event & select.POLLOUT:
                    self.write(b"")

    def resize(self, cols: int, rows: int) -> None:
        """Set the window's size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))

    def close(self) -> None:
        """Hang up, and wait for the program's end."""
        if self._is_closed:
            return
        self._is_closed = True
        os.close(self._master)
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, 9)
            self._process.wait()
