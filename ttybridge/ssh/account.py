"""The account that the bridge runs in: whether sshd can log it in, and what would be in the way."""

import contextlib
import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttybridge.core.ssh_log import no_terminal
from ttybridge.errors import MissingProgramError, SshdError

SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/usr/bin")
"""Where sshd may be besides PATH: ordinary users often lack the sbin folders."""

SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/local/libexec/sftp-server",
)
"""Where distributions put it: Debian, Fedora, Arch and Alpine, BSD, and a build of one's own."""

NO_SHELLS = ("nologin", "false", "true", "sync", "halt", "shutdown")
"""Names of login shells that run nothing."""

RESTRICTED_SHELLS = (
    *("rbash", "rksh", "rksh93", "rmksh", "rzsh"),
    *("lshell", "git-shell", "scponly", "scponlyc", "rssh"),
)
"""Names of login shells that run only what they like: no program by its path, so not ours."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account that sshd can log in."""

    name: str
    """Its name."""
    shell: str
    """Its shell, by its absolute path."""
    needs_pam: bool
    """Whether it is locked for sshd unless PAM is asked."""
    notes: tuple[str, ...]
    """Sentences about what will not work."""


def own_account(
    *,
    shadow: Path = Path("/etc/shadow"),
    pam: Path = Path("/etc/pam.d/sshd"),
    nologin: Path = Path("/etc/nologin"),
    uid: Callable[[], int] = os.getuid,
) -> Account:
    """Return the account of this process.

    Args:
        shadow: The file with the passwords, which only root can read.
        pam: What tells that PAM knows sshd.
        nologin: What tells that only root may log in for now (nologin(5)).
        uid: The user's number.

    Raises:
        SshdError: sshd cannot log it in; says what to do.
    """
    try:
        entry = pwd.getpwuid(uid())
    except KeyError:
        raise SshdError(
            f"The user with the number {uid()} has no account here, so sshd cannot log it in.",
            hint="Give it one: a line in /etc/passwd, such as "
            f"me:x:{uid()}:{os.getgid()}::/tmp:/bin/bash",
        ) from None
    shell = entry.pw_shell or "/bin/sh"
    if problem := _shell_problem(shell):
        raise SshdError(
            f"The shell of the account {entry.pw_name!r} is {shell}, which {problem}: sshd "
            "starts every login with it.",
            hint=f"Give the account another: usermod --shell /bin/bash {entry.pw_name}",
        )
    is_locked = uid() == 0 and _is_locked(entry.pw_name, shadow)
    if is_locked and not pam.exists():
        raise SshdError(
            f"The account {entry.pw_name!r} is locked, and sshd lets nobody into it.",
            hint="Make its password one that nothing matches: "
            f"usermod -p '*' {entry.pw_name} (logins by key go on to work).",
        )
    notes = [] if uid() == 0 else [*_terminal_notes(), *_nologin_notes(nologin)]
    return Account(entry.pw_name, shell, is_locked, tuple(notes))


def find_sshd(program: str, path: str) -> str:
    """Return the absolute path of sshd, which starts itself again by it for each connection.

    Args:
        program: A name, or a path.
        path: PATH.

    Raises:
        MissingProgramError: There is none.
    """
    if "/" in program:
        found = Path(program).absolute()
        candidates = [found]
    else:
        folders = [folder for folder in path.split(":") if folder.startswith("/")]
        candidates = [Path(folder, program) for folder in (*folders, *SBIN)]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    raise MissingProgramError(
        f"{program} was not found, and --ssh needs it.",
        hint="Install it (apt-get install openssh-server; it need not run), or name it with "
        "--sshd PROGRAM.",
    )


def find_sftp_server() -> str:
    """Return the path of OpenSSH's sftp-server, empty when there is none."""
    return next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), "")


def _shell_problem(shell: str) -> str:
    """Say what keeps a login shell from running our program, empty when nothing does.

    >>> _shell_problem("/bin/sh"), _shell_problem("/bin/false")
    ('', 'runs nothing')
    """
    name = Path(shell).name
    if name in RESTRICTED_SHELLS:
        return "is restricted, and does not run the program that opens the session"
    return "runs nothing" if name in NO_SHELLS or not os.access(shell, os.X_OK) else ""


def _is_locked(name: str, shadow: Path) -> bool:
    """Tell whether sshd takes an account for locked: a password that begins with `!` (auth.c)."""
    with contextlib.suppress(OSError):
        for line in shadow.read_bytes().splitlines():
            fields = line.split(b":")
            if fields[0] == name.encode() and len(fields) > 1:
                return fields[1].startswith(b"!")
    return False


def _terminal_notes() -> tuple[str, ...]:
    """Say so where sshd, as an ordinary user, cannot give a terminal to anybody."""
    try:
        wanted = grp.getgrnam("tty").gr_gid
        master, slave = os.openpty()
    except (KeyError, OSError):  # no such group: sshd takes the user's own then
        return ()
    try:
        group = os.fstat(slave).st_gid
    finally:
        os.close(master)
        os.close(slave)
    return () if group == wanted else (" ".join(no_terminal(str(wanted))),)


def _nologin_notes(nologin: Path) -> tuple[str, ...]:
    if not nologin.exists():
        return ()
    return (
        f"SSH logins are refused while there is the file {nologin}: only root may log in. It is "
        "there while a machine starts or is about to stop; as root, remove it.",
    )
