"""Every SSH tool works against the companion sshd: commands, files, forwarding, editors."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, RunningBridge, StartBridge, clean_environment, wait_until
from tests.e2e.conftest import StartOnPty
from tests.e2e.ssh import Ssh, needs_ssh, run, running_agent
from tests.ports import free_port

pytestmark = needs_ssh

MEGABYTES_3 = hashlib.shake_128(b"3 MB of every byte").digest(3_000_000)


@pytest.fixture
def bridge(start_bridge: StartBridge, ssh: Ssh) -> RunningBridge:
    return start_bridge(*ssh.options)


@pytest.fixture
def echo_server() -> Iterator[int]:
    """A TCP server that sends back in capitals what it gets; the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(client.recv(100).upper())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(DEADLINE_S)


StartSsh = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_ssh(bridge: RunningBridge, ssh: Ssh) -> Iterator[StartSsh]:
    """Start ssh in the background: `start_ssh("-N", "-L", "…", "bridge")`."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            ssh.command(bridge, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def ask(port: int) -> bytes:
    """Send a text to a port and return the answer, empty while nobody listens there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
            client.sendall(b"through the tunnel")
            return client.recv(100)
    except OSError:
        return b""


def test_a_command_has_its_own_status_output_and_errors(bridge: RunningBridge, ssh: Ssh) -> None:
    done = ssh.run(bridge, "bridge", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_signal_that_ends_a_command_is_a_failure(bridge: RunningBridge, ssh: Ssh) -> None:
    assert ssh.run(bridge, "bridge", "kill -9 $$").returncode == 255


def test_3_megabytes_of_any_bytes_pass_both_ways(bridge: RunningBridge, ssh: Ssh) -> None:
    assert ssh.run(bridge, "bridge", "cat", stdin=MEGABYTES_3).stdout == MEGABYTES_3


def test_without_terminal_and_command_it_is_a_login_shell(bridge: RunningBridge, ssh: Ssh) -> None:
    done = ssh.run(bridge, "-T", "bridge", stdin=b"shopt -q login_shell && echo login; exit 3\n")
    assert (done.returncode, done.stdout) == (3, b"login\n"), done.stderr


def test_a_command_may_have_a_terminal_of_its_own(bridge: RunningBridge, ssh: Ssh) -> None:
    done = ssh.run(bridge, "-tt", "bridge", "tty; echo $TERM; exit 4")
    assert done.returncode == 4
    assert re.fullmatch(rb"/dev/pts/\d+\r\nxterm-256color\r\n", done.stdout)


def test_a_start_file_that_talks_breaks_nothing(
    bridge: RunningBridge, ssh: Ssh, tmp_path: Path
) -> None:
    # Debian's bash reads it for commands that sshd runs; it is that of the bridge's HOME.
    (tmp_path / "home/.bashrc").write_text("echo hello there\n")
    assert ssh.run(bridge, "bridge", "echo only this").stdout == b"only this\n"
    source = tmp_path / "source"
    source.write_bytes(MEGABYTES_3)
    copied = run(["scp", *ssh.config(bridge), str(source), "bridge:copy"])
    assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "home/copy").read_bytes() == MEGABYTES_3


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp protocol", "old protocol"])
def test_scp_copies_both_ways(
    bridge: RunningBridge, ssh: Ssh, tmp_path: Path, protocol: list[str]
) -> None:
    source, back = tmp_path / "a file", tmp_path / "back"
    source.write_bytes(MEGABYTES_3)
    scp = ["scp", *protocol, *ssh.config(bridge)]
    for words in ([str(source), "bridge:there"], ["bridge:there", str(back)]):
        copied = run([*scp, *words])
        assert copied.returncode == 0, copied.stderr
    assert back.read_bytes() == MEGABYTES_3


