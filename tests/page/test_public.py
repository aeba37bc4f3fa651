"""The page behind a tunnel: the link that is previewed, opened, told anew."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import StartBridge, wait_until
from tests.e2e.ssh import needs_ssh
from tests.ngrok import install_fake_ngrok
from tests.page.conftest import NewContext, NewTab
from tests.sshd import Sshd

pytestmark = pytest.mark.browser


def test_a_page_is_told_of_a_new_address_and_a_link_asks_where_nobody_can_tell(
    start_bridge: StartBridge, new_tab: NewTab, new_context: NewContext, tmp_path: Path
) -> None:
    ngrok = install_fake_ngrok(tmp_path)
    bridge = start_bridge("--ngrok", env=ngrok.env)
    local = f"http://127.0.0.1:{bridge.control.status().port}/"
    tab = new_tab().open(local + bridge.control.link().query)
    tab.wait_for_state("connected")
    assert "link=" not in tab.page.url
    ngrok.do("move")
    toast = tab.page.get_by_text("The public address is now https://")
    toast.wait_for()
    tab.wait_until(lambda: bridge.more, lambda: "the new link on stdout")
    host = urlsplit(bridge.more[0]).netloc
    assert host in toast.inner_text()
    # What does not say that a person leads it, as a chat or an old browser, is asked first.
    context = new_context(viewport={"width": 390, "height": 800})
    query = bridge.control.link().query
    asked = context.request.get(local + query)
    page = context.new_page()
    page.route(local + query, lambda route: route.fulfill(response=asked))
    page.goto(local + query)
    page.get_by_role("heading", name="A terminal is shared with you").wait_for()
    page.screenshot(path=tmp_path / "confirm.png")
    assert page.locator("input[type=password]").count() == 0
    page.unroute_all()
    page.get_by_role("button", name="Open the terminal").click()
    page.wait_for_url(local)
    page.wait_for_function("() => window.ttybridge?.state() === 'connected'")


@needs_ssh[0]
@needs_ssh[1]
@needs_ssh[2]
def test_a_page_comes_through_ssh_to_a_machine_of_ones_own_and_back_after_its_loss(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    sshd = Sshd(tmp_path).start()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        tunnel = f"ssh:{sshd.argument}/{port}"
        bridge = start_bridge("--tunnel", tunnel, env={"PATH": sshd.environ["PATH"]})
        assert bridge.link.startswith(f"http://127.0.0.1:{port}/?link=")
        tab = new_tab().open(bridge.link)
        tab.run("echo through-$((40+2))")
        tab.wait_for("^through-42$")
        sshd.kill()
        tab.wait_for_state("reconnecting")
        sshd.start()
        tab.wait_for_state("connected")
        tab.run("echo again-$((40+2))")
        tab.wait_for("^again-42$")
        wait_until(lambda: bridge.more, "the link is told again")
        assert bridge.more[0].startswith(f"http://127.0.0.1:{port}/?link=")
    finally:
        sshd.kill()
