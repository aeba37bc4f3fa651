"""Tunnels by `ssh -R`: the argument, the command lines, and what ssh's lines mean."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ttybridge.errors import ConfigError

SOCKET = "ssh"
"""Name of the control socket in the tunnel's own folder, which is ssh's working directory: sockets
have paths of at most 107 bytes, and ssh adds 17 while it makes one."""

KNOWN_HOSTS = "known_hosts"
"""Name of the file with the pinned host key, in the same folder."""

ALIAS = "ttybridge-tunnel"
"""Name of the host in that file, whatever its address and port are."""

CONNECT_S = 15
"""Time for the TCP connection and the greeting, in seconds (ConnectTimeout)."""

ALIVE_S, ALIVE_TRIES = 10, 3
"""A server that answers none of so many questions, one every so many seconds, counts as lost."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")
_USER = re.compile(r"[\w.+@\\][\w.+@\\-]*\$?")


@dataclass(frozen=True, slots=True)
class SshTunnelSettings:
    """Options of an ssh tunnel, besides its argument."""

    url: str | None = None
    """Public address of a web server before the far end; `None` without one."""
    host_key: str | None = None
    """Public host key as `type base64`, the only one that counts; `None`: as in known_hosts."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an ssh tunnel leads."""

    host: str
    """Name, address or alias of ssh's configuration; IPv6 without brackets."""
    user: str = ""
    """Account there; empty: what ssh takes by itself."""
    port: int | None = None
    """Port of its sshd; `None`: what ssh takes by itself."""
    remote_port: int | None = None
    """Port on the host's loopback address that leads here; `None`: one that is free."""

    @property
    def login(self) -> str:
        """The words after `ssh` that lead there.

        >>> Target("::1", "me", 2222).login
        '-p 2222 me@::1'
        """
        port = f"-p {self.port} " if self.port else ""
        return port + (f"{self.user}@{self.host}" if self.user else self.host)

    @property
    def argument(self) -> str:
        """The argument of `--tunnel ssh:` without a remote port.

        >>> Target("::1", "me", 2222, 8080).argument
        'me@[::1]:2222'
        """
        user = f"{self.user}@" if self.user else ""
        return user + bracketed(self.host) + (f":{self.port}" if self.port else "")


def bracketed(host: str) -> str:
    """Return a host as it stands in an address.

    >>> bracketed("box"), bracketed("::1")
    ('box', '[::1]')
    """
    return f"[{host}]" if ":" in host else host


def parse_target(text: str) -> Target:
    """Read `[USER@]HOST[:PORT][/REMOTEPORT]`; IPv6 addresses stand in brackets.

    >>> parse_target("me@box.example:2222/8080")
    Target(host='box.example', user='me', port=2222, remote_port=8080)

    Raises:
        ConfigError: It is something else; says what is wrong with it.
    """
    where = f"--tunnel ssh:{text!r}:" if text else "--tunnel ssh"
    if not text:
        raise ConfigError([f"{where} needs a host: ssh:USER@HOST."])
    if not text.isprintable() or " " in text:
        raise ConfigError([f"{where} blanks and control characters have no place in it."])
    rest, slash, remote = text.partition("/")
    user, at, place = rest.rpartition("@")
    host, port = _split_port(place, where)
    problem = _problem(host, user, has_user=bool(at))
    if problem:
        raise ConfigError([f"{where} {problem}"])
    return Target(
        host,
        user,
        _port(port, where, "the port of ssh") if port is not None else None,
        _port(remote, where, "the port on the host, after the slash,") if slash else None,
    )


def _split_port(place: str, where: str) -> tuple[str, str | None]:
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or not _IPV6.fullmatch(host):
            raise ConfigError([f"{where} an IPv6 address stands in brackets: ssh:me@[::1]:22."])
        return host, port[1:] if port else None
    if place.count(":") > 1:
        raise ConfigError([f"{where} put the IPv6 address in brackets: ssh:me@[::1]:22."])
    host, colon, port = place.partition(":")
    return host, port if colon else None


def _problem(host: str, user: str, *, has_user: bool) -> str:
    if host.startswith("-") or user.startswith("-"):
        return "a name that begins with - would be an option of ssh."
    if not _NAME.fullmatch(host) and not _IPV6.fullmatch(host):
        return f"{host!r} is not the name of a host: give ssh:USER@HOST."
    if has_user and not _USER.fullmatch(user):
        return f"{user!r} is not the name of an account: give ssh:USER@HOST."
    return ""


