"""Recordings as files: names, folders, the limit, and disks that are full, broken or slow."""

import asyncio
import errno
import json
import os
import stat
import threading
from collections.abc import Awaitable
from pathlib import Path

import pytest

from tests.component.recorded import BY, FLOOD, Session, opened, read, shows, text_of, until
from tests.conftest import DEADLINE_S
from ttybridge.adapters.recording_file import (
    Facts,
    RecordingFile,
    look,
    open_recording,
)
from ttybridge.errors import RecordingError, TtyBridgeError
from ttybridge.recordings import default_folder
from ttybridge.sessions.terminal import Terminal


async def test_a_recording_ends_at_its_limit_with_whole_lines(tmp_path: Path) -> None:
    session = Session(tmp_path, FLOOD)
    path = tmp_path / "a.cast"
    async with opened(session, record_limit_bytes=100_000) as recordings:
        await recordings.start(path, None, None, BY)
        await until(lambda: recordings.state() is None, "the end of the recording")
        # The session goes on.
        assert not session.terminal.ended.done()
    assert 30_000 < path.stat().st_size <= 100_000
    assert text_of(read(path)[1]).startswith("line 0 of")
    assert session.said == [
        "The recording a.cast has reached 100000 and has ended (--record-limit)."
    ]
    assert session.events[-1]["why"] == "limit"


async def test_all_recordings_together_have_a_limit_wherever_they_are(tmp_path: Path) -> None:
    session = Session(tmp_path, FLOOD)
    refused: list[str] = []
    path = tmp_path / "elsewhere.cast"
    async with opened(session, record_total_bytes=200_000) as recordings:
        recordings.on_refused = lambda: refused.append("refused")
        kept = tmp_path / "kept"
        kept.mkdir()
        (kept / "old.cast").write_bytes(b"x" * 90_000)
        (kept / "notes.txt").write_bytes(b"x" * 900_000)
        (kept / "link.cast").symlink_to("/etc/passwd")
        assert 90_000 <= recordings.total_bytes < 90_100
        await recordings.start(path, None, None, BY)
        await until(lambda: recordings.state() is None, "the end of the recording")
        assert 60_000 < path.stat().st_size <= 110_000
        assert session.said == [
            "All recordings have reached 200000, and elsewhere.cast has ended (--record-total)."
        ]
        assert refused == ["refused"]
        with pytest.raises(RecordingError, match="The recordings have reached 200000") as error:
            await recordings.start(None, None, None, BY)
        assert "--record-total" in error.value.hint
        assert len(refused) == 2
        assert not session.terminal.ended.done()
        (kept / "old.cast").unlink()
        await recordings.start(None, None, None, BY)


