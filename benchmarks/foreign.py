"""How much of the machine other work takes while something is measured."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import children_of

TICKS_S = os.sysconf("SC_CLK_TCK")

KERNEL_THREADS = 2
"""Parent of the kernel's threads: what they do, they do for what is measured as well."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a process has used so far, in ticks."""

    parent: int
    own: int
    children: int
    """By children, and theirs, whose end it has waited for."""


class Foreign:
    """Watches the processes that were there before.

    What they start counts as soon as they have waited for its end.
    """

    def __init__(self) -> None:
        """Begin to watch: before anything of what is measured has started."""
        own = {os.getpid(), *children_of(os.getpid()), *_ancestors()}
        self._pids = [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if int(folder.name) not in own
        ]
        self._begin, self._before = time.monotonic(), self._used()

    def share(self) -> float:
        """Return the share of all processors that they have had since; 1 is all."""
        wall = time.monotonic() - self._begin
        ticks = ticks_between(self._before, self._used())
        return ticks / TICKS_S / max(wall, 1e-3) / (os.cpu_count() or 1)

    def _used(self) -> dict[int, Used]:
        used = {}
        for pid in self._pids:
            try:
                fields = _fields(pid)
            except OSError:
                continue
            parent = int(fields[1])
            if KERNEL_THREADS not in (pid, parent):
                user, system, of_children, system_of_children = map(int, fields[11:15])
                used[pid] = Used(parent, user + system, of_children + system_of_children)
        return used


def ticks_between(before: Mapping[int, Used], now: Mapping[int, Used]) -> int:
    """Return what processes have used in between; pure.

    Who has ended is in the sum of its parent with all its life, of which only the end counts. What
    process 1 waits for may be ours, and does not count: tmux servers become its children.

    >>> before = {7: Used(0, 10, 5), 8: Used(7, 100, 0)}
    >>> ticks_between(before, {7: Used(0, 12, 108)})
    5
    """
    ended: dict[int, int] = {}
    for pid in before.keys() - now.keys():
        used, parent = before[pid], before[pid].parent
        while parent in before and parent not in now:
            parent = before[parent].parent
        ended[parent] = ended.get(parent, 0) + used.own + used.children
    total = 0
    for pid in before.keys() & now.keys():
        was, is_now = before[pid], now[pid]
        total += is_now.own - was.own
        if pid != 1:
            total += max(0, is_now.children - was.children - ended.get(pid, 0))
    return total


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third (proc(5)), the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _ancestors() -> set[int]:
    """Return the parents of this process: they wait for it, and count what it has started."""
    found, pid = set(), os.getppid()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = int(_fields(pid)[1])
    return found | {pid}
