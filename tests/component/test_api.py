"""The operations of a bridge: one table for the control socket and for `api/`, rights first."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ttybridge.client.control import Control
from ttybridge.core.access import Principal
from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.errors import TtyBridgeError
from ttybridge.model import Role
from ttybridge.web.api import MAX_BODY_BYTES, Api
from ttybridge.web.control import OWNER, control_socket

BASE = "/below"
ALL, EDITORS, OWNERS = "oev", "oe", "o"

MAY = {
    ("GET", "people"): ALL,
    ("POST", "grant"): EDITORS,
    ("POST", "kick"): EDITORS,
    ("POST", "admit"): OWNERS,
    ("POST", "refuse"): OWNERS,
    ("POST", "lock"): OWNERS,
    ("POST", "approve"): OWNERS,
    ("POST", "share"): EDITORS,
    ("GET", "links"): OWNERS,
    ("POST", "revoke"): OWNERS,
    ("GET", "recordings"): EDITORS,
    ("POST", "record"): EDITORS,
    ("POST", "marker"): EDITORS,
    ("GET", "audit"): OWNERS,
    ("GET", "status"): OWNERS,
    ("POST", "link"): OWNERS,
    ("POST", "stop"): OWNERS,
}
"""Who may ask for what on the web, by the first letters of the roles; written a second time."""

BODIES: dict[str, dict[str, object]] = {
    "grant": {"who": " c7 ", "role": "editor"},
    "kick": {"who": "Ada"},
    "admit": {"who": "c7"},
    "refuse": {"who": "c7"},
    "lock": {"on": True},
    "approve": {"on": False},
    "share": {"role": "viewer"},
    "revoke": {"link": "l3"},
    "record": {"on": True},
    "marker": {"label": "tests pass"},
    "link": {},
    "stop": {},
}
"""A body that is right, for each POST."""


class Asked:
    """A bridge that notes what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.answer: dict[str, object] = {}

    def _note(self, *call: object) -> dict[str, object]:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return self.answer or {"done": call[0]}

    def __getattr__(self, name: str) -> Any:
        if name in ("people", "links", "recordings", "audit", "status"):
            return lambda actor: self._note(name, actor)

        async def ask(actor: Actor, *args: object, **named: object) -> Any:
            answer = self._note(name, actor, *args, named)
            return answer if name in ("share", "record", "stop_recording") else ""

        return ask

    def link(self, actor: Actor, **named: object) -> str:
        self._note("link", actor, named)
        return "http://h/?link=text"

    def serve_host(self, actor: Actor, url: str) -> None:
        self._note("serve_host", actor, url)

    async def update_environment(
        self, actor: Actor, changes: Mapping[bytes, bytes | None]
    ) -> tuple[int, int, list[str]]:
        self._note("update_environment", actor, changes)
        return 1, 0, []

    @contextlib.asynccontextmanager
    async def run(self, actor: Actor, text: str) -> AsyncIterator[AsyncIterator[str | int]]:
        self._note("run", actor, text)

        async def output() -> AsyncIterator[str | int]:
            yield "out"
            yield 3

        yield output()

    def stop(self, *_actor: Actor) -> None:
        self.calls.append(("stop",))


