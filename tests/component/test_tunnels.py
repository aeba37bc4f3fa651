"""The tunnel cloudflared with its stand-in, and agents: opened, used, lost, closed."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.cloudflared import install_fake_cloudflared
from tests.conftest import DEADLINE_S, clean_environment
from tests.tunnels import context, left_by, lost, opened, posted, running_app, until
from ttybridge.errors import MissingProgramError, TunnelError
from ttybridge.tunnels import cloudflared, registry
from ttybridge.tunnels.agent import Agent, ask
from ttybridge.tunnels.base import Kind, Local
from ttybridge.tunnels.cloudflared import CloudflaredTunnel


@pytest.fixture(name="app")
async def web_app() -> AsyncIterator[int]:
    async with running_app() as port:
        yield port


async def test_cloudflared_carries_http_and_websockets_until_it_is_closed(
    tmp_path: Path, app: int
) -> None:
    fake = install_fake_cloudflared(tmp_path / "fake", metrics_taken=2)
    environ = fake.env | {"TUNNEL_NAME": "mine", "TUNNEL_TRANSPORT_PROTOCOL": "http2"}
    tunnel = CloudflaredTunnel(context(tmp_path / "run", environ))
    async with opened(tunnel, Local(app)) as endpoints:
        name = f"fake-{app}.trycloudflare.com"
        assert [endpoint.url for endpoint in endpoints] == [f"https://{name}"]
        state = fake.state(app)
        # Others were faster with its port, twice.
        assert state["starts"] == 3
        assert state["environ"] == {"TUNNEL_TRANSPORT_PROTOCOL": "http2"}
        public = f"http://127.0.0.1:{state['port']}"
        asked = await posted(public)
        assert (asked["host"], asked["body"]) == (name, "body")
        assert asked["X-Forwarded-Proto"] == "https"
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{public}/echo") as ws:
            await ws.send_bytes(b"\0\xff" * 50_000)
            assert await ws.receive_bytes(timeout=DEADLINE_S) == b"\0\xff" * 50_000
        assert await tunnel.health() == endpoints
    assert left_by(tmp_path / "run") == []
    assert not Path(f"/proc/{state['pid']}").exists()
    with pytest.raises(TunnelError, match="not open"):
        await tunnel.health()


async def test_cloudflared_may_change_its_name_and_be_without_connection_for_a_while(
    tmp_path: Path, app: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = install_fake_cloudflared(tmp_path / "fake")
    tunnel = CloudflaredTunnel(context(tmp_path / "run", fake.env))
    async with opened(tunnel, Local(app)) as endpoints:
        fake.behave(ready=503, lies="evil.example.com")
        # Somebody else's answer does not become the address.
        assert [await tunnel.health() for _ in range(2)] == [endpoints, endpoints]
        fake.behave(hostname="other.trycloudflare.com")
        async with asyncio.timeout(DEADLINE_S):
            # The answer may be here before the line of the log that confirms it.
            while (await tunnel.health())[0].url == endpoints[0].url:
                pass
        monkeypatch.setattr(cloudflared, "UNREADY_S", 0.05)
        fake.behave(ready=503, hostname="other.trycloudflare.com")
        error = await lost(tunnel)
        assert "was given https://other.trycloudflare.com, and cannot connect" in error.message
        assert "7844" in error.hint
        fake.behave(hostname="other.trycloudflare.com")
        await tunnel.health()
        os.kill(int(str(fake.state(app)["pid"])), signal.SIGKILL)
        error = await lost(tunnel)
        assert error.message.startswith("cloudflared has ended.")
        assert "https://other.trycloudflare.com" in error.message
        # The supervisor closes and opens again.
        await tunnel.close()
        assert [e.url for e in await tunnel.open([Local(app)])] == [
            "https://other.trycloudflare.com"
        ]
    assert left_by(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("behaviour", "message", "hint"),
    [
        ({"fails": "429"}, "refuses more quick tunnels", "Wait some minutes"),
        ({"fails": "offline"}, "cannot reach api.trycloudflare.com", "HTTPS_PROXY"),
        ({"fails": "odd"}, "ended before there was a tunnel.*no idea\\\\x07$", "Try it alone"),
        ({"dies_s": 0, "ready": 503}, "ended before there was a tunnel", "Try it alone"),
        ({"metrics_taken": 3}, "ended before there was a tunnel", "Try it alone"),
        ({"silent": True}, "did not get a tunnel within 1 s.*Requesting", "Try it alone"),
        ({"lies": "evil.example.com"}, "did not get a tunnel within 1 s", "Try it alone"),
        ({"ready": 503}, "was given https://fake-.* and cannot connect", "7844"),
    ],
    ids=["429", "offline", "odd", "dies", "port taken", "silent", "lies", "never ready"],
)
async def test_a_cloudflared_that_fails_leaves_a_reason_and_nothing_else(
    tmp_path: Path,
    behaviour: dict[str, object],
    message: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "within" in message or behaviour == {"ready": 503}:
        monkeypatch.setattr(cloudflared, "START_S", 1.4)
    fake = install_fake_cloudflared(tmp_path / "fake", **behaviour)
    tunnel = CloudflaredTunnel(context(tmp_path / "run", fake.env))
    with pytest.raises(TunnelError) as caught:
        await tunnel.open([Local(9)])
    assert re.search(message, caught.value.message, re.DOTALL), caught.value.message
    assert hint in caught.value.hint
    assert "was empty" not in caught.value.message
    assert left_by(tmp_path / "run") == []


async def test_cloudflared_is_told_from_what_it_cannot_carry_and_from_a_missing_one(
    tmp_path: Path,
) -> None:
    fake = install_fake_cloudflared(tmp_path / "fake")
    tunnel = CloudflaredTunnel(context(tmp_path / "run", fake.env))
    with pytest.raises(TunnelError, match=r"HTTP only.*ttybridge ssh LINK"):
        await tunnel.open([Local(80), Local(22, Kind.TCP)])
    assert fake.state(80) == {}
    missing = CloudflaredTunnel(context(tmp_path / "run", {"PATH": str(tmp_path)}))
    with pytest.raises(MissingProgramError, match=r"not found in PATH.*--ngrok"):
        await missing.open([Local(80)])


async def test_an_open_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    fake = install_fake_cloudflared(tmp_path / "fake", silent=True)
    tunnel = CloudflaredTunnel(context(tmp_path / "run", fake.env))
    opening = asyncio.create_task(tunnel.open([Local(9)]))
    await until(lambda: fake.state(9) != {})
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert left_by(tmp_path / "run") == []
    assert not Path(f"/proc/{fake.state(9)['pid']}").exists()


async def test_an_agent_keeps_its_last_lines_and_ends_though_it_does_not_want_to(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o700)
    script = (
        "trap '' TERM; for i in $(seq 40); do echo line $i; done; "
        "printf 'the \\033[1mend\\000\\n' >&2; while :; do sleep 60 & wait; done"
    )
    agent = Agent(["/bin/sh", "-c", script], clean_environment(), tmp_path, cwd=tmp_path)
    await agent.start()
    await until(lambda: "the end" in "".join(agent.lines))
    await agent.stop()
    assert list(agent.lines) == [f"line {n}" for n in range(30, 41)] + ["the end\\x00"]
    await until(lambda: left_by(tmp_path) == [])  # what was killed takes a moment to be gone
    agent = Agent(["/bin/sh", "-c", "printf last"], clean_environment(), tmp_path)
    await agent.start()
    await agent.wait()
    assert list(agent.lines) == ["last"]
    await agent.stop()
    await agent.stop()
    assert left_by(tmp_path) == []
    assert (await ask(["/bin/sleep", "60"], {}, within_s=0.05)).status == 124


PLUGIN = """
name = "whatever"

