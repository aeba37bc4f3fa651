"""ttyd's protocol: binary messages, the first byte says of what kind."""

import json

from benchmarks.wires.speech import Speech

OUTPUT = 0x30
"""First byte of output; the others are the title and preferences."""


class TtydSpeech(Speech):
    """One client of ttyd.

    Its page asks ttyd to pause when ten pieces of 100,000 bytes wait for the terminal. A client
    that is done with output as soon as it has read it never does, and a slow one reads slowly.
    """

    def opened(self) -> None:
        """Say hello: only then does ttyd start the program."""
        hello = {"AuthToken": "", "columns": self.cols, "rows": self.rows}
        self.say_binary(json.dumps(hello).encode())

    def text(self, message: bytes, now: float) -> bytes:
        """There are none."""
        raise OSError(f"a text message from ttyd: {message[:80]!r}")

    def binary(self, message: bytes, now: float) -> bytes:
        """Return output."""
        return message[1:] if message[0] == OUTPUT else b""

    def type(self, data: bytes) -> None:
        """Type."""
        self.say_binary(b"0" + data)

    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""
        self.say_binary(b"1" + json.dumps({"columns": cols, "rows": rows}).encode())
