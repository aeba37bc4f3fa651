"""terminado's protocol, which JupyterLab's terminals speak: JSON arrays in text messages."""

import json

from benchmarks.wires.escapes import from_ascii
from benchmarks.wires.speech import Speech

BEGIN, END = b'["stdout", "', b'"]'
"""How output begins and ends in a message."""


class TerminadoSpeech(Speech):
    """One client; there are no acknowledgements."""

    def __init__(self, cols: int, rows: int) -> None:
        """Begin."""
        super().__init__(cols, rows)
        self._is_set_up = False
        self._early: list[list[object]] = []

    def text(self, message: bytes, now: float) -> bytes:
        """Return output; the most frequent messages in the fastest way."""
        if message.startswith(BEGIN) and message.endswith(END):
            return from_ascii(message[len(BEGIN) : -len(END)])
        kind, *args = json.loads(message)
        if kind == "stdout":
            return str(args[0]).encode()
        if kind == "setup":
            self._is_set_up = True
            self.resize(self.cols, self.rows)
            for each in self._early:
                self._send(each)
        elif kind == "disconnect":
            self.is_over = True
        return b""

    def binary(self, message: bytes, now: float) -> bytes:
        """There are none."""
        raise OSError(f"a binary message from terminado: {message[:80]!r}")

    def type(self, data: bytes) -> None:
        """Type."""
        self._send(["stdin", data.decode()])

    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size; its size in pixels is not used."""
        self.cols, self.rows = cols, rows
        if self._is_set_up:
            self._send(["set_size", rows, cols, 0, 0])

    def _send(self, message: list[object]) -> None:
        if self._is_set_up:
            self.say(json.dumps(message).encode())
        else:
            self._early.append(message)
