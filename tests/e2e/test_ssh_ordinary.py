"""SSH for an ordinary user, end to end: what root gets, they get."""

import hashlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, ROOT, clean_environment, wait_until
from tests.e2e.conftest import (
    NodeClient,
    OnPty,
    Ordinary,
    StartNode,
    StartOnPty,
    StartOrdinary,
)
from tests.e2e.ssh import needs_ssh, run
from tests.e2e.ssh_machine import NAME, Machine
from tests.e2e.test_environment import SET_PER_PANE, fake_nvidia_smi, snapshot
from tests.e2e.test_ssh_life import BACK_S, is_open, is_running, listener, ssh_port, tree
from tests.e2e.test_ssh_session import environment_of, wanted
from tests.e2e.test_ssh_tools import BOOTSTRAP, MEGABYTES_3, ask, through_socks
from tests.ports import free_port

pytestmark = needs_ssh

CLIENT = clean_environment(TERM="xterm-256color")


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Clients that stay; ended after the test."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.communicate()


def hold(found: Ordinary, *words: str) -> "subprocess.Popen[bytes]":
    """Start an ssh client that stays."""
    return subprocess.Popen(
        found.ssh.command(found.bridge, *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=CLIENT,
    )


def test_the_environment_is_exact_in_the_session_in_a_command_and_over_the_web(
    start_ordinary: StartOrdinary, short_path: Path, tmp_path: Path, start_on_pty: StartOnPty
) -> None:
    home = short_path / "home"
    environment = snapshot(home, PATH=f"{home}:{os.environ['PATH']}")

    def prepare(_machine: Machine) -> None:
        # tmux starts login shells, and /etc/profile of Debian sets PATH anew.
        (home / ".tmux.conf").write_text("set -g default-command 'exec bash --norc'\n")
        fake_nvidia_smi(home)

    found = start_ordinary(environment=environment, change=prepare)
    bridge = found.bridge
    assert environment_of(found.run("bridge", "env -0").stdout) == wanted(environment)
    over_web = [sys.executable, "-m", "ttybridge", "ssh", bridge.link]
    env = CLIENT | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for command in ("env -0", "nvidia-smi; id -un"):
        done = subprocess.run([*over_web, command], env=env, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        if command == "env -0":
            assert environment_of(done.stdout) == wanted(environment)
        else:
            assert done.stdout == b"GPU ok\n%s\n" % NAME.encode()
    assert found.run("bridge", "nvidia-smi").stdout == b"GPU ok\n"
    terminal = start_on_pty(found.ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    out = home / "environment"
    terminal.type(f"env -0 > {out}.part; mv {out}.part {out}; nvidia-smi\r".encode())
    terminal.wait_for_text("GPU ok")
    there = environment_of(out.read_bytes())
    assert {n: v for n, v in there.items() if n not in SET_PER_PANE} == {
        n: v for n, v in wanted(environment).items() if n not in SET_PER_PANE
    }


def test_bytes_trees_and_connections_go_both_ways(
    start_ordinary: StartOrdinary,
    tmp_path: Path,
    short_path: Path,
    started: list["subprocess.Popen[bytes]"],
) -> None:
    found = start_ordinary()
    bridge, ssh = found.bridge, found.ssh
    # All over one connection that is there already (ControlMaster), as editors do it.
    control, there, proxy = short_path / "control", free_port(), free_port()
    back = f"127.0.0.1:{there}:127.0.0.1:{bridge.port}"
    started.append(hold(found, "-M", "-S", str(control), "-N", "-R", back, "-D",
                        f"127.0.0.1:{proxy}", "bridge"))  # fmt: skip
    wait_until(control.exists, "the master's socket")
    wait_until(lambda: ask(there), "an answer through -R")
    wait_until(lambda: through_socks(proxy, bridge.port), "an answer through -D")
    shared = ("-S", str(control))
    assert found.run(*shared, "bridge", "cat", stdin=MEGABYTES_3).stdout == MEGABYTES_3
    assert found.run(*shared, "bridge", "exit 9").returncode == 9
    if shutil.which("rsync"):
        tree_here, tree_back = tmp_path / "tree", tmp_path / "back"
        (tree_here / "deep/er").mkdir(parents=True)
        (tree_here / "deep/er/big").write_bytes(MEGABYTES_3)
        shell = " ".join(["ssh", *ssh.config(bridge), *shared])
        for words in ([f"{tree_here}/", "bridge:copy/"], ["bridge:copy/", f"{tree_back}/"]):
            done = run(["rsync", "-a", "-e", shell, *words])
            assert done.returncode == 0, done.stderr
        copy = (tree_back / "deep/er/big").read_bytes()
        assert hashlib.sha256(copy).digest() == hashlib.sha256(MEGABYTES_3).digest()
    assert bridge.log.count("ssh login: user") == 1


def test_an_editor_starts_its_server_and_reaches_it(
    start_ordinary: StartOrdinary, short_path: Path, started: list["subprocess.Popen[bytes]"]
) -> None:
    found = start_ordinary(environment=snapshot(short_path / "home"))
    proxy = free_port()
    process = hold(found, "-T", "-D", str(proxy), "bridge", "bash")
    started.append(process)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(BOOTSTRAP.encode())
    process.stdin.flush()
    port = re.search(rb"listeningOn==(\d+)==", process.stdout.readline())
    assert port
    try:
        assert through_socks(proxy, int(port[1])) == b"/usr/local/nvidia/lib:/usr/lib64-nvidia"
    finally:
        os.kill(int((found.home / ".editor-server/pid").read_text()), signal.SIGTERM)


def test_a_page_and_two_logins_share_and_each_leaves_and_comes_back(
    start_ordinary: StartOrdinary,
    short_path: Path,
    start_node: StartNode,
    start_on_pty: StartOnPty,
) -> None:
    def prepare(_machine: Machine) -> None:
        # A client smaller than the window sees the part of it where the cursor is.
        (short_path / "home/.bash_profile").write_text("PS1=:\n")

    found = start_ordinary(change=prepare)
    command = found.ssh.command(found.bridge, "bridge")

    def join(kind: int) -> OnPty | NodeClient:
        if kind == 0:
            page = start_node("page.mjs")
            page.ask("open", address=f"http://{found.bridge.host}", token=found.bridge.token)
            return page
        return start_on_pty(command, env=CLIENT, cols=70 + 10 * kind, rows=20 + kind)

    def type_and_see(who: int, word: str) -> None:
        text = f"echo {word}-$((6*7))\r"
        typing = everybody[who]
        if isinstance(typing, NodeClient):
            typing.ask("emit", event="in", args=[next(numbers), text])
        else:
            typing.type(text.encode())
        for watching in everybody:
            watching.wait_for_text(f"{word}-42")

    numbers = itertools.count(1)  # of the page's messages
    everybody = [join(kind) for kind in range(3)]
    for each in everybody:
        each.wait_for_text("[0] 0:")
    for who in range(3):
        type_and_see(who, f"from{who}")
    for who in range(3):
        leaving = everybody[who]
        if isinstance(leaving, NodeClient):
            leaving.ask("close")
            numbers = itertools.count(1)
        else:
            leaving.process.kill()
        everybody[who] = join(who)
        everybody[who].wait_for_text("[0] 0:")
        for typing in range(3):
            type_and_see(typing, f"again{who}{typing}")


@pytest.mark.parametrize(
    ("who", "more", "said"),
    [
        ("stranger", [], "keys tried: ED25519 SHA256:"),
        ("owner", ["-o", "PubkeyAuthentication=no"], "no key that counts was offered"),
        ("owner", ["-o", "PreferredAuthentications=password"], "no key that counts was offered"),
    ],
    ids=["wrong key", "no key", "password"],
)
def test_who_has_no_right_key_is_refused_and_the_log_says_so(
    start_ordinary: StartOrdinary, who: str, more: list[str], said: str
) -> None:
    found = start_ordinary()
    done = found.ssh.run(found.bridge, *more, "bridge", "echo in", key=getattr(found.ssh, who))
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Permission denied (publickey)" in done.stderr
    wait_until(lambda: said in found.bridge.log, "the refusal in the log")


def test_sshd_is_back_soon_after_it_was_killed(
    start_ordinary: StartOrdinary, start_on_pty: StartOnPty
) -> None:
    found = start_ordinary()
    terminal = start_on_pty(found.ssh.command(found.bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    port = ssh_port(found.bridge)
    killed = time.monotonic()
    os.kill(listener(found.bridge), signal.SIGKILL)
    wait_until(lambda: not is_open(port), "the end of sshd")
    wait_until(lambda: is_open(port), "sshd again")
    assert time.monotonic() - killed < BACK_S
    assert found.run("bridge", "echo in").stdout == b"in\n"
    terminal.type(b"echo mark-$((6*7))\r")
    terminal.wait_for_text("mark-42")


def test_after_sigkill_of_the_bridge_nothing_of_ssh_is_left(
    start_ordinary: StartOrdinary,
    short_path: Path,
    start_on_pty: StartOnPty,
    started: list["subprocess.Popen[bytes]"],
) -> None:
    found = start_ordinary()
    bridge, port = found.bridge, ssh_port(found.bridge)
    terminal = start_on_pty(found.ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    started.append(hold(found, "bridge", "echo in; exec sleep 300"))
    assert started[0].stdout is not None
    assert started[0].stdout.readline() == b"in\n"
    before = {pid for pid, name in tree(bridge.pid).items() if name != "tmux: server"}
    (old,) = short_path.glob("ttybridge-*/*")
    assert bridge.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not any(map(is_running, before)), "the end of all processes")
    assert not is_open(port)
    assert terminal.wait(DEADLINE_S) != 0
    again = start_ordinary()
    assert not old.exists()
    assert again.run("bridge", "id -un").stdout == f"{NAME}\n".encode()
