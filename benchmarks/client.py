"""A client that comes in by the page's protocol, waits for the shell's prompt, and stays."""

import json
import selectors
import time
from collections.abc import Iterable

from benchmarks.frames import BINARY, READ_BYTES, TEXT, Frames, connect, frame

PATH = "/tty/?EIO=4&transport=websocket"


class Client:
    """One client; it answers what it is asked, and acknowledges what it gets.

    Attributes:
        line: Its socket.
    """

    def __init__(self, port: int, token: str) -> None:
        """Come in."""
        self.line = connect("127.0.0.1", port, PATH, {"Authorization": f"Bearer {token}"})
        self._frames = Frames()
        self._offset = 0
        self._output = b""
        hello = {"protocol": 1, "cols": 80, "rows": 24}
        self._say(b"40" + json.dumps(hello).encode())

    def wait_for(self, text: bytes) -> None:
        """Wait until the output has a text.

        Raises:
            RuntimeError: The server ends the connection before.
        """
        while text not in self._output:
            if not self.read():
                raise RuntimeError(f"the server has hung up; its output: {self._output!r}")

    def read(self) -> bool:
        """Take in what there is; False at the end."""
        data = self.line.recv(READ_BYTES)
        before = self._offset
        for opcode, begin, end in self._frames.feed(data):
            payload = self._frames.data[begin:end]
            if opcode == BINARY:
                self._output = self._output[-4096:] + payload
                self._offset += len(payload)
            elif payload == b"2":
                self._say(b"3")
            elif payload.startswith(b'451-["out",'):
                self._offset = int(payload[11 : payload.index(b",", 11)])
            elif payload.startswith(b'42["ping",'):
                self._say(payload.replace(b"ping", b"pong", 1))
        if self._offset != before:
            self._say(b'42["ack",%d]' % self._offset)
        return bool(data)

    def close(self) -> None:
        """Leave."""
        self.line.close()

    def _say(self, text: bytes) -> None:
        self.line.sendall(frame(TEXT, text))


def stay(clients: Iterable[Client], seconds: float) -> None:
    """Have clients take in and answer what comes, for a time."""
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.line, selectors.EVENT_READ, client)
        while (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if not key.data.read():
                    raise RuntimeError("the server has hung up on somebody who was there")
