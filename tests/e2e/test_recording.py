"""Recording while the bridge runs: real asciinema plays it, kills and full disks do no harm."""

import gzip
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.asking import ask
from tests.e2e.conftest import OnPty, StartOnPty
from ttybridge.core.asciicast import Event, Header, Reader
from ttybridge.model import WindowSize

needs_asciinema = pytest.mark.skipif(
    not (shutil.which("asciinema") and shutil.which("vim")),
    reason="asciinema or vim is not installed (scripts/setup.sh test)",
)

PYTHON = shlex.quote(sys.executable)

SMILES = """
import time
for n in range(40):
    print(("\U0001f600é" * 25 + chr(10)) * 20, flush=True)
    time.sleep(.01)
"""
"""More at a time than one read of the pty takes: characters are cut at its borders. With pauses, so
that tmux leaves nothing out, which it does in the middle of characters, too."""


def read(path: Path) -> tuple[Header, list[Event]]:
    data = path.read_bytes()
    reader = Reader(data.splitlines(keepends=True))
    return reader.header, list(reader.events())


def attach(start_on_pty: StartOnPty, tmux: Tmux, *, cols: int, rows: int) -> OnPty:
    """Come in as an SSH login does: with a tmux client of one's own."""
    wait_until(lambda: tmux("ls", check=False), "the session")
    return start_on_pty(
        ["tmux", "-S", str(tmux.socket), "attach", "-t", "=0"],
        env=clean_environment(TERM="xterm-256color"),
        cols=cols,
        rows=rows,
    )


def wait_for_window(tmux: Tmux, size: str) -> None:
    name = "#{window_width}x#{window_height}"
    wait_until(
        lambda: tmux("display-message", "-p", "-t", "=0:", name) == size, f"a window of {size}"
    )


@pytest.fixture
def other_tmux(tmp_path: Path, short_path: Path) -> Iterator[Tmux]:
    """A second tmux server, in whose window recordings are played."""
    server = Tmux(short_path / "other")
    yield server
    server.stop()


def play_until(tmux: Tmux, size: WindowSize, argv: list[str], rows: list[str]) -> None:
    """Play a recording in a window of this size until it has these rows, attributes included."""
    tmux(
        *("-f", "/dev/null", "new-session", "-d", "-x", str(size.cols), "-y", str(size.rows)),
        *("-s", "0", "--", "sh", "-c", 'stty raw -echo; "$@"; sleep 1000', "sh", *argv),
        env=clean_environment(TERM="screen-256color", HOME=str(tmux.socket.parent)),
    )
    tmux("set", "-g", "status", "off")
    tmux("resize-window", "-t", "=0:", "-x", str(size.cols), "-y", str(size.rows))
    wait_until(lambda: rows_of(tmux)[: len(rows)] == rows, "the rows that were recorded")


def rows_of(tmux: Tmux) -> list[str]:
    """Return what is shown, attributes included; a cell that was cleared is like a blank."""
    rows = tmux("capture-pane", "-p", "-e", "-N", "-t", "=0:").splitlines()
    return [row.rstrip(" ") for row in rows]


