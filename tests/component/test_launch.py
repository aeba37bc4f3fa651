"""`ttybridge.start` and the control socket's client, with real bridges as children."""

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ttybridge
from tests.conftest import DEADLINE_S, ROOT, Tmux, clean_environment, wait_until
from tests.notebooks import is_gone
from ttybridge import errors, launch
from ttybridge.client import control
from ttybridge.client.control import Control
from ttybridge.errors import ConfigError, TtyBridgeError

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine itself, whatever proxy the environment names."""

TOKEN = "R7xk2-Qm9fLw0_ab"


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, short_path: Path) -> Path:
    """A folder of the test's own for bridges, and an environment that no other test has touched."""
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.chdir(tmp_path)
    return short_path


def start(tmux: Tmux, **options: Any) -> ttybridge.Bridge:
    return ttybridge.start(socket_path=tmux.socket, port=0, **options)


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def test_a_bridge_is_started_asked_and_stopped(
    tmux: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names that would hide modules of the standard library from a child that looked here.
    for name in ("random.py", "queue.py", "ttybridge.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module')")
    monkeypatch.setenv("PLACE", "a b")
    gc.collect()  # what other tests have left to it
    before = open_files()
    with start(tmux, token=TOKEN, label="mine", cwd=tmp_path, clipboard=False) as bridge:
        status = bridge.status()
        assert (status.pid, status.label) == (bridge.pid, "mine")
        assert status.started_at == pytest.approx(time.time(), abs=60)
        assert (bridge.port, bridge.address) == (status.port, f"http://127.0.0.1:{status.port}/")
        assert bridge.ssh_command is None
        assert os.getsid(bridge.pid) == bridge.pid  # no Ctrl-C of this terminal reaches it

        assert re.fullmatch(re.escape(bridge.address) + r"\?link=[\w.-]{20,}", bridge.url)
        assert bridge.url == bridge.url != bridge.link() != bridge.link()
        with DIRECT.open(bridge.url) as page:
            assert b"<html" in page.read()

        pieces: list[str] = []
        done = bridge.run('echo "$PLACE"; pwd; sh -c "exit 3"', show=pieces.append)
        assert (done.output.split("\n"), done.status) == (["a b", str(tmp_path), ""], 3)
        assert "".join(pieces) == done.output

        words = Path(f"/proc/{bridge.pid}/cmdline").read_text().split("\0")
        assert "--no-clipboard" in words
        assert TOKEN not in " ".join(words)
        assert "TTYBRIDGE_TOKEN" not in bridge.run("env").output
        assert bridge.pid in [found.pid for _, found in launch.running()]
    assert is_gone(bridge.pid)
    assert not bridge.is_running
    assert "Stopped." in bridge.log
    assert tmux("list-sessions", "-F", "#{session_name}") == "0"  # it lives on
    bridge.stop()
    with pytest.raises(TtyBridgeError, match="The bridge has ended"):
        bridge.status()
    with pytest.raises(TtyBridgeError, match="The bridge has ended"):
        bridge.wait()
    gc.collect()
    assert open_files() == before


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"port": 99999, "session": "a:b"}, "ConfigError", "(?s)99999.*a:b"),
        ({"host": "192.0.2.1"}, "TtyBridgeError", "Cannot listen on 192"),
        ({"tmux": "no-such-tmux"}, "MissingProgramError", "no-such-tmux"),
        ({"tmux": "FAILING"}, "TerminalError", "no server today"),
        ({"ssh": True, "sshd": "/bin/false", "ssh_key": "KEY"}, "SshdError", "sshd"),
        ({"tunnel": "ssh:me@127.0.0.1", "tunnel_host_key": "KEY"}, "TunnelError", "127.0.0.1"),
        ({"command": ["no-such-program"]}, "MissingProgramError", "no-such-program"),
    ],
    ids=["values", "failure", "missing", "terminal", "sshd", "tunnel", "command"],
)
def test_why_it_could_not_start_is_raised_with_its_own_class(
    options: dict[str, Any], kind: str, says: str, tmux: Tmux, tmp_path: Path
) -> None:
    failing = tmp_path / "tmux"
    failing.write_text('#!/bin/sh\n[ "$1" = -V ] && echo tmux 3.4 && exit\n')
    with failing.open("a") as file:
        file.write("echo no server today >&2\nexit 1\n")
    failing.chmod(0o755)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    meant = {"KEY": key, "FAILING": failing}
    options = {n: meant[v] if v in ("KEY", "FAILING") else v for n, v in options.items()}
    if "command" not in options:
        options["socket_path"] = tmux.socket
    bridge = ttybridge.start(**({"port": 0} | options))
    with pytest.raises(TtyBridgeError, match=says) as caught:
        bridge.wait()
    assert type(caught.value) is getattr(errors, kind)
    assert "error:" not in str(caught.value)
    with pytest.raises(TtyBridgeError, match=says):  # the same one at every further use
        bridge.status()


def test_a_taken_port_is_said(tmux: Tmux) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bridge = ttybridge.start(socket_path=tmux.socket, port=port)
        with pytest.raises(errors.PortTakenError, match=f"Port {port} is taken"):
            bridge.wait()


