"""A polling client of Colab's contract that decides by itself how its bytes travel."""

import http.client
import json
import re
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import RunningBridge, wait_until

SEPARATOR = "\x1e"
"""Between the packets of a body (Engine.IO 4)."""


class PollingWire:
    """One Socket.IO connection over polling, connected and joined.

    Attributes:
        output: The output so far.
        packets: All packets so far.
    """

    def __init__(self, bridge: RunningBridge) -> None:
        """Connect.

        Args:
            bridge: The bridge.
        """
        self._address = ("127.0.0.1", bridge.port)
        self._headers = {"Authorization": f"Bearer {bridge.token}"}
        self._path = "/tty/?EIO=4&transport=polling"
        self.sid: str = json.loads(self._request("GET")[1:])["sid"]
        self._path += f"&sid={self.sid}"
        self.post([b"40"])
        self.output = ""
        self.packets: list[str] = []

    def post(self, segments: Sequence[bytes]) -> None:
        """POST a body in TCP segments; each is sent when the bridge has read the one before."""
        head = f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._address[1]}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        head += f"Content-Length: {sum(map(len, segments))}\r\nConnection: close\r\n\r\n"
        with socket.create_connection(self._address, timeout=20) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for segment in (head.encode(), *segments):
                line.sendall(segment)
                wait_until(lambda: _is_read(line), "the bridge reads")
            answer = line.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200"), answer

    def poll(self) -> str:
        """Wait for packets and return the output so far."""
        for packet in self._request("GET").split(SEPARATOR):
            self.packets.append(packet)
            if packet.startswith('42["data",'):
                self.output += json.loads(json.loads(packet[2:])[1]["data"])["data"]
        return self.output

    def _request(self, method: str) -> str:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        connection.request(method, self._path, headers=self._headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        assert answer.status == 200, (answer.status, body)
        return body


def typed(output: str) -> bytes:
    """Return what has reached the program `echo`, from its output."""
    return bytes.fromhex("".join(re.findall(r"\[([0-9a-f]*)\]", output)))


def _is_read(line: socket.socket) -> bool:
    """Tell whether the other end has taken all bytes out of its kernel buffer."""
    near, far = line.getsockname(), line.getpeername()
    there = f"{_hexadecimal(far)} {_hexadecimal(near)}"
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        if there in row:
            return row.split()[4].endswith(":00000000")
    return True  # closed already


def _hexadecimal(address: tuple[str, int]) -> str:
    number = struct.unpack("=I", socket.inet_aton(address[0]))[0]
    return f"{number:08X}:{address[1]:04X}"
