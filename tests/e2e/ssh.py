"""OpenSSH's own programs, pointed at a bridge with `--ssh`: keys, options, known hosts."""

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import DEADLINE_S, RunningBridge, clean_environment, wait_until

SSHD = next((p for p in (Path("/usr/sbin/sshd"), Path("/usr/local/sbin/sshd")) if p.exists()), None)
"""The system's sshd program."""

needs_ssh = [
    pytest.mark.ssh,
    pytest.mark.skipif(SSHD is None, reason="sshd is not installed (openssh-server)"),
    pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed"),
]
"""Marks of a test file that needs OpenSSH."""


@dataclass(frozen=True)
class Key:
    """A key pair in two files."""

    file: Path
    """The private half; the public one is beside it."""

    @property
    def public(self) -> str:
        """The public half, on one line."""
        return self.file.with_name(self.file.name + ".pub").read_text().strip()

    @property
    def fingerprint(self) -> str:
        """SHA256:… as OpenSSH shows it."""
        shown = subprocess.run(
            ["ssh-keygen", "-lf", str(self.file)], capture_output=True, text=True, check=True
        )
        return shown.stdout.split()[1]


def make_key(folder: Path, name: str, kind: str = "ed25519") -> Key:
    """Make a key pair."""
    file = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(file)], check=True
    )
    return Key(file)


class Ssh:
    """The client side: one folder with keys, known hosts and nothing of this machine's settings."""

    def __init__(self, folder: Path) -> None:
        """Make a key that may log in, one that may watch, and one that nobody knows."""
        self.folder = folder
        self.owner = make_key(folder, "owner")
        self.viewer = make_key(folder, "viewer")
        self.stranger = make_key(folder, "stranger")
        self.known_hosts = folder / "known_hosts"

    @property
    def options(self) -> list[str]:
        """Options of the bridge that let the keys in."""
        keys = ["--ssh-key", self.owner.public, "--ssh-key", f"read-only {self.viewer.public}"]
        return ["--ssh", "--ssh-port", "0", *keys]

    def config(self, bridge: RunningBridge, key: Key | None = None) -> list[str]:
        """Return options for every OpenSSH program, with the host key pinned."""
        port, user, host_key = ssh_address(bridge)
        _replaced(self.known_hosts, f"bridge {host_key}\n")
        name = f"config-{port}-{(key or self.owner).file.name}"
        lines = {
            "HostName": "127.0.0.1",
            "Port": port,
            "User": user,
            "HostKeyAlias": "bridge",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentityFile": (key or self.owner).file,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        text = "".join(f"  {name} {value}\n" for name, value in lines.items())
        return ["-F", str(_replaced(self.folder / name, f"Host bridge\n{text}"))]

    def command(self, bridge: RunningBridge, *words: str, key: Key | None = None) -> list[str]:
        """Return the command line of an ssh login: `bridge` is the host's name."""
        return ["ssh", *self.config(bridge, key), *words]

    def run(
        self,
        bridge: RunningBridge,
        *words: str,
        key: Key | None = None,
        stdin: bytes = b"",
        deadline_s: float = DEADLINE_S,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run ssh to its end; the words go before and after the host: `"bridge", "id"`."""
        return run(self.command(bridge, *words, key=key), stdin=stdin, deadline_s=deadline_s)


def _replaced(file: Path, text: str) -> Path:
    """Write a file at once: an ssh that has just been started may be reading it."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    return new.replace(file)


def answers(path: Path) -> bool:
    """Whether somebody listens at a socket; its file is there a moment before that."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextmanager
def running_agent(path: Path, key: Key) -> Iterator[str]:
    """Run an agent that has a key; the path of its socket."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(path), "the agent")
        env = clean_environment(SSH_AUTH_SOCK=str(path))
        subprocess.run(["ssh-add", "-q", str(key.file)], env=env, check=True)
        yield str(path)
    finally:
        process.terminate()
        process.wait()


def run(
    argv: Sequence[str], *, stdin: bytes = b"", deadline_s: float = DEADLINE_S
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program of the client's to its end, without a terminal."""
    return subprocess.run(
        list(argv),
        input=stdin,
        capture_output=True,
        timeout=deadline_s,
        env=clean_environment(TERM="xterm-256color"),
    )


def ssh_address(bridge: RunningBridge) -> tuple[int, str, str]:
    """Return the port and the user that the banner names, and the host key that the web does.

    With a tunnel, the banner names neither, and the control socket knows all.
    """
    import json
    import re
    import urllib.request

    # Its last line: then all of the banner is there.
    wait_until(lambda: "Ctrl-C stops the bridge" in bridge.log, "the banner")
    found = re.search(r"^  ssh -p (\d+) (\S+)@\S+$", bridge.log, re.MULTILINE)
    if found is None:
        told = bridge.control.status().ssh
        assert told is not None, bridge.log
        return told.port, told.user, told.host_key
    request = urllib.request.Request(
        f"{bridge.address}ssh", headers={"Authorization": f"Bearer {bridge.token}"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        info = json.load(answer)
    assert info["user"] == found[2]
    return int(found[1]), found[2], info["hostKey"]
