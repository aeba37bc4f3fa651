"""The configuration of the companion sshd, as text. Nothing is run or read here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ttybridge.core.shell import is_safe_path

SUBSYSTEM = "ttybridge-sftp"
"""What sshd calls the sftp subsystem: the forced command gets this word, whatever it stands for."""

LOGIN_GRACE_S = 20
"""Time to log in, in seconds; sshd's own default of 120 lets strangers hold places for longer."""

ALIVE_S, ALIVE_TRIES = 15, 4
"""A client that answers none of so many questions, one every so many seconds, is dropped."""


@dataclass(frozen=True, slots=True)
class SshdSettings:
    """What one sshd is configured with."""

    user: str
    """The one account that may log in: the bridge's own."""
    host: str
    """Name or address to listen on, without brackets."""
    port: int
    """Port to listen on."""
    host_key: str
    """Absolute path of the private host key."""
    authorized_keys: str
    """Absolute path of the file with the keys, each with its forced command."""
    uses_pam: bool = False
    """Whether PAM is asked; only for accounts that are locked otherwise."""
    forwarding: bool = True
    """Whether ports and sockets may be forwarded (-L, -R, -D)."""
    agent: bool = True
    """Whether the client's agent may be forwarded (-A)."""
    sftp: bool = True
    """Whether there is an sftp subsystem, which scp uses, too."""
    version: tuple[int, int] | None = None
    """Version of OpenSSH; None when it is not known."""


def user_pattern(name: str) -> str:
    r"""Return a pattern of sshd's for one account, in which `?` stands for any byte.

    A name from a directory service may have an `@` or a blank, which mean something else there.

    >>> user_pattern("root"), user_pattern("ana@corp.example"), user_pattern("CORP\\zoë")
    ('root', 'ana?corp.example', 'CORP?zo??')
    """
    return re.sub(rb"[^A-Za-z0-9._+-]", b"?", name.encode(errors="surrogateescape")).decode()


def sshd_config(settings: SshdSettings) -> str:
    """Return the text of sshd_config.

    Only keys open it, only for one account, and what a key may do stands with the key in the
    authorized_keys file. Nothing of the system's configuration is read.

    Raises:
        ValueError: A path is not `is_safe_path`.
    """
    for path in (settings.host_key, settings.authorized_keys):
        if not is_safe_path(path):
            reason = f"sshd would misread the path {path!r}"
            raise ValueError(reason)
    return "".join(f"{line}\n" for line in _lines(settings))


def _lines(settings: SshdSettings) -> Iterator[str]:
    yield f"Port {settings.port}"
    yield f"ListenAddress {settings.host}"
    yield f"HostKey {settings.host_key}"
    yield f"AuthorizedKeysFile {settings.authorized_keys}"
    yield f"AllowUsers {user_pattern(settings.user)}"
    yield "AuthenticationMethods publickey"
    yield "PubkeyAuthentication yes"
    yield "PasswordAuthentication no"
    yield "KbdInteractiveAuthentication no"
    yield "PermitEmptyPasswords no"
    yield "PermitRootLogin prohibit-password"
    # The files are ours, in a folder of ours: the folders above it may belong to anybody.
    yield "StrictModes no"
    yield f"UsePAM {_yes(settings.uses_pam)}"
    # Without AcceptEnv, a client says what its terminal is and nothing else.
    yield "PermitUserEnvironment no"
    yield "PermitUserRC no"
    # Debian's bash reads ~/.bashrc for commands that sshd runs, unless it is not the first shell
    # (SSH_SOURCE_BASHRC); a slow or talking one breaks scp, sftp and rsync.
    yield "SetEnv SHLVL=2"
    yield f"AllowTcpForwarding {_yes(settings.forwarding)}"
    yield f"AllowStreamLocalForwarding {_yes(settings.forwarding)}"
    yield f"AllowAgentForwarding {_yes(settings.agent)}"
    yield "GatewayPorts no"
    yield "PermitTunnel no"
    yield "X11Forwarding no"
    yield "PrintMotd no"
    yield "PrintLastLog no"
    yield "Banner none"
    yield "UseDNS no"
    yield "PidFile none"
    yield "LogLevel VERBOSE"
    yield f"LoginGraceTime {LOGIN_GRACE_S}"
    # Behind a tunnel everybody comes from one address: nothing is counted by address.
    yield "MaxStartups 100:30:200"
    if settings.version is not None and settings.version >= (9, 8):
        yield "PerSourcePenalties no"
    yield "MaxSessions 100"
    yield f"ClientAliveInterval {ALIVE_S}"
    yield f"ClientAliveCountMax {ALIVE_TRIES}"
    if settings.sftp:
        yield f"Subsystem sftp {SUBSYSTEM}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def parse_version(text: str) -> tuple[int, int] | None:
    """Read what `sshd -V` prints; older ones print it among complaints about the option.

    >>> parse_version("OpenSSH_9.2, OpenSSL 3.0.19 27 Jan 2026")
    (9, 2)
    >>> parse_version("sshd: illegal option")
    """
    match = re.search(r"OpenSSH_([0-9]{1,4})\.([0-9]{1,4})", text)
    return (int(match[1]), int(match[2])) if match else None
