"""Takes SSH logins into the session: the bridge's end of what `joined.py` says."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ttybridge.core.answers import is_answer
from ttybridge.core.cursor import Chunk, Finished, Reset
from ttybridge.core.people import Person
from ttybridge.core.permissions import Action, Entrance, may
from ttybridge.core.protocol import CHUNK_BYTES
from ttybridge.core.stream import CANCEL
from ttybridge.errors import ProtocolError, TtyBridgeError
from ttybridge.model import DEFAULT_SIZE, End, EndReason, Mode, Role, WindowSize
from ttybridge.sessions.attachment import Attachment, RoleChanged
from ttybridge.sessions.door import NotAdmitted
from ttybridge.sessions.hub import Hub
from ttybridge.ssh import joined
from ttybridge.ssh.roster import Roster

log = logging.getLogger(__name__)

HELLO_S = 10.0
"""Time for a login to say who it is, in seconds; it takes milliseconds."""

LAST_OUTPUT_S = 5.0
"""Time for a login to take the last output in when its stream has ended, in seconds."""

MAX_MESSAGE = joined.CHUNK + 1024
"""Longest message of a login, in bytes."""

SEND_BUFFER = 64 * 1024
"""Output that may wait for a slow login before the session's own rules for slow clients apply."""

CLEAR = b"\x1bc"
"""RIS: what a hard reset means to a terminal that knows nothing of resets."""

LEAVE_SCREEN = joined.RESTORE.removesuffix(b"\r\n")
"""What a hard reset means where tmux draws: its new client enters the other screen again, which
clears it. RIS would clear what the terminal has shown before the login, too."""

WAIT = b"Waiting to be let in\xe2\x80\xa6 (Ctrl-C leaves)\r\n"
"""What somebody sees whom the owner has to let in."""

NOT_KNOWN = "this key opens nothing here any more."

_WHY = {
    b"command": "tried to run a command",
    b"sftp": "tried to transfer files",
    b"shell": "asked for a shell",
    b"no-sftp": "asked for file transfer, which is off",
    b"role": "has no known role",
    b"removed": "has been removed",
}
_SAID_BY_TMUX = (EndReason.DETACHED, EndReason.EXITED, EndReason.SERVER_EXITED)


@dataclass(frozen=True, slots=True)
class Hello:
    """What a login says of itself."""

    who: str
    """A key's fingerprint, or the name of a guest of the web address."""
    connection: str
    """SSH_CONNECTION: address and port of both ends."""

    def __str__(self) -> str:
        """Name the login for the log."""
        return f"key {self.who} from {' port '.join(self.connection.split(' ')[:2])}"


class Logins:
    """Serves the socket of the logins: an async context manager.

    Attributes:
        on_removed: Called with a login that has been removed from the session and told so.
    """

    def __init__(self, hub: Hub, path: Path, roster: Roster) -> None:
        """Serve the session of `hub` at the socket `path`, which lies in a private folder.

        Args:
            hub: The session.
            path: The socket.
            roster: Who may log in.
        """
        self.on_removed: Callable[[Hello], None] = lambda _hello: None
        self._hub = hub
        self._path = path
        self._roster = roster
        self._tasks: set[asyncio.Task[None]] = set()
        self._here: dict[Attachment, Hello] = {}

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

    def of(self, who: str) -> list[Hello]:
        """Return the logins in the session with a key, or of a guest."""
        return [hello for hello in self._here.values() if hello.who == who]

    def remove(self, hello: Hello, sentence: str) -> None:
        """Remove the logins of one connection from the session."""
        for attachment, known in list(self._here.items()):
            if known == hello:
                self._hub.remove(attachment, sentence)

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
            await _end(writer, _last(0, "the bridge has stopped.", restores=True))
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _login(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HELLO_S):
            kind, content = await _read(reader)
        fields = content.split(b"\0")
        who, connection = (*(field.decode(errors="replace") for field in fields[:2]), "")[:2]
        hello = Hello(who, connection)
        if kind == joined.REFUSED and len(fields) == 3:
            log.info("ssh login refused: %s %s", hello, _WHY.get(fields[2], "was refused"))
            return
        size = _size(fields[-1])
        if kind != joined.HELLO or len(fields) != 4 or size is None:
            raise ProtocolError("it does not say who it is")
        person = self._roster.person(who, connection)
        if person is None:
            log.info("ssh login refused: %s %s", hello, _WHY[b"removed"])
            await _end(writer, _last(1, NOT_KNOWN))
            return
        term = fields[2].decode("ascii", "replace")
        login = _Login(self._hub, person, size, reader, writer)
        end = None
        try:
            attachment = await login.join(term)
            if attachment is not None:
                log.info("client %s is an ssh login: %s", attachment.id, hello)
                self._here[attachment] = hello
                end = await login.stay(attachment)
        finally:
            await login.close()
            self._here = {a: h for a, h in self._here.items() if a is not login.attachment}
        if end is not None and end.reason is EndReason.REMOVED:
            self.on_removed(hello)


