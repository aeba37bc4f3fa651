"""`ttybridge ssh`, `proxy` and `ssh-config` against a bridge with sshd, and against faults."""

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import (
    DEADLINE_S,
    ROOT,
    RunningBridge,
    StartBridge,
    clean_environment,
)
from tests.e2e.conftest import StartOnPty
from tests.e2e.ssh_machine import Machine, User
from tests.e2e.test_ssh_tools import BOOTSTRAP, through_socks
from tests.ports import free_port

pytestmark = [
    pytest.mark.skipif(shutil.which("ssh") is None, reason="the OpenSSH client is not installed"),
    pytest.mark.skipif(
        not Path("/usr/sbin/sshd").exists() and shutil.which("sshd") is None,
        reason="OpenSSH's sshd is not installed",
    ),
]

TOKEN = "R7xk2-Qm9fLw0_ab"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
COMMAND = [sys.executable, "-m", "ttybridge"]


@dataclass
class Client:
    """A machine that logs in: a home of its own, and the command."""

    home: Path
    """Its HOME; ssh itself asks the system for one, and so gets its files by -F."""

    @property
    def folder(self) -> Path:
        """The client's own folder."""
        return self.home / ".config" / "ttybridge" / "ssh"

    @property
    def ssh_config(self) -> Path:
        """The file that `ssh-config --write` makes."""
        return self.home / ".ssh" / "ttybridge_config"

    def environment(self, **more: str) -> dict[str, str]:
        return clean_environment(HOME=str(self.home), PYTHONPATH=str(ROOT)) | more

    def run(
        self, *words: str, stdin: bytes = b"", timeout_s: float = 60, **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ttybridge without a terminal, as a program would."""
        return self.program(*COMMAND, *words, stdin=stdin, timeout_s=timeout_s, **more)

    def program(
        self, *words: str, stdin: bytes = b"", timeout_s: float = 60, **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env=self.environment(**more),
            cwd=self.home,
            start_new_session=True,
        )

    def write_config(self, link: str, name: str = "box") -> None:
        done = self.run("ssh-config", link, "--name", name, "--write")
        assert done.returncode == 0, done.stderr

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start ttybridge; its standard streams are pipes unless they are given."""
        given: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        given |= options | {"env": self.environment(), "cwd": self.home}
        process: subprocess.Popen[bytes] = subprocess.Popen([*COMMAND, *words], **given)
        return process


@pytest.fixture
def client(tmp_path: Path) -> Client:
    home = tmp_path / "client home"
    home.mkdir()
    return Client(home)


@pytest.fixture
def bridge(start_bridge: StartBridge) -> RunningBridge:
    return start_bridge("--ssh", "--ssh-port", "0", "--ssh-key", KEY)


@dataclass
class Fault:
    """A server that answers as it is told: first GET /ssh, then the WebSocket."""

    facts: tuple[int, str, bytes]
    """Status, type and body of the answer to `GET /ssh`."""
    upgrade: tuple[int, bytes]
    """Status and body of the answer to the WebSocket's request."""
    headers: list[dict[str, str]]
    """The headers of the requests so far."""
    port: int = 0
    place: str = "https://login.example/?back=1"
    """Where a redirect leads."""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when a request is there."""
    may_answer: threading.Event = field(default_factory=threading.Event)
    """Has to be set for requests to be answered."""

    def link(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/?token={TOKEN}"


def good_facts(key: str = KEY) -> tuple[int, str, bytes]:
    return 200, "application/json", json.dumps({"user": "root", "hostKey": key}).encode()


@pytest.fixture
def fault() -> Iterator[Fault]:
    state = Fault(good_facts(), (500, b""), [])
    state.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.headers.append(dict(self.headers))
            state.asked.set()
            state.may_answer.wait(DEADLINE_S)
            if self.path == "/ssh":
                status, kind, body = state.facts
            else:
                (status, body), kind = state.upgrade, "text/plain"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if 300 <= status < 400:
                self.send_header("Location", state.place)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield state
        state.may_answer.set()
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a process at the end of the test, whatever happened, and close its pipes."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def command_lines() -> str:
    """Return the arguments of all programs that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


def read_banner(read: Callable[[int], bytes]) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = read(1)
        assert more, data
        data += more
    return data


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")
    }


