"""A connection to a bridge that travels by polling: its packets in answers to GETs, ours in POSTs.

As in the page (`static/src/polling.ts`), several of both are under way while somebody types, so
that a key waits neither for the answer to the last one nor for the next GET. Which and in which
order is decided in `ttybridge/core/polls.py`.
"""

import asyncio
import base64
import binascii
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from ttybridge.client.address import Address
from ttybridge.client.http import Unauthorized, looks_like_page, refusal
from ttybridge.core.polls import MAX_REQUESTS, NUMBER, NUMBER_HEADER, Polls
from ttybridge.errors import TtyBridgeError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of one answer that are taken: the bridge's window is 512 KiB."""

OPEN_S = 20.0
"""Time for the first answer, in seconds."""

GOODBYE_S = 1.0
"""How long a GET that failed waits for others under way, in seconds: they may bring the goodbye."""

SEPARATOR = "\x1e"
"""Between the packets of a request (Engine.IO protocol, version 4)."""


class Polling:
    """Carries Engine.IO packets.

    Attributes:
        most_sends: How many calls of `send` may be under way, while `has_room`.
    """

    most_sends = MAX_REQUESTS

    def __init__(self, session: "ClientSession", address: Address, proxy: str | None) -> None:
        """Open it with `open`, then `begin`."""
        self._session, self._address, self._proxy = session, address, proxy
        self._url = f"{address.base}/tty/?EIO=4&transport=polling"
        self._silence_s = OPEN_S
        self._packets: deque[str | bytes] = deque()
        self._polls = Polls()
        self._gets: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._is_over = False

    async def open(self) -> str:
        """Return what the first packet says, JSON.

        Raises:
            TtyBridgeError: Something else than a bridge answers.
        """
        async with self._request("GET") as answer:
            body = await answer.content.read(64 * 1024)
            if answer.status != 200 or looks_like_page(body):
                raise not_opened(answer.status, body)
        if not body.startswith(b"0{"):
            message = f"{self._address.base} answers, and not as a bridge does."
            raise TtyBridgeError(message, hint="Compare it with the link that it printed.")
        return body.decode("utf-8", "replace").partition(SEPARATOR)[0][1:]

    def begin(self, sid: str, silence_s: float) -> None:
        """Use what the first packet has said; a request may take so many seconds."""
        self._url += f"&sid={sid}"
        self._silence_s = silence_s

    @property
    def has_room(self) -> bool:
        """Whether `send` sends at once."""
        return self._polls.may_post

    async def send(self, packets: Sequence[str]) -> bool:
        """Send packets; tell whether they have arrived."""
        number = self._polls.begin_post(time.monotonic())
        self._hold()
        body = SEPARATOR.join(packets).encode()
        try:
            return await self._exchange("POST", f"&{NUMBER}={number}", body) is not None
        finally:
            self._polls.end_post()

    async def receive(self) -> str | bytes | None:
        """Return the next packet; bytes are binary ones; None when there will be no more."""
        while not self._packets:
            if self._is_over:
                return None
            self._hold()
            self._news.clear()
            await self._news.wait()
        return self._packets.popleft()

    async def close(self) -> None:
        """Give up all GETs."""
        self._is_over = True
        for task in self._gets:
            task.cancel()
        await asyncio.gather(*self._gets, return_exceptions=True)

    def _hold(self) -> None:
        """Have as many GETs under way as are of use; none before all that has come is taken."""
        while not self._packets and not self._is_over and self._polls.wants_get(time.monotonic()):
            task = asyncio.create_task(self._poll(self._polls.begin_get()))
            self._gets.add(task)
            task.add_done_callback(self._gets.discard)

    async def _poll(self, poll: int) -> None:
        answer = await self._exchange("GET")
        if answer is None:
            self._polls.fail_get(poll)
            asyncio.get_running_loop().call_later(GOODBYE_S, self._end)
        else:
            for body in self._polls.answer(poll, *answer):
                self._take(body)
        if self._polls.is_over:
            self._end()
        self._news.set()

    def _end(self) -> None:
        self._is_over = True
        self._news.set()

    def _take(self, body: bytes) -> None:
        """Take the packets out of an answer; a malformed one is the end."""
        if self._is_over:
            return
        try:
            for part in body.decode().split(SEPARATOR):
                is_binary = part.startswith("b")
                self._packets.append(base64.b64decode(part[1:]) if is_binary else part)
        except (binascii.Error, UnicodeDecodeError):
            self._end()

    async def _exchange(
        self, method: str, query: str = "", body: bytes | None = None
    ) -> tuple[str | None, bytes] | None:
        """Return the number and the body of an answer; None when it is none."""
        from aiohttp import ClientError

        try:
            async with self._request(method, query, body) as answer:
                if answer.status != 200:
                    return None
                data = bytearray()
                async for chunk in answer.content.iter_any():
                    data += chunk
                    if len(data) > MAX_ANSWER:
                        return None
                return answer.headers.get(NUMBER_HEADER), bytes(data)
        except (TimeoutError, OSError, ClientError, ValueError):
            return None

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, query: str = "", body: bytes | None = None
    ) -> AsyncIterator["ClientResponse"]:
        from aiohttp import ClientTimeout

        async with self._session.request(
            method,
            self._url + query,
            data=body,
            headers={} if body is None else {"Content-Type": "text/plain;charset=UTF-8"},
            proxy=self._proxy,
            allow_redirects=False,
            timeout=ClientTimeout(total=self._silence_s),
            middlewares=(),
        ) as answer:
            yield answer


def not_opened(status: int, body: bytes) -> TtyBridgeError:
    """Return the sentence for an answer to the first request that is not a bridge's."""
    if status in (404, 502) and not looks_like_page(body):
        message = f"This address does not lead to a bridge ({status})."
        return TtyBridgeError(message, hint="Is it complete, and the bridge running?")
    error = refusal(status, body)
    return Unauthorized(error.message, hint=error.hint) if status == 401 else error