class _Login:
    """One login, from its first words on."""

    def __init__(
        self,
        hub: Hub,
        person: Person,
        size: WindowSize,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._hub, self._person, self._size = hub, person, size
        self._reader, self._writer = reader, writer
        self.attachment: Attachment | None = None
        self._has_told = False
        self._is_decided = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive())

    async def join(self, term: str) -> Attachment | None:
        """Join the session, which somebody may have to allow; None when it came to nothing."""
        joining = asyncio.create_task(
            self._hub.join(
                self._person,
                self._size,
                acks=False,
                terminal_type=term,
                on_waiting=self._tell_waiting,
            )
        )
        try:
            await asyncio.wait([joining, self._receiving], return_when=asyncio.FIRST_COMPLETED)
            if not joining.done():  # it has left
                self._receiving.result()
                return None
            attachment = joining.result()
        except TtyBridgeError as error:
            level = logging.INFO if isinstance(error, NotAdmitted) else logging.WARNING
            log.log(level, "an ssh login could not join: %s", error)
            hint = f" {error.hint}" if error.hint else ""
            await _end(self._writer, _last(1, f"{error.message}{hint}"))
            return None
        finally:
            if not joining.done():
                joining.cancel()
                (left,) = await asyncio.gather(joining, return_exceptions=True)
                if isinstance(left, Attachment):
                    self._hub.leave(left)
        self._writer.write(_state(attachment.role))
        attachment.resize(self._size)
        self.attachment = attachment
        self._is_decided.set()
        return attachment

    async def close(self) -> None:
        """Leave; twice is fine."""
        if self.attachment is not None:
            self._hub.leave(self.attachment)
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)

    async def stay(self, attachment: Attachment) -> End | None:
        """Pass on output and input until either side ends; return the end of the stream."""
        self._writer.transport.set_write_buffer_limits(high=SEND_BUFFER)
        sending = asyncio.create_task(self._send(attachment))
        try:
            await asyncio.wait([sending, self._receiving], return_when=asyncio.FIRST_COMPLETED)
            # What has ended comes first: a login that was told goes at once.
            if sending.done():
                return sending.result()
            self._receiving.result()
            return None
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _tell_waiting(self) -> None:
        self._is_decided.set()
        self._writer.write(joined.message(joined.STATE, joined.WAITING))
        self._writer.write(joined.message(joined.OUTPUT, WAIT))

    async def _send(self, attachment: Attachment) -> End:
        """Send output at the login's pace, then the end."""
        writer = self._writer
        draws = self._hub.terminals.mode is not Mode.DIRECT
        while True:
            item = await attachment.next(CHUNK_BYTES)
            match item:
                case Chunk(data=data):
                    writer.write(joined.message(joined.OUTPUT, data))
                case Reset(hard=True):
                    writer.write(joined.message(joined.OUTPUT, LEAVE_SCREEN if draws else CLEAR))
                case Reset():
                    writer.write(joined.message(joined.OUTPUT, CANCEL))
                case RoleChanged(role=role):
                    writer.write(_state(role))
                case Finished(end=end):
                    await _end(writer, _goodbye(end))
                    return end
                case _:
                    continue
            await writer.drain()

    async def _receive(self) -> None:
        """Take in what is typed, and sizes, until the login is gone."""
        while True:
            kind, content = await _read(self._reader)
            if kind == joined.SIZE and (size := _size(content)):
                self._size = size
                if self.attachment is not None:
                    self.attachment.resize(size)
            elif kind == joined.TOOK and content.isdigit() and len(content) < 10:
                if self.attachment is not None:
                    self.attachment.rtt_s = int(content) / 1_000_000
            elif kind == joined.INPUT:
                await self._type(content)
            else:
                raise ProtocolError("it sent something that no login sends")

    async def _type(self, data: bytes) -> None:
        # What is typed while the session's window is being opened is kept, and dropped at the door.
        await self._is_decided.wait()
        attachment = self.attachment
        if attachment is None:
            return
        if not attachment.may_type and not self._has_told and not is_answer(data):
            self._has_told = True
            log.info("client %s may only watch: what it types is dropped", attachment.id)
        attachment.write(data)


def _state(role: Role) -> bytes:
    types = may(role, Action.TYPE, Entrance.SSH)
    return joined.message(joined.STATE, joined.TYPING if types else joined.WATCHING)


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
            writer.write(joined.message(joined.END, content))
            await writer.drain()


def _last(status: int, text: str, *, restores: bool = False) -> bytes:
    return bytes([status & 255]) + (b"R" if restores else b"L") + text.encode()


def _goodbye(end: End) -> bytes:
    # tmux's client has said so itself, on the screen that it has left.
    is_said = end.reason in _SAID_BY_TMUX and end.restart
    if end.reason is EndReason.REMOVED:
        return _last(1, end.message, restores=True)
    is_clean = end.reason in (*_SAID_BY_TMUX, EndReason.TAKEN_OVER)
    return _last(end.status.shell_code, "" if is_said else end.message, restores=not is_clean)


def _size(text: bytes) -> WindowSize | None:
    """Read a window size; one that the client does not know (ssh -tt without a terminal) is 0 0."""
    found = re.fullmatch(rb"(\d{1,5}) (\d{1,5})", text)
    if found is None:
        return None
    cols, rows = int(found[1]), int(found[2])
    return WindowSize.clamped(cols=cols, rows=rows) if cols and rows else DEFAULT_SIZE
