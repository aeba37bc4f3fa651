"""`ttybridge connect` on lines that are cut, slow, or carry no WebSocket."""

import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartBridge, Tmux, wait_until
from tests.e2e.conftest import StartOnPty
from tests.e2e.terminal_client import RECORD, Connect, connecting, is_raw, shown
from tests.page.network import Cable, ReverseProxy

LOST = "Connection lost"
ANY_PORT = ("--allow-host", "127.0.0.1")
QUICK = """
from ttybridge.client import connect
connect.FIRST_DELAY_S, connect.SAY_LOST_AFTER_S = 0.1, 0.3
"""
SLOWER = QUICK + "connect.SAY_LOST_AFTER_S = 60"
"""A loss is not told: nothing of the client's own gets between the output."""


@pytest.fixture
def connect(tmp_path: Path, start_on_pty: StartOnPty) -> Connect:
    """Start the client on a pty, with a home of its own."""
    home = tmp_path / "client"
    home.mkdir()
    return connecting(home, start_on_pty)


def test_a_cut_loses_no_byte_of_input_and_doubles_none(
    start_bridge: StartBridge, connect: Connect, new_cable: Callable[[int], Cable], tmp_path: Path
) -> None:
    bridge = start_bridge(*ANY_PORT, command=RECORD)
    cable = new_cable(bridge.port)
    terminal = connect(cable.link(bridge.link), patch=QUICK)
    terminal.wait_for_text("ready")
    expected = b""
    typed = tmp_path / "typed"
    for turn in range(2):
        part = b"".join(b"%d.%d;" % (turn, n) for n in range(30_000))
        at = len(typed.read_bytes())
        writer = threading.Thread(target=terminal.type, args=(part,))
        writer.start()
        wait_until(lambda at=at: len(typed.read_bytes()) > at, "some of it")  # type: ignore[misc]
        cable.cut()
        writer.join()
        expected += part
        whole = len(expected)
        wait_until(lambda n=whole: len(typed.read_bytes()) >= n, "all input")  # type: ignore[misc]
    assert typed.read_bytes() == expected
    assert bridge.log.count("came back") == 2


def test_output_goes_on_at_the_byte_where_it_was_cut(
    start_bridge: StartBridge, connect: Connect, new_cable: Callable[[int], Cable]
) -> None:
    script = "for i in $(seq 60000); do echo line-$i; done; read x"
    bridge = start_bridge(*ANY_PORT, command=["sh", "-c", f"read x; {script}"])
    cable = new_cable(bridge.port)
    terminal = connect(cable.link(bridge.link), patch=SLOWER)
    wait_until(lambda: is_raw(terminal), "the beginning")
    cable.cut_after(50_000, 90_000)
    terminal.type(b"\r")
    terminal.wait_for_text("line-60000\r\n", 60)
    found = re.findall(rb"line-(\d+)\r\n", terminal.received)
    assert [int(number) for number in found] == list(range(1, 60_001))
    assert cable.cuts == 2
    terminal.type(b"\r")
    assert terminal.wait() == 0
    assert "ended with status 0" in terminal.tail


def test_a_loss_that_lasts_is_told_and_painted_over_at_the_return(
    start_bridge: StartBridge, connect: Connect, new_cable: Callable[[int], Cable], tmux: Tmux
) -> None:
    bridge = start_bridge(*ANY_PORT)
    cable = new_cable(bridge.port)
    terminal = shown(connect(cable.link(bridge.link), patch=QUICK))
    cable.cut(refuse=True)
    terminal.wait_for_text(LOST)
    terminal.type(b"echo typed-$((6*7))\r")
    terminal.start_anew()
    cable.mend()
    terminal.wait_for_text("typed-42")
    terminal.wait_for_text("[0] 0:")
    assert LOST not in terminal.tail


def test_a_place_that_is_gone_is_joined_anew_without_what_was_typed_meanwhile(
    start_bridge: StartBridge, connect: Connect, new_cable: Callable[[int], Cable], tmux: Tmux
) -> None:
    bridge = start_bridge("--resume", "0.2", *ANY_PORT)
    cable = new_cable(bridge.port)
    terminal = shown(connect(cable.link(bridge.link), patch=QUICK))
    cable.cut(refuse=True)
    terminal.wait_for_text(LOST)
    terminal.type(b"echo typed-away\r")
    wait_until(lambda: not tmux.clients(), "the end of the place")
    cable.mend()
    terminal.wait_for_text("what was typed in the meantime was not sent")
    terminal.type(b"echo mark-$((6*7))\r")
    terminal.wait_for_text("mark-42")
    assert "typed-away" not in tmux.screen()


def test_where_websockets_do_not_pass_polling_carries_it(
    start_bridge: StartBridge, connect: Connect, tmp_path: Path
) -> None:
    bridge = start_bridge(*ANY_PORT, command=RECORD)
    proxy = ReverseProxy(bridge.port, prefix="/shell", websockets="refuse")
    try:
        terminal = connect(proxy.link(bridge.token))
        terminal.wait_for_text("ready")
        pasted = bytes(n for n in range(256) if n != ord("~")) * 300
        terminal.type(pasted)
        typed = tmp_path / "typed"
        wait_until(lambda: len(typed.read_bytes()) >= len(pasted), "all input")
        assert typed.read_bytes() == pasted
        terminal.type(b"\r~.")
        assert terminal.wait() == 0
        wait_until(lambda: "left" in bridge.log, "the goodbye")
    finally:
        proxy.close()


def test_a_slow_terminal_is_a_slow_client_and_stops_nobody(
    start_bridge: StartBridge, connect: Connect
) -> None:
    bridge = start_bridge()
    terminal = shown(connect(bridge.link))
    terminal.process.send_signal(signal.SIGSTOP)
    other = shown(connect(bridge.link))
    other.type(b"seq 300000; echo mark-$((6*7))\r")
    other.wait_for_text("mark-42", 60)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.wait_for_text("mark-42", 60)
