"""ttybridge itself, the code of this folder, with a token and the page's protocol."""

import compileall
import importlib.metadata
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import ttybridge
from benchmarks.peer import NO_MORE, Peer, Wire
from benchmarks.peers.running import Served
from benchmarks.programs import ROOT, START_S
from benchmarks.wires.line import Target
from benchmarks.wires.polling import NumberedPollingWire, PollingWire
from benchmarks.wires.ttybridge import TtybridgeSpeech
from benchmarks.wires.websocket import WebSocketWire

LIBRARIES = ("aiohttp", "python-socketio", "python-engineio")
"""What carries the bytes, where it is installed."""

PLAIN = "plain-polling"
"""Polling as engine.io-client does it, with one request of each kind."""

LINK = re.compile(rb"(http://\S+)\n")


class RunningTtybridge(Served):
    """A bridge; its clients are owners."""

    def await_start(self) -> None:
        """Wait for the link, which is printed when the bridge listens."""
        until = time.monotonic() + START_S
        while not (found := LINK.search(text := self._log.read_bytes())):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"ttybridge did not start:\n{text.decode()[-1000:]}")
            time.sleep(0.001)
        link = urlsplit(found[1].decode())
        assert link.port is not None
        self.port, self.token = link.port, parse_qs(link.query)["token"][0]

    def path(self, transport: str) -> str:
        """Return the address of Socket.IO."""
        name = "polling" if transport in ("polling", PLAIN) else "websocket"
        return f"/tty/?EIO=4&transport={name}"

    def headers(self) -> dict[str, str]:
        """Present the token."""
        return super().headers() | {"Authorization": f"Bearer {self.token}"}

    def wire(self, target: Target, transport: str, *, cols: int, rows: int) -> Wire:
        """Connect a client."""
        if transport == "polling":
            return NumberedPollingWire(target, TtybridgeSpeech(cols, rows, polls=True))
        speech = TtybridgeSpeech(cols, rows)
        return (PollingWire if transport == PLAIN else WebSocketWire)(target, speech)


class Ttybridge(Peer):
    """This project. Clients of a direct command share its pty, which starts with the first."""

    name = "ttybridge"
    transports = ("websocket", "polling", PLAIN)

    def missing(self) -> str:
        """Never."""
        return ""

    def version(self) -> str:
        """Return ours, and those of the libraries."""
        found = []
        for name in LIBRARIES:
            try:
                found.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                continue
        return f"{ttybridge.__version__} ({', '.join(found)})"

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningTtybridge:
        """Start it as people do; in tmux, the session's shell is `argv`."""
        compileall.compile_dir(ROOT / "ttybridge", quiet=1)  # as pip does when it installs it
        command = [sys.executable, "-m", "ttybridge", "--quiet", "--port", "0"]
        command += ["--max-clients", "1000"]
        if mode == "direct":
            command += ["--wait", "--", *argv]
        else:
            command += ["--socket-path", str(folder / "tmux")]
            (folder / ".tmux.conf").write_text(f"set -g default-command {quoted(argv)}\n")
        more = {"PYTHONPATH": str(ROOT), **env}
        return RunningTtybridge(command, mode=mode, folder=folder, env=more, port=0)


def quoted(argv: Sequence[str]) -> str:
    r"""Return a command in quotes of tmux's configuration.

    >>> print(quoted(["echo", "$HOME"]))
    "exec echo '\$HOME'"
    """
    text = re.sub(r'(["\\$])', r"\\\1", f"exec {shlex.join(argv)}")
    return f'"{text}"'
