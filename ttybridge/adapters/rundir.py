"""The bridge's private folder for the time that it runs; what killed bridges left is removed."""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ttybridge.core.shell import is_safe_path
from ttybridge.errors import TtyBridgeError

MAX_BASE = 70
"""Longest path of the folder above, in bytes: a socket below it may have 107 (unix(7))."""

TRIES = 50
"""How often it is tried while other bridges stop at the same moment."""


def bases(environment: Mapping[bytes, bytes]) -> list[Path]:
    """Return where folders for the time of a run may be, the best first; some may not fit.

    `$XDG_RUNTIME_DIR` comes last: logind removes it when its user logs out, and a bridge under
    nohup or in tmux goes on.
    """
    named = (environment.get(b"TMPDIR", b""), b"/tmp", environment.get(b"XDG_RUNTIME_DIR", b""))
    return [Path(os.fsdecode(text)) for text in dict.fromkeys(named) if text]


@contextlib.contextmanager
def private_folder(bases: Sequence[Path]) -> Iterator[Path]:
    """Make a folder that only this user can enter, and remove it at the end.

    A running bridge holds a lock on its folder. Folders whose lock is free belong to bridges
    that were killed, and are removed: they contain the environment. (systemd-tmpfiles, which
    removes what has not been used for days, passes over a folder that is locked, too.)

    Args:
        bases: Where folders for the time of a run may be, the best first, such as `/tmp`. Those
            that do not fit are passed over.

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
    for base in bases:
        _remove_stale(_above(base))
    for again in range(TRIES):
        try:
            return _make_in(_parent(bases))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and again < TRIES - 1:
                continue  # a bridge that stops has removed the folder above
            raise TtyBridgeError(
                f"The folder {error.filename} cannot be made: {error.strerror}.",
                hint="Make room there, or name another with TMPDIR.",
            ) from error
    raise AssertionError("unreachable")


def _make_in(parent: Path) -> tuple[Path, int]:
    folder = parent / secrets.token_hex(4)
    hidden = folder.with_name(f".{folder.name}")
    hidden.mkdir(mode=0o700)
    lock = -1
    try:
        lock = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Before it has its name: a free lock means that the bridge is gone.
        fcntl.flock(lock, fcntl.LOCK_EX)
        hidden.rename(folder)
    except OSError:
        if lock >= 0:
            os.close(lock)
        with contextlib.suppress(OSError):
            hidden.rmdir()
        raise
    return folder, lock


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user can read, under its name at once and whole."""
    hidden = path.with_name(f".{path.name}")
    hidden.unlink(missing_ok=True)
    hidden.touch(mode=0o600, exist_ok=False)
    hidden.write_bytes(data)
    hidden.rename(path)


def _above(base: Path) -> Path:
    """Return the folder of this user: in a folder that everybody shares, the name has to say so."""
    return base / f"ttybridge-{os.getuid()}"


def _parent(bases: Sequence[Path]) -> Path:
    """Return the folder above, made if necessary; OSError when another bridge just removes it."""
    problems = []
    for base in bases:
        if not base.is_absolute() or not is_safe_path(str(base)) or len(str(base)) > MAX_BASE:
            continue
        folder = _above(base)
        try:
            if problem := _distrust(base):
                problems.append(problem)
                continue
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
            continue
        if problem := _not_private(folder):
            problems.append(problem)
        else:
            return folder
    raise TtyBridgeError(
        f"There is no place for private files: {'; '.join(problems) or 'no usable folder'}.",
        hint="Set TMPDIR to a folder that only you can enter.",
    )


def _distrust(base: Path) -> str:
    """Say who could put other files in the place of ours; empty when nobody can.

    Whoever may rename a folder above decides what sshd finds below it. Only root, whoever owns `/`
    (another number than 0 in some containers) and we ourselves may.
    """
    real = base.resolve(strict=True)
    trusted = {0, os.getuid(), Path("/").stat().st_uid}
    for folder in (real, *real.parents):
        found = folder.stat()
        if found.st_uid not in trusted:
            return f"{folder} belongs to somebody else"
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
            return f"others may rename what is in {folder}"
    return ""


def _not_private(folder: Path) -> str:
    """Say why a folder cannot be ours alone; empty when it is."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return f"{folder} is not a folder of yours"
    return f"others may enter {folder}" if found.st_mode & 0o077 else ""


def _remove_stale(parent: Path) -> None:
    """Remove the folders of bridges that were killed."""
    try:
        if _not_private(parent):
            return
        folders = list(parent.iterdir())
    except OSError:  # there is none
        return
    for folder in folders:
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # not ours to judge
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its bridge runs
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
    with contextlib.suppress(OSError):  # somebody is in it
        parent.rmdir()
