"""What a running bridge says about itself, read from its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ttybridge.core.limits import Use


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """The tunnel of a bridge."""

    name: str
    """The provider, such as `ngrok`."""
    state: str
    """`open`, or `reopening` while its address is lost."""
    urls: tuple[str, ...]
    """Its public addresses, without token."""
    notes: tuple[str, ...]
    """Sentences about what the user may not expect."""


@dataclass(frozen=True, slots=True)
class SshStatus:
    """The SSH server of a bridge."""

    user: str
    """The account to log in to."""
    host: str
    """Name or address of the machine that it runs on."""
    port: int
    """Its port there."""
    command: str
    """The command that logs in from where `host` is reached."""
    host_key: str
    """The public half of its host key."""
    fingerprint: str
    """Fingerprint of that, `SHA256:…`."""
    public: tuple[str, int] | None
    """Public host and port that lead to it; None when only the web address does."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a bridge says about itself."""

    pid: int
    """Its process."""
    label: str
    """The name that it was given; may be empty."""
    version: str
    """Version of the program."""
    started_at: float
    """When it was started, in seconds since 1970."""
    session: str
    """The tmux session, or the direct command."""
    mode: str
    """How clients share it: `tmux`, `exclusive`, `container` or `direct`."""
    port: int
    """The local port."""
    address: str
    """The local address, without token."""
    clients: int
    """Clients that are connected."""
    tunnel: TunnelStatus | None
    """The tunnel, if there is one."""
    ssh: SshStatus | None
    """The SSH server, if there is one."""
    proxy: tuple[int, ...]
    """Ports whose web apps are served below `/proxy/`."""
    limits: tuple[Use, ...] = ()
    """Every limit, and what is used of it."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """How many clients and requests were refused, by reason."""

    @property
    def public_url(self) -> str:
        """The public address without token; while it is lost, the last one. Empty without one."""
        urls = self.tunnel.urls if self.tunnel else ()
        url = next((url for url in urls if url.startswith(("https:", "http:"))), "")
        return url and url.rstrip("/") + (urlsplit(self.address).path or "/")


def parse_status(answer: Any) -> Status:
    """Return the status in a bridge's answer, JSON that was read.

    Raises:
        KeyError: Something is missing; ValueError, TypeError, AttributeError or OverflowError where
            it is of another kind.
    """
    tunnel, ssh = answer["tunnel"], answer["ssh"]
    return Status(
        pid=int(answer["pid"]),
        label=str(answer["label"]),
        version=str(answer["version"]),
        started_at=float(answer["startedAt"]),
        session=str(answer["session"]),
        mode=str(answer["mode"]),
        port=int(answer["port"]),
        address=str(answer["address"]),
        clients=int(answer["clients"]),
        tunnel=tunnel and _tunnel(tunnel),
        ssh=ssh and _ssh(ssh),
        proxy=tuple(int(port) for port in answer["proxy"]),
        limits=tuple(_use(each) for each in answer.get("limits", ())),
        refused={str(reason): int(n) for reason, n in answer.get("refused", {}).items()},
    )


def _use(answer: Any) -> Use:
    return Use(
        str(answer["name"]),
        str(answer["option"]),
        float(answer["limit"]),
        float(answer["inUse"]),
        answer["isPeak"] is True,
    )


def _tunnel(answer: Any) -> TunnelStatus:
    urls, notes = map(str, answer["urls"]), map(str, answer["notes"])
    return TunnelStatus(str(answer["name"]), str(answer["state"]), tuple(urls), tuple(notes))


def _ssh(answer: Any) -> SshStatus:
    host, colon, port = str(answer["public"] or "").removeprefix("tcp://").rpartition(":")
    return SshStatus(
        user=str(answer["user"]),
        host=str(answer["host"]),
        port=int(answer["port"]),
        command=str(answer["command"]),
        host_key=str(answer["hostKey"]),
        fingerprint=str(answer["fingerprint"]),
        public=(host, int(port)) if colon else None,
    )
