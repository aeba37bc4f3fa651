"""Streams over one connection, as ngrok's agent speaks them: frames, windows, half-closed ends."""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tests.edge.channel import ChannelError

WINDOW_BYTES = 0x40000
"""Bytes of a stream that may be under way unread; the agent counts with the same number."""

PIECE_BYTES = 0x8000
"""Longest body of a data frame that is sent: other streams come in between."""

MAX_ID = 0x7FFFFFFF
"""Largest id of a stream, and largest increment of a window."""

_FIN, _SYN = 1, 2


class Kind(IntEnum):
    """What a frame is."""

    RESET = 0
    DATA = 1
    WINDOW = 2
    GO_AWAY = 3


class Code(IntEnum):
    """Why a stream was reset or a session closed."""

    NONE = 0
    PROTOCOL = 1
    FLOW_CONTROL = 3
    STREAM_CLOSED = 4
    CANCELLED = 6
    FRAME_SIZE = 8


class SessionError(Exception):
    """The other side broke the protocol."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: int
    """Its `Kind`; frames of other kinds are skipped."""
    stream_id: int
    """The stream; 0 in GO_AWAY."""
    body: bytes = b""
    """What follows the header."""
    is_first: bool = False
    """Whether this frame opens the stream."""
    is_last: bool = False
    """Whether nothing more comes in this direction."""

    def pack(self) -> bytes:
        """Return it as it is sent."""
        flags = _FIN * self.is_last | _SYN * self.is_first
        head = struct.pack(">II", len(self.body) << 8 | self.kind << 4 | flags, self.stream_id)
        return head + self.body

    @property
    def number(self) -> int:
        """The body of RESET and WINDOW: a code, or an increment.

        Raises:
            SessionError: The body has another length than a number.
        """
        if len(self.body) != 4:
            raise SessionError(Code.FRAME_SIZE, f"a number of {len(self.body)} bytes")
        return int.from_bytes(self.body)


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """Read one frame.

    Raises:
        asyncio.IncompleteReadError: The connection has ended.
    """
    word, stream_id = struct.unpack(">II", await reader.readexactly(8))
    body = await reader.readexactly(word >> 8)
    return Frame(word >> 4 & 0xF, stream_id, body, bool(word & _SYN), bool(word & _FIN))


class Stream:
    """One stream; a `Channel`."""

    def __init__(self, session: "Session", stream_id: int, *, is_ours: bool) -> None:
        self.id = stream_id
        self._session = session
        self._has_to_open = is_ours
        self._reader = asyncio.StreamReader(limit=2 * WINDOW_BYTES)
        self._unread = 0
        self._may_send = WINDOW_BYTES
        self._window_moved = asyncio.Event()
        self._writing = asyncio.Lock()
        self._error: ChannelError | None = None
        self._has_sent_last = self._has_got_last = False

    async def read(self, limit: int = PIECE_BYTES) -> bytes:
        """Return what has come, at most `limit` bytes; empty at the end.

        Raises:
            ChannelError: The stream was reset, or the session has ended.
        """
        return self._taken(await self._reader.read(limit))

    async def readuntil(self, separator: bytes) -> bytes:
        """Return what comes up to a separator, which is to be within a window.

        Raises:
            ChannelError: As `read`.
            asyncio.IncompleteReadError: The end comes first.
        """
        return self._taken(await self._reader.readuntil(separator))

    async def write(self, data: bytes) -> None:
        """Send; waits for the other side to make room.

        Raises:
            ChannelError: The stream was reset, or the session has ended.
        """
        async with self._writing:
            while data:
                while self._may_send <= 0 and self._error is None:
                    self._window_moved.clear()
                    await self._window_moved.wait()
                size = min(len(data), self._may_send, PIECE_BYTES)
                self._may_send -= size
                self._send_data(data[:size])
                data = data[size:]
                await self._session.drain()

    async def close_write(self) -> None:
        """Say that nothing more will be sent; does nothing after the first time."""
        async with self._writing:
            if not self._has_sent_last and self._error is None:
                self._send_data(b"", is_last=True)

    def abort(self, code: Code = Code.CANCELLED) -> None:
        """Reset the stream, unless it has ended in both directions."""
        if self._error is None and not (self._has_sent_last and self._has_got_last):
            self._session.send(Frame(Kind.RESET, self.id, int(code).to_bytes(4)))
        self.fail(ChannelError(f"stream {self.id} was given up"))

    def fail(self, error: ChannelError) -> None:
        """End it without telling the other side; what waits for it gets the error."""
        if self._error is None:
            self._error = error
            if not self._has_got_last:
                self._reader.set_exception(error)
            self._window_moved.set()
        self._session.forget(self)

    def take(self, frame: Frame) -> None:
        """Take a frame of this stream.

        Raises:
            SessionError: The frame is malformed.
        """
        match frame.kind:
            case Kind.DATA:
                self._take_data(frame)
            case Kind.WINDOW:
                self._may_send += frame.number & MAX_ID
                self._window_moved.set()
            case Kind.RESET:
                self.fail(ChannelError(f"stream {self.id} was reset ({frame.number})"))
            case _:
                pass  # kinds to come are skipped

    def _take_data(self, frame: Frame) -> None:
        self._unread += len(frame.body)
        if self._unread > WINDOW_BYTES:
            self.abort(Code.FLOW_CONTROL)
        elif self._has_got_last:
            if frame.body:  # an end that is told twice does no harm: the agent does it
                self.abort(Code.STREAM_CLOSED)
        else:
            self._reader.feed_data(frame.body)
            if frame.is_last:
                self._has_got_last = True
                self._reader.feed_eof()
                self._forget_when_ended()

    def _taken(self, data: bytes) -> bytes:
        self._unread -= len(data)
        if data and self._error is None and not self._has_got_last:
            self._session.send(Frame(Kind.WINDOW, self.id, len(data).to_bytes(4)))
        return data

    def _send_data(self, data: bytes, *, is_last: bool = False) -> None:
        if self._error is not None:
            raise self._error
        if self._has_sent_last:
            raise ChannelError(f"stream {self.id} is closed for writing")
        self._session.send(Frame(Kind.DATA, self.id, data, self._has_to_open, is_last))
        self._has_to_open = False
        self._has_sent_last = is_last
        self._forget_when_ended()

    def _forget_when_ended(self) -> None:
        if self._has_sent_last and self._has_got_last:
            self._session.forget(self)


OnStream = Callable[[Stream], Coroutine[Any, Any, None]]


class Session:
    """The server's end of a connection that carries streams."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_stream: OnStream
    ) -> None:
        """Take a connection; `run` has to be awaited.

        Args:
            reader: What comes.
            writer: What goes; closed when `run` ends.
            on_stream: Serves a stream that the other side has opened; may raise ChannelError.
        """
        self._reader, self._writer, self._on_stream = reader, writer, on_stream
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_id = 2  # a server's ids are even
        self._last_seen = 0
        self._is_over = False

    @property
    def stream_count(self) -> int:
        """How many streams have not ended."""
        return len(self._streams)

    async def run(self) -> None:
        """Serve until the connection ends, the other side says so, or `close` is called."""
        try:
            await self._take_frames()
        except SessionError as error:
            self._say_go_away(error.code, str(error))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the connection is gone: that is how most sessions end
        finally:
            self._end()
            self._writer.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def open(self) -> Stream:
        """Open a stream; the other side learns of it with the first bytes.

        Raises:
            ChannelError: The session has ended.
        """
        if self._is_over:
            raise ChannelError("the session has ended")
        stream = Stream(self, self._next_id, is_ours=True)
        self._streams[stream.id] = stream
        self._next_id += 2
        return stream

    def close(self) -> None:
        """Say that the session ends, and end it."""
        self._say_go_away(Code.NONE, "closed")
        self.abort()

    def abort(self) -> None:
        """End the connection without a word."""
        self._end()
        self._writer.transport.abort()

    def send(self, frame: Frame) -> None:
        """Put a frame on its way, after those before it."""
        if not self._writer.transport.is_closing():
            self._writer.write(frame.pack())

    async def drain(self) -> None:
        """Wait until the connection takes more.

        Raises:
            ChannelError: It has ended.
        """
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChannelError(f"the session has ended: {error}") from error

    def forget(self, stream: Stream) -> None:
        """Drop a stream that has ended."""
        self._streams.pop(stream.id, None)

    def _end(self) -> None:
        self._is_over = True
        for stream in list(self._streams.values()):
            stream.fail(ChannelError("the session has ended"))

    def _say_go_away(self, code: Code, text: str) -> None:
        body = struct.pack(">II", self._last_seen, code) + text.encode()
        self.send(Frame(Kind.GO_AWAY, 0, body))

    async def _take_frames(self) -> None:
        while not self._is_over:
            frame = await read_frame(self._reader)
            if frame.kind == Kind.GO_AWAY:
                return
            if frame.kind == Kind.DATA and frame.is_first:
                self._accept(frame)
            elif stream := self._streams.get(frame.stream_id):
                stream.take(frame)
            elif frame.kind == Kind.DATA and frame.body:
                reset = int(Code.STREAM_CLOSED).to_bytes(4)
                self.send(Frame(Kind.RESET, frame.stream_id, reset))

    def _accept(self, frame: Frame) -> None:
        # The ids need not come in order: the agent takes one before it has something to send.
        if frame.stream_id % 2 == 0 or frame.stream_id in self._streams:
            raise SessionError(Code.PROTOCOL, f"{frame.stream_id} is no id of a new stream")
        self._last_seen = max(self._last_seen, frame.stream_id)
        stream = Stream(self, frame.stream_id, is_ours=False)
        self._streams[stream.id] = stream
        stream.take(frame)
        task = asyncio.create_task(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream) -> None:
        with contextlib.suppress(ChannelError, asyncio.IncompleteReadError):
            await self._on_stream(stream)
