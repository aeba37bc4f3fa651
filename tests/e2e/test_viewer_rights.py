"""A viewer tries to type, to resize, to rule, everywhere; an editor shows that it works."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import RunningBridge, StartBridge, Tmux
from tests.e2e.guests import guest, open_link, own_token, token_of
from tests.e2e.hostile import OPEN, PageClient, eventually, session_of, tty

Session = aiohttp.ClientSession

NO_HEADER = {"Authorization": ""}
"""Instead of the session's own header with the token."""

Attempt = Callable[[RunningBridge, Session, str], Awaitable[object]]
"""Types a line somewhere; returns what keeps the connection open."""


async def by_a_pages_event(bridge: RunningBridge, session: Session, line: str) -> object:
    client = await PageClient.join(session, bridge)
    await client.type(line)
    return client


async def by_a_page_that_shows_the_sessions_window(
    bridge: RunningBridge, session: Session, line: str
) -> object:
    client = await PageClient.join(session, bridge, hello={"display": "session"})
    await client.type(line)
    return client


async def by_a_terminal_client(bridge: RunningBridge, session: Session, line: str) -> object:
    client = await PageClient.join(session, bridge, hello={"client": "connect", "display": "auto"})
    await client.type(line)
    return client


async def by_binary_input(bridge: RunningBridge, session: Session, line: str) -> object:
    client = await PageClient.join(session, bridge)
    await client.socket.send_str("42" + json.dumps(["in", 1, line, True]))
    return client


async def by_a_page_that_comes_back(bridge: RunningBridge, session: Session, line: str) -> object:
    client = await PageClient.join(session, bridge)
    await client.cut()
    place = {"id": client.joined["id"], "key": client.joined["key"], "offset": 0}
    again = await PageClient.join(session, bridge, resume=place)
    assert again.joined["resumed"]
    await again.type(line)
    return again


async def after_raising_a_hand_and_taking_a_name(
    bridge: RunningBridge, session: Session, line: str
) -> object:
    client = await PageClient.join(session, bridge, hello={"name": "owner", "role": "owner"})
    for event in (["hand", True], ["name", "owner"], ["display", "own"]):
        await client.socket.send_str("42" + json.dumps(event))
    await client.type(line)
    return client


async def by_polling(bridge: RunningBridge, session: Session, line: str) -> object:
    address = tty(bridge, "EIO=4&transport=polling")
    async with session.get(address) as answer:
        sid = json.loads((await answer.text())[1:])["sid"]
    packets = ['40{"protocol":1,"cols":80,"rows":24}', "42" + json.dumps(["in", 1, line])]
    for packet in packets:
        async with session.post(f"{address}&sid={sid}", data=packet) as answer:
            assert answer.status == 200
        async with session.get(f"{address}&sid={sid}") as answer:
            assert answer.status == 200
    return sid


async def by_colabs_socketio_event(bridge: RunningBridge, session: Session, line: str) -> object:
    return await _colab_socketio(bridge, session, line, OPEN)


async def by_colabs_older_event(bridge: RunningBridge, session: Session, line: str) -> object:
    return await _colab_socketio(bridge, session, line, OPEN + "&form=older")


async def _colab_socketio(bridge: RunningBridge, session: Session, line: str, query: str) -> object:
    socket = await session.ws_connect(tty(bridge, query), max_msg_size=0)
    await socket.send_str("40")
    while not (await socket.receive_str()).startswith("42"):
        pass
    await socket.send_str("42" + json.dumps(["data", {"data": json.dumps({"data": line})}]))
    await socket.send_str("42" + json.dumps(["data", {"data": '{"cols":33,"rows":9}'}]))
    return socket


async def by_colabs_websocket(bridge: RunningBridge, session: Session, line: str) -> object:
    socket = await session.ws_connect(f"{bridge.address}colab/tty", max_msg_size=0)
    await socket.send_str(json.dumps({"data": line, "cols": 33, "rows": 9}))
    await socket.receive()
    return socket


