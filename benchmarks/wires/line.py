"""A TCP connection that never waits to send, and waits for what comes as long as it is told."""

import contextlib
import select
import socket
import time
from dataclasses import dataclass, field

CONNECT_S = 20.0
"""Longest time for a connection to open, in seconds."""


@dataclass(frozen=True)
class Target:
    """Where a client connects, and what its requests say."""

    port: int
    """Port of the server, which requests name; on 127.0.0.1."""
    path: str
    """Path and query."""
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of each request."""
    address: tuple[str, int] | None = None
    """Where to connect instead, to a slow line in front of the server."""
    receive_bytes: int = 0
    """Size of the socket's buffer; 0 leaves it to the kernel."""

    def head(self, method: str, path: str) -> str:
        """Return the first line and the headers of a request, each with its end."""
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{more}"


def connect(target: Target) -> socket.socket:
    """Open a TCP connection to a server, or to the line in front of it; raises OSError."""
    line = socket.socket()
    try:
        if target.receive_bytes:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, target.receive_bytes)
        line.settimeout(CONNECT_S)
        line.connect(target.address or ("127.0.0.1", target.port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        line.close()
        raise
    return line


class Line:
    """A connection with what is still to be sent on it.

    Attributes:
        received: Bytes that came.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Take a connection over."""
        connection.setblocking(False)
        self._socket = connection
        self._recv = connection.recv
        self._unsent = b""
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self.received = 0

    def fileno(self) -> int:
        """Return the socket."""
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send, or keep what the socket does not take; raises OSError when the line is cut."""
        if self._unsent:
            data = self._unsent + data
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if bool(self._unsent) != (sent < len(data)):
            waits = select.POLLOUT if sent < len(data) else 0
            self._poll.modify(self._socket, select.POLLIN | waits)
        self._unsent = data[sent:]

    def receive(self, until: float, most: int) -> bytes:
        """Return what comes next; nothing when nothing came until that monotonic time.

        Raises:
            EOFError: The other side has ended the connection, or it was cut.
        """
        while True:
            try:
                data = self._recv(most)
            except BlockingIOError:
                pass
            except OSError as error:
                raise EOFError(str(error)) from error
            else:
                if not data:
                    raise EOFError
                self.received += len(data)
                return data
            left = until - time.monotonic()
            if left <= 0:
                return b""
            for _, event in self._poll.poll(left * 1000):
                if event & select.POLLOUT:
                    with contextlib.suppress(OSError):  # the next receive says so
                        self.send(b"")

    def close(self) -> None:
        """Close it."""
        self._socket.close()
