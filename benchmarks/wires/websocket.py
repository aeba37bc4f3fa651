"""A client over a WebSocket, without compression."""

import time

from benchmarks.frames import BINARY, CLOSE, PING, PONG, REST, TEXT, Frames, frame, upgrade
from benchmarks.peer import READ_BYTES, Wire
from benchmarks.wires.line import Line, Target, connect
from benchmarks.wires.speech import Speech

NORMAL_CLOSURE = (1000).to_bytes(2)
"""Status with which a page closes its WebSocket (RFC 6455, 7.4.1)."""


class WebSocketWire(Wire):
    """One client."""

    def __init__(self, target: Target, speech: Speech) -> None:
        """Connect; raises OSError when the server opens no WebSocket."""
        connection = connect(target)
        try:
            upgrade(connection, target.head("GET", target.path))
        except BaseException:
            connection.close()
            raise
        self._line = Line(connection)
        self._frames = Frames()
        self._speech = speech
        self._is_closed = False
        speech.opened()
        self._flush()

    def fileno(self) -> int:
        """Return the socket."""
        return self._line.fileno()

    def write(self, data: bytes) -> None:
        """Type."""
        self._speech.type(data)
        self._flush()

    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""
        self._speech.resize(cols, rows)
        self._flush()

    def read(self, timeout_s: float, most: int = READ_BYTES) -> bytes:
        """Return the output that comes next."""
        speech, line = self._speech, self._line
        if speech.is_over:
            raise EOFError
        until = time.monotonic() + timeout_s
        while True:
            data = line.receive(min(until, speech.due), most)
            now = time.monotonic()
            output = self._take(data, now) if data else b""
            if speech.due <= now:
                speech.late(now)
            if speech.to_send:
                self._flush()
            self.wire_bytes = line.received
            most -= len(data)
            if output or most <= 0 or (not data and now >= until):
                return output
            if speech.is_over:
                raise EOFError

    def close(self) -> None:
        """Say goodbye and disconnect."""
        if self._is_closed:
            return
        self._is_closed = True
        self._speech.goodbye()
        try:
            self._flush()
            self._line.send(frame(CLOSE, NORMAL_CLOSURE))
        except OSError:
            pass  # it was gone already
        self._line.close()

    def _take(self, data: bytes, now: float) -> bytes:
        speech, parts = self._speech, []
        for opcode, begin, end in self._frames.feed(data):
            message = self._frames.data[begin:end]
            if opcode == BINARY:
                parts.append(speech.binary(message, now))
            elif opcode == TEXT:
                parts.append(speech.text(message, now))
            elif opcode == PING:
                self._line.send(frame(PONG, message))
            elif opcode == CLOSE:
                speech.is_over = True
            elif opcode == REST:
                raise OSError("a message in several frames, which no server here sends")
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def _flush(self) -> None:
        waiting = self._speech.to_send
        if waiting:
            self._line.send(b"".join(frame(opcode, payload) for opcode, payload in waiting))
            waiting.clear()
