"""A bridge with --ngrok and the real agent: everybody gets in by the public address."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.chromium import CHROMIUM, FLAGS
from tests.conftest import RunningBridge, StartBridge, wait_until
from tests.e2e.conftest import StartNode, StartOnPty
from tests.e2e.ssh import Ssh, needs_ssh
from tests.e2e.test_colab_console import COLAB, CONSOLE, colab_environment
from tests.e2e.test_ssh_client import Client
from tests.edge.agent import needs_agent, put_into_path, visitor_environment, write_config
from tests.edge.edge import NgrokEdge
from tests.edge.thread import EdgeThread
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [*needs_agent, *needs_ssh, pytest.mark.timeout(180)]

TOKEN = "r7xk2-Qm9fLw0_ab-0123456789-abcdefghijk"

MOST_REQUESTS = 9
"""Requests that a visit to the page may take; a free account has 20,000 a month."""


@dataclass
class World:
    """A bridge that is public through the edge."""

    thread: EdgeThread
    """The edge."""
    bridge: RunningBridge
    """The bridge; its link, address and host are the public ones."""

    @property
    def edge(self) -> NgrokEdge:
        """The edge itself."""
        return self.thread.edge

    @property
    def token_link(self) -> str:
        """A link for programs: it works more than once."""
        return f"{self.bridge.address}?token={TOKEN}"

    @property
    def ssh_link(self) -> str:
        """The link that the banner gives to SSH; it works once."""
        return self.in_banner(r"^  ttybridge ssh '(\S+)'$")

    def in_banner(self, pattern: str) -> str:
        """Return the group of a pattern that has to match a line of the banner."""
        wait_until(lambda: "Ctrl-C stops the bridge" in self.bridge.log, "the banner")
        found = re.search(pattern, self.bridge.log, re.MULTILINE)
        assert found, self.bridge.log
        return found[1]

    @property
    def websockets(self) -> int:
        """How many WebSockets were opened so far."""
        return sum(request.status == 101 for request in self.edge.requests)

    def restart(self) -> None:
        """Have the edge lose the agent, and wait until it is back."""
        urls = self.edge.open_urls
        self.thread.restart()
        wait_until(lambda: self.edge.open_urls == urls, "the agent is back")


@pytest.fixture
def world(tmp_path: Path, start_bridge: StartBridge, ssh: Ssh) -> Iterator[World]:
    home = tmp_path / "home"
    token_file = tmp_path / "token"
    token_file.touch(0o600)
    token_file.write_text(TOKEN)
    path = f"{put_into_path(tmp_path / 'bin')}{os.pathsep}{os.environ['PATH']}"
    with EdgeThread(warns=True) as thread:
        write_config(home, thread.edge)
        bridge = start_bridge(
            *("--ngrok", "--ngrok-tcp", "--no-qr", "--token-file", str(token_file)),
            *ssh.options,
            env={"PATH": path},
        )
        bridge.token = TOKEN
        yield World(thread, bridge)
        assert bridge.stop() == 0
        wait_until(lambda: thread.edge.open_urls == [], "the agent has ended")


@pytest.fixture
def browser() -> Iterator["Browser"]:
    """Chromium that finds the names of the edge on this machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    rules = "--host-resolver-rules=MAP *.ngrok-free.test 127.0.0.1"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
        yield browser
        browser.close()


def types(tab: Tab, number: int) -> None:
    """Type a command into the page and see its output."""
    tab.run(f"clear; echo mark-$(({number}*7))")
    tab.wait_for(f"^mark-{number * 7}$")


def visit(world: World, browser: "Browser") -> Tab:
    """Open the link, press the button of ngrok's warning, and count what that takes."""
    context = browser.new_context(viewport={"width": 1000, "height": 640}, ignore_https_errors=True)
    tab = Tab(context.new_page())
    tab.page.goto(world.bridge.link)
    tab.page.click("text=Visit Site")
    tab.wait_for_state("connected")
    tab.wait_for(r"\$$")
    types(tab, 6)
    lines = [request.line for request in world.edge.requests]
    assert world.edge.requests[0].by_edge
    assert len(lines) <= MOST_REQUESTS, lines
    # A WebSocket at once, without polling before it.
    assert [line for line in lines if "/tty" in line] == ["GET /tty/ 101"], lines
    assert tab.hosts == {world.bridge.host}
    return tab