# The commands, with a bridge that has an sshd


def test_the_exit_status_is_that_of_the_remote_command(
    bridge: RunningBridge, client: Client
) -> None:
    assert client.run("ssh", bridge.link, "exit 7").returncode == 7
    assert client.run("ssh", bridge.link, "true").returncode == 0
    assert client.run("ssh", bridge.link, "kill -9 $$").returncode == 255


def test_words_after_the_address_are_options_and_a_command_for_ssh(
    bridge: RunningBridge, client: Client
) -> None:
    done = client.run("ssh", bridge.link, "-T", "-o", "SetEnv=A=1", "echo", "-n", "--", "a  b")
    assert done.stdout == b"-- a b"
    assert b"OpenSSH" in client.run("ssh", bridge.link, "-V").stderr


def test_three_megabytes_go_through_unchanged_both_ways(
    bridge: RunningBridge, client: Client
) -> None:
    data = os.urandom(3_000_000)
    done = client.run("ssh", bridge.link, "cat", stdin=data)
    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_scp_and_rsync_work_through_the_written_config(
    bridge: RunningBridge, client: Client, tmp_path: Path
) -> None:
    client.write_config(bridge.link)
    data = os.urandom(3_000_000)
    (tmp_path / "sent").write_bytes(data)
    config = str(client.ssh_config)
    for words in (
        ["scp", "-q", "-F", config, str(tmp_path / "sent"), f"box:{tmp_path}/by-scp"],
        ["scp", "-q", "-F", config, f"box:{tmp_path}/by-scp", str(tmp_path / "back")],
    ):
        done = client.program(*words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == data
    if shutil.which("rsync"):
        shell = f"ssh -F '{config}'"
        target = f"box:{tmp_path}/by-rsync"
        done = client.program("rsync", "-e", shell, str(tmp_path / "sent"), target)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "by-rsync").read_bytes() == data


