"""The page that plays recordings: shows what the session showed, and lets no recording do harm."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import (
    DEADLINE_S,
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
    wait_until,
)
from tests.page.conftest import NewContext, NewTab
from tests.page.tab import Tab

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

ROWS = """() => Array.from(document.querySelectorAll(".ap-term-text .ap-line"), (line) =>
  line.textContent.trimEnd())"""

SEEK = """async (to) => {
  const player = await window.ttybridge.player;
  await player.pause();
  await player.seek(to);
}"""


def rows(page: "Page") -> list[str]:
    return [str(row) for row in page.evaluate(ROWS)]


def shown(page: "Page") -> str:
    return "\n".join(rows(page))


def seek(page: "Page", to: object) -> None:
    """Go to a time in seconds, or `"100%"`."""
    page.wait_for_selector(".ap-term-text .ap-line")
    page.evaluate(SEEK, to)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


def put(folder: Path, *events: object, name: str = "demo.cast", **header: object) -> str:
    """Write a recording, and return its name."""
    lines = [{"version": 2, "width": 40, "height": 10} | header, *events]
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return name


def open_replay(tab: Tab, bridge: RunningBridge, name: str) -> "Page":
    """Open the page with the token in a header; in other tests, the cookie lets in."""
    tab.page.set_extra_http_headers({"Authorization": f"Bearer {bridge.token}"})
    tab.page.goto(f"{bridge.address}replay?name={name}")
    return tab.page


def test_a_session_with_vim_and_sizes_is_played_as_it_was(
    start_bridge: StartBridge, new_tab: NewTab, tmux: Tmux, folder: Path, tmp_path: Path
) -> None:
    bridge = start_bridge("--record-dir", str(folder))
    tab = new_tab().open(bridge.link)
    tab.check_window()
    name = str(bridge.control.record()["name"])
    source = tmp_path / "x.py"
    source.write_text('def smile() -> str:\n    return "😀é 日本語"  # wide\n')
    tab.run(f"vim -N -u NONE +'syntax on' +'set number' {source}")
    tab.wait_for("smile")
    tab.page.set_viewport_size({"width": 760, "height": 500})
    wait_until(lambda: tab.size()[0] < 100, "a smaller window")
    # In one piece, as what is typed is not: tmux draws the line at once.
    tab.run(":put ='the-'.'end'")
    wait_until(lambda: "the-end" in tmux.screen(), "what was typed in vim")
    wait_until(lambda: "the-end" in (folder / name).read_text(), "that in the recording")
    expected = [row.rstrip() for row in tmux.screen().splitlines()]
    cols, lines = tab.size()
    bridge.control.stop_recording()
    assert [row.rstrip() for row in tmux.screen().splitlines()] == expected

    replay = new_tab()
    page = replay.page
    page.goto(f"{bridge.address}replay?name={name}")
    seek(page, "100%")
    wait_until(lambda: "the-end" in shown(page), "the end of the recording")
    played = rows(page)
    assert len(played) == lines
    assert played[: lines - 1] == expected[: lines - 1]
    assert max(len(row) for row in played) <= cols
    # All of it came from this bridge.
    assert replay.hosts == {bridge.host}


def test_title_name_and_download_are_shown_and_markers_can_be_gone_to(
    start_bridge: StartBridge, new_tab: NewTab, folder: Path
) -> None:
    name = put(
        folder,
        [0.0, "o", "first\r\n"],
        [100.0, "m", "here"],
        [100.0, "o", "second\r\n"],
        [200.0, "o", "third\r\n"],
        title="Deploying <b>",
    )
    bridge = start_bridge("--record-dir", str(folder))
    tab = new_tab()
    page = open_replay(tab, bridge, name)
    page.wait_for_selector(".ap-term-text .ap-line")
    assert page.inner_text("#title") == "Deploying <b>"
    assert page.title() == "Deploying <b> – ttybridge"
    assert page.inner_text("#file") == name
    seek(page, 150)
    wait_until(lambda: rows(page)[:3] == ["first", "second", ""], "the time of the marker")
    assert page.locator(".ap-marker-container").count() == 1
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == name
    assert Path(download.value.path()).read_bytes() == (folder / name).read_bytes()


def test_it_plays_by_itself_with_the_pauses_that_the_recording_allows(
    start_bridge: StartBridge, new_tab: NewTab, folder: Path
) -> None:
    name = put(
        folder, [0, "o", "one"], [900, "r", "60x12"], [900, "o", " two"], idle_time_limit=0.2
    )
    bridge = start_bridge("--record-dir", str(folder))
    tab = new_tab()
    page = open_replay(tab, bridge, name)
    wait_until(lambda: rows(page)[:1] == ["one two"], "the end")
    wait_until(lambda: len(rows(page)) == 12, "the size of the end")


HOSTILE_TEXT = (
    "<img src=x onerror=alert(1)><script>alert(1)</script>"
    "\x1b]8;;javascript:alert(1)\x1b\\click\x1b]8;;\x1b\\"
    '\x1b]0;<b>title</b>\x07\x1b]52;c;aGVsbG8=\x07\x1bP$q"p\x1b\\\x1b[8;9999;9999t\x1b[6n'
)


def test_a_hostile_recording_is_text_and_nothing_else(
    start_bridge: StartBridge, new_tab: NewTab, folder: Path
) -> None:
    evil = '"><img src=x onerror=alert(1)>'
    name = put(
        folder,
        [0.0, "o", HOSTILE_TEXT + "\r\n"],
        [0.1, "m", evil],
        [0.1, "i", evil],
        [0.2, "o", "the end"],
        title=evil,
        width=100,
        theme={"fg": "red;}*{background:url(https://example.org)", "bg": evil, "palette": evil},
        env={"SHELL": evil, "TERM": evil},
        author=evil, poster=evil, audioUrl="https://example.org/a.mp3",
    )  # fmt: skip
    bridge = start_bridge("--record-dir", str(folder))
    tab = new_tab()
    dialogs: list[str] = []
    tab.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page = open_replay(tab, bridge, name)
    wait_until(lambda: "the end" in shown(page), "the end")
    assert rows(page)[0].startswith("<img src=x onerror=alert(1)><script>alert(1)</script>click")
    assert page.inner_text("#title") == evil
    assert page.locator("#player img, #player script, #title *").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0
    assert (dialogs, tab.hosts) == ([], {bridge.host})


NOT_PLAYED = {
    "huge.cast": ('{"version": 2, "width": 99999, "height": 99999}\n', "Line 1: the window size"),
    "later.cast": (
        '{"version": 2, "width": 80, "height": 24}\n[1, "r", "9999x9999"]\n',
        "Line 2: this is no window size",
    ),
    "half.cast": (
        '{"version": 2, "width": 80, "height": 24}\n[1, "o"\n[2, "o", "x"]\n',
        "Line 2: this is not JSON",
    ),
    "text.cast": ("hello", "Line 1: this is not JSON"),
}


def test_what_cannot_be_played_is_said_in_a_sentence(
    start_bridge: StartBridge, new_tab: NewTab, folder: Path
) -> None:
    for name, (text, _) in NOT_PLAYED.items():
        (folder / name).write_text(text)
    bridge = start_bridge("--record-dir", str(folder))
    tab = new_tab()
    for name, (_, words) in NOT_PLAYED.items():
        page = open_replay(tab, bridge, name)
        page.wait_for_selector("#problem")
        assert page.inner_text("#problem").startswith(f"{name} cannot be played. {words}")


@pytest.fixture
def serving(folder: Path) -> Iterator[str]:
    """`ttybridge play --serve`: the link to a recording in the newer format."""
    path = folder / "späť <1>.cast"
    header = {"version": 3, "term": {"cols": 40, "rows": 10}}
    events = [[0.1, "o", "uno\r\n"], [0.1, "o", "due\r\n"], [0.1, "x", "0"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in [header, *events]) + '[0.1, "o')
    process = subprocess.Popen(
        [sys.executable, "-m", "ttybridge", "play", str(path), "--serve"],
        env=clean_environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    assert process.wait(DEADLINE_S) == 0
    process.stdout.close()


def test_one_recording_is_served_and_played(
    serving: str, new_tab: NewTab, new_context: NewContext
) -> None:
    tab = new_tab()
    tab.page.goto(serving)
    wait_until(lambda: rows(tab.page)[:2] == ["uno", "due"], "the recording")
    assert tab.page.inner_text("#title") == "späť <1>.cast"
    assert "token" not in tab.page.url
    stranger = new_tab(new_context())
    stranger.page.goto(serving.partition("?")[0])
    assert stranger.page.locator("#player").count() == 0
    assert "Sign in" in stranger.page.title()
