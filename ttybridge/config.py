"""The configuration: every option, declared once."""

# `option` is dataclasses.field with our metadata, which the rule cannot know.
# ruff: noqa: RUF009

from dataclasses import dataclass
from pathlib import Path

from ttybridge import readers as read
from ttybridge.config_reach import PORT_TRIES, Reach
from ttybridge.core.limits import (
    BODY_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    LOG_LINES,
    MAX_HANDSHAKES,
    MAX_PENDING,
    Bounds,
)
from ttybridge.core.protocol import MAX_MESSAGE_BYTES
from ttybridge.model import Mode, Secret
from ttybridge.options import Group, Kind, option

DEFAULT_PORT = 8080
"""First port that is tried when none is given: the one of the README."""

# A table: each declaration keeps its own line breaks.
# fmt: off

@dataclass(frozen=True, slots=True)
class Config(Reach):
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
        group=Group.NETWORK, parse=read.host_and_port, kind=Kind.LIST, rare=True,
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

    approve: bool = option(
        False, "--approve", "", "guests wait until an owner lets them in",
        group=Group.ACCESS, kind=Kind.SWITCH,
    )
    """Whether newcomers who are no owners wait to be let in."""
    lock: bool = option(
        False, "--lock", "", "nobody new comes in once an owner is there",
        group=Group.ACCESS, kind=Kind.SWITCH, rare=True,
    )
    """Whether the session is locked as soon as an owner has come."""
    audit_log: str = option(
        "auto", "--audit-log", "FILE", "log of joins and changes of rights, or none",
        group=Group.ACCESS, parse=read.audit_log, rare=True,
        default_text="$XDG_STATE_HOME/ttybridge/audit.jsonl",
    )
    """File for the audit log; `auto` for the default place, `none` for none."""

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

    # Recording
    record: Path | None = option(
        None, "--record", "FILE", "record the session from the start (asciicast)",
        group=Group.RECORDING, parse=read.path, in_file=False, default_text="nothing is recorded",
    )
    """File that the session is recorded in from the start."""
    record_dir: Path | None = option(
        None, "--record-dir", "DIR", "folder of recordings that get no name",
        group=Group.RECORDING, parse=read.path, rare=True,
        default_text="$XDG_DATA_HOME/ttybridge/recordings",
    )
    """Folder that recordings are written to, and that the page shows."""
    record_format: str = option(
        "v2", "--record-format", "WHICH", "asciicast v2 or v3",
        group=Group.RECORDING, parse=read.choice("v2", "v3"), rare=True,
    )
    """Format of recordings: `v2`, which every player reads, or `v3`."""
    record_input: bool = option(
        False, "--record-input", "", "record what is typed, too: passwords as well",
        group=Group.RECORDING, kind=Kind.SWITCH, rare=True,
    )
    """Whether recordings hold what is typed."""
    record_limit_bytes: int = option(
        256 << 20, "--record-limit", "SIZE", "size at which a recording ends by itself",
        group=Group.RECORDING, parse=read.byte_size(64 << 10, 1 << 40), rare=True,
        default_text="256M",
    )
    """Bytes at which a recording stops."""

    # Limits
    max_clients: int = option(
        100, "--max-clients", "N", "clients at a time that have a pty of their own",
        group=Group.LIMITS, parse=read.integer(1, 10_000, "a number of clients"), rare=True,
    )
    """Most clients at the same time; each has a tmux client and a pty of its own."""
    max_viewers: int = option(
        1000, "--max-viewers", "N", "viewers of the shared stream at the same time",
        group=Group.LIMITS, parse=read.integer(1, 10_000, "a number of viewers"), rare=True,
    )
    """Most viewers in browsers and `ttybridge connect`, who share one tmux client."""
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

    max_handshakes: int = option(
        MAX_HANDSHAKES, "--max-handshakes", "N", "connections of one client that have not joined",
        group=Group.LIMITS, parse=read.integer(1, 10_000, "a number of connections"), rare=True,
    )
    """Most connections of one client that have not joined yet."""
    max_pending: int = option(
        MAX_PENDING, "--max-pending", "N", "connections of all without a request under way",
        group=Group.LIMITS, parse=read.integer(16, 100_000, "a number of connections"), rare=True,
    )
    """Most TCP connections without a request under way; above it the oldest is cut."""
    max_message_bytes: int = option(
        MAX_MESSAGE_BYTES, "--max-message", "SIZE", "largest message or request of a client",
        group=Group.LIMITS, parse=read.byte_size(128 << 10, 64 << 20), rare=True,
        default_text="1000000",
    )
    """Bytes of one message of a client, or of the body of one request."""
    head_timeout_s: float = option(
        HEAD_TIMEOUT_S, "--head-timeout", "TIME", "time a request head has to arrive",
        group=Group.LIMITS, parse=read.seconds(1, 300), rare=True, default_text="10s",
    )
    """Seconds that a request head has to arrive."""
    body_timeout_s: float = option(
        BODY_TIMEOUT_S, "--body-timeout", "TIME", "time a request body has to arrive",
        group=Group.LIMITS, parse=read.seconds(1, 3600), rare=True, default_text="30s",
    )
    """Seconds that a request body has to arrive."""
    log_lines: int = option(
        LOG_LINES, "--log-lines", "N", "log lines about one bad connection",
        group=Group.LIMITS, parse=read.integer(0, 1000, "a number of lines"), rare=True,
    )
    """Most lines in the log about one bad connection."""
    record_total_bytes: int = option(
        4 << 30, "--record-total", "SIZE", "size of all recordings from which on none is made",
        group=Group.LIMITS, parse=read.byte_size(64 << 10, 1 << 40), rare=True,
        default_text="4G",
    )
    """Bytes of all recordings in the folder, and of this run's elsewhere."""
    metrics: bool = option(
        False, "--metrics", "", "serve numbers for Prometheus at /metrics",
        group=Group.LIMITS, kind=Kind.SWITCH, rare=True,
    )
    """Whether `/metrics` is there, for owners."""

    # Output
    label: str = option(
        "", "--label", "TEXT", "a name for this bridge among others",
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
    def mode(self) -> Mode:
        """How clients share the session."""
        if self.command:
            return Mode.DIRECT
        if self.container:
            return Mode.CONTAINER
        return Mode.EXCLUSIVE if self.exclusive else Mode.TMUX

    @property
    def bounds(self) -> Bounds:
        """What one client may take."""
        return Bounds(
            head_timeout_s=self.head_timeout_s,
            body_timeout_s=self.body_timeout_s,
            message_bytes=self.max_message_bytes,
            handshakes=self.max_handshakes,
            pending=self.max_pending,
            log_lines=self.log_lines,
        )

    @property
    def ports(self) -> range:
        """The ports to try, in order; one when it was given."""
        if self.port is not None:
            return range(self.port, self.port + 1)
        return range(DEFAULT_PORT, DEFAULT_PORT + PORT_TRIES)

    @property
    def directory(self) -> Path:
        """Where shells and the direct command start."""
        return self.cwd or Path()
