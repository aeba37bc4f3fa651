"""terminado, the server of Jupyter's terminals, in Python with tornado."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import NO_MORE, Peer, Wire, tmux_command
from benchmarks.peers.running import Served
from benchmarks.programs import free_port
from benchmarks.ttyd import FOLDER
from benchmarks.wires.line import Target
from benchmarks.wires.terminado import TerminadoSpeech
from benchmarks.wires.websocket import WebSocketWire

PYTHON = FOLDER / "bin" / "python"
APP = Path(__file__).with_name("terminado_app.py")

VERSIONS = (
    "from importlib.metadata import version as v;"
    'print(f\'{v("terminado")} (tornado {v("tornado")})\')'
)


class RunningTerminado(Served):
    """An application with terminado in it."""

    def path(self, transport: str) -> str:
        """Return the address of its WebSocket."""
        return "/websocket"

    def wire(self, target: Target, transport: str, *, cols: int, rows: int) -> Wire:
        """Connect a client."""
        return WebSocketWire(target, TerminadoSpeech(cols, rows))


class Terminado(Peer):
    """terminado with a terminal for each client."""

    name = "terminado"

    def missing(self) -> str:
        """Say when it is not installed."""
        folders = FOLDER.glob("lib/python3*/site-packages/terminado")
        if PYTHON.exists() and any(folders):
            return ""
        return "terminado is not here: `python -m benchmarks.install` gets it"

    def version(self) -> str:
        """Return its version, and tornado's."""
        argv = [str(PYTHON), "-c", VERSIONS]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> RunningTerminado:
        """Start the application on a free port."""
        port = free_port()
        command = tmux_command(folder, argv) if mode == "tmux" else argv
        whole = [str(PYTHON), "-P", str(APP), str(port), *command]
        return RunningTerminado(whole, mode=mode, folder=folder, env=env, port=port)
