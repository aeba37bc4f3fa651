"""The bridge's private folder for the time that it runs; what killed bridges left is removed."""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ttybridge.core.sshd_config import is_safe_path
from ttybridge.errors import TtyBridgeError

MAX_BASE = 70
"""Longest path of the folder above, in bytes: a socket below it may have 107 (unix(7))."""

TRIES = 50
"""How often it is tried while other bridges stop at the same moment."""

_LOCK = "lock"


def bases(environment: Mapping[bytes, bytes]) -> list[Path]:
    """Return where folders for the time of a run may be, the best first; some may not fit."""
    named = (environment.get(name, b"") for name in (b"XDG_RUNTIME_DIR", b"TMPDIR"))
    return [Path(os.fsdecode(text)) for text in (*named, b"/tmp") if text]


@contextlib.contextmanager
def private_folder(bases: Sequence[Path]) -> Iterator[Path]:
    """Make a folder that only this user can enter, and remove it at the end.

    A running bridge holds a lock in its folder. Folders whose lock is free belong to bridges
    that were killed, and are removed: they contain the environment.

    Args:
        bases: Where folders for the time of a run may be, the best first, such as
            `$XDG_RUNTIME_DIR` and `/tmp`. Those that do not fit are passed over.

    Raises:
        TtyBridgeError: None can be used.
    """
    folder, lock = _make(bases)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        with contextlib.suppress(OSError):  # another bridge is in it
            folder.parent.rmdir()


def _make(bases: Sequence[Path]) -> tuple[Path, int]:
    """Make the folder; return it with the descriptor that holds its lock."""
    for again in range(TRIES):
        try:
            parent = _parent(bases)
            _remove_stale(parent)
            return _make_in(parent)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and again < TRIES - 1:
                continue  # a bridge that stops has removed the folder above
            raise TtyBridgeError(
                f"The folder {error.filename} cannot be made: {error.strerror}.",
                hint="Make room there, or name another with XDG_RUNTIME_DIR.",
            ) from error
    raise AssertionError("unreachable")


def _make_in(parent: Path) -> tuple[Path, int]:
    folder = parent / secrets.token_hex(4)
    hidden = folder.with_name(f".{folder.name}")
    lock = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Before others can see it: a free lock means that the bridge is gone.
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder.mkdir(mode=0o700)
        hidden.rename(folder / _LOCK)
    except OSError:
        os.close(lock)
        for remove in (hidden.unlink, folder.rmdir):
            with contextlib.suppress(OSError):
                remove()
        raise
    return folder, lock


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, under its name at once and whole."""
    hidden = path.with_name(f".{path.name}")
    hidden.unlink(missing_ok=True)
    hidden.touch(mode=0o600, exist_ok=False)
    hidden.write_bytes(data)
    hidden.rename(path)


def _parent(bases: Sequence[Path]) -> Path:
    """Return the folder above, made if necessary; OSError when another bridge just removes it."""
    problems = []
    for base in bases:
        if not base.is_absolute() or not is_safe_path(str(base)) or len(str(base)) > MAX_BASE:
            continue
        # In a folder that everybody shares, the name has to be the user's own.
        folder = base / f"ttybridge-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
            continue
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            problems.append(f"{folder} is not a folder of yours")
        elif found.st_mode & 0o077:
            problems.append(f"others may enter {folder}")
        else:
            return folder
    raise TtyBridgeError(
        f"There is no place for private files: {'; '.join(problems) or 'no usable folder'}.",
        hint="Set XDG_RUNTIME_DIR to a folder that only you can enter.",
    )


def _remove_stale(parent: Path) -> None:
    for folder in parent.iterdir():
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # being made, or not ours to judge
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its bridge runs
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
