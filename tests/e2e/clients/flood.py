"""Floods a bridge in one way until stdin ends; says `on` when it has begun, and a count at the end.

    flood.py WAY PORT

The token is in FLOOD_TOKEN. Only the standard library: it starts at once, and is as fast as it can.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
TOKEN = os.environ.get("FLOOD_TOKEN", "")
HOST = f"Host: 127.0.0.1:{PORT}\r\n"
BEARER = f"Authorization: Bearer {TOKEN}\r\n"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
POLLING, WEBSOCKET = "/tty/?EIO=4&transport=polling", "/tty/?EIO=4&transport=websocket"
HELLO = b'40{"protocol":1,"cols":80,"rows":24,"display":"session"}'

GARBAGE = (b"", b"x", b"7", b"42[", b'451-["in",1,"x"]', b'42["connect",1]', b"4" + b"9" * 5000)

count = 0


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def did() -> None:
    """Count something that was done; the first one is told."""
    global count
    count += 1
    if count == 1:
        say("on")


class Http:
    """A connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, line: str, more: str = BEARER, body: bytes | None = None) -> bytes:
        """Ask, and return the body of the answer."""
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{line} HTTP/1.1\r\n{HOST}{more}{length}\r\n"
        self.writer.write(head.encode() + (body or b""))
        head_of = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        size = head_of.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return await self.reader.readexactly(int(size or 0))


@contextlib.asynccontextmanager
async def http() -> AsyncIterator[Http]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    try:
        yield Http(reader, writer)
    finally:
        writer.close()


def polling_of(opened: bytes) -> str:
    """Return the address of a polling connection that has been opened."""
    return f"{POLLING}&sid={json.loads(opened[1:])['sid']}"


def frame(data: bytes) -> bytes:
    """Return a text frame of a client; its mask is zero."""
    if len(data) < 126:
        return bytes((0x81, 0x80 | len(data))) + bytes(4) + data
    return b"\x81\xfe" + len(data).to_bytes(2) + bytes(4) + data


async def websocket(made: Http, path: str = WEBSOCKET) -> bool:
    """Open a WebSocket; tell whether it is open."""
    made.writer.write(f"GET {path} HTTP/1.1\r\n{HOST}{BEARER}{UPGRADE}".encode())
    return b" 101 " in await made.reader.readuntil(b"\r\n\r\n")


async def read_on(made: Http) -> None:
    """Read and forget."""
    while await made.reader.read(1 << 16):
        pass


async def handshakes() -> None:
    """Begin connections and leave them."""
    async with http() as made:
        for _ in range(20):
            await made.ask(f"GET {POLLING}")
            did()


async def joins() -> None:
    """Join over WebSocket, and go at once."""
    async with http() as made:
        if await websocket(made):
            made.writer.write(frame(HELLO))
            await made.reader.readuntil(b"joined")
        did()


async def events() -> None:
    """Join, and say what may be said, without end."""
    async with http() as made:
        if not await websocket(made):
            return
        made.writer.write(frame(HELLO))
        await made.reader.readuntil(b"joined")
        reading = asyncio.create_task(read_on(made))
        said = (b'42["ack",0]', b'42["pong",1]', b'42["name","x"]', b'42["display","own"]',
                b'42["display","session"]', b'42["size",90,30]', b'421["ack",0]')  # fmt: skip
        block = b"".join(map(frame, said)) * 200
        try:
            while not reading.done():
                made.writer.write(block)
                await made.writer.drain()
                did()
        finally:
            reading.cancel()


async def posts() -> None:
    """Join over polling, and send as many packets as one request may have, without end."""
    async with http() as made, http() as polls:
        opened = await made.ask(f"GET {POLLING}")
        if not opened.startswith(b"0{"):
            return
        path = polling_of(opened)
        await made.ask(f"POST {path}", body=HELLO)

        async def poll() -> None:
            while True:
                await polls.ask(f"GET {path}")

        polling = asyncio.create_task(poll())
        body = b"\x1e".join([b'42["ack",0]'] * 4000)
        try:
            while await made.ask(f"POST {path}", body=body) == b"OK":
                did()
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)


async def heads() -> None:
    """Begin a request, and go on with it slowly."""
    async with http() as made:
        for byte in f"GET /healthz HTTP/1.1\r\n{HOST}X: ".encode() + b"x" * 1000:
            made.writer.write(bytes([byte]))
            await made.writer.drain()
            did()
            await asyncio.sleep(0.2)


async def bodies() -> None:
    """Announce a large body, and send it slowly."""
    async with http() as made:
        opened = await made.ask(f"GET {POLLING}")
        path = "/login"
        if opened.startswith(b"0{"):
            path = polling_of(opened)
        length = "Content-Length: 4000\r\n\r\n"
        made.writer.write(f"POST {path} HTTP/1.1\r\n{HOST}{BEARER}{length}".encode())
        for _ in range(1000):
            made.writer.write(b"4")
            await made.writer.drain()
            did()
            await asyncio.sleep(0.2)


async def tokens() -> None:
    """Try tokens."""
    async with http() as made:
        for number in range(50):
            await made.ask("GET /api/people", f"Authorization: Bearer wrong-{number}\r\n")
            did()


async def requests() -> None:
    """Ask for what needs no credential, many at once."""
    async with http() as made:
        request = f"GET /healthz HTTP/1.1\r\n{HOST}\r\nGET / HTTP/1.1\r\n{HOST}\r\n".encode()
        reading = asyncio.create_task(read_on(made))
        try:
            while not reading.done():
                made.writer.write(request * 50)
                await made.writer.drain()
                did()
        finally:
            reading.cancel()


async def packets() -> None:
    """Send what is no packet, and come back at once."""
    for garbage in GARBAGE:
        async with http() as made:
            if await websocket(made):
                made.writer.write(frame(garbage))
                await made.reader.readuntil(b"{")  # the handshake, so that it is read, too
            did()


WAYS: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
    "handshakes": (40, handshakes),
    "joins": (8, joins),
    "events": (20, events),
    "posts": (20, posts),
    "heads": (800, heads),
    "bodies": (200, bodies),
    "tokens": (100, tokens),
    "requests": (40, requests),
    "packets": (40, packets),
}
"""How many do it at a time, and what."""


async def again(what: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again, whatever becomes of it."""
    while True:
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            await what()
        await asyncio.sleep(0)


async def main() -> None:
    """Flood until stdin ends."""
    number, what = WAYS[sys.argv[1]]
    flood = [asyncio.create_task(again(what)) for _ in range(number)]
    await asyncio.to_thread(sys.stdin.read)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    say(str(count))


if __name__ == "__main__":
    asyncio.run(main())
