"""The audit log: what stands in a line, and a file that may fail."""

import json
import logging
import os
import stat
from pathlib import Path

import pytest

from ttybridge.adapters import audit_file
from ttybridge.adapters.audit_file import KEPT, AuditLog, default_path, path_of
from ttybridge.core.audit import line, record


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(each) for each in path.read_text().splitlines() if each]


def test_a_line_has_time_event_and_the_fields_that_are_known() -> None:
    text = line(record("join", 1_795_716_000.1234, {"who": "Ada", "id": "c7", "role": "viewer"}))
    assert text == (
        '{"at": "2026-11-26T18:00:00.123Z", "event": "join", "who": "Ada", "id": "c7", '
        '"role": "viewer"}\n'
    )


def test_fields_without_a_place_in_the_log_are_left_out() -> None:
    secrets = {
        "token": "s3cret",
        "url": "https://x/?link=s3cret",
        "data": "s3cret",
        "key": "s3cret",
    }
    assert "s3cret" not in line(record("share", 0, secrets))


def test_a_text_is_one_line_that_shows_what_it_says() -> None:
    who = "Ada\n{}\x1b[31m\u202etxt.exe\u2028" + "x" * 1000
    text = line(record("join", 0, {"who": who, "on": True, "uses": 3}))
    assert text.count("\n") == 1
    assert text.isascii()
    value = json.loads(text)
    assert value["who"].startswith("Ada{}[31mtxt.exe")
    assert len(value["who"]) <= 200
    assert (value["on"], value["uses"]) == (True, 3)


def test_events_go_to_a_private_file_in_a_private_folder(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ttybridge" / "audit.jsonl"
    log = AuditLog(path, clock=lambda: 0.0)
    log.note("join", who="Ada")
    log.note("leave", who="Ada")
    assert [each["event"] for each in written(path)] == ["join", "leave"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_last_events_are_kept_with_and_without_a_file(tmp_path: Path) -> None:
    for path in (None, tmp_path / "audit.jsonl"):
        log = AuditLog(path)
        for number in range(KEPT + 5):
            log.note("join", id=f"c{number}")
        assert [event["id"] for event in log.last] == [f"c{n}" for n in range(5, KEPT + 5)]


def test_a_large_file_is_renamed_and_every_event_is_in_one_of_the_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "MAX_BYTES", 1000)
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    # Two bridges write to the same file.
    logs = [AuditLog(path), AuditLog(path)]
    count = 0
    while not old.exists():
        logs[count % 2].note("join", id=f"c{count}")
        count += 1
    logs[count % 2].note("leave", id=f"c{count}")
    ids = [event["id"] for event in written(old) + written(path)]
    assert ids == [f"c{n}" for n in range(count + 1)]
    assert 1000 <= old.stat().st_size < 1200


def test_a_file_that_another_bridge_has_renamed_meanwhile_is_not_renamed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "MAX_BYTES", 10)
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    path.write_text('{"event": "of old"}\n')
    opens, others = os.open, ['{"event": "of another bridge"}\n']

    def renamed_meanwhile(name: Path, flags: int, mode: int = 0o777) -> int:
        file = opens(name, flags, mode)
        while others:
            path.rename(old)
            path.write_text(others.pop())
        return file

    monkeypatch.setattr(os, "open", renamed_meanwhile)
    AuditLog(path).note("join")
    assert [event["event"] for event in written(old)] == ["of old"]
    assert [event["event"] for event in written(path)] == ["of another bridge", "join"]


def test_a_file_that_cannot_be_written_costs_one_warning_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    log = AuditLog(tmp_path / "file" / "audit.jsonl")
    with caplog.at_level(logging.WARNING):
        log.note("join", who="Ada")
        log.note("leave", who="Ada")
    assert [each.getMessage() for each in caplog.records] == [
        f"The audit log {tmp_path}/file/audit.jsonl cannot be written: Not a directory."
    ]
    assert len(log.last) == 2


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_nothing_but_a_file_is_written_to(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "link":
        (tmp_path / "aim").write_text("")
        path.symlink_to(tmp_path / "aim")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    AuditLog(path).note("join", who="Ada")
    assert "cannot be written" in caplog.text
    if kind == "link":
        assert (tmp_path / "aim").read_text() == ""


def test_a_line_that_was_cut_by_a_full_disk_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:10]))
        log.note("join", who="Ada")
    log.note("leave", who="Ada")
    cut, whole = path.read_text().splitlines()
    assert len(cut) == 10
    assert json.loads(whole)["event"] == "leave"


def test_the_option_and_the_environment_say_where_it_is() -> None:
    home = {"HOME": "/home/ada"}
    standard = Path("/home/ada/.local/state/ttybridge/audit.jsonl")
    assert default_path(home) == default_path(home | {"XDG_STATE_HOME": "relative"}) == standard
    state = home | {"XDG_STATE_HOME": "/state"}
    assert path_of("auto", state) == Path("/state/ttybridge/audit.jsonl")
    assert path_of("none", state) is None
    assert path_of("/var/log/x", state) == Path("/var/log/x")
