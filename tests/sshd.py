"""An sshd of the test's own on loopback, with a user's ssh and its configuration."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.conftest import DEADLINE_S, clean_environment, wait_until
from tests.e2e.ssh import SSHD, Key, make_key
from tests.ports import free_port
from ttybridge.core.sshd_config import SshdSettings, sshd_config
from ttybridge.ssh import host_key


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = parents.get(pid, [])
    return found + [below for child in found for below in descendants(child)]


class Sshd:
    """An sshd on loopback, and a user's ssh with a configuration of its own."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", **options: str) -> None:
        self.folder, self.host, self.port = folder, host, free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.key: Key = make_key(folder, "user")
        self.stranger: Key = make_key(folder, "stranger")
        keys = folder / "authorized_keys"
        keys.write_text(f"{self.key.public}\n")
        pair = host_key.generate()
        self.host_key = pair.public.line
        (folder / "host_key").write_bytes(pair.private)
        (folder / "host_key").chmod(0o600)
        settings = SshdSettings(self.user, host, self.port, str(folder / "host_key"), str(keys))
        text = sshd_config(settings)
        for name, value in options.items():
            text = re.sub(rf"(?m)^{name} .*$", f"{name} {value}", text)
        (folder / "sshd_config").write_text(text)
        self.configure()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def argument(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        return clean_environment(PATH=f"{self.folder / 'bin'}:{os.environ['PATH']}")

    def configure(
        self, more: str = "", *, key: Key | None = None, known: str | None = None
    ) -> None:
        """Write the user's configuration, which a program called ssh stands for.

        ssh takes it from the account's home in /etc/passwd, whatever HOME is.
        """
        line = f"[{self.host}]:{self.port} {self.host_key}\n" if known is None else known
        (self.folder / "known").write_text(line)
        (self.folder / "config").write_text(
            f"{more}\nHost *\nIdentityFile {(key or self.key).file}\nIdentitiesOnly yes\n"
            f"IdentityAgent none\nUserKnownHostsFile {self.folder / 'known'}\n"
            "GlobalKnownHostsFile /dev/null\n"
        )
        program = self.folder / "bin" / "ssh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\nexec {shutil.which("ssh")} -F "{self.folder / "config"}" "$@"\n'
        )
        program.chmod(0o755)

    def start(self) -> "Sshd":
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = self.folder / "log"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stderr=file,
            )
        wait_until(lambda: "Server listening" in log.read_text(errors="replace"), "sshd")
        return self

    def kill(self) -> None:
        """Kill it with all its logins, as a machine that goes down does."""
        if self.process is not None:
            for pid in [self.process.pid, *descendants(self.process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)
            self.process = None
