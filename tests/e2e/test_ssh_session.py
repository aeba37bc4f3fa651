"""SSH lands in the shared session, with the bridge's environment; sharing rules hold for it."""

import contextlib
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import (
    ROOT,
    RunningBridge,
    StartBridge,
    Tmux,
    clean_environment,
    wait_until,
)
from tests.e2e.conftest import OnPty, StartOnPty, pane_size, program
from tests.e2e.ssh import Key, Ssh, make_key, needs_ssh, run, ssh_address
from tests.e2e.test_environment import (
    DROPPED,
    SET_PER_PANE,
    fake_nvidia_smi,
    snapshot,
)

pytestmark = needs_ssh

OF_THE_LOGIN = {b"TERM", b"PWD", b"OLDPWD", b"SHLVL", b"_", b"SSH_CLIENT", b"SSH_CONNECTION"}
"""What a login or its shell sets by itself."""

CLIENT = clean_environment(TERM="xterm-256color")


def environment_of(output: bytes) -> dict[bytes, bytes]:
    """Read what `env -0` prints, without what belongs to the login."""
    entries = dict(entry.split(b"=", 1) for entry in output.split(b"\0")[:-1])
    return {n: v for n, v in entries.items() if n not in OF_THE_LOGIN}


def wanted(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {n: v for n, v in environment.items() if n not in OF_THE_LOGIN | DROPPED}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    return folder


def test_a_command_has_the_environment_of_the_bridge_byte_by_byte(
    start_bridge: StartBridge, ssh: Ssh, home: Path
) -> None:
    environment = snapshot(home)
    bridge = start_bridge(*ssh.options, environment=environment)
    done = ssh.run(bridge, "bridge", "env -0")
    assert environment_of(done.stdout) == wanted(environment)
    assert b"LD_LIBRARY_PATH" in wanted(environment)


def test_what_an_ssh_login_opens_in_the_session_has_it_too(
    start_bridge: StartBridge, ssh: Ssh, home: Path, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    # tmux starts login shells, and /etc/profile of Debian sets PATH anew.
    (home / ".tmux.conf").write_text("set -g default-command 'exec bash --norc'\n")
    environment = snapshot(home)
    bridge = start_bridge(*ssh.options, environment=environment)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    expected = {n: v for n, v in wanted(environment).items() if n not in SET_PER_PANE}
    for number in range(2):
        out = home / f"environment-{number}"
        terminal.type(f"env -0 > {out}.part; mv {out}.part {out}\r".encode())
        wait_until(out.exists, "the environment in the pane")
        there = environment_of(out.read_bytes())
        assert {n: v for n, v in there.items() if n not in SET_PER_PANE | DROPPED} == expected
        # An attach without -E would hand its own SSH_CONNECTION and DISPLAY to a new window.
        terminal.type(b"\x02c")
        # Without the prompt in it, what is typed next would go to the old window.
        terminal.wait_for_text(f"{number + 1}:bash*")


def test_a_login_leaves_the_environment_of_the_session_as_it_is(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options, env={"DISPLAY": ":77"})
    start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT).wait_for_text("[0] 0:")
    # Variables that tmux takes over from each client that attaches, if it may (update-environment).
    for name in ("DISPLAY", "SSH_AUTH_SOCK", "SSH_CONNECTION"):
        tmux("set-environment", "-t", "=0", name, "set by hand")
    before = tmux("show-environment", "-t", "=0")
    assert before.count("=set by hand") == 3
    start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT).wait_for_text("[0] 0:")
    assert tmux("show-environment", "-t", "=0") == before


def test_nvidia_smi_works_over_ssh(
    start_bridge: StartBridge, ssh: Ssh, home: Path, start_on_pty: StartOnPty
) -> None:
    """The blog post's reason for all this: it fails without the notebook's LD_LIBRARY_PATH."""
    smi = fake_nvidia_smi(home)
    path = f"{home}:{os.environ['PATH']}"
    bridge = start_bridge(*ssh.options, environment=snapshot(home, PATH=path))
    done = ssh.run(bridge, "bridge", "nvidia-smi")
    assert (done.returncode, done.stdout) == (0, b"GPU ok\n"), done.stderr
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    # A login shell of root resets PATH (/etc/profile of Debian).
    terminal.type(f"{smi}; echo status-$?\r".encode())
    terminal.wait_for_text("GPU ok")
    terminal.wait_for_text("status-0")


