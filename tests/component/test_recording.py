"""Recordings of a real program on a real pty: what is in them, and that they hold nobody up."""

import asyncio
import stat
from functools import partial
from pathlib import Path

import pytest

from tests.component.recorded import BY, FLOOD, SIZE, Session, opened, read, shows, text_of, until
from tests.conftest import DEADLINE_S
from ttybridge.core.asciicast import Header, Reader
from ttybridge.core.broadcast import Broadcast
from ttybridge.core.cursor import Cursor, Finished, Policy
from ttybridge.core.stream import PATIENCE_S
from ttybridge.model import EndReason, WindowSize
from ttybridge.sessions import recorder as recorder_module
from ttybridge.sessions.recorder import MAX_PENDING_BYTES, MAX_TYPED_BYTES, Recorder, Why
from ttybridge.sessions.terminal import Terminal


async def test_a_session_is_recorded_with_sizes_markers_and_characters_cut_across_reads(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path)
    path = tmp_path / "demo.cast"
    async with opened(session) as recordings:
        state = await recordings.start(path, None, None, BY)
        await until(shows(path, "ready"), "the first output")
        assert state["name"] == "demo.cast"
        assert (recordings.state() or {})["bytes"] == path.stat().st_size
        smile = "😀".encode()
        for piece in (smile[:1], smile[1:3], smile[3:] + b"done"):
            end = session.end + len(piece)
            session.type(piece)
            await until(partial(session.has, end), "the piece")
        session.terminal.resize(WindowSize(cols=100, rows=30))
        session.type(b"large")
        await until(shows(path, "large"), "output in the larger window")
        recordings.marker("tests pass", BY)
        session.type(b"\xff!")
        await until(lambda: b"\xef\xbf\xbd!" in path.read_bytes(), "the invalid byte")
        done = await recordings.stop(BY)
    header, events = read(path)
    assert (header.version, header.size, header.title, header.shell) == (
        2, SIZE, "a test", "/bin/sh",
    )  # fmt: skip
    assert text_of(events) == "ready 😀donelarge\ufffd!"
    kinds = [(e.code, e.data) for e in events]
    assert kinds.index(("r", "100x30")) == kinds.index(("o", "large")) - 1
    assert ("m", "tests pass") in kinds
    assert "i" not in dict(kinds)
    assert (done["bytes"], done["file"]) == (path.stat().st_size, str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert recordings.state() is None
    assert session.changes == 2
    assert [(e["event"], e["on"], e["by"]) for e in session.events] == [
        ("record", True, "Ada"),
        ("record", False, "Ada"),
    ]


async def test_an_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    session = Session(tmp_path)
    path = tmp_path / "a.cast"
    async with opened(session) as recordings:
        await recordings.start(path, None, None, BY)
        await until(shows(path, "ready"), "the first output")
        loop = asyncio.get_running_loop()
        began = loop.time()
        session.type(b"at once")
        await until(shows(path, "at once"), "the output")
        assert loop.time() - began < 1.0


async def test_the_exit_status_is_in_the_newer_format_and_the_recording_ends_with_the_session(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path)
    path = tmp_path / "a.cast"
    async with opened(session) as recordings:
        await recordings.start(path, "v3", None, BY)
        await until(shows(path, "ready"), "the first output")
        session.type(b"quit")
        await until(lambda: recordings.state() is None, "the end of the recording")
    header, events = read(path)
    assert header.version == 3
    assert (events[-1].code, events[-1].data) == ("x", "3")
    assert session.said == ["The recording a.cast has ended with the session."]


async def test_a_recorder_that_somebody_detached_turns_to_the_session_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "REOPEN_S", 0.01)
    session = Session(tmp_path)
    session.reason = EndReason.DETACHED
    path = tmp_path / "a.cast"
    async with opened(session) as recordings:
        await recordings.start(path, None, None, BY)
        await until(shows(path, "ready"), "the first output")
        session.type(b"quit")
        await until(lambda: path.read_text().count("ready") == 2, "output of the second one")
        await recordings.stop(BY)
    assert text_of(read(path)[1]) == "ready \x1bcready "


async def test_a_session_that_detaches_every_time_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "REOPEN_S", 0.0)
    session = Session(tmp_path, script="")
    session.reason = EndReason.DETACHED
    async with opened(session) as recordings:
        await recordings.start(None, None, None, BY)
        await until(lambda: recordings.state() is None, "the end of the recording")
        assert len(session.terminals) == 1 + recorder_module.MAX_REOPENED


async def test_what_is_typed_is_recorded_only_when_asked_for_and_bounded(tmp_path: Path) -> None:
    session = Session(tmp_path)
    without, with_input = tmp_path / "without.cast", tmp_path / "with.cast"
    async with opened(session) as recordings:
        recordings.typed(b"nobody records")
        await recordings.start(without, None, None, BY)
        recordings.typed(b"hunter2")
        await recordings.stop(BY)
        await recordings.start(with_input, None, True, BY)
        assert (recordings.state() or {})["input"] is True
        recordings.typed("é".encode()[:1])
        recordings.typed("é".encode()[1:])
        recordings.typed(b"x" * (MAX_TYPED_BYTES + 1000))
        await recordings.stop(BY)
    assert "hunter2" not in without.read_text()
    assert text_of(read(with_input)[1], "i") == "é" + "x" * MAX_TYPED_BYTES


