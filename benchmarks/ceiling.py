"""How much the viewers' process takes by itself: what it could not show, it could not measure."""

import contextlib
import os
import selectors
import socket
import threading
import time
from dataclasses import dataclass

from benchmarks.crowd import Crowd
from benchmarks.frames import BINARY, frame
from benchmarks.processes import cost_of
from benchmarks.servers import Server

PAYLOADS = (4096, 50_000)
"""Bytes in a message: what a tmux client writes at a time, and what an audience gets at a time."""


@dataclass(frozen=True)
class Ceiling:
    """What the process takes in a second of its own CPU time."""

    megabytes: dict[int, float]
    """MB, by bytes in a message."""
    messages: dict[int, float]

    def describe(self) -> str:
        """Return it as a sentence."""
        return ", ".join(
            f"{self.megabytes[size]:.0f} MB in messages of {size} bytes" for size in self.megabytes
        )


class _Source(Server):
    """Not a server of a terminal: sends the same frames for ever."""

    name = "source"
    path = "/"

    def __init__(self, payload: int) -> None:
        text = b"0" + (b"x" * 100 + b"\r\n") * (payload // 102 + 1)
        text = text[: payload + 1]
        self._frames = frame(BINARY, text, masked=False) * max(1, 262_144 // len(text))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = self._listener.getsockname()[1]
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        os.close(self._stop_write)
        self._thread.join()
        os.close(self._stop_read)
        self._listener.close()

    def _serve(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._stop_read, selectors.EVENT_READ)
        at: dict[socket.socket, int] = {}
        while True:
            for key, _ in selector.select():
                if key.fileobj == self._stop_read:
                    for line in at:
                        line.close()
                    return
                if key.fileobj is self._listener:
                    line, _ = self._listener.accept()
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += line.recv(4096)
                    line.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                    line.setblocking(False)
                    at[line] = 0
                    selector.register(line, selectors.EVENT_WRITE)
                elif isinstance(key.fileobj, socket.socket):
                    line = key.fileobj
                    view = memoryview(self._frames)[at[line] :]
                    try:
                        at[line] = (at[line] + line.send(view)) % len(self._frames)
                    except BlockingIOError:
                        continue
                    except OSError:
                        selector.unregister(line)


def measure(viewers: int, *, seconds: float) -> Ceiling:
    """Measure it with so many viewers, for so long with messages of each size."""
    megabytes, messages = {}, {}
    for payload in PAYLOADS:
        source = _Source(payload)
        with contextlib.closing(source), Crowd(source, viewers) as crowd:
            crowd.measure()
            before = cost_of([crowd.pid]).cpu_s
            time.sleep(seconds)
            reports, _ = crowd.report()
            spent = cost_of([crowd.pid]).cpu_s - before
        megabytes[payload] = sum(v["received"] for v in reports) / spent / 1e6
        messages[payload] = sum(v["messages"] for v in reports) / spent
    return Ceiling(megabytes, messages)