async def with_the_token_in_the_query(bridge: RunningBridge, session: Session, line: str) -> object:
    query = f"{OPEN}&token={own_token(session)}"
    socket = await session.ws_connect(tty(bridge, query), headers=NO_HEADER, max_msg_size=0)
    await _hello_and_type(socket, line)
    return socket


async def with_the_token_in_colabs_header(
    bridge: RunningBridge, session: Session, line: str
) -> object:
    headers = {**NO_HEADER, "X-Colab-Runtime-Proxy-Token": own_token(session)}
    socket = await session.ws_connect(tty(bridge), headers=headers, max_msg_size=0)
    await _hello_and_type(socket, line)
    return socket


async def _hello_and_type(socket: aiohttp.ClientWebSocketResponse, line: str) -> None:
    await socket.send_str('40{"protocol":1,"cols":80,"rows":24}')
    while '"joined"' not in await socket.receive_str():
        pass
    await socket.send_str("42" + json.dumps(["in", 1, line]))
    await socket.send_str("42" + json.dumps(["hand", False]))


ATTEMPTS: list[Attempt] = [
    by_a_pages_event,
    by_a_page_that_shows_the_sessions_window,
    by_a_terminal_client,
    by_binary_input,
    by_a_page_that_comes_back,
    after_raising_a_hand_and_taking_a_name,
    by_polling,
    by_colabs_socketio_event,
    by_colabs_older_event,
    by_colabs_websocket,
    with_the_token_in_the_query,
    with_the_token_in_colabs_header,
]


