"""Starts every server in every mode, and sees that each works: python -m benchmarks.peers.

For each mode and transport: types into a shell and waits for the answer. Then has five megabytes of
text shown without tmux, and compares what came with what was written, byte for byte.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import Peer, Wire
from benchmarks.peers import ALL
from benchmarks.peers.text import coloured
from benchmarks.peers.ttyd import VARIABLE

ANSWER_S = 20.0
"""Longest time for output to come, in seconds."""

SIZE = 5_000_000
"""Bytes of text whose sum is compared."""

SHELL = ("bash", "--norc", "--noprofile")


@dataclass(frozen=True)
class Echo:
    """What came of a line that was typed."""

    ready_s: float
    """Seconds from the connection's begin to the first output."""
    wire_bytes: int
    """Bytes on the line until the answer was there."""
    started_s: float
    """Seconds until the server listened."""
    pids: dict[str, list[int]]
    """What ran then."""


def until(wire: Wire, wanted: bytes) -> bytes:
    """Return the output up to where it has `wanted`; raises TimeoutError."""
    output, end = b"", time.monotonic() + ANSWER_S
    while wanted not in output:
        if time.monotonic() > end:
            raise TimeoutError(f"no {wanted!r} in {output[-300:]!r}")
        output += wire.read(0.5)
    return output


def echo(peer: Peer, mode: str, transport: str) -> Echo:
    """Type a command into a shell, key by key, and wait for its answer."""
    with tempfile.TemporaryDirectory(prefix="tb-peer-") as name:
        stack = contextlib.ExitStack()
        running = stack.enter_context(peer.start(mode, SHELL, Path(name)))
        begin = time.monotonic()
        with stack, running.open(transport=transport) as wire:
            first = b""
            while not first:
                first = wire.read(ANSWER_S)
            ready_s = time.monotonic() - begin
            for key in b"echo $((6*7))\r":
                wire.write(bytes((key,)))
            until(wire, b"42")
            return Echo(ready_s, wire.wire_bytes, running.started_s, running.pids())


def shown(peer: Peer, transport: str, size: int = SIZE) -> tuple[bytes, bytes]:
    """Have text shown in direct mode; returns what was written, and what came."""
    text = coloured(size)
    with tempfile.TemporaryDirectory(prefix="tb-peer-") as name:
        path = Path(name) / "text"
        path.write_bytes(text)
        script = f"stty -echo; printf READY; read line; cat {path}; printf END; read line"
        with (
            peer.start("direct", ("sh", "-c", script), Path(name)) as running,
            running.open(transport=transport) as wire,
        ):
            until(wire, b"READY")
            wire.write(b"\r")
            came, end = bytearray(), time.monotonic() + 3 * ANSWER_S
            while not came.endswith(b"END"):
                if time.monotonic() > end:
                    raise TimeoutError(f"{len(came)} of {size} bytes came")
                came += wire.read(1.0)
    return text, bytes(came).removesuffix(b"END").replace(b"\r\n", b"\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--ttyd", default="", help="the program; otherwise from PATH, or fetched")
    return parser.parse_args()


def main() -> int:
    """See to all that were asked for."""
    wanted = arguments()
    if wanted.ttyd:
        os.environ[VARIABLE] = wanted.ttyd
    worked = True
    for peer in ALL:
        if wanted.names and peer.name not in wanted.names:
            continue
        why = peer.missing()
        if why:
            print(f"{peer.name}: {why}")
            continue
        print(f"{peer.name} {peer.version()}")
        for transport in peer.transports:
            for mode in peer.modes:
                seen = echo(peer, mode, transport)
                print(
                    f"  {mode:7}{transport:11}listens after {seen.started_s * 1000:6.1f} ms, first"
                    f" output after {seen.ready_s * 1000:6.1f} ms, {seen.wire_bytes} bytes"
                )
            begin = time.monotonic()
            text, came = shown(peer, transport)
            worked = worked and text == came
            verdict = "every byte came" if text == came else f"WRONG: {difference(text, came)}"
            print(
                f"  {'text':7}{transport:11}{verdict},"
                f" {len(text) / 1e6:g} MB, {time.monotonic() - begin:.2f} s with the start"
            )
    return 0 if worked else 1


def difference(text: bytes, came: bytes) -> str:
    """Say where two differ."""
    pairs = enumerate(zip(text, came, strict=False))
    at = next((place for place, (one, other) in pairs if one != other), min(len(text), len(came)))
    one, other = came[at : at + 30], text[at : at + 30]
    return f"{len(came)} of {len(text)} bytes; from {at}: {one!r}, not {other!r}"


if __name__ == "__main__":
    sys.exit(main())
