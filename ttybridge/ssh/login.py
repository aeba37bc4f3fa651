"""What every SSH login runs: gives it the bridge's environment and leads it where it wants to go.

sshd starts it as the forced command of a key: `python -IS login.py FOLDER ROLE KEY`. It stands
alone: no other module of ours but `joined.py` for logins into the session, and few of Python's,
because scp, rsync and editors log in often and wait for it. KEY is a key's fingerprint, or what
the bridge calls one connection over the web. FOLDER is the bridge's private folder:

    environment   the environment, NAME=value, each followed by a NUL
    settings      name=value, each followed by a NUL: `shell`, `sftp`, `lands`
    roles         key=role, each followed by a NUL, for keys that may do less than ROLE by now
    login         the socket at which the bridge takes logins into the session
    joined.py     what goes on when a login joins the session
"""

import os
import sys

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this to run
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

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

REFUSALS = {
    b"command": "This key may watch the session and run nothing: log in without a command.",
    b"sftp": "This key may watch the session; files are not open to it.",
    b"shell": "This key may watch the session, which needs a terminal: log in with ssh -t.",
    b"no-sftp": "File transfer is switched off here (--no-ssh-sftp), or sftp-server is missing.",
    b"role": "This key has no known role here.",
    b"removed": "You have been removed from the session: this key opens nothing here any more.",
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
        role: `owner` or `editor`, `viewer` for a key that may only watch, `removed`.
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
    if role not in (b"owner", b"editor"):
        return b"refused removed" if role == b"removed" else b"refused role"
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


def main(folder: str, role: str, key: str) -> int:
    """Lead one login to where it goes; returns only when it is refused, or the session is left."""
    here = os.fsencode(folder)
    with open(here + b"/environment", "rb") as file:
        snapshot = entries(file.read())
    with open(here + b"/settings", "rb") as file:
        settings = entries(file.read())
    role_now = now(here, os.fsencode(key), os.fsencode(role))
    given = os.environb
    command = given.get(b"SSH_ORIGINAL_COMMAND")
    hello = (os.fsencode(key), given.get(b"SSH_CONNECTION", b""))
    where = destination(
        command,
        role=role_now,
        has_terminal=b"SSH_TTY" in given,
        lands=settings[b"lands"],
        sftp=settings[b"sftp"],
    )
    if where.startswith(b"refused "):
        return refuse(here, where.removeprefix(b"refused "), hello)
    term, is_known = b"", False
    if b"SSH_TTY" in given:
        term = given.get(b"TERM", b"")
        is_known = is_known_terminal(term, snapshot)
        term = term if is_known else FALLBACK_TERM
    if where == b"session":
        session = joined(folder).Session(here, (*hello, term), answers=is_known)
        return int(session.run())
    change_to(snapshot.get(b"HOME", b""))
    env = environment(snapshot, given, term=term, cwd=os.getcwdb(), is_command=where == b"command")
    shell = settings[b"shell"]
    if where == b"sftp":
        os.execve(settings[b"sftp"], [settings[b"sftp"]], env)
    if where == b"command":
        os.execve(shell, [shell, b"-c", command or b""], env)
    os.execve(shell, [b"-" + os.path.basename(shell)], env)


def now(folder: bytes, key: bytes, role: bytes) -> bytes:
    """Return the role of a key now; none where the bridge could not write down what has changed."""
    try:
        with open(folder + b"/roles", "rb") as file:
            return entries(file.read()).get(key, role)
    except OSError:
        return b""


def change_to(home: bytes) -> None:
    """Go to the home folder that the environment names; stay where sshd has put us without it."""
    try:
        os.chdir(home)
    except OSError:
        return


def joined(folder: str) -> "ModuleType":
    """Load the part for logins that say something to the bridge."""
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    return __import__("joined")


def refuse(folder: bytes, why: bytes, hello: tuple[bytes, ...]) -> int:
    """Tell the client and the bridge's log that something is not allowed; return the status."""
    import socket

    sys.stderr.write(f"ttybridge: {REFUSALS[why]}\n")
    try:
        with socket.socket(socket.AF_UNIX) as bridge:
            bridge.settimeout(2)
            bridge.connect(folder + b"/login")
            says = joined(os.fsdecode(folder))
            bridge.sendall(says.message(says.REFUSED, b"\0".join((*hello, why))))
    except OSError:
        return 1  # the bridge is gone, and its log with it
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
