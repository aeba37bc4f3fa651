"""Recordings on the disk: written line by line by a thread of their own, listed, and read."""

import asyncio
import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ttybridge.core.asciicast import MAX_LINE_BYTES, BadRecording, Reader
from ttybridge.errors import RecordingError

CLOSE_S = 2.0
"""Time for the disk to take what is left when a recording ends, in seconds."""

_LINE_BYTES, _TAIL_BYTES = 16 * 1024, 512 * 1024
"""End of a file in which its last line is looked for: most have 100 bytes, ours 400 KB at most."""

_ANY_HEADER = b'{"version": 2, "width": 80, "height": 24}\n'


@dataclass(frozen=True, slots=True)
class Facts:
    """What a list of recordings tells of one."""

    size_bytes: int
    """Its size."""
    started_at: int
    """Seconds since 1970; of the file's last change where the recording does not say."""
    seconds: float
    """How long it is."""


class RecordingFile:
    """A new file that grows by whole lines.

    A disk may take seconds for a write, or for ever: a thread of its own waits for it, and `write`
    never does. Each line is written at once, without waiting for more, and not synced: when this
    process is killed, nothing is lost that had a moment's time. After an error the file is cut
    behind its last whole line, and nothing more is written.

    Attributes:
        path: Where it is.
        written_bytes: Its size, in whole lines.
        pending_bytes: What waits for the disk.
        error: What has ended the writing; None as long as nothing has.
    """

    def __init__(self, path: Path, on_progress: Callable[[], None]) -> None:
        """Make the file, readable by this user alone.

        Args:
            path: Where; nothing may be there yet.
            on_progress: Called in the event loop when something has been written, or has failed.

        Raises:
            RecordingError: It cannot be made.
        """
        self.path = path
        self.written_bytes = self.pending_bytes = 0
        self.error: OSError | None = None
        self._file = _create(path)
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._changed = threading.Condition()
        self._is_closing = False
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Write whole lines, soon; returns at once. After an error nothing is done."""
        with self._changed:
            if self.error is None and data:
                self._parts.append(data)
                self.pending_bytes += len(data)
                self._changed.notify()

    async def close(self) -> None:
        """Wait until all is written, at most `CLOSE_S`; twice is fine."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._closed.wait()
            self._thread.join()

    def _write(self) -> None:
        """Write what there is until it is closed; what the thread does."""
        while True:
            with self._changed:
                while not self._parts and not self._is_closing:
                    self._changed.wait()
                parts, self._parts = self._parts, []
            if not parts:
                break
            data = b"".join(parts)
            try:
                self._append(data)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self.written_bytes)
                self._note(len(data), error)
                break
            self._note(len(data), None)
        os.close(self._file)
        self._tell(self._closed.set)

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            count = os.write(self._file, rest)
            if count == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[count:]
        self.written_bytes += len(data)

    def _note(self, size: int, error: OSError | None) -> None:
        with self._changed:
            self.pending_bytes -= size
            if error is not None:
                self.error, self.pending_bytes, self._parts = error, 0, []
        self._tell(self._on_progress)

    def _tell(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(call)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        raise RecordingError(
            f"There is a file {path} already; it is not overwritten.",
            hint="Choose another name, or remove it.",
        ) from None
    except OSError as error:
        raise RecordingError(
            f"The recording {path} cannot be written: {error.strerror}.",
            hint="Choose another place.",
        ) from None


def make_folder(path: Path) -> None:
    """Make the folder of recordings, which only this user can enter, unless it is there.

    Raises:
        RecordingError: It cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(
            f"The folder {path} for recordings cannot be made: {error.strerror}.",
            hint="Choose another one with --record-dir.",
        ) from None


def open_recording(path: Path) -> BinaryIO:
    """Open a file for reading; a link or anything else that is no file is refused.

    Raises:
        RecordingError: It cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return os.fdopen(file, "rb")
        os.close(file)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}.") from None
    raise RecordingError(f"{path} is no file.")


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a recording; one that is too long is cut, which its reader refuses."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line


def whole_size(file: BinaryIO) -> int:
    """Return the size up to the last whole line: a recorder may be writing, or was killed."""
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(size - _TAIL_BYTES, 0))
    end = file.read(size - start).rfind(b"\n")
    file.seek(0)
    return size if end < 0 else start + end + 1


def look(path: Path) -> Facts | None:
    """Return what to tell of a recording; None for what is none, or cannot be read.

    Reads its header and its end alone. Only v2 says there how long it is; of others, the time of
    the file's last change does.
    """
    try:
        with open_recording(path) as file:
            status = os.fstat(file.fileno())
            header = Reader([file.readline(_TAIL_BYTES)]).header
            started_at = header.started_at
            seconds = status.st_mtime - (started_at or status.st_mtime)
            if header.version == 2 and (last := _last_time(file, file.tell())) is not None:
                seconds = last
    except (RecordingError, BadRecording, OSError):
        return None
    started = int(status.st_mtime) if started_at is None else started_at
    return Facts(status.st_size, started, round(max(seconds, 0.0), 3))


def _last_time(file: BinaryIO, first: int) -> float | None:
    """Return the time of the last event of v2 at or after an offset; 0 when there is none."""
    size = file.seek(0, os.SEEK_END)
    for tail in (_LINE_BYTES, _TAIL_BYTES):  # mostly, the shorter one has a whole line
        start = file.seek(max(size - tail, first))
        lines = file.read(size - start).splitlines(keepends=True)
        for line in reversed(lines if start == first else lines[1:]):
            with contextlib.suppress(BadRecording):
                for event in Reader([_ANY_HEADER, line]).events():
                    return event.at_s
        if start == first:
            return 0.0
    return None
