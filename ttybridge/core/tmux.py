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

SIZE = "#{window_width} #{window_height} #{status}"
"""Format of what `parse_size` reads."""

ASK = b"display-message -p 'size " + SIZE.encode() + b"'\n"
"""Control mode: asks for the size of the session's window."""

WATCH = b"refresh-client -B 'size::" + SIZE.encode() + b"'\n"
"""Control mode: asks to be told of every change of `SIZE`; tmux looks once a second."""

ATTACHED = b"%session-changed "
"""Control mode: what a line begins with that tells that the client is attached."""

SYNC_BEGIN, SYNC_END = b"\x1b[?2026h", b"\x1b[?2026l"
"""Between these, a terminal shows nothing of what it gets."""

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

    def attach(
        self, *, read_only: bool = False, follows: bool = False, features: str = FEATURES
    ) -> list[str]:
        """Attach one more client; nobody is detached, the session's environment stays (`-E`).

        Args:
            read_only: Whether the client may only watch.
            follows: Whether it has no say in the window's size, as one that only watches.
            features: What its terminal can do beyond its terminfo entry; of one that is not our
                page nobody knows, and tmux asks it.
        """
        flags = ["read-only"] * read_only + ["ignore-size"] * (read_only or follows)
        how = ["-f", ",".join(flags)] if flags else []
        return [*self._client(features), "attach-session", "-E", *how, "-t", self.exact]

    def watch(self) -> list[str]:
        """Attach a client in control mode, which is told of changes and has no terminal.

        Its output goes as `parse_watched` reads it, its input is `WATCH` and `ASK`.
        """
        flags = "no-output,read-only,ignore-size"
        return [*self.base, "-u", "-C", "attach-session", "-E", "-f", flags, "-t", self.exact]

    def ask_size(self) -> list[str]:
        """Print the size of the session's window, for `parse_size`."""
        return [*self.base, "display-message", "-p", "-t", f"{self.exact}:", SIZE]

    def _client(self, features: str) -> list[str]:
        return [*self.base, "-u", *(["-T", features] if features else [])]

    def list_clients(self) -> list[str]:
        """Print the process id and the name of each of the session's clients."""
        return [*self.base, "list-clients", "-t", self.exact, "-F", "#{client_pid} #{client_name}"]

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


def suspend(client: bytes) -> bytes:
    """Return the command that makes a client give its terminal back.

    Its process takes it again at SIGCONT, and begins it anew.
    """
    return b"suspend-client -t " + quote(client)


def clipboard_commands() -> bytes:
    """Return the commands that let programs in tmux copy to the browser's clipboard (OSC 52).

    Only tmux's default, `external`, is raised to `on`; a user's `off` stays.
    """
    return b"if-shell -F '#{==:#{set-clipboard},external}' 'set-option -s set-clipboard on'\n"


def parse_size(text: bytes) -> WindowSize | None:
    """Read `SIZE`: what a client needs to show the whole window and the status lines.

    >>> parse_size(b"80 24 on"), parse_size(b"80 24 off"), parse_size(b"80 24 2"), parse_size(b"")
    (WindowSize(cols=80, rows=25), WindowSize(cols=80, rows=24), WindowSize(cols=80, rows=26), None)
    """
    match = re.fullmatch(rb"(\d{1,5}) (\d{1,5}) (off|on|\d)", text.strip())
    if match is None:
        return None
    lines = {b"off": 0, b"on": 1}.get(match[3])
    return WindowSize.clamped(
        cols=int(match[1]), rows=int(match[2]) + (int(match[3]) if lines is None else lines)
    )


def parse_watched(line: bytes) -> tuple[WindowSize | None, bool]:
    """Read a line of a client in control mode: the size that it tells, and whether to `ASK`.

    >>> parse_watched(b"size 80 24 on")
    (WindowSize(cols=80, rows=25), False)
    >>> parse_watched(b"%subscription-changed size $0 @0 - - : 9 8 off")
    (WindowSize(cols=9, rows=8), False)
    >>> parse_watched(b"%layout-change @0 b25d,80x24,0,0,0 b25d,80x24,0,0,0 *")
    (None, True)
    """
    if line.startswith(b"size "):
        return parse_size(line[5:]), False
    if line.startswith(b"%subscription-changed size "):
        return parse_size(line.rpartition(b" : ")[2]), False
    return None, line.startswith(_CHANGES)


def repaint_begins(size: WindowSize) -> re.Pattern[bytes]:
    r"""Return what a client prints when it forgets what its terminal shows, before a repaint.

    `tty_invalidate` turns the modes off, goes to the top left corner, and makes the whole terminal
    the scroll region (tmux 3.2 to 3.7; the last mode is bracketed paste until 3.3, then the
    mouse).

    >>> bool(repaint_begins(WindowSize(80, 24)).search(b"\x1b[?2004l\x1b[1;1H\x1b[1;24r"))
    True
    """
    return re.compile(rb"\x1b\[\?(?:2004|1003)l\x1b\[(?:1;1)?H\x1b\[1;%dr" % size.rows)


class Synchronized:
    r"""Turns the marks around a redraw into those that today's terminals know, however cut.

    tmux before 3.4 prints a DCS of iTerm2, which others skip.

    >>> marks = Synchronized()
    >>> marks.feed(b"a\x1bP=1s"), marks.feed(b"\x1b\\b\x1bP=2s\x1b\\c\x1b"), marks.feed(b"[m")
    (b'a', b'\x1b[?2026hb\x1b[?2026lc', b'\x1b[m')
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the output with other marks; a beginning of one waits for the rest."""
        data = self._rest + data
        cut = _CUT_MARK.search(data)
        self._rest, data = (data[cut.start() :], data[: cut.start()]) if cut else (b"", data)
        if b"\x1bP=" not in data:
            return data
        return data.replace(b"\x1bP=1s\x1b\\", SYNC_BEGIN).replace(b"\x1bP=2s\x1b\\", SYNC_END)


_CHANGES = (
    *(b"%layout-change ", b"%session-window-changed ", ATTACHED),
    *(b"%window-close ", b"%unlinked-window-close "),
)
_CUT_MARK = re.compile(rb"\x1b(?:P(?:=(?:[12](?:s\x1b?)?)?)?)?\Z")


def parse_version(text: str) -> tuple[int, int] | None:
    """Read `tmux -V`.

    >>> parse_version("tmux 3.3a"), parse_version("tmux next-3.5"), parse_version("tmux master")
    ((3, 3), (3, 5), None)
    """
    match = re.search(r"([0-9]{1,4})\.([0-9]{1,4})", text)
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
