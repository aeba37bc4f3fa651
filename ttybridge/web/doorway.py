"""TCP connections before and between their requests: deadlines for heads, and how many may wait.

aiohttp 3.14 has one time-out for a connection that is quiet between two requests and none for a
request head that arrives byte by byte. Nothing here looks at addresses: behind a tunnel everybody
has the same one.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ttybridge.core.limits import Bounds
from ttybridge.core.meter import Meter

TCP_INFO_BYTES = 136
"""Bytes of `struct tcp_info` that are asked for: up to what is looked at."""

TCP_INFO_COUNTS = struct.Struct("=QQ")
"""Its tcpi_bytes_acked and tcpi_bytes_received, at offset 120 (linux/tcp.h, since 4.1)."""


class Visitor(Protocol):
    """One TCP connection; the one in `answers` is the real one."""

    tcp: Any
    """Its transport."""

    def cut(self, answer: bytes) -> None:
        """End it, after an answer that may be empty."""


@dataclass(slots=True)
class _Head:
    """A request head that is waited for."""

    since: float
    timer: asyncio.TimerHandle
    has_begun: bool
    """Whether a part of it has come: browsers open connections that they may never use."""


class Doorway:
    """Everybody at the door: connections that have no request under way."""

    def __init__(self, bounds: Bounds, meter: Meter, headers: Mapping[str, str]) -> None:
        """Begin with nobody.

        Args:
            bounds: How many there may be, and for how long.
            meter: Counts.
            headers: Headers of every answer.
        """
        self._bounds, self._meter = bounds, meter
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text = "The request did not arrive in time.\n"
        self.too_slow = (
            f"HTTP/1.1 408 Request Timeout\r\n{lines}Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}"
        ).encode()
        self._all: set[Visitor] = set()
        # Who came, or got its last answer, first; a dict keeps that order.
        self._pending: dict[Visitor, None] = {}
        self._heads: dict[Visitor, _Head] = {}

    @property
    def pending(self) -> int:
        """How many have no request under way."""
        return len(self._pending)

    def head_s(self, now: float) -> float:
        """Return how long the slowest request head has taken until now, in seconds.

        Args:
            now: The event loop's time.
        """
        return max((now - head.since for head in self._heads.values() if head.has_begun), default=0)

    def is_pending(self, visitor: Visitor) -> bool:
        """Tell whether a connection has no request under way."""
        return visitor in self._pending

    def opened(self, visitor: Visitor) -> None:
        """Take in a new connection; its first head has its time from now on."""
        self._all.add(visitor)
        self._wait(visitor)
        self._expect(visitor)

    def head_begins(self, visitor: Visitor) -> None:
        """Note that a part of a head has come, and not all of it."""
        if visitor not in self._heads:
            self._expect(visitor)
        self._heads[visitor].has_begun = True

    def begins(self, visitor: Visitor) -> None:
        """Note that a whole head has come: a request is under way."""
        self._pending.pop(visitor, None)
        self._forget_head(visitor)

    def ends(self, visitor: Visitor) -> None:
        """Note that the request has been answered."""
        if visitor in self._all:
            self._wait(visitor)

    def lost(self, visitor: Visitor) -> None:
        """Forget a connection; its socket is still open."""
        self._all.discard(visitor)
        self._pending.pop(visitor, None)
        self._forget_head(visitor)
        received, sent = bytes_of(visitor.tcp)
        self._meter.received_bytes += received
        self._meter.sent_bytes += sent

    def bytes(self) -> tuple[int, int]:
        """Return what clients have sent and got, on connections that were and those that are."""
        received, sent = self._meter.received_bytes, self._meter.sent_bytes
        for visitor in self._all:
            more = bytes_of(visitor.tcp)
            received, sent = received + more[0], sent + more[1]
        return received, sent

    def _wait(self, visitor: Visitor) -> None:
        self._pending[visitor] = None
        if len(self._pending) > self._bounds.pending:
            oldest = next(iter(self._pending))
            self._meter.refuse("pending")
            self.begins(oldest)
            oldest.cut(b"")

    def _expect(self, visitor: Visitor) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._bounds.head_timeout_s, self._too_slow, visitor)
        self._heads[visitor] = _Head(loop.time(), timer, has_begun=False)

    def _too_slow(self, visitor: Visitor) -> None:
        has_begun = self._heads[visitor].has_begun
        self.begins(visitor)
        if has_begun:
            self._meter.refuse("head")
        visitor.cut(self.too_slow if has_begun else b"")

    def _forget_head(self, visitor: Visitor) -> None:
        head = self._heads.pop(visitor, None)
        if head is not None:
            head.timer.cancel()


def bytes_of(transport: Any) -> tuple[int, int]:
    """Return the bytes that a TCP connection has received, and had acknowledged, until now."""
    line = transport.get_extra_info("socket") if transport is not None else None
    if line is None or line.family not in (socket.AF_INET, socket.AF_INET6):
        return 0, 0
    try:
        info = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        sent, received = TCP_INFO_COUNTS.unpack_from(info, 120)
    except (OSError, struct.error):  # closed, or an old kernel
        return 0, 0
    return received, sent
