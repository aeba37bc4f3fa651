"""The protocol of ttybridge's page, version 1: docs/protocol.md, static/src/session.ts."""

import math
from typing import Any

from benchmarks.wires.socketio import SocketIoSpeech

ACK_BYTES, ACK_S = 16 * 1024, 0.04
"""Output, or time in seconds, after which the page acknowledges."""

POLLED_ACK_S = 0.3
"""The same time where it polls: an acknowledgement goes with the next keys, if there are some."""

MAX_UNDER_WAY = 8
"""Input messages without an answer that the page has under way."""

OUT = b'451-["out",'


class TtybridgeSpeech(SocketIoSpeech):
    """One client, which is done with output as soon as it has read it.

    With `polls`, it acknowledges as the page does that polls with several requests under way.

    Attributes:
        resets: How often output was skipped.
    """

    def __init__(self, cols: int, rows: int, *, polls: bool = False) -> None:
        """Begin."""
        super().__init__(cols, rows)
        self._polls = polls
        self.resets = 0
        self._is_joined = False
        self._taken = self._acked = 0
        self._offset = -1
        self._input = b""
        self._seq = self._accepted = 0
        self._max_input = 0

    def auth(self) -> object:
        """Join."""
        return {
            "protocol": 1,
            "cols": self.cols,
            "rows": self.rows,
            "display": "auto",
            "name": "",
            "client": "page",
        }

    def text(self, message: bytes, now: float) -> bytes:
        """Take in a packet; of output, note its place."""
        if message.startswith(OUT):
            self._offset = int(message[len(OUT) : message.index(b",", len(OUT))])
            return b""
        return super().text(message, now)

    def binary(self, message: bytes, now: float) -> bytes:
        """Take in output, without what is there already."""
        if self._offset < 0:
            return super().binary(message, now)
        known = self._taken - self._offset
        self._offset = -1
        if known < 0:
            raise OSError(f"{-known} bytes of output are missing at offset {self._taken}")
        fresh = message[known:] if known else message
        self._taken += len(fresh)
        if self._taken - self._acked >= ACK_BYTES:
            self.late(now)
        elif fresh and self.due == math.inf:
            self.due = now + (POLLED_ACK_S if self._polls else ACK_S)
        return fresh

    def late(self, now: float) -> None:
        """Acknowledge."""
        self.due = math.inf
        if self._taken > self._acked:
            self._acked = self._taken
            self.say(b'42["ack",%d]' % self._taken)

    def event(self, name: str, args: list[Any], now: float) -> bytes:
        """Take in an event."""
        if name == "joined":
            self._taken = self._acked = args[0]["offset"]
            self._seq = self._accepted = args[0]["input"]
            self._max_input = args[0]["maxInput"]
            self._is_joined = True
            self._flush()
        elif name == "reset":
            self._taken = self._acked = args[0]["offset"]
            self.resets += 1
        elif name == "inack":
            self._accepted = args[0]
            self._flush()
        elif name == "ping":
            self.emit("pong", args[0])
        elif name == "exit":
            self.is_over = True
        elif name in ("waiting", "refused"):
            raise OSError(f"not let in: {name} {args}")
        return b""

    def type(self, data: bytes) -> None:
        """Type; input waits until enough of what is under way has reached the pty."""
        self._input += data
        if self._polls:
            self.late(0)  # it goes with the keys
        self._flush()

    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""
        self.cols, self.rows = cols, rows
        if self._is_joined:
            self.emit("size", cols, rows)

    def _flush(self) -> None:
        while self._is_joined and self._input and self._seq - self._accepted < MAX_UNDER_WAY:
            piece, self._input = self._cut()
            self._seq += 1
            try:
                self.emit("in", self._seq, piece.decode())
            except UnicodeDecodeError:
                self.emit("in", self._seq, piece.decode("latin-1"), True)

    def _cut(self) -> tuple[bytes, bytes]:
        """Return the next message's bytes and the rest; no character is cut in two."""
        end = min(self._max_input, len(self._input))
        while 0 < end < len(self._input) and self._input[end] & 0xC0 == 0x80:
            end -= 1
        end = end or self._max_input
        return self._input[:end], self._input[end:]
