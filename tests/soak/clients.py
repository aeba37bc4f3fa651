"""The clients of a soak: each comes back when its line is cut, and checks what it is shown."""

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import subprocess
import termios
from typing import Any

import aiohttp
import pytest
import socketio

from tests.conftest import clean_environment
from tests.e2e.polling_client import PollingClient
from tests.e2e.raw_client import ColabClient, PageClient, Served
from tests.soak.checks import Lines, Violation

TAIL = 4096
"""Bytes of output that are kept to be looked at."""

LOST = (aiohttp.ClientError, OSError, pytest.fail.Exception, socketio.exceptions.ConnectionError)
"""How a try to join ends when the line is cut under it."""


class _Checked:
    """Output that is counted and compared instead of kept."""

    received = 0
    tail = b""
    _lines: Lines | None = None
    _early: list[bytes | None] | None = None

    def compare(self, lines: Lines | None) -> None:
        """Compare with these lines from now on, and what has come already; None: with nothing."""
        self._lines = lines
        early, self._early = self._early or [], None
        for data in early:
            self._take_in(data)

    def wait_for_lines(self) -> None:
        """Keep what comes until it is known what to compare it with."""
        self._early = []

    def hand_over(self) -> Lines | None:
        """Return the lines that were compared with; what comes is no longer."""
        lines, self._lines = self._lines, None
        return lines

    def _got(self, data: bytes) -> None:
        self.received += len(data)
        self.tail = (self.tail + data)[-TAIL:]
        self._take_in(data)

    def _take_in(self, data: bytes | None) -> None:
        if self._early is not None:
            self._early.append(data)
        elif self._lines is None:
            return
        elif data is None:
            self._lines.reset()
        else:
            self._lines.feed(data)


class _PageChecked(_Checked):
    role = ""

    def __init__(self) -> None:
        super().__init__()
        self.wait_for_lines()

    async def on_event(self, name: str, args: list[Any]) -> None:
        if name == "reset":
            self._take_in(None)
        if name in ("joined", "role"):
            self.role = args[0]["role"]
        await super().on_event(name, args)  # type: ignore[misc]
        if name == "inack":
            for number in [n for n in self.sent if n <= args[0]]:  # type: ignore[attr-defined]
                del self.sent[number]  # type: ignore[attr-defined]
        elif name not in ("out", "reset", "joined"):
            self.events.clear()  # type: ignore[attr-defined]

    def fault(self) -> BaseException | None:
        """Return what was wrong with what the server sent."""
        reader = self._reader  # type: ignore[attr-defined]
        if reader is None or not reader.done() or reader.cancelled():
            return None
        error: BaseException | None = reader.exception()
        return error if isinstance(error, (AssertionError, Violation)) else None


class PageCheck(_PageChecked, PageClient):
    """A client of the page's protocol over WebSocket."""


class PollCheck(_PageChecked, PollingClient):
    """The same over polling."""


class ColabCheck(_Checked, ColabClient):
    """A client of `colab/tty`."""

    def fault(self) -> BaseException | None:
        """Return what was wrong with what the server sent."""
        return _PageChecked.fault(self)  # type: ignore[arg-type]


class LibraryCheck(_Checked):
    """A client of Colab's contract with the unmodified python-socketio."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.closed = asyncio.Event()
        self._fault: BaseException | None = None
        self._session: aiohttp.ClientSession | None = None
        self._client: Any = None

    async def open(self, bridge: Served) -> None:
        """Join."""
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {bridge.token}"})
        self._client = socketio.AsyncClient(http_session=self._session, reconnection=False)
        self._client.on("data", self._data)
        self._client.on("disconnect", self._disconnected)
        try:
            async with asyncio.timeout(15):
                await self._client.connect(
                    bridge.address, transports=[self.transport], socketio_path="tty"
                )
        except TimeoutError as error:
            raise ConnectionResetError("no answer") from error

    async def _data(self, message: dict[str, str]) -> None:
        told = json.loads(message["data"])
        try:
            self._got(told["data"].encode())
        except Violation as error:
            self._fault = error
        if told.get("ack"):
            await self.send(ack=True)

    async def _disconnected(self, *_: object) -> None:
        self.closed.set()

    async def send(self, **keys: object) -> None:
        """Send a message with these keys."""
        try:
            await self._client.emit("data", {"data": json.dumps(keys)})
        except socketio.exceptions.SocketIOError:
            self.closed.set()

    def fault(self) -> BaseException | None:
        """Return what was wrong with what the server sent."""
        return self._fault

    async def close(self) -> None:
        """Leave."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await self._client.disconnect()
        if self._session is not None:
            await self._session.close()


class SshCheck(_Checked):
    """An SSH login with a terminal."""

    def __init__(self, words: list[str]) -> None:
        self.closed = asyncio.Event()
        self._fault: BaseException | None = None
        self._master, slave = os.openpty()
        self.resize(80, 24)
        self._process = subprocess.Popen(
            words,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=clean_environment(TERM="xterm-256color"),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._master)
            self.closed.set()
            return
        try:
            self._got(data)
        except Violation as error:
            self._fault = error

    def resize(self, cols: int, rows: int) -> None:
        """Change the size of the terminal."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text: str) -> None:
        """Type."""
        with contextlib.suppress(OSError):
            os.write(self._master, text.encode())

    def fault(self) -> BaseException | None:
        """Return what was wrong with what was shown."""
        return self._fault

    async def close(self) -> None:
        """End it."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        self._loop.remove_reader(self._master)
        os.close(self._master)
