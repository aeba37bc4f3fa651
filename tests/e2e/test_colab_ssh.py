"""The unmodified `colab ssh` of google-colab-cli 0.7.5: SSH over the bridge's web address."""

import asyncio
import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import DEADLINE_S, RunningBridge, StartBridge, wait_until
from tests.e2e.conftest import StartOnPty
from tests.e2e.ssh import Key, Ssh, make_key, needs_ssh
from tests.e2e.test_colab_console import COLAB, colab_environment
from tests.e2e.test_environment import snapshot
from tests.e2e.test_ssh_session import environment_of, wanted
from tests.page.network import ReverseProxy

pytestmark = [
    *needs_ssh,
    pytest.mark.colab_cli,
    pytest.mark.skipif(
        not COLAB.exists(), reason="no colab command line (.venv-colab, made by scripts/setup.sh)"
    ),
    pytest.mark.skipif(os.getuid() != 0, reason="colab ssh logs in as root, whoever we are"),
]


class Colab:
    """The command line with a session store that names one bridge."""

    def __init__(self, home: Path, bridge: RunningBridge, key: Key, *, token: str = "") -> None:
        self.env = colab_environment(home, bridge, token=token)
        self.home = home
        self._key = key

    @property
    def interactive(self) -> list[str]:
        return [str(COLAB), "ssh", "-s", "loc", "--identity", str(self._key.file)]

    @property
    def options(self) -> list[str]:
        """Options for ssh and scp that go through `colab ssh --proxy-mode`."""
        proxy = shlex.join([*self.interactive, "--proxy-mode"])
        lines = {
            "ProxyCommand": proxy,
            "User": "root",
            "IdentityFile": self._key.file,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "HostKeyAlias": "bridge",
            "UserKnownHostsFile": self._key.file.with_name("known_hosts"),
        }
        file = self.home / "ssh_config"
        file.write_text("Host bridge\n" + "".join(f"  {n} {v}\n" for n, v in lines.items()))
        return ["-F", str(file)]

    def run(
        self, *argv: str, deadline_s: float = DEADLINE_S
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(list(argv), capture_output=True, env=self.env, timeout=deadline_s)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a connection open."""
        process = subprocess.Popen(
            ["ssh", *self.options, "bridge", "echo in; cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.env,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"in\n"
            yield
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(DEADLINE_S)

    def refused(self) -> str:
        """Return what the command says that is refused by the bridge, on one line."""
        done = self.run(*self.interactive, "--proxy-mode")
        assert done.returncode == 1, done
        return " ".join((done.stdout + done.stderr).decode().split())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    return folder


def test_interactively_it_has_the_environment_and_passes_the_status_on(
    start_bridge: StartBridge, ssh: Ssh, home: Path, tmp_path: Path, start_on_pty: StartOnPty
) -> None:
    environment = snapshot(home)
    bridge = start_bridge(*ssh.options, environment=environment)
    # A key that the bridge has never heard of: the token lets it in, for this connection.
    colab = Colab(tmp_path / "colab", bridge, ssh.stranger)
    terminal = start_on_pty(colab.interactive, env=colab.env, cols=100, rows=30)
    out = home / "environment"
    terminal.type(f"PATH=; /usr/bin/env -0 > {out}.part; /bin/mv {out}.part {out}\r".encode())
    wait_until(out.exists, "the environment of the login")
    # It asks for a login shell, and /etc/profile of Debian sets PATH anew.
    of_shell = {b"PATH", b"SSH_TTY"}
    there = {n: v for n, v in environment_of(out.read_bytes()).items() if n not in of_shell}
    expected = {n: v for n, v in wanted(environment).items() if n not in of_shell}
    assert there == expected
    terminal.type(b"exit 7\r")
    assert terminal.wait() == 7


def test_as_a_proxy_of_plain_ssh_it_runs_commands_and_copies_100_megabytes(
    start_bridge: StartBridge, ssh: Ssh, home: Path, tmp_path: Path
) -> None:
    environment = snapshot(home)
    bridge = start_bridge(*ssh.options, environment=environment)
    colab = Colab(tmp_path / "colab", bridge, ssh.stranger)
    ssh.config(bridge)  # pins the host key
    failed = colab.run("ssh", *colab.options, "bridge", "echo out; echo err >&2; exit 5")
    assert (failed.returncode, failed.stdout, failed.stderr) == (5, b"out\n", b"err\n")
    shown = colab.run("ssh", *colab.options, "bridge", "env -0")
    assert environment_of(shown.stdout) == wanted(environment)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(hashlib.shake_128(b"100 MB").digest(1_000_000) * 100)
    for words in ((str(source), "bridge:there"), ("bridge:there", str(back))):
        copied = colab.run("scp", *colab.options, *words, deadline_s=90)
        assert copied.returncode == 0, copied.stderr
    sums = {hashlib.sha256(path.read_bytes()).digest() for path in (source, home / "there", back)}
    assert len(sums) == 1


def test_the_key_counts_for_its_own_connection_only(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    bridge = start_bridge(*ssh.options)
    colab = Colab(tmp_path / "colab", bridge, ssh.stranger)
    ssh.config(bridge)  # pins the host key
    with colab.held():
        # Neither at sshd's port, nor on another connection over the web address.
        assert ssh.run(bridge, "bridge", "echo in", key=ssh.stranger).returncode == 255
        other = make_key(tmp_path, "other")
        mixed = Colab(tmp_path / "mixed", bridge, other)
        options = mixed.options
        file = Path(options[1])
        before, after = (f"IdentityFile {key.file}" for key in (other, ssh.stranger))
        file.write_text(file.read_text().replace(before, after))
        (tmp_path / "known_hosts").write_text(ssh.known_hosts.read_text())
        denied = mixed.run("ssh", *options, "bridge", "echo in")
        assert (denied.returncode, denied.stdout) == (255, b"")
        assert b"Permission denied (publickey)" in denied.stderr


def test_a_wrong_token_is_401(start_bridge: StartBridge, ssh: Ssh, tmp_path: Path) -> None:
    bridge = start_bridge(*ssh.options)
    colab = Colab(tmp_path / "colab", bridge, ssh.owner, token="wrong-token-0123456789")
    assert "Authentication failed (HTTP 401)" in colab.refused()
    assert "ssh over the web address" not in bridge.log


def test_without_ssh_it_is_404(start_bridge: StartBridge, ssh: Ssh, tmp_path: Path) -> None:
    colab = Colab(tmp_path / "colab", start_bridge(), ssh.owner)
    assert "does not expose" in colab.refused()


def test_an_rsa_key_is_400(start_bridge: StartBridge, ssh: Ssh, tmp_path: Path) -> None:
    key = make_key(tmp_path, "rsa", "rsa")
    colab = Colab(tmp_path / "colab", start_bridge(*ssh.options), key)
    assert "unsupported key type" in colab.refused()


def test_a_missing_key_is_400(start_bridge: StartBridge, ssh: Ssh) -> None:
    bridge = start_bridge(*ssh.options)

    async def ask() -> tuple[int, str]:
        # The command never leaves the header out.
        async with aiohttp.ClientSession() as session:
            address = f"{bridge.address}colab/ssh?colab-runtime-proxy-token={bridge.token}"
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade",
                       "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFi",
                       "Origin": f"http://{bridge.host}"}  # fmt: skip
            async with session.get(address, headers=upgrade) as answer:
                return answer.status, await answer.text()

    status, text = asyncio.run(ask())
    assert status == 400
    assert "missing pubkey" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [("\n", "missing pubkey"), ("ssh-ed25519 AAAA me@box\n", "unusable public key")],
)
def test_a_key_file_that_is_empty_or_damaged_is_400(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path, text: str, said: str
) -> None:
    colab = Colab(tmp_path / "colab", start_bridge(*ssh.options), ssh.owner)
    # Without --identity it sends what is in its user's own file, as it is.
    (colab.home / ".ssh").mkdir()
    (colab.home / ".ssh/id_ed25519.pub").write_text(text)
    done = colab.run(str(COLAB), "ssh", "-s", "loc", "--proxy-mode")
    assert done.returncode == 1
    assert said in " ".join((done.stdout + done.stderr).decode().split())


def test_from_another_site_it_is_403(start_bridge: StartBridge, ssh: Ssh, tmp_path: Path) -> None:
    # The command sends the address that it was given as its Origin. A proxy in front that the
    # bridge was not told of passes on another Host.
    bridge = start_bridge(*ssh.options)
    proxy = ReverseProxy(bridge.port, forwards=True)
    try:
        colab = Colab(tmp_path / "colab", bridge, ssh.owner)
        store = tmp_path / "colab/.config/colab-cli/sessions.json"
        store.write_text(store.read_text().replace(bridge.host, f"127.0.0.1:{proxy.port}"))
        assert "Forbidden (HTTP 403)" in colab.refused()
    finally:
        proxy.close()


def test_above_the_limit_it_is_429(start_bridge: StartBridge, ssh: Ssh, tmp_path: Path) -> None:
    bridge = start_bridge(*ssh.options, "--max-ssh", "1")
    colab = Colab(tmp_path / "colab", bridge, ssh.owner)
    ssh.config(bridge)  # pins the host key
    with colab.held():
        assert "(HTTP 429)" in colab.refused()
    # The place is free again when the connection has ended.
    wait_until(
        lambda: colab.run("ssh", *colab.options, "bridge", "echo in").stdout == b"in\n", "a place"
    )


def test_when_sshd_does_not_start_it_is_502_and_the_log_says_why(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    sshd = tmp_path / "sshd"
    sshd.write_text('#!/bin/sh\nexec /usr/sbin/sshd "$@"\n')
    sshd.chmod(0o755)
    bridge = start_bridge(*ssh.options, "--sshd", str(sshd))
    colab = Colab(tmp_path / "colab", bridge, ssh.owner)
    sshd.write_text("#!/bin/sh\necho the disk is on fire >&2\nexit 1\n")
    assert "local sshd" in colab.refused()
    wait_until(lambda: "the disk is on fire" in bridge.log, "the reason in the log")
    sshd.unlink()
    assert "(HTTP 502)" in colab.refused()


def test_when_the_bridge_stops_the_connection_and_its_program_end(
    start_bridge: StartBridge, ssh: Ssh, tmp_path: Path
) -> None:
    bridge = start_bridge(*ssh.options)
    colab = Colab(tmp_path / "colab", bridge, ssh.owner)
    ssh.config(bridge)  # pins the host key
    held = subprocess.Popen(
        ["ssh", *colab.options, "bridge", "echo $$; exec sleep 300"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=colab.env,
    )  # fmt: skip
    assert held.stdout is not None
    program = int(held.stdout.readline())
    try:
        assert bridge.stop() == 0
        held.wait(DEADLINE_S)
        wait_until(lambda: not Path(f"/proc/{program}").exists(), "the end of the program")
    finally:
        held.kill()
        held.wait()
        held.stdout.close()
