"""A bare pty without any server: what no server can be faster than."""

import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import NO_MORE, Peer, Running, tmux_command
from benchmarks.processes import children_of
from benchmarks.programs import await_end, clean_environment, kill_tmux, lives, tmux_pid
from benchmarks.wires.pipe import PipeWire


class RunningPrograms(Running):
    """Programs on ptys of this process.

    Attributes:
        folder: Where they start.
        env: All their variables.
    """

    def __init__(
        self, argv: Sequence[str], *, mode: str, folder: Path, env: Mapping[str, str]
    ) -> None:
        """Start nothing before a client comes."""
        self.argv, self.folder = argv, folder
        self.env = clean_environment(folder, env)
        self._socket = folder / "tmux" if mode == "tmux" else None
        self._wires: list[PipeWire] = []

    def pids(self) -> dict[str, list[int]]:
        """Return the programs, and what they have started."""
        programs = [wire.pid for wire in self._wires if lives(wire.pid)]
        children = [child for pid in programs for child in children_of(pid)]
        tmux = tmux_pid(self._socket, self.env) if self._socket else 0
        clients = [pid for pid in programs + children if pid != tmux]
        return {"server": [], "clients": clients, "tmux": [tmux] if tmux else []}

    def open(
        self,
        *,
        cols: int = 120,
        rows: int = 32,
        transport: str = "",
        receive_bytes: int = 0,
        address: tuple[str, int] | None = None,
    ) -> PipeWire:
        """Start the program on a new pty; `receive_bytes` has no meaning here."""
        wire = PipeWire(self.command(address), cols=cols, rows=rows, env=self.env, cwd=self.folder)
        self._wires.append(wire)
        return wire

    def command(self, address: tuple[str, int] | None) -> Sequence[str]:
        """Return what to run."""
        if address is not None:
            raise OSError("a bare pty has no line that could be slow")
        return self.argv

    def close(self) -> None:
        """End all."""
        children = [pid for wire in self._wires for pid in children_of(wire.pid)]
        for wire in self._wires:
            wire.close()
        if self._socket is not None:
            kill_tmux(self._socket, self.env)
        await_end(children)


class Pty(Peer):
    """The floor."""

    name = "pty"
    transports = ("pipe",)

    def missing(self) -> str:
        """Say when util-linux is missing."""
        return "" if shutil.which("setsid") else "setsid is missing: install util-linux"

    def version(self) -> str:
        """Return the kernel's, whose pty it is."""
        return f"Linux {platform.release()}"

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningPrograms:
        """Prepare; each client starts a program."""
        command = tmux_command(folder, argv) if mode == "tmux" else argv
        return RunningPrograms(command, mode=mode, folder=folder, env=env)
