"""Plain OpenSSH: an sshd of our own on loopback, and `ssh -tt` on a pty."""

import getpass
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import NO_MORE, Peer, tmux_command
from benchmarks.peers.bare import RunningPrograms
from benchmarks.processes import children_of
from benchmarks.programs import await_end, await_port, free_port, stop, undisturbed
from ttybridge.core.sshd_config import SshdSettings, sshd_config
from ttybridge.ssh import host_key

SSHD = Path("/usr/sbin/sshd")

ALIAS = "bench"
"""What the client calls the host, so that its key is known through a slow line, too."""


class RunningSsh(RunningPrograms):
    """An sshd, with the logins to it.

    The pty of `ssh` is left as it is: ssh gives its modes to the other pty, and sets it to raw.
    """

    def __init__(
        self, argv: Sequence[str], *, mode: str, folder: Path, env: Mapping[str, str]
    ) -> None:
        """Make keys, start sshd, and wait until it listens; raises RuntimeError."""
        super().__init__(argv, mode=mode, folder=folder, env=env)
        self.port = free_port()
        self._user = getpass.getuser()
        self._more = {"HOME": str(folder), "LANG": self.env["LANG"], "PATH": self.env["PATH"]}
        self._more |= dict(env)
        self._write_keys()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = folder / "server.log"
        begin = time.monotonic()
        with log.open("wb") as file:
            self._sshd = subprocess.Popen(
                undisturbed([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stderr=file,
            )
        try:
            await_port(self._sshd, self.port, log)
        except BaseException:
            self.close()
            raise
        self.started_s = time.monotonic() - begin

    def pids(self) -> dict[str, list[int]]:
        """Return the processes of sshd; `ssh` itself belongs to the client."""
        tmux = super().pids()["tmux"]
        children = [pid for pid in children_of(self._sshd.pid) if pid not in tmux]
        return {"server": [self._sshd.pid], "clients": children, "tmux": tmux}

    def command(self, address: tuple[str, int] | None) -> Sequence[str]:
        """Return a login that runs the program."""
        host, port = address or ("127.0.0.1", self.port)
        options = {
            "HostKeyAlias": ALIAS,
            "UserKnownHostsFile": self.folder / "known",
            "GlobalKnownHostsFile": "/dev/null",
            "IdentityFile": self.folder / "key",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "EscapeChar": "none",
            "LogLevel": "ERROR",
        }
        flags = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        variables = [f"{name}={value}" for name, value in self._more.items()]
        program = shlex.join(["env", *variables, *self.argv])
        remote = f"cd {shlex.quote(str(self.folder))} && exec {program}"
        login = f"{self._user}@{host}"
        return ["ssh", "-F", "/dev/null", "-tt", "-p", str(port), *flags, login, remote]

    def close(self) -> None:
        """End all logins, and sshd."""
        children = children_of(self._sshd.pid) if self._sshd.returncode is None else []
        super().close()
        if self._sshd.returncode is None:
            stop(self._sshd, signal.SIGTERM)
        await_end(children)

    def _write_keys(self) -> None:
        for name in ("host_key", "key"):
            pair = host_key.generate()
            (self.folder / name).write_bytes(pair.private)
            (self.folder / name).chmod(0o600)
            (self.folder / f"{name}.pub").write_text(f"{pair.public.line}\n")
        known = f"{ALIAS} {(self.folder / 'host_key.pub').read_text()}"
        (self.folder / "known").write_text(known)
        files = str(self.folder / "host_key"), str(self.folder / "key.pub")
        settings = SshdSettings(self._user, "127.0.0.1", self.port, *files)
        (self.folder / "sshd_config").write_text(sshd_config(settings))


class Ssh(Peer):
    """No browser, but what many would use instead; its client has a window of its own."""

    name = "ssh"
    transports = ("pipe",)

    def missing(self) -> str:
        """Say when a part of OpenSSH is missing."""
        if SSHD.exists() and shutil.which("ssh"):
            return ""
        return "OpenSSH is not here: the packages openssh-server and openssh-client have it"

    def version(self) -> str:
        """Return the client's version; the server's is the same on Debian."""
        done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True)
        return done.stderr.split(",")[0].split(" ")[0].removeprefix("OpenSSH_")

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningSsh:
        """Start sshd on a free port."""
        command = tmux_command(folder, argv) if mode == "tmux" else argv
        return RunningSsh(command, mode=mode, folder=folder, env=env)
