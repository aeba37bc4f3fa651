"""Many viewers in one process, which note when each stamp of the output reaches each of them.

Started by crowd.py: a line of JSON on stdin says whom to connect to, `measure` begins
anew, `report` asks for the numbers, the end of stdin ends it.
"""

import json
import re
import selectors
import socket
import sys
import time
from array import array
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from benchmarks.frames import BINARY, CLOSE, PING, PONG, READ_BYTES, TEXT, Frames, connect, frame

STAMP = re.compile(rb"\[S(\d{6}) (\d{10,20})\]")
STAMP_BYTES = 40
"""More than the longest stamp has."""

CUT = re.compile(rb"\[(?:S[\d ]*)?\Z")
"""The begin of a stamp at the end of a message."""

ACK_BYTES, ACK_S = 16 * 1024, 0.04
WATCHING_ACK_BYTES, WATCHING_ACK_S = 128 * 1024, 0.1
EARLY_BYTES = 256 * 1024
"""Output, or time, after which a viewer acknowledges, at first and when it has had so much, as in
the page (static/src/acks.ts)."""

BUFFER = memoryview(bytearray(READ_BYTES))
"""Where everybody reads to: a new one of this size costs more than all the rest of a read."""

LOOK_S = 0.01
"""How often everybody is asked whether it is time to."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the output that has been looked through."""

    before: bytes
    """The begin of a stamp at the end of the part before it."""
    data: bytes
    stamps: list[tuple[int, int]]
    """Number and time of each stamp that ends in it."""
    after: bytes
    """The begin of a stamp at its end."""

    @classmethod
    def of(cls, before: bytes, data: bytes) -> Self:
        """Look it through."""
        cut_one = STAMP.match(before + data[:STAMP_BYTES]) if before else None
        found = [cut_one.groups()] if cut_one else []
        found += STAMP.findall(data)
        cut = CUT.search((before if len(data) < STAMP_BYTES else b"") + data[-STAMP_BYTES:])
        stamps = [(int(number), int(sent)) for number, sent in found]
        return cls(before, data, stamps, cut[0] if cut else b"")


class Stamps:
    """Finds the stamps in output that comes in parts; what many get alike is looked through once.

    Attributes:
        found: When each part came, and its stamps.
    """

    _last: ClassVar[Part] = Part(b"", b"", [], b"")

    def __init__(self) -> None:
        """Begin with nothing."""
        self._begun = b""
        self.found: list[tuple[int, list[tuple[int, int]]]] = []

    def feed(self, data: bytes, now: int) -> None:
        """Take in what came next."""
        part = Stamps._last
        if part.before != self._begun or part.data != data:
            part = Stamps._last = Part.of(self._begun, data)
        self._begun = part.after
        if part.stamps:
            self.found.append((now, part.stamps))

    def delays(self) -> "tuple[array[int], array[int]]":
        """Return what the stamps that came in their order tell, in nanoseconds.

        Returns:
            Number and delay of each stamp, one after the other; and the age of the newest stamp
            just before each newer one came.
        """
        delays, staleness = array("q"), array("q")
        last, last_time = -1, 0
        for now, stamps in self.found:
            for number, sent in stamps:
                if number <= last:
                    continue
                if last_time:
                    staleness.append(now - last_time)
                last, last_time = number, sent
                delays.append(number)
                delays.append(now - sent)
        return delays, staleness


