"""Polling with several requests under way, and a `hello` that comes with the WebSocket."""

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.component.test_engine_guard import POLLING, WEBSOCKET, Server, eventually, serving
from tests.conftest import DEADLINE_S
from ttybridge.core.polls import NUMBER_HEADER
from ttybridge.web import polling as module


async def opened(server: Server) -> tuple[str, list[object]]:
    """Open a connection that collects the arguments of `in`; return its id and the list."""
    taken: list[object] = []

    async def on_in(sid: str, number: object) -> None:
        taken.append(number)

    server.engine.sio.on("in", on_in)
    sid = str(json.loads((await server.poll())[1:])["sid"])
    assert await post(server, sid, "40", 1) == 200
    assert (await server.poll(sid)).startswith("40")
    return sid, taken


async def post(server: Server, sid: str, body: str, number: object = None) -> int:
    """Send packets with the number of their request; return the status."""
    more = "" if number is None else f"&n={number}"
    async with server.session.post(f"{server.address}?{POLLING}&sid={sid}{more}", data=body) as it:
        return it.status


async def get(server: Server, sid: str) -> tuple[str, str]:
    """Ask for packets; return the number of the answer, and its body."""
    async with server.session.get(f"{server.address}?{POLLING}&sid={sid}") as answer:
        return answer.headers[NUMBER_HEADER], await answer.text()


async def test_posts_are_taken_in_the_order_of_their_numbers() -> None:
    async with serving() as server:
        sid, taken = await opened(server)
        turns = server.engine.connections[sid].turns
        later = []
        for number in (4, 3):
            later.append(asyncio.create_task(post(server, sid, f'42["in",{number}]', number)))
            await eventually(lambda number=number: number in turns._posts, "it waits")  # type: ignore[misc]
        assert taken == []
        assert await post(server, sid, '42["in",2]', 2) == 200
        assert await asyncio.gather(*later) == [200, 200]
        assert taken == [2, 3, 4]
        assert await post(server, sid, '42["in",5]', 5) == 200
        assert taken == [2, 3, 4, 5]


async def test_posts_without_numbers_are_taken_as_they_come() -> None:
    async with serving() as server:
        sid, taken = await opened(server)
        assert [await post(server, sid, f'42["in",{n}]') for n in range(3)] == [200] * 3
        assert taken == [0, 1, 2]


async def test_a_body_of_unannounced_length_is_taken_whole() -> None:
    async with serving() as server:
        sid, taken = await opened(server)

        async def pieces() -> AsyncIterator[bytes]:
            for text in ('42["in",1]\x1e42[', '"in",2', ']\x1e42["in",3]'):
                yield text.encode()

        address = f"{server.address}?{POLLING}&sid={sid}"
        async with server.session.post(address, data=pieces()) as answer:
            assert answer.status == 200
        assert answer.request_info.headers["Transfer-Encoding"] == "chunked"
        assert taken == [1, 2, 3]


@pytest.mark.parametrize("number", [1, 0, -3, 2 + module.MAX_WAITING, "x", "2.0"])
async def test_a_number_that_is_not_next_ends_the_connection(number: object) -> None:
    async with serving() as server:
        sid, taken = await opened(server)
        assert await post(server, sid, '42["in",1]', number) == 400
        await eventually(lambda: not server.engine.connections, "the connection has ended")
        assert taken == []


async def test_a_post_whose_predecessor_never_comes_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "OVERTAKEN_S", 0.2)
    async with serving() as server:
        sid, taken = await opened(server)
        assert await post(server, sid, '42["in",1]', 3) == 400
        await eventually(lambda: not server.engine.connections, "the connection has ended")
        assert taken == []


async def test_of_several_polls_one_is_answered_and_the_others_go_on_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SPARE_S", DEADLINE_S)
    async with serving() as server:
        sid, _ = await opened(server)
        connection = server.engine.connections[sid]
        polls = [asyncio.create_task(get(server, sid)) for _ in range(3)]
        answers: list[tuple[str, str]] = []
        for number in range(3):
            connection.send(f'2["out",{number}]')
            done, rest = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1
            answers += [task.result() for task in done]
            polls = list(rest)
        assert answers == [(str(n + 2), f'42["out",{n}]') for n in range(3)]


