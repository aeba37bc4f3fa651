"""The public side of the edge: the addresses of tunnels, and the ones who visit them."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from tests.edge.channel import Channel, ChannelError, Socket, join
from tests.edge.http1 import Head, copy_body, read_head
from tests.edge.pages import error_page, wants_warning, warning_page

VISITOR = "203.0.113.7"
"""The address that all visitors have: one of the internet, set aside for documentation."""

Opener = Callable[[str], Awaitable[Channel]]
"""Opens a channel to what a tunnel leads to, for a visitor's `address:port`."""


@dataclass(slots=True)
class Request:
    """A request to a public address; what is not known yet is empty."""

    method: str
    """The method."""
    path: str
    """Path and query."""
    status: int = 0
    """Status of the answer; 0 while there is none."""
    by_edge: bool = False
    """Whether the edge itself has answered."""

    @property
    def line(self) -> str:
        """Method, path without its query, and status."""
        return f"{self.method} {self.path.partition('?')[0]} {self.status}"


class Notes(Protocol):
    """What the edge wants to know of the visitors."""

    requests: list[Request]
    """All requests so far."""
    bytes_to_visitors: int
    """Sum of the answers, heads included, TLS excluded."""
    bytes_from_visitors: int
    """Sum of the requests."""
    warns: bool
    """Whether browsers see a warning before the first page."""


class Public:
    """A public address; it stays where it is while no agent serves it.

    Attributes:
        url: The address.
        opener: Leads to the agent; None while there is none.
    """

    def __init__(self, scheme: str, host: str, notes: Notes, tls: ssl.SSLContext | None) -> None:
        self.url = ""
        self.opener: Opener | None = None
        self._scheme, self._host, self._notes, self._tls = scheme, host, notes, tls
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._on_visitor, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{self._scheme}://{self._host}:{port}"

    async def close(self) -> None:
        """Stop listening and cut all visitors off."""
        if self._server is not None:
            self._server.close()
        for task in self._visits:
            task.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _on_visitor(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visits.add(task)
        visitor = Socket(reader, writer, self._count)
        port = writer.get_extra_info("peername")[1]
        try:
            # The end of a test cancels what is open; that is no error of this task.
            with contextlib.suppress(
                ChannelError, asyncio.IncompleteReadError, asyncio.CancelledError
            ):
                await self._serve(visitor, f"{VISITOR}:{port}")
        finally:
            self._visits.discard(task)
            visitor.abort()

    def _count(self, read: int, written: int) -> None:
        self._notes.bytes_from_visitors += read
        self._notes.bytes_to_visitors += written

    async def _serve(self, visitor: Socket, address: str) -> None:
        if self.opener is not None:
            await join(visitor, await self.opener(address))


class Website(Public):
    """A public address of HTTP."""

    async def _serve(self, visitor: Socket, address: str) -> None:
        while head := await read_head(visitor):
            if not await self._answer(head, visitor, address):
                break
        await visitor.close_write()

    async def _answer(self, head: Head, visitor: Socket, address: str) -> bool:
        """Answer a request; tell whether another one may follow."""
        method, path, _ = head.words
        request = Request(method, path)
        self._notes.requests.append(request)
        own = None
        if self.opener is None:
            own = error_page(404, "ERR_NGROK_3200", f"{head.get('host')} has no tunnel.")
        elif self._notes.warns and wants_warning(head):
            own = warning_page(head.get("host"))
        if own is not None:
            request.by_edge, request.status = True, int(own.split(b" ")[1])
            await visitor.write(own)
            return False
        assert self.opener is not None
        bridge = await self.opener(address)
        try:
            return await self._pass_on(head, request, visitor, bridge)
        finally:
            bridge.abort()

    async def _pass_on(
        self, head: Head, request: Request, visitor: Socket, bridge: Channel
    ) -> bool:
        forwarded = {
            "X-Forwarded-For": VISITOR,
            "X-Forwarded-Host": head.get("host"),
            "X-Forwarded-Proto": self._scheme,
        }
        await bridge.write(head.with_fields(forwarded).pack())
        upload = asyncio.create_task(copy_body(visitor, bridge, head, bare=True))
        try:
            answer = await self._pass_head_back(visitor, bridge)
            request.status = answer.status
            if answer.status == 101:
                await upload
                await join(visitor, bridge)
                return False
            bare = request.method == "HEAD" or answer.status in (204, 304)
            if bare:  # what it announces is the length that a GET would have
                return upload.done() and not answer.is_last
            goes_on = await copy_body(bridge, visitor, answer, bare=False)
            return goes_on and upload.done() and not (head.is_last or answer.is_last)
        finally:
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)

    async def _pass_head_back(self, visitor: Socket, bridge: Channel) -> Head:
        """Pass the head of the answer on, and those before it that only say `wait`."""
        while answer := await read_head(bridge):
            await visitor.write(answer.pack())
            if answer.status >= 200 or answer.status == 101:
                return answer
        raise ChannelError("no answer")


class NameProxy:
    """A proxy (CONNECT) that finds every name on this machine, as no resolver does.

    Attributes:
        url: What `https_proxy` is to be for programs that are to reach public addresses.
    """

    def __init__(self) -> None:
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening and cut everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        client = Socket(reader, writer)
        try:
            with contextlib.suppress(OSError, ChannelError, asyncio.CancelledError):
                head = await read_head(client)
                if head is not None and head.words[0] == "CONNECT":
                    port = int(head.words[1].rpartition(":")[2])
                    server = Socket(*await asyncio.open_connection("127.0.0.1", port))
                    await client.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    await join(client, server)
        finally:
            self._tasks.discard(task)
            client.abort()
