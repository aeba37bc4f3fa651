"""Keeps an sshd: starts it when told, and ends it with all its logins.

The bridge starts it as `python -IS keeper.py FD SSHD ARGUMENTS…` and holds the other end of its
standard input. It stands alone, so that it can do its duty when the bridge is killed with
SIGKILL: then its input ends, and no login may stay open.

FD: `-` for an sshd that listens, or the descriptors of both ends of the connection that one sshd is
for, sshd's end and the bridge's, such as `7,8`. It is started at once, and the keeper ends with it.
The keeper holds the bridge's end, too, so that sshd does not end before its logins are looked at.
Input: `s` starts an sshd that listens, and is not running then. The end of input ends everything.
Output: a line with the exit status, as in `subprocess`, when sshd has ended by itself.
Standard error is sshd's log.
"""

import contextlib
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Options of prctl(2): a signal for a child when its parent ends; orphans below us become ours."""

FLUSH_S = 0.5
"""Time for sshd to tell its clients how their programs have ended, in seconds."""

GRACE_S = 2.0
"""Time for sshd and its logins to end before they are killed, in seconds."""


def prctl(option: int, value: int) -> None:
    """Set an option of this process; without ctypes, less is cleaned up after a SIGKILL."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return


def processes() -> dict[int, tuple[int, str]]:
    """Return the parent and the name of each process that there is."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name is in parentheses and may contain anything, parentheses too.
                    before, _, after = file.read().decode(errors="replace").rpartition(")")
                fields = after.split()
                if fields[0] != "Z":
                    found[int(name)] = (int(fields[1]), before.partition("(")[2])
    return found


def below(root: int, table: dict[int, tuple[int, str]]) -> list[int]:
    """Return the descendants of a process, parents first.

    >>> below(1, {2: (1, "a"), 3: (2, "b"), 4: (9, "c")})
    [2, 3]
    """
    found = [root]
    for pid in found:
        found += [child for child, (parent, _) in table.items() if parent == pid]
    return found[1:]


def split(root: int, table: dict[int, tuple[int, str]]) -> tuple[list[int], list[int]]:
    """Return sshd's processes below a process, and the programs that they have started.

    >>> split(1, {2: (1, "sshd"), 3: (2, "sshd-session"), 4: (3, "bash"), 5: (4, "vi")})
    ([2, 3], [4])
    """
    ours = [pid for pid in below(root, table) if table[pid][1].startswith("sshd")]
    programs = [pid for pid, (parent, _) in table.items() if parent in ours and pid not in ours]
    return ours, programs


def send(pids: list[int], number: int, *, to_groups: bool = False) -> None:
    """Send a signal to processes, or to the groups that they lead."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if to_groups:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)


class Keeper:
    """One sshd: one that may be started again and again, or one for one connection."""

    def __init__(self, connection: list[int], argv: list[str]) -> None:
        """Remember what to start.

        Args:
            connection: Descriptors of both ends of the connection that sshd is for; none for an
                sshd that listens.
            argv: sshd's arguments, with its absolute path first.
        """
        self._connection = connection
        self._argv = argv
        self._sshd = 0

    def run(self) -> None:
        """Do what the bridge says until it says nothing any more, or the connection has ended."""
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        wake, waker = os.pipe()
        for descriptor in (wake, waker):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        polling = select.poll()
        polling.register(0, select.POLLIN)
        polling.register(wake, select.POLLIN)
        if self._connection:
            self._start()
            os.close(self._connection[0])
        while self._sshd or not self._connection:
            ready = dict(polling.poll())
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if 0 in ready:
                order = os.read(0, 1)
                if not order:
                    self._end_all()
                    return
                self._start()

    def _start(self) -> None:
        me = os.getpid()
        self._sshd = os.fork()
        if self._sshd:
            return
        try:
            os.setpgid(0, 0)
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != me:  # it was killed before
                return
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            end = self._connection[0] if self._connection else os.open(os.devnull, os.O_RDWR)
            os.dup2(end, 0)
            os.dup2(end, 1)
            for descriptor in self._connection:
                os.close(descriptor)
            # What Python needed to start, such as LD_LIBRARY_PATH, is not for sshd.
            os.execve(self._argv[0], self._argv, {"PATH": os.environ.get("PATH", "")})
        except OSError as error:
            os.write(2, f"{self._argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _reap(self) -> None:
        """Reap whatever has ended, orphans too; tell of sshd."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self._sshd:
                    self._sshd = 0
                    with contextlib.suppress(OSError):  # nobody may be there to be told
                        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))

    def _split(self) -> tuple[list[int], list[int]]:
        """Return sshd's processes, whatever its program is called, and the programs in them."""
        me, table = os.getpid(), processes()
        if self._sshd in table:
            table[self._sshd] = (me, "sshd")
        return split(me, table)

    def _end_all(self) -> None:
        """End sshd, its logins, and, as when a terminal is closed, the programs in them."""
        began = time.monotonic()
        if self._sshd and not self._connection:
            send([self._sshd], signal.SIGTERM)  # first: nobody else comes in
        send(self._split()[1], signal.SIGHUP, to_groups=True)
        while True:
            self._reap()
            ours, _ = self._split()
            if not ours:
                self._reap()  # one may have ended since
                return
            waited_s = time.monotonic() - began
            if waited_s > GRACE_S:
                send(ours, signal.SIGKILL)
            elif waited_s > FLUSH_S:
                send(ours, signal.SIGTERM)
            time.sleep(0.02)


if __name__ == "__main__":
    Keeper([int(each) for each in sys.argv[1].split(",") if each != "-"], sys.argv[2:]).run()