class SlowDisk:
    """A sink that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.text = ""
        self.pending_bytes = 0
        self.is_fast = False
        self.error: OSError | None = None

    def write(self, data: bytes) -> None:
        self.text += data.decode()
        self.pending_bytes += 0 if self.is_fast else len(data)


async def test_a_slow_disk_costs_output_and_holds_nobody_up(tmp_path: Path) -> None:
    session = Session(tmp_path, FLOOD)
    async with opened(session):
        terminal = await session.recorded()
        seen = bytearray()
        cursor = terminal.stream.subscribe(Policy.PAUSE, 1 << 16, lambda: None, acks=False)
        disk = SlowDisk()
        loop = asyncio.get_running_loop()
        recorder = Recorder(
            session.recorded, limit_bytes=1 << 30, with_input=False, clock=loop.time
        )
        recorder.begin(disk, Header(2, await recorder.open()))
        running = asyncio.create_task(recorder.run())
        longest = 0.0
        last = loop.time()
        async with asyncio.timeout(DEADLINE_S):
            while b"line 99999 " not in seen[-4096:]:
                item = terminal.stream.take(cursor, 1 << 16)
                if item is not None and not isinstance(item, Finished):
                    seen += getattr(item, "data", b"")
                    terminal.update_flow()
                    longest, last = max(longest, loop.time() - last), loop.time()
                await asyncio.sleep(0)
        assert longest < PATIENCE_S / 2
        assert seen.count(b"\n") == 100_000
        assert disk.pending_bytes < MAX_PENDING_BYTES + 200_000
        disk.is_fast, disk.pending_bytes = True, 0
        recorder.wake()
        await until(lambda: "line 99999 " in disk.text, "the present in the recording")
        recorder.stop()
        assert (await running).why is Why.STOPPED
        assert len(disk.text) < MAX_PENDING_BYTES + 400_000
        events = list(Reader(disk.text.encode().splitlines(keepends=True)).events())
        assert [e.data for e in events if e.data == "\x1bc"] == ["\x1bc"]


async def test_a_slow_disk_holds_the_session_up_no_more_when_nobody_watches(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path, FLOOD)
    async with opened(session):
        clock = asyncio.get_running_loop().time
        recorder = Recorder(session.recorded, limit_bytes=1 << 30, with_input=False, clock=clock)
        recorder.begin(SlowDisk(), Header(2, await recorder.open()))
        running = asyncio.create_task(recorder.run())
        await until(lambda: b"line 99999 " in session.terminal.tail, "the end of the flood")
        recorder.stop()
        await running


async def test_a_slow_client_that_is_alone_is_waited_for_as_if_nothing_was_recorded(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path, FLOOD)
    async with opened(session) as recordings:
        terminal = await session.recorded()
        cursor = terminal.stream.subscribe(Policy.PAUSE, 1 << 16, lambda: None, acks=True)
        await recordings.start(None, None, None, BY)
        now = asyncio.get_running_loop().time()
        await until(lambda: terminal.stream.should_pause(now), "the pty is held up")
        assert terminal.stream.should_pause(now + PATIENCE_S + 1)
        assert terminal.stream.should_pause(now + 2 * PATIENCE_S + 2)
        assert cursor.lost == ""


class Shared:
    """What the recorder needs of the terminal that viewers share, with its real stream."""

    def __init__(self) -> None:
        self.stream = Broadcast(SIZE, now=lambda: 0.0, ask=lambda: None, on_empty=lambda: None)

    @property
    def size(self) -> WindowSize:
        return self.stream.size

    def drop(self, cursor: Cursor) -> None:
        self.stream.unsubscribe(cursor)

    def repaint(self) -> None:
        pass

    update_flow = repaint


async def test_sizes_stand_where_the_stream_has_them() -> None:
    shared = Shared()
    shared.stream.append(b"small")

    async def recorded() -> Terminal:
        return shared  # type: ignore[return-value]

    disk = SlowDisk()
    recorder = Recorder(recorded, limit_bytes=1 << 20, with_input=False, clock=lambda: 0.0)
    recorder.begin(disk, Header(2, await recorder.open()))
    running = asyncio.create_task(recorder.run())
    await until(lambda: "small" in disk.text, "the first output")
    # All of it comes before the recorder has its turn.
    shared.stream.append(b" still small")
    shared.stream.resize(WindowSize(cols=100, rows=30))
    shared.stream.append(b"large")
    recorder.stop()
    await running
    events = Reader(disk.text.encode().splitlines(keepends=True)).events()
    assert [event.data for event in events] == ["small", " still small", "100x30", "large"]
    assert shared.stream.cursors == set()


async def test_a_late_recording_begins_with_what_late_joiners_are_shown(tmp_path: Path) -> None:
    session = Session(tmp_path)
    path = tmp_path / "a.cast"
    async with opened(session) as recordings:
        terminal = await session.recorded()
        await until(lambda: b"ready" in terminal.tail, "the first output")
        await recordings.start(path, None, None, BY)
        await until(shows(path, "ready"), "what was there before")
    assert text_of(read(path)[1]) == "ready "
