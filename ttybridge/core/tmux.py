"""tmux's command lines, and what its output means. Nothing is run here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttybridge.core.environment import names_to_hide
from ttybridge.model import EndReason, WindowSize

MIN_VERSION = (3, 2)
"""Oldest tmux that works: `-T` and `attach-session -f` came with 3.2 (its CHANGES)."""

FEATURES = "RGB,usstyle,overline,strikethrough,clipboard,title,sync"
"""What xterm.js 6 can do beyond the terminfo entry of xterm-256color, for this client only:
24-bit colour, curly underlines, overline, strike-through, OSC 52, titles, synchronised output."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 /:.,_+=@%-")
_ESCAPED = tuple(bytes([b]) if b in _PLAIN else b"\\%03o" % b for b in range(256))


@dataclass(frozen=True, slots=True)
class Target:
    """Which tmux, which server, which session."""

    program: str = "tmux"
    """The tmux program: a name looked up in PATH, or a path."""
    session: str = "0"
    """Name of the session."""
    socket_name: str = ""
    """Name of the server's socket in tmux's folder (`-L`); empty for the default one."""
    socket_path: str = ""
    """Path of the server's socket (`-S`); empty for the default one."""

    @property
    def base(self) -> list[str]:
        """The program and the server, before any command."""
        if self.socket_path:
            return [self.program, "-S", self.socket_path]
        if self.socket_name:
            return [self.program, "-L", self.socket_name]
        return [self.program]

    @property
    def exact(self) -> str:
        """The session as a target that matches nothing else.

        A bare `0` may mean the window of that index, and is otherwise a prefix.
        """
        return f"={self.session}"

    def take_over(self, *, features: str = FEATURES) -> list[str]:
        """The original's command: attach or create, and detach everybody else."""
        return [*self._client(features), "new-session", "-A", "-D", "-s", self.session]

    def attach(self, *, read_only: bool = False, features: str = FEATURES) -> list[str]:
        """Attach one more client; nobody is detached, the session's environment stays (`-E`).

        Args:
            read_only: Whether the client may only watch.
            features: What its terminal can do beyond its terminfo entry; of one that is not our
                page nobody knows, and tmux asks it.
        """
        flags = ["-f", "read-only,ignore-size"] if read_only else []
        return [*self._client(features), "attach-session", "-E", *flags, "-t", self.exact]

    def _client(self, features: str) -> list[str]:
        return [*self.base, "-u", *(["-T", features] if features else [])]

    def has_session(self) -> list[str]:
        """Ask whether the session exists; the status answers."""
        return [*self.base, "has-session", "-t", self.exact]

    def show_environment(self, *, of_server: bool) -> list[str]:
        """Print the server's environment, or the session's own."""
        where = ["-g"] if of_server else ["-t", self.exact]
        return [*self.base, "show-environment", *where, "-s"]

    def source_stdin(self) -> list[str]:
        """Run the commands on standard input, in which nothing has a size limit."""
        return [*self.base, "source-file", "-"]

    def create(self, size: WindowSize, cwd: str) -> list[str]:
        """Create the session on a running server, its environment first.

        A placeholder holds the session until the commands on standard input have set its
        environment; then the first window takes its place, so that no shell ever starts
        with the server's environment and none runs its start-up files twice. The session is
        kept without clients until `set_unattached(None)`.
        """
        return [
            *self.base,
            *("new-session", "-d", "-s", self.session, "-c", cwd),
            *("-x", str(size.cols), "-y", str(size.rows), "exec sleep 60"),
            *(";", *self._unattached("off")),
            *(";", "source-file", "-"),
            *(";", "new-window", "-k", "-c", cwd, "-t", f"{self.exact}:^"),
        ]

    def show_unattached(self, *, own: bool) -> list[str]:
        """Print what becomes of the session without clients, or only what itself says of it."""
        where = ("-v" if own else "-Av", "-t", f"{self.exact}:")
        return [*self.base, "show-options", *where, "destroy-unattached"]

    def set_unattached(self, value: str | None) -> list[str]:
        """Set what becomes of the session without clients; None for what the server says."""
        return [*self.base, *self._unattached(value)]

    def _unattached(self, value: str | None) -> list[str]:
        where = ["-t", f"{self.exact}:", "destroy-unattached"]
        return ["set-option", *where, value] if value else ["set-option", "-u", *where]