def test_an_editor_and_other_tools_work_through_the_written_config(
    bridge: RunningBridge, client: Client, tmp_path: Path, short_path: Path
) -> None:
    client.write_config(bridge.link)
    proxy, control = free_port(), short_path / "control"
    options = ["-F", str(client.ssh_config)]
    words = ["-T", "-M", "-S", str(control), "-D", f"127.0.0.1:{proxy}", "box", "bash"]
    editor = subprocess.Popen(
        ["ssh", *options, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=client.environment(),
    )  # fmt: skip
    with ending(editor):
        assert editor.stdin is not None
        assert editor.stdout is not None
        editor.stdin.write(BOOTSTRAP.encode())
        editor.stdin.flush()
        found = re.search(rb"listeningOn==(\d+)==", editor.stdout.readline())
        assert found
        try:
            assert through_socks(proxy, int(found[1])) == b"missing"
        finally:
            os.kill(int((tmp_path / "home/.editor-server/pid").read_text()), signal.SIGTERM)
        beside = client.program("ssh", *options, "-S", str(control), "box", "exit 9")
        assert beside.returncode == 9
    orders = f'put "{client.ssh_config}" {tmp_path}/by-sftp\n'.encode()
    done = client.program("sftp", "-q", *options, "-b", "-", "box", stdin=orders)
    assert done.returncode == 0, done.stderr
    old = ["scp", "-q", "-O", *options, str(client.ssh_config), f"box:{tmp_path}/by-scp"]
    done = client.program(*old)
    assert done.returncode == 0, done.stderr
    for name in ("by-sftp", "by-scp"):
        assert (tmp_path / name).read_bytes() == client.ssh_config.read_bytes()


@pytest.mark.usefixtures("mounts")
def test_the_name_is_enough_once_the_config_is_written(
    bridge: RunningBridge,
    client: Client,
    tmp_path: Path,
    short_path: Path,
    start_on_pty: StartOnPty,
) -> None:
    client.write_config(bridge.link)
    (tmp_path / "sent").write_bytes(b"sent\n")
    # OpenSSH's programs find the home, and so the configuration, by the account.
    account = User("root", 0, 0, str(client.home), "/bin/bash")
    here = Machine(short_path).accounts(account).prefix()
    assert client.program(*here, "ssh", "box", "exit 7").returncode == 7
    for words in (
        ["scp", "-q", str(tmp_path / "sent"), f"box:{tmp_path}/by-scp"],
        ["rsync", str(tmp_path / "sent"), f"box:{tmp_path}/by-rsync"],
    ):
        if shutil.which(words[0]):
            done = client.program(*here, *words)
            assert done.returncode == 0, done.stderr
            assert Path(words[-1].removeprefix("box:")).read_bytes() == b"sent\n"
    terminal = start_on_pty([*here, "ssh", "box"], env=client.environment(TERM="xterm-256color"))
    terminal.wait_for_text("[0] 0:")


def test_the_written_config_does_not_run_code_of_the_working_directory(
    bridge: RunningBridge, client: Client
) -> None:
    client.write_config(bridge.link)
    (client.home / "ttybridge").mkdir()
    (client.home / "ttybridge" / "__init__.py").write_text("raise SystemExit('wrong package')")
    (client.home / "aiohttp.py").write_text("raise SystemExit('wrong package')")
    done = client.program("ssh", "-F", str(client.ssh_config), "box", "echo here")
    assert done.stdout == b"here\n", done.stderr


def test_the_second_login_needs_no_token(bridge: RunningBridge, client: Client) -> None:
    assert client.run("ssh", bridge.link, "true").returncode == 0
    assert client.run("ssh", bridge.address, "exit 3").returncode == 3


def test_a_token_comes_from_a_file_or_the_variable_and_does_not_reach_ssh(
    bridge: RunningBridge, client: Client
) -> None:
    (client.home / "token").write_text(bridge.token)
    (client.home / "token").chmod(0o600)
    # What ssh has in its environment, a LocalCommand prints.
    options = ["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=env", "true"]
    done = client.run("ssh", bridge.address, *options, TTYBRIDGE_TOKEN=bridge.token)
    assert done.returncode == 0, done.stderr
    assert b"HOME=" in done.stdout
    assert b"TTYBRIDGE_TOKEN" not in done.stdout
    shutil.rmtree(client.folder)
    assert client.run("ssh", "--token-file", "token", bridge.address, "true").returncode == 0


def test_a_kept_token_serves_all_names_of_its_address_and_no_other_address(
    fault: Fault, client: Client
) -> None:
    # Other addresses of the same server, one of them with the name that is used already.
    first, other = fault.link().partition("/?")[0], f"http://127.0.0.1:{fault.port}/a-b"
    client.write_config(fault.link(), "gpu")
    block = client.run("ssh-config", "--name", "web", first)
    assert block.stdout.startswith(b"Host web\n"), block.stderr
    assert fault.headers[-1]["Authorization"] == f"Bearer {TOKEN}"
    before = len(fault.headers)
    for words in (("ssh-config", "--name", "gpu", other), ("ssh", other), ("proxy", other)):
        done = client.run(*words)
        assert done.returncode == 2
        assert b"The token is missing" in done.stderr
    assert len(fault.headers) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("ssh", "--identity", "a key"), ("-o", "User=a b", "--", "echo", "$x")),
        (("ssh-config", "--write", "--name=box"), ()),
        (("proxy",), ()),
    ],
)
def test_the_token_of_a_link_is_in_no_argument_while_the_bridge_is_asked(
    fault: Fault, client: Client, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "a key"]
    subprocess.run(make, cwd=client.home, check=True)
    fault.may_answer.clear()
    (client.home / "token").write_text("another-token_0123")
    (client.home / "token").chmod(0o600)
    link = fault.link()
    words = (*before, "--token-file", "token", link, *after)
    with ending(client.popen(*words)) as process:
        assert fault.asked.wait(DEADLINE_S)
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        assert TOKEN not in "\n".join(line)
        assert line[len(line) - len(after) - 1 :] == [link.partition("/?")[0], *after]
    assert fault.headers[0]["Authorization"] == f"Bearer {TOKEN}", "the link wins over the file"


