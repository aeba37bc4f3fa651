"""Keeps the companion sshd: starts it when told, and ends it with all its logins.

The bridge starts it as `python -IS keeper.py SSHD ARGUMENTS…` and holds the other end of its
standard input. It stands alone, so that it can do its duty when the bridge is killed with
SIGKILL: then its input ends, and no login may stay open.

Input: `s` starts sshd, which is not running then. The end of input ends everything.
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
    """One sshd, which may be started again and again."""

    def __init__(self, argv: list[str]) -> None:
        """Remember what to start; `argv` has the program's absolute path first."""
        self._argv = argv
        self._sshd = 0

    def run(self) -> None:
        """Do what the bridge says until it says nothing any more."""
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
        while True:
            ready = dict(polling.poll())
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if 0 in ready:
                order = os.read(0, 1)
                if not order:
                    break
                self._start()
        self._end_all()

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
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 0)
            os.dup2(nowhere, 1)
            os.execv(self._argv[0], self._argv)
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
                    os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))

    def _end_all(self) -> None:
        """End sshd, its logins, and, as when a terminal is closed, the programs in them."""
        me, began = os.getpid(), time.monotonic()
        send([self._sshd] if self._sshd else [], signal.SIGTERM)  # first: nobody else comes in
        _, programs = split(me, processes())
        send(programs, signal.SIGHUP, to_groups=True)
        while True:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            ours, _ = split(me, processes())
            if not ours:
                return
            waited_s = time.monotonic() - began
            if waited_s > GRACE_S:
                send(ours, signal.SIGKILL)
            elif waited_s > FLUSH_S:
                send(ours, signal.SIGTERM)
            time.sleep(0.02)


if __name__ == "__main__":
    Keeper(sys.argv[1:]).run()
