"""`ttybridge play`: plays a recording in this terminal, or serves it to a browser."""

import asyncio
import contextlib
import io
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from ttybridge import output
from ttybridge import readers as read
from ttybridge.adapters.listen import bind
from ttybridge.adapters.recording_file import lines_of, open_recording
from ttybridge.adapters.signals import stop_signals
from ttybridge.arguments import Arguments
from ttybridge.client.raw_terminal import RawTerminal
from ttybridge.core.asciicast import OUTPUT, BadRecording, Header, Reader, one_line
from ttybridge.core.harmless import Harmless
from ttybridge.core.playback import MAX_SPEED, MIN_SPEED, Pacer
from ttybridge.errors import ConfigError, TtyBridgeError
from ttybridge.model import WindowSize

T = TypeVar("T")

STOPPED_BY_CTRL_C = 130
"""Exit status after Ctrl-C (128 + SIGINT)."""

FASTER, SLOWER = 1.5, 1 / 1.5
"""What the keys + and - do to the speed."""

_NO_KEYS = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[\]P_^X].*?(?:\x07|\x1b\\)|.)?", re.DOTALL)
"""Cursor keys, and answers of the terminal."""

WRITTEN_S = 0.25
"""Time in which the terminal takes an event's output before the keys are looked at again, in
seconds."""


def run(given: Arguments, out: TextIO) -> int:
    """Play a recording, or serve it; returns the exit status.

    Args:
        given: The command line.
        out: Where the link is printed, or the output shown when this is no terminal.

    Raises:
        TtyBridgeError: The file cannot be read or is no recording.
        ConfigError: An option is wrong.
    """
    problems = list(given.problems)
    speed = _number(given.values.get("--speed"), problems)
    idle_limit_s = _checked(
        "--idle-limit", given.values.get("--idle-limit"), read.seconds(0.01, 86400), problems
    )
    port = _checked("--port", given.flags.get("port"), read.integer(0, 65535, "a port"), problems)
    if problems:
        raise ConfigError(problems)
    path = Path(given.words[0]).absolute()
    try:
        if "--serve" in given.switches:
            return asyncio.run(_serve(path, 0 if port is None else port, out))
        return asyncio.run(_play(path, speed, idle_limit_s, out))
    except BadRecording as error:
        message = f"{one_line(path.name)} cannot be played. {error.message}"
        raise TtyBridgeError(message, hint=error.hint) from None


async def _play(path: Path, speed: float, idle_limit_s: float | None, out: TextIO) -> int:
    with open_recording(path) as file:
        reader = Reader(lines_of(file))
        pieces = _pieces(reader)
        limit_s = reader.header.idle_limit_s if idle_limit_s is None else idle_limit_s
        now = asyncio.get_running_loop().time()
        pacer = Pacer(now, speed=speed, idle_limit_s=limit_s)
        if os.isatty(0) and os.isatty(1):
            return await _Player(pacer).play(pieces, reader.header)
        for at_s, text in pieces:
            pacer.aim(at_s)
            await asyncio.sleep(pacer.wait_s(asyncio.get_running_loop().time()))
            _write_plainly(out, text)
    return 0


def _pieces(reader: Reader) -> Iterator[tuple[float, str]]:
    """Yield what is to be shown, and when."""
    harmless = Harmless()
    for event in reader.events():
        if event.code == OUTPUT and (text := harmless.take(event.data)):
            yield event.at_s, text


def _write_plainly(out: TextIO, text: str) -> None:
    """Write a piece as UTF-8, as it was recorded, whatever the encoding here is."""
    if isinstance(out, io.TextIOWrapper):
        out.buffer.write(text.encode())
        out.buffer.flush()
    else:
        out.write(text)


class _Player:
    """Plays in a terminal, and listens to its keys."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._terminal = RawTerminal()
        self._changed = asyncio.Event()
        self._status: int | None = None

    async def play(self, pieces: Iterator[tuple[float, str]], header: Header) -> int:
        """Play to the end, or until a key ends it; the terminal is restored whatever happens."""
        terminal, loop = self._terminal, asyncio.get_running_loop()
        _say_if_too_small(terminal.size, header.size)
        terminal.on_input = self._on_keys
        terminal.on_gone = lambda: self._end(1)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end, 128 + number)
        terminal.begin()
        try:
            for at_s, text in pieces:
                self._pacer.aim(at_s)
                await self._wait()
                if self._status is not None:
                    break
                await self._show(text.encode())
        finally:
            terminal.restore(newline=True)
            terminal.close()
        return self._status or 0

    async def _wait(self) -> None:
        """Wait until the event is due, or a key ends it all."""
        while self._status is None:
            now = asyncio.get_running_loop().time()
            left = self._pacer.wait_s(now)
            if left <= 0:
                self._pacer.show(now)
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if left == float("inf") else left):
                    await self._changed.wait()

    async def _show(self, data: bytes) -> None:
        written = asyncio.Event()
        self._terminal.write(data, written.set)
        while self._status is None and not written.is_set():
            await self._terminal.drained(WRITTEN_S)

    def _on_keys(self, keys: bytes) -> None:
        now = asyncio.get_running_loop().time()
        for key in _NO_KEYS.sub(b"", keys).decode("latin-1"):
            match key:
                case "\x03":
                    self._end(STOPPED_BY_CTRL_C)
                case "q" | "Q":
                    self._end(0)
                case " ":
                    self._pacer.pause(now)
                case ".":
                    self._pacer.step()
                case "+" | "=":
                    self._pacer.change_speed(FASTER, now)
                case "-":
                    self._pacer.change_speed(SLOWER, now)
                case _:
                    pass
        self._changed.set()

    def _end(self, status: int) -> None:
        self._status = status
        self._changed.set()


def _say_if_too_small(terminal: WindowSize, recorded: WindowSize) -> None:
    if terminal.cols < recorded.cols or terminal.rows < recorded.rows:
        output.write(
            sys.stderr,
            f"ttybridge: this terminal has {terminal.cols}x{terminal.rows}, the recording "
            f"{recorded.cols}x{recorded.rows}: in a larger window it is shown as it was.\n",
        )


async def _serve(path: Path, port: int, out: TextIO) -> int:
    """Serve one recording on this machine until Ctrl-C."""
    # Imported here: playing does not wait for the web server's modules.
    from ttybridge.web.assets import load_page
    from ttybridge.web.recordings import serve_one

    with open_recording(path) as file:
        for _event in Reader(lines_of(file)).events():
            pass  # what is wrong with it is better said here than in the browser
    page = load_page()
    token = secrets.token_urlsafe(24)
    with stop_signals() as stop, contextlib.ExitStack() as stack:
        sockets = await bind("127.0.0.1", (port,))
        for each in sockets:
            stack.callback(each.close)
        at = sockets[0].getsockname()[1]
        async with serve_one(path, page, token, at, sockets):
            output.write(out, f"http://127.0.0.1:{at}/?token={token}\n")
            await stop.wait()
    return 0


def _checked(flag: str, raw: object, parse: Callable[[str], T], problems: list[str]) -> T | None:
    """Return what an option says; None when it is not given, or wrong."""
    if raw is not None:
        try:
            return parse(str(raw))
        except ValueError as error:
            problems.append(f"{flag} {str(raw)[:40]!r}: {error}")
    return None


def _number(text: str | None, problems: list[str]) -> float:
    with contextlib.suppress(ValueError):
        speed = float(text or 1)
        if MIN_SPEED <= speed <= MAX_SPEED:
            return speed
    problems.append(f"--speed {(text or '')[:40]!r}: give a number such as 2 or 0.5.")
    return 1.0
