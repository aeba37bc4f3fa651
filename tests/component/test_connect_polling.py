"""`ttybridge connect` by polling: a missing answer ends the connection, so that it is resumed."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ttybridge.client.address import parse_address
from ttybridge.client.transport import Event, connected
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
