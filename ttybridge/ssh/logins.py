"""Takes SSH logins into the session: the bridge's end of what `login.py` says."""

import asyncio
import contextlib
import logging
import re
from pathlib import Path
from typing import cast

from ttybridge.core.answers import is_answer
from ttybridge.core.protocol import CHUNK_BYTES
from ttybridge.core.stream import CANCEL, Chunk, Finished, Reset
from ttybridge.errors import ProtocolError, TtyBridgeError
from ttybridge.model import DEFAULT_SIZE, End, EndReason, Role, WindowSize
from ttybridge.sessions.attachment import Attachment
from ttybridge.sessions.hub import Hub
from ttybridge.ssh import login

log = logging.getLogger(__name__)

HELLO_S = 10.0
"""Time for a login to say who it is, in seconds; it takes milliseconds."""

LAST_OUTPUT_S = 5.0
"""Time for a login to take the last output in when its stream has ended, in seconds."""

MAX_MESSAGE = login.CHUNK + 1024
"""Longest message of a login, in bytes."""

SEND_BUFFER = 64 * 1024
"""Output that may wait for a slow login before the session's own rules for slow clients apply."""

CLEAR = b"\x1bc"
"""RIS: what a hard reset means to a terminal that knows nothing of resets."""

_WHY = {
    b"command": "tried to run a command",
    b"sftp": "tried to transfer files",
    b"shell": "asked for a shell",
    b"no-sftp": "asked for file transfer, which is off",
    b"role": "has no known role",
}
_SAID_BY_TMUX = (EndReason.DETACHED, EndReason.EXITED, EndReason.SERVER_EXITED)


class Logins:
    """Serves the socket of the logins: an async context manager."""

    def __init__(self, hub: Hub, path: Path) -> None:
        """Serve the session of `hub` at the socket `path`, which lies in a private folder."""
        self._hub = hub
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Logins":
        """Listen.

        Raises:
            TtyBridgeError: The socket cannot be made.
        """
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
            self._path.chmod(0o600)
        except OSError as error:
            raise TtyBridgeError(f"{self._path} cannot be made: {error.strerror}.") from error
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End all logins in the session; the session lives on."""
        self._server.close()
        await self.end_all()

    async def end_all(self) -> None:
        """Say goodbye to all logins in the session."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        try:
            await self._login(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the login is gone
        except ProtocolError as error:
            log.warning("an ssh login is cut off: %s", error.message)
        except asyncio.CancelledError:
            # The bridge stops. A task of a stream's server that ends as cancelled is logged by
            # Python 3.11 as a fault.
            await _end(writer, b"\0the bridge has stopped.")
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _login(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HELLO_S):
            kind, content = await _read(reader)
        fields = content.split(b"\0")
        who = _who(fields)
        if kind == login.REFUSED and len(fields) == 4:
            why = _WHY.get(fields[3], "was refused")
            log.info("ssh login refused: %s %s", who, why)
            return
        role, size = _role(fields[0]), _size(fields[-1])
        if kind != login.HELLO or len(fields) != 5 or role is None or size is None:
            raise ProtocolError("it does not say who it is")
        term = fields[3].decode("ascii", "replace")
        try:
            attachment = await self._hub.join(role, size, acks=False, terminal_type=term)
        except TtyBridgeError as error:
            log.warning("an ssh login could not join: %s", error)
            await _end(writer, b"\1" + str(error).encode())
            return
        log.info("client %s is an ssh login: %s", attachment.id, who)
        await self._attached(attachment, reader, writer)

    async def _attached(
        self, attachment: Attachment, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.transport.set_write_buffer_limits(high=SEND_BUFFER)
        sending = asyncio.create_task(_send(attachment, writer))
        receiving = asyncio.create_task(_receive(attachment, reader))
        try:
            await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                receiving.result()
            else:
                sending.result()
        finally:
            self._hub.leave(attachment)
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)


async def _send(attachment: Attachment, writer: asyncio.StreamWriter) -> None:
    """Send output at the login's pace, then the end."""
    while True:
        item = await attachment.next(CHUNK_BYTES)
        match item:
            case Chunk(data=data):
                writer.write(login.message(login.OUTPUT, data))
            case Reset(hard=hard):
                writer.write(login.message(login.OUTPUT, CLEAR if hard else CANCEL))
            case Finished(end=end):
                await _end(writer, _goodbye(end))
                return
            case _:
                continue
        await writer.drain()


async def _receive(attachment: Attachment, reader: asyncio.StreamReader) -> None:
    """Take in what is typed, and sizes, until the login is gone."""
    told = False
    while True:
        kind, content = await _read(reader)
        if kind == login.SIZE and (size := _size(content)):
            attachment.resize(size)
        elif kind == login.INPUT:
            if not attachment.may_type and not told and not is_answer(content):
                told = True
                log.info("client %s may only watch: what it types is dropped", attachment.id)
            attachment.write(content)
        else:
            raise ProtocolError("it sent something that no login sends")


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one message.

    Raises:
        ProtocolError: It is too long.
        asyncio.IncompleteReadError: The login is gone.
    """
    head = await reader.readexactly(5)
    length = int.from_bytes(head[1:], "big")
    if length > MAX_MESSAGE:
        raise ProtocolError(f"it sent a message of {length} bytes")
    return head[:1], await reader.readexactly(length)


async def _end(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Say goodbye, and wait for a bounded time until it has been taken in with all before it."""
    writer.transport.set_write_buffer_limits(high=0)
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(LAST_OUTPUT_S):
            writer.write(login.message(login.END, content))
            await writer.drain()


def _goodbye(end: End) -> bytes:
    # tmux's client has said so itself, on the screen that it has left.
    text = "" if end.reason in _SAID_BY_TMUX and end.restart else end.message
    return bytes([end.status.shell_code & 255]) + text.encode()


def _role(text: bytes) -> Role | None:
    return {b"owner": Role.OWNER, b"viewer": Role.VIEWER}.get(text)


def _size(text: bytes) -> WindowSize | None:
    """Read a window size; one that the client does not know (ssh -tt without a terminal) is 0 0."""
    found = re.fullmatch(rb"(\d{1,5}) (\d{1,5})", text)
    if found is None:
        return None
    cols, rows = int(found[1]), int(found[2])
    return WindowSize.clamped(cols=cols, rows=rows) if cols and rows else DEFAULT_SIZE


def _who(fields: list[bytes]) -> str:
    """Name a login: its key, and where it comes from."""
    key, connection = (*fields[1:3], b"", b"")[:2]
    peer = connection.decode(errors="replace").split(" ")[:2]
    return f"key {key.decode(errors='replace')} from {' port '.join(peer)}"
