"""A real Chromium for the tests of the page."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.chromium import CHROMIUM, FLAGS
from tests.conftest import IS_LONG
from tests.page.network import Cable, ReverseProxy
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

DRAWN = ("test_drawing", "test_loading", "test_sizes", "test_terminal")
"""The files whose pages are drawn by WebGL in ordinary runs, as almost everywhere."""

NewContext = Callable[..., "BrowserContext"]
NewTab = Callable[..., Tab]


# One browser for each file: Playwright's loop must not run while other files run theirs.
@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator["Browser"]:
    """Chromium, without a window; with WebGL, which costs much without a GPU, where it is drawn."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        is_drawn = IS_LONG or request.module.__name__.rpartition(".")[2] in DRAWN
        flags = FLAGS if is_drawn else [*FLAGS, "--disable-3d-apis"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def new_context(browser: "Browser") -> Iterator[NewContext]:
    """Make browser profiles of their own cookies; the clipboard is allowed."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> "BrowserContext":
        options.setdefault("viewport", {"width": 1000, "height": 640})
        context = browser.new_context(**options)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def new_tab(new_context: NewContext) -> Iterator[NewTab]:
    """Make tabs: `new_tab()`; at the end, none of them may have complained."""
    tabs: list[Tab] = []
    shared: list[BrowserContext] = []

    def make(context: "BrowserContext | None" = None, *, records: bool = False) -> Tab:
        if context is None:
            if not shared:
                shared.append(new_context())
            context = shared[0]
        tab = Tab(context.new_page(), records=records)
        tabs.append(tab)
        return tab

    yield make
    assert [violation for tab in tabs for violation in tab.violations] == []


@pytest.fixture
def new_cable() -> Iterator[Callable[..., Cable]]:
    """Put cables between browser and bridge: `new_cable(bridge.port, round_trip_s=0.2)`."""
    cables: list[Cable] = []

    def make(port: int, *, round_trip_s: float = 0.0) -> Cable:
        cables.append(Cable(port, round_trip_s=round_trip_s))
        return cables[-1]

    yield make
    for cable in cables:
        cable.close()


@pytest.fixture
def new_proxy() -> Iterator[Callable[..., ReverseProxy]]:
    """Put reverse proxies in front of a bridge: `new_proxy(bridge.port, prefix="/x")`."""
    proxies: list[ReverseProxy] = []

    def make(port: int, **options: Any) -> ReverseProxy:
        proxies.append(ReverseProxy(port, **options))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()
