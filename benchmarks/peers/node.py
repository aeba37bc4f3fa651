"""Servers of npm: wetty, and a stand-in for the original."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import NO_MORE, Peer, Wire, tmux_command
from benchmarks.peers.running import Served
from benchmarks.programs import ROOT, free_port
from benchmarks.wires.line import Target
from benchmarks.wires.original import OriginalSpeech
from benchmarks.wires.polling import PollingWire
from benchmarks.wires.websocket import WebSocketWire
from benchmarks.wires.wetty import WettySpeech

NODE = ROOT / "benchmarks" / "node"
PACKAGES = NODE / "node_modules"


def missing(package: str) -> str:
    """Say when Node or a package is not installed."""
    if shutil.which("node") is None:
        return "node is not installed: the packages nodejs and npm of Debian have it"
    if not (PACKAGES / package / "package.json").exists():
        return f"{package} is not here: `python -m benchmarks.install` gets it"
    if not list((PACKAGES / "node-pty").glob("build/Release/pty.node")):
        return "node-pty is not built: make and g++ are needed, then `python -m benchmarks.install`"
    return ""


def versions(*packages: str) -> str:
    """Return the versions of packages and of Node."""
    found = [
        f"{package} {json.loads((PACKAGES / package / 'package.json').read_text())['version']}"
        for package in packages
    ]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return ", ".join([*found, f"node {node.stdout.strip().removeprefix('v')}"])


class RunningOriginal(Served):
    """A stand-in for the original."""

    def path(self, transport: str) -> str:
        """Return the address of Socket.IO."""
        return f"/tty/?EIO=4&transport={transport or 'websocket'}"

    def wire(self, target: Target, transport: str, *, cols: int, rows: int) -> Wire:
        """Connect a client."""
        speech = OriginalSpeech(cols, rows)
        if transport == "polling":
            return PollingWire(target, speech)
        return WebSocketWire(target, speech)


class Original(Peer):
    """What ttybridge grew out of, written anew with the same libraries: see node/original.mjs."""

    name = "original"
    transports = ("websocket", "polling")

    def missing(self) -> str:
        """Say when a package is not installed."""
        return missing("socket.io")

    def version(self) -> str:
        """Return the versions of what it consists of."""
        return f"stand-in ({versions('socket.io', 'node-pty')})"

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningOriginal:
        """Start it on a free port."""
        port = free_port()
        command = tmux_command(folder, argv) if mode == "tmux" else argv
        whole = ["node", str(NODE / "original.mjs"), str(port), *command]
        more = {"NODE_ENV": "production", **env}
        return RunningOriginal(whole, mode=mode, folder=folder, env=more, port=port)


class RunningWetty(Served):
    """A wetty."""

    def path(self, transport: str) -> str:
        """Return the address of Socket.IO."""
        return f"/socket.io/?EIO=4&transport={transport or 'websocket'}"

    def wire(self, target: Target, transport: str, *, cols: int, rows: int) -> Wire:
        """Connect a client, by WebSocket at once: wetty's page begins with polling."""
        return WebSocketWire(target, WettySpeech(cols, rows))


class Wetty(Peer):
    """wetty, without SSH."""

    name = "wetty"

    def missing(self) -> str:
        """Say when it is not installed, or would ask for SSH."""
        if os.geteuid() != 0:
            return "wetty starts a command without SSH for root alone: run this as root"
        return missing("wetty")

    def version(self) -> str:
        """Return its version, and that of what it consists of."""
        return versions("wetty", "socket.io", "node-pty").removeprefix("wetty ")

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningWetty:
        """Start it on a free port, with a script for a command: wetty takes only one word."""
        port = free_port()
        command = tmux_command(folder, argv) if mode == "tmux" else argv
        script = folder / "command"
        script.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
        script.chmod(0o755)
        whole = ["node", str(PACKAGES / "wetty" / "build" / "main.js"), "--host", "127.0.0.1"]
        whole += ["--log-level", "error", "--command", str(script)]
        # Release 3.2.0 reads --port and does not use it.
        more = {"NODE_ENV": "production", "PORT": str(port), **env}
        return RunningWetty(whole, mode=mode, folder=folder, env=more, port=port)
