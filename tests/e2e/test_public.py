"""A bridge behind a tunnel: what it prints, whom it lets in, how it mends itself, what is left."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.cloudflared import FakeCloudflared, install_fake_cloudflared
from tests.conftest import (
    DEADLINE_S,
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
    wait_until,
)
from tests.e2e.hostile import HELLO, PageClient, eventually
from tests.ngrok import TOKEN, FakeNgrok, install_fake_ngrok, is_alive

PERSON = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}
"""Headers of a browser in which somebody opens a link."""


@dataclass
class Behind:
    """A bridge behind a tunnel whose public name is served on a port of this machine."""

    bridge: RunningBridge
    port: Callable[[str], int]
    """Tells on which port a public address is served."""

    def port_of(self, link: str) -> int:
        """Tell on which port a link's address is served."""
        parts = urlsplit(link)
        return self.port(f"{parts.scheme}://{parts.netloc}")

    async def get(
        self, session: aiohttp.ClientSession, link: str, **headers: str
    ) -> aiohttp.ClientResponse:
        """Ask for a public address."""
        parts = urlsplit(link)
        url = f"http://127.0.0.1:{self.port_of(link)}{parts.path}?{parts.query}"
        return await session.get(
            url, headers={"Host": parts.netloc} | headers, allow_redirects=False
        )

    async def enter(self, session: aiohttp.ClientSession, link: str) -> dict[str, str]:
        """Open a link as a browser does; return the headers of the visitor from then on."""
        answer = await self.get(session, link, **PERSON)
        assert answer.status == 303, await answer.text()
        assert "Secure" in answer.headers["Set-Cookie"]
        address = urlsplit(link)
        return {
            "Host": address.netloc,
            "Origin": f"{address.scheme}://{address.netloc}",
            "Cookie": answer.headers["Set-Cookie"].partition(";")[0],
        }


def new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=DEADLINE_S)
    )


async def join(session: aiohttp.ClientSession, port: int, visitor: dict[str, str]) -> PageClient:
    """Join the terminal through a tunnel, as the page does."""
    url = f"http://127.0.0.1:{port}/tty/?EIO=4&transport=websocket"
    client = PageClient(await session.ws_connect(url, headers=visitor, max_msg_size=0))
    await client.socket.send_str(HELLO)
    await eventually(lambda: client.joined, "the client has joined")
    return client


@pytest.fixture
def ngrok(tmp_path: Path) -> FakeNgrok:
    return install_fake_ngrok(tmp_path)


@pytest.fixture
def cloudflared(tmp_path: Path) -> FakeCloudflared:
    return install_fake_cloudflared(tmp_path / "cf")


def command(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ttybridge", *words],
        capture_output=True, text=True, timeout=DEADLINE_S, cwd=ROOT, env=env,
    )  # fmt: skip


async def test_a_link_through_ngrok_lets_one_browser_in_and_no_secret_out(
    start_bridge: StartBridge, ngrok: FakeNgrok, tmux: Tmux, tmp_path: Path
) -> None:
    bridge = start_bridge(
        "--ngrok", "--ssh", "--proxy", "6006", "-vv", "--label", "it", env=ngrok.env
    )
    link = r"https://[\w-]+\.ngrok-free\.app/\?link=l\d+\.o\.\w+\.[\w-]{22}"
    assert re.fullmatch(link, bridge.link)
    behind = Behind(bridge, ngrok.port)
    async with new_session() as session:
        # A chat looks at the link first.
        assert (await behind.get(session, bridge.link)).status == 200
        visitor = await behind.enter(session, bridge.link)
        refused = await behind.get(session, bridge.link, **PERSON)
        assert refused.status == 401
        client = await join(session, behind.port_of(bridge.link), visitor)
        await client.type("echo NG:${NGROK_AUTHTOKEN-none}:TB\r")
        await client.until_shown(b"NG:none:TB")
        made = command("link", "--label", "it", "--no-qr")
        assert made.returncode == 0, made.stderr
        await behind.enter(session, made.stdout.strip())
        told = command("status", "--label", "it").stdout
        argv = "".join(map(readable, Path("/proc").glob("[0-9]*/cmdline")))
        # Who comes through the tunnel hears of the end before the tunnel closes.
        assert await asyncio.to_thread(bridge.stop) == 0
        await eventually(lambda: client.is_closed, "the page is told")
        assert [event[1]["reason"] for event in client.events if event[0] == "exit"] == ["closing"]
        await client.cut()
    printed = bridge.log + "".join(bridge.more)
    ssh = re.search(r"ttybridge ssh '(https://\S+\?link=[\w.-]+)'", printed)
    assert ssh is not None
    assert f"https://{urlsplit(bridge.link).netloc}/proxy/6006/" in printed
    assert "within 10 minutes; it works once" in printed
    assert urlsplit(bridge.link).netloc in told
    state = ngrok.state()
    seen = str([state["starts"][0]["argv"], state["starts"][0]["environment"], state["commands"]])
    link = bridge.link.rpartition("=")[2]
    for secret in (TOKEN, link):
        assert secret not in seen + argv + told
        assert secret not in printed
    ngrok.wait_until_gone()


