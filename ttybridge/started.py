"""What the bridge tells when it serves."""

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttybridge.config import Config
from ttybridge.model import Mode
from ttybridge.sessions.place import Terminals

if TYPE_CHECKING:
    from ttybridge.core.banner import SshLine
    from ttybridge.ssh.companion import Companion


@dataclass(frozen=True, slots=True)
class Started:
    """What is said when the bridge serves."""

    link: str
    """The address with what lets in: the token, or behind a tunnel a link."""
    address: str
    """The address without it; the public one where there is a tunnel."""
    local: str
    """The address on this machine, without token."""
    session: str
    """The tmux session, or the direct command."""
    mode: Mode
    """How clients share the session."""
    notes: tuple[str, ...]
    """Sentences about what the user may not expect."""
    token_generated: bool
    """Whether the token was made for this run."""
    ssh: "SshLine | None"
    """What to tell about SSH; None without it."""
    ssh_command: str
    """The command that logs in over the public address; empty where there is none."""
    has_ssh_address: bool
    """Whether sshd has a public address of its own."""
    proxied: tuple[str, ...]
    """Addresses of this machine's web apps, without credential."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What is said when the public address has changed, or works again."""

    link: str
    """The address with a new link."""
    ssh: "SshLine | None"
    """What to tell about SSH through an address of its own; None without one."""


def ssh_line(
    config: Config, sshd: "Companion", terminals: Terminals, public: tuple[str, int] | None
) -> "SshLine":
    """Return what to tell about SSH."""
    from ttybridge.core.banner import SshLine, what

    host = socket.gethostname() if sshd.host in ("0.0.0.0", "::") else sshd.host  # noqa: S104
    lands = "a shell of its own" if config.ssh_shell else what(terminals.mode, terminals.session)
    at = public or (host, sshd.port)
    return SshLine(sshd.user, at[0], at[1], sshd.host_key, lands)


def shown_host(host: str) -> str:
    """Return how a host that is listened on stands in an address of this machine."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104  (compared, not bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
