"""The tunnel ngrok with a fake agent that misbehaves: the right message, or the right repair."""

import asyncio
import contextlib
import json
import logging
import os
import random
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pyngrok.process import NgrokProcess, _current_processes

from tests.conftest import DEADLINE_S, ROOT
from tests.edge.authority import Authority
from tests.ngrok import TOKEN, install_fake_ngrok, processes_of
from tests.tunnels import lost, opened, posted, running_app, until
from ttybridge.core.ngrok import NgrokSettings
from ttybridge.errors import ConfigError, MissingProgramError, TunnelError
from ttybridge.tunnels import ngrok, ngrok_files
from ttybridge.tunnels.base import Context, Kind, Local
from ttybridge.tunnels.ngrok import NgrokTunnel
from ttybridge.tunnels.ngrok_config import has_token

PASSWORD = "correct-horse-battery"
ASKED = NgrokSettings(
    domain="me.ngrok-free.app",
    oauth="google",
    allow=("you@example.com", "@example.org"),
    basic_auth=(f"me:{PASSWORD}",),
)
WARNING = "ngrok shows each browser a warning page at its first visit."


@pytest.fixture(name="app")
async def web_app() -> AsyncIterator[int]:
    async with running_app() as port:
        yield port


class Bench:
    """A fake agent and tunnels with a private folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        self.folder.mkdir(mode=0o700)
        self.fake = install_fake_ngrok(folder)
        self.environ = dict(self.fake.env)
        self.said: list[str] = []

    def tunnel(self, settings: NgrokSettings | None = None) -> NgrokTunnel:
        context = Context("", self.environ, self.folder, self.said.append)
        return NgrokTunnel(context, settings or NgrokSettings())

    def has_left_nothing(self) -> bool:
        """Tell whether no process, file or entry of pyngrok's is left."""
        mine = [path for path in _current_processes if str(self.folder) in path]
        left = [*processes_of(self.folder), *self.folder.iterdir(), *self.fake.alive()]
        return not (left or mine)