def test_the_host_key_is_pinned_and_another_one_refused(
    bridge: RunningBridge, client: Client
) -> None:
    first = client.run("ssh", bridge.link, "true")
    assert b"is pinned for ttybridge-127.0.0.1" in first.stderr
    assert client.run("ssh", bridge.link, "true").stderr == b""
    known = client.folder / "known_hosts"
    right = known.read_text()
    name = right.split()[0]
    known.write_text(f"{name} {KEY}\n")
    refused = client.run("ssh", bridge.link, "echo no")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert len(re.findall(rb"SHA256:[\w+/]{43}", refused.stderr)) == 2
    assert b"--replace-host-key" in refused.stderr
    assert known.read_text() == f"{name} {KEY}\n"
    assert client.run("ssh", "--replace-host-key", bridge.link, "true").returncode == 0
    assert known.read_text() == right


def test_ssh_itself_refuses_a_machine_with_another_host_key(
    bridge: RunningBridge, client: Client
) -> None:
    client.write_config(bridge.link)
    (client.folder / "known_hosts").write_text(f"box {KEY}\n")
    done = client.program("ssh", "-F", str(client.ssh_config), "box", "echo no")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Host key verification failed" in done.stderr


def test_no_token_is_in_any_argument_while_a_login_lasts(
    bridge: RunningBridge, client: Client
) -> None:
    with ending(client.popen("ssh", bridge.link, "echo ready; cat")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        lines = command_lines()
        assert f"--token-file {client.folder}/tokens/" in lines
        assert bridge.token not in lines
        assert b"TTYBRIDGE_TOKEN" not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_a_proxy_that_was_given_a_link_hides_its_token(
    bridge: RunningBridge, client: Client
) -> None:
    with ending(client.popen("proxy", bridge.link)) as process:
        assert process.stdout is not None
        assert read_banner(process.stdout.read).startswith(b"SSH-2.0-")
        assert f"proxy {bridge.address.rstrip('/')}" in command_lines()
        assert bridge.token not in command_lines()


def test_all_files_are_for_their_owner_alone(bridge: RunningBridge, client: Client) -> None:
    client.write_config(bridge.link)
    assert client.run("ssh", bridge.link, "true").returncode == 0
    found = modes(client.folder)
    assert client.folder.stat().st_mode & 0o777 == 0o700
    assert found.pop("id_ed25519.pub") == 0o644
    name = f"ttybridge-127.0.0.1-{bridge.port}"
    (token,) = (path for path in found if path.startswith("tokens/127.0.0.1-"))
    private = ("known_hosts", "id_ed25519", token, f"config/{name}")
    assert all(found[path] == 0o600 for path in private)
    assert (found["tokens"], found["config"]) == (0o700, 0o700)
    assert bridge.token not in (client.folder / "config" / name).read_text()
    assert modes(client.home / ".ssh") == {"config": 0o600, "ttybridge_config": 0o600}
    assert (client.home / ".ssh").stat().st_mode & 0o777 == 0o700


def test_the_printed_block_is_the_written_one_and_has_no_token(
    bridge: RunningBridge, client: Client
) -> None:
    printed = client.run("ssh-config", bridge.link, "--name", "box")
    written = client.run("ssh-config", bridge.link, "--name", "box", "--write")
    assert written.stdout.decode() == f"ssh -F '{client.ssh_config}' box\n"
    assert client.ssh_config.read_bytes().endswith(b"\n\n" + printed.stdout)
    assert bridge.token.encode() not in printed.stdout
    again = client.run("ssh-config", bridge.link, "--name", "other", "--write")
    assert again.returncode == 0
    hosts = re.findall(r"^Host (\w+)$", client.ssh_config.read_text(), re.MULTILINE)
    assert hosts == ["box", "other"]


def test_the_users_own_config_keeps_its_bytes_mode_and_link(fault: Fault, client: Client) -> None:
    own = b"# mine \xff\r\nHost a\n\tPort 1"
    (client.home / ".ssh").mkdir(mode=0o700)
    (client.home / "dotfiles").write_bytes(own)
    (client.home / "dotfiles").chmod(0o644)
    (client.home / ".ssh" / "config").symlink_to("../dotfiles")
    for _ in range(2):
        client.write_config(fault.link())
    assert (client.home / ".ssh" / "config").is_symlink()
    assert (client.home / "dotfiles").read_bytes() == b"Include ttybridge_config\n\n" + own
    assert (client.home / "dotfiles").stat().st_mode & 0o777 == 0o644


def test_a_key_of_ones_own_is_used_with_or_without_its_public_half(
    bridge: RunningBridge, client: Client
) -> None:
    make = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "my key"]
    subprocess.run(make, cwd=client.home, check=True)
    assert client.run("ssh", "--identity", "my key", bridge.link, "exit 4").returncode == 4
    assert not (client.folder / "id_ed25519").exists()
    (client.home / "my key.pub").unlink()
    assert client.run("ssh", "--identity", "my key", bridge.link, "exit 5").returncode == 5