def _port(text: str, where: str, what: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise ConfigError([f"{where} {what} is a number from 1 to 65535, not {text!r}."])


def check(target: Target, settings: SshTunnelSettings) -> None:
    """Check what argument and options say together.

    Raises:
        ConfigError: There is an address before the far end, and no port that it can lead to.
    """
    if settings.url is not None and target.remote_port is None:
        problem = (
            f"--tunnel-url {settings.url} needs the port on {target.host} that its web server "
            f"leads to: --tunnel ssh:{target.argument}/8080."
        )
        raise ConfigError([problem])


# ssh refuses options that it does not know. IgnoreUnknown is no way out: it takes the place of the
# user's own, by which configurations are shared with other systems.
_SINCE = {"KnownHostsCommand": (8, 5), "ForkAfterAuthentication": (8, 7)}

_ALWAYS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": str(ALIVE_S),
    "ServerAliveCountMax": str(ALIVE_TRIES),
    # Ours come by the control socket: those of the user's configuration, which may be open
    # already, and -R on the command line would be treated alike.
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "Tunnel": "no",
    "ControlMaster": "yes",
    "ControlPersist": "no",
    "ForkAfterAuthentication": "no",
    "LogLevel": "INFO",
}
"""What must hold whatever the user's configuration says; all else in it counts, too."""

_PINNED = {
    "UserKnownHostsFile": KNOWN_HOSTS,
    "GlobalKnownHostsFile": "/dev/null",
    "KnownHostsCommand": "none",
    "VerifyHostKeyDNS": "no",
    "UpdateHostKeys": "no",
    "CheckHostIP": "no",
    "HostKeyAlias": ALIAS,
}


def version_argv(ssh: str) -> list[str]:
    """Return the command line that prints ssh's version, on standard error."""
    return [ssh, "-V"]


def connect_argv(
    ssh: str, target: Target, *, is_pinned: bool, version: tuple[int, int] | None
) -> list[str]:
    """Return the command line that logs in, opens the control socket and stays.

    Args:
        ssh: The program.
        target: Where to.
        is_pinned: Whether only the key in `KNOWN_HOSTS` counts.
        version: Version of OpenSSH; `None` when it is not known, and taken for a new one.
    """
    options = _ALWAYS | (_PINNED if is_pinned else {})
    words = [
        f"-o{name}={value}"
        for name, value in options.items()
        if version is None or version >= _SINCE.get(name, version)
    ]
    return [ssh, "-N", "-T", "-S", SOCKET, *words, *_where(target)]


def forward_argv(ssh: str, target: Target, forwards: Sequence[str]) -> list[str]:
    """Return the command line that adds forwardings to the connection; prints the ports."""
    # Without a configuration: its forwardings would be asked for, too.
    adds = [word for forward in forwards for word in ("-R", forward)]
    return [ssh, "-F", "/dev/null", "-S", SOCKET, "-O", "forward", *adds, "--", target.host]


def resolve_argv(ssh: str, target: Target) -> list[str]:
    """Return the command line that prints what ssh's configuration makes of the target."""
    return [ssh, "-G", *_where(target)]


def _where(target: Target) -> list[str]:
    port = ["-p", str(target.port)] if target.port else []
    user = ["-l", target.user] if target.user else []
    return [*port, *user, "--", target.host]


def forward(local_port: int, remote_port: int | None = None) -> str:
    """Return the words after -R for one local port.

    Without a remote port, all addresses of the host are asked for; most servers give its loopback
    address and do not say so. A given port is bound on that address by its number: with a name, a
    port that is taken on IPv4 would count as open when it is bound on ::1.

    >>> forward(8080), forward(8080, 80)
    ('*:0:127.0.0.1:8080', '127.0.0.1:80:127.0.0.1:8080')
    """
    far = f"127.0.0.1:{remote_port}" if remote_port else "*:0"
    return f"{far}:127.0.0.1:{local_port}"


def allocated_ports(output: str, wanted: Sequence[int | None]) -> list[int] | None:
    r"""Return the port of each forwarding; ssh prints those that the server has chosen.

    >>> allocated_ports("40001\n40002\n", [None, 80, None])
    [40001, 80, 40002]
    >>> allocated_ports("", [None])
    """
    words = output.split()
    if not all(map(_PORT.fullmatch, words)) or len(words) != wanted.count(None):
        return None
    if any(int(word) > 65535 for word in words):
        return None
    chosen = iter(words)
    return [int(next(chosen)) if port is None else port for port in wanted]


def real_host(output: str, target: Target) -> str:
    r"""Return the host that `resolve_argv` names, which an alias stands for.

    >>> real_host("user me\nhostname box.example\nport 22\n", Target("box"))
    'box.example'
    """
    found = re.search(r"^hostname (\S+)$", output, re.MULTILINE)
    return found[1] if found else target.host


def public_note() -> str:
    """Say what a web address without encryption means."""
    return (
        "This address has no encryption: all that is typed and shown can be read on the way. Put a "
        "web server with https in front of it and name that with --tunnel-url, or use ssh -L."
    )


def private_note(target: Target, port: int, *, is_web: bool) -> str:
    """Say that an address counts on the host only, and how to reach it from elsewhere."""
    web = f" a web server there with --tunnel-url and ssh:{target.argument}/8080," if is_web else ""
    return (
        f"This address counts on {target.host} only. From elsewhere: "
        f"ssh -L {port}:127.0.0.1:{port} {target.login},{web} or `GatewayPorts clientspecified` "
        "in its sshd_config."
    )


