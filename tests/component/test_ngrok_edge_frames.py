"""The streams of the stand-in of ngrok's service, frame by frame, and HTTP on its public side."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.conftest import DEADLINE_S
from tests.edge.channel import ChannelError, Socket
from tests.edge.muxado import WINDOW_BYTES, Code, Frame, Kind, Session, Stream, read_frame
from tests.edge.public import Request, Website

# Frames and streams


@pytest.mark.parametrize(
    ("frame", "packed"),
    [
        (Frame(Kind.DATA, 3, b"hi", is_first=True), "00000212 00000003 6869"),
        (Frame(Kind.DATA, 0x01020304, is_last=True), "00000011 01020304"),
        (Frame(Kind.WINDOW, 2, (70000).to_bytes(4)), "00000420 00000002 00011170"),
        (Frame(Kind.RESET, 5, (6).to_bytes(4)), "00000400 00000005 00000006"),
        (Frame(Kind.GO_AWAY, 0, bytes(8)), "00000830 00000000 0000000000000000"),
    ],
    ids=["first data", "last data", "window", "reset", "go away"],
)
async def test_frames_are_packed_and_read_as_the_agent_does(frame: Frame, packed: str) -> None:
    assert frame.pack() == bytes.fromhex(packed)
    reader = asyncio.StreamReader()
    reader.feed_data(frame.pack())
    assert await read_frame(reader) == frame


class Peer:
    """The agent's end of a session, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, kind: int, stream_id: int, body: bytes = b"", **flags: bool) -> None:
        self._writer.write(Frame(kind, stream_id, body, **flags).pack())

    async def next(self, kind: Kind | None = None) -> Frame:
        """Return the next frame; or the next of a kind."""
        while True:
            frame = await asyncio.wait_for(read_frame(self._reader), DEADLINE_S)
            if kind is None or frame.kind == kind:
                return frame


@asynccontextmanager
async def session() -> AsyncIterator[tuple[Peer, "asyncio.Queue[Stream]", Session]]:
    """Yield the other end of a session, the streams that it accepts, and the session."""
    accepted: asyncio.Queue[Stream] = asyncio.Queue()

    async def keep(stream: Stream) -> None:
        accepted.put_nowait(stream)

    ours, theirs = socket.socketpair()
    near = Session(*await asyncio.open_connection(sock=ours), keep)
    peer_reader, peer_writer = await asyncio.open_connection(sock=theirs)
    running = asyncio.create_task(near.run())
    try:
        yield Peer(peer_reader, peer_writer), accepted, near
    finally:
        near.abort()
        await running
        peer_writer.close()


async def test_writing_waits_for_the_window_of_its_stream_alone() -> None:
    async with session() as (peer, _, near):
        full, other = near.open(), near.open()
        sent = os.urandom(WINDOW_BYTES + 1000)
        writing = asyncio.create_task(full.write(sent))
        got = b""
        while len(got) < WINDOW_BYTES:
            got += (await peer.next()).body
        await other.write(b"passes")
        assert (await peer.next()).body == b"passes"
        assert not writing.done()
        peer.send(Kind.WINDOW, full.id, (1000).to_bytes(4))
        await asyncio.wait_for(writing, DEADLINE_S)
        assert got + (await peer.next()).body == sent


async def test_what_is_read_makes_room_and_more_than_fits_is_refused() -> None:
    async with session() as (peer, accepted, near):
        peer.send(Kind.DATA, 3, bytes(WINDOW_BYTES), is_first=True)
        stream = await accepted.get()
        assert len(await stream.read(1000)) == 1000
        assert await peer.next() == Frame(Kind.WINDOW, 3, (1000).to_bytes(4))
        peer.send(Kind.DATA, 3, bytes(1000))
        peer.send(Kind.DATA, 3, bytes(1))
        reset = Frame(Kind.RESET, 3, int(Code.FLOW_CONTROL).to_bytes(4))
        assert await peer.next() == reset
        with pytest.raises(ChannelError):
            await stream.read()
        assert near.stream_count == 0


async def test_each_direction_ends_by_itself_and_a_stream_with_both() -> None:
    async with session() as (peer, accepted, near):
        peer.send(Kind.DATA, 3, b"all", is_first=True, is_last=True)
        stream = await accepted.get()
        assert [await stream.read(), await stream.read()] == [b"all", b""]
        peer.send(Kind.DATA, 3, is_last=True)  # the agent says it twice now and then
        peer.send(Kind.DATA, 5, b"", is_first=True)
        await accepted.get()
        await stream.write(b"answer")
        assert near.stream_count == 2
        await stream.close_write()
        assert await peer.next() == Frame(Kind.DATA, 3, b"answer")
        assert await peer.next() == Frame(Kind.DATA, 3, is_last=True)
        assert near.stream_count == 1
        with pytest.raises(ChannelError, match="closed for writing"):
            await stream.write(b"more")


