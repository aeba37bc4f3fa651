"""The companion sshd comes up ready, comes back when it dies, and leaves nothing behind."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, RunningBridge, StartBridge, Tmux, clean_environment, wait_until
from tests.e2e.conftest import StartNode, StartOnPty
from tests.e2e.ssh import SSHD, Ssh, needs_ssh

pytestmark = needs_ssh

CLIENT = clean_environment(TERM="xterm-256color")

BACK_S = 2.0
"""Time in which sshd is back after it was killed: a promise of the documentation."""


def tree(pid: int) -> dict[int, str]:
    """Return the names of a process's descendants."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                before, _, after = (folder / "stat").read_text().rpartition(")")
                parents[int(folder.name)] = int(after.split()[1])
                names[int(folder.name)] = before.partition("(")[2]
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return {each: names[each] for each in found[1:]}


def listener(bridge: RunningBridge) -> int:
    """Return the listening sshd's process id; it says that it is that just after it listens."""

    def look() -> list[int]:
        found = []
        for pid, name in tree(bridge.pid).items():
            with contextlib.suppress(OSError):  # one for a login that has just ended
                if name == "sshd" and b"[listener]" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found if len(found) == 1 else []

    return wait_until(look, "one listening sshd")[0]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port)):
        return True
    return False


def ssh_port(bridge: RunningBridge) -> int:
    wait_until(lambda: "Ctrl-C stops the bridge" in bridge.log, "the banner")
    found = re.search(r"^  ssh -p (\d+) ", bridge.log, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.fixture
def in_background(ssh: Ssh) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """SSH clients that a test has started; ended after it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def hold(ssh: Ssh, bridge: RunningBridge, *words: str) -> "subprocess.Popen[bytes]":
    """Start an ssh client that stays."""
    return subprocess.Popen(
        ssh.command(bridge, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=CLIENT
    )


def test_it_is_ready_when_the_banner_says_so(start_bridge: StartBridge, ssh: Ssh) -> None:
    for _ in range(3):
        bridge = start_bridge(*ssh.options)
        assert is_open(ssh_port(bridge))
        bridge.stop()


def test_only_this_machine_reaches_it_unless_told(start_bridge: StartBridge, ssh: Ssh) -> None:
    other = "127.0.0.2"  # an address as good as one of the network
    bridge = start_bridge(*ssh.options)
    assert is_open(ssh_port(bridge))
    assert not is_open(ssh_port(bridge), other)
    bridge = start_bridge(*ssh.options, "--ssh-host", "0.0.0.0")
    there = ssh.run(bridge, "-o", f"HostName={other}", "bridge", "echo $SSH_CONNECTION")
    assert there.stdout.split()[2:] == [other.encode(), str(ssh_port(bridge)).encode()]


def test_a_port_that_somebody_takes_before_sshd_does_is_replaced(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    sshd, taken = tmp_path / "sshd", tmp_path / "taken"
    # sshd takes no port 0: one is found for it, and somebody else may be faster.
    sshd.write_text(
        f'#!/bin/sh\nif [ "$1" = -D ] && [ ! -e {taken} ]; then\n: > {taken}\n'
        "echo 'Bind to port 1 on 127.0.0.1 failed: Address already in use.' >&2\n"
        f"echo 'Cannot bind any address.' >&2\nexit 255\nfi\nexec {SSHD} \"$@\"\n"
    )
    sshd.chmod(0o755)
    bridge = start_bridge(*ssh.options, "--sshd", str(sshd))
    assert taken.exists()
    assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"


def test_sshd_is_back_soon_after_it_was_killed_and_nobody_else_notices(
    start_bridge: StartBridge, ssh: Ssh, start_node: StartNode, start_on_pty: StartOnPty
) -> None:
    bridge = start_bridge(*ssh.options)
    page = start_node("page.mjs")
    page.ask("open", address=f"http://{bridge.host}", token=bridge.token)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    port = ssh_port(bridge)
    for _ in range(2):
        killed = time.monotonic()
        os.kill(listener(bridge), signal.SIGKILL)
        wait_until(lambda: not is_open(port), "the end of sshd")
        wait_until(lambda: is_open(port), "sshd again")
        assert time.monotonic() - killed < BACK_S
        assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"
    # Logins and browsers that were there are still there.
    terminal.type(b"echo mark-$((6*7))\r")
    terminal.wait_for_text("mark-42")
    page.wait_for_text("mark-42")
    assert "sshd has ended; it is started again" in bridge.log


def test_the_keeper_killed_is_started_again_with_a_new_sshd(
    start_bridge: StartBridge, ssh: Ssh
) -> None:
    bridge = start_bridge(*ssh.options)
    ssh_port(bridge)
    old = listener(bridge)
    keeper = int(Path(f"/proc/{old}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: not is_running(old), "the end of the old sshd")
    wait_until(lambda: "sshd listens again" in bridge.log, "a new one")
    assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"


def test_when_the_bridge_stops_sshd_its_logins_and_their_programs_end(
    start_bridge: StartBridge,
    ssh: Ssh,
    tmux: Tmux,
    start_on_pty: StartOnPty,
    in_background: list["subprocess.Popen[bytes]"],
) -> None:
    bridge = start_bridge(*ssh.options)
    port = ssh_port(bridge)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    sleeping = hold(ssh, bridge, "bridge", "echo $$; exec sleep 300")
    forwarding = hold(ssh, bridge, "-v", "-N", "bridge")
    in_background += [sleeping, forwarding]
    assert sleeping.stdout is not None
    program = int(sleeping.stdout.readline())
    wait_until(lambda: bridge.log.count("ssh login: user") == 3, "three logins")
    before = tree(bridge.pid)
    assert bridge.stop() == 0
    assert terminal.wait() != 255 or "bridge has stopped" in terminal.tail
    wait_until(lambda: sleeping.poll() is not None, "the end of the command's client")
    wait_until(lambda: forwarding.poll() is not None, "the end of the forwarding client")
    assert not is_running(program)
    assert [name for pid, name in before.items() if is_running(pid)] == []
    assert not is_open(port)
    tmux("has-session", "-t", "=0")


def test_what_was_started_to_stay_stays_when_the_bridge_stops(
    start_bridge: StartBridge, ssh: Ssh
) -> None:
    bridge = start_bridge(*ssh.options)
    done = ssh.run(bridge, "bridge", "nohup sleep 300 >/dev/null 2>&1 </dev/null & echo $!")
    program = int(done.stdout)
    try:
        assert bridge.stop() == 0
        assert is_running(program)
    finally:
        os.kill(program, signal.SIGKILL)


def test_after_sigkill_of_the_bridge_nothing_of_ssh_is_left(
    start_bridge: StartBridge,
    ssh: Ssh,
    tmux: Tmux,
    short_path: Path,
    start_on_pty: StartOnPty,
    in_background: list["subprocess.Popen[bytes]"],
) -> None:
    environment = {"TMPDIR": str(short_path)}
    bridge = start_bridge(*ssh.options, env=environment)
    port = ssh_port(bridge)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    forwarding = hold(ssh, bridge, "-N", "bridge")
    in_background.append(forwarding)
    wait_until(lambda: bridge.log.count("ssh login: user") == 2, "two logins")
    before = {pid: name for pid, name in tree(bridge.pid).items() if name != "tmux: server"}
    (old,) = short_path.glob("ttybridge-*/*")
    assert bridge.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not [pid for pid in before if is_running(pid)], "the end of all processes")
    assert not is_open(port)
    assert terminal.wait() != 0
    assert "bridge has stopped" in terminal.tail
    tmux("has-session", "-t", "=0")
    # Its private files stay, for nobody else to read, until the next start.
    assert old.exists()
    again = start_bridge(*ssh.options, env=environment)
    assert not old.exists()
    assert ssh.run(again, "bridge", "echo in").stdout == b"in\n"


def test_after_sigkill_nothing_of_ssh_over_the_web_is_left_either(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    bridge = start_bridge(*ssh.options)
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    client = subprocess.Popen(
        [sys.executable, "-m", "ttybridge", "ssh", bridge.link, "echo $$; exec sleep 300"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert client.stdout is not None
    try:
        program = int(client.stdout.readline())
        before = {pid: name for pid, name in tree(bridge.pid).items() if name != "tmux: server"}
        assert program in before
        assert bridge.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until(lambda: not [pid for pid in before if is_running(pid)], "the end of all")
    finally:
        client.stdout.close()
        client.wait()


def test_a_killed_keeper_is_replaced_though_logins_live_on(
    start_bridge: StartBridge,
    ssh: Ssh,
    start_on_pty: StartOnPty,
    in_background: list["subprocess.Popen[bytes]"],
) -> None:
    bridge = start_bridge(*ssh.options)
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")
    for _ in range(3):
        in_background.append(hold(ssh, bridge, "-N", "bridge"))
    wait_until(lambda: bridge.log.count("ssh login: user") == 4, "the logins")
    old = listener(bridge)
    os.kill(int(Path(f"/proc/{old}/stat").read_text().rpartition(")")[2].split()[1]), 9)
    wait_until(lambda: "sshd listens again" in bridge.log, "a new one", deadline_s=BACK_S + 3)
    terminal.type(b"echo mark-$((6*7))\r")
    terminal.wait_for_text("mark-42")
    assert bridge.stop() == 0
    assert "Traceback" not in bridge.log
    assert "Exception ignored" not in bridge.log


def test_a_folder_that_somebody_removes_is_named_and_what_to_do(
    start_bridge: StartBridge, ssh: Ssh, short_path: Path
) -> None:
    bridge = start_bridge(*ssh.options, env={"TMPDIR": str(short_path)})
    words = ssh.command(bridge, "bridge", "true")
    (folder,) = short_path.glob("ttybridge-*/*")
    shutil.rmtree(folder)
    assert subprocess.run(words, capture_output=True).returncode == 255
    wait_until(lambda: "Start the bridge again" in bridge.log, "what to do")


def test_a_python_that_needs_a_library_of_the_environment_is_enough(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path, short_path: Path, start_on_pty: StartOnPty
) -> None:
    """Clusters have such ones: linked with what only LD_LIBRARY_PATH names."""
    python = tmp_path / "python3"
    python.write_text(
        '#!/bin/sh\ncase "$LD_LIBRARY_PATH" in */opt/needed*) ;;\n'
        "*) echo cannot open shared object file >&2; exit 127;; esac\n"
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    python.chmod(0o755)
    # The scripts are started by what sys.executable says.
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(python)!r}\n")
    bridge = start_bridge(
        *ssh.options,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "LD_LIBRARY_PATH": "/opt/needed:/opt/more"},
    )
    assert ssh.run(bridge, "bridge", "echo $LD_LIBRARY_PATH").stdout == b"/opt/needed:/opt/more\n"
    terminal = start_on_pty(ssh.command(bridge, "bridge"), env=CLIENT)
    terminal.wait_for_text("[0] 0:")


def test_the_system_s_sshd_is_left_alone(start_bridge: StartBridge, ssh: Ssh) -> None:
    folder = Path("/etc/ssh")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    bridge = start_bridge(*ssh.options)
    assert ssh.run(bridge, "bridge", "echo in").stdout == b"in\n"
    bridge.stop()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_logins_leave_nothing_behind(start_bridge: StartBridge, ssh: Ssh) -> None:
    bridge = start_bridge(*ssh.options)
    descriptors = Path(f"/proc/{bridge.pid}/fd")
    ssh_port(bridge)  # it is up
    before, children = len(list(descriptors.iterdir())), len(tree(bridge.pid))
    loop = "for i in 1 2 3 4 5; do {}; done"
    control = ssh.folder / "control"
    for words in (("-o", "ControlPath=none"), ("-S", str(control))):
        command = " ".join([*ssh.command(bridge, *words, "bridge"), "echo in"])
        done = subprocess.run(
            ["bash", "-c", loop.format(command)], capture_output=True, env=CLIENT, timeout=60
        )
        assert done.stdout == b"in\n" * 5
    wait_until(lambda: len(tree(bridge.pid)) == children, "the end of all logins")
    wait_until(lambda: len(list(descriptors.iterdir())) <= before, "closed descriptors")