def test_a_key_type_that_the_bridge_refuses_is_named(bridge: RunningBridge, client: Client) -> None:
    make = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa"]
    subprocess.run(make, cwd=client.home, check=True)
    done = client.run("ssh", "--identity", "rsa", bridge.link, "true")
    assert done.returncode == 255
    assert b"does not take this key (400: unsupported key type" in done.stderr
    assert b"Leave --identity out" in done.stderr


def test_logins_at_the_same_time_share_the_key_that_the_first_one_makes(
    bridge: RunningBridge, client: Client
) -> None:
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(ending(client.popen("ssh", bridge.link, f"exit {status}")))
            for status in range(1, 5)
        ]
        assert [process.wait(60) for process in started] == [1, 2, 3, 4]


# The proxy alone


def test_the_proxy_takes_sockets_for_stdin_and_stdout(
    bridge: RunningBridge, client: Client
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ending(client.popen("proxy", bridge.link, stdin=theirs, stdout=theirs)):
        theirs.close()
        ours.settimeout(DEADLINE_S)
        assert read_banner(ours.recv).startswith(b"SSH-2.0-")


def test_the_proxy_takes_a_terminal_for_stdin_and_stdout(
    bridge: RunningBridge, client: Client
) -> None:
    master, slave = pty.openpty()
    try:
        with ending(client.popen("proxy", bridge.link, stdin=slave, stdout=slave)):
            assert read_banner(lambda size: os.read(master, size)).startswith(b"SSH-2.0-")
    finally:
        os.close(master)
        os.close(slave)


def test_the_proxy_ends_with_its_input(bridge: RunningBridge, client: Client) -> None:
    done = client.run("proxy", bridge.link, stdin=b"")
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_proxy_takes_a_file_as_its_input(bridge: RunningBridge, client: Client) -> None:
    with (
        Path("/dev/null").open("rb") as nothing,
        ending(client.popen("proxy", bridge.link, stdin=nothing)) as process,
    ):
        assert process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_the_proxy_ends_quietly_on_a_signal(
    bridge: RunningBridge, client: Client, number: int
) -> None:
    with ending(client.popen("proxy", bridge.link)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        read_banner(process.stdout.read)
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


def test_the_proxy_ends_quietly_when_nobody_reads(bridge: RunningBridge, client: Client) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with ending(client.popen("proxy", bridge.link, stdout=writing)) as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


def test_the_proxy_ends_when_the_bridge_does(bridge: RunningBridge, client: Client) -> None:
    with ending(client.popen("proxy", bridge.link)) as process:
        assert process.stdout is not None
        read_banner(process.stdout.read)
        bridge.stop()
        assert process.wait(DEADLINE_S) in (0, 1)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


# What goes wrong


def test_a_bridge_without_ssh_says_so(start_bridge: StartBridge, client: Client) -> None:
    bridge = start_bridge()
    for command in ("ssh", "proxy", "ssh-config"):
        done = client.run(command, bridge.link)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"started with --ssh" in done.stderr


def test_a_wrong_token_is_refused_and_not_kept(bridge: RunningBridge, client: Client) -> None:
    link = f"{bridge.address}?token={TOKEN}"
    done = client.run("ssh", link, "true")
    assert done.returncode == 1
    assert b"does not accept the token (401" in done.stderr
    assert TOKEN.encode() not in done.stderr
    assert not (client.folder / "tokens").exists()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, b"missing pubkey", "does not take this key"),
        (400, b"unsupported key type", "give an Ed25519 key"),
        (401, b"", "does not accept the token"),
        (403, b"This Host is not allowed.", "--allow-host"),
        (404, b"", "started with --ssh"),
        (429, b"busy", "too many connections or logins (429: busy)"),
        (502, b"", "its SSH server does not answer"),
        (500, b"", "does not answer as it should (500)"),
        (200, b"", "cannot be reached"),
        (302, b"", "leads on to https://login.example/ (302)"),
        (404, b"<!DOCTYPE html>ERR_NGROK_3200", "the tunnel is closed"),
    ],
)
def test_every_refusal_of_the_connection_is_explained_on_stderr(
    fault: Fault, client: Client, status: int, body: bytes, said: str
) -> None:
    fault.upgrade = (status, body)
    done = client.run("proxy", fault.link())
    assert (done.returncode, done.stdout) == (1, b"")
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<!DOCTYPE html><title>You are about to visit</title>", "A web page answers"),
        (200, b'{"user": "root\\n  ProxyCommand touch x", "hostKey": ""}', "not as a bridge does"),
        (200, b'{"user": "root"}', "not as a bridge does"),
        (302, b"", "leads on to https://login.example/ (302)"),
        (404, b"", "started with --ssh"),
        (401, b"", "does not accept the token"),
        (503, b"", "does not answer as it should (503)"),
    ],
)
def test_an_answer_that_is_none_of_a_bridge_is_explained_and_nothing_kept(
    fault: Fault, client: Client, status: int, body: bytes, said: str
) -> None:
    fault.facts = (status, "text/html", body)
    for words in (("ssh", fault.link(), "true"), ("ssh-config", fault.link(), "--write")):
        done = client.run(*words)
        assert (done.returncode, done.stdout) == (1, b"")
        assert said in done.stderr.decode()
    assert not (client.folder / "tokens").exists()
    assert not (client.folder / "known_hosts").exists()
    assert not (client.home / ".ssh").exists()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_request_follows_the_address_elsewhere(
    fault: Fault, client: Client, status: int
) -> None:
    fault.facts, fault.upgrade = (status, "text/html", b""), (status, b"")
    fault.place = f"http://127.0.0.1:{fault.port}/elsewhere?a=1"
    for command in ("ssh-config", "proxy"):
        fault.headers.clear()
        done = client.run(command, fault.link())
        assert (done.returncode, done.stdout) == (1, b"")
        assert f"leads on to http://127.0.0.1:{fault.port}/elsewhere ({status})".encode() in (
            done.stderr
        )
        assert len(fault.headers) == 1