@pytest.fixture(name="bench")
def a_bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_http_websockets_and_tcp_pass_and_no_secret_is_to_be_seen(
    bench: Bench, app: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.environ |= {"NGROK_API_KEY": "key", "AWS_SECRET_ACCESS_KEY": "key", "TZ": "UTC"}
    async with opened(bench.tunnel(ASKED), Local(app), Local(app, Kind.TCP)) as (web, tcp):
        assert (web.url, web.note) == ("https://me.ngrok-free.app", WARNING)
        assert tcp.url.startswith("tcp://127.0.0.1:")
        assert tcp.note == ""
        public = f"http://127.0.0.1:{bench.fake.port(web.url)}"
        asked = await posted(public)
        assert (asked["body"], asked["X-Forwarded-Proto"]) == ("body", "https")
        assert asked["X-Forwarded-For"] == "203.0.113.7"
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{public}/echo") as ws:
            await ws.send_bytes(b"\0\xff" * 50_000)
            assert await ws.receive_bytes(timeout=DEADLINE_S) == b"\0\xff" * 50_000
        assert "X-Forwarded-Proto" not in await posted(tcp.url.replace("tcp:", "http:"))

        (started,) = bench.fake.state()["starts"]
        assert started["config_mode"] == 0o600
        config = json.loads(started["config"])
        assert (config["authtoken"], config["inspect_db_size"]) == (TOKEN, -1)
        assert config["web_addr"].startswith("127.0.0.1:")
        # LC_CTYPE is Python's own, which runs the fake.
        assert set(started["environment"]) - {"LC_CTYPE"} == {"HOME", "PATH", "TZ"}
        assert set(started["tunnels"]) == {"ttybridge-http-0", "ttybridge-tcp-1"}
        options = [tunnel["options"] for tunnel in started["tunnels"].values()]
        assert [each["inspect"] for each in options] == [False, False]
        assert [each.get("basic_auth") for each in options] == [[f"me:{PASSWORD}"], None]
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            assert TOKEN.encode() not in _read(process)
        for file in bench.folder.rglob("*"):
            assert file.stat().st_mode & 0o077 == 0
    assert bench.has_left_nothing()
    assert bench.said == []
    assert TOKEN not in json.dumps(bench.fake.state()["commands"])
    for secret in (TOKEN, PASSWORD):
        assert secret not in caplog.text


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "malformed-token": ({"start_error": 105}, "token is malformed", "your-authtoken"),
    "revoked-token": ({"start_error": 107}, "reset or revoked", "your-authtoken"),
    "one-session": ({"start_error": 108}, "as many agents", "dashboard.ngrok.com/agents"),
    "card": ({"refuse": {"tcp": 8013}}, "payment card", "--ngrok-tcp"),
    "domain": ({"refuse": {"http": 320}}, "not this account's", "--ngrok-domain"),
    "in-use": ({"refuse": {"http": 334}}, "online already", "dashboard.ngrok.com/endpoints"),
    "unknown": ({"start_error": 99999}, "ngrok refuses", "errors/err_ngrok_99999"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_ngrok_refuses_is_said_in_words(
    bench: Bench, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    behaviour, message, hint = REFUSED[case]
    bench.fake.behave(**behaviour)
    with pytest.raises(TunnelError) as caught:
        await bench.tunnel().open([Local(1), Local(2, Kind.TCP)])
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "Its last lines:\nt=" in caught.value.message
    assert f"(ERR_NGROK_{_number(behaviour)})." in caught.value.message
    assert TOKEN not in f"{caught.value!r} {caught.value} {caplog.text}"
    assert bench.has_left_nothing()


async def test_the_reason_is_told_though_pyngrok_stops_reading_before_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks whether the agent has ended after each line; here, that is so after the first."""
    monkeypatch.setattr(NgrokProcess, "healthy", lambda self: self.proc.wait() == "never")
    bench.fake.behave(start_error=105)
    with pytest.raises(TunnelError) as caught:
        await bench.tunnel().open([Local(1)])
    assert "token is malformed" in caught.value.message
    assert TOKEN not in f"{caught.value!r} {caught.value}"
    assert bench.has_left_nothing()


def _number(behaviour: dict[str, Any]) -> int:
    return int(behaviour.get("start_error") or next(iter(behaviour["refuse"].values())))


async def test_a_silent_agent_is_given_up_and_disturbs_no_other_tunnel(
    bench: Bench, tmp_path: Path, app: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngrok, "START_S", 2.0)
    bench.fake.behave(silent=True, ignores_sigterm=True)
    other, third = (Bench(_made(tmp_path / name)) for name in ("other", "third"))
    other.fake.behave(plain=True)
    silent = bench.tunnel()
    began = time.monotonic()
    opening = asyncio.ensure_future(silent.open([Local(app)]))
    await until(bench.fake.alive)
    waiting = asyncio.ensure_future(third.tunnel().open([Local(app)]))
    await until(lambda: third.fake.state()["commands"] == [["version"]])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert third.has_left_nothing()
    async with opened(other.tunnel(), Local(app)) as (endpoint,):
        with pytest.raises(TunnelError) as caught:
            await opening
        # The time to connect, that for SIGTERM to be heeded, and the machine's own.
        assert time.monotonic() - began < 15
        assert "did not connect within 2 s. It said nothing." in caught.value.message
        assert bench.has_left_nothing()
        assert (await posted(endpoint.url))["body"] == "body"
    assert other.has_left_nothing()
    assert third.fake.state()["starts"] == []


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"offline": True}, "did not connect within 1 s. ngrok's agent cannot find"),
        ({"hang": True}, "did not open an address within 1 s."),
    ],
    ids=["offline", "hanging"],
)
async def test_an_agent_that_gets_nowhere_is_given_up(
    bench: Bench, behaviour: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngrok, "START_S" if "offline" in behaviour else "CONNECT_S", 1.0)
    bench.fake.behave(**behaviour)
    began = time.monotonic()
    with pytest.raises(TunnelError) as caught:
        await bench.tunnel().open([Local(1)])
    assert time.monotonic() - began < 15
    assert message in caught.value.message
    assert bench.has_left_nothing()


@pytest.mark.parametrize("behaviour", ["silent", "hang"])
async def test_a_cancelled_opening_leaves_nothing(bench: Bench, behaviour: str) -> None:
    bench.fake.behave(**{behaviour: True})
    tunnel = bench.tunnel()
    opening = asyncio.ensure_future(tunnel.open([Local(1)]))
    await until(bench.fake.alive)
    if behaviour == "hang":
        await until(lambda: bench.fake.state().get("unanswered"))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert bench.has_left_nothing()


async def test_a_late_agent_is_waited_for_and_its_death_is_repaired(bench: Bench, app: int) -> None:
    bench.fake.behave(late_s=1.0, plain=True)
    tunnel = bench.tunnel()
    async with opened(tunnel, Local(app)) as (first,):
        bench.fake.do("die")
        error = await lost(tunnel)
        assert "ngrok's agent has ended. Its exit status is 1." in error.message
        assert 'msg="command failed" err="something broke"' in error.message
        # What the supervisor does, close and open; an agent that ignores SIGTERM is killed.
        bench.fake.behave(plain=True, ignores_sigterm=True)
        await tunnel.close()
        (second,) = await tunnel.open([Local(app)])
        assert second != first
        assert (await posted(second.url))["body"] == "body"
    assert bench.has_left_nothing()
    with pytest.raises(TunnelError, match="not open"):
        await tunnel.health()


async def test_changed_addresses_are_told_and_a_lost_connection_is_waited_for(
    bench: Bench, app: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.fake.behave(plain=True)
    tunnel = bench.tunnel()
    async with opened(tunnel, Local(app), Local(app, Kind.TCP)) as before:
        assert await tunnel.health() == before
        bench.fake.do("move")
        after = await _changed(tunnel, before)
        assert [endpoint.url.partition(":")[0] for endpoint in after] == ["http", "tcp"]
        assert not {e.url for e in after} & {e.url for e in before}
        assert (await posted(after[0].url))["body"] == "body"

        bench.fake.do("lose")
        await until(lambda: _log(tunnel).count("starting reconnect loop") == 2)
        assert await tunnel.health() == after
        bench.fake.do("return")
        await until(lambda: _log(tunnel).count("client session established") == 3)
        monkeypatch.setattr(ngrok, "RECONNECT_S", 0.0)
        assert await tunnel.health() == after

        bench.fake.do("lose")
        error = await lost(tunnel)
        assert "without connection for 0 s. ngrok's agent cannot reach" in error.message
    assert bench.has_left_nothing()


async def _changed(tunnel: NgrokTunnel, before: object) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        while (now := await tunnel.health()) == before:  # noqa: ASYNC110  it is asked, too
            await asyncio.sleep(0.02)
    return now


def _log(tunnel: NgrokTunnel) -> str:
    agent = tunnel._agent
    assert agent is not None
    return "\n".join(agent._lines)


@pytest.mark.parametrize(
    ("action", "message"),
    [("drop", "serves an address no more"), ("stall", "has not answered for 0 s")],
)
async def test_an_agent_that_serves_nothing_any_more_is_noticed(
    bench: Bench, action: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngrok, "ASK_S", 0.2)
    monkeypatch.setattr(ngrok, "RECONNECT_S", 0.3)
    tunnel = bench.tunnel()
    async with opened(tunnel, Local(1)):
        bench.fake.do(action)
        assert message in (await lost(tunnel)).message
    assert bench.has_left_nothing()


async def test_kill_9_of_the_bridge_leaves_no_agent(bench: Bench) -> None:
    script = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from ttybridge.tunnels.base import Context, Local\n"
        "from ttybridge.tunnels.ngrok import NgrokSettings, NgrokTunnel\n"
        "async def main():\n"
        "    context = Context('', json.loads(sys.argv[2]), Path(sys.argv[1]), print)\n"
        "    print(await NgrokTunnel(context, NgrokSettings()).open([Local(1)]), flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    bench.fake.behave(ignores_sigterm=True)
    bridge = subprocess.Popen(
        [sys.executable, "-c", script, str(bench.folder), json.dumps(bench.environ)],
        stdout=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    assert bridge.stdout is not None
    assert b"ngrok-free.app" in await asyncio.to_thread(bridge.stdout.readline)
    assert bench.fake.alive()
    bridge.kill()
    await asyncio.to_thread(bridge.communicate)
    await until(lambda: not processes_of(bench.folder) and not bench.fake.alive())


async def test_the_stand_in_warns_browsers_once_and_says_what_is_not_there(
    bench: Bench, app: int
) -> None:
    bench.fake.behave(plain=True, interstitial=True)
    browser = {"User-Agent": "Mozilla/5.0", "Accept": "text/html"}
    async with (
        opened(bench.tunnel(), Local(app), Local(1)) as (web, nobody),
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        async with session.get(nobody.url) as answer:
            assert (answer.status, answer.headers["ngrok-error-code"]) == (502, "ERR_NGROK_8012")
        skip = {"ngrok-skip-browser-warning": "1"}
        for headers, is_warned in ((browser | skip, False), (browser, True), (browser, False)):
            async with session.get(web.url, headers=headers) as answer:
                assert ("ERR_NGROK_6024" in await answer.text()) == is_warned


async def test_version_2_gets_no_plain_twin_and_cannot_do_all(bench: Bench) -> None:
    bench.fake.behave(version="2.3.41")
    settings = NgrokSettings(domain="me.ngrok.io", basic_auth=(f"me:{PASSWORD}",))
    async with opened(bench.tunnel(settings), Local(1)) as (endpoint,):
        assert endpoint.url == "https://me.ngrok.io"
        (tunnel,) = bench.fake.state()["starts"][0]["tunnels"].values()
        assert (tunnel["options"]["bind_tls"], tunnel["options"]["auth"]) == (
            True,
            f"me:{PASSWORD}",
        )
    with pytest.raises(ConfigError, match="--ngrok-oauth needs version 3"):
        await bench.tunnel(ASKED).open([Local(1)])
    assert bench.has_left_nothing()


async def test_the_token_of_ngroks_own_configuration_is_found_and_a_missing_one_is_asked_for(
    bench: Bench,
) -> None:
    del bench.environ["NGROK_AUTHTOKEN"]
    assert not has_token(bench.environ)
    with pytest.raises(TunnelError) as caught:
        await bench.tunnel().open([Local(1)])
    assert "needs the authtoken" in caught.value.message
    assert "NGROK_AUTHTOKEN" in caught.value.hint
    assert "https://dashboard.ngrok.com/get-started/your-authtoken" in caught.value.hint

    folder = bench.fake.home / ".config" / "ngrok"
    folder.mkdir(parents=True)
    # As pyngrok leaves it behind: without a token. Version 2 of the agent had another place.
    (folder / "ngrok.yml").write_text("version: '3'\n")
    old = bench.fake.home / ".ngrok2" / "ngrok.yml"
    old.parent.mkdir()
    old.write_text(f"authtoken: {TOKEN}\nregion: eu\nlog: {bench.folder}/log\n")
    assert has_token(bench.environ)
    async with opened(bench.tunnel(), Local(1)):
        config = json.loads(bench.fake.state()["starts"][-1]["config"])
        assert (config["authtoken"], config["region"]) == (TOKEN, "eu")
        assert "log" not in config

    bench.environ["XDG_CONFIG_HOME"] = str(bench.folder.parent / "xdg")
    other = bench.folder.parent / "xdg" / "ngrok" / "ngrok.yml"
    other.parent.mkdir(parents=True)
    other.write_text(f"authtoken: '{TOKEN}")
    with pytest.raises(TunnelError) as caught:
        has_token(bench.environ)
    assert str(other) in caught.value.message
    assert TOKEN not in str(caught.value)


async def test_a_proxy_for_the_internet_is_not_asked_for_the_agent_on_this_machine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # the port to which nobody listens
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    ngrok_files.reach_loopback_without_proxy.cache_clear()
    try:
        async with opened(bench.tunnel(), Local(1)):
            assert bench.fake.alive()
    finally:
        ngrok_files.reach_loopback_without_proxy.cache_clear()


def _kept(bench: Bench) -> Path:
    """Return the place where pyngrok keeps its agent."""
    return bench.fake.home / ".config" / "ngrok" / "ngrok"


def _without_agent(bench: Bench, folder: Path) -> Path:
    """Have PATH begin with pyngrok's script of the agent's name; return the agent, elsewhere."""
    folder.mkdir()
    script = folder / "ngrok"
    script.write_text(f"#!/bin/sh\ntouch {folder}/used\n# from pyngrok.ngrok import main\n")
    script.chmod(0o755)
    bench.environ["PATH"] = f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return bench.fake.bin / "ngrok"


async def test_an_agent_at_pyngroks_place_is_used_and_its_script_in_path_is_not(
    bench: Bench, tmp_path: Path
) -> None:
    agent = _without_agent(bench, tmp_path / "scripts")
    _kept(bench).parent.mkdir(parents=True)
    _kept(bench).symlink_to(agent)
    bench.environ["https_proxy"] = "http://127.0.0.1:9"
    async with opened(bench.tunnel(), Local(1)):
        assert bench.fake.alive()
    assert bench.said == []
    assert not (tmp_path / "scripts" / "used").exists()


async def test_a_download_that_fails_says_what_to_do_instead(bench: Bench, tmp_path: Path) -> None:
    _without_agent(bench, tmp_path / "scripts")
    bench.environ["https_proxy"] = "http://127.0.0.1:9"
    with pytest.raises(MissingProgramError) as caught:
        await bench.tunnel().open([Local(1)])
    assert "cannot be downloaded: " in caught.value.message
    assert "Connection refused" in caught.value.message
    assert "https://ngrok.com/download" in caught.value.hint
    assert "--cloudflared" in caught.value.hint
    assert not _kept(bench).exists()
    assert bench.has_left_nothing()


@contextlib.asynccontextmanager
async def cdn(folder: Path, agent: Path) -> AsyncIterator[dict[str, str]]:
    """ngrok's download server behind a proxy; the variables for who is to reach it."""
    archive = folder / "archive.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(agent, "ngrok")
        padding = folder / "padding"
        padding.write_bytes(random.Random(1).randbytes(100_000))
        tar.add(padding, "padding")
    authority = Authority(folder, ["bin.ngrok.com"])

    async def on_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        data = archive.read_bytes()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))
        await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"CONNECT bin.ngrok.com:443 ")
        there, back = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(carry(reader, back), carry(there, writer))

    context = authority.server_context()
    async with (
        await asyncio.start_server(on_request, "127.0.0.1", 0, ssl=context) as server,
        await asyncio.start_server(on_connect, "127.0.0.1", 0) as proxy,
    ):
        port = proxy.sockets[0].getsockname()[1]
        yield {
            "https_proxy": f"http://127.0.0.1:{port}",
            "SSL_CERT_FILE": str(authority.ca_file),
        }


