"""Small programs that tests share as direct commands; run as `program.py NAME [ARGUMENT]`."""

import os
import sys
import termios
import tty
from collections.abc import Callable

READY = b"READY"
"""What each program says when its terminal is raw."""

END = b"--END--"
"""The last output of `pour`."""

PIECES = (b"a", b"\xf0\x9f", b"\x98\x80", b"\xe2", b"\x82", b"\xacb", b"\xff", b".")
"""What `pieces` writes, one for each byte typed: characters cut in the middle, and a wrong byte."""


def line(number: int) -> bytes:
    """Return a line of poured output; its characters have one to four bytes."""
    return f"{number:08d} äöü €uro 😀 0123456789 abcdefghijklmnopqrstuvwxyz\r\n".encode()


def poured(lines: int) -> bytes:
    """Return what `pour` writes between `READY` and `END`."""
    return b"".join(line(number) for number in range(lines))


def lines_of(size_bytes: int) -> int:
    """Return the number of lines that make at least so many bytes."""
    return -(-size_bytes // len(line(0)))


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _echo(_: str) -> None:
    """Write each read as hexadecimal digits in brackets; Ctrl-D ends with status 7."""
    while data := os.read(0, 65536):
        _write(b"[" + data.hex().encode() + b"]")
        if b"\x04" in data:
            sys.exit(7)


def _pour(lines: str) -> None:
    """Write as many lines when a byte comes, and end when another comes."""
    os.read(0, 1)
    for first in range(0, int(lines), 1000):
        _write(b"".join(line(n) for n in range(first, min(first + 1000, int(lines)))))
    _write(END)
    os.read(0, 1)


def _flood(_: str) -> None:
    """Write lines for ever when a byte comes."""
    os.read(0, 1)
    block = poured(1000)
    while True:
        _write(block)


def _pieces(_: str) -> None:
    """Write the next of `PIECES` for each byte that comes."""
    for piece in PIECES:
        os.read(0, 1)
        _write(piece)
    os.read(0, 1)


def _save(path: str) -> None:
    """Write all input to a file until Ctrl-D comes, and say how much it was."""
    total = 0
    with open(path, "wb", buffering=0) as file:  # noqa: PTH123
        while not (data := os.read(0, 65536)).endswith(b"\x04"):
            total += file.write(data)
        total += file.write(data[:-1])
    _write(b"saved %d" % total)
    os.read(0, 1)


def main(name: str, argument: str = "") -> None:
    """Run one of the programs on a raw terminal."""
    programs: dict[str, Callable[[str], None]] = {
        "echo": _echo,
        "flood": _flood,
        "pieces": _pieces,
        "pour": _pour,
        "save": _save,
    }
    tty.setraw(0, termios.TCSANOW)
    _write(READY)
    programs[name](argument)


if __name__ == "__main__":
    main(*sys.argv[1:])
