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
from collections.abc import Iterator
from typing import Any

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

LOOK_S = 0.01
"""How often everybody is asked whether it is time to."""


class Stamps:
    """Finds the stamps in output that comes in pieces."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._begun = b""

    def feed(self, data: bytes | bytearray, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield number and time of each stamp that ends in this part of the data."""
        if self._begun:
            found = STAMP.match(self._begun + data[begin : min(end, begin + STAMP_BYTES)])
            if found:
                yield int(found[1]), int(found[2])
        for found in STAMP.finditer(data, begin, end):
            yield int(found[1]), int(found[2])
        before = self._begun if end - begin < STAMP_BYTES else b""
        cut = CUT.search(before + data[max(begin, end - STAMP_BYTES) : end])
        self._begun = cut[0] if cut else b""


class Viewer:
    """One client of a server, of either protocol.

    Attributes:
        received: Bytes of output.
        delays: Number and delay in nanoseconds of each stamp, one after the other.
        staleness: Age of the newest stamp just before a newer one came, in nanoseconds.
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
        self._stamps = Stamps()
        self.clear()
        if page:
            hello = {"protocol": 1, "cols": cols, "rows": rows, "display": "session"}
            self.send(TEXT, b"40" + json.dumps(hello).encode())
        else:
            hello = {"AuthToken": "", "columns": cols, "rows": rows}
            self.send(BINARY, json.dumps(hello).encode())
        line.setblocking(False)

    def clear(self) -> None:
        """Forget what was measured."""
        self.delays, self.staleness = array("q"), array("q")
        self.last, self.last_time = -1, 0
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
            data = self.line.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return False
        now = time.monotonic_ns()
        self.wire += len(data)
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
        for number, sent in self._stamps.feed(data, begin, end):
            self._note(number, sent, now)

    def _note(self, number: int, sent: int, now: int) -> None:
        if number <= self.last:
            return
        if self.last_time:
            self.staleness.append(now - self.last_time)
        self.last, self.last_time = number, sent
        self.delays.append(number)
        self.delays.append(now - sent)

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
        return {
            "cpu_s": time.process_time(),
            "viewers": [
                {
                    "open": v.is_open,
                    "received": v.received,
                    "messages": v.messages,
                    "wire": v.wire,
                    "hard": v.hard,
                    "soft": v.soft,
                    "events": v.events[-3:],
                    "delays": v.delays.tolist(),
                    "staleness": v.staleness.tolist(),
                }
                for v in self.viewers
            ],
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
