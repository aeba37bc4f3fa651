"""How much of the machine other work takes while something is measured."""

import os
import time
from pathlib import Path

from benchmarks.processes import children_of

TICKS_S = os.sysconf("SC_CLK_TCK")

KERNEL_THREADS = 2
"""Parent of the kernel's threads: what they do, they do for what is measured as well."""


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
        # Who has ended since is in the sum of the parent, with all its life; hence all of before.
        ticks = sum(self._used().values()) - sum(self._before.values())
        wall = time.monotonic() - self._begin
        return max(0, ticks) / TICKS_S / max(wall, 1e-3) / (os.cpu_count() or 1)

    def _used(self) -> dict[int, int]:
        used = {}
        for pid in self._pids:
            try:
                fields = _fields(pid)
            except OSError:
                continue
            if pid != KERNEL_THREADS and int(fields[1]) != KERNEL_THREADS:
                used[pid] = sum(map(int, fields[11:15]))
        return used


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
