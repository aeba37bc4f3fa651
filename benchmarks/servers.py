"""The servers that are compared: ttybridge, and ttyd with a tmux client for each viewer."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Self

from benchmarks.processes import Cost, children_of, cost_of
from benchmarks.programs import ROOT, START_S, await_port, clean_environment, free_port, stop
from ttybridge.client.control import find

COLS, ROWS = 120, 32
"""Window of every viewer; the session's window is a row lower: tmux has a status line."""


class Server:
    """A server of a tmux session, and what it consists of.

    Attributes:
        name: What it is called in the tables.
        port: Where it listens, on 127.0.0.1.
        path: Path and query of its WebSocket.
        is_page: Whether viewers speak the page's protocol (otherwise ttyd's).
        cols, rows: Window of a viewer.
        tmux_socket: Socket of its tmux server.
    """

    name = ""
    path = ""
    is_page = False
    cols, rows = COLS, ROWS

    def __init__(self) -> None:
        """Start a tmux server with a session, and the server."""
        self.port = 0
        self._folder = Path(tempfile.mkdtemp(prefix="tb-bench-"))
        self.tmux_socket = self._folder / "tmux"
        self._env = clean_environment(self._folder, {"PYTHONPATH": str(ROOT)})
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.begin_session()
            self.start()
        except BaseException:
            self.close()
            raise

    def begin_session(self) -> None:
        """Begin what the viewers will see."""
        size = ("-x", str(self.cols), "-y", str(self.rows))
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "0", *size, "cat")
        self.tmux("set", "-g", "window-size", "manual")

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        raise NotImplementedError

    def headers(self) -> dict[str, str]:
        """Return what a new viewer sends with its request."""
        return {}

    def tmux(self, *arguments: str) -> str:
        """Run a tmux command and return what it prints."""
        done = subprocess.run(
            ["tmux", "-S", str(self.tmux_socket), *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def play(self, *command: str) -> int:
        """Run a command in the session's window, in the place of what runs there.

        Returns:
            The process in the window: a shell, which stays when the command has ended.
        """
        self.tmux("respawn-pane", "-k", "-t", "=0:", f"{shlex.join(command)}; exec cat")
        return int(self.tmux("display-message", "-p", "-t", "=0:", "#{pane_pid}"))

    def costs(self) -> dict[str, Cost]:
        """Return what the parts have cost so far: the server, its tmux clients, the tmux server."""
        assert self._process is not None
        server = int(self.tmux("display-message", "-p", "#{pid}"))
        clients = children_of(self._process.pid)
        return {
            "server": cost_of([self._process.pid]),
            "clients": cost_of(pid for pid in clients if pid != server),
            "tmux": cost_of([server]),
        }

    def close(self) -> None:
        """End everything."""
        if self._process is not None:
            stop(self._process)
            if self._process.stdout is not None:
                self._process.stdout.close()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Ttybridge(Server):
    """This project; viewers come by a share link, and show the session's window."""

    name = "ttybridge"
    path = "/tty/?EIO=4&transport=websocket"
    is_page = True

    def start(self) -> None:
        """Start the bridge and make the link."""
        argv = [sys.executable, "-m", "ttybridge", "-q", "--port", "0"]
        argv += ["--max-viewers", "1000", "--max-clients", "1000", *self.session()]
        self._process = subprocess.Popen(
            argv,
            env=self._env,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        address = self._process.stdout.readline().decode().strip()
        if not address:
            raise RuntimeError("the bridge did not start; it said why above")
        self.port = int(address.split("//")[1].split("/")[0].rpartition(":")[2])
        folders = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108
        pid = self._process.pid
        self.control = next(control for control, each in find(folders) if each.pid == pid)
        self._link = self.control.share("viewer")

    def session(self) -> list[str]:
        """Return the arguments that say what is shown."""
        return ["--socket-path", str(self.tmux_socket)]

    def headers(self) -> dict[str, str]:
        """Open the link, as a program does, for a session of the viewer's own."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/login",
            data=self._link.query.removeprefix("?").encode(),
            headers={"Accept": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=START_S) as answer:
            return {"Authorization": f"Bearer {json.load(answer)['token']}"}


class DirectTtybridge(Ttybridge):
    """The same with a program on one pty for all, without tmux."""

    def begin_session(self) -> None:
        """Make the pipe by which the program is told what to run."""
        self._pipe = self._folder / "pipe"
        os.mkfifo(self._pipe)

    def session(self) -> list[str]:
        """Return a program that waits for a command, and stays when that has ended."""
        pipe = shlex.quote(str(self._pipe))
        script = f'stty -echo; echo ready; read -r command <{pipe}; eval "$command"; exec cat'
        return ["--", "sh", "-c", script]

    def play(self, *command: str) -> int:
        """Run a command on the pty; returns the shell's process."""
        assert self._process is not None
        shells = children_of(self._process.pid)
        self._pipe.write_text(f"{shlex.join(command)}\n")
        return shells[0]

    def costs(self) -> dict[str, Cost]:
        """Return what the server has cost; there is nothing else."""
        assert self._process is not None
        return {"server": cost_of([self._process.pid]), "clients": cost_of([]), "tmux": cost_of([])}


class Ttyd(Server):
    """ttyd, which starts `tmux attach -r` for each viewer."""

    name = "ttyd"
    path = "/ws"

    def __init__(self, binary: Path) -> None:
        """Start it.

        Args:
            binary: The program.
        """
        self._binary = binary
        super().__init__()

    def start(self) -> None:
        """Start ttyd on a free port."""
        self.port = free_port()
        argv = [str(self._binary), "-d", "1", "-p", str(self.port), "-i", "127.0.0.1"]
        argv += ["tmux", "-S", str(self.tmux_socket), "attach", "-r", "-t", "=0"]
        log = self._folder / "ttyd.log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                argv, env=self._env, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        await_port(self._process, self.port, log)

    def headers(self) -> dict[str, str]:
        """Return ttyd's subprotocol."""
        return {"Sec-WebSocket-Protocol": "tty"}