async def test_a_missing_agent_is_installed_once_with_progress(
    bench: Bench, tmp_path: Path
) -> None:
    agent = _without_agent(bench, tmp_path / "scripts")
    async with cdn(tmp_path, agent) as environ:
        bench.environ |= environ
        async with opened(bench.tunnel(), Local(1)):
            pass
    assert bench.said[0].startswith("Installing ngrok: downloading")
    assert "Installing ngrok: 20%" in bench.said
    assert bench.said[-1] == f"Installing ngrok: done, {_kept(bench)}"
    assert bench.has_left_nothing()
    # The second time it is there, and the server is not.
    bench.said.clear()
    async with opened(bench.tunnel(), Local(1)):
        pass
    assert bench.said == []
    assert bench.has_left_nothing()
    state = json.loads((_kept(bench).parent / "state.json").read_text())
    assert len(state["starts"]) == 2
    assert sorted(path.suffix for path in _kept(bench).parent.iterdir()) == ["", ".json", ".lock"]


async def test_a_program_that_is_no_agent_is_named(bench: Bench) -> None:
    (bench.fake.bin / "ngrok").write_bytes(b"\x7fELF no program")
    with pytest.raises(MissingProgramError) as caught:
        await bench.tunnel().open([Local(1)])
    assert str(bench.fake.bin / "ngrok") in caught.value.message
    assert "Exec format error" in caught.value.message
    assert bench.has_left_nothing()
