"""Clients of several kinds, and a look at processes from outside."""

import asyncio
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import DEADLINE_S, RunningBridge

SERVED_S = 2.0
"""Time in which a healthy client gets its echo whatever others do, in seconds."""

_numbers = itertools.count(100)

OPEN = "EIO=4&transport=websocket"
"""Query of a new Engine.IO connection over WebSocket."""

HELLO = '40{"protocol":1,"cols":80,"rows":24}'
"""The page's first packet."""


async def eventually(
    condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S
) -> None:
    """Wait for a condition without stopping the event loop; fail when it stays false."""
    until = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > until:
            pytest.fail(f"{what}: not within {deadline_s:.0f} s (last value: {value!r})")
        await asyncio.sleep(0.005)


@asynccontextmanager
async def session_of(bridge: RunningBridge) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP session with the bridge's token."""
    headers = {"Authorization": f"Bearer {bridge.token}"}
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        yield session


def tty(bridge: RunningBridge, query: str = OPEN) -> str:
    """Return the address of the entrance `tty/`."""
    return f"{bridge.address}tty/?{query}"


class PageClient:
    """A well-behaved client of the page's protocol over WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.joined: dict[str, Any] = {}
        self.output = bytearray()
        self.received = 0
        self.events: list[list[Any]] = []
        self.is_closed = False
        self.acks = True
        self._seq = 0
        self._offset = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def join(
        cls,
        session: aiohttp.ClientSession,
        bridge: RunningBridge,
        *,
        resume: dict[str, Any] | None = None,
        size: tuple[int, int] = (80, 24),
        hello: dict[str, Any] | None = None,
    ) -> "PageClient":
        """Join the session, or come back to it; `hello` is added to what is said at first."""
        client = cls(await session.ws_connect(tty(bridge), max_msg_size=0))
        said: dict[str, Any] = {"protocol": 1, "cols": size[0], "rows": size[1], **(hello or {})}
        if resume:
            said["resume"] = resume
        await client.socket.send_str("40" + json.dumps(said))
        await eventually(lambda: client.joined or client.is_closed, "the client has joined")
        assert client.joined, client.events
        return client

    async def type(self, text: str) -> None:
        """Type a text."""
        self._seq += 1
        await self.socket.send_str("42" + json.dumps(["in", self._seq, text]))

    async def echo(self, deadline_s: float = DEADLINE_S) -> None:
        """Type a command of the shell and wait for its output."""
        mark = f"h{next(_numbers)}h"
        await self.type(f"echo {mark[:2]}''{mark[2:]}\r")
        await self.until_shown(mark.encode(), deadline_s)

    async def until_shown(self, text: bytes, deadline_s: float = DEADLINE_S) -> None:
        """Wait until the output has a text."""
        await eventually(lambda: text in self.output, f"{text!r} is shown", deadline_s)

    async def close(self) -> None:
        """Leave for good."""
        with suppress(ConnectionError):
            await self.socket.send_str("41")
        await self.cut()

    async def cut(self) -> None:
        """Break the connection."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self.socket.close()

    def stop_reading(self) -> None:
        """Read nothing more from the socket."""
        self._reader.cancel()

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    await self._take(message.data)
                elif message.data == "2":
                    await self.socket.send_str("3")
                elif message.data.startswith("42["):
                    event = json.loads(message.data[2:])
                    self.events.append(event)
                    if event[0] == "ping":
                        await self.socket.send_str(f'42["pong",{event[1]}]')
                    if event[0] == "joined":
                        self.joined = event[1]
                elif message.data.startswith('451-["out",'):
                    self._offset = int(message.data.split(",")[1])
                else:
                    self.events.append([message.data])
        except ConnectionError:
            pass
        finally:
            self.is_closed = True

    async def _take(self, data: bytes) -> None:
        self.received += len(data)
        self.output += data
        if len(self.output) > 400_000:
            del self.output[:200_000]
        if self.acks:
            await self.socket.send_str(f'42["ack",{self._offset + len(data)}]')


class Watched:
    """A process that is looked at from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def descriptors(self) -> list[str]:
        """What its open descriptors lead to."""
        found = []
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(link.readlink()))
        return sorted(found)

    @property
    def children(self) -> list[int]:
        """Its children, also those that wait to be reaped."""
        return children_of(self.pid)

    @property
    def ptys(self) -> int:
        """How many ptys it holds."""
        return sum(name == "/dev/ptmx" or "pts/ptmx" in name for name in self.descriptors)

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    @property
    def rss_bytes(self) -> int:
        """Its resident memory that is its own."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def footprint(self) -> tuple[int, int, int, int]:
        """Return the numbers of descriptors, children, ptys and threads."""
        return (len(self.descriptors), len(self.children), self.ptys, self.threads)

    def is_within(self, start: tuple[int, int, int, int]) -> bool:
        """Tell whether it holds no more than at the start."""
        return all(now <= then for now, then in zip(self.footprint(), start, strict=True))


def children_of(pid: int) -> list[int]:
    """Return the children of a process."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def life_events_removed(lines: Iterable[str]) -> list[str]:
    """Return the log lines that are not about clients that came and went as they should."""
    usual = (" attached (", " left", " lost its connection", " came back")
    return [
        line for line in lines if line[:2].isdigit() and not any(word in line for word in usual)
    ]


def check_log(bridge: RunningBridge, *, bad_connections: int) -> None:
    """Check that bad connections are worth a line each at most, and never a traceback."""
    lines = life_events_removed(bridge.log.splitlines())
    assert "Traceback" not in bridge.log, bridge.log[-3000:]
    assert "handler failed" not in bridge.log, bridge.log[-3000:]
    assert "Exception" not in bridge.log, bridge.log[-3000:]
    assert len(lines) <= bad_connections, "\n".join(lines[-60:])


FLOOD = r"""
import os, select, sys, tty
if os.isatty(0):
    tty.setcbreak(0)
word = b"none"
WIDTH = os.get_terminal_size(0).columns
while True:
    if select.select([0], [], [], 0)[0]:
        word = os.read(0, 100).strip() or word
        if b"q" in word:
            break
    line = b"<" + word + b"> " + b"x" * (WIDTH - 20) + b"\r\n"
    os.write(1, line * 40)
"""
"""Writes without end, and shows the last word that was typed in each line; `q` ends it."""


async def echo_of_flood(client: PageClient, deadline_s: float) -> float:
    """Type a word into `FLOOD` and return how long it takes to come back, in seconds."""
    mark = f"k{next(_numbers)}k"
    before = time.monotonic()
    await client.type(mark)
    await client.until_shown(f"<{mark}>".encode(), deadline_s)
    return time.monotonic() - before
