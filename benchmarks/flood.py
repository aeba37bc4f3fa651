"""Runs in the session: output at a steady rate, with stamps.

python flood.py BYTES_PER_SECOND SECONDS
"""

import sys
import time

TICK_S = 0.002
"""Time between two writes, in seconds. Each begins with a stamp: at 1 MB/s, a screen of 31 lines
of this output has one or two, so that a viewer who is shown screens instead of lines sees some."""

CATCH_UP = 2
"""How much faster than its rate it writes when it is late: a burst would not be a steady rate, and
tmux throws output away that comes in bursts of more than eight bytes for a cell of the window."""

WIDTH = 100
"""Characters in a line: below the width of the window, so that no line is broken."""

FILLER = "the quick brown fox jumps over the lazy dog 0123456789 "


def stamp(number: int) -> str:
    """Return a stamp: its number, and the monotonic time in nanoseconds."""
    return f"[S{number:06d} {time.monotonic_ns()}]"


def main() -> None:
    """Write until the time is over."""
    rate, seconds = float(sys.argv[1]), float(sys.argv[2])
    size = int(rate * TICK_S)
    line = (FILLER * 3)[:WIDTH]
    filler = "".join(f"{line}\r\n" for _ in range(size // (WIDTH + 2) + 1))
    write, flush = sys.stdout.write, sys.stdout.flush
    begin = due = time.monotonic()
    for number in range(int(seconds / TICK_S)):
        now = time.monotonic()
        due = max(begin + number * TICK_S, due + TICK_S / CATCH_UP)
        if due > now:
            time.sleep(due - now)
        head = stamp(number) + "\r\n"
        write(head + filler[: size - len(head) - 2] + "\r\n")
        flush()


if __name__ == "__main__":
    main()
