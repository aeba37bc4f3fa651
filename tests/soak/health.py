"""How the bridges are: memory, descriptors, and whether their event loops turn."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from operator import le

from tests.e2e.hostile import Watched
from tests.soak.checks import Violation

LAG_S = 2.0
"""Longest time in which a bridge answers the smallest request, in seconds."""

GROWTH_BYTES = 24_000_000
"""What memory may grow by from the second quarter of the time to the last one."""

PROBE = """
import http.client, sys, time
pairs = [tuple(map(int, pair.split(":"))) for pair in sys.argv[1:]]

def waited(pid):
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0

while True:
    for port, pid in pairs:
        began, before = time.monotonic(), waited(pid)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            connection.close()
        except OSError:
            pass
        took = time.monotonic() - began
        print(port, took, took - (waited(pid) - before), flush=True)
    time.sleep(0.2)
"""
"""Prints how long an answer took, and how long without the time in which the bridge could have run
and no processor was free."""


class Probe:
    """Asks the bridges for the smallest answer, from a process of its own."""

    def __init__(self, ports: dict[int, int]) -> None:
        """Ask at these ports, of these processes."""
        self.longest_s: dict[int, float] = dict.fromkeys(ports, 0.0)
        self.longest_own_s = self.longest_s.copy()
        self.asked = 0
        pairs = [f"{port}:{pid}" for port, pid in ports.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROBE, *pairs], stdout=subprocess.PIPE, text=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            port, seconds, own = text.split()
            self.longest_s[int(port)] = max(self.longest_s[int(port)], float(seconds))
            self.longest_own_s[int(port)] = max(self.longest_own_s[int(port)], float(own))
            self.asked += 1

    def check(self) -> None:
        """Check that nobody has waited for too long.

        Raises:
            Violation: Somebody has.
        """
        longest = max(self.longest_own_s.values())
        if longest > LAG_S:
            raise Violation(
                f"a bridge did not answer for {longest:.2f} s: {self.longest_own_s}, with the "
                f"time without a processor {self.longest_s}"
            )

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._thread.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()


POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads that asyncio's pool may have, which it makes when it needs them, and keeps."""


class Footprint:
    """What a process holds over time."""

    def __init__(self, name: str, watched: Watched) -> None:
        self.name, self._watched = name, watched
        self.start = watched.footprint()
        self.rss: list[int] = []
        self.most_descriptors = 0

    def sample(self) -> None:
        """Look once."""
        self.rss.append(self._watched.rss_bytes)
        self.most_descriptors = max(self.most_descriptors, self._watched.footprint()[0])

    def growth_bytes(self) -> int:
        """Return by how much the mean of the last quarter is above that of the second one."""
        quarter = len(self.rss) // 4
        if quarter == 0:
            return 0
        mean: Callable[[list[int]], float] = lambda part: sum(part) / len(part)  # noqa: E731
        return int(mean(self.rss[-quarter:]) - mean(self.rss[quarter : 2 * quarter]))

    def check(self) -> None:
        """Check that memory does not grow on and on.

        Raises:
            Violation: It does.
        """
        if (grown := self.growth_bytes()) > GROWTH_BYTES:
            some = self.rss[:: max(1, len(self.rss) // 20)]
            raise Violation(f"{self.name}: memory grows by {grown} bytes: {some}")

    def is_back(self) -> bool:
        """Tell whether it holds no more than at the start, threads of Python's pool apart."""
        *start, threads = self.start
        *now, threads_now = self._watched.footprint()
        return threads_now <= threads + POOL and all(map(le, now, start))

    @property
    def now(self) -> tuple[int, int, int, int]:
        """The numbers of descriptors, children, ptys and threads."""
        return self._watched.footprint()