@needs_asciinema
def test_a_session_with_vim_sizes_and_cut_emoji_is_played_as_it_was(
    start_bridge: StartBridge,
    start_on_pty: StartOnPty,
    tmux: Tmux,
    other_tmux: Tmux,
    tmp_path: Path,
) -> None:
    path = tmp_path / "demo.cast"
    bridge = start_bridge("--record", str(path))
    person = attach(start_on_pty, tmux, cols=90, rows=26)
    wait_for_window(tmux, "90x25")
    smiles = tmp_path / "smiles.py"
    smiles.write_text(SMILES)
    person.type(f"PS1='$ '; {PYTHON} {smiles}; echo all-$((1))\r".encode())
    person.wait_for_text("all-1")
    source = tmp_path / "x.py"
    source.write_text('def smile() -> str:\n    """Smile."""\n    return "😀 日本語"  # wide\n')
    person.type(f"vim -N -u NONE +'syntax on' +'set number' {source}\r".encode())
    person.wait_for_text("smile")
    person.resize(110, 32)
    wait_for_window(tmux, "110x31")
    person.type("Go🎉 the-end".encode() + b"\x1b")
    wait_until(lambda: "the-end" in tmux.screen(), "what was typed in vim")
    wait_until(lambda: "INSERT" not in tmux.screen(), "the end of the insertion")
    person.type(b":echo 'last-' . 'of-all'\r")
    # Nothing changes any more: the recording has all of it when that is there.
    wait_until(lambda: "last-of-all" in path.read_text(), "that in the recording")
    shown = rows_of(tmux)
    bridge.control.marker("behind")
    bridge.control.stop_recording()
    assert rows_of(tmux) == shown

    _, events = read(path)
    sizes = [event.data for event in events if event.code == "r"]
    assert sizes[-1] == "110x32"
    assert "\ufffd" not in path.read_text()
    assert "😀é" * 25 in "".join(e.data for e in events if e.code == "o")
    # asciinema 2 passes over sizes: it is given a window that is large enough from the start.
    size = WindowSize(cols=110, rows=32)
    argv = ["asciinema", "play", "-i", "0.01", "-s", "50", str(path)]
    assert len(shown) == 31
    play_until(other_tmux, size, argv, shown)
    other_tmux.stop()

    # Our own player restores the terminal at the end; an event a day later keeps it from there.
    later = tmp_path / "later.cast"
    later.write_text(path.read_text() + json.dumps([86_400.0, "o", "."]) + "\n")
    argv = [sys.executable, "-m", "ttybridge", "play", "--speed", "50", str(later)]
    again = Tmux(other_tmux.socket.with_name("again"))
    try:
        play_until(again, size, argv, shown)
    finally:
        again.stop()


def test_a_bridge_that_is_killed_loses_less_than_a_second(
    start_bridge: StartBridge, start_on_pty: StartOnPty, tmux: Tmux, tmp_path: Path
) -> None:
    path = tmp_path / "killed.cast"
    bridge = start_bridge("--record", str(path))
    person = attach(start_on_pty, tmux, cols=80, rows=24)
    clock = (
        f"{PYTHON} -uc 'import time\nwhile 1: print(\"at\", time.time(), flush=1); time.sleep(.02)'"
    )
    person.type(clock.replace("\n", ";\n").encode() + b"\r")
    wait_until(lambda: path.read_text().count("at 1") > 15, "some of the clock")
    killed_at = time.time()
    bridge.process.kill()
    bridge.process.wait()
    _, events = read(path)
    text = "".join(event.data for event in events if event.code == "o")
    last = max(float(word) for word in _times(text))
    assert killed_at - last < 1.0


def _times(text: str) -> Iterator[str]:
    words = text.replace("\r", " ").replace("\n", " ").replace("\x1b", " ").split()
    for before, word in itertools.pairwise(words):
        if before.endswith("at") and word.startswith("1") and len(word) >= 15:
            yield word


def can_mount() -> bool:
    """Tell whether a file system of the test's own can be mounted."""
    if shutil.which("unshare") is None:
        return False
    mount = "mount -t tmpfs -o size=64k none /tmp"
    return subprocess.run([*UNSHARE, "sh", "-c", mount], capture_output=True).returncode == 0


UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def test_a_full_disk_ends_the_recording_and_not_the_session(
    start_bridge: StartBridge, start_on_pty: StartOnPty, tmux: Tmux, tmp_path: Path
) -> None:
    if not can_mount():
        pytest.skip("no file system can be mounted here (unshare --mount)")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = f'mount -t tmpfs -o size=64k none {shlex.quote(str(folder))} && exec "$@"'
    # tmux keeps its socket outside: the server is started in there, too.
    bridge = start_bridge(
        "--record", str(folder / "full.cast"), prefix=[*UNSHARE, "sh", "-c", mount, "sh"]
    )
    person = attach(start_on_pty, tmux, cols=80, rows=24)
    person.type(b"while test ! -e enough; do seq 1000; done; echo goes-$((1))-on\r")
    wait_until(
        lambda: "full.cast has ended: No space left on device" in bridge.log, "the disk is full"
    )
    assert tmux.clients()
    (tmp_path / "enough").touch()
    wait_until(lambda: "goes-1-on" in tmux.screen(), "the session goes on")
    assert bridge.control.people().recording is None
    inside = Path(f"/proc/{bridge.pid}/root{folder}/full.cast")
    data = inside.read_bytes()
    assert data.endswith(b"\n")
    assert 16 << 10 < len(data) <= 64 << 10
    _, events = read(inside)
    assert events
    assert bridge.log.count("No space left") == 1
    # Another one can be started elsewhere.
    bridge.control.record(tmp_path / "next.cast")
    wait_until(lambda: "goes-1-on" in (tmp_path / "next.cast").read_text(), "the next recording")


def test_a_file_that_is_there_already_is_left_alone(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    path = tmp_path / "mine.cast"
    path.write_text("precious")
    with pytest.raises(pytest.fail.Exception, match=r"There is a file .*mine\.cast already"):
        start_bridge("--record", str(path))
    assert path.read_text() == "precious"


def token_of(address: str, url: str) -> str:
    """Open a shared link as a program does."""
    link = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["link"][0]
    form = urllib.parse.urlencode({"link": link}).encode()
    request = urllib.request.Request(
        f"{address}login", data=form, headers={"Accept": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return str(json.load(answer)["token"])


def test_recordings_are_for_owners_and_editors_and_no_other_file_is_served(
    start_bridge: StartBridge, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    bridge = start_bridge("--record-dir", str(folder), "--record", str(tmp_path / "named.json"))
    good = '{"version": 2, "width": 80, "height": 24}\n[1.5, "o", "' + "a" * 5000 + '"]\n'
    (folder / "half.cast").write_text(good + '[2.0, "o", "not who')
    (tmp_path / "secret.cast").write_text(good)
    (folder / "link.cast").symlink_to(tmp_path / "secret.cast")
    tokens = {"owner": bridge.token}
    for role in ("editor", "viewer"):
        tokens[role] = token_of(bridge.address, bridge.control.share(role).url)
    for path in ("recordings/half.cast", "replay?name=half.cast"):
        statuses = {role: ask(bridge.address + path, each)[0] for role, each in tokens.items()}
        assert statuses == {"owner": 200, "editor": 200, "viewer": 403}, path
        assert ask(bridge.address + path, "wrong" * 5)[0] == 401
    status, headers, body = ask(bridge.address + "recordings/half.cast", bridge.token)
    assert (status, body.decode()) == (200, good)
    assert headers["Content-Type"] == "application/x-asciicast"
    assert headers["Content-Disposition"].startswith('attachment; filename="half.cast"')
    assert headers["Cache-Control"] == "no-store"
    _, headers, body = ask(bridge.address + "recordings/half.cast", bridge.token, accept="gzip")
    assert (headers["Content-Encoding"], gzip.decompress(body).decode()) == ("gzip", good)
    assert len(body) < 1000
    # The one that is being made, by the name of its file.
    status, _, body = ask(bridge.address + "recordings/named.json", bridge.token)
    assert (status, json.loads(body.splitlines()[0])["version"]) == (200, 2)
    for name in ("secret.cast", "..%2Fsecret.cast", "link.cast", "%2Fetc%2Fpasswd", "x.cast", "."):
        assert ask(bridge.address + f"recordings/{name}", bridge.token)[0] == 404, name
        assert ask(bridge.address + f"replay?name={name}", bridge.token)[0] == 404, name
    policy = ask(bridge.address + "replay?name=half.cast", bridge.token)[1]
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy["Content-Security-Policy"]
    assert "wasm" not in ask(bridge.address, bridge.token)[1]["Content-Security-Policy"]
