"""Pastes of any size arrive whole, through the browser's clipboard."""

import hashlib
from pathlib import Path

import pytest

from tests.conftest import StartBridge, wait_until
from tests.page.conftest import NewTab

pytestmark = pytest.mark.browser

LARGE_BYTES = 1_000_000


def large_text() -> str:
    """Make a text of 1 MB whose lines are all different and below the kernel's 4096 bytes."""
    lines = [f"{number} {'naïve 漢字 😀 ' * (number % 90)}|" for number in range(1, 900)]
    text = "\n".join(lines)
    text += "\n" + "x" * 70
    while len(text.encode()) < LARGE_BYTES:
        text += f"\n{len(text)} " + "plain text " * 300
    return text + "\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "direct",
    [pytest.param(False, id="tmux"), pytest.param(True, id="direct", marks=pytest.mark.long)],
)
def test_a_megabyte_arrives_whole(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path, direct: bool
) -> None:
    text = large_text()
    out = tmp_path / "out"
    if direct:
        reader = ["sh", "-c", "stty -echo; echo ready; cat > out; echo finished"]
        tab = new_tab().open(start_bridge(command=reader).link)
    else:
        tab = new_tab().open(start_bridge().link)
        tab.run("clear; stty -echo; echo ready; cat > out; echo finished")
    tab.wait_for("^ready$")
    tab.paste(text)
    tab.wait_until_sent()
    wait_until(
        lambda: out.exists() and out.stat().st_size >= len(text.encode()),
        "the file has the length of the text",
    )
    tab.press("Control+d")
    if direct:
        tab.wait_for_state("ended")
    else:
        tab.wait_for("^finished$")
    data = out.read_bytes()
    assert (len(data), digest(data)) == (len(text.encode()), digest(text.encode()))


def test_a_paste_waits_for_a_program_that_does_not_read_and_is_shown(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    text = "".join(f"{number}," for number in range(40_000))
    wait = f"stty raw -echo; mkfifo gate; echo ready; read go < gate; head -c {len(text)} > out"
    tab = new_tab().open(start_bridge(command=["sh", "-c", f"{wait}; cat"]).link)
    tab.wait_for("^ready")
    tab.paste(text)
    wait_until(lambda: tab.page.is_visible("#progress"), "the paste is shown to be under way")
    assert tab.state() == "connected"
    (tmp_path / "gate").write_text("go\n")
    tab.wait_until_sent()
    out = tmp_path / "out"
    wait_until(lambda: out.exists() and out.read_text() == text, "the whole text has arrived")


def test_a_bracketed_paste_keeps_characters_that_messages_could_cut(
    start_bridge: StartBridge, new_tab: NewTab, tmp_path: Path
) -> None:
    # Pairs of code units begin at even and at odd places, so that some lie across every border.
    text = "a" + "😀" * 20_000 + "b" + "é漢👩‍🚀" * 8_000
    expected = b"\x1b[200~" + text.encode() + b"\x1b[201~"
    ask = rf"stty raw -echo; printf '\033[?2004h'; echo ready; head -c {len(expected)} > out; cat"
    tab = new_tab().open(start_bridge(command=["sh", "-c", ask]).link)
    tab.wait_for("^ready")
    tab.paste(text)
    out = tmp_path / "out"
    tab.wait_until_sent()
    wait_until(
        lambda: out.exists() and out.stat().st_size >= len(expected), "all bytes have arrived"
    )
    assert digest(out.read_bytes()) == digest(expected)
