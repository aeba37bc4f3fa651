"""The commands and the API about people: real guests by real links, in a real session."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import DEADLINE_S, ROOT, RunningBridge, StartBridge, Tmux, clean_environment
from tests.e2e.raw_client import PageClient, eventually

LABEL = ("--label", "them")


class Cli:
    """`ttybridge` commands, as somebody on the bridge's machine gives them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._env = clean_environment(HOME=str(folder), PYTHONPATH=str(ROOT))

    async def run(self, *words: str, label: tuple[str, ...] = LABEL) -> tuple[int, str, str]:
        """Return the exit status and what was printed on stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ttybridge", *words, *label,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=self._env, cwd=self._folder,
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def __call__(self, *words: str) -> str:
        """Return what a command prints that has to succeed."""
        status, out, err = await self.run(*words)
        assert status == 0, (words, err)
        return out

    async def shows(self, text: str, *words: str) -> str:
        """Return what a command prints as soon as that has a text."""
        async with asyncio.timeout(DEADLINE_S):
            while text not in (shown := await self(*words)):
                pass
        return shown

    async def refused(self, *words: str) -> str:
        """Return what a command says that has to fail."""
        status, out, err = await self.run(*words)
        assert (status, out) == (1, ""), words
        assert "Traceback" not in err
        return err


class Guest(PageClient):
    """Somebody who came by a link, with the token that it was exchanged for."""

    def __init__(self) -> None:
        super().__init__()
        self.address = self.token = ""

    @classmethod
    async def come(cls, bridge: RunningBridge, link: str, name: str = "") -> "Guest":
        """Open a link and the connection, and return what there is then."""
        guest = cls()
        guest.address = bridge.address
        async with aiohttp.ClientSession(headers={"Accept": "application/json"}) as http:
            form = {"link": link.partition("?link=")[2]}
            async with http.post(f"{bridge.address}login", data=form) as answer:
                assert answer.status == 200, await answer.text()
                guest.token = (await answer.json())["token"]
        await guest.connect(guest, {"protocol": 1, "cols": 90, "rows": 20, "name": name})
        return guest

    async def is_in(self) -> "Guest":
        """Wait for the place in the session."""
        await eventually(lambda: self.joined, "`joined`")
        return self

    @property
    def id(self) -> str:
        """The id of the client."""
        return str(self.joined["id"])

    async def has_role(self, role: str) -> None:
        """Wait until the client is told that it has a role."""
        await eventually(lambda: [each["role"] for each in self.named("role")][-1:] == [role], role)

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the HTTP API."""
        return await ask(self.address, self.token, method, path, body)


Come = Callable[..., Awaitable[Guest]]


