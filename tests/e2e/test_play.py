"""`ttybridge play`: in a terminal, without one, and served to a browser."""

import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, ROOT, clean_environment
from tests.e2e.asking import ask
from tests.e2e.conftest import OnPty, StartOnPty

DEMO = (
    '{"version": 2, "width": 40, "height": 10, "idle_time_limit": 0.1}\n'
    '[0.0, "o", "\\u001b[?1049h\\u001b[?25lone é😀\\r\\n"]\n'
    '[600.0, "o", "two\\u001b]52;c;aGk=\\u0007\\r\\n"]\n'
    '[1200.0, "r", "60x20"]\n'
    '[1200.1, "o", "three\\r\\n"]\n'
)
SHOWN = "\x1b[?1049h\x1b[?25lone é😀\r\ntwo\r\nthree\r\n"


def demo(folder: Path, text: str = DEMO) -> Path:
    path = folder / "demo.cast"
    path.write_text(text)
    return path


@dataclass(frozen=True)
class Done:
    """What a command has said."""

    returncode: int
    stdout: str
    stderr: str


def play(*arguments: str, **more: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "ttybridge", "play", *arguments],
        env=clean_environment(PYTHONPATH=str(ROOT), **more), stdin=subprocess.DEVNULL,
        capture_output=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_without_a_terminal_the_output_comes_with_the_same_timing(tmp_path: Path) -> None:
    path = demo(tmp_path)
    began = time.monotonic()
    # In an ASCII locale, too: the bytes are those that were recorded.
    done = play(str(path), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    took = time.monotonic() - began
    assert (done.returncode, done.stdout, done.stderr) == (0, SHOWN, "")
    assert took >= 0.2  # the header's limit, twice
    began = time.monotonic()
    assert play(str(path), "--idle-limit", "0.4", "--speed", "2").stdout == SHOWN
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEMO + '[1300, "o"]\n', "demo.cast cannot be played. Line 6: this is no event"),
        ("", "demo.cast cannot be played. Line 1: the file is empty"),
        ("#!/bin/sh\n", "demo.cast cannot be played. Line 1: this is not JSON"),
    ],
    ids=["event", "empty", "script"],
)
def test_a_malformed_file_is_one_clear_error(text: str, words: str, tmp_path: Path) -> None:
    done = play(str(demo(tmp_path, text)), "--speed", "100")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert words in line
    assert "Traceback" not in done.stderr


def test_wrong_options_are_said_all_at_once(tmp_path: Path) -> None:
    done = play(str(demo(tmp_path)), "--speed", "nan", "--idle-limit", "soon")
    assert done.returncode == 2
    assert "--speed 'nan'" in done.stderr
    assert "--idle-limit 'soon'" in done.stderr
    assert "No such file" in play(str(tmp_path / "none.cast")).stderr


def start_playing(start_on_pty: StartOnPty, *arguments: str) -> OnPty:
    return start_on_pty(
        [sys.executable, "-m", "ttybridge", "play", *arguments],
        env=clean_environment(PYTHONPATH=str(ROOT), TERM="xterm-256color"),
        cols=80,
        rows=24,
    )


@pytest.mark.parametrize(
    ("end", "status"),
    [(b"q", 0), (b"\x03", 130), (signal.SIGTERM, 143)],
    ids=["q", "ctrl-c", "term"],
)
def test_keys_pause_step_and_end_and_the_terminal_is_as_before(
    end: bytes | signal.Signals, status: int, start_on_pty: StartOnPty, tmp_path: Path
) -> None:
    text = DEMO.replace('"idle_time_limit": 0.1', '"title": "x"')
    playing = start_playing(start_on_pty, str(demo(tmp_path, text)))
    playing.wait_for_text("one")
    assert not termios.tcgetattr(playing.master)[3] & termios.ICANON
    playing.type(b" .")
    playing.wait_for_text("two")
    if isinstance(end, bytes):
        playing.type(b"\x1b[?62;c\x1bOA" + end)  # neither an answer nor a cursor key is in its way
    else:
        playing.process.send_signal(end)
    assert playing.wait() == status
    assert "three" not in playing.tail
    flags = termios.tcgetattr(playing.master)[3]
    assert flags & termios.ICANON
    assert flags & termios.ECHO
    assert playing.tail.rindex("\x1b[?1049l") > playing.tail.rindex("\x1b[?1049h")
    assert playing.tail.rindex("\x1b[?25h") > playing.tail.rindex("\x1b[?25l")
    assert "]52;" not in playing.tail


def test_a_terminal_that_is_too_small_is_told_first(
    start_on_pty: StartOnPty, tmp_path: Path
) -> None:
    text = DEMO.replace('"width": 40', '"width": 100')
    playing = start_playing(start_on_pty, str(demo(tmp_path, text)))
    playing.wait_for_text("three")
    assert playing.wait() == 0
    assert "this terminal has 80x24, the recording 100x10" in playing.tail.partition("one")[0]


def test_one_recording_is_served_behind_a_token_until_ctrl_c(tmp_path: Path) -> None:
    path = demo(tmp_path)
    (tmp_path / "other.cast").write_text(DEMO)
    serving = subprocess.Popen(
        [sys.executable, "-m", "ttybridge", "play", str(path), "--serve"],
        env=clean_environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert serving.stdout is not None
        link = serving.stdout.readline().strip()
        address, token = link.split("?token=")
        assert address.startswith("http://127.0.0.1:")
        assert ask(address, token)[0] == 200
        assert ask(address + "recordings/demo.cast", token)[2].decode() == DEMO
        assert ask(address + "recordings/other.cast", token)[0] == 404
        assert ask(address + "recordings/demo.cast", "wrong" * 5)[0] == 401
        assert b"data-recording" not in ask(address, "wrong" * 5)[2]
        serving.send_signal(signal.SIGINT)
        assert serving.wait(DEADLINE_S) == 0
    finally:
        serving.kill()
        serving.communicate()
