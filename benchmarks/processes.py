"""What processes cost: CPU time and memory, as /proc says."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Cost:
    """What some processes have cost."""

    cpu_s: float
    """CPU time of all their threads, in seconds."""
    memory: int
    """Memory in bytes, a page that several share counted once (PSS); RSS where that is hidden."""
    count: int
    """How many processes."""

    def since(self, before: "Cost") -> "Cost":
        """Return what was added to the CPU time; memory and count are what they are now."""
        return Cost(self.cpu_s - before.cpu_s, self.memory, self.count)


def busy_s() -> float:
    """Return the CPU seconds that all processors together have worked since the machine's start."""
    fields = (PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """Return all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        mine = parents.get(left.pop(), [])
        found += mine
        left += mine
    return found


def cost_of(pids: Iterable[int]) -> Cost:
    """Add up what processes have cost so far; those that have ended are left out."""
    cpu, memory, count = 0, 0, 0
    for pid in pids:
        try:
            for thread in (PROC / str(pid) / "task").iterdir():
                cpu += int((thread / "schedstat").read_text().split()[0])
            memory += _memory(pid)
            count += 1
        except OSError:
            continue
    return Cost(cpu / 1e9, memory, count)


def _memory(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except PermissionError:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        return pages * 4096
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
