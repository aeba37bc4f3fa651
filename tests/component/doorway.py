"""A whole bridge in the test's process, whose every entrance can be knocked at, byte by byte."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import DEADLINE_S, Tmux, clean_environment
from ttybridge.bridge import Bridge, Listener
from ttybridge.config import Config
from ttybridge.core.access import Credentials
from ttybridge.core.links import Link, Over
from ttybridge.core.throttle import Throttle
from ttybridge.model import Role, Secret
from ttybridge.sessions.hub import Hub
from ttybridge.web import app as app_module
from ttybridge.web import server
from ttybridge.web.app import Entrances
from ttybridge.web.security import Gate
from ttybridge.web.serving import Serving

TOKEN = "R7xk2-Qm9fLw0_ab.door"
DAY_S = 86400.0

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
BEARER = f"Authorization: Bearer {TOKEN}"


@dataclass
class Answer:
    """The answer to one request."""

    status: int
    head: str
    body: bytes


@dataclass
class Door:
    """A gate, and what is behind it."""

    port: int
    app: web.Application
    gate: Gate

    @property
    def own(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def credentials(self) -> Credentials:
        """What is accepted."""
        return self.gate._credentials

    # --- credentials ---------------------------------------------------------------------

    def link(self, role: Role, **options: Any) -> Link:
        """Make a link for a guest."""
        options = {"uses": None, "is_shared": True, "access_until": time.time() + DAY_S, **options}
        return self.credentials.links.issue(Link(role, time.time() + DAY_S, **options), time.time())

    def cookie(
        self, role: Role, link: Link | None = None, *, place: str = "", age: float = 0
    ) -> str:
        """Return the value of a fresh cookie; an editor's and a viewer's are guests'."""
        link = link or (None if role is Role.OWNER else self.link(role))
        return self.credentials.issue_cookie(role, time.time() - age, place or self.own, link=link)

    def admitted(self, role: Role) -> str:
        """Return the value of the cookie of a guest who has been let in; here, nobody waits."""
        return self.cookie(role)

    def id_of(self, value: str, place: str | None = None) -> str:
        """Return the id of a cookie's session."""
        found = self.credentials.check_cookie(value, time.time(), place)
        assert found is not None
        return found.id

    def logged_out(self) -> str:
        """Return the value of a cookie that was logged out."""
        value = self.cookie(Role.OWNER)
        self.credentials.revoke(self.id_of(value), time.time())
        return value

    def revoked(self) -> str:
        """Return the value of a cookie whose link was revoked."""
        link = self.link(Role.EDITOR)
        value = self.cookie(Role.EDITOR, link)
        self.credentials.revoke_link(link.id, time.time())
        return value

    def removed(self) -> str:
        """Return the value of a cookie whose holder was removed."""
        value = self.cookie(Role.EDITOR)
        self.credentials.end(self.id_of(value), time.time(), Over.REMOVED)
        return value

    def line(self, value: str) -> str:
        """Return a cookie's header line."""
        return f"Cookie: ttybridge-{self.port}={value}"

    @property
    def origin(self) -> str:
        """The header line of our own page."""
        return f"Origin: http://{self.own}"

    # --- requests ------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        path: str,
        *lines: str,
        hosts: tuple[str, ...] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send one request on a connection of its own, and read the head of the answer."""
        async with self.asked(method, path, *lines, hosts=hosts, body=body) as (answer, _reader):
            return answer

    @contextlib.asynccontextmanager
    async def asked(
        self,
        method: str,
        path: str,
        *lines: str,
        hosts: tuple[str, ...] | None = None,
        body: bytes = b"",
    ) -> AsyncIterator[tuple[Answer, asyncio.StreamReader]]:
        """Send a request; the connection is open as long as the context is."""
        head = [f"{method} {path} HTTP/1.1"]
        head += [f"Host: {host}" for host in ((self.own,) if hosts is None else hosts)]
        head += lines
        if body:
            head.append(f"Content-Length: {len(body)}")
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(DEADLINE_S):
                writer.write(("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body)
                first = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, content = int(first.split()[1]), b""
                sizes = [line for line in first.lower().split("\r\n") if "content-length:" in line]
                if sizes and method != "HEAD" and status != 101:
                    content = await reader.readexactly(int(sizes[0].split(":")[1]))
            yield Answer(status, first, content), reader
        finally:
            writer.close()


@dataclass
class Doorway(Door):
    """A bridge that runs, and all of its parts."""

    entrances: Entrances
    serving: Serving
    costly: list[str] = field(default_factory=list)
    """What happened in this process that a stranger must not be able to bring about."""

    @property
    def hub(self) -> Hub:
        """The session."""
        return self.entrances.events._hub

    def admitted(self, role: Role) -> str:
        """Return the value of the cookie of a guest who has been let in."""
        value = self.cookie(role)
        self.hub.people.door._known.add(self.id_of(value))
        return value

    # --- what it costs -------------------------------------------------------------------

    def footprint(self) -> dict[str, int]:
        """Return how much there is of everything that requests could make more of."""
        engine = self.entrances.events.engine
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return {
            "engine.io connections": len(engine.connections),
            "engine.io sockets": len(engine.sio.eio.sockets),
            "clients": len(self.hub.attachments),
            "waiting": len(self.hub.people.door.rows),
            "ssh": len(self.entrances.ssh._open),
            "proxied": len(self.entrances.proxy._underway),
            "consoles": len(self.entrances.colab._open),
            "children": len(children),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "tasks": len(asyncio.all_tasks()),
        }

    async def settled(self, start: dict[str, int], within_s: float = DEADLINE_S) -> None:
        """Wait until there is no more of anything than at the start."""
        until = time.monotonic() + within_s
        while more := {
            name: (start[name], now)
            for name, now in self.footprint().items()
            if name in start and now > start[name]
        }:
            assert time.monotonic() < until, (
                f"more than there was: {more} {sorted(map(_named, asyncio.all_tasks()))}"
            )
            await asyncio.sleep(0.01)


def _named(task: "asyncio.Task[Any]") -> str:
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", repr(coroutine))


_watched: list[Doorway] = []
"""Whose costs are noted now; an audit hook cannot be taken out again."""

COSTLY = (
    "open",
    "subprocess.Popen",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.exec",
    "pty.spawn",
)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    if event in COSTLY and not str(arguments[0]).startswith("/proc/"):
        _watched[0].costly.append(f"{event} {arguments[0]!r:.100}")
    elif event == "socket.connect" and arguments[1] != ("127.0.0.1", _watched[0].port):
        _watched[0].costly.append(f"{event} {arguments[1]!r:.100}")


sys.addaudithook(_note)


@contextlib.contextmanager
def watched(door: Doorway) -> Iterator[list[str]]:
    """Note files that are opened, processes that are started, and connections that are made."""
    door.costly.clear()
    _watched.append(door)
    try:
        yield door.costly
    finally:
        _watched.clear()


@contextlib.asynccontextmanager
async def doorway(
    tmux: Tmux, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[Doorway]:
    """Run a bridge in here; wrong tokens cost no time."""
    made: list[tuple[Gate, Entrances, web.Application]] = []
    right = app_module.make_app

    def make_app(gate: Gate, page: Any, entrances: Entrances, **more: Any) -> web.Application:
        app = right(gate, page, entrances, **more)
        made.append((gate, entrances, app))
        return app

    monkeypatch.setattr(server, "make_app", make_app)
    monkeypatch.setattr(Throttle, "failed", lambda *_: 0.0)
    config = Config(
        port=0,
        token=Secret(TOKEN),
        socket_path=tmux.socket,
        cwd=folder,
        record_dir=folder,
        audit_log="none",
        **options,
    )
    # A folder of its own for private files, too; a short one, for sockets.
    environment = clean_environment(HOME=str(folder), TMPDIR=str(tmux.socket.parent))
    snapshot = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
    listener = Listener(lambda _: None, lambda _: None, lambda _: None)
    async with Bridge(config, snapshot, listener, environment, lambda: None) as bridge:
        gate, entrances, app = made[0]
        (serving,) = (
            bridge._hub.people.holders[:1]
            if not config.ssh
            else [each for each in bridge._hub.people.holders if isinstance(each, Serving)]
        )
        assert isinstance(serving, Serving)
        door = Doorway(gate._policy.port, app, gate, entrances, serving)
        # With the first connection, Engine.IO starts a task that stays.
        await door.ask("GET", "/tty/?EIO=4&transport=websocket", BEARER, *UPGRADE)
        await door.settled({"engine.io connections": 0, "engine.io sockets": 0})
        yield door
