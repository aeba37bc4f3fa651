"""A line between client and server: a TCP proxy, in a process of its own, that is far or slow.

python -m benchmarks.line PORT [--rtt S] [--rate BYTES_PER_SECOND] [--slow-start]

Prints the port where it listens. Each line on its input is answered with one of JSON: a time (as
`time.time`) with the bytes that had come down by then, an empty one with all. Its end ends it.
"""

import argparse
import asyncio
import bisect
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]

SEGMENT_BYTES = 1448
"""What an Ethernet frame carries of a TCP stream, with its timestamps."""

FIRST_WINDOW = 10 * SEGMENT_BYTES
"""What a sender has under way before it has heard anything (RFC 6928)."""

READ_BYTES = 1 << 16

THIN_BYTES = 16_384
"""Size of the buffers of a line with a rate: what waits in them is late."""

PART_S = 0.005
"""A line with a rate carries what belongs to so many seconds at a time."""


class SlowLine:
    """A line that runs.

    Attributes:
        address: Where clients connect.
    """

    def __init__(
        self, port: int, *, rtt_s: float = 0.0, rate: float = 0.0, slow_start: bool = False
    ) -> None:
        """Start it.

        Args:
            port: Port of the server, on 127.0.0.1.
            rtt_s: The round trip, in seconds: each direction takes half of it, and a connection
                one more to open.
            rate: Bytes a second towards the client; 0 is no limit.
            slow_start: Whether what goes to the client keeps to the window of TCP's slow start,
                which the loopback interface with its frames of 64 KB does not show.
        """
        argv = [sys.executable, "-m", "benchmarks.line", str(port), "--rtt", str(rtt_s)]
        argv += ["--rate", str(rate), *(["--slow-start"] if slow_start else [])]
        self._process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address = ("127.0.0.1", int(self._process.stdout.readline()))

    def carried(self, until: float | None = None) -> int:
        """Return the bytes that had come down at a time (as `time.time`), or until now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{until or ''}\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Cut it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Window:
    """How much may be under way: TCP's slow start, without a loss; pure.

    >>> window = Window(1.0)
    >>> window.room(0.0) == FIRST_WINDOW
    True
    >>> window.sent(0.0, FIRST_WINDOW)
    >>> window.room(0.5), window.room(1.0) == 2 * FIRST_WINDOW
    (0, True)
    """

    def __init__(self, rtt_s: float) -> None:
        """Begin as a new connection does."""
        self._rtt_s = rtt_s
        self._size = FIRST_WINDOW
        self._under_way: deque[tuple[float, int]] = deque()
        self._sum = self._most = 0

    def room(self, now: float) -> int:
        """Return how many bytes may be sent; what was sent a round trip ago is acknowledged."""
        while self._under_way and self._under_way[0][0] <= now:
            count = self._under_way.popleft()[1]
            self._sum -= count
            # The window grows by what was acknowledged, but only where it has been used.
            self._size = max(self._size, min(self._size + count, 2 * self._most))
        return self._size - self._sum

    def next_room(self) -> float:
        """Return when there is more room."""
        return self._under_way[0][0] if self._under_way else 0.0

    def sent(self, now: float, count: int) -> None:
        """Note what was sent."""
        self._under_way.append((now + self._rtt_s, count))
        self._sum += count
        self._most = max(self._most, self._sum)


class Proxy:
    """Carries connections."""

    def __init__(self, port: int, *, rtt_s: float, rate: float, slow_start: bool) -> None:
        """Carry to a port of this machine."""
        self._port, self._rtt_s, self._rate, self._slow_start = port, rtt_s, rate, slow_start
        self._free = 0.0  # when the line has carried all that it was given
        self.times: list[float] = []
        self.sums: list[int] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection until it ends."""
        opened = time.monotonic()
        to_server = socket.socket()
        to_server.setblocking(False)
        if self._rate:
            to_server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, THIN_BYTES)
            client: socket.socket = writer.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, THIN_BYTES)
        limit = THIN_BYTES if self._rate else READ_BYTES
        try:
            await asyncio.get_running_loop().sock_connect(to_server, ("127.0.0.1", self._port))
            source, sink = await asyncio.open_connection(sock=to_server, limit=limit)
        except OSError:
            to_server.close()
            writer.transport.abort()
            return
        both = [
            asyncio.create_task(self._up(reader, sink, opened + self._rtt_s)),
            asyncio.create_task(self._down(source, writer)),
        ]
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(*both)
        for task in both:
            task.cancel()
        writer.transport.abort()
        sink.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, not_before: float
    ) -> None:
        async with Delayed(writer, self._rtt_s / 2) as delayed:
            while data := await reader.read(READ_BYTES):
                # Before the handshake's answer is here, a client cannot send.
                delayed.put(max(time.monotonic(), not_before), data)

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        window = Window(self._rtt_s) if self._slow_start else None
        async with Delayed(writer, self._rtt_s / 2, self._count) as delayed:
            while True:
                most = max(1, int(self._rate * PART_S)) if self._rate else READ_BYTES
                if window is not None:
                    room = window.room(now := time.monotonic())
                    if room <= 0:
                        await asyncio.sleep(max(0.0, window.next_room() - now))
                        continue
                    most = min(most, room, SEGMENT_BYTES)
                if self._rate:
                    await asyncio.sleep(max(0.0, self._free - time.monotonic()))
                data = await reader.read(most)
                if not data:
                    return
                now = time.monotonic()
                if self._rate:
                    self._free = now = max(now, self._free) + len(data) / self._rate
                if window is not None:
                    window.sent(now, len(data))
                delayed.put(now, data)

    def _count(self, data: bytes) -> None:
        self.times.append(time.time())
        self.sums.append((self.sums[-1] if self.sums else 0) + len(data))

    def carried(self, until: float | None) -> int:
        """Return the bytes that had come down by then."""
        count = len(self.times) if until is None else bisect.bisect(self.times, until)
        return self.sums[count - 1] if count else 0


class Delayed:
    """Writes what it is given some time later, in order, and then ends the stream."""

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        delay_s: float,
        note: Callable[[bytes], None] = lambda data: None,
    ) -> None:
        """Take a writer over; `note` is told what is written."""
        self._writer, self._delay_s, self._note = writer, delay_s, note
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    def put(self, leaves: float, data: bytes) -> None:
        """Have data written the delay after the time (as `time.monotonic`) at which it leaves."""
        self._queue.put_nowait((leaves + self._delay_s, data))

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.put(time.monotonic(), b"")
        try:
            await self._task
        finally:
            self._task.cancel()

    async def _write(self) -> None:
        while True:
            arrives, data = await self._queue.get()
            left = arrives - time.monotonic()
            if left > 0:
                await asyncio.sleep(left)
            if not data:
                with contextlib.suppress(OSError):
                    self._writer.write_eof()
                return
            self._writer.write(data)
            self._note(data)
            await self._writer.drain()


async def serve(proxy: Proxy) -> None:
    """Carry, and answer, until the input ends."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=READ_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while question := await questions.readline():
        text = question.decode().strip()
        print(json.dumps(proxy.carried(float(text) if text else None)), flush=True)
    server.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--rtt", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--slow-start", action="store_true")
    given = parser.parse_args()
    proxy = Proxy(given.port, rtt_s=given.rtt, rate=given.rate, slow_start=given.slow_start)
    asyncio.run(serve(proxy))


if __name__ == "__main__":
    main()
