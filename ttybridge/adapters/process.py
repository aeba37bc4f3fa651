"""This process from outside: memory, descriptors, threads; and how late its event loop is."""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ttybridge.core.metrics import LAG_BUCKETS_S, Histogram

LOOK_S = 0.25
"""Time between two looks at the event loop, in seconds: four wake-ups a second cost nothing, and a
delay that keys notice is longer than this."""


@dataclass(frozen=True, slots=True)
class Process:
    """What a process uses."""

    resident_bytes: int
    """Resident memory."""
    cpu_s: float
    """Processor time, in seconds."""
    descriptors: int
    """Open descriptors."""
    max_descriptors: float
    """How many there may be; infinite where there is no limit."""
    threads: int
    """Threads."""


def look() -> Process:
    """Return what this process uses (proc(5))."""
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Process(
        resident_bytes=resident_pages * os.sysconf("SC_PAGE_SIZE"),
        cpu_s=time.process_time(),
        descriptors=len(list(Path("/proc/self/fd").iterdir())) - 1,  # that of the list itself
        max_descriptors=float("inf") if most == resource.RLIM_INFINITY else float(most),
        threads=len(list(Path("/proc/self/task").iterdir())),
    )


class Lag:
    """How late the event loop is.

    Attributes:
        delays: All delays, in seconds.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.delays = Histogram(LAG_BUCKETS_S)
        self._longest_s = 0.0

    def longest_s(self) -> float:
        """Return the longest delay since the last call, in seconds."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at the running event loop meanwhile."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_S
            await asyncio.sleep(LOOK_S)
            delay_s = max(0.0, loop.time() - due)
            self.delays.add(delay_s)
            self._longest_s = max(self._longest_s, delay_s)
