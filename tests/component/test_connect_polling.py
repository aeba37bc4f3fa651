"""`ttybridge connect` by polling, with requests that overtake each other.

A missing answer ends the connection, so that it is resumed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conftest import DEADLINE_S
from ttybridge.client.address import parse_address
from ttybridge.client.transport import Event, Line, connected
from ttybridge.model import Secret

OPEN = '0{"sid":"abc","upgrades":[],"pingInterval":20000,"pingTimeout":20000}'


async def events_of(numbers: list[str | None]) -> list[Event]:
    """Return what a client tells when answers come with these numbers, each with one event."""
    waiting = list(enumerate(numbers))

    async def answer(request: web.Request) -> web.Response:
        if "sid" not in request.query:
            return web.Response(text=OPEN)
        if request.method == "POST":
            return web.Response(text="ok")
        if not waiting:
            return web.Response(text="41")
        count, number = waiting.pop(0)
        text = "6" if number == "0" else f'42["size",{count}]'
        headers = {} if number is None else {"X-TTYBridge-Poll": number}
        return web.Response(text=text, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/tty/", answer)
    found = []
    async with TestServer(app) as server:
        address = parse_address(f"http://{server.host}:{server.port}")
        async with connected(address, Secret("t"), {}, polling=True) as line:
            while (event := await line.next()) is not None:
                found.append(event)
    return found


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (["1", "2", "0", "3"], [0, 1, 3]),
        ([None, None], [0, 1]),
        (["2", "3"], []),
        (["1", "3", "4"], [0]),
        (["1", "1"], [0]),
        (["1", "two"], [0]),
    ],
)
async def test_events_end_where_an_answer_is_missing(
    numbers: list[str | None], told: list[int]
) -> None:
    assert await events_of(numbers) == [Event("size", (count,)) for count in told]


class Server:
    """Keeps requests until the test answers them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[web.Request, str, asyncio.Future[web.Response]]] = []
        self.line: Line
        self.sending: asyncio.Task[None]

    async def on_request(self, request: web.Request) -> web.Response:
        if "sid" not in request.query:
            return web.Response(text=OPEN)
        future: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        self.waiting.append((request, await request.text(), future))
        return await future

    def of(self, method: str) -> list[tuple[str | None, str]]:
        """Return number and body of the requests that wait."""
        found = [(it.query.get("n"), body) for it, body, _ in self.waiting if it.method == method]
        return sorted(found, key=lambda it: int(it[0] or 0))

    async def have(self, gets: int, posts: int) -> None:
        """Wait until so many wait."""
        async with asyncio.timeout(DEADLINE_S):
            while (len(self.of("GET")), len(self.of("POST"))) != (gets, posts):  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    def answer(
        self,
        method: str,
        at: int = 0,
        text: str = "ok",
        number: int | None = None,
        status: int = 200,
    ) -> None:
        """Answer the request of this kind that waits at this place."""
        item = [it for it in self.waiting if it[0].method == method][at]
        self.waiting.remove(item)
        headers = {} if number is None else {"X-TTYBridge-Poll": str(number)}
        item[2].set_result(web.Response(text=text, headers=headers, status=status))

    async def next(self) -> Event | None:
        async with asyncio.timeout(DEADLINE_S):
            return await self.line.next()


@contextlib.asynccontextmanager
async def joined(number: int | None) -> AsyncIterator[Server]:
    """Give a server whose client has said hello, and has one answer, with this number."""
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/tty/", server.on_request)
    async with TestServer(app) as serving:
        address = parse_address(f"http://{serving.host}:{serving.port}")
        async with connected(address, Secret("t"), {}, polling=True) as server.line:
            server.sending = asyncio.create_task(server.line.send_all())
            first = asyncio.create_task(server.next())
            await server.have(gets=1, posts=1)
            assert server.of("POST") == [("1", "40{}")]
            server.answer("GET", text=event("first"), number=number)
            server.answer("POST")
            assert await first == Event("first", ())
            yield server
            server.sending.cancel()
            for _, _, future in server.waiting:
                future.cancel()


def event(name: str) -> str:
    return f'42["{name}"]'


async def test_a_key_waits_neither_for_the_last_ones_answer_nor_for_the_next_get() -> None:
    async with joined(1) as server:
        for count, name in enumerate("abc", 1):
            server.line.send(name)
            await server.have(gets=3, posts=count)
        server.line.send("d")
        server.line.send("e")
        assert server.of("POST") == [("2", event("a")), ("3", event("b")), ("4", event("c"))]
        server.answer("POST", at=1)
        await server.have(gets=3, posts=3)
        # The last two have waited for an answer, and go together.
        last = ("5", f"{event('d')}\x1e{event('e')}")
        assert server.of("POST") == [("2", event("a")), ("4", event("c")), last]


async def test_answers_that_overtake_each_other_are_put_in_order() -> None:
    async with joined(1) as server:
        server.line.send("a")
        await server.have(gets=3, posts=1)
        server.answer("GET", at=2, text=event("fourth"), number=4)
        server.answer("GET", at=1, text=event("third"), number=3)
        coming = asyncio.create_task(server.next())
        await server.have(gets=3, posts=1)
        assert not coming.done()
        server.answer("GET", at=0, text=event("second"), number=2)
        names = [await coming, await server.next(), await server.next()]
        assert names == [Event(name, ()) for name in ("second", "third", "fourth")]


async def test_a_missing_answer_that_no_get_can_bring_ends_the_connection() -> None:
    async with joined(1) as server:
        server.line.send("a")
        await server.have(gets=3, posts=1)
        coming = asyncio.create_task(server.next())
        for number in (3, 4, 0):  # one was asked twice: 2 went with the connection under it
            server.answer("GET", text=event("early"), number=number)
        assert await coming is None


async def test_the_goodbye_that_one_get_brings_is_awaited_when_others_are_refused() -> None:
    async with joined(1) as server:
        server.line.send("a")
        await server.have(gets=3, posts=1)
        coming = asyncio.create_task(server.next())
        server.answer("GET", at=2, status=400)
        server.answer("GET", at=1, status=400)
        await server.have(gets=1, posts=1)
        server.answer("GET", text=event("exit"), number=2)
        assert await coming == Event("exit", ())
        assert await server.next() is None


async def test_there_is_one_request_of_each_kind_where_answers_have_no_numbers() -> None:
    async with joined(None) as server:
        coming = asyncio.create_task(server.next())
        server.line.send("a")
        await server.have(gets=1, posts=1)
        for name in "bc":
            server.line.send(name)
        server.answer("GET", text=event("second"))
        assert await coming == Event("second", ())
        coming = asyncio.create_task(server.next())
        await server.have(gets=1, posts=1)
        server.answer("POST")
        await server.have(gets=1, posts=1)
        assert server.of("POST") == [("3", f"{event('b')}\x1e{event('c')}")]
        coming.cancel()


async def test_a_post_that_is_refused_ends_the_sending() -> None:
    async with joined(1) as server:
        server.line.send("a")
        await server.have(gets=3, posts=1)
        server.answer("POST", status=400)
        async with asyncio.timeout(DEADLINE_S):
            await server.sending
