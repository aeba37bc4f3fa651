"""wetty's protocol: events of Socket.IO, with output as text."""

from typing import Any

from benchmarks.wires.socketio import SocketIoSpeech

COMMIT = 262_144
"""UTF-16 code units of output after which wetty's page acknowledges (its FlowControlClient)."""


class WettySpeech(SocketIoSpeech):
    """One client."""

    def __init__(self, cols: int, rows: int) -> None:
        """Begin."""
        super().__init__(cols, rows)
        self._has_program = False
        self._early = ""
        self._units = 0

    def event(self, name: str, args: list[Any], now: float) -> bytes:
        """Return output; acknowledge it when it is time to."""
        if name == "data":
            text = str(args[0])
            output = text.encode()
            # A character of four bytes has two code units.
            wide = 0 if len(text) == len(output) else len(text.encode("utf-16-le")) // 2 - len(text)
            self._units += len(text) + wide
            if self._units >= COMMIT:
                self._units -= COMMIT
                self.emit("commit", COMMIT)
            return output
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
