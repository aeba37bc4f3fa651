"""Live parity: after each cell, what changed in os.environ goes to the session.

New windows of tmux and later SSH logins get it. Programs that run keep what they have: nothing can
change the environment of another process.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ttybridge.client.control import Control
from ttybridge.core.environment import OWN_SECRETS
from ttybridge.errors import TtyBridgeError

PATIENCE_S = 3.0
"""Longest time that a cell waits for a bridge to take its changes, in seconds; usually it takes
milliseconds."""

REST_S = 60.0
"""Time in which a bridge that did not answer is left alone, in seconds."""


@dataclass(slots=True)
class Report:
    """What was sent in this kernel's life."""

    set: tuple[str, ...] = ()
    """Names that were set last."""
    unset: tuple[str, ...] = ()
    """Names that were removed last."""
    skipped: tuple[str, ...] = ()
    """Names that the bridge leaves alone, of those sent last."""
    problem: str = ""
    """Why the last changes did not arrive; empty when they did."""


class EnvironmentSync:
    """Sends changes of the environment to a bridge.

    Attributes:
        is_on: Whether changes are sent; off, they wait for it to be switched on again.
        report: What was sent last.
    """

    def __init__(self, read: Callable[[], Mapping[bytes, bytes]]) -> None:
        """Remember where to look.

        Args:
            read: Returns the environment as it is now.
        """
        self._read = read
        self._control: Control | None = None
        self._rests_until = 0.0
        self._sent: dict[bytes, bytes] = {}
        self.is_on = True
        self.report = Report()

    def attach(self, control: Control, *, is_new: bool) -> None:
        """Send to this bridge from now on.

        Args:
            control: Its control socket, which should give up after PATIENCE_S.
            is_new: Whether it was started with the environment as it is now. Another one, found
                after the kernel was restarted, gets all of it once.
        """
        self._control = control
        self._rests_until = 0.0
        self._sent = self._now() if is_new else {}
        self.report = Report()

    def detach(self) -> None:
        """Send nothing more."""
        self._control = None

    def send_changes(self) -> None:
        """Send what has changed since the last time; never raises."""
        if self._control is None or not self.is_on:
            return
        now = self._now()
        changed = {name: value for name, value in now.items() if self._sent.get(name) != value}
        unset = sorted(self._sent.keys() - now.keys())
        if not changed and not unset:
            return
        if time.monotonic() < self._rests_until:
            return
        begun = time.monotonic()
        try:
            sent = self._control.send_environment(changed, unset)
        except TtyBridgeError as error:
            # What was not taken is tried again after a later cell.
            self.report.problem = str(error)
            if time.monotonic() - begun >= PATIENCE_S:
                self._rests_until = time.monotonic() + REST_S
            return
        self._sent = now
        self.report = Report(_names(changed), _names(unset), sent.skipped)

    def _now(self) -> dict[bytes, bytes]:
        return {name: value for name, value in self._read().items() if name not in OWN_SECRETS}


def _names(names: Mapping[bytes, bytes] | list[bytes]) -> tuple[str, ...]:
    return tuple(sorted(name.decode("utf-8", "replace") for name in names))
