"""One viewer on a thin line, while others watch: how far behind the present it is."""

import contextlib
import selectors
import socket
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.crowd import Crowd, Seen
from benchmarks.flood import TICK_S
from benchmarks.servers import Server, Ttybridge

FLOOD = Path(__file__).with_name("flood.py")

BUFFER = 4096
"""Size of the buffers on the thin line, in bytes: what is in them is late."""

STEP_S = 0.02
"""How often the thin line carries something, in seconds."""

AFTER_S = 1.5
"""Most time after the output's end, in seconds."""


class ThinLine:
    """A TCP proxy that carries so many bytes a second towards the client.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, target: int, rate: float) -> None:
        """Listen.

        Args:
            target: Port of the server.
            rate: Bytes a second.
        """
        self._target, self._rate = target, rate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut the line."""
        self._stop.set()
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.settimeout(20)
            client, _ = self._listener.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            server.connect(("127.0.0.1", self._target))
            with client, server:
                self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        up = selectors.DefaultSelector()
        up.register(client, selectors.EVENT_READ)
        server.setblocking(False)
        due, allowed = time.monotonic(), 0.0
        while not self._stop.is_set():
            due += STEP_S
            while (left := due - time.monotonic()) > 0:
                if up.select(left):
                    data = client.recv(4096)
                    if not data:
                        return
                    server.sendall(data)
            allowed = min(allowed + self._rate * STEP_S, self._rate * STEP_S * 2)
            with contextlib.suppress(BlockingIOError):
                data = server.recv(int(allowed))
                if not data:
                    return
                allowed -= len(data)
                client.sendall(data)


def run(
    server: Server, *, rate: float, seconds: float, thin: float, others: int
) -> tuple[Seen, Seen, list[dict[str, Any]]]:
    """Return what the one on the thin line has seen, what the others have, and its raw report."""
    line = ThinLine(server.port, thin)
    with (
        contextlib.closing(line),
        Crowd(server, others) as crowd,
        Crowd(server, 1, port=line.port, receive_bytes=BUFFER) as lonely,
    ):
        crowd.measure()
        lonely.measure()
        server.play(sys.executable, str(FLOOD), str(rate), str(seconds))
        time.sleep(seconds + min(AFTER_S, seconds / 2))
        slow, _ = lonely.report()
        rest, _ = crowd.report()
    expected = int(seconds / TICK_S)
    return Seen.of(slow, expected), Seen.of(rest, expected), slow


def measure(*, rate: float, seconds: float, thin: float, others: int) -> dict[str, object]:
    """Run it, and print what was seen."""
    with Ttybridge() as server:
        slow, rest, reports = run(server, rate=rate, seconds=seconds, thin=thin, others=others)
    pairs = reports[0]["delays"]
    by_second: dict[int, list[float]] = {}
    for number, delay in zip(pairs[::2], pairs[1::2], strict=True):
        by_second.setdefault(int((number * TICK_S) + delay / 1e9), []).append(delay / 1e6)
    series = {second: round(statistics.median(found)) for second, found in by_second.items()}
    print(
        f"thin line: what comes is {slow.p50:.0f} ms old (median), {slow.p99:.0f} ms (p99),"
        f" {slow.worst:.0f} ms at most;\n"
        f"  just before something newer comes: p95 {slow.stale_p95:.0f} ms,"
        f" max {slow.stale_max:.0f} ms; resets: {slow.hard} hard, {slow.soft} soft;"
        f" {slow.output / 1e3:.0f} KB"
    )
    print(f"  median by second, ms: {series}")
    print(
        f"the other {others}: delay p99 {rest.p99:.0f} ms, max {rest.worst:.0f} ms,"
        f" stamps {rest.received * 100:.0f} %; resets: {rest.hard} hard, {rest.soft} soft"
    )
    return {"slow": vars(slow), "others": vars(rest), "bySecond": series}
