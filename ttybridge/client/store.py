"""The client's own folder: the key to log in with, pinned host keys, tokens, configurations."""

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ttybridge.client.address import Address
from ttybridge.core.public_key import PublicKey, parse_public_key
from ttybridge.errors import MissingProgramError, TtyBridgeError
from ttybridge.model import Secret
from ttybridge.tokens import read_token_file

KEY_NAME = "id_ed25519"
"""Name of our own private key, as in ~/.ssh."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A token, and where it is kept."""

    token: Secret
    """The token."""
    path: Path | None = None
    """The file that it is in; None when it is not kept yet."""


@dataclass(frozen=True, slots=True)
class Store:
    """A folder that only this user can enter, and what is in it."""

    folder: Path
    """The folder, absolute."""

    @property
    def known_hosts(self) -> Path:
        """The file with the pinned host keys, one line for each name."""
        return self.folder / "known_hosts"

    def token_path(self, address: Address) -> Path:
        """Return where the token for an address is kept, for exactly that `base`.

        Not for a name: two addresses may be given one, and a token is for the server behind one.
        """
        host = re.sub("[^a-z0-9._-]", "-", address.host[:100])  # for people; the rest tells apart
        mark = hashlib.sha256(address.base.encode()).hexdigest()[:16]
        return self.folder / "tokens" / f"{host}-{mark}"

    def link_path(self, address: Address, link: Secret) -> Path:
        """Return where the access is kept that a link has given; the name does not tell the link.

        Apart from the token for the address: a guest's link must not take an owner's access away.
        """
        path = self.token_path(address)
        mark = hashlib.sha256(f"{address.base} {link}".encode()).hexdigest()[:16]
        return path.with_name(f"{path.name}+{mark}")

    def token(self, address: Address, link: Secret | None = None) -> Kept | None:
        """Return the token that is kept; None when there is none that can be used.

        Args:
            address: The bridge.
            link: A link, for the access that came by this very one. None for the token of the
                address, or where there is none, the access that a link has given last.
        """
        if link is not None:
            paths = [self.link_path(address, link)]
        else:
            own = self.token_path(address)
            by_links = own.parent.glob(f"{own.name}+*")
            paths = [own, *sorted(by_links, key=lambda path: path.stat().st_mtime, reverse=True)]
        for path in paths:
            with contextlib.suppress(ValueError):
                return Kept(Secret(read_token_file(path)), path)
        return None

    def save_token(self, address: Address, token: Secret) -> Path:
        """Keep the token for an address and return the file."""
        return self._save(self.token_path(address), f"{token}\n")

    def save_opened(self, address: Address, link: Secret, token: Secret) -> Path:
        """Keep the access that a link has given and return the file."""
        return self._save(self.link_path(address, link), f"{token}\n")

    def save_config(self, name: str, text: str) -> Path:
        """Keep the configuration for `ssh -F` and return the file."""
        return self._save(self.folder / "config" / name, text)

    def own_key(self) -> Path:
        """Return our own private key, made at the first call; two that call at once get the same.

        Raises:
            MissingProgramError: There is no ssh-keygen.
            TtyBridgeError: ssh-keygen failed.
        """
        key = self.folder / KEY_NAME
        with self._locked():
            if not key.exists():
                with tempfile.TemporaryDirectory(dir=self.folder, prefix=".new-") as folder:
                    new = Path(folder, KEY_NAME)
                    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "ttybridge", "-f", str(new))
                    # The private half last: where it is, the other one is.
                    new.with_suffix(".pub").replace(key.with_suffix(".pub"))
                    new.replace(key)
        return key

    def pin(self, name: str, key: PublicKey, *, replace: bool) -> bool:
        """Keep a host key for a name; return whether it was not there before.

        Case does not count: ssh itself takes the key of `gpu` for `GPU`, too.

        Raises:
            TtyBridgeError: Another key is kept for this name, and `replace` is false.
        """
        with self._locked():
            lines = self._known_lines()
            same = (line for line in lines if line.split(" ", 1)[0].lower() == name.lower())
            before = next(same, None)
            if before is not None and before.partition(" ")[2] == key.line:
                return False
            if before is not None and not replace:
                raise _changed(name, _fingerprint(before), key)
            kept = [line for line in lines if line is not before]
            kept.append(f"{name} {key.line}")
            self._save(self.known_hosts, "".join(f"{line}\n" for line in kept))
        return True

    def _known_lines(self) -> list[str]:
        try:
            return self.known_hosts.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def _save(self, path: Path, text: str) -> Path:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        replace_file(path, text.encode())
        return path

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing what is in the folder."""
        lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def home(environ: Mapping[str, str]) -> Path:
    """Return the user's home.

    Raises:
        TtyBridgeError: HOME does not say where it is.
    """
    folder = environ.get("HOME", "")
    if not folder.startswith("/"):
        message = "There is no home folder to keep keys in: the variable HOME is not set."
        raise TtyBridgeError(message, hint="Set it: HOME=/home/you ttybridge …")
    return Path(folder)


def open_store(environ: Mapping[str, str]) -> Store:
    """Return the client's folder, made when it is not there.

    Raises:
        TtyBridgeError: It is somebody else's, or there is no home folder.
        OSError: It cannot be made.
    """
    base = environ.get("XDG_CONFIG_HOME", "")
    above = Path(base) if base.startswith("/") else home(environ) / ".config"
    folder = above / "ttybridge" / "ssh"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        found = each.stat()
        if found.st_uid != os.geteuid():
            raise TtyBridgeError(
                f"{each} belongs to another user (id {found.st_uid}), who could read your keys.",
                hint="Name a folder of your own with XDG_CONFIG_HOME, or mend its owner.",
            )
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return Store(folder)


def public_half(identity: Path) -> PublicKey:
    """Return the public half of a private key: from the file beside it, else from ssh-keygen.

    Raises:
        TtyBridgeError: There is no such key, or it cannot be read.
    """
    beside = Path(f"{identity}.pub")
    try:
        if beside.exists():
            text = beside.read_text(encoding="utf-8", errors="replace")
        elif identity.exists():
            # ssh-keygen asks for a passphrase on the terminal itself.
            text = ssh_keygen("-y", "-f", str(identity))
        else:
            message = f"There is no key {identity}."
            raise TtyBridgeError(message, hint="Leave --identity out for a key of our own.")
        return parse_public_key(text)
    except ValueError as error:
        raise TtyBridgeError(f"{beside}: {error}") from None


def ssh_keygen(*words: str) -> str:
    """Run ssh-keygen and return what it prints.

    Raises:
        MissingProgramError: It is not installed.
        TtyBridgeError: It failed; has its last line.
    """
    try:
        # stdin is not ours to give away: it may carry the bytes of a connection.
        done = subprocess.run(
            ["ssh-keygen", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise missing("ssh-keygen") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise TtyBridgeError(f"ssh-keygen failed: {said[-1]}.")
    return done.stdout


def missing(program: str) -> MissingProgramError:
    """Return the error for a part of OpenSSH that is not installed."""
    hint = "Install the OpenSSH client: apt install openssh-client, or dnf install openssh-clients."
    return MissingProgramError(f"{program} is not installed, or not in PATH.", hint=hint)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole and at once; a link is followed, mode and owner stay, new ones get 0600.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    path = path.resolve()
    before = path.stat() if path.exists() else None
    handle, hidden = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(data)
            if before is not None:
                with contextlib.suppress(PermissionError):  # the group may be one we are not in
                    os.fchown(handle, before.st_uid, before.st_gid)
                os.fchmod(handle, before.st_mode & 0o7777)
            file.flush()
            os.fsync(handle)
        Path(hidden).replace(path)
    except BaseException:
        Path(hidden).unlink(missing_ok=True)
        raise


def _fingerprint(line: str) -> str:
    try:
        return parse_public_key(line.split(" ", 1)[1]).fingerprint
    except (IndexError, ValueError):
        return "a key that cannot be read"


def _changed(name: str, before: str, key: PublicKey) -> TtyBridgeError:
    return TtyBridgeError(
        f"The machine behind the link is not the one that {name} was: it shows the host key "
        f"{key.fingerprint}, and {before} is pinned.",
        hint="Somebody may be posing as it: compare with the fingerprint that the bridge prints. "
        "When the machine or its key is a new one, add --replace-host-key.",
    )
