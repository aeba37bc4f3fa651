"""When the events of a recording are due: speed, pauses, and time in which nothing happens."""

import math

MIN_SPEED, MAX_SPEED = 1 / 16, 1024.0
"""Slowest and fastest."""


class Pacer:
    """Says how long to wait for the next event. Times are those of one clock, in seconds.

    >>> pacer = Pacer(100.0, speed=2, idle_limit_s=3)
    >>> pacer.aim(1.0)
    >>> pacer.wait_s(100.1)
    0.4
    >>> pacer.aim(61.0)
    >>> pacer.wait_s(100.5)
    1.5
    """

    def __init__(
        self, now: float, *, speed: float = 1.0, idle_limit_s: float | None = None
    ) -> None:
        """Start.

        Args:
            now: The time now.
            speed: How much faster than it was.
            idle_limit_s: Longest time between two events, in the recording's own time; None for
                any.
        """
        self.speed = speed
        self.is_paused = False
        self._idle_limit_s = math.inf if idle_limit_s is None else idle_limit_s
        self._event_s = 0.0
        self._due = now
        self._paused_at = now
        self._is_step = False

    def aim(self, event_s: float) -> None:
        """Turn to the event at `event_s` seconds since the recording's beginning."""
        self._due += min(event_s - self._event_s, self._idle_limit_s) / self.speed
        self._event_s = event_s

    def wait_s(self, now: float) -> float:
        """Return the seconds until the event is due; infinite during a pause."""
        if self._is_step:
            return 0.0
        return math.inf if self.is_paused else round(max(self._due - now, 0.0), 6)

    def pause(self, now: float) -> None:
        """Pause, or go on."""
        if self.is_paused:
            self._due += now - self._paused_at
        self._paused_at = now
        self.is_paused = not self.is_paused

    def step(self) -> None:
        """Let the event, or the next one, be due now; a pause goes on behind it."""
        self._is_step = True

    def show(self, now: float) -> None:
        """Note that the event is shown now."""
        if self._is_step:
            self._due = self._paused_at if self.is_paused else now
            self._is_step = False

    def change_speed(self, factor: float, now: float) -> None:
        """Play faster or slower, from now on."""
        speed = min(max(self.speed * factor, MIN_SPEED), MAX_SPEED)
        seen_from = self._paused_at if self.is_paused else now
        self._due = seen_from + max(self._due - seen_from, 0.0) * self.speed / speed
        self.speed = speed