@pytest.fixture
async def come() -> AsyncIterator[Come]:
    """Have guests come by links: `await come(bridge, link, name=…)`; they go after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def one(bridge: RunningBridge, link: str, name: str = "") -> Guest:
            guest = await Guest.come(bridge, link, name)
            return await stack.enter_async_context(guest)

        yield one


async def ask(
    address: str, token: str, method: str, path: str, body: object = None
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, f"{address}api/{path}", json=body) as answer,
    ):
        return answer.status, await answer.json()


async def test_people_come_get_the_keyboard_lose_it_and_go(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path, come: Come
) -> None:
    bridge = start_bridge(*LABEL, "--record-dir", str(tmp_path / "casts"))
    cli = Cli(tmp_path)
    assert await cli("who") == "Nobody is here.\n"

    status, link, told = await cli.run("share", "--name", "Ada")
    assert (status, link.startswith(f"{bridge.address}?link=")) == (0, True)
    assert "For Ada, to watch: any number of browsers. Ends in 24h, with everybody" in told
    assert "Works on this machine only." in told
    assert "ttybridge revoke l1 --label them" in told
    ada_link = link.strip()
    ada = await (await come(bridge, ada_link, name="Mallory")).is_in()
    (row,) = json.loads(await cli("who", "--json"))["people"]
    wanted: dict[str, object] = {
        "id": ada.id,
        "name": "Ada",
        "role": "viewer",
        "given": "viewer",
        "via": "page",
    }
    wanted |= {"state": "here", "link": "l1", "hand": False}
    assert {name: row[name] for name in wanted} == wanted

    await ada.emit("hand", True)
    grant = f"ttybridge grant {ada.id} --label them"
    shown = await cli.shows(f"asks for the keyboard: {grant}", "who")
    assert shown.splitlines()[0].split()[:6] == ["ID", "NAME", "ROLE", "HOW", "FROM", "SINCE"]
    assert " 127.0.0.1 " in shown.splitlines()[1]
    assert await cli.run(*grant.split()[1:3]) == (0, "", f"Ada ({ada.id}) may type now.\n")
    await ada.has_role("editor")
    await ada.type("echo typed by $((40 + 2))\r")
    await eventually(lambda: "typed by 42" in tmux.screen(), "what Ada types")
    assert "came as viewer; link l1" in await cli("who")
    assert (await cli.run("revoke", "Ada"))[2] == f"Ada ({ada.id}) watches now.\n"
    await ada.has_role("viewer")
    await ada.type("echo still $((40 + 3))\r")

    status, link, told = await cli.run("share", "--role", "editor", "--life", "1h")
    assert "For an editor, to type: one browser. Ends in" in told
    bo = await (await come(bridge, link.strip(), name="Bo \x1b[31mTwo")).is_in()
    await bo.type("echo typed by $((40 + 4))\r")
    await eventually(lambda: "typed by 44" in tmux.screen(), "what Bo types")
    assert "still 43" not in tmux.screen()
    raw = await ask(bridge.address, bridge.token, "GET", "links")
    links = json.loads(await cli("links", "--json"))
    assert (200, links) == raw
    assert [(each["id"], each["opened"], each["people"]) for each in links["links"]] == [
        ("l1", 1, [ada.id]), ("l2", 1, [bo.id]),
    ]  # fmt: skip
    here = json.loads(await cli("who", "--json"))
    assert {"idleS", "rttMs"} <= here["people"][0].keys()
    assert here["watching"] == 1

    # A name with a space is one name, quoted or not, and a name of nobody says what to do.
    assert "ttybridge who" in await cli.refused("kick", "Nobody", "of", "this", "name")
    await cli("revoke", "Bo", "[31mTwo")
    await bo.has_role("viewer")
    # A link that has been used up lets nobody in again, another one does.
    assert (await cli.run("kick", bo.id))[2] == f"Bo [31mTwo ({bo.id}) is out.\n"
    await bo.ended()
    assert bo.exit["reason"] == "removed"
    other = await (await come(bridge, ada_link)).is_in()
    told = (await cli.run("kick", other.id))[2]
    assert told.endswith("may still let in: ttybridge revoke l1 --label them\n")
    assert "l1" in (await cli.run("revoke", "l1"))[2]
    await ada.ended()
    assert "no link 'l1'" in await cli.refused("revoke", "l1")

    audit = await cli("audit", "--json")
    events = [json.loads(line)["event"] for line in audit.splitlines()]
    for event in ("share", "join", "role", "kick", "revoke", "leave"):
        assert event in events
    assert link.partition("?link=")[2].strip() not in audit
    shared = next(each for each in map(json.loads, audit.splitlines()) if each["event"] == "share")
    assert shared["endsAt"] > shared["at"]  # both as ISO 8601 in UTC
    await cli("link")
    last = json.loads((await cli("audit", "--json")).splitlines()[-1])
    assert (last["event"], last["role"], last["by"]) == ("link", "owner", "owner")
    assert last["link"].startswith("l")
    assert "share" in await cli("audit")


async def test_the_door_is_kept_from_the_command_line(
    start_bridge: StartBridge, tmp_path: Path, come: Come
) -> None:
    bridge = start_bridge(*LABEL, "--approve")
    cli = Cli(tmp_path)
    link = (await cli("share", "--name", "Ada", "--uses", "4")).strip()
    other = (await cli("share", "--role", "editor", "--name", "Bo")).strip()
    waits = [await come(bridge, link), await come(bridge, other)]
    await eventually(lambda: all(each.named("waiting") for each in waits), "`waiting`")
    shown = await cli("who")
    assert shown.startswith("These wait to be let in:")
    assert "Nobody is here." in shown
    assert "Newcomers wait to be let in: ttybridge approve --off --label them" in shown
    (line,) = [line for line in shown.splitlines() if " Ada " in line]
    await cli(*line.partition("ttybridge ")[2].split()[:2])
    ada = await waits[0].is_in()
    assert waits[1].joined == {}
    (row,) = [
        each for each in json.loads(await cli("who", "--json"))["people"] if each["name"] == "Bo"
    ]
    assert row["state"] == "waiting"
    assert "waits" in await cli.refused("admit", ada.id)
    told = (await cli.run("refuse", row["id"]))[2]
    assert told == f"Bo ({row['id']}) is turned away.\n"
    await waits[1].ended()
    assert [each["code"] for each in waits[1].named("refused")] == ["refused"]

    await cli("approve", "--off")
    assert (await cli.run("lock"))[2] == "Nobody new comes in.\n"
    assert "ttybridge unlock --label them" in await cli("who")
    late = await come(bridge, link)
    assert late.refused is not None
    assert late.refused["data"]["code"] == "locked"
    await cli("unlock")
    assert "unlock" not in await cli("who")
    await (await come(bridge, link)).is_in()


async def test_the_api_gives_each_role_its_part_to_holders_of_real_credentials(
    start_bridge: StartBridge, tmp_path: Path, come: Come
) -> None:
    bridge = start_bridge(*LABEL, "--base-path", "/below", "--record-dir", str(tmp_path / "casts"))
    guests: dict[str, Guest] = {}
    for role in ("viewer", "editor"):
        body: dict[str, object] = {"role": role, "name": role.title()}
        status, made = await ask(bridge.address, bridge.token, "POST", "share", body)
        assert (status, made["url"]) == (200, bridge.address + made["query"])
        assert made["uses"] == (None if role == "viewer" else 1)
        guests[role] = await (await come(bridge, made["url"])).is_in()
    viewer, editor = guests["viewer"], guests["editor"]

    status, seen = await ask(bridge.address, bridge.token, "GET", "people")
    assert [row["name"] for row in seen["people"]] == ["Viewer", "Editor"]
    assert {"link", "address"} <= seen["people"][0].keys()
    _, seen = await viewer.ask("GET", "people")
    assert [row["id"] for row in seen["people"]] == [viewer.id, editor.id]
    assert not {"link", "address"} & seen["people"][0].keys()
    for path, wanted in (("grant", {"who": viewer.id, "role": "editor"}), ("record", {"on": True})):
        status, told = await viewer.ask("POST", path, wanted)
        assert (status, "A viewer may not" in told["error"]) == (403, True)
    assert (await editor.ask("POST", "share", {"role": "editor"}))[0] == 403
    assert (await editor.ask("POST", "share", {}))[0] == 200
    await ask(bridge.address, bridge.token, "POST", "approve", {"on": True})
    _, made = await ask(bridge.address, bridge.token, "POST", "share", {})
    waits = await come(bridge, made["url"])
    await eventually(lambda: waits.named("waiting"), "`waiting`")
    _, seen = await editor.ask("GET", "people")
    waiting = [each["id"] for each in seen["people"] if each["state"] == "waiting"]
    assert (await editor.ask("POST", "kick", {"who": waiting[0]}))[0] == 409
    await ask(bridge.address, bridge.token, "POST", "approve", {"on": False})
    await waits.is_in()
    assert (await editor.ask("POST", "grant", {"who": viewer.id, "role": "owner"}))[0] == 409
    assert (await editor.ask("POST", "grant", {"who": "Viewer", "role": "editor"}))[0] == 200
    await viewer.has_role("editor")
    assert viewer.named("role")[-1]["by"] == "Editor"
    # From here on the same token gives more.
    assert (await viewer.ask("POST", "record", {"on": True}))[0] == 200
    assert (await viewer.ask("GET", "people"))[1]["recording"]["input"] is False
    assert (await viewer.ask("POST", "marker", {"label": "here"}))[0] == 200
    assert (await editor.ask("POST", "record", {"on": False}))[1]["recording"]["bytes"] > 0
    assert (await editor.ask("GET", "recordings"))[1]["recordings"][0]["isOpen"] is False
    assert (await editor.ask("GET", "audit"))[0] == 403
    _, audit = await ask(bridge.address, bridge.token, "GET", "audit")
    assert {"record", "role"} <= {event["event"] for event in audit["events"]}

    # A page of another site has the cookie and no more.
    headers = {"Authorization": f"Bearer {bridge.token}", "Origin": "https://evil.example"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(f"{bridge.address}api/stop", json={}) as answer:
            assert answer.status == 403
        del http.headers["Origin"]
        async with http.post(f"{bridge.address}api/stop", data={"a": "b"}) as answer:
            assert answer.status == 415
        async with http.get(f"{bridge.address}api/status") as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cache-Control"] == "no-store"
    assert (await ask(bridge.address, bridge.token, "POST", "stop", {}))[0] == 200
    assert await asyncio.to_thread(bridge.wait) == 0


async def test_a_recording_is_made_where_the_command_was_given(
    start_bridge: StartBridge, tmux: Tmux, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    start_bridge(*LABEL, "--record-dir", str(tmp_path / "casts"))
    cli = Cli(elsewhere)
    assert "Nothing is being recorded" in await cli("record", "status")
    assert str(elsewhere / "demo.cast") in await cli("record", "start", "demo.cast", "--input")
    assert "with what is typed" in await cli("record", "status")
    assert "The session is recorded, with what is typed" in await cli("who")
    assert (await cli.run("record", "marker", "tests", "pass"))[2] == "Marked: tests pass\n"
    assert "already" in await cli.refused("record", "start")
    tmux("send-keys", "-t", "=0:", "echo $((40 + 2))", "Enter")
    await eventually(
        lambda: "42" in (elsewhere / "demo.cast").read_text(), "the output in the file"
    )
    told = await cli("record", "stop")
    assert told.startswith("Recorded: demo.cast, ")
    assert told.endswith(f"ttybridge play {elsewhere / 'demo.cast'}\n")
    assert '"tests pass"' in (elsewhere / "demo.cast").read_text()
    assert "Nothing is being recorded" in await cli.refused("record", "stop")
    (kept,) = json.loads(await cli("record", "status", "--json"))["recordings"]
    assert (kept["name"], kept["isOpen"]) == ("demo.cast", False)
    assert "not overwritten" in await cli.refused("record", "start", "demo.cast")


async def test_without_a_token_or_with_two_bridges_the_commands_say_what_to_do(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    cli = Cli(tmp_path)
    assert "No bridge of yours with the label 'them' runs" in await cli.refused("share")
    start_bridge(*LABEL, "--no-auth")
    assert "needs a token" in await cli.refused("share")
    start_bridge(*LABEL, command=["sleep", "60"])
    told = await cli.refused("who")
    assert "2 bridges run" in told
    port = told.rpartition("port ")[0].rpartition("port ")[2].partition(")")[0]
    assert (await cli.run("who", label=("--label", port)))[0] == 0
