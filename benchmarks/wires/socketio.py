"""Socket.IO 5 over Engine.IO 4, the client's side: what ttybridge, the original and wetty share.

A Socket.IO packet travels in one WebSocket message, or in one part of a polling answer; an event
with binary arguments in one more for each (see the protocols' documents at socket.io).
"""

import json
from abc import abstractmethod
from typing import Any

from benchmarks.wires.speech import Speech


class SocketIoSpeech(Speech):
    """One client.

    Attributes:
        is_connected: Whether the server has let it in.
    """

    is_connected = False

    def auth(self) -> object:
        """Return what the client connects with; None for nothing."""
        return None

    def connected(self) -> None:
        """Say what a client says as soon as it is let in."""
        return

    @abstractmethod
    def event(self, name: str, args: list[Any], now: float) -> bytes:
        """Take in an event and return its output."""

    def emit(self, name: str, *args: object) -> None:
        """Have an event sent."""
        self.say(b"42" + json.dumps([name, *args], separators=(",", ":")).encode())

    def text(self, message: bytes, now: float) -> bytes:
        """Take in a packet."""
        kind = message[:2]
        if kind == b"42":
            name, *args = json.loads(message[message.index(b"[") :])
            return self.event(name, args, now)
        if message == b"2":
            self.say(b"3")
        elif kind == b"0{":
            auth = self.auth()
            self.say(b"40" if auth is None else b"40" + json.dumps(auth).encode())
        elif kind == b"40":
            self.is_connected = True
            self.connected()
        elif kind == b"44":
            raise OSError(f"not let in: {message[2:].decode()}")
        elif kind == b"41" or message == b"1":
            self.is_over = True
        elif message != b"6":
            raise OSError(f"an unexpected packet: {message[:80]!r}")
        return b""

    def binary(self, message: bytes, now: float) -> bytes:
        """There are none, unless a protocol says so."""
        raise OSError(f"a binary packet that nothing announced: {message[:80]!r}")

    def goodbye(self) -> None:
        """Disconnect."""
        if self.is_connected:
            self.say(b"41")
