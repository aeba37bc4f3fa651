"""The key by which sshd proves who it is: made new, made from a secret, or kept in a file."""

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from ttybridge.core.ssh_keys import PublicKey, parse_public_key, secret_problem
from ttybridge.errors import SshdError

FILE_NAME = "ssh_host_ed25519_key"
"""Name of the kept key, as in /etc/ssh."""

SALT = b"ttybridge ssh host key, version 1"
"""Part of the format: another salt would give every secret another key, and every client that
knows the old one a warning that somebody may be listening in. It must never change."""

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 1
"""Cost of a try: 32 MiB and some 0.1 s. Part of the format as well."""

MAX_FILE_BYTES = 64 * 1024
"""Bytes of a key file that are read; an Ed25519 key has some 400."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host key; two are equal when their public halves are."""

    private: bytes = field(repr=False, compare=False)
    """The private half in OpenSSH's PEM format, without a passphrase. Has a random check number
    in it, so that its bytes differ each time that it is written."""
    public: PublicKey
    """The public half, which clients compare with what they know."""


def generate() -> HostKey:
    """Make a new key, which no client knows."""
    return _host_key(Ed25519PrivateKey.generate())


def derive(secret: str) -> HostKey:
    """Make the key that belongs to a secret: the same one on every machine, every time.

    The public half is public, so whoever has it can try secrets without asking us, as many as
    the machine can. Scrypt makes each try cost time and memory; it does not mend a secret that
    is among the first million tries. Takes some 0.1 s: call it in a thread.

    Raises:
        ValueError: The secret is too weak to be used; has a sentence that does not show it.
    """
    problem = secret_problem(secret)
    if problem:
        raise ValueError(problem)
    scrypt = Scrypt(salt=SALT, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P)
    return _host_key(Ed25519PrivateKey.from_private_bytes(scrypt.derive(secret.encode())))


def kept(state_dir: Path) -> tuple[HostKey, tuple[str, ...]]:
    """Return the key in a folder, made on the first call; never replaces a file that is there.

    The folder is made with mode 0700 and the file with 0600. Bridges that start at the same time
    get the same key. Blocks on the disk: call it in a thread.

    Returns:
        The key, and sentences on what should be mended.

    Raises:
        SshdError: The folder or file cannot be made or read, or holds something else.
    """
    path = state_dir / FILE_NAME
    try:
        try:
            data, mode = _read(path)
        except FileNotFoundError:
            _make(path)
            data, mode = _read(path)
    except OSError as error:
        message = f"The host key {path} can be neither read nor made: {error.strerror}."
        hint = "Check who owns the folder and whether it has space, or choose another folder."
        raise SshdError(message, hint=hint) from error
    return _parse(data, path), _mode_notes(path, mode)


def _host_key(key: Ed25519PrivateKey) -> HostKey:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return HostKey(private, parse_public_key(public.decode()))


def _make(path: Path) -> None:
    """Put a new key at `path`, unless there is something by then.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{FILE_NAME}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(generate().private)
            file.flush()
            os.fsync(descriptor)
        _publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    """Give the whole file its name at once, and only if the name is free."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    except OSError:
        # Mounted drives often have no links. A rename replaces what is there: hence the lock.
        with _locked(path.parent):
            if not os.path.lexists(path):
                temporary.rename(path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, which leaves no file behind; without one where there are none."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[bytes, int]:
    """Return a file's bytes and mode.

    Raises:
        OSError: It cannot be opened.
        SshdError: It is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would block
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            message = f"The host key {path} is not a regular file."
            raise SshdError(
                message, hint="Move it away to get a new key, or choose another folder."
            )
        return os.read(descriptor, MAX_FILE_BYTES), mode
    finally:
        os.close(descriptor)


def _mode_notes(path: Path, mode: int) -> tuple[str, ...]:
    if not mode & 0o077:
        return ()
    note = (
        f"Others may read the host key {path}, and so pose as this machine. Run: chmod 600 {path} "
        "(on a drive that keeps no modes, choose another folder)."
    )
    return (note,)


def _parse(data: bytes, path: Path) -> HostKey:
    """Read a key from a file's bytes.

    Raises:
        SshdError: It is damaged, has a passphrase, or is no Ed25519 key.
    """
    try:
        key = load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower():
            message = f"The host key {path} has a passphrase, which sshd could not ask for."
            raise SshdError(message, hint=f"Take it off: ssh-keygen -p -N '' -f {path}") from None
        message = f"The host key {path} is damaged, or no private key in OpenSSH's format."
        hint = "Restore it, or move it away to get a new one, which clients must then accept."
        raise SshdError(message, hint=hint) from None
    if not isinstance(key, Ed25519PrivateKey):
        message = f"The host key {path} is of another type than Ed25519."
        raise SshdError(message, hint="Move it away to get a new key, or choose another folder.")
    return _host_key(key)