def test_two_ssh_logins_and_a_tmux_client_share_and_nobody_detaches_anybody(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    plain = start_on_pty(
        ["tmux", "-S", str(tmux.socket), "attach", "-t", "=0"], env=CLIENT, cols=100, rows=30
    )
    plain.wait_for_text("[0] 0:")
    first = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT, cols=90, rows=28)
    first.wait_for_text("[0] 0:")
    second = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT, cols=80, rows=24)
    second.wait_for_text("[0] 0:")
    for number, typing in enumerate((first, second, plain)):
        typing.type(f"echo mark-$((6*7))-{number}\r".encode())
        for watching in (first, second, plain):
            watching.wait_for_text(f"mark-42-{number}")
    # The window has the size of whoever typed last.
    first.type(b"\r")
    wait_until(lambda: pane_size(tmux) == "27 90", "the first one's size")
    first.resize(70, 20)
    wait_until(lambda: pane_size(tmux) == "19 70", "the first one's new size")
    first.type(b"\x02d")
    assert first.wait() == 0
    assert "detached" in first.tail
    second.process.kill()  # a line that breaks
    wait_until(lambda: len(tmux.clients()) == 1, "the end of both clients")
    again = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    again.wait_for_text("mark-42-2")
    again.type(b"echo mark-$((6*8))\r")
    plain.wait_for_text("mark-48")


