"""The text of ssh's configuration files: a Host block, and its place among what is there."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttybridge.errors import TtyBridgeError

FILE_NAME = "ttybridge_config"
"""Our own file in ~/.ssh; ssh looks for it there, as `Include` has no slash in it."""

ALIVE_S = 20
"""Seconds between two questions whether the other side is there: well below the 60 after which
nginx closes a quiet connection by default (proxy_read_timeout)."""

_INCLUDE = f"Include {FILE_NAME}".encode()
_HEAD = b"# Made by: ttybridge ssh-config --write\n"
_BLOCK_START = re.compile(rb"\s*(?:host|match)(?:\s|=)", re.IGNORECASE)
_NOT_A_SETTING = re.compile(rb"\s*(?:#.*)?\s*")


@dataclass(frozen=True, slots=True)
class Host:
    """What a Host block says."""

    name: str
    """The word after `ssh`."""
    user: str
    """Who to log in as."""
    known_hosts: Path
    """File that has the pinned key, under `name`."""
    identity: Path
    """The private key to log in with."""
    proxy: Sequence[str]
    """Words of the command that carries the bytes; no token among them."""


def block(host: Host) -> str:
    """Return the lines of a Host block.

    Raises:
        TtyBridgeError: A path cannot be written in the language of the file.
    """
    settings = (
        ("HostName", host.name),
        ("User", host.user),
        ("HostKeyAlias", host.name),
        ("UserKnownHostsFile", _path(host.known_hosts)),
        ("StrictHostKeyChecking", "yes"),
        ("UpdateHostKeys", "no"),
        ("IdentityFile", _path(host.identity)),
        ("IdentitiesOnly", "yes"),
        ("ServerAliveInterval", str(ALIVE_S)),
        ("ProxyCommand", _command(host.proxy)),
    )
    return f"Host {host.name}\n" + "".join(f"  {key} {value}\n" for key, value in settings)


def standalone(block_text: str) -> str:
    """Return a file for `ssh -F`: the block, then what ssh would have read without it.

    ssh keeps the first value of each setting, and passes over included files that are missing.
    """
    return f"{block_text}\nMatch all\n  Include ~/.ssh/config\n  Include /etc/ssh/ssh_config\n"


def with_block(data: bytes, name: str, block_text: str) -> bytes:
    """Return our file with the block in it: in the place of an older one, else at the end.

    Everything else stays byte for byte as it is.
    """
    lines = data.splitlines(keepends=True)
    start = next((at for at, line in enumerate(lines) if _is_host_line(line, name)), None)
    if start is None:
        before = data or _HEAD
        gap = b"\n" if before.endswith(b"\n") else b"\n\n"
        return before + gap + block_text.encode()
    end = start + 1
    while end < len(lines) and not _BLOCK_START.match(lines[end]):
        end += 1
    while _NOT_A_SETTING.fullmatch(lines[end - 1]):
        end -= 1  # a comment, or an empty line, belongs to what follows
    return b"".join(lines[:start]) + block_text.encode() + b"".join(lines[end:])


def with_include(data: bytes) -> bytes:
    r"""Return a configuration that begins with the line that includes ours.

    At the beginning, since inside a block it would count for that block's hosts only. All other
    bytes stay as they are, and so does a file whose first setting it is already.

    >>> with_include(b"Host a\n")
    b'Include ttybridge_config\n\nHost a\n'
    """
    for line in data.splitlines():
        if not _NOT_A_SETTING.fullmatch(line):
            words = line.replace(b"=", b" ", 1).split()
            if words and words[0].lower() == b"include" and FILE_NAME.encode() in words[1:]:
                return data
            break
    return _INCLUDE + b"\n" + (b"\n" + data if data else b"")


def _is_host_line(line: bytes, name: str) -> bool:
    words = line.replace(b"=", b" ", 1).split()
    return len(words) == 2 and words[0].lower() == b"host" and words[1] == name.encode()


def _path(path: Path) -> str:
    """Return a path as ssh reads it back, quoted when it has a space in it."""
    text = _checked(str(path)).replace("%", "%%")
    return f'"{text}"' if re.search(r"[\s'#=]", text) else text


def _command(words: Sequence[str]) -> str:
    """Return a command as ssh hands it to a shell."""
    return " ".join(shlex.quote(_checked(word)) for word in words).replace("%", "%%")


def _checked(text: str) -> str:
    """Return a word that ssh and a shell read alike when it is quoted."""
    if not text.isprintable() or any(part in text for part in ('"', "'", "\\", "${")):
        raise TtyBridgeError(
            f"ssh's configuration cannot hold the path {text!r}: it has quotes, backslashes, ${{ "
            "or control characters in it.",
            hint="Use a folder with a plainer name: set XDG_CONFIG_HOME, or give --identity FILE.",
        )
    return text