class Viewer:
    """One client of a server, of either protocol.

    Attributes:
        received: Bytes of output.
        stamps: When which of them came.
        hard, soft: Resets.
    """

    def __init__(self, line: socket.socket, *, page: bool, cols: int, rows: int) -> None:
        """Say hello."""
        self.line = line
        self.page = page
        self.frames = Frames()
        self.received = self.messages = self.wire = 0
        self.offset = self.acked = self.begun = 0
        self.waits_since = 0.0
        self.hard = self.soft = 0
        self.events: list[str] = []
        self.is_open = True
        self.has_output = False
        self.stamps = Stamps()
        if page:
            hello = {"protocol": 1, "cols": cols, "rows": rows, "display": "session"}
            self.send(TEXT, b"40" + json.dumps(hello).encode())
        else:
            hello = {"AuthToken": "", "columns": cols, "rows": rows}
            self.send(BINARY, json.dumps(hello).encode())
        line.setblocking(False)

    def clear(self) -> None:
        """Forget what was measured."""
        self.stamps = Stamps()
        self.received = self.messages = self.wire = 0
        self.hard = self.soft = 0

    def send(self, opcode: int, payload: bytes) -> None:
        """Send a frame."""
        try:
            self.line.sendall(frame(opcode, payload))
        except OSError:
            self.is_open = False

    def read(self) -> bool:
        """Take in what is there; False at the end."""
        try:
            length = self.line.recv_into(BUFFER)
        except BlockingIOError:
            return True
        except OSError:
            length = 0
        if not length:
            self.is_open = False
            return False
        now = time.monotonic_ns()
        self.wire += length
        data = bytes(BUFFER[:length])
        for opcode, begin, end in self.frames.feed(data):
            self.messages += 1
            if opcode == BINARY:
                self._output(begin if self.page else begin + 1, end, begin, now)
            elif opcode == TEXT:
                self._say(self.frames.data[begin:end])
            elif opcode == PING:
                self.send(PONG, self.frames.data[begin:end])
            elif opcode == CLOSE:
                self.is_open = False
                return False
        return True

    def ack(self, now: float) -> None:
        """Acknowledge what has come, when it is time to."""
        waiting = self.offset - self.acked
        if not (self.page and waiting):
            return
        is_early = self.offset - self.begun < EARLY_BYTES
        most, wait_s = (ACK_BYTES, ACK_S) if is_early else (WATCHING_ACK_BYTES, WATCHING_ACK_S)
        if waiting >= most or now - self.waits_since >= wait_s:
            self.acked = self.offset
            self.send(TEXT, b'42["ack",%d]' % self.offset)

    def _output(self, begin: int, end: int, kind: int, now: int) -> None:
        data = self.frames.data
        if not self.page and data[kind] != 0x30:
            return  # title or preferences
        if self.offset == self.acked:
            self.waits_since = now / 1e9
        self.received += end - begin
        self.offset += end - begin
        self.has_output = True
        self.stamps.feed(data[begin:end], now)

    def _say(self, text: bytes) -> None:
        if not self.page:
            return
        if text == b"2":
            self.send(TEXT, b"3")
        elif text.startswith(b'451-["out",'):
            self.offset = int(text[11 : text.index(b",", 11)])
        elif text.startswith(b"42"):
            name, *args = json.loads(text[2:])
            if name == "reset":
                self.offset = self.acked = self.begun = args[0]["offset"]
                self.hard += args[0]["hard"]
                self.soft += not args[0]["hard"]
            elif name == "ping":
                self.send(TEXT, b'42["pong",%s]' % json.dumps(args[0]).encode())
            elif name == "joined":
                self.offset = self.acked = self.begun = args[0]["offset"]
                self.events.append(name)
            elif name in ("exit", "refused"):
                self.events.append(text.decode())
        elif text.startswith(b"44"):
            self.events.append(text.decode())


class Crowd:
    """All viewers of this process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Connect them, one after the other."""
        self.selector = selectors.DefaultSelector()
        self.viewers: list[Viewer] = []
        self._all_at = 0.0
        for headers in settings["viewers"]:
            line = connect(
                settings["host"],
                settings["port"],
                settings["path"],
                headers,
                receive_bytes=settings["receive_bytes"],
                named_port=settings["named_port"],
            )
            viewer = Viewer(
                line, page=settings["page"], cols=settings["cols"], rows=settings["rows"]
            )
            self.viewers.append(viewer)
            self.selector.register(line, selectors.EVENT_READ, viewer)
            self.turn(0)

    def turn(self, timeout_s: float) -> bool:
        """Read from everybody who has something; False when stdin has."""
        stays = True
        for key, _ in self.selector.select(timeout_s):
            if key.data is None:
                stays = False
            elif not key.data.read():
                self.selector.unregister(key.fileobj)
            else:
                key.data.ack(time.monotonic())
        now = time.monotonic()
        if now - self._all_at >= LOOK_S:
            self._all_at = now
            for viewer in self.viewers:
                if viewer.is_open:
                    viewer.ack(now)
        return stays

    def report(self) -> dict[str, Any]:
        """Return the numbers of every viewer."""
        return {"cpu_s": time.process_time(), "viewers": [report_of(v) for v in self.viewers]}


def report_of(viewer: Viewer) -> dict[str, Any]:
    """Return a viewer's numbers."""
    delays, staleness = viewer.stamps.delays()
    return {
        "open": viewer.is_open,
        "received": viewer.received,
        "messages": viewer.messages,
        "wire": viewer.wire,
        "hard": viewer.hard,
        "soft": viewer.soft,
        "events": viewer.events[-3:],
        "delays": delays.tolist(),
        "staleness": staleness.tolist(),
    }


def main() -> None:
    """Serve the orders on stdin."""
    crowd = Crowd(json.loads(sys.stdin.readline()))
    until = time.monotonic() + 60
    while not all(v.has_output or not v.is_open for v in crowd.viewers):
        crowd.turn(0.1)
        if time.monotonic() > until:
            break
    print(json.dumps(crowd.report()), flush=True)
    crowd.selector.register(sys.stdin, selectors.EVENT_READ, None)
    while True:
        if crowd.turn(0.1):
            continue
        order = sys.stdin.readline().strip()
        if order == "measure":
            for viewer in crowd.viewers:
                viewer.clear()
            print(json.dumps({"cpu_s": time.process_time()}), flush=True)
        elif order == "report":
            print(json.dumps(crowd.report()), flush=True)
        else:
            break


if __name__ == "__main__":
    main()