async def test_a_spare_poll_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_S", 0.1)
    async with serving() as server:
        sid, _ = await opened(server)
        first, spare = (asyncio.create_task(get(server, sid)) for _ in range(2))
        done, _ = await asyncio.wait([first, spare], return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [("0", "6")]
        server.engine.connections[sid].send('2["out"]')
        await asyncio.wait([first, spare])
        assert ("2", '42["out"]') in (first.result(), spare.result())


async def test_the_echo_goes_with_the_news_that_its_key_has_arrived() -> None:
    async with serving() as server:
        sid, _ = await opened(server)
        connection = server.engine.connections[sid]
        answer = asyncio.create_task(get(server, sid))
        await eventually(lambda: connection.turns._get.locked(), "the poll is under way")
        connection.send('2["inack",1]')
        asyncio.get_running_loop().call_later(module.ECHO_S / 5, connection.send, '2["out",0]')
        assert (await answer)[1] == '42["inack",1]\x1e42["out",0]'
        connection.send('2["inack",2]')  # a key that is not echoed: the news alone
        assert (await get(server, sid))[1] == '42["inack",2]'


@pytest.mark.parametrize(
    ("host", "address", "coding"),
    [("127.0.0.1", "127.0.0.1", None), ("term.example", "127.0.0.1", "gzip"),
     ("127.0.0.1", "192.0.2.7", "gzip")],
)  # fmt: skip
async def test_answers_are_compressed_where_they_go_over_a_line(
    host: str, address: str, coding: str | None
) -> None:
    async with serving() as server:
        sid, _ = await opened(server)
        server.engine._address_of = lambda _request: address
        for text, expected in (("x" * 900, None), ("x" * 2000, coding)):
            server.engine.connections[sid].send(f'2["out","{text}"]')
            headers = {"Host": host, "Accept-Encoding": "gzip, deflate, br"}
            async with server.session.get(
                f"{server.address}?{POLLING}&sid={sid}", headers=headers
            ) as it:
                assert await it.text() == f'42["out","{text}"]'
                assert it.headers.get("Content-Encoding") == expected


HELLO = '{"protocol":1,"cols":80,"rows":24}'


async def first_packets(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
    return [await socket.receive_str(timeout=DEADLINE_S) for _ in range(2)]


async def test_a_hello_in_the_address_needs_no_first_packet() -> None:
    async with serving() as server:
        said: list[object] = []

        async def on_connect(sid: str, environ: object, auth: object = None) -> None:
            said.append(auth)

        server.engine.sio.on("connect", on_connect)
        socket = await server.connect(f"{WEBSOCKET}&hello={urllib.parse.quote(HELLO)}")
        opening, answer = await first_packets(socket)
        assert opening.startswith("0{")
        assert answer.startswith("40{")
        assert said == [json.loads(HELLO)]
        await socket.send_str("40")  # it has said hello
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        await socket.close()


async def test_a_malformed_hello_ends_the_connection() -> None:
    async with serving(join_timeout_s=600) as server:
        socket = await server.connect(f"{WEBSOCKET}&hello=%7B")
        assert (await socket.receive_str(timeout=DEADLINE_S)).startswith("0")
        assert (await socket.receive(timeout=DEADLINE_S)).type is aiohttp.WSMsgType.CLOSE
        await eventually(lambda: not server.engine.connections, "the connection has ended")


async def test_a_hello_does_not_count_where_polling_is_upgraded() -> None:
    async with serving() as server:
        sid, _ = await opened(server)
        socket = await server.connect(f"{WEBSOCKET}&sid={sid}&hello={urllib.parse.quote(HELLO)}")
        await socket.send_str("2probe")
        assert await socket.receive_str(timeout=DEADLINE_S) == "3probe"
        await socket.close()