def test_sftp_lists_and_changes_files_in_the_home_of_the_bridge(
    bridge: RunningBridge, ssh: Ssh, tmp_path: Path
) -> None:
    source = tmp_path / "up"
    source.write_bytes(b"text\n")
    orders = f"pwd\nput {source} here\nrename here there\nmkdir folder\nls -1\n".encode()
    done = run(["sftp", *ssh.config(bridge), "-b", "-", "bridge"], stdin=orders)
    assert done.returncode == 0, done.stderr
    assert f"Remote working directory: {tmp_path}/home".encode() in done.stdout
    assert (tmp_path / "home/there").read_bytes() == b"text\n"
    assert (tmp_path / "home/folder").is_dir()


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync_copies_a_tree_up_and_down(bridge: RunningBridge, ssh: Ssh, tmp_path: Path) -> None:
    tree, back = tmp_path / "tree", tmp_path / "back"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/big").write_bytes(MEGABYTES_3)
    (tree / "link").symlink_to("deep/er/big")
    (tree / "n\u00e4me with blanks").write_text("x")
    shell = " ".join(["ssh", *ssh.config(bridge)])
    for words in ([f"{tree}/", "bridge:copy/"], ["bridge:copy/", f"{back}/"]):
        done = run(["rsync", "-a", "-e", shell, *words])
        assert done.returncode == 0, done.stderr
    compared = subprocess.run(["diff", "-r", "--no-dereference", tree, back], capture_output=True)
    assert (compared.returncode, compared.stdout) == (0, b"")


def test_a_port_here_leads_there(start_ssh: StartSsh, echo_server: int) -> None:
    port = free_port()
    start_ssh("-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{echo_server}", "bridge")
    wait_until(lambda: ask(port) == b"THROUGH THE TUNNEL", "an answer through -L")


def test_a_port_there_leads_here(start_ssh: StartSsh, echo_server: int) -> None:
    port = free_port()
    start_ssh("-N", "-R", f"127.0.0.1:{port}:127.0.0.1:{echo_server}", "bridge")
    wait_until(lambda: ask(port) == b"THROUGH THE TUNNEL", "an answer through -R")


def through_socks(proxy: int, port: int) -> bytes:
    """Ask a port through a SOCKS 5 proxy; empty while there is none."""
    try:
        with socket.create_connection(("127.0.0.1", proxy), timeout=DEADLINE_S) as client:
            client.sendall(b"\x05\x01\x00")
            assert client.recv(2) == b"\x05\x00"
            client.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
            assert client.recv(10)[:2] == b"\x05\x00"
            client.sendall(b"through the tunnel")
            return client.recv(100)
    except OSError:
        return b""


def test_a_socks_proxy_leads_there(start_ssh: StartSsh, echo_server: int) -> None:
    proxy = free_port()
    start_ssh("-N", "-D", f"127.0.0.1:{proxy}", "bridge")
    answered = b"THROUGH THE TUNNEL"
    wait_until(lambda: through_socks(proxy, echo_server) == answered, "an answer through -D")


def test_what_is_switched_off_is_refused(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path, agent: str, echo_server: int
) -> None:
    off = ("--no-ssh-forwarding", "--no-ssh-agent", "--no-ssh-sftp")
    bridge = start_bridge(*ssh.options, *off)
    assert ssh.run(bridge, "bridge", "echo works").stdout == b"works\n"
    sftp = run(["sftp", *ssh.config(bridge), "-b", "-", "bridge"], stdin=b"ls\n")
    assert sftp.returncode != 0
    assert b"subsystem request failed" in sftp.stderr
    remote = ["-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:{free_port()}:127.0.0.1:1"]
    assert ssh.run(bridge, *remote, "bridge", "echo not reached").stdout == b""
    there = ssh.run(bridge, "-W", f"127.0.0.1:{echo_server}", "bridge", stdin=b"x")
    assert there.returncode != 0
    assert b"forwarding failed" in there.stderr
    asked = run(with_agent(ssh.command(bridge, "-A", "bridge", "ssh-add -l; echo $?"), agent))
    assert asked.stdout == b"2\n", "an agent answered"


SWITCHES = ("--no-ssh-forwarding", "--no-ssh-agent", "--no-ssh-sftp")