def quote(value: bytes) -> bytes:
    r"""Quote a value for a tmux command file so that every byte arrives.

    >>> quote(b'a$"\n')
    b'"a\\044\\042\\012"'
    """
    return b'"' + b"".join([_ESCAPED[b] for b in value]) + b'"'


def environment_commands(
    target: Target, environment: Mapping[bytes, bytes], running: Mapping[bytes, bytes]
) -> bytes:
    """Return the commands that give the session exactly `environment`.

    Args:
        target: The session.
        environment: What new windows shall have.
        running: What they have now: names in it that `environment` lacks are hidden.
    """
    where = b"set-environment -t " + quote(target.exact.encode())
    lines = [where + b" -r -- " + quote(name) for name in names_to_hide(environment, running)]
    lines += [
        where + b" -- " + quote(name) + b" " + quote(value) for name, value in environment.items()
    ]
    return b"\n".join(lines) + b"\n"


def update_commands(target: Target, changes: Mapping[bytes, bytes | None]) -> bytes:
    """Return the commands that change some variables of the session, for its new windows.

    One that is gone is hidden: to unset it would show the server's own again.

    Args:
        target: The session.
        changes: Each name with its new value, or None where the variable is gone.
    """
    new = {name: value for name, value in changes.items() if value is not None}
    return environment_commands(target, new, dict.fromkeys(changes, b""))


def respawn_first(target: Target) -> bytes:
    """Return the command that starts the first window's shell anew."""
    return b"respawn-window -k -t " + quote(f"{target.exact}:^".encode()) + b"\n"


def clipboard_commands() -> bytes:
    """Return the commands that let programs in tmux copy to the browser's clipboard (OSC 52).

    Only tmux's default, `external`, is raised to `on`; a user's `off` stays.
    """
    return b"if-shell -F '#{==:#{set-clipboard},external}' 'set-option -s set-clipboard on'\n"


def parse_version(text: str) -> tuple[int, int] | None:
    """Read `tmux -V`.

    >>> parse_version("tmux 3.3a"), parse_version("tmux next-3.5"), parse_version("tmux master")
    ((3, 3), (3, 5), None)
    """
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def says_bad_terminal(output: bytes) -> bool:
    r"""Tell whether a client's output means that it cannot draw on a terminal of this type.

    >>> says_bad_terminal(b"missing or unsuitable terminal: xterm-direct\r\n")
    True
    """
    return bool(_BAD_TERMINAL.search(output))


def says_no_session(output: bytes) -> bool:
    r"""Tell whether a client's output means that the session is not there.

    >>> says_no_session(b"can't find session: 0\r\n")
    True
    """
    return bool(_NO_SESSION.search(output))


_BAD_TERMINAL = re.compile(rb"missing or unsuitable terminal|terminal does not support")
_NO_SESSION = re.compile(
    rb"can't find session|no sessions|no server running|error connecting to|server exited"
)
_ENDS: Sequence[tuple[re.Pattern[bytes], EndReason]] = (
    (re.compile(rb"\[detached[^\]\r\n]*\]"), EndReason.DETACHED),
    (re.compile(rb"\[exited\]"), EndReason.EXITED),
    (re.compile(rb"\[server exited( unexpectedly)?\]"), EndReason.SERVER_EXITED),
    (re.compile(rb"\[(terminated|lost tty|lost server)\]"), EndReason.KILLED),
)


def parse_end(tail: bytes) -> EndReason:
    r"""Tell from the last output of a tmux client why it ended.

    tmux resets the screen and then prints one line in brackets (3.3a, each one seen).

    >>> parse_end(b"\x1b[?1049l[detached (from session 0)]\r\n")
    <EndReason.DETACHED: 'detached'>
    """
    last = tail[-200:]
    for pattern, reason in _ENDS:
        if pattern.search(last):
            return reason
    return EndReason.KILLED
