"""As much of HTTP/1.1 as an edge needs: heads, and where a body ends."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from tests.edge.channel import READ_BYTES, Channel, ChannelError

END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the fields of a request or an answer."""

    start: str
    """`GET /path HTTP/1.1` or `HTTP/1.1 200 OK`."""
    fields: tuple[tuple[str, str], ...] = ()
    """Names and values, in their order."""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what `pack` writes.

        >>> Head.parse(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n").get("host")
        'a'
        """
        start, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(start, tuple((name, value.strip()) for name, _, value in pairs))

    def pack(self) -> bytes:
        """Return it as it is sent."""
        lines = [self.start, *(f"{name}: {value}" for name, value in self.fields)]
        return "\r\n".join(lines).encode("latin-1") + END_OF_HEAD

    def get(self, name: str) -> str:
        """Return all values of a field, comma between them; empty when there is none."""
        return ", ".join(value for found, value in self.fields if found.lower() == name.lower())

    def with_fields(self, fields: Mapping[str, str]) -> Self:
        """Return it with these fields in the place of those of the same names."""
        dropped = {name.lower() for name in fields}
        kept = tuple(pair for pair in self.fields if pair[0].lower() not in dropped)
        return replace(self, fields=kept + tuple(fields.items()))

    @property
    def words(self) -> list[str]:
        """The three parts of the first line."""
        return [*self.start.split(" ", 2), "", ""][:3]

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.words[1])

    @property
    def is_last(self) -> bool:
        """Whether the connection is to end after this exchange."""
        return "close" in self.get("connection").lower() or "HTTP/1.0" in self.start


async def read_head(channel: Channel) -> Head | None:
    """Read a head; None when the connection ends before it.

    Raises:
        ChannelError: The connection was cut, or ends within it.
    """
    try:
        return Head.parse(await channel.readuntil(END_OF_HEAD))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ChannelError("the connection ends in a head") from error
        return None


async def copy_body(source: Channel, sink: Channel, head: Head, *, bare: bool) -> bool:
    """Copy the body that belongs to a head.

    Args:
        source: Where the head came from.
        sink: Where it went.
        head: The head.
        bare: Whether there is no body when the head does not announce one; otherwise, it lasts to
            the end of the connection.

    Returns:
        Whether something can follow it on the connection.
    """
    if "chunked" in head.get("transfer-encoding").lower():
        await _copy_chunks(source, sink)
    elif length := head.get("content-length"):
        await _copy(source, sink, int(length))
    elif not bare:
        while data := await source.read():
            await sink.write(data)
        return False
    return True


async def _copy(source: Channel, sink: Channel, count: int) -> None:
    while count:
        data = await source.read(min(count, READ_BYTES))
        if not data:
            raise ChannelError("the connection ends in a body")
        await sink.write(data)
        count -= len(data)


async def _copy_chunks(source: Channel, sink: Channel) -> None:
    while True:
        line = await source.readuntil(b"\r\n")
        await sink.write(line)
        if (size := int(line.partition(b";")[0], 16)) == 0:
            break
        await _copy(source, sink, size + 2)
    while line != b"\r\n":  # fields may follow the last chunk
        line = await source.readuntil(b"\r\n")
        await sink.write(line)
