"""What sshd's log lines mean: who came in, who was refused and why, and what to mend."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["debug", "info", "warning"]

MAX_OPEN = 500
"""Connections that are remembered until they end; the oldest is forgotten beyond that. sshd holds
at most 200 that have not logged in (MaxStartups)."""

MAX_TRIED = 6
"""Keys that are named for one refused connection: sshd ends it after six (MaxAuthTries)."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line for our log."""

    level: Level
    """How much it matters, as in `logging`."""
    text: str
    """What to say; may contain text of a client, which the log escapes."""


@dataclass(slots=True)
class _Connection:
    tried: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Reason:
    user: str
    text: str
    is_told: bool = False


# All of them stand at the start of a line: what follows may be a stranger's, such as a first line
# that says "Accepted publickey for root from 10.0.0.1 port 5 ssh2: ED25519 SHA256:x".
_PEER = r"(?P<peer>\S+ port \d+)"
_ACCEPTED = re.compile(rf"Accepted publickey for (?P<user>.*) from {_PEER} ssh2: (?P<key>\S+ \S+)")
_FAILED = re.compile(rf"Failed (?P<how>\S+) for .* from {_PEER} ssh2(?:: (?P<key>\S+ \S+))?")
_NOT_ALLOWED = re.compile(r"User (?P<user>.*?) (?:from \S+ )?not allowed because (?P<reason>.*)")
_REFUSED = re.compile(
    r"(?:Connection (?:closed|reset) by|Disconnecting|Disconnected from) "
    rf"(?:authenticating|invalid) user (?P<user>.*) {_PEER}(?:: (?P<reason>.*?))?(?: \[preauth\])?$"
)
_WRONG_ADDRESS = re.compile(
    r"\S+: Authentication tried for (?P<user>.*) with (?:correct key|valid certificate) "
    r"but not from a permitted "
)
_TIMEOUT = re.compile(
    r"Timeout before authentication for (?:connection from )?(?P<peer>\S+(?: port \d+)?)"
)
_NOISE = re.compile(
    # The course of a connection
    r"Connection |Postponed |Accepted (?:key|certificate) |Starting session|Close session"
    r"|subsystem request for "
    r"|Received disconnect|Disconnected from |Transferred:|Closing connection to"
    r"|User child is on pid |Root login accepted |Read error from |Timeout, client not responding"
    # Strangers, and clients that do not fit
    r"|Invalid user |(?:error: )?maximum authentication attempts|Refused by key options"
    r"|banner exchange|kex_exchange_identification|Unable to negotiate|userauth_pubkey: "
    r"|Bad packet length |padding error|Corrupted MAC |ssh_dispatch_run_fatal: "
    r"|dispatch_protocol_|kex_protocol_error|Bad remote protocol version"
    r"|Protocol major versions differ|(?:probed|scanned) from "
    # Forwarded connections that lead nowhere
    r"|connect_to |refused (?:local|streamlocal) port forward"
    # sshd itself
    r"|Received signal|Server listening|Exiting on signal"
    r"|syslogin_|lastlog_|utmp|wtmp|Attempt to write login records"
)
_UNREADABLE_HOST_KEY = re.compile(r'(?:Unable to|Could not) load host key:? "?(?P<file>[^\s"]+)')
_FILES_ARE_GONE = re.compile(
    r"(?:sshd: )?no hostkeys available|/\S+/sshd_config: No such file or directory$"
)
_TTY = re.compile(r"chown\(\S+, \d+, (\d+)\) failed")


class LoginLog:
    """Makes one line for each login and for each refused connection of what sshd says of it."""

    def __init__(self, user: str = "") -> None:
        """Know of no connection yet.

        Args:
            user: The account that may log in; for others nothing is to be mended. Without it,
                every account counts.
        """
        self._user = user
        # sshd escapes what it logs, and once more what its unprivileged part has it log.
        self._spellings = (user, _escaped(user), _escaped(_escaped(user)))
        self._open: OrderedDict[str, _Connection] = OrderedDict()
        self._reason = _Reason("", "")

    def feed(self, text: str) -> Line | None:
        """Take in one line of sshd's log; return what is to be said of it, if anything.

        >>> log = LoginLog()
        >>> log.feed("Failed publickey for me from 10.0.0.9 port 99 ssh2: ED25519 SHA256:abc")
        >>> log.feed("Connection closed by authenticating user me 10.0.0.9 port 99 [preauth]").text
        "ssh login refused: user 'me' from 10.0.0.9 port 99; keys tried: ED25519 SHA256:abc"
        """
        if found := _ACCEPTED.match(text):
            self._open.pop(found["peer"], None)
            self._reason = _Reason("", "")
            return Line(
                "info",
                f"ssh login: user {found['user']!r} from {found['peer']} with {found['key']}",
            )
        if found := _FAILED.match(text):
            self._note(found["peer"]).tried.append(found["key"] or found["how"])
            return None
        if found := _NOT_ALLOWED.match(text):
            # sshd says it before it knows of any key, and without the port.
            hint = explain([text]) if self._is_ours(found["user"]) else None
            self._reason = _Reason(found["user"], found["reason"], is_told=hint is not None)
            return Line("warning", " ".join(hint)) if hint else None
        if found := _WRONG_ADDRESS.match(text):
            self._reason = _Reason(found["user"], "a key that counts from other addresses only")
            return None
        if found := _REFUSED.match(text):
            return self._refused(found)
        if found := _UNREADABLE_HOST_KEY.match(text):
            # In sshd's own words, the file's name looks like a secret, and the log hides it.
            return Line("warning", f"sshd cannot read {found['file']}, which has its host key")
        if _FILES_ARE_GONE.match(text) and (hint := explain([text])):
            return Line("warning", " ".join(hint))
        if found := _TTY.match(text):
            return Line("warning", " ".join(no_terminal(found[1])))
        if found := _TIMEOUT.match(text):
            self._open.pop(found["peer"], None)
            return Line("info", f"ssh login refused: {found['peer']} took too long")
        return Line("debug" if _NOISE.match(text) else "warning", f"sshd: {text}")

    def _is_ours(self, user: str) -> bool:
        return not self._user or user in self._spellings

    def _note(self, peer: str) -> _Connection:
        connection = self._open.setdefault(peer, _Connection())
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        del connection.tried[MAX_TRIED:]
        return connection

    def _refused(self, found: re.Match[str]) -> Line:
        connection = self._open.pop(found["peer"], _Connection())
        reason, is_told = found["reason"] or "", False
        if self._reason.user == found["user"]:
            reason, is_told = self._reason.text or reason, self._reason.is_told
            self._reason = _Reason("", "")
        if not self._is_ours(found["user"]):
            reason = f"only {self._user} may log in here"
        tried = ", ".join(connection.tried[:MAX_TRIED])
        what = f"keys tried: {tried}" if tried else "no key that counts was offered"
        more = f" ({reason})" if reason else ""
        return Line(
            "debug" if is_told else "info",
            f"ssh login refused: user {found['user'][:64]!r} from {found['peer']}; {what}{more}",
        )