async def test_a_viewer_types_by_no_entrance_and_no_event(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    bridge = start_bridge()
    async with session_of(bridge) as owners:
        owner = await PageClient.join(owners, bridge)
        await owner.echo()
        for number, attempt in enumerate(ATTEMPTS):
            for role in ("viewer", "editor"):
                file = tmp_path / f"{role}-{number}"
                async with guest(bridge, role) as session:
                    kept = await attempt(bridge, session, f"touch {file}\r")
                    if role == "editor":
                        await eventually(file.exists, f"an editor types {attempt.__name__}")
                    else:
                        await owner.echo()  # behind it, in the same shell
                        await owner.echo()
                        assert not file.exists(), f"a viewer typed {attempt.__name__}"
                    del kept


async def test_a_viewers_window_counts_for_nothing(start_bridge: StartBridge, tmux: Tmux) -> None:
    bridge = start_bridge()

    def size() -> str:
        return tmux("display-message", "-p", "-t", "=0:", "#{window_width}x#{window_height}")

    async with session_of(bridge) as owners:
        owner = await PageClient.join(owners, bridge, size=(100, 31))
        await owner.echo()
        assert size() == "100x30"
        for display in ("own", "auto", "session"):
            async with guest(bridge, "viewer") as session:
                client = await PageClient.join(
                    session, bridge, size=(33, 9), hello={"display": display}
                )
                await client.socket.send_str('42["size",44,11]')
                await client.type("x")
                await owner.echo()
                assert size() == "100x30", display
                await client.close()
        async with guest(bridge, "editor") as session:
            client = await PageClient.join(session, bridge, size=(33, 9))
            await client.type("\r")
            await eventually(lambda: size() == "33x8", "an editor's window counts")


async def test_a_viewer_pushes_nobody_out_where_newcomers_take_the_session_over(
    start_bridge: StartBridge, tmux: Tmux
) -> None:
    bridge = start_bridge("--exclusive")
    async with session_of(bridge) as owners, guest(bridge, "viewer") as session:
        owner = await PageClient.join(owners, bridge)
        await owner.echo()
        page = await PageClient.join(session, bridge, hello={"display": "own"})
        console = await session.ws_connect(f"{bridge.address}colab/tty")
        assert (await console.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT
        await owner.echo()
        assert not owner.is_closed
        flags = tmux("list-clients", "-t", "=0", "-F", "#{client_readonly}").split()
        assert sorted(flags) == ["0", "1", "1"]
        await page.close()
        await console.close()


RULES: list[tuple[str, str, dict[str, Any], tuple[int, int, int]]] = [
    # method, path, body; the status for a viewer, an editor, and the token's owner
    ("GET", "people", {}, (200, 200, 200)),
    ("POST", "grant", {"who": "OWN", "role": "owner"}, (403, 409, 200)),
    ("POST", "grant", {"who": "Bo", "role": "editor"}, (403, 200, 200)),
    ("POST", "grant", {"who": "c1", "role": "viewer"}, (403, 409, 0)),
    ("POST", "kick", {"who": "c1"}, (403, 409, 0)),
    ("POST", "lock", {"on": False}, (403, 403, 200)),
    ("POST", "approve", {"on": False}, (403, 403, 200)),
    ("POST", "admit", {"who": "c99"}, (403, 403, 409)),
    ("POST", "refuse", {"who": "c99"}, (403, 403, 409)),
    ("POST", "share", {"role": "viewer"}, (403, 200, 200)),
    ("POST", "share", {"role": "editor"}, (403, 403, 200)),
    ("POST", "share", {"role": "owner"}, (403, 403, 200)),
    ("GET", "links", {}, (403, 403, 200)),
    ("POST", "revoke", {"link": "l99"}, (403, 403, 409)),
    ("GET", "recordings", {}, (403, 200, 200)),
    ("POST", "record", {"on": False}, (403, 409, 409)),
    ("POST", "marker", {"label": "x"}, (403, 409, 409)),
    ("GET", "audit", {}, (403, 403, 200)),
    ("GET", "status", {}, (403, 403, 200)),
    ("POST", "link", {}, (403, 403, 200)),
    ("POST", "environment", {}, (404, 404, 404)),
    ("POST", "run", {"text": "id"}, (404, 404, 404)),
]

BESIDE = [
    ("recordings/demo.cast", (403, 200, 200)),
    ("replay?name=demo.cast", (403, 200, 200)),
    ("proxy/9/", (403, 502, 502)),  # nobody listens there
]


async def test_what_each_role_may_ask_of_the_api_and_of_the_other_paths(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    bridge = start_bridge("--proxy", "9", "--record-dir", str(tmp_path))
    (tmp_path / "demo.cast").write_text('{"version": 2, "width": 80, "height": 24}\n')
    async with session_of(bridge) as owners, guest(bridge, "viewer", name="Bo") as other:
        await PageClient.join(owners, bridge)
        bo = await PageClient.join(other, bridge)
        for number, role in enumerate(("viewer", "editor", "token")):
            async with guest(bridge, role) as session:
                client = await PageClient.join(session, bridge)
                for method, path, body, expected in RULES:
                    if not expected[number]:
                        continue
                    own = {"who": client.joined["id"]} if body.get("who") == "OWN" else {}
                    asked: dict[str, Any] = {"json": {**body, **own}} if method == "POST" else {}
                    answer = await session.request(method, f"{bridge.address}api/{path}", **asked)
                    text = await answer.text()
                    assert answer.status == expected[number], (role, path, body, text)
                    assert bridge.token not in text
                for path, allowed in BESIDE:
                    answer = await session.get(f"{bridge.address}{path}")
                    assert answer.status == allowed[number], (role, path)
                await client.close()
        roles = [e[1]["role"] for e in bo.events if e[0] == "role"]
        assert roles == ["editor"], "once by the editor; the owner found it done"


async def test_a_grant_goes_with_the_person_and_ends_with_it(start_bridge: StartBridge) -> None:
    bridge = start_bridge()
    async with guest(bridge, "viewer", name="Vi") as session, session_of(bridge) as owners:
        owner = await PageClient.join(owners, bridge)
        viewer = await PageClient.join(session, bridge)
        await asyncio.to_thread(bridge.control.grant, "Vi")
        await eventually(
            lambda: [e[0] for e in viewer.events if e[0] == "role"] == ["role"], "told"
        )
        await viewer.echo()
        answer = await session.get(f"{bridge.address}api/recordings")
        assert answer.status == 200, "the credential has the role, too"
        await viewer.close()
        again = await PageClient.join(session, bridge)
        assert again.joined["role"] == "editor"
        await asyncio.to_thread(bridge.control.grant, "Vi", "viewer")
        await again.type("echo la''te\r")
        await owner.echo()
        assert b"late" not in owner.output
        assert (await session.get(f"{bridge.address}api/recordings")).status == 403
        third = await PageClient.join(session, bridge)
        assert third.joined["role"] == "viewer"


async def test_a_revoked_link_ends_what_came_by_it_at_once(start_bridge: StartBridge) -> None:
    bridge = start_bridge()
    link = await asyncio.to_thread(bridge.control.share, "editor", uses=3)
    token = await open_link(bridge, link.url)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        client = await PageClient.join(session, bridge)
        console = await session.ws_connect(f"{bridge.address}colab/tty")
        await client.echo()
        await asyncio.to_thread(bridge.control.revoke, link.id)
        await eventually(lambda: client.is_closed, "the page's connection ends")
        endings = [e[1]["reason"] for e in client.events if e[0] == "exit"]
        assert endings == ["removed"]
        with suppress(ConnectionError):  # aiohttp answers the goodbye of who has gone already
            while (message := await console.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert message.type is aiohttp.WSMsgType.CLOSE
        answer = await session.get(tty(bridge, "EIO=4&transport=polling"))
        assert answer.status == 401
    with pytest.raises(AssertionError, match="revoked"):
        await open_link(bridge, link.url)
    other = await token_of(bridge, "viewer")
    assert other


async def test_the_time_of_a_link_is_the_time_of_its_guests(start_bridge: StartBridge) -> None:
    bridge = start_bridge()
    async with guest(bridge, "viewer", life_s=3) as session, session_of(bridge) as owners:
        owner = await PageClient.join(owners, bridge)
        viewer = await PageClient.join(session, bridge)
        await eventually(lambda: viewer.is_closed, "the guest's time is over")
        assert [e[1]["reason"] for e in viewer.events if e[0] == "exit"] == ["removed"]
        assert (await session.get(f"{bridge.address}api/people")).status == 401
        await owner.echo()


async def test_who_has_not_been_let_in_reaches_nothing_beside_the_session_either(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    (tmp_path / "demo.cast").write_text('{"version": 2, "width": 80, "height": 24}\n')
    bridge = start_bridge("--approve", "--proxy", "9", "--record-dir", str(tmp_path))
    paths = ["api/people", "recordings/demo.cast", "replay?name=demo.cast", "proxy/9/"]
    async with guest(bridge, "editor", name="Eve") as session:

        async def statuses() -> list[int]:
            return [(await session.get(f"{bridge.address}{path}")).status for path in paths]

        assert await statuses() == [403] * 4
        console = await session.ws_connect(tty(bridge, OPEN), max_msg_size=0)
        await console.send_str("40")
        row = await eventually_waiting(bridge)
        assert await statuses() == [403] * 4
        await asyncio.to_thread(bridge.control.admit, row)
        while not (await console.receive_str()).startswith('42["data"'):
            pass
        assert await statuses() == [200, 200, 200, 502]
        await asyncio.to_thread(bridge.control.lock)
        assert await statuses() == [200, 200, 200, 502], "who is in may go on"
    async with guest(bridge, "editor") as other:
        assert (await other.get(f"{bridge.address}api/people")).status == 403


async def eventually_waiting(bridge: RunningBridge) -> str:
    """Wait until somebody waits; return the id."""
    found: list[str] = []

    def look() -> bool:
        found[:] = [row.id for row in bridge.control.people().people if row.state == "waiting"]
        return bool(found)

    await eventually(look, "somebody waits")
    return found[0]
