"""Starts ttybridge for `make run` with the environment that make itself was started with.

The bridge hands its environment to the terminal, so it must be the one of the user's
shell. make adds names of its own and the variables given to it (ARGS=…), and the shell
between make and this script drops names that are not shell names (`A.B`, exported
functions). /proc has the environment as make received it, byte by byte.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

MAKE_ADDS = (
    b"MAKEFLAGS",
    b"MFLAGS",
    b"MAKELEVEL",
    b"MAKEOVERRIDES",
    b"MAKE_TERMOUT",
    b"MAKE_TERMERR",
    b"ARGS",
    b"PYTHON",
)
"""What make puts into the environment of a command (GNU make 4.3, seen by comparing)."""


def parse(block: bytes) -> dict[bytes, bytes]:
    r"""Read an environment as /proc shows it.

    >>> parse(b"A.B=1\x00C=x=y\x00")
    {b'A.B': b'1', b'C': b'x=y'}
    """
    entries = (entry.partition(b"=") for entry in block.split(b"\0"))
    return {name: value for name, sign, value in entries if name and sign}


def environment(own: Mapping[bytes, bytes], parent: int, proc: Path) -> dict[bytes, bytes]:
    """Return the environment for the bridge.

    Args:
        own: Environment of this process.
        parent: Process id of the parent.
        proc: Where the proc file system is mounted.

    Returns:
        What make received, when make is the parent and /proc can be read; otherwise `own`
        without what make adds.
    """
    if b"MAKELEVEL" not in own:
        return dict(own)
    folder = proc / str(parent)
    try:
        if "make" in (folder / "comm").read_text():
            return parse((folder / "environ").read_bytes())
    except OSError:
        pass
    return {name: value for name, value in own.items() if name not in MAKE_ADDS}


def main() -> None:
    """Replace this process by ttybridge."""
    program = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "ttybridge"
    snapshot = environment(os.environb, os.getppid(), Path("/proc"))
    os.execve(program, [str(program), *sys.argv[1:]], snapshot)  # noqa: S606  no shell wanted


if __name__ == "__main__":
    main()
