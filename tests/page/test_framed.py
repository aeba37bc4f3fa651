"""The terminal in a frame of another page: refused, or allowed by --allow-frame."""

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from benchmarks.chromium import FLAGS, WHOLE_CHROMIUM
from tests.conftest import DEADLINE_S, StartBridge, Tmux, wait_until
from tests.page.conftest import NewContext
from tests.page.network import ReverseProxy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

pytestmark = pytest.mark.browser

STATE = "() => window.ttybridge?.state() ?? ''"


class Neighbour:
    """A web server on this machine with one page, which has a link of the bridge in a frame.

    Attributes:
        origin: Its origin: `127.0.0.1`, as the bridge, or `localhost` for another site.
        link: What it frames; set before a browser comes.
    """

    def __init__(self, name: str, tls: ssl.SSLContext | None = None) -> None:
        """Begin to serve."""
        self.link = ""
        neighbour = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f'<iframe src="{neighbour.link}" width=900 height=500></iframe>'.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.origin = f"{'https' if tls else 'http'}://{name}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def open(self, page: "Page", link: str) -> None:
        """Open the page with that link in its frame."""
        self.link = link
        page.goto(f"{self.origin}/")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join(DEADLINE_S)
        self._server.server_close()


NewNeighbour = Callable[..., Neighbour]


@pytest.fixture
def new_neighbour() -> Iterator[NewNeighbour]:
    """Make pages around: `new_neighbour("localhost", tls)`."""
    neighbours: list[Neighbour] = []

    def make(name: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Neighbour:
        neighbours.append(Neighbour(name, tls))
        return neighbours[-1]

    yield make
    for neighbour in neighbours:
        neighbour.close()


def use_the_terminal(page: "Page", tmux: Tmux) -> None:
    """Type into the frame's terminal and see the shell do it."""

    def is_connected() -> bool:
        return any(inner.evaluate(STATE) == "connected" for inner in page.frames[1:])

    wait_until(is_connected, "the terminal in the frame is connected")
    page.frame_locator("iframe").locator("#terminal").click()
    page.keyboard.type("echo framed-$((40+2))")
    page.keyboard.press("Enter")
    wait_until(lambda: "\nframed-42" in tmux.screen(), "the shell has run the command")


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """A certificate that nobody knows."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    files = ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=127.0.0.1"]
    subprocess.run(
        [*make.split(), *files], cwd=tmp_path, check=True, capture_output=True, timeout=DEADLINE_S
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


def test_a_foreign_page_cannot_frame_the_terminal(
    start_bridge: StartBridge, new_context: NewContext, new_neighbour: NewNeighbour
) -> None:
    page = new_context().new_page()

    def is_refusal(message: "ConsoleMessage") -> bool:
        return "frame-ancestors" in message.text or "X-Frame-Options" in message.text

    with page.expect_console_message(is_refusal, timeout=DEADLINE_S * 1000):
        new_neighbour().open(page, start_bridge().link)
    assert [inner.evaluate(STATE) for inner in page.frames[1:]] == [""]


def test_a_page_that_is_allowed_frames_the_terminal_under_the_same_host_name(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_neighbour: NewNeighbour
) -> None:
    neighbour = new_neighbour()
    page = new_context().new_page()
    neighbour.open(page, start_bridge("--allow-frame", neighbour.origin).link)
    use_the_terminal(page, tmux)


def test_a_page_of_another_site_frames_the_terminal_over_https(
    start_bridge: StartBridge,
    tmux: Tmux,
    new_context: NewContext,
    new_neighbour: NewNeighbour,
    new_proxy: Callable[..., ReverseProxy],
    certificate: ssl.SSLContext,
) -> None:
    neighbour = new_neighbour("localhost", certificate)
    known = ("--allow-host", "127.0.0.1", "--trusted-proxy", "127.0.0.1")
    bridge = start_bridge("--allow-frame", neighbour.origin, *known)
    proxy = new_proxy(bridge.port, forwards=True, tls=certificate)
    context = new_context(ignore_https_errors=True)
    page = context.new_page()
    neighbour.open(page, proxy.link(bridge.token))
    use_the_terminal(page, tmux)
    (cookie,) = context.cookies()
    assert (cookie["sameSite"], cookie["secure"], cookie["httpOnly"]) == ("None", True, True)
    assert cookie.get("partitionKey") == "https://localhost"


@pytest.fixture
def strict_context(browser: "Browser", tmp_path: Path) -> Iterator["BrowserContext"]:
    """A browser that refuses all cookies of other sites, as its settings can say."""
    if WHOLE_CHROMIUM is None:
        pytest.skip("a Chromium without windows has no settings, and chromium is not installed")
    preferences = tmp_path / "profile" / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    settings = {"cookie_controls_mode": 1, "block_third_party_cookies": True}
    preferences.write_text(json.dumps({"profile": settings}))
    context = browser.browser_type.launch_persistent_context(
        tmp_path / "profile", executable_path=WHOLE_CHROMIUM, args=FLAGS, ignore_https_errors=True
    )
    yield context
    context.close()


@pytest.mark.parametrize("websockets", ["pass", "strip"])
def test_a_frame_link_works_where_cookies_of_other_sites_are_refused(
    start_bridge: StartBridge,
    tmux: Tmux,
    strict_context: "BrowserContext",
    new_neighbour: NewNeighbour,
    new_proxy: Callable[..., ReverseProxy],
    certificate: ssl.SSLContext,
    websockets: Literal["pass", "strip"],
) -> None:
    """As in a notebook's output: under a name that the bridge was never told."""
    neighbour = new_neighbour("localhost", certificate)
    bridge = start_bridge()
    proxy = new_proxy(bridge.port, tls=certificate, websockets=websockets)
    query = bridge.control.link(frame=True).query
    page = strict_context.new_page()
    neighbour.open(page, proxy.link() + query)
    use_the_terminal(page, tmux)
    assert (proxy.websockets_seen > 0) or websockets == "strip"
    frame = page.frames[1]
    assert "link=" not in frame.url
    # Nothing of the credential is left where the terminal, or an app below /proxy/, could read it.
    assert "ttybridge-credential" not in frame.content()
    assert frame.locator("#sign-out").is_hidden()
    frame.locator("#share-open").click()
    frame.locator("#share-make").click()
    wait_until(lambda: "link=" in frame.locator("#share-link").input_value(), "a link is made")
    frame.locator("#share-close").click()
    # The browser does refuse: what a page of another site sets in a frame is gone.
    refused = "() => { document.cookie = 'x=1; SameSite=None; Secure'; return document.cookie; }"
    assert frame.evaluate(refused) == ""
    # A saved notebook that is opened again shows the link again, which is used up.
    strict_context.clear_cookies()
    neighbour.open(page, proxy.link() + query)
    words = page.frame_locator("iframe").get_by_text("run the cell again")
    words.wait_for(timeout=DEADLINE_S * 1000)
