"""The window's title: says something for a few seconds, and is the session's again."""

import asyncio

from ttybridge.client import notes
from ttybridge.client.notes import OutputEnd
from ttybridge.client.raw_terminal import RawTerminal

SHOWN_S = 6.0
"""How long a sentence stays in the title, in seconds."""


class WindowTitle:
    """The title; it is written where it does not break a sequence of the output.

    Args:
        terminal: The terminal.
        output: What the session has drawn on it.
    """

    def __init__(self, terminal: RawTerminal, output: OutputEnd) -> None:
        self._terminal, self._output = terminal, output
        self._waiting = b""
        self._is_ours = self._goes_back = False
        self._timer: asyncio.TimerHandle | None = None

    def say(self, text: str, *, bell: bool = False, stays: bool = False) -> None:
        """Show a sentence.

        Args:
            text: The sentence.
            bell: Whether it makes a sound.
            stays: Whether it stays until `give_back`.
        """
        self._cancel()
        self._waiting, self._goes_back = notes.title(text) + notes.BELL * bell, False
        if not stays:
            self._timer = asyncio.get_running_loop().call_later(SHOWN_S, self.give_back)
        self.flush()

    def give_back(self) -> None:
        """Let it be the session's again."""
        self._cancel()
        self._waiting, self._goes_back = b"", self._is_ours
        self.flush()

    def flush(self) -> None:
        """Write what waits, if that can be done now."""
        if not (self._terminal.is_raw and self._output.is_between):
            return
        if self._goes_back:
            self._terminal.write(self.end() + self._output.title)
        elif self._waiting:
            self._terminal.write(notes.PUSH_TITLE * (not self._is_ours) + self._waiting)
            self._is_ours, self._waiting = True, b""

    def end(self) -> bytes:
        """Return what brings back the title from before; nothing waits any more."""
        self._cancel()
        before = notes.POP_TITLE * self._is_ours
        self._waiting, self._is_ours, self._goes_back = b"", False, False
        return before

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