def readable(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize("change", ["move", "die"])
async def test_a_tunnel_that_is_lost_is_opened_again_and_the_new_link_is_told(
    start_bridge: StartBridge, ngrok: FakeNgrok, change: str
) -> None:
    bridge = start_bridge("--ngrok", env=ngrok.env)
    behind = Behind(bridge, ngrok.port)
    async with new_session() as session:
        visitor = await behind.enter(session, bridge.link)
        # As somebody on the same machine, whom the tunnel's end does not cut off.
        client = await join(session, bridge.control.status().port, visitor)
        ngrok.do(change)
        wait_until(lambda: bridge.more, "the new link on stdout", 2 * DEADLINE_S)
        new = bridge.more[0].strip()
        assert new != bridge.link
        await eventually(
            lambda: any(event[0] == "notice" for event in client.events), "the page is told"
        )
        again = await behind.enter(session, new)
        other = await join(session, behind.port_of(new), again)
        await other.echo()
        if urlsplit(new).netloc != urlsplit(bridge.link).netloc:
            # The old name may be somebody else's now.
            local = f"http://127.0.0.1:{bridge.control.status().port}/"
            gone = await session.get(local, headers={"Host": urlsplit(bridge.link).netloc})
            assert gone.status == 421
        await client.cut()
        await other.cut()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_agents_end_with_the_bridge(
    start_bridge: StartBridge, ngrok: FakeNgrok, number: signal.Signals
) -> None:
    bridge = start_bridge("--ngrok", env=ngrok.env)
    pids = ngrok.alive()
    assert pids
    bridge.stop(number)
    wait_until(lambda: not any(map(is_alive, pids)), "no agent is left")


@pytest.mark.parametrize(
    ("behaviour", "status", "says"),
    [
        ({"start_error": 105}, 7, "get-started/your-authtoken"),
        ({"start_error": 108}, 7, "dashboard.ngrok.com/agents"),
        ({"refuse": {"tcp": 8013}}, 7, "card"),
        ({"refuse": {"http": 320}}, 7, "domain"),
    ],
)
def test_what_ngrok_refuses_ends_the_start_with_what_to_do(
    ngrok: FakeNgrok, tmux: Tmux, behaviour: dict[str, Any], status: int, says: str
) -> None:
    ngrok.behave(**behaviour)
    options = ["--ngrok", "--ngrok-domain", "a.example", "--ssh", "--ngrok-tcp", "--port", "0"]
    env = {**ngrok.env, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    done = command(*options, "--socket-path", str(tmux.socket), env=env)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert says in " ".join(done.stderr.split())
    assert TOKEN not in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_quick_tunnel_of_cloudflare_serves_the_same(
    start_bridge: StartBridge, cloudflared: FakeCloudflared
) -> None:
    bridge = start_bridge("--cloudflared", "--quiet", env=cloudflared.env)
    port = bridge.control.status().port
    behind = Behind(bridge, lambda _: int(str(cloudflared.state(port)["port"])))
    async with new_session() as session:
        visitor = await behind.enter(session, bridge.link)
        client = await join(session, behind.port(""), visitor)
        await client.echo()
        cloudflared.behave(hostname="other.trycloudflare.com")
        wait_until(lambda: bridge.more, "the new link on stdout", 2 * DEADLINE_S)
        assert urlsplit(bridge.more[0]).netloc == "other.trycloudflare.com"
        await behind.enter(session, bridge.more[0].strip())
        await client.cut()
    assert "Cloudflare" not in bridge.log  # --quiet
    pid = int(str(cloudflared.state(port)["pid"]))
    assert bridge.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not is_alive(pid), "no agent is left")


def test_a_link_is_in_no_argument_while_the_bridge_is_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)
        link = f"http://127.0.0.1:{server.getsockname()[1]}/?link=SECRET-{'x' * 20}"
        words = [sys.executable, "-m", "ttybridge", "ssh", link]
        env = clean_environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT))
        with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL) as process:
            try:
                connection, _ = server.accept()
                connection.settimeout(DEADLINE_S)
                with connection:
                    assert connection.recv(65536).startswith(b"POST /login ")
                    assert "SECRET" not in readable(Path(f"/proc/{process.pid}/cmdline"))
            finally:
                process.kill()


def test_a_link_is_not_lost_when_what_comes_after_it_fails(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    link = start_bridge().control.link().url  # without --ssh
    for _ in range(2):
        done = command("ssh-config", link, env=clean_environment(HOME=str(tmp_path)))
        assert "has to be started with --ssh" in done.stderr