class Mine:
    name = "mine"
    def __init__(self, context):
        self.context = context
"""

ENTRY_POINTS = """[ttybridge.tunnels]
mine = a_plugin_of_the_test:Mine
broken = a_plugin_of_the_test:Missing
absent = no_such_module_at_all:Mine
word = a_plugin_of_the_test:name
twice = a_plugin_of_the_test:Mine
"""


def install(folder: Path, name: str, entry_points: str) -> None:
    """Put a package's description where installers put it."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_tunnels_of_other_packages_are_found_and_broken_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = registry.names()
    install(tmp_path, "a-plugin", ENTRY_POINTS)
    install(tmp_path, "b-plugin", "[ttybridge.tunnels]\ntwice = anything:Mine\n")
    install(tmp_path, "c-plugin", "[console_scripts]\nelsewhere = a_plugin_of_the_test:Mine\n")
    (tmp_path / "a_plugin_of_the_test.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    ours = {"mine", "broken", "absent", "word", "twice"}
    assert registry.names() == tuple(sorted({*before, *ours}))
    factory = registry.third_party("mine")
    assert factory is not None
    assert factory(context(tmp_path / "run", {}, "argument")).name == "mine"
    assert registry.third_party("elsewhere") is None
    reasons = {
        "broken": "'broken' of the package a-plugin 1.2 cannot be loaded: AttributeError: ",
        "absent": "'absent' of the package a-plugin 1.2 cannot be loaded: ModuleNotFoundError: ",
        "word": "a_plugin_of_the_test:name cannot be called",
        "twice": "a-plugin 1.2 and b-plugin 1.2",
    }
    for name, reason in reasons.items():
        with pytest.raises(TunnelError, match=re.escape(reason)):
            registry.third_party(name)
