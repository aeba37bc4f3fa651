"""Joining, leaving and stopping at the Socket.IO entrance, when the connection ends in between."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.conftest import DEADLINE_S, StartBridge
from tests.e2e.hostile import HELLO, PageClient, eventually, session_of, tty
from ttybridge.adapters.pty import Pty
from ttybridge.core.access import Principal
from ttybridge.model import ClientId, Role
from ttybridge.sessions.direct import DirectTerminal
from ttybridge.sessions.hub import Hub
from ttybridge.web.engine import Engine
from ttybridge.web.events import Events

POLLING = "EIO=4&transport=polling"


class Entrance:
    """The entrance `tty/` to a shell that ends with status 3 at the first line it reads."""

    def __init__(self, hub: Hub, events: Events, address: str) -> None:
        self.hub, self.events, self.engine = hub, events, events.engine
        self._address = address
        self._session = aiohttp.ClientSession()

    async def close(self) -> None:
        """Close the client's side."""
        await self._session.close()

    async def poll(self, sid: str = "") -> str:
        """Ask once; open a connection without `sid`."""
        more = f"&sid={sid}" if sid else ""
        async with self._session.get(f"{self._address}?{POLLING}{more}") as answer:
            return await answer.text()

    async def post(self, sid: str, body: str) -> None:
        """Send packets."""
        address = f"{self._address}?{POLLING}&sid={sid}"
        async with self._session.post(address, data=body) as answer:
            assert answer.status == 200

    async def open(self) -> str:
        """Open a connection; return its id."""
        return str(json.loads((await self.poll())[1:])["sid"])

    async def join(self, hello: str = HELLO) -> tuple[str, dict[str, object], str]:
        """Join; return the connection's id, the event `joined`, and what came with it."""
        sid = await self.open()
        await self.post(sid, hello)
        heard = await self.until(sid, '42["joined",')
        text = heard.split('42["joined",')[1]
        joined, _ = json.JSONDecoder().raw_decode(text)
        return sid, joined, heard

    async def until(self, sid: str, text: str) -> str:
        """Poll until a text has come; return all that has."""
        heard = ""
        async with asyncio.timeout(DEADLINE_S):
            while text not in heard:
                heard += await self.poll(sid)
        return heard


