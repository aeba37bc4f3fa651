"""ttyd, a server in C: a program on a pty of its own for each client."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import NO_MORE, Peer, Wire, tmux_command
from benchmarks.peers.running import Served
from benchmarks.programs import free_port
from benchmarks.ttyd import find_ttyd
from benchmarks.wires.line import Target
from benchmarks.wires.ttyd import TtydSpeech
from benchmarks.wires.websocket import WebSocketWire

VARIABLE = "BENCH_TTYD"
"""Names the program, if it is not to be searched for."""


class RunningTtyd(Served):
    """A ttyd."""

    def path(self, transport: str) -> str:
        """Return the address of its WebSocket."""
        return "/ws"

    def headers(self) -> dict[str, str]:
        """Name its subprotocol."""
        return super().headers() | {"Sec-WebSocket-Protocol": "tty"}

    def wire(self, target: Target, transport: str, *, cols: int, rows: int) -> Wire:
        """Connect a client."""
        return WebSocketWire(target, TtydSpeech(cols, rows))


class Ttyd(Peer):
    """ttyd, writable."""

    name = "ttyd"

    def binary(self) -> Path | None:
        """Return the program."""
        return find_ttyd(os.environ.get(VARIABLE, ""))

    def missing(self) -> str:
        """Say when there is none."""
        if self.binary():
            return ""
        return f"ttyd is not here: `python -m benchmarks.install` gets it, or {VARIABLE} names it"

    def version(self) -> str:
        """Ask it."""
        done = subprocess.run(
            [str(self.binary()), "--version"], capture_output=True, text=True, check=True
        )
        return done.stdout.split()[-1]

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningTtyd:
        """Start it on a free port."""
        port = free_port()
        command = [str(self.binary()), "-d", "1", "-W", "-p", str(port), "-i", "127.0.0.1"]
        command += tmux_command(folder, argv) if mode == "tmux" else argv
        return RunningTtyd(command, mode=mode, folder=folder, env=env, port=port)
