"""`ttybridge connect` on a pty, and the state in which it leaves its terminal."""

import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, clean_environment
from tests.e2e.conftest import OnPty, StartOnPty

COMMAND = [sys.executable, "-W", "error", "-m", "ttybridge", "connect"]

RECORD = ["sh", "-c", "stty raw -echo; echo ready; exec cat > typed"]
"""Keeps every byte that it reads; tmux would take some for itself."""

Connect = Callable[..., OnPty]


def connecting(home: Path, start_on_pty: StartOnPty) -> Connect:
    """Return what starts the client on a pty: `connect(link, "--name", "Ada")`.

    `patch` is a program that is run in it before.
    """

    def start(
        link: str, *words: str, term: str = "xterm-256color", patch: str = "", **options: Any
    ) -> OnPty:
        env = clean_environment(HOME=str(home), PYTHONPATH=str(ROOT), TERM=term)
        argv = [*COMMAND, *words, link]
        if patch:
            # No credential in the arguments, so that the program does not start itself again.
            link, _, token = link.partition("?token=")
            env["TTYBRIDGE_TOKEN"] = token
            code = f"{patch}\nimport sys; from ttybridge.cli import main; sys.exit(main())"
            argv = [sys.executable, "-W", "error", "-c", code, "connect", *words, link]
        return start_on_pty(argv, env=env, **options)

    return start


def settings(terminal: OnPty) -> list[Any]:
    return termios.tcgetattr(terminal.master)


def is_raw(terminal: OnPty) -> bool:
    return not settings(terminal)[3] & termios.ICANON


def shown(terminal: OnPty) -> OnPty:
    """Wait until the session is there and ready for a command."""
    terminal.wait_for_text("[0] 0:")
    assert is_raw(terminal)
    return terminal


def assert_restored(terminal: OnPty, before: list[Any]) -> None:
    assert settings(terminal) == before
    received = terminal.received
    for mode in (b"?1049", b"?2004", b"?1006", b"?1000", b"?1004"):
        assert received.rfind(b"\x1b[" + mode + b"h") < received.rfind(b"\x1b[" + mode + b"l")
    assert received.rfind(b"\x1b[?25h") > received.rfind(b"\x1b[?25l")