def test_requests_carry_the_token_in_a_header_and_name_the_program(
    fault: Fault, client: Client
) -> None:
    client.run("ssh-config", fault.link())
    client.run("proxy", fault.link())
    for headers in fault.headers:
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        assert headers["ngrok-skip-browser-warning"] == "1"
        assert headers["User-Agent"].startswith("ttybridge/")
    last = fault.headers[-1]
    public = (client.folder / "id_ed25519.pub").read_text().strip()
    assert last["X-Colab-Ssh-Pubkey"] == public
    assert "Sec-WebSocket-Extensions" not in last


def test_a_login_from_netrc_is_not_mixed_in_and_a_proxy_is_used(
    fault: Fault, client: Client
) -> None:
    (client.home / ".netrc").write_text("machine bridge.invalid login a password b\n")
    (client.home / ".netrc").chmod(0o600)
    link = f"http://bridge.invalid/?token={TOKEN}"
    fault.facts = (404, "text/plain", b"")
    done = client.run("ssh-config", link, http_proxy=f"http://127.0.0.1:{fault.port}")
    assert b"does not answer as it should (500)" in done.stderr, "the proxy's answer"
    assert fault.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_plain_http_to_another_machine_is_warned_of(fault: Fault, client: Client) -> None:
    done = client.run("ssh-config", fault.link("0.0.0.0"))
    assert done.returncode == 0
    assert b"warning: 0.0.0.0 is reached by plain http" in done.stderr
    assert b"warning" not in client.run("ssh-config", fault.link()).stderr


