"""The audit log: a file of JSON lines, and the last events in memory."""

import contextlib
import fcntl
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from ttybridge.core.audit import Record, line, record

log = logging.getLogger(__name__)

MAX_BYTES = 10_000_000
"""Size at which the file is renamed to `.1` and begun anew: two files of 70,000 events each."""

KEPT = 200
"""Events kept in memory."""


def default_path(environ: Mapping[str, str]) -> Path:
    """Return where the log is unless an option says otherwise."""
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # an empty or relative one does not count (XDG Base Directory)
        home = environ.get("HOME")
        base = (Path(home) if home else Path.home()) / ".local" / "state"
    return base / "ttybridge" / "audit.jsonl"


def path_of(option: str, environ: Mapping[str, str]) -> Path | None:
    """Return the file that the option `audit_log` names; None for none."""
    if option == "none":
        return None
    return default_path(environ) if option == "auto" else Path(option).expanduser()


class AuditLog:
    """Notes events. A file that cannot be written costs one warning, and nobody the session.

    Each event is a write of its own to a file opened for it: several bridges share the file.
    It takes some 50 µs on a local disk (measured), so it is done in the event loop.

    Attributes:
        last: The last `KEPT` events of this run, the oldest first.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        """Write to `path` from now on; None keeps events in memory only."""
        self.path = path
        self.last: deque[Record] = deque(maxlen=KEPT)
        self._clock = clock
        self._has_warned = False
        self._is_cut = False

    def note(self, event: str, **fields: object) -> None:
        """Note an event; never raises for what is wrong with the file."""
        noted = record(event, self._clock(), fields)
        self.last.append(noted)
        if self.path is None:
            return
        try:
            self._append(self.path, line(noted).encode())
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning("The audit log %s cannot be written: %s.", self.path, error.strerror)

    def _append(self, path: Path, data: bytes) -> None:
        file = _open(path)
        try:
            if os.fstat(file).st_size >= MAX_BYTES and _rotate(path, file):
                os.close(file)
                file = -1
                file = _open(path)
            if self._is_cut:
                data = b"\n" + data
            self._is_cut = True
            written = os.write(file, data)
            self._is_cut = written < len(data)
            if self._is_cut:
                raise OSError(0, "No space left on device")
        finally:
            if file >= 0:
                os.close(file)


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(0, "It is no file")
    return file


def _rotate(path: Path, file: int) -> bool:
    """Rename the file to `.1`, unless another bridge does that or has done it.

    Returns:
        Whether `path` has to be opened again.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(path.lstat(), os.fstat(file)):
            path.rename(path.with_name(path.name + ".1"))
    return True
