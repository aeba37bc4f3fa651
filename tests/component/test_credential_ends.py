"""When a credential ends, so does everything that came in by it, and nothing else."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.component.doorway import BEARER as AS_TOKEN
from tests.component.doorway import DAY_S, Doorway, doorway
from tests.component.proxied_app import App
from tests.conftest import DEADLINE_S, ROOT, Tmux, clean_environment
from tests.e2e.hostile import eventually
from tests.e2e.ssh import SSHD
from ttybridge.core import access
from ttybridge.core.access import BEARER
from ttybridge.core.links import Link
from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.core.ssh_keys import parse_entry
from ttybridge.model import Role

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
HELLO = '40{"protocol":1,"cols":80,"rows":24}'
ENDS_S = 5.0
"""Time in which everything has ended, in seconds."""

OWNER = Actor(Role.OWNER, "an owner", Entrance.CONTROL)

RECORDING, LINE, LINES = "long.cast", b'[0.0, "o", "' + b"x" * 4000 + b'"]\n', 6000
"""A recording that fits into no buffer of a connection: 24 MB."""

Socket = aiohttp.ClientWebSocketResponse


@dataclass
class Visit:
    """What one credential has open, of every kind."""

    door: Doorway
    app: App
    cookie: str
    sockets: dict[str, Socket] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    sid: str = ""
    download: aiohttp.ClientResponse | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What a page of ours sends."""
        return {
            "Cookie": f"ttybridge-{self.door.port}={self.cookie}",
            "Origin": f"http://{self.door.own}",
        }

    async def open(self, session: aiohttp.ClientSession) -> None:
        """Open one of each kind, and see that it works."""
        own = f"http://{self.door.own}"
        addresses = {
            "the page": f"{own}/tty/?EIO=4&transport=websocket",
            "a console": f"{own}/colab/tty",
            "an app": f"{own}/proxy/{self.app.port}/socket",
            "ssh": f"{own}/colab/ssh",
        }
        for name, address in addresses.items():
            headers = self.headers | ({"X-Colab-Ssh-Pubkey": KEY} if name == "ssh" else {})
            self.sockets[name] = await session.ws_connect(address, headers=headers)
        await self.sockets["the page"].send_str(HELLO)
        await self.until("the page", lambda message: '"joined"' in str(message.data))
        await self.until("a console", lambda message: "data" in str(message.data))
        await self.check_app("before")
        await self.until("ssh", lambda message: bytes(message.data).startswith(b"SSH-2.0"))
        polling = f"{own}/tty/?EIO=4&transport=polling"
        async with session.get(polling, headers=self.headers) as answer:
            self.sid = json.loads((await answer.text())[1:])["sid"]
        polling += f"&sid={self.sid}"
        async with session.post(polling, headers=self.headers, data=HELLO) as answer:
            assert answer.status == 200
        self.download = await session.get(
            f"{own}/recordings/{RECORDING}",
            headers={**self.headers, "Accept-Encoding": "identity"},
        )
        assert await self.download.content.readline() == LINE
        self._start("polling", self._poll(session, polling))
        for name in ("the page", "a console", "ssh"):
            self._start(name, self._read(name))

    async def until(self, name: str, condition: Callable[[aiohttp.WSMessage], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition(message := await self.sockets[name].receive()):
                assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), name

    async def check_app(self, word: str) -> None:
        """See that the app answers."""
        await self.sockets["an app"].send_str(word)
        assert (await self.sockets["an app"].receive(DEADLINE_S)).data == word[::-1]

    async def check_lives(self) -> None:
        """See that all of it goes on."""
        assert self.ended == set()
        await self.check_app("after")
        assert self.sid in self.door.entrances.events.engine.connections

    async def check_download(self) -> None:
        """See that the download goes on to its end."""
        assert self.download is not None
        assert len(await self.download.read()) == (LINES - 1) * len(LINE)

    async def close(self) -> None:
        if self.download is not None:
            self.download.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for socket in self.sockets.values():
            await socket.close()

    async def check_ends(self) -> None:
        """See that all of it ends."""
        self._start("an app", self._read("an app"))
        everything = {*self.sockets, "polling"}
        await eventually(lambda: self.ended == everything, f"all ends: {self.ended}", ENDS_S)
        assert self.download is not None
        with pytest.raises(aiohttp.ClientError):
            await self.download.read()
        connections = self.door.entrances.events.engine.connections
        await eventually(lambda: self.sid not in connections, "polling ends", 2 * ENDS_S)

    def _start(self, name: str, work: Awaitable[None]) -> None:
        async def run() -> None:
            with suppress(aiohttp.ClientError, ConnectionError):
                await work
            self.ended.add(name)

        self.tasks.append(asyncio.create_task(run()))

    async def _read(self, name: str) -> None:
        async for message in self.sockets[name]:
            if message.data == "2":
                await self.sockets[name].send_str("3")
            elif message.type is aiohttp.WSMsgType.TEXT and message.data.startswith('42["ping"'):
                await self.sockets[name].send_str(message.data.replace("ping", "pong"))

    async def _poll(self, session: aiohttp.ClientSession, address: str) -> None:
        while True:
            async with session.get(address, headers=self.headers) as answer:
                if answer.status != 200:
                    assert answer.status in (400, 401)
                    return
                if (await answer.text()) == "2":
                    async with session.post(address, headers=self.headers, data="3"):
                        pass


async def logout(door: Doorway, visit: Visit, _link: Link) -> None:
    line = door.line(visit.cookie)
    assert (await door.ask("POST", "/logout", line, door.origin)).status == 303


async def revoke(door: Doorway, _visit: Visit, link: Link) -> None:
    await door.serving.revoke_link(link.id)


async def kick(door: Doorway, visit: Visit, _link: Link) -> None:
    own = door.id_of(visit.cookie)
    here = [a for a in door.hub.attachments if a.person.credential == own]
    door.hub.people.kick(here[0].id, OWNER)


async def wait_for_the_links_end(door: Doorway, visit: Visit, link: Link) -> None:
    """Nothing: its time comes."""


WAYS = [logout, revoke, kick, wait_for_the_links_end]
LIFE_S = 4.0


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    await app.start()
    yield app
    await app.stop()


needs_ssh = [
    pytest.mark.ssh,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="no OpenSSH"),
]