def test_a_login_whose_terminal_has_no_size_leaves_the_window_usable(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux
) -> None:
    bridge = start_bridge(*ssh.options)
    # What scripts and editors do: a terminal there, and none here.
    held = subprocess.Popen(
        ssh.command(bridge, "-tt", "bridge"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert held.stdin is not None
    try:
        wait_until(tmux.clients, "the client")
        held.stdin.write(b"\r")
        held.stdin.flush()
        wait_until(lambda: pane_size(tmux) == "23 80", "a common size")
    finally:
        held.kill()
        held.stdin.close()
        held.wait()


def test_watchers_alone_cannot_lock_out_who_may_type(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options, "--max-clients", "3")
    watch = ssh.command(bridge, "bridge", key=ssh.viewer)
    for number in (1, 2):
        start_on_pty(watch, env=CLIENT).wait_for_text("[0] 0:")
        wait_until(lambda number=number: len(tmux.clients()) == number, "the watcher")  # type: ignore[misc]
    third = start_on_pty(watch, env=CLIENT)
    third.wait_for_text("the other places are for those who type")
    assert third.wait() == 1
    owner = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    owner.wait_for_text("[0] 0:")


def test_windows_keep_working_and_the_end_of_the_session_is_told(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    terminal.type(b"\x02c")
    wait_until(lambda: len(tmux("list-windows", "-t", "=0").splitlines()) == 2, "a second window")
    for left in (1, 0):
        terminal.type(b"exit\r")
        wait_until(
            lambda left=left: (
                len(  # type: ignore[misc]
                    tmux("list-windows", "-t", "=0", check=False).splitlines()
                )
                == left
            ),
            f"{left} windows",
        )
    assert terminal.wait() == 0
    assert "[exited]" in terminal.tail
    once_more = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    once_more.wait_for_text("[0] 0:")


@pytest.mark.parametrize("term", ["no-such-terminal", "xterm-direct", "dumb", "../../etc/passwd"])
def test_a_terminal_that_tmux_cannot_use_is_taken_for_a_common_one(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty, term: str
) -> None:
    bridge = start_bridge(*ssh.options)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT | {"TERM": term})
    terminal.wait_for_text("[0] 0:")
    assert tmux("list-clients", "-F", "#{client_termname}") == "xterm-256color"


def test_a_terminal_that_tmux_knows_is_kept(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT | {"TERM": "screen-256color"})
    terminal.wait_for_text("[0] 0:")
    assert tmux("list-clients", "-F", "#{client_termname}") == "screen-256color"


def test_a_shell_of_ones_own_instead_of_the_session(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options, "--ssh-shell")
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT | {"TERM": "bogus"})
    terminal.type(b"echo $TERM-$((6*7))-$TMUX; shopt -q login_shell && exit 7\r")
    terminal.wait_for_text("xterm-256color-42-\r\n")
    assert terminal.wait() == 7
    assert tmux.clients() == []


def test_a_direct_command_is_shared_by_ssh_and_its_status_passed_on(
    start_bridge: StartBridge, ssh: Ssh, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options, command=program("echo"))
    first = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    second = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    for terminal in (first, second):
        terminal.wait_for_text("READY")
    first.type(b"a")
    second.wait_for_text("[61]")
    second.type(b"\x04")
    assert (first.wait(), second.wait()) == (7, 7)
    assert bridge.wait() == 7


def test_pasted_text_arrives_whole_and_floods_do_not_hold_up_keys(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path, start_on_pty: StartOnPty
) -> None:
    saved = tmp_path / "saved"
    bridge = start_bridge(*ssh.options, command=program("save", saved))
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("READY")
    text = b"".join(b"%07d.\n" % number for number in range(30_000))
    for at in range(0, len(text), 4000):
        terminal.type(text[at : at + 4000])
    terminal.type(b"\x04")
    terminal.wait_for_text("saved")
    assert saved.read_bytes() == text


def logged(bridge: RunningBridge, text: str) -> None:
    wait_until(lambda: text in bridge.log, f"{text!r} in the log")


@pytest.mark.parametrize(
    ("who", "more", "said"),
    [
        ("stranger", [], "keys tried: ED25519 SHA256:"),
        ("owner", ["-o", "PubkeyAuthentication=no"], "no key that counts was offered"),
        ("owner", ["-o", "PreferredAuthentications=password"], "no key that counts was offered"),
        ("owner", ["-o", "PreferredAuthentications=keyboard-interactive"], "no key that counts"),
        ("owner", ["-l", "somebody-else"], "user 'somebody-else'"),
        ("owner", ["-l", "sshd"], "user 'sshd'"),
    ],
    ids=["wrong key", "no key", "password", "keyboard-interactive", "another user", "a locked one"],
)
def test_who_has_no_right_key_is_refused_and_the_log_says_so(
    start_bridge: StartBridge, ssh: Ssh, who: str, more: list[str], said: str
) -> None:
    bridge = start_bridge(*ssh.options)
    key: Key = getattr(ssh, who)
    done = ssh.run(bridge, *more, "bridge", "echo in", key=key)
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Permission denied (publickey)" in done.stderr
    logged(bridge, said)
    assert bridge.log.count("ssh login refused") == 1
    assert "usermod" not in bridge.log, "it tells how to open an account that is not ours"
    assert "ssh login: user" not in bridge.log


def test_a_key_that_may_only_watch_runs_and_copies_and_forwards_nothing(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    bridge = start_bridge(*ssh.options)
    key = ssh.viewer
    trace = tmp_path / "trace"
    for words in (["bridge", f"touch {trace}"], ["-tt", "bridge", f"touch {trace}"]):
        done = ssh.run(bridge, *words, key=key)
        assert done.returncode == 1
        assert b"may watch the session and run nothing" in done.stderr + done.stdout
    done = ssh.run(bridge, "-T", "bridge", key=key, stdin=f"touch {trace}\n".encode())
    assert done.returncode == 1
    logged(bridge, f"key {key.fingerprint}")
    logged(bridge, "tried to run a command")
    logged(bridge, "asked for a shell")
    sftp = run(["sftp", *ssh.config(bridge, key), "-b", "-", "bridge"], stdin=b"ls /\n")
    assert sftp.returncode != 0
    logged(bridge, "tried to transfer files")
    scp = ["scp", "-O", *ssh.config(bridge, key), str(ssh.known_hosts), f"bridge:{trace}"]
    assert run(scp).returncode != 0
    forward = ["-o", "ExitOnForwardFailure=yes", "-N"]
    for option in (["-R", "127.0.0.1:0:127.0.0.1:1"], ["-W", f"127.0.0.1:{bridge.port}"]):
        assert ssh.run(bridge, *forward[: 2 if "-W" in option else 3], *option, "bridge",
                       key=key).returncode == 255  # fmt: skip
    assert not trace.exists()


def test_what_a_watcher_types_is_dropped_and_said_in_the_log(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    owner = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT, cols=90, rows=28)
    owner.wait_for_text("[0] 0:")
    owner.type(b"PS1=; clear\r")
    watcher = start_on_pty(
        ssh.command(bridge, "bridge", key=ssh.viewer), env=CLIENT, cols=60, rows=20
    )
    watcher.wait_for_text("[0] 0:")
    # A tmux key, too: another session would be none of a watcher's business.
    tmux("new-session", "-d", "-s", "secret-session", "sleep 300")
    watcher.type(b"echo planted-by-watcher\r\x02)\x02:kill-server\r\x02c")
    logged(bridge, "may only watch: what it types is dropped")
    owner.type(b"echo mark-$((6*7))\r")
    watcher.wait_for_text("mark-42")
    assert "planted-by-watcher" not in tmux.screen()
    assert "planted-by-watcher" not in bridge.log
    assert tmux("list-clients", "-F", "#{client_session}").split() == ["0", "0"]
    assert len(tmux("list-windows", "-t", "=0").splitlines()) == 1
    assert pane_size(tmux) == "27 90", "the watcher's size counted"
    watcher.type(b"\x03")
    assert watcher.wait() == 0
    assert "left" in watcher.tail
    owner.type(b"echo mark-$((6*8))\r")
    owner.wait_for_text("mark-48")


PLANTED = {
    "PLANTED": "planted-environment-secret",
    "TTYBRIDGE_TOKEN": "planted-token-0123456789abcdef",
    "TTYBRIDGE_HOST_KEY_SECRET": "planted-host-key-secret-0123456789",
}


def planted(home: Path) -> dict[bytes, bytes]:
    return snapshot(home, **PLANTED)


def processes() -> dict[int, bytes]:
    """Return the command line of each process that there is."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = (folder / "cmdline").read_bytes()
            except OSError:
                continue
    return found


def test_no_secret_is_in_an_argument_a_log_or_a_file_that_others_read(
    start_bridge: StartBridge, ssh: Ssh, home: Path, short_path: Path, start_on_pty: StartOnPty
) -> None:
    environment = planted(home) | {b"TMPDIR": os.fsencode(short_path)}
    bridge = start_bridge(*ssh.options, environment=environment)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    running = subprocess.Popen(
        ssh.command(bridge, "bridge", "echo running; cat"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=CLIENT,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdin is not None
    assert running.stdout.readline() == b"running\n"
    try:
        arguments = b"".join(processes().values())
        assert b"planted-" not in arguments
        folders = [path for path in short_path.rglob("*") if path.is_dir()]
        files = [path for path in short_path.rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        holding = {path.name for path in files if b"planted-" in path.read_bytes()}
        assert holding == {"environment"}
        (shown,) = (path for path in files if path.name == "environment")
        assert b"planted-environment-secret" in shown.read_bytes()
        assert b"planted-token" not in shown.read_bytes()
        assert b"planted-host-key" not in shown.read_bytes()
    finally:
        running.stdin.close()
        running.stdout.close()
        running.wait()
    ssh.run(bridge, "bridge", "echo in", key=ssh.stranger)
    logged(bridge, "ssh login refused")
    assert bridge.stop() == 0
    assert "planted-" not in bridge.log
    assert list(short_path.glob("ttybridge-*")) == []


@contextlib.contextmanager
def watched_arguments() -> Iterator[set[bytes]]:
    """Yield the command lines of all processes, looked at all the time by a thread."""
    found: set[bytes] = set()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            found.update(processes().values())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def test_no_secret_is_in_an_argument_even_for_a_moment(
    start_bridge: StartBridge, ssh: Ssh, home: Path, tmp_path: Path, start_on_pty: StartOnPty
) -> None:
    web_client = [sys.executable, "-m", "ttybridge", "ssh"]
    web_env = CLIENT | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with watched_arguments() as found:
        bridge = start_bridge(*ssh.options, environment=planted(home))
        web_env["TTYBRIDGE_TOKEN"] = PLANTED["TTYBRIDGE_TOKEN"]
        terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
        terminal.wait_for_text("[0] 0:")
        terminal.type(b"\x02c")
        terminal.wait_for_text("1:bash*")
        for _ in range(3):
            assert b"planted-env" in ssh.run(bridge, "bridge", "env").stdout
        sftp = run(["sftp", *ssh.config(bridge), "-b", "-", "bridge"], stdin=b"ls\n")
        assert sftp.returncode == 0
        for role, key in (("stranger", ssh.stranger), ("viewer", ssh.viewer)):
            assert ssh.run(bridge, "bridge", "env", key=key).stdout == b"", role
        done = subprocess.run(
            [*web_client, bridge.address, "env"], env=web_env, capture_output=True, timeout=60
        )
        assert b"planted-env" in done.stdout, done.stderr
        assert bridge.stop() == 0
    assert [line for line in found if b"login.py" in line], "nobody has looked"
    secrets = [value.encode() for value in PLANTED.values()]
    assert [line for line in found if any(secret in line for secret in secrets)] == []
    assert "planted-" not in bridge.log


def test_the_host_key_of_a_secret_is_the_same_on_every_machine(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    env = {"TTYBRIDGE_HOST_KEY_SECRET": "correct horse battery staple"}
    first = start_bridge(*ssh.options, env=env)
    ssh.config(first)  # pins the host key
    first.stop()
    second = start_bridge(*ssh.options, env=env)
    known = ssh.known_hosts.read_text()
    assert ssh.run(second, "bridge", "echo in").stdout == b"in\n"
    assert ssh.known_hosts.read_text() == known
    third = start_bridge(*ssh.options)
    ssh.config(third)
    assert ssh.known_hosts.read_text() != known


def test_the_host_key_is_kept_in_a_folder(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    known = set()
    for _ in range(2):
        bridge = start_bridge(*ssh.options, "--state-dir", str(state))
        assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"
        known.add(ssh.known_hosts.read_text())
        bridge.stop()
    assert len(known) == 1
    (kept,) = state.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_keys_come_from_files_too_and_without_any_it_does_not_start(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path, home: Path
) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh/authorized_keys").write_text(f"# mine\n{ssh.owner.public}\n")
    bridge = start_bridge("--ssh", "--ssh-port", "0")
    assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"
    bridge.stop()
    (home / ".ssh/authorized_keys").unlink()
    with pytest.raises(pytest.fail.Exception) as caught:
        start_bridge("--ssh", "--ssh-port", "0")
    text = str(caught.value)
    assert "status 6" in text
    for way in ("--authorized-keys", "--ssh-key", "--github-user"):
        assert way in text
    assert "Traceback" not in text


def test_keys_come_from_several_of_each_source(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    ways = ("file-1", "file-2", "option-1", "option-2", "github-1", "github-2")
    keys = {way: make_key(tmp_path, way) for way in ways}

    class Github(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = keys[self.path[1:].removesuffix(".keys")].public.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    for way in ("file-1", "file-2"):
        (tmp_path / f"{way}.keys").write_text(keys[way].public + "\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Github) as github:
        thread = threading.Thread(target=github.serve_forever, args=(0.05,))
        thread.start()
        try:
            bridge = start_bridge(
                *("--ssh", "--ssh-port", "0"),
                # As they stand in the working directory.
                *("--authorized-keys", "file-1.keys", "--authorized-keys", "./file-2.keys"),
                *("--ssh-key", keys["option-1"].public, "--ssh-key", keys["option-2"].public),
                *("--github-user", "github-1", "--github-user", "github-2:read-only"),
                *("--github-url", f"http://127.0.0.1:{github.server_address[1]}"),
                cwd=tmp_path,
            )
        finally:
            github.shutdown()
            thread.join()
    done = {way: ssh.run(bridge, "bridge", "echo in", key=key) for way, key in keys.items()}
    assert b"may watch the session" in done.pop("github-2").stderr
    assert {way: each.stdout for way, each in done.items()} == dict.fromkeys(done, b"in\n")


def test_what_the_banner_says_is_enough_to_log_in(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    bridge = start_bridge(*ssh.options)
    port, user, _ = ssh_address(bridge)
    (block,) = re.findall(r"^  Host ttybridge\n(?:    .+\n)+", bridge.log, re.MULTILINE)
    (alias,) = re.findall(r"HostKeyAlias (\S+)", block)
    (command,) = re.findall(r"^  ssh (-p .+)$", bridge.log, re.MULTILINE)
    scanned = run(["ssh-keyscan", "-p", str(port), "127.0.0.1"]).stdout.decode().splitlines()
    (key,) = (line.partition(" ")[2] for line in scanned if not line.startswith("#"))
    file = tmp_path / "key.pub"
    file.write_text(key)
    fingerprint = run(["ssh-keygen", "-lf", str(file)]).stdout.decode().split()[1]
    assert re.search(rf"Host key:\s+ED25519\s+{re.escape(fingerprint)}$", bridge.log, re.MULTILINE)
    known, config = tmp_path / "known", tmp_path / "config"
    known.write_text(f"{alias} {key}\n[127.0.0.1]:{port} {key}\n")
    config.write_text(
        f"{block}\nHost *\nIdentityFile {ssh.owner.file}\nIdentitiesOnly yes\nIdentityAgent none\n"
        f"UserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\n"
        "StrictHostKeyChecking yes\nBatchMode yes\n"
    )
    for words in (["ttybridge"], command.split()):
        done = run(["ssh", "-F", str(config), *words, "id -un"])
        assert done.stdout.decode() == f"{user}\n", done.stderr


def test_nothing_stays_between_sshd_and_a_command(start_bridge: StartBridge, ssh: Ssh) -> None:
    done = ssh.run(start_bridge(*ssh.options), "bridge", "cat /proc/$PPID/comm")
    assert done.stdout.startswith(b"sshd")


def test_typing_and_leaving_at_once_is_no_fault(
    start_bridge: StartBridge, ssh: Ssh, tmux: Tmux, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    terminals: list[OnPty] = []
    for _ in range(5):
        terminals.append(start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT))
    for terminal in terminals:
        terminal.wait_for_text("[0] 0:")
    for terminal in terminals:
        terminal.type(b"x" * 100)
        terminal.process.kill()
    wait_until(lambda: tmux.clients() == [], "the end of all clients")
    assert "warning" not in bridge.log
    assert "error" not in bridge.log
