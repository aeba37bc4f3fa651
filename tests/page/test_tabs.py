"""Several tabs, closed tabs and a plain tmux client share one session."""

import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import StartBridge, Tmux, clean_environment, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.tab import Tab

pytestmark = pytest.mark.browser


class PlainClient:
    """A user's own `tmux attach` in a terminal; what it shows is in `output`."""

    def __init__(self, tmux: Tmux) -> None:
        self._master, slave = pty.openpty()
        self.output = b""
        self.process = subprocess.Popen(
            ["tmux", "-S", str(tmux.socket), "attach"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=clean_environment(TERM="xterm-256color"),
            start_new_session=True,
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def is_attached(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()
        os.close(self._master)

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                self.output += data
        except OSError:
            pass


@contextmanager
def plain_client(tmux: Tmux) -> Iterator[PlainClient]:
    client = PlainClient(tmux)
    try:
        yield client
    finally:
        client.close()


def client_sizes(tmux: Tmux) -> set[tuple[int, ...]]:
    """Return columns and rows of all tmux clients."""
    text = tmux("list-clients", "-F", "#{client_width} #{client_height}")
    return {tuple(map(int, line.split())) for line in text.splitlines()}


def test_a_closed_tab_opens_again_with_everything_in_it(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    context = new_context()
    tab = new_tab(context).open(bridge.link)
    tab.run("seq 1 200; echo the-last-line; kept=here")
    row = tab.wait_for("^the-last-line$") + 1
    wait_until(lambda: tab.screen()[row] != "", "the prompt behind it")
    before = tab.screen()[:-1]  # the status line has a clock
    assert len(tmux.clients()) == 1
    tab.page.close()
    wait_until(lambda: tmux.clients() == [], "the tab's tmux client is gone", deadline_s=5)
    again = new_tab(context).open(bridge.address)  # the cookie is enough
    again.wait_for("^the-last-line$")
    assert again.screen()[:-1] == before
    again.run("echo $kept")
    again.wait_for("^here$")
    again.press("Control+b")
    for _ in range(4):
        shown = again.screen()[:-1]
        again.press("PageUp")  # faster than people, and tmux would take them for a paste
        wait_until(lambda: again.screen()[:-1] != shown, "the page before")  # noqa: B023
    again.wait_for("^60$")


def test_a_tab_that_goes_to_another_page_leaves_too(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    assert len(tmux.clients()) == 1
    tab.page.goto("about:blank")
    wait_until(lambda: tmux.clients() == [], "the tab's tmux client is gone", deadline_s=5)


def test_a_tab_that_is_loaded_again_holds_one_client(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    tab.run("echo still-$((1+1))")
    tab.wait_for("^still-2$")
    tab.page.reload()
    tab.wait_for_state("connected")
    tab.wait_for("^still-2$")
    wait_until(lambda: len(tmux.clients()) == 1, "one tmux client is left", deadline_s=5)


def test_three_tabs_and_a_plain_attach_live_side_by_side(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge()
    context = new_context()
    context.add_init_script("localStorage.setItem('ttybridge.display', 'own')")
    tabs: list[Tab] = []
    for width, height in [(1000, 640), (760, 500), (1300, 800)]:
        tab = new_tab(context)
        tab.page.set_viewport_size({"width": width, "height": height})
        tabs.append(tab.open(bridge.link))
    sizes = {tab.size() for tab in tabs}
    assert len(sizes) == 3
    with plain_client(tmux) as plain:
        wait_until(lambda: len(tmux.clients()) == 4, "four clients are attached")
        wait_until(lambda: sizes <= client_sizes(tmux), "each tab has its own size")
        for number, tab in enumerate(tabs):
            tab.run(f"clear; echo from-tab-{number}-$((1+1))")
            for other in tabs:
                other.wait_for(f"from-tab-{number}-2")
        wait_until(lambda: b"from-tab-2-2" in plain.output, "the plain client sees it")
        plain.type("echo from-plain-$((1+1))\r")
        for tab in tabs:
            tab.wait_for("from-plain-2")
        assert [tab.state() for tab in tabs] == ["connected"] * 3
        assert len(tmux.clients()) == 4
        tabs.pop(0).page.close()
        wait_until(lambda: len(tmux.clients()) == 3, "one client has left", deadline_s=5)
        tabs[0].run("echo after-the-first-$((1+1))")
        for tab in tabs:
            tab.wait_for("after-the-first-2")
        wait_until(lambda: b"after-the-first-2" in plain.output, "the plain client sees it")
        assert plain.is_attached
    wait_until(lambda: len(tmux.clients()) == 2, "the plain client has left")
    tabs.pop(0).page.close()
    wait_until(lambda: len(tmux.clients()) == 1, "one client is left", deadline_s=5)
    tabs[0].run("echo alone-$((1+1))")
    tabs[0].wait_for("alone-2")


def test_exclusive_detaches_the_first_which_may_take_the_session_back(
    start_bridge: StartBridge, tmux: Tmux, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge("--exclusive")
    context = new_context()
    first = new_tab(context).open(bridge.link)
    first.run("echo mine-$((1+1))")
    first.wait_for("^mine-2$")
    second = new_tab(context).open(bridge.link)
    first.wait_for_state("ended")
    assert first.page.inner_text("#panel-title") == "Taken over"
    assert "taken the session over" in first.page.inner_text("#panel-text")
    first.wait_for("mine-2")  # the last screen stays
    assert len(tmux.clients()) == 1
    second.wait_for("^mine-2$")
    first.page.bring_to_front()
    first.page.get_by_role("button", name="Take it back").click()
    first.wait_for_state("connected")
    second.wait_for_state("ended")
    assert second.page.inner_text("#panel-title") == "Taken over"
    first.run("echo again-$((1+1))")
    first.wait_for("^again-2$")
    assert len(tmux.clients()) == 1
