"""The protocol of Colab's terminal: JSON texts inside events of Socket.IO (docs/protocol.md)."""

import json
from typing import Any

from benchmarks.wires.escapes import from_utf8, once
from benchmarks.wires.socketio import SocketIoSpeech

BEGIN = b'42["data",{"data":"{\\"data\\":\\"'
ENDS = ((b'\\"}"}]', False), (b'\\",\\"ack\\":true}"}]', True))
"""How output begins and ends in a packet, and whether it asks for an acknowledgement."""


class OriginalSpeech(SocketIoSpeech):
    """One client, which acknowledges what it is asked to."""

    def __init__(self, cols: int, rows: int) -> None:
        """Begin."""
        super().__init__(cols, rows)
        self._early = ""

    def connected(self) -> None:
        """Tell the window's size, and what was typed in the meantime."""
        self.resize(self.cols, self.rows)
        if self._early:
            self._send({"data": self._early})

    def text(self, message: bytes, now: float) -> bytes:
        """Take in a packet; the most frequent ones in the fastest way."""
        if message.startswith(BEGIN):
            for end, asks in ENDS:
                if message.endswith(end):
                    if asks:
                        self._send({"ack": True})
                    return from_utf8(once(message[len(BEGIN) : -len(end)]))
        return super().text(message, now)

    def event(self, name: str, args: list[Any], now: float) -> bytes:
        """Return output; acknowledge it if asked."""
        if name != "data":
            return b""
        message = json.loads(args[0]["data"])
        if message.get("ack"):
            self._send({"ack": True})
        return str(message.get("data", "")).encode()

    def type(self, data: bytes) -> None:
        """Type."""
        text = data.decode()
        if self.is_connected:
            self._send({"data": text})
        else:
            self._early += text

    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""
        self.cols, self.rows = cols, rows
        if self.is_connected:
            self._send({"cols": cols, "rows": rows})

    def _send(self, message: object) -> None:
        self.emit("data", {"data": json.dumps(message, separators=(",", ":"))})