def test_wrong_options_are_all_said_before_anything_starts() -> None:
    wrong: dict[str, Any] = {"prot": 1, "ssh": "yes", "port": True, "proxy": {}, "verbose": "2"}
    with pytest.raises(ConfigError) as caught:
        ttybridge.start(**wrong)
    assert caught.value.problems == (
        "ssh: give True or False, not str.",
        "There is no option 'prot'. Did you mean port?",
        "port: give a text or a number, not True.",
        "proxy: give a list of texts, not dict.",
        "verbose: give a number, not str.",
    )


def test_options_become_the_words_of_the_command_line() -> None:
    words, secrets = launch.translate(
        {
            "tunnel": None, "ssh": True, "qr": False, "proxy": [6006, range(8000, 8003)],
            "ssh_key": ("ssh-rsa A", "-x"), "link_life_s": 90, "verbose": 2, "cwd": Path("/a b"),
            "command": ["top", "-d", 1], "token": "t", "host_key_secret": "s", "clipboard": True,
        }
    )  # fmt: skip
    assert words == [
        "--ssh", "--no-qr", "--proxy=6006", "--proxy=8000-8002", "--ssh-key=ssh-rsa A",
        "--ssh-key=-x", "--link-life=90", "--verbose", "--verbose", "--cwd=/a b", "--clipboard",
        "--", "top", "-d", "1",
    ]  # fmt: skip
    assert secrets == {"TTYBRIDGE_TOKEN": "t", "TTYBRIDGE_HOST_KEY_SECRET": "s"}


async def test_the_event_loop_runs_while_a_bridge_starts_works_and_stops(tmux: Tmux) -> None:
    loop, late = asyncio.get_running_loop(), [0.0]

    async def tick() -> None:
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            late.append(loop.time() - before)

    ticking = asyncio.create_task(tick())
    async with start(tmux) as bridge:
        assert (await bridge.arun("echo one")).output == "one\n"
        running = asyncio.create_task(bridge.arun("echo begun; sleep 1000"))
        await asyncio.to_thread(wait_until, lambda: "begun" in tmux.screen(), "it runs")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await bridge.arun("echo two")).output == "two\n"  # Ctrl-C has ended the first
    assert is_gone(bridge.pid)
    ticking.cancel()
    assert len(late) > 20


SCRIPT = """
import os, signal, sys, ttybridge
from ttybridge import launch
signal.signal(signal.SIGINT, signal.default_int_handler)  # some parents leave it ignored
words = ["--socket-path", sys.argv[1], "--port=0", "--tmux", sys.argv[2]]
bridge = launch.launch(words, outlives=sys.argv[3] == "interrupt")
print(bridge.pid, flush=True)
try:
    bridge.wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.read()
print("up", flush=True)
if sys.argv[3] == "fork" and os.fork() == 0:
    sys.exit()
if sys.argv[3] == "fork":
    os.wait()
    bridge.run("sleep 0.5")
    print(bridge.run("echo on").output, end="", flush=True)
if sys.argv[3] == "kill":
    sys.stdin.read()
"""


@contextlib.contextmanager
def script(tmux: Tmux, how: str, program: str = "tmux") -> Iterator[tuple[Any, int]]:
    """A Python program that starts a bridge; with the bridge's process id."""
    words = [sys.executable, "-c", SCRIPT, str(tmux.socket), program, how]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["exit", "fork", "kill"])
def test_a_bridge_does_not_outlive_its_program_unless_that_is_meant(how: str, tmux: Tmux) -> None:
    with script(tmux, how) as (process, pid):
        assert process.stdout.readline() == "up\n"
        if how == "kill":
            process.kill()
        if how == "fork":
            # What was forked has ended before, and a bridge that stops takes no more questions.
            assert process.stdout.readline() == "on\n"
        process.wait(DEADLINE_S)
        wait_until(lambda: is_gone(pid), "the bridge has ended, too")
        assert (how == "kill") == (process.returncode != 0)


def test_ctrl_c_while_it_starts_ends_it(tmux: Tmux, tmp_path: Path) -> None:
    slow = tmp_path / "tmux"
    slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 1000\n")
    slow.chmod(0o755)
    with script(tmux, "interrupt", str(slow)) as (process, pid):
        wait_until((tmp_path / "asked").exists, "the bridge is starting")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert is_gone(pid)


