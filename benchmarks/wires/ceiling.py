"""How much each wire takes by itself: a server that is faster could not be measured with it.

python -m benchmarks.wires.ceiling prints it. A process of its own sends a stream that was made
before, over a loopback socket; what counts is the processor time of the client, so that other work
on the machine does not.
"""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peer import Wire
from benchmarks.peers.text import coloured
from benchmarks.programs import ROOT
from benchmarks.wires.line import Target
from benchmarks.wires.polling import PollingWire
from benchmarks.wires.streams import STREAMS, polled
from benchmarks.wires.ttybridge import TtybridgeSpeech
from benchmarks.wires.websocket import WebSocketWire

PAYLOAD = 4096
"""Bytes of output in a message: what one read of a pty gives, so the least that servers send."""

SIZE = 20_000_000
"""Bytes of output that are sent."""

POLLING = "polling"
"""What ttybridge by polling is called."""


@dataclass(frozen=True)
class Ceiling:
    """What one wire takes in a second of its own processor time."""

    megabytes: float
    """MB of terminal output."""
    messages: float


def pieces(size: int, payload: int) -> list[bytes]:
    """Return output in pieces of at least so many bytes, whole lines, the last one shorter."""
    found, piece = [], b""
    for line in coloured(size).splitlines():
        piece += line + b"\r\n"
        if len(piece) >= payload:
            found.append(piece)
            piece = b""
    return [*found, piece] if piece else found


def measure(name: str, size: int = SIZE, payload: int = PAYLOAD) -> Ceiling:
    """Measure the wire of a server; raises OSError when what came is not what was sent."""
    sent = pieces(size, payload)
    argv = [sys.executable, "-m", "benchmarks.wires.ceiling", name, str(size), str(payload)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        port = int(source.stdout.readline())
        total, got = sum(map(len, sent)), []
        left = total
        with _client(name, port) as wire:
            begin = time.process_time()
            while left > 0:
                got.append(wire.read(10.0))
                if not got[-1]:
                    raise OSError(f"{name}: {left} of {total} bytes are missing")
                left -= len(got[-1])
            spent = time.process_time() - begin
        source.kill()
    if b"".join(got) != b"".join(sent):
        raise OSError(f"{name}: what came is not what was sent")
    return Ceiling(total / spent / 1e6, len(sent) / spent)


def ceilings() -> dict[str, float]:
    """Return, for each protocol, the MB of output that its wire takes in a second."""
    return {name: measure(name).megabytes for name in (*STREAMS, POLLING)}


def _client(name: str, port: int) -> Wire:
    target = Target(port=port, path="/?")
    if name == POLLING:
        return PollingWire(target, TtybridgeSpeech(120, 32))
    return WebSocketWire(target, STREAMS[name][1](120, 32))


def _serve(name: str, size: int, payload: int) -> None:
    sent = pieces(size, payload)
    answers = polled(sent) if name == POLLING else [STREAMS[name][0](sent)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            line, _ = listener.accept()
            serve = _poll if name == POLLING else _stream
            threading.Thread(target=serve, args=(line, answers), daemon=True).start()


def _stream(line: socket.socket, answers: Sequence[bytes]) -> None:
    line.recv(4096)
    line.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    # What the client says is read, and means nothing.
    threading.Thread(target=_drain, args=(line,), daemon=True).start()
    with contextlib.suppress(OSError):  # the client has gone
        line.sendall(answers[0])


def _drain(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while line.recv(65536):
            pass


def _poll(line: socket.socket, answers: Sequence[bytes]) -> None:
    left = iter(answers)
    with contextlib.suppress(OSError):
        while request := line.recv(65536):
            if request.startswith(b"GET"):
                line.sendall(next(left, b""))
            else:
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def main() -> None:
    """Print all ceilings; or, with arguments, be the process that sends."""
    if len(sys.argv) > 1:
        _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    for name in (*STREAMS, POLLING):
        top = measure(name)
        print(f"{name:10}{top.megabytes:8.0f} MB/s{top.messages:10.0f} messages/s")


if __name__ == "__main__":
    main()
