"""A server that was started as a program, and its clients over a WebSocket."""

import subprocess
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peer import Running, Wire
from benchmarks.processes import children_of
from benchmarks.programs import (
    await_end,
    await_port,
    clean_environment,
    kill_tmux,
    stop,
    tmux_pid,
    undisturbed,
)
from benchmarks.wires.line import Target


class Served(Running):
    """A program that serves.

    What a new kind needs: a `wire` that connects a client.

    Attributes:
        folder: Its folder.
        env: All its variables.
    """

    def __init__(
        self, argv: Sequence[str], *, mode: str, folder: Path, env: Mapping[str, str], port: int
    ) -> None:
        """Start it, and wait until it listens.

        Args:
            argv: The program.
            mode: One of MODES.
            folder: Where it is to work.
            env: More variables.
            port: Where it is going to listen.

        Raises:
            RuntimeError: It did not start.
        """
        self.port, self.folder = port, folder
        self.env = clean_environment(folder, env)
        self._socket = folder / "tmux" if mode == "tmux" else None
        self._log = folder / "server.log"
        self._tmux = 0
        begin = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                undisturbed(argv),
                env=self.env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.await_start()
        except BaseException:
            self.close()
            raise
        self.started_s = time.monotonic() - begin

    def await_start(self) -> None:
        """Wait until it listens; raises RuntimeError when it does not."""
        await_port(self.process, self.port, self._log)

    def pids(self) -> dict[str, list[int]]:
        """Return the processes; a shell in tmux is none of them."""
        if self._socket is not None and not self._tmux:
            self._tmux = tmux_pid(self._socket, self.env)
        children = [pid for pid in children_of(self.process.pid) if pid != self._tmux]
        tmux = [self._tmux] if self._tmux else []
        return {"server": [self.process.pid], "clients": children, "tmux": tmux}

    def open(
        self,
        *,
        cols: int = 120,
        rows: int = 32,
        transport: str = "",
        receive_bytes: int = 0,
        address: tuple[str, int] | None = None,
    ) -> Wire:
        """Connect a client."""
        target = Target(
            port=self.port,
            path=self.path(transport),
            headers=self.headers(),
            address=address,
            receive_bytes=receive_bytes,
        )
        return self.wire(target, transport, cols=cols, rows=rows)

    @abstractmethod
    def path(self, transport: str) -> str:
        """Return the path and query that clients ask for."""

    @abstractmethod
    def wire(self, target: Target, transport: str, *, cols: int, rows: int) -> Wire:
        """Connect a client."""

    def headers(self) -> dict[str, str]:
        """Return what the requests of clients say besides."""
        return {"Origin": f"http://127.0.0.1:{self.port}"}

    def close(self) -> None:
        """End it, its tmux server, and what either has started."""
        if self.process.returncode is None:
            children = children_of(self.process.pid)
            stop(self.process)
        else:
            children = []
        if self._socket is not None and self._socket.exists():
            kill_tmux(self._socket, self.env)
            self._socket.unlink(missing_ok=True)
        await_end(children)