@pytest.fixture
async def door(
    tmux: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: App
) -> AsyncIterator[Doorway]:
    options = {"ssh": True, "ssh_port": 0, "ssh_key": (parse_entry(KEY, "--ssh-key"),)}
    ports = (range(app.port, app.port + 1),)
    (tmp_path / RECORDING).write_bytes(LINE * LINES)
    async with doorway(tmux, tmp_path, monkeypatch, proxy=ports, **options) as made:
        yield made


pytestmark = needs_ssh


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_credentials_end_ends_what_came_by_it_and_nothing_else(
    door: Doorway, app: App, way: Callable[[Doorway, Visit, Link], Awaitable[None]]
) -> None:
    life_s = LIFE_S if way is wait_for_the_links_end else DAY_S
    shared = door.serving.share("/", Role.EDITOR, name="", life_s=life_s, uses=None)
    link = door.credentials.links.get(shared.id)
    assert link is not None
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        )
        visit = Visit(door, app, door.cookie(Role.EDITOR, link))
        other = Visit(door, app, door.cookie(Role.EDITOR))
        for each in (visit, other):
            stack.push_async_callback(each.close)
            await each.open(session)
        await visit.check_lives()
        await way(door, visit, link)
        await visit.check_ends()
        await other.check_lives()
        await other.check_download()
        line = door.line(visit.cookie)
        assert (await door.ask("GET", "/api/people", line, door.origin)).status == 401
        line = door.line(other.cookie)
        assert (await door.ask("GET", "/api/people", line, door.origin)).status == 200


async def test_a_cookie_that_gets_too_old_ends_what_came_by_it(
    door: Doorway, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        )
        age = access.COOKIE_MAX_AGE_S - LIFE_S
        visit = Visit(door, app, door.cookie(Role.OWNER, age=age))
        other = Visit(door, app, door.cookie(Role.OWNER))
        for each in (visit, other):
            stack.push_async_callback(each.close)
            await each.open(session)
        await visit.check_lives()
        await visit.check_ends()
        await other.check_lives()
        await other.check_download()
        line = door.line(visit.cookie)
        assert (await door.ask("GET", "/", line)).status == 401


async def test_who_leaves_in_the_middle_of_a_download_leaves_nothing(
    door: Doorway, caplog: pytest.LogCaptureFixture
) -> None:
    underway = door.entrances.recordings._underway
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    head = f"GET /recordings/{RECORDING} HTTP/1.1\r\nHost: {door.own}\r\n{AS_TOKEN}\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readline()).split()[1] == b"200"
    assert len(underway) == 1
    writer.transport.abort()
    await eventually(lambda: len(underway) == 0, "the download ends", ENDS_S)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_revoked_link_ends_a_login_of_ssh_over_the_web_and_no_other(
    door: Doorway, tmp_path: Path
) -> None:
    guests = [door.link(Role.EDITOR) for _ in range(2)]
    logins = []
    for number, link in enumerate(guests):
        token = door.cookie(Role.EDITOR, link, place=BEARER)
        argv = ["ssh", f"http://{door.own}/?token={token}", f"touch in-{number}; exec sleep 1000"]
        home = tmp_path / f"home-{number}"
        home.mkdir()
        logins.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ttybridge", *argv),
                env=clean_environment(HOME=str(home), PYTHONPATH=str(ROOT)),
                cwd=home,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        )
    try:
        for number in range(2):
            file = tmp_path / f"in-{number}"
            await eventually(file.exists, f"login {number}", 2 * DEADLINE_S)
        before = time.monotonic()
        await door.serving.revoke_link(guests[0].id)
        async with asyncio.timeout(DEADLINE_S):
            assert await logins[0].wait() != 0
        assert time.monotonic() - before < 2 * ENDS_S
        assert logins[1].returncode is None
        assert len(door.entrances.ssh._open) == 1
        await door.serving.revoke_link(guests[1].id)
        async with asyncio.timeout(DEADLINE_S):
            assert await logins[1].wait() != 0
    finally:
        for login in logins:
            with suppress(ProcessLookupError):
                login.kill()
            await login.communicate()