_FAILURES: Sequence[tuple[re.Pattern[str], str, str]] = (
    (
        re.compile(r"Too many authentication failures"),
        "{host} refused the login: too many keys were offered.",
        "Name the right one in ~/.ssh/config: IdentityFile and `IdentitiesOnly yes`.",
    ),
    (
        re.compile(r"kex_exchange_identification|banner exchange|Bad remote protocol version"),
        "What answers on {host} does not speak SSH to us.",
        "Is it the port of its sshd? Another one: ssh:{user_host}:PORT.",
    ),
    (
        re.compile(r"Could not resolve hostname"),
        "The name {host} is not known here.",
        "Give a name or an address that `ssh {login}` reaches.",
    ),
    (
        re.compile(r"connect to host .* port \d+: Connection refused"),
        "Nobody listens for SSH on {host}.",
        "Is its sshd running, and on that port? Another one: ssh:{user_host}:PORT.",
    ),
    (
        re.compile(r"connect to host .* port \d+: |Connection timed out"),
        "{host} cannot be reached.",
        "Look whether `ssh {login}` works, and whether a firewall is in between.",
    ),
    (
        re.compile(r"Permission denied \("),
        "{host} refused the login.",
        "Nobody is asked for a password here: put a key of this account into its "
        "~/.ssh/authorized_keys (ssh-copy-id {login}); one with a passphrase needs ssh-agent "
        "(ssh-add).",
    ),
    (
        re.compile(r"remote port forwarding failed for listen port 0$"),
        "{host} does not let its ports be forwarded.",
        "Its sshd_config, or the key's line in authorized_keys, must allow it: "
        "`AllowTcpForwarding yes`, no `restrict`, no `PermitListen`.",
    ),
    (
        re.compile(r"remote port forwarding failed for listen port (\d+)"),
        "{host} does not give its port {0}: another program has it, or forwarding is not allowed.",
        "Choose another port after the slash, or look at AllowTcpForwarding and PermitListen in "
        "its sshd_config. After a lost connection, its sshd may hold the port for some minutes.",
    ),
)


_LOST = re.compile(
    r"Timeout, server .* not responding|Broken pipe|closed by remote host|Connection reset by"
)


def explain(
    lines: Sequence[str], target: Target, *, is_pinned: bool, has_ended: bool = False
) -> tuple[str, str]:
    """Return what went wrong and what to do, from ssh's last lines.

    Args:
        lines: What ssh has said, the last line last.
        target: Where it was to lead.
        is_pinned: Whether only the key of --tunnel-host-key counts.
        has_ended: Whether the tunnel had been open.
    """
    names = {
        "host": target.host,
        "login": target.login,
        "user_host": Target(target.host, target.user).argument,
    }
    for line in reversed(lines):
        known = _host_key_failure(line, target, is_pinned=is_pinned)
        if has_ended and _LOST.search(line):
            known = f"The connection to {target.host} was lost.", ""
        if known:
            return f"{known[0]} ssh said: {line}", known[1]
    for pattern, message, hint in _FAILURES:
        for line in lines:
            if found := pattern.search(line):
                message = message.format(*found.groups(), **names)
                return f"{message} ssh said: {line}", hint.format(**names)
    what = "The connection to {host} has ended." if has_ended else "ssh did not reach {host}."
    said = " Its last lines:\n" + "\n".join(lines) if lines else " ssh said nothing."
    return what.format(**names) + said, f"Look whether `ssh {target.login}` works."


def _host_key_failure(line: str, target: Target, *, is_pinned: bool) -> tuple[str, str] | None:
    host = target.host
    if re.search(r"Host key for \S+ has changed", line):
        known = "given with --tunnel-host-key" if is_pinned else "known here"
        is_plain = target.port in (None, 22)
        name = host if is_plain else f"'[{host}]:{target.port}'"
        then = "give the new one" if is_pinned else f"forget the old one: ssh-keygen -R {name}"
        return (
            f"The key of {host} is not the one that is {known}: the host was set up anew, or "
            "somebody stands between it and this machine. Nothing was opened.",
            f"Ask whoever runs {host} for its key before you go on; then {then}.",
        )
    if not (found := re.search(r"No (\S+) host key is known for", line)):
        return None
    if is_pinned:
        return (
            f"{host} does not show the kind of key that --tunnel-host-key gives.",
            "Give one that it has: /etc/ssh/ssh_host_*_key.pub there.",
        )
    return (
        f"The {found[1]} key of {host} is not known here, so it could be anybody's.",
        f"Run `ssh {target.login}` once and compare the key, or give it with --tunnel-host-key "
        f'"ssh-ed25519 AAAA…": it is in /etc/ssh/ssh_host_ed25519_key.pub there, and ssh-keyscan '
        "asks for it over a network that you trust.",
    )
