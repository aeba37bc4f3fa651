"""A line to a bridge far away: a TCP proxy that delays, and starts slowly as TCP does."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Self

SEGMENT_BYTES = 1448
"""What an Ethernet frame carries of a TCP stream, with its timestamps."""

FIRST_WINDOW = 10
"""Segments that a sender has under way before it has heard anything: RFC 6928, Linux."""

READ_BYTES = 65536


@dataclass(slots=True)
class Passage:
    """What one TCP connection has carried."""

    opened_s: float
    """When the browser opened it, by `time.monotonic`."""
    requests: list[tuple[float, str]] = field(default_factory=list)
    """Time and first line of each HTTP request."""
    down_bytes: int = 0
    """Bytes that have reached the browser."""


class FarLine:
    """Carries TCP connections to a port of this machine as if it were far away.

    Each direction takes half of the round trip, a new connection one more for its handshake, and
    what goes to the browser keeps to the window of TCP's slow start: the loopback interface, whose
    frames have 64 KB, has it too large to be seen. Nothing is lost, and no rate is limited.

    Attributes:
        port: Where the browser connects.
        passages: The connections, in the order of their opening.
    """

    def __init__(self, port: int, rtt_s: float, *, refuses_websockets: bool = False) -> None:
        """Begin to carry.

        Args:
            port: Where the bridge listens, on 127.0.0.1.
            rtt_s: The round trip, in seconds.
            refuses_websockets: Whether connections that begin with an upgrade are cut.
        """
        self._refuses_websockets = refuses_websockets
        self.passages: list[Passage] = []
        self._to, self._rtt_s = port, rtt_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop
        )
        self._server = serving.result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Cut everything."""

        async def close() -> None:
            self._server.close()
            for _ in range(3):  # what was just accepted gets its task, which ends it
                await asyncio.sleep(0)
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # the transports that were aborted close their sockets

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def _accept(
        self, browser: asyncio.StreamReader, to_browser: asyncio.StreamWriter
    ) -> None:
        passage = Passage(time.monotonic())
        self.passages.append(passage)
        # A cancelled one ends here, too: a server's callback would complain of it.
        try:
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await self._carry(browser, to_browser, passage)
        finally:
            to_browser.transport.abort()

    async def _carry(
        self, browser: asyncio.StreamReader, to_browser: asyncio.StreamWriter, passage: Passage
    ) -> None:
        bridge, to_bridge = await asyncio.open_connection("127.0.0.1", self._to)
        tasks = [
            asyncio.create_task(self._up(browser, to_bridge, passage)),
            asyncio.create_task(self._down(bridge, to_browser, passage)),
        ]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            to_bridge.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passage: Passage
    ) -> None:
        may_leave = passage.opened_s + self._rtt_s  # the answer to SYN is here then
        line = _Delay(writer, self._rtt_s / 2)
        async with line:
            while data := await reader.read(READ_BYTES):
                now = time.monotonic()
                if data.startswith((b"GET ", b"POST ")):
                    first_line = data.partition(b"\r\n")[0].decode(errors="replace")
                    passage.requests.append((now, first_line))
                if self._refuses_websockets and b"\r\nUpgrade: websocket\r\n" in data:
                    return
                line.push(max(now, may_leave), data)

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passage: Passage
    ) -> None:
        window, most = FIRST_WINDOW * SEGMENT_BYTES, 0
        under_way: deque[tuple[float, int]] = deque()
        sum_under_way = 0
        line = _Delay(writer, self._rtt_s / 2, passage)
        async with line:
            while True:
                now = time.monotonic()
                while under_way and under_way[0][0] <= now:
                    count = under_way.popleft()[1]
                    sum_under_way -= count
                    # Linux lets the window grow only as far as it has been used.
                    window = max(window, min(window + count, 2 * most))
                room = window - sum_under_way
                if room <= 0:
                    await asyncio.sleep(under_way[0][0] - now)
                    continue
                data = await reader.read(min(room, SEGMENT_BYTES))
                if not data:
                    return
                now = time.monotonic()
                line.push(now, data)
                under_way.append((now + self._rtt_s, len(data)))
                sum_under_way += len(data)
                most = max(most, sum_under_way)


class _Delay:
    """Writes data some time after it was given, in order; closes the writer at the end."""

    def __init__(
        self, writer: asyncio.StreamWriter, delay_s: float, passage: Passage | None = None
    ) -> None:
        self._writer, self._delay_s, self._passage = writer, delay_s, passage
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    def push(self, leaves_s: float, data: bytes) -> None:
        self._queue.put_nowait((leaves_s + self._delay_s, data))

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._carry())

    async def __aexit__(self, *exc_info: object) -> None:
        self.push(time.monotonic(), b"")
        try:
            await self._task
        finally:
            self._task.cancel()
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    async def _carry(self) -> None:
        while True:
            arrives_s, data = await self._queue.get()
            await asyncio.sleep(max(0.0, arrives_s - time.monotonic()))
            if not data:
                return
            self._writer.write(data)
            if self._passage is not None:
                self._passage.down_bytes += len(data)
