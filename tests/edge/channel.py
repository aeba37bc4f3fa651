"""Byte channels of the edge, whatever carries them, and the joining of two of them."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

READ_BYTES = 0x10000
"""Most bytes that are read at once."""


class ChannelError(Exception):
    """A channel was cut, or what carries it has ended."""


class Channel(Protocol):
    """Bytes in both directions. Reading and writing raise ChannelError when it was cut."""

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """Return what has come; empty at the end."""
        ...

    async def readuntil(self, separator: bytes) -> bytes:
        """Return what comes up to a separator; IncompleteReadError when the end comes first."""
        ...

    async def write(self, data: bytes) -> None:
        """Send; waits while the other side does not take it."""
        ...

    async def close_write(self) -> None:
        """Say that nothing more will be sent."""
        ...

    def abort(self) -> None:
        """Cut it in both directions; does nothing when both have ended."""
        ...


class Socket:
    """A connection as a `Channel`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int, int], None] = lambda read, written: None,
    ) -> None:
        """Take a connection; `count` is told how many bytes were read, and written."""
        self._reader, self._writer, self._count = reader, writer, count

    async def read(self, limit: int = READ_BYTES) -> bytes:
        with _cut_is_told():
            data = await self._reader.read(limit)
        self._count(len(data), 0)
        return data

    async def readuntil(self, separator: bytes) -> bytes:
        with _cut_is_told():
            data = await self._reader.readuntil(separator)
        self._count(len(data), 0)
        return data

    async def write(self, data: bytes) -> None:
        with _cut_is_told():
            self._writer.write(data)
            await self._writer.drain()
        self._count(0, len(data))

    async def close_write(self) -> None:
        """Close one direction; where that cannot be (TLS), both, after all was sent."""
        with _cut_is_told():
            if self._writer.can_write_eof():
                self._writer.write_eof()
            else:
                self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()


@contextlib.contextmanager
def _cut_is_told() -> Iterator[None]:
    try:
        yield
    except (OSError, asyncio.LimitOverrunError) as error:
        raise ChannelError(str(error)) from error


async def carry(source: Channel, sink: Channel) -> None:
    """Carry one direction to its end, and tell the end.

    Raises:
        ChannelError: One of them was cut.
    """
    while data := await source.read():
        await sink.write(data)
    await sink.close_write()


async def join(one: Channel, other: Channel) -> None:
    """Carry both directions until both have ended; when one is cut, so is the other."""
    try:
        await both(carry(one, other), carry(other, one))
    finally:
        one.abort()
        other.abort()


async def both(*works: Coroutine[Any, Any, None]) -> None:
    """Do things side by side; the first error stops the others and is raised as it is."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