@asynccontextmanager
async def entrance() -> AsyncIterator[Entrance]:
    """Serve the entrance on a free port."""
    command = DirectTerminal(
        Pty.spawn,
        ["sh", "-c", "read line; exit 3"],
        environment=dict(os.environb),
        cwd=str(Path.cwd()),
        log_bytes=1_000_000,
        waits=False,
    )
    hub = Hub(command, max_clients=4, resume_s=60, window_bytes=500_000, make_key=lambda: "key")
    await hub.start()
    owner = Principal(id="somebody", role=Role.OWNER, via="none")
    engine = Engine(
        join_timeout_s=10, principal_of=lambda _request: owner, address_of=lambda _request: ""
    )
    events = Events(hub, engine, title="a shell", version="0", recording=lambda: None)
    app = web.Application()
    app.router.add_route("*", "/tty/", engine.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made = Entrance(hub, events, f"http://127.0.0.1:{runner.addresses[0][1]}/tty/")
    try:
        yield made
    finally:
        await made.close()
        await events.close()
        await engine.close()
        await runner.cleanup()
        await hub.close()


def coming_back(joined: dict[str, object]) -> dict[str, object]:
    """Return the `auth` of a client that comes back."""
    place = {"id": joined["id"], "key": joined["key"], "offset": 0}
    return {"protocol": 1, "cols": 80, "rows": 24, "resume": place}


async def test_a_place_is_kept_when_the_line_breaks_again_while_its_client_comes_back() -> None:
    async with entrance() as tty_entrance:
        hub, engine = tty_entrance.hub, tty_entrance.engine
        sid, joined, _ = await tty_entrance.join()
        engine.connections[sid].abort()
        await eventually(lambda: all(a.is_parked for a in hub.attachments), "the loss is noted")
        gone = engine.connections[await tty_entrance.open()]
        gone.abort()
        await eventually(lambda: not engine.connections, "the second line has broken, too")
        environ = {"ttybridge.connection": gone}
        await tty_entrance.events._on_connect("nobody", environ, coming_back(joined))
        assert [(a.id, a.is_parked) for a in hub.attachments] == [(joined["id"], True)]
        _, again, _ = await tty_entrance.join("40" + json.dumps(coming_back(joined)))
        assert (again["id"], again["resumed"]) == (joined["id"], True)


async def test_a_new_client_whose_line_breaks_while_it_joins_keeps_no_place() -> None:
    async with entrance() as tty_entrance:
        hub, engine = tty_entrance.hub, tty_entrance.engine
        gone = engine.connections[await tty_entrance.open()]
        gone.abort()
        await eventually(lambda: not engine.connections, "the line has broken")
        hello = {"protocol": 1, "cols": 80, "rows": 24}
        await tty_entrance.events._on_connect("nobody", {"ttybridge.connection": gone}, hello)
        assert hub.attachments == []


async def test_a_client_that_has_got_the_end_leaves_though_its_line_breaks() -> None:
    async with entrance() as tty_entrance:
        sid, _, _ = await tty_entrance.join()
        connection = tty_entrance.engine.connections[sid]
        attachment = tty_entrance.hub.attachments[0]
        await tty_entrance.post(sid, '42["in",1,"x\\r"]')
        await tty_entrance.until(sid, '42["exit",{"exitCode":3')
        connection.abort()
        await eventually(lambda: not tty_entrance.engine.connections, "the line has broken")
        await eventually(lambda: not tty_entrance.hub.attachments, "its place is given up")
        assert not attachment.is_parked, "no place is kept for it"


async def test_a_client_that_lost_its_line_before_the_end_went_out_is_told_later() -> None:
    async with entrance() as tty_entrance:
        sid, joined, _ = await tty_entrance.join()
        attachment = tty_entrance.hub.attachments[0]
        assert attachment.id == ClientId(str(joined["id"]))
        await tty_entrance.post(sid, '42["in",1,"x\\r"]')
        connection = tty_entrance.engine.connections[sid]
        queue = tty_entrance.engine.sio.eio.sockets[sid].queue
        while '"exit"' not in str([p.data for p in queue._packets if p is not None]):
            if queue.qsize():  # take what stands before it, as a slow line does
                packet = queue.get_nowait()
                queue.task_done()
                assert '"exit"' not in str(packet.data)
            await asyncio.sleep(0)
        connection.abort()
        await eventually(lambda: attachment.is_parked, "the place is kept")
        again, told, heard = await tty_entrance.join("40" + json.dumps(coming_back(joined)))
        assert told["resumed"] is True
        if '"exit"' not in heard:
            await tty_entrance.until(again, '42["exit",{"exitCode":3')


async def test_a_polling_client_between_two_requests_learns_that_the_bridge_stops(
    start_bridge: StartBridge,
) -> None:
    bridge = start_bridge()
    async with session_of(bridge) as session:
        async with session.get(tty(bridge, POLLING)) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        address = tty(bridge, f"{POLLING}&sid={sid}")
        async with session.post(address, data=HELLO) as answer:
            assert answer.status == 200
        heard = ""
        while '"joined"' not in heard:
            async with session.get(address) as answer:
                heard = await answer.text()
        witness = await PageClient.join(session, bridge)
        bridge.process.send_signal(signal.SIGTERM)
        await eventually(lambda: any(e[0] == "exit" for e in witness.events), "the goodbye")
        async with session.get(address) as answer:
            assert '"reason":"closing"' in await answer.text()
        await witness.cut()
    assert bridge.wait() == 0
