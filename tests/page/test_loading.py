"""What the page fetches before its first screen, and what it does not wait for."""

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import RunningBridge, StartBridge, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.far import FarLine
from tests.page.network import ReverseProxy
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route, WebSocket

pytestmark = pytest.mark.browser

MOST_BYTES = 130_000
"""What may reach the browser before the first prompt."""

RTT_S = 0.2

NewLine = Callable[..., FarLine]


@pytest.fixture
def new_line() -> Iterator[NewLine]:
    """Put lines before a bridge: `new_line(bridge, rtt_s=0.2)`."""
    lines: list[FarLine] = []

    def make(bridge: RunningBridge, rtt_s: float = 0.0, **options: bool) -> FarLine:
        lines.append(FarLine(bridge.port, rtt_s, **options))
        return lines[-1]

    yield make
    for line in lines:
        line.close()


class Sockets:
    """The WebSockets of a tab, and what goes over them.

    Attributes:
        opened: The WebSockets.
        sent: Text that the page has sent.
        received: Text that it has got.
        sent_before_output: Text that it had sent when the first output came.
    """

    def __init__(self, page: "Page") -> None:
        self.opened: list[WebSocket] = []
        self.sent: list[str] = []
        self.received: list[str] = []
        self.sent_before_output: list[str] | None = None
        page.on("websocket", self._on_websocket)

    @property
    def hello(self) -> dict[str, object]:
        """What the address of the first one says of this client."""
        told: dict[str, object] = json.loads(
            parse_qs(urlsplit(self.opened[0].url).query)["hello"][0]
        )
        return told

    def has_output(self) -> bool:
        return self.sent_before_output is not None

    def _on_websocket(self, websocket: "WebSocket") -> None:
        self.opened.append(websocket)
        websocket.on("framesent", lambda data: self.sent.append(str(data)))
        websocket.on("framereceived", self._on_received)

    def _on_received(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self.received.append(data)
            if data.startswith('451-["out"') and self.sent_before_output is None:
                self.sent_before_output = list(self.sent)


def hold(page: "Page", pattern: str) -> list["Route"]:
    """Let no request pass whose address matches; they collect in the list."""
    held: list[Route] = []
    page.route(re.compile(pattern), lambda route: held.append(route))
    return held


def sign_in(tab: Tab, bridge: RunningBridge, line: FarLine) -> str:
    """Give a tab's profile the cookie for the address through a line; return that address."""
    address = f"http://127.0.0.1:{line.port}/"
    answer = tab.page.request.post(f"{address}login", form={"token": bridge.token}, max_redirects=0)
    assert answer.status == 303
    return address


def names(line: FarLine, since: int = 0) -> list[str]:
    """Return what has been asked for through a line, without hashes and queries."""
    asked = [text for passage in line.passages[since:] for _, text in passage.requests]
    paths = [urlsplit(text.split()[1]).path for text in asked]
    return sorted(re.sub(r"-[A-Z0-9]{8}\.", ".", path) for path in paths)


def test_the_first_screen_takes_one_round_of_requests(
    start_bridge: StartBridge, new_line: NewLine, new_tab: NewTab
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    line = new_line(bridge)
    tab = new_tab()
    address = sign_in(tab, bridge, line)
    sockets = Sockets(tab.page)
    # Neither is waited for: not what the first screen can do without, nor the widths of characters.
    later = hold(tab.page, r"/(company|localecho|addon-webgl|addon-unicode-graphemes)-")
    before = len(line.passages)
    tab.page.goto(address)
    tab.wait_for(r"^\$ ?$")
    assert tab.state() == "connected"
    # One for the page with all that it needs, one for the session.
    assert names(line, before) == ["/", "/tty/"]
    assert sum(passage.down_bytes for passage in line.passages[before:]) < MOST_BYTES
    # The bridge has begun by itself: nothing was sent that the output had to wait for, as a hello.
    assert sockets.sent_before_output is not None
    assert [text for text in sockets.sent_before_output if not text.startswith('42["pong"')] == []
    assert len(sockets.opened) == 1
    # Asking for the state lets the browser tell what was asked for meanwhile.
    wait_until(lambda: tab.state() and len(later) >= 4, "the rest is asked for once it is there")
    for route in later:
        route.continue_()


def test_the_session_begins_while_the_script_is_on_its_way(
    start_bridge: StartBridge, new_line: NewLine, new_tab: NewTab
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    line = new_line(bridge)
    tab = new_tab()
    address = sign_in(tab, bridge, line)
    tab.page.goto(f"{address}healthz")
    script = tab.page.request.get(address).text()
    name = re.search(r'name="ttybridge-script" content="([^"]+)"', script)
    assert name is not None
    tab.page.context.add_cookies([{"name": "ttybridge-page", "value": name[1], "url": address}])
    sockets = Sockets(tab.page)
    held = hold(tab.page, r"/app-")
    tab.page.goto(address, wait_until="commit")
    wait_until(lambda: tab.page.evaluate("() => 1") and held, "the script is asked for")
    wait_until(
        lambda: tab.page.evaluate("() => 1") and sockets.has_output(), "the session's output comes"
    )
    assert tab.state() == ""
    held[0].continue_()
    tab.wait_for_state("connected")
    tab.wait_for(r"^\$ ?$")
    wait_until(tab.renderer, "the renderer is chosen: its characters have the final size")
    tab.run("echo typed-$((6*7))")
    tab.wait_for("^typed-42$")
    assert len(sockets.opened) == 1
    # The size was right from the start: nothing is drawn twice.
    assert (sockets.hello["cols"], sockets.hello["rows"]) == tab.size()
    assert not [text for text in sockets.sent if '"size"' in text]
    assert tab.page.evaluate("() => window.ttybridgeEarly === undefined")


@pytest.mark.parametrize("ratio", [1, 1.25, 2])
@pytest.mark.parametrize("font", ["", "11", "18"])
def test_the_size_is_told_right_before_anything_is_drawn(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab, ratio: float, font: str
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    context = new_context(viewport={"width": 913, "height": 571}, device_scale_factor=ratio)
    if font:
        context.add_init_script(f"localStorage.setItem('ttybridge.fontSize', '{font}')")
    tab = new_tab(context)
    tab.open(bridge.link)
    sockets = Sockets(tab.page)  # now it is known whether WebGL draws here
    tab.open(bridge.link)
    assert (sockets.hello["cols"], sockets.hello["rows"]) == tab.size()
    assert not [text for text in sockets.sent if '"size"' in text]


def test_the_script_is_kept_for_the_next_visit(
    start_bridge: StartBridge, new_line: NewLine, new_tab: NewTab
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    line = new_line(bridge)
    tab = new_tab()
    address = sign_in(tab, bridge, line)

    def kept() -> str:
        cookies = tab.page.context.cookies(address)
        return next((str(c.get("value")) for c in cookies if c.get("name") == "ttybridge-page"), "")

    tab.open(address)
    wait_until(kept, "the browser has a copy")
    before, first = len(line.passages), sum(passage.down_bytes for passage in line.passages)
    asked = len(names(line))
    tab.open(address)
    again = names(line)[asked:] if len(line.passages) == before else names(line, before)
    assert not [name for name in again if name.startswith("/app")]
    assert sum(passage.down_bytes for passage in line.passages) - first < MOST_BYTES / 4
    tab.run("echo typed-$((6*7))")
    tab.wait_for("^typed-42$")


def test_where_no_websocket_opens_polling_does_not_wait_for_a_second_try(
    start_bridge: StartBridge, new_proxy: Callable[..., ReverseProxy], new_tab: NewTab
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    proxy = new_proxy(bridge.port, websockets="refuse")
    tab = new_tab().open(proxy.link(bridge.token))
    tab.run("echo typed-$((6*7))")
    tab.wait_for("^typed-42$")
    assert proxy.websockets_seen == 1


def test_keys_on_a_far_line_do_not_wait_for_each_other_and_arrive_in_order(
    start_bridge: StartBridge, new_line: NewLine, new_tab: NewTab, tmp_path: Path
) -> None:
    script = "stty -icanon; echo ready; cat > typed"
    bridge = start_bridge("--allow-host", "127.0.0.1", command=["sh", "-c", script])
    line = new_line(bridge, RTT_S, refuses_websockets=True)
    tab = new_tab()
    tab.page.goto(line_link(bridge, line))
    tab.wait_for_state("connected")
    tab.wait_for("^ready$")
    text = "".join(chr(97 + i % 26) for i in range(120))
    tab.type(text)
    tab.wait_for(f"^{text[-26:]}|{text[-10:]}$")
    wait_until(lambda: (tmp_path / "typed").read_text() == text, "every key arrives, in order")
    posts = sorted(
        at for passage in line.passages for at, asked in passage.requests if asked[:4] == "POST"
    )
    gaps = [later - earlier for earlier, later in itertools.pairwise(posts)]
    assert min(gaps) < RTT_S / 2, "each POST has waited for the answer to the last"


def line_link(bridge: RunningBridge, line: FarLine) -> str:
    """Return a bridge's link that leads through a line."""
    return bridge.link.replace(f":{bridge.port}/", f":{line.port}/")