def test_a_bridge_that_is_not_there_is_named(client: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for words in (("ssh", "true"), ("proxy",)):
            link = f"http://127.0.0.1:{port}/?token={TOKEN}"
            done = client.run(words[0], link, *words[1:])
            assert done.returncode == 1
            assert f"http://127.0.0.1:{port} cannot be reached".encode() in done.stderr
            assert b"Is the bridge running" in done.stderr
            assert TOKEN.encode() not in done.stderr


def test_without_a_token_and_a_terminal_all_ways_to_give_one_are_named(client: Client) -> None:
    for command in ("ssh", "proxy", "ssh-config"):
        done = client.run(command, "http://127.0.0.1:1/")
        assert done.returncode == 2
        for way in (b"the link", b"--token-file FILE", b"TTYBRIDGE_TOKEN"):
            assert way in done.stderr


def test_in_a_terminal_the_token_is_asked_for_and_not_shown(fault: Fault, client: Client) -> None:
    master, slave = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    words = ("ssh-config", fault.link().partition("?")[0])
    shown = b""
    with ending(
        client.popen(*words, stdin=slave, stderr=slave, preexec_fn=take_terminal)
    ) as process:
        os.close(slave)
        while b"Token for" not in shown:
            shown += os.read(master, 1000)
        os.write(master, f"{TOKEN}\n".encode())
        assert process.stdout is not None
        assert process.stdout.read().startswith(b"Host ttybridge-127.0.0.1")
        assert process.wait(DEADLINE_S) == 0
        with contextlib.suppress(OSError):
            while more := os.read(master, 1000):
                shown += more
    os.close(master)
    assert TOKEN.encode() not in shown


def test_without_openssh_the_package_to_install_is_named(fault: Fault, client: Client) -> None:
    empty = client.home / "bin"
    empty.mkdir()
    done = client.run("ssh", fault.link(), PATH=str(empty))
    assert done.returncode == 3
    assert b"ssh-keygen is not installed" in done.stderr
    assert b"openssh-client" in done.stderr


@pytest.mark.parametrize("link", ["box.example", "https://", "https://box.example/?token=x"])
def test_a_link_that_is_none_is_a_wrong_option(client: Client, link: str) -> None:
    for words in (("ssh", link, "true"), ("proxy", link), ("ssh-config", link)):
        done = client.run(*words)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"ttybridge: error: ")
        assert b"Traceback" not in done.stderr


def read_settings(config: Path, name: str) -> dict[str, str]:
    """Return what ssh makes of a configuration, by lower-case names."""
    words: Sequence[str] = ("ssh", "-F", str(config), "-G", name)
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.mark.parametrize("user", ["ana@corp.example", "zoë", "a+b.c-d_e", "é" * 64])
def test_ssh_reads_every_account_back_that_is_taken(
    fault: Fault, client: Client, user: str
) -> None:
    facts = {"user": user, "hostKey": KEY}
    fault.facts = (200, "application/json", json.dumps(facts).encode())
    client.write_config(fault.link())
    assert read_settings(client.ssh_config, "box")["user"] == user


def test_ssh_reads_paths_with_spaces_and_percent_signs_back(fault: Fault, tmp_path: Path) -> None:
    home = tmp_path / "100% of a#b"
    home.mkdir()
    client = Client(home)
    client.write_config(fault.link())
    found = read_settings(client.ssh_config, "box")
    assert found["userknownhostsfile"].replace("%%", "%") == str(client.folder / "known_hosts")
    assert found["identityfile"].replace("%%", "%") == str(client.folder / "id_ed25519")
    assert found["hostkeyalias"] == "box"
    assert found["stricthostkeychecking"] in ("yes", "true")
    done = client.program("ssh", "-F", str(client.ssh_config), "box", "true")
    assert b"does not answer as it should (500)" in done.stderr, "our proxy was run"
