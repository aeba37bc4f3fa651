"""What the command prints when the bridge is up."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ttybridge.core.public_key import PublicKey
from ttybridge.model import Mode

MIN_COLUMNS, MAX_COLUMNS = 40, 100
"""Text is wrapped within these: narrower is unreadable, and so are longer lines."""


@dataclass(frozen=True, slots=True)
class Banner:
    """A text with the link on a line of its own in the middle.

    The parts go to different places: the link is what was asked for, the rest is explanation.
    """

    head: str
    """Lines before the link, each with its newline."""
    link: str
    """The link, without a newline."""
    tail: str
    """Lines after the link, each with its newline."""

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.head}{self.link}\n{self.tail}"


@dataclass(frozen=True, slots=True)
class SshLine:
    """How to come by SSH."""

    user: str
    """The account to log in to."""
    host: str
    """Name or address of this machine, without brackets."""
    port: int
    """Port of the companion sshd."""
    host_key: PublicKey
    """Its host key's public half."""
    lands: str
    """Where a login with a terminal lands, in words."""

    @property
    def command(self) -> str:
        """The command that logs in."""
        return f"ssh -p {self.port} {self.user}@{self.host}"

    @property
    def alias(self) -> str:
        """A name for the host key in known_hosts: another key is another name, and no alarm."""
        start = "".join(c for c in self.host_key.fingerprint.partition(":")[2] if c.isalnum())[:8]
        return f"ttybridge-{start}"

    @property
    def block(self) -> tuple[str, ...]:
        """Lines for ~/.ssh/config."""
        return (
            "Host ttybridge",
            f"  HostName {self.host}",
            f"  Port {self.port}",
            f"  User {self.user}",
            f"  HostKeyAlias {self.alias}",
        )


@dataclass(frozen=True, slots=True)
class PublicLine:
    """What to tell about a public link."""

    local: str
    """The address on this machine, without token."""
    life_s: float
    """Seconds in which the link can be opened."""
    uses: int
    """How many browsers it lets in."""
    ssh_command: str = ""
    """The command that logs in over it; empty without SSH."""
    has_ssh_address: bool = False
    """Whether sshd has a public address of its own, too."""
    qr: str = ""
    """The link as a QR code in text; empty for none."""


def make_banner(
    *,
    version: str,
    link: str,
    session: str,
    mode: Mode,
    notes: Sequence[str] = (),
    token_generated: bool = True,
    ssh: SshLine | None = None,
    public: PublicLine | None = None,
    proxied: Sequence[str] = (),
    columns: int = 80,
) -> Banner:
    """Return the banner.

    Args:
        version: Version of the program.
        link: Address with the token; printed as it is, never wrapped.
        session: Name of the tmux session, or the direct command.
        mode: How clients share it.
        notes: Further sentences, one paragraph each.
        token_generated: Whether the token lives for this run only.
        ssh: How to come by SSH; None without it.
        public: What to tell about a link that leads through a tunnel; None for one of this machine.
        proxied: Addresses of web apps of this machine that are served.
        columns: Width of the terminal.

    >>> print(make_banner(version="1.0", link="http://127.0.0.1:8080/?token=x", session="0",
    ...     mode=Mode.TMUX).text, end="")
    ttybridge 1.0 · tmux session 0
    Open this link in a browser; whoever has it can type:
    <BLANKLINE>
    http://127.0.0.1:8080/?token=x
    <BLANKLINE>
    Ctrl-C stops the bridge; the tmux session lives on.
    """
    width = min(max(columns, MIN_COLUMNS), MAX_COLUMNS)
    invitation = "Open this link in a browser; whoever has it can type:"
    if "token=" not in link:
        invitation = "Open this link in a browser:"
    if public is not None:
        invitation = _public_invitation(public)
    head = [f"ttybridge {version} · {what(mode, session)}", *_wrap(invitation, width), ""]
    tail = _public(public, width) if public is not None else []
    if ssh is not None and (public is None or public.has_ssh_address):
        tail += _ssh(ssh, width, is_public=public is not None)
    if proxied:
        tail += ["", "Web apps of this machine, for browsers that are in:", ""]
        tail += [f"  {address}" for address in proxied]
    tail += ["", *_wrap(how_to_stop(mode), width)]
    if not token_generated and "token=" in link:
        tail += _wrap("The token is yours: the link stays the same at the next start.", width)
    for note in notes:
        tail += _wrap(note, width, mark="- ")
    return Banner(_lines(head), link, _lines(tail))


def _public_invitation(public: PublicLine) -> str:
    often = "it works once" if public.uses == 1 else f"it lets {public.uses} browsers in"
    return f"Open this link in a browser within {duration(public.life_s)}; {often}:"


def duration(time_s: float) -> str:
    """Say how long something lasts.

    >>> duration(600), duration(90), duration(86400)
    ('10 minutes', '90 seconds', '24 hours')
    """
    units = ((3600, "hour"), (60, "minute"), (1, "second"))
    whole = (unit for unit in units if time_s >= unit[0] and time_s % unit[0] == 0)
    unit_s, name = next(whole, units[-1])
    count = f"{time_s / unit_s:g}"
    return f"{count} {name}" if count == "1" else f"{count} {name}s"


def _public(public: PublicLine, width: int) -> list[str]:
    lines = ["", *public.qr.splitlines()] if public.qr else []
    more = f"For another browser: ttybridge link. On this machine: {public.local}"
    lines += ["", *_wrap(more, width)]
    if public.ssh_command:
        said = "SSH from a machine that has ttybridge, with scp and all other tools by ssh-config:"
        lines += ["", *_wrap(said, width), "", f"  {public.ssh_command}"]
    return lines


def _ssh(ssh: SshLine, width: int, *, is_public: bool = False) -> list[str]:
    return [
        "",
        *_wrap(f"SSH, for the keys that may log in, lands in {ssh.lands}:", width),
        "",
        f"  {ssh.command}",
        "",
        *_wrap(f"Host key: {ssh.host_key.label}", width),
        *_wrap("For ~/.ssh/config, so that scp, rsync and editors find it by name:", width),
        "",
        *(f"  {line}" for line in ssh.block),
        *(() if is_public else _over_link(width)),
    ]


def _over_link(width: int) -> list[str]:
    return [
        "",
        *_wrap(
            "From a machine that only the link reaches: ttybridge ssh LINK, or for other tools "
            "ttybridge ssh-config LINK.",
            width,
        ),
    ]


def what(mode: Mode, session: str) -> str:
    """Name what is shared.

    >>> what(Mode.CONTAINER, "0")
    'tmux session 0 in the container'
    """
    match mode:
        case Mode.TMUX:
            return f"tmux session {_safe(session)}"
        case Mode.EXCLUSIVE:
            return f"tmux session {_safe(session)}, one connection at a time"
        case Mode.CONTAINER:
            return f"tmux session {_safe(session)} in the container"
        case Mode.DIRECT:
            return f"command: {_safe(session)}"


def how_to_stop(mode: Mode) -> str:
    """Say what Ctrl-C does, and what it leaves."""
    if mode is Mode.DIRECT:
        return "Ctrl-C stops the bridge and the command."
    return "Ctrl-C stops the bridge; the tmux session lives on."


def _safe(text: str) -> str:
    """Show text of others on one line: control characters are escaped, long text is cut."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _wrap(text: str, width: int, *, mark: str = "") -> list[str]:
    """Break a paragraph into lines, without cutting words such as addresses."""
    return textwrap.wrap(
        _collapse(text),
        width,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _collapse(text: str) -> str:
    """Make one paragraph of a text, with control characters escaped."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
