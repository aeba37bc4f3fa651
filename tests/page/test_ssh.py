"""A browser and two SSH logins are in one session: each sees what the others type."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.conftest import OnPty, pane_size
from tests.e2e.ssh import Ssh, needs_ssh
from tests.e2e.test_ssh_life import BACK_S, is_open, listener, ssh_port
from tests.page.conftest import NewTab

pytestmark = [pytest.mark.browser, *needs_ssh]

CLIENT = clean_environment(TERM="xterm-256color")


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    """OpenSSH's programs with keys of the test's own."""
    folder = tmp_path / "client"
    folder.mkdir()
    return Ssh(folder)


@pytest.fixture
def logins() -> Iterator[list[OnPty]]:
    """SSH logins in terminals; ended after the test."""
    started: list[OnPty] = []
    yield started
    for login in started:
        login.stop()


def test_what_one_types_the_others_see_and_each_may_leave_and_come_back(
    start_bridge: StartBridge,
    ssh: Ssh,
    tmux: Tmux,
    tmp_path: Path,
    new_tab: NewTab,
    logins: list[OnPty],
) -> None:
    # A client smaller than the window sees the part of it where the cursor is: a short prompt.
    (tmp_path / "home/.bash_profile").write_text("PS1=:\n")
    bridge = start_bridge(*ssh.options)
    command = ssh.command(bridge, "bridge")
    tab = new_tab().open(bridge.link)
    for cols, rows in ((90, 28), (70, 20)):
        logins.append(OnPty(command, env=CLIENT, cols=cols, rows=rows))
        logins[-1].wait_for_text("[0] 0:")
    first, second = logins
    wait_until(lambda: len(tmux.clients()) == 3, "three clients")

    first.type(b"echo from-$((6*7))-first\r")
    tab.wait_for("from-42-first")
    second.wait_for_text("from-42-first")
    tab.run("echo from-$((6*7))-browser")
    first.wait_for_text("from-42-browser")
    second.wait_for_text("from-42-browser")
    second.type(b"\x02c")
    first.wait_for_text("1:bash*")
    second.type(b"echo from-$((6*7))-second\r")
    tab.wait_for("from-42-second")

    # The window has the size of whoever typed last, whatever the others have.
    wait_until(lambda: pane_size(tmux) == "19 70", "the second one's size")
    first.type(b"\r")
    wait_until(lambda: pane_size(tmux) == "27 90", "the first one's size")
    tab.check_window()

    second.process.kill()  # a line that breaks
    wait_until(lambda: len(tmux.clients()) == 2, "the end of the second one's client")
    first.type(b"echo without-$((6*7))-second\r")
    tab.wait_for("without-42-second")
    second = OnPty(command, env=CLIENT, cols=70, rows=20)
    logins.append(second)
    second.wait_for_text("without-42-second")

    first.type(b"\x02d")
    assert first.wait() == 0
    second.type(b"echo after-$((6*7))-leave\r")
    tab.wait_for("after-42-leave")
    link = bridge.address  # the cookie is enough now
    tab.page.close()
    wait_until(lambda: len(tmux.clients()) == 1, "the end of the tab's client")
    back = OnPty(command, env=CLIENT, cols=90, rows=28)
    logins.append(back)
    back.wait_for_text("after-42-leave")
    again = new_tab().open(link)
    again.wait_for("after-42-leave")
    back.type(b"echo all-$((6*7))-back\r")
    again.wait_for("all-42-back")
    second.wait_for_text("all-42-back")
    for window in (b"0", b"1"):
        back.type(b"\x02" + window)
        second.wait_for_text(f"{window.decode()}:bash*")
        back.type(b"clear; echo in-$((6*7))-%s\r" % window)
        again.wait_for(f"in-42-{window.decode()}")
    assert len(tmux.clients()) == 3


def test_when_sshd_is_killed_a_browser_takes_no_notice_and_it_is_soon_back(
    start_bridge: StartBridge, ssh: Ssh, new_tab: NewTab, logins: list[OnPty]
) -> None:
    bridge = start_bridge(*ssh.options)
    port = ssh_port(bridge)
    tab = new_tab().open(bridge.link)
    logins.append(OnPty(ssh.command(bridge, "bridge"), env=CLIENT, cols=90, rows=28))
    logins[0].wait_for_text("[0] 0:")
    tab.page.evaluate(
        """() => {
          window.statesSeen = new Set();
          setInterval(() => window.statesSeen.add(window.ttybridge.state()), 5);
        }"""
    )
    killed = time.monotonic()
    os.kill(listener(bridge), signal.SIGKILL)
    wait_until(lambda: not is_open(port), "the end of sshd")
    wait_until(lambda: is_open(port), "sshd again")
    assert time.monotonic() - killed < BACK_S
    tab.run("echo beside-$((6*7))-it")
    logins[0].wait_for_text("beside-42-it")
    logins[0].type(b"echo still-$((6*7))-here\r")
    tab.wait_for("still-42-here")
    assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"
    assert tab.page.evaluate("() => [...window.statesSeen]") == ["connected"]