async def test_a_full_disk_ends_the_recording_at_a_whole_line_and_not_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(tmp_path)
    path = tmp_path / "a.cast"
    async with opened(session) as recordings:
        await recordings.start(path, None, None, BY)
        await until(shows(path, "ready"), "the first output")
        whole = path.read_bytes()
        write, calls = os.write, [0]

        def full(file: int, data: bytes) -> int:
            if threading.current_thread().name != "recording":
                return write(file, data)
            calls[0] += 1
            if calls[0] == 1:
                return write(file, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        session.type(b"this does not fit")
        await until(lambda: recordings.state() is None, "the end of the recording")
        monkeypatch.undo()
        end = session.end
        session.type(b"and it goes on")
        await until(lambda: session.end > end, "the session")
    assert path.read_bytes() == whole
    sentence = "The recording a.cast has ended: No space left on device. The session goes on."
    assert session.said == [sentence]
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [sentence]


async def test_an_error_while_it_is_stopped_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(tmp_path)
    write, goes_on = os.write, threading.Event()

    def breaks_later(file: int, data: bytes) -> int:
        if threading.current_thread().name != "recording":
            return write(file, data)
        goes_on.wait(DEADLINE_S)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", breaks_later)
    async with opened(session) as recordings:
        await recordings.start(tmp_path / "a.cast", None, None, BY)
        stopping = asyncio.create_task(recordings.stop(BY))
        await until(lambda: not session.terminal.stream.cursors, "the recorder has stopped")
        goes_on.set()
        await stopping
    assert session.said == [
        "The recording a.cast has ended: Input/output error. The session goes on."
    ]


async def test_there_is_one_recording_at_a_time(tmp_path: Path) -> None:
    session = Session(tmp_path)
    async with opened(session) as recordings:
        for wrong in (recordings.stop(BY), asyncio.to_thread(recordings.marker, "x", BY)):
            with pytest.raises(RecordingError, match=r"^Nothing is being recorded\. Start: "):
                await _awaited(wrong)
        both = await asyncio.gather(
            recordings.start(None, None, None, BY),
            recordings.start(None, None, None, BY),
            return_exceptions=True,
        )
        (refused,) = (each for each in both if isinstance(each, RecordingError))
        assert "is being recorded already. Stop it first" in str(refused)
        await recordings.stop(BY)
        await recordings.start(None, None, None, BY)
        assert len(recordings.list()) == 2


async def _awaited(work: Awaitable[object]) -> object:
    return await work


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder", "missing"])
async def test_nothing_is_overwritten_and_no_link_followed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.cast"
    aim = tmp_path / "aim"
    match kind:
        case "file":
            path.write_text("precious")
        case "link":
            aim.write_text("precious")
            path.symlink_to(aim)
        case "dangling":
            path.symlink_to(aim)
        case "folder":
            path.mkdir()
        case _:
            path = tmp_path / "no" / "a.cast"
    session = Session(tmp_path)
    async with opened(session) as recordings:
        with pytest.raises(RecordingError, match="Choose another"):
            await recordings.start(path, None, None, BY)
        assert recordings.state() is None
        assert session.terminal.stream.cursors == set()
        assert session.events == []
    if kind in ("file", "link"):
        assert path.read_text() == "precious"
    assert kind != "dangling" or not aim.exists()


async def test_without_a_session_there_is_no_file(tmp_path: Path) -> None:
    session = Session(tmp_path)

    async def fails() -> Terminal:
        raise TtyBridgeError("There is no session.")

    session.recorded = fails  # type: ignore[method-assign]
    async with opened(session) as recordings:
        with pytest.raises(TtyBridgeError, match="There is no session"):
            await recordings.start(tmp_path / "a.cast", None, None, BY)
    assert list(tmp_path.iterdir()) == []


async def test_recordings_without_a_name_are_in_a_private_folder_with_names_of_their_own(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path)
    async with opened(session) as recordings:
        assert recordings.list() == []
        names = []
        for _ in range(3):
            names.append((await recordings.start(None, None, None, BY))["name"])
            await recordings.stop(BY)
        assert len(set(names)) == 3
        assert stat.S_IMODE(recordings.folder.stat().st_mode) == 0o700
        assert sorted(row["name"] for row in recordings.list()) == sorted(names)  # type: ignore[type-var]


async def test_the_list_has_the_folder_and_what_this_run_made_elsewhere_and_nothing_more(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path)
    folder = tmp_path / "kept"
    folder.mkdir()
    good = '{"version": 2, "width": 80, "height": 24, "timestamp": 1700000000}\n[12.5, "o", "a"]\n'
    (folder / "old.cast").write_text(good)
    (folder / "killed.cast").write_text(good + '[13.0, "o", "b')
    (folder / "notes.txt").write_text(good)
    (folder / ".hidden.cast").write_text(good)
    (folder / "no recording.cast").write_text("hello\n")
    (tmp_path / "outside.cast").write_text(good)
    (folder / "link.cast").symlink_to(tmp_path / "outside.cast")
    os.mkfifo(folder / "fifo.cast")
    async with opened(session) as recordings:
        await recordings.start(tmp_path / "named.json", None, None, BY)
        rows = {str(row["name"]): row for row in recordings.list()}
        assert set(rows) == {"old.cast", "killed.cast", "named.json"}
        assert rows["old.cast"] == {
            "name": "old.cast", "bytes": len(good), "seconds": 12.5,
            "startedAt": 1_700_000_000, "isOpen": False,
        }  # fmt: skip
        assert rows["killed.cast"]["seconds"] == 12.5
        assert rows["named.json"]["isOpen"] is True
        assert recordings.path_of("old.cast") == folder / "old.cast"
        assert recordings.path_of("named.json") == tmp_path / "named.json"
        for name in (
            *("outside.cast", "../outside.cast", "kept/../../outside.cast", "link.cast"),
            *("notes.txt", ".hidden.cast", "fifo.cast", "", ".", "..", "a\0.cast", "x" * 300),
            *(str(tmp_path / "outside.cast"), "no.cast", "\udcff.cast"),
        ):
            with pytest.raises(RecordingError, match="no recording of this name"):
                recordings.path_of(name)


def test_a_link_or_a_pipe_is_not_opened_even_where_the_name_is_right(tmp_path: Path) -> None:
    (tmp_path / "aim").write_text("x")
    (tmp_path / "link.cast").symlink_to(tmp_path / "aim")
    os.mkfifo(tmp_path / "fifo.cast")
    for name in ("link.cast", "fifo.cast", "none.cast"):
        with pytest.raises(RecordingError):
            open_recording(tmp_path / name)


def test_the_default_folder_is_where_data_goes() -> None:
    standard = Path("/home/ada/.local/share/ttybridge/recordings")
    assert default_folder({"HOME": "/home/ada"}) == standard
    assert default_folder({"HOME": "/home/ada", "XDG_DATA_HOME": "x"}) == standard
    assert default_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/ttybridge/recordings")


async def test_a_disk_that_hangs_is_not_waited_for_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ttybridge.adapters.recording_file.CLOSE_S", 0.05)
    goes_on, write = threading.Event(), os.write

    def hangs(file: int, data: bytes) -> int:
        if threading.current_thread().name == "recording":
            goes_on.wait(DEADLINE_S)
        return write(file, data)

    monkeypatch.setattr(os, "write", hangs)
    file = RecordingFile(tmp_path / "a.cast", lambda: None)
    file.write(b"a line\n")
    async with asyncio.timeout(DEADLINE_S / 2):
        await file.close()
    assert file.written_bytes == 0
    goes_on.set()
    await until(lambda: "recording" not in [t.name for t in threading.enumerate()], "the thread")
    assert (tmp_path / "a.cast").read_text() == "a line\n"


def test_of_the_newer_format_the_length_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.cast"
    header = {"version": 3, "term": {"cols": 80, "rows": 24}, "timestamp": 1_700_000_000}
    path.write_text(json.dumps(header) + "\n")
    os.utime(path, (1_700_000_042, 1_700_000_042))
    facts = look(path)
    assert facts is not None
    assert (facts.started_at, facts.seconds) == (1_700_000_000, 42.0)


@pytest.mark.parametrize("last", [10, 100_000, 300_000], ids=str)
def test_the_last_time_is_found_behind_lines_of_any_length(last: int, tmp_path: Path) -> None:
    path = tmp_path / "a.cast"
    header = '{"version": 2, "width": 80, "height": 24, "timestamp": 5}\n'
    path.write_text(header)
    assert (look(path) or Facts(0, 0, -1)).seconds == 0.0
    path.write_text(header + '[1, "o", "x"]\n' * 5000 + f'[2.5, "o", "{"x" * last}"]\n[3, "o')
    assert (look(path) or Facts(0, 0, -1)).seconds == 2.5
