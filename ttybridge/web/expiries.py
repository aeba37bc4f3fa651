"""What ends by itself: at a time of the clock on the wall, though the machine has slept."""

import asyncio
import time
from collections.abc import Callable

LOOK_S = 30.0
"""Longest time between two looks at the clock, in seconds: while a machine sleeps, the event loop's
own clock stands still, and somebody may set the other one."""

MARGIN_S = 0.01
"""How long after its time something ends, in seconds: at that very moment it still counts."""


class Expiries:
    """Names with a time at which each is over; takes the running event loop."""

    def __init__(self, over: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        """Know of nothing yet.

        Args:
            over: Called once with a name whose time has come.
            clock: Seconds since 1970.
        """
        self._over, self._clock = over, clock
        self._ends: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, name: str, at: float) -> None:
        """Have something end at a time in seconds since 1970; it may be known already."""
        if self._ends.get(name) != at:
            self._ends[name] = at
            self._wait()

    def drop(self, name: str) -> None:
        """Forget something that has ended otherwise; nothing happens if it is not known."""
        self._ends.pop(name, None)

    def close(self) -> None:
        """Let nothing end any more."""
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ends:
            left_s = min(self._ends.values()) - self._clock() + MARGIN_S
            wait_s = min(max(left_s, MARGIN_S), LOOK_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _look(self) -> None:
        now = self._clock()
        for name in [name for name, at in self._ends.items() if at < now]:
            del self._ends[name]
            self._over(name)
        self._wait()
