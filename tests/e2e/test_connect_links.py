"""Whose access `ttybridge connect` uses: that of the link that was given, and no other."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, StartBridge, clean_environment, wait_until
from tests.e2e.conftest import OnPty, StartOnPty
from tests.e2e.terminal_client import Connect, connecting, shown
from ttybridge.client.control import Control

NOT_VALID = "ttybridge: error: This link is not valid any more. Ask for a new one."


@pytest.fixture
def connect(tmp_path: Path, start_on_pty: StartOnPty) -> Connect:
    """Start the client on a pty, with a home of its own."""
    home = tmp_path / "client"
    home.mkdir()
    return connecting(home, start_on_pty)


def in_as(terminal: OnPty, control: Control) -> tuple[str, str]:
    """Return role and link of the only one who is there, who leaves then."""
    shown(terminal)
    (row,) = control.people().people
    terminal.type(b"\r~.")
    assert terminal.wait() == 0
    wait_until(lambda: not control.people().people, "the end of the place")
    return row.role, row.link


def last_line(terminal: OnPty) -> str:
    assert terminal.wait() == 1
    return terminal.tail.strip().splitlines()[-1]


def test_a_link_gives_its_own_access_again_and_never_another_one_that_is_kept(
    start_bridge: StartBridge, connect: Connect, start_on_pty: StartOnPty, tmp_path: Path
) -> None:
    bridge = start_bridge()
    control = bridge.control
    once, often = control.share("editor", uses=1), control.share("viewer")
    assert in_as(connect(once.url), control) == ("editor", once.id)
    assert in_as(connect(bridge.address), control) == ("editor", once.id), "none of an owner's"
    assert in_as(connect(bridge.link), control) == ("owner", "")
    assert in_as(connect(often.url), control) == ("viewer", often.id)
    assert in_as(connect(bridge.address), control) == ("owner", ""), "a guest's does not replace it"
    assert in_as(connect(once.url), control) == ("editor", once.id), "it was opened here"
    used = control.share("editor", uses=1)
    elsewhere = connecting(tmp_path, start_on_pty)
    assert in_as(elsewhere(used.url), control) == ("editor", used.id)
    for link in (used.url, once.url + "x"):
        assert last_line(connect(link)) == NOT_VALID
    home = str(tmp_path / "client")
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", "ssh", used.url, "true"],
        env=clean_environment(HOME=home, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.strip()) == (1, NOT_VALID)
    control.revoke(once.id)
    said = "This link has been revoked. Ask whoever shared it with you for a new link."
    assert last_line(connect(once.url)) == f"ttybridge: error: {said}"
