"""What every SSH login runs: gives it the bridge's environment and leads it where it wants to go.

sshd starts it as the forced command of a key: `python -IS login.py FOLDER ROLE KEY`. It stands
alone: no other module of ours, and few of Python's, because scp, rsync and editors log in often
and wait for it. FOLDER is the bridge's private folder:

    environment   the environment, NAME=value, each followed by a NUL
    settings      name=value, each followed by a NUL: `shell`, `sftp`, `lands`
    login         the socket at which the bridge takes logins into the session
"""

import os
import sys

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this to run
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

SUBSYSTEM = b"ttybridge-sftp"
"""What sshd passes as the command of an sftp session (`core.sshd_config.SUBSYSTEM`)."""

FALLBACK_TERM = b"xterm-256color"
"""Terminal type for one that this machine does not know: nearly all of them understand it."""

FROM_SSHD = (b"SSH_CLIENT", b"SSH_CONNECTION", b"SSH_TTY")
"""Variables that describe this login; the bridge's own, from another login, would be wrong."""

FROM_SSHD_IF_THERE = (b"SSH_AUTH_SOCK", b"DISPLAY")
"""Variables of a forwarded agent or display: the login's own where it has one."""

OVER_THE_WEB = (b"127.0.0.1 65535 65535", b"127.0.0.1 65535 127.0.0.1 65535")
"""SSH_CLIENT and SSH_CONNECTION of a login over the web address. sshd knows no addresses then, and
what it says is not in the form that programs expect."""

TERMINFO = (
    b"/etc/terminfo",
    b"/lib/terminfo",
    b"/usr/share/terminfo",
    b"/usr/lib/terminfo",
    b"/usr/share/lib/terminfo",
    b"/usr/local/share/terminfo",
)
"""Where ncurses looks for terminal types, besides TERMINFO, ~/.terminfo and TERMINFO_DIRS."""

HELLO, REFUSED, INPUT, SIZE = b"H", b"R", b"I", b"S"
"""Messages to the bridge: one letter, four bytes with the length, big-endian, then the content."""

OUTPUT, END = b"O", b"E"
"""Messages from the bridge. END has the exit status in one byte, then a sentence."""

CHUNK = 16 * 1024
"""Most bytes of one message of input, and of one write to the terminal."""

MAX_WAITING = 256 * 1024
"""Bytes that may wait for the terminal or for the bridge before no more are taken."""

LEAVE_KEYS = (b"\x03", b"\x04")
"""Ctrl-C and Ctrl-D: with them somebody leaves who may only watch."""

RESTORE = (
    b"\x18\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?1l"
    b"\x1b>\x1b(B\x1b[0m\x1b[?25h\r\n"
)
"""Leaves a terminal usable when the tmux client could not do it by itself."""

REFUSALS = {
    b"command": "This key may watch the session and run nothing: log in without a command.",
    b"sftp": "This key may watch the session; files are not open to it.",
    b"shell": "This key may watch the session, which needs a terminal: log in with ssh -t.",
    b"no-sftp": "File transfer is switched off here (--no-ssh-sftp), or sftp-server is missing.",
    b"role": "This key has no known role here.",
}
"""What somebody is told who is refused."""


def entries(data: bytes) -> dict[bytes, bytes]:
    r"""Read a NUL-separated file.

    >>> entries(b"A=1=2\x00B=\n\x00")
    {b'A': b'1=2', b'B': b'\n'}
    """
    pairs = (entry.partition(b"=") for entry in data.split(b"\0"))
    return {name: value for name, sign, value in pairs if sign}


def destination(
    command: bytes | None, *, role: bytes, has_terminal: bool, lands: bytes, sftp: bytes
) -> bytes:
    """Decide where a login goes.

    Args:
        command: What the client wants to run; None when it did not say.
        role: `owner`, or `viewer` for a key that may only watch.
        has_terminal: Whether sshd has given it a terminal.
        lands: `session` or `shell`: where a login with a terminal and no command goes.
        sftp: Path of the sftp server, empty when there is none.

    Returns:
        `session`, `shell` (a login shell), `command`, `sftp`, or `refused` with a key of
        `REFUSALS` after a blank.

    >>> destination(None, role=b"owner", has_terminal=True, lands=b"session", sftp=b"")
    b'session'
    """
    if role == b"viewer":
        if command is not None:
            return b"refused sftp" if command == SUBSYSTEM else b"refused command"
        return b"session" if has_terminal else b"refused shell"
    if role != b"owner":
        return b"refused role"
    if command == SUBSYSTEM:
        return b"sftp" if sftp else b"refused no-sftp"
    if command is not None:
        return b"command"
    return lands if has_terminal else b"shell"


