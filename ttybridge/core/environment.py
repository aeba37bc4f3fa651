"""The environment of the starting process, as the session is to have it.

Names and values are bytes throughout: a value may be anything but NUL, invalid
UTF-8 included, and arrives exactly. Nothing here reads the environment itself.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DROPPED = frozenset(
    name.encode()
    for name in ("TMUX", "TMUX_PANE", "STY", "WINDOW", "WINDOWID", "TERMCAP", "COLUMNS", "LINES")
)
"""What node-pty removes (`src/unixTerminal.ts`, `_sanitizeEnv`): traces of another terminal."""

OWN_SECRETS = frozenset({b"TTYBRIDGE_TOKEN", b"TTYBRIDGE_HOST_KEY_SECRET", b"NGROK_AUTHTOKEN"})
"""Secrets of the bridge and its tunnel: a program in the terminal has no use for them."""

TERM = b"xterm-256color"
"""Terminal type of our pty: what xterm.js emulates."""

SET_BY_TMUX = frozenset(
    name.encode()
    for name in ("TERM", "TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "PWD")
)
"""Names that tmux itself sets for each pane (3.3a)."""

PER_PANE = SET_BY_TMUX | {b"OLDPWD", b"SHLVL", b"_"}
"""Names that say nothing in a comparison: shells change them, too."""

MAX_ENTRY_BYTES = 128 * 1024
"""Linux refuses to start a program when one `NAME=value` is longer (MAX_ARG_STRLEN)."""

_SECRET_NAME = re.compile(
    rb"(?i)token|secret|passw|(?<!^)(?<!old)pwd$|_pw$|passphrase|credential|auth|api_?key|private|cookie|_key$|^key$|session_?id"
)
_SECRET_VALUE = re.compile(
    rb"(?i)^[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"  # a password in an address
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|^(gh[pousr]_|glpat-|hf_|sk-|xox[abprs]-|AKIA)[A-Za-z0-9_-]{10,}"
)


def child_environment(snapshot: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the part of `snapshot` that the terminal gets.

    Drops what node-pty drops, and the bridge's own secrets.

    >>> child_environment({b"LD_LIBRARY_PATH": b"/usr/lib64-nvidia", b"TMUX": b"/tmp/x,1,0"})
    {b'LD_LIBRARY_PATH': b'/usr/lib64-nvidia'}
    """
    return {
        name: value
        for name, value in snapshot.items()
        if name not in DROPPED and name not in OWN_SECRETS
    }


def pty_environment(snapshot: Mapping[bytes, bytes], *, cwd: bytes) -> dict[bytes, bytes]:
    """Return the environment of a program that we start on a pty in directory `cwd`."""
    return child_environment(snapshot) | {b"TERM": TERM, b"PWD": cwd}


def too_long(environment: Mapping[bytes, bytes]) -> list[bytes]:
    """Return the names whose entry no program could be started with.

    >>> too_long({b"A": b"x" * 200_000, b"B": b"y"})
    [b'A']
    """
    return [
        name for name, value in environment.items() if len(name) + len(value) + 2 > MAX_ENTRY_BYTES
    ]


@dataclass(frozen=True, slots=True)
class Update:
    """Variables that change in a session."""

    changes: dict[bytes, bytes | None]
    """Each name with its new value, or None where the variable is gone."""
    ours: tuple[bytes, ...]
    """Names that are left alone, sorted: they belong to another terminal, to each pane or to the
    bridge alone, or no environment can hold the entry."""
    too_long: tuple[bytes, ...]
    """Names, sorted, whose new entry no program could be started with. They are among `changes`
    as gone: an old value would be wrong."""


def update(changes: Mapping[bytes, bytes | None]) -> Update:
    """Return what of some changes a session takes.

    >>> update({b"A": b"1", b"B": None, b"TERM": b"dumb", b"C=": b"", b"D": b"x" * 200_000})
    Update(changes={b'A': b'1', b'B': None, b'D': None}, ours=(b'C=', b'TERM'), too_long=(b'D',))
    """
    taken = {name: value for name, value in changes.items() if _may_change(name, value)}
    long = too_long({name: value for name, value in taken.items() if value is not None})
    ours = sorted(changes.keys() - taken.keys())
    return Update(taken | dict.fromkeys(long), tuple(ours), tuple(sorted(long)))


