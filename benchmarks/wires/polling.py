"""Clients of Socket.IO by HTTP alone: GETs wait for what comes, POSTs send.

`PollingWire` does as engine.io-client: the next GET goes out when an answer has been worked
through, and one POST is under way at a time, with everything that has come together in the
meantime. `NumberedPollingWire` does as ttybridge's page, which has several of both under way.
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
from ttybridge.core.polls import NUMBER, NUMBER_HEADER, Polls

SEPARATOR = b"\x1e"
"""Between the packets of a payload (Engine.IO protocol, version 4)."""


class PollingWire(Wire):
    """One client with one request of each kind."""

    def __init__(self, target: Target, speech: SocketIoSpeech) -> None:
        """Connect; raises OSError."""
        self._speech = speech
        self._target = target
        self._ready = select.epoll()
        self._gets: list[HttpLine] = []
        self._posts: list[HttpLine] = []
        self._sid = ""
        self._is_closed = False
        self._ask(self._gets, "GET")

    def fileno(self) -> int:
        """Return what is ready when a request has an answer."""
        return self._ready.fileno()

    def write(self, data: bytes) -> None:
        """Type."""
        self._speech.type(data)
        self._send()

    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""
        self._speech.resize(cols, rows)
        self._send()

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
            for line in busy(self._posts):
                if self._answer(line, READ_BYTES) is not None:
                    self._on_sent()
            output = b"".join(self._on_answer(line, most) for line in busy(self._gets))
            now = time.monotonic()
            if speech.due <= now:
                speech.late(now)
            self._send()
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
            self._send()
        for line in (*self._gets, *self._posts):
            line.close()
        self._ready.close()

    def _received(self) -> int:
        return sum(line.received for line in (*self._gets, *self._posts))

    def _on_answer(self, line: HttpLine, most: int) -> bytes:
        """Read on a GET; return the output that has its turn now."""
        body = self._answer(line, most)
        if body is None:
            return b""
        bodies = self._in_order(line, body) if self._sid else [body]
        return b"".join(self._take(each) for each in bodies)

    def _take(self, body: bytes) -> bytes:
        parts, now = [], time.monotonic()
        for packet in body.split(SEPARATOR):
            if packet.startswith(b"b"):
                parts.append(self._speech.binary(base64.b64decode(packet[1:]), now))
                continue
            if packet.startswith(b"0{"):
                self._sid = json.loads(packet[1:])["sid"]
            parts.append(self._speech.text(packet, now))
        return b"".join(parts)

    def _send(self) -> None:
        """Send all requests that may be sent now."""
        waiting = self._speech.to_send
        if waiting and self._may_post():
            body = SEPARATOR.join(packed(message) for message in waiting)
            waiting.clear()
            self._ask(self._posts, "POST", self._post_query(), body)
        while self._sid and not self._speech.is_over and self._wants_get():
            self._ask(self._gets, "GET")

    def _ask(
        self, lines: list[HttpLine], method: str, query: str = "", body: bytes | None = None
    ) -> HttpLine:
        """Send a request on a connection that is free, or on a new one."""
        line = next((line for line in lines if not line.is_busy), None)
        if line is None:
            line = HttpLine(self._target)
            lines.append(line)
        sid = f"&sid={self._sid}" if self._sid else ""
        line.ask(method, f"{self._target.path}{sid}{query}", body)
        self._ready.register(line.line, select.EPOLLIN)
        return line

    def _answer(self, line: HttpLine, most: int) -> bytes | None:
        """Read on; return the answer's body when it is whole."""
        body = line.take(most)
        if body is not None:
            self._ready.unregister(line.line)
        return body

    # What a client with more requests does in another way.

    def _may_post(self) -> bool:
        return not busy(self._posts)

    def _post_query(self) -> str:
        return ""

    def _on_sent(self) -> None:
        """Note that a POST is answered."""

    def _wants_get(self) -> bool:
        return not busy(self._gets)

    def _in_order(self, line: HttpLine, body: bytes) -> list[bytes]:
        """Return the answers that have their turn when this one has come."""
        return [body]


class NumberedPollingWire(PollingWire):
    """One client of ttybridge: docs/protocol.md, static/src/polling.ts."""

    def __init__(self, target: Target, speech: SocketIoSpeech) -> None:
        """Connect; raises OSError."""
        self._polls = Polls()
        self._poll_of: dict[HttpLine, int] = {}
        super().__init__(target, speech)

    def _ask(
        self, lines: list[HttpLine], method: str, query: str = "", body: bytes | None = None
    ) -> HttpLine:
        line = super()._ask(lines, method, query, body)
        if method == "GET" and self._sid:
            self._poll_of[line] = self._polls.begin_get()
        return line

    def _may_post(self) -> bool:
        return self._polls.may_post

    def _post_query(self) -> str:
        return f"&{NUMBER}={self._polls.begin_post(time.monotonic())}"

    def _on_sent(self) -> None:
        self._polls.end_post()

    def _wants_get(self) -> bool:
        return self._polls.wants_get(time.monotonic())

    def _on_answer(self, line: HttpLine, most: int) -> bytes:
        try:
            return super()._on_answer(line, most)
        except EOFError:
            if not self._sid:
                raise
            line.is_busy = False
            self._polls.fail_get(self._poll_of[line])
            self._end_if_over()  # another one may bring the goodbye
            return b""

    def _in_order(self, line: HttpLine, body: bytes) -> list[bytes]:
        found = self._polls.answer(self._poll_of[line], line.header(NUMBER_HEADER), body)
        if self._polls.is_lost:
            raise OSError("an answer is missing, or has no place in the order")
        self._end_if_over()
        return found

    def _end_if_over(self) -> None:
        if self._polls.is_over:
            self._speech.is_over = True


def busy(lines: list[HttpLine]) -> list[HttpLine]:
    """Return those on which an answer is awaited."""
    return [line for line in lines if line.is_busy]


def packed(message: Message) -> bytes:
    """Return a message as a packet of a payload."""
    opcode, payload = message
    return b"b" + base64.b64encode(payload) if opcode == BINARY else payload
