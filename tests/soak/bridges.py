"""The bridges of a soak: one that shares a tmux session, one that shares a command."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.conftest import DEADLINE_S, ROOT, RunningBridge, Tmux, clean_environment
from tests.e2e.hostile import Watched
from tests.e2e.ssh import Ssh
from tests.ngrok import install_fake_ngrok
from tests.soak.checks import Violation
from ttybridge.client.control import Control, find

PROGRAM = Path(__file__).with_name("program.py")

TOKEN = "soak-token-0123456789-abcdefghij"
"""Opens both bridges."""


class Soaked:
    """One bridge with what belongs to it.

    Attributes:
        running: The bridge.
        tmux: Its tmux server; None for a direct command.
        folder: Where its program keeps what is typed.
        watched: Its process.
    """

    def __init__(self, base: Path, *, is_tmux: bool, rate: float) -> None:
        """Start it."""
        self.name = "tmux" if is_tmux else "direct"
        self.folder = base / self.name
        self.folder.mkdir()
        (self.folder / "home").mkdir()
        (self.folder / "home" / ".bashrc").write_text("PS1='$ '\n")
        keys = self.folder / "keys"
        keys.mkdir()
        self.ssh = Ssh(keys)
        self.sockets = Path(tempfile.mkdtemp(prefix="soak-"))
        self.tmux = Tmux(self.sockets / "t") if is_tmux else None
        self.ngrok = install_fake_ngrok(self.folder) if is_tmux else None
        program = [sys.executable, "-S", str(PROGRAM), str(self.folder), str(rate)]
        environment = clean_environment(PYTHONPATH=str(ROOT), TTYBRIDGE_TOKEN=TOKEN)
        environment |= self.ngrok.env if self.ngrok else {}
        environment |= {"HOME": str(self.folder / "home"), "TMPDIR": str(self.sockets)}
        words = [
            *(sys.executable, "-m", "ttybridge", "-v", "--port", "0", "--resume", "60"),
            *("--allow-host", "127.0.0.1", *self.ssh.options),
            *("--audit-log", str(self.folder / "audit.jsonl")),
            *("--record", str(self.folder / "first.cast"), "--record-limit", "32M"),
        ]
        if is_tmux:
            words += ["--ngrok", "--socket-path", str(self.sockets / "t")]
        else:
            words += ["--", *program]
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            cwd=self.folder,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        errors: list[str] = []
        more: list[str] = []
        self._threads = [
            threading.Thread(target=errors.extend, args=(self.process.stderr,), daemon=True)
        ]
        self._threads[0].start()
        link = self.process.stdout.readline().strip()
        if not link:
            raise Violation(f"the bridge did not start: {''.join(errors)}")
        self._threads.append(
            threading.Thread(target=more.extend, args=(self.process.stdout,), daemon=True)
        )
        self._threads[1].start()
        self.running = RunningBridge(self.process, link, errors, more)
        status = self._found().status()
        self.running.port, self.running.token = status.port, TOKEN
        self.running.host = f"127.0.0.1:{status.port}"
        self.running.address = f"http://{self.running.host}/"
        self.control = self._found()
        self.running.__class__ = type(
            "Found", (RunningBridge,), {"control": property(lambda _: self.control)}
        )
        self.watched = Watched(self.running.pid)
        if self.tmux is not None:
            self.tmux("send-keys", "-t", "=0:", "exec " + " ".join(program), "Enter")
        self._read_to = 0
        self._log_to = 0

    def _found(self) -> Control:
        """Return its control socket."""
        until = time.monotonic() + DEADLINE_S
        while True:
            for control, status in find([self.sockets]):
                if status.pid == self.process.pid:
                    return control
            if time.monotonic() > until:
                raise Violation(f"{self.name}: it has no control socket")
            time.sleep(0.1)

    def typed(self) -> bytes:
        """Return what has been typed since the last call."""
        path = self.folder / "typed"
        if not path.exists():
            return b""
        with path.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        self._read_to += len(data)
        return data

    def check(self) -> None:
        """Check that it runs, says nothing of faults, and that what it keeps running runs.

        Raises:
            Violation: Something is not so.
        """
        if self.process.poll() is not None:
            raise Violation(f"{self.name}: it has ended with {self.process.returncode}")
        log = self.running.log[self._log_to :]
        self._log_to += len(log)
        for word in ("Traceback", "Exception", "handler failed", " error "):
            if word in log:
                at = log.index(word)
                raise Violation(f"{self.name}: in the log: {log[max(0, at - 300) : at + 1500]}")

    def flood(self, lines: int) -> None:
        """Have the program print many lines at once."""
        new = self.folder / "flood.new"
        new.write_text(str(lines))
        new.replace(self.folder / "flood")

    def stop(self) -> int:
        """Stop it and all that belongs to it; return its status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(DEADLINE_S)
        status = self.process.poll()
        if status is None:
            self.process.kill()
            self.process.wait()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if self.tmux is not None:
            self.tmux.stop()
        if self.ngrok is not None:
            for pid in self.ngrok.alive():
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.sockets, ignore_errors=True)
        return -1 if status is None else status