def check_socketio(world: World, start_node: StartNode, number: int) -> None:
    """Come as Colab's own page does, by each transport."""
    for count, transport in enumerate(("polling", "websocket"), start=number):
        client = start_node("contract.mjs")
        answer = client.ask(
            "open",
            address=world.bridge.address,
            transports=[transport],
            query={"token": TOKEN},
            answers=True,
        )
        assert answer["connected"], answer
        client.ask("say", message={"data": f"clear; echo mark-$(({count}*11))\r"})
        client.wait_for_text(f"mark-{count * 11}")
        client.stop()


def check_ssh_over_the_web(world: World, client: Client, link: str) -> None:
    """Log in, and copy a file there and back."""
    around: Any = visitor_environment(world.edge)
    assert client.run("ssh", link, "exit 7", **around).returncode == 7
    done = client.run("ssh-config", world.token_link, "--name", "box", "--write", **around)
    assert done.returncode == 0, done.stderr
    copy(client, "-F", str(client.ssh_config), **around)


def check_ssh_by_tcp(world: World, client: Client, ssh: Ssh) -> None:
    """The same with the address that the banner names; the host key is the one of the web."""
    port = world.in_banner(r"^  ssh -p (\d+) \S+@localhost$")
    assert f"tcp://localhost:{port}" in world.edge.open_urls
    settings = ("ProxyCommand=none", "HostName=127.0.0.1", f"Port={port}")
    options = [word for setting in settings for word in ("-o", setting)]
    options += ["-F", str(client.ssh_config), "-i", str(ssh.owner.file)]
    assert client.program("ssh", *options, "box", "exit 7").returncode == 7
    copy(client, *options)


def copy(client: Client, *options: str, **environment: Any) -> None:
    """Copy three megabytes to the bridge's machine and back by scp."""
    data = os.urandom(3_000_000)
    folder = client.home.parent
    (folder / "sent").write_bytes(data)
    for source, target in (("sent", f"box:{folder}/there"), (f"box:{folder}/there", "back")):
        names = (name if ":" in name else str(folder / name) for name in (source, target))
        done = client.program("scp", "-q", *options, *names, **environment)
        assert done.returncode == 0, done.stderr
    assert (folder / "back").read_bytes() == data


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_socketio_and_ssh_work_and_do_so_after_ngrok_was_lost(
    world: World,
    browser: "Browser",
    ssh: Ssh,
    start_node: StartNode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NODE_EXTRA_CA_CERTS", "NODE_OPTIONS"):
        monkeypatch.setenv(name, visitor_environment(world.edge)[name])
    (tmp_path / "login").mkdir()
    client = Client(tmp_path / "login")

    def programs_get_in(number: int, link: str) -> None:
        check_socketio(world, start_node, number)
        check_ssh_over_the_web(world, client, link)
        check_ssh_by_tcp(world, client, ssh)

    tab = visit(world, browser)
    programs_get_in(1, world.ssh_link)
    websockets = world.websockets
    world.restart()
    wait_until(lambda: world.websockets > websockets, "the page comes back by itself")
    tab.wait_for_state("connected")
    types(tab, 8)
    programs_get_in(3, world.token_link)
    assert tab.violations == []
    assert not [request for request in world.edge.requests if request.status >= 500]


@pytest.mark.colab_cli
@pytest.mark.slow
@pytest.mark.skipif(
    not COLAB.exists(), reason="no colab command line (.venv-colab, made by scripts/setup.sh)"
)
def test_colab_console_works_and_does_so_after_ngrok_was_lost(
    world: World, start_on_pty: StartOnPty, tmp_path: Path
) -> None:
    env = colab_environment(tmp_path / "colab", world.bridge) | visitor_environment(world.edge)
    store = tmp_path / "colab/.config/colab-cli/sessions.json"
    store.write_text(store.read_text().replace("http://", "https://"))
    for number in (1, 2):
        console = start_on_pty(CONSOLE, env=env, cols=100, rows=30)
        console.wait_for_text("[0] 0:")  # tmux's status line
        console.type(f"clear; echo mark-$(({number}*13))\r".encode())
        console.wait_for_text(f"mark-{number * 13}")
        world.restart()
        console.wait_for_text("Connection closed.")
        assert console.wait() == 0