def test_importing_the_package_is_cheap_and_its_names_are_there() -> None:
    assert set(ttybridge.__all__) <= {*dir(ttybridge), *ttybridge.__all__}
    for name in ttybridge.__all__:
        assert getattr(ttybridge, name)
    stub = (ROOT / "ttybridge" / "__init__.pyi").read_text()
    assert set(re.findall(r"as (\w+)$|^(\w+):", stub, re.MULTILINE)) == {
        ("", name) if name.startswith("__") else (name, "")
        for name in ttybridge.__all__
    } | {("", "__version__")}  # fmt: skip
    code = (
        "import sys; before = set(sys.modules); import ttybridge; "
        "print(*(set(sys.modules) - before)); assert not hasattr(ttybridge, 'nothing')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert set(done.stdout.split()) == {"ttybridge"}


Answer = Callable[[Any], None]


@pytest.fixture
def stand_in(place: Path) -> Iterator[Callable[[bytes], Control]]:
    """A control socket that gives one raw answer, whatever it is asked, in the usual place."""
    folder = place / f"ttybridge-{os.getuid()}" / "abcd1234"
    folder.parent.mkdir(mode=0o700)
    folder.mkdir(mode=0o700)
    answer = b""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            size = 0
            while (line := self.rfile.readline().lower().strip()) != b"":
                if line.startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            self.rfile.read(size)
            self.wfile.write(answer)

    with socketserver.ThreadingUnixStreamServer(str(folder / "control"), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()

        def answers(data: bytes) -> Control:
            nonlocal answer
            answer = data
            return Control(folder / "control")

        yield answers
        server.shutdown()
        thread.join(DEADLINE_S)


def http(body: object, status: int = 200) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data)


STATUS = {
    "version": "1", "pid": 1, "label": "x", "startedAt": 1.5, "session": "0", "mode": "tmux",
    "port": 8080, "address": "http://127.0.0.1:8080/", "clients": 0,
    "tunnel": {"name": "ngrok", "state": "open", "urls": ["https://a.b"], "notes": []},
    "ssh": {"user": "me", "host": "127.0.0.1", "port": 22, "command": "ssh", "hostKey": "k",
            "fingerprint": "f", "public": "tcp://[::1]:99"},
    "proxy": [6006],
}  # fmt: skip


def test_what_others_could_have_put_there_is_not_believed(
    place: Path, stand_in: Callable[[bytes], Control]
) -> None:
    stand_in(http(STATUS))
    above = place / f"ttybridge-{os.getuid()}"
    ((_, found),) = control.find([place / "none", place])
    assert found.ssh is not None
    assert found.ssh.public == ("[::1]", 99)
    above.chmod(0o755)
    assert control.find([place]) == []
    above.chmod(0o700)
    (above / "abcd1234").chmod(0o750)
    assert control.find([place]) == []
    (above / "abcd1234").chmod(0o700)
    moved = above.rename(place / "other")
    above.symlink_to(moved)
    assert control.find([place]) == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "it has stopped"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{", "not understood"),
        (b"\x00\xff" * 99 + b"\r\n\r\n", "it has stopped"),
        (http(b"[" * 100_000), "not understood"),
        (http([1]), "not understood"),
        (http(STATUS | {"pid": "x"}), "not understood"),
        (http(STATUS | {"ssh": {"user": "me"}}), "not understood"),
        (http({"error": "No room.", "hint": "Wait."}, 409), r"No room\. Wait\."),
    ],
    ids=["nothing", "cut", "noise", "deep", "list", "number", "part", "refusal"],
)
def test_answers_that_are_none_are_sentences(
    answer: bytes, says: str, stand_in: Callable[[bytes], Control], place: Path
) -> None:
    with pytest.raises(TtyBridgeError, match=says):
        stand_in(answer).status()
    assert control.find([place]) == []


def test_a_text_whose_bridge_goes_away_has_no_status(
    stand_in: Callable[[bytes], Control],
) -> None:
    head = b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n"
    lines = b'{"output": "one"}\n{"output": "two"}\n'
    pieces: list[str] = []
    with pytest.raises(TtyBridgeError, match="it has stopped"):
        launch.run_in_pane(stand_in(head + lines), "x", show=pieces.append)
    assert pieces == ["one", "two"]
    refusal = b'{"error": "A program runs there.", "hint": ""}\n'
    with pytest.raises(TtyBridgeError, match="A program runs there"):
        launch.run_in_pane(stand_in(head + lines + refusal), "x")


def test_a_control_socket_that_is_gone_is_said(place: Path) -> None:
    with pytest.raises(TtyBridgeError, match="it has stopped"):
        Control(place / "control").link()


def test_the_page_about_the_api_has_every_name_and_every_error() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    members = [name for name in vars(ttybridge.Bridge) if not name.startswith("_")]
    for name in (*members, "start"):
        assert re.search(rf"`(ttybridge\.)?{name}\b", text), name
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    for error in kinds:
        if not issubclass(error, TtyBridgeError):
            continue
        assert f"`{error.__name__}`" in text
        if error.exit_code > 1:
            assert f"| `{error.__name__}` | {error.exit_code} |" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"proxy": range(8000, 9000, 100)}, "step 1"),
        ({"proxy": [range(5, 5)]}, "not empty"),
        ({"label": "a\0b"}, "no argument of a program can hold"),
        ({"token": "\ud800" * 20}, "no argument of a program can hold"),
    ],
    ids=["step", "empty", "nul", "surrogate"],
)
def test_a_value_that_no_argument_can_hold_is_refused(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ttybridge.start(**options)


def test_what_is_not_said_is_as_the_configuration_says() -> None:
    assert launch.translate({"tunnel": None, "ssh": None}) == ([], {})