def updates(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> Update:
    """Return what changes in a session when a process's environment has changed.

    >>> updates({b"A": b"1", b"B": b"2"}, {b"A": b"1", b"C": b"3"}).changes
    {b'B': None, b'C': b'3'}
    """
    changes: dict[bytes, bytes | None] = {name: None for name in before if name not in after}
    changes |= {name: value for name, value in after.items() if before.get(name) != value}
    return update(changes)


def updated(
    environment: Mapping[bytes, bytes], changes: Mapping[bytes, bytes | None]
) -> dict[bytes, bytes]:
    """Return an environment after some changes.

    >>> updated({b"A": b"1", b"B": b"2"}, {b"A": None, b"C": b"3"})
    {b'B': b'2', b'C': b'3'}
    """
    merged = dict(environment) | dict(changes)
    return {name: value for name, value in merged.items() if value is not None}


def _may_change(name: bytes, value: bytes | None) -> bool:
    if not name or b"=" in name or b"\0" in name + (value or b""):
        return False
    return name not in DROPPED and name not in OWN_SECRETS and name not in PER_PANE


def is_secret(name: bytes, value: bytes = b"") -> bool:
    """Tell whether a variable looks like one that should not be shown.

    >>> is_secret(b"HF_TOKEN"), is_secret(b"LD_LIBRARY_PATH")
    (True, False)
    >>> is_secret(b"DATABASE_URL", b"postgres://me:hunter2@db/x")
    True
    """
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def mask(value: bytes) -> str:
    """Return what to show instead of a secret: its length, nothing of its text.

    >>> mask(b"hunter2")
    '••• (7 bytes)'
    """
    return f"••• ({len(value)} bytes)"


@dataclass(frozen=True, slots=True)
class EnvironmentDiff:
    """How a running session differs from a snapshot."""

    added: tuple[bytes, ...]
    """Names that the snapshot has and the session lacks, sorted."""
    removed: tuple[bytes, ...]
    """Names that the session has and the snapshot lacks, sorted."""
    changed: tuple[bytes, ...]
    """Names with another value in the session, sorted."""

    def __bool__(self) -> bool:
        """Tell whether anything differs."""
        return bool(self.added or self.removed or self.changed)


def compare(snapshot: Mapping[bytes, bytes], running: Mapping[bytes, bytes]) -> EnvironmentDiff:
    """Compare a snapshot with what new windows of a session get now.

    What tmux and the shell set for each pane is left out.

    >>> compare({b"A": b"1", b"B": b"2"}, {b"B": b"3", b"C": b"4", b"TERM": b"screen"})
    EnvironmentDiff(added=(b'A',), removed=(b'C',), changed=(b'B',))
    """
    ours = {n: v for n, v in child_environment(snapshot).items() if n not in PER_PANE}
    theirs = {n: v for n, v in running.items() if n not in PER_PANE}
    return EnvironmentDiff(
        added=tuple(sorted(ours.keys() - theirs.keys())),
        removed=tuple(sorted(theirs.keys() - ours.keys())),
        changed=tuple(sorted(n for n in ours.keys() & theirs.keys() if ours[n] != theirs[n])),
    )


def effective(
    global_environment: Mapping[bytes, bytes | None],
    session_environment: Mapping[bytes, bytes | None],
) -> dict[bytes, bytes]:
    """Merge tmux's global and session environment as tmux does for a new window.

    >>> effective({b"A": b"1", b"B": b"2"}, {b"A": None, b"C": b"3"})
    {b'B': b'2', b'C': b'3'}
    """
    merged = dict(global_environment) | dict(session_environment)
    return {name: value for name, value in merged.items() if value is not None}


def names_to_hide(
    environment: Mapping[bytes, bytes], running: Iterable[bytes]
) -> tuple[bytes, ...]:
    """Return the names that a session has and `environment` lacks, sorted."""
    return tuple(sorted(set(running) - environment.keys() - SET_BY_TMUX))


def parse_show_environment(data: bytes) -> dict[bytes, bytes | None]:
    r"""Read the output of `tmux show-environment -s`.

    The form is `NAME="value"; export NAME;` with a backslash before `$`, backtick, `"` and
    backslash, and `unset NAME;` for a variable that is hidden (tmux 3.3a, read and tried).
    Newlines stand as they are.

    Returns:
        Each name with its value, or None where it is hidden.

    >>> parse_show_environment(b'A="x\\"\ny"; export A;\nunset B;\n')
    {b'A': b'x"\ny', b'B': None}
    """
    result: dict[bytes, bytes | None] = {}
    at = 0
    while at < len(data):
        hidden = _UNSET.match(data, at)
        if hidden:
            result[hidden[1]] = None
            at = hidden.end()
            continue
        start = data.find(b'="', at)
        if start < 0:
            break
        name = data[at:start]
        value = _QUOTED.match(data, start + 2)
        if value is None:
            break
        result[name] = re.sub(rb"(?s)\\(.)", rb"\1", value[1])
        end = b"; export " + name + b";\n"
        at = value.end() + len(end)
    return result


_UNSET = re.compile(rb"unset ([^\n]*);\n")
_QUOTED = re.compile(rb'(?s)((?:[^"\\]|\\.)*)"')