def environment(
    snapshot: "Mapping[bytes, bytes]",
    given: "Mapping[bytes, bytes]",
    *,
    term: bytes,
    cwd: bytes,
    is_command: bool,
) -> dict[bytes, bytes]:
    """Return the environment of a login: the bridge's, with what describes the login itself.

    Args:
        snapshot: The bridge's environment.
        given: What sshd has set.
        term: Type of the login's terminal; empty without one, and TERM is the bridge's then.
        cwd: The working directory.
        is_command: Whether a shell is given a command. One with SHLVL below 1 would read
            ~/.bashrc first (Debian's bash, SSH_SOURCE_BASHRC), which may be slow or talk.
    """
    env = {name: value for name, value in snapshot.items() if name not in FROM_SSHD}
    for name in (*FROM_SSHD, *FROM_SSHD_IF_THERE):
        if name in given:
            env[name] = given[name]
    if env.get(b"SSH_CLIENT", b"").startswith(b"UNKNOWN"):
        env[b"SSH_CLIENT"], env[b"SSH_CONNECTION"] = OVER_THE_WEB
    if term:
        env[b"TERM"] = term
    env[b"PWD"] = cwd
    level = env.get(b"SHLVL", b"")
    if is_command and not (level.isdigit() and int(level[:9]) >= 1):
        env[b"SHLVL"] = b"1"
    return env


def is_known_terminal(term: bytes, env: "Mapping[bytes, bytes]") -> bool:
    """Tell whether this machine has a description of a terminal type with a screen."""
    if not term or term.startswith(b".") or b"/" in term or term == b"dumb":
        return False
    folders = [env.get(b"TERMINFO", b""), env.get(b"HOME", b"") + b"/.terminfo"]
    folders += env.get(b"TERMINFO_DIRS", b"").split(b":")
    names = (b"%c/%s" % (term[0], term), b"%02x/%s" % (term[0], term))
    return any(
        os.path.exists(b"%s/%s" % (folder, name))
        for folder in (*folders, *TERMINFO)
        if folder.startswith(b"/")
        for name in names
    )


def message(kind: bytes, content: bytes) -> bytes:
    r"""Return one message for the other side.

    >>> message(INPUT, b"ls")
    b'I\x00\x00\x00\x02ls'
    """
    return kind + len(content).to_bytes(4, "big") + content


def take_message(buffer: bytearray) -> tuple[bytes, bytes] | None:
    """Take one message off the front of a buffer; None until there is a whole one."""
    end = 5 + int.from_bytes(buffer[1:5], "big")
    if len(buffer) < max(5, end):
        return None
    found = bytes(buffer[:1]), bytes(buffer[5:end])
    del buffer[:end]
    return found


def main(folder: str, role: str, key: str) -> int:
    """Lead one login to where it goes; returns only when it is refused, or the session is left."""
    here = os.fsencode(folder)
    with open(here + b"/environment", "rb") as file:
        snapshot = entries(file.read())
    with open(here + b"/settings", "rb") as file:
        settings = entries(file.read())
    given = os.environb
    command = given.get(b"SSH_ORIGINAL_COMMAND")
    hello = (os.fsencode(role), os.fsencode(key), given.get(b"SSH_CONNECTION", b""))
    where = destination(
        command,
        role=os.fsencode(role),
        has_terminal=b"SSH_TTY" in given,
        lands=settings[b"lands"],
        sftp=settings[b"sftp"],
    )
    if where.startswith(b"refused "):
        return refuse(here, where.removeprefix(b"refused "), hello)
    term = b""
    if b"SSH_TTY" in given:
        term = given.get(b"TERM", b"")
        term = term if is_known_terminal(term, snapshot) else FALLBACK_TERM
    if where == b"session":
        return Session(here, (*hello, term), is_viewer=role == "viewer").run()
    change_to(snapshot.get(b"HOME", b""))
    env = environment(snapshot, given, term=term, cwd=os.getcwdb(), is_command=where == b"command")
    shell = settings[b"shell"]
    if where == b"sftp":
        os.execve(settings[b"sftp"], [settings[b"sftp"]], env)
    if where == b"command":
        os.execve(shell, [shell, b"-c", command or b""], env)
    os.execve(shell, [b"-" + os.path.basename(shell)], env)


def change_to(home: bytes) -> None:
    """Go to the home folder that the environment names; stay where sshd has put us without it."""
    try:
        os.chdir(home)
    except OSError:
        return


def refuse(folder: bytes, why: bytes, hello: tuple[bytes, ...]) -> int:
    """Tell the client and the bridge's log that something is not allowed; return the status."""
    import socket

    sys.stderr.write(f"ttybridge: {REFUSALS[why]}\n")
    try:
        with socket.socket(socket.AF_UNIX) as bridge:
            bridge.settimeout(2)
            bridge.connect(folder + b"/login")
            bridge.sendall(message(REFUSED, b"\0".join((*hello, why))))
    except OSError:
        return 1  # the bridge is gone, and its log with it
    return 1


