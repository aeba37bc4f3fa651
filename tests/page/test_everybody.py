"""Two browsers, SSH, `ttybridge connect`, `colab console`: roles change while they type.

The table of what each one tried, and what happened, is in `STEPS`.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import RunningBridge, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.conftest import OnPty
from tests.e2e.guests import open_link
from tests.e2e.ssh import Ssh, needs_ssh
from tests.e2e.test_colab_console import COLAB, CONSOLE, colab_environment
from tests.page.conftest import NewContext, NewTab
from tests.page.tab import Tab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.colab_cli,
    *needs_ssh,
    pytest.mark.skipif(not COLAB.exists(), reason="no colab command line (.venv-colab)"),
]

PEOPLE = ("Olga", "Vera", "viewer", "Carl", "Cora")
"""An owner and a guest in Chromium, an SSH key, `ttybridge connect`, `colab console`."""

STEPS: list[tuple[dict[str, str], str]] = [
    # whose role is changed, and who can type afterwards: o(lga) v(era) s(sh) c(arl) C(ora)
    ({}, "o--c-"),
    ({"Vera": "editor"}, "ov-c-"),
    ({"viewer": "editor"}, "ovsc-"),
    ({"Cora": "editor", "Carl": "viewer"}, "ovs-C"),
    ({"Vera": "owner", "Olga": "viewer"}, "-vs-C"),
    ({"viewer": "viewer", "Cora": "viewer"}, "-v---"),
    ({"Olga": "owner", "Vera": "viewer", "Carl": "owner"}, "o--c-"),
    ({"Vera": "editor", "viewer": "owner", "Cora": "owner", "Carl": "editor"}, "ovscC"),
    ({"Vera": "viewer", "viewer": "viewer", "Cora": "viewer", "Carl": "viewer"}, "o----"),
]


@pytest.fixture
def terminals() -> Iterator[list[OnPty]]:
    """Programs in terminals; ended after the test."""
    started: list[OnPty] = []
    yield started
    for each in started:
        each.stop()


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    """OpenSSH's programs with keys of the test's own."""
    folder = tmp_path / "client"
    folder.mkdir()
    return Ssh(folder)


def in_page(tab: Tab) -> Callable[[str], object]:
    """Return what types into a page's terminal as a keyboard does, whole lines at once."""
    return lambda text: tab.page.evaluate(
        "text => window.ttybridge.terminal.input(text, true)", text
    )


def test_roles_change_in_every_direction_while_everybody_types(
    start_bridge: StartBridge,
    ssh: Ssh,
    tmux: Tmux,
    tmp_path: Path,
    new_context: NewContext,
    new_tab: NewTab,
    terminals: list[OnPty],
) -> None:
    bridge = start_bridge(*ssh.options)
    control = bridge.control
    olga = new_tab(new_context()).open(control.share("owner", name="Olga").url)
    vera = new_tab(new_context()).open(control.share("viewer", name="Vera").url)
    client = clean_environment(TERM="xterm-256color", HOME=str(tmp_path / "home"))
    login = OnPty(ssh.command(bridge, "-t", "bridge", key=ssh.viewer), env=client)
    link = control.share("editor", name="Carl").url
    connect = OnPty([sys.executable, "-m", "ttybridge", "connect", link], env=client)
    token = _token(bridge, control.share("viewer", name="Cora").url)
    console = OnPty(CONSOLE, env=colab_environment(tmp_path / "colab", bridge, token=token))
    terminals += [login, connect, console]
    for each in terminals:
        each.wait_for_text("[0] 0:")  # tmux's status line
    here = {row.name: row for row in control.people().people}
    assert sorted(here) == sorted(PEOPLE)
    assert [here[name].via for name in PEOPLE] == ["page", "page", "ssh", "connect", "colab"]
    keyboards: dict[str, Callable[[str], object]] = {
        "Olga": in_page(olga),
        "Vera": in_page(vera),
        **{
            name: (lambda text, pty=pty: pty.type(text.encode()))  # type: ignore[misc]
            for name, pty in zip(("viewer", "Carl", "Cora"), terminals, strict=True)
        },
    }
    for number, (changes, expected) in enumerate(STEPS):
        for name, role in changes.items():
            control.grant(name, role)
        for tab, mark in ((olga, expected[0]), (vera, expected[1])):
            wait_until(lambda t=tab, m=mark: _may_type(t) is (m != "-"), "the page knows")  # type: ignore[misc]
        _all_type(tmux, tmp_path, keyboards, f"{number}", expected)
    # In the middle of a line: what was typed before the change counts, nothing after it.
    control.grant("Vera", "editor")
    wait_until(lambda: _may_type(vera), "Vera's page knows")
    keyboards["Vera"](": begun-")
    wait_until(lambda: "begun-" in tmux.screen(), "the first half of the line")
    control.grant("Vera", "viewer")
    keyboards["Vera"]("late\r")
    keyboards["Olga"]("\r")
    _all_type(tmux, tmp_path, keyboards, "end", "o----")
    assert "late" not in tmux.screen()
    control.kick("viewer")
    assert login.wait() == 1
    assert "removed" in login.tail
    control.kick("Carl")
    assert connect.wait() == 1
    assert "removed" in connect.tail
    control.kick("Cora")
    console.wait_for_text("Connection closed.")
    control.kick("Vera")
    vera.wait_for_state("ended")
    wait_until(lambda: [r.name for r in control.people().people] == ["Olga"], "Olga is alone")
    olga.page.reload()
    olga.wait_for_state("connected")


def _token(bridge: RunningBridge, url: str) -> str:
    with ThreadPoolExecutor() as threads:  # Playwright's loop runs in this one
        return threads.submit(asyncio.run, open_link(bridge, url)).result()


def _may_type(tab: Tab) -> bool:
    return bool(tab.page.evaluate("() => !window.ttybridge.terminal.options.disableStdin"))


def _all_type(
    tmux: Tmux,
    folder: Path,
    keyboards: dict[str, Callable[[str], object]],
    step: str,
    expected: str,
) -> None:
    """Have everybody type a command; see whose are run."""
    files = {name: folder / f"{step}-{name}" for name in keyboards}
    for (name, type_), mark in zip(keyboards.items(), expected, strict=True):
        type_(f" touch {files[name]}\r")
        if mark == "-":
            continue
        try:  # one after the other: in one shell, two lines may come out as one
            wait_until(files[name].exists, f"step {step}: {name} types")
        except pytest.fail.Exception as error:
            pytest.fail(f"{error}; the screen:\n{tmux.screen()}")
    # Typed behind everything: when this is done, nothing of the others is on its way any more.
    wait_until(lambda: tmux.screen().rstrip().endswith("$"), "the shell is at its prompt")
    tmux("send-keys", "-t", "=0:", f" touch {folder}/{step}-done", "Enter")
    wait_until((folder / f"{step}-done").exists, "the last command")
    happened = [name for name, file in files.items() if file.exists()]
    wanted = [name for name, mark in zip(files, expected, strict=True) if mark != "-"]
    assert happened == wanted, f"step {step}"