@pytest.mark.parametrize("off", SWITCHES)
def test_each_is_switched_off_alone(
    start_bridge: StartBridge, ssh: Ssh, agent: str, echo_server: int, off: str
) -> None:
    bridge = start_bridge(*ssh.options, off)
    there = ssh.run(bridge, "-W", f"127.0.0.1:{echo_server}", "bridge", stdin=b"x")
    asked = run(with_agent(ssh.command(bridge, "-A", "bridge", "ssh-add -l"), agent))
    sftp = run(["sftp", *ssh.config(bridge), "-b", "-", "bridge"], stdin=b"pwd\n")
    works = (
        there.stdout == b"X",
        ssh.owner.fingerprint.encode() in asked.stdout,
        sftp.returncode == 0,
    )
    assert dict(zip(SWITCHES, works, strict=True)) == {name: name != off for name in SWITCHES}


def with_agent(command: list[str], agent: str) -> list[str]:
    """Have an ssh command use an agent."""
    config = Path(command[2])
    config.write_text(config.read_text().replace("IdentityAgent none", f"IdentityAgent {agent}"))
    return command


@pytest.fixture
def agent(ssh: Ssh, short_path: Path) -> Iterator[str]:
    """An agent with the owner's key; the path of its socket."""
    with running_agent(short_path / "agent", ssh.owner) as path:
        yield path


def test_the_agent_of_the_client_is_there(bridge: RunningBridge, ssh: Ssh, agent: str) -> None:
    done = run(with_agent(ssh.command(bridge, "-A", "bridge", "ssh-add -l"), agent))
    assert ssh.owner.fingerprint.encode() in done.stdout, done.stderr


def test_several_logins_share_one_connection(
    bridge: RunningBridge, ssh: Ssh, start_ssh: StartSsh, short_path: Path, start_on_pty: StartOnPty
) -> None:
    control = short_path / "control"
    start_ssh("-M", "-N", "-S", str(control), "bridge")
    wait_until(control.exists, "the master's socket")
    shared = ("-S", str(control))
    assert ssh.run(bridge, *shared, "bridge", "exit 9").returncode == 9
    terminal = start_on_pty(ssh.command(bridge, *shared, "bridge"), env=clean_environment())
    terminal.wait_for_text("[0] 0:")
    assert ssh.run(bridge, *shared, "bridge", "echo beside it").stdout == b"beside it\n"
    assert ssh.run(bridge, *shared, "-O", "exit", "bridge").returncode == 0
    assert bridge.log.count("ssh login: user") == 1


BOOTSTRAP = r"""
set -e
mkdir -p "$HOME/.editor-server"
cat > "$HOME/.editor-server/serve.py" <<'SCRIPT'
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
print(f"listeningOn=={listener.getsockname()[1]}==", flush=True)
while True:
    client, _ = listener.accept()
    with client:
        client.recv(100)
        client.sendall(os.environb.get(b"LD_LIBRARY_PATH", b"missing"))
SCRIPT
python3 "$HOME/.editor-server/serve.py" > "$HOME/.editor-server/log" 2>&1 &
echo $! > "$HOME/.editor-server/pid"
while ! grep -q listeningOn "$HOME/.editor-server/log"; do read -t 0.05 <> <(:) || :; done
cat "$HOME/.editor-server/log"
cat > /dev/null
"""
"""What an editor's remote extension does: install and start a server, tell its port, stay."""


def test_an_editor_starts_its_server_and_reaches_it(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    bridge = start_bridge(*ssh.options, env={"LD_LIBRARY_PATH": "/usr/lib64-nvidia"})
    proxy = free_port()
    process = subprocess.Popen(
        ssh.command(bridge, "-T", "-D", str(proxy), "bridge", "bash"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(BOOTSTRAP.encode())
        process.stdin.flush()
        found = re.search(rb"listeningOn==(\d+)==", process.stdout.readline())
        assert found
        assert through_socks(proxy, int(found[1])) == b"/usr/lib64-nvidia"
    finally:
        process.stdin.close()
        process.wait(DEADLINE_S)
        process.stdout.close()
        pid = int((tmp_path / "home/.editor-server/pid").read_text())
        os.kill(pid, 15)