class Session:
    """This login's terminal, joined to the session through the bridge."""

    def __init__(self, folder: bytes, hello: tuple[bytes, ...], *, is_viewer: bool) -> None:
        """Remember who it is; `run` does the rest."""
        self._address = folder + b"/login"
        self._hello = hello
        self._is_viewer = is_viewer
        self._to_bridge = bytearray()
        self._to_terminal = bytearray()
        self._received = bytearray()
        self._end: bytes | None = None
        self._resized = False

    def run(self) -> int:
        """Pass bytes on until either side ends; return the exit status."""
        import signal
        import socket
        import termios
        import tty

        bridge = socket.socket(socket.AF_UNIX)
        try:
            bridge.connect(self._address)
        except OSError:
            sys.stderr.write("ttybridge: the bridge has stopped; start it again.\n")
            return 1
        wake, waker = socket.socketpair()
        for side in (bridge, wake, waker):
            side.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, self._on_resize)
        # A terminal that is gone is noticed; until then the bridge may still say goodbye.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        before = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSANOW)
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        self._say(HELLO, b"\0".join((*self._hello, b"%d %d" % os.get_terminal_size(0))))
        try:
            is_clean = self._relay(bridge, wake)
        except OSError:  # the terminal or the bridge is gone
            is_clean = False
        os.set_blocking(0, True)
        os.set_blocking(1, True)
        try:
            if not is_clean:
                os.write(1, RESTORE)
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            return self._say_goodbye()
        except (OSError, termios.error):  # the terminal is gone
            return 1

    def _on_resize(self, _number: int, _frame: object) -> None:
        self._resized = True

    def _say(self, kind: bytes, content: bytes) -> None:
        self._to_bridge += message(kind, content)

    def _say_goodbye(self) -> int:
        if self._end is None:
            text, status = "the bridge has stopped.", 1
            if self._is_viewer:
                text, status = "left.", 0
        else:
            text, status = self._end[1:].decode("utf-8", "replace"), self._end[0]
        if text:
            sys.stderr.write(f"ttybridge: {text}\n")
        return status

    def _relay(self, bridge: "socket.socket", wake: "socket.socket") -> bool:
        """Move bytes; return whether the bridge has said goodbye and all output is shown."""
        from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll

        polling = poll()
        polling.register(wake, POLLIN)
        ended = POLLHUP | POLLERR | POLLNVAL
        while self._end is None or self._to_terminal:
            polling.register(0, POLLIN if len(self._to_bridge) < MAX_WAITING else 0)
            polling.register(1, POLLOUT if self._to_terminal else 0)
            wanted = POLLIN if len(self._to_terminal) < MAX_WAITING else 0
            polling.register(bridge, wanted | (POLLOUT if self._to_bridge else 0))
            if self._end is not None:
                polling.unregister(bridge)
            ready = dict(polling.poll())
            if ready.pop(wake.fileno(), 0):
                wake.recv(4096)
            if self._resized:
                self._resized = False
                self._say(SIZE, b"%d %d" % os.get_terminal_size(0))
            if ready.get(0, 0) & (POLLIN | ended) and not self._read_terminal():
                return False
            if ready.get(1, 0) & POLLOUT:
                self._write_terminal()
            events = ready.get(bridge.fileno(), 0)
            if events & POLLOUT:
                self._write_bridge(bridge)
            if events & (POLLIN | ended) and not self._read_bridge(bridge):
                return False
        return True

    def _read_terminal(self) -> bool:
        """Take in what was typed; False when there will be no more, or a viewer leaves."""
        try:
            typed = os.read(0, CHUNK)
        except BlockingIOError:
            return True
        if not typed or (self._is_viewer and any(key in typed for key in LEAVE_KEYS)):
            return False
        self._say(INPUT, typed)
        return True

    def _write_terminal(self) -> None:
        try:
            del self._to_terminal[: os.write(1, self._to_terminal[:CHUNK])]
        except BlockingIOError:
            return

    def _write_bridge(self, bridge: "socket.socket") -> None:
        try:
            del self._to_bridge[: bridge.send(self._to_bridge)]
        except BlockingIOError:
            return
        except OSError:  # it takes nothing any more, and may have said goodbye
            self._to_bridge.clear()

    def _read_bridge(self, bridge: "socket.socket") -> bool:
        """Take in what the bridge says; False when it has ended without saying so."""
        data = bridge.recv(65536)
        self._received += data
        while found := take_message(self._received):
            if found[0] == OUTPUT:
                self._to_terminal += found[1]
            elif found[0] == END:
                self._end = found[1]
        return bool(data) or self._end is not None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
