"""A client of Socket.IO by HTTP alone: a request waits for what comes, another one sends.

As engine.io-client does: the next GET goes out when an answer has been worked through, and one POST
is under way at a time, with everything that has come together in the meantime.
"""

import base64
import contextlib
import json
import select
import time

from benchmarks.frames import BINARY
from benchmarks.peer import READ_BYTES, Wire
from benchmarks.wires.http import HttpLine
from benchmarks.wires.line import Target
from benchmarks.wires.socketio import SocketIoSpeech
from benchmarks.wires.speech import Message

SEPARATOR = b"\x1e"
"""Between the packets of a payload (Engine.IO protocol, version 4)."""


class PollingWire(Wire):
    """One client."""

    def __init__(self, target: Target, speech: SocketIoSpeech) -> None:
        """Connect; raises OSError."""
        self._speech = speech
        self._path = target.path
        self._ready = select.epoll()
        self._get = HttpLine(target)
        self._ready.register(self._get.line, select.EPOLLIN)
        self._post: HttpLine | None = None
        self._target = target
        self._sid = ""
        self._is_closed = False
        self._get.ask("GET", self._path)

    def fileno(self) -> int:
        """Return what is ready when either request has an answer."""
        return self._ready.fileno()

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
        speech = self._speech
        if speech.is_over:
            raise EOFError
        until = time.monotonic() + timeout_s
        before = self._received()
        while True:
            wait = min(until, speech.due) - time.monotonic()
            self._ready.poll(max(0.0, wait))
            if self._post is not None and self._post.is_busy:
                self._post.take(READ_BYTES)
            body = self._get.take(most)
            now = time.monotonic()
            output = self._take(body, now) if body is not None else b""
            if speech.due <= now:
                speech.late(now)
            self._flush()
            if body is not None and not speech.is_over:
                self._ask()
            self.wire_bytes = self._received()
            if output or now >= until or self.wire_bytes - before >= most:
                return output
            if speech.is_over:
                raise EOFError

    def close(self) -> None:
        """Say goodbye and disconnect."""
        if self._is_closed:
            return
        self._is_closed = True
        self._speech.goodbye()
        self._speech.say(b"1")
        with contextlib.suppress(OSError, EOFError):
            self._flush()
        self._get.close()
        if self._post is not None:
            self._post.close()
        self._ready.close()

    def _received(self) -> int:
        return self._get.received + (self._post.received if self._post else 0)

    def _take(self, body: bytes, now: float) -> bytes:
        parts = []
        for packet in body.split(SEPARATOR):
            if packet.startswith(b"b"):
                parts.append(self._speech.binary(base64.b64decode(packet[1:]), now))
                continue
            if packet.startswith(b"0{"):
                self._sid = json.loads(packet[1:])["sid"]
            parts.append(self._speech.text(packet, now))
        return b"".join(parts)

    def _ask(self) -> None:
        if self._get.ask("GET", f"{self._path}&sid={self._sid}"):
            self._ready.register(self._get.line, select.EPOLLIN)

    def _flush(self) -> None:
        waiting = self._speech.to_send
        if not waiting or (self._post is not None and self._post.is_busy):
            return
        body = SEPARATOR.join(packed(message) for message in waiting)
        waiting.clear()
        is_first = self._post is None
        if self._post is None:
            self._post = HttpLine(self._target)
        is_new = self._post.ask("POST", f"{self._path}&sid={self._sid}", body)
        if is_first or is_new:
            self._ready.register(self._post.line, select.EPOLLIN)


def packed(message: Message) -> bytes:
    """Return a message as a packet of a payload."""
    opcode, payload = message
    return b"b" + base64.b64encode(payload) if opcode == BINARY else payload
