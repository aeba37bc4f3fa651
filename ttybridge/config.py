"""The configuration: every option, declared once."""

# `option` is dataclasses.field with our metadata, which the rule cannot know.
# ruff: noqa: RUF009

from dataclasses import dataclass
from pathlib import Path

from ttybridge import readers as read
from ttybridge.core.ssh_keys import AuthorizedKey, GithubUser
from ttybridge.model import Mode, Secret
from ttybridge.options import Group, Kind, option

DEFAULT_PORT = 8080
"""First port that is tried when none is given: the one of the README."""

PORT_TRIES = 51
"""Ports tried when none is given: 8080 and the fifty after it."""

DEFAULT_SSH_PORT = 2222
"""First port that is tried for SSH when none is given."""

# A table: each declaration keeps its own line breaks.
# fmt: off

@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one run; `None` means that the bridge chooses."""

    # Network
    host: str = option(
        "127.0.0.1", "--host", "ADDRESS", "address to listen on",
        group=Group.NETWORK, parse=read.host,
    )
    """Address to listen on, without brackets."""
    port: int | None = option(
        None, "--port", "PORT", "port to listen on; 0 takes any free one",
        group=Group.NETWORK, parse=read.integer(0, 65535, "a port"), short="-p",
        default_text="8080, or the next free one",
    )
    """Port to listen on. `None`: the first free one of `ports`."""
    base_path: str = option(
        "", "--base-path", "PATH", "path the page is served below, such as /tty",
        group=Group.NETWORK, parse=read.base_path, default_text="/", rare=True,
    )
    """Path the page is served below: empty, or with a slash at the front and none at the end."""
    allow_host: tuple[str, ...] = option(
        (), "--allow-host", "HOST", "another name that the page is reached by *",
        group=Group.NETWORK, parse=read.host_and_port, kind=Kind.LIST,
    )
    """Further values of the Host header, with or without a port."""
    trusted_proxy: tuple[str, ...] = option(
        (), "--trusted-proxy", "NET", "address or network of a proxy in front *",
        group=Group.NETWORK, parse=read.network, kind=Kind.LIST, rare=True,
    )
    """Networks whose X-Forwarded headers are believed, such as `10.0.0.0/8`."""
    allow_frame: tuple[str, ...] = option(
        (), "--allow-frame", "ORIGIN", "origin of a page that may frame the terminal *",
        group=Group.NETWORK, parse=read.origin, kind=Kind.LIST, rare=True,
    )
    """Origins of pages that may show the terminal in a frame."""

    # Access
    token_file: Path | None = option(
        None, "--token-file", "FILE", "file with the token, readable by you alone",
        group=Group.ACCESS, parse=read.path, default_text="a random token",
    )
    """File that the token was read from, if any."""
    no_auth: bool = option(
        False, "--no-auth", "", "no token: whoever reaches the port has the shell",
        group=Group.ACCESS, kind=Kind.SWITCH,
    )
    """Whether everything is open without a token; on loopback only."""

    # Session
    session: str = option(
        "0", "--session", "NAME", "tmux session to share",
        group=Group.SESSION, parse=read.session_name, short="-s",
    )
    """Name of the tmux session."""
    socket_name: str | None = option(
        None, "--socket-name", "NAME", "tmux socket by name, as tmux -L",
        group=Group.SESSION, parse=read.socket_name, short="-L", rare=True,
        default_text="tmux's own",
    )
    """Name of tmux's socket; not together with `socket_path`."""
    socket_path: Path | None = option(
        None, "--socket-path", "PATH", "tmux socket by path, as tmux -S",
        group=Group.SESSION, parse=read.path, short="-S", default_text="tmux's own", rare=True,
    )
    """Path of tmux's socket."""
    tmux: str = option(
        "tmux", "--tmux", "PROGRAM", "tmux to use",
        group=Group.SESSION, parse=read.program, rare=True,
    )
    """Name or path of the tmux program."""
    cwd: Path | None = option(
        None, "--cwd", "DIR", "where shells start",
        group=Group.SESSION, parse=read.path, short="-C",
        default_text="./content where it exists, else .",
    )
    """Working directory; unused in a container."""
    exclusive: bool = option(
        False, "--exclusive", "", "a new connection takes the session over",
        group=Group.SESSION, kind=Kind.SWITCH, rare=True,
    )
    """Whether each new connection detaches all others."""
    container: str | None = option(
        None, "--container", "NAME", "run tmux in this container",
        group=Group.SESSION, parse=read.container, default_text="none",
    )
    """Name or id of the container that tmux runs in."""
    container_engine: str = option(
        "auto", "--container-engine", "WHICH", "docker, podman or auto",
        group=Group.SESSION, parse=read.choice("auto", "docker", "podman"), rare=True,
    )
    """Program that knows the container: `docker`, `podman` or `auto`."""
    clipboard: bool = option(
        True, "--no-clipboard", "", "programs cannot copy to the browser's clipboard",
        group=Group.SESSION, kind=Kind.SWITCH, rare=True,
    )
    """Whether programs may write to the browser's clipboard."""
    command: tuple[str, ...] = option(
        (), "--", "COMMAND…", "run COMMAND instead of tmux, shared by everyone",
        group=Group.SESSION, kind=Kind.COMMAND, in_file=False, default_text="none",
    )
    """Direct command and its arguments; empty for tmux."""
    wait: bool = option(
        False, "--wait", "", "start COMMAND when the first client joins",
        group=Group.SESSION, kind=Kind.SWITCH, rare=True,
    )
    """Whether a direct command starts with the first client, not at once."""

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
    ssh_key: tuple[AuthorizedKey, ...] = option(
        (), "--ssh-key", "KEY", "public key that may log in *",
        group=Group.SSH, parse=read.ssh_key, kind=Kind.LIST, separator="\n",
    )
    """Keys given one by one."""
    github_user: tuple[GithubUser, ...] = option(
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

    # Limits
    max_clients: int = option(
        100, "--max-clients", "N", "clients at the same time",
        group=Group.LIMITS, parse=read.integer(1, 10_000, "a number of clients"), rare=True,
    )
    """Most clients at the same time; each has a tmux client and a pty of its own."""
    resume_s: float = option(
        60.0, "--resume", "TIME", "how long a lost client's place is kept",
        group=Group.LIMITS, parse=read.seconds(0, 3600), rare=True, default_text="60s",
    )
    """Seconds that the place of a client that lost its connection is kept."""
    backlog_bytes: int = option(
        4 << 20, "--backlog", "SIZE", "output of COMMAND kept for late joiners",
        group=Group.LIMITS, parse=read.byte_size(64 << 10, 1 << 30), rare=True, default_text="4M",
    )
    """Bytes of a direct command's output that are kept for late joiners."""
    window_bytes: int = option(
        512 << 10, "--window", "SIZE", "output under way to a client without its ack",
        group=Group.LIMITS, parse=read.byte_size(64 << 10, 64 << 20), rare=True,
        default_text="512K",
    )
    """Bytes that may be under way to a client without being acknowledged."""
    join_timeout_s: float = option(
        10.0, "--join-timeout", "TIME", "time a client has to finish joining",
        group=Group.LIMITS, parse=read.seconds(1, 300), rare=True, default_text="10s",
    )
    """Seconds that a connection has to finish joining."""

    # Output
    label: str = option(
        "", "--label", "TEXT", "a name for this bridge in `ttybridge status`",
        group=Group.OUTPUT, parse=read.label, rare=True, default_text="none",
    )
    """Name of this bridge among others; empty for none."""
    quiet: bool = option(
        False, "--quiet", "", "print the link and errors, nothing else",
        group=Group.OUTPUT, kind=Kind.SWITCH, short="-q",
    )
    """Whether only the link and errors are printed."""
    open: bool = option(
        False, "--open", "", "open the link in the browser",
        group=Group.OUTPUT, kind=Kind.SWITCH, rare=True, short="-o",
    )
    """Whether the browser is opened."""
    verbose: int = option(
        0, "--verbose", "", "say what happens; twice: with tracebacks",
        group=Group.OUTPUT, kind=Kind.COUNT, parse=read.integer(0, 2, "a level"), short="-v",
    )
    """0: warnings; 1: life events too; 2: with tracebacks. Typed and shown text is never logged."""
    config_file: Path | None = option(
        None, "--config", "FILE", "configuration file (TOML)",
        group=Group.OUTPUT, parse=read.path, rare=True, short="-c", in_file=False,
        default_text="$XDG_CONFIG_HOME/ttybridge/config.toml",
    )
    """File that settings were read from, if any."""

    # fmt: on

    # Not an option: it comes from TTYBRIDGE_TOKEN or the token file.
    token: Secret | None = None
    """The token. `None`: the bridge makes one, or none is needed (`no_auth`)."""
    # Not an option either: it comes from TTYBRIDGE_HOST_KEY_SECRET.
    host_key_secret: Secret | None = None
    """What the SSH host key is made from. `None`: it is random, or kept in `state_dir`."""

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
    def mode(self) -> Mode:
        """How clients share the session."""
        if self.command:
            return Mode.DIRECT
        if self.container:
            return Mode.CONTAINER
        return Mode.EXCLUSIVE if self.exclusive else Mode.TMUX

    @property
    def ports(self) -> range:
        """The ports to try, in order; one when it was given."""
        if self.port is not None:
            return range(self.port, self.port + 1)
        return range(DEFAULT_PORT, DEFAULT_PORT + PORT_TRIES)

    @property
    def ssh_ports(self) -> range:
        """The ports to try for SSH, in order; one when it was given."""
        first = DEFAULT_SSH_PORT if self.ssh_port is None else self.ssh_port
        return range(first, first + (PORT_TRIES if self.ssh_port is None else 1))

    @property
    def directory(self) -> Path:
        """Where shells and the direct command start."""
        return self.cwd or Path()
