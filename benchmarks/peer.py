"""What a web terminal must be for the benchmarks: a kind of server, a running one, a client of it.

Implementations are in `benchmarks/peers` (servers) and `benchmarks/wires` (clients).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

MODES = ("direct", "tmux")
"""The program alone on a pty, or in a tmux session."""

NO_MORE: Mapping[str, str] = MappingProxyType({})
"""No variables beyond those that every program here gets."""

READ_BYTES = 1 << 18
"""Most bytes that one `Wire.read` takes from the line, unless it is told otherwise."""


class Wire(ABC):
    """One client of a server; acknowledges what it has read as the server's own page does.

    Does everything in `write` and `read`: who waits for output by `fileno` calls `read` when there
    is something, and now and then when there is nothing, so that what is due gets sent.

    Attributes:
        wire_bytes: Bytes that were received from the socket; of a pipe, from the pipe.
    """

    wire_bytes: int = 0

    @abstractmethod
    def fileno(self) -> int:
        """Return what becomes readable when there is something; the same as long as it is open."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Type; never waits: what the line does not take now goes with the next `read`."""

    @abstractmethod
    def read(self, timeout_s: float, most: int = READ_BYTES) -> bytes:
        """Return the terminal output that comes next.

        Args:
            timeout_s: Longest time to wait for some, in seconds; 0 does not wait.
            most: Most bytes to take from the line in this call.

        Returns:
            Output; nothing at the end of the time, or when `most` bytes were no whole message.

        Raises:
            EOFError: The connection has ended, and all its output was returned.
            OSError: The server does not speak as it should, or has refused the client.
        """

    @abstractmethod
    def resize(self, cols: int, rows: int) -> None:
        """Tell the window's size."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect, as a page does that is closed; twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Running(ABC):
    """A server that runs.

    Attributes:
        port: Where it listens, on 127.0.0.1; 0 where there is no server.
        started_s: Seconds from its start until it listened.
    """

    port: int = 0
    started_s: float = 0.0

    @abstractmethod
    def pids(self) -> dict[str, list[int]]:
        """Return its processes: "server", "clients" (tmux clients and other children), "tmux"."""

    @abstractmethod
    def open(
        self,
        *,
        cols: int = 120,
        rows: int = 32,
        transport: str = "",
        receive_bytes: int = 0,
        address: tuple[str, int] | None = None,
    ) -> Wire:
        """Connect a client.

        Args:
            cols: Columns of its window.
            rows: Rows of its window.
            transport: One of the peer's; "" is the first of them.
            receive_bytes: Size of its socket's buffer, for one that is to be slow.
            address: Where to connect instead: a slow line in front of the server. Requests still
                name the server itself.

        Raises:
            OSError: The server lets nobody in.
        """

    @abstractmethod
    def close(self) -> None:
        """End the server and everything that it has started; twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Peer(ABC):
    """A kind of server.

    Attributes:
        name: What it is called in the tables.
        modes: Those of `MODES` that it can.
        transports: How its clients connect, the usual way first.
    """

    name: str = ""
    modes: tuple[str, ...] = MODES
    transports: tuple[str, ...] = ("websocket",)

    @abstractmethod
    def missing(self) -> str:
        """Say in a sentence why it cannot run here and what would help; "" when it can."""

    @abstractmethod
    def version(self) -> str:
        """Return what it is a version of, as "1.7.7"."""

    @abstractmethod
    def start(
        self, mode: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] = NO_MORE
    ) -> Running:
        """Start one.

        Args:
            mode: "direct": `argv` runs on the pty, from when a client connects, one for each client
                where the peer does so. "tmux": the pty runs a client of the tmux server at
                `folder`/tmux, in whose session 0 `argv` runs.
            argv: The program.
            folder: An empty folder for sockets and logs, and the program's home.
            env: More variables for the server and the program.

        Raises:
            RuntimeError: It did not start; the text says why.
        """


def tmux_command(folder: Path, argv: Sequence[str]) -> list[str]:
    """Return the command that attaches to session 0 of the folder's tmux server, or makes it."""
    socket = str(folder / "tmux")
    return ["tmux", "-S", socket, "-f", "/dev/null", "new-session", "-A", "-s", "0", *argv]
