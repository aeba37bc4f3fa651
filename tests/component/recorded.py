"""A real program on a real pty, recorded as the bridge does it."""

import asyncio
import contextlib
import os
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S
from ttybridge.adapters.pty import Pty
from ttybridge.config import Config
from ttybridge.core.asciicast import Event, Header, Reader
from ttybridge.core.people import Actor
from ttybridge.core.permissions import Entrance
from ttybridge.core.stream import Stream
from ttybridge.model import End, EndReason, ExitStatus, Role, WindowSize
from ttybridge.recordings import Recordings
from ttybridge.sessions.pty import Launch
from ttybridge.sessions.terminal import Terminal

SIZE = WindowSize(cols=80, rows=24)
BY = Actor(Role.OWNER, "Ada", Entrance.CONTROL)
LOG_BYTES = 1 << 20

ECHO = """
import os, sys, termios, tty
tty.setraw(0)
os.write(1, b"ready ")
while (data := os.read(0, 65536)):
    for part in data.split(b"\\0"):
        if part == b"quit": sys.exit(3)
        if part: os.write(1, part)
"""
"""Writes what it reads, and ends when told; parts are between zero bytes."""

FLOOD = """
import os
for n in range(100_000): os.write(1, b"line %d of a flood that is longer than a log\\r\\n" % n)
os.read(0, 1)
"""


class Session:
    """A program on a pty, recorded as the bridge does it."""

    def __init__(self, folder: Path, script: str = ECHO) -> None:
        self.folder = folder
        self.script = textwrap.dedent(script)
        self.reason = EndReason.EXITED
        self.terminals: list[Terminal] = []
        self.events: list[dict[str, object]] = []
        self.said: list[str] = []
        self.changes = 0

    async def recorded(self) -> Terminal:
        if not self.terminals or self.terminals[-1].ended.done():
            self.start()
        return self.terminals[-1]

    def start(self) -> Terminal:
        terminal = Terminal(
            Pty.spawn,
            Launch([sys.executable, "-c", self.script], dict(os.environb), "/"),
            SIZE,
            log_bytes=LOG_BYTES,
            shared=True,
            describe_end=self.describe_end,
        )
        self.terminals.append(terminal)
        return terminal

    def describe_end(self, status: ExitStatus, _tail: bytes) -> End:
        return End(status, self.reason, "It ended.", restart=False)

    @property
    def terminal(self) -> Terminal:
        return self.terminals[-1]

    def recordings(self, **options: object) -> Recordings:
        config = Config(**{"record_dir": self.folder / "kept"} | options)  # type: ignore[arg-type]
        return Recordings(
            self,
            config,
            {"SHELL": "/bin/sh"},
            title="a test",
            on_change=self._on_change,
            audit=lambda event, **fields: self.events.append({"event": event, **fields}),
            say=self.said.append,
        )

    def _on_change(self) -> None:
        self.changes += 1

    @property
    def end(self) -> int:
        """Count of all output bytes."""
        stream = self.terminal.stream
        assert isinstance(stream, Stream)
        return stream.log.end

    def has(self, count: int) -> bool:
        return self.end >= count

    def type(self, data: bytes) -> None:
        self.terminal.write(data + b"\0")


@contextlib.asynccontextmanager
async def opened(session: Session, **options: object) -> AsyncIterator[Recordings]:
    recordings = session.recordings(**options)
    try:
        yield recordings
    finally:
        await recordings.close()
        for terminal in session.terminals:
            await terminal.close()
        assert [t.name for t in threading.enumerate() if t.name == "recording"] == []


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110  files tell nobody
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not in time: {what}")


def read(path: Path) -> tuple[Header, list[Event]]:
    data = path.read_bytes()
    assert data.endswith(b"\n")
    reader = Reader(data.splitlines(keepends=True))
    return reader.header, list(reader.events())


def text_of(events: list[Event], code: str = "o") -> str:
    return "".join(event.data for event in events if event.code == code)


def shows(path: Path, text: str) -> Callable[[], bool]:
    return lambda: path.exists() and text in path.read_text()