def _escaped(text: str) -> str:
    r"""Return a text as sshd logs it (strnvis with VIS_OCTAL).

    >>> print(_escaped("CORP\\müller"))
    CORP\\m\303\274ller
    """
    data = text.encode(errors="surrogateescape")
    chars = (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in data)
    return "".join("\\\\" if char == "\\" else char for char in chars)


def no_terminal(group: str) -> tuple[str, str]:
    """Say that ordinary users get no terminal over SSH here, and how to mend it.

    OpenSSH gives the terminal to the group `tty` and drops the session when it may not
    (sshpty.c, `pty_setowner`); it may where devpts is mounted with that group.
    """
    return (
        "SSH logins with a terminal are dropped here: /dev/pts does not give terminals to the "
        "group tty, and only root can change that. Commands, scp and sftp work (ssh -T).",
        f"As root: mount -o remount,gid={group},mode=620 /dev/pts",
    )


_EXPLANATIONS: Sequence[tuple[re.Pattern[str], str, str]] = (
    (
        re.compile(r"Missing privilege separation directory: (\S+)"),
        "sshd needs the folder {0}, which is missing and could not be made.",
        "As root: mkdir -m 755 {0}",
    ),
    (
        re.compile(r"(\S+) must be owned by root and not group or world-writable"),
        "sshd refuses the folder {0}: others may write to it.",
        "As root: chown root:root {0} && chmod 755 {0}",
    ),
    (
        re.compile(r"Privilege separation user (\S+) does not exist"),
        "sshd needs a user called {0!r}, whom this machine lacks.",
        "Make it as root: useradd --system --no-create-home --home-dir /run/sshd --shell "
        "/usr/sbin/nologin {0} (the package openssh-server does that, too).",
    ),
    (
        re.compile(r"User (\S+) (?:from \S+ )?not allowed because account is locked"),
        "The account {0!r} is locked, and sshd lets nobody into it.",
        "As root, make its password one that nothing matches: usermod -p '*' {0}",
    ),
    (
        re.compile(r"User (\S+) (?:from \S+ )?not allowed because shell (\S+) .*"),
        "The shell {1} of the account {0!r} cannot be run.",
        "Give the account another: usermod --shell /bin/bash {0}",
    ),
    (
        re.compile(r"[Bb]ind to port (\d+) on \S+ failed: Permission denied"),
        "Port {0} is reserved for root.",
        "Choose one above 1023 with --ssh-port.",
    ),
    (
        re.compile(r"Cannot assign requested address"),
        "This machine does not have the address to listen on for SSH.",
        "Choose another with --ssh-host.",
    ),
    (
        re.compile(r"no hostkeys available|/sshd_config: No such file or directory"),
        "SSH does not work any more: somebody has removed the bridge's private folder, and with "
        "it the host key.",
        "Start the bridge again.",
    ),
    (
        re.compile(r"sshd re-exec requires execution with an absolute path"),
        "sshd was not started by its full path.",
        "Give the full path with --sshd.",
    ),
    (
        re.compile(r"(?:Bad configuration option|Unsupported option):? (.*)"),
        "This sshd does not know the setting {0}.",
        "OpenSSH 8.0 or newer is needed; another one is named with --sshd PROGRAM.",
    ),
)


def explain(lines: Sequence[str]) -> tuple[str, str] | None:
    """Return what went wrong and what to do, where sshd's last lines are ones that we know.

    >>> explain(["Missing privilege separation directory: /run/sshd"])[1]
    'As root: mkdir -m 755 /run/sshd'
    """
    for line in reversed(lines):
        for pattern, message, hint in _EXPLANATIONS:
            if found := pattern.search(line):
                return message.format(*found.groups()), hint.format(*found.groups())
    return None


def missing_folder(lines: Sequence[str]) -> str:
    """Return the folder that sshd misses for privilege separation, empty when it is not that.

    >>> missing_folder(["Missing privilege separation directory: /run/sshd"])
    '/run/sshd'
    """
    for line in lines:
        # At its start: elsewhere it may be a stranger's text.
        if found := re.match(r"Missing privilege separation directory: (/\S+)", line):
            return found[1]
    return ""


def says_port_is_taken(lines: Sequence[str]) -> bool:
    """Tell whether sshd could not listen because somebody else does.

    >>> says_port_is_taken(["Bind to port 2222 on 127.0.0.1 failed: Address already in use."])
    True
    """
    return any("Address already in use" in line for line in lines)
