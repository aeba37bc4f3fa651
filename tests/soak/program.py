"""What runs in the sessions: `program.py FOLDER RATE`; keeps what is typed, prints numbered lines.

In `FOLDER`, `typed` gets every byte that is typed, and a number in `flood` is a count of lines to
print as fast as they are taken. Imports nothing of ours: it also runs in tmux.
"""

import os
import select
import sys
import time
import tty
from pathlib import Path

TICK_S = 0.05


def line(number: int) -> bytes:
    """Return a line of the output; its characters have one to four bytes."""
    return b"L%09d %x \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\r\n" % (number, number * 2654435761)


def main() -> None:
    """Read, keep, print."""
    folder, rate = Path(sys.argv[1]), float(sys.argv[2])
    tty.setraw(0)
    number, due = 0, 0.0
    order = folder / "flood"
    with (folder / "typed").open("ab", buffering=0) as typed:
        while True:
            if select.select([0], [], [], TICK_S)[0]:
                data = os.read(0, 65536)
                if not data:
                    return
                typed.write(data)
            due += rate * TICK_S
            if order.exists():
                due += float(order.read_text() or 0)
                order.unlink()
            while due >= 1:
                count = min(int(due), 500)
                block = b"".join(line(n) for n in range(number, number + count))
                view = memoryview(block)
                while view:
                    view = view[os.write(1, view) :]
                number, due = number + count, due - count
                if select.select([0], [], [], 0)[0]:
                    typed.write(os.read(0, 65536))
            time.sleep(0)


if __name__ == "__main__":
    main()
