"""wetty's protocol: events of Socket.IO, with output as text."""

from typing import Any

from benchmarks.wires.escapes import from_utf8
from benchmarks.wires.socketio import SocketIoSpeech

BEGIN, END = b'42["data","', b'"]'
"""How output begins and ends in a packet."""

COMMIT = 262_144
"""UTF-16 code units of output after which wetty's page acknowledges (its FlowControlClient)."""

WIDE = b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4"
"""First bytes of the characters in UTF-8 that have two code units in UTF-16."""


class WettySpeech(SocketIoSpeech):
    """One client."""

    def __init__(self, cols: int, rows: int) -> None:
        """Begin."""
        super().__init__(cols, rows)
        self._has_program = False
        self._early = ""
        self._units = 0

    def text(self, message: bytes, now: float) -> bytes:
        """Take in a packet; the most frequent ones in the fastest way."""
        if message.startswith(BEGIN) and message.endswith(END):
            return self._count(from_utf8(message[len(BEGIN) : -len(END)]))
        return super().text(message, now)

    def event(self, name: str, args: list[Any], now: float) -> bytes:
        """Return output."""
        if name == "data":
            return self._count(str(args[0]).encode())
        if name == "login":  # the program has been started
            self._has_program = True
            self.resize(self.cols, self.rows)
            if self._early:
                self.emit("input", self._early)
        elif name == "logout":
            self.is_over = True
        return b""

    def type(self, data: bytes) -> None:
        """Type."""
        text = data.decode()
        if self._has_program:
            self.emit("input", text)
        else:
            self._early += text

    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""
        self.cols, self.rows = cols, rows
        if self._has_program:
            self.emit("resize", {"cols": cols, "rows": rows})

    def _count(self, output: bytes) -> bytes:
        """Acknowledge output when it is time to; the server counts code units, too."""
        self._units += len(output.decode()) + sum(map(output.count, WIDE))
        if self._units >= COMMIT:
            self._units -= COMMIT
            self.emit("commit", COMMIT)
        return output