async def test_a_reset_is_told_to_readers_and_writers_and_sent_once() -> None:
    async with session() as (peer, accepted, near):
        peer.send(Kind.DATA, 3, b"", is_first=True)
        stream = await accepted.get()
        stuck = near.open()
        waiting = [
            asyncio.create_task(work)
            for work in (stream.read(), stuck.write(bytes(WINDOW_BYTES + 1)))
        ]
        while (await peer.next()).stream_id != stuck.id:
            pass
        for stream_id in (stream.id, stuck.id):
            peer.send(Kind.RESET, stream_id, int(Code.CANCELLED).to_bytes(4))
        for work in waiting:
            with pytest.raises(ChannelError, match="was reset"):
                await asyncio.wait_for(work, DEADLINE_S)
        ours = near.open()
        await ours.write(b"x")
        ours.abort()
        ours.abort()
        assert (await peer.next(Kind.RESET)).stream_id == ours.id
        # Data for it may be under way; for a stream that never was, it is an error of the stream.
        peer.send(Kind.DATA, 99, b"lost")
        peer.send(7, 0, b"a kind to come")
        assert await peer.next() == Frame(Kind.RESET, 99, int(Code.STREAM_CLOSED).to_bytes(4))
        assert near.stream_count == 0


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(Kind.DATA, 4, b"x", is_first=True), Code.PROTOCOL),
        (Frame(Kind.DATA, 3, b"x", is_first=True), Code.PROTOCOL),
        (Frame(Kind.WINDOW, 3, b"x"), Code.FRAME_SIZE),
    ],
    ids=["a stream of our own ids", "the same stream again", "a window of one byte"],
)
async def test_a_broken_protocol_ends_the_session(frame: Frame, code: Code) -> None:
    async with session() as (peer, accepted, near):
        peer.send(Kind.DATA, 3, b"", is_first=True)
        stream = await accepted.get()
        peer.send(frame.kind, frame.stream_id, frame.body, is_first=frame.is_first)
        assert int.from_bytes((await peer.next(Kind.GO_AWAY)).body[4:8]) == code
        with pytest.raises(ChannelError, match="session has ended"):
            await stream.read()
        with pytest.raises(ChannelError, match="session has ended"):
            near.open()


# HTTP through the public side


class Log:
    """What a public address notes, without an edge."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.bytes_to_visitors = self.bytes_from_visitors = 0
        self.warns = False


@asynccontextmanager
async def website(
    *exchanges: tuple[bytes, bytes],
) -> AsyncIterator[tuple[Socket, Log]]:
    """Yield a visitor of an address behind which a server expects bytes and answers others.

    A request of HTTP has a connection of its own to that server, as streams are cheap.
    """
    left = list(exchanges)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wanted, answered = left.pop(0)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(wanted)) == wanted
        writer.write(answered)
        await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()

    async def open_channel(_: str) -> Socket:
        return Socket(*await asyncio.open_connection("127.0.0.1", port))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    log = Log()
    public = Website("http", "127.0.0.1", log, None)
    await public.start()
    public.opener = open_channel
    visitor = Socket(*await asyncio.open_connection("127.0.0.1", urlsplit(public.url).port))
    try:
        yield visitor, log
    finally:
        visitor.abort()
        await public.close()
        server.close()


async def test_bodies_of_every_form_pass_and_the_connection_serves_again() -> None:
    chunks = b"5\r\nhello\r\n3;a=b\r\n\r\n.\r\n0\r\nX-Sum: 1\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    none = b"HTTP/1.1 304 Not Modified\r\n\r\n"
    waits = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n!"
    rest = b"HTTP/1.1 200 OK\r\n\r\nto the end"
    exchanges = [(chunks, chunked), (b"", head), (b"", none), (b"two", waits), (b"", rest)]
    asked = [
        b"POST /chunks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
        b"HEAD /head HTTP/1.1\r\n\r\n",
        b"GET /none?token=secret HTTP/1.1\r\n\r\n",
        b"PUT /waits HTTP/1.1\r\nContent-Length: 3\r\n\r\ntwo",
        b"GET /rest HTTP/1.1\r\n\r\n",
    ]
    async with website(*exchanges) as (visitor, log):
        for request, (_, answer) in zip(asked, exchanges, strict=True):
            await visitor.write(request)
            got = b""
            while len(got) < len(answer):
                got += await asyncio.wait_for(visitor.read(), DEADLINE_S)
            assert got == answer
        assert await asyncio.wait_for(visitor.read(), DEADLINE_S) == b""
    assert [request.line for request in log.requests] == [
        "POST /chunks 200", "HEAD /head 200", "GET /none 304", "PUT /waits 201", "GET /rest 200",
    ]  # fmt: skip
    assert log.bytes_from_visitors == sum(len(request) for request in asked)
    assert log.bytes_to_visitors == sum(len(answer) for _, answer in exchanges)


async def test_an_answer_that_comes_before_the_body_ends_the_connection() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    async with website((b"", refusal)) as (visitor, log):
        await visitor.write(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nbegun")
        assert await asyncio.wait_for(visitor.readuntil(b"\r\n\r\n"), DEADLINE_S) == refusal
        with pytest.raises((ChannelError, AssertionError)):
            assert await asyncio.wait_for(visitor.read(), DEADLINE_S)
    assert [request.status for request in log.requests] == [413]
