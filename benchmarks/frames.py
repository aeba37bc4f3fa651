"""A WebSocket's frames without a library, as little work as can be: 200 viewers fit in one process.

A server's frames are not masked, so what they carry is looked at where it lies.
"""

import socket
from collections.abc import Iterator, Mapping

REST, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""Opcodes (RFC 6455, 5.2)."""

READ_BYTES = 256 * 1024


def connect(
    host: str,
    port: int,
    path: str,
    headers: Mapping[str, str],
    *,
    receive_bytes: int = 0,
    named_port: int = 0,
) -> socket.socket:
    """Open a WebSocket.

    Args:
        host: Where the server is.
        port: Its port.
        path: Path and query.
        headers: More headers of the request.
        receive_bytes: Size of the socket's buffer, for a client that is to be slow.
        named_port: Port that the request names, where a proxy stands before the server.

    Raises:
        OSError: The server does not open one.
    """
    line = socket.socket()
    if receive_bytes:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    line.settimeout(20)
    line.connect((host, port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"GET {path} HTTP/1.1\r\nHost: {host}:{named_port or port}\r\n{more}"
    upgrade(line, head)
    return line


def upgrade(line: socket.socket, head: str) -> None:
    """Turn a connection into a WebSocket, and take nothing from it that follows the answer.

    Args:
        line: A connection that may block.
        head: First line and headers of the request, each with its end.

    Raises:
        OSError: The server does not do it.
    """
    line.sendall(
        f"{head}Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        seen = line.recv(4096, socket.MSG_PEEK)
        end = (answer[-3:] + seen).find(b"\r\n\r\n")
        part = line.recv(end + 4 - len(answer[-3:]) if end >= 0 else len(seen))
        if not part:
            break
        answer += part
    if b" 101 " not in answer.split(b"\r\n")[0]:
        path = head.split(" ")[1]
        raise OSError(f"no WebSocket at {path}: {answer[:200]!r}")


def frame(opcode: int, payload: bytes, *, masked: bool = True) -> bytes:
    """Return a client's frame, whose mask is zero and changes nothing, or a server's, without."""
    length, bit = len(payload), 0x80 * masked
    if length < 126:
        head = bytes((0x80 | opcode, bit | length))
    elif length < 1 << 16:
        head = bytes((0x80 | opcode, bit | 126)) + length.to_bytes(2)
    else:
        head = bytes((0x80 | opcode, bit | 127)) + length.to_bytes(8)
    return head + bytes(4 * masked) + payload


class Frames:
    """Cuts what a server sends into frames.

    Attributes:
        data: What the places that `feed` gives refer to.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.data = b""
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        """Take in bytes; give opcode, begin and end in `data` of each frame that is whole."""
        if self._rest:
            data = self._rest + data
        self.data, at, total = data, 0, len(data)
        while total - at >= 2:
            length, head = data[at + 1], 2
            if length == 126:
                length, head = int.from_bytes(data[at + 2 : at + 4]), 4
            elif length == 127:
                length, head = int.from_bytes(data[at + 2 : at + 10]), 10
            end = at + head + length
            if end > total or at + head > total:
                break
            yield data[at] & 0x0F, at + head, end
            at = end
        self._rest = data[at:]