@contextlib.asynccontextmanager
async def api(asked: Asked | None) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve the API; the header X-Role says who asks, X-Id by which credential."""

    def principal_of(request: web.BaseRequest) -> Principal:
        role = Role(request.headers.get("X-Role", "owner"))
        return Principal(request.headers.get("X-Id", "token"), role, "header", name="By link")

    entrance = Api(principal_of, lambda credential: {"session-1": "Ada"}.get(credential, ""))
    entrance.operations = asked
    app = web.Application()
    entrance.install(app.router, BASE)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}{BASE}/api/") as http:
            yield http
    finally:
        await runner.cleanup()


async def ask(
    http: aiohttp.ClientSession, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes | str) or body is None else json.dumps(body)
    headers.setdefault("Content-Type", "application/json")
    async with http.request(method, path, data=data, headers=headers) as answer:
        assert answer.content_type == "application/json", await answer.text()
        return answer.status, await answer.json()


async def test_each_role_may_ask_for_its_part_and_rights_come_before_the_body() -> None:
    asked = Asked()
    async with api(asked) as http:
        for (method, path), letters in MAY.items():
            for role in Role:
                asked.calls.clear()
                may = role.value[0] in letters
                if may:
                    status, _ = await ask(
                        http, method, path, BODIES.get(path), **{"X-Role": role.value}
                    )
                    assert status == 200, (path, role)
                    continue
                # Were the body looked at first, this would be a 400.
                status, told = await ask(http, method, path, "{", **{"X-Role": role.value})
                assert (status, asked.calls) == (403, []), (path, role)
                assert f"{role.value} may not" in told["error"]
                assert told["hint"]


async def test_what_is_the_machines_own_is_not_on_the_web() -> None:
    asked = Asked()
    async with api(asked) as http:
        for path in ("hosts", "environment", "run", "nothing", "people/", ""):
            status, told = await ask(http, "POST", path, {"url": "https://h", "text": "id"})
            assert (status, bool(told["error"])) == (404, True), path
        assert (await ask(http, "POST", "people"))[0] == 405
        async with http.get("kick") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert asked.calls == []


async def test_who_asks_is_known_by_the_credential_and_not_by_what_many_share() -> None:
    asked = Asked()
    async with api(asked) as http:
        for session_id in ("token", "none", "session-1", "session-2"):
            await ask(http, "GET", "people", **{"X-Id": session_id, "X-Role": "editor"})
    actors = [actor for _, actor in asked.calls]
    assert [(actor.credential, actor.name) for actor in actors] == [
        ("", "By link"), ("", "By link"), ("session-1", "Ada"), ("session-2", "By link"),
    ]  # fmt: skip
    assert {(actor.role, actor.entrance) for actor in actors} == {(Role.EDITOR, Entrance.API)}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("grant", [], "JSON object"),
        ("grant", "{", "JSON object"),
        ("grant", "[" * 60_000, "JSON object"),
        ("grant", {"role": "editor"}, "who is missing"),
        ("grant", {"who": 7, "role": "editor"}, "who is missing"),
        ("grant", {"who": "c" * 201, "role": "editor"}, "who is longer"),
        ("grant", {"who": "c7"}, "role is"),
        ("grant", {"who": "c7", "role": "root"}, "role is"),
        ("grant", {"who": "c7", "role": ["editor"]}, "role is"),
        ("lock", {}, "on is true or false"),
        ("lock", {"on": 1}, "on is true or false"),
        ("approve", {"on": "yes"}, "on is true or false"),
        ("share", {"role": "guest"}, "role is"),
        ("share", {"name": 1}, "name is a text"),
        ("share", {"lifeS": "1h"}, "lifeS is"),
        ("share", {"lifeS": True}, "lifeS is"),
        ("share", {"lifeS": 0}, "lifeS is"),
        ("share", {"lifeS": 30 * 86400 + 1}, "lifeS is"),
        ("share", '{"lifeS": NaN}', "lifeS is"),
        ("share", {"uses": 0}, "uses is"),
        ("share", {"uses": 1.0}, "uses is"),
        ("revoke", {"link": ""}, "link is missing"),
        ("record", {}, "on is true or false"),
        ("record", {"on": True, "format": "gif"}, "format is"),
        ("record", {"on": True, "format": ["v2"]}, "format is"),
        ("record", {"on": True, "input": "no"}, "input is"),
        ("record", {"on": True, "file": "/tmp/x"}, "on the bridge's machine only"),
        ("marker", {"label": " "}, "label is missing"),
        ("link", {"frame": "yes"}, "frame is"),
    ],
)  # fmt: skip
async def test_a_wrong_body_gets_a_sentence(path: str, body: object, says: str) -> None:
    asked = Asked()
    async with api(asked) as http:
        status, told = await ask(http, "POST", path, body)
    assert (status, asked.calls) == (400, [])
    assert says in told["error"]


async def test_what_another_site_can_send_without_asking_changes_nothing() -> None:
    asked = Asked()
    simple = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a")
    async with api(asked) as http:
        for content_type in simple:
            status, told = await ask(
                http, "POST", "kick", {"who": "c7"}, **{"Content-Type": content_type}
            )
            assert (status, "application/json" in told["error"]) == (415, True)
    assert asked.calls == []


async def test_a_body_has_a_limit_even_where_nobody_says_its_length() -> None:
    asked = Asked()
    body = json.dumps({"who": "c7", "more": "x" * MAX_BODY_BYTES}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async with api(asked) as http:
        assert (await ask(http, "POST", "kick", body))[0] == 413
        headers = {"Content-Type": "application/json"}
        async with http.post("kick", data=pieces(), headers=headers) as answer:
            assert answer.status == 413
        fits = json.dumps({"who": "c7", "more": "x" * (MAX_BODY_BYTES - 100)})
        assert (await ask(http, "POST", "kick", fits))[0] == 200
    assert len(asked.calls) == 1


async def test_defaults_depend_on_the_role_and_names_are_cleaned() -> None:
    asked = Asked()
    async with api(asked) as http:
        for body in ({}, {"role": "editor", "name": " A\x1b[1m\nda ", "unknown": 1}, {"uses": 7}):
            await ask(http, "POST", "share", body)
        await ask(http, "POST", "record", {"on": True, "input": True, "format": "v3"})
        await ask(http, "POST", "record", {"on": False})
    shared = [(call[2], call[3]) for call in asked.calls if call[0] == "share"]
    day = {"life_s": 86400.0}
    assert shared == [
        (Role.VIEWER, day | {"name": "", "uses": None}),
        (Role.EDITOR, day | {"name": "A[1m da", "uses": 1}),
        (Role.VIEWER, day | {"name": "", "uses": 7}),
    ]
    record, stop = asked.calls[-2:]
    assert record[2] == {"file": None, "format": "v3", "with_input": True}
    assert stop[0] == "stop_recording"


async def test_failures_are_answers_in_words(caplog: pytest.LogCaptureFixture) -> None:
    asked = Asked()
    async with api(asked) as http:
        asked.error = TtyBridgeError("Nobody here is 'x'.", hint="Look.")
        told = await ask(http, "POST", "kick", {"who": "x"})
        assert told == (409, {"error": "Nobody here is 'x'.", "hint": "Look."})
        asked.error = RuntimeError("inside")
        status, answer = await ask(http, "POST", "kick", {"who": "x"})
        assert (status, "inside" in str(answer)) == (500, False)
    assert "inside" in caplog.text
    async with api(None) as http:
        assert (await ask(http, "GET", "people"))[0] == 503
        # Not even whether it has started is for those who may not ask.
        assert (await ask(http, "GET", "audit", **{"X-Role": "viewer"}))[0] == 403


async def test_the_control_socket_asks_the_same_as_the_owner(tmp_path: Path) -> None:
    asked = Asked()
    web_calls = Asked()
    async with control_socket(tmp_path, asked) as path, api(web_calls) as on_web:
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession("http://bridge/", connector=connector) as http:
            for method, name in MAY:
                on_socket = await ask(http, method, name, BODIES.get(name))
                assert on_socket == await ask(on_web, method, name, BODIES.get(name))
                assert on_socket[0] == 200
            # Programs of this user need not say what they send.
            body = {"on": True, "file": "/tmp/a.cast"}
            assert (await ask(http, "POST", "record", body, **{"Content-Type": "a/b"}))[0] == 200
            assert asked.calls[-1][2]["file"] == Path("/tmp/a.cast")
            for file in ("a.cast", "/a\0b", "", 7):
                told = await ask(http, "POST", "record", {"on": True, "file": file})
                assert told[0] == 400, file
            assert (await ask(http, "GET", "nothing"))[0] == 404
            async with http.post("run", data='{"text": "id"}') as answer:
                lines = [json.loads(line) for line in (await answer.text()).splitlines()]
            assert lines == [{"output": "out"}, {"status": 3}]
    actors = {call[1] for call in asked.calls if call[0] != "stop"}
    assert actors == {OWNER}
    assert (OWNER.role, OWNER.entrance) == (Role.OWNER, Entrance.CONTROL)


async def test_answers_that_no_bridge_gives_are_said_to_be_strange(tmp_path: Path) -> None:
    asked = Asked()
    door: dict[str, object] = {"locked": False, "approve": False}
    strange: tuple[dict[str, object], ...] = (
        {},
        {"people": 7, "links": 7, "recordings": 7, "events": [7], "recording": 7} | door,
        {"people": [7], "links": [7], "recordings": {}, "events": None, "recording": "x"},
    )
    async with control_socket(tmp_path, asked) as path:
        control = Control(path)
        for call in (
            control.people, control.links, control.recordings, control.audit,
            control.share, control.stop_recording, control.status,
        ):  # fmt: skip
            for answer in strange:
                asked.answer = answer
                with pytest.raises(TtyBridgeError, match="not understood"):
                    await asyncio.to_thread(call)
        asked.answer = {"people": [], "more": 1}
        assert await asyncio.to_thread(control.answer, "people") == asked.answer
        await asyncio.to_thread(control.marker, "x")
