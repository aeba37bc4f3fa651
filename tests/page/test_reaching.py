"""Ways to the page: below a path, behind a proxy, by the sign-in form."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartBridge
from tests.page.conftest import NewContext, NewTab
from tests.page.network import ReverseProxy
from tests.page.tab import Tab

pytestmark = pytest.mark.browser

NewProxy = Callable[..., ReverseProxy]

PREFIX = "/user/x/proxy/8080"


def check_that_it_works(tab: Tab) -> None:
    tab.wait_for_state("connected")
    tab.run("echo works-$((1+1))")
    tab.wait_for("^works-2$")


def sign_in(tab: Tab, token: str) -> None:
    tab.page.get_by_label("Token").fill(token)
    tab.page.get_by_role("button", name="Open the terminal").click()


def check_link_and_form(
    new_context: NewContext, new_tab: NewTab, link: str, address: str, token: str, path: str
) -> None:
    """Get in by link and, in another profile, by the form; the cookie is for the page's path."""
    context = new_context()
    tab = new_tab(context)
    tab.page.goto(link)
    assert tab.page.url == address
    check_that_it_works(tab)
    assert [cookie["path"] for cookie in context.cookies()] == [path]
    other = new_tab(new_context())
    other.page.goto(address)
    sign_in(other, token)
    other.page.wait_for_url(address)
    check_that_it_works(other)


@pytest.mark.parametrize("forwards", [True, False], ids=["x-forwarded", "host-passed-on"])
def test_the_page_works_below_a_path_that_a_proxy_strips(
    start_bridge: StartBridge,
    new_proxy: NewProxy,
    new_context: NewContext,
    new_tab: NewTab,
    forwards: bool,
) -> None:
    bridge = start_bridge("--trusted-proxy", "127.0.0.1", "--allow-host", "127.0.0.1")
    proxy = new_proxy(bridge.port, prefix=PREFIX, forwards=forwards)
    check_link_and_form(
        new_context, new_tab, proxy.link(bridge.token), proxy.link(), bridge.token, PREFIX
    )
    assert proxy.websockets_seen == 2


def test_the_page_works_below_a_base_path_that_a_proxy_keeps(
    start_bridge: StartBridge, new_proxy: NewProxy, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge("--base-path", PREFIX, "--allow-host", "127.0.0.1")
    proxy = new_proxy(bridge.port, prefix=PREFIX, strips=False)
    check_link_and_form(
        new_context, new_tab, proxy.link(bridge.token), proxy.link(), bridge.token, PREFIX
    )


def test_the_page_works_below_a_base_path_without_a_proxy(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge("--base-path", "/lab/term")
    check_link_and_form(
        new_context, new_tab, bridge.link, bridge.address, bridge.token, "/lab/term"
    )


def test_without_a_credential_there_is_a_form_and_it_tells_a_wrong_token(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    bridge = start_bridge()
    tab = new_tab()
    answer = tab.page.goto(bridge.address)
    assert answer is not None
    assert answer.status == 401
    assert tab.page.title() == "Sign in – ttybridge"
    before = tab.page.inner_text("main")
    assert "wrong" not in before.lower()
    tab.page.screenshot(path=tmp_path / "login.png")
    sign_in(tab, "w" * 43)
    tab.page.wait_for_url("**/login")
    tab.page.screenshot(path=tmp_path / "wrong.png")
    assert "wrong" in tab.page.inner_text("main").lower()
    assert "w" * 43 not in tab.page.content()
    sign_in(tab, bridge.token)
    tab.page.wait_for_url(bridge.address)
    check_that_it_works(tab)


def test_a_tab_whose_credential_ends_says_that_it_is_signed_out(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    context = new_context()
    tab, other = new_tab(context).open(bridge.link), new_tab(context).open(bridge.address)
    other.page.get_by_role("button", name="Settings and help").click()
    other.page.get_by_role("button", name="Sign out").click()
    other.page.wait_for_selector("input[name=token]")
    tab.wait_for_state("ended")
    assert "You have signed out." in tab.page.inner_text("#panel")
    tab.page.get_by_role("button", name="Sign in").click()
    tab.page.wait_for_selector("input[name=token]")
