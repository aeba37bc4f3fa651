"""The page's protocol over polling, without any library."""

import asyncio
import base64
import json

import aiohttp

from tests.e2e.raw_client import PageClient, Served, eventually
from ttybridge.core.polls import NUMBER_HEADER

SEPARATOR = "\x1e"
"""Between the packets of one request (Engine.IO protocol 4)."""


class PollingClient(PageClient):
    """A client of the page's protocol that polls; one POST and one GET at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._sender: asyncio.Task[None] | None = None
        self._url = ""
        self._answers = 0

    async def connect(self, bridge: Served, auth: object = None, query: str = "") -> None:
        """Open the connection and wait for the answer."""
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {bridge.token}"},
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        url = f"{bridge.address}tty/?EIO=4&transport=polling{query}"
        try:
            async with self._session.get(url) as answer:
                if answer.status != 200:
                    raise ConnectionRefusedError(f"{answer.status}: {await answer.text()}")
                self._url = f"{url}&sid={json.loads((await answer.text())[1:])['sid']}"
        except BaseException:
            await self._session.close()
            raise
        self._sender = asyncio.create_task(self._send_all())
        self._reader = asyncio.create_task(self._read_all())
        await self._say("40" + (json.dumps(auth) if auth is not None else ""))
        await eventually(
            lambda: self.connected.is_set() or self.refused is not None or self.closed.is_set(),
            "an answer to the connection",
        )

    async def _say(self, packet: str) -> None:
        self._outbox.put_nowait(packet)

    async def _send_all(self) -> None:
        assert self._session is not None
        while True:
            packets = [await self._outbox.get()]
            while not self._outbox.empty() and len(packets) < 16:
                packets.append(self._outbox.get_nowait())
            try:
                async with self._session.post(
                    self._url, data=SEPARATOR.join(packets).encode()
                ) as answer:
                    if answer.status != 200:
                        return
            except (aiohttp.ClientError, OSError):
                self._lost()
                return

    async def _read_all(self) -> None:
        assert self._session is not None
        try:
            while True:
                await self._read_on.wait()
                async with self._session.get(self._url) as answer:
                    if answer.status != 200:
                        return
                    text = await answer.text()
                # A GET that is cut is asked again by HTTP libraries, and what came with the
                # answer that was lost is gone.
                number = int(answer.headers[NUMBER_HEADER])
                if number and number != self._answers + 1:
                    return
                self._answers = number or self._answers
                await self._read_on.wait()
                for packet in text.split(SEPARATOR) if text else ():
                    if packet.startswith("b"):
                        await self._take(base64.b64decode(packet[1:]))
                    elif packet == "1":
                        return
                    else:
                        await self._take(packet)
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            self._lost()

    def _lost(self) -> None:
        self.closed.set()

    def cut(self) -> None:
        """Give up without a goodbye, in the middle of whatever is under way."""
        self.closed.set()
        for task in (self._sender, self._reader):
            if task is not None:
                task.cancel()

    async def leave(self) -> None:
        """Say goodbye and close."""
        if not self.closed.is_set():
            await self._say("41")
            await eventually(lambda: self._outbox.empty() or self.closed.is_set(), "a goodbye")
        await self.close()

    async def close(self) -> None:
        """Close all connections; twice is fine."""
        self.cut()
        tasks = [task for task in (self._sender, self._reader) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
