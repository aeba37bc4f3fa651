"""The options about the ways in from elsewhere: SSH and the public address."""

# `option` is dataclasses.field with our metadata, which the rule cannot know.
# ruff: noqa: RUF009

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttybridge import readers as read
from ttybridge.options import Group, Kind, option

if TYPE_CHECKING:
    from ttybridge.core.ssh_keys import AuthorizedKey, GithubUser

DEFAULT_SSH_PORT = 2222
"""First port that is tried for SSH when none is given."""

PORT_TRIES = 51
"""Ports tried when none is given: the first one and the fifty after it."""

OWN_TUNNELS = ("none", "ngrok", "cloudflared", "ssh")
"""Names of the tunnels in the package; others are other packages'."""

# A table: each declaration keeps its own line breaks.
# fmt: off

# Only `Config` is ever made, and has methods of its own for all fields.
@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Reach:
    """Settings of the ways in; `ttybridge.config.Config` has them too."""

    # SSH
    ssh: bool = option(
        False, "--ssh", "", "people may also come by SSH, with keys alone",
        group=Group.SSH, kind=Kind.SWITCH,
    )
    """Whether a companion sshd is started."""
    authorized_keys: tuple[Path, ...] = option(
        (), "--authorized-keys", "FILE", "file with public keys that may log in *",
        group=Group.SSH, parse=read.path, kind=Kind.LIST, default_text="~/.ssh/authorized_keys",
    )
    """Files with keys. Empty: the user's own file, unless keys are given otherwise."""
    ssh_key: "tuple[AuthorizedKey, ...]" = option(
        (), "--ssh-key", "KEY", "public key that may log in *",
        group=Group.SSH, parse=read.ssh_key, kind=Kind.LIST, separator="\n",
    )
    """Keys given one by one."""
    github_user: "tuple[GithubUser, ...]" = option(
        (), "--github-user", "NAME", "GitHub user whose keys may log in *",
        group=Group.SSH, parse=read.github_user, kind=Kind.LIST, rare=True,
    )
    """Users whose public keys are asked for."""
    ssh_shell: bool = option(
        False, "--ssh-shell", "", "SSH logins get a shell, not the session",
        group=Group.SSH, kind=Kind.SWITCH, rare=True,
    )
    """Whether a login with a terminal gets a plain shell."""
    ssh_host: str = option(
        "127.0.0.1", "--ssh-host", "ADDRESS", "address to listen on for SSH",
        group=Group.SSH, parse=read.host, rare=True,
    )
    """Address that sshd listens on, without brackets."""
    ssh_port: int | None = option(
        None, "--ssh-port", "PORT", "port to listen on for SSH; 0 takes any free one",
        group=Group.SSH, parse=read.integer(0, 65535, "a port"), rare=True,
        default_text="2222, or the next free one",
    )
    """Port that sshd listens on. `None`: the first free one of `ssh_ports`."""
    state_dir: Path | None = option(
        None, "--state-dir", "DIR", "folder that keeps the SSH host key",
        group=Group.SSH, parse=read.path, rare=True, default_text="a new host key at each start",
    )
    """Folder with the host key."""
    ssh_forwarding: bool = option(
        True, "--no-ssh-forwarding", "", "no ports are forwarded over SSH (-L, -R, -D)",
        group=Group.SSH, kind=Kind.SWITCH, rare=True,
    )
    """Whether ports and sockets may be forwarded."""
    ssh_agent: bool = option(
        True, "--no-ssh-agent", "", "no agent is forwarded over SSH (-A)",
        group=Group.SSH, kind=Kind.SWITCH, rare=True,
    )
    """Whether a client's agent may be forwarded."""
    ssh_sftp: bool = option(
        True, "--no-ssh-sftp", "", "no sftp over SSH",
        group=Group.SSH, kind=Kind.SWITCH, rare=True,
    )
    """Whether there is sftp."""
    max_ssh: int = option(
        20, "--max-ssh", "N", "SSH connections over the web address at a time",
        group=Group.SSH, parse=read.integer(1, 1000, "a number of connections"), rare=True,
    )
    """Most connections of `colab/ssh` at a time; each has an sshd of its own."""
    github_url: str = option(
        "https://github.com", "--github-url", "URL", "where --github-user asks for NAME.keys",
        group=Group.SSH, parse=read.site, rare=True,
    )
    """Site that has `/NAME.keys`, without a slash at the end."""
    sshd: str = option(
        "sshd", "--sshd", "PROGRAM", "sshd to use",
        group=Group.SSH, parse=read.program, rare=True,
    )
    """Name or path of OpenSSH's sshd."""

    # Public address
    ngrok: bool = option(
        False, "--ngrok", "", "a public https address from ngrok",
        group=Group.PUBLIC, kind=Kind.SWITCH,
    )
    """Short for `--tunnel ngrok`."""
    cloudflared: bool = option(
        False, "--cloudflared", "", "the same from Cloudflare, without an account",
        group=Group.PUBLIC, kind=Kind.SWITCH,
    )
    """Short for `--tunnel cloudflared`."""
    tunnel: str = option(
        "none", "--tunnel", "NAME", "ngrok, cloudflared, ssh:USER@HOST, …",
        group=Group.PUBLIC, parse=read.tunnel,
    )
    """Tunnel that makes the bridge public: its name, or `NAME:ARGUMENT`."""
    ngrok_tcp: bool = option(
        False, "--ngrok-tcp", "", "SSH through a TCP endpoint of ngrok, too",
        group=Group.PUBLIC, kind=Kind.SWITCH, rare=True,
    )
    """Whether sshd gets a TCP endpoint of its own at ngrok."""
    ngrok_domain: str | None = option(
        None, "--ngrok-domain", "NAME", "your domain at ngrok",
        group=Group.PUBLIC, parse=read.domain, rare=True, default_text="one that ngrok chooses",
    )
    """Domain at ngrok that the page is reached by."""
    ngrok_oauth: str | None = option(
        None, "--ngrok-oauth", "PROVIDER", "let ngrok ask for a login with google, github, …",
        group=Group.PUBLIC, parse=read.word, rare=True, default_text="no login at ngrok",
    )
    """Provider of the login that ngrok asks for before anything reaches the bridge."""
    ngrok_allow: tuple[str, ...] = option(
        (), "--ngrok-allow", "EMAIL", "who may log in with --ngrok-oauth, or @DOMAIN *",
        group=Group.PUBLIC, parse=read.email, kind=Kind.LIST, rare=True,
    )
    """E-mail addresses, or `@domain`, that pass the login of `ngrok_oauth`."""
    ngrok_basic_auth: Path | None = option(
        None, "--ngrok-basic-auth", "FILE", "let ngrok ask for USER:PASSWORD, a line in FILE",
        group=Group.PUBLIC, parse=read.path, rare=True, default_text="no password at ngrok",
    )
    """File with `user:password` lines that ngrok asks for, readable by this user alone."""
    tunnel_url: str | None = option(
        None, "--tunnel-url", "URL", "public address in front of an ssh tunnel",
        group=Group.PUBLIC, parse=read.origin, rare=True, default_text="http://HOST:PORT",
    )
    """Public address of an `ssh:` tunnel, where a web server stands before its far end."""
    tunnel_host_key: str | None = option(
        None, "--tunnel-host-key", "KEY", "public host key of an ssh tunnel's host",
        group=Group.PUBLIC, parse=read.host_key, rare=True, default_text="as in ~/.ssh/known_hosts",
    )
    """Host key of an `ssh:` tunnel's host, as `type base64`."""
    link_life_s: float = option(
        600.0, "--link-life", "TIME", "how long a public link can be opened",
        group=Group.PUBLIC, parse=read.seconds(10, 30 * 86400), rare=True, default_text="10m",
    )
    """Seconds in which a public link can be opened for the first time."""
    link_uses: int = option(
        1, "--link-uses", "N", "how many browsers a public link lets in",
        group=Group.PUBLIC, parse=read.integer(1, 10_000, "a number of browsers"), rare=True,
    )
    """Browsers that one public link lets in; each keeps a cookie."""
    proxy: tuple[range, ...] = option(
        (), "--proxy", "PORTS", "web apps of this machine served at /proxy/PORT/ *",
        group=Group.PUBLIC, parse=read.ports, kind=Kind.LIST,
    )
    """Ports of this machine whose web apps are served below `/proxy/`."""
    qr: bool = option(
        True, "--no-qr", "", "no QR code of the public link",
        group=Group.PUBLIC, kind=Kind.SWITCH, rare=True,
    )
    """Whether a public link is shown as a QR code, too."""

    # fmt: on

    @property
    def tunnel_name(self) -> str:
        """Name of the tunnel; `none` without one."""
        if self.ngrok or self.cloudflared:
            return "ngrok" if self.ngrok else "cloudflared"
        return self.tunnel.partition(":")[0]

    @property
    def tunnel_argument(self) -> str:
        """What follows the tunnel's name and a colon; empty when nothing does."""
        return self.tunnel.partition(":")[2]

    @property
    def is_public(self) -> bool:
        """Whether a tunnel makes the bridge public."""
        return self.tunnel_name != "none"

    @property
    def ssh_ports(self) -> range:
        """The ports to try for SSH, in order; one when it was given."""
        first = DEFAULT_SSH_PORT if self.ssh_port is None else self.ssh_port
        return range(first, first + (PORT_TRIES if self.ssh_port is None else 1))
